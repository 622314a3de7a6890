"""Module: a function with parameters, which are found by structure.

Whatever leaf Value or Tensor an attribute holds, directly or inside lists, tuples, dicts and other modules, is a
parameter; its name is the path to it. There is nothing to register and nothing to forget: one that would not be found
is an error (`inside.py`). An array is a constant, unless its class names it among its `buffers`: then it is state, saved
and loaded with the parameters. What a child module overrides is asked of the child.
"""

from __future__ import annotations

__all__ = ["Module"]

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain, repeat, starmap
from operator import setitem
from reprlib import recursive_repr
from typing import Any, ClassVar, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from chainrule.autograd import Tensor, Value
from chainrule.autograd.context import about_to_change, births, blocks, latest_change, next_birth, tell_of
from chainrule.autograd.graph import Node
from chainrule.autograd.guards.settings import flag
from chainrule.autograd.operators import plain
from chainrule.autograd.plain import constant, describe

from .inside import Parameter as Parameter
from .inside import (
    Path,
    Searched,
    a_or_an,
    array_of,
    children,
    dotted,
    is_asked,
    leaf,
    part_at,
    restorer,
    slots_of,
    unused,
    walk,
)

# What a child may have ways of its own for
STATE = frozenset(["state_dict", "load_state_dict"])
LISTING = frozenset(["parameters", "named_parameters"])
ZERO_GRAD, TRAIN, FREEZE = frozenset(["zero_grad"]), frozenset(["train"]), frozenset(["freeze", "unfreeze"])
ASKED = STATE | LISTING | ZERO_GRAD | TRAIN | FREEZE


class Module(Searched):
    """The base of all layers and models: give a subclass parameters as attributes and a `forward`.

    >>> import chainrule as cr
    >>> class Scale(cr.nn.Module):
    ...     def __init__(self):
    ...         self.factor = cr.Value(2.0)
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> scale = Scale()
    >>> scale(3.0)
    Value(6.0)
    >>> scale.state_dict()
    {'factor': array(2.)}
    """

    training: bool = True
    frozen: bool = False
    in_training: bool = True  # what `training` is, or would be if it were not frozen
    buffers: ClassVar[tuple[str, ...]] = ()  # the attributes that hold arrays which are state, but no parameters

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        cls.slots = tuple([name for base in cls.__mro__ for name in slots_of(base)])
        cls.overrides = frozenset(name for name in ASKED if getattr(cls, name) is not getattr(Module, name))
        for path, x in class_attributes(cls):
            if isinstance(x, Module | Parameter):
                raise TypeError(
                    f"{cls.__name__}: {dotted(path)!r} is {a_or_an(x)} on the class, which all its instances would share "
                    "and none would find; set it in __init__, as self.…"
                )

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); define one")

    def __setattr__(self, name: str, x: Any) -> None:
        if x is not None and not isinstance(x, Parameter) and isinstance(vars(self).get(name), Parameter):
            raise TypeError(
                f"{type(self).__name__}: {name!r} is a parameter, and would vanish behind {describe(x)}. Set its numbers by "
                f"{name}.data = …; to train it no more, freeze() the module; to do without it, set it to None first"
            )
        if name in ASKED:
            super().__setattr__("overrides", self.overrides | {name})
        super().__setattr__(name, x)

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        if blocks:
            about_to_change(self)
        start = next_birth()
        y = self.forward(*inputs, **options) if options else self.forward(*inputs)
        if isinstance(y, Node):
            if y.birth > start:
                y.call = self, start, y.call
        elif isinstance(y, list | tuple):
            for part in y:
                if isinstance(part, Node) and part.birth > start:
                    part.call = self, start, part.call
        return y

    def named_state(self) -> Iterator[tuple[str, Parameter | NDArray[Any]]]:
        """Every parameter and buffer once, with the path of attributes and indices that leads to it, in order of
        definition.

        Raises `TypeError` where an attribute holds the result of an operation, which is no parameter, or what cannot be
        searched leads to a parameter; `ValueError` where two of them would have one name.
        """
        return ((name, part) for name, part in stateful(self) if not isinstance(part, Module))

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with the path of attributes and indices that leads to it, in order of definition."""
        seen: set[int] = set()
        names: set[str] = set()
        kept = {id(p) for p in self.parameters()} if LISTING & self.overrides == {"parameters"} else None
        for path, part in walk(self, LISTING):
            found: Iterable[tuple[str, Parameter]] = ()
            if isinstance(part, Parameter):
                found = [(dotted(path), leaf(path, part))]
            elif part is not self and is_asked(part, LISTING):
                found = [(dotted((path, name)), p) for name, p in part.named_parameters()]
            for name, p in found:
                if id(p) not in seen and (kept is None or id(p) in kept):
                    seen.add(id(p))
                    yield unused(names, name), p

    def named_buffers(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every array that a module inside names among its `buffers`, with its path, in order of definition."""
        return ((name, part) for name, part in self.named_state() if not isinstance(part, Parameter))

    def parameters(self) -> list[Parameter]:
        """Every parameter once."""
        if LISTING & self.overrides == {"named_parameters"}:
            return [p for _, p in self.named_parameters()]
        found: dict[int, Parameter] = {}
        for path, part in walk(self, LISTING):
            if isinstance(part, Parameter):
                found[id(part)] = leaf(path, part)
            elif part is not self and is_asked(part, LISTING):
                found |= {id(p): p for p in part.parameters()}
        return list(found.values())

    def generators(self) -> list[np.random.Generator]:
        """Every random generator found inside, once: with the state of a model, what it takes to resume training.

        Raises `TypeError` where what cannot be searched leads to one.
        """
        found = {id(x): x for _, x in walk(self, sought=(Generator,)) if isinstance(x, Generator)}
        return list(found.values())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module, whose path is empty, and all those inside it, each once and with the path that leads to it."""
        return ((dotted(path), part) for path, part in walk(self) if isinstance(part, Module))

    def modules(self) -> list[Module]:
        """This module and all those inside it."""
        return [module for _, module in self.named_modules()]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        tell_of("zero_grad()")
        if blocks:
            about_to_change(self)
        for path, part in list(walk(self, ZERO_GRAD, searching=False)):
            if isinstance(part, Parameter):
                leaf(path, part).grad = None
            elif part is not self and is_asked(part, ZERO_GRAD):
                part.zero_grad()

    def train(self, mode: bool = True) -> Self:
        """Behave as in training: a layer may act differently there, by its `training` flag. What is frozen stays as in use."""
        mode = flag("train: mode", mode)
        tell_of("train() or eval()")
        if blocks:
            about_to_change(self)
        for _, part in list(walk(self, TRAIN)):
            if isinstance(part, Module):
                if part is not self and is_asked(part, TRAIN):
                    part.train(mode)
                else:
                    part.in_training, part.training = mode, mode and not part.frozen
        return self

    def eval(self) -> Self:
        """Behave as in use."""
        return self.train(False)

    def freeze(self) -> Self:
        """Stay as it is: `backward` gives its parameters no gradient, and it behaves as in use, also in training.

        So statistics of batches stand still, and nothing is dropped out. The parameters stay where they are, in
        `parameters()` and in the state. Gradients that you ask for by name (`cr.gradients`, `cr.grad`) are there as ever.

        >>> import chainrule as cr
        >>> model = cr.nn.Sequential(cr.nn.Linear(1, 1, rng=0), cr.nn.Linear(1, 1, rng=1))
        >>> _ = model[0].freeze()
        >>> cr.sum(model([[1.0]])).backward()
        >>> model[0].weight.grad is None, model[1].weight.grad is None
        (True, False)
        """
        return self.frozen_or_not(True)

    def unfreeze(self) -> Self:
        """Learn again, and behave as `train` or `eval` said last."""
        return self.frozen_or_not(False)

    def frozen_or_not(self, frozen: bool) -> Self:
        tell_of("freeze() or unfreeze()")
        if blocks:
            about_to_change(self)
        for _, part in list(walk(self, FREEZE)):
            if part is not self and is_asked(part, FREEZE):
                part.freeze() if frozen else part.unfreeze()
            elif isinstance(part, Module):
                part.frozen, part.training = frozen, part.in_training and not frozen
            elif isinstance(part, Parameter):
                part.frozen, part.grad = frozen, None
        return self

    def kept(self) -> Callable[[], None]:
        """How to put back what this module and those inside hold now, but the data of parameters."""
        return restorer(self)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """A copy of the data of every parameter and buffer, by name; a shared parameter is listed once, by its first."""
        state: dict[str, NDArray[Any]] = {}
        for name, x in stateful(self):
            if isinstance(x, Module):
                found = {f"{name}.{key}": array for key, array in x.state_dict().items()}
            else:
                found = {name: np.array(plain(x) if isinstance(x, Parameter) else x)}
            if twice := found.keys() & state.keys():
                raise ValueError(f"two parts of the module are called {min(twice)!r}; rename a key on the way to one")
            state |= found
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over data by name. Names and shapes must agree in full, else `ValueError` and nothing is loaded.

        Interrupted, it has loaded all or nothing. A shared parameter may be given by any of the paths to it, or by
        several (as PyTorch lists it) with the same data.
        """
        if not isinstance(state, Mapping):
            hint = "; of a module, give its state_dict()" if isinstance(state, Module) else ""
            raise TypeError(f"load_state_dict expects a mapping of names to arrays, got {describe(state)}{hint}")
        parts = dict(stateful(self))
        children = {path: part for path, part in parts.items() if isinstance(part, Module)}
        own = {name: part for name, part in parts.items() if name not in children}
        data, theirs = shared_out(self, own, children, state)
        load([(own[name], x) for name, x in data.items()], children, theirs)

    def describe(self) -> str:
        """What the repr says of this module itself, in its parentheses."""
        return ""

    @recursive_repr()
    def __repr__(self) -> str:
        lines = [f"{type(self).__name__}({self.describe()})"]
        for name, child in children(self):
            first, *rest = repr(child).splitlines()
            lines += [f"  ({name}) {first}", *(f"  {line}" for line in rest)]
        return "\n".join(lines)


def class_attributes(cls: type) -> Iterator[tuple[Path, Any]]:
    """What a class has, and what those have that it is mixed of."""
    try:
        for base in cls.__mro__:
            if base is cls or not issubclass(base, Searched):
                yield from walk(dict(vars(base)))
    except TypeError as error:
        raise TypeError(f"{cls.__name__}: {error}") from None


def stateful(module: Module) -> Iterator[tuple[str, Any]]:
    """Every parameter and buffer with its name, and the children that have ways of their own to say or to take over their state."""
    seen: set[int] = set()
    names: set[str] = set()
    buffers: set[str] = set()
    for path, part in walk(module, STATE):
        if part is not module and is_asked(part, STATE):
            yield dotted(path), part
        elif isinstance(part, Module):
            buffers.update(dotted((path, name)) for name in type(part).buffers)
        elif isinstance(part, Parameter):
            if id(part) not in seen:
                seen.add(id(part))
                yield unused(names, dotted(path)), leaf(path, part)
        elif buffers and part is not None and (name := dotted(path)) in buffers:
            yield unused(names, name), array_of(part, name)


def shared_out(
    module: Module, own: Mapping[str, Any], children: Mapping[str, Module], state: Mapping[str, Any]
) -> tuple[dict[str, NDArray[Any]], dict[str, dict[str, Any]]]:
    """Which of the data in a state is for which part of its own, and for which child; an error if not all fits all."""
    names = {id(x): name for name, x in own.items()}
    data: dict[str, NDArray[Any]] = {}
    theirs: dict[str, dict[str, Any]] = {path: {} for path in children}
    problems = []
    given = set()
    for key, x in state.items():
        if path := next((path for path in children if str(key).startswith(f"{path}.")), ""):
            theirs[path][key.removeprefix(f"{path}.")] = x
            continue
        name = key if key in own else names.get(id(part_at(module, key)))
        if name is None:
            problems.append(f"unexpected {key!r}")
            continue
        given.add(name)
        try:
            array = data_for(own[name], x, key)
        except (TypeError, ValueError) as error:
            problems.append(str(error))
            continue
        if not np.array_equal(data.setdefault(name, array), array, equal_nan=True):
            problems.append(f"{key!r} is {name!r} under another name, but is given other numbers")
    problems += [f"missing {name!r}" for name in own if name not in given]
    if problems:
        raise ValueError(f"load_state_dict: nothing was loaded: {'; '.join(sorted(problems))}")
    return data, theirs


def load(
    data: list[tuple[Parameter | NDArray[Any], NDArray[Any]]],
    children: Mapping[str, Module],
    theirs: Mapping[str, dict[str, Any]],
) -> None:
    """Give data to parts, and states to children, or leave all as it was."""
    before = {path: child.state_dict() for path, child in children.items()}
    undone = data if children else []  # what is taken over at once has nothing to undo
    mine = [(own, np.array(plain(own) if isinstance(own, Parameter) else own)) for own, _ in undone]
    said = {}
    try:
        for path, child in children.items():
            child.load_state_dict(theirs[path])
            said[path] = child.state_dict()
        replace(data)
        for path, child in children.items():
            if not same(child.state_dict(), said[path]):  # another has loaded something else into what they share
                raise ValueError(
                    f"load_state_dict: nothing was loaded: {path!r} shares a parameter with another part of the module, "
                    "and is given other numbers for it"
                )
    except BaseException:
        replace(mine)
        for path, child in children.items():
            child.load_state_dict(before[path])
        raise


def replace(data: list[tuple[Parameter | NDArray[Any], NDArray[Any]]]) -> None:
    """Give new data, which nobody else has, to parameters and buffers: what assigning each would do, but at once."""
    tell_of("a change to a variable")
    parameters = [(p, x.item() if isinstance(p, Value) else x) for p, x in data if isinstance(p, Parameter)]
    at_once(
        starmap(setitem, [(buffer, ..., x) for buffer, x in data if not isinstance(buffer, Parameter)]),
        starmap(setattr, [(p, "_raw", x) for p, x in parameters]),
        starmap(setattr, [(p, "seal", None) for p, _ in parameters if isinstance(p, Tensor)]),
        map(setattr, [p for p, _ in parameters], repeat("birth"), births),
        map(setitem, [latest_change], [0], births),
    )


def at_once(*changes: Iterable[None]) -> None:
    """Make changes between which no Ctrl-C can come: it is heeded where Python's bytecode runs, and here none does.

    So each is an iterator of C that makes one change at a step, as `map` over `setattr`, and none raises an error.
    """
    deque(chain(*changes), maxlen=0)


def data_for(own: Parameter | NDArray[Any], data: Any, name: str) -> NDArray[Any]:
    """Data as the parameter or buffer can hold it, or an error that says why it cannot."""
    array = np.asarray(constant(data, repr(name)))
    if array.shape != own.shape:
        raise ValueError(f"{name!r} has shape {array.shape}, expected {own.shape}")
    if isinstance(own, np.ndarray) and not own.flags.writeable:
        raise ValueError(f"{name!r} is read-only")
    dtype = np.dtype(float) if isinstance(own, Value) else own.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype)
    if dtype.kind != "f":
        if not np.array_equal(array, converted):
            raise ValueError(f"{name!r} has numbers that {dtype} cannot hold")
    elif not np.array_equal(np.isfinite(array), np.isfinite(converted)):
        raise ValueError(f"{name!r} has numbers too large for {dtype}")
    return converted


def same(x: Any, y: Any) -> bool:
    """Whether two states have the same arrays, bit for bit."""
    if isinstance(x, Mapping):
        return isinstance(y, Mapping) and x.keys() == y.keys() and all(same(x[key], y[key]) for key in x)
    return not isinstance(x, np.ndarray) or x.tobytes() == np.asarray(y).tobytes()


def require_module(what: str, model: Any) -> None:
    if not isinstance(model, Module):
        raise TypeError(f"{what}: expected a Module as its model, got {describe(model)}")


@contextmanager
def in_use(model: Module) -> Iterator[None]:
    """A block in which all layers behave as in use; afterwards, also after an error, each as before."""
    with modes_kept(model):
        model.eval()
        yield


@contextmanager
def modes_kept(model: Module) -> Iterator[None]:
    """A block after which each layer behaves as before; one that overrides `train` is told, too."""
    modes = [(module, module.training, module.in_training) for module in model.modules()]
    try:
        yield
    finally:
        back = [{"training": training and not m.frozen, "in_training": last} for m, training, last in modes]
        at_once(map(dict.update, [vars(m) for m, _, _ in modes], back))
        for module, training, _ in modes:
            if "train" in module.overrides:
                module.train(training)
        at_once(map(dict.update, [vars(m) for m, _, _ in modes], back))
