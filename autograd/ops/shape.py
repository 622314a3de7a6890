"""The table, part 2: the same numbers in another shape or order, and indexing.

Every rule here puts the cotangent back to where its number came from. Un-broadcasting is no rule's business: the walk
fits each cotangent to its receiver.
"""

from __future__ import annotations

__all__ = [
    "astype", "broadcast_to", "concatenate", "diag", "diagonal", "expand_dims", "flip", "moveaxis", "pad", "ravel",
    "repeat", "reshape", "roll", "sort", "split", "squeeze", "stack", "swapaxes", "take", "take_along_axis", "tile",
    "transpose", "tril", "triu",
]  # fmt: skip

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ..graph import Node
from ..guards.settings import sequence, whole
from ..plain import NUMBERS, describe
from ..primitive import Row, op_of, primitive, same, shown


def shape_of(x: Any) -> tuple[int, ...]:
    """The shape of a node, an array, a number or nested lists."""
    return getattr(x, "shape", ()) if not isinstance(x, list | tuple) else np.shape(x)


def ndim_of(x: Any) -> int:
    return len(shape_of(x))


def array_of(x: Any) -> Any:
    """A number as an array without axes; an array as it is."""
    return np.asarray(x) if type(x) in NUMBERS else x


def normalized(axis: int, ndim: int, name: str) -> int:
    """An axis counted from the front, checked."""
    axis = axis if type(axis) is int else whole(f"{name}: axis", axis)
    if not -ndim <= axis < ndim:
        raise np.exceptions.AxisError(f"{name}: axis {axis} is out of bounds for an array with {ndim} axes")
    return axis % ndim


def several(axis: int | Sequence[int]) -> Sequence[int]:
    """One axis or several, as several."""
    return axis if isinstance(axis, list | tuple | np.ndarray) else (axis,)


def along(axis: int, index: Any) -> tuple[Any, ...]:
    """The index that picks `index` along one axis and everything along those before it."""
    return (*(slice(None),) * axis, index)


def scatter_of(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    out = np.zeros(shape, x.dtype) if isinstance(x, np.ndarray) else np.zeros_like(x, shape=shape)
    parts = index if isinstance(index, tuple) else (index,)
    if any(isinstance(part, np.ndarray) and part.dtype != bool for part in parts):
        places = np.arange(out.size).reshape(shape)[index]  # add.at is several times faster on one axis
        np.add.at(out.reshape(-1), places.reshape(-1), np.reshape(x, -1))  # an element picked twice receives both
    else:
        out[index] = x
    return out


def holds_integers(x: Any) -> bool:
    """Whether this is a variable of integers: there are such only where a function is recorded."""
    return isinstance(x, Node) and isinstance(x._raw, np.ndarray) and x._raw.dtype.kind in "iu"


HERE = type("Here", (), {"__repr__": lambda self: "HERE"})()  # in an index: what is an argument of its own comes here


def completed(index: tuple[Any, ...], indices: Iterable[Any]) -> tuple[Any, ...]:
    """The index with its recorded parts."""
    parts = iter(indices)
    return tuple([next(parts) if part is HERE else part for part in index])


def pick_back(args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> list[Any]:
    x, *indices = shown(args, y)
    return [put(g, *indices, index=params["index"], shape=shape_of(x)), *(None for _ in indices)]


def put_back(args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> list[Any]:
    _, *indices = shown(args, y)
    return [pick(g, *indices, index=params["index"]), *(None for _ in indices)]


def concatenate_back(args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> list[Any]:
    axis = normalized(params["axis"], ndim_of(g), "concatenate")
    ends = np.cumsum([shape_of(part)[axis] for part in args]).tolist()
    return [getitem(g, along(axis, slice(start, end))) for start, end in zip([0, *ends[:-1]], ends, strict=True)]


def stack_of(*parts: Any, axis: int) -> Any:
    return np.array(parts) if axis == 0 and parts and type(parts[0]) is float else np.stack(parts, axis)


def stack_back(args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> list[Any]:
    if isinstance(g, np.ndarray) and g.ndim == 1:
        return list(g.tolist())  # numbers, side by side
    axis = normalized(params["axis"], ndim_of(g), "stack")
    return [getitem(g, along(axis, i)) for i in range(len(args))]


def pad_back(g: Any, y: Any, x: Any, widths: tuple[tuple[int, int], ...]) -> Any:
    return getitem(g, tuple(slice(low, low + n) for (low, _), n in zip(widths, shape_of(x), strict=True)))


def in_order_of(x: Any, key: Any, axis: int) -> Any:
    return np.take_along_axis(x, np.argsort(key, axis=axis, kind="stable"), axis)


def back_in_order_of(x: Any, key: Any, axis: int) -> Any:
    out = np.empty_like(x)
    np.put_along_axis(out, np.argsort(key, axis=axis, kind="stable"), x, axis)
    return out


def carried(row: Callable[..., Any]) -> Callable[..., Any]:
    """How far what is alive reaches back through a row that only moves elements or adds them up: as cotangents do."""
    op = op_of(row)

    def reach(alive: Any, place: int, args: Sequence[Any], y: Any, params: Mapping[str, Any]) -> Any:
        return op.pull(args, alive, y, params)[place]

    return reach


back_in_order: Row
put: Row
scatter: Row

# fmt: off
reshape_      = primitive("reshape",       lambda x, shape: np.reshape(x, shape),            lambda g, y, x, shape: reshape(g, shape_of(x)))
transpose_    = primitive("transpose",     lambda x, axes: np.transpose(x, axes),            lambda g, y, x, axes: transpose(g, np.argsort(axes).tolist()))
broadcast_    = primitive("broadcast_to",  lambda x, shape: np.broadcast_to(x, shape),       lambda g, y, x, shape: g)
flip_         = primitive("flip",          lambda x, axis: np.flip(x, axis),                 lambda g, y, x, axis: flip(g, axis))
roll_         = primitive("roll",          lambda x, shift, axis: np.roll(x, shift, axis),   lambda g, y, x, shift, axis: roll(g, np.negative(shift).tolist(), axis))
pad_          = primitive("pad",           lambda x, widths: np.pad(x, widths),              pad_back)
tril_         = primitive("tril",          lambda x, k: np.tril(x, k),                       lambda g, y, x, k: tril(g, k))
triu_         = primitive("triu",          lambda x, k: np.triu(x, k),                       lambda g, y, x, k: triu(g, k))
sort_         = primitive("sort",          lambda x, axis: np.sort(x, axis, kind="stable"),  lambda g, y, x, axis: back_in_order(g, x, axis=axis))
in_order      = primitive("in_order",      in_order_of,                                      lambda g, y, x, key, axis: back_in_order(g, key, axis=axis), None,
                          doc="The elements of x in the order that would sort the key.")
back_in_order = primitive("back_in_order", back_in_order_of,                                 lambda g, y, x, key, axis: in_order(g, key, axis=axis), None,
                          doc="The inverse of in_order.")
getitem_      = primitive("getitem",       lambda x, index: array_of(x)[index],              lambda g, y, x, index: scatter(g, index=index, shape=shape_of(x)), symbol="[ ]")
scatter       = primitive("scatter",       scatter_of,                                       lambda g, y, x, index, shape: getitem_(g, index=index),
                          doc="Zeros of a shape with x added in at an index: the transpose of indexing.")
pick          = primitive("pick",          lambda x, *indices, index: array_of(x)[completed(index, indices)], pull=pick_back, symbol="[ ]",
                          doc="Indexing by integers that a recorded function is given.")
put           = primitive("put",           lambda x, *indices, index, shape: scatter_of(x, completed(index, indices), shape), pull=put_back,
                          doc="Zeros of a shape with x added in at integers that a recorded function is given: the transpose of pick.")
astype_       = primitive("astype",        lambda x, dtype: array_of(x).astype(dtype),       lambda g, y, x, dtype: g,                        elementwise=True)
item          = primitive("item",          lambda x: float(array_of(x).item()),              same,
                          doc="The one element of x as a number.")
concatenate_  = primitive("concatenate",   lambda *parts, axis: np.concatenate(parts, axis), pull=concatenate_back)
stack_        = primitive("stack",         stack_of,                                         pull=stack_back)
# fmt: on

for row in concatenate_, stack_:
    op_of(row).reads = ()
for row in pad_, concatenate_, stack_:  # of the cotangent they drop what is of no argument
    op_of(row).selects = lambda args, y, params: (None,) * len(args)
for row in tril_, triu_:
    op_of(row).selects = lambda args, y, params, part=row: (part(np.ones(shape_of(y)), **params),)
MOVERS = (reshape_, transpose_, broadcast_, flip_, roll_, pad_, tril_, triu_, sort_, in_order, back_in_order, getitem_, scatter,
          pick, put, item, concatenate_, stack_)  # fmt: skip
for row in MOVERS:
    op_of(row).reach = carried(row)


def astype(x: Any, dtype: Any) -> Any:
    """`x` in another floating-point type."""
    kind = dtype_of("astype", dtype)
    if kind.kind != "f":
        raise TypeError(f"astype: expected a floating-point type, got {kind}")
    return astype_(x, dtype=kind)


def dtype_of(name: str, dtype: Any) -> np.dtype[Any]:
    try:
        kind: np.dtype[Any] = np.dtype(dtype)
    except (TypeError, ValueError):
        raise TypeError(f"{name}: dtype must be a floating-point type, got {describe(dtype)}") from None
    return kind


def reshape(x: Any, shape: int | Sequence[int]) -> Any:
    """The same elements in another shape; one length may be -1, to be worked out."""
    return reshape_(x, shape=shape)


def ravel(x: Any) -> Any:
    """The elements as a vector, last axis fastest."""
    return reshape(x, (-1,))


def transpose(x: Any, axes: int | Sequence[int] | None = None) -> Any:
    """The axes in another order, by default reversed."""
    n = ndim_of(x)
    order = range(n)[::-1] if axes is None else [normalized(a, n, "transpose") for a in several(axes)]
    return transpose_(x, axes=tuple(order))


def swapaxes(x: Any, axis1: int, axis2: int) -> Any:
    """Two axes exchanged."""
    order = list(range(ndim_of(x)))
    i, j = (normalized(axis, len(order), "swapaxes") for axis in (axis1, axis2))
    order[i], order[j] = j, i
    return transpose_(x, axes=tuple(order))


def moveaxis(x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    """Axes moved to new places; the others keep their order."""
    return moved_axes("moveaxis", x, source, destination)


def moved_axes(name: str, x: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Any:
    n = ndim_of(x)
    moved, to = ([normalized(a, n, name) for a in several(axes)] for axes in (source, destination))
    if not len(set(moved)) == len(moved) == len(to) == len(set(to)):
        raise ValueError(f"{name}: expected as many new places as axes, each once, got {source} and {destination}")
    order = [a for a in range(n) if a not in moved]
    for place, a in sorted(zip(to, moved, strict=True)):
        order.insert(place, a)
    return transpose_(x, axes=tuple(order))


def squeeze(x: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """Axes of length 1 removed: all of them, or those named."""
    shape = shape_of(x)
    if axis is None:
        return reshape(x, tuple(n for n in shape if n != 1))
    axes = [normalized(a, len(shape), "squeeze") for a in several(axis)]
    if any(shape[a] != 1 for a in axes):
        raise ValueError(f"squeeze: axis {axis} of shape {shape} is not of length 1")
    return reshape(x, tuple(n for i, n in enumerate(shape) if i not in axes))


def expand_dims(x: Any, axis: int | tuple[int, ...]) -> Any:
    """New axes of length 1, at these places of the result."""
    ndim = ndim_of(x) + len(several(axis))
    places = {normalized(a, ndim, "expand_dims") for a in several(axis)}
    if len(places) < len(several(axis)):
        raise ValueError(f"expand_dims: axis {axis} names an axis twice")
    lengths = iter(shape_of(x))
    return reshape(x, tuple(1 if i in places else next(lengths) for i in range(ndim)))


def broadcast_to(x: Any, shape: int | Sequence[int]) -> Any:
    """`x` repeated to a larger shape, by NumPy's broadcasting."""
    return broadcast_(x, shape=shape)


def concatenate(parts: Iterable[Any], axis: int | None = 0) -> Any:
    """The parts one after another along `axis`; flattened first if that is None."""
    parts = sequence("concatenate", parts)
    return concatenate_(*(map(ravel, parts) if axis is None else parts), axis=0 if axis is None else axis)


def stack(parts: Iterable[Any], axis: int = 0) -> Any:
    """The parts side by side along a new axis. Turns Values into one Tensor.

    >>> import chainrule as cr
    >>> cr.stack([cr.Value(1.0), cr.Value(2.0)])
    Tensor([1., 2.])
    """
    return stack_(*sequence("stack", parts), axis=axis)


def split(x: Any, indices_or_sections: int | Sequence[int], axis: int = 0) -> list[Any]:
    """The pieces of `x` along `axis`: so many equal ones, or cut before the given indices."""
    axis = normalized(axis, ndim_of(x), "split")
    n = shape_of(x)[axis]
    if np.ndim(indices_or_sections) == 0:
        indices_or_sections = whole("split: the number of sections", indices_or_sections)
        if indices_or_sections < 1 or n % indices_or_sections:
            raise ValueError(f"split: {n} elements do not divide into {indices_or_sections} equal parts")
        step = n // indices_or_sections
        cuts = [step * i for i in range(1, indices_or_sections)]
    else:
        cuts = [whole("split: an index", i) for i in sequence("split", indices_or_sections)]
    return [getitem(x, along(axis, slice(i, j))) for i, j in zip([None, *cuts], [*cuts, None], strict=True)]


def flip(x: Any, axis: int | tuple[int, ...] | None = None) -> Any:
    """The elements in reverse order along `axis`, by default along every one."""
    return flip_(x, axis=axis)


def roll(x: Any, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Any:
    """The elements moved on by `shift` places along `axis`; what falls off the end comes in at the start."""
    return roll_(x, shift=shift, axis=axis)


def pad(x: Any, pad_width: Any, mode: str = "constant") -> Any:
    """`x` with zeros around it: `pad_width` as in `numpy.pad`, (before, after) for each axis."""
    if mode != "constant":
        raise ValueError(f"pad: only mode='constant' (zeros) has a row here, got {mode!r}")
    try:
        widths = np.broadcast_to(np.asarray(pad_width).astype(int, casting="safe"), (ndim_of(x), 2))
    except (TypeError, ValueError) as error:
        raise type(error)(f"pad: expected whole numbers (before, after) for each axis, got {pad_width!r}") from error
    return pad_(x, widths=tuple((low, high) for low, high in widths.tolist()))


def tile(x: Any, reps: int | Sequence[int]) -> Any:
    """`x` laid side by side, `reps` times along each axis."""
    times = tuple([whole("tile: reps", n) for n in several(reps)])
    ndim = max(len(times), ndim_of(x))
    times = (1,) * (ndim - len(times)) + times
    lengths = (1,) * (ndim - ndim_of(x)) + shape_of(x)
    # Each axis becomes two, (1, length), the first of which is then repeated.
    narrow = tuple(n for length in lengths for n in (1, length))
    wide = tuple(n for pair in zip(times, lengths, strict=True) for n in pair)
    total = tuple(r * n for r, n in zip(times, lengths, strict=True))
    return reshape(broadcast_to(reshape(x, narrow), wide), total)


def repeat(x: Any, repeats: int | Sequence[int], axis: int | None = None) -> Any:
    """Each element repeated in place; `repeats` is one number or one for each position along `axis`."""
    if isinstance(repeats, Node) or np.asarray(repeats).dtype.kind not in "iub":
        raise TypeError(f"repeat: repeats must be integers, got {describe(repeats)}")
    if axis is None or (axis in (0, -1) and shape_of(x) == ()):  # NumPy takes a number for a line of one
        x, axis = ravel(x), 0
    axis = normalized(axis, ndim_of(x), "repeat")
    return take(x, np.repeat(np.arange(shape_of(x)[axis]), repeats), axis)


def getitem(x: Any, index: Any) -> Any:
    """`x[index]`, with every kind of index NumPy has; an element picked twice receives both gradients."""
    parts = index if isinstance(index, tuple) else (index,)
    recorded = [part for part in parts if isinstance(part, Node)]
    if recorded and all(map(holds_integers, recorded)):
        return pick(x, *recorded, index=tuple([HERE if isinstance(part, Node) else part for part in parts]))
    if recorded:
        raise TypeError("getitem: an index is made of integers or booleans, but Values and Tensors hold real numbers")
    parts = tuple(integers(part) if isinstance(part, list | tuple | range | np.ndarray) else part for part in parts)
    return getitem_(x, index=parts if isinstance(index, tuple) else parts[0])


def integers(index: Any) -> Any:
    """An index array of its own, so that a later change of the caller's cannot reach it; an empty list is one too."""
    return np.array(index, dtype=None if np.size(index) else int)


def take(x: Any, indices: Any, axis: int | None = None) -> Any:
    """The elements at integer `indices` along `axis`; of the flattened array if that is None."""
    if axis is None:
        x, axis = ravel(x), 0
    axis = normalized(axis, ndim_of(x), "take")
    return getitem(x, along(axis, indices if isinstance(indices, int | Node) else integers(indices)))


def take_along_axis(x: Any, indices: Any, axis: int | None = -1) -> Any:
    """For each position of `indices`, the element of `x` at that index along `axis`."""
    if axis is None:
        x, axis = ravel(x), 0
    axis = normalized(axis, ndim_of(x), "take_along_axis")
    indices = indices if holds_integers(indices) else integers(indices)
    if indices.ndim != ndim_of(x):
        raise ValueError(f"take_along_axis: indices of shape {indices.shape} for an array of shape {shape_of(x)}")
    grid = list(np.ogrid[tuple(slice(n) for n in shape_of(x))])
    grid[axis] = indices
    return getitem(x, tuple(grid))


def diagonal(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The diagonal of the matrices that lie in two axes; it becomes the last axis of the result."""
    offset = whole("diagonal: offset", offset)
    x = moved_axes("diagonal", x, (axis1, axis2), (-2, -1))
    rows, columns = shape_of(x)[-2:]
    i = np.arange(max(0, min(rows + min(offset, 0), columns - max(offset, 0))))
    return getitem(x, (..., i - min(offset, 0), i + max(offset, 0)))


def diag(x: Any, k: int = 0) -> Any:
    """A square matrix with the vector `x` on its k-th diagonal; of a matrix, its k-th diagonal."""
    k = whole("diag: k", k)
    if ndim_of(x) == 2:
        return diagonal(x, k)
    if ndim_of(x) != 1:
        raise ValueError(f"diag: expected a vector or a matrix, got shape {shape_of(x)}")
    i = np.arange(shape_of(x)[0])
    n = len(i) + abs(k)
    return scatter(x, index=(i - min(k, 0), i + max(k, 0)), shape=(n, n))


def tril(x: Any, k: int = 0) -> Any:
    """The lower triangle of matrices: zero above the k-th diagonal."""
    return tril_(x, k=k)


def triu(x: Any, k: int = 0) -> Any:
    """The upper triangle of matrices: zero below the k-th diagonal."""
    return triu_(x, k=k)


def sort(x: Any, axis: int | None = -1) -> Any:
    """The elements in ascending order along `axis`; of the flattened array if that is None."""
    return sort_(ravel(x), axis=-1) if axis is None else sort_(x, axis=axis)
