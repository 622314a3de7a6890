"""A hundred functions that people write, each as the text that they would write, with where to try it.

Arguments are drawn as the table says: of any sign, positive, or within (-1, 1). Borders are where the domain of the first
argument ends, and on which side it lies; gaps are removable singularities; minima are where a loss is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Shape = tuple[int, ...]
ANY, POSITIVE, UNIT = (-2.0, 2.0), (0.3, 2.5), (-0.9, 0.9)


@dataclass(frozen=True)
class Formula:
    """The text of a function of some arguments, and where its arguments lie."""

    text: str
    arguments: dict[str, tuple[tuple[float, float], Shape]]
    borders: Sequence[
        tuple[float, int]
    ] = ()  # where the domain of the first argument ends, and where from there it lies
    gaps: Sequence[float] = ()
    minima: Sequence[dict[str, Any]] = field(default=())

    def drawn(self, rng: np.random.Generator) -> list[Any]:
        return [rng.uniform(low, high, shape) for (low, high), shape in self.arguments.values()]

    @property
    def name(self) -> str:
        return self.text

    @property
    def names(self) -> Sequence[str]:
        return list(self.arguments)


def F(text: str, *, borders: Any = (), gaps: Any = (), minima: Any = (), **arguments: Any) -> Formula:
    """A shorter way to write it: a shape stands for itself and any numbers, or with a range for those."""
    found = {}
    for name, given in arguments.items():
        ranged = isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], tuple)
        where, shape = given if ranged else (ANY, given)
        found[name] = where, (shape,) if isinstance(shape, int) else shape
    return Formula(text, found, borders, gaps, minima)


def P(*shape: int) -> Any:
    return POSITIVE, shape


def U(*shape: int) -> Any:
    return UNIT, shape


# fmt: off
FORMULAS: Sequence[Formula] = (
    # losses
    F("cr.mean((x - t) ** 2)", x=4, t=4),
    F("cr.mean(cr.abs(x - t))", x=4, t=4),
    F("cr.sum((cr.sum(w ** 2) - 1.0) ** 2)", w=3, minima=[{"w": [0.6, 0.8, 0.0]}, {"w": [0.36, 0.48, 0.8]}, {"w": [1.0, 0.0, 0.0]}]),
    F("(p[0] ** 2 + p[1] - 11) ** 2 + (p[0] + p[1] ** 2 - 7) ** 2", p=2, minima=[{"p": [3.0, 2.0]}]),
    F("(1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2", p=2, minima=[{"p": [1.0, 1.0]}]),
    F("(1.5 - p[0] + p[0] * p[1]) ** 2 + (2.25 - p[0] + p[0] * p[1] ** 2) ** 2 + (2.625 - p[0] + p[0] * p[1] ** 3) ** 2", p=2, minima=[{"p": [3.0, 0.5]}]),
    F("(p[0] + 2 * p[1] - 7) ** 2 + (2 * p[0] + p[1] - 5) ** 2", p=2, minima=[{"p": [1.0, 3.0]}]),
    F("20 + p[0] ** 2 - 10 * cr.cos(2 * np.pi * p[0]) + p[1] ** 2 - 10 * cr.cos(2 * np.pi * p[1])", p=2, minima=[{"p": [0.0, 0.0]}]),
    F("-20 * cr.exp(-0.2 * cr.sqrt(cr.mean(p ** 2))) - cr.exp(cr.mean(cr.cos(2 * np.pi * p))) + 20 + np.e", p=3),
    F("cr.softmax_cross_entropy(x, np.array([2, 0, 1]))", x=(3, 4)),
    F("-cr.mean(t * cr.log(cr.sigmoid(x)) + (1 - t) * cr.log(1 - cr.sigmoid(x)))", x=4, t=U(4)),
    F("cr.mean(cr.softplus(x) - t * x)", x=4, t=4),
    F("cr.mean(cr.where(cr.abs(x - t) < 1.0, 0.5 * (x - t) ** 2, cr.abs(x - t) - 0.5))", x=4, t=4),
    F("cr.mean(cr.maximum(0.0, 1.0 - x * t))", x=4, t=4),
    F("cr.mean(cr.log(cr.cosh(x - t)))", x=4, t=4),
    F("cr.sum(p * cr.log(p / q))", p=P(3), q=P(3), borders=[(0.0, 1)]),
    F("-cr.sum(p * cr.log(p))", p=P(4), borders=[(0.0, 1)]),
    F("cr.mean(cr.exp(x) - t * x)", x=3, t=P(3)),
    F("cr.maximum(0.0, cr.norm(a - p) - cr.norm(a - n) + 1.0)", a=3, p=3, n=3),
    F("1.0 - cr.sum(a * b) / (cr.norm(a) * cr.norm(b))", a=3, b=3),
    F("cr.mean(cr.maximum(0.3 * (t - x), -0.7 * (t - x)))", x=4, t=4),
    # regressions and their kin
    F("cr.mean((a @ w - t) ** 2)", a=(5, 3), w=3, t=5),
    F("cr.mean((cr.tanh(a @ w) - t) ** 2)", a=(5, 3), w=3, t=5),
    F("cr.tanh(a @ w)", a=(5, 3), w=3),
    F("cr.exp(a @ w)", a=(5, 3), w=3),
    F("cr.sigmoid(a @ w)", a=(5, 3), w=3),
    F("cr.sin(a @ w)", a=(4, 2), w=2),
    F("p[0] * cr.exp(-p[1] * t) + p[2]", p=P(3), t=P(5)),
    F("p[0] * cr.sin(p[1] * t + p[2])", p=P(3), t=5),
    F("p[0] / (1.0 + cr.exp(-p[1] * (t - p[2])))", p=P(3), t=5),
    F("cr.sum((a @ w - t) ** 2) + 0.1 * cr.sum(cr.abs(w))", a=(5, 3), w=3, t=5),
    F("cr.sum((a @ w - t) ** 2) + 0.1 * cr.sum(w ** 2)", a=(5, 3), w=3, t=5),
    F("cr.softmax(a @ w, axis=-1)", a=(4, 3), w=(3, 3)),
    F("p[0] * x / (p[1] + x)", p=P(2), x=P(5)),
    # networks
    F("cr.tanh(x @ w + b)", x=(4, 3), w=(3, 2), b=2),
    F("cr.relu(x @ w + b) @ v", x=(4, 3), w=(3, 4), b=4, v=(4, 1)),
    F("cr.sigmoid(cr.tanh(cr.linear(x, w, b)) @ v)", x=(3, 2), w=(4, 2), b=4, v=4),
    F("cr.gelu(x @ w) @ v + x", x=(3, 3), w=(3, 4), v=(4, 3)),
    F("cr.silu(x @ w) * (x @ v)", x=(3, 2), w=(2, 3), v=(2, 3)),
    F("cr.leaky_relu(x @ w, 0.1)", x=(3, 3), w=(3, 3)),
    F("cr.elu(x @ w)", x=(3, 3), w=(3, 3)),
    F("cr.tanh(cr.tanh(cr.tanh(h * w + x) * w + x) * w + x)", h=3, w=3, x=3),
    F("cr.log_softmax(cr.tanh(x @ w) @ v, axis=-1)", x=(3, 2), w=(2, 3), v=(3, 3)),
    F("f * c + cr.sigmoid(i) * cr.tanh(g)", f=3, c=3, i=3, g=3),
    # broadcasting
    F("x * s + b", x=(3, 4), s=4, b=(3, 1)),
    F("cr.tanh(x[:, None] * v + c) @ w", x=3, v=4, c=4, w=4),
    F("cr.sqrt(cr.sum((a[:, None] - b[None]) ** 2, axis=-1))", a=(3, 2), b=(2, 2)),
    F("cr.exp(-cr.sum((a[:, None] - b[None]) ** 2, axis=-1) / s)", a=(3, 2), b=(2, 2), s=P()),
    F("cr.logaddexp(a[:, None], b)", a=3, b=3),
    F("cr.where(x[:, None] > y, x[:, None] * y, y ** 2)", x=3, y=3),
    F("g * (x - m) / cr.sqrt(v + 1e-5) + b", g=3, x=(4, 3), m=3, v=P(3), b=3),
    # attention and masks
    F("cr.softmax(q @ k.T / np.sqrt(2.0), axis=-1) @ v", q=(3, 2), k=(3, 2), v=(3, 2)),
    F("cr.softmax(cr.where(np.tril(np.ones((3, 3))) > 0, q @ q.T, -np.inf), axis=-1) @ q", q=(3, 2)),
    F("cr.softmax(cr.where(np.tril(np.ones((3, 3))) > 0, q @ k.T, -1e9), axis=-1) @ v", q=(3, 2), k=(3, 2), v=(3, 2)),
    F("cr.softmax(q @ k.T + np.where(np.tril(np.ones((3, 3))) > 0, 0.0, -np.inf), axis=-1)", q=(3, 2), k=(3, 2)),
    F("cr.log_softmax(cr.where(np.eye(3) > 0, -np.inf, s), axis=-1)[0, 1]", s=(3, 3)),
    F("cr.logsumexp(cr.where(np.array([True, False, True, True]), x, -np.inf))", x=4),
    F("cr.softmax(x / 0.1, axis=-1)", x=(2, 4)),
    # norms and normalisations
    F("(x - cr.mean(x, axis=-1, keepdims=True)) / cr.sqrt(cr.var(x, axis=-1, keepdims=True) + 1e-5)", x=(3, 4)),
    F("(x - cr.mean(x, axis=0)) / cr.std(x, axis=0)", x=(4, 2)),
    F("x / cr.sqrt(cr.mean(x ** 2, axis=-1, keepdims=True) + 1e-6)", x=(2, 4)),
    F("x / cr.norm(x)", x=3),
    F("cr.sqrt(cr.sum(x ** 2))", x=3),
    F("cr.sqrt(cr.sum((a - b) ** 2))", a=3, b=3),
    F("cr.norm(x)", x=4),
    F("cr.norm(x, 1)", x=4),
    F("cr.norm(x, np.inf)", x=4),
    F("cr.norm(x, 3)", x=4),
    F("cr.hypot(a, b)", a=3, b=3),
    F("cr.std(x)", x=4),
    F("cr.std(x) / cr.mean(x)", x=P(4)),
    F("cr.sum(a * b) / cr.sqrt(cr.sum(a * a) * cr.sum(b * b))", a=3, b=3),
    # order statistics
    F("cr.sort(x)", x=5),
    F("cr.sort(x)[2]", x=5),
    F("0.5 * (cr.sort(x)[1] + cr.sort(x)[2])", x=4),
    F("cr.max(x) - cr.min(x)", x=4),
    F("cr.mean(cr.sort(x)[1:-1])", x=5),
    F("cr.sort(cr.abs(x - cr.sort(x)[2]))[2]", x=5),
    F("cr.max(cr.abs(x))", x=4),
    F("cr.max(a @ b)", a=(3, 2), b=(2, 3)),
    F("cr.sum(cr.maximum(a, b) * cr.minimum(a, b))", a=4, b=4),
    F("cr.sum(cr.sort(x)[-2:])", x=5),
    F("cr.sum(cr.clip(x, -1.0, 1.0) ** 2)", x=4),
    F("cr.maximum(cr.maximum(x, y), z)", x=3, y=3, z=3),
    # near the border of a domain
    F("cr.sqrt(1.0 - x * x)", x=U(), borders=[(1.0, -1), (-1.0, 1)]),
    F("cr.log(1.0 - x * x)", x=U(), borders=[(1.0, -1), (-1.0, 1)]),
    F("cr.log(x / (1.0 - x))", x=((0.1, 0.9), ()), borders=[(0.0, 1), (1.0, -1)]),
    F("cr.arccos(cr.sum(a * b) / (cr.norm(a) * cr.norm(b)))", a=3, b=3),
    F("cr.arcsin(x) + cr.arccos(x) * x", x=U(3), borders=[(1.0, -1), (-1.0, 1)]),
    F("cr.arctanh(x) / x", x=U(), borders=[(1.0, -1), (-1.0, 1)], gaps=[0.0]),
    F("cr.arccosh(x)", x=((1.1, 3.0), 2), borders=[(1.0, 1)]),
    F("cr.sqrt(x) * cr.log(x)", x=P(2), borders=[(0.0, 1)]),
    F("cr.exp(-1.0 / x)", x=P(), borders=[(0.0, 1)]),
    F("x ** x", x=P(2), borders=[(0.0, 1)]),
    F("1.0 / (x - 1.0)", x=((1.1, 2.0), ()), borders=[(1.0, 1), (1.0, -1)]),
    F("cr.tan(x)", x=U(), borders=[(math.pi / 2, -1)]),
    F("cr.sqrt(1.0 - cr.cos(x))", x=P(), borders=[(0.0, 1)]),
    F("cr.log(cr.sin(x))", x=P(), borders=[(0.0, 1)]),
    F("(x - 1.0) ** 1.5", x=((1.1, 2.0), ()), borders=[(1.0, 1)]),
    F("cr.log(-cr.log(x))", x=((0.1, 0.9), ()), borders=[(0.0, 1), (1.0, -1)]),
    F("cr.sqrt(a * a + b * b - c * c)", a=((1.1, 2.0), ()), b=P(), c=U()),
    F("cr.sqrt(x * (1.0 - x))", x=((0.1, 0.9), ()), borders=[(0.0, 1), (1.0, -1)]),
    # removable singularities, guarded or not
    F("cr.sin(x) / x", x=(), gaps=[0.0]),
    F("(1.0 - cr.cos(x)) / x", x=(), gaps=[0.0]),
    F("(1.0 - cr.cos(x)) / x ** 2", x=(), gaps=[0.0]),
    F("(cr.exp(x) - 1.0) / x", x=(), gaps=[0.0]),
    F("(cr.exp(x) - 1.0 - x) / x", x=(), gaps=[0.0]),
    F("cr.expm1(x) / x", x=2, gaps=[0.0]),
    F("cr.log1p(x) / x", x=P(), gaps=[0.0]),
    F("cr.log(x) / (x - 1.0)", x=P(), gaps=[1.0]),
    F("(x ** 2 - 1.0) / (x - 1.0)", x=P(), gaps=[1.0]),
    F("cr.tanh(x) / x", x=2, gaps=[0.0]),
    F("1.0 / cr.tanh(x) - 1.0 / x", x=P(), gaps=[0.0]),
    F("(cr.sqrt(1.0 + x * x) - 1.0) / x", x=(), gaps=[0.0]),
    F("x / (cr.exp(x) - 1.0)", x=(), gaps=[0.0]),
    F("cr.where(x == 0, 1.0, cr.sin(x) / cr.where(x == 0, 1.0, x))", x=3, gaps=[0.0]),
    F("cr.where(cr.abs(x) < 1e-4, 1.0 - x * x / 6.0, cr.sin(x) / cr.where(cr.abs(x) < 1e-4, 1.0, x))", x=3, gaps=[0.0]),
    F("cr.where(x == 0, 0.5, (cr.exp(x) - 1.0 - x) / cr.where(x == 0, 1.0, x) ** 2)", x=2, gaps=[0.0]),
    F("cr.where(x > 0, cr.sqrt(cr.where(x > 0, x, 1.0)), 0.0)", x=3, gaps=[0.0]),
    F("cr.log(cr.sin(x) / x)", x=P(), gaps=[0.0]),
    # formulas of one number or a few
    F("x * cr.exp(-x * x)", x=()),
    F("cr.sin(1000.0 * x)", x=()),
    F("x + 1e-3 * cr.sin(1e4 * x)", x=()),
    F("cr.sin(1.0 / x)", x=P(), borders=[(0.0, 1)]),
    F("cr.cos(x * x)", x=((-30.0, 30.0), ())),
    F("cr.exp(-1.0 / (x * x))", x=(), gaps=[0.0]),
    F("x ** 7 - 7 * x ** 6 + 21 * x ** 5 - 35 * x ** 4 + 35 * x ** 3 - 21 * x ** 2 + 7 * x - 1", x=((0.5, 2.0), ())),
    F("1e8 + cr.sin(x)", x=()),
    F("1e6 + 1e-9 * x", x=()),
    F("cr.log(1.0 + x)", x=P(), borders=[(-1.0, 1)]),
    F("cr.exp(x) / (cr.sin(x) ** 3 + cr.cos(x) ** 3)", x=((0.0, 1.5), ())),
    F("cr.exp(50.0 * cr.log(cr.cosh(x)) / 50.0)", x=2),
    F("cr.tanh(10.0 * x) ** 2", x=2),
    F("cr.log(1.0 + cr.exp(x))", x=()),
    F("1.0 / (1.0 + 25.0 * x * x)", x=()),
    F("cr.exp(cr.sin(3.0 * x)) * x", x=()),
    F("(-b + cr.sqrt(b * b - 4.0 * a * c)) / (2.0 * a)", a=P(), b=((3.5, 5.0), ()), c=P()),
    F("cr.sqrt(a + x) - cr.sqrt(x)", x=P(), a=P(), borders=[(0.0, 1)]),
    F("cr.arctan2(y, x) + cr.hypot(x, y)", x=(), y=()),
    F("x ** 3 - 2.0 * x + y ** 2 * x", x=(), y=()),
    F("cr.erf(x) * cr.exp(-x)", x=2),
    F("k * r ** -12 - k * r ** -6", r=P(2), k=P()),
    F("m * m / cr.sum((a - b) ** 2)", a=3, b=3, m=P()),
    F("0.5 * (s * cr.erfc(-d / np.sqrt(2.0)) - k * cr.erfc(-(d - 0.2) / np.sqrt(2.0)))", d=(), s=P(), k=P()),
    F("-0.5 * cr.sum(((x - m) / s) ** 2) - cr.sum(cr.log(s))", x=3, m=3, s=P(3)),
    F("cr.logsumexp(cr.log(w) - 0.5 * (x - m) ** 2)", x=(), w=P(3), m=3),
    F("cr.cumsum(cr.cumprod(x))", x=4),
    F("cr.prod(x)", x=4),
    F("cr.einsum('ij,jk,ki->', a, b, c)", a=(2, 3), b=(3, 2), c=(2, 2)),
    F("cr.sum(x[1:] * x[:-1]) - cr.sum((x[1:] - x[:-1]) ** 2)", x=5),
    F("a @ b @ a.T", a=(2, 3), b=(3, 3)),
    F("x % 1.0 + cr.floor(x)", x=3),
    F("cr.abs(x) * x", x=3),
    F("cr.sin(x) ** 2 + cr.cos(x) ** 2", x=3),
    F("cr.square(cr.abs(x) - 1.0)", x=3),
)
# fmt: on
