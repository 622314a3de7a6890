"""What there is in a graph that is to be folded: what each call and each cell holds, and what does the same.

An item is a result, by the number of its node, or a call, by its own number plus how many nodes there are. Nothing here
changes once it is made, and nothing knows which boxes are shown.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd.graph import Node

from .calls import NOWHERE
from .cells import Box, Cell, Form, common, items_of, path_to
from .wiring import Kind, Numbers, Wiring


@final
@dataclass(frozen=True, slots=True, eq=False)
class Uses:
    """The uses of what was not computed, in the order of what is used."""

    sources: Numbers  # what is used
    targets: Numbers  # the result that uses it
    things: Numbers  # the sources, each once
    starts: NDArray[np.intp]  # where the uses of each begin, and where the last end

    def of(self, i: int) -> Numbers:
        """The results that use the thing in place i."""
        return self.targets[self.starts[i] : self.starts[i + 1]]


@final
@dataclass(frozen=True, slots=True, eq=False)
class Contents:
    """The items of a graph, and what can be asked of them."""

    wiring: Wiring
    size: int  # how many nodes there are
    spans: list[Numbers]  # all results in each call, in ascending order
    inside: list[list[int]]  # the items that are directly in each call, in order
    signatures: list[int]  # of all items: equal where they do the same
    uses: Uses
    pairs: tuple[Numbers, Numbers]  # results that are arguments, and the results made from them

    def results(self, cell: Cell) -> Numbers:
        """All results in a cell, in ascending order."""
        if isinstance(cell, int):
            return self.span(cell)
        items = list(self.leaves(cell))
        found = [np.array([item for item in items if item < self.size], np.int32)]
        found += [self.spans[item - self.size] for item in items if item >= self.size]
        return np.sort(np.concatenate(found))

    def span(self, item: int) -> Numbers:
        return np.array([item], np.int32) if item < self.size else self.spans[item - self.size]

    def first(self, cell: Cell) -> Numbers:
        """The results in the first of the items that a cell stands for; all of them, where these are not alike."""
        items = items_of(cell)
        return self.span(items[0]) if items else self.results(cell)

    def leaves(self, cell: Cell) -> Iterator[int]:
        """The items that a cell is made of."""
        stack: list[Cell] = [cell]
        while stack:
            cell = stack.pop()
            for part in (cell,) if isinstance(cell, int) else cell.items or cell.parts:
                if isinstance(part, int):
                    yield part
                else:
                    stack.append(part)

    def calls(self, cell: Cell) -> Iterator[int]:
        """The outermost calls that a cell is made of."""
        return (item - self.size for item in self.leaves(cell) if item >= self.size)

    def call(self, cell: Cell) -> int:
        """The call that a cell stands for, the first of several; NOWHERE for anything else."""
        items = items_of(cell)
        return items[0] - self.size if items and items[0] >= self.size else NOWHERE

    def is_result(self, cell: Cell) -> bool:
        items = items_of(cell)
        return len(items) == 1 and items[0] < self.size

    def kind(self, j: int, cell: Cell) -> tuple[int, int]:
        """What cells must share to be alike, of the one in place j. A box of unlike parts is like no other."""
        if isinstance(cell, int):
            return self.signatures[cell], 1
        return (self.signatures[cell.items[0]], len(cell.items)) if cell.items else (-1 - j, 0)

    def depth(self, cell: Cell) -> float:
        """How many calls are around the outermost calls in a cell, themselves included; infinite if there is none."""
        around = self.wiring.calls.around
        return min((sum(1 for _ in around(call)) - 1 for call in self.calls(cell)), default=math.inf)

    def cells(self, box: Box) -> list[Cell]:
        """What is directly in a box, in order."""
        if box.parts:
            return list(box.parts)
        if self.call(box) == NOWHERE:
            return list(box.items)
        columns = zip(*[self.inside[item - self.size] for item in box.items], strict=True)
        return [column[0] if len(column) == 1 else self.alike(column, box) for column in columns]

    def boxed(self, cell: Cell, around: Box) -> Box:
        return self.alike([cell], around) if isinstance(cell, int) else cell

    def alike(self, items: Sequence[int], around: Box) -> Box:
        """One box for results or for calls of the same structure."""
        first = items[0]
        if first < self.size:
            op = self.wiring.nodes[first].op
            title = op.name if op is not None else ""
            return Box(Form.ALIKE, title, path_to(around.path, title), tuple(items))
        calls = self.wiring.calls
        title = calls.titles[first - self.size]
        path = common({calls.paths[item - self.size] for item in items})
        return Box(Form.ALIKE, title, path or title, tuple(items))


def contents_of(wiring: Wiring) -> Contents:
    spans, inside = held(wiring)
    computed = wiring.kinds[wiring.sources] == Kind.RESULT
    return Contents(
        wiring,
        len(wiring.nodes),
        spans,
        inside,
        signatures(wiring, spans, inside),
        uses_of(wiring, np.flatnonzero(~computed)),
        (wiring.sources[computed], wiring.targets[computed]),
    )


def held(wiring: Wiring) -> tuple[list[Numbers], list[list[int]]]:
    """All results in each call, and what is directly in it, in order."""
    calls, size = wiring.calls, len(wiring.nodes)
    results = np.flatnonzero(wiring.kinds[:size] == Kind.RESULT).astype(np.int32)
    if len(calls.starts) == 1:
        return [results], [results.tolist()]
    members: list[list[int]] = [[] for _ in calls.starts]
    inside: list[list[int]] = [[] for _ in calls.starts]
    for i in results.tolist():
        inside[calls.homes[i]].append(i)
        for call in calls.around(calls.homes[i]):
            members[call].append(i)
    spans = [np.array(found, np.int32) for found in members]
    for call in range(1, len(calls.starts)):
        inside[calls.parents[call]].append(size + call)
    for items in inside:
        items.sort(key=lambda item: item if item < size else spans[item - size][-1])
    return spans, inside


def signatures(wiring: Wiring, spans: Sequence[Numbers], inside: Sequence[Sequence[int]]) -> list[int]:
    """Equal numbers for results of the same operation and shape, and for calls that did the same: the same operations
    on each other's results, in the same calls."""
    known: dict[Hashable, int] = {}
    found = [known.setdefault(structure(node), len(known)) for node in wiring.nodes]
    size, calls = len(found), wiring.calls
    found += [NOWHERE] * len(spans)
    place = np.full(len(wiring.kinds), NOWHERE, np.int32)  # in the call that is looked at
    for call in sorted(range(1, len(spans)), key=calls.starts.__getitem__, reverse=True):  # the inner ones first
        span = spans[call]
        place[span] = np.arange(len(span))
        sources = wiring.sources[wiring.uses(span)]
        args = np.where(place[sources] >= 0, place[sources], -1 - wiring.kinds[sources])
        place[span] = NOWHERE
        inner, own = (tuple(found[item] for item in items) for items in (inside[call], span.tolist()))
        name = calls.titles[call], inner, own, args.astype(np.int32).tobytes()
        found[size + call] = known.setdefault(name, len(known))
    return found


def structure(node: Node) -> Hashable:
    data = node._raw
    return node.op and node.op.name, None if type(data) is float else data.shape


def uses_of(wiring: Wiring, uses: NDArray[np.intp]) -> Uses:
    uses = uses[np.argsort(wiring.sources[uses], kind="stable")]
    sources = wiring.sources[uses]
    things, starts = np.unique(sources, return_index=True)
    return Uses(sources, wiring.targets[uses], things, np.append(starts, len(sources)))
