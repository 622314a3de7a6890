"""Networks of single numbers: call shapes, the fused form against the neuron by neuron one, and its freshness."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import chainrule as cr

scalar = cr.nn.scalar
POINT = [0.7, -1.2, 0.4]


def as_list(y: Any) -> list[Any]:
    return y if isinstance(y, list) else [y]


def numbers(y: Any) -> list[float]:
    return [v.data for v in as_list(y)]


def grads(model: Any, x: Any = POINT) -> list[Any]:
    """The gradients of all parameters for a weighted sum of the outputs."""
    model.zero_grad()
    total = sum((i + 1.0) * y for i, y in enumerate(as_list(model(x))))
    total.backward()
    return [p.grad for p in model.parameters()]


def twins(sizes: list[int], activation: str = "tanh") -> tuple[Any, Any]:
    """The same network twice, fused and neuron by neuron."""
    fused = scalar.MLP(3, sizes, activation=activation, rng=0)
    apart = scalar.MLP(3, sizes, activation=activation, rng=0, fused=False)
    for p, q in zip(fused.parameters(), apart.parameters(), strict=True):
        p.data = q.data = q.data + 0.01
    return fused, apart


# Shapes and order


def test_a_neuron_is_an_activated_dot_product() -> None:
    neuron = scalar.Neuron(2, activation="tanh", rng=0)
    neuron.b.data = 0.3
    w0, w1 = (w.data for w in neuron.w)
    y = neuron([2.0, -1.0])
    assert isinstance(y, cr.Value)
    assert y.data == pytest.approx(math.tanh(2.0 * w0 - w1 + 0.3), rel=1e-15)
    y.backward()
    slope = 1.0 - y.data**2
    assert_allclose([p.grad for p in neuron.parameters()], [2.0 * slope, -slope, slope], rtol=1e-14)
    assert scalar.Neuron(2, rng=0)([0.0, 0.0]).data == 0.0
    assert scalar.Neuron(2, nonlin=False, rng=0)([-1.0, 0.0]).data == -w0


@pytest.mark.parametrize(
    ("module", "outputs"),
    [
        (scalar.Neuron(3), None), (scalar.Layer(3, 1), None), (scalar.Layer(3, 4), 4), (scalar.Layer(3, 4, fused=False), 4),
        (scalar.MLP(3, [1]), None), (scalar.MLP(3, [5, 1]), None), (scalar.MLP(3, [1, 2]), 2), (scalar.MLP(3, [1, 1]), None),
        (scalar.MLP(3, [5, 1], fused=False), None), (scalar.MLP(3, [1, 2], fused=False), 2),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "x",
    [
        POINT,
        tuple(POINT),
        np.array(POINT),
        [1, 2, 3],
        [cr.Value(v) for v in POINT],
        [cr.Value(1.0), 2.0, 3],
        [np.float32(1)] * 3,
    ],
    ids=["list", "tuple", "array", "integers", "values", "mixed", "NumPy scalars"],
)
def test_call_shapes(module: Any, outputs: int | None, x: Any) -> None:
    y = module(x)
    assert isinstance(y, cr.Value) if outputs is None else len(y) == outputs
    for v in as_list(y):
        assert isinstance(v, cr.Value)
        assert type(v.data) is float


def test_parameters_come_neuron_by_neuron_weights_then_bias() -> None:
    model = scalar.MLP(2, [2, 1])
    names = [name for name, _ in model.named_parameters()]
    assert names == [
        "layers.0.neurons.0.w.0", "layers.0.neurons.0.w.1", "layers.0.neurons.0.b",
        "layers.0.neurons.1.w.0", "layers.0.neurons.1.w.1", "layers.0.neurons.1.b",
        "layers.1.neurons.0.w.0", "layers.1.neurons.0.w.1", "layers.1.neurons.0.b",
    ]  # fmt: skip
    model([1.0, 2.0])
    assert [name for name, _ in model.named_parameters()] == names
    assert all(p.data == 0.0 for name, p in model.named_parameters() if name.endswith("b"))
    assert all(-1.0 <= p.data <= 1.0 for p in model.parameters())
    assert len(scalar.MLP(2, [16, 16, 1]).parameters()) == 337


def test_the_same_seed_gives_the_same_weights() -> None:
    a, b, c = (scalar.MLP(2, [3, 1], rng=seed).state_dict() for seed in (0, 0, 1))
    assert a == b
    assert a != c


def test_the_last_layer_has_no_activation() -> None:
    model = scalar.MLP(1, [1], rng=0)
    w = model.parameters()[0].data
    assert model([-math.copysign(3.0, w)]).data == -abs(3.0 * w)
    assert repr(model) == "MLP of [Layer of [IdentityNeuron(1)]]"
    assert repr(scalar.MLP(2, [2, 1])) == (
        "MLP of [Layer of [ReLUNeuron(2), ReLUNeuron(2)], Layer of [IdentityNeuron(2)]]"
    )


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("x", [[], [1.0], [1.0, 2.0, 3.0, 4.0]])
def test_a_wrong_number_of_inputs(fused: bool, x: Any) -> None:
    for module in (scalar.Neuron(3), scalar.Layer(3, 2, fused=fused), scalar.MLP(3, [2, 1], fused=fused)):
        with pytest.raises(ValueError, match=f"expected 3 inputs, got {len(x)}"):
            module(x)


def test_an_unknown_activation() -> None:
    with pytest.raises(ValueError, match="no activation is called 'max'; there are"):
        scalar.MLP(2, [2, 1], activation="max")


# Fused and apart


@pytest.mark.parametrize("sizes", [[1], [4], [4, 1], [4, 3], [1, 4], [5, 4, 1]], ids=str)
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_fused_and_apart_agree_in_values_and_gradients(sizes: list[int], activation: str) -> None:
    fused, apart = twins(sizes, activation)
    for x in np.random.default_rng(0).normal(size=(4, 3)).tolist():
        assert_allclose(numbers(fused(x)), numbers(apart(x)), rtol=1e-13, atol=1e-15)
        assert_allclose(grads(fused, x), grads(apart, x), rtol=1e-12, atol=1e-15)


def test_fused_and_apart_agree_in_gradients_of_inputs_and_second_order() -> None:
    fused, apart = twins([4, 1])
    found = []
    for model in (fused, apart):
        x = [cr.Value(v) for v in POINT]
        slopes = cr.gradients(model(x), x, create_graph=True)
        penalty = sum(g * g for g in slopes)
        found.append([*[g.data for g in slopes], *cr.gradients(penalty, model.parameters())])
    assert_allclose(found[0], found[1], rtol=1e-11, atol=1e-14)


def test_the_fused_graph_is_small_and_shared_between_samples() -> None:
    model = scalar.MLP(3, [16, 16, 1], rng=0)

    def births() -> int:
        return cr.Value(0.0).birth

    model(POINT)
    start = births()
    model(POINT)
    assert births() - start < 30


# Freshness of what the fused form keeps


def after_data(model: Any) -> None:
    for i, p in enumerate(model.parameters()):
        p.data = p.data + 0.01 * i


def after_step(model: Any) -> None:
    grads(model)
    cr.nn.SGD(model.parameters(), lr=0.1, momentum=0.5).step()


def after_loading(model: Any) -> None:
    model.load_state_dict({name: x - 0.25 for name, x in model.state_dict().items()})


def after_one_bias(model: Any) -> None:
    model.layers[0].neurons[1].b.data = 0.75


def after_a_new_value(model: Any) -> None:
    neuron = model.layers[0].neurons[0]
    neuron.w = (cr.Value(0.5), *neuron.w[1:])


def after_an_equal_value(model: Any) -> None:
    neuron = model.layers[0].neurons[0]
    neuron.w = (cr.Value(neuron.w[0].data), *neuron.w[1:])


def after_a_neuron_less(model: Any) -> None:
    model.layers[0].neurons.pop()
    for neuron in model.layers[1].neurons:
        neuron.w = neuron.w[:-1]


def after_no_grad(model: Any) -> None:
    after_data(model)
    with cr.no_grad():
        model(POINT)


CHANGES: dict[str, Callable[[Any], None]] = {
    f.__name__: f
    for f in (
        after_data, after_step, after_loading, after_one_bias, after_a_new_value, after_an_equal_value,
        after_a_neuron_less, after_no_grad,
    )
}  # fmt: skip


@pytest.mark.parametrize("called", ["never", "once", "under no_grad"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_fused_form_follows_every_change(called: str, change: str) -> None:
    fused, apart = twins([4, 3, 2])
    for model in (fused, apart):
        if called == "once":
            model(POINT)
        elif called == "under no_grad":
            with cr.no_grad():
                model(POINT)
        CHANGES[change](model)
    assert [n for n, _ in fused.named_parameters()] == [n for n, _ in apart.named_parameters()]
    assert_allclose(numbers(fused(POINT)), numbers(apart(POINT)), rtol=1e-13)
    assert_allclose(grads(fused), grads(apart), rtol=1e-12, atol=1e-15)
    assert all(p.grad is not None for p in fused.parameters())


def test_a_value_shared_from_before_takes_part_at_once() -> None:
    shared = cr.Value(0.25)  # older than the network, and equal to what it replaces
    fused, apart = twins([4, 2])
    found = []
    for model in (fused, apart):
        model.layers[0].neurons[2].w[1].data = 0.25
        model(POINT)
        neuron = model.layers[0].neurons[2]
        neuron.w = (neuron.w[0], shared, *neuron.w[2:])
        shared.grad = None
        assert shared in {p for p in model.parameters() if p is shared}
        grads(model)
        found.append(shared.grad)
    assert found[0] is not None
    assert found[0] == pytest.approx(found[1], rel=1e-12)


def test_first_under_no_grad_then_outside() -> None:
    fused, apart = twins([4, 3, 1])
    with cr.no_grad():
        y = fused(POINT)
    assert y.args == ()
    assert_allclose(grads(fused), grads(apart), rtol=1e-12, atol=1e-15)
    with cr.no_grad():
        assert fused(POINT).args == ()
        assert all(v.args == () for v in fused.layers[0](POINT))
    assert_allclose(grads(fused), grads(apart), rtol=1e-12, atol=1e-15)


def test_a_change_after_the_forward_is_an_error() -> None:
    fused, apart = twins([4, 1])
    for model in (fused, apart):
        y = model(POINT)
        model.parameters()[3].data += 1.0
        with pytest.raises(RuntimeError, match="was changed after"):
            y.backward()
        assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("fused", [True, False])
def test_a_network_that_was_called_can_be_copied_and_pickled(again: Any, fused: bool) -> None:
    model = scalar.MLP(3, [4, 2], activation="tanh", rng=0, fused=fused)
    model(POINT)
    new = again(model)
    assert numbers(new(POINT)) == numbers(model(POINT))
    assert_allclose(grads(new), grads(model))
    new.parameters()[0].data += 1.0
    assert numbers(new(POINT)) != numbers(model(POINT))
    assert repr(new) == repr(model)


def test_training_separates_two_classes() -> None:
    model = scalar.MLP(2, [8, 1], activation="tanh", rng=0)
    points = [[0.0, 0.0], [1.0, 1.0], [0.0, 1.0], [1.0, 0.0]]
    labels = [-1, -1, 1, 1]
    optimizer = cr.nn.Adam(model.parameters(), lr=0.05)
    for _ in range(120):
        optimizer.zero_grad()
        loss = cr.nn.hinge_loss([model(x) for x in points], labels)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05


# Unrolled


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", "linear"])
@pytest.mark.parametrize("sizes", [[3, 1], [3, 4, 2], [3, 1, 2], [3, 5, 4, 1]], ids=str)
def test_the_unrolled_twin_computes_the_same(activation: str, sizes: list[int]) -> None:
    mlp = cr.nn.MLP(sizes, activation, rng=0)
    for p in mlp.parameters():
        p.data = p.data + 0.05
    twin = scalar.unroll(mlp)
    x = np.random.default_rng(1).normal(size=(6, 3))
    batch = mlp(x)
    for row, expected in zip(x, batch.data, strict=True):
        assert_allclose(numbers(twin(row.tolist())), expected, rtol=1e-12, atol=1e-14)
        assert_allclose(numbers(twin(row)), expected, rtol=1e-12, atol=1e-14)
    single = mlp(x[0])
    single.backward(np.arange(1.0, sizes[-1] + 1.0))
    grads(twin, x[0].tolist())
    by_name = {p.name: p.grad or 0.0 for p in twin.parameters()}
    for name, p in mlp.named_parameters():
        for index in np.ndindex(p.shape):
            assert by_name[f"{name}[{','.join(map(str, index))}]"] == pytest.approx(p.grad[index], rel=1e-11, abs=1e-13)


def test_a_model_that_was_trained_can_be_unrolled() -> None:
    mlp = cr.nn.MLP([2, 3, 1], rng=0)
    expected = scalar.unroll(mlp)([1.0, 2.0]).data
    assert scalar.unroll(mlp.train())([1.0, 2.0]).data == scalar.unroll(mlp.eval())([1.0, 2.0]).data == expected


def test_unrolled_without_bias_and_what_cannot_be_unrolled() -> None:
    linear = cr.nn.Linear(2, 2, bias=False, rng=0)
    twin = scalar.unroll(cr.nn.Sequential(linear, cr.nn.Tanh()))
    assert_allclose(numbers(twin([1.0, 2.0])), np.tanh(linear.weight.data @ [1.0, 2.0]))
    with pytest.raises(
        TypeError, match="unroll: expected Linear layers, each followed by at most one activation, got 1: "
    ):
        scalar.unroll(cr.nn.Sequential(linear, cr.tanh))
    with pytest.raises(TypeError, match="unroll: expected Linear layers"):
        scalar.unroll(cr.nn.Sequential(cr.nn.Tanh(), linear))


def outputs(y: Any) -> list[Any]:
    return y if isinstance(y, list) else [y]


def test_a_fused_network_is_checked_as_what_it_is() -> None:
    """Numeric derivatives change the weights under the network's feet: its stacked form must follow."""
    for sizes in ([3, 1], [1], [2, 2]):
        model = scalar.MLP(2, sizes, activation="tanh", rng=0)
        assert cr.gradcheck(lambda m=model: cr.stack(outputs(m([1.0, 2.0]))), parameters=model.parameters())


def test_neurons_with_activations_of_their_own_are_computed_apart() -> None:
    class Gain(cr.nn.Activation):
        def __init__(self, k: float) -> None:
            self.k = k

        def function(self, x: Any) -> Any:
            return x * self.k

    layer = scalar.Layer(1, 2, rng=0)
    for neuron, k in zip(layer.neurons, (1.0, 100.0), strict=True):
        neuron.activation = Gain(k)
    assert_allclose(numbers(layer([1.0])), [neuron([1.0]).data for neuron in layer.neurons])


def test_unroll_refuses_two_activations_in_a_row() -> None:
    with pytest.raises(TypeError, match="at most one activation, got 2: "):
        scalar.unroll(cr.nn.Sequential(cr.nn.Linear(1, 1), cr.nn.Tanh(), cr.nn.Sigmoid()))
