"""How parameters move: optimizers, the schedules of their learning rates, and limits for their gradients.

`optimizer` has the groups of parameters and their state, `elementwise` updates arrays in place, `rules` are the formulas.
"""

from .rules import AdaptiveMoments as AdaptiveMoments  # for those who write one of their own; only here

# Written by tests/project/test_facades.py: what is in `__all__` of each file.
# isort: split
from .clip import clip_grad_norm as clip_grad_norm
from .clip import clip_grad_value as clip_grad_value
from .lbfgs import LBFGS as LBFGS
from .optimizer import Optimizer as Optimizer
from .rules import SGD as SGD
from .rules import Adagrad as Adagrad
from .rules import Adam as Adam
from .rules import AdamW as AdamW
from .rules import RMSprop as RMSprop
from .schedules import CosineAnnealingLR as CosineAnnealingLR
from .schedules import ExponentialLR as ExponentialLR
from .schedules import LinearLR as LinearLR
from .schedules import ReduceLROnPlateau as ReduceLROnPlateau
from .schedules import Schedule as Schedule
from .schedules import SequentialLR as SequentialLR
from .schedules import StepLR as StepLR
