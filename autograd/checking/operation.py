"""One operation alone: numbers in, numbers out, and a cotangent back to each variable among the inputs.

That is all a comparison of its rules with numeric derivatives needs. Everything is at float64, on copies: whatever the
forward and the rules do, the graph that the operation was taken from stays as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np

from ..derivative import zeros
from ..graph import Node, ancestry, cotangents
from ..plain import FAILURES, NUMBERS
from ..primitive import born, computed, renewed
from ..tensor import Tensor
from ..value import Value
from .numeric import EPS, Array, Probe
from .variables import precision

CALLED_OFF = (*FAILURES, RuntimeError)
SLACK = 4.0  # how many times the usual rounding error a correct result may have
COARSE: tuple[np.finfo[Any], ...] = (np.finfo(np.float16), np.finfo(np.float32))
LEAST = {float(info.eps): float(info.smallest_subnormal) for info in COARSE}  # what they lose however small a number is
SHAKEN = 4  # times that a computation is repeated to see what rounding does to it
SIXTEENTHS = np.r_[-24:-7, 8:25] / 16  # random weights: none near 0, and every floating-point type holds them


@final
@dataclass(frozen=True, slots=True)
class Operation:
    """A function of several inputs, with what its rules say of it."""

    inputs: tuple[Any, ...]
    places: tuple[int, ...]  # which inputs are variables
    forward: Callable[[Sequence[Any]], Any]
    pull: Callable[[Array], dict[int, Any]]  # None where the rule says that nothing depends on the argument
    shape: tuple[int, ...]  # of the result
    eps: float
    elementwise: bool
    traced: Callable[[Array], dict[int, Any]] | None = None  # the same cotangents as nodes: how they were computed
    inside: Node | None = None  # the result as a node, where it is known how it was computed
    result: Any = None  # its data, where rules might write into it
    opaque: bool = True  # whether it is unknown how it rounds inside; else by no more than shows in its result
    noise: Any = 0.0  # how far rounding on the way may have moved each result, where more is known than shows in it

    def at(self, moves: dict[int, Any]) -> Any:
        """The result, flat, where some inputs are moved; NaN outside the domain."""
        inputs = [like(x, x + moves[i]) if i in moves else x for i, x in enumerate(self.inputs)]
        try:
            result = np.asarray(self.forward(inputs))
        except CALLED_OFF:
            return np.full(self.shape, np.nan).reshape(-1)
        result = result if result.dtype.kind == "c" else result.astype(float)
        return np.array(np.broadcast_to(result, self.shape)).reshape(-1)

    def along(self, v: dict[int, Any], x: float, alone: bool = False) -> Probe:
        """All results along a direction, in steps that suit x: the number that moves `alone`, or the largest.

        What is infinite stays so, however far it is moved.
        """
        x, alone = (x, alone) if math.isfinite(x) else (0.0, False)
        return Probe(
            np.array([x]),
            lambda t: self.at({i: t[0] * v_i for i, v_i in v.items()}),
            self.eps,
            self.noise,
            alone,
            self.opaque,
        )

    def of_elements(self, place: int) -> Probe:
        """Every result, as the one element of an argument that it was made from moves."""
        to = np.shape(self.inputs[place])
        x = np.broadcast_to(self.inputs[place], self.shape).reshape(-1)
        return Probe(
            x,
            lambda t: self.at({place: one_of_each(t.reshape(self.shape), to)}),
            self.eps,
            self.noise,
            True,
            self.opaque,
        )


def one_of_each(x: Any, shape: tuple[int, ...]) -> Any:
    """What an array of this shape was before it was repeated."""
    if not x.size:
        return np.zeros(shape)
    return x[(0,) * (x.ndim - len(shape))][tuple([slice(n) for n in shape])]


def like(x: Any, data: Any) -> Any:
    """A number where x is one, else an array."""
    data = np.asarray(data)
    return float(data) if type(x) is float and data.shape == () and data.dtype.kind != "c" else data


def sharp(x: Any) -> Any:
    """An argument at float64: a variable of its own for a node."""
    if isinstance(x, Node):
        return variable_like(x, np.array(x._raw, dtype=float))
    return x.astype(float) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def variable_like(node: Node, data: Any) -> Node:
    return Value(float(data)) if isinstance(node, Value) else Tensor(data)


def holding(node: Node, data: Any) -> Node:
    """A variable like a node with other data, of complex numbers too."""
    variable = variable_like(node, 0.0)
    variable._raw = data
    return variable


def data_of(args: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([arg._raw if isinstance(arg, Node) else arg for arg in args])


def twin(node: Node, args: tuple[Any, ...]) -> Node:
    """The same operation computed from other arguments."""
    op: Any = node.op
    params = renewed(node.params)
    result: Node = born(computed(op, data_of(args), params), op, args, params)
    return result


def sharp_twin(node: Node) -> Node:
    """The same operation at float64, alone."""
    return twin(node, tuple(map(sharp, node.args)))


def pulled(node: Node, weights: Array) -> dict[int, Any]:
    """What the rules make of a cotangent, as it reaches the arguments."""
    g = node.seed(weights)
    if isinstance(g, np.ndarray):
        g.flags.writeable = False  # other rules are given it too
    found = fitted(node, g, node._raw)
    return {i: None if d is None else np.asarray(d, dtype=float) for i, d in found.items()}


def fitted(node: Node, g: Any, y: Any) -> dict[int, Any]:
    """The cotangents of the arguments that are variables: nodes if g and y are."""
    op: Any = node.op
    found = zip(node.args, op.pull(node.args, g, y, node.params), strict=True)
    return {i: None if d is None else arg.fit(d) for i, (arg, d) in enumerate(found) if isinstance(arg, Node)}


def shaken(roots: Sequence[Node], rng: np.random.Generator, eps: float = EPS) -> list[Node]:
    """The same computed again, every result on the way moved as rounding may have moved it."""
    twins: dict[Node, Node] = {}
    for node in sorted({node for root in roots for node in ancestry(root)}, key=lambda node: node.birth):
        twins[node] = node
        if node.args:
            again = twin(node, tuple([twins.get(arg, arg) if isinstance(arg, Node) else arg for arg in node.args]))
            by = rng.choice(SIXTEENTHS, np.shape(again._raw))
            again._raw = like(again._raw, again._raw * (1.0 + eps * by) + LEAST.get(eps, 0.0) * by)
            twins[node] = again
    return [twins[root] for root in roots]


def roundings_in(roots: Sequence[Any], rng: np.random.Generator, eps: float = EPS) -> list[Any]:
    """How far rounding of all that they were computed from may have moved results; 0 where that cannot be seen."""
    nodes = [root for root in roots if isinstance(root, Node)]
    moved = [
        [np.nan_to_num(np.abs(x._raw - node._raw), posinf=np.inf) for x, node in zip(again, nodes, strict=True)]
        for again in (shaken(nodes, rng, eps) for _ in range(SHAKEN))
    ]
    found = {node: SLACK * np.max(each, axis=0) for node, each in zip(nodes, zip(*moved, strict=True), strict=True)}
    return [found[root] if isinstance(root, Node) else 0.0 for root in roots]


def of_node(node: Node) -> Operation:
    """The operation that a node is the result of, with its own rules."""
    op: Any = node.op
    result = sharp_twin(node)
    return Operation(
        data_of(result.args),
        tuple([i for i, arg in enumerate(result.args) if isinstance(arg, Node)]),
        lambda xs: computed(op, xs, renewed(node.params)),
        lambda weights: pulled(result, weights),
        np.shape(result._raw),
        float(precision(result).eps),
        op.elementwise,
        lambda weights: fitted(result, variable_like(result, weights), result),
        result=result._raw,
        opaque=not op.listed,
    )


def of_rule(node: Node, place: int, cotangent: Array) -> Operation | None:
    """The rule of one argument as an operation of its own, of the cotangent and of the inputs; None if it is none."""
    op: Any = node.op
    result = sharp_twin(node)
    args = result.args
    if np.asarray(result._raw).dtype != np.float64:
        return None
    g = variable_like(result, cotangent)
    d = op.pull(args, g, result, result.params)[place]
    if d is None:
        return None

    def forward(inputs: Sequence[Any]) -> Any:
        g_data, *xs = inputs
        params = renewed(node.params)
        y = like(result._raw, computed(op, xs, params))
        moved = tuple([holding(arg, x) if isinstance(arg, Node) else arg for arg, x in zip(args, xs)])  # noqa: B905
        return op.pull(moved, g_data, y, params)[place]

    def pull(weights: Array) -> dict[int, Any]:
        found = cotangents(d, d.seed(weights)) if isinstance(d, Node) else {}
        variables = {i: x for i, x in enumerate((g, *args)) if isinstance(x, Node)}
        return {i: np.asarray(found[x] if x in found else zeros(x)) for i, x in variables.items()}

    def traced(weights: Array) -> dict[int, Any]:
        if not isinstance(d, Node):
            return {}
        found = cotangents(d, variable_like(d, weights), create_graph=True)
        return {i: found.get(x) for i, x in enumerate((g, *args)) if isinstance(x, Node)}

    inside = d if isinstance(d, Node) else None
    shape = np.shape(d._raw if isinstance(d, Node) else d)
    places = (0, *[i + 1 for i, arg in enumerate(args) if isinstance(arg, Node)])
    elementwise = op.elementwise and shape == np.shape(result._raw)
    return Operation((g._raw, *data_of(args)), places, forward, pull, shape, EPS, elementwise, traced, inside)


def kind_of(node: Node) -> Hashable:
    """What nodes have in common that can be computed as one on arrays; None where that is not known of the operation."""
    op = node.op
    if op is None or not (op.listed and op.elementwise) or node.params:
        return None
    if any(type(x) not in NUMBERS for x in (node._raw, *node.inputs)):
        return None
    return op.forward, op.pull, tuple([isinstance(arg, Node) for arg in node.args])


def stacked(nodes: Sequence[Node]) -> Operation:
    """Nodes of one kind as one operation: a number of each in each argument."""
    op: Any = nodes[0].op
    columns = [np.array(column, dtype=float) for column in zip(*[node.inputs for node in nodes], strict=True)]
    args = tuple([Tensor(x) if isinstance(arg, Node) else x for arg, x in zip(nodes[0].args, columns, strict=True)])
    result: Node = born(computed(op, columns, {}), op, args, {})
    places = tuple([i for i, arg in enumerate(args) if isinstance(arg, Node)])
    weighed = partial(pulled, result)
    return Operation(
        tuple(columns), places, lambda xs: computed(op, xs, {}), weighed, (len(nodes),), EPS, True, opaque=False
    )


def numbers_pulled(node: Node, g: float) -> list[float]:
    """What the rules make of a cotangent on numbers, for each argument."""
    op: Any = node.op
    return [0.0 if d is None else float(d) for d in op.pull(node.args, g, node._raw, node.params)]
