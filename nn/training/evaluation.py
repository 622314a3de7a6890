"""evaluate: how good a model is on a data set, learning nothing from it; and what a batch of any data consists of."""

from __future__ import annotations

__all__ = ["Evaluation", "evaluate"]

from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Node, Tensor, Value, no_grad
from chainrule.autograd.plain import describe, require_function

from ..averaging import Average, asked
from ..module import Module, in_use, require_module
from .data import Batch, Batches
from .measures import Metrics, Whole, by_name
from .metrics import Tally, plain

Loss: TypeAlias = Callable[[Any, Any], Any]
Data: TypeAlias = Iterable[Batch]

LISTS = tuple, list
IN_USE = 1024  # samples in a batch where nothing is learned, so that nothing depends on their number


class Evaluation(NamedTuple):
    """The average loss over a data set; accuracy and confusion matrix, None where nothing is classified; metrics by name."""

    loss: float
    accuracy: float | None
    confusion: NDArray[np.int64] | None
    metrics: dict[str, float]


def evaluate(model: Module, loss: Loss, data: Data, *, metrics: Metrics | None = None) -> Evaluation:
    """The model as it is in use: its average loss over data, its accuracy, and which class it takes for which.

    Layers behave as after `eval()`, and afterwards as before; nothing is recorded. `data` is what `fit` takes: Batches, a
    tuple of arrays (inputs..., target), cut into batches of 1024, or any iterable of batches.

    With a loss of the library the average is that of the whole set, however it is cut into batches: each tells over how many
    it is the mean (elements; of labels those that are not ignored), and one with reduction="sum" is summed. What a function
    makes of one weighs as much, so that holds for a multiple of it; what is made of a sum counts as a mean, and of a loss that
    is not linear in it, or has other parts, there is no such average: say by `averaged` over how many it is one. A loss
    without any of the library's counts the rows of the target. Accuracy and confusion matrix are those of what
    `cross_entropy` or `nll_loss` saw, None for other losses. A batch in which nothing counts is left out.

    `metrics` are names ("accuracy", "mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score", with
    scikit-learn's meaning), functions `(output, target)` that return a number, or a dict of these by other names. Each is
    given the outputs and targets of all batches at once, as arrays that are kept until then. Functions whose first parameter
    is called `y_true`, as scikit-learn's, get the target first.

    Raises `TypeError` for other data, `ValueError` where no batch is left or the loss is put together of means over different
    numbers, `RuntimeError` for a metric that fails.

    >>> import chainrule as cr
    >>> model = cr.nn.Linear(1, 1, rng=0)
    >>> model.weight.data, model.bias.data = [[2.0]], [0.0]
    >>> found = cr.nn.evaluate(model, cr.nn.mse_loss, ([[1.0], [2.0]], [[2.0], [5.0]]), metrics="mean_absolute_error")
    >>> found.loss, found.metrics
    (0.5, {'mean_absolute_error': 0.5})
    """
    require_module("evaluate", model)
    require_function("evaluate: loss", loss)
    tally = Tally(confusion=True)
    whole = Whole("evaluate", by_name("evaluate", metrics))
    total = average_loss(
        model, loss, batches_of("evaluate: data", data, batch_size=IN_USE, shuffle=False), tally, whole
    )
    return Evaluation(total, tally.accuracy, tally.confusion, whole.measured(tally.accuracy))


def average_loss(
    model: Module,
    loss: Loss,
    data: Data,
    tally: Tally,
    whole: Whole,
    between: Callable[[], object] = lambda: None,
) -> float:
    """The average over all that counts; tally and whole see it too. `between` is called before each batch."""
    average, ask, batches = Average(), asked(model, loss), 0
    with in_use(model), no_grad():
        for batch in data:
            between()
            batches += 1
            *inputs, target = parts_of(batch)
            prediction, result, said = ask(inputs, target)
            whole.add(prediction, target)
            if samples := said.samples:
                average.add(as_number(result), samples, said.make)
                tally.add(*[[None if x is None else plain(x)] for x in (said.scores, said.labels)])
    if not batches:
        raise no_batch(whole.where)
    if not average.samples:
        raise ValueError(f"{whole.where}: there is no batch with a sample that counts")
    return average.value


def no_batch(where: str) -> ValueError:
    return ValueError(f"{where}: there is no batch; data must give its batches anew each time it is iterated over")


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
    if not isinstance(batch, LISTS) or len(batch) < 2:
        raise TypeError(f"a batch must be a tuple (inputs..., target), got {describe(batch)}")
    return tuple(batch)


def holds_arrays(x: Any) -> bool:
    return isinstance(x, list | tuple) and any(isinstance(part, np.ndarray | Tensor) and part.ndim for part in x)


def as_number(x: Any) -> float:
    """One number, from a node or as it is."""
    return x.item() if isinstance(x, Value | Tensor) else float(x)
