"""Layers on Tensors: Linear, activations, and stacks of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from chainrule.autograd import Tensor, elu, gelu, leaky_relu, linear, matmul, relu, sigmoid, silu, softplus, tanh
from chainrule.autograd.primitive import constant

from .init import Initializer, Seed, generator, he_uniform, lecun_uniform, xavier_uniform
from .module import Module


class Linear(Module):
    """The affine map x @ weight.T + bias.

    `weight` has shape (n_out, n_in) and `bias` (n_out,), as in PyTorch; x has shape (..., n_in). `rng` is a seed or a
    NumPy generator; `init` draws the weights.

    >>> import chainrule as cr
    >>> layer = cr.nn.Linear(3, 2, rng=0)
    >>> layer([[1.0, 2.0, 3.0]]).shape
    (1, 2)
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bias: bool = True,
        *,
        dtype: DTypeLike | None = None,
        rng: Seed = None,
        init: Initializer = lecun_uniform,
    ) -> None:
        for name, n in ("n_in", n_in), ("n_out", n_out):
            if operator.index(n) < 0:
                raise ValueError(f"Linear: {name} must not be negative, got {n}")
        self.weight = Tensor(init(generator(rng), n_in, n_out), dtype)
        self.bias = Tensor(np.zeros(n_out), dtype) if bias else None

    def forward(self, x: Any) -> Any:
        weight = self.weight
        if not isinstance(x, Tensor):  # data takes the precision of the weights: float32 models stay float32
            x = np.asarray(constant(x, "Linear"), dtype=weight.dtype)
        return matmul(x, weight.T) if self.bias is None else linear(x, weight, self.bias)

    def describe(self) -> str:
        n_out, n_in = self.weight.shape
        return f"{n_in}, {n_out}{', bias=False' if self.bias is None else ''}"


def itself(x: Any) -> Any:
    return x


class Activation(Module):
    """The base of layers without parameters that apply one function to every element."""

    function: Callable[[Any], Any]

    def forward(self, x: Any) -> Any:
        return self.function(x)


class ReLU(Activation):
    """max(x, 0)."""

    function = staticmethod(relu)


class LeakyReLU(Activation):
    """x where positive, else 0.01 x."""

    function = staticmethod(leaky_relu)


class ELU(Activation):
    """x where positive, else exp(x) - 1."""

    function = staticmethod(elu)


class GELU(Activation):
    """x times the normal distribution function of x."""

    function = staticmethod(gelu)


class SiLU(Activation):
    """x times sigmoid(x)."""

    function = staticmethod(silu)


class Softplus(Activation):
    """log(1 + exp(x))."""

    function = staticmethod(softplus)


class Tanh(Activation):
    """The hyperbolic tangent."""

    function = staticmethod(tanh)


class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    function = staticmethod(sigmoid)


class Identity(Activation):
    """x itself."""

    function = staticmethod(itself)


ACTIVATIONS: dict[str, type[Activation]] = {
    "relu": ReLU, "leaky_relu": LeakyReLU, "elu": ELU, "gelu": GELU, "silu": SiLU, "softplus": Softplus,
    "tanh": Tanh, "sigmoid": Sigmoid, "linear": Identity,
}  # fmt: skip


def activation_called(name: str) -> type[Activation]:
    """The activation of that name, checked."""
    if name not in ACTIVATIONS:
        raise ValueError(f"no activation is called {name!r}; there are {', '.join(sorted(ACTIVATIONS))}")
    return ACTIVATIONS[name]


def initializer_for(activation: str) -> Initializer:
    """He for the ReLU family, Xavier for what saturates or is linear."""
    return xavier_uniform if activation in {"tanh", "sigmoid", "linear"} else he_uniform


class Sequential(Module):
    """Layers one after another. Any function of one argument may be among them.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(4, 3, rng=0), cr.tanh, cr.nn.Linear(3, 1, rng=1))
    >>> [name for name, _ in model.named_parameters()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """

    def __init__(self, *layers: Callable[[Any], Any]) -> None:
        for i, layer in enumerate(layers):
            if not callable(layer):
                raise TypeError(f"Sequential: layer {i} is not callable: {layer!r}")
            vars(self)[str(i)] = layer

    def __iter__(self) -> Iterator[Callable[[Any], Any]]:
        return (part for name, part in vars(self).items() if name.isdigit())

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __getitem__(self, i: int) -> Any:
        return list(self)[i]

    def forward(self, x: Any) -> Any:
        for layer in self:
            x = layer(x)
        return x


class MLP(Sequential):
    """A multi-layer perceptron: Linear layers of the given sizes with an activation between them, none at the end.

    Weights start by He's rule for the ReLU family and by Xavier's for tanh and sigmoid, biases at 0; the same `rng`
    gives the same bytes.

    >>> import chainrule as cr
    >>> cr.nn.MLP([784, 16, 10], activation="sigmoid", rng=0)
    MLP(784 → 16 → 10)
      (0) Linear(784, 16)
      (1) Sigmoid()
      (2) Linear(16, 10)
    """

    def __init__(
        self, sizes: Sequence[int], activation: str = "relu", *, dtype: DTypeLike | None = None, rng: Seed = None
    ) -> None:
        if len(sizes) < 2:
            raise ValueError(f"MLP: expected at least an input and an output size, got {list(sizes)}")
        rng = generator(rng)
        nonlinearity, init = activation_called(activation), initializer_for(activation)
        layers: list[Module] = []
        for n_in, n_out in pairwise(sizes):
            layers += [Linear(n_in, n_out, dtype=dtype, rng=rng, init=init), nonlinearity()]
        super().__init__(*layers[:-1])

    def describe(self) -> str:
        layers = [layer for layer in self if isinstance(layer, Linear)]
        return " → ".join(str(n) for n in [layers[0].weight.shape[1], *(layer.weight.shape[0] for layer in layers)])
