"""Numeric derivatives by themselves: how near they come, and whether their error estimates are true.

Each function is written once and evaluated twice: with NumPy at float64 by whoever differentiates it, and with mpmath
at 50 digits for the derivative that all are compared with, at exactly the same floating-point number x.

Sources: the functions of numdifftools' own tests (numdifftools.example_functions); Lyness and Moler, SIAM J. Numer.
Anal. 4 (1967); Squire and Trapp, SIAM Review 40 (1998); Gill, Murray, Saunders and Wright, SIAM J. Sci. Stat. Comput. 4
(1983); Runge (1901). The others are made for what is hard: scale, singularities, oscillation, rounding, flatness.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import mpmath
import numdifftools
import numpy as np
import scipy.differentiate
import scipy.special
from mpmath import mp
from tqdm import tqdm

from chainrule.autograd.checking.numeric import derivative

DIGITS = 50
FLOAT64 = SimpleNamespace(
    **{name: getattr(np, name) for name in (
        "exp", "expm1", "log", "log1p", "log2", "log10", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh", "tanh",
        "arcsinh", "sqrt", "exp2", "square")},
    erf=scipy.special.erf, gamma=scipy.special.gamma, j0=scipy.special.j0,
)  # fmt: skip
EXACT = SimpleNamespace(
    exp=mpmath.exp, expm1=mpmath.expm1, log=mpmath.log, log1p=mpmath.log1p, log10=mpmath.log10, sin=mpmath.sin, cos=mpmath.cos,
    tan=mpmath.tan, arcsin=mpmath.asin, arccos=mpmath.acos, arctan=mpmath.atan, sinh=mpmath.sinh, cosh=mpmath.cosh, tanh=mpmath.tanh,
    arcsinh=mpmath.asinh, sqrt=mpmath.sqrt, exp2=lambda x: mpmath.mpf(2) ** x, log2=lambda x: mpmath.log(x, 2), square=lambda x: x * x,
    erf=mpmath.erf, gamma=mpmath.gamma, j0=lambda x: mpmath.besselj(0, x),
)  # fmt: skip

Function = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Point:
    group: str
    name: str
    f: Function
    x: float

    def slope(self) -> Any:
        """The derivative at 50 digits."""
        with mp.workdps(DIGITS):
            h = mpmath.mpf(abs(self.x) or 1) * mpmath.mpf(10) ** -60
            with mp.workdps(3 * DIGITS + 400):  # differences at a step of 1e-60 need no more
                x = mpmath.mpf(self.x)
                return (self.f(EXACT, x + h) - self.f(EXACT, x - h)) / (2 * h)


PUBLISHED = ("cos", "sin", "tan", "cosh", "sinh", "tanh", "arcsinh", "exp", "expm1", "exp2", "square", "sqrt", "log", "log1p", "log10",
             "log2", "arccos", "arcsin", "arctan")  # fmt: skip

FROM_PAPERS: dict[str, tuple[Function, Sequence[float]]] = {
    "exp(x) / (sin³x + cos³x)": (lambda m, x: m.exp(x) / (m.sin(x) ** 3 + m.cos(x) ** 3), (0.0, 0.5, 1.5)),
    "x^4.5": (lambda m, x: x ** (9 / 2), (0.1, 1.5)),
    "(exp(x) - 1)² + (1/√(1 + x²) - 1)²": (lambda m, x: (m.exp(x) - 1) ** 2 + (1 / m.sqrt(1 + x * x) - 1) ** 2, (0.1, 1.0)),
    "1 / (1 + 25 x²)": (lambda m, x: 1 / (1 + 25 * x * x), (0.1, 0.5, 1.0)),
    "exp(sin x)": (lambda m, x: m.exp(m.sin(x)), (0.3, 2.0)),
    "x exp(-x²)": (lambda m, x: x * m.exp(-x * x), (0.2, 2.5)),
    "erf": (lambda m, x: m.erf(x), (0.2, 1.7, 3.0)),
    "gamma": (lambda m, x: m.gamma(x), (0.3, 1.0, 4.5)),
    "J0": (lambda m, x: m.j0(x), (0.5, 3.0, 12.0)),
    "polynomial": (lambda m, x: 3 * x**5 - 7 * x**3 + x - 2, (0.3, 1.1, -2.0)),
}  # fmt: skip

SCALES = (1e-12, 1e-6, 1e6, 1e12)

NEAR_SINGULAR: dict[str, tuple[Function, Sequence[float]]] = {
    "1 / (x - 1)": (lambda m, x: 1 / (x - 1), (1.1, 1.001, 1.00001, 1.0 + 1e-8)),
    "log": (lambda m, x: m.log(x), (1e-3, 1e-9, 1e-100, 1e-300)),
    "sqrt": (lambda m, x: m.sqrt(x), (1e-3, 1e-9, 1e-100, 1e-300)),
    "tan": (lambda m, x: m.tan(x), (1.5, 1.57, 1.5707)),
    "x^x": (lambda m, x: m.exp(x * m.log(x)), (0.3, 1e-3, 1e-8)),
    "arcsin": (lambda m, x: m.arcsin(x), (0.9, 0.999, 1.0 - 1e-6, 1.0 - 1e-9)),
    "1 / x²": (lambda m, x: 1 / (x * x), (0.1, 1e-5, 1e-50)),
    "log(1 - x)": (lambda m, x: m.log(1 - x), (0.99, 1.0 - 1e-7)),
}

OSCILLATING: dict[str, tuple[Function, Sequence[float]]] = {
    **{f"sin {k:g} x": (lambda m, x, k=k: m.sin(k * x), (0.7, 0.123)) for k in (10.0, 1e2, 1e3, 1e4, 1e5, 1e6)},
    "sin(1 / x)": (lambda m, x: m.sin(1 / x), (0.1, 0.01, 0.001)),
    "x² sin(1 / x)": (lambda m, x: x * x * m.sin(1 / x), (0.1, 0.001)),
    "cos x²": (lambda m, x: m.cos(x * x), (3.0, 30.0)),
    "x + sin(1000 x) / 1000": (lambda m, x: x + m.sin(1000 * x) / 1000, (0.4, 2.0)),
    "exp(-x) cos 50 x": (lambda m, x: m.exp(-x) * m.cos(50 * x), (0.5, 3.0)),
}  # fmt: skip

ROUNDED: dict[str, tuple[Function, Sequence[float]]] = {  # rounding inside takes digits from the value
    "(1 - cos x) / x²": (lambda m, x: (1 - m.cos(x)) / (x * x), (1e-1, 1e-2, 1e-3)),
    "exp(x) - 1": (lambda m, x: m.exp(x) - 1, (1e-4, 1e-8)),
    "1e8 + sin x": (lambda m, x: 1e8 + m.sin(x), (0.5, 2.0)),
    "(x - 1)^7 expanded": (lambda m, x: x**7 - 7 * x**6 + 21 * x**5 - 35 * x**4 + 35 * x**3 - 21 * x**2 + 7 * x - 1, (1.5, 1.1)),
    "√(1 + x) - √x": (lambda m, x: m.sqrt(1 + x) - m.sqrt(x), (10.0, 1e6)),
    "log(1 + x) plainly": (lambda m, x: m.log(1 + x), (1e-3, 1e-9)),
    "sin(x + 1e6)": (lambda m, x: m.sin(x + 1e6), (0.5, 1.5)),
}  # fmt: skip

FLAT: dict[str, tuple[Function, Sequence[float]]] = {
    "exp(-1 / x²)": (lambda m, x: m.exp(-1 / (x * x)), (0.3, 0.1, 0.06)),
    "tanh": (lambda m, x: m.tanh(x), (10.0, 18.0)),
    "x⁹": (lambda m, x: x**9, (1e-2, 1e-5, 100.0)),
    "exp": (lambda m, x: m.exp(x), (-700.0, -30.0, 30.0, 700.0)),
    "x²": (lambda m, x: x * x, (1e-150, 1e-8, 1e8, 1e150)),
    "log": (lambda m, x: m.log(x), (1e8, 1e300)),
    "x³": (lambda m, x: x**3, (1e-100, 1e100)),
    "1 / (1 + exp(-x))": (lambda m, x: 1 / (1 + m.exp(-x)), (-30.0, 30.0)),
    "cos": (lambda m, x: m.cos(x), (1e-8, 1e-3)),
}


def points() -> Iterator[Point]:
    for name in PUBLISHED:
        for x in (0.15, 0.5, 0.85):
            yield Point("numdifftools' tests", name, lambda m, x, name=name: getattr(m, name)(x), x)
    for s in SCALES:
        for t in SCALES:
            yield Point("badly scaled", f"{s:g} sin(x / {t:g})", lambda m, x, s=s, t=t: s * m.sin(x / t), 0.7 * t)
            yield Point("badly scaled", f"{s:g} exp(x / {t:g})", lambda m, x, s=s, t=t: s * m.exp(x / t), -0.3 * t)
    for group, functions in (
        ("from papers", FROM_PAPERS),
        ("near a singularity", NEAR_SINGULAR),
        ("oscillating", OSCILLATING),
        ("rounding inside", ROUNDED),
        ("flat, tiny, huge", FLAT),
    ):
        for name, (f, xs) in functions.items():
            yield from (Point(group, name, f, x) for x in xs)


Answer = tuple[float, float]  # value and error estimate


def ours(f: Callable[[Any], Any], x: float) -> Answer:
    found = derivative(lambda t: f(np.asarray(t)[()]), x)  # a NumPy number, as the others give: real or complex
    return found.value, found.error


def by_numdifftools(f: Callable[[Any], Any], x: float, method: str = "central") -> Answer:
    found: Any = numdifftools.Derivative(f, method=method, full_output=True)(x)
    return float(found.estimate), float(found.error_estimate)


def by_numdifftools_complex(f: Callable[[Any], Any], x: float) -> Answer:
    return by_numdifftools(f, x, "complex")


def by_scipy(f: Callable[[Any], Any], x: float, **settings: Any) -> Answer:
    found = scipy.differentiate.derivative(f, x, **settings)
    return float(found.df), float(found.error)


def by_scipy_adapted(f: Callable[[Any], Any], x: float) -> Answer:
    return by_scipy(f, x, initial_step=abs(x) / 8 or 0.5)


METHODS: dict[str, Callable[[Callable[[Any], Any], float], Answer]] = {
    "chainrule": ours,
    "numdifftools": by_numdifftools,
    "numdifftools, complex step": by_numdifftools_complex,
    "SciPy": by_scipy,
    "SciPy, first step abs(x) / 8": by_scipy_adapted,
}


@dataclass(frozen=True)
class Measured:
    point: Point
    error: float  # relative to the derivative; infinite where there was no answer
    inside: bool
    evaluations: int


def measured(method: Callable[[Callable[[Any], Any], float], Answer], point: Point, exact: Any) -> Measured:
    evaluations = 0

    def f(x: Any) -> Any:
        nonlocal evaluations
        evaluations += np.size(x)
        return point.f(FLOAT64, x)

    try:
        value, bar = method(f, point.x)
    except Exception:  # no answer, whatever the reason
        return Measured(point, np.inf, False, evaluations)
    if not np.isfinite(value):
        return Measured(point, np.inf, False, evaluations)
    with mp.workdps(DIGITS):
        off = abs(mpmath.mpf(value) - exact)
        return Measured(point, float(off / abs(exact)), bool(off <= bar), evaluations)


def run(every: int = 1) -> tuple[dict[str, list[Measured]], dict[str, float]]:
    """The measurements of every method at all points, and its seconds."""
    results: dict[str, list[Measured]] = {name: [] for name in METHODS}
    seconds = dict.fromkeys(METHODS, 0.0)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for point in tqdm(list(points())[::every], desc="derivatives", leave=False):
            exact = point.slope()
            for name, method in METHODS.items():
                start = time.perf_counter()
                results[name].append(measured(method, point, exact))
                seconds[name] += time.perf_counter() - start
    return results, seconds


def summary(results: dict[str, list[Measured]], seconds: dict[str, float]) -> list[list[str]]:
    """One line for each figure, one column for each method."""
    found = list(results.values())
    errors = [np.array([m.error for m in ms]) for ms in found]
    answered = [e[np.isfinite(e)] for e in errors]
    return [
        [f"{len(found[0])} points", *results],
        ["relative error, median", *[f"{np.median(e):.1e}" for e in errors]],
        ["relative error, 90 %", *[f"{np.quantile(e, 0.9, method='higher'):.1e}" for e in errors]],
        ["relative error, largest of an answer", *[f"{np.max(e):.1e}" for e in answered]],
        ["no finite answer", *[str(int(np.sum(~np.isfinite(e)))) for e in errors]],
        ["true error inside the stated bar", *[f"{100 * np.mean([m.inside for m in ms]):.1f} %" for ms in found]],
        ["evaluations, median", *[f"{np.median([m.evaluations for m in ms]):.0f}" for ms in found]],
        ["seconds", *[f"{s:.1f}" for s in seconds.values()]],
    ]


def by_group(results: dict[str, list[Measured]]) -> list[list[str]]:
    """Median relative error, and how many errors are inside their bars, of each group."""
    groups = dict.fromkeys(m.point.group for m in results["chainrule"])
    lines = [["median error; inside the bar", *results]]
    for group in groups:
        cells = []
        for ms in results.values():
            own = [m for m in ms if m.point.group == group]
            cells.append(f"{np.median([m.error for m in own]):.0e}; {sum(m.inside for m in own)}/{len(own)}")
        lines.append([group, *cells])
    return lines


def outside(results: dict[str, list[Measured]]) -> list[str]:
    """The points at which our own error estimate is not true."""
    return [
        f"{m.point.name} at {m.point.x:g}: relative error {m.error:.1e}" for m in results["chainrule"] if not m.inside
    ]


def at_a_kink() -> list[list[str]]:
    """What each says of |x| at 0: any estimate of 0 ± 0 would be a lie."""
    line = ["derivative of abs at 0"]
    for name, method in METHODS.items():
        try:
            value, bar = method(np.abs, 0.0)
            line.append(f"{value:g} ± {bar:.1g}")
        except Exception as error:
            line.append(type(error).__name__)
        if name == "chainrule" and (kink := derivative(abs, 0.0).kink):
            line[-1] = f"kink, slopes {kink[0]:g} and {kink[1]:g}"
    return [["", *METHODS], line]
