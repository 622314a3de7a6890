"""compile: the code gives what the function gives, for every row; what cannot be compiled is refused, never frozen."""

from __future__ import annotations

import collections
import copy
import cProfile
import decimal
import functools
import gc
import itertools
import math
import os
import pickle
import random
import re
import signal
import sys
import threading
import time
import tracemalloc
import warnings
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import check, like, node
from samples import EACH, SAMPLES, Sample

import chainrule as cr

RNG = np.random.default_rng


def asks_for_numbers(sample: Sample) -> bool:
    return "data" in sample.f.__code__.co_names or not {"argsort", "integers"}.isdisjoint(sample.f.__code__.co_names)


def is_quick(name: str, i: int) -> bool:
    """The first sample of each row, and the last."""
    return i in (0, len(SAMPLES[name]) - 1)


each = pytest.mark.parametrize(
    "sample",
    [
        pytest.param(s, id=f"{n}-{i}", marks=() if is_quick(n, i) else pytest.mark.slow)
        for n, i, s in EACH
        if not asks_for_numbers(s)
    ],
)


def assert_same(a: Any, b: Any) -> None:
    assert type(a) is type(b) or np.ndim(a) == 0 == np.ndim(b)  # NumPy has scalars, and arrays without axes
    a, b = (x.data if isinstance(x, cr.Node) else x for x in (a, b))
    assert np.asarray(a).dtype == np.asarray(b).dtype
    assert_allclose(a, b, rtol=1e-12, atol=1e-13)


def by_code(compiled: Any, *args: Any, **options: Any) -> Any:
    """What the code gives: at the 1st, 2nd, 4th … call, what the function gives counts."""
    for _ in range(9):
        before = compiled.compiled_calls
        y = compiled(*args, **options)
        if compiled.compiled_calls > before:
            return y
    raise AssertionError(compiled)


@each
def test_every_row_compiles_to_the_same_values_and_gradients(sample: Sample) -> None:
    compiled = cr.compile(sample.f)
    for scale in 1.0, 1.001:  # the second time, other data goes through the same code
        nodes = [node(x * scale) for x in sample.args]
        y, expected = by_code(compiled, *nodes), sample.f(*nodes)
        assert_same(y, expected)
        seed = like(expected.data, RNG(0))
        pairs = zip(cr.gradients(y, nodes, seed=seed), cr.gradients(expected, nodes, seed=seed), strict=True)
        for g, h in pairs:
            assert_same(g, h)
    assert compiled.recordings == 1


@pytest.mark.parametrize("name", [n for n, s in SAMPLES.items() if not asks_for_numbers(s[-1])])
def test_second_derivatives(name: str) -> None:
    sample = SAMPLES[name][-1]
    check(cr.compile(sample.f), *sample.args, order=2)


DERIVATIVES: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "grad": (cr.grad(lambda x: cr.sum(cr.tanh(x) * x)), (RNG(0).normal(size=4),)),
    "second": (cr.grad(cr.grad(lambda x: cr.exp(cr.sin(x)))), (0.7,)),
    "value_and_grad": (cr.value_and_grad(lambda w, x: cr.sum((x @ w) ** 2), (0, 1)), (np.ones(2), np.ones((3, 2)))),
    "of containers": (
        cr.grad(lambda p, x: cr.sum(x @ p["w"] + p["b"])),
        ({"w": np.ones(2), "b": 1.0}, np.ones((3, 2))),
    ),
    "jacobian": (cr.jacobian(lambda x: cr.sin(x) * x[0]), (np.array([0.3, 0.5]),)),
    "hessian": (cr.hessian(lambda x: cr.sum(x**3)), (np.array([1.0, 2.0]),)),
    "hvp": (cr.hvp(lambda x: cr.sum(x**3)), (np.array([1.0, 2.0]), np.array([1.0, -1.0]))),
    "jvp": (lambda x: cr.jvp(cr.sin, (x,), (2.0,)), (0.3,)),
    "where": (cr.grad(lambda x: cr.sum(cr.where(x > 0, cr.sqrt(x), 0.0))), (np.array([0.0, 4.0, -1.0]),)),
}


@pytest.mark.parametrize("name", DERIVATIVES)
def test_derivatives_compile_whole(name: str) -> None:
    f, args = DERIVATIVES[name]
    compiled = cr.compile(f)
    for scale in 1.0, 1.5:
        moved = [{k: v * scale for k, v in x.items()} if isinstance(x, dict) else x * scale for x in args]
        with np.errstate(all="ignore"):
            pairs = zip(flat(by_code(compiled, *moved)), flat(f(*moved)), strict=True)
        for a, b in pairs:
            assert_allclose(a, b, rtol=1e-12)


def flat(tree: Any) -> list[Any]:
    parts = tree.values() if isinstance(tree, dict) else tree if isinstance(tree, tuple) else None
    return [tree] if parts is None else [x for part in parts for x in flat(part)]


def test_the_source_reads_as_a_person_writes() -> None:
    model = cr.nn.MLP([3, 4, 2], rng=0)
    loss = cr.compile(lambda x, y: cr.nn.mse_loss(model(x), y))
    loss(np.ones((5, 3)), np.zeros((5, 2)))
    assert loss.source == (
        "def forward(x, y, _0_weight, _0_bias, _2_weight, _2_bias):\n"
        "    v1 = x.dot(_0_weight.T)\n"
        "    v1 += _0_bias\n"
        "    v2 = np.maximum(v1, zero_float64)\n"
        "    v3 = v2.dot(_2_weight.T)\n"
        "    v3 += _2_bias\n"
        "    v4 = v3 - y\n"
        "    v5 = v4 * v4\n"
        "    v6 = np.add.reduce(v5, axis=None)\n"
        "    v7 = v6 / 10\n"
        "    return [v7], (v2, v4)\n"
        "\n"
        "def backward(g, x, y, _0_weight, _0_bias, _2_weight, _2_bias, v2, v4):\n"
        "    v8 = g * 0.1\n"
        "    v9 = v8.reshape((1, 1))\n"
        "    v10 = broadcast_to(v9, shape=(5, 2))\n"
        "    v11 = 2.0 * v10\n"
        "    v11 *= v4\n"
        "    v13 = v11.dot(_2_weight)\n"
        "    v14 = v11.T\n"
        "    v15 = v14.dot(v2)\n"
        "    v16 = ones_5_float64.dot(v11)\n"
        "    v17 = np.where(v2, v13, zero_float64)\n"
        "    v18 = v17.T\n"
        "    v19 = v18.dot(x)\n"
        "    v20 = ones_5_float64.dot(v17)\n"
        "    return (None, None, v19, v20, v15, v16)\n"
    )


X, Y = RNG(0).random((8, 5)), RNG(1).integers(0, 3, 8)
T = RNG(2).random((8, 3))
SHARES = T / T.sum(1, keepdims=True)
SIGNS = np.where(T > 0.5, 1, -1)
nn = cr.nn

LOSSES: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
    "cross_entropy": (nn.cross_entropy, Y),
    "cross_entropy, smoothed": (lambda p, y: nn.cross_entropy(p, y, label_smoothing=0.1), Y),
    "cross_entropy of each": (lambda p, y: nn.cross_entropy(p, y, reduction="none"), Y),
    "cross_entropy, small integers": (nn.cross_entropy, Y.astype(np.uint8)),
    "cross_entropy, integers of another machine": (nn.cross_entropy, Y.astype(">i8")),
    "cross_entropy of probabilities": (nn.cross_entropy, SHARES),
    "softmax_cross_entropy": (cr.softmax_cross_entropy, Y),
    "nll_loss": (lambda p, y: nn.nll_loss(cr.log_softmax(p), y), Y),
    "mse_loss": (nn.mse_loss, T),
    "mse_loss to integers": (nn.mse_loss, SIGNS),
    "l1_loss": (nn.l1_loss, T),
    "huber_loss": (nn.huber_loss, T),
    "hinge_loss": (nn.hinge_loss, SIGNS),
    "binary_cross_entropy": (lambda p, t: nn.binary_cross_entropy(cr.sigmoid(p), t), T),
    "binary_cross_entropy_with_logits": (nn.binary_cross_entropy_with_logits, T),
    "kl_div": (lambda p, t: nn.kl_div(cr.log_softmax(p), t), SHARES),
}

MODELS: dict[str, tuple[Any, Any]] = {
    **{f"MLP, {name}": (nn.MLP([5, 4, 3], activation=name, rng=0), X) for name in ("relu", "tanh", "gelu", "elu", "silu")},
    "float32 on float64": (nn.MLP([5, 4, 3], dtype="float32", rng=0), X),
    "BatchNorm1d in use": (nn.MLP([5, 4, 3], batch_norm=True, rng=0).eval(), X),
    "Dropout in use": (nn.MLP([5, 4, 3], dropout=0.5, rng=0).eval(), X),
    "LayerNorm": (nn.Sequential(nn.Linear(5, 4, rng=0), nn.LayerNorm(4), nn.Linear(4, 3, rng=1)), X),
    "Embedding": (nn.Sequential(nn.Embedding(7, 4, rng=0), nn.Flatten(), nn.Linear(12, 3, rng=0)), RNG(3).integers(0, 7, (8, 3))),
}  # fmt: skip


def assert_compiles(f: Callable[[Any, Any], Any], x: Any, y: Any, parameters: list[Any]) -> None:
    compiled = cr.compile(f)
    for order in slice(None), slice(None, None, -1):
        a, b = by_code(compiled, x[order], y[order]), f(x[order], y[order])
        seed = np.ones(a.shape)
        assert_close(a.data, b.data)
        pairs = zip(cr.gradients(a, parameters, seed), cr.gradients(b, parameters, seed), strict=True)
        for g, h in pairs:
            assert_close(g, h)


def assert_close(a: Any, b: Any) -> None:
    tolerance = 1e-5 if np.asarray(a).dtype == np.float32 else 1e-12
    assert np.asarray(a).dtype == np.asarray(b).dtype
    assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    loss, target = LOSSES[name]
    model = nn.MLP([5, 4, 3], rng=0)
    assert_compiles(lambda x, y: loss(model(x), y), X, target, model.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_models(name: str) -> None:
    model, x = MODELS[name]
    assert_compiles(lambda x, y: nn.cross_entropy(model(x), y), x, Y, model.parameters())


def test_scalar_models() -> None:
    for model in nn.scalar.MLP(2, [3, 1]), nn.scalar.unroll(nn.MLP([2, 3, 1], rng=0)):
        compiled = cr.compile(model)
        for x in (0.3, -0.4), (0.5, 0.2):
            y, expected = by_code(compiled, x), model(x)
            assert_allclose(y.data, expected.data, rtol=1e-14)
            found, wanted = (cr.gradients(z, model.parameters()) for z in (y, expected))
            assert_allclose(found, wanted, rtol=1e-12)


def test_a_neuron_of_many_inputs() -> None:
    neuron = nn.scalar.Neuron(600, rng=0)
    compiled = cr.compile(neuron)
    for x in [0.1] * 600, [0.2] * 600:
        assert_allclose(by_code(compiled, x).data, neuron(x).data, rtol=1e-12)


def test_a_model_is_trained_as_without() -> None:
    losses = []
    for make in cr.compile, lambda f: f:
        model = nn.MLP([5, 8, 3], rng=0)
        optimizer = nn.SGD(model.parameters(), lr=0.1, momentum=0.9)
        objective = make(lambda x, y, model=model: nn.cross_entropy(model(x), y))
        losses.append([])
        for _ in range(30):
            loss = objective(X, Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses[-1].append(loss.item())
    assert_allclose(losses[0], losses[1], rtol=1e-10)
    assert losses[0][-1] < losses[0][0] / 2


# What changes is seen


class Scaled(nn.Module):
    """A model with state of every kind."""

    def __init__(self) -> None:
        self.factor = 2.0
        self.weights = [cr.Tensor([1.0, 1.0])]
        self.shift = np.zeros(2)

    def forward(self, x: Any) -> Any:
        return cr.sum(x * self.weights[0] * self.factor + (self.shift + 0.0))


def replace_weight(model: Scaled) -> None:
    model.weights[0] = cr.Tensor([3.0, 3.0])


def update_weight(model: Scaled) -> None:
    model.weights[0].data = [5.0, 5.0]


def change_number(model: Scaled) -> None:
    model.factor = 7.0


def write_into_array(model: Scaled) -> None:
    model.shift += 1.0


def add_attribute(model: Scaled) -> None:
    model.training = False


@pytest.mark.parametrize("change", [replace_weight, update_weight, change_number, write_into_array, add_attribute])
def test_changes_to_a_model_are_seen(change: Callable[[Scaled], None]) -> None:
    model = Scaled()
    compiled = cr.compile(model)
    for _ in range(2):
        y = by_code(compiled, np.ones(2))
        assert_array_equal(y.data, model(np.ones(2)).data)
        assert_array_equal(cr.gradients(y, model.weights[0]), cr.gradients(model(np.ones(2)), model.weights[0]))
        change(model)
    assert_array_equal(by_code(compiled, np.ones(2)).data, model(np.ones(2)).data)


def test_training_and_use_are_recorded_once_each() -> None:
    model = nn.MLP([5, 4, 3], dropout=0.0, rng=0)
    compiled = cr.compile(model)
    for _ in range(3):
        for mode in model.train, model.eval:
            mode()
            compiled(X)
    assert compiled.recordings == 2


def test_what_the_function_names_from_outside_is_seen() -> None:
    variable, number, array, flags = cr.Value(3.0), 2.0, np.ones(2), nn.Module()
    flags.on = True
    compiled = cr.compile(lambda x: cr.sum(x * variable * number * (array + 0.0)) if flags.on else cr.sum(x))
    assert by_code(compiled, np.ones(2)).item() == 12.0
    variable = cr.Value(5.0)
    assert by_code(compiled, np.ones(2)).item() == 20.0
    variable.data = 7.0
    assert by_code(compiled, np.ones(2)).item() == 28.0
    number = 3.0
    with pytest.warns(UserWarning, match="recorded anew, as number changed"):
        assert by_code(compiled, np.ones(2)).item() == 42.0
    array[0] = 3.0
    with pytest.warns(UserWarning, match="recorded anew, as array changed"):
        assert by_code(compiled, np.ones(2)).item() == 84.0
    flags.on = False
    assert float(by_code(compiled, np.ones(2))) == 2.0


SCALE = {"of all": 2.0}


class Scales:
    """A number in a class, on an instance, further down, and a method that uses a global too."""

    factor = 2.0

    def __init__(self) -> None:
        self.factor = 2.0
        self.inner = SimpleNamespace(factors=[2.0])
        self.drawn, self.queue = {2.0}, collections.deque([2.0])

    def __call__(self, x: Any) -> Any:
        return x * self.factor * self.inner.factors[0] * SCALE["of all"]

    def again(self, x: Any) -> Any:
        return self(x)


class Times(nn.Module):
    """A model that names a global, and holds an object that is none."""

    def __init__(self, scales: Scales) -> None:
        self.scales = scales

    def forward(self, x: Any) -> Any:
        return x * SCALE["of all"] * self.scales.factor


def scaled(x: Any, by: list[float]) -> Any:
    return x * by[0] * SCALE["of all"]


def set_class(scales: Scales, by: list[float]) -> None:
    Scales.factor += 1.0


def set_instance(scales: Scales, by: list[float]) -> None:
    scales.factor += 1.0


def set_deep(scales: Scales, by: list[float]) -> None:
    scales.inner.factors[0] += 1.0
    scales.drawn.add(scales.inner.factors[0])
    scales.queue[0] += 1.0


def set_global(scales: Scales, by: list[float]) -> None:
    SCALE["of all"] += 1.0


def set_list(scales: Scales, by: list[float]) -> None:
    by[0] += 1.0


NAMING: dict[str, Callable[[Scales, list[float]], Callable[..., Any]]] = {
    "object": lambda scales, by: scales,
    "method": lambda scales, by: scales.again,
    "object named": lambda scales, by: lambda x: x * scales.factor * scales.inner.factors[0] * SCALE["of all"],
    "object given": lambda scales, by: functools.partial(lambda s, x: s.again(x) * SCALE["of all"], scales),
    "method named": lambda scales, by: lambda x, f=scales.again: f(x),
    "partial": lambda scales, by: functools.partial(scaled, by=by),
    "model": lambda scales, by: functools.partial(lambda model, x: model(x) * 1.0, Times(scales)),
    "set": lambda scales, by: lambda x: x * sum({*by}) * sum(scales.drawn) * sum(scales.queue),
    "class": lambda scales, by: lambda x: x * Scales.factor * by[0],
}


@pytest.mark.parametrize("change", [set_class, set_instance, set_deep, set_global, set_list])
@pytest.mark.parametrize("name", NAMING)
def test_numbers_in_containers_and_objects_are_seen(name: str, change: Callable[..., None]) -> None:
    scales, by = Scales(), [2.0]
    f = NAMING[name](scales, by)
    compiled = cr.compile(f)
    for _ in range(2):
        assert by_code(compiled, 3.0) == f(3.0)
        change(scales, by)
    assert by_code(compiled, 3.0) == f(3.0)


@pytest.mark.filterwarnings("ignore:.*recorded anew")
def test_what_is_defined_later_is_seen() -> None:
    space: dict[str, Any] = {"cr": cr, "__name__": "notebook"}
    exec("@cr.compile\ndef f(x): return helper(x) * scale\ndef helper(x): return x", space)
    for cell, expected in (
        ("scale = 2.0", 2.0),
        ("scale = 3.0", 3.0),
        ("b = 5.0\ndef helper(x): return x * b", 15.0),
        ("b = 7.0", 21.0),
    ):
        exec(cell, space)
        assert by_code(space["f"], 1.0) == expected


class Pair(NamedTuple):
    a: Any
    b: Any


@dataclass(frozen=True)
class Frozen:
    a: Any
    b: Any


@dataclass
class Open:
    a: Any
    b: Any


@pytest.mark.parametrize("kind", [Pair, Frozen, Open])
def test_variables_in_records_are_told_apart_though_they_are_equal(kind: Callable[..., Any]) -> None:
    compiled = cr.compile(lambda pair, x: cr.sum(pair.a * x + pair.b))
    for a in 2.0, [2.0, 3.0]:
        for _ in range(3):
            pair = kind(cr.Tensor(a), cr.Tensor(a))
            assert_array_equal(cr.gradients(compiled(pair, 3.0), pair.a), np.full(np.shape(a), 3.0))


def test_equal_options_of_other_types_are_told_apart() -> None:
    compiled = cr.compile(lambda option, x: x * option.a)
    for number in 2.0, 2, True:
        assert by_code(compiled, Frozen(number, None), np.arange(3)).dtype == (np.arange(3) * number).dtype


def test_arguments_by_name_are_not_taken_for_a_dict() -> None:
    compiled = cr.compile(lambda p=None, a=None: a * 3.0 if p is None else p["a"] * 2.0)
    assert [compiled({"a": 1.0}), compiled(a=1.0)] == [2.0, 3.0]


def test_a_subclass_of_float_is_an_option() -> None:
    assert cr.compile(lambda a, b: a * b)(type("Metre", (float,), {})(2.0), 3.0) == 6.0


class Method(nn.Module):
    """A model with a compiled method, and with attributes that have the names of the compiler's own."""

    def __init__(self, w: float) -> None:
        self.w = cr.Value(w)
        self.known = self.record = self.given = 3

    @cr.compile
    def forward(self, x: Any) -> Any:
        return x * self.w


def test_methods() -> None:
    one, two = Method(2.0), Method(5.0)
    compiled = cr.compile(two)
    for x in 3.0, 4.0, 5.0:
        assert [one(x).data, two(x).data, compiled(x).data] == [2.0 * x, 5.0 * x, 5.0 * x]
        assert cr.gradients(two(x), [one.w, two.w]) == [0.0, x]


def test_several_variables_named_from_outside() -> None:
    w, v, u = cr.Tensor(np.ones(3, np.float32)), cr.Value(2.0), cr.Value(2.0)
    compiled = cr.compile(lambda x: cr.sum(w * x + v) * u)
    for x in np.ones(3), 2.0 * np.ones(3):
        y = by_code(compiled, x)
        assert_array_equal(y.data, 2.0 * x.sum() + 12.0)
        gw, gv, gu = cr.gradients(y, [w, v, u])
        assert_array_equal(gw, 2.0 * x)
        assert (gv, gu) == (6.0, x.sum() + 6.0)


def test_other_kinds_of_arguments_are_recorded_anew() -> None:
    compiled = cr.compile(lambda x, how="sum", n=1: (cr.sum(x) if how == "sum" else cr.mean(x)) * n)
    assert by_code(compiled, np.ones(3)) == 3.0
    assert by_code(compiled, np.ones(4)) == 4.0
    assert by_code(compiled, np.ones(4), "mean") == 1.0
    assert by_code(compiled, np.ones(4), "mean", n=2) == 2.0
    assert by_code(compiled, np.ones(4, np.float32)).dtype == np.float32
    assert by_code(compiled, 2.5) == 2.5
    assert by_code(compiled, cr.Value(2.5)).data == 2.5
    assert repr(compiled) == "<compile(<lambda>), 7 recordings, 7 of 21 calls compiled>"


def test_a_function_recorded_all_the_time_says_so() -> None:
    compiled = cr.compile(lambda x, n: x * n)
    with pytest.warns(UserWarning, match="runs as it is, not compiled: it was recorded 32 times"):
        assert [compiled(2.0, n) for n in range(40)] == [2.0 * n for n in range(40)]


# What it returns is what the function would have returned


def both(f: Callable[..., Any], *args: Any) -> Iterator[tuple[Any, Any]]:
    """What the compiled function gives and what the function gives, at several calls, the code among them."""
    compiled = cr.compile(f, strict=True)
    for _ in range(6):
        yield compiled(*args), f(*args)
    assert compiled.compiled_calls == 3


@dataclass
class Outcome:
    loss: Any
    note: Any


RETURNED: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "None beside a number": (lambda x: (x * 2.0, None), (1.0,)),
    "text": (lambda x: {"y": x * 2.0, "what": "double"}, (1.0,)),
    "a dataclass": (lambda x: Outcome(x * 2.0, [x + 1.0]), (1.0,)),
    "a comparison": (lambda x: x > 0, (np.array([1.0, -1.0]),)),
    "a comparison of numbers": (lambda x: (x > 0, x < 0), (2.0,)),
    "whole numbers": (lambda x: cr.where(x > 0, 1, 0), (2.0,)),
    "NumPy's number": (lambda x: x * 0.1, (np.float64(2.0),)),
    "NumPy's number as one": (lambda x: cr.exp(x), (np.float64(2.0),)),
    "of two precisions": (lambda x, t: x - t * x, (np.ones(3, np.float32), np.float64(0.2))),
    "a Value beside float32": (lambda v, x: v * x, (cr.Value(2.0), np.ones(2, np.float32))),
    "a gradient in float32": (cr.value_and_grad(lambda x: cr.mean(x * x)), (np.ones(5, np.float32),)),
    "a view": (lambda x: x.T, (np.ones((2, 3)),)),
    "a slice": (lambda x, s: x[s] * 2.0, (np.arange(3.0), slice(1, 3))),
}


@pytest.mark.parametrize("name", RETURNED)
def test_the_result_is_of_the_same_kind(name: str) -> None:
    f, args = RETURNED[name]
    for found, expected in both(f, *args):
        assert type(found) is type(expected)
        assert repr(found) == repr(expected)
        pairs = zip(flat_of(found), flat_of(expected), strict=True)
        for a, b in pairs:
            assert type(a) is type(b)
            assert getattr(a, "dtype", None) == getattr(b, "dtype", None)
            if isinstance(a, np.ndarray):
                assert [np.shares_memory(a, x) for x in args] == [np.shares_memory(b, x) for x in args]


def flat_of(x: Any) -> list[Any]:
    parts = x if isinstance(x, tuple | list) else x.values() if isinstance(x, dict) else None
    parts = [x.loss, x.note] if isinstance(x, Outcome) else parts
    return [x] if parts is None else [y for part in parts for y in flat_of(part)]


def test_results_of_one_call_are_connected() -> None:
    def f(x: Any) -> Any:
        h = x * x
        return h, cr.tanh(h) * 3.0, h, x

    for found, expected in both(f, cr.Value(0.5)):
        h, y, again, x = found
        assert again is h
        assert x is expected[3]
        assert cr.gradients(y, h) == cr.gradients(expected[1], expected[0])
        assert_allclose(cr.gradients(y, x), cr.gradients(expected[1], x), rtol=1e-15)
        slope = cr.gradients(y, h, create_graph=True)
        assert_allclose(cr.gradients(slope, h), -6.0 * np.tanh(0.25) / np.cosh(0.25) ** 2, rtol=1e-12)
        assert cr.check(y)
        y.backward()
        assert h.grad == cr.gradients(y, h)
        x.grad = None


def test_features_beside_the_loss() -> None:
    w = cr.Tensor([1.0, 2.0])

    def f(x: Any) -> Any:
        a = cr.relu(x * w)
        return a, cr.sum(a * a), cr.sum(a)

    for found, expected in both(f, np.array([3.0, -1.0])):
        for y, z in (found[1:], expected[1:]):
            assert_array_equal(cr.gradients(y + z, found[0] if y is found[1] else expected[0]), [7.0, 1.0])
        assert_array_equal(cr.gradients(found[1], w), cr.gradients(expected[1], w))


# Effects, random numbers, and what is a question of who


class Counting(nn.Module):
    def __init__(self) -> None:
        self.w = cr.Value(2.0)
        self.calls = 0

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return x * self.w


def memoized() -> Callable[[Any], Any]:
    cache: dict[str, Any] = {}

    def f(x: Any) -> Any:
        if "scale" not in cache:
            cache["scale"] = 3.0
        return x * cache["scale"]

    return f


def appending() -> Callable[[Any], Any]:
    log: list[Any] = []
    return lambda x: log.append(1) or x * float(len(log))


def filling() -> Callable[[Any], Any]:
    buffer = np.zeros(1)

    def f(x: Any) -> Any:
        buffer[0] += 1.0
        return cr.sum(x * buffer)

    return f


def class_counter() -> Callable[[Any], Any]:
    class Tally:
        n = 0.0

    def f(x: Any) -> Any:
        Tally.n += 1.0
        return x * Tally.n

    return f


def nonlocal_counter() -> Callable[[Any], Any]:
    n = 0.0

    def f(x: Any) -> Any:
        nonlocal n
        n += 1.0
        return x * n

    return f


def drawing(rng: Any) -> Callable[[Any], Any]:
    return lambda x: -x if rng.random() < 0.1 else x


EFFECTS: dict[str, tuple[Callable[[], Callable[[Any], Any]], str | None]] = {
    "a counter of a model": (Counting, "changes .*calls"),
    "a list that grows": (appending, "changes log"),
    "an array written into": (filling, "changes buffer"),
    "a class attribute": (class_counter, "changes .*Tally.n"),
    "a variable around": (nonlocal_counter, "changes n"),
    "random numbers": (lambda: drawing(random.Random(1)), "random numbers are drawn"),
    "NumPy's random numbers": (lambda: drawing(np.random.default_rng(1)), "random numbers are drawn"),
    "random numbers of all": (lambda: drawing(random), "random numbers are drawn"),
    "the environment": (lambda: lambda x: x * float(os.environ.get("NO_SUCH_NAME_HERE", "2")), None),
    "what is made once": (memoized, None),
}


@pytest.mark.filterwarnings("ignore:.*runs as it is")
@pytest.mark.parametrize("name", EFFECTS)
def test_effects_are_left_behind_as_without(name: str) -> None:
    make, reason = EFFECTS[name]
    found = []
    compiled = cr.compile(make())
    for f in make(), compiled:
        random.seed(3)
        results = [f(1.0) for _ in range(40)]
        found.append([float(y.data if isinstance(y, cr.Node) else y) for y in results])
    assert found[0] == found[1]
    if reason is None:
        assert compiled.compiled_calls
    else:
        assert not compiled.compiled_calls
        assert re.search(reason, repr(compiled))


def test_an_effect_beside_more_than_can_be_looked_at_is_not_lost() -> None:
    tally = SimpleNamespace(n=0)
    zoo = SimpleNamespace(rows=[[i] for i in range(20_000)], size=2.0)

    def f(x: Any) -> Any:
        tally.n += 1
        return x * zoo.size

    compiled = cr.compile(f)
    with pytest.warns(UserWarning, match="runs as it is"):
        assert [compiled(1.0) for _ in range(9)] == [2.0] * 9
    assert tally.n == 9


def test_one_warning_says_why() -> None:
    compiled = cr.compile(lambda x: x if x > 0 else -x)
    with pytest.warns(UserWarning, match=r"compile\(<lambda>\) runs as it is, not compiled: .*cr\.where") as said:
        assert [compiled(float(x)) for x in range(-9, 9)] == [abs(float(x)) for x in range(-9, 9)]
    assert len(said) == 1
    assert compiled.calls == 18
    assert not compiled.compiled_calls
    with pytest.raises(ValueError, match="nothing is compiled: the numbers of a Value"):
        _ = compiled.source


def test_a_refusal_that_the_function_swallows_counts() -> None:
    def f(x: Any) -> Any:
        try:
            big = float(x) > 10
        except Exception:
            big = False
        return x * (100.0 if big else 1.0)

    compiled = cr.compile(f)
    with pytest.warns(UserWarning, match="numbers of a Value"):
        assert [compiled(x) for x in (1.0, 20.0, 1.0, 20.0)] == [1.0, 2000.0, 1.0, 2000.0]
    assert sys.exc_info() == (None, None, None)


ASKED: dict[str, Callable[[Any], Any]] = {
    "name": lambda x: x * (3.0 if x.name == "b" else 1.0),
    "grad": lambda x: x * (1.0 if x.grad is None else 2.0),
    "op": lambda x: x * (1.0 if x.op is None else 2.0),
    "birth": lambda x: x * float(x.birth),
    "args": lambda x: (x * x).args[0] * 2.0,
    "identity": lambda x: x * {HIDDEN: 0.0}.get(x, 1.0),
    "text": lambda x: x * float(len(f"{x}")),
    "a name given": lambda x: named(x * 2.0),
}


def named(y: Any) -> Any:
    y.name = "loss"
    return y


@pytest.mark.parametrize("name", ASKED)
def test_who_a_variable_is_is_nothing_to_record(name: str) -> None:
    compiled = cr.compile(ASKED[name], strict=True)
    with pytest.raises(TypeError, match=r"was asked for|were asked for|identity"):
        compiled(cr.Value(2.0))


def test_a_package_of_the_users_whose_name_begins_like_the_library_s_is_the_user_s() -> None:
    space: dict[str, Any] = {"__name__": "chainrule_of_mine"}
    exec("def f(x): return x * (3.0 if x.name == 'b' else 1.0)", space)
    with pytest.raises(TypeError, match="name of a Value was asked for"):
        cr.compile(space["f"], strict=True)(cr.Value(2.0))


def test_the_gradient_of_a_variable_around_is_seen() -> None:
    w = cr.Value(2.0)
    with pytest.raises(TypeError, match=r"\.grad"):
        cr.compile(lambda x: x * (1.0 if w.grad is None else 2.0), strict=True)(1.0)


# Numbers and arrays around the function


def test_what_changes_around_it_becomes_an_input() -> None:
    rate = 1.0
    compiled = cr.compile(lambda x: x * rate + (1.0 - rate))

    def change() -> None:
        nonlocal rate
        for i in range(40):
            rate = 1.0 + i
            assert compiled(2.0) == 2.0 * rate + (1.0 - rate)

    with pytest.warns(UserWarning, match="recorded anew, as rate changed") as said:
        change()
    assert len(said) == 1
    assert compiled.recordings == 2
    assert "def forward(x, rate):" in compiled.source


def test_what_another_function_reads_too_is_no_input() -> None:
    rate = 1.0

    def other() -> float:
        return rate * 2.0

    compiled = cr.compile(lambda x: x * rate + other())

    def change() -> None:
        nonlocal rate
        for i in range(12):
            rate = 1.0 + i
            assert compiled(2.0) == 4.0 * rate

    with pytest.warns(UserWarning, match="again and again, as rate changed"):
        change()


def test_large_arrays_around_it_are_inputs() -> None:
    data, target, w = RNG(0).random((400, 30)), RNG(1).random(400), cr.Tensor(np.zeros(30))
    loss = lambda: cr.mean(cr.square(data @ w - target))
    compiled = cr.compile(loss)
    for i in range(6):
        data[i] += 1.0
        y, z = compiled(), loss()
        assert_allclose(y.data, z.data, rtol=1e-13)
        assert_allclose(cr.gradients(y, w), cr.gradients(z, w), rtol=1e-12)
    assert compiled.recordings == 1
    assert "def forward(data, w)" in compiled.source


# Random numbers and statistics of layers


def test_dropout_and_batch_norm_compile_in_training() -> None:
    def losses(compile: bool) -> tuple[list[float], dict[str, Any]]:
        model = nn.Sequential(
            nn.Linear(5, 8, rng=0), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3, rng=4), nn.Linear(8, 3, rng=1)
        )
        f = lambda x, y: nn.cross_entropy(model(x), y)
        objective = cr.compile(f, strict=True) if compile else f
        optimizer = nn.SGD(model.parameters(), lr=0.1)
        found = []
        for _ in range(5):
            model.train()
            for _ in range(4):
                loss = objective(X, Y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                found.append(loss.item())
            model.eval()
            found.append(objective(X, Y).item())
        assert not compile or (objective.recordings, objective.compiled_calls > 10) == (2, True)
        return found, model.state_dict()

    (a, state), (b, other) = losses(True), losses(False)
    assert_allclose(a, b, rtol=1e-9)
    for name, x in state.items():
        assert_allclose(x, other[name], rtol=1e-7, atol=1e-9, err_msg=name)


# Those who watch the interpreter


def test_a_profiler_works_on_and_does_not_blind() -> None:
    seen: list[str] = []

    def hook(frame: Any, event: str, arg: Any) -> None:
        if event == "call":
            seen.append(frame.f_code.co_name)

    def profiled(x: Any) -> Any:
        return scaled(x, [2.0])

    for start, stop in (lambda: sys.setprofile(hook), lambda: sys.setprofile(None)), profiler():
        compiled = cr.compile(profiled)
        start()
        try:
            assert [compiled(1.0) for _ in range(3)] == [2.0 * SCALE["of all"]] * 3
            before = sys.getprofile()
        finally:
            stop()
        assert before is not None or sys.version_info >= (3, 12)  # cProfile is no hook any more
        SCALE["of all"] += 1.0
        assert compiled(1.0) == 2.0 * SCALE["of all"]
        assert compiled.recordings == 2
    assert "profiled" in seen
    assert sys.getprofile() is None


def profiler() -> tuple[Callable[[], None], Callable[[], None]]:
    own = cProfile.Profile()
    return own.enable, own.disable


def test_a_debugger_sees_each_line() -> None:
    lines: list[int] = []

    def trace(frame: Any, event: str, arg: Any) -> Any:
        if event == "line" and frame.f_code is f.__code__:
            lines.append(frame.f_lineno)
        return trace

    def f(x: Any) -> Any:
        return x * 2.0

    compiled = cr.compile(f, strict=True)
    sys.settrace(trace)
    try:
        assert [compiled(1.0) for _ in range(5)] == [2.0] * 5
        assert sys.gettrace() is trace
    finally:
        sys.settrace(None)
    assert len(lines) == 5
    assert "follows each line" in repr(compiled)
    assert [compiled(1.0) for _ in range(3)] == [2.0] * 3
    assert compiled.compiled_calls == 1


def test_no_hook_is_left_behind_by_an_error() -> None:
    def failing(x: Any) -> Any:
        raise KeyError("mine")

    compiled = cr.compile(failing)
    for _ in range(3):
        with pytest.raises(KeyError, match="mine"):
            compiled(1.0)
    assert sys.getprofile() is None


def test_threads_of_its_own_are_refused() -> None:
    def f(x: Any) -> Any:
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        return x * 2.0

    with pytest.raises(TypeError, match="_thread"):
        cr.compile(f, strict=True)(1.0)


# Copies


class Holder:
    def __init__(self) -> None:
        self.k = 2.0
        self.fast = cr.compile(self.g)

    def g(self, x: Any) -> Any:
        return x * self.k


@cr.compile
def module_level(x: Any) -> Any:
    return x * 2.0


def test_what_holds_a_compiled_function_is_copied_and_pickled() -> None:
    one = Holder()
    one.fast(1.0)
    for other in copy.deepcopy(one), pickle.loads(pickle.dumps(one)):
        other.k = 5.0
        assert [other.fast(1.0), one.fast(1.0)] == [5.0, 2.0]
    assert pickle.loads(pickle.dumps(module_level)) is module_level
    model = nn.Linear(2, 1, rng=0)
    model.fast = cr.compile(lambda x: model.weight * x)
    assert copy.deepcopy(model).weight is not model.weight


class Timed:
    @cr.compile
    def loss(self, x: Any) -> Any:
        return x * self.scale

    def __init__(self, scale: float) -> None:
        self.scale = scale


def test_what_it_was_compiled_for_is_not_kept_alive() -> None:
    gc.collect()
    gc.disable()
    try:
        for make, f in (
            (Timed, Timed.loss),
            (lambda i: nn.Linear(2, 1, rng=int(i)), cr.compile(lambda m, x: cr.sum(m(x)))),
        ):
            for i in range(40):
                one = make(float(i))
                x = 2.0 if f is Timed.loss else np.ones((3, 2))
                assert_array_equal([np.asarray(raw(f(one, x))) for _ in range(4)], [np.asarray(raw(f.f(one, x)))] * 4)
                gone = weakref.ref(one)
                del one
                assert gone() is None
            assert f.compiled_calls == 40
    finally:
        gc.enable()


def raw(y: Any) -> Any:
    return y.data if isinstance(y, cr.Node) else y


def test_many_shapes_in_turn_are_not_recorded_again_and_again() -> None:
    compiled = cr.compile(lambda x: cr.sum(x * x))
    sizes = [*range(1, 61)] * 3
    with pytest.warns(UserWarning, match="recorded 32 times"):
        assert [compiled(np.ones(n)) for n in sizes] == sizes
    assert compiled.recordings == 32
    assert compiled.compiled_calls >= 32


# A recording leaves nothing behind


class Doubling(dict[str, float]):
    def update(self, *args: Any, **kwargs: Any) -> None:
        raise AssertionError("it is the user's")


class Slotted:
    __slots__ = ("a",)


def plain_function() -> None:
    """It has no attributes."""


BUFFER, SLOTTED, HELD = bytearray(), Slotted(), Doubling(a=1.0)
LEFT: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "a list": (lambda: MADE.append(1), lambda: list(MADE)),
    "a bytearray": (lambda: BUFFER.append(1), lambda: len(BUFFER)),
    "a slot": (lambda: setattr(SLOTTED, "a", 1), lambda: hasattr(SLOTTED, "a")),
    "a class": (lambda: setattr(Slotted, "made", 1), lambda: hasattr(Slotted, "made")),
    "a function": (lambda: setattr(plain_function, "n", 1), lambda: dict(vars(plain_function))),
    "a dict of a class": (lambda: dict.__setitem__(HELD, "b", 2.0), lambda: dict(HELD)),
    "an array": (lambda: ARRAY.__setitem__(0, 5.0), ARRAY_OF := lambda: ARRAY.tolist()),
    "text": (lambda: print("it is seen"), lambda: None),
}
MADE: list[int] = []
ARRAY = np.ones(2)


@pytest.mark.filterwarnings("ignore:.*runs as it is")
@pytest.mark.parametrize("name", LEFT)
@pytest.mark.parametrize("caught", [Exception, BaseException])
def test_a_refused_recording_leaves_nothing_behind(name: str, caught: Any, capsys: pytest.CaptureFixture[str]) -> None:
    effect, look = LEFT[name]

    def f(x: Any) -> Any:
        try:
            return math.sin(x)
        except caught:
            effect()
            return 0.0

    if name == "text" and caught is BaseException:  # nothing can take that back
        return
    before = look()
    compiled = cr.compile(f)
    assert [compiled(float(i)) for i in range(5)] == [math.sin(i) for i in range(5)]
    assert look() == before
    assert capsys.readouterr().out == ""
    assert not compiled.recordings


def compile_and_wait(f: Callable[[Any], Any]) -> None:
    cr.compile(f)(1.0)
    time.sleep(1.0)  # where that was over before


def test_ctrl_c_while_it_is_recorded_comes_out() -> None:
    box = SimpleNamespace(busy=False)

    def f(x: Any) -> Any:
        box.busy = True
        for _ in range(2000):
            x = x + 1e-4 * cr.sin(x)
        box.busy = False
        return x

    def ring(*args: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, ring)
    try:
        for delay in 0.05, 0.1, 0.2, 0.3:
            signal.setitimer(signal.ITIMER_REAL, delay)
            with pytest.raises(KeyboardInterrupt):
                compile_and_wait(f)
            assert sys.getprofile() is sys.gettrace() is None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


# Rounding is no difference, and what is not read may change


CANCELLING: dict[str, tuple[Callable[..., Any], Callable[[Any], Any]]] = {
    "a saturated classifier": (
        lambda x: nn.cross_entropy(cr.Tensor(x) * 1.0, Y),
        lambda r: r.normal(size=(8, 3)) + 40.0 * np.eye(3)[Y],
    ),
    "centred": (lambda x: (x - cr.mean(x, 0)).mean(0), lambda r: r.normal(size=(50, 3)) * 1e3),
    "constant columns": (lambda x: x - x.mean(0), lambda r: np.tile([0.1, 0.7, 0.3], (7, 1)) * r.random()),
    "naive variance": (lambda x: (x * x).mean(0) - x.mean(0) ** 2, lambda r: 1e6 + r.random((30, 2))),
    "two orders": (lambda x: (x.sum(0) - x[::-1].sum(0)).sum(), lambda r: r.normal(size=(40, 3))),
}


@pytest.mark.parametrize("name", CANCELLING)
def test_rounding_is_no_difference(name: str) -> None:
    f, draw = CANCELLING[name]
    if name == "a saturated classifier":
        f = lambda x: nn.cross_entropy(x, Y)
    compiled = cr.compile(f, strict=True)
    rng = RNG(0)
    for _ in range(9):
        x = draw(rng)
        compiled(cr.Tensor(x) if name == "a saturated classifier" else x)
    assert compiled.compiled_calls == 5


def test_what_the_pass_back_does_not_read_may_change() -> None:
    w, t = cr.Tensor([1.0, 2.0, 3.0]), np.zeros(3)
    compiled = cr.compile(lambda w, t: cr.sum((w - t) ** 2))
    for k in range(6):
        t[:] = k
        y = compiled(w, t)
        t[:] = 99.0
        assert_array_equal(cr.gradients(y, w), 2.0 * (w.data - k))
    with pytest.raises(RuntimeError, match="written into"):
        cr.gradients(y, w, create_graph=True)


# What cannot be compiled is refused


def under_no_grad(x: Any) -> Any:
    with cr.no_grad():
        y = x * x
    return x * y


def backward_inside(x: Any) -> Any:
    y = x * x
    y.backward()
    return x.grad


def plain_gradients(x: Any) -> Any:
    return x * cr.gradients(x * x, x)


def write_into(x: Any, change: Any) -> Any:
    x += change
    return x * 2.0


@cr.record_lines()
def watched_inside(x: Any) -> Any:
    return x if x > 0 else -x


def anomalies_inside(x: Any) -> Any:
    with cr.detect_anomaly():
        return x if x > 0 else -x


def update_inside(x: Any) -> Any:
    HIDDEN.data = 2.0
    return x * HIDDEN


def forget_inside(x: Any) -> Any:
    nn.SGD([HIDDEN], lr=0.1).zero_grad()
    return x * HIDDEN


def step_inside(x: Any) -> Any:
    nn.SGD([cr.Tensor([1.0])], lr=0.1).step()
    return x


HIDDEN = cr.Value(2.0)
ONE, THREE = decimal.Decimal(1), decimal.Decimal(3)
COUNT = itertools.count()


WEIGHTS = iter([cr.Value(2.0)] * 9)


def hidden_weight(x: Any) -> Any:
    """A variable that nobody looks for."""
    return next(WEIGHTS)


def counted(x: Any) -> Any:
    return x * float(next(COUNT))


def filling_an_array(x: Any) -> Any:
    out = np.zeros(3)
    for i in range(3):
        out[i] = x[i] * 2.0
    return out


@functools.lru_cache
def cached() -> float:
    return 2.0


SAY = functools.partial(print, end="")
MANY = [float(i) for i in range(20_000)]


def on_arrays(x: Any) -> Any:
    return np.abs(x) if isinstance(x, np.ndarray) else x * 2.0


REFUSED: dict[str, tuple[Callable[..., Any], tuple[Any, ...], str]] = {
    "if": (lambda x: x * 2 if x > 0 else -x, (1.0,), "numbers of a Value were asked for.*cr.where"),
    "item": (lambda x: cr.sum(x).item() * x, (np.ones(2),), "was asked for|were asked for"),
    "data": (lambda x: x * x.data, (cr.Tensor([1.0, 2.0]),), "numbers of a Tensor of shape"),
    "detach": (lambda x: x * x.detach(), (cr.Tensor([1.0]),), "were asked for"),
    "float": (lambda x: x * float(x), (2.0,), "were asked for"),
    "parameter": (lambda x: x * HIDDEN.data, (2.0,), "were asked for"),
    "argmax": (lambda x: x[np.argmax(x)], (np.ones(2),), "were asked for"),
    "random": (lambda x: x * np.random.default_rng().random(2), (np.ones(2),), "urandom"),
    "count": (counted, (2.0,), r"whether COUNT \(count\) changes"),
    "no_grad": (under_no_grad, (2.0,), "no_grad.. would freeze the result of mul"),
    "backward": (backward_inside, (cr.Value(2.0),), "calls backward"),
    "gradients": (plain_gradients, (cr.Value(2.0),), "create_graph=True"),
    "hidden variable": (
        lambda x: x * hidden_weight(x),
        (2.0,),
        "nobody sees from where|cannot be seen|changes from call",
    ),
    "complex": (lambda x: x, (np.ones(2) * 1j,), "array of dtype complex128, and knows real numbers only"),
    "format": (lambda x: x * float(f"{x:.1f}"), (2.0,), "was asked for"),
    "record_lines": (watched_inside, (2.0,), "record_lines.. happens inside"),
    "detect_anomaly": (anomalies_inside, (2.0,), "detect_anomaly.. happens inside"),
    "update": (update_inside, (2.0,), "a change to a variable happens inside"),
    "eval": (lambda x: nn.ReLU().eval()(x), (2.0,), "train.. or eval.. happens inside"),
    "zero_grad": (forget_inside, (2.0,), "zero_grad.. happens inside"),
    "step": (step_inside, (2.0,), "a change to a variable happens inside"),
    "write": (write_into, (np.ones(2), np.zeros(2)), "writes into an argument"),
    "astype": (lambda x: x.astype(int) * 0.5, (np.ones(2),), "expected a floating-point type, got int64"),
    "print": (lambda x: print(end="") or x, (2.0,), r"calls print\(\)"),
    "print by another": (lambda x: SAY() or x * 2.0, (2.0,), r"whether SAY \(builtin_function_or_method\)"),
    "print handed on": (lambda x: list(map(print, [])) or x * 2.0, (2.0,), "hands on print"),
    "a clock": (lambda x: x * (1.0 + 0.0 * time.time()), (2.0,), r"calls time.time\(\)"),
    "a file": (
        lambda x: x * np.load(__file__ + ".npy", allow_pickle=False).sum() if x < -9 else np.save(os.devnull, x) or x,
        (2.0,),
        "calls|asked for",
    ),
    "seeding": (lambda x: np.random.seed(0) or x * 2.0, (2.0,), "seeds a generator"),
    "NumPy's settings": (lambda x: np.seterr(over="ignore") and x * 2.0, (2.0,), r"calls numpy.seterr\(\)"),
    "filling an array": (filling_an_array, (np.ones(3),), "setting an array element"),
    "is True": (lambda x: x * 2.0 if (x > 0) is True else x, (2.0,), "whether something is True"),
    "another way": (lambda x: 0.0 if isinstance(x, float) and x < 0 else x * 2.0, (2.0,), "goes another way"),
    "a cache": (lambda x: x * cached(), (2.0,), "whether cached .* changes"),
    "too much to compare": (lambda x: x * len(MANY), (2.0,), "too much to compare"),
    "types": (on_arrays, (np.ones(2),), "goes another way"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_be_frozen_runs_as_it_is(name: str) -> None:
    f, args, message = REFUSED[name]
    compiled = cr.compile(f, strict=True)

    def call_twice() -> None:  # at first, a change may be made once and for all
        compiled(*args)
        compiled(*args)

    with pytest.raises(TypeError, match=r"compile\(.*" + message), np.errstate():
        call_twice()
    assert not compiled.recordings
    assert HIDDEN.grad is None


def test_not_a_function() -> None:
    with pytest.raises(TypeError, match="compile: expected a function, got 3"):
        cr.compile(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="nothing is compiled before the first call"):
        _ = cr.compile(abs).source


def test_the_kind_of_the_result_is_that_for_the_given_arguments() -> None:
    f = lambda x: cr.where(x > 0, np.array(3.0), x * 2.0)
    for x in cr.Value(1.0), cr.Value(-1.0):
        compiled = cr.compile(f)
        assert [type(compiled(x)) for _ in range(3)] == [type(f(x))] * 3


def test_code_that_disagrees_with_the_function_is_found_out() -> None:
    compiled = cr.compile(lambda x: x * float(ONE / THREE))
    with decimal.localcontext() as context:  # whose precision nobody sees
        context.prec = 3
        assert [compiled(1.0), compiled(1.0), compiled(1.0)] == [0.333, 0.333, 0.333]
        context.prec = 2
        with pytest.raises(RuntimeError, match=r"compiled, it gives 0.333 .* where the function gives 0.33 "):
            compiled(1.0)


def test_the_function_itself_does_what_the_code_cannot() -> None:
    inverse = cr.compile(lambda x: 1.0 / x)
    assert inverse(cr.Value(2.0)).data == 0.5
    assert inverse(cr.Value(0.0)).data == np.inf
    x = cr.Value(0.0)
    square_root = cr.compile(cr.sqrt)
    assert cr.gradients(square_root(cr.Value(4.0)), []) == []
    assert cr.gradients(square_root(x), x) == np.inf
    loss = cr.compile(nn.cross_entropy)
    logits = cr.Tensor(np.zeros((2, 3)))
    loss(logits, np.array([0, 2]))
    with pytest.raises(ValueError, match="labels run from 0 to 3, but there are 3 classes"):
        loss(logits, np.array([0, 3]))
    assert_allclose(loss(logits, np.array([0, -100])).data, np.log(3.0))  # a sample to ignore
    for rows in nn.Embedding(3, 2, rng=0), cr.compile(nn.Embedding(3, 2, rng=0)):
        rows(np.array([0, 2]))
        with pytest.raises(IndexError, match="indices run from -1 to 1"):
            rows(np.array([-1, 1]))


@pytest.mark.parametrize(("f", "x"), [(cr.log, 0.0), (cr.exp, 1000.0), (cr.sqrt, cr.Value(-1.0))])
def test_also_in_the_first_call(f: Callable[..., Any], x: Any) -> None:
    compiled = cr.compile(f)
    for y in x, 2.0, x:
        assert_array_equal(float(getattr(compiled(y), "data", compiled(y))), float(getattr(f(y), "data", f(y))))


def test_nans_of_branches_not_taken_are_kept_out_as_without() -> None:
    x = cr.Tensor([[0.0], [4.0]])
    for log in cr.log, cr.compile(lambda x: cr.log(x) * 2.0 + np.zeros(3)):
        with np.errstate(all="ignore"):
            y = cr.where(x > 0, log(x), 0.0)
            assert np.isfinite(cr.gradients(cr.sum(y), x)).all()


def test_it_is_an_operation_like_others() -> None:
    f = cr.compile(lambda a, b: cr.sum(cr.tanh(a @ b)))
    a, b = cr.Tensor(RNG(0).random((3, 2)), name="a"), cr.Tensor(RNG(1).random((2, 2)), name="b")
    assert cr.check(f(a, b))
    assert cr.gradcheck(f, a.data, b.data)
    assert "compile(" in cr.visualize.draw(f(a * 2.0, b)).source
    with cr.no_grad():
        assert f(a, b).args == ()
    y = f(a, b)
    a.data = a.data + 1.0
    with pytest.raises(RuntimeError, match="was changed after"):
        y.backward()
    constant = b.data
    nested = cr.compile(lambda a: f(a, constant) * 2.0)
    assert_allclose(cr.grad(nested)(a.data), 2.0 * cr.grad(lambda a: f.f(a, constant))(a.data))
    x = cr.Value(3.0)
    product = cr.compile(lambda a, b: a * b)
    assert cr.gradients(product(x, x), x) == 6.0


def test_who_watches_sees_each_operation() -> None:
    f = cr.compile(lambda x: cr.log(x) * 0.0)
    f(cr.Tensor([1.0, 2.0]))
    with pytest.raises(cr.AnomalyError, match="log"), cr.detect_anomaly(), np.errstate(all="ignore"):
        f(cr.Tensor([0.0, 2.0]))


def test_several_outputs() -> None:
    def f(a: Any, b: Any, c: Any) -> Any:
        return {"sum": a + b, "product": [a * b, a], "constant": (2.0, c * 2.0)}

    compiled = cr.compile(f)
    for x in 2.0, 3.0:
        a, b = cr.Value(x), cr.Value(5.0)
        found, expected = compiled(a, b, x), f(a, b, x)
        assert str(found) == str(expected)
        for y, z in (found["sum"], expected["sum"]), *zip(found["product"], expected["product"], strict=True):
            assert cr.gradients(y, [a, b]) == cr.gradients(z, [a, b])
        total = found["product"][0] * found["sum"]
        assert cr.gradients(total, [a, b]) == cr.gradients(a * b * (a + b), [a, b])
        (found["sum"] + found["product"][0]).backward()
        assert a.grad == 6.0
        second = cr.gradients(cr.gradients(found["product"][0], a, create_graph=True), b)
        assert second == 1.0
        assert found["product"][1] is a
    assert cr.check(compiled(a, b, 1.0)["product"][0])
    assert "def backward1(g1, a, b, c):" in compiled.source


def test_nothing_is_changed_in_place_that_is_needed_later() -> None:
    def f(a: Any, b: Any) -> Any:
        c = a * b
        view = c.T
        d = c + b  # c is seen through its view afterwards
        e = d * d
        return cr.sum(view @ (e - d)) + cr.sum(d * c), d, d - 1.0

    compiled = cr.compile(f)
    a, b = (cr.Tensor(RNG(i).random((3, 3))) for i in range(2))
    for _ in range(2):
        found, expected = compiled(a, b), f(a, b)
        for y, z in zip(found, expected, strict=True):
            assert_same(y, z)
            seed = np.ones(y.shape)
            for _ in range(2):  # a pass back must leave what the next one needs
                pairs = zip(cr.gradients(y, [a, b], seed), cr.gradients(z, [a, b], seed), strict=True)
                for g, h in pairs:
                    assert_allclose(g, h, rtol=1e-12)
    assert " *= " in compiled.source


def test_what_it_returns_is_the_callers_own() -> None:
    constant = cr.compile(lambda x: np.zeros(2))
    constant(1.0)[0] = 5.0
    assert_array_equal(constant(1.0), [0.0, 0.0])
    spread = cr.compile(cr.grad(lambda x: cr.sum(x)))
    spread(np.ones(3))[0] = 5.0
    assert_array_equal(spread(np.ones(3)), np.ones(3))
    shared = cr.Tensor([1.0, 2.0])
    other = cr.Tensor([3.0, 4.0])
    cr.compile(lambda a, b: cr.sum(a + b))(shared, other).backward()
    assert shared.grad is not None
    assert not np.shares_memory(shared.grad, other.grad)


def test_strange_names_are_names_all_the_same() -> None:
    names = ["v1", "v2", "abs", "g", "np", "lambda", "a b", "1", "ü", "x\n    raise", "__import__", "float"]
    variables = [cr.Value(float(i), name=name) for i, name in enumerate(names)]
    strange = cr.custom("if x:\n", lambda x, **options: x * 2.0, lambda g, y, x, **options: g * 2.0)
    f = cr.compile(lambda xs: sum(strange(x, **{"not a name": 1}) for x in xs) + strange(xs[0], _scratch={}))
    y = f(variables)
    assert y.data == 132.0
    assert cr.gradients(y, variables) == [4.0] + [2.0] * 11
    a, b = cr.Value(2.0, name="a"), cr.Value(3.0, name="a")
    assert cr.compile(lambda x2_a, x3_a: x2_a * x3_a * a * b)(5.0, 7.0).data == 210.0
    model = nn.Module()
    model.weights = variables
    model.forward = lambda x: sum(w * x for w in variables)  # type: ignore[method-assign]
    assert cr.compile(model)(2.0).data == 132.0
    for name in "v1", "abs", "float", "math", "forward":
        triple = cr.custom(name, lambda x: x * 3.0, lambda g, y, x: g * 3.0)
        assert (
            cr.compile(lambda abs, np, triple=triple: cr.abs(triple(abs)) + cr.sigmoid(np) + cr.exp(np))(-2.0, 0.0)
            == 7.5
        )


def test_threads() -> None:
    f = cr.compile(lambda x, n: cr.sum(x**n))
    wrong: list[Any] = []

    def run(n: int) -> None:
        for size in range(1, 8):
            for _ in range(20):
                x = cr.Tensor(np.full(size, 2.0))
                y = f(x, n)
                if y.item() != size * 2.0**n or not np.all(cr.gradients(y, x) == n * 2.0 ** (n - 1)):
                    wrong.append((size, n))

    threads = [threading.Thread(target=run, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_child_compiles_though_another_thread_was_recording() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def slow(x: Any) -> Any:
        inside.set()
        go_on.wait(20)
        return x * 2.0

    thread = threading.Thread(target=lambda: cr.compile(slow)(1.0))
    with warnings.catch_warnings(action="ignore"):  # it waits, and Python does not like a fork beside threads
        thread.start()
        inside.wait(20)
        child = os.fork()
        if not child:
            compiled = cr.compile(lambda x: x * 3.0)
            right = [compiled(1.0) for _ in range(3)] == [3.0] * 3 and compiled.compiled_calls == 1
            os._exit(0 if right else 1)
        _, status = os.waitpid(child, 0)
        go_on.set()
        thread.join()
    assert status == 0


def test_memory_is_flat_and_nothing_waits_for_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        assert growth_in_training() < 10_000
        assert gc.collect() < 100  # of Python's own machinery: no arrays, no graphs
    finally:
        gc.enable()


def growth_in_training() -> int:
    """By how many bytes memory grows over 300 steps."""
    model = nn.MLP([5, 8, 3], rng=0)
    optimizer = nn.SGD(model.parameters(), lr=0.1)
    compiled = cr.compile(lambda x, y: nn.cross_entropy(model(x), y))

    def train(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            compiled(X, Y).backward()
            optimizer.step()

    train(20)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        train(300)
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
