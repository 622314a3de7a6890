"""A drawing as plain data: numbers, boxes, arrows, and the text that says the same in a table.

A `Diagram` is immutable and free of memory addresses. How numbers, names and parameters are shortened for a drawing is
decided here, once for every kind of picture.
"""

from __future__ import annotations

__all__ = ["Diagram", "DiagramEdge", "DiagramNode", "Fold", "Quantity"]

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from chainrule.autograd.checking.report import WRONG
from chainrule.autograd.plain import Saved

from ..folding.groups import Group

SMALL = 4  # an array of at most so many elements shows them all
FREQUENT = 3  # operations of a fold that are listed by name
LONGEST = 24  # characters of a name or of an operation's parameters; the rest is an ellipsis


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is shown of a number or an array."""

    magnitude: float  # |x| of a number, the root mean square of an array; NaN or infinite if any element is
    numbers: tuple[float, ...] | None  # the elements, last axis fastest; None if there are too many to show
    shape: tuple[int, ...] | None = None  # None for a plain number
    dtype: str | None = None
    given: bool = False  # a constant: no rounding makes a whole number of it

    @property
    def finite(self) -> bool:
        return math.isfinite(self.magnitude)

    @property
    def text(self) -> str:
        if self.numbers is None:
            return number(self.magnitude)
        return ", ".join(map(told_apart if self.given else number, self.numbers)) or "empty"


@dataclass(frozen=True, slots=True)
class Fold:
    """What a box that stands for a part of the graph holds."""

    title: str  # as in "Linear", or "chain"
    path: str  # what opens it, as in "layers.0"
    times: int  # how many parts of the same structure are drawn as this one
    serial: bool  # these parts follow one another, rather than lie side by side
    nodes: int  # variables and results, in all of them
    operations: tuple[tuple[str, int], ...]  # how many of each, the most frequent first
    parameters: int = 0  # how many numbers its parameters hold
    grad_norm: float | None = None  # the norm of all gradients of its parameters; None if none has been computed
    not_finite: int = 0  # how many of the nodes hold a NaN or an infinity, as data or gradient
    wrong: tuple[str, ...] = ()  # the operations, by sign or name, whose rule a check found wrong


@dataclass(frozen=True, slots=True)
class DiagramNode:
    """A value or a constant, with the operation that it is the result of; or a fold, with its result."""

    id: int
    name: str
    data: Quantity
    grad: Quantity | None  # None: has not been computed
    symbol: str = ""  # of the operation; empty for what was not computed
    operation: str = ""  # its name
    params: str = ""
    constant: bool = False  # plain data among the arguments
    changed: bool = False  # since the graph was computed from it
    line: str = ""  # of the user's code that made it, where lines were recorded
    verdict: str = ""  # what a check found of the operation, or of the variable
    fold: Fold | None = None
    finding: str = ""  # the numbers that the verdict rests on, in words
    old_grad: bool = False  # its gradient is not of this result, or not of this data

    @property
    def wrong(self) -> tuple[str, ...]:
        """The operations here, by sign or name, whose rule a check found wrong."""
        if self.fold is not None:
            return self.fold.wrong
        return (self.symbol or self.operation,) if self.verdict == WRONG and self.operation else ()


@dataclass(frozen=True, slots=True)
class DiagramEdge:
    """One argument of one operation: `source` is the argument, `target` the result. Where one of them is a fold, there
    is one edge for all that leads from the one to the other."""

    source: int
    target: int
    position: int  # among the arguments, from 0
    derivative: float | None  # of the result with respect to this argument; None where that is not a single number
    verdict: str = ""  # what a check found of this derivative
    finding: str = ""  # the numbers that the verdict rests on, in words
    values: int = 1  # how many values lead from the source to the target


@dataclass(frozen=True, slots=True)
class Diagram:
    """The plain description of a graph. `nodes` are in the order of their ids; `edges` by result, then by position.

    As text it is a table with one line for each node; ∂ are the derivatives of the node with respect to its args.
    """

    root: int
    nodes: tuple[DiagramNode, ...]
    edges: tuple[DiagramEdge, ...]
    groups: tuple[Group, ...] = ()  # calls of modules; their members are the nodes shown, by id

    def __str__(self) -> str:
        incoming: dict[int, list[DiagramEdge]] = {node.id: [] for node in self.nodes}
        for edge in self.edges:
            incoming[edge.target].append(edge)
        rows = [HEADER, *(row(node, incoming[node.id]) for node in self.nodes)]
        filled = [any(cells) for cells in zip(*rows[1:], strict=True)]
        return table([tuple(compress(cells, (*[True] * ALWAYS, *filled[ALWAYS:]))) for cells in rows])


HEADER = ("id", "name", "op", "args", "∂", "data", "grad", "check", "line")
ALWAYS = 7  # columns that are there even if nothing stands in them


def size(data: Any) -> int:
    return 1 if type(data) is float or isinstance(data, int) else math.prod(data.shape)


def finite(x: Any) -> bool:
    return math.isfinite(x) if type(x) is float else bool(np.isfinite(x).all())


def quantity(x: Any) -> Quantity:
    if type(x) is float or isinstance(x, int):
        return Quantity(abs(x), (float(x),))
    shape, dtype = tuple(x.shape), str(x.dtype)
    if size(x) > SMALL:
        return Quantity(root_mean_square(x), None, shape, dtype)
    numbers = tuple(float(number) for number in x.ravel())
    return Quantity(root_mean_square(x), numbers, shape, dtype)


def constant_quantity(x: Any) -> Quantity:
    return dataclasses.replace(quantity(x), given=True)


def root_mean_square(x: Any) -> float:
    """In double precision and scaled by the largest, so that it overflows only where the answer does."""
    if type(x) is float or isinstance(x, int):
        return abs(float(x))
    x = abs(x.astype(float))
    if not x.size:
        return 0.0
    high = float(x.max())
    return high * math.sqrt(float(((x / high) ** 2).mean())) if math.isfinite(high) and high > 0.0 else high


def parameters(params: Mapping[str, Any]) -> str:
    """How an operation was asked for: what differs from 'no' and 'none', as in axis=0."""
    if not params:
        return ""
    shown = {key: x for key, x in params.items() if x is not None and x is not False and not isinstance(x, Saved)}
    return shortened(", ".join(f"{key}={parameter_text(x)}" for key, x in shown.items()))


def parameter_text(x: Any) -> str:
    """A parameter in a few characters, without memory addresses."""
    if isinstance(x, slice):
        return ":".join(
            "" if part is None else parameter_text(part) for part in (x.start, x.stop, *([x.step] if x.step else []))
        )
    if isinstance(x, tuple | list):
        return f"({', '.join(map(parameter_text, x))})"
    if isinstance(x, np.ndarray):
        return f"{x.dtype}{x.shape}"
    if isinstance(x, float):
        return number(x)
    return "…" if x is Ellipsis else str(x) if isinstance(x, int | str | np.dtype) else type(x).__name__


def told_apart(x: float) -> str:
    """As many digits as it takes to tell a number from a whole one."""
    texts = [number(x, digits) for digits in (4, 6, 9, 17)]
    return next((text for text in texts if x.is_integer() or not float(text).is_integer()), texts[-1])


def number(x: float, digits: int = 4) -> str:
    """So many significant digits; whole numbers below a million in full."""
    if not math.isfinite(x):
        return "NaN" if x != x else "inf" if x > 0 else "-inf"
    if abs(x) < 1e6 and x == int(x):
        return str(int(x))
    mantissa, e, exponent = f"{x:.{digits}g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def shortened(text: str, longest: int = LONGEST) -> str:
    """Text for one line: control characters written out, and an ellipsis for what is too long."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u200d" else repr(c)[1:-1] for c in text)  # \u200d joins emoji


def row(node: DiagramNode, args: Sequence[DiagramEdge]) -> tuple[str, ...]:
    return (
        str(node.id),
        " ".join(filter(None, [shortened(node.name), whole_title(node.fold) if node.fold else ""])),
        operation(node),
        ", ".join(str(edge.source) for edge in args),
        ", ".join("–" if edge.derivative is None else number(edge.derivative) for edge in args)
        if has_slope(args)
        else "",
        written_out(node.data) + (" (changed since)" if node.changed else ""),
        "" if node.constant else gradient(node),
        f"{node.verdict}: {node.finding}" if node.finding else node.verdict,
        node.line,
    )


def operation(node: DiagramNode) -> str:
    """What stands in a row of the table for the operation."""
    if node.fold is not None:
        return f"[{'; '.join(inside(node.fold))}]"
    return "constant" if node.constant else f"{node.symbol} {node.params}".strip()


def whole_title(fold: Fold) -> str:
    """The title of a fold, and its path where that says more."""
    return heading(fold) + (f" ({shortened(fold.path, 40)})" if fold.path not in ("", fold.title) else "")


def heading(fold: Fold) -> str:
    """The title of a fold, and how many parts there are."""
    times = f" × {fold.times:,}" if fold.times > 1 else ""
    return f"{shortened(fold.title)}{times}{' one after another' if fold.serial else ''}"


def inside(fold: Fold) -> list[str]:
    """What a fold holds, in words."""
    operations = [f"{count:,} {name}" for name, count in fold.operations[:FREQUENT]]
    if len(fold.operations) > FREQUENT:
        operations.append(f"{sum(count for _, count in fold.operations[FREQUENT:]):,} other")
    parts = [f"{fold.nodes:,} node{'s' if fold.nodes != 1 else ''}"] if fold.nodes else []
    parts += [", ".join(operations)] if operations else []
    parts += [f"{fold.parameters:,} parameter{'s' if fold.parameters != 1 else ''}"] if fold.parameters else []
    parts += [f"|grad| {number(fold.grad_norm)}"] if fold.grad_norm is not None else []
    parts += [f"{fold.not_finite:,} NaN or infinite"] if fold.not_finite else []
    return parts


def gradient(node: DiagramNode) -> str:
    if node.grad is None:
        return "–"
    return written_out(node.grad, typed=False) + (" (old)" if node.old_grad else "")


def has_slope(args: Sequence[DiagramEdge]) -> bool:
    return any(edge.derivative is not None for edge in args)


def written_out(x: Quantity, typed: bool = True) -> str:
    text = f"rms {x.text}" if x.numbers is None else x.text
    return f"{x.dtype} {x.shape} {text}" if typed and x.shape is not None else text


def table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(padded(cells, widths)).rstrip() for cells in rows)


def padded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    return (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
