"""A function that is being recorded, to be run again on other data: who watches it, and what must not happen meanwhile.

Recording is sound because nothing escapes it. Whoever asks a variable for its numbers (to branch on them, to convert
them, to store them) gets an error that says so.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, final

import numpy as np

from ..context import Watcher, recording
from ..graph import Node, ancestry, cotangents
from ..guards.blocks import Holding
from ..guards.selection import Selection
from ..primitive import Op


@final
class Recorder(Watcher):
    """Watches a function while it is recorded, and stops it where the record would not tell the whole story."""

    mode = repeats = True

    def __init__(self, name: str, data: Container[Node]) -> None:
        self.name, self.data = name, data
        self.doubtful = False  # whether derivatives were asked for that may be NaN of what was not chosen

    def made(self, data: Any, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Op:
        if not recording() and any(isinstance(arg, Node) for arg in args):
            raise TypeError(
                f"{self.name}: no_grad() would freeze the result of {op.name} as it is now. Compute that outside the "
                "compiled function, and pass it as an argument"
            )
        return op

    def walk(
        self, root: Node, seed: Any, wanted: Container[Node] | None, create_graph: bool, since: int
    ) -> dict[Node, Any]:
        if wanted is None:
            raise TypeError(
                f"{self.name}: backward() inside a compiled function would store gradients but once, while it is recorded. "
                "Return the loss and call backward() on that, or compile cr.grad of a function"
            )
        if not create_graph and any(node.op is None for node in ancestry(root)):
            raise TypeError(
                f"{self.name}: gradients as plain data would be frozen as they are now; ask for them with "
                "create_graph=True, or by cr.grad"
            )
        self.doubtful = self.doubtful or Selection.doubts(ancestry(root))
        return cotangents(root, seed, wanted, create_graph=create_graph, since=since, careful=True)

    def read(self, node: Node) -> None:
        raise TypeError(
            f"{self.name}: the numbers of {described_variable(node)} were asked for (by .data, item(), float(), or an if) while the "
            "function was being compiled, and would be frozen as they are now. Compute with the variable itself, choose "
            "with cr.where, or leave out compile"
        )

    def aside(self, what: str) -> None:
        raise TypeError(
            f"{self.name}: {what} inside a compiled function would happen but once, while it is recorded. Do that outside, "
            "or leave out compile"
        )


def described_variable(node: Node) -> str:
    """A variable, short enough for a message."""
    name = f" {node.name!r}" if node.name else ""
    shape = np.shape(node._raw)
    return f"a {type(node).__name__}{name}" + (f" of shape {shape}" if shape else "")


@contextmanager
def recorded(name: str, data: Container[Node]) -> Iterator[Recorder]:
    """A block that is recorded: what would not be seen later is an error. `data` are inputs that are no variables."""
    own = Recorder(name, data)
    with Holding(own):
        yield own
