"""Metrics: how often a classifier is right, and which class it takes for which. Counts, not variables.

A class is predicted where the score is largest. Classes are numbered from 0: a negative label, such as the -100 that
`cross_entropy` ignores, says that a sample does not count.
"""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Node

MOST_CLASSES = 1000  # for which `Tally` keeps a confusion matrix: 8 MB
LARGEST_MATRIX = 10_000  # classes that a matrix has without being asked to: 800 MB


def accuracy(prediction: Any, target: Any) -> float:
    """The share of samples whose class is predicted right.

    `prediction` has the scores of each class, shape (..., classes), or the predicted classes themselves, integers of
    shape (...). `target` has integer labels, shape (...), or the classes' probabilities, shape (..., classes), which sum
    to 1. Samples with a negative label do not count; NaN where none does. Raises `ValueError` for shapes that do not go
    together, and for a single score per sample, which is no choice between classes: compare it with a threshold.

    >>> import chainrule as cr
    >>> cr.nn.accuracy([[2.0, 1.0], [0.0, 3.0], [1.0, 0.0]], [0, 1, 1])
    0.6666666666666666
    >>> scores = cr.Tensor([[0.3], [-1.0]])
    >>> cr.nn.accuracy(scores.data[:, 0] > 0, [1, 0])
    1.0
    """
    predicted, labels = compared("accuracy", prediction, target)
    return float(np.mean(predicted == labels)) if labels.size else math.nan


def confusion_matrix(prediction: Any, target: Any, classes: int | None = None) -> NDArray[np.int64]:
    """How many samples of each class (row) were taken for each class (column).

    `prediction` and `target` as for `accuracy`. `classes` is the number of classes; by default what the scores have, or
    as many as occur, up to 10,000. Raises `ValueError` as `accuracy` does, and for classes out of range.

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
    return np.asarray(x._raw if isinstance(x, Node) else x)


def compared(name: str, prediction: Any, target: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """The predicted class and the label of each sample that counts, in one row each."""
    scores, labels = plain(prediction), plain(target)
    scored = scores.dtype.kind == "f" and scores.ndim > 0
    if scored and scores.shape[-1] == 1:
        raise ValueError(
            f"{name}: one score per sample, shape {scores.shape}, is no choice between classes; threshold it: "
            f"{name}(scores[..., 0] > 0, labels)"
        )
    classes = np.asarray(scores.argmax(axis=-1)) if scored else scores
    if labels.ndim > 1 and labels.shape[:-1] == classes.shape and scores.shape in (labels.shape, classes.shape):
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
    counted = labels >= 0
    return (classes.ravel(), labels.ravel()) if counted.all() else (classes[counted], labels[counted])


def are_probabilities(x: NDArray[Any]) -> bool:
    """Whether each row sums to 1, and nothing is negative."""
    return bool(np.all(x >= 0) and np.allclose(x.sum(axis=-1, dtype=float), 1.0, atol=1e-3))


def classifies(prediction: Any, target: Any) -> bool:
    """Whether this looks like scores of classes beside integer labels, or beside probabilities."""
    if not isinstance(prediction, Node | np.ndarray):
        return False
    scores, labels = plain(prediction), plain(target)
    if scores.dtype.kind != "f" or not scores.ndim or scores.shape[-1] < 2:
        return False
    if labels.shape == scores.shape and labels.ndim > 1:
        return are_probabilities(labels)
    return labels.dtype.kind in "iu" and labels.shape == scores.shape[:-1]


def nothing_counts(prediction: Any, target: Any) -> bool:
    """Whether classes are predicted, but no sample has a label that counts: there is no average of no losses."""
    try:
        return classifies(prediction, target) and not compared("accuracy", prediction, target)[1].size
    except ValueError:
        return False


def samples_in(target: Any) -> int:
    """The length of the first axis; a single number is one sample."""
    try:
        return len(target)
    except TypeError:
        return 1


def together(parts: list[Any]) -> NDArray[Any]:
    return plain(parts[0]) if len(parts) == 1 else np.concatenate(parts)


@final
class Tally:
    """The accuracy and, if wanted, the confusion matrix over all batches that are added.

    The first batch decides whether classes are predicted at all, unless that is known; a later one that does not go with
    it ends the matter. Batches may come singly or several together.
    """

    def __init__(self, *, confusion: bool = False, classifies: bool | None = None) -> None:
        self.wanted = confusion
        self.confusion: NDArray[np.int64] | None = None
        self.right = self.counted = 0
        self.classifies = classifies

    def add(self, predictions: list[Any], targets: list[Any]) -> list[int]:
        """Take in one batch or several. Returns how many samples count in each: by these its loss is an average."""
        found = self.classes_of(predictions, targets)
        if found is None:
            return [samples_in(target) for target in targets]
        predicted, labels = found
        self.right += int(np.count_nonzero(predicted == labels))
        self.counted += labels.size
        scores = [plain(prediction) for prediction in predictions]
        classes = scores[0].shape[-1]
        if self.wanted and classes <= MOST_CLASSES:
            matrix = confusion_matrix(predicted, labels, classes)
            self.confusion = matrix if self.confusion is None else self.confusion + matrix
        sizes = [x.size // classes for x in scores]
        if sum(sizes) == labels.size:
            return sizes
        return [int(np.count_nonzero(plain(target) >= 0)) for target in targets]

    def classes_of(self, predictions: list[Any], targets: list[Any]) -> tuple[NDArray[Any], NDArray[Any]] | None:
        """The predicted classes and the labels that count; None where classes are not predicted."""
        try:
            if self.classifies is None:
                self.classifies = classifies(predictions[0], targets[0])
            if self.classifies:
                return compared("accuracy", together(predictions), together(targets))
        except ValueError:
            self.classifies, self.confusion = False, None
        return None

    @property
    def accuracy(self) -> float | None:
        """None where classes are not predicted."""
        return self.right / self.counted if self.classifies and self.counted else None
