"""Watching for the first NaN or infinity: which operation made it out of finite numbers, where, and from what.

While a block is watched, every result is looked at when it is made, and every cotangent when it is added to those that
are pending; each operation then remembers the user's line that called it, and lives and dies with its node. Outside
such blocks nothing is done at all: a watcher is asked for only where the engine asks whether it is recording.
"""

from __future__ import annotations

__all__ = ["AnomalyError", "detect_anomaly"]

import math
from collections.abc import Container, Mapping
from typing import Any, final

import numpy as np

from ..context import Token, Watcher, innermost, tell_of
from ..graph import Node, cotangents
from ..guards.blocks import Block, Holding, enable_grad
from ..guards.settings import flag
from ..primitive import Op, born
from ..source import Line, LocatedOp, line_of, users_line

SHOWN = 4  # arguments that a message shows at most


@final
class AnomalyError(FloatingPointError):
    """An operation made a NaN or an infinity out of finite numbers.

    `node` is that operation's result: draw it to see the graph up to there. `operation` is its name; `backward` says in
    which pass it happened, `position` there for which argument, from 0 (None: of no single one); `line` is the line of
    the user's code that called the operation, None if that was outside the block.
    """

    def __init__(self, message: str, node: Node, backward: bool, position: int | None, line: Line | None) -> None:
        super().__init__(message)
        self.node, self.backward, self.position, self.line = node, backward, position, line
        self.operation = node.op.name if node.op is not None else ""

    def __reduce__(self) -> tuple[type[FloatingPointError], tuple[str]]:
        """To another process goes what it says: a graph cannot."""
        return FloatingPointError, (str(self),)


class detect_anomaly(Block):
    """A block that stops at the first operation that makes a NaN or an infinity out of finite numbers.

    Forward, that is a result whose arguments are all finite; backward, a cotangent from a finite one, also where several
    are added up. The error is an `AnomalyError`, a `FloatingPointError`: it names the operation, the values, and the line
    of your code that called it, and its `node` can be drawn. With `forward=False` only backward is watched: a branch that
    `where` does not take may then be infinite. What was not chosen is cut off, and no anomaly, whatever its derivative is; an
    infinite cotangent that a selection drops only afterwards, as at the root of `relu(x)`, is one. Put the forward pass into the block too: lines are remembered in it alone.

    Also a decorator, `@detect_anomaly()`. Per thread and per task; blocks may be nested. NumPy's own floating-point
    warnings are silent inside. Everything is slower inside, and nothing outside.

    >>> import chainrule as cr
    >>> x = cr.Value(0.0, name="x")
    >>> with cr.detect_anomaly():
    ...     y = x.sqrt()
    ...     try:
    ...         y.backward()
    ...     except cr.AnomalyError as error:
    ...         print(str(error).splitlines()[0])
    backward of sqrt made inf out of a finite cotangent
    """

    def __init__(self, *misplaced: object, forward: bool = True) -> None:
        super().__init__(*misplaced)
        self.forward = flag("detect_anomaly: forward", forward)

    def token(self) -> Watcher:
        tell_of("detect_anomaly()")
        return AnomalyWatcher(self.forward)


@final
class AnomalyWatcher(Watcher):
    """What looks for NaN and infinities in one block."""

    def __init__(self, forward: bool) -> None:
        self.forward = forward
        self.warnings: Any = None  # NumPy's settings around it

    def entered(self) -> None:
        self.warnings = np.seterr(divide="ignore", over="ignore", invalid="ignore")

    def left(self) -> None:
        """Put NumPy's settings back, or leave that to a watcher inside that is left later."""
        before = self.warnings
        token: Token | None = innermost.get()
        inside: AnomalyWatcher | None = None
        while token not in (self, None):
            inside = token if isinstance(token, AnomalyWatcher) and token.warnings is not None else inside
            token = token.outer
        if token is not None and before is not None:  # another context has settings of its own
            if inside is not None:
                inside.warnings = before
            else:
                np.seterr(**before)
        self.warnings = None

    def made(self, data: Any, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Op:
        located = op if isinstance(op, LocatedOp) else LocatedOp(op, users_line())
        if self.forward and not finite(data) and all(map(finite, map(raw, args))):
            raise made_forward(data, located, args, params)
        return located

    def walk(
        self, root: Node, seed: Any, wanted: Container[Node] | None, create_graph: bool, since: int
    ) -> dict[Node, Any]:
        pending = WatchedCotangents()
        with Holding(AnomalyWatcher(forward=False)):  # what the rules make is judged when it is added to the pending
            return cotangents(root, seed, wanted, create_graph=create_graph, since=since, pending=pending, careful=True)


class WatchedCotangents(dict[Node, Any]):
    """The pending cotangents of a walk: it takes out those of a node, and puts in what the node's rules made of them."""

    __slots__ = ("g", "node")

    def __init__(self) -> None:
        super().__init__()
        self.node: Node | None = None
        self.g: Any = None

    def pop(self, node: Node) -> Any:  # type: ignore[override]
        self.node, self.g = node, super().pop(node)
        return self.g

    def __setitem__(self, arg: Node, d: Any) -> None:
        if self.node is not None and not finite(raw(d)) and finite(raw(self.g)):
            raise made_backward(self.node, self.g, arg, d)
        super().__setitem__(arg, d)


def made_forward(data: Any, op: LocatedOp, args: tuple[Any, ...], params: Mapping[str, Any]) -> AnomalyError:
    with (
        Holding(AnomalyWatcher(forward=False)),
        enable_grad(),
    ):  # to show what was computed, also where nothing is recorded
        node: Node = born(data, op, args, params)
    lines = [f"{op.name} made {bad_part(data)} out of finite numbers", called(node), *given(node, data)]
    return AnomalyError("\n  ".join(lines), node, False, None, op.line)


def made_backward(node: Node, g: Any, arg: Node, total: Any) -> AnomalyError:
    """The error for `total`, the bad cotangent of `arg` as it stands now that `node` has had its cotangent `g`."""
    op: Any = node.op
    position = culprit(node, g, arg)
    if position is None:
        what = f"adding up the cotangents of an argument of {op.name} made {bad_part(raw(total))}"
        about = f"for argument {', '.join(str(i + 1) for i, x in enumerate(node.args) if x is arg)}"
    else:
        what = f"backward of {op.name} made {bad_part(raw(total))} out of a finite cotangent"
        about = f"for argument {position + 1}"
    lines = [what, f"{about} of {len(node.args)}", called(node), *given(node, raw(total))]
    place = place_of(op, raw(total))
    for name, data in ("result", node._raw), ("cotangent", raw(g)):
        lines.append(f"{name}: {shown(data, place, np.shape(node._raw))}")
    return AnomalyError("\n  ".join(lines), node, True, position, line_of(node))


def culprit(node: Node, g: Any, arg: Node) -> int | None:
    """The position of `arg` whose rule made a bad cotangent; None if each rule did well and their sum did not."""
    op: Any = node.op
    pulled = op.pull(node.args, g, node if isinstance(g, Node) else node._raw, node.params)
    bad = (i for i, (x, d) in enumerate(zip(node.args, pulled, strict=True)) if x is arg and not finite(raw(d)))
    return next(bad, None)


def called(node: Node) -> str:
    op: Any = node.op
    line = line_of(node)
    return f"at {line}" if line else f"{op.name} was called outside detect_anomaly(), so its line is not known"


def given(node: Node, bad: Any) -> list[str]:
    """What the operation was made from, one line an argument; of arrays, where the bad element is, if that is known."""
    op: Any = node.op
    place = place_of(op, bad) if np.shape(bad) == np.shape(node._raw) else None
    lines = []
    for i, arg in enumerate(node.args[:SHOWN], start=1):
        name = f" {arg.name}" if isinstance(arg, Node) and arg.name else ""
        lines.append(f"argument {i}{name}: {shown(raw(arg), place, np.shape(bad))}")
    if len(node.args) > SHOWN:
        lines.append(f"and {len(node.args) - SHOWN} arguments more")
    return lines


def place_of(op: Op, bad: Any) -> tuple[int, ...] | None:
    """Where an array that an element-wise operation made is bad first."""
    if not op.elementwise or not np.shape(bad):
        return None
    return tuple(np.argwhere(~np.isfinite(np.asarray(bad)))[0].tolist())


def bad_part(data: Any) -> str:
    """The first NaN or infinity, and how many more there are."""
    array = np.asarray(data)
    bad = np.argwhere(~np.isfinite(array))
    place = tuple(bad[0].tolist())
    word = "NaN" if np.isnan(array[place]) else f"{float(array[place])}"
    if not array.shape:
        return word
    more = f", first of {len(bad)} elements" if len(bad) > 1 else ""
    return f"{word} at {place}{more}"


def shown(data: Any, place: tuple[int, ...] | None, shape: tuple[int, ...]) -> str:
    """Data in a few words: a number, or an array's kind and its element at one place or else its range."""
    if not np.shape(data):
        return f"{float(data)!r}"
    array = np.asarray(data)
    kind = f"{array.dtype} {array.shape}"
    if place is not None and len(place) == len(shape) and np.broadcast_shapes(array.shape, shape) == shape:
        return f"{kind}, {float(np.broadcast_to(array, shape)[place])!r} at {place}"
    return f"{kind} from {float(array.min())!r} to {float(array.max())!r}" if array.size else kind


def raw(x: Any) -> Any:
    return x._raw if isinstance(x, Node) else x


def finite(x: Any) -> bool:
    return x is None or (math.isfinite(x) if type(x) is float else bool(np.all(np.isfinite(x))))
