"""Which Python functions run in a thread, what they name, and what they call that cannot be seen through."""

from __future__ import annotations

import gc
import random
import sys
from collections.abc import Iterable, Sequence
from contextvars import ContextVar
from copy import deepcopy
from dis import get_instructions
from types import CodeType, FrameType, ModuleType
from typing import Any, final

import numpy as np

from ..source import of_library
from .surroundings import BASES, DATA, GENERATORS, Read, Surroundings, contents, is_pythons, parts_of

PURE = {
    "math", "cmath", "numpy", "operator", "_operator", "itertools", "_functools", "_collections", "_abc", "_bisect", "_heapq",
    "_struct", "_typing", "_statistics", "binascii", "zlib", "_json", "_sre",
}  # fmt: skip
IMPURE = {
    "print",
    "input",
    "open",
    "id",
    "hash",
    "globals",
    "breakpoint",
    "__import__",
    "exit",
    "quit",
}  # of the builtins
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
ANY = {
    "__dict__",
    "__slots__",
    "attrgetter",
    "methodcaller",
    "__getattribute__",
}  # names by which any attribute can be had


STANDS_FOR = "<stands for>"  # under this name, a copy of a namespace has what it is a copy of
OF_ALL = (random._inst, "random"), (np.random.mtrand._rand, "np.random")  # generators


@final
class Frames:
    """Notes what a function could depend on while it runs, and what speaks against running code in its place."""

    def __init__(self, arguments: Iterable[Read]) -> None:
        self.arguments = [*arguments, *(Read(itself, x, name) for x, name in OF_ALL)]
        self.places: list[Read] = []
        self.names: set[str] = set()
        self.everything = False
        self.reason: str | None = None
        self.own: dict[int, tuple[Any, Any]] = {}  # what the library itself looks after, and how that was before
        self.visited: set[tuple[CodeType, int]] = set()
        self.nested: set[CodeType] = set()
        self.named: dict[tuple[int, str], set[CodeType]] = {}  # which code names what
        self.before = self.look()

    def look(self) -> Surroundings:
        """At all that can be reached, before the function runs."""
        found = Surroundings(self.names, everything=True)
        found.add([*self.arguments, *self.places])
        return found

    def keep(self, x: Any) -> None:
        """The library itself looks after this."""
        if id(x) not in self.own:
            self.own[id(x)] = x, state_of(x)

    def refuse(self, reason: str) -> None:
        self.reason = self.reason or reason

    def start(self) -> None:
        self.old: Any = sys.getprofile()
        if self.old is not None and not callable(self.old):  # as cProfile, who can be told to pause
            self.old.disable()
        sys.setprofile(self.seen)

    def stop(self) -> None:
        if sys.getprofile() == self.seen:
            sys.setprofile(None)
            if callable(self.old):
                sys.setprofile(self.old)
            elif self.old is not None:
                self.old.enable()

    def seen(self, frame: FrameType, event: str, arg: Any) -> None:
        if callable(self.old):
            self.old(frame, event, arg)
        if event == "call":
            if (frame.f_code, id(frame.f_globals)) not in self.visited and is_users(frame):
                self.visit(frame)
        elif event == "c_call" and is_users(frame):
            self.judge(arg)

    def visit(self, frame: FrameType) -> None:
        """Note all that the code of a frame names, before it runs."""
        code, named = frame.f_code, frame.f_globals
        if named.get(STANDS_FOR) is not None:  # a function with others in place of what was caught
            named = named[STANDS_FOR]
        self.visited.add((code, id(named)))
        self.names.update(code.co_names)
        places: list[Read] = []
        for step in get_instructions(code):
            if step.opname.endswith(("_GLOBAL", "_NAME")) and step.opname != "IMPORT_NAME":
                places.append(Read(named.get, step.argval, step.argval))
                self.named.setdefault((id(named), step.argval), set()).add(code)
            elif step.opname == "IMPORT_NAME":
                places.append(Read(sys.modules.get, step.argval, step.argval))
            elif step.opname == "MATCH_CLASS":
                self.everything = True
        if not ANY.isdisjoint(code.co_names):
            self.everything = True
        if code.co_argcount:
            kind = type(frame.f_locals.get(code.co_varnames[0]))
            places.append(Read(itself, kind, kind.__qualname__))
        self.places += places
        self.before.add(places)
        if code.co_freevars and code not in self.nested and code not in self.before.codes:
            self.refuse(f"the variables around {code.co_qualname} cannot be seen. Pass them as arguments")
        stack = [code]
        while stack:
            inner = [x for x in stack.pop().co_consts if isinstance(x, CodeType)]
            self.nested.update(inner)
            stack += inner

    def judge(self, function: Any) -> None:
        """Whether a function of C's that is called says the same at every call, and does nothing else."""
        name, owner = function.__name__, function.__self__
        module = (
            owner.__name__ if isinstance(owner, ModuleType) else getattr(function, "__module__", None) or "builtins"
        )
        root = module.partition(".")[0]
        if name in ATTRIBUTES:
            self.everything = True
        if owner is None or isinstance(owner, ModuleType):
            allowed = name not in IMPURE if root == "builtins" else root in PURE
        elif isinstance(owner, type):
            allowed = name.startswith("__") or owner.__module__.partition(".")[0] in ("builtins", "numpy")
        else:
            allowed = is_known(owner)
        if not allowed:
            what = (
                f"{root}.{name}" if owner is None or isinstance(owner, ModuleType) else f"{type(owner).__name__}.{name}"
            )
            self.refuse(
                f"it calls {what.removeprefix('builtins.')}(), which may do or say something else at every call"
            )

    def changed(self) -> str | None:
        """What the function changed while it ran."""
        return self.before.changed(self.own)

    def surroundings(self, kept: Iterable[Read], caught: Sequence[Read] = ()) -> Surroundings:
        """All that it could depend on, as it is now, but for what was caught."""
        found = Surroundings(self.names, self.everything, caught)
        names = {place_of(read) for read in caught if read.of is not contents}
        found.add([*kept, *(read for read in self.places if place_of(read) not in names)])
        return found

    def readers(self, read: Read) -> set[CodeType]:
        """Which code reads what is found there."""
        return (
            self.before.cells.get(id(read.key), set()) if read.of is contents else self.named.get(place_of(read), set())
        )


def place_of(read: Read) -> tuple[int, Any]:
    return id(getattr(read.of, "__self__", None)), read.key if isinstance(read.key, str) else None


def state_of(x: Any) -> Any:
    """What an array holds, or where a generator of random numbers stands."""
    return x.copy() if isinstance(x, np.ndarray) else deepcopy(x.bit_generator.state)


def put_back(x: Any, state: Any) -> None:
    if isinstance(x, np.ndarray):
        np.copyto(x, state)
    else:
        x.bit_generator.state = state


def itself(x: Any) -> Any:
    return x


def is_known(x: Any) -> bool:
    kind = type(x)
    if isinstance(x, (*GENERATORS, *DATA, ContextVar)) or kind.__module__ == "builtins" or parts_of(x) is not None:
        return True
    return all(base in BASES or is_pythons(base) for base in kind.__mro__)


def is_users(frame: FrameType | None) -> bool:
    """Whether a frame is of the user's own code, or of Python's library on its behalf; not what collecting garbage runs."""
    while frame is not None:
        if frame.f_code.co_name == "__del__" or any(frame.f_code is getattr(f, "__code__", 0) for f in gc.callbacks):
            return False
        name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if of_library(frame.f_globals):
            return False
        if name not in sys.stdlib_module_names and not name.startswith("namedtuple_"):
            return True
        frame = frame.f_back
    return False
