"""Layers that act differently in training and in use, look up, normalise or reshape; and how weights start."""

from __future__ import annotations

import copy
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from kinds import kinds_of, require_cases
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr

RNG = np.random.default_rng(0)
X = RNG.normal(2.0, 3.0, size=(6, 4))
CUBE = RNG.normal(-1.0, 2.0, size=(5, 4, 3))
SHAPES = {"(N, C)": X, "(N, C, L)": CUBE, "one sample, some length": CUBE[:1]}


def randomized(layer: Any) -> Any:
    """The layer with parameters that are neither 0 nor 1."""
    rng = np.random.default_rng(1)
    for p in layer.parameters():
        p.data = rng.uniform(0.5, 1.5, p.shape) * rng.choice([-1.0, 1.0], p.shape)
    return layer


def give(torch: Any, layer: Any, theirs: Any) -> None:
    """PyTorch's layer takes over the state, by the same names."""
    theirs.load_state_dict({name: torch.tensor(x) for name, x in layer.state_dict().items()})


def assert_alike(torch: Any, layer: Any, theirs: Any, x: Any) -> None:
    """The same results, gradients and state, for the same input and seed."""
    ours, t = cr.Tensor(x), torch.tensor(x, requires_grad=True)
    layer.zero_grad()
    theirs.zero_grad()
    y, z = layer(ours), theirs(t)
    seed = RNG.normal(size=x.shape).astype(x.dtype)
    y.backward(seed)
    z.backward(torch.tensor(seed))
    tolerance = {"rtol": 1e-9, "atol": 1e-12} if x.dtype == np.float64 else {"rtol": 1e-4, "atol": 1e-5}
    assert y.dtype == x.dtype
    assert_allclose(y.data, z.detach().numpy(), **tolerance)
    assert_allclose(ours.grad, t.grad.numpy(), **tolerance)
    for p, q in zip(layer.parameters(), theirs.parameters(), strict=True):
        assert p.grad.dtype == x.dtype
        assert_allclose(p.grad, q.grad.numpy(), **tolerance)
    state = theirs.state_dict()
    assert list(layer.state_dict()) == list(state)
    for name, own in layer.state_dict().items():
        assert own.shape == tuple(state[name].shape)
        assert_allclose(own, state[name].numpy(), **tolerance)


# Every layer

CASES: dict[str, tuple[Callable[..., Any], Any]] = {  # a layer of some dtype, in a state that has 0 and 1 nowhere; an input
    "Linear": (lambda dtype=None: cr.nn.Linear(4, 3, dtype=dtype), X),
    "Linear without bias": (lambda dtype=None: cr.nn.Linear(4, 3, bias=False, dtype=dtype), X),
    "BatchNorm1d": (lambda dtype=None: cr.nn.BatchNorm1d(4, dtype=dtype), X),
    "BatchNorm1d of sequences": (lambda dtype=None: cr.nn.BatchNorm1d(4, dtype=dtype), CUBE),
    "LayerNorm": (lambda dtype=None: cr.nn.LayerNorm(4, dtype=dtype), X),
    "LayerNorm of two axes": (lambda dtype=None: cr.nn.LayerNorm((4, 3), dtype=dtype), CUBE),
    "Dropout": (lambda dtype=None: cr.nn.Dropout(0.5, rng=0), X),
    "Embedding": (lambda dtype=None: cr.nn.Embedding(7, 2, dtype=dtype), np.array([[0, 6, 3], [3, 3, 1]])),
    "Flatten": (lambda dtype=None: cr.nn.Flatten(), CUBE),
    "Sequential": (lambda dtype=None: cr.nn.Sequential(cr.nn.Linear(4, 3, dtype=dtype), cr.tanh), X),
    "MLP": (lambda dtype=None: cr.nn.MLP([4, 3, 2], "tanh", batch_norm=True, dropout=0.5, dtype=dtype, rng=0), X),
}  # fmt: skip

every = pytest.mark.parametrize("name", CASES)


def made(name: str, dtype: str | None = None) -> tuple[Any, Any]:
    make, x = CASES[name]
    return randomized(make(dtype=dtype)), x if x.dtype.kind == "i" else x.astype(dtype or float)


def test_every_layer_has_a_case() -> None:
    layers = {type(made(name)[0]).__name__ for name in CASES}
    require_cases(cr.nn.Module, layers | {kind.__name__ for kind in kinds_of(cr.nn.Activation)}, "CASES")


def called(layer: Any, x: Any) -> Any:
    """What a layer makes of data, as a Tensor; what draws random numbers draws the same every time."""
    for generator in layer.generators():
        generator.bit_generator.state = np.random.default_rng(0).bit_generator.state
    return layer(cr.Tensor(x) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x)


@every
@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_a_layer_are_the_numeric_ones(name: str, training: bool) -> None:
    layer, x = made(name)
    called(layer, x)
    layer.train(training)
    if x.dtype.kind == "f":
        assert cr.gradcheck(lambda x: cr.sin(called(layer, x)), x, sample=10)
    if layer.parameters():
        parameters = dict(layer.named_parameters())
        assert cr.gradcheck(lambda: cr.sin(called(layer, x)), parameters=parameters, sample=10)


@every
def test_a_layer_in_single_precision_stays_so(name: str) -> None:
    layer, x = made(name, "float32")
    y = called(layer, x)
    cr.sum(y).backward()
    assert y.dtype == np.float32
    assert all(p.dtype == p.grad.dtype == np.float32 for p in layer.parameters())


@every
def test_a_layer_is_copied_restored_and_compiled(name: str) -> None:
    layer, x = made(name)
    called(layer, x)
    expected = called(layer.eval(), x)
    restored = CASES[name][0]().eval()
    restored.load_state_dict(layer.state_dict())
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), restored):
        assert repr(twin) == repr(layer)
        assert_array_equal(called(twin, x).data, expected.data)
    if x.dtype.kind == "f":
        assert_allclose(cr.compile(layer)(cr.Tensor(x)).data, expected.data, rtol=1e-14)


# BatchNorm1d


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("momentum", [0.1, 0.7, None])
@pytest.mark.parametrize("shape", SHAPES)
def test_batch_norm_agrees_with_torch(shape: str, momentum: float | None, dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    x = SHAPES[shape].astype(dtype)
    layer = randomized(cr.nn.BatchNorm1d(4, eps=1e-3, momentum=momentum, dtype=dtype))
    theirs = torch.nn.BatchNorm1d(4, eps=1e-3, momentum=momentum, dtype=torch.tensor(x).dtype)
    give(torch, layer, theirs)
    for i in range(3):
        assert_alike(torch, layer, theirs, x * dtype(i + 1))
    assert layer.num_batches_tracked == 3
    layer.eval()
    theirs.eval()
    for _ in range(2):
        assert_alike(torch, layer, theirs, x)
        assert_alike(torch, layer, theirs, x[:1])
    assert layer.num_batches_tracked == 3


def test_batch_norm_by_hand() -> None:
    layer = cr.nn.BatchNorm1d(2, eps=1e-12)
    y = layer([[1.0, 5.0], [3.0, 5.0]])
    assert_allclose(y.data, [[-1.0, 0.0], [1.0, 0.0]])
    assert_allclose(layer.running_mean, [0.2, 0.5])
    assert_allclose(layer.running_var, [0.9 + 0.1 * 2.0, 0.9])  # the unbiased variance of 1 and 3 is 2
    layer.eval()
    assert_allclose(layer([[0.2, 0.5]]).data, [[0.0, 0.0]], atol=1e-12)
    assert_allclose(layer([[0.2 + math.sqrt(1.1), 0.5]]).data, [[1.0, 0.0]], atol=1e-9)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_of_batch_norm_are_the_numeric_ones(shape: str, training: bool) -> None:
    layer = randomized(cr.nn.BatchNorm1d(4))
    layer(SHAPES[shape])
    layer.train(training)
    assert cr.gradcheck(lambda x: cr.sin(layer(x)), SHAPES[shape], sample=10)
    assert cr.gradcheck(lambda: cr.sin(layer(SHAPES[shape])), parameters=dict(layer.named_parameters()))


def test_batch_norm_can_be_differentiated_twice() -> None:
    layer = randomized(cr.nn.BatchNorm1d(4))
    assert cr.gradcheck(cr.grad(lambda x: cr.sum(cr.sin(layer(x)))), X, sample=6)


@pytest.mark.parametrize("name", ["BatchNorm1d", "LayerNorm"])
def test_normalized_data_far_from_zero_keeps_its_precision(name: str) -> None:
    layer = getattr(cr.nn, name)(64, dtype="float32")
    x = (1e4 + RNG.normal(size=(64, 64))).astype(np.float32)
    axis = 0 if name == "BatchNorm1d" else 1
    wide = x.astype(float)
    expected = (wide - wide.mean(axis, keepdims=True)) / np.sqrt(wide.var(axis, keepdims=True) + 1e-5)
    assert_allclose(layer(x).data, expected, atol=5e-3)


def test_running_statistics_move_in_place_and_without_a_graph() -> None:
    layer = cr.nn.BatchNorm1d(4)
    mean, var = layer.running_mean, layer.running_var
    y = layer(cr.Tensor(X))
    assert layer.running_mean is mean
    assert layer.running_var is var
    with cr.no_grad():
        layer(X)
    assert layer.num_batches_tracked == 2
    y.sum().backward()  # what the statistics have become since is no change of what was computed
    assert len(layer.parameters()) == 2


def test_state_of_batch_norm_is_copied_saved_and_loaded() -> None:
    layer = cr.nn.Sequential(cr.nn.Linear(4, 3, rng=0), cr.nn.BatchNorm1d(3))
    layer(X)
    other = cr.nn.Sequential(cr.nn.Linear(4, 3, rng=1), cr.nn.BatchNorm1d(3))
    other.load_state_dict(layer.state_dict())
    for twin in (other, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert_array_equal(twin.eval()(X).data, layer.eval()(X).data)
        before = layer.state_dict()
        twin.train()(X + 1.0)
        assert all(np.array_equal(before[name], x) for name, x in layer.state_dict().items())


# LayerNorm


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("lengths", "x"), [(4, X), ((4,), X), (3, CUBE), ((4, 3), CUBE), ([5, 4, 3], CUBE), (4, X[0])])
def test_layer_norm_agrees_with_torch(lengths: Any, x: Any, dtype: Any) -> None:
    torch = pytest.importorskip("torch")
    layer = randomized(cr.nn.LayerNorm(lengths, eps=1e-3, dtype=dtype))
    theirs = torch.nn.LayerNorm(lengths, eps=1e-3, dtype=torch.tensor(x.astype(dtype)).dtype)
    give(torch, layer, theirs)
    assert_alike(torch, layer, theirs, x.astype(dtype))
    assert_alike(torch, layer.eval(), theirs.eval(), x.astype(dtype))


@pytest.mark.parametrize(("lengths", "x"), [(4, X), ((4, 3), CUBE)])
def test_gradients_of_layer_norm_are_the_numeric_ones(lengths: Any, x: Any) -> None:
    layer = randomized(cr.nn.LayerNorm(lengths))
    assert cr.gradcheck(lambda x: cr.sin(layer(x)), x, sample=10)
    assert cr.gradcheck(lambda: cr.sin(layer(x)), parameters=dict(layer.named_parameters()))


@pytest.mark.parametrize("layer", [cr.nn.BatchNorm1d(4), cr.nn.LayerNorm(4)])
def test_constant_inputs_are_normalized_to_zero(layer: Any) -> None:
    x = cr.Tensor(np.full((6, 4), 3.0))
    y = layer(x)
    y.backward(RNG.normal(size=y.shape))
    assert_array_equal(y.data, np.zeros((6, 4)))
    assert np.isfinite(x.grad).all()


# Embedding


def test_embedding_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    layer = cr.nn.Embedding(7, 3, rng=0)
    theirs = torch.nn.Embedding(7, 3, dtype=torch.float64)
    give(torch, layer, theirs)
    for indices in (np.array([[0, 6, 6], [2, 0, 6]]), np.array([1]), np.array(4)):
        layer.zero_grad()
        theirs.zero_grad()
        y, z = layer(indices), theirs(torch.tensor(indices))
        seed = RNG.normal(size=y.shape)
        y.backward(seed)
        z.backward(torch.tensor(seed))
        assert_array_equal(y.data, z.detach().numpy())
        assert_allclose(layer.weight.grad, theirs.weight.grad.numpy(), rtol=1e-12)
    assert cr.gradcheck(lambda: cr.sin(layer([[1, 1], [5, 1]])), parameters={"weight": layer.weight})


def test_embedding_takes_every_kind_of_integers() -> None:
    layer = cr.nn.Embedding(7, 3, dtype="float32", rng=0)
    expected = layer.weight.data[[1, 5, 1]]
    for indices in ([1, 5, 1], (1, 5, 1), np.array([1, 5, 1], np.uint8), np.array([1, 5, 1], np.uint64)):
        assert_array_equal(layer(indices).data, expected)
    assert layer([1]).dtype == np.float32
    assert layer(2).shape == (3,)
    assert layer([]).shape == (0, 3)
    assert layer(np.zeros((2, 0), int)).shape == (2, 0, 3)


def test_indices_changed_later_do_not_reach_the_gradient() -> None:
    layer = cr.nn.Embedding(3, 1, rng=0)
    indices = np.array([0, 0])
    y = layer(indices)
    indices[:] = 2
    y.sum().backward()
    assert_array_equal(layer.weight.grad, [[2.0], [0.0], [0.0]])


# Dropout


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout_keeps_the_expected_value(p: float) -> None:
    x = cr.Tensor(np.ones((200, 200)), dtype="float32")
    y = cr.nn.Dropout(p, rng=0)(x)
    y.backward(np.ones(y.shape))
    assert y.dtype == x.grad.dtype == np.float32
    assert_array_equal(x.grad, y.data)
    dropped = y.data == 0.0
    assert_array_equal(y.data[~dropped], np.float32(1.0 / (1.0 - p)))
    deviation = math.sqrt(p * (1.0 - p) / x.size)
    assert abs(dropped.mean() - p) < 4.0 * deviation


def test_dropout_is_the_identity_in_use() -> None:
    layer, x = cr.nn.Dropout(0.5, rng=0), cr.Tensor(X)
    assert layer.eval()(x) is x
    before = layer.rng.bit_generator.state
    layer(x)
    assert layer.rng.bit_generator.state == before
    assert cr.nn.Dropout(0.0)(x) is x


def test_dropout_of_everything() -> None:
    x = cr.Tensor(X)
    y = cr.nn.Dropout(1.0, rng=0)(x)
    y.backward(np.ones(X.shape))
    assert not y.data.any()
    assert not x.grad.any()


def test_the_same_rng_drops_the_same() -> None:
    def masks(rng: Any, x: Any) -> list[Any]:
        layer = cr.nn.Dropout(0.5, rng=rng)
        return [np.asarray(getattr(layer(x), "data", None)) != 0.0 for _ in range(3)]

    first = masks(7, cr.Tensor(np.ones((5, 4))))
    assert_array_equal(first, masks(np.random.default_rng(7), cr.Tensor(np.ones((5, 4)), dtype="float32")))
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(first, masks(8, cr.Tensor(np.ones((5, 4)))))
    model = cr.nn.MLP([4, 8, 8, 2], dropout=0.5, rng=3)
    twin = copy.deepcopy(model)
    assert_array_equal(model(X).data, twin(X).data)
    assert not np.array_equal(model(X).data, twin.eval()(X).data)


def test_dropout_of_numbers_and_arrays() -> None:
    layer = cr.nn.Dropout(0.5, rng=0)
    assert {layer(cr.Value(1.0)).data for _ in range(20)} == {0.0, 2.0}
    assert {float(layer(1.0)) for _ in range(20)} == {0.0, 2.0}
    assert layer(np.ones(3, np.float32)).dtype == np.float32
    assert layer(np.ones(3, int)).dtype == np.float64
    assert layer([[1.0, 2.0]]).shape == (1, 2)


# Flatten


def test_flatten() -> None:
    x = cr.Tensor(CUBE)
    y = cr.nn.Flatten()(x)
    assert_array_equal(y.data, CUBE.reshape(5, 12))
    y.backward(CUBE.reshape(5, 12))
    assert_array_equal(x.grad, CUBE)
    assert cr.nn.Flatten()(np.zeros((0, 4, 3))).shape == (0, 12)
    assert cr.nn.Flatten()(CUBE.tolist()).shape == (5, 12)
    assert cr.nn.Flatten()(x[:, 0]).shape == (5, 3)


# Initial weights

RULES: dict[str, tuple[Callable[[int, int], float], str]] = {
    "lecun_uniform": (lambda n_in, n_out: 1.0 / (3.0 * n_in), "uniform"),
    "xavier_uniform": (lambda n_in, n_out: 2.0 / (n_in + n_out), "uniform"),
    "xavier_normal": (lambda n_in, n_out: 2.0 / (n_in + n_out), "normal"),
    "he_uniform": (lambda n_in, n_out: 2.0 / n_in, "uniform"),
    "he_normal": (lambda n_in, n_out: 2.0 / n_in, "normal"),
}


@pytest.mark.parametrize("name", RULES)
def test_initial_weights_have_the_variance_of_their_rule(name: str) -> None:
    variance, distribution = RULES[name]
    n_in, n_out = 300, 200
    w = getattr(cr.nn.init, name)(np.random.default_rng(0), n_in, n_out)
    assert w.shape == (n_out, n_in)
    expected = variance(n_in, n_out)
    kurtosis = 1.8 if distribution == "uniform" else 3.0
    assert abs(w.mean()) < 4.0 * math.sqrt(expected / w.size)
    assert w.var() == pytest.approx(expected, rel=4.0 * math.sqrt((kurtosis - 1.0) / w.size))
    assert np.mean(w**4) / w.var() ** 2 == pytest.approx(kurtosis, rel=0.05)
    if distribution == "uniform":
        assert abs(w).max() == pytest.approx(math.sqrt(3.0 * expected), rel=1e-3)
        assert abs(w).max() <= math.sqrt(3.0 * expected)


@pytest.mark.parametrize("name", RULES)
def test_linear_and_mlp_take_an_initializer_or_its_name(name: str) -> None:
    function = getattr(cr.nn.init, name)
    expected = function(np.random.default_rng(5), 6, 4)
    for init in (name, function):
        assert_array_equal(cr.nn.Linear(6, 4, init=init, rng=5).weight.data, expected)
        assert_array_equal(cr.nn.MLP([6, 4, 2], init=init, rng=5)[0].weight.data, expected)
    assert function(np.random.default_rng(5), 6, 4).tobytes() == expected.tobytes()
    assert function(np.random.default_rng(6), 6, 4).tobytes() != expected.tobytes()
    assert function(np.random.default_rng(0), 0, 3).shape == (3, 0)


def test_he_keeps_the_size_of_signals_through_many_layers() -> None:
    x = np.random.default_rng(0).normal(size=(64, 128))
    for name in ("he_uniform", "he_normal"):
        y = cr.nn.MLP([128] * 21, init=name, rng=1)(x).data
        assert 0.2 < np.sqrt(np.mean(y**2)) < 5.0
    assert np.sqrt(np.mean(cr.nn.MLP([128] * 21, init="lecun_uniform", rng=1)(x).data ** 2)) < 1e-3


# MLP


def test_an_mlp_with_all_options() -> None:
    model = cr.nn.MLP([4, 8, 6, 2], "tanh", init="xavier_normal", batch_norm=True, dropout=0.2, dtype="float32", rng=0)
    assert repr(model).splitlines() == [
        "MLP(4 → 8 → 6 → 2)",
        "  (0) Linear(4, 8)",
        "  (1) BatchNorm1d(8)",
        "  (2) Tanh()",
        "  (3) Dropout(0.2)",
        "  (4) Linear(8, 6)",
        "  (5) BatchNorm1d(6)",
        "  (6) Tanh()",
        "  (7) Dropout(0.2)",
        "  (8) Linear(6, 2)",
    ]
    loss = cr.nn.cross_entropy(model(X), [0, 1, 0, 1, 1, 0])
    loss.backward()
    assert loss.dtype == np.float32
    assert all(p.dtype == p.grad.dtype == np.float32 for p in model.parameters())
    assert all(x.dtype == np.float32 for name, x in model.named_buffers() if "num" not in name)
    assert [type(layer) for layer in cr.nn.MLP([4, 2], batch_norm=True, dropout=0.5)] == [cr.nn.Linear]


def test_gradients_of_an_mlp_with_batch_norm_are_the_numeric_ones() -> None:
    model = cr.nn.MLP([4, 5, 3], "tanh", batch_norm=True, rng=0)
    assert cr.gradcheck(
        lambda: cr.nn.cross_entropy(model(X), [0, 1, 2, 1, 0, 2]), parameters=dict(model.named_parameters()), sample=15
    )


def test_options_leave_the_weights_of_the_seed_alone() -> None:
    plain = cr.nn.MLP([4, 8, 6, 2], rng=0)
    full = cr.nn.MLP([4, 8, 6, 2], batch_norm=True, dropout=0.5, rng=0)
    weights = [[layer.weight.data for layer in model if isinstance(layer, cr.nn.Linear)] for model in (plain, full)]
    for a, b in zip(*weights, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("options", [{"batch_norm": True}, {"dropout": 0.5}])
def test_what_has_no_scalar_twin_is_not_unrolled(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"unroll: expected Linear layers.* got [12]: (BatchNorm1d|Dropout)"):
        cr.nn.scalar.unroll(cr.nn.MLP([4, 3, 2], rng=0, **options))


MISUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "batch of one": (lambda: cr.nn.BatchNorm1d(4)(X[:1]), ValueError, r"BatchNorm1d: expected more than 1 value per channel when training, got an input of shape \(1, 4\)"),
    "batch of one and length one": (lambda: cr.nn.BatchNorm1d(4)(CUBE[:1, :, :1]), ValueError, r"more than 1 value per channel .* \(1, 4, 1\)"),
    "empty batch": (lambda: cr.nn.BatchNorm1d(4)(X[:0]), ValueError, r"more than 1 value per channel .* \(0, 4\)"),
    "batch norm of other channels": (lambda: cr.nn.BatchNorm1d(3)(X), ValueError, r"BatchNorm1d: expected an input of shape \(N, 3\) or \(N, 3, L\), got \(6, 4\)"),
    "batch norm of one axis": (lambda: cr.nn.BatchNorm1d(4)(X[0]), ValueError, r"BatchNorm1d: expected an input of shape .* got \(4,\)"),
    "batch norm of a Value": (lambda: cr.nn.BatchNorm1d(4)(cr.Value(1.0)), TypeError, "BatchNorm1d: expected an array or a Tensor"),
    "batch norm of text": (lambda: cr.nn.BatchNorm1d(1)([["a"]]), TypeError, "BatchNorm1d: expected real numbers"),
    "no channels": (lambda: cr.nn.BatchNorm1d(0), ValueError, "BatchNorm1d: n, the number of channels, must be at least 1, got 0"),
    "momentum beyond 1": (lambda: cr.nn.BatchNorm1d(4, momentum=1.5), ValueError, r"BatchNorm1d: momentum must lie between 0 and 1, or be None, got 1\.5"),
    "eps of 0": (lambda: cr.nn.BatchNorm1d(4, eps=0.0), ValueError, r"BatchNorm1d: eps must be positive, got 0\.0"),
    "layer norm of other lengths": (lambda: cr.nn.LayerNorm((3, 4))(CUBE), ValueError, r"LayerNorm: expected an input whose last axes have lengths \(3, 4\), got shape \(5, 4, 3\)"),
    "layer norm of too few axes": (lambda: cr.nn.LayerNorm((6, 4, 3))(CUBE[0]), ValueError, r"LayerNorm: .* got shape \(4, 3\)"),
    "layer norm of nothing": (lambda: cr.nn.LayerNorm(()), ValueError, r"LayerNorm: expected positive lengths of the last axes, got \(\)"),
    "eps of text": (lambda: cr.nn.LayerNorm(4, eps="a"), ValueError, "LayerNorm: eps must be positive, got 'a'"),
    "momentum of text": (lambda: cr.nn.BatchNorm1d(4, momentum="a"), ValueError, "BatchNorm1d: momentum must lie .* got 'a'"),
    "no initializer": (lambda: cr.nn.MLP([3, 2], init=5), TypeError, r"Linear: init must be a function, or the name of one in nn\.init, got 5"),
    "infinite eps": (lambda: cr.nn.BatchNorm1d(4, eps=math.inf), ValueError, "BatchNorm1d: eps must be finite, got inf"),
    "true eps": (lambda: cr.nn.LayerNorm(4, eps=True), ValueError, "LayerNorm: eps must be positive, got True"),
    "true momentum": (lambda: cr.nn.BatchNorm1d(4, momentum=True), ValueError, "BatchNorm1d: momentum must lie .* got True"),
    "a true p": (lambda: cr.nn.Dropout(True), TypeError, "Dropout: p must be a number between 0 and 1, got True"),
    "dropout of an MLP by text": (lambda: cr.nn.MLP([2, 2], dropout="a"), TypeError, "MLP: dropout must be a number between 0 and 1, got 'a'"),
    "dropout beyond 1, of no layer": (lambda: cr.nn.MLP([2, 2], dropout=7), ValueError, "MLP: dropout must lie between 0 and 1, got 7"),
    "batch norm or not": (lambda: cr.nn.MLP([2, 2], batch_norm="no"), TypeError, "MLP: batch_norm must be True or False, got 'no'"),
    "a bias or not": (lambda: cr.nn.Linear(2, 2, bias="no"), TypeError, "Linear: bias must be True or False, got 'no'"),
    "training or not": (lambda: cr.nn.Linear(2, 2).train("no"), TypeError, "train: mode must be True or False, got 'no'"),
    "a neuron that bends or not": (lambda: cr.nn.scalar.Neuron(2, "no"), TypeError, "Neuron: nonlin must be True or False"),
    "a fused layer or not": (lambda: cr.nn.scalar.MLP(2, [2], fused="no"), TypeError, "Layer: fused must be True or False"),
    "shuffled or not": (lambda: cr.nn.Batches(X, shuffle="no"), TypeError, "Batches: shuffle must be True or False"),
    "weights of NaN": (lambda: cr.nn.Linear(2, 1, init=lambda *_: [[0.0, math.nan]]), ValueError, "init: expected finite weights"),
    "weights of text": (lambda: cr.nn.Linear(2, 1, init=lambda *_: [["a", "b"]]), TypeError, "init: expected real numbers"),
    "a seed to draw with": (lambda: cr.nn.init.he_normal("a", 2, 2), TypeError, "he_normal: rng must be a seed"),
    "a size to draw": (lambda: cr.nn.init.xavier_uniform(np.random.default_rng(0), 2, "a"), TypeError, "xavier_uniform: n_out must be a whole number"),
    "twin of a number": (lambda: cr.nn.scalar.unroll(5), TypeError, "unroll: mlp must be a Sequential, such as an MLP, got 5"),
    "negative eps": (lambda: cr.nn.LayerNorm(4, eps=-1.0), ValueError, r"LayerNorm: eps must be positive, got -1\.0"),
    "float indices": (lambda: cr.nn.Embedding(3, 2)([0.0, 1.0]), TypeError, "Embedding: indices must be integers, got float64"),
    "boolean indices": (lambda: cr.nn.Embedding(3, 2)([True]), TypeError, "Embedding: indices must be integers, got bool"),
    "a Tensor of indices": (lambda: cr.nn.Embedding(3, 2)(cr.Tensor([1.0])), TypeError, "Embedding: indices must be plain integers, got Tensor"),
    "index too large": (lambda: cr.nn.Embedding(3, 2)([0, 3]), IndexError, "Embedding: indices run from 0 to 3, but there are 3 vectors, from 0"),
    "negative index": (lambda: cr.nn.Embedding(3, 2)([-1, 2]), IndexError, "Embedding: indices run from -1 to 2, but there are 3 vectors"),
    "negative size": (lambda: cr.nn.Embedding(-1, 2), ValueError, "Embedding: n must be at least 0, got -1"),
    "p beyond 1": (lambda: cr.nn.Dropout(1.5), ValueError, r"Dropout: p must lie between 0 and 1, got 1\.5"),
    "negative p": (lambda: cr.nn.Dropout(-0.1), ValueError, r"Dropout: p must lie between 0 and 1, got -0\.1"),
    "p of NaN": (lambda: cr.nn.Dropout(math.nan), ValueError, "Dropout: p must lie between 0 and 1, got nan"),
    "p of text": (lambda: cr.nn.Dropout("a"), TypeError, r"Dropout: p must be a number between 0 and 1, got 'a' \(str\)"),
    "p of an MLP": (lambda: cr.nn.MLP([3, 4, 2], dropout=2.0), ValueError, r"MLP: dropout must lie between 0 and 1, got 2\.0"),
    "dropout of text": (lambda: cr.nn.Dropout()("text"), TypeError, "Dropout: expected a number, an array"),
    "flatten of one axis": (lambda: cr.nn.Flatten()(X[0]), ValueError, r"Flatten: expected an input of shape \(N, ...\), got \(4,\)"),
    "unknown initializer": (lambda: cr.nn.MLP([3, 2], init="he"), ValueError, "no initializer is called 'he'; there are he_normal, he_uniform"),
    "unknown activation": (lambda: cr.nn.init.initializer_for("rleu"), ValueError, "no activation is called 'rleu'; there are elu"),
    "unknown distribution": (lambda: cr.nn.init.initializer_for("relu", "cauchy"), ValueError, "distribution must be 'uniform' or 'normal', got 'cauchy'"),
    "initializer of another shape": (lambda: cr.nn.Linear(3, 2, init=lambda rng, n_in, n_out: np.ones((n_in, n_out))), ValueError, r"init: expected weights of shape \(n_out, n_in\) = \(2, 3\), got \(3, 2\)"),
}  # fmt: skip


SCALAR = cr.nn.scalar
NO_SIZES: dict[str, tuple[Callable[[Any], Any], str]] = {  # takes what is no whole number; what it is called
    "Linear": (lambda n: cr.nn.Linear(n, 1), "Linear: n_in"),
    "Linear's outputs": (lambda n: cr.nn.Linear(1, n), "Linear: n_out"),
    "MLP": (lambda n: cr.nn.MLP([2, n, 1]), "MLP: sizes[1]"),
    "BatchNorm1d": (lambda n: cr.nn.BatchNorm1d(n), "BatchNorm1d: n, the number of channels,"),
    "LayerNorm": (lambda n: cr.nn.LayerNorm(n), "LayerNorm: shape[0]"),
    "LayerNorm's axes": (lambda n: cr.nn.LayerNorm([2, n]), "LayerNorm: shape[1]"),
    "Embedding": (lambda n: cr.nn.Embedding(n, 2), "Embedding: n"),
    "Embedding's vectors": (lambda n: cr.nn.Embedding(2, n), "Embedding: dim"),
    "Neuron": (lambda n: SCALAR.Neuron(n), "Neuron: n_in"),
    "Layer": (lambda n: SCALAR.Layer(n, 1), "Layer: n_in"),
    "Layer's neurons": (lambda n: SCALAR.Layer(1, n), "Layer: n_out"),
    "MLP of numbers": (lambda n: SCALAR.MLP(n, [1]), "MLP: n_in"),
    "its layers": (lambda n: SCALAR.MLP(2, [3, n]), "MLP: n_outs[1]"),
}


@pytest.mark.parametrize("n", [2.5, 2.0, "a", None, True, -1], ids=repr)
@pytest.mark.parametrize("name", NO_SIZES)
def test_a_size_is_a_whole_number(name: str, n: Any) -> None:
    make, what = NO_SIZES[name]
    error, said = (
        (ValueError, "must be at least [01], got -1") if n == -1 else (TypeError, "must be a whole number, got ")
    )
    given = re.escape("" if n == -1 else cr.autograd.plain.describe(n))
    with pytest.raises(error, match=f"^{re.escape(what)} {said}{given}$"):
        make(n)


@pytest.mark.parametrize("make", [cr.nn.MLP, lambda sizes: SCALAR.MLP(2, sizes)])
@pytest.mark.parametrize("sizes", [None, 5, {2: 1}, np.array(3)], ids=repr)
def test_sizes_are_a_sequence(make: Callable[[Any], Any], sizes: Any) -> None:
    with pytest.raises(TypeError, match=r"MLP: (sizes|n_outs) must be a sequence of whole numbers, got"):
        make(sizes)


def test_numpys_whole_numbers_are_sizes() -> None:
    assert cr.nn.MLP(np.array([2, 3]))[0].weight.shape == (3, 2)
    assert cr.nn.LayerNorm(np.array([2, 3])).weight.shape == cr.nn.LayerNorm((np.int8(2), 3)).weight.shape == (2, 3)


SEEDED: dict[str, Callable[..., Any]] = {
    "Linear": lambda **given: cr.nn.Linear(1, 1, **given),
    "MLP": lambda **given: cr.nn.MLP([1, 1], **given),
    "Dropout": lambda **given: cr.nn.Dropout(**given),
    "Embedding": lambda **given: cr.nn.Embedding(1, 1, **given),
    "Neuron": lambda **given: SCALAR.Neuron(1, **given),
    "Layer": lambda **given: SCALAR.Layer(1, 1, **given),
    "MLP of numbers": lambda **given: SCALAR.MLP(1, [1], **given),
    "Batches": lambda **given: cr.nn.Batches([1.0], **given),
    "split": lambda **given: cr.nn.split([1.0, 2.0], **given),
}


@pytest.mark.parametrize(
    ("rng", "error"), [("a", TypeError), (1.5, TypeError), (object(), TypeError), (-1, ValueError)]
)
@pytest.mark.parametrize("name", SEEDED)
def test_what_is_no_seed_is_told(name: str, rng: Any, error: type[Exception]) -> None:
    said = f"^{name.split()[0]}: rng must be a seed, from 0, a NumPy generator or None, got "
    with pytest.raises(error, match=said + re.escape(cr.autograd.plain.describe(rng))):
        SEEDED[name](rng=rng)


@pytest.mark.parametrize("name", ["MLP", "Neuron", "Layer", "MLP of numbers"])
def test_an_activation_goes_by_its_name(name: str) -> None:
    for activation in (5, None, ["relu"], cr.relu):
        with pytest.raises(TypeError, match=f"^{name.split()[0]}: activation must be the name of one, got "):
            SEEDED[name](activation=activation)


@pytest.mark.parametrize("yes", [True, np.True_])
def test_flags_may_be_numpys(yes: Any) -> None:
    model = cr.nn.MLP([4, 3, 2], batch_norm=yes, rng=0)
    assert repr(model) == repr(cr.nn.MLP([4, 3, 2], batch_norm=True))
    assert model.eval().train(yes).training is True
    assert cr.nn.Linear(2, 2, bias=yes).bias is not None


@pytest.mark.parametrize("name", MISUSED)
def test_misuse_is_explained(name: str) -> None:
    call, error, message = MISUSED[name]
    with pytest.raises(error, match=message):
        call()
