"""One training step of MNIST-sized networks against hand-written NumPy and PyTorch eager, float32, one thread.

NumPy is written twice, as a careful person does who works in place, and as courses do. `bare.py` is the least that an
engine can be.

python benchmarks/training.py
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from bare import bare
from measure import interleaved, report
from threadpoolctl import threadpool_limits

import chainrule as cr

LEARNING_RATE = 0.01


def by_hand(weights: list[Any], biases: list[Any]) -> Callable[[Any, Any], float]:
    """What a careful person writes, in place where that can be: forward, softmax cross-entropy, backward, update, without an engine."""

    def step(x: Any, labels: Any) -> float:
        activations = [x]
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            z = activations[-1] @ w.T
            z += b
            activations.append(np.maximum(z, 0.0))
        logits = activations[-1] @ weights[-1].T
        logits += biases[-1]
        logits -= logits.max(axis=1, keepdims=True)
        p = np.exp(logits)
        total = p.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        loss = float((np.log(total[:, 0]) - logits[rows, labels]).mean())
        p /= total
        p[rows, labels] -= 1.0
        g = p
        g /= np.float32(len(labels))
        for i in reversed(range(len(weights))):
            w, b, h = weights[i], biases[i], activations[i]
            grad_w, grad_b = g.T @ h, g.sum(axis=0)
            if i:
                g = g @ w
                g *= h > 0
            grad_w *= LEARNING_RATE
            grad_b *= LEARNING_RATE
            w -= grad_w
            b -= grad_b
        return loss

    return step


def by_the_book(weights: list[Any], biases: list[Any]) -> Callable[[Any, Any], float]:
    """What courses write: an expression a line, weights of shape (n_in, n_out), nothing in place but the update."""

    def step(x: Any, labels: Any) -> float:
        n = len(labels)
        activations = [x]
        for w, b in zip(weights[:-1], biases[:-1], strict=True):
            activations.append(np.maximum(0, activations[-1] @ w + b))
        scores = activations[-1] @ weights[-1] + biases[-1]
        exps = np.exp(scores - scores.max(axis=1, keepdims=True))
        p = exps / exps.sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(n), labels]).mean()
        g = p.copy()
        g[np.arange(n), labels] -= 1
        g /= n
        gradients = []
        for i in reversed(range(len(weights))):
            gradients.append((i, activations[i].T @ g, g.sum(axis=0)))
            if i:
                g = g @ weights[i].T
                g[activations[i] <= 0] = 0
        for i, grad_w, grad_b in gradients:
            weights[i] -= LEARNING_RATE * grad_w
            biases[i] -= LEARNING_RATE * grad_b
        return float(loss)

    return step


def ours(model: cr.nn.MLP) -> Callable[[Any, Any], float]:
    optimizer = cr.nn.SGD(model.parameters(), lr=LEARNING_RATE)

    def step(x: Any, labels: Any) -> float:
        loss = cr.nn.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def compiled(model: cr.nn.MLP) -> Callable[[Any, Any], float]:
    """The same loop with the model and its loss compiled."""
    optimizer = cr.nn.SGD(model.parameters(), lr=LEARNING_RATE)
    objective = cr.compile(lambda x, labels: cr.nn.cross_entropy(model(x), labels))

    def step(x: Any, labels: Any) -> float:
        loss = objective(x, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def in_one(model: cr.nn.MLP) -> Callable[[Any, Any], float]:
    """The whole step as one piece of code."""
    return cr.nn.compiled_step(model, cr.nn.cross_entropy, cr.nn.SGD(model.parameters(), lr=LEARNING_RATE))


def by_torch(weights: list[Any], biases: list[Any]) -> Callable[[Any, Any], float]:
    layers: list[torch.nn.Module] = []
    for w, b in zip(weights, biases, strict=True):
        linear = torch.nn.Linear(w.shape[1], w.shape[0])
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w))
            linear.bias.copy_(torch.from_numpy(b))
        layers += [linear, torch.nn.ReLU()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)

    def step(x: Any, labels: Any) -> float:
        loss = torch.nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return float(loss.item())

    return step


def compare(sizes: Sequence[int], batch: int, rounds: int, steps: int) -> None:
    rng = np.random.default_rng(0)
    xs = rng.random((8, batch, sizes[0]), dtype=np.float32)
    labels = rng.integers(0, sizes[-1], (8, batch))
    model = cr.nn.MLP(sizes, dtype="float32", rng=0)
    arrays = [p.data.copy() for p in model.parameters()]
    contenders: dict[str, tuple[Callable[[Any, Any], float], list[Any], list[Any]]] = {
        "chainrule": (ours(model), list(xs), list(labels)),
        "chainrule, compiled": (compiled(cr.nn.MLP(sizes, dtype="float32", rng=0)), list(xs), list(labels)),
        "chainrule, compiled_step": (in_one(cr.nn.MLP(sizes, dtype="float32", rng=0)), list(xs), list(labels)),
        "NumPy by hand": (
            by_hand([a.copy() for a in arrays[::2]], [a.copy() for a in arrays[1::2]]),
            list(xs),
            list(labels),
        ),
        "NumPy by the book": (
            by_the_book([np.ascontiguousarray(a.T) for a in arrays[::2]], [a.copy() for a in arrays[1::2]]),
            list(xs),
            list(labels),
        ),
        "a bare engine": (
            bare([a.copy() for a in arrays[::2]], [a.copy() for a in arrays[1::2]], LEARNING_RATE),
            list(xs),
            list(labels),
        ),
        "PyTorch eager": (
            by_torch(arrays[::2], arrays[1::2]),
            list(map(torch.from_numpy, xs)),
            list(map(torch.from_numpy, labels)),
        ),
    }
    losses: dict[str, list[float]] = {name: [] for name in contenders}

    def running(name: str) -> Callable[[], None]:
        step, inputs, targets = contenders[name]
        batches = itertools.cycle(list(zip(inputs, targets, strict=True)))

        def run() -> None:
            for _ in range(steps):
                losses[name].append(step(*next(batches)))

        return run

    seconds = interleaved({name: running(name) for name in contenders}, rounds)
    report(f"One training step, {'-'.join(map(str, sizes))}, batch {batch}", seconds, unit=steps)
    for name in list(contenders)[1:]:
        first = list(zip(losses[name], losses["chainrule"], strict=True))[:100]  # rounding makes them part in the end
        worst = max(abs(a - b) for a, b in first)
        print(f"  {name:<28}largest difference in loss to ours over {len(first)} steps: {worst:.1e}")


def main() -> None:
    torch.set_num_threads(1)
    with threadpool_limits(1):
        compare([784, 16, 16, 10], batch=32, rounds=40, steps=50)
        compare([784, 512, 256, 128, 10], batch=32, rounds=30, steps=5)
        compare([784, 512, 256, 128, 10], batch=128, rounds=30, steps=3)


if __name__ == "__main__":
    main()
