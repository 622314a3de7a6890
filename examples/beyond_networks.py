"""Gradient descent beyond networks: a linear regression, and a support vector machine with its kink.

python examples/beyond_networks.py

One function descends for both. The regression has an exact answer, least squares, and the support vector machine is
also solved by scikit-learn: each must be reached.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from _common import BLUE, GREEN, GREY, ORANGE, parser, save, show_table

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.svm import SVC

import chainrule as cr

Array = NDArray[np.float64]

REGRESSION_RATE = 0.2
PENALTY = 0.02  # on the squared weights of the support vector machine


def descend(model: cr.nn.Linear, loss: Callable[[], Any], rates: Array) -> Array:
    """Gradient descent with a learning rate for each step: the weights and the bias, before the first and after each."""
    optimizer = cr.nn.SGD(model.parameters(), lr=0.0)
    path = [numbers(model)]
    for rate in rates:
        optimizer.lr = rate
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        path.append(numbers(model))
    return np.array(path)


def numbers(model: cr.nn.Linear) -> Array:
    """The weights, and then the bias."""
    return np.concatenate([p.data.ravel() for p in model.parameters()])


def standardised(x: Array) -> Array:
    """Every column with mean 0 and standard deviation 1, so that one learning rate suits them all."""
    return (x - x.mean(axis=0)) / x.std(axis=0)


# Linear regression


class Regression(NamedTuple):
    names: list[str]
    path: Array  # (steps + 1, 11): ten weights and the bias
    least_squares: Array  # (11,): the exact answer


def regression(steps: int) -> Regression:
    """How far diabetes has gone after a year, from ten measurements of 442 patients (scikit-learn's bundled data)."""
    bunch = load_diabetes()
    x, y = standardised(bunch.data), bunch.target[:, None]
    model = cr.nn.Linear(10, 1, rng=0)
    path = descend(model, lambda: cr.nn.mse_loss(model(x), y), np.full(steps, REGRESSION_RATE))
    columns = np.column_stack([x, np.ones(len(x))])  # the bias is the weight of a column of ones
    exact = np.linalg.lstsq(columns, bunch.target)[0]
    return Regression([*bunch.feature_names, "bias"], path, exact)


def show_regression(found: Regression) -> None:
    print(
        "linear regression, the mean of squared errors over 442 patients: each weight by gradient descent, and exactly\n"
    )
    rows = zip(found.names, found.path[-1], found.least_squares, strict=True)
    show_table(
        ("weight of", "gradient descent", "least squares", "difference"),
        ((name, f"{ours:+.7f}", f"{exact:+.7f}", f"{abs(ours - exact):.1e}") for name, ours, exact in rows),
    )
    steps = len(found.path) - 1
    print(f"largest difference after {steps:,} steps: {largest_differences(found)[-1]:.1e}")
    last_slope = (found.path[-2] - found.path[-1]) / REGRESSION_RATE
    print(f"length of the slope there: {float(cr.norm(last_slope)):.1e}\n")


def largest_differences(found: Regression) -> Array:
    """From least squares, at each step."""
    return np.abs(found.path - found.least_squares).max(axis=1)


# A linear support vector machine


class Samples(NamedTuple):
    x: Array  # (569, 2)
    label: Array  # (569,): 1 for a benign tumour, -1 for a malignant one
    names: list[str]


class Machine(NamedTuple):
    """Its numbers: two weights and a bias."""

    w: Array
    b: float

    @classmethod
    def of(cls, numbers: Array) -> Machine:
        return cls(numbers[:-1], float(numbers[-1]))


def tumours() -> Samples:
    """Two of the thirty measurements in scikit-learn's bundled breast cancer data."""
    bunch = load_breast_cancer()
    columns = [list(bunch.feature_names).index(name) for name in ("mean texture", "worst concave points")]
    return Samples(standardised(bunch.data[:, columns]), 2.0 * bunch.target - 1.0, list(bunch.feature_names[columns]))


def objective(scores: Any, label: Array, w: Any) -> Any:
    """The mean hinge loss, max(0, 1 - label * score), and a penalty on the weights, but not on the bias."""
    return cr.nn.hinge_loss(scores, label) + 0.5 * PENALTY * cr.sum(w * w)


def objective_of(machine: Machine, samples: Samples) -> float:
    return float(objective(samples.x @ machine.w + machine.b, samples.label, machine.w))


def by_descent(samples: Samples, rates: Array) -> Array:
    """The machine's numbers, by sub-gradient descent, at each step."""
    model = cr.nn.Linear(2, 1, rng=0)
    return descend(model, lambda: objective(model(samples.x)[:, 0], samples.label, model.weight), rates)


def by_scikit_learn(samples: Samples) -> Machine:
    """SVC minimises C * (sum of hinge losses) + |w|² / 2: with C = 1 / (penalty * n), that is our objective / penalty.

    (LinearSVC would penalise the bias too: another objective, with another answer.)
    """
    svc = SVC(kernel="linear", C=1 / (PENALTY * len(samples.x)), tol=1e-8).fit(samples.x, samples.label)
    return Machine(svc.coef_[0], float(svc.intercept_[0]))


def margins(machine: Machine, samples: Samples) -> Array:
    """label * score: below 1 a sample costs something, above 1 nothing, and at 1 is the kink."""
    return samples.label * (samples.x @ machine.w + machine.b)


def accuracy(machine: Machine, samples: Samples) -> float:
    return float((margins(machine, samples) > 0).mean())


def angle(a: Machine, b: Machine) -> float:
    """Between the two weight vectors, in degrees."""
    return math.degrees(abs(math.atan2(a.w[0] * b.w[1] - a.w[1] * b.w[0], a.w @ b.w)))


def hinge_slopes() -> dict[float, float]:
    """Autograd's slope of the hinge loss at margins on both sides of the kink, and on it."""
    return {margin: cr.grad(lambda score: cr.nn.hinge_loss(score, 1.0))(margin) for margin in (0.999, 1.0, 1.001)}


def slope_length(machine: Machine, samples: Samples) -> float:
    """The length of the objective's sub-gradient."""
    w, b = cr.Tensor(machine.w), cr.Value(machine.b)
    objective(samples.x @ w + b, samples.label, w).backward()
    return float(cr.norm([*w.grad, b.grad]))


def crossings(path: Array, samples: Samples) -> int:
    """How often a sample went over its kink from one step to the next."""
    over = samples.label * (path[:, :-1] @ samples.x.T + path[:, -1:]) > 1.0
    return int(np.count_nonzero(over[1:] != over[:-1]))


def gaps(path: Array, at: NDArray[np.int64], samples: Samples, target: float) -> list[float]:
    """How far the objective lies above `target` at these steps."""
    return [objective_of(Machine.of(path[i]), samples) - target for i in at]


def schedules(steps: int) -> dict[str, Array]:
    """Learning rates for a walk with a kink: one that stays, one that becomes smaller and smaller."""
    return {"constant": np.full(steps, 2.0), "decreasing": 2.0 / (1.0 + np.arange(steps) / 50)}


def show_kink(machine: Machine, samples: Samples) -> None:
    print("linear support vector machine: the mean hinge loss max(0, 1 - label * score) and an L2 penalty\n")
    print("autograd's slope of the hinge loss beside its kink, and on it, where any slope from -1 to 0 would do:\n")
    show_table(("label * score", "slope"), ((margin, f"{slope + 0.0:.1f}") for margin, slope in hinge_slopes().items()))
    on_kink = int(np.count_nonzero(np.abs(margins(machine, samples) - 1.0) < 1e-6))
    print(f"scikit-learn's answer has {on_kink} samples on the kink, to 1e-6: the lowest point is a kink itself.\n")


def show_machines(paths: dict[str, Array], reference: Machine, samples: Samples) -> None:
    machines = {f"descent, {name} rate": Machine.of(path[-1]) for name, path in paths.items()}
    machines["scikit-learn's SVC"] = reference
    show_table(
        ("", "weights", "bias", "objective", "accuracy", "angle to scikit-learn's"),
        (
            (
                name,
                " ".join(f"{w:+.4f}" for w in m.w),
                f"{m.b:+.4f}",
                f"{objective_of(m, samples):.7f}",
                f"{accuracy(m, samples):.1%}",
                f"{angle(m, reference):.4f}°",
            )
            for name, m in machines.items()
        ),
    )
    best = objective_of(reference, samples)
    steps = len(paths["constant"]) - 1
    print(f"at a kink the slope does not become small, so the steps must; after {steps:,} of them:\n")
    show_table(
        ("learning rate", "length of the slope", "samples crossed the kink", "objective above scikit-learn's"),
        (
            (
                name,
                f"{slope_length(Machine.of(path[-1]), samples):.4f}",
                f"{crossings(path, samples):,} times",
                f"{objective_of(Machine.of(path[-1]), samples) - best:.1e}",
            )
            for name, path in paths.items()
        ),
    )


# The picture


def draw_weights(axes: Axes, found: Regression) -> None:
    at = np.arange(10)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.plot(at, found.least_squares[:10], "o", color=GREY, fillstyle="none", markersize=11, label="least squares")
    axes.plot(at, found.path[-1, :10], "o", color=BLUE, markersize=5, label="gradient descent")
    axes.set_xticks(at, found.names[:10])
    axes.set(title="Linear regression: the weights", ylabel="weight")
    axes.legend()


def draw_differences(axes: Axes, found: Regression) -> None:
    axes.semilogy(largest_differences(found), color=BLUE)
    axes.set(title="Its distance from least squares", xlabel="step", ylabel="largest difference of a weight")


def draw_machine(axes: Axes, ours: Machine, reference: Machine, samples: Samples) -> None:
    for label, colour, marker, name in ((1, BLUE, "o", "benign"), (-1, ORANGE, "^", "malignant")):
        x = samples.x[samples.label == label]
        axes.scatter(*x.T, c=colour, marker=marker, s=12, alpha=0.5, linewidths=0, label=name)
    low, high = samples.x.min(axis=0) - 0.2, samples.x.max(axis=0) + 0.2
    across = np.linspace(low[0], high[0], 2)
    for machine, colour, width in ((reference, GREEN, 5), (ours, "black", 1.2)):
        for score, line in ((0.0, "-"), (1.0, ":"), (-1.0, ":")):
            up = (score - machine.b - machine.w[0] * across) / machine.w[1]
            axes.plot(across, up, line, color=colour, linewidth=width, alpha=0.5 if machine is reference else 1.0)
    axes.plot([], [], color=GREEN, linewidth=5, alpha=0.5, label="scikit-learn")
    axes.plot([], [], color="black", linewidth=1.2, label="gradient descent")
    axes.plot([], [], ":", color="black", label="the kinks")
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1] + 1.2), xlabel=f"{samples.names[0]}, standardised")
    axes.set(ylabel=f"{samples.names[1]}, standardised", title="Support vector machine")
    axes.legend(ncols=2, loc="upper right", fontsize="small", frameon=True, framealpha=0.9, edgecolor="none")


def draw_gaps(axes: Axes, paths: dict[str, Array], best: float, samples: Samples) -> None:
    for (name, path), (colour, line) in zip(paths.items(), ((ORANGE, "--"), (BLUE, "-")), strict=True):
        at = np.unique(np.geomspace(1, len(path) - 1, 200).astype(int))
        axes.loglog(at, gaps(path, at, samples, best), line, color=colour, label=f"{name} learning rate")
    axes.set(
        title="Its distance from scikit-learn's objective", xlabel="step", ylabel="objective, above scikit-learn's"
    )
    axes.legend()


def draw(folder: Path, found: Regression, paths: dict[str, Array], reference: Machine, samples: Samples) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(10, 7.6))
    draw_weights(axes[0, 0], found)
    draw_differences(axes[0, 1], found)
    draw_machine(axes[1, 0], Machine.of(paths["decreasing"][-1]), reference, samples)
    draw_gaps(axes[1, 1], paths, objective_of(reference, samples), samples)
    save(figure, folder, "beyond_networks")


def main() -> None:
    options = parser(__doc__).parse_args()
    found = regression(steps=6_000)
    show_regression(found)

    samples = tumours()
    reference = by_scikit_learn(samples)
    show_kink(reference, samples)
    steps = 1000 if options.quick else 3000
    paths = {name: by_descent(samples, rates) for name, rates in schedules(steps).items()}
    show_machines(paths, reference, samples)
    draw(options.out, found, paths, reference, samples)


if __name__ == "__main__":
    main()
