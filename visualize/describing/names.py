"""What things are called: by the user's variables, or by their paths in the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, final

import numpy as np

from chainrule.autograd.checking.numbering import key, numbered
from chainrule.autograd.graph import Node
from chainrule.autograd.optional.names import name_of, parameter_paths

from ..folding.calls import Structured
from ..folding.groups import tree
from ..folding.wiring import Wiring
from .description import Diagram


@final
class Names:
    """What nodes and constants are called."""

    def __init__(self, nodes: Sequence[Node], variables: Mapping[str, Any] | None) -> None:
        self.paths = parameter_paths(nodes)
        self.variables = {} if variables is None else names_in(variables)

    def of(self, x: Any) -> str:
        own = x.name if isinstance(x, Node) else None
        return name_of(own, self.variables.get(id(x)) or self.paths.get(id(x)))

    def given_to(self, drawn: Diagram, nodes: Sequence[Node]) -> Diagram:
        """The description of all nodes, with their names."""
        if not self.paths and not self.variables:
            return drawn
        things = things_of(nodes)
        named = [dataclasses.replace(node, name=self.of(things[node.id])) for node in drawn.nodes]
        return dataclasses.replace(drawn, nodes=tuple(named), groups=tree(Wiring(nodes, self.variables)).children)


def things_of(nodes: Sequence[Node]) -> dict[int, Any]:
    """Nodes and constants by their ids."""
    ids = numbered(nodes)
    things: dict[int, Any] = {ids[id(node)]: node for node in nodes}
    for node in nodes:
        for position, arg in enumerate(node.args):
            things.setdefault(ids[key(node, position)], arg)
    return things


def names_in(variables: Mapping[str, Any]) -> dict[int, str]:
    """A name for every node, array and module that is among the variables, by `id`; the first of several.

    Lists, tuples and dicts are looked into, as in `w[0]` or `w['a']`, and modules for their parameters, as in
    `model.layers.0.bias`. Variables that begin with an underscore are left out. Raises `TypeError` for no mapping, and for
    a key that is no string.
    """
    if not isinstance(variables, Mapping):
        raise TypeError(
            f"visualize: names must be a mapping from names to what they name, as locals() is; got {type(variables).__name__}"
        )
    for name in variables:
        if not isinstance(name, str):
            raise TypeError(f"visualize: the keys of names must be strings, as in {{'x': x}}; got {name!r}")
    found: dict[int, str] = {}
    modules = []
    for path, thing in walk(variables):
        found.setdefault(id(thing), path)
        if isinstance(thing, Structured):
            modules.append((path, thing))
    for path, module in modules:
        for inner, parameter in module.named_parameters():
            found.setdefault(id(parameter), f"{path}.{inner}")
    return found


def walk(variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Nodes, arrays and modules, those by themselves before those in containers."""
    pending = [(name, x) for name, x in variables.items() if not name.startswith("_")]
    seen: set[int] = set()
    for path, x in pending:  # which grows
        if isinstance(x, Node | np.ndarray) or (isinstance(x, Structured) and not isinstance(x, type)):
            yield path, x
        elif isinstance(x, list | tuple | dict) and id(x) not in seen:
            seen.add(id(x))
            items = x.items() if isinstance(x, dict) else enumerate(x)
            pending.extend((f"{path}[{key!r}]", part) for key, part in items if isinstance(key, str | int))
