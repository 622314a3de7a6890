"""What is to be reached, at some hundred points of the campaign: no right rule is called wrong, no fault is accepted, bars are true.

PYTHONPATH=tests python -m pytest benchmarks/checkers/targets.py

Some of it is not: what fails is printed as programs of one line; how to run them, `campaign.py` says.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from samples import EACH, QUESTIONS

import chainrule as cr

pytest.importorskip("mpmath")
sys.path.insert(0, str(Path(__file__).parent))

import derivatives
import tables
from campaign import one
from exact import truths
from judging import CALLS, RULES_ARE_RIGHT, Result

POINTS, FAULTS = 48, 2  # at each seed
NOISY, TRUE, NARROW = 0.04, 0.999, 1e-7


@pytest.fixture(scope="module", params=range(4))
def results(request: pytest.FixtureRequest) -> list[Result]:
    work = partial(one, only=None, faults=FAULTS, callers=CALLS)
    found = [work((100 + request.param, i)) for i in range(POINTS)]
    return [result for result in found if result is not None]


def test_no_right_rule_is_called_wrong(results: list[Result]) -> None:
    wrong = tables.false_alarms(results, *RULES_ARE_RIGHT)
    assert not wrong, "\n".join(wrong)


def test_no_fault_is_accepted(results: list[Result]) -> None:
    assert sum(len(r.faults) for r in results) > POINTS
    accepted = [*tables.accepted(results), *tables.nan_accepted(results)]
    assert not accepted, "\n".join(accepted)


def test_hardly_anything_is_too_noisy(results: list[Result]) -> None:
    right = [r for r in results if r.state in RULES_ARE_RIGHT]
    noisy = [f"{call}: {r.point.program(call)}" for r in right for call in CALLS if r.said[call].noisy]
    assert len(noisy) <= NOISY * len(CALLS) * len(right), "\n".join(noisy)


def test_the_bars_of_gradcheck_are_true(results: list[Result]) -> None:
    bars = [bar for r in results for bar in r.bars]
    untrue = tables.untrue(results)
    assert len(untrue) <= (1.0 - TRUE) * len(bars), "\n".join(untrue)


def test_numeric_derivatives_keep_their_bars() -> None:
    methods = [name for name in derivatives.OURS if name in derivatives.METHODS]
    found = [derivatives.compared_at(100, i, methods) for i in range(800)]
    results = [result for result in found if result is not None]
    untrue = derivatives.untrue(results)
    answers = sum(m.answered for r in results for m in r.measured.values())
    assert len(untrue) <= (1.0 - TRUE) * answers, "\n".join(untrue)
    bars = [
        m.bar / abs(r.slope) for r in results if r.point.kind == "ordinary" and r.slope for m in r.measured.values()
    ]
    assert np.median(bars) <= NARROW


VARYING = [(name, i, sample) for name, i, sample in EACH if name not in QUESTIONS and all(map(np.size, sample.args))]


@pytest.mark.parametrize("part", range(4))
def test_the_rules_give_what_mpmath_does(part: int) -> None:
    """The truth that the campaign knows is that of the table, at every sample of every row."""
    off = []
    for name, i, sample in VARYING[part::4]:
        nodes = [cr.Value(x) if type(x) is float else cr.Tensor(np.array(x)) for x in sample.args]
        y = sample.f(*nodes)
        if not isinstance(y, cr.Node) or not y.args or name == "ties":  # this one is a constant at its jumps
            continue
        weights = np.linspace(0.5, 1.5, np.size(y.data)).reshape(np.shape(y.data))
        total = partial(weighted, sample.f, weights)
        true, _ = truths(total, nodes)
        rules = cr.gradients(total(*nodes), nodes)
        off += [
            f"{name} {i}" for t, d in zip(true, rules, strict=True) if not np.all(t.allows(np.asarray(d), 1e-9, 1e-12))
        ]
    assert not off


def weighted(f: Any, weights: Any, *xs: Any) -> Any:
    return cr.sum(f(*xs) * weights)


@pytest.mark.parametrize(
    ("f", "x", "slopes"),
    [
        (cr.abs, 0.0, (-1.0, 1.0)),
        (cr.relu, 0.0, (0.0, 1.0)),
        (cr.sin, 1e300, None),
        (cr.floor, 2.0, (np.inf, 0.0)),
        (cr.sqrt, 0.0, (np.inf, np.inf)),
        (lambda x: (1.0 - cr.cos(x)) / x, 1e-9, (0.5, 0.5)),
        (lambda x: (x**2 - 1e-300) ** 2, 1e-150, (0.0, 0.0)),
    ],
)
def test_the_truth_at_a_kink_a_jump_and_an_edge(f: Any, x: float, slopes: tuple[float, float] | None) -> None:
    (true,), _ = truths(f, [cr.Value(x)])
    found = float(true.left), float(true.right)
    expected = (float(np.cos(x)),) * 2 if slopes is None else slopes
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-305)
