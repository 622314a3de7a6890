"""Running numbers, by which reports and drawings name the nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from ..graph import Node

Key: TypeAlias = int | tuple[int, int]


def numbered(nodes: Sequence[Node]) -> dict[Key, int]:
    """Running numbers from 1; a constant comes just before the first result made from it."""
    ids: dict[Key, int] = {}
    for node in nodes:
        for position, arg in enumerate(node.args):
            if not isinstance(arg, Node):
                ids.setdefault(key(node, position), len(ids) + 1)
        ids[id(node)] = len(ids) + 1
    return ids


def key(node: Node, position: int) -> Key:
    """What an argument is recognised by: a variable or an array is one thing, a number is another at every use."""
    arg = node.args[position]
    return (id(node), position) if isinstance(arg, float | int) else id(arg)
