"""What is refused, with which error, and what the message says; and operations that users add themselves."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr

T = cr.Tensor([1.0, 2.0, 3.0], name="t")
V = cr.Value(2.0, name="v")

# Data

NO_VALUE: dict[str, tuple[Any, str]] = {
    "text": ("2.0", r"Value: expected a real number, got '2\.0' \(str\)"),
    "None": (None, r"expected a real number, got None \(NoneType\)"),
    "complex": (1 + 2j, r"expected a real number, got \(1\+2j\) \(complex\)"),
    "NumPy's complex": (np.complex128(1.0), "expected a real number, got .*complex128"),
    "list": ([1.0], r"expected a real number, got \[1\.0\] \(list\); use a Tensor for arrays"),
    "array": (np.ones(2), r"expected a real number, got array\(\[1\., 1\.\]\) \(ndarray\); use a Tensor for arrays"),
    "complex array": (np.array(1j), "expected a real number, got .*complex"),
    "object": (object(), "expected a real number, got <object"),
    "dict": ({}, r"expected a real number, got \{\} \(dict\)"),
    "fraction": (Fraction(1, 2), r"expected a real number, got Fraction\(1, 2\)"),
    "Value": (V, "expected a real number, got .*it is a variable already"),
    "Tensor": (T, "expected a real number, got .*it is a variable already"),
    "long text": ("x" * 1000, r"got 'x{50,}\.\.\. \(str\)"),
}


@pytest.mark.parametrize("name", NO_VALUE)
def test_a_value_takes_real_numbers_only(name: str) -> None:
    data, message = NO_VALUE[name]
    with pytest.raises(TypeError, match=message):
        cr.Value(data)
    v = cr.Value(5.0)
    with pytest.raises(TypeError, match=message):
        v.data = data
    assert v.data == 5.0
    assert (v * v).args


NO_TENSOR: dict[str, tuple[Any, type[Exception], str]] = {
    "text": ("abc", TypeError, r"Tensor: expected a number, an array.*got 'abc' \(str\)"),
    "None": (None, TypeError, r"Tensor: expected a number.*got None \(NoneType\)"),
    "complex": (1j, TypeError, r"Tensor: expected a number.*got 1j \(complex\)"),
    "complex list": ([1.0, 1j], TypeError, r"Tensor: expected real numbers, got \[1\.0, 1j\] .*complex128"),
    "complex array": (np.ones(2, complex), TypeError, "Tensor: expected real numbers, got an array of dtype complex"),
    "object array": (np.array([None, 1.0]), TypeError, "Tensor: expected real numbers, got an array of dtype object"),
    "text array": (np.array(["a"]), TypeError, "Tensor: expected real numbers, got an array of dtype <U1"),
    "dates": (np.array(["2020-01-01"], "datetime64[D]"), TypeError, "Tensor: expected real numbers, got .*datetime64"),
    "list of text": (["1", "2"], TypeError, r"Tensor: expected real numbers, got \['1', '2'\] \(list\)"),
    "list with None": ([1.0, None], TypeError, r"Tensor: expected real numbers, got \[1\.0, None\] \(list\)"),
    "ragged list": ([[1.0], [1.0, 2.0]], ValueError, "Tensor: the nested lists have ragged lengths"),
    "list of nodes": ([V, V], TypeError, r"Tensor: got a list of nodes; join them first with cr\.stack"),
    "Tensor": (T, TypeError, r"Tensor: got Tensor.* a variable already; use its \.data"),
    "dict": ({1: 2}, TypeError, r"Tensor: expected a number.*got \{1: 2\}"),
    "set": ({1.0}, TypeError, r"Tensor: expected a number.*got \{1\.0\}"),
    "generator": ((x for x in [1.0]), TypeError, "Tensor: expected a number.*generator"),
}


@pytest.mark.parametrize("name", NO_TENSOR)
def test_a_tensor_takes_arrays_of_real_numbers_only(name: str) -> None:
    data, error, message = NO_TENSOR[name]
    with pytest.raises(error, match=message):
        cr.Tensor(data)
    t = cr.Tensor([5.0])
    with pytest.raises(error, match=message):
        t.data = data
    assert_array_equal(t.data, [5.0])


def test_a_tensor_keeps_its_shape() -> None:
    t = cr.Tensor(np.ones((2, 3)))
    for data in (1.0, np.ones(3), np.ones((3, 2)), [[1.0]]):
        with pytest.raises(ValueError, match=r"data: a Tensor of shape \(2, 3\) cannot take data of shape"):
            t.data = data
    assert_array_equal(t.data, np.ones((2, 3)))


@pytest.mark.parametrize("dtype", [complex, str, object, "datetime64[s]"])
def test_a_dtype_is_a_floating_point_type(dtype: Any) -> None:
    with pytest.raises(TypeError, match="Tensor: dtype must be a floating-point type, got"):
        cr.Tensor([1], dtype=dtype)
    with pytest.raises(TypeError, match="floating-point type"):
        T.astype(dtype)


@pytest.mark.parametrize("make", [lambda name: cr.Value(1.0, name=name), lambda name: cr.Tensor([1.0], name=name)])
@pytest.mark.parametrize("name", [3, b"x", ["a"], V])
def test_a_name_is_a_string(make: Any, name: Any) -> None:
    with pytest.raises(TypeError, match=f"name must be a string or None, got {re.escape(repr(name))}"):
        make(name)


# Operands

OPERANDS: list[tuple[Any, type[Exception], str]] = [
    ("text", TypeError, "expected a number, an array, a Value or a Tensor, got 'text' (str)"),
    (None, TypeError, "expected a number, an array, a Value or a Tensor, got None (NoneType)"),
    (1 + 2j, TypeError, "expected a number, an array, a Value or a Tensor, got (1+2j) (complex)"),
    ({}, TypeError, "expected a number, an array, a Value or a Tensor, got {} (dict)"),
    (np.array([1j]), TypeError, "expected real numbers, got an array of dtype complex128"),
    (np.array([None]), TypeError, "expected real numbers, got an array of dtype object"),
    ([1.0, "a"], TypeError, "expected real numbers, got [1.0, 'a'] (list)"),
    ([[1.0], [1.0, 2.0]], ValueError, "the nested lists have ragged lengths"),
    ([V, 1.0], TypeError, "got a list of nodes; join them first with cr.stack or cr.concatenate"),
]
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "add": operator.add, "sub": operator.sub, "mul": operator.mul, "div": operator.truediv, "pow": operator.pow,
    "floordiv": operator.floordiv, "mod": operator.mod, "matmul": operator.matmul, "maximum": cr.maximum,
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("x", [V, T], ids=["Value", "Tensor"])
def test_an_operand_that_is_no_number_is_named_with_the_operation(name: str, x: Any) -> None:
    for bad, error, message in OPERANDS:
        with pytest.raises(error, match=f"{name}: {re.escape(message)}"):
            OPERATORS[name](x, bad)
        if not isinstance(bad, (str, np.ndarray)):  # there Python and NumPy speak first
            with pytest.raises(error, match=f"{name}: {re.escape(message)}"):
                OPERATORS[name](bad, x)


@pytest.mark.parametrize("name", ["exp", "relu", "sum", "softmax", "reshape"])
def test_functions_name_themselves(name: str) -> None:
    more = [(1,)] if name == "reshape" else []
    for bad, error, message in OPERANDS:
        if name == "sum" and bad is OPERANDS[-1][0]:  # a list of Values has a sum
            continue
        with pytest.raises(error, match=re.escape(message)):
            getattr(cr, name)(bad, *more)


SHAPES: dict[str, tuple[Callable[[], Any], str]] = {
    "add": (lambda: T + np.ones(2), r"add: .*\(3,\) and \(2,\)"),
    "reflected": (lambda: np.ones(2) - T, r"sub: .*\(2,\) and \(3,\)"),
    "matmul": (lambda: T @ np.ones((2, 2)), r"matmul: .*\(3,\) and \(2, 2\)"),
    "maximum": (lambda: cr.maximum(T, np.ones((2, 2))), r"maximum: .*\(3,\) and \(2, 2\)"),
    "where": (lambda: cr.where(np.array([True, False]), T, 0.0), r"where: .*\(2,\) and \(3,\)"),
    "concatenate": (lambda: cr.concatenate([T, np.ones((2, 2))]), r"concatenate: .*\(3,\) and \(2, 2\)"),
    "stack": (lambda: cr.stack([T, V]), r"stack: .*\(3,\)"),
    "reshape": (lambda: T.reshape(2, 2), r"reshape: .*\(3,\)"),
    "broadcast_to": (lambda: cr.broadcast_to(T, (2, 2)), r"broadcast_to: .*\(3,\)"),
    "linear": (lambda: cr.linear(np.ones((5, 2)), np.ones((4, 3)), T), r"linear: .*\(5, 2\) and \(4, 3\) and \(3,\)"),
    "dot": (lambda: cr.dot([V, V], [1.0]), "dot: 2 terms on the left and 1 on the right"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_that_do_not_fit_are_both_named(name: str) -> None:
    call, message = SHAPES[name]
    with pytest.raises(ValueError, match=message):
        call()


NO_INDEX: dict[str, Callable[[Any], Any]] = {
    "index": lambda i: T[i],
    "index of an axis": lambda i: T[:, None][0, i],
    "take": lambda i: cr.take(T, i),
    "take_along_axis": lambda i: cr.take_along_axis(T, i, 0),
    "labels": lambda i: cr.softmax_cross_entropy(cr.Tensor([[1.0, 2.0]]), i),
}


@pytest.mark.parametrize("index", [V, T], ids=["Value", "Tensor"])
@pytest.mark.parametrize("name", NO_INDEX)
def test_variables_are_no_indices_and_no_labels(name: str, index: Any) -> None:
    with pytest.raises(TypeError, match=r"an index is made of integers|making a plain array of"):
        NO_INDEX[name](index)


def test_an_index_out_of_range() -> None:
    with pytest.raises(IndexError, match=r"getitem: .*\(3,\).*index 5 is out of bounds"):
        T[5]


# Settings

M = cr.Tensor(np.arange(9.0).reshape(3, 3))
REDUCTIONS = ("sum", "mean", "max", "min", "prod", "var", "std", "logsumexp", "norm")
ALONG = (
    *REDUCTIONS,
    "softmax",
    "log_softmax",
    "cumsum",
    "cumprod",
    "flip",
    "sort",
    "repeat",
    "take",
    "squeeze",
    "split",
)
FOR_ALONG: dict[str, tuple[Any, ...]] = {"repeat": (2,), "take": ([0],), "split": (3,)}


@pytest.mark.parametrize("axis", ["a", {}, True, 1.5, np.float64(1), b"", V], ids=repr)
@pytest.mark.parametrize("name", ALONG)
def test_an_axis_is_a_whole_number(name: str, axis: Any) -> None:
    for x in M, M.data:
        with pytest.raises(TypeError, match=rf"{name}: axis (must be a whole number, got|is a setting)"):
            getattr(cr, name)(x, *FOR_ALONG.get(name, ()), axis=axis)


@pytest.mark.parametrize("keepdims", ["no", 1, None, [], np.int64(1)], ids=repr)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_a_flag_is_true_or_false(name: str, keepdims: Any) -> None:
    for x in M, M.data:
        with pytest.raises(TypeError, match=rf"{name}: keepdims must be True or False, got "):
            getattr(cr, name)(x, keepdims=keepdims)


@pytest.mark.parametrize("name", REDUCTIONS)
def test_settings_may_be_numpys(name: str) -> None:
    f = getattr(cr, name)
    expected, found = f(M, axis=1, keepdims=True), f(M, axis=np.int64(1), keepdims=np.True_)
    assert_array_equal(found.data, expected.data)
    assert_array_equal(cr.gradients(found.sum(), M), cr.gradients(expected.sum(), M))
    assert found.params == expected.params
    assert [type(x) for x in found.params.values()] == [type(x) for x in expected.params.values()]
    assert_array_equal(f(M, axis=[0, 1]).data, f(M, axis=(0, 1)).data)
    assert_array_equal(f(M, axis=np.array(1)).data, f(M, axis=1).data)


WRONG_SETTINGS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "slope": (lambda x: cr.leaky_relu(x, 1j), TypeError, "leaky_relu: slope must be a number, got 1j"),
    "slopes": (lambda x: cr.leaky_relu(x, np.ones(2)), TypeError, "leaky_relu: slope must be a number, got array"),
    "a slope of NaN": (lambda x: cr.leaky_relu(x, np.nan), ValueError, "leaky_relu: slope must be a number, got nan"),
    "an infinite alpha": (lambda x: cr.elu(x, np.inf), ValueError, "elu: alpha must be finite, got inf"),
    "alphas": (lambda x: cr.elu(x, np.ones((3, 3))), TypeError, "elu: alpha must be a number, got array"),
    "a true alpha": (lambda x: cr.elu(x, True), TypeError, "elu: alpha must be a number, got True"),
    "a huge alpha": (lambda x: cr.elu(x, 10**400), ValueError, "elu: alpha is too large for a number"),
    "low": (lambda x: cr.clip(x, 1j), TypeError, "clip: low: expected a number, an array"),
    "high": (lambda x: cr.clip(x, 0.0, "1"), TypeError, "clip: high: expected a number, an array"),
    "ddof": (lambda x: cr.var(x, ddof=1j), TypeError, "var: ddof must be a number, got 1j"),
    "ddof of NaN": (lambda x: cr.std(x, ddof=np.nan), ValueError, "std: ddof must be a number, got nan"),
    "ord": (lambda x: cr.norm(x, 1j), TypeError, "norm: ord must be a number, got 1j"),
    "ords": (lambda x: cr.norm(x, [2.0]), TypeError, "norm: ord must be a number, got .2.0."),
    "axes": (lambda x: cr.sum(x, (0, "a")), TypeError, "sum: cannot be computed"),
    "several along one": (lambda x: cr.cumsum(x, [0]), TypeError, "cumsum: cannot be computed"),
    "an offset of NaN": (lambda x: cr.trace(x, np.nan), TypeError, "diagonal: offset must be a whole number, got nan"),
    "an infinite offset": (lambda x: cr.diagonal(x, np.inf), TypeError, "diagonal: offset must be a whole number"),
    "axis1": (lambda x: cr.diagonal(x, axis1=5), IndexError, "diagonal: axis 5 is out of bounds"),
    "one axis twice": (lambda x: cr.diagonal(x, 0, 1, 1), ValueError, "diagonal: expected as many new places as axes"),
    "k": (lambda x: cr.diag(x, "a"), TypeError, "diag: k must be a whole number, got 'a'"),
    "half of k": (lambda x: cr.tril(x, 0.5), TypeError, "tril: k must be a whole number, got 0.5"),
    "no axis by text": (lambda x: cr.concatenate([x, x], ""), TypeError, "concatenate: axis must be a whole number"),
    "no axis by a dict": (lambda x: cr.concatenate([x, x], {}), TypeError, "concatenate: axis must be a whole number"),
    "a set of parts": (
        lambda x: cr.concatenate({1.0}),
        TypeError,
        "concatenate: expected several in a list or a tuple",
    ),
    "one part": (lambda x: cr.concatenate(5), TypeError, "concatenate: expected several in a list or a tuple, got 5"),
    "a set to stack": (lambda x: cr.stack({1.0}), TypeError, "stack: expected several in a list or a tuple"),
    "bytes to stack": (lambda x: cr.stack(b"xy"), TypeError, "stack: expected several in a list or a tuple"),
    "shift": (lambda x: cr.roll(x, 1.5), TypeError, "roll: shift must be a whole number, got 1.5"),
    "sections": (lambda x: cr.split(x, 1.5), TypeError, "split: the number of sections must be a whole number"),
    "reps": (lambda x: cr.tile(x, 1.5), TypeError, "tile: reps must be a whole number, got 1.5"),
    "axes to move": (lambda x: cr.moveaxis(x, (0, 1), 0), ValueError, "moveaxis: expected as many new places as axes"),
    "axes of a product": (lambda x: cr.tensordot(x, x, "a"), TypeError, "tensordot: axes must be a whole number"),
    "digits": (lambda x: round(cr.Value(1.0), 0.5), TypeError, "round: digits must be a whole number, got 0.5"),
    "dtype": (lambda x: cr.Tensor(x, 5), TypeError, "Tensor: dtype must be a floating-point type, got 5"),
    "another dtype": (lambda x: M.astype(5), TypeError, "astype: dtype must be a floating-point type, got 5"),
    "the line of a number": (lambda x: cr.line_of(5), TypeError, "line_of: expected a Value or a Tensor, got 5"),  # type: ignore[arg-type]
    "an anomaly or not": (lambda x: cr.detect_anomaly(forward="no"), TypeError, "detect_anomaly: forward must be"),
    "a huge number": (lambda x: cr.Value(10**400), ValueError, "Value: too large for a number, got 1000"),
    "a number too long to write": (lambda x: cr.Value(10**5000), ValueError, "Value: too large for a number, got <int"),
    "reductions": (
        lambda x: cr.softmax_cross_entropy(x, [0, 1, 2], np.ones(2)),
        ValueError,
        "cross_entropy: reduction must be 'mean', 'sum' or 'none'",
    ),
}


@pytest.mark.parametrize("name", WRONG_SETTINGS)
def test_a_setting_that_is_none_is_named_with_the_operation(name: str) -> None:
    call, error, message = WRONG_SETTINGS[name]
    for x in [M.data] if name == "dtype" else [M.data, M]:
        with pytest.raises(error, match=message):
            call(x)


def test_settings_of_ones_own_are_ones_own() -> None:
    tilted = cr.custom(
        "tilted", lambda x, axis, k: x * axis["slope"] + k[0], lambda g, y, x, axis, k: g * axis["slope"]
    )
    x, k = cr.Value(2.0), [1.0]
    y = tilted(x, axis={"slope": 3.0}, k=k)
    k[0] = 5.0
    y.backward()
    assert (y.data, x.grad, y.params["k"]) == (7.0, 3.0, [1.0])


@pytest.mark.parametrize("index", [0, slice(None), ..., np.array([True, False, True]), [0, 1]], ids=repr)
def test_assignment_into_a_tensor_says_what_to_use(index: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot be assigned into.*cr\.where.*cr\.concatenate.*assign to t\.data"):
        T[index] = 1.0
    assert_array_equal(T.data, [1.0, 2.0, 3.0])


# Backward

SEEDS: dict[str, tuple[Any, Any, type[Exception], str]] = {
    "none for a vector": (T, None, ValueError, r"a Tensor of shape \(3,\) needs a seed of that shape.*\.sum\(\)"),
    "of another shape": (T, np.ones(2), ValueError, r"a seed of shape \(2,\) for a Tensor of shape \(3,\)"),
    "a number for a vector": (T, 1.0, ValueError, r"a seed of shape \(\) for a Tensor of shape \(3,\)"),
    "broadcastable": (T, np.ones((1, 3)), ValueError, r"a seed of shape \(1, 3\) for a Tensor of shape \(3,\)"),
    "text": (T, "abc", TypeError, "backward: the seed: expected a number.*'abc'"),
    "complex": (T, np.ones(3) * 1j, TypeError, "backward: the seed: expected real numbers.*complex128"),
    "ragged": (T, [[1.0], [1.0, 2.0]], ValueError, "backward: the seed: .*ragged"),
    "a Tensor": (T, cr.Tensor([1.0, 1.0, 1.0]), TypeError, r"backward: the seed must be plain data, got Tensor.*use its \.data"),
    "a vector for a Value": (V, [1.0, 2.0], TypeError, r"backward: the seed of a Value: expected a real number, got \[1\.0, 2\.0\]"),
    "text for a Value": (V, "1", TypeError, "backward: the seed of a Value: expected a real number, got '1'"),
}  # fmt: skip


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_that_do_not_fit(name: str) -> None:
    x, seed, error, message = SEEDS[name]
    y = x * 2.0
    with pytest.raises(error, match=message):
        y.backward(seed)
    if not isinstance(seed, cr.Node):
        with pytest.raises(error, match=message):
            cr.gradients(y, x, seed=seed, create_graph=True)
    assert y.grad is None
    assert x.grad is None


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("seed", [V, cr.Tensor([1.0, 2.0]), cr.Tensor([[1.0, 2.0, 3.0]])], ids=repr)
def test_a_seed_that_is_a_node_must_fit_too(seed: Any, create_graph: bool) -> None:
    with pytest.raises(ValueError, match=rf"a seed of shape {re.escape(str(seed.shape))} for a .* \(3,\)"):
        cr.gradients(T * 2.0, T, seed=seed, create_graph=create_graph)


@pytest.mark.parametrize("x", [V, T], ids=["Value", "Tensor"])
def test_backward_from_a_constant(x: Any) -> None:
    with cr.no_grad():
        y = cr.sum(x * x)
    with pytest.raises(RuntimeError, match=r"backward from .*, a constant: .*no_grad\(\).*outside no_grad\(\)"):
        y.backward()
    with pytest.raises(RuntimeError, match=r"gradients from .*, a constant: .*no_grad\(\).*outside no_grad\(\)"):
        cr.gradients(y, x)
    assert y.grad is None


@pytest.mark.parametrize("constant", [3.0, np.ones(2), None, "text", [V]], ids=repr)
def test_gradients_of_what_is_no_variable(constant: Any) -> None:
    with pytest.raises(TypeError, match=r"gradients: the output is a constant, .*compute it from a Value or Tensor"):
        cr.gradients(constant, V)
    with pytest.raises(TypeError, match="gradients: inputs must be Values or Tensors, got"):
        cr.gradients(V * 1.0, [constant])


# Operations of one's own


def test_a_function_of_one_number_or_array() -> None:
    cube = cr.custom("cube", lambda x: x * x * x, lambda g, y, x: 3.0 * g * x * x, symbol="x³", doc="x cubed.")
    assert cube(2.0) == 8.0
    assert_array_equal(cube([1.0, 2.0]), [1.0, 8.0])
    assert (cube.__name__, cube.__doc__) == ("cube", "x cubed.")
    v, t = cr.Value(2.0), cr.Tensor([[1.0, -2.0]], np.float32)
    y = cube(v)
    y.backward()
    assert (y.data, v.grad) == (8.0, 12.0)
    cube(t).sum().backward()
    assert_array_equal(t.grad, [[3.0, 12.0]])
    assert t.grad.dtype == np.float32
    assert [cr.grad(cube)(2.0), cr.grad(cr.grad(cube))(2.0), cr.grad(cr.grad(cr.grad(cube)))(2.0)] == [12.0, 12.0, 6.0]
    assert "cube" not in dir(cr)
    assert cr.gradcheck(cube, 1.5)
    assert cr.gradcheck(lambda x: cr.grad(lambda x: cr.sum(cube(x)))(x), np.array([1.5, -0.5]))


def huber_of(x: Any, c: Any, *, delta: float) -> Any:
    return np.where(np.abs(x - c) < delta, 0.5 * (x - c) ** 2, delta * (np.abs(x - c) - 0.5 * delta))


def test_several_arguments_and_parameters() -> None:
    huber = cr.custom(
        "huber",
        huber_of,
        lambda g, y, x, c, delta: g * cr.clip(x - c, -delta, delta),
        lambda g, y, x, c, delta: -g * cr.clip(x - c, -delta, delta),
    )
    x, c = cr.Tensor([0.5, 3.0, -2.0]), cr.Value(0.25)
    y = huber(x, c, delta=1.0)
    assert_allclose(y.data, [0.03125, 2.25, 1.75])
    y.backward(np.ones(3))
    assert_allclose(x.grad, [0.25, 1.0, -1.0])
    assert c.grad == -0.25
    assert_allclose(cr.hessian(lambda x: cr.sum(huber(x, 0.25, delta=1.0)))(x.data), np.diag([1.0, 0.0, 0.0]))
    assert_allclose(cr.gradients(huber(2.0, c, delta=0.5), c), -0.5)
    assert cr.gradcheck(lambda x, c: cr.sum(huber(x, c, delta=1.0)), x.data, 0.25)


def test_an_argument_that_has_no_derivative() -> None:
    pick = cr.custom("pick", lambda x, i: x * (i > 0), lambda g, y, x, i: g * cr.where(i > 0, 1.0, 0.0), None)
    x, i = cr.Tensor([1.0, 2.0]), cr.Tensor([1.0, -1.0])
    pick(x, i).sum().backward()
    assert_array_equal(x.grad, [1.0, 0.0])
    assert i.grad is None


def test_a_row_of_ones_own_is_drawn() -> None:
    cube = cr.custom("cube", lambda x: x * x * x, lambda g, y, x: 3.0 * g * x * x, symbol="<cubed & drawn>")
    y = cube(cr.Value(2.0, name="x"))
    y.backward()
    source = cr.visualize.draw(y).source
    assert "cubed" in source
    assert "12" in source


def identity(rule: Callable[..., Any]) -> Callable[[Any], Any]:
    return cr.custom("f", lambda x: 1.0 * x, rule)


def pulled(x: Any, rule: Callable[..., Any]) -> None:
    cr.sum(identity(rule)(x)).backward()


CUSTOM: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "more arguments than rules": (lambda: cr.custom("f", lambda x: x, lambda g, y, x: g)(V, 1.0), TypeError, r"f: takes 1 positional arguments \(one for each rule\), got 2"),
    "fewer arguments than rules": (lambda: cr.custom("f", lambda a, b: a, None, None)(V), TypeError, r"f: takes 2 positional arguments .* got 1"),
    "an argument that is no number": (lambda: cr.custom("f", lambda x: x, None)("x"), TypeError, "f: expected a number, an array, a Value or a Tensor, got 'x'"),
    "a parameter it does not have": (lambda: cr.custom("f", lambda x: x, None)(V, k=1), TypeError, "f: .*unexpected keyword argument 'k'"),
    "a forward that fails": (lambda: cr.custom("f", lambda x: x.reshape(2, 2), None)(T), ValueError, r"f: cannot be computed from arguments of shapes \(3,\)"),
    "a forward that returns text": (lambda: cr.custom("f", str, None)(V), TypeError, r"f: its forward must return a number or an array, got '2\.0' \(str\)"),
    "a rule that is no function": (lambda: cr.custom("f", lambda x: x, "g"), TypeError, "f: a rule must be a function or None, got 'g'"),
    "a forward that is no function": (lambda: cr.custom("f", 3.0, None), TypeError, r"f: the forward must be a function, got 3\.0"),
    "a rule that returns nothing": (lambda: cr.custom("f", lambda x: x, lambda g, y, x: None)(V).backward(), TypeError, "f: a rule returned None; return a cotangent"),
    "a rule of two arguments": (lambda: pulled(T, lambda g, x: g), TypeError, r"f: a rule is called with \(g, y, x\).*this one takes \(g, x\)"),
    "a rule of too many": (lambda: pulled(V, lambda g, y, x, z: g), TypeError, r"f: a rule is called with \(g, y, x\).*this one takes \(g, y, x, z\)"),
    "a rule of keywords": (lambda: pulled(V, lambda g, y, *, x: g), TypeError, r"f: a rule is called with \(g, y, x\)"),
    "a rule without the setting": (lambda: cr.custom("f", lambda x, k: x, lambda g, y, x: g)(V, k=2).backward(), TypeError, r"f: a rule is called with \(g, y, x, k=2\)"),
    "a rule of two, of three": (lambda: cr.custom("f", lambda a, b: a * b, lambda g, y, a: g, None)(V, V).backward(), TypeError, r"\(g, y, a, b\)"),
    "a rule that writes into x": (lambda: pulled(T, lambda g, y, x: np.multiply(x, 2.0, out=x)), ValueError, "f: its rule writes into what it was given, .*read-only"),
    "a rule that writes into a view of y": (lambda: pulled(T, lambda g, y, x: y.reshape(-1)[:1].fill(0.0)), ValueError, "f: its rule writes into what it was given"),
    "a rule that writes into g": (lambda: pulled(T, lambda g, y, x: g.sort()), ValueError, "f: its rule writes into what it was given"),
    "a rule that returns text": (lambda: pulled(V, lambda g, y, x: "1"), TypeError, "f: its rule for argument 0 must return a number, .*got '1'"),
    "a rule that returns a list": (lambda: pulled(T, lambda g, y, x: [1.0, 2.0, 3.0]), TypeError, r"f: its rule for argument 0 must return a number, .*got \[1.0, 2.0, 3.0\] \(list\)"),
    "a rule that returns complex": (lambda: pulled(T, lambda g, y, x: g * 1j), TypeError, "f: its rule .*complex128"),
    "a rule that returns a masked array": (lambda: pulled(T, lambda g, y, x: np.ma.masked_array(g, x > 1.0)), TypeError, "f: its rule .*masked_array"),
    "a rule of another shape": (lambda: pulled(T, lambda g, y, x: np.ones(2)), ValueError, r"f: its rule for argument 0 returned an array of shape \(2,\), expected \(3,\)"),
    "a rule of another shape, of nodes": (lambda: cr.gradients(cr.sum(identity(lambda g, y, x: cr.concatenate([g, g]))(T)), T, create_graph=True), ValueError, r"f: its rule for argument 0 returned an array of shape \(6,\)"),
    "a rule for numbers": (lambda: pulled(T, lambda g, y, x: g * math.cos(x)), TypeError, r"f: its rule raised TypeError: .*ndarray \(3,\)"),
    "a rule that divides by zero": (lambda: pulled(V, lambda g, y, x: g * (1 // 0)), RuntimeError, "f: its rule raised ZeroDivisionError"),
    "no rules at all": (lambda: cr.custom("f", lambda x: x), TypeError, "f: expected one rule for each argument, got none"),
    "a name that is no string": (lambda: cr.custom(3, lambda x: x, None), TypeError, "custom: the name must be a string, got 3"),
}  # fmt: skip


@pytest.mark.parametrize("name", CUSTOM)
def test_misuse_of_custom_is_explained(name: str) -> None:
    call, error, message = CUSTOM[name]
    with pytest.raises(error, match=message):
        call()


def test_another_error_of_a_rule_stays_itself_and_says_which_rule() -> None:
    with pytest.raises(KeyError) as caught:
        pulled(T, lambda g, y, x: {}["a"])
    assert caught.value.__notes__ == ["f: its rule for argument 0 raised this"]


@pytest.mark.parametrize(
    ("rule", "x", "expected"),
    [
        (lambda g, y, x: 1.0 / x, 0.0, np.inf),  # by IEEE 754, as in the library
        (lambda g, y, x: 2, 1.0, 2.0),
        (lambda g, y, x: np.float32(2.0), 1.0, 2.0),
        (lambda g, y, x: x > 0, np.array([1.0, -1.0]), [1.0, 0.0]),
        (lambda g, y, x: 3.0, np.ones(2), [3.0, 3.0]),
        (lambda g, y, x: np.ones((4, 1, 2)), np.ones((1, 2)), [[4.0, 4.0]]),
    ],
)
def test_a_rule_may_answer_with_what_can_be_brought_to_the_argument(rule: Any, x: Any, expected: Any) -> None:
    assert_array_equal(cr.grad(lambda x: cr.sum(identity(rule)(x)))(x), expected)


# Functions

NO_FUNCTIONS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "grad": (lambda f: cr.grad(f), "grad: f"),
    "value_and_grad": (lambda f: cr.value_and_grad(f), "value_and_grad: f"),
    "vjp": (lambda f: cr.vjp(f, 1.0), "vjp: f"),
    "jvp": (lambda f: cr.jvp(f, (1.0,), (1.0,)), "jvp: f"),
    "jacobian": (lambda f: cr.jacobian(f), "jacobian: f"),
    "hessian": (lambda f: cr.hessian(f), "hessian: f"),
    "hvp": (lambda f: cr.hvp(f), "hvp: f"),
    "hvp at once": (lambda f: cr.hvp(f, 1.0, 1.0), "hvp: f"),
    "gradcheck": (lambda f: cr.gradcheck(f, 1.0), "gradcheck: f"),
    "gradcheck of parameters": (lambda f: cr.gradcheck(f, parameters=V), "gradcheck: f"),
    "numeric_gradient": (lambda f: cr.numeric_gradient(f, 1.0), "numeric_gradient: f"),
    "check_row": (lambda f: cr.check_row(f, 1.0), "check_row: operation"),
    "custom": (lambda f: cr.custom("cube", f, None), "cube: the forward"),
}


@pytest.mark.parametrize("f", [5, None, "f", V, [abs]], ids=repr)
@pytest.mark.parametrize("name", NO_FUNCTIONS)
def test_what_is_no_function_is_told_at_once(name: str, f: Any) -> None:
    call, what = NO_FUNCTIONS[name]
    with pytest.raises(TypeError, match=f"^{what} must be a function, got "):
        call(f)


def square(x: Any) -> Any:
    return x * x


ARGUMENTS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "argnums of text": (lambda: cr.grad(square, "a")(1.0), TypeError, "grad: argnums must be a whole number, or several, got 'a'"),
    "no argnums": (lambda: cr.value_and_grad(square, None)(1.0), TypeError, "argnums must be a whole number, or several, got None"),
    "half an argument": (lambda: cr.jacobian(square, 0.5)(1.0), TypeError, "jacobian: argnums must be .* got 0.5"),
    "argnums among which is text": (lambda: cr.grad(square, [0, "a"])(1.0), TypeError, r"grad: argnums must be .* got \[0, 'a'\]"),
    "argnums of hvp": (lambda: cr.hvp(square, 1.0, 1.0, argnums="a"), TypeError, "hvp: argnums must be .* got 'a'"),
    "primals": (lambda: cr.jvp(square, 1.0, (1.0,)), TypeError, "jvp: primals must be a sequence, one for each argument of f, got 1.0"),
    "tangents": (lambda: cr.jvp(square, (1.0,), None), TypeError, "jvp: tangents must be a sequence, .* got None"),
    "inputs": (lambda: cr.gradients(V * V, 5), TypeError, "gradients: inputs must be Values or Tensors, got 5"),
    "no inputs": (lambda: cr.gradients(V * V, None), TypeError, "gradients: inputs must be Values or Tensors, got None"),
    "a seed of text": (lambda: cr.gradcheck(square, 1.0, seed="a"), ValueError, "gradcheck: seed is a whole number from 0, got 'a'"),
    "a negative seed": (lambda: cr.check(V * V, seed=-1), ValueError, "check: seed is a whole number from 0, got -1"),
    "a seed of a row": (lambda: cr.check_row(cr.exp, 1.0, seed=0.5), ValueError, "seed is a whole number from 0, got 0.5"),
    "a theme": (lambda: cr.visualize.draw(V * V, theme=["dark"]), ValueError, r"visualize: theme must be one of .* got \['dark'\]"),
    "a direction": (lambda: cr.visualize.draw(V * V, direction=["LR"]), ValueError, "visualize: direction must be one of"),
    "an engine": (lambda: cr.visualize.draw(V * V, engine=["dot"]), ValueError, "visualize: engine must be one of"),
    "what to open": (lambda: cr.visualize.draw(V * V, open=5), TypeError, "visualize: open must hold names of folds, .* got 5"),
    "a path": (lambda: cr.visualize.render(V * V, 5), TypeError, "render: path must be a string or a path, got 5"),
    "no path": (lambda: cr.visualize.render(V * V, None), TypeError, "render: path must be a string or a path, got None"),
    "a path of steps": (lambda: cr.visualize.step(V * V, 5), TypeError, "step: path must be a string or a path, got 5"),
    "a title of steps": (lambda: cr.visualize.step(V * V, title=5), TypeError, "step: title must be a string or None, got 5"),
}  # fmt: skip


@pytest.mark.parametrize("name", ARGUMENTS)
def test_an_argument_that_is_wrong_is_named(name: str) -> None:
    call, error, message = ARGUMENTS[name]
    with pytest.raises(error, match=message):
        call()


SETTINGS: dict[str, Callable[[Any], Any]] = {
    "elu: alpha": lambda a: cr.sum(cr.elu(A * a, alpha=a)),
    "leaky_relu: slope": lambda a: cr.sum(cr.leaky_relu(A * a, negative_slope=a)),
    "norm: ord": lambda a: cr.sum(cr.norm(A * a, ord=a, axis=0)),
    "sum: axis": lambda a: cr.sum(A * a, axis=a),
    "var: ddof": lambda a: cr.var(A * a, ddof=a),
    "roll: shift": lambda a: cr.sum(cr.roll(A, a)),
    "mine: k": lambda a: cr.sum(MINE(A * a, k=a)),
}
A = np.array([[-1.0, 2.0], [3.0, -0.5]])
MINE = cr.custom("mine", lambda x, k: x * k, lambda g, y, x, k: g * k)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize(
    "derive",
    [
        lambda f: cr.grad(f)(3.0),
        lambda f: cr.value_and_grad(f)(3.0),
        lambda f: cr.jacobian(f)(3.0),
        lambda f: f(cr.Value(3.0)),
        lambda f: f(cr.Tensor(3.0)),
    ],
    ids=["grad", "value_and_grad", "jacobian", "Value", "Tensor"],
)
def test_a_variable_is_no_setting(name: str, derive: Callable[[Any], Any]) -> None:
    with pytest.raises(TypeError, match=rf"{name} (is a setting, which nothing is differentiated by|must be a number)"):
        derive(SETTINGS[name])
