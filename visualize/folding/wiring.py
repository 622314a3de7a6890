"""A graph as arrays of whole numbers: what is an argument of what, and to which call of a module each thing belongs.

The things are the nodes, oldest first, then the constants in the order of their use. An argument that is an array is
one thing wherever it is used, a number is another at every use.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd.graph import Node

from .calls import WHOLE, Calls

Numbers = NDArray[np.int32]


class Kind(IntEnum):
    """What a thing is."""

    RESULT = 0  # of an operation
    PARAMETER = 1  # of a module that was called
    VARIABLE = 2  # any other
    NUMBER = 3  # constants
    ARRAY = 4


@dataclass(slots=True, eq=False)
class Wiring:
    """`sources[first[i]:first[i + 1]]` are the arguments of node i, in order; `targets` says i for each of them."""

    nodes: Sequence[Node]
    names: Mapping[int, str] = field(default_factory=dict)  # of modules, by `id`
    calls: Calls = field(init=False)
    first: Numbers = field(init=False)
    sources: Numbers = field(init=False)
    targets: Numbers = field(init=False)
    kinds: NDArray[np.int8] = field(init=False)
    homes: Numbers = field(init=False)  # the call that each thing belongs to
    constants: list[tuple[int, int]] = field(default_factory=list)  # the node and the position where each is first used

    def __post_init__(self) -> None:
        self.calls = Calls(self.nodes, self.names)
        self.connect()
        homes = array("i", self.calls.homes)
        homes.extend(self.calls.homes[i] for i, _ in self.constants)
        self.homes = np.frombuffer(homes, dtype=np.int32).copy()
        self.bring_data_outside()

    def connect(self) -> None:
        """Number the arguments."""
        known = {id(node): i for i, node in enumerate(self.nodes)}
        kinds = bytearray(map(self.kind, self.nodes))
        sources, first = array("i"), array("i", [0])
        for i, node in enumerate(self.nodes):
            for position, arg in enumerate(node.args):
                thing = known.get(id(arg))
                if thing is None:
                    thing = len(kinds)
                    self.constants.append((i, position))
                    if isinstance(arg, float | int):
                        kinds.append(Kind.NUMBER)
                    else:
                        known[id(arg)] = thing
                        kinds.append(Kind.ARRAY)
                sources.append(thing)
            first.append(len(sources))
        self.kinds = np.frombuffer(kinds, dtype=np.int8).copy()
        self.sources = np.frombuffer(sources, dtype=np.int32).copy() if sources else np.zeros(0, np.int32)
        self.first = np.frombuffer(first, dtype=np.int32).copy()
        self.targets = np.repeat(np.arange(len(self.nodes), dtype=np.int32), np.diff(self.first))

    def kind(self, node: Node) -> Kind:
        if node.args:
            return Kind.RESULT
        return Kind.PARAMETER if id(node) in self.calls.parameters else Kind.VARIABLE

    def bring_data_outside(self) -> None:
        """Find where arrays belong: around all their uses, and outside of the calls that they were given to.

        An array that meets nothing but parameters was given, as what was computed before must have begun with it.
        """
        if len(self.calls.starts) == 1:
            return
        arrays = np.flatnonzero(self.kinds == Kind.ARRAY)
        if len(arrays):
            uses = np.flatnonzero(self.kinds[self.sources] == Kind.ARRAY)
            for use in uses.tolist():
                thing, node = int(self.sources[use]), int(self.targets[use])
                met = self.kinds[self.sources[self.first[node] : self.first[node + 1]]]
                given = not np.any((met == Kind.RESULT) | (met == Kind.VARIABLE))
                home = WHOLE if given else self.calls.homes[node]
                self.homes[thing] = self.calls.around_both(int(self.homes[thing]), home)

    def order(self) -> Iterator[int]:
        """The things in the order of a drawing: a constant comes just before the first result made from it."""
        waiting = iter([*enumerate(self.constants, len(self.nodes)), (0, (len(self.nodes), 0))])
        constant, (user, _) = next(waiting)
        for i in range(len(self.nodes)):
            while user == i:
                yield constant
                constant, (user, _) = next(waiting)
            yield i

    def uses(self, results: Numbers) -> NDArray[np.int64]:
        """The positions in `sources` of all arguments of these results."""
        starts = self.first[results].astype(np.int64)
        counts = self.first[results + 1] - starts
        ends = np.cumsum(counts)
        total = int(ends[-1]) if len(ends) else 0
        uses: NDArray[np.int64] = np.arange(total, dtype=np.int64) + np.repeat(starts - (ends - counts), counts)
        return uses

    def thing(self, number: int) -> Any:
        """The node, or the constant."""
        if number < len(self.nodes):
            return self.nodes[number]
        node, position = self.constants[number - len(self.nodes)]
        return self.nodes[node].args[position]
