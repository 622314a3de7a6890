"""The four steps of training on one batch, forward, loss, backward and update, and one pass of them over the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, final

from chainrule.autograd import Node
from chainrule.autograd import compile as compiled

from ..averaging import Answer, Asked, Averaged, NothingCountsError, asked, new
from ..module import Module
from ..optim.clip import clip_grad_norm, clip_grad_value
from ..optim.elementwise import Elementwise
from .arguments import Arguments
from .compiled import Descent, along, arrays_of
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

    prediction: Any = None  # what the model said of it


def answered(model: Module, loss: Loss, predictions: bool) -> Callable[..., Any]:
    """The loss of a batch and all that is to be known of it, as a function that can be compiled."""
    ask = asked(model, loss)

    def forward(*batch: Any) -> Any:
        *inputs, target = batch
        prediction, result, said = ask(inputs, target)
        if result is None:
            error = LeftOut("fit: nothing counts in this batch")
            error.prediction = prediction
            raise error
        samples = said.samples if isinstance(said.samples, Node) else float(said.samples)
        seen = [] if said.scores is None else [said.scores]
        if seen and said.labels is not target:
            seen.append(said.labels)
        return result, samples, said.make, *seen, *[prediction] * predictions

    return forward


def understood(target: Any, result: Any, found: list[Any], predictions: bool) -> Answer:
    """The same as `asked` has it."""
    samples, make, *seen = found
    prediction = seen.pop() if predictions else None
    scores, labels = seen[0] if seen else None, seen[1] if len(seen) > 1 else target
    return prediction, result, new(Averaged, (result, float(raw(samples)), scores, labels, make, False))


def code_for(model: Module, loss: Loss, predictions: bool) -> Asked:
    """The loss, compiled, as a node whose graph somebody wants to see."""
    code = compiled(answered(model, loss, predictions))

    def on_arrays(inputs: Sequence[Any], target: Any) -> Answer:
        batch = arrays_of((*inputs, target))
        result, *found = code(*batch)
        return understood(batch[-1], result, found, predictions)

    return on_arrays


def descent_for(given: Arguments) -> Descent:
    """What is descended, compiled with its gradients."""
    forward, penalty, model = answered(given.model, given.loss, bool(given.metrics)), given.penalty, given.model

    def answer(*batch: Any) -> Any:
        loss, *found = forward(*batch)
        if penalty is None:
            require_descendable(loss)
            return loss, *found
        total, extra = penalized(loss, penalty(model))
        require_descendable(total)
        return total, loss, extra, *found

    samples = f"_said[{0 if penalty is None else 2}]"
    return Descent("fit", answer, given.optimizer, None, fit=f"_finite(_total) and {samples}")


def penalized(loss: Any, penalty: Any) -> tuple[Any, Any]:
    """The sum, and the penalty."""
    require_number("loss", loss)
    require_number("penalty", penalty)
    return loss + penalty, penalty


@final
class Epoch:
    """One pass over the data: what holds for all of its batches, and what was seen of them."""

    def __init__(
        self,
        number: int,
        given: Arguments,
        ask: Asked,
        descent: Descent | None,
        progress: Progress,
        interruption: Interruption,
        looked: bool,
    ) -> None:
        self.number, self.given, self.ask, self.interruption = number, given, ask, interruption
        self.descent = descent  # by which all batches go whose graph nobody looks at
        self.looked = looked  # whether it was looked at what the loss reaches
        self.whole, self.predicts = Whole("fit", given.metrics), bool(given.metrics)
        lasting = isinstance(given.data, Batches) and given.data.transform is None
        self.seen = Seen(number, progress, self.whole, lasting=lasting)
        self.parameters = given.optimizer.parameters
        self.along = descent is not None and isinstance(given.optimizer, Elementwise)
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

    __slots__ = ("batch", "done", "epoch", "has_moved", "prediction", "target", "total")

    def __init__(self, epoch: Epoch, batch: Batch) -> None:
        self.epoch, self.batch = epoch, parts_of(batch)
        self.done = epoch.seen.batches  # before this one
        self.target = self.batch[-1]
        self.prediction: Any = None
        self.total: Any = None
        self.has_moved = False

    def take(self) -> None:
        epoch = self.epoch
        buffers = [(array, array.copy()) for array in epoch.buffers] if epoch.buffers else ()
        try:
            if epoch.along and epoch.looked:
                self.objective()
                if not self.has_moved:
                    along(epoch.given.optimizer)()
            else:
                epoch.given.optimizer.step(self.objective)
        except BaseException as error:
            if isinstance(error, LeftOut):
                self.prediction = self.prediction if error.prediction is None else error.prediction
            elif isinstance(error, ValueError) and self.prediction is None:
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
        epoch, given = self.epoch, self.epoch.given
        for p in epoch.frozen:
            p._grad = None
        descent = epoch.descent if epoch.looked else None
        if descent is not None:
            loss, penalty, said = self.by_code(descent)
        else:
            loss, penalty, said = self.by_graph()
        if not self.done or epoch.parameters[0]._grad is None:
            epoch.look(self.total, self.batch)
        if given.clips or not self.done:
            require_finite_gradients(given.model, epoch.parameters)
        norm = epoch.clip() if given.clips else 0.0
        if self.is_first():
            epoch.seen.add(said, self.target, loss, penalty, norm, own=descent is not None)
            if epoch.predicts:
                epoch.whole.add(self.prediction, self.target)
        return self.total

    def by_graph(self) -> tuple[Any, Any, Averaged]:
        """The loss, the penalty, and what the loss is the mean of; with gradients from the graph."""
        epoch, given = self.epoch, self.epoch.given
        given.optimizer.zero_grad()
        self.prediction, loss, said = epoch.ask(self.batch[:-1], self.target)
        if not said.samples:
            raise LeftOut("fit: nothing counts in this batch")
        self.total, penalty = (loss, 0.0) if given.penalty is None else penalized(loss, given.penalty(given.model))
        require_descendable(self.total)
        if not math.isfinite(self.total._raw):
            raise not_finite("the loss", self.total.item(), epoch.parameters)
        self.total.backward()
        return loss, penalty, said

    def by_code(self, descent: Descent) -> tuple[Any, Any, Averaged]:
        """The same from compiled code."""
        epoch, given = self.epoch, self.epoch.given
        at_once = self.done and epoch.along and not given.clips  # nothing is to be looked at before the update
        total, found, reached, gradients = descent.start(self.batch) if at_once else descent(self.batch)
        loss, penalty = (total, 0.0) if given.penalty is None else (found.pop(0), found.pop(0))
        self.prediction, loss, said = understood(self.target, loss, found, epoch.predicts)
        if not said.samples:
            raise LeftOut("fit: nothing counts in this batch")
        if not math.isfinite(total):
            raise not_finite("the loss", float(total), epoch.parameters)
        if reached is None:
            self.has_moved = True
        else:
            reached.put(gradients)
        self.total = total
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
            return self.epoch.given.model(*self.batch[:-1])
        except Exception:
            return None
