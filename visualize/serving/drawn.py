"""The graph of one step: described by the thread that trains, as text; made a picture by the thread that asks for one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from chainrule.autograd.graph import Node

from ..drawing.dot import draw, picture

THEMES = ("light", "dark")
LARGE = 5_000  # nodes of a graph that is drawn while training goes on


@dataclass(frozen=True, slots=True)
class Drawn:
    """The graph at one step as text, or why there is none."""

    step: int = -1
    text: str = ""
    problem: str = ""

    def painted(self) -> Drawn:
        """The picture that Graphviz makes of the text."""
        try:
            return Drawn(self.step, picture(self.text, "svg").decode() if self.text else "", self.problem)
        except (RuntimeError, ValueError) as error:
            return Drawn(self.step, problem=str(error))


def drawing_of(loss: Any, step: int, theme: str, *, waited_for: bool) -> Drawn:
    """The graph, unless describing it would hold up a training that waits for it."""
    if waited_for and isinstance(loss, Node) and larger_than(LARGE, loss):
        return Drawn(step, problem=f"The graph has more than {LARGE:,} nodes: it is drawn while training is paused.")
    try:
        return Drawn(step, text=draw(loss, theme=theme, graph_attr={"bgcolor": "transparent"}).source)
    except (TypeError, ValueError) as error:
        return Drawn(step, problem=str(error))


def larger_than(limit: int, root: Node) -> bool:
    """Whether the graph has more nodes, without looking at more of them."""
    seen, stack = {root}, [root]
    while stack and len(seen) <= limit:
        fresh = {arg for arg in stack.pop().args if isinstance(arg, Node)} - seen
        seen |= fresh
        stack.extend(fresh)
    return len(seen) > limit
