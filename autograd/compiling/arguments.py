"""What a compiled function is called with and returns: containers, the numbers and arrays in them, and a key for all else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from types import EllipsisType, NoneType
from typing import Any, final

import numpy as np

from ..graph import Node

CONSTANT = (
    int,
    bool,
    str,
    bytes,
    NoneType,
    EllipsisType,
)  # of which equal ones of one type cannot be told apart

OF_DATA = (ArithmeticError, IndexError, ValueError)  # errors that say something of the numbers, not of the function


class Refused(TypeError):
    """Why a function is not compiled; it is never raised past `compile` unless that is strict."""


class Stopped(BaseException):
    """Ends a recording at once, past whoever catches an `Exception`."""


def opened(x: Any) -> Sequence[Any] | None:
    """What is in a container, in order; None for anything else."""
    kind = type(x)
    if kind is tuple or kind is list:
        return x  # type: ignore[no-any-return]
    if kind is dict:
        return list(x.values())
    if isinstance(x, tuple) and hasattr(x, "_fields") and not getattr(x, "__dict__", None):
        return x
    if is_dataclass(x) and not isinstance(x, type):
        names = [field.name for field in fields(x)]
        if all(hasattr(x, name) for name in names) and set(getattr(x, "__dict__", ())) <= set(names):
            return [getattr(x, name) for name in names]
    return None


def closed(like: Any, parts: Iterable[Any]) -> Any:
    """A container like another, with other things in it."""
    if type(like) is dict:
        return dict(zip(like, parts, strict=True))
    if isinstance(like, list | tuple):
        return type(like)(*parts) if hasattr(like, "_fields") else type(like)(parts)
    made = object.__new__(type(like))
    for field, part in zip(fields(made), parts, strict=True):
        object.__setattr__(made, field.name, part)  # also of what is frozen
    return made


@final
class Arguments:
    """What a function is called with: its parts, which are data and variables, and a key that stands for all else."""

    __slots__ = ("containers", "kept", "key", "met", "parts")

    def __init__(self, args: Any, kwargs: Any) -> None:
        self.parts: list[Any] = []
        self.key: list[Any] = []
        self.kept: list[Any] = []  # what the key knows by its identity
        self.containers: list[Any] = []
        self.met: dict[int, int] = {}  # what was there before: two places may hold one
        self.take(args)
        if kwargs:
            self.key.append(tuple(kwargs))
            self.take(kwargs.values())

    def take(self, xs: Iterable[Any]) -> None:
        parts, key = self.parts, self.key
        for x in xs:
            kind = type(x)
            if kind is np.ndarray:
                parts.append(x)
                key += self.met.setdefault(id(x), len(self.met)), x.shape, x.dtype
            elif kind is float:
                parts.append(x)
                key.append(float)
            elif isinstance(x, Node):
                self.take_node(x)
            elif kind is tuple or kind is list:
                key += kind, len(x), self.met.setdefault(id(x), len(self.met))
                self.containers.append(x)
                self.take(x)
            elif kind in CONSTANT:
                key += kind, x
            else:
                self.take_other(x, kind)

    def take_node(self, x: Node) -> None:
        data = x._raw
        self.parts.append(x)
        number = self.met.setdefault(id(x), len(self.met))
        if type(data) is float:
            self.key += type(x), number
        elif isinstance(data, np.ndarray | np.generic):
            self.key += type(x), number, data.shape, data.dtype
        else:
            raise not_numpy(f"a Tensor of {type(data).__name__}")

    def take_other(self, x: Any, kind: type) -> None:
        if isinstance(x, np.float64):
            self.parts.append(x)
            self.key.append(kind)
        elif isinstance(x, np.floating):
            raise Refused(f"it is given a {kind.__name__}, which counts as one or as a float; give an array or a float")
        elif kind is not np.ndarray and hasattr(x, "__array_function__") and not isinstance(x, np.generic):
            raise not_numpy(kind.__name__)
        elif (inside := opened(x)) is not None:
            if kind is dict:
                self.key += dict, tuple(map(self.fixed, x))
            else:
                self.key += kind, len(inside)
                self.kept.append(kind)
            self.key.append(self.met.setdefault(id(x), len(self.met)))
            self.containers.append(x)
            self.take(inside)
        else:
            self.key.append(self.fixed(x))

    def fixed(self, x: Any) -> Any:
        """A key for what is no data: its type and contents where that is all there is to it, else its identity."""
        kind = type(x)
        if kind in CONSTANT or isinstance(x, np.dtype):
            return kind, x
        if kind in (float, complex) or (isinstance(x, np.generic) and not isinstance(x, np.void)):
            return kind, repr(x)
        if kind in (tuple, frozenset, set):
            self.containers.append(x)
            return kind, tuple(map(self.fixed, x))
        if kind in (slice, range):
            return kind, *map(self.fixed, (x.start, x.stop, x.step))
        self.kept.append(x)
        return id(x), kind


def not_numpy(what: str) -> Refused:
    return Refused(f"it is given {what}, and knows NumPy's own arrays only; np.asarray(…) makes one")


def is_part(x: Any) -> bool:
    """Whether this is data or a variable, to be replaced by other such."""
    return type(x) is float or isinstance(x, Node | np.float64) or type(x) is np.ndarray


def filled(x: Any, parts: Iterator[Any]) -> Any:
    """The same arguments with other parts."""
    if is_part(x):
        return next(parts)
    inside = opened(x)
    return x if inside is None else closed(x, [filled(part, parts) for part in inside])


def labels(name: str, x: Any) -> Iterator[str]:
    """A name for each part of an argument."""
    if is_part(x):
        yield name
    elif (inside := opened(x)) is not None:
        keys = x if type(x) is dict else [f.name for f in fields(x)] if is_dataclass(x) else range(len(inside))
        for key, part in zip(keys, inside, strict=True):
            yield from labels(f"{name}_{key}", part)
