"""Module: a function with parameters, which are found by structure.

Whatever leaf Value or Tensor an attribute holds, directly or inside lists, tuples, dicts and other modules, is a
parameter; its name is the path to it. There is nothing to register and nothing to forget.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from reprlib import recursive_repr
from typing import Any, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Tensor, Value
from chainrule.autograd.primitive import constant

Parameter = Value | Tensor


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

    def forward(self, *inputs: Any, **options: Any) -> Any:
        """What the module computes."""
        raise NotImplementedError(f"{type(self).__name__} has no forward(); define one")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        return self.forward(*inputs, **options)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter once, with the path of attributes and indices that leads to it, in order of definition."""
        seen: set[int] = set()
        for path, part in walk(self):
            if isinstance(part, Value | Tensor) and part.op is None and id(part) not in seen:
                seen.add(id(part))
                yield dotted(path), part

    def parameters(self) -> list[Parameter]:
        """Every parameter once."""
        found = {id(part): part for _, part in walk(self) if isinstance(part, Value | Tensor) and part.op is None}
        return list(found.values())

    def modules(self) -> list[Module]:
        """This module and all those inside it."""
        return [part for _, part in walk(self) if isinstance(part, Module)]

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters():
            parameter.grad = None

    def train(self, mode: bool = True) -> Self:
        """Behave as in training: a layer may act differently there, by its `training` flag."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Behave as in use."""
        return self.train(False)

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """A copy of every parameter's data, by name."""
        return {name: np.array(parameter.data) for name, parameter in self.named_parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over data by name. Names and shapes must agree in full, else `ValueError` and nothing is loaded."""
        own = dict(self.named_parameters())
        problems = [f"missing {name!r}" for name in own if name not in state]
        problems += [f"unexpected {name!r}" for name in state if name not in own]
        loaded = {}
        for name in own.keys() & state.keys():
            try:
                loaded[name] = data_for(own[name], state[name], name)
            except (TypeError, ValueError) as error:
                problems.append(str(error))
        if problems:
            raise ValueError(f"load_state_dict: nothing was loaded: {'; '.join(sorted(problems))}")
        for name, data in loaded.items():
            own[name].data = data

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


def data_for(parameter: Parameter, data: Any, name: str) -> NDArray[Any]:
    """Data as the parameter can hold it, or an error that says why it cannot."""
    array = np.asarray(constant(data, repr(name)))
    if array.shape != parameter.shape:
        raise ValueError(f"{name!r} has shape {array.shape}, expected {parameter.shape}")
    dtype = parameter.dtype if isinstance(parameter, Tensor) else np.dtype(float)
    with np.errstate(over="ignore"):
        converted = array.astype(dtype)
    if not np.array_equal(np.isfinite(array), np.isfinite(converted)):
        raise ValueError(f"{name!r} has numbers too large for {dtype}")
    return converted


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
        yield path, part


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


CONTAINERS = (Module, dict, list, tuple)
