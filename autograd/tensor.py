"""Tensor: an array that remembers where it came from."""

from __future__ import annotations

__all__ = ["Tensor"]

from collections.abc import Iterator, Sequence
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from .context import blocks, tell_of_reading
from .graph import Node
from .guards.seals import hand_out, read_only
from .operators import Operators, plain, rounded
from .ops import linalg, reduction, shape
from .plain import constant, describe
from .primitive import kinds
from .typing import TensorOperator, ToTensor


class Tensor(Operators[TensorOperator, ToTensor]):
    """An array of real numbers, as a variable: whatever is computed from it can be differentiated by it.

    `data` is a number, (nested) lists of numbers or an array; NumPy's are copied, arrays of another library that speaks
    NumPy's protocols are kept as they are. `dtype` is a floating-point type; by default that of the data, float64 for
    integers and booleans. `name` labels drawings and messages. A copy of a Tensor has a copy of its `grad`.
    Raises `TypeError` for text, None, complex numbers and objects, `ValueError` for ragged lists.

    >>> import chainrule as cr
    >>> x = cr.Tensor([1.0, 2.0, 3.0])
    >>> (x * x).sum().backward()
    >>> x.grad
    array([2., 4., 6.])
    """

    __slots__ = ("seal",)

    if TYPE_CHECKING:
        grad: NDArray[Any] | None
        __matmul__: TensorOperator
        __rmatmul__: TensorOperator

        def __pos__(self) -> Tensor: ...

    def __init__(self, data: ArrayLike, dtype: DTypeLike | None = None, name: str | None = None) -> None:
        self.become_leaf(as_array(data, dtype), name)

    @property
    def data(self) -> NDArray[Any]:
        """The array. Assigning (`t.data = …`, `t.data -= …`) is an update: a graph built on the old data will not be
        differentiated. So it is with what is written into it (`t.data[0] = …`): backward will say so. The array of a result is
        read-only; write into a copy, `t.data.copy()`."""
        if blocks:
            tell_of_reading(self)
        array: NDArray[Any] = self._raw
        if self.op is not None:
            view: NDArray[Any] = read_only(self)
            return view
        hand_out(self)
        return array

    @data.setter
    def data(self, data: ArrayLike) -> None:
        self.require_leaf("given new data")
        array = data if data is self._raw else as_array(data, self.dtype)
        if array.shape != self.shape:
            raise ValueError(f"data: a Tensor of shape {self.shape} cannot take data of shape {array.shape}")
        if array is not self._raw:
            self._raw, self.seal = array, None
        self.touch()

    # fmt: off
    sum      = reduction.sum;   mean = reduction.mean;  prod = reduction.prod;  max = reduction.max;  min = reduction.min
    var      = reduction.var;   std  = reduction.std;   cumsum = reduction.cumsum;  cumprod = reduction.cumprod
    ravel    = shape.ravel;     flatten = shape.ravel;  swapaxes = shape.swapaxes;  squeeze = shape.squeeze
    repeat   = shape.repeat;    take = shape.take;      diagonal = shape.diagonal;  trace = reduction.trace
    round    = rounded;         dot = linalg.dot;     __getitem__ = shape.getitem
    softmax  = reduction.softmax;  log_softmax = reduction.log_softmax
    # fmt: on

    @property
    def shape(self) -> tuple[int, ...]:
        s: tuple[int, ...] = self._raw.shape
        return s

    @property
    def dtype(self) -> np.dtype[Any]:
        d: np.dtype[Any] = self._raw.dtype
        return d

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(self._raw.size)

    @property
    def T(self) -> Tensor:
        result: Tensor = shape.transpose(self)
        return result

    def reshape(self, *lengths: Any) -> Tensor:
        """The same elements in another shape: `t.reshape(2, 3)` or `t.reshape((2, 3))`."""
        result: Tensor = shape.reshape(self, lengths[0] if len(lengths) == 1 else lengths)
        return result

    def transpose(self, *axes: Any) -> Tensor:
        """The axes in another order, by default reversed: `t.transpose(1, 0)` or `t.transpose((1, 0))`."""
        order = axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None
        result: Tensor = shape.transpose(self, order)
        return result

    def astype(self, dtype: DTypeLike) -> Tensor:
        """The same numbers in another floating-point type."""
        result: Tensor = shape.astype(self, dtype)
        return result

    def item(self) -> float:
        """The one element as a Python number, without its history."""
        return float(plain(self).item())

    def tolist(self) -> Any:
        """The elements as (nested) lists of Python numbers, without their history."""
        return plain(self).tolist()

    def detach(self) -> NDArray[Any]:
        """A copy of the array, as a constant: no gradient flows through it, and no later update reaches it."""
        copy: NDArray[Any] = copied(plain(self))
        return copy

    def fit(self, g: Any) -> Any:
        data = self._raw
        if type(g) is np.ndarray and g.shape == data.shape and g.dtype == data.dtype:
            return g
        if not hasattr(g, "shape") or not hasattr(g, "dtype"):
            g = shape.broadcast_to(g, data.shape) if isinstance(g, Node) else np.full(data.shape, g, data.dtype)
        if g.shape != data.shape:
            g = unbroadcast(g, data.shape)
        if g.dtype != data.dtype:
            g = shape.astype_(g, dtype=data.dtype)
        return g

    def seed(self, seed: Any = None) -> Any:
        if seed is None:
            if isinstance(self._raw, np.generic):
                return type(self._raw)(1)
            if self._raw.size != 1:
                raise ValueError(
                    f"backward from a Tensor of shape {self.shape} needs a seed of that shape "
                    "(the gradient of the final number with respect to it); or reduce it first, as with .sum()"
                )
            return np.ones_like(self._raw)
        if isinstance(seed, Node):
            raise TypeError(f"backward: the seed must be plain data, got {describe(seed)}; use its .data")
        seed = np.array(constant(seed, "backward: the seed"), dtype=self.dtype)
        if seed.shape != self.shape:
            raise ValueError(f"backward: a seed of shape {seed.shape} for a Tensor of shape {self.shape}")
        return np.asarray(seed)

    def add_to_grad(self, g: Any, owned: bool) -> None:
        if self._grad is not None:
            total = self._grad + g
            self._grad = np.asarray(total) if isinstance(total, np.generic) else total  # sums without axes are scalars
        else:
            self._grad = g if owned and isinstance(g, np.ndarray) and g.base is None else copied(g)

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a Tensor without axes")
        return self.shape[0]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __contains__(self, x: Any) -> bool:
        return bool(np.any(self == x))

    def __setitem__(self, index: Any, value: Any) -> None:
        raise TypeError(
            "a Tensor cannot be assigned into: the graph still needs what was there. Make a new one: "
            "cr.where(mask, new, t) replaces elements, cr.concatenate and cr.stack put parts together. "
            "To update a parameter, assign to t.data."
        )

    def __index__(self) -> int:
        raise TypeError("a Tensor holds real numbers and cannot be an index; use int(t.item())")

    def __repr__(self) -> str:
        prefix = "Tensor("
        body = np.array2string(np.asarray(self._raw), separator=", ", prefix=prefix)
        dtype = f", dtype={self.dtype}" if self.dtype != float else ""
        name = f", name={self.name!r}" if self.name is not None else ""
        empty = f", shape={self.shape}" if self.size == 0 else ""
        return f"{prefix}{body}{empty}{dtype}{name})"

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else repr(self)

    def __reduce__(self) -> tuple[type[Tensor], tuple[NDArray[Any], None, str | None], tuple[None, dict[str, Any]]]:
        self.require_leaf("copied or pickled")
        return Tensor, (plain(self), None, self.name), (None, {"grad": deepcopy(self._grad), "frozen": self.frozen})


def unbroadcast(g: Any, to: Sequence[int]) -> Any:
    """Sum `g` over the axes along which something of shape `to` was repeated; repeat it where it is smaller."""
    extra = len(g.shape) - len(to)
    if extra > 0:
        g = reduction.sum(g, axis=tuple(range(extra)))
    repeated = tuple(i for i, n in enumerate(to) if n == 1 and len(g.shape) > i and g.shape[i] != 1)
    if repeated and extra >= 0:
        g = reduction.sum(g, axis=repeated, keepdims=True)
    return g if g.shape == tuple(to) else shape.broadcast_to(g, tuple(to))


def copied(g: Any) -> Any:
    return np.array(g) if isinstance(g, np.ndarray | np.generic) else g.copy()


def as_array(data: Any, dtype: DTypeLike | None) -> Any:
    """A floating-point array: a copy of NumPy's arrays and of lists, other arrays as they are."""
    if isinstance(data, Node):
        raise TypeError(f"Tensor: got {describe(data)}, a variable already; use its .data for a new, unconnected one")
    data = constant(np.asarray(data) if isinstance(data, np.generic) else data, "Tensor")
    if hasattr(data, "__array_function__") and not isinstance(data, np.ndarray):
        if dtype is not None or data.dtype.kind != "f":
            data = data.astype(floating(dtype))
        return data
    return np.array(data, dtype=floating(dtype if dtype is not None else np.asarray(data).dtype))


def floating(dtype: DTypeLike | None) -> np.dtype[Any]:
    """A floating-point dtype; float64 for integers and booleans."""
    kind = shape.dtype_of("Tensor", dtype)
    if kind.kind in "iub":
        return np.dtype(float)
    if kind.kind != "f":
        raise TypeError(f"Tensor: dtype must be a floating-point type, got {kind}")
    return kind


kinds[np.ndarray] = Tensor
