"""Losses: by hand, beside PyTorch's, at extremes, in every reduction, and what they say to misuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr
from chainrule.nn import losses

RNG = np.random.default_rng(0)
LABELS = np.array([0, 2, 1, 1, 3])
LOGITS = RNG.normal(size=(5, 4))
TARGETS = RNG.uniform(size=(5, 4))
CHANCES = RNG.uniform(0.05, 0.95, size=(5, 4))
SHARES = RNG.dirichlet(np.ones(4), size=5)
LOG_SHARES = np.log(RNG.dirichlet(np.ones(4), size=5))
SIGNS = RNG.choice([-1, 1], size=(5, 4))
IGNORING = np.array([0, -100, 1, -100, 3])

REDUCTIONS = ("mean", "sum", "none")


def test_losses_by_hand() -> None:
    p, t = [1.0, 2.0, 4.0], [1.0, 4.0, 1.0]
    assert cr.nn.mse_loss(p, t) == pytest.approx(13.0 / 3.0)
    assert cr.nn.l1_loss(p, t) == pytest.approx(5.0 / 3.0)
    assert cr.nn.huber_loss(p, t) == pytest.approx((0.0 + 1.5 + 2.5) / 3.0)
    assert cr.nn.huber_loss(p, t, delta=2.5) == pytest.approx((0.0 + 2.0 + 2.5 * 1.75) / 3.0)
    assert cr.nn.hinge_loss([2.0, 0.5, -1.0, -3.0], [1, 1, 1, -1]) == pytest.approx((0.0 + 0.5 + 2.0 + 0.0) / 4.0)
    assert cr.nn.cross_entropy(np.log([[0.2, 0.8], [0.5, 0.5]]), [1, 0]) == pytest.approx(-math.log(0.8 * 0.5) / 2.0)
    assert cr.nn.nll_loss(np.log([[0.2, 0.8], [0.5, 0.5]]), [1, 0]) == pytest.approx(-math.log(0.8 * 0.5) / 2.0)
    logit = math.log(0.8 / 0.2)
    expected = -(0.25 * math.log(0.8) + 0.75 * math.log(0.2))
    assert cr.nn.binary_cross_entropy_with_logits([logit], [0.25]) == pytest.approx(expected)
    assert cr.nn.binary_cross_entropy([0.8], [0.25]) == pytest.approx(expected)
    expected = 0.25 * math.log(0.25 / 0.5) + 0.75 * math.log(0.75 / 0.5)
    assert cr.nn.kl_div(np.log([[0.5, 0.5]]), [[0.25, 0.75]], reduction="batchmean") == pytest.approx(expected)


def test_gradient_of_the_hinge_loss_by_hand() -> None:
    scores = cr.Tensor([2.0, 0.5, -1.0, -3.0])
    cr.nn.hinge_loss(scores, [1, 1, -1, 1]).backward()
    assert_array_equal(scores.grad, [0.0, -0.25, 0.0, -0.25])


def test_losses_of_lists_of_values() -> None:
    a, b = cr.Value(0.5), cr.Value(-2.0)
    for loss, labels in [
        (cr.nn.mse_loss, [1.0, 0.0]),
        (cr.nn.l1_loss, [1.0, 0.0]),
        (cr.nn.huber_loss, [1.0, 0.0]),
        (cr.nn.hinge_loss, [1, -1]),
        (cr.nn.binary_cross_entropy_with_logits, [1.0, 0.0]),
        (cr.nn.kl_div, [0.5, 0.5]),
    ]:
        t = cr.Tensor([0.5, -2.0])
        y, z = loss([a, b], labels), loss(t, labels)
        assert y.item() == z.item()
        assert_array_equal(cr.gradients(y, [a, b]), cr.gradients(z, t))
    y = cr.nn.cross_entropy([[a, b], [b, a]], [0, 1])
    assert cr.gradients(y, a) == pytest.approx(-1.0 / (1.0 + math.exp(2.5)))
    assert cr.nn.mse_loss(a, 1.5).item() == 1.0
    assert cr.nn.binary_cross_entropy(a, 1.0).item() == pytest.approx(math.log(2.0))


# name: (which loss, prediction, target, options)
CASES: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "mse": ("mse_loss", LOGITS, TARGETS, {}),
    "l1": ("l1_loss", LOGITS, TARGETS, {}),
    "huber": ("huber_loss", LOGITS, TARGETS, {}),
    "huber, small delta": ("huber_loss", LOGITS, TARGETS, {"delta": 0.1}),
    "bce": ("binary_cross_entropy", CHANCES, TARGETS, {}),
    "bce with logits": ("binary_cross_entropy_with_logits", LOGITS, TARGETS, {}),
    "kl": ("kl_div", LOG_SHARES, SHARES, {}),
    "kl of logs": ("kl_div", LOG_SHARES, np.log(SHARES), {"log_target": True}),
    "kl with zeros": ("kl_div", LOG_SHARES, np.eye(4)[LABELS], {}),
    "nll": ("nll_loss", LOG_SHARES, LABELS, {}),
    "nll, some ignored": ("nll_loss", LOG_SHARES, IGNORING, {}),
    "nll, a class ignored": ("nll_loss", LOG_SHARES, LABELS, {"ignore_index": 1}),
    "cross-entropy": ("cross_entropy", LOGITS, LABELS, {}),
    "cross-entropy, some ignored": ("cross_entropy", LOGITS, IGNORING, {}),
    "cross-entropy, a class ignored": ("cross_entropy", LOGITS, LABELS, {"ignore_index": 1}),
    "cross-entropy, another number ignored": ("cross_entropy", LOGITS, np.where(IGNORING < 0, -1, IGNORING), {"ignore_index": -1}),
    "cross-entropy, nothing to ignore": ("cross_entropy", LOGITS, LABELS, {"ignore_index": 7}),
    "cross-entropy, smoothed": ("cross_entropy", LOGITS, LABELS, {"label_smoothing": 0.1}),
    "cross-entropy, all smoothed": ("cross_entropy", LOGITS, LABELS, {"label_smoothing": 1.0}),
    "cross-entropy, smoothed and ignored": ("cross_entropy", LOGITS, IGNORING, {"label_smoothing": 0.2}),
    "cross-entropy of probabilities": ("cross_entropy", LOGITS, SHARES, {}),
    "cross-entropy of probabilities, smoothed": ("cross_entropy", LOGITS, SHARES, {"label_smoothing": 0.3}),
    "cross-entropy of float one-hots": ("cross_entropy", LOGITS, np.eye(4)[LABELS], {}),
    "hinge": ("hinge_loss", LOGITS, SIGNS, {}),
}  # fmt: skip

PENALTIES = {"l1_penalty", "l2_penalty"}  # of parameters, with tests of their own


@pytest.mark.parametrize("loss", losses.__all__)
def test_every_loss_has_a_case(loss: str) -> None:
    assert loss in PENALTIES or loss in {case[0] for case in CASES.values()}, f"give cr.nn.{loss} a case in CASES"


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case[0] != "hinge_loss"])  # PyTorch has none
def test_losses_agree_with_torch(name: str, reduction: str) -> None:
    torch = pytest.importorskip("torch")
    loss, prediction, target, options = CASES[name]
    ours, theirs = getattr(cr.nn, loss), getattr(torch.nn.functional, loss)
    reductions = ("mean", "batchmean") if loss == "kl_div" and reduction == "mean" else (reduction,)
    for way in reductions:
        x, t = cr.Tensor(prediction), torch.tensor(prediction, requires_grad=True)
        if loss == "kl_div" and way == "mean":
            with pytest.warns(UserWarning, match="batchmean"):
                z = theirs(t, torch.tensor(target), reduction=way, **options)
        else:
            z = theirs(t, torch.tensor(target), reduction=way, **options)
        y = ours(x, target, reduction=way, **options)
        seed = RNG.normal(size=z.shape)
        y.backward(seed)
        z.backward(torch.tensor(seed))
        assert y.shape == tuple(z.shape)
        assert_allclose(y.data, z.detach().numpy(), rtol=1e-12)
        assert_allclose(x.grad, t.grad.numpy(), rtol=1e-10, atol=1e-15)
        assert_allclose(ours(prediction, target, reduction=way, **options), z.detach().numpy(), rtol=1e-12)


def test_the_mean_is_the_default() -> None:
    for loss, prediction, target, options in CASES.values():
        f = getattr(cr.nn, loss)
        assert f(prediction, target, **options) == f(prediction, target, reduction="mean", **options)


SCALED = ("mse_loss", "l1_loss", "huber_loss", "cross_entropy", "binary_cross_entropy_with_logits")


@pytest.mark.parametrize("scale", [30.0, 1e4])
@pytest.mark.parametrize("name", [name for name, (loss, *_) in CASES.items() if loss in SCALED])
def test_large_logits_agree_with_torch(name: str, scale: float) -> None:
    torch = pytest.importorskip("torch")
    loss, logits, target, options = CASES[name]
    for dtype in (np.float32, np.float64):
        x = cr.Tensor(logits * scale, dtype)
        t = torch.tensor(x.data, requires_grad=True)
        floats = target.dtype.kind == "f"
        z = getattr(torch.nn.functional, loss)(t, torch.tensor(target.astype(dtype) if floats else target), **options)
        y = getattr(cr.nn, loss)(x, target, **options)
        y.backward()
        z.backward()
        assert np.isfinite(y.item())
        assert y.dtype == x.grad.dtype == dtype
        eps = np.finfo(dtype).eps
        assert_allclose(y.item(), z.item(), rtol=32 * eps)
        assert_allclose(x.grad, t.grad.numpy(), rtol=64 * eps, atol=32 * eps)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_the_numeric_ones(name: str, reduction: str) -> None:
    loss, prediction, target, options = CASES[name]
    f = getattr(cr.nn, loss)
    assert cr.gradcheck(lambda x: f(x, target, reduction=reduction, **options), prediction, sample=5)
    if target.dtype.kind == "f" and np.all(target > 0.0):  # a target may be a variable too
        assert cr.gradcheck(lambda t: f(prediction, t, reduction=reduction, **options), target, sample=5)


@pytest.mark.parametrize(
    "name", ["bce", "kl", "cross-entropy, smoothed and ignored", "cross-entropy of probabilities", "huber"]
)
def test_losses_can_be_differentiated_twice(name: str) -> None:
    loss, prediction, target, options = CASES[name]
    f = cr.grad(lambda x: getattr(cr.nn, loss)(x, target, **options))
    assert cr.gradcheck(f, prediction, sample=5)


@pytest.mark.parametrize("name", CASES)
def test_float32_stays_float32(name: str) -> None:
    loss, prediction, target, options = CASES[name]
    f = getattr(cr.nn, loss)
    for reduction in REDUCTIONS:
        x = cr.Tensor(prediction, "float32")
        for given in (target, target.tolist()):
            y = f(x, given, reduction=reduction, **options)
            assert y.dtype == np.float32
            cr.sum(y).backward()
            assert x.grad.dtype == np.float32
        assert np.asarray(f(x.data, target, reduction=reduction, **options)).dtype == np.float32


def test_cross_entropy_of_batches_of_sequences() -> None:
    logits, labels = RNG.normal(size=(2, 3, 4)), np.array([[0, 1, 2], [3, 3, 0]])
    expected = cr.nn.cross_entropy(logits.reshape(6, 4), labels.ravel())
    assert_allclose(cr.nn.cross_entropy(logits, labels), expected, rtol=1e-14)
    assert_allclose(cr.nn.nll_loss(cr.log_softmax(logits), labels), expected, rtol=1e-14)
    single = cr.nn.cross_entropy(logits[0, 0], 2)
    assert_allclose(single, cr.nn.cross_entropy(logits[0, :1], [2]), rtol=1e-14)
    for dtype in (np.uint8, np.int32, np.int64, np.uint64):
        assert_allclose(cr.nn.cross_entropy(logits, labels.astype(dtype)), expected, rtol=1e-14)
        assert_allclose(cr.nn.nll_loss(cr.log_softmax(logits), labels.astype(dtype)), expected, rtol=1e-14)
    masked = np.where(labels == 3, -100, labels)
    losses = cr.nn.cross_entropy(logits, masked, reduction="none")
    kept = labels != 3
    assert_array_equal(losses[~kept], 0.0)
    assert_allclose(losses[kept], cr.nn.cross_entropy(logits[kept], labels[kept], reduction="none"), rtol=1e-14)
    assert cr.nn.cross_entropy(logits, masked) == pytest.approx(losses.sum() / kept.sum(), rel=1e-14)
    shares = RNG.dirichlet(np.ones(4), size=(2, 3))
    assert_allclose(
        cr.nn.cross_entropy(logits, shares),
        cr.nn.cross_entropy(logits.reshape(6, 4), shares.reshape(6, 4)),
        rtol=1e-14,
    )


def test_all_samples_ignored() -> None:
    labels = np.full(5, -100)
    for loss in (cr.nn.cross_entropy, cr.nn.nll_loss):
        x = cr.Tensor(LOG_SHARES)
        assert_array_equal(loss(x, labels, reduction="none").data, np.zeros(5))
        total = loss(x, labels, reduction="sum")
        total.backward()
        assert total.item() == 0.0
        assert_array_equal(x.grad, np.zeros((5, 4)))
        with pytest.raises(ValueError, match=f"{loss.__name__}: there are no samples to average over"):
            loss(x, labels)


def test_what_is_ignored_is_not_looked_at() -> None:
    logits = LOGITS.copy()
    logits[1] = np.nan
    x = cr.Tensor(logits)
    y = cr.nn.cross_entropy(x, [0, -100, 1, 1, 3])
    y.backward()
    assert y.item() == cr.nn.cross_entropy(np.delete(logits, 1, 0), [0, 1, 1, 3])
    assert_array_equal(x.grad[1], 0.0)


def test_plain_labels_are_a_single_node() -> None:
    x = cr.Tensor(LOGITS)
    for reduction in REDUCTIONS:
        assert cr.nn.cross_entropy(x, LABELS, reduction=reduction).args[0] is x


EXTREMES: dict[str, tuple[Any, Any, Any, float, Any]] = {
    "right and certain": (cr.nn.cross_entropy, [[1e4, -1e4]], [0], 0.0, [[0.0, 0.0]]),
    "wrong and certain": (cr.nn.cross_entropy, [[1e4, -1e4]], [1], 2e4, [[1.0, -1.0]]),
    "undecided": (cr.nn.cross_entropy, [[1e4, 1e4]], [1], math.log(2.0), [[0.5, -0.5]]),
    "impossible": (cr.nn.cross_entropy, [[0.0, -np.inf]], [0], 0.0, [[0.0, 0.0]]),
    "probabilities, wrong": (cr.nn.cross_entropy, [[1e4, -1e4]], [[0.0, 1.0]], 2e4, [[1.0, -1.0]]),
    "binary, wrong": (cr.nn.binary_cross_entropy_with_logits, [1e4, -1e4], [0.0, 1.0], 1e4, [0.5, -0.5]),
    "binary, right": (cr.nn.binary_cross_entropy_with_logits, [1e4, -1e4], [1.0, 0.0], 0.0, [0.0, 0.0]),
    "huber": (cr.nn.huber_loss, [1e30, -1e30], [0.0, 0.0], 1e30, [0.5, -0.5]),
    "hinge": (cr.nn.hinge_loss, [1e4, -1e4], [-1, 1], 1e4 + 1.0, [0.5, -0.5]),
    "bce, wrong": (cr.nn.binary_cross_entropy, [0.0, 1.0], [1.0, 0.0], 100.0, [-5e11, 5e11]),
    "bce, right": (cr.nn.binary_cross_entropy, [0.0, 1.0], [0.0, 1.0], 0.0, [0.0, 0.0]),
    "kl": (cr.nn.kl_div, [-1e4, 0.0], [1.0, 0.0], 5e3, [-0.5, 0.0]),
    "nll": (cr.nn.nll_loss, [[-1e4, 0.0]], [0], 1e4, [[-1.0, 0.0]]),
}


@pytest.mark.parametrize("name", EXTREMES)
def test_extremes_do_not_overflow(name: str) -> None:
    loss, logits, labels, expected, gradient = EXTREMES[name]
    for dtype in (np.float32, np.float64):
        x = cr.Tensor(logits, dtype)
        y = loss(x, labels)
        y.backward()
        assert_allclose(y.item(), expected, rtol=1e-6)
        assert_allclose(x.grad, gradient, rtol=1e-6)


FAR = np.array([[1000.0, -1000.0, 0.0, 3.0], [-745.0, 5.0, -708.0, -1e-320], [-104.0, 1.0, -88.0, 1e-200]])
ENDS = np.array([[0.0, 1.0, 1e-310, 0.5]] * 3)
SUBNORMAL = np.array([[1e-310, 0.0, 1.0, 0.0]] * 3)
UNDERFLOWING: dict[str, tuple[str, Any, Any, dict[str, Any]]] = {
    "mse": ("mse_loss", FAR / 1e3, ENDS, {}),
    "mse of close numbers": ("mse_loss", ENDS, ENDS + 1e-170, {}),
    "l1": ("l1_loss", FAR, ENDS, {}),
    "huber": ("huber_loss", FAR, ENDS, {}),
    "hinge": ("hinge_loss", FAR, np.array([[1, -1, 1, -1]] * 3), {}),
    "bce": ("binary_cross_entropy", ENDS, np.array([[0.0, 1.0, 1.0, 0.0]] * 3), {}),
    "bce, certain and wrong": ("binary_cross_entropy", ENDS, np.array([[1.0, 0.0, 1e-310, 1.0]] * 3), {}),
    "bce with logits": ("binary_cross_entropy_with_logits", FAR, ENDS, {}),
    "kl": ("kl_div", np.minimum(FAR, 0.0), ENDS, {}),
    "kl of logs": ("kl_div", np.minimum(FAR, 0.0), np.minimum(FAR[::-1], 0.0), {"log_target": True}),
    "nll": ("nll_loss", np.minimum(FAR, 0.0), np.array([0, 1, 2]), {}),
    "cross-entropy": ("cross_entropy", FAR, np.array([0, 1, 2]), {}),
    "cross-entropy, smoothed": ("cross_entropy", FAR, np.array([0, 1, 2]), {"label_smoothing": 0.1}),
    "cross-entropy, some ignored": ("cross_entropy", FAR, np.array([0, -100, 2]), {}),
    "cross-entropy of probabilities": ("cross_entropy", FAR, SUBNORMAL, {}),
}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("name", UNDERFLOWING)
def test_what_underflows_is_no_error_where_numpy_is_told_to_raise(name: str, dtype: str, reduction: str) -> None:
    loss, prediction, target, options = UNDERFLOWING[name]
    with np.errstate(under="ignore"):
        prediction = prediction.astype(dtype)

    def run() -> list[bytes]:
        x = cr.Tensor(prediction)
        y = getattr(cr.nn, loss)(x, target, reduction=reduction, **options)
        y.backward(np.full(y.shape, 0.3, dtype))
        assert np.isfinite(y.data).all()
        assert np.isfinite(x.grad).all()
        return [y.data.tobytes(), x.grad.tobytes()]

    expected = run()
    with np.errstate(all="raise"):
        assert run() == expected


def test_binary_cross_entropy_at_its_ends_is_torch_s() -> None:
    torch = pytest.importorskip("torch")
    p = np.array([0.0, 0.0, 1.0, 1.0, 1e-30, 1e-13, 1.0 - 1e-15, 0.5])
    t = np.array([0.0, 1.0, 0.0, 1.0, 1.0, 0.3, 0.0, 1.0])
    x, theirs = cr.Tensor(p), torch.tensor(p, requires_grad=True)
    y = cr.nn.binary_cross_entropy(x, t, reduction="none")
    z = torch.nn.functional.binary_cross_entropy(theirs, torch.tensor(t), reduction="none")
    cr.sum(y).backward()
    z.sum().backward()
    assert_allclose(y.data, z.detach().numpy(), rtol=1e-14)
    assert_allclose(
        x.grad, theirs.grad.numpy(), rtol=1e-8
    )  # its bound on the slope, 1e12, has the precision of float32


def test_plain_targets_take_the_precision_of_the_predictions() -> None:
    prediction = cr.Tensor([1.0, 2.0], dtype="float32")
    for loss in (cr.nn.mse_loss, cr.nn.l1_loss, cr.nn.hinge_loss, cr.nn.binary_cross_entropy_with_logits):
        for target in ([1.0, 1.0], [1, 1], np.ones(2, int), np.ones(2, bool), np.ones(2)):
            assert loss(prediction, target).dtype == np.float32


INTEGER_LOSSES = {
    "mse_loss": 36100.0, "l1_loss": 190.0, "huber_loss": 189.5, "kl_div": -10.0, "nll_loss": -10.0, "cross_entropy": 0.0,
}  # fmt: skip


@pytest.mark.parametrize("name", INTEGER_LOSSES)
def test_small_integers_do_not_wrap(name: str) -> None:
    target = {"kl_div": [1], "nll_loss": 0, "cross_entropy": 0}.get(name, [200])
    for prediction, given in [(np.array([10], np.uint8), np.array(target, np.uint8)), ([10.0], target)]:
        assert getattr(cr.nn, name)(prediction, given) == INTEGER_LOSSES[name]
    assert cr.nn.cross_entropy(np.array([[100, -100]], np.int8), [1]) == 200.0
    assert cr.nn.l1_loss(np.array([True, False]), np.array([False, True])) == 1.0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_binary_cross_entropy_with_logits_loses_no_digits(dtype: Any) -> None:
    magnitudes = np.array([0.0, 1e-4, 1.0, 17.0, 40.0, 80.0], dtype)
    logits, targets = np.concatenate([magnitudes, -magnitudes]), np.repeat([1.0, 0.0], len(magnitudes))
    x = cr.Tensor(logits, dtype)
    y = cr.nn.binary_cross_entropy_with_logits(x, targets, reduction="none")
    y.sum().backward()
    signs = 2.0 * targets - 1.0
    exact = [math.log1p(math.exp(-z)) for z in signs * logits.astype(float)]
    slopes = [-s / (1.0 + math.exp(z)) for s, z in zip(signs, signs * logits.astype(float), strict=True)]
    assert_allclose(y.data, exact, rtol=4 * np.finfo(dtype).eps)
    assert_allclose(x.grad, slopes, rtol=8 * np.finfo(dtype).eps)


def test_binary_cross_entropy_with_logits_at_zero() -> None:
    targets = np.array([0.0, 0.25, 0.5, 1.0])

    def loss(x: Any) -> Any:
        return cr.nn.binary_cross_entropy_with_logits(x, targets, reduction="sum")

    assert_array_equal(cr.grad(loss)(np.zeros(4)), 0.5 - targets)
    assert cr.gradcheck(loss, np.zeros(4))
    assert cr.gradcheck(cr.grad(loss), np.zeros(4))


def test_a_share_of_zero_contributes_nothing_however_improbable() -> None:
    shares = np.array([[0.25, 0.0, 0.75]])
    with np.errstate(divide="ignore"):
        logs = np.log(shares)
    for target, options in [(shares, {}), (logs, {"log_target": True})]:
        for given in (target, cr.Tensor(target)):
            x = cr.Tensor(logs)
            y = cr.nn.kl_div(x, given, reduction="none", **options)
            y.sum().backward()
            assert_allclose(y.data, [[0.0, 0.0, 0.0]], atol=1e-16)
            assert_allclose(x.grad, -shares)
    logits = np.array([[1.0, -np.inf, 2.0]])
    x = cr.Tensor(logits)
    y = cr.nn.cross_entropy(x, shares)
    y.backward()
    kept = cr.Tensor(logits[:, [0, 2]])
    z = cr.nn.cross_entropy(kept, shares[:, [0, 2]])
    z.backward()
    assert y.item() == pytest.approx(z.item(), rel=1e-15)
    assert_allclose(x.grad, np.insert(kept.grad, 1, 0.0, axis=1), rtol=1e-14)
    assert np.isfinite(cr.hvp(lambda x: cr.nn.cross_entropy(x, shares), logits, np.ones((1, 3)))).all()
    assert cr.nn.cross_entropy(logits, [[0.5, 0.5, 0.0]]) == np.inf
    target = cr.Tensor([[0.5, 0.0, 0.5]])  # where it is finite, the slope by a share of 0 is what it is elsewhere
    cr.nn.cross_entropy(LOGITS[:1, :3], target).backward()
    assert_allclose(target.grad, -cr.log_softmax(LOGITS[:1, :3]))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_probabilities_may_be_rounded_beyond_their_ends(dtype: Any) -> None:
    eps = np.finfo(dtype).eps
    ends, t, x = (np.array([pair], dtype) for pair in ([1.0 + eps, -eps], [1.0, 0.0], [0.75, 0.25]))
    for loss in (cr.nn.binary_cross_entropy, cr.nn.binary_cross_entropy_with_logits, cr.nn.cross_entropy, cr.nn.kl_div):
        assert_allclose(loss(x, ends), loss(x, t), atol=4 * eps)
        assert_allclose(loss(cr.Tensor(x), ends).data, loss(x, t), atol=4 * eps)
    assert_allclose(cr.nn.binary_cross_entropy(ends, t), 0.0, atol=4 * eps)
    if dtype is np.float32:  # rounded there, and widened since
        assert_allclose(cr.nn.cross_entropy(x.astype(float), ends.astype(float)), cr.nn.cross_entropy(x, t), rtol=1e-6)
    assert cr.nn.binary_cross_entropy(cr.Value(1.0000000000000002), 1.0).item() == pytest.approx(0.0, abs=1e-15)
    for beyond in (1.0 + 20.0 * max(eps, 1e-6), -20.0 * max(eps, 1e-6)):
        with pytest.raises(ValueError, match="targets must lie between 0 and 1"):
            cr.nn.binary_cross_entropy(np.array([1.0], dtype), np.array([beyond], dtype))


def test_the_loss_of_a_probability_of_nan_is_nan() -> None:
    losses = cr.nn.binary_cross_entropy(cr.Tensor([math.nan, 0.5]), [1.0, 1.0], reduction="none")
    assert_array_equal(losses.data, [math.nan, math.log(2.0)])
    assert math.isnan(cr.nn.binary_cross_entropy(cr.Value(math.nan), 1.0).item())


def test_cross_entropy_of_a_list_of_values_as_target() -> None:
    shares = cr.nn.cross_entropy([[0.0, 0.0]], [[cr.Value(0.25), 0.75]])
    assert shares.item() == pytest.approx(math.log(2.0))


def test_a_pytorch_tensor_is_refused() -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"mse_loss: got a PyTorch tensor; give x.detach\(\).numpy\(\)"):
        cr.nn.mse_loss([1.0], torch.ones(1))


PENALTIES = {"l1_penalty": (np.abs, np.sign), "l2_penalty": (np.square, lambda x: 2.0 * x)}


@pytest.mark.parametrize("name", PENALTIES)
def test_penalties(name: str) -> None:
    penalty, (size, slope) = getattr(cr.nn, name), PENALTIES[name]
    model = cr.nn.MLP([3, 4, 2], dtype="float32", rng=0)
    total = penalty(model.parameters())
    total.backward()
    assert total.item() == pytest.approx(sum(size(p.data).sum() for p in model.parameters()), rel=1e-6)
    assert total.dtype == np.float32
    for p in model.parameters():
        assert_allclose(p.grad, slope(p.data), rtol=1e-6)
    v, t = cr.Value(-3.0), cr.Tensor([1.0, -2.0])
    mixed = penalty(x for x in (v, t))
    assert mixed.item() == size(np.array([-3.0, 1.0, -2.0])).sum()
    assert type(penalty([v, cr.Value(2.0)])) is cr.Value
    assert cr.gradcheck(lambda a, b: penalty([a, b]), -3.0, np.array([1.0, -2.0]))


ALL_LOSSES = sorted({loss for loss, *_ in CASES.values()} | {"hinge_loss"})


@pytest.mark.parametrize("name", ALL_LOSSES)
def test_a_reduction_that_is_none_of_the_three_is_refused(name: str) -> None:
    loss, prediction, target, _ = next(
        case for case in (*CASES.values(), ("hinge_loss", LOGITS, SIGNS, {})) if case[0] == name
    )
    for wrong in ("average", None, "Mean"):
        with pytest.raises(ValueError, match=f"{loss}: reduction must be 'mean', 'sum'.* 'none'.*, got {wrong!r}"):
            getattr(cr.nn, loss)(prediction, target, reduction=wrong)


@pytest.mark.parametrize("name", ALL_LOSSES)
def test_a_mean_over_nothing_is_refused(name: str) -> None:
    empty, labels = np.zeros((0, 4)), np.zeros(0, int)
    loss = getattr(cr.nn, name)
    target = labels if name in ("cross_entropy", "nll_loss") else empty
    with pytest.raises(ValueError, match=f"{name}: there are no samples to average over"):
        loss(empty, target)
    assert loss(empty, target, reduction="sum") == 0.0


LOSSES_MISUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "mse of other shapes": (lambda: cr.nn.mse_loss(cr.Tensor(np.ones((5, 1))), np.ones(5)), ValueError, r"mse_loss: shapes \(5, 1\) and \(5,\) differ; reshape"),
    "mse of text": (lambda: cr.nn.mse_loss(cr.Tensor(np.ones(2)), ["a", "b"]), TypeError, "mse_loss: expected real numbers"),
    "mse of None": (lambda: cr.nn.mse_loss(cr.Tensor(np.ones(2)), None), TypeError, "mse_loss: expected a number, an array"),
    "mse of complex numbers": (lambda: cr.nn.mse_loss(np.ones(2) * 1j, np.ones(2)), TypeError, "mse_loss: expected real numbers"),
    "l1 of a number": (lambda: cr.nn.l1_loss(np.ones(5), 1.0), ValueError, r"l1_loss: shapes \(5,\) and \(\) differ"),
    "huber of other shapes": (lambda: cr.nn.huber_loss(np.ones(5), np.ones(4)), ValueError, r"huber_loss: shapes \(5,\) and \(4,\)"),
    "huber of delta 0": (lambda: cr.nn.huber_loss(np.ones(5), np.ones(5), delta=0.0), ValueError, r"huber_loss: delta must be positive, got 0\.0"),
    "huber of text": (lambda: cr.nn.huber_loss(np.ones(5), np.ones(5), delta="a"), TypeError, "huber_loss: delta must be a number, got 'a'"),
    "log target or not": (lambda: cr.nn.kl_div(LOG_SHARES, SHARES, log_target="no"), TypeError, "kl_div: log_target must be True or False, got 'no'"),
    "smoothing by None": (lambda: cr.nn.cross_entropy(LOGITS, LABELS, label_smoothing=None), TypeError, "cross_entropy: label_smoothing must be a number between 0 and 1, got None"),
    "smoothing by a variable": (lambda: cr.nn.cross_entropy(LOGITS, LABELS, label_smoothing=cr.Value(0.0)), TypeError, "cross_entropy: label_smoothing must be a number"),
    "ignore_index of text": (lambda: cr.nn.cross_entropy(LOGITS, LABELS, ignore_index="a"), TypeError, "cross_entropy: ignore_index must be a whole number, got 'a'"),
    "half an ignore_index": (lambda: cr.nn.nll_loss(LOG_SHARES, LABELS, ignore_index=0.5), TypeError, "nll_loss: ignore_index must be a whole number, got 0.5"),
    "an array of reductions": (lambda: cr.nn.mse_loss([1.0], [1.0], reduction=np.ones(2)), ValueError, "mse_loss: reduction must be 'mean'"),
    "classes of text": (lambda: cr.nn.confusion_matrix([0], [0], "a"), TypeError, "confusion_matrix: classes must be a whole number, got 'a'"),
    "accuracy, ignoring text": (lambda: cr.nn.accuracy([0], [0], ignore_index="a"), TypeError, "accuracy: ignore_index must be a whole number, got 'a'"),
    "evaluate a number": (lambda: cr.nn.evaluate(5, cr.nn.mse_loss, ([[1.0]], [[1.0]])), TypeError, "evaluate: expected a Module as its model, got 5"),
    "evaluate by a number": (lambda: cr.nn.evaluate(cr.nn.Linear(1, 1), 5, ([[1.0]], [[1.0]])), TypeError, "evaluate: loss must be a function, got 5"),
    "dead units of a number": (lambda: cr.nn.dead_units(5, [[1.0]]), TypeError, "dead_units: expected a Module as its model, got 5"),
    "hinge of other shapes": (lambda: cr.nn.hinge_loss(np.ones((5, 1)), np.ones(5)), ValueError, r"hinge_loss: shapes \(5, 1\) and \(5,\)"),
    "hinge of labels 0 and 1": (lambda: cr.nn.hinge_loss([1.0, 2.0], [1, 0]), ValueError, "hinge_loss: labels must be -1 or 1, got 0"),
    "hinge of a Tensor of labels": (lambda: cr.nn.hinge_loss([1.0, 2.0], cr.Tensor([1, 0])), ValueError, "hinge_loss: labels must be -1 or 1, got 0"),
    "bce with logits of other shapes": (lambda: cr.nn.binary_cross_entropy_with_logits(np.ones(5), np.ones(4)), ValueError, r"shapes \(5,\) and \(4,\)"),
    "bce with logits, targets beyond 1": (lambda: cr.nn.binary_cross_entropy_with_logits([1.0], [1.5]), ValueError, r"targets must lie between 0 and 1, got 1\.5"),
    "bce with logits of NaN": (lambda: cr.nn.binary_cross_entropy_with_logits([1.0], [math.nan]), ValueError, "targets must lie between 0 and 1, got nan"),
    "bce of logits": (lambda: cr.nn.binary_cross_entropy(cr.Tensor([0.5, -2.0]), [1, 0]), ValueError, r"binary_cross_entropy: probabilities must lie between 0 and 1, got -2\.0"),
    "bce, targets beyond 1": (lambda: cr.nn.binary_cross_entropy([0.5], [2]), ValueError, r"binary_cross_entropy: targets must lie between 0 and 1, got 2"),
    "bce of other shapes": (lambda: cr.nn.binary_cross_entropy(np.ones((5, 1)), np.ones(5)), ValueError, r"binary_cross_entropy: shapes \(5, 1\) and \(5,\)"),
    "kl of logs as probabilities": (lambda: cr.nn.kl_div(LOG_SHARES, LOG_SHARES), ValueError, "kl_div: target must lie between 0 and 1, got -"),
    "kl of other shapes": (lambda: cr.nn.kl_div(LOG_SHARES, SHARES[0]), ValueError, r"kl_div: shapes \(5, 4\) and \(4,\)"),
    "kl of a number": (lambda: cr.nn.kl_div(-1.0, 0.5, reduction="batchmean"), ValueError, "kl_div: reduction='batchmean' needs a first axis"),
    "batchmean of another": (lambda: cr.nn.mse_loss([1.0], [1.0], reduction="batchmean"), ValueError, "mse_loss: reduction must be 'mean', 'sum' or 'none', got 'batchmean'"),
    "label too large": (lambda: cr.nn.cross_entropy(LOGITS, [0, 1, 2, 3, 4]), ValueError, "cross_entropy: labels run from 0 to 4, but there are 4 classes"),
    "negative label": (lambda: cr.nn.cross_entropy(LOGITS, [0, 1, 2, 3, -1]), ValueError, "cross_entropy: labels run from -1 to 3, but there are 4 classes"),
    "label too large beside an ignored one": (lambda: cr.nn.cross_entropy(LOGITS, [0, 1, 2, -100, 4]), ValueError, "cross_entropy: labels run from 0 to 4, but there are 4 classes"),
    "float labels": (lambda: cr.nn.cross_entropy(LOGITS, LABELS.astype(float)), TypeError, r"cross_entropy: labels must be integers \(class numbers\), got float64"),
    "boolean labels": (lambda: cr.nn.cross_entropy(LOGITS, LABELS > 1), TypeError, "labels must be integers .* got bool"),
    "text labels": (lambda: cr.nn.cross_entropy(LOGITS, list("abcde")), TypeError, "labels must be integers .* got <U1"),
    "no labels": (lambda: cr.nn.cross_entropy(LOGITS, None), TypeError, "labels must be integers .* got object"),
    "one-hot labels": (lambda: cr.nn.cross_entropy(LOGITS, np.eye(4, dtype=int)[LABELS]), ValueError, r"labels of shape \(5, 4\) for scores of shape \(5, 4\); probabilities must be floats"),
    "fewer labels": (lambda: cr.nn.cross_entropy(LOGITS, LABELS[:3]), ValueError, r"labels of shape \(3,\) for scores of shape \(5, 4\)"),
    "labels as a column": (lambda: cr.nn.cross_entropy(LOGITS, LABELS[:, None]), ValueError, r"labels of shape \(5, 1\)"),
    "logits of one number": (lambda: cr.nn.cross_entropy(cr.Value(1.0), 0), ValueError, r"labels of shape \(\) for scores of shape \(\)"),
    "probabilities beyond 1": (lambda: cr.nn.cross_entropy(LOGITS, SHARES + 1.0), ValueError, "cross_entropy: target probabilities must lie between 0 and 1, got 1"),
    "probabilities and ignore_index": (lambda: cr.nn.cross_entropy(LOGITS, SHARES, ignore_index=2), ValueError, "cross_entropy: ignore_index is for labels"),
    "smoothing beyond 1": (lambda: cr.nn.cross_entropy(LOGITS, LABELS, label_smoothing=1.5), ValueError, r"cross_entropy: label_smoothing must lie between 0 and 1, got 1\.5"),
    "nll of float labels": (lambda: cr.nn.nll_loss(LOG_SHARES, LABELS.astype(float)), TypeError, "nll_loss: labels must be integers"),
    "nll of a label too large": (lambda: cr.nn.nll_loss(LOG_SHARES, LABELS + 1), ValueError, "nll_loss: labels run from 1 to 4, but there are 4 classes"),
    "nll of a negative label": (lambda: cr.nn.nll_loss(LOG_SHARES, LABELS - 1), ValueError, "nll_loss: labels run from -1 to 2, but there are 4 classes"),
    "nll of other shapes": (lambda: cr.nn.nll_loss(LOG_SHARES, LABELS[:, None]), ValueError, r"nll_loss: labels of shape \(5, 1\) for scores of shape \(5, 4\)"),
    "penalty on nothing": (lambda: cr.nn.l2_penalty([]), ValueError, "l2_penalty: there are no parameters"),
    "penalty on names": (lambda: cr.nn.l1_penalty(cr.nn.Linear(1, 1).named_parameters()), TypeError, r"l1_penalty: expected Values and Tensors, .* got \('weight'"),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES_MISUSED)
def test_misuse_of_losses_is_explained(name: str) -> None:
    call, error, message = LOSSES_MISUSED[name]
    with pytest.raises(error, match=message):
        call()
