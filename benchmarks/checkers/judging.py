"""What the checkers say at one point: of the right rules, and of faults in one of them; and what is true there."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from case import Case
from exact import NoTruth, Truth, truths
from faults import FAULTS, SPOILT, planted
from points import MINIMA, Point

import chainrule as cr
from chainrule.autograd.graph import ancestry

CALLS = ("check", "gradcheck")
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
    applies: bool = True  # whether it takes such a function at all


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

    def counts(self, call: str) -> bool:
        """Whether to let it pass is a fault: not if nothing could be told, and so it was said."""
        return self.told or not self.said[call].noisy


@dataclass
class Result:
    """All that was found at one point."""

    point: Point
    state: str
    exactly: bool  # whether mpmath knows the truth
    visible: bool = False  # whether the gradient of the right rules is wrong by as much as a fault that counts
    said: dict[str, Said] = field(default_factory=dict)
    bars: list[Bar] = field(default_factory=list)
    faults: list[Tried] = field(default_factory=list)


# What the checkers say.


def asked(caller: str, point: Point, f: Callable[..., Any]) -> tuple[Said, Any]:
    """What it says of a function at a point, and its report if it is one of ours."""
    start = time.perf_counter()
    if caller not in CALLS:
        import peers  # with what only it needs

        outcome = peers.asked(caller, Case(point.subject, f, point.args))
        applies = outcome.verdict != peers.NOT_APPLICABLE
        return Said(outcome.verdict != peers.FAILED, applies=applies, seconds=time.perf_counter() - start), None
    nodes = point.nodes()
    try:
        report = cr.gradcheck(f, *nodes) if caller == "gradcheck" else cr.check(f(*nodes))
    except Exception as error:  # whatever stops it
        return Said(False, worst=f"{type(error).__name__}: {error}", seconds=time.perf_counter() - start), None
    seconds = time.perf_counter() - start
    blamed = report.culprits if caller == "gradcheck" else [row for row in report.wrong if row.node is not None]
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


def tried(point: Point, faults: int, callers: Sequence[str], rng: np.random.Generator) -> Result | None:
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
    for caller in callers:
        result.said[caller], reports[caller] = asked(caller, point, f)
    if (report := reports["gradcheck"]) is None:
        return result
    bars = errors_of(report, own)
    result.bars = list(bars_of(point, report, true)) if exactly else []
    result.visible = any(map(shows, own, [t.left for t in true], true, bars))
    if result.state == RIGHT:
        chosen = rng.choice(list(FAULTS), min(faults, len(FAULTS)), replace=False).tolist()
        made = (faulty(point, fault, true, wide, bars, callers, rng) for fault in chosen)
        result.faults = [t for t in made if t is not None]
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
    point: Point,
    fault: str,
    true: Sequence[Truth],
    wide: Arrays,
    bars: Arrays,
    callers: Sequence[str],
    rng: np.random.Generator,
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
            found = {caller: asked(caller, point, wrong) for caller in callers}
            said = {caller: found[caller][0] for caller in callers}
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
