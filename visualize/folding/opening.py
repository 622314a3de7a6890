"""Which boxes are opened: from one box that holds all to as many as the budget allows, what was asked for first."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import final

import numpy as np

from .calls import NOWHERE, WHOLE
from .cells import Box, Cell, Form, Part, made_of
from .contents import Contents, contents_of
from .fold import Folding, closed
from .repetition import depths
from .shortening import SHORTEST, Shortening
from .wiring import Wiring

EDGES = 1  # so many arrows for each box of the budget can still be told apart
PIECES = (12, 8, 6, 4, 3, 2, 1)  # into how many a sequence is cut
BETWEEN = 2.5  # arrows for each piece that can still be told apart
DEEPEST = 20  # so many results one after another can still be seen at once
LAST = (math.inf, "")  # of the turns in which boxes are opened


def fits(wiring: Wiring, limit: int | None) -> bool:
    """Whether a graph may be drawn node by node."""
    if limit is None:
        return True
    uses = np.stack([wiring.sources, wiring.targets])
    return len(wiring.kinds) <= limit and max(depths(len(wiring.kinds), uses)) <= DEEPEST


def folded(wiring: Wiring, limit: int, depth: int | None, paths: Sequence[str]) -> list[Part]:
    """The parts of a drawing of at most `limit` boxes."""
    return chosen(closed(contents_of(wiring), limit), depth, paths).parts()


def chosen(folding: Folding, depth: int | None, paths: Sequence[str]) -> Folding:
    """Open what was asked for; then in turn whatever the budget allows, or all down to a depth of calls.

    Raises `ValueError` where there is nothing to open under a path, or no room for it.
    """
    budget = folding.limit
    if paths:
        folding = replace(folding, limit=max(1, budget * 2 // 3))  # leave room for what is to be opened
    first = opened(folding, folding.boxes[0], force=True)
    if first is None:
        if paths:
            raise no_room(paths[0], budget)
        return folding
    folding = replace(first, limit=budget)
    for path in paths:
        folding = opened_at(folding, path)
    tried: set[Box] = set()
    while waiting := [box for box in folding.boxes if box not in tried and inviting(box, depth, folding.contents)]:
        turns = [turn(box, folding.contents) for box in waiting]
        now = min(turns)
        same = [box for box, its in zip(waiting, turns, strict=True) if its == now]
        tried.update(same)
        folding = all_opened(folding, same, DEEPEST if now == LAST and depth is None else math.inf)
    return folding


def turn(box: Box, contents: Contents) -> tuple[float, str]:
    """Level by level, and of each what has the same title; at last the modules inside of others that call none, all or
    none of them: arithmetic does not stand beside modules."""
    call = contents.call(box)
    if call > WHOLE and box.level > 1 and all(item < contents.size for item in contents.inside[call]):
        return LAST
    return box.level, box.title


def inviting(box: Box, depth: int | None, contents: Contents) -> bool:
    """Whether a box is to be opened if there is room."""
    if box.form in (Form.PIECE, Form.CHAIN) or box.rest:
        return False
    return size_of_one(box, contents) > 1 if depth is None else contents.depth(box) <= depth


def size_of_one(box: Box, contents: Contents) -> int:
    """How many results there are in one of the parts that a box stands for; in all of it, if that is one step."""
    one = box if box.form is Form.STEP else next(iter(box.items or box.parts))
    return len(contents.results(one))


def all_opened(folding: Folding, boxes: Sequence[Box], deepest: float) -> Folding:
    """With boxes opened, all or none: none if then more than so many come one after another."""
    found = folding
    for box in boxes:
        wider = opened(found, box)
        if wider is None:
            return folding
        found = wider
    return found if found.longest_way() <= deepest else folding


def opened(folding: Folding, box: Box, force: bool = False, full: bool = False) -> Folding | None:
    """With a box replaced by what it holds, in the fullest form that keeps to the budget; None where there is none.

    What repeats itself is folded at once, unless it is to be opened in `full`. If `force`, it is cut into pieces where
    nothing else helps.
    """
    for cells, most in forms(folding, box, force, full):
        if len(folding.boxes) - 1 + len(cells) <= folding.limit:
            found = folding.showing(cells, box)
            if found.fits(most):
                return found
    return None


def forms(folding: Folding, box: Box, force: bool, full: bool) -> Iterator[tuple[list[Cell], float]]:
    """What might be drawn instead of a box, from everything in it to very little, and how many arrows there may be."""
    if box.form is Form.SERIES:
        more = Box(box.form, box.title, f"{box.path}[…]", parts=box.parts[1:], rest=True)
        yield [box.parts[0], more], math.inf
        return
    shorten = Shortening(folding.contents, folding.owner, box)
    cells = shorten.forward(folding.contents.cells(box))
    if full or not shorten.repeats(cells):
        yield cells, EDGES * folding.limit
    if box.form is not Form.CHAIN and not (box.items and folding.contents.call(box) == NOWHERE):
        for step in shorten.merged, shorten.repeated, shorten.chained:
            shorter = step(cells)
            if len(shorter) < len(cells):
                cells = shorter
                if not shorten.repeats(cells):
                    yield cells, EDGES * folding.limit
    elif len(cells) > 2 * SHORTEST:
        between = made_of(Form.CHAIN, "chain", cells[2:-2], box, rest=True)
        yield [*cells[:2], between, *cells[-2:]], math.inf
    if force:
        for count in PIECES:
            yield shorten.cut(cells, count), BETWEEN * count if count > 4 else math.inf


# What was asked for


@final
@dataclass(frozen=True, slots=True, eq=False)
class Sought:
    """All that has a path, and is to be opened."""

    contents: Contents
    path: str
    leading: frozenset[int]  # the calls that have it, and those around them; none where no call does

    def is_in(self, cell: Cell) -> bool:
        """Whether it is, or may be, inside."""
        if self.contents.is_result(cell):
            return False
        if self.leading:
            return any(call in self.leading for call in self.contents.calls(cell))
        return isinstance(cell, Box) and (
            self.path == cell.path or self.path.startswith(tuple(cell.path + end for end in ".[#"))
        )

    def split(self, box: Box) -> list[Box]:
        """The boxes that a box is split into: one for what the path leads to, others for what is left."""
        contents = self.contents
        if box.form is Form.ALIKE and self.leading:
            chosen = [item for item in box.items if item - contents.size in self.leading]
            others = [item for item in box.items if item - contents.size not in self.leading]
            return [contents.alike(items, box) for items in (chosen, others)] if others else [box]
        if box.form is not Form.SERIES or not any(map(self.is_in, box.parts)):
            return [box]
        boxes: list[Box] = []
        for leads, run in groupby(box.parts, self.is_in):
            if leads:
                boxes += [contents.boxed(part, box) for part in run]
            else:
                boxes.append(Box(box.form, box.title, f"{box.path}[…]", parts=tuple(run), rest=True))
        return boxes


def opened_at(folding: Folding, path: str) -> Folding:
    """With whatever has this path opened, and all around it. Raises `ValueError` where that is nothing, or too much."""
    calls = folding.contents.wiring.calls
    wanted = [call for call, known in enumerate(calls.paths) if known == path]
    sought = Sought(folding.contents, path, frozenset(around for call in wanted for around in calls.around(call)))
    found = False
    while (box := next(filter(sought.is_in, folding.boxes), None)) is not None:
        folding, box = set_apart(folding, box, sought)
        inner = opened(folding, box, force=True, full=box.path == path)
        if inner is None:
            raise no_room(path, folding.limit)
        folding, found = inner, found or box.path == path
    if not found:
        known = {box.path for box in folding.boxes if not folding.contents.is_result(box)}.union(calls.paths[1:])
        raise ValueError(f"visualize: open: there is no {path!r} to open here; there is {listed(sorted(known))}")
    return folding


def set_apart(folding: Folding, box: Box, sought: Sought) -> tuple[Folding, Box]:
    """Split a box that stands for several parts, so that the part the path leads to has a box of its own. Returns that
    box, too."""
    boxes = sought.split(box)
    if box in boxes:
        return folding, box
    for part in boxes:
        part.around, part.level = box.around, box.level
    return folding.replaced(box, boxes), next(filter(sought.is_in, boxes))


def no_room(path: str, limit: int) -> ValueError:
    return ValueError(f"visualize: there is no room to open {path!r}; raise max_nodes={limit}")


def listed(names: Sequence[str]) -> str:
    shown = ", ".join(map(repr, names[:20])) or "nothing to open"
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
