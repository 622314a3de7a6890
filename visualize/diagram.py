"""A graph as plain data: which boxes a drawing has, what stands in them, and what connects them.

Nothing here knows how a drawing looks. A `Diagram` is immutable, numbered in the order of computation, and free of
memory addresses, so that the same graph always gives an equal description. Local derivatives come from the table: a
rule shown the cotangent 1 gives dy/dx.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from typing import Any

import numpy as np

from chainrule.autograd.graph import Node, ancestry, key, numbered
from chainrule.autograd.report import Report
from chainrule.autograd.source import line_of

from .verdicts import marked

SMALL = 4  # an array of at most so many elements shows them all
LONGEST = 24  # characters of a name or of an operation's parameters; the rest is an ellipsis


@dataclass(frozen=True, slots=True)
class Quantity:
    """What is shown of a number or an array."""

    magnitude: float  # |x| of a number, the root mean square of an array; NaN or infinite if any element is
    numbers: tuple[float, ...] | None  # the elements, last axis fastest; None if there are too many to show
    shape: tuple[int, ...] | None = None  # None for a plain number
    dtype: str | None = None

    @property
    def finite(self) -> bool:
        return math.isfinite(self.magnitude)

    @property
    def text(self) -> str:
        if self.numbers is None:
            return number(self.magnitude)
        return ", ".join(map(number, self.numbers)) or "empty"


@dataclass(frozen=True, slots=True)
class Fold:
    """What a box that stands for a part of the graph holds."""

    title: str  # as in "Linear", or "chain"
    path: str  # what opens it, as in "layers.0"
    times: int  # how many parts of the same structure are drawn as this one
    nodes: int  # variables and results, in all of them
    operations: tuple[tuple[str, int], ...]  # how many of each, the most frequent first
    parameters: int = 0  # how many numbers its parameters hold
    grad_norm: float | None = None  # the norm of all gradients of its parameters; None if none has been computed


@dataclass(frozen=True, slots=True)
class DiagramNode:
    """A value or a constant, with the operation that it is the result of; or a fold, with its result."""

    id: int
    name: str
    data: Quantity
    grad: Quantity | None  # None: has not been computed
    symbol: str = ""  # of the operation; empty for what was not computed
    operation: str = ""  # its name
    params: str = ""
    constant: bool = False  # plain data among the arguments
    changed: bool = False  # since the graph was computed from it
    line: str = ""  # of the user's code that made it, where lines were recorded
    verdict: str = ""  # what a check found of the operation, or of the variable
    fold: Fold | None = None
    finding: str = ""  # the numbers that the verdict rests on, in words
    old_grad: bool = False  # its gradient is not of this result, or not of this data


@dataclass(frozen=True, slots=True)
class DiagramEdge:
    """One argument of one operation: `source` is the argument, `target` the result."""

    source: int
    target: int
    position: int  # among the arguments, from 0
    derivative: float | None  # of the result with respect to this argument; None where that is not a single number
    verdict: str = ""  # what a check found of this derivative
    finding: str = ""  # the numbers that the verdict rests on, in words


@dataclass(frozen=True, slots=True)
class Diagram:
    """The plain description of a graph. `nodes` are in the order of their ids; `edges` by result, then by position.

    As text it is a table with one line for each node; ∂ are the derivatives of the node with respect to its args.
    """

    root: int
    nodes: tuple[DiagramNode, ...]
    edges: tuple[DiagramEdge, ...]

    def __str__(self) -> str:
        incoming: dict[int, list[DiagramEdge]] = {node.id: [] for node in self.nodes}
        for edge in self.edges:
            incoming[edge.target].append(edge)
        rows = [HEADER, *(row(node, incoming[node.id]) for node in self.nodes)]
        filled = [any(cells) for cells in zip(*rows[1:], strict=True)]
        return table([tuple(compress(cells, (*[True] * ALWAYS, *filled[ALWAYS:]))) for cells in rows])


HEADER = ("id", "name", "op", "args", "∂", "data", "grad", "check", "line")
ALWAYS = 7  # columns that are there even if nothing stands in them


def diagram(root: Node, *, max_nodes: int | None = None, check: Report | None = None) -> Diagram:
    """The plain description of the graph that `root` is the result of.

    An array of up to four elements shows them, a larger one its root mean square ("rms"). With the report of a check of
    the same graph as `check`, every operation and variable gets its verdict.
    Raises `TypeError` if `root` is not a Value or Tensor, `ValueError` if the graph has more than `max_nodes` of them
    or the report is of another graph.

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
    nodes = collected(root, max_nodes)
    ids = numbered(nodes)
    changed = {id(arg) for node in nodes for arg in node.args if isinstance(arg, Node) and arg.birth > node.birth}
    shown: list[DiagramNode] = []
    edges: list[DiagramEdge] = []
    with np.errstate(all="ignore"):
        for node in nodes:
            target = ids[id(node)]
            for position, derivative in enumerate(local_derivatives(node)):
                arg, source = node.args[position], ids[key(node, position)]
                if not isinstance(arg, Node) and source > len(shown):
                    shown.append(DiagramNode(source, "", quantity(arg), None, constant=True))
                edges.append(DiagramEdge(source, target, position, derivative))
            shown.append(described(node, target, id(node) in changed, root.grad is None))
    drawn = Diagram(ids[id(root)], tuple(shown), tuple(edges))
    return drawn if check is None else marked(drawn, check)


def collected(root: Node, max_nodes: int | None) -> list[Node]:
    """The nodes to show, oldest first."""
    if not isinstance(root, Node):
        raise TypeError(f"visualize: expected a Value or a Tensor to draw, got {type(root).__name__}")
    if max_nodes is not None and not (isinstance(max_nodes, int) and max_nodes > 0):
        raise ValueError(f"visualize: max_nodes must be a positive integer, or None for no limit, got {max_nodes!r}")
    nodes = ancestry(root)
    if max_nodes is not None and len(nodes) > max_nodes:
        raise ValueError(
            f"visualize: the graph has {len(nodes):,} nodes and the limit is {max_nodes:,}. Draw a part of it (any "
            "value inside can be the root), a smaller example, or raise the limit with max_nodes=; "
            "print(cr.visualize.diagram(root)) lists a graph of any size."
        )
    return nodes[::-1]


def local_derivatives(node: Node) -> Sequence[float | None]:
    """The derivative of the node's own operation with respect to each argument."""
    args = node.args
    if (
        node.op is None
        or size(node._data) != 1
        or not any(isinstance(arg, Node) and size(arg._data) == 1 for arg in args)
    ):
        return [None] * len(args)
    try:
        pulled = node.op.pull(args, node.seed(), node._data, node.params)
    except Exception:  # a rule of the user's own that raises is to be seen, too
        return [None] * len(args)
    return [single(arg, d) for arg, d in zip(args, pulled, strict=True)]


def single(arg: Any, d: Any) -> float | None:
    """A derivative with respect to `arg`, if that is a variable of one element."""
    if type(d) is float and isinstance(arg, Node) and type(arg._data) is float:
        return d
    if d is None or not isinstance(arg, Node) or size(arg._data) != 1:
        return None
    return float(np.sum(arg.fit(d)))


def size(data: Any) -> int:
    return 1 if type(data) is float else math.prod(data.shape)


def described(node: Node, number: int, changed: bool, before_backward: bool) -> DiagramNode:
    data = quantity(node._data)
    grad = None if node.grad is None else quantity(node.grad)
    old = grad is not None and (changed or before_backward)
    name = node.name or ""
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


def quantity(x: Any) -> Quantity:
    if type(x) is float or isinstance(x, int):
        return Quantity(abs(x), (float(x),))
    shape, dtype = tuple(x.shape), str(x.dtype)
    if size(x) > SMALL:
        return Quantity(root_mean_square(x), None, shape, dtype)
    numbers = tuple(float(number) for number in x.ravel())
    return Quantity(root_mean_square(x) if numbers else 0.0, numbers, shape, dtype)


def root_mean_square(x: Any) -> float:
    """In double precision and scaled by the largest, so that it overflows only where the answer does."""
    x = abs(x.astype(float))
    high = float(x.max())
    return high * math.sqrt(float(((x / high) ** 2).mean())) if math.isfinite(high) and high > 0.0 else high


def parameters(params: Mapping[str, Any]) -> str:
    """How an operation was asked for: what differs from 'no' and 'none', as in axis=0."""
    if not params:
        return ""
    shown = {key: x for key, x in params.items() if x is not None and x is not False and not key.startswith("_")}
    return shortened(", ".join(f"{key}={brief(x)}" for key, x in shown.items()))


def brief(x: Any) -> str:
    """A parameter in a few characters, without memory addresses."""
    if isinstance(x, slice):
        return ":".join(
            "" if part is None else brief(part) for part in (x.start, x.stop, *([x.step] if x.step else []))
        )
    if isinstance(x, tuple | list):
        return f"({', '.join(map(brief, x))})"
    if isinstance(x, np.ndarray):
        return f"{x.dtype}{x.shape}"
    if isinstance(x, float):
        return number(x)
    return "…" if x is Ellipsis else str(x) if isinstance(x, int | str | np.dtype) else type(x).__name__


def number(x: float) -> str:
    """Four significant digits; whole numbers below a million in full."""
    if not math.isfinite(x):
        return "NaN" if x != x else "inf" if x > 0 else "-inf"
    if abs(x) < 1e6 and x == int(x):
        return str(int(x))
    mantissa, e, exponent = f"{x:.4g}".partition("e")
    return f"{mantissa}e{int(exponent)}" if e else mantissa


def shortened(text: str, longest: int = LONGEST) -> str:
    """Text for one line: control characters written out, and an ellipsis for what is too long."""
    if len(text) > longest:
        text = text[: longest - 1] + "…"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\u200d" else repr(c)[1:-1] for c in text)  # \u200d joins emoji


def row(node: DiagramNode, args: Sequence[DiagramEdge]) -> tuple[str, ...]:
    return (
        str(node.id),
        shortened(node.name),
        "constant" if node.constant else f"{node.symbol} {node.params}".strip(),
        ", ".join(str(edge.source) for edge in args),
        ", ".join("–" if edge.derivative is None else number(edge.derivative) for edge in args)
        if has_slope(args)
        else "",
        written_out(node.data) + (" (changed since)" if node.changed else ""),
        "" if node.constant else gradient(node),
        f"{node.verdict}: {node.finding}" if node.finding else node.verdict,
        node.line,
    )


def gradient(node: DiagramNode) -> str:
    if node.grad is None:
        return "–"
    return written_out(node.grad, typed=False) + (" (old)" if node.old_grad else "")


def has_slope(args: Sequence[DiagramEdge]) -> bool:
    return any(edge.derivative is not None for edge in args)


def written_out(x: Quantity, typed: bool = True) -> str:
    text = f"rms {x.text}" if x.numbers is None else x.text
    return f"{x.dtype} {x.shape} {text}" if typed and x.shape is not None else text


def table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(padded(cells, widths)).rstrip() for cells in rows)


def padded(cells: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    return (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
