"""What compiled code costs beside what a person writes: value and gradient of scalars; and, of training steps, NumPy by hand and JAX.

python benchmarks/compiled.py
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numba
from measure import interleaved
from scalars import expression
from threadpoolctl import threadpool_limits

import chainrule as cr


def tiny(a: Any, b: Any) -> Any:
    c = a * b
    d = cr.tanh(c + a)
    return (d - b) * d + c * c


def tiny_by_hand(a: float, b: float) -> tuple[float, tuple[float, float]]:
    c = a * b
    d = math.tanh(c + a)
    e = d - b
    slope = (d + e) * (1.0 - d * d)
    dc = slope + 2.0 * c
    return e * d + c * c, (dc * b + slope, dc * a - d)


def expression_by_hand(a: float, b: float) -> tuple[float, tuple[float, float]]:
    """Line by line, with the derivative of each line below."""
    c = a + b
    d = a * b + b**3
    c1 = c + c + 1
    c2 = c1 + 1 + c1 - a
    r1 = b + a
    d1 = d + d * 2 + (r1 if r1 > 0 else 0.0)
    r2 = b - a
    d2 = d1 + 3 * d1 + (r2 if r2 > 0 else 0.0)
    e = c2 - d2
    f = e**2
    g = f / 2.0 + 10.0 / f

    df = 0.5 - 10.0 / f**2
    de = df * 2 * e
    dc2, dd2 = de, -de
    dd1 = 4 * dd2
    dr2 = dd2 if r2 > 0 else 0.0
    dd = 3 * dd1
    dr1 = dd1 if r1 > 0 else 0.0
    dc = 2 * (2 * dc2)
    da = dc + dd * b - dc2 + dr1 - dr2
    db = dc + dd * (a + 3 * b**2) + dr1 + dr2
    return g, (da, db)


def rosenbrock(x: Any) -> Any:
    total = 0.0
    for a, b in itertools.pairwise(x):
        total = total + 100.0 * (b - a**2) ** 2 + (1.0 - a) ** 2
    return total


def rosenbrock_by_hand(x: list[float]) -> tuple[float, list[float]]:
    total, slope = 0.0, [0.0] * len(x)
    for i in range(len(x) - 1):
        a, b = x[i], x[i + 1]
        off, left = b - a * a, 1.0 - a
        total += 100.0 * off * off + left * left
        slope[i] -= 400.0 * off * a + 2.0 * left
        slope[i + 1] += 200.0 * off
    return total, slope


STEPS, DT = 100, 0.01


def lotka_volterra(a: Any, b: Any, c: Any, d: Any) -> Any:
    """How far hares and lynxes are from (1, 1) after so many steps of Euler's method."""
    x, y = 1.0, 0.5
    for _ in range(STEPS):
        x, y = x + DT * (a * x - b * x * y), y + DT * (d * x * y - c * y)
    return (x - 1.0) ** 2 + (y - 1.0) ** 2


def lotka_volterra_by_hand(a: float, b: float, c: float, d: float) -> tuple[float, tuple[float, ...]]:
    """The adjoint method: there, and back along the same way."""
    x, y, way = 1.0, 0.5, []
    for _ in range(STEPS):
        way.append((x, y))
        x, y = x + DT * (a * x - b * x * y), y + DT * (d * x * y - c * y)
    p, q = 2.0 * (x - 1.0), 2.0 * (y - 1.0)
    da = db = dc = dd = 0.0
    for u, v in reversed(way):
        da += DT * p * u
        db -= DT * p * u * v
        dc -= DT * q * v
        dd += DT * q * u * v
        p, q = p + DT * (p * (a - b * v) + q * d * v), q + DT * (q * (d * u - c) - p * b * u)
    return (x - 1.0) ** 2 + (y - 1.0) ** 2, (da, db, dc, dd)


SCALARS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Any, tuple[Any, ...]]] = {
    "a graph of ten nodes": (tiny, tiny_by_hand, (0, 1), (1.5, 2.5)),
    "micrograd's README expression": (expression, expression_by_hand, (0, 1), (-4.0, 2.0)),
    "Rosenbrock's function of 10": (rosenbrock, rosenbrock_by_hand, 0, ([0.1 * i for i in range(10)],)),
    "Lotka–Volterra, 100 steps": (lotka_volterra, lotka_volterra_by_hand, (0, 1, 2, 3), (1.0, 2.0, 3.0, 4.0)),
}


def many(f: Callable[..., Any], args: tuple[Any, ...], repeats: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(repeats):
            f(*args)

    return run


def scalars(rounds: int = 41) -> None:
    for name, (f, by_hand, argnums, args) in SCALARS.items():
        both = cr.value_and_grad(f, argnums)
        contenders: dict[str, Callable[..., Any]] = {
            "by hand": by_hand,
            "compiled": cr.compile(both),
            "jit=numba.njit": cr.compile(both, jit=numba.njit),
        }
        first = {}
        for each, g in contenders.items():
            start = time.perf_counter()
            g(*args)
            first[each] = time.perf_counter() - start
            for _ in range(100):
                found = g(*args)
            assert agree(found, by_hand(*args)), (name, each)
        repeats = 20000 // (1 + STEPS * (f is lotka_volterra))
        seconds = interleaved({each: many(g, args, repeats) for each, g in contenders.items()}, rounds)
        table(f"{name}: value and gradient", seconds, "by hand", repeats, first)


def agree(x: Any, y: Any) -> bool:
    if isinstance(x, tuple | list):
        return all(map(agree, x, y))
    return math.isclose(x, y, rel_tol=1e-9)


def table(title: str, seconds: dict[str, list[float]], base: str, unit: int, first: dict[str, float]) -> None:
    print(f"\n{title}")
    for name, times in seconds.items():
        ratios = [t / mine for t, mine in zip(times, seconds[base], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        print(
            f"  {name:<20}{statistics.median(times) / unit * 1e6:10.2f} us   {middle:6.2f} (quartiles {low:.2f} to {high:.2f})   first call {first[name]:.2f} s"
        )


def main() -> None:
    with threadpool_limits(1):
        scalars()


if __name__ == "__main__":
    main()
