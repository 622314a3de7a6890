"""A step of training as one piece of code: what is descended and its gradients, compiled; and the update along them.

The code is of plain data. What it depends on are the variables that its latest run as a function reached: those of the
model, the loss and the penalty, without those that are frozen. Nothing has moved before all gradients are there.
"""

from __future__ import annotations

__all__ = ["compiled_step"]

import math
import weakref
from collections.abc import Callable, Collection, Container, Iterator, Sequence
from functools import partial
from operator import is_
from typing import Any, TypeAlias, final

import numpy as np

from chainrule.autograd import Node
from chainrule.autograd import compile as compiled
from chainrule.autograd.compiling.arguments import closed, opened
from chainrule.autograd.compiling.compile import Compiled
from chainrule.autograd.compiling.entering import MISSING, Tail, entry_of
from chainrule.autograd.compiling.kinds import Wrapper
from chainrule.autograd.compiling.plainly import Plainly
from chainrule.autograd.compiling.recording import COPY
from chainrule.autograd.compiling.results import leaves as leaves_of
from chainrule.autograd.compiling.results import raw
from chainrule.autograd.context import about_to_change, blocks, latest_change, next_birth, recording, repeated, watching
from chainrule.autograd.graph import NO_PARAMS, ancestry, cotangents
from chainrule.autograd.plain import describe, require_function
from chainrule.autograd.primitive import born

from ..inside import walk
from ..module import Module, require_module
from ..optim.clip import clip_grad_norm, clip_grad_value
from ..optim.elementwise import Elementwise
from ..optim.optimizer import Optimizer, number, owner
from .evaluation import Loss, holds_arrays

Penalty: TypeAlias = Callable[[Module], Any]
Code: TypeAlias = tuple[Compiled[..., Any], list[tuple[Node, bool]]]  # a function, and what was frozen when it was made

ARRAY = np.ndarray
MOST = 8  # pieces of code that are kept for other variables being frozen


def compiled_step(
    model: Module,
    loss: Loss,
    optimizer: Optimizer,
    *,
    clip_norm: float | None = None,
    clip_value: float | None = None,
    penalty: Penalty | None = None,
) -> CompiledStep:
    """A function that trains the model on one batch: forward, loss, backward and update from code that is made for them.

    `step(*inputs, target)` does what these lines do, clipping the gradients of the optimizer's parameters, and returns the number
    that was differentiated, the penalty included:

        optimizer.zero_grad()
        out = model(*inputs)
        total = loss(out, target) + penalty(model)
        total.backward()
        cr.nn.clip_grad_norm(optimizer.parameters, clip_norm)
        cr.nn.clip_grad_value(optimizer.parameters, clip_value)
        optimizer.step()

    Lists of numbers count as arrays. `step.output` is what the model returned in the latest call, as plain data, before the update;
    `step.source` the code, one function for the loss and all gradients, after the first call. Each gradient is in its
    parameter's `.grad`. An optimizer that evaluates the loss several times, as LBFGS, is given these lines as its closure; the
    loss and the output are then those at the start.

    Everything may change between two steps as in the loop: options of the optimizer, data of parameters, layers, what is frozen.
    What cannot be compiled (see `cr.compile`), such as a branch on a number, or a batch with variables, runs as it is,
    and one warning says why.

    Raises the errors of the loop; then weights, buffers and the optimizer's state are as before. Raises `TypeError` and
    `ValueError` for arguments that do not go together.

    >>> import chainrule as cr
    >>> model = cr.nn.Linear(1, 1, rng=0)
    >>> optimizer = cr.nn.SGD(model.parameters(), lr=0.3)
    >>> step = cr.nn.compiled_step(model, cr.nn.mse_loss, optimizer)
    >>> losses = [step([[0.0], [1.0], [2.0]], [[1.0], [3.0], [5.0]]) for _ in range(100)]
    >>> losses[-1] < 1e-6, round(model.weight.data.item(), 2)
    (True, 2.0)
    >>> step
    <compiled_step of a Linear by SGD, 93 of 100 calls compiled>
    """
    return CompiledStep(model, loss, optimizer, clip_norm, clip_value, penalty)


@final
class CompiledStep:
    """What `compiled_step` returns: call it with the inputs and the target of a batch."""

    def __init__(
        self,
        model: Module,
        loss: Loss,
        optimizer: Optimizer,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        penalty: Penalty | None = None,
    ) -> None:
        require_module("compiled_step", model)
        require_function("compiled_step: loss", loss)
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"compiled_step: optimizer is {describe(optimizer)}, expected an Optimizer")
        if penalty is not None:
            require_function("compiled_step: penalty", penalty)
        for name, limit in ("clip_norm", clip_norm), ("clip_value", clip_value):
            if limit is not None and not number(f"compiled_step: {name}", limit) >= 0.0:
                raise ValueError(f"compiled_step: {name} must not be negative, got {limit}")
        self.given = model, loss, optimizer, clip_norm, clip_value, penalty
        self.optimizer = optimizer
        self.asks_often = not isinstance(optimizer, Elementwise)
        self.output: Any = None
        self.buffers = Buffers(forward(model, loss, penalty), model)
        limits = clip_norm is not None or clip_value is not None
        clips = partial(clip, optimizer, clip_norm, clip_value) if limits else None
        self.descent = Descent("compiled_step", self.buffers, optimizer, clips)

    @property
    def source(self) -> str:
        """The Python code of the latest recording: one function of the batch and the parameters, forward and back."""
        return self.descent.code.source

    def __call__(self, *batch: Any) -> float:
        entry = self.descent.entry
        if entry is None or len(batch) < 2 or self.buffers.known or self.buffers.before:
            return self.slowly(batch)
        try:
            total, said, reached, gradients = entry(*batch)
            if reached is not None:
                self.descent.finish(reached, gradients)
        except BaseException:
            self.buffers.put_back()
            raise
        self.output = said[0]
        return number_of(total)

    def slowly(self, batch: Sequence[Any]) -> float:
        """A step in which more may happen: something is watched, buffers move, or the loss is asked for several times."""
        if len(batch) < 2:
            raise TypeError(f"compiled_step: expected inputs and a target, got {len(batch)} arguments")
        self.buffers.keep()
        try:
            if self.asks_often:
                return self.through_closure(batch)
            total, (self.output,), reached, gradients = self.descent(batch)
            self.descent.finish(reached, gradients)
        except BaseException:
            self.buffers.put_back()
            raise
        return number_of(total)

    def through_closure(self, batch: Sequence[Any]) -> float:
        """A step of an optimizer that asks for the loss as often as it likes."""
        found: list[tuple[Any, Any]] = []

        def closure() -> Any:
            total, said, reached, gradients = self.descent(batch)
            found.append((total, said))
            reached.put(gradients)
            if self.descent.clip is not None:
                self.descent.clip()
            return total

        self.optimizer.step(closure)
        total, (self.output,) = found[0]
        return number_of(total)

    def __reduce__(self) -> Any:
        """Copies have code of their own, and the model and the optimizer that are copied with them."""
        return CompiledStep, self.given

    def __repr__(self) -> str:
        model, _, optimizer, *_ = self.given
        names, code = f"a {type(model).__name__} by {type(optimizer).__name__}", self.descent.code
        why = f"; not compiled: {code.reason}" if code.reason else ""
        return f"<compiled_step of {names}, {self.descent.compiled_calls} of {self.descent.calls} calls compiled{why}>"


def moved_by(optimizer: Optimizer) -> Sequence[Any]:
    """What is another where a step along gradients is to be written anew."""
    if not isinstance(optimizer, Elementwise):
        return ()
    kind, groups = type(optimizer), optimizer.param_groups
    return optimizer.moved, optimizer.memories, groups, *groups, kind.step, kind.zero_grad, len(vars(optimizer))


def again(descent: weakref.ref[Descent], args: Any, kwargs: Any, failed: int) -> Any:
    """A batch that the entry hands on."""
    of = descent()
    assert of is not None  # who calls it
    if failed:  # the turn that it took is of no call
        of.code.counts = [n - 1 for n in of.code.counts]
    return of([x for x in args if x is not MISSING])


def forward(model: Module, loss: Loss, penalty: Penalty | None) -> Callable[..., Any]:
    """What is descended on a batch, and the prediction."""

    def ask(*batch: Any) -> Any:
        *inputs, target = batch
        prediction = model(*inputs)
        total = loss(prediction, target)
        return total if penalty is None else total + penalty(model), prediction

    return ask


def clip(optimizer: Optimizer, norm: float | None, value: float | None) -> None:
    if norm is not None:
        clip_grad_norm(optimizer.parameters, norm)
    if value is not None:
        clip_grad_value(optimizer.parameters, value)


@final
class Descent:
    """A function whose first result is to be descended, compiled together with its gradients.

    Called with a batch, it forgets gradients and returns that number, the other results, what was reached, and the gradients by that, as
    plain data.
    """

    def __init__(
        self,
        name: str,
        f: Callable[..., Any],
        optimizer: Optimizer,
        clip: Callable[[], object] | None,
        fit: str = "True",
    ) -> None:
        self.optimizer, self.clip = optimizer, clip
        self.fit = fit  # a test of `_total` and `_said`: whether they are fit for a step
        self.differentiated = Differentiated(name, f)
        self.plain = Plainly(self.differentiated)
        self.codes: list[Code] = []
        self.earlier = [0, 0]  # calls, and those that ran compiled code, of what is kept no more
        self.entries: dict[Any, Callable[..., Any] | None] = {}  # of recordings
        self.entry: Callable[..., Any] | None = None
        self.entered: Any = None  # the recording that it is of
        self.moved: Sequence[Any] = ()  # what the optimizer moved when entries were made, and all that it consists of
        self.begin_anew()

    def start(self, batch: Sequence[Any]) -> Any:
        """The same as a call, or a whole step from one function: then nothing was reached that is still to be moved."""
        return self(batch) if self.entry is None else self.entry(*batch)

    def finish(self, reached: Reached, gradients: Sequence[Any]) -> None:
        """The rest of a step."""
        reached.put(gradients)
        if self.clip is not None:
            self.clip()
        along(self.optimizer)()

    def __call__(self, batch: Sequence[Any]) -> Any:
        self.optimizer.zero_grad()  # at first: the memory of large gradients is used again
        batch = arrays_of(batch)
        if blocks and not recording():
            return self.plain(*batch)  # which says that nothing is recorded
        for p, frozen in self.differentiated.frozen:
            if p.frozen is not frozen:
                self.change_code()
                break
        found = self.code(*batch)
        if self.code.latest is not self.entered or not are_same(self.moved, moved_by(self.optimizer)):
            self.enter(batch)
        return found

    def enter(self, batch: Sequence[Any]) -> None:
        """Let steps begin with one function for all of it, once the latest code is in use, if that can be."""
        made, code, moved = self.code.latest, self.code, moved_by(self.optimizer)
        if not are_same(self.moved, moved):
            self.entries.clear()
            self.moved = moved
        self.entry = self.entered = None
        if made is None or made not in code.entries:
            return
        if made not in self.entries:
            tail = self.tail(made.form)
            other = partial(again, weakref.ref(self))
            self.entries[made] = None if tail is None else entry_of(made, batch, {}, code.caught, other, tail)
        self.entered, self.entry = made, self.entries[made]

    def tail(self, form: Any) -> Tail | None:
        """What follows the code in a step: gradients in their places, and the update. None where more is to be done."""
        optimizer, leaves = self.optimizer, form.parts[2].of.leaves
        step, kind = along(optimizer), type(optimizer)
        if not isinstance(optimizer, Elementwise) or step != optimizer.step_along:
            return None
        if any(leaf.source == "input" for leaf in leaves_of(form)):  # which may be the data of a parameter
            return None
        moved = [p for p, *_ in optimizer.moved]
        if not leaves or not all(any(x is p for p in moved) and np.ndim(x._raw) for x in leaves):
            return None
        frozen = self.differentiated.frozen
        space = {
            "_optimizer": optimizer, "_moved": optimizer.moved, "_memories": optimizer.memories, "_own": vars(optimizer),
            "_groups": optimizer.param_groups, "_kind": kind, "_step": kind.step, "_zero_grad": kind.zero_grad,
            "_finite": math.isfinite, "_clip": self.clip, "_along": step,
            **{f"_moved{i}": p for i, p in enumerate(moved)}, **{f"_leaf{i}": p for i, p in enumerate(leaves)},
            **{f"_frozen{i}": p for i, (p, _) in enumerate(frozen)},
        }  # fmt: skip
        slopes = [f"_slope{i}" for i in range(len(leaves))]
        named = {id(p): slope for p, slope in zip(leaves, slopes, strict=True)}
        update, more = optimizer.lines_along(named) or (["_along()"], {})
        tests = [
            "_optimizer.moved is _moved and _optimizer.memories is _memories and _optimizer.param_groups is _groups",
            f"_kind.step is _step and _kind.zero_grad is _zero_grad and len(_own) == {len(vars(optimizer))}",
            *(f"_groups[{i}] is _group{i}" for i in range(len(optimizer.param_groups))),
            *(f"_frozen{i}.frozen is {bool(was)}" for i, (_, was) in enumerate(frozen)),
        ]
        more |= {f"_group{i}": group for i, group in enumerate(optimizer.param_groups)}
        alone = " is ".join(f"{slope}.base" for slope in slopes)
        return Tail(
            " and ".join(tests),
            [f"{' = '.join(f'_moved{i}._grad' for i in range(len(moved)))} = None"],
            f"_total, _said, _reached, ({', '.join(slopes)},)",
            [
                f"if not ({self.fit} and {alone} is None): return _total, _said, _reached, [{', '.join(slopes)}]",
                f"{', '.join(f'_leaf{i}._grad' for i in range(len(leaves)))}, = {', '.join(slopes)},",
                *(["_clip()", "_along()"] if self.clip is not None else update),
                "return _total, _said, None, None",
            ],
            space | more,
        )

    def change_code(self) -> None:
        """Go on with code for what is frozen now."""
        for code, frozen in self.codes:
            if all(p.frozen is was for p, was in frozen):
                self.code, self.differentiated.frozen = code, frozen
                self.entry = self.entered = None
                return
        self.begin_anew()

    def begin_anew(self) -> None:
        code = compiled(self.plain)
        code.warned = any(code.warned for code, _ in self.codes)
        if len(self.codes) == MOST:
            gone, _ = self.codes.pop(0)
            self.earlier = [self.earlier[0] + gone.calls, self.earlier[1] + gone.compiled_calls]
        self.code, self.differentiated.frozen = code, []
        self.entry = self.entered = None
        self.codes.append((code, self.differentiated.frozen))

    @property
    def calls(self) -> int:
        return self.earlier[0] + sum(code.calls for code, _ in self.codes)

    @property
    def compiled_calls(self) -> int:
        return self.earlier[1] + sum(code.compiled_calls for code, _ in self.codes)


@final
class Differentiated(Wrapper):
    """The function with its gradients. What it notes of its runs, compiled code does not depend on."""

    def __init__(self, name: str, f: Callable[..., Any]) -> None:
        self.f, self.__name__ = f, name
        self.leaves: list[Node] = []  # of the latest run that somebody watched
        self.reached = Reached([])
        self.frozen: list[tuple[Node, bool]] = []  # whether variables were, for all of which code was made

    def __call__(self, *batch: Any) -> Any:
        start = next_birth()
        total, *said = self.f(*batch)
        if not isinstance(total, Node) or (total.op is not None and not total.args):
            total.backward()  # which says what is wrong
        by = watching() if blocks and repeated() else None
        known = by.data if by is not None else ()
        moved = latest_change[0] > start  # data was given to variables meanwhile: births do not say which were made
        since = math.inf if moved else start
        if blocks:  # somebody may watch, and record it next
            leaves = [x for x in ancestry(total) if x.op is None and x.birth < since and x not in known]
            self.look_at(leaves, recorded=by is not None)
        found = cotangents(total, total.seed(), Trained(since, known), create_graph=by is not None)
        reached = self.reached if are_same(found, self.reached.leaves) else Reached([*found])
        if by is None:
            self.reached = reached
        taken = {id(owner(x._raw)) for x in found}
        said = own(said, taken)  # which must not move with the weights
        taken.update(id(owner(raw(x))) for x in parts_in([batch, said]))
        return total, said, reached, apart([*found.values()], taken)

    def look_at(self, leaves: list[Node], *, recorded: bool) -> None:
        """What it is computed from must be the same while it is recorded; and frozen, or not, when its code runs."""
        if not recorded:
            self.leaves = leaves
        elif not are_same(leaves, self.leaves):
            raise TypeError("the loss depends on variables that are given, or change. Give arrays")
        else:
            seen = {id(p) for p, _ in self.frozen}
            self.frozen += [(x, x.frozen) for x in leaves if id(x) not in seen]


@final
class Trained(Container[Node]):
    """The variables from before a birth, but for those that are frozen, or stand for plain data."""

    def __init__(self, since: float, data: Container[Node]) -> None:
        self.since, self.data = since, data

    def __contains__(self, x: Any) -> bool:
        return x.op is None and x.birth < self.since and x not in self.data and not x.frozen


@final
class Reached:
    """The variables that gradients are for, in their order."""

    __slots__ = ("leaves",)

    def __init__(self, leaves: Sequence[Node]) -> None:
        self.leaves = leaves

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reached) and are_same(self.leaves, other.leaves)

    __hash__ = None  # type: ignore[assignment]

    def put(self, gradients: Sequence[Any]) -> None:
        """Add them to what is in `.grad`, as `backward` does."""
        if blocks:
            for p in self.leaves:
                about_to_change(p)
        for p, g in zip(self.leaves, gradients, strict=True):
            if p._grad is None and type(g) is ARRAY and g.base is None:
                p._grad = g
            else:
                p.add_to_grad(g, owned=True)


def are_same(xs: Collection[Any], ys: Collection[Any]) -> bool:
    return len(xs) == len(ys) and all(map(is_, xs, ys))


def own(x: Any, taken: Container[int]) -> Any:
    """The same, with copies of the arrays in it that lie in memory of others."""
    inside = opened(x)
    if inside is not None:
        return closed(x, [own(part, taken) for part in inside])
    array = raw(x)
    return copied(x) if isinstance(array, np.ndarray) and id(owner(array)) in taken else x


def apart(gradients: list[Any], taken: set[int]) -> list[Any]:
    """The same, each in memory of its own."""
    for i, g in enumerate(gradients):
        array = raw(g)
        if isinstance(array, np.ndarray):
            if array.base is not None or id(array) in taken:
                gradients[i] = copied(g)
            taken.add(id(array))
    return gradients


def copied(x: Any) -> Any:
    return born(x._raw.copy(), COPY, (x,), NO_PARAMS) if isinstance(x, Node) else x.copy()


@final
class Buffers(Wrapper):
    """A function that may move the buffers of a model, and how to put them back."""

    def __init__(self, f: Callable[..., Any], model: Module) -> None:
        self.f, self.model = f, model
        self.known = buffers_of(model)  # as of the latest run that was watched: code is made anew where they are others
        self.before: dict[int, tuple[Any, Any]] = {}

    def __call__(self, *batch: Any) -> Any:
        if not (blocks and repeated()):
            self.known = buffers_of(self.model)
            for array in self.known:
                self.before.setdefault(id(array), (array, array.copy()))
        return self.f(*batch)

    def keep(self) -> None:
        self.before = {id(array): (array, array.copy()) for array in self.known}

    def put_back(self) -> None:
        for array, before in self.before.values():
            array[...] = before


def buffers_of(model: Module) -> list[Any]:
    layers = [part for _, part in walk(model, searching=False) if isinstance(part, Module)]
    held = (getattr(layer, name, None) for layer in layers for name in layer.buffers)
    return [x for x in held if isinstance(x, np.ndarray)]


def parts_in(x: Any) -> Iterator[Any]:
    """All that lies in containers."""
    inside = opened(x)
    if inside is None:
        yield x
    for part in inside or ():
        yield from parts_in(part)


def along(optimizer: Optimizer) -> Callable[[], object]:
    """A step along gradients that are known to fit, where that is all there is to a step."""
    if isinstance(optimizer, Elementwise) and WRITTEN.isdisjoint(vars(optimizer)):
        kind = type(optimizer)
        if kind.step is Elementwise.step and kind.zero_grad is Elementwise.zero_grad:
            return optimizer.step_along
    return optimizer.step


WRITTEN = frozenset(
    ["step", "zero_grad", "update", "coefficients", "move", "look_at_groups"]
)  # what somebody may have wrapped


def arrays_of(batch: Sequence[Any]) -> Sequence[Any]:
    """The same, with an array for each list of numbers."""
    for x in batch:
        if type(x) is not ARRAY:
            return tuple(map(listed_as_array, batch))
    return batch


def listed_as_array(x: Any) -> Any:
    if not isinstance(x, list | tuple) or holds_arrays(x):
        return x
    try:
        array = np.asarray(x)
    except ValueError:  # ragged, which whoever gets it will say
        return x
    return array if array.dtype.kind in "fiub" else x


def number_of(x: Any) -> float:
    return x if type(x) is float else x.item()
