"""One optimizer step, the gradients given, against PyTorch's default (and its fused Adam): float32, one thread.

Over 20 small arrays, over the parameters of two MNIST networks, and over single numbers.

python benchmarks/optimizers.py
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from measure import interleaved, report
from threadpoolctl import threadpool_limits

import chainrule as cr

Shapes = Sequence[tuple[int, ...]]
Step = Callable[[], object]


def layers(*sizes: int) -> Shapes:
    return [shape for n_in, n_out in itertools.pairwise(sizes) for shape in ((n_out, n_in), (n_out,))]


def ours(make: Callable[[Any], cr.nn.Optimizer], shapes: Shapes) -> Step:
    rng = np.random.default_rng(0)
    params = [cr.Tensor(rng.normal(size=shape), dtype="float32") for shape in shapes]
    for p in params:
        p.grad = rng.normal(size=p.shape).astype(np.float32)
    return make(params).step


def of_values(make: Callable[[Any], cr.nn.Optimizer], n: int) -> Step:
    params = [cr.Value(1.0) for _ in range(n)]
    for p in params:
        p.grad = 0.5
    return make(params).step


def by_torch(make: Callable[[Any], torch.optim.Optimizer], shapes: Shapes) -> Step:
    params = [torch.randn(shape, requires_grad=True) for shape in shapes]
    for p in params:
        p.grad = torch.randn(p.shape)
    return make(params).step


def compare(title: str, contenders: dict[str, Step], rounds: int, steps: int) -> None:
    def running(step: Step) -> Step:
        def run() -> None:
            for _ in range(steps):
                step()

        return run

    report(title, interleaved({name: running(step) for name, step in contenders.items()}, rounds), unit=steps)


def main() -> None:
    small: Shapes = [(16, 16)] * 20
    tiny, large = layers(784, 16, 16, 10), layers(784, 512, 256, 128, 10)
    torch.set_num_threads(1)
    with threadpool_limits(1):
        for title, shapes, rounds, steps in (
            ("20 arrays of 16 x 16", small, 30, 50),
            ("784-16-16-10", tiny, 30, 50),
            ("784-512-256-128-10, 567,434 parameters", large, 30, 5),
        ):
            contenders = {
                "chainrule": ours(lambda ps: cr.nn.Adam(ps), shapes),
                "PyTorch Adam": by_torch(lambda ps: torch.optim.Adam(ps), shapes),
                "PyTorch Adam, fused": by_torch(lambda ps: torch.optim.Adam(ps, fused=True), shapes),
                "chainrule SGD": ours(lambda ps: cr.nn.SGD(ps, lr=1e-4), shapes),
                "PyTorch SGD": by_torch(lambda ps: torch.optim.SGD(ps, lr=1e-4), shapes),
                "chainrule SGD, momentum": ours(lambda ps: cr.nn.SGD(ps, lr=1e-4, momentum=0.9), shapes),
                "PyTorch SGD, momentum": by_torch(lambda ps: torch.optim.SGD(ps, lr=1e-4, momentum=0.9), shapes),
            }
            compare(f"{title}; ours is Adam", contenders, rounds, steps)
        scalars = {
            "chainrule": of_values(lambda ps: cr.nn.Adam(ps), 337),
            "chainrule SGD": of_values(lambda ps: cr.nn.SGD(ps, lr=1e-4), 337),
            "PyTorch Adam": by_torch(lambda ps: torch.optim.Adam(ps), [(337,)]),
        }
        compare("337 Values (PyTorch: one array of 337); ours is Adam", scalars, 20, 20)


if __name__ == "__main__":
    main()
