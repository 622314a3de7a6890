"""From the story to one HTML file that needs nothing else: the data as JSON, a style and a script.

A content security policy names that style and that script by their hashes and allows nothing more, so no request
leaves the page and no text in it can run. The script makes every element itself and fills it with text only.
"""

from __future__ import annotations

import html
import json
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from string import Template
from typing import Any, final

from chainrule.autograd.explaining.formula import number, plain_name

from ..describing.description import DiagramEdge, DiagramNode, Quantity, shortened
from ..folding.groups import Group
from .story import Contribution, Formula, Step, Story, brief, norm


def page(story: Story, title: str) -> str:
    """The whole file."""
    style, script = asset("step.css"), asset("step.js")
    return Template(asset("step.html")).substitute(
        title=html.escape(shortened(title, 200)),
        policy=policy(style, script),
        style=style,
        script=script,
        data=embedded(content(story, title)),
    )


@cache
def asset(name: str) -> str:
    return (files(__package__) / "assets" / name).read_text(encoding="utf-8")


def policy(style: str, script: str) -> str:
    return (
        f"default-src 'none'; script-src '{hashed(script)}'; style-src '{hashed(style)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def hashed(text: str) -> str:
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


def embedded(data: Mapping[str, Any]) -> str:
    """JSON that no text inside can end or leave: in an element of HTML only < and & would have a meaning."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    escaped = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return escaped.encode("utf-8", "backslashreplace").decode()  # half a character becomes JSON's escape of it


def content(story: Story, title: str) -> dict[str, Any]:
    """What the page shows. A formula is kept once and goes by its number."""
    telling = Content(story)
    incoming: dict[int, list[DiagramEdge]] = {node.id: [] for node in story.diagram.nodes}
    for edge in story.diagram.edges:
        incoming[edge.target].append(edge)
    return {
        "title": shortened(title, 200),
        "root": story.diagram.root,
        "nodes": [telling.node(node, incoming[node.id]) for node in story.diagram.nodes],
        "steps": [telling.step(step) for step in story.steps],
        "formulas": list(telling.formulas),
        "groups": [
            {"title": group.title, "path": shortened(group.path, 60), "members": group.members}
            for group in outermost_first(story.diagram.groups)
        ],
    }


def outermost_first(groups: Sequence[Group]) -> Iterator[Group]:
    """All groups, each before those inside it."""
    waiting = list(groups[::-1])
    while waiting:
        group = waiting.pop()
        yield group
        waiting += group.children[::-1]


@final
class Content:
    """Turns the story's parts into JSON."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.formulas: dict[str, int] = {}

    def node(self, node: DiagramNode, args: list[DiagramEdge]) -> dict[str, Any]:
        grad, name = self.story.gradients[node.id - 1], self.story.name(node.id)
        return kept(
            {
                "name": name,
                "full": plain_name(node.name) if shortened(node.name) != node.name else None,
                "kind": "constant" if node.constant else "result" if args else "leaf",
                "op": shortened(node.symbol, 14),
                "how": f"{plain_name(node.operation)} {node.params}".strip(),
                "data": amount(node.data),
                "grad": None if grad is None else amount(grad),
                "args": [edge.source for edge in args],
                "slopes": [None if e.derivative is None else number(e.derivative) for e in args],
                "line": node.line,
            }
        )

    def step(self, step: Step) -> dict[str, Any]:
        return kept(
            {
                "phase": step.phase,
                "node": step.node,
                "formula": self.formula(step.formula),
                "parts": [self.part(part) for part in step.contributions],
                "text": step.text,
            }
        )

    def part(self, part: Contribution) -> dict[str, Any]:
        slope = part.slope is not None and part.derivative is not None
        return kept(
            {
                "arg": part.argument,
                "slope": self.formula(part.slope and part.slope.factor) if slope else None,
                "rule": None if slope else self.formula(part.pulled),
                "d": number(part.derivative) if part.derivative is not None else None,
                "amount": part.amount and amount(part.amount),
                "total": part.total and amount(part.total),
                "text": part.text,
            }
        )

    def formula(self, formula: Formula | None) -> int | None:
        return None if formula is None else self.formulas.setdefault(formula.latex, len(self.formulas))


def amount(x: Quantity) -> Any:
    """A number as text; of an array, its shape, type, and elements or norm too."""
    if x.shape is None:
        return brief(x)
    shape = "×".join(map(str, x.shape)) or "()"
    if x.numbers is None:
        return {"text": number(norm(x)), "norm": True, "shape": shape, "dtype": x.dtype}
    return {"text": brief(x), "shape": shape, "dtype": x.dtype}


def kept(fields: dict[str, Any]) -> dict[str, Any]:
    """Without what is empty."""
    return {key: x for key, x in fields.items() if x is not None and x != "" and x != [] and not all_none(x)}


def all_none(x: Any) -> bool:
    return isinstance(x, list) and all(item is None for item in x)
