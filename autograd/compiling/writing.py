"""A program as Python source: the straight-line NumPy code that a person would have written for these shapes.

What is computed twice is written once, what nobody needs is not written at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np

from .lines import Line, Writer
from .program import Kind, Part, Place, Program, kind_of
from .spelling import is_number, spelled


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
    """The source of a function and of the one that pulls back through it, and both ready to be called."""

    source: str
    forward: Callable[..., Any]  # (*inputs) -> results; with a backward: a list of them, and what that asks for
    constants: Mapping[str, Any]  # arrays of others that are read whenever it runs, by their names
    backward: Sequence[
        Callable[..., Any]
    ]  # one for each cotangent: (g, *inputs, *what it asks for) -> those of the inputs
    reads: Sequence[set[str]]  # the names of what each of those reads: inputs and constants


def emit(program: Program, names: Sequence[str], inputs: int, casts: Sequence[str], pulled: Sequence[int]) -> Code:
    """Write a program down.

    Behind so many of its inputs come cotangents. Behind as many outputs as there are casts, which say how each is returned, come
    those that each cotangent becomes, so many of each.
    """
    w = Writer()
    at = list(names)
    w.namespace |= dict.fromkeys(names)
    for step, kind in zip(program.steps, program.kinds[program.inputs :], strict=True):
        args = broadcast_later(program, step.args, kind, step.op.elementwise)
        at.append(spelled(w, step, [text_of(w, x, at) for x in args], [kind_at(program, x) for x in args], kind))
    results = len(casts)
    found = [text_of(w, x, at) for x in program.outputs]
    texts = [as_output(text, x, program) for text, x in zip(found, program.outputs, strict=True)]
    texts[:results] = [cast.format(text) for cast, text in zip(casts, found, strict=False)]
    for i in range(results):  # each is an array of its own
        if found[i] in found[:i] and not is_number(kind_at(program, program.outputs[i])):
            texts[i] += ".copy()"
    given, seeds = names[:inputs], names[inputs:]
    ahead = needed(w.lines, found[:results])
    known = {line.name for line in ahead}
    asked = set(found[results:])
    backs, reads = [], []
    end = results
    for count in pulled:
        own = slice(end, end := end + count)
        lines = [line for line in needed(w.lines, found[own]) if line.name not in known]
        used = {name for line in lines for name in line.uses}
        asked |= used
        reads.append(used.union(found[own]))
        backs.append((in_place(lines, found[own]), tuple_of(texts[own])))
    saved = [line.name for line in ahead if line.name in asked]
    # What is computed where nothing was chosen is thrown away: no warnings of that.
    chooses = any(step.op.listed and step.op.name == "where" for step in program.steps)
    quiet = '@np.errstate(all="ignore")\n' if chooses else ""
    returned = f"[{', '.join(texts[:results])}], {tuple_of(saved)}" if seeds else tuple_of(texts[:results])
    functions = {"forward": function("forward", given, in_place(ahead, saved + found[:results]), returned)}
    for i, (g, (lines, result)) in enumerate(zip(seeds, backs, strict=True)):
        name = f"backward{i}" if len(seeds) > 1 else "backward"
        functions[name] = function(name, [g, *given, *saved], lines, result)
    source = "\n".join(quiet + text for text in functions.values())
    taken = set(names)
    namespace = {key: x for key, x in w.namespace.items() if key not in taken}
    exec(compile(source, "<compiled by chainrule>", "exec"), namespace)
    forward, *backward = map(namespace.pop, functions)  # no function shall hold itself
    constants = {name: x for name in w.named.values() if isinstance(x := w.namespace.get(name), np.ndarray)}
    return Code(source, forward, constants, backward, reads)


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


def function(name: str, parameters: Sequence[str], lines: Iterable[Line], result: str) -> str:
    statements = [statement for line in lines for statement in line.statements()]
    body = "".join(f"    {text}\n" for text in [*statements, f"return {result}"])
    return f"def {name}({', '.join(parameters)}):\n{body}"


def as_output(text: str, x: Part, program: Program) -> str:
    """A number as Python's own; of a constant array, a copy that the caller may write into."""
    if isinstance(x, Place):
        return f"float({text})" if is_number(kind_at(program, x)) else text
    return f"{text}.copy()" if isinstance(x, np.ndarray) else text


def tuple_of(texts: Sequence[str]) -> str:
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def text_of(w: Writer, x: Part, at: Sequence[str]) -> str:
    if isinstance(x, Place):
        return at[x.number]
    text = w.constant(x)
    return f"({text})" if text.startswith("-") else text
