"""fit: the hand-written loop and nothing else, what it measures, how it ends, and going on as if it had never stopped."""

from __future__ import annotations

import contextlib
import copy
import functools
import gc
import itertools
import json
import linecache
import math
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr

RNG = np.random.default_rng(0)
CENTRES = np.array([[2.0, 0.0], [-2.0, 1.0], [0.0, -2.0]])
Y = RNG.integers(0, 3, 50)
X = CENTRES[Y] + RNG.normal(size=(50, 2))
VALIDATION = X[40:], Y[40:]


def model_of(seed: int = 0, **options: Any) -> cr.nn.MLP:
    return cr.nn.MLP([2, 8, 3], rng=seed, **options)


def train(
    model: cr.nn.Module | None = None, data: Any = None, loss: Any = cr.nn.cross_entropy, **options: Any
) -> cr.nn.History:
    """fit on the data above, by options that differ."""
    model = model_of() if model is None else model
    data = cr.nn.Batches(X[:40], Y[:40], batch_size=16, rng=1) if data is None else data
    optimizer = options.pop("optimizer", None) or cr.nn.SGD(model.parameters(), lr=0.1)
    return cr.nn.fit(model, loss, data, optimizer, **{"epochs": 3, "progress": False, **options})


def weights(model: cr.nn.Module) -> bytes:
    return b"".join(array.tobytes() for array in model.state_dict().values())


def without_seconds(history: cr.nn.History) -> dict[str, Any]:
    plain = history.to_dict()
    return {**plain, "records": [{k: x for k, x in record.items() if k != "seconds"} for record in plain["records"]]}


IN_FITS: dict[str, Callable[[], Any]] = {
    "sigmoid": lambda: [cr.nn.Linear(2, 8, rng=0), cr.nn.Sigmoid(), cr.nn.Linear(8, 3, rng=1)],
    "GELU, softplus": lambda: [cr.nn.Linear(2, 8, rng=0), cr.nn.GELU(), cr.nn.Softplus(), cr.nn.Linear(8, 3, rng=1)],
    "BatchNorm": lambda: [cr.nn.BatchNorm1d(2), cr.nn.Linear(2, 8, rng=0), cr.nn.Tanh(), cr.nn.Linear(8, 3, rng=1)],
    "LayerNorm": lambda: [cr.nn.LayerNorm(2), cr.nn.Linear(2, 3, rng=0)],
}


@pytest.mark.parametrize("scale", [1.0, 1e3, 1e-160])
@pytest.mark.parametrize("kind", ["SGD", "Adam", "RMSprop"])
@pytest.mark.parametrize("name", IN_FITS)
def test_nothing_that_underflows_stops_training_where_numpy_is_told_to_raise(
    name: str, kind: str, scale: float
) -> None:
    x = X * scale

    def run(compile: bool) -> tuple[Any, bytes]:
        model = cr.nn.Sequential(*IN_FITS[name]())
        optimizer = getattr(cr.nn, kind)(model.parameters(), lr=0.1)
        history = train(
            model,
            cr.nn.Batches(x, Y, batch_size=16, rng=1),
            optimizer=optimizer,
            validation=(x, Y),
            schedule=cr.nn.ReduceLROnPlateau(optimizer, patience=0),
            clip_norm=1.0,
            clip_value=0.5,
            early_stopping=3,
            penalty=lambda model: 1e-300 * cr.nn.l2_penalty(model.parameters()),
            compile=compile,
        )
        return without_seconds(history), weights(model)

    for compile in (False, True) if name != "BatchNorm" else (False,):
        expected = run(compile)
        with np.errstate(all="raise"):
            assert run(compile) == expected


def test_a_feature_that_never_varies_does_not_stop_training_where_numpy_is_told_to_raise() -> None:
    norm = cr.nn.BatchNorm1d(1)
    norm.running_var[:] = 1e-307
    with np.errstate(all="raise"):
        for _ in range(200):
            norm(np.zeros((4, 1)))
    assert 0.0 <= norm.running_var < 1e-310


# The loop


def test_fit_is_the_four_lines_to_the_last_bit() -> None:
    by_hand, by_fit = model_of(batch_norm=True, dropout=0.3), model_of(batch_norm=True, dropout=0.3)
    optimizer = cr.nn.Adam(by_hand.parameters(), lr=0.01)
    batches = cr.nn.Batches(X, Y, batch_size=16, rng=1)
    total, expected = 0.0, []
    for _ in range(3):
        total, right = 0.0, 0
        for x, y in batches:
            prediction = by_hand(x)
            loss = cr.nn.cross_entropy(prediction, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += len(y) * loss.item()
            right += int((prediction.data.argmax(axis=1) == y).sum())
        expected.append((total / 50, right / 50))
    history = train(
        by_fit, cr.nn.Batches(X, Y, batch_size=16, rng=1), optimizer=cr.nn.Adam(by_fit.parameters(), lr=0.01)
    )
    assert weights(by_fit) == weights(by_hand)
    assert list(zip(history["loss"], history["accuracy"], strict=True)) == expected
    assert history["epoch"] == [1, 2, 3]
    assert history.stopped is None
    assert all(seconds > 0.0 for seconds in history["seconds"])


PENALIZED = {"penalty": lambda m: 1e-3 * cr.nn.l2_penalty(m.parameters())}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"clip_norm": 1.0},
        {"clip_value": 0.01},
        PENALIZED,
        {"metrics": "accuracy", "loss": lambda p, t: cr.nn.nll_loss(cr.log_softmax(p), t)},
        {"metrics": "accuracy", "clip_norm": 0.1, "clip_value": 0.05, **PENALIZED},
        {"after_batch": lambda total: None, "metrics": "accuracy", **PENALIZED},
    ],
)
@pytest.mark.parametrize("layers", [{}, {"batch_norm": True, "dropout": 0.3}], ids=["plain", "batch norm, dropout"])
def test_compiled_training_is_the_same_but_for_rounding(layers: dict[str, Any], options: dict[str, Any]) -> None:
    histories, gradients = [], []
    for compile in True, False:
        model = model_of(**layers)
        histories.append(train(model, validation=(X[40:], Y[40:]), compile=compile, **options))
        gradients.append([p.grad for p in model.parameters()])
    for g, h in zip(*gradients, strict=True):
        assert_allclose(g, h, rtol=1e-9, atol=1e-15)
    for name in histories[0][0].keys() - {"seconds"}:
        assert_allclose(histories[0][name], histories[1][name], rtol=1e-9, err_msg=name)


BAD = X.copy()
BAD[33] = math.nan
LATER: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "data that is no number": (BAD, Y, {}),
    "such, clipped": (BAD, Y, {"clip_norm": 1.0}),
    "a label out of range": (X, np.where(np.arange(50) == 33, 3, Y), {}),
    "a rate that is too high": (X, Y, {"lr": 1e160, **PENALIZED}),
    "a rate that is too high, clipped": (X, Y, {"lr": 1e200, "clip_value": 1.0, **PENALIZED}),
    "in float16": (np.float16(X), Y, {"lr": 6e4, "dtype": "float16"}),
}


@pytest.mark.parametrize("name", LATER)
def test_an_error_in_compiled_training_is_that_of_training(name: str) -> None:
    x, y, options = LATER[name]
    options = {"lr": 0.1, "dtype": "float64", **options}
    lr, dtype = options.pop("lr"), options.pop("dtype")

    def run(compile: bool) -> tuple[type[BaseException], str, dict[str, Any]]:
        model = model_of(batch_norm=dtype == "float64", dtype=dtype)
        optimizer = cr.nn.SGD(model.parameters(), lr=lr)
        batches = cr.nn.Batches(x, y, batch_size=6, shuffle=False)
        with np.errstate(all="ignore"), pytest.raises((FloatingPointError, ValueError)) as error:
            train(model, batches, optimizer=optimizer, compile=compile, **options)
        return error.type, str(error.value), model.state_dict()

    kind, message, state = run(False)
    assert run(True)[:2] == (kind, message)
    for array, expected in zip(run(True)[2].values(), state.values(), strict=True):
        assert_allclose(array, expected, rtol=1e-9 if dtype == "float64" else 1e-2, atol=1e-15)


def test_what_cannot_be_compiled_is_trained_as_it_is() -> None:
    class Branching(cr.nn.Module):
        def __init__(self) -> None:
            self.inner = model_of()

        def forward(self, x: Any) -> Any:
            y = self.inner(x)
            return y if cr.sum(y) > 0 else y * 2.0

    one, other = Branching(), Branching()
    with pytest.warns(UserWarning, match=r"compile\(fit\) runs as it is.*cr\.where"):
        train(one, compile=True)
    train(other)
    assert weights(one) == weights(other)


def recycled() -> Any:
    """Batches that all live in the same two arrays."""

    class Reader:
        def __iter__(self) -> Iterator[tuple[Any, Any]]:
            x, y = np.empty((10, 2)), np.empty(10, int)
            for i in range(0, 40, 10):
                x[...], y[...] = X[i : i + 10], Y[i : i + 10]
                yield x, y

    return Reader()


@pytest.mark.parametrize(
    "data",
    [
        lambda: cr.nn.Batches(X[:40], Y[:40], batch_size=10, shuffle=False),
        lambda: [(X[i : i + 10], Y[i : i + 10]) for i in range(0, 40, 10)],
        lambda: [[X[i : i + 10].tolist(), Y[i : i + 10].tolist()] for i in range(0, 40, 10)],
        recycled,
        lambda: cr.nn.Batches(X[:40] * 2, Y[:40], batch_size=10, shuffle=False, transform=lambda rng, x, y: (x / 2, y)),
    ],
    ids=["batches", "list", "nested lists", "recycled arrays", "transform"],
)
@pytest.mark.parametrize("compile", [False, True])
def test_data_may_be_anything_that_gives_batches(data: Callable[[], Any], compile: bool) -> None:
    for loss in cr.nn.cross_entropy, lambda p, t: cr.nn.nll_loss(cr.log_softmax(p), t):
        expected = train(data=cr.nn.Batches(X[:40], Y[:40], batch_size=10, shuffle=False), loss=loss, compile=compile)
        assert without_seconds(train(data=data(), loss=loss, compile=compile)) == without_seconds(expected)


def test_a_tuple_of_arrays_is_shuffled_into_batches_of_32() -> None:
    sizes: list[int] = []

    def loss(prediction: Any, target: Any) -> Any:
        sizes.append(len(target))
        return cr.nn.cross_entropy(prediction, target)

    train(data=(X, Y), loss=loss, epochs=2)
    assert sizes == [32, 18, 32, 18]


def test_several_inputs_and_single_numbers() -> None:
    class Line(cr.nn.Module):
        def __init__(self) -> None:
            self.a, self.b = cr.Value(0.0), cr.Value(0.0)

        def forward(self, x: float, y: float) -> Any:
            return self.a * x + self.b * y

    model = Line()
    data = [(1.0, 0.0, 2.0), (0.0, 1.0, 3.0)]
    history = train(model, data, lambda p, t: (p - t) ** 2, epochs=50, validation=data)
    assert_allclose([model.a.data, model.b.data], [2.0, 3.0], rtol=1e-4)
    assert history["validation_loss"][-1] < 1e-6
    assert "accuracy" not in history.names


def test_the_penalty_is_descended_and_reported_beside_the_loss() -> None:
    def penalty(model: cr.nn.Module) -> Any:
        return 0.5 * cr.nn.l2_penalty(model.parameters())

    model, by_hand = model_of(), model_of()
    history = train(model, cr.nn.Batches(X, Y, batch_size=None), penalty=penalty, epochs=1)
    loss, extra = cr.nn.cross_entropy(by_hand(X), Y), penalty(by_hand)
    (loss + extra).backward()
    cr.nn.SGD(by_hand.parameters(), lr=0.1).step()
    assert weights(model) == weights(by_hand)
    assert history["loss"] == [pytest.approx(loss.item(), rel=1e-12)]
    assert history["penalty"] == [pytest.approx(extra.item(), rel=1e-12)]


def test_clipping_limits_each_step_and_reports_the_norm_before() -> None:
    def moved(**options: Any) -> tuple[Any, cr.nn.History]:
        model = model_of()
        before = np.concatenate([p.data.ravel() for p in model.parameters()])
        history = train(
            model,
            cr.nn.Batches(X, Y, batch_size=None),
            epochs=1,
            optimizer=cr.nn.SGD(model.parameters(), lr=1.0),
            **options,
        )
        return np.concatenate([p.data.ravel() for p in model.parameters()]) - before, history

    free, history = moved()
    assert "gradient_norm" not in history.names
    by_norm, history = moved(clip_norm=0.01)
    assert history["gradient_norm"] == [pytest.approx(np.linalg.norm(free))]
    assert_allclose(np.linalg.norm(by_norm), 0.01, rtol=1e-3)
    by_value, history = moved(clip_value=0.001)
    assert np.abs(free).max() > 0.001
    assert_allclose(by_value, np.clip(free, -0.001, 0.001), atol=1e-15)
    assert "gradient_norm" not in history.names


def test_lbfgs_counts_a_step_once() -> None:
    pytest.importorskip("scipy")
    model = cr.nn.Linear(2, 1, rng=0)
    target = X @ [[1.0], [2.0]] + 3.0
    history = train(
        model,
        cr.nn.Batches(X, target, batch_size=None),
        cr.nn.mse_loss,
        optimizer=cr.nn.LBFGS(model.parameters()),
        epochs=2,
    )
    assert_allclose(model.weight.data, [[1.0, 2.0]], atol=1e-5)
    start = cr.nn.Linear(2, 1, rng=0)
    assert history[0]["loss"] == pytest.approx(cr.nn.mse_loss(start(X), target).item())
    assert "lr" not in history.names


# What is measured


def test_validation_is_in_use_and_leaves_no_trace() -> None:
    model, alone = model_of(dropout=0.5, batch_norm=True), model_of(dropout=0.5, batch_norm=True)
    history = train(model, validation=VALIDATION)
    train(alone)
    assert weights(model) == weights(alone)
    found = cr.nn.evaluate(model, cr.nn.cross_entropy, VALIDATION)
    assert found[:2] == cr.nn.evaluate(model, cr.nn.cross_entropy, VALIDATION)[:2]
    assert history[-1]["validation_loss"] == found.loss
    assert history[-1]["validation_accuracy"] == found.accuracy
    assert_array_equal(history.confusion, found.confusion)
    assert history.confusion is not None
    assert history.confusion.sum() == 10
    assert np.trace(history.confusion) == 10 * history[-1]["validation_accuracy"]
    model.eval()
    assert found.loss == pytest.approx(cr.nn.cross_entropy(model(VALIDATION[0]), VALIDATION[1]).item(), rel=1e-12)


def test_evaluation_is_batched_weighted_and_records_nothing() -> None:
    sizes: list[int] = []
    nodes: list[Any] = []

    class Half(cr.nn.Module):
        def __init__(self) -> None:
            self.scale = cr.Tensor([0.5])

        def forward(self, x: Any) -> Any:
            sizes.append(len(x))
            nodes.append(self.scale * x)
            return nodes[-1]

    x = np.arange(2500.0).reshape(-1, 1)
    found = cr.nn.evaluate(Half(), cr.nn.mse_loss, (x, np.zeros_like(x)))
    assert sizes == [1024, 1024, 452]
    assert found.loss == pytest.approx(float(np.mean((0.5 * x) ** 2)))
    assert (found.accuracy, found.confusion) == (None, None)
    assert all(node.args == () for node in nodes)


@pytest.mark.parametrize("mode", [True, False])
def test_the_modes_are_afterwards_as_before(mode: bool) -> None:
    model = model_of(dropout=0.5)
    model.train(mode)
    model[2].training = not mode
    before = [module.training for module in model.modules()]
    during: list[bool] = []

    def loss(prediction: Any, target: Any) -> Any:
        during.append(model.training and model[2].training)
        return cr.nn.cross_entropy(prediction, target)

    train(model, loss=loss, epochs=1, validation=VALIDATION)
    assert [module.training for module in model.modules()] == before
    assert during == [True, True, True, False]
    with pytest.raises(ZeroDivisionError):
        train(model, loss=lambda p, t: 1 / 0)
    assert [module.training for module in model.modules()] == before


ONE_HOT = np.eye(3)[Y]


@pytest.mark.parametrize(
    ("loss", "target", "classes"),
    [
        (cr.nn.cross_entropy, Y, True),
        (cr.nn.cross_entropy, Y.astype(np.uint8), True),
        (cr.nn.cross_entropy, ONE_HOT, True),
        (cr.nn.cross_entropy, np.full((50, 3), 1 / 3), True),
        (lambda p, t: cr.nn.nll_loss(cr.log_softmax(p), t), Y, True),
        (lambda p, t: 0.5 * cr.nn.cross_entropy(p, t) + 0.1 * cr.mean(p**2), Y, True),
        (lambda p, t: cr.nn.cross_entropy(p, t, reduction="sum"), Y, True),
        (cr.nn.mse_loss, ONE_HOT, False),
        (lambda p, t: cr.mean((p[:, 0] - t) ** 2), Y, False),
        (lambda p, t: cr.nn.cross_entropy(p[:, :2], t % 2) + cr.nn.cross_entropy(p, t), Y, False),
    ],
)
@pytest.mark.parametrize("compile", [True, False])
def test_accuracy_is_that_of_what_the_loss_classifies(loss: Any, target: Any, classes: bool, compile: bool) -> None:
    history = train(data=cr.nn.Batches(X, target), loss=loss, validation=(X, target), epochs=1, compile=compile)
    assert ("accuracy" in history.names, "validation_accuracy" in history.names) == (classes, classes)
    assert (history.confusion is not None) == classes


def test_ignored_labels_do_not_count() -> None:
    y = np.where(np.arange(50) % 2, Y, -100)
    history = train(data=cr.nn.Batches(X, y, batch_size=16, rng=0), validation=(X, y), epochs=1)
    assert history.confusion is not None
    assert history.confusion.sum() == 25


@pytest.mark.parametrize("size", [1, 7, 50])
def test_averages_over_the_labels_that_count_do_not_depend_on_the_batches(size: int) -> None:
    y = np.where(np.arange(50) < 20, -100, Y)  # of size 7 the first two batches, and most of the third, do not count
    model = model_of()
    batches = cr.nn.Batches(X, y, batch_size=size, shuffle=False)
    expected = cr.nn.cross_entropy(model(X[20:]), Y[20:]).item()
    assert cr.nn.evaluate(model, cr.nn.cross_entropy, batches).loss == pytest.approx(expected, rel=1e-12)
    still = cr.nn.SGD(model.parameters(), lr=0.0)
    history = train(model, batches, optimizer=still, epochs=1, clip_norm=1.0, validation=batches)
    assert [history["loss"], history["validation_loss"]] == [[pytest.approx(expected, rel=1e-12)]] * 2
    assert history["accuracy"] == [cr.nn.accuracy(model(X[20:]), Y[20:])] == history["validation_accuracy"]


def test_labels_of_sequences_count_one_by_one() -> None:
    x, y = X[:48].reshape(4, 12, 2), Y[:48].reshape(4, 12).copy()
    y[0, 2:] = -1
    model = model_of()

    def loss(prediction: Any, target: Any) -> Any:
        return cr.nn.cross_entropy(prediction, target, ignore_index=-1)

    expected = loss(model(x), y).item()
    assert cr.nn.evaluate(model, loss, [(x[:1], y[:1]), (x[1:], y[1:])]).loss == pytest.approx(expected, rel=1e-12)


def test_where_no_label_counts_there_is_nothing_to_train_on_and_an_ignored_batch_leaves_no_trace() -> None:
    none = np.full(10, -100)
    model = Counted()
    train(model, [(X[:10], none), (X[10:20], Y[10:20]), (X[20:30], none)], epochs=1)
    assert model.seen == 1
    compiled, plain = model_of(), model_of()
    for model, compile in (compiled, True), (plain, False):
        train(model, [(X[:10], none), (X[10:20], Y[10:20]), (X[20:30], none)], compile=compile)
    assert_allclose(compiled[0].weight.data, plain[0].weight.data, rtol=1e-12)
    with pytest.raises(ValueError, match="no samples that count"):
        train(data=[(X[:10], none)])
    with pytest.raises(ValueError, match="no batch with a sample that counts"):
        cr.nn.evaluate(model, cr.nn.cross_entropy, [(X[:10], none)])


def masked_mse(prediction: Any, target: Any) -> Any:
    """Of targets that are known; the others are NaN."""
    known = np.isfinite(target)
    error = cr.where(known, prediction - np.nan_to_num(target), 0.0)
    return cr.nn.averaged(cr.sum(error**2) / max(known.sum(), 1), known.sum())


def gaussian(prediction: Any, target: Any) -> Any:
    return cr.mean(prediction[:, 1] + 0.5 * ((target - prediction[:, 0]) * cr.exp(-prediction[:, 1])) ** 2)


SEQUENCES = X[:48].reshape(12, 4, 2)
PADDED = np.where(np.arange(4) < np.arange(12)[:, None] % 5, Y[:48].reshape(12, 4), -1)
HOLES = np.where(np.arange(50)[:, None] % 7 > [0, 2, 4], X @ [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]], math.nan)
HOLES[:14] = math.nan
COUNTS = RNG.integers(-3, 2, 50)
SHARES = np.where(np.arange(50)[:, None] % 3 == 0, 0.0, ONE_HOT)

# a loss, inputs, targets
LOSSES: dict[str, tuple[Any, Any, Any]] = {
    "cross-entropy": (cr.nn.cross_entropy, X, Y),
    "a class is padding": (lambda p, t: cr.nn.cross_entropy(p, t, ignore_index=0), X, np.where(np.arange(50) < 17, 0, Y)),
    "ignored": (cr.nn.cross_entropy, X, np.where(np.arange(50) % 7 < 4, -100, Y)),
    "a partial": (functools.partial(cr.nn.cross_entropy, ignore_index=2), X, Y),
    "scaled": (lambda p, t: 0.5 * cr.nn.cross_entropy(p, t, ignore_index=0), X, Y),
    "with something added": (lambda p, t: cr.nn.cross_entropy(p, t, ignore_index=0) + 1.0, X, Y),
    "labels from 1": (lambda p, t: cr.nn.cross_entropy(p, t - 1, ignore_index=-1), X, (Y + np.arange(50)) % 4),
    "nll": (lambda p, t: cr.nn.nll_loss(cr.log_softmax(p), t, ignore_index=1), X, Y),
    "smoothed": (lambda p, t: cr.nn.cross_entropy(p, t, ignore_index=1, label_smoothing=0.1), X, Y),
    "probabilities": (cr.nn.cross_entropy, X, SHARES),
    "sequences": (lambda p, t: cr.nn.cross_entropy(p, t, ignore_index=-1), SEQUENCES, PADDED),
    "sum": (lambda p, t: cr.nn.cross_entropy(p, t, reduction="sum"), X, Y),
    "sum of squares": (lambda p, t: cr.nn.mse_loss(p, t, reduction="sum"), X, ONE_HOT),
    "a sum over the length": (lambda p, t: cr.nn.mse_loss(p, t, reduction="sum") / len(t), X, ONE_HOT),
    "a sum over the labels": (lambda p, t: cr.nn.cross_entropy(p, t, reduction="sum") / len(t) + 1.0, X, Y),
    "mse": (cr.nn.mse_loss, X, ONE_HOT),
    "hinge": (cr.nn.hinge_loss, X, 2.0 * ONE_HOT - 1.0),
    "batchmean": (lambda p, t: cr.nn.kl_div(cr.log_softmax(p), t, reduction="batchmean"), X, ONE_HOT),
    "two heads": (lambda p, t: cr.nn.cross_entropy(p[:, :2], t % 2) + 2.0 * cr.nn.mse_loss(p[:, 2:], t[:, None]), X, Y),
    "one's own": (lambda p, t: cr.mean((p[:, 0] - t) ** 2), X, COUNTS),
    "a likelihood": (gaussian, X, COUNTS),
    "quantiles": (lambda p, t: cr.mean(cr.maximum(0.9 * (t[:, None] - p), -0.1 * (t[:, None] - p))), X, COUNTS),
    "a column of ones": (lambda p, t: cr.mean((p - t) ** 2), X, np.ones((50, 1))),
    "said": (masked_mse, X, HOLES),
}  # fmt: skip


def uneven(x: Any, y: Any) -> list[Any]:
    """Batches of any size, the first of a single sample."""
    cuts = [0, 1, 3, len(x) // 2, len(x)]
    return [(x[i:j], y[i:j]) for i, j in itertools.pairwise(cuts)]


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_averages_over_batches_are_the_loss_of_the_whole_set(name: str, compile: bool) -> None:
    loss, x, y = LOSSES[name]
    model = model_of()
    expected = float(loss(model(x), y).data)
    whole = cr.nn.evaluate(model, loss, [(x, y)])
    assert whole.loss == pytest.approx(expected, rel=1e-12)
    still = cr.nn.SGD(model.parameters(), lr=0.0)
    for batches in (*(cr.nn.Batches(x, y, batch_size=n, shuffle=False) for n in (1, 7, 50)), uneven(x, y)):
        found = cr.nn.evaluate(model, loss, batches)
        assert found.loss == pytest.approx(expected, rel=1e-12)
        assert found.accuracy == (None if whole.accuracy is None else pytest.approx(whole.accuracy))
        assert_array_equal(found.confusion, whole.confusion)
        if compile and name == "said":
            continue
        (record,) = train(model, batches, loss, optimizer=still, epochs=1, compile=compile)
        assert record["loss"] == pytest.approx(expected, rel=1e-12)
        assert record.get("accuracy") == found.accuracy


def test_accuracy_is_that_of_what_the_loss_saw() -> None:
    model = model_of()
    labels = (Y + np.arange(50)) % 4  # one more than the class; 0 is none
    found = cr.nn.evaluate(model, lambda p, t: cr.nn.cross_entropy(-p, t - 1, ignore_index=-1), (X, labels))
    kept = labels > 0
    assert found.accuracy == np.mean(model(X).data.argmin(axis=1)[kept] == labels[kept] - 1)
    assert found.confusion is not None
    assert found.confusion.sum() == kept.sum()


def test_of_plain_numbers_too_the_loss_says_what_it_is_the_mean_of() -> None:
    class Constant(cr.nn.Module):
        def forward(self, x: Any) -> Any:
            return np.tile([1.0, 2.0, 3.0], (len(x), 1))

    y = np.where(np.arange(50) % 7 < 4, -100, Y)
    batches = cr.nn.Batches(X, y, batch_size=9, shuffle=False)
    expected = cr.nn.cross_entropy(Constant()(X), y)
    for loss in cr.nn.cross_entropy, lambda p, t: float(cr.nn.cross_entropy(p, t)):
        assert cr.nn.evaluate(Constant(), loss, batches).loss == pytest.approx(float(expected), rel=1e-12)


def test_means_over_numbers_that_do_not_keep_their_proportion_are_refused() -> None:
    def both(prediction: Any, target: Any) -> Any:
        return cr.nn.cross_entropy(prediction, target, ignore_index=0) + cr.nn.cross_entropy(prediction, target)

    def divided(prediction: Any, target: Any) -> Any:
        return cr.nn.cross_entropy(prediction, target, ignore_index=0, reduction="sum") / len(target)

    batches = cr.nn.Batches(X, Y, batch_size=20, shuffle=False)
    for loss in both, divided:
        with pytest.raises(ValueError, match=r"different numbers of samples.*nn.averaged"):
            cr.nn.evaluate(model_of(), loss, batches)
        with pytest.raises(ValueError, match="different numbers of samples"):
            train(data=batches, loss=loss)
        said = cr.nn.evaluate(model_of(), lambda p, t, f=loss: cr.nn.averaged(f(p, t), len(t)), batches)
        assert math.isfinite(said.loss)


@pytest.mark.parametrize(
    ("samples", "kind", "message"),
    [
        (-1, ValueError, "not negative, got -1"),
        (math.nan, ValueError, "not negative, got nan"),
        ("many", TypeError, "must be a number, got 'many'"),
        (X, TypeError, "must be a number, got array"),
    ],
)
def test_what_is_no_number_of_samples_is_refused(samples: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        cr.nn.averaged(cr.Value(1.0), samples)


@pytest.mark.parametrize("compile", [True, False])
def test_a_batch_of_which_the_loss_says_that_nothing_counts_is_left_out(compile: bool) -> None:
    def loss(prediction: Any, target: Any) -> Any:
        return cr.nn.averaged(cr.sum(prediction * target), cr.sum(target) if compile else target.sum())

    nothing, something = (X[:5], np.zeros((5, 1))), (X[5:9], np.ones((4, 1)))
    models = [model_of(), model_of()]
    train(models[0], [nothing, something, nothing], loss, epochs=2, compile=compile)
    train(models[1], [something], loss, epochs=2)
    assert_allclose(models[0][0].weight.data, models[1][0].weight.data, rtol=1e-12)
    with pytest.raises(ValueError, match="no samples that count"):
        train(data=[nothing], loss=loss, compile=compile)


def test_a_batch_in_which_a_part_of_the_loss_counts_is_not_left_out() -> None:
    def loss(prediction: Any, target: Any) -> Any:
        return cr.nn.cross_entropy(prediction, target) + cr.nn.cross_entropy(prediction, target, ignore_index=1)

    batches = [(X[:3], np.array([0, 2, 0])), (X[3:6], np.array([1, 1, 1]))]
    with pytest.raises(ValueError, match="no samples to average over; but another part of the loss counts"):
        train(data=batches, loss=loss)
    with pytest.raises(ValueError, match="another part of the loss counts"):
        cr.nn.evaluate(model_of(), loss, batches)


def test_a_compiled_loss_says_as_much_as_the_function() -> None:
    def squares(prediction: Any, target: Any) -> Any:
        return cr.nn.mse_loss(prediction, target) * 0.5

    model, batches = model_of(), cr.nn.Batches(X, ONE_HOT, batch_size=15, shuffle=False)
    expected = cr.nn.evaluate(model, squares, [(X, ONE_HOT)]).loss
    code = cr.compile(squares)
    assert cr.nn.evaluate(model, code, batches).loss == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match="not told of in every batch"):
        cr.nn.evaluate(model, lambda p, t: code(p, t), batches)
    said = cr.nn.evaluate(model, lambda p, t: cr.nn.averaged(code(p, t), len(t)), batches)
    assert said.loss == pytest.approx(expected, rel=1e-12)


def test_targets_whose_rows_cannot_be_told_are_refused() -> None:
    def squares(prediction: Any, target: Any) -> Any:
        return cr.mean((prediction[:, 0] - target[0]) ** 2 + (prediction[:, 1] - target[1]) ** 2)

    model = model_of()
    parts = [(X[i:j], (X[i:j, 0], X[i:j, 1])) for i, j in ((0, 3), (3, 50))]
    named = [(x, {0: a, 1: b}) for x, (a, b) in parts]
    expected = squares(model(X), X.T).item()
    assert cr.nn.evaluate(model, squares, named).loss == pytest.approx(expected, rel=1e-12)
    with pytest.raises(ValueError, match=r"the target is a tuple of arrays.*nn\.averaged"):
        cr.nn.evaluate(model, squares, parts)
    said = cr.nn.evaluate(model, lambda p, t: cr.nn.averaged(squares(p, t), len(t[0])), parts)
    assert said.loss == pytest.approx(expected, rel=1e-12)


def test_any_other_error_of_a_loss_comes_out() -> None:
    for y in np.where(Y == 1, -1, Y), np.full(50, -1), np.full(50, 3):
        for batches in cr.nn.Batches(X, y, batch_size=1, rng=0), (X, y):
            with pytest.raises(ValueError, match="there are 3 classes"):
                train(data=batches)
            with pytest.raises(ValueError, match="there are 3 classes"):
                cr.nn.evaluate(model_of(), cr.nn.cross_entropy, batches)


def test_what_is_ignored_is_ignored_in_compiled_code() -> None:
    model = model_of()
    code = cr.compile(lambda x, y: cr.nn.cross_entropy(model(x), y, ignore_index=1))
    for y in (Y[Y != 1][:8], Y[:8], Y[8:16]):
        assert code(X[:8], y).item() == pytest.approx(
            cr.nn.cross_entropy(model(X[:8]), y, ignore_index=1).item(), rel=1e-12
        )


def test_weights_that_are_scores_are_counted_as_they_were_trained_on() -> None:
    class Table(cr.nn.Module):
        def __init__(self) -> None:
            self.table = cr.Tensor(np.eye(3)[[0, 0, 0, 0]])

        def forward(self, x: Any) -> Any:
            return self.table

    batches = cr.nn.Batches(np.zeros((40, 1)), np.ones(40, int), batch_size=4)
    model = Table()
    history = train(model, batches, optimizer=cr.nn.SGD(model.parameters(), lr=4.0), epochs=1)
    assert history["accuracy"] == [pytest.approx(0.9)]  # the first batch of ten is wrong


# Metrics


def rms(output: Any, target: Any) -> float:
    return float(np.sqrt(np.mean((output - target) ** 2)))


COLUMNS = X @ [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]] + np.sin(X[:, :1])


@pytest.mark.parametrize("compile", [True, False])
@pytest.mark.parametrize("size", [7, 50])
def test_metrics_are_of_the_whole_set(size: int, compile: bool) -> None:
    model = model_of()
    names = ["mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score", rms]
    batches = cr.nn.Batches(X, COLUMNS, batch_size=size, shuffle=False)
    expected = cr.nn.evaluate(model, cr.nn.mse_loss, (X, COLUMNS), metrics=names).metrics
    output = model(X).data
    assert expected["rms"] == rms(output, COLUMNS)
    assert list(expected) == [*names[:4], "rms"]
    found = cr.nn.evaluate(model, cr.nn.mse_loss, batches, metrics=names).metrics
    assert found == pytest.approx(expected, rel=1e-12)
    still = cr.nn.SGD(model.parameters(), lr=0.0)
    (record,) = train(
        model, batches, cr.nn.mse_loss, optimizer=still, epochs=1, validation=batches, metrics=names, compile=compile
    )
    for name, x in expected.items():
        assert record[name] == pytest.approx(x, rel=1e-12)
        assert record[f"validation_{name}"] == pytest.approx(x, rel=1e-12)


@pytest.mark.parametrize("name", ["mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score"])
@pytest.mark.parametrize("target", [COLUMNS, COLUMNS[:, :1], np.ones((50, 2)), COLUMNS * [1.0, 0.0, 1.0]])
def test_metrics_by_name_are_scikit_learns(name: str, target: Any) -> None:
    theirs = getattr(pytest.importorskip("sklearn.metrics"), name)
    model = cr.nn.Linear(2, target.shape[1], rng=0)
    for output in (model, lambda x: target):
        found = cr.nn.evaluate(
            cr.nn.Sequential(output), cr.nn.mse_loss, (X, target), metrics={"by name": name, "theirs": theirs}
        ).metrics
        expected = theirs(target, getattr(output(X), "data", output(X)) if output is model else target)
        assert found == {"by name": pytest.approx(expected), "theirs": pytest.approx(expected)}


def test_metrics_see_what_was_trained_on_even_where_arrays_are_recycled() -> None:
    seen: list[Any] = []

    def keep(output: Any, target: Any) -> int:
        seen.append((output, target))
        return len(target)

    predictions: list[Any] = []

    def loss(prediction: Any, target: Any) -> Any:
        predictions.append(prediction.data)
        return cr.nn.cross_entropy(prediction, target)

    history = train(data=recycled(), loss=loss, epochs=2, metrics=[keep, "accuracy"])
    assert history["keep"] == [40, 40]
    for epoch, (output, target) in enumerate(seen):
        assert_array_equal(output, np.concatenate(predictions[4 * epoch : 4 * epoch + 4]))
        assert_array_equal(target, Y[:40])
        assert history["accuracy"][epoch] == cr.nn.accuracy(output, target)


def test_early_stopping_watches_a_metric_in_the_direction_that_is_said() -> None:
    options = {
        "data": cr.nn.Batches(X, COLUMNS, rng=0), "loss": cr.nn.mse_loss, "validation": (X, COLUMNS),
        "metrics": ["r2_score", "mean_absolute_error"], "epochs": 5,
    }  # fmt: skip
    stopping = cr.nn.EarlyStopping(5, monitor="validation_r2_score", mode="max")
    history = train(early_stopping=stopping, **options)
    scores = history["validation_r2_score"]
    assert history.best_epoch == 1 + scores.index(max(scores))
    assert train(early_stopping=cr.nn.EarlyStopping(5, monitor="mean_absolute_error"), **options).best_epoch
    with pytest.raises(ValueError, match="monitors 'validation_r2_score'; say mode='max' or 'min'"):
        train(early_stopping=cr.nn.EarlyStopping(5, monitor="validation_r2_score"), **options)


def broken(output: Any, target: Any) -> float:
    raise KeyError("no such class")


@pytest.mark.parametrize(
    ("metrics", "kind", "message"),
    [
        ("f1", ValueError, "no metric is called 'f1'; there are accuracy, mean_absolute_error"),
        ([lambda p, t: 1.0], ValueError, "a metric has no name; give a dict"),
        ([functools.partial(rms)], ValueError, "a metric has no name; give a dict"),
        ([rms, rms], ValueError, "'rms' is given twice; give a dict"),
        ({"loss": rms}, ValueError, "'loss' is the name of something else"),
        ({"validation_rms": rms}, ValueError, "'validation_rms' is the name of something else"),
        (3, TypeError, r"metrics must be names or functions, one, a list or a dict of them, got 3"),
        ([3], TypeError, r"a metric is 3 \(int\), expected a function"),
        ({"none": lambda p, t: None}, TypeError, "metric 'none' must return a number, got None"),
        ({"all": lambda p, t: p}, TypeError, "metric 'all' must return a number, got array"),
        ([broken], RuntimeError, "metric 'broken' failed: 'no such class'"),
        ("r2_score", RuntimeError, r"metric 'r2_score' failed: .* shape \(40, 3\) and targets of shape \(40,\)"),
    ],
)
def test_errors_of_metrics_name_them(metrics: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match="fit: " + message):
        train(metrics=metrics)
    with pytest.raises(kind, match="evaluate: " + message):
        cr.nn.evaluate(model_of(), cr.nn.cross_entropy, (X[:40], Y[:40]), metrics=metrics)


# Schedules and early stopping


def test_a_schedule_steps_after_each_epoch() -> None:
    model = model_of()
    optimizer = cr.nn.SGD(model.parameters(), lr=1.0)
    history = train(model, optimizer=optimizer, schedule=cr.nn.StepLR(optimizer, 2, 0.1), epochs=5)
    assert_allclose(history["lr"], [1.0, 1.0, 0.1, 0.1, 0.01])


@pytest.mark.parametrize("validation", [None, VALIDATION])
def test_a_plateau_is_that_of_the_validation_loss_if_there_is_one(validation: Any) -> None:
    model = model_of()
    optimizer = cr.nn.SGD(model.parameters(), lr=0.0)  # on which the validation loss stands still
    schedule = cr.nn.ReduceLROnPlateau(optimizer, patience=1)
    optimizer.lr = 2.0 if validation is None else 0.5
    history = train(model, optimizer=optimizer, schedule=schedule, epochs=12, validation=validation)
    again = cr.nn.SGD(model_of().parameters(), lr=history[0]["lr"])
    expected = cr.nn.ReduceLROnPlateau(again, patience=1)
    rates = []
    for metric in history["loss" if validation is None else "validation_loss"]:
        rates.append(again.lr)
        expected.step(metric)
    assert history["lr"] == rates


def scripted(values: list[float], **options: Any) -> tuple[cr.nn.History, list[float], cr.nn.Module]:
    """A training whose validation losses are these; also the weight after each epoch, and the model."""

    class Constant(cr.nn.Module):
        buffers = ("seen",)

        def __init__(self) -> None:
            self.w = cr.Tensor([0.0])
            self.seen = np.zeros(())

        def forward(self, x: Any) -> Any:
            if self.training:
                self.seen += 1
            return self.w + x

    model, after, left = Constant(), [], iter(values)

    def loss(prediction: Any, target: Any) -> Any:
        return cr.mean(prediction) if model.training else next(left)

    history = train(
        model, [(np.zeros(1), np.zeros(1))], loss, validation=[(np.zeros(1), np.zeros(1))], epochs=len(values),
        optimizer=cr.nn.SGD(model.parameters(), lr=1.0), callbacks=[lambda h, m: after.append(float(m.w.data[0]))], **options,
    )  # fmt: skip
    return history, after, model


STOPPING: dict[str, tuple[list[float], Any, int, int]] = {
    # validation losses, early stopping, epochs trained, the best of them
    "never": ([5, 4, 3, 2, 1], 2, 5, 5),
    "patience 1": ([5, 4, 4, 3], 1, 3, 2),
    "patience 2": ([5, 4, 4, 3, 4, 5, 1], 2, 6, 4),
    "at the end": ([5, 4, 6], 2, 3, 2),
    "min_delta": ([5, 4.5, 3.9, 3.5, 3, 0], cr.nn.EarlyStopping(2, min_delta=1.0), 5, 3),
    "max": ([1, 2, 1, 1, 9], cr.nn.EarlyStopping(2, mode="max"), 4, 2),
    "NaN first": ([math.nan, 3, 4, 4, 1], 2, 4, 2),
    "NaN later": ([3, math.nan, math.nan, 1], 2, 3, 1),
    "infinite": ([math.inf, 3, math.inf, 2], 2, 4, 4),
    "NaN twice": ([math.nan, math.nan, 3, 2], 2, 4, 4),
    "NaN only": ([math.nan] * 20, 2, 3, 0),
}


@pytest.mark.parametrize("name", STOPPING)
def test_early_stopping_goes_back_to_the_best(name: str) -> None:
    values, stopping, trained, best = STOPPING[name]
    odd = next((i for i, x in enumerate(values[:trained], 1) if not math.isfinite(x)), None)
    with pytest.warns(RuntimeWarning) if odd else contextlib.nullcontext([]) as warned:
        history, after, model = scripted(values, early_stopping=stopping)
    assert [str(w.message).split(" is ")[0] for w in warned] == [f"fit: the validation loss of epoch {odd}"] * bool(odd)
    assert_array_equal(history["validation_loss"], values[:trained])
    assert history.best_epoch == (best or None)
    assert history.stopped == ("early stopping" if trained - best >= 2 or name == "patience 1" else None)
    kept = best or trained  # where there is no best epoch, the last weights stay
    assert model.w.data[0] == after[kept - 1] != after[-1] or kept == trained
    assert model.seen == kept


def test_a_warning_of_the_validation_loss_points_to_the_call() -> None:
    with pytest.warns(RuntimeWarning, match="validation loss of epoch 1 is nan") as warned:
        scripted([math.nan])
    assert [w.filename for w in warned] == [__file__]


def test_where_no_epoch_was_the_best_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def run(epochs: int, path: str, **options: Any) -> tuple[Any, Any]:
        model = model_of()
        broken = X[40:] * math.nan
        with pytest.warns(RuntimeWarning):
            history = train(
                model,
                validation=(broken, Y[40:]),
                early_stopping=9,
                epochs=epochs,
                checkpoint=tmp_path / path,
                **options,
            )
        return weights(model), without_seconds(history)

    run(2, "last.npz")
    again, whole = run(4, "last.npz", resume=True), run(4, "whole.npz")
    assert again[0] == whole[0]
    assert repr(again[1]) == repr(whole[1])


IMPROVING: list[tuple[dict[str, Any], float, float, bool]] = [
    # options, a new measurement, the best so far, whether the new one is better
    ({}, 1.0, 2.0, True),
    ({}, 2.0, 2.0, False),
    ({"mode": "max"}, 2.0, 1.0, True),
    ({"monitor": "validation_accuracy"}, 0.9, 0.8, True),
    ({"min_delta": 1.0}, -2.0, -0.5, True),
    ({"min_delta": 1.0}, -2.0, -1.5, False),
    *(({"mode": mode, "min_delta": delta}, math.nan, on, False) for mode in ("min", "max") for delta in (0.0, 1.0)
      for on in (math.nan, 1.0, -1.0, math.inf, -math.inf)),
    *(({"mode": mode, "min_delta": delta}, new, math.nan, True) for mode in ("min", "max") for delta in (0.0, 1.0)
      for new in (1.0, -1.0, math.inf, -math.inf)),
    *(({"mode": mode}, on, on, False) for mode in ("min", "max") for on in (math.inf, -math.inf)),
    ({}, 1.0, math.inf, True),
    ({}, -math.inf, math.inf, True),
    ({"mode": "max"}, 1.0, -math.inf, True),
]  # fmt: skip


@pytest.mark.parametrize(("options", "new", "on", "better"), IMPROVING)
def test_what_improves(options: Any, new: float, on: float, better: bool) -> None:
    stopping = cr.nn.EarlyStopping(2, **options)
    with np.errstate(all="raise"):
        assert stopping.improves(new, on=on) is better
        assert stopping.improves(np.float64(new), on=np.float64(on)) is better


def test_without_early_stopping_the_last_weights_stay_and_the_best_epoch_is_known() -> None:
    history, after, model = scripted([5, 2, 3, 4])
    assert history.best_epoch == 2
    assert model.w.data[0] == after[-1] == -4.0


def test_the_confusion_is_that_of_the_weights_that_stay() -> None:
    model, seen = model_of(), []
    history = train(
        model,
        optimizer=cr.nn.SGD(model.parameters(), lr=3.0),
        validation=VALIDATION,
        epochs=8,
        early_stopping=cr.nn.EarlyStopping(2, monitor="validation_accuracy"),
        callbacks=[lambda history, model: seen.append(history.confusion)],
    )
    found = cr.nn.evaluate(model, cr.nn.cross_entropy, VALIDATION)
    assert_array_equal(history.confusion, found.confusion)
    assert not np.array_equal(history.confusion, seen[-1])
    assert history.best_epoch is not None
    assert (
        found.accuracy == history[history.best_epoch - 1]["validation_accuracy"] == max(history["validation_accuracy"])
    )


@pytest.mark.parametrize(
    "monitor", ["loss", "accuracy", "penalty", "gradient_norm", "lr", "seconds", "validation_accuracy"]
)
def test_any_measurement_can_be_monitored_and_looking_for_it_leaves_no_trace(monitor: str) -> None:
    options = {"validation": VALIDATION, "clip_norm": 1.0, "penalty": lambda m: 0.01 * cr.nn.l2_penalty(m.parameters())}
    model, plain = model_of(dropout=0.5, batch_norm=True), model_of(dropout=0.5, batch_norm=True)
    history = train(model, early_stopping=cr.nn.EarlyStopping(9, monitor=monitor), **options)
    expected = train(plain, **options)
    assert history["loss"] == expected["loss"]
    pick = max if monitor.endswith("accuracy") else min
    assert history.best_epoch == 1 + history[monitor].index(pick(history[monitor]))


# Callbacks and endings


def test_callbacks_see_each_epoch_and_may_end_training() -> None:
    seen: list[Any] = []

    def note(history: cr.nn.History, model: cr.nn.Module) -> None:
        seen.append((len(history), history[-1]["epoch"], model))

    def stop(history: cr.nn.History, model: cr.nn.Module) -> None:
        if len(history) == 2:
            raise cr.nn.StopTraining

    model = model_of()
    history = train(model, callbacks=[stop, note], epochs=5)
    assert seen == [(1, 1, model), (2, 2, model)]
    assert history.stopped == "callback"


def test_after_each_batch_what_was_differentiated_is_told() -> None:
    model, told = model_of(), []

    def note(total: cr.Node) -> None:
        told.append((total.grad, all(p.grad is not None for p in model.parameters()), float(total.data)))

    history = train(model, after_batch=note, epochs=2, penalty=lambda model: cr.nn.l2_penalty(model.parameters()))
    per_epoch, rest = divmod(len(told), 2)
    assert (per_epoch > 1, rest) == (True, 0)
    assert all(grad == 1.0 and there for grad, there, _ in told)
    totals = [record["loss"] + record["penalty"] for record in history]
    assert_allclose(
        [np.mean([total for *_, total in told[i * per_epoch :][:per_epoch]]) for i in (0, 1)], totals, rtol=0.2
    )


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
def test_ctrl_c_ends_a_wait_after_a_batch() -> None:
    model, told = model_of(), []

    def wait(total: cr.Node) -> None:
        told.append(total)
        if len(told) == 2:
            signal.raise_signal(signal.SIGINT)
            raise AssertionError("waited on")

    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        history = train(model, after_batch=wait, epochs=2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert (len(told), len(history), history.stopped) == (2, 0, "interrupted")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["input", "penalty"])
def test_a_loss_that_is_not_finite_changes_nothing(bad: float, where: str) -> None:
    x = X.copy()
    x[37] = bad if where == "input" else x[37]
    model = model_of(batch_norm=True)
    before: list[bytes] = []

    def loss(prediction: Any, target: Any) -> Any:
        return cr.nn.cross_entropy(prediction, target)

    def penalty(model: cr.nn.Module) -> Any:
        before.append(b"".join(p.data.tobytes() for p in model.parameters()))
        return (bad if len(before) == 4 and where == "penalty" else 1.0) * cr.nn.l1_penalty(model.parameters())

    statistics = [(name, array) for name, array in model.named_buffers()]
    with (
        np.errstate(all="ignore"),
        pytest.raises(
            FloatingPointError, match=rf"epoch 1, batch 4: the loss is {'nan|inf' if where == 'penalty' else 'nan'}"
        ),
    ):
        train(model, cr.nn.Batches(x, Y, batch_size=10, shuffle=False), loss, penalty=penalty)
    assert b"".join(p.data.tobytes() for p in model.parameters()) == before[-1]
    assert before[-1] != before[-2]
    for name, array in statistics:
        assert np.isfinite(array).all(), name
        if name.endswith("num_batches_tracked"):
            assert array == 3


@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0}, {"clip_value": 1.0}])
def test_a_gradient_that_is_not_finite_changes_nothing(options: Any) -> None:
    model = cr.nn.Linear(2, 1, rng=0)
    before = weights(model)

    def loss(prediction: Any, target: Any) -> Any:
        return cr.mean(cr.sqrt(prediction * 0.0))

    with (
        np.errstate(all="ignore"),
        pytest.raises(FloatingPointError, match=r"epoch 1, batch 1: the gradient of 'weight' is not finite"),
    ):
        train(model, (X, Y), loss, **options)
    assert weights(model) == before


def test_a_gradient_of_a_value_that_is_not_finite_is_named_by_its_batch() -> None:
    class Root(cr.nn.Module):
        def __init__(self) -> None:
            self.w = cr.Value(1.0)

        def forward(self, x: float) -> Any:
            return cr.sqrt(self.w * x)

    def trained(*inputs: float, **options: Any) -> float:
        model = Root()
        optimizer = cr.nn.SGD(model.parameters(), lr=0.1)
        with np.errstate(all="ignore"), pytest.raises(FloatingPointError) as error:
            train(model, [(x, 0.0) for x in inputs], lambda p, t: p - t, optimizer=optimizer, **options)
        messages.append(str(error.value))
        return model.w.data

    messages: list[str] = []
    for options in {"clip_value": 1.0}, {"clip_norm": 1.0}:
        assert trained(1.0, 0.0, **options) == pytest.approx(0.95)  # one step of 0.1 * 0.5
        assert messages.pop().startswith("fit: epoch 1, batch 2: the gradient of 'w' is not finite, though the loss is")
    assert trained(0.0, 1.0) == 1.0
    assert messages.pop().startswith("fit: epoch 1, batch 1: the gradient of 'w' is not finite")
    for inputs, where in ((1.0, 0.0), "after its last batch"), ((1.0, 0.0, 1.0), "batch 3"):
        assert not math.isfinite(trained(*inputs))
        assert messages.pop().startswith(
            f"fit: epoch 1, {where}: 'w' is not finite any more: an earlier gradient was not"
        )


def test_gradients_whose_squares_overflow_are_finite_all_the_same() -> None:
    model = cr.nn.Linear(2, 1, dtype="float32", rng=0)
    optimizer = cr.nn.SGD(model.parameters(), lr=1e-30)
    train(model, (np.float32(X), Y), lambda p, t: cr.mean(p) * 1e25, optimizer=optimizer, epochs=1)
    assert np.isfinite(model.weight.data).all()


@pytest.mark.parametrize(
    ("lr", "scale", "message"),
    [
        (6e4, 8.0, "'(weight|bias)' is not finite any more: an earlier gradient was not, or the update made of it"),
        (1e-9, 1e5, "the loss is (inf|nan), so nothing was updated"),
    ],
)
def test_what_overflows_in_float16_is_said_to(lr: float, scale: float, message: str) -> None:
    def run(dtype: str) -> None:
        model = cr.nn.Linear(2, 3, dtype=dtype, rng=0)
        batches = cr.nn.Batches(np.ones((50, 2), dtype), Y, batch_size=8, rng=0)
        optimizer = cr.nn.SGD(model.parameters(), lr=lr)
        train(
            model,
            batches,
            lambda p, t: cr.mean((p + 1.0) * np.float32(scale)).astype(dtype),
            optimizer=optimizer,
            epochs=1,
        )

    run("float32")
    with np.errstate(all="ignore"), pytest.raises(FloatingPointError, match=message) as error:
        run("float16")
    assert "parameters in float16, where what is above 65504 overflows" in str(error.value)


class Counted(cr.nn.Module):
    """Has a buffer that each forward pass changes."""

    buffers = ("seen",)

    def __init__(self) -> None:
        self.layer, self.seen = cr.nn.Linear(2, 3, rng=0), np.zeros(1)

    def forward(self, x: Any) -> Any:
        self.seen += 1.0
        return self.layer(x)


def test_buffers_are_as_before_after_any_error() -> None:
    model = Counted()

    def loss(prediction: Any, target: Any) -> Any:
        return cr.nn.cross_entropy(prediction, target) if model.seen < 3 else 1 / 0

    with pytest.raises(ZeroDivisionError):
        train(model, loss=loss)
    assert model.seen == 2


def test_a_prediction_that_is_not_a_number_is_called_so_whatever_the_loss_makes_of_it() -> None:
    model, x = Counted(), X.copy()
    x[20] = math.nan

    def loss(prediction: Any, target: Any) -> Any:
        if not (prediction.data < 100.0).all():
            raise ValueError("predictions must be below 100")
        return cr.nn.cross_entropy(prediction, target)

    with pytest.raises(FloatingPointError, match="epoch 1, batch 3: predictions must be below 100"):
        train(model, cr.nn.Batches(x, Y, batch_size=10, shuffle=False), loss)
    assert model.seen == 2
    with pytest.raises(ValueError, match="predictions must be below 100"):
        train(model, (1e6 * X, Y), loss)


def test_later_batches_are_looked_at_like_the_first() -> None:
    for bad, kind, message in (
        (0.0, TypeError, "loss must return a node to differentiate, got 0.0"),
        (None, TypeError, "loss must return a node to differentiate, got None"),
        (cr.Tensor([1.0, 2.0]) * 2.0, ValueError, r"loss must return one number, got shape \(2,\)"),
        (cr.Value(1.0), ValueError, "depends on no parameter"),
    ):
        results = iter([True, False, True])
        with pytest.raises(kind, match=message):
            train(loss=lambda p, t, results=results, bad=bad: cr.nn.cross_entropy(p, t) if next(results) else bad)
    with pytest.raises(TypeError, match="a batch must be a tuple"):
        train(data=[(X, Y), X])


def test_what_the_optimizer_does_not_move_gathers_no_gradient() -> None:
    model = model_of()
    head, frozen = model.parameters()[2:], model.parameters()[:2]
    batches = cr.nn.Batches(X, Y, batch_size=10, shuffle=False)
    train(model, batches, optimizer=cr.nn.SGD(head, lr=0.0), epochs=3)
    found = [p.grad for p in frozen]
    model.zero_grad()
    cr.nn.cross_entropy(model(X[40:]), Y[40:]).backward()
    for p, g in zip(frozen, found, strict=True):
        assert_array_equal(p.grad, g)


ERRORS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "epochs": ({"epochs": -1}, ValueError, "fit: epochs must be at least 0, got -1"),
    "half an epoch": ({"epochs": 1.5}, TypeError, "fit: epochs must be a whole number, got 1.5"),
    "no samples": ({"data": (X[:0], Y[:0])}, ValueError, "fit: data: there is no batch in Batches(0 samples"),
    "all dropped": ({"data": cr.nn.Batches(X, Y, batch_size=64, drop_last=True)}, ValueError, "fit: data: there is no batch"),
    "no batches": ({"data": []}, ValueError, "fit: data: there is no batch in []"),
    "exhausted": ({"data": iter([(X, Y)])}, TypeError, "that can be iterated over in every epoch"),
    "an array": ({"data": X}, TypeError, "fit: data: expected Batches, a tuple of arrays"),
    "a number": ({"data": 3}, TypeError, "fit: data: expected Batches"),
    "no target": ({"data": (X,)}, TypeError, "expected a tuple (inputs..., target), got 1 arrays"),
    "lengths": ({"data": (X, Y[:9])}, ValueError, "different numbers of samples: 50, 9"),
    "no tuples": ({"data": [X, X]}, TypeError, "a batch must be a tuple (inputs..., target), got array"),
    "single": ({"data": cr.nn.Batches(X)}, TypeError, "a batch must be a tuple (inputs..., target), got ("),
    "empty validation": ({"validation": (X[:0], Y[:0])}, ValueError, "fit: validation: there is no batch"),
    "many numbers": ({"loss": lambda p, t: p}, ValueError, "loss must return one number, got shape (16, 3); reduce it"),
    "no number": ({"loss": lambda p, t: None}, TypeError, "loss must return a node to differentiate, got None"),
    "plain number": ({"loss": lambda p, t: 1.0}, TypeError, "loss must return a node to differentiate, got 1.0"),
    "constant": ({"loss": lambda p, t: cr.Value(1.0)}, ValueError, "depends on no parameter"),
    "detached": ({"loss": lambda p, t: cr.no_grad()(cr.nn.cross_entropy)(p, t)}, ValueError, "loss returned a constant"),
    "other parameters": ({"optimizer": cr.nn.SGD([cr.Value(0.0)], lr=1.0)}, ValueError, "depends on none of the parameters"),
    "not a module": ({"model": lambda x: x}, TypeError, "fit: model is <function"),
    "not an optimizer": ({"optimizer": "adam"}, TypeError, "fit: optimizer is 'adam' (str), expected Optimizer"),
    "not a loss": ({"loss": "mse"}, TypeError, "fit: loss is 'mse' (str), expected a function"),
    "a tuple of batches": ({"data": ((X[:25], X[25:]), (Y[:25], Y[25:]))}, TypeError, "fit: data: got a tuple of lists or tuples of arrays; a tuple means (inputs..., target)"),
    "a tuple of lists": ({"validation": ([X[:3], Y[:3]], [X, Y])}, TypeError, "fit: validation: got a tuple of lists or tuples of arrays"),
    "no penalty": ({"penalty": lambda m: None}, TypeError, "fit: penalty must return a number, got None"),
    "many penalties": ({"penalty": lambda m: m.parameters()[1]}, ValueError, "fit: penalty must return one number, got shape (8,)"),
    "no loss beside a penalty": ({"loss": lambda p, t: None, "penalty": lambda m: 1.0}, TypeError, "fit: loss must return a number, got None"),
    "clip text": ({"clip_norm": "1"}, TypeError, "fit: clip_norm must be a number, got '1'"),
    "one callback": ({"callbacks": print}, TypeError, "fit: callbacks must be a list of functions, got <built-in function print>"),
    "True": ({"early_stopping": True, "validation": VALIDATION}, TypeError, "patience must be a whole number, got True"),
    "epochs True": ({"epochs": True}, TypeError, "epochs must be a whole number, got True"),
    "not a callback": ({"callbacks": [None]}, TypeError, "fit: callback is None"),
    "nothing to tell after a batch": ({"after_batch": 3}, TypeError, "fit: after_batch is 3"),
    "clip": ({"clip_norm": 0.0}, ValueError, "fit: clip_norm must be positive, got 0.0"),
    "schedule": ({"schedule": cr.nn.StepLR(cr.nn.SGD([cr.Value(0.0)], lr=1.0), 1)}, ValueError, "schedule belongs to another optimizer"),
    "patience": ({"early_stopping": 0, "validation": VALIDATION}, ValueError, "patience must be at least 1, got 0"),
    "unmeasured": ({"early_stopping": 2}, ValueError, "monitors 'validation_loss', which is not measured here; there is loss, seconds, lr, but no validation data"),
    "no classes": ({"early_stopping": cr.nn.EarlyStopping(2, monitor="accuracy"), "data": (X, X), "loss": lambda p, t: cr.mean(p)}, ValueError, "monitors 'accuracy', which is not measured"),
    "misspelt": ({"early_stopping": cr.nn.EarlyStopping(2, monitor="los")}, ValueError, "monitors 'los'"),
    "resume what": ({"resume": True}, ValueError, "resume=True needs checkpoint="),
    "suffix": ({"checkpoint": "last.pkl"}, ValueError, "ends in .npz, got '.pkl'"),
    "folder": ({"checkpoint": "no/such/folder/last.npz"}, FileNotFoundError, "there is no folder"),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_say_what_is_wrong_and_nothing_is_trained(name: str) -> None:
    options, kind, message = ERRORS[name]
    options = dict(options)
    model = options.pop("model", None) or model_of()
    optimizer = options.pop("optimizer", None)
    if not isinstance(model, cr.nn.Module):
        optimizer = cr.nn.SGD([cr.Value(0.0)], lr=1.0)
    before = weights(model) if isinstance(model, cr.nn.Module) else b""
    with pytest.raises(kind) as error:
        train(model, optimizer=optimizer, **options)
    assert message in str(error.value)
    assert not isinstance(model, cr.nn.Module) or weights(model) == before


@pytest.mark.parametrize(
    "options", [{"patience": 1, "min_delta": -1.0}, {"patience": 1, "mode": "low"}, {"patience": 0}]
)
def test_early_stopping_checks_its_options(options: Any) -> None:
    with pytest.raises(ValueError, match="EarlyStopping: "):
        cr.nn.EarlyStopping(**options)


def test_an_integer_of_numpy_is_a_patience() -> None:
    history = train(early_stopping=np.int64(2), validation=VALIDATION, epochs=2)
    assert without_seconds(history) == without_seconds(train(early_stopping=2, validation=VALIDATION, epochs=2))


def test_nested_lists_are_arrays_and_no_batches() -> None:
    assert without_seconds(train(data=(X.tolist(), tuple(Y.tolist())), epochs=1))["records"][0]["epoch"] == 1


def test_no_epochs_change_nothing() -> None:
    model = model_of()
    before = weights(model)
    history = train(model, epochs=0, validation=VALIDATION)
    assert (len(history), weights(model), repr(history)) == (0, before, "History(no epoch has finished)")


def test_data_that_ends_after_an_epoch_is_named_with_the_epoch() -> None:
    class Once:
        def __init__(self) -> None:
            self.left = [(X[:20], Y[:20]), (X[20:], Y[20:])]

        def __iter__(self) -> Iterator[Any]:
            while self.left:
                yield self.left.pop()

    for where, options in ("data", {"data": Once()}), ("validation", {"validation": Once()}):
        with pytest.raises(
            ValueError, match=f"fit: {where}, in epoch 2: there is no batch; data must give its batches anew"
        ):
            train(**options)


# Ctrl-C

INTERRUPTED = """
import os, signal, sys, time
import numpy as np
import chainrule as cr

model = cr.nn.Linear(2, 1, rng=0)
optimizer = cr.nn.SGD(model.parameters(), lr=0.001)
batches, steps = cr.nn.Batches(np.ones((40, 2)), np.ones((40, 1)), batch_size=10, rng=0), [0]

def loss(prediction, target):
    steps[0] += 1
    if steps[0] >= 10:
        print("ready", flush=True)
        time.sleep({sleep})
    return cr.nn.mse_loss(prediction, target)

try:
    history = cr.nn.fit(model, loss, batches, optimizer, epochs=1000, progress={progress})
    print("ended", history.stopped, len(history), steps[0], np.isfinite(model.weight.data).all())
except KeyboardInterrupt:
    print("raised")
print("restored", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def interrupted(times: int, sleep: float, progress: bool) -> list[str]:
    """What a process says that gets so many Ctrl-C while it trains."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", INTERRUPTED.format(sleep=sleep, progress=progress)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    for _ in range(times):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return [line for line in out.splitlines() if line != "ready"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
@pytest.mark.parametrize("progress", [True, False])
def test_ctrl_c_ends_after_the_batch_under_way(progress: bool) -> None:
    # The tenth batch is the second of the third epoch: it is finished, the epoch is not recorded.
    assert interrupted(1, 0.5, progress) == ["ended interrupted 2 10 True", "restored True"]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
def test_ctrl_c_ends_validation_too() -> None:
    validated: list[int] = []
    model = model_of()

    def loss(prediction: Any, target: Any) -> Any:
        if not model.training:
            validated.append(len(target))
            if len(validated) == 7:
                signal.raise_signal(signal.SIGINT)
        return cr.nn.cross_entropy(prediction, target)

    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        history = train(model, loss=loss, validation=cr.nn.Batches(*VALIDATION, batch_size=2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert (len(validated), len(history), history.stopped) == (7, 1, "interrupted")
    assert model.training


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
def test_a_second_ctrl_c_raises_at_once() -> None:
    start = time.monotonic()
    assert interrupted(2, 30.0, False) == ["raised", "restored True"]
    assert time.monotonic() - start < 25.0


def test_handlers_of_others_are_left_alone() -> None:
    during: list[Any] = []

    def look(history: cr.nn.History, model: cr.nn.Module) -> None:
        during.append(signal.getsignal(signal.SIGINT))

    def own(signum: int, frame: Any) -> None: ...

    before = signal.getsignal(signal.SIGINT)
    try:
        for handler in (own, signal.SIG_IGN):
            signal.signal(signal.SIGINT, handler)
            train(callbacks=[look], epochs=1)
            assert during.pop() is handler is signal.getsignal(signal.SIGINT)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        train(callbacks=[look], epochs=1)
        assert during.pop() is not signal.default_int_handler
        with pytest.raises(ZeroDivisionError):
            train(loss=lambda p, t: 1 / 0)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        thread = threading.Thread(target=lambda: train(callbacks=[look], epochs=1))
        thread.start()
        thread.join()
        assert during.pop() is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def stopped_at(line: int) -> bool:
    """Whether training has so many lines around its block, and was stopped at that one by a Ctrl-C."""
    left = line

    def trace(frame: Any, event: str, arg: Any) -> Any:
        nonlocal left
        name = Path(frame.f_code.co_filename).name
        if name != "interruption.py" and (name, frame.f_code.co_name) != ("fit.py", "run"):
            return None
        left -= event == "line"
        if left == 0:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        train(epochs=1, data=[(X, Y)], after_batch=lambda total: None)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_ctrl_c_at_any_line_leaves_no_handler_behind() -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        line = 1
        while stopped_at(line):
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler, f"line {line}"
            line += 1
    finally:
        signal.signal(signal.SIGINT, before)
    assert line > 20


@pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
def test_two_ctrl_c_while_training_ends_leave_no_handler_behind() -> None:
    class Closing:
        """An iterable that is left in the midst of a batch."""

        def __iter__(self) -> Iterator[Any]:
            try:
                yield X, Y
                raise cr.nn.StopTraining
            finally:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with pytest.raises(KeyboardInterrupt):
            train(data=Closing())
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("options", [{}, {"early_stopping": 3, "validation": VALIDATION}])
def test_training_can_be_stopped_after_a_batch(options: Any) -> None:
    model, batches = model_of(), []
    kept: list[bytes] = []

    def stop(total: cr.Node) -> None:
        batches.append(total)
        if len(batches) in (3, 5):
            kept.append(weights(model))  # the first epoch has three batches
        if len(batches) == 5:
            raise cr.nn.StopTraining

    history = train(model, after_batch=stop, **options)
    assert (len(batches), len(history), history.stopped) == (5, 1, "callback")
    assert weights(model) == kept[0 if options else 1]


# Checkpoints


class Power(Exception):
    """Goes out."""


def resumable(
    path: Path | None, epochs: int, *, resume: bool = False, until: int | None = None, **options: Any
) -> tuple[Any, cr.nn.History]:
    """A training with everything that has a state; the power goes out after epoch `until`."""
    model = cr.nn.MLP([2, 8, 8, 3], batch_norm=True, dropout=0.2, dtype="float32", rng=0)
    optimizer = cr.nn.Adam(model.parameters(), lr=0.05)

    def cut(history: cr.nn.History, model: cr.nn.Module) -> None:
        if len(history) == until:
            raise Power

    def jitter(rng: np.random.Generator, x: Any, y: Any) -> tuple[Any, Any]:
        return x + rng.normal(0.0, 0.1, x.shape).astype(np.float32), y

    history = None
    with contextlib.suppress(Power):
        history = train(
            model,
            cr.nn.Batches(X[:40].astype("float32"), Y[:40], batch_size=16, rng=3, transform=jitter),
            optimizer=optimizer,
            epochs=epochs,
            validation=cr.nn.Batches(*VALIDATION, batch_size=3, rng=5),
            penalty=lambda m: 1e-3 * cr.nn.l1_penalty(m.parameters()),
            clip_norm=1.0,
            checkpoint=path,
            resume=resume,
            callbacks=[cut],
            **{"early_stopping": 3, "schedule": cr.nn.ReduceLROnPlateau(optimizer, patience=0, factor=0.5), **options},
        )
    return model, history or cr.nn.History()


@pytest.mark.parametrize("until", [1, 2, 4, 7, 12])
def test_resumed_training_is_the_uninterrupted_one_bit_for_bit(until: int, tmp_path: Path) -> None:
    whole, expected = resumable(tmp_path / "whole.npz", 12)
    assert len(set(expected["lr"])) > 1
    path = tmp_path / "last.npz"
    resumable(path, 12, until=until)
    model, history = resumable(path, 12, resume=True)
    assert weights(model) == weights(whole)
    assert without_seconds(history) == without_seconds(expected)
    plain, _ = resumable(None, 12)
    assert weights(plain) == weights(whole)
    again, history = resumable(path, 12, resume=True)  # of a training that has ended
    assert weights(again) == weights(whole)
    assert without_seconds(history) == without_seconds(expected)


def test_resumed_by_stages_and_for_longer(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    options = {"early_stopping": None}
    for epochs in (1, 2, 5):
        resumable(path, epochs, resume=True, **options)
    model, history = resumable(path, 8, resume=True, **options)
    whole, expected = resumable(None, 8, **options)
    assert weights(model) == weights(whole)
    assert without_seconds(history) == without_seconds(expected)


def test_what_stopped_early_stays_stopped_and_what_a_callback_stopped_goes_on(tmp_path: Path) -> None:
    def train_on(name: str, **options: Any) -> cr.nn.History:
        model = model_of()
        return train(
            model,
            optimizer=cr.nn.SGD(model.parameters(), lr=3.0),
            validation=VALIDATION,
            checkpoint=tmp_path / name,
            **options,
        )

    def stop(history: cr.nn.History, model: cr.nn.Module) -> None:
        raise cr.nn.StopTraining

    early = train_on("early.npz", epochs=20, early_stopping=1)
    assert (early.stopped, len(early) < 20) == ("early stopping", True)
    again = train_on("early.npz", epochs=20, early_stopping=1, resume=True)
    assert again.to_dict() == early.to_dict()
    assert len(train_on("early.npz", epochs=20, early_stopping=20, resume=True)) == 20
    assert train_on("callback.npz", epochs=4, callbacks=[stop]).stopped == "callback"
    assert train_on("callback.npz", epochs=4, resume=True)["epoch"] == [1, 2, 3, 4]


class Counter:
    """Counts its calls, and can be asked to go on from any number."""

    def __init__(self) -> None:
        self.n = 0

    def state_dict(self) -> dict[str, int]:
        return {"n": self.n}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.n = state["n"]

    def count(self, *given: Any) -> int:
        self.n += 1
        return self.n


class Warming(Counter):
    """A loss and a penalty whose weight grows from call to call."""

    def __call__(self, prediction: Any, target: Any) -> Any:
        return cr.nn.cross_entropy(prediction, target) * min(1.0, 0.1 * self.count())

    def penalty(self, model: cr.nn.Module) -> Any:
        return 1e-3 * self.count() * cr.nn.l2_penalty(model.parameters())


class Noisy(cr.nn.Module):
    """A loss with a random layer and a buffer."""

    buffers = ("scale",)

    def __init__(self) -> None:
        self.drop, self.scale = cr.nn.Dropout(0.5, rng=0), np.array([1.0])

    def forward(self, prediction: Any, target: Any) -> Any:
        return cr.nn.cross_entropy(self.drop(prediction) * self.scale, target)


def per_batch(make: Any) -> Any:
    """A schedule that only a closure knows."""

    def options(optimizer: Any) -> dict[str, Any]:
        schedule = make(optimizer)
        return {"after_batch": lambda total: schedule.step(total)}

    return options


def counted_by(counter: Counter, **options: Any) -> dict[str, Any]:
    """A schedule of one's own that follows a counter with a state."""
    return {**options, "metrics": {"n": lambda output, target: counter.n}}


STATEFUL: dict[str, Callable[[Any], dict[str, Any]]] = {
    "a schedule in a closure": per_batch(lambda o: cr.nn.ExponentialLR(o, 0.9)),
    "a plateau in a closure": per_batch(lambda o: cr.nn.ReduceLROnPlateau(o, patience=2, cooldown=1)),
    "two schedules": lambda o: per_batch(lambda o: cr.nn.ExponentialLR(o, 0.9))(o) | {"schedule": cr.nn.StepLR(o, 2, 0.5)},
    "a sequence": lambda o: {"schedule": cr.nn.SequentialLR(o, [cr.nn.LinearLR(o, 0.5), cr.nn.StepLR(o, 1)], [3])},
    "a method of a schedule": lambda o: {"after_batch": cr.nn.CosineAnnealingLR(o, 30).step},
    "a loss": lambda o: {"loss": Warming()},
    "a loss that is a module": lambda o: {"loss": Noisy()},
    "a method of an object": lambda o: {"penalty": Warming().penalty},
    "a metric": lambda o: {"metrics": [Counter().count]},
    "after each batch": lambda o: counted_by(c := Counter(), after_batch=c.count),
    "a callback": lambda o: counted_by(c := Counter(), callbacks=[print_nothing, c.count]),
}  # fmt: skip


def print_nothing(history: cr.nn.History, model: cr.nn.Module) -> None: ...


@pytest.mark.parametrize("name", STATEFUL)
def test_whatever_has_a_state_goes_on_from_the_checkpoint(name: str, tmp_path: Path) -> None:
    def run(epochs: int, path: str, **options: Any) -> tuple[Any, Any]:
        model = model_of()
        optimizer = cr.nn.Adam(model.parameters(), lr=0.1)
        given = STATEFUL[name](optimizer)
        history = train(model, optimizer=optimizer, epochs=epochs, checkpoint=tmp_path / path, **given, **options)
        return weights(model), without_seconds(history)

    run(2, "last.npz")
    assert run(5, "last.npz", resume=True) == run(5, "whole.npz")


def test_an_optimizer_knows_its_schedules_as_long_as_they_are_there() -> None:
    optimizer = cr.nn.SGD([cr.Value(1.0)], lr=1.0)
    first, second = cr.nn.StepLR(optimizer, 1), cr.nn.StepLR(optimizer, 2)
    assert optimizer.schedules == [first, second]
    del first
    assert optimizer.schedules == [second]
    for again in copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)):
        assert again(optimizer).schedules == []
        copied, schedule = again((optimizer, second))
        assert copied.schedules == [schedule]
    assert optimizer.schedules == [second]


def test_an_existing_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    resumable(path, 2)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="go on from it with resume=True, or delete it"):
        resumable(path, 3)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"early_stopping": None}, "early_stopping was given there or is given here, but not both"),
        (
            {"early_stopping": cr.nn.EarlyStopping(3, monitor="loss")},
            "best was by 'validation_loss' there, and is by 'loss' here",
        ),
        ({"schedule": None}, "'schedule' was saved but not given"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(options: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "last.npz"
    resumable(path, 2)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=message):
        resumable(path, 3, resume=True, **options)
    assert path.read_bytes() == before


def test_a_record_that_could_not_be_read_again_is_not_saved(tmp_path: Path) -> None:
    path = tmp_path / "last.npz"

    def note(history: cr.nn.History, model: cr.nn.Module) -> None:
        history[-1]["norm"] = np.float32(0.5) if len(history) == 1 else "large"

    with pytest.raises(TypeError, match=r"the record of epoch 2 has 'norm': 'large' \(str\)"):
        train(checkpoint=path, callbacks=[note])
    assert train(checkpoint=path, resume=True, epochs=2)["norm"] == [0.5]
    assert "large" in repr(train(callbacks=[note]))


# Progress


def test_where_there_is_no_stderr_training_is_silent(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    assert len(train(progress=True)) == 3
    assert capsys.readouterr().out == ""


def test_a_bar_over_all_batches_with_the_averages(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    history = train(progress=True, validation=VALIDATION, epochs=2)
    captured = capsys.readouterr()
    assert captured.out == ""
    last = captured.err.split("\r")[-1]
    assert "6/6" in last
    assert "epoch 2" in last
    assert f"loss={history[-1]['loss']:.4g}, accuracy={history[-1]['accuracy']:.4g}" in last
    assert f"validation_loss={history[-1]['validation_loss']:.4g}" in last


def test_a_bar_where_the_number_of_batches_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tqdm")
    train(progress=True, data=recycled(), epochs=2)
    assert "8batch" in capsys.readouterr().err.split("\r")[-1]


def test_a_line_for_each_epoch_where_tqdm_is_missing(tmp_path: Path) -> None:
    (tmp_path / "tqdm.py").write_text("raise ImportError('no tqdm')")
    code = "import chainrule as cr; m = cr.nn.Linear(1, 1, rng=0); cr.nn.fit(m, cr.nn.mse_loss, ([[1.0]], [[1.0]]), cr.nn.SGD(m.parameters(), 0.1), epochs=2)"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": path}
    )
    lines = done.stderr.splitlines()
    assert [line.split(", ")[0] for line in lines] == ["epoch=1", "epoch=2"]
    assert all("loss=" in line and "lr=0.1" in line for line in lines)


def test_silence(capsys: pytest.CaptureFixture[str]) -> None:
    train(progress=False)
    assert capsys.readouterr() == ("", "")


# History


def history_of(n: int, **options: Any) -> cr.nn.History:
    records = [
        {"epoch": i + 1, "loss": 1.0 / (i + 1), "accuracy": i / n, "validation_loss": 2.0 / (i + 1)} for i in range(n)
    ]
    return cr.nn.History(records, **options)


def test_a_history_is_a_list_of_records() -> None:
    history = history_of(3)
    assert history["loss"] == [1.0, 0.5, 1 / 3]
    assert history[-1] == {"epoch": 3, "loss": 1 / 3, "accuracy": 2 / 3, "validation_loss": 2 / 3}
    assert [record["epoch"] for record in history] == history["epoch"] == [1, 2, 3]
    assert len(history) == 3
    with pytest.raises(KeyError, match="nothing called 'los' was measured; there is epoch, loss, accuracy"):
        history["los"]
    with pytest.raises(IndexError):
        history[3]


def test_a_history_goes_through_json() -> None:
    history = train(validation=VALIDATION, early_stopping=2)
    again = cr.nn.History.from_dict(json.loads(json.dumps(history.to_dict())))
    assert again.to_dict() == history.to_dict()
    assert_array_equal(again.confusion, history.confusion)
    assert repr(again) == repr(history)


def test_numbers_of_numpy_that_a_callback_adds_go_through_json() -> None:
    def note(history: cr.nn.History, model: cr.nn.Module) -> None:
        history[-1].update(
            {
                "a": np.float32(0.5),
                "b": np.int64(3),
                "c": np.array(1.5),
                "d": cr.Value(2.0),
                "e": cr.Tensor(4.0),
            }
        )

    (record,) = json.loads(json.dumps(train(callbacks=[note], epochs=1).to_dict()))["records"]
    assert [record[name] for name in "abcde"] == [0.5, 3, 1.5, 2.0, 4.0]


GOOD = history_of(2).to_dict()


@pytest.mark.parametrize(
    "state",
    [
        None,
        [],
        {},
        {**GOOD, "more": 1},
        {**GOOD, "records": 3},
        {**GOOD, "records": [{"loss": "low"}]},
        {**GOOD, "best_epoch": 3},
        {**GOOD, "best_epoch": "1"},
    ],
)
def test_what_is_no_history_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="History: "):
        cr.nn.History.from_dict(state)


def test_the_repr_is_a_short_table() -> None:
    assert repr(history_of(2, stopped="callback", best_epoch=2)).splitlines() == [
        "epoch  loss  accuracy  validation_loss",
        "    1     1         0                2",
        "    2   0.5       0.5                1",
        "stopped: callback, best epoch 2",
    ]
    long = repr(history_of(1000)).splitlines()
    assert len(long) == 12
    assert long[6].strip() == "…"
    assert [line.split()[0] for line in (long[1], long[5], long[7], long[-1])] == ["1", "5", "996", "1000"]
    ten = repr(history_of(10)).splitlines()
    assert len(ten) == 11


def test_a_history_draws_itself() -> None:
    pytest.importorskip("matplotlib")
    figure = history_of(5, best_epoch=4).plot()
    assert figure.canvas.manager is None  # pyplot has no part in it
    loss, accuracy = figure.axes
    assert (loss.get_xlabel(), loss.get_ylabel(), accuracy.get_ylabel()) == ("epoch", "loss", "accuracy")
    labels = [text.get_text() for text in loss.get_legend().get_texts()]
    assert labels == ["training", "validation", "best: epoch 4"]
    assert_allclose(loss.lines[1].get_ydata(), history_of(5)["validation_loss"])
    assert_allclose(loss.lines[0].get_xdata(), [1, 2, 3, 4, 5])
    assert list(loss.lines[2].get_xdata()) == [4, 4]
    (only,) = cr.nn.History([{"epoch": 1, "loss": 2.0}]).plot().axes
    assert only.get_ylabel() == "loss"
    with pytest.raises(ValueError, match="nothing to draw"):
        cr.nn.History().plot()


def test_a_confusion_matrix_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    matrix = np.array([[5, 1, 0], [0, 0, 0], [2, 0, 7]])
    figure = cr.nn.History(confusion=matrix).plot_confusion(["one", "two", "three"])
    axes = figure.axes[0]
    assert [text.get_text() for text in axes.texts] == [str(n) for n in matrix.ravel()]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["one", "two", "three"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "true")
    assert_allclose(axes.images[0].get_array(), [[5 / 6, 1 / 6, 0], [0, 0, 0], [2 / 9, 0, 7 / 9]])
    figure.savefig(tmp_path / "confusion.png")
    assert not cr.nn.History(confusion=np.eye(50, dtype=int)).plot_confusion().axes[0].texts
    with pytest.raises(ValueError, match="2 names for 3 classes"):
        cr.nn.History(confusion=matrix).plot_confusion(["a", "b"])
    with pytest.raises(ValueError, match="no confusion matrix"):
        cr.nn.History().plot_confusion()


# What the loss reaches and nobody trains


class Replaced(cr.nn.Module):
    def __init__(self) -> None:
        self.body = cr.nn.Linear(3, 4, rng=0)
        self.head = cr.nn.Linear(4, 2, rng=1)

    def forward(self, x: Any) -> Any:
        return self.head(cr.tanh(self.body(x)))


def fitted(model: cr.nn.Module, optimizer: Any, loss: Any = cr.nn.cross_entropy, **options: Any) -> Any:
    x = np.random.default_rng(0).normal(size=(12, 3))
    return cr.nn.fit(model, loss, [(x, (x[:, 0] > 0).astype(int))] * 2, optimizer, epochs=2, progress=False, **options)


@pytest.mark.parametrize("compile", [False, True])
def test_a_layer_that_was_replaced_after_the_optimizer_was_made(compile: bool) -> None:
    model = Replaced()
    optimizer = cr.nn.SGD(model.parameters())
    model.head = cr.nn.Linear(4, 2, rng=2)
    with pytest.warns(
        UserWarning, match=r"fit: the optimizer holds a Tensor of shape \(2, 4\) and 1 leaves more that"
    ) as said:
        fitted(model, optimizer, compile=compile)
    assert len(said) == 1


def test_leaves_that_nobody_trains_are_named() -> None:
    model = Replaced()
    scale = cr.Value(1.0, name="scale")

    def loss(p: Any, t: Any) -> Any:
        return cr.nn.cross_entropy(p * scale, t)

    with pytest.warns(UserWarning, match="fit: the loss reaches a Value 'scale' that the model does not list") as said:
        fitted(model, cr.nn.Adam(model.parameters()), loss)
    assert len(said) == 1
    fitted(model, cr.nn.Adam([*model.parameters(), scale]), loss)  # held by the optimizer
    fitted(model, cr.nn.SGD(model.head.parameters()))  # fine-tuning
    fitted(model, cr.nn.LBFGS(model.parameters()))


@pytest.mark.parametrize("batch", [1, 2])
def test_an_error_that_was_dropped_holds_no_model(batch: int) -> None:
    def failed() -> weakref.ref[cr.nn.Module]:
        model, losses = cr.nn.Linear(2, 1, rng=0), itertools.count(1)
        with contextlib.suppress(FloatingPointError):
            cr.nn.fit(
                model, lambda p, t: cr.nn.mse_loss(p, t) * (math.nan if next(losses) == batch else 1.0),
                [(np.ones((4, 2)), np.ones((4, 1)))] * 2, cr.nn.SGD(model.parameters()), epochs=1, progress=False,
            )  # fmt: skip
        return weakref.ref(model)

    gc.disable()
    try:
        assert failed()() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("rule", [cr.nn.SGD, cr.nn.LBFGS])
def test_a_warning_shows_where_fit_was_called(rule: Any) -> None:
    model, scale = cr.nn.Linear(2, 1, rng=0), cr.Value(1.0)
    optimizer = rule(model.parameters())
    model.weight = cr.Tensor(np.ones((1, 2)))
    data = np.ones((4, 2)), np.ones((4, 1))
    with pytest.warns(UserWarning, match="fit: ") as said:
        cr.nn.fit(model, lambda p, t: cr.nn.mse_loss(p * scale, t), data, optimizer, epochs=1, progress=False)
    lines = {linecache.getline(w.filename, w.lineno).strip()[:10] for w in said}
    assert (len(said), lines) == (2, {"cr.nn.fit("})


def test_data_that_is_tensors_is_no_parameter() -> None:
    model = Replaced()
    batches = [(cr.Tensor(np.ones((4, 3))), np.zeros(4, int))]
    cr.nn.fit(model, cr.nn.cross_entropy, batches, cr.nn.SGD(model.parameters()), epochs=1, progress=False)


# What counts, by what a loss is made of


def mixed(p: Any, t: Any) -> Any:
    return cr.nn.cross_entropy(p[:, :2], np.full(len(t), -100)) + cr.nn.mse_loss(p[:, 2], t)


def in_order_of_samples(p: Any, t: Any) -> Any:
    return sum(cr.nn.mse_loss(p[i], t[i]) for i in range(len(t))) / len(t)


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (mixed, "another part of the loss counts"),
        (lambda p, t: cr.nn.mse_loss(p[:, 2], t) + mixed(p, t), "another part of the loss counts"),
        (lambda p, t: in_order_of_samples(p[:, 0], t), "say over how many it is the mean, with nn.averaged"),
        (
            lambda p, t: (
                cr.nn.averaged(cr.mean(p[:, 0] ** 2), len(t)) + cr.nn.cross_entropy(p, np.where(t > 0, 1, -100))
            ),
            "say over how many it is the mean",
        ),
    ],
    ids=["nothing first", "nothing later", "a loop", "averaged and not"],
)
def test_what_is_no_average_of_batches_is_refused(loss: Any, message: str) -> None:
    x = np.random.default_rng(0).normal(size=(5, 2))
    y = np.array([1.0, 2.0, 3.0, -1.0, 5.0])
    batches = [(x[:4], y[:4]), (x[4:], y[4:])]
    model = cr.nn.Linear(2, 3, rng=0)
    with pytest.raises(ValueError, match=message):
        cr.nn.evaluate(model, loss, batches)
    with pytest.raises(ValueError, match=message):
        train(model, batches, loss, epochs=1)


def test_what_is_said_of_a_loss_of_the_library_holds() -> None:
    model = cr.nn.Linear(1, 1, rng=0)
    data = [([[1.0]], [[5.0]]), ([[1.0], [2.0]], [[900.0], [900.0]])]
    loss = cr.nn.evaluate(model, lambda p, t: cr.nn.averaged(cr.nn.mse_loss(p, t), len(t) == 1), data).loss
    assert loss == cr.nn.evaluate(model, cr.nn.mse_loss, data[:1]).loss


@pytest.mark.parametrize("where", ["penalty", "forward"])
def test_only_a_loss_says_that_nothing_counts(where: str) -> None:
    def nothing(*_: Any) -> Any:
        raise cr.nn.NothingCountsError("of one's own")

    model = cr.nn.Sequential(cr.nn.Linear(3, 2, rng=0), *([nothing] if where == "forward" else []))
    options: Any = {"penalty": nothing} if where == "penalty" else {}
    with pytest.raises(cr.nn.NothingCountsError, match="of one's own"):
        fitted(model, cr.nn.SGD(model.parameters()), **options)


# What the optimizer moves beside the model


def scaled_loss(scale: Any) -> Any:
    return lambda p, t: cr.nn.cross_entropy(p * scale, t)


def test_a_checkpoint_has_what_the_optimizer_moves_beside_the_model(tmp_path: Path) -> None:
    def after(*stages: int) -> Any:
        path = tmp_path / f"{len(stages)}.npz"
        for n in stages:
            model, scale = Replaced(), cr.Tensor(np.array(1.0))
            x = np.random.default_rng(0).normal(size=(12, 3))
            data = [(x, (x[:, 0] > 0).astype(int))]
            optimizer = cr.nn.Adam([*model.parameters(), scale], lr=0.1)
            cr.nn.fit(
                model, scaled_loss(scale), data, optimizer, epochs=n, progress=False, checkpoint=path, resume=path.exists(),
                early_stopping=cr.nn.EarlyStopping(50, monitor="loss"),
            )  # fmt: skip
        return scale.item()

    assert after(2, 4) == after(4)


def test_early_stopping_goes_back_with_what_the_optimizer_moves_beside_the_model() -> None:
    model, scale = Replaced(), cr.Tensor(np.array(1.0))
    x = np.random.default_rng(0).normal(size=(12, 3))
    data = (x, (x[:, 0] > 0).astype(int))
    optimizer = cr.nn.SGD([*model.parameters(), scale], lr=1.0)
    wrong = (x, 1 - data[1])
    history = cr.nn.fit(
        model, scaled_loss(scale), data, optimizer, epochs=30, progress=False, validation=wrong, early_stopping=3
    )
    assert history.stopped == "early stopping"
    assert history.best_epoch is not None
    best = history[history.best_epoch - 1]["validation_loss"]
    assert cr.nn.evaluate(model, scaled_loss(scale), wrong).loss == best


def test_a_confusion_matrix_of_weights_that_moved_on_is_none() -> None:
    model = Replaced()
    steps = []

    def stop(_: Any) -> None:
        steps.append(1)
        if len(steps) == 3:
            raise cr.nn.StopTraining

    x = np.random.default_rng(0).normal(size=(12, 3))
    data = [(x, (x[:, 0] > 0).astype(int))] * 2
    history = cr.nn.fit(
        model, cr.nn.cross_entropy, data, cr.nn.SGD(model.parameters()), epochs=5, progress=False, validation=data,
        after_batch=stop,
    )  # fmt: skip
    assert len(history) == 1
    assert history.confusion is None


def test_a_loss_that_is_a_parameter_is_measured_before_it_moves() -> None:
    class Free(cr.nn.Module):
        def __init__(self) -> None:
            self.p = cr.Tensor([3.0])

        def forward(self, x: Any) -> Any:
            return self.p

    model = Free()
    data = cr.nn.Batches(np.zeros((4, 1)), np.zeros(4), batch_size=1, shuffle=False)
    record = cr.nn.fit(
        model, lambda p, t: cr.reshape(p, ()), data, cr.nn.SGD(model.parameters(), lr=1.0), epochs=1, progress=False,
        penalty=lambda m: cr.reshape(m.p, ()),
    )[-1]  # fmt: skip
    assert (record["loss"], record["penalty"]) == (0.0, 0.0)  # 3, 1, -1, -3


def test_metrics_of_several_outputs_are_refused() -> None:
    class Two(cr.nn.Module):
        def __init__(self) -> None:
            self.a = cr.nn.Linear(3, 2, rng=0)

        def forward(self, x: Any) -> Any:
            return self.a(x), self.a(x)

    x = np.zeros((4, 3))
    with pytest.raises(TypeError, match="metrics need outputs and targets that are one array each, got a tuple"):
        cr.nn.evaluate(Two(), lambda p, t: cr.nn.cross_entropy(p[0], t), (x, np.zeros(4, int)), metrics={"m": max})


def test_a_metric_that_is_a_function_is_given_outputs_and_targets() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    model = cr.nn.Linear(3, 2, rng=0)
    y = (x[:, 0] > 0).astype(int)

    def loss(p: Any, t: Any) -> Any:
        return cr.nn.cross_entropy(-p, t)

    found = cr.nn.evaluate(model, loss, (x, y), metrics={"own": cr.nn.accuracy, "seen": "accuracy"}).metrics
    assert found["own"] == cr.nn.accuracy(model(x), y)
    assert found["seen"] == pytest.approx(1.0 - found["own"])


def test_a_batch_in_which_nothing_counts_draws_once() -> None:
    x, labels = np.random.default_rng(0).normal(size=(24, 4)), np.arange(24) % 3
    labels[8:16] = -100
    losses = []
    for compile in False, True:
        model = cr.nn.MLP([4, 6, 3], rng=0, dropout=0.2)
        batches = cr.nn.Batches(x, labels, batch_size=8, shuffle=False)
        optimizer = cr.nn.SGD(model.parameters(), lr=0.1)
        history = cr.nn.fit(
            model,
            cr.nn.cross_entropy,
            batches,
            optimizer,
            epochs=2,
            progress=False,
            compile=compile,
            metrics="accuracy",
        )
        losses.append(history[-1]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)
