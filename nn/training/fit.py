"""fit: epoch after epoch of training, and what is decided between them.

Forward, loss, backward and update stand in `Step` (`step.py`). Whatever decides what comes next, random generators included,
is in a `Checkpoint` (`resuming.py`).
"""

from __future__ import annotations

__all__ = ["fit"]

import math
import os
import time
import warnings
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import final

from chainrule.autograd.guards.settings import flag

from ..averaging import asked
from ..init import whole_number
from ..module import Module, modes_kept
from ..optim.optimizer import Optimizer
from ..optim.schedules import Schedule
from .arguments import Arguments, BatchCallback, Callback, Penalty
from .demands import out_of_fit
from .evaluation import IN_USE, Data, Loss, average_loss, batches_of
from .history import History, Record
from .interruption import Interrupted, Interruption
from .measures import Metrics, Whole, by_name
from .metrics import Tally
from .progress import Progress, progress_of
from .resuming import Checkpoint
from .standing import Standing
from .step import Epoch, code_for, descent_for
from .stopping import EarlyStopping, StopTraining

INTERRUPTED = "interrupted"


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

    What is averaged over batches is weighed as `evaluate` does it, and where that says so is the value of the whole set: by the number of
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
    - `compile` runs steps from code that is made for them, as `compiled_step` does; with `after_batch` model and loss alone: small
      networks train in two thirds of the time. Numbers are those without but for rounding, also where training goes on from a
      checkpoint. What cannot be compiled, such as a branch on a number, runs as it is, and a warning says why.

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
    given = Arguments(
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
    return Training(given, flag("fit: resume", resume)).run(flag("fit: progress", progress))


@final
class Training:
    """One call of `fit`, and how far it has come."""

    def __init__(self, given: Arguments, resume: bool) -> None:
        self.given = given
        self.standing = Standing(given)
        self.interruption = Interruption()
        self.warned = self.looked = False
        seen = given.compile and given.after_batch is not None  # its graph is
        self.ask = code_for(given.model, given.loss, bool(given.metrics)) if seen else asked(given.model, given.loss)
        self.descent = descent_for(given) if given.compile and not seen else None
        self.checkpoint = Checkpoint(given, self.standing)
        self.checkpoint.start(resume)

    @property
    def history(self) -> History:
        return self.standing.history

    def run(self, progress: bool) -> History:
        given = self.given
        batches = len(given.data) if isinstance(given.data, Sized) else None
        shown = progress_of(progress, len(self.history), given.epochs, batches)
        try:
            with modes_kept(given.model), self.interruption:
                self.standing.stop_if_patience_ends()
                while len(self.history) < given.epochs and self.history.stopped is None:
                    self.epoch(shown)
        finally:
            self.interruption.end()  # once more, if a second Ctrl-C came while the block was entered or left
            shown.close()
        self.standing.go_back_to_best()
        return self.history

    def epoch(self, shown: Progress) -> None:
        """Train, validate, note it, and decide what comes next."""
        given, history = self.given, self.history
        start = time.perf_counter()
        try:
            record = {"epoch": len(history) + 1, **self.train(shown), **self.validate()}
        except (Interrupted, StopTraining) as reason:
            history.stopped = INTERRUPTED if isinstance(reason, Interrupted) else "callback"
            history.confusion = None  # of weights that have moved since
            return
        record |= {"lr": given.optimizer.lr} if "lr" in given.optimizer.options else {}
        self.standing.note(record | {"seconds": time.perf_counter() - start})
        if given.schedule is not None:
            given.schedule.step(record.get("validation_loss", record["loss"]))
        self.call_back()
        self.checkpoint.save()
        shown.epoch(record)
        self.warn_once(record)
        self.standing.stop_if_patience_ends()
        if self.interruption.asked:
            history.stopped = INTERRUPTED

    def train(self, shown: Progress) -> Record:
        """One pass over the data."""
        epoch = Epoch(len(self.history) + 1, self.given, self.ask, self.descent, shown, self.interruption, self.looked)
        record = epoch.train()
        self.looked = epoch.looked
        return record

    def validate(self) -> Record:
        """The model in use, on the validation data."""
        given = self.given
        if given.validation is None:
            return {}
        epoch = len(self.history) + 1
        tally, whole = Tally(confusion=True), Whole(f"fit: validation, in epoch {epoch}", given.metrics)
        loss = average_loss(given.model, given.loss, given.validation, tally, whole, between=self.interruption.check)
        self.history.confusion = tally.confusion
        found = {"loss": loss} | ({} if tally.accuracy is None else {"accuracy": tally.accuracy})
        return {f"validation_{name}": x for name, x in (found | whole.measured(tally.accuracy)).items()}

    def warn_once(self, record: Record) -> None:
        loss = record.get("validation_loss", 0.0)
        if not (math.isfinite(loss) or self.warned):
            self.warned = True
            text = f"fit: the validation loss of epoch {record['epoch']} is {loss}, though the weights are finite"
            warnings.warn(text, RuntimeWarning, stacklevel=out_of_fit())

    def call_back(self) -> None:
        for callback in self.given.callbacks:
            try:
                callback(self.history, self.given.model)
            except StopTraining:
                self.history.stopped = "callback"
