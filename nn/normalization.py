"""Layers that bring activations to mean 0 and variance 1, then scale and shift them as training finds best.

BatchNorm1d does so for each channel over the batch, and remembers running statistics for use; LayerNorm for each
sample over its features, so that it acts alike in training and in use.
"""

from __future__ import annotations

__all__ = ["BatchNorm1d", "LayerNorm"]

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from chainrule.autograd import Tensor, Value, mean, reshape, sqrt, square
from chainrule.autograd.context import about_to_change, blocks
from chainrule.autograd.guards.anew import read_anew, write
from chainrule.autograd.guards.settings import finite, is_real
from chainrule.autograd.operators import plain
from chainrule.autograd.plain import constant, describe
from chainrule.autograd.recording import in_precision, is_data

from .init import whole_number, whole_numbers
from .module import Module


class BatchNorm1d(Module):
    """(x - mean) / √(variance + eps) * weight + bias, for each of `n` channels (Ioffe & Szegedy 2015).

    x has shape (N, n) or (N, n, L). In training, mean and variance (divisor: the number of elements) are those of the
    batch, and the running statistics move towards them by `momentum`, the variance with divisor one less; a momentum of
    None averages over all batches alike. In use (`eval()`) the running statistics take their place. Parameters and
    buffers are PyTorch's: `weight`, `bias`; `running_mean`, `running_var`, `num_batches_tracked`.
    Raises `ValueError` for another shape, and in training for a single element a channel, which has no variance.

    >>> import chainrule as cr
    >>> norm = cr.nn.BatchNorm1d(1)
    >>> norm([[1.0], [3.0]]).data.round(3).tolist()
    [[-1.0], [1.0]]
    >>> norm.running_mean
    array([0.2])
    """

    buffers = ("running_mean", "running_var", "num_batches_tracked")

    def __init__(
        self, n: int, *, eps: float = 1e-5, momentum: float | None = 0.1, dtype: DTypeLike | None = None
    ) -> None:
        n = whole_number("BatchNorm1d: n, the number of channels,", n, 1)
        if momentum is not None and not (is_real(momentum) and 0.0 <= momentum <= 1.0):
            raise ValueError(f"BatchNorm1d: momentum must lie between 0 and 1, or be None, got {momentum!r}")
        self.eps, self.momentum = positive_eps("BatchNorm1d", eps), momentum
        self.weight = Tensor(np.ones(n), dtype)
        self.bias = Tensor(np.zeros(n), dtype)
        self.running_mean = np.zeros(n, self.weight.dtype)
        self.running_var = np.ones(n, self.weight.dtype)
        self.num_batches_tracked = np.zeros((), np.int64)

    def forward(self, x: Any) -> Any:
        x = as_input(x, self.weight, "BatchNorm1d")
        n = self.weight.shape[0]
        if len(x.shape) not in (2, 3) or x.shape[1] != n:
            raise ValueError(f"BatchNorm1d: expected an input of shape (N, {n}) or (N, {n}, L), got {x.shape}")
        column = (n,) if len(x.shape) == 2 else (n, 1)  # what broadcasts over the channels
        if self.training:
            centred, variance = self.of_batch(x)
        else:
            centred = x - reshape(as_it_is(self.running_mean), column)
            variance = reshape(as_it_is(self.running_var), column)
        weight, bias = (p if len(column) == 1 else reshape(p, column) for p in (self.weight, self.bias))
        return normalized(centred, variance, self.eps, weight) + bias

    def of_batch(self, x: Any) -> tuple[Any, Any]:
        """The batch less its mean, and its variance, both noted in the running statistics."""
        size = math.prod(x.shape) // x.shape[1]
        if size < 2:
            raise ValueError(
                f"BatchNorm1d: expected more than 1 value per channel when training, got an input of shape {x.shape}; "
                "take a larger batch (drop a last short one), or call eval() first"
            )
        axis = (0,) if len(x.shape) == 2 else (0, 2)
        average = mean(x, axis, keepdims=True)
        centred = x - average
        variance = mean(square(centred), axis, keepdims=True)
        if blocks:
            about_to_change(self)
        statistics = self.num_batches_tracked, self.running_mean, self.running_var
        write(partial(self.track, size), statistics, average, variance)
        return centred, variance

    @np.errstate(under="ignore")  # the variance of what does not vary fades away
    def track(self, size: int, average: Any, variance: Any) -> None:
        """Move the running statistics, in place, towards those of a batch with `size` elements a channel."""
        average, variance = data_of(average).reshape(-1), data_of(variance).reshape(-1)
        np.add(self.num_batches_tracked, 1, self.num_batches_tracked)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, x in (self.running_mean, average), (self.running_var, variance * (size / (size - 1))):
            np.add(running, share * (x - running), running)

    def describe(self) -> str:
        return f"{self.weight.shape[0]}"


class LayerNorm(Module):
    """(x - mean) / √(variance + eps) * weight + bias, over the last axes of x (Ba et al. 2016).

    `shape` is the length of the last axis, or the lengths of several; `weight` and `bias` have that shape. The divisor
    of the variance is the number of elements. Raises `ValueError` where the last axes of x have other lengths.

    >>> import chainrule as cr
    >>> cr.nn.LayerNorm(2)([[1.0, 3.0], [0.0, 10.0]]).data.round(3).tolist()
    [[-1.0, 1.0], [-1.0, 1.0]]
    """

    def __init__(self, shape: int | Sequence[int], *, eps: float = 1e-5, dtype: DTypeLike | None = None) -> None:
        several = isinstance(shape, Sequence) or np.ndim(shape) > 0
        lengths = whole_numbers("LayerNorm: shape", shape if several else (shape,), 1)
        if not lengths:
            raise ValueError(f"LayerNorm: expected positive lengths of the last axes, got {shape}")
        self.eps = positive_eps("LayerNorm", eps)
        self.weight = Tensor(np.ones(lengths), dtype)
        self.bias = Tensor(np.zeros(lengths), dtype)

    def forward(self, x: Any) -> Any:
        x = as_input(x, self.weight, "LayerNorm")
        lengths = self.weight.shape
        if x.shape[-len(lengths) :] != lengths:
            raise ValueError(
                f"LayerNorm: expected an input whose last axes have lengths {lengths}, got shape {x.shape}"
            )
        axis = tuple(range(-len(lengths), 0))
        centred = x - mean(x, axis, keepdims=True)
        variance = mean(square(centred), axis, keepdims=True)
        return normalized(centred, variance, self.eps) * self.weight + self.bias

    def describe(self) -> str:
        return ", ".join(map(str, self.weight.shape))


def normalized(centred: Any, variance: Any, eps: float, weight: Any = 1.0) -> Any:
    """Divided by the standard deviation; scaled first by what is as small, so that one pass over the batch does both."""
    return centred * (weight / sqrt(variance + eps))


def as_input(x: Any, weight: Tensor, name: str) -> Any:
    """A Tensor as it is; data as an array of the precision of the weights: float32 models stay float32."""
    if isinstance(x, Value):
        raise TypeError(f"{name}: expected an array or a Tensor, got {describe(x)}")
    if isinstance(x, Tensor):
        return in_precision(x, weight.dtype) if is_data(x) else x
    return in_precision(constant(x, name), weight.dtype)


def as_it_is(array: Any) -> Any:
    """An array that is kept, as it is whenever this runs."""
    return read_anew(array, lambda: array)


def data_of(x: Any) -> Any:
    return np.asarray(plain(x))  # of another library's array, computed: statistics are kept as numbers


def positive_eps(name: str, eps: float) -> float:
    if not (is_real(eps) and eps > 0.0):
        raise ValueError(f"{name}: eps must be positive, got {eps!r}")
    return finite(f"{name}: eps", eps)
