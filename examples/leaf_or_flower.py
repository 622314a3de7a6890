"""Leaf or flower, from colour and volume: a network's first steps with numbers that fit on one hand, then its training.

python examples/leaf_or_flower.py

Invented: the sample, its first prediction, the weight 0.17, the slope 200, and every leaf and flower in the data set.
Computed, by the library: every loss, slope, update, average and accuracy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from _common import BLUE, GREEN, GREY, ORANGE, PINK, parser, save, show_table

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

import chainrule as cr

Array = NDArray[np.float64]

SAMPLE = np.array([181, 216, 210, 12.0])  # red, green and blue from 0 to 255; volume in millilitres
TARGET = np.array([1.0, 0.0])  # certainly a leaf, certainly no flower
CLASSES = ("leaf", "flower")


# Part one: the arithmetic of a single step


def l1_loss(prediction: Any, target: Any = TARGET) -> Any:
    """How far a prediction is from the target: |0.6 - 1| + |0.4 - 0| = 0.8."""
    return cr.nn.l1_loss(prediction, target, reduction="sum")


# A network without hidden layers: a row of weights for each class, (R, G, B, volume). All are invented, and so are the
# biases: they are chosen so that the sample's two scores differ by log(0.6 / 0.4), which softmax turns into (0.6, 0.4).
WEIGHTS = np.array([[-0.02, 0.03, -0.01, 0.17], [0.01, -0.02, 0.01, 0.25]])
SCORES = WEIGHTS @ SAMPLE
BIASES = np.log([0.6, 0.4]) - SCORES
NUDGED = (0, 3)  # the weight that takes the volume to "leaf", 0.17


def predict(weights: Any) -> Any:
    """The probabilities of leaf and flower for the sample."""
    return cr.softmax(cr.linear(SAMPLE, weights, BIASES))


def loss_at(weight: float) -> float:
    """The loss with another number in the place of 0.17."""
    weights = WEIGHTS.copy()
    weights[NUDGED] = weight
    return float(l1_loss(predict(weights)))


def slope_by_difference(nudge: float) -> float:
    """How much the loss rises for each unit that the weight rises: two losses, and a division."""
    weight = WEIGHTS[NUDGED]
    return (loss_at(weight + nudge) - loss_at(weight)) / nudge


def slopes_by_autograd() -> Array:
    """The slope for every weight, from one backward pass."""
    weights = cr.Tensor(WEIGHTS)
    l1_loss(predict(weights)).backward()
    return weights.grad


def update(weight: float, slope: float, learning_rate: float) -> float:
    """One step of gradient descent: weight - learning rate * slope."""
    w = cr.Value(weight)
    (slope * w).backward()  # a straight line, the slope of which is known
    cr.nn.SGD([w], lr=learning_rate).step()
    return w.data


def average(losses: list[float]) -> float:
    return float(cr.mean(losses))


def show_arithmetic() -> None:
    red, green, blue, volume = SAMPLE
    print(f"a sample: R {red:g}, G {green:g}, B {blue:g}, volume {volume}")
    print(f"predicted (leaf, flower): ({', '.join(f'{p:.1f}' for p in predict(WEIGHTS))}); target: (1, 0)")
    print(f"L1 loss: |0.6 - 1| + |0.4 - 0| = {float(l1_loss([0.6, 0.4])):.1f}\n")

    before, after = loss_at(0.17), loss_at(0.18)
    print("nudge one weight, 0.17 (volume to leaf), and compute the loss again:\n")
    show_table(("weight", "loss"), ((0.17, f"{before:.6f}"), (0.18, f"{after:.6f}")))
    print("the slope at 0.17: change of the loss / change of the weight, beside autograd's:\n")
    rows = [(f"a nudge of {nudge:g}", f"{slope_by_difference(nudge):.5f}") for nudge in (0.01, 0.001, 0.0001, 0.00001)]
    slopes = slopes_by_autograd()
    show_table(("", "slope"), [*rows, ("autograd", f"{slopes[NUDGED]:.5f}")])
    print("the same backward pass gives the slopes of all eight weights:\n")
    show_table(
        ("to", "R", "G", "B", "volume"),
        ((name, *(f"{s:+.2f}" for s in row)) for name, row in zip(CLASSES, slopes, strict=True)),
    )
    print(f"an update, for a slope of 200:    0.17 - 0.01 * 200 = {update(0.17, 200.0, 0.01):.2f}")
    print(f"the loss over three samples:      mean of 0.2, 0.5, 0.1 = {average([0.2, 0.5, 0.1]):.4f}\n")


# Part two: epochs until it classifies


class Samples(NamedTuple):
    x: Array  # (n, 4): R, G, B, volume
    target: Array  # (n, 2): (1, 0) for a leaf, (0, 1) for a flower


def collect(n: int, rng: np.random.Generator) -> Samples:
    """Generated, not picked: n things, half of them leaves.

    A leaf has more green than red, mostly more green than blue, and a small volume. A flower is pink, yellow, white or violet, and larger.
    Pale leaves and white flowers overlap in colour, large leaves and small flowers in volume.
    """
    leaf = np.arange(n) % 2 == 0
    green = rng.uniform(80, 240, n)
    foliage = np.column_stack([green - rng.uniform(20, 80, n), green, green - rng.uniform(-20, 70, n)])
    petals = np.array([[235, 130, 175], [240, 205, 70], [235, 225, 215], [145, 95, 195]])[rng.integers(4, size=n)]
    colour = np.where(leaf[:, None], foliage, petals + rng.normal(0, 15, (n, 3)))
    volume = np.where(leaf, rng.lognormal(np.log(9), 0.4, n), rng.lognormal(np.log(20), 0.4, n))
    return Samples(np.column_stack([colour.clip(0, 255), volume]), np.column_stack([leaf, ~leaf]).astype(float))


def scaled(x: Array) -> Array:
    """Inputs of a similar size, about 0: colours from -1 to 1, and the volume in units of 20 ml, less 1."""
    return x / (127.5, 127.5, 127.5, 20.0) - 1.0


def probabilities(model: cr.nn.Module, x: Array) -> Any:
    return cr.softmax(model(scaled(x)))


def accuracy(model: cr.nn.Module, samples: Samples) -> float:
    with cr.no_grad():
        right = probabilities(model, samples.x).data.argmax(axis=1) == samples.target.argmax(axis=1)
    return float(right.mean())


def probability_of_leaf(model: cr.nn.Module, x: Array) -> float:
    """For a single sample."""
    with cr.no_grad():
        return float(probabilities(model, x).data[0])


class Epoch(NamedTuple):
    loss: float  # the average over the epoch's samples
    accuracy: float  # on the samples that were learned from
    leaf: float  # the probability of leaf for the sample of part one, which is not among them


def train(model: cr.nn.Module, samples: Samples, rng: np.random.Generator, enough: float) -> list[Epoch]:
    """Epochs over all samples, ten at a time, until the share that is classified right is `enough`."""
    optimizer = cr.nn.SGD(model.parameters(), lr=0.02)
    epochs: list[Epoch] = []
    while len(epochs) < 100 and not (epochs and epochs[-1].accuracy >= enough):
        losses = []
        for batch in rng.permutation(len(samples.x)).reshape(-1, 10):
            loss = l1_loss(probabilities(model, samples.x[batch]), samples.target[batch]) / len(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        epochs.append(Epoch(average(losses), accuracy(model, samples), probability_of_leaf(model, SAMPLE)))
    return epochs


# The picture


def draw_nudge(axes: Axes) -> None:
    w = np.linspace(0.03, 0.31, 100)
    slope, loss = slopes_by_autograd()[NUDGED], loss_at(0.17)
    axes.plot(w, [loss_at(x) for x in w], color=BLUE, label="loss")
    axes.plot(w, loss + slope * (w - 0.17), "--", color=ORANGE, label=f"autograd's slope, {slope:.2f}")
    axes.plot([0.17, 0.18], [loss, loss_at(0.18)], "o", color=BLUE, label="at 0.17 and at 0.18")
    axes.set(title="One weight, nudged", xlabel="weight, volume to leaf", ylabel="L1 loss of the sample")
    axes.legend()


def draw_epochs(axes: Axes, epochs: list[Epoch]) -> None:
    n = np.arange(1, len(epochs) + 1)
    axes.plot(n, [e.loss for e in epochs], "o-", color=BLUE, markersize=4, label="average L1 loss")
    axes.plot(n, [e.accuracy for e in epochs], "s--", color=GREEN, markersize=4, label="classified right")
    axes.set(title="Epochs, until it classifies", xlabel="epoch", ylim=(0, 1.05))
    axes.legend(loc="center right")


def draw_samples(axes: Axes, model: cr.nn.Module, samples: Samples) -> None:
    with cr.no_grad():
        p = probabilities(model, samples.x).data[:, 0]
    for i, (name, marker) in enumerate(zip(CLASSES, "^o", strict=True)):
        of_class = samples.target[:, i] == 1.0
        x = samples.x[of_class]
        look = {"c": x[:, :3] / 255, "edgecolors": GREY, "linewidths": 0.7, "s": 34}
        axes.scatter(x[:, 3], p[of_class], marker=marker, label=name, **look)
    axes.axhline(0.5, color=PINK, linestyle=":")
    axes.set(
        title="Held-out samples, in their own colours", xlabel="volume (ml)", ylabel="predicted probability of leaf"
    )
    axes.legend(loc="upper right")


def draw(folder: Path, model: cr.nn.Module, epochs: list[Epoch], held_out: Samples) -> None:
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(10.5, 3.8))
    draw_nudge(left)
    draw_epochs(middle, epochs)
    draw_samples(right, model, held_out)
    save(figure, folder, "leaf_or_flower")


def main() -> None:
    options = parser(__doc__).parse_args()
    show_arithmetic()

    rng = np.random.default_rng(2)
    n = 200 if options.quick else 400
    samples, held_out = collect(n, rng), collect(n // 2, rng)
    model = cr.nn.MLP([4, 8, 2], rng=rng)
    print(f"training on {n} generated samples, with {len(held_out.x)} more held out:\n")
    before = accuracy(model, held_out)
    epochs = train(model, samples, rng, enough=0.95 if options.quick else 0.98)
    rows = [(i, f"{e.loss:.4f}", f"{e.accuracy:.1%}", f"{e.leaf:.2f}") for i, e in enumerate(epochs, start=1)]
    show_table(("epoch", "average L1 loss", "classified right", "the sample above: leaf"), rows)
    print(f"held-out samples classified right: {before:.1%} before, {accuracy(model, held_out):.1%} after\n")
    draw(options.out, model, epochs, held_out)


if __name__ == "__main__":
    main()
