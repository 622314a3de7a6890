"""One recording: a function run on fresh variables, its program forward and back, the code made of it, and whether they agree."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Any, final

import numpy as np

from ..context import blocks, next_birth, recording
from ..derivative import ALIAS, apart, gradients, leaves, rebuilt
from ..graph import ALWAYS, NO_PARAMS, Node, ancestry, cotangents
from ..guards.blocks import enable_grad
from ..guards.seals import handed, renew, seal, seals_of, unchanged
from ..guards.selection import Selection, has_nan
from ..guards.underflow import underflowed, underflowing
from ..parameters import is_model
from ..plain import FAILURES, Saved, constant, describe
from ..primitive import UNRECORDED, Op, born, new
from ..tensor import Tensor
from .arguments import Arguments, filled, is_part
from .program import Program, program_of, replay, require_same, variable
from .recording import recorded
from .surroundings import Snapshot
from .writing import Code, emit, identifier


@final
class Recording:
    """A function compiled for one kind of arguments."""

    def __init__(self, name: str, f: Callable[..., Any], given: Arguments, args: Any, kwargs: Any) -> None:
        self.key, self.kept = given.key, given.kept  # as long as these live, no other has their identity
        self.snapshot = Snapshot(given.kept)
        first, second = (Trace(name, f, given, args, kwargs, self.snapshot.variables) for _ in range(2))
        require_same(name, first.program, second.program)
        self.parameters = first.parameters
        self.tree = rebuilt(first.tree, repeat(None))  # the containers alone: no graph is kept
        self.kinds: list[type[Node]] = []
        self.code = emit(
            first.program, names_for(f, first, args, kwargs, self.kept), len(first.inputs), len(first.outputs)
        )
        self.doubtful = first.doubtful
        passes = [
            Passes(self.code, i, place, first.alone(name, i), Selection.doubts(nodes_behind(first.outputs[place])))
            for i, place in enumerate(first.places)
        ]
        self.nodes = [
            (p.place, Op(name, p.forward, (), p.pull, elementwise=first.elementwise(p.place), fits=ALWAYS))
            for p in passes
        ]
        self.verify(name, f, given, args, kwargs)

    def run(self, parts: list[Any]) -> Any:
        """What the function returns for other parts of the same kind."""
        args = (*parts, *self.parameters)
        inputs = [x._raw if isinstance(x, Node) else x for x in args]
        try:
            found = self.code.forward(*inputs)
        except FloatingPointError as error:
            if not underflowed(error):
                raise
            found = underflowing(self.code.forward, *inputs)
        if not self.nodes:
            self.require_no_doubt(found)
            return rebuilt(self.tree, iter(apart(list(found))))
        outputs, saved = found
        self.require_no_doubt(outputs)
        for i, x in enumerate(outputs):  # what the backward pass needs is not given away
            if self.tree is not None and isinstance(x, np.ndarray) and any(np.may_share_memory(x, y) for y in saved):
                outputs[i] = np.array(x)
        params = {"saved": Saved(arrays=saved, constants=[seal(x) for x in self.code.constants])}
        for place, op in self.nodes:
            # As `born` makes it, which would have to find out what a NumPy number becomes.
            node = new(self.kinds[place])
            node._raw, node.params = outputs[place], params
            node.op, node.args = (UNRECORDED, ()) if blocks and not recording() else (op, args)
            node.grad = node.name = node.call = None
            node.seals = seals_of(node.op, node.args)
            if handed:
                renew(node.args)
            node.birth = next_birth()
            if self.tree is None:
                return node
            outputs[place] = node
        return rebuilt(self.tree, iter(outputs))

    def require_no_doubt(self, outputs: Sequence[Any]) -> None:
        """Leave it to the function itself where NaN comes out of derivatives, which may be of what was not chosen."""
        if self.doubtful and any(has_nan(x) for x in outputs):
            raise FloatingPointError("NaN in derivatives that were computed by compiled code")

    def verify(self, name: str, f: Callable[..., Any], given: Arguments, args: Any, kwargs: Any) -> None:
        """Raise an error unless the code agrees with the function, which runs as it is, here and on other data."""
        own, named = given.parts[: given.own], given.parts[given.own :]

        def compared(data: Iterable[Any]) -> list[tuple[Any, Any]]:
            parts = [variable(x) if isinstance(old, Node) else x for x, old in zip(data, own, strict=True)]
            new = iter(parts)
            return self.compared(list(leaves(f(*filled(args, new), **filled(kwargs, new)))), parts, named)

        with enable_grad():
            try:
                pairs = compared(map(locked, own))
            except ValueError as error:
                if "read-only" in str(error):
                    raise writes(name) from error
                raise
            with suppress(Exception), np.errstate(all="ignore"):  # the function may not be made for such data
                pairs += compared([moved(raw(x)) for x in own])
        for y, z in pairs:
            if not agree(raw(y), raw(z)):
                raise RuntimeError(
                    f"{name}: compiled, it gives {describe(raw(z))} where the function gives {describe(raw(y))} (for these arguments, "
                    "or for others like them). Leave out compile, if the function asks for types (isinstance) or writes "
                    "into arrays; else arguments of one dtype may help"
                )

    def compared(self, expected: list[Any], parts: list[Any], named: list[Any]) -> list[tuple[Any, Any]]:
        """What the function gives and what the code gives, and their gradients."""
        self.kinds = self.kinds or [type(y) if isinstance(y, Node) else Tensor for y in expected]
        try:
            found = list(leaves(self.run([*parts, *named])))
        except FloatingPointError:  # as in use: the function itself is called
            return []
        pairs = list(zip(expected, found, strict=True))
        variables = [x for x in (*parts, *named, *self.parameters) if isinstance(x, Node)]
        for y, z in [pairs[place] for place, _ in self.nodes]:
            seed = z.seed(np.cos(np.arange(np.size(raw(z)), dtype=float)).reshape(np.shape(raw(z))))
            pairs += zip(gradients(y, variables, seed), gradients(z, variables, seed), strict=True)
        return pairs


@final
class Passes:
    """The two passes of a compiled function, for one of its outputs, as a row of the table has them."""

    def __init__(self, code: Code, i: int, place: int, program: Program, doubtful: bool) -> None:
        self.code, self.place, self.backward = code, place, code.backward[i]
        self.program = program  # of that output and its cotangents alone
        self.doubtful = doubtful  # whether NaN among the cotangents may be of what was not chosen

    def forward(self, *inputs: Any, saved: Saved) -> Any:
        outputs, arrays = self.code.forward(*inputs)
        if not saved:
            saved["arrays"] = arrays
        return outputs[self.place]

    def pull(self, args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> Sequence[Any]:
        for x, then in zip(self.code.constants, params["saved"].get("constants", ()), strict=False):
            if not unchanged(x, then):
                raise RuntimeError(
                    f"an array of shape {x.shape} that a compiled function uses was written into after it ran, so its gradient would be "
                    "wrong. Call backward() first, or use a copy (array.copy())"
                )
        if isinstance(y, Node):
            return self.with_care(args, g, True) if self.doubtful else replay(self.program, [*args, g])[1:]
        inputs = [x._raw if isinstance(x, Node) else x for x in args]
        try:
            found: Sequence[Any] = self.backward(g, *inputs, *params["saved"]["arrays"])
        except FAILURES as error:  # numbers that overflow: by IEEE 754, step by step
            if underflowed(error):
                raise  # the walk asks again, and lets them
            found = replay(self.program, [*inputs, g])[1:]
        if self.doubtful and any(has_nan(d) for d in found if d is not None):
            found = self.with_care(args, g, False)
        return found

    def with_care(self, args: Sequence[Any], g: Any, create_graph: bool) -> Sequence[Any]:
        """The cotangents of the operations themselves, on stand-ins for the arguments."""
        inputs = [born(x._raw, ALIAS, (x,), NO_PARAMS) if isinstance(x, Node) else x for x in args]
        y = replay(self.program, [*inputs, g])[0]
        if not isinstance(y, Node):
            return [None for _ in args]
        given = [x for x in inputs if isinstance(x, Node)]
        since = given[0].birth
        found = cotangents(y, g, set(given), create_graph=create_graph, since=since, careful=True)
        return [found.get(x) if isinstance(x, Node) else None for x in inputs]


@final
class Trace:
    """A function run once on fresh variables: what it returned, and its program, forward and back."""

    def __init__(
        self,
        name: str,
        f: Callable[..., Any],
        given: Arguments,
        args: Any,
        kwargs: Any,
        known: Mapping[int, Node],
    ) -> None:
        own, named = given.parts[: given.own], given.parts[given.own :]
        for x in own:
            if isinstance(x, np.ndarray) and x.dtype.kind not in "fiub":
                raise TypeError(f"{name}: expected real numbers, got an array of dtype {x.dtype}")
        fresh = [variable(raw(x)) for x in own]
        data = {new for new, x in zip(fresh, own, strict=True) if not isinstance(x, Node)}
        with recorded(name, data) as recorder:
            parts = iter(fresh)
            self.tree = f(*filled(args, parts), **filled(kwargs, parts))
            self.doubtful = recorder.doubtful  # before derivatives are asked for here, too
            self.outputs = [x if isinstance(x, Node) else constant(x, f"{name}: the result") for x in leaves(self.tree)]
            nodes = [x for x in self.outputs if isinstance(x, Node)]
            apart = set(named)  # not a list: `in` would ask whether their numbers are equal
            self.parameters = [x for x in ancestry(*nodes)[::-1] if id(x) in known and x not in apart]
            self.inputs = [*fresh, *named, *self.parameters]
            variables = {x for x in self.inputs if x not in data}
            # Where the outputs are that depend on variables: those are nodes. Each has a cotangent of its own.
            self.places = [i for i, y in enumerate(self.outputs) if not variables.isdisjoint(nodes_behind(y))]
            self.seeds = [variable(ones_like(raw(self.outputs[i]))) for i in self.places]
            self.pulled = [
                cotangents(self.outputs[i], seed, variables, create_graph=True)
                for i, seed in zip(self.places, self.seeds, strict=True)
            ]
        pulled = [found.get(x) for found in self.pulled for x in self.inputs]
        self.program = program_of(name, [*self.inputs, *self.seeds], [*self.outputs, *pulled])

    def elementwise(self, place: int) -> bool:
        """Whether an output was made element by element."""
        return all(x.op.elementwise for x in nodes_behind(self.outputs[place]) if x.op is not None)

    def alone(self, name: str, i: int) -> Program:
        """The program of one of these outputs, and of what its cotangent becomes for each input."""
        pulled = map(self.pulled[i].get, self.inputs)
        return program_of(name, [*self.inputs, self.seeds[i]], [self.outputs[self.places[i]], *pulled])


def nodes_behind(y: Any) -> list[Node]:
    return ancestry(y) if isinstance(y, Node) else []


def ones_like(data: Any) -> Any:
    return 1.0 if type(data) is float else np.ones_like(data)


def raw(x: Any) -> Any:
    return x._raw if isinstance(x, Node) else x


def locked(x: Any) -> Any:
    """The same data; an array that cannot be written into."""
    x = raw(x)
    if isinstance(x, np.ndarray):
        x = x.view()
        x.flags.writeable = False
    return x


def moved(x: Any) -> Any:
    """Other data of the same kind, also of the other sign. Integers stand for places and classes, and stay."""
    return x if isinstance(x, np.ndarray) and x.dtype.kind != "f" else 0.7 - 1.3 * x


def writes(name: str) -> TypeError:
    return TypeError(
        f"{name}: the function writes into an argument, which compiled code would not do. Make a new array (x = x + 1 for "
        "x += 1) and return it, or leave out compile"
    )


def agree(a: Any, b: Any) -> bool:
    """Whether two results are of one kind, and equal but for rounding."""
    a, b = (np.asarray(x) for x in (a, b))
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    tolerance = math.sqrt(np.finfo(a.dtype).eps)
    a, b = a[finite].astype(float), b[finite].astype(float)
    return bool(np.all(np.abs(a - b) <= tolerance * np.max(np.abs(a), initial=0.0)))


def names_for(f: Callable[..., Any], trace: Trace, args: Any, kwargs: Any, models: Iterable[Any]) -> list[str]:
    """Names for the inputs of a program and its cotangent: those of arguments, variables and parameters."""
    code = getattr(f, "__code__", None)
    places = code.co_varnames[: code.co_argcount] if code is not None else ()
    given = [label for name, x in (*zip(places, args, strict=False), *kwargs.items()) for label in labels(name, x)]
    paths = {id(x): path for model in models if is_model(type(model)) for path, x in model.named_parameters()}
    names: dict[str, None] = {}
    for i, node in enumerate(trace.inputs):
        label = given[i] if i < len(given) else paths.get(id(node), node.name)
        name = identifier(label) if label else f"x{i}"
        while name in names:
            name = f"x{i}_{name}"
        names[name] = None
    return [*names, *(f"g{i}" if len(trace.seeds) > 1 else "g" for i, _ in enumerate(trace.seeds))]


def labels(name: str, x: Any) -> Iterator[str]:
    """A name for each part of an argument."""
    if isinstance(x, tuple | list):
        for i, part in enumerate(x):
            yield from labels(f"{name}_{i}", part)
    elif isinstance(x, dict):
        for key, part in x.items():
            yield from labels(f"{name}_{key}", part)
    elif is_part(x):
        yield name
