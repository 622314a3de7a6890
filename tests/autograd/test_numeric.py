"""Numeric derivatives: true within their own error estimates, for functions of any scale, near edges and kinks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.checking.numeric import derivative

L = np.longdouble

#   name        function               derivative, in longdouble                 points
FUNCTIONS: dict[str, tuple[Any, Any, tuple[float, float]]] = {
    "exp":      (np.exp,               np.exp,                                   (-20, 20)),
    "sin":      (np.sin,               np.cos,                                   (-20, 20)),
    "x**5":     (lambda x: x**5,       lambda x: 5 * x**4,                       (-5, 5)),
    "1/x":      (lambda x: 1 / x,      lambda x: -1 / x**2,                      (1e-3, 9)),
    "tanh":     (np.tanh,              lambda x: 1 / np.cosh(x) ** 2,            (-6, 6)),
    "log":      (np.log,               lambda x: 1 / x,                          (1e-6, 9)),
    "sqrt":     (np.sqrt,              lambda x: 1 / (2 * np.sqrt(x)),           (1e-6, 9)),
    "arctan":   (np.arctan,            lambda x: 1 / (1 + x * x),                (-9, 9)),
    "x":        (lambda x: x,          lambda x: L(1),                           (-9, 9)),
    "constant": (lambda x: 3.0,        lambda x: L(0),                           (-9, 9)),
    "fast":     (lambda x: np.sin(1000 * x), lambda x: 1000 * np.cos(1000 * x),  (-1, 1)),
    "narrow":   (lambda x: np.exp(-((1000 * x) ** 2)), lambda x: -2000000 * x * np.exp(-((1000 * x) ** 2)), (-2e-3, 2e-3)),
    "offset":   (lambda x: 1e6 + np.sin(x), np.cos,                              (-9, 9)),
    "relu":     (lambda x: np.maximum(x, 0.0), lambda x: L(x > 0),               (-0.1, 0.1)),
}  # fmt: skip


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_truth_lies_within_the_error_estimate(name: str, scale: float) -> None:
    f, slope, (low, high) = FUNCTIONS[name]
    points = np.random.default_rng(0).uniform(low, high, 40)
    within = 0
    for x in points:
        estimate = derivative(lambda t: float(scale * f(t)), float(x))
        truth = L(scale) * slope(L(x))
        within += bool(abs(L(estimate.value) - truth) <= estimate.error)
        assert abs(L(estimate.value) - truth) <= 1e-5 * scale * max(1, abs(slope(L(x))))
    assert within >= 0.95 * len(points)


#   rounding inside, whose finest steps agree          derivative                        from where to where
HIDDEN: dict[str, tuple[Any, Any, float, float]] = {
    "(1-cos x)/x":        (lambda x: (1 - np.cos(x)) / x,           lambda x: 1/2 - x*x/8,    1e-7, 1e-3),
    "(exp x-1)/x":        (lambda x: (np.exp(x) - 1) / x,           lambda x: 1/2 + x/3 + x*x/8,       1e-12, 1e-3),
    "(exp x-1-x)/x":      (lambda x: (np.exp(x) - 1 - x) / x,       lambda x: 1/2 + x/3 + x*x/8,       1e-12, 1e-3),
    "log(1+x)/x":         (lambda x: np.log(1 + x) / x,             lambda x: -1/2 + 2*x/3 - 3*x*x/4,  1e-12, 1e-3),
    "(sqrt(1+xx)-1)/x":   (lambda x: (np.sqrt(1 + x*x) - 1) / x,    lambda x: 1/2 - 3*x*x/8,  1e-7, 1e-3),
    "1/tanh x-1/x":       (lambda x: 1 / np.tanh(x) - 1 / x,        lambda x: 1/3 - x*x/15,   1e-12, 1e-3),
    "sqrt(1-xx)":         (lambda d: np.sqrt(1 - (1-d)*(1-d)),      lambda d: (1-d) / np.sqrt(d*(2-d)), 1e-9, 1e-3),
}  # fmt: skip


@pytest.mark.parametrize("name", HIDDEN)
def test_a_plateau_of_rounding_is_found_out(name: str) -> None:
    f, slope, low, high = HIDDEN[name]
    for x in np.geomspace(low, high, 12).tolist():
        estimate = derivative(lambda t: float(f(t)), x)
        truth = float(slope(x))
        between = estimate.kink or (estimate.value, estimate.value)
        assert min(between) - 2 * estimate.error <= truth <= max(between) + 2 * estimate.error, f"{x}: {estimate}"
        assert estimate.error < abs(truth) / 4, f"{x}: {estimate}"


def at_zero(f: Any) -> Any:
    return lambda x: float(np.where(x == 0, 0.0, f(np.where(x == 0, 1.0, x))))


@pytest.mark.parametrize("name", ["(1-cos x)/x", "(sqrt(1+xx)-1)/x", "1/tanh x-1/x"])
def test_a_function_that_is_mended_at_0_has_its_slope_there(name: str) -> None:
    f, slope, _, _ = HIDDEN[name]
    estimate = derivative(at_zero(f), 0.0)
    assert abs(estimate.value - slope(0.0)) <= estimate.error < 1e-6


@pytest.mark.parametrize("distance", [1e-3, 1e-5, 1e-7, 1e-9])
def test_a_kink_beside_is_none_here(distance: float) -> None:
    for x, exact in ((1.0 - distance, 0.0), (1.0 + distance, 1.0)):
        estimate = derivative(lambda t: max(t, 1.0), x)
        assert estimate.kink is None
        assert abs(estimate.value - exact) <= estimate.error < 1e-3


def test_many_kinks_are_no_rounding() -> None:
    rng = np.random.default_rng(1)
    for _ in range(40):
        w, b, c = rng.normal(size=(3, 32))
        b *= 10.0 ** rng.uniform(-3, 0)
        estimate = derivative(lambda u, w=w, b=b, c=c: float(np.sum(c * np.maximum(w * (u - 0.7) + b, 0.0))), 0.7)  # type: ignore[misc]
        assert abs(estimate.value - np.sum(c * w * (b > 0))) <= estimate.error < 1e-3


@pytest.mark.parametrize("x", [1e-300, 1e-12, 1e12, 1e100])
def test_the_step_follows_the_argument(x: float) -> None:
    assert derivative(math.log, x).value == pytest.approx(1 / x, rel=1e-9)
    assert derivative(math.sqrt, x).value == pytest.approx(0.5 / math.sqrt(x), rel=1e-9)


def test_the_domain_of_the_function_is_respected() -> None:
    assert derivative(lambda x: math.sqrt(1.0 - x), 1.0 - 1e-6).value == pytest.approx(-500.0, rel=1e-6)
    assert math.isnan(derivative(math.sqrt, 0.0).value)
    assert derivative(math.sqrt, 0.0).error == math.inf
    assert math.isnan(derivative(lambda x: math.inf, 1.0).value)


def test_other_errors_are_not_swallowed() -> None:
    with pytest.raises(KeyError):
        derivative(lambda x: {}[x], 1.0)


def test_a_function_rounded_to_float32_inside_is_found_out() -> None:
    estimate = derivative(lambda x: float(np.float32(math.sin(x))), 1.0)
    assert abs(estimate.value - math.cos(1.0)) <= estimate.error < 1e-2


def quadratic(x: Any) -> Any:
    return (x * x).sum()


def test_results_have_the_form_of_the_arguments() -> None:
    number = cr.numeric_gradient(lambda x: x**3, 2)
    assert type(number) is float
    assert number == pytest.approx(12.0)
    array = cr.numeric_gradient(quadratic, np.array([[1, 2], [3, 4]], dtype="f"))
    assert (array.shape, array.dtype) == ((2, 2), np.float64)
    np.testing.assert_allclose(array, [[2, 4], [6, 8]])
    x, tree = cr.numeric_gradient(
        lambda x, p: quadratic(x * p["w"]) + p["b"][0] * 3.0, cr.Tensor([1.0, 2.0]), {"w": 2.0, "b": [cr.Value(1.0)]}
    )
    np.testing.assert_allclose(x, [8, 16])
    assert tree == {"w": pytest.approx(20.0), "b": [pytest.approx(3.0)]}


def test_a_gradient_comes_with_its_error_bar() -> None:
    for f, x, exact in (
        (cr.exp, 0.5, np.exp(0.5)),
        (
            lambda x: cr.sum(cr.sin(x) * x),
            np.array([[0.3, 2.0]]),
            np.sin([[0.3, 2.0]]) + [[0.3, 2.0]] * np.cos([[0.3, 2.0]]),
        ),
        (
            lambda x: cr.sum(cr.gradients(cr.sum(x**3), x, create_graph=True)),
            np.array([2.0, -1.0]),
            np.array([12.0, -6.0]),
        ),
    ):
        gradient, bar = cr.numeric_gradient(f, x, error=True)
        assert (type(gradient), np.shape(gradient)) == (type(bar), np.shape(bar))
        assert np.all(np.abs(gradient - exact) <= bar)
        assert np.all(bar < 1e-9)
        np.testing.assert_array_equal(cr.numeric_gradient(f, x), gradient)
    (x, tree), (x_bar, tree_bar) = cr.numeric_gradient(
        lambda x, p: cr.sum(x) * p["w"][0], np.ones(2), {"w": [2.0]}, error=True
    )
    assert (x.shape, x_bar.shape) == ((2,), (2,))
    assert abs(tree["w"][0] - 2.0) <= tree_bar["w"][0] < 1e-9
    assert cr.numeric_gradient(cr.abs, 0.0, error=True)[1] >= 1.0
    assert cr.numeric_gradient(cr.sqrt, 0.0, error=True)[1] == math.inf
    with pytest.raises(TypeError, match="numeric_gradient: error must be True or False, got 1"):
        cr.numeric_gradient(cr.abs, 0.0, error=1)


@pytest.mark.parametrize(
    "x", [np.zeros((0, 3)), np.array(3.0), np.arange(12.0).reshape(3, 4)[::2, ::-1], np.float64(2.0)]
)
def test_arrays_of_every_kind(x: Any) -> None:
    found = cr.numeric_gradient(quadratic, x)
    assert found.shape == np.shape(x)
    np.testing.assert_allclose(found, 2 * x, atol=1e-12)


def test_variables_given_are_not_touched() -> None:
    x = cr.Tensor([1.0, 2.0])
    y = quadratic(x)
    data, birth = x.data, x.birth
    cr.numeric_gradient(quadratic, x)
    assert x.data is data
    assert (x.birth, x.grad) == (birth, None)
    y.backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_float32_is_evaluated_at_float64() -> None:
    x = np.array([0.3, 0.7], dtype="f")
    np.testing.assert_allclose(cr.numeric_gradient(lambda x: cr.sum(cr.exp(x)), x), np.exp(x.astype(float)), rtol=1e-11)


@pytest.mark.parametrize(
    ("f", "args", "message"),
    [
        (lambda x: None, (1.0,), "numeric_gradient: the result of the function: expected a number.*None"),
        (lambda x: "1", (1.0,), "expected a number.*'1'"),
        (lambda x: x * 2.0, (np.ones(2),), r"must return a single number, got shape \(2,\)"),
        (lambda x: x, ("1",), "numeric_gradient: expected a number.*'1'"),
        (lambda: 1.0, (), "expected the arguments of f"),
    ],
)
def test_bad_input(f: Any, args: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        cr.numeric_gradient(f, *args)


@pytest.mark.parametrize(
    ("f", "x", "exact"),
    [
        (np.sin, 1.0, math.cos(1.0)),
        (lambda x: (x + 1e8) - 1e8 + x * x, 1.0, 3.0),  # rounding inside, which real steps see
        (np.sqrt, 1e-20, 5e9),
        (np.abs, -0.5, -1.0),  # not analytic: the complex step is not believed
        (lambda x: np.where(x.real > 0, 3.0 * x, -x), 0.25, 3.0),
        (np.conj, 2.0, 1.0),
    ],
    ids=["sin", "rounding inside", "sqrt near 0", "abs", "where", "conjugate"],
)
def test_a_complex_step_adds_digits_where_it_agrees(f: Any, x: float, exact: float) -> None:
    found = derivative(f, x)
    assert found.value == pytest.approx(exact, rel=4e-16)
    assert abs(found.value - exact) <= found.error


def test_an_error_of_a_function_of_real_numbers_is_not_hidden() -> None:
    with pytest.raises(TypeError, match="concatenate"):
        derivative(lambda x: "text" + x, 1.0)  # type: ignore[operator]
