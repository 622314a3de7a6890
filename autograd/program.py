"""A function as the list of operations that it ran: recorded once on variables, then replayed on other data or on nodes.

Recording is sound because nothing escapes it. While a function is recorded, whoever asks a variable for its numbers (to
branch on them, to convert them, to store them) gets an error that says so, and so does one who uses a variable that was
not announced. Random numbers and other changes of state show when the function is recorded a second time.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from .graph import NO_PARAMS, Node, Watcher, ancestry, cotangents, enable_grad, recording, suspended, watched, watching
from .primitive import FAILURES, Op, born, table


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


@final
class Recorder(Watcher):
    """Watches a function while it is recorded, and stops it where the record would not tell the whole story."""

    def __init__(self, name: str, data: Container[Node]) -> None:
        self.name = name
        self.data = data  # the inputs that stand for plain data

    def made(self, data: Any, op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Op:
        if not recording.get() and any(isinstance(arg, Node) for arg in args):
            raise TypeError(
                f"{self.name}: no_grad() would freeze the result of {op.name} as it is now. Compute that outside the "
                "compiled function, and pass it as an argument"
            )
        return op

    def walk(self, root: Node, seed: Any, wanted: Container[Node] | None, create_graph: bool) -> dict[Node, Any]:
        if wanted is None:
            raise TypeError(
                f"{self.name}: backward() inside a compiled function would store gradients but once, while it is recorded. "
                "Return the loss and call backward() on that, or compile cr.grad of a function"
            )
        if not create_graph and any(node.op is None for node in ancestry(root)):
            raise TypeError(
                f"{self.name}: gradients as plain data would be frozen as they are now; ask for them with "
                "create_graph=True, or by cr.grad"
            )
        return cotangents(root, seed, wanted, create_graph=create_graph, pending={})

    def read(self, node: Node) -> None:
        raise TypeError(
            f"{self.name}: the numbers of {named(node)} were asked for (by .data, item(), float(), or an if) while the "
            "function was being compiled, and would be frozen as they are now. Compute with the variable itself, choose "
            "with cr.where, or leave out compile"
        )

    def aside(self, what: str) -> None:
        raise TypeError(
            f"{self.name}: {what} inside a compiled function would happen but once, while it is recorded. Do that outside, "
            "or leave out compile"
        )


def named(node: Node) -> str:
    """A variable, short enough for a message."""
    name = f" {node.name!r}" if node.name else ""
    shape = np.shape(node._data)
    return f"a {type(node).__name__}{name}" + (f" of shape {shape}" if shape else "")


@contextmanager
def recorded(name: str, data: Container[Node]) -> Iterator[None]:
    """A block that is recorded: what would not be seen later is an error. `data` are inputs that are no variables."""
    token = watching.set(Recorder(name, data))
    watched.append(None)
    suspended.append(None)
    try:
        with enable_grad():
            yield
    finally:
        suspended.pop()
        watched.pop()
        watching.reset(token)


def recorder() -> Recorder | None:
    """Who records in this thread (or task), if anyone does."""
    watcher = watching.get() if watched else None
    return watcher if isinstance(watcher, Recorder) else None


def is_data(x: Any) -> bool:
    """Whether this is plain data, or stands for it where a function is recorded: it depends on no variable."""
    if not isinstance(x, Node):
        return True
    by = recorder()
    return by is not None and all(node in by.data for node in ancestry(x) if node.op is None)


def in_precision(x: Any, dtype: Any) -> Any:
    """Data, or what stands for it, with the precision of what it meets."""
    if x.dtype == dtype:
        return x
    return table["astype"](x, dtype=dtype) if isinstance(x, Node) else x.astype(dtype)


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
    kinds = [kind_of(node._data) for node in inputs]
    nodes = [x for x in outputs if isinstance(x, Node)]
    for node in reversed(ancestry(*nodes)):
        if node in places or (node.op is not None and not node.args):
            continue
        if node.op is None:
            raise TypeError(
                f"{name}: the function uses {named(node)}, which is neither among its arguments nor in a model or variable "
                "that the function itself names. Pass it as an argument"
            )
        steps.append(Step(node.op, tuple([part(arg, places) for arg in node.args]), renewed(node.params)))
        places[node] = Place(len(kinds))
        kinds.append(kind_of(node._data))
    return Program(len(inputs), tuple(steps), tuple([part(x, places) for x in outputs]), tuple(kinds))


def part(x: Any, places: Mapping[Node, Place]) -> Part:
    return places.get(x, x._data) if isinstance(x, Node) else x


def kind_of(data: Any) -> Kind:
    return Kind((), None) if not hasattr(data, "dtype") else Kind(np.shape(data), data.dtype)


def renewed(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters for another run: what a forward keeps for its rule is not theirs."""
    return {name: {} if name.startswith("_") else x for name, x in params.items()} if params else NO_PARAMS


def replay(program: Program, inputs: Sequence[Any]) -> list[Any]:
    """The outputs for other inputs, step by step; on nodes, nodes that can be differentiated again."""
    values = list(inputs)

    def value(x: Part) -> Any:
        return values[x.number] if isinstance(x, Place) else x

    for step in program.steps:
        values.append(applied(step.op, tuple(map(value, step.args)), renewed(step.params)))
    return list(map(value, program.outputs))


def applied(op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
    """An operation on nodes or plain data."""
    data = computed(op, [arg._data if isinstance(arg, Node) else arg for arg in args], params)
    return born(data, op, args, params) if any(isinstance(arg, Node) for arg in args) else data


def computed(op: Op, inputs: Sequence[Any], params: Mapping[str, Any]) -> Any:
    try:
        return op.forward(*inputs, **params)
    except FAILURES as error:
        return op.recover(error, inputs, params)


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
