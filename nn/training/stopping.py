"""When training ends: early stopping, the weights of the best epoch, and how a callback asks for it."""

from __future__ import annotations

__all__ = ["EarlyStopping", "StopTraining"]

import math
from dataclasses import dataclass
from typing import Literal, final

from ..init import whole_number


class StopTraining(Exception):
    """Raised by a callback of `fit` to end training after this epoch, or by `after_batch`, after this batch."""


@final
@dataclass(frozen=True, slots=True)
class EarlyStopping:
    """End training when `patience` epochs in a row have not been the best so far, and go back to the best weights.

    `monitor` is one of the measurements in a History. To be best, one must be better by more than `min_delta`; `mode`
    says what better is, "min" or "max": by default "max" for an accuracy, else "min".
    Raises `ValueError` for a patience below 1, a negative `min_delta`, another mode.

    >>> import chainrule as cr
    >>> cr.nn.EarlyStopping(5, monitor="validation_accuracy").improves(0.9, on=0.8)
    True
    """

    patience: int
    min_delta: float = 0.0
    monitor: str = "validation_loss"
    mode: Literal["min", "max"] | None = None

    def __post_init__(self) -> None:
        whole_number("EarlyStopping: patience", self.patience, 1)
        if not self.min_delta >= 0.0:
            raise ValueError(f"EarlyStopping: min_delta must not be negative, got {self.min_delta}")
        if self.mode not in ("min", "max", None):
            raise ValueError(f"EarlyStopping: mode must be 'min', 'max' or None, got {self.mode!r}")

    def improves(self, new: float, on: float) -> bool:
        """Whether `new` is better by more than `min_delta`; NaN never is, and any number, infinite or not, is better than NaN."""
        if math.isnan(on):
            return not math.isnan(new)
        rises = self.mode == "max" or (self.mode is None and self.monitor.endswith("accuracy"))
        return (float(new) - float(on)) * (1.0 if rises else -1.0) > self.min_delta
