"""A function run on fresh variables: what it returned, and its program, forward and back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import is_
from typing import Any, NamedTuple, final

import numpy as np

from ..context import next_birth
from ..graph import Node, ancestry, cotangents
from ..guards.blocks import Holding
from ..guards.selection import Selection
from .arguments import Arguments, Refused, filled, is_part, opened
from .caught import with_others
from .frames import Frames
from .passes import Pulled
from .plainly import Plainly
from .program import program_of
from .recording import Recorder, variable
from .results import Forming, nodes_in, raw
from .surroundings import Read


class WatchedCall(NamedTuple):
    """A call of a function while it was watched: with what, what speaks of it, and what it returned."""

    f: Callable[..., Any]
    given: Arguments
    args: Any
    kwargs: Any
    frames: Frames
    expected: Any
    caught: Sequence[Read]  # what is found around the function and is to be an input too


@final
class Trace:
    """A function run once on fresh variables: what it returned, and its program, forward and back."""

    def __init__(self, call: WatchedCall) -> None:
        f, given, args, kwargs, frames, expected, caught = call
        require_real(given.parts)
        start = next_birth()
        recorder = Recorder(frames)
        with Holding(recorder):
            fresh = [variable(raw(x)) for x in given.parts]
            recorder.data.update(new for new, x in zip(fresh, given.parts, strict=True) if not isinstance(x, Node))
            parts = iter(fresh)
            args, kwargs = filled(args, parts), filled(kwargs, parts)
            copies = [(x, list(opened(x) or ())) for x in containers_in((args, kwargs))]
            around = [next(parts) if is_part(x := read.of(read.key)) else x for read in caught]
            result = with_others(f, caught, around)(*args, **kwargs)
            if recorder.refused is not None:  # and the function swallowed it
                raise Refused(recorder.refused)
            require_unwritten(copies)
            recorder.require_unwritten(list(nodes_in(result)))
            recorder.settle_down([*fresh, *nodes_in(result)])
            self.doubtful = recorder.doubtful  # before derivatives are asked for here, too
            self.reads = recorder.inputs
            self.writes, self.moved = recorder.writes, recorder.moved
            forming = Forming(given, fresh, [x for x, *_ in frames.before.arrays])
            self.form, found = forming.form(expected, result), forming.found
            self.results = len(found)
            self.outputs: list[Any] = [*found, *(x for _, xs in self.writes for x in xs)]
            anew = [read.node for read in self.reads]
            self.parameters = parameters_of(self.outputs, {*fresh, *anew}, start)
            self.inputs = [*fresh, *self.parameters, *anew]
            self.plain = [i for i, x in enumerate(self.inputs) if x in recorder.data]
            variables = set() if isinstance(f, Plainly) else {x for x in self.inputs if x not in recorder.data}
            self.pull_back(found, variables)
        pulled = [x for p in self.passes for x in p.pulled]
        self.program = program_of([*self.inputs, *self.seeds], [*self.outputs, *pulled])

    def pull_back(self, found: Sequence[Node], variables: set[Node]) -> None:
        """Find the cotangents that go with the outputs that depend on variables: those are nodes."""
        self.places = sorted(
            (i for i, y in enumerate(found) if not variables.isdisjoint(ancestry(y))), key=lambda i: found[i].birth
        )
        self.seeds = [variable(ones_like(raw(found[i]))) for i in self.places]
        self.passes = []
        for i, seed in zip(self.places, self.seeds, strict=True):
            behind = set(ancestry(found[i])) - {found[i]}
            earlier = [k for k in self.places if found[k] in behind]
            self.passes.append(self.pulled(i, seed, earlier, variables))

    def pulled(self, place: int, seed: Node, earlier: list[int], variables: set[Node]) -> Pulled:
        """What becomes of the cotangent of an output, as far as to the outputs that it was made from."""
        y = self.outputs[place]
        before = [self.outputs[k] for k in earlier]
        with leaves_instead(before):
            found = cotangents(y, seed, variables.union(before), create_graph=True)
            pulled = [found.get(x) for x in (*self.inputs, *before)]
            alone = program_of([*self.inputs, *before, seed], [y, *pulled])
            doubtful = Selection.doubts(ancestry(y))
            elementwise = all(x.op.elementwise for x in ancestry(y) if x.op is not None)
        return Pulled(place, earlier, pulled, alone, doubtful, elementwise)


@contextmanager
def leaves_instead(nodes: Sequence[Node]) -> Iterator[None]:
    """Let the walk end at these nodes."""
    before = [(node.op, node.args) for node in nodes]
    for node in nodes:
        node.op, node.args = None, ()
    try:
        yield
    finally:
        for node, (op, args) in zip(nodes, before, strict=True):
            node.op, node.args = op, args


def parameters_of(outputs: Sequence[Any], inputs: set[Node], start: int) -> list[Node]:
    """The variables that were there before the function ran and went into its outputs. Those made meanwhile are constants."""
    return [
        x
        for x in reversed(ancestry(*[y for y in outputs if isinstance(y, Node)]))
        if x.op is None and x not in inputs and x.birth < start
    ]


def require_real(parts: Sequence[Any]) -> None:
    for x in parts:
        if isinstance(x, np.ndarray) and x.dtype.kind not in "fiub":
            raise Refused(f"it is given an array of dtype {x.dtype}, and knows real numbers only")


def require_unwritten(copies: Sequence[tuple[Any, list[Any]]]) -> None:
    """Raise an error if the function has put something else into a container that it was given."""
    for copy, inside in copies:
        now = opened(copy) or ()
        if len(now) != len(inside) or not all(map(is_, now, inside)):
            raise Refused("it writes into an argument. Return what changes")


def containers_in(x: Any) -> Iterator[Any]:
    """The containers inside arguments that can be written into."""
    inside = opened(x)
    if inside is not None and not isinstance(x, tuple):
        yield x
    for part in inside or ():
        yield from containers_in(part)


def ones_like(data: Any) -> Any:
    return 1.0 if type(data) is float else np.ones_like(data)
