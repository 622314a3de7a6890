"""The random programs of benchmarks/compiling.py find nothing where nothing is compiled, and find out what freezes state."""

from __future__ import annotations

import importlib
import random
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import chainrule as cr


@pytest.fixture(scope="module")
def fuzzer() -> Iterator[Any]:
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    try:
        yield importlib.import_module("compiling")
    finally:
        sys.path.remove(folder)


def test_nothing_differs_where_nothing_is_compiled(fuzzer: Any) -> None:
    for seed in range(60):
        found = fuzzer.outcome(fuzzer.program_of(seed), "eager")
        assert not found.how, f"{seed}: {found.how}"


def test_frozen_state_is_found_out(fuzzer: Any) -> None:
    programs = [fuzzer.program_of(seed) for seed in range(100)]
    changed = [program for program in programs if any(step.part for step in program.steps)]
    found = [fuzzer.outcome(program, "frozen") for program in changed]
    silent = [one.where for one in found if one.kind == fuzzer.SILENT]
    assert len(silent) > 0.85 * len(found) > 40  # the others change arguments, or return what they do not use
    assert {"result", "state"} <= set(silent)  # what no result shows is found out by what is left behind


def test_random_programs_return_and_leave_behind_what_they_would_have(fuzzer: Any) -> None:
    for seed in range(30):
        found = fuzzer.outcome(fuzzer.program_of(seed))
        assert not found.failed, f"{seed}: {found.how}"


@pytest.mark.slow
def test_many_random_programs(fuzzer: Any) -> None:
    for seed in range(10_000, 10_500):
        found = fuzzer.outcome(fuzzer.program_of(seed))
        assert not found.failed, f"{seed}: {found.how}"


# Programs that people wrote to see compile fail, one of a kind. Each is text that defines `f`, its arguments `args(k)` at the kth call,
# what may change before that, `change(k)`, and what is seen of the result, `obs(result)`.
TEXT = (Path(__file__).parent / "compiled_programs.txt").read_text(encoding="utf-8")
PROGRAMS = {name: body for name, _, body in (part.partition("\n") for part in re.split(r"^### ", TEXT, flags=re.M)[1:])}
IMPORTS = "import numpy as np, chainrule as cr, random, copy, types, functools, operator, weakref, math, dataclasses, typing, sys, decimal"


def shown(x: Any) -> Any:
    if isinstance(x, cr.Node):
        return f"{type(x).__name__}({x.data!r})"
    if isinstance(x, dict):
        return {key: shown(part) for key, part in x.items()}
    return [type(x).__name__, *map(shown, x)] if isinstance(x, list | tuple) else f"{type(x).__name__} {x!r}"


def outcomes(program: str, compiler: Callable[[Any], Any]) -> list[Any]:
    """What twelve calls give."""
    module = ModuleType("program")
    sys.modules["program"] = module
    names: dict[str, Any] = vars(module)
    names.update(compiled=compiler, N=12)
    exec(f"{IMPORTS}\n{program}", names)
    if "NOWRAP" not in names:
        names["f"] = compiler(names["f"])
    found = []
    for k in range(1, 13):
        try:
            if "change" in names:
                names["change"](k)
            result = names["call"](k) if "call" in names else names["f"](*names["args"](k))
            found.append(shown(names["obs"](result) if "obs" in names else result))
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    return found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_of_each_kind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "program", None)
    found = []
    for compiler in cr.compile, lambda f: f:
        random.seed(0)
        np.random.seed(0)
        with np.errstate(), np.printoptions():  # what a program sets ends here
            found.append(outcomes(PROGRAMS[name], compiler))
    assert found[0] == found[1]
