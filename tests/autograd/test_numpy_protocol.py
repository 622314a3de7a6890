"""NumPy's own functions, operators and conversions on Values and Tensors: one table under all of them."""

from __future__ import annotations

import inspect
import math
import operator
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import node
from samples import OPERATIONS, SAMPLES

import chainrule as cr

A = np.array([[0.5, 1.5, 2.5], [0.3, 0.9, 0.7]])
B = np.array([[1.5, 0.4, 2.0], [1.1, 1.3, 0.6]])
SQUARE = np.array([[0.5, 1.5], [0.3, 0.9]])
INDEX = np.array([[1, 0, 2], [0, 0, 1]])


def same_graph(ours: Callable[..., Any], theirs: Callable[..., Any], *arrays: Any) -> None:
    """Both give what NumPy gives on plain arrays, and both keep the same gradient."""
    results = []
    for f in (ours, theirs):
        xs = [cr.Tensor(x) for x in arrays]
        y = f(*xs)
        assert isinstance(y, cr.Tensor)
        results.append((y.data, cr.gradients(y, xs, seed=np.arange(1.0, y.size + 1).reshape(y.shape))))
    plain = theirs(*arrays)
    (y, gs), (z, hs) = results
    assert_allclose(z, plain, rtol=1e-15)
    assert_allclose(y, plain, rtol=1e-15)
    assert z.shape == np.shape(plain)
    for g, h in zip(gs, hs, strict=True):
        assert_array_equal(g, h)


UNARY = ["exp", "exp2", "expm1", "log", "log1p", "log2", "log10", "sqrt", "cbrt", "square", "reciprocal", "sin", "cos", "tan",
         "arctan", "sinh", "cosh", "tanh", "arcsinh", "sign", "floor", "ceil", "abs", "round", "sum", "mean", "prod", "max", "min",
         "var", "std", "cumsum", "cumprod", "ravel", "transpose", "squeeze", "flip", "sort", "diag", "diagonal", "trace", "tril", "triu"]  # fmt: skip
BINARY = ["maximum", "minimum", "hypot", "arctan2", "logaddexp"]


@pytest.mark.parametrize("name", UNARY)
def test_functions_of_one_array(name: str) -> None:
    same_graph(getattr(cr, name), getattr(np, name), A)


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_arrays(name: str) -> None:
    same_graph(getattr(cr, name), getattr(np, name), A, B)


@pytest.mark.parametrize("name", ["arcsin", "arccos", "arctanh"])
def test_functions_of_the_unit_interval(name: str) -> None:
    same_graph(getattr(cr, name), getattr(np, name), A / 3.0)


CALLS: dict[str, tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]] = {
    "negative": (operator.neg, np.negative, (A,)),
    "positive": (operator.pos, np.positive, (A,)),
    "absolute": (abs, np.absolute, (A,)),
    "fabs": (abs, np.fabs, (A,)),
    "rint": (cr.round, np.rint, (A,)),
    "add": (operator.add, np.add, (A, B)),
    "subtract": (operator.sub, np.subtract, (A, B)),
    "multiply": (operator.mul, np.multiply, (A, B)),
    "divide": (operator.truediv, np.divide, (A, B)),
    "true_divide": (operator.truediv, np.true_divide, (A, B)),
    "floor_divide": (operator.floordiv, np.floor_divide, (A, B)),
    "remainder": (operator.mod, np.remainder, (A, B)),
    "mod": (operator.mod, np.mod, (A, B)),
    "power": (operator.pow, np.power, (A, B)),
    "float_power": (operator.pow, np.float_power, (A, B)),
    "matmul": (operator.matmul, np.matmul, (A, B.T)),
    "arccosh": (cr.arccosh, np.arccosh, (A + 1,)),
    "round to decimals": (lambda x: round(x, 1), lambda x: np.round(x, decimals=1), (A,)),
    "round as a method": (lambda x: x.round(1), lambda x: np.round(x, 1), (A,)),
    "around": (lambda x: round(x), np.around, (A,)),
    "round to digits": (lambda x: cr.round(x * 10.0) / 10.0, lambda x: np.round(x, 1), (A,)),
    "sum of an axis": (lambda x: cr.sum(x, axis=0), lambda x: np.sum(x, axis=0), (A,)),
    "sum kept": (lambda x: x.sum(1, keepdims=True), lambda x: np.sum(x, axis=1, keepdims=True), (A,)),
    "mean": (lambda x: x.mean(axis=-1), lambda x: np.mean(x, -1), (A,)),
    "amax": (lambda x: x.max(axis=1), lambda x: np.amax(x, axis=1), (A,)),
    "amin": (lambda x: x.min(axis=(0, 1)), lambda x: np.amin(x, axis=(0, 1)), (A,)),
    "var": (lambda x: x.var(axis=0, ddof=1), lambda x: np.var(x, axis=0, ddof=1), (A,)),
    "std": (lambda x: x.std(1, ddof=1, keepdims=True), lambda x: np.std(x, axis=1, ddof=1, keepdims=True), (A,)),
    "cumsum": (lambda x: x.cumsum(axis=1), lambda x: np.cumsum(x, axis=1), (A,)),
    "cumprod": (lambda x: x.cumprod(0), lambda x: np.cumprod(x, axis=0), (A,)),
    "clip": (lambda x: cr.clip(x, 0.5, 2.0), lambda x: np.clip(x, 0.5, 2.0), (A,)),
    "where": (lambda a, b: cr.where(A > 1, a, b), lambda a, b: np.where(A > 1, a, b), (A, B)),
    "where of a comparison": (lambda a, b: cr.where(a > b, a, 0.0), lambda a, b: np.where(a > b, a, 0.0), (A, B)),
    "reshape": (lambda x: x.reshape(3, 2), lambda x: np.reshape(x, (3, 2)), (A,)),
    "reshape to a vector": (lambda x: x.reshape(-1), lambda x: np.reshape(x, -1), (A,)),
    "transpose": (lambda x: x.transpose(1, 0), lambda x: np.transpose(x, (1, 0)), (A,)),
    "swapaxes": (lambda x: x.swapaxes(0, 1), lambda x: np.swapaxes(x, 0, 1), (A,)),
    "moveaxis": (lambda x: cr.moveaxis(x, 0, -1), lambda x: np.moveaxis(x, 0, -1), (A,)),
    "expand_dims": (lambda x: x[:, None], lambda x: np.expand_dims(x, 1), (A,)),
    "squeeze": (lambda x: cr.squeeze(x[None], 0), lambda x: np.squeeze(x[None], axis=0), (A,)),
    "broadcast_to": (lambda x: cr.broadcast_to(x, (2, 2, 3)), lambda x: np.broadcast_to(x, (2, 2, 3)), (A,)),
    "concatenate": (lambda a, b: cr.concatenate([a, b], 1), lambda a, b: np.concatenate([a, b], axis=1), (A, B)),
    "concatenate with an array": (lambda a: cr.concatenate([a, B]), lambda a: np.concatenate([a, B]), (A,)),
    "concatenate flat": (lambda a, b: cr.concatenate([a, b], None), lambda a, b: np.concatenate((a, b), axis=None), (A, B[0])),
    "stack": (lambda a, b: cr.stack([a, b], -1), lambda a, b: np.stack([a, b], axis=-1), (A, B)),
    "split": (lambda a: cr.split(a, 3, 1)[2], lambda a: np.split(a, 3, axis=1)[2], (A,)),
    "flip": (lambda a: cr.flip(a, 1), lambda a: np.flip(a, axis=1), (A,)),
    "roll": (lambda a: cr.roll(a, 2, 1), lambda a: np.roll(a, 2, axis=1), (A,)),
    "pad": (lambda a: cr.pad(a, ((1, 0), (0, 2))), lambda a: np.pad(a, ((1, 0), (0, 2))), (A,)),
    "tile": (lambda a: cr.tile(a, (2, 2)), lambda a: np.tile(a, (2, 2)), (A,)),
    "repeat": (lambda a: a.repeat(2, axis=1), lambda a: np.repeat(a, 2, axis=1), (A,)),
    "take": (lambda a: a.take([0, 0, 1], axis=0), lambda a: np.take(a, [0, 0, 1], axis=0), (A,)),
    "take_along_axis": (lambda a: cr.take_along_axis(a, INDEX, 1), lambda a: np.take_along_axis(a, INDEX, 1), (A,)),
    "take_along_axis broadcast": (lambda a: cr.take_along_axis(a, INDEX[:1], 1), lambda a: np.take_along_axis(a, INDEX[:1], 1), (A,)),
    "take_along_axis flat": (lambda a: cr.take_along_axis(a, [5, 0], None), lambda a: np.take_along_axis(a, np.array([5, 0]), None), (A,)),
    "diagonal": (lambda a: a.diagonal(1), lambda a: np.diagonal(a, 1), (A,)),
    "trace": (lambda a: a.trace(-1), lambda a: np.trace(a, -1), (A,)),
    "sort": (lambda a: cr.sort(a, None), lambda a: np.sort(a, axis=None), (A,)),
    "dot": (lambda a, b: a.dot(b), np.dot, (A, B.T)),
    "inner": (cr.inner, np.inner, (A, B)),
    "outer": (cr.outer, np.outer, (A[0], B[1])),
    "tensordot": (lambda a, b: cr.tensordot(a, b, ([0, 1], [0, 1])), lambda a, b: np.tensordot(a, b, axes=([0, 1], [0, 1])), (A, B)),
    "einsum": (lambda a, b: cr.einsum("ij,kj", a, b), lambda a, b: np.einsum("ij,kj", a, b), (A, B)),
    "einsum of a diagonal": (lambda a: cr.einsum("ii->i", a), lambda a: np.einsum("ii->i", a), (SQUARE,)),
    "norm": (cr.norm, np.linalg.norm, (A,)),
    "norm of rows": (lambda a: cr.norm(a, axis=1, keepdims=True), lambda a: np.linalg.norm(a, axis=1, keepdims=True), (A,)),
    "norm of order 1": (lambda a: cr.norm(a, 1, axis=0), lambda a: np.linalg.norm(a, ord=1, axis=0), (A,)),
    "norm of order 3": (lambda a: cr.norm(a, 3), lambda a: np.linalg.norm(a, 3), (A[0],)),
    "astype": (lambda a: cr.astype(a, np.float32), lambda a: np.astype(a, np.float32), (A,)),
    "nested": (lambda a, b: cr.log(cr.sum(cr.exp(a * b))), lambda a, b: np.log(np.sum(np.exp(np.multiply(a, b)))), (A, B)),
    "array and tensor": (lambda b: cr.maximum(A, b), lambda b: np.maximum(A, b), (B,)),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_calls(name: str) -> None:
    ours, theirs, arrays = CALLS[name]
    same_graph(ours, theirs, *arrays)


@pytest.mark.parametrize("name", [name for name in OPERATIONS if hasattr(np, name)])
def test_what_is_called_as_in_numpy_computes_the_same(name: str) -> None:
    """NumPy's function of that name calls it, so it must mean the same."""
    for sample in SAMPLES[name]:
        if sample.f is OPERATIONS[name]:
            with np.errstate(invalid="ignore"):
                expected = getattr(np, name)(*sample.args)
            assert_allclose(getattr(np, name)(*map(node, sample.args)).data, expected, rtol=1e-14, atol=1e-300)


METHODS = ["exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "square", "sin", "cos", "tan", "sinh", "cosh", "tanh",
           "sigmoid", "relu", "abs", "sign", "floor", "ceil"]  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_methods_are_the_functions(name: str) -> None:
    for x in (cr.Value(0.7), cr.Tensor(A)):
        y, z = getattr(x, name)(), getattr(cr, name)(x)
        assert type(y) is type(x)
        assert_array_equal(y.data, z.data)
        assert y.op is z.op


@pytest.mark.parametrize(
    "name",
    ["sum", "mean", "prod", "max", "min", "var", "std", "cumsum", "cumprod", "ravel", "squeeze", "trace", "diagonal", "softmax",
     "log_softmax", "round"],
)  # fmt: skip
def test_tensor_methods_are_the_functions(name: str) -> None:
    same_graph(getattr(cr, name), lambda x: getattr(x, name)() if isinstance(x, cr.Tensor) else getattr(cr, name)(x), A)


# Operators

OPERATORS = [operator.add, operator.sub, operator.mul, operator.truediv, operator.floordiv, operator.mod, operator.pow]
NUMBERS: list[Any] = [2.0, 7, True, np.float64(2.0), np.float32(0.5), np.int64(3), np.array(2.5)]


@pytest.mark.parametrize("f", OPERATORS)
@pytest.mark.parametrize("c", NUMBERS, ids=repr)
def test_operators_with_plain_numbers_on_either_side(f: Callable[..., Any], c: Any) -> None:
    number = c.item() if isinstance(c, np.generic | np.ndarray) else c
    v, t = cr.Value(1.25), cr.Tensor(A)
    assert f(v, c).data == pytest.approx(f(1.25, number))
    assert f(c, v).data == pytest.approx(f(number, 1.25))
    assert_allclose(f(t, c).data, f(A, number))
    assert_allclose(f(c, t).data, f(number, A))
    assert type(f(c, t)) is type(f(t, c)) is cr.Tensor
    if not isinstance(c, np.ndarray):
        assert type(f(v, c)) is type(f(c, v)) is cr.Value
    small = cr.Tensor(A, dtype=np.float32)
    if not isinstance(c, np.ndarray):
        assert f(small, c).dtype == f(c, small).dtype == np.float32


@pytest.mark.parametrize("f", [*OPERATORS, operator.matmul])
@pytest.mark.parametrize("convert", [np.asarray, lambda x: x.tolist(), lambda x: tuple(map(tuple, x.tolist()))])
def test_operators_with_arrays_and_lists_on_either_side(f: Callable[..., Any], convert: Callable[..., Any]) -> None:
    other = convert(B.T if f is operator.matmul else B)
    left, right = f(cr.Tensor(A), other), f(other, cr.Tensor(A))
    assert isinstance(left, cr.Tensor)
    assert isinstance(right, cr.Tensor)
    assert_allclose(left.data, f(A, np.asarray(other)))
    assert_allclose(right.data, f(np.asarray(other), A))


def test_value_and_array_make_a_tensor() -> None:
    v = cr.Value(2.0)
    for y in (v * A, A * v, v + A.tolist(), np.multiply(A, v)):
        assert isinstance(y, cr.Tensor)
    y = (A * v).sum()
    y.backward()
    assert type(v.grad) is float
    assert v.grad == pytest.approx(A.sum())


def test_value_and_tensor_in_one_graph() -> None:
    v, t = cr.Value(2.0), cr.Tensor(A, dtype=np.float32)
    y = (t * v + v).sum()
    y.backward()
    assert type(v.grad) is float
    assert v.grad == pytest.approx(A.sum() + 6)
    assert t.grad.dtype == np.float32
    assert_array_equal(t.grad, np.full((2, 3), 2.0, np.float32))


def test_unary_operators_and_rounding() -> None:
    for x in (cr.Value(-1.26), cr.Tensor([-1.26, 0.5])):
        assert_array_equal((-x).data, -x.data)
        assert_array_equal((+x).data, x.data)
        assert_array_equal(abs(x).data, abs(x.data))
        assert_array_equal(math.floor(x).data, np.floor(x.data))
        assert_array_equal(math.ceil(x).data, np.ceil(x.data))
        assert_allclose(round(x, 1).data, np.round(x.data, 1))
        assert_array_equal(round(x).data, np.round(x.data))


def test_comparisons_are_plain() -> None:
    v, t = cr.Value(1.0), cr.Tensor([0.5, 1.0, 2.0])
    assert (v < 2, v >= 1, v == 1.0, v != v, v > 0) == (True, True, True, False, True)
    assert_array_equal(t > 1, [False, False, True])
    assert_array_equal(np.array([1.0, 1.0, 1.0]) <= t, [False, True, True])
    assert_array_equal(np.less(t, v), [True, False, False])
    assert_array_equal(np.isnan(t), [False] * 3)
    for answer in (t > 1, t == t, np.isfinite(t)):
        assert type(answer) is np.ndarray
        assert answer.dtype == bool
    assert len({v, t, cr.Value(1.0)}) == 3


def test_questions_are_plain() -> None:
    t = cr.Tensor(A)
    assert np.shape(t) == (2, 3)
    assert np.ndim(t) == 2
    assert np.size(t) == 6
    assert np.argmax(t) == 2
    assert_array_equal(np.argsort(t, axis=1), np.argsort(A, axis=1))
    assert np.allclose(t, A)
    assert np.array_equal(t, A)
    assert type(np.zeros_like(t)) is np.ndarray


# What would lose the gradient is an error.

REFUSED: dict[str, Callable[[Any], Any]] = {
    "svd": lambda t: np.linalg.svd(t),
    "inv": lambda t: np.linalg.inv(t),
    "fft": lambda t: np.fft.fft(t),
    "median": lambda t: np.median(t),
    "gamma-like ufunc": lambda t: np.spacing(t),
    "add.reduce": lambda t: np.add.reduce(t),
    "multiply.outer": lambda t: np.multiply.outer(t, t),
    "add.accumulate": lambda t: np.add.accumulate(t),
    "add.at": lambda t: np.add.at(np.zeros(3), [0], t),
    "out of a ufunc": lambda t: np.exp(t, out=np.zeros((2, 3))),
    "where of a ufunc": lambda t: np.exp(t, where=A > 1),
    "dtype of a ufunc": lambda t: np.exp(t, dtype=np.float32),
    "out of a function": lambda t: np.sum(t, out=np.zeros(())),
    "initial": lambda t: np.sum(t, initial=3.0),
    "where of a function": lambda t: np.mean(t, where=A > 1),
    "asarray": lambda t: np.asarray(t),
    "array of a list of nodes": lambda t: np.array([t[0], t[1]]),
    "float": lambda t: float(t[0, 0]),
    "int": lambda t: int(t[0, 0]),
    "math": lambda t: math.exp(t[0, 0]),
    "assignment into an array": lambda t: np.zeros((2, 3)).__setitem__(0, t[0]),
    "in-place on an array": lambda t: np.zeros((2, 3)).__iadd__(t),
    "assignment into the tensor": lambda t: t.__setitem__(0, 1.0),
    "index": lambda t: [1, 2, 3][t[0, 0]],
    "range": lambda t: range(t[0, 0]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_would_drop_the_gradient_is_refused(name: str) -> None:
    with pytest.raises(TypeError):
        REFUSED[name](cr.Tensor(A))


@pytest.mark.parametrize(
    "f", [float, int, complex, math.exp, np.asarray, lambda v: np.array([v, 1.0]), lambda v: [1, 2][v]]
)
def test_a_value_is_no_plain_number(f: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError):
        f(cr.Value(1.0))


def test_refusals_say_what_to_do() -> None:
    t = cr.Tensor(A)
    refusals: list[tuple[Callable[[], Any], list[str]]] = [
        (lambda: np.linalg.svd(t), ["svd", ".data", "cr.custom"]),
        (lambda: np.add.reduce(t), ["add.reduce", ".data"]),
        (lambda: np.exp(t, out=np.zeros((2, 3))), ["exp", "out"]),
        (lambda: np.sum(t, where=A > 1), ["sum", "where"]),
        (lambda: np.asarray(t), [".data", "cr.stack"]),
        (lambda: float(cr.Value(1.0)), [".item()"]),
    ]
    for call, words in refusals:
        with pytest.raises(TypeError) as error:
            call()
        for word in words:
            assert word in str(error.value)


def test_results_under_no_grad_are_constants_and_convert() -> None:
    v, t = cr.Value(1.0), cr.Tensor(A)
    with cr.no_grad():
        y, z = v * 2, t * 2
    assert float(y) == 2.0
    assert_array_equal(np.asarray(z), 2 * A)


# Shapes that do not fit: the error names the operation and both shapes.

MISFITS: dict[str, tuple[Callable[..., Any], list[str]]] = {
    "add": (lambda: cr.Tensor([1.0, 2.0]) + cr.Tensor([1.0, 2.0, 3.0]), ["add", "(2,)", "(3,)"]),
    "array and tensor": (lambda: np.ones(2) * cr.Tensor([1.0, 2.0, 3.0]), ["mul", "(2,)", "(3,)"]),
    "matmul": (lambda: cr.Tensor(A) @ cr.Tensor(B), ["matmul", "(2, 3)", "(2, 3)"]),
    "matmul of a number": (lambda: cr.Tensor(A) @ 2.0, ["matmul", "(2, 3)"]),
    "matmul of values": (lambda: cr.Value(1.0) @ cr.Value(2.0), ["matmul"]),
    "maximum": (lambda: np.maximum(cr.Tensor(A), np.ones(2)), ["maximum", "(2, 3)", "(2,)"]),
    "where": (lambda: cr.where(np.array([True, False]), cr.Tensor(A), 0.0), ["where", "(2,)", "(2, 3)"]),
    "reshape": (lambda: cr.Tensor(A).reshape(4, 2), ["reshape", "(2, 3)", "(4,2)"]),
    "broadcast_to": (lambda: cr.broadcast_to(cr.Tensor(A), (3, 2)), ["broadcast_to", "(2, 3)", "(3,2)"]),
    "concatenate": (lambda: cr.concatenate([cr.Tensor(A), cr.Tensor(SQUARE)]), ["concatenate", "(2, 3)", "(2, 2)"]),
    "concatenate of numbers": (lambda: cr.concatenate([1.0, cr.Value(2.0)]), ["concatenate", "zero-dimensional"]),
    "stack of nothing": (lambda: cr.stack([]), ["stack", "at least one"]),
    "sort of a number": (lambda: cr.sort(cr.Value(1.0)), ["sort", "axis -1"]),
    "cross entropy": (
        lambda: cr.softmax_cross_entropy(cr.Tensor(A), [0, 1], reduction="avg"),
        ["cross_entropy", "avg"],
    ),
    "stack": (lambda: cr.stack([cr.Tensor(A), cr.Tensor(SQUARE)]), ["stack", "(2, 3)", "(2, 2)"]),
    "tensordot": (lambda: cr.tensordot(cr.Tensor(A), cr.Tensor(B), 1), ["tensordot", "(2, 3)"]),
    "tensordot of missing axes": (lambda: cr.tensordot(cr.Tensor(A[0]), B, 2), ["tensordot", "axis", "1 axes"]),
    "einsum": (lambda: cr.einsum("ij,jk", cr.Tensor(A), cr.Tensor(B)), ["einsum", "(2, 3)"]),
    "einsum with too many letters": (lambda: cr.einsum("ijk", cr.Tensor(A)), ["einsum", "ijk", "(2, 3)"]),
    "einsum of no square": (lambda: cr.einsum("ii", cr.Tensor(A)), ["einsum", "ii"]),
    "einsum of too few": (lambda: cr.einsum("ij,jk", cr.Tensor(A)), ["einsum", "2 operands", "1"]),
    "inner": (lambda: cr.inner(cr.Tensor(A), cr.Tensor(SQUARE)), ["(2, 3)", "(2, 2)"]),
    "dot": (lambda: cr.dot([cr.Value(1.0)], [1.0, 2.0]), ["dot", "1", "2"]),
    "linear": (
        lambda: cr.linear(cr.Tensor(A), cr.Tensor(SQUARE), cr.Tensor([1.0, 2.0])),
        ["linear", "(2, 3)", "(2, 2)"],
    ),
    "index": (lambda: cr.Tensor(A)[5], ["getitem", "(2, 3)", "5"]),
    "mask": (lambda: cr.Tensor(A)[np.array([True, False, True])], ["getitem", "(2, 3)"]),
    "sum": (lambda: cr.Tensor(A).sum(axis=2), ["sum", "2", "(2, 3)"]),
    "squeeze": (lambda: cr.squeeze(cr.Tensor(A), 0), ["squeeze", "(2, 3)"]),
    "transpose": (lambda: cr.transpose(cr.Tensor(A), (0, 0)), ["transpose", "(2, 3)"]),
    "swapaxes": (lambda: cr.swapaxes(cr.Tensor(A), 0, 2), ["swapaxes", "2"]),
    "split": (lambda: cr.split(cr.Tensor(A), 2, axis=1), ["split", "3", "2"]),
    "split into none": (lambda: cr.split(cr.Tensor(A), 0), ["split", "2", "0"]),
    "pad": (lambda: cr.pad(cr.Tensor(A), ((1, 2, 3),)), ["pad", "(1, 2, 3)"]),
    "pad of half a place": (lambda: cr.pad(cr.Tensor(A), 0.5), ["pad", "0.5"]),
    "expand_dims": (lambda: cr.expand_dims(cr.Tensor(A), (0, 0)), ["expand_dims", "twice"]),
    "norm": (lambda: cr.norm(cr.Tensor(A), 1), ["norm", "ord=1", "(2, 3)"]),
    "norm of order 0": (lambda: cr.norm(cr.Tensor(A[0]), 0), ["norm", "ord=0"]),
    "astype": (lambda: cr.astype(cr.Tensor(A), int), ["astype", "int64"]),
    "diag": (lambda: cr.diag(np.ones((2, 2, 2))), ["diag", "(2, 2, 2)"]),
    "take": (lambda: cr.take(cr.Tensor(A), 9), ["9"]),
    "sort": (lambda: cr.sort(cr.Tensor(A), axis=4), ["sort", "4"]),
}


@pytest.mark.parametrize("name", MISFITS)
def test_misfits_name_the_operation_and_the_shapes(name: str) -> None:
    call, words = MISFITS[name]
    with pytest.raises((ValueError, IndexError, TypeError)) as error:
        call()
    for word in words:
        assert word in str(error.value)


# Operands that are no numbers


@pytest.mark.parametrize(
    "bad",
    ["text", None, 1 + 2j, {}, object(), [1.0, "a"], [[1.0], [1.0, 2.0]], np.array(["a"]), np.array([None])],
    ids=lambda bad: "an object" if type(bad) is object else repr(bad),
)
def test_operands_that_are_no_numbers(bad: Any) -> None:
    for x in (cr.Value(1.0), cr.Tensor(A)):
        for f in (operator.add, operator.truediv, cr.maximum, operator.matmul):
            with pytest.raises((TypeError, ValueError)):
                f(x, bad)
            with pytest.raises((TypeError, ValueError)):
                f(bad, x)
    for name in ("exp", "relu", "sum", "softmax", "norm", "ravel", "sigmoid"):
        with pytest.raises((TypeError, ValueError)):
            getattr(cr, name)(bad)


# The kinds of data that come out


@pytest.mark.parametrize("name", ["exp", "relu", "floor", "sigmoid", "abs", "square", "round", "sign", "neg"])
def test_plain_data_in_plain_data_out(name: str) -> None:
    f = getattr(cr, name)
    assert isinstance(f(1.0), float)
    assert isinstance(f(2), float | int)
    assert isinstance(f(np.float64(1.0)), float)
    assert type(f(np.ones(2))) is np.ndarray
    assert type(f([1.0, 2.0])) is np.ndarray
    assert f(np.ones(2, np.float32)).dtype == np.float32


@pytest.mark.parametrize("number", [3, True, np.float32(3), np.int64(3), np.array(3.0), np.float64(3)], ids=repr)
def test_a_value_is_always_a_python_float(number: Any) -> None:
    x = cr.Value(number)
    y = cr.where(x > 0, cr.maximum(x, 2) * number + 1, 0) ** 2 // 1
    for v in (x, y, x * number, cr.relu(x), cr.clip(x, 0, 2), cr.sum(x), cr.norm(x), cr.max(x)):
        if not isinstance(number, np.ndarray):
            assert isinstance(v, cr.Value)
        assert not isinstance(v, cr.Value) or type(v.data) is float
    y.backward()
    assert type(x.grad) is float


def test_shape_and_dtype_of_gradients() -> None:
    for dtype in (np.float16, np.float32, np.float64):
        for shape in ((), (1,), (2, 3), (0, 2)):
            x = cr.Tensor(np.ones(shape), dtype=dtype)
            y = (cr.sum(cr.tanh(x * 2.0) / 3) + 1) * cr.Value(2.0)
            y.backward()
            assert y.dtype == y.grad.dtype == x.grad.dtype == dtype
            assert type(x.grad) is np.ndarray
            assert x.grad.shape == shape
            assert all(
                n.grad.dtype == dtype and n.grad.shape == n.shape for n in (y, *y.args) if isinstance(n, cr.Tensor)
            )


MASKED = np.ma.array([1.0, 2.0, 3.0], mask=[0, 1, 0])


@pytest.mark.parametrize(
    "f",
    [
        lambda x: MASKED * x,
        lambda x: MASKED - x,
        lambda x: MASKED**x,
        lambda x: x / MASKED,
        lambda x: np.ma.exp(x),
        lambda x: np.ma.sqrt(x),
        lambda x: np.ma.median(x),
        lambda x: np.ma.maximum(x, 1.0),
        lambda x: np.ma.sum(x),
        lambda x: np.ma.average(x),
        lambda x: np.ma.dot(x, x),
        lambda x: np.ma.masked_invalid(x),
        lambda x: np.ma.where(MASKED > 1.0, x, 0.0),
        lambda x: np.ma.filled(x, 0.0),
    ],
)
@pytest.mark.parametrize("x", [cr.Tensor([1.0, 2.0, 2.5]), cr.Tensor([1.0, 2.0, 2.5]) * 1.0, cr.Value(2.0)])
def test_masked_arrays_never_drop_a_gradient(f: Callable[[Any], Any], x: Any) -> None:
    """The right value, or the error that `x * masked` gives."""
    said = ""
    try:
        y = f(x)
    except TypeError as error:
        y, said = None, str(error)
    assert isinstance(y, cr.Node) or re.search("mask|would silently drop its gradient", said)


def test_looking_around_raises_nothing() -> None:
    for x in (cr.Value(1.0), cr.Tensor(np.ones((2, 2)))):
        assert "_data" not in dir(x)
        assert {"data", "grad", "exp"} <= dict(inspect.getmembers(x)).keys()


def test_the_third_argument_of_numpy_s_dot_is_no_bias() -> None:
    a = cr.Tensor(np.eye(2))
    with pytest.raises(TypeError, match=r"numpy.dot .*out="):
        np.dot(a, np.eye(2), np.zeros((2, 2)))
    assert_array_equal(np.dot(a, np.ones(2)).data, [1.0, 1.0])


@pytest.mark.parametrize("x", [cr.Tensor(np.arange(3, dtype=np.float32)), cr.Tensor(np.arange(3.0))])
@pytest.mark.parametrize("b", [2, 2.0, np.float32(2.0), np.arange(3, dtype=np.float16)])
def test_float_power_is_in_double_precision(x: cr.Tensor, b: Any) -> None:
    y = np.float_power(x, b)
    assert y.dtype == np.float64
    assert_array_equal(y.data, np.float_power(x.data, b))
    assert cr.gradients(y, x, seed=np.ones(3)).dtype == x.dtype


def test_axes_and_repeats_as_numpy_takes_them() -> None:
    v = cr.Tensor([1.0, 2.0, 3.0])
    assert_array_equal(np.transpose(v, 0).data, np.transpose(v.data, 0))
    for axis in (0, -1, None):
        assert_array_equal(np.repeat(cr.Value(2.0), 3, axis=axis).data, np.repeat(2.0, 3, axis=axis))
    assert_array_equal(np.repeat(v, True).data, np.repeat(v.data, True))
    for wrong in (0.5, [1.0, 2.0, 3.0], cr.Value(2.0)):
        with pytest.raises(TypeError, match="repeats must be integers"):
            cr.repeat(v, wrong)
    with pytest.raises((ValueError, IndexError), match=r"repeat.*axis 1"):
        np.repeat(v, 2, axis=1)


def test_linear_without_a_bias_says_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"linear: .*a bias is missing; .* x @ weight\.T"):
        cr.linear(cr.Tensor(np.ones((2, 3))), np.ones((4, 3)))  # type: ignore[call-arg]
