"""The graph and the walk: what a node is, and how a cotangent travels back from a result to all it was made from.

Nothing here knows NumPy or the table of derivatives. A node has arguments, an operation with rules, and `fit`, which
brings an incoming cotangent to the node's own shape and kind; that is all the chain rule needs.

References run from a result to its arguments only, and an argument is older than its result. So a dropped result frees
its graph at once, births alone order the walk, and a node changed after it was used is found out: it is too young.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from heapq import heappop, heappush
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from .primitive import Op

next_birth: Callable[[], int] = count(1).__next__

# True while this thread (or task) records. `suspended` is non-empty while anyone, anywhere, does not: asking a list
# whether it is empty is far cheaper than asking a context variable, and an operation asks every time.
recording: ContextVar[bool] = ContextVar("chainrule_recording", default=True)
suspended: list[None] = []

NO_PARAMS: Mapping[str, Any] = {}


class Node:
    """A variable: data, and the operation and arguments it was made from. `Value` and `Tensor` are its two kinds."""

    __slots__ = ("__weakref__", "_data", "args", "birth", "grad", "inputs", "name", "op", "params")

    _data: Any
    args: tuple[Any, ...]  # what the operation was given: nodes and plain data
    inputs: tuple[Any, ...]  # the same, as plain data at that time
    params: Mapping[str, Any]  # keyword arguments: how, not what
    op: Op | None  # None for a leaf
    birth: int
    grad: Any
    name: str | None

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
        self._data, self.name = data, name
        self.op, self.args, self.inputs, self.params = None, (), (), NO_PARAMS
        self.grad = None
        self.birth = next_birth()

    def require_leaf(self, what: str) -> None:
        if self.args:
            raise TypeError(f"only a leaf can be {what}, not the result of an operation; take its .data")

    def touch(self) -> None:
        """Say that the data changed. Graphs built on the old data then refuse to be differentiated."""
        self.birth = next_birth()

    def backward(self, seed: Any = None) -> None:
        """Differentiate this node with respect to everything it was made from, into each node's `.grad`.

        Leaves (the variables you made) accumulate over calls, as in PyTorch; nodes in between keep the latest
        gradient. `seed` is the cotangent to start with, of this node's shape; a node with one element needs none.

        Raises `ValueError` for a missing or misshapen seed, `RuntimeError` where nothing was recorded or where data
        was changed since. After an error no gradient has changed.

        >>> import chainrule as cr
        >>> x = cr.Value(3.0)
        >>> (x * x).backward()
        >>> x.grad
        6.0
        """
        if self.op is not None and not self.args:
            raise RuntimeError(
                f"backward from {self!r}, a constant: it was computed under no_grad(), so nothing was recorded. "
                "Compute it outside no_grad()."
            )
        finished = list(cotangents(self, self.seed(seed)))
        held: set[int] = set()  # the arrays that a node in between keeps; a leaf's gradient must be its own
        for node, g in finished:
            if node.op is None:
                node.add_to_grad(g, owned=id(g) not in held)
            else:
                node.grad = g
            held.add(id(g))


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


def cotangents(root: Node, seed: Any, *, create_graph: bool = False) -> Iterator[tuple[Node, Any]]:
    """Yield every ancestor of `root` that it depends on with its finished cotangent, consumers before producers.

    The youngest node that waits is always next: all its consumers are younger still, so its cotangent is finished.
    With `create_graph` the rules are shown the nodes themselves instead of their data, and so the cotangents are
    nodes that can be differentiated again: that is all there is to higher orders.
    """
    pending = {root: seed}
    waiting = [(-root.birth, root)]
    dead: dict[Node, Any] = {}
    get = pending.get
    while waiting:
        node = heappop(waiting)[1]
        g = pending.pop(node)
        yield node, g
        op = node.op
        if op is None:
            continue
        y, xs = (node, node.args) if create_graph else (node._data, node.inputs)
        if dead or op.alive is not None:
            pulled = op.pull_shaded(node, g, y, xs, dead, pending)
        else:
            pulled = op.pull(node.args, g, y, xs, node.params)
        fit = not (op.exact and type(g) is float)  # numbers in, numbers out: there is nothing to fit
        for arg, d in zip(node.args, pulled):  # noqa: B905  (strict= costs a tenth of a scalar walk)
            if d is None or (fit and not isinstance(arg, Node)):
                continue
            if fit:
                d = arg.fit(d)
            total = get(arg)
            if total is not None:
                pending[arg] = total + d
            elif isinstance(arg, Node):
                if arg.birth > node.birth:
                    raise changed(arg, node)
                pending[arg] = d
                heappush(waiting, (-arg.birth, arg))


def changed(arg: Node, node: Node) -> RuntimeError:
    return RuntimeError(
        f"{arg!r} was changed after {node.op!r} was computed from it, so its gradient would be wrong. "
        "Call backward() before changing data, or compute the result again."
    )


class no_grad(AbstractContextManager["no_grad"]):
    """A block in which nothing is recorded: results are constants. Per thread and per task; blocks may be nested.

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> with cr.no_grad():
    ...     y = x * x
    >>> y.args
    ()
    """

    mode = False

    def __enter__(self) -> Self:
        self.token: Token[bool] = recording.set(self.mode)
        suspended.append(None)
        return self

    def __exit__(self, *exception: object) -> None:
        suspended.pop()
        recording.reset(self.token)


class enable_grad(no_grad):
    """A block in which operations are recorded, also inside `no_grad`."""

    mode = True
