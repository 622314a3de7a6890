"""The random programs of benchmarks/compiling.py find nothing where nothing is compiled, and find out what freezes state."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Any]:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("compiling")
    finally:
        sys.path.remove(folder)


def test_nothing_differs_where_nothing_is_compiled(fuzzer: Any) -> None:
    for seed in range(300):
        found = fuzzer.outcome(fuzzer.program_of(seed), "eager")
        assert not found.how, f"{seed}: {found.how}"


def test_frozen_state_is_found_out(fuzzer: Any) -> None:
    programs = [fuzzer.program_of(seed) for seed in range(100)]
    changed = [program for program in programs if any(step.part for step in program.steps)]
    found = [fuzzer.outcome(program, "frozen") for program in changed]
    silent = [one.where for one in found if one.kind == fuzzer.SILENT]
    assert len(silent) > 0.85 * len(found) > 40  # the others change arguments, or return what they do not use
    assert {"result", "state"} <= set(silent)  # what no result shows is found out by what is left behind
