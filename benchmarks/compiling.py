"""cr.compile against the functions themselves: random programs, each run twice, and whatever then differs.

python benchmarks/compiling.py [--programs 2000] [--seed 0] [--one SEED] [--world compiled|eager|frozen] [-v]

A program is Python text: a function, the state around it, and a schedule of calls and of changes to that state. It runs in
two worlds, with `compile` and without, and after every call results, gradients and all that the program holds are compared.
A program that fails is cut down to the least that fails alike, and counts for the ingredients that are left.
"""

from __future__ import annotations

import argparse
import array
import collections
import contextvars
import functools
import itertools
import linecache
import os
import random
import re
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from textwrap import indent
from typing import Any

import numpy as np
from ingredients import ARITHMETIC, DATA, FORMS, IMPORTS, PARTS, RARE, RESULTS, VARIABLE, Part

import chainrule as cr
from chainrule.autograd.optional.progress import followed

# Programs.


@dataclass(frozen=True)
class Step:
    """A line of the schedule: a call with these arguments, or a change of the state of one part."""

    part: str = ""  # none: a call
    change: int = 0
    value: float = 0.0
    given: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Program:
    """A function with its state, and what happens to them."""

    parts: tuple[Part, ...]
    steps: tuple[Step, ...]

    def parameters(self) -> list[str]:
        """As they are declared: x first, and last those with a default."""
        names = dict.fromkeys(name for part in self.parts for name in part.given)
        return sorted(names, key=lambda name: (name != "x", "=" in name))

    @property
    def source(self) -> str:
        parts = self.parts
        result = next((part.result for part in parts if part.result), "y")
        returned = ", ".join([result, *[part.beside for part in parts if part.beside]])
        body = lines_of("y = x", *[part.f for part in parts], f"return {returned}")
        changes = {changed(part.name, i): text for part in parts for i, text in enumerate(part.changes)}
        names = ", ".join(["f", "g", *changes])
        inside = lines_of(
            *[part.around for part in parts],
            f"def g({', '.join(self.parameters())}):\n{indented(body)}",
            next((part.form for part in parts if part.form), "f = compiled(g)"),
            *[f"def {name}(v):\n{indented(text)}" for name, text in changes.items()],
            f"return {names}",
        )
        return lines_of(*[part.top for part in parts], f"def make():\n{indented(inside)}\n{names} = make()")

    @property
    def schedule(self) -> list[str]:
        return [
            self.call(step) if not step.part else f"{changed(step.part, step.change)}({step.value})"
            for step in self.steps
        ]

    def call(self, step: Step) -> str:
        texts = ((name.partition("="), step.given.get(name)) for name in self.parameters())
        return f"f({', '.join([f'{name}={text}' if default else text for (name, default, _), text in texts if text])})"


def lines_of(*texts: str) -> str:
    return "\n".join([text for text in texts if text])


def indented(text: str) -> str:
    return indent(text, "    ")


def changed(part: str, i: int) -> str:
    return f"change_{re.sub(r'[^a-zA-Z0-9]+', '_', part)}_{i}"


def filled(text: str, rng: random.Random, rows: int = 4) -> str:
    """Text with numbers in place of what stands for them."""
    tokens: dict[str, Callable[[], Any]] = {
        "r": lambda: round(rng.uniform(0.5, 2.0), 3),
        "n": lambda: rng.choice(RARE) if rng.random() < 0.1 else round(rng.uniform(-2.0, 2.0), 3),
        "i": lambda: rng.randint(1, 3),
        "s": lambda: rng.randint(1, 999),
        "m": lambda: rows,
    }
    return re.sub(r"\$([rnism])", lambda found: str(tokens[found[1]]()), text)


def program_of(seed: int) -> Program:
    """A random program: of one to four ingredients, with some arithmetic."""
    rng = random.Random(seed)
    rank = rng.choice("nvm")
    fitting = [part for part in PARTS if rank in part.ranks for _ in range(4 - len(part.ranks))]
    chosen = list({part.name: part for part in rng.sample(fitting, rng.choice((1, 1, 2, 2, 3, 4)))}.values())
    chosen += [Part(f"arithmetic: {text}", f=text) for text in rng.sample(ARITHMETIC, rng.randint(0, 2))]
    rng.shuffle(chosen)
    kind, result, form = (rng.choice(list(names)) for names in (DATA[rank], RESULTS, FORMS))
    chosen.append(Part(f"x: {kind}", given={"x": (DATA[rank][kind],)}))
    if rng.random() < 0.7:
        chosen.append(Part(f"result: {result}", result=result))
    if rng.random() < 0.3:
        chosen.append(Part(f"form: {form}", form=FORMS[form]))
    texts = ("f", "top", "around", "result")
    parts = [replace(part, **{name: filled(getattr(part, name), rng) for name in texts}) for part in chosen]
    return Program(tuple(parts), tuple(steps_of(parts, list(DATA[rank].values()), rng)))


def steps_of(parts: Sequence[Part], kinds: Sequence[str], rng: random.Random) -> Iterator[Step]:
    """Calls, with other data each time, and between them changes."""
    changes = [(part.name, i) for part in parts for i in range(len(part.changes))]
    given = {name: texts for part in parts for name, texts in part.given.items()}
    for call in range(rng.randint(6, 24)):
        if changes and call > 1 and rng.random() < 0.3:  # not at once: two calls show whether anything stays compiled
            yield Step(*rng.choice(changes), round(rng.uniform(0.5, 2.0), 3))
        rows = 6 if rng.random() < 0.1 else 4
        if rng.random() < 0.05:
            given["x"] = (rng.choice(kinds),)
        said = [name for name in given if "=" not in name or rng.random() < 0.7]
        yield Step(given={name: filled(rng.choice(given[name]), rng, rows) for name in said})


# Worlds: a program that runs.


FILE = "<program>"
BETWEEN, BACK = "gradient of the last node by the first", "backward"
START = (random.Random(0).getstate(), np.random.RandomState(0).get_state(), "2")


class World:
    """What a program defines with one `compile`, and what is the process's own, as this program left it."""

    def __init__(self, program: Program, compiler: Callable[..., Any]) -> None:
        self.compiler, self.made = compiler, list[Any]()
        self.results: list[Any] = []  # all are kept: later calls must not change them
        self.names: dict[str, Any] = {"__name__": "program", "compiled": self.compiled, "kept": self.results}
        source = program.source
        linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)  # for tracebacks
        restore(START)
        exec(IMPORTS, self.names)
        exec(compile(source, FILE, "exec", dont_inherit=True), self.names)
        self.process, self.f = process(), self.names["f"]

    def compiled(self, f: Callable[..., Any]) -> Any:
        self.made.append(self.compiler(f))
        return self.made[-1]

    def run(self, line: str) -> dict[str, Any]:
        """What a line of the schedule gave, step by step; an error in place of what it prevented."""
        restore(self.process)
        if line.startswith("f("):
            args, kwargs = eval(line, {**self.names, "f": lambda *args, **kwargs: (args, kwargs)})
            self.results.append(attempted(self.f, *args, **kwargs))
            found = {"result": self.results[-1], "arguments": [args, kwargs]}
            if nodes := list(nodes_in(self.results[-1])):
                found |= {BETWEEN: attempted(cr.gradients, nodes[-1], nodes[0]), BACK: attempted(go_back, nodes)}
        else:
            found = {"change": attempted(exec, line, self.names)}
        self.process = process()
        return found

    def state(self) -> dict[str, Any]:
        """All that the program holds, and what the process does."""
        own = ("compiled", "__builtins__", "__warningregistry__")
        names = {name: x for name, x in self.names.items() if name not in own}
        return names | {"random": hash(self.process[0]), "np.random": self.process[1], VARIABLE: self.process[2]}

    def compiled_calls(self) -> int:
        """How many calls ran compiled code; where that is not counted, all where there is such code."""
        calls = len(self.results)
        if any(hasattr(f, "compiled_calls") for f in self.made):
            return min(calls, max(f.compiled_calls for f in self.made))
        return calls if any(type(attempted(getattr, f, "source")) is str for f in self.made) else 0


class Frozen(World):
    """A world in which `compile` takes all state as it was at first: it sees no change, and leaves no effect."""

    def __init__(self, program: Program) -> None:
        super().__init__(program, lambda f: f)
        self.f = World(program, lambda f: f).f


WORLDS: dict[str, Callable[[Program], World]] = {
    "compiled": lambda program: World(program, cr.compile),
    "eager": lambda program: World(program, lambda f: f),  # nothing differs
    "frozen": Frozen,  # nearly everything does
}


def process() -> tuple[Any, ...]:
    """What belongs to all of it, and what programs change."""
    return random.getstate(), np.random.get_state(), os.environ.get(VARIABLE)


def restore(state: tuple[Any, ...]) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])
    os.environ.pop(VARIABLE, None)
    os.environ.update({VARIABLE: state[2]} if state[2] else {})


def attempted(f: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """What the function returns, or the error that it raises."""
    try:
        return f(*args, **kwargs)
    except Exception as error:
        return error


def nodes_in(result: Any) -> Iterator[cr.Node]:
    if isinstance(result, cr.Node):
        yield result
    parts = result if isinstance(result, tuple | list) else getattr(result, "__dict__", result)
    for part in parts.values() if isinstance(parts, dict) else parts if isinstance(parts, tuple | list) else ():
        yield from nodes_in(part)


def go_back(nodes: Sequence[cr.Node]) -> None:
    """Gradients of a number made of all nodes, with another cotangent for each element."""
    total: Any = sum((cr.sum(node * (node + float(i))) for i, node in enumerate(nodes, 1)), 0.0)
    total.backward()


# Two worlds side by side.

VALUES = (str, int, bytes, range, slice, types.BuiltinFunctionType)
NO_IDENTITY = (float, np.generic, tuple, frozenset, types.MethodType, *VALUES)  # that counts


class Comparison:
    """A walk over two worlds at once, to the first place at which they differ."""

    def __init__(self, tolerance: float, last: bool = False) -> None:
        self.tolerance, self.last = tolerance, last
        self.twins: dict[int, Any] = {}  # of each object of one world, by identity, its twin in the other

    def difference(self, path: str, a: Any, b: Any) -> str | None:
        while wrapped(b) and not wrapped(a):  # compiled, it is what was compiled
            b = b.__wrapped__
        if a is b:
            return None
        if not isinstance(a, NO_IDENTITY):
            if id(a) in self.twins or id(b) in self.twins:
                met = self.twins.get(id(a)) is b and self.twins.get(id(b)) is a
                return None if met else f"{path}: is what is found elsewhere too, in one of the two alone"
            self.twins |= {id(a): b, id(b): a}
        (head, parts), (other, others) = self.opened(a), self.opened(b)
        numbers = isinstance(a, float | np.generic | np.ndarray) and isinstance(b, type(a))
        if head != other or parts.keys() != others.keys() or (numbers and not self.agree(np.asarray(a), np.asarray(b))):
            return f"{path}: {shown(a)}, compiled {shown(b)}"
        found = (self.difference(f"{path}.{key}", x, others[key]) for key, x in parts.items())
        return next(filter(None, found), None)

    def agree(self, a: Any, b: Any) -> bool:
        """Whether numbers are of one kind, and equal but for rounding."""
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype.kind != "f" or a.tobytes() == b.tobytes():
            return a.tobytes() == b.tobytes()
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return False
        scale = max(1.0, float(np.max(np.abs(a), where=finite, initial=0.0)))
        return bool(np.all(np.abs(a[finite] / scale - b[finite] / scale) <= self.tolerance))

    def opened(self, x: Any) -> tuple[Any, dict[Any, Any]]:
        """What an object is, to be compared at once, and what it holds, to be compared part by part."""
        name = type(x).__qualname__
        if isinstance(x, Iterator):  # looked into at the end, which uses it up
            return name, dict(enumerate(itertools.islice(x, 5))) if self.last else {}
        for kind, (head, parts) in OPENED.items():
            if isinstance(x, kind):
                return (name, head(x)), parts(x)
        slots = [slot for kind in type(x).__mro__ for slot in getattr(kind, "__slots__", ()) if hasattr(x, slot)]
        return name, {slot: getattr(x, slot) for slot in slots} | getattr(x, "__dict__", {})


def wrapped(x: Any) -> bool:
    return not isinstance(x, types.MethodType) and "__wrapped__" in getattr(x, "__dict__", ())


def items(xs: Mapping[Any, Any]) -> dict[Any, Any]:
    return dict(xs) if all(isinstance(key, str | int) for key in xs) else dict(enumerate(xs.items()))


def held(f: types.FunctionType) -> dict[str, Any]:
    """What a function holds beside its code."""
    cells = zip(f.__code__.co_freevars, f.__closure__ or (), strict=True)
    closure = {name: attempted(getattr, cell, "cell_contents") for name, cell in cells}
    return closure | {"defaults": f.__defaults__, "kwdefaults": f.__kwdefaults__, "vars": vars(f)}


def own(kind: type) -> dict[str, Any]:
    """What a class holds, but for what every class does."""
    return {name: x for name, x in vars(kind).items() if not name.startswith("__") or callable(x)}


def nothing(x: Any) -> dict[Any, Any]:
    return {}


def named(*names: str) -> Callable[[Any], dict[Any, Any]]:
    return lambda x: {name: getattr(x, name) for name in names}


# fmt: off
OPENED: dict[Any, tuple[Callable[[Any], Any], Callable[[Any], dict[Any, Any]]]] = {
    VALUES: (lambda x: x, nothing),
    float | np.generic: (nothing, nothing),
    np.ndarray: (lambda x: x.flags.writeable, nothing),
    cr.Node: (lambda x: x.name, named("_raw", "grad")),  # `.data` would count as handing it out
    types.FunctionType: (lambda x: (x.__name__, x.__code__.co_code), held),
    type: (lambda x: x.__qualname__, own),
    dict | collections.ChainMap | types.MappingProxyType: (nothing, items),
    tuple | list | collections.deque | array.array: (lambda x: getattr(x, "maxlen", None), lambda x: dict(enumerate(x))),
    set | frozenset: (nothing, lambda x: dict(enumerate(sorted(x, key=repr)))),
    types.MethodType: (nothing, named("__self__", "__func__")),
    staticmethod | classmethod: (nothing, named("__func__")),
    property: (nothing, named("fget")),
    functools.partial: (nothing, named("func", "args", "keywords")),
    functools._lru_cache_wrapper: (lambda x: x.cache_info().currsize, named("__wrapped__")),  # hits are no result
    random.Random: (lambda x: x.getstate(), nothing),
    np.random.Generator: (lambda x: repr(x.bit_generator.state), nothing),
    contextvars.ContextVar: (lambda x: x.name, lambda x: {"value": x.get(None)}),
    cr.nn.Optimizer: (nothing, lambda x: x.state_dict()),  # it has scratch arrays too
}
# fmt: on


def shown(x: Any) -> str:
    kind = type(x).__name__
    if isinstance(x, np.ndarray):
        kind += f" of {x.dtype}{'' if x.flags.writeable else ', read-only'}"
    return f"{' '.join(repr(x).split())[:100]} ({kind})"


# What becomes of a program.

KINDS = SAME, LEFT, SILENT, ERROR = "same", "refused or uncompiled", "silent", "error"


@dataclass(frozen=True)
class Outcome:
    """What became of a program: of which kind that is, where it shows and how, and how many calls ran compiled code."""

    kind: str
    where: str = ""
    how: str = ""
    calls: int = 0
    compiled: int = 0
    warned: int = 0

    @property
    def failed(self) -> bool:
        return self.kind in (SILENT, ERROR)


def outcome(program: Program, world: str = "compiled") -> Outcome:
    outer = process()
    try:
        with warnings.catch_warnings(record=True) as said, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            eager, other = WORLDS["eager"](program), WORLDS[world](program)
            kind, where, how = compared(program, eager, other)
    finally:
        restore(outer)
    compiled = other.compiled_calls()
    warned = sum("compile" in str(warning.message) for warning in said)
    return Outcome(LEFT if kind == SAME and not compiled else kind, where, how, len(other.results), compiled, warned)


def compared(program: Program, eager: World, other: World) -> tuple[str, str, str]:
    """Which kind of outcome this is, and where and how the worlds first differ."""
    lines = program.schedule
    tolerance = 1e-4 if "float32" in program.source + "".join(lines) else 1e-11
    for i, line in enumerate(lines):
        found, there = eager.run(line), other.run(line)
        walk = Comparison(tolerance, last=i == len(lines) - 1)
        found["state"], there["state"] = eager.state(), other.state()
        for where, a in found.items():
            b = there.get(where)
            if isinstance(b, Exception) and type(a) is not type(b):
                kind = LEFT if isinstance(b, TypeError) and "compile" in str(b) else ERROR
                return kind, type(b).__name__, f"{line}: {where}: {type(b).__name__}: {b}"
            if isinstance(a, Exception) and where == BACK:
                return SAME, "", ""  # gradients would be wrong, it says, and so nothing is left to compare
            if how := walk.difference(where, a, b):
                return SILENT, where, f"{line}: {how}"
    return SAME, "", ""


# The least of a program, and the report.


def least(program: Program, world: str, found: Outcome) -> Program:
    """The program without whatever can be left out: it still fails, and at the like place."""
    smaller: Program | None = program
    while smaller is not None:
        program = smaller
        smaller = next((other for other in reductions(program) if alike(other, world, found)), None)
    return program


def alike(program: Program, world: str, found: Outcome) -> bool:
    new = attempted(outcome, program, world)
    return isinstance(new, Outcome) and (new.kind, new.where) == (found.kind, found.where)  # else it is no program


def reductions(program: Program) -> Iterator[Program]:
    """The program without one of its parts, or without a line of its schedule."""
    parts, steps = program.parts, program.steps
    for part in parts:
        if "x" not in part.given:
            yield Program(tuple(p for p in parts if p is not part), tuple(s for s in steps if s.part != part.name))
    for i in reversed(range(len(steps))):
        yield Program(parts, steps[:i] + steps[i + 1 :])


def shown_program(program: Program, world: str) -> str:
    found = outcome(program, world)
    return lines_of(
        f"{IMPORTS}\ncompiled = cr.compile  # or: lambda f: f\n",
        program.source,
        "\n",
        *program.schedule,
        f"\n# {found.kind}. {found.how}\n",
    )


def report(programs: int, seed: int, world: str, verbose: bool) -> bool:
    """Run them all, print what became of them, and say whether none differs silently."""
    start = time.perf_counter()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    totals: collections.Counter[str] = collections.Counter()
    lines = []
    for i in followed(range(seed, seed + programs), True, "programs", "programs"):
        program = program_of(i)
        found = outcome(program, world)
        if found.failed:
            program = least(program, world, found)
            found = replace(found, how=outcome(program, world).how)
        names = [part.name for part in program.parts]
        for name in names:
            counts[name][found.kind] += 1
        if found.failed or (verbose and found.how):
            lines.append(f"{i:>6}  {found.kind}: {', '.join(names)}: {found.how[:250]}")
        totals.update({found.kind: 1, "calls": found.calls, "compiled": found.compiled})
        totals.update({"ran": int(found.compiled > 0), "warned": int(found.warned > 1)})
    print(f"{'ingredient':<60}" + "".join(f"{kind:>{len(kind) + 3}}" for kind in KINDS))
    for name, count in sorted(counts.items(), key=lambda item: (-item[1][SILENT], -item[1][ERROR], item[0])):
        print(f"{name[:59]:<60}" + "".join(f"{count[kind] or '':>{len(kind) + 3}}" for kind in KINDS))
    print("", *lines, "", sep="\n")
    print(
        f"{programs} programs: {', '.join(f'{totals[kind]} {kind}' for kind in KINDS)}. {totals['ran']} ran compiled code, in "
        f"{totals['compiled']} of all {totals['calls']} calls ({totals['compiled'] / max(totals['calls'], 1):.0%}); "
        f"{totals['warned']} warned more than once. {time.perf_counter() - start:.0f} s"
    )
    return not totals[SILENT]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=2000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--one", type=int, metavar="SEED", help="show one program, and the least of it that fails")
    parser.add_argument("--world", choices=WORLDS, default="compiled", help="what to compare with the eager one")
    parser.add_argument("-v", action="store_true", help="list what was refused too")
    options = parser.parse_args()
    if options.one is None:
        sys.exit(not report(options.programs, options.seed, options.world, options.v))
    program = program_of(options.one)
    print(shown_program(program, options.world))
    if (found := outcome(program, options.world)).failed:
        print("\n# The least of it:", shown_program(least(program, options.world, found), options.world), sep="\n")


if __name__ == "__main__":
    main()
