"""Losses: how wrong a prediction is, as one number to descend.

Each has PyTorch's name and meaning, but that classes lie on the last axis. `reduction` is "mean" (over all elements or
samples; over none it is a `NothingCountsError`), "sum", or "none" for all losses by themselves. Shapes must agree:
broadcasting here would average over pairs that nobody meant. Plain targets take the precision of the predictions, and plain
integers are floats. Over how many a loss is the mean, `fit` and `evaluate` hear from the loss (`averaging.py`).
"""

from __future__ import annotations

__all__ = [
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cross_entropy", "hinge_loss", "huber_loss", "kl_div",
    "l1_loss", "l1_penalty", "l2_penalty", "mse_loss", "nll_loss",
]  # fmt: skip

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from chainrule.autograd import (
    Tensor,
    Value,
    abs,
    clip,
    custom,
    exp,
    log,
    log_softmax,
    maximum,
    mean,
    relu,
    reshape,
    softplus,
    square,
    stack,
    sum,
    take_along_axis,
    where,
)
from chainrule.autograd.guards.settings import flag, real, whole
from chainrule.autograd.operators import plain
from chainrule.autograd.ops.elementwise import logical_and
from chainrule.autograd.ops.linalg import class_labels, cross_entropy_
from chainrule.autograd.ops.shape import getitem, scatter, shape_of
from chainrule.autograd.plain import NUMBERS, Saved, constant, describe
from chainrule.autograd.recording import in_precision, is_data, recorder

from .averaging import NothingCountsError, lenient, tell
from .init import share
from .module import Parameter

NODES = (Value, Tensor)


def mse_loss(prediction: Any, target: Any, *, reduction: str = "mean") -> Any:
    """(prediction - target)², of one shape.

    >>> import chainrule as cr
    >>> float(cr.nn.mse_loss([1.0, 2.0], [1.0, 4.0]))
    2.0
    """
    prediction, target = alike("mse_loss", prediction, target)
    return reduced("mse_loss", square(prediction - target), reduction)


def l1_loss(prediction: Any, target: Any, *, reduction: str = "mean") -> Any:
    """|prediction - target|, of one shape.

    >>> import chainrule as cr
    >>> float(cr.nn.l1_loss([1.0, 2.0], [1.0, 4.0]))
    1.0
    """
    prediction, target = alike("l1_loss", prediction, target)
    return reduced("l1_loss", abs(prediction - target), reduction)


def huber_loss(prediction: Any, target: Any, *, delta: float = 1.0, reduction: str = "mean") -> Any:
    """Half the squared difference up to `delta`, from there on a line of slope `delta` (Huber 1964).

    >>> import chainrule as cr
    >>> cr.nn.huber_loss([1.5, 4.0], [1.0, 1.0], reduction="none").tolist()
    [0.125, 2.5]
    """
    if not (delta if isinstance(delta, NODES) else real("huber_loss: delta", delta)) > 0.0:
        raise ValueError(f"huber_loss: delta must be positive, got {delta}")
    prediction, target = alike("huber_loss", prediction, target)
    difference = prediction - target
    near = clip(difference, -delta, delta)
    return reduced("huber_loss", near * (difference - 0.5 * near), reduction)


def hinge_loss(scores: Any, labels: Any, *, reduction: str = "mean") -> Any:
    """max(0, 1 - label * score), for labels -1 and 1: the loss of a support vector machine.

    >>> import chainrule as cr
    >>> float(cr.nn.hinge_loss([2.0, 0.5], [1, 1]))
    0.25
    """
    scores, labels = alike("hinge_loss", scores, labels)
    labels = require(np.isin, (-1, 1), labels, "hinge_loss: labels must be -1 or 1")
    return reduced("hinge_loss", relu(1.0 - labels * scores), reduction)


def log_not_below(x: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(np.maximum(x, 0.0)), -100.0)


def least(x: Any) -> float:
    """What x counts as at least where it is divided by: float16 has no 1e-12, but 0."""
    return 2.0**-14 if getattr(x, "dtype", None) == np.float16 else 1e-12


# PyTorch's binary cross-entropy to the letter: no logarithm below -100, no slope above 1e12; in float16, none above 2**14.
clamped_log = custom("clamped_log", log_not_below, lambda g, y, x: g / maximum(x, least(x)))
bernoulli_loss = custom(
    "binary_cross_entropy",
    lambda p, t: -(t * log_not_below(p) + (1.0 - t) * log_not_below(1.0 - p)),
    lambda g, y, p, t: g * (p - t) / maximum(p * (1.0 - p), least(p)),
    lambda g, y, p, t: g * (clamped_log(1.0 - p) - clamped_log(p)),
)


def binary_cross_entropy(probabilities: Any, targets: Any, *, reduction: str = "mean") -> Any:
    """-(t log p + (1 - t) log(1 - p)) for probabilities p and targets t, both in [0, 1].

    A logarithm counts as -100 at least, so a certain and wrong prediction costs 100. Where the probabilities come from
    a sigmoid, `binary_cross_entropy_with_logits` is more accurate. The loss of a probability of NaN is NaN.

    >>> import chainrule as cr
    >>> float(cr.nn.binary_cross_entropy([0.5, 0.0], [1.0, 1.0], reduction="sum"))
    100.69314718055995
    """
    probabilities, targets = alike("binary_cross_entropy", probabilities, targets)
    probabilities = require(
        not_outside, (0.0, 1.0), probabilities, "binary_cross_entropy: probabilities must lie between 0 and 1"
    )
    targets = require_probabilities("binary_cross_entropy: targets", targets)
    return reduced("binary_cross_entropy", bernoulli_loss(probabilities, targets), reduction)


def binary_cross_entropy_with_logits(logits: Any, targets: Any, *, reduction: str = "mean") -> Any:
    """-log of the probability that sigmoid(logit) gives to the target, in [0, 1], without overflow.

    >>> import chainrule as cr
    >>> float(cr.nn.binary_cross_entropy_with_logits([0.0], [1.0]))
    0.6931471805599453
    """
    logits, targets = alike("binary_cross_entropy_with_logits", logits, targets)
    targets = require_probabilities("binary_cross_entropy_with_logits: targets", targets)
    losses = softplus(-logits) * targets + softplus(logits) * (1.0 - targets)  # nothing cancels, at either end
    return reduced("binary_cross_entropy_with_logits", losses, reduction)


def kl_div(log_prediction: Any, target: Any, *, log_target: bool = False, reduction: str = "mean") -> Any:
    """target * (log target - log_prediction), element by element: the Kullback-Leibler divergence once summed.

    The prediction is given by its logarithm, the target as probabilities or, with `log_target`, by its logarithm too.
    As in PyTorch, "mean" is over all elements; "batchmean", the sum over the length of the first axis, is what the
    textbooks mean by the divergence. An element of the target that is 0 contributes 0.

    >>> import chainrule as cr
    >>> round(float(cr.nn.kl_div(cr.log([[0.5, 0.5]]), [[1.0, 0.0]], reduction="batchmean")), 6)
    0.693147
    """
    log_prediction, target = alike("kl_div", log_prediction, target)
    if flag("kl_div: log_target", log_target):
        share, log_share = exp(target), target
    else:
        target = require_probabilities("kl_div: target", target)
        share, log_share = target, log(where(target > 0, target, 1.0))
    losses = share * (finite_if_absent(share, log_share) - finite_if_absent(share, log_prediction))
    if reduction == "batchmean":
        if not shape_of(losses):
            raise ValueError("kl_div: reduction='batchmean' needs a first axis, of samples")
        check_reduction("kl_div", "mean", losses.shape[0])
        return tell(sum(losses) / (losses.shape[0] or 1), "mean", losses.shape[0])
    return reduced("kl_div", losses, reduction, ("mean", "sum", "none", "batchmean"))


def finite_if_absent(share: Any, logarithm: Any) -> Any:
    """The logarithms, but 0 for -inf where the share is 0: what does not occur contributes 0, however improbable."""
    return where(logical_and(share == 0.0, logarithm == -np.inf), 0.0, logarithm)


def cross_entropy(
    logits: Any, target: Any, *, ignore_index: int = -100, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Any:
    """-log softmax(logits) at the target, without overflow; `logits` has shape (..., classes).

    `target` is integer labels (...), or probabilities (..., classes) as floats. Samples labelled `ignore_index` count
    for nothing; `label_smoothing` gives that share of the target to all classes alike (Szegedy et al. 2016). The mean is
    over the samples that are not ignored; of none at all it is a `NothingCountsError` (PyTorch: nan).

    Raises `TypeError` for labels that are not integers, `ValueError` for a wrong shape or a label out of range.

    >>> import chainrule as cr
    >>> float(cr.nn.cross_entropy([[0.0, 0.0]], [1]))
    0.6931471805599453
    >>> float(cr.nn.cross_entropy([[0.0, 0.0]], [[0.5, 0.5]]))
    0.6931471805599453
    """
    logits = as_data("cross_entropy", logits)
    if type(label_smoothing) is not float or label_smoothing != 0.0:
        label_smoothing = share("cross_entropy: label_smoothing", label_smoothing)
    ignore_index = ignore_index if type(ignore_index) is int else whole("cross_entropy: ignore_index", ignore_index)
    if type(target) is not np.ndarray:
        target = as_data("cross_entropy", target) if any_node(target) else np.asarray(target)
    shape = () if type(logits) in NUMBERS else logits.shape
    if target.shape == shape != () and target.dtype.kind == "f":
        if ignore_index >= 0:
            raise ValueError("cross_entropy: ignore_index is for labels; give a sample to ignore probabilities of 0")
        return cross_entropy_of_probabilities(logits, target, label_smoothing, reduction)
    labels, kept = as_labels("cross_entropy", target, shape, ignore_index)
    if kept is None and not label_smoothing and labels.size:  # the common case, in one node
        check_reduction("cross_entropy", reduction, labels.size)
        return tell(
            cross_entropy_(logits, labels, reduction=reduction, saved=Saved()), reduction, labels.size, logits, target
        )

    def losses_of(logits: Any, labels: Any) -> Any:
        losses = cross_entropy_(logits, labels, reduction="none", saved=Saved())
        if not label_smoothing:
            return losses
        return losses * (1.0 - label_smoothing) - mean(log_softmax(logits), -1) * label_smoothing

    return over_labels("cross_entropy", losses_of, logits, target, labels, kept, reduction)


def cross_entropy_of_probabilities(logits: Any, target: Any, label_smoothing: float, reduction: str) -> Any:
    given = target
    logits, target = alike("cross_entropy", logits, target)
    target = require_probabilities("cross_entropy: target probabilities", target)
    if label_smoothing:
        target = target * (1.0 - label_smoothing) + label_smoothing / target.shape[-1]
    losses = -sum(target * finite_if_absent(target, log_softmax(logits)), -1)
    return reduced("cross_entropy", losses, reduction, scores=logits, labels=given)


def nll_loss(log_probabilities: Any, labels: Any, *, ignore_index: int = -100, reduction: str = "mean") -> Any:
    """-log_probabilities[label]: `log_probabilities` has shape (..., classes), integer `labels` (...).

    After `log_softmax`, what `cross_entropy` computes at once. Samples labelled `ignore_index` count for nothing; the
    mean over none at all is a `NothingCountsError`.

    >>> import chainrule as cr
    >>> float(cr.nn.nll_loss(cr.log([[0.25, 0.75]]), [0]))
    1.3862943611198906
    """
    log_probabilities = as_data("nll_loss", log_probabilities)
    given, ignore_index = labels, whole("nll_loss: ignore_index", ignore_index)
    labels, kept = as_labels("nll_loss", labels, shape_of(log_probabilities), ignore_index)

    def losses_of(log_p: Any, labels: Any) -> Any:
        places = labels[..., None] if isinstance(labels, Tensor) else labels[..., None].astype(np.intp)
        return -reshape(take_along_axis(log_p, places), labels.shape)

    return over_labels("nll_loss", losses_of, log_probabilities, given, labels, kept, reduction)


def over_labels(
    name: str, losses_of: Callable[[Any, Any], Any], scores: Any, given: Any, labels: Any, kept: Any, reduction: str
) -> Any:
    """The losses of the samples that are kept (None: of all), reduced; of the others, 0."""
    if kept is None:
        return reduced(name, losses_of(scores, labels), reduction, scores=scores, labels=given)
    scores, used = getitem(scores, kept), labels[kept]
    losses = losses_of(scores, used)
    if reduction == "none":
        return scatter(losses, index=kept, shape=labels.shape)
    return reduced(name, losses, reduction, scores=scores, labels=used)


def as_labels(name: str, labels: Any, shape: tuple[int, ...], ignore_index: int) -> tuple[Any, Any]:
    """Labels as an array of their own, checked against scores of that shape; where they count, None for everywhere."""
    recorded = isinstance(labels, Tensor) and labels.dtype.kind in "iu" and recorder() is not None
    labels = labels if recorded else np.array(plain(labels) if isinstance(labels, NODES) else labels)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels must be integers (class numbers), got {labels.dtype}")
    if not shape or labels.shape != shape[:-1]:
        advice = "; probabilities must be floats" if shape and labels.shape == shape else ""
        raise ValueError(f"{name}: labels of shape {labels.shape} for scores of shape {shape}{advice}")
    if recorded:
        if 0 <= ignore_index < shape[-1]:  # where one is ignored, the function itself runs instead of what was recorded
            labels = require(np.not_equal, ignore_index, labels, f"{name}: recorded without labels to ignore")
        return class_labels(labels, classes=shape[-1]), None
    if not labels.size or (ignore_index < 0 and labels.astype(np.uint64).max() < shape[-1]):  # negative ones are huge
        return labels, None
    kept = np.asarray(labels != ignore_index)
    used = labels[kept]
    if used.size and (used.min() < 0 or used.max() >= shape[-1]):
        raise ValueError(
            f"{name}: labels run from {used.min()} to {used.max()}, but there are {shape[-1]} classes, from 0"
        )
    return labels, None if kept.all() else kept


def l1_penalty(parameters: Iterable[Parameter]) -> Any:
    """The sum of |p| over all elements of all parameters: added to a loss, it drives weights to 0.

    >>> import chainrule as cr
    >>> cr.nn.l1_penalty([cr.Tensor([1.0, -2.0]), cr.Tensor([3.0])]).item()
    6.0
    """
    return penalty("l1_penalty", abs, parameters)


def l2_penalty(parameters: Iterable[Parameter]) -> Any:
    """The sum of p² over all elements of all parameters: added to a loss, it keeps weights small.

    >>> import chainrule as cr
    >>> layer = cr.nn.Linear(2, 1, init=lambda rng, n_in, n_out: [[3.0, 4.0]])
    >>> cr.nn.l2_penalty([layer.weight]).item()
    25.0
    """
    return penalty("l2_penalty", square, parameters)


def penalty(name: str, size: Callable[[Any], Any], parameters: Iterable[Parameter]) -> Any:
    total: Any = None
    for p in parameters:
        if not isinstance(p, Value | Tensor):
            raise TypeError(f"{name}: expected Values and Tensors, as from model.parameters(), got {describe(p)}")
        amount = sum(size(p)) if isinstance(p, Tensor) else size(p)
        total = amount if total is None else total + amount
    if total is None:
        raise ValueError(f"{name}: there are no parameters")
    return total


REDUCTIONS = ("mean", "sum", "none")


def reduced(
    name: str, losses: Any, reduction: str, known: tuple[str, ...] = REDUCTIONS, scores: Any = None, labels: Any = None
) -> Any:
    """All losses as one number, or as they are."""
    count = math.prod(shape_of(losses))
    check_reduction(name, reduction, count, known)
    if reduction == "none":
        return losses
    return tell(mean(losses) if reduction == "mean" and count else sum(losses), reduction, count, scores, labels)


def check_reduction(name: str, reduction: str, count: int, known: tuple[str, ...] = REDUCTIONS) -> None:
    if not isinstance(reduction, str) or reduction not in known:
        *others, last = map(repr, known)
        raise ValueError(f"{name}: reduction must be {', '.join(others)} or {last}, got {reduction!r}")
    if reduction == "mean" and not count and not lenient.get():
        raise NothingCountsError(f"{name}: there are no samples to average over")


def alike(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Prediction and target as operands of one shape, the target in the prediction's precision."""
    a, b = (
        in_precision(x, np.dtype(float)) if isinstance(x, Tensor) and x.dtype.kind != "f" else x
        for x in (as_data(name, a), as_data(name, b))
    )
    if shape_of(a) != shape_of(b):
        raise ValueError(f"{name}: shapes {shape_of(a)} and {shape_of(b)} differ; reshape one to match the other")
    if isinstance(b, Tensor | np.ndarray) and is_data(b) and isinstance(a, Tensor | np.ndarray) and a.dtype.kind == "f":
        b = in_precision(b, a.dtype)
    return a, b


def as_data(name: str, x: Any) -> Any:
    """Nodes as they are, data as numbers or an array of floats, a list of Values as one Tensor."""
    if isinstance(x, NODES):
        return x
    if isinstance(x, list | tuple):
        return stack([as_data(name, part) for part in x]) if any_node(x) else np.asarray(constant(x, name), dtype=float)
    if type(x).__module__.startswith("torch"):
        raise TypeError(f"{name}: got a PyTorch tensor; give x.detach().numpy(), an array")
    x = constant(x, name)
    return x if isinstance(x, float | int) or x.dtype.kind == "f" else x.astype(float)


def any_node(x: Any) -> bool:
    return isinstance(x, NODES) or (isinstance(x, list | tuple) and any(any_node(part) for part in x))


def raw(x: Any) -> Any:
    return plain(x) if isinstance(x, NODES) else x


def require(test: Callable[[Any, Any], Any], allowed: Any, x: Any, message: str) -> Any:
    """`x`, if every element passes the test; else an error shows the first that does not."""
    if isinstance(x, NODES) and recorder() is not None:
        return required(x, test=test, allowed=allowed, message=message)
    passed(raw(x), test, allowed, message)
    return x


def passed(x: Any, test: Callable[[Any, Any], Any], allowed: Any, message: str) -> Any:
    """The same for plain data. That of other libraries is not read."""
    if isinstance(x, np.ndarray | np.generic | float | int):
        right = np.ravel(test(x, allowed))
        if not right.all():
            raise ValueError(f"{message}, got {np.ravel(x)[~right][0]}")
    return x


required = custom(
    "required", passed, lambda g, y, x, **params: g, doc="Data that is looked at whenever it is computed."
)


def within(x: Any, limits: tuple[float, float]) -> Any:
    tolerance = rounding(x)
    return (x >= limits[0] - tolerance) & (x <= limits[1] + tolerance)


def not_outside(x: Any, limits: tuple[float, float]) -> Any:
    return within(x, limits) | np.isnan(x)


def rounding(x: Any) -> float:
    """How far a few roundings may lead: those of float32 in float64 too, which may have been float32 before."""
    coarse = np.float16 if isinstance(x, np.ndarray) and x.dtype == np.float16 else np.float32
    return 4.0 * float(np.finfo(coarse).eps)


def require_probabilities(what: str, x: Any) -> Any:
    return require(within, (0.0, 1.0), x, f"{what} must lie between 0 and 1")
