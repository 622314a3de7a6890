"""Ways downhill: batch, stochastic and mini-batch descent, and six optimizers, on one problem; then seen from above.

python examples/descents.py

The problem is to learn scikit-learn's bundled 8x8 digits by a small network. A surface over its 2,410 parameters cannot
be drawn, so that the paths are shown on another problem of the same kind, with two: the line through real data.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from _common import COLOURS, LINES, parser, save, show_table

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.datasets import load_diabetes, load_digits

import chainrule as cr

Array = NDArray[Any]


class Method(NamedTuple):
    """How many samples a step looks at, and how the parameters then follow the gradient."""

    batch_size: int | None
    optimizer: Callable[[list[Any]], cr.nn.Optimizer]


# From this start, each learning rate ends with a lower loss than a third of it does, or three times as much.
BATCH_SIZES = {
    "batch: all 1,797": Method(None, lambda p: cr.nn.SGD(p, lr=1.0)),
    "mini-batch: 32": Method(32, lambda p: cr.nn.SGD(p, lr=0.3)),
    "stochastic: 1": Method(1, lambda p: cr.nn.SGD(p, lr=0.03)),
}
OPTIMIZERS = {
    "SGD": Method(32, lambda p: cr.nn.SGD(p, lr=0.3)),
    "momentum": Method(32, lambda p: cr.nn.SGD(p, lr=0.1, momentum=0.9)),
    "Adam": Method(32, lambda p: cr.nn.Adam(p, lr=0.03)),
    "AdamW": Method(32, lambda p: cr.nn.AdamW(p, lr=0.03)),
    "Adagrad": Method(32, lambda p: cr.nn.Adagrad(p, lr=0.3)),
    "RMSprop": Method(32, lambda p: cr.nn.RMSprop(p, lr=0.01)),
}
# On the line, optimizers see all samples in each step, so that nothing but the rule itself decides the path.
LINE_BATCH_SIZES = {
    "batch: all 442": Method(None, lambda p: cr.nn.SGD(p, lr=0.1)),
    "mini-batch: 32": Method(32, lambda p: cr.nn.SGD(p, lr=0.1)),
    "stochastic: 1": Method(1, lambda p: cr.nn.SGD(p, lr=0.1)),
}
LINE_OPTIMIZERS = {
    "SGD": Method(None, lambda p: cr.nn.SGD(p, lr=0.1)),
    "momentum": Method(None, lambda p: cr.nn.SGD(p, lr=0.1, momentum=0.9)),
    "Adam": Method(None, lambda p: cr.nn.Adam(p, lr=0.2)),
    "AdamW": Method(None, lambda p: cr.nn.AdamW(p, lr=0.2, weight_decay=0.1)),
    "Adagrad": Method(None, lambda p: cr.nn.Adagrad(p, lr=0.5)),
    "RMSprop": Method(None, lambda p: cr.nn.RMSprop(p, lr=0.1, alpha=0.9)),
}


SHOWN = (1, 4)  # the epochs after which the table has the loss


# The problem: digits


class Run(NamedTuple):
    """The loss over all samples at some moments of a training: after so many steps, epochs, and seconds of training."""

    steps: Array
    epochs: Array
    seconds: Array
    losses: Array
    lr: float


def digits() -> tuple[Array, Array]:
    pixels, labels = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), labels


def train(method: Method, x: Array, y: Array, epochs: float) -> Run:
    """The same network from the same start, by this method. The clock stops while the loss over all is measured."""
    model = cr.nn.MLP([64, 32, 10], dtype=np.float32, rng=0)
    optimizer = method.optimizer(model.parameters())
    batches = cr.nn.Batches(x, y, batch_size=method.batch_size, rng=1)
    last = round(epochs * len(batches))
    moments = {int(step) for step in np.geomspace(1, last, 50)} | {epoch * len(batches) for epoch in SHOWN}
    seen: list[tuple[float, ...]] = []
    seconds = 0.0
    for step, (x_batch, y_batch) in enumerate(islice(endless(batches), last), start=1):
        start = time.perf_counter()
        loss = cr.nn.cross_entropy(model(x_batch), y_batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds += time.perf_counter() - start
        if step in moments:
            seen.append((step, step / len(batches), seconds, cr.nn.evaluate(model, cr.nn.cross_entropy, (x, y)).loss))
    return Run(*np.array(seen).T, lr=optimizer.lr)


def endless(batches: cr.nn.Batches) -> Any:
    """Epoch after epoch, each in a new order."""
    while True:
        yield from batches


def show_runs(title: str, runs: dict[str, Run]) -> None:
    print(f"{title}\n")
    show_table(
        ("", "learning rate", "epochs", "steps", "seconds", "loss after 1 epoch", "after 4", "at the end"),
        (
            (
                name,
                f"{run.lr:g}",
                f"{run.epochs[-1]:g}",
                f"{run.steps[-1]:,.0f}",
                f"{run.seconds[-1]:.2f}",
                loss_after(run, 1),
                loss_after(run, 4),
                f"{run.losses[-1]:.4f}",
            )
            for name, run in runs.items()
        ),
    )


def loss_after(run: Run, epochs: int) -> str:
    """What it was then, if the run is as long."""
    return next((f"{loss:.4f}" for epoch, loss in zip(run.epochs, run.losses, strict=True) if epoch == epochs), "–")


# The surface: a line through real data


class Line(NamedTuple):
    """442 patients: how far their body mass index is above the lowest, in tens; and how far diabetes has gone in a year."""

    x: Array
    y: Array

    def loss(self, slope: Any, intercept: Any) -> Any:
        """The mean squared error, for numbers or for whole grids of them."""
        errors = np.multiply.outer(slope, self.x) + np.expand_dims(intercept, -1) - self.y
        return np.mean(errors**2, axis=-1)

    @property
    def lowest(self) -> Array:
        """Least squares: where the surface is lowest."""
        return np.polyfit(self.x, self.y, 1)


START = (-1.0, 3.5)
WINDOW = np.array([(-1.9, -0.5), (2.2, 4.2)])  # the part of the surface that is drawn


def line() -> Line:
    bunch = load_diabetes(scaled=False)
    index = bunch.data[:, bunch.feature_names.index("bmi")]
    return Line((index - index.min()) / 10, bunch.target / 100)


def path(method: Method, problem: Line, steps: int) -> Array:
    """(steps + 1, 2): slope and intercept, at the start and after each step."""
    slope, intercept = (cr.Tensor(number) for number in START)
    optimizer = method.optimizer([slope, intercept])
    batches = cr.nn.Batches(problem.x, problem.y, batch_size=method.batch_size, rng=0)
    points = [START]
    for x, y in islice(endless(batches), steps):
        optimizer.zero_grad()
        cr.nn.mse_loss(slope * x + intercept, y).backward()
        optimizer.step()
        points.append((slope.item(), intercept.item()))
    return np.array(points)


def heights(walk: Array, problem: Line) -> Array:
    """How far the surface lies above its lowest point, at each step."""
    return problem.loss(*walk.T) - problem.loss(*problem.lowest)


def steps_to(height: float, walk: Array, problem: Line) -> int | None:
    """After how many steps the walk is that low, and stays so; None if it does not."""
    above = np.flatnonzero(heights(walk, problem) > height)
    return None if len(above) and above[-1] == len(walk) - 1 else int(above[-1] + 1) if len(above) else 0


def show_paths(title: str, paths: dict[str, Array], problem: Line) -> None:
    print(f"{title}\n")
    low = 0.01
    show_table(
        ("", "way gone", "end", "above the lowest", f"within {low} for good after"),
        (
            (
                name,
                f"{np.linalg.norm(np.diff(walk, axis=0), axis=1).sum():.2f}",
                "({:+.3f}, {:+.3f})".format(*walk[-1]),
                f"{heights(walk, problem)[-1]:.1e}",
                "not yet" if (n := steps_to(low, walk, problem)) is None else f"{n} steps",
            )
            for name, walk in paths.items()
        ),
    )


# The picture


def draw_losses(axes: Axes, runs: dict[str, Run], against: str) -> None:
    for (name, run), colour, line in zip(runs.items(), COLOURS, LINES, strict=False):
        axes.loglog(getattr(run, against), run.losses, color=colour, linestyle=line, linewidth=1.4, label=name)
    axes.set(xlabel=against, ylabel="loss")


def draw_paths(axes: Axes, paths: dict[str, Array], problem: Line) -> None:
    low, high = WINDOW
    slopes, intercepts = np.meshgrid(*np.linspace(low, high, 120).T)
    surface = problem.loss(slopes, intercepts) - problem.loss(*problem.lowest)
    axes.contourf(slopes, intercepts, surface, levels=np.geomspace(1e-3, 60, 20), norm="log", cmap="Greys", alpha=0.3)
    for (name, walk), colour, line in zip(paths.items(), COLOURS, LINES, strict=False):
        axes.plot(*walk.T, color=colour, linestyle=line, linewidth=1.6, label=name)
    axes.plot(*START, "o", color="black")
    axes.plot(*problem.lowest, "*", color="black", markersize=11)
    axes.annotate("start", START, (-7, 5), textcoords="offset points", ha="right")
    axes.set(xlabel="slope", ylabel="intercept", xlim=(low[0], high[0]), ylim=(low[1], high[1]))


def draw(
    folder: Path, runs: Sequence[dict[str, Run]], paths: Sequence[dict[str, Array]], titles: Sequence[str], line: Line
) -> None:
    figure, rows = plt.subplots(2, 3, figsize=(11.5, 7.4), width_ratios=(1, 1, 1.3))
    for (left, middle, right), some, walks, title in zip(rows, runs, paths, titles, strict=True):
        draw_losses(left, some, "epochs")
        draw_losses(middle, some, "seconds")
        draw_paths(right, walks, line)
        left.set_title(f"{title}: against epochs")
        middle.set_title("against seconds")
        right.set_title("on the surface of the line")
        left.legend(fontsize="small", loc="lower left")
        right.legend(fontsize="small", loc="upper right")
    save(figure, folder, "descents")


def main() -> None:
    options = parser(__doc__).parse_args()
    x, y = digits()
    print(f"the problem: {len(x):,} digits of 8x8 pixels, a network 64-32-10, cross-entropy\n")
    lengths = (100, 10, 1) if options.quick else (1500, 120, 7)  # epochs that take about the same time
    sizes = {
        name: train(method, x, y, epochs) for (name, method), epochs in zip(BATCH_SIZES.items(), lengths, strict=True)
    }
    show_runs("how many samples a step looks at:", sizes)
    rules = {name: train(method, x, y, 4 if options.quick else 10) for name, method in OPTIMIZERS.items()}
    show_runs("how the parameters follow the gradient (mini-batches of 32):", rules)

    problem = line()
    slope, intercept = problem.lowest
    print(
        f"the surface: the error of a line through {len(problem.x)} points, lowest at ({slope:+.3f}, {intercept:+.3f})\n"
    )
    size_paths = {name: path(method, problem, 200) for name, method in LINE_BATCH_SIZES.items()}
    show_paths("200 steps of gradient descent, learning rate 0.1:", size_paths, problem)
    rule_paths = {name: path(method, problem, 100) for name, method in LINE_OPTIMIZERS.items()}
    show_paths("100 steps of each optimizer, all samples in each:", rule_paths, problem)
    draw(options.out, (sizes, rules), (size_paths, rule_paths), ("Batch sizes", "Optimizers"), problem)


if __name__ == "__main__":
    main()
