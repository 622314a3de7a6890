"""Where functions are tried: seeded random points of every kind, each a program that can be run by itself.

A point is text, so what is printed of it is what was run: a function of nodes that gives one number, and the data of its
arguments in one of three dtypes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from faults import planted
from formulas import FORMULAS

import chainrule as cr

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from samples import QUESTIONS, SAMPLES

DTYPES = ("float64", "float32", "float16")
SHARES = (0.5, 0.3, 0.2)  # of the points
LARGEST = {"float64": 300.0, "float32": 36.0, "float16": 4.0}  # powers of ten that each holds
WEIGHTS = np.r_[-24:-7, 8:25] / 16  # of results that are more than one number; every dtype holds them
SURROUNDINGS = {"cr": cr, "np": np, "SAMPLES": SAMPLES, "planted": planted}  # of a program of one line
Args = list[Any]


class Subject(Protocol):
    """A function that is to be tried."""

    @property
    def name(self) -> str: ...
    @property
    def names(self) -> Sequence[str]: ...
    @property
    def text(self) -> str: ...
    @property
    def borders(self) -> Sequence[tuple[float, int]]: ...
    @property
    def gaps(self) -> Sequence[float]: ...
    @property
    def minima(self) -> Sequence[dict[str, Any]]: ...
    def drawn(self, rng: np.random.Generator) -> Args: ...


BORDERS: dict[str, Sequence[tuple[float, int]]] = {
    **dict.fromkeys(["sqrt", "log", "log2", "log10", "pow"], ((0.0, 1),)),
    **dict.fromkeys(["arcsin", "arccos", "arctanh"], ((1.0, -1), (-1.0, 1))),
    **dict.fromkeys(["reciprocal", "cbrt"], ((0.0, 1), (0.0, -1))),
    "log1p": [(-1.0, 1)],
    "arccosh": [(1.0, 1)],
    "tan": [(np.pi / 2, -1), (-np.pi / 2, 1)],
}
INWARD = {
    "arccosh": (1.0, 1.5),
    **dict.fromkeys(["arcsin", "arccos", "arctanh", "log1p"], (0.5, 1.5)),
}  # factors that stay inside


@dataclass(frozen=True)
class RowOfTable:
    """A row of the table, as one of its samples calls it."""

    row: str
    sample: int

    @property
    def name(self) -> str:
        return self.row

    @property
    def names(self) -> Sequence[str]:
        return [f"x{i}" for i in range(len(SAMPLES[self.row][self.sample].args))]

    @property
    def text(self) -> str:
        return f"SAMPLES[{self.row!r}][{self.sample}].f({', '.join(self.names)})"

    @property
    def borders(self) -> Sequence[tuple[float, int]]:
        return BORDERS.get(self.row, ())

    gaps: Sequence[float] = ()
    minima: Sequence[dict[str, Any]] = ()

    def drawn(self, rng: np.random.Generator) -> Args:
        low, high = INWARD.get(self.row, (0.5, 2.0))
        return [np.array(x) * rng.uniform(low, high, np.shape(x)) for x in SAMPLES[self.row][self.sample].args]


@dataclass(frozen=True)
class Point:
    """A function at a point: a program."""

    subject: str
    kind: str
    dtype: str
    function: str
    args: tuple[Any, ...]  # floats and arrays

    def f(self) -> Callable[..., Any]:
        found: Callable[..., Any] = eval(self.function, dict(SURROUNDINGS))
        return found

    def nodes(self, wide: bool = False) -> list[Any]:
        """Fresh variables of the data, or of the same data at float64."""
        return [cr.Value(x) if type(x) is float else cr.Tensor(np.array(x, float if wide else None)) for x in self.args]

    def program(self, call: str, around: str = "{}") -> str:
        """One line that runs `check` or `gradcheck` on it, of the function itself or of what is made around it."""
        function, args = around.format(self.function), [written(x) for x in self.args]
        if call == "gradcheck":
            return f"print(cr.gradcheck({function}, {', '.join(args)}))"
        if call == "derivative":
            return f"print(derivative({function}, {', '.join(args)}))"
        nodes = [f"cr.{'Value' if type(x) is float else 'Tensor'}({a})" for x, a in zip(self.args, args, strict=True)]
        return f"print(cr.check(({function})({', '.join(nodes)})))"


def written(x: Any) -> str:
    """Data as code, to the last bit."""
    if type(x) is float:
        return repr(x) if np.isfinite(x) else f"float('{x}')"
    x = np.asarray(x)
    return f"np.array({x.tolist()!r}{'' if x.dtype == float else f', np.{x.dtype}'})".replace("inf", "np.inf").replace(
        "nan", "np.nan"
    )


@cache
def subjects() -> tuple[Sequence[Any], dict[str, list[Any]]]:
    """The formulas, and of each row of the table all samples that have a slope to speak of."""
    rows: dict[str, list[Any]] = {}
    for name, samples in SAMPLES.items():
        if name in QUESTIONS:
            continue
        for i, sample in enumerate(samples):
            y = sample.f(*[cr.Value(x) if type(x) is float else cr.Tensor(np.array(x)) for x in sample.args])
            if isinstance(y, cr.Node) and y.args and all(np.size(x) for x in sample.args) and np.size(y.data):
                rows.setdefault(name, []).append(RowOfTable(name, i))
    return FORMULAS, rows


def beside(rng: np.random.Generator, near: float, far: float) -> float:
    """A distance, its exponent drawn evenly."""
    return float(10.0 ** rng.uniform(near, far))


def put(x: Any, value: Any, rng: np.random.Generator, share: float = 0.5) -> Any:
    """The array with a value in some places, in one at least."""
    x = np.array(x, dtype=float)
    places = rng.random(x.shape) < share
    places.reshape(-1)[rng.integers(x.size)] = True
    x[places] = np.broadcast_to(value, x.shape)[places]
    return x


# How the data of a kind is made from ordinary data; None where there is no such point.


def ordinary(subject: Subject, args: Args, dtype: str, rng: np.random.Generator) -> Args:
    return args


def at_border(subject: Subject, args: Args, dtype: str, rng: np.random.Generator) -> Args | None:
    if not subject.borders:
        return None
    border, side = subject.borders[int(rng.integers(len(subject.borders)))]
    return [put(args[0], border + side * beside(rng, -15, -3), rng), *args[1:]]


def tied(subject: Subject, args: Args, dtype: str, rng: np.random.Generator) -> Args | None:
    """Two or more equals, within an argument or of two arguments."""
    same = rng.choice(np.concatenate([np.ravel(x) for x in args]))
    many = [i for i, x in enumerate(args) if np.size(x) > 1]
    if not many and len(args) < 2:
        return None
    chosen = [int(rng.choice(many))] if many and rng.random() < 0.6 else range(len(args))
    return [put(put(x, same, rng, 0.6), same, rng, 0.6) if i in chosen else x for i, x in enumerate(args)]


def with_zeros(subject: Subject, args: Args, dtype: str, rng: np.random.Generator) -> Args:
    chosen = int(rng.integers(len(args)))
    return [put(x, 0.0, rng, rng.choice([0.2, 1.0])) if i == chosen else x for i, x in enumerate(args)]


def in_gap(subject: Subject, args: Args, dtype: str, rng: np.random.Generator) -> Args | None:
    if not subject.gaps:
        return None
    gap = float(rng.choice(subject.gaps))
    near = 0.0 if rng.random() < 0.2 else rng.choice([-1.0, 1.0]) * beside(rng, -15, -1)
    return [put(args[0], gap + near, rng), *args[1:]]


def of_any_size(subject: Subject, args: Args, dtype: str, rng: np.random.Generator) -> Args:
    """All, or one argument, of another size."""
    chosen = range(len(args)) if rng.random() < 0.5 else [int(rng.integers(len(args)))]
    reach = LARGEST[dtype] * float(rng.choice([0.1, 0.4, 1.0]))
    factor = beside(rng, -reach, reach)
    return [x * factor if i in chosen else x for i, x in enumerate(args)]


KINDS: dict[str, Callable[..., Args | None]] = {
    "ordinary": ordinary,
    "border of the domain": at_border,
    "ties": tied,
    "zeros": with_zeros,
    "exact minimum": ordinary,
    "near a minimum": ordinary,
    "removable singularity": in_gap,
    "1e±300": of_any_size,
}
MINIMA = ("exact minimum", "near a minimum")


def typed(args: Args, dtype: str, values: bool) -> tuple[Any, ...]:
    """In the dtype; single numbers as floats, if so wanted."""
    found = [np.asarray(x, dtype=dtype) for x in args]
    return tuple([float(x) if values and x.ndim == 0 and dtype == "float64" else x for x in found])


def computed(text: str, names: Sequence[str], args: Sequence[Any]) -> Any:
    f = eval(f"lambda {', '.join(names)}: {text}", dict(SURROUNDINGS))
    y = f(*[cr.Value(x) if type(x) is float else cr.Tensor(np.array(x)) for x in args])
    return y.data if isinstance(y, cr.Node) else y


def drawn(
    subject: Subject, kind: str, dtype: str, rng: np.random.Generator, values: bool | None = None
) -> Point | None:
    """A point of the kind, None where there is none. Single numbers are floats or arrays, by chance if not said which."""
    args = KINDS[kind](subject, subject.drawn(rng), dtype, rng)
    if args is None:
        return None
    values = bool(rng.random() < 0.5) if values is None else values
    if kind in MINIMA:
        return at_minimum(subject, kind, dtype, typed(args, dtype, values), rng)
    found = typed(args, dtype, values)
    y = computed(subject.text, subject.names, found)
    text = subject.text
    if np.shape(y):
        text = f"cr.sum(({text}) * {written(rng.choice(WEIGHTS, np.shape(y)).astype(np.float16))})"
    return pointed(subject, kind, dtype, text, found)


def pointed(subject: Subject, kind: str, dtype: str, text: str, args: tuple[Any, ...]) -> Point:
    return Point(subject.name, kind, dtype, f"lambda {', '.join(subject.names)}: {text}", args)


def at_minimum(subject: Subject, kind: str, dtype: str, args: tuple[Any, ...], rng: np.random.Generator) -> Point:
    """At, or a little beside, the solution of a least-squares fit to what the function gives; or where a loss is known to be least."""
    off = 0.0 if kind == "exact minimum" else beside(rng, -12, -3)
    text = subject.text
    if subject.minima and rng.random() < 0.7:
        least = subject.minima[int(rng.integers(len(subject.minima)))]
        args = typed([least.get(name, x) for name, x in zip(subject.names, args, strict=True)], dtype, False)
    else:
        target = np.asarray(computed(text, subject.names, args)).astype(dtype)
        difference = f"({text}) - {written(float(target) if any(type(x) is float for x in args) and not target.shape else target)}"
        text = f"({difference}) ** 2" if not target.shape else f"cr.sum(({difference}) ** 2)"
    moved = [np.asarray(x) * (1.0 + off * rng.normal(size=np.shape(x))) for x in args]
    return pointed(
        subject, kind, dtype, text, typed(moved, dtype, any(type(x) is float for x in args)) if off else args
    )


def suitable(kind: str, only: str | None) -> tuple[Sequence[Subject], dict[str, Sequence[Subject]]]:
    """The formulas, and the rows by name, that have points of a kind."""
    formulas, rows = subjects()
    has = {"border of the domain": lambda s: s.borders, "removable singularity": lambda s: s.gaps}.get(
        kind, lambda s: True
    )
    rows = {name: list(filter(has, found)) for name, found in rows.items() if only in (None, name)}
    return (
        [s for s in formulas if has(s) and (only is None or only in s.text)],
        {name: found for name, found in rows.items() if found},
    )


def point_of(seed: int, i: int, only: str | None, tries: int, suits: Callable[[Point], Any]) -> Any:
    """What suits of the points of this number: kind after kind, formulas and rows in turn, any dtype."""
    rng = np.random.default_rng([seed, i])
    kind = list(KINDS)[i % len(KINDS)]
    formulas, rows = suitable(kind, only)
    for _ in range(tries):
        found = formulas
        if rows and (not formulas or i // len(KINDS) % 2):
            found = list(rows.values())[int(rng.integers(len(rows)))]
        if not found:
            return None
        subject = found[int(rng.integers(len(found)))]
        dtype = str(rng.choice(DTYPES, p=SHARES))
        with np.errstate(all="ignore"):
            try:
                point = drawn(subject, kind, dtype, rng)
            except Exception:  # a function that takes no such data
                continue
            if point is not None and (result := suits(point)) is not None:
                return result
    return None
