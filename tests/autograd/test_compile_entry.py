"""Calls of compiled functions: which arguments the code is for, what is counted, how numbers are written, and jit."""

from __future__ import annotations

import gc
import itertools
import math
import random
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numba
import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

RNG = np.random.default_rng


class Pair(NamedTuple):
    a: Any
    b: Any


class Odd(float):
    """A float that is none."""


def shape_of(x: Any) -> Any:
    """All that can be seen of a result."""
    if isinstance(x, cr.Node):
        return type(x).__name__, shape_of(x.data)
    if isinstance(x, tuple | list):
        return type(x).__name__, [shape_of(part) for part in x]
    if isinstance(x, dict):
        return {key: shape_of(part) for key, part in x.items()}
    if isinstance(x, np.ndarray | np.generic):
        return type(x).__name__, str(x.dtype), x.shape, x.tolist()
    return type(x).__name__, repr(x)


def outcome(f: Callable[..., Any], call: Any, shown: Callable[[Any], Any] = shape_of) -> Any:
    args, options = (call[:-1], call[-1]) if call and isinstance(call[-1], dict) else (call, {})
    try:
        with np.errstate(all="ignore"):
            return shown(f(*args, **options))
    except Exception as error:
        return type(error).__name__, str(error), type(error.__context__).__name__


ONES, TWOS = np.ones(3), np.full(3, 2.0)
V, W, T = cr.Value(1.5), cr.Value(-2.0), cr.Tensor([1.0, 2.0, 3.0])
ENTRY = cr.custom("entry", lambda x: x * 2.0, lambda g, y, x: g * 2.0)
MODEL, OTHER = nn.Linear(3, 1, rng=0), nn.Linear(3, 1, rng=1)
CALLS: dict[str, tuple[Callable[..., Any], list[tuple[Any, ...]]]] = {
    "floats and what is none": (
        lambda x, y=2.0: x * y,
        [(1.5,), (1.5, 2.5), (2, 2.5), (True, 2.5), (np.float64(1.5), 2.5), (Odd(2.0), 2.5), (V, 2.5), (ONES, 2.5)],
    ),
    "by keyword": (
        lambda x, y=2.0: x - y,
        [(1.5, 2.5), (1.5, {"y": 2.5}), ({"y": 1.0, "x": 3.0},), (1.5, {"z": 1.0}), (1.5, 2.5, {"x": 1.0})],
    ),
    "too many, too few": (lambda x, y: x * y, [(1.5, 2.5), (1.5,), (1.5, 2.5, 3.5), ()]),
    "any number": (lambda *xs: sum(xs[1:], xs[0]), [(1.5, 2.5), (1.5,), (1.0, 2.0, 3.0)]),
    "arrays": (
        lambda x: cr.sum(x * x),
        [(ONES,), (ONES[:2],), (ONES.astype(np.float32),), (np.ones((2, 3)).T,), (np.ones(()),), (np.arange(3),), (T,)],
    ),
    "other byte orders": (lambda x: x * 2.0, [(ONES,), (ONES.astype(">f8"),), (ONES.astype("<f8"),)]),
    "one array twice": (lambda x, y: (x + y, x * y), [(ONES, TWOS), (ONES, ONES), (TWOS, ONES)]),
    "three, some the same": (
        lambda x, y, z: cr.sum(x * y - z),
        [(ONES, TWOS, T), (ONES, ONES, T), (ONES, TWOS, TWOS), (TWOS, TWOS, TWOS)],
    ),
    "one variable twice": (cr.value_and_grad(lambda x, y: x * y + x), [(V, W), (V, V), (2.0, V), (V, 2.0)]),
    "lists": (
        lambda xs: [x * 2.0 for x in xs],
        [([1.0, 2.0],), ([1.0, 2.0, 3.0],), ((1.0, 2.0),), ([1.0, ONES],), ([],), ([1, 2.0],), ([[1.0], 2.0],)],
    ),
    "nested": (
        lambda xs, y: (xs[0][0] * y, [*xs[1]]),
        [(((1.0, 2.0), [3.0]), 4.0), (([1.0, 2.0], [3.0]), 4.0), (((1.0, 2.0), [3.0, 4.0]), 4.0), (((1.0, V), []), W)],
    ),
    "named": (lambda p: p.a * p.b, [(Pair(1.0, 2.0),), (Pair(ONES, 2.0),), (Pair(2.0, 3.0),)]),
    "dicts": (lambda p: p["a"] * p["b"], [({"a": 1.0, "b": 2.0}, {}), ({"b": 1.0, "a": 2.0}, {}), ({"a": 1.0}, {})]),
    "options": (
        lambda x, how: x * len(how) if isinstance(how, str) else x if how is None else x * how,
        [(2.0, "ab"), (2.0, "abc"), (2.0, None), (2.0, 3), (2.0, True), (2.0, 1), (2.0, 1.0), (2.0, Odd(3.0))],
    ),
    "models": (lambda m, x: m(x), [(MODEL, ONES), (OTHER, ONES), (MODEL, TWOS), (MODEL, T)]),
    "names of the code's own": (
        lambda math, v1, np_, forward, g: math * v1 + np_ * forward - g,
        [(1.0, 2.0, 3.0, 4.0, 5.0), (ONES, 2.0, 3.0, 4.0, 5.0)],
    ),
    "names of Python's own": (
        lambda len, list, id, type, entry: len * list + id - type * entry,
        [(1.0, 2.0, 3.0, 4.0, 5.0), ([1.0], [2.0], 3.0, 4.0, 5.0), (ONES, 2.0, 3.0, 4.0, 5.0)],
    ),
    "a custom operation called entry": (lambda x: ENTRY(x) + 1.0, [(1.5,), (V,), (ONES,)]),
    "many rows, and deep ones": (
        lambda rows: sum([a * b for a, b in rows], 0.0),
        [([[float(i), 2.0] for i in range(120)],), ([(1.0, 2.0)] * 99,), ([[1.0, 2.0]],)],
    ),
    "a number of many digits": (lambda x, n: x * (n % 7), [(1.5, 10**5000), (1.5, 10**5000 + 1), (1.5, 3)]),
    "errors of what is chosen": (lambda x: cr.where(x > 0.0, 1.0 / x, 5.0), [(1.5,), (0.0,), (-1.0,), (V,)]),
    "what comes back": (
        lambda x, y: {"same": x, "both": (y, [y * 2.0, None, "y", 3]), "again": x},
        [(ONES, 2.0), (V, 2.0), (2.0, V), (ONES, ONES)],
    ),
    "numbers that it cannot do": (
        lambda x, y: x**2 / y + cr.exp(x),
        [(1.5, 2.5), (1e200, 2.5), (1.5, 0.0), (1000.0, 1.0), (math.nan, 1.0), (V, 0.0), (cr.Value(1e200), W)],
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_each_call_gets_what_the_function_gives(name: str) -> None:
    f, calls = CALLS[name]
    compiled = cr.compile(f)
    order = [call for call in calls for _ in range(6)] + random.Random(0).choices(calls, k=8 * len(calls))
    for n, call in enumerate(order, 1):
        assert outcome(compiled, call) == outcome(f, call), call
        assert compiled.calls == n
    assert compiled.compiled_calls >= 4


@pytest.mark.filterwarnings("ignore")
def test_what_lies_around_is_asked_at_each_call() -> None:
    class Holder:
        factor = 2.0

    space: dict[str, Any] = {"k": 3.0, "holder": Holder(), "cr": cr}
    exec("def f(x):\n    return cr.sin(x) * k * holder.factor", space)
    compiled = cr.compile(space["f"])
    changes: list[Callable[[], object]] = [
        lambda: None,
        lambda: space.update(k=float("3.0")),
        lambda: space.update(k=4.0),
        lambda: setattr(Holder, "factor", 5.0),
        lambda: setattr(space["holder"], "factor", 6.0),
        lambda: delattr(space["holder"], "factor"),
        lambda: space.update(holder=Holder()),
        lambda: setattr(space["f"], "__defaults__", (0.5,)),
        lambda: setattr(space["f"], "__code__", (lambda x: cr.cos(x) * k).__code__),  # type: ignore[name-defined]  # noqa: F821
        lambda: space.pop("k"),
    ]
    for change in changes:
        change()
        for _ in range(5):
            assert outcome(compiled, (0.5,)) == outcome(space["f"], (0.5,))


def test_calls_of_two_kinds_in_turns_are_counted() -> None:
    compiled = cr.compile(lambda x: x * 2.0)
    for n in range(1, 41):
        x = 1.5 if n % 2 else ONES
        assert np.all(compiled(x) == x * 2.0)
        assert compiled.calls == n
    assert repr(compiled) == "<compile(<lambda>), 2 recordings, 30 of 40 calls compiled>"


def test_an_entry_may_serve_several_threads() -> None:
    compiled = cr.compile(lambda x, y: (x * y, cr.tanh(x)))
    compiled(1.0, 2.0), compiled(1.0, 2.0)
    wrong = []

    def work(k: float) -> None:
        for i in range(500):
            x = k + i
            if compiled(x, 2.0) != (x * 2.0, math.tanh(x)):
                wrong.append(x)

    threads = [threading.Thread(target=work, args=(float(k),)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert compiled.calls >= 2000


def test_a_compiled_function_is_freed_at_once() -> None:
    def made() -> weakref.ref[Any]:
        f = lambda x: x * 2.0 + cr.sum(ONES)
        compiled = cr.compile(f)
        for x in 1.0, 2.0, 3.0, 4.0, 5.0:
            compiled(x)
        assert compiled.compiled_calls == 2
        return weakref.ref(f)

    gc.collect()
    gc.disable()
    try:
        gone = made()
        assert gone() is None
    finally:
        gc.enable()


def test_its_function_stays() -> None:
    compiled = cr.compile(lambda x: x + 1.0)
    with pytest.raises(AttributeError, match="its function stays"):
        compiled.f = abs


def test_what_is_garbage_is_finalized_outside() -> None:
    finalized: list[int] = []

    class Knot:
        def __init__(self) -> None:
            self.self = self

    for n in range(300):
        for i in range(4):
            weakref.finalize(Knot(), finalized.append, 4 * n + i)
        if n % 10 == 0:
            cr.compile(lambda x, n=n: cr.tanh(x) * n)(1.0)
    gc.collect()
    assert sorted(finalized) == list(range(1200))


def test_it_may_be_called_while_nobody_holds_it() -> None:
    assert [cr.compile(lambda x: x + 1.0)(1.0) for _ in range(3)] == [2.0] * 3
    call = cr.compile(lambda x: x + 1.0).__call__
    assert [call(1.0) for _ in range(6)] == [2.0] * 6


# How numbers are written


KINDS: dict[str, Callable[..., Any]] = {
    "an int of the larger": lambda x, y: cr.maximum(x, 0),
    "an int of the smaller": lambda x, y: (cr.minimum(3, x), y),
    "an int of a choice": lambda x, y: cr.where(x > y, x, 0),
    "a truth of a choice": lambda x, y: cr.where(x > y, True, x),
    "a truth times one": lambda x, y: 1.0 * (x > y),
    "a truth times minus one": lambda x, y: cr.arctan2(-1.0 * (x > y), -1.0),
    "a truth or a sum of them": lambda x, y: (x > y, (x > y) + (x > 0.0)),
    "a derivative that is a truth": cr.grad(lambda x, y: (x > 0.0) * cr.where(x <= y, y, 3.0), 1),
    "a value that is an int": cr.value_and_grad(lambda x, y: cr.where(x <= y, 0, y)),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", KINDS)
def test_numbers_are_of_the_kinds_that_the_function_gives(name: str) -> None:
    f, points = KINDS[name], [(2.0, 1.0), (1.0, 2.0), (-1.0, 0.5), (0.0, -1.5), (1.5, 0.0)]
    for first in points:
        compiled = cr.compile(f)
        for call in [first] * 2 + points * 2:
            assert outcome(compiled, call) == outcome(f, call), (first, call)


def test_scalars_read_as_a_person_writes() -> None:
    def f(a: Any, b: Any) -> Any:
        c = cr.relu(a - b) * 3
        return c**2 + cr.sigmoid(b) - -a * (b - 1)

    compiled = cr.compile(cr.value_and_grad(f, (0, 1)))
    for _ in range(3):
        compiled(2.0, 0.5)
    assert compiled.source == (
        "def forward(a, b):\n"
        "    v1 = a - b\n"
        "    v2 = 0.0 if v1 <= 0.0 else v1\n"
        "    v3 = v2 * 3.0\n"
        "    v5 = 1.0 / (1.0 + math.exp(-b))\n"
        "    v8 = b - 1.0\n"
        "    v10 = v3 * v3 + v5 - (-a) * v8\n"
        "    v16 = 2.0 * v3 * 3.0\n"
        "    v17 = v16 if v2 else 0.0\n"
        "    v19 = v8 + v17\n"
        "    v20 = a + v5 * (1.0 - v5) - v17\n"
        "    if v10 != v10 or v19 != v19 or v20 != v20: raise FloatingPointError\n"
        "    return v10, (v19, v20)\n"
    )


LEAVES = ("x", "y", "0.5", "2", "3")
OPERATIONS = (
    "({} + {})", "({} - {})", "({} * {})", "({} / {})", "(-{})", "{} ** 2", "{} ** 3", "({} ** 4)", "{} ** 1", "abs({})", "cr.relu({})",
    "cr.sigmoid({})", "cr.tanh({})", "cr.maximum({}, {})", "cr.minimum({}, {})", "cr.where({} > {}, {}, {})", "cr.clip({}, -1.0, 1.0)",
    "cr.exp(-abs({}))", "cr.leaky_relu({})", "cr.softplus({})", "cr.sin({})", "cr.sqrt(abs({}) + 1)", "(1 - {})", "({} - 2 * {})",
)  # fmt: skip


def expressions(n: int, seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    for _ in range(n):
        parts = [*LEAVES]
        for _ in range(rng.randrange(3, 9)):
            template = rng.choice(OPERATIONS)
            parts.append(template.format(*rng.choices([*parts[-3:], *LEAVES], k=template.count("{}"))))
        yield parts[-1]


POINTS = [0.0, -0.0, 1.0, -1.0, 0.5, 2.5, -3.0, 40.0, 1e200, -1e-200, math.inf, -math.inf, math.nan]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", [1, 2])
def test_random_expressions_have_the_same_values_and_gradients(order: int) -> None:
    for text in expressions(60, order):
        f = eval(f"lambda x, y: {text} + 0.0 * x")
        g = cr.value_and_grad(f, (0, 1)) if order == 1 else cr.grad(cr.grad(f))
        compiled = cr.compile(g)
        points = random.Random(len(text)).choices(list(itertools.product(POINTS, POINTS)), k=10)
        for call in [(1.25, 0.75)] * 2 + points:
            found, expected = outcome(compiled, call, flat), outcome(g, call, flat)
            numbers = type(expected) is list
            assert found == (pytest.approx(expected, rel=1e-9, abs=1e-300, nan_ok=True) if numbers else expected), text


def flat(x: Any) -> list[Any]:
    return [part for inside in x for part in flat(inside)] if isinstance(x, tuple) else [x]


def test_powers_of_plain_numbers_are_pythons() -> None:
    for f in (lambda x: x**2), (lambda x: x**3 - x):
        compiled = cr.compile(f)
        for x in 1.5, 2.5, 3.5, 1e200, -1e200, math.inf:
            assert outcome(compiled, (x,)) == outcome(f, (x,))


# jit


def small(a: Any, b: Any) -> Any:
    return (a * b + cr.tanh(a)) ** 2 / b


def test_jit_is_given_the_functions_and_what_it_makes_runs() -> None:
    given = []

    def jit(f: Callable[..., Any]) -> Callable[..., Any]:
        given.append(f.__name__)
        return lambda *args: ran.append(f.__name__) or f(*args)  # type: ignore[func-returns-value]

    ran: list[str] = []
    compiled = cr.compile(cr.value_and_grad(small, (0, 1)), jit=jit)
    for x in 1.5, 2.5, 3.5, 4.5, 5.5:
        assert flat(compiled(x, 2.0)) == pytest.approx(flat(cr.value_and_grad(small, (0, 1))(x, 2.0)))
    assert given == ["forward"]
    assert len(ran) == 5

    given.clear(), ran.clear()
    on_nodes = cr.compile(jit=jit)(small)
    for x in 1.5, 2.5, 3.5:
        y = on_nodes(cr.Value(x), 2.0)
    y.backward()
    assert given == ["forward", "backward"]
    assert ran[-2:] == ["forward", "backward"]


def test_numba() -> None:
    both = cr.value_and_grad(small, (0, 1))
    compiled = cr.compile(both, jit=numba.njit)
    for x in 1.5, 2.5, 3.5, 4.5, 5.5:
        (y, (da, db)), (z, (dc, dd)) = compiled(x, 2.0), both(x, 2.0)
        assert [y, da, db] == pytest.approx([z, dc, dd], rel=1e-12)
    assert compiled.compiled_calls == 2
    with pytest.raises(ZeroDivisionError):
        cr.compile(lambda a, b: a / b, jit=numba.njit)(1.0, 0.0)
    plain = cr.compile(lambda x: x**2, jit=numba.njit)
    for x in 1.5, 2.5, 3.5:
        assert plain(x) == x * x
    with pytest.raises(OverflowError):
        plain(1e200)
    vanishing = cr.compile(lambda _0, x: 1.0 / x**2 + _0, jit=numba.njit)
    for x in 1.5, 2.5, 3.5:
        assert vanishing(x, x) == 1.0 / x**2 + x
    with pytest.raises(OverflowError):
        vanishing(1.0, 1e200)


def failing(f: Callable[..., Any]) -> Callable[..., Any]:
    raise NotImplementedError("no")


@pytest.mark.parametrize("jit", [failing, lambda f: failing, lambda f: None, lambda f: lambda a, b: (1.0, 2.0)])
def test_what_jit_cannot_do_runs_as_it_is(jit: Any) -> None:
    compiled = cr.compile(small, jit=jit)
    with pytest.warns(UserWarning, match="runs as it is, not compiled"):
        assert [compiled(1.5, 2.0) for _ in range(5)] == [small(1.5, 2.0)] * 5


def test_jit_that_computes_something_else_is_found_out() -> None:
    compiled = cr.compile(small, jit=lambda f: lambda *args: (1.0,), strict=True)
    with pytest.raises(TypeError, match=r"recorded, it gives 1.0 \(float\) where the function gives"):
        compiled(1.5, 2.0)
    with pytest.raises(TypeError, match=r"jit must be a function of a function, such as numba\.njit, got 3"):
        cr.compile(small, jit=3)  # type: ignore[call-overload]
