"""What stands below a drawing: its title, the operations that a check found wrong, and what the signs mean.

Only signs that occur are explained. Each sample looks as it does in the drawing and has its meaning written in it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from chainrule.autograd.checking.report import WORST_FIRST, WRONG

from ..describing.description import Diagram, number, shortened
from .boxes import Look, escaped, is_bad
from .theme import SHARES, share

NAMED = 3  # operations that were found wrong and are listed
WIDEST = {True: 140, False: 60}  # characters of a line, of a drawing from side to side or from top to bottom
GAP = '<td width="10"></td>'
SPARE = "<td></td>" * 8


def caption(drawn: Diagram, look: Look, title: str | None, legend: bool) -> str:
    """An HTML-like label; empty if there is nothing to say."""
    lines = [strong(shortened(title, 200), look)] if title else []
    lines += culprits(drawn, look)
    if legend:
        lines += [centred(line) for line in rows(drawn, look)]
    inside = "".join(f"<tr><td>{line}</td></tr>" for line in lines)
    return inside and f'<table border="0" cellspacing="0" cellpadding="2"><tr><td></td></tr>{inside}</table>'


def centred(cells: str) -> str:
    """A row of samples. Graphviz shares spare room out among columns, hence the empty ones, which take most of it."""
    inner = f'<td><table border="0" cellspacing="2" cellpadding="3"><tr>{cells}</tr></table></td>'
    return f'<table border="0" cellspacing="0" cellpadding="0"><tr>{SPARE}{inner}{SPARE}</tr></table>'


def strong(text: str, look: Look) -> str:
    return f'<font point-size="14" color="{look.theme.ink}"><b>{escaped(text)}</b></font>'


def culprits(drawn: Diagram, look: Look) -> Iterator[str]:
    """One line for each operation that is wrong: the numbers, and the line of code where that was recorded."""
    found = [node for node in drawn.nodes if node.wrong]
    for node in found[:NAMED]:
        where = f"WRONG inside {node.fold.title}" if node.fold is not None else f"{node.wrong[0]} is WRONG"
        text = shortened(f"{where}: {node.finding}", 160)
        yield f'<font point-size="12" color="{look.theme.alarm}"><b>{escaped(text)}</b></font>'
        if node.line:
            place = escaped(shortened(without_folder(node.line), 120))
            yield f'<font point-size="10" color="{look.theme.ink}">{place}</font>'
    if len(found) > NAMED:
        yield f'<font point-size="12" color="{look.theme.alarm}">… and {len(found) - NAMED} more</font>'


def without_folder(line: str) -> str:
    """A line of code with the file's name instead of its path."""
    return re.sub(r"^.*?[/\\](?=[^/\\]*?:\d+, in )", "", line) if ":" in line else line


def rows(drawn: Diagram, look: Look) -> Iterator[str]:
    """The samples, as many on a line as fit."""
    line, used = "", 0
    for cells, width in samples(drawn, look):
        if line and used + width > WIDEST[look.sideways]:
            yield line
            line, used = "", 0
        line += (GAP if line else "") + cells
        used += width + 4
    if line:
        yield line


def samples(drawn: Diagram, look: Look) -> Iterator[tuple[str, int]]:
    """Cells that explain one sign, and about how many characters they take."""
    theme = look.theme
    values = [node for node in drawn.nodes if not node.constant]
    if look.checked:
        yield from verdicts(drawn, look)
    elif any(node.grad is not None for node in values):
        yield scale(look)
    if any(edge.derivative is not None for edge in drawn.edges):
        yield words(f'<font color="{theme.slope}">number on an arrow: local derivative</font>', 36)
    yield sample("result", look, theme.box, theme.ink, 2)
    if any(node.constant for node in drawn.nodes):
        yield sample("constant", look, theme.constant, theme.constant_line, 1)
    if any(is_bad(node) for node in drawn.nodes):
        yield sample("<b>NaN or infinity</b>", look, theme.alarm_box, theme.alarm, 3, colour=theme.alarm)
    if any(node.changed or node.old_grad for node in values):
        yield sample("changed since, or of an earlier pass", look, theme.box, theme.ink, 1, "dashed")
    if any(node.grad is None for node in values):
        yield words("–: not computed", 15)
    if any(node.data.numbers is None for node in drawn.nodes):
        yield words("rms: root mean square", 21)


def scale(look: Look) -> tuple[str, int]:
    """The tint from no gradient to the largest."""
    texts = [number(float(f"{look.largest * share(depth):.2g}")) for depth in SHARES[:-1]]
    texts.append(number(look.largest))
    theme = look.theme
    cells = "".join(
        f'<td border="1" color="{theme.line}" bgcolor="{theme.tinted(depth)}"><font color="{theme.ink}">{text}</font></td>'
        for depth, text in zip(SHARES, texts, strict=True)
        if depth == SHARES[0] or text != "0"  # a share of the smallest numbers there are
    )
    return f"<td>|grad|</td>{cells}", 6 + sum(len(text) + 3 for text in texts)


def verdicts(drawn: Diagram, look: Look) -> Iterator[tuple[str, int]]:
    """How each verdict that occurs looks, and how often it does."""
    counts = Counter(node.verdict for node in drawn.nodes)
    theme = look.theme
    for verdict in WORST_FIRST[:0:-1]:
        if counts[verdict]:
            mark = theme.marks[verdict]
            text = f"{verdict}: {counts[verdict]}"
            yield sample(text, look, mark.fill, mark.border, 3 if mark.double else round(mark.width), mark.style)
    operations = sum(len(node.wrong) for node in drawn.nodes)
    if operations:
        yield sample(f"<b>wrong operation: {operations}</b>", look, theme.alarm, theme.alarm, 2, colour=theme.on_alarm)
    if variables := sum(node.verdict == WRONG and not node.wrong for node in drawn.nodes):
        mark, style = theme.marks[WRONG], "dashed" if operations else "solid"
        yield sample(f"gradient of the whole wrong: {variables}", look, mark.fill, mark.border, 2, style)


def sample(
    text: str, look: Look, fill: str, line: str, width: int, style: str = "solid", colour: str = ""
) -> tuple[str, int]:
    cell = (
        f'<td border="{width}" color="{line}" bgcolor="{fill}" style="{style}">'
        f'<font color="{colour or look.theme.ink}">{text}</font></td>'
    )
    return cell, len(re.sub("<.*?>", "", text)) + 2


def words(text: str, width: int) -> tuple[str, int]:
    return f"<td>{text}</td>", width
