"""Matplotlib's figure as this package returns it: pyplot does not know it, and a notebook shows it by itself.

Imported only where something is drawn: Matplotlib is not required.
"""

from __future__ import annotations

from importlib import import_module
from io import BytesIO
from typing import Any, final

Figure: Any = import_module("matplotlib.figure").Figure


@final
class Plot(Figure):  # type: ignore[misc]
    """A Matplotlib figure with tidy margins."""

    def __init__(self, width: float, height: float) -> None:
        super().__init__((width, height), layout="constrained")

    def _repr_png_(self) -> bytes:
        """As a notebook shows it, also where `%matplotlib` was not asked for."""
        picture = BytesIO()
        self.savefig(picture, format="png", dpi=100)
        return picture.getvalue()
