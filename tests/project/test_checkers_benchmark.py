"""The cases and points of benchmarks/checkers are what docs/checking.md says of them; a fault of each kind is found and named."""

from __future__ import annotations

import doctest
import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import QUESTIONS

import chainrule as cr
from chainrule.autograd.primitive import table

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "checking.md"


@pytest.fixture(scope="module")
def cases() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks" / "checkers"))
    try:
        yield importlib.import_module("cases")
    finally:
        sys.path.remove(str(ROOT / "benchmarks" / "checkers"))


@pytest.fixture(scope="module")
def groups(cases: Any) -> Any:
    with np.errstate(all="ignore"):
        return list(cases.groups())


def test_there_are_as_many_as_promised(groups: Any) -> None:
    count = {kind: sum(len(group.cases) for group in groups if group.kind == kind) for kind in ("planted", "correct")}
    assert count["planted"] >= 150
    assert count["correct"] >= 220
    assert all(group.cases for group in groups)


def test_every_row_of_the_table_is_in_the_campaign(cases: Any) -> None:
    """But for those that answer a question."""
    formulas, rows = importlib.import_module("points").subjects()
    assert len(formulas) >= 100
    assert set(table) - set(rows) == QUESTIONS


def test_a_fault_of_each_kind_is_found_and_named(groups: Any) -> None:
    for group in groups:
        if group.kind == "planted" and not group.title.startswith("inside"):
            case = group.cases[-1]
            with np.errstate(all="ignore"):
                report = cr.check(case.f(*case.nodes()), order=case.order)
            blamed = {(row.operation, row.argument) for row in report.wrong if row.node is not None}
            assert blamed, f"{group.title}: {case.name}\n{report}"
            assert blamed <= case.culprits, f"{group.title}: {case.name}\n{report}"


def test_a_case_as_plain_arrays(groups: Any) -> None:
    """What the other libraries get: the value and both orders of gradient, without nodes."""
    case = next(case for group in groups if group.title == "order 2" for case in group.cases)
    x = np.array(case.args[0])
    assert np.array_equal(case.value(x), case.f(*case.nodes()).data)
    u, v, step = np.ones_like(x), np.linspace(-1.0, 1.0, x.size).reshape(x.shape), 1e-6
    (gradient,) = case.gradient(u, x)
    assert np.sum(gradient * v) == pytest.approx(
        np.sum(case.value(x + step * v) - case.value(x - step * v)) / (2 * step), rel=1e-6
    )
    _, second = case.second([v], u, x)
    change = case.gradient(u, x + step * v)[0] - case.gradient(u, x - step * v)[0]
    assert second == pytest.approx(change / (2 * step), rel=1e-6)


def test_the_example_of_the_page_runs() -> None:
    text = PAGE.read_text(encoding="utf-8")
    runner = doctest.DocTestRunner()
    runner.run(doctest.DocTestParser().get_doctest(text.split("```")[1], {}, PAGE.name, PAGE.name, 0))
    assert runner.summarize(verbose=False) == (0, 7)
    for name in ("campaign", "run"):
        assert f"python benchmarks/checkers/{name}.py" in text
        assert f"<!-- made by benchmarks/checkers/{name}.py -->" in text
    assert "| **all** |" in text
