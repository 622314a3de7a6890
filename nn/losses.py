"""Losses: how wrong a prediction is, as one number to descend. The mean over all elements or samples."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.autograd import Tensor, Value, abs, mean, relu, softmax_cross_entropy, softplus, square, stack


def mse_loss(prediction: Any, target: Any) -> Any:
    """The mean of (prediction - target)². Both must have the same shape.

    >>> import chainrule as cr
    >>> float(cr.nn.mse_loss([1.0, 2.0], [1.0, 4.0]))
    2.0
    """
    prediction, target = alike("mse_loss", prediction, target)
    return mean(square(prediction - target))


def l1_loss(prediction: Any, target: Any) -> Any:
    """The mean of |prediction - target|. Both must have the same shape.

    >>> import chainrule as cr
    >>> float(cr.nn.l1_loss([1.0, 2.0], [1.0, 4.0]))
    1.0
    """
    prediction, target = alike("l1_loss", prediction, target)
    return mean(abs(prediction - target))


def hinge_loss(scores: Any, labels: Any) -> Any:
    """The mean of max(0, 1 - label * score), for labels -1 and 1: the loss of a support vector machine.

    >>> import chainrule as cr
    >>> float(cr.nn.hinge_loss([2.0, 0.5], [1, 1]))
    0.25
    """
    scores, labels = alike("hinge_loss", scores, labels)
    if not np.isin(labels, (-1, 1)).all():
        raise ValueError(f"hinge_loss: labels must be -1 or 1, got {first_other(labels, (-1, 1))}")
    return mean(relu(1.0 - labels * scores))


def binary_cross_entropy_with_logits(logits: Any, targets: Any) -> Any:
    """The mean of -log of the probability that sigmoid(logit) gives to the target, in [0, 1], without overflow.

    >>> import chainrule as cr
    >>> float(cr.nn.binary_cross_entropy_with_logits([0.0], [1.0]))
    0.6931471805599453
    """
    logits, targets = alike("binary_cross_entropy_with_logits", logits, targets)
    if isinstance(targets, np.ndarray | float | int) and not np.all(
        (np.asarray(targets) >= 0) & (np.asarray(targets) <= 1)
    ):
        raise ValueError("binary_cross_entropy_with_logits: targets must lie between 0 and 1")
    return mean(softplus(logits) - logits * targets)


def cross_entropy(logits: Any, labels: Any) -> Any:
    """The mean of -log softmax(logits)[label] over the samples; `logits` (..., classes), integer `labels` (...).

    Raises `TypeError` for labels that are not integers, `ValueError` for a wrong shape or a label out of range.

    >>> import chainrule as cr
    >>> float(cr.nn.cross_entropy([[0.0, 0.0]], [1]))
    0.6931471805599453
    """
    return softmax_cross_entropy(joined(logits), labels, reduction="mean")


def joined(x: Any) -> Any:
    """A list of numbers or Values as one array or Tensor."""
    if isinstance(x, list | tuple):
        return stack([joined(part) for part in x]) if any_node(x) else np.asarray(x, dtype=float)
    return x


def any_node(x: Any) -> bool:
    return isinstance(x, Value | Tensor) or (isinstance(x, list | tuple) and any(any_node(part) for part in x))


def alike(name: str, a: Any, b: Any) -> tuple[Any, Any]:
    """Two operands of one shape: broadcasting here would average over pairs that nobody meant."""
    a, b = joined(a), joined(b)
    if isinstance(a, Tensor) and isinstance(b, np.ndarray) and b.dtype == float:
        b = b.astype(a.dtype)  # plain targets take the precision of the predictions
    shapes = [x.shape if isinstance(x, Value | Tensor | np.ndarray) else np.shape(x) for x in (a, b)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"{name}: shapes {shapes[0]} and {shapes[1]} differ; reshape one to match the other")
    return a, b


def first_other(labels: Any, allowed: tuple[int, ...]) -> Any:
    flat = np.ravel(labels)
    return flat[~np.isin(flat, allowed)][0]
