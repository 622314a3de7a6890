"""What a comparison of rules with numeric derivatives found: rows as data, the worst first, as text and as HTML.

A row stands for one derivative: of one operation by one argument (then it says which node), or of the whole by one
variable. Its verdict follows from numbers that the row holds, so that a reader can judge it again.
"""

from __future__ import annotations

__all__ = ["Report"]

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from html import escape
from pathlib import PurePath
from typing import Any, final

RIGHT, WRONG, KINK, NOISY = "right", "wrong", "kink", "too noisy"
NOT_FINITE, NOT_CONNECTED = "not finite", "not connected"
WORST_FIRST = (WRONG, NOT_CONNECTED, NOT_FINITE, NOISY, KINK, RIGHT)
ACCEPTED = (RIGHT, KINK, NOISY)
WHOLE = "whole"  # what stands in the place of an operation's name, of a row about the whole
UNEQUAL = "the same number, but not between the slopes of both sides"
SHOWN = 20  # rows that a printed report shows at most


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One derivative by either way, by how much they may differ, and the verdict.

    `error` is the error estimate of the numeric derivative, `tolerance` that and what rounding allows the other side.
    At a kink `left` and `right` are the slopes on its two sides: any value between them is a convention, and accepted.
    Of a row about one operation, `node` is the running number of its result as in `visualize.diagram` (None if that is in a graph
    of which the function took gradients), `argument` the position of the argument. Where more than one number was compared at once, they are the sum of all under random
    weights. `order` is 2 where the rule itself was differentiated. `line` is the line of your code that called the
    operation, where that was recorded, `rule` the one where the rule of an operation of your own is defined.
    """

    input: str
    index: tuple[int, ...]
    autograd: float
    numeric: float
    error: float
    tolerance: float
    verdict: str
    left: float | None = None
    right: float | None = None
    node: int | None = None
    operation: str = ""
    argument: int | None = None
    order: int = 1
    note: str = ""
    line: str = ""
    rule: str = ""

    @property
    def relative_error(self) -> float:
        """The difference relative to the larger of both."""
        largest = max(abs(self.autograd), abs(self.numeric))
        return abs(self.autograd - self.numeric) / largest if largest else 0.0

    @property
    def digits(self) -> float:
        """To how many significant digits the numeric derivative is known."""
        if not self.numeric or not self.error < abs(self.numeric):
            return 0.0
        return -math.log10(self.error / abs(self.numeric)) if self.error else math.inf

    @property
    def badness(self) -> float:
        """What the table is sorted by: the difference in tolerances; infinite where there is none to speak of."""
        difference = abs(self.autograd - self.numeric)
        if math.isnan(difference):
            return math.inf
        return difference / self.tolerance if self.tolerance else math.inf if difference else 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"index": list(self.index), "relative_error": self.relative_error, "digits": self.digits}

    def pair(self, digits: int) -> tuple[str, str]:
        """Both numbers, with as many more digits as it takes to tell what is wrong from what is right."""
        for many in range(digits, 18):
            both = f"{self.autograd:.{many}g}", f"{self.numeric:.{many}g}"
            if self.verdict != WRONG or both[0] != both[1]:
                break
        return both

    def cells(self) -> tuple[str, ...]:
        return (
            "" if self.node is None else str(self.node),
            self.operation or WHOLE,
            "" if self.argument is None else str(self.argument),
            self.input,
            ", ".join(map(str, self.index)),
            *self.pair(9),
            "" if self.left is None else f"{self.left:.6g} … {self.right:.6g}",
            f"{self.error if self.error >= sys.float_info.min else 0.0:.1e}",  # smaller ones only mean underflow
            f"{self.relative_error:.1e}",
            self.verdict + (f" ({self.digits:.0f} digits)" if self.verdict == NOISY else ""),
            file_line(self.line),
            self.note or (UNEQUAL if self.verdict == WRONG and self.autograd == self.numeric else ""),
        )

    def described(self) -> list[str]:
        """What an operation did wrong, and where."""
        which = "" if self.node is None else f"node {self.node}, "
        which += self.operation + ("" if self.argument is None else f", argument {self.argument}")
        mine, other = self.pair(6)
        numbers = "" if math.isnan(self.numeric) else f": {mine}, numeric {other}"
        said = [f"{self.verdict} by itself: {which}{numbers}{f' ({self.note})' if self.note else ''}"]
        if self.line:
            said.append(f"  called at {self.line}")
        if self.rule:
            said.append(f"  its rule is {self.rule}")
        return said


BLANK = Row("", (), math.nan, math.nan, math.nan, math.nan, RIGHT)  # to be filled in

HEADINGS = (
    "node", "operation", "argument", "input", "index", "autograd", "numeric", "left … right", "error estimate",
    "relative error", "verdict", "line", "note",
)  # fmt: skip
LEFT_ALIGNED = ("operation", "input", "index", "verdict", "line", "note")


def file_line(line: str) -> str:
    """File and number, as they fit into a table."""
    return PurePath(line.partition(", in ")[0]).name


@final
@dataclass(frozen=True, slots=True, repr=False)
class Report:
    """The rows of a comparison: true when all are accepted. Printed, it is a table, the worst first.

    Accepted are: right; kink, where any value between the slopes of both sides is a convention; too noisy to tell. Not
    accepted: wrong, not finite, not connected. `culprits` are the operations that a fault of the whole was traced to;
    `left_out` counts those that were not checked by themselves because the graph is huge.
    """

    rows: tuple[Row, ...]
    title: str = "gradcheck"
    notes: tuple[str, ...] = ()
    culprits: tuple[Row, ...] = ()
    left_out: int = 0

    def __bool__(self) -> bool:
        return all(row.verdict in ACCEPTED for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def wrong(self) -> list[Row]:
        """The rows that are wrong, the worst first."""
        return self.by_verdict(WRONG)

    def by_verdict(self, verdict: str) -> list[Row]:
        """The rows of one verdict, the worst first."""
        if verdict not in WORST_FIRST:
            raise ValueError(f"by_verdict: the verdicts are {', '.join(WORST_FIRST)}, got {verdict!r}")
        return [row for row in self.worst_first() if row.verdict == verdict]

    def by_parameter(self) -> Report:
        """One row for each variable that the whole depends on: its worst."""
        worst = {row.input: row for row in reversed(self.worst_first()) if row.node is None}
        names = dict.fromkeys(row.input for row in self.rows if row.node is None)
        return replace(self, rows=tuple(worst[name] for name in names))

    def raise_if_wrong(self) -> None:
        """In a test, one assertion: `AssertionError` with the table, unless every row is accepted."""
        if not self:
            raise AssertionError(str(self))

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, numbers and strings."""
        return {
            "right": bool(self),
            "notes": list(self.notes),
            "left_out": self.left_out,
            "rows": [row.to_dict() for row in self.rows],
            "culprits": [row.to_dict() for row in self.culprits],
        }

    def worst_first(self) -> list[Row]:
        return sorted(self.rows, key=lambda row: (WORST_FIRST.index(row.verdict), -row.badness))

    def summary(self) -> str:
        counts = Counter(row.verdict for row in self.rows)
        others = "".join(f", {counts[verdict]} {verdict}" for verdict in WORST_FIRST[:-1] if counts[verdict])
        left_out = f"; {self.left_out} operations left out, nodes=None checks all" if self.left_out else ""
        return f"{self.title}: {counts[RIGHT]} of {len(self)} right{others}{left_out}"

    def table(self) -> list[tuple[str, ...]]:
        """Headings and the rows to be shown, as text, without the columns in which nothing stands."""
        rows = self.worst_first()[:SHOWN]
        lines = [row.cells() for row in rows]
        filled = [i for i in range(len(HEADINGS)) if any(line[i] for line in lines)]
        if not any(row.operation for row in rows):
            filled = [i for i in filled if HEADINGS[i] != "operation"]
        return [tuple(line[i] for i in filled) for line in (HEADINGS, *lines)] if lines else []

    def more(self) -> str:
        return f"… and {len(self) - SHOWN} more, none worse" if len(self) > SHOWN else ""

    def __str__(self) -> str:
        lines = self.table()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        text = ["  ".join(map(aligned, line, widths, lines[0])).rstrip() for line in lines]
        return "\n".join(filter(None, [self.summary(), *self.notes, *text, self.more()]))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        lines = self.table()
        rows = "".join(
            f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in line)}</tr>"
            for tag, line in zip(["th", *["td"] * len(lines)], lines, strict=False)
        )
        text = "".join(f"<p>{escape(line)}</p>" for line in (self.summary(), *self.notes))
        return f"{text}<table>{rows}</table><p>{self.more()}</p>"


def aligned(cell: str, width: int, heading: str) -> str:
    return cell.ljust(width) if heading in LEFT_ALIGNED else cell.rjust(width)
