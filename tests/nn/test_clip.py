"""Clipping: PyTorch's norms and gradients, in place, without overflow, each array once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr


def holders(dtype: str = "float64") -> list[Any]:
    rng = np.random.default_rng(0)
    params: list[Any] = [cr.Tensor(np.zeros(shape), dtype=dtype) for shape in [(3, 4), (5,), (), (0, 2), (2, 3)]]
    for p in params[:-1]:
        p.grad = np.asarray(rng.normal(size=p.shape), dtype=dtype)
    params[0].grad = np.array(params[0].grad, order="F")
    return params  # the last one has no gradient


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.5, 0.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 0.3, 2.0, 1e3])
def test_norms_and_gradients_are_those_of_torch(dtype: str, norm_type: float, max_norm: float) -> None:
    torch = pytest.importorskip("torch")
    params = holders(dtype)
    twins = [torch.zeros(p.shape, dtype=getattr(torch, dtype), requires_grad=True) for p in params]
    if norm_type == math.inf:
        del params[3], twins[3]  # PyTorch has no largest element of nothing
    for p, twin in zip(params, twins, strict=True):
        twin.grad = None if p.grad is None else torch.tensor(np.ascontiguousarray(p.grad).reshape(p.shape))
    arrays = [p.grad for p in params]
    norm = cr.nn.clip_grad_norm(params, max_norm, norm_type)
    expected = torch.nn.utils.clip_grad_norm_(twins, max_norm, norm_type).item()
    assert type(norm) is float
    assert norm == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-12)
    for p, g, twin in zip(params, arrays, twins, strict=True):
        assert p.grad is g
        if g is not None:
            assert g.dtype == dtype
            assert_allclose(g, twin.grad.numpy(), rtol=1e-6 if dtype == "float32" else 1e-12)


def test_clipping_by_value() -> None:
    torch = pytest.importorskip("torch")
    params = holders()
    arrays = [p.grad for p in params]
    copies = [None if g is None else torch.tensor(g) for g in arrays]
    cr.nn.clip_grad_value(params, 0.4)
    for p, g, twin in zip(params, arrays, copies, strict=True):
        assert p.grad is g
        if g is not None:
            assert_array_equal(g, twin.clamp(-0.4, 0.4).numpy())


def test_values_are_clipped_too() -> None:
    a, b, t = cr.Value(0.0), cr.Value(0.0), cr.Tensor([0.0])
    a.grad, b.grad, t.grad = 3.0, None, np.array([-4.0])
    assert cr.nn.clip_grad_norm([a, b, t], 1.0) == 5.0
    assert a.grad == pytest.approx(0.6)
    assert b.grad is None
    assert t.grad == pytest.approx(-0.8)
    cr.nn.clip_grad_value(iter([a, b, t]), 0.5)
    assert (a.grad, b.grad, t.grad[0]) == (0.5, None, -0.5)
    assert type(a.grad) is float
    assert cr.nn.clip_grad_norm(a, 10.0) == 0.5


def test_an_array_that_two_parameters_share_is_clipped_once() -> None:
    a, b = cr.Tensor([0.0, 0.0]), cr.Tensor([0.0, 0.0])
    a.grad = b.grad = np.array([3.0, 4.0])
    norm = cr.nn.clip_grad_norm([a, b, a], 1.0)
    assert norm == pytest.approx(math.sqrt(50.0))
    assert_allclose(a.grad, np.array([3.0, 4.0]) / norm, rtol=1e-6)
    assert a.grad is b.grad


VIEWS: dict[str, Callable[[Any], list[Any]]] = {  # gradients, from an array of six numbers
    "the same": lambda a: [a[:], a[:]],
    "the array and a view": lambda a: [a, a[::-1]],
    "a view and the array": lambda a: [a[:4], a],
    "overlapping": lambda a: [a[:4], a[2:]],
    "rows and columns": lambda a: [a.reshape(2, 3), a.reshape(2, 3).T],
    "one element repeated": lambda a: [np.lib.stride_tricks.as_strided(a, (3,), (0,)), a],
    "read-only": lambda a: [np.broadcast_to(a[:1], (4,)), a[:2]],
    "parts of one": lambda a: [a[:2], a[2:]],
}


@pytest.mark.parametrize("clip", [lambda ps: cr.nn.clip_grad_norm(ps, 1.0), lambda ps: cr.nn.clip_grad_value(ps, 2.5)])
@pytest.mark.parametrize("name", VIEWS)
def test_elements_that_gradients_share_are_clipped_once(name: str, clip: Any) -> None:
    shared = VIEWS[name](np.arange(1.0, 7.0))
    ours, theirs = ([cr.Tensor(np.zeros(g.shape)) for g in shared] for _ in range(2))
    for p, q, g in zip(ours, theirs, shared, strict=True):
        p.grad, q.grad = g, g.copy()
    assert clip(ours) == clip(theirs)
    for p, q in zip(ours, theirs, strict=True):
        assert_allclose(p.grad, q.grad, rtol=1e-14)


def test_a_parameter_that_is_its_own_gradient_is_not_clipped() -> None:
    p, q, r, v = cr.Tensor([3.0, 4.0]), cr.Tensor([30.0, 40.0]), cr.Tensor([0.0, 5.0]), cr.Value(1.0)
    p.grad, q.grad, v.grad = p.data, r.data[::-1], 0.0
    cr.nn.clip_grad_norm([p, q, v], 1.0)
    assert_allclose([p.data, q.data, r.data], [[3.0, 4.0], [30.0, 40.0], [0.0, 5.0]])
    assert_allclose([p.grad, q.grad], np.array([[3.0, 4.0], [5.0, 0.0]]) / math.sqrt(50.0), rtol=1e-6)


def test_whole_numbers_are_clipped_to_fractions() -> None:
    p, q = cr.Tensor([0.0, 0.0]), cr.Tensor([0.0])
    p.grad, q.grad = np.array([3, 4]), np.array([12.0])
    assert cr.nn.clip_grad_norm([q, p], 1.0) == 13.0
    assert_allclose([*p.grad, *q.grad], np.array([3.0, 4.0, 12.0]) / 13.0, rtol=1e-6)


@pytest.mark.parametrize("g", [np.array(4), np.float64(4.0), 4.0, np.broadcast_to(4.0, ())])
def test_a_gradient_without_axes_stays_an_array(g: Any) -> None:
    p = cr.Tensor(0.0)
    p.grad = g
    assert cr.nn.clip_grad_norm([p], 1.0) == 4.0
    assert type(p.grad) is np.ndarray
    assert p.grad == pytest.approx(1.0)


WRONG: dict[str, tuple[Any, type[Exception], str]] = {
    "masked": (np.ma.masked_array([3.0, 4.0], [True, False]), TypeError, "a masked array's mask would be ignored"),
    "complex": (np.array([3.0j, 4.0]), TypeError, "expected real numbers"),
    "text": (np.array(["3", "4"]), TypeError, "expected real numbers"),
    "of another shape": (
        np.ones(3),
        ValueError,
        r"expected a gradient of shape \(2,\) for .*, got one of shape \(3,\)",
    ),
}


@pytest.mark.parametrize("clip", [cr.nn.clip_grad_norm, cr.nn.clip_grad_value])
@pytest.mark.parametrize("name", WRONG)
def test_a_gradient_that_is_none_clips_nothing(name: str, clip: Any) -> None:
    wrong, error, message = WRONG[name]
    p, q = cr.Tensor([0.0]), cr.Tensor([0.0, 0.0])
    p.grad, q.grad = np.array([12.0]), wrong
    with pytest.raises(error, match=f"^{clip.__name__}: .*{message}"):
        clip([p, q], 1.0)
    assert p.grad == 12.0


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e15, 1e25, 1e37])
@pytest.mark.parametrize("norm_type", [2.0, 3.0])
def test_the_norm_does_not_overflow_where_the_gradients_do_not(scale: float, norm_type: float) -> None:
    t = cr.Tensor(np.zeros(2), dtype="float32")
    t.grad = np.array([3.0, -4.0], dtype="float32") * np.float32(scale)
    expected = (3.0**norm_type + 4.0**norm_type) ** (1.0 / norm_type) * scale
    assert cr.nn.clip_grad_norm([t], 1.0, norm_type) == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(t.grad).all()
    assert math.hypot(*t.grad) <= max(1.0, 1.1 * scale) + 1e-6


@pytest.mark.parametrize("scale", [1e-7, 1e-4, 1e-2, 1.0, 1e4])
@pytest.mark.parametrize("norm_type", [1.0, 2.0, 3.0, math.inf])
def test_half_precision_neither_underflows_nor_overflows(scale: float, norm_type: float) -> None:
    t, twin = cr.Tensor(np.zeros(6), dtype="float16"), cr.Tensor(np.zeros(6), dtype="float32")
    t.grad = (np.array([1.0, -2.0, 3.0, 0.0, -5.0, 6.0]) * scale).astype(np.float16)
    twin.grad = t.grad.astype(np.float32)
    array = t.grad
    norms = [cr.nn.clip_grad_norm([p], 1e-3 * max(scale, 1e-2), norm_type) for p in (t, twin)]
    assert norms[0] == norms[1]
    assert t.grad is array
    assert_array_equal(t.grad, twin.grad.astype(np.float16))


def test_whole_numbers_as_gradients_do_not_wrap() -> None:
    t = cr.Tensor([0.0, 0.0])
    t.grad = np.array([100, -100], np.int8)
    assert cr.nn.clip_grad_norm([t], 1e3) == pytest.approx(math.sqrt(2.0) * 100.0)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_underflows_is_no_error_where_numpy_is_told_to_raise(dtype: str) -> None:
    with np.errstate(under="ignore"):
        t, g = cr.Tensor(np.zeros(3), dtype=dtype), np.array([1.0, 1e-7, 1e-200]).astype(dtype)
    for norm_type in (1.0, 2.0, 3.0, math.inf):
        t.grad = g.copy()
        with np.errstate(all="raise"):
            assert cr.nn.clip_grad_norm([t], 1e-3, norm_type) == pytest.approx(1.0, rel=1e-6)
            cr.nn.clip_grad_value([t], 1e-200)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_a_norm_that_is_not_finite(bad: float) -> None:
    torch = pytest.importorskip("torch")
    t, twin = cr.Tensor([0.0, 0.0]), torch.zeros(2, requires_grad=True)
    t.grad, twin.grad = np.array([1.0, bad]), torch.tensor([1.0, bad])
    with pytest.raises(FloatingPointError, match=r"clip_grad_norm: the norm of the gradients is (inf|nan)"):
        cr.nn.clip_grad_norm([t], 1.0, error_if_nonfinite=True)
    assert_array_equal(t.grad, [1.0, bad])
    norm, expected = cr.nn.clip_grad_norm([t], 1.0), torch.nn.utils.clip_grad_norm_([twin], 1.0).item()
    assert_array_equal(norm, expected)
    assert_array_equal(t.grad, twin.grad.numpy())


def test_nothing_to_clip() -> None:
    assert cr.nn.clip_grad_norm([], 1.0) == 0.0
    assert cr.nn.clip_grad_norm([cr.Value(1.0)], 1.0) == 0.0
    cr.nn.clip_grad_value([], 1.0)


MISUSES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "negative norm": (lambda: cr.nn.clip_grad_norm([cr.Value(1.0)], -1.0), ValueError, "clip_grad_norm: max_norm must not be negative, got -1.0"),
    "NaN": (lambda: cr.nn.clip_grad_norm([cr.Value(1.0)], math.nan), ValueError, "clip_grad_norm: max_norm must not be negative, got nan"),
    "order 0": (lambda: cr.nn.clip_grad_norm([cr.Value(1.0)], 1.0, 0.0), ValueError, "clip_grad_norm: norm_type must be positive, got 0.0"),
    "negative limit": (lambda: cr.nn.clip_grad_value([cr.Value(1.0)], -1.0), ValueError, "clip_grad_value: limit must not be negative, got -1.0"),
    "a model": (lambda: cr.nn.clip_grad_norm(cr.nn.Linear(1, 1), 1.0), TypeError, r"clip_grad_norm: expected parameters, got one Linear; give its parameters\(\)"),
    "text": (lambda: cr.nn.clip_grad_norm("", 1.0), TypeError, "clip_grad_norm: params must be a list of parameters"),
    "nothing": (lambda: cr.nn.clip_grad_value(None, 1.0), TypeError, "clip_grad_value: params must be a list of parameters"),
    "beyond floats": (lambda: cr.nn.clip_grad_norm([], 10**400), ValueError, "clip_grad_norm: max_norm must be finite"),
    "arrays": (lambda: cr.nn.clip_grad_norm([np.ones(2)], 1.0), TypeError, "clip_grad_norm: expected parameters .Values and Tensors., got array"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_of_clipping_is_explained(name: str) -> None:
    call, error, message = MISUSES[name]
    with pytest.raises(error, match=message):
        call()
