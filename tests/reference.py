"""Numeric derivatives to hold the table against: central differences, extrapolated.

Nothing here knows a rule. A function of nodes is run on data moved along a direction, and order n + 1 is order 1 of the
gradient's own components: what is checked at one order is the function that is differentiated at the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.testing import assert_allclose

import chainrule as cr

STEP, LEVELS = 2.0**-7, 3
TOLERANCE = 1e-8
SMALL = 4  # up to this many elements, every one is a direction


def node(x: Any) -> Any:
    """A variable: a Value of a number, a Tensor of an array."""
    return cr.Value(x) if type(x) is float else cr.Tensor(x)


def like(x: Any, rng: np.random.Generator) -> Any:
    """Random numbers of the shape and kind of x, none near 0."""
    numbers = rng.uniform(0.5, 1.5, np.shape(x)) * rng.choice([-1.0, 1.0], np.shape(x))
    return float(numbers) if type(x) is float else np.array(numbers)


def kind(x: Any) -> tuple[Any, ...]:
    """Number or array, and of which shape and type."""
    return (float,) if type(x) is float else (np.ndarray, x.shape, x.dtype)


def directions(x: Any, rng: np.random.Generator, axes: bool) -> Iterator[Any]:
    """A random direction and, where asked for, every axis of a small array."""
    yield like(x, rng)
    if axes and 1 < np.size(x) <= SMALL:
        for i in range(np.size(x)):
            unit = np.zeros(np.shape(x))
            unit.flat[i] = 1.0
            yield unit


def directional(f: Callable[[Any], float], x: Any, v: Any) -> float:
    """The derivative of f at x along v: Richardson's extrapolation of central differences."""
    steps = [STEP / 2**k for k in range(LEVELS)]
    row = [(f(x + h * v) - f(x - h * v)) / (2 * h) for h in steps]
    for k in range(1, LEVELS):
        row = [(4**k * fine - coarse) / (4**k - 1) for coarse, fine in pairwise(row)]
    return float(row[0])


def pairing(a: Any, b: Any) -> float:
    return float(np.sum(np.multiply(a, b)))


def slopes(f: Callable[..., Any], weights: list[Any]) -> Callable[..., Any]:
    """One number made of f's whole gradient, as a function of the seed and of f's arguments."""

    def functional(seed: Any, *xs: Any) -> Any:
        total: Any = 0.0
        for g, u in zip(cr.gradients(f(*xs), xs, seed=seed, create_graph=True), weights, strict=True):
            total = total + cr.sum(g * u)
        return total

    return functional


def check(f: Callable[..., Any], *args: Any, order: int = 1, axes: bool = True) -> None:
    """Compare all derivatives of f at args, up to an order, with numeric ones."""
    rng = np.random.default_rng(1)
    nodes = [node(x) for x in args]
    y = f(*nodes)
    seed = like(y.data, rng)
    traced = cr.gradients(y, nodes, seed=seed, create_graph=True)
    for i, (x, g, t) in enumerate(zip(args, cr.gradients(y, nodes, seed=seed), traced, strict=True)):
        assert_allclose(t.data, g, rtol=1e-13, atol=1e-13, err_msg=f"argument {i}: rules on nodes and on data differ")
        assert kind(g) == kind(x), f"argument {i}: gradient {g!r} of {x!r}"

        def moved(x: Any, i: int = i) -> float:
            return pairing(seed, f(*[node(x if j == i else other) for j, other in enumerate(args)]).data)

        for v in directions(x, rng, axes):
            exact, numeric = pairing(g, v), directional(moved, x, v)
            assert abs(exact - numeric) <= TOLERANCE * max(1.0, abs(numeric)), (
                f"{order} orders to go, argument {i}, along {v}: {exact} by the rules, {numeric} by differences"
            )
    if order > 1:
        check(slopes(f, [like(x, rng) for x in args]), seed, *args, order=order - 1, axes=False)
