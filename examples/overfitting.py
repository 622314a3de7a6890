"""Overfitting: training and validation loss part; L2, L1, dropout, more data and early stopping bring them together.

python examples/overfitting.py
python examples/overfitting.py --data DIR      # a folder with MNIST's four files

A network with far more weights than it has images learns them by heart, mistakes included. There are some: as if by a
careless hand, a fifth of the labels, of training and validation images alike, are drawn at random.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from _common import BLUE, GREY, ORANGE, parser, save, show_table
from _digits import Digits, load

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray

import chainrule as cr

Array = NDArray[Any]
Samples = tuple[Array, Array]
Penalty = Callable[[cr.nn.Module], Any]

FEW, MANY, VALIDATION = 500, 5000, 2000  # images
CARELESS = 0.2
HIDDEN = 128
BATCH_SIZE = 32


# The data


def samples(images: Array, labels: Array, n: int, rng: np.random.Generator) -> Samples:
    """The first n of them, or all if there are less: pixels from 0 to 1, and labels of which some are drawn at random."""
    pixels = images[:n].reshape(-1, images[0].size).astype(np.float32) / 255
    drawn = rng.integers(10, size=len(pixels))
    return pixels, np.where(rng.random(len(pixels)) < CARELESS, drawn, labels[:n])


class Data(NamedTuple):
    few: Samples
    many: Samples
    validation: Samples


def data(digits: Digits) -> Data:
    rng = np.random.default_rng(0)
    held_back = min(VALIDATION, len(digits.x_train) // 5)
    x, x_validation, y, y_validation = cr.nn.split(digits.x_train, digits.y_train, validation=held_back, rng=rng)
    many = samples(x, y, MANY, rng)
    few = many[0][:FEW], many[1][:FEW]
    return Data(few, many, samples(x_validation, y_validation, VALIDATION, rng))


# The remedies


class Remedy(NamedTuple):
    dropout: float = 0.0
    penalty: Penalty | None = None
    more_data: bool = False
    patience: int | None = None  # epochs without a better validation loss, before training is stopped


def weights(model: cr.nn.Module) -> list[Any]:
    """What is to be kept small: weights, not biases."""
    return [layer.weight for layer in model.modules() if isinstance(layer, cr.nn.Linear)]


REMEDIES = {
    "nothing": Remedy(),
    "L2 penalty": Remedy(penalty=lambda model: 0.02 * cr.nn.l2_penalty(weights(model))),
    "L1 penalty": Remedy(penalty=lambda model: 0.003 * cr.nn.l1_penalty(weights(model))),
    "dropout": Remedy(dropout=0.7),
    "more data": Remedy(more_data=True),
    "early stopping": Remedy(patience=5),
}


class Outcome(NamedTuple):
    """Losses without any penalty, and of the whole network: nothing is dropped when they are measured."""

    steps: list[int]  # at the end of each epoch
    training: list[float]
    validation: list[float]
    at_end_training: float  # of the weights that are kept, which early stopping takes from its best epoch
    at_end: cr.nn.Evaluation
    kept: int  # the step that those weights come from

    @property
    def gap(self) -> float:
        return self.at_end.loss - self.at_end_training


def train(remedy: Remedy, found: Data, epochs: int) -> Outcome:
    """The same network from the same start, as many steps with each remedy (but if it is stopped early)."""
    model = cr.nn.MLP([found.few[0].shape[1], HIDDEN, HIDDEN, 10], dropout=remedy.dropout, dtype=np.float32, rng=0)
    batches = cr.nn.Batches(*(found.many if remedy.more_data else found.few), batch_size=BATCH_SIZE, rng=1)
    steps = epochs * -(-len(found.few[0]) // BATCH_SIZE)
    learned = batches.arrays
    training: list[float] = []

    def note(history: cr.nn.History, model: cr.nn.Module) -> None:
        training.append(cr.nn.evaluate(model, cr.nn.cross_entropy, learned).loss)

    history = cr.nn.fit(
        model,
        cr.nn.cross_entropy,
        batches,
        cr.nn.Adam(model.parameters(), lr=1e-3),
        epochs=max(1, round(steps / len(batches))),
        validation=found.validation,
        penalty=remedy.penalty,
        early_stopping=remedy.patience,
        callbacks=[note],
        progress=False,
    )
    last = history.best_epoch if remedy.patience is not None else len(history)
    return Outcome(
        [epoch * len(batches) for epoch in history["epoch"]],
        training,
        history["validation_loss"],
        cr.nn.evaluate(model, cr.nn.cross_entropy, learned).loss,
        cr.nn.evaluate(model, cr.nn.cross_entropy, found.validation),
        (last or 0) * len(batches),
    )


# What is shown


def show(outcomes: dict[str, Outcome]) -> None:
    show_table(
        ("remedy", "steps", "training loss", "validation loss", "gap", "accuracy, validation"),
        (
            (
                name,
                f"{found.kept:,}",
                f"{found.at_end_training:.3f}",
                f"{found.at_end.loss:.3f}",
                f"{found.gap:.3f}",
                f"{found.at_end.accuracy:.1%}",
            )
            for name, found in outcomes.items()
        ),
    )


def draw(folder: Path, outcomes: dict[str, Outcome]) -> None:
    figure, grid = plt.subplots(2, 3, figsize=(10.5, 6.4), sharex=True, sharey=True)
    nothing = outcomes["nothing"]
    for axes, (name, found) in zip(grid.flat, outcomes.items(), strict=True):
        if found is not nothing:
            axes.plot(nothing.steps, nothing.validation, color=GREY, alpha=0.6, label="validation, with nothing")
        axes.fill_between(found.steps, found.training, found.validation, color=GREY, alpha=0.15, linewidth=0)
        axes.plot(found.steps, found.validation, color=ORANGE, label="validation")
        axes.plot(found.steps, found.training, "--", color=BLUE, label="training")
        axes.plot(
            [found.kept] * 2,
            [found.at_end_training, found.at_end.loss],
            "o",
            color="black",
            markersize=4,
            clip_on=False,
        )
        axes.set_title(f"{name}: gap {found.gap:.2f}, accuracy {found.at_end.accuracy:.0%}")
    for axes in grid[:, 0]:
        axes.set_ylabel("loss")
    for axes in grid[-1]:
        axes.set_xlabel("step")
    grid[0, 0].set_ylim(0, None)
    grid[0, 1].legend(loc="upper left", fontsize="small")
    save(figure, folder, "overfitting")


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--data", type=Path, metavar="DIR", help="a folder with MNIST's four files")
    options = made.parse_args()
    found = data(load(options.data, download=not options.quick))
    print(
        f"a network {found.few[0].shape[1]}-{HIDDEN}-{HIDDEN}-10; {len(found.few[0]):,} images to learn from "
        f'("more data": {len(found.many[0]):,}), {len(found.validation[0]):,} for validation\n'
        f"labels drawn at random: {CARELESS:.0%}, so that about {1 - 0.9 * CARELESS:.0%} is the best accuracy to be had\n"
    )
    epochs = 15 if options.quick else 60
    outcomes = {name: train(remedy, found, epochs) for name, remedy in REMEDIES.items()}
    show(outcomes)
    draw(options.out, outcomes)


if __name__ == "__main__":
    main()
