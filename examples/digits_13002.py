"""A small network learns to read digits, with nothing hidden: 13,002 parameters, and a gradient of as many numbers.

python examples/digits_13002.py

784-16-16-10, sigmoid on every layer, trained on MNIST. The cost of an image is the sum, over the ten outputs, of the squared
difference between the output and what it should be: 1 for the digit that it is, 0 for the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from _common import BLUE, ORANGE, parser, save, show_table
from _digits import load

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import SubFigure
from numpy.typing import NDArray

import chainrule as cr

Array = NDArray[Any]

SIZES = (784, 16, 16, 10)
PARAMETERS = 784 * 16 + 16 + 16 * 16 + 16 + 16 * 10 + 10  # 13,002
LAYERS = {"0": "hidden layer 1", "2": "hidden layer 2", "4": "outputs"}  # places in the network; a sigmoid follows each
BATCH_SIZE = 20
LEARNING_RATE = 1.5
SEED = 0


# The network, the images, the cost


def network(seed: int = SEED) -> cr.nn.Sequential:
    """784-16-16-10, every weight and bias random.

    All are drawn from the standard normal distribution, but for the weights from the pixels: these are so many that
    they must be smaller, as Xavier's rule makes them, lest every hidden neuron is stuck at 0 or 1.
    """
    rng = np.random.default_rng(seed)
    layers: list[cr.nn.Module] = []
    for n_in, n_out in pairwise(SIZES):
        layer = cr.nn.Linear(n_in, n_out, rng=rng, init="xavier_normal" if n_in == SIZES[0] else standard_normal)
        layer.bias = cr.Tensor(rng.normal(size=n_out))
        layers += [layer, cr.nn.Sigmoid()]
    model = cr.nn.Sequential(*layers)
    assert count(model) == PARAMETERS == 13_002
    return model


def standard_normal(rng: np.random.Generator, n_in: int, n_out: int) -> Array:
    return rng.normal(size=(n_out, n_in))


def count(model: cr.nn.Module) -> int:
    return sum(parameter.size for parameter in model.parameters())


def prepared(images: Array) -> Array:
    """Pixels from 0 to 255 as rows of 784 numbers from 0 to 1."""
    return images.reshape(len(images), -1) / 255


def wanted(labels: Array) -> Array:
    """What the ten outputs should be: rows of one 1 and nine 0."""
    return np.eye(10)[labels]


def batches(images: Array, labels: Array, batch_size: int, shuffle: bool = False) -> cr.nn.Batches:
    """Mini-batches (inputs, wanted outputs). Pixels are prepared batch by batch: as bytes they take an eighth of the memory."""
    return cr.nn.Batches(
        images,
        labels,
        batch_size=batch_size,
        shuffle=shuffle,
        rng=SEED,
        transform=lambda rng, images, labels: (prepared(images), wanted(labels)),
    )


def cost(outputs: Any, target: Any) -> Any:
    """The sum of the squared differences, averaged over the images."""
    return cr.nn.mse_loss(outputs, target, reduction="sum") / len(target)


def outputs_for(model: cr.nn.Module, image: Array) -> Array:
    """The ten outputs for one image."""
    with cr.no_grad():
        return model(prepared(image[None])).data[0]


# The gradient


def gradient(model: cr.nn.Module, data: Iterable[tuple[Array, Array]], images: int) -> Array:
    """The gradient of the average cost over all images, as one vector: a number for each parameter, in their order.

    Backward passes add up, so that it can be had batch by batch.
    """
    model.zero_grad()
    for x, target in data:
        (cost(model(x), target) * (len(target) / images)).backward()
    return np.concatenate([parameter.grad.ravel() for parameter in model.parameters()])


class Place(NamedTuple):
    """Where in the network one of the 13,002 numbers is."""

    name: str  # of the parameter
    at: tuple[int, ...]  # the index in that array

    def __str__(self) -> str:
        return f"{self.name}[{', '.join(map(str, self.at))}]"

    def in_words(self) -> str:
        layer, kind = self.name.split(".")
        neuron = f"neuron {self.at[0]} of {LAYERS[layer]}" if layer != "4" else f"output {self.at[0]}"
        if kind == "bias":
            return f"bias of {neuron}"
        if layer == "0":
            return f"pixel in row {self.at[1] // 28}, column {self.at[1] % 28} to {neuron}"
        return f"neuron {self.at[1]} of {LAYERS[str(int(layer) - 2)]} to {neuron}"


def place(model: cr.nn.Module, i: int) -> Place:
    """Where number i of the gradient belongs."""
    for name, parameter in model.named_parameters():
        if i < parameter.size:
            return Place(name, tuple(map(int, np.unravel_index(i, parameter.shape))))
        i -= parameter.size
    raise IndexError("there are no more parameters")


def nudge(model: cr.nn.Module, where: Place, by: float) -> None:
    """Add to a single weight or bias."""
    parameter = dict(model.named_parameters())[where.name]
    changed = parameter.data.copy()
    changed[where.at] += by
    parameter.data = changed


def show_gradient(model: cr.nn.Module, vector: Array) -> None:
    """The numbers that matter most, and how many times more than others."""
    order = np.argsort(-np.abs(vector), kind="stable")
    largest = abs(vector[order[0]])
    ranks = [*range(1, 9), 10, 100, 1000, len(order) // 2]
    rows = []
    for rank in ranks:
        i = order[rank - 1]
        where = place(model, int(i))
        rows.append((f"{rank:,}", str(where), where.in_words(), f"{vector[i]:+.6f}", f"{largest / abs(vector[i]):.1f}"))
    show_table(("rank", "parameter", "which is", "gradient", "the first matters … times as much"), rows)
    print(f"the cost is {rows[-1][-1]} times as sensitive to the first as to the one in the middle, and not at all to")
    print(f"{np.sum(vector == 0.0):,} of them: weights from pixels that are 0 in every image.\n")


# The pictures


def draw_digit(axes: Axes, image: Array) -> None:
    axes.imshow(image, cmap="gray_r")
    axes.set_title("A 3")
    axes.axis("off")


def draw_outputs(axes: Axes, before: Array, after: Array) -> None:
    digits = np.arange(10)
    axes.bar(digits - 0.2, before, width=0.4, color=ORANGE, hatch="///", edgecolor="white", label="before training")
    axes.bar(digits + 0.2, after, width=0.4, color=BLUE, label="after")
    axes.set(title="Its ten outputs", xlabel="output for the digit", xticks=digits, ylim=(0, 1.25))
    axes.legend(ncols=2, loc="upper center")


def draw_gradient(axes: Axes, vector: Array) -> None:
    sizes = -np.sort(-np.abs(vector[vector != 0.0]))
    axes.semilogx(np.arange(1, len(sizes) + 1), sizes, color=BLUE)
    axes.set(title="The gradient, sorted by size", xlabel="rank", ylabel="|gradient|")


def draw_weights(figure: SubFigure, model: cr.nn.Module) -> None:
    """What each neuron of the first hidden layer looks for: its 784 weights, each in its pixel's place."""
    pictures = next(iter(model.parameters())).data.reshape(-1, 28, 28)
    limit = np.quantile(np.abs(pictures), 0.995)
    grid = figure.subplots(2, 8)
    for neuron, (axes, picture) in enumerate(zip(grid.flat, pictures, strict=True)):
        image = axes.imshow(picture, cmap="PuOr", vmin=-limit, vmax=limit)
        axes.set_title(f"neuron {neuron}")
        axes.axis("off")
    figure.colorbar(image, ax=grid, shrink=0.8, extend="both", label="weight")
    figure.suptitle("What the first hidden layer has learned: its weights, as pictures", fontsize="medium")


def draw(folder: Path, model: cr.nn.Module, image: Array, before: Array, after: Array, vector: Array) -> None:
    figure = plt.figure(figsize=(10.5, 6.6))
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.15))
    left, middle, right = top.subplots(1, 3, width_ratios=(0.7, 1.3, 1))
    draw_digit(left, image)
    draw_outputs(middle, before, after)
    draw_gradient(right, vector)
    draw_weights(bottom, model)
    save(figure, folder, "digits_13002")


# The story


def show_outputs(before: Array, after: Array | None = None) -> None:
    columns = [("digit", *range(10)), ("wanted", *(f"{x:.0f}" for x in wanted(np.array(3))))]
    columns.append(("before", *(f"{x:.2f}" for x in before)))
    if after is not None:
        columns.append(("after", *(f"{x:.2f}" for x in after)))
    header, *rows = zip(*columns, strict=True)
    show_table(header, rows)


def epochs_for(images: int, updates: int) -> int:
    """As many epochs as make about so many updates."""
    return max(1, round(updates * BATCH_SIZE / images))


def train(model: cr.nn.Module, data: cr.nn.Batches, epochs: int) -> cr.nn.History:
    """Gradient descent in mini-batches, the learning rate lowered from epoch to epoch."""
    optimizer = cr.nn.SGD(model.parameters(), lr=LEARNING_RATE)
    schedule = cr.nn.CosineAnnealingLR(optimizer, T_max=epochs)
    return cr.nn.fit(model, cost, data, optimizer, epochs=epochs, schedule=schedule)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--data", type=Path, metavar="DIR", help="a folder with MNIST's four files")
    options = made.parse_args()
    digits = load(options.data, download=not options.quick)
    n = 3000 if options.quick else len(digits.x_train)
    x_train, y_train = digits.x_train[:n], digits.y_train[:n]
    everything = batches(x_train, y_train, batch_size=1000)
    three = x_train[y_train == 3][0]

    model = network()
    print(f"the network, {'-'.join(map(str, SIZES))}, has {count(model):,} parameters:\n")
    show_table(
        ("parameter", "shape", "numbers"),
        [(name, " x ".join(map(str, p.shape)), f"{p.size:,}") for name, p in model.named_parameters()],
    )

    before = outputs_for(model, three)
    average = cr.nn.evaluate(model, cost, everything).loss
    print("BEFORE TRAINING, for an image of a 3:\n")
    show_outputs(before)
    print(f"its cost, the sum of the squares of (output - wanted): {cost(before[None], wanted(np.array([3]))):.4f}")
    print(f"the average cost over the {len(x_train):,} images to learn from: {average:.4f}\n")

    vector = gradient(model, everything, len(x_train))
    print(f"THE GRADIENT of the average cost: {len(vector):,} numbers, the largest of them first:\n")
    show_gradient(model, vector)
    i = int(np.argmax(np.abs(vector)))
    where = place(model, i)
    nudge(model, where, 0.01)
    print(f"add 0.01 to {where}: the gradient foretells a change of the cost by {0.01 * vector[i]:+.6f},")
    print(f"and it changes by {cr.nn.evaluate(model, cost, everything).loss - average:+.6f}\n")
    nudge(model, where, -0.01)

    epochs = epochs_for(len(x_train), 2000 if options.quick else 36_000)
    start = time.perf_counter()
    history = train(model, batches(x_train, y_train, BATCH_SIZE, shuffle=True), epochs)
    seconds = time.perf_counter() - start
    print(f"TRAINED for {epochs} epochs in mini-batches of {BATCH_SIZE}, {seconds:.0f} seconds:\n")
    print(f"{history}\n")

    after = outputs_for(model, three)
    unseen = cr.nn.evaluate(model, cost, batches(digits.x_test, digits.y_test, batch_size=1000), metrics="accuracy")
    print("AFTER TRAINING, for the same 3:\n")
    show_outputs(before, after)
    print(f"its cost: {cost(after[None], wanted(np.array([3]))):.4f}")
    print(f"the average cost over the {len(x_train):,} images: {cr.nn.evaluate(model, cost, everything).loss:.4f}")
    print(f"accuracy on the {len(digits.x_test):,} unseen digits: {unseen.metrics['accuracy']:.2%}\n")
    draw(options.out, model, three, before, after, vector)


if __name__ == "__main__":
    main()
