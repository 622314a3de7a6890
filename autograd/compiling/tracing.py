"""One recording: a function run on fresh variables, its program forward and back, the code made of it, and what it gives."""

from __future__ import annotations

import timeit
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from operator import is_
from time import perf_counter
from typing import Any, final

import numpy as np

from ..context import blocks, next_birth, recording
from ..derivative import gradients
from ..graph import ALWAYS, Node, ancestry, cotangents
from ..guards.blocks import Holding
from ..guards.seals import Sealed, handed, renew, seal, seals_of, unchanged
from ..guards.selection import Selection, has_nan
from ..guards.underflow import underflowed, underflowing
from ..parameters import is_model
from ..plain import Saved, describe
from ..primitive import UNRECORDED, Op, new
from .arguments import Arguments, Refused, Stopped, filled, is_part, labels, opened
from .caught import can_be_caught, with_others
from .frames import Frames
from .guard import Guard
from .kinds import held_weakly, itself, put_back, state_of
from .lines import identifier
from .passes import Passes, Pulled
from .program import program_of, values_of
from .recording import Recorder, variable
from .results import Forming, Leaf, as_numbers_of, built, leaves, nodes_in, parts_of, raw, same, shared, size, type_of
from .surroundings import Read, Surroundings
from .writing import emit


@final
class Trace:
    """A function run once on fresh variables: what it returned, and its program, forward and back."""

    def __init__(
        self,
        f: Callable[..., Any],
        given: Arguments,
        args: Any,
        kwargs: Any,
        frames: Frames,
        expected: Any,
        caught: Sequence[Read],
    ) -> None:
        for x in given.parts:
            if isinstance(x, np.ndarray) and x.dtype.kind not in "fiub":
                raise Refused(f"it is given an array of dtype {x.dtype}, and knows real numbers only")
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
            for copy, inside in copies:
                if not all(map(is_, opened(copy) or (), inside)) or len(opened(copy) or ()) != len(inside):
                    raise Refused("it writes into an argument. Return what changes")
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
            data = recorder.data
            variables = {x for x in self.inputs if x not in data}
            # Where the outputs are that depend on variables: those are nodes. Each has a cotangent of its own.
            self.places = sorted(
                (i for i, y in enumerate(found) if not variables.isdisjoint(ancestry(y))), key=lambda i: found[i].birth
            )
            self.seeds = [variable(ones_like(raw(found[i]))) for i in self.places]
            self.passes = []
            for i, seed in zip(self.places, self.seeds, strict=True):
                behind = set(ancestry(found[i])) - {found[i]}
                earlier = [k for k in self.places if found[k] in behind]
                self.passes.append(self.pulled(i, seed, earlier, variables))
        pulled = [x for p in self.passes for x in p.pulled]
        self.program = program_of([*self.inputs, *self.seeds], [*self.outputs, *pulled])

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


@final
class Recording:
    """A function compiled for one kind of arguments."""

    def __init__(
        self,
        name: str,
        f: Callable[..., Any],
        given: Arguments,
        args: Any,
        kwargs: Any,
        frames: Frames,
        expected: Any,
        caught: Sequence[Read],
    ) -> None:
        self.name, self.key = name, given.key
        # As long as these live, no other has their identity; and when one is gone, so is this.
        self.kept = [x for x in given.kept if held_weakly(x) is None]
        self.guests = [x for x in map(held_weakly, given.kept) if x is not None]
        after = [(x, state_of(x)) for x, _ in frames.own.values()]
        try:
            trace = Trace(f, given, args, kwargs, frames, expected, caught)
        except Stopped as stopped:
            raise Refused(str(stopped)) from None
        finally:
            for x, state in after:
                put_back(x, state)
        if frames.reason is not None:
            raise Refused(frames.reason)
        if not all(can_be_caught(f, read, frames) for read in caught):
            raise Refused("what its inputs are is read elsewhere too")
        around = frames.surroundings([Read(itself, x, "an argument") for x in given.kept], caught)
        require_seen(around)
        for x in trace.parameters:
            if id(x) not in around.variables:
                raise Refused(f"it uses {describe(x)}, and nobody sees from where. Pass it as an argument")
        if {id(x) for x in trace.moved} & {id(x) for x, *_ in around.arrays}:
            raise Refused("it reads statistics that its layers move meanwhile. Do that outside")
        self.guard = Guard(around)
        self.around = frames.asks_identity and {id(x) for x in around.seen.values()}
        self.met = self.met_around(given)
        self.own = [x for x, _ in frames.own.values()]
        self.runs, self.seconds = 0, 0.0
        self.form, self.parameters = trace.form, trace.parameters
        self.reads = [read._replace(node=None) for read in trace.reads]
        self.single = trace.form == Leaf("output", 0)
        self.writes: list[tuple[Callable[..., None], slice]] = []
        end = trace.results
        for into, xs in trace.writes:
            self.writes.append((into, slice(end, end := end + len(xs))))
        names = names_for(f, trace, args, kwargs, around, caught)
        kinds = {
            leaf.of: type(raw(e))
            for leaf, e in zip(leaves(trace.form), parts_of(trace.form, expected), strict=True)
            if leaf.source == "output"
        }
        casts = [
            CASTS.get(kinds.get(i, float), "{}") if type(raw(x)) is float else "{}" for i, x in enumerate(trace.outputs)
        ]
        self.code = emit(trace.program, names, len(trace.inputs), casts, [len(p.pulled) for p in trace.passes])
        self.forward = quietly(self.code.forward) if frames.quiet else self.code.forward
        self.doubtful = trace.doubtful
        self.nodes = []
        for i_th, p in enumerate(trace.passes):
            passes = Passes(self.code, i_th, p, len(trace.inputs))
            op = Op(name, passes.forward, (), passes.pull, elementwise=p.elementwise, fits=ALWAYS)
            op.reads = reads = {i for i, x in enumerate(names[: len(trace.inputs)]) if x in self.code.reads[i_th]}
            self.nodes.append((p.place, p.earlier, type_of(trace.outputs[p.place]), op, reads))
        self.program, self.seeds = trace.program, [raw(seed) for seed in trace.seeds]
        self.has_arrays = bool(self.nodes) and any(np.ndim(raw(x)) for x in trace.inputs)
        self.convert: dict[int, Callable[[Any], Any]] = {}
        self.adapt(expected, [raw(x) for x in trace.outputs])
        self.verify(given, expected, frames)

    def holds(self, given: Arguments) -> bool:
        """Whether all that this depends on is as it was; for arguments of the same kind."""
        return self.guard.holds() and (not self.around or self.met == self.met_around(given))

    def met_around(self, given: Arguments) -> list[int | None]:
        """Which of the arguments are also found around the function, where it asks whether they are."""
        return [key if key in self.around else None for key in given.met] if self.around else []

    def run(self, parts: list[Any]) -> Any:
        """What the function returns for other parts of the same kind."""
        if not self.own:
            return self.ran(parts)
        before = [(x, state_of(x)) for x in self.own]
        try:
            return self.ran(parts)
        except BaseException:  # the function itself will be called, or nothing has happened
            for x, state in before:
                put_back(x, state)
            raise

    def ran(self, parts: list[Any]) -> Any:
        args = (*parts, *self.parameters)
        if self.reads:
            args += tuple([read.read() for read in self.reads])
        inputs = [x._raw if isinstance(x, Node) else x for x in args]
        seals = seals_of(UNRECORDED, args) if self.has_arrays else None  # of all: higher orders read them all
        try:
            found = self.forward(*inputs)
        except FloatingPointError as error:
            if not underflowed(error):
                raise
            found = underflowing(self.forward, *inputs)
        if self.nodes:
            outputs, saved = found
            self.make_nodes(args, outputs, saved, seals)
        else:
            outputs = list(found)
        if self.doubtful and any(has_nan(x) for x in outputs):
            # It may be of what was not chosen: that is left to the function itself.
            raise FloatingPointError("NaN in derivatives that were computed by compiled code")
        if self.convert:
            for place, convert in self.convert.items():
                outputs[place] = convert(outputs[place])
        for into, places in self.writes:
            into(*outputs[places])
        return outputs[0] if self.single else built(self.form, outputs, args)

    def make_nodes(
        self, args: tuple[Any, ...], outputs: list[Any], saved: Sequence[Any], seals: Sequence[Sealed] | None
    ) -> None:
        if len(outputs) > 1:
            for i, x in enumerate(outputs):  # what the backward pass needs is not given away
                if isinstance(x, np.ndarray) and any(np.may_share_memory(x, y) for y in saved):
                    outputs[i] = np.array(x)
        constants = self.code.constants and {name: seal(x) for name, x in self.code.constants.items()}
        params = {"saved": Saved(arrays=saved, constants=constants, seals=seals)}
        for place, earlier, kind, op, reads in self.nodes:
            # As `born` makes it, which would have to find out what a NumPy number becomes.
            node = new(kind)
            node._raw, node.params = outputs[place], params
            if blocks and not recording():
                node.op, node.args, node.seals = UNRECORDED, (), None
            else:
                node.op, node.args = op, (*args, *[outputs[k] for k in earlier]) if earlier else args
                node.seals = seals and [found for found in seals if found[0] in reads]
            node._grad = node.name = node.call = None
            if handed:
                renew(node.args)
            node.birth = next_birth()
            outputs[place] = node

    def checked(self, given: Arguments, run: Callable[[], Any]) -> Any:
        """What the function itself returns, if the code beside it returns the same; else an error."""
        before = [state_of(x) for x in self.own]
        found, moved = self.attempt(given)
        for x, state in zip(self.own, before, strict=True):
            put_back(x, state)
        arrays = [x for x in given.parts if isinstance(x, np.ndarray)]
        sealed = [seal(x) for x in arrays]
        start = perf_counter()
        expected = run()
        self.seconds = perf_counter() - start
        if not all(map(unchanged, arrays, sealed)):
            raise RuntimeError(f"{self.name}: it writes into an argument, which the code does not. Leave out compile")
        for x in found:
            what = self.compared(expected, x, given) or self.moved_otherwise(moved)
            if what is not None:
                raise RuntimeError(
                    f"{self.name}: compiled, it gives {what}. Something that the function depends on has changed in a way that "
                    "cannot be seen. Pass it as an argument, or leave out compile"
                )
        return expected

    def is_dear(self) -> bool:
        """Whether to find out that this still holds takes longer than the function itself, and long."""
        return min(timeit.repeat(self.guard.holds, number=1, repeat=5)) > max(self.seconds, 3e-4)

    def verify(self, given: Arguments, expected: Any, frames: Frames) -> None:
        """Raise an error unless the code gives what the function gave for the same arguments, from the same states on."""
        after = [state_of(x) for x in self.own]
        for x, state in frames.own.values():
            put_back(x, state)
        found, moved = self.attempt(given)
        for x, state in zip(self.own, after, strict=True):
            put_back(x, state)
        for x in found:
            what = self.compared(expected, x, given) or self.moved_otherwise(moved)
            if what is not None:
                raise Refused(f"recorded, it gives {what}")

    def attempt(self, given: Arguments) -> tuple[list[Any], list[Any]]:
        """What the code gives, if it does, and what state that leaves."""
        try:
            with quiet():  # the function itself says what there is to say
                return [self.run(given.parts)], [state_of(x) for x in self.own]
        except Exception:  # as in use: the function itself is called
            return [], []

    def moved_otherwise(self, moved: list[Any]) -> str | None:
        """Whether the function left another state than the code did."""
        for x, state in zip(self.own, moved, strict=False):
            now = state_of(x)
            if not (same(now, state) if isinstance(x, np.ndarray) else repr(now) == repr(state)):
                return f"another state to {describe(x)} than the function: more happens to that than in its layer"
        return None

    def adapt(self, expected: Any, outputs: Sequence[Any]) -> None:
        """Have NumPy's numbers where the function gives those."""
        for leaf, e in zip(leaves(self.form), parts_of(self.form, expected), strict=True):
            x = outputs[leaf.of] if leaf.source == "output" else e
            if leaf.source == "output" and type(e) is not type(x) and (convert := as_numbers_of(e, x)) is not None:
                self.convert[leaf.of] = convert

    def most_within(self, given: Arguments) -> float:
        """The largest number that occurs on the way, to which rounding is relative."""
        before = [state_of(x) for x in self.own]
        inputs = [raw(x) for x in (*given.parts, *self.parameters, *[read.read() for read in self.reads])]
        for x, state in zip(self.own, before, strict=True):
            put_back(x, state)
        with np.errstate(all="ignore"):
            return max((size(x) for x in values_of(self.program, [*inputs, *self.seeds]) if is_float(x)), default=0.0)

    def compared(self, expected: Any, found: Any, given: Arguments) -> str | None:
        """How what the function gives and what the code gives differ, and their gradients."""
        pairs = list(zip(parts_of(self.form, expected), parts_of(self.form, found), strict=True))
        variables = [x for x in (*given.parts, *self.parameters) if isinstance(x, Node)]
        arrays = [(e, x) for e, x in pairs if isinstance(e, np.ndarray) and isinstance(x, np.ndarray)]
        for i, (e, x) in enumerate(arrays):
            if any(np.may_share_memory(e, a) != np.may_share_memory(x, b) for a, b in arrays[:i]):
                return "arrays that have their memory in common otherwise than the function's"
        for leaf, (e, x) in zip(leaves(self.form), pairs, strict=True):
            if leaf.source == "output" and leaf.of in self.convert:
                x = self.convert[leaf.of](raw(x))
            if type(e) is not type(x):
                return f"a {type(x).__name__} where the function gives a {type(e).__name__}"
            if not same(raw(e), raw(x)) and not same(raw(e), raw(x), self.most_within(given)):
                return f"{describe(raw(x))} where the function gives {describe(raw(e))}"
            if isinstance(e, np.ndarray) and shared(e, given.parts) != shared(x, given.parts):
                return "an array in other memory than the function's: one is, or is a view of, an argument, the other is not"
            if leaf.source == "output" and isinstance(e, Node) and e.args and x.args:
                seed = x.seed(np.cos(np.arange(np.size(raw(x)), dtype=float)).reshape(np.shape(raw(x))))
                expected_gradients = gradients(e, variables, seed)
                most = max([size(a) for a in expected_gradients], default=0.0)
                for v, a, b in zip(variables, expected_gradients, gradients(x, variables, seed), strict=True):
                    # What cancels out is as exact as what does not.
                    if not same(a, b, most) and not same(a, b, max(most, self.most_within(given))):
                        return f"the gradient {describe(b)} by {describe(v)} where the function gives {describe(a)}"
        return None


CASTS = {float: "float({})", bool: "bool({})", int: "int({})"}  # of what is a float while it is recorded


def is_float(x: Any) -> bool:
    return isinstance(x, float) or (isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f")


def require_seen(around: Surroundings) -> None:
    if around.hidden is not None:
        raise Refused(f"{around.hidden}. Pass what it gives as an argument")


def containers_in(x: Any) -> Iterator[Any]:
    """The containers inside arguments that can be written into."""
    inside = opened(x)
    if inside is not None and not isinstance(x, tuple):
        yield x
    for part in inside or ():
        yield from containers_in(part)


def quiet() -> Any:
    """A block in which NumPy does not warn, and raises the errors that it is told to."""
    if any(found[0] == "error" for found in warnings.filters):
        return nullcontext()
    return np.errstate(**{kind: "raise" if how == "raise" else "ignore" for kind, how in np.geterr().items()})  # type: ignore[arg-type]


def quietly(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same, without NumPy's warnings, as the function had it."""
    return np.errstate(all="ignore")(f)


def ones_like(data: Any) -> Any:
    return 1.0 if type(data) is float else np.ones_like(data)


def names_for(
    f: Callable[..., Any], trace: Trace, args: Any, kwargs: Any, around: Surroundings, caught: Sequence[Read]
) -> list[str]:
    """Names for the inputs of a program and its cotangent: those of arguments, variables and parameters."""
    code = getattr(f, "__code__", None)
    places = code.co_varnames[: code.co_argcount] if code is not None else ()
    given = [label for name, x in (*zip(places, args, strict=False), *kwargs.items()) for label in labels(name, x)]
    given += [read.label for read in caught if is_part(read.of(read.key))]
    paths: dict[int, str] = {}
    for model in [x for x in around.seen.values() if is_model(type(x))]:  # outer ones first
        for path, x in model.named_parameters():
            paths.setdefault(id(x), path)
    names: dict[str, None] = {}
    for i, node in enumerate(trace.inputs):
        found = around.variables.get(id(node))
        label = given[i] if i < len(given) else paths.get(id(node)) or node.name or (found and found[-1])
        name = identifier(label) if label else f"x{i}"
        while name in names:
            name = f"x{i}_{name}"
        names[name] = None
    return [*names, *(f"g{i}" if len(trace.seeds) > 1 else "g" for i, _ in enumerate(trace.seeds))]
