"""What holds where an operation runs: whether it is recorded, who watches it, and when data was last changed.

Whether something is recorded, and who watches, is asked per thread and per task; births are numbers that rise for the
whole process. An operation asks all this every time, so what is asked first is a list that is empty nearly always.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Mapping
from contextvars import ContextVar, Token
from functools import wraps
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, ParamSpec, Self, TypeVar

if TYPE_CHECKING:
    from .graph import Node
    from .primitive import Op

Given = ParamSpec("Given")
Result = TypeVar("Result")
Watching = TypeVar("Watching", bound="Watcher")

births = count(1)
next_birth: Callable[[], int] = births.__next__

# True while this thread (or task) records. `suspended` is non-empty while anyone, anywhere, does not or is watched:
# asking a list whether it is empty is far cheaper than asking a context variable, and an operation asks every time.
recording: ContextVar[bool] = ContextVar("chainrule_recording", default=True)
suspended: list[None] = []

# Who watches the operations of this thread (or task); `watched` is non-empty while anyone, anywhere, is.
watching: ContextVar[Watcher | None] = ContextVar("chainrule_watching", default=None)
watched: list[None] = []

# The birth of the latest change to any leaf: whatever is younger was made from data that still stands.
latest_change = [0]
changing = Lock()


def note_change() -> int:
    """The birth of a change that happens now: nothing older may be taken for up to date any more."""
    tell_of("a change to a variable")
    return changed_before()


def changed_before() -> int:
    """The same of a change that has happened before, and is only found out now."""
    with changing:
        latest_change[0] = next_birth()
        return latest_change[0]


class no_grad:
    """A block in which nothing is recorded: results are constants. Per thread and per task; blocks may be nested.

    Also a decorator, `@no_grad()`, for a whole function.

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> with cr.no_grad():
    ...     y = x * x
    >>> y.args
    ()
    """

    mode = False

    def __init__(self) -> None:
        self.tokens: list[Token[bool]] = []  # one for each block that is open, innermost last

    def __call__(self, function: Callable[Given, Result]) -> Callable[Given, Result]:
        @wraps(function)
        def within(*args: Given.args, **options: Given.kwargs) -> Result:
            with type(self)():  # a block of its own for each call: threads may be in several at once
                return function(*args, **options)

        return within

    def __enter__(self) -> Self:
        self.tokens.append(recording.set(self.mode))
        suspended.append(None)
        return self

    def __exit__(self, *exception: object) -> None:
        suspended.pop()
        recording.reset(self.tokens.pop())


class enable_grad(no_grad):
    """A block in which operations are recorded, also inside `no_grad`."""

    mode = True


class Watcher:
    """Who is shown every operation while it watches, forward and backward, and may stop it by an error."""

    records = False  # whether comparisons are to be shown too, as operations
    outer: Watcher | None  # who watches around it

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


def push(watcher: Watcher) -> None:
    """Let somebody watch this thread (or task), in place of who watched until now.

    Who that was hangs on the context, not on the block that calls this: a decorated function shares its block with every
    thread that calls it.
    """
    watcher.outer = watching.get()
    watching.set(watcher)
    watched.append(None)
    suspended.append(None)


def pop(kind: type[Watching]) -> Watching:
    """End the watch of who was pushed last, and return it; an error if that is not of the kind that was pushed."""
    suspended.pop()
    watched.pop()
    watcher = watching.get()
    if not isinstance(watcher, kind):
        raise RuntimeError(
            "a block of record_lines() or detect_anomaly() was left in another order than it was entered, as by a generator "
            "that was closed inside another block; leave the inner one first"
        )
    watching.set(watcher.outer)
    return watcher


def records() -> bool:
    """Whether a function is being recorded here. Ask `watched` before: that is cheap."""
    watcher = watching.get()
    return watcher is not None and watcher.records


def tell_of_reading(node: Node) -> None:
    """Tell who watches, if anyone does, that the data of a node is asked for. Ask `watched` before: that is cheap."""
    if (watcher := watching.get()) is not None:
        watcher.read(node)


def tell_of(what: str) -> None:
    """Tell who watches, if anyone does, of something else than an operation."""
    if watched and (watcher := watching.get()) is not None:
        watcher.aside(what)
