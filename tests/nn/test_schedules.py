"""Schedules: PyTorch's learning rates, by hand, restored, one after another, and on a plateau."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from interrupts import at_every_line
from kinds import require_cases

import chainrule as cr

Make = Callable[[Any, Any], Any]  # (our module or PyTorch's, an optimizer) -> a schedule

SCHEDULES: dict[str, Make] = {
    "step": lambda lib, o: lib.StepLR(o, step_size=7),
    "step by half": lambda lib, o: lib.StepLR(o, 3, gamma=0.5),
    "exponential": lambda lib, o: lib.ExponentialLR(o, gamma=0.9),
    "cosine": lambda lib, o: lib.CosineAnnealingLR(o, T_max=50),
    "cosine, and up again": lambda lib, o: lib.CosineAnnealingLR(o, T_max=12, eta_min=0.003),
    "warm-up": lambda lib, o: lib.LinearLR(o),
    "slow warm-up": lambda lib, o: lib.LinearLR(o, start_factor=0.01, total_iters=30),
    "linear decay": lambda lib, o: lib.LinearLR(o, start_factor=1.0, end_factor=0.0, total_iters=20),
    "warm-up, then cosine": lambda lib, o: lib.SequentialLR(
        o, [lib.LinearLR(o, 0.1, total_iters=5), lib.CosineAnnealingLR(o, T_max=45)], milestones=[5]
    ),
    "three in sequence": lambda lib, o: lib.SequentialLR(
        o, [lib.ExponentialLR(o, 0.8), lib.LinearLR(o, total_iters=7), lib.StepLR(o, 4)], milestones=[10, 20]
    ),
}

PLATEAUS: dict[str, dict[str, Any]] = {
    "default": {},
    "impatient": {"patience": 0, "factor": 0.5},
    "more is better": {"mode": "max", "patience": 2},
    "absolute": {"threshold_mode": "abs", "threshold": 0.2, "patience": 1},
    "absolute, more is better": {"threshold_mode": "abs", "threshold": 0.2, "patience": 1, "mode": "max"},
    "cooldown": {"patience": 1, "cooldown": 3, "factor": 0.7},
    "floor": {"patience": 0, "min_lr": 0.01},
    "floors": {"patience": 0, "min_lr": [0.05, 0.001]},
    "coarse": {"patience": 0, "eps": 0.005},
}


def optimizer() -> cr.nn.Optimizer:
    return cr.nn.SGD([{"params": [cr.Value(1.0)]}, {"params": [cr.Value(1.0)], "lr": 0.02}], lr=0.1)


def test_every_schedule_has_a_case() -> None:
    made = {type(make(cr.nn, optimizer())).__name__ for make in SCHEDULES.values()}
    require_cases(cr.nn.Schedule, made | {"ReduceLROnPlateau"}, "SCHEDULES")  # plateaus have a table of their own


def torch_optimizer(torch: Any) -> Any:
    ps = [torch.zeros(1, requires_grad=True) for _ in range(2)]
    for p in ps:
        p.grad = torch.zeros(1)
    return torch.optim.SGD([{"params": [ps[0]]}, {"params": [ps[1]], "lr": 0.02}], lr=0.1)


def rates(optimizer: Any) -> list[float]:
    return [float(group["lr"]) for group in optimizer.param_groups]


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = optimizer(), torch_optimizer(torch)
    schedule = SCHEDULES[name](cr.nn, ours)
    if not hasattr(torch.optim.lr_scheduler, type(schedule).__name__):
        pytest.skip(f"PyTorch has no {type(schedule).__name__}")
    twin = SCHEDULES[name](torch.optim.lr_scheduler, theirs)
    for epoch in range(50):
        assert rates(ours) == pytest.approx(rates(theirs), rel=1e-9, abs=1e-15), epoch
        assert schedule.epoch == epoch
        theirs.step()
        schedule.step()
        twin.step()


@pytest.mark.parametrize("name", PLATEAUS)
def test_a_plateau_is_found_where_torch_finds_it(name: str) -> None:
    torch = pytest.importorskip("torch")
    ours, theirs = optimizer(), torch_optimizer(torch)
    schedule = cr.nn.ReduceLROnPlateau(ours, **PLATEAUS[name])
    twin = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **PLATEAUS[name])
    rng = np.random.default_rng(0)
    metrics = np.r_[
        math.nan, math.inf, 3.0 / np.arange(1.0, 15.0), 0.2 + 0.1 * rng.normal(size=20), math.nan, -math.inf
    ]
    for metric in [*metrics.tolist(), *rng.normal(size=20).tolist()]:
        schedule.step(metric)
        twin.step(metric)
        assert rates(ours) == pytest.approx(rates(theirs), rel=1e-12)
    assert rates(ours) != [0.1, 0.02]


@pytest.mark.parametrize("resumed_in", ["optimizer first", "schedule first"])
@pytest.mark.parametrize("name", [*SCHEDULES, *PLATEAUS])
def test_going_on_from_a_state_is_never_having_stopped(name: str, resumed_in: str) -> None:
    def make(o: Any) -> Any:
        return cr.nn.ReduceLROnPlateau(o, **PLATEAUS[name]) if name in PLATEAUS else SCHEDULES[name](cr.nn, o)

    metrics = np.random.default_rng(0).normal(size=50).tolist()
    whole, first = optimizer(), optimizer()
    schedule, stopped = make(whole), make(first)
    for metric in metrics[:17]:
        schedule.step(metric)
        stopped.step(metric)
    states = [first.state_dict(), stopped.state_dict()]
    second = optimizer()
    if resumed_in == "optimizer first":
        second.load_state_dict(states[0])
        resumed = make(second)
        resumed.load_state_dict(states[1])
    else:
        resumed = make(second)
        resumed.load_state_dict(states[1])
        second.load_state_dict(states[0])
    for metric in metrics[17:]:
        assert rates(second) == rates(whole)
        assert resumed.state_dict() == schedule.state_dict()
        schedule.step(metric)
        resumed.step(metric)


def by_two(o: Any) -> list[Any]:
    warm_up, plateau = cr.nn.LinearLR(o, 0.5, total_iters=2), cr.nn.ReduceLROnPlateau(o, patience=0)
    for metric in (1.0, 0.5, 0.5):
        warm_up.step()
        plateau.step(metric)
    return [warm_up, plateau]


def by_hand(o: Any) -> list[Any]:
    schedule = cr.nn.StepLR(o, step_size=5)
    schedule.step()
    o.lr = 0.25
    return [schedule]


def in_one_group(o: Any) -> list[Any]:
    schedules = [cr.nn.ExponentialLR(o, 0.5), cr.nn.ReduceLROnPlateau(o)]
    o.param_groups[1]["lr"] = 0.003
    return schedules


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
@pytest.mark.parametrize("rates_by", [by_two, by_hand, in_one_group])
def test_rates_come_back_in_whatever_order_states_are_loaded(rates_by: Any, order: tuple[int, ...]) -> None:
    first, second = optimizer(), optimizer()
    saved, fresh = [first, *rates_by(first)], [second, *rates_by(second)]
    states = [part.state_dict() for part in saved]
    for part in fresh[1:]:
        part.step(0.9)
    second.lr = 0.7
    for i in order:
        if i < len(fresh):
            fresh[i].load_state_dict(states[i])
    assert rates(second) == rates(first)
    for _ in range(3):
        for ours, theirs in zip(saved[1:], fresh[1:], strict=True):
            ours.step(0.4)
            theirs.step(0.4)
        assert rates(second) == rates(first)


BETTER: list[tuple[str, str, float, float, float, float]] = [
    # mode, threshold_mode, threshold, the best so far, what is just better, what is not
    ("min", "rel", 0.1, 2.0, 1.79, 1.81),
    ("min", "rel", 0.1, -2.0, -2.21, -2.19),
    ("min", "abs", 0.1, 2.0, 1.89, 1.91),
    ("min", "abs", 0.1, -2.0, -2.11, -2.09),
    ("max", "rel", 0.1, 2.0, 2.21, 2.19),
    ("max", "rel", 0.1, -2.0, -1.79, -1.81),
    ("max", "abs", 0.1, 2.0, 2.11, 2.09),
    ("max", "abs", 0.1, -2.0, -1.89, -1.91),
    ("min", "rel", 0.1, 0.0, -1e-9, 0.0),
    ("max", "rel", 0.1, 0.0, 1e-9, 0.0),
    ("min", "rel", 0.0, -2.0, -2.1, -2.0),
    ("max", "rel", 0.0, -2.0, -1.9, -2.0),
    ("min", "rel", 1.5, -2.0, -5.1, -4.9),
    ("min", "rel", 0.1, 2.0, -math.inf, math.nan),
    ("max", "rel", 0.1, -2.0, math.inf, math.nan),
    ("min", "rel", 0.1, -2.0, -math.inf, math.inf),
    ("max", "abs", 0.1, -2.0, math.inf, -math.inf),
]


@pytest.mark.parametrize(("mode", "threshold_mode", "threshold", "best", "better", "not_better"), BETTER)
def test_what_is_better_by_a_share_or_an_amount_whatever_its_sign(
    mode: Any, threshold_mode: Any, threshold: float, best: float, better: float, not_better: float
) -> None:
    for metric, expected in ((better, better), (not_better, best)):
        o = optimizer()
        schedule = cr.nn.ReduceLROnPlateau(
            o, mode, factor=0.5, patience=0, threshold=threshold, threshold_mode=threshold_mode
        )
        for first in (math.nan, math.inf if mode == "min" else -math.inf):  # neither is better than nothing
            schedule.step(first)
            assert schedule.best is None
        schedule.step(best)
        before = rates(o)
        schedule.step(metric)
        assert schedule.best == expected
        assert (rates(o) == before) == (metric == better)


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("best", [math.inf, -math.inf])
def test_nothing_is_better_than_an_infinite_best(mode: Any, best: float) -> None:
    schedule = cr.nn.ReduceLROnPlateau(optimizer(), mode)
    schedule.step(best)
    schedule.step(-1.0)
    schedule.step(best)
    assert schedule.best == (best if best == (math.inf if mode == "max" else -math.inf) else -1.0)


def test_a_new_rate_or_a_new_group_has_its_own_base() -> None:
    o = optimizer()
    schedule = cr.nn.ExponentialLR(o, gamma=0.5)
    schedule.step()
    o.add_param_group({"params": [cr.Value(2.0)], "lr": 1.0})
    schedule.step()
    assert rates(o) == pytest.approx([0.025, 0.005, 0.25])
    again = cr.nn.ExponentialLR(o, gamma=0.1)  # starts from the rates that training began with
    assert rates(o) == pytest.approx([0.1, 0.02, 1.0])
    o.lr = 0.3
    again = cr.nn.StepLR(o, step_size=1)
    assert rates(o) == [0.3] * 3
    again.step()
    assert rates(o) == pytest.approx([0.03] * 3)


@pytest.mark.parametrize("name", [*SCHEDULES, "default", "impatient"])
def test_a_group_added_just_before_saving_goes_on_as_if_nobody_had_saved(name: str) -> None:
    def make(o: Any) -> Any:
        return cr.nn.ReduceLROnPlateau(o, **PLATEAUS[name]) if name in PLATEAUS else SCHEDULES[name](cr.nn, o)

    def added(o: Any) -> Any:
        o.add_param_group({"params": [cr.Value(2.0)], "lr": 1.0})
        return o

    first, second = optimizer(), optimizer()
    schedule = make(first)
    for metric in (0.5, 0.7, 0.9):
        schedule.step(metric)
    added(first)
    resumed = make(added(second))
    states = first.state_dict(), schedule.state_dict()
    schedule.load_state_dict(states[1])
    second.load_state_dict(states[0])
    resumed.load_state_dict(states[1])
    assert rates(second) == rates(first)
    for metric in (0.9, 0.8, 0.9, 1.0):
        schedule.step(metric)
        resumed.step(metric)
        assert rates(second) == rates(first)
    assert second.state_dict() == first.state_dict()


def test_every_schedule_takes_a_metric() -> None:
    for make in SCHEDULES.values():
        first, second = optimizer(), optimizer()
        a, b = make(cr.nn, first), make(cr.nn, second)
        a.step(0.5)
        b.step()
        assert rates(first) == rates(second)


def test_a_metric_may_be_a_variable() -> None:
    o = optimizer()
    schedule = cr.nn.ReduceLROnPlateau(o, patience=0)
    for metric in (cr.Tensor(1.0), cr.Value(2.0), np.array([0.5]), np.float32(0.4), 0):
        schedule.step(metric)
    assert rates(o) == pytest.approx([0.01, 0.002])
    assert schedule.best == 0.0


def test_a_floor_may_be_a_number_of_numpy() -> None:
    o = optimizer()
    schedule = cr.nn.ReduceLROnPlateau(o, patience=0, min_lr=np.float32(0.0625))
    for _ in range(3):
        schedule.step(1.0)
    assert rates(o) == [0.0625, 0.02]


STATES: dict[str, tuple[str, dict[str, Any], type[Exception], str]] = {
    "another kind": ("step", {"schedule": "LinearLR"}, ValueError, "this is the state of 'LinearLR', expected 'StepLR'"),
    "an epoch that is no number": ("step", {"epoch": "3"}, TypeError, "'epoch' must be an integer, got '3'"),
    "a negative epoch": ("step", {"epoch": -3}, ValueError, "'epoch' must not be negative, got -3"),
    "another number of groups": ("step", {"base_lrs": [0.1] * 3}, ValueError, "'base_lrs' must be a list of at most 2 numbers"),
    "other rates": ("default", {"lrs": [0.1]}, ValueError, "'lrs' must be a list of 2 numbers"),
    "one rate for all": ("step", {"lrs": 0.1}, TypeError, "'lrs' must be a list of numbers, got 0.1"),
    "an infinite rate": ("default", {"lrs": [0.1, math.inf]}, ValueError, r"lrs\[1\] must be finite, got inf"),
    "a rate that is none": ("step", {"base_lrs": [0.1, math.nan]}, ValueError, r"base_lrs\[1\] must not be negative, got nan"),
    "more than a state": ("step", {"best": 1.0}, ValueError, "unexpected 'best'"),
    "a wrong best": ("default", {"best": "good"}, TypeError, "'best' must be a number, got 'good'"),
    "a wrong count": ("default", {"bad_epochs": 0.5}, TypeError, "'bad_epochs' must be an integer"),
    "of the other family": ("default", {"base_lrs": [1.0]}, ValueError, "unexpected 'base_lrs'"),
}  # fmt: skip


@pytest.mark.parametrize("name", STATES)
def test_a_state_that_does_not_fit_changes_nothing(name: str) -> None:
    which, wrong, error, message = STATES[name]
    o = optimizer()
    schedule = cr.nn.ReduceLROnPlateau(o) if which in PLATEAUS else SCHEDULES[which](cr.nn, o)
    schedule.step(1.0)
    before, lrs = schedule.state_dict(), rates(o)
    with pytest.raises(error, match=f"load_state_dict: .*{message}"):
        schedule.load_state_dict({**before, "epoch": 30, **wrong})
    with pytest.raises(ValueError, match="load_state_dict: missing 'epoch'"):
        schedule.load_state_dict({name: x for name, x in before.items() if name != "epoch"})
    assert schedule.state_dict() == before
    assert rates(o) == lrs


def lbfgs() -> Any:
    pytest.importorskip("scipy")
    return cr.nn.LBFGS([cr.Value(1.0)])


MISUSES: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no optimizer": (lambda: cr.nn.StepLR(0.1, 2), TypeError, "StepLR: expected an optimizer, got 0.1"),
    "an optimizer without rate": (lambda: cr.nn.StepLR(lbfgs(), 2), TypeError, "StepLR: LBFGS has no learning rate"),
    "no epochs": (lambda: cr.nn.StepLR(optimizer(), 0), ValueError, "StepLR: step_size must be positive, got 0"),
    "half an epoch": (lambda: cr.nn.CosineAnnealingLR(optimizer(), 0.5), TypeError, "CosineAnnealingLR: T_max must be an integer, got 0.5"),
    "negative gamma": (lambda: cr.nn.ExponentialLR(optimizer(), -0.5), ValueError, "ExponentialLR: gamma must not be negative"),
    "start at nothing": (lambda: cr.nn.LinearLR(optimizer(), 0.0), ValueError, r"LinearLR: start_factor must lie in \(0, 1\], got 0.0"),
    "end above": (lambda: cr.nn.LinearLR(optimizer(), end_factor=1.5), ValueError, r"LinearLR: end_factor must lie in \[0, 1\], got 1.5"),
    "no milestone": (lambda: (lambda o: cr.nn.SequentialLR(o, [cr.nn.StepLR(o, 1)] * 2, []))(optimizer()), ValueError, "got 2 schedules and 0 milestones"),
    "nothing in sequence": (lambda: cr.nn.SequentialLR(optimizer(), [], []), ValueError, "got 0 schedules"),
    "milestones in disorder": (
        lambda: (lambda o: cr.nn.SequentialLR(o, [cr.nn.StepLR(o, 1)] * 3, [4, 2]))(optimizer()), ValueError, r"milestones must increase, got \[4, 2\]"),
    "of another optimizer": (lambda: cr.nn.SequentialLR(optimizer(), [cr.nn.StepLR(optimizer(), 1)], []), ValueError, "schedule 0 belongs to another optimizer"),
    "a plateau in sequence": (lambda: (lambda o: cr.nn.SequentialLR(o, [cr.nn.ReduceLROnPlateau(o)], []))(optimizer()), TypeError, "schedule 0 does not depend on the epoch alone"),
    "a plateau of nothing": (lambda: cr.nn.ReduceLROnPlateau(optimizer()).step(), TypeError, r"ReduceLROnPlateau: step\(\) needs the metric to watch"),
    "a metric of text": (lambda: cr.nn.ReduceLROnPlateau(optimizer()).step("0.5"), TypeError, "ReduceLROnPlateau: the metric must be a number, got '0.5'"),
    "a metric of bytes": (lambda: cr.nn.ReduceLROnPlateau(optimizer()).step(b"1"), TypeError, "the metric must be a number, got b'1'"),
    "a metric of NumPy's text": (lambda: cr.nn.ReduceLROnPlateau(optimizer()).step(np.str_("1")), TypeError, "the metric must be a number, got '1'"),
    "a truth as metric": (lambda: cr.nn.ReduceLROnPlateau(optimizer()).step(True), TypeError, "the metric must be a number, got True"),
    "metrics": (lambda: cr.nn.ReduceLROnPlateau(optimizer()).step(np.ones(2)), TypeError, "the metric must be one number, got array"),
    "an immense metric": (lambda: cr.nn.ReduceLROnPlateau(optimizer()).step(10**400), ValueError, "the metric must be finite"),
    "no floor": (lambda: cr.nn.ReduceLROnPlateau(optimizer(), min_lr=None), TypeError, "ReduceLROnPlateau: min_lr must be a list, got None"),
    "floors without order": (lambda: cr.nn.ReduceLROnPlateau(optimizer(), min_lr={0.1, 0.2}), TypeError, "ReduceLROnPlateau: min_lr must be a list, got {"),
    "no milestones": (lambda: (lambda o: cr.nn.SequentialLR(o, [cr.nn.StepLR(o, 1)] * 2, None))(optimizer()), TypeError, "SequentialLR: milestones must be a list, got None"),
    "milestones without order": (lambda: (lambda o: cr.nn.SequentialLR(o, [cr.nn.StepLR(o, 1)] * 2, {1}))(optimizer()), TypeError, "SequentialLR: milestones must be a list, got {1}"),
    "one schedule in sequence": (lambda: (lambda o: cr.nn.SequentialLR(o, cr.nn.StepLR(o, 1), []))(optimizer()), TypeError, "SequentialLR: schedules must be a list, got <"),
    "factor of 1": (lambda: cr.nn.ReduceLROnPlateau(optimizer(), factor=1.0), ValueError, "factor must be less than 1, got 1.0"),
    "unknown mode": (lambda: cr.nn.ReduceLROnPlateau(optimizer(), "less"), ValueError, "mode must be one of 'min', 'max', got 'less'"),
    "unknown threshold": (lambda: cr.nn.ReduceLROnPlateau(optimizer(), threshold_mode="per cent"), ValueError, "threshold_mode must be one of 'rel', 'abs'"),
    "floors for other groups": (lambda: cr.nn.ReduceLROnPlateau(optimizer(), min_lr=[0.1] * 3), ValueError, "3 numbers in min_lr for 2 parameter groups"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSES)
def test_misuse_of_schedules_is_explained(name: str) -> None:
    call, error, message = MISUSES[name]
    with pytest.raises(error, match=message):
        call()


def test_an_epoch_without_a_rate_changes_nothing() -> None:
    optimizer = cr.nn.SGD([cr.Value(1.0)], lr=0.1)
    schedule = cr.nn.StepLR(optimizer, step_size=1, gamma=2.0)
    with pytest.raises(ValueError, match="there is no learning rate for epoch 1000000"):
        schedule.load_state_dict({**schedule.state_dict(), "epoch": 10**6})
    assert (schedule.epoch, optimizer.lr) == (0, 0.1)


GAMMAS: list[tuple[Any, int]] = [(1e308, 1), (1e160, 2)]  # and the epoch that has no rate


@pytest.mark.parametrize(("gamma", "epoch"), GAMMAS)
def test_a_step_to_an_epoch_without_a_rate_changes_nothing(gamma: float, epoch: int) -> None:
    o = cr.nn.SGD([cr.Value(1.0)], lr=10.0)
    schedule = cr.nn.StepLR(o, step_size=1, gamma=gamma)
    for _ in range(epoch - 1):
        schedule.step()
    before = schedule.state_dict()
    for _ in range(2):
        with pytest.raises(ValueError, match=f"StepLR: there is no learning rate for epoch {epoch}: "):
            schedule.step()
        assert schedule.state_dict() == before
    schedule.load_state_dict(before)
    o.load_state_dict(o.state_dict())


@pytest.mark.parametrize("lr", [-0.1, math.nan, "0.1"])
def test_a_rate_that_was_set_to_what_is_none_is_found_by_schedules(lr: Any) -> None:
    o = optimizer()
    plateau = cr.nn.ReduceLROnPlateau(o, patience=0)
    plateau.step(1.0)
    o.param_groups[1]["lr"] = lr
    for wrong in (lambda: plateau.step(2.0), plateau.state_dict, lambda: cr.nn.StepLR(o, 1)):
        with pytest.raises((ValueError, TypeError), match=r"(ReduceLROnPlateau|StepLR): lr must "):
            wrong()
    assert plateau.epoch == 1


@pytest.mark.parametrize("name", SCHEDULES)
def test_ctrl_c_leaves_no_schedule_half_loaded(name: str) -> None:
    o = optimizer()
    schedule = SCHEDULES[name](cr.nn, o)
    old, lrs = schedule.state_dict(), rates(o)
    new = {**old, "epoch": 3, "lrs": [2.0 for _ in lrs]} | (
        {"base_lrs": [8.0 for _ in lrs]} if "base_lrs" in old else {"bad_epochs": 1}
    )
    schedule.load_state_dict(new)
    whole = [(old, lrs), (schedule.state_dict(), rates(o))]
    schedule.load_state_dict(old)
    for error in at_every_line(lambda: schedule.load_state_dict(new)):
        assert error is None or type(error) is KeyboardInterrupt
        assert (schedule.state_dict(), rates(o)) in whole
        schedule.load_state_dict(old)
