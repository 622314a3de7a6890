"""What a function is called with, as variables that can hold other data: how a function of nodes becomes one of numbers.

They hold other data only inside a block that puts the very same objects back.
"""

from __future__ import annotations

__all__ = ["numeric_gradient"]

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..context import note_change
from ..derivative import leaves, rebuilt
from ..graph import Node
from ..guards.blocks import enable_grad
from ..guards.settings import flag
from ..guards.traces import untouched
from ..plain import NUMBERS, constant, require_function
from ..tensor import Tensor
from ..value import Value
from .numeric import EPS, Array, Probe, of_number


@contextmanager
def substituted(nodes: Sequence[Node], data: Sequence[Array]) -> Iterator[None]:
    """A block in which the nodes hold other data; afterwards, also after an error, their own again, untouched.

    Their births stay as they are: what was computed from them before is still right after.
    """
    own = [node._raw for node in nodes]
    try:
        for node, array in zip(nodes, data, strict=True):
            node._raw = float(array) if isinstance(node, Value) else array
        note_change()
        yield
    finally:
        for node, original in zip(nodes, own, strict=True):
            node._raw = original
        note_change()


def variables(args: Any, name: str) -> list[Node]:
    """Fresh variables with the data of all numbers, arrays, Values and Tensors in the arguments."""
    return [variable(x._raw if isinstance(x, Node) else x, name) for x in leaves(args)]


def variable(x: Any, name: str) -> Node:
    data = constant(x, name)
    if type(data) in NUMBERS and not isinstance(x, np.generic):
        return Value(data)
    dtype: Any = x.dtype if x.dtype.kind == "f" else None
    return Tensor(data, dtype)


def widened(nodes: Sequence[Node]) -> list[Array]:
    """Copies of the nodes' data as float64, on which the same function is computed with less rounding."""
    return [np.array(node._raw, dtype=np.float64) for node in nodes]


def probe(
    f: Callable[[], float],
    node: Node,
    index: tuple[int, ...],
    eps: float = EPS,
    noise: float = 0.0,
    opaque: bool = True,
) -> Probe:
    """`f()` as one element moves of a node that it uses, whose data is float64."""
    here = np.array(node._raw, dtype=np.float64)

    def along(x: float) -> float:
        moved = here.copy()
        moved[index] = x
        with substituted([node], [moved]):
            return f()

    return of_number(along, float(here[index]), eps, noise, opaque)


def numeric_gradient(f: Callable[..., Any], *args: Any, error: bool = False) -> Any:
    """The gradient of `f(*args)` by central differences and extrapolation: a reference that uses no rule.

    One gradient for one argument, else a tuple of one for each: floats for numbers and Values, float64 arrays for
    arrays and Tensors, in the same tuples, lists and dicts. `f` receives Values and Tensors and returns a single
    number, and may take gradients itself; no graph or gradient of yours is touched. Arguments of lower precision are raised
    to float64 first, which changes the rounding but not the function. Some 30 to 60 evaluations for each element, 500
    where it has to be found out how `f` rounds; an element at which there is no finite derivative gets NaN. See `derivative` for method and source.

    With `error=True` it is the pair `(gradient, bar)`: the bar has the form of the gradient, and says for each element by how
    much its derivative may be off: at a kink by as much as the slopes of its sides, where there is none by infinity.

    Raises `TypeError` where `f` returns anything but one real number.

    >>> import chainrule as cr
    >>> gradient, bar = cr.numeric_gradient(lambda x: x**3, 2.0, error=True)
    >>> abs(gradient - 12.0) <= bar < 1e-9
    True
    """
    require_function("numeric_gradient: f", f)
    error = flag("numeric_gradient: error", error)
    if not args:
        raise TypeError("numeric_gradient: expected the arguments of f after f, got none")
    nodes = variables(args, "numeric_gradient")
    parts = rebuilt(args, iter(nodes))

    def value() -> float:
        return single_number(f(*parts))

    with untouched(), enable_grad(), substituted(nodes, widened(nodes)), np.errstate(all="ignore"):
        result = f(*parts)
        single_number(result)
        eps = float(precision(result).eps)
        found = [gradient_of(value, node, eps) for node in nodes]
    gradient, bar = (rebuilt(args, iter([pair[i] for pair in found])) for i in (0, 1))
    if len(args) == 1:
        [gradient], [bar] = gradient, bar
    return (gradient, bar) if error else gradient


def gradient_of(f: Callable[[], float], node: Node, eps: float) -> tuple[Any, Any]:
    """The derivative with respect to every element of a node, and its error: numbers for a Value, else arrays."""
    slopes, errors = np.zeros(np.shape(node._raw)), np.zeros(np.shape(node._raw))
    for index in np.ndindex(slopes.shape):
        estimate = probe(f, node, index, eps).slopes().item()
        slope, sides = estimate.value, estimate.kink or ()
        beside = max((abs(side - slope) for side in sides), default=0.0)
        slopes[index], errors[index] = slope, math.inf if math.isnan(slope) else estimate.error + beside
    return (float(slopes), float(errors)) if isinstance(node, Value) else (slopes, errors)


def data_of(y: Any, name: str) -> Any:
    """What a function returned, as a plain number or array."""
    return constant(y._raw if isinstance(y, Node) else y, f"{name}: the result of the function")


def single_number(y: Any) -> float:
    data = data_of(y, "numeric_gradient")
    if np.shape(data) != ():
        raise TypeError(
            f"numeric_gradient: the function must return a single number, got shape {np.shape(data)}; "
            "reduce it (as with cr.sum)"
        )
    return float(data)


def precision(y: Any) -> np.finfo[Any]:
    """What is known of the floating-point type of a result: float64 for numbers and integers."""
    dtype = np.result_type(y._raw if isinstance(y, Node) else y)
    return np.finfo(dtype if dtype.kind == "f" and dtype.itemsize < 8 else float)
