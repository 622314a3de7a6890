"""micrograd's published numbers, its own test expressions, and its network step by step."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose

import chainrule as cr


def readme(a: Any, b: Any) -> tuple[Any, ...]:
    """The expression in micrograd's README: every node in between that somebody might ask about, the result last."""
    c = a + b
    d = a * b + b**3
    c += c + 1
    c += 1 + c + (-a)
    d += d * 2 + (b + a).relu()
    d += 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    g += 10.0 / f
    return c, d, e, f, g


@pytest.mark.parametrize("make", [cr.Value, cr.Tensor])
def test_the_readme_expression(make: Any) -> None:
    a, b = make(-4.0), make(2.0)
    g = readme(a, b)[-1]
    g.backward()
    assert (f"{g:.4f}", f"{a.grad:.4f}", f"{b.grad:.4f}") == ("24.7041", "138.8338", "645.5773")


def test_the_readme_expression_to_second_order_agrees_with_torch() -> None:
    torch = pytest.importorskip("torch")
    hessian = torch.autograd.functional.hessian(
        lambda p: readme(p[0], p[1])[-1], torch.tensor([-4.0, 2.0], dtype=torch.float64)
    )
    assert_allclose(cr.hessian(lambda p: readme(p[0], p[1])[-1])(np.array([-4.0, 2.0])), hessian.numpy(), rtol=1e-12)


def sanity_check(x: Any) -> tuple[Any, ...]:
    z = 2 * x + 2 + x
    q = z.relu() + z * x
    h = (z * z).relu()
    return (h + q + q * x,)


def more_ops(a: Any, b: Any) -> tuple[Any, ...]:
    c = a + b
    d = a * b + b**3
    c = c + c + 1
    c = c + 1 + c + (-a)
    d = d + d * 2 + (b + a).relu()
    d = d + 3 * d + (b - a).relu()
    e = c - d
    f = e**2
    g = f / 2.0
    return (g + 10.0 / f,)


@pytest.mark.parametrize(("f", "at"), [(sanity_check, (-4.0,)), (more_ops, (-4.0, 2.0)), (readme, (-4.0, 2.0))])
@pytest.mark.parametrize("make", [cr.Value, cr.Tensor])
def test_its_test_expressions_agree_with_torch(f: Any, at: tuple[float, ...], make: Any) -> None:
    torch = pytest.importorskip("torch")
    ours = [make(x) for x in at]
    theirs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in at]
    y, z = f(*ours)[-1], f(*theirs)[-1]
    y.backward()
    z.backward()
    assert_allclose(y.item(), z.item(), rtol=1e-14)
    assert_allclose([float(x.grad) for x in ours], [x.grad.item() for x in theirs], rtol=1e-13)


def test_its_test_expression_by_hand() -> None:
    x = cr.Value(-4.0)
    (y,) = sanity_check(x)
    y.backward()
    assert (y.data, x.grad) == (-20.0, 46.0)


# The demo: two moons, a network of numbers, hinge loss and L2


def moons(n: int) -> tuple[list[list[float]], list[int]]:
    rng = np.random.default_rng(0)
    angle = rng.uniform(0.0, np.pi, n)
    upper = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    label = np.arange(n) % 2
    points = np.where(label[:, None] == 0, upper, [1.0, 0.5] - upper) + rng.normal(scale=0.1, size=(n, 2))
    return points.tolist(), (2 * label - 1).tolist()


def demo_loss(model: Any, points: Any, labels: Any) -> Any:
    scores = [model(point) for point in points]
    losses = [(1 + -y * score).relu() for y, score in zip(labels, scores, strict=True)]
    return sum(losses) * (1.0 / len(losses)) + 1e-4 * sum(p * p for p in model.parameters())


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "neuron by neuron"])
def test_the_same_network_step_by_step(fused: bool) -> None:
    nn = pytest.importorskip("micrograd.nn")
    random.seed(1337)  # micrograd draws its weights from there
    theirs = nn.MLP(2, [6, 5, 1])
    ours = cr.nn.scalar.MLP(2, [6, 5, 1], fused=fused)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        p.data = q.data
    points, labels = moons(20)
    for k in range(5):
        losses = []
        for model in (ours, theirs):
            loss = demo_loss(model, points, labels)
            for p in model.parameters():
                p.grad = 0.0
            loss.backward()
            losses.append(loss.data)
        assert losses[0] == pytest.approx(losses[1], abs=1e-9)
        grads = [[p.grad for p in model.parameters()] for model in (ours, theirs)]
        assert_allclose(grads[0], grads[1], rtol=1e-9, atol=1e-12)
        for model in (ours, theirs):
            for p in model.parameters():
                p.data -= (1.0 - 0.9 * k / 100) * p.grad
    assert_allclose([p.data for p in ours.parameters()], [p.data for p in theirs.parameters()], rtol=1e-9, atol=1e-12)


def test_the_call_shapes_are_the_same() -> None:
    nn = pytest.importorskip("micrograd.nn")
    for ours, theirs in [
        (cr.nn.scalar.Neuron(3), nn.Neuron(3)),
        (cr.nn.scalar.Neuron(3, nonlin=False), nn.Neuron(3, nonlin=False)),
        (cr.nn.scalar.Layer(3, 1), nn.Layer(3, 1)),
        (cr.nn.scalar.Layer(3, 2), nn.Layer(3, 2)),
        (cr.nn.scalar.MLP(3, [4, 1]), nn.MLP(3, [4, 1])),
        (cr.nn.scalar.MLP(3, [4, 2]), nn.MLP(3, [4, 2])),
    ]:
        a, b = ours([1.0, -2.0, 3.0]), theirs([1.0, -2.0, 3.0])
        assert isinstance(a, list) == isinstance(b, list)
        assert np.shape([x.data for x in a] if isinstance(a, list) else a.data) == np.shape(
            [x.data for x in b] if isinstance(b, list) else b.data
        )
        assert len(ours.parameters()) == len(theirs.parameters())
