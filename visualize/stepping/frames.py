"""The steps as pictures: every one the same drawing, with what is known by then, what is lit, and a line below it.

The drawing is laid out with all its values, and those that are still to come are written in the colour of the paper, so
that nothing moves from one picture to the next.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from chainrule.autograd.optional.extra import extra

from ..describing.description import DiagramEdge, DiagramNode, Quantity
from ..describing.description import number as four_digits
from ..drawing.boxes import escaped
from ..drawing.picture import picture
from .story import Step, Story, brief, norm

MOST = 150  # pictures of one story
WIDTH = 1280  # pixels at most
SECONDS = 1.6  # for each picture of a moving one
PAPER, INK, GREY, LINE, HOVER = "#ffffff", "#1f2933", "#5a6572", "#a4adb8", "#eceeea"
FORWARD, BACKWARD, KNOWN, SO_FAR, FINISHED = "#1d5f9e", "#a8480a", "#e4eff9", "#fff4e6", "#ffe3c4"

HEADER = (
    f'digraph {{\n\tgraph [bgcolor="{PAPER}", nodesep=0.2, pad=0.2, rankdir=LR, ranksep=0.3]\n'
    f'\tnode [fontname=Arial, fontsize=12, fontcolor="{INK}", height=0, width=0, margin=0, shape=plain]\n'
    f"\tedge [arrowsize=0.6, fontname=Arial, fontsize=11]\n"
)


def moving(story: Story) -> bytes:
    """A GIF of all steps."""
    first, *rest = [frame.quantize(colors=128) for frame in drawn(story)]
    stream = io.BytesIO()
    pause = [round(1000 * SECONDS)] * len(rest) + [round(3000 * SECONDS)]
    first.save(stream, format="GIF", save_all=True, append_images=rest, duration=pause, loop=0, disposal=1)
    return stream.getvalue()


def pictures(story: Story) -> list[bytes]:
    """A PNG of every step."""
    return list(map(png, drawn(story)))


def png(frame: Any) -> bytes:
    stream = io.BytesIO()
    frame.save(stream, format="PNG")
    return stream.getvalue()


def numbered_paths(path: Path, many: int) -> list[Path]:
    """frames/001.png and so on in a folder; neuron-001.png and so on for neuron.png."""
    digits = max(3, len(str(many)))
    numbers = [f"{i:0{digits}}.png" for i in range(1, many + 1)]
    return [path / n if path.suffix.lower() != ".png" else path.with_name(f"{path.stem}-{n}") for n in numbers]


def drawn(story: Story) -> list[Any]:
    """All pictures, of one size."""
    if len(story) > MOST:
        raise ValueError(
            f"step: {len(story):,} steps are too many for pictures, of which there may be {MOST}; write a page "
            '(a path that ends in ".html"), or take a smaller example'
        )
    image = extra("PIL.Image", "plot", "a series of pictures")
    font = extra("PIL.ImageFont", "plot", "a series of pictures").truetype(str(typeface()), 22)
    moments = [Moment(story, i) for i in range(len(story))]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        images = list(pool.map(lambda moment: picture(moment.dot(), "png"), moments))
    return [captioned(image.open(io.BytesIO(data)), moment, font) for data, moment in zip(images, moments, strict=True)]


def typeface() -> Path:
    """A font that has ∂, which Pillow's own lacks."""
    return (
        Path(extra("matplotlib", "plot", "a series of pictures").get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    )


def captioned(drawing: Any, moment: Moment, font: Any) -> Any:
    """The drawing on paper, with room for every step's lines below."""
    image = extra("PIL.Image", "plot", "a series of pictures")
    draw = extra("PIL.ImageDraw", "plot", "a series of pictures")
    drawing = drawing.convert("RGB")
    drawing.thumbnail((WIDTH - 40, WIDTH))
    height = 30 * max(len(lines(step)) for step in moment.story) + 56
    paper = image.new("RGB", (WIDTH, drawing.height + height + 20), PAPER)
    paper.paste(drawing, ((WIDTH - drawing.width) // 2, 20))
    pen = draw.Draw(paper)
    y, text = drawing.height + 30, lines(moment.step)
    pen.text((30, y), f"{moment.number + 1} of {len(moment.story)}", fill=moment.colour, font=font)
    for i, line in enumerate(text):
        pen.text((150, y + 30 * i), fitting(line, font), fill=INK, font=font)
    return paper


def lines(step: Step, most: int = 5) -> list[str]:
    found = str(step).split("\n")
    return found if len(found) <= most else [*found[: most - 1], f"and {len(found) - most + 1} more"]


def fitting(line: str, font: Any) -> str:
    while font.getlength(line) > WIDTH - 180:
        line = line[:-2] + "…" if line.endswith("…") else line[:-1] + "…"
    return line


@final
@dataclass(frozen=True, slots=True)
class Moment:
    """The state of everything at one step."""

    story: Story
    number: int

    @property
    def step(self) -> Step:
        return self.story.steps[self.number]

    @property
    def colour(self) -> str:
        return BACKWARD if self.step.phase in ("seed", "backward", "done") else FORWARD

    @property
    def past(self) -> Sequence[Step]:
        return self.story.steps[: self.number + 1]

    def dot(self) -> str:
        return "".join([HEADER, *self.statements(), "}\n"])

    def statements(self) -> Iterator[str]:
        known = {step.node for step in self.past if step.phase == "forward"}
        flowed = {step.node for step in self.past if step.phase == "backward"}
        so_far = self.gradients(self.past)
        for node in self.story.diagram.nodes:
            lit = node.id == self.step.node
            if node.constant:
                yield f"\tn{node.id} [label=<{table(cell(brief(node.data), HOVER, GREY), LINE)}>]\n"
                continue
            value = not node.symbol or node.id in known
            yield f"\tn{node.id} [label=<{self.card(node, value, so_far.get(node.id), lit)}>]\n"
            if node.symbol:
                yield from self.operation(node, value, lit)
        for edge in self.story.diagram.edges:
            yield self.edge(edge, edge.target in known, edge.target in flowed)

    def gradients(self, steps: Sequence[Step]) -> dict[int, tuple[Quantity, int]]:
        """What has come together of each gradient, and from how many uses."""
        seeded = {step.node: (self.story.seed, 1) for step in steps if step.phase == "seed" and step.node}
        parts = [part for step in steps for part in step.contributions]
        return {**seeded, **{part.argument: (part.total, part.nth) for part in parts if part.total is not None}}

    def card(self, node: DiagramNode, value: bool, grad: tuple[Quantity, int] | None, lit: bool) -> str:
        final = self.story.gradients[node.id - 1]
        whole = grad is not None and grad[1] == self.gradients(self.story.steps)[node.id][1]
        shown = final if grad is None else grad[0]
        left = cell(short(node.data), KNOWN if value else PAPER, INK if value else PAPER, "value")
        below = FINISHED if whole else SO_FAR if grad else PAPER
        right = cell(short(shown) if shown else "–", below, BACKWARD if grad else PAPER, "grad")
        shape = "" if node.data.shape is None else f' <font point-size="9" color="{GREY}">{node.data.shape}</font>'
        name = f'<td colspan="2" bgcolor="{PAPER}"><b>{escaped(self.story.name(node.id))}</b>{shape}</td>'
        return framed(
            table(f"{name}</tr><tr>{left}{right}", self.colour if lit else LINE), self.colour if lit else PAPER
        )

    def operation(self, node: DiagramNode, value: bool, lit: bool) -> Iterator[str]:
        colour, width = (self.colour, 2.5) if lit else (LINE, 1)
        style = "filled" if value else "dashed"
        yield (
            f'\top{node.id} [label=<{escaped(node.symbol)}>, shape=ellipse, style="{style}", fillcolor="{PAPER}", '
            f'color="{colour}", penwidth={width}, margin=0.05, width=0.36, height=0.36, ordering=in]\n'
            f'\top{node.id} -> n{node.id} [arrowhead=none, color="{colour}", penwidth={width}, weight=4]\n'
        )

    def edge(self, edge: DiagramEdge, known: bool, flowed: bool) -> str:
        lit = edge.target == self.step.node and self.step.phase in ("forward", "backward")
        back = lit and self.step.phase == "backward"
        style = [f'color="{self.colour if lit else BACKWARD if flowed else LINE}"', f"penwidth={2.5 if lit else 1}"]
        style += ["style=solid" if known else "style=dashed", "dir=back" if back else "dir=forward"]
        if edge.derivative is not None:
            ink = BACKWARD if flowed else PAPER
            style.append(f'label=" {brief(Quantity(0.0, (edge.derivative,)))} ", fontcolor="{ink}"')
        return f"\tn{edge.source}:e -> op{edge.target} [{', '.join(style)}]\n"


def cell(text: str, below: str, ink: str, what: str = "") -> str:
    caption = f'<font point-size="8" color="{GREY}">{what}</font><br/>' if what else ""
    return f'<td bgcolor="{below}">{caption}<font color="{ink}">{escaped(text)}</font></td>'


def short(x: Quantity) -> str:
    """Four digits; of a larger array its norm."""
    text = f"norm {four_digits(norm(x))}" if x.numbers is None else x.text
    return text.replace("-", "−")


def table(cells: str, colour: str) -> str:
    return f'<table border="1" color="{colour}" cellborder="0" cellspacing="0" cellpadding="4"><tr>{cells}</tr></table>'


def framed(inside: str, colour: str) -> str:
    """What is lit takes no more room than what is not."""
    return f'<table border="2" color="{colour}" cellborder="0" cellspacing="0" cellpadding="2"><tr><td>{inside}</td></tr></table>'
