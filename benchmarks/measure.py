"""Timing that survives a noisy machine: contenders take turns in one process, and only ratios are reported."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable


def interleaved(contenders: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round; one round beforehand warms up and is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            gc.collect()  # nobody pays for the garbage of the one before
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return {name: times[1:] for name, times in seconds.items()}


def report(title: str, seconds: dict[str, list[float]], ours: str = "chainrule", unit: int = 1) -> None:
    """Median times, and each contender's time as a multiple of ours: the median over rounds, and its quartiles."""
    print(f"\n{title}")
    for name, times in seconds.items():
        ratios = [t / mine for t, mine in zip(times, seconds[ours], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        median = statistics.median(times) / unit
        amount = f"{median * 1e3:10.3f} ms" if median < 1 else f"{median:10.3f} s "
        print(f"  {name:<28}{amount}   {middle:8.2f} x ours   (quartiles {low:.2f} to {high:.2f})")
