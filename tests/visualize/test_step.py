"""Step by step, as data: the story's numbers are the walk's, and its formulas give the numbers beside them."""

from __future__ import annotations

import dataclasses
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scripts import printed_by

import chainrule as cr
from chainrule import nn, visualize


def neuron() -> Any:
    x1, x2 = cr.Value(2.0, name="x1"), cr.Value(0.0, name="x2")
    w1, w2 = cr.Value(-3.0, name="w1"), cr.Value(1.0, name="w2")
    b = cr.Value(6.8813735870195432, name="b")
    o = cr.tanh(x1 * w1 + x2 * w2 + b)
    o.name = "o"
    return o


def shared() -> Any:
    x = cr.Value(3.0, name="x")
    return x * x + x


def scalars() -> Any:
    x, z = cr.Value(0.3, name="x"), cr.Value(-2.0, name="z")
    u = cr.dot([x, z], [z, 4.0], bias=x)
    return (u / z - cr.exp(x)) ** 3 + cr.where(x > 0.0, cr.log(x), 0.0) + u


def guarded() -> Any:
    x = cr.Tensor([0.0, 2.0], name="x")
    with np.errstate(divide="ignore"):
        return cr.where(x > 0.0, cr.log(x), x).sum()


def network() -> Any:
    rng = np.random.default_rng(0)
    return nn.cross_entropy(nn.MLP([5, 4, 3], rng=0)(rng.random((6, 5))), rng.integers(0, 3, 6))


def mixed() -> Any:
    t, v = cr.Tensor([[1.0, -2.0], [3.0, 4.0]], name="t"), cr.Value(0.5, name="v")
    return (t * v + t.T @ t).sum() * v


GRAPHS: dict[str, Callable[[], Any]] = {
    f.__name__: f for f in (neuron, shared, scalars, guarded, network, mixed)
}  # fmt: skip


def leaves_and_results(root: Any) -> list[Any]:
    """All nodes, oldest first."""
    found, stack = {root}, [root]
    while stack:
        for arg in stack.pop().args:
            if isinstance(arg, cr.Node) and arg not in found:
                found.add(arg)
                stack.append(arg)
    return sorted(found, key=lambda node: node.birth)


def size(quantity: Any) -> float:
    return quantity.magnitude * math.sqrt(math.prod(quantity.shape or ()))


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients_are_those_of_backward(name: str) -> None:
    root = GRAPHS[name]()
    told = visualize.story(root)
    root.backward()
    drawn = visualize.diagram(root)
    for node, gradient in zip(drawn.nodes, told.gradients, strict=True):
        assert gradient == node.grad


@pytest.mark.parametrize("name", GRAPHS)
def test_contributions_add_up_and_come_after_their_cotangents(name: str) -> None:
    told = visualize.story(GRAPHS[name]())
    root, totals, passed, many = told.diagram.root, {}, set(), {}
    totals[root] = told.seed
    for step in told:
        if step.phase != "backward":
            continue
        passed.add(step.node)
        assert totals[step.node] == told.gradients[step.node - 1]  # finished before it is passed on
        for part in step.contributions:
            assert part.argument not in passed
            if part.amount is None:
                continue
            many[part.argument] = many.get(part.argument, 0) + 1
            assert part.nth == many[part.argument]
            assert part.total is not None
            if part.amount.numbers is not None:
                before = totals[part.argument].numbers if part.nth > 1 else np.zeros(len(part.amount.numbers))
                assert_allclose(part.total.numbers, np.add(before, part.amount.numbers), rtol=1e-15, atol=0)
            totals[part.argument] = part.total
    assert totals == {i: g for i, g in enumerate(told.gradients, start=1) if g is not None}


@pytest.mark.parametrize("name", ["neuron", "shared", "scalars"])
def test_contributions_are_those_that_explain_finds(name: str) -> None:
    root = GRAPHS[name]()
    told = visualize.story(root)
    ids = [node.id for node in told.diagram.nodes if not node.constant]
    for number, node in zip(ids, leaves_and_results(root), strict=True):
        found = [
            part.amount.magnitude
            for step in told
            for part in step.contributions
            if part.argument == number and part.amount
        ]
        explained = [term.contribution.norm for term in cr.explain(root, node) if term.contribution is not None]
        assert sorted(found) == sorted(explained)


def test_a_story_in_full() -> None:
    assert (
        str(visualize.story(neuron()))
        == """\
 1  given: x1 = 2, x2 = 0, w1 = −3, w2 = 1, b = 6.88137
 2  u1 = x1 · w1 = 2 · (−3) = −6
 3  u2 = x2 · w2 = 0 · 1 = 0
 4  u3 = u1 + u2 = −6 + 0 = −6
 5  u4 = u3 + b = −6 + 6.88137 = 0.881374
 6  o = tanh(u4) = tanh(0.881374) = 0.707107
 7  ∂o/∂o = 1
 8  ∂o/∂u4 += ∂o/∂o · (1 − o²) = 1 · (1 − 0.707107²) = 1 · 0.5 = 0.5
 9  ∂o/∂u3 += ∂o/∂u4 · 1 = 0.5 · 1 = 0.5
    ∂o/∂b += ∂o/∂u4 · 1 = 0.5 · 1 = 0.5
10  ∂o/∂u1 += ∂o/∂u3 · 1 = 0.5 · 1 = 0.5
    ∂o/∂u2 += ∂o/∂u3 · 1 = 0.5 · 1 = 0.5
11  ∂o/∂x2 += ∂o/∂u2 · w2 = 0.5 · 1 = 0.5
    ∂o/∂w2 += ∂o/∂u2 · x2 = 0.5 · 0 = 0
12  ∂o/∂x1 += ∂o/∂u1 · w1 = 0.5 · (−3) = −1.5
    ∂o/∂w1 += ∂o/∂u1 · x1 = 0.5 · 2 = 1
13  done: ∂o/∂x1 = −1.5, ∂o/∂x2 = 0.5, ∂o/∂w1 = 1, ∂o/∂w2 = 0, ∂o/∂b = 0.5"""
    )


x, y, t = cr.Value(2.0, name="x"), cr.Value(-3.0, name="y"), cr.Tensor(np.ones((2, 3)), name="t")

gate = cr.custom("gate", lambda a, b: a if b > 0.0 else 0.0, lambda g, y, a, b: g, None)

LINES: list[tuple[Any, str]] = [
    (x * x + x, "∂L/∂x += ∂L/∂u · x = 1 · 2 = 2, so far 3 + 2 = 5"),
    (x - y, "L = x − y = 2 − (−3) = 5"),
    (y**2, "L = y^2 = (−3)^2 = 9"),
    (cr.exp(y), "∂L/∂y += ∂L/∂L · L = 1 · 0.0497871 = 0.0497871"),
    (cr.dot([x, y], [y, 4.0], bias=x), "L = x · y + y · 4 + x = 2 · (−3) + (−3) · 4 + 2 = −16"),
    (x / y, "∂L/∂y += ∂L/∂L · (−L / y) = 1 · (−(−0.666667) / (−3)) = 1 · (−0.222222) = −0.222222"),
    (x**3, "∂L/∂x += ∂L/∂L · (3 · x^2) = 1 · (3 · 2^2) = 1 · 12 = 12"),
    (gate(x, y), "nothing flows to y: there is no derivative"),
    ((t * t).sum(), "∂L/∂t += ∂L/∂u · t = (2, 3), norm 2.44949, so far (2, 3), norm 4.89898"),
    (t.sum(), "given: t = (2, 3), norm 2.44949"),
]  # fmt: skip


@pytest.mark.parametrize(("root", "line"), LINES, ids=[line for _, line in LINES])
def test_lines(root: Any, line: str) -> None:
    assert any(each.strip().endswith(line) or line in each for each in str(visualize.story(root)).split("\n")), str(
        visualize.story(root)
    )


def test_nothing_is_read_or_written_that_backward_keeps() -> None:
    root = neuron()
    before = str(visualize.story(root))
    assert all(node.grad is None for node in leaves_and_results(root))
    root.backward()
    root.backward()
    gradients = [node.grad for node in leaves_and_results(root)]
    assert str(visualize.story(root)) == before
    assert [node.grad for node in leaves_and_results(root)] == gradients


def test_names() -> None:
    a, b, c = cr.Value(1.0), cr.Value(2.0, name="b"), cr.Value(3.0, name="b")
    product = a * b
    told = visualize.story(product + c, names={"a": a, "p": product, "number": 3})
    assert told.names == ("a", "b", "b′", "p", "L")
    assert visualize.story(product + c).names == ("a", "b", "b′", "u", "L")
    with pytest.raises(dataclasses.FrozenInstanceError):
        told.names = ()  # type: ignore[misc]


def test_a_leaf_and_a_seed() -> None:
    assert str(visualize.story(cr.Value(2.0, name="x"))) == "1  given: x = 2\n2  ∂x/∂x = 1\n3  done: ∂x/∂x = 1"
    t = cr.Tensor([1.0, 2.0], name="t")
    told = visualize.story(t * 2.0, seed=[1.0, 10.0])
    assert told.gradients[0] is not None
    assert told.gradients[0].numbers == (2.0, 20.0)


def test_values_that_are_not_numbers() -> None:
    x = cr.Value(0.0, name="x")
    assert "∂L/∂u += ∂L/∂L · x = 1 · 0 = 0" in str(visualize.story(cr.log(x) * x))
    assert "L = u · x = −inf · 0 = NaN" in str(visualize.story(cr.log(x) * x))


def changed() -> Any:
    x = cr.Value(1.0, name="x")
    y = x * x
    x.data = 2.0
    return y


def constant() -> Any:
    with cr.no_grad():
        return cr.Value(1.0) * 2.0


def chain(n: int) -> Any:
    x = cr.Value(1.0)
    for _ in range(n):
        x = x * 1.0
    return x


ERRORS: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (lambda: visualize.story(3.0), TypeError, "Value or a Tensor"),  # type: ignore[arg-type]
    (lambda: visualize.story(cr.Tensor([1.0, 2.0]) * 2.0), ValueError, "needs a seed"),
    (lambda: visualize.story(changed()), RuntimeError, "was changed after"),
    (lambda: visualize.story(constant()), RuntimeError, "a constant"),
    (lambda: visualize.story(chain(3000)), ValueError, r"3,001 nodes and the limit is 2,000.*folded, as draw\(root\) does.*max_nodes"),
    (lambda: visualize.step(neuron(), "neuron.txt"), ValueError, r"\.html.*neuron\.txt"),
    (lambda: visualize.step(neuron(), "no/such/folder/neuron.html"), FileNotFoundError, "no folder"),
    (lambda: visualize.step(chain(100), "chain.gif"), ValueError, "too many for pictures"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), ERRORS, ids=[message for *_, message in ERRORS])
def test_errors(
    call: Callable[[], Any], error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        call()
    assert not list(tmp_path.iterdir())


def test_a_long_chain_is_told_without_recursion() -> None:
    assert len(visualize.story(chain(2000), max_nodes=None)) == 4_003


def test_moving_pictures(tmp_path: Path) -> None:
    pytest.importorskip("PIL")
    from PIL import Image

    x = cr.Value(3.0, name="x")
    assert visualize.step(x * x, tmp_path / "square.gif") == tmp_path / "square.gif"
    with Image.open(tmp_path / "square.gif") as moving:
        assert moving.n_frames == 5  # type: ignore[attr-defined]
    visualize.step(x * x, f"{tmp_path}/frames/")
    names = [f"{i:03}.png" for i in range(1, 6)]
    assert sorted(os.listdir(tmp_path / "frames")) == names
    frames = [Image.open(io.BytesIO((tmp_path / "frames" / name).read_bytes())) for name in names]
    assert len({frame.size for frame in frames}) == 1
    assert len({frame.tobytes() for frame in frames}) == 5


PRINTED = """
import hashlib
import test_step as t
for f in t.GRAPHS.values():
    print(hashlib.sha256(t.visualize.step(f()).html.encode()).hexdigest())
"""


@pytest.mark.slow
def test_same_bytes_in_every_process() -> None:
    assert len({printed_by(PRINTED, Path(__file__).parent, seed) for seed in ("1", "2")}) == 1
