"""evaluate: how good a model is on a data set, learning nothing from it; and what a batch of any data consists of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Node, Tensor, Value, no_grad
from chainrule.autograd.plain import describe

from ..module import Module, in_use
from .data import Batch, Batches
from .metrics import Tally, nothing_counts

Loss: TypeAlias = Callable[[Any, Any], Any]
Data: TypeAlias = Iterable[Batch]

IN_USE = 1024  # samples in a batch where nothing is learned, so that nothing depends on their number


class Evaluation(NamedTuple):
    """The average loss over a data set; accuracy and confusion matrix, None where nothing is classified."""

    loss: float
    accuracy: float | None
    confusion: NDArray[np.int64] | None


def evaluate(model: Module, loss: Loss, data: Data) -> Evaluation:
    """The model as it is in use: its average loss over data, its accuracy, and which class it takes for which.

    Layers behave as after `eval()`, and afterwards as before; nothing is recorded. `data` is what `fit` takes: Batches, a
    tuple of arrays (inputs..., target), cut into batches of 1024, or any iterable of batches. `loss` is the mean over the
    samples of a batch; of labels, only those that are not negative count, and a batch without any is left out. Raises
    `TypeError` for other data, `ValueError` where no batch is left.

    >>> import chainrule as cr
    >>> model = cr.nn.Linear(1, 1, rng=0)
    >>> model.weight.data, model.bias.data = [[2.0]], [0.0]
    >>> cr.nn.evaluate(model, cr.nn.mse_loss, ([[1.0], [2.0]], [[2.0], [5.0]])).loss
    0.5
    """
    tally = Tally(confusion=True)
    total = average_loss(model, loss, batches_of("evaluate: data", data, batch_size=IN_USE, shuffle=False), tally)
    return Evaluation(total, tally.accuracy, tally.confusion)


def average_loss(
    model: Module, loss: Loss, data: Data, tally: Tally, between: Callable[[], object] = lambda: None
) -> float:
    """The average over the samples that count, which the tally sees too; `between` is called before each batch."""
    total, samples = 0.0, 0
    with in_use(model), no_grad():
        for batch in data:
            between()
            *inputs, target = parts_of(batch)
            prediction = model(*inputs)
            if nothing_counts(prediction, target):
                continue
            number = as_number(loss(prediction, target))
            (n,) = tally.add([prediction], [target])
            total += n * number
            samples += n
    if not samples:
        raise ValueError("evaluate: data holds no batch with a sample that counts")
    return total / samples


def batches_of(name: str, data: Data, *, batch_size: int, shuffle: bool) -> Data:
    """Data that can be iterated over again and again; a tuple of arrays is cut into batches."""
    if isinstance(data, tuple):
        if len(data) < 2:
            raise TypeError(f"{name}: expected a tuple (inputs..., target), got {len(data)} arrays")
        if any(map(holds_arrays, data)):
            raise TypeError(
                f"{name}: got a tuple of lists or tuples of arrays; a tuple means (inputs..., target), each one array: put "
                "batches in a list, and join rows with np.stack"
            )
        data = Batches(*data, batch_size=batch_size, shuffle=shuffle)
    if not isinstance(data, Iterable) or isinstance(data, Iterator | np.ndarray | Node):
        raise TypeError(
            f"{name}: expected Batches, a tuple of arrays (inputs..., target), or batches that can be iterated over "
            f"in every epoch (a list, say), got {describe(data)}"
        )
    if isinstance(data, Sized) and not len(data):
        raise ValueError(f"{name}: there is no batch in {data!r}")
    return data


def parts_of(batch: Any) -> Batch:
    """The inputs and the target, as they are, or an error."""
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise TypeError(f"a batch must be a tuple (inputs..., target), got {describe(batch)}")
    return tuple(batch)


def holds_arrays(x: Any) -> bool:
    return isinstance(x, list | tuple) and any(isinstance(part, np.ndarray | Tensor) and part.ndim for part in x)


def as_number(x: Any) -> float:
    """One number, from a node or as it is."""
    return x.item() if isinstance(x, Value | Tensor) else float(x)
