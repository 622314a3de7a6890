"""A program as Python source: the straight-line NumPy code that a person would have written for these shapes.

What is computed twice is written once, what nobody needs is not written at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, final

import numpy as np

from ..derivative import ALIAS
from ..guards.selection import has_nan
from .arguments import Refused
from .lines import Line, Writer, folded, tuple_of
from .program import Kind, Part, Place, Program, kind_of
from .spelling import JITTED, PLAINLY, SPELLINGS, is_number, spelled


def broadcast_later(program: Program, args: Sequence[Part], result: Kind, elementwise: bool) -> list[Part]:
    """The arguments.

    One that was only broadcast to meet another of the result's shape is given un-broadcast: NumPy does that itself.
    """
    if not elementwise:
        return list(args)
    first = program.inputs
    kept = list(args)
    for i, x in enumerate(args):
        step = program.steps[x.number - first] if isinstance(x, Place) and x.number >= first else None
        others = [kind_at(program, y).shape for j, y in enumerate(kept) if j != i]
        if step is not None and step.op.name == "broadcast_to" and step.op.listed and result.shape in others:
            kept[i] = step.args[0]
    return kept


def kind_at(program: Program, x: Part) -> Kind:
    return program.kinds[x.number] if isinstance(x, Place) else kind_of(x)


def needed(lines: Sequence[Line], wanted: Iterable[str]) -> list[Line]:
    """The lines that lead to the wanted names, in order."""
    names = set(wanted)
    kept = []
    for line in reversed(lines):
        if line.name in names:
            names.update(line.uses)
            kept.append(line)
    return kept[::-1]


@final
@dataclass(frozen=True, slots=True)
class Code:
    """The source of a function and of those that pull back through it, and all ready to be called."""

    source: str
    forward: Callable[..., Any]  # (*inputs) -> what it returns; with a backward: outputs, and what that asks for
    constants: Mapping[str, Any]  # arrays of others that are read whenever it runs, by their names
    backward: Sequence[
        Callable[..., Any]
    ]  # one for each cotangent: (g, *inputs, *what it asks for) -> those of the inputs
    reads: Sequence[set[str]]  # the names of what each of those reads: inputs and constants
    body: Sequence[str]  # the statements of the forward pass, the last of which returns,
    space: Mapping[str, Any]  # and what their names stand for


Returned: TypeAlias = (
    "Callable[[Writer, Sequence[str], Sequence[str]], str]"  # (writer, inputs, outputs) -> an expression
)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What code is asked for."""

    inputs: int  # behind so many of the program's inputs come cotangents
    plain: Sequence[int]  # those in these places are no variables
    types: Sequence[str]  # behind as many outputs as these, which are the names of the types of numbers, come
    pulled: Sequence[int]  # those that each cotangent becomes: so many of each
    returned: Returned | None = None  # how what is returned is put together of the outputs; None: as they are
    doubtful: bool = False  # and whether NaN among them is to be an error
    jit: Callable[..., Any] | None = None  # what is given each function, to make a faster one


def emit(program: Program, names: Sequence[str], wanted: Wanted) -> Code:
    """Write a program down, with names for its inputs."""
    w = Writer()
    found = outputs_of(w, program, names, wanted)
    results = len(wanted.types)
    given, seeds = names[: wanted.inputs], names[wanted.inputs :]
    ahead = needed(w.lines, found[:results])
    known = {line.name for line in ahead}
    backs = []
    reads: list[set[str]] = []
    end = results
    for count in wanted.pulled:
        own = slice(end, end := end + count)
        lines = [line for line in needed(w.lines, found[own]) if line.name not in known]
        reads.append({name for line in lines for name in line.uses}.union(found[own]))
        lines, texts = folded(in_place(lines, found[own]), found[own], w.numbers)
        parts = zip(found[own], texts, program.outputs[own], strict=True)
        backs.append(statements(lines, tuple_of([as_output(w, program, *part) for part in parts])))
    asked = set().union(*reads)
    saved = [line.name for line in ahead if line.name in asked]
    body = forward_of(w, program, ahead, found[:results], saved, given, wanted)
    functions = {"forward": function("forward", given, body)}
    for i, (g, back) in enumerate(zip(seeds, backs, strict=True)):
        name = f"backward{i}" if len(seeds) > 1 else "backward"
        functions[name] = function(name, [g, *given, *saved], back)
    # What is computed where nothing was chosen is thrown away: no warnings of that.
    chooses = any(step.op.listed and step.op.name == "where" for step in program.steps)
    quiet = chooses and not wanted.jit and not w.numbers.issuperset(line.name for line in w.lines)
    source = "\n".join(('@np.errstate(all="ignore")\n' if quiet else "") + text for text in functions.values())
    space = {name: x for name, x in w.namespace.items() if name not in names} | {"__name__": __name__}
    made = run(source, space, functions)
    if wanted.jit is not None:
        made = [wanted.jit(f) for f in made]
        if wanted.returned is not None:
            body = around_jitted(w, made[0], found[:results], given, wanted)
            space |= {name: x for name, x in w.namespace.items() if name not in names}
            made[:1] = run(function("forward", given, body), space, ["forward"])
    forward, *backward = made
    constants = {name: x for name in w.named.values() if isinstance(x := space.get(name), np.ndarray)}
    return Code(source, forward, constants, backward, reads, () if quiet else body, space)


def run(source: str, space: dict[str, Any], names: Iterable[str]) -> list[Callable[..., Any]]:
    """The functions that a source defines; none shall hold itself."""
    exec(compile(source, "<compiled by chainrule>", "exec"), space)
    return [space.pop(name) for name in names]


def outputs_of(w: Writer, program: Program, names: Sequence[str], wanted: Wanted) -> list[str]:
    """All that a program does, as lines, and the names of its outputs."""
    at, plain = list(names), set(wanted.plain)
    w.namespace |= dict.fromkeys(names)
    w.types |= {name: "float" for name, kind in zip(names, program.kinds, strict=False) if is_number(kind)}
    for step, kind in zip(program.steps, program.kinds[program.inputs :], strict=True):
        args = broadcast_later(program, step.args, kind, step.op.elementwise)
        spellings = SPELLINGS
        if step.op is not ALIAS and all(x.number in plain for x in args if isinstance(x, Place)):
            plain.add(len(at))
            spellings = JITTED if wanted.jit else PLAINLY
        texts, kinds = [text_of(w, x, at) for x in args], [kind_at(program, x) for x in args]
        at.append(spelled(w, step, texts, kinds, kind, spellings))
    w.plain.update(at[i] for i in plain)
    return [text_of(w, x, at) for x in program.outputs]


def forward_of(
    w: Writer,
    program: Program,
    lines: Sequence[Line],
    outputs: list[str],
    saved: list[str],
    given: Sequence[str],
    wanted: Wanted,
) -> list[str]:
    """The statements of the forward pass."""
    looks = wanted.doubtful and wanted.jit is None
    kept = outputs * (1 + looks) + saved  # what is looked at besides is needed by its name
    lines, texts = folded(in_place(lines, kept), kept, w.numbers)
    for i, (kind, name) in enumerate(zip(wanted.types, outputs, strict=True)):
        if kind and w.type_of(name) != kind:
            texts[i] = f"float({texts[i]})"
            if kind != "float" or name in w.plain:
                raise Refused(
                    f"what it returns is of type {kind} here, and may be of another for other numbers. Write floats (0.0 for 0)"
                )
        if name in outputs[:i] and not is_number(kind_at(program, program.outputs[i])):
            texts[i] += ".copy()"  # each is an array of its own
    texts = texts[: len(outputs)]
    if wanted.returned is not None and wanted.jit is None:
        result = wanted.returned(w, given, texts)
    else:
        result = f"[{', '.join(texts)}]" if wanted.pulled and wanted.jit is None else tuple_of(texts)
    body = statements(lines, f"{result}, {tuple_of(saved)}" if wanted.pulled else result)
    if looks:
        body.insert(-1, unless_nan(w, outputs))
    return body


def around_jitted(w: Writer, jitted: Any, outputs: Sequence[str], given: Sequence[str], wanted: Wanted) -> list[str]:
    """The statements of a function that calls one that was made faster, and puts together what is returned."""
    assert wanted.returned is not None
    parts = [f"_result{i}" for i in range(len(outputs))]
    w.types |= {part: "float" for part, x in zip(parts, outputs, strict=True) if w.is_float(x)}
    w.namespace["_forward"] = jitted
    # What is not finite, Python may have raised an error for.
    finite = [f"if {x} - {x} != 0.0: raise FloatingPointError" for x in parts if w.is_float(x)]
    looks = [unless_nan(w, parts)] if wanted.doubtful else []
    call = f"{tuple_of(parts)} = _forward({', '.join(given)})"
    return [call, *finite, *looks, f"return {wanted.returned(w, given, parts)}"]


def unless_nan(w: Writer, names: Iterable[str]) -> str:
    each = [f"{x} != {x}" if w.is_float(x) else f"{w.function(has_nan, 'has_nan')}({x})" for x in names]
    return f"if {' or '.join(each)}: raise FloatingPointError"


def in_place(lines: Sequence[Line], kept: Iterable[str]) -> list[Line]:
    """The same lines, but a new array that nobody needs any more becomes the result of an operator that it is like."""
    users: dict[str, list[Line]] = {}
    for line in lines:
        for name in line.uses:
            users.setdefault(name, []).append(line)
    kept = set(kept)
    free = {line.name for line in lines if line.is_new and line.name not in kept}
    written: list[Line] = []
    renamed: dict[str, str] = {}
    for line in lines:
        uses = tuple([renamed.get(name, name) for name in line.uses])
        left = line.uses[0] if line.uses else ""
        if (
            line.sign
            and line.name not in kept
            and left in free
            and users[left][-1] is line
            and line.uses.count(left) == 1
            and all(user.is_new for user in users[left])  # what is no new array may be a view
        ):
            renamed[line.name] = uses[0]
            written.append(replace(line, name=uses[0], uses=uses))
        else:
            written.append(replace(line, uses=uses))
    return written


def statements(lines: Iterable[Line], result: str) -> list[str]:
    return [*(statement for line in lines for statement in line.statements()), f"return {result}"]


def function(name: str, parameters: Sequence[str], body: Sequence[str]) -> str:
    return f"def {name}({', '.join(parameters)}):\n" + "".join(f"    {text}\n" for text in body)


def as_output(w: Writer, program: Program, name: str, text: str, x: Part) -> str:
    """A number as Python's own; of a constant array, a copy that the caller may write into."""
    if isinstance(x, Place):
        return f"float({text})" if is_number(kind_at(program, x)) and not w.is_float(name) else text
    return f"{text}.copy()" if isinstance(x, np.ndarray) else text


def text_of(w: Writer, x: Part, at: Sequence[str]) -> str:
    if isinstance(x, Place):
        return at[x.number]
    text = w.constant(x)
    return f"({text})" if text.startswith("-") else text
