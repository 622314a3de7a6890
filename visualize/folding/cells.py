"""What a folded drawing is made of: boxes, the cells of a sequence, and the parts that are shown in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import takewhile
from typing import TypeAlias

from .calls import NOWHERE
from .groups import Group
from .wiring import Numbers


class Form(Enum):
    """What the parts of a box have in common."""

    ALIKE = 1  # results or calls of the same structure, side by side; or just one
    SERIES = 2  # steps of the same structure, each of which uses the one before
    STEP = 3  # of a series
    CHAIN = 4  # each is the only one to use the one before, and uses no other
    PIECE = 5  # of a long sequence


@dataclass(slots=True, eq=False)
class Box:
    """A part of the graph that is drawn as one."""

    form: Form
    title: str
    path: str
    items: tuple[int, ...] = ()  # ALIKE: results by their number, or calls by theirs plus the number of nodes
    parts: tuple[Cell, ...] = ()  # else
    around: Box | None = None
    level: int = 0  # how many boxes are around it
    rest: bool = False  # what was left out between the first step and the last
    number: int = NOWHERE

    @property
    def times(self) -> int:
        return len(self.items) if self.form is Form.ALIKE else len(self.parts) if self.form is Form.SERIES else 1


Cell: TypeAlias = int | Box  # in a long sequence most are single results or calls, which need no box yet


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """A box as it is to be drawn."""

    title: str
    path: str
    times: int
    serial: bool  # one after another rather than side by side
    results: Numbers
    others: Numbers  # parameters, variables and constants
    around: tuple[Box, ...]  # the calls that were opened to show it, outermost first

    @property
    def single(self) -> bool:
        return len(self.results) + len(self.others) == 1

    @property
    def things(self) -> list[int]:
        """Everything in it."""
        return [*self.results.tolist(), *self.others.tolist()]


def framed(parts: Sequence[Part]) -> tuple[Group, ...]:
    """The calls that were opened, as trees; the parts are numbered from 1."""
    members: dict[int, list[int]] = {}
    boxes = {box.number: box for part in parts for box in part.around}
    inside: dict[int, list[int]] = {NOWHERE: []}
    for number, part in enumerate(parts, 1):
        for box in part.around:
            members.setdefault(box.number, []).append(number)
    for number in sorted(boxes):
        outer = frames(boxes[number])
        inside.setdefault(outer[-1].number if outer else NOWHERE, []).append(number)
    groups: dict[int, Group] = {}
    for number in sorted(boxes, reverse=True):
        box = boxes[number]
        children = tuple(groups[inner] for inner in inside.get(number, ()))
        groups[number] = Group(box.title, box.path, tuple(members[number]), children, box.times)
    return tuple(groups[number] for number in inside[NOWHERE])


def frames(box: Box) -> tuple[Box, ...]:
    """The boxes of calls that were opened to show a box, outermost first."""
    found = []
    while box.around is not None:
        box = box.around
        if box.form is Form.ALIKE and box.around is not None:
            found.append(box)
    return tuple(found[::-1])


def items_of(cell: Cell) -> tuple[int, ...]:
    """The items of the same structure that a cell stands for; none where its parts are not."""
    return (cell,) if isinstance(cell, int) else cell.items


def made_of(form: Form, title: str, parts: Sequence[Cell], around: Box, rest: bool = False) -> Box:
    return Box(form, title, path_to(around.path, title), parts=tuple(parts), rest=rest)


def path_to(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def common(paths: set[str]) -> str:
    """What several paths begin with."""
    if len(paths) == 1:
        return next(iter(paths))
    columns = zip(*[path.split(".") for path in paths], strict=False)
    return ".".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, columns))
