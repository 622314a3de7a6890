"""detect_anomaly: the first operation that makes a NaN or an infinity is found and named; nothing else is touched."""

from __future__ import annotations

import asyncio
import gc
import linecache
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import chainrule as cr
from chainrule.autograd.context import blocks, watching


def anomaly(f: Callable[[], Any], **options: bool) -> cr.AnomalyError:
    with pytest.raises(cr.AnomalyError) as caught, cr.detect_anomaly(**options):
        f()
    return caught.value


V, T = cr.Value, cr.Tensor

FORWARD: list[tuple[str, Callable[[], Any], str, str]] = [
    ("log", lambda: V(0.0, name="x").log() * 2.0, "-inf", "argument 1 x: 0.0"),
    ("log", lambda: V(-1.0).log(), "NaN", "argument 1: -1.0"),
    ("exp", lambda: cr.exp(V(1000.0) + 1.0) - 1.0, "inf", "argument 1: 1001.0"),
    ("div", lambda: 1.0 / V(0.0), "inf", "argument 2: 0.0"),
    ("div", lambda: V(0.0) / 0.0, "NaN", "argument 1: 0.0"),
    ("pow", lambda: V(-2.0) ** 0.5, "NaN", "argument 1: -2.0"),
    ("log", lambda: T([[1.0, 2.0], [0.0, -1.0]]).log().sum(), "-inf at (1, 0)", "0.0 at (1, 0)"),
    (
        "div",
        lambda: T([[1.0], [2.0]]) / np.array([3.0, 0.0]),
        "inf at (0, 1)",
        "argument 2: float64 (2,), 0.0 at (0, 1)",
    ),
    ("sum", lambda: T([1e308, 1e308]).sum(), "inf", "from 1e+308 to 1e+308"),
    ("mul", lambda: T(np.full(2, 3e38, np.float32)) * 2.0, "inf at (0,)", "argument 2: 2.0"),
    ("matmul", lambda: T([[1e200]]) @ T([[1e200]]), "inf at (0, 0)", "from 1e+200 to 1e+200"),
    ("linear", lambda: cr.linear(T([[1e200]]), T([[1e200]]), T([0.0])), "inf at (0, 0)", "argument 3"),
]


@pytest.mark.parametrize(("operation", "f", "made", "given"), FORWARD)
def test_forward_the_first_operation_is_named(operation: str, f: Callable[[], Any], made: str, given: str) -> None:
    error = anomaly(f)
    first, *rest = str(error).splitlines()
    assert first.startswith(f"{operation} made {made}")
    assert first.endswith("out of finite numbers")
    assert any(given in line for line in rest)
    assert (error.operation, error.backward, error.position) == (operation, False, None)
    assert error.node.op is not None
    assert error.node.op.name == operation
    assert not np.all(np.isfinite(error.node._raw))


BACKWARD: list[tuple[str, Callable[[], Any], str, int | None]] = [
    ("sqrt", lambda: (V(0.0).sqrt() * 3.0).backward(), "inf", 0),
    ("sqrt", lambda: (T([1.0, 0.0]).sqrt() * 3.0).sum().backward(), "inf at (1,)", 0),
    ("pow", lambda: (V(0.0) ** 0.5).backward(), "inf", 0),
    ("div", lambda: (1e-150 / V(1e-300)).backward(), "-inf", 1),
    ("mul", lambda: (V(1.0) * V(1e-300) * 1e200).backward(1e200), "inf", 0),
    ("sqrt", lambda: cr.grad(cr.sqrt)(0.0), "inf", 0),
    ("sqrt", lambda: cr.vjp(cr.sqrt, np.zeros(2))[1](np.ones(2)), "inf at (0,)", 0),
    # Each element is finite, and each contribution: only their sum is not.
    (
        "mul",
        lambda: (T(np.full(4, 2e38, np.float32)) * T(np.float32(1.0)) * 0.1).backward(np.full(4, 10.0)),
        "inf",
        None,
    ),
    ("mul", lambda: sums_of_products().backward(), "inf", None),
]


def sums_of_products() -> Any:
    x = V(1e-200, name="x")
    return x * 1e308 + x * 1e308


@pytest.mark.parametrize(("operation", "f", "made", "position"), BACKWARD)
def test_backward_the_first_operation_is_named(
    operation: str, f: Callable[[], Any], made: str, position: int | None
) -> None:
    error = anomaly(f)
    first = str(error).splitlines()[0]
    verb = (
        f"backward of {operation}"
        if position is not None
        else f"adding up the cotangents of an argument of {operation}"
    )
    assert first.startswith(f"{verb} made {made}")
    assert (error.operation, error.backward, error.position) == (operation, True, position)
    assert error.line is not None
    assert error.line.file == __file__


def test_the_line_that_called_the_operation_is_named() -> None:
    def square_root(x: Any) -> Any:
        return x.sqrt()  # this very line

    x = T([4.0, 0.0], name="x")
    error = anomaly(lambda: (square_root(x) * 2.0).sum().backward())
    assert error.line is not None
    assert (error.line.function, Path(error.line.file)) == ("square_root", Path(__file__))
    assert error.line.code == "return x.sqrt()  # this very line"
    assert linecache.getline(__file__, error.line.number).strip() == error.line.code
    assert f"at {__file__}:{error.line.number}, in square_root: return x.sqrt()" in str(error)
    assert "argument 1 x: float64 (2,), 0.0 at (1,)" in str(error)


def test_inside_a_model_the_users_line_is_named_and_not_the_librarys() -> None:
    model = cr.nn.MLP([2, 3, 1], rng=0)
    error = anomaly(lambda: model(np.array([[1e200, 1e300]])) * 1e200)
    assert error.line is not None
    assert error.line.file == __file__
    assert cr.exp(V(1.0)).data > 2.0


def test_numpy_functions_are_passed_over_too() -> None:
    error = anomaly(lambda: np.linalg.norm(np.log(T([0.0, 1.0]))))
    assert error.operation == "log"
    assert error.line is not None
    assert error.line.file == __file__


def test_a_graph_from_outside_is_watched_but_has_no_line() -> None:
    y = V(0.0).sqrt()
    error = anomaly(y.backward)
    assert error.line is None
    assert error.node is y
    assert "called outside detect_anomaly()" in str(error)


def test_after_an_error_no_gradient_has_changed() -> None:
    x = V(0.0)
    with pytest.raises(cr.AnomalyError), cr.detect_anomaly():
        (x.sqrt() + x).backward()
    assert x.grad is None


def test_the_node_can_be_drawn(tmp_path: Path) -> None:
    for f in (lambda: V(0.0, name="zero").log(), lambda: V(0.0, name="zero").sqrt().backward()):
        source = cr.visualize.draw(anomaly(f).node).source
        assert "zero" in source
        assert "inf" in source


FINE: list[Callable[[], Any]] = [
    lambda: V(np.inf) * 2.0,  # not made here
    lambda: T([np.nan, 1.0]).sum().backward(),
    lambda: cr.log(T([np.inf])).sum().backward(),
    lambda: (V(2.0) * 3.0).backward(),
    lambda: (V(2.0) * 3.0).backward(np.inf),
    lambda: np.log(0.5),
    lambda: cr.exp(1000.0),  # plain data, no node
    lambda: cr.nn.cross_entropy(T([[1.0, -1000.0]]), np.array([0])).backward(),
    lambda: cr.softmax(T([0.0, -np.inf])).sum().backward(),
    lambda: T(np.zeros((0, 3))).sum().backward(),
    lambda: cr.where(T([0.0, 4.0], name="x") > 0, 1.0, T([1.0, 2.0])).sum().backward(),
]


@pytest.mark.parametrize("f", FINE)
def test_what_is_no_anomaly_passes(f: Callable[[], Any]) -> None:
    with cr.detect_anomaly():
        f()


def test_a_guarded_branch_passes_backward_and_where_forward_is_not_watched() -> None:
    def guarded(f: Callable[[Any], Any]) -> Any:
        x = T([0.0, 4.0])
        cr.where(x > 0, f(x), 0.0).sum().backward()
        return x.grad

    with cr.detect_anomaly():
        assert_array_equal(guarded(cr.sqrt), [0.0, 0.25])
    with cr.detect_anomaly(forward=False):
        assert_array_equal(guarded(cr.log), [0.0, 0.25])
    assert anomaly(lambda: guarded(cr.log)).operation == "log"


def test_second_orders_are_watched_and_their_guards_respected() -> None:
    with cr.detect_anomaly():
        assert cr.grad(cr.grad(lambda x: x**3.0))(2.0) == 12.0
        x = T([0.0, 4.0])
        (g,) = cr.gradients(cr.where(x > 0, cr.sqrt(x), 0.0).sum(), [x], create_graph=True)
        assert_array_equal(g.data, [0.0, 0.25])
    error = anomaly(lambda: cr.grad(cr.grad(lambda x: x**1.5))(0.0))
    assert error.backward
    assert error.operation == "pow"


def test_gradients_are_the_same_inside() -> None:
    model = cr.nn.MLP([3, 4, 2], activation="tanh", rng=0)
    x, y = np.random.default_rng(0).normal(size=(5, 3)), np.array([0, 1, 1, 0, 1])

    def gradients() -> list[Any]:
        model.zero_grad()
        cr.nn.cross_entropy(model(x), y).backward()
        return [p.grad for p in model.parameters()]

    outside = gradients()
    with cr.detect_anomaly():
        inside = gradients()
    for a, b in zip(outside, inside, strict=True):
        assert_array_equal(a, b)


def test_numpy_does_not_warn_inside_and_does_outside() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert anomaly(lambda: T([0.0]).log()).operation == "log"
        with pytest.raises(RuntimeWarning):
            T([0.0]).log()


def test_under_no_grad_too() -> None:
    def f() -> None:
        with cr.no_grad():
            V(0.0, name="x").log()

    error = anomaly(f)
    assert error.node.args
    assert error.operation == "log"


def test_a_decorator_on_several_threads() -> None:
    both = threading.Barrier(2, timeout=10)
    found: list[str] = []

    @cr.detect_anomaly()
    def f(x: float) -> None:
        both.wait()
        try:
            V(x).log()
        except cr.AnomalyError as error:
            found.append(error.operation)
        finally:
            both.wait()

    threads = [threading.Thread(target=f, args=(0.0,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["log", "log"]
    assert V(0.0).log().data == -np.inf
    assert not blocks
    assert watching() is None


def test_only_its_own_task_is_watched() -> None:
    async def inside() -> str:
        with cr.detect_anomaly():
            await asyncio.sleep(0.01)
            try:
                V(0.0).log()
            except cr.AnomalyError as error:
                return error.operation
        return "nothing"

    async def outside() -> float:
        await asyncio.sleep(0.005)
        return V(0.0).log().item()

    async def both() -> list[Any]:
        return await asyncio.gather(inside(), outside())

    assert asyncio.run(both()) == ["log", -np.inf]


def test_blocks_may_be_nested() -> None:
    with cr.detect_anomaly(forward=False):
        with pytest.raises(cr.AnomalyError), cr.detect_anomaly():
            V(0.0).log()
        assert V(0.0).log().item() == -np.inf
    assert watching() is None


def test_nothing_is_kept_alive() -> None:
    gc.disable()
    try:
        with cr.detect_anomaly():
            x = V(2.0)
            y = x * x
            y.backward()
            gone = weakref.ref(y)
            del y
            assert gone() is None
        try:
            with cr.detect_anomaly():
                V(0.0).log()
        except cr.AnomalyError as error:
            gone = weakref.ref(error.node)
        assert gone() is None
    finally:
        gc.enable()


def test_the_error_can_be_sent_to_another_process() -> None:
    error = anomaly(lambda: V(0.0).log())
    sent = pickle.loads(pickle.dumps(error))
    assert isinstance(sent, FloatingPointError)
    assert str(sent) == str(error)


def test_a_long_chain() -> None:
    with cr.detect_anomaly():
        y = x = V(1.0)
        for _ in range(5_000):
            y = y + 1.0
        y.backward()
    assert x.grad == 1.0
