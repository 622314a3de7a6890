"""The random programs of benchmarks/compiling.py: a compiler that does nothing is right in all, one that freezes is found out."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def fuzzer() -> Any:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("compiling")
    finally:
        sys.path.remove(folder)


def test_two_eager_runs_never_differ(fuzzer: Any) -> None:
    for seed in range(300):
        assert fuzzer.outcome(fuzzer.program_of(seed), "eager").how == "", seed


def test_state_that_is_frozen_is_found_out(fuzzer: Any) -> None:
    programs = [fuzzer.program_of(seed) for seed in range(60)]
    changed = [program for program in programs if any(step.part for step in program.steps)]
    found = [fuzzer.outcome(program, "frozen").kind == fuzzer.SILENT for program in changed]
    assert sum(found) > 0.8 * len(found) > 20  # the others do not return what the state enters
