"""The comparison of gradient checkers that docs/checking.md shows: what each finds, and what it calls wrong that is right.

python benchmarks/checkers/run.py [--quick] [--only cases|derivatives|network] [--write docs/checking.md]

Planted faults and correct code, the same functions for all contenders in one run; numeric derivatives beside mpmath at
50 digits; a network of 13,002 parameters. Every case that chainrule fails is listed by name.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import platform
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cases
import derivatives
import network
import numpy as np
from case import Case
from cases import CORRECT, PLANTED, Group
from peers import CONTENDERS, FAILED, NOT_APPLICABLE, PASSED, Outcome, asked, prepared
from tqdm import tqdm

import chainrule as cr

OURS = ("check", "gradcheck")
BOTH = "chainrule"
COLUMNS = {
    BOTH: "chainrule, both",
    "check": "`cr.check`",
    "gradcheck": "`cr.gradcheck`",
    "PyTorch": "PyTorch",
    "PyTorch fast": "PyTorch, fast mode",
    "JAX": "JAX",
    "HIPS": "HIPS autograd",
}
Table = list[list[str]]


@dataclass
class Tally:
    """What all contenders said of the cases of one group, and the seconds that each took."""

    group: Group
    outcomes: dict[str, list[Outcome]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def cell(self, contender: str) -> str:
        """Found or called wrong, of how many; of ours also how often the operation was named."""
        ran = [outcome for outcome in self.outcomes[contender] if outcome.verdict != NOT_APPLICABLE]
        if not ran:
            return "–"
        failed = sum(outcome.verdict == FAILED for outcome in ran)
        left = len(self.group.cases) - len(ran)
        return f"{failed}/{len(ran)}" + (f" ({left} n/a)" if left else "")

    def named(self) -> str:
        return f"{sum(outcome.named for outcome in self.outcomes[BOTH])}/{len(self.group.cases)}"

    def failures(self) -> Iterator[str]:
        """The cases that chainrule did not get right, and what it said."""
        planted = self.group.kind == PLANTED
        for i, case in enumerate(self.group.cases):
            both = self.outcomes[BOTH][i]
            wrong = PASSED if planted else FAILED
            if both.verdict == wrong or (planted and not both.named):
                how = "missed" if both.verdict == PASSED else "found, not named" if planted else "called wrong"
                yield f"{self.group.title}: {case.name}: {how}"


def both(of_check: Outcome, of_gradcheck: Outcome) -> Outcome:
    """What the two calls say together: wrong if either does."""
    verdicts = {of_check.verdict, of_gradcheck.verdict}
    verdict = next(v for v in (FAILED, PASSED, NOT_APPLICABLE) if v in verdicts)
    named, undecided = (of_check.named or of_gradcheck.named), (of_check.undecided or of_gradcheck.undecided)
    return Outcome(verdict, named, undecided)


def tallied(group: Group, progress: Any) -> Tally:
    tally = Tally(group)
    for name in CONTENDERS:
        start = time.process_time()
        tally.outcomes[name] = [advanced(progress, asked(name, case)) for case in group.cases]
        tally.seconds[name] = time.process_time() - start
    tally.outcomes[BOTH] = list(map(both, *[tally.outcomes[name] for name in OURS]))
    tally.seconds[BOTH] = sum(tally.seconds[name] for name in OURS)
    return tally


def advanced(progress: Any, outcome: Outcome) -> Outcome:
    progress.update()
    return outcome


def all_cases(quick: bool) -> list[Tally]:
    groups = list(cases.groups(quick))
    total = sum(len(group.cases) for group in groups) * len(CONTENDERS)
    with tqdm(total=total, desc="cases", leave=False) as progress:
        return [tallied(group, progress) for group in groups]


def table_of(tallies: Sequence[Tally], kind: str) -> Table:
    chosen = [tally for tally in tallies if tally.group.kind == kind]
    heading = ["planted faults: found" if kind == PLANTED else "correct code: called wrong", *COLUMNS.values()]
    lines = [[tally.group.title, *map(tally.cell, COLUMNS)] for tally in chosen]
    if kind == PLANTED:
        heading.insert(2, "operation named")
        for line, tally in zip(lines, chosen, strict=True):
            line.insert(2, tally.named())
    return [heading, *lines, totals(chosen, kind), seconds(chosen, kind)]


def totals(tallies: Sequence[Tally], kind: str) -> list[str]:
    cells = []
    for name in COLUMNS:
        ran = [o for tally in tallies for o in tally.outcomes[name] if o.verdict != NOT_APPLICABLE]
        cells.append(f"**{sum(o.verdict == FAILED for o in ran)}/{len(ran)}**")
    if kind == PLANTED:
        ours = [o.named for tally in tallies for o in tally.outcomes[BOTH]]
        cells.insert(1, f"**{sum(ours)}/{len(ours)}**")
    return ["**all**", *cells]


def seconds(tallies: Sequence[Tally], kind: str) -> list[str]:
    cells = [f"{sum(tally.seconds[name] for tally in tallies):.1f}" for name in COLUMNS]
    return ["CPU seconds", *([*cells[:1], "", *cells[1:]] if kind == PLANTED else cells)]


def undecided(tallies: Sequence[Tally]) -> str:
    correct = [o for tally in tallies if tally.group.kind == CORRECT for o in tally.outcomes[BOTH]]
    return f"Correct cases in which chainrule finds some derivative too noisy to tell: {sum(o.undecided for o in correct)} of {len(correct)}."


# The failures of others that are known.


def known() -> list[tuple[str, Case]]:
    hundred = np.random.default_rng(3).uniform(0.5, 2.0, 100)
    one_wrong = cases.plant_or_fail(Case("exp", cr.exp, (hundred,)), "exp", "1 % in one element")
    wave = cases.wave(1e-6, 1.0, 2.0)
    return [
        ("gradient twice too large, of a function of size 1e-6: is it found?", Case("", wave, (np.linspace(-1.4, 1.4, 10),), cases.BLAMED)),
        ("relu at 0: is it called wrong?", Case("", cr.relu, (np.zeros(3),))),
        ("sin in float32: is it called wrong?", Case("", cr.sin, (np.linspace(-3, 3, 10, dtype=np.float32),))),
        ("one element of 100 off by 1 %: is it found?", one_wrong),
    ]  # fmt: skip


def known_failures() -> Table:
    lines = [["known failures", *COLUMNS.values()]]
    for title, case in known():
        outcomes = {name: asked(name, case) for name in CONTENDERS}
        outcomes[BOTH] = both(*[outcomes[name] for name in OURS])
        lines.append([title, *["yes" if outcomes[name].verdict == FAILED else "no" for name in COLUMNS]])
    return lines


# As text.


def markdown(table: Table) -> str:
    heading, *lines = table
    rule = ["---", *["---:"] * (len(heading) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (heading, rule, *lines))


def listed(title: str, names: Sequence[str]) -> str:
    return "\n".join([f"{title}: {len(names)}.", *([""] if names else []), *[f"* {name}" for name in names]])


def part_cases(quick: bool) -> Iterator[str]:
    tallies = all_cases(quick)
    yield markdown(table_of(tallies, PLANTED))
    yield markdown(table_of(tallies, CORRECT))
    yield listed("Cases in which chainrule is not right", [line for tally in tallies for line in tally.failures()])
    yield undecided(tallies)
    yield markdown(known_failures())


def part_derivatives(quick: bool) -> Iterator[str]:
    results, spent = derivatives.run(10 if quick else 1)
    yield markdown(derivatives.summary(results, spent))
    yield markdown(derivatives.by_group(results))
    yield listed("Points at which chainrule's error estimate is not true", derivatives.outside(results))
    yield markdown(derivatives.at_a_kink())


def part_network(quick: bool) -> Iterator[str]:
    yield markdown(network.run(20.0 if quick else 90.0))


PARTS: dict[str, Callable[[bool], Iterator[str]]] = {
    "cases": part_cases,
    "derivatives": part_derivatives,
    "network": part_network,
}


def versions() -> str:
    names = ("numpy", "torch", "jax", "autograd", "numdifftools", "scipy")
    return f"Python {platform.python_version()}, {', '.join(f'{name} {version(name)}' for name in names)}, one thread."


START, END = "<!-- made by benchmarks/checkers/run.py -->", "<!-- end -->"


def write(path: Path, text: str) -> None:
    """Put the text between the two marks in the page."""
    page = path.read_text(encoding="utf-8")
    marked = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.S)
    if not marked.search(page):
        raise SystemExit(f"{path}: expected the lines {START} and {END}")
    path.write_text(marked.sub(lambda _: f"{START}\n\n{text}\n\n{END}", page), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every tenth case")
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page too")
    options = parser.parse_args()
    prepared()
    start = time.perf_counter()
    blocks = [versions()]
    for name in [options.only] if options.only else PARTS:
        for block in PARTS[name](options.quick):
            print(block, end="\n\n", flush=True)
            blocks.append(block)
    if options.write:
        write(options.write, "\n\n".join(blocks))
    print(f"{versions()} {time.perf_counter() - start:.0f} s in all.")


if __name__ == "__main__":
    main()
