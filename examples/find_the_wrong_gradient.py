"""A wrong gradient that still trains: the loss falls, and only a check says that something is amiss, and where.

python examples/find_the_wrong_gradient.py

swish(x) = x · sigmoid(x) is made a row of one's own. In one of two rules a term of the product rule was forgotten. With
either, a network learns scikit-learn's 8x8 digits, so that nothing seems wrong; then the report, the explanation and the
picture each name the operation and point at the line.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from _common import BLUE, ORANGE, parser, save, show_table

import matplotlib.pyplot as plt
import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import chainrule as cr

Array = NDArray[Any]
Row = Callable[[Any], Any]

HIDDEN, BATCH_SIZE, LEARNING_RATE = 32, 32, 0.2


# Two rows that differ in one rule


def swish_of(x: Any) -> Any:
    return x / (1.0 + np.exp(-x))


def right_rule(g: Any, y: Any, x: Any) -> Any:
    """(x · s(x))' = s(x) + x · s'(x), and s' = s · (1 - s)."""
    s = cr.sigmoid(x)
    return g * (s + x * s * (1.0 - s))


def wrong_rule(g: Any, y: Any, x: Any) -> Any:
    """(x · s(x))' = s(x): the other half of the product rule is missing."""
    return g * cr.sigmoid(x)


RIGHT = cr.custom("swish", swish_of, right_rule)
WRONG = cr.custom("swish", swish_of, wrong_rule)


# A network that is trained with either


class Net(cr.nn.Module):
    """64 pixels, one hidden layer, 10 digits."""

    def __init__(self, swish: Row) -> None:
        self.swish = swish
        rng = np.random.default_rng(0)
        self.hidden = cr.nn.Linear(64, HIDDEN, rng=rng)
        self.output = cr.nn.Linear(HIDDEN, 10, rng=rng)
        for name, parameter in self.named_parameters():
            parameter.name = name

    def forward(self, x: Any) -> Any:
        h = self.hidden(x)
        h = self.swish(h)
        return self.output(h)


class Data(NamedTuple):
    x: Array
    y: Array
    x_test: Array
    y_test: Array


def data() -> Data:
    pixels, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    x, y = pixels[order] / 16.0, labels[order]
    return Data(x[:1500], y[:1500], x[1500:], y[1500:])


class Training(NamedTuple):
    losses: list[float]  # the average of each epoch
    correct: float  # of the test images


def train(model: Net, digits: Data, epochs: int) -> Training:
    optimizer = cr.nn.SGD(model.parameters(), lr=LEARNING_RATE)
    batches = cr.nn.Batches(digits.x, digits.y, batch_size=BATCH_SIZE, rng=0)
    history = cr.nn.fit(model, cr.nn.cross_entropy, batches, optimizer, epochs=epochs, progress=False)
    with cr.no_grad():
        predicted = np.argmax(model(digits.x_test).data, axis=1)
    return Training([record["loss"] for record in history], float(np.mean(predicted == digits.y_test)))


def loss_of(model: Net, digits: Data, n: int = 8) -> Any:
    """The loss of a few images, as a graph that remembers the lines it was made by."""
    with cr.record_lines():
        return cr.nn.cross_entropy(model(digits.x[:n]), digits.y[:n])


def fed_to_swish(loss: Any) -> Any:
    """The node that swish was applied to."""
    nodes = [loss]
    for node in nodes:
        if node.op is not None and node.op.name == "swish":
            return node.args[0]
        nodes += [arg for arg in node.args if isinstance(arg, cr.Node)]
    raise LookupError("the loss was computed without swish")


def main(quick: bool, out: Path) -> None:
    digits, epochs = data(), 3 if quick else 15
    models = {"right": Net(RIGHT), "wrong": Net(WRONG)}
    trained = {name: train(model, digits, epochs) for name, model in models.items()}

    print("the training loss falls with either rule, and both networks read the digits:\n")
    show_table(
        ["epoch", "loss, right rule", "loss, wrong rule"],
        [
            [epoch, f"{right:.4f}", f"{wrong:.4f}"]
            for epoch, (right, wrong) in enumerate(
                zip(trained["right"].losses, trained["wrong"].losses, strict=True), 1
            )
        ],
    )
    for name, training in trained.items():
        print(f"{name} rule: {training.correct:.1%} of the test images right")

    for name, model in models.items():
        report = cr.check(loss_of(model, digits))
        print(f"\nthe check of the network with the {name} rule:\n\n{report}")

    loss = loss_of(models["wrong"], digits)
    x = fed_to_swish(loss)
    x.name = "x"
    print(f"\nwhy the gradient at swish is what it is:\n\n{cr.explain(loss, x)}")

    save(curves(trained), out, "find_the_wrong_gradient")
    loss.backward()
    report = cr.check(loss)
    print(f"picture: {cr.visualize.render(loss, out / 'find_the_wrong_gradient_graph.svg', check=report)}")


def curves(trained: dict[str, Training]) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(6, 3.5))
    for (name, training), colour, style in zip(trained.items(), (BLUE, ORANGE), ("-", "--"), strict=True):
        steps = range(1, len(training.losses) + 1)
        label = f"{name} rule ({training.correct:.1%} of test images right)"
        axes.plot(steps, training.losses, style, color=colour, label=label)
    axes.set(
        xlabel="epoch", ylabel="average training loss", yscale="log", title="A wrong gradient may train all the same"
    )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.legend()
    return figure


if __name__ == "__main__":
    options = parser(__doc__).parse_args()
    main(options.quick, options.out)
