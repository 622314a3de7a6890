"""Which boxes a drawing shows of a graph that is too large, or too long, to be drawn node by node.

A `Box` is a part of the graph. At first one box holds all; then boxes are replaced by what they hold, for as long as the
drawing keeps to its budget. What a box holds is a sequence in which every argument comes before its result: of the calls
of modules and the nodes directly in it. Where that is too much, what is alike becomes one box, then what repeats itself
one after another, then chains, and at last the sequence is cut into pieces. Each of these keeps the order, and so no
drawing has a cycle.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from itertools import groupby, pairwise, takewhile

import numpy as np
from numpy.typing import NDArray

from .calls import NOWHERE, WHOLE
from .cells import Box, Cell, Form, Part, common, frames, joined
from .repetition import Row, depths, run_length, sorted_forward, suspected_runs
from .wiring import Kind, Numbers, Wiring

EDGES = 1  # so many arrows for each box of the budget can still be told apart
PIECES = (12, 8, 6, 4, 3, 2, 1)  # into how many a sequence is cut
BETWEEN = 2.5  # arrows for each piece that can still be told apart
DEEPEST = 20  # so many results one after another can still be seen at once
SHORTEST = 3  # of fewer steps one after another, or nodes in a chain, no box is made
LAST = (math.inf, "")  # of the turns in which boxes are opened
MANY = 50_000  # things outside of boxes are too many to look at one by one


class Folding:
    """The boxes of a drawing, in order, and how to open them."""

    def __init__(self, wiring: Wiring, limit: int) -> None:
        self.wiring = wiring
        self.limit = limit
        self.size = len(wiring.nodes)
        self.place = np.full(len(wiring.kinds), NOWHERE, np.int32)  # scratch, NOWHERE between uses
        self.owner = np.zeros(self.size, np.int32)  # the number of the box that each result is in
        self.opened = np.zeros(len(wiring.calls.starts), bool)
        self.names: dict[Hashable, int] = {}
        self.find_sources()
        self.find_items()
        self.signatures = [self.signature(i) for i in range(self.size)]
        self.signatures += self.signatures_of_calls()
        self.numbered: list[Box] = []
        self.boxes = [self.enlisted(Box(Form.ALIKE, "graph", "", (self.size + WHOLE,)))]

    # What there is

    def find_sources(self) -> None:
        """The uses of what was not computed, in the order of what is used."""
        sources = self.wiring.sources
        uses = np.flatnonzero(self.wiring.kinds[sources] != Kind.RESULT)
        self.uses = uses[np.argsort(sources[uses], kind="stable")]
        self.sorted_sources = sources[self.uses]
        self.others, self.starts = np.unique(self.sorted_sources, return_index=True)

    def find_items(self) -> None:
        """What is directly in each call, in order, and all results in it."""
        calls = self.wiring.calls
        results = np.flatnonzero(self.wiring.kinds[: self.size] == Kind.RESULT).astype(np.int32)
        self.spans: list[Numbers] = [results]
        self.inside: list[list[int]] = [results.tolist()]
        if len(calls.starts) == 1:
            return
        members: list[list[int]] = [[] for _ in calls.starts]
        self.inside = [[] for _ in calls.starts]
        for i in results.tolist():
            self.inside[calls.homes[i]].append(i)
            for call in calls.around(calls.homes[i]):
                members[call].append(i)
        self.spans = [np.array(found, np.int32) for found in members]
        for call in range(1, len(calls.starts)):
            self.inside[calls.parents[call]].append(self.size + call)
        for items in self.inside:
            items.sort(key=lambda item: item if item < self.size else self.spans[item - self.size][-1])

    def code(self, name: Hashable) -> int:
        return self.names.setdefault(name, len(self.names))

    def signature(self, i: int) -> int:
        node = self.wiring.nodes[i]
        data = node._raw
        return self.code((node.op and node.op.name, None if type(data) is float else data.shape))

    def signatures_of_calls(self) -> list[int]:
        """Equal numbers for calls that did the same: the same operations on each other's results, in the same calls."""
        calls, found = self.wiring.calls, [0] * len(self.spans)
        for call in sorted(range(1, len(found)), key=calls.starts.__getitem__, reverse=True):
            span = self.spans[call]
            self.place[span] = np.arange(len(span))
            sources = self.wiring.sources[self.wiring.uses(span)]
            args = np.where(self.place[sources] >= 0, self.place[sources], -1 - self.wiring.kinds[sources])
            self.place[span] = NOWHERE
            inner = tuple(
                self.signatures[item] if item < self.size else -1 - found[item - self.size]
                for item in self.inside[call]
            )
            own = tuple(self.signatures[i] for i in span.tolist())
            found[call] = self.code((calls.titles[call], inner, own, args.astype(np.int32).tobytes()))
        return found

    # Cells

    def results(self, cell: Cell) -> Numbers:
        """All results in a cell, in ascending order."""
        if isinstance(cell, int):
            return self.span(cell)
        items = list(self.leaves(cell))
        found = [np.array([item for item in items if item < self.size], np.int32)]
        found += [self.spans[item - self.size] for item in items if item >= self.size]
        return np.sort(np.concatenate(found))

    def leaves(self, cell: Cell) -> Iterator[int]:
        """The results and calls that a cell is made of."""
        stack: list[Cell] = [cell]
        while stack:
            cell = stack.pop()
            for part in (cell,) if isinstance(cell, int) else cell.items or cell.parts:
                if isinstance(part, int):
                    yield part
                else:
                    stack.append(part)

    def span(self, item: int) -> Numbers:
        return np.array([item], np.int32) if item < self.size else self.spans[item - self.size]

    def boxed(self, cell: Cell, around: Box) -> Box:
        return self.alike([cell], around) if isinstance(cell, int) else cell

    def alike(self, items: Sequence[int], around: Box) -> Box:
        """One box for results or for calls of the same structure."""
        first = items[0]
        if first >= self.size:
            calls = self.wiring.calls
            path = common({calls.paths[item - self.size] for item in items})
            return Box(
                Form.ALIKE, calls.titles[first - self.size], path or calls.titles[first - self.size], tuple(items)
            )
        op = self.wiring.nodes[first].op
        title = op.name if op is not None else ""
        return Box(Form.ALIKE, title, joined(around.path, title), tuple(items))

    def made_of(self, form: Form, title: str, parts: Sequence[Cell], around: Box, rest: bool = False) -> Box:
        return Box(form, title, joined(around.path, title), parts=tuple(parts), rest=rest)

    def items(self, cell: Cell) -> tuple[int, ...]:
        return (cell,) if isinstance(cell, int) else cell.items

    def kind_of(self, j: int, cell: Cell) -> tuple[int, int]:
        """What cells must share to be alike. A box of unlike parts is like no other."""
        if isinstance(cell, int):
            return self.signatures[cell], 1
        return (self.signatures[cell.items[0]], len(cell.items)) if cell.items else (-1 - j, 0)

    def depth(self, cell: Cell) -> float:
        """How many calls are around the outermost calls in a cell, themselves included; infinite if there is none."""
        calls = self.wiring.calls
        found = (item - self.size for item in self.leaves(cell) if item >= self.size)
        return min((sum(1 for _ in calls.around(call)) - 1 for call in found), default=math.inf)

    def enlisted(self, box: Box) -> Box:
        box.number = len(self.numbered)
        self.numbered.append(box)
        return box

    # Sequences

    def row(self, cells: list[Cell]) -> Row:
        everything, whole = self.locate(cells)
        uses = self.wiring.uses(everything)
        sources, targets = self.wiring.sources[uses], self.wiring.targets[uses]
        inner, at = self.place[sources], self.place[targets]
        within = (inner != NOWHERE) & (inner != at)
        pairs = np.unique(at[within].astype(np.int64) * len(cells) + inner[within])
        if not whole:  # the first of each bundle speaks for all
            first = np.concatenate([self.first(cell) for cell in cells])
            uses = self.wiring.uses(first)
            sources, targets = self.wiring.sources[uses], self.wiring.targets[uses]
            inner, at = self.place[sources], self.place[targets]
        outside = -1 - self.wiring.kinds[sources].astype(np.int32)
        computed = (outside == -1) & (inner == NOWHERE)
        outside[computed] = -10 - self.owner[sources[computed]]
        codes = np.where(inner != NOWHERE, inner, outside)
        kept = inner != at
        order = np.argsort(at[kept], kind="stable")
        bounds = np.searchsorted(at[kept][order], np.arange(len(cells) + 1))
        self.place[everything] = NOWHERE
        return Row(codes[kept][order].tolist(), bounds.tolist(), np.stack(np.divmod(pairs, len(cells))[::-1]))

    def locate(self, cells: list[Cell]) -> tuple[Numbers, bool]:
        """Note the place of all results in the cells. Returns them, and whether no cell is a bundle."""
        places = [j for j, cell in enumerate(cells) if not (isinstance(cell, int) and cell < self.size)]
        results = [np.delete(np.array([cell if isinstance(cell, int) else 0 for cell in cells], np.int32), places)]
        at = [np.delete(np.arange(len(cells)), places)]
        for j in places:
            results.append(self.results(cells[j]))
            at.append(np.full(len(results[-1]), j))
        everything = np.concatenate(results)
        self.place[everything] = np.concatenate(at)
        return everything, not any(len(self.items(cells[j])) > 1 for j in places)

    def first(self, cell: Cell) -> Numbers:
        items = self.items(cell)
        return self.span(items[0]) if items else self.results(cell)

    def forward(self, cells: list[Cell], around: Box) -> list[Cell]:
        """The cells themselves if every argument comes before its result, as it does where each thread minds its own
        calls; else what is between the two becomes one piece."""
        if len(cells) < 2 or all(isinstance(cell, int) and cell < self.size for cell in cells):
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
            cells[j] if k == j + 1 else self.made_of(Form.PIECE, "part", cells[j:k], around)
            for j, k in pairwise([*starts, len(cells)])
        ]

    def merged(self, cells: list[Cell], around: Box) -> list[Cell]:
        """One cell for all those that do the same with the same. They lie equally deep, so none uses another.

        It must halve the sequence: else it only tears apart what repeats itself.
        """
        row = self.row(cells)
        deep = (
            depths(len(cells), row.pairs)
            if any(isinstance(cell, Box) and len(cell.items) > 1 for cell in cells)
            else None
        )
        classes: list[int] = []
        found: dict[tuple[int, ...], int] = {}
        for j, cell in enumerate(cells):
            kind = self.kind_of(j, cell)
            args = [classes[code] if code >= 0 else code for code in row.args(j)]
            classes.append(found.setdefault((*kind, deep[j] if deep else 0, *args), len(found)))
            if 2 * len(found) > len(cells) + 1:
                return cells
        count = len(found)
        found.clear()
        groups: list[list[Cell]] = [[] for _ in range(count)]
        for cell, number in zip(cells, classes, strict=True):
            groups[number].append(cell)
        bundles = [
            group[0] if len(group) == 1 else self.alike([item for cell in group for item in self.items(cell)], around)
            for group in groups
        ]
        return [bundles[number] for number in sorted_forward(count, np.array(classes)[row.pairs])]

    def repeated(self, cells: list[Cell], around: Box) -> list[Cell]:
        """One cell for steps of equal structure that follow one another, each using the one before; then for those that
        only now are equal, as they use such a cell, like a sum over the results of steps."""
        while len(shorter := self.repeated_once(cells, around)) < len(cells):
            cells = shorter
        return cells

    def repeated_once(self, cells: list[Cell], around: Box) -> list[Cell]:
        row = self.row(cells)
        known: dict[object, int] = {}
        arities = np.diff(row.bounds).tolist()
        symbols = [known.setdefault((self.kind_of(j, cell), arities[j]), len(known)) for j, cell in enumerate(cells)]
        shown: list[Cell] = []
        end = 0
        for j, step in suspected_runs(np.array(symbols)):
            if j >= end and (times := run_length(row, symbols, j, step)) >= SHORTEST:
                shown += [*cells[end:j], self.series(cells[j : j + step * times], step, around)]
                end = j + step * times
        return [*shown, *cells[end:]]

    def series(self, cells: list[Cell], step: int, around: Box) -> Box:
        if step == 1:
            boxes = [self.boxed(cell, around) for cell in (cells[0], cells[-1])]
            path = common({box.path for box in boxes}) or boxes[0].path
            return Box(Form.SERIES, boxes[0].title, path, parts=tuple(cells))
        box = self.made_of(Form.SERIES, "step", (), around)
        starts = range(0, len(cells), step)
        box.parts = tuple(Box(Form.STEP, "step", "", parts=tuple(cells[j : j + step])) for j in starts)
        return box

    def chained(self, cells: list[Cell], around: Box) -> list[Cell]:
        """One cell for what is but a chain. The last cell, the outcome, stays in sight."""
        earlier, later = self.row(cells).pairs
        outgoing, incoming = np.bincount(earlier, minlength=len(cells)), np.bincount(later, minlength=len(cells))
        linked = (outgoing[earlier] == 1) & (incoming[later] == 1)
        after = dict(zip(earlier[linked].tolist(), later[linked].tolist(), strict=True))
        links = set(after.values())
        shown: list[Cell] = []
        taken: set[int] = set()
        for j, cell in enumerate(cells):
            if j in taken:
                continue
            places = [j]
            if j not in links:
                while after.get(places[-1], len(cells) - 1) < len(cells) - 1:
                    places.append(after[places[-1]])
            if len(places) < SHORTEST:
                shown.append(cell)
            else:
                shown.append(self.made_of(Form.CHAIN, "chain", [cells[k] for k in places], around))
                taken.update(places)
        return shown

    def cut(self, cells: list[Cell], count: int, around: Box) -> list[Cell]:
        """Pieces with about as many results each, and the last cell, the outcome."""
        inner = cells[:-1]
        sizes = np.cumsum(
            [1 if isinstance(cell, int) and cell < self.size else len(self.results(cell)) for cell in inner]
        )
        shares = np.arange(1, count) * (sizes[-1] if inner else 0) / count
        bounds = [0, *np.searchsorted(sizes, shares).tolist(), len(inner)]
        pieces = [inner[j:k] for j, k in pairwise(bounds) if k > j]
        shown: list[Cell] = []
        for k, piece in enumerate(pieces, 1):
            title = f"part {k} of {len(pieces)}" if len(pieces) > 1 else "part"
            shown.append(Box(Form.PIECE, title, joined(around.path, f"part {k}"), parts=tuple(piece)))
        return [*shown, cells[-1]]

    # Opening

    def contents(self, box: Box) -> list[Cell]:
        """What is directly in a box, in order."""
        if box.parts:
            return list(box.parts)
        if box.items[0] < self.size:
            return list(box.items)
        columns = zip(*[self.inside[item - self.size] for item in box.items], strict=True)
        return [column[0] if len(column) == 1 else self.alike(column, box) for column in columns]

    def forms(self, box: Box, force: bool, full: bool) -> Iterator[tuple[list[Cell], float]]:
        """What might be drawn instead of a box, from everything in it to very little, and how many arrows there may be."""
        cells = self.contents(box)
        if box.form is Form.SERIES:
            more = Box(box.form, box.title, f"{box.path}[…]", parts=box.parts[1:], rest=True)
            yield [box.parts[0], more], math.inf
            return
        cells = self.forward(cells, box)
        if full or not self.repeats(cells, box):
            yield cells, EDGES * self.limit
        if box.form is not Form.CHAIN and not (box.items and box.items[0] < self.size):
            for shorten in self.merged, self.repeated, self.chained:
                shorter = shorten(cells, box)
                if len(shorter) < len(cells):
                    cells = shorter
                    if not self.repeats(cells, box):
                        yield cells, EDGES * self.limit
        elif len(cells) > 2 * SHORTEST:
            between = self.made_of(Form.CHAIN, "chain", cells[2:-2], box, rest=True)
            yield [*cells[:2], between, *cells[-2:]], math.inf
        if force:
            for count in PIECES:
                yield self.cut(cells, count, box), BETWEEN * count if count > 4 else math.inf

    def repeats(self, cells: list[Cell], around: Box) -> bool:
        """Whether most of a sequence is the same again."""
        shorter = len(self.repeated(self.merged(cells, around), around))
        return shorter < len(cells) and 2 * shorter <= len(cells) + 1

    def open(self, box: Box, force: bool = False, full: bool = False) -> bool:
        """Replace a box by what it holds, in the fullest form that keeps to the budget; say whether there was one.

        What repeats itself is folded at once, unless it is to be opened in `full`. If `force`, it is cut into pieces where
        nothing else helps.
        """
        position = self.boxes.index(box)
        opening = [item - self.size for item in box.items if item >= self.size]
        self.opened[opening] = True
        before = self.boxes
        for cells, most in self.forms(box, force, full):
            if len(before) - 1 + len(cells) > self.limit:
                continue
            self.boxes = [*before[:position], *self.enlist(cells, box), *before[position + 1 :]]
            if self.fits(most):
                return True
        self.boxes = before
        self.opened[opening] = False
        self.own(box)
        return False

    def enlist(self, cells: list[Cell], around: Box) -> list[Box]:
        """Boxes for the cells, each with a path of its own."""
        boxes = [self.boxed(cell, around) for cell in cells]
        met: Counter[str] = Counter()
        for box in boxes:
            box.around, box.level = around, around.level + 1
            if not (box.items and box.items[0] >= self.size):  # the path of a module stands
                met[box.path] += 1
                if met[box.path] > 1:
                    box.path = f"{box.path}#{met[box.path]}"
            if box.form is Form.SERIES and not box.rest:
                for i, part in enumerate(box.parts):
                    if isinstance(part, Box) and part.form is Form.STEP:
                        part.path = f"{box.path}[{i}]"
            self.own(self.enlisted(box))
        return boxes

    def own(self, box: Box) -> None:
        self.owner[self.results(box)] = box.number

    def fits(self, most: float) -> bool:
        """Whether all that is to be drawn keeps to the budget, with at most so many arrows."""
        return len(self.boxes) + len(self.gathered()) <= self.limit and (most == math.inf or self.edges() <= most)

    def ranks(self) -> Numbers:
        """The position of each box, by its number."""
        ranks = np.zeros(len(self.numbered), np.int32)
        ranks[[box.number for box in self.boxes]] = np.arange(len(self.boxes))
        return ranks

    def arrows(self) -> NDArray[np.int64]:
        """All pairs of positions of a box and of one that uses it, each once, by the latter."""
        sources, targets = self.wiring.sources, self.wiring.targets
        computed = self.wiring.kinds[sources] == Kind.RESULT
        ranks, count = self.ranks().astype(np.int64), len(self.boxes)
        earlier, later = ranks[self.owner[sources[computed]]], ranks[self.owner[targets[computed]]]
        return np.stack(np.divmod(np.unique((later * count + earlier)[earlier != later]), count)[::-1])

    def edges(self) -> int:
        """How many arrows there are between boxes."""
        return len(self.arrows()[0])

    def longest_way(self) -> int:
        """How many boxes come one after another."""
        return 1 + max(depths(len(self.boxes), self.arrows()))

    def homes(self) -> tuple[NDArray[np.bool], Numbers]:
        """Of what was not computed: whether it is drawn inside a box, and the position of the first that uses it."""
        ranks = self.ranks()[self.owner[self.wiring.targets[self.uses]]]
        if not len(ranks):
            return np.zeros(0, bool), ranks
        first, last = np.minimum.reduceat(ranks, self.starts), np.maximum.reduceat(ranks, self.starts)
        piece = np.array([box.form is Form.PIECE for box in self.boxes])
        results = np.array([self.is_result(box) for box in self.boxes])
        kinds = self.wiring.kinds[self.others]
        given = ((kinds == Kind.VARIABLE) | (kinds == Kind.ARRAY)) & self.opened[self.wiring.homes[self.others]]
        return piece[first] | ((first == last) & ~results[first] & ~given), first

    def gathered(self) -> list[Numbers]:
        """What is drawn in boxes of its own, though not computed: one by one, or as many in a box as it takes."""
        hidden, _ = self.homes()
        shown = self.others[~hidden]
        room = self.limit - len(self.boxes)
        return next((sets for sets in self.gatherings(shown) if len(sets) <= room), [shown])

    def gatherings(self, shown: Numbers) -> Iterator[list[Numbers]]:
        """One by one what serves something that is shown by itself, else together; together what serves the same boxes;
        all of a kind."""
        kinds = self.wiring.kinds[shown].tolist()
        if len(shown) <= MANY:
            users = [self.users(thing) for thing in shown.tolist()]
            folds = {box.number for box in self.boxes if not self.is_result(box)}
            same = list(zip(kinds, users, strict=True))
            many = Counter(same)
            yield together(
                shown,
                [
                    key if many[key] > SHORTEST and folds.issuperset(key[1]) else (thing, frozenset())
                    for key, thing in zip(same, shown.tolist(), strict=True)
                ],
            )
            yield together(shown, same)
        yield together(shown, kinds)

    def users(self, thing: int) -> frozenset[int]:
        """The boxes that something is used in that was not computed."""
        start, end = np.searchsorted(self.sorted_sources, (thing, thing + 1))
        return frozenset(self.owner[self.wiring.targets[self.uses[start:end]]].tolist())

    # What to open

    def choose(self, depth: int | None, names: Sequence[str]) -> None:
        """Open what was asked for; then in turn whatever the budget allows, or all down to a depth of calls."""
        whole = self.boxes[0]
        budget = self.limit
        if names:
            self.limit = max(1, budget * 2 // 3)  # leave room for what is to be opened
        if not self.open(whole, force=True):
            return
        self.limit = budget
        for name in names:
            self.open_path(name)
        tried: set[int] = set()
        while waiting := [box for box in self.boxes if box.number not in tried and self.inviting(box, depth)]:
            turn = min(map(self.turn, waiting))
            same = [box for box in waiting if self.turn(box) == turn]
            tried.update(box.number for box in same)
            self.open_all(same, DEEPEST if turn == LAST and depth is None else math.inf)

    def turn(self, box: Box) -> tuple[float, str]:
        """Level by level, and of each what has the same title; at last the modules inside of others that call none, all or
        none of them: arithmetic does not stand beside modules."""
        call = box.items[0] - self.size if box.items else NOWHERE
        if call > WHOLE and box.level > 1 and all(item < self.size for item in self.inside[call]):
            return LAST
        return box.level, box.title

    def inviting(self, box: Box, depth: int | None) -> bool:
        """Whether a box is to be opened if there is room."""
        if box.form in (Form.PIECE, Form.CHAIN) or box.rest:
            return False
        return self.size_of_one(box) > 1 if depth is None else self.depth(box) <= depth

    def size_of_one(self, box: Box) -> int:
        """How many results there are in one of the parts that a box stands for; in all of it, if that is one step."""
        one = box if box.form is Form.STEP else next(iter(box.items or box.parts))
        return len(self.results(one))

    def open_all(self, boxes: list[Box], deepest: float) -> None:
        """Open boxes, all or none: none if then more than so many come one after another."""
        before = self.boxes, self.owner.copy(), self.opened.copy()
        if not all(self.open(box) for box in boxes) or self.longest_way() > deepest:
            self.boxes, self.owner, self.opened = before

    def open_path(self, path: str) -> None:
        """Open whatever has this path, and all around it. Raises `ValueError` where that is nothing, or too much."""
        calls = self.wiring.calls
        wanted = [call for call, known in enumerate(calls.paths) if known == path]
        leading = {around for call in wanted for around in calls.around(call)}
        found = False
        while (box := next((box for box in self.boxes if self.leads(box, path, leading)), None)) is not None:
            box = self.set_apart(box, path, leading)
            if not self.open(box, force=True, full=box.path == path):
                raise ValueError(f"visualize: there is no room to open {path!r}; raise max_nodes={self.limit}")
            found = found or box.path == path
        if not found:
            known = sorted({box.path for box in self.boxes if not self.is_result(box)} | set(calls.paths[1:]))
            raise ValueError(f"visualize: open: there is no {path!r} to open here; there is {listed(known)}")

    def leads(self, cell: Cell, path: str, leading: set[int]) -> bool:
        """Whether what has the path is, or may be, inside."""
        if self.is_result(cell):
            return False
        if leading:
            return any(item - self.size in leading for item in self.leaves(cell) if item >= self.size)
        return isinstance(cell, Box) and (path == cell.path or path.startswith(tuple(cell.path + end for end in ".[#")))

    def is_result(self, cell: Cell) -> bool:
        items = self.items(cell)
        return len(items) == 1 and items[0] < self.size

    def set_apart(self, box: Box, path: str, leading: set[int]) -> Box:
        """The box, or where it stands for several, a box for what the path leads to, beside others for what is left."""
        if box.form is Form.ALIKE and leading:
            chosen = [item for item in box.items if item - self.size in leading]
            others = [item for item in box.items if item - self.size not in leading]
            split = [self.alike(items, box) for items in (chosen, others) if items]
            return self.replaced(box, split)[0] if others else box
        if box.form is Form.SERIES and any(self.leads(part, path, leading) for part in box.parts):
            runs = [
                (leads, list(run)) for leads, run in groupby(box.parts, lambda part: self.leads(part, path, leading))
            ]
            split = []
            for leads, run in runs:
                if leads:
                    split += [self.boxed(part, box) for part in run]
                else:
                    split.append(Box(box.form, box.title, f"{box.path}[…]", parts=tuple(run), rest=True))
            boxes = self.replaced(box, split)
            return next(box for box in boxes if self.leads(box, path, leading))
        return box

    def replaced(self, box: Box, split: list[Box]) -> list[Box]:
        position = self.boxes.index(box)
        for part in split:
            part.around, part.level = box.around, box.level
            self.own(self.enlisted(part))
        self.boxes[position : position + 1] = split
        return split

    # The outcome

    def parts(self) -> list[Part]:
        """What is drawn, in an order in which every argument comes before its result."""
        hidden, first = self.homes()
        rank = dict(zip(self.others.tolist(), first.tolist(), strict=True))
        within: list[list[int]] = [[] for _ in self.boxes]
        for thing, position in zip(self.others[hidden].tolist(), first[hidden].tolist(), strict=True):
            within[position].append(thing)
        before: list[list[Numbers]] = [[] for _ in self.boxes]
        for gathered in self.gathered():
            before[min(rank[thing] for thing in gathered.tolist())].append(gathered)
        shown: list[Part] = []
        for box, things, sets in zip(self.boxes, within, before, strict=True):
            shown += [self.part_of_others(others) for others in sets]
            serial = box.form is Form.SERIES
            inner = np.array(things, np.int32)
            shown.append(Part(box.title, box.path, box.times, serial, self.results(box), inner, frames(box)))
        return shown

    def part_of_others(self, things: Numbers) -> Part:
        kinds = set(self.wiring.kinds[things].tolist())
        constant = kinds <= {Kind.NUMBER, Kind.ARRAY}
        title = "parameters" if kinds == {Kind.PARAMETER} else "constants" if constant else "variables"
        nodes = [self.wiring.nodes[i] for i in things.tolist() if i < self.size]
        path = common({self.wiring.calls.parameters.get(id(node), "") for node in nodes}) if nodes else ""
        return Part(title, path, len(things), False, np.zeros(0, np.int32), things, self.frames_of_users(things))

    def frames_of_users(self, things: Numbers) -> tuple[Box, ...]:
        """The calls around all that uses what was not computed; none for what was given to them."""
        kinds, homes = self.wiring.kinds[things], self.wiring.homes[things]
        if np.any(((kinds == Kind.VARIABLE) | (kinds == Kind.ARRAY)) & (homes == WHOLE)):
            return ()
        used = np.isin(self.wiring.sources[self.uses], things)
        users = np.unique(self.owner[self.wiring.targets[self.uses[used]]]).tolist()
        chains = [frames(self.numbered[number]) for number in users]
        return tuple(boxes[0] for boxes in takewhile(lambda boxes: len(set(boxes)) == 1, zip(*chains, strict=False)))


def fits(wiring: Wiring, limit: int | None) -> bool:
    """Whether a graph may be drawn node by node."""
    if limit is None:
        return True
    uses = np.stack([wiring.sources, wiring.targets])
    return len(wiring.kinds) <= limit and max(depths(len(wiring.kinds), uses)) <= DEEPEST


def folded(wiring: Wiring, limit: int, depth: int | None, paths: Sequence[str]) -> list[Part]:
    """The parts of a drawing of at most `limit` boxes."""
    folding = Folding(wiring, limit)
    folding.choose(depth, paths)
    return folding.parts()


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:20])) or "nothing to open"
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def together(things: Numbers, keys: Sequence[Hashable]) -> list[Numbers]:
    """The things that share a key, in the order of the first."""
    found: dict[Hashable, list[int]] = {}
    for thing, key in zip(things.tolist(), keys, strict=True):
        found.setdefault(key, []).append(thing)
    return [np.array(same, np.int32) for same in found.values()]
