"""Numeric derivatives with error estimates: what the table of derivatives is compared with, knowing nothing of it.

A function is sampled symmetrically around a point, at steps from far too small to far too large. Small steps suffer
from rounding, large ones from curvature; extrapolation, and agreement among the steps, pick the best and say how good
it is. Variables are given other data only inside a block that puts the very same objects back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .derivative import leaves, rebuilt
from .graph import Node, no_grad, note_change
from .primitive import NUMBERS, constant
from .tensor import Tensor
from .value import Value

EPS = float(np.finfo(float).eps)
RATIO = 4  # of one step to the next
COLUMNS = 6  # of the extrapolation tableau; each removes one more even power of the step
COARSE = 1e-4  # rounding inside a function, relative to its result, is noticed up to this size
NOISE_STEPS = 2  # that many smallest steps show the rounding noise of the function itself

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A derivative, a bound that its error is expected to keep, and the share of rounding in that bound."""

    value: float
    error: float
    rounding: float


UNKNOWN = Estimate(math.nan, math.inf, math.inf)


def derivative(f: Callable[[float], float], x: float, eps: float = EPS, noise: float = 0.0) -> Estimate:
    """The derivative of `f`, a function of one number, at `x`, with an error estimate.

    Central differences over a ladder of steps, extrapolated to step 0 (Richardson; the tableau and its error estimate
    as in Ridders, Adv. Eng. Software 4, 75-76, 1982). Of all entries it takes the one of least error among those that
    agree with every smaller step within both errors (Lepski's rule), so a step that reaches over a kink or past a
    narrow peak is found out. `eps` is the rounding unit of `f`'s result; `noise`, where more is known, how far rounding
    inside `f` may have moved it.

    A trial step at which `f` is not finite, or raises `ValueError` or `ArithmeticError`, has left its domain: it and
    larger steps are not used. Where no step is left, value is NaN.

    >>> import math
    >>> from chainrule.autograd.numeric import derivative
    >>> estimate = derivative(math.exp, 1.0)
    >>> abs(estimate.value - math.e) <= estimate.error < 1e-11
    True
    """
    h = steps(x)
    with np.errstate(all="ignore"):
        right, left = (np.array([trial(f, x + s * h_k) for h_k in h]) for s in (1, -1))
        differences = (right - left) / ((x + h) - (x - h))
        usable = int(np.argmin(np.append(np.isfinite(differences), False)))
        if usable < 2:
            return UNKNOWN
        h, right, left, differences = h[:usable], right[:usable], left[:usable], differences[:usable]
        return best(differences, np.maximum(noise, noise_of(h, right, left, eps)) / h)


def steps(x: float) -> Array:
    """Powers of two, smallest first, between what `x` can resolve and what its size, or 1, suggests."""
    size = abs(x) or 2.0**-10
    smallest = max(min(size, 1.0) * 2.0**-30, 4 * math.ulp(x))
    first, last = math.frexp(smallest)[1], math.frexp(max(size, 1.0))[1] - 3
    return np.ldexp(1.0, np.arange(first, max(last, first + 2) + 1, int(math.log2(RATIO))))


def trial(f: Callable[[float], float], x: float) -> float:
    try:
        return f(float(x))
    except (ArithmeticError, ValueError):
        return math.nan


def noise_of(h: Array, right: Array, left: Array, eps: float) -> Array:
    """How much rounding may have moved the samples: by the type of the result, and by what the smallest steps show."""
    size = np.maximum.accumulate(np.maximum(np.abs(right), np.abs(left)))
    moves = right - left
    slopes = extrapolated(moves / h, 1)  # so that curvature does not pass for noise
    jitter = (np.abs(np.diff(slopes)) * h[: len(slopes) - 1])[:NOISE_STEPS].max(initial=0.0)
    first = int(np.argmax(moves != 0))  # a function that rounds coarsely inside stands still, then takes a small step
    grain = np.abs(moves[first]) if first and np.abs(moves[first]) < COARSE * size[first] else 0.0
    noise: Array = np.maximum(4 * eps * size, max(4 * jitter, grain))
    return noise


def extrapolated(column: Array, j: int) -> Array:
    """The next column of the tableau: of two neighbours, what remains without the error of order 2j in the step."""
    better: Array = column[:-1] + (column[:-1] - column[1:]) / (RATIO ** (2 * j) - 1)
    return better


def best(differences: Array, noise: Array) -> Estimate:
    """The entry of least error in the tableau that no smaller step contradicts."""
    jumps = np.abs(np.diff(differences))
    reach = noise + np.maximum(np.append(jumps, 0.0), np.append(0.0, jumps))
    lowest = np.maximum.accumulate(differences - reach)
    highest = np.minimum.accumulate(differences + reach)
    found = UNKNOWN
    column = differences
    for j in range(1, min(COLUMNS, len(differences))):
        previous, column = column, extrapolated(column, j)
        rounding = noise[: len(column)]
        error = rounding + np.maximum(np.abs(column - previous[:-1]), np.abs(column - previous[1:]))
        agrees = (column + error >= lowest[: len(column)]) & (column - error <= highest[: len(column)])
        k = int(np.argmin(np.where(agrees, error, np.inf)))
        if agrees[k] and error[k] < found.error:
            found = Estimate(float(column[k]), float(error[k]), float(rounding[k]))
    return found


@contextmanager
def substituted(nodes: Sequence[Node], data: Sequence[Array]) -> Iterator[None]:
    """A block in which the nodes hold other data; afterwards, also after an error, their own again, untouched.

    Their births stay as they are: what was computed from them before is still right after.
    """
    own = [node._data for node in nodes]
    try:
        for node, array in zip(nodes, data, strict=True):
            node._data = float(array) if isinstance(node, Value) else array
        note_change()
        yield
    finally:
        for node, original in zip(nodes, own, strict=True):
            node._data = original
        note_change()


def variables(args: Any, name: str) -> list[Node]:
    """Fresh variables with the data of all numbers, arrays, Values and Tensors in the arguments."""
    return [variable(x._data if isinstance(x, Node) else x, name) for x in leaves(args)]


def variable(x: Any, name: str) -> Node:
    data = constant(x, name)
    if type(data) in NUMBERS and not isinstance(x, np.generic):
        return Value(data)
    dtype: Any = x.dtype if x.dtype.kind == "f" else None
    return Tensor(data, dtype)


def widened(nodes: Sequence[Node]) -> list[Array]:
    """Copies of the nodes' data as float64, on which the same function is computed with less rounding."""
    return [np.array(node._data, dtype=np.float64) for node in nodes]


def partial(
    f: Callable[[], float], node: Node, index: tuple[int, ...], eps: float = EPS, noise: float = 0.0
) -> Estimate:
    """The derivative of `f()` with respect to one element of a node that `f` uses, whose data is float64."""
    here = np.array(node._data, dtype=np.float64)

    def along(t: float) -> float:
        moved = here.copy()
        moved[index] = t
        with substituted([node], [moved]):
            return f()

    return derivative(along, float(here[index]), eps, noise)


def numeric_gradient(f: Callable[..., Any], *args: Any) -> Any:
    """The gradient of `f(*args)` by central differences and extrapolation: a reference that uses no rule.

    One gradient for one argument, else a tuple of one for each: floats for numbers and Values, float64 arrays for
    arrays and Tensors, in the same tuples, lists and dicts. `f` receives Values and Tensors and returns a single
    number; nothing is recorded, and no graph or gradient of yours is touched. Arguments of lower precision are raised
    to float64 first, which changes the rounding but not the function. Some 30 to 60 evaluations for each element;
    an element at which there is no finite derivative gets NaN. See `derivative` for method and source.

    Raises `TypeError` where `f` returns anything but one real number.

    >>> import chainrule as cr
    >>> round(cr.numeric_gradient(lambda x: x**3, 2.0), 9)
    12.0
    """
    if not args:
        raise TypeError("numeric_gradient: expected the arguments of f after f, got none")
    nodes = variables(args, "numeric_gradient")
    parts = rebuilt(args, iter(nodes))

    def value() -> float:
        return single_number(f(*parts))

    with no_grad(), substituted(nodes, widened(nodes)), np.errstate(all="ignore"):
        result = f(*parts)
        single_number(result)
        eps = float(precision(result).eps)
        slopes = [gradient_of(value, node, eps) for node in nodes]
    gradients = rebuilt(args, iter(slopes))
    return gradients[0] if len(gradients) == 1 else gradients


def gradient_of(f: Callable[[], float], node: Node, eps: float) -> Any:
    """The derivative with respect to every element of a node: a number for a Value, else an array."""
    slopes = np.zeros(np.shape(node._data))
    for index in np.ndindex(slopes.shape):
        slopes[index] = partial(f, node, index, eps).value
    return float(slopes) if isinstance(node, Value) else slopes


def data_of(y: Any, name: str) -> Any:
    """What a function returned, as a plain number or array."""
    return constant(y._data if isinstance(y, Node) else y, f"{name}: the result of the function")


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
    dtype = np.result_type(y._data if isinstance(y, Node) else y)
    return np.finfo(dtype if dtype.kind == "f" and dtype.itemsize < 8 else float)
