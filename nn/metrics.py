"""Metrics: how often a classifier is right, and which class it takes for which. Counts, not variables.

A class is predicted where the score is largest. A label of -100 says that a sample does not count, as in
`cross_entropy`.
"""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Node

IGNORED = -100
MOST_CLASSES = 1000  # for which `Tally` keeps a confusion matrix: 8 MB


def accuracy(prediction: Any, target: Any) -> float:
    """The share of samples whose class is predicted right.

    `prediction` has the scores of each class, shape (..., classes), or the predicted classes themselves, integers of
    shape (...). `target` has integer labels, shape (...), or the classes' probabilities, shape (..., classes). Labels of
    -100 do not count; NaN where no sample does. Raises `ValueError` for shapes that do not go together.

    >>> import chainrule as cr
    >>> cr.nn.accuracy([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]], [0, 1, 1])
    0.6666666666666666
    """
    predicted, labels = compared("accuracy", prediction, target)
    return float(np.mean(predicted == labels)) if labels.size else math.nan


def confusion_matrix(prediction: Any, target: Any, classes: int | None = None) -> NDArray[np.int64]:
    """How many samples of each class (row) were taken for each class (column).

    `prediction` and `target` as for `accuracy`. `classes` is the number of classes; by default what the scores have, or
    as many as occur. Raises `ValueError` for shapes that do not go together and for classes out of range.

    >>> import chainrule as cr
    >>> cr.nn.confusion_matrix([0, 1, 1, 1], [0, 0, 1, 1])
    array([[1, 1],
           [0, 2]])
    """
    scores = plain(prediction)
    predicted, labels = (x.astype(np.int64) for x in compared("confusion_matrix", scores, target))
    if classes is None:
        occurring = max(predicted.max(initial=-1), labels.max(initial=-1)) + 1
        classes = scores.shape[-1] if scores.dtype.kind == "f" else int(occurring)
    for name, found in ("a prediction", predicted), ("a label", labels):
        wrong = found[(found < 0) | (found >= classes)]
        if wrong.size:
            raise ValueError(f"confusion_matrix: {name} is {wrong[0]}, expected 0 to {classes - 1}")
    return np.bincount(labels * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def plain(x: Any) -> NDArray[Any]:
    return np.asarray(x._data if isinstance(x, Node) else x)


def compared(name: str, prediction: Any, target: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """The predicted class and the label of each sample that counts, in one row each."""
    scores, labels = plain(prediction), plain(target)
    classes = scores.argmax(axis=-1) if scores.dtype.kind == "f" and scores.ndim else scores
    if labels.ndim > 1 and labels.shape[:-1] == classes.shape and scores.shape in (labels.shape, classes.shape):
        labels = labels.argmax(axis=-1)
    if labels.shape != classes.shape or labels.dtype.kind not in "iub" or classes.dtype.kind not in "iub":
        raise ValueError(
            f"{name}: expected scores (..., classes) or integer classes (...), and integer labels (...) or probabilities "
            f"(..., classes), got {scores.dtype} of shape {scores.shape} and {plain(target).dtype} of shape {np.shape(target)}"
        )
    counted = labels != IGNORED
    return (classes.ravel(), labels.ravel()) if counted.all() else (classes[counted], labels[counted])


def classifies(prediction: Any, target: Any) -> bool:
    """Whether this looks like scores of classes beside integer labels, or beside probabilities."""
    scores, labels = plain(prediction), plain(target)
    if scores.dtype.kind != "f" or not scores.ndim or scores.shape[-1] < 2:
        return False
    if labels.shape == scores.shape and labels.ndim > 1:
        return bool(np.all(labels >= 0) and np.allclose(labels.sum(axis=-1, dtype=float), 1.0, atol=1e-3))
    return labels.dtype.kind in "iu" and labels.shape == scores.shape[:-1]


@final
class Tally:
    """The accuracy and, if wanted, the confusion matrix over all batches that are added.

    The first batch decides whether anything is classified at all. Batches may come singly or several together.
    """

    def __init__(self, *, confusion: bool = False) -> None:
        self.wanted = confusion
        self.confusion: NDArray[np.int64] | None = None
        self.right = self.counted = 0
        self.classifies: bool | None = None

    def add(self, predictions: list[Any], targets: list[Any]) -> None:
        """Plain data of one batch or of several."""
        if self.classifies is None:
            self.classifies = classifies(predictions[0], targets[0])
        if self.classifies:
            scores, labels = np.concatenate(predictions), np.concatenate(targets)
            classes = scores.shape[-1]
            predicted, labels = compared("accuracy", scores, labels)
            self.right += int(np.count_nonzero(predicted == labels))
            self.counted += labels.size
            if self.wanted and classes <= MOST_CLASSES:
                matrix = confusion_matrix(predicted, labels, classes)
                self.confusion = matrix if self.confusion is None else self.confusion + matrix

    @property
    def accuracy(self) -> float | None:
        """None where nothing is classified."""
        return self.right / self.counted if self.counted else None
