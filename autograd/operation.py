"""One operation alone: numbers in, numbers out, and a cotangent back to each variable among the inputs.

That is all a comparison of its rules with numeric derivatives needs. Everything is at float64, on copies: whatever the
forward and the rules do, the graph that the operation was taken from stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, final

import numpy as np

from .derivative import zeros
from .graph import Node, cotangents
from .numeric import EPS, Array, Probe, precision
from .primitive import FAILURES, NUMBERS, Op, born
from .tensor import Tensor
from .value import Value

CALLED_OFF = (*FAILURES, RuntimeError)


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
        """All results along a direction, in steps that suit x: the number that moves `alone`, or the largest."""
        return Probe(np.array([x]), lambda t: self.at({i: t[0] * v_i for i, v_i in v.items()}), self.eps, exact=alone)

    def of_elements(self, place: int) -> Probe:
        """Every result, as the one element of an argument that it was made from moves."""
        to = np.shape(self.inputs[place])
        x = np.broadcast_to(self.inputs[place], self.shape).reshape(-1)
        return Probe(x, lambda t: self.at({place: one_of_each(t.reshape(self.shape), to)}), self.eps)


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
        return variable_like(x, np.array(x._data, dtype=float))
    return x.astype(float) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def variable_like(node: Node, data: Any) -> Node:
    return Value(float(data)) if isinstance(node, Value) else Tensor(data)


def data_of(args: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([arg._data if isinstance(arg, Node) else arg for arg in args])


def renewed(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters for another run: what a forward keeps for its rule is not theirs."""
    return {name: {} if name.startswith("_") else x for name, x in params.items()}


def computed(op: Op, inputs: Sequence[Any], params: Mapping[str, Any]) -> Any:
    try:
        return op.forward(*inputs, **params)
    except FAILURES as error:
        return op.recover(error, inputs, params)


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
    op: Any = node.op
    g = node.seed(weights)
    if isinstance(g, np.ndarray):
        g.flags.writeable = False  # other rules are given it too
    found = op.pull(node.args, g, node._data, node.params)
    return {
        i: None if d is None else np.asarray(arg.fit(d), dtype=float)
        for i, (arg, d) in enumerate(zip(node.args, found, strict=True))
        if isinstance(arg, Node)
    }


def of_node(node: Node) -> Operation:
    """The operation that a node is the result of, with its own rules."""
    op: Any = node.op
    result = sharp_twin(node)
    return Operation(
        data_of(result.args),
        tuple([i for i, arg in enumerate(result.args) if isinstance(arg, Node)]),
        lambda xs: computed(op, xs, renewed(node.params)),
        lambda weights: pulled(result, weights),
        np.shape(result._data),
        float(precision(result).eps),
        op.elementwise,
    )


def of_rule(node: Node, place: int, cotangent: Array) -> Operation | None:
    """The rule of one argument as an operation of its own, of the cotangent and of the inputs; None if it is none."""
    op: Any = node.op
    result = sharp_twin(node)
    args = result.args
    if np.asarray(result._data).dtype != np.float64:
        return None
    g = variable_like(result, cotangent)
    d = op.pull(args, g, result, result.params)[place]
    if d is None:
        return None

    def forward(inputs: Sequence[Any]) -> Any:
        g_data, *xs = inputs
        variables = tuple([variable_like(arg, x) if isinstance(arg, Node) else arg for arg, x in zip(args, xs)])  # noqa: B905
        moved = twin(node, variables)
        return op.pull(variables, g_data, moved._data, moved.params)[place]

    def pull(weights: Array) -> dict[int, Any]:
        found = cotangents(d, d.seed(weights)) if isinstance(d, Node) else {}
        variables = {i: x for i, x in enumerate((g, *args)) if isinstance(x, Node)}
        return {i: np.asarray(found[x] if x in found else zeros(x)) for i, x in variables.items()}

    shape = np.shape(d._data if isinstance(d, Node) else d)
    places = (0, *[i + 1 for i, arg in enumerate(args) if isinstance(arg, Node)])
    elementwise = op.elementwise and shape == np.shape(result._data)
    return Operation((g._data, *data_of(args)), places, forward, pull, shape, EPS, elementwise)


def kind_of(node: Node) -> Hashable:
    """What nodes have in common that can be computed as one on arrays; None where that is not known of the operation."""
    op = node.op
    if op is None or not (op.exact and op.elementwise) or node.params:
        return None
    if any(type(x) not in NUMBERS for x in (node._data, *node.inputs)):
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
    return Operation(tuple(columns), places, lambda xs: computed(op, xs, {}), weighed, (len(nodes),), EPS, True)


def numbers_pulled(node: Node, g: float) -> list[float]:
    """What the rules make of a cotangent on numbers, for each argument."""
    op: Any = node.op
    return [0.0 if d is None else float(d) for d in op.pull(node.args, g, node._data, node.params)]
