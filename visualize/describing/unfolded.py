"""A graph as it is: a box for each node and each constant, and the local derivatives on the arrows.

These come from the table: a rule shown the cotangent 1 gives dy/dx.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.autograd.checking.numbering import key, numbered
from chainrule.autograd.graph import Node
from chainrule.autograd.source import line_of

from ..folding.calls import changed_since
from .description import Diagram, DiagramEdge, DiagramNode, constant_quantity, parameters, quantity, size


def everything(nodes: Sequence[Node]) -> Diagram:
    """All of a graph as it is, under the names that the nodes were given."""
    ids = numbered(nodes)
    changed = changed_since(nodes)
    before_backward = nodes[-1].grad is None
    shown: list[DiagramNode] = []
    edges: list[DiagramEdge] = []
    with np.errstate(all="ignore"):
        for node in nodes:
            target = ids[id(node)]
            for position, derivative in enumerate(local_derivatives(node)):
                arg, source = node.args[position], ids[key(node, position)]
                if not isinstance(arg, Node) and source > len(shown):
                    shown.append(DiagramNode(source, "", constant_quantity(arg), None, constant=True))
                edges.append(DiagramEdge(source, target, position, derivative))
            shown.append(described(node, target, node.name or "", id(node) in changed, before_backward))
    return Diagram(len(shown), tuple(shown), tuple(edges))


def local_derivatives(node: Node) -> Sequence[float | None]:
    """The derivative of the node's own operation with respect to each argument."""
    args = node.args
    if (
        node.op is None
        or size(node._raw) != 1
        or not any(isinstance(arg, Node) and size(arg._raw) == 1 for arg in args)
    ):
        return [None] * len(args)
    try:
        pulled = node.op.pull(args, node.seed(), node._raw, node.params)
    except Exception:  # a rule of the user's own that raises is to be seen, too
        return [None] * len(args)
    return [single(arg, d) for arg, d in zip(args, pulled, strict=True)]


def single(arg: Any, d: Any) -> float | None:
    """A derivative with respect to `arg`, if that is a variable of one element."""
    if type(d) is float and isinstance(arg, Node) and type(arg._raw) is float:
        return d
    if d is None or not isinstance(arg, Node) or size(arg._raw) != 1:
        return None
    return float(np.sum(arg.fit(d)))


def described(node: Node, number: int, name: str, changed: bool, before_backward: bool) -> DiagramNode:
    data = quantity(node._raw)
    grad = None if node.grad is None else quantity(node.grad)
    old = grad is not None and (changed or before_backward)
    if node.op is None or not node.args:
        return DiagramNode(number, name, data, grad, changed=changed, old_grad=old)
    line = line_of(node)
    return DiagramNode(
        number,
        name,
        data,
        grad,
        node.op.symbol,
        node.op.name,
        parameters(node.params),
        changed=changed,
        line=str(line) if line else "",
        old_grad=old,
    )
