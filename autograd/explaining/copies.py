"""Copies that are differentiated in place of what was computed: a graph with its uses apart, an operation on stand-ins.

In the copy of a graph each use of a variable is its own node. The walk runs on the copy, and the cotangent of that node is
what this use contributes. The copy of an operation has variables of given names: what its rules record is written with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, final

import numpy as np

from ..context import next_birth
from ..graph import FLOATS, NO_PARAMS, Node, ancestry, changed
from ..guards.blocks import enable_grad
from ..guards.seals import verify
from ..primitive import Op, kinds, new, same


@final
class Uses:
    """The graph behind `root` once more, with a node for each use of a variable.

    With `of`, for the uses of that variable alone; then only what was computed from it is copied, and nothing flows on
    through it. `copies` are those of the nodes, oldest first. `uses` has a place for each argument of each of these
    nodes, None where that has no use to look at.
    """

    def __init__(self, root: Node, of: Node | None = None) -> None:
        self.copies: dict[Node, Node] = {}
        self.uses: dict[Node, list[Node | None]] = {}
        self.verified: set[int] | None = None  # a copy has no seals that the walk could look at
        for node in reversed(ancestry(root)):
            if of is None or any(arg is of or self.is_copied(arg) for arg in node.args):
                self.copy(node, of)

    def is_copied(self, arg: Any) -> bool:
        return isinstance(arg, Node) and arg in self.copies

    def copy(self, node: Node, of: Node | None) -> None:
        if node.op is not None:
            self.verified = verify(node, getattr(node, "seals", None), self.verified)
        args = list(node.args)
        uses = self.uses[node] = [None] * len(args)
        for position in reversed(range(len(args))):  # the youngest is next in the walk: the first argument
            arg = args[position]
            if not isinstance(arg, Node):
                continue
            if arg.birth > node.birth:
                raise changed(arg, node)
            args[position] = self.copies.get(arg, arg)
            if of is None or arg is of:
                args[position] = uses[position] = use_of(arg, self.copies.get(arg))
        copy = self.copies[node] = copied(node)
        copy.args, copy.birth = tuple(args), next_birth()


def use_of(arg: Node, copy: Node | None) -> Node:
    """A node that passes on what it is given; a leaf where there is no copy to pass it on to."""
    use = copied(arg, leaf=True)
    use.birth = next_birth()
    if copy is not None:
        use.op, use.args = USE, (copy,)
    return use


USE = Op("use", lambda x: x, (same,), lambda args, g, y, params: (g,), elementwise=True, fits=FLOATS)


@final
class Rehearsal:
    """One operation and its rules, run on stand-ins: variables of the same data, but with the names they are given."""

    def __init__(self, result: Node, y: str, args: Sequence[str], g: str) -> None:
        self.result, self.g = result, g
        self.y = copied(result, leaf=True, name=y)
        stands: dict[int, Any] = {}
        for arg, name in zip(result.args, args, strict=False):  # an argument without a name is shown as it is
            if id(arg) not in stands:
                stands[id(arg)] = stand_in(arg, name)
        self.args = tuple([stands.get(id(arg), arg) for arg in result.args])

    @cached_property
    def computed(self) -> Node:
        """The operation itself, on its arguments."""
        whole = copied(self.result)
        whole.args = self.args
        return whole

    def derivative(self, position: int) -> Any:
        """What the rule makes of the cotangent 1; None where nothing flows, or the rule does not work on variables."""
        return self.shown_one[position]

    def contribution(self, position: int) -> Any:
        """What the rule makes of the cotangent g, as it fits the argument; else as `derivative`."""
        arg, d = self.args[position], self.shown_g[position]
        return None if d is None or not isinstance(arg, Node) else tried(lambda: arg.fit(d))

    @cached_property
    def shown_one(self) -> Sequence[Any]:
        return self.answers(1.0)

    @cached_property
    def shown_g(self) -> Sequence[Any]:
        return self.answers(copied(self.result, leaf=True, name=self.g))

    def answers(self, g: Any) -> Sequence[Any]:
        op: Any = self.result.op
        answers: Sequence[Any] | None = tried(lambda: list(op.pull(self.args, g, self.y, self.result.params)))
        return [None] * len(self.args) if answers is None else answers


def tried(run: Callable[[], Any]) -> Any:
    """What a rule records; None where it fails: one of the user's own need not work on variables."""
    try:
        with enable_grad(), np.errstate(all="ignore"):
            return run()
    except Exception:
        return None


def stand_in(arg: Any, name: str) -> Any:
    """A variable or an array as a variable of that name; a number as it is."""
    if isinstance(arg, Node):
        return copied(arg, leaf=True, name=name)
    if not np.ndim(arg):
        return arg
    node = new(kinds[np.ndarray])
    node.become_leaf(arg, name)
    node.birth = 0  # older than whatever is computed from it
    return node


def copied(node: Node, leaf: bool = False, name: str | None = None) -> Node:
    """A node of the same data and birth; as a leaf it was made from nothing."""
    copy = new(type(node))
    copy._raw, copy.birth, copy.name, copy.grad = node._raw, node.birth, name, None
    copy.op, copy.args, copy.params = (None, (), NO_PARAMS) if leaf else (node.op, node.args, node.params)
    return copy
