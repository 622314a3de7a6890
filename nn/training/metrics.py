"""Metrics: how often a classifier is right, and which class it takes for which. Counts, not variables.

A class is predicted where the score is largest; where a score is NaN, none is. Classes are numbered from 0, and samples that
do not count are labelled `ignore_index`, as for `cross_entropy`.
"""

from __future__ import annotations

__all__ = ["accuracy", "confusion_matrix"]

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd.guards.settings import whole
from chainrule.autograd.operators import plain as data_of

from ..init import whole_number

MOST_CLASSES = 1000  # for which `Tally` keeps a confusion matrix: 8 MB
LARGEST_MATRIX = 10_000  # classes that a matrix has without being asked to: 800 MB


def accuracy(prediction: Any, target: Any, *, ignore_index: int = -100) -> float:
    """The share of samples whose class is predicted right.

    `prediction` has the scores of each class, shape (..., classes), or the predicted classes themselves, integers of
    shape (...). `target` has integer labels, shape (...), or the classes' probabilities, shape (..., classes), which sum
    to 1. Samples labelled `ignore_index` do not count; NaN where none does, as of empty input.

    Raises `ValueError` for shapes that do not go together, for a column (n, 1) of labels, for another negative label beside
    scores, for booleans beside labels other than 0 and 1, and for a single score per sample, which is no choice between
    classes: compare it with a threshold.

    >>> import chainrule as cr
    >>> cr.nn.accuracy([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]], [0, 1, 1])
    0.6666666666666666
    >>> scores = cr.Tensor([[0.3], [-1.0]])
    >>> cr.nn.accuracy(scores.data[:, 0] > 0, [1, 0])
    1.0
    """
    predicted, labels = compared("accuracy", prediction, target, ignore_index)
    return float(np.mean(predicted == labels)) if labels.size else math.nan


def confusion_matrix(
    prediction: Any, target: Any, classes: int | None = None, *, ignore_index: int = -100
) -> NDArray[np.int64]:
    """How many samples of each class (row) were taken for each class (column).

    `prediction`, `target` and `ignore_index` as for `accuracy`. `classes` is the number of classes; by default what the scores have, or
    as many as occur, up to 10,000. Raises `ValueError` as `accuracy` does, and for classes out of range and scores of NaN.

    >>> import chainrule as cr
    >>> cr.nn.confusion_matrix([0, 1, 1, 1], [0, 0, 1, 1])
    array([[1, 1],
           [0, 2]])
    """
    scores, classes = (
        plain(prediction),
        None if classes is None else whole_number("confusion_matrix: classes", classes, 0),
    )
    predicted, labels = (x.astype(np.int64) for x in compared("confusion_matrix", scores, target, ignore_index))
    if scores.dtype.kind == "f" and np.isnan(scores).any():
        raise ValueError("confusion_matrix: a score is NaN, so that no class is predicted")
    if classes is None:
        occurring = max(predicted.max(initial=-1), labels.max(initial=-1)) + 1
        classes = scores.shape[-1] if scores.dtype.kind == "f" else int(occurring)
        if classes > LARGEST_MATRIX:
            raise ValueError(
                f"confusion_matrix: class {classes - 1} occurs, and a matrix of {classes} by {classes} counts would be huge; "
                "number the classes from 0 without gaps, or say classes="
            )
    for name, found in ("a prediction", predicted), ("a label", labels):
        wrong = found[(found < 0) | (found >= classes)]
        if wrong.size:
            raise ValueError(f"confusion_matrix: {name} is {wrong[0]}, expected 0 to {classes - 1}")
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def plain(x: Any) -> NDArray[Any]:
    return np.asarray(data_of(x))


def compared(name: str, prediction: Any, target: Any, ignore_index: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The predicted class and the label of each sample that counts, in one row each."""
    scores, labels = plain(prediction), plain(target)
    ignore_index = whole(f"{name}: ignore_index", ignore_index)
    if scores.shape[:1] == labels.shape[:1] == (0,):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    scored = scores.dtype.kind == "f" and scores.ndim > 0
    if scored and scores.shape[-1] < 2:
        raise ValueError(
            f"{name}: one score per sample, shape {scores.shape}, is no choice between classes; threshold it: "
            f"{name}(scores[..., 0] > 0, labels)"
        )
    classes = chosen(scores) if scored else scores
    if labels.shape == (*classes.shape, 1):
        raise ValueError(
            f"{name}: a column of labels, shape {labels.shape}, beside {classes.shape[0] if classes.ndim else 1} predictions "
            "may mean labels or probabilities of one class; for labels give target.reshape(-1)"
        )
    if labels.shape[:-1] == classes.shape and labels.ndim > 1 and scores.shape in (labels.shape, classes.shape):
        if not are_probabilities(labels):
            raise ValueError(
                f"{name}: the target has the shape of probabilities, {labels.shape}, but its rows do not sum to 1"
            )
        labels = labels.argmax(axis=-1)
    if labels.shape != classes.shape or labels.dtype.kind not in "iub" or classes.dtype.kind not in "iub":
        raise ValueError(
            f"{name}: expected scores (..., classes) or integer classes (...), and integer labels (...) or probabilities "
            f"(..., classes), got {scores.dtype} of shape {scores.shape} and {plain(target).dtype} of shape {np.shape(target)}"
        )
    counted = labels != ignore_index
    classes, labels = classes[counted], labels[counted]
    if scored and labels.size and labels.min() < 0:
        raise ValueError(
            f"{name}: a label is {labels.min()}, but classes are numbered from 0; samples that do not count are labelled "
            f"ignore_index, here {ignore_index}"
        )
    if (classes.dtype == bool) != (labels.dtype == bool) and not are_bits(classes, labels):
        raise ValueError(
            f"{name}: booleans beside numbers other than 0 and 1: compare both with the threshold (labels > 0)"
        )
    return classes, labels


def chosen(scores: NDArray[Any]) -> NDArray[Any]:
    """The class of the largest score; -1 where a score is NaN."""
    return np.where(np.isnan(scores).any(axis=-1), -1, scores.argmax(axis=-1))


def are_bits(*arrays: NDArray[Any]) -> bool:
    return all(np.isin(x, (0, 1)).all() for x in arrays)


def are_probabilities(x: NDArray[Any]) -> bool:
    """Whether each row sums to 1, and nothing is negative."""
    return bool(np.all(x >= 0) and np.allclose(x.sum(axis=-1, dtype=float), 1.0, atol=1e-3))


@final
class Tally:
    """The accuracy and, if wanted, the confusion matrix over all batches that are added, by what their losses saw.

    Batches may come singly or several together. One whose loss does not classify ends the matter.
    """

    def __init__(self, *, confusion: bool = False) -> None:
        self.wanted = confusion
        self.confusion: NDArray[np.int64] | None = None
        self.right = self.counted = 0
        self.classifies = True

    def add(self, scores: Sequence[Any], labels: Sequence[Any]) -> None:
        """Take in the scores and the labels (or probabilities) of one batch or several; None where there are none."""
        widths = {None if x is None else x.shape[-1] for x in scores}
        if None in widths or not self.classifies:
            self.classifies, self.confusion = False, None
        elif len(widths) > 1:
            for one in zip(scores, labels, strict=True):
                self.add(*[[x] for x in one])
        else:
            classes = scores[0].shape[-1]
            joined = np.concatenate([x if x.ndim == 2 else x.reshape(-1, classes) for x in scores])
            # A loss that is trained on is never NaN.
            predicted = chosen(joined) if self.wanted else joined.argmax(axis=-1)
            found = [y if y.ndim == 1 == x.ndim - 1 else as_labels(y, x) for x, y in zip(scores, labels, strict=True)]
            self.count(predicted, np.concatenate(found), classes)

    def count(self, predicted: NDArray[Any], labels: NDArray[Any], classes: int) -> None:
        counts = labels >= 0
        self.right += int(np.count_nonzero((predicted == labels) & counts))
        self.counted += int(np.count_nonzero(counts))
        if self.confusion is not None and len(self.confusion) != classes:
            self.wanted, self.confusion = False, None
        if self.wanted and classes <= MOST_CLASSES:
            counts &= predicted >= 0
            matrix = confusion_matrix(predicted[counts], labels[counts], classes)
            self.confusion = matrix if self.confusion is None else self.confusion + matrix

    @property
    def accuracy(self) -> float | None:
        """None where nothing is classified."""
        return self.right / self.counted if self.classifies and self.counted else None


def as_labels(labels: Any, scores: Any) -> NDArray[Any]:
    """Labels in one row; of probabilities the largest, -1 where they are all 0: such a sample does not count."""
    rows: NDArray[Any] = labels.reshape(-1) if labels.ndim < scores.ndim else labels.reshape(-1, labels.shape[-1])
    if rows.ndim == 1:
        return rows
    return np.where(rows.any(axis=-1), rows.argmax(axis=-1), -1)
