"""What the examples about training claim: held to it on settings so small that they run in seconds."""

from __future__ import annotations

import math
from itertools import pairwise
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scripts import example

import chainrule as cr

pytestmark = pytest.mark.slow

# descents.py


@pytest.fixture(scope="module")
def descents() -> ModuleType:
    return example("descents")


@pytest.fixture(scope="module")
def line(descents: ModuleType) -> Any:
    return descents.line()


def test_the_three_descents_differ_in_the_steps_of_an_epoch_and_in_what_they_bring(descents: ModuleType) -> None:
    x, y = descents.digits()
    batch, mini, single = (descents.train(method, x, y, 1) for method in descents.BATCH_SIZES.values())
    assert [run.steps[-1] for run in (batch, mini, single)] == [1, math.ceil(1797 / 32), 1797]
    assert single.losses[-1] < 0.8 * mini.losses[-1] < 0.4 * batch.losses[-1]
    assert all(np.all(np.diff(run.seconds) > 0) for run in (mini, single))


def test_momentum_and_adam_get_lower_than_plain_descent(descents: ModuleType) -> None:
    x, y = descents.digits()
    late = {}
    for name in ("SGD", "momentum", "Adam", "AdamW"):
        run = descents.train(descents.OPTIMIZERS[name], x, y, 10)
        assert_allclose(run.epochs[-1], 10)
        late[name] = run.losses[-5:].mean()  # the last one alone would be a matter of luck
    assert max(late["momentum"], late["Adam"], late["AdamW"]) < 0.8 * late["SGD"]


def test_the_lowest_point_of_the_line_is_where_both_slopes_are_zero(line: Any) -> None:
    slope, intercept = (cr.Tensor(number) for number in line.lowest)
    loss = cr.nn.mse_loss(slope * line.x + intercept, line.y)
    loss.backward()
    assert loss.item() == pytest.approx(line.loss(*line.lowest), rel=1e-12)
    assert_allclose([slope.grad, intercept.grad], 0.0, atol=1e-12)


def test_batch_descent_on_the_line_goes_against_the_slope_and_arrives(descents: ModuleType, line: Any) -> None:
    walk = descents.path(descents.LINE_BATCH_SIZES["batch: all 442"], line, 600)
    errors = walk[0, 0] * line.x + walk[0, 1] - line.y
    assert_allclose(walk[0], descents.START)
    assert_allclose(walk[1] - walk[0], [-0.1 * np.mean(2 * errors * line.x), -0.1 * np.mean(2 * errors)])
    assert np.all(np.diff(descents.heights(walk, line)) < 1e-14)
    assert_allclose(walk[-1], line.lowest, atol=1e-4)


def test_the_fewer_samples_in_a_step_the_longer_the_way(descents: ModuleType, line: Any) -> None:
    walks = [descents.path(method, line, 200) for method in descents.LINE_BATCH_SIZES.values()]
    batch, mini, single = (np.linalg.norm(np.diff(walk, axis=0), axis=1).sum() for walk in walks)
    assert single > 3 * mini > 5 * batch


@pytest.mark.parametrize("name", ["momentum", "Adam", "AdamW", "Adagrad"])
def test_rules_that_are_down_long_before_plain_descent(descents: ModuleType, line: Any, name: str) -> None:
    walks = {rule: descents.path(descents.LINE_OPTIMIZERS[rule], line, 100) for rule in ("SGD", name)}
    assert descents.steps_to(0.01, walks["SGD"], line) is None
    assert descents.steps_to(0.01, walks[name], line) < 60


def test_steps_to_counts_from_the_last_time_that_the_walk_was_too_high(descents: ModuleType, line: Any) -> None:
    low, high = line.lowest, line.lowest + 1.0
    assert descents.steps_to(0.1, np.array([low, low]), line) == 0
    assert descents.steps_to(0.1, np.array([high, low, high, low, low]), line) == 3
    assert descents.steps_to(0.1, np.array([low, high]), line) is None


def test_weight_decay_pulls_the_line_towards_zero(descents: ModuleType, line: Any) -> None:
    ends = {rule: descents.path(descents.LINE_OPTIMIZERS[rule], line, 400)[-1] for rule in ("Adam", "AdamW")}
    assert_allclose(ends["Adam"], line.lowest, atol=1e-3)
    assert np.linalg.norm(ends["AdamW"]) < np.linalg.norm(ends["Adam"]) - 0.005


# overfitting.py


@pytest.fixture(scope="module")
def overfitting() -> ModuleType:
    return example("overfitting")


@pytest.fixture(scope="module")
def found(overfitting: ModuleType) -> Any:
    return overfitting.data(example("_digits").enlarged())


@pytest.fixture(scope="module")
def outcomes(overfitting: ModuleType, found: Any) -> dict[str, Any]:
    return {name: overfitting.train(remedy, found, 30) for name, remedy in overfitting.REMEDIES.items()}


def test_training_and_validation_have_no_image_in_common_and_careless_labels_alike(found: Any) -> None:
    assert len(found.few[0]) == 500 < len(found.many[0])
    assert_array_equal(found.few[0], found.many[0][:500])
    learned = {image.tobytes() for image in found.many[0]}
    assert not any(image.tobytes() in learned for image in found.validation[0])


def test_losses_part_when_nothing_is_done(outcomes: dict[str, Any]) -> None:
    nothing = outcomes["nothing"]
    assert nothing.training[-1] < 0.4 * nothing.training[2]
    assert nothing.validation[-1] > 1.25 * min(nothing.validation)
    assert nothing.gap > 10 * abs(nothing.validation[0] - nothing.training[0])


@pytest.mark.parametrize("name", ["L2 penalty", "L1 penalty", "dropout", "more data", "early stopping"])
def test_every_remedy_brings_them_together(outcomes: dict[str, Any], name: str) -> None:
    assert abs(outcomes[name].gap) < 0.5 * outcomes["nothing"].gap
    assert outcomes[name].at_end.loss < outcomes["nothing"].at_end.loss


def test_more_data_takes_as_many_steps(outcomes: dict[str, Any]) -> None:
    assert outcomes["more data"].kept == pytest.approx(outcomes["nothing"].kept, rel=0.1)


def test_early_stopping_keeps_the_weights_of_the_best_epoch(outcomes: dict[str, Any]) -> None:
    early, nothing = outcomes["early stopping"], outcomes["nothing"]
    assert_array_equal(early.validation, nothing.validation[: len(early.validation)])
    assert early.at_end.loss == pytest.approx(min(nothing.validation), rel=1e-6)
    assert early.at_end_training == pytest.approx(early.training[early.steps.index(early.kept)], rel=1e-6)
    assert len(early.steps) < len(nothing.steps)


def test_losses_are_of_the_whole_network_and_without_penalty(outcomes: dict[str, Any]) -> None:
    for name in ("nothing", "dropout", "L2 penalty", "more data"):
        assert outcomes[name].at_end_training == outcomes[name].training[-1]
        assert outcomes[name].at_end.loss == outcomes[name].validation[-1]


# vanishing_exploding.py


@pytest.fixture(scope="module")
def deep() -> ModuleType:
    return example("vanishing_exploding")


@pytest.fixture(scope="module")
def norms(deep: ModuleType) -> dict[tuple[str, str], Any]:
    """The length of each layer's gradient, before training, in each setting."""
    x, y, _, _ = deep.data()
    return {
        (name, remedy): deep.gradient_norms(deep.network(setting), setting, x[:256], y[:256])
        for name, group in deep.SETTINGS.items()
        for remedy, setting in group.items()
    }


SMALL, LARGE, HE = "sigmoid, small weights", "sigmoid, large weights", "ReLU, He's weights"


def test_thirty_layers_have_thirty_gradients(norms: dict[tuple[str, str], Any]) -> None:
    assert all(found.shape == (30,) and np.all(found > 0) for found in norms.values())


def test_small_weights_make_the_gradient_vanish_layer_by_layer(norms: dict[tuple[str, str], Any]) -> None:
    found = norms[SMALL, "as it is"]
    assert found[0] < 1e-15 * found[-1]
    assert np.all(found[:-1] < 0.6 * found[1:])  # at most 1/4 from the sigmoid, about 1 from the weights


def test_large_weights_make_it_explode(norms: dict[tuple[str, str], Any]) -> None:
    found = norms[LARGE, "as it is"]
    assert found[0] > 1e5 * found[-1]
    assert found[0] > 1e3


def test_relu_with_he_keeps_it_within_a_factor(norms: dict[tuple[str, str], Any]) -> None:
    assert norms[HE, "as it is"].max() < 20 * norms[HE, "as it is"].min()
    assert norms[HE, "better loss"].max() < 4 * norms[HE, "better loss"].min()


@pytest.mark.parametrize("weights", [SMALL, LARGE])
@pytest.mark.parametrize("remedy", ["normalised", "normalised, better loss"])
def test_normalisation_helps_against_both(norms: dict[tuple[str, str], Any], weights: str, remedy: str) -> None:
    found = norms[weights, remedy]
    assert found.max() < 30 * found.min()


def test_a_better_loss_gives_the_last_layer_more_but_the_first_none(norms: dict[tuple[str, str], Any]) -> None:
    better, plain = norms[SMALL, "better loss"], norms[SMALL, "as it is"]
    assert better[-1] > 3 * plain[-1]
    assert better[0] < 1e-15 * better[-1]


def test_clipping_bounds_the_gradient_and_divides_all_layers_alike(norms: dict[tuple[str, str], Any]) -> None:
    clipped, plain = norms[LARGE, "clipped"], norms[LARGE, "as it is"]
    assert np.linalg.norm(clipped) <= 1.0  # of the weights alone; with the biases it is 1
    assert_allclose(clipped / clipped[-1], plain / plain[-1], rtol=1e-9)


def test_what_is_said_of_a_gradient(deep: ModuleType, norms: dict[tuple[str, str], Any]) -> None:
    said = {key: deep.kind(found) for key, found in norms.items()}
    assert {key for key, word in said.items() if word == "vanishes"} == {(SMALL, "as it is"), (SMALL, "better loss")}
    assert {key for key, word in said.items() if word == "explodes"} == {(LARGE, "as it is"), (LARGE, "clipped")}


def test_what_vanishes_does_not_learn_and_what_is_normalised_and_has_the_better_loss_does(deep: ModuleType) -> None:
    group, images = deep.SETTINGS[SMALL], deep.data()
    accuracies = {remedy: deep.try_out(setting, images, 2).accuracies for remedy, setting in group.items()}
    assert max(accuracies["as it is"] + accuracies["better loss"]) < 0.2
    assert accuracies["normalised, better loss"][-1] > 0.5


def test_clipping_helps_relu_to_learn(deep: ModuleType) -> None:
    group, images = deep.SETTINGS[HE], deep.data()
    plain, clipped = (deep.try_out(group[remedy], images, 5) for remedy in ("better loss", "clipped, better loss"))
    assert clipped.accuracies[-1] > plain.accuracies[-1] + 0.1


# next_character.py


@pytest.fixture(scope="module")
def language() -> ModuleType:
    return example("next_character")


@pytest.fixture(scope="module")
def texts(language: ModuleType) -> Any:
    return language.text()


def test_no_paragraph_is_both_learned_and_held_out(language: ModuleType, texts: Any) -> None:
    learned, held_out = (
        language.decoded(part, texts.vocabulary).splitlines() for part in (texts.learned, texts.held_out)
    )
    assert not set(learned) & set(held_out)
    assert sorted(learned + held_out) == sorted(language.paragraphs())
    assert len(held_out) == len(learned + held_out) // 10
    assert len(texts.learned) > 50_000


def test_every_character_is_guessed_once_from_those_before_it(language: ModuleType) -> None:
    vocabulary = "\nabc"
    cut = language.windows(language.encoded("abcab", vocabulary), 2, vocabulary)
    assert [language.decoded(row, vocabulary) for row in cut] == ["\n\na", "\nab", "abc", "bca", "cab"]


def test_the_bits_of_counting(language: ModuleType) -> None:
    """A fair coin takes one bit, and what always follows the character before takes next to none."""
    vocabulary = "\nab"
    text = language.encoded("ab" * 5000, vocabulary)
    texts = language.Text(vocabulary, text, text)
    assert language.counted_bits(texts, 1) == pytest.approx(1.0, abs=1e-3)
    assert language.counted_bits(texts, 2) == pytest.approx(0.0, abs=1e-2)


def test_who_sees_more_guesses_better(language: ModuleType, texts: Any) -> None:
    levels = list(language.baselines(texts).values())
    assert levels[0] == math.log2(len(texts.vocabulary))
    assert all(more < less - 0.5 for less, more in pairwise(levels))


@pytest.fixture(scope="module")
def trained(language: ModuleType, texts: Any) -> tuple[Any, list[tuple[int, float]]]:
    model = language.network(len(texts.vocabulary))
    return model, language.train(model, texts, 300)


def test_the_network_starts_at_chance_and_gets_below_the_bigram(
    language: ModuleType, texts: Any, trained: tuple[Any, list[tuple[int, float]]]
) -> None:
    model, seen = trained
    levels = list(language.baselines(texts).values())
    assert seen[0] == (0, pytest.approx(levels[0], abs=0.3))
    assert seen[-1][0] == 300
    assert seen[-1][1] < levels[2] - 0.2
    assert seen[-1][1] == language.bits(model, texts.held_out, texts.vocabulary)


def test_what_is_made_up_has_the_characters_of_english_once_trained(
    language: ModuleType, texts: Any, trained: tuple[Any, list[tuple[int, float]]]
) -> None:
    before, after = (
        language.sample(model, texts.vocabulary, 300) for model in (language.network(len(texts.vocabulary)), trained[0])
    )
    assert after == language.sample(trained[0], texts.vocabulary, 300)
    assert len(before) == len(after) == 300
    assert after.count(" ") > 5 * before.count(" ")
    assert after.count("e") > 2 * before.count("e")


# find_the_wrong_gradient.py


def test_the_wrong_rule_trains_and_is_found() -> None:
    found = example("find_the_wrong_gradient")
    digits = found.data()
    for rule in (found.RIGHT, found.WRONG):
        model = found.Net(rule)
        training = found.train(model, digits, 5)
        assert all(after < before for before, after in pairwise(training.losses))
        assert training.correct > 0.85
        loss = found.loss_of(model, digits)
        report = cr.check(loss)
        assert bool(report) == (rule is found.RIGHT), str(report)
    row = next(row for row in report.wrong if row.node is not None)
    assert row.operation == "swish"
    assert row.line.endswith("in forward: h = self.swish(h)")
    assert "in wrong_rule: def wrong_rule(" in row.rule
    x = found.fed_to_swish(loss)
    explained = str(cr.explain(loss, x))
    assert row.line in explained
    assert row.rule in explained
    assert "g · sigmoid" in explained
    number = row.rule.split(",")[0].split(":")[1]
    assert f"find_the_wrong_gradient.py:{number}" in str(cr.visualize.diagram(loss, check=report).edges)
