"""What a compiled function is called with: numbers and arrays, which may be others at the next call, and a key for all else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, final

import numpy as np

from ..graph import Node
from ..parameters import is_model
from .surroundings import has_attributes


@final
class Arguments:
    """What a function is called with: its parts, which are data and variables, and a key that stands for all else."""

    __slots__ = ("kept", "key", "own", "parts")

    def __init__(self) -> None:
        self.parts: list[Any] = []
        self.key: list[Any] = []
        self.kept: list[Any] = []  # what the key knows by its identity
        self.own = 0  # how many parts are arguments; the others are variables that the function names from outside

    def take(self, xs: Iterable[Any]) -> None:
        parts, key = self.parts, self.key
        for x in xs:
            kind = type(x)
            if kind is np.ndarray:
                parts.append(x)
                key += x.shape, x.dtype
            elif kind is float:
                parts.append(x)
                key.append(float)
            elif isinstance(x, Node):
                self.take_node(x)
            elif kind is tuple or kind is list:
                key += kind, len(x)
                self.take(x)
            elif kind is dict:
                key += dict, tuple(x)
                self.take(x.values())
            elif is_model(kind):
                self.take_named(x)
            else:
                self.take_other(x)

    def take_node(self, x: Node) -> None:
        data = x._raw
        self.parts.append(x)
        if type(data) is float:
            self.key.append(Node)
        elif isinstance(data, np.ndarray | np.generic):
            self.key += Node, data.shape, data.dtype
        else:
            raise not_numpy(f"a Tensor of {type(data).__name__}")

    def take_other(self, x: Any) -> None:
        if isinstance(x, np.floating):
            self.take([float(x)])
        elif hasattr(x, "__array_function__") and not isinstance(x, np.generic):
            raise not_numpy(f"{type(x).__name__}")
        elif is_namedtuple(x):
            self.key += type(x), len(x)
            self.take(x)
        elif has_attributes(x):
            self.take_named(x)
        else:
            try:
                hash(x)
            except TypeError:
                raise TypeError(
                    f"compile: cannot tell one {type(x).__name__} from another; give numbers, arrays, variables, models, "
                    "tuples, lists and dicts of them, or what can be hashed"
                ) from None
            self.key += type(x), x
            self.kept.append(x)

    def take_named(self, x: Any) -> None:
        """What counts as itself: a model, or what the function names from outside, unless that is a variable."""
        if isinstance(x, Node) and x.op is None:
            self.take_node(x)
        self.key.append(id(x))
        self.kept.append(x)


def not_numpy(what: str) -> TypeError:
    return TypeError(f"compile: knows NumPy's own arrays only, got {what}; np.asarray(…) makes one")


def is_namedtuple(x: Any) -> bool:
    return isinstance(x, tuple) and hasattr(x, "_fields")


def is_part(x: Any) -> bool:
    """Whether this is data or a variable, to be replaced by other such."""
    return type(x) is float or isinstance(x, Node | np.ndarray | np.floating)


def filled(x: Any, parts: Iterator[Any]) -> Any:
    """The same arguments with other parts."""
    if type(x) in (tuple, list):
        return type(x)([filled(part, parts) for part in x])
    if type(x) is dict:
        return {key: filled(part, parts) for key, part in x.items()}
    if is_namedtuple(x):
        return type(x)(*[filled(part, parts) for part in x])
    return next(parts) if is_part(x) else x
