"""The calls of modules that a graph comes from, as a tree: plain data, for whoever draws frames around them."""

from __future__ import annotations

__all__ = ["Group", "groups"]

from dataclasses import dataclass

from chainrule.autograd.graph import Node

from .calls import WHOLE, in_order
from .wiring import Wiring


@dataclass(frozen=True, slots=True)
class Group:
    """A part of a graph: what one call of a module computed, and the parameters that it used.

    The group of the whole graph has an empty title and an empty path. The members are nodes by their ids, as numbered
    by `diagram(root, fold=False)`, in ascending order, those of the children included. A child is inside its parent,
    and no two children share a member.
    """

    title: str  # the module's class, as in "Linear"
    path: str  # from the outermost module, as in "layers.0"; its class for the outermost module itself
    members: tuple[int, ...]
    children: tuple[Group, ...] = ()
    times: int = 1  # how many calls are drawn as this one


def groups(root: Node) -> Group:
    """The calls of modules that a graph comes from, as a tree; the graph itself is the root of it.

    A module that is called several times makes several groups, which have the same title and path. Children stand in
    the order of the calls.

    >>> import chainrule as cr
    >>> model = cr.nn.MLP([2, 3, 1], rng=0)
    >>> tree = cr.visualize.groups(model([[0.5, -0.5]]).sum())
    >>> [mlp] = tree.children
    >>> mlp.title, mlp.path, len(mlp.members)
    ('MLP', 'MLP', 7)
    >>> [(part.title, part.path, part.members) for part in mlp.children]
    [('Linear', '0', (1, 2, 6)), ('ReLU', '1', (7,)), ('Linear', '2', (3, 4, 8))]
    """
    return tree(Wiring(in_order(root)))


def tree(wiring: Wiring) -> Group:
    """The calls of modules, as a tree."""
    calls = wiring.calls
    members: list[list[int]] = [[] for _ in calls.titles]
    for number, thing in enumerate(wiring.order(), 1):
        for call in calls.around(int(wiring.homes[thing])):
            members[call].append(number)
    children: list[list[Group]] = [[] for _ in calls.titles]
    for call in sorted(range(1, len(calls.titles)), key=calls.starts.__getitem__, reverse=True):
        group = Group(calls.titles[call], calls.paths[call], tuple(members[call]), tuple(children[call][::-1]))
        children[calls.parents[call]].append(group)
    return Group("", "", tuple(members[WHOLE]), tuple(children[WHOLE][::-1]))
