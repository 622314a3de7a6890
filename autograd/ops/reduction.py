"""The table, part 3: sums, means, extremes and their kin, along axes.

Conventions: ties of max and min share the gradient evenly; `prod` and `cumprod` are exact at zeros; the slope of
`norm` and `std` is 0 where they are 0.
"""

from __future__ import annotations

__all__ = [
    "cumprod", "cumsum", "log_softmax", "logsumexp", "max", "mean", "min", "norm", "prod", "softmax", "std", "sum",
    "trace", "var",
]  # fmt: skip

import math
from typing import Any, TypeAlias

import numpy as np

from ..guards import settings
from ..guards.settings import real
from ..primitive import Row, op_of, primitive
from .elementwise import abs, any_, equal, exp, is_zero, logical_not, logical_or, pow, select, sign, where
from .shape import broadcast_to, carried, diagonal, flip, moveaxis, ravel, reshape, roll, shape_of

Axis: TypeAlias = int | tuple[int, ...] | None


def axes_of(axis: Axis, ndim: int) -> tuple[int, ...]:
    """The axes meant, counted from the front."""
    if axis is None:
        return tuple(range(ndim))
    return tuple(a % ndim for a in (axis if isinstance(axis, tuple) else (axis,))) if ndim else ()


def size_along(x: Any, axis: Axis) -> int:
    shape = shape_of(x)
    return math.prod(shape[a] for a in axes_of(axis, len(shape)))


def spread(reduced: Any, x: Any, axis: Axis) -> Any:
    """Repeat what a reduction of `x` has left over the axes it was reduced along."""
    shape = shape_of(x)
    axes = axes_of(axis, len(shape))
    return broadcast_to(reshape(reduced, tuple(1 if i in axes else n for i, n in enumerate(shape))), shape)


def peak(x: Any, axis: Axis) -> Any:
    """The maximum along `axis`, which stays in; 0 where there is nothing."""
    reduce = np.max if size_along(x, axis) else np.sum
    return reduce(x, axis=axis, keepdims=True)


def highest(x: Any, axis: Axis) -> Any:
    """The maximum to subtract before exp: finite, so that inf - inf cannot arise."""
    high = peak(x, axis)
    return np.where(np.isfinite(high), high, np.zeros_like(high))


def logsumexp_of(x: Any, axis: Axis, keepdims: bool) -> Any:
    high = highest(x, axis)
    with np.errstate(divide="ignore", over="ignore"):  # log 0 = -inf and exp inf = inf are right here
        y = np.log(np.sum(np.exp(x - high), axis=axis, keepdims=True)) + high
    return y if keepdims else np.squeeze(y, axis=axis)


def softmax_of(x: Any, axis: Axis) -> Any:
    e = np.exp(x - peak(x, axis))
    return e / np.sum(e, axis=axis, keepdims=True)


def shares_of(x: Any, axis: Axis) -> Any:
    high = peak(x, axis)
    finite = np.isfinite(high)
    with np.errstate(over="ignore"):
        e = np.where(finite, np.exp(x - highest(x, axis)), np.equal(x, high))
    return e / np.sum(e, axis=axis, keepdims=True)


def log_softmax_of(x: Any, axis: Axis) -> Any:
    shifted = x - peak(x, axis)
    with np.errstate(divide="ignore"):  # the sum of nothing is 0
        return shifted - np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))


def ties_of(x: Any, y: Any, axis: Axis) -> Any:
    """1 at the extreme y of x, shared evenly where several elements attain it; NaN attains it."""
    hits = np.equal(x, spread(y, x, axis)) | np.not_equal(x, x)
    return hits / np.sum(hits, axis=axis, keepdims=True, dtype=np.result_type(x, np.float16))


def norm_of(x: Any, axis: Axis, keepdims: bool) -> Any:
    high = peak(np.abs(x), axis)
    scale = np.where((high > 0) & np.isfinite(high), high, np.ones_like(high))  # so that 1e200 does not overflow
    y = scale * np.sqrt(np.sum(np.square(x / scale), axis=axis, keepdims=True))
    return y if keepdims else np.squeeze(y, axis=axis)


def p_norm_of(x: Any, ord: float, axis: Axis, keepdims: bool) -> Any:
    """Scaled by the element that counts most, so that no power overflows, and no sum of powers underflows."""
    size = np.abs(x)
    most = np.max if ord > 0 else np.min
    high = most(size, axis=axis, keepdims=True) if size_along(x, axis) else np.sum(size, axis=axis, keepdims=True)
    scale = np.where((high > 0) & np.isfinite(high), high, np.ones_like(high))
    with np.errstate(divide="ignore"):  # the power of 0 is infinite where ord < 0, and the norm is 0
        y = scale * np.sum((size / scale) ** ord, axis=axis, keepdims=True) ** (1.0 / ord)
    return y if keepdims else np.squeeze(y, axis=axis)


def p_norm_rule(g: Any, y: Any, x: Any, ord: float, axis: Axis, keepdims: bool) -> Any:
    """(|x| / y) ** (ord - 1) with the sign of x; 0 for an element that is 0, and for all where the norm is 0."""
    whole = spread(y, x, axis)
    nothing = logical_or(is_zero(x), is_zero(whole))
    ratio = where(nothing, 1.0, abs(x) / (whole + is_zero(whole)))
    return spread(g, x, axis) * where(nothing, 0.0, sign(x) * pow(ratio, ord - 1.0))


def recurrence_of(a: Any, b: Any) -> Any:
    a, b = np.broadcast_arrays(a, b)
    y = np.array(b, dtype=np.result_type(a, b))
    for i in range(1, len(y)):
        y[i] += a[i] * y[i - 1]
    return y


def delayed(x: Any, first: float) -> Any:
    """`x` one step later along its first axis, starting with `first`."""
    shape = shape_of(x)
    start = np.arange(shape[0]).reshape(-1, *(1 for _ in shape[1:])) == 0
    return where(start, first, roll(x, 1, 0))


def adjoint(g: Any, a: Any) -> Any:
    """The recurrence run backwards: how much each step's input matters to everything after it."""
    return flip(recurrence(delayed(flip(a, 0), 0.0), flip(g, 0)), 0)


def prod_rule(g: Any, y: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    """The slope of each element is the product of all others: of all before times all after, exact at zeros."""
    axes = axes_of(axis, len(shape_of(x)))
    to = tuple(range(len(axes)))
    front = moveaxis(x, axes, to)
    line = reshape(front, (size_along(x, axis), *shape_of(front)[len(axes) :]))
    before = delayed(cumprod(line, 0), 1.0)
    after = flip(delayed(cumprod(flip(line, 0), 0), 1.0), 0)
    return spread(g, x, axis) * moveaxis(reshape(before * after, shape_of(front)), to, axes)


def cumprod_rule(g: Any, y: Any, x: Any, axis: int) -> Any:
    g, y, x = (moveaxis(v, axis, 0) for v in (g, y, x))
    return moveaxis(adjoint(g, x) * delayed(y, 1.0), 0, axis)


def var_rule(g: Any, y: Any, x: Any, axis: Axis, keepdims: bool, ddof: float) -> Any:
    return spread(g, x, axis) * (x - mean(x, axis, keepdims=True)) * inverse(0.5 * (size_along(x, axis) - ddof))


def std_rule(g: Any, y: Any, x: Any, axis: Axis, keepdims: bool, ddof: float) -> Any:
    constant = equal(max_(x, axis=axis, keepdims=keepdims), min_(x, axis=axis, keepdims=keepdims))
    slope = g / (y + is_zero(y)) * logical_not(constant)  # rounding may leave of equal elements a y that is not 0
    return var_rule(slope, y, x, axis, keepdims, ddof) * 0.5


def inverse(n: float) -> float:
    return 1.0 / n if n else math.nan


cumsum_: Row
max_: Row
min_: Row
shares: Row
ties: Row

# fmt: off
sum_         = primitive("sum",         np.sum,         lambda g, y, x, axis, keepdims: spread(g, x, axis), symbol="Σ")
mean_        = primitive("mean",        np.mean,        lambda g, y, x, axis, keepdims: spread(g * inverse(size_along(x, axis)), x, axis))
max_         = primitive("max",         np.max,         lambda g, y, x, axis, keepdims: select(spread(g, x, axis), ties(x, y, axis=axis)))
min_         = primitive("min",         np.min,         lambda g, y, x, axis, keepdims: select(spread(g, x, axis), ties(x, y, axis=axis)))
ties         = primitive("ties",        ties_of,        None, None, doc="1 where x attains its extreme y, shared evenly.")
prod_        = primitive("prod",        np.prod,        prod_rule, symbol="Π")
var_         = primitive("var",         np.var,         var_rule)
std_         = primitive("std",         np.std,         std_rule)
norm_        = primitive("norm",        norm_of,        lambda g, y, x, axis, keepdims: spread(g, x, axis) * (x / spread(y + is_zero(y), x, axis)), symbol="‖x‖")
p_norm       = primitive("p_norm",      p_norm_of,      p_norm_rule, symbol="‖x‖ₚ")
logsumexp_   = primitive("logsumexp",   logsumexp_of,   lambda g, y, x, axis, keepdims: spread(g, x, axis) * shares(x, axis=axis))
softmax_     = primitive("softmax",     softmax_of,     lambda g, y, x, axis: y * (g - sum_(g * y, axis=axis, keepdims=True)))
shares       = primitive("shares",      shares_of,      lambda g, y, x, axis: y * (g - sum_(g * y, axis=axis, keepdims=True)),
                         doc="softmax(x), where infinite maxima share evenly.")
log_softmax_ = primitive("log_softmax", log_softmax_of, lambda g, y, x, axis: g - exp(y) * sum_(g, axis=axis, keepdims=True))
cumsum_      = primitive("cumsum",      np.cumsum,      lambda g, y, x, axis: flip(cumsum_(flip(g, axis), axis=axis), axis))
cumprod_     = primitive("cumprod",     np.cumprod,     cumprod_rule)
recurrence   = primitive("recurrence",  recurrence_of,  lambda g, y, a, b: adjoint(g, a) * delayed(y, 0.0),
                                                        lambda g, y, a, b: adjoint(g, a),
                         doc="y[i] = a[i] * y[i-1] + b[i] along the first axis: the linear recurrence behind cumprod.")
# fmt: on

for row in max_, min_:
    op_of(row).selects = lambda args, y, params: (ties(args[0], y, axis=params["axis"]) > 0.0,)
    op_of(row).branches = True
for row in prod_, var_, std_, norm_, p_norm, logsumexp_, max_, min_:
    op_of(row).reach = lambda alive, place, args, y, params: spread(alive, args[0], params["axis"])
op_of(cumprod_).reach, op_of(cumprod_).sums = carried(cumsum_), True
op_of(recurrence).reach = lambda alive, place, args, y, params: flip(cumsum_(flip(alive, 0), axis=0), 0)
op_of(recurrence).sums = True
for row in softmax_, shares, log_softmax_:
    op_of(row).reach = lambda alive, place, args, y, params: any_(alive, axis=params["axis"], keepdims=True) * 1.0
for row in sum_, mean_, cumsum_:
    op_of(row).reach = carried(row)


def sum(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """The sum over `axis` (an axis, several, or None for all); `keepdims` leaves the axes in, with length 1.

    >>> import chainrule as cr
    >>> cr.sum(cr.Tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0)
    Tensor([4., 6.])
    """
    return sum_(x, axis=axis, keepdims=keepdims)


def mean(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """The arithmetic mean over `axis`."""
    return mean_(x, axis=axis, keepdims=keepdims)


def max(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """The largest element over `axis`. Elements that tie share the gradient evenly."""
    return max_(x, axis=axis, keepdims=keepdims)


def min(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """The smallest element over `axis`. Elements that tie share the gradient evenly."""
    return min_(x, axis=axis, keepdims=keepdims)


def prod(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """The product over `axis`. Its gradient is exact where elements are 0."""
    return prod_(x, axis=axis, keepdims=keepdims)


def var(x: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """The variance over `axis`, with divisor n - `ddof`."""
    return var_(x, axis=axis, keepdims=keepdims, ddof=ddof)


def std(x: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Any:
    """The standard deviation over `axis`, with divisor n - `ddof`. Its slope is 0 where it is 0."""
    return std_(x, axis=axis, keepdims=keepdims, ddof=ddof)


def logsumexp(x: Any, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """log(sum(exp(x))) over `axis`, without overflow.

    >>> import chainrule as cr
    >>> float(cr.logsumexp([1000.0, 1000.0]))
    1000.6931471805599
    """
    return logsumexp_(x, axis=axis, keepdims=keepdims)


def softmax(x: Any, axis: Axis = -1) -> Any:
    """exp(x) / sum(exp(x)) over `axis`, without overflow."""
    return softmax_(x, axis=axis)


def log_softmax(x: Any, axis: Axis = -1) -> Any:
    """log(softmax(x)) over `axis`, accurate where softmax underflows."""
    return log_softmax_(x, axis=axis)


def cumsum(x: Any, axis: int | None = None) -> Any:
    """The running sum along `axis`; over the flattened array if that is None."""
    return cumsum_(ravel(x), axis=0) if axis is None else cumsum_(x, axis=axis)


def cumprod(x: Any, axis: int | None = None) -> Any:
    """The running product along `axis`; over the flattened array if that is None. Its gradient is exact at zeros."""
    if axis is None or (axis in (0, -1) and shape_of(x) == ()):  # NumPy takes a number for a line of one
        return cumprod_(ravel(x), axis=0)
    return cumprod_(x, axis=axis)


def norm(x: Any, ord: float | str | None = None, axis: Axis = None, *, keepdims: bool = False) -> Any:
    """The norm of vectors along `axis` (by default of all elements), as `numpy.linalg.norm` defines `ord`.

    `None`, "fro" and, of vectors, 2 give the Euclidean norm; 1, inf, -inf and other numbers the p-norms of vectors. The
    slope by an element that is 0 is taken as 0, of the Euclidean norm where all are; that of second derivatives, too: the
    square of a norm has the second derivative 0 there, not 2. Matrix norms that need singular values are not here: `ValueError`.

    >>> import chainrule as cr
    >>> float(cr.norm([3.0, 4.0]))
    5.0
    """
    ord = ord if isinstance(ord, str | None) else real("norm: ord", ord)
    axis = settings.axis("norm: axis", axis)
    vectors = len(axes_of(axis, len(shape_of(x)))) <= 1
    if ord is None or (isinstance(ord, str) and ord == "fro") or (ord == 2 and vectors):
        return norm_(x, axis=axis, keepdims=keepdims)
    if not vectors or isinstance(ord, str) or ord == 0:
        raise ValueError(f"norm: ord={ord!r} of shape {shape_of(x)} along axis={axis} has no row here; None has")
    size = abs(x)
    if ord == math.inf:
        return max(size, axis, keepdims=keepdims)
    if ord == -math.inf:
        return min(size, axis, keepdims=keepdims)
    if ord == 1:
        return sum(size, axis, keepdims=keepdims)
    return p_norm(x, ord=ord, axis=axis, keepdims=keepdims)


def trace(x: Any, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Any:
    """The sum along the diagonal."""
    return sum(diagonal(x, offset, axis1, axis2), axis=-1)
