"""How a sequence becomes shorter: what is alike, what repeats itself, chains, and at last pieces, each become one cell.

A sequence has every argument before its result, and what makes it shorter keeps that order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import final

import numpy as np
from numpy.typing import NDArray

from .calls import NOWHERE
from .cells import Box, Cell, Form, common, items_of, made_of, path_to
from .contents import Contents
from .repetition import Row, depths, run_length, sorted_forward, suspected_runs
from .wiring import Kind, Numbers

SHORTEST = 3  # of fewer steps one after another, or nodes in a chain, no box is made
COMPUTED = -1 - Kind.RESULT


@final
@dataclass(frozen=True, slots=True, eq=False)
class Shortening:
    """Shorter sequences of all that is in one box."""

    contents: Contents
    owner: Numbers  # the box that each result outside of this one is in
    box: Box

    def row(self, cells: Sequence[Cell]) -> Row:
        """How the cells are wired."""
        everything, at = self.placed(cells)
        place = np.full(len(self.contents.wiring.kinds), NOWHERE, np.int32)
        place[everything] = at
        sources, inner, at = self.arguments(everything, place)
        within = (inner != NOWHERE) & (inner != at)
        pairs = np.unique(at[within].astype(np.int64) * len(cells) + inner[within])
        if bundled(cells):  # the first of each bundle speaks for all
            first = np.concatenate([self.contents.first(cell) for cell in cells])
            sources, inner, at = self.arguments(first, place)
        codes = np.where(inner != NOWHERE, inner, self.outside(sources))
        kept = inner != at
        order = np.argsort(at[kept], kind="stable")
        bounds = np.searchsorted(at[kept][order], np.arange(len(cells) + 1))
        return Row(codes[kept][order].tolist(), bounds.tolist(), np.stack(np.divmod(pairs, len(cells))[::-1]))

    def placed(self, cells: Sequence[Cell]) -> tuple[Numbers, Numbers]:
        """All results in the cells, and the place of each."""
        contents = self.contents
        places = [j for j, cell in enumerate(cells) if not (isinstance(cell, int) and cell < contents.size)]
        results = [np.delete(np.array([cell if isinstance(cell, int) else 0 for cell in cells], np.int32), places)]
        at = [np.delete(np.arange(len(cells), dtype=np.int32), places)]
        for j in places:
            results.append(contents.results(cells[j]))
            at.append(np.full(len(results[-1]), j, np.int32))
        return np.concatenate(results), np.concatenate(at)

    def arguments(self, results: Numbers, place: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """All arguments of some results; their places, and those of the results."""
        wiring = self.contents.wiring
        uses = wiring.uses(results)
        sources = wiring.sources[uses]
        return sources, place[sources], place[wiring.targets[uses]]

    def outside(self, sources: Numbers) -> Numbers:
        """Codes less than 0 for arguments from elsewhere: by their kind, or by the box that they were computed in."""
        codes: Numbers = -1 - self.contents.wiring.kinds[sources].astype(np.int32)
        computed = codes == COMPUTED
        codes[computed] = -10 - self.owner[sources[computed]]
        return codes

    def forward(self, cells: list[Cell]) -> list[Cell]:
        """The cells themselves if every argument comes before its result, as it does where each thread minds its own
        calls; else what is between the two becomes one piece."""
        if len(cells) < 2 or all(isinstance(cell, int) and cell < self.contents.size for cell in cells):
            return cells
        earlier, later = self.row(cells).pairs
        wrong = earlier > later
        if not wrong.any():
            return cells
        glued = np.zeros(len(cells), bool)  # to the cell before
        for j, k in zip(later[wrong].tolist(), earlier[wrong].tolist(), strict=True):
            glued[j + 1 : k + 1] = True
        starts = np.flatnonzero(~glued).tolist()
        return [
            cells[j] if k == j + 1 else made_of(Form.PIECE, "part", cells[j:k], self.box)
            for j, k in pairwise([*starts, len(cells)])
        ]

    def repeats(self, cells: list[Cell]) -> bool:
        """Whether most of a sequence is the same again."""
        shorter = len(self.repeated(self.merged(cells)))
        return shorter < len(cells) and 2 * shorter <= len(cells) + 1

    def merged(self, cells: list[Cell]) -> list[Cell]:
        """One cell for all those that do the same with the same. They lie equally deep, so none uses another.

        It must halve the sequence: else it only tears apart what repeats itself.
        """
        row = self.row(cells)
        deep = depths(len(cells), row.pairs) if bundled(cells) else None
        classes: list[int] = []
        found: dict[tuple[int, ...], int] = {}
        for j, cell in enumerate(cells):
            kind = self.contents.kind(j, cell)
            args = [classes[code] if code >= 0 else code for code in row.args(j)]
            classes.append(found.setdefault((*kind, deep[j] if deep else 0, *args), len(found)))
            if 2 * len(found) > len(cells) + 1:
                return cells
        groups: list[list[Cell]] = [[] for _ in found]
        found.clear()
        for cell, number in zip(cells, classes, strict=True):
            groups[number].append(cell)
        bundles = [self.bundle(group) for group in groups]
        return [bundles[number] for number in sorted_forward(len(groups), np.array(classes)[row.pairs])]

    def bundle(self, cells: Sequence[Cell]) -> Cell:
        """One cell for some that are alike."""
        if len(cells) == 1:
            return cells[0]
        return self.contents.alike([item for cell in cells for item in items_of(cell)], self.box)

    def repeated(self, cells: list[Cell]) -> list[Cell]:
        """One cell for steps of equal structure that follow one another, each using the one before; then for those that
        only now are equal, as they use such a cell, like a sum over the results of steps."""
        while len(shorter := self.repeated_once(cells)) < len(cells):
            cells = shorter
        return cells

    def repeated_once(self, cells: list[Cell]) -> list[Cell]:
        row, kind = self.row(cells), self.contents.kind
        known: dict[object, int] = {}
        arities = np.diff(row.bounds).tolist()
        symbols = [known.setdefault((kind(j, cell), arities[j]), len(known)) for j, cell in enumerate(cells)]
        shown: list[Cell] = []
        end = 0
        for j, step in suspected_runs(np.array(symbols)):
            if j >= end and (times := run_length(row, symbols, j, step)) >= SHORTEST:
                shown += [*cells[end:j], self.series(cells[j : j + step * times], step)]
                end = j + step * times
        return [*shown, *cells[end:]]

    def series(self, cells: list[Cell], step: int) -> Box:
        """One box for cells that repeat themselves after so many."""
        if step == 1:
            boxes = [self.contents.boxed(cell, self.box) for cell in (cells[0], cells[-1])]
            path = common({box.path for box in boxes}) or boxes[0].path
            return Box(Form.SERIES, boxes[0].title, path, parts=tuple(cells))
        starts = range(0, len(cells), step)
        steps = [Box(Form.STEP, "step", "", parts=tuple(cells[j : j + step])) for j in starts]
        return made_of(Form.SERIES, "step", steps, self.box)

    def chained(self, cells: list[Cell]) -> list[Cell]:
        """One cell for what is but a chain. The last cell, the outcome, stays in sight."""
        after = links(len(cells), self.row(cells).pairs)
        linked = set(after.values())
        shown: list[Cell] = []
        taken: set[int] = set()
        for j, cell in enumerate(cells):
            if j in taken:
                continue
            places = [j]
            if j not in linked:
                while after.get(places[-1], len(cells) - 1) < len(cells) - 1:
                    places.append(after[places[-1]])
            if len(places) < SHORTEST:
                shown.append(cell)
            else:
                shown.append(made_of(Form.CHAIN, "chain", [cells[k] for k in places], self.box))
                taken.update(places)
        return shown

    def cut(self, cells: list[Cell], count: int) -> list[Cell]:
        """Pieces with about as many results each, and the last cell, the outcome."""
        inner = cells[:-1]
        sizes = np.cumsum([1 if self.contents.is_result(cell) else len(self.contents.results(cell)) for cell in inner])
        shares = np.arange(1, count) * (sizes[-1] if inner else 0) / count
        bounds = [0, *np.searchsorted(sizes, shares).tolist(), len(inner)]
        pieces = [inner[j:k] for j, k in pairwise(bounds) if k > j]
        shown: list[Cell] = []
        for k, piece in enumerate(pieces, 1):
            title = f"part {k} of {len(pieces)}" if len(pieces) > 1 else "part"
            shown.append(Box(Form.PIECE, title, path_to(self.box.path, f"part {k}"), parts=tuple(piece)))
        return [*shown, cells[-1]]


def bundled(cells: Sequence[Cell]) -> bool:
    """Whether a cell stands for several items."""
    return any(len(cell.items) > 1 for cell in cells if isinstance(cell, Box))


def links(count: int, pairs: NDArray[np.int64]) -> dict[int, int]:
    """What uses each cell that one alone uses, and that uses no other."""
    earlier, later = pairs
    outgoing, incoming = np.bincount(earlier, minlength=count), np.bincount(later, minlength=count)
    linked = (outgoing[earlier] == 1) & (incoming[later] == 1)
    return dict(zip(earlier[linked].tolist(), later[linked].tolist(), strict=True))
