"""A case of the comparison: a function of nodes, with its gradient as plain arrays for those who have no nodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import chainrule as cr

Arrays = tuple[NDArray[Any], ...]
Culprits = frozenset[tuple[str, int | None]]


@dataclass(frozen=True, eq=False)
class Case:
    """A function of nodes, where it is to be checked, and what is wrong with it.

    `culprits` are the operations and their arguments that may be blamed; none where nothing is wrong, or where all
    operations are right and what lies between them is not.
    """

    name: str
    f: Callable[..., Any]
    args: tuple[Any, ...]
    culprits: Culprits = frozenset()
    order: int = 1

    def nodes(self, arrays: Sequence[Any] | None = None) -> list[cr.Node]:
        """Fresh variables: Values for the numbers among the arguments, else Tensors."""
        arrays = self.args if arrays is None else arrays
        return [
            cr.Value(float(np.asarray(x))) if type(like) is float else cr.Tensor(np.array(x))
            for like, x in zip(self.args, arrays, strict=True)
        ]

    def value(self, *arrays: Any) -> NDArray[Any]:
        return data_of(self.f(*self.nodes(arrays)))

    def gradient(self, g: Any, *arrays: Any) -> Arrays:
        """The cotangents of the arguments under a cotangent of the result."""
        nodes = self.nodes(arrays)
        return pulled_back(self.f(*nodes), nodes, np.array(g))

    def second(self, u: Sequence[Any], g: Any, *arrays: Any) -> Arrays:
        """The cotangents of `g` and of the arguments under cotangents `u` of the gradient."""
        nodes = self.nodes(arrays)
        y = self.f(*nodes)
        seed = cr.Value(float(np.asarray(g))) if isinstance(y, cr.Value) else cr.Tensor(np.array(g))
        found = cr.gradients(y, nodes, seed=seed, create_graph=True)
        total: Any = sum((cr.sum(d * np.asarray(u_i)) for d, u_i in zip(found, u, strict=True)), cr.sum(seed) * 0.0)
        return pulled_back(total, [seed, *nodes], None)


def data_of(y: Any) -> NDArray[Any]:
    return np.array(y.data if isinstance(y, cr.Node) else y)


def pulled_back(y: Any, nodes: Sequence[cr.Node], g: Any) -> Arrays:
    if not isinstance(y, cr.Node) or not y.args:
        return tuple([np.zeros_like(x.data) for x in nodes])
    if g is not None and isinstance(y, cr.Value):
        g = float(g)
    return tuple([np.array(d) for d in cr.gradients(y, nodes, seed=g)])
