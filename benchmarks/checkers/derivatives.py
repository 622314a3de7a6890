"""Numeric derivatives by themselves: how near they come, and whether their error bars are true, at points that nobody chose.

Functions of one number: the formulas of `formulas.py` that are such, and the rows of the table that NumPy or SciPy have
too. Each is evaluated with NumPy by whoever differentiates it, and in mpmath for the derivative that all are compared
with, at exactly the same floating-point number.
"""

from __future__ import annotations

import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import scipy.differentiate
import scipy.special
from exact import NoTruth, truths
from formulas import FORMULAS, Formula
from points import BORDERS, KINDS, Point, drawn, written
from samples import QUESTIONS, UNARY

import chainrule as cr
from chainrule.autograd.checking.numeric import derivative

Answer = tuple[float, float]  # value and error bar
Method = Callable[[Point], Answer]
FLAT = {"zeros_like", "is_zero", "step", "sign", "floor", "ceil", "round", *QUESTIONS}
SPECIAL: dict[str, Callable[..., Any]] = {
    "erf": scipy.special.erf,
    "erfc": scipy.special.erfc,
    "sigmoid": scipy.special.expit,
    "softplus": lambda x: np.logaddexp(x, 0.0),
    "silu": lambda x: x * scipy.special.expit(x),
    "gelu": lambda x: x * scipy.special.ndtr(x),
    "relu": lambda x: np.maximum(x, 0.0),
    "neg": np.negative,
}


class Plain:
    """What `cr` stands for where there are no nodes: the functions of NumPy and SciPy."""

    def __getattr__(self, name: str) -> Any:
        return SPECIAL.get(name) or getattr(np, name)


PLAIN = {"cr": Plain(), "np": np}


@cache
def of_one_number() -> Sequence[Formula]:
    rows = [
        Formula(f"cr.{name}(x)", {"x": ((min(points), max(points)), ())}, BORDERS.get(name, ()))
        for name, points in UNARY.items()
        if name not in FLAT
    ]
    return [*rows, *[f for f in FORMULAS if [shape for _, shape in f.arguments.values()] == [()]]]


def plain(point: Point) -> Callable[[Any], Any]:
    found: Callable[[Any], Any] = eval(point.function, dict(PLAIN))
    return found


def ours(point: Point) -> Answer:
    found = derivative(plain(point), point.args[0])
    return found.value, found.error


def numeric_gradient(point: Point) -> Answer:
    value, bar = cr.numeric_gradient(point.f(), point.args[0], error=True)
    return float(value), float(bar)


def by_numdifftools(point: Point, method: str = "central") -> Answer:
    import numdifftools

    f = plain(point)
    found: Any = numdifftools.Derivative(lambda x: f(np.asarray(x)[()]), method=method, full_output=True)(point.args[0])
    return float(found.estimate), float(found.error_estimate)


def by_numdifftools_complex(point: Point) -> Answer:
    return by_numdifftools(point, "complex")


def by_scipy(point: Point, **settings: Any) -> Answer:
    found = scipy.differentiate.derivative(plain(point), point.args[0], **settings)
    return float(found.df), float(found.error)


def by_scipy_adapted(point: Point) -> Answer:
    return by_scipy(point, initial_step=abs(point.args[0]) / 8 or 0.5)


METHODS: dict[str, Method] = {
    "chainrule": ours,
    "`cr.numeric_gradient`": numeric_gradient,
    "numdifftools": by_numdifftools,
    "numdifftools, complex step": by_numdifftools_complex,
    "SciPy": by_scipy,
    "SciPy, first step abs(x) / 8": by_scipy_adapted,
}
OURS = ("chainrule", "`cr.numeric_gradient`")
if "error" not in inspect.signature(cr.numeric_gradient).parameters:
    del METHODS["`cr.numeric_gradient`"]


@dataclass(frozen=True)
class Measured:
    """What one method said at one point; infinitely far off where it gave no answer."""

    value: float
    bar: float
    off: float  # relative to the derivative
    true: bool
    seconds: float

    @property
    def answered(self) -> bool:
        return bool(np.isfinite(self.value) and np.isfinite(self.bar))


@dataclass(frozen=True)
class Compared:
    point: Point
    slope: float
    measured: dict[str, Measured]

    def program(self) -> str:
        return f"print(derivative({self.point.function}, {written(self.point.args[0])}))"


def measured(method: Method, point: Point, slope: float) -> Measured:
    start = time.perf_counter()
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value, bar = method(point)
        except Exception:  # no answer, whatever the reason
            value = bar = np.nan
    off = abs(value - slope)
    return Measured(value, bar, off / abs(slope) if slope else off, bool(off <= bar), time.perf_counter() - start)


def slope_of(point: Point) -> float | None:
    """The derivative, where there is one."""
    f = point.f()
    try:
        (true,), smooth = truths(f, [cr.Value(point.args[0])])
    except (NoTruth, AttributeError):  # what is constant is no graph
        return None
    slope = float(true.left)
    return (
        slope
        if smooth and true.within(float(np.finfo(float).max)) and np.isfinite(plain(point)(np.float64(point.args[0])))
        else None
    )


def compared_at(seed: int, i: int, methods: Sequence[str], tries: int = 40) -> Compared | None:
    """The point of that number, kind after kind."""
    rng = np.random.default_rng([seed, i, 2])
    kind = list(KINDS)[i % len(KINDS)]
    with np.errstate(all="ignore"):
        for _ in range(tries):
            functions = of_one_number()
            point = drawn(functions[int(rng.integers(len(functions)))], kind, "float64", rng, values=True)
            if point is not None and (slope := slope_of(point)) is not None:
                return Compared(point, slope, {name: measured(METHODS[name], point, slope) for name in methods})
    return None


# Tables.


def share(found: Sequence[Any]) -> str:
    return f"{100 * np.mean(found):.1f} %" if len(found) else "–"


def summary(results: Sequence[Compared]) -> list[list[str]]:
    """One line for each figure, one column for each method."""
    names = list(results[0].measured)
    columns = [[r.measured[name] for r in results] for name in names]
    answers = [[m for m in column if m.answered] for column in columns]
    smooth = [[r.measured[name] for r in results if r.point.kind == "ordinary"] for name in names]
    slopes = [r.slope for r in results if r.point.kind == "ordinary"]
    bars = [[m.bar / abs(s) for m, s in zip(column, slopes, strict=True) if s] for column in smooth]
    return [
        [f"{len(results)} points", *names],
        ["relative error, median", *[f"{np.median([m.off for m in column]):.1e}" for column in answers]],
        ["relative error, 90 %", *[f"{np.quantile([m.off for m in column], 0.9):.1e}" for column in answers]],
        ["no finite answer", *[str(len(results) - len(column)) for column in answers]],
        ["true error inside the stated bar, of the answers", *[share([m.true for m in column]) for column in answers]],
        ["bar relative to the derivative at ordinary points, median", *[f"{np.nanmedian(b):.1e}" for b in bars]],
        ["seconds", *[f"{sum(m.seconds for m in column):.1f}" for column in columns]],
    ]


def by_kind(results: Sequence[Compared]) -> list[list[str]]:
    """The median of the relative error, and how many bars are true of how many answers, at each kind of point."""
    names = list(results[0].measured)
    lines = [["median error; bars that are true; points", *names]]
    for kind in dict.fromkeys(r.point.kind for r in results):
        own = [r for r in results if r.point.kind == kind]
        cells = []
        for name in names:
            answers = [r.measured[name] for r in own if r.measured[name].answered]
            off = f"{np.median([m.off for m in answers]):.0e}" if answers else "–"
            cells.append(f"{off}; {sum(m.true for m in answers)}/{len(answers)}; {len(own)}")
        lines.append([kind, *cells])
    return lines


def untrue(results: Sequence[Compared]) -> list[str]:
    """The points at which our own error bar is not true."""
    return [
        f"* {name} [{r.point.kind}] {m.value:.12g} ± {m.bar:.1e}, true {r.slope:.12g}\n    {r.program()}"
        for name in OURS
        for r in results
        if (m := r.measured.get(name)) is not None and m.answered and not m.true
    ]


def at_a_kink() -> list[list[str]]:
    """What each says of |x| at 0: any estimate of 0 ± 0 would be a lie."""
    point = Point("abs", "zeros", "float64", "lambda x: cr.abs(x)", (0.0,))
    line = ["derivative of abs at 0"]
    for name, method in METHODS.items():
        try:
            value, bar = method(point)
            line.append(f"{value:g} ± {bar:.1g}")
        except Exception as error:
            line.append(type(error).__name__)
        if name == "chainrule" and (kink := derivative(abs, 0.0).kink):
            line[-1] = f"kink, slopes {kink[0]:g} and {kink[1]:g}"
    return [["", *METHODS], line]
