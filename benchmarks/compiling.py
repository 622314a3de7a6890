"""cr.compile against the functions themselves: random programs, each run twice, and whatever differs afterwards.

python benchmarks/compiling.py [--programs 2000] [--seed 0] [--one SEED] [-v]

A program is Python text: a function, the state around it, and a schedule of calls and of changes to that state. It is made
twice, once with `compile` and once without, and after every line results, gradients and all that the program holds are
compared. What a program is made of is listed in ingredients.py; `--one` shows one program, and the least of it that fails.
"""

from __future__ import annotations

import argparse
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
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from textwrap import indent
from typing import Any

import numpy as np
from ingredients import ARITHMETIC, DATA, FORMS, IMPORTS, PARTS, RESULTS, Part

import chainrule as cr
from chainrule.autograd.optional.progress import followed

FILE = "<program>"
Compile = Callable[[Callable[..., Any]], Any]
RARE = ("0.0", "-0.0", "float('nan')", "float('inf')", "1e200", "-3.0")

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

    @property
    def source(self) -> str:
        parts = self.parts
        named = dict.fromkeys(name for part in parts for name in part.given)
        parameters = sorted(named, key=lambda name: (name != "x", "=" in name))
        result = next((part.result for part in parts if part.result), "y")
        returned = ", ".join([result, *[part.beside for part in parts if part.beside]])
        body = lines_of("y = x", *[part.f for part in parts], f"return {returned}")
        changes = {change_name(part.name, i): text for part in parts for i, text in enumerate(part.changes)}
        names = ", ".join(["f", "g", *changes])
        inside = lines_of(
            *[part.around for part in parts],
            f"def g({', '.join(parameters)}):\n{indented(body)}",
            next((part.form for part in parts if part.form), "f = compiled(g)"),
            *[f"def {name}(v):\n{indented(text)}" for name, text in changes.items()],
            f"return {names}",
        )
        return lines_of(IMPORTS, *[part.top for part in parts], f"def make():\n{indented(inside)}", f"{names} = make()")

    @property
    def schedule(self) -> list[str]:
        defaults = {name.partition("=")[0]: "=" in name for part in self.parts for name in part.given}
        order = sorted(defaults, key=lambda name: (name != "x", defaults[name]))
        lines = []
        for step in self.steps:
            given = [f"{k}={step.given[k]}" if defaults[k] else step.given[k] for k in order if k in step.given]
            lines.append(
                f"{change_name(step.part, step.change)}({step.value})" if step.part else f"f({', '.join(given)})"
            )
        return lines


def lines_of(*texts: str) -> str:
    return "\n".join([text for text in texts if text]) + "\n"


def indented(text: str) -> str:
    return indent(text, "    ")


def change_name(part: str, i: int) -> str:
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
    kind = rng.choice(list(DATA[rank]))
    chosen.append(Part(f"x: {kind}", given={"x": (DATA[rank][kind],)}))
    if rng.random() < 0.7:
        result = rng.choice(RESULTS)
        chosen.append(Part(f"result: {result}", result=result))
    if rng.random() < 0.3:
        form = rng.choice(list(FORMS))
        chosen.append(Part(f"form: {form}", form=FORMS[form]))
    parts = tuple(
        replace(part, **{key: filled(getattr(part, key), rng) for key in ("f", "top", "around", "result")})
        for part in chosen
    )
    return Program(parts, tuple(steps_of(parts, rank, rng)))


def steps_of(parts: Sequence[Part], rank: str, rng: random.Random) -> Iterator[Step]:
    """Calls, with other data each time, and between them changes."""
    changes = [(part.name, i) for part in parts for i in range(len(part.changes))]
    given = {name: texts for part in parts for name, texts in part.given.items()}
    for call in range(rng.randint(5, 12)):
        rows = 6 if rng.random() < 0.1 else 4
        if rng.random() < 0.05:
            given["x"] = (rng.choice(list(DATA[rank].values())),)
        if changes and call > 1 and rng.random() < 0.5:  # not at once: two calls show whether anything stays compiled
            part, i = rng.choice(changes)
            yield Step(part, i, round(rng.uniform(0.5, 2.0), 3))
        yield Step(
            given={
                name.partition("=")[0]: filled(rng.choice(texts), rng, rows)
                for name, texts in given.items()
                if "=" not in name or rng.random() < 0.7
            }
        )


# Worlds: a program that runs.


@dataclass(frozen=True)
class Ran:
    """What became of a call: its arguments, and the result or the error; then of going back from the result."""

    given: Any
    result: Any
    error: Exception | None
    between: Any = None  # the gradient of the last node that was returned by the first
    back: Exception | None = None


class World:
    """What a program defines, run with a `compile`; and what is the process's own, as this program left it."""

    def __init__(self, program: Program, make: Compile) -> None:
        self.make, self.made = make, []
        self.process: Any = (random.Random(0).getstate(), np.random.RandomState(0).get_state(), dict(os.environ))
        self.results: list[Any] = []  # all are kept: later calls must not change them
        self.names: dict[str, Any] = {"__name__": "program", "compiled": self.compiled}
        source = program.source
        linecache.cache[FILE] = (len(source), None, source.splitlines(keepends=True), FILE)  # for tracebacks
        with self.entered():
            exec(compile(source, FILE, "exec", dont_inherit=True), self.names)
        self.f = self.names["f"]

    def compiled(self, f: Callable[..., Any]) -> Any:
        self.made.append(self.make(f))
        return self.made[-1]

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside, random numbers and the environment are this world's."""
        outer = process_state()
        set_process_state(self.process)
        try:
            yield
        finally:
            self.process = process_state()
            set_process_state(outer)

    def run(self, line: str) -> Ran:
        with self.entered():
            if not line.startswith("f("):
                return Ran(None, *attempted(exec, line, self.names))
            given = eval(line, {**self.names, "f": lambda *args, **kwargs: (args, kwargs)})
            result, error = attempted(self.f, *given[0], **given[1])
            self.results.append(result)
            nodes = list(nodes_in(result))
            between = attempted(cr.gradients, nodes[-1], nodes[0]) if len(nodes) > 1 else None
            _, back = attempted(go_back, nodes) if nodes else (None, None)
            return Ran(given, result, error, between, back)


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


def process_state() -> Any:
    return random.getstate(), np.random.get_state(), dict(os.environ)


def set_process_state(state: Any) -> None:
    random.setstate(state[0])
    np.random.set_state(state[1])
    if os.environ != state[2]:
        os.environ.clear()
        os.environ.update(state[2])


def attempted(f: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[Any, Exception | None]:
    try:
        return f(*args, **kwargs), None
    except Exception as error:
        return None, error


def nodes_in(result: Any) -> Iterator[cr.Node]:
    if isinstance(result, cr.Node):
        yield result
    elif isinstance(result, tuple | list):
        for part in result:
            yield from nodes_in(part)
    elif isinstance(result, dict):
        yield from nodes_in(list(result.values()))
    elif hasattr(result, "__dataclass_fields__"):
        yield from nodes_in(list(vars(result).values()))


def go_back(nodes: Sequence[cr.Node]) -> None:
    """Gradients of a number made of all nodes, with another cotangent for each element."""
    total: Any = sum((cr.sum(node * (node + float(i))) for i, node in enumerate(nodes, 1)), 0.0)
    total.backward()


# Two worlds side by side.


NAMES = (str, int)
NO_IDENTITY = (str, int, bytes, tuple, frozenset, types.MethodType)  # that counts


class Comparison:
    """A walk over two worlds at once, to the first place at which they differ."""

    def __init__(self, tolerance: float, last: bool = False) -> None:
        self.tolerance, self.last = tolerance, last
        self.twins: dict[int, Any] = {}  # of each object of one world, by identity, its twin in the other

    def difference(self, path: str, a: Any, b: Any) -> str | None:
        if a is b:
            return None
        while type(a).__qualname__ != type(b).__qualname__ and hasattr(b, "__wrapped__"):
            b = b.__wrapped__  # compiled, it is what was compiled
        if type(a).__qualname__ != type(b).__qualname__:
            return f"{path}: {shown(a)}, compiled {shown(b)}"
        if isinstance(a, float | np.generic | np.ndarray):
            same = self.agree(np.asarray(a), np.asarray(b))
            if not same or not isinstance(a, np.ndarray):
                return None if same else f"{path}: {shown(a)}, compiled {shown(b)}"
        if not isinstance(a, NO_IDENTITY):
            if id(a) in self.twins or id(b) in self.twins:
                met = self.twins.get(id(a)) is b and self.twins.get(id(b)) is a
                return None if met else f"{path}: is the same object as elsewhere in one of the two alone"
            self.twins |= {id(a): b, id(b): a}
        (head, parts), (other, others) = self.opened(a), self.opened(b)
        if head != other or parts.keys() != others.keys():
            return f"{path}: {shown(a)}, compiled {shown(b)}"
        found = (self.difference(f"{path}{key}", x, others[key]) for key, x in parts.items())
        return next(filter(None, found), None)

    def agree(self, a: Any, b: Any) -> bool:
        """Whether numbers are of one kind, and equal but for rounding."""
        if a.dtype != b.dtype or a.shape != b.shape:
            return False
        if a.dtype.kind != "f" or not a.size:
            return bool(np.array_equal(a, b))
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return False
        scale = max(1.0, float(np.max(np.abs(a), where=finite, initial=0.0)))
        return bool(np.all(np.abs(a[finite] / scale - b[finite] / scale) <= self.tolerance))

    def opened(self, x: Any) -> tuple[Any, dict[str, Any]]:
        """What an object is, to be compared at once, and what it holds, to be compared part by part."""
        if isinstance(x, np.ndarray):
            return x.flags.writeable, {}
        if isinstance(x, cr.Node):  # `.data` would count as handing it out
            return x.name, {".data": x._raw, ".grad": x.grad}
        if isinstance(x, dict | collections.ChainMap | types.MappingProxyType):
            return len(x), {f"[{k!r}]": v for k, v in x.items() if isinstance(k, NAMES)} | {
                f".item {i}": (k, v) for i, (k, v) in enumerate(x.items()) if not isinstance(k, NAMES)
            }
        if isinstance(x, set | frozenset):
            return len(x), numbered(sorted(x, key=repr))
        if isinstance(x, list | tuple | collections.deque):
            return getattr(x, "maxlen", None), numbered(x)
        if isinstance(x, random.Random):
            return x.getstate(), {}
        if isinstance(x, np.random.Generator):
            return repr(x.bit_generator.state), {}
        if isinstance(x, cr.nn.Optimizer):  # which has scratch arrays too
            return None, {".state": x.state_dict()}
        if isinstance(x, contextvars.ContextVar):
            return x.name, {".get()": x.get(None)}
        if isinstance(x, types.FunctionType):
            cells = {
                f".{name}": cell_of(cell)
                for name, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=True)
            }
            code = (x.__name__, x.__code__.co_code)
            return code, cells | {".defaults": x.__defaults__, ".kwdefaults": x.__kwdefaults__, ".vars": vars(x)}
        if isinstance(x, staticmethod | classmethod):
            return None, {".func": x.__func__}
        if isinstance(x, types.MethodType):
            return None, {".self": x.__self__, ".func": x.__func__}
        if isinstance(x, functools.partial):
            return None, {".func": x.func, ".args": x.args, ".keywords": x.keywords}
        if isinstance(x, property):
            return None, {".fget": x.fget}
        if isinstance(x, functools._lru_cache_wrapper):
            return x.cache_info(), {".f": x.__wrapped__}
        if isinstance(x, Iterator):  # looked into at the end, which uses it up
            return None, numbered(list(itertools.islice(x, 5))) if self.last else {}
        if isinstance(x, BaseException):
            return None, {}
        if isinstance(x, type):
            return x.__qualname__, {f".{k}": v for k, v in vars(x).items() if not k.startswith("__") or callable(v)}
        if type(x).__module__ in ("builtins", "array", "enum"):
            return repr(x), {}
        slots = [name for kind in type(x).__mro__ for name in getattr(kind, "__slots__", ()) if hasattr(x, name)]
        return None, {f".{name}": getattr(x, name) for name in slots} | {
            f".{k}": v for k, v in getattr(x, "__dict__", {}).items()
        }


def numbered(xs: Sequence[Any]) -> dict[str, Any]:
    return {f"[{i}]": x for i, x in enumerate(xs)}


def cell_of(cell: types.CellType) -> Any:
    return attempted(lambda: cell.cell_contents)[0]


def shown(x: Any) -> str:
    kind = f" ({type(x).__name__}{f' of {x.dtype}' if isinstance(x, np.ndarray) else ''})"
    return " ".join(repr(x).split())[:100] + kind


# What becomes of a program.

KINDS = SAME, LEFT, SILENT, ERROR = "same", "refused or uncompiled", "silent", "error"


@dataclass
class Outcome:
    """What became of a program, where it first differed, and how many of its calls ran compiled code."""

    kind: str
    what: str = ""
    calls: int = 0
    compiled: int = 0
    warned: int = 0


def outcome(program: Program, world: str = "compiled") -> Outcome:
    with warnings.catch_warnings(record=True) as said, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        eager, fast = WORLDS["eager"](program), WORLDS[world](program)
        kind, what = compared(program, eager, fast)
    calls = len(fast.results)
    compiled = compiled_calls(fast.made, calls)
    if kind == SAME and not compiled:
        kind = LEFT
    return Outcome(kind, what, calls, compiled, sum("compile" in str(warning.message) for warning in said))


def compared(program: Program, eager: World, fast: World) -> tuple[str, str]:
    """How the program went on, and where the worlds first differ."""
    lines = program.schedule
    tolerance = 1e-4 if "float32" in program.source + "".join(lines) else 1e-11
    for i, line in enumerate(lines):
        a, b = eager.run(line), fast.run(line)
        if (wrong := error_of(a.error, b.error)) or (wrong := error_of(a.back, b.back)):
            return wrong[0], f"{line}: {wrong[1]}"
        if a.back is not None:  # what is wrong with gradients is said, and no more is to be compared
            return SAME, ""
        same = Comparison(tolerance, last=i == len(lines) - 1)
        found = (
            same.difference("result", a.result, b.result)
            or same.difference("gradient of the last result by the first", a.between, b.between)
            or same.difference("arguments", a.given, b.given)
            or same.difference("", state(eager), state(fast))
        )
        if found:
            return SILENT, f"{line}: {found}"
    return SAME, ""


def state(world: World) -> dict[str, Any]:
    """All that a program holds, and what the process does."""
    names = {name: x for name, x in world.names.items() if name not in ("compiled", "__builtins__")}
    return {
        "names": names,
        "earlier results": world.results,
        "random": hash(world.process[0]),
        "np.random": world.process[1],
        "environment": world.process[2],
    }


def error_of(a: Exception | None, b: Exception | None) -> tuple[str, str] | None:
    """What to call it where one of the worlds raises an error, or the two raise others."""
    if b is not None and type(a) is not type(b):
        refused = isinstance(b, TypeError) and "compile" in str(b)
        return LEFT if refused else ERROR, f"compiled, {type(b).__name__}: {b}"
    if a is not None and b is None:
        return SILENT, f"{type(a).__name__}: {a}; compiled, none"
    return None


def compiled_calls(made: Sequence[Any], calls: int) -> int:
    """How many calls ran compiled code; where that is not counted, all where there is such code."""
    if any(hasattr(f, "compiled_calls") for f in made):
        return max(f.compiled_calls for f in made)
    return calls if any(attempted(getattr, f, "source")[0] is not None for f in made) else 0


# The least of a program, and the report.


def least(program: Program, world: str) -> Program:
    """The program without whatever can be left out: the outcome stays."""
    kind = outcome(program, world).kind
    smaller: Program | None = program
    while smaller is not None:
        program = smaller
        smaller = next((other for other in reductions(program) if becomes(other, world) == kind), None)
    return program


def becomes(program: Program, world: str) -> str:
    try:
        return outcome(program, world).kind
    except Exception:  # what is left is no program
        return ""


def reductions(program: Program) -> Iterator[Program]:
    """The program without one of its parts, or without a line of its schedule."""
    parts, steps = program.parts, program.steps
    for part in parts:
        if "x" not in part.given:
            yield Program(tuple(p for p in parts if p is not part), tuple(s for s in steps if s.part != part.name))
    for i in reversed(range(len(steps))):
        yield Program(parts, steps[:i] + steps[i + 1 :])


def text_of(program: Program, world: str) -> str:
    found = outcome(program, world)
    return "\n".join([program.source, *program.schedule, "", f"# {found.kind} {found.what}"])


def table_of(counts: Mapping[str, collections.Counter[str]]) -> str:
    rows = sorted(counts.items(), key=lambda item: (-item[1][SILENT] - item[1][ERROR], item[0]))
    lines = [f"{'ingredient':<70}" + "".join(f"{kind:>{len(kind) + 3}}" for kind in KINDS)]
    return "\n".join(
        lines + [f"{name:<70}" + "".join(f"{count[kind]:>{len(kind) + 3}}" for kind in KINDS) for name, count in rows]
    )


def report(programs: int, seed: int, world: str, verbose: bool) -> bool:
    """Run them all, print what became of them, and say whether none differs silently."""
    start = time.perf_counter()
    counts: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    found: dict[int, Outcome] = {}
    for i in followed(range(seed, seed + programs), True, "programs", "programs"):
        program = program_of(i)
        found[i] = outcome(program, world)
        if found[i].kind in (SILENT, ERROR):  # counts for those of its parts alone that it takes
            program = least(program, world)
        for part in program.parts:
            counts[part.name][found[i].kind] += 1
        found[i].what = f"{', '.join(part.name for part in program.parts)}: {outcome(program, world).what}"
    print(table_of(counts))
    for i, one in found.items():
        if one.kind in (SILENT, ERROR) or (verbose and one.what):
            print(f"{i:>6}  {one.kind}: {one.what[:300]}")
    kinds = collections.Counter(one.kind for one in found.values())
    calls, compiled = sum(one.calls for one in found.values()), sum(one.compiled for one in found.values())
    print(
        f"{programs} programs: {', '.join(f'{kinds[kind]} {kind}' for kind in KINDS)}. "
        f"{sum(one.compiled > 0 for one in found.values())} ran compiled code, in {compiled / max(calls, 1):.0%} of all {calls} calls; "
        f"{sum(one.warned > 1 for one in found.values())} warned more than once. {time.perf_counter() - start:.0f} s"
    )
    return not kinds[SILENT]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--programs", type=int, default=2000, help="how many")
    parser.add_argument("--seed", type=int, default=0, help="of the first")
    parser.add_argument("--one", type=int, metavar="SEED", help="show one program, and the least of it that fails")
    parser.add_argument("--world", choices=WORLDS, default="compiled", help="what to compare with the eager one")
    parser.add_argument("-v", action="store_true", help="list what was refused or not compiled too")
    options = parser.parse_args()
    if options.one is not None:
        program = program_of(options.one)
        print(text_of(program, options.world))
        if outcome(program, options.world).kind in (SILENT, ERROR):
            print("\n\n# The least of it:", text_of(least(program, options.world), options.world), sep="\n")
    elif not report(options.programs, options.seed, options.world, options.v):
        sys.exit(1)


if __name__ == "__main__":
    main()
