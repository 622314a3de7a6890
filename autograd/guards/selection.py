"""What was not chosen: it gets no gradient, and that must stay so wherever its own derivative is infinite or NaN.

`sqrt(relu(x))` at -1, and the branch that `where` does not take, multiply a cotangent of 0 by an infinite slope, and that is
NaN. So a walk keeps, behind operations that select, where each node is alive: where it has a share in something chosen. What
is dead is cut off, whatever it consists of. A 0 that is no matter of choice is not cut: there 0 * inf is what IEEE 754 makes
of it.

To keep account of it always would cost too much. So a walk whose cotangents are plain lets NaN through at first; only if it comes
out at the end, or where it would be dropped, is all done again, with care. Where nothing but products and other sums lies behind
relu and its kin, as in most networks, it is not even looked for: infinite weights or data there give NaN.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..context import blocks, repeated

if TYPE_CHECKING:
    from ..graph import Node

Row = Callable[..., Any]
Pull = Callable[..., Sequence[Any]]


def has_nan(x: Any) -> bool:
    """Whether NaN is among these. Of arrays that are not NumPy's it is taken to be: nothing is computed to find out."""
    x = getattr(x, "_raw", x)
    if isinstance(x, np.ndarray):
        return bool(x.size) and bool(np.isnan(np.maximum.reduce(x, axis=None)))
    return bool(x != x) if isinstance(x, float | np.floating) else True


def spoilt(g: Any) -> bool:
    """The same as `has_nan`, by far faster, but it may overflow."""
    if type(g) is np.ndarray:
        flat = g.ravel()
        g = flat.dot(flat)  # a sum of squares is NaN for no other reason
        return bool(g != g)
    return has_nan(g)


class Selection:
    """Where the nodes are alive that lie behind the operations met in a walk that select."""

    __slots__ = ("alive", "branches", "dropped", "rows", "silence")

    def __init__(self, rows: Mapping[str, Row]) -> None:
        self.rows = rows
        self.alive: dict[Node, Any] = {}  # of those that wait and are dead somewhere
        self.branches = self.dropped = False  # whether a branch was selected; whether NaN may have been dropped
        self.silence: np.errstate | None = None  # of warnings until the walk ends, once arrays may have got NaN

    def pull(self, node: Node, g: Any, y: Any, pending: Mapping[Node, Any], careful: bool) -> Sequence[Any]:
        """Pull back; if `careful`, cut off what is dead, and note where the arguments are alive.

        What is `recorded` will run on other data, and so is to find out itself; it does so behind branches only.
        """
        op: Any = node.op
        pull: Pull = op.pull
        selects = op.selects
        recorded = bool(blocks) and repeated()
        if selects is not None and (op.branches or not recorded):
            self.branches = self.branches or op.branches
        elif recorded:
            selects = None
        if self.silence is None and selects is None and (op.elementwise or self.branches):
            self.silence = np.errstate(all="ignore")  # what was not chosen makes no warnings
            self.silence.__enter__()
        if not careful:
            if op.selects is not None and (self.silence is not None or type(g) is float) and spoilt(g):
                self.dropped = True
            return pull(node.args, g, y, node.params)
        over = self.alive.pop(node, None)
        if over is None and selects is None:
            pulled = pull(node.args, g, y, node.params)
            if self.alive:
                for arg, d in zip(node.args, pulled, strict=True):
                    if d is not None and hasattr(arg, "_raw"):
                        self.alive.pop(arg, None)  # it has a share in this, everywhere
            return pulled
        xs = node.args if recorded else [getattr(arg, "_raw", arg) for arg in node.args]
        taken = selects(xs, node if recorded else node._raw, node.params) if selects is not None else (None,) * len(xs)
        args: Sequence[Any] = node.args
        if op.sums and over is not None and not recorded:
            args = self.without_the_dead(node, over, hasattr(y, "_raw"))
        cut = list(pull(args, g, y, node.params))
        met: list[Node] = []
        for i, (arg, mask) in enumerate(zip(node.args, taken, strict=True)):
            if cut[i] is None or not hasattr(arg, "_raw"):
                continue
            if over is not None:
                mask = self.both(mask, self.reached(node, over, i, recorded))
            if mask is not None:
                if (op.selects is None and not op.sums) if recorded else not np.all(mask):
                    cut[i] = self.rows["where"](mask, cut[i], 0.0)
                mask = self.rows["reached"](mask, shape=np.shape(arg._raw))
            if arg not in pending and not any(arg is other for other in met):
                if mask is not None:
                    self.alive[arg] = mask
            elif arg in self.alive:
                before = self.alive.pop(arg)
                if mask is not None:
                    self.alive[arg] = self.rows["logical_or"](before, mask)
            met.append(arg)
        return cut

    def both(self, a: Any, b: Any) -> Any:
        return b if a is None else a if b is None else self.rows["logical_and"](a, b)

    def reached(self, node: Node, over: Any, place: int, recorded: bool) -> Any:
        """Where an argument has a share in what is alive of the result."""
        op: Any = node.op
        if op.elementwise:
            return over
        if op.reach is None:
            return self.rows["any"](over, axis=None, keepdims=False)
        alive = op.reach(over * 1.0, place, node.args, node if recorded else node._raw, node.params)
        return self.rows["not_equal"](alive, 0.0)  # a number of shares

    def without_the_dead(self, node: Node, over: Any, always: bool) -> Sequence[Any]:
        """The arguments, with 0 in place of what has no share in anything alive; unless `always`, if some are infinite or NaN."""
        args = list(node.args)
        for i, x in enumerate([getattr(arg, "_raw", arg) for arg in args]):
            if isinstance(x, np.ndarray) and x.dtype.kind == "f" and (always or not np.isfinite(x).all()):
                alive = self.rows["reached"](self.reached(node, over, i, False), shape=x.shape)
                if not np.all(alive):
                    args[i] = self.rows["where"](alive, args[i], 0.0)
        return args

    @staticmethod
    def doubts(nodes: Sequence[Node]) -> bool:
        """Whether a graph has something behind an operation that selects that can make NaN there."""
        behind: dict[Node, bool] = {}  # those behind one that selects, and whether behind a branch
        for node in nodes:  # youngest first
            op, branches = node.op, behind.get(node)
            if op is None:
                continue
            if branches is not None and op.selects is None and (op.elementwise or branches):
                return True
            if op.selects is not None:
                branches = bool(branches) or op.branches
            if branches is not None:
                for arg in node.args:
                    if hasattr(arg, "_raw"):
                        behind[arg] = behind.get(arg, False) or branches
        return False

    def let_through(self, ends: Mapping[Node, Any]) -> bool:
        """Whether NaN has come out, or been dropped on the way, that may be of what is dead."""
        if self.dropped or self.silence is None:
            return self.dropped or any(g != g for g in ends.values() if type(g) is float)
        with np.errstate(all="ignore"):
            return any(map(spoilt, ends.values()))

    def end(self) -> None:
        if self.silence is not None:
            self.silence.__exit__(None, None, None)
