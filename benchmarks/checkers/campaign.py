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
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tables
from faults import FAULTS
from judging import CALLS, INEXACT, NO_NUMBER, RULES_ARE_RIGHT, Result, tried
from points import point_of
from tables import listed, markdown, versions, write
from tqdm import tqdm

TRIES = 40  # of drawing a point
PEERS = ("PyTorch", "PyTorch fast", "JAX", "HIPS")
MARKS = "<!-- made by benchmarks/checkers/campaign.py -->", "<!-- end of the campaign -->"


def one(task: tuple[int, int], only: str | None, faults: int, callers: tuple[str, ...]) -> Result | None:
    if set(callers) - set(CALLS):
        import peers  # with what only it needs

        peers.prepared()
    rng = np.random.default_rng([*task, 1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: Result | None = point_of(*task, only, TRIES, lambda point: tried(point, faults, callers, rng))
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


def of_rules(options: Any) -> Iterator[str]:
    """What fails first, for who mends it; then the tables."""
    start = time.perf_counter()
    callers = (*CALLS, *(PEERS if options.peers else ()))
    work = partial(one, only=options.only, faults=options.faults, callers=callers)
    results = over(work, options.points, options.seed, options.jobs, "points")
    print(tables.kinds_of_failure(results), end="\n\n")
    for title, lines in (
        ("Right rules called wrong", tables.false_alarms(results, *RULES_ARE_RIGHT)),
        ("Faults accepted", tables.accepted(results)),
        ("Gradients that are no numbers, accepted", tables.nan_accepted(results)),
        ("Numeric derivatives outside of their bars", tables.untrue(results)),
        ("Gradients that are lost in rounding, called right", tables.lost_in_rounding(results)),
        (f"{INEXACT.capitalize()}, and called wrong", tables.false_alarms(results, INEXACT)),
        (f"{NO_NUMBER.capitalize()}, and so it is said", tables.false_alarms(results, NO_NUMBER)),
    ):
        print(listed(title, lines, options.shown), end="\n\n")
    unknown = sum(not r.exactly for r in results)
    yield f"{len(results)} points, seed {options.seed}; at {unknown} of them mpmath has no truth."
    yield markdown(tables.wrongly_called(results, callers))
    yield markdown(tables.accepted_by_kind(results, callers))
    yield markdown(tables.accepted_by_fault(results, callers))
    if options.peers:
        yield markdown(tables.beaten(results, callers))
    yield tables.apart(results)
    yield markdown(tables.bars_by_kind(results))
    print(f"{time.perf_counter() - start:.0f} s")


def one_slope(task: tuple[int, int]) -> Any:
    from derivatives import METHODS, compared_at

    return compared_at(*task, list(METHODS))


def of_slopes(options: Any) -> Iterator[str]:
    import derivatives

    results = over(one_slope, options.points, options.seed, options.jobs, "slopes")
    print(listed("Numeric derivatives outside of their bars", derivatives.untrue(results), options.shown), end="\n\n")
    yield markdown(derivatives.summary(results))
    yield markdown(derivatives.by_kind(results))
    yield markdown(derivatives.at_a_kink())


PARTS: dict[str, Callable[[Any], Iterator[str]]] = {"rules": of_rules, "slopes": of_slopes}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--part", choices=PARTS, help="one part: the rules, or the numeric derivatives by themselves")
    parser.add_argument("--only", metavar="NAME", help="a row of that name, and the formulas that hold the text")
    parser.add_argument("--faults", type=int, default=len(FAULTS), help="how many kinds of faults are tried at a point")
    parser.add_argument("--peers", action="store_true", help="the other checkers too")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--shown", type=int, default=1000, help="how many failures of each kind are listed")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables into this page too")
    options = parser.parse_args()
    blocks = [versions()]
    for part in [options.part] if options.part else PARTS:
        for block in PARTS[part](options):
            print(block, end="\n\n", flush=True)
            blocks.append(block)
    if options.write:
        write(options.write, "\n\n".join(blocks), *MARKS)


if __name__ == "__main__":
    main()
