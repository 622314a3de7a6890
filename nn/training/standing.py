"""How training stands: what was measured so far, and what the best epoch left."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd.operators import plain
from chainrule.autograd.plain import describe

from ..module import Module, data_for, replace
from ..optim.optimizer import Optimizer
from .arguments import Arguments
from .history import History, Record, strays


@final
@dataclass(frozen=True, slots=True)
class Best:
    """What the best epoch left, to go back to."""

    weights: dict[str, Any]
    confusion: NDArray[np.int64] | None
    others: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        best = {"weights": self.weights, "confusion": self.confusion}
        return best | {"others": self.others} if self.others else best


@final
class Others:
    """The parameters that the optimizer moves and the model does not list, as those of a loss."""

    def __init__(self, model: Module, optimizer: Optimizer) -> None:
        listed = set(map(id, model.parameters()))
        self.parameters = [p for p in optimizer.parameters if id(p) not in listed]

    def state_dict(self) -> dict[str, Any]:
        return {str(i): np.array(plain(p)) for i, p in enumerate(self.parameters)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        if list(state) != [str(i) for i in range(len(self.parameters))]:
            raise ValueError(
                f"the optimizer moves {len(self.parameters)} parameters beside the model's, not {len(state)}"
            )
        new = [data_for(p, data, f"parameter {i}") for (i, data), p in zip(state.items(), self.parameters, strict=True)]
        replace(list(zip(self.parameters, new, strict=True)))


@final
class Standing:
    """The history, and what the best epoch left: both are in a checkpoint, under the name of "training"."""

    def __init__(self, given: Arguments) -> None:
        self.given = given
        self.history = History(monitor=given.criterion.monitor)
        self.best: Best | None = None
        self.others = Others(given.model, given.optimizer)

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
        if (best is None) != (self.given.early_stopping is None or history.best_epoch is None):
            raise ValueError("early_stopping was given there or is given here, but not both")
        if best is not None:
            shapes = {name: array.shape for name, array in self.given.model.state_dict().items()}
            if {name: np.shape(array) for name, array in best["weights"].items()} != shapes:
                raise ValueError("the best weights are those of another model")
            self.best = Best(best["weights"], best["confusion"], best.get("others", {}))
        history.stopped = None
        self.history = history

    def note(self, record: Record) -> None:
        """One more epoch, which may be the best so far."""
        self.history.records.append(record)
        best, criterion = self.history.best_epoch, self.given.criterion
        monitor = criterion.monitor
        if monitor not in record:
            raise ValueError(
                f"fit: early_stopping monitors {monitor!r}, which epoch {record['epoch']} did not measure: not in every "
                "batch is the loss made with cross_entropy or nll_loss"
            )
        if criterion.improves(record[monitor], on=math.nan if best is None else self.history[best - 1][monitor]):
            self.history.best_epoch = int(record["epoch"])
            if self.given.early_stopping is not None:
                self.best = Best(self.given.model.state_dict(), self.history.confusion, self.others.state_dict())

    def stop_if_patience_ends(self) -> None:
        best = self.history.best_epoch or 1  # as if the first epoch were, where none is: NaN is never the best
        if self.given.early_stopping and len(self.history) - best >= self.given.early_stopping.patience:
            self.history.stopped = "early stopping"

    def go_back_to_best(self) -> None:
        if self.best is not None:
            self.given.model.load_state_dict(self.best.weights)
            self.others.load_state_dict(self.best.others)
            self.history.confusion = self.best.confusion
