"""Operations as people write them by hand, each with the mistakes that people make in its gradient.

The forward is plain NumPy. A rule is written once and serves arrays and nodes. A mistake replaces the rules of one or
more arguments; all the others stay right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

import chainrule as cr

Rule = Callable[..., Any]
Culprits = frozenset[tuple[str, int | None]]


@dataclass(frozen=True)
class Written:
    """An operation, its right rules, and wrong ones by what is wrong and of which argument."""

    name: str
    forward: Callable[..., Any]
    rules: tuple[Rule, ...]
    mistakes: dict[str, dict[int, Rule]]
    args: tuple[Any, ...]
    activation: bool = False  # a square matrix in, one of the same shape out: it can stand in a network

    def right(self) -> Callable[..., Any]:
        return cr.custom(self.name, self.forward, *self.rules)

    def faulty(self) -> Iterator[tuple[str, Callable[..., Any], Culprits]]:
        """What is wrong, the operation with that mistake, and whom to blame."""
        for mistake, wrong in self.mistakes.items():
            rules = [wrong.get(i, rule) for i, rule in enumerate(self.rules)]
            name = f"{self.name}, {mistake}"
            yield name, cr.custom(name, self.forward, *rules), frozenset((name, i) for i in wrong)


def matrix(seed: int, *shape: int) -> Any:
    return np.random.default_rng(seed).uniform(0.3, 1.7, shape) * np.random.default_rng(seed + 1).choice(
        [-1.0, 1.0], shape
    )


SQUARE = matrix(0, 4, 4)
OTHER = matrix(2, 4, 4)
POSITIVE = np.abs(SQUARE)
BATCH = matrix(4, 5, 3)
ROW = matrix(6, 3)
COLUMN = matrix(8, 4, 1)
PICKED = np.array([2, 0, 2, 1])
KEPT = np.array([[1.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 0.0, 1.0], [1.0, 0.0, 1.0, 1.0]])
TARGETS = (SQUARE > 0).astype(float)
EPSILON = 1e-5


def logistic(x: Any) -> Any:
    return 1.0 / (1.0 + np.exp(-x))


def shares(x: Any, axis: int = -1) -> Any:
    e = np.exp(x - np.max(x, axis=axis, keepdims=True))
    return e / np.sum(e, axis=axis, keepdims=True)


def standardised(x: Any, axis: int) -> Any:
    return (x - np.mean(x, axis=axis, keepdims=True)) / np.sqrt(np.var(x, axis=axis, keepdims=True) + EPSILON)


def unstandardised(
    g: Any, y: Any, x: Any, axis: int, *, mean: bool = True, variance: bool = True, of: int | None = None
) -> Any:
    """The gradient of `standardised`; each of its two terms can be left out, or be taken along another axis."""
    of = axis if of is None else of
    d = g
    if mean:
        d = d - cr.mean(g, axis=of, keepdims=True)
    if variance:
        d = d - y * cr.mean(g * y, axis=of, keepdims=True)
    return d / cr.sqrt(cr.var(x, axis=axis, keepdims=True) + EPSILON)


def convolved(x: Any, kernel: Any) -> Any:
    return np.array([np.sum(x[i : i + len(kernel)] * kernel) for i in range(len(x) - len(kernel) + 1)])


def spread(g: Any, kernel: Any, n: int) -> Any:
    """The gradient of `convolved` by the signal."""
    d = np.zeros(n)
    for i in range(len(g)):
        d[i : i + len(kernel)] += g[i] * kernel
    return d


def scattered(g: Any, index: Any, shape: tuple[int, ...], add: bool = True) -> Any:
    d = np.zeros(shape)
    if add:
        np.add.at(d, index, g)
    else:
        d[index] = g
    return d


def at_largest(g: Any, x: Any, shift: int = 0) -> Any:
    """A gradient for each row, put where the row is largest."""
    d = np.zeros(np.shape(x))
    d[np.arange(len(x)), (np.argmax(x, axis=1) + shift) % x.shape[1]] = g
    return d


def cosine(a: Any, b: Any) -> Any:
    return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))


def away(g: Any, y: Any, a: Any, b: Any) -> Any:
    """The gradient of `cosine` by its first argument."""
    length, other = np.sqrt(np.sum(a * a)), np.sqrt(np.sum(b * b))
    return g * (b / (length * other) - y * a / length**2)


def density(x: Any) -> Any:
    return cr.exp(-0.5 * x * x) / np.sqrt(2.0 * np.pi)


def below(x: Any) -> Any:
    """The normal distribution function."""
    return 0.5 * cr.erfc(-x / np.sqrt(2.0))


def W(name: str, forward: Any, rules: Any, mistakes: dict[str, Any], args: Any, activation: bool = False) -> Written:
    """A shorter way to write it: one rule, argument and mistake may stand without a container."""
    rules = rules if isinstance(rules, tuple) else (rules,)
    args = args if isinstance(args, tuple) else (args,)
    wrong = {what: rule if isinstance(rule, dict) else {0: rule} for what, rule in mistakes.items()}
    return Written(name, forward, rules, wrong, args, activation)


# fmt: off
OPERATIONS: Sequence[Written] = (
    W("square", lambda x: x * x, lambda g, y, x: 2.0 * g * x,
      {"no factor 2": lambda g, y, x: g * x}, SQUARE, True),
    W("tanh", np.tanh, lambda g, y, x: g * (1.0 - y * y),
      {"of the argument": lambda g, y, x: g * (1.0 - x * x)}, SQUARE, True),
    W("sigmoid", logistic, lambda g, y, x: g * y * (1.0 - y),
      {"sign inside": lambda g, y, x: g * y * (1.0 + y), "second factor missing": lambda g, y, x: g * y}, SQUARE, True),
    W("exp", np.exp, lambda g, y, x: g * y,
      {"stale argument": lambda g, y, x: g * cr.exp(0.99 * x)}, SQUARE, True),
    W("abs", np.abs, lambda g, y, x: g * cr.sign(x), {"sign lost": lambda g, y, x: g}, SQUARE, True),
    W("clip", lambda x: np.clip(x, -1.0, 1.0), lambda g, y, x: g * ((x > -1.0) & (x < 1.0)),
      {"passes all": lambda g, y, x: g, "one side": lambda g, y, x: g * (x < 1.0)}, SQUARE, True),
    W("gelu", lambda x: x * below(x), lambda g, y, x: g * (below(x) + x * density(x)),
      {"missing term": lambda g, y, x: g * below(x)}, SQUARE, True),
    W("swish", lambda x: x * logistic(x), lambda g, y, x: g * cr.sigmoid(x) * (1.0 + x * (1.0 - cr.sigmoid(x))),
      {"missing term": lambda g, y, x: g * cr.sigmoid(x)}, SQUARE, True),
    W("softplus", lambda x: np.log1p(np.exp(x)), lambda g, y, x: g * cr.sigmoid(x),
      {"sign inside": lambda g, y, x: g * cr.sigmoid(-x)}, SQUARE, True),
    W("huber", lambda x: np.where(np.abs(x) < 1.0, 0.5 * x * x, np.abs(x) - 0.5), lambda g, y, x: g * cr.clip(x, -1.0, 1.0),
      {"no threshold": lambda g, y, x: g * x}, SQUARE, True),
    W("cross entropy of logits", lambda x: np.log1p(np.exp(x)) - TARGETS * x, lambda g, y, x: g * (cr.sigmoid(x) - TARGETS),
      {"targets turned": lambda g, y, x: g * (cr.sigmoid(x) - (1.0 - TARGETS)), "targets transposed": lambda g, y, x: g * (cr.sigmoid(x) - TARGETS.T)},
      SQUARE, True),
    W("dropout", lambda x: x * KEPT / 0.6, lambda g, y, x: g * KEPT / 0.6,
      {"no rescaling": lambda g, y, x: g * KEPT, "mask of the next batch": lambda g, y, x: g * np.roll(KEPT, 1, 0) / 0.6}, SQUARE, True),
    W("softmax", shares, lambda g, y, x: y * (g - cr.sum(g * y, axis=-1, keepdims=True)),
      {"missing term": lambda g, y, x: y * g, "wrong axis": lambda g, y, x: y * (g - cr.sum(g * y, axis=0, keepdims=True)),
       "sum over all": lambda g, y, x: y * (g - cr.sum(g * y))}, SQUARE, True),
    W("log softmax", lambda x: np.log(shares(x)), lambda g, y, x: g - cr.exp(y) * cr.sum(g, axis=-1, keepdims=True),
      {"missing factor": lambda g, y, x: g - cr.mean(g, axis=-1, keepdims=True), "wrong axis": lambda g, y, x: g - cr.exp(y) * cr.sum(g, axis=0, keepdims=True)},
      SQUARE, True),
    W("layer norm", lambda x: standardised(x, -1), lambda g, y, x: unstandardised(g, y, x, -1),
      {"mean missing": lambda g, y, x: unstandardised(g, y, x, -1, mean=False), "variance missing": lambda g, y, x: unstandardised(g, y, x, -1, variance=False),
       "wrong axis": lambda g, y, x: unstandardised(g, y, x, -1, of=0)}, SQUARE, True),
    W("batch norm", lambda x: standardised(x, 0), lambda g, y, x: unstandardised(g, y, x, 0),
      {"mean missing": lambda g, y, x: unstandardised(g, y, x, 0, mean=False), "variance missing": lambda g, y, x: unstandardised(g, y, x, 0, variance=False)},
      SQUARE, True),
    W("cumsum", lambda x: np.cumsum(x, axis=1), lambda g, y, x: cr.flip(cr.cumsum(cr.flip(g, 1), axis=1), 1),
      {"not reversed": lambda g, y, x: cr.cumsum(g, axis=1), "wrong axis": lambda g, y, x: cr.flip(cr.cumsum(cr.flip(g, 0), axis=0), 0)}, SQUARE, True),
    W("shift", lambda x: np.roll(x, 1, axis=1), lambda g, y, x: cr.roll(g, -1, 1),
      {"same direction": lambda g, y, x: cr.roll(g, 1, 1), "wrong axis": lambda g, y, x: cr.roll(g, -1, 0)}, SQUARE, True),
    W("sort", lambda x: np.sort(x, axis=1), lambda g, y, x: np.take_along_axis(g, np.argsort(np.argsort(x, 1), 1), 1),
      {"order not inverted": lambda g, y, x: np.take_along_axis(g, np.argsort(x, 1), 1)}, SQUARE, True),
    W("transpose", lambda x: x.T, lambda g, y, x: g.T, {"forgotten": lambda g, y, x: g}, SQUARE, True),
    W("quotient", lambda a, b: a / b, (lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b),
      {"swapped arguments": {0: lambda g, y, a, b: -g * y / b, 1: lambda g, y, a, b: g / b}, "square missing": {1: lambda g, y, a, b: -g * a / b}},
      (SQUARE, OTHER)),
    W("difference", lambda a, b: a - b, (lambda g, y, a, b: g, lambda g, y, a, b: -g), {"sign": {1: lambda g, y, a, b: g}}, (SQUARE, OTHER)),
    W("arctan2", np.arctan2, (lambda g, y, a, b: g * b / (a * a + b * b), lambda g, y, a, b: -g * a / (a * a + b * b)),
      {"swapped arguments": {0: lambda g, y, a, b: g * a / (a * a + b * b), 1: lambda g, y, a, b: -g * b / (a * a + b * b)}}, (SQUARE, OTHER)),
    W("power", lambda a, b: a**b, (lambda g, y, a, b: g * b * a ** (b - 1.0), lambda g, y, a, b: g * y * cr.log(a)),
      {"logarithm missing": {1: lambda g, y, a, b: g * y}, "exponent not lowered": {0: lambda g, y, a, b: g * b * y}}, (POSITIVE, OTHER)),
    W("hypot", np.hypot, (lambda g, y, a, b: g * a / y, lambda g, y, a, b: g * b / y), {"not divided": {0: lambda g, y, a, b: g * a}}, (SQUARE, OTHER)),
    W("matmul", lambda a, b: a @ b, (lambda g, y, a, b: g @ b.T, lambda g, y, a, b: a.T @ g),
      {"factor not transposed": {0: lambda g, y, a, b: g @ b}, "other factor not transposed": {1: lambda g, y, a, b: a @ g},
       "result transposed": {1: lambda g, y, a, b: g.T @ a}, "factors swapped": {1: lambda g, y, a, b: g @ a.T}}, (SQUARE, OTHER)),
    W("affine", lambda x, w, b: x @ w + b, (lambda g, y, x, w, b: g @ w.T, lambda g, y, x, w, b: x.T @ g, lambda g, y, x, w, b: cr.sum(g, axis=0)),
      {"bias from the first row": {2: lambda g, y, x, w, b: g[0]}, "bias averaged": {2: lambda g, y, x, w, b: cr.mean(g, axis=0)},
       "weight averaged": {1: lambda g, y, x, w, b: x.T @ g / len(x)}}, (BATCH, matrix(10, 3, 3), ROW)),
    W("scaled rows", lambda x, s: x * s, (lambda g, y, x, s: g * s, lambda g, y, x, s: cr.sum(g * x, axis=1, keepdims=True)),
      {"wrong axis": {1: lambda g, y, x, s: cr.reshape(cr.sum(g * x, axis=0), (4, 1))}, "first column only": {1: lambda g, y, x, s: (g * x)[:, :1]}}, (SQUARE, COLUMN)),
    W("rows picked", lambda x: x[PICKED], lambda g, y, x: scattered(g, PICKED, x.shape),
      {"off by one": lambda g, y, x: scattered(g, (PICKED + 1) % 5, x.shape), "repeated rows lost": lambda g, y, x: scattered(g, PICKED, x.shape, add=False)}, BATCH),
    W("differences", lambda x: x[1:] - x[:-1], lambda g, y, x: np.concatenate([-g[:1], g[:-1] - g[1:], g[-1:]]),
      {"sign": lambda g, y, x: np.concatenate([g[:1], g[:-1] - g[1:], g[-1:]]), "first element lost": lambda g, y, x: np.concatenate([0.0 * g[:1], g[:-1] - g[1:], g[-1:]])},
      matrix(12, 6)),
    W("convolution", convolved, (lambda g, y, x, k: spread(g, k, len(x)), lambda g, y, x, k: convolved(x, g)),
      {"kernel flipped": {0: lambda g, y, x, k: spread(g, k[::-1], len(x))}, "off by one": {1: lambda g, y, x, k: convolved(np.roll(x, 1), g)}},
      (matrix(14, 7), matrix(16, 3))),
    W("row maximum", lambda x: np.max(x, axis=1), lambda g, y, x: at_largest(g, x), {"off by one": lambda g, y, x: at_largest(g, x, 1)}, SQUARE),
    W("logsumexp", lambda x: np.log(np.sum(np.exp(x), axis=1)), lambda g, y, x: g[:, None] * cr.softmax(x, axis=1),
      {"wrong axis": lambda g, y, x: g[:, None] * cr.softmax(x, axis=0), "cotangent along the wrong axis": lambda g, y, x: g * cr.softmax(x, axis=1)}, SQUARE),
    W("mean", lambda x: np.mean(x, axis=0), lambda g, y, x: g / len(x) + 0.0 * x,
      {"not divided": lambda g, y, x: g + 0.0 * x, "divided by the wrong size": lambda g, y, x: g / x.shape[1] + 0.0 * x}, BATCH),
    W("sample variance", lambda x: np.var(x, ddof=1), lambda g, y, x: 2.0 * g * (x - cr.mean(x)) / (x.size - 1),
      {"population's divisor": lambda g, y, x: 2.0 * g * (x - cr.mean(x)) / x.size, "mean missing": lambda g, y, x: 2.0 * g * x / (x.size - 1)}, BATCH),
    W("standard deviation", np.std, lambda g, y, x: g * (x - cr.mean(x)) / (y * x.size), {"not divided": lambda g, y, x: g * (x - cr.mean(x)) / x.size}, BATCH),
    W("norm", lambda x: np.sqrt(np.sum(x * x)), lambda g, y, x: g * x / y, {"not divided": lambda g, y, x: g * x}, BATCH),
    W("penalty", lambda w: 0.5 * np.sum(w * w), lambda g, y, w: g * w,
      {"twice": lambda g, y, w: 2.0 * g * w, "cotangent forgotten": lambda g, y, w: 1.0 * w}, BATCH),
    W("cosine similarity", cosine, (lambda g, y, a, b: away(g, y, a, b), lambda g, y, a, b: away(g, y, b, a)),
      {"projection missing": {0: lambda g, y, a, b: g * b / np.sqrt(np.sum(a * a) * np.sum(b * b))}}, (BATCH, matrix(18, 5, 3))),
    W("outer", np.outer, (lambda g, y, a, b: g @ b, lambda g, y, a, b: g.T @ a), {"transposed": {0: lambda g, y, a, b: g.T @ b}}, (matrix(20, 3), matrix(22, 3))),
    W("bilinear form", lambda x, a, y: x @ a @ y, (lambda g, r, x, a, y: g * (a @ y), lambda g, r, x, a, y: g * cr.outer(x, y), lambda g, r, x, a, y: g * (x @ a)),
      {"transposed": {0: lambda g, r, x, a, y: g * (y @ a)}, "outer transposed": {1: lambda g, r, x, a, y: g * cr.outer(y, x)}},
      (matrix(24, 4), SQUARE, matrix(26, 4))),
    W("inverse", np.linalg.inv, lambda g, y, x: -y.T @ g @ y.T, {"not transposed": lambda g, y, x: -y @ g @ y, "sign": lambda g, y, x: y.T @ g @ y.T}, SQUARE + 3.0 * np.eye(4)),
    W("determinant", lambda x: np.linalg.det(x), lambda g, y, x: g * y * np.linalg.inv(x).T, {"transposed": lambda g, y, x: g * y * np.linalg.inv(x)}, SQUARE + 3.0 * np.eye(4)),
    W("trapezoids", lambda x: np.sum(x[1:] + x[:-1]) / 2.0, lambda g, y, x: g * np.r_[0.5, np.ones(len(x) - 2), 0.5], {"borders": lambda g, y, x: g * np.ones(len(x))}, matrix(28, 7)),
)
# fmt: on
