"""What `campaign.py` does not show of checkers: mistakes by hand, deep networks, order 2, wiring, and a network as trained.

python benchmarks/checkers/run.py [--quick] [--only cases|network] [--write docs/checking.md]

The same functions for all contenders in one run. Every case that chainrule fails is listed by name.
"""

from __future__ import annotations

import os

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cases
import network
from cases import CORRECT, PLANTED, Group
from peers import CONTENDERS, FAILED, NOT_APPLICABLE, PASSED, Outcome, asked, prepared
from tables import Table, markdown, versions, write
from tqdm import tqdm

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


# As text.


def listed(title: str, names: Sequence[str]) -> str:
    return "\n".join([f"{title}: {len(names)}.", *([""] if names else []), *[f"* {name}" for name in names]])


def part_cases(quick: bool) -> Iterator[str]:
    tallies = all_cases(quick)
    yield markdown(table_of(tallies, PLANTED))
    yield markdown(table_of(tallies, CORRECT))
    yield listed("Cases in which chainrule is not right", [line for tally in tallies for line in tally.failures()])
    yield undecided(tallies)


def part_network(quick: bool) -> Iterator[str]:
    yield markdown(network.run(20.0 if quick else 90.0))


PARTS: dict[str, Callable[[bool], Iterator[str]]] = {
    "cases": part_cases,
    "network": part_network,
}


MARKS = "<!-- made by benchmarks/checkers/run.py -->", "<!-- end -->"


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
        write(options.write, "\n\n".join(blocks), *MARKS)
    print(f"{versions()} {time.perf_counter() - start:.0f} s in all.")


if __name__ == "__main__":
    main()
