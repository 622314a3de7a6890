"""Activations as layers: each applies one function of the table to every element, and has no parameters."""

from __future__ import annotations

__all__ = ["ELU", "GELU", "Activation", "Identity", "LeakyReLU", "ReLU", "SiLU", "Sigmoid", "Softplus", "Tanh"]

from collections.abc import Callable
from typing import Any, ClassVar, Literal

from chainrule.autograd import elu, gelu, leaky_relu, relu, sigmoid, silu, softplus, tanh
from chainrule.autograd.plain import describe

from .module import Module


def linear(x: Any) -> Any:
    return x


class Activation(Module):
    """The base of layers without parameters that apply one function to every element."""

    function: Callable[[Any], Any]
    start: ClassVar[Literal["he", "xavier"]]  # whose rule of `cr.nn.init` the weights in front of it start by

    def forward(self, x: Any) -> Any:
        return self.function(x)


class ReLU(Activation):
    """max(x, 0)."""

    function = staticmethod(relu)
    start = "he"


class LeakyReLU(Activation):
    """x where positive, else 0.01 x."""

    function = staticmethod(leaky_relu)
    start = "he"


class ELU(Activation):
    """x where positive, else exp(x) - 1."""

    function = staticmethod(elu)
    start = "he"


class GELU(Activation):
    """x times the normal distribution function of x."""

    function = staticmethod(gelu)
    start = "he"


class SiLU(Activation):
    """x times sigmoid(x)."""

    function = staticmethod(silu)
    start = "he"


class Softplus(Activation):
    """log(1 + exp(x))."""

    function = staticmethod(softplus)
    start = "he"


class Tanh(Activation):
    """The hyperbolic tangent."""

    function = staticmethod(tanh)
    start = "xavier"


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    function = staticmethod(sigmoid)
    start = "xavier"


class Identity(Activation):
    """x itself."""

    function = staticmethod(linear)
    start = "xavier"


# Each by the name of its function
ACTIVATIONS: dict[str, type[Activation]] = {kind.function.__name__: kind for kind in Activation.__subclasses__()}


def activation_called(name: str, whose: str) -> type[Activation]:
    """The activation of that name, checked."""
    if not isinstance(name, str):
        raise TypeError(f"{whose}: activation must be the name of one, got {describe(name)}")
    if name not in ACTIVATIONS:
        raise ValueError(f"{whose}: no activation is called {name!r}; there are {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]
