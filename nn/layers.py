"""Layers on Tensors: Linear, Dropout, Embedding, Flatten, and stacks of them."""

from __future__ import annotations

__all__ = ["MLP", "Dropout", "Embedding", "Flatten", "Linear", "Sequential"]

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from chainrule.autograd import Tensor, Value, linear, matmul, reshape, take
from chainrule.autograd.context import about_to_change, blocks
from chainrule.autograd.guards.anew import read_anew
from chainrule.autograd.guards.settings import flag
from chainrule.autograd.ops.linalg import class_labels
from chainrule.autograd.plain import constant, describe
from chainrule.autograd.recording import in_precision, is_data

from .activations import activation_called
from .init import (
    Initializer,
    Seed,
    generator,
    initial_weight,
    initializer_for,
    lecun_uniform,
    share,
    whole_number,
    whole_numbers,
)
from .module import Module
from .normalization import BatchNorm1d


class Linear(Module):
    """The affine map x @ weight.T + bias.

    `weight` has shape (n_out, n_in) and `bias` (n_out,), as in PyTorch; x has shape (..., n_in). `rng` is a seed or a
    NumPy generator; `init` draws the weights: a function as in `cr.nn.init`, or the name of one there.

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
        init: Initializer | str = lecun_uniform,
    ) -> None:
        n_in, n_out = whole_number("Linear: n_in", n_in, 0), whole_number("Linear: n_out", n_out, 0)
        self.weight = Tensor(initial_weight(init, rng, n_in, n_out), dtype)
        self.bias = Tensor(np.zeros(n_out), dtype) if flag("Linear: bias", bias) else None

    def forward(self, x: Any) -> Any:
        weight = self.weight
        if not isinstance(x, Tensor):  # data takes the precision of the weights: float32 models stay float32
            x = in_precision(constant(x, "Linear"), weight.dtype)
        elif blocks and is_data(x):
            x = in_precision(x, weight.dtype)
        try:
            return matmul(x, weight.T) if self.bias is None else linear(x, weight, self.bias)
        except ValueError as error:
            n_in = weight.shape[1]
            if x.shape[-1:] == (n_in,):
                raise
            raise ValueError(
                f"Linear: expected inputs of {n_in} features on the last axis, got shape {x.shape}"
            ) from error

    def describe(self) -> str:
        n_out, n_in = self.weight.shape
        return f"{n_in}, {n_out}{', bias=False' if self.bias is None else ''}"


class Dropout(Module):
    """In training, sets each element to 0 with probability `p` and scales the others by 1 / (1 - p); else x itself.

    So the expected value stays, and nothing needs scaling in use (Srivastava et al. 2014). The same `rng` drops the same
    elements. Raises `ValueError` for a `p` outside [0, 1].

    >>> import chainrule as cr
    >>> dropout = cr.nn.Dropout(0.5, rng=0)
    >>> sorted(set(dropout(cr.Tensor([1.0] * 9)).tolist()))
    [0.0, 2.0]
    >>> dropout.eval()(3.0)
    3.0
    """

    def __init__(self, p: float = 0.5, *, rng: Seed = None) -> None:
        self.p = share("Dropout: p", p)
        self.rng = generator(rng, "Dropout: rng")

    def forward(self, x: Any) -> Any:
        if not self.training or self.p == 0.0:
            return x
        x = x if isinstance(x, Value | Tensor) else np.asarray(constant(x, "Dropout"))
        if blocks:
            about_to_change(self)
        dtype = np.dtype(float) if isinstance(x, Value) or x.dtype.kind != "f" else x.dtype
        return x * read_anew(self.rng, partial(self.mask, x.shape, dtype))

    def mask(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """What to multiply by: 0, or what scales the others."""
        kept = self.rng.random(shape, dtype=np.float32) >= self.p  # the same elements in every precision
        return np.multiply(kept, 1.0 / (1.0 - self.p) if self.p < 1.0 else 0.0, dtype=dtype)

    def describe(self) -> str:
        return f"{self.p}"


class Embedding(Module):
    """A table of `n` vectors of length `dim`, looked up by number: indices (...) give vectors (..., dim).

    `weight` has shape (n, dim) and starts normal with variance 1, as in PyTorch; a row picked twice gets both gradients.
    Raises `TypeError` for indices that are not integers, `IndexError` for one outside 0 to n - 1.

    >>> import chainrule as cr
    >>> cr.nn.Embedding(27, 2, rng=0)([[0, 1, 26], [3, 3, 3]]).shape
    (2, 3, 2)
    """

    def __init__(self, n: int, dim: int, *, dtype: DTypeLike | None = None, rng: Seed = None) -> None:
        shape = whole_number("Embedding: n", n, 0), whole_number("Embedding: dim", dim, 0)
        self.weight = Tensor(generator(rng, "Embedding: rng").normal(size=shape), dtype)

    def forward(self, indices: Any) -> Any:
        if isinstance(indices, Tensor) and indices.dtype.kind in "iu":  # recorded
            return take(self.weight, class_labels(indices, classes=self.weight.shape[0]), axis=0)
        if isinstance(indices, Value | Tensor):
            raise TypeError(f"Embedding: indices must be plain integers, got {describe(indices)}")
        indices = np.asarray(indices, dtype=None if np.size(indices) else int)
        if indices.dtype.kind not in "iu":
            raise TypeError(f"Embedding: indices must be integers, got {indices.dtype}")
        n = self.weight.shape[0]
        if indices.size and not (indices.min() >= 0 and indices.max() < n):
            raise IndexError(
                f"Embedding: indices run from {indices.min()} to {indices.max()}, but there are {n} vectors, from 0"
            )
        return take(self.weight, indices, axis=0)

    def describe(self) -> str:
        n, dim = self.weight.shape
        return f"{n}, {dim}"


class Flatten(Module):
    """All axes but the first made one: (N, ...) becomes (N, the product of the rest).

    >>> import chainrule as cr
    >>> cr.nn.Flatten()(cr.Tensor([[[1.0, 2.0], [3.0, 4.0]]])).shape
    (1, 4)
    """

    def forward(self, x: Any) -> Any:
        x = x if isinstance(x, Value | Tensor) else constant(x, "Flatten")
        shape = x.shape if isinstance(x, Value | Tensor) else np.shape(x)
        if len(shape) < 2:
            raise ValueError(f"Flatten: expected an input of shape (N, ...), got {shape}")
        return x if len(shape) == 2 else reshape(x, (shape[0], math.prod(shape[1:])))


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
        for name, layer in vars(self).items():
            if name.isdigit():
                x = layer(x)
        return x


class MLP(Sequential):
    """A multi-layer perceptron: Linear layers of the given sizes with an activation between them, none at the end.

    Weights start by He's rule for the ReLU family and by Xavier's for tanh and sigmoid, or by `init` (a function as in
    `cr.nn.init`, or the name of one there), biases at 0; the same `rng` gives the same bytes. A hidden layer is Linear,
    then BatchNorm1d if `batch_norm`, the activation, and Dropout if `dropout`, the share to drop, is not 0.

    >>> import chainrule as cr
    >>> cr.nn.MLP([784, 16, 10], activation="sigmoid", rng=0)
    MLP(784 → 16 → 10)
      (0) Linear(784, 16)
      (1) Sigmoid()
      (2) Linear(16, 10)
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: str = "relu",
        *,
        init: Initializer | str | None = None,
        batch_norm: bool = False,
        dropout: float = 0.0,
        dtype: DTypeLike | None = None,
        rng: Seed = None,
    ) -> None:
        sizes = whole_numbers("MLP: sizes", sizes, 0)
        if len(sizes) < 2:
            raise ValueError(f"MLP: expected at least an input and an output size, got {sizes}")
        rng = generator(rng, "MLP: rng")
        nonlinearity = activation_called(activation, "MLP")
        init = initializer_for(activation) if init is None else init
        batch_norm, dropout = flag("MLP: batch_norm", batch_norm), share("MLP: dropout", dropout)
        layers: list[Module] = []
        for n_in, n_out in pairwise(sizes[:-1]):
            layers.append(Linear(n_in, n_out, dtype=dtype, rng=rng, init=init))
            layers += [BatchNorm1d(n_out, dtype=dtype)] if batch_norm else []
            layers.append(nonlinearity())
            layers += [Dropout(dropout, rng=rng)] if dropout else []
        super().__init__(*layers, Linear(sizes[-2], sizes[-1], dtype=dtype, rng=rng, init=init))

    def describe(self) -> str:
        layers = [layer for layer in self if isinstance(layer, Linear)]
        return " → ".join(str(n) for n in [layers[0].weight.shape[1], *(layer.weight.shape[0] for layer in layers)])
