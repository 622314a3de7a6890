"""What compiled code costs beside what a person writes, as a table for docs/compile.md: value and gradient of numbers beside
Python by hand; training steps beside NumPy by hand and `jax.jit` of the whole update.

XLA_FLAGS="--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1" python benchmarks/compiled.py
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import jax
import numba
import numpy as np
from measure import interleaved
from scalars import expression
from threadpoolctl import threadpool_limits
from training import LEARNING_RATE, by_hand, compiled, ours

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


Contenders: TypeAlias = dict[str, Callable[..., object]]
SCALARS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Any, tuple[Any, ...]]] = {
    "a graph of ten nodes": (tiny, tiny_by_hand, (0, 1), (1.5, 2.5)),
    "micrograd's README expression": (expression, expression_by_hand, (0, 1), (-4.0, 2.0)),
    "Rosenbrock's function of 10": (rosenbrock, rosenbrock_by_hand, 0, ([0.1 * i for i in range(10)],)),
    "Lotka–Volterra, 100 steps": (lotka_volterra, lotka_volterra_by_hand, (0, 1, 2, 3), (1.0, 2.0, 3.0, 4.0)),
}
NETWORKS: list[tuple[list[int], int, str]] = [
    ([4, 8, 2], 1, "float64"),
    ([784, 16, 16, 10], 32, "float32"),
    ([784, 512, 256, 128, 10], 32, "float32"),
    ([784, 512, 256, 128, 10], 128, "float32"),
]


def scalars(f: Callable[..., Any], by_hand: Callable[..., Any], argnums: Any, args: tuple[Any, ...]) -> Contenders:
    both = cr.value_and_grad(f, argnums)
    functions: Contenders = {
        "by hand": by_hand,
        "compiled": cr.compile(both),
        "jit=numba.njit": cr.compile(both, jit=numba.njit),
    }
    for name, g in functions.items():
        start = time.perf_counter()
        found: Any = g(*args)
        print(f"    first call, {name}: {time.perf_counter() - start:.2f} s")
        assert agree(found, by_hand(*args)), name
    return functions


def agree(x: Any, y: Any) -> bool:
    if isinstance(x, tuple | list):
        return all(map(agree, x, y))
    return math.isclose(x, y, rel_tol=1e-9)


def by_jax(arrays: list[Any], dtype: str) -> Callable[[Any, Any], float]:
    """The whole update as one function."""
    jax.config.update("jax_enable_x64", dtype == "float64")
    parameters = [jax.numpy.asarray(array) for array in arrays]

    def loss(parameters: list[Any], x: Any, labels: Any) -> Any:
        *hidden, (w, b) = zip(parameters[::2], parameters[1::2], strict=True)
        for v, c in hidden:
            x = jax.nn.relu(x @ v.T + c)
        scores = jax.nn.log_softmax(x @ w.T + b)
        return -scores[jax.numpy.arange(len(labels)), labels].mean()

    @jax.jit
    def update(parameters: list[Any], x: Any, labels: Any) -> Any:
        value, slopes = jax.value_and_grad(loss)(parameters, x, labels)
        return value, [p - LEARNING_RATE * slope for p, slope in zip(parameters, slopes, strict=True)]

    def step(x: Any, labels: Any) -> float:
        nonlocal parameters
        value, parameters = update(parameters, x, labels)
        return float(value)

    return step


def steps(sizes: list[int], batch: int, dtype: str) -> tuple[Contenders, tuple[Any, ...]]:
    rng = np.random.default_rng(0)
    x, labels = rng.random((batch, sizes[0])).astype(dtype), rng.integers(0, sizes[-1], batch)
    make = partial(cr.nn.MLP, sizes, dtype=dtype, rng=0)
    arrays = [p.data.copy() for p in make().parameters()]
    model = make()
    contenders = {
        "by hand": by_hand([a.copy() for a in arrays[::2]], [a.copy() for a in arrays[1::2]]),
        "compiled_step": cr.nn.compiled_step(
            model, cr.nn.cross_entropy, cr.nn.SGD(model.parameters(), lr=LEARNING_RATE)
        ),
        "compiled loss": compiled(make()),
        "eager": ours(make()),
        "jax.jit": by_jax(arrays, dtype),
    }
    losses = {name: [step(x, labels) for _ in range(20)] for name, step in contenders.items()}
    for name, found in losses.items():
        assert np.allclose(found, losses["by hand"], rtol=1e-4), name
    return contenders, (x, labels)


def many(run: Callable[..., object], args: tuple[Any, ...]) -> tuple[Callable[[], None], int]:
    """So many calls at once that they take some milliseconds, and how many; written as somebody writes a call."""
    names = ", ".join(f"x{i}" for i in range(len(args)))
    space: dict[str, Any] = {}
    exec(f"def several(run, n, {names}):\n    for _ in range(n):\n        run({names})\n", space)
    start = time.perf_counter()
    space["several"](run, 5, *args)
    repeats = max(1, int(5 * 0.004 / (time.perf_counter() - start)))
    return partial(space["several"], run, repeats, *args), repeats


def row(title: str, contenders: Contenders, args: tuple[Any, ...], rounds: int) -> None:
    """Times as multiples of by hand: medians of interleaved pairs, and their quartiles."""
    for run in contenders.values():
        for _ in range(70):
            run(*args)
    several = {name: many(run, args) for name, run in contenders.items()}
    seconds = interleaved({name: run for name, (run, _) in several.items()}, rounds)
    each = {name: [t / several[name][1] for t in times] for name, times in seconds.items()}
    cells = [f"{statistics.median(each['by hand']) * 1e6:.3g} µs"]
    for name, times in list(each.items())[1:]:
        low, middle, high = statistics.quantiles([t / by for t, by in zip(times, each["by hand"], strict=True)], n=4)
        cells.append(f"{name} **{middle:.2f}** ({low:.2f} to {high:.2f})")
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


def main(rounds: int = 41) -> None:
    with threadpool_limits(1):
        for title, of in SCALARS.items():
            row(f"{title}: value and gradient", scalars(*of), of[-1], rounds)
        for sizes, batch, dtype in NETWORKS:
            row(f"step of {'-'.join(map(str, sizes))}, batch {batch}, {dtype}", *steps(sizes, batch, dtype), rounds)


if __name__ == "__main__":
    main()
