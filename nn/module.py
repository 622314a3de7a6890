"""Module: a function with parameters, which are found by structure.

Whatever leaf Value or Tensor an attribute holds, directly or inside lists, tuples, dicts and other modules, is a
parameter; its name is the path to it. There is nothing to register and nothing to forget: one in a set or a deque or
on the class, where it would not be found, is an error. An array is a constant, unless its class names it among its
`buffers`: then it is state, saved and loaded with the parameters.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from reprlib import recursive_repr
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Tensor, Value
from chainrule.autograd.context import next_birth, tell_of
from chainrule.autograd.graph import Call, Node
from chainrule.autograd.operators import plain
from chainrule.autograd.plain import constant, describe

Parameter = Value | Tensor
new_call = tuple.__new__  # half the time of Call(...), in a step of a small network six times


class Module:
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
    buffers: ClassVar[tuple[str, ...]] = ()  # the attributes that hold arrays which are state, but no parameters

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for path, x in walk(dict(vars(cls))):
            if isinstance(x, Module | Parameter):
                raise TypeError(
                    f"{cls.__name__}: {dotted(path)!r} is {a_or_an(x)} on the class, which all its instances would share "
                    "and none would find; set it in __init__, as self.…"
                )

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); define one")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        start = next_birth()
        y = self.forward(*inputs, **options)
        if isinstance(y, Node):
            if y.birth > start:
                y.call = new_call(Call, (self, start, y.call))
        elif isinstance(y, list | tuple):
            for part in y:
                if isinstance(part, Node) and part.birth > start:
                    part.call = new_call(Call, (self, start, part.call))
        return y

    def named_state(self) -> Iterator[tuple[str, Parameter | NDArray[Any]]]:
        """Every parameter and buffer once, with the path of attributes and indices that leads to it, in order of
        definition.

        Raises `TypeError` where an attribute holds the result of an operation, which is no parameter, `ValueError` where
        two of them would have one name.
        """
        seen: set[int] = set()
        names: set[str] = set()
        buffers: set[str] = set()
        for path, part in walk(self):
            if isinstance(part, Module):
                buffers.update(dotted((path, name)) for name in type(part).buffers)
            elif isinstance(part, Parameter):
                if id(part) not in seen:
                    seen.add(id(part))
                    yield unused(names, dotted(path)), leaf(path, part)
            elif buffers and part is not None and (name := dotted(path)) in buffers:
                yield unused(names, name), array_of(part, name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with the path of attributes and indices that leads to it, in order of definition."""
        return ((name, part) for name, part in self.named_state() if isinstance(part, Parameter))

    def named_buffers(self) -> Iterator[tuple[str, NDArray[Any]]]:
        """Every array that a module inside names among its `buffers`, with its path, in order of definition."""
        return ((name, part) for name, part in self.named_state() if not isinstance(part, Parameter))

    def parameters(self) -> list[Parameter]:
        """Every parameter once."""
        return list({id(x): leaf(path, x) for path, x in walk(self) if isinstance(x, Parameter)}.values())

    def generators(self) -> list[np.random.Generator]:
        """Every random generator found inside, once: with the state of a model, what it takes to resume training."""
        found = {id(part): part for _, part in walk(self) if isinstance(part, np.random.Generator)}
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
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Self:
        """Behave as in training: a layer may act differently there, by its `training` flag."""
        tell_of("train() or eval()")
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Behave as in use."""
        return self.train(False)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """A copy of the data of every parameter and buffer, by name; a shared parameter is listed once, by its first."""
        return {name: np.array(plain(x) if isinstance(x, Parameter) else x) for name, x in self.named_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over data by name. Names and shapes must agree in full, else `ValueError` and nothing is loaded.

        A shared parameter may be given by any of the paths to it, or by several (as PyTorch lists it) with the same data.
        """
        own = dict(self.named_state())
        names = {id(x): name for name, x in own.items()}
        loaded: dict[str, NDArray[Any]] = {}
        problems = []
        given = set()
        for key, data in state.items():
            name = key if key in own else names.get(id(part_at(self, key)))
            if name is None:
                problems.append(f"unexpected {key!r}")
                continue
            given.add(name)
            try:
                array = data_for(own[name], data, key)
            except (TypeError, ValueError) as error:
                problems.append(str(error))
                continue
            if not np.array_equal(loaded.setdefault(name, array), array, equal_nan=True):
                problems.append(f"{key!r} is {name!r} under another name, but is given other numbers")
        problems += [f"missing {name!r}" for name in own if name not in given]
        if problems:
            raise ValueError(f"load_state_dict: nothing was loaded: {'; '.join(sorted(problems))}")
        for name, data in loaded.items():
            target = own[name]
            if isinstance(target, Parameter):
                target.data = data
            else:
                target[...] = data

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


def data_for(own: Parameter | NDArray[Any], data: Any, name: str) -> NDArray[Any]:
    """Data as the parameter or buffer can hold it, or an error that says why it cannot."""
    array = np.asarray(constant(data, repr(name)))
    if array.shape != own.shape:
        raise ValueError(f"{name!r} has shape {array.shape}, expected {own.shape}")
    dtype = np.dtype(float) if isinstance(own, Value) else own.dtype
    with np.errstate(over="ignore", invalid="ignore"):
        converted = array.astype(dtype)
    if dtype.kind != "f":
        if not np.array_equal(array, converted):
            raise ValueError(f"{name!r} has numbers that {dtype} cannot hold")
    elif not np.array_equal(np.isfinite(array), np.isfinite(converted)):
        raise ValueError(f"{name!r} has numbers too large for {dtype}")
    return converted


def leaf(path: Path, node: Parameter) -> Parameter:
    """A parameter, or an error: what was computed once would pass for a constant that follows nothing."""
    if node.op is not None:
        raise TypeError(
            f"{dotted(path)!r} holds {describe(node)}, the result of an operation, and so no parameter. Compute it in "
            "forward(), or keep its .data: as it is for a constant, as a new Tensor or Value for a parameter"
        )
    return node


def unused(names: set[str], name: str) -> str:
    """A name that is new among the names, which it joins."""
    if name in names:
        raise ValueError(f"two parts of the module are called {name!r}; rename a key on the way to one")
    names.add(name)
    return name


def array_of(x: Any, name: str) -> NDArray[Any]:
    if not isinstance(x, np.ndarray):
        raise TypeError(f"{name!r} is among the buffers of its module, and must be an array, got {describe(x)}")
    return x


Path: TypeAlias = tuple[Any, ...]  # (the path to the container, the key in it), or () for the root


def items_of(x: Any) -> Iterable[tuple[Any, Any]]:
    """The parts directly inside a module or a container, with their keys."""
    if isinstance(x, Module):
        return vars(x).items()
    return x.items() if isinstance(x, dict) else enumerate(x)


def walk(root: Any) -> Iterator[tuple[Path, Any]]:
    """Everything inside `root`, itself included, with its path, in order of definition; each container once."""
    seen: set[int] = set()
    stack: list[tuple[Path, Any]] = [((), root)]
    while stack:
        path, part = stack.pop()
        if isinstance(part, CONTAINERS):
            if id(part) in seen:
                continue
            seen.add(id(part))
            stack.extend([((path, key), x) for key, x in items_of(part)][::-1])
        elif isinstance(part, UNSEARCHED):
            refuse_hidden(path, part)
        yield path, part


def refuse_hidden(path: Path, container: Any) -> None:
    """A parameter or a module in a container that has no order, or no names to give, would be forgotten: an error."""
    for _, x in walk(list(container)):
        if isinstance(x, Module | Parameter):
            raise TypeError(
                f"{dotted(path)!r} is a {type(container).__name__} with {a_or_an(x)} inside, which is not found there; "
                "use a list, a tuple or a dict"
            )


def part_at(root: Any, name: Any) -> Any:
    """What a dotted path leads to, or None. Unlike in `walk`, every path to what is shared counts."""
    stack = [(root, str(name))]
    while stack:
        part, rest = stack.pop()
        for key, x in items_of(part):
            if str(key) == rest:
                return x
            if isinstance(x, CONTAINERS) and rest.startswith(f"{key}."):
                stack.append((x, rest.removeprefix(f"{key}.")))
    return None


def a_or_an(x: Any) -> str:
    name = type(x).__name__
    return f"an {name}" if name[0] in "AEIOU" else f"a {name}"


def dotted(path: Path) -> str:
    keys: list[str] = []
    while path:
        path, key = path
        keys.append(str(key))
    return ".".join(reversed(keys))


def children(module: Module) -> Iterator[tuple[str, Module]]:
    """The modules directly inside, also those in its lists and dicts."""
    for key, part in items_of(module):
        if isinstance(part, Module):
            yield key, part
        elif isinstance(part, CONTAINERS):
            yield from ((f"{key}.{i}", x) for i, x in items_of(part) if isinstance(x, Module))


@contextmanager
def in_use(model: Module) -> Iterator[None]:
    """A block in which all layers behave as in use; afterwards, also after an error, each as before."""
    with modes_kept(model):
        model.eval()
        yield


@contextmanager
def modes_kept(model: Module) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


CONTAINERS = (Module, dict, list, tuple)
UNSEARCHED = (set, frozenset, deque)
