"""Checkers at points that nobody chose: every row of the table and a hundred formulas, right and with faults in their rules.

python benchmarks/checkers/campaign.py --points 1000 --seed 0 [--only NAME] [--jobs 2] [--peers] [--faults 8] [--write docs/checking.md]

At each point the right rules are given to `check` and `gradcheck`, then eight faults, each in one rule of the graph. What
is right mpmath says, of the forward alone. A fault counts if it changes the gradient by more than a thousandth of itself,
and by more than ten of the error bars that `gradcheck` gives of the right function. What fails is listed as a program of
one line, to be run with PYTHONPATH=benchmarks/checkers:tests after `from points import *`.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from exact import NoTruth, Truth, truths
from faults import FAULTS, SPOILT, planted
from points import DTYPES, KINDS, MINIMA, Point, point_of
from tqdm import tqdm

import chainrule as cr
from chainrule.autograd.graph import ancestry

CALLS = ("check", "gradcheck")
TRIES = 40  # of drawing a point
PLACES = 8  # rules that are tried for a fault
SEEN, BARS = 1e-3, 10.0  # a fault changes the gradient by so much of itself, and by so many error bars
RIGHT, CONVENTION = "right", "right by convention, where there is no derivative"
INEXACT, NO_NUMBER = "the rule itself is inexact", "the rule gives no number"
RULES_ARE_RIGHT = (RIGHT, CONVENTION)
ROUNDED = 64.0  # so many rounding units of the largest element count for nothing in the others
EPS = float(np.finfo(float).eps)
Arrays = list[Any]


@dataclass(frozen=True)
class Said:
    """What a checker said of a function at a point."""

    accepted: bool
    noisy: bool = False
    finite: bool = True  # whether the rules gave numbers in all rows that it accepted
    worst: str = ""
    blamed: frozenset[tuple[str, int | None]] = frozenset()
    seconds: float = 0.0


@dataclass(frozen=True)
class Bar:
    """A numeric derivative beside the true one."""

    value: float
    error: float
    truth: float
    where: str
    program: str

    @property
    def true(self) -> bool:
        return abs(self.value - self.truth) <= self.error


@dataclass(frozen=True)
class Tried:
    """A fault at a point, and what was said of it."""

    fault: str
    program: dict[str, str]
    said: dict[str, Said]
    culprit: tuple[str, int]
    told: bool  # whether the numeric derivatives beside the wrong rule are near enough to the truth to tell


@dataclass
class Result:
    """All that was found at one point."""

    point: Point
    state: str
    exactly: bool  # whether mpmath knows the truth
    said: dict[str, Said] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)
    faults: list[Tried] = field(default_factory=list)


# What the checkers say.


def asked(call: str, f: Callable[..., Any], nodes: Sequence[Any]) -> tuple[Said, Any]:
    start = time.perf_counter()
    try:
        report = cr.gradcheck(f, *nodes) if call == "gradcheck" else cr.check(f(*nodes))
    except Exception as error:  # whatever stops it
        return Said(False, worst=f"{type(error).__name__}: {error}", seconds=time.perf_counter() - start), None
    seconds = time.perf_counter() - start
    blamed = report.culprits if call == "gradcheck" else [row for row in report.wrong if row.node is not None]
    said = Said(
        bool(report),
        bool(report.by_verdict("too noisy")),
        not report or all(np.isfinite(row.autograd) for row in report),
        described(report),
        frozenset((row.operation, row.argument) for row in blamed),
        seconds,
    )
    return said, report


def described(report: Any) -> str:
    row = report.worst_first()[0]
    of = (
        f"{row.operation}, argument {row.argument}"
        if row.node is not None
        else f"the whole by {row.input}{list(row.index)}"
    )
    return (
        f"{row.verdict}: {of}: autograd {row.autograd:.9g}, numeric {row.numeric:.9g} ± {row.error:.1e}, "
        f"tolerance {row.tolerance:.1e}{f' ({row.note})' if row.note else ''}"
    )


# What is true.


def gradient(f: Callable[..., Any], nodes: Sequence[Any]) -> Arrays | None:
    y = f(*nodes)
    if not isinstance(y, cr.Node) or not y.args or np.shape(y.data) or not np.isfinite(y.data):
        return None
    return [np.asarray(d, float) for d in cr.gradients(y, nodes)]


def everywhere(f: Callable[..., Any], *lists: Iterable[Any]) -> bool:
    return all(bool(np.all(f(*xs))) for xs in zip(*lists, strict=True))


def tolerated(dtype: str) -> float:
    """The share of itself that a gradient may be off for its rules to count as exact."""
    return max(1e-3, 2.0 * float(np.sqrt(np.finfo(dtype).eps)))


def state_of(point: Point, own: Arrays, wide: Arrays, true: Sequence[Truth], smooth: bool) -> str:
    if not everywhere(np.isfinite, own) or not everywhere(np.isfinite, wide):
        return NO_NUMBER
    rounded = float(np.finfo(point.dtype).eps)
    close = everywhere(lambda t, d: exact_enough(t, d, SEEN, ROUNDED * EPS), true, wide)
    close = close and everywhere(lambda t, d: exact_enough(t, d, tolerated(point.dtype), ROUNDED * rounded), true, own)
    if close or point.kind in MINIMA:
        return RIGHT
    return INEXACT if smooth else CONVENTION


def exact_enough(true: Truth, slopes: Any, share: float, rounded: float) -> Any:
    """Where a gradient is right up to a share of itself, or to rounding in the largest of its elements."""
    largest = np.max(np.maximum(np.abs(true.left), np.abs(true.right)), initial=0.0)
    return true.allows(slopes, share, rounded * largest)


def true_slopes(f: Callable[..., Any], nodes: Sequence[Any], wide: Arrays) -> tuple[Sequence[Truth], bool, bool]:
    """What mpmath says, whether the function is smooth there, and whether that is known at all."""
    try:
        return *truths(f, nodes), True
    except NoTruth:
        return [Truth(d, d) for d in wide], True, False


# One point.


def tried(point: Point, faults: int, rng: np.random.Generator) -> Result | None:
    """All that is found at a point; None where the function has no value or no derivative there."""
    f, nodes, at_float64 = point.f(), point.nodes(), point.nodes(wide=True)
    own, wide = gradient(f, nodes), gradient(f, at_float64)
    if own is None or wide is None:
        return None
    true, smooth, exactly = true_slopes(f, at_float64, wide)
    if not all(t.within(float(np.finfo(point.dtype).max)) for t in true):
        return None
    result = Result(point, state_of(point, own, wide, true, smooth), exactly)
    reports = {}
    for call in CALLS:
        result.said[call], reports[call] = asked(call, f, point.nodes())
    if (report := reports["gradcheck"]) is None:
        return result
    bars = errors_of(report, own)
    result.bars = list(bars_of(point, report, true)) if exactly else []
    if result.state == RIGHT:
        chosen = rng.choice(list(FAULTS), min(faults, len(FAULTS)), replace=False).tolist()
        result.faults = [t for fault in chosen if (t := faulty(point, fault, true, wide, bars, rng)) is not None]
    return result


def bars_of(point: Point, report: Any, true: Sequence[Truth]) -> Iterator[Bar]:
    """The numeric derivatives of the whole by each element, where there is a derivative."""
    for row in report:
        if row.node is None and row.input.isdigit() and np.isfinite(row.numeric):
            i = int(row.input)
            if np.all(true[i].smooth[row.index]):
                where = f"by argument {i}, element {list(row.index)}"
                yield Bar(row.numeric, row.error, float(true[i].left[row.index]), where, point.program("gradcheck"))


def errors_of(report: Any, bars: Arrays) -> Arrays:
    """The error bars of the whole by every element; none where the report has none."""
    found = [np.zeros_like(bar) for bar in bars]
    for row in report or ():
        if row.node is None and row.input.isdigit():
            found[int(row.input)][row.index] = row.error if np.isfinite(row.error) else np.inf
    return found


def faulty(
    point: Point, fault: str, true: Sequence[Truth], wide: Arrays, bars: Arrays, rng: np.random.Generator
) -> Tried | None:
    """The fault in some rule of the graph where it is one that can be seen, None if it is in none of those tried."""
    f = point.f()
    places = places_of(f(*point.nodes()))
    for k in rng.permutation(len(places))[:PLACES]:
        name, which, place = places[k]
        wrong = planted(f, name, which, place, fault)
        try:
            changed = gradient(wrong, point.nodes(wide=True))
        except Exception:
            continue
        if changed is not None and any(map(shows, changed, wide, true, bars)):
            around = f"planted({{}}, {name!r}, {which}, {place}, {fault!r})"
            found = {call: asked(call, wrong, point.nodes()) for call in CALLS}
            said = {call: found[call][0] for call in CALLS}
            told = any(map(shows, changed, wide, true, map(np.maximum, bars, errors_of(found["gradcheck"][1], bars))))
            programs = {call: point.program(call, around) for call in CALLS}
            return Tried(fault, programs, said, (name + SPOILT, place), told)
    return None


def places_of(y: Any) -> list[tuple[str, int, int]]:
    """Every rule of a graph: its operation, which of those of this name it is, the argument."""
    counts: Counter[str] = Counter()
    found = []
    for node in ancestry(y)[::-1]:
        if node.args:
            found += [
                (node.op.name, counts[node.op.name], i) for i, x in enumerate(node.args) if isinstance(x, cr.Node)
            ]
            counts[node.op.name] += 1
    return found


def shows(wrong: Any, right: Any, true: Truth, bar: Any) -> bool:
    """Whether a gradient is wrong in some element, by a share of itself and by some error bars."""
    low, high = np.minimum(true.left, true.right), np.maximum(true.left, true.right)
    off = np.maximum(np.maximum(low - wrong, wrong - high), 0.0)
    size = np.maximum(np.abs(low), np.abs(high))
    seen = (off > SEEN * size) & (off > BARS * bar) & (np.abs(wrong - right) > SEEN * size)
    return bool(np.any(seen & np.isfinite(bar)))


def one(task: tuple[int, int], only: str | None, faults: int) -> Result | None:
    warnings.simplefilter("ignore")
    rng = np.random.default_rng([*task, 1])
    found: Result | None = point_of(*task, only, TRIES, lambda point: tried(point, faults, rng))
    return found


def over(work: Callable[[tuple[int, int]], Any], n: int, seed: int, jobs: int, what: str) -> list[Any]:
    """What the work gives at each of n points, in order, whatever the number of processes; without the points that are none."""
    tasks = [(seed, i) for i in range(n)]
    if jobs == 1:
        found = list(tqdm(map(work, tasks), total=n, desc=what, leave=False))
    else:
        with multiprocessing.get_context("spawn").Pool(jobs) as pool:
            found = list(tqdm(pool.imap(work, tasks, chunksize=4), total=n, desc=what, leave=False))
    return [result for result in found if result is not None]


# Tables.

Table = list[list[str]]


def markdown(table: Table) -> str:
    heading, *lines = table
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, rule, *lines))


def share(k: int, n: int) -> str:
    return f"{k}/{n}" if n else "–"


def percent(k: int, n: int) -> str:
    return f"{100 * k / n:.1f} %" if n else "–"


def counted(title: str, results: Sequence[Result]) -> list[str]:
    right = [r for r in results if r.state in RULES_ARE_RIGHT]
    faults = [t for r in right for t in r.faults if t.told]
    cells = [title, str(len(right))]
    for call in CALLS:
        cells.append(share(sum(not r.said[call].accepted for r in right), len(right)))
    for call in CALLS:
        cells.append(share(sum(t.said[call].accepted for t in faults), len(faults)))
    for call in CALLS:
        cells.append(percent(sum(r.said[call].noisy for r in right), len(right)))
    others = [r for r in results if r.state not in RULES_ARE_RIGHT]
    cells.append(share(sum(not r.said[call].accepted for r in others for call in CALLS[1:]), len(others)))
    return cells


HEADINGS = [
    "points", "`check`: right called wrong", "`gradcheck`: right called wrong", "`check`: faults accepted", "`gradcheck`: faults accepted",
    "`check`: too noisy", "`gradcheck`: too noisy", "rules inexact: `gradcheck` says wrong",
]  # fmt: skip


def by_kind(results: Sequence[Result]) -> Table:
    lines = [counted(kind, [r for r in results if r.point.kind == kind]) for kind in KINDS]
    lines += [counted(dtype, [r for r in results if r.point.dtype == dtype]) for dtype in DTYPES]
    return [["kind of point", *HEADINGS], *lines, counted("**all**", results)]


def by_fault(results: Sequence[Result]) -> Table:
    lines = [
        [
            "fault",
            "planted",
            *[f"`{call}`: accepted" for call in CALLS],
            *[f"`{call}`: named, of those found" for call in CALLS],
        ]
    ]
    for fault in FAULTS:
        every = [t for r in results for t in r.faults if t.fault == fault]
        found, blurred = [t for t in every if t.told], [t for t in every if not t.told]
        cells = [fault, str(len(found))]
        cells += [str(sum(t.said[call].accepted for t in found)) for call in CALLS]
        for call in CALLS:
            rejected = [t for t in found if not t.said[call].accepted]
            cells.append(percent(sum(t.culprit in t.said[call].blamed for t in rejected), len(rejected)))
        lines.append([*cells, str(len(blurred)), *[str(sum(t.said[call].accepted for t in blurred)) for call in CALLS]])
    return lines


def bars_by_kind(results: Sequence[Result]) -> Table:
    lines = [["numeric derivatives in `gradcheck`", "elements", "bars that are true", "median bar, relative", "90 %"]]
    for kind in (*KINDS, "**all**"):
        bars = [b for r in results if r.point.kind == kind or kind == "**all**" for b in r.bars]
        relative = [b.error / abs(b.truth) for b in bars if b.truth] or [np.nan]
        true = sum(b.true for b in bars)
        cells = [
            f"{100 * true / len(bars):.2f} %" if bars else "–",
            f"{np.median(relative):.1e}",
            f"{np.quantile(relative, 0.9):.1e}",
        ]
        lines.append([kind, str(len(bars)), *cells])
    return lines


def listed(title: str, lines: Sequence[str], most: int) -> str:
    more = [f"  … and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([f"{title}: {len(lines)}", *lines[:most], *more])


def where(point: Point) -> str:
    return f"[{point.kind}, {point.dtype}, {point.subject}]"


def false_alarms(results: Sequence[Result], *states: str) -> list[str]:
    return [
        f"* {call} {where(r.point)} {r.said[call].worst}\n    {r.point.program(call)}"
        for call in CALLS
        for r in results
        if r.state in states and not r.said[call].accepted
    ]


def accepted(results: Sequence[Result]) -> list[str]:
    return [
        f"* {call} {where(r.point)} {t.fault} in {t.culprit[0]}, argument {t.culprit[1]}; {t.said[call].worst}\n    {t.program[call]}"
        for call in CALLS
        for r in results
        for t in r.faults
        if t.told and t.said[call].accepted
    ]


def nan_accepted(results: Sequence[Result]) -> list[str]:
    return [
        f"* {call} {where(r.point)} {r.said[call].worst}\n    {r.point.program(call)}"
        for call in CALLS
        for r in results
        if r.said[call].accepted and not r.said[call].finite
    ]


def untrue(results: Sequence[Result]) -> list[str]:
    return [
        f"* {where(r.point)} {b.where}: {b.value:.12g} ± {b.error:.1e}, true {b.truth:.12g}\n    {b.program}"
        for r in results
        for b in r.bars
        if not b.true
    ]


def failures(results: Sequence[Result]) -> Iterator[tuple[str, str, str]]:
    """What fails: its kind, what was said, and the program."""
    for r in results:
        at = f"{r.point.kind}, {r.point.dtype}"
        for call in CALLS:
            if r.state in RULES_ARE_RIGHT and not (said := r.said[call]).accepted:
                yield f"right called wrong: {call}: {at}: {of_what(said)}", said.worst, r.point.program(call)
        for t in r.faults:
            for call in CALLS:
                if t.told and (said := t.said[call]).accepted:
                    yield f"fault accepted: {call}: {at}: {of_what(said)}", f"{t.fault}; {said.worst}", t.program[call]


def of_what(said: Said) -> str:
    """A verdict, and of an operation or of the whole."""
    verdict, _, rest = said.worst.partition(": ")
    return f"{verdict}, {'the whole' if rest.startswith('the whole') else 'an operation'}" if rest else said.worst


def kinds_of_failure(results: Sequence[Result]) -> str:
    """What fails how often, the most common first, and the shortest program of each."""
    found: dict[str, list[tuple[str, str]]] = {}
    for kind, said, program in failures(results):
        found.setdefault(kind, []).append((said, program))
    lines = []
    for kind, cases in sorted(found.items(), key=lambda item: -len(item[1])):
        said, program = min(cases, key=lambda case: len(case[1]))
        lines.append(f"{len(cases):5} {kind}\n      {said}\n      {program}")
    return "\n".join(lines)


def of_rules(options: Any) -> Iterator[str]:
    start = time.perf_counter()
    work = partial(one, only=options.only, faults=options.faults)
    results = over(work, options.points, options.seed, options.jobs, "points")
    yield kinds_of_failure(results)
    for title, lines in (
        ("Right rules called wrong", false_alarms(results, *RULES_ARE_RIGHT)),
        ("Faults accepted", accepted(results)),
        ("Gradients that are no numbers, accepted", nan_accepted(results)),
        ("Numeric derivatives outside of their bars", untrue(results)),
        (f"{INEXACT.capitalize()}, and called wrong", false_alarms(results, INEXACT)),
        (f"{NO_NUMBER.capitalize()}, and so it is said", false_alarms(results, NO_NUMBER)),
    ):
        yield listed(title, lines, options.shown)
    yield from map(markdown, (by_kind(results), by_fault(results), bars_by_kind(results)))
    seconds = [sum(r.said[call].seconds for r in results) for call in CALLS]
    yield (
        f"{len(results)} points, seed {options.seed}, {sum(not r.exactly for r in results)} without a truth of mpmath's; "
        f"{time.perf_counter() - start:.0f} s in all, of right functions `check` {seconds[0]:.0f} s, `gradcheck` {seconds[1]:.0f} s."
    )


def one_slope(task: tuple[int, int]) -> Any:
    from derivatives import METHODS, compared_at  # with what only it needs

    return compared_at(*task, list(METHODS))


def of_slopes(options: Any) -> Iterator[str]:
    import derivatives

    results = over(one_slope, options.points, options.seed, options.jobs, "slopes")
    yield listed("Numeric derivatives outside of their bars", derivatives.untrue(results), options.shown)
    yield from map(markdown, (derivatives.summary(results), derivatives.by_kind(results), derivatives.at_a_kink()))


PARTS: dict[str, Callable[[Any], Iterator[str]]] = {"rules": of_rules, "slopes": of_slopes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=PARTS, help="one part: the rules, or the numeric derivatives by themselves")
    parser.add_argument("--only", metavar="NAME", help="a row of that name, and the formulas that hold the text")
    parser.add_argument("--faults", type=int, default=len(FAULTS), help="how many kinds of faults are tried at a point")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--shown", type=int, default=1000, help="how many failures of each kind are listed")
    options = parser.parse_args()
    for part in [options.part] if options.part else PARTS:
        for block in PARTS[part](options):
            print(block, end="\n\n", flush=True)


if __name__ == "__main__":
    main()
