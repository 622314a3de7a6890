"""Neural networks, thin: modules, layers, losses and optimizers over `chainrule.autograd`."""

from . import init as init
from . import scalar as scalar
from .layers import ELU as ELU
from .layers import GELU as GELU
from .layers import MLP as MLP
from .layers import Activation as Activation
from .layers import Identity as Identity
from .layers import LeakyReLU as LeakyReLU
from .layers import Linear as Linear
from .layers import ReLU as ReLU
from .layers import Sequential as Sequential
from .layers import Sigmoid as Sigmoid
from .layers import SiLU as SiLU
from .layers import Softplus as Softplus
from .layers import Tanh as Tanh
from .losses import binary_cross_entropy_with_logits as binary_cross_entropy_with_logits
from .losses import cross_entropy as cross_entropy
from .losses import hinge_loss as hinge_loss
from .losses import l1_loss as l1_loss
from .losses import mse_loss as mse_loss
from .module import Module as Module
from .optim import SGD as SGD
from .optim import Adam as Adam
from .optim import Optimizer as Optimizer
