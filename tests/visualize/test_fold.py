"""Folding: what belongs to which call of a module, which boxes a drawing shows of a large graph, and their names."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripts import printed_by

import chainrule as cr
from chainrule import visualize
from chainrule.autograd.graph import ancestry


class Block(cr.nn.Module):
    """A residual block."""

    def __init__(self, n: int, rng: int) -> None:
        self.inner, self.outer = cr.nn.Linear(n, n, rng=rng), cr.nn.Linear(n, n, rng=rng + 1)

    def forward(self, x: Any) -> Any:
        return x + self.outer(self.inner(x).relu())


class Residual(cr.nn.Module):
    def __init__(self, blocks: int) -> None:
        self.stem = cr.nn.Linear(3, 4, rng=0)
        self.blocks = [Block(4, i) for i in range(blocks)]

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return x


class Unrolled(cr.nn.Module):
    """A recurrent network: one result at the end, or the sum of a loss at each step."""

    def __init__(self, every_step: bool) -> None:
        self.inner, self.state, self.head = (cr.nn.Linear(n, 4, rng=n) for n in (3, 4, 4))
        self.every_step = every_step

    def forward(self, rows: Any) -> Any:
        h: Any = np.zeros((1, 4))
        losses: list[Any] = []
        for row in rows:
            h = cr.tanh(self.inner(row) + self.state(h))
            losses += [(self.head(h) ** 2).mean()] * self.every_step
        return sum(losses) if self.every_step else self.head(h).sum()


class Cell(cr.nn.Module):
    """Two results from one call, of which a caller may use either."""

    def __init__(self) -> None:
        self.w, self.u = cr.Value(0.5), cr.Value(-0.25)

    def forward(self, x: Any, h: Any) -> Any:
        h = cr.tanh(self.w * x + self.u * h)
        return h * 2.0, h


class Keeps(cr.nn.Module):
    """A value from inside is kept, and used by who calls."""

    def __init__(self) -> None:
        self.body, self.head = cr.nn.Linear(3, 3, rng=0), cr.nn.Linear(3, 1, rng=1)

    def forward(self, x: Any) -> Any:
        self.features = cr.tanh(self.body(x)) * 2.0
        return self.head(self.features)


def inputs(rows: int = 2) -> Any:
    return np.linspace(-1.0, 1.0, 3 * rows).reshape(rows, 3)


def moons(samples: int, fused: bool = False) -> Any:
    """The hinge loss of a network of single numbers over a batch, and the penalty on its weights."""
    model = cr.nn.scalar.MLP(2, [16, 16, 1], fused=fused, rng=0)
    scores = [model([0.1 * i, 1.0 - 0.2 * i]) for i in range(samples)]
    losses = [(1.0 + (-1.0) ** i * score).relu() for i, score in enumerate(scores)]
    return sum(losses) * (1.0 / samples) + 1e-4 * sum(p * p for p in model.parameters())


def residual(blocks: int = 20) -> Any:
    return (Residual(blocks)(cr.Tensor(inputs(), name="x")) ** 2).mean()


def recurrent(steps: int = 50) -> Any:
    w, u, b = (cr.Tensor(np.full(shape, 0.1), name=name) for name, shape in (("w", (4, 4)), ("u", (4, 3)), ("b", 4)))
    h: Any = np.zeros(4)
    total: Any = 0.0
    for row in np.sin(np.arange(3.0 * steps)).reshape(steps, 3):
        h = cr.tanh(w @ h + u @ row + b)
        total = total + h.sum() ** 2
    return total


def twice() -> Any:
    model = Residual(12)
    return ((model(inputs()) - model(inputs()[::-1])) ** 2).sum()


def cells() -> Any:
    cell, h, total = Cell(), cr.Value(0.0), cr.Value(0.0)
    for i in range(30):
        y, h = cell(0.1 * i, h)
        total = total + y
    return total + h


def keeps() -> Any:
    model = Keeps()
    return sum(model(inputs()).sum() + (model.features**2).mean() for _ in range(10))


def tied() -> Any:
    first, second = cr.nn.Linear(3, 3, rng=0), cr.nn.Linear(3, 3, rng=1)
    second.weight = first.weight
    model = cr.nn.Sequential(*[first, cr.nn.Tanh(), second, cr.nn.Tanh()] * 10)
    return model(inputs()).sum()


def threads() -> Any:
    """Four models at once, their births interleaved."""
    results: list[Any] = [None] * 4
    start = threading.Barrier(4)

    def run(i: int) -> None:
        model = Residual(10)
        start.wait()
        results[i] = (model(inputs()) ** 2).mean()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        workers = [threading.Thread(target=run, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    finally:
        sys.setswitchinterval(interval)
    return sum(results)


def unrolled(steps: int, every_step: bool = False) -> Any:
    return Unrolled(every_step)(np.sin(np.arange(3.0 * steps)).reshape(steps, 1, 3))


def chain(length: int = 1000) -> Any:
    y = cr.Value(0.5, name="x")
    for i in range(length):
        y = (cr.tanh, cr.sin, cr.cos, cr.sigmoid)[random.Random(i).randrange(4)](y)
    return y


def shared(doublings: int = 200) -> Any:
    y = cr.Value(1e-30)
    for _ in range(doublings):
        y = y + y
    return y


GRAPHS: dict[str, Callable[[], Any]] = {
    "moons": lambda: moons(10),
    "moons, fused": lambda: moons(10, fused=True),
    "residual": residual,
    "recurrent": recurrent,
    "unrolled": lambda: unrolled(20),
    "a loss at every step": lambda: unrolled(30, every_step=True),
    "called twice": twice,
    "two results": cells,
    "a value kept": keeps,
    "tied": tied,
    "threads": threads,
    "chain": chain,
    "shared": shared,
    "a leaf": lambda: cr.Value(1.0),
    "not recorded": lambda: cr.Value(1.0).detach() * cr.Value(2.0),
}


def require_sound(root: Any, drawn: visualize.Diagram, most: int) -> None:
    """Within the budget, without a cycle, each node in one box, the result where it is said to be."""
    assert len(drawn.nodes) <= most
    assert [node.id for node in drawn.nodes] == list(range(1, len(drawn.nodes) + 1))
    assert all(edge.source < edge.target for edge in drawn.edges)
    held = sum(node.fold.nodes if node.fold else not node.constant for node in drawn.nodes)
    assert held == len(ancestry(root))
    assert sum(edge.source == drawn.root for edge in drawn.edges) == 0
    known = {node.id for node in drawn.nodes}
    waiting = list(drawn.groups)
    for group in waiting:
        assert known >= set(group.members)
        inner = [member for child in group.children for member in child.members]
        assert len(inner) == len(set(inner))
        assert set(group.members) >= set(inner)
        waiting.extend(group.children)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("most", [1, 2, 5, 20, 60, 150])
def test_every_graph_keeps_to_every_budget(name: str, most: int) -> None:
    root = GRAPHS[name]()
    drawn = visualize.diagram(root, max_nodes=most)
    require_sound(root, drawn, most)
    assert drawn == visualize.diagram(root, max_nodes=most)


Steps = list[tuple[int, int, int]]


def built(steps: Steps) -> Any:
    """A graph of single numbers: in each step an operation on two of the values before."""
    values: list[Any] = [cr.Value(0.5), cr.Value(-0.5, name="named"), 2.0, 3.0]
    for kind, a, b in steps:
        x, y = values[-1 - a % len(values)], values[-1 - b % len(values)]
        x = x if isinstance(x, cr.Value) or kind == 3 else values[0]
        values.append([lambda: x * y, lambda: x + y, lambda: cr.tanh(x), lambda: cr.Value(0.1), lambda: y - x][kind]())
    total = values[0] + values[1]
    for value in values[-4:]:
        total = total + value
    return total


class Part(cr.nn.Module):
    """Calls others, as a plan says."""

    def __init__(self, parts: list[Part], steps: Steps) -> None:
        self.parts, self.steps, self.w = parts, steps, cr.Value(0.5)

    def forward(self, x: Any) -> Any:
        for part in self.parts:
            x = part(x) * self.w
        return built(self.steps) * x


STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.integers(0, 30)), max_size=60)
PARTS = st.recursive(
    st.builds(Part, st.just([]), STEPS),
    lambda inner: st.builds(Part, st.lists(inner, max_size=4), STEPS),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, most=st.integers(1, 40))
def test_any_graph_of_numbers_folds(steps: Steps, most: int) -> None:
    root = built(steps)
    require_sound(root, visualize.diagram(root, max_nodes=most), most)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(model=PARTS, calls=st.integers(1, 4), most=st.integers(1, 40), depth=st.none() | st.integers(0, 3))
def test_any_calls_of_modules_fold(model: Part, calls: int, most: int, depth: int | None) -> None:
    x: Any = cr.Value(1.0, name="x")
    root = sum(model(x) for _ in range(calls)) * 1.0
    drawn = visualize.diagram(root, max_nodes=most, depth=depth)
    require_sound(root, drawn, most)
    everything = visualize.diagram(root, fold=False, max_nodes=None)
    waiting = [visualize.groups(root)]
    assert waiting[0].members == tuple(range(1, len(everything.nodes) + 1))
    for group in waiting:
        require_closed(group, everything)
        waiting.extend(group.children)


def require_closed(group: visualize.Group, drawn: visualize.Diagram) -> None:
    """No way leads out of the group and back in."""
    inside = set(group.members)
    tainted: set[int] = set()  # what was computed outside from something inside
    for edge in drawn.edges:
        if edge.source in tainted or (edge.source in inside and edge.target not in inside):
            assert edge.target not in inside
            tainted.add(edge.target)


def titles(drawn: visualize.Diagram) -> list[tuple[str, str, int]]:
    return [(node.fold.title, node.fold.path, node.fold.times) for node in drawn.nodes if node.fold]


def test_a_batch_of_single_numbers_is_one_network() -> None:
    root = moons(100)
    root.backward()
    drawn = visualize.diagram(root)
    assert len(drawn.nodes) < 25
    assert ("dot", "layers.1.neurons.dot", 1600) in titles(drawn)
    assert ("Layer", "layers.2", 100) in titles(drawn)
    (frame,) = drawn.groups
    assert (frame.title, frame.times) == ("MLP", 100)
    assert [(group.path, group.times) for group in frame.children[:2]] == [("layers.0", 100), ("layers.1", 100)]
    penalty = next(
        node.fold for node in drawn.nodes if node.fold and node.fold.title == "mul" and node.fold.times == 337
    )
    assert (penalty.nodes, penalty.operations) == (337, (("mul", 337),))
    assert any(edge.values == 1600 for edge in drawn.edges)


def test_the_same_numbers_computed_together_fold_as_well() -> None:
    drawn = visualize.diagram(moons(100, fused=True))
    assert len(drawn.nodes) < 40
    assert ("linear", "MLP.linear", 100) in titles(drawn)


def test_layers_that_repeat_are_shown_once() -> None:
    drawn = visualize.diagram(residual())
    assert ("Block", "blocks[…]", 19) in titles(drawn)
    assert ("Linear", "blocks.0.inner", 1) in titles(drawn)
    serial = [node.fold for node in drawn.nodes if node.fold and node.fold.serial]
    assert [(fold.title, fold.parameters) for fold in serial] == [("Block", 19 * 2 * (16 + 4))]
    assert [node.name for node in drawn.nodes if not node.operation and not node.fold][:1] == ["x"]


def test_steps_of_a_loop_fold_without_modules() -> None:
    drawn = visualize.diagram(recurrent())
    steps = next(node.fold for node in drawn.nodes if node.fold and node.fold.serial)
    assert (steps.title, steps.times) == ("step", 49)
    assert {"w", "u", "b"} <= {node.name for node in drawn.nodes}
    assert len(drawn.nodes) < 30


def test_a_chain_is_an_ellipsis_between_its_ends() -> None:
    drawn = visualize.diagram(chain(1000))
    assert drawn.nodes[0].name == "x"
    assert ("chain", "chain", 1) in titles(drawn)
    assert drawn.nodes[-1].fold is None
    assert "chain" in str(drawn)


@pytest.mark.parametrize("count", [3, 20])
def test_a_chain_of_equals_is_a_series(count: int) -> None:
    drawn = visualize.diagram(shared(200 * count))
    (fold,) = [node.fold for node in drawn.nodes if node.fold]
    assert (fold.title, fold.times, fold.serial) == ("add", 200 * count, True)


def test_a_small_graph_is_not_folded() -> None:
    model = cr.nn.MLP([3, 4, 2], rng=0)
    drawn = visualize.diagram(model(inputs()).sum())
    assert not titles(drawn)
    assert drawn.nodes == visualize.diagram(model(inputs()).sum(), fold=False, max_nodes=None).nodes


def squares(length: int) -> Any:
    y = cr.Value(0.9)
    for _ in range(length):
        y = y * y
    return y


LENGTHS: list[tuple[Callable[[], Any], list[int]]] = [
    (lambda: squares(20), []),
    (lambda: squares(21), [21]),
    (lambda: chain(40), []),
    (lambda: unrolled(5), []),
    (lambda: unrolled(20), [18]),
    (lambda: unrolled(8, every_step=True), [6, 7]),
    (lambda: unrolled(30, every_step=True), [28, 29]),
]  # fmt: skip


@pytest.mark.parametrize(("build", "expected"), LENGTHS)
def test_what_repeats_itself_for_longer_than_a_page_is_folded(build: Callable[[], Any], expected: list[int]) -> None:
    root = build()
    drawn = visualize.diagram(root)
    assert [node.fold.times for node in drawn.nodes if node.fold and node.fold.serial] == expected
    assert not expected or len(drawn.nodes) <= 30
    assert expected or not titles(drawn)
    require_sound(root, drawn, 150)
    assert not titles(visualize.diagram(root, max_nodes=None))


class Normed(cr.nn.Module):
    """A residual network with a norm in each block and one more at the end."""

    def __init__(self, blocks: int) -> None:
        self.blocks = [cr.nn.Sequential(cr.nn.LayerNorm(3), cr.nn.Linear(3, 3, rng=i)) for i in range(blocks)]
        self.norm, self.head = cr.nn.LayerNorm(3), cr.nn.Linear(3, 1, rng=9)

    def forward(self, x: Any) -> Any:
        for block in self.blocks:
            x = x + block(x).relu()
        return self.head(self.norm(x))


@pytest.mark.parametrize(("blocks", "norms"), [(1, 0), (2, 3), (6, 3), (30, 3)])
def test_modules_become_arithmetic_all_or_none(blocks: int, norms: int) -> None:
    drawn = visualize.diagram(Normed(blocks)(inputs()).sum())
    assert [title for title, _, _ in titles(drawn)].count("LayerNorm") == norms
    assert norms == 0 or {node.operation for node in drawn.nodes if node.operation} == {"relu", "add", "sum"}


DEPTHS: list[tuple[int, list[tuple[str, str]]]] = [
    (0, [("Residual", "Residual")]),
    (1, [("Linear", "stem"), ("Block", "blocks.0"), ("Block", "blocks.1")]),
    (2, [("Linear", f"blocks.{i}.{part}") for i in (0, 1) for part in ("inner", "outer")]),
    (3, []),
]  # fmt: skip


@pytest.mark.parametrize(("depth", "expected"), DEPTHS)
def test_depth_of_calls(depth: int, expected: list[tuple[str, str]]) -> None:
    drawn = visualize.diagram(residual(2), depth=depth)
    assert [(title, path) for title, path, _ in titles(drawn)] == expected


def test_a_fold_is_opened_by_its_path() -> None:
    root = moons(1)
    closed = visualize.diagram(root, depth=0)
    assert ("MLP", "MLP", 1) in titles(closed)
    drawn = visualize.diagram(root, depth=0, open=["layers.0.neurons.3"])
    names = [node.name for node in drawn.nodes]
    assert "layers.0.neurons.3.w.1" in names
    assert {("Neuron", "layers.0.neurons", 15), ("Layer", "layers.1", 1)} <= set(titles(drawn))
    require_sound(root, drawn, 150)


def test_one_of_many_samples_parts_is_set_apart() -> None:
    root = moons(30)
    drawn = visualize.diagram(root, open=["layers.0.neurons.3"])
    assert ("dot", "layers.0.neurons.dot", 15 * 30) in titles(drawn)
    assert ("dot", "layers.0.neurons.3.dot", 30) in titles(drawn)
    require_sound(root, drawn, 150)


@pytest.mark.parametrize("path", ["blocks.7", "blocks.7.inner"])
def test_one_of_a_series_is_set_apart(path: str) -> None:
    root = residual()
    drawn = visualize.diagram(root, open=path)
    assert "blocks.7.inner.weight" in [node.name for node in drawn.nodes] or ("Linear", "blocks.7.inner", 1) in titles(
        drawn
    )
    assert [times for title, _, times in titles(drawn) if title == "Block"][:2] == [7, 12]
    require_sound(root, drawn, 150)


def two_loops() -> Any:
    y = cr.Value(0.5, name="x")
    for _ in range(12):
        y = cr.tanh(y) * 0.9
    for _ in range(12):
        y = cr.sin(y) + 0.1
    return y


def test_steps_of_two_loops_are_told_apart() -> None:
    drawn = visualize.diagram(two_loops(), max_nodes=6)
    assert [path for _, path, _ in titles(drawn)] == ["step[0]", "step[…]", "step#2[0]", "step#2[…]"]
    inner = visualize.diagram(two_loops(), open=["step#2[3]"])
    assert [times for _, _, times in titles(inner)] == [11, 3, 8]


def test_folds_without_modules_are_opened_by_the_paths_they_show() -> None:
    root = built([(random.Random(i).randrange(5), i * i % 7, i * i % 29) for i in range(2000)])
    drawn = visualize.diagram(root)
    path = next(path for title, path, _ in titles(drawn) if title.startswith("part 2 "))
    inner = visualize.diagram(root, open=[path])
    assert path not in [name for _, name, _ in titles(inner)]
    assert len(inner.nodes) > len(drawn.nodes)
    require_sound(root, inner, 150)


def test_what_a_fold_holds() -> None:
    root = residual(2)
    root.backward()
    fold = visualize.diagram(root, depth=0).nodes[1].fold
    assert fold is not None
    assert (fold.nodes, fold.parameters) == (19, 4 * 3 + 4 + 2 * 2 * (16 + 4))
    assert dict(fold.operations) == {"linear": 5, "relu": 2, "add": 2}
    parameters = [node for node in ancestry(root) if not node.args and node.name != "x"]
    assert fold.grad_norm == pytest.approx(np.sqrt(sum((p.grad**2).sum() for p in parameters)))


def test_nan_inside_is_seen_from_outside() -> None:
    x = cr.Value(0.0, name="x")
    y = x
    for i in range(300):
        y = cr.tanh(y) if i != 150 else cr.where(True, y, y * cr.log(x - 1.0))
    y.backward()
    drawn = visualize.diagram(y, max_nodes=3)
    assert drawn.nodes[drawn.root - 1].data.finite
    assert sum(node.fold.not_finite for node in drawn.nodes if node.fold) >= 2
    assert "NaN or infinite" in str(drawn)
    assert "NaN or infinite" in visualize.draw(y, max_nodes=3).source


def test_a_gradient_is_old_after_a_change() -> None:
    model = cr.nn.scalar.MLP(2, [16, 1], fused=False, rng=0)
    loss = model([1.0, -1.0])
    loss.backward()
    assert not any(node.old_grad or node.changed for node in visualize.diagram(loss, depth=0).nodes)
    for parameter in model.parameters():
        parameter.data -= 0.1 * parameter.grad
    for options in ({"depth": 0}, {"max_nodes": None}):
        drawn = visualize.diagram(loss, **options)  # type: ignore[arg-type]
        assert any(node.changed for node in drawn.nodes)
        assert "(changed since)" in str(drawn)


def test_a_fold_has_the_worst_verdict_inside() -> None:
    root = cr.nn.scalar.MLP(2, [3, 1], activation="tanh", fused=False, rng=0)([0.5, -0.5])
    drawn = visualize.diagram(root, depth=0, check=cr.check(root))
    assert [node.verdict for node in drawn.nodes] == ["right"]


# Names


def named(root: Any, **options: Any) -> list[str]:
    return [node.name for node in visualize.diagram(root, **options).nodes]


def test_parameters_are_called_by_their_paths() -> None:
    assert named(cr.nn.MLP([3, 2], rng=0)(inputs()).sum())[:2] == ["0.weight", "0.bias"]
    assert named(cr.nn.scalar.Layer(2, 2, fused=False, rng=0)([1.0, 2.0])[1])[:3] == [
        "neurons.1.w.0", "neurons.1.w.1", "neurons.1.b",
    ]  # fmt: skip


def test_a_name_that_was_given_stands_unless_its_path_says_more() -> None:
    model = cr.nn.MLP([3, 2], rng=0)
    model[0].weight.name, model[0].bias.name = "mine", "bias"
    assert named(model(inputs()).sum())[:2] == ["mine", "0.bias"]
    neuron = cr.nn.scalar.Neuron(2, rng=0)
    assert named(neuron([1.0, 2.0]))[:2] == ["w0", "w1"]


def test_names_of_variables() -> None:
    X, model, given = inputs(), cr.nn.MLP([3, 2], rng=0), cr.Value(2.0, name="own")
    weights = {"a": cr.Value(1.0), "b": [cr.Value(2.0)]}
    y = model(X).sum() * given * weights["a"] * weights["b"][0]
    _hidden = loss = y * 1.0
    assert set(named(loss, names=locals())) - {""} == {
        "X", "model.0.weight", "model.0.bias", "own", "weights['a']", "weights['b'][0]", "y", "loss",
    }  # fmt: skip


def test_names_may_hold_themselves_and_anything_else() -> None:
    x = cr.Value(1.0)
    knot: list[Any] = [x]
    knot.append(knot)
    assert named(x * x, names={"knot": knot, "cr": cr, "module": cr.nn.Module, "n": 3, "_x": x}) == ["knot[0]", ""]


def test_a_module_has_the_name_of_its_variable() -> None:
    model = Residual(2)
    root = model(inputs()).sum()
    assert [path for _, path, _ in titles(visualize.diagram(root, depth=0, names={"net": model}))] == ["net"]


REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"open": ["layers.7"]}, ValueError, "no 'layers.7' to open here; there is 'MLP', 'layers.0'"),
    ({"open": [3]}, TypeError, "open must hold names of folds, such as 'layers.0', got 3"),
    ({"depth": -1}, ValueError, "depth must be an integer from 0"),
    ({"depth": 1.5}, ValueError, "got 1.5"),
    ({"max_nodes": 0}, ValueError, "max_nodes must be a positive integer"),
    ({"names": ["x"]}, TypeError, "names must be a mapping .* got list"),
    ({"names": {1: cr.Value(1.0)}}, TypeError, "the keys of names must be strings, as in {'x': x}; got 1"),
    ({"open": ["layers.0"], "max_nodes": 1}, ValueError, "no room to open 'layers.0'; raise max_nodes=1"),
    ({"fold": False, "max_nodes": 9}, ValueError, "the limit is 9"),
]


@pytest.mark.parametrize(("options", "error", "message"), REFUSED)
def test_bad_input(options: dict[str, Any], error: type[Exception], message: str) -> None:
    root = cr.nn.scalar.MLP(2, [4, 1], fused=False, rng=0)([1.0, 2.0])
    with pytest.raises(error, match=message):
        visualize.diagram(root, **options)


@pytest.mark.parametrize("most", [1, 2])
@pytest.mark.parametrize("name", ["moons", "residual", "chain"])
def test_what_is_asked_for_is_opened_or_refused(name: str, most: int) -> None:
    with pytest.raises(ValueError, match=f"no room to open 'blocks.7'; raise max_nodes={most}"):
        visualize.diagram(GRAPHS[name](), max_nodes=most, open="blocks.7")


# Pictures


@pytest.mark.parametrize("name", ["moons", "residual", "recurrent"])
@pytest.mark.parametrize("direction", ["LR", "TB"])
def test_folded_drawings_are_pictures(name: str, direction: str, tmp_path: Any) -> None:
    picture = visualize.render(GRAPHS[name](), tmp_path / "graph.svg", direction=direction).read_text(encoding="utf-8")
    assert "× " in picture
    assert "values" in picture or name == "residual"


def test_folds_as_a_mermaid_flowchart() -> None:
    text = visualize.mermaid(residual())
    assert "<b>Block #215; 19 one after another" in text or "<b>Block × 19 one after another" in text
    assert text.count("-->") == len(visualize.diagram(residual()).edges) + text.count("((")


PRINTED = """
import test_fold as t
for name in ("moons", "moons, fused", "residual", "recurrent", "two results", "chain"):
    print(t.visualize.draw(t.GRAPHS[name]()).source)
"""


@pytest.mark.slow
def test_same_bytes_in_every_process() -> None:
    assert len({printed_by(PRINTED, Path(__file__).parent, seed) for seed in ("1", "2")}) == 1


def samples(count: int) -> Any:
    """A loss summed over samples, each a number by itself."""
    model = cr.nn.scalar.MLP(2, [4, 1], fused=False)
    return sum(((model([0.1 * i, -0.3]) - 1.0) ** 2 for i in range(count)), cr.Value(0.0))


@pytest.mark.parametrize("count", [8, 50, 200])
def test_a_sum_over_samples_folds_like_the_samples_themselves(count: int) -> None:
    drawn = visualize.diagram(samples(count))
    assert len(drawn.nodes) < 12
    assert [node.fold.title for node in drawn.nodes if node.fold and node.fold.serial] == ["add"]
    assert {node.fold.times for node in drawn.nodes if node.fold and node.fold.title in ("sub", "pow")} == {count}


def net_with_a_wrong_rule() -> Any:
    sine = cr.custom("crooked", np.sin, lambda g, y, x: g * np.cos(x) * 1.01)
    x = cr.Value(0.7, name="x")
    for _ in range(100):
        x = sine(x) * 1.5
    return x


@pytest.mark.parametrize("options", [{}, {"max_nodes": 5}, {"depth": 0}], ids=str)
def test_a_wrong_rule_inside_a_fold_is_named_outside(options: dict[str, Any]) -> None:
    root = net_with_a_wrong_rule()
    root.backward()
    report = cr.check(root)
    drawn = visualize.diagram(root, check=report, **options)
    accused = [node for node in drawn.nodes if node.fold is not None and node.wrong]
    assert accused
    assert all("crooked" in node.finding for node in accused)
    assert sum(len(node.wrong) for node in drawn.nodes) == 100
    source = visualize.draw(root, check=report, **options).source
    assert "WRONG inside" in source or "crooked is WRONG" in source
    assert "wrong operation: 100" in source
