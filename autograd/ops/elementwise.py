"""The table, part 1: arithmetic and functions, element by element.

Each rule reads (g, y, *inputs): the cotangent of y, y itself, what y was made from.

Conventions where the textbook derivative does not exist or has no single value:

    relu'(0) = 0, |x|'(0) = 0; sign, floor, ceil, round and // have derivative 0 everywhere
    maximum, minimum: a tie shares the gradient evenly         clip: a border still belongs to the inside, and bounds get nothing
    relu, leaky_relu, maximum, minimum, clip, where, max, min: what was not chosen gets exactly 0, even where its cotangent is
            infinite, and so does all that has a share in nothing else, even where derivatives are infinite or NaN
    x ** n: d/dx is 0 at n = 0; d/dn at x = 0 is 0, but -inf for n < 0                hypot, arctan2: 0 at (0, 0)
    logaddexp, logsumexp: terms that are infinite alike share evenly

The slopes of sigmoid and tanh are computed from their values, as everywhere: on the right of sigmoid, and in both tails of tanh,
digits are lost as the value comes close to 1; half of them are left at x = 18 for sigmoid and |x| = 9 for tanh, none at 37 and 19.

The conventions are those of first derivatives; at such a point a second derivative is that of the convention, no more.
"""

from __future__ import annotations

__all__ = [
    "abs", "add", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "cbrt", "ceil", "clip",
    "cos", "cosh", "div", "elu", "erf", "erfc", "exp", "exp2", "expm1", "floor", "floordiv", "gelu", "hypot",
    "leaky_relu", "log", "log1p", "log2", "log10", "logaddexp", "maximum", "minimum", "mod", "mul", "neg", "pow",
    "reciprocal", "relu", "round", "sigmoid", "sign", "silu", "sin", "sinh", "softplus", "sqrt", "square", "sub",
    "tan", "tanh", "where",
]  # fmt: skip

import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..graph import Node
from ..guards.selection import has_nan
from ..plain import NUMBERS
from ..primitive import Forward, binary, op_of, primitive, same, unary
from ..typing import Binary, Unary

LN2, LN10 = math.log(2.0), math.log(10.0)
INF = math.inf
ZEROS: dict[Any, Any] = {np.dtype(c): np.zeros((), c) for c in "efdg"}
FEW = 1024  # elements that NumPy is faster to choose among than to multiply


def both(name: str) -> Forward:
    """One name, two libraries: Python's `math` for numbers, NumPy for arrays."""
    return getattr(math, name), getattr(np, name)


def mask(test: Callable[[Any], Any]) -> Forward:
    """A condition as numbers 1 and 0 of x's own kind: float32 stays float32."""
    return lambda x: float(test(x)), lambda x: test(x).astype(floating(x))


def floating(*xs: Any) -> Any:
    """The floating-point type of a result of the xs."""
    dtype = np.result_type(*xs)
    return dtype if dtype.kind == "f" else np.dtype(float)


def sign_of(x: float) -> float:
    return math.copysign(1.0, x) if x and x == x else x  # NaN stays NaN


def sigmoid_of(x: float) -> float:
    small = math.exp(-math.fabs(x))  # never overflows
    return 1.0 / (1.0 + small) if x >= 0 else small / (1.0 + small)


def sigmoid_of_array(x: Any) -> Any:
    small = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, small) / (1.0 + small)


def logaddexp_of(a: float, b: float) -> float:
    if a == b:  # inf - inf would be NaN
        return a + LN2
    high, low = (a, b) if a > b else (b, a)
    return high + math.log1p(math.exp(low - high))


def over_arrays(f: Callable[[float], float]) -> Callable[[Any], Any]:
    """A function of a number, element by element where NumPy has none of its own."""
    each = np.frompyfunc(f, 1, 1)

    def forward(x: Any) -> Any:
        y = each(x)  # of objects; of an array without axes, a number
        return y.astype(floating(x)) if np.ndim(y) else np.asarray(y, dtype=floating(x))

    return forward


def share_of(a: float, b: float) -> float:
    """Which part of max(a, b) is a: all, nothing, half of a tie; NaN reaches both."""
    return 1.0 - 0.5 * (a < b) - 0.5 * (a <= b)


def share_of_arrays(a: Any, b: Any) -> Any:
    return (1.0 - 0.5 * np.less(a, b) - 0.5 * np.less_equal(a, b)).astype(floating(a, b))


def inside_of(x: Any, low: Any, high: Any) -> Any:
    part = np.greater_equal(x, -INF if low is None else low) & np.less_equal(x, INF if high is None else high)
    return part.astype(floating(x))


def where_of(c: Any, a: Any, b: Any) -> Any:
    return (a if c else b) if type(c) in NUMBERS and type(a) in NUMBERS and type(b) in NUMBERS else np.where(c, a, b)


def clip_of(x: Any, low: Any, high: Any) -> Any:
    clipped = np.clip(x, low, high)
    return float(clipped) if type(x) in NUMBERS and isinstance(clipped, np.generic) else clipped


def zero_beside(x: Any) -> Any:
    """0 in the type of an array, which spares NumPy a third of the work of a small one."""
    return ZEROS.get(x.dtype, 0.0) if type(x) is np.ndarray else 0.0


def gate_of(g: Any, y: Any) -> Any:
    if not isinstance(y, np.ndarray) or y.size <= FEW:
        return np.where(y, g, zero_beside(g))
    kept = g * (y != 0)  # so many that NumPy multiplies them faster than it chooses
    return np.where(y, g, 0.0) if has_nan(kept) else kept


def select_of_arrays(g: Any, part: Any) -> Any:
    product = g * part
    return np.where(np.equal(part, 0), np.zeros_like(product), product) if has_nan(product) else product


def reached_of(alive: Any, shape: tuple[int, ...]) -> Any:
    if np.shape(alive) == shape:
        return alive
    alive = np.broadcast_to(alive, np.broadcast_shapes(np.shape(alive), shape))
    new = np.ndim(alive) - len(shape)
    axes = (*range(new), *(new + i for i, n in enumerate(shape) if n == 1))
    return np.reshape(np.any(alive, axis=axes), shape)


def relu_rule(g: Any, y: Any, x: Any) -> Any:
    if type(y) is float and type(g) is float:
        return g if y else 0.0
    return gate_of(g, y) if type(y) is type(g) is np.ndarray else gate(g, y)


def gap_of(a: Any, b: Any) -> Any:
    differ = np.not_equal(a, b)
    if isinstance(differ, np.ndarray | np.bool):
        return np.subtract(a, b, out=np.zeros(differ.shape, np.result_type(a, b)), where=differ)
    return np.where(differ, a - b, 0.0)


def turn(a: Any, b: Any) -> Any:
    """a / (a² + b²), without overflow: how fast a point of these coordinates turns around the origin."""
    distance = hypot(a, b)
    distance = distance + is_zero(distance)
    return a / distance / distance


def zero(g: Any, y: Any, *inputs: Any, **params: Any) -> Any:
    """The rule of what is constant almost everywhere."""
    return zeros_like(g)


# A mask is a row, not a comparison inside a rule: wherever a rule is replayed on other data, it is computed anew.
cos: Unary
gate: Binary
select: Binary
cosh: Unary
is_zero: Unary
hypot: Binary
pow: Binary

# fmt: off
zeros_like = unary("zeros_like", (lambda x: 0.0, np.zeros_like),         zero,  "Zeros of the shape and dtype of x.")
is_zero    = unary("is_zero",    mask(lambda x: x == 0),                       None,  "1 where x is 0, else 0.")
step       = unary("step",       (lambda x: float(not x <= 0), lambda x: ~(x <= 0)), None, "1 where x > 0, or NaN; else 0.")
sign       = unary("sign",       (sign_of, np.sign),                     zero,  "The sign of x: -1, 0 or 1.")
floor      = unary("floor",      (lambda x: float(np.floor(x)), np.floor), zero, "The largest integer not above x.")
ceil       = unary("ceil",       (lambda x: float(np.ceil(x)), np.ceil), zero,  "The smallest integer not below x.")
rint       = unary("round",      (lambda x: float(np.rint(x)), np.rint), zero,  "The nearest integer; halves go to even.")
share      = binary("share",     (share_of, share_of_arrays),           None, None, "Which part of max(a, b) is a.")
less       = binary("less",      (lambda a, b: float(a < b), np.less),                None, None, "Whether a < b.", symbol="<")
less_equal = binary("less_equal", (lambda a, b: float(a <= b), np.less_equal),         None, None, "Whether a <= b.", symbol="≤")
greater    = binary("greater",   (lambda a, b: float(a > b), np.greater),             None, None, "Whether a > b.", symbol=">")
greater_equal = binary("greater_equal", (lambda a, b: float(a >= b), np.greater_equal), None, None, "Whether a >= b.", symbol="≥")
equal      = binary("equal",     (lambda a, b: float(a == b), np.equal),               None, None, "Whether a == b.", symbol="=")
not_equal  = binary("not_equal", (lambda a, b: float(a != b), np.not_equal),           None, None, "Whether a != b.", symbol="≠")
isnan      = unary("isnan",      (lambda x: float(math.isnan(x)), np.isnan),                               None,  "Whether x is NaN.")
isinf      = unary("isinf",      (lambda x: float(math.isinf(x)), np.isinf),                               None,  "Whether x is infinite.")
isfinite   = unary("isfinite",   (lambda x: float(math.isfinite(x)), np.isfinite),                            None,  "Whether x is neither infinite nor NaN.")
logical_not = unary("logical_not", (lambda x: float(not x), np.logical_not),           None,  "Whether x is false, or 0.", symbol="¬")
logical_and = binary("logical_and", (lambda a, b: float(bool(a and b)), np.logical_and), None, None, "Whether neither a nor b is false, or 0.", symbol="∧")
logical_or = binary("logical_or", (lambda a, b: float(bool(a or b)), np.logical_or), None, None, "Whether a or b is true, or not 0.", symbol="∨")
reached    = primitive("reached",  reached_of,                                 None, doc="Which elements of an argument of this shape are alive anywhere that broadcasting has taken them.")
any_       = primitive("any",    np.any,                                       None, doc="Whether any element of x along axis is true, or not 0.")
inside     = primitive("inside", inside_of,                                    None, doc="1 where low <= x <= high, else 0.", elementwise=True)
select     = binary("select",    (lambda g, part: g * part if part else 0.0, select_of_arrays), lambda h, y, g, part: select(h, part), None, "A part of g, from 0 to 1; where it is 0, so is the result, whatever g is.")
gate       = binary("gate",      (lambda g, y: g if y else 0.0, gate_of), lambda h, z, g, y: gate(h, y), None, "g where y is not 0, else 0, whatever g is.")

neg        = unary("neg",        operator.neg,         lambda g, y, x: -g,                     "-x.", symbol="−")
square     = unary("square",     lambda x: x * x,      lambda g, y, x: 2.0 * g * x,            "x * x.", symbol="x²")
reciprocal = unary("reciprocal", lambda x: 1.0 / x,    lambda g, y, x: -g * y * y,             "1 / x.", symbol="1/x")
abs        = unary("abs",        operator.abs,         lambda g, y, x: g * sign(x),            "The absolute value |x|.", symbol="|x|")
sqrt       = unary("sqrt",       both("sqrt"),         lambda g, y, x: 0.5 * g / y,            "The square root.", symbol="√")
cbrt       = unary("cbrt",       both("cbrt"),         lambda g, y, x: g / (3.0 * y * y),      "The cube root, of negative numbers too.", symbol="∛")
exp        = unary("exp",        both("exp"),          lambda g, y, x: g * y,                  "e to the power x.")
exp2       = unary("exp2",       both("exp2"),         lambda g, y, x: g * y * LN2,            "2 to the power x.")
expm1      = unary("expm1",      both("expm1"),        lambda g, y, x: g * exp(x),             "exp(x) - 1, exact near 0.")
log        = unary("log",        both("log"),          lambda g, y, x: g / x,                  "The natural logarithm.")
log1p      = unary("log1p",      both("log1p"),        lambda g, y, x: g / (1.0 + x),          "log(1 + x), exact near 0.")
log2       = unary("log2",       both("log2"),         lambda g, y, x: g / (x * LN2),          "The logarithm to base 2.")
log10      = unary("log10",      both("log10"),        lambda g, y, x: g / (x * LN10),         "The logarithm to base 10.")

sin        = unary("sin",        both("sin"),                      lambda g, y, x: g * cos(x),               "The sine of x, in radians.")
cos        = unary("cos",        both("cos"),                      lambda g, y, x: -g * sin(x),              "The cosine of x, in radians.")
tan        = unary("tan",        both("tan"),                      lambda g, y, x: g * (1.0 + y * y),        "The tangent of x, in radians.")
arcsin     = unary("arcsin",     (math.asin, np.arcsin),     lambda g, y, x: g / sqrt((1.0 - x) * (1.0 + x)),  "The inverse sine, in radians.")
arccos     = unary("arccos",     (math.acos, np.arccos),     lambda g, y, x: -g / sqrt((1.0 - x) * (1.0 + x)), "The inverse cosine, in radians.")
arctan     = unary("arctan",     (math.atan, np.arctan),     lambda g, y, x: g / (1.0 + x * x),        "The inverse tangent, in radians.")
sinh       = unary("sinh",       both("sinh"),                     lambda g, y, x: g * cosh(x),              "The hyperbolic sine.")
cosh       = unary("cosh",       both("cosh"),                     lambda g, y, x: g * sinh(x),              "The hyperbolic cosine.")
tanh       = unary("tanh",       both("tanh"),                     lambda g, y, x: g * (1.0 - y * y),        "The hyperbolic tangent.")
arcsinh    = unary("arcsinh",    (math.asinh, np.arcsinh),   lambda g, y, x: g / hypot(x, 1.0),        "The inverse hyperbolic sine.")
arccosh    = unary("arccosh",    (math.acosh, np.arccosh),   lambda g, y, x: g / (sqrt(x - 1.0) * sqrt(x + 1.0)), "The inverse hyperbolic cosine.")
arctanh    = unary("arctanh",    (math.atanh, np.arctanh),   lambda g, y, x: g / ((1.0 - x) * (1.0 + x)), "The inverse hyperbolic tangent.")

erf        = unary("erf",        (math.erf, over_arrays(math.erf)),   lambda g, y, x: g * (2.0 / math.sqrt(math.pi)) * exp(-x * x), "The error function, 2/√π ∫₀ˣ exp(-t²) dt.")
erfc       = unary("erfc",       (math.erfc, over_arrays(math.erfc)),       lambda g, y, x: g * (-2.0 / math.sqrt(math.pi)) * exp(-x * x), "1 - erf(x), accurate where that is small.")
sigmoid    = unary("sigmoid",    (sigmoid_of, sigmoid_of_array), lambda g, y, x: g * y * (1.0 - y),    "1 / (1 + exp(-x)), without overflow.", symbol="σ")
softplus   = unary("softplus",   (lambda x: logaddexp_of(x, 0.0), lambda x: np.logaddexp(x, 0.0)), lambda g, y, x: g * sigmoid(x), "log(1 + exp(x)), without overflow.")
silu       = unary("silu",       lambda x: x * sigmoid(x),         lambda g, y, x: g * silu_slope(x),        "x * sigmoid(x), also known as swish.")
gelu       = unary("gelu",       lambda x: x * normal_cdf(x),      lambda g, y, x: g * (normal_cdf(x) + x * normal_pdf(x)), "x * Φ(x), with Φ the normal distribution function (Hendrycks & Gimpel 2016).")
relu       = unary("relu",       (lambda x: 0.0 if x <= 0 else x, lambda x: np.maximum(x, zero_beside(x))), relu_rule, "max(x, 0), with slope 0 at 0.", symbol="ReLU")

add        = binary("add",       operator.add,         same,                                   same,                                "a + b.", symbol="+")
sub        = binary("sub",       operator.sub,         lambda g, y, a, b: g,                   lambda g, y, a, b: -g,               "a - b.", symbol="−")
mul        = binary("mul",       operator.mul,         lambda g, y, a, b: g * b,               lambda g, y, a, b: g * a,            "a * b.", symbol="×")
div        = binary("div",       operator.truediv,     lambda g, y, a, b: g / b,               lambda g, y, a, b: -g * y / b,       "a / b.", symbol="÷")
gap        = binary("gap",       (lambda a, b: 0.0 if a == b else a - b, gap_of), lambda g, y, a, b: g, lambda g, y, a, b: -g, "a - b, but 0 where they are infinite alike.")
floordiv   = binary("floordiv",  operator.floordiv,    zero,                                   zero,                                "a // b, the quotient rounded down.", symbol="//")
mod        = binary("mod",       operator.mod,         lambda g, y, a, b: g,                   lambda g, y, a, b: -g * floordiv(a, b), "a % b, the remainder with the sign of b.", symbol="%")
maximum    = binary("maximum",   (lambda a, b: a if a >= b or a != a else b, np.maximum), lambda g, y, a, b: select(g, share(a, b)), lambda g, y, a, b: select(g, share(b, a)), "The larger of a and b.", symbol="max")
minimum    = binary("minimum",   (lambda a, b: a if a <= b or a != a else b, np.minimum), lambda g, y, a, b: select(g, share(b, a)), lambda g, y, a, b: select(g, share(a, b)), "The smaller of a and b.", symbol="min")
hypot      = binary("hypot",     (math.hypot, np.hypot),       lambda g, y, a, b: g * (a / (y + is_zero(y))), lambda g, y, a, b: g * (b / (y + is_zero(y))), "sqrt(a² + b²), without overflow.")
arctan2    = binary("arctan2",   (math.atan2, np.arctan2), lambda g, y, a, b: g * turn(b, a), lambda g, y, a, b: -g * turn(a, b), "The angle of the point (b, a), in radians.")
logaddexp  = binary("logaddexp", (logaddexp_of, np.logaddexp), lambda g, y, a, b: g * sigmoid(gap(a, b)), lambda g, y, a, b: g * sigmoid(gap(b, a)), "log(exp(a) + exp(b)), without overflow.")
pow        = binary("pow",       (math.pow, operator.pow), lambda g, y, a, b: g * b * pow(a, less_one(a, b)), lambda g, y, a, b: g * y * log_of_base(a, b), "a ** b.", symbol="**")

clip_      = primitive("clip",       clip_of,          lambda g, y, x, low, high: select(g, inside(x, low=low, high=high)), elementwise=True)
leaky_     = primitive("leaky_relu", lambda x, slope: maximum(x, 0.0) + slope * minimum(x, 0.0), lambda g, y, x, slope: where(step(x), g, slope * g if slope else 0.0), elementwise=True)
elu_       = primitive("elu",        lambda x, alpha: where(x > 0, x, alpha * expm1(minimum(x, 0.0))), lambda g, y, x, alpha: where(step(x), g, g * (y + alpha)), elementwise=True)
where_     = primitive("where",      where_of, None,   lambda g, y, c, a, b: where(c, g, 0.0), lambda g, y, c, a, b: where(c, 0.0, g), elementwise=True)
# fmt: on

op_of(add).reads = op_of(sub).reads = ()
op_of(where_).reads = (0,)
CHOSEN: dict[Any, Callable[..., Sequence[Any]]] = {  # where each argument was chosen
    relu: lambda args, y, params: (step(args[0]),),
    leaky_: lambda args, y, params: (None if params["slope"] else step(args[0]),),
    gate: lambda args, y, params: (not_equal(args[1], 0.0), None),
    select: lambda args, y, params: (not_equal(args[1], 0.0), None),
    where_: lambda args, y, params: (None, args[0], logical_not(args[0])),
    maximum: lambda args, y, params: (not_equal(share(*args), 0.0), not_equal(share(*args[::-1]), 0.0)),
    minimum: lambda args, y, params: (not_equal(share(*args[::-1]), 0.0), not_equal(share(*args), 0.0)),
    clip_: lambda args, y, params: (not_equal(inside(args[0], **params), 0.0),),
    **dict.fromkeys((sign, floor, ceil, rint), lambda args, y, params: (not_equal(zeros_like(args[0]), 0.0),)),
    floordiv: lambda args, y, params: (not_equal(zeros_like(y), 0.0),) * 2,
}
for row, chosen in CHOSEN.items():
    op_of(row).selects = chosen
for row in where_, maximum, minimum, clip_, select:
    op_of(row).branches = True

round = rint


def normal_cdf(x: Any) -> Any:
    return 0.5 * erfc(x * -math.sqrt(0.5))


def normal_pdf(x: Any) -> Any:
    return exp(-0.5 * x * x) * (1.0 / math.sqrt(2.0 * math.pi))


def less_one(a: Any, b: Any) -> Any:
    """b - 1, but 0 where b is 0: so the slope of x ** 0 is 0 times a finite number, also at x = 0.

    Where the slope will be differentiated by b itself, only x = 0 needs that; elsewhere 1/x is to be kept.
    """
    if type(b) in NUMBERS:
        return b - 1.0 if b else 0.0
    return b - 1.0 + (is_zero(a) * is_zero(b) if isinstance(b, Node) else is_zero(b))


def log_of_base(a: Any, b: Any) -> Any:
    """log(a); at a = 0 something finite and negative, so that times 0 ** b it makes the limit, but 0 where b is 0 too."""
    zero = is_zero(a)
    if type(zero) is float and not zero:
        return log(a)
    return log(a + zero * (0.5 + 0.5 * is_zero(b)))


def silu_slope(x: Any) -> Any:
    s = sigmoid(x)
    return s + x * s * (1.0 - s)


def where(condition: Any, a: Any, b: Any, /) -> Any:
    """`a` where the condition holds, else `b`, element by element.

    The branch not taken receives no gradient at all, even where its own derivative is infinite or undefined, so the
    usual guard against a singularity is safe here (elsewhere it yields NaN), through whatever operations the branch is
    made of; of a custom one say whether it is `elementwise`. In a sum of products, as `@` is, what is infinite counts for
    nothing where it was not chosen; where it has a share in something chosen, it stays what IEEE 754 makes of it:

    >>> import chainrule as cr
    >>> x = cr.Tensor([0.0, 4.0])
    >>> cr.where(x > 0, cr.sqrt(x), 0.0).sum().backward()
    >>> x.grad
    array([0.  , 0.25])
    """
    return where_(condition, a, b)


def clip(x: Any, low: Any = None, high: Any = None) -> Any:
    """`x` limited to the range from `low` to `high`; either bound may be None.

    At a border the slope is 1, as just inside. Bounds that are variables get gradients too, outside of them.

    >>> import chainrule as cr
    >>> cr.grad(lambda x: cr.clip(x, 0.0, 1.0))(2.0)
    0.0
    """
    if isinstance(low, Node) or isinstance(high, Node):
        x = x if low is None else where(greater_equal(x, low), x, maximum(x, low))
        return x if high is None else where(less_equal(x, high), x, minimum(x, high))
    return clip_(x, low=low, high=high)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """`x` where positive, else `negative_slope * x`; at 0 the slope is the negative side's.

    >>> import chainrule as cr
    >>> cr.leaky_relu(-2.0)
    -0.02
    """
    return leaky_(x, slope=negative_slope)


def elu(x: Any, alpha: float = 1.0) -> Any:
    """`x` where positive, else `alpha * (exp(x) - 1)` (Clevert et al. 2015).

    >>> import chainrule as cr
    >>> round(cr.elu(-1.0), 4)
    -0.6321
    """
    return elu_(x, alpha=alpha)
