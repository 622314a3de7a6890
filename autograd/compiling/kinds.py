"""Kinds of things: which of them always stay the same, which can be looked into, and which functions of C's only compute."""

from __future__ import annotations

import datetime
import decimal
import fractions
import random
import re
import threading
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Sequence
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
from typing import Any, TypeVar

import numpy as np

from ..graph import Node
from ..parameters import is_model
from ..source import of_library


class Wrapper:
    """A function in other clothes: what it names is what `f` names."""

    f: Callable[..., Any]


NUMPYS = {*np.sctypeDict.values()} - {np.void, np.object_}
NUMBERS_AND_TEXT = {bool, int, float, complex, str, bytes, *NUMPYS}
FIXED = {
    *NUMBERS_AND_TEXT, NoneType, EllipsisType, NotImplementedType, range, CodeType, re.Pattern,
    decimal.Decimal, fractions.Fraction, datetime.date, datetime.datetime, datetime.time, datetime.timedelta,
    WrapperDescriptorType, MethodDescriptorType, GetSetDescriptorType, MemberDescriptorType, GenericAlias, UnionType,
    type(threading.Lock()), type(threading.RLock()), type(np.sum), TypeVar,
}  # of which one is always the same  # fmt: skip
CONTAINERS = (OrderedDict, dict, list, tuple, set, frozenset, deque)
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
    defaultdict,
    BaseException,
)  # that Python's own classes build on
BY_C = (MethodDescriptorType, WrapperDescriptorType, GetSetDescriptorType, ClassMethodDescriptorType)
DATA = (Node, np.ndarray)
NO_STATE = {"__annotations__", "__dict__", "__weakref__", "__slotnames__"}
PURE = {
    "math", "cmath", "operator", "_operator", "itertools", "_functools", "_collections", "_abc", "_bisect", "_heapq",
    "_struct", "_typing", "_statistics", "binascii", "zlib", "_json", "_sre",
}  # modules of C's whose functions only compute  # fmt: skip
IMPURE = {
    "print", "input", "open", "id", "hash", "globals", "breakpoint", "__import__", "fromfile", "tofile", "_get_extobj_dict",
}  # of the builtins, and NumPy's  # fmt: skip
ATTRIBUTES = {
    "getattr",
    "setattr",
    "delattr",
    "hasattr",
    "vars",
    "dir",
    "format",
    "__reduce_ex__",
    "__getattribute__",
    "__getstate__",
}
NOTHING = object()  # where nothing is
MOST = 10_000  # things that are compared
LARGEST = 1 << 24  # bytes of an array that is
METHODS = (FunctionType, staticmethod, classmethod, property, partialmethod)


def alike(a: Any, b: Any) -> bool:
    """Whether two values are the same, or numbers or text that cannot be told apart."""
    if a is b:
        return True
    return type(a) is type(b) and type(a) in NUMBERS_AND_TEXT and repr(a) == repr(b)


def parts_of(x: Any) -> Sequence[Any] | None:
    """What is in something that always holds the same; None for anything else."""
    if isinstance(x, MethodType):
        return x.__self__, x.__func__
    if isinstance(x, BuiltinFunctionType | MethodWrapperType):
        module_level = isinstance(x.__self__, ModuleType | NoneType)
        return (x.__self__,) if not module_level else () if is_pure(x) and x.__name__ not in ATTRIBUTES else None
    if isinstance(x, staticmethod | classmethod):
        return (x.__func__,)
    if isinstance(x, property):
        return x.fget, x.fset, x.fdel
    if isinstance(x, partial | partialmethod):
        return (x.func, *x.args, x.keywords, vars(x))  # dicts, into which somebody may write
    if isinstance(x, Wrapper):
        return (x.f,)
    if isinstance(x, weakref.ref):
        return () if isinstance(x(), type) else None
    if isinstance(x, super):
        return (x.__self__,)  # type: ignore[attr-defined]
    if isinstance(x, slice):
        return x.start, x.stop, x.step
    if isinstance(x, np.ufunc):
        return None if x.__name__.endswith("(vectorized)") else ()  # as np.frompyfunc names what it makes
    return (
        () if type(x) in FIXED or isinstance(x, np.dtype) or type(x).__name__ in ("_tuplegetter", "_abc_data") else None
    )


def is_pure(function: Any) -> bool:
    """Whether a function of C's says the same at every call, and does nothing else."""
    name, owner = function.__name__, function.__self__
    module = owner.__name__ if isinstance(owner, ModuleType) else getattr(function, "__module__", None) or "builtins"
    root = module.partition(".")[0]
    return name not in IMPURE if root in ("builtins", "numpy") else root in PURE


def is_pythons(kind: type) -> bool:
    """Whether a class was written in Python: objects of C's may keep what nobody sees."""
    return not any(
        isinstance(x, BY_C) and x.__objclass__ is kind and name not in ("__dict__", "__weakref__")
        for name, x in vars(kind).items()
    )


def is_method(name: str, x: Any) -> bool:
    """Whether this may be called without being named: by an operator, by the library, as a property."""
    return isinstance(x, METHODS) or (name.startswith("__") and name.endswith("__") and callable(x))


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
            isinstance(part, (Node, *CONTAINERS)) or is_model(type(part))
            for part in (x.values() if isinstance(x, dict) else x)
        )
    return isinstance(x, Node) or is_model(type(x))


def contents(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # nothing yet
        return NOTHING


def slot(x: Any, name: str) -> Any:
    return getattr(x, name, NOTHING)


def dict_of(x: Any) -> Any:
    """The attributes of an object, whatever it says itself."""
    try:
        return object.__getattribute__(x, "__dict__")
    except AttributeError:
        return None


def itself(x: Any) -> Any:
    return x


def behind(read: Callable[[Any], Any], ref: weakref.ref[Any]) -> Any:
    """What is read of something that is not to be kept alive by that."""
    return read(ref())


def held_weakly(x: Any) -> weakref.ref[Any] | None:
    """A reference to an object that may die; functions and classes are kept."""
    if isinstance(x, FunctionType | MethodType | type | ModuleType):
        return None
    try:
        return weakref.ref(x)
    except TypeError:
        return None


def current(variable: ContextVar[Any]) -> Any:
    return variable.get(None)


def state_of(x: Any) -> Any:
    """What an array holds, or where a generator of random numbers stands."""
    if isinstance(x, np.ndarray):
        return x.copy()
    if isinstance(x, random.Random):
        return x.getstate()
    if isinstance(x, np.random.RandomState):
        return x.get_state(legacy=False)
    return getattr(x, "bit_generator", x).state, children_of(x)


def children_of(generator: Any) -> Any:
    """How many generators were spawned by this one."""
    return getattr(
        getattr(getattr(generator, "bit_generator", generator), "seed_seq", None), "n_children_spawned", None
    )


def put_back(x: Any, state: Any) -> None:
    if isinstance(x, np.ndarray):
        np.copyto(x, state)
    elif isinstance(x, random.Random):
        x.setstate(state)
    elif isinstance(x, np.random.RandomState):
        x.set_state(state)
    else:
        getattr(x, "bit_generator", x).state = state[0]


def has_bytes(x: Any) -> bool:
    if is_pythons(type(x)) or isinstance(x, np.ndarray | np.generic):
        return False
    try:
        memoryview(x)
    except TypeError:
        return False
    return True


def as_bytes(x: Any) -> bytes:
    return memoryview(x).tobytes()
