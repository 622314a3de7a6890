"""A drawing that a notebook shows as a picture, and that is a `graphviz.Digraph` for everybody else."""

from __future__ import annotations

import re

import graphviz  # type: ignore[import-untyped]

from ..describing.description import Diagram
from .picture import picture as picture

READABLE = 0.6  # of its size


class Drawing(graphviz.Digraph):  # type: ignore[misc]
    """A `graphviz.Digraph` that a notebook can show wherever `render` works, also without Graphviz's own `dot`."""

    described: Diagram | None = None

    def _repr_mimebundle_(self, include: object = None, exclude: object = None, **_: object) -> dict[str, str]:
        text = self.source if self.described is None else str(self.described)
        try:
            return {"image/svg+xml": within_a_cell(picture(self.source, "svg").decode()), "text/plain": text}
        except RuntimeError as error:
            return {"text/plain": f"{text}\n\nThis is the text of a drawing that could not be made: {error}"}


def within_a_cell(svg: str) -> str:
    """A picture that shrinks with the notebook as far as it stays readable; wider ones are scrolled."""
    return re.sub(
        r'<svg width="([\d.]+)pt"',
        lambda match: (
            f'<svg style="max-width:max(100%,{READABLE * float(match[1]):.0f}pt);height:auto" width="{match[1]}pt"'
        ),
        svg,
        count=1,
    )
