"""What a function reads beside its arguments: all that the frames it ran in name, and what lies in that; and whether it still is so.

What was found is compared by identity, in bulk, before each call: views hold what containers hold now, reads fetch single values.
What can change without showing in one of these ways is `hidden`: then the function is not compiled.
"""

from __future__ import annotations

import datetime
import decimal
import fractions
import random
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextvars import ContextVar
from functools import partial, partialmethod
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    EllipsisType,
    FunctionType,
    GenericAlias,
    GetSetDescriptorType,
    MappingProxyType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    NoneType,
    NotImplementedType,
    SimpleNamespace,
    UnionType,
    WrapperDescriptorType,
)  # fmt: skip
from typing import Any, NamedTuple, TypeVar, final

import numpy as np

from ..graph import Node
from ..guards.seals import Seal, seal, unchanged
from ..parameters import is_model
from ..source import of_library


class Wrapper:
    """A function in other clothes: what it names is what `f` names."""

    f: Callable[..., Any]


class Read(NamedTuple):
    """Where a value is found: `of(key)`, at any time; and what that is called."""

    of: Callable[[Any], Any]
    key: Any
    label: str


NUMBERS_AND_TEXT = {bool, int, float, complex, str, bytes, *np.sctypeDict.values()}
FIXED = {
    *NUMBERS_AND_TEXT, NoneType, EllipsisType, NotImplementedType, range, np.dtype, np.ufunc, CodeType, re.Pattern,
    decimal.Decimal, fractions.Fraction, datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
    WrapperDescriptorType, MethodDescriptorType, GetSetDescriptorType, MemberDescriptorType, GenericAlias, UnionType,
    type(threading.Lock()), type(threading.RLock()), type(np.sum), TypeVar,
}  # of which one is always the same  # fmt: skip
CONTAINERS = (dict, list, tuple, set, frozenset, deque)
GENERATORS = (np.random.Generator, np.random.RandomState, np.random.BitGenerator, random.Random)
BASES = (
    *CONTAINERS,
    int,
    float,
    complex,
    str,
    bytes,
    object,
    SimpleNamespace,
    Node,
    random.Random,
    BaseException,
)  # that Python's own classes build on
BY_C = (MethodDescriptorType, WrapperDescriptorType, GetSetDescriptorType, ClassMethodDescriptorType)
DATA = (Node, np.ndarray)
METHODS = (FunctionType, staticmethod, classmethod, property, partialmethod)


@final
class Surroundings:
    """What was found from some places on, and as it was when it was found."""

    def __init__(self, names: Collection[str], everything: bool, caught: Collection[Read] = ()) -> None:
        self.names, self.everything = names, everything  # the attributes that are asked for, and whether any may be
        self.caught = {id(read.key) for read in caught}  # the cells that inputs are in
        self.cells: dict[int, set[CodeType]] = {}  # whose each is
        self.seen: dict[int, Any] = {}
        self.reads: dict[tuple[int, Any], tuple[Read, Any]] = {}
        self.views: list[tuple[Collection[Any], list[Any], str]] = []
        self.arrays: list[tuple[Any, Seal, str]] = []
        self.variables: dict[int, tuple[Node, int, Any, str]] = {}  # with birth and gradient
        self.generators: dict[int, tuple[Any, str, str]] = {}  # with state
        self.codes: set[CodeType] = set()  # of functions whose variables are seen
        self.hidden: tuple[str, Any] | None = None  # what cannot be looked into

    def add(self, places: Iterable[Read]) -> None:
        """Look at what is found there, and at all that lies in it."""
        stack: list[tuple[Any, str]] = []
        for place in places:
            self.read(place, stack)
        while stack:
            x, label = stack.pop()
            if not isinstance(x, ModuleType):  # of which other names may be asked for
                if id(x) in self.seen:
                    continue
                self.seen[id(x)] = x
            self.look_into(x, label, stack)

    def read(self, place: Read, stack: list[tuple[Any, str]], owner: Any = None) -> None:
        key = id(owner), place.key if isinstance(place.key, str) else id(place.key)
        if key not in self.reads:
            x = place.of(place.key)
            self.reads[key] = place, x
            if type(x) not in FIXED:
                stack.append((x, place.label))

    def view(self, parts: Collection[Any], label: str, stack: list[tuple[Any, str]]) -> None:
        then = list(parts)
        self.views.append((parts, then, label))
        stack += [(part, label) for part in then if type(part) not in FIXED]

    def look_into(self, x: Any, label: str, stack: list[tuple[Any, str]]) -> None:
        if isinstance(x, Node):
            self.variables[id(x)] = x, x.birth, x._grad, label
            if self.asked("name"):
                self.read(Read(partial(slot, x), "name", f"{label}.name"), stack, x)
        elif isinstance(x, np.ndarray) and not x.dtype.hasobject:
            self.arrays.append((x, seal(x), label))
        elif isinstance(x, GENERATORS):
            self.generators[id(x)] = x, state_of(x), label
        elif isinstance(x, FunctionType):
            self.look_into_function(x, label, stack)
        elif isinstance(x, type):
            self.look_into_class(x, stack)
        elif isinstance(x, ModuleType):
            for name in self.names & vars(x).keys() if not of_library(vars(x)) else ():
                self.read(Read(vars(x).get, name, f"{x.__name__}.{name}"), stack, vars(x))
        elif (parts := parts_of(x)) is not None:
            stack += [(part, label) for part in parts]
        elif isinstance(x, MappingProxyType):
            self.view(x.values(), label, stack)
            self.view(x.keys(), label, stack)
        elif isinstance(x, ContextVar):
            self.read(Read(current, x, x.name), stack)
        elif has_bytes(x):
            self.read(Read(as_bytes, x, label), stack)
        elif all(base in BASES or is_pythons(base) for base in type(x).__mro__):
            self.look_into_object(x, label, stack)
        else:
            self.hidden = self.hidden or (label, x)

    def look_into_function(self, f: FunctionType, label: str, stack: list[tuple[Any, str]]) -> None:
        self.codes.add(f.__code__)
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            self.cells.setdefault(id(cell), set()).add(f.__code__)
            if id(cell) not in self.caught:
                self.read(Read(contents, cell, name), stack, cell)
        if not of_library(f.__globals__):
            for part in "__code__", "__defaults__", "__kwdefaults__":
                self.read(Read(partial(getattr, f), part, label), stack, f)
            if vars(f):
                self.view(vars(f).values(), label, stack)

    def look_into_class(self, kind: type, stack: list[tuple[Any, str]]) -> None:
        if not is_pythons(kind) or is_ours(kind):
            return
        held = vars(kind)
        getattr(kind, "__annotations__", None)  # some are made when they are asked for, as if something had changed
        names = {name for base in kind.__mro__ if is_pythons(base) for name in vars(base)}
        for name in names:
            if self.asked(name) or (name in held and isinstance(held[name], METHODS)):
                self.read(Read(held.get, name, f"{kind.__qualname__}.{name}"), stack, kind)
        if any(map(is_ours, kind.__mro__)):  # which knows names of its own
            self.read(Read(len, held, f"the class {kind.__qualname__}"), stack)
        stack += [(base, "") for base in kind.__bases__]

    def look_into_object(self, x: Any, label: str, stack: list[tuple[Any, str]]) -> None:
        kind = type(x)
        stack.append((kind, ""))
        if isinstance(x, dict):
            self.view(x.values(), label, stack)
            self.view(x.keys(), label, stack)
        elif kind is tuple or kind is frozenset:
            stack += [(part, label) for part in x if type(part) not in FIXED]
        elif isinstance(x, CONTAINERS):
            self.view(x, label, stack)
        for base in kind.__mro__:
            for name, part in vars(base).items() if is_pythons(base) else ():
                if isinstance(part, MemberDescriptorType) and self.asked(name):
                    self.read(Read(partial(slot, x), name, f"{label}.{name}"), stack, x)
        held = getattr(x, "__dict__", None)
        if held is None:
            return
        if knows_names(kind):
            if is_ours(kind):  # it reads its buffers anew, and writes them, in each run
                self.seen |= {id(held[name]): held[name] for name in getattr(kind, "buffers", ())}
            self.view(held.values(), label, stack)
            return
        self.read(Read(len, held, label), stack)
        for name, part in list(held.items()):
            if self.asked(name) or (is_model(kind) and may_be_found(part)):
                self.read(Read(held.get, name, f"{label}.{name}"), stack, held)

    def asked(self, name: str) -> bool:
        return self.everything or name in self.names

    def changed(self, own: Collection[int] = ()) -> str | None:
        """What is not as it was when it was found; what the library itself looks after, `own`, may change."""
        for read, then in self.reads.values():
            if not alike(read.of(read.key), then):
                return read.label
        for parts, before, label in self.views:
            if len(parts) != len(before) or not all(map(alike, parts, before)):
                return label
        for array, sealed, label in self.arrays:
            if id(array) not in own and not unchanged(array, sealed):
                return label
        for node, birth, grad, label in self.variables.values():
            if node.birth != birth or node._grad is not grad:
                return label
        for generator, state, label in self.generators.values():
            if id(generator) not in own and state_of(generator) != state:
                return f"{label} (random numbers are drawn)"
        return None


def alike(a: Any, b: Any) -> bool:
    """Whether two values are the same, or numbers or text that cannot be told apart."""
    if a is b:
        return True
    return type(a) is type(b) and type(a) in NUMBERS_AND_TEXT and repr(a) == repr(b)


def parts_of(x: Any) -> Sequence[Any] | None:
    """What is in something that always holds the same."""
    if isinstance(x, MethodType):
        return x.__self__, x.__func__
    if isinstance(x, BuiltinFunctionType | MethodWrapperType):
        return () if isinstance(x.__self__, ModuleType | NoneType) else (x.__self__,)
    if isinstance(x, staticmethod | classmethod):
        return (x.__func__,)
    if isinstance(x, property):
        return x.fget, x.fset, x.fdel
    if isinstance(x, partial | partialmethod):
        return (x.func, *x.args, x.keywords)  # a dict, into which somebody may write
    if isinstance(x, Wrapper):
        return (x.f,)
    if isinstance(x, weakref.ref):
        return (x(),)
    if isinstance(x, super):
        return (x.__self__,)  # type: ignore[attr-defined]
    if isinstance(x, slice):
        return x.start, x.stop, x.step
    return () if is_fixed(type(x)) else None


def is_fixed(kind: type) -> bool:
    return kind in FIXED or issubclass(kind, np.dtype) or kind.__name__ in ("_tuplegetter", "_abc_data")


def is_pythons(kind: type) -> bool:
    """Whether a class was written in Python: objects of C's may keep what nobody sees."""
    return not any(
        isinstance(x, BY_C) and x.__objclass__ is kind and name not in ("__dict__", "__weakref__")
        for name, x in vars(kind).items()
    )


def is_ours(kind: type) -> bool:
    return of_library({"__name__": kind.__module__})


def knows_names(kind: type) -> bool:
    """Whether the library's own code reads attributes of such objects, by names that no code of the user's has."""
    layers = [base for base in kind.__mro__ if "forward" in vars(base) and "named_parameters" not in vars(base)]
    return is_ours(kind) or any(map(is_ours, layers))


def may_be_found(x: Any) -> bool:
    """Whether a model finds parameters there, or state: it looks through its attributes without naming them."""
    if isinstance(x, CONTAINERS):
        return any(
            isinstance(part, Node | CONTAINERS) or is_model(type(part))
            for part in (x.values() if isinstance(x, dict) else x)
        )
    return isinstance(x, Node) or is_model(type(x))


def contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return None


def slot(x: Any, name: str) -> Any:
    return getattr(x, name, None)


def current(variable: ContextVar[Any]) -> Any:
    return variable.get(None)


def has_bytes(x: Any) -> bool:
    try:
        memoryview(x)
    except TypeError:
        return False
    return True


def as_bytes(x: Any) -> bytes:
    return memoryview(x).tobytes()


def state_of(generator: Any) -> str:
    if isinstance(generator, random.Random):
        return repr(generator.getstate())
    if isinstance(generator, np.random.RandomState):
        return repr(generator.get_state(legacy=False))
    return repr(getattr(generator, "bit_generator", generator).state)
