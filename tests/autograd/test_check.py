"""gradcheck: never calls a correct gradient wrong, never passes a wrong one, whatever the scale and the dtype."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.primitive import unary

# fmt: off
ROWS = {  # smooth functions and where they are
    "exp": (-5, 5),       "expm1": (-5, 5),     "log": (1e-3, 50),     "log1p": (-0.9, 9),   "log2": (1e-3, 50),
    "log10": (1e-3, 50),  "sqrt": (1e-4, 50),   "cbrt": (0.01, 20),    "square": (-5, 5),    "reciprocal": (0.05, 9),
    "sin": (-9, 9),       "cos": (-9, 9),       "tan": (-1.4, 1.4),    "arcsin": (-.99, .99), "arccos": (-.99, .99),
    "arctan": (-20, 20),  "sinh": (-5, 5),      "cosh": (-5, 5),       "tanh": (-12, 12),    "arcsinh": (-50, 50),
    "arccosh": (1.01, 30), "arctanh": (-.99, .99), "erf": (-5, 5),     "sigmoid": (-30, 30), "softplus": (-30, 30),
    "silu": (-20, 20),    "gelu": (-6, 6),
}

SMOOTH: list[Callable[[Any], Any]] = [
    cr.tanh, cr.sin, cr.sigmoid, cr.arctan, cr.gelu, cr.softplus, cr.erf, cr.square,
    lambda x: cr.exp(-x * x), lambda x: cr.log(1 + x * x), lambda x: 1 / (2 + cr.sin(x)), lambda x: cr.hypot(x, 1.5),
]
MIXING: list[Callable[[Any], Any]] = [
    cr.softmax, lambda x: cr.log_softmax(x, axis=0), lambda x: x - cr.mean(x), lambda x: cr.cumsum(x, axis=0),
    lambda x: x / (1e-3 + cr.norm(x)), lambda x: x @ cr.transpose(x), lambda x: (x - cr.mean(x)) / cr.sqrt(cr.var(x) + 1e-5),
]
REDUCTIONS: list[Callable[[Any], Any]] = [
    cr.sum, cr.mean, cr.logsumexp, cr.var, cr.std, cr.norm, cr.prod, lambda x: x, lambda x: cr.sum(x * x),
]

def copied(x: Any) -> Any:
    return x * 1.0

FAULTS = {  # the identity, with derivatives that are wrong by
    "sign":         unary("sign",     copied, lambda g, y, x: -g,                          listed=False),
    "factor 2":     unary("factor",   copied, lambda g, y, x: 2.0 * g,                     listed=False),
    "1 percent":    unary("percent",  copied, lambda g, y, x: 1.01 * g,                    listed=False),
    "missing":      unary("missing",  copied, lambda g, y, x: 0.0 * g,                     listed=False),
    "another term": unary("term",     copied, lambda g, y, x: g * (1.0 + 0.1 * cr.cos(x)), listed=False),
}
# fmt: on

SCALES = [1e-12, 1.0, 1e12]
KINDS = ["number", "float32", "float64"]


def point(kind: str, low: float, high: float, seed: int = 0) -> Any:
    x = np.random.default_rng(seed).uniform(low, high, (2, 3))
    return float(x[0, 0]) if kind == "number" else x.astype(kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ROWS)
def test_correct_rows_are_right_at_every_scale(name: str, kind: str) -> None:
    f, x = getattr(cr, name), point(kind, *ROWS[name])
    for scale in SCALES:
        report = cr.gradcheck(lambda x, scale=scale: f(x) * scale, x)
        assert report, str(report)
        assert len(report) == np.size(x)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_planted_fault_is_found_at_every_scale(fault: str, kind: str) -> None:
    x = point(kind, 0.2, 1.2)
    for scale in SCALES:
        report = cr.gradcheck(lambda x, scale=scale: cr.exp(FAULTS[fault](x)) * scale, x)
        assert [row.verdict for row in report] == ["wrong"] * np.size(x), str(report)
    report = cr.gradcheck(lambda x: 1e3 + cr.sum(cr.exp(FAULTS[fault](x))), x)
    assert not report


def composition(rng: np.random.Generator) -> tuple[Callable[[Any], Any], Any]:
    x = rng.normal(size=rng.integers(2, 4, size=2)) * 10.0 ** rng.uniform(-2, 0.5) + rng.choice([0.0, 0.0, 3.0])
    layers = [pool[rng.integers(len(pool))] for pool in (SMOOTH, MIXING, SMOOTH)]
    last, scale = REDUCTIONS[rng.integers(len(REDUCTIONS))], 10.0 ** rng.uniform(-12, 12)

    def f(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return last(x) * scale

    return f, x.astype(rng.choice(["f", "d"]))


@pytest.mark.parametrize("block", range(6))
def test_no_false_alarm_in_random_compositions(block: int) -> None:
    for i in range(50):
        f, x = composition(np.random.default_rng([block, i]))
        report = cr.gradcheck(f, x, sample=4, seed=i)
        assert report, f"case {i}\n{report}"


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_is_missed_in_random_compositions(fault: str) -> None:
    for i in range(20):
        f, x = composition(np.random.default_rng([99, i]))
        report = cr.gradcheck(lambda x, f=f: f(FAULTS[fault](x)), x, sample=4, seed=i)
        visible = [row for row in report if abs(row.numeric) > 1e3 * row.error]
        assert not report or not visible, f"case {i}\n{report}"


@pytest.mark.parametrize("fault", FAULTS)
def test_taylors_formula_is_the_second_opinion_on_what_is_wrong(fault: str) -> None:
    reports = [
        cr.gradcheck(lambda x: cr.exp(FAULTS[fault](x)), np.array([0.3, 1.1])),
        cr.check(cr.sum(cr.exp(FAULTS[fault](cr.Tensor([0.3, 1.1]))))),
    ]
    for report in reports:
        whole = [row for row in report.wrong if row.node is None]
        assert whole
        assert {row.note for row in whole} == {"Taylor order 1.0: wrong"}


class First:
    """The rule of tanh, but for the answers of these numbers, which are half too large."""

    def __init__(self, *bad: int) -> None:
        self.bad, self.asked = bad, 0

    def __call__(self, g: Any, y: Any, x: Any) -> Any:
        self.asked += 1
        return g * (1.0 - y * y) * (1.5 if self.asked in self.bad else 1.0)


@pytest.mark.parametrize("x", [0.5, np.array([0.5, 1.0])])
@pytest.mark.parametrize("bad", [1, 2])
def test_a_rule_that_is_wrong_once_is_wrong(bad: int, x: Any) -> None:
    report = cr.gradcheck(cr.custom("once", np.tanh, First(bad)), x)
    assert {row.verdict for row in report} == {"wrong"}, str(report)
    assert {row.note.split(" is ")[0] for row in report} == {"computed again at float64, it"}


@pytest.mark.parametrize("bad", range(1, 10))
def test_a_rule_that_is_wrong_once_is_wrong_beside_a_kink_too(bad: int) -> None:
    once = cr.custom("once", np.tanh, First(bad))
    x = cr.Tensor([0.5, 1.0, -0.3])
    report = cr.check(cr.sum(cr.relu(once(x) - np.tanh([0.5, 0.2, 0.1]))))
    assert report.wrong, str(report)


def test_a_rule_that_is_wrong_in_float32_only_is_wrong() -> None:
    half = cr.custom("half", np.tanh, lambda g, y, x: g * (1.0 - y * y) * (0.5 if x.dtype == np.float32 else 1.0))
    report = cr.gradcheck(half, np.array([0.3, 0.7], "f"))
    assert {row.verdict for row in report} == {"wrong"}, str(report)
    assert {row.note.split(" is ")[0] for row in report} == {"computed again at float64, it"}
    assert cr.gradcheck(half, np.array([0.3, 0.7]))


A, B = np.random.default_rng(3).normal(size=(6, 3)), np.random.default_rng(4).normal(size=3)

MINIMA: dict[str, tuple[Callable[[Any], Any], np.ndarray[Any, Any]]] = {  # losses, and where they are 0
    "unit norm":   (lambda w: (cr.sum(w**2) - 1.0) ** 2, np.array([0.6, 0.8, 0.0])),
    "Himmelblau":  (lambda p: (p[0] ** 2 + p[1] - 11) ** 2 + (p[0] + p[1] ** 2 - 7) ** 2, np.array([3.0, 2.0])),
    "Rosenbrock":  (lambda p: (1 - p[0]) ** 2 + 100 * (p[1] - p[0] ** 2) ** 2, np.array([1.0, 1.0])),
    "linear fit":  (lambda v: cr.mean((A @ v - A @ B) ** 2), B),
    "tanh fit":    (lambda v: cr.mean((cr.tanh(A @ v) - np.tanh(A @ B)) ** 2), B),
    "exp fit":     (lambda v: cr.sum((cr.exp(A @ v) - np.exp(A @ B)) ** 2), B),
    "equal norms": (lambda v: (cr.norm(v) - np.linalg.norm(B)) ** 2, B),
}  # fmt: skip


@pytest.mark.parametrize("beside", [0.0, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3])
@pytest.mark.parametrize("name", MINIMA)
def test_at_an_exact_minimum_the_gradient_is_rounding_and_beside_it_is_not(name: str, beside: float) -> None:
    loss, w = MINIMA[name]
    w = w + beside * np.random.default_rng(5).normal(size=w.shape)
    for report in (cr.gradcheck(loss, w), cr.check(loss(cr.Tensor(w)))):
        assert report, str(report)
    if beside >= 1e-6:
        lame = cr.custom("lame", lambda x: x * 1.0, lambda g, y, x: 1.001 * g)
        assert [row.verdict for row in cr.gradcheck(lambda v: loss(lame(v)), w)].count("right") < w.size / 2


@pytest.mark.parametrize(
    ("rule", "x"),
    [
        (cr.custom("minus one", np.expm1, lambda g, y, x: g * (y + 1.0)), -40.0),
        (cr.custom("squashed", np.tanh, lambda g, y, x: g * (1.0 - y * y)), 20.5),
        (cr.tanh, 20.5),
    ],
)
def test_a_gradient_of_zero_that_is_what_rounding_left_is_too_noisy(rule: Any, x: float) -> None:
    report = cr.gradcheck(rule, x)
    assert [(row.autograd, row.verdict) for row in report] == [(0.0, "too noisy")], str(report)


@pytest.mark.parametrize(
    "f",
    [
        lambda x: cr.sum(cr.relu(x)) + 5.0,
        lambda x: cr.sum(cr.clip(x, 0.0, 1.0)) + cr.sum(x) * 0.0,
        lambda x: cr.max(cr.concatenate([x, np.array([3.0])])),
        lambda x: cr.sum(cr.where(x > 5.0, cr.exp(x), 1.0)),
        lambda x: cr.sum(cr.cos(x * 0.0)),
    ],
)
def test_a_gradient_of_zero_where_nothing_moves_is_right(f: Any) -> None:
    report = cr.gradcheck(f, np.array([-2.0, -0.7, -1.3]))
    assert [row.verdict for row in report] == ["right"] * 3, str(report)


def test_what_only_the_own_dtype_gets_wrong_is_wrong() -> None:
    single = cr.custom(
        "single", lambda x: x * x, lambda g, y, x: (-6.0 if np.asarray(x).dtype == np.float32 else 2.0) * g * x
    )
    report = cr.gradcheck(lambda x: np.float32(1e-3) * cr.sum(single(x)) + np.float32(1), np.array([0.5, 2.0], "f"))
    assert [row.verdict for row in report] == ["wrong", "wrong"], str(report)
    report = cr.gradcheck(lambda x: cr.sum(cr.exp(-(x**4))), np.array([1e20, 0.5], "f"))
    assert [row.verdict for row in report] == ["not finite", "right"], str(report)


@pytest.mark.parametrize("dtype", ["f", "e"])
def test_what_cancels_in_a_gradient_of_the_own_dtype_is_rounding(dtype: str) -> None:
    x = np.array([0.3, -1.7, 2.2, 0.9], dtype)
    for f in (
        lambda x: cr.sum(x - cr.mean(x)),
        lambda x: cr.sum(cr.softmax(x * 3.0)),
        lambda x: cr.sum(cr.tanh(x) - cr.tanh(x + 0.001)),
        lambda x: cr.var(x * 8.0 + 100.0),
        lambda x: cr.sum(cr.exp(-1.0 / (x * x * 0.1))),
    ):
        report = cr.gradcheck(f, x)
        assert report, str(report)


@pytest.mark.parametrize("x", [[0.0] * 5, [1.0, 1.0, 1.0, 1.0, 2.0], [2.0, 1.0, 1.0, 3.0, 1.0]])
def test_order_statistics_of_equals_are_conventions(x: list[float]) -> None:
    for k in range(5):
        report = cr.gradcheck(lambda x, k=k: cr.sort(x)[k], np.array(x))
        assert report, f"{k}\n{report}"
    median = cr.custom("median", np.median, lambda g, y, x: g * np.full(5, 0.3))
    assert not cr.gradcheck(median, np.array(x))


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: (1.0 - cr.cos(x)) / x**2, 3.2551053867435503e-06),  # rounding, which a complex step gives just so
        (cr.tan, -3.4207437038071662e103),  # of which no two neighbouring floats know each other
        (cr.sin, 1e200),
    ],
)
def test_what_rounding_has_eaten_is_too_noisy(f: Any, x: float) -> None:
    for report in (cr.gradcheck(f, x), cr.check(f(cr.Value(x)))):
        whole = [row.verdict for row in report if row.node is None]
        assert whole == ["too noisy"], str(report)
        assert report, str(report)


UNVERIFIED: list[tuple[Callable[[Any], Any], float]] = [  # a branch that .data chose, beside one that is steep
    (lambda x: cr.log(x) if x.data > 0.0 else 0.0 * x, 0.0),
    (lambda x: cr.log(1.0 - x) if x.data < 1.0 else 0.0 * x, 1.0 + 1e-13),
    (lambda x: 1.0 / x if x.data > 0.0 else 0.0 * x, 0.0),
    (lambda x: cr.log(x) if x.data > 1e-3 else 0.0 * x, 1e-3 - 10 * np.spacing(1e-3)),
    (cr.custom("hash", lambda x: np.sin(1e17 * x + np.sin(1e13 * x)), lambda g, y, x: 0.0 * g), 0.3),
]


@pytest.mark.parametrize(("f", "x"), UNVERIFIED)
def test_a_gradient_of_zero_that_nobody_could_verify_is_too_noisy(f: Any, x: float) -> None:
    report = cr.gradcheck(f, x)
    assert [(row.autograd, row.verdict) for row in report] == [(0.0, "too noisy")], str(report)


def test_a_zero_gradient_beside_large_ones_is_right() -> None:
    for dtype in ("f", "d"):
        report = cr.gradcheck(lambda x: cr.sum(cr.cos(x)), np.array([0.0, 1.0, -1.5], dtype))
        assert report, str(report)
        assert cr.gradcheck(lambda x: cr.sum(x - cr.mean(x)), np.array([1e3, 1.0, 7.0], dtype))
        assert cr.gradcheck(lambda x: cr.sum(cr.softmax(x)), np.array([20.0, 1.0, -5.0], dtype))


def test_what_is_not_used_has_gradient_zero() -> None:
    report = cr.gradcheck(lambda x, y: cr.sum(x) * 2.0, np.ones(2), 5.0)
    assert report
    assert [row.autograd for row in report] == [2.0, 2.0, 0.0]
    assert cr.gradcheck(lambda x: 3.0, 1.0)
    assert cr.gradcheck(lambda x: x, 1.0)


def test_a_fault_in_one_of_many_outputs_counts() -> None:
    def f(x: Any) -> Any:
        return cr.stack([x, cr.sin(x), FAULTS["1 percent"](x)])

    assert not cr.gradcheck(f, 0.5)
    assert not cr.gradcheck(f, np.array([0.5, 1.0]))


def test_a_rule_that_forgets_its_cotangent_is_wrong_also_where_that_is_1() -> None:
    penalty = cr.custom("penalty", lambda x: np.sum(x * x), lambda g, y, x: 2.0 * x)
    for report in (cr.gradcheck(penalty, np.ones(3)), cr.check(penalty(cr.Tensor(np.ones(3))))):
        assert {row.verdict for row in report if row.node is None} == {"wrong"}


def test_second_derivatives_are_functions_too() -> None:
    assert cr.gradcheck(cr.grad(cr.tanh), 0.3)
    assert cr.gradcheck(cr.grad(lambda x: cr.sum(cr.sin(x) * x)), np.array([0.3, 2.0]))


def test_half_precision() -> None:
    x = np.array([0.3, 1.7], np.float16)
    assert cr.gradcheck(lambda x: cr.tanh(x * x), x)
    assert not cr.gradcheck(lambda x: cr.tanh(FAULTS["1 percent"](x)), x)


def test_rows_say_where_they_are() -> None:
    tree = {"w": np.ones((1, 2)), "b": [0.5, cr.Value(2.0)]}
    report = cr.gradcheck(lambda x, p: x * cr.sum(p["w"]) + p["b"][0] * p["b"][1], 3.0, tree)
    assert [(row.input, row.index) for row in report] == [
        ("0", ()), ("1.w", (0, 0)), ("1.w", (0, 1)), ("1.b.0", ()), ("1.b.1", ())
    ]  # fmt: skip
    assert [row.autograd for row in report] == [2.0, 3.0, 3.0, 2.0, 0.5]
    assert all(abs(row.numeric - row.autograd) <= row.error <= row.tolerance for row in report)


class Net:
    """Parameters of both kinds, and a loss."""

    def __init__(self, dtype: str = "d") -> None:
        rng = np.random.default_rng(0)
        self.x = rng.normal(size=(5, 4)).astype(dtype)
        self.weight = cr.Tensor(rng.normal(size=(3, 4)).astype(dtype))
        self.bias = cr.Tensor(rng.normal(size=3).astype(dtype))
        self.gain = cr.Value(1.5, name="gain")

    @property
    def parameters(self) -> dict[str, Any]:
        return {"layer": {"weight": self.weight, "bias": self.bias}, "g": self.gain}

    def loss(self) -> Any:
        y = cr.tanh(cr.linear(self.x, self.weight, self.bias))
        return cr.softmax_cross_entropy(y * self.gain, np.array([0, 1, 2, 1, 0]), reduction="mean")


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_parameters_of_a_model(dtype: str) -> None:
    net = Net(dtype)
    report = cr.gradcheck(net.loss, parameters=net.parameters)
    assert report, str(report)
    assert len(report) == 16
    assert {row.input for row in report} == {"layer.weight", "layer.bias", "gain"}
    assert not cr.gradcheck(lambda: FAULTS["1 percent"](net.loss()), parameters=[net.weight])


def test_a_parameter_used_twice_is_one() -> None:
    w = cr.Value(3.0)
    report = cr.gradcheck(lambda: w * w, parameters=iter([w, w]))
    assert [row.autograd for row in report] == [6.0]
    assert report


def snapshot(net: Net) -> list[Any]:
    return [(id(p.data), np.asarray(p.data).tobytes(), p.birth, p.grad) for p in (net.weight, net.bias)] + [
        net.gain.data
    ]


@pytest.mark.parametrize("fail_at", [1, 2, 3, 4, 20, None])
def test_parameters_come_back_to_the_bit(fail_at: int | None) -> None:
    net, calls = Net("f"), 0
    before, loss = snapshot(net), net.loss()

    def f() -> Any:
        nonlocal calls
        calls += 1
        if calls == fail_at:
            raise RuntimeError("stop")
        return net.loss()

    if fail_at:
        with pytest.raises(RuntimeError, match="stop"):
            cr.gradcheck(f, parameters=net.parameters)
    else:
        assert cr.gradcheck(f, parameters=net.parameters)
    assert snapshot(net) == before
    loss.backward()  # a graph from before is still good
    assert net.weight.grad.dtype == np.float32


def test_a_sample_is_drawn_by_seed_across_all_parameters() -> None:
    net = Net()
    places = [
        [(row.input, row.index) for row in cr.gradcheck(net.loss, parameters=net.parameters, sample=6, seed=seed)]
        for seed in (0, 0, 1)
    ]
    assert [len(set(p)) for p in places] == [6, 6, 6]
    assert places[0] == places[1] != places[2]
    assert len(cr.gradcheck(net.loss, parameters=net.parameters, sample=1000)) == 16


def test_the_mode_of_the_caller_does_not_matter() -> None:
    with cr.no_grad():
        assert cr.gradcheck(cr.tanh, np.array([0.5, 1.0]))
        assert cr.gradcheck(cr.tanh, 0.5).rows[0].autograd != 0.0


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (cr.log, 0.0),
        (cr.sqrt, 0.0),
        (cr.exp, 1e4),
        (lambda x: x * np.nan, 1.0),
        (cr.sqrt, np.array([1.0, -1.0])),
        (cr.exp, np.array([100.0], "f")),
    ],
)
def test_not_finite_is_a_verdict(f: Any, x: Any) -> None:
    report = cr.gradcheck(f, x)
    assert not report
    assert "not finite" in {row.verdict for row in report}
    assert "not finite" in str(report)
    json.dumps(report.to_dict())


def test_a_branch_not_taken_may_be_infinite() -> None:
    report = cr.gradcheck(lambda x: cr.where(x > 0.5, cr.log(x), x * 3.0), np.array([0.0, 2.0]))
    assert report, str(report)


def test_the_printed_table_has_the_worst_first() -> None:
    def f(x: Any) -> Any:
        return cr.sin(cr.concatenate([x[:30], FAULTS["sign"](x[30:31]), FAULTS["1 percent"](x[31:])]))

    report = cr.gradcheck(f, np.linspace(0.1, 1.2, 32))
    lines = str(report).splitlines()
    assert lines.pop(0) == "gradcheck: 30 of 32 right, 2 wrong"
    notes = [lines.pop(0).split(" ")[:3] for _ in range(6)]
    assert notes == [["wrong", "by", "itself:"], ["", "", "called"], ["", "", "its"]] * 2
    lines.insert(0, "")
    assert lines[1].split("  ")[0] == "input"
    assert lines[1].split()[-2:] == ["verdict", "note"]
    assert [line.split()[1] for line in lines[2:4]] == ["30", "31"]
    assert [line.endswith("Taylor order 1.0: wrong") for line in lines[2:22]] == [True] * 2 + [False] * 18
    assert [line.split()[-1] for line in lines[4:22]] == ["right"] * 18
    assert lines[22:] == ["… and 12 more, none worse"]
    assert (
        len({line.index(verdict) for line, verdict in zip(lines[1:4], ["verdict", "wrong", "wrong"], strict=True)}) == 1
    )


def test_the_report_as_data_and_in_a_notebook() -> None:
    w = cr.Value(2.0, name="<w>")
    report = cr.gradcheck(lambda: w * w, parameters=w)
    data = json.loads(json.dumps(report.to_dict()))
    assert data["right"] is True
    assert data["rows"][0]["input"] == "<w>"
    assert (data["rows"][0]["index"], data["rows"][0]["autograd"], data["rows"][0]["verdict"]) == ([], 4.0, "right")
    assert "&lt;w&gt;" in report._repr_html_()
    assert list(report) == list(report.rows)
    assert bool(cr.gradcheck(cr.sum, np.zeros((0, 2))))
    assert str(cr.gradcheck(cr.sum, np.zeros((0, 2)))) == "gradcheck: 0 of 0 right"


RNG = np.random.default_rng(0)


def noisy(x: Any) -> Any:
    return x * RNG.normal()


@pytest.mark.parametrize(
    ("f", "args", "options", "error", "message"),
    [
        (lambda x: None, (1.0,), {}, TypeError, "gradcheck: the result of the function: expected a number.*None"),
        (lambda x: "1", (1.0,), {}, TypeError, "expected a number.*'1'"),
        (lambda x: x, (None,), {}, TypeError, "gradcheck: expected a number.*None"),
        (lambda: 1.0, (), {}, TypeError, "either the arguments of f or parameters="),
        (lambda x: x, (1.0,), {"parameters": cr.Value(1.0)}, TypeError, "either the arguments of f or parameters="),
        (lambda: 1.0, (), {"parameters": [1.0]}, TypeError, "leaf Values and Tensors, got 1.0"),
        (lambda: 1.0, (), {"parameters": [cr.Value(1.0) * 2.0]}, TypeError, "leaf Values and Tensors, got Value"),
        (lambda: 1.0, (), {"parameters": Net()}, TypeError, "leaf Values and Tensors, got .*Net"),
        (cr.sin, (1.0,), {"sample": 0}, ValueError, "sample is a number, 1 or more, or None for all, got 0"),
        (noisy, (1.0,), {}, ValueError, "two results for the same data"),
    ],
)
def test_bad_input(f: Any, args: Any, options: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        cr.gradcheck(f, *args, **options)


MISTAKES: dict[str, tuple[Any, str]] = {  # rules for the identity, and what is said of them
    "two arguments": (lambda g, x: g, "called with (g, y, x)"),
    "four arguments": (lambda g, y, x, z: g, "called with (g, y, x)"),
    "by keyword": (lambda g, y, *, x: g, "called with (g, y, x)"),
    "writes into x": (lambda g, y, x: np.multiply(x, 2.0, out=x) * g, "writes into what it was given"),
    "writes into y": (lambda g, y, x: np.multiply(y, 2.0, out=y) * g, "writes into what it was given"),
    "writes into g": (lambda g, y, x: np.multiply(g, 2.0, out=g), "writes into what it was given"),
    "writes into a view": (lambda g, y, x: x.reshape(-1)[:1].fill(0.0), "writes into what it was given"),
    "writes unseen": (lambda g, y, x: np.add.at(x, ([0], [0]), 1.0) or g, "writes into what it was given"),
    "transposed": (lambda g, y, x: g.T, "returned an array of shape (4, 3), expected (3, 4)"),
    "one axis less": (lambda g, y, x: g[:, 0], "returned an array of shape (3,), expected (3, 4)"),
    "flat": (lambda g, y, x: g.reshape(-1), "returned an array of shape (12,), expected (3, 4)"),
    "None": (lambda g, y, x: None, "returned None"),
    "text": (lambda g, y, x: "g", "got 'g' (str)"),
    "list": (lambda g, y, x: [1.0], "got [1.0] (list)"),
    "complex": (lambda g, y, x: g * 1j, "complex128"),
    "for numbers": (lambda g, y, x: math.cos(x) * g, "its rule raised TypeError"),
    "by a condition": (lambda g, y, x: g if x > 0 else 0.0 * g, "its rule raised ValueError: The truth value"),
    "for the batch": (lambda g, y, x: np.ones((5, 3, 4)), "returned an array of shape (5, 3, 4) for an argument of"),
    "another error": (lambda g, y, x: {}["a"], "its rule raised KeyError: 'a'"),
}


@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_rule_that_gives_no_answer_is_named(mistake: str, dtype: str) -> None:
    rule, said = MISTAKES[mistake]
    bad = cr.custom("bad", lambda x: 1.0 * x, rule)
    data = np.arange(1.0, 13.0, dtype=dtype).reshape(3, 4) / 7
    x = cr.Tensor(data)
    reports = [
        cr.gradcheck(lambda x: cr.sum(cr.tanh(bad(cr.sin(x)) if mistake != "writes unseen" else bad(x))), data),
        cr.gradcheck(lambda: cr.sum(cr.tanh(bad(x))), parameters=x),
        cr.check(cr.sum(cr.tanh(bad(cr.sin(x))))),
    ]
    for report in reports:
        assert not report
        assert said in str(report)
        named = [row for row in (*report.wrong, *report.culprits) if row.node is not None]
        assert {row.operation for row in named} == {"bad"}, str(report)
        assert all(row.rule.startswith(f"{__file__}:") for row in named)
    assert (x.data == data).all()


@pytest.mark.parametrize("dtype", ["f", "d"])
def test_what_is_not_finite_is_traced_to_the_operation_that_made_it(dtype: str) -> None:
    hole = cr.custom("hole", lambda x: 1.0 * x, lambda g, y, x: g * np.where(np.asarray(x) == 0.0, np.nan, 1.0))

    class Layer(cr.nn.Module):
        def __init__(self) -> None:
            self.inner = cr.nn.Linear(2, 2, rng=0)

        def forward(self, x: Any) -> Any:
            return hole(0.0 * self.inner(x))

    def ten(x: Any) -> Any:
        for f in (cr.sin, cr.tanh, cr.arctan, hole, cr.exp, cr.tanh, cr.sigmoid, cr.cos, cr.square):
            x = f(x)
        return cr.sum(x)

    zeros, layer = np.array([0.0, 1.0], dtype), Layer()
    cases: dict[str, tuple[Any, Any]] = {
        "hole": (ten, zeros),
        "sqrt": (lambda x: cr.sum(cr.tanh(cr.sqrt(cr.sin(x)))), zeros),
        "log": (lambda x: cr.sum(cr.log(x) * x), zeros),
        "exp": (lambda x: cr.sum(cr.exp(x * 900.0) * 0.5), np.array([1.0, 0.001], dtype)),
    }
    for name, (f, x) in cases.items():
        report = cr.gradcheck(f, x)
        assert report.by_verdict("not finite"), str(report)
        assert [row.operation for row in report.culprits] == [name], str(report)
        assert f"not finite by itself: node {report.culprits[0].node}, {name}" in str(report)
        assert str(report.culprits[0].line).startswith(f"{__file__}:")
        with np.errstate(all="ignore"):
            assert f"not finite by itself: node {report.culprits[0].node}, {name}" in str(cr.check(f(cr.Tensor(x))))
    report = cr.gradcheck(lambda: cr.mean(layer(np.ones((3, 2)))), parameters=layer)
    assert [row.operation for row in report.culprits] == ["hole"], str(report)


def test_a_cotangent_that_overflows_on_the_way_and_data_that_is_infinite_are_told() -> None:
    report = cr.gradcheck(lambda x: cr.sum(x * 1e-300 * 1e200 * 1e200), np.array([1.0]))
    assert [row.operation for row in report.culprits] == ["mul"]
    assert "not finite by itself: node 5, mul, argument 0 (made of a finite cotangent, at most 1e+200)" in str(report)
    report = cr.gradcheck(cr.sum, np.array([np.inf]))
    assert "not finite as it was given: 0" in str(report)
    report = cr.gradcheck(lambda x: cr.sum(x * np.array([np.nan, 1.0])), np.ones(2))
    assert "not finite as it was given: argument 1 of node 3, mul" in str(report)


def frozen(g: Any, y: Any, x: Any) -> Any:
    return g * 2.0 * (x.data if isinstance(x, cr.Node) else x)


SECOND: dict[str, Callable[[Any], Callable[[Any], Any]]] = {  # how a function may take gradients itself
    "grad": lambda f: cr.grad(f),
    "gradients": lambda f: lambda x: cr.gradients(f(x), x, create_graph=True),
    "norm": lambda f: lambda x: cr.sum(cr.gradients(f(x), [x], create_graph=True)[0] ** 2),
    "hvp": lambda f: lambda x: cr.hvp(f, x, np.array([1.0, 2.0])),
    "hessian": lambda f: lambda x: cr.hessian(f)(x),
    "grad of grad": lambda f: cr.grad(lambda x: cr.sum(cr.grad(f)(x))),
}


@pytest.mark.parametrize("how", SECOND)
@pytest.mark.parametrize("dtype", ["f", "d"])
def test_gradients_inside_the_function_are_checked_and_what_is_wrong_at_second_order_is_named(
    how: str, dtype: str
) -> None:
    x = np.array([0.3, -0.7], dtype)
    right = SECOND[how](lambda x: cr.sum(cr.square(x) * x))
    assert cr.gradcheck(right, x), how
    np.testing.assert_allclose(
        cr.numeric_gradient(lambda x: cr.sum(right(x)), x), cr.grad(lambda x: cr.sum(right(x)))(x), rtol=1e-5
    )
    square = cr.custom("frozen_square", lambda x: x * x, frozen)
    report = cr.gradcheck(SECOND[how](lambda x: cr.sum(square(x) * x)), x)
    assert not report
    assert {(row.operation, row.order) for row in report.culprits} == {("frozen_square", 2)}, str(report)
    assert report.culprits[0].rule.startswith(f"{__file__}:")


def test_gradcheck_of_order_2() -> None:
    x = np.array([0.3, -0.7])
    report = cr.gradcheck(lambda x, y: cr.sum(cr.sin(x) * cr.exp(x * y)), x, 0.5, order=2)
    assert report, str(report)
    assert [row.order for row in report] == [1, 1, 1, 2, 2, 2]
    assert {row.note for row in report if row.order == 2} == {"of the gradient, along a random direction"}
    square = cr.custom("frozen_square", lambda x: x * x, frozen)
    for f in (lambda x: cr.sum(square(x) * x), lambda x: cr.exp(square(x))):
        assert cr.gradcheck(f, x)
        report = cr.gradcheck(f, x, order=2)
        assert {(row.verdict, row.order) for row in report} == {("right", 1), ("wrong", 2)}
        assert {(row.operation, row.order) for row in report.culprits} == {("frozen_square", 2)}
    numbers = cr.custom("numbers", np.sin, lambda g, y, x: g * np.vectorize(math.cos)(x))
    assert cr.gradcheck(numbers, x)
    report = cr.gradcheck(numbers, x, order=2)
    assert not report
    assert {row.operation for row in report.culprits} == {"numbers"}
    w, b = cr.Tensor(x.astype("f"), name="w"), cr.Value(0.3)
    assert cr.gradcheck(lambda: cr.sum(cr.tanh(w * b)), parameters=[w, b], order=2)
    assert cr.gradcheck(lambda x: 2.0, 1.0, order=2)
    assert cr.gradcheck(lambda x: x, 1.0, order=2)
    assert cr.gradcheck(cr.relu, np.array([0.0, 1.0]), order=2)
    assert cr.gradcheck(lambda x: cr.sum(x * x.data), x, order=1).wrong


def test_a_method_may_be_forced() -> None:
    x = np.array([0.3, 1.1])
    for method in ("complex", "taylor", "richardson"):
        for f, data in ((cr.sin, x), (cr.tanh, 0.5), (cr.exp, x.astype("f")), (lambda x: cr.sum(x * x), x)):
            report = cr.gradcheck(f, data, method=method)
            assert {row.verdict for row in report} == {"right"}, f"{method}\n{report}"
        for fault in FAULTS.values():
            report = cr.gradcheck(lambda x, fault=fault: cr.exp(fault(x)), x, method=method)
            assert {row.verdict for row in report} == {"wrong"}, f"{method}\n{report}"
            assert report.culprits
        assert cr.gradcheck(lambda x: cr.sum(x * x.data), x, method=method).wrong  # a path that nobody recorded
        assert cr.gradcheck(cr.abs, 0.0, method=method).by_verdict("kink")
        assert cr.gradcheck(cr.sqrt, 0.0, method=method).by_verdict("not finite")
    assert cr.gradcheck(cr.sin, 0.3, method="taylor").rows[0].note == "Taylor order 2.0: right"
    assert cr.gradcheck(cr.exp, 0.3, method="complex").rows[0].numeric == math.exp(0.3)
    real = cr.custom("real", lambda x: float(x) ** 2, lambda g, y, x: 2.0 * g * x)
    assert [row.verdict for row in cr.gradcheck(real, 0.5, method="complex")] == ["too noisy"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "ridders"}, "gradcheck: method must be None or one of complex, taylor, richardson, got 'ridders'"),
        ({"method": 1}, "gradcheck: method must be None or one of complex, taylor, richardson, got 1"),
        ({"order": 3}, "gradcheck: order must be 1 or 2, got 3"),
    ],
)
def test_options_that_gradcheck_does_not_have(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cr.gradcheck(cr.sin, 1.0, **options)


def test_parameters_may_be_a_model_and_have_the_names_of_a_drawing() -> None:
    model, x = cr.nn.MLP([3, 4, 1], rng=0), np.random.default_rng(0).normal(size=(5, 3))
    names = ["0.weight", "0.bias", "2.weight", "2.bias"]
    loss = cr.mean(model(x) ** 2)
    report = cr.gradcheck(lambda: cr.mean(model(x) ** 2), parameters=model)
    assert report
    assert list(dict.fromkeys(row.input for row in report)) == names
    for report in (cr.check(loss), cr.check(loss, parameters=model), cr.check(loss, parameters=model.parameters())):
        assert sorted(row.input for row in report.by_parameter()) == sorted(names)
        drawn = cr.visualize.diagram(loss, check=report)
        assert {node.name: node.verdict for node in drawn.nodes if node.name} == dict.fromkeys(names, "right")
        named = cr.visualize.diagram(loss, check=report, names={"model": model})
        assert [node.verdict for node in named.nodes if node.name.startswith("model.")] == ["right"] * 4
    assert str(cr.explain(loss, model.parameters()[0])).startswith("∂L/∂0.weight = ")


def test_rows_of_the_whole_say_so_and_wrong_numbers_are_printed_until_they_differ() -> None:
    x = cr.Tensor([0.3, 1.1], name="x")
    lines = str(cr.check(cr.sum(cr.sin(x)))).splitlines()[2:]
    assert sorted(line[:12].split()[-1] for line in lines) == ["sin", "sum", "whole"]
    assert "whole" not in str(cr.gradcheck(cr.sin, 0.3))
    row = cr.gradcheck(cr.sin, 0.3).rows[0]
    for numeric, shown in (
        (1.0 + 1e-12, ["1", "1.000000000001"]),
        (np.nextafter(1.0, 2.0), ["1", "1.0000000000000002"]),
    ):
        off = dataclasses.replace(row, autograd=1.0, numeric=float(numeric), verdict="wrong")
        assert str(dataclasses.replace(cr.gradcheck(cr.sin, 0.3), rows=(off,))).splitlines()[-1].split()[1:3] == shown
    same = dataclasses.replace(row, autograd=1.0, numeric=1.0, verdict="wrong")
    assert "the same number, but" in str(dataclasses.replace(cr.gradcheck(cr.sin, 0.3), rows=(same,)))


def test_a_gradient_that_rounding_has_eaten_is_no_fault_between_operations() -> None:
    for f, x in ((lambda x: (cr.exp(x) - 1.0 - x) / x, 1e-6), (lambda x: (1.0 - cr.cos(x)) / x, 1e-6)):
        report = cr.gradcheck(f, x)
        assert "no operation records" not in str(report)
        assert report or "rounding has eaten the digits of the gradient by 0: about" in str(report)
        assert "no operation records" not in str(cr.check(f(cr.Value(x))))
    report = cr.gradcheck(lambda x: cr.sum(x * x.data), np.array([0.3, 0.4]))
    assert "no operation records" in str(report)
    assert "create_graph" not in str(report)
    report = cr.gradcheck(lambda x: cr.sum(cr.gradients(cr.sum(x**3), x) * x), np.array([0.3, 0.4]))
    assert "takes gradients without create_graph=True" in str(report)
