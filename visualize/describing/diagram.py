"""From a graph to its description: node by node where that can be taken in, else folded; with names and verdicts.

Nothing here knows how a drawing looks. Nodes are numbered in the order of computation, so that the same graph always
gives an equal description.
"""

from __future__ import annotations

__all__ = ["diagram"]

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.autograd.checking.report import Report
from chainrule.autograd.graph import Node

from ..folding.calls import in_order
from ..folding.opening import fits, folded
from ..folding.wiring import Wiring
from .description import Diagram
from .folded import Folded
from .names import Names
from .unfolded import everything
from .verdicts import Findings, marked

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
    structure too ("× 16"), steps that follow one another, chains; what is still too much is cut into pieces. `open`
    names folds that are to be opened, by the paths that the folds show, such as "layers.0"; they go first. The rest is
    opened as far as there is room, or down to `depth` calls of modules: 0 shows none from inside. With `fold=False`
    nothing is folded.

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
            findings = None if check is None else Findings(wiring, checked(nodes, check))
            return Folded(wiring, parts, known, findings).diagram()
    return known.given_to(everything(nodes) if check is None else checked(nodes, check), nodes)


def checked(nodes: Sequence[Node], check: Report) -> Diagram:
    """The description of all nodes with what a check found of them, which it called as here."""
    return marked(Names(nodes, None).given_to(everything(nodes), nodes), check)


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
