"""fit: the four steps of training, batch after batch, and what every training needs around them.

Forward, loss, backward and update stand in `Training.step`. Whatever decides what comes next, random generators
included, is in `Training.parts`: a checkpoint of them, taken between two epochs, is where training can go on as if it
had never stopped.
"""

from __future__ import annotations

__all__ = ["fit"]

import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

import numpy as np

from chainrule.autograd import Node
from chainrule.autograd import compile as compiled
from chainrule.autograd.guards.settings import flag
from chainrule.autograd.optional.whole import check_path
from chainrule.autograd.plain import describe

from ..averaging import Answer, Asked, Averaged, NothingCountsError, asked
from ..init import whole_number
from ..module import Module, modes_kept
from ..optim.clip import clip_grad_norm, clip_grad_value
from ..optim.optimizer import Optimizer, number
from ..optim.schedules import ReduceLROnPlateau, Schedule
from ..storage.checkpoints import Stateful, load_checkpoint, save_checkpoint
from .data import Batch, Batches
from .demands import (
    is_not_finite,
    may_classify,
    not_finite,
    overflow,
    require_descendable,
    require_number,
    warn_of_leaves,
)
from .evaluation import IN_USE, Data, Loss, average_loss, batches_of, no_batch, parts_of
from .history import History, Record, strays
from .interruption import Interrupted, Interruption
from .measures import Metric, Metrics, Whole, by_name
from .metrics import Tally
from .progress import Seen, progress_of, raw
from .stopping import Best, EarlyStopping, Others, StopTraining

Callback: TypeAlias = Callable[[History, Module], object]
BatchCallback: TypeAlias = Callable[[Node], object]
Penalty: TypeAlias = Callable[[Module], Any]

INTERRUPTED = "interrupted"


class LeftOut(NothingCountsError):
    """The loss of a batch says that nothing counts in it."""


def fit(
    model: Module,
    loss: Loss,
    data: Data,
    optimizer: Optimizer,
    *,
    epochs: int,
    validation: Data | None = None,
    schedule: Schedule | None = None,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    early_stopping: int | EarlyStopping | None = None,
    penalty: Penalty | None = None,
    callbacks: Sequence[Callback] = (),
    after_batch: BatchCallback | None = None,
    metrics: Metrics | None = None,
    progress: bool = True,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    compile: bool = False,
) -> History:
    """Train the model: for each batch forward, loss, backward, update. Returns what was measured in each epoch.

    `data` gives in each epoch batches `(inputs..., target)`: Batches; a tuple of arrays, cut into shuffled batches of 32;
    or any iterable of batches that can be iterated over again. `loss(model(inputs...), target)` is one number; `penalty(model)`,
    such as `lambda model: 1e-4 * cr.nn.l2_penalty(model.parameters())`, is added to it. The optimizer updates the
    parameters it was given; gradients of the model's others are forgotten too.

    What is averaged over batches is weighed as `evaluate` does it, so that it is the value of the whole set: by the number of
    elements or labels that the library's losses are the mean of (one with reduction="sum" is summed), else by the rows of
    the target, or by what `averaged` says. A batch in which nothing counts, as where all labels are ignored, is left out.

    A record of the History has `epoch`, from 1; `loss`, the average over the samples as they were trained on, and
    `penalty`, which it does not include; `accuracy`, where the loss is made with `cross_entropy` or `nll_loss`, of the scores
    and labels that this saw; `validation_loss` and `validation_accuracy`, by `evaluate` on the `validation` data; each of
    `metrics`, over all predictions as they were trained on, and over the validation data as `validation_…`; `lr`;
    `gradient_norm`, the average before clipping, if `clip_norm` is given; and `seconds`, validation included. The best
    epoch is the one of least validation loss, else of least loss, or as `early_stopping` says. The first validation loss that
    is not finite is a `RuntimeWarning`.

    - `schedule.step()` follows each epoch; ReduceLROnPlateau is given the validation loss, else the loss.
    - `clip_norm` limits the norm of all gradients together, `clip_value` each element, before an update.
    - `early_stopping`, an EarlyStopping or its patience, ends training when the validation loss has not improved for that
      many epochs. However training ends, the model then has the weights (and buffers) of the best epoch. One of NaN is
      never the best; where all are, patience counts from the first, and the weights stay as they are.
    - Each of `callbacks` is called after each epoch with the History so far and the model; raising `StopTraining` ends
      training.
    - `after_batch` is called after each update with what was differentiated, the batch's loss and penalty; its graph and
      the parameters' gradients are still those of the step. Raising `StopTraining` ends training at once: the weights are
      those after that batch, and the epoch under way is not recorded, as after Ctrl-C.
    - `metrics` are names, functions `(output, target)` that return a number, or a dict of these by other names: see
      `evaluate`. Early stopping may watch them.
    - `progress` shows a bar; where tqdm is missing, a line on stderr for each epoch.
    - `checkpoint` is a file that after each epoch gets all that training needs to go on: model, optimizer, every schedule that
      was made for it, epoch, history, and the generators of the model and of Batches. With `resume` training goes on from
      that file, if it is there, up to `epochs` in all, and to the same bytes as without a break, given the same arguments.
      Without, a file that is there is an error. Data, a loss, a penalty, callbacks and metrics of your own have a part in this
      if they, or the objects whose methods they are, have `state_dict` and `load_state_dict`. What a function keeps
      elsewhere, as in its closure, cannot be seen.
    - `compile` runs model and loss from code that is made for them (`cr.compile`): small networks train up to a third
      faster. What that refuses, such as Dropout and BatchNorm1d, is a `TypeError`.

    Ctrl-C in the main thread ends training, or validation, after the batch under way: the model is whole, the History has
    the finished epochs and `.stopped == "interrupted"`. A second one raises `KeyboardInterrupt` at once. (A program with a
    SIGINT handler of its own keeps that.) While training, all layers behave as after `train()`, also those that were put
    in `eval()` before; afterwards as before.

    Raises `FloatingPointError` for a loss that is not finite: weights and buffers are then as they were before that batch;
    buffers also after any other error. So too for a gradient, looked at in every batch with `clip_norm` or `clip_value`,
    else for speed only in an epoch's first: in another one it spoils the weights, which is an error, and said so, as soon
    as a loss is not finite or the epoch ends. Raises `TypeError` and `ValueError` for arguments that do not go
    together, before anything is trained (but whether batches of your own allow an accuracy is known only after an epoch),
    and for a loss that is not one number or depends on none of the parameters.

    >>> import chainrule as cr
    >>> model = cr.nn.Linear(1, 1, rng=0)
    >>> batches = cr.nn.Batches([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]], batch_size=None)
    >>> optimizer = cr.nn.SGD(model.parameters(), lr=0.3)
    >>> history = cr.nn.fit(model, cr.nn.mse_loss, batches, optimizer, epochs=100, progress=False)
    >>> len(history), history[-1]["loss"] < 1e-6, round(model.weight.data.item(), 2)
    (100, True, 2.0)
    """
    training = Training(
        model=model,
        loss=loss,
        data=batches_of("fit: data", data, batch_size=32, shuffle=True),
        optimizer=optimizer,
        epochs=whole_number("fit: epochs", epochs, 0),
        validation=None
        if validation is None
        else batches_of("fit: validation", validation, batch_size=IN_USE, shuffle=False),
        schedule=schedule,
        clip_norm=clip_norm,
        clip_value=clip_value,
        early_stopping=early_stopping
        if early_stopping is None or isinstance(early_stopping, EarlyStopping)
        else EarlyStopping(early_stopping),
        penalty=penalty,
        callbacks=callbacks,
        after_batch=after_batch,
        metrics=by_name("fit", metrics),
        checkpoint=None if checkpoint is None else Path(checkpoint),
        compile=flag("fit: compile", compile),
    )
    training.start(flag("fit: resume", resume))
    return training.run(flag("fit: progress", progress))


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
@dataclass(kw_only=True)
class Training:
    """One call of `fit`: its arguments, and how far it has come."""

    model: Module
    loss: Loss
    data: Data
    optimizer: Optimizer
    epochs: int
    validation: Data | None
    schedule: Schedule | None
    clip_norm: float | None
    clip_value: float | None
    early_stopping: EarlyStopping | None
    penalty: Penalty | None
    callbacks: Sequence[Callback]
    after_batch: BatchCallback | None
    metrics: Mapping[str, Metric]
    checkpoint: Path | None
    compile: bool

    def __post_init__(self) -> None:
        for name, x, kind in (
            ("model", self.model, Module),
            ("optimizer", self.optimizer, Optimizer),
            ("schedule", self.schedule, Schedule | None),
            ("early_stopping", self.early_stopping, EarlyStopping | None),
        ):
            if not isinstance(x, kind):
                raise TypeError(f"fit: {name} is {describe(x)}, expected {getattr(kind, '__name__', kind)}")
        if not isinstance(self.callbacks, Iterable):
            raise TypeError(f"fit: callbacks must be a list of functions, got {describe(self.callbacks)}")
        self.callbacks = list(self.callbacks)
        for name, f in (
            ("loss", self.loss),
            ("penalty", self.penalty or abs),
            ("after_batch", self.after_batch or abs),
            *(("callback", f) for f in self.callbacks),
        ):
            if not callable(f):
                raise TypeError(f"fit: {name} is {describe(f)}, expected a function")
        for name, limit in ("clip_norm", self.clip_norm), ("clip_value", self.clip_value):
            if limit is not None and not number(f"fit: {name}", limit) > 0.0:
                raise ValueError(f"fit: {name} must be positive, got {limit}")
        default = EarlyStopping(1, monitor="loss" if self.validation is None else "validation_loss")
        self.criterion = self.early_stopping or default
        self.check_monitor(self.criterion.monitor)
        if self.schedule is not None and self.schedule.optimizer is not self.optimizer:
            raise ValueError("fit: schedule belongs to another optimizer")
        if isinstance(self.schedule, ReduceLROnPlateau) and self.schedule.mode != "min":
            raise ValueError("fit: schedule is given a loss after each epoch, so its mode must be 'min'")
        self.history = History(monitor=self.criterion.monitor)
        self.best: Best | None = None
        self.others = Others(self.model, self.optimizer)
        self.warned = self.looked = False
        self.interruption = Interruption()
        self.clips = self.clip_norm is not None or self.clip_value is not None
        ask = code_for(self.model, self.loss, bool(self.metrics)) if self.compile else asked(self.model, self.loss)
        self.ask = ask

    def check_monitor(self, monitor: str) -> None:
        """What early stopping watches must be there to watch."""
        there = ["loss", "seconds"] + ["lr"] * ("lr" in self.optimizer.options)
        there += ["penalty"] * (self.penalty is not None) + ["gradient_norm"] * (self.clip_norm is not None)
        there += ["validation_loss"] * (self.validation is not None)
        there += [*self.metrics] + [f"validation_{name}" for name in self.metrics] * (self.validation is not None)
        data = {"accuracy": self.data, "validation_accuracy": self.validation}.get(monitor)
        if monitor not in there and (data is None or not may_classify(self.model, self.loss, data)):
            raise ValueError(
                f"fit: early_stopping monitors {monitor!r}, which is not measured here; there is {', '.join(there)}"
                + (", but no validation data" if self.validation is None else "")
            )
        if self.criterion.mode is None and not monitor.endswith(
            ("accuracy", "loss", "error", "penalty", "norm", "lr", "seconds")
        ):
            raise ValueError(
                f"fit: early_stopping monitors {monitor!r}; say mode='max' or 'min', which of them is better"
            )

    # What a checkpoint holds

    def parts(self) -> dict[str, Any]:
        """Everything that decides what comes next."""
        others = [schedule for schedule in self.optimizer.schedules if schedule is not self.schedule]
        found = {**self.stateful(), "schedules": others} if others else self.stateful()
        return {
            "model": self.model,
            "generators": self.model.generators(),
            **found,
            "optimizer": self.optimizer,  # after the schedules, each of which sets the rate
            **({"others": self.others} if self.others.parameters else {}),
            "training": self,
        }

    def stateful(self) -> dict[str, Any]:
        """What was given that has a state of its own, also that of which a method was given."""
        given = {
            name: getattr(self, name) for name in ("schedule", "data", "validation", "loss", "penalty", "after_batch")
        }
        given |= {f"callback {i}": f for i, f in enumerate(self.callbacks)}
        given |= {f"metric {name}": f for name, f in self.metrics.items()}
        found: dict[str, Any] = {}
        for name, x in given.items():
            owner = x if isinstance(x, Stateful) else getattr(x, "__self__", None)
            if isinstance(owner, Stateful) and not isinstance(owner, type | Optimizer) and owner is not self.model:
                found[name] = owner
                if isinstance(owner, Module):
                    found[f"{name}, generators"] = owner.generators()
        return found

    def state_dict(self) -> dict[str, Any]:
        for record in self.history:
            for name in strays(record):
                raise TypeError(
                    f"fit: the record of epoch {record.get('epoch')} has {name!r}: {describe(record[name])}; a checkpoint "
                    "keeps only numbers, named by text. What is measured by a callback must be a number"
                )
        best = None if self.best is None else self.best.to_dict()
        return {"history": self.history.to_dict(), "best": best}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        history, best = History.from_dict(state["history"]), state["best"]
        if history.monitor != self.history.monitor:
            raise ValueError(f"best was by {history.monitor!r} there, and is by {self.history.monitor!r} here")
        if (best is None) != (self.early_stopping is None or history.best_epoch is None):
            raise ValueError("early_stopping was given there or is given here, but not both")
        if best is not None:
            shapes = {name: array.shape for name, array in self.model.state_dict().items()}
            if {name: np.shape(array) for name, array in best["weights"].items()} != shapes:
                raise ValueError("the best weights are those of another model")
            self.best = Best(best["weights"], best["confusion"], best.get("others", {}))
        history.stopped = None
        self.history = history

    def start(self, resume: bool) -> None:
        """Go back to the checkpoint, if there is one and that is wanted."""
        path = self.checkpoint
        if path is None:
            if resume:
                raise ValueError("fit: resume=True needs checkpoint=, the file to go on from")
            return
        check_path(path, ".npz")
        if path.exists():
            if not resume:
                raise FileExistsError(f"fit: {path} is there already: go on from it with resume=True, or delete it")
            load_checkpoint(path, **self.parts())
        elif not path.parent.is_dir():
            raise FileNotFoundError(f"fit: there is no folder {path.parent} for the checkpoint")

    # Epochs

    def run(self, progress: bool) -> History:
        batches = len(self.data) if isinstance(self.data, Sized) else None
        self.progress = progress_of(progress, len(self.history), self.epochs, batches)
        try:
            with modes_kept(self.model), self.interruption:
                self.stop_if_patience_ends()
                while len(self.history) < self.epochs and self.history.stopped is None:
                    self.epoch()
        finally:
            self.interruption.end()  # once more, if a second Ctrl-C came while the block was entered or left
            self.progress.close()
        if self.best is not None:
            self.model.load_state_dict(self.best.weights)
            self.others.load_state_dict(self.best.others)
            self.history.confusion = self.best.confusion
        return self.history

    def epoch(self) -> None:
        """Train, validate, note it, and decide what comes next."""
        start = time.perf_counter()
        try:
            record = {"epoch": len(self.history) + 1, **self.train(), **self.validate()}
        except (Interrupted, StopTraining) as reason:
            self.history.stopped = INTERRUPTED if isinstance(reason, Interrupted) else "callback"
            self.history.confusion = None  # of weights that have moved since
            return
        record |= {"lr": self.optimizer.lr} if "lr" in self.optimizer.options else {}
        self.history.records.append(record | {"seconds": time.perf_counter() - start})
        self.note_best()
        if self.schedule is not None:
            self.schedule.step(record.get("validation_loss", record["loss"]))
        self.call_back()
        if self.checkpoint is not None:
            save_checkpoint(self.checkpoint, **self.parts())
        self.progress.epoch(record)
        self.warn_once(record)
        self.stop_if_patience_ends()
        if self.interruption.asked:
            self.history.stopped = INTERRUPTED

    def train(self) -> Record:
        """One pass over the data."""
        whole = Whole("fit", self.metrics)
        lasting = isinstance(self.data, Batches) and self.data.transform is None
        seen = Seen(len(self.history) + 1, self.progress, whole, lasting=lasting)
        self.parameters = self.optimizer.parameters
        moved = set(map(id, self.parameters))
        self.frozen = [p for p in self.model.parameters() if id(p) not in moved]
        self.buffers = [array for _, array in self.model.named_buffers()]
        self.model.train()
        for batch in self.data:
            self.interruption.check()
            self.step(batch, seen)
        seen.look()
        self.require_finite_weights(f"epoch {seen.epoch}, after its last batch")
        if not seen.batches:
            raise no_batch(f"fit: data, in epoch {seen.epoch}")
        if not seen.loss.samples:
            raise ValueError("fit: data gave no samples that count")
        record = seen.averages() | whole.measured(seen.tally.accuracy)
        for name, wanted in ("penalty", self.penalty), ("gradient_norm", self.clip_norm):
            if wanted is None:
                del record[name]
        return record

    def validate(self) -> Record:
        """The model in use, on the validation data."""
        if self.validation is None:
            return {}
        epoch = len(self.history) + 1
        tally, whole = Tally(confusion=True), Whole(f"fit: validation, in epoch {epoch}", self.metrics)
        loss = average_loss(self.model, self.loss, self.validation, tally, whole, between=self.interruption.check)
        self.history.confusion = tally.confusion
        found = {"loss": loss} | ({} if tally.accuracy is None else {"accuracy": tally.accuracy})
        return {f"validation_{name}": x for name, x in (found | whole.measured(tally.accuracy)).items()}

    def step(self, batch: Batch, seen: Seen) -> None:
        """Forward, loss, backward, update. A network may be so small that all else here counts: it is looked at later."""
        done = seen.batches
        *inputs, target = parts_of(batch)
        prediction: Any = None
        total: Any = None

        def objective() -> Any:
            nonlocal prediction, total
            self.optimizer.zero_grad()
            for p in self.frozen:
                p.grad = None
            prediction, loss, said = self.ask(inputs, target)
            if not said.samples:
                raise LeftOut("fit: nothing counts in this batch")
            total = loss
            penalty: Any = 0.0
            if self.penalty is not None:
                penalty = self.penalty(self.model)
                require_number("loss", loss)
                require_number("penalty", penalty)
                total = loss + penalty
            require_descendable(total)
            if not math.isfinite(total._raw):
                raise not_finite("the loss", total.item(), self.parameters)
            total.backward()
            if not done:
                self.require_gradients()
                if not self.looked:
                    self.looked = True
                    warn_of_leaves(total, self.model, self.parameters, batch)
            if self.clips or not done:
                self.require_finite_gradients()
            norm = self.clip() if self.clips else 0.0
            if seen.batches == done:  # the first evaluation: a line search makes several
                seen.add(said, target, loss, penalty, norm)
                seen.whole.add(prediction, target)
            return total

        buffers = [(array, array.copy()) for array in self.buffers] if self.buffers else ()
        try:
            self.optimizer.step(objective)
        except BaseException as error:
            if isinstance(error, ValueError) and prediction is None:
                prediction = self.predicted(inputs)  # what is wrong with the batch shows in this
            for array, before in buffers:
                array[...] = before
            if not isinstance(error, ValueError | FloatingPointError):
                raise
            if seen.batches == done and isinstance(error, LeftOut):
                seen.whole.add(prediction, target)
                seen.skip()
            elif isinstance(error, FloatingPointError) or is_not_finite(prediction):
                if done:
                    self.require_finite_weights(f"epoch {seen.epoch}, batch {done + 1}")
                raise FloatingPointError(f"fit: epoch {seen.epoch}, batch {done + 1}: {error}") from error
            else:
                raise
        else:
            if self.after_batch is not None:
                with self.interruption.between_batches():
                    self.after_batch(total)

    def predicted(self, inputs: Sequence[Any]) -> Any:
        """After an error, in the model or behind it."""
        try:
            return self.model(*inputs)
        except Exception:
            return None

    def require_gradients(self) -> None:
        if all(p.grad is None for p in self.parameters):
            raise ValueError("fit: the loss depends on none of the parameters that the optimizer was given")

    def require_finite_gradients(self) -> None:
        """Before every update this would cost a small network a twentieth of its time; see `require_finite_weights`."""
        if name := self.first_not_finite([p.grad for p in self.parameters]):
            raise not_finite(f"the gradient of {name}", "not finite, though the loss is", self.parameters)

    def require_finite_weights(self, where: str) -> None:
        """A gradient or an update that was not finite leaves weights that are not, and those a loss that is not."""
        if name := self.first_not_finite(self.parameters):
            raise FloatingPointError(
                f"fit: {where}: {name} is not finite any more: an earlier gradient was not, or the update made of it, and it "
                "went ahead. With clip_norm= or clip_value= each gradient is looked at before its update, and a lower learning "
                f"rate makes updates smaller{overflow(self.parameters)}"
            )

    def first_not_finite(self, found: Sequence[Any]) -> str | None:
        """Which parameter the first of these, one for each parameter, belongs to."""
        wrong = next((p for p, x in zip(self.parameters, found, strict=True) if is_not_finite(x)), None)
        if wrong is None:
            return None
        names = {id(p): name for name, p in self.model.named_parameters()}
        return repr(names[id(wrong)]) if id(wrong) in names else "a parameter outside the model"

    def clip(self) -> float:
        """Limit the gradients; their norm before that, or 0 where only elements are limited."""
        norm = 0.0
        if self.clip_norm is not None:
            norm = clip_grad_norm(self.parameters, self.clip_norm)
            if not math.isfinite(norm):
                raise not_finite("the norm of the gradients", norm, self.parameters)
        if self.clip_value is not None:
            clip_grad_value(self.parameters, self.clip_value)
        return norm

    # Decisions

    def note_best(self) -> None:
        record, best = self.history[-1], self.history.best_epoch
        monitor = self.criterion.monitor
        if monitor not in record:
            raise ValueError(
                f"fit: early_stopping monitors {monitor!r}, which epoch {record['epoch']} did not measure: not in every "
                "batch is the loss made with cross_entropy or nll_loss"
            )
        if self.criterion.improves(record[monitor], on=math.nan if best is None else self.history[best - 1][monitor]):
            self.history.best_epoch = record["epoch"]
            if self.early_stopping is not None:
                self.best = Best(self.model.state_dict(), self.history.confusion, self.others.state_dict())

    def stop_if_patience_ends(self) -> None:
        best = self.history.best_epoch or 1  # as if the first epoch were, where none is: NaN is never the best
        if self.early_stopping and len(self.history) - best >= self.early_stopping.patience:
            self.history.stopped = "early stopping"

    def warn_once(self, record: Record) -> None:
        loss = record.get("validation_loss", 0.0)
        if not (math.isfinite(loss) or self.warned):
            self.warned = True
            text = f"fit: the validation loss of epoch {record['epoch']} is {loss}, though the weights are finite"
            warnings.warn(text, RuntimeWarning, stacklevel=5)

    def call_back(self) -> None:
        for callback in self.callbacks:
            try:
                callback(self.history, self.model)
            except StopTraining:
                self.history.stopped = "callback"
