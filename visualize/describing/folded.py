"""A graph in parts: a box for each, with its result, what it holds, and one arrow for all that leads from one to another."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, final

import numpy as np

from chainrule.autograd.graph import Node

from ..folding.calls import changed_since
from ..folding.cells import Part, framed
from ..folding.wiring import Kind, Numbers, Wiring
from .description import (
    Diagram,
    DiagramEdge,
    DiagramNode,
    Fold,
    Quantity,
    constant_quantity,
    finite,
    quantity,
    root_mean_square,
    size,
)
from .names import Names
from .unfolded import described, local_derivatives
from .verdicts import Findings


@final
class Folded:
    """The description of a graph whose parts are folded."""

    def __init__(self, wiring: Wiring, parts: Sequence[Part], names: Names, findings: Findings | None) -> None:
        self.wiring, self.parts, self.names, self.findings = wiring, parts, names, findings
        self.ids = np.zeros(len(wiring.kinds), np.int64)  # of the box that each thing is in
        for number, part in enumerate(parts, 1):
            self.ids[part.results] = self.ids[part.others] = number
        crossing = self.ids[wiring.sources] != self.ids[wiring.targets]
        self.leaving = np.zeros(len(wiring.kinds), bool)  # what is used outside of its box
        self.leaving[wiring.sources[crossing]] = self.leaving[len(wiring.nodes) - 1] = True
        self.changed = changed_since(wiring.nodes)
        self.before_backward = wiring.nodes[-1].grad is None

    def diagram(self) -> Diagram:
        with np.errstate(all="ignore"):
            nodes = tuple(self.box(number, part) for number, part in enumerate(self.parts, 1))
            edges = tuple(edge for number, part in enumerate(self.parts, 1) for edge in self.edges(number, part))
        return Diagram(int(self.ids[len(self.wiring.nodes) - 1]), nodes, edges, framed(self.parts))

    def box(self, number: int, part: Part) -> DiagramNode:
        node = self.of_one(number, part) if part.single else self.of_several(number, part)
        return node if self.findings is None else self.findings.on_box(node, part)

    def of_one(self, number: int, part: Part) -> DiagramNode:
        thing = self.wiring.thing(part.things[0])
        name = self.names.of(thing)
        if isinstance(thing, Node):
            return described(thing, number, name, id(thing) in self.changed, self.before_backward)
        return DiagramNode(number, name, constant_quantity(thing), None, constant=True)

    def of_several(self, number: int, part: Part) -> DiagramNode:
        nodes = [thing for thing in map(self.wiring.thing, part.things) if isinstance(thing, Node)]
        out = [self.wiring.thing(i) for i in part.things if self.leaving[i]]
        grads = [node.grad for node in out if isinstance(node, Node) and node.grad is not None]
        return DiagramNode(
            number,
            self.names.of(out[0]) if len(out) == 1 else "",
            together([x._raw if isinstance(x, Node) else x for x in out]),
            together(grads) if grads else None,
            constant=not nodes,
            changed=any(id(node) in self.changed for node in nodes),
            fold=self.fold(part, nodes),
            old_grad=bool(grads) and self.before_backward,
        )

    def fold(self, part: Part, nodes: Sequence[Node]) -> Fold:
        operations = Counter(node.op.name for node in nodes if node.op is not None and node.args)
        kinds = self.wiring.kinds[part.others]
        parameters = [self.wiring.nodes[i] for i in part.others[kinds == Kind.PARAMETER].tolist()]
        grads = [root_mean_square(p.grad) ** 2 * size(p.grad) for p in parameters if p.grad is not None]
        return Fold(
            part.title,
            part.path,
            part.times,
            part.serial,
            len(nodes),
            tuple(sorted(operations.items(), key=lambda item: (-item[1], item[0]))),
            sum(size(parameter._raw) for parameter in parameters),
            math.sqrt(sum(grads)) if grads else None,
            sum(not (finite(node._raw) and (node.grad is None or finite(node.grad))) for node in nodes),
        )

    def edges(self, target: int, part: Part) -> Iterator[DiagramEdge]:
        """One for each argument; one for all that come from a fold, or go into one."""
        things = self.wiring.sources[self.wiring.uses(part.results)]
        sources = self.ids[things]
        several = self.values(things[sources != target])
        slopes = local_derivatives(self.wiring.nodes[part.results[0]]) if part.single and len(part.results) else None
        met: set[int] = set()
        for position, source in enumerate(sources.tolist()):
            alone = slopes is not None and self.parts[source - 1].single
            if source == target or (source in met and not alone):
                continue
            met.add(source)
            slope = slopes[position] if slopes is not None and alone else None
            edge = DiagramEdge(source, target, position, slope, values=several[source])
            yield self.findings.on_edge(edge, int(part.results[0])) if self.findings and alone else edge

    def values(self, things: Numbers) -> Counter[int]:
        """How many of the things are in each box."""
        return Counter(self.ids[np.unique(things)].tolist())


def together(data: Sequence[Any]) -> Quantity:
    """Several numbers or arrays as one."""
    if len(data) == 1:
        return quantity(data[0])
    if all(type(x) is float for x in data):
        return dataclasses.replace(quantity(np.array(data)), shape=None, dtype=None)
    sizes = np.array([size(x) for x in data])
    whole = float(np.sqrt(np.average(np.array([root_mean_square(x) for x in data]) ** 2, weights=sizes)))
    return Quantity(whole, None)
