"""The training loop, written out: forward, loss, backward, update; and what can be seen of each, with an assertion.

python examples/training_loop.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from _common import BLUE, GREY, ORANGE, SKY, YELLOW, parser, save, show_table

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.datasets import make_moons

import chainrule as cr
from chainrule.autograd.graph import cotangents

Array = NDArray[np.float64]

LEARNING_RATE = 0.3
OTHER_RATES = (0.03, 0.7)
LAYERS = {"0": "first", "2": "middle", "4": "last"}  # the Linear layers' places in the network; tanh is in between


def data() -> tuple[Array, Array]:
    """Scikit-learn's two moons: 200 points (x, y), and the moon that each belongs to, 1 or -1."""
    points, moon = make_moons(200, noise=0.1, random_state=0)
    return points, 2.0 * moon[:, None] - 1.0


def network() -> cr.nn.MLP:
    """Two inputs, two hidden layers, one output: a weight and a bias for each of three layers, six parameters."""
    model = cr.nn.MLP([2, 8, 8, 1], activation="tanh", rng=0)
    for name, parameter in model.named_parameters():
        parameter.name = name
    return model


def train(model: cr.nn.MLP, x: Array, y: Array, steps: int, learning_rate: float) -> list[float]:
    """The loop; returns the loss that each step started from."""
    optimizer = cr.nn.SGD(model.parameters(), lr=learning_rate)
    losses = []
    for _ in range(steps):
        prediction = model(x)  # 1. forward: what does the network say?
        loss = cr.nn.mse_loss(prediction, y)  # 2. loss: how wrong is that?
        optimizer.zero_grad()
        loss.backward()  # 3. backward: which way does each parameter move the loss?
        optimizer.step()  # 4. update: so each moves a little the other way
        losses.append(loss.item())
    return losses


def forward(model: cr.nn.MLP, point: Array) -> tuple[float, float]:
    """The prediction for a point, before and after one weight is changed by hand (and changed back)."""
    weights = model.parameters()[0]
    kept, changed = weights.data.copy(), weights.data.copy()
    changed[0, 0] += 0.5
    with cr.no_grad():
        before = model(point).item()
        weights.data = changed
        after = model(point).item()
    weights.data = kept
    assert before != after, "the prediction must change when a weight changes"
    return before, after


def costs(predictions: list[float], target: float) -> list[float]:
    """The loss of each prediction; they must be sorted from right to wrong, and then so are the losses."""
    losses = [float(cr.nn.mse_loss(prediction, target)) for prediction in predictions]
    assert losses == sorted(losses), "a wrong answer must cost more than one that is less wrong"
    assert len(set(losses)) == len(losses)
    return losses


def backward(model: cr.nn.MLP, x: Array, y: Array) -> dict[str, Array]:
    """The gradient of every parameter, by name: as many numbers as the parameter has."""
    model.zero_grad()
    cr.nn.mse_loss(model(x), y).backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, parameter in model.named_parameters():
        assert gradients[name] is not None, f"{name} must have a gradient"
        assert gradients[name].shape == parameter.shape
        assert np.any(gradients[name] != 0.0), f"{name} must make a difference"
    return gradients


class Stop(NamedTuple):
    """A place where the backward walk comes by."""

    operation: str
    shape: tuple[int, ...]
    parameters: list[str]  # what gets its gradient here


def backward_walk(loss: Any) -> list[Stop]:
    """The operations in the order in which the library walks back over them, from the loss to the first layer."""
    nodes = [node for node in cotangents(loss, loss.seed()) if node.op is not None]
    stops = []
    for node in nodes:
        leaves = [arg for arg in node.args if isinstance(arg, cr.Tensor) and arg.name]
        stops.append(Stop(node.op.name, node.shape, [leaf.name for leaf in leaves]))
    layers = [stop.parameters[0][0] for stop in stops if stop.parameters]
    assert layers == sorted(layers, reverse=True), "the last layer must get its gradients first"
    return stops


def update(model: cr.nn.MLP, gradients: dict[str, Array]) -> dict[str, Array]:
    """What one step adds to each parameter, by name."""
    before = model.state_dict()
    cr.nn.SGD(model.parameters(), lr=LEARNING_RATE).step()
    changes = {name: array - before[name] for name, array in model.state_dict().items()}
    for name, change in changes.items():
        assert np.allclose(change, -LEARNING_RATE * gradients[name]), f"{name} must move against its gradient"
    return changes


def falls(losses: list[float]) -> int:
    """How often a loss is lower than the one before."""
    return int(np.sum(np.diff(losses) < 0.0))


def norm(array: Array) -> float:
    return float(cr.norm(array))


def walk_through(model: cr.nn.MLP, x: Array, y: Array) -> tuple[list[Stop], dict[str, Array]]:
    before, after = forward(model, x[0])
    print("1. FORWARD: the prediction changes when weights change.")
    print(f"   For the first point: {before:+.4f}; with 0.5 more on one weight of the first layer: {after:+.4f}\n")

    answers = [1.0, 0.9, 0.5, 0.0, -1.0, -2.0]
    print("2. LOSS: wrong answers cost more. The target is 1:\n")
    show_table(
        ("prediction", "loss"), ((f"{a:+.1f}", f"{c:.2f}") for a, c in zip(answers, costs(answers, 1.0), strict=True))
    )

    gradients = backward(model, x, y)
    print("3. BACKWARD: every parameter has a gradient.\n")
    show_table(
        ("parameter", "layer", "numbers in it", "numbers in its gradient", "length of the gradient"),
        (
            (name, LAYERS[name[0]], model.state_dict()[name].size, g.size, f"{norm(g):.4f}")
            for name, g in gradients.items()
        ),
    )
    stops = backward_walk(cr.nn.mse_loss(model(x), y))
    print("   Last layers get theirs first: the operations in the order of the backward walk.\n")
    show_table(
        ("", "operation", "its shape", "gives a gradient to"),
        ((i, s.operation, s.shape, ", ".join(s.parameters)) for i, s in enumerate(stops, start=1)),
    )

    changes = update(model, gradients)
    print(f"4. UPDATE: each parameter moves against its gradient, {LEARNING_RATE} times as far.\n")
    show_table(
        ("parameter", "first number of its gradient", "what is added to that number"),
        ((name, f"{g.flat[0]:+.6f}", f"{changes[name].flat[0]:+.7f}") for name, g in gradients.items()),
    )
    return stops, gradients


# The picture


def draw_losses(axes: Axes, runs: dict[float, list[float]]) -> None:
    looks = zip((SKY, BLUE, ORANGE), ("--", "-", ":"), strict=True)
    for (rate, losses), (colour, line) in zip(runs.items(), looks, strict=True):
        label = f"{rate}: lower {falls(losses)} times of {len(losses) - 1}"
        axes.plot(losses, line, color=colour, label=label)
    axes.set(title="The next loss is usually lower", xlabel="step", ylabel="loss", ylim=(0, 1.2))
    axes.legend(title="learning rate", alignment="left", loc="upper center", bbox_to_anchor=(0.48, 1))


def draw_walk(axes: Axes, stops: list[Stop], gradients: dict[str, Array]) -> None:
    for i, stop in enumerate(stops):
        axes.text(0.1, -i, i + 1, ha="right", va="center", color=GREY)
        axes.text(0.13, -i, stop.operation, va="center")
        if stop.parameters:
            text = "  and  ".join(f"{name} ({norm(gradients[name]):.2f})" for name in stop.parameters)
            axes.annotate(
                f"{LAYERS[stop.parameters[0][0]]} layer: {text}",
                (0.26, -i), (0.38, -i), va="center", arrowprops={"arrowstyle": "<-", "color": ORANGE},
                bbox={"boxstyle": "round", "facecolor": "white", "edgecolor": YELLOW},
            )  # fmt: skip
    axes.annotate("", (0.03, -len(stops) + 0.7), (0.03, 0.3), arrowprops={"arrowstyle": "->", "color": GREY, "lw": 2})
    axes.set(
        xlim=(0, 1.35),
        ylim=(-len(stops) + 0.4, 0.6),
        title="Backward: last layers get their gradients first\n(in brackets: the length of each)",
    )
    axes.axis("off")


def draw(folder: Path, runs: dict[float, list[float]], stops: list[Stop], gradients: dict[str, Array]) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4), width_ratios=(1, 1.1))
    draw_losses(left, runs)
    draw_walk(right, stops, gradients)
    save(figure, folder, "training_loop")


def main() -> None:
    options = parser(__doc__).parse_args()
    x, y = data()
    stops, gradients = walk_through(network(), x, y)

    steps = 50 if options.quick else 100
    runs = {rate: train(network(), x, y, steps + 1, rate) for rate in sorted({LEARNING_RATE, *OTHER_RATES})}
    print("AND AGAIN: the next loss is usually lower, unless the learning rate is too large.\n")
    show_table(
        ("learning rate", "first loss", "last loss", "lower than the one before"),
        ((rate, f"{run[0]:.4f}", f"{run[-1]:.4g}", f"{falls(run)} times of {steps}") for rate, run in runs.items()),
    )
    assert falls(runs[LEARNING_RATE]) > steps / 2, "the next loss must usually be lower"
    draw(options.out, runs, stops, gradients)


if __name__ == "__main__":
    main()
