"""The calls of modules that a graph comes from, nested, and which nodes belong to which.

A node belongs to the innermost call whose result was computed from it, provided the call had begun by then; what
depends on nothing but parameters belongs where it is used. So a call has no way out and back in: drawn as one box, it
makes no cycle.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from chainrule.autograd.graph import Node, ancestry
from chainrule.autograd.optional.names import parameter_paths


@runtime_checkable
class Structured(Protocol):
    """A module: something with parameters, and modules inside, that are found by structure."""

    def named_modules(self) -> Iterable[tuple[str, object]]: ...

    def named_parameters(self) -> Iterable[tuple[str, Node]]: ...


WHOLE, NOWHERE = 0, -1


@dataclass(slots=True)
class Calls:
    """The nested calls of modules behind the nodes of a graph, which are given oldest first.

    Calls are numbered; 0 is the whole graph, as if all of it was one call. `homes` has a call for each node.
    """

    nodes: Sequence[Node]
    names: Mapping[int, str] = field(default_factory=dict)  # of modules, by `id`
    homes: list[int] = field(init=False)
    starts: list[int] = field(default_factory=lambda: [-1])
    parents: list[int] = field(default_factory=lambda: [WHOLE])
    modules: list[Any] = field(default_factory=lambda: [None])
    titles: list[str] = field(default_factory=lambda: [""])
    paths: list[str] = field(default_factory=lambda: [""])
    parameters: dict[int, str] = field(default_factory=dict)  # paths, by the id of the node

    def __post_init__(self) -> None:
        if all(node.call is None for node in self.nodes):
            self.homes = [WHOLE] * len(self.nodes)
            return
        self.parameters = parameter_paths(self.nodes)
        self.find_homes()
        self.name()

    def find_homes(self) -> None:
        """Hand every node's call down to its arguments, youngest first: all its consumers then have theirs."""
        index = {id(node): i for i, node in enumerate(self.nodes)}
        given = [NOWHERE] * len(self.nodes)
        given[-1] = WHOLE
        follows = self.follows_parameters_only(index)
        entered: dict[int, int] = {}
        for i in range(len(self.nodes) - 1, -1, -1):
            node, home = self.nodes[i], given[i]
            if node.args:
                call = node.call
                while call is not None:
                    module, start, call = call
                    home = self.enter(entered, home, module, start)
                given[i] = home
            for arg in node.args:
                if isinstance(arg, Node):
                    j = index[id(arg)]
                    place = home if id(arg) in self.parameters else self.begun(home, arg.birth)
                    given[j] = place if given[j] == NOWHERE else self.either(given[j], place, follows[j])
        self.homes = given

    def follows_parameters_only(self, index: Mapping[int, int]) -> list[bool]:
        """Of which nodes nothing is known but parameters and numbers. Leaves are among them, whatever they are."""
        follows: list[bool] = []
        for node in self.nodes:
            follows.append(
                all(
                    follows[index[id(arg)]] and (bool(arg.args) or id(arg) in self.parameters)
                    if isinstance(arg, Node)
                    else isinstance(arg, float | int)
                    for arg in node.args
                )
            )
        return follows

    def enter(self, entered: dict[int, int], around: int, module: Any, start: int) -> int:
        """The number of a call, which is inside another."""
        around = self.begun(around, start)
        call = entered.setdefault(start, len(self.starts))
        if call == len(self.starts):
            self.starts.append(start)
            self.parents.append(around)
            self.modules.append(module)
        elif self.starts[around] > self.starts[self.parents[call]]:
            self.parents[call] = around
        return call

    def begun(self, call: int, birth: int) -> int:
        """The innermost call around that had begun before."""
        while self.starts[call] >= birth:
            call = self.parents[call]
        return call

    def either(self, a: int, b: int, common: bool) -> int:
        """Where something belongs that two calls use: around both, or to the one that computed it, the later."""
        return self.around_both(a, b) if common else max(a, b, key=self.starts.__getitem__)

    def around_both(self, a: int, b: int) -> int:
        while a != b:
            if self.starts[a] > self.starts[b]:
                a = self.parents[a]
            else:
                b = self.parents[b]
        return a

    def around(self, call: int) -> Iterator[int]:
        """The call and all those around it."""
        while call != WHOLE:
            yield call
            call = self.parents[call]
        yield WHOLE

    def name(self) -> None:
        """Titles, and paths from the outermost module."""
        known: dict[int, dict[int, str]] = {}
        order = sorted(range(1, len(self.starts)), key=self.starts.__getitem__)
        outermost = [WHOLE] * len(self.starts)
        self.titles += [type(module).__name__ for module in self.modules[1:]]
        self.paths += self.titles[1:]
        for call in order:
            parent = self.parents[call]
            outermost[call] = outermost[parent] or call
            if parent == WHOLE:
                self.paths[call] = self.names.get(id(self.modules[call]), self.titles[call])
            else:
                model = self.modules[outermost[call]]
                if id(model) not in known:
                    known[id(model)] = {id(part): path for path, part in model.named_modules()}
                self.paths[call] = known[id(model)].get(id(self.modules[call])) or self.titles[call]


def in_order(root: Node) -> list[Node]:
    """All that a result was made from, arguments first and by birth; a leaf that was changed since, and so is too young,
    comes just before the first that was made from it."""
    nodes = ancestry(root)[::-1]
    late = changed_since(nodes)
    if not late:
        return nodes
    ordered: dict[Node, None] = {}
    for node in nodes:
        if id(node) not in late:
            ordered.update({arg: None for arg in node.args if id(arg) in late and arg not in ordered})
            ordered[node] = None
    return list(ordered)


def changed_since(nodes: Iterable[Node]) -> set[int]:
    """The leaves that were changed after something was made from them, by `id`."""
    return {id(arg) for node in nodes for arg in node.args if isinstance(arg, Node) and arg.birth > node.birth}
