"""The least that an engine for one network can be: a node, three operations, a walk. No checks, no second order, no names.

What it costs above NumPy by hand is the price of recording a graph in Python at all, and so the measure for an engine
that does check.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from operator import attrgetter
from typing import Any

import numpy as np

next_birth = count().__next__


class Bare:
    __slots__ = ("args", "birth", "data", "grad", "pull")

    def __init__(self, data: Any, pull: Any = None, args: tuple[Any, ...] = ()) -> None:
        self.data, self.pull, self.args = data, pull, args
        self.birth = next_birth()


def linear(x: Any, w: Bare, b: Bare) -> Bare:
    y = (x.data if type(x) is Bare else x) @ w.data.T
    y += b.data
    return Bare(y, linear_back, (x, w, b))


def linear_back(g: Any, y: Any, x: Any, w: Bare, b: Bare) -> Any:
    if type(x) is Bare:
        return g @ w.data, g.T @ x.data, g.sum(axis=0)
    return None, g.T @ x, g.sum(axis=0)


def relu(x: Bare) -> Bare:
    return Bare(np.maximum(x.data, 0.0), relu_back, (x,))


def relu_back(g: Any, y: Any, x: Bare) -> Any:
    return (g * (y > 0),)


def cross_entropy(x: Bare, labels: Any) -> Bare:
    shifted = x.data - x.data.max(axis=1, keepdims=True)
    p = np.exp(shifted)
    total = p.sum(axis=1, keepdims=True)
    rows = np.arange(len(labels))
    loss = (np.log(total[:, 0]) - shifted[rows, labels]).mean()
    p /= total
    p[rows, labels] -= 1.0
    return Bare(loss, lambda g, y, x: (p * (g / len(labels)),), (x,))


def backward(root: Bare) -> None:
    seen, stack = {root}, [root]
    while stack:
        for arg in stack.pop().args:
            if type(arg) is Bare and arg not in seen:
                seen.add(arg)
                stack.append(arg)
    pending = {root: np.float32(1)}
    for node in sorted(seen, key=attrgetter("birth"), reverse=True):
        node.grad = g = pending.pop(node)
        if node.pull is not None:
            for arg, d in zip(node.args, node.pull(g, node.data, *node.args), strict=True):
                if type(arg) is Bare:
                    pending[arg] = pending[arg] + d if arg in pending else d


def bare(weights: list[Any], biases: list[Any], lr: float) -> Callable[[Any, Any], float]:
    """A training step of the network."""
    parameters = [Bare(array) for pair in zip(weights, biases, strict=True) for array in pair]

    def step(x: Any, labels: Any) -> float:
        for i in range(0, len(parameters) - 2, 2):
            x = relu(linear(x, parameters[i], parameters[i + 1]))
        loss = cross_entropy(linear(x, *parameters[-2:]), labels)
        backward(loss)
        for p in parameters:
            p.grad *= lr
            p.data -= p.grad
        return float(loss.data)

    return step
