"""The entry of a recording: one function that takes the arguments apart, asks whether all is as it was, and runs the code.

It is made for the arguments of one call, and lets those pass that are like them; any others, and calls by keyword, it hands on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import count
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from ..context import blocks
from ..graph import Node
from .arguments import CONSTANT, is_part
from .lines import literal
from .writing import function

if TYPE_CHECKING:
    from .recorded import Recording
    from .surroundings import Read

MOST = 300  # statements that are worth being written here; to call them takes no time beside that of more
MISSING: Any = object()  # in place of an argument


class Untold(Exception):
    """What an argument is to be like cannot be written as a test."""


class Tail(NamedTuple):
    """What an entry is to do besides running the code, as text."""

    test: str  # what must hold for it
    before: Sequence[str]
    result: str  # names for what the code gives
    after: Sequence[str]  # statements, the last of which returns; what they raise is no failure of the code
    space: Mapping[str, Any]  # and what their names stand for


def entry_of(
    made: Recording,
    args: Any,
    kwargs: Any,
    caught: Sequence[Read],
    other: Callable[..., Any],
    tail: Tail | None = None,
) -> Callable[..., Any] | None:
    """The entry for calls like this one; None where only `other` can say whether one is.

    `other(args, kwargs, failed)` is called where the entry is not for a call, or its code has failed.
    """
    if kwargs or made.around:
        return None
    guard, taken = made.guard, Taken(made)
    try:
        arguments = [taken.named(x) for x in args]
        for argument in arguments:
            taken.take(argument)
        for i, read in enumerate(caught):
            found = taken.named(read.of(read.key))
            taken.then(f"{found.name} = {guard.read(f'_caught{i}', read)}")
            taken.take(found)
    except Untold:
        return None
    taken.tell_apart()
    taken.test(guard.text)
    taken.test("not (_more or _named or _blocks)")
    names = [argument.name for argument in arguments]
    inner = ["for _turn in _turns:", *(f"    {line}" for line in body_of(made, taken))]
    after: list[str] = []
    if tail is not None:
        taken.test(tail.test)
        taken.space |= tail.space
        last = inner.pop().strip().removeprefix("return ")
        inner = [*tail.before, *inner, f"    {tail.result} = {last}", "    _turn = -1", "    break"]
        after = ["if _turn < 0:", *(f"    {line}" for line in tail.after)]
    body = ["_turn = 0", "try:", *(f"    {line}" for line in taken.nested(inner)), "except Exception:", "    pass"]
    body += after
    body.append(f"return _other(({''.join(f'{name}, ' for name in names)}*_more,), _named, _turn)")
    parameters = [*(f"{name}=_MISSING" for name in names), *["/"] * bool(names), "*_more", "**_named"]
    inside = [f"    {line}" for line in function("_entry", parameters, body).splitlines()]
    text = "\n".join(["def _make(_run, _holds, _other):", *inside, "    return _entry"])
    space = guard.space  # in which it finds what others are compared with
    space |= {**made.code.space, **taken.space, "_MISSING": MISSING, "_blocks": blocks}
    exec(compile(text, "<compiled by chainrule>", "exec"), space)
    # What holds the recording is given to it, not put in the space, which the recording holds.
    entry: Callable[..., Any] = space.pop("_make")(made.run, guard.holds, other)
    return entry


def body_of(made: Recording, taken: Taken) -> list[str]:
    if not made.is_plain or len(made.code.body) > MOST:
        return [f"return _run([{', '.join(taken.parts)}])"]
    taken.space |= {f"_parameter{i}": x for i, x in enumerate(made.parameters)}
    return [
        *(f"{name} = _parameter{i}._raw" for i, name in zip(range(len(made.parameters)), taken.names, strict=False)),
        *made.code.body,
    ]


class Given(NamedTuple):
    """An argument, or what is inside one."""

    x: Any
    name: str  # by which the entry has it
    raw: str  # by which the code has its data
    inside: list[Given]


@final
class Taken:
    """Arguments taken apart: in turns, what must be true of names, and what is then known by further names."""

    def __init__(self, made: Recording) -> None:
        self.made, self.names, self.others = made, iter(made.names), count()
        self.first = len(made.guard.space)  # where another entry may have names of its own
        self.stages: list[tuple[list[str], list[str]]] = [([], [])]  # tests, and statements that follow them
        self.space: dict[str, Any] = {}
        self.parts: list[str] = []  # the names of data and variables
        self.met: dict[int, str] = {}  # what was there before, by identity, and its name

    def named(self, x: Any) -> Given:
        """An argument with names; those of data are as in the code."""
        raw = next(self.names) if is_part(x) else ""
        name = raw if raw and not isinstance(x, Node) else f"_given{next(self.others)}"
        return Given(x, name, raw, [self.named(part) for part in x] if type(x) in (list, tuple) else [])

    def test(self, text: str) -> None:
        if text:
            self.stages[-1][0].append(text)

    def then(self, statement: str) -> None:
        self.stages[-1][1].append(statement)
        self.stages.append(([], []))

    def let(self, name: str, x: Any) -> str:
        name = f"_{name}{self.first + len(self.space)}"
        self.space[name] = x
        return name

    def take(self, given: Given) -> None:
        x, name, raw, inside = given
        kind = type(x)
        if raw:
            self.parts.append(name)
        if kind is float:
            self.test(f"type({name}) is float")
        elif kind is np.ndarray:
            self.take_array(x, name, name)
            self.meet(x, name)
        elif isinstance(x, Node):
            self.take_node(x, name, raw)
        elif kind is np.float64:
            self.test(f"type({name}) is {self.let('kind', kind)}")
        elif kind is tuple or kind is list:
            self.test(f"type({name}) is {kind.__name__} and len({name}) == {len(x)}")
            self.meet(x, name)
            if inside:
                self.then(f"{', '.join([part.name for part in inside])}, = {name}")
            for part in inside:
                self.take(part)
        elif kind in CONSTANT and not is_huge(x) and (text := literal(x)) is not None:
            same = f"{name} is {text}" if kind in (NoneType, bool) else f"{name} == {text}"
            self.test(f"type({name}) is {self.let('kind', kind)} and {same}")
        elif any(x is held for held in (*self.made.kept, *(ref() for ref in self.made.guests))):
            self.test(f"id({name}) == {id(x)} and type({name}) is {self.let('kind', kind)}")
        else:
            raise Untold

    def take_array(self, x: Any, name: str, held: str) -> None:
        kind, dtype = self.let("kind", np.ndarray), self.let("dtype", x.dtype)
        self.test(f"type({held}) is {kind} and {name}.shape == {x.shape} and {name}.dtype is {dtype}")

    def take_node(self, x: Node, name: str, raw: str) -> None:
        self.test(f"type({name}) is {self.let('kind', type(x))}")
        self.meet(x, name)
        if type(x._raw) is float:
            self.test(f"type({raw} := {name}._raw) is float")
        elif type(x._raw) is np.ndarray:
            self.take_array(x._raw, raw, f"{raw} := {name}._raw")
        else:
            raise Untold

    def meet(self, x: Any, name: str) -> None:
        """Two places may hold one."""
        if id(x) in self.met:
            self.test(f"{name} is {self.met[id(x)]}")
        else:
            self.met[id(x)] = name

    def tell_apart(self) -> None:
        """What was not one then is not one now."""
        names = [*self.met.values()]
        if len(names) == 2:
            self.test(f"{names[0]} is not {names[1]}")
        elif len(names) > 2:
            self.test(f"len({{{', '.join(f'id({name})' for name in names)}}}) == {len(names)}")

    def nested(self, inner: Sequence[str]) -> list[str]:
        """The first tests as a condition; what follows them, with each of the further tests, inside."""
        (tests, statements), *stages = self.stages
        lines = [*statements]
        for further, then in stages:
            lines += [f"{' and '.join(further)} or _changed()"] * bool(further) + then
        return [f"if {' and '.join(tests) or 'True'}:", *(f"    {line}" for line in [*lines, *inner])]


def is_huge(x: Any) -> bool:
    """Whether this is a number that no test should have to spell."""
    return type(x) is int and x.bit_length() > 1000
