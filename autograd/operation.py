"""One operation alone: numbers in, numbers out, and a cotangent back to each variable among the inputs.

That is all a comparison of its rules with numeric derivatives needs. Everything is at float64, on copies: whatever the
forward and the rules do, the graph that the operation was taken from stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from .derivative import zeros
from .graph import Node, cotangents
from .numeric import EPS, Array, Slopes, measured, moves_of, precision
from .primitive import FAILURES, Op, born
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

    def at(self, moves: dict[int, Any]) -> Array:
        """The result, flat, where some inputs are moved; NaN outside the domain."""
        inputs = [like(x, x + moves[i]) if i in moves else x for i, x in enumerate(self.inputs)]
        try:
            result = np.asarray(self.forward(inputs), dtype=float)
        except CALLED_OFF:
            return np.full(self.shape, np.nan).reshape(-1)
        return np.array(result if result.shape == self.shape else np.broadcast_to(result, self.shape)).reshape(-1)

    def along(self, v: dict[int, Any], x: float, alone: bool = False) -> Slopes:
        """The derivatives of all results along a direction, with steps for a number like x: the one that moves `alone`."""

        def samples(t: Array) -> tuple[Array, Array, Array, Array]:
            ways = [np.array([self.at({i: s * t_k * v_i for i, v_i in v.items()}) for t_k in t[:, 0]]) for s in (1.0, -1.0)]
            return ways[0], ways[1], *(moves_of(x, t) if alone else (t, t))

        return measured(np.array([x]), self.at({}), samples, self.eps)

    def of_elements(self, place: int) -> Slopes:
        """The derivative of every result by the one element of an argument that it was made from."""
        x = np.asarray(self.inputs[place])
        here = np.array(np.broadcast_to(x, self.shape)).reshape(-1)

        def samples(h: Array) -> tuple[Array, Array, Array, Array]:
            h = h.reshape(len(h), *x.shape)
            right, left = (np.array([self.at({place: s * h_k}) for h_k in h]) for s in (1.0, -1.0))
            h = np.array([np.broadcast_to(h_k, self.shape).reshape(-1) for h_k in h])
            return right, left, *moves_of(here, h)

        return measured(x.reshape(-1), self.at({}), samples, self.eps)


def like(x: Any, data: Any) -> Any:
    """A number where x is one, else an array."""
    return float(data) if type(x) is float else np.asarray(data)


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
    found = op.pull(node.args, node.seed(weights), node._data, node.params)
    return {
        i: None if d is None else np.array(arg.fit(d), dtype=float)
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
