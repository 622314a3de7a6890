"""The step of an optimizer that moves each element by itself: its rule, applied to NumPy arrays in place.

Of a large array the rule sees a block at a time, so that scratch is short: nothing of a Tensor's size is allocated in a
step. Values move together, as one array. A step marks each parameter as changed, so a graph built before it refuses to
be differentiated after it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Tensor, Value
from chainrule.autograd.context import next_birth, note_change
from chainrule.autograd.plain import describe

from ..module import Parameter, data_for
from .optimizer import Group, Optimizer, Parameters, check_keys, count

Array: TypeAlias = NDArray[Any]
Slots: TypeAlias = dict[str, float]  # the arrays to remember, by name, and what they are filled with at first
AtStep: TypeAlias = dict[int, tuple[Any, ...]]  # the coefficients at each parameter's step: mostly all are at the same

BLOCK = 524288  # elements: of longer arrays, scratch for the whole would cost memory and gain no time


class Elementwise(Optimizer):
    """The base of optimizers that move each element by itself, by a rule.

    A subclass says which arrays it remembers (`slots`), which numbers all elements share (`coefficients`), and how
    elements move (`update`).
    """

    def __init__(self, params: Parameters, defaults: Mapping[str, Any]) -> None:
        self.memories: list[list[OfTensor | OfValues]] = []  # a list for each group
        self.scratch: dict[Any, tuple[Array, Array]] = {}
        super().__init__(params, defaults)

    @abstractmethod
    def slots(self, group: Group) -> Slots:
        """The arrays to remember for each parameter of a group, by name, and what they are filled with at first."""

    @abstractmethod
    def coefficients(self, group: Group, t: int) -> tuple[Any, ...]:
        """What step `t` of a parameter, counted from 1, needs to know of its group."""

    @abstractmethod
    def update(self, p: Array, g: Array, state: Sequence[Array], a: Array, b: Array, c: tuple[Any, ...]) -> None:
        """Move `p` along its gradient `g`, in place; `g` is not written. `a` and `b` are scratch of their shape."""

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None if closure is None else closure()
        self.require_known_groups()
        for p in self.moved:  # all are looked at before anything moves
            g = p.grad
            if type(g) is not np.ndarray or type(p) is not Tensor or g.shape != p._raw.shape:
                require_fit(p)
        try:
            for group, memories in zip(self.param_groups, self.memories, strict=True):
                slots = self.slots(group)
                if memories and memories[0].slots != slots:
                    for memory in memories:
                        memory.remember(slots)
                at_step: AtStep = {}
                for memory in memories:
                    if not memory.is_small or type(memory.tensor._raw) is not np.ndarray:
                        memory.advance(self, group, at_step)
                        continue
                    tensor, steps = memory.tensor, memory.steps  # in a step of a small network every call counts
                    g = tensor.grad
                    if g is not None:
                        steps[0] = t = steps[0] + 1
                        c = at_step.get(t) or at_step.setdefault(t, self.coefficients(group, t))
                        a, b = memory.scratch or memory.work_in(self)
                        self.update(tensor._raw, g, memory.arrays, a, b, c)
                        tensor.birth = next_birth()
        finally:
            note_change()
        return loss

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        super().add_param_group(group)
        added = self.param_groups[-1]
        self.memories.append(memories_of(added["params"], self.slots(added)))
        self.moved = self.parameters

    def scratch_for(self, data: Array) -> tuple[Array, Array]:
        """Two arrays of the shape of data, or of a block; the same for all parameters of that shape."""
        key = data.dtype, data.shape
        if key not in self.scratch:
            shape = data.shape if data.size <= BLOCK else BLOCK
            self.scratch[key] = np.empty(shape, data.dtype), np.empty(shape, data.dtype)
        return self.scratch[key]

    def states(self) -> list[dict[str, Any]]:
        found = {
            id(p): m.to_dict(i) for memories in self.memories for m in memories for i, p in enumerate(m.parameters)
        }
        return [found[id(p)] for p in self.parameters]

    def checked_states(self, groups: Sequence[Group], states: Mapping[str, Any]) -> list[list[OfTensor | OfValues]]:
        numbers = {id(p): str(i) for i, p in enumerate(self.parameters)}
        check_keys("load_state_dict: state", states, numbers.values())
        found = [memories_of(group["params"], self.slots(group)) for group in groups]
        for memory in [memory for memories in found for memory in memories]:
            for i, p in enumerate(memory.parameters):
                memory.load(i, states[numbers[id(p)]], f"load_state_dict: state[{numbers[id(p)]!r}]")
        return found

    def restore(self, states: list[list[OfTensor | OfValues]]) -> None:
        self.memories = states


class Memory(ABC):
    """Parameters, and the arrays that are remembered of them."""

    parameters: list[Any]

    def __init__(self, slots: Slots) -> None:
        self.steps = [0] * len(self.parameters)  # how often each has moved
        self.state: dict[str, Any] = {}
        self.arrays: list[Any] = []
        self.remember(slots)

    def remember(self, slots: Slots) -> None:
        """Keep exactly these arrays: new ones are filled, the others stay as they are."""
        self.slots, kept = slots, self.state
        self.state = {name: kept[name] if name in kept else self.filled(x) for name, x in slots.items()}
        self.arrays = list(self.state.values())

    @abstractmethod
    def filled(self, number: float) -> Any:
        """An array to remember something of each element."""

    @abstractmethod
    def own(self, i: int, array: Any) -> Any:
        """What an array of the state has of parameter `i`, as a view."""

    @abstractmethod
    def advance(self, rule: Elementwise, group: Group, at_step: AtStep) -> None:
        """Move the parameters that have a gradient by one step of the rule; `at_step` is filled on the way."""

    def to_dict(self, i: int) -> dict[str, Any]:
        return {"step": self.steps[i], **{name: np.array(self.own(i, x)) for name, x in self.state.items()}}

    def load(self, i: int, saved: Any, where: str) -> None:
        """Take over what `to_dict` gave."""
        check_keys(where, saved, ("step", *self.state))
        self.steps[i] = count(f"{where}: 'step'", saved["step"])
        for name, array in self.state.items():
            self.own(i, array)[...] = data_for(self.parameters[i], saved[name], f"{where}: {name}")


@final
class OfTensor(Memory):
    """Of one Tensor."""

    def __init__(self, tensor: Tensor, slots: Slots) -> None:
        self.tensor, self.parameters = tensor, [tensor]
        self.scratch: tuple[Array, Array] | None = None
        self.is_small = isinstance(tensor._raw, np.ndarray) and tensor._raw.size <= BLOCK
        super().__init__(slots)

    def filled(self, number: float) -> Any:
        data = self.tensor._raw
        return np.full_like(np.empty(data.shape, data.dtype) if isinstance(data, np.ndarray) else data, number)

    def own(self, i: int, array: Any) -> Any:
        return array

    def advance(self, rule: Elementwise, group: Group, at_step: AtStep) -> None:
        tensor = self.tensor
        data, g = tensor._raw, tensor.grad
        if g is None:
            return
        self.steps[0] = t = self.steps[0] + 1
        c, state = at_step.get(t) or at_step.setdefault(t, rule.coefficients(group, t)), self.arrays
        if not isinstance(data, np.ndarray):  # an array of another library knows best how to cut itself
            rule.update(data, g, state, np.empty_like(data), np.empty_like(data), c)
        else:
            a, b = self.scratch or self.work_in(rule)
            p, g, state = flat(data), flat(g), list(map(flat, state))
            for i in range(0, data.size, BLOCK):
                j = min(i + BLOCK, data.size)
                block = p[i:j]
                rule.update(block, g[i:j], [x[i:j] for x in state], a[: j - i], b[: j - i], c)
                if not data.flags.c_contiguous:
                    p[i:j] = block
        tensor.birth = next_birth()

    def work_in(self, rule: Elementwise) -> tuple[Array, Array]:
        self.scratch = rule.scratch_for(self.tensor._raw)
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

    def advance(self, rule: Elementwise, group: Group, at_step: AtStep) -> None:
        moving: dict[int, list[int]] = {}  # by step: those without a gradient stay behind
        for i, value in enumerate(self.parameters):
            if value.grad is not None:
                self.steps[i] += 1
                moving.setdefault(self.steps[i], []).append(i)
        for t, rows in moving.items():
            c = at_step.get(t) or at_step.setdefault(t, rule.coefficients(group, t))
            values = [self.parameters[i] for i in rows]
            p, g = np.array([value._raw for value in values]), np.array([float(value.grad) for value in values])
            state = [x[rows] for x in self.arrays]
            rule.update(p, g, state, np.empty_like(p), np.empty_like(p), c)
            for x, moved in zip(self.arrays, state, strict=True):
                x[rows] = moved
            for value, number in zip(values, p.tolist(), strict=True):
                value._raw, value.birth = number, next_birth()


def require_fit(p: Parameter) -> None:
    """Raise an error if a gradient has not the shape of its parameter."""
    g: Any = p.grad
    if type(g) is float and type(p) is Value:
        return
    if (np.shape(g) != p.shape and g is not None) or isinstance(g, list | tuple | str):
        given = f"one of shape {g.shape}" if isinstance(g, np.ndarray) else describe(g)
        raise ValueError(f"step: expected a gradient of shape {p.shape} for {describe(p)}, got {given}")


def memories_of(parameters: Sequence[Parameter], slots: Slots) -> list[OfTensor | OfValues]:
    values = [p for p in parameters if isinstance(p, Value)]
    tensors = [OfTensor(p, slots) for p in parameters if isinstance(p, Tensor)]
    return [*tensors, OfValues(values, slots)] if values else [*tensors]


def flat(x: Any) -> Any:
    """An array to cut blocks from, in C order: views of them where it is contiguous, copies elsewhere."""
    return x.reshape(-1) if x.flags.c_contiguous else x.flat
