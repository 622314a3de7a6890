"""What a variable is called, in checks, explanations and drawings alike: by its own name, or by its path in the model."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from ..graph import Node


def name_of(own: str | None, place: str | None) -> str:
    """The name to show: the one it was given, unless its place among the user's variables or in the model ends in that
    and says more, as `layers.0.neurons.3.w.1` does of `w1`; empty where there is neither."""
    place = place or ""
    if not own:
        return place
    squeezed = place.replace(".", "")
    return place if squeezed.endswith(own) and squeezed != own else own


def parameter_paths(nodes: Iterable[Node]) -> dict[int, str]:
    """The paths of the parameters of the outermost modules that were called, by `id`. A shared one has its first."""
    modules = {id(node.call[0]): node.call[0] for node in nodes if node.call is not None}
    inside = {id(part) for module in modules.values() for _, part in module.named_modules() if part is not module}
    paths: dict[int, str] = {}
    for number, module in modules.items():
        if number not in inside:
            with suppress(TypeError, ValueError):  # a report is no place to complain of what a module holds besides
                for path, parameter in module.named_parameters():
                    paths.setdefault(id(parameter), path)
    return paths
