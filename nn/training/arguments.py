"""What `fit` is given, checked before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, final

from chainrule.autograd import Node
from chainrule.autograd.plain import describe

from ..module import Module
from ..optim.optimizer import Optimizer, number
from ..optim.schedules import ReduceLROnPlateau, Schedule
from .demands import may_classify
from .evaluation import Data, Loss
from .history import History
from .measures import Metric
from .stopping import EarlyStopping

Callback: TypeAlias = Callable[[History, Module], object]
BatchCallback: TypeAlias = Callable[[Node], object]
Penalty: TypeAlias = Callable[[Module], Any]


@final
@dataclass(kw_only=True)
class Arguments:
    """The arguments of one call of `fit`, which go together: what is wrong with one is an error that names it."""

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
        self.clips = self.clip_norm is not None or self.clip_value is not None
        self.check_monitor(self.criterion.monitor)
        if self.schedule is not None and self.schedule.optimizer is not self.optimizer:
            raise ValueError("fit: schedule belongs to another optimizer")
        if isinstance(self.schedule, ReduceLROnPlateau) and self.schedule.mode != "min":
            raise ValueError("fit: schedule is given a loss after each epoch, so its mode must be 'min'")

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
