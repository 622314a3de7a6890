"""Which boxes a drawing shows of a graph that is too large, or too long, to be drawn node by node.

A `Box` is a part of the graph. At first one box holds all; then boxes are replaced by what they hold, for as long as the
drawing keeps to its budget. What a box holds is a sequence in which every argument comes before its result: of the calls
of modules and the nodes directly in it. If that is still too many boxes, they are merged in four steps: equal parts side
by side; equal parts in a row; chains; and at last equal slices. Each of these keeps the order, and so no drawing has a
cycle.

`Contents` is what there is, `Shortening` makes a sequence shorter, a `Folding` is one choice of boxes, and `opening`
goes from one to the next.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count, takewhile
from typing import final

import numpy as np
from numpy.typing import NDArray

from .calls import NOWHERE, WHOLE
from .cells import Box, Cell, Form, Part, common, frames
from .contents import Contents
from .repetition import depths
from .wiring import Kind, Numbers, Wiring

SHARED = 3  # if no more things serve the same boxes, each has a box of its own
MANY = 50_000  # things outside of boxes are too many to look at one by one


@final
@dataclass(frozen=True, slots=True, eq=False)
class Folding:
    """The boxes of a drawing, in order. It does not change: opening a box makes another."""

    contents: Contents
    limit: int  # of boxes, what was not computed included
    boxes: Sequence[Box]
    owner: Numbers  # the position of the box that each result is in
    opened: NDArray[np.bool]  # the calls that are shown from inside
    numbers: Iterator[int]  # for boxes, in the order in which they are made

    def showing(self, cells: Sequence[Cell], box: Box) -> Folding:
        """With a box replaced by the cells in it."""
        boxes = [self.contents.boxed(cell, box) for cell in cells]
        for part in boxes:
            part.around, part.level = box, box.level + 1
        tell_apart(boxes, self.contents)
        opened = self.opened.copy()
        opened[[item - self.contents.size for item in box.items if item >= self.contents.size]] = True
        return replace(self.replaced(box, boxes), opened=opened)

    def replaced(self, box: Box, parts: Sequence[Box]) -> Folding:
        """With other boxes in the place of one."""
        position = self.boxes.index(box)
        owner = np.where(self.owner > position, self.owner + len(parts) - 1, self.owner)
        for i, part in enumerate(parts, position):
            part.number = next(self.numbers)
            owner[self.contents.results(part)] = i
        boxes = [*self.boxes[:position], *parts, *self.boxes[position + 1 :]]
        return replace(self, boxes=boxes, owner=owner)

    # What is computed

    def fits(self, most: float) -> bool:
        """Whether all that is to be drawn keeps to the budget, with at most so many arrows."""
        if len(self.boxes) + len(self.gathered()) > self.limit:
            return False
        return most == math.inf or len(self.arrows()[0]) <= most

    def arrows(self) -> NDArray[np.int64]:
        """All pairs of positions of a box and of one that uses it, each once, by the latter."""
        earlier, later = (self.owner[results].astype(np.int64) for results in self.contents.pairs)
        apart = earlier != later
        pairs = np.unique(later[apart] * len(self.boxes) + earlier[apart])
        return np.stack(np.divmod(pairs, len(self.boxes))[::-1])

    def longest_way(self) -> int:
        """How many boxes come one after another."""
        return 1 + max(depths(len(self.boxes), self.arrows()))

    # What is not

    def homes(self) -> tuple[NDArray[np.bool], Numbers]:
        """Of what was not computed: whether it is drawn inside a box, and the position of the first that uses it."""
        uses, wiring = self.contents.uses, self.contents.wiring
        users = self.owner[uses.targets]
        if not len(users):
            return np.zeros(0, bool), users
        first, last = np.minimum.reduceat(users, uses.starts[:-1]), np.maximum.reduceat(users, uses.starts[:-1])
        piece = np.array([box.form is Form.PIECE for box in self.boxes])
        results = np.array([self.contents.is_result(box) for box in self.boxes])
        given = passed(wiring, uses.things) & self.opened[wiring.homes[uses.things]]
        return piece[first] | ((first == last) & ~results[first] & ~given), first

    def gathered(self) -> list[Numbers]:
        """What is drawn in boxes of its own, though not computed: one by one, or as many in a box as it takes."""
        hidden, _ = self.homes()
        shown = np.flatnonzero(~hidden)
        room = self.limit - len(self.boxes)
        return next((sets for sets in self.gatherings(shown) if len(sets) <= room), [self.contents.uses.things[shown]])

    def gatherings(self, shown: NDArray[np.intp]) -> Iterator[list[Numbers]]:
        """One by one what serves something that is shown by itself, else together; together what serves the same boxes;
        all of a kind."""
        uses = self.contents.uses
        things = uses.things[shown]
        kinds = self.contents.wiring.kinds[things].tolist()
        if len(things) <= MANY:
            users = [frozenset(self.owner[uses.of(i)].tolist()) for i in shown.tolist()]
            folds = {position for position, box in enumerate(self.boxes) if not self.contents.is_result(box)}
            same = list(zip(kinds, users, strict=True))
            many = Counter(same)
            shared = [many[key] > SHARED and folds.issuperset(key[1]) for key in same]
            yield together(things, [same[i] if shared[i] else i for i in range(len(same))])
            yield together(things, same)
        yield together(things, kinds)

    # The outcome

    def parts(self) -> list[Part]:
        """What is drawn, in an order in which every argument comes before its result."""
        hidden, first = self.homes()
        others = self.contents.uses.things
        rank = dict(zip(others.tolist(), first.tolist(), strict=True))
        within: list[list[int]] = [[] for _ in self.boxes]
        for thing, position in zip(others[hidden].tolist(), first[hidden].tolist(), strict=True):
            within[position].append(thing)
        before: list[list[Numbers]] = [[] for _ in self.boxes]
        for gathered in self.gathered():
            before[min(rank[thing] for thing in gathered.tolist())].append(gathered)
        shown: list[Part] = []
        for box, things, sets in zip(self.boxes, within, before, strict=True):
            shown += [self.part_of_others(others) for others in sets]
            serial, results = box.form is Form.SERIES, self.contents.results(box)
            shown.append(Part(box.title, box.path, box.times, serial, results, np.array(things, np.int32), frames(box)))
        return shown

    def part_of_others(self, things: Numbers) -> Part:
        wiring = self.contents.wiring
        kinds = set(wiring.kinds[things].tolist())
        constant = kinds <= {Kind.NUMBER, Kind.ARRAY}
        title = "parameters" if kinds == {Kind.PARAMETER} else "constants" if constant else "variables"
        nodes = [wiring.nodes[i] for i in things.tolist() if i < self.contents.size]
        path = common({wiring.calls.parameters.get(id(node), "") for node in nodes}) if nodes else ""
        return Part(title, path, len(things), False, np.zeros(0, np.int32), things, self.frames_of_users(things))

    def frames_of_users(self, things: Numbers) -> tuple[Box, ...]:
        """The calls around all that uses what was not computed; none for what was given to them."""
        wiring, uses = self.contents.wiring, self.contents.uses
        if np.any(passed(wiring, things) & (wiring.homes[things] == WHOLE)):
            return ()
        users = np.unique(self.owner[uses.targets[np.isin(uses.sources, things)]]).tolist()
        chains = [frames(self.boxes[position]) for position in users]
        return tuple(boxes[0] for boxes in takewhile(lambda boxes: len(set(boxes)) == 1, zip(*chains, strict=False)))


def closed(contents: Contents, limit: int) -> Folding:
    """All in one box."""
    whole = Box(Form.ALIKE, "graph", "", (contents.size + WHOLE,), number=0)
    none_opened = np.zeros(len(contents.spans), bool)
    return Folding(contents, limit, [whole], np.zeros(contents.size, np.int32), none_opened, count(1))


def tell_apart(boxes: Sequence[Box], contents: Contents) -> None:
    """Give each box, and each step of a series, a path of its own."""
    met: Counter[str] = Counter()
    for box in boxes:
        if contents.call(box) == NOWHERE:  # the path of a module stands
            met[box.path] += 1
            if met[box.path] > 1:
                box.path = f"{box.path}#{met[box.path]}"
        if box.form is Form.SERIES and not box.rest:
            for i, step in enumerate(box.parts):
                if isinstance(step, Box) and step.form is Form.STEP:
                    step.path = f"{box.path}[{i}]"


def passed(wiring: Wiring, things: Numbers) -> NDArray[np.bool]:
    """What a call may have been given, as it is neither computed nor a parameter nor a number."""
    kinds = wiring.kinds[things]
    found: NDArray[np.bool] = (kinds == Kind.VARIABLE) | (kinds == Kind.ARRAY)
    return found


def together(things: Numbers, keys: Sequence[Hashable]) -> list[Numbers]:
    """The things that share a key, in the order of the first."""
    found: dict[Hashable, list[int]] = {}
    for thing, key in zip(things.tolist(), keys, strict=True):
        found.setdefault(key, []).append(thing)
    return [np.array(same, np.int32) for same in found.values()]
