"""Measures: what is computed of the outputs and targets of a whole data set at once, by name or by a function of one's own."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Node
from chainrule.autograd.plain import describe

from .data import read_only
from .metrics import accuracy, plain

Metric: TypeAlias = Callable[[Any, Any], Any]
Metrics: TypeAlias = str | Metric | Iterable[str | Metric] | Mapping[str, str | Metric]

RESERVED = ("epoch", "loss", "penalty", "lr", "gradient_norm", "seconds")


def mean_absolute_error(output: Any, target: Any) -> float:
    output, target = paired("mean_absolute_error", output, target)
    return float(np.mean(np.abs(output - target)))


def mean_squared_error(output: Any, target: Any) -> float:
    output, target = paired("mean_squared_error", output, target)
    return float(np.mean(np.square(output - target)))


def root_mean_squared_error(output: Any, target: Any) -> float:
    """Of several columns the average of their roots, as scikit-learn has it."""
    output, target = paired("root_mean_squared_error", output, target)
    return float(np.mean(np.sqrt(np.mean(np.square(output - target), axis=0))))


def r2_score(output: Any, target: Any) -> float:
    """The share of the target's variance that is explained; of several columns the average. NaN of a single sample.

    As scikit-learn has it: of a column that does not vary it is 1 where every output is right, else 0.
    """
    output, target = paired("r2_score", output, target)
    if len(target) < 2:
        return math.nan
    missed = np.sum(np.square(target - output), axis=0)
    there = np.sum(np.square(target - np.mean(target, axis=0)), axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.mean(np.where(there == 0.0, missed == 0.0, 1.0 - missed / there)))


def paired(name: str, output: Any, target: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    """Both in double precision, and of one shape: broadcasting would compare pairs that nobody meant."""
    output, target = np.asarray(output, dtype=float), np.asarray(target, dtype=float)
    if output.shape != target.shape:
        raise ValueError(
            f"{name}: outputs of shape {output.shape} and targets of shape {target.shape}; reshape one to match the other"
        )
    return output, target


def of_labels(output: Any, target: Any) -> float:
    """The accuracy where it goes by name: of what the loss saw, if that classifies, else of outputs and targets."""
    return accuracy(output, target)


NAMED: dict[str, Metric] = {
    "accuracy": of_labels,
    **{f.__name__: f for f in (mean_absolute_error, mean_squared_error, root_mean_squared_error, r2_score)},
}


def by_name(where: str, metrics: Metrics | None) -> dict[str, Metric]:
    """The functions under the names that they are recorded by, or an error that says what is wrong with one."""
    if metrics is not None and not isinstance(metrics, str | Iterable) and not callable(metrics):
        raise TypeError(
            f"{where}: metrics must be names or functions, one, a list or a dict of them, got {describe(metrics)}"
        )
    if isinstance(metrics, Mapping):
        given = list(metrics.items())
    else:
        listed = [metrics] if isinstance(metrics, str) or callable(metrics) else list(metrics or ())
        given = [(x if isinstance(x, str) else getattr(x, "__name__", "<unnamed>"), x) for x in listed]
    found: dict[str, Metric] = {}
    for name, x in given:
        if isinstance(x, str) and x not in NAMED:
            raise ValueError(
                f"{where}: no metric is called {x!r}; there are {', '.join(NAMED)}, and functions of your own"
            )
        f = NAMED[x] if isinstance(x, str) else x
        if not callable(f):
            raise TypeError(f"{where}: a metric is {describe(f)}, expected a function (output, target) or a name")
        if not isinstance(name, str) or name.startswith("<"):
            raise ValueError(f"{where}: a metric has no name; give a dict of functions by name: {{'my_metric': …}}")
        if name in found or name in RESERVED or name.startswith("validation_"):
            taken = "given twice" if name in found else "the name of something else that is recorded"
            raise ValueError(
                f"{where}: {name!r} is {taken}; give a dict of functions by other names: {{'my_metric': …}}"
            )
        found[name] = f
    return found


def has_target_first(f: Metric) -> bool:
    """Whether it is a function of (target, output), as scikit-learn's are, which say so by a name."""
    try:
        return next(iter(inspect.signature(f).parameters), None) == "y_true"
    except (TypeError, ValueError):
        return False


@final
class Whole:
    """The outputs and targets of all batches, as copies, and what metrics make of them together."""

    def __init__(self, where: str, metrics: Mapping[str, Metric]) -> None:
        self.where, self.metrics = where, metrics
        self.outputs: list[NDArray[Any]] = []
        self.targets: list[NDArray[Any]] = []

    def add(self, output: Any, target: Any) -> None:
        if self.metrics:
            self.outputs.append(rows(output))
            self.targets.append(rows(target))

    def measured(self, seen: float | None) -> dict[str, float]:
        """What each metric says; `seen` is the accuracy of what the loss saw, which knows what it ignored."""
        if not self.metrics:
            return {}
        output, target = self.joined("outputs", self.outputs), self.joined("targets", self.targets)
        return {
            name: seen if f is of_labels and seen is not None else self.one(name, f, output, target)
            for name, f in self.metrics.items()
        }

    def joined(self, what: str, parts: list[NDArray[Any]]) -> NDArray[Any]:
        try:
            whole: NDArray[Any] = read_only(np.concatenate(parts))
            return whole
        except ValueError as error:
            raise ValueError(f"{self.where}: metrics need the {what} of all batches in one array: {error}") from None

    def one(self, name: str, f: Metric, output: NDArray[Any], target: NDArray[Any]) -> float:
        try:
            x = f(target, output) if has_target_first(f) else f(output, target)
        except Exception as error:
            raise RuntimeError(f"{self.where}: metric {name!r} failed: {error}") from error
        x = plain(x) if isinstance(x, Node | np.ndarray) else x
        if isinstance(x, np.ndarray) and x.ndim == 0:
            x = x[()]
        if not isinstance(x, int | float | np.integer | np.floating | np.bool):
            raise TypeError(f"{self.where}: metric {name!r} must return a number, got {describe(x)}")
        return float(x)


def rows(x: Any) -> NDArray[Any]:
    """A copy of plain data with an axis of samples."""
    if isinstance(x, Mapping) or (isinstance(x, list | tuple) and any(np.ndim(plain(part)) for part in x)):
        raise TypeError(
            f"metrics need outputs and targets that are one array each, got a {type(x).__name__} of several"
        )
    return np.array(plain(x), ndmin=1)
