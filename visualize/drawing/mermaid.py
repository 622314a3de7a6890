"""The drawing as a Mermaid flowchart: text that GitHub, GitLab and many notebooks and wikis show as a picture.

Text from outside is escaped: every ASCII punctuation mark becomes `#code;`. So no text can end a label, start a
statement or be taken for HTML or Markdown.
"""

from __future__ import annotations

__all__ = ["mermaid"]

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from operator import attrgetter
from typing import Any

from chainrule.autograd.checking.report import RIGHT, WRONG, Report
from chainrule.autograd.graph import Node

from ..describing.description import Diagram, DiagramEdge, DiagramNode, Quantity, inside, number, shortened, whole_title
from ..describing.diagram import MAX_NODES, diagram
from .boxes import Look, called, fill, is_bad, look_of, require_look
from .theme import Theme, theme_named

MAX_EDGES = 500  # Mermaid refuses more, and a drawing cannot ask for more
NOT_HTML = str.maketrans("<>&", "＜＞＆")  # a title is purged of HTML, and has no other way to write these
SPECIAL = re.compile(r"[!-/:-@\[-`{-~]")


def mermaid(
    root: Node,
    *,
    direction: str = "LR",
    title: str | None = None,
    max_nodes: int | None = MAX_NODES,
    depth: int | None = None,
    open: Iterable[str] = (),
    names: Mapping[str, Any] | None = None,
    fold: bool = True,
    check: Report | None = None,
    theme: str = "light",
) -> str:
    """The graph that `root` is the result of, as the text of a Mermaid flowchart; see `draw` for what it shows.

    Paste it into Markdown between ```` ```mermaid ```` and ```` ``` ````. A box is a value, a round node an operation,
    the text on an edge the local derivative, or what a check found of it.

    Raises what `draw` raises, and `ValueError` for more than 500 arrows, which Mermaid refuses to draw.

    >>> import chainrule as cr
    >>> x = cr.Value(3.0, name="x")
    >>> y = x * x
    >>> y.backward()
    >>> print(cr.visualize.mermaid(y))
    flowchart LR
        n1["<b>x</b><br>data 3<br>grad 6"]
        n2["data 9<br>grad 1"]
        op2(("×"))
        n1 -->|"3"| op2
        n1 -->|"3"| op2
        op2 --> n2
        classDef operation fill:#ffffff,stroke:#7b8698,color:#1f2933
        class op2 operation
        style n1 fill:#fdb863,stroke:#7b8698,color:#1f2933
        style n2 fill:#fed39e,stroke:#1f2933,color:#1f2933,stroke-width:3px
    """
    require_look(direction, title)
    colours = theme_named(theme)
    drawn = diagram(root, max_nodes=max_nodes, depth=depth, open=open, names=names, fold=fold, check=check)
    operations = sum(node.operation != "" for node in drawn.nodes)
    if len(drawn.edges) + operations > MAX_EDGES:
        raise ValueError(
            f"visualize: Mermaid draws at most {MAX_EDGES} arrows and this graph has "
            f"{len(drawn.edges) + operations:,}; draw a part of it, or use draw()."
        )
    look = look_of(drawn, colours, direction, True, check is not None)
    return "\n".join(
        [*heading(title, colours), f"flowchart {direction}", *map("    ".__add__, statements(drawn, look))]
    )


def heading(title: str | None, theme: Theme) -> Iterator[str]:
    """The front matter."""
    if title is None and theme.name == "light":
        return
    yield "---"
    if title is not None:
        text = shortened(title, 200).translate(NOT_HTML)
        yield f"title: {json.dumps(text, ensure_ascii=False)}"  # which YAML reads alike
    if theme.name == "dark":
        yield from ("config:", "  theme: dark")
    yield "---"


def statements(drawn: Diagram, look: Look) -> Iterator[str]:
    for node in drawn.nodes:
        yield f'n{node.id}["{box(node)}"]'
    nodes = {node.id: node for node in drawn.nodes}
    count, strokes = 0, []
    for target, edges in groupby(drawn.edges, key=attrgetter("target")):
        computed = nodes[target].fold is None
        if computed:
            yield symbol(nodes[target])
        for edge in edges:
            yield f"n{edge.source} -->{label(edge)} {'op' if computed else 'n'}{target}"
            if edge.verdict not in ("", RIGHT):
                strokes.append(f"linkStyle {count} {stroke(edge, look.theme)}")
            count += 1
        if computed:
            yield f"op{target} --> n{target}"
            count += 1
    yield from strokes
    yield from styles(drawn, nodes, look)


def box(node: DiagramNode) -> str:
    if node.constant and node.fold is None:
        name = node.name and f"<b>{escaped(shortened(node.name))}</b>"
        return "<br>".join(filter(None, [name, kind(node.data), number_line("", node.data)]))
    return "<br>".join(
        filter(
            None,
            [
                node.name and f"<b>{escaped(shortened(node.name))}</b>",
                *([f"<b>{escaped(whole_title(node.fold))}</b>", *map(escaped, inside(node.fold))] if node.fold else []),
                kind(node.data),
                number_line(called("data", node.data) + (", changed since" if node.changed else ""), node.data),
                number_line(called("grad", node.grad) + (", old" if node.old_grad else ""), node.grad),
                "" if node.operation or not node.finding else escaped(f"{node.verdict}: {node.finding}"),
            ],
        )
    )


def number_line(what: str, x: Quantity | None) -> str:
    text = "–" if x is None else x.text if x.finite else f"<b>{x.text}</b>"
    return f"{what} {text}".strip()


def kind(x: Quantity) -> str:
    return "" if x.shape is None else escaped(f"{x.dtype} {x.shape}")


def symbol(node: DiagramNode) -> str:
    verdict = "" if node.verdict in ("", RIGHT) else f"<b>{node.verdict.upper()}</b>"
    text = "<br>".join(filter(None, [escaped(shortened(node.symbol)), escaped(node.params), verdict]))
    return f'op{node.id}{{{{"{text}"}}}}' if node.verdict == WRONG else f'op{node.id}(("{text}"))'


def label(edge: DiagramEdge) -> str:
    if edge.verdict not in ("", RIGHT):
        parts = [edge.verdict, *edge.finding.replace("; ", ", ").split(", ")]
        return f'|"{"<br>".join(escaped(shortened(part, 48)) for part in parts if part)}"|'
    if edge.values > 1:
        return f'|"{edge.values} values"|'
    return "" if edge.derivative is None else f'|"{number(edge.derivative)}"|'


def stroke(edge: DiagramEdge, theme: Theme) -> str:
    mark = theme.marks[edge.verdict]
    return f"stroke:{mark.border},stroke-width:{4 if edge.verdict == WRONG else 2}px{dashes(mark.style)}"


def styles(drawn: Diagram, nodes: Mapping[int, DiagramNode], look: Look) -> Iterator[str]:
    """Colours, which go with every text so that it is readable on light and on dark pages."""
    theme = look.theme
    plain = [
        str(target)
        for target in dict.fromkeys(edge.target for edge in drawn.edges)
        if nodes[target].operation and not nodes[target].verdict
    ]
    if plain:
        yield f"classDef operation fill:{theme.box},stroke:{theme.line},color:{theme.ink}"
        yield f"class {','.join(f'op{target}' for target in plain)} operation"
    for node in drawn.nodes:
        yield f"style n{node.id} {style(node, look)}"
        if node.verdict and node.operation:
            yield f"style op{node.id} {style_of_operation(node, theme)}"


def style(node: DiagramNode, look: Look) -> str:
    theme = look.theme
    if is_bad(node):
        return f"fill:{theme.alarm_box},stroke:{theme.alarm},color:{theme.alarm},stroke-width:5px"
    if node.constant:
        return f"fill:{theme.constant},stroke:{theme.constant_line},color:{theme.ink}"
    if node.verdict and not node.operation:
        mark = theme.marks[node.verdict]
        width = 1.5 if node.verdict == WRONG and look.named and not node.wrong else mark.width
        return f"fill:{mark.fill},stroke:{mark.border},color:{theme.ink},stroke-width:{width:g}px{dashes(mark.style)}"
    line, heavy = (theme.ink, ",stroke-width:3px") if node.id == look.root else (theme.line, "")
    old = dashes("dashed") if node.changed or node.old_grad else ""
    return f"fill:{fill(node, look)},stroke:{line},color:{theme.ink}{heavy}{old}"


def style_of_operation(node: DiagramNode, theme: Theme) -> str:
    mark = theme.marks[node.verdict]
    if node.verdict == WRONG:
        return f"fill:{theme.alarm},stroke:{theme.ink},color:{theme.on_alarm},stroke-width:5px"
    return f"fill:{mark.fill},stroke:{mark.border},color:{theme.ink},stroke-width:{mark.width:g}px{dashes(mark.style)}"


def dashes(style: str) -> str:
    return {"solid": "", "dashed": ",stroke-dasharray:6 4", "dotted": ",stroke-dasharray:2 3"}[style]


def escaped(text: str) -> str:
    """Text in a label. A backslash and an n would become a new line, hence the space of no width between."""
    return SPECIAL.sub(lambda sign: f"#{ord(sign[0])};", text.replace("\\", "\\\u200b"))
