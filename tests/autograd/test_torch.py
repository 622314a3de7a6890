"""First and second derivatives against PyTorch's, where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose
from reference import like

import chainrule as cr

torch = pytest.importorskip("torch")
F = torch.nn.functional

rng = np.random.default_rng(5)
X = rng.normal(size=(3, 4))
Y = rng.normal(size=(3, 4))
POSITIVE = rng.uniform(0.2, 3.0, (3, 4))
UNIT = rng.uniform(-0.9, 0.9, (3, 4))
ROW = rng.normal(size=4)
CUBE = rng.normal(size=(2, 3, 4))
LABELS = np.array([1, 3, 0])
INDEX = np.array([[0, 0, 1], [3, 2, 2], [1, 0, 3]])

Function = Callable[..., Any]
PAIRS: dict[str, tuple[Function, Function, tuple[Any, ...]]] = {
    **{name: (getattr(cr, name), getattr(torch, name), (X,))
       for name in ["exp", "exp2", "expm1", "sin", "cos", "tan", "arctan", "sinh", "cosh", "tanh", "arcsinh", "erf", "erfc", "sigmoid",
                    "square", "reciprocal", "neg", "abs", "sign", "floor", "ceil", "round", "relu", "ravel", "sum", "mean",
                    "prod", "max", "min", "tril", "triu", "diagonal"]},
    **{name: (getattr(cr, name), getattr(torch, name), (POSITIVE,)) for name in ["sqrt", "log", "log2", "log10", "log1p"]},
    **{name: (getattr(cr, name), getattr(torch, name), (UNIT,)) for name in ["arcsin", "arccos", "arctanh"]},
    **{name: (getattr(cr, name), getattr(F, name), (X,)) for name in ["softplus", "silu", "gelu", "elu", "leaky_relu"]},
    **{name: (getattr(cr, name), getattr(torch, name), (X, Y))
       for name in ["add", "sub", "mul", "div", "maximum", "minimum", "hypot", "arctan2", "logaddexp"]},
    "arccosh": (cr.arccosh, torch.arccosh, (POSITIVE + 1.0,)),
    "pow": (cr.pow, torch.pow, (POSITIVE, Y)),
    "mod": (cr.mod, torch.remainder, (X, Y)),
    "where": (lambda a, b: cr.where(X > 0, a, b), lambda a, b: torch.where(torch.tensor(X > 0), a, b), (X, Y)),
    "clip": (lambda x: cr.clip(x, -0.5, 0.8), lambda x: torch.clamp(x, -0.5, 0.8), (X,)),
    "trace": (lambda x: cr.trace(x[:, :3]), lambda x: torch.trace(x[:, :3]), (X,)),
    "elu 1.5": (lambda x: cr.elu(x, 1.5), lambda x: F.elu(x, 1.5), (X,)),
    "sum of an axis": (lambda x: cr.sum(x, 0), lambda x: torch.sum(x, 0), (X,)),
    "mean of two axes": (lambda x: cr.mean(x, (0, 2), keepdims=True), lambda x: torch.mean(x, (0, 2), True), (CUBE,)),
    "prod of an axis": (lambda x: cr.prod(x, 1), lambda x: torch.prod(x, 1), (X,)),
    "prod at a zero": (lambda x: cr.prod(x * (X > -0.5), 0), lambda x: torch.prod(x * torch.tensor(X > -0.5), 0), (X,)),
    "amax": (lambda x: cr.max(x, (0, 1)), lambda x: torch.amax(x, (0, 1)), (CUBE,)),
    "amin": (lambda x: cr.min(x, -1), lambda x: torch.amin(x, -1), (CUBE,)),
    "var": (lambda x: cr.var(x, 0), lambda x: torch.var(x, 0, correction=0), (X,)),
    "var ddof 1": (lambda x: cr.var(x, (0, 1), ddof=1), lambda x: torch.var(x, (0, 1), correction=1), (CUBE,)),
    "std": (lambda x: cr.std(x, axis=1, ddof=1), lambda x: torch.std(x, 1), (X,)),
    "logsumexp": (lambda x: cr.logsumexp(x, 1), lambda x: torch.logsumexp(x, 1), (X * 50,)),
    "softmax": (lambda x: cr.softmax(x, 0), lambda x: torch.softmax(x, 0), (X * 3,)),
    "log_softmax": (cr.log_softmax, lambda x: torch.log_softmax(x, -1), (X * 3,)),
    "cumsum": (lambda x: cr.cumsum(x, 1), lambda x: torch.cumsum(x, 1), (X,)),
    "cumprod": (lambda x: cr.cumprod(x, 0), lambda x: torch.cumprod(x, 0), (X,)),
    "norm": (cr.norm, torch.linalg.norm, (X,)),
    "norm of rows": (lambda x: cr.norm(x, axis=1, keepdims=True), lambda x: torch.linalg.norm(x, dim=1, keepdim=True), (X,)),
    "norm 3": (lambda x: cr.norm(x, 3, axis=0), lambda x: torch.linalg.norm(x, 3, dim=0), (X,)),
    "norm 1": (lambda x: cr.norm(x, 1, axis=0), lambda x: torch.linalg.norm(x, 1, dim=0), (X,)),
    "norm inf": (lambda x: cr.norm(x, np.inf, axis=0), lambda x: torch.linalg.norm(x, torch.inf, dim=0), (X,)),
    "reshape": (lambda x: cr.reshape(x, (2, -1)), lambda x: torch.reshape(x, (2, -1)), (X,)),
    "transpose": (lambda x: cr.transpose(x, (2, 0, 1)), lambda x: torch.permute(x, (2, 0, 1)), (CUBE,)),
    "swapaxes": (lambda x: cr.swapaxes(x, 0, -1), lambda x: torch.swapaxes(x, 0, -1), (CUBE,)),
    "moveaxis": (lambda x: cr.moveaxis(x, 0, 2), lambda x: torch.moveaxis(x, 0, 2), (CUBE,)),
    "squeeze": (lambda x: cr.squeeze(cr.expand_dims(x, 1), 1), lambda x: torch.squeeze(torch.unsqueeze(x, 1), 1), (X,)),
    "broadcast_to": (lambda x: cr.broadcast_to(x, (2, 3, 4)), lambda x: torch.broadcast_to(x, (2, 3, 4)), (X,)),
    "flip": (lambda x: cr.flip(x, (0, 2)), lambda x: torch.flip(x, (0, 2)), (CUBE,)),
    "roll": (lambda x: cr.roll(x, (1, -2), (0, 1)), lambda x: torch.roll(x, (1, -2), (0, 1)), (X,)),
    "pad": (lambda x: cr.pad(x, ((1, 0), (0, 2))), lambda x: F.pad(x, (0, 2, 1, 0)), (X,)),
    "tile": (lambda x: cr.tile(x, (2, 1, 3)), lambda x: torch.tile(x, (2, 1, 3)), (X,)),
    "repeat": (lambda x: cr.repeat(x, [2, 0, 1], 0), lambda x: torch.repeat_interleave(x, torch.tensor([2, 0, 1]), 0), (X,)),
    "concatenate": (lambda a, b: cr.concatenate([a, b], 1), lambda a, b: torch.concatenate([a, b], 1), (X, Y)),
    "stack": (lambda a, b: cr.stack([a, b], 1), lambda a, b: torch.stack([a, b], 1), (X, Y)),
    "getitem": (lambda x: x[[0, 2, 2], 1:], lambda x: x[[0, 2, 2], 1:], (X,)),
    "mask": (lambda x: x[X > 0], lambda x: x[torch.tensor(X > 0)], (X,)),
    "take": (lambda x: cr.take(x, INDEX), lambda x: torch.take(x, torch.tensor(INDEX)), (X,)),
    "take_along_axis": (lambda x: cr.take_along_axis(x, INDEX, 1), lambda x: torch.take_along_dim(x, torch.tensor(INDEX), 1), (X,)),
    "diag": (cr.diag, torch.diag, (ROW,)),
    "sort": (lambda x: cr.sort(x, 0), lambda x: torch.sort(x, 0).values, (X,)),
    "matmul": (cr.matmul, torch.matmul, (CUBE, X.T)),
    "matmul of batches": (cr.matmul, torch.matmul, (CUBE, rng.normal(size=(5, 1, 4, 2)))),
    "matrix by vector": (cr.matmul, torch.matmul, (CUBE, ROW)),
    "vector by matrix": (cr.matmul, torch.matmul, (ROW, CUBE.swapaxes(1, 2))),
    "dot": (cr.dot, torch.dot, (ROW, X[0])),
    "inner": (cr.inner, torch.inner, (CUBE, X)),
    "outer": (cr.outer, torch.outer, (ROW, X[:, 0])),
    "tensordot": (lambda a, b: cr.tensordot(a, b, 2), lambda a, b: torch.tensordot(a, b, 2), (CUBE, X)),
    "einsum": (lambda a, b: cr.einsum("bij,kj->bk", a, b), lambda a, b: torch.einsum("bij,kj->bk", a, b), (CUBE, X)),
    "einsum ii": (lambda a: cr.einsum("ii->i", a[:, :3]), lambda a: torch.einsum("ii->i", a[:, :3]), (X,)),
    "linear": (cr.linear, F.linear, (CUBE, Y, X[:, 0])),
    "cross entropy": (lambda x: cr.softmax_cross_entropy(x, LABELS, reduction="mean"),
                      lambda x: F.cross_entropy(x, torch.tensor(LABELS)), (X,)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_torch_agrees(name: str) -> None:
    ours, theirs, arrays = PAIRS[name]
    xs = [cr.Tensor(x) for x in arrays]
    y = ours(*xs)
    seed = like(y.data, np.random.default_rng(1))
    weights = [like(x, np.random.default_rng(2)) for x in arrays]

    ts = [torch.tensor(x, requires_grad=True) for x in arrays]
    z = theirs(*ts)
    gs = torch.autograd.grad(z, ts, torch.tensor(seed), create_graph=True)
    slope = sum((g * torch.tensor(w)).sum() for g, w in zip(gs, weights, strict=True))
    hs = torch.autograd.grad(slope, ts, allow_unused=True) if slope.requires_grad else [None] * len(ts)

    found = cr.gradients(y, xs, seed=seed, create_graph=True)
    pairing = sum((cr.sum(g * w) for g, w in zip(found, weights, strict=True)), 0.0)
    second = cr.gradients(pairing, xs)

    close(y.data, z.detach())
    for g, expected in zip(found, gs, strict=True):
        close(g.data, expected.detach())
    for h, expected in zip(second, hs, strict=True):
        close(h, np.zeros_like(h) if expected is None else expected)


def close(found: Any, expected: Any) -> None:
    assert np.shape(found) == tuple(expected.shape)
    if not isinstance(expected, np.ndarray):
        expected = expected.numpy(force=True)
    assert_allclose(found, expected, rtol=1e-10, atol=1e-12)
