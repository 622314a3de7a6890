"""What a check changes by running a function, and undoes: gradients, statistics, generators, modes.

Whatever is about to change says so itself: a module when it is called or put into another mode, a variable when it is
given a gradient. So nothing has to be looked for, wherever the function has its models from.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, final, runtime_checkable

from ..context import Keeper
from ..graph import Node
from .blocks import Block


@runtime_checkable
class Kept(Protocol):
    """A module: says how to put back all that it holds now."""

    def kept(self) -> Callable[[], None]: ...

    def modules(self) -> list[Any]: ...


@final
class untouched(Block):
    """A block after which all that ran inside is as it was before, also after an error."""

    def token(self) -> Traces:
        return Traces()


@final
class Traces(Keeper):
    """How to undo what one block changes."""

    def __init__(self) -> None:
        self.known: dict[int, Any] = {}  # kept alive, so that none of their identities is given to another
        self.undo: list[Callable[[], None]] = []

    def note(self, x: Any) -> None:
        if id(x) in self.known:
            return
        if isinstance(x, Node):
            self.undo.append(partial(setattr, x, "_grad", x._grad))
            self.known[id(x)] = x
        elif isinstance(x, Kept):
            self.undo.append(x.kept())
            self.known |= {id(part): part for part in (x, *x.modules())}

    def left(self) -> None:
        while self.undo:
            self.undo[-1]()
            self.undo.pop()
        self.known.clear()
