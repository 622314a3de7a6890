"""From the plain description to Graphviz's DOT language, and from there to a picture.

The same description gives the same bytes. Every text that came from outside is escaped here and nowhere else.
A picture is written whole or not at all.
"""

from __future__ import annotations

import html
import math
import os
import shutil
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import graphviz  # type: ignore[import-untyped]

from chainrule.autograd.graph import Node

from .diagram import Diagram, DiagramEdge, DiagramNode, Quantity, diagram, number, shortened

MAX_NODES = 500
TIMEOUT = 120  # seconds for the layout of one picture

INK, GREY, LINE, BLUE, RED = "#1f2933", "#4b5563", "#8a94a6", "#1d5f9e", "#c1121f"
WHITE, ORANGE = (255, 255, 255), (253, 184, 99)  # one hue, told apart by lightness alone; dark text is readable on all

# Where edges leave a box, and where the first and the second of two arguments come in.
PORTS = {"LR": ("e", "nw", "sw"), "RL": ("w", "ne", "se"), "TB": ("s", "nw", "ne"), "BT": ("n", "sw", "se")}
COMMUTATIVE = {"add", "mul", "maximum", "minimum", "hypot", "logaddexp"}

STYLE = f"""\
	graph [bgcolor=white, fontcolor="{GREY}", fontname=Arial, fontsize=9, nodesep=0.2, pad=0.15, ranksep=0.28]
	node [color="{LINE}", fillcolor=white, fontcolor="{INK}", fontname=Arial, fontsize=12, height=0, margin=0, \
shape=box, style="rounded,filled", width=0]
	edge [arrowsize=0.6, color="{LINE}", fontcolor="{BLUE}", fontname=Arial, fontsize=10]
"""

PROGRAMS = {"dot": ("svg", "png", "pdf"), "graphviz-pure": ("svg", "png")}  # in order of preference
SUFFIXES = (".svg", ".png", ".pdf", ".dot")


class Drawing(graphviz.Digraph):  # type: ignore[misc]
    """A `graphviz.Digraph` that a notebook can show wherever `render` works, also without Graphviz's own `dot`."""

    def _repr_mimebundle_(self, include: object = None, exclude: object = None, **_: object) -> dict[str, str]:
        return {"image/svg+xml": picture(self.source, "svg").decode()}


def draw(root: Node, *, direction: str = "LR", title: str | None = None, max_nodes: int | None = MAX_NODES) -> Drawing:
    """The graph that `root` is the result of, as a `graphviz.Digraph`; a notebook shows it as a picture.

    A box is a value: its name, data and gradient ("–": not computed), the darker the larger |gradient|. A round node is
    an operation, its arguments coming in in order; the number on an edge is the local derivative, of the operation's
    result with respect to that argument. Grey boxes are constants, red ones hold a NaN or an infinity. The heavy border
    marks `root`. Of arrays with more than four elements the root mean square stands for data and gradient.

    `direction` is "LR" (left to right), "RL", "TB" or "BT"; `title` stands below.
    Raises `TypeError` if `root` is not a Value or Tensor, `ValueError` for a graph of more than `max_nodes` of them
    (None: no limit) or another direction.

    >>> import chainrule as cr
    >>> x = cr.Value(3.0, name="x")
    >>> picture = cr.visualize.draw(x * x)
    >>> picture.source.count(" -> ")  # x into ×, x into × again, and × into the result
    3
    """
    if direction not in PORTS:
        raise ValueError(f"visualize: direction must be one of {', '.join(PORTS)}, got {direction!r}")
    if not isinstance(title, str | None):
        raise TypeError(f"visualize: title must be a string or None, got {type(title).__name__}")
    description = diagram(root, max_nodes=max_nodes)
    return Drawing(body=list(statements(description, direction, title)))


def render(
    root: Node,
    path: str | os.PathLike[str],
    *,
    direction: str = "LR",
    title: str | None = None,
    max_nodes: int | None = MAX_NODES,
) -> Path:
    """Write the drawing of `draw` to `path`, as the suffix says: .svg, .png, .pdf or .dot (the text). Returns the path.

    The layout is made by Graphviz's program `dot`, or by `graphviz-pure` (svg and png) where that is missing.
    Raises `ValueError` for another suffix, `FileNotFoundError` if the folder does not exist, and `RuntimeError` if there
    is no program or it fails: then the text is saved beside the missing picture.

    >>> import chainrule as cr, tempfile
    >>> x = cr.Value(3.0, name="x")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cr.visualize.render(x * x, f"{folder}/square.dot").name
    'square.dot'
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"render: the format comes from the suffix, one of {', '.join(SUFFIXES)}; got {path.name!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"render: there is no folder {str(path.parent)!r} to write {path.name!r} in; make it first"
        )
    text = draw(root, direction=direction, title=title, max_nodes=max_nodes).source
    if suffix == ".dot":
        write_whole(path, text.encode())
        return path
    try:
        image = picture(text, suffix[1:])
    except RuntimeError as error:
        saved = path.with_suffix(".dot")
        write_whole(saved, text.encode())
        raise RuntimeError(f"render: {path} was not drawn: {error} The drawing's text is saved in {saved}.") from error
    write_whole(path, image)
    return path


def statements(drawn: Diagram, direction: str, title: str | None) -> Iterator[str]:
    """The lines of the DOT text between the braces."""
    yield STYLE
    yield f"\trankdir={direction} labelloc=b label=<{caption(drawn, title)}>\n"
    # The root's own gradient is the seed, often far larger than all that it leads to: it would wash the others out.
    gradients = [node.grad for node in drawn.nodes if node.id != drawn.root and node.grad and node.grad.finite]
    largest = max((grad.magnitude for grad in gradients), default=0.0)
    for node in drawn.nodes:
        yield constant(node) if node.constant else value(node, largest, node.id == drawn.root)
    nodes = {node.id: node for node in drawn.nodes}
    for target, edges in groupby(drawn.edges, key=attrgetter("target")):
        yield from operation(nodes[target], list(edges), nodes, direction)


def operation(
    node: DiagramNode, edges: Sequence[DiagramEdge], nodes: Mapping[int, DiagramNode], direction: str
) -> Iterator[str]:
    """The round node, what goes into it, and what comes out."""
    yield symbol(node)
    out = PORTS[direction][0]
    for edge, port in zip(edges, entrances(node, edges, direction), strict=True):
        yield f"\tn{edge.source}:{out} -> op{node.id}{port}{slope(edge, node, nodes[edge.source])}\n"
    yield f"\top{node.id} -> n{node.id} [weight=4]\n"


def entrances(node: DiagramNode, edges: Sequence[DiagramEdge], direction: str) -> Sequence[str]:
    """Where arguments come in. The first of two has its own place, unless exchanging them would change nothing."""
    told_apart = node.operation not in COMMUTATIVE or edges[0].source == edges[-1].source
    return [f":{port}" for port in PORTS[direction][1:]] if len(edges) == 2 and told_apart else [""] * len(edges)


def caption(drawn: Diagram, title: str | None) -> str:
    values = [node for node in drawn.nodes if not node.constant]
    notes = {
        "on an edge: local derivative ∂result/∂argument": any(edge.derivative is not None for edge in drawn.edges),
        "darker: larger |grad|": any(node.grad is not None for node in values),
        "–: not computed": any(node.grad is None for node in values),
        "rms: root mean square": any(node.data.numbers is None for node in drawn.nodes),
    }
    legend = "; ".join(note for note, needed in notes.items() if needed)
    heading = "" if title is None else f"{strong(shortened(title, 200))}<br/>"
    return f'<font point-size="6"> </font><br/>{heading}{legend}'


def strong(text: str) -> str:
    return f'<font point-size="14" color="{INK}"><b>{escaped(text)}</b></font>'


def value(node: DiagramNode, largest: float, root: bool) -> str:
    cells = [heading(node)] if node.name or node.data.shape is not None else []
    cells += [field("data", node.data, node.changed), field("grad", node.grad)]
    bad = not (node.data.finite and (node.grad is None or node.grad.finite))
    border = f', color="{RED}", penwidth=2.5' if bad else f', color="{INK}", penwidth=2' if root else ""
    return f'\tn{node.id} [label=<{record(cells)}>, fillcolor="{tint(node.grad, largest)}"{border}, tooltip={hint(node)}]\n'


def constant(node: DiagramNode) -> str:
    border = "" if node.data.finite else f', color="{RED}", penwidth=2.5'
    text = node.data.text if node.data.finite else red(node.data.text)
    if node.data.shape is not None:
        text = f"{small(kind(node.data))}<br/>{small('rms ') if node.data.numbers is None else ''}{text}"
    return (
        f'\tn{node.id} [label=<{record([text])}>, color="#c4ccd6", fillcolor="#eef1f5", fontcolor="{GREY}", '
        f'fontsize=11, style=filled{border}, tooltip="constant"]\n'
    )


def symbol(node: DiagramNode) -> str:
    sign, below = escaped(shortened(node.symbol)), node.params and f"<br/>{small(escaped(node.params))}"
    big = len(node.symbol) <= 2
    shape = "circle" if len(node.symbol) <= 4 and not below else "ellipse"
    return (
        f'\top{node.id} [label=<{sign}{below}>, fillcolor=white, fontsize={15 if big else 11}, margin="0.03,0.02", '
        f"ordering=in, shape={shape}, style=filled, width=0.36, height=0.36, tooltip={quoted(node.operation)}]\n"
    )


def slope(edge: DiagramEdge, result: DiagramNode, argument: DiagramNode) -> str:
    if edge.derivative is None:
        return ""
    text = number(edge.derivative)
    label = f'" {text} "' if math.isfinite(edge.derivative) else f"<{red(text)}>"
    of, by = shortened(result.name) or "result", shortened(argument.name) or "argument"
    return f" [label={label}, labeltooltip={quoted(f'∂{of}/∂{by} = {edge.derivative:.12g}')}]"


def heading(node: DiagramNode) -> str:
    name = f"<b>{escaped(shortened(node.name))}</b>" if node.name else ""
    return name if node.data.shape is None else f"{name}{name and '<br/>'}{small(kind(node.data))}"


def field(what: str, x: Quantity | None, changed: bool = False) -> str:
    if x is None:
        return f"{small(what)}<br/>–"
    above = what + (" rms" if x.numbers is None else "") + (", changed since" if changed else "")
    return f"{small(above)}<br/>{x.text if x.finite else red(x.text)}"


def kind(x: Quantity) -> str:
    return escaped(f"{x.dtype} {x.shape}")  # a dtype may be called >f4


def record(cells: Iterable[str]) -> str:
    inside = "<vr/>".join(f'<td width="34">{cell}</td>' for cell in cells)
    return f'<table border="0" cellborder="0" cellpadding="5" cellspacing="0"><tr>{inside}</tr></table>'


def small(text: str) -> str:
    return f'<font point-size="8" color="{GREY}">{text}</font>'


def red(text: str) -> str:
    return f'<font color="{RED}"><b>{text}</b></font>'


def tint(grad: Quantity | None, largest: float) -> str:
    """From white for 0 to full colour for the largest |gradient| here: in proportion when small, then like its log."""
    if grad is None or not grad.finite or grad.magnitude == 0.0:
        return "white"
    share = grad.magnitude / largest if grad.magnitude < largest else 1.0
    depth = math.log1p(100.0 * share) / math.log1p(100.0)
    mixed = [round(a + (b - a) * depth) for a, b in zip(WHITE, ORANGE, strict=True)]
    return "#{:02x}{:02x}{:02x}".format(*mixed)


def hint(node: DiagramNode) -> str:
    """More digits, for the mouse to find."""
    lines = [shortened(node.name, 200)] if node.name else []
    lines += [f"{what} = {exactly(x)}" for what, x in (("data", node.data), ("grad", node.grad))]
    return quoted("\n".join(lines))


def exactly(x: Quantity | None) -> str:
    if x is None:
        return "not computed"
    return f"rms {x.magnitude:.12g}" if x.numbers is None else ", ".join(f"{n:.12g}" for n in x.numbers) or "empty"


def escaped(text: str) -> str:
    """Text inside an HTML-like label, where a backslash would have a meaning too."""
    return html.escape(text).replace("\\", "\\\\")


def quoted(text: str) -> str:
    """A tooltip of exactly this text. Graphviz reads escapes in a tooltip twice, hence four backslashes for one."""
    text = text.replace("\\", "\\" * 4).replace('"', '\\"').replace("&", "&amp;").replace("\n", "\\n")
    return f'"{text}"'


def picture(text: str, form: str) -> bytes:
    """Have the layout made and drawn. Raises `RuntimeError` where that is impossible."""
    program = renderer(form)
    command = [program, f"-T{form}", *(["-Gdpi=192"] if form == "png" else [])]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=TIMEOUT, check=False)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError(f"{program} took more than {TIMEOUT} seconds; draw a smaller part.") from error
    except OSError as error:
        raise RuntimeError(f"{program} could not be run: {error}.") from error
    if done.returncode != 0 or not done.stdout:
        said = done.stderr.decode(errors="replace").strip() or "nothing"
        raise RuntimeError(f"{program} failed with exit status {done.returncode} and said: {said[-500:]}.")
    return done.stdout


def renderer(form: str) -> str:
    """The program that makes pictures of this format: on PATH, or among the scripts of this Python."""
    scripts = (str(Path(sys.executable).parent), sysconfig.get_path("scripts"), user_scripts())
    for name, forms in PROGRAMS.items():
        found = shutil.which(name) or shutil.which(name, path=os.pathsep.join(scripts))
        if found and form in forms:
            return found
    wheel = ", or `pip install graphviz-pure`" if form in PROGRAMS["graphviz-pure"] else " (graphviz-pure cannot)"
    raise RuntimeError(
        f"no program that makes a {form} was found. Install Graphviz (`apt install graphviz`, `brew install graphviz`, "
        f"`winget install graphviz`){wheel}."
    )


def user_scripts() -> str:
    return sysconfig.get_path("scripts", sysconfig.get_preferred_scheme("user"))


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file in one step, so that nobody ever sees half of it."""
    temporary = path.with_name(f".{path.name[-64:]}.{uuid.uuid4().hex}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
