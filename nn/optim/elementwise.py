"""The step of an optimizer that moves each element by itself: its rule, applied to NumPy arrays in place.

Of a large array the rule sees a block at a time, so that scratch is short: nothing of a Tensor's size is allocated in a
step. Values move together, as one array. A step marks each parameter as changed, so a graph built before it refuses to
be differentiated after it.

A rule computes in float32 at least, and so does it remember.
"""

from __future__ import annotations

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, ClassVar, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Tensor, Value
from chainrule.autograd.context import next_birth, note_change
from chainrule.autograd.guards.seals import handed
from chainrule.autograd.plain import describe
from chainrule.autograd.recording import in_precision
from chainrule.autograd.tensor import copied

from ..module import Parameter, data_for
from .optimizer import Group, Optimizer, Option, Parameters, check_keys, count, differ, owner, precision, require_fit

Array: TypeAlias = NDArray[Any]
Slots: TypeAlias = dict[str, float]  # the arrays to remember, by name, and what they are filled with at first
Numbers: TypeAlias = tuple[float | bool | None, ...]  # all that is to be known of a group at one step

QUIET = frozenset(["ignore", "warn", "print", "log"])  # what NumPy does about overflow without raising an error
USUAL = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}
ACTION = itemgetter(0)  # of a filter of warnings
FLOAT = np.dtype(float)  # what Values are
SQUARES = frozenset(["exp_avg_sq", "max_exp_avg_sq", "sum", "square_avg"])  # what is remembered of them has a root
BLOCK = 524288  # elements: of longer arrays, scratch for the whole would cost memory and gain no time


class Elementwise(Optimizer):
    """The base of optimizers that move each element by itself, by a rule.

    A subclass says which arrays it remembers (`slots`), which numbers all elements share (`coefficients`), and how
    elements move (`update`).
    """

    optional: ClassVar[tuple[str, ...]] = ()  # the last of the arrays, which are remembered with some options only

    def __init__(self, params: Parameters, options: Mapping[str, Option]) -> None:
        self.memories: list[list[OfTensor | OfValues]] = []  # a list for each group
        self.scratch: dict[Any, tuple[Array, Array]] = {}
        super().__init__(params, options)

    @abstractmethod
    def slots(self, group: Group) -> Slots:
        """The arrays to remember for each parameter of a group, by name, and what they are filled with at first."""

    @abstractmethod
    def coefficients(self, group: Group, t: int) -> Numbers:
        """What step `t` of a parameter, counted from 1, needs to know of its group; None for what it has not to do."""

    @abstractmethod
    def update(self, p: Array, g: Array, state: Sequence[Array], a: Array, b: Array, c: tuple[Any, ...]) -> None:
        """Move `p` along its gradient `g`, in place; `g` is not written. `a` and `b` are scratch of their shape.

        The numbers among the coefficients come as arrays without axes, which NumPy takes in half the time of a float.
        """

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else self.loss_of(closure)
        odd = False
        kind = np.ndarray
        for p, shape, dtype in self.moved:  # all are looked at before anything moves
            g, x = p._grad, p._raw
            if type(g) is not kind or g.dtype is not dtype or g.shape != shape or g.base is not None:
                if g is not None:
                    require_fit("step", p)
                    odd = True
            elif type(x) is not kind or not x.flags.writeable:
                odd = True
        lent = self.lent() if odd or handed else ()
        try:
            for tensor, g in lent:
                tensor._grad = copied(g)
            self.move_or_stay(alike=not odd)
        finally:
            for tensor, g in lent:
                tensor._grad = g
            note_change()
        return loss

    def step_along(self) -> None:
        """The same along gradients that are known to fit, each in memory that nobody else has."""
        kind = np.ndarray
        for p, _, _ in self.moved:
            x = p._raw
            if type(x) is kind and not x.flags.writeable:
                self.lent()  # which says whether it is to be moved
        try:
            self.move_or_stay(alike=True)
        finally:
            note_change()

    def lines_along(self, slopes: Mapping[int, str]) -> tuple[list[str], dict[str, Any]] | None:
        """The same as statements, which are quicker, and what their names stand for; None where more is to be done.

        `slopes` are the names of gradients, by the identity of their parameters; those without one stay behind.
        """
        space: dict[str, Any] = {"_ready": self.is_ready, "_update": self.update, "_coefficients": self.coefficients}
        space |= {
            "_as_arrays": as_arrays,
            "_next_birth": next_birth,
            "_note_change": note_change,
            "_along": self.step_along,
        }
        lines = ["if _ready():", "    _t = 0"]
        if any(getattr(type(self), name) is not getattr(Elementwise, name) for name in ("move", "look_at_groups")):
            return None
        at = 0
        for k, (group, memories) in enumerate(zip(self.param_groups, self.memories, strict=True)):
            space[f"_group{k}"], dtype = group, None
            for memory in memories:
                if not memory.is_small:
                    return None
                slope = slopes.get(id(memory.tensor))
                if slope is None:
                    continue
                a, b = memory.scratch or memory.work_in(self)
                space |= {f"_memory{at}": memory, f"_tensor{at}": memory.tensor, f"_a{at}": a, f"_b{at}": b}
                test = "_steps[0] + 1 != _t" if memory.precision is dtype else "True"
                dtype = space[f"_precision{at}"] = memory.precision
                lines += [
                    f"    _steps = _memory{at}.steps",
                    f"    if {test}:",
                    "        _t = _steps[0] + 1",
                    f"        _c = _as_arrays(_coefficients(_group{k}, _t), _precision{at})",
                    "    _steps[0] = _t",
                    f"    _update(_tensor{at}._raw, {slope}, _memory{at}.arrays, _a{at}, _b{at}, _c)",
                    f"    _tensor{at}.birth = _next_birth()",
                ]
                at += 1
        return [*lines, "    _note_change()", "else:", "    _along()"], space

    def is_ready(self) -> bool:
        """Whether there is nothing to do in a step but to follow the rule."""
        for p, _, _ in self.moved:
            if not p._raw.flags.writeable:
                return False
        return self.knows_groups() and not differ(self.param_groups, self.known) and never_stops()

    def lent(self) -> list[tuple[Tensor, Any]]:
        """The Tensors whose gradients are in the memory of a parameter, and so would change while the step needs them."""
        tensors = [p for p in self.parameters if isinstance(p, Tensor) and p._grad is not None]
        for p in tensors:
            if isinstance(p._raw, np.ndarray) and not p._raw.flags.writeable:
                raise ValueError(f"step: the data of {describe(p)} is read-only; to train it no more, leave it out")
        own = {id(owner(p._raw)) for p in tensors}
        return [(p, p._grad) for p in tensors if id(owner(p._grad)) in own]

    def move_or_stay(self, *, alike: bool) -> None:
        """Move, and where NumPy raises an error half-way put all back. `alike`: gradients are as their parameters."""
        if never_stops():
            self.move(alike)
            return
        known = self.known
        memories = [(memory, memory.kept()) for memories in self.memories for memory in memories]
        parameters = [(p, p._raw if isinstance(p, Value) else copied(p._raw), p.birth) for p in self.parameters]
        try:
            with np.errstate(under="ignore"):  # what is remembered of squares fades away
                self.move(alike)
        except BaseException:
            self.known = known
            for memory, before in memories:
                vars(memory).update(before)
            for p, data, birth in parameters:
                if isinstance(p, Value):
                    p._raw = data
                else:
                    p._raw[...] = data
                p.birth = birth
            raise

    def move(self, alike: bool) -> None:
        self.look_at_groups()
        update = self.update
        for group, memories in zip(self.param_groups, self.memories, strict=True):
            at, dtype = 0, None
            for memory in memories:
                if not memory.is_small:
                    memory.advance(self, group)
                    continue
                tensor = memory.tensor  # in a step of a small network every call counts
                p, g = tensor._raw, tensor._grad
                if g is None:
                    continue
                if not alike and (not type(p) is type(g) is np.ndarray or g.dtype is not p.dtype):
                    memory.advance(self, group)
                    continue
                steps = memory.steps
                steps[0] = t = steps[0] + 1
                if t != at or memory.precision is not dtype:  # mostly all are alike
                    at, dtype = t, memory.precision
                    c = as_arrays(self.coefficients(group, t), dtype)
                a, b = memory.scratch or memory.work_in(self)
                update(p, g, memory.arrays, a, b, c)
                tensor.birth = next_birth()

    def follow_options(self) -> None:
        for group, memories in zip(self.param_groups, self.memories, strict=True):
            slots = self.slots(group)
            for memory in memories:
                if memory.slots != slots:
                    memory.remember(slots)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        super().add_param_group(group)
        added = self.param_groups[-1]
        self.memories.append(memories_of(added["params"], self.slots(added)))
        self.moved = [(p, p.shape, getattr(p, "dtype", None)) for p in self.parameters]

    def scratch_for(self, shape: tuple[int, ...], dtype: Any) -> tuple[Array, Array]:
        """Two arrays of the shape, or of a block; the same for all parameters of that shape."""
        key = dtype, shape
        if key not in self.scratch:
            size = shape if math.prod(shape) <= BLOCK else BLOCK
            self.scratch[key] = np.empty(size, dtype), np.empty(size, dtype)
        return self.scratch[key]

    def states(self) -> list[dict[str, Any]]:
        found = {
            id(p): m.to_dict(i) for memories in self.memories for m in memories for i, p in enumerate(m.parameters)
        }
        return [found[id(p)] for p in self.parameters]

    def checked_states(self, groups: Sequence[Group], states: Mapping[str, Any]) -> dict[str, Any]:
        numbers = {id(p): str(i) for i, p in enumerate(self.parameters)}
        check_keys("load_state_dict: state", states, numbers.values())
        found = []
        for group in groups:
            first = next((states[numbers[id(p)]] for p in group["params"]), None)
            found.append(memories_of(group["params"], self.slots_in(first, group)))
        for memory in [memory for memories in found for memory in memories]:
            for i, p in enumerate(memory.parameters):
                memory.load(i, states[numbers[id(p)]], f"load_state_dict: state[{numbers[id(p)]!r}]")
        return {"memories": found}

    def slots_in(self, state: Any, group: Group) -> Slots:
        """What the state of a parameter remembers: what options ask for since the last step, or no longer, is up to the next."""
        slots, given = self.slots(group), state if isinstance(state, Mapping) else {}
        always = {name: x for name, x in slots.items() if name not in self.optional}
        return {**always, **{name: slots.get(name, 0.0) for name in self.optional if name in given}}


class Memory(ABC):
    """Parameters, and the arrays that are remembered of them."""

    parameters: list[Any]

    def __init__(self, slots: Slots) -> None:
        self.state: dict[str, Any] = {}
        self.remember(slots)

    def remember(self, slots: Slots) -> None:
        """Keep exactly these arrays: new ones are filled, the others stay as they are. If all are new, steps count from 1."""
        self.slots, kept = slots, self.state
        if not kept.keys() & slots.keys():
            self.steps = [0] * len(self.parameters)  # how often each has moved
        self.state = {name: kept[name] if name in kept else self.filled(x) for name, x in slots.items()}
        self.arrays = list(self.state.values())

    @abstractmethod
    def filled(self, number: float) -> Any:
        """An array to remember something of each element."""

    @abstractmethod
    def own(self, i: int, array: Any) -> Any:
        """What an array of the state has of parameter `i`, as a view."""

    @abstractmethod
    def advance(self, rule: Elementwise, group: Group) -> None:
        """Move the parameters that have a gradient by one step of the rule."""

    def kept(self) -> dict[str, Any]:
        """The attributes that change in a step, as they are now."""
        state = {name: copied(x) for name, x in self.state.items()}
        return {"slots": self.slots, "steps": [*self.steps], "state": state, "arrays": list(state.values())}

    def to_dict(self, i: int) -> dict[str, Any]:
        return {"step": self.steps[i], **{name: np.array(self.own(i, x)) for name, x in self.state.items()}}

    def load(self, i: int, saved: Any, where: str) -> None:
        """Take over what `to_dict` gave."""
        check_keys(where, saved, ("step", *self.state))
        self.steps[i] = count(f"{where}: 'step'", saved["step"])
        for name, array in self.state.items():
            own = self.own(i, array)
            data = data_for(own, saved[name], f"{where}: {name}")
            if name in SQUARES and (data < 0.0).any():
                raise ValueError(f"{where}: {name} is a mean or sum of squares, and must not be negative")
            own[...] = data


@final
class OfTensor(Memory):
    """Of one Tensor."""

    def __init__(self, tensor: Tensor, slots: Slots) -> None:
        self.tensor, self.parameters = tensor, [tensor]
        self.precision = precision(tensor)  # of what is computed and remembered
        self.scratch: tuple[Array, Array] | None = None
        self.is_small: bool = (
            isinstance(tensor._raw, np.ndarray) and tensor.size <= BLOCK and tensor.dtype == self.precision
        )
        super().__init__(slots)

    def filled(self, number: float) -> Any:
        data = self.tensor._raw
        if isinstance(data, np.ndarray):
            return np.full(data.shape, number, self.precision)
        return np.full_like(data, number, dtype=self.precision)

    def own(self, i: int, array: Any) -> Any:
        return array

    def advance(self, rule: Elementwise, group: Group) -> None:
        tensor = self.tensor
        data, g = tensor._raw, tensor._grad
        if g is None:
            return
        self.steps[0] = t = self.steps[0] + 1
        c, state = as_arrays(rule.coefficients(group, t), self.precision), self.arrays
        if not isinstance(data, np.ndarray):  # an array of another library knows best how to cut itself
            p, g = in_precision(data, self.precision), in_precision(g, self.precision)
            rule.update(p, g, state, np.empty_like(p), np.empty_like(p), c)
            if p is not data:
                data[...] = p
        else:
            a, b = map(flat, self.scratch or self.work_in(rule))
            p, g, state = flat(data), flat(np.asarray(g)), list(map(flat, state))
            for i in range(0, data.size, BLOCK):
                j = min(i + BLOCK, data.size)
                block, slope = in_precision(p[i:j], self.precision), in_precision(g[i:j], self.precision)
                rule.update(block, slope, [x[i:j] for x in state], a[: j - i], b[: j - i], c)
                if block.base is None:  # no view, in which all is there
                    p[i:j] = block
        tensor.birth = next_birth()

    def work_in(self, rule: Elementwise) -> tuple[Array, Array]:
        self.scratch = rule.scratch_for(self.tensor.shape, self.precision)
        return self.scratch


@final
class OfValues(Memory):
    """Of the Values of a group, an element each."""

    is_small: Literal[False] = False  # they are gathered first

    def __init__(self, values: list[Value], slots: Slots) -> None:
        self.parameters = values
        super().__init__(slots)

    def filled(self, number: float) -> Array:
        return np.full(len(self.parameters), number)

    def own(self, i: int, array: Array) -> Array:
        return array[i : i + 1].reshape(())

    def advance(self, rule: Elementwise, group: Group) -> None:
        moving: dict[int, list[int]] = {}  # by step: those without a gradient stay behind
        for i, value in enumerate(self.parameters):
            if value._grad is not None:
                self.steps[i] += 1
                moving.setdefault(self.steps[i], []).append(i)
        for t, rows in moving.items():
            c = as_arrays(rule.coefficients(group, t), FLOAT)
            values = [self.parameters[i] for i in rows]
            p, g = np.array([value._raw for value in values]), np.array([float(value._grad) for value in values])
            state = [x[rows] for x in self.arrays]
            rule.update(p, g, state, np.empty_like(p), np.empty_like(p), c)
            for x, moved in zip(self.arrays, state, strict=True):
                x[rows] = moved
            for value, data in zip(values, p.tolist(), strict=True):
                value._raw, value.birth = data, next_birth()


@lru_cache(8)  # groups, mostly
def as_arrays(numbers: Numbers, dtype: Any) -> tuple[Any, ...]:
    """Coefficients as `update` takes them."""
    return tuple([np.array(x, dtype) if type(x) is float else x for x in numbers])


def never_stops() -> bool:
    """Whether NumPy raises no error where numbers over- or underflow: it is not told to, and no warning is one."""
    modes = np.geterr()
    quiet = modes == USUAL or (modes["under"] == "ignore" and QUIET.issuperset(modes.values()))
    return quiet and "error" not in map(ACTION, warnings.filters)


def memories_of(parameters: Sequence[Parameter], slots: Slots) -> list[OfTensor | OfValues]:
    values = [p for p in parameters if isinstance(p, Value)]
    tensors = [OfTensor(p, slots) for p in parameters if isinstance(p, Tensor)]
    return [*tensors, OfValues(values, slots)] if values else [*tensors]


def flat(x: Any) -> Any:
    """An array to cut blocks from, in C order: views of them where it is contiguous, copies elsewhere."""
    return x.reshape(-1) if x.flags.c_contiguous else x.flat
