"""What the campaign found, as tables and lists."""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np
from faults import FAULTS
from judging import CALLS, INEXACT, NO_NUMBER, RULES_ARE_RIGHT, Result, Said, Tried
from points import DTYPES, KINDS, Point

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


NAMES = {
    "check": "`cr.check`",
    "gradcheck": "`cr.gradcheck`",
    "PyTorch fast": "PyTorch, fast mode",
    "HIPS": "HIPS autograd",
}
ALL = "**all**"


def headings(callers: Sequence[str]) -> list[str]:
    return [NAMES.get(caller, caller) for caller in callers]


def by_kind(results: Sequence[Result]) -> Iterator[tuple[str, list[Result]]]:
    """The results in the lines of a table."""
    yield from ((kind, [r for r in results if r.point.kind == kind]) for kind in KINDS)
    yield from ((dtype, [r for r in results if r.point.dtype == dtype]) for dtype in DTYPES)
    yield ALL, list(results)


def wrongly_called(results: Sequence[Result], callers: Sequence[str]) -> Table:
    noisy = [f"{NAMES[call]}: too noisy" for call in CALLS]
    lines = [["right rules: called wrong", *headings(callers), *noisy]]
    for title, own in by_kind(results):
        right = [r for r in own if r.state in RULES_ARE_RIGHT]
        said = {caller: [r.said[caller] for r in right if r.said[caller].applies] for caller in callers}
        cells = [share(sum(not s.accepted for s in said[caller]), len(said[caller])) for caller in callers]
        lines.append([title, *cells, *[percent(sum(s.noisy for s in said[call]), len(right)) for call in CALLS]])
    seconds = [f"{sum(r.said[caller].seconds for r in results):.0f}" for caller in callers]
    return [*lines, ["seconds", *seconds, *[""] * len(noisy)]]


def passed(faults: Sequence[Tried], caller: str) -> str:
    """How many of the faults it let pass, of those that it takes."""
    ours = caller if caller in CALLS else "gradcheck"
    counted = [t.said[caller] for t in faults if t.said[caller].applies and t.counts(ours)]
    return share(sum(s.accepted for s in counted), len(counted))


def accepted_by_kind(results: Sequence[Result], callers: Sequence[str]) -> Table:
    lines = [["faults: accepted", *headings(callers)]]
    for title, own in by_kind(results):
        faults = [t for r in own for t in r.faults]
        lines.append([title, *[passed(faults, caller) for caller in callers]])
    return lines


def accepted_by_fault(results: Sequence[Result], callers: Sequence[str]) -> Table:
    named = [f"{NAMES[call]}: named, of those found" for call in CALLS]
    lines = [["faults: accepted", *headings(callers), *named]]
    for fault in (*FAULTS, ALL):
        faults = [t for r in results for t in r.faults if fault in (t.fault, ALL)]
        cells = [passed(faults, caller) for caller in callers]
        for call in CALLS:
            found = [t for t in faults if not t.said[call].accepted]
            cells.append(percent(sum(t.culprit in t.said[call].blamed for t in found), len(found)))
        lines.append([fault, *cells])
    return lines


def beaten(results: Sequence[Result], callers: Sequence[str]) -> Table:
    """Where one of our calls fails and another checker does not."""
    others = [caller for caller in callers if caller not in CALLS]
    lines = [["where chainrule fails and the other does not", *headings(others)]]
    right = [r.said for r in results if r.state in RULES_ARE_RIGHT]
    wrong = [t.said for r in results for t in r.faults if t.counts("gradcheck")]
    for call in CALLS:
        alarms = [
            sum(not s[call].accepted and s[other].applies and s[other].accepted for s in right) for other in others
        ]
        missed = [sum(s[call].accepted and not s[other].accepted for s in wrong) for other in others]
        lines.append([f"{NAMES[call]}: right rules that only it calls wrong", *map(str, alarms)])
        lines.append([f"{NAMES[call]}: faults that it accepts, and the other does not", *map(str, missed)])
    return lines


def apart(results: Sequence[Result]) -> str:
    """The points that do not count, and why."""
    lines = []
    for state in (INEXACT, NO_NUMBER):
        own = [r for r in results if r.state == state]
        said = ", ".join(f"{NAMES[call]} says so at {sum(not r.said[call].accepted for r in own)}" for call in CALLS)
        lines.append(f"Apart: {len(own)} points at which {state}; {said}.")
    lines.append(f"Apart: {len(lost_in_rounding(results))} times a gradient that is lost in rounding is called right.")
    blurred = [t for r in results for t in r.faults if not t.counts("gradcheck")]
    lines.append(f"Apart: {len(blurred)} faults beside which {NAMES['gradcheck']} says that it is too noisy to tell.")
    return "\n".join(lines)


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
        if t.counts(call) and t.said[call].accepted
    ]


def lost_in_rounding(results: Sequence[Result]) -> list[str]:
    """Where the gradient of right rules is far from the truth, nearer than which the numeric one claims to be, and yet called right."""
    return [
        f"* {call} {where(r.point)} {r.said[call].worst}\n    {r.point.program(call)}"
        for call in CALLS
        for r in results
        if r.state == INEXACT and r.visible and r.said[call].accepted and not r.said[call].noisy
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
                if t.counts(call) and (said := t.said[call]).accepted:
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


# The page.


def versions() -> str:
    names = ("numpy", "torch", "jax", "autograd", "numdifftools", "scipy", "mpmath")
    return f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}, one thread."


def write(path: Path, text: str, start: str, end: str) -> None:
    """Put the text between the two marks in the page."""
    page = path.read_text(encoding="utf-8")
    marked = re.compile(f"{re.escape(start)}.*{re.escape(end)}", re.S)
    if not marked.search(page):
        raise SystemExit(f"{path}: expected the lines {start} and {end}")
    path.write_text(marked.sub(lambda _: f"{start}\n\n{text}\n\n{end}", page), encoding="utf-8")
