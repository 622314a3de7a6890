"""The four steps of training on one batch, forward, loss, backward and update, and one pass of them over the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, final

import numpy as np

from chainrule.autograd import Node
from chainrule.autograd import compile as compiled

from ..averaging import Answer, Asked, Averaged, NothingCountsError, asked
from ..module import Module
from ..optim.clip import clip_grad_norm, clip_grad_value
from .arguments import Arguments
from .data import Batch, Batches
from .demands import (
    is_not_finite,
    not_finite,
    require_descendable,
    require_finite_gradients,
    require_finite_weights,
    require_gradients,
    require_number,
    warn_of_leaves,
)
from .evaluation import Loss, no_batch, parts_of
from .history import Record
from .interruption import Interruption
from .measures import Whole
from .progress import Progress, Seen, raw


class LeftOut(NothingCountsError):
    """The loss of a batch says that nothing counts in it."""


def code_for(model: Module, loss: Loss, predictions: bool) -> Asked:
    """What is differentiated in training, compiled: the numbers and arrays of the answer are results of the code."""
    ask = asked(model, loss)

    def forward(inputs: Sequence[Any], target: Any) -> Any:
        prediction, result, said = ask(inputs, target)
        if result is None:
            raise LeftOut("fit: nothing counts in this batch")
        samples = said.samples if isinstance(said.samples, Node) else float(said.samples)
        seen = [] if said.scores is None else [said.scores]
        if seen and said.labels is not target:
            seen.append(said.labels)
        return result, samples, said.make, *seen, *[prediction] * predictions

    code = compiled(forward)

    def on_arrays(inputs: Sequence[Any], target: Any) -> Answer:
        target = listed_as_array(target)
        result, samples, make, *found = code([listed_as_array(x) for x in inputs], target)
        prediction = found.pop() if predictions else None
        scores = found.pop(0) if found else None
        said = Averaged(result, float(raw(samples)), scores, found[0] if found else target, make)
        return prediction, result, said

    return on_arrays


def listed_as_array(x: Any) -> Any:
    return np.asarray(x) if isinstance(x, list | tuple) else x


@final
class Epoch:
    """One pass over the data: what holds for all of its batches, and what was seen of them."""

    def __init__(
        self, number: int, given: Arguments, ask: Asked, progress: Progress, interruption: Interruption, looked: bool
    ) -> None:
        self.number, self.given, self.ask, self.interruption = number, given, ask, interruption
        self.looked = looked  # whether it was looked at what the loss reaches
        self.whole = Whole("fit", given.metrics)
        lasting = isinstance(given.data, Batches) and given.data.transform is None
        self.seen = Seen(number, progress, self.whole, lasting=lasting)
        self.parameters = given.optimizer.parameters
        moved = set(map(id, self.parameters))
        self.frozen = [p for p in given.model.parameters() if id(p) not in moved]
        self.buffers = [array for _, array in given.model.named_buffers()]

    def train(self) -> Record:
        given, seen = self.given, self.seen
        given.model.train()
        for batch in given.data:
            self.interruption.check()
            Step(self, batch).take()
        seen.look()
        require_finite_weights(given.model, self.parameters, f"epoch {self.number}, after its last batch")
        if not seen.batches:
            raise no_batch(f"fit: data, in epoch {self.number}")
        if not seen.loss.samples:
            raise ValueError("fit: data gave no samples that count")
        record = seen.averages() | self.whole.measured(seen.tally.accuracy)
        for name, wanted in ("penalty", given.penalty), ("gradient_norm", given.clip_norm):
            if wanted is None:
                del record[name]
        return record

    def look(self, total: Node, batch: Batch) -> None:
        """After the first backward: what the loss reaches, and what it does not."""
        require_gradients(self.parameters)
        if not self.looked:
            self.looked = True
            warn_of_leaves(total, self.given.model, self.parameters, batch)

    def clip(self) -> float:
        """Limit the gradients; their norm before that, or 0 where only elements are limited."""
        norm = 0.0
        if self.given.clip_norm is not None:
            norm = clip_grad_norm(self.parameters, self.given.clip_norm)
            if not math.isfinite(norm):
                raise not_finite("the norm of the gradients", norm, self.parameters)
        if self.given.clip_value is not None:
            clip_grad_value(self.parameters, self.given.clip_value)
        return norm


@final
class Step:
    """One batch. A network may be so small that all beside the four steps counts: it is looked at later."""

    __slots__ = ("batch", "done", "epoch", "inputs", "prediction", "target", "total")

    def __init__(self, epoch: Epoch, batch: Batch) -> None:
        self.epoch, self.batch = epoch, batch
        self.done = epoch.seen.batches  # before this one
        *self.inputs, self.target = parts_of(batch)
        self.prediction: Any = None
        self.total: Any = None

    def take(self) -> None:
        epoch = self.epoch
        buffers = [(array, array.copy()) for array in epoch.buffers] if epoch.buffers else ()
        try:
            epoch.given.optimizer.step(self.objective)
        except BaseException as error:
            if isinstance(error, ValueError) and self.prediction is None:
                self.prediction = self.predicted()  # what is wrong with the batch shows in this
            for array, before in buffers:
                array[...] = before
            if self.is_first() and isinstance(error, LeftOut):
                epoch.whole.add(self.prediction, self.target)
                epoch.seen.skip()
                return
            if self.is_numeric(error):
                raise self.blamed(error) from error  # by no name here, through which it would hold itself
            raise
        if epoch.given.after_batch is not None:
            with epoch.interruption.between_batches():
                epoch.given.after_batch(self.total)

    def objective(self) -> Any:
        """What is descended, with all gradients in place. A line search asks for it several times."""
        epoch = self.epoch
        loss, penalty, said = self.forward()
        total = self.total
        require_descendable(total)
        if not math.isfinite(total._raw):
            raise not_finite("the loss", total.item(), epoch.parameters)
        total.backward()
        if not self.done:
            epoch.look(total, self.batch)
        if epoch.given.clips or not self.done:
            require_finite_gradients(epoch.given.model, epoch.parameters)
        norm = epoch.clip() if epoch.given.clips else 0.0
        if self.is_first():
            epoch.seen.add(said, self.target, loss, penalty, norm)
            epoch.whole.add(self.prediction, self.target)
        return total

    def forward(self) -> tuple[Any, Any, Averaged]:
        """The loss, the penalty, and what the loss is the mean of. All gradients are forgotten."""
        epoch, given = self.epoch, self.epoch.given
        given.optimizer.zero_grad()
        for p in epoch.frozen:
            p._grad = None
        self.prediction, loss, said = epoch.ask(self.inputs, self.target)
        if not said.samples:
            raise LeftOut("fit: nothing counts in this batch")
        self.total = loss
        if given.penalty is None:
            return loss, 0.0, said
        penalty = given.penalty(given.model)
        require_number("loss", loss)
        require_number("penalty", penalty)
        self.total = loss + penalty
        return loss, penalty, said

    def is_first(self) -> bool:
        """Whether this batch was not yet seen: what counts is what the weights were before it."""
        return self.epoch.seen.batches == self.done

    def is_numeric(self, error: BaseException) -> bool:
        """Whether numbers that are not finite are behind an error."""
        return isinstance(error, FloatingPointError) or (
            isinstance(error, ValueError) and is_not_finite(self.prediction)
        )

    def blamed(self, error: BaseException) -> FloatingPointError:
        """What such an error is to say."""
        where = f"epoch {self.epoch.number}, batch {self.done + 1}"
        if self.done:
            require_finite_weights(self.epoch.given.model, self.epoch.parameters, where)
        return FloatingPointError(f"fit: {where}: {error}")

    def predicted(self) -> Any:
        """After an error, in the model or behind it."""
        try:
            return self.epoch.given.model(*self.inputs)
        except Exception:
            return None
