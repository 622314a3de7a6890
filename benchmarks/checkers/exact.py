"""The true slopes of a graph: its forward computed again in mpmath, with as many digits as it takes; no rule is asked.

NumPy computes on arrays of objects with the methods of the objects, so most rows of the table run as they are on arrays
of mpmath's numbers. The few that do not are written again below.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from mpmath.ctx_mp import MPContext

import chainrule as cr
from chainrule.autograd.graph import ancestry
from chainrule.autograd.primitive import renewed

exact = MPContext()  # of our own: its numbers get the methods that NumPy calls, and nobody else's do
LEVELS = ((90, -35), (300, -100), (1100, -400))  # digits, and the power of ten of a step relative to what moves
AT_ZERO = (-80, -100, -700)  # the powers of ten of steps away from 0
FINER = -30  # of a second step, to see where the slopes lead
AGREED = 1e-9  # so near to each other, relative to their size, two slopes are one
DIRECTIONS = 2  # along which a function is moved as a whole
STEPS = np.r_[-24:-7, 8:25] / 16
VANISHING = 1e-10  # a slope that shrinks by as much with the step is 0

METHODS: dict[str, Callable[..., Any]] = {
    **{name: getattr(exact, name) for name in ("exp", "log", "log10", "sqrt", "sin", "cos", "tan", "sinh", "cosh", "tanh", "expm1", "log1p", "hypot")},
    **{f"arc{name}": getattr(exact, f"a{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh", "tan2")},
    "exp2": lambda x: exact.mpf(2) ** x,
    "log2": lambda x: exact.log(x) / exact.log(2),
    "cbrt": lambda x: exact.sign(x) * exact.cbrt(abs(x)),
    "rint": exact.nint,
}  # fmt: skip
for name, method in METHODS.items():
    setattr(exact.mpf, name, lambda *xs, method=method: method(*xs))


def each(f: Callable[..., Any]) -> Callable[..., Any]:
    ufunc = np.frompyfunc(f, f.__code__.co_argcount, 1)
    return lambda *xs, **params: ufunc(*xs, **params)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + exact.exp(-x))


def logaddexp(a: Any, b: Any) -> Any:
    high, low = (a, b) if a > b else (b, a)
    return high + exact.log1p(exact.exp(low - high))


def over(x: Any, axis: Any, keepdims: bool, f: Callable[[Any], Any]) -> Any:
    """A function of all elements along the axes, in whatever order."""
    if not x.ndim:
        return f([x.item()])
    axes = range(x.ndim) if axis is None else np.atleast_1d(axis).tolist()
    axes = sorted(a % x.ndim for a in axes)
    kept = [a for a in range(x.ndim) if a not in axes]
    rows = np.transpose(x, (*kept, *axes)).reshape(*[x.shape[a] for a in kept], -1)
    y = np.empty(rows.shape[:-1], object)
    for index in np.ndindex(y.shape):
        y[index] = f(list(rows[index]))
    return np.expand_dims(y, tuple(axes)) if keepdims else y


def logsumexp(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return over(x, axis, keepdims, lambda xs: reduce(logaddexp, xs))


def norm(x: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return over(x, axis, keepdims, lambda xs: exact.sqrt(sum(v * v for v in xs)))


def p_norm(x: Any, ord: Any, axis: Any = None, keepdims: bool = False) -> Any:
    return over(x, axis, keepdims, lambda xs: sum(abs(v) ** exact.mpf(ord) for v in xs) ** (1 / exact.mpf(ord)))


def softmax(x: Any, axis: Any = -1) -> Any:
    e = each(exact.exp_of)(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


exact.exp_of = lambda x: exact.exp(x)  # a function with a number of arguments

ROWS: dict[str, Callable[..., Any]] = {
    "erf": each(lambda x: exact.erf(x)),
    "erfc": each(lambda x: exact.erfc(x)),
    "sigmoid": each(sigmoid),
    "softplus": each(lambda x: logaddexp(x, exact.mpf(0))),
    "silu": each(lambda x: x * sigmoid(x)),
    "gelu": each(lambda x: x * exact.ncdf(x)),
    "logaddexp": each(logaddexp),
    "floordiv": each(lambda a, b: exact.floor(a / b)),
    "mod": each(lambda a, b: a - b * exact.floor(a / b)),
    "step": each(lambda x: exact.mpf(x > 0)),
    "is_zero": each(lambda x: exact.mpf(x == 0)),
    "share": each(lambda a, b: exact.mpf((a > b) + (a >= b)) / 2),
    "gap": each(lambda a, b: a - b),
    "select": each(lambda g, part: g * part),
    "leaky_relu": lambda x, slope: each(lambda v: v if v > 0 else exact.mpf(slope) * v)(x),
    "elu": lambda x, alpha: each(lambda v: v if v > 0 else exact.mpf(alpha) * exact.expm1(v))(x),
    "floor": each(lambda x: exact.floor(x)),
    "ceil": each(lambda x: exact.ceil(x)),
    "isnan": each(lambda x: exact.isnan(x)),
    "isinf": each(lambda x: exact.isinf(x)),
    "isfinite": each(lambda x: exact.isfinite(x)),
    "ties": lambda x, y, axis: each(lambda v: exact.mpf(bool(v)))(
        x == (y if axis is None else np.expand_dims(y, axis))
    ),
    "logical_and": each(lambda a, b: bool(a and b)),
    "logical_or": each(lambda a, b: bool(a or b)),
    "logsumexp": logsumexp,
    "norm": norm,
    "p_norm": p_norm,
    "softmax": softmax,
    "shares": softmax,
    "log_softmax": lambda x, axis=-1: x - logsumexp(x, axis, True),
    "einsum": lambda *xs, subscripts: np.einsum(subscripts, *xs),
    "astype": lambda x, dtype: x,
    "item": lambda x: x.reshape(()),
}


class NoTruth(Exception):
    """A row that is not computed in mpmath, or a slope that cannot be told."""


def as_exact(x: Any) -> Any:
    """Floating-point data as an array of mpmath's numbers, also a single number; the rest as it is."""
    data = np.asarray(x)
    if data.dtype.kind != "f":
        return x
    result = np.empty(data.shape, object)
    for index in np.ndindex(data.shape):
        result[index] = exact.mpf(float(data[index]))
    return result


def in_mpmath(node: Any, inputs: Sequence[Any]) -> Any:
    row = ROWS.get(node.op.name)
    y = row(*inputs, **node.params) if row else node.op.forward(*inputs, **renewed(node.params))
    if isinstance(y, np.ndarray) and y.dtype != object:
        return y
    return np.array(y, dtype=object).reshape(np.shape(node.data))


@dataclass(frozen=True)
class Truth:
    """The slopes on the left and on the right, alike where there is a derivative; infinite beside a jump, NaN where nothing is known."""

    left: Any
    right: Any

    def allows(self, slopes: Any, share: float, besides: float = 0.0) -> Any:
        """Which slopes are right, to this share of themselves and so much besides; at a kink any between the two."""
        low, high = np.minimum(self.left, self.right), np.maximum(self.left, self.right)
        return (slopes >= low - share * np.abs(low) - besides) & (slopes <= high + share * np.abs(high) + besides)

    @property
    def smooth(self) -> Any:
        with np.errstate(invalid="ignore"):
            return np.isfinite(self.left) & (np.abs(self.left - self.right) <= AGREED * np.abs(self.left))

    def within(self, largest: float) -> bool:
        """Whether a number of that size, at most, can be the slope everywhere."""
        return bool(np.all(np.minimum(np.abs(self.left), np.abs(self.right)) < largest))


class Replay:
    """A graph that gives one number, in mpmath."""

    def __init__(self, root: Any, digits: int) -> None:
        self.root, self.digits = root, digits
        self.nodes = ancestry(root)[::-1]
        self.constants: dict[int, Any] = {}
        with exact.workdps(digits):
            self.data = {node: as_exact(node.data) for node in self.nodes if not node.args}
            self.here = self.moved({})

    def moved(self, data: dict[Any, Any]) -> Any:
        """The result where some leaves hold other data; NaN outside of the domain."""
        values = dict(data)
        touched = set(data)
        for node in self.nodes:
            if not node.args or (data and not any(isinstance(arg, cr.Node) and arg in touched for arg in node.args)):
                continue
            inputs = [
                (values if arg in values else self.data)[arg] if isinstance(arg, cr.Node) else self.constant(arg)
                for arg in node.args
            ]
            try:
                values[node] = in_mpmath(node, inputs)
            except (ArithmeticError, ValueError) as error:
                if not data:
                    raise NoTruth(f"{node.op.name}: {error}") from error
                return exact.nan
            except Exception as error:
                if any(isinstance(x, exact.mpc) for v in inputs for x in np.ravel(v)):
                    return exact.nan
                raise NoTruth(f"{node.op.name}: {type(error).__name__}: {error}") from error
            touched.add(node)
        if not data:
            self.data |= values
        y = (values if self.root in values else self.data)[self.root].reshape(()).item()
        return exact.nan if isinstance(y, exact.mpc) else exact.mpf(y)

    def constant(self, arg: Any) -> Any:
        if id(arg) not in self.constants:
            self.constants[id(arg)] = as_exact(arg)
        return self.constants[id(arg)]

    def along(self, directions: dict[Any, Any], power: int, sign: int) -> Any:
        """The slope on one side as leaves move together."""
        with exact.workdps(self.digits):
            h = exact.mpf(10) ** power * sign
            moved = {leaf: np.array(self.data[leaf] + h * as_exact(v), object) for leaf, v in directions.items()}
            return (self.moved(moved) - self.here) / h

    def side(self, leaf: Any, index: tuple[int, ...], power: int, sign: int) -> Any:
        """The slope on one side, from one step."""
        with exact.workdps(self.digits):
            x = self.data[leaf]
            h = exact.mpf(10) ** power * (abs(x[index]) or 1) * sign
            moved = x.copy()
            moved[index] = x[index] + h
            return (self.moved({leaf: moved}) - self.here) / h


class Replays:
    """The same graph with more and more digits, as they are asked for."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.found: list[Replay] = []

    def at(self, level: int) -> Replay:
        while len(self.found) <= level:
            self.found.append(Replay(self.root, LEVELS[len(self.found)][0]))
        return self.found[level]


def one(a: Any, b: Any) -> bool:
    return bool(abs(a - b) <= AGREED * max(abs(a), abs(b)))


def limit(slope: Any, finer: Any) -> float:
    """Where the slopes from two steps, one much smaller, lead: to a number, to 0, to infinity; NaN if nowhere."""
    if one(slope, finer):
        return float(slope)
    if abs(finer) < VANISHING * abs(slope):
        return 0.0
    return math.copysign(math.inf, slope) if abs(slope) < VANISHING * abs(finer) else math.nan


def slopes_of(replays: Replays, leaf: Any, index: tuple[int, ...]) -> tuple[float, float]:
    """The slopes on the left and on the right of one element, from as few digits as tell."""
    before: list[Any] = []
    for level, (_, nearby) in enumerate(LEVELS):
        replay = replays.at(level)
        power = nearby if replay.data[leaf][index] else AT_ZERO[level]
        sides = [replay.side(leaf, index, power, sign) for sign in (-1, 1)]
        if before and all(one(sides[0], slope) for slope in (*before, sides[1])):
            return float(sides[0]), float(sides[1])
        before = sides
    left, right = (
        limit(slope, replay.side(leaf, index, power + FINER, sign)) for sign, slope in zip((-1, 1), sides, strict=True)
    )
    if math.isnan(left) or math.isnan(right):  # at the edge of the domain the one side counts
        left = right = right if math.isnan(left) else left
    return left, right


def differentiable(replays: Replays, leaves: Sequence[Any], true: Sequence[Truth]) -> bool:
    """Whether the slopes by every element make those along a direction: at a tie of three or more they do not."""
    rng = np.random.default_rng(0)
    slopes = {leaf: t.left for leaf, t in zip(leaves, true, strict=True) if leaf in replays.at(0).data}
    for _ in range(DIRECTIONS):
        v = {x: np.where(x.data == 0, 1e-3, np.abs(x.data)) * rng.choice(STEPS, np.shape(x.data)) for x in slopes}
        terms = np.concatenate([np.ravel(slopes[x] * v[x]) for x in slopes])
        if not all(leads_to(replays, v, sign, float(np.sum(terms)), float(np.sum(np.abs(terms)))) for sign in (-1, 1)):
            return False
    return True


def leads_to(replays: Replays, v: dict[Any, Any], sign: int, total: float, most: float) -> bool:
    """Whether the slope on one side along a direction is that number, which is the sum of terms of that size; or leads nowhere."""
    if abs(replays.at(0).along(v, LEVELS[0][1], sign) - total) <= AGREED * most:
        return True
    power = LEVELS[-1][1]
    slope = limit(*[replays.at(len(LEVELS) - 1).along(v, p, sign) for p in (power, power + FINER)])
    return math.isnan(slope) or abs(slope - total) <= AGREED * most


def truths(f: Callable[..., Any], nodes: Sequence[Any]) -> tuple[list[Truth], bool]:
    """The true slopes of f, one number, by every element of the nodes, and whether it is differentiable there."""
    replays = Replays(f(*nodes))
    found = [by_elements(replays, leaf) for leaf in nodes]
    smooth = all(np.all(t.smooth) for t in found) and differentiable(replays, nodes, found)
    return found, smooth


def by_elements(replays: Replays, leaf: Any) -> Truth:
    found = np.zeros((2, *np.shape(leaf.data)))
    if leaf in replays.at(0).data:
        for index in np.ndindex(np.shape(leaf.data)):
            found[(slice(None), *index)] = slopes_of(replays, leaf, index)
    return Truth(*found)
