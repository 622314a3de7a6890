"""explain: the terms add up to the gradient, and the formulas, evaluated, give the numbers beside them."""

from __future__ import annotations

import ast
import json
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from reference import like, node
from samples import BINARY, EACH, QUESTIONS, UNARY, Sample, function

import chainrule as cr
from chainrule.autograd.explaining.explain import Amount

# A formula is read back by a small calculator that knows nothing of the rules.

OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg, ast.MatMult: operator.matmul,
}  # fmt: skip
SPELLING = {"·": "*", "−": "-", "²": "**2", "^": "**", "√": "sqrt", "⌊": "floor(", "⌋": ")"}


def evaluate(text: str, names: dict[str, float]) -> float:
    for sign, python in SPELLING.items():
        text = text.replace(sign, python)
    return value(ast.parse(re.sub(r"\|([^|]+)\|", r"abs(\1)", text), mode="eval").body, names)


def value(tree: ast.AST, names: dict[str, float]) -> Any:
    match tree:
        case ast.Constant(value=x):
            return float(x)
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=op, operand=x):
            return OPERATORS[type(op)](value(x, names))
        case ast.BinOp(left=a, op=op, right=b):
            return OPERATORS[type(op)](value(a, names), value(b, names))
        case ast.Call(func=ast.Name(id=name), args=args):
            return function(name)(*(value(x, names) for x in args))
    raise AssertionError(f"cannot read {ast.dump(tree)}")


POINTS = [(name, (x,)) for name, points in UNARY.items() for x in points]
POINTS += [(name, pair) for name, points in BINARY.items() for pair in zip(*points, strict=True)]


@pytest.mark.parametrize(("name", "numbers"), POINTS)
def test_every_row_is_written_out_and_the_formula_gives_the_gradient(name: str, numbers: tuple[float, ...]) -> None:
    xs = [cr.Value(x, name=n) for x, n in zip(numbers, "xz", strict=False)]
    y = function(name)(*xs)
    y.name = "y"
    for x, gradient in zip(xs, cr.gradients(y, xs, seed=2.0), strict=True):
        explained = cr.explain(y, x, seed=2.0)
        (term,) = explained
        known = {"x": numbers[0], "z": numbers[-1], "y": y.data, "g": 2.0}
        assert term.computed is not None
        assert evaluate(term.computed, known) == pytest.approx(y.data, rel=1e-5)
        if term.contribution is None:
            assert name in {"is_zero", "step", "share", *QUESTIONS}
            assert explained.gradient is None
            assert gradient == 0.0
            continue
        assert explained.gradient == term.contribution == Amount(gradient, abs(gradient), None)
        assert term.derivative is not None
        assert term.pulled is not None
        assert evaluate(term.derivative, known) == pytest.approx(gradient / 2.0, rel=1e-4, abs=1e-12)
        assert evaluate(term.pulled, known) == pytest.approx(gradient, rel=1e-4, abs=1e-12)
        assert term.slope == pytest.approx(gradient / 2.0, rel=1e-12)


FORMULAS: list[tuple[Callable[..., Any], str, str]] = [
    (lambda x, z: x * z, "x · z", "z"),
    (lambda x, z: x / z, "x / z", "1 / z"),
    (lambda x, z: z / x, "z / x", "−y / x"),
    (lambda x, z: x - z, "x − z", "1"),
    (lambda x, z: z - x, "z − x", "−1"),
    (lambda x, z: x**3.0, "x^3", "3 · x^2"),
    (lambda x, z: 2.0**x, "2^x", "y · 0.693147"),
    (lambda x, z: cr.tanh(x), "tanh(x)", "1 − y²"),
    (lambda x, z: cr.sigmoid(x), "sigmoid(x)", "y · (1 − y)"),
    (lambda x, z: cr.exp(x), "exp(x)", "y"),
    (lambda x, z: cr.sqrt(x), "√(x)", "0.5 / y"),
    (lambda x, z: cr.log(x), "log(x)", "1 / x"),
    (lambda x, z: abs(x), "|x|", "sign(x)"),
    (lambda x, z: cr.relu(x), "relu(x)", "step(y)"),
    (lambda x, z: cr.clip(x, 0.0, 1.0), "clip(x, low=0, high=1)", "inside(x, low=0, high=1)"),
    (lambda x, z: cr.leaky_relu(x), "leaky_relu(x, slope=0.01)", "where(step(x), 1, 0.01)"),
    (lambda x, z: cr.dot([x, 2.0], [z, 3.0], 1.0), "x · z + 2 · 3 + 1", "z"),
    (lambda x, z: cr.dot([x, -1.0], [z, z], -2.0), "x · z + (−1 · z) + (−2)", "z"),
]


@pytest.mark.parametrize(("f", "computed", "derivative"), FORMULAS)
def test_formulas(f: Callable[..., Any], computed: str, derivative: str) -> None:
    x, z = cr.Value(1.5, name="x"), cr.Value(0.5, name="z")
    y = f(x, z)
    y.name = "y"
    (term,) = cr.explain(y, x)
    assert (term.computed, term.derivative) == (computed, derivative)


def test_formulas_of_matrices() -> None:
    rng = np.random.default_rng(0)
    w, x = cr.Tensor(rng.normal(size=(2, 3)), name="w"), rng.normal(size=(4, 3))
    y = cr.linear(x, w, np.zeros(2))
    (term,) = cr.explain(y, w, seed=np.ones((4, 2)))
    assert (term.computed, term.pulled, term.derivative) == ("linear(a, w, b)", "gᵀ @ a", None)
    assert str(term.where["a"]).endswith("(4, 3)")
    y = w @ cr.Tensor(x.T, name="v")
    (term,) = cr.explain(y, w, seed=np.ones((2, 4)))
    assert (term.computed, term.pulled) == ("w @ v", "g @ vᵀ")
    (term,) = cr.explain(cr.softmax(w), w, seed=np.ones((2, 3)))
    assert term.pulled == "L · (g − sum(g · L, axis=-1, keepdims=True))"
    bias = cr.Tensor(np.zeros(3), name="bias")
    (term,) = cr.explain(w + bias, bias, seed=np.ones((2, 3)))
    assert (term.derivative, term.pulled) == ("1", "sum(g, axis=(0,))")


@pytest.mark.parametrize(("name", "sample"), [pytest.param(n, s, id=f"{n}-{i}") for n, i, s in EACH])
def test_the_terms_add_up_to_the_gradient(name: str, sample: Sample) -> None:
    xs = [node(x) for x in sample.args]
    y = sample.f(*xs)
    seed = like(y.data, np.random.default_rng(0))
    for x, gradient in zip(xs, cr.gradients(y, xs, seed=seed), strict=True):
        explained = cr.explain(y, x, seed) if x is not y else cr.explain(x, x, seed)
        size = 0.0 if explained.gradient is None else explained.gradient.norm
        assert size == pytest.approx(float(np.sqrt(np.sum(np.square(gradient)))), rel=1e-12)
        if np.any(gradient) and explained.terms:
            assert sum(term.share or 0.0 for term in explained) == pytest.approx(1.0, rel=1e-12)
        assert str(explained).startswith("∂")
        assert explained.latex()


def test_formulas_with_an_index() -> None:
    x = cr.Tensor([[1.0, 2.0], [3.0, 4.0]], name="x")
    for index, text in (0, "x[0]"), ((slice(None), 1), "x[:, 1]"), ((..., None, slice(0, 2, 2)), "x[…, None, 0:2:2]"):
        y = x[index]
        assert cr.explain(y, x, seed=np.ones(y.shape)).terms[0].computed == text
    a, b = cr.Value(1.0, name="a"), cr.Value(2.0)
    assert cr.explain(cr.stack([a, b]), a, seed=[1.0, 2.0]).terms[0].pulled == "g[0]"


def test_numbers_of_a_small_graph() -> None:
    x = cr.Value(2.0, name="x")
    y = x * x + 3.0 * x
    y.name = "y"
    explained = cr.explain(y, x)
    assert str(explained).splitlines() == [
        "∂y/∂x = ∂y/∂u1 · ∂₁u1/∂x + ∂y/∂u1 · ∂₂u1/∂x + ∂y/∂u2 · ∂u2/∂x",
        "      = 1 · 2 + 1 · 2 + 1 · 3",
        "      = 7",
        "",
        "computed    derivative       ∂y/∂·  contribution  share    where",
        "u1 = x²     ∂₁u1/∂x = x = 2  1      2             28.57 %  x = 2",
        "u1 = x²     ∂₂u1/∂x = x = 2  1      2             28.57 %  x = 2",
        "u2 = 3 · x  ∂u2/∂x = 3       1      3             42.86 %  x = 2",
    ]
    assert explained.latex().splitlines() == [
        r"\begin{aligned}",
        (
            r"\frac{\partial y}{\partial x} &= \frac{\partial y}{\partial u_{1}} \cdot \frac{\partial_{1} u_{1}}{\partial x}"
            r" + \frac{\partial y}{\partial u_{1}} \cdot \frac{\partial_{2} u_{1}}{\partial x}"
            r" + \frac{\partial y}{\partial u_{2}} \cdot \frac{\partial u_{2}}{\partial x} \\"
        ),
        (
            r"&= \frac{\partial y}{\partial u_{1}} \cdot x + \frac{\partial y}{\partial u_{1}} \cdot x"
            r" + \frac{\partial y}{\partial u_{2}} \cdot 3 \\"
        ),
        r"&= 1 \cdot 2 + 1 \cdot 2 + 1 \cdot 3 \\",
        r"&= 7",
        r"\end{aligned}",
    ]
    assert explained._repr_latex_() == f"$${explained.latex()}$$"


def test_a_node_in_between_the_root_itself_and_what_cancels() -> None:
    x = cr.Value(2.0, name="x")
    u = x * 3.0
    y = u * u
    assert cr.explain(y, u).gradient == Amount(12.0, 12.0, None)
    assert str(cr.explain(y, y)) == "∂L/∂L = 1: where the walk began"
    assert len(cr.explain(y, y)) == 0
    cancelled = cr.explain(u * 2.0 - u * 2.0, u)
    assert cancelled.gradient is not None
    assert cancelled.gradient.value == 0.0
    assert [term.share for term in cancelled] == [None, None]
    opposed = [term.share for term in cr.explain(u * 3.0 - u * 2.0, u)]
    assert opposed == pytest.approx([3.0, -2.0])


def test_branches_not_taken_contribute_nothing() -> None:
    x = cr.Tensor([0.0, 4.0], name="x")
    y = cr.where(x > 0, cr.sqrt(x), 0.0).sum() + (x * x).sum()
    explained = cr.explain(y, x)
    (gradient,) = cr.gradients(y, [x])
    assert explained.gradient is not None
    assert explained.gradient.norm == pytest.approx(np.linalg.norm(gradient)) == pytest.approx(8.25)
    assert explained.terms[0].contribution == Amount(None, 0.25, (2,))


def test_gradients_are_neither_needed_nor_touched() -> None:
    x = cr.Value(2.0)
    y = x * 3.0
    cr.explain(y, x)
    assert x.grad is None
    y.backward()
    y.backward()
    explained = cr.explain(y, x)
    assert explained.gradient is not None
    assert (x.grad, explained.gradient.value) == (6.0, 3.0)
    with cr.no_grad():
        assert cr.explain(y, x) == explained


def test_a_rule_of_ones_own() -> None:
    cube = cr.custom("cube", lambda x: x**3, lambda g, y, x: 3.0 * g * x * x)
    opaque = cr.custom("opaque", lambda x: x**3, lambda g, y, x: 3.0 * g * math.pow(x, 2.0))
    x = cr.Value(2.0, name="x")
    (term,) = cr.explain(cube(x), x)
    assert (term.computed, term.derivative, term.slope) == ("cube(x)", "3 · x · x", 12.0)
    explained = cr.explain(opaque(x), x)  # math.pow works on floats alone
    assert (explained.terms[0].derivative, explained.terms[0].pulled, explained.terms[0].slope) == (None, None, 12.0)
    assert "the rule of opaque" in str(explained)


def test_names_are_told_apart_and_escaped() -> None:
    a, b = cr.Value(2.0, name="w"), cr.Value(3.0, name="w")
    (term,) = cr.explain(a * b, a)
    assert (term.computed, term.derivative) == ("w · w′", "w′")
    odd = cr.Value(2.0, name="a_b%\n\\x{")
    explained = cr.explain(odd * 2.0, odd)
    assert "\n" not in str(explained).splitlines()[0]
    assert (
        r"\mathrm{a\_b\%\backslash n\backslash \backslash x\{}" in explained.latex() or r"a\_b\%" in explained.latex()
    )


@pytest.mark.parametrize("name", [*UNARY, *BINARY])
def test_the_latex_can_be_typeset(name: str) -> None:
    mathtext = pytest.importorskip("matplotlib.mathtext")
    numbers = [points[1] for points in BINARY[name]] if name in BINARY else [UNARY[name][1]]
    xs = [cr.Value(x, name=n) for x, n in zip(numbers, ("x1", "rate_b"), strict=False)]
    total = function(name)(*xs) * 1e-9 + xs[0]
    for x in xs:
        for line in cr.explain(total, x).latex().splitlines()[1:-1]:
            mathtext.MathTextParser("path").parse(f"${line.removesuffix(chr(92) * 2).replace('&', '')}$")


def test_many_uses_show_the_largest() -> None:
    x = cr.Value(1.0, name="x")
    y: Any = 0.0
    for i in range(40):
        y = y + x * float(i)
    text = str(cr.explain(y, x))
    assert "+ …" in text
    assert "∂u40/∂x = 39" in text
    assert text.endswith("and 28 more, none larger")


def test_a_long_chain() -> None:
    x = cr.Value(1.0, name="x")
    y = x
    for _ in range(50_000):
        y = y + 1.0
    explained = cr.explain(y, x)
    assert explained.gradient is not None
    assert explained.gradient.value == 1.0


def test_it_is_data() -> None:
    w = cr.Tensor([[1.0, 2.0]], name="w")
    data = json.loads(json.dumps(cr.explain((w * w).sum(), w).to_dict()))
    assert data["variable"] == "w"
    assert data["terms"][0]["cotangent"] == {"value": None, "norm": pytest.approx(math.sqrt(2.0)), "shape": [1, 2]}


X = cr.Value(1.0)


@pytest.mark.parametrize(
    ("root", "variable", "kind", "message"),
    [
        (1.0, X, TypeError, "root must be"),
        (X, 1.0, TypeError, "node must be"),
        (X * 2.0, cr.Value(3.0), ValueError, "was not computed from"),
        (cr.Tensor([1.0]) * np.ones(2), cr.Tensor([1.0]), ValueError, "was not computed from"),
    ],
)
def test_bad_input(root: Any, variable: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        cr.explain(root, variable)


def test_what_was_not_recorded_or_has_changed_or_needs_a_seed() -> None:
    x = cr.Value(1.0)
    with cr.no_grad():
        y = x * 2.0
    with pytest.raises(RuntimeError, match="explain from"):
        cr.explain(y, x)
    y = x * 2.0
    x.data = 3.0
    with pytest.raises(RuntimeError, match="was changed after"):
        cr.explain(y, x)
    t = cr.Tensor([1.0, 2.0])
    with pytest.raises(ValueError, match="needs a seed"):
        cr.explain(t * 2.0, t)
    assert_allclose(cr.explain(t * 2.0, t, seed=[1.0, 1.0]).gradient.norm, math.sqrt(8.0))  # type: ignore[union-attr]


def test_many_uses_of_one_variable_are_explained_in_time_proportional_to_them(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    x = cr.Value(2.0, name="x")
    y = cr.dot([x] * 300, [1.0] * 300)
    op = y.op
    assert op is not None
    pull = op.pull

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return pull(*args)

    monkeypatch.setattr(op, "pull", counted)
    explained = cr.explain(y, x)
    assert len(explained) == 300
    assert explained.gradient == Amount(300.0, 300.0, None)
    assert calls < 10
