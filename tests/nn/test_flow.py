"""Gradient flow, dead units and unused parameters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr

X = np.random.default_rng(0).normal(size=(32, 8))
Y = np.random.default_rng(1).integers(0, 3, 32)


def trained(depth: int, activation: str, scale: float = 1.0) -> Any:
    """A network after one backward pass."""
    model = cr.nn.MLP([8, *[16] * depth, 3], activation=activation, rng=0)
    (scale * cr.nn.cross_entropy(model(X), Y)).backward()
    return model


def test_the_numbers_are_those_of_the_gradients() -> None:
    model = trained(1, "relu")
    flow = cr.nn.gradient_flow(model)
    assert [row.name for row in flow] == [name for name, _ in model.named_parameters()]
    for row, p in zip(flow, model.parameters(), strict=True):
        assert row.size == p.grad.size
        assert row.norm == pytest.approx(np.linalg.norm(p.grad))
        assert row.rms == pytest.approx(np.sqrt(np.mean(p.grad**2)))
        assert row.largest == np.max(np.abs(p.grad))
        assert row.zeros == np.mean(p.grad == 0.0)
        own = np.linalg.norm(p.data)
        assert row.ratio == (pytest.approx(row.norm / own) if own else None)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 100.0])
def test_gradients_that_vanish_are_said_to_at_any_scale_of_the_loss(scale: float) -> None:
    verdicts = [row.verdict for row in cr.nn.gradient_flow(trained(12, "sigmoid", scale))]
    assert verdicts[0] == "vanishing"
    assert verdicts[-1] == ""
    assert verdicts == sorted(verdicts, reverse=True)  # from some layer on all is well
    assert {row.verdict for row in cr.nn.gradient_flow(trained(3, "relu", scale))} == {""}


def test_gradients_that_explode_are_said_to() -> None:
    x = cr.Value(1e-3, name="x")
    (x * 2.0).backward()
    assert cr.nn.gradient_flow([x])["x"].verdict == "exploding"  # 2000 times as large as x
    a, b = cr.Tensor([[1e9]], name="a"), cr.Tensor([[1e3]], name="b")
    a.grad, b.grad = np.array([[1e6]]), np.array([[1.0]])
    assert [row.verdict for row in cr.nn.gradient_flow([a, b])] == ["exploding", ""]
    a.grad = np.array([[1e3]])
    assert [row.verdict for row in cr.nn.gradient_flow([a, b])] == ["", ""]


def test_what_is_dead_missing_or_not_finite_is_said_to_be() -> None:
    dead, missing, bad, empty = (cr.Tensor(x, name=n) for n, x in zip("dmbe", ([1.0], [1.0], [1.0], []), strict=True))
    dead.grad, bad.grad, empty.grad = np.zeros(1), np.array([np.nan]), np.zeros(0)
    flow = cr.nn.gradient_flow([dead, missing, bad, empty])
    assert [row.verdict for row in flow] == ["dead", "no gradient", "not finite", ""]
    assert "no gradient" in str(flow)
    assert flow["m"].norm is None


def test_by_layer_the_parameters_of_a_module_count_together() -> None:
    model = trained(1, "relu")
    flow = cr.nn.gradient_flow(model, by="layer")
    assert [row.name for row in flow] == ["0", "2"]
    both = np.concatenate([model[0].weight.grad.ravel(), model[0].bias.grad])
    assert flow["0"].norm == pytest.approx(np.linalg.norm(both))
    assert flow["0"].size == both.size
    net = cr.nn.scalar.MLP(2, [3, 1], rng=0)
    net([1.0, 2.0]).backward()
    assert [row.name for row in cr.nn.gradient_flow(net, by="layer")] == [
        "layers.0.neurons.0", "layers.0.neurons.1", "layers.0.neurons.2", "layers.1.neurons.0"
    ]  # fmt: skip
    linear = cr.nn.Linear(2, 1, rng=0)
    assert [row.name for row in cr.nn.gradient_flow(linear, by="layer")] == ["model"]


def test_large_and_small_numbers_do_not_overflow() -> None:
    x = cr.Tensor([1e200, 1e200], name="x")
    x.grad = np.array([3e200, 4e200])
    row = cr.nn.gradient_flow([x])["x"]
    assert row.norm == pytest.approx(5e200)
    assert row.verdict == ""


def test_it_is_data_and_a_table() -> None:
    flow = cr.nn.gradient_flow(trained(1, "relu"))
    assert len(json.loads(json.dumps(flow.to_dict()))["rows"]) == len(flow) == 4
    heading, *rows = str(flow).splitlines()
    assert heading.split()[:3] == ["name", "size", "norm"]
    assert len(rows) == 4
    with pytest.raises(KeyError):
        flow["no such row"]


def test_the_plot_shows_every_row_on_a_logarithmic_scale(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    model = trained(6, "sigmoid")
    model.spare = cr.Tensor([1.0])
    flow = cr.nn.gradient_flow(model)
    figure = flow.plot()
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    assert [label.get_text() for label in axes.get_xticklabels()] == [row.name for row in flow]
    figure.savefig(tmp_path / "flow.png")
    assert (tmp_path / "flow.png").stat().st_size > 1000
    nothing = cr.nn.gradient_flow([cr.Tensor([1.0])]).plot()  # no gradient at all
    nothing.savefig(tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="no parameter"):
        cr.nn.gradient_flow([]).plot()


BAD: list[tuple[Any, dict[str, Any], type[Exception], str]] = [
    (3.0, {}, TypeError, "a Module, a dict or a list"),
    (cr.Tensor([1.0]), {}, TypeError, "a Module, a dict or a list"),
    ([1.0], {}, TypeError, "must be a Value or a Tensor"),
    ([], {"by": "row"}, ValueError, "by must be"),
    ([], {"by": "layer"}, TypeError, "only a Module has layers"),
]


@pytest.mark.parametrize(("parameters", "options", "kind", "message"), BAD)
def test_bad_input(parameters: Any, options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        cr.nn.gradient_flow(parameters, **options)


def test_dead_units_are_those_that_no_sample_wakes() -> None:
    model = cr.nn.MLP([8, 6, 5, 3], rng=0)
    model[0].bias.data = np.array([0.0, -1e3, 0.0, -1e3, 0.0, 0.0])
    report = cr.nn.dead_units(model, X)
    first, second = report
    assert (first.after, first.units, first.dead, first.share) == ("0", 6, (1, 3), 2 / 6)
    assert (second.after, second.units) == ("2", 5)
    alive = np.maximum(model[2](np.maximum(model[0](X).data, 0.0)).data, 0.0).any(axis=0)
    assert second.dead == tuple(np.flatnonzero(~alive))
    assert str(report).splitlines()[1].split() == ["0", "6", "2", "33.3", "%"]
    assert json.loads(json.dumps(report.to_dict()))["rows"][0]["dead"] == [1, 3]


def test_dead_units_run_the_model_as_in_use_and_leave_it_as_it_was() -> None:
    model = cr.nn.MLP([8, 6, 3], dropout=0.5, batch_norm=True, rng=0)
    before = {name: x.copy() for name, x in model.state_dict().items()}
    with cr.no_grad():
        assert len(cr.nn.dead_units(model, X)) == 1
    assert model.training
    assert all(np.array_equal(before[name], x) for name, x in model.state_dict().items())
    with pytest.raises(TypeError, match="must return one Tensor"):
        cr.nn.dead_units(cr.nn.scalar.MLP(2, [3, 2], rng=0), [1.0, 2.0])


def test_unused_names_what_the_loss_does_not_reach() -> None:
    model = cr.nn.MLP([8, 4, 3], rng=0)
    loss = cr.nn.cross_entropy(model(X), Y)
    assert cr.unused(model, loss) == []
    model.spare = cr.Tensor([1.0])
    model.extra = {"head": cr.nn.Linear(2, 2, rng=0)}
    assert cr.unused(model, loss) == ["spare", "extra.head.weight", "extra.head.bias"]
    assert cr.unused(dict(model.named_parameters()), loss) == cr.unused(model, loss)
    with pytest.warns(UserWarning, match=r"reaches a Tensor of shape \(32, 3\) that the model does not list"):
        cut = cr.unused(model, cr.nn.cross_entropy(cr.Tensor(model(X).data), Y))
    assert cut[:4] == ["0.weight", "0.bias", "2.weight", "2.bias"]


def test_unused_follows_derivatives_and_not_mere_computation() -> None:
    a, b, c = (cr.Tensor([1.0, 2.0], name=n) for n in "abc")
    loss = (cr.where(a, b, 0.0) + cr.floor(c)).sum()
    assert cr.unused([a, b, c], loss) == ["a"]  # a condition has no derivative, floor has 0
    assert cr.unused([a, cr.Value(1.0), cr.Value(2.0, name="v")], b.sum() * 2.0) == ["a", "[1]", "v"]
    assert cr.unused([a], a) == []
    with cr.no_grad():
        assert cr.unused([a], a.sum()) == ["a"]


def test_unused_needs_no_gradient_and_survives_an_update() -> None:
    x = cr.Value(1.0, name="x")
    y = x * 2.0
    x.data = 5.0
    assert cr.unused([x], y) == []
    assert x.grad is None


def test_unused_on_a_long_chain() -> None:
    x, z = cr.Value(1.0, name="x"), cr.Value(1.0, name="z")
    y = x
    for _ in range(100_000):
        y = y + 1.0
    assert cr.unused([x, z], y) == ["z"]


@pytest.mark.parametrize(("parameters", "loss"), [([1.0], cr.Value(1.0)), (7, cr.Value(1.0)), ([cr.Value(1.0)], 2.0)])
def test_unused_says_what_it_cannot_take(parameters: Any, loss: Any) -> None:
    with pytest.raises(TypeError, match=r"^unused: "):
        cr.unused(parameters, loss)


HEAD = cr.nn.Linear(4, 1, rng=0)


class Elsewhere(cr.nn.Module):
    """A model that uses a layer of the whole program."""

    def __init__(self) -> None:
        self.body = cr.nn.Linear(3, 4, rng=1)

    def forward(self, x: Any) -> Any:
        return cr.sum(HEAD(cr.tanh(self.body(x))))


def test_unused_names_leaves_that_the_model_does_not_list() -> None:
    model, x = Elsewhere(), np.ones((2, 3))
    with pytest.warns(
        UserWarning, match=r"unused: the loss reaches a Tensor of shape \(1, 4\) and 1 leaves more that the model"
    ):
        assert cr.unused(model, model(x)) == []
    with pytest.warns(UserWarning, match=r"reaches a Value 'scale' that the model does not list"):
        cr.unused(model, cr.Value(2.0, name="scale") * cr.sum(model.body(x)))
    cr.unused(model, cr.sum(model.body(x)))
    cr.unused(model.parameters(), model(x))
