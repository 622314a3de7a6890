"""One recording: the code that was made of a function, when it may run in its place, and what it then returns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from operator import length_hint
from typing import Any, final

import numpy as np

from ..context import blocks, next_birth, recording
from ..graph import ALWAYS, Node
from ..guards.seals import Sealed, handed, renew, seal, seals_of
from ..guards.selection import has_nan
from ..guards.underflow import underflowed, underflowing
from ..parameters import is_model
from ..plain import Saved, describe
from ..primitive import UNRECORDED, Op, new
from .arguments import Arguments, Refused, Stopped, is_part, labels
from .caught import can_be_caught
from .comparing import verify
from .guard import Guard
from .kinds import Wrapper, held_weakly, itself, put_back, state_of
from .lines import Writer, identifier
from .passes import Passes
from .results import Branch, as_numbers_of, built, leaves, parts_of, raw, type_of, written
from .surroundings import Read, Surroundings
from .tracing import Trace, WatchedCall
from .writing import Wanted, emit

PYTHONS = {float: "float", bool: "bool", int: "int"}  # types of what is a float while it is recorded


@final
class Recording:
    """A function compiled for one kind of arguments."""

    def __init__(self, name: str, call: WatchedCall, jit: Callable[..., Any] | None = None) -> None:
        given, frames = call.given, call.frames
        self.name, self.key, self.jit = name, given.key, jit
        # As long as these live, no other has their identity; and when one is gone, so is this.
        self.kept = [x for x in given.kept if held_weakly(x) is None]
        self.guests = [x for x in map(held_weakly, given.kept) if x is not None]
        after = [(x, state_of(x)) for x, _ in frames.own.values()]
        try:
            trace = Trace(call)
        except Stopped as stopped:
            raise Refused(str(stopped)) from None
        finally:
            for x, state in after:
                put_back(x, state)
        if frames.reason is not None:
            raise Refused(frames.reason)
        around = surroundings(call, trace)
        self.guard = Guard(around)
        self.around = frames.asks_identity and {id(x) for x in around.seen.values()}
        self.met = self.met_around(given)
        self.own = [x for x, _ in frames.own.values()]
        self.seconds = 0.0
        self.checked = 0  # the number of the call at which the function was run beside the code
        self.form, self.parameters = trace.form, trace.parameters
        self.reads = [read._replace(node=None) for read in trace.reads]
        self.writes: list[tuple[Callable[..., None], slice]] = []
        end = trace.results
        for into, xs in trace.writes:
            self.writes.append((into, slice(end, end := end + len(xs))))
        self.names = names_for(call, trace, around)
        self.write_code(call, trace)
        verify(self, given, call.expected, frames)
        self.renew()

    @property
    def runs(self) -> int:
        """For how many calls this was used."""
        return 2 * self.checked - 1 - length_hint(self.turns)

    @property
    def turns(self) -> Iterator[int]:
        """A 1 for each call until the next check."""
        turns: Iterator[int] = self.guard.space["_turns"]
        return turns

    @property
    def taken(self) -> int:
        """How many of them were taken."""
        return self.runs - self.checked.bit_length()

    def renew(self) -> None:
        """The 1st, 2nd, 4th, 8th … call has come, in which the function is run: as many can go without."""
        self.checked = 2 * self.checked or 1
        self.guard.space["_turns"] = repeat(1, self.checked - 1)

    @property
    def is_plain(self) -> bool:
        """Whether there is nothing to do but to run the statements of the code."""
        return self.formed and not self.own and not self.reads and not self.quiet and bool(self.code.body)

    def write_code(self, call: WatchedCall, trace: Trace) -> None:
        results = [
            (leaf.of, e)
            for leaf, e in zip(leaves(trace.form), parts_of(trace.form, call.expected), strict=True)
            if leaf.source == "output"
        ]
        self.convert = {
            of: convert
            for of, e in results
            if type(e) is not type(x := raw(trace.outputs[of])) and (convert := as_numbers_of(e, x)) is not None
        }
        of_nodes = {i for i, x in enumerate((*call.given.parts, *trace.parameters)) if isinstance(x, Node)}
        given_back = {leaf.of for leaf in leaves(trace.form) if leaf.source == "input"}
        self.formed = not trace.passes and not trace.writes and not given_back & of_nodes
        kinds = {of: type(raw(e)) for of, e in results}
        wanted = Wanted(
            inputs=len(trace.inputs),
            plain=trace.plain,
            types=[
                PYTHONS.get(kinds.get(i, float), "") if type(raw(x)) is float else ""
                for i, x in enumerate(trace.outputs)
            ],
            pulled=[len(p.pulled) for p in trace.passes],
            returned=self.returned if self.formed else None,
            doubtful=self.formed and trace.doubtful,
            jit=self.jit,
        )
        self.code = emit(trace.program, self.names, wanted)
        self.quiet = call.frames.quiet
        self.forward = quietly(self.code.forward) if self.quiet else self.code.forward
        self.doubtful = trace.doubtful
        self.nodes = []
        for i_th, p in enumerate(trace.passes):
            passes = Passes(self.code, i_th, p, len(trace.inputs))
            op = Op(self.name, passes.forward, (), passes.pull, elementwise=p.elementwise, fits=ALWAYS)
            op.reads = reads = {i for i, x in enumerate(self.names[: len(trace.inputs)]) if x in self.code.reads[i_th]}
            self.nodes.append((p.place, p.earlier, type_of(trace.outputs[p.place]), op, reads))
        self.program, self.seeds = trace.program, [raw(seed) for seed in trace.seeds]
        self.has_arrays = bool(self.nodes) and any(np.ndim(raw(x)) for x in trace.inputs)

    def returned(self, w: Writer, inputs: Sequence[str], outputs: Sequence[str]) -> str:
        """The result as Python text."""
        kinds = {i: w.function(convert, "kind") for i, convert in self.convert.items()}
        text = written(w, self.form, inputs, [f"{kinds[i]}({x})" if i in kinds else x for i, x in enumerate(outputs)])
        form = self.form
        return text[1:-1] if isinstance(form, Branch) and type(form.like) is tuple and len(form.parts) > 1 else text

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
        if self.formed:
            return found
        outputs, saved = found if self.nodes else (found, ())
        outputs = list(outputs)
        if self.nodes:
            self.make_nodes(args, outputs, saved, seals)
        if self.doubtful and any(has_nan(x) for x in outputs):
            # It may be of what was not chosen: that is left to the function itself.
            raise FloatingPointError("NaN in derivatives that were computed by compiled code")
        for place, convert in self.convert.items():
            outputs[place] = convert(outputs[place])
        for into, places in self.writes:
            into(*outputs[places])
        return built(self.form, outputs, args)

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


def surroundings(call: WatchedCall, trace: Trace) -> Surroundings:
    """All that a recording depends on; or an error that says why that cannot be seen."""
    if not all(can_be_caught(call.f, read, call.frames) for read in call.caught):
        raise Refused("what its inputs are is read elsewhere too")
    around = call.frames.surroundings([Read(itself, x, "an argument") for x in call.given.kept], call.caught)
    require_seen(around)
    for x in trace.parameters:
        if id(x) not in around.variables:
            raise Refused(f"it uses {describe(x)}, and nobody sees from where. Pass it as an argument")
    if {id(x) for x in trace.moved} & {id(x) for x, *_ in around.arrays}:
        raise Refused("it reads statistics that its layers move meanwhile. Do that outside")
    return around


def require_seen(around: Surroundings) -> None:
    if around.hidden is not None:
        raise Refused(f"{around.hidden}. Pass what it gives as an argument")


def quietly(f: Callable[..., Any]) -> Callable[..., Any]:
    """The same, without NumPy's warnings, as the function had it."""
    return np.errstate(all="ignore")(f)


def innermost(f: Any) -> Any:
    """The function that others are made of, as by `grad`."""
    while (inside := f.f if isinstance(f, Wrapper) else getattr(f, "__wrapped__", None)) is not None:
        f = inside
    return f


def names_for(call: WatchedCall, trace: Trace, around: Surroundings) -> list[str]:
    """Names for the inputs of a program and its cotangent: those of arguments, variables and parameters."""
    code = getattr(innermost(call.f), "__code__", None)
    places = code.co_varnames[: code.co_argcount] if code is not None else ()
    given = [
        label for name, x in (*zip(places, call.args, strict=False), *call.kwargs.items()) for label in labels(name, x)
    ]
    given += [read.label for read in call.caught if is_part(read.of(read.key))]
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
