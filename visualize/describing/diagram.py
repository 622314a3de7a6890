"""From a graph to its description: which boxes a drawing has, what stands in them, and what connects them.

Nothing here knows how a drawing looks. Nodes are numbered in the order of computation, so that the same graph always
gives an equal description. Local derivatives come from the table: a rule shown the cotangent 1 gives dy/dx.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.autograd.checking.report import WORST_FIRST, WRONG, Report
from chainrule.autograd.graph import Node, key, numbered
from chainrule.autograd.source import line_of

from ..folding.calls import changed_since, in_order, parameter_paths
from ..folding.cells import Part, framed
from ..folding.groups import tree
from ..folding.opening import fits, folded
from ..folding.wiring import Kind, Wiring
from .description import (
    Diagram,
    DiagramEdge,
    DiagramNode,
    Fold,
    Quantity,
    constant,
    finite,
    parameters,
    quantity,
    root_mean_square,
    size,
)
from .names import chosen, names_in
from .verdicts import marked

MAX_NODES = 150  # boxes


def diagram(
    root: Node,
    *,
    max_nodes: int | None = MAX_NODES,
    depth: int | None = None,
    open: Iterable[str] = (),
    names: Mapping[str, Any] | None = None,
    fold: bool = True,
    check: Report | None = None,
) -> Diagram:
    """The plain description of the graph that `root` is the result of.

    An array of up to four elements shows them, a larger one its root mean square ("rms").

    A graph of more than `max_nodes` (None: no limit) values and constants, or of more than 20 results one after another,
    is folded, and never more than `max_nodes` boxes are described: calls of modules become one box, parts of the same
    structure too ("× 16"), steps that follow one another, chains; what is still too much is cut into pieces. `open` names folds that are to be opened, by the paths that the
    folds show, such as "layers.0"; they go first. The rest is opened as far as there is room, or down to `depth` calls
    of modules: 0 shows none from inside. With `fold=False` nothing is folded.

    `names` gives names: a mapping such as `locals()`, from the names of variables to nodes, arrays, modules, and lists,
    tuples and dicts of them. Without it, parameters of modules are called by their paths, as in "layers.0.bias". A name
    that a node was given by itself stands, unless it is but the end of such a path. With the report of a check of the
    same graph as `check`, every operation and variable gets its verdict, and a fold the worst of those inside.

    Raises `TypeError` if `root` is not a Value or Tensor, `ValueError` if there is nothing to open under a name in `open`
    or no room for it, if the report is of another graph, or if the graph has more than `max_nodes` nodes and is not to
    be folded.

    >>> import chainrule as cr
    >>> a, b = cr.Value(2.0, name="a"), cr.Value(3.0, name="b")
    >>> y = a * b + a
    >>> y.backward()
    >>> print(cr.visualize.diagram(y))
    id  name  op  args  ∂     data  grad
    1   a                     2     4
    2   b                     3     2
    3         ×   1, 2  3, 2  6     1
    4         +   3, 1  1, 1  8     1
    """
    paths = options(max_nodes, depth, open)
    nodes = collected(root, None if fold else max_nodes)
    known = Names(nodes, names)
    if fold:
        wiring = Wiring(nodes, known.variables)
        if paths or depth is not None or not fits(wiring, max_nodes):
            parts = folded(wiring, max_nodes or len(wiring.kinds), depth, paths)
            return Folded(wiring, parts, known, None if check is None else marked(everything(nodes), check)).diagram()
    drawn = everything(nodes)
    return known.given_to(drawn if check is None else marked(drawn, check), nodes)


def options(max_nodes: int | None, depth: int | None, paths: Iterable[str]) -> list[str]:
    """The paths to open; an error for options that make no sense."""
    if max_nodes is not None and not (isinstance(max_nodes, int) and max_nodes > 0):
        raise ValueError(f"visualize: max_nodes must be a positive integer, or None for no limit, got {max_nodes!r}")
    if depth is not None and not (isinstance(depth, int) and depth >= 0):
        raise ValueError(f"visualize: depth must be an integer from 0, or None to go as deep as fits, got {depth!r}")
    listed = [paths] if isinstance(paths, str) or not np.iterable(paths) else list(paths)
    for path in listed:
        if not isinstance(path, str):
            raise TypeError(f"visualize: open must hold names of folds, such as 'layers.0', got {path!r}")
    return listed


class Names:
    """What nodes and constants are called."""

    def __init__(self, nodes: Sequence[Node], variables: Mapping[str, Any] | None) -> None:
        self.paths = parameter_paths(nodes)
        self.variables = {} if variables is None else names_in(variables)

    def of(self, x: Any) -> str:
        own = x.name if isinstance(x, Node) else None
        return chosen(own, self.variables.get(id(x)), self.paths.get(id(x)))

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


def collected(root: Node, max_nodes: int | None) -> list[Node]:
    """The nodes to show, oldest first."""
    if not isinstance(root, Node):
        raise TypeError(f"visualize: expected a Value or a Tensor to draw, got {type(root).__name__}")
    nodes = in_order(root)
    if max_nodes is not None and len(nodes) > max_nodes:
        raise ValueError(
            f"visualize: the graph has {len(nodes):,} nodes and the limit is {max_nodes:,}. Draw it folded, as "
            "draw(root) does, take a part of it (any value inside can be the root), or raise the limit with max_nodes=; "
            "print(cr.visualize.diagram(root, fold=False, max_nodes=None)) lists a graph of any size."
        )
    return nodes


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
                    shown.append(DiagramNode(source, "", constant(arg), None, constant=True))
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


class Folded:
    """The description of a graph whose parts are folded."""

    def __init__(self, wiring: Wiring, parts: Sequence[Part], names: Names, checked: Diagram | None) -> None:
        self.wiring, self.parts, self.names, self.checked = wiring, parts, names, checked
        self.ids = np.zeros(len(wiring.kinds), np.int64)  # of the box that each thing is in
        for number, part in enumerate(parts, 1):
            self.ids[part.results] = self.ids[part.others] = number
        self.crossing = np.flatnonzero(self.ids[wiring.sources] != self.ids[wiring.targets])
        self.leaving = np.zeros(len(wiring.kinds), bool)  # what is used outside of its box
        self.leaving[wiring.sources[self.crossing]] = self.leaving[len(wiring.nodes) - 1] = True
        self.changed = changed_since(wiring.nodes)
        self.before_backward = wiring.nodes[-1].grad is None
        if checked is not None:
            self.numbers = {thing: number for number, thing in enumerate(wiring.order())}
            self.checked_edges = {(edge.target, edge.position): edge for edge in checked.edges}

    def diagram(self) -> Diagram:
        with np.errstate(all="ignore"):
            nodes = tuple(self.judged(self.box(number, part), part) for number, part in enumerate(self.parts, 1))
            edges = tuple(edge for number, part in enumerate(self.parts, 1) for edge in self.edges(number, part))
        return Diagram(int(self.ids[len(self.wiring.nodes) - 1]), nodes, edges, framed(self.parts))

    def box(self, number: int, part: Part) -> DiagramNode:
        things = [self.wiring.thing(i) for i in (*part.results.tolist(), *part.others.tolist())]
        out = [self.wiring.thing(i) for i in (*part.results.tolist(), *part.others.tolist()) if self.leaving[i]]
        nodes = [node for node in things if isinstance(node, Node)]
        if part.single:
            if nodes:
                node = nodes[0]
                return described(node, number, self.names.of(node), id(node) in self.changed, self.before_backward)
            return DiagramNode(number, self.names.of(things[0]), constant(things[0]), None, constant=True)
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

    def judged(self, node: DiagramNode, part: Part) -> DiagramNode:
        """With the worst that a check has found of what is in the box."""
        if self.checked is None:
            return node
        found = [self.checked.nodes[self.numbers[i]] for i in (*part.results.tolist(), *part.others.tolist())]
        found = [one for one in found if one.verdict]
        if not found:
            return node
        wrong = [one for one in found if one.wrong]
        if node.fold is not None and wrong:
            return accused(node, node.fold, wrong)
        worst = min(found, key=lambda one: WORST_FIRST.index(one.verdict))
        return dataclasses.replace(node, verdict=worst.verdict, finding=worst.finding)

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
        uses = self.wiring.uses(part.results)
        things = self.wiring.sources[uses]
        sources = self.ids[things]
        crossing = sources != target
        pairs = np.unique(sources[crossing] * len(self.ids) + things[crossing])
        several = dict(zip(*np.unique(pairs // len(self.ids), return_counts=True), strict=True))
        slopes = local_derivatives(self.wiring.nodes[part.results[0]]) if part.single and len(part.results) else None
        met: set[int] = set()
        for position, source in enumerate(sources.tolist()):
            alone = slopes is not None and self.parts[source - 1].single
            if source == target or (source in met and not alone):
                continue
            met.add(source)
            edge = DiagramEdge(source, target, position, None, values=int(several[source]))
            yield self.with_derivative(edge, part, slopes[position]) if slopes is not None and alone else edge

    def with_derivative(self, edge: DiagramEdge, part: Part, derivative: float | None) -> DiagramEdge:
        """The edge from one single thing to another."""
        if self.checked is None:
            return dataclasses.replace(edge, derivative=derivative)
        checked = self.checked_edges[self.numbers[int(part.results[0])] + 1, edge.position]
        return dataclasses.replace(edge, derivative=derivative, verdict=checked.verdict, finding=checked.finding)


def accused(node: DiagramNode, fold: Fold, wrong: Sequence[DiagramNode]) -> DiagramNode:
    """A box with wrong operations inside: which they are, how many, and the numbers of the first."""
    names = tuple(name for one in wrong for name in one.wrong)
    finding = f"{named_and_counted(names)}, {wrong[0].finding}"
    fold = dataclasses.replace(fold, wrong=names)
    return dataclasses.replace(node, verdict=WRONG, finding=finding, line=wrong[0].line, fold=fold)


def named_and_counted(names: Iterable[str]) -> str:
    return " and ".join(f"{name} × {times:,}" if times > 1 else name for name, times in Counter(names).most_common())


def together(data: Sequence[Any]) -> Quantity:
    """Several numbers or arrays as one."""
    if len(data) == 1:
        return quantity(data[0])
    if all(type(x) is float for x in data):
        return dataclasses.replace(quantity(np.array(data)), shape=None, dtype=None)
    sizes = np.array([size(x) for x in data])
    whole = float(np.sqrt(np.average(np.array([root_mean_square(x) for x in data]) ** 2, weights=sizes)))
    return Quantity(whole, None)
