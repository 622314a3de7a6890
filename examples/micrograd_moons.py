"""micrograd's own demo: a network of scalars learns two moons; its decision boundary is drawn.

python examples/micrograd_moons.py
"""

from __future__ import annotations

from pathlib import Path

from _common import parser

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from tqdm import trange

import chainrule as cr


def main(steps: int, out: Path) -> None:
    points, labels = make_moons(n_samples=100, noise=0.1, random_state=1337)
    labels = labels * 2 - 1
    model = cr.nn.scalar.MLP(2, [16, 16, 1], rng=1337)
    print(f"{len(model.parameters())} parameters, each a Value")

    progress = trange(steps, desc="training", unit="step")
    for step in progress:
        inputs = [list(map(cr.Value, point)) for point in points]
        scores = list(map(model, inputs))
        losses = [(1 + -label * score).relu() for label, score in zip(labels, scores, strict=True)]
        data_loss = sum(losses) * (1.0 / len(losses))
        reg_loss = 1e-4 * sum(p * p for p in model.parameters())
        total_loss = data_loss + reg_loss
        accuracy = np.mean([(label > 0) == (score > 0) for label, score in zip(labels, scores, strict=True)])

        model.zero_grad()
        total_loss.backward()
        learning_rate = 1.0 - 0.9 * step / steps
        for p in model.parameters():
            p.data -= learning_rate * p.grad
        progress.set_postfix(loss=f"{total_loss:.4f}", accuracy=f"{accuracy:.0%}")
    print(f"loss {total_loss:.4f}, accuracy {accuracy:.0%}")
    print(f"decision boundary: {draw_boundary(model, points, labels, out)}")


def draw_boundary(model: cr.nn.scalar.MLP, points: np.ndarray, labels: np.ndarray, out: Path, n: int = 60) -> Path:
    low, high = points.min(axis=0) - 0.5, points.max(axis=0) + 0.5
    xs, ys = np.linspace(low[0], high[0], n), np.linspace(low[1], high[1], n)
    with cr.no_grad():
        scores = np.array([[model([x, y]).data for x in xs] for y in ys])
    figure, axes = plt.subplots(figsize=(6, 5), layout="constrained")
    limit = np.abs(scores).max()
    shades = axes.contourf(xs, ys, scores, levels=np.linspace(-limit, limit, 21), cmap="RdBu", alpha=0.8)
    axes.contour(xs, ys, scores, levels=[0.0], colors="black", linewidths=1.5)
    for label, colour, name in ((-1, "tab:red", "one moon"), (1, "tab:blue", "the other")):
        axes.scatter(*points[labels == label].T, c=colour, edgecolors="white", s=40, label=name)
    axes.set(xlabel="x", ylabel="y", title="An MLP of scalars, 2-16-16-1, on two moons")
    axes.legend(loc="upper right")
    figure.colorbar(shades, label="score")
    out.mkdir(parents=True, exist_ok=True)
    path = out / "moons.png"
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("--steps", type=int, default=100)
    given = options.parse_args()
    main(20 if given.quick else given.steps, given.out)
