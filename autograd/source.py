"""Where in the user's code a node comes from: the line that called its operation, recorded on request.

Looking for the line costs more than most operations do, so it is done only inside `record_lines()` and the blocks that
build on it. The line lives and dies with its node: it is kept by the operation that the node remembers.
"""

from __future__ import annotations

__all__ = ["Line", "line_of", "record_lines"]

import inspect
import linecache
import re
import sys
from collections.abc import Container, Mapping
from types import FunctionType
from typing import Any, NamedTuple, final

from .context import Watcher, tell_of
from .graph import Node, cotangents
from .guards.blocks import Block
from .plain import describe
from .primitive import Op

PASSED = ("chainrule", "numpy")  # packages whose frames are passed over on the way to the user's line
CELL = re.compile(r"[/\\]ipykernel_\d+[/\\][^/\\]*$")  # where Jupyter says that a cell is


class Line(NamedTuple):
    """A line of the user's code."""

    file: str
    number: int
    function: str

    @property
    def code(self) -> str:
        """Its text; empty where the file cannot be read."""
        return linecache.getline(self.file, self.number).strip()

    def __str__(self) -> str:
        file = "notebook cell" if CELL.search(self.file) else self.file  # Jupyter's file has another name in every run
        place = f"{file}:{self.number}, in {self.function}"
        return f"{place}: {self.code}" if self.code else place


@final
class LocatedOp(Op):
    """An operation that remembers the line that called it."""

    __slots__ = ("line",)

    def __init__(self, op: Op, line: Line | None) -> None:
        super().__init__(op.name, op.forward, op.rules, op.pull, op.symbol, op.elementwise, op.fits, op.forwards)
        self.line, self.listed, self.reads, self.reach = line, op.listed, op.reads, op.reach
        self.selects, self.branches, self.sums = op.selects, op.branches, op.sums


def line_of(node: Node) -> Line | None:
    """The line of the user's code that called the operation a node is the result of, if that was recorded."""
    if not isinstance(node, Node):
        raise TypeError(f"line_of: expected a Value or a Tensor, got {describe(node)}")
    return node.op.line if isinstance(node.op, LocatedOp) else None


def rule_of(op: Op, argument: int | None) -> Line | None:
    """Where an operation's rule for one argument is defined, if that is in the user's code; None: of its only rule."""
    rules = op.rules if argument is None else op.rules[argument : argument + 1]
    rule = inspect.unwrap(rules[0]) if len(rules) == 1 and rules[0] is not None else None
    if not isinstance(rule, FunctionType) or of_library(rule.__globals__):
        return None
    return Line(rule.__code__.co_filename, rule.__code__.co_firstlineno, rule.__code__.co_name)


def of_library(namespace: Mapping[str, Any]) -> bool:
    return str(namespace.get("__name__", "")).partition(".")[0] in PASSED


def users_line() -> Line | None:
    """The innermost line on the way here that belongs to neither this package nor NumPy."""
    frame = sys._getframe(1)
    while frame is not None:
        if not of_library(frame.f_globals):
            return Line(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_name)
        frame = frame.f_back  # type: ignore[assignment]
    return None


class record_lines(Block):
    """A block in which every operation remembers the line of your code that called it.

    Checks (`check`, `gradcheck`) and drawings then say the line beside the node. Also a decorator, `@record_lines()`. Per
    thread and per task; blocks may be nested. An operation costs a few times as much inside, and the same as ever outside.

    >>> import chainrule as cr
    >>> with cr.record_lines():
    ...     y = cr.Value(2.0) * 3.0
    >>> cr.line_of(y).number
    2
    """

    def token(self) -> Watcher:
        tell_of("record_lines()")
        return LineWatcher()


@final
class LineWatcher(Watcher):
    """What notes the lines of one block; what watches around it, goes on watching."""

    def made(self, data: Any, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Op:
        if self.around is not None:
            op = self.around.made(data, op, args, params)
        return op if isinstance(op, LocatedOp) else LocatedOp(op, users_line())

    def walk(
        self, root: Node, seed: Any, wanted: Container[Node] | None, create_graph: bool, since: int
    ) -> dict[Node, Any]:
        if self.around is not None:
            return self.around.walk(root, seed, wanted, create_graph, since)
        return cotangents(root, seed, wanted, create_graph=create_graph, since=since, careful=True)
