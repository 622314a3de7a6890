"""What the table answers where the textbook has no single answer: kinks, ties, zeros, infinities, branches not taken."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr
from chainrule.autograd.primitive import table

INF, NAN = math.inf, math.nan


def derivatives(f: Callable[..., Any], *nodes: Any) -> tuple[Any, list[Any], list[Any]]:
    """The result, its gradient, and the second derivative by each argument alone."""
    y = f(*nodes)
    ones = np.ones(y.shape)
    first = cr.gradients(y, nodes, seed=ones, create_graph=True)
    second = [cr.gradients(g, x, seed=ones) for g, x in zip(first, nodes, strict=True)]
    return y.data, [g.data for g in first], second


def expect(f: Callable[..., Any], at: tuple[float, ...], y: float, first: tuple[float, ...], second: Any) -> None:
    """The same answer on Values, on Tensors without axes and on Tensors with one."""
    expected = [y, *first, *(second or ())]
    for make in (cr.Value, cr.Tensor, lambda x: cr.Tensor([x, x])):
        with np.errstate(all="ignore" if make is not cr.Value else "raise"):
            found = derivatives(f, *map(make, at))
            nodes = [make(x) for x in at]
            result = f(*nodes)
            raw = cr.gradients(result, nodes, seed=np.ones(result.shape))
        answers = [found[0], *found[1], *(found[2] if second is not None else ())]
        for answer, e in zip(answers, expected, strict=True):
            assert_allclose(answer, np.full(np.shape(answer), e), rtol=1e-14)
        for g, e in zip(raw, first, strict=True):
            assert_allclose(g, np.full(np.shape(g), e), rtol=1e-14)


KINKS: dict[str, tuple[Callable[..., Any], tuple[float, ...], float, tuple[float, ...], Any]] = {
    "relu at 0": (cr.relu, (0.0,), 0.0, (0.0,), (0.0,)),
    "relu at -0": (cr.relu, (-0.0,), 0.0, (0.0,), (0.0,)),
    "leaky_relu at 0": (cr.leaky_relu, (0.0,), 0.0, (0.01,), (0.0,)),
    "elu at 0": (lambda x: cr.elu(x, 0.5), (0.0,), 0.0, (0.5,), (0.5,)),
    "abs at 0": (abs, (0.0,), 0.0, (0.0,), (0.0,)),
    "sign at 0": (cr.sign, (0.0,), 0.0, (0.0,), (0.0,)),
    "step at 0": (table["step"], (0.0,), 0.0, (0.0,), (0.0,)),
    "floor at 2": (cr.floor, (2.0,), 2.0, (0.0,), (0.0,)),
    "ceil at 2": (cr.ceil, (2.0,), 2.0, (0.0,), (0.0,)),
    "round at 2.5": (cr.round, (2.5,), 2.0, (0.0,), (0.0,)),
    "// at a jump": (lambda a, b: a // b, (6.0, 2.0), 3.0, (0.0, 0.0), (0.0, 0.0)),
    "% at a jump": (lambda a, b: a % b, (6.0, 2.0), 0.0, (1.0, -3.0), (0.0, 0.0)),
    "% has the sign of b": (lambda a, b: a % b, (-7.0, 3.0), 2.0, (1.0, 3.0), (0.0, 0.0)),
    "maximum of a tie": (cr.maximum, (2.0, 2.0), 2.0, (0.5, 0.5), (0.0, 0.0)),
    "minimum of a tie": (cr.minimum, (2.0, 2.0), 2.0, (0.5, 0.5), (0.0, 0.0)),
    "maximum of itself": (lambda x: cr.maximum(x, x), (2.0,), 2.0, (1.0,), (0.0,)),
    "clip at the lower border": (lambda x: cr.clip(x, -1.0, 1.0), (-1.0,), -1.0, (1.0,), (0.0,)),
    "clip at the upper border": (lambda x: cr.clip(x, -1.0, 1.0), (1.0,), 1.0, (1.0,), (0.0,)),
    "clip at a lower bound": (lambda x, low: cr.clip(x, low, 3.0), (1.0, 1.0), 1.0, (1.0, 0.0), (0.0, 0.0)),
    "clip at an upper bound": (lambda x, high: cr.clip(x, None, high), (1.0, 1.0), 1.0, (1.0, 0.0), (0.0, 0.0)),
    "clip above an upper bound": (lambda x, high: cr.clip(x, 0.0, high), (2.0, 1.0), 1.0, (0.0, 1.0), (0.0, 0.0)),
    "clip below a lower bound": (lambda x, low: cr.clip(x, low), (-2.0, 1.0), 1.0, (0.0, 1.0), (0.0, 0.0)),
    "clip outside": (lambda x: cr.clip(x, -1.0, 1.0), (1.5,), 1.0, (0.0,), (0.0,)),
    "hypot at the origin": (cr.hypot, (0.0, 0.0), 0.0, (0.0, 0.0), None),
    "0 ** 0": (lambda a, b: a**b, (0.0, 0.0), 1.0, (0.0, 0.0), (0.0, 0.0)),
    "x ** 0": (lambda x: x**0, (0.0,), 1.0, (0.0,), (0.0,)),
    "0 ** b": (lambda b: 0.0**b, (2.0,), 0.0, (0.0,), (0.0,)),
    "0 ** -b": (lambda b: 0.0**b, (-2.0,), INF, (-INF,), None),
    "0 ** variable -1": (lambda a, b: a**b, (0.0, -1.0), INF, (-INF, -INF), None),
    "0 ** 1": (lambda x: x**1, (0.0,), 0.0, (1.0,), (0.0,)),
    "0 ** 2": (lambda a, b: a**b, (0.0, 2.0), 0.0, (0.0, 0.0), (2.0, 0.0)),
    "0 ** 3": (lambda x: x**3, (0.0,), 0.0, (0.0,), (0.0,)),
    "0 ** 0.5": (lambda x: x**0.5, (0.0,), 0.0, (INF,), (-INF,)),
    "(-2) ** 3": (lambda x: x**3, (-2.0,), -8.0, (12.0,), (-12.0,)),
}

TAILS: dict[str, tuple[Callable[..., Any], tuple[float, ...], float, tuple[float, ...], Any]] = {
    "sigmoid at 1000": (cr.sigmoid, (1e3,), 1.0, (0.0,), (0.0,)),
    "sigmoid at -1000": (cr.sigmoid, (-1e3,), 0.0, (0.0,), (0.0,)),
    "sigmoid at -700": (cr.sigmoid, (-700.0,), math.exp(-700.0), (math.exp(-700.0),), (math.exp(-700.0),)),
    "softplus at 1000": (cr.softplus, (1e3,), 1e3, (1.0,), (0.0,)),
    "softplus at -1000": (cr.softplus, (-1e3,), 0.0, (0.0,), (0.0,)),
    "softplus at -700": (cr.softplus, (-700.0,), math.exp(-700.0), (math.exp(-700.0),), (math.exp(-700.0),)),
    "tanh at 1000": (cr.tanh, (1e3,), 1.0, (0.0,), (0.0,)),
    "silu at 1000": (cr.silu, (1e3,), 1e3, (1.0,), (0.0,)),
    "silu at -1000": (cr.silu, (-1e3,), 0.0, (0.0,), (0.0,)),
    "gelu at 1000": (cr.gelu, (1e3,), 1e3, (1.0,), (0.0,)),
    "gelu at -1000": (cr.gelu, (-1e3,), 0.0, (0.0,), (0.0,)),
    "elu at -1000": (cr.elu, (-1e3,), -1.0, (0.0,), (0.0,)),
    "elu at 1000": (cr.elu, (1e3,), 1e3, (1.0,), (0.0,)),
    "erf at 100": (cr.erf, (100.0,), 1.0, (0.0,), (0.0,)),
    "expm1 at 1e-20": (cr.expm1, (1e-20,), 1e-20, (1.0,), (1.0,)),
    "log1p at 1e-20": (cr.log1p, (1e-20,), 1e-20, (1.0,), (-1.0,)),
    "logaddexp at 1000": (cr.logaddexp, (1e3, 1e3), 1e3 + math.log(2.0), (0.5, 0.5), (0.25, 0.25)),
    "logaddexp of infinities": (cr.logaddexp, (INF, INF), INF, (0.5, 0.5), (0.25, 0.25)),
    "logaddexp of -infinities": (cr.logaddexp, (-INF, -INF), -INF, (0.5, 0.5), (0.25, 0.25)),
    "logaddexp with -inf": (cr.logaddexp, (-INF, 2.0), 2.0, (0.0, 1.0), (0.0, 0.0)),
    "hypot at 1e200": (cr.hypot, (3e200, 4e200), 5e200, (0.6, 0.8), None),
    "arctan2 at 1e200": (cr.arctan2, (1e200, 1e200), math.pi / 4, (5e-201, -5e-201), None),
    "arccosh at 1e200": (cr.arccosh, (1e200,), math.acosh(1e200), (1e-200,), None),
    "arcsinh at -1e200": (cr.arcsinh, (-1e200,), math.asinh(-1e200), (1e-200,), None),
}

IEEE: dict[str, tuple[Callable[..., Any], tuple[float, ...], float, tuple[float, ...], Any]] = {
    "log 0": (cr.log, (0.0,), -INF, (INF,), (-INF,)),
    "log -1": (cr.log, (-1.0,), NAN, (-1.0,), None),
    "log inf": (cr.log, (INF,), INF, (0.0,), None),
    "log1p -1": (cr.log1p, (-1.0,), -INF, (INF,), (-INF,)),
    "log2 0": (cr.log2, (0.0,), -INF, (INF,), None),
    "log10 0": (cr.log10, (0.0,), -INF, (INF,), None),
    "exp 1000": (cr.exp, (1e3,), INF, (INF,), (INF,)),
    "exp -inf": (cr.exp, (-INF,), 0.0, (0.0,), (0.0,)),
    "expm1 1000": (cr.expm1, (1e3,), INF, (INF,), (INF,)),
    "cosh 1000": (cr.cosh, (1e3,), INF, (INF,), (INF,)),
    "sqrt 0": (cr.sqrt, (0.0,), 0.0, (INF,), (-INF,)),
    "sqrt -1": (cr.sqrt, (-1.0,), NAN, (NAN,), (NAN,)),
    "cbrt 0": (cr.cbrt, (0.0,), 0.0, (INF,), None),
    "1 / 0": (lambda x: 1.0 / x, (0.0,), INF, (-INF,), (INF,)),
    "1 / -0": (lambda x: 1 / x, (-0.0,), -INF, (-INF,), None),
    "reciprocal 0": (cr.reciprocal, (0.0,), INF, (-INF,), (INF,)),
    "0 / 0": (lambda a, b: a / b, (0.0, 0.0), NAN, (INF, NAN), None),
    "1 // 0": (lambda a, b: a // b, (1.0, 0.0), INF, (0.0, 0.0), None),
    "1 % 0": (lambda a, b: a % b, (1.0, 0.0), NAN, (1.0, -INF), None),
    "(-8) ** (1/3)": (lambda x: x ** (1 / 3), (-8.0,), NAN, (NAN,), (NAN,)),
    "2 ** 5000": (lambda b: 2**b, (5000.0,), INF, (INF,), (INF,)),
    "1e200 ** 2": (lambda x: x**2, (1e200,), INF, (2e200,), (2.0,)),
    "0 ** -1": (lambda x: x**-1, (0.0,), INF, (-INF,), (INF,)),
    "square of 1e200": (cr.square, (1e200,), INF, (2e200,), (2.0,)),
    "arcsin 2": (cr.arcsin, (2.0,), NAN, (NAN,), (NAN,)),
    "arcsin 1": (cr.arcsin, (1.0,), math.pi / 2, (INF,), None),
    "arctanh 1": (cr.arctanh, (1.0,), INF, (INF,), None),
    "sin inf": (cr.sin, (INF,), NAN, (NAN,), (NAN,)),
    "inf - inf": (lambda a, b: a - b, (INF, INF), NAN, (1.0, -1.0), (0.0, 0.0)),
    "inf * 0": (lambda a, b: a * b, (INF, 0.0), NAN, (0.0, INF), (0.0, 0.0)),
    "NaN goes through": (lambda x: cr.maximum(cr.relu(cr.tanh(x)), 0.0), (NAN,), NAN, (NAN,), None),
}


@pytest.mark.parametrize("name", KINKS)
def test_kinks(name: str) -> None:
    expect(*KINKS[name])


@pytest.mark.parametrize("name", TAILS)
def test_tails(name: str) -> None:
    expect(*TAILS[name])


@pytest.mark.parametrize("name", IEEE)
def test_ieee_754(name: str) -> None:
    expect(*IEEE[name])


def test_numbers_raise_and_warn_of_nothing() -> None:
    assert cr.log(0.0) == -INF
    assert cr.exp(1000) == INF
    assert math.isnan(cr.pow(-8.0, 1 / 3))
    x = cr.Value(0.0)
    (cr.log(x) + 1 / x + x**-2 + cr.dot([x, 1.0], [1 / x, x])).backward()
    assert math.isnan(x.grad)


# Reductions.

REDUCTIONS: dict[str, tuple[Callable[..., Any], Any, Any, Any]] = {
    "max of ties": (cr.max, [1.0, 3.0, 3.0], [0, 0.5, 0.5], [0, 0, 0]),
    "min of ties": (cr.min, [1.0, 1.0, 1.0, 2.0], [1 / 3, 1 / 3, 1 / 3, 0], [0, 0, 0, 0]),
    "max of infinities": (cr.max, [INF, INF, 0.0], [0.5, 0.5, 0], [0, 0, 0]),
    "ties along an axis": (lambda x: cr.max(x, axis=1).sum(), [[2.0, 2.0], [0.0, 1.0]], [[0.5, 0.5], [0, 1]], [[0, 0], [0, 0]]),
    "ties across axes": (cr.max, [[2.0, 1.0], [2.0, 2.0]], [[1 / 3, 0], [1 / 3, 1 / 3]], [[0, 0], [0, 0]]),
    "max norm of ties": (lambda x: cr.norm(x, INF), [2.0, -2.0, 1.0], [0.5, -0.5, 0], [0, 0, 0]),
    "prod with one zero": (cr.prod, [2.0, 0.0, 3.0], [0, 6, 0], [3, 5, 2]),
    "prod with two zeros": (cr.prod, [2.0, 0.0, 0.0, 3.0], [0, 0, 0, 0], [0, 6, 6, 0]),
    "prod with three zeros": (cr.prod, [0.0, 0.0, 0.0], [0, 0, 0], [0, 0, 0]),
    "prod of rows with zeros": (lambda x: cr.prod(x, axis=1).sum(), [[2.0, 0.0], [0.0, 0.0], [3.0, 4.0]],
                                [[0, 2], [0, 0], [4, 3]], [[1, 1], [1, 1], [1, 1]]),
    "cumprod with one zero": (lambda x: cr.cumprod(x).sum(), [2.0, 0.0, 3.0], [1, 8, 0], [4, 6, 2]),
    "cumprod with two zeros": (lambda x: cr.cumprod(x).sum(), [2.0, 0.0, 0.0], [1, 2, 0], [1, 3, 2]),
    "std of constants": (cr.std, [2.0, 2.0, 2.0], [0, 0, 0], None),
    "std of one": (cr.std, [2.0], [0], None),
    "var of constants": (cr.var, [2.0, 2.0], [0, 0], [0, 0]),
    "norm at 0": (cr.norm, [0.0, 0.0], [0, 0], None),
    "norm of a zero row": (lambda x: cr.norm(x, axis=1).sum(), [[0.0, 0.0], [3.0, 4.0]], [[0, 0], [0.6, 0.8]], None),
    "1-norm at 0": (lambda x: cr.norm(x, 1), [0.0, -2.0], [0, -1], [0, 0]),
    "3-norm at 0": (lambda x: cr.norm(x, 3), [0.0, 0.0], [0, 0], None),
    "norm of 1e200": (cr.norm, [3e200, 4e200], [0.6, 0.8], None),
    "logsumexp of 1000": (cr.logsumexp, [1000.0, 1000.0], [0.5, 0.5], [0, 0]),
    "logsumexp of -1000": (cr.logsumexp, [-1000.0, -1000.0], [0.5, 0.5], [0, 0]),
    "logsumexp with inf": (cr.logsumexp, [INF, 1.0], [1, 0], [0, 0]),
    "logsumexp of infinities": (cr.logsumexp, [INF, 1.0, INF], [0.5, 0, 0.5], [0, 0, 0]),
    "logsumexp of nothing": (cr.logsumexp, [-INF, -INF], [0.5, 0.5], [0, 0]),
    "logsumexp with -inf": (cr.logsumexp, [-INF, 0.0, 0.0], [0, 0.5, 0.5], [0, 0, 0]),
    "softmax of 1000": (lambda x: cr.softmax(x)[0], [1000.0, -1000.0], [0, 0], [0, 0]),
    "softmax with -inf": (lambda x: cr.softmax(x)[1], [-INF, 0.0, 0.0], [0, 0.25, -0.25], [0, 0, 0]),
    "log_softmax of 1000": (lambda x: cr.log_softmax(x)[1], [1000.0, -1000.0], [-1, 1], [0, 0]),
    "cross entropy of 1000": (lambda x: cr.softmax_cross_entropy(x, np.array([1]), reduction="mean"), [[1000.0, 0.0]], [[1, -1]], [[0, 0]]),
    "sort of ties": (lambda x: (cr.sort(x) * [1.0, 2.0, 3.0]).sum(), [1.0, 0.0, 1.0], [2, 1, 3], [0, 0, 0]),
    "sum of nothing": (cr.sum, np.zeros((0, 2)), np.zeros((0, 2)), np.zeros((0, 2))),
    "prod of nothing": (cr.prod, np.zeros(0), np.zeros(0), np.zeros(0)),
}  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name: str) -> None:
    f, data, first, second = REDUCTIONS[name]
    x = cr.Tensor(data)
    assert_allclose(cr.gradients(f(x), x), first, rtol=1e-14)
    g = cr.gradients(f(x), x, create_graph=True)
    assert_allclose(g.data, first, rtol=1e-14)
    if second is not None:  # the row sums of the matrix of second derivatives
        assert_allclose(cr.gradients(g, x, seed=np.ones(x.shape)), second, rtol=1e-14)


def test_values_that_tails_take() -> None:
    assert_array_equal(cr.softmax(np.array([1000.0, -1000.0])), [1.0, 0.0])
    assert_array_equal(cr.log_softmax(np.array([1000.0, -1000.0])), [0.0, -2000.0])
    assert_array_equal(cr.log_softmax(np.array([-INF, 0.0])), [-INF, 0.0])
    assert cr.logsumexp(np.array([-INF, -INF])) == -INF
    assert cr.logsumexp(np.array([INF, 1.0])) == INF
    assert cr.norm(np.array([INF, 1.0])) == INF
    assert math.isnan(cr.norm(np.array([NAN, 1.0])))
    assert cr.norm(np.array([1e-200, 0.0])) == 1e-200


# where: the branch not taken gets nothing.

GUARDS: dict[str, tuple[Callable[[Any], Any], float, float, float]] = {
    # f, and its first and second derivative on the guarded side (x = 0), and the first at x = 4
    "sqrt": (lambda x: cr.where(x > 0, cr.sqrt(x), 0.0), 0.0, 0.0, 0.25),
    "log": (lambda x: cr.where(x > 0, cr.log(x), 0.0), 0.0, 0.0, 0.25),
    "1/x": (lambda x: cr.where(x != 0, 1 / x, 0.0), 0.0, 0.0, -1 / 16),
    "x/x": (lambda x: cr.where(x > 0, x / x, 1.0), 0.0, 0.0, 0.0),
    "the other branch": (lambda x: cr.where(x <= 0, x, cr.log(x)), 1.0, 0.0, 0.25),
    "power": (lambda x: cr.where(x > 0, x**0.5, x * x), 0.0, 2.0, 0.25),
    "several steps": (lambda x: cr.where(x > 0, cr.exp(3.0 * cr.log(cr.sqrt(x)) / 3.0), 0.0), 0.0, 0.0, 0.25),
    "nested": (lambda x: cr.where(x > 0, cr.where(x > 1, cr.sqrt(x - 1), 1 / x), x), 1.0, 0.0, 0.5 / math.sqrt(3.0)),
    "nested, both guard": (lambda x: cr.where(x > 0, cr.where(x > 0, cr.sqrt(x), 0.0), 0.0), 0.0, 0.0, 0.25),
    "where of a where": (lambda x: cr.sqrt(cr.where(x > 0, x, 1.0)), 0.0, 0.0, 0.25),
    "also elsewhere": (lambda x: cr.where(x > 0, cr.sqrt(x), 0.0) + 3.0 * x, 3.0, 0.0, 3.25),
    "product with itself": (lambda x: cr.where(x > 0, cr.sqrt(x), 0.0) * x, 0.0, 0.0, 3.0),
    "shared, both dead": (lambda x: (lambda s: cr.where(x > 0, s, 0.0) + cr.where(x > 0, 2.0 * s, x))(cr.sqrt(x)), 1.0, 0.0, 0.75),
    "shared, dead twice": (lambda x: (lambda s: cr.where(x > 0, s * s, 0.0))(cr.sqrt(x)), 0.0, 0.0, 1.0),
    "alive in something older": (lambda x: (lambda u: (lambda a: cr.where(x > 0, cr.sqrt(u), 0.0) + a)(3.0 * u))(2.0 * x), 6.0, 0.0, 6.0 + 1 / math.sqrt(8.0)),
    "alive in something younger": (lambda x: (lambda u: 3.0 * u + cr.where(x > 0, cr.sqrt(u), 0.0))(2.0 * x), 6.0, 0.0, 6.0 + 1 / math.sqrt(8.0)),
    "inner alive elsewhere": (lambda x: (lambda u: cr.where(x > 0, cr.sqrt(u), 0.0) + u)(2.0 * x), 2.0, 0.0, 2.0 + 1 / math.sqrt(8.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", GUARDS)
@pytest.mark.parametrize("make", [cr.Value, cr.Tensor, lambda x: cr.Tensor([x]), lambda x: cr.Tensor([[4.0, x]])])
def test_the_branch_not_taken_does_not_poison(name: str, make: Callable[[float], Any]) -> None:
    f, first, second, elsewhere = GUARDS[name]
    with np.errstate(all="ignore"):
        _, (g,), (h,) = derivatives(f, make(0.0))
        _, (g4,), _ = derivatives(f, make(4.0))
        x = make(0.0)
        y = f(x)
        plain = cr.gradients(y, x, seed=np.ones(y.shape))
    last = np.ravel(g)[-1], np.ravel(h)[-1], np.ravel(g4)[-1], np.ravel(plain)[-1]
    assert_allclose(last, [first, second, elsewhere, first], rtol=1e-13, atol=1e-15)
    assert_allclose(np.ravel(g)[:-1], np.full(np.size(g) - 1, elsewhere), rtol=1e-13)


X = np.array([[1.0, 2.0], [NAN, INF]])  # the second sample is missing
THERE = np.array([True, False])

# What was not chosen gets exactly 0, and it stays 0: f of arrays, at which point, and the gradients.
NOT_CHOSEN: dict[str, tuple[Callable[..., Any], tuple[Any, ...], tuple[Any, ...]]] = {
    "relu": (lambda x: cr.sqrt(cr.relu(x)), ([-1.0, 4.0],), ([0, 0.25],)),
    "relu of a power": (lambda x: cr.relu(x) ** 0.5, ([-1.0, 4.0],), ([0, 0.25],)),
    "behind relu": (lambda x: cr.relu(cr.sqrt(x) - 1.0), ([0.0, 4.0],), ([0, 0.25],)),
    "leaky_relu": (lambda x: cr.sqrt(cr.leaky_relu(x, 0.0)), ([-1.0, 4.0],), ([0, 0.25],)),
    "maximum": (lambda x: cr.sqrt(cr.maximum(x, 0.0)), ([-1.0, 4.0],), ([0, 0.25],)),
    "behind maximum": (lambda x: cr.maximum(cr.sqrt(x), 1.0), ([0.0, 4.0],), ([0, 0.25],)),
    "minimum": (lambda x: cr.sqrt(1.0 - cr.minimum(x, 1.0)), ([2.0, 0.75],), ([0, -1.0],)),
    "behind minimum": (lambda x: cr.minimum(-cr.log(x), 2.0), ([0.0, 1.0],), ([0, -1.0],)),
    "clip": (lambda x: cr.arccos(cr.clip(x, -1.0, 1.0)), ([1.5, 0.0],), ([0, -1.0],)),
    "behind clip": (lambda x: cr.clip(cr.log(x), -5.0, 5.0), ([0.0, 4.0],), ([0, 0.25],)),
    "max": (lambda x: cr.max(cr.sqrt(x)), ([0.0, 4.0],), ([0, 0.25],)),
    "min": (lambda x: cr.min(cr.log(x) ** 2), ([0.0, 2.0],), ([0, math.log(2.0)],)),
    "max of rows": (lambda x: cr.sqrt(cr.max(x, axis=1)), ([[-1.0, 0.25], [1.0, 4.0]],), ([[0, 1.0], [0, 0.25]],)),
    "a factor that is infinite": (lambda x: cr.where(x > 0, x * cr.log(x), 0.0), ([0.0, 1.0],), ([0, 1.0],)),
    "a factor that is NaN": (lambda x, z: cr.where(x > 0, z * cr.sqrt(x), 0.0), ([-1.0, 4.0], [1.0, 2.0]), ([0, 0.5], [0, 2.0])),
    "reversed": (lambda x: cr.where(THERE, cr.flip(cr.sqrt(x), 0), 0.0), ([0.0, 4.0],), ([0, 0.25],)),
    "reshaped": (lambda x: cr.where(np.array([[False], [True]]), cr.reshape(cr.sqrt(x), (2, 1)), 0.0), ([0.0, 4.0],), ([0, 0.25],)),
    "indexed": (lambda x: cr.where(THERE, cr.sqrt(x)[np.array([1, 0])], 0.0), ([0.0, 4.0],), ([0, 0.25],)),
    "concatenated": (lambda x: cr.where(np.array([False, True] * 2), cr.concatenate([cr.sqrt(x), cr.log(x)]), 0.0), ([0.0, 4.0],), ([0, 0.5],)),
    "a product with infinity": (lambda x, a: cr.where(False, a @ cr.log(x), 1.0), ([0.0, 4.0], np.eye(2)), ([0, 0], np.zeros((2, 2)))),
    "samples that are missing": (lambda w: cr.where(THERE, X @ w, 0.0), ([1.0, 2.0],), ([1, 2],)),
    "linear": (lambda w, b: cr.where(THERE[:, None], cr.linear(X, w, b), 0.0), (np.ones((3, 2)), np.ones(3)), ([[1, 2]] * 3, [1] * 3)),
    "batches": (lambda w: cr.where(THERE[:, None], np.stack([X, X]) @ w, 0.0), (np.ones((2, 1)),), ([[2], [4]],)),
    "einsum": (lambda w, v: cr.where(THERE, cr.einsum("ij,jk,k->i", X, w, v), 0.0), (np.eye(2), [1.0, 1.0]), ([[1, 1], [2, 2]], [1, 2])),
    "logsumexp of rows": (lambda b: cr.where(THERE, cr.logsumexp(X + b, axis=1), 0.0), ([2.0, 1.0],), ([0.5, 0.5],)),
    "norm of rows": (lambda b: cr.where(THERE, cr.norm(X + b, axis=1), 0.0), ([2.0, 2.0],), ([0.6, 0.8],)),
    "softmax of rows": (lambda b: cr.where(THERE, cr.softmax(X + b)[:, 0], 0.0), ([2.0, 1.0],), ([0.25, -0.25],)),
    "prod of rows": (lambda b: cr.where(THERE, cr.prod(X + b, axis=1), 0.0), ([2.0, 2.0],), ([4, 3],)),
    "var of rows": (lambda b: cr.where(THERE, cr.var(X + b, axis=1), 0.0), ([2.0, 2.0],), ([-0.5, 0.5],)),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_CHOSEN)
def test_what_was_not_chosen_gets_nothing(name: str) -> None:
    f, data, expected = NOT_CHOSEN[name]
    xs = [cr.Tensor(x) for x in data]

    def total(*xs: Any) -> Any:
        return cr.sum(f(*xs))

    with np.errstate(all="ignore"):
        y = total(*xs)
        compiled = cr.compile(total)
        found = {
            "eager": cr.gradients(y, xs),
            "to be differentiated again": [g.data for g in cr.gradients(y, xs, create_graph=True)],
            "compiled": cr.grad(compiled, range(len(xs)))(*map(np.array, data)),
            "forward": [
                [cr.jvp(total, tuple(map(np.array, data)), directions(data, i, j))[1] for j in range(np.size(x))]
                for i, x in enumerate(data)
            ],
        }
        for x in xs:
            assert x.grad is None
        y.backward()
        found["backward"] = [x.grad for x in xs]
        with cr.detect_anomaly(forward=False) if name.startswith("behind") else cr.enable_grad():
            found["watched"] = cr.gradients(total(*xs), xs)
    for way, gradients in found.items():
        for g, e in zip(gradients, expected, strict=True):
            assert_allclose(np.reshape(g, np.shape(e)), e, rtol=1e-14, err_msg=way)


def directions(data: Any, i: int, j: int) -> tuple[Any, ...]:
    """Zeros, but 1 at element j of array i."""
    tangents = [np.zeros(np.shape(x)) for x in data]
    tangents[i].reshape(-1)[j] = 1.0
    return tuple(tangents)


@pytest.mark.parametrize("make", [cr.Value, cr.Tensor])
def test_nor_in_scalars(make: Callable[[float], Any]) -> None:
    for name, (f, data, expected) in NOT_CHOSEN.items():
        if name.startswith(("max", "behind", "relu", "leaky", "min", "clip", "a factor")) and " of rows" not in name:
            for row, e in zip(zip(*data, strict=True), zip(*expected, strict=True), strict=True):
                if name in ("max", "min"):
                    continue
                xs = list(map(make, row))
                with np.errstate(all="ignore"):
                    y = f(*xs)
                    assert_allclose(cr.gradients(y, xs), e, rtol=1e-14, err_msg=name)
                    assert_allclose(
                        [g.data for g in cr.gradients(y, xs, create_graph=True)], e, rtol=1e-14, err_msg=name
                    )


def test_a_finite_derivative_is_not_cut() -> None:
    def bare(x: Any, z: Any) -> Any:
        return (x - 1.0) * cr.sqrt(z)

    def behind(x: Any, z: Any) -> Any:
        return cr.where(z > 0, (x - 1.0) * cr.sqrt(z), 0.0)

    for f in bare, behind:
        by_z = cr.grad(f, 1)
        assert cr.grad(by_z, 0)(1.0, 4.0) == 0.25
        assert cr.grad(cr.grad(f, 0), 1)(1.0, 4.0) == 0.25
        assert cr.compile(cr.grad(by_z, 0))(1.0, 4.0) == 0.25
        assert cr.jvp(lambda x, by_z=by_z: by_z(x, 4.0), (1.0,), (1.0,))[1] == 0.25


def test_the_second_derivative_of_a_sum_over_chosen_samples() -> None:
    def loss(w: Any) -> Any:
        return cr.sum(cr.where(THERE, (X @ w - 1.0) ** 2, 0.0))

    w = np.array([1.0, 2.0])
    with np.errstate(all="ignore"):
        assert_array_equal(cr.hessian(loss)(w), [[2.0, 4.0], [4.0, 8.0]])
        assert_array_equal(cr.hvp(loss, w, np.array([1.0, 0.0])), [2.0, 4.0])


HONEST: dict[str, Callable[[], Any]] = {  # 0 times an infinite slope where something was chosen: no 0 is made of it
    "maximum": lambda: cr.grad(lambda x: cr.maximum(cr.cbrt(x) ** 3, -1.0))(0.0),
    "relu": lambda: cr.grad(lambda x: cr.relu(cr.sqrt(x) ** 2 + 1.0))(0.0),
    "where": lambda: cr.grad(lambda x: cr.where(x >= 0, cr.exp(cr.log(x)), 0.0))(0.0),
    "clip": lambda: cr.grad(lambda x: cr.clip(cr.exp(cr.mean(cr.log(x))), 0.0, 10.0))(np.array([0.0, 1.0]))[0],
    "forward, behind relu": lambda: cr.jvp(lambda x: cr.sum(cr.relu(1.0 / (x * x))), (np.array([0.0, 1.0]),), (np.ones(2),))[1],
    "forward, behind max": lambda: cr.jvp(lambda x: cr.max(cr.sqrt(cr.sum(x * x, axis=1))), (np.zeros((2, 2)),), (np.ones((2, 2)),))[1],
    "forward, behind where": lambda: cr.jvp(lambda x: cr.where(True, cr.sqrt(0.0 * x), 0.0), (1.0,), (1.0,))[1],
    "hessian": lambda: cr.hessian(lambda x: cr.where(True, cr.sum(cr.sqrt(x * x)), 0.0))(np.zeros(2))[0, 0],
    "mixed": lambda: cr.grad(cr.grad(lambda x, z: cr.where(True, x * cr.sqrt(z) ** 2, 0.0), 1), 0)(0.0, 0.0),
    "mixed, compiled": lambda: cr.grad(cr.grad(cr.compile(lambda x, z: cr.where(True, x * cr.sqrt(z) ** 2, 0.0)), 1), 0)(0.0, 0.0),
}  # fmt: skip


@pytest.mark.parametrize("name", HONEST)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_an_honest_nan_stays(name: str) -> None:
    assert math.isnan(HONEST[name]())


def masked_loss(w: Any) -> Any:
    return cr.sum(cr.where(THERE, (X @ w - 1.0) ** 2, 0.0))


def rising(x: Any) -> Any:
    return cr.sum(cr.where(x > 0, x**1.5, 0.0))


W = np.array([1.0, 2.0])
SECOND: dict[str, tuple[Callable[[], Any], Any]] = {
    "hvp of a compiled loss": (lambda: cr.hvp(cr.compile(masked_loss), W, W), [10, 20]),
    "jvp of its gradient": (lambda: cr.jvp(cr.grad(cr.compile(masked_loss)), (W,), (W,))[1], [10, 20]),
    "jvp of a compiled loss": (lambda: cr.jvp(cr.compile(masked_loss), (W,), (W,))[1], 40),
    "its hessian": (lambda: cr.hessian(cr.compile(masked_loss))(W), [[2, 4], [4, 8]]),
    "compiled gradient": (lambda: cr.compile(cr.grad(masked_loss))(W), [8, 16]),
    "compiled hessian": (lambda: cr.compile(cr.hessian(masked_loss))(W), [[2, 4], [4, 8]]),
    "compiled jvp": (lambda: cr.compile(lambda w: cr.jvp(masked_loss, (w,), (w,))[1])(W), 40),
    "a slope that is infinite at second order": (lambda: cr.hessian(rising)(np.array([0.0, 4.0])), [[0, 0], [0, 0.375]]),
    "compiled": (lambda: cr.compile(cr.hessian(rising))(np.array([0.0, 4.0])), [[0, 0], [0, 0.375]]),
    "of the compiled function": (lambda: cr.hessian(cr.compile(rising))(np.array([0.0, 4.0])), [[0, 0], [0, 0.375]]),
    "at third order": (lambda: cr.grad(cr.grad(cr.grad(lambda x: cr.where(x > 0, x**2.5, 0.0))))(0.0), 0),
    "behind relu": (lambda: cr.grad(cr.grad(lambda x: cr.relu(x**1.5 - 1.0)))(0.0), 0),
    "infinity in what counts": (lambda: cr.grad(lambda w: cr.sum(cr.where(THERE, np.full((2, 1), INF) @ w, 0.0)))(W[:1]), [INF]),
}  # fmt: skip


@pytest.mark.parametrize("name", SECOND)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_what_was_not_chosen_has_no_share_in_further_derivatives(name: str) -> None:
    f, expected = SECOND[name]
    assert_allclose(f(), expected, rtol=1e-12)


DROPPED: dict[str, tuple[Callable[[Any], Any], Any]] = {  # a node whose cotangent reaches no leaf, or not whole
    "where": (lambda x: cr.where(x > 0, x, 0.0), [-1.0, 4.0]),
    "floor": (cr.floor, [0.5, 4.5]),
    "sign": (lambda x: cr.sign(cr.relu(x)), [-0.5, 4.5]),
    "tril": (cr.tril, [[1.0, 2.0], [3.0, 4.0]]),
    "std": (lambda x: cr.std(x, axis=0), [[1.0, 2.0], [1.0, 3.0]]),
    "pad": (lambda x: cr.pad(x, 1), [1.0, 2.0]),
    "concatenate": (lambda x: cr.concatenate([np.zeros(1), x]), [1.0, 2.0]),
    "stack": (lambda x: cr.stack([np.zeros(2), x]), [1.0, 2.0]),
}


@pytest.mark.parametrize("name", DROPPED)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_nor_a_gradient_of_nodes_in_between(name: str) -> None:
    make, data = DROPPED[name]
    x = cr.Tensor(data)
    c = make(x)
    y = cr.sum(cr.where(c > 0, cr.sqrt(c), 0.0))
    y.backward()
    expected = np.where(c.data > 0, 0.5 / np.sqrt(c.data), 0.0)
    assert_allclose(c.grad, expected)
    assert_allclose(cr.gradients(y, c), expected)


def test_watching_and_recording_lines_change_nothing() -> None:
    x = cr.Tensor([0.0, 4.0])
    for block in cr.record_lines, lambda: cr.detect_anomaly(forward=False):
        with block():
            y = cr.sum(cr.where(x > 0, cr.flip(cr.flip(cr.sqrt(x), 0), 0) * 2.0, 0.0))
            assert_array_equal(cr.gradients(y, x), [0.0, 0.5])


def test_no_warnings_of_what_was_not_chosen() -> None:
    x = cr.Tensor([0.0, 4.0, 1e3])
    with np.errstate(all="ignore"):
        y = cr.sum(cr.where(THREE, cr.sqrt(x) * cr.exp(x), 0.0))
    with np.errstate(all="raise"):
        cr.gradients(y, x)
        cr.gradients(cr.where(x > 0, x * 3.0, 0.0) * 1e200, x, np.ones(3))


THREE = np.array([False, True, False])


def test_a_row_that_counts_stays_infinite() -> None:
    w = cr.Tensor([1.0, 2.0])
    with np.errstate(all="ignore"):
        assert_array_equal(cr.gradients(cr.where(True, X @ w, 0.0).sum(), w), [NAN, INF])
        assert cr.jvp(cr.sqrt, (0.0,), (1.0,)) == (0.0, INF)
        assert cr.jvp(lambda x: cr.relu(cr.sqrt(x) + 1.0), (0.0,), (1.0,)) == (1.0, INF)


def test_a_nan_in_the_data_is_chosen() -> None:
    for f in cr.relu, lambda x: cr.leaky_relu(x, 0.5), cr.elu, lambda x: cr.maximum(x, 0.0):
        assert math.isnan(cr.grad(lambda x, f=f: f(cr.tanh(x)))(NAN))


def test_an_honest_infinity_stays() -> None:
    x = cr.Value(0.0)
    s = cr.sqrt(x)
    assert cr.gradients(cr.where(x > 0, s, 0.0) + s, x) == INF
    assert math.isnan(cr.gradients(0.0 * cr.sqrt(x), x))


BROADCAST: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "condition larger than the branch": (
        lambda x: cr.where(np.array([[False, True], [False, True], [False, False]]), cr.sqrt(x), 0.0), [0.0, 4.0], [0.0, 0.5]),
    "branch of length 1": (lambda x: cr.where(np.array([False, False, False]), cr.log(x), 1.0), [0.0], [0.0]),
    "a number in an array": (lambda x: cr.where(np.zeros(3, bool), cr.log(x), 1.0), 0.0, 0.0),
    "condition smaller than the branch": (lambda x: cr.where(np.array([[False], [True]]), cr.sqrt(x), 0.0), [[0.0, 0.0], [1.0, 4.0]], [[0.0, 0.0], [0.5, 0.25]]),
    "broadcast inside the branch": (lambda x: cr.where(np.array([False, True]), cr.sqrt(x) * np.ones((3, 1)), 0.0), [0.0, 4.0], [0.0, 0.75]),
    "reduced inside the branch": (lambda x: cr.where(False, cr.sum(cr.sqrt(x)), 0.0), [0.0, 4.0], [0.0, 0.0]),
    "multiplied inside the branch": (lambda x: cr.where(np.zeros(2, bool), cr.sqrt(x) @ np.ones((2, 2)), 0.0), [0.0, 4.0], [0.0, 0.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", BROADCAST)
def test_nor_where_shapes_differ(name: str) -> None:
    f, data, expected = BROADCAST[name]
    for x in (cr.Tensor(data), *([cr.Value(data)] if data == 0.0 else [])):
        with np.errstate(all="ignore"):
            y = f(x)
            found = cr.gradients(y, x, seed=np.ones(y.shape))
            again = cr.gradients(y, x, seed=np.ones(y.shape), create_graph=True)
        assert_array_equal(found, expected)
        assert_array_equal(again.data, expected)


def test_nor_in_a_dot_of_values() -> None:
    x = cr.Value(0.0)
    y = cr.where(x > 0, cr.dot([cr.log(x), x], [1.0, 2.0]), x)
    assert cr.gradients(y, x) == 1.0


@pytest.mark.parametrize("accumulate", [cr.cumsum, cr.cumprod])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_a_number_accumulates_as_a_line_of_one(accumulate: Any, axis: int | None) -> None:
    x = cr.Value(1.5)
    y = cr.sum(accumulate(x, axis=axis))
    y.backward()
    assert (y.data, x.grad) == (1.5, 1.0)


def test_the_angle_does_not_turn_at_the_origin() -> None:
    assert cr.grad(cr.arctan2, (0, 1))(0.0, 0.0) == (0.0, 0.0)
    x = np.array([0.0, 3.0, 1e200, -1e-200])
    found = cr.grad(lambda a, b: cr.sum(cr.arctan2(a, b)), (0, 1))(x, np.array([0.0, 4.0, 1e200, 1e-200]))
    assert_allclose(found, [[0.0, 0.16, 5e-201, 5e199], [0.0, -0.12, -5e-201, 5e199]], rtol=1e-12)


@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_equal_elements_do_not_deviate(axis: int | None, keepdims: bool) -> None:
    """Their mean is rounded, and so their standard deviation may be a little more than 0."""
    x = np.array([[0.1, 0.1, 0.1], [0.1, 0.1, 0.1]])
    assert np.std(x[0]) > 0.0
    assert_array_equal(cr.grad(lambda x: cr.sum(cr.std(x, axis, keepdims=keepdims)))(x), np.zeros((2, 3)))
    x[0, 0] = 0.2  # of the first row, and of the first column, all is as it was
    g = cr.grad(lambda x: cr.sum(cr.std(x, 1)))(x)
    assert_allclose(g[0], [2**0.5 / 3, -(2**0.5) / 6, -(2**0.5) / 6], rtol=1e-12)
    assert_array_equal(g[1], np.zeros(3))


@pytest.mark.parametrize("p", [20, 3.0, 1.5, 0.5, -1, -3.0])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e30])
def test_p_norms_neither_overflow_nor_underflow(p: float, scale: float) -> None:
    x = np.array([0.9, -0.3, 0.6], np.float32)
    value, g = cr.value_and_grad(lambda x: cr.norm(x, p))(x * np.float32(scale))
    exact = np.sum(np.abs(x.astype(float)) ** p) ** (1.0 / p)
    assert_allclose(value, scale * exact, rtol=1e-5)
    assert_allclose(g, np.sign(x) * (np.abs(x) / exact) ** (p - 1.0), rtol=1e-4)
    assert value.dtype == g.dtype == np.float32


@pytest.mark.parametrize(
    ("p", "slopes"), [(3, [0.0, 0.0, 1.0]), (1.5, [0.0, 0.0, 1.0]), (0.5, [0.0, 0.0, 1.0]), (-1, [0.0] * 3)]
)
def test_the_slope_of_a_p_norm_by_an_element_that_is_0(p: float, slopes: list[float]) -> None:
    assert_array_equal(cr.grad(lambda x: cr.norm(x, p))(np.array([0.0, -0.0, 2.0])), slopes)
    assert_array_equal(cr.grad(lambda x: cr.norm(x, p))(np.zeros(3)), np.zeros(3))


root_of = cr.custom("root_of", np.sqrt, lambda g, y, x: 0.5 * g / y, elementwise=True)

MORE: dict[str, tuple[Callable[[Any], Any], Any, Any]] = {
    "a custom operation": (lambda x: cr.sum(cr.where(x > 1, root_of(x), 0.0)), [0.0, 4.0], [0, 0.25]),
    "std of rows": (lambda x: cr.sum(cr.where(THERE, cr.std(x, axis=1), 0.0)), [[4.0, 2.0], [INF, 3.0]], [[0.5, -0.5], [0, 0]]),
    "what an index leaves out": (lambda x: cr.sum((lambda y: cr.where(y > 1, y, 0.0))(cr.sqrt(x)[1:])), [0.0, 4.0, 0.25], [0, 0.25, 0]),
    "also where all is chosen": (lambda x: cr.sum((lambda y: cr.where(y > 1, y, 0.0))(cr.sqrt(x)[1:])), [0.0, 4.0, 9.0], [0, 0.25, 1 / 6]),
}  # fmt: skip


@pytest.mark.parametrize("name", MORE)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_same_in_every_mode(name: str) -> None:
    f, data, expected = MORE[name]
    x = cr.Tensor(data)
    y = f(x)
    assert_allclose(cr.gradients(y, x), expected)
    assert_allclose(cr.gradients(y, x, create_graph=True).data, expected)
    assert_allclose(cr.grad(cr.compile(f))(np.array(data)), expected)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_second_derivatives_of_rows() -> None:
    def loss(x: Any) -> Any:
        losses = cr.softmax_cross_entropy(cr.log(x), np.array([0, 1]), "none")
        return cr.sum(cr.where(THERE, losses, x[:, 1] ** 2) ** 2)

    h = cr.hessian(loss)(np.array([[4.0, 2.0], [-1.0, 3.0]])).reshape(4, 4)
    assert np.all(np.isfinite(h))
    assert_allclose(h[2:], [[0, 0, 0, 0], [0, 0, 0, 108]], atol=1e-12)
    h = cr.hessian(lambda x: cr.sum(cr.where(np.array([True, False, False]), cr.cumprod(cr.sqrt(x)), 0.0)))(
        np.array([4.0, 0.0, 1.0])
    )
    assert_allclose(h, [[-0.03125, 0, 0], [0, 0, 0], [0, 0, 0]])


ALIVE: dict[str, tuple[Callable[[Any], Any], Any]] = {  # what has a share in something dead and in something alive, in any order
    "where": (lambda v: cr.sum(cr.where(v > -1, cr.sin(v), v * 3.0)), lambda v: -np.sin(v)),
    "relu": (lambda v: cr.sum(cr.tanh(v) + cr.relu(-v)), lambda v: -2 * np.tanh(v) * (1 - np.tanh(v) ** 2)),
    "maximum": (lambda v: cr.sum(cr.maximum(cr.exp(v), v - 1.0)), np.exp),
    "clip": (lambda v: cr.sum(cr.sin(v) + cr.clip(v, 5.0, 6.0)), lambda v: -np.sin(v)),
    "where of a logarithm": (lambda v: cr.sum(cr.where(v > 0, cr.log(v), v)), lambda v: -1 / v**2),
}  # fmt: skip


@pytest.mark.parametrize("name", ALIVE)
def test_nothing_alive_is_cut(name: str) -> None:
    f, second = ALIVE[name]
    x = np.array([0.5, 0.7])

    def g(x: Any) -> Any:
        return f(x * 2.0)

    assert_allclose(np.diag(cr.hessian(g)(x)), 4.0 * second(2.0 * x))
    assert_allclose(cr.hvp(g, x, np.ones(2)), 4.0 * second(2.0 * x))
    assert_allclose(cr.hessian(cr.compile(g))(x), cr.hessian(g)(x))
    assert_allclose(cr.compile(cr.hessian(g))(x), cr.hessian(g)(x))


# Sums by products with ones, and products by `dot`

LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "rows": lambda x: x,
    "columns": np.asfortranarray,
    "strided": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "backwards": lambda x: x[..., ::-1].copy()[..., ::-1],
    "another byte order": lambda x: x.astype(x.dtype.newbyteorder()),
}
FLOATS = ["float64", "float32", "float16", "longdouble"]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch", [(0,), (1,), (32,), (1024,), (1025,), (2, 3), (2, 0)])
def test_a_layer_on_few_samples_and_on_many(batch: tuple[int, ...], layout: str, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, w, g = (rng.integers(-1, 2, shape) for shape in ((*batch, 3), (2, 3), (*batch, 2)))  # exact in any precision
    data, weight, seed = (LAYOUTS[layout](array.astype(dtype)) for array in (x, w, g))
    inputs, weights, bias = cr.Tensor(data), cr.Tensor(weight), cr.Tensor(np.zeros(2, dtype))
    for given in inputs, data:
        weights.grad = bias.grad = None
        cr.linear(given, weights, bias).backward(seed)
        assert_array_equal(weights.grad, g.reshape(-1, 2).T @ x.reshape(-1, 3))
        assert_array_equal(bias.grad, g.sum(axis=tuple(range(len(batch)))))
        assert (weights.grad.dtype, bias.grad.dtype) == (weights.dtype, bias.dtype)
    assert_array_equal(inputs.grad, g @ w)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(3,), (1, 1), (4, 1024), (4, 1025), (1025, 2), (2, 3, 4)])
def test_the_loss_of_equal_logits_of_few_classes_and_of_many(shape: tuple[int, ...], layout: str, dtype: str) -> None:
    *batch, classes = shape
    logits, labels = cr.Tensor(LAYOUTS[layout](np.ones(shape, dtype))), np.zeros(batch, int)
    loss = cr.softmax_cross_entropy(logits, labels)
    loss.backward()
    eps = max(float(np.finfo(dtype).eps), 1e-16)
    close = {"rtol": 8 * eps, "atol": eps}
    assert_allclose(loss.item(), math.log(classes), **close)
    n = math.prod(batch)
    assert_allclose(logits.grad, (1.0 / classes - (np.arange(classes) == 0) + np.zeros(shape)) / n, **close)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_products_of_a_column_and_a_row_are_silent_about_what_was_infinite_before(dtype: str) -> None:
    for samples, n_out in (1, 2), (1, 3), (2, 1), (3, 1):
        x, weight = (cr.Tensor(np.ones((n, 3)), dtype) for n in (samples, n_out))
        single = x if samples == 1 else weight
        single.data[0, 0] = INF
        with np.errstate(all="raise"):
            y = cr.linear(x, weight, cr.Tensor(np.zeros(n_out), dtype))
            y.backward(np.ones(y.shape))
        other = weight if single is x else x
        assert_array_equal(other.grad, np.full(other.shape, [INF, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("given", "big", "message"), [(1e30, 1e30, "overflow .* matmul|overflow .* dot"), (0.0, 3e38, "overflow")]
)
def test_what_overflows_in_a_layer_is_told(given: float, big: float, message: str) -> None:
    x, weight = (cr.Tensor(np.full((4, 3), number, np.float32)) for number in (given, 0.0))
    y = cr.linear(x, weight, cr.Tensor(np.zeros(4, np.float32)))
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match=message):
        y.backward(np.full(y.shape, big, np.float32))
    assert weight.grad is None


# What underflows

FAR: list[Any] = [[1000.0, -1000.0, 0.0, 3.0], [-745.0, 745.0, -708.0, 1e-320], [-104.0, 100.0, -88.0, 1e-200]]
UNDERFLOWING: dict[str, Callable[[Any], Any]] = {
    **{name: getattr(cr, name) for name in ("relu", "leaky_relu", "elu", "silu", "softplus", "tanh", "sigmoid")},
    **{name: getattr(cr, name) for name in ("softmax", "log_softmax", "logsumexp")},
    "gelu": lambda x: cr.gelu(x * 0.1),  # in half precision the square of 1000 overflows
    "erfc": lambda x: cr.erfc(x * 0.1),
    "exp of what is far below 0": lambda x: cr.exp(-abs(x)),
    "products": lambda x: cr.tanh(x) * 1e-160 @ (x.T * 1e-161),
    "another precision": lambda x: cr.exp(-abs(x.astype(float))).astype("float16"),
    "a custom operation": cr.custom("gauss", lambda x: np.exp(-abs(x)), lambda g, y, x: -g * y * cr.sign(x)),
}


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("name", UNDERFLOWING)
def test_what_underflows_is_no_error_where_numpy_is_told_to_raise(name: str, dtype: str) -> None:
    f = UNDERFLOWING[name]
    with np.errstate(under="ignore"):
        x = cr.Tensor(FAR, dtype=dtype)

    def run() -> list[bytes]:
        y = f(x)
        seed = np.full(y.shape, 0.1, y.dtype)
        x.grad = None
        y.backward(seed)
        results = [y.data, x.grad, cr.gradients(y, x, seed, create_graph=True).data]
        return [np.asarray(result).tobytes() for result in results]

    expected = run()
    with np.errstate(all="raise"):
        assert run() == expected


def test_plain_data_underflows_too() -> None:
    x = np.array(FAR)
    for f in (cr.sigmoid, cr.softplus, cr.gelu, cr.softmax, cr.log_softmax, cr.logsumexp):
        expected = f(x)
        with np.errstate(all="raise"):
            assert_array_equal(f(x), expected)


def test_compiled_code_underflows_as_the_function_does() -> None:
    def f(x: Any) -> Any:
        return cr.sum(cr.sigmoid(x) * cr.exp(-abs(x)))

    compiled, x = cr.compile(cr.value_and_grad(f)), np.array(FAR)
    with np.errstate(all="raise"):
        for _ in range(3):
            for found, expected in zip(compiled(x), cr.value_and_grad(f)(x), strict=True):
                assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("f", "at", "message"),
    [
        (cr.exp, 1000.0, "exp: cannot be computed .*: overflow"),
        (cr.log, 0.0, "log: cannot be computed .*: divide by zero"),
        (lambda x: cr.exp(-x) + cr.log(x), 0.0, "log: cannot be computed .*: divide by zero"),
        (lambda x: cr.softmax(x) / 0.0, 1000.0, "div: cannot be computed .*: divide by zero"),
    ],
)
def test_what_else_numpy_is_told_to_raise_is_an_error(f: Any, at: float, message: str) -> None:
    with np.errstate(all="raise"), pytest.raises(RuntimeError, match=message):
        f(cr.Tensor([-1000.0 if at else 1000.0, at]))


def test_rules_raise_what_else_numpy_is_told_to_raise() -> None:
    x = cr.Tensor([1.0, 0.0])
    y = cr.sum(cr.sqrt(x) * 1e-200)
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="divide by zero"):
        y.backward()
    assert x.grad is None


def test_an_operation_that_fails_twice_leaves_nothing_behind() -> None:
    x = cr.Tensor([1000.0])
    gone = weakref.ref(x)
    gc.disable()
    try:
        with np.errstate(all="raise"), pytest.raises(RuntimeError, match="overflow") as error:
            cr.exp(x)
        del error, x
        assert gone() is None
    finally:
        gc.enable()
