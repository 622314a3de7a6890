"""What a function reads beside its arguments: all that the frames it ran in name, and what lies in that; and whether it still is so.

What was found is compared by identity, in bulk, before each call: views hold what containers hold now, reads fetch single values.
What can change without showing in one of these ways is `hidden`: then the function is not compiled.
"""

from __future__ import annotations

import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Container, Iterable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from operator import is_
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MemberDescriptorType,
    ModuleType,
)  # fmt: skip
from typing import Any, NamedTuple, final

import numpy as np

from ..graph import Node
from ..guards.seals import Seal, handed, renew, seal, unchanged
from ..parameters import is_model
from ..source import of_library
from .kinds import (
    BASES,
    CONTAINERS,
    FIXED,
    GENERATORS,
    LARGEST,
    METHODS,
    MOST,
    NO_STATE,
    NOTHING,
    alike,
    as_bytes,
    behind,
    contents,
    current,
    dict_of,
    has_bytes,
    held_weakly,
    is_method,
    is_ours,
    is_pythons,
    knows_names,
    may_be_found,
    parts_of,
    put_back,
    slot,
    state_of,
)


class Read(NamedTuple):
    """Where a value is found: `of(key)`, at any time; and what that is called."""

    of: Callable[[Any], Any]
    key: Any
    label: str


@final
class Surroundings:
    """What was found from some places on, and as it was when it was found."""

    def __init__(
        self, names: Collection[str], everything: bool, caught: Collection[Read] = (), values: Collection[str] = ()
    ) -> None:
        self.names, self.everything = names, everything  # the attributes that are asked for, and whether any may be
        self.values = values  # the names whose values are used in other ways than to be called at once
        self.caught = {id(read.key) for read in caught}  # the cells that inputs are in
        self.guests = set[int]()  # arguments, which are not kept alive
        self.cells: dict[int, set[CodeType]] = {}  # whose each is
        self.seen: dict[int, Any] = {}
        self.reads: dict[tuple[int, Any], tuple[Read, Any]] = {}
        self.views: list[tuple[Any, list[Any], str]] = []
        self.containers: list[tuple[Any, Any]] = []  # with what they held
        self.classes: list[tuple[type, set[str]]] = []  # with the names that they had
        self.owners: dict[tuple[int, Any], Any] = {}  # where what is read is kept
        self.absent: set[tuple[int, Any]] = set()
        self.arrays: list[tuple[Any, Seal, tuple[int, ...], str]] = []
        self.variables: dict[int, tuple[Node, int, Any, str]] = {}  # with birth and gradient
        self.generators: dict[int, tuple[Any, Any, str]] = {}  # with state
        self.codes: set[CodeType] = set()  # of functions whose variables are seen
        self.hidden: str | None = None  # why something cannot be compared
        self.cut_short: str | None = None  # why not all was looked at: a change there would not be seen

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
            if len(self.seen) > MOST:
                self.cut_short = f"around {label} is too much to compare at each call"
                self.hide(self.cut_short)
                return
            self.look_into(x, label, stack)

    def read(self, place: Read, stack: list[tuple[Any, str]], owner: Any = None) -> None:
        owner = getattr(place.of, "__self__", None) if owner is None else owner
        key = id(owner), place.key if isinstance(place.key, str) else id(place.key)
        if key not in self.reads:
            self.owners[key] = owner
            if type(owner) is dict and isinstance(place.key, str) and place.key not in owner:
                self.absent.add(key)
            x = place.of(place.key)
            self.reads[key] = place, x
            called = isinstance(x, BuiltinFunctionType) and isinstance(place.key, str) and place.key not in self.values
            if type(x) not in FIXED and not called:
                stack.append((x, place.label))

    def view(self, of: Any, label: str, stack: list[tuple[Any, str]], names: bool = True) -> None:
        """What a container holds: of a dict, keys and values; of one of attributes, values alone."""
        if self.everything and not isinstance(of, MappingProxyType):
            self.containers.append((of, dict(of) if isinstance(of, dict) else list(of)))
        is_dict = isinstance(of, dict | MappingProxyType)
        for parts in (of,) if not is_dict else (of.values(), of.keys()) if names else (of.values(),):
            then = list(parts)
            self.views.append((parts, then, label))
            stack += [(part, label) for part in then if type(part) not in FIXED]
        if len(self.views[-1][1]) > MOST:
            self.hide(f"{label} holds too much to compare at each call")

    def hide(self, what: str) -> None:
        self.hidden = self.hidden or what

    def look_into(self, x: Any, label: str, stack: list[tuple[Any, str]]) -> None:
        kind = type(x)
        if isinstance(x, Node):
            if handed:
                renew([x])  # what was written into it until now
            self.variables[id(x)] = x, x.birth, x._grad, label
            for name in "name", "frozen":
                if self.asked(name) and not self.everything:
                    self.read(Read(partial(slot, x), name, f"{label}.{name}"), stack, x)
        elif kind is np.ndarray and not x.dtype.hasobject:
            if x.nbytes > LARGEST and not self.everything:
                self.hide(f"{label} is too large to compare at each call")
            self.arrays.append((x, seal(x), x.shape, label))
        elif isinstance(x, GENERATORS):
            self.generators[id(x)] = x, state_of(x), label
        elif isinstance(x, FunctionType):
            self.look_into_function(x, label, stack)
        elif isinstance(x, type):
            self.look_into_class(x, stack)
        elif isinstance(x, ModuleType):
            self.look_into_module(x, stack)
        elif (parts := parts_of(x)) is not None:
            stack += [(part, label) for part in parts]
        elif kind is MappingProxyType:
            self.view(x, label, stack)
        elif isinstance(x, ContextVar):
            self.read(Read(current, x, x.name), stack)
        elif has_bytes(x):
            self.read(Read(as_bytes, x, label), stack)
        elif all(base in BASES or is_pythons(base) for base in kind.__mro__):
            self.look_into_object(x, label, stack)
        else:
            self.hide(f"nobody can see whether {label} ({kind.__name__}) changes from call to call")

    def look_into_function(self, f: FunctionType, label: str, stack: list[tuple[Any, str]]) -> None:
        self.codes.add(f.__code__)
        if getattr(getattr(f, "op", None), "listed", False):  # a row of the library's own table
            return
        ours = of_library(f.__globals__)
        for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
            self.cells.setdefault(id(cell), set()).add(f.__code__)
            if ours:  # which puts nothing else there
                stack.append((contents(cell), name))
            elif id(cell) not in self.caught:
                self.read(Read(contents, cell, name), stack, cell)
        if not ours:
            for part, what in ("__code__", ""), ("__defaults__", "'s defaults"), ("__kwdefaults__", "'s defaults"):
                self.read(Read(partial(getattr, f), part, label + what), stack, f)
            if vars(f) or self.everything:
                self.view(vars(f), label, stack)

    def look_into_module(self, x: ModuleType, stack: list[tuple[Any, str]]) -> None:
        held = vars(x)
        if of_library(held):  # which does not change, unless somebody puts another in the place of a part
            for name in self.names & held.keys() if not self.everything else ():
                self.reads[id(held), name] = Read(held.get, name, f"{x.__name__}.{name}"), held[name]
                self.owners[id(held), name] = held
            return
        own = x.__name__.partition(".")[0] not in sys.stdlib_module_names
        if self.everything and own:
            self.read(Read(len, held, x.__name__), stack)
        for name in held.keys() if self.everything and own else self.names & held.keys():
            self.read(Read(held.get, name, f"{x.__name__}.{name}"), stack, held)

    def look_into_class(self, kind: type, stack: list[tuple[Any, str]]) -> None:
        if not is_pythons(kind) or is_ours(kind):
            return
        held = vars(kind)
        if self.everything:
            self.classes.append((kind, set(held)))
        getattr(kind, "__annotations__", None)  # some are made when they are asked for, as if something had changed
        names = {name for base in (*kind.__mro__, type(kind)) if is_pythons(base) for name in vars(base)}
        for name in names - NO_STATE:
            if self.asked(name) or (name in held and is_method(name, held[name])):
                self.read(Read(held.get, name, f"{kind.__qualname__}.{name}"), stack, kind)
        self.read(Read(len, held, f"the class {kind.__qualname__}"), stack)
        self.read(Read(partial(getattr, kind), "__bases__", f"the class {kind.__qualname__}"), stack, kind)
        stack += [(base, "") for base in (*kind.__bases__, type(kind))]

    def look_into_object(self, x: Any, label: str, stack: list[tuple[Any, str]]) -> None:
        kind = type(x)
        stack.append((kind, ""))
        if kind is tuple or kind is frozenset:
            stack += [(part, label) for part in x if type(part) not in FIXED]
        elif isinstance(x, CONTAINERS):
            self.view(x, label, stack)
        if isinstance(x, defaultdict):
            stack.append((x.default_factory, label))
        if kind in CONTAINERS or kind is defaultdict:
            return
        ref = held_weakly(x) if id(x) in self.guests else None
        self.read(Read(type, x, label) if ref is None else Read(partial(behind, type), ref, label), stack, ref)
        names = {name: part for base in kind.__mro__[::-1] if is_pythons(base) for name, part in vars(base).items()}
        for name, part in names.items():
            if isinstance(part, MemberDescriptorType) and self.asked(name):
                self.read(Read(partial(slot, x), name, f"{label}.{name}"), stack, x)
        held = dict_of(x)
        if held is None:
            return
        self.seen[id(held)] = held  # which is looked into here
        self.read(Read(dict_of, x, label) if ref is None else Read(partial(behind, dict_of), ref, label), stack, held)
        if knows_names(kind) or self.everything:
            for name in getattr(kind, "buffers", ()) if knows_names(kind) else ():
                if not self.asked(name) or self.everything:  # it reads them anew, and writes them, in each run
                    self.seen[id(held.get(name))] = held.get(name)
            self.view(held, label, stack, names=False)
            return
        self.read(Read(len, held, label), stack)
        for name in {*held, *(name for name, part in names.items() if not isinstance(part, METHODS))}:
            if self.asked(name) or (is_model(kind) and may_be_found(held.get(name))):
                self.read(Read(held.get, name, f"{label}.{name}"), stack, held)

    def asked(self, name: str) -> bool:
        return self.everything or name in self.names

    def changed(self, own: Container[int] = ()) -> str | None:
        """What is not as it was when it was found; what the library itself looks after, `own`, may change."""
        for read, then in self.reads.values():
            if not alike(read.of(read.key), then):
                return read.label
        for parts, before, label in self.views:
            if len(parts) != len(before) or not all(map(alike, parts, before)):
                return label + name_of_change(parts, before)
        for array, sealed, shape, label in self.arrays:
            if id(array) not in own and (array.shape != shape or not unchanged(array, sealed)):
                return label
        for node, birth, grad, label in self.variables.values():
            if node.birth != birth or node._grad is not grad:
                return label
        for generator, state, label in self.generators.values():
            if id(generator) not in own and repr(state_of(generator)) != repr(state):
                return f"{label} (random numbers are drawn)"
        return None

    def put_back(self) -> None:
        """Make everything what it was when it was found, as far as that can be done."""
        for kind, names in self.classes:
            for name in vars(kind).keys() - names - NO_STATE:
                with suppress(Exception):
                    delattr(kind, name)
        for held, before in self.containers:
            now = list(held.items()) if isinstance(held, dict) else list(held)
            then = list(before.items()) if isinstance(held, dict) else list(before)
            if len(now) != len(then) or not all(map(alike_pairs, now, then)):
                refill(held, before)
        for key, (read, then) in self.reads.items():
            if not alike(read.of(read.key), then):
                assign(self.owners[key], read, then, absent=key in self.absent)
        for array, sealed, _, _ in self.arrays:
            octets = getattr(sealed, "octets", sealed)
            if isinstance(octets, bytes) and not unchanged(array, sealed):
                with suppress(ValueError):  # who cannot be written into was not
                    array[...] = np.frombuffer(octets, array.dtype).reshape(array.shape)
        for generator, state, _ in self.generators.values():
            if repr(state_of(generator)) != repr(state):
                put_back(generator, state)


def alike_pairs(a: Any, b: Any) -> bool:
    return all(map(is_, a, b)) if type(a) is tuple is type(b) and len(a) == len(b) == 2 else a is b


def refill(held: Any, before: Any) -> None:
    """Have a container hold what it held, whatever its class makes of that."""
    kind: Any = next(kind for kind in (OrderedDict, dict, list, set, deque) if isinstance(held, kind))
    if kind is list:
        list.__setitem__(held, slice(None), before)
        return
    kind.clear(held)
    if kind is deque:
        deque.extend(held, before)
    else:
        kind.update(held, before)


def assign(owner: Any, read: Read, then: Any, absent: bool) -> None:
    """Put a value where it was read."""
    with suppress(Exception):
        if read.of is contents:
            if then is NOTHING:
                del read.key.cell_contents
            else:
                read.key.cell_contents = then
        elif read.of is as_bytes:
            if isinstance(read.key, bytearray):
                read.key[:] = then
            else:
                memoryview(read.key).cast("B")[:] = then
        elif read.of is type or read.of is dict_of:
            setattr(read.key, "__class__" if read.of is type else "__dict__", then)
        elif isinstance(owner, dict) and absent:
            owner.pop(read.key, None)
        elif isinstance(owner, dict):
            owner[read.key] = then
        elif owner is not None and read.of is not len and then is NOTHING:
            delattr(owner, read.key)
        elif owner is not None and read.of is not len:
            setattr(owner, read.key, then)


def name_of_change(parts: Collection[Any], before: Sequence[Any]) -> str:
    """Which attribute, if the values are those of attributes."""
    held = getattr(parts, "mapping", None)
    if (
        held is None
        or len(parts) != len(before)
        or not all(isinstance(key, str) and key.isidentifier() for key in held)
    ):
        return ""
    return next((f".{key}" for (key, x), then in zip(held.items(), before, strict=True) if not alike(x, then)), "")
