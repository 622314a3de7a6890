"""A function as the list of operations that it ran: recorded once on variables, then replayed on other data or on nodes.

What was made from no input, and without one, is a constant of the program.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from ..graph import Node, ancestry
from ..primitive import Op, applied, renewed


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


def program_of(inputs: Sequence[Node], outputs: Sequence[Any]) -> Program:
    """The operations that lead from the inputs to the outputs, oldest first. What depends on no input is a constant."""
    places = {node: Place(i) for i, node in enumerate(inputs)}
    steps: list[Step] = []
    kinds = [kind_of(node._raw) for node in inputs]
    nodes = [x for x in outputs if isinstance(x, Node)]
    for node in reversed(ancestry(*nodes)):
        if node in places or not node.args:
            continue
        assert node.op is not None
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
    values = values_of(program, inputs)
    return [values[x.number] if isinstance(x, Place) else x for x in program.outputs]


def values_of(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """All that is computed on the way, behind the inputs."""
    values = list(inputs)
    for step in program.steps:
        args = tuple([values[x.number] if isinstance(x, Place) else x for x in step.args])
        values.append(applied(step.op, args, renewed(step.params)))
    return values
