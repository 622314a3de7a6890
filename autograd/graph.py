"""The graph and the walk: what a node is, and how a cotangent travels back from a result to all it was made from.

Nothing here knows NumPy or the table of derivatives. A node has arguments, an operation with rules, and `fit`, which
brings an incoming cotangent to the node's own shape and kind; that is all the chain rule needs.

References run from a result to its arguments only, and an argument is older than its result. So a dropped result frees
its graph at once, births alone order the walk, and a node changed after it was used is found out: it is too young.
"""

from __future__ import annotations

__all__ = ["Node"]

from abc import abstractmethod
from collections.abc import Container, Mapping, Sequence
from heapq import heappop, heappush
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from .context import about_to_change, blocks, latest_change, next_birth, note_change, tell_of, tell_of_reading, watching
from .guards.seals import handed, locked, require_current, verify
from .guards.underflow import underflowed, underflowing

if TYPE_CHECKING:
    from .guards.selection import Selection
    from .primitive import Op

NO_PARAMS: Mapping[str, Any] = {}
Wanted: TypeAlias = "Container[Node] | None"  # whose cotangents are asked for; None: all
# A module's call: the module, a birth that what the call computed is younger than, the last call inside with the same result
Call: TypeAlias = "tuple[Any, int, Call | None]"
FLOATS, ALWAYS = "floats", "always"  # when what an operation's rules return fits the arguments as it is


class Node:
    """A variable: data, and the operation and arguments it was made from. `Value` and `Tensor` are its two kinds."""

    __slots__ = ("__weakref__", "_grad", "_raw", "args", "birth", "call", "frozen", "name", "op", "params", "seals")

    _raw: Any
    _grad: Any
    args: tuple[Any, ...]  # what the operation was given: nodes and plain data
    params: Mapping[str, Any]  # keyword arguments: how, not what
    op: Op | None  # None for a leaf
    birth: int
    frozen: bool  # of a leaf: whether `backward` leaves it without a gradient
    name: str | None
    seals: Any  # of the arrays of others that the operation was given; not set where there are none
    call: Call | None  # the outermost call of a module that this is a result of

    @property
    def grad(self) -> Any:
        """What `backward` found: the gradient of what it was called on with respect to this; None before."""
        if blocks:
            tell_of_reading(self)
        return self._grad

    @grad.setter
    def grad(self, g: Any) -> None:
        tell_of("a change to a gradient")
        self._grad = g

    @property
    def inputs(self) -> tuple[Any, ...]:
        """What the operation was given, as plain data; the arrays of nodes are read-only."""
        return tuple([locked(arg._raw) if isinstance(arg, Node) else arg for arg in self.args])

    @abstractmethod
    def fit(self, g: Any) -> Any:
        """Bring cotangent `g` to this node's shape and kind: the one place that enforces both."""

    @abstractmethod
    def seed(self, seed: Any = None) -> Any:
        """The cotangent that a backward pass from here starts with."""

    @abstractmethod
    def add_to_grad(self, g: Any, owned: bool) -> None:
        """Add `g` to `.grad`; unless `owned`, somebody else holds `g` too."""

    def become_leaf(self, data: Any, name: str | None) -> None:
        """Start life as a variable that was made from nothing."""
        if name is not None and not isinstance(name, str):
            raise TypeError(f"name must be a string or None, got {name!r}")
        self._raw, self.name = data, name
        self.op, self.args, self.params = None, (), NO_PARAMS
        self._grad = self.call = None
        self.frozen = False
        self.birth = next_birth()

    def require_leaf(self, what: str) -> None:
        if self.args:
            raise TypeError(
                f"only a leaf can be {what}, not the result of an operation; take its .data, and of that a .copy() to write into"
            )

    def touch(self) -> None:
        """Say that the data changed. Graphs built on the old data then refuse to be differentiated."""
        self.birth = note_change()

    def backward(self, seed: Any = None) -> None:
        """Differentiate this node with respect to everything it was made from, into each node's `.grad`.

        Leaves (the variables you made) accumulate over calls, as in PyTorch; nodes in between keep the latest
        gradient, and may share memory: read theirs, do not write. `seed` is the cotangent to start with, of this node's shape; a node with one element needs none.

        Raises `ValueError` for a missing or misshapen seed, `RuntimeError` where nothing was recorded or where data
        was changed since. After an error no gradient has changed.

        >>> import chainrule as cr
        >>> x = cr.Value(3.0)
        >>> (x * x).backward()
        >>> x.grad
        6.0
        """
        if self.op is not None and not self.args:
            raise constant_root("backward", self)
        found = cotangents(self, self.seed(seed))
        for node in found if blocks else ():
            if node.op is None:
                about_to_change(node)
        held: set[int] = set()  # the arrays that others keep; a leaf's gradient must be its own
        for node, g in found.items():  # leaves come last
            if node.op is not None:
                node._grad = g
            elif node.frozen:
                continue
            elif type(g) is float:
                node.add_to_grad(g, owned=True)
            else:
                held = held or {id(made._grad) for made in found if made.op is not None}
                node.add_to_grad(g, id(g) not in held)
                held.add(id(g))


def cotangents(
    root: Node,
    seed: Any,
    wanted: Wanted = None,
    *,
    create_graph: bool = False,
    since: int = 0,
    pending: dict[Node, Any] | None = None,
    careful: bool = False,
) -> dict[Node, Any]:
    """The ancestors of `root` that it depends on, each with its finished cotangent, consumers before producers.

    All of them, or only those that are `wanted`: the others' cotangents are freed on the way.
    The youngest node that waits is always next: all its consumers are younger still, so its cotangent is finished.
    Leaves wait for nobody and nobody for them: they come last, in the order in which the walk reached them.
    With `create_graph` the rules are shown the nodes themselves instead of their data, and so the cotangents are
    nodes that can be differentiated again: that is all there is to higher orders.
    Nothing born before `since`, when the oldest that is wanted was born, can lead to it: the walk stops there.
    `pending` is an empty dict to keep the unfinished cotangents in; those of leaves, and of what is older, stay in it.
    If `careful`, as with `create_graph`, what was not chosen is cut off; else only if NaN comes out: `guards/selection.py`.
    """
    if not careful and blocks and (watcher := watching()) is not None:
        return watcher.walk(root, seed, wanted, create_graph, since)
    pending = {} if pending is None else pending
    try:
        found = walked(root, seed, wanted, create_graph, since, pending, careful or create_graph)
    except FloatingPointError as error:
        if not underflowed(error):
            raise
        pending.clear()
        options = {"create_graph": create_graph, "since": since, "pending": pending, "careful": careful}
        return underflowing(cotangents, root, seed, wanted, **options)
    if found is None:
        found = walked(root, seed, wanted, create_graph, since, {}, True)
    return cast("dict[Node, Any]", found)


def walked(
    root: Node, seed: Any, wanted: Wanted, create_graph: bool, since: int, pending: dict[Node, Any], careful: bool
) -> dict[Node, Any] | None:
    """The walk; None where NaN came out that may be of what was not chosen, unless it was careful. Without its guards it is

    pending = {root: seed}
    for node in youngest_first(ancestry(root)):
        g = pending.pop(node)
        for arg, d in zip(node.args, node.op.pull(node.args, g, node, node.params)):
            pending[arg] = pending.get(arg, 0.0) + arg.fit(d)
    """
    pending[root] = seed
    waiting = [(-root.birth, root)] if root.op is not None and root.birth > since else []
    selection: Selection | None = None  # the operations met that select
    finished: dict[Node, Any] = {}
    verified: set[int] | None = None
    pop = pending.pop
    try:
        while waiting:
            node = heappop(waiting)[1]
            g = pop(node)
            if wanted is None or node in wanted:
                finished[node] = g
            op: Any = node.op
            args, birth = node.args, node.birth
            y = node if create_graph else node._raw
            fits = op.fits
            if fits is FLOATS and (create_graph or type(g) is not float):
                fits = None
            if op.selects is not None:
                selection = op.selection(selection, fits is FLOATS and g != g)
            if fits is FLOATS and not careful:
                pull = op.pull  # a slot, not a method: looked up by itself it is found faster
                pulled: Sequence[Any] = pull(args, g, y, node.params)
            else:
                if (seals := getattr(node, "seals", None)) is not None or handed:
                    verified = verify(node, seals, verified)
                pulled = selection.pull(node, g, y, pending, careful) if selection else op.pull(args, g, y, node.params)
            i = 0
            for arg in args:
                d = pulled[i]  # zip would cost 8 % of a scalar expression
                i += 1
                if not isinstance(arg, Node):
                    continue
                if arg.birth > birth:
                    raise changed(arg, node)
                if d is None:
                    end_at(arg)
                    continue
                if fits is None:
                    d = arg.fit(d)
                if arg in pending:
                    pending[arg] = pending[arg] + d
                else:
                    pending[arg] = d
                    if arg.op is not None and arg.birth > since:
                        heappush(waiting, (-arg.birth, arg))
                    elif since:
                        end_at(arg)
    finally:
        if selection is not None:
            selection.end()
    finished.update(pending if wanted is None else {leaf: g for leaf, g in pending.items() if leaf in wanted})
    if selection is not None and not careful and selection.let_through(pending if wanted is None else finished):
        return None
    return finished


def end_at(arg: Node) -> None:
    """Look no further: what lies behind must still be as it was."""
    if arg.op is not None and latest_change[0] > arg.birth:
        require_current(arg)


def changed(arg: Node, node: Node) -> RuntimeError:
    return RuntimeError(
        f"{arg!r} was changed after {node.op!r} was computed from it, so its gradient would be wrong. "
        "Call backward() before changing data, or compute the result again."
    )


def constant_root(what: str, node: Node) -> RuntimeError:
    return RuntimeError(
        f"{what} from {node!r}, a constant: it depends on no variable, or was computed under no_grad(), where nothing "
        "is recorded. Compute it from a Value or Tensor, outside no_grad()."
    )


def ancestry(*roots: Node) -> list[Node]:
    """Everything the roots were made from, themselves included, youngest first."""
    seen = set(roots)
    stack = list(roots)
    while stack:
        for arg in stack.pop().args:
            if isinstance(arg, Node) and arg not in seen:
                seen.add(arg)
                stack.append(arg)
    return sorted(seen, key=attrgetter("birth"), reverse=True)
