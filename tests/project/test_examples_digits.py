"""The two examples that read digits: their numbers, by hand; and whole runs on the small digits that scikit-learn has."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scripts import example

import chainrule as cr

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def small() -> ModuleType:
    return example("digits_13002")


@pytest.fixture(scope="module")
def relu() -> ModuleType:
    return example("digits_relu")


@pytest.fixture(scope="module")
def digits() -> Any:
    return example("_digits").enlarged()


# 784-16-16-10


def test_there_are_exactly_13002_parameters(small: ModuleType) -> None:
    shapes = [p.shape for p in small.network().parameters()]
    assert shapes == [(16, 784), (16,), (16, 16), (16,), (10, 16), (10,)]
    assert small.count(small.network()) == small.PARAMETERS == 13002


def test_every_layer_ends_in_a_sigmoid(small: ModuleType) -> None:
    layers = list(small.network())
    assert [type(layer) for layer in layers] == [cr.nn.Linear, cr.nn.Sigmoid] * 3


def test_the_cost_of_a_3_is_the_sum_of_ten_squares(small: ModuleType, digits: Any) -> None:
    image = digits.x_train[digits.y_train == 3][0]
    outputs = small.outputs_for(small.network(), image)
    by_hand = sum((output - (1.0 if digit == 3 else 0.0)) ** 2 for digit, output in enumerate(outputs.tolist()))
    assert len(outputs) == 10
    assert small.cost(outputs[None], small.wanted(np.array([3]))) == pytest.approx(by_hand, rel=1e-14)


def test_the_average_cost_is_the_mean_over_images(small: ModuleType, digits: Any) -> None:
    model, n = small.network(), 50
    found = cr.nn.evaluate(model, small.cost, small.batches(digits.x_train[:n], digits.y_train[:n], batch_size=16)).loss
    costs = [
        small.cost(small.outputs_for(model, image)[None], small.wanted(np.array([label])))
        for image, label in zip(digits.x_train[:n], digits.y_train[:n], strict=True)
    ]
    assert found == pytest.approx(np.mean(costs), rel=1e-12)


def test_the_gradient_is_13002_numbers_that_agree_with_differences(small: ModuleType, digits: Any) -> None:
    model, n = small.network(), 60
    data = small.batches(digits.x_train[:n], digits.y_train[:n], batch_size=25)  # 25, 25, 10: parts of unequal weight
    vector = small.gradient(model, data, n)
    assert vector.shape == (13002,)

    def cost_with(where: Any, by: float) -> float:
        small.nudge(model, where, by)
        cost: float = cr.nn.evaluate(model, small.cost, data).loss
        small.nudge(model, where, -by)
        return cost

    largest = np.argsort(-np.abs(vector))[:10]
    of_each_array = [100, 12544, 12560, 12816, 12832, 12992]
    for i in {*largest, *of_each_array, *np.random.default_rng(0).integers(13002, size=20)}:
        where = small.place(model, int(i))
        difference = (cost_with(where, 1e-5) - cost_with(where, -1e-5)) / 2e-5
        assert vector[i] == pytest.approx(difference, rel=1e-6, abs=1e-9), where


def test_every_number_of_the_gradient_has_its_place(small: ModuleType) -> None:
    model = small.network()
    arrays = model.state_dict()
    everything = np.concatenate([array.ravel() for array in arrays.values()])
    for i in [0, 783, 784, 12543, 12544, 12559, 12560, 13001, *np.random.default_rng(0).integers(13002, size=50)]:
        where = small.place(model, int(i))
        assert arrays[where.name][where.at] == everything[i]
    with pytest.raises(IndexError):
        small.place(model, 13002)


@pytest.mark.parametrize(
    ("i", "name", "words"),
    [
        (784 * 3 + 28 * 5 + 7, "0.weight[3, 147]", "pixel in row 5, column 7 to neuron 3 of hidden layer 1"),
        (12544, "0.bias[0]", "bias of neuron 0 of hidden layer 1"),
        (12560 + 16 * 2 + 4, "2.weight[2, 4]", "neuron 4 of hidden layer 1 to neuron 2 of hidden layer 2"),
        (12832 + 16 * 9 + 1, "4.weight[9, 1]", "neuron 1 of hidden layer 2 to output 9"),
        (13001, "4.bias[9]", "bias of output 9"),
    ],
)
def test_places_in_words(small: ModuleType, i: int, name: str, words: str) -> None:
    where = small.place(small.network(), i)
    assert (str(where), where.in_words()) == (name, words)


# 784-512-256-128-10


def moved(image: Any, down: int, right: int) -> Any:
    """The image shifted, pixel by pixel."""
    result = np.zeros_like(image)
    for row, column in np.ndindex(*image.shape):
        if 0 <= row + down < image.shape[0] and 0 <= column + right < image.shape[1]:
            result[row + down, column + right] = image[row, column]
    return result


def test_shifts_move_each_image_as_a_whole(relu: ModuleType) -> None:
    image = np.random.default_rng(0).integers(1, 256, (6, 7), dtype=np.uint8)
    expected = {(d, r): moved(image, d, r).tobytes() for d in range(-2, 3) for r in range(-2, 3)}
    images = np.repeat(image[None], 1000, axis=0)
    shifted = relu.shifted(np.random.default_rng(1), images, 2)
    assert shifted.shape == images.shape
    assert shifted.dtype == np.uint8
    assert {picture.tobytes() for picture in shifted} == set(expected.values())  # all 25, and nothing else
    assert_array_equal(images, np.repeat(image[None], 1000, axis=0))


def test_different_images_stay_in_their_places(relu: ModuleType) -> None:
    images = np.zeros((20, 9, 9), dtype=np.uint8)
    images[:, 4, 4] = np.arange(1, 21)
    shifted = relu.shifted(np.random.default_rng(0), images, 2)
    assert_array_equal(shifted.max(axis=(1, 2)), np.arange(1, 21))
    assert_array_equal(np.count_nonzero(shifted, axis=(1, 2)), 1)


def test_no_shift_is_no_change_and_a_seed_gives_the_same_shifts(relu: ModuleType, digits: Any) -> None:
    images = digits.x_train[:30]
    assert_array_equal(relu.shifted(np.random.default_rng(0), images, 0), images)
    first, again, other = (relu.shifted(np.random.default_rng(seed), images, 2) for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_prepared_pixels_run_from_0_to_1(relu: ModuleType) -> None:
    pixels = relu.prepared(np.array([[[0, 51], [102, 255]]], dtype=np.uint8))
    assert pixels.dtype == np.float32
    assert_allclose(pixels, [[0.0, 0.2, 0.4, 1.0]], rtol=1e-6)


def test_the_network_is_as_large_as_it_should_be(relu: ModuleType) -> None:
    plain = relu.network(relu.Settings(batch_norm=False, dropout=0.0))
    assert [p.shape for p in plain.parameters() if p.ndim == 2] == [(512, 784), (256, 512), (128, 256), (10, 128)]
    assert [type(layer).__name__ for layer in plain] == ["Linear", "ReLU"] * 3 + ["Linear"]


def test_switches_change_the_network(relu: ModuleType) -> None:
    layers = [type(layer) for layer in relu.network(relu.Settings(batch_norm=True, dropout=0.3))]
    assert layers.count(cr.nn.BatchNorm1d) == layers.count(cr.nn.Dropout) == 3
    he, xavier = (
        relu.network(relu.Settings(init=init)).state_dict()["0.weight"] for init in ("he_normal", "xavier_normal")
    )
    assert he.std() == pytest.approx(np.sqrt(2 / 784), rel=0.01)
    assert xavier.std() == pytest.approx(np.sqrt(2 / (784 + 512)), rel=0.01)


def test_the_penalty_is_over_weights_and_spares_the_rest(relu: ModuleType) -> None:
    settings = relu.Settings(l1=0.5, l2=0.25)
    model = relu.network(settings)
    weights = [array.astype(float) for name, array in model.state_dict().items() if array.ndim == 2]
    by_hand = 0.5 * sum(np.abs(w).sum() for w in weights) + 0.25 * sum((w * w).sum() for w in weights)
    assert float(relu.penalty(model, settings).item()) == pytest.approx(by_hand, rel=1e-5)


def test_the_learning_rate_rises_for_a_tenth_and_then_falls_to_nearly_0(relu: ModuleType) -> None:
    optimizer = cr.nn.Adam([cr.Value(1.0)], lr=1.0)
    schedule = relu.lowered(optimizer, 20)
    rates = []
    for _ in range(20):
        rates.append(optimizer.lr)
        schedule.step()
    top = rates.index(max(rates))
    assert top == 2
    assert max(rates) == 1.0
    assert rates[0] == pytest.approx(0.2)
    assert all(np.diff(rates[top:]) < 0)
    assert rates[-1] < 0.02


def test_training_again_gives_the_same_numbers(relu: ModuleType, digits: Any) -> None:
    part = relu.first(digits, 150, 50)
    runs = [relu.by_network(part, relu.Settings(), epochs=2) for _ in range(2)]
    assert runs[0].accuracy == runs[1].accuracy
    assert runs[0].history["loss"] == runs[1].history["loss"]
    assert runs[0].history["validation_loss"] == runs[1].history["validation_loss"]


# Whole runs, without MNIST


def run(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *switches: str) -> None:
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.setattr(sys, "argv", [str(module.__file__), "--quick", *switches])
    module.main()


def test_digits_13002_runs(
    small: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(small, monkeypatch, "--out", str(tmp_path))
    printed = capsys.readouterr().out
    assert "has 13,002 parameters" in printed
    assert "13,002 numbers" in printed
    assert "NOT MNIST" in printed
    accuracy = float(printed.split("unseen digits: ")[1].split("%")[0])
    assert accuracy > 80.0
    assert (tmp_path / "digits_13002.png").stat().st_size > 10_000


def test_digits_relu_runs(
    relu: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(relu, monkeypatch, "--out", str(tmp_path), "--images", "300", "--l1", "1e-6", "--l2", "1e-5", "--shifts", "1")
    printed = capsys.readouterr().out
    rows = [line for line in printed.splitlines() if line.strip().startswith("300 ")]
    assert len(rows) == 4
    for row, name in zip(rows, ("network", "network, no shifts", "random forest", "SVM"), strict=True):
        assert f" {name} " in row
        assert float(row.split("%")[0].split()[-1]) > 80.0
    assert (tmp_path / "digits_relu.png").stat().st_size > 10_000
