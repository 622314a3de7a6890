"""Modules, layers, losses and optimizers: structure, state, shapes, and agreement with PyTorch and with hand-made numbers."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
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
        self.result = self.first.gain * 2.0
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


ACTIVATIONS = {
    "ReLU": cr.relu, "LeakyReLU": cr.leaky_relu, "ELU": cr.elu, "GELU": cr.gelu, "SiLU": cr.silu,
    "Softplus": cr.softplus, "Tanh": cr.tanh, "Sigmoid": cr.sigmoid, "Identity": lambda x: x,
}  # fmt: skip


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_the_functions(name: str) -> None:
    layer = getattr(cr.nn, name)()
    assert layer.parameters() == []
    assert repr(layer) == f"{name}()"
    assert_array_equal(layer(cr.Tensor(X)).data, ACTIVATIONS[name](X))
    assert layer(cr.Value(0.5)).data == ACTIVATIONS[name](0.5)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "tanh", "sigmoid", "linear"])
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
    "negative size": (lambda: cr.nn.Linear(-1, 2), ValueError, "Linear: n_in must not be negative, got -1"),
    "size that is no integer": (lambda: cr.nn.Linear(2, 2.5), TypeError, "float"),
    "integer weights": (lambda: cr.nn.Linear(2, 2, dtype=complex), TypeError, "floating-point type, got complex128"),
    "input of another size": (lambda: cr.nn.Linear(3, 2, rng=0)(np.ones((5, 4))), ValueError, r"linear: .*\(5, 4\) and \(2, 3\)"),
    "input of another size, no bias": (lambda: cr.nn.Linear(3, 2, False)(np.ones((5, 4))), ValueError, r"matmul: .*\(5, 4\) and \(3, 2\)"),
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


# Losses


def test_losses_by_hand() -> None:
    p, t = [1.0, 2.0, 4.0], [1.0, 4.0, 1.0]
    assert cr.nn.mse_loss(p, t) == pytest.approx(13.0 / 3.0)
    assert cr.nn.l1_loss(p, t) == pytest.approx(5.0 / 3.0)
    assert cr.nn.hinge_loss([2.0, 0.5, -1.0, -3.0], [1, 1, 1, -1]) == pytest.approx((0.0 + 0.5 + 2.0 + 0.0) / 4.0)
    assert cr.nn.cross_entropy(np.log([[0.2, 0.8], [0.5, 0.5]]), [1, 0]) == pytest.approx(-math.log(0.8 * 0.5) / 2.0)
    logit = math.log(0.8 / 0.2)
    expected = -(0.25 * math.log(0.8) + 0.75 * math.log(0.2))
    assert cr.nn.binary_cross_entropy_with_logits([logit], [0.25]) == pytest.approx(expected)


def test_gradient_of_the_hinge_loss_by_hand() -> None:
    scores = cr.Tensor([2.0, 0.5, -1.0, -3.0])
    cr.nn.hinge_loss(scores, [1, 1, -1, 1]).backward()
    assert_array_equal(scores.grad, [0.0, -0.25, 0.0, -0.25])


def test_losses_of_lists_of_values() -> None:
    a, b = cr.Value(0.5), cr.Value(-2.0)
    for loss, labels in [
        (cr.nn.mse_loss, [1.0, 0.0]),
        (cr.nn.l1_loss, [1.0, 0.0]),
        (cr.nn.hinge_loss, [1, -1]),
        (cr.nn.binary_cross_entropy_with_logits, [1.0, 0.0]),
    ]:
        t = cr.Tensor([0.5, -2.0])
        y, z = loss([a, b], labels), loss(t, labels)
        assert y.item() == z.item()
        assert_array_equal(cr.gradients(y, [a, b]), cr.gradients(z, t))
    y = cr.nn.cross_entropy([[a, b], [b, a]], [0, 1])
    assert cr.gradients(y, a) == pytest.approx(-1.0 / (1.0 + math.exp(2.5)))
    assert cr.nn.mse_loss(a, 1.5).item() == 1.0


TARGETS = RNG.uniform(size=(5, 4))


def torch_losses(torch: Any) -> dict[str, tuple[Any, Any, Any]]:
    F = torch.nn.functional
    return {
        "mse_loss": (F.mse_loss, TARGETS, torch.tensor(TARGETS)),
        "l1_loss": (F.l1_loss, TARGETS, torch.tensor(TARGETS)),
        "cross_entropy": (F.cross_entropy, LABELS, torch.tensor(LABELS)),
        "binary_cross_entropy_with_logits": (F.binary_cross_entropy_with_logits, TARGETS, torch.tensor(TARGETS)),
    }


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("name", ["mse_loss", "l1_loss", "cross_entropy", "binary_cross_entropy_with_logits"])
def test_losses_agree_with_torch(name: str, scale: float) -> None:
    torch = pytest.importorskip("torch")
    theirs, target, torch_target = torch_losses(torch)[name]
    ours = getattr(cr.nn, name)
    x, t = cr.Tensor(LOGITS * scale), torch.tensor(LOGITS * scale, requires_grad=True)
    y, z = ours(x, target), theirs(t, torch_target)
    y.backward()
    z.backward()
    assert_allclose(y.item(), z.item(), rtol=1e-12)
    assert_allclose(x.grad, t.grad.numpy(), rtol=1e-10, atol=1e-15)
    assert_allclose(ours(LOGITS * scale, target), z.item(), rtol=1e-12)


def test_cross_entropy_of_batches_of_sequences() -> None:
    logits, labels = RNG.normal(size=(2, 3, 4)), np.array([[0, 1, 2], [3, 3, 0]])
    expected = cr.nn.cross_entropy(logits.reshape(6, 4), labels.ravel())
    assert_allclose(cr.nn.cross_entropy(logits, labels), expected, rtol=1e-14)
    single = cr.nn.cross_entropy(logits[0, 0], 2)
    assert_allclose(single, cr.nn.cross_entropy(logits[0, :1], [2]), rtol=1e-14)
    for dtype in (np.uint8, np.int32, np.int64, np.uint64):
        assert_allclose(cr.nn.cross_entropy(logits, labels.astype(dtype)), expected, rtol=1e-14)


EXTREMES: dict[str, tuple[Any, Any, Any, float, Any]] = {
    "right and certain": (cr.nn.cross_entropy, [[1e4, -1e4]], [0], 0.0, [[0.0, 0.0]]),
    "wrong and certain": (cr.nn.cross_entropy, [[1e4, -1e4]], [1], 2e4, [[1.0, -1.0]]),
    "undecided": (cr.nn.cross_entropy, [[1e4, 1e4]], [1], math.log(2.0), [[0.5, -0.5]]),
    "impossible": (cr.nn.cross_entropy, [[0.0, -np.inf]], [0], 0.0, [[0.0, 0.0]]),
    "binary, wrong": (cr.nn.binary_cross_entropy_with_logits, [1e4, -1e4], [0.0, 1.0], 1e4, [0.5, -0.5]),
    "binary, right": (cr.nn.binary_cross_entropy_with_logits, [1e4, -1e4], [1.0, 0.0], 0.0, [0.0, 0.0]),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extreme_logits_do_not_overflow(name: str) -> None:
    loss, logits, labels, expected, gradient = EXTREMES[name]
    for dtype in (np.float32, np.float64):
        x = cr.Tensor(logits, dtype)
        y = loss(x, labels)
        y.backward()
        assert_allclose(y.item(), expected, rtol=1e-6)
        assert_allclose(x.grad, gradient, rtol=1e-6)


LOSSES_MISUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "mse of other shapes": (lambda: cr.nn.mse_loss(cr.Tensor(np.ones((5, 1))), np.ones(5)), ValueError, r"mse_loss: shapes \(5, 1\) and \(5,\) differ; reshape"),
    "l1 of a number": (lambda: cr.nn.l1_loss(np.ones(5), 1.0), ValueError, r"l1_loss: shapes \(5,\) and \(\) differ"),
    "hinge of other shapes": (lambda: cr.nn.hinge_loss(np.ones((5, 1)), np.ones(5)), ValueError, r"hinge_loss: shapes \(5, 1\) and \(5,\)"),
    "bce of other shapes": (lambda: cr.nn.binary_cross_entropy_with_logits(np.ones(5), np.ones(4)), ValueError, r"shapes \(5,\) and \(4,\)"),
    "hinge of labels 0 and 1": (lambda: cr.nn.hinge_loss([1.0, 2.0], [1, 0]), ValueError, "hinge_loss: labels must be -1 or 1, got 0"),
    "bce of targets beyond 1": (lambda: cr.nn.binary_cross_entropy_with_logits([1.0], [1.5]), ValueError, "targets must lie between 0 and 1"),
    "bce of NaN": (lambda: cr.nn.binary_cross_entropy_with_logits([1.0], [math.nan]), ValueError, "targets must lie between 0 and 1"),
    "label too large": (lambda: cr.nn.cross_entropy(LOGITS, [0, 1, 2, 3, 4]), ValueError, "labels run from 0 to 4, but there are 4 classes"),
    "negative label": (lambda: cr.nn.cross_entropy(LOGITS, [0, 1, 2, 3, -1]), ValueError, "labels run from -1 to 3, but there are 4 classes"),
    "float labels": (lambda: cr.nn.cross_entropy(LOGITS, LABELS.astype(float)), TypeError, r"labels must be integers \(class numbers\), got float64"),
    "boolean labels": (lambda: cr.nn.cross_entropy(LOGITS, LABELS > 1), TypeError, "labels must be integers .* got bool"),
    "text labels": (lambda: cr.nn.cross_entropy(LOGITS, list("abcde")), TypeError, "labels must be integers .* got <U1"),
    "one-hot labels": (lambda: cr.nn.cross_entropy(LOGITS, np.eye(4, dtype=int)[LABELS]), ValueError, r"labels of shape \(5, 4\) for logits of shape \(5, 4\)"),
    "fewer labels": (lambda: cr.nn.cross_entropy(LOGITS, LABELS[:3]), ValueError, r"labels of shape \(3,\) for logits of shape \(5, 4\)"),
    "labels as a column": (lambda: cr.nn.cross_entropy(LOGITS, LABELS[:, None]), ValueError, r"labels of shape \(5, 1\)"),
    "logits of one number": (lambda: cr.nn.cross_entropy(cr.Value(1.0), 0), ValueError, r"labels of shape \(\) for logits of shape \(\)"),
    "no samples": (lambda: cr.nn.cross_entropy(np.zeros((0, 4)), np.zeros(0, int)), ValueError, "no samples"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES_MISUSED)
def test_misuse_of_losses_is_explained(name: str) -> None:
    call, error, message = LOSSES_MISUSED[name]
    with pytest.raises(error, match=message):
        call()


# Optimizers

OPTIMIZERS: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any], Any]]] = {
    "SGD": (lambda ps: cr.nn.SGD(ps, lr=0.05), lambda torch, ps: torch.optim.SGD(ps, lr=0.05)),
    "momentum": (
        lambda ps: cr.nn.SGD(ps, lr=0.02, momentum=0.9),
        lambda torch, ps: torch.optim.SGD(ps, lr=0.02, momentum=0.9),
    ),
    "Adam": (lambda ps: cr.nn.Adam(ps, lr=0.01), lambda torch, ps: torch.optim.Adam(ps, lr=0.01)),
    "Adam of other constants": (
        lambda ps: cr.nn.Adam(ps, lr=0.01, betas=(0.5, 0.9), eps=1e-3),
        lambda torch, ps: torch.optim.Adam(ps, lr=0.01, betas=(0.5, 0.9), eps=1e-3),
    ),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_agree_with_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = OPTIMIZERS[name]
    model = cr.nn.MLP([3, 4, 4], "tanh", rng=0)
    weights = [torch.tensor(p.data, requires_grad=True) for p in model.parameters()]
    optimizer, twin = ours(model.parameters()), theirs(torch, weights)
    x, labels = torch.tensor(X), torch.tensor(LABELS)
    for _ in range(100):
        loss = cr.nn.cross_entropy(model(X), LABELS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        w1, b1, w2, b2 = weights
        torch_loss = torch.nn.functional.cross_entropy(torch.tanh(x @ w1.T + b1) @ w2.T + b2, labels)
        twin.zero_grad()
        torch_loss.backward()
        twin.step()
        assert loss.item() == pytest.approx(torch_loss.item(), rel=1e-6)
    for p, w in zip(model.parameters(), weights, strict=True):
        assert_allclose(p.data, w.detach().numpy(), rtol=1e-6, atol=1e-9)
    assert loss.item() < 1.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_values_are_optimized_like_tensors(name: str) -> None:
    v, w, t = cr.Value(3.0), cr.Value(-1.0), cr.Tensor([3.0, -1.0])
    first, second = OPTIMIZERS[name][0]([v, w]), OPTIMIZERS[name][0]([t])
    for _ in range(20):
        first.zero_grad()
        second.zero_grad()
        (v**2 + w**4).backward()
        (t[0] ** 2 + t[1] ** 4).backward()
        first.step()
        second.step()
    assert_allclose([v.data, w.data], t.data, rtol=1e-12)
    assert type(v.data) is float
    assert abs(v.data) < 3.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_step_is_in_place_and_leaves_gradients_alone(name: str) -> None:
    t, still = cr.Tensor([1.0, 2.0]), cr.Tensor([5.0])
    point = cr.Tensor(2.0)
    array, alone = t.data, point.data
    optimizer = OPTIMIZERS[name][0]([t, still, point])
    for _ in range(3):
        optimizer.zero_grad()
        ((t * t).sum() * point).backward()
        before, grad = t.data.copy(), t.grad.copy()
        optimizer.step()
        assert t.data is array
        assert point.data is alone
        assert not np.array_equal(t.data, before)
        assert_array_equal(t.grad, grad)
    assert still.data == 5.0
    optimizer.zero_grad()
    before = t.data.copy()
    optimizer.step()
    assert_array_equal(t.data, before)


def test_the_learning_rate_may_change() -> None:
    x = cr.Value(1.0)
    optimizer = cr.nn.SGD([x], lr=0.1)
    for lr, expected in ((0.1, 0.9), (0.5, 0.4), (0.0, 0.4)):
        optimizer.lr = lr
        x.grad = 1.0
        optimizer.step()
        assert x.data == pytest.approx(expected)


OPTIMIZERS_MISUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no parameters": (lambda: cr.nn.SGD([], lr=0.1), ValueError, "SGD: there are no parameters to optimize"),
    "a result": (lambda: cr.nn.Adam([cr.Value(1.0) * 2.0]), TypeError, r"Adam: a parameter must be a leaf Value or Tensor, got Value\(2\.0\)"),
    "an array": (lambda: cr.nn.SGD([np.ones(2)], lr=0.1), TypeError, "SGD: a parameter must be a leaf Value or Tensor, got array"),
    "a tensor's rows": (lambda: cr.nn.SGD(cr.Tensor([[1.0]]), lr=0.1), TypeError, "SGD: a parameter must be a leaf"),
    "names too": (lambda: cr.nn.SGD(Block(0).named_parameters(), lr=0.1), TypeError, r"a parameter must be a leaf .* got \('linear"),
    "negative lr": (lambda: cr.nn.SGD([cr.Value(1.0)], lr=-0.1), ValueError, r"SGD: lr must not be negative, got -0\.1"),
    "NaN as lr": (lambda: cr.nn.Adam([cr.Value(1.0)], lr=math.nan), ValueError, "Adam: lr must not be negative, got nan"),
    "negative momentum": (lambda: cr.nn.SGD([cr.Value(1.0)], lr=0.1, momentum=-1), ValueError, "SGD: momentum must not be negative, got -1"),
    "beta of 1": (lambda: cr.nn.Adam([cr.Value(1.0)], betas=(0.9, 1.0)), ValueError, r"Adam: betas\[1\] must lie in \[0, 1\), got 1\.0"),
    "negative eps": (lambda: cr.nn.Adam([cr.Value(1.0)], eps=-1.0), ValueError, r"Adam: eps must not be negative, got -1\.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS_MISUSED)
def test_misuse_of_optimizers_is_explained(name: str) -> None:
    call, error, message = OPTIMIZERS_MISUSED[name]
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


def test_a_parameter_listed_twice_is_refused() -> None:
    x = cr.Value(1.0)
    with pytest.raises(ValueError, match="listed twice"):
        cr.nn.SGD([x, x], lr=0.1)


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


def test_plain_targets_take_the_precision_of_the_predictions() -> None:
    prediction = cr.Tensor([1.0, 2.0], dtype="float32")
    for loss in (cr.nn.mse_loss, cr.nn.l1_loss, cr.nn.hinge_loss, cr.nn.binary_cross_entropy_with_logits):
        assert loss(prediction, [1.0, 1.0]).dtype == np.float32
