"""The door to libraries that are not required: the module, or an error that says which extra of chainrule brings it."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def extra(module: str, name: str, purpose: str) -> Any:
    """The module, or an `ImportError` that says which extra of chainrule brings it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} needs {module.split('.')[0]}, which is not installed: pip install 'chainrule[{name}]'"
        ) from error


def new_figure(what: str, width: float, height: float) -> Any:
    """An empty Matplotlib figure of this size in inches, that pyplot does not know and a notebook shows by itself."""
    extra("matplotlib.figure", "plot", what)
    return import_module(".figure", __package__).Plot(width, height)
