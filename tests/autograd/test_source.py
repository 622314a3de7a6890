"""The line of the user's code that made a node, and the module whose call did."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import chainrule as cr


def loss_of(x: cr.Value) -> cr.Value:
    return cr.tanh(x) * 2.0  # this very line


def test_a_line_is_recorded_inside_the_block_only() -> None:
    x = cr.Value(0.5)
    assert cr.line_of(loss_of(x)) is None
    with cr.record_lines():
        y = loss_of(x)
    line = cr.line_of(y)
    assert line is not None
    assert (line.function, line.code) == ("loss_of", "return cr.tanh(x) * 2.0  # this very line")
    assert line.file == __file__
    assert str(line).startswith(f"{__file__}:{line.number}, in loss_of: return")
    assert cr.line_of(y.args[0]) == line
    assert cr.line_of(x) is None
    assert cr.line_of(loss_of(x)) is None


def test_numpys_functions_and_methods_lead_to_the_users_line() -> None:
    t = cr.Tensor([1.0, 2.0])
    with cr.record_lines():
        y = np.exp(t).sum()
    assert [cr.line_of(node).code for node in (y, y.args[0])] == ["y = np.exp(t).sum()"] * 2  # type: ignore[union-attr]


def test_lines_change_no_number() -> None:
    plain, located = cr.Value(0.5), cr.Value(0.5)
    loss_of(plain).backward()
    with cr.record_lines():
        y = loss_of(located)
    y.backward()
    assert located.grad == plain.grad


def test_a_decorator_serves_threads_at_once() -> None:
    recorded = cr.record_lines()(loss_of)
    found: list[cr.Line | None] = []
    threads = [threading.Thread(target=lambda: found.append(cr.line_of(recorded(cr.Value(0.5))))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line and line.function for line in found] == ["loss_of"] * 8


@pytest.mark.parametrize("inside", [True, False], ids=["lines within anomalies", "anomalies within lines"])
def test_blocks_nest(inside: bool) -> None:
    blocks = [cr.detect_anomaly(), cr.record_lines()]
    outer, inner = blocks if inside else blocks[::-1]
    with pytest.raises(cr.AnomalyError) as caught, outer, inner:
        cr.log(cr.Value(0.0))
    assert caught.value.line is not None
    assert caught.value.line.function == "test_blocks_nest"
    with outer, inner:
        x = cr.Value(0.0)
        y = x * 2.0
        with pytest.raises(cr.AnomalyError):
            (y.sqrt()).backward()
    assert cr.line_of(x * 2.0) is None


def test_a_result_knows_the_calls_of_modules_that_made_it() -> None:
    model = cr.nn.MLP([2, 3, 1], rng=0)
    x = cr.Tensor([[0.5, -0.5]])
    y = model(x)
    assert y.call is not None
    module, start, inner = y.call
    assert module is model
    assert inner is not None
    assert inner[0] is list(model)[-1]
    assert inner[2] is None
    assert start < inner[1] < y.birth
    assert x.call is None
    assert (y * 2.0).call is None


def test_what_a_module_only_hands_through_is_not_its_own() -> None:
    class Same(cr.nn.Module):
        def forward(self, x: cr.Tensor) -> cr.Tensor:
            return x

    y = cr.Tensor([1.0]) * 2.0
    assert Same()(y).call is None


def test_several_results_share_one_call() -> None:
    layer = cr.nn.scalar.Layer(2, 3, fused=False, rng=0)
    calls = [y.call for y in layer([0.5, -0.5])]
    assert [call[:2] for call in calls] == [(layer, calls[0][1])] * 3


@pytest.mark.parametrize("folder", ["/tmp/ipykernel_28534/", "C:\\Temp\\ipykernel_7\\"])
def test_a_line_of_a_notebook_has_no_name_that_changes_from_run_to_run(folder: str) -> None:
    assert str(cr.Line(f"{folder}2897539243.py", 3, "loss")) == "notebook cell:3, in loss"
