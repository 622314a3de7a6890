"""What a loss is the mean of: losses say it, and `fit` and `evaluate` hear it, so that nothing is guessed from targets.

Whoever asks for a loss listens. Each loss that is computed meanwhile tells over how much it is the mean, also in a lambda, a
sum or a product, and as a plain number. So the average over batches of one of them, or of a multiple, is the loss of the
whole set; of what else a loss may be made, `averaged` has to say it.
"""

from __future__ import annotations

__all__ = ["NothingCountsError", "averaged"]

import math
from collections.abc import Callable, Mapping, Sequence, Sized
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias, TypeVar, final

from chainrule.autograd import Node
from chainrule.autograd.compiling.kinds import Wrapper
from chainrule.autograd.plain import describe
from chainrule.autograd.recording import recorder

Loss = TypeVar("Loss")

MEAN: tuple[float, ...] = ()
SUM, UNSAID = (-1.0,), (-2.0,)  # no ratios of numbers


class NothingCountsError(ValueError):
    """The mean over no samples: all are ignored, or there are none. `fit` and `evaluate` leave out such a batch.

    >>> import chainrule as cr
    >>> cr.nn.cross_entropy([[0.0, 0.0]], [-100])
    Traceback (most recent call last):
    chainrule.nn.averaging.NothingCountsError: cross_entropy: there are no samples to average over
    """


@final
class Averaged(NamedTuple):
    """A loss with what it is the mean of; where it classifies, also with the scores and the labels that it saw."""

    loss: Any
    samples: Any  # so many count; a node where a function is recorded
    scores: Any = None
    labels: Any = None
    make: tuple[float, ...] = MEAN  # or SUM, UNSAID; of several means: the others' numbers by the first's
    explicit: bool = False  # said by `averaged`


new = tuple.__new__  # quicker than the constructor, in every step of training
listener: ContextVar[list[Averaged] | None] = ContextVar("listener", default=None)
lenient: ContextVar[bool] = ContextVar("lenient", default=False)  # the mean over nothing is 0, and no error


def tell(loss: Loss, reduction: str, count: Any, scores: Any = None, labels: Any = None) -> Loss:
    """The loss, after whoever listens was told that it is the mean or the sum over so many."""
    heard = listener.get()
    if heard is not None and reduction != "none":
        make = SUM if reduction == "sum" else MEAN
        heard.append(new(Averaged, (loss, count, scores, labels, make, False)))
    return loss


def averaged(loss: Loss, samples: Any) -> Loss:
    """The same loss, said to be the mean over so many samples: so much does a batch weigh in `fit` and `evaluate`.

    The library's losses say it themselves, and what is made of them counts as a mean over the same. Any other counts as
    the mean over the rows of the target. `samples` is a number, or an array or variable of one; a batch with 0 is left out.
    Raises `ValueError` for a negative number.

    >>> import chainrule as cr, numpy as np
    >>> def loss(prediction, target):
    ...     known = np.isfinite(target)
    ...     error = cr.where(known, prediction - np.nan_to_num(target), 0.0)
    ...     return cr.nn.averaged(cr.sum(error**2) / max(known.sum(), 1), known.sum())
    >>> model = cr.nn.Linear(1, 1, rng=0)
    >>> model.weight.data, model.bias.data = [[2.0]], [0.0]
    >>> cr.nn.evaluate(model, loss, [([[1.0]], [[3.0]]), ([[1.0], [2.0]], [[np.nan], [np.nan]])]).loss
    1.0
    """
    if not isinstance(samples, Node) or recorder() is None:
        samples = number_of_samples(samples)
    heard = listener.get()
    if heard is not None:
        heard.append(Averaged(loss, samples, explicit=True))
    return loss


def number_of_samples(x: Any) -> float:
    try:
        number = float(x)
    except (TypeError, ValueError):
        raise TypeError(f"averaged: samples must be a number, got {describe(x)}") from None
    if not 0.0 <= number < math.inf:
        raise ValueError(f"averaged: samples must be a number that is not negative, got {number}")
    return number


def understood(loss: Any, heard: list[Averaged], target: Any) -> Averaged:
    """What a loss is the mean of, after all that was heard while it was computed."""
    own: Averaged | None = next((said for said in reversed(heard) if said.loss is loss), None)
    if own is not None and not own.explicit:
        return own
    if not heard:
        return Averaged(loss, rows_of(target), make=UNSAID)
    parts = heard if own is None else [own]
    if any(said.make == SUM for said in parts):  # that was divided, most likely by the length
        parts = [*parts, Averaged(loss, rows_of(target))]
    shares = tuple([ratio(said.samples, parts[0].samples) for said in parts[1:]])
    classified = [said for said in heard if said.scores is not None]
    scores, labels = (classified[0].scores, classified[0].labels) if len(classified) == 1 else (None, None)
    return Averaged(loss, parts[0].samples, scores, labels, shares)


Answer: TypeAlias = tuple[Any, Any, Averaged]
Asked: TypeAlias = Callable[[Sequence[Any], Any], Answer]


def asked(model: Callable[..., Any], loss: Callable[[Any, Any], Any]) -> Asked:
    """A function of a batch: what the model predicts, the loss of that, and what the loss is the mean of; None of nothing."""

    loss = loss.f if isinstance(loss, Wrapper) else loss  # compiled code says nothing

    def ask(inputs: Sequence[Any], target: Any) -> Answer:
        heard: list[Averaged] = []
        token = listener.set(heard)
        try:
            prediction = model(*inputs)
            try:
                result = loss(prediction, target)
            except NothingCountsError as error:
                if is_more(loss, prediction, target):
                    raise ValueError(f"{error}; but another part of the loss counts") from error
                return prediction, None, Averaged(None, 0)
        finally:
            listener.reset(token)
        if len(heard) == 1 and heard[0].loss is result:  # as nearly always
            return prediction, result, heard[0]
        return prediction, result, understood(result, heard, target)

    return ask


def is_more(loss: Callable[[Any, Any], Any], prediction: Any, target: Any) -> bool:
    """Whether a loss in which one of the library's is the mean over nothing has another of them that is not."""
    heard: list[Averaged] = []
    tokens = listener.set(heard), lenient.set(True)
    try:
        loss(prediction, target)
    except NothingCountsError:  # of one's own
        return False
    finally:
        listener.reset(tokens[0])
        lenient.reset(tokens[1])
    return any(said.samples for said in heard)


def ratio(a: float, b: float) -> float:
    return a / b if b else math.inf


def rows_of(target: Any) -> int:
    """The length of the first axis, of every array in a dict; a single number is one."""
    if isinstance(target, Mapping) and len(lengths := set(map(rows_of, target.values()))) == 1:
        return lengths.pop()
    if isinstance(target, Mapping) or (
        isinstance(target, list | tuple) and any(getattr(x, "shape", ()) for x in target)
    ):
        raise ValueError(
            f"the target is a {type(target).__name__} of arrays, of which the number of samples is not known: say over how many "
            "the loss is the mean, with nn.averaged"
        )
    if (shape := getattr(target, "shape", None)) is not None:
        return shape[0] if shape else 1
    return len(target) if isinstance(target, Sized) else 1


@final
class Average:
    """A loss over all batches that were added: what it is on them all at once."""

    __slots__ = ("make", "samples", "total")

    def __init__(self) -> None:
        self.total = self.samples = 0.0
        self.make: tuple[float, ...] | None = None

    def add(self, loss: float, samples: float, make: tuple[float, ...]) -> None:
        if self.make is None:
            self.make = make
        elif self.make != make:
            raise ValueError(
                "the loss is put together of means over different numbers of samples, in each batch others, or is not told of in "
                "every batch (as in compiled code), so that no average over the batches is the loss of the whole set: say over "
                "how many it is the mean, with nn.averaged"
            )
        self.samples += samples
        self.total += loss if make == SUM else samples * loss

    @property
    def value(self) -> float:
        return self.total if self.make == SUM else self.total / self.samples
