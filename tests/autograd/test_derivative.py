"""Derivatives of functions: known formulas, numeric ones, nesting, containers, and the kinds of data that come out."""

from __future__ import annotations

import math
import sys
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import directional, kind
from scripts import printed_by

import chainrule as cr

RNG = np.random.default_rng(0)
A = RNG.normal(size=(3, 3))
X, V, W = RNG.normal(size=(3, 3))


def rosenbrock(x: Any) -> Any:
    return cr.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def quadratic(x: Any) -> Any:
    return 0.5 * x @ A @ x


# Known formulas: the function, where, and its gradient there.
FORMULAS: dict[str, tuple[Callable[..., Any], Any, Any]] = {
    "power": (lambda x: x**3, 2.0, 12.0),
    "exp of square": (lambda x: cr.exp(x * x), 0.5, math.exp(0.25)),
    "quotient": (lambda x: cr.sin(x) / x, 2.0, math.cos(2.0) / 2.0 - math.sin(2.0) / 4.0),
    "x to the x": (lambda x: x**x, 2.0, 4.0 * (math.log(2.0) + 1.0)),
    "sum of squares": (lambda x: cr.sum(x * x), X, 2.0 * X),
    "quadratic form": (quadratic, X, 0.5 * (A + A.T) @ X),
    "softmax of logits": (cr.logsumexp, X, np.exp(X) / np.exp(X).sum()),
    "norm": (cr.norm, X, X / np.sqrt((X * X).sum())),
    "trace of a product": (lambda m: cr.trace(m @ A), A, A.T),
    "independent of x": (lambda x: 3.0, X, np.zeros(3)),
    "a loop": (lambda x: math.prod([x] * 5), 2.0, 80.0),
    "a branch": (lambda x: x * x if x > 0 else -x, -1.0, -1.0),
    "identity": (lambda x: x, 2.0, 1.0),
}


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_by_formula(name: str) -> None:
    f, x, expected = FORMULAS[name]
    g = cr.grad(f)(x)
    assert_allclose(g, expected, rtol=1e-14)
    assert kind(g) == kind(x)
    y, again = cr.value_and_grad(f)(x)
    assert_allclose(again, expected, rtol=1e-14)
    assert_allclose(y, f(x), rtol=1e-14)
    assert not isinstance(y, cr.Node)


SMOOTH: dict[str, tuple[Callable[..., Any], Any]] = {
    "rosenbrock": (rosenbrock, X),
    "quadratic": (quadratic, X),
    "cubic form": (lambda x: cr.sum(cr.outer(x, x) * A) * cr.sum(x), X),
    "network": (lambda x: cr.sum(cr.tanh(A @ cr.sigmoid(A @ x))), X),
    "log of sums": (lambda x: cr.logsumexp(A @ x) * x[0], X),
    "matrix": (lambda m: cr.sum(cr.sin(m @ m.T)), A[:2]),
    "number": (lambda x: cr.exp(cr.sin(x)) * x, 0.7),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_all_functions_agree_with_each_other_and_with_numeric_ones(name: str) -> None:
    f, x = SMOOTH[name]
    v = 0.3 if isinstance(x, float) else RNG.normal(size=x.shape)
    g, h = cr.grad(f)(x), cr.hessian(f)(x)
    slope = np.sum(g * v)
    assert_allclose(slope, directional(lambda x: float(f(x)), x, v), rtol=1e-8)
    assert_allclose(cr.jvp(f, (x,), (v,)), (f(x), slope), rtol=1e-12)
    assert_allclose(cr.jacobian(f)(x), g, rtol=1e-14)
    assert np.shape(h) == np.shape(x) * 2
    product = np.tensordot(h, v, np.ndim(x))
    numeric = directional(lambda x: float(np.sum(cr.grad(f)(x) * v)), x, v)
    assert_allclose(np.sum(product * v), numeric, rtol=1e-7, atol=1e-9)
    assert_allclose(h, np.reshape(h, (np.size(x), -1)).T.reshape(np.shape(h)), rtol=1e-10, atol=1e-13)
    for found in (cr.hvp(f, x, v), cr.hvp(f)(x, v), cr.jvp(cr.grad(f), (x,), (v,))[1]):
        assert_allclose(found, product, rtol=1e-10, atol=1e-12)
        assert kind(found) == kind(x)


# Vector functions


def polar(p: Any) -> Any:
    return cr.stack([p[0] * cr.cos(p[1]), p[0] * cr.sin(p[1])])


def test_jacobian_by_formula() -> None:
    r, a = 2.0, 0.6
    expected = [[math.cos(a), -r * math.sin(a)], [math.sin(a), r * math.cos(a)]]
    assert_allclose(cr.jacobian(polar)(np.array([r, a])), expected, rtol=1e-14)


JACOBIANS: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "vector to vector": (lambda x: cr.sin(A @ x), X),
    "matrix to vector": (lambda m: m @ X, A),
    "vector to matrix": (lambda x: cr.outer(x, x), X),
    "number to vector": (lambda x: cr.stack([x, x * x, cr.exp(x)]), 0.5),
    "vector to number": (quadratic, X),
    "constant": (lambda x: np.arange(4.0), X),
}


@pytest.mark.parametrize("name", JACOBIANS)
def test_jvp_and_vjp_are_products_with_the_jacobian(name: str) -> None:
    f, x = JACOBIANS[name]
    y = np.asarray(f(x))
    v = RNG.normal(size=np.shape(x)) if np.shape(x) else 0.3
    u = RNG.normal(size=y.shape) if y.shape else 0.7
    j = cr.jacobian(f)(x)
    assert j.shape == y.shape + np.shape(x)
    value, pushed = cr.jvp(f, (x,), (v,))
    assert_allclose(value, y)
    assert_allclose(pushed, np.tensordot(j, v, np.ndim(x)), rtol=1e-12, atol=1e-14)
    value, pull = cr.vjp(f, x)
    assert_allclose(value, y)
    assert_allclose(pull(u)[0], np.tensordot(u, j, y.ndim), rtol=1e-12, atol=1e-14)
    assert_allclose(pull(2.0 * u)[0], 2.0 * np.tensordot(u, j, y.ndim), rtol=1e-12, atol=1e-14)
    assert kind(pull(u)[0]) == kind(x)


def test_jacobian_of_an_empty_result() -> None:
    assert cr.jacobian(lambda x: x[:0])(X).shape == (0, 3)
    assert cr.jacobian(lambda x: cr.stack([x, x])[:0])(1.0).shape == (0,)
    assert cr.jacobian(lambda x: x[:0])(X.astype(np.float32)).dtype == np.float32


LITTLE_MEMORY = """
import resource, numpy as np, chainrule as cr
rows = []
spy = cr.custom("spy", lambda x: x * 1.0, lambda g, y, x: (rows.append(1), g)[1])
jacobian = cr.jacobian(lambda x: spy(x))
with open("/proc/self/statm") as file:
    most = int(file.read().split()[0]) * resource.getpagesize() + (64 << 20)
resource.setrlimit(resource.RLIMIT_AS, (most, most))
try:
    jacobian(np.ones(6000))
except MemoryError:
    print(len(rows), jacobian(np.ones(3)).tolist() == np.eye(3).tolist())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere memory cannot be limited so")
def test_a_jacobian_that_is_too_large_is_refused_before_its_first_row() -> None:
    assert printed_by(LITTLE_MEMORY) == b"0 True\n"


def test_a_jacobian_needs_its_memory_once() -> None:
    x = np.ones(600)
    tracemalloc.start()
    try:
        found = cr.jacobian(lambda x: x * 2.0)(x)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert_array_equal(found, 2.0 * np.eye(600))
    assert most < 1.5 * found.nbytes


def test_several_arguments() -> None:
    y, pull = cr.vjp(lambda a, b: a * b, 2.0, X)
    assert_allclose(y, 2.0 * X)
    da, db = pull(V)
    assert type(da) is float
    assert_allclose(da, X @ V)
    assert_allclose(db, 2.0 * V)
    assert_allclose(cr.jvp(lambda a, b: a * b, (2.0, X), (0.5, V))[1], 0.5 * X + 2.0 * V)
    assert cr.hvp(lambda a, b: a * b**3, 2.0, 3.0, 1.0, argnums=1) == 36.0


# Nesting


def derivative(f: Callable[[Any], Any], order: int) -> Callable[[Any], Any]:
    for _ in range(order):
        f = cr.grad(f)
    return f


TANH = math.tanh(0.3)
HIGH: dict[str, tuple[Callable[[Any], Any], float, list[float]]] = {
    "tanh": (
        cr.tanh,
        0.3,
        [
            TANH,
            1 - TANH**2,
            -2 * TANH * (1 - TANH**2),
            (1 - TANH**2) * (6 * TANH**2 - 2),
            8 * TANH * (1 - TANH**2) * (2 - 3 * TANH**2),
        ],
    ),
    "sine": (cr.sin, 0.3, [f(0.3) for f in (math.sin, math.cos, lambda x: -math.sin(x), lambda x: -math.cos(x), math.sin)]),
    "power": (lambda x: x**5, 2.0, [32.0, 80.0, 160.0, 240.0, 240.0]),
    "logarithm": (cr.log, 2.0, [math.log(2.0), 0.5, -0.25, 0.25, -0.375]),
    "cubic": (lambda x: x * x * x, 2.0, [8.0, 12.0, 12.0, 6.0, 0.0]),
}  # fmt: skip


@pytest.mark.parametrize("name", HIGH)
def test_up_to_the_fourth_order(name: str) -> None:
    f, x, expected = HIGH[name]
    for order, d in enumerate(expected):
        assert derivative(f, order)(x) == pytest.approx(d, rel=1e-13)
        on_arrays = derivative(lambda t: cr.sum(f(t)), order)(np.array(x)) if order else f(x)
        assert float(on_arrays) == pytest.approx(d, rel=1e-13)


def test_nested_gradients_of_arrays() -> None:
    third = cr.jacobian(cr.hessian(lambda x: cr.sum(x**4)))(X)
    expected = np.zeros((3, 3, 3))
    expected[(np.arange(3),) * 3] = 24.0 * X
    assert_allclose(third, expected, rtol=1e-12)


CONFUSION: dict[str, tuple[Callable[[Any], Any], float, float]] = {
    "x d/dy (x + y)": (lambda x: x * cr.grad(lambda y: x + y)(1.0), 1.0, 1.0),
    "x d/dy (x y)": (lambda x: x * cr.grad(lambda y: x * y)(2.0), 3.0, 6.0),
    "inner at the outer variable": (lambda x: cr.grad(lambda y: x * y * y)(x), 3.0, 12.0),
    "product of both": (lambda x: cr.grad(lambda y: y * x)(x) * x, 5.0, 10.0),
    "forward inside reverse": (lambda x: x * cr.jvp(lambda y: x + y, (1.0,), (1.0,))[1], 1.0, 1.0),
    "reverse in forward": (lambda x: cr.jvp(lambda y: y * cr.grad(lambda z: y * z * z)(y), (x,), (1.0,))[1], 2.0, 24.0),
    "pulled back by an outer variable": (lambda x: cr.vjp(lambda y: y * y, 3.0)[1](x)[0], 2.0, 6.0),
    "three deep": (lambda x: cr.grad(lambda y: cr.grad(lambda z: x * y * z)(1.0))(1.0), 2.0, 1.0),
    "outer variable as constant": (lambda x: cr.grad(lambda y: x * x)(1.0) + x, 2.0, 1.0),
}


@pytest.mark.parametrize("name", CONFUSION)
def test_perturbations_are_not_confused(name: str) -> None:
    f, x, expected = CONFUSION[name]
    assert cr.grad(f)(x) == expected
    assert cr.jvp(f, (x,), (1.0,))[1] == expected


# Arguments


def test_argnums() -> None:
    def f(a: Any, b: Any, c: Any) -> Any:
        return cr.sum(a * b**2 + c)

    args = (2.0, X, 1.0)
    da, db, dc = X @ X, 4.0 * X, 3.0
    assert_allclose(cr.grad(f)(*args), da)
    assert_allclose(cr.grad(f, 1)(*args), db)
    assert cr.grad(f, -1)(*args) == dc
    for argnums, expected in {(0, 1): (da, db), (2, 0): (dc, da), (-1, 1): (dc, db), (1,): (db,), (): ()}.items():
        found = cr.grad(f, argnums)(*args)
        assert isinstance(found, tuple)
        assert len(found) == len(expected)
        for g, e in zip(found, expected, strict=True):
            assert_allclose(g, e)
    assert_allclose(cr.grad(f, [0, 1])(*args)[1], db)
    assert_allclose(cr.jacobian(f, 1)(*args), db)
    assert_allclose(cr.hessian(f, -2)(*args), 4.0 * np.eye(3))
    assert_allclose(cr.hvp(f, *args, V, argnums=-2), 4.0 * V)


class Point(NamedTuple):
    x: Any
    y: Any


CONTAINERS: list[tuple[Any, Any]] = [
    ([2.0, 3.0], [3.0, 2.0]),
    ((2.0, 3.0), (3.0, 2.0)),
    ([X, 3.0], [np.full(3, 3.0), X.sum()]),
    (Point(2.0, X), Point(X.sum(), np.full(3, 2.0))),
]


@pytest.mark.parametrize(("p", "expected"), CONTAINERS)
def test_sequences_as_arguments(p: Any, expected: Any) -> None:
    g = cr.grad(lambda p: cr.sum(p[0] * p[1]))(p)
    assert type(g) is type(p)
    for a, b, x in zip(g, expected, p, strict=True):
        assert_allclose(a, b)
        assert kind(a) == kind(x)


def test_nested_containers_as_arguments() -> None:
    p = {"layers": [{"w": A, "b": X}, {"w": A + 1.0, "b": V}], "scale": 2.0}

    def f(p: Any, x: Any) -> Any:
        for layer in p["layers"]:
            x = cr.tanh(layer["w"] @ x + layer["b"])
        return cr.sum(x) * p["scale"]

    y, g = cr.value_and_grad(f)(p, W)
    assert list(g) == ["layers", "scale"]
    assert [list(layer) for layer in g["layers"]] == [["w", "b"]] * 2
    assert g["scale"] == pytest.approx(y / 2.0)

    def moved(b: Any) -> float:
        return float(f(p | {"layers": [p["layers"][0] | {"b": b}, p["layers"][1]]}, W))

    assert_allclose(g["layers"][0]["b"] @ V, directional(moved, X, V), rtol=1e-8)


def test_empty_containers_and_unused_arguments() -> None:
    assert cr.grad(lambda p: 1.0)([]) == []
    g = cr.grad(lambda p: p[0] * 2.0)([1.0, X])
    assert g[0] == 2.0
    assert_array_equal(g[1], np.zeros(3))
    assert cr.grad(lambda a, b: b * b)(1.0, 2.0) == 0.0


KINDS: list[tuple[Any, tuple[Any, ...]]] = [
    (3.0, (float,)),
    (3, (float,)),
    (True, (float,)),
    (np.array([1.0, 2.0], np.float32), (np.ndarray, (2,), np.dtype("float32"))),
    (np.array([1.0, 2.0], np.float16), (np.ndarray, (2,), np.dtype("float16"))),
    (np.array([1, 2]), (np.ndarray, (2,), np.dtype("float64"))),
    (np.array(2.0), (np.ndarray, (), np.dtype("float64"))),
    (np.float32(2.0), (np.ndarray, (), np.dtype("float32"))),
    (np.float64(2.0), (np.ndarray, (), np.dtype("float64"))),
    (np.zeros((0, 3)), (np.ndarray, (0, 3), np.dtype("float64"))),
]


@pytest.mark.parametrize(("x", "expected"), KINDS, ids=lambda x: repr(x)[:40])
def test_the_kind_of_a_gradient_is_that_of_its_argument(x: Any, expected: Any) -> None:
    def f(x: Any) -> Any:
        return cr.sum(cr.sin(x) * x)

    v = np.ones(np.shape(x)) if np.shape(x) else 1.0
    for g in (cr.grad(f)(x), cr.vjp(f, x)[1](1.0)[0], cr.grad(lambda x: cr.sum(cr.grad(f)(x)))(x), cr.hvp(f, x, v)):
        assert not isinstance(g, cr.Node)
        assert kind(g) == expected


@pytest.mark.parametrize("inside", [cr.Value(2.0), cr.Tensor([1.0, 2.0]), cr.Tensor(np.ones(2), np.float32)], ids=repr)
def test_variables_as_arguments_give_connected_results(inside: Any) -> None:
    y, g = cr.value_and_grad(lambda x: cr.sum(x**3))(inside)
    assert type(g) is type(inside)
    assert_allclose(g.data, 3.0 * inside.data**2)
    cr.sum(g).backward()
    assert_allclose(inside.grad, 6.0 * inside.data)
    inside.grad = None
    y.backward()
    assert_allclose(inside.grad, 3.0 * inside.data**2)
    inside.grad = None


# Variables that the function closes over


def test_a_gradient_penalty_on_a_model() -> None:
    model = cr.nn.MLP([3, 5, 1], activation="tanh", rng=0)
    x = RNG.normal(size=(4, 3))

    def penalty() -> Any:
        slopes = cr.grad(lambda x: cr.sum(model(x)))(x)
        return cr.mean((cr.norm(slopes, axis=1) - 1.0) ** 2)

    loss = penalty()
    assert isinstance(loss, cr.Tensor)
    loss.backward()
    for name, p in model.named_parameters():
        start, v = p.data.copy(), RNG.normal(size=p.shape)

        def moved(data: Any, p: Any = p) -> float:
            p.data = data
            return float(penalty().data)

        slope = 0.0 if p.grad is None else np.sum(p.grad * v)
        assert_allclose(slope, directional(moved, start, v), rtol=1e-7, atol=1e-10, err_msg=name)
        p.data = start


def test_a_closed_over_value() -> None:
    w = cr.Value(3.0)
    g = cr.grad(lambda x: w * x**2)(2.0)
    assert isinstance(g, cr.Value)
    g.backward()
    assert w.grad == 4.0


def test_the_meta_gradient_of_a_step() -> None:
    lr = cr.Value(0.1)

    def loss(w: Any) -> Any:
        return (w - 1.0) ** 2

    after = 3.0 - lr * cr.grad(loss)(3.0)
    loss(after).backward()
    assert lr.grad == pytest.approx(2.0 * (3.0 - 0.4 - 1.0) * -4.0)


def test_under_no_grad() -> None:
    w = cr.Value(3.0)
    with cr.no_grad():
        assert cr.grad(cr.square)(2.0) == 4.0
        assert cr.grad(cr.grad(cr.square))(2.0) == 2.0
        assert_allclose(cr.hessian(quadratic)(X), 0.5 * (A + A.T))
        assert_allclose(cr.jvp(cr.sin, (X,), (V,))[1], np.cos(X) * V)
        assert cr.grad(lambda x: w * x)(2.0) == 3.0


def test_what_is_computed_under_no_grad_inside_is_constant() -> None:
    def f(x: Any) -> Any:
        with cr.no_grad():
            c = x * x
        return c * x

    assert cr.grad(f)(3.0) == 9.0


# gradients of a graph that exists


def test_gradients_of_nodes() -> None:
    x, t = cr.Value(2.0), cr.Tensor(X)
    a = x * t
    y = cr.sum(a * a)
    assert cr.gradients(y, x) == pytest.approx(4.0 * X @ X)
    dx, dt, da = cr.gradients(y, [x, t, a])
    assert type(dx) is float
    assert_allclose(dt, 8.0 * X)
    assert_allclose(da, 4.0 * X)
    assert [n.grad for n in (x, t, a, y)] == [None] * 4
    other = cr.Tensor(A)
    assert_array_equal(cr.gradients(y, (other,))[0], np.zeros((3, 3)))
    assert cr.gradients(x, x) == 1.0
    assert cr.gradients(y, []) == []


def test_seeds() -> None:
    t = cr.Tensor(X)
    y = t * t
    assert_allclose(cr.gradients(y, t, seed=V), 2.0 * X * V)
    assert_allclose(cr.gradients(y, t, seed=V.tolist()), 2.0 * X * V)
    assert_allclose(cr.gradients(cr.sum(y), t, seed=3.0), 6.0 * X)
    assert cr.gradients(cr.Value(3.0) * 1.0, [], seed=np.float32(2)) == []
    y.backward(V)
    assert_allclose(t.grad, 2.0 * X * V)


def test_a_seed_that_is_a_node_stays_connected() -> None:
    t, u = cr.Tensor(X), cr.Tensor(V)
    y = t**3
    g = cr.gradients(y, t, seed=u, create_graph=True)
    assert_allclose(cr.gradients(g, u, seed=W), 3.0 * X**2 * W)
    plain = cr.gradients(y, t, seed=u)
    assert type(plain) is np.ndarray
    assert_allclose(plain, 3.0 * X**2 * V)


@pytest.mark.parametrize("create_graph", [False, True])
def test_create_graph_decides_between_nodes_and_data(create_graph: bool) -> None:
    x, t = cr.Value(2.0), cr.Tensor(X)
    unused = cr.Tensor(A)
    y = 3.0 * x + cr.sum(t)
    found = cr.gradients(y, [x, t, unused], create_graph=create_graph)
    assert [isinstance(g, cr.Node) for g in found] == [create_graph] * 3
    if create_graph:
        assert [type(g) for g in found] == [cr.Value, cr.Tensor, cr.Tensor]
        assert [cr.gradients(cr.sum(g), x) for g in found] == [0.0, 0.0, 0.0]
        cr.sum(found[1] * t * x).backward()
        assert x.grad == pytest.approx(X.sum())


# Together with SciPy


@pytest.mark.parametrize("method", ["BFGS", "L-BFGS-B", "Newton-CG"])
def test_scipy_minimizes_with_these_gradients(method: str) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    more = {"hessp": cr.hvp(rosenbrock)} if method == "Newton-CG" else {}
    start = np.array([-1.2, 1.0, 0.5])
    found = optimize.minimize(cr.value_and_grad(rosenbrock), start, jac=True, method=method, **more)
    assert found.success
    assert_allclose(found.x, np.ones(3), atol=1e-4)


# Misuse

MISUSE: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "gradient of a vector": (lambda: cr.grad(lambda x: x * x)(X), TypeError, r"grad: .*single number, got shape \(3,\).*cr\.sum.*cr\.jacobian"),
    "gradient of one element in an axis": (lambda: cr.grad(lambda x: x[:1])(X), TypeError, r"single number, got shape \(1,\)"),
    "gradient of a plain vector": (lambda: cr.grad(lambda x: [1.0, 2.0])(X), TypeError, r"single number, got shape \(2,\)"),
    "nothing returned": (lambda: cr.grad(lambda x: None)(1.0), TypeError, "grad: the function's result: expected a number.*None"),
    "text returned": (lambda: cr.jacobian(lambda x: "x")(1.0), TypeError, "jacobian: the function's result: .*'x'"),
    "a list of nodes returned": (lambda: cr.jacobian(lambda x: [x, x])(1.0), TypeError, r"jacobian: .*list of nodes.*cr\.stack"),
    "a tuple of nodes to vjp": (lambda: cr.vjp(lambda x: (x, x), 1.0), TypeError, r"vjp: .*tuple of nodes.*cr\.stack"),
    "a tuple of nodes to jvp": (lambda: cr.jvp(lambda x: (x, x), (1.0,), (1.0,)), TypeError, r"jvp: .*tuple of nodes.*cr\.stack"),
    "text as argument": (lambda: cr.grad(cr.exp)("abc"), TypeError, "grad: expected a number.*'abc'"),
    "None as argument": (lambda: cr.grad(cr.exp)(None), TypeError, "grad: expected a number.*None"),
    "argnums too large": (lambda: cr.grad(cr.exp, 1)(1.0), ValueError, "argnums=1, but 1 arguments were given"),
    "argnums too small": (lambda: cr.grad(cr.exp, (0, -2))(1.0), ValueError, r"argnums=\(0, -2\), but 1"),
    "argnums twice": (lambda: cr.grad(cr.mul, (0, -2))(1.0, 2.0), ValueError, r"argnums=\(0, -2\) names an argument twice"),
    "jacobian by a list": (lambda: cr.jacobian(lambda x: x[0])([1.0, 2.0]), TypeError, "jacobian: .*single number or array"),
    "more tangents": (lambda: cr.jvp(cr.exp, (1.0,), (1.0, 2.0)), ValueError, "jvp: 1 primals but 2 tangents"),
    "tangent of another shape": (lambda: cr.jvp(cr.exp, (X,), (np.ones(2),)), ValueError, r"jvp: a tangent of shape \(2,\) .* \(3,\)"),
    "hvp without a vector": (lambda: cr.hvp(cr.exp, 1.0), TypeError, "hvp: expected the arguments of f and then a vector, got 1"),
    "hvp of another shape": (lambda: cr.hvp(quadratic, X, np.ones(2)), ValueError, r"\(2,\) .* \(3,\)"),
    "hvp argnums too large": (lambda: cr.hvp(quadratic, X, V, argnums=1), ValueError, "hvp: argnums=1, but 1 arguments were given"),
    "cotangent of another shape": (lambda: cr.vjp(cr.exp, X)[1](np.ones(2)), ValueError, r"seed of shape \(2,\) .* \(3,\)"),
    "gradients of a number": (lambda: cr.gradients(3.0, cr.Value(1.0)), TypeError, r"gradients: the output is a constant, 3\.0"),
    "gradients by a number": (lambda: cr.gradients(cr.Value(1.0) * 2.0, [2.0]), TypeError, r"gradients: inputs must be Values or Tensors, got 2\.0"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_explained(name: str) -> None:
    call, error, message = MISUSE[name]
    with pytest.raises(error, match=message):
        call()


def test_each_gradient_is_the_callers_own_to_write_into() -> None:
    first, second = cr.grad(lambda a, b: cr.sum((a + b) ** 2), (0, 1))(np.ones(2), np.ones(2))
    first *= 0.1
    assert_allclose(second, 4.0)
    of_a_sum = cr.grad(cr.sum)(np.ones(3))
    of_a_sum *= 2.0  # not a read-only view
    assert_allclose(of_a_sum, 2.0)
    x = cr.Tensor([1.0, 2.0])
    y = x + x
    on_y, on_x = cr.gradients(y.sum(), [y, x])
    on_y *= 0.0
    assert_allclose(on_x, 2.0)


def test_keyword_arguments_are_passed_on() -> None:
    def power(x: float, *, n: float) -> float:
        """x to the power n."""
        return x**n

    assert cr.grad(power)(3.0, n=2) == 6.0
    assert cr.value_and_grad(power)(3.0, n=2) == (9.0, 6.0)
    assert cr.jacobian(power)(3.0, n=2) == 6.0
    assert cr.grad(power).__name__ == "grad(power)"


@pytest.mark.parametrize("a", [3.0, np.array([0.5, 3.0])])
@pytest.mark.parametrize("b", [0.0, 1.0, 2.0])
def test_mixed_derivatives_of_a_power_agree_in_either_order(a: Any, b: float) -> None:
    one_way = cr.grad(lambda b: cr.sum(cr.grad(lambda a: cr.sum(a**b))(a)))(b)
    other_way = cr.sum(cr.grad(lambda a: cr.grad(lambda b: cr.sum(a**b))(b))(a))
    assert_allclose(one_way, np.sum(a ** (b - 1) * (1.0 + b * np.log(a))), rtol=1e-13)
    assert_allclose(other_way, one_way, rtol=1e-13)


def test_no_grad_decorates_a_function() -> None:
    @cr.no_grad()
    def double(x: Any) -> Any:
        return 2.0 * x

    assert double(cr.Value(1.0)).args == ()
    assert (2.0 * cr.Value(1.0)).args != ()


def counted_row(calls: list[str]) -> Callable[[Any], Any]:
    """An operation that notes when its rule runs."""

    def rule(g: Any, y: Any, x: Any) -> Any:
        calls.append("rule")
        return g * 2.0 * x

    return cr.custom("square", lambda x: x * x, rule)


@pytest.mark.parametrize("create_graph", [False, True])
def test_the_walk_stops_at_the_oldest_result_that_is_asked_for(create_graph: bool) -> None:
    calls: list[str] = []
    square = counted_row(calls)
    x = cr.Value(1.1)
    h = square(square(x))
    k = cr.sin(h)
    y = h * k + k
    found = [
        float(g.item() if isinstance(g, cr.Node) else g) for g in cr.gradients(y, [k, h], create_graph=create_graph)
    ]
    assert found == pytest.approx([h.data + 1.0, k.data + (h.data + 1.0) * math.cos(h.data)])
    assert cr.gradients(h, h) == 1.0
    assert cr.gradients(h, y) == 0.0  # younger: nothing leads there
    assert calls == []
    cr.gradients(y, [h, x])  # a leaf is older than all
    assert len(calls) == 2


@pytest.mark.parametrize("block", [cr.record_lines, cr.detect_anomaly, cr.enable_grad])
def test_what_a_function_closes_over_is_not_walked(block: Any) -> None:
    calls: list[str] = []
    with block():
        w = cr.Value(0.7)
        h = counted_row(calls)(w)
        slope = cr.grad(lambda v: v * v * h)(2.0)
        assert (slope.data, calls) == (4.0 * h.data, [])
        assert cr.jvp(lambda v: v * v * h, (2.0,), (1.0,))[1].data == 4.0 * h.data
        assert calls == []
        assert cr.gradients(slope, w) == pytest.approx(4.0 * 2.0 * 0.7)  # and it still depends on w
        assert len(calls) == 1


def test_a_variable_that_is_changed_while_a_function_runs_is_still_an_error() -> None:
    def changes_its_argument(x: Any) -> Any:
        y = x * x
        x.data = 5.0
        return y

    with pytest.raises(RuntimeError, match="was changed after <op mul>"):
        cr.grad(changes_its_argument)(2.0)
    x = cr.Value(2.0)
    h = x * x
    y = h * x
    x.data = 3.0
    for wanted in (h, x, [h, x]):
        with pytest.raises(RuntimeError, match="was changed after <op mul>"):
            cr.gradients(y, wanted)


def test_an_implicit_derivative_by_its_own_result() -> None:
    """The root of x² = a, whose rule asks for the slope at the root itself, to the second derivative."""

    def rule(g: Any, y: Any, a: Any) -> Any:
        return g / cr.grad(lambda x: x * x - a)(y)

    root = cr.custom("root", lambda a: a**0.5, rule)
    assert cr.grad(root)(4.0) == 0.25
    assert cr.grad(cr.grad(root))(4.0) == pytest.approx(-1.0 / 32.0)
