"""Scalars against micrograd: its demo on two moons, and the expression of its README.

python benchmarks/scalars.py
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import micrograd.engine
import micrograd.nn
from measure import interleaved, report
from sklearn.datasets import make_moons

import chainrule as cr


def moons_step(model: Any, number: Callable[[float], Any], points: Any, labels: Any, step: int) -> float:
    """One full step of micrograd's demo, written as its notebook writes it."""
    inputs = [list(map(number, point)) for point in points]
    scores = list(map(model, inputs))
    losses = [(1 + -label * score).relu() for label, score in zip(labels, scores, strict=True)]
    data_loss = sum(losses) * (1.0 / len(losses))
    reg_loss = 1e-4 * sum(p * p for p in model.parameters())
    total_loss = data_loss + reg_loss
    model.zero_grad()
    total_loss.backward()
    learning_rate = 1.0 - 0.9 * step / 100
    for p in model.parameters():
        p.data -= learning_rate * p.grad
    return float(total_loss.data)


def expression(a: Any, b: Any) -> Any:
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    return g


def readme_expression(number: Callable[[float], Any]) -> Any:
    g = expression(number(-4.0), number(2.0))
    g.backward()
    return g


def moons(rounds: int) -> None:
    points, labels = make_moons(n_samples=100, noise=0.1, random_state=1337)
    labels = labels * 2 - 1
    random.seed(1337)
    theirs = micrograd.nn.MLP(2, [16, 16, 1])
    ours, neurons = cr.nn.scalar.MLP(2, [16, 16, 1]), cr.nn.scalar.MLP(2, [16, 16, 1], fused=False)
    for model in ours, neurons:
        for p, q in zip(model.parameters(), theirs.parameters(), strict=True):
            p.data = q.data
    losses: dict[str, list[float]] = {"chainrule": [], "neuron by neuron": [], "micrograd 0.1.0": []}

    def stepping(name: str, model: Any, number: Callable[[float], Any]) -> Callable[[], None]:
        def run() -> None:
            losses[name].append(moons_step(model, number, points, labels, len(losses[name])))

        return run

    seconds = interleaved(
        {
            "chainrule": stepping("chainrule", ours, cr.Value),
            "neuron by neuron": stepping("neuron by neuron", neurons, cr.Value),
            "micrograd 0.1.0": stepping("micrograd 0.1.0", theirs, micrograd.engine.Value),
        },
        rounds,
    )
    report("Two moons, 100 samples through an MLP 2-16-16-1 of scalars, one full step", seconds)
    for name, column in losses.items():
        worst = max(abs(a - b) for a, b in zip(column, losses["micrograd 0.1.0"], strict=True))
        print(f"  {name:<28}largest difference in loss over {len(column)} steps: {worst:.1e}")


def readme(rounds: int, repeats: int = 200) -> None:
    def many(number: Callable[[float], Any]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(repeats):
                readme_expression(number)

        return run

    transformed = cr.value_and_grad(expression, (0, 1))
    slopes = cr.compile(transformed)

    def eager() -> None:
        for _ in range(repeats):
            transformed(-4.0, 2.0)

    def compiled() -> None:
        for _ in range(repeats):
            slopes(-4.0, 2.0)

    contenders = {
        "chainrule": many(cr.Value),
        "chainrule, value_and_grad": eager,
        "chainrule, compiled": compiled,  # not built each time: that is the point
        "micrograd 0.1.0": many(micrograd.engine.Value),
    }
    report("micrograd's README expression, built and differentiated", interleaved(contenders, rounds), unit=repeats)


def main() -> None:
    moons(rounds=15)
    readme(rounds=31)


if __name__ == "__main__":
    main()
