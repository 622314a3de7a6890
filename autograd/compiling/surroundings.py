"""What a function names from outside, and whether that still is what it was when the function was recorded."""

from __future__ import annotations

import dis
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from itertools import chain
from operator import is_
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any, final

import numpy as np

from ..graph import Node
from ..parameters import is_model
from ..source import of_library


class Wrapper:
    """A function in other clothes: what it names is what `f` names."""

    f: Callable[..., Any]


def outside(f: Any) -> list[Callable[[], Any]]:
    """How to read what a function names: in the scopes around it, among its globals; for an object, the object.

    Functions of the user's own that it names are looked through as well, and so are the methods of models.
    """
    readers: list[Callable[[], Any]] = []
    seen: set[int] = set()
    stack = [f]
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, MethodType):
            readers.append(partial(itself, x.__self__))
            stack += [x.__func__, *own_methods(type(x.__self__))]
        elif isinstance(x, Wrapper):
            stack.append(x.f)
        elif isinstance(x, partial):
            held = (*x.args, *x.keywords.values())
            readers += [partial(itself, part) for part in held]
            stack += [x.func, *held]
        elif isinstance(x, FunctionType):
            found = [partial(contents, cell) for cell in x.__closure__ or ()]
            found += [
                partial(itself, default) for default in (*(x.__defaults__ or ()), *(x.__kwdefaults__ or {}).values())
            ]
            if not of_library(x.__globals__):
                names = sorted(set(globals_of(x.__code__)) & x.__globals__.keys())
                found += [partial(x.__globals__.get, name) for name in names]
            readers += [read for read in found if not isinstance(read(), ModuleType)]
            stack += [read() for read in found]
        elif x is f or is_model(type(x)):
            readers += [partial(itself, x)] if x is f else []  # any other has been read on the way here
            stack += own_methods(type(x))
    return readers


def own_methods(kind: type) -> Iterator[FunctionType]:
    """The methods that users wrote."""
    for base in kind.__mro__:
        if not of_library({"__name__": base.__module__}):
            yield from (x for x in vars(base).values() if isinstance(x, FunctionType))


def itself(x: Any) -> Any:
    return x


def contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def globals_of(code: CodeType) -> Iterator[str]:
    yield from (x.argval for x in dis.get_instructions(code) if x.opname in ("LOAD_GLOBAL", "LOAD_NAME"))
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from globals_of(inner)


def parts_inside(x: Any) -> Collection[Any] | None:
    """What is directly inside a container or an object, as it changes; None for anything else."""
    if isinstance(x, dict):
        return x.values()
    if isinstance(x, list | tuple | set | deque):
        return x
    return vars(x).values() if has_attributes(x) else None


@final
class Snapshot:
    """What models hold, and containers and objects that the function names: and whether it still is."""

    def __init__(self, roots: Iterable[Any]) -> None:
        self.views, self.variables, arrays = inside(roots)
        self.lengths = list(map(len, self.views))
        self.before = list(chain.from_iterable(self.views))
        self.arrays = [(array, array.tobytes()) for array in arrays]

    def holds(self) -> bool:
        return (
            list(map(len, self.views)) == self.lengths
            and all(map(is_, chain.from_iterable(self.views), self.before))
            and (not self.arrays or all(array.tobytes() == before for array, before in self.arrays))
        )


def has_attributes(x: Any) -> bool:
    return hasattr(x, "__dict__") and not isinstance(x, FunctionType | MethodType | ModuleType | Wrapper | Node)


def inside(roots: Iterable[Any]) -> tuple[list[Collection[Any]], dict[int, Node], list[Any]]:
    """What the containers inside `roots` hold, themselves included; the variables found there, and the arrays."""
    views: list[Collection[Any]] = []
    variables: dict[int, Node] = {}
    arrays: list[Any] = []
    seen: set[int] = set()
    stack = list(roots)
    while stack:
        x = stack.pop()
        if id(x) in seen:
            continue
        seen.add(id(x))
        if isinstance(x, Node):
            variables[id(x)] = x
        elif isinstance(x, np.ndarray):
            arrays.append(x)
        elif (parts := parts_inside(x)) is not None:
            views.append(parts)
            if isinstance(x, dict):
                views.append(x.keys())
            stack += parts
    return views, variables, arrays
