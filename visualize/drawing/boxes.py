"""The boxes of a drawing in Graphviz's HTML-like labels, and the text in them.

Every text that came from outside is escaped here and nowhere else. What the boxes of one drawing share is decided once,
in its `Look`.
"""

from __future__ import annotations

import html
from dataclasses import dataclass
from typing import final

from chainrule.autograd.checking.report import WRONG

from ..describing.description import Diagram, DiagramNode, Fold, Quantity, inside, shortened
from ..describing.description import heading as title_of
from .theme import Theme

DIRECTIONS = ("LR", "RL", "TB", "BT")
ROW = '<table border="0" cellborder="0" cellpadding="5" cellspacing="0"><tr>'
STACK = '<table border="0" cellborder="0" cellpadding="2" cellspacing="0">'


@final
@dataclass(frozen=True, slots=True)
class Look:
    """What all boxes and arrows of one drawing share."""

    theme: Theme
    direction: str
    layered: bool  # every arrow points along `direction`
    root: int
    largest: float  # |gradient|
    checked: bool
    named: bool  # an operation is known to be wrong: what else is wrong follows from that

    @property
    def sideways(self) -> bool:
        return self.direction in ("LR", "RL")


def require_look(direction: str, title: str | None) -> None:
    if direction not in DIRECTIONS:
        raise ValueError(f"visualize: direction must be one of {', '.join(DIRECTIONS)}, got {direction!r}")
    if not isinstance(title, str | None):
        raise TypeError(f"visualize: title must be a string or None, got {type(title).__name__}")


def look_of(drawn: Diagram, theme: Theme, direction: str, layered: bool, checked: bool) -> Look:
    # The root's own gradient is the seed, often far larger than all that it leads to: it would wash the others out.
    gradients = [node.grad for node in drawn.nodes if node.id != drawn.root and node.grad and node.grad.finite]
    largest = max((grad.magnitude for grad in gradients), default=0.0)
    named = any(node.wrong for node in drawn.nodes)
    return Look(theme, direction, layered, drawn.root, largest, checked, named)


def folded(node: DiagramNode, fold: Fold, look: Look) -> str:
    """The box of what is folded: its title, what it holds, and its result."""
    theme = look.theme
    name = f"<b>{escaped(shortened(node.name))}</b>: " if node.name else ""
    path = small(escaped(shortened(fold.path, 40)), theme) if fold.path not in ("", fold.title) else ""
    title = "<br/>".join(filter(None, [f"{name}<b>{escaped(title_of(fold))}</b>", path]))
    held = "<br/>".join(small(escaped(line), theme) for line in inside(fold)[: None if not fold.not_finite else -1])
    if fold.not_finite:
        held += f"<br/>{alarming(f'{fold.not_finite:,} NaN or infinite', theme)}"
    numbers = "".join(
        f'<tr><td align="right">{small(what, theme)}</td><td align="left">{text}</td></tr>'
        for what, text in fields(node, theme)[: 1 if node.constant else 2]
    )
    cells = "".join(f'<tr><td colspan="2" cellpadding="3">{cell}</td></tr>' for cell in (title, held) if cell)
    below = verdict_line(node, look)
    last = below and f'<hr/><tr><td colspan="2" cellpadding="5">{below}</td></tr>'
    colours = alarm(theme) if is_bad(node) else f'fillcolor="{fill(node, look)}"{border(node, look)}'
    return (
        f"\tn{node.id} [label=<{STACK}<tr><td></td></tr>{cells}<hr/>{numbers}{last}</table>>, {colours}, "
        f'margin="0.08,0.04", shape=box3d, style=filled, tooltip={hint(node)}]\n'
    )


def value(node: DiagramNode, look: Look) -> str:
    """The box of a variable or of a result."""
    if node.fold is not None:
        return folded(node, node.fold, look)
    stacked = look.sideways and node.data.shape is not None
    label = (stack if stacked else record)(node, look.theme, verdict_line(node, look))
    colours = alarm(look.theme) if is_bad(node) else f'fillcolor="{fill(node, look)}"{border(node, look)}'
    return f"\tn{node.id} [label=<{label}>, {colours}, tooltip={hint(node)}]\n"


def constant_box(node: DiagramNode, look: Look) -> str:
    theme, bad = look.theme, not node.data.finite
    text = alarming(node.data.text, theme) if bad else node.data.text
    if node.data.shape is not None:
        text = f"{small(kind(node.data), theme)}<br/>{small('rms ', theme) if node.data.numbers is None else ''}{text}"
    if node.name:
        text = f"<b>{escaped(shortened(node.name))}</b><br/>{text}"
    colours = alarm(theme) if bad else f'color="{theme.constant_line}", fillcolor="{theme.constant}"'
    return (
        f'\tn{node.id} [label=<{ROW}<td width="34">{text}</td></tr></table>>, '
        f'{colours}, fontcolor="{theme.quiet}", fontsize=11, style=filled, tooltip="constant"]\n'
    )


def record(node: DiagramNode, theme: Theme, below: str) -> str:
    """Name, data and gradient side by side."""
    cells = [heading(node, theme)] if node.name or node.data.shape is not None else []
    cells += [f"{small(what, theme)}<br/>{text}" for what, text in fields(node, theme)]
    inside = '</td><vr/><td width="34">'.join(cells)
    last = below and f'</tr><hr/><tr><td colspan="{2 * len(cells) - 1}">{below}</td>'
    return f'{ROW}<td width="34">{inside}</td>{last}</tr></table>'


def stack(node: DiagramNode, theme: Theme, below: str) -> str:
    """Name, data and gradient one above the other."""
    lines = [f'<tr><td colspan="2" cellpadding="5">{heading(node, theme)}</td></tr><hr/>']
    for what, text in fields(node, theme):
        cells = (
            f'<td align="right" width="34">&#160;{small(what, theme)}</td><td align="left" width="40">{text}&#160;</td>'
        )
        lines.append(f"<tr>{cells}</tr>")
    last = below and f'<hr/><tr><td colspan="2" cellpadding="5">{below}</td></tr>'
    return f"{STACK}{''.join(lines)}{last}</table>"


def fields(node: DiagramNode, theme: Theme) -> tuple[tuple[str, str], tuple[str, str]]:
    """Data and gradient, each with what it is called."""
    return (
        (called("data", node.data) + (", changed since" if node.changed else ""), shown(node.data, theme)),
        (called("grad", node.grad) + (", old" if node.old_grad else ""), shown(node.grad, theme)),
    )


def called(what: str, x: Quantity | None) -> str:
    return what if x is None or x.numbers is not None else f"{what} rms"


def heading(node: DiagramNode, theme: Theme) -> str:
    name = f"<b>{escaped(shortened(node.name))}</b>" if node.name else ""
    return name if node.data.shape is None else f"{name}{name and '<br/>'}{small(kind(node.data), theme)}"


def shown(x: Quantity | None, theme: Theme) -> str:
    return "–" if x is None else x.text if x.finite else alarming(x.text, theme)


def verdict_line(node: DiagramNode, look: Look) -> str:
    """What a check found of a variable, unless it is right; what it found of an operation stands there."""
    if node.operation or not node.finding:
        return ""
    return small(f"{escaped(node.verdict)}: {lines_of(node.finding)}", look.theme)


def lines_of(finding: str) -> str:
    """A finding in short lines."""
    return "<br/>".join(escaped(shortened(part, 48)) for part in finding.replace("; ", ", ").split(", "))


def alarm(theme: Theme) -> str:
    """A value that is not finite."""
    return f'color="{theme.alarm}", fillcolor="{theme.alarm_box}", penwidth=2.5, peripheries=2'


def fill(node: DiagramNode, look: Look) -> str:
    if not look.checked:
        return tint(node.grad, look)
    return look.theme.marks[node.verdict].fill if node.verdict else look.theme.box


def tint(grad: Quantity | None, look: Look) -> str:
    if grad is None or not grad.finite or grad.magnitude == 0.0:
        return look.theme.tint(0.0)
    return look.theme.tint(grad.magnitude / look.largest if grad.magnitude < look.largest else 1.0)


def border(node: DiagramNode, look: Look) -> str:
    """The line around a box: nothing to add for one that has nothing to say."""
    theme = look.theme
    if node.verdict and not node.operation:
        mark = theme.marks[node.verdict]
        calm = node.verdict == WRONG and look.named and not node.wrong
        return outline(mark.border, 1.5 if calm else mark.width, "dashed" if calm else mark.style, mark.double)
    style = "dashed" if node.changed or node.old_grad else "solid"
    if node.id == look.root:
        return outline(theme.ink, 2.5, style, False)
    return outline(theme.ink, 1.5, style, False) if style == "dashed" else ""


def outline(colour: str, width: float, style: str, double: bool) -> str:
    dashes = "" if style == "solid" else f', style="rounded,filled,{style}"'
    return f', color="{colour}", penwidth={width:g}{dashes}{", peripheries=2" if double else ""}'


def is_bad(node: DiagramNode) -> bool:
    inside = node.fold is not None and node.fold.not_finite > 0
    return inside or not (node.data.finite and (node.grad is None or node.grad.finite))


def hint(node: DiagramNode) -> str:
    """More digits, for the mouse to find."""
    name = f"{inside_quotes(shortened(node.name, 200))}\\n" if node.name else ""
    return f'"{name}data = {exactly(node.data)}\\ngrad = {exactly(node.grad)}"'


def exactly(x: Quantity | None) -> str:
    if x is None:
        return "not computed"
    return f"rms {x.magnitude:.12g}" if x.numbers is None else ", ".join([f"{n:.12g}" for n in x.numbers]) or "empty"


def kind(x: Quantity) -> str:
    return escaped(f"{x.dtype} {x.shape}")  # a dtype may be called >f4


def small(text: str, theme: Theme) -> str:
    return f'<font point-size="8" color="{theme.quiet}">{text}</font>'


def alarming(text: str, theme: Theme) -> str:
    return f'<font color="{theme.alarm}"><b>{text}</b></font>'


def escaped(text: str) -> str:
    """Text inside an HTML-like label, where a backslash would have a meaning too."""
    return html.escape(text).replace("\\", "\\\\")


def quoted(text: str) -> str:
    """A tooltip of exactly this text."""
    return f'"{inside_quotes(text)}"'


def inside_quotes(text: str) -> str:
    """Part of a tooltip. Graphviz reads escapes in a tooltip twice, hence four backslashes for one."""
    return text.replace("\\", "\\" * 4).replace('"', '\\"').replace("&", "&amp;").replace("\n", "\\n")
