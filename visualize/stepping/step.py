"""The backward pass to watch: a page to step through, a moving picture or a series of pictures, and plain text."""

from __future__ import annotations

__all__ = ["StepPage", "step"]

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final, overload

from chainrule.autograd.graph import Node

from ..drawing.picture import destination, require_place, write_picture
from .frames import moving, numbered_paths, pictures
from .page import page
from .story import MAX_NODES, Story, story

SUFFIXES = (".html", ".htm", ".gif", ".png")
OR_ELSE = ", or a folder for pictures, which ends in a slash"


@final
@dataclass(frozen=True, slots=True)
class StepPage:
    """Backpropagation step by step, to be shown by a notebook, printed as text, or saved."""

    story: Story
    title: str

    @property
    def html(self) -> str:
        return page(self.story, self.title)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write a page (.html), a moving picture (.gif), or pictures (.png, or a folder: a path that ends in "/").

        Of neuron.png there are neuron-001.png, neuron-002.png and so on. Returns the path.
        """
        if isinstance(path, str | os.PathLike) and os.fspath(path).endswith(("/", os.sep)):
            require_place("step", path, folder=True)
            images = pictures(self.story)
            Path(path).mkdir(exist_ok=True)
            return self.series(Path(path), images)
        target = destination("step", path, SUFFIXES, OR_ELSE)
        if target.suffix.lower() == ".png":
            return self.series(target, pictures(self.story))
        content = moving(self.story) if target.suffix.lower() == ".gif" else self.html.encode()
        write_picture("step", path, content)
        return target

    def series(self, path: Path, images: Sequence[bytes]) -> Path:
        for each, image in zip(numbered_paths(path, len(images)), images, strict=True):
            write_picture("step", each, image)
        return path

    def __str__(self) -> str:
        return str(self.story)

    def __repr__(self) -> str:
        return f"StepPage({self.title!r}, {len(self.story)} steps)"

    def _repr_html_(self) -> str:
        """The page in a frame of its own, which can reach nothing outside."""
        return (
            f'<iframe title="{html.escape(self.title)}" sandbox="allow-scripts" width="100%" height="640" '
            f'style="border:1px solid #8888;border-radius:8px" srcdoc="{html.escape(self.html)}"></iframe>'
        )


@overload
def step(root: Node, path: None = None, *, names: Mapping[str, Any] | None = None, title: str | None = None, seed: Any = None, max_nodes: int | None = MAX_NODES) -> StepPage: ...  # fmt: skip
@overload
def step(root: Node, path: str | os.PathLike[str], *, names: Mapping[str, Any] | None = None, title: str | None = None, seed: Any = None, max_nodes: int | None = MAX_NODES) -> Path: ...  # fmt: skip
def step(
    root: Node,
    path: str | os.PathLike[str] | None = None,
    *,
    names: Mapping[str, Any] | None = None,
    title: str | None = None,
    seed: Any = None,
    max_nodes: int | None = MAX_NODES,
) -> StepPage | Path:
    """Backpropagation from `root`, forward and then backward, one node at a time, to watch.

    To `path` it writes one HTML file that needs nothing else, works offline, and lets nothing out, and returns the path;
    a moving picture where the path ends in .gif, a series of pictures for .png or a folder (a path that ends in "/").
    Without a path it returns a `StepPage`, which a notebook shows, `print` lists as text, and `save` writes. Nothing needs
    to have been differentiated before: the walk is made here, and no `.grad` is read or written.

    `names` names what has no name of its own, as in `names=locals()`; `seed` is what `backward` takes. Inside
    `record_lines()` a graph remembers the lines that made it, and the page shows them.
    Raises `TypeError` if `root` is not a Value or Tensor, `ValueError` for a graph of more than `max_nodes` of them or
    another suffix, `FileNotFoundError` if the folder does not exist, another `OSError` where the path is no place for a
    file, and as `backward` does.

    >>> import chainrule as cr
    >>> a, b = cr.Value(2.0, name="a"), cr.Value(3.0, name="b")
    >>> print(cr.visualize.step(a * b))
    1  given: a = 2, b = 3
    2  L = a · b = 2 · 3 = 6
    3  ∂L/∂L = 1
    4  ∂L/∂a += ∂L/∂L · b = 1 · 3 = 3
       ∂L/∂b += ∂L/∂L · a = 1 · 2 = 2
    5  done: ∂L/∂a = 3, ∂L/∂b = 2
    """
    if not isinstance(title, str | None):
        raise TypeError(f"step: title must be a string or None, got {title!r}")
    told = story(root, names=names, seed=seed, max_nodes=max_nodes)
    shown = StepPage(told, title if title is not None else f"Backpropagation from {told.name(told.diagram.root)}")
    return shown if path is None else shown.save(path)
