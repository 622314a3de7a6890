"""A function as the list of operations that it ran: recorded once on variables, then replayed on other data or on nodes.

Whoever uses a variable that was not announced gets an error that says so. Random numbers and other changes of state show
when the function is recorded a second time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from ..graph import NO_PARAMS, Node, ancestry
from ..primitive import Op, applied, born, renewed
from .recording import described_variable


@final
@dataclass(frozen=True, slots=True)
class Place:
    """Where a value is found: among the inputs first, then among the results of the steps."""

    number: int


Part: TypeAlias = Any  # a Place, or a constant: plain data


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """What a value is: a number, or an array of a shape and a dtype."""

    shape: tuple[int, ...]
    dtype: Any  # None: a Python number


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One operation: on what, and how."""

    op: Op
    args: tuple[Part, ...]
    params: Mapping[str, Any]


@final
@dataclass(frozen=True, slots=True)
class Program:
    """Steps in order, each of which uses inputs and the results of earlier ones; and what they are all run for."""

    inputs: int
    steps: tuple[Step, ...]
    outputs: tuple[Part, ...]
    kinds: tuple[Kind, ...]  # of every place


DATA = Op("data", lambda: None, (), lambda *_: ())


def variable(data: Any) -> Node:
    """A fresh variable that holds this very data; unlike a Tensor's, also integers and booleans."""
    node: Node = born(np.asarray(data) if isinstance(data, np.generic) else data, DATA, (), NO_PARAMS)
    node.op = None
    return node


def program_of(name: str, inputs: Sequence[Node], outputs: Sequence[Any]) -> Program:
    """The operations that lead from the inputs to the outputs, oldest first. What depends on no input is a constant."""
    places = {node: Place(i) for i, node in enumerate(inputs)}
    steps: list[Step] = []
    kinds = [kind_of(node._raw) for node in inputs]
    nodes = [x for x in outputs if isinstance(x, Node)]
    for node in reversed(ancestry(*nodes)):
        if node in places or (node.op is not None and not node.args):
            continue
        if node.op is None:
            raise TypeError(
                f"{name}: the function uses {described_variable(node)}, which is neither among its arguments nor in a model or variable "
                "that the function itself names. Pass it as an argument"
            )
        steps.append(Step(node.op, tuple([part(arg, places) for arg in node.args]), renewed(node.params)))
        places[node] = Place(len(kinds))
        kinds.append(kind_of(node._raw))
    return Program(len(inputs), tuple(steps), tuple([part(x, places) for x in outputs]), tuple(kinds))


def part(x: Any, places: Mapping[Node, Place]) -> Part:
    return places.get(x, x._raw) if isinstance(x, Node) else x


def kind_of(data: Any) -> Kind:
    return Kind((), None) if not hasattr(data, "dtype") else Kind(np.shape(data), data.dtype)


def replay(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """The outputs for other inputs, step by step; on nodes, nodes that can be differentiated again."""
    values = list(inputs)

    def value(x: Part) -> Any:
        return values[x.number] if isinstance(x, Place) else x

    for step in program.steps:
        values.append(applied(step.op, tuple(map(value, step.args)), renewed(step.params)))
    return list(map(value, program.outputs))


def require_same(name: str, first: Program, second: Program) -> None:
    """Raise an error where two recordings of one call differ."""
    if len(first.steps) != len(second.steps):
        raise changing(name, f"ran {len(first.steps)} operations the first time and {len(second.steps)} the second")
    for i, (a, b) in enumerate(zip(first.steps, second.steps, strict=True), 1):
        if a.op.forward is not b.op.forward or a.op.pull is not b.op.pull:
            raise changing(name, f"ran {a.op!r} and {b.op!r} as its operation {i}, which are not the same")
        if not same((a.args, a.params), (b.args, b.params)):
            raise changing(name, f"gave {a.op.name}, its operation {i}, another constant the second time")
    if not same(first.outputs, second.outputs):
        raise changing(name, "returned another constant the second time")


def changing(name: str, what: str) -> TypeError:
    return TypeError(
        f"{name}: called twice with the same arguments, the function {what}. Random numbers, and whatever else differs from "
        "call to call, would be frozen as they are now: pass them as arguments, or leave out compile"
    )


def same(a: Any, b: Any) -> bool:
    """Whether constants are equal, also in containers; NaN equals NaN."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, np.ndarray | np.generic):
        return a.dtype == b.dtype and a.shape == b.shape and bool(a.tobytes() == b.tobytes())
    if isinstance(a, tuple | list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    return bool(a == b or (a != a and b != b))
