"""Variables with their names, from whatever holds them: a module, a dict, a list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

from .plain import describe
from .tensor import Tensor
from .value import Value

Variable: TypeAlias = Value | Tensor


@runtime_checkable
class HasParameters(Protocol):
    """A model: it names its parameters. `nn.Module` is one; nothing here needs to know that."""

    def named_parameters(self) -> Iterable[tuple[str, Variable]]: ...


Parameters: TypeAlias = HasParameters | Mapping[str, Any] | Iterable[Any]


def named(what: str, parameters: Parameters) -> list[tuple[str, Variable]]:
    """Parameters with their names, checked. In a list they go by their own names, or else by their places, as in "[2]"."""
    if isinstance(parameters, HasParameters):
        return list(parameters.named_parameters())
    if isinstance(parameters, Variable) or not isinstance(parameters, Iterable):
        raise TypeError(f"{what}: expected a Module, a dict or a list of parameters, got {describe(parameters)}")
    if isinstance(parameters, Mapping):
        pairs = [(str(name), x) for name, x in parameters.items()]
    else:
        pairs = [(getattr(x, "name", None) or f"[{i}]", x) for i, x in enumerate(parameters)]
    for name, x in pairs:
        if not isinstance(x, Variable):
            raise TypeError(f"{what}: {name!r} must be a Value or a Tensor, got {describe(x)}")
    return pairs


def is_model(kind: type) -> bool:
    """Whether the objects of a class name their parameters."""
    return issubclass(kind, HasParameters)
