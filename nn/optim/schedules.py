"""Schedules: the learning rate of an optimizer as a function of the epoch, with PyTorch's names and values.

A schedule is a pure function of the base rate and the epoch, so it has nothing to remember but the epoch, and it owns
the rate: what was set by hand is overwritten at the next step. `ReduceLROnPlateau` alone looks at what happened. A state
has the rates too, as they were: several schedules may have a hand in them.
"""

from __future__ import annotations

__all__ = ["CosineAnnealingLR", "ExponentialLR", "LinearLR", "ReduceLROnPlateau", "Schedule", "SequentialLR", "StepLR"]

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import repeat
from numbers import Real
from operator import setitem
from typing import Any, Literal, final
from weakref import ref

from ..module import at_once
from .optimizer import Optimizer, check_keys, count, in_order, not_negative, number, one_number, positive


class Schedule(ABC):
    """The base of all schedules: call `step()` after each epoch (or each batch, if that is what epochs count).

    Every group of the optimizer follows from its own base rate: the rate that it had when its first schedule was made.

    >>> import chainrule as cr
    >>> optimizer = cr.nn.SGD([cr.Value(1.0)], lr=0.1)
    >>> schedule = cr.nn.StepLR(optimizer, step_size=2)
    >>> for epoch in range(4):
    ...     print(round(optimizer.lr, 6))
    ...     schedule.step()
    0.1
    0.1
    0.01
    0.01
    """

    def __init__(self, optimizer: Optimizer) -> None:
        owner = type(self).__name__
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{owner}: expected an optimizer, got {optimizer!r}")
        if "lr" not in optimizer.options:
            raise TypeError(f"{owner}: {type(optimizer).__name__} has no learning rate")
        self.optimizer = optimizer
        self.epoch = 0
        self.base_lrs: list[float] = []
        self.announce()

    def announce(self) -> None:
        """Let the optimizer know of this schedule, whoever steps it: a checkpoint of training has its state."""
        alive = [reference for reference in self.optimizer.announced if reference() is not None]
        self.optimizer.announced = [*alive, ref(self)]

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        vars(self).update(state)
        self.announce()

    @abstractmethod
    def step(self, metric: Any = None) -> None:
        """Go on to the next epoch and set its learning rates; `metric` is what `ReduceLROnPlateau` watches."""

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule stands, and the rates by now. Its options are not part of it: make it with the same ones."""
        lrs = [not_negative(f"{type(self).__name__}: lr", group["lr"]) for group in self.optimizer.param_groups]
        return {"schedule": type(self).__name__, "epoch": self.epoch, "lrs": lrs, **self.memory()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Stand where a `state_dict` of the same kind of schedule says, or raise an error and change nothing.

        The rates are those that were saved, whoever set them: so it is no matter in which order the states of an optimizer
        and of its schedules are loaded. Interrupted, it has taken over all or nothing.
        """
        name = type(self).__name__
        check_keys("load_state_dict", state, ("schedule", "epoch", "lrs", *self.memory()))
        if state["schedule"] != name:
            raise ValueError(f"load_state_dict: this is the state of {state['schedule']!r}, expected {name!r}")
        memory = {"epoch": count("load_state_dict: 'epoch'", state["epoch"]), **self.checked_memory(state)}
        groups = self.optimizer.param_groups
        lrs = rates_in(state, "lrs")
        if len(lrs) != len(groups):
            raise ValueError(f"load_state_dict: 'lrs' must be a list of {len(groups)} numbers, got {state['lrs']!r}")
        at_once(
            map(setattr, repeat(self), memory, memory.values()),
            map(setitem, groups, repeat("lr"), lrs),
        )

    @abstractmethod
    def memory(self) -> dict[str, Any]:
        """What to save besides the epoch: attributes of these names."""

    @abstractmethod
    def checked_memory(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """The same from a saved state, or an error."""


class EpochSchedule(Schedule):
    """The base of schedules in which the rate depends on the base rate and the epoch alone."""

    def __init__(self, optimizer: Optimizer) -> None:
        super().__init__(optimizer)
        self.go_to(0)

    @abstractmethod
    def rate(self, base: float, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""

    def step(self, metric: Any = None) -> None:
        self.go_to(self.epoch + 1)

    def go_to(self, epoch: int) -> None:
        """Set the rates of an epoch, or raise an error and change nothing. What has come to the optimizer gets its base."""
        known, groups = len(self.base_lrs), self.optimizer.param_groups
        added = [group.get("initial_lr", group["lr"]) for group in groups[known:]]
        bases = self.base_lrs + [not_negative(f"{type(self).__name__}: lr", lr) for lr in added]
        rates = self.rates(bases, epoch)
        for group, base in zip(groups[known:], bases[known:], strict=True):
            group["initial_lr"] = base
        self.base_lrs, self.epoch = bases, epoch
        self.optimizer.set_rates(rates)

    def rates(self, bases: Sequence[float], epoch: int) -> list[float]:
        """The learning rates of an epoch, or an error if there are none."""
        try:
            return [not_negative("the rate", self.rate(base, epoch)) for base in bases]
        except (ArithmeticError, ValueError) as error:
            raise ValueError(f"{type(self).__name__}: there is no learning rate for epoch {epoch}: {error}") from None

    def memory(self) -> dict[str, Any]:
        return {"base_lrs": list(self.base_lrs)}

    def checked_memory(self, state: Mapping[str, Any]) -> dict[str, Any]:
        lrs, groups = rates_in(state, "base_lrs"), len(self.optimizer.param_groups)
        if len(lrs) > groups:  # there are fewer until the step after a group was added
            raise ValueError(f"load_state_dict: 'base_lrs' must be a list of at most {groups} numbers, got {lrs!r}")
        self.rates(lrs, state["epoch"])
        return {"base_lrs": lrs}


@final
class StepLR(EpochSchedule):
    """The rate times `gamma` after every `step_size` epochs.

    >>> import chainrule as cr
    >>> optimizer = cr.nn.SGD([cr.Value(1.0)], lr=1.0)
    >>> schedule = cr.nn.StepLR(optimizer, step_size=1, gamma=0.5)
    >>> schedule.step()
    >>> optimizer.lr
    0.5
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size, self.gamma = positive("StepLR: step_size", step_size), not_negative("StepLR: gamma", gamma)
        super().__init__(optimizer)

    def rate(self, base: float, epoch: int) -> float:
        return base * self.gamma ** (epoch // self.step_size)


@final
class ExponentialLR(EpochSchedule):
    """The rate times `gamma` after every epoch.

    >>> import chainrule as cr
    >>> optimizer = cr.nn.SGD([cr.Value(1.0)], lr=1.0)
    >>> schedule = cr.nn.ExponentialLR(optimizer, gamma=0.5)
    >>> schedule.step()
    >>> schedule.step()
    >>> optimizer.lr
    0.25
    """

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = not_negative("ExponentialLR: gamma", gamma)
        super().__init__(optimizer)

    def rate(self, base: float, epoch: int) -> float:
        return base * self.gamma**epoch


@final
class CosineAnnealingLR(EpochSchedule):
    """Half a wave of the cosine from the base rate down to `eta_min` in `T_max` epochs (Loshchilov & Hutter 2017).

    Beyond `T_max` it rises again, as in PyTorch.

    >>> import chainrule as cr
    >>> optimizer = cr.nn.SGD([cr.Value(1.0)], lr=1.0)
    >>> schedule = cr.nn.CosineAnnealingLR(optimizer, T_max=2)
    >>> schedule.step()
    >>> round(optimizer.lr, 6)
    0.5
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = positive("CosineAnnealingLR: T_max", T_max)
        self.eta_min = not_negative("CosineAnnealingLR: eta_min", eta_min)
        super().__init__(optimizer)

    def rate(self, base: float, epoch: int) -> float:
        return self.eta_min + (base - self.eta_min) * (1.0 + math.cos(math.pi * epoch / self.T_max)) / 2.0


@final
class LinearLR(EpochSchedule):
    """A straight line from `start_factor` to `end_factor` times the base rate in `total_iters` epochs: a warm-up.

    >>> import chainrule as cr
    >>> optimizer = cr.nn.SGD([cr.Value(1.0)], lr=1.0)
    >>> schedule = cr.nn.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> schedule.step()
    >>> optimizer.lr
    0.75
    """

    def __init__(
        self, optimizer: Optimizer, start_factor: float = 1.0 / 3.0, end_factor: float = 1.0, total_iters: int = 5
    ) -> None:
        self.start_factor = not_negative("LinearLR: start_factor", start_factor)
        self.end_factor = not_negative("LinearLR: end_factor", end_factor)
        if not 0.0 < self.start_factor <= 1.0:
            raise ValueError(f"LinearLR: start_factor must lie in (0, 1], got {start_factor!r}")
        if self.end_factor > 1.0:
            raise ValueError(f"LinearLR: end_factor must lie in [0, 1], got {end_factor!r}")
        self.total_iters = positive("LinearLR: total_iters", total_iters)
        super().__init__(optimizer)

    def rate(self, base: float, epoch: int) -> float:
        way = min(epoch, self.total_iters) / self.total_iters
        return base * (self.start_factor + (self.end_factor - self.start_factor) * way)


@final
class SequentialLR(EpochSchedule):
    """One schedule after another: `schedules[i + 1]` takes over at epoch `milestones[i]`, and starts at its epoch 0.

    >>> import chainrule as cr
    >>> optimizer = cr.nn.SGD([cr.Value(1.0)], lr=1.0)
    >>> warm_up = cr.nn.LinearLR(optimizer, start_factor=0.5, total_iters=2)
    >>> then = cr.nn.CosineAnnealingLR(optimizer, T_max=10)
    >>> schedule = cr.nn.SequentialLR(optimizer, [warm_up, then], milestones=[2])
    >>> optimizer.lr
    0.5
    >>> schedule.step()
    >>> optimizer.lr
    0.75
    """

    def __init__(self, optimizer: Optimizer, schedules: Sequence[Schedule], milestones: Sequence[int]) -> None:
        schedules, milestones = (
            in_order("SequentialLR: schedules", schedules),
            in_order("SequentialLR: milestones", milestones),
        )
        if not schedules or len(milestones) != len(schedules) - 1:
            raise ValueError(
                "SequentialLR: expected schedules and one milestone between each two of them, "
                f"got {len(schedules)} schedules and {len(milestones)} milestones"
            )
        self.schedules: list[EpochSchedule] = []
        for i, schedule in enumerate(schedules):
            if not isinstance(schedule, EpochSchedule):
                raise TypeError(f"SequentialLR: schedule {i} does not depend on the epoch alone: {schedule!r}")
            if schedule.optimizer is not optimizer:
                raise ValueError(f"SequentialLR: schedule {i} belongs to another optimizer")
            self.schedules.append(schedule)
        self.milestones = [positive(f"SequentialLR: milestones[{i}]", x) for i, x in enumerate(milestones)]
        if self.milestones != sorted(set(self.milestones)):
            raise ValueError(f"SequentialLR: milestones must increase, got {self.milestones}")
        super().__init__(optimizer)

    def rate(self, base: float, epoch: int) -> float:
        i = bisect_right(self.milestones, epoch)
        return self.schedules[i].rate(base, epoch - self.milestones[i - 1] if i else epoch)


@final
class ReduceLROnPlateau(Schedule):
    """The rate times `factor` when a metric has not improved for more than `patience` epochs.

    To improve is to be less (`mode="min"`) or more (`mode="max"`) than the best so far by a share `threshold` of its size
    (`threshold_mode="rel"`) or an amount `threshold` ("abs"); NaN never is. A share of its size, whatever its sign: for
    negative metrics PyTorch takes what is worse by less than the share for better. After a reduction, `cooldown` epochs do
    not count. The rate stays above `min_lr` (a number, or one for each group), and a change of at most `eps` is not made.

    >>> import chainrule as cr
    >>> optimizer = cr.nn.SGD([cr.Value(1.0)], lr=1.0)
    >>> schedule = cr.nn.ReduceLROnPlateau(optimizer, patience=1)
    >>> for loss in (0.5, 0.4, 0.4, 0.4):
    ...     schedule.step(loss)
    ...     print(optimizer.lr)
    1.0
    1.0
    1.0
    0.1
    """

    def __init__(
        self,
        optimizer: Optimizer,
        mode: Literal["min", "max"] = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(optimizer)
        self.mode = one_of("ReduceLROnPlateau: mode", mode, ("min", "max"))
        self.threshold_mode = one_of("ReduceLROnPlateau: threshold_mode", threshold_mode, ("rel", "abs"))
        self.factor = not_negative("ReduceLROnPlateau: factor", factor)
        if self.factor >= 1.0:
            raise ValueError(f"ReduceLROnPlateau: factor must be less than 1, got {factor!r}")
        self.patience = count("ReduceLROnPlateau: patience", patience)
        self.cooldown = count("ReduceLROnPlateau: cooldown", cooldown)
        self.threshold = not_negative("ReduceLROnPlateau: threshold", threshold)
        self.eps = not_negative("ReduceLROnPlateau: eps", eps)
        self.min_lr = min_lr
        self.lowest()
        self.best: float | None = None
        self.bad_epochs = 0
        self.cooldown_left = 0

    def lowest(self) -> list[float]:
        """`min_lr` for each group."""
        groups = len(self.optimizer.param_groups)
        name = "ReduceLROnPlateau: min_lr"
        rates = [self.min_lr] * groups if isinstance(self.min_lr, Real) else in_order(name, self.min_lr)
        if len(rates) != groups:
            raise ValueError(f"ReduceLROnPlateau: {len(rates)} numbers in min_lr for {groups} parameter groups")
        return [not_negative(name, rate) for rate in rates]

    def step(self, metric: Any = None) -> None:
        """End an epoch in which the watched quantity was `metric`."""
        if metric is None:
            raise TypeError("ReduceLROnPlateau: step() needs the metric to watch, as in step(validation_loss)")
        metric = one_number("ReduceLROnPlateau: the metric", metric)
        reduced = self.reduced()  # or an error, before anything changes
        self.epoch += 1
        self.bad_epochs += 1
        if self.improves(metric):
            self.best, self.bad_epochs = metric, 0
        if self.cooldown_left:
            self.cooldown_left, self.bad_epochs = self.cooldown_left - 1, 0
        if self.bad_epochs > self.patience:
            self.optimizer.set_rates(reduced)
            self.cooldown_left, self.bad_epochs = self.cooldown, 0

    def improves(self, metric: float) -> bool:
        sign = 1.0 if self.mode == "max" else -1.0
        bound = -math.inf if self.best is None else sign * self.best
        if math.isfinite(bound):
            bound += self.threshold * (abs(bound) if self.threshold_mode == "rel" else 1.0)
        return sign * metric > bound

    def reduced(self) -> list[float]:
        """What the rates are after a reduction."""
        lrs = [not_negative("ReduceLROnPlateau: lr", group["lr"]) for group in self.optimizer.param_groups]
        least = [max(lr * self.factor, lowest) for lr, lowest in zip(lrs, self.lowest(), strict=True)]
        return [new if lr - new > self.eps else lr for lr, new in zip(lrs, least, strict=True)]

    def memory(self) -> dict[str, Any]:
        return {"best": self.best, "bad_epochs": self.bad_epochs, "cooldown_left": self.cooldown_left}

    def checked_memory(self, state: Mapping[str, Any]) -> dict[str, Any]:
        best = state["best"]
        return {
            "best": None if best is None else number("load_state_dict: 'best'", best),
            "bad_epochs": count("load_state_dict: 'bad_epochs'", state["bad_epochs"]),
            "cooldown_left": count("load_state_dict: 'cooldown_left'", state["cooldown_left"]),
        }


def rates_in(state: Mapping[str, Any], name: str) -> list[float]:
    rates = state[name]
    if not isinstance(rates, list):
        raise TypeError(f"load_state_dict: {name!r} must be a list of numbers, got {rates!r}")
    return [not_negative(f"load_state_dict: {name}[{i}]", x) for i, x in enumerate(rates)]


def one_of(name: str, x: str, choices: tuple[str, ...]) -> str:
    if x not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {x!r}")
    return x
