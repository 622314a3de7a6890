"""What holds where an operation runs: whether it is recorded, who watches it, and when data was last changed.

A block that is entered is a token, which holds until the block is left, for this thread (or task) and those that were
started inside; what anybody else enters or leaves changes nothing. Births are numbers that rise for the whole process.
An operation asks all this every time, so what is asked first is a dict that is empty nearly always.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Callable, Container, Mapping, Sequence
from contextvars import ContextVar
from itertools import count
from threading import RLock
from typing import TYPE_CHECKING, Any
from weakref import ref

if TYPE_CHECKING:
    from .graph import Node
    from .primitive import Op

births = count(1)
next_birth: Callable[[], int] = births.__next__

# The birth of the latest change to any leaf: whatever is younger was made from data that still stands.
latest_change = [0]
changing = RLock()


def free_in_children(lock: Any) -> None:
    """Let no fork happen while another thread holds a lock: the child, which lacks that thread, would find it held for ever."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


free_in_children(changing)


def note_change() -> int:
    """The birth of a change that happens now: nothing older may be taken for up to date any more."""
    tell_of("a change to a variable")
    return changed_before()


def changed_before() -> int:
    """The same of a change that has happened before, and is only found out now."""
    with changing:
        latest_change[0] = next_birth()
        return latest_change[0]


class Token:
    """What holds since a block was entered, and around which other."""

    mode: bool | None = None  # whether operations are recorded; None: as around it
    outer: Token | None = None
    block: ref[Any] | None = None
    frame = 0  # the identity of the one whose `with` it is
    holds = False
    records = True  # the same, what is around it counted in
    watcher: Watcher | None = None  # who watches inside
    around: Watcher | None = None  # and around it
    keeper: Keeper | None = None  # who will undo what the functions that run inside change

    def entered(self) -> None:
        """Begin what else holds inside."""

    def left(self) -> None:
        """End that; may be called again."""

    def settle(self) -> None:
        """Count in what is around it, whose tokens are settled."""
        outer, mode = self.outer, self.mode
        if outer is not None and not outer.holds:
            outer = holding(outer)
        self.around = None if outer is None else outer.watcher
        self.watcher = self if isinstance(self, Watcher) else self.around  # until it ends
        self.keeper = self if isinstance(self, Keeper) else None if outer is None else outer.keeper
        self.records = mode if mode is not None else outer is None or outer.records


# The tokens that hold, of whatever thread or task, older ones first: asking a dict whether it is empty is far cheaper than
# asking a context variable. The innermost one here may hold no more: a task can outlive the block it was started in.
blocks: dict[int, Token] = {}
innermost: ContextVar[Token | None] = ContextVar("chainrule_block", default=None)


def holding(token: Token | None) -> Token | None:
    """The innermost token that holds, of this and those around it."""
    while token is not None and not token.holds:
        token = token.outer
    return token


def end(token: Token) -> None:
    """Let a token hold no more, nor count for what was entered inside; may be called again."""
    token.holds, token.watcher, token.keeper = False, None, None
    blocks.pop(id(token.block), None)
    if blocks:
        for inner in list(blocks.values()):
            inner.settle()
    token.left()


def gone(block: ref[Any]) -> None:
    """A block is no more, though it was not left: Ctrl-C came first."""
    if (token := blocks.get(id(block))) is not None:
        end(token)


def here() -> Token | None:
    """The token that holds in this thread (or task). Ask `blocks` before: that is cheap."""
    token = innermost.get()
    return token if token is None or token.holds else holding(token)


def recording() -> bool:
    """Whether operations are recorded here."""
    token = here()
    return token is None or token.records


def watching() -> Watcher | None:
    """Who watches the operations of this thread (or task). Ask `blocks` before: that is cheap."""
    token = here()
    return None if token is None else token.watcher


class Watcher(Token):
    """Who is shown every operation while it watches, forward and backward, and may stop it by an error."""

    repeats = False  # whether what it sees will be run again: comparisons are to be shown too, as operations
    data: Container[Node] = ()  # the inputs that stand for plain data then
    kinds: Mapping[type[Node], type[Node]] = {}  # what nodes are made while it watches, in place of which

    @abstractmethod
    def made(self, data: Any, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Op:
        """Look at a fresh result, and return the operation that its node is to remember."""

    @abstractmethod
    def walk(
        self, root: Node, seed: Any, wanted: Container[Node] | None, create_graph: bool, since: int
    ) -> dict[Node, Any]:
        """Watch `cotangents` at work: give it a dict of one's own for the cotangents that are pending."""

    def read(self, node: Node) -> None:
        """Somebody asks for the data of a node as plain numbers, and what becomes of them will not be seen."""

    def aside(self, what: str) -> None:
        """Something else than an operation happens, `what`."""

    def weaken(self, x: Any) -> None:
        """A NumPy number is taken for Python's, which leaves an array its precision."""

    def read_anew(self, of: Any, read: Callable[[], Any]) -> Any:
        """What reading gives, which will be another in another run: `of` is read from, and may be changed by that."""
        return read()

    def write(self, into: Callable[..., None], of: Sequence[Any], *xs: Any) -> None:
        """Have something written into the arrays `of`, as it will be in any other run."""
        into(*xs)


class Keeper(Token):
    """Who undoes, at the end, what changes inside: gradients, and what modules hold beside their parameters."""

    @abstractmethod
    def note(self, x: Any) -> None:
        """A node or a module, as it is before it changes, may be noted before."""


def about_to_change(x: Any) -> None:
    """Tell who will have to undo it, if anyone will. Ask `blocks` before: that is cheap."""
    if (token := here()) is not None and token.keeper is not None:
        token.keeper.note(x)


def repeated() -> bool:
    """Whether a function is being recorded here. Ask `blocks` before: that is cheap."""
    watcher = watching()
    return watcher is not None and watcher.repeats


def tell_of_reading(node: Node) -> None:
    """Tell who watches, if anyone does, that the data of a node is asked for. Ask `blocks` before: that is cheap."""
    if (watcher := watching()) is not None:
        watcher.read(node)


def tell_of(what: str) -> None:
    """Tell who watches, if anyone does, of something else than an operation."""
    if blocks and (watcher := watching()) is not None:
        watcher.aside(what)
