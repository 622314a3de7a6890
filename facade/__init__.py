"""An autograd engine that you can read, see and check.

`import chainrule as cr` gives everything below under one name each; `cr.nn` builds networks on it and `cr.visualize`
draws them. These two are loaded when they are first used.
"""

from chainrule import _interruption as _interruption  # before what takes time

# isort: split
import typing as _typing
from importlib import import_module as _import_module

# Written by tests/project/test_facades.py: what is in `__all__` of each file.
# isort: split
from chainrule.autograd import AnomalyError as AnomalyError
from chainrule.autograd import Explanation as Explanation
from chainrule.autograd import Line as Line
from chainrule.autograd import Node as Node
from chainrule.autograd import Op as Op
from chainrule.autograd import Report as Report
from chainrule.autograd import Tensor as Tensor
from chainrule.autograd import Value as Value
from chainrule.autograd import abs as abs
from chainrule.autograd import add as add
from chainrule.autograd import arccos as arccos
from chainrule.autograd import arccosh as arccosh
from chainrule.autograd import arcsin as arcsin
from chainrule.autograd import arcsinh as arcsinh
from chainrule.autograd import arctan as arctan
from chainrule.autograd import arctan2 as arctan2
from chainrule.autograd import arctanh as arctanh
from chainrule.autograd import astype as astype
from chainrule.autograd import broadcast_to as broadcast_to
from chainrule.autograd import cbrt as cbrt
from chainrule.autograd import ceil as ceil
from chainrule.autograd import check as check
from chainrule.autograd import check_row as check_row
from chainrule.autograd import clip as clip
from chainrule.autograd import compile as compile
from chainrule.autograd import concatenate as concatenate
from chainrule.autograd import cos as cos
from chainrule.autograd import cosh as cosh
from chainrule.autograd import cumprod as cumprod
from chainrule.autograd import cumsum as cumsum
from chainrule.autograd import custom as custom
from chainrule.autograd import detect_anomaly as detect_anomaly
from chainrule.autograd import diag as diag
from chainrule.autograd import diagonal as diagonal
from chainrule.autograd import div as div
from chainrule.autograd import dot as dot
from chainrule.autograd import einsum as einsum
from chainrule.autograd import elu as elu
from chainrule.autograd import enable_grad as enable_grad
from chainrule.autograd import erf as erf
from chainrule.autograd import erfc as erfc
from chainrule.autograd import exp as exp
from chainrule.autograd import exp2 as exp2
from chainrule.autograd import expand_dims as expand_dims
from chainrule.autograd import explain as explain
from chainrule.autograd import expm1 as expm1
from chainrule.autograd import flip as flip
from chainrule.autograd import floor as floor
from chainrule.autograd import floordiv as floordiv
from chainrule.autograd import gelu as gelu
from chainrule.autograd import grad as grad
from chainrule.autograd import gradcheck as gradcheck
from chainrule.autograd import gradients as gradients
from chainrule.autograd import hessian as hessian
from chainrule.autograd import hvp as hvp
from chainrule.autograd import hypot as hypot
from chainrule.autograd import inner as inner
from chainrule.autograd import jacobian as jacobian
from chainrule.autograd import jvp as jvp
from chainrule.autograd import leaky_relu as leaky_relu
from chainrule.autograd import line_of as line_of
from chainrule.autograd import linear as linear
from chainrule.autograd import log as log
from chainrule.autograd import log1p as log1p
from chainrule.autograd import log2 as log2
from chainrule.autograd import log10 as log10
from chainrule.autograd import log_softmax as log_softmax
from chainrule.autograd import logaddexp as logaddexp
from chainrule.autograd import logsumexp as logsumexp
from chainrule.autograd import matmul as matmul
from chainrule.autograd import max as max
from chainrule.autograd import maximum as maximum
from chainrule.autograd import mean as mean
from chainrule.autograd import min as min
from chainrule.autograd import minimum as minimum
from chainrule.autograd import mod as mod
from chainrule.autograd import moveaxis as moveaxis
from chainrule.autograd import mul as mul
from chainrule.autograd import neg as neg
from chainrule.autograd import no_grad as no_grad
from chainrule.autograd import norm as norm
from chainrule.autograd import numeric_gradient as numeric_gradient
from chainrule.autograd import outer as outer
from chainrule.autograd import pad as pad
from chainrule.autograd import pow as pow
from chainrule.autograd import prod as prod
from chainrule.autograd import ravel as ravel
from chainrule.autograd import reciprocal as reciprocal
from chainrule.autograd import record_lines as record_lines
from chainrule.autograd import relu as relu
from chainrule.autograd import repeat as repeat
from chainrule.autograd import reshape as reshape
from chainrule.autograd import roll as roll
from chainrule.autograd import round as round
from chainrule.autograd import sigmoid as sigmoid
from chainrule.autograd import sign as sign
from chainrule.autograd import silu as silu
from chainrule.autograd import sin as sin
from chainrule.autograd import sinh as sinh
from chainrule.autograd import softmax as softmax
from chainrule.autograd import softmax_cross_entropy as softmax_cross_entropy
from chainrule.autograd import softplus as softplus
from chainrule.autograd import sort as sort
from chainrule.autograd import split as split
from chainrule.autograd import sqrt as sqrt
from chainrule.autograd import square as square
from chainrule.autograd import squeeze as squeeze
from chainrule.autograd import stack as stack
from chainrule.autograd import std as std
from chainrule.autograd import sub as sub
from chainrule.autograd import sum as sum
from chainrule.autograd import swapaxes as swapaxes
from chainrule.autograd import take as take
from chainrule.autograd import take_along_axis as take_along_axis
from chainrule.autograd import tan as tan
from chainrule.autograd import tanh as tanh
from chainrule.autograd import tensordot as tensordot
from chainrule.autograd import tile as tile
from chainrule.autograd import trace as trace
from chainrule.autograd import transpose as transpose
from chainrule.autograd import tril as tril
from chainrule.autograd import triu as triu
from chainrule.autograd import value_and_grad as value_and_grad
from chainrule.autograd import var as var
from chainrule.autograd import vjp as vjp
from chainrule.autograd import where as where

if _typing.TYPE_CHECKING:
    from chainrule import nn as nn
    from chainrule import visualize as visualize
    from chainrule.nn import unused as unused

    __version__: str
else:
    _LATER = {"nn", "unused", "visualize", "__version__"}

    def __dir__():
        return sorted({*globals(), *_LATER})

    def __getattr__(name):
        """What takes long to load, for whoever asks for it first."""
        if name in ("nn", "visualize"):
            found = _import_module(f"chainrule.{name}")
        elif name == "unused":
            found = _import_module("chainrule.nn").unused
        elif name == "__version__":
            found = _import_module("importlib.metadata").version("chainrule")
        else:
            raise AttributeError(f"module 'chainrule' has no attribute {name!r}")
        globals()[name] = found
        return found

    __all__ = [name for name in __dir__() if not name.startswith("_")]
