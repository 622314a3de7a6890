"""Size: a chain of 1,000,000 scalar nodes, a drawing of 1,000, bytes a node beside micrograd's, flat memory over training steps.

python benchmarks/memory.py
"""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import micrograd.engine
import numpy as np

import chainrule as cr


def chain(number: Callable[[float], Any], n: int) -> Any:
    """n nodes, each the product of the one before and one variable."""
    x = number(1.0)
    y = x
    for _ in range(n):
        y = y * x
    return y


def bytes_a_node(number: Callable[[float], Any], n: int = 100_000) -> float:
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    y = chain(number, n)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    if number is micrograd.engine.Value:
        take_apart(y)
    return (after - before) / n


def take_apart(y: Any) -> None:
    """Free a micrograd chain from its end: left to itself, freeing it recurses."""
    while y is not None:
        following = next((child for child in y._prev if child._prev), None)
        y._prev, y._backward = (), None
        y = following


def million(n: int = 1_000_000) -> None:
    print(f"\nA chain of {n:,} scalar nodes")
    seconds = [time.perf_counter()]
    y = chain(cr.Value, n)
    seconds.append(time.perf_counter())
    y.backward()
    seconds.append(time.perf_counter())
    cr.visualize.draw(y)  # folded
    seconds.append(time.perf_counter())
    del y
    seconds.append(time.perf_counter())
    for name, (start, end) in zip(("built", "differentiated", "drawn", "freed"), pairwise(seconds), strict=True):
        print(f"  {name:<15}{(end - start) / n * 1e6:6.2f} microseconds a node")


def thousand(n: int = 1_000) -> None:
    """The text of a drawing that shows every node, at best of five."""
    y = chain(cr.Value, n)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        assert cr.visualize.draw(y, fold=False, max_nodes=None).source
        seconds.append(time.perf_counter() - start)
    print(f"\nA chain of {n:,} scalar nodes as DOT, node by node: {min(seconds) * 1e3:.0f} ms")


def flat(steps: int = 1_000) -> None:
    """Memory in use with the garbage collector off, after each quarter of the training."""
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(32, 8)), rng.integers(0, 3, 32)
    model = cr.nn.MLP([8, 16, 3], rng=0)
    optimizer = cr.nn.Adam(model.parameters())
    in_use = []
    gc.collect()
    gc.disable()
    tracemalloc.start()
    for step in range(steps):
        loss = cr.nn.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % (steps // 4) == 0:
            in_use.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    gc.enable()
    print(f"\nBytes in use over {steps:,} training steps with the garbage collector off: {in_use}")


def main() -> None:
    ours, theirs = bytes_a_node(cr.Value), bytes_a_node(micrograd.engine.Value)
    print(f"Bytes a node: chainrule {ours:.0f}, micrograd {theirs:.0f}: {ours / theirs:.2f} of it")
    million()
    thousand()
    flat()


if __name__ == "__main__":
    main()
