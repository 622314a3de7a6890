"""check and check_row: every planted fault is found and named, and correct code is never called wrong."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, final

import numpy as np
import pytest
from reference import node
from samples import EACH, QUESTIONS, SAMPLES, Sample, with_false_zeros

import chainrule as cr
from chainrule.autograd.graph import FLOATS, ancestry
from chainrule.autograd.primitive import Op, table

Spoiler = Callable[[Any, Any], Any]  # (the cotangent of an argument, that of the result) -> a wrong one


def in_one_place(d: Any, g: Any) -> Any:
    """A percent too much, in one element that is not 0."""
    if np.ndim(d) == 0:
        return d * 1.01
    d = np.array(d)
    places = np.flatnonzero(d)
    d.reshape(-1)[places[len(places) // 2 : len(places) // 2 + 1]] *= 1.01
    return d


FAULTS: dict[str, Spoiler] = {
    "sign": lambda d, g: -d,
    "factor 2": lambda d, g: 2.0 * d,
    "1 percent in one element": in_one_place,
    "missing": lambda d, g: 0.0 * d,
    "next index": lambda d, g: np.roll(d, 1) if np.ndim(d) else 1.5 * d,
}


def spoilt(op: Op, place: int, spoil: Spoiler) -> Op:
    """The operation with one rule gone wrong."""

    def pull(args: Any, g: Any, y: Any, params: Any) -> Any:
        found = list(op.pull(args, g, y, params))
        found[place] = spoil(found[place], g)
        return found

    return Op(op.name, op.forward, op.rules, pull, op.symbol, op.elementwise)


def planted(root: Any, name: str, spoil: Spoiler, place: int = 0) -> tuple[int, int] | None:
    """Spoil a rule of a node of this name in the graph: which argument of which node, if that makes a difference."""
    numbers = {n.id: n for n in cr.visualize.diagram(root).nodes}
    ids = iter(sorted(i for i, n in numbers.items() if not n.constant))
    for n, i in zip(ancestry(root)[::-1], ids, strict=True):
        if n.op is None or n.op.name != name:
            continue
        places = [k for k, arg in enumerate(n.args) if isinstance(arg, cr.Node)]
        k = places[place % len(places)]
        g = n.seed(np.random.default_rng(1).uniform(0.5, 1.5, np.shape(n._raw)))
        d = n.op.pull(n.args, g, n._raw, n.params)[k]
        if d is None:
            continue
        before, after = (np.asarray(n.args[k].fit(x)) for x in (d, spoil(d, g)))
        if before.size and not np.allclose(before, after, rtol=1e-6, atol=0.0):
            n.op = spoilt(n.op, k, spoil)
            return i, k
    return None


WITHOUT_SLOPE = {
    "ceil",
    "floor",
    "floordiv",
    "inside",
    "is_zero",
    "round",
    "share",
    "sign",
    "step",
    "ties",
    "zeros_like",
    *QUESTIONS,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in table if name not in WITHOUT_SLOPE])
def test_a_fault_in_any_rule_of_any_row_is_found_and_named(name: str) -> None:
    for fault, spoil in FAULTS.items():
        found = 0
        for i, sample in enumerate(SAMPLES[name]):
            y = sample.f(*map(node, sample.args))
            place = planted(y, name, spoil, i)
            if place is not None:
                found += 1
                report = cr.check(y)
                where = [(row.node, row.argument) for row in report.wrong if row.node is not None]
                assert where == [place], f"{fault}, sample {i}\n{report}"
            if found == 3:
                break
        assert found, f"{fault} could not be planted in {name}"


@pytest.mark.parametrize("name", sorted(WITHOUT_SLOPE - {"ties", "any", "reached"}))
def test_a_slope_where_there_is_none_is_found(name: str) -> None:
    y = SAMPLES[name][0].f(*map(node, SAMPLES[name][0].args))
    n = next(n for n in ancestry(y) if n.op is not None and n.op.name == name)
    n.op = Op(name, n.op.forward, n.op.rules, lambda args, g, y, params: [g for _ in args], elementwise=True)
    assert not cr.check(y), name


@pytest.mark.parametrize(
    "dtype",
    [np.float64, pytest.param(np.float32, marks=pytest.mark.slow), pytest.param(np.float16, marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", SAMPLES)
def test_correct_rows_are_not_called_wrong(name: str, dtype: Any) -> None:
    stride = {np.float64: 3, np.float32: 6, np.float16: 9}[dtype]
    for i, sample in enumerate(SAMPLES[name][::stride]):
        args = [x if type(x) is float else x.astype(dtype) for x in sample.args]
        y = sample.f(*map(node, args))
        if isinstance(y, cr.Node) and y.args:
            assert cr.check(y, seed=i), f"sample {stride * i}\n{cr.check(y, seed=i)}"


def deep(x: Any, layers: int = 20) -> Iterator[Any]:
    rng = np.random.default_rng(0)
    for i in range(layers):
        weight = cr.Tensor(rng.normal(size=(10, 10)) / 3.0, name=f"layers.{i}.weight")
        x = cr.tanh(x @ weight)
        yield x


def test_a_deep_network_is_right() -> None:
    layers = list(deep(cr.Tensor(np.random.default_rng(1).normal(size=(10, 10)))))
    assert cr.check(cr.mean(cr.square(layers[-1])), sample=2)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", ["matmul", "tanh"])
def test_a_fault_deep_inside_a_network_is_named(name: str, fault: str) -> None:
    layers = list(deep(cr.Tensor(np.random.default_rng(1).normal(size=(10, 10)))))
    loss = cr.mean(cr.square(layers[-1]))
    place = planted(layers[11], name, FAULTS[fault])
    assert place is not None
    assert [(row.node, row.operation) for row in cr.check(loss, sample=2).wrong if row.node is not None] == [
        (place[0], name)
    ]


def test_one_wrong_element_of_ten_thousand_is_found() -> None:
    x, w = np.random.default_rng(0).normal(size=(20, 100)), cr.Tensor(np.random.default_rng(1).normal(size=(100, 100)))
    y = cr.sum(cr.tanh(x @ w))
    place = planted(y, "matmul", in_one_place)
    assert [(row.node, row.argument) for row in cr.check(y).wrong if row.node is not None] == [place]


SCALES = [1e-12, 1e-6, 1.0, 1e6, 1e12]


@pytest.mark.slow
@pytest.mark.parametrize("of_result", SCALES)
@pytest.mark.parametrize("of_argument", SCALES)
def test_no_scale_hides_a_fault_or_makes_one(of_result: float, of_argument: float) -> None:
    def forward(x: Any) -> Any:
        return of_result * np.sin(x / of_argument)

    def rule(factor: float) -> Any:
        return lambda g, y, x: g * factor * (of_result / of_argument) * cr.cos(x / of_argument)

    for x in (0.3 * of_argument, of_argument * np.linspace(-1.4, 1.4, 10)):
        assert cr.check_row(cr.custom("wave", forward, rule(1.0)), x, order=2)
        for factor in (2.0, 0.5, 1.01, -1.0, 0.0):
            report = cr.check_row(cr.custom("wave", forward, rule(factor)), x)
            assert {row.verdict for row in report} == {"wrong"}, str(report)


KINKS: list[tuple[str, Callable[..., Any], Any]] = [
    ("relu", cr.relu, 0.0),
    ("relu", cr.relu, np.array([-1.0, 0.0, 2.0])),
    ("abs", cr.abs, np.zeros(3)),
    ("max", cr.max, np.ones(4)),
    ("min", lambda x: cr.min(x, axis=1), np.ones((2, 3))),
    ("maximum", lambda x: cr.maximum(x, 1.0), np.array([1.0, 2.0])),
    ("clip", lambda x: cr.clip(x, 0.0, 1.0), np.array([0.0, 0.5, 1.0])),
    ("norm", cr.norm, np.zeros(3)),
    ("std", cr.std, np.ones(3)),
    ("hypot", lambda x: cr.hypot(x, x), 0.0),
    ("leaky_relu", cr.leaky_relu, 0.0),
    ("floor", cr.floor, 1.0),
    ("floor", cr.floor, np.array([1.0, 1.5, -2.0])),
    ("sign", cr.sign, 0.0),
    ("sign", cr.sign, np.array([0.0, 1.0, -2.0])),
    ("sign", lambda x: cr.sign(x) - 3.0 * x, 0.0),
    ("round", cr.round, 0.5),
    ("mod", lambda x: x % 1.0, 2.0),
    ("sort", cr.sort, np.array([1.0, 1.0, 0.0])),
    ("norm", lambda x: cr.norm(x, 1), np.array([0.0, 1.0])),
]


@pytest.mark.parametrize(("f", "x"), [(f, x) for _, f, x in KINKS], ids=[name for name, _, _ in KINKS])
def test_a_kink_is_a_kink(f: Any, x: Any) -> None:
    for report in (cr.gradcheck(f, x), cr.check(cr.sum(f(node(x)))), cr.check_row(f, x)):
        assert report, str(report)
        kinks = report.by_verdict("kink")
        assert kinks, str(report)
        assert all(row.left != row.right for row in kinks)


@pytest.mark.parametrize("near", [1e-300, 1e-15, 1e-9, -1e-9, 1e-3])
def test_next_to_a_kink_the_slope_is_that_of_its_side(near: float) -> None:
    for f in (cr.relu, cr.abs, cr.leaky_relu):
        report = cr.check_row(f, near)
        assert [row.verdict for row in report if row.node] == ["right"], str(report)
        wrong = cr.custom("wrong", f, lambda g, y, x, f=f: 2.0 * g + 0.0 * f(x))
        assert cr.check_row(wrong, near).wrong


def test_a_slope_beyond_both_sides_of_a_kink_is_wrong() -> None:
    for slope in (-0.1, 1.1, 5.0):
        row = cr.custom("bent", lambda x: np.maximum(x, 0.0), lambda g, y, x, slope=slope: slope * g)
        assert cr.check_row(row, np.zeros(2)).wrong
        assert cr.gradcheck(row, np.zeros(2)).wrong
    between = cr.custom("bent", lambda x: np.maximum(x, 0.0), lambda g, y, x: 0.7 * g)
    assert cr.check_row(between, np.zeros(2))


def shared(first: float, second: float) -> Any:
    """maximum, with a rule that gives so much of the slope to either side of a tie."""
    return cr.custom(
        "larger",
        np.maximum,
        lambda g, y, a, b: g * np.where(a == b, first, a > b),
        lambda g, y, a, b: g * np.where(a == b, second, b > a),
    )


TIES: list[tuple[Any, tuple[Any, ...], tuple[Any, ...]]] = [  # an operation that shares, one that does not, and a tie
    (shared(0.5, 0.5), shared(1.0, 1.0), (1.0, 1.0)),
    (shared(1.0, 0.0), shared(0.0, 0.0), (0.0, 0.0)),
    (shared(0.3, 0.7), shared(0.7, 0.7), (np.array([1.0, 2.0]), np.array([1.0, -3.0]))),
    (cr.max, cr.custom("largest", np.max, lambda g, y, x: g * (x == y)), (np.array([2.0, 2.0]),)),
    (cr.min, cr.custom("least", np.min, lambda g, y, x: 0.4 * g * (x == y)), (np.array([-1.0, -1.0]),)),
]


@pytest.mark.parametrize(("right", "wrong", "args"), TIES)
def test_at_a_tie_the_slope_is_shared_not_given_twice(right: Any, wrong: Any, args: Any) -> None:
    for report in (cr.check_row(right, *args), cr.gradcheck(right, *args), cr.check(cr.sum(right(*map(node, args))))):
        assert report, str(report)
        assert report.by_verdict("kink")
    for report in (cr.check_row(wrong, *args), cr.gradcheck(wrong, *args), cr.check(cr.sum(wrong(*map(node, args))))):
        named = {row.operation for row in (*report.wrong, *report.culprits) if row.node is not None}
        assert named in ({"larger"}, {"largest"}, {"least"}), str(report)
        assert not report


def test_beside_a_jump_a_slope_in_the_other_direction_is_wrong() -> None:
    for f, x in ((np.sign, 0.0), (np.floor, 1.0), (np.ceil, 1.0), (np.round, 0.5)):
        falling = cr.custom("falling", f, lambda g, y, x: -g)
        for report in (cr.check_row(falling, x), cr.gradcheck(falling, x)):
            assert {row.verdict for row in report} == {"wrong"}, str(report)
            assert not any("right" in row.note for row in report)
    assert not cr.gradcheck(cr.custom("root", np.cbrt, lambda g, y, x: 0.0 * g), 0.0)  # steep, and no jump


EDGES: list[tuple[str, float, float]] = [  # where the slope grows without end, and in which direction the domain lies
    ("arcsin", 1.0, -1.0),
    ("arcsin", -1.0, 1.0),
    ("arccos", 1.0, -1.0),
    ("arctanh", -1.0, 1.0),
    ("arccosh", 1.0, 1.0),
    ("log1p", -1.0, 1.0),
    ("sqrt", 0.0, 1.0),
    ("log", 0.0, 1.0),
    ("reciprocal", 0.0, 1.0),
]


MENDED: dict[str, tuple[Any, float]] = {  # at 0, by hand; and the slope there
    "one minus cosine": (lambda x: (1 - np.cos(x)) / x, 1 / 2),
    "root":             (lambda x: (np.sqrt(1 + x * x) - 1) / x, 1 / 2),
    "cotangent":        (lambda x: 1 / np.tanh(x) - 1 / x, 1 / 3),
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_near_a_removable_singularity_rounding_does_not_outvote_the_function(name: str) -> None:
    f, slope = MENDED[name]

    def mended(x: Any) -> Any:
        return np.where(x == 0, 0.0, f(np.where(x == 0, 1.0, x)))

    for x in (0.0, 1e-9, 1e-7, 1e-6, 1e-5):
        report = cr.check_row(cr.custom("mended", mended, lambda g, y, x: g * slope), np.array([x]))
        assert report, f"{x}\n{report}"
        for wrong in (-slope, 0.0, 1.01 * slope):
            assert not cr.check_row(cr.custom("wrong", mended, lambda g, y, x, wrong=wrong: g * wrong), np.array([x]))


def test_a_second_order_rule_is_wrong_at_a_removable_singularity_too() -> None:
    def rule(g: Any, y: Any, x: Any) -> Any:
        here = (x.data if isinstance(x, cr.Tensor | cr.Value) else np.asarray(x)) == 0
        return g * cr.where(here, 0.0 * x, (x * cr.cos(x) - cr.sin(x)) / cr.where(here, 1.0, x * x))

    report = cr.check_row(cr.custom("sinc", lambda x: np.sinc(x / np.pi), rule), 0.0, order=2)
    assert [row.order for row in report.wrong] == [2], str(report)


@pytest.mark.parametrize("size", [3, 5])
def test_ties_of_many(size: int) -> None:
    for seed in range(2):
        report = cr.check_row(cr.sort, np.ones(size), seed=seed)
        assert report, str(report)


@pytest.mark.parametrize("factor", [2.0, 1.01, 0.0])
def test_ties_do_not_hide_a_wrong_rule(factor: float) -> None:
    assert not cr.check_row(cr.custom("sorted", np.sort, lambda g, y, x: factor * g), np.ones(3))


def test_a_mask_of_infinities() -> None:
    q = cr.Tensor(np.random.default_rng(0).normal(size=(3, 2)))
    below = np.tril(np.ones((3, 3))) > 0
    mask = np.where(below, 0.0, -np.inf)
    for y in (
        cr.sum(cr.softmax(cr.where(below, q @ q.T, -np.inf), axis=-1) @ q),
        cr.sum(cr.softmax(q @ q.T + mask, axis=-1) @ q),
        cr.sum(cr.logsumexp(q @ q.T + mask, axis=-1)),
        cr.sum(cr.max(q @ q.T + mask, axis=-1)),
    ):
        report = cr.check(y)
        assert report, str(report)


@pytest.mark.parametrize(("name", "edge", "inward"), EDGES)
def test_next_to_a_singularity_right_is_right_and_wrong_is_wrong(name: str, edge: float, inward: float) -> None:
    f, op = getattr(cr, name), getattr(cr, name).op
    for distance in (1e-3, 1e-8, 1e-9, 1e-12, 1e-15):
        x = edge + inward * distance
        for report in (cr.check_row(f, x), cr.check_row(f, np.array([x, x])), cr.gradcheck(f, x)):
            assert {row.verdict for row in report} == {"right"}, f"{distance}\n{report}"
    wrong = cr.custom("wrong", op.forward, lambda g, y, x: 1.01 * op.rules[0](g, y, x))
    for distance in (1e-3, 1e-6, 1e-9):
        x = edge + inward * distance
        for report in (cr.check_row(wrong, x), cr.check_row(wrong, np.array([x, x])), cr.gradcheck(wrong, x)):
            assert {row.verdict for row in report} == {"wrong"}, f"{distance}\n{report}"


def test_rounding_that_hides_in_the_smallest_steps_is_no_fault() -> None:
    y = cr.var(cr.Tensor(SAMPLES["var"][14].args[0]))
    for seed in (0, 11):
        assert cr.check(y, order=2, seed=seed)


HARD: list[tuple[Callable[..., Any], Any]] = [
    (lambda x: cr.sin(1e6 * x), 0.7),
    (lambda x: cr.sin(1e6 * x), np.linspace(0.1, 0.9, 5)),
    (lambda x: cr.sum(cr.square(x)), np.array([1e-8, 1.0, 1e8])),
    (lambda x: cr.prod(x), np.array([1e-100, 1e100, 3.0])),
    (lambda x: cr.softmax(x), np.array([1000.0, 0.0, -1000.0])),
    (lambda x: cr.logsumexp(x), np.array([1e4, 1e4, 0.0])),
    (lambda x: x * 0.0, np.ones(3)),
    (lambda x: cr.square(x) - cr.square(x), 3.0),
    (lambda x: cr.sqrt(x), 1e-300),
    (lambda x: cr.log(x), np.array([1e-300, 1e300])),
    (lambda x: cr.tanh(x), np.array([0.0, 1e-300, 40.0, 1e300])),
    (lambda x: cr.norm(x), np.array([1e-200, 2e-200])),
    (lambda x: cr.square(x), 1e-300),
    (lambda x: cr.square(x), np.array([1e-300, 1e-160])),
    (lambda x: cr.sigmoid(x), np.array([-700.0, -30.0, 30.0, 700.0])),
    (lambda x: cr.var(x), np.array([1e8, 1e8 + 1.0, 1e8 + 2.0])),
    (lambda x: cr.sum(x, axis=0), np.zeros((3, 0))),
    (lambda x: cr.exp(-x * x), np.array([5.0, 10.0, 20.0])),
    (lambda x: cr.where(x > 0.0, cr.log(x), 0.0), np.array([0.0, 2.0])),
    (lambda x: cr.take(x, np.array([0, 0, 2])), np.array([1.0, 2.0, 3.0])),
]


@pytest.mark.parametrize(("f", "x"), HARD)
def test_hard_but_correct(f: Any, x: Any) -> None:
    for dtype in ("d", "f"):
        with np.errstate(all="ignore"):
            y = f(node(x if isinstance(x, float) else x.astype(dtype)))
        assert not cr.check(y).wrong, str(cr.check(y))


SATURATED: dict[str, Callable[[Any], Any]] = {
    "cross entropy": lambda x: cr.softmax_cross_entropy(x, np.array([0, 2, 1, 4])),
    "softmax": lambda x: cr.sum(cr.softmax(x) * np.linspace(-1.0, 1.0, 5)),
    "log_softmax": lambda x: cr.sum(cr.log_softmax(x) * np.linspace(-1.0, 1.0, 5)),
    "tanh": lambda x: cr.sum(cr.tanh(x)),
    "sigmoid": lambda x: cr.sum(cr.sigmoid(x)),
}


@pytest.mark.parametrize("name", SATURATED)
@pytest.mark.parametrize("order", [1, 2])
def test_rounding_inside_what_saturates_is_no_fault(name: str, order: int) -> None:
    for seed in (0, 2, 4, 14):
        x = cr.Tensor(np.random.default_rng(seed).normal(size=(4, 5)) * 40.0)
        report = cr.check(SATURATED[name](x), order=order, seed=seed)
        assert report, f"seed {seed}\n{report}"


def test_a_kink_that_rounding_makes_in_a_rule_is_no_tie() -> None:
    rng = np.random.default_rng([22, 40])
    x, labels = cr.Tensor(rng.normal(size=(6, 5)) * 40), rng.integers(0, 5, 6)
    report = cr.check(cr.softmax_cross_entropy(x, labels), order=2, seed=22)
    assert report, str(report)


@pytest.mark.parametrize("size", [1.0, 4.0, 12.0, 18.0])
def test_rounding_inside_what_saturates_hides_no_fault(size: float) -> None:
    x = size * np.array([-1.0, 0.9, 0.7])
    for name, rule in {
        "frozen": lambda g, y, x: g * (1.0 - plain(y) ** 2),
        "half frozen": lambda g, y, x: g * (1.0 - y * plain(y)),
    }.items():
        report = cr.check_row(cr.custom(name, np.tanh, rule), x, order=2)
        assert {(row.operation, row.order) for row in report.wrong} == {(name, 2)}, str(report)


def test_outside_a_vague_tolerance_is_wrong() -> None:
    half = cr.custom("half frozen", np.tanh, lambda g, y, x: g * (1.0 - y * plain(y)))
    assert cr.check_row(half, np.array([-20.0, 18.0, 14.0]), order=2).wrong


def test_an_infinite_slope_is_not_finite_and_not_wrong() -> None:
    report = cr.check_row(cr.sqrt, np.array([0.0, 1.0]))
    assert not report
    assert not report.wrong
    assert report.by_verdict("not finite")


def test_what_cannot_be_told_is_too_noisy() -> None:
    coarse = cr.custom("coarse", lambda x: 1e6 + 1e-12 * x, lambda g, y, x: 2e-12 * g)
    report = cr.check_row(coarse, 1.0)
    assert {row.verdict for row in report} == {"too noisy"}, str(report)
    assert all(row.digits < 3 for row in report)
    assert "too noisy (" in str(report)


def test_the_whole_is_wrong_where_every_operation_is_right() -> None:
    x = cr.Tensor([1.0, -2.0, 3.0])
    report = cr.check(cr.sum(with_false_zeros(x)))
    assert [row.node for row in report.wrong] == [None]
    assert "every operation is right by itself, and the whole is wrong" in str(report)
    detached = cr.gradcheck(lambda x: cr.sum(x * x.detach()), np.ones(2))
    assert not detached.culprits
    assert "every operation is right by itself, and the whole is wrong" in str(detached)


def test_data_written_to_in_place_is_found() -> None:
    w = cr.Tensor([1.0, 2.0], name="w")
    loss = cr.sum(cr.exp(w) * 2.0)
    assert cr.check(loss)
    w.data[0] = 5.0
    rows = [row for row in cr.check(loss).wrong if row.node is not None]
    assert [(row.operation, row.note.split(":")[1]) for row in rows] == [("exp", " data was written to in place")]


def test_data_changed_after_use_is_found() -> None:
    w = cr.Value(1.0, name="w")
    loss = cr.exp(w) * 2.0
    w.data = 3.0
    report = cr.check(loss)
    assert not report
    assert "w was given new data" in str(report)


def test_a_rule_that_writes_into_its_arguments_is_found() -> None:
    def rule(g: Any, y: Any, x: Any) -> Any:
        x *= 2.0
        return g

    report = cr.check_row(cr.custom("rude", lambda x: 1.0 * x, rule), np.ones(3))
    assert "its rule writes into what it was given" in str(report)
    assert not report


def test_a_wrong_rule_that_takes_arrays_only_is_wrong() -> None:
    rules: list[Any] = [lambda g, y, x: x.astype(float) * g, lambda g, y, x: {0.5: 3.0 * g}[float(x[0])]]
    for rule in rules:
        report = cr.check(cr.sum(cr.custom("arrays", np.square, rule)(cr.Tensor([0.5, 2.0]))))
        assert [row.operation for row in report.wrong if row.node is not None] == ["arrays"], str(report)


def test_a_rule_that_raises_is_wrong() -> None:
    report = cr.check(cr.custom("raises", lambda x: 2.0 * x, lambda g, y, x: g[0, 0, 0])(cr.Tensor([1.0, 2.0])))
    assert "its rule raised IndexError" in str(report)
    assert not report


def test_parameters_have_names_and_are_to_be_reached() -> None:
    w, b, spare = cr.Tensor(np.ones((2, 3))), cr.Tensor(np.zeros(2)), cr.Value(1.0)
    loss = cr.sum(cr.tanh(cr.linear(np.ones((4, 3)), w, b)))
    report = cr.check(loss, parameters={"layer": {"w": w, "b": b}, "spare": spare})
    assert [(row.input, row.verdict) for row in report.by_parameter()] == [
        ("spare", "not connected"), ("layer.w", "right"), ("layer.b", "right")
    ]  # fmt: skip
    assert not report
    assert {row.input for row in report if row.operation == "linear"} == {"layer.w", "layer.b"}
    assert cr.check(loss, parameters=[w, b])


def test_gradcheck_names_the_culprit() -> None:
    double = cr.custom("double", lambda x: 2.0 * x, lambda g, y, x: g)
    report = cr.gradcheck(lambda x: cr.sum(cr.tanh(double(cr.sin(x)))), np.array([0.3, 0.4]))
    assert [(row.operation, row.node, row.argument) for row in report.culprits] == [("double", 3, 0)]
    assert str(report).splitlines()[1].startswith("wrong by itself: node 3, double, argument 0: ")
    assert "double" in report._repr_html_()
    assert not cr.gradcheck(cr.sin, 0.3).culprits


def here() -> int:
    return sys._getframe(1).f_lineno


def test_the_lines_of_a_wrong_operation_and_of_its_rule_are_named() -> None:
    double = cr.custom("double", lambda x: 2.0 * x, lambda g, y, x: g)
    rule = here() - 1

    def f(x: Any) -> Any:
        x = cr.sin(x)
        return cr.sum(cr.tanh(double(x)))

    called = rule + 5
    with cr.record_lines():
        loss = f(cr.Tensor([0.3, 0.4]))
    row_by_row, only = cr.check_row(double, 2.0), here()
    for report, line in (
        (cr.gradcheck(f, np.array([0.3, 0.4])), called),
        (cr.check(loss), called),
        (row_by_row, only),
    ):
        row = next(row for row in (*report.culprits, *report.wrong) if row.node is not None)
        assert row.line.startswith(f"{__file__}:{line}, in ")
        assert row.rule.startswith(f"{__file__}:{rule}, in <lambda>: double = ")
        with pytest.raises(AssertionError) as error:
            report.raise_if_wrong()
        for shown in (str(error.value), report._repr_html_().replace("&#x27;", "'").replace("&quot;", '"')):
            assert f"called at {__file__}:{line}, in" in shown
            assert f"its rule is {__file__}:{rule}, in" in shown
    assert {(row.operation, row.line.split(":")[1].split(",")[0]) for row in cr.check(loss) if row.node} == {
        ("sin", str(called - 1)), ("double", str(called)), ("tanh", str(called)), ("sum", str(called))
    }  # fmt: skip
    assert f"test_local_check.py:{called}" in str(cr.check(loss)).splitlines()[5]
    assert {row.rule for row in cr.check(loss) if row.operation != "double"} == {""}
    assert {row.line for row in cr.check(f(cr.Tensor([0.3, 0.4])))} == {""}


@pytest.mark.parametrize(
    "name", ["exp", "mul", "tanh", "matmul", "sum", "softmax", "pow", "norm", "where", "prod", "linear"]
)
def test_rules_of_rules(name: str) -> None:
    for sample in SAMPLES[name][:3]:
        y = sample.f(*map(node, sample.args))
        report = cr.check(y, order=2)
        assert report, str(report)
        assert name in {row.operation for row in report if row.order == 2} or not report.rows


def plain(x: Any) -> Any:
    return x.data if isinstance(x, cr.Node) else x


def test_a_rule_that_freezes_data_is_wrong_at_order_2() -> None:
    cube = cr.custom("cube", lambda x: x * x * x, lambda g, y, x: 3.0 * g * plain(x) ** 2)
    for x in (2.0, np.array([1.0, 2.0])):
        assert cr.check_row(cube, x)
        assert [(row.operation, row.order, row.input) for row in cr.check_row(cube, x, order=2).wrong] == [
            ("cube", 2, "node 1")
        ]


def test_a_row_with_parameters_and_constants() -> None:
    assert cr.check_row(cr.softmax_cross_entropy, np.eye(3), np.array([0, 2, 1]), reduction="sum")
    assert cr.check_row(cr.concatenate, [np.ones(2), np.zeros(3)])
    assert len(cr.check_row(cr.mul, 2.0, 3).rows) == 2


def test_a_report_is_data() -> None:
    report = cr.check(cr.tanh(cr.Value(0.5, name="<x>")) * FAULTY(cr.Value(2.0)))
    data = json.loads(json.dumps(report.to_dict()))
    assert data["right"] is False
    assert {"node", "operation", "argument", "order", "verdict", "note"} <= data["rows"][0].keys()
    assert report.worst_first()[0].verdict == "wrong"
    assert report.wrong == report.by_verdict("wrong")
    assert report.by_verdict("kink") == []
    assert "&lt;x&gt;" in report._repr_html_()
    with pytest.raises(AssertionError, match="faulty"):
        report.raise_if_wrong()
    with pytest.raises(ValueError, match=r"by_verdict: the verdicts are wrong.*got 'bad'"):
        report.by_verdict("bad")
    cr.check(cr.tanh(cr.Value(0.5))).raise_if_wrong()


FAULTY = cr.custom("faulty", lambda x: x * x, lambda g, y, x: g * x)


def test_checking_leaves_everything_as_it_was() -> None:
    w = cr.Tensor([1.0, -2.0])
    loss = cr.sum(cr.tanh(w) * w)
    loss.backward()
    before = (w.data.tobytes(), w.birth, w.grad.tobytes(), id(w.data), loss.data)
    assert repr(cr.check(loss, seed=3)) == repr(cr.check(loss, seed=3))
    assert (w.data.tobytes(), w.birth, w.grad.tobytes(), id(w.data), loss.data) == before
    loss.backward()


def test_the_mode_of_the_caller_does_not_matter() -> None:
    loss = cr.tanh(cr.Value(0.5)) * 2.0
    with cr.no_grad():
        assert cr.check(loss, order=2).to_dict() == cr.check(loss, order=2).to_dict()
        assert len(cr.check_row(cr.tanh, 0.5)) == 2


def test_progress_is_shown_where_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    loss = cr.tanh(cr.Value(0.5)) * 2.0
    cr.check(loss, elements=None, progress=True)
    cr.gradcheck(cr.sin, np.ones(3), progress=True)
    shown = capsys.readouterr().err
    for bar in ("check: 100%", "2/2", "1/1", "gradcheck: 100%", "3/3"):
        assert bar in shown
    cr.check(loss)
    assert capsys.readouterr() == ("", "")


def test_progress_is_counted_where_tqdm_is_missing(tmp_path: Path) -> None:
    (tmp_path / "tqdm.py").write_text("raise ImportError('no tqdm')")
    code = "import chainrule as cr; cr.check(cr.tanh(cr.Value(0.5)) * 2.0, progress=True)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stderr.split("\n") == ["", "check: 1 of 2 nodes", "check: 2 of 2 nodes", ""]


def scalar_graph(n: int, fault: Callable[[Any], Any] = cr.tanh) -> Any:
    a, y = cr.Value(0.3, name="a"), cr.Value(0.7)
    for i in range(n):
        y = (cr.sin(y) * a + 0.1) / (1.0 + y**2)
        y = fault(y) if i == n // 2 else y
    return y


def test_scalars_are_checked_many_at_a_time_and_the_faulty_alone() -> None:
    half = cr.custom("half", lambda x: x * x, lambda g, y, x: g * x)
    assert cr.check(scalar_graph(200))
    y = scalar_graph(200, half)
    assert [row.operation for row in cr.check(y).wrong if row.node is not None] == ["half"]
    for name in ("sin", "mul", "div", "pow"):
        for spoil in ("sign", "factor 2"):
            y = scalar_graph(100)
            place = planted(y, name, FAULTS[spoil])
            assert [(row.node, row.argument) for row in cr.check(y).wrong if row.node is not None] == [place]


def test_a_rule_that_errs_on_single_numbers_only_is_found() -> None:
    y = scalar_graph(50)
    n = next(n for n in ancestry(y) if n.op is not None and n.op.name == "sin")
    op: Any = n.op

    def pull(args: Any, g: Any, y: Any, params: Any) -> Any:
        found = op.pull(args, g, y, params)
        return [1.01 * found[0]] if type(y) is float else found

    n.op = Op(op.name, op.forward, op.rules, pull, elementwise=True, fits=FLOATS)
    assert [row.operation for row in cr.check(y).wrong if row.node is not None] == ["sin"]


def test_of_a_huge_graph_some_of_every_operation_are_checked() -> None:
    y = scalar_graph(300)
    report = cr.check(y, nodes=60, seed=2)
    checked = {row.node for row in report if row.node is not None}
    assert report
    assert len(checked) == 60
    assert {row.operation for row in report if row.node} == {"sin", "mul", "add", "pow", "div", "tanh"}
    assert report.summary().endswith(f"; {report.left_out} operations left out, nodes=None checks all")
    assert report.left_out == report.to_dict()["left_out"] == 1801 - 60
    assert cr.check(y, nodes=60, seed=2).to_dict() == report.to_dict()
    assert {row.node for row in cr.check(y, nodes=60, seed=3) if row.node} != checked
    assert cr.check(y, nodes=None).left_out == cr.check(y).left_out == 0
    rare = scalar_graph(300, cr.custom("rare", lambda x: 2.0 * x, lambda g, y, x: g))
    assert [row.operation for row in cr.check(rare, nodes=60).wrong if row.node is not None] == ["rare"]


def test_elements_are_moved_alone_where_asked_for() -> None:
    w, b = cr.Tensor(np.arange(1.0, 7.0).reshape(2, 3), name="w"), cr.Value(0.5, name="b")
    loss = cr.sum(cr.relu(w * b - 1.0))
    assert len([row for row in cr.check(loss) if row.node is None]) == 2
    report = cr.check(loss, elements=None)
    found = {(row.input, row.index): row for row in report if row.node is None and row.note != "2 variables together"}
    assert {index for name, index in found if name == "w"} == {(), *np.ndindex(2, 3)}
    assert found["w", (0, 0)].autograd == 0.0
    assert found["w", (0, 1)].verdict in ("kink", "right")
    assert found["w", (1, 2)].numeric == pytest.approx(0.5)
    assert report, str(report)
    some = [(row.input, row.index) for row in cr.check(loss, elements=3) if row.node is None]
    assert len(some) == 5
    y = cr.sum(cr.tanh(w))
    y.args[0].op = spoilt(y.args[0].op, 0, in_one_place)
    wrong = [row.index for row in cr.check(y, elements=None).wrong if row.node is None and row.index]
    assert wrong == [(1, 0)]


def test_a_long_chain_needs_no_recursion() -> None:
    y: Any = cr.Value(0.3)
    for _ in range(3_000):
        y = cr.sin(y)
    assert len(cr.check(y)) == 3_001


@pytest.mark.parametrize(
    "build",
    [
        lambda: cr.sum(cr.softmax(cr.Tensor([0.3, -1.0, 2.0]) * 40.0) * np.array([1.0, 2.0, 3.0])),
        lambda: cr.sum(cr.where(np.array([False, True]), cr.sqrt(cr.Tensor([0.0, 2.0])), 0.0)),
        lambda: cr.sum(cr.square(cr.Tensor([1e150, 2e150]))) * 1e-200,
    ],
    ids=["what cancels inside a rule", "a branch not taken", "huge"],
)
def test_a_rule_is_linear_in_the_cotangent_but_for_rounding(build: Callable[[], Any]) -> None:
    assert not cr.check(build()).wrong


def test_a_network_for_digits() -> None:
    rng = np.random.default_rng(0)
    sizes, x = (784, 16, 16, 10), rng.random((32, 784))
    parameters: dict[str, Any] = {}
    for i in range(3):
        parameters[f"{i}.weight"] = cr.Tensor(rng.normal(size=(sizes[i + 1], sizes[i])) / math.sqrt(sizes[i]))
        parameters[f"{i}.bias"] = cr.Tensor(np.zeros(sizes[i + 1]))
        x = cr.linear(x, parameters[f"{i}.weight"], parameters[f"{i}.bias"])
        x = cr.relu(x) if i < 2 else x
    report = cr.check(cr.softmax_cross_entropy(x, rng.integers(0, 10, 32)), parameters=parameters)
    assert report, str(report)
    assert [row.input for row in report.by_parameter()] == list(parameters)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: cr.check(1.0), TypeError, "check: expected the Value or Tensor to start from, got 1.0"),
        (lambda: cr.check(cr.Value(1.0) * 2.0, order=3), ValueError, "check: order must be 1 or 2, got 3"),
        (
            lambda: cr.check(cr.Value(1.0) * 2.0, sample=0),
            ValueError,
            "check: sample is a number, 1 or more, or None for all, got 0",
        ),
        (lambda: cr.check(cr.Value(1.0) * 2.0, nodes=0), ValueError, "check: nodes is a number, 1 or more"),
        (lambda: cr.check(cr.Value(1.0) * 2.0, elements=-1), ValueError, "check: elements is a number, 1 or more"),
        (lambda: cr.check(cr.Value(1.0), parameters=[1.0]), TypeError, "leaf Values and Tensors, got 1.0"),
        (lambda: cr.check_row(lambda x: 1.0, 2.0), TypeError, "check_row: the operation returned a constant"),
        (lambda: cr.check_row(cr.sin, "1"), TypeError, "check_row: expected a number.*'1'"),
    ],
)
def test_bad_input(call: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        call()


def test_samples_are_many() -> None:
    assert len(EACH) > 500
    assert all(isinstance(sample, Sample) for _, _, sample in EACH)


def written_back(g: Any, y: Any, x: Any) -> Any:
    g *= 1.0 - y * y
    return g


@final
class KeepsItsAnswer:
    """A rule that returns the same array every time."""

    def __init__(self) -> None:
        self.buffer = np.zeros(3)

    def __call__(self, g: Any, y: Any, x: Any) -> Any:
        self.buffer[...] = g * (1.0 - y * y)
        return self.buffer


@pytest.mark.parametrize(
    ("rule", "scale", "said"),
    [
        (written_back, 1.0, "read-only"),
        (KeepsItsAnswer(), 1.0, "writes into what it returned before"),
        (lambda g, y, x: np.clip(g, -5.0, 5.0) * (1.0 - y * y), 100.0, "linear in its cotangent"),
        (lambda g, y, x: np.where(np.abs(g) < 1e-3, 0.0, g) * (1.0 - y * y), 1e-5, "linear in its cotangent"),
        (lambda g, y, x: g * (1.0 - y * y) * (1.5 if np.ptp(g) == 0.0 else 1.0), 1.0, "linear in its cotangent"),
    ],
)
def test_what_a_rule_does_to_cotangents_is_looked_at_too(rule: Any, scale: float, said: str) -> None:
    bad = cr.custom("bad", np.tanh, rule)
    x, z = cr.Tensor([1.0, 2.0, 0.5], name="x"), cr.Tensor([0.1, 0.2, 0.3], name="z")
    report = cr.check(cr.sum((bad(x) + cr.exp(z)) * scale))
    assert said in str(report)
    assert {row.operation for row in report.wrong if row.node} == {"bad"}


def test_cotangents_of_any_size_are_right() -> None:
    x = cr.Tensor([[1.0, 2.0, 0.5]], name="x")
    for size in 1e-300, 1e-150, 1e-20, 1e20, 1e150, 1e300:
        cr.check(cr.sum(cr.softmax(cr.tanh(x) * 3.0, axis=-1) * cr.sqrt(x)) * size).raise_if_wrong()
