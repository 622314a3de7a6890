"""Modules, layers and losses: structure, state, shapes, and agreement with PyTorch and with hand-made numbers."""

from __future__ import annotations

import copy
import math
import pickle
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from interrupts import at_every_line
from kinds import require_cases
from numpy.testing import assert_allclose, assert_array_equal
from reference import directional

import chainrule as cr

RNG = np.random.default_rng(0)
X = RNG.normal(size=(5, 3))
LABELS = np.array([0, 2, 1, 1, 3])
LOGITS = RNG.normal(size=(5, 4))


# Modules


class Block(cr.nn.Module):
    def __init__(self, rng: int) -> None:
        self.linear = cr.nn.Linear(2, 2, rng=rng)
        self.gain = cr.Value(1.0)
        self.size = 2

    def forward(self, x: Any) -> Any:
        return self.linear(x) * self.gain


class Model(cr.nn.Module):
    """Parameters in every place where they are looked for, one of them twice, among things that are none."""

    def __init__(self) -> None:
        self.first = Block(0)
        self.blocks = [Block(1), Block(2)]
        self.heads = {"mean": cr.Tensor([1.0, 2.0]), "deep": [(cr.Value(3.0), "text")]}
        self.shared = self.first.linear
        self.alias = self.heads["mean"]
        self.constant = np.ones(3)
        self.none = None

    def forward(self, x: Any) -> Any:
        for block in [self.first, *self.blocks]:
            x = block(x)
        return self.shared(x) * self.heads["mean"] + self.heads["deep"][0][0]


NAMES = [
    "first.linear.weight", "first.linear.bias", "first.gain",
    "blocks.0.linear.weight", "blocks.0.linear.bias", "blocks.0.gain",
    "blocks.1.linear.weight", "blocks.1.linear.bias", "blocks.1.gain",
    "heads.mean", "heads.deep.0.0",
]  # fmt: skip


def test_parameters_are_found_by_structure_each_once() -> None:
    model = Model()
    assert [name for name, _ in model.named_parameters()] == NAMES
    assert [p for _, p in model.named_parameters()] == model.parameters()
    assert len({id(p) for p in model.parameters()}) == len(NAMES)
    assert model.parameters()[-2] is model.alias


def test_a_module_that_contains_itself() -> None:
    block = Block(0)
    block.parent = [block]
    assert len(block.parameters()) == 3
    assert len(block.modules()) == 2


def test_parameters_added_and_replaced_later_are_seen() -> None:
    block = Block(0)
    block.extra = cr.Value(1.0)
    block.gain = cr.Value(5.0)
    assert dict(block.named_parameters())["gain"].data == 5.0
    assert len(block.parameters()) == 4
    del block.extra
    assert len(block.parameters()) == 3


def test_train_and_eval_reach_every_module() -> None:
    model = Model()
    assert all(m.training for m in model.modules())
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    model.train()
    assert all(m.training for m in model.modules())
    assert len(model.modules()) == 7


def test_zero_grad() -> None:
    model = Model()
    model(np.ones((1, 2))).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    model.zero_grad()
    assert all(p.grad is None for p in model.parameters())


def test_repr_is_a_tree() -> None:
    assert repr(cr.nn.MLP([4, 3, 2], "tanh", rng=0)) == (
        "MLP(4 → 3 → 2)\n  (0) Linear(4, 3)\n  (1) Tanh()\n  (2) Linear(3, 2)"
    )
    assert repr(Model()).splitlines() == [
        "Model()",
        "  (first) Block()",
        "    (linear) Linear(2, 2)",
        "  (blocks.0) Block()",
        "    (linear) Linear(2, 2)",
        "  (blocks.1) Block()",
        "    (linear) Linear(2, 2)",
        "  (shared) Linear(2, 2)",
    ]
    assert repr(cr.nn.Linear(3, 1, bias=False)) == "Linear(3, 1, bias=False)"


def test_a_module_without_forward_says_so() -> None:
    with pytest.raises(NotImplementedError, match=r"Module has no forward\(\); define one"):
        cr.nn.Module()(1.0)


class Averages(cr.nn.Module):
    """Parameters and buffers in turn, one buffer absent, among arrays that are no state."""

    buffers = ("count", "mean", "absent")

    def __init__(self) -> None:
        self.scale = cr.Tensor(np.ones(2))
        self.mean = np.zeros(2, np.float32)
        self.constant = np.ones(3)
        self.shift = cr.Value(0.0)
        self.count = np.zeros((), np.int64)
        self.absent = None


def nested() -> cr.nn.Module:
    model = cr.nn.Module()
    model.first = Averages()
    model.rest = [cr.Value(1.0), {"deep": Averages()}]
    model.again = model.first
    return model


def test_buffers_are_state_but_no_parameters() -> None:
    model = nested()
    own = ["scale", "mean", "shift", "count"]
    assert list(model.state_dict()) == [
        *(f"first.{name}" for name in own), "rest.0", *(f"rest.1.deep.{name}" for name in own),
    ]  # fmt: skip
    assert [name for name, _ in model.named_buffers()] == [
        "first.mean", "first.count", "rest.1.deep.mean", "rest.1.deep.count",
    ]  # fmt: skip
    assert dict(model.named_buffers())["first.mean"] is model.first.mean
    assert len(model.parameters()) == len(list(model.named_parameters())) == 5
    assert list(cr.nn.Linear(1, 1).named_buffers()) == []


def test_buffers_are_loaded_with_the_parameters() -> None:
    model, other = nested(), nested()
    model.first.mean[:] = 0.5
    model.rest[1]["deep"].count += 7
    state = model.state_dict()
    other.load_state_dict(state)
    assert_array_equal(other.first.mean, [0.5, 0.5])
    assert other.rest[1]["deep"].count == 7
    assert other.first.mean.dtype == np.float32
    assert other.rest[1]["deep"].count.dtype == np.int64
    state["first.mean"][:] = 9.0
    model.first.mean += 1.0
    assert_array_equal(other.first.mean, [0.5, 0.5])
    assert_array_equal(state["first.mean"], [9.0, 9.0])


def test_buffers_that_do_not_fit_are_not_loaded() -> None:
    for change, message in [
        ({"mean": np.ones(3)}, r"'mean' has shape \(3,\), expected \(2,\)"),
        ({"mean": [1e300, 0.0]}, "'mean' has numbers too large for float32"),
        ({"count": 1.5}, "'count' has numbers that int64 cannot hold"),
        ({"count": math.nan}, "'count' has numbers that int64 cannot hold"),
        ({"count": "one"}, "'count': expected a number"),
        ({"absent": np.ones(1)}, "unexpected 'absent'"),
    ]:
        module = Averages()
        before = module.state_dict()
        with pytest.raises(ValueError, match=f"nothing was loaded: {message}"):
            module.load_state_dict({name: x + 1 for name, x in before.items()} | change)
        for name, x in module.state_dict().items():
            assert_array_equal(x, before[name])
    module.mean = [1.0, 2.0]
    with pytest.raises(TypeError, match=r"'mean' is among the buffers of its module, and must be an array, got \[1"):
        module.state_dict()


def test_a_result_among_the_attributes_is_refused() -> None:
    model = nested()
    model.rest.append({"late": model.rest[0] * 2.0})
    for read in (model.parameters, model.state_dict, lambda: list(model.named_parameters()), model.zero_grad):
        with pytest.raises(TypeError, match=r"'rest.2.late' holds Value\(2.0\).*, the result of an operation"):
            read()
    model.rest[2]["late"] = model.rest[2]["late"].data
    assert len(model.parameters()) == 5
    with cr.no_grad():
        model.constant = model.first.scale + 1.0
    with pytest.raises(TypeError, match="'constant' holds Tensor"):
        model.state_dict()


COLLIDING: dict[str, Callable[[], Any]] = {
    "a dot in a key": lambda: {"a.b": cr.Tensor([1.0]), "a": {"b": cr.Tensor([2.0])}},
    "a number and its text": lambda: {1: cr.Value(3.0), "1": cr.Value(4.0)},
}


@pytest.mark.parametrize("name", COLLIDING)
def test_two_parameters_of_one_name_are_refused(name: str) -> None:
    model = cr.nn.Module()
    model.d = COLLIDING[name]()
    assert len(model.parameters()) == 2
    for read in (model.state_dict, lambda: list(model.named_parameters()), lambda: model.load_state_dict({})):
        with pytest.raises(ValueError, match=r"two parts of the module are called 'd\.(a\.b|1)'; rename a key"):
            read()


def test_a_buffer_and_a_parameter_of_one_name_are_refused() -> None:
    model = cr.nn.Module()
    model.a = Averages()
    vars(model)["a.mean"] = cr.Value(1.0)
    with pytest.raises(ValueError, match=r"two parts of the module are called 'a\.mean'"):
        model.state_dict()


def test_one_parameter_by_two_paths_of_one_name_is_no_collision() -> None:
    model, p = cr.nn.Module(), cr.Value(1.0)
    model.d = {1: p, "1": p}
    assert list(model.state_dict()) == ["d.1"]


HIDDEN: dict[str, tuple[Callable[[], Any], str]] = {
    "a set": (
        lambda: {cr.Tensor([1.0])},
        "'rest.0' is a set with a Tensor inside, which is not found there: it would be",
    ),
    "a frozenset": (lambda: frozenset({"x", cr.Value(1.0)}), "is a frozenset with a Value inside"),
    "a deque": (lambda: deque([cr.nn.Linear(1, 1)]), "is a deque with a Linear inside"),
    "a module deeper inside": (lambda: deque([["x", cr.nn.Embedding(1, 1)]]), "is a deque with an Embedding inside"),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_parameters_where_none_are_looked_for_are_refused(name: str) -> None:
    make, message = HIDDEN[name]
    model = cr.nn.Module()
    model.rest = [make()]
    for read in (model.parameters, model.state_dict, lambda: list(model.named_parameters()), model.eval):
        with pytest.raises(TypeError, match=message):
            read()


def test_other_things_in_sets_are_let_be() -> None:
    model = Model()
    model.words, model.last = {"a", "b"}, deque([1.0, np.ones(2)])
    assert len(model.parameters()) == len(NAMES)


@pytest.mark.parametrize(
    "make", [cr.Value, lambda x: cr.Tensor([x]), lambda x: cr.nn.Linear(1, 1), lambda x: [cr.Value(x)]]
)
def test_parameters_on_the_class_are_refused(make: Any) -> None:
    with pytest.raises(TypeError, match=r"Shared: 'part(\.0)?' is a .* on the class, .* set it in __init__"):
        type("Shared", (cr.nn.Module,), {"part": make(1.0)})


def test_a_shared_parameter_is_loaded_by_any_of_its_names() -> None:
    def tied() -> cr.nn.Module:
        model = cr.nn.Module()
        model.a, model.b = cr.nn.Linear(2, 2, rng=0), cr.nn.Linear(2, 2, rng=1)
        model.b.weight = model.a.weight
        model.again = [model.a]
        return model

    model, weight, bias = tied(), np.full((2, 2), 5.0), np.ones(2)
    assert list(model.state_dict()) == ["a.weight", "a.bias", "b.bias"]
    state = {"a.bias": bias, "b.bias": 2.0 * bias}
    for names in (["a.weight"], ["b.weight"], ["a.weight", "b.weight", "again.0.weight"]):
        model = tied()
        model.load_state_dict(state | dict.fromkeys(names, weight))
        assert model.a.weight is model.b.weight
        assert_array_equal(model.b.weight.data, weight)
        assert_array_equal(model.b.bias.data, 2.0 * bias)
    before = model.state_dict()
    for more, message in [
        (
            {"a.weight": weight, "b.weight": weight + 1.0},
            "'b.weight' is 'a.weight' under another name, but is given other",
        ),
        ({"b.weight": np.ones(3)}, r"nothing was loaded: 'b.weight' has shape \(3,\), expected \(2, 2\)$"),
        ({"a.weight": weight, "again.1.weight": weight}, "unexpected 'again.1.weight'"),
        ({"a.weight": weight, "again": weight}, "unexpected 'again'"),
        ({}, "missing 'a.weight'"),
    ]:
        with pytest.raises(ValueError, match=message):
            model.load_state_dict(state | more)
        for key, x in model.state_dict().items():
            assert_array_equal(x, before[key])


def test_generators_are_found_once() -> None:
    rng, other = np.random.default_rng(0), np.random.default_rng(1)
    model = cr.nn.MLP([2, 3, 3, 1], dropout=0.5, rng=rng)
    assert [g is rng for g in model.generators()] == [True]
    model.noise = [other, {"again": other}]
    assert model.generators() == [rng, other]
    assert cr.nn.MLP([2, 1], rng=rng).generators() == []


def test_state_dict_round_trip() -> None:
    model, other = Model(), Model()
    state = model.state_dict()
    assert list(state) == NAMES
    assert all(type(x) is np.ndarray for x in state.values())
    for p in other.parameters():
        p.data = p.data * 2.0 + 1.0
    other.load_state_dict(state)
    assert_array_equal(other(X[:, :2]).data, model(X[:, :2]).data)
    assert type(other.first.gain.data) is float


def test_ctrl_c_leaves_no_module_half_loaded() -> None:
    model = cr.nn.Sequential(cr.nn.BatchNorm1d(2), Averages())
    old = {name: np.ones_like(x) for name, x in model.state_dict().items()}
    new = {name: 2 * x for name, x in old.items()}
    model.load_state_dict(old)
    for error in at_every_line(lambda: model.load_state_dict(new)):
        assert error is None or type(error) is KeyboardInterrupt
        assert len({number for x in model.state_dict().values() for number in x.ravel().tolist()}) == 1
        model.load_state_dict(old)


def test_loading_is_an_update_of_every_parameter() -> None:
    layer = cr.nn.Linear(2, 1, rng=0)
    y, data = layer(np.ones(2)), layer.weight.data
    layer.load_state_dict(layer.state_dict())
    births = [p.birth for p in layer.parameters()]
    assert len(set(births)) == 2
    assert min(births) > y.birth
    with pytest.raises(RuntimeError, match="was changed after <op linear> was computed from it"):
        y.backward()
    data[:] = 7.0  # an array of before, which is nobody's any more
    assert_array_equal(layer(np.ones(2)).data, y.data)
    layer(np.ones(2)).backward()


def test_a_buffer_that_cannot_be_written_is_a_problem_before_anything_is_loaded() -> None:
    module = Averages()
    module.mean.flags.writeable = False
    before = module.state_dict()
    with pytest.raises(ValueError, match="nothing was loaded: 'mean' is read-only"):
        module.load_state_dict({name: x + 1 for name, x in before.items()})
    for name, x in module.state_dict().items():
        assert_array_equal(x, before[name])


@pytest.mark.parametrize("state", [5, None, "ab", [("weight", 1.0)]], ids=repr)
def test_what_is_no_state_is_said_to_be_none(state: Any) -> None:
    with pytest.raises(TypeError, match="load_state_dict expects a mapping of names to arrays, got"):
        cr.nn.Linear(1, 1).load_state_dict(state)
    with pytest.raises(TypeError, match=r"got Linear.*; of a module, give its state_dict\(\)"):
        cr.nn.Linear(1, 1).load_state_dict(cr.nn.Linear(1, 1))


def test_a_state_is_a_copy_both_ways() -> None:
    layer = cr.nn.Linear(2, 2, rng=0)
    before = layer.weight.data.copy()
    state = layer.state_dict()
    state["weight"][:] = 9.0
    assert_array_equal(layer.weight.data, before)
    layer.load_state_dict(state)
    state["weight"][:] = 7.0
    assert_array_equal(layer.weight.data, np.full((2, 2), 9.0))
    before = layer.state_dict()
    layer.weight.data -= 1.0
    assert_array_equal(before["weight"], np.full((2, 2), 9.0))


def test_loading_keeps_the_dtype_and_the_variables() -> None:
    layer = cr.nn.Linear(2, 2, dtype=np.float32, rng=0)
    weight = layer.weight
    layer.load_state_dict({"weight": np.ones((2, 2)), "bias": [1, 2]})
    assert layer.weight is weight
    assert layer.weight.dtype == layer.bias.dtype == np.float32


STATES: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "missing": (lambda s: {k: x for k, x in s.items() if k != "bias"}, "missing 'bias'"),
    "unexpected": (lambda s: s | {"more": 1.0}, "unexpected 'more'"),
    "misshapen": (lambda s: s | {"weight": np.ones((2, 3))}, r"'weight' has shape \(2, 3\), expected \(3, 2\)"),
    "broadcastable": (lambda s: s | {"bias": np.ones(1)}, r"'bias' has shape \(1,\), expected \(3,\)"),
    "text": (
        lambda s: s | {"bias": np.array(["a", "b", "c"])},
        "'bias': expected real numbers, got an array of dtype <U1",
    ),
    "complex": (
        lambda s: s | {"bias": np.ones(3) * 1j},
        "'bias': expected real numbers, got an array of dtype complex128",
    ),
    "objects": (
        lambda s: s | {"bias": np.array([None] * 3)},
        "'bias': expected real numbers, got an array of dtype object",
    ),
    "all at once": (
        lambda s: {"weight": np.ones(2), "other": 1.0},
        r"nothing was loaded: 'weight' has shape \(2,\), expected \(3, 2\); missing 'bias'; unexpected 'other'",
    ),
}


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_does_not_fit_is_not_loaded_at_all(name: str) -> None:
    change, message = STATES[name]
    layer = cr.nn.Linear(2, 3, rng=0)
    before = layer.state_dict()
    with pytest.raises(ValueError, match=f"load_state_dict: nothing was loaded: .*{message}|{message}"):
        layer.load_state_dict(change({key: x + 1.0 for key, x in before.items()}))
    for key, x in layer.state_dict().items():
        assert_array_equal(x, before[key])


@pytest.mark.parametrize("again", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_modules_can_be_copied_and_pickled(again: Any) -> None:
    model = cr.nn.Sequential(cr.nn.MLP([3, 4, 2], "gelu", dtype=np.float32, rng=0), cr.tanh, cr.nn.Linear(2, 1, rng=1))
    model(X).sum().backward()
    new = again(model)
    assert_array_equal(new(X).data, model(X).data)
    assert list(new.state_dict()) == list(model.state_dict())
    assert new.parameters()[0].dtype == np.float32
    assert not {id(p) for p in new.parameters()} & {id(p) for p in model.parameters()}
    new.parameters()[0].data += 1.0
    assert not np.array_equal(new(X).data, model(X).data)
    tied = cr.nn.Module()
    tied.a = tied.b = cr.Value(1.0)
    copied = again(tied)
    assert copied.a is copied.b


# Layers


@pytest.mark.parametrize("shape", [(3,), (1, 3), (5, 3), (2, 4, 3), (0, 3)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [np.asarray, cr.Tensor, np.ndarray.tolist])
def test_linear_is_an_affine_map(shape: tuple[int, ...], bias: bool, make: Any) -> None:
    if shape[0] == 0 and make is np.ndarray.tolist:
        shape = (1, 3)
    layer = cr.nn.Linear(3, 2, bias, rng=0)
    x = RNG.normal(size=shape)
    given = make(x)
    if bias:
        layer.bias.data = np.array([0.5, -1.0])
    y = layer(given)
    expected = x @ layer.weight.data.T + (layer.bias.data if bias else 0.0)
    assert y.shape == (*shape[:-1], 2)
    assert_allclose(y.data, expected, rtol=1e-14)
    seed = RNG.normal(size=y.shape)
    y.backward(seed)
    rows, seeds = x.reshape(-1, 3), seed.reshape(-1, 2)
    assert_allclose(layer.weight.grad, seeds.T @ rows, rtol=1e-12)
    if bias:
        assert_allclose(layer.bias.grad, seeds.sum(axis=0), rtol=1e-12)
    if isinstance(given, cr.Tensor):
        assert_allclose(given.grad, seed @ layer.weight.data, rtol=1e-12)


def test_linear_parameters() -> None:
    layer = cr.nn.Linear(3, 2)
    assert layer.weight.shape == (2, 3)
    assert layer.bias.shape == (2,)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    bare = cr.nn.Linear(3, 2, bias=False)
    assert bare.bias is None
    assert [name for name, _ in bare.named_parameters()] == ["weight"]
    assert abs(cr.nn.Linear(100, 50, rng=0).weight.data).max() <= 0.1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_model_keeps_its_dtype(dtype: Any) -> None:
    model = cr.nn.MLP([3, 4, 4], dtype=dtype, rng=0)
    optimizers = [cr.nn.SGD(model.parameters(), lr=0.1, momentum=0.9), cr.nn.Adam(model.parameters())]
    for x in (X, X.astype(np.float32), X.tolist(), np.ones((5, 3), int)):
        y = model(x)
        loss = cr.nn.cross_entropy(y, LABELS)
        assert y.dtype == loss.dtype == dtype
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        assert all(p.dtype == p.grad.dtype == dtype for p in model.parameters())


def test_the_same_seed_gives_the_same_bytes() -> None:
    def data(rng: Any) -> list[bytes]:
        return [p.data.tobytes() for p in cr.nn.MLP([3, 4, 2], rng=rng).parameters()]

    assert data(7) == data(np.random.default_rng(7))
    assert data(7) != data(8)
    assert data(None) != data(None)
    rng = np.random.default_rng(0)
    assert data(rng) != data(rng)


def test_initial_weights_of_an_mlp() -> None:
    relu, tanh = (cr.nn.MLP([100, 200, 1], name, rng=0)[0].weight.data for name in ("relu", "tanh"))
    assert abs(relu).max() == pytest.approx(math.sqrt(6 / 100), rel=0.01)
    assert abs(tanh).max() == pytest.approx(math.sqrt(6 / 300), rel=0.01)
    assert all(not p.data.any() for name, p in cr.nn.MLP([3, 2, 1], rng=0).named_parameters() if "bias" in name)


def test_mlp_is_its_layers_one_after_another() -> None:
    model = cr.nn.MLP([3, 4, 5, 2], "tanh", rng=0)
    assert [name for name, _ in model.named_parameters()] == [f"{i}.{p}" for i in (0, 2, 4) for p in ("weight", "bias")]
    assert len(model) == 5
    x = X
    for layer in model:
        x = layer(x)
    assert_array_equal(model(X).data, x.data)
    assert_array_equal(model[-1](model[3](model[2](model[1](model[0](X))))).data, x.data)


def test_sequential_takes_functions_and_nothing_else() -> None:
    model = cr.nn.Sequential(cr.nn.Linear(3, 12, rng=0), cr.relu, lambda x: x * 2.0)
    assert_array_equal(model(X).data, cr.relu(model[0](X)).data * 2.0)
    many = cr.nn.Sequential(*[cr.nn.Linear(1, 1, rng=i) for i in range(12)])
    assert [name for name, _ in many.named_parameters()][-1] == "11.bias"
    assert cr.nn.Sequential()(3.0) == 3.0
    with pytest.raises(TypeError, match="Sequential: layer 1 is not callable: 'relu'"):
        cr.nn.Sequential(cr.relu, "relu")


ACTIVATIONS: dict[str, tuple[str, Callable[[Any], Any], str]] = {  # the class, its function, whose initial weights
    "relu": ("ReLU", cr.relu, "he"),
    "leaky_relu": ("LeakyReLU", cr.leaky_relu, "he"),
    "elu": ("ELU", cr.elu, "he"),
    "gelu": ("GELU", cr.gelu, "he"),
    "silu": ("SiLU", cr.silu, "he"),
    "softplus": ("Softplus", cr.softplus, "he"),
    "tanh": ("Tanh", cr.tanh, "xavier"),
    "sigmoid": ("Sigmoid", cr.sigmoid, "xavier"),
    "linear": ("Identity", lambda x: x, "xavier"),
}


def test_every_activation_has_a_case() -> None:
    require_cases(cr.nn.Activation, [kind for kind, _, _ in ACTIVATIONS.values()], "ACTIVATIONS")


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_the_functions(name: str) -> None:
    kind, function, _ = ACTIVATIONS[name]
    layer = getattr(cr.nn, kind)()
    assert layer.parameters() == []
    assert repr(layer) == f"{kind}()"
    assert_array_equal(layer(cr.Tensor(X)).data, function(X))
    assert layer(cr.Value(0.5)).data == function(0.5)
    assert type(cr.nn.MLP([1, 1, 1], name)[1]) is type(layer)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_activation_chooses_the_initializer(name: str) -> None:
    _, _, rule = ACTIVATIONS[name]
    for distribution in ("uniform", "normal"):
        expected = getattr(cr.nn.init, f"{rule}_{distribution}")
        assert cr.nn.init.initializer_for(name, distribution) is expected
    weight = cr.nn.MLP([6, 4, 2], name, rng=5)[0].weight
    assert_array_equal(weight.data, cr.nn.init.initializer_for(name)(np.random.default_rng(5), 6, 4))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_an_mlp_are_the_numeric_ones(name: str) -> None:
    model = cr.nn.MLP([3, 6, 4], name, rng=0)
    cr.nn.cross_entropy(model(X), LABELS).backward()
    for p in model.parameters():
        start, v = p.data.copy(), RNG.normal(size=p.shape) * 1e-3  # small: no sample may cross a kink

        def moved(data: Any, p: Any = p) -> float:
            p.data = data
            return float(cr.nn.cross_entropy(model(X), LABELS).data)

        assert_allclose(np.sum(p.grad * v), directional(moved, start, v), rtol=1e-6, atol=1e-12)
        p.data = start


LAYERS_MISUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "negative size": (lambda: cr.nn.Linear(-1, 2), ValueError, "Linear: n_in must be at least 0, got -1"),
    "size that is no integer": (lambda: cr.nn.Linear(2, 2.5), TypeError, "float"),
    "integer weights": (lambda: cr.nn.Linear(2, 2, dtype=complex), TypeError, "floating-point type, got complex128"),
    "input of another size": (lambda: cr.nn.Linear(3, 2, rng=0)(np.ones((5, 4))), ValueError, r"Linear: expected inputs of 3 features on the last axis, got shape \(5, 4\)"),
    "a number for input": (lambda: cr.nn.Linear(3, 2, rng=0)(5.0), ValueError, r"Linear: expected inputs of 3 features on the last axis, got shape \(\)"),
    "input of another size, no bias": (lambda: cr.nn.Linear(3, 2, False)(np.ones((5, 4))), ValueError, r"Linear: expected inputs of 3 features on the last axis, got shape \(5, 4\)"),
    "text": (lambda: cr.nn.Linear(3, 2)(["a", "b", "c"]), TypeError, "Linear: expected real numbers, got .'a', 'b', 'c'"),
    "None in a list": (lambda: cr.nn.Linear(2, 2)([1.0, None]), TypeError, "Linear: expected real numbers"),
    "complex": (lambda: cr.nn.Linear(2, 2)(np.ones(2) * 1j), TypeError, "Linear: expected real numbers, got an array of dtype complex"),
    "a bias that widens": (lambda: cr.linear(np.ones(3), np.ones((4, 3)), np.ones((2, 4))), ValueError, r"linear: .*would widen the product"),
    "a matrix for a weight": (lambda: cr.linear(np.ones((2, 3)), np.ones(3), 0.0), ValueError, "linear: .*weight must be a matrix"),
    "one size": (lambda: cr.nn.MLP([3]), ValueError, r"MLP: expected at least an input and an output size, got \[3\]"),
    "unknown activation": (lambda: cr.nn.MLP([3, 2], "rleu"), ValueError, "no activation is called 'rleu'; there are .*relu"),
}  # fmt: skip


@pytest.mark.parametrize("name", LAYERS_MISUSED)
def test_misuse_of_layers_is_explained(name: str) -> None:
    call, error, message = LAYERS_MISUSED[name]
    with pytest.raises(error, match=message):
        call()


def test_a_state_that_overflows_a_smaller_type_is_refused_whole() -> None:
    layer = cr.nn.Linear(2, 1, dtype="float32", rng=0)
    before = layer.state_dict()
    with pytest.raises(ValueError, match="'bias' has numbers too large for float32"):
        layer.load_state_dict({"weight": np.ones((1, 2)), "bias": np.array([1e300])})
    assert_array_equal(layer.weight.data, before["weight"])


@pytest.mark.parametrize("shape", [(), (1,), (4,), (2, 4), (2, 1), (1, 4)])
def test_linear_takes_every_bias_that_broadcasts(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    x, weight, bias = rng.normal(size=(2, 3)), rng.normal(size=(4, 3)), rng.normal(size=shape)
    assert cr.gradcheck(lambda x, w, b: cr.linear(x, w, b) ** 2, x, weight, bias)
    assert cr.gradcheck(lambda b: cr.linear(x, weight, b) ** 2, 0.5)


def test_a_module_that_holds_its_holder_still_prints() -> None:
    parent, child = cr.nn.Module(), cr.nn.Module()
    vars(parent)["child"], vars(child)["parent"] = child, parent
    assert repr(parent).splitlines()[:2] == ["Module()", "  (child) Module()"]
    assert parent.parameters() == []


def test_a_call_passes_keywords_on() -> None:
    class Scale(cr.nn.Module):
        def forward(self, x: float, factor: float = 1.0) -> float:
            return factor * x

    assert Scale()(2.0, factor=3.0) == 6.0
