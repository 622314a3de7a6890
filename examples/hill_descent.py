"""Gradient descent as a walk downhill: one weight, one curve with three valleys, and only the slope underfoot to go by.

python examples/hill_descent.py

The curve, the random starts and the learning rates are invented; every slope and every step is computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from _common import BLUE, GREEN, GREY, ORANGE, PINK, parser, save, show_table

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

import chainrule as cr

SMALL = 1e-3  # a slope this small counts as the bottom of a valley
FAR = 100.0  # a weight beyond this has left the landscape for good
RATE = 0.1
RATES = {"too small": 0.005, "right": 0.1, "overshooting": 0.5, "diverging": 2.2}
WEST, EAST = -5.0, 5.0


def curve(w: Any) -> Any:
    """The height, that is, the loss, at weight w (a number, an array, a Value or a Tensor)."""
    return w**4 / 100 + w / 5 + 1.5 * cr.sin(2 * w)


class Descent(NamedTuple):
    """The weights that were visited, and the slope at each."""

    weights: list[float]
    slopes: list[float]

    @property
    def steps(self) -> int:
        return len(self.weights) - 1

    @property
    def arrived(self) -> bool:
        return abs(self.slopes[-1]) < SMALL

    @property
    def crossings(self) -> int:
        """How often the slope changed its sign: each time a step went across a valley or a hill."""
        return int(np.count_nonzero(np.diff(np.sign(self.slopes))))


def descend(start: float, rate: float = RATE, max_steps: int = 200) -> Descent:
    """Walk against the slope until it is small, the steps are used up, or the weight has gone too far to come back."""
    w = cr.Value(start, name="w")
    optimizer = cr.nn.SGD([w], lr=rate)
    walk = Descent([], [])
    for _ in range(max_steps + 1):
        optimizer.zero_grad()
        curve(w).backward()
        walk.weights.append(w.data)
        walk.slopes.append(w.grad)
        if walk.arrived or abs(w.data) > FAR:
            break
        optimizer.step()  # w = w - rate * slope
    return walk


def valleys() -> list[float]:
    """Where the slope turns from down to up, found by looking everywhere: with a single weight one can."""
    w = cr.Tensor(np.linspace(WEST, EAST, 10_001))
    curve(w).sum().backward()
    turns = np.flatnonzero((w.grad[:-1] < 0) & (w.grad[1:] >= 0))
    return [float(w.data[i : i + 2].mean()) for i in turns]


def name_of(w: float, bottoms: list[float]) -> str:
    """The letter of the nearest valley, from west to east."""
    return "ABC"[int(np.argmin(np.abs(np.array(bottoms) - w)))]


def verdict(walk: Descent) -> str:
    leaps = f"{walk.crossings} leaps to the other side"
    if walk.arrived:
        return f"arrives, {f'after {leaps}' if walk.crossings else 'always from the same side'}"
    if abs(walk.weights[-1]) > FAR:
        return f"leaves for good, by a step from {walk.weights[-2]:+.1f} to {walk.weights[-1]:+.1f}"
    return f"{leaps}, and still no rest" if walk.crossings else "still on its way"


def show_starts(starts: np.ndarray, bottoms: list[float], lowest: str) -> list[Descent]:
    walks, rows = [], []
    for start in starts:
        walk = descend(float(start))
        slope, valley = walk.slopes[0], name_of(walk.weights[-1], bottoms)
        where = f"{slope:+.2f}", "down to the right" if slope < 0 else "down to the left"
        rows.append((f"{start:+.2f}", *where, walk.steps, f"{walk.weights[-1]:+.3f}", valley, "*" * (valley == lowest)))
        walks.append(walk)
    print(f"random starts, learning rate {RATE}, until the slope is smaller than {SMALL}:\n")
    show_table(("start", "slope there", "which means", "steps", "end", "valley", "lowest"), rows)
    return walks


def show_rates(start: float, bottoms: list[float]) -> dict[str, Descent]:
    walks = {name: descend(start, rate, max_steps=40) for name, rate in RATES.items()}
    print(f"one start, {start:+.2f}, and four learning rates, at most 40 steps:\n")
    show_table(
        ("learning rate", "", "steps", "end", "slope there", "what happens"),
        (
            (name, RATES[name], walk.steps, f"{walk.weights[-1]:+.3g}", f"{walk.slopes[-1]:+.2g}", verdict(walk))
            for name, walk in walks.items()
        ),
    )
    return walks


def draw(folder: Path, starts: list[Descent], rates: dict[str, Descent], bottoms: list[float], lowest: str) -> None:
    figure = plt.figure(figsize=(10, 7.2))
    rows = figure.subplot_mosaic([["starts"] * 4, list(rates)], height_ratios=(1.25, 1))
    axes = rows["starts"]
    landscape(axes)
    for walk in starts:
        colour = GREEN if name_of(walk.weights[-1], bottoms) == lowest else ORANGE
        w = np.array(walk.weights)
        axes.plot(w, curve(w), "-", color=colour, linewidth=1, alpha=0.8)
        axes.plot(w[1:-1], curve(w[1:-1]), ".", color=colour, markersize=4)
        axes.plot(w[0], curve(w[0]), "o", color="white", markeredgecolor=colour, markersize=8, markeredgewidth=1.8)
        axes.plot(w[-1], curve(w[-1]), "v", color=colour, markersize=9)
    for w in bottoms:
        name = name_of(w, bottoms)
        text = f"{name}, the lowest" if name == lowest else name
        axes.annotate(text, (w, curve(w)), (0, -20), textcoords="offset points", ha="center", fontweight="bold")
    for label, colour, marker in (
        ("start", GREY, "o"),
        ("end in the lowest valley", GREEN, "v"),
        ("end in another valley", ORANGE, "v"),
    ):
        face = "white" if label == "start" else colour
        axes.plot([], [], marker, color=face, markeredgecolor=colour, markersize=8, label=label)
    axes.set(title=f"Random starts, learning rate {RATE}", ylim=(-3.2, 10))
    axes.legend(loc="upper center", ncols=3)
    for name, walk in rates.items():
        axes = rows[name]
        landscape(axes)
        w = np.clip(walk.weights, -1e3, 1e3)
        axes.plot(w, curve(w), "-", color=PINK, linewidth=0.8, alpha=0.8)
        axes.plot(w, curve(w), ".", color=PINK, markersize=4)
        axes.plot(w[0], curve(w[0]), "o", color="white", markeredgecolor=PINK, markersize=8, markeredgewidth=1.8)
        axes.set(title=f"{name}: {RATES[name]:g}\n{outcome(walk)}", ylim=(-3.2, 10), xlim=(WEST - 0.5, EAST + 0.5))
    save(figure, folder, "hill_descent")


def outcome(walk: Descent) -> str:
    if abs(walk.weights[-1]) > FAR:
        return f"gone after {walk.steps} steps"
    return f"{'there' if walk.arrived else 'not there'} after {walk.steps} steps"


def landscape(axes: Axes) -> None:
    w = np.linspace(WEST - 0.2, EAST + 0.2, 600)
    axes.plot(w, curve(w), color=BLUE, linewidth=2, alpha=0.35, zorder=0)
    axes.set(xlabel="weight w", ylabel="loss")


def main() -> None:
    options = parser(__doc__).parse_args()
    rng = np.random.default_rng(0)
    bottoms = valleys()
    lowest = name_of(min(bottoms, key=curve), bottoms)
    print("the valleys, known only because a single weight can be tried everywhere:\n")
    show_table(("valley", "w", "loss"), ((name_of(w, bottoms), f"{w:+.3f}", f"{curve(w):+.3f}") for w in bottoms))

    starts = np.sort(rng.uniform(WEST, EAST, 5 if options.quick else 10))
    walks = show_starts(starts, bottoms, lowest)
    more = 50 if options.quick else 1000
    ends = [name_of(descend(float(start)).weights[-1], bottoms) for start in rng.uniform(WEST, EAST, more)]
    shares = ", ".join(f"{name} {ends.count(name) / more:.0%}" for name in sorted(set(ends)))
    print(
        f"where {more} more random starts end: {shares}. The slope leads to a lowest point near by, not to the lowest.\n"
    )

    rates = show_rates(4.2, bottoms)
    draw(options.out, walks, rates, bottoms, lowest)


if __name__ == "__main__":
    main()
