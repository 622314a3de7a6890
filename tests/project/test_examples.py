"""The examples' figures: what they print comes from small functions, and here those are held to what must be so."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scripts import EXAMPLES, example

import chainrule as cr

pytestmark = pytest.mark.slow

# All of them

RUNNABLE = sorted(path.name for path in EXAMPLES.glob("[!_]*.py"))
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
POOLS = """
import runpy, sys
from threadpoolctl import threadpool_info
sys.path.insert(0, sys.argv[1])
runpy.run_path(f"{sys.argv[1]}/{sys.argv[2]}", run_name="imported")
print(*{pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"})
"""


def blas_threads(name: str, **given: str) -> str:
    """The numbers of threads that BLAS has once an example has imported what it needs, in a process with these variables."""
    environment = {key: x for key, x in os.environ.items() if key not in THREADS} | given
    command = [sys.executable, "-c", POOLS, str(EXAMPLES), name]
    return subprocess.run(command, env=environment, capture_output=True, check=True, text=True).stdout.strip()


@pytest.mark.parametrize("name", RUNNABLE)
def test_an_example_leaves_blas_one_thread(name: str) -> None:
    assert blas_threads(name) == "1"


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is but one core")
@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"])
def test_unless_the_user_has_said_otherwise(variable: str) -> None:
    assert blas_threads("quickstart.py", **{variable: "2"}) == "2"
    assert blas_threads("hill_descent.py", **{variable: "2"}) == "2"


# leaf_or_flower.py


@pytest.fixture(scope="module")
def leaf() -> ModuleType:
    return example("leaf_or_flower")


def test_the_sample_and_its_first_prediction(leaf: ModuleType) -> None:
    assert leaf.SAMPLE.tolist() == [181, 216, 210, 12.0]
    assert leaf.WEIGHTS[leaf.NUDGED] == 0.17
    assert_allclose(leaf.predict(leaf.WEIGHTS), [0.6, 0.4], rtol=1e-12)


def test_the_l1_loss_of_the_first_prediction(leaf: ModuleType) -> None:
    assert float(leaf.l1_loss([0.6, 0.4])) == pytest.approx(0.8, rel=1e-12)
    assert leaf.loss_at(0.17) == pytest.approx(0.8, rel=1e-12)


def test_the_slope_of_the_nudged_weight(leaf: ModuleType) -> None:
    """The loss is 2 (1 - p) with p = sigmoid(score), so its slope is -2 p (1 - p) times the volume."""
    slope = leaf.slopes_by_autograd()[leaf.NUDGED]
    assert slope == pytest.approx(-2 * 0.6 * 0.4 * 12.0, rel=1e-12)
    errors = [abs(leaf.slope_by_difference(nudge) - slope) for nudge in (0.01, 0.001, 0.0001)]
    assert leaf.slope_by_difference(0.01) == pytest.approx((leaf.loss_at(0.18) - 0.8) / 0.01)
    assert errors[0] < 0.08
    assert_allclose(np.divide(errors[:-1], errors[1:]), 10.0, rtol=0.2)  # a tenth of the nudge, a tenth of the error


def test_the_update_and_the_average(leaf: ModuleType) -> None:
    assert leaf.update(0.17, 200.0, 0.01) == pytest.approx(-1.83, rel=1e-12)
    assert leaf.average([0.2, 0.5, 0.1]) == pytest.approx(0.8 / 3, rel=1e-12)
    assert f"{leaf.average([0.2, 0.5, 0.1]):.4f}" == "0.2667"


def test_leaves_and_flowers_are_learned(leaf: ModuleType) -> None:
    rng = np.random.default_rng(2)
    samples, held_out = leaf.collect(400, rng), leaf.collect(200, rng)
    model = cr.nn.MLP([4, 8, 2], rng=rng)
    epochs = leaf.train(model, samples, rng, enough=0.98)
    assert epochs[-1].accuracy >= 0.98
    assert epochs[-1].loss < epochs[0].loss / 3
    assert leaf.accuracy(model, held_out) > 0.95
    assert leaf.probability_of_leaf(model, leaf.SAMPLE) > 0.5


# hill_descent.py


@pytest.fixture(scope="module")
def hill() -> ModuleType:
    return example("hill_descent")


def test_each_valley_is_a_minimum(hill: ModuleType) -> None:
    bottoms = hill.valleys()
    assert len(bottoms) == 3
    for w in bottoms:
        assert hill.curve(w) < min(hill.curve(w - 0.01), hill.curve(w + 0.01))


@pytest.mark.parametrize(("start", "valley"), [(-4.8, 0), (-2.3, 1), (0.4, 1), (1.1, 2), (4.3, 2)])
def test_a_descent_ends_in_the_valley_that_its_slopes_lead_to(hill: ModuleType, start: float, valley: int) -> None:
    walk = hill.descend(start)
    assert walk.arrived
    assert abs(walk.slopes[-1]) < hill.SMALL <= min(map(abs, walk.slopes[:-1]))
    assert walk.weights[-1] == pytest.approx(hill.valleys()[valley], abs=2e-3)
    assert np.sign(walk.weights[1] - start) == -np.sign(walk.slopes[0])


def test_the_slopes_are_the_curve_s(hill: ModuleType) -> None:
    walk = hill.descend(4.2)
    w = np.array(walk.weights)
    assert_allclose(walk.slopes, w**3 / 25 + 0.2 + 3 * np.cos(2 * w), atol=1e-12)


def test_the_four_learning_rates_do_as_they_are_called(hill: ModuleType) -> None:
    walks = {name: hill.descend(4.2, rate, max_steps=40) for name, rate in hill.RATES.items()}
    assert {name for name, walk in walks.items() if walk.arrived} == {"right"}
    assert (walks["too small"].crossings, walks["too small"].steps) == (0, 40)
    assert walks["overshooting"].crossings > 20
    assert max(map(abs, walks["overshooting"].weights)) < 5
    assert abs(walks["diverging"].weights[-1]) > hill.FAR


# beyond_networks.py


@pytest.fixture(scope="module")
def beyond() -> ModuleType:
    return example("beyond_networks")


def test_regression_by_descent_is_least_squares(beyond: ModuleType) -> None:
    found = beyond.regression(steps=5_000)
    differences = beyond.largest_differences(found)
    assert differences[0] > 100
    assert differences[-1] < 2e-6


def test_the_machine_by_descent_is_scikit_learn_s(beyond: ModuleType) -> None:
    samples = beyond.tumours()
    reference = beyond.by_scikit_learn(samples)
    best = beyond.objective_of(reference, samples)
    paths = {name: beyond.by_descent(samples, rates) for name, rates in beyond.schedules(1000).items()}
    ours = {name: beyond.Machine.of(path[-1]) for name, path in paths.items()}
    gap = {name: beyond.objective_of(machine, samples) - best for name, machine in ours.items()}
    assert 0 < gap["decreasing"] < 2e-6
    assert gap["decreasing"] < gap["constant"] / 5
    assert beyond.angle(ours["decreasing"], reference) < 0.05
    assert beyond.accuracy(ours["decreasing"], samples) == beyond.accuracy(reference, samples) > 0.9
    assert beyond.crossings(paths["decreasing"], samples) > 1000


def test_the_kink_is_met(beyond: ModuleType) -> None:
    samples = beyond.tumours()
    margins = beyond.margins(beyond.by_scikit_learn(samples), samples)
    assert np.count_nonzero(np.abs(margins - 1) < 1e-6) == 3  # as many as the machine has numbers
    assert beyond.hinge_slopes() == {0.999: -1.0, 1.0: 0.0, 1.001: 0.0}


# training_loop.py

NAMES = ["0.weight", "0.bias", "2.weight", "2.bias", "4.weight", "4.bias"]


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    return example("training_loop")


def test_a_changed_weight_changes_the_prediction_and_is_changed_back(loop: ModuleType) -> None:
    model = loop.network()
    state = model.state_dict()
    before, after = loop.forward(model, loop.data()[0][0])
    assert abs(before - after) > 0.01
    for name, array in model.state_dict().items():
        assert_array_equal(array, state[name])


def test_wrong_answers_cost_more(loop: ModuleType) -> None:
    assert_allclose(loop.costs([1.0, 0.5, 0.0, -1.0], 1.0), [0.0, 0.25, 1.0, 4.0])
    with pytest.raises(AssertionError, match="must cost more"):
        loop.costs([0.0, 1.0], 1.0)


def test_every_parameter_has_a_gradient_and_moves_against_it(loop: ModuleType) -> None:
    model, (x, y) = loop.network(), loop.data()
    gradients = loop.backward(model, x, y)
    assert list(gradients) == NAMES
    changes = loop.update(model, gradients)
    for name in NAMES:
        assert_allclose(changes[name], -loop.LEARNING_RATE * gradients[name], atol=1e-15)


def test_the_last_layer_gets_its_gradients_first(loop: ModuleType) -> None:
    x, y = loop.data()
    stops = loop.backward_walk(cr.nn.mse_loss(loop.network()(x), y))
    assert [stop.parameters for stop in stops if stop.parameters] == [NAMES[4:], NAMES[2:4], NAMES[:2]]
    assert [stop.operation for stop in stops[-5:]] == ["linear", "tanh", "linear", "tanh", "linear"]


def test_a_layer_that_is_skipped_has_no_gradient(loop: ModuleType) -> None:
    """The example's assertion can fail."""

    class Skipping(cr.nn.MLP):
        def forward(self, x: Any) -> Any:
            return cr.linear(x, np.ones((1, 2)), self[4].bias)

    with pytest.raises(AssertionError, match=r"0\.weight must have a gradient"):
        loop.backward(Skipping([2, 8, 8, 1], activation="tanh", rng=0), *loop.data())


def test_the_next_loss_is_usually_lower(loop: ModuleType) -> None:
    x, y = loop.data()
    losses = loop.train(loop.network(), x, y, 101, loop.LEARNING_RATE)
    assert loop.falls(losses) > 80
    assert losses[-1] < losses[0] / 2
    assert loop.falls(loop.train(loop.network(), x, y, 101, 0.03)) == 100
    assert loop.falls(loop.train(loop.network(), x, y, 31, 0.7)) < 15


# gallery.py


@pytest.fixture(scope="module")
def gallery() -> ModuleType:
    return example("gallery")


def test_the_gallery_s_page_shows_every_picture_and_nothing_else(gallery: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.uniform(size=(4, 784)), np.arange(4)
    model = gallery.network()
    pictures = [*gallery.one_neuron(tmp_path, model, x, y), *gallery.drawings(tmp_path, model, x, y)]
    pictures += [*gallery.folds(tmp_path, model, x, y), *gallery.parameters(tmp_path, model)]
    assert "12,576 nodes" in (tmp_path / "folded_numbers.txt").read_text(encoding="utf-8")
    text = gallery.write_page(tmp_path, "<b>1 & 2</b>", pictures).read_text(encoding="utf-8")
    assert "<p>&lt;b&gt;1 &amp; 2&lt;/b&gt;</p>" in text
    assert "default-src 'none'" in text
    linked = re.findall(r'(?:href|src)="([^"]+)"', text)
    assert set(linked) == {path.name for path in tmp_path.iterdir()} - {"index.html"}


def test_the_planted_rule_is_wrong_below_0_alone(gallery: ModuleType) -> None:
    rule = gallery.wrong_relu()
    assert cr.check_row(rule, 2.0)
    assert not cr.check_row(rule, -2.0)


# The helpers


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    example("_common").show_table(("name", "n", "share"), [("a", 1, "9.5%"), ("long", -12, "–")])
    assert (
        capsys.readouterr().out == "  name    n  share\n  ----  ---  -----\n  a       1   9.5%\n  long  -12      –\n\n"
    )


def test_the_bundled_digits_are_enlarged(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MNIST_DIR", raising=False)
    digits = example("_digits").load(download=False)
    assert "NOT MNIST" in capsys.readouterr().out
    assert [len(array) for array in digits] == [1497, 1497, 300, 300]
    for images, labels in (digits[:2], digits[2:]):
        assert images.shape[1:] == (28, 28)
        assert (images.dtype, images.max()) == (np.uint8, 255)
        assert set(labels.tolist()) == set(range(10))
        assert_array_equal(images[:, 2:26:3, 2:26:3], images[:, 4:26:3, 4:26:3])


def test_a_folder_without_digits_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no train-images"):
        example("_digits").load(tmp_path)


def test_the_pictures_in_the_readme_exist_and_are_small() -> None:
    shown = re.findall(r"!\[[^]]+\]\((pictures/[^)]+)\)", (EXAMPLES / "README.md").read_text(encoding="utf-8"))
    assert shown
    for picture in shown:
        assert (EXAMPLES / picture).stat().st_size < 120_000
