"""What repeats itself in a sequence in which every argument comes before its result: runs of steps of equal structure,
each of which uses the one before. Cells go by their places, and are alike where their symbols are equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTHS = (1, 4, 16)  # of what is looked at to find repetitions; in long sequences one symbol says too little
LONGEST_STEP = 2000
LONG = 50_000


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """The wiring of a sequence of cells.

    The arguments of cell j are `codes[bounds[j]:bounds[j + 1]]`: the place of a cell, or less than 0 for what is outside.
    For a cell that stands for many equal parts, `codes` are the arguments of the first part. `pairs` are all pairs of
    places of an argument and its result, each once, by result.
    """

    codes: list[int]
    bounds: list[int]
    pairs: NDArray[np.int64]

    def args(self, j: int) -> list[int]:
        return self.codes[self.bounds[j] : self.bounds[j + 1]]


def depths(count: int, pairs: NDArray[np.signedinteger[Any]]) -> list[int]:
    """How many cells there are on the longest way to each of so many from the first."""
    deep = [0] * count
    for earlier, later in zip(*pairs.tolist(), strict=True):
        deep[later] = max(deep[later], deep[earlier] + 1)
    return deep


def sorted_forward(count: int, pairs: NDArray[np.int64]) -> list[int]:
    """Numbers in ascending order as far as arguments come before results."""
    unique = np.unique(pairs, axis=1)
    after: list[list[int]] = [[] for _ in range(count)]
    missing = [0] * count
    for earlier, later in zip(*unique.tolist(), strict=True):
        after[earlier].append(later)
        missing[later] += 1
    ready = [number for number in range(count) if not missing[number]]
    heapify(ready)
    order = []
    while ready:
        number = heappop(ready)
        order.append(number)
        for later in after[number]:
            missing[later] -= 1
            if not missing[later]:
                heappush(ready, later)
    return order


def suspected_runs(symbols: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Where something may begin to repeat itself, and after how many places: some symbols there, seen together, are next
    seen so after equal gaps, twice."""
    found: set[tuple[int, int]] = set()
    for width in WIDTHS[len(symbols) > LONG :]:
        if len(symbols) >= width + 2:
            prints = fingerprints(symbols, width)
            order = np.argsort(prints, kind="stable")
            gaps = np.where(np.diff(prints[order]) == 0, np.diff(order), 0)
            equal = np.flatnonzero((gaps[1:] == gaps[:-1]) & (gaps[1:] > 0) & (gaps[1:] <= LONGEST_STEP))
            found.update(zip(order[equal].tolist(), gaps[equal].tolist(), strict=True))
    return iter(sorted(found))


def fingerprints(symbols: NDArray[np.int64], width: int) -> NDArray[np.uint64]:
    """Numbers that are equal where so many symbols in a row are, and seldom else."""
    prints = np.zeros(len(symbols) - width + 1, np.uint64)
    for k in range(width):
        prints = prints * np.uint64(0x9E3779B97F4A7C15) + symbols[k : k + len(prints)].astype(np.uint64)
    return prints


def run_length(row: Row, symbols: Sequence[int], j: int, step: int) -> int:
    """How many steps of this length follow from place j, each like the one before and using it."""
    if not (alike_in(row, symbols, j, j + step, first=True) and feeds(row, j, step)):
        return 0
    length = 1
    while j + step + length < len(symbols) and alike_in(row, symbols, j + length, j + step + length, length < step):
        length += 1
    return 1 + length // step


def alike_in(row: Row, symbols: Sequence[int], j: int, k: int, first: bool) -> bool:
    """Whether two cells do the same with the same, or with what comes as long before; the first may start with what
    comes from outside."""
    if symbols[j] != symbols[k]:
        return False
    for a, b in zip(row.args(j), row.args(k), strict=True):
        if a != b and (b < 0 or j - a != k - b) and not (first and a < 0 <= b):
            return False
    return True


def feeds(row: Row, j: int, step: int) -> bool:
    """Whether the second step uses the first."""
    return any(j <= code < j + step for code in row.codes[row.bounds[j + step] : row.bounds[j + 2 * step]])
