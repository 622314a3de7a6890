"""From the plain description to Graphviz's DOT language.

The same description gives the same bytes. Every text that came from outside is escaped here and nowhere else. What a
drawing shares is decided once, in its `Look`; everything else follows from one node or one edge.
"""

from __future__ import annotations

__all__ = ["draw", "render"]

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from chainrule.autograd.checking.report import RIGHT, WRONG, Report
from chainrule.autograd.graph import Node

from ..describing.description import Diagram, DiagramEdge, DiagramNode, number, shortened
from ..describing.diagram import MAX_NODES, diagram
from ..folding.groups import Group
from .boxes import (
    Look,
    alarming,
    constant_box,
    escaped,
    inside_quotes,
    lines_of,
    look_of,
    quoted,
    require_look,
    small,
    value,
)
from .legend import caption
from .mermaid import mermaid
from .picture import destination, write_picture
from .picture import picture as picture
from .theme import Mark, theme_named

if TYPE_CHECKING:
    from .notebook import Drawing

FORMATS = ("svg", "png", "pdf")  # that a program has to draw
SUFFIXES = (".svg", ".png", ".pdf", ".dot", ".gv", ".mmd", ".txt")

# Where edges leave a box, and where the first and the second of two arguments come in.
PORTS = {"LR": ("e", "nw", "sw"), "RL": ("w", "ne", "se"), "TB": ("s", "nw", "ne"), "BT": ("n", "sw", "se")}
COMMUTATIVE = {"add", "mul", "maximum", "minimum", "hypot", "logaddexp"}
CALM = ("", RIGHT)  # verdicts that leave an arrow its local derivative

STYLE = """\
	graph [bgcolor="{paper}", fontcolor="{quiet}", fontname=Arial, fontsize=9, nodesep=0.2, pad=0.15, ranksep={rank}]
	node [color="{line}", fillcolor="{box}", fontcolor="{ink}", fontname=Arial, fontsize=12, height=0, margin=0, \
shape=box, style="rounded,filled", width=0]
	edge [arrowsize=0.6, color="{line}", fontcolor="{slope}", fontname=Arial, fontsize=10]
"""
ROUND = """\
	node [fillcolor="{box}", fontsize=15, height=0.36, margin="0.03,0.02", ordering=in, shape=circle, style=filled, \
width=0.36]
"""


def draw(
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
    legend: bool = True,
    engine: str = "dot",
    graph_attr: Mapping[str, str] | None = None,
    node_attr: Mapping[str, str] | None = None,
    edge_attr: Mapping[str, str] | None = None,
) -> Drawing:
    """The graph that `root` is the result of, as a `graphviz.Digraph`; a notebook shows it as a picture.

    A box is a value: its name, data and gradient ("–": not computed), the darker the larger |gradient|. A round node is
    an operation, its arguments coming in in order; the number on an edge is the local derivative, of the operation's
    result with respect to that argument. Grey boxes are constants; a double red border means NaN or infinity, a dashed
    one data changed since, or a gradient of an earlier pass. The heavy border marks `root`. Of arrays with more than four
    elements the root mean square stands for data and gradient.

    A graph of more than `max_nodes` values and constants, or of more than 20 results one after another, is folded: a
    solid box stands for many, and says what it holds; a number on an arrow to or from it, how many values pass. Frames
    are calls of modules. `depth`, `open`, `names` and `fold` are those of `diagram`.

    With `check`, the report of `cr.check(root)` or of a `cr.gradcheck` of the same graph, colours and borders show
    verdicts instead, and an operation whose rule is wrong says so with both numbers.

    `direction` is "LR" (left to right), "RL", "TB" or "BT": a deep network is a strip from left to right, a page from
    top to bottom. `title` stands below, and under it, unless `legend` is false, what the signs mean. `theme` is "light"
    or "dark". `engine` is one of Graphviz's layouts, all but "dot" without a direction. `graph_attr`, `node_attr` and
    `edge_attr` are Graphviz's attributes, as in the package graphviz: `graph_attr={"bgcolor": "transparent"}`. They are
    defaults, which the drawing's own meanings override.

    Raises `TypeError` if `root` is not a Value or Tensor or an option is not of its type, `ValueError` for an unknown
    option, the report of another graph, or, with `fold=False`, a graph of more than `max_nodes` (None: no limit) nodes.

    >>> import chainrule as cr
    >>> x = cr.Value(3.0, name="x")
    >>> picture = cr.visualize.draw(x * x)
    >>> picture.source.count(" -> ")  # x into ×, x into × again, and × into the result
    3
    >>> cr.visualize.draw(x * x, check=cr.check(x * x), theme="dark").source.count("WRONG")
    0
    """
    require_look(direction, title)
    require_engine(engine)
    colours = theme_named(theme)
    given = [attributes(*pair) for pair in (("graph", graph_attr), ("node", node_attr), ("edge", edge_attr))]
    drawn = diagram(root, max_nodes=max_nodes, depth=depth, open=open, names=names, fold=fold, check=check)
    look = look_of(drawn, colours, direction, engine == "dot", check is not None)
    from .notebook import Drawing  # loads graphviz, which whoever draws nothing does not wait for

    drawing = Drawing(name="chainrule", engine=engine, body=[*opening(drawn, look, engine, title, legend)])
    for kind, attrs in zip(("graph", "node", "edge"), given, strict=True):
        drawing.attr(kind, _attributes=attrs)
    drawing.body += statements(drawn, look)
    drawing.described = drawn
    return drawing


def render(
    root: Node,
    path: str | os.PathLike[str],
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
    legend: bool = True,
    engine: str = "dot",
    graph_attr: Mapping[str, str] | None = None,
    node_attr: Mapping[str, str] | None = None,
    edge_attr: Mapping[str, str] | None = None,
) -> Path:
    """Write the drawing of `draw` to `path`, in the format that the suffix says. Returns the path.

    .svg, .png and .pdf are pictures, .dot and .gv Graphviz's text, .mmd is `mermaid`, .txt the table of `diagram`.
    The layout is made by Graphviz's program `dot`, or by `graphviz-pure` (svg and png) where that is missing.
    Raises what `draw` raises, `ValueError` for another suffix, `FileNotFoundError` if the folder does not exist, another
    `OSError` where the path is no place for a file, and `RuntimeError` if there is no program or it fails: then the text
    is saved beside the missing picture.

    >>> import chainrule as cr, tempfile
    >>> x = cr.Value(3.0, name="x")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cr.visualize.render(x * x, f"{folder}/square.dot").name
    'square.dot'
    """
    target = destination("render", path, SUFFIXES)
    drawn_by: Callable[..., Drawing | str] = mermaid
    if target.suffix.lower() != ".mmd":
        drawn_by = partial(
            draw, legend=legend, engine=engine, graph_attr=graph_attr, node_attr=node_attr, edge_attr=edge_attr
        )
    drawing = drawn_by(
        root, direction=direction, title=title, max_nodes=max_nodes, depth=depth, open=open, names=names, fold=fold,
        check=check, theme=theme,
    )  # fmt: skip
    return written_file(path, drawing) if isinstance(drawing, str) else saved(drawing, path)


def saved(drawing: Drawing, path: str | os.PathLike[str]) -> Path:
    """Write a drawing in the format that the suffix says, as a picture or as text."""
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix == ".txt":
        return written_file(path, f"{drawing.described}\n")
    if suffix[1:] not in FORMATS:
        return written_file(path, drawing.source)
    try:
        image = picture(drawing.source, suffix[1:])
    except RuntimeError as error:
        saved = written_file(target.with_suffix(".dot"), drawing.source)
        raise RuntimeError(f"render: {path} was not drawn: {error} The drawing's text is saved in {saved}.") from error
    write_picture("render", path, image)
    return target


def written_file(path: str | os.PathLike[str], text: str) -> Path:
    write_picture("render", path, text.encode())
    return Path(path)


def require_engine(engine: str) -> None:
    from graphviz import ENGINES  # type: ignore[import-untyped]

    if engine not in tuple(ENGINES):
        raise ValueError(f"visualize: engine must be one of {', '.join(sorted(ENGINES))}, got {engine!r}")


def attributes(kind: str, attrs: Mapping[str, str] | None) -> dict[str, str]:
    """What the user wants of Graphviz, fit to be quoted."""
    if not isinstance(attrs, Mapping | None):
        raise TypeError(f"visualize: {kind}_attr must be a mapping of strings, got {type(attrs).__name__}")
    for text in (text for pair in (attrs or {}).items() for text in pair):
        if not isinstance(text, str):
            raise TypeError(f"visualize: {kind}_attr must be a mapping of strings, with {text!r} as '{text}'")
        if "\0" in text or re.search(r"(?<!\\)(\\\\)*\\$", text):
            raise ValueError(f"visualize: Graphviz cannot read the text {text!r} in {kind}_attr; double the last \\")
    return dict(attrs or {})


def opening(drawn: Diagram, look: Look, engine: str, title: str | None, legend: bool) -> Iterator[str]:
    """The statements that hold for all."""
    theme = look.theme
    yield STYLE.format(
        paper=theme.paper, quiet=theme.quiet, line=theme.line, box=theme.box, ink=theme.ink, slope=theme.slope,
        rank="0.28" if look.direction in ("LR", "RL") else "0.22",
    )  # fmt: skip
    layout = "" if look.layered else f' layout={engine} overlap=false splines=true sep="+6"'
    below = caption(drawn, look, title, legend)
    yield f"\trankdir={look.direction}{layout} labelloc=b{below and f' label=<{below}>'}\n"


def statements(drawn: Diagram, look: Look) -> Iterator[str]:
    """The boxes, then the operations with their arrows."""
    for node in drawn.nodes:
        yield constant_box(node, look) if node.constant and node.fold is None else value(node, look)
    yield ROUND.format(box=look.theme.box)
    nodes = {node.id: node for node in drawn.nodes}
    for target, edges in groupby(drawn.edges, key=attrgetter("target")):
        draw_target = operation if nodes[target].fold is None else into_fold
        yield from draw_target(nodes[target], list(edges), nodes, look)
    for group in drawn.groups:
        yield from frame(group, nodes, look)


def into_fold(
    node: DiagramNode, edges: Sequence[DiagramEdge], nodes: Mapping[int, DiagramNode], look: Look
) -> Iterator[str]:
    """What goes into a box that stands for several operations."""
    out = f":{PORTS[look.direction][0]}" if look.layered else ""
    for edge in edges:
        yield f"\tn{edge.source}{out} -> n{node.id}{bracketed(amount(edge))}\n"


def amount(edge: DiagramEdge) -> str:
    return f', label=" {edge.values:,} values "' if edge.values > 1 else ""


def frame(group: Group, nodes: Mapping[int, DiagramNode], look: Look) -> Iterator[str]:
    """A frame around what the call of a module computed, with those of calls inside it."""
    stack = [(group, "")]
    while stack:
        group, ending = stack.pop()
        if ending:
            yield ending
            continue
        computed = sum(nodes[id].operation != "" or nodes[id].fold is not None for id in group.members)
        if computed > 1:  # one alone needs no frame
            yield (
                f"\tsubgraph cluster_{group.members[-1]}_{len(group.members)} {{\n\tlabel={quoted(frame_title(group))} "
                f'labeljust=l labelloc=t style="rounded,filled" color="{look.theme.line}" '
                f'fillcolor="{look.theme.frame}" margin=8\n'
            )
            stack.append((group, "\t}\n"))
        own = set(group.members).difference(*(child.members for child in group.children))
        for node in (nodes[id] for id in sorted(own)):
            yield f"\tn{node.id};{node.operation and f' op{node.id};'}\n"
        stack.extend((child, "") for child in group.children[::-1])


def frame_title(group: Group) -> str:
    times = f" × {group.times:,}" if group.times > 1 else ""
    return shortened(f"{group.title}{times}" + (f"  {group.path}" if group.path != group.title else ""), 60)


def operation(
    node: DiagramNode, edges: Sequence[DiagramEdge], nodes: Mapping[int, DiagramNode], look: Look
) -> Iterator[str]:
    """The round node, what goes into it, and what comes out."""
    yield symbol(node, look)
    out = f":{PORTS[look.direction][0]}" if look.layered else ""
    for edge, port in zip(edges, entrances(node, edges, look.direction), strict=True):
        source = nodes[edge.source]
        options = finding(edge, look) if edge.verdict not in CALM else label(edge, node, source, look)
        options += amount(edge)
        options += stroke(edge, look) if look.checked else ""
        options += ", weight=3" if source.operation else ""
        yield f"\tn{edge.source}{out} -> op{node.id}{port}{bracketed(options)}\n"
    yield f"\top{node.id} -> n{node.id} [weight=4]\n"


def bracketed(options: str) -> str:
    return options and f" [{options[2:]}]"


def entrances(node: DiagramNode, edges: Sequence[DiagramEdge], direction: str) -> Sequence[str]:
    """Where arguments come in. The first of two has its own place, unless exchanging them would change nothing."""
    told_apart = node.operation not in COMMUTATIVE or edges[0].source == edges[-1].source
    return [f":{port}" for port in PORTS[direction][1:]] if len(edges) == 2 and told_apart else [""] * len(edges)


def symbol(node: DiagramNode, look: Look) -> str:
    sign = escaped(shortened(node.symbol))
    if node.verdict == WRONG:
        return culprit(node, sign, look)
    if node.params:
        sign += f"<br/>{small(escaped(node.params), look.theme)}"
    if node.verdict not in CALM:
        sign += f"<br/>{small(f'<b>{escaped(node.verdict)}</b>', look.theme)}"
    size = "" if len(node.symbol) <= 2 else ", fontsize=11"
    shape = "" if len(sign) <= 4 else ", shape=ellipse"
    colours = drawn_as(look.theme.marks[node.verdict]) if node.verdict else ""
    return f"\top{node.id} [label=<{sign}>{size}{shape}{colours}, tooltip={about(node)}]\n"


def culprit(node: DiagramNode, sign: str, look: Look) -> str:
    """An operation that is wrong: like a stop sign, also in black and white."""
    theme = look.theme
    below = f'<br/><font point-size="10">{escaped(node.params)}</font>' if node.params else ""
    return (
        f'\top{node.id} [label=<<font point-size="17"><b>{sign}</b></font>{below}<br/><b>WRONG</b>>, '
        f'color="{theme.alarm}", fillcolor="{theme.alarm}", fontcolor="{theme.on_alarm}", fontsize=13, margin=0.06, '
        f"penwidth=3, peripheries=2, shape=octagon, tooltip={about(node)}]\n"
    )


def drawn_as(mark: Mark) -> str:
    style = "" if mark.style == "solid" else f', style="filled,{mark.style}"'
    double = ", peripheries=2" if mark.double else ""
    return f', color="{mark.border}", fillcolor="{mark.fill}", penwidth={mark.width:g}{style}{double}'


def about(node: DiagramNode) -> str:
    """What the mouse finds at an operation."""
    if not node.verdict and not node.line:
        return quoted(shortened(node.operation, 200))
    texts = filter(None, [node.operation, node.verdict, node.finding, node.line])
    return quoted("\n".join([shortened(text, 200) for text in texts]))


def label(edge: DiagramEdge, result: DiagramNode, argument: DiagramNode, look: Look) -> str:
    """The local derivative."""
    if edge.derivative is None:
        return ""
    text = number(edge.derivative)
    shown = f'" {text} "' if math.isfinite(edge.derivative) else f"<{alarming(text, look.theme)}>"
    of = inside_quotes(shortened(result.name)) if result.name else "result"
    by = inside_quotes(shortened(argument.name)) if argument.name else "argument"
    return f', label={shown}, labeltooltip="∂{of}/∂{by} = {edge.derivative:.12g}"'


def finding(edge: DiagramEdge, look: Look) -> str:
    """What a check found in place of the local derivative."""
    text = "<br/>".join(filter(None, [f"<b>{escaped(edge.verdict)}</b>", lines_of(edge.finding)]))
    wrong = edge.verdict == WRONG
    colour, size = (look.theme.alarm, 12) if wrong else (look.theme.ink, 9)
    cell = f'<td><font point-size="{size}" color="{colour}">{text}</font></td>'
    return f', label=<<table border="0" cellpadding="5"><tr>{cell}</tr></table>>'


def stroke(edge: DiagramEdge, look: Look) -> str:
    if not edge.verdict:
        return ""
    mark = look.theme.marks[edge.verdict]
    width = 4.0 if edge.verdict == WRONG else mark.width
    return f', color="{mark.border}", penwidth={width:g}{"" if mark.style == "solid" else f", style={mark.style}"}'
