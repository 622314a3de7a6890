"""One generic test of every row: its rules against numeric derivatives, at orders 1 and 2, on every kind of input."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from reference import check, like, node
from samples import BINARY, EACH, INNER, OPERATIONS, SAMPLES, UNARY, Sample, function

import chainrule as cr
from chainrule.autograd.graph import ancestry
from chainrule.autograd.primitive import table

each = pytest.mark.parametrize(("name", "sample"), [pytest.param(n, s, id=f"{n}-{i}") for n, i, s in EACH])


every = pytest.mark.parametrize("name", SAMPLES)


def gradients(f: Any, args: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The result and the gradients of one run, seeded with random numbers."""
    nodes = [node(x) for x in args]
    y = f(*nodes)
    seed = like(y.data, np.random.default_rng(0))
    return y, cr.gradients(y, nodes, seed=seed)


@pytest.mark.parametrize("name", table)
def test_every_row_has_samples_that_run_it(name: str) -> None:
    assert SAMPLES.get(name), f"row {name!r} has no samples; add some to tests/samples.py"
    graphs = [ancestry(s.f(*map(node, s.args))) for s in SAMPLES[name]]
    assert any(n.op is not None and n.op.name == name for graph in graphs for n in graph)


@pytest.mark.parametrize("name", table)
def test_every_row_is_public_or_used_by_others(name: str) -> None:
    assert (name in OPERATIONS) != (name in INNER), (
        f"nobody can call row {name!r}: put its name into __all__ of its file, and run tests/project/test_facades.py; "
        "or, if only rules use it, into INNER of tests/samples.py"
    )


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_function_has_samples(name: str) -> None:
    assert len(OPERATIONS) > 90
    assert SAMPLES.get(name), f"cr.{name} has no samples; add some to tests/samples.py"


@each
def test_derivatives(name: str, sample: Sample) -> None:
    check(sample.f, *sample.args, order=2)


@pytest.mark.parametrize("name", sorted(UNARY.keys() | BINARY.keys()))
def test_third_derivatives(name: str) -> None:
    sample = next(s for s in SAMPLES[name] if isinstance(s.args[0], np.ndarray))
    check(sample.f, *sample.args, order=3)


@every
def test_plain_data_in_plain_data_out(name: str) -> None:
    for i, sample in enumerate(SAMPLES[name]):
        if uses(sample, "data", "T", "sum", "dtype"):  # what only nodes have
            continue
        plain = sample.f(*sample.args)
        assert isinstance(plain, float | np.ndarray | np.bool), f"sample {i}: {plain!r}"
        assert_array_equal(plain, sample.f(*map(node, sample.args)).data, err_msg=f"sample {i}")


def uses(sample: Sample, *attributes: str) -> bool:
    return not set(attributes).isdisjoint(sample.f.__code__.co_names)


@every
def test_float32_stays_float32(name: str) -> None:
    for i, sample in enumerate(SAMPLES[name]):
        if name == "astype" or any(type(x) is float for x in sample.args):  # numbers are double
            continue
        small = [x.astype(np.float32) for x in sample.args]
        y, found = gradients(sample.f, small)
        exact, expected = gradients(sample.f, sample.args)
        assert name == "item" or y.dtype in (np.float32, bool), f"sample {i}: {y!r}"  # a number, a mask
        assert_allclose(y.data, exact.data, rtol=2e-4, atol=2e-5, err_msg=f"sample {i}")
        for g, e in zip(found, expected, strict=True):
            assert g.dtype == np.float32, f"sample {i}: {g!r}"
            assert_allclose(g, e, rtol=2e-3, atol=2e-4, err_msg=f"sample {i}")
        nodes = [node(x) for x in small]
        for g in cr.gradients(sample.f(*nodes), nodes, seed=like(y.data, np.random.default_rng(0)), create_graph=True):
            assert g.dtype == np.float32, f"sample {i}: {g!r}"


NUMBERS = [(name, (points[-1],)) for name, points in UNARY.items()]
NUMBERS += [(name, (a[-1], b[-1])) for name, (a, b) in BINARY.items()]


@pytest.mark.parametrize(("name", "points"), NUMBERS)
def test_a_number_has_the_same_node_however_it_was_made(name: str, points: tuple[float, ...]) -> None:
    """Rows make the nodes of numbers themselves; where anything is suspended, `born` does."""
    args = tuple(map(cr.Value, points))
    given = [args, (args[0], *points[1:]), (*points[:-1], args[-1])]  # variables, and constants on either side
    for some in given:
        quick = function(name)(*some)
        with cr.enable_grad():
            slow = function(name)(*some)
        for slot in cr.Node.__slots__:
            if slot not in ("__weakref__", "birth"):
                assert getattr(quick, slot, None) == getattr(slow, slot, None), slot
        assert type(quick) is type(slow) is cr.Value
        assert all(a is b for a, b in zip(quick.args, some, strict=True))
        assert args[-1].birth < quick.birth < slow.birth


View = Callable[[Any], Any]
VIEWS: dict[str, tuple[View, View]] = {  # what is spread so, and laid in memory anew, is given back in another order
    "transposed": (lambda x: x.T, lambda x: cr.transpose(x)),
    "moved axis": (lambda x: np.moveaxis(x, 0, -1), lambda x: cr.moveaxis(x, -1, 0)),
    "strided": (lambda x: np.repeat(x, 2, axis=-1), lambda x: x[..., ::2]),
    "reversed": (lambda x: x[::-1], lambda x: x[::-1]),
    "reversed rows": (lambda x: x[..., ::-1], lambda x: cr.flip(x, -1)),
}


def on_other_memory(f: Callable[..., Any], back: View) -> Callable[..., Any]:
    return lambda *xs: f(*[back(x) if x.shape else x for x in xs])


@every
@pytest.mark.parametrize("view", VIEWS)
def test_views_of_any_strides(name: str, view: str) -> None:
    """The same results and gradients where the data lies in memory in another order."""
    spread, back = VIEWS[view]
    for i, sample in enumerate(SAMPLES[name]):
        if not any(np.ndim(x) for x in sample.args):
            continue
        exact, expected = gradients(sample.f, sample.args)
        args = [np.array(spread(x), order="C") if np.ndim(x) else x for x in sample.args]
        f = on_other_memory(sample.f, back)
        y, found = gradients(f, args)
        assert_allclose(y.data, exact.data, rtol=1e-13, atol=1e-14, err_msg=f"sample {i}")
        for g, e in zip(found, expected, strict=True):
            g = back(g) if np.ndim(g) else g
            assert_allclose(g, e, rtol=1e-12, atol=1e-13, err_msg=f"sample {i}")


@every
def test_fortran_s_order(name: str) -> None:
    """Second derivatives, forward mode and compiled code, too, are those of the same numbers in C's order."""
    for i, sample in enumerate(SAMPLES[name]):
        if not any(np.ndim(x) > 1 for x in sample.args):
            continue
        orders = [[np.array(x, order=order) if np.ndim(x) else x for x in sample.args] for order in ("C", "F")]
        compile = i in (0, len(SAMPLES[name]) - 1)
        expected, found = (answers(sample.f, args, compile) for args in orders)
        for e, y in zip(expected, found, strict=True):
            assert_allclose(y, e, rtol=1e-12, atol=1e-13, err_msg=f"sample {i}")


def answers(f: Callable[..., Any], args: list[Any], compile: bool) -> list[Any]:
    """Value, gradient, products with the second derivative, tangents; value and gradient compiled."""
    nodes = [node(x) for x in args]
    y = f(*nodes)
    seed = like(y.data, np.random.default_rng(0))
    first = cr.gradients(y, nodes, seed=seed, create_graph=True)
    total = cr.Value(0.0) + sum(cr.sum(g * g) for g in first)
    found = [y.data, *[g.data for g in first], *cr.gradients(total, nodes)]
    found.append(cr.jvp(f, args, [np.cos(np.arange(np.size(x))).reshape(np.shape(x)) for x in args])[1])
    if not compile:
        return found
    with contextlib.suppress(TypeError):  # what asks for numbers is not compiled
        compiled = cr.compile(f, strict=True)
        fast = [compiled(*nodes) for _ in range(3)][-1]  # the third is what the code gives
        found += [fast.data, *cr.gradients(fast, nodes, seed=seed)]
    return found


@every
def test_one_number_behind_all_elements_and_arrays_that_are_read_only(name: str) -> None:
    for i, sample in enumerate(SAMPLES[name]):
        if not any(np.ndim(x) for x in sample.args):
            continue
        spread = [np.broadcast_to(x[:1], x.shape) if np.ndim(x) else x for x in sample.args]
        with np.errstate(all="ignore"):
            exact, expected = gradients(sample.f, [np.array(x) if np.ndim(x) else x for x in spread])
            given = [cr.broadcast_to(cr.Tensor(x[:1]), x.shape) if np.ndim(x) else cr.Value(x) for x in spread]
            y = sample.f(*given)
            found = cr.gradients(y, given, seed=like(y.data, np.random.default_rng(0)))
        assert_allclose(y.data, exact.data, rtol=1e-12, atol=1e-13, err_msg=f"sample {i}")
        for g, e in zip(found, expected, strict=True):
            assert_allclose(g, e, rtol=1e-12, atol=1e-13, err_msg=f"sample {i}")


SPECIAL = (0.0, -0.0, 1.0, -1.0, 0.5, 3.0, -8.0, 1000.0, -1000.0, 1e308, -1e308, 5e-324, np.inf, -np.inf, np.nan)


@pytest.mark.parametrize("name", UNARY)
def test_numbers_follow_ieee_754_as_arrays_do(name: str) -> None:
    agree(function(name), np.array(SPECIAL))


@pytest.mark.parametrize("name", BINARY)
def test_pairs_of_numbers_follow_ieee_754_as_arrays_do(name: str) -> None:
    pairs = list(product(SPECIAL, (*SPECIAL, 1 / 3)))
    if name == "pow":
        pairs.remove((-np.inf, 0.5))  # NumPy takes x ** 0.5 for sqrt(x), which is NaN here
        for zero in (0.0, -0.0):
            pairs.remove((5e-324, zero))  # 1/x overflows: how NaN spreads then depends on the order of products
    agree(function(name), *np.array(pairs).T)


def agree(f: Any, *columns: Any) -> None:
    """Values, Tensors without axes and with one: the same results, first and second derivatives."""
    with np.errstate(all="ignore"):
        on_arrays = np.array(two_orders(f, [cr.Tensor(column) for column in columns]))
        for i, numbers in enumerate(np.stack(columns, axis=-1).tolist()):
            on_values = two_orders(f, [cr.Value(x) for x in numbers])
            on_floats = f(*numbers)
            assert all(type(x) is float for x in (on_floats, *on_values)), f"at {numbers}: {on_floats}, {on_values}"
            assert_array_equal(on_floats, on_values[0])
            assert_allclose(on_values, on_arrays[:, i], rtol=1e-13, err_msg=f"Value against Tensor at {numbers}")
            if i % 5 == 0:
                on_points = two_orders(f, [cr.Tensor(x) for x in numbers])
                assert_allclose(on_points, on_arrays[:, i], rtol=1e-13, err_msg=f"0-d Tensor at {numbers}")


def two_orders(f: Any, xs: list[Any]) -> list[Any]:
    """The result, its gradient and all second derivatives (of functions that work element by element)."""
    y = f(*xs)
    ones = np.ones(y.shape)
    first = cr.gradients(y, xs, seed=ones, create_graph=True)
    second = [h for g in first for h in cr.gradients(g, xs, seed=ones)]
    return [y.data, *[g.data for g in first], *second]


# Random expressions: rows mixed as programs mix them.

SMOOTH_1 = ["sin", "cos", "tanh", "sigmoid", "softplus", "arctan", "erf", "gelu", "silu", "square", "arcsinh", "neg"]
SMOOTH_2 = ["add", "sub", "mul", "hypot_safe", "logaddexp", "where"]
steps = st.lists(
    st.tuples(st.sampled_from(SMOOTH_1 + SMOOTH_2), st.integers(0, 99), st.integers(0, 99)), min_size=1, max_size=8
)
points = st.lists(st.floats(-1.5, 1.5, width=32), min_size=2, max_size=2)


def expression(program: list[tuple[str, int, int]]) -> Any:
    """The function that a list of steps describes; each step reads two of the results so far."""

    def f(*xs: Any) -> Any:
        known = list(xs)
        for name, i, j in program:
            a, b = known[i % len(known)], known[j % len(known)]
            if name == "hypot_safe":
                known.append(cr.hypot(a, 1.0 + b * b))
            elif name == "where":
                known.append(cr.where(i % 2 == 0, a, b))
            elif name in SMOOTH_1:
                known.append(function(name)(a))
            else:
                known.append(function(name)(cr.tanh(a), b))
        return cr.tanh(known[-1]) + 0.5 * known[-2]

    return f


@settings(derandomize=True, max_examples=25, deadline=None)
@given(steps, points)
def test_random_expressions_have_the_numeric_derivatives(program: list[tuple[str, int, int]], xs: list[float]) -> None:
    check(expression(program), *xs, order=2)
    check(expression(program), np.array(xs), np.array(xs[:1]), order=1)


@settings(derandomize=True, max_examples=50, deadline=None)
@given(steps, points)
def test_values_and_tensors_agree_on_random_expressions(program: list[tuple[str, int, int]], xs: list[float]) -> None:
    f = expression(program)
    assert_allclose(
        two_orders(f, [cr.Value(x) for x in xs]), two_orders(f, [cr.Tensor(x) for x in xs]), rtol=1e-12, atol=1e-12
    )
