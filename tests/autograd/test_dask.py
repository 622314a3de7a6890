"""Tensors over Dask's chunked arrays: the same rules, unchanged, and nothing computed before it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import chainrule as cr

da = pytest.importorskip("dask.array")

rng = np.random.default_rng(3)
X, W, B = rng.normal(size=(6, 4)), rng.normal(size=(3, 4)), rng.normal(size=3)

PROGRAMS: dict[str, Callable[..., Any]] = {
    "arithmetic": lambda x, w, b: ((x[:3] * w - 2.0) / (w * w + 1.0)).sum(),
    "reflected": lambda x, w, b: (2.0 ** cr.tanh(x) - 1.0 / (1.0 + x * x)).sum() + b.sum() * w.sum(),
    "functions": lambda x, w, b: (cr.exp(-x) * cr.sin(x) + cr.log1p(x * x)).mean(),
    "relu and where": lambda x, w, b: cr.where(x > 0.3, cr.relu(x), cr.abs(x) * 0.1).sum(),
    "extremes": lambda x, w, b: cr.maximum(x, 0.2).max(axis=0).sum() + x.min(),
    "matmul": lambda x, w, b: (cr.tanh(x @ w.T + b) ** 2).mean(axis=0).sum(),
    "linear": lambda x, w, b: cr.sigmoid(cr.linear(x, w, b)).sum(),
    "normalized": lambda x, w, b: ((x - x.mean(axis=0)) / x.std(axis=0) * np.arange(24.0).reshape(6, 4)).sum(),
    "shapes": lambda x, w, b: (x.reshape(6, 2, 2).T * 3.0)[1:, ::2].sum() + cr.concatenate([w.ravel(), b]).sum(),
    "softmax": lambda x, w, b: (cr.softmax(x) * X).sum() + cr.logsumexp(w, axis=1).sum() - cr.log_softmax(w)[0].sum(),
    "gelu and norm": lambda x, w, b: cr.norm(cr.gelu(x)) + cr.norm(w, axis=0).sum() + cr.erf(b).sum(),
    "products": lambda x, w, b: cr.prod(b) + cr.cumprod(b).sum() + cr.einsum("ij,kj->ik", x, w).sum(),
    "mixed with arrays": lambda x, w, b: (x * X).sum() + (np.ones((6, 6)) @ x).sum(),
    "numpy's functions": lambda x, w, b: np.sum(np.exp(np.negative(x)) * np.square(x)),
}


def variables(make: Callable[[Any], Any]) -> list[Any]:
    return [cr.Tensor(make(x)) for x in (X, W, B)]


@pytest.mark.parametrize("name", PROGRAMS)
def test_same_numbers_as_over_numpy(name: str) -> None:
    f = PROGRAMS[name]
    lazy, plain = variables(lambda x: da.from_array(x, chunks=2)), variables(np.copy)
    y, expected = f(*lazy), f(*plain)
    assert isinstance(y, cr.Tensor)
    assert isinstance(y.data, da.Array)
    assert_allclose(y.data.compute(), expected.data, rtol=1e-12)
    for g, e in zip(cr.gradients(y, lazy), cr.gradients(expected, plain), strict=True):
        assert isinstance(g, da.Array)
        assert g.shape == e.shape
        assert_allclose(np.asarray(g), e, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["arithmetic", "functions", "matmul", "shapes"])
def test_second_order(name: str) -> None:
    f = PROGRAMS[name]

    def curvature(xs: list[Any]) -> Any:
        gs = cr.gradients(f(*xs), xs, create_graph=True)
        return cr.gradients(sum(((g * g).sum() for g in gs), 0.0), xs)

    lazy = curvature(variables(lambda x: da.from_array(x, chunks=3)))
    for g, e in zip(lazy, curvature(variables(np.copy)), strict=True):
        assert_allclose(np.asarray(g), e, rtol=1e-11, atol=1e-14)


def test_nothing_is_computed_early() -> None:
    def refuse(block: Any) -> Any:
        raise AssertionError("computed too early")

    x = cr.Tensor(da.zeros((4, 4), chunks=2).map_blocks(refuse, dtype=float, meta=np.zeros((0, 0))))
    y = (cr.tanh(x @ x.T) * 2.0).sum()
    y.backward()
    assert isinstance(x.grad, da.Array)
    with pytest.raises(AssertionError, match="too early"):
        y.data.compute()


def test_backward_accumulates() -> None:
    x = cr.Tensor(da.from_array(X, chunks=2))
    (x * x).sum().backward()
    (x * x).sum().backward()
    assert_allclose(np.asarray(x.grad), 4 * X)


def test_a_plain_operand_is_not_computed_to_change_its_precision() -> None:
    b = da.full((2, 3), 2.0, dtype=np.float32, chunks=1)
    y = np.float_power(cr.Tensor(da.ones((2, 3), dtype=np.float32, chunks=1)), b)
    assert isinstance(y.data, da.Array)
    assert all(isinstance(arg._raw if isinstance(arg, cr.Node) else arg, da.Array) for arg in y.args)
    assert y.dtype == np.float64


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("bias", [True, False])
def test_layers_and_losses_leave_plain_arrays_what_they_are(bias: bool, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(4, 3))
    x = da.from_array(data, chunks=2)
    target = da.from_array(rng.uniform(size=(4, 2)), chunks=2)
    layer = cr.nn.Linear(3, 2, bias=bias, dtype=dtype, rng=0)
    y = layer(x)
    assert isinstance(y._raw, da.Array)
    assert_allclose(y.data.compute(), layer(data).data, rtol=1e-6)
    for loss in cr.nn.mse_loss, cr.nn.l1_loss, cr.nn.huber_loss, cr.nn.binary_cross_entropy_with_logits:
        for prediction in y, cr.Tensor(data[:, :2]), x[:, :2]:
            value = loss(prediction, target)
            assert isinstance(getattr(value, "_raw", value), da.Array), loss
    for norm in cr.nn.BatchNorm1d(3), cr.nn.LayerNorm(3):
        assert isinstance(norm(x)._raw, da.Array)
        assert_allclose(norm.eval()(x).data.compute(), norm(data).data)
