"""What all optimizers share: parameters in groups, options that are checked, and a state that can be saved."""

from __future__ import annotations

__all__ = ["Optimizer"]

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from numbers import Real
from operator import is_not, itemgetter
from typing import Any, TypeAlias

import numpy as np

from chainrule.autograd import Tensor, Value
from chainrule.autograd.context import about_to_change, blocks, tell_of
from chainrule.autograd.operators import plain
from chainrule.autograd.plain import constant, describe, require_function

from ..module import Module, Parameter, at_once

Group: TypeAlias = dict[str, Any]
Check: TypeAlias = Callable[[str, Any], Any]  # (name, value) -> the value as it is kept, or an error that has the name
Option: TypeAlias = tuple[Check, Any]  # and what is given for it
Parameters: TypeAlias = Iterable[Parameter] | Iterable[Mapping[str, Any]]

PARAMS = itemgetter("params")


class Optimizer(ABC):
    """The base of all optimizers: parameters in groups, each with its own options, and a state to save and load.

    `param_groups` is a list of dicts, each with "params", a tuple, and the options ("lr", …); changing an option there,
    or all learning rates by `optimizer.lr = …`, holds from the next step, which checks it. What is remembered of parameters in float16 is in
    float32, as are their steps until they are taken; gradients of another precision are brought to that.

    >>> import chainrule as cr
    >>> w, b = cr.Tensor([1.0, 2.0]), cr.Value(0.0)
    >>> optimizer = cr.nn.SGD([{"params": [w], "weight_decay": 0.1}, {"params": [b], "lr": 0.5}], lr=0.1)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.5]
    """

    def __init__(self, params: Parameters, options: Mapping[str, Option]) -> None:
        self.options: dict[str, Check] = {name: check for name, (check, _) in options.items()}
        self.defaults = self.checked({name: x for name, (_, x) in options.items()})
        self.param_groups: list[Group] = []
        self.known: list[Group] = []  # the groups as they were when they were looked at last
        self.announced: list[Callable[[], Any]] = []  # weak references to the schedules that were made for it
        given = listed(type(self).__name__, params)
        grouped = bool(given) and all(isinstance(group, Mapping) for group in given)
        for group in given if grouped else [{"params": given}]:
            self.add_param_group(group)
        if not self.parameters:
            raise ValueError(f"{type(self).__name__}: there are no parameters to optimize")

    @property
    def parameters(self) -> list[Parameter]:
        """Every parameter, in the order of the groups."""
        return [p for group in self.param_groups for p in group["params"]]

    @property
    def schedules(self) -> list[Any]:
        """The schedules that were made for this optimizer and are still there, the oldest first."""
        return [schedule for reference in self.announced if (schedule := reference()) is not None]

    def __getstate__(self) -> dict[str, Any]:
        """For copies: schedules stay with the original, or announce themselves where they are copied too."""
        return {**vars(self), "announced": []}

    @property
    def lr(self) -> float:
        """The learning rate of the first group; setting it sets every group's."""
        if "lr" not in self.options:
            raise AttributeError(f"{type(self).__name__} has no learning rate")
        return float(self.param_groups[0]["lr"])

    @lr.setter
    def lr(self, lr: float) -> None:
        if "lr" not in self.options:
            raise AttributeError(f"{type(self).__name__} has no learning rate")
        lr = not_negative(f"{type(self).__name__}: lr", lr)
        for group in self.param_groups:
            group["lr"] = lr
            group.pop("initial_lr", None)  # a schedule made from now on starts here

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Optimize more parameters: `{"params": …}` with options of their own, by default the optimizer's."""
        owner = type(self).__name__
        if not isinstance(group, Mapping):
            raise TypeError(f'{owner}: a parameter group must be a dict with "params", got {describe(group)}')
        if "params" not in group:
            raise ValueError(f'{owner}: a parameter group needs "params", got only {sorted(map(str, group))}')
        given = group["params"]
        params = (given,) if isinstance(given, Value | Tensor) else tuple(listed(owner, given))
        for p in params:
            if not isinstance(p, Value | Tensor) or p.op is not None:
                raise TypeError(f"{owner}: a parameter must be a leaf Value or Tensor, got {p!r}")
        if len({id(p) for p in [*self.parameters, *params]}) < len(self.parameters) + len(params):
            raise ValueError(f"{owner}: a parameter is listed twice, and would be moved twice")
        own = {name: x for name, x in group.items() if name != "params"}
        self.param_groups.append({"params": params, **self.checked({**self.defaults, **own})})
        self.known.append({"params": params})

    def look_at_groups(self) -> None:
        """Follow the options, if any were set since this was done last, or raise an error that names the wrong one.

        It is an error, too, if parameters came or went by another way than `add_param_group`.
        """
        groups, known = self.param_groups, self.known
        if not self.knows_groups():
            raise ValueError(
                f"{type(self).__name__}: param_groups have other parameters than the optimizer knows; add some with "
                "add_param_group(), or make a new optimizer"
            )
        if differ(groups, known):
            options = [self.checked_group(f"param_groups[{k}]", group) for k, group in enumerate(groups)]
            for group, own in zip(groups, options, strict=True):
                group.update(own)
            self.follow_options()
            self.known = list(map(dict, groups))

    def knows_groups(self) -> bool:
        """Whether the groups have the parameters that they had when they were added."""
        groups, known = self.param_groups, self.known
        return len(groups) == len(known) and not any(map(is_not, map(PARAMS, known), map(PARAMS, groups)))

    def set_rates(self, lrs: Iterable[float]) -> None:
        """Give each group its learning rate, which is known to be one."""
        for group, known, lr in zip(self.param_groups, self.known, lrs, strict=True):
            group["lr"] = known["lr"] = lr

    @abstractmethod
    def follow_options(self) -> None:
        """Remember what the options of the groups ask for by now, which are right."""

    def checked_group(self, where: str, group: Mapping[str, Any]) -> Group:
        """The options of a group as they are kept, or an error that says where the wrong one is."""
        try:
            return self.checked({name: x for name, x in group.items() if name != "params"})
        except (TypeError, ValueError) as error:
            raise type(error)(f"{where}: {error}") from None

    def checked(self, given: Mapping[str, Any]) -> Group:
        """The options of a group as they are kept, or an error that names the wrong one."""
        owner = type(self).__name__
        known = {**self.options, "initial_lr": not_negative} if "lr" in self.options else self.options
        if unknown := [name for name in given if name not in known]:
            raise ValueError(f"{owner}: unknown option {unknown[0]!r}; there are {', '.join(self.options)}")
        if missing := [name for name in self.options if name not in given]:
            raise ValueError(f"{owner}: missing option {missing[0]!r}")
        return {name: known[name](f"{owner}: {name}", x) for name, x in given.items()}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        tell_of("zero_grad()")
        for group in self.param_groups:
            for p in group["params"]:
                if blocks:
                    about_to_change(p)
                p._grad = None

    @abstractmethod
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move every parameter that has a gradient, in place.

        `closure`, if given, computes the loss and its gradients first; its result is returned.
        """

    def loss_of(self, closure: Callable[[], Any]) -> Any:
        """What a closure returns, which has to give gradients first."""
        owner = type(self).__name__
        require_function(f"{owner}: closure", closure)
        loss = closure()
        if all(p._grad is None for p in self.parameters):
            raise ValueError(
                f"{owner}: after the closure no parameter has a gradient; it must call backward() on the loss"
            )
        return loss

    @abstractmethod
    def states(self) -> list[dict[str, Any]]:
        """What the optimizer remembers of each parameter, as copies."""

    @abstractmethod
    def checked_states(self, groups: Sequence[Group], states: Mapping[str, Any]) -> dict[str, Any]:
        """The attributes that hold what saved states say, by name, or an error; nothing changes."""

    def state_dict(self) -> dict[str, Any]:
        """A copy of all options and of what the optimizer remembers of each parameter, by its running number.

        Raises an error that names the option if one was set to what it cannot be.
        """
        groups, start = [], 0
        for k, group in enumerate(self.param_groups):
            own = self.checked_group(f"state_dict: param_groups[{k}]", group)
            options = {name: list(x) if isinstance(x, tuple) else x for name, x in own.items()}
            groups.append({**options, "params": list(range(start, start := start + len(group["params"])))})
        states = {str(i): state for i, state in enumerate(self.states())}
        return {"optimizer": type(self).__name__, "param_groups": groups, "state": states}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over a `state_dict` of an optimizer of the same kind over parameters of the same shapes.

        Raises `ValueError` or `TypeError` that says what does not fit; then nothing has changed. Interrupted, it has taken
        over all or nothing.
        """
        check_keys("load_state_dict", state, ("optimizer", "param_groups", "state"))
        if state["optimizer"] != type(self).__name__:
            raise ValueError(
                f"load_state_dict: this is the state of {state['optimizer']!r}, expected {type(self).__name__!r}"
            )
        groups = self.checked_groups(state["param_groups"])
        memory = self.checked_states(groups, state["state"])
        anew: list[Group] = [{"params": group["params"]} for group in self.param_groups]
        at_once(
            map(setattr, [self], ["known"], [anew]),
            map(dict.pop, self.param_groups, repeat("initial_lr"), repeat(None)),
            map(dict.update, self.param_groups, groups),
            map(setattr, repeat(self), memory, memory.values()),
        )

    def checked_groups(self, saved: Any) -> list[Group]:
        if not isinstance(saved, list) or len(saved) != len(self.param_groups):
            found = len(saved) if isinstance(saved, list) else describe(saved)
            raise ValueError(f"load_state_dict: expected {len(self.param_groups)} param_groups, got {found}")
        groups, start = [], 0
        for k, (own, given) in enumerate(zip(self.param_groups, saved, strict=True)):
            where = f"load_state_dict: param_groups[{k}]"
            if not isinstance(given, Mapping):
                raise TypeError(f"{where} must be a dict, got {describe(given)}")
            numbers = list(range(start, start := start + len(own["params"])))
            if given.get("params") != numbers:
                raise ValueError(f"{where}: 'params' must be {numbers}, got {given.get('params')!r}")
            groups.append({"params": own["params"], **self.checked_group(where, given)})
        return groups


def listed(owner: str, params: Any) -> list[Any]:
    """The parameters or groups that somebody gives, or an error where there is no order in them."""
    if isinstance(params, Value | Tensor | Module):
        hint = "its parameters()" if isinstance(params, Module) else "a list"
        raise TypeError(f"{owner}: expected parameters, got one {type(params).__name__}; give {hint}")
    if isinstance(params, set | frozenset):
        raise TypeError(f"{owner}: parameters must come in an order, got a set")
    if isinstance(params, str | bytes) or not isinstance(params, Iterable):
        raise TypeError(f"{owner}: params must be a list of parameters or of groups of them, got {describe(params)}")
    return list(params)


def check_keys(where: str, given: Any, expected: Iterable[str]) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{where}: expected a dict, got {describe(given)}")
    names = list(expected)
    problems = [f"missing {name!r}" for name in names if name not in given]
    problems += [f"unexpected {name!r}" for name in given if name not in names]
    if problems:
        raise ValueError(f"{where}: {'; '.join(problems)}")


def differ(groups: list[Group], known: list[Group]) -> bool:
    try:
        return groups != known
    except (TypeError, ValueError):  # as of an array, which is no option
        return True


def precision(x: Any) -> Any:
    """What to compute in with data: float32 at least, as in float16 the square of 1e-4 is 0, and so is an eps of 1e-8."""
    return np.result_type(x.dtype, np.float32)


def require_fit(what: str, p: Parameter) -> None:
    """Raise an error if a gradient is none of numbers, or has not the shape of its parameter."""
    g: Any = p._grad
    if g is None or (type(g) is float and type(p) is Value):
        return
    if type(g) is np.ndarray and g.dtype.kind in "fiub" and g.shape == p.shape:
        return
    if np.shape(g) != p.shape or isinstance(g, list | tuple | str | Value | Tensor):
        given = f"one of shape {g.shape}" if isinstance(g, np.ndarray) else describe(g)
        raise ValueError(f"{what}: expected a gradient of shape {p.shape} for {describe(p)}, got {given}")
    name = f"{what}: the gradient of {describe(p)}"
    constant(g, name)
    if isinstance(g, int):
        number(name, g)


def owner(x: Any) -> Any:
    """Whose memory an array shows."""
    while (base := getattr(x, "obj" if isinstance(x, memoryview) else "base", None)) is not None:
        x = base
    return x


# Checks of options: (name, value) -> the value as it is kept.


def number(name: str, x: Any) -> float:
    if type(x) is float:
        return x
    if isinstance(x, bool) or not isinstance(x, Real):
        raise TypeError(f"{name} must be a number, got {x!r}")
    try:
        return float(x)
    except OverflowError:
        raise ValueError(f"{name} must be finite, got more than any float") from None


def not_negative(name: str, x: Any) -> float:
    kept = number(name, x)
    if not kept >= 0.0:
        raise ValueError(f"{name} must not be negative, got {x!r}")
    if kept == math.inf:
        raise ValueError(f"{name} must be finite, got {x!r}")
    return kept


def fraction(name: str, x: Any) -> float:
    kept = number(name, x)
    if not 0.0 <= kept < 1.0:
        raise ValueError(f"{name} must lie in [0, 1), got {x!r}")
    return kept


def fractions(name: str, x: Any) -> tuple[float, float]:
    if not isinstance(x, Sequence) or isinstance(x, str) or len(x) != 2:
        raise TypeError(f"{name} must be two numbers, got {x!r}")
    return fraction(f"{name}[0]", x[0]), fraction(f"{name}[1]", x[1])


def flag(name: str, x: Any) -> bool:
    if not isinstance(x, bool | np.bool):
        raise TypeError(f"{name} must be True or False, got {x!r}")
    return bool(x)


def one_number(name: str, x: Any) -> float:
    """The number that a variable, an array or something else holds, or an error that says what it holds instead."""
    if isinstance(x, Value | Tensor):
        x = plain(x)
    if hasattr(x, "shape") and hasattr(x, "item"):
        if math.prod(x.shape) != 1:
            raise TypeError(f"{name} must be one number, got {describe(x)}")
        x = x.item()
    return number(name, x)


def in_order(name: str, x: Any) -> list[Any]:
    if isinstance(x, str | bytes | set | frozenset | Mapping) or not isinstance(x, Iterable):
        raise TypeError(f"{name} must be a list, got {describe(x)}")
    return list(x)


def count(name: str, x: Any) -> int:
    if isinstance(x, bool) or not isinstance(x, int | np.integer):
        raise TypeError(f"{name} must be an integer, got {x!r}")
    if abs(int(x)) >= 2**53:
        raise ValueError(f"{name} is beyond counting")
    if x < 0:
        raise ValueError(f"{name} must not be negative, got {x!r}")
    return int(x)


def positive(name: str, x: Any) -> int:
    if not count(name, x):
        raise ValueError(f"{name} must be positive, got 0")
    return int(x)
