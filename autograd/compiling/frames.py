"""Which Python functions run in a thread, which way they go, what they name, and what they call that cannot be seen through."""

from __future__ import annotations

import builtins
import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextvars import ContextVar
from dis import get_instructions
from types import BuiltinFunctionType, CodeType, FrameType, ModuleType
from typing import Any, final

import numpy as np

from .following import OURS, USER, Following
from .kinds import ATTRIBUTES, BASES, DATA, GENERATORS, contents, is_pure, is_pythons, itself, parts_of, state_of
from .surroundings import Read, Surroundings

ANY = {
    "__dict__",
    "__slots__",
    "attrgetter",
    "methodcaller",
    "__getattribute__",
}  # names by which any attribute can be had
UNSEEN = {"__globals__", "f_globals", "f_locals", "_getframe", "__builtins__"}  # names by which anything can be had
SEEDING = {"seed", "setstate", "set_state", "bit_generator"}
NUMPYS_STATE = {
    "seterr",
    "geterr",
    "seterrcall",
    "set_printoptions",
    "get_printoptions",
    "printoptions",
    "setbufsize",
    "memmap",
}
OUTSIDE = {"io", "_io", "posix", "nt", "time", "_thread"}  # modules that are not NumPy's own business
STANDS_FOR = "<stands for>"  # under this name, a copy of a namespace has what it is a copy of
OF_ALL = (random._inst, "random"), (np.random.mtrand._rand, "np.random")  # generators


@final
class Frames(Following):
    """Notes what a function could depend on while it runs, and what speaks against running code in its place."""

    def __init__(self, arguments: Iterable[Read] = (), *places: Read) -> None:
        super().__init__()
        self.arguments = [*arguments, *(Read(itself, x, name) for x, name in OF_ALL)]
        self.places: list[Read] = [*places]
        self.names: set[str] = set()
        self.values: set[str] = set()  # of these, those whose values are not called at once
        self.everything = False
        self.own: dict[int, tuple[Any, Any]] = {}  # what the library itself looks after, and how that was before
        self.visited: set[tuple[CodeType, int]] = set()
        self.nested: set[CodeType] = set()
        self.named: dict[tuple[int, str], set[CodeType]] = {}  # which code names what
        self.asks_identity = False  # whether it asks if one thing is another
        self.summing = 0  # how many calls of sum() it is in
        self.quiet = False  # whether it tells NumPy to warn of nothing
        self.before = self.look()

    def look(self) -> Surroundings:
        """At all that can be reached, before the function runs."""
        found = Surroundings(self.names, everything=True, values=self.values)
        found.add([*self.arguments, *self.places])
        return found

    def keep(self, x: Any) -> None:
        """The library itself looks after this."""
        if id(x) not in self.own:
            self.own[id(x)] = x, state_of(x)

    def seen(self, frame: FrameType, event: str, arg: Any) -> None:
        if callable(self.old):
            self.old(frame, event, arg)
        if arg is sum:  # which adds floats more exactly than one by one, from Python 3.12 on
            self.summing += {"c_call": 1, "c_return": -1, "c_exception": -1}.get(event, 0)
        if event not in ("call", "c_call") or (owner := self.owner(frame)) is OURS:
            return
        if event == "call" and owner is USER:
            if (frame.f_code, id(frame.f_globals)) not in self.visited:
                self.visit(frame)
        elif event == "call":
            self.enter_numpy(frame)
        elif owner is USER:
            self.judge(arg)
        elif not is_allowed_in_numpy(arg):
            self.forbid(arg)

    def visit(self, frame: FrameType) -> None:
        """Note all that the code of a frame names, before it runs."""
        code, named = frame.f_code, frame.f_globals
        if named.get(STANDS_FOR) is not None:  # a function with others in place of what was caught
            named = named[STANDS_FOR]
        self.visited.add((code, id(named)))
        self.names.update(code.co_names)
        places: list[Read] = []
        before: Any = None
        for step in get_instructions(code):
            name = step.argval
            if step.opname == "IMPORT_NAME":
                places.append(Read(sys.modules.get, imported(name, named), name))
            elif step.opname.endswith(("_GLOBAL", "_NAME")):
                places.append(Read(named.get, name, name))
                self.named.setdefault((id(named), name), set()).add(code)
                if name not in named and type(vars(builtins).get(name)) not in (BuiltinFunctionType, type):
                    places.append(Read(vars(builtins).get, name, name))
                if step.opname.startswith("LOAD") and "NULL" not in step.argrepr:
                    self.hand_on(name)
                    if name in IMPURE_BUILTINS and name not in named:
                        self.refuse(f"it hands on {name}, which may do or say something else at every call")
            elif step.opname == "LOAD_ATTR" and "NULL" not in step.argrepr:
                self.hand_on(name)
            elif step.opname == "MATCH_CLASS":
                self.everything = True
            elif step.opname in ("IS_OP", "CONTAINS_OP"):
                self.asks_identity = True
                if before in (True, False) and isinstance(before, bool):
                    self.refuse(
                        "it asks whether something is True, which nothing is that stands for a number. Leave that out"
                    )
            before = step.argval if step.opname == "LOAD_CONST" else None
        self.everything = self.everything or not ANY.isdisjoint(code.co_names)
        self.asks_identity = self.asks_identity or not {"is_", "is_not", "contains"}.isdisjoint(code.co_names)
        if "datetime64" in code.co_names and not {"now", "today"}.isdisjoint(
            x for x in code.co_consts if type(x) is str
        ):
            self.refuse("it asks for the time (datetime64). Pass it as an argument")
        for names, what in (SEEDING, "seeds a generator"), (UNSEEN, "looks at what cannot be watched"):
            if met := names.intersection(code.co_names):
                self.refuse(f"it {what} ({', '.join(sorted(met))}). Do that outside")
        if code.co_argcount:
            kind = type(frame.f_locals.get(code.co_varnames[0]))
            places.append(Read(itself, kind, kind.__qualname__))
        self.places += places
        self.before.add(places)
        if code.co_freevars and code not in self.nested and code not in self.before.codes:
            self.refuse(f"the variables around {code.co_qualname} cannot be seen. Pass them as arguments")
        self.nested.update(codes_of(code))

    def hand_on(self, name: str) -> None:
        """A name is used in another way than to be called at once: who is given it may call it unseen."""
        self.values.add(name)
        self.everything = self.everything or name in ATTRIBUTES

    def judge(self, function: Any) -> None:
        """Whether a function of C's that is called says the same at every call, and does nothing else."""
        name, owner = function.__name__, function.__self__
        if name in ATTRIBUTES:
            self.everything = True
        if owner is None or isinstance(owner, ModuleType):
            allowed = is_pure(function)
        elif isinstance(owner, type):
            allowed = name.startswith("__") or owner.__module__.partition(".")[0] in ("builtins", "numpy")
        elif isinstance(owner, GENERATORS):
            allowed = id(owner) in self.before.generators  # of another, nobody knows how it was seeded
        else:
            allowed = is_known(owner)
        if not allowed:
            self.forbid(function)

    def forbid(self, function: Any) -> None:
        owner = function.__self__
        module = (
            owner.__name__ if isinstance(owner, ModuleType) else getattr(function, "__module__", None) or "builtins"
        )
        where = module if owner is None or isinstance(owner, ModuleType) else type(owner).__name__
        what = f"{where.partition('.')[0]}.{function.__name__}".removeprefix("builtins.")
        self.refuse(f"it calls {what}(), which may do or say something else at every call")

    def enter_numpy(self, frame: FrameType) -> None:
        name = frame.f_code.co_name
        if name in NUMPYS_STATE:
            self.refuse(f"it calls numpy.{name}(), which is of the whole program. Do that outside")
        elif name == "__enter__" and type(x := frame.f_locals.get("self")) is np.errstate:
            said = [getattr(x, f"_{what}", None) for what in ("all", "divide", "over", "under", "invalid", "call")]
            if any(word not in (None, "ignore") and isinstance(word, str) for word in said):
                self.refuse(
                    "it asks NumPy to raise an error or to warn (np.errstate), which compiled code does in other places"
                )
            self.quiet = True

    def changed(self) -> str | None:
        """What the function changed while it ran."""
        return self.before.changed(self.own)

    def put_back(self) -> str | None:
        """Undo what the function changed while it was recorded. Returns what that was, if anything."""
        label = self.changed()
        if label is not None:
            self.before.put_back()
        return label

    def surroundings(self, kept: Sequence[Read], caught: Sequence[Read] = ()) -> Surroundings:
        """All that it could depend on, as it is now, but for what was caught."""
        found = Surroundings(self.names, self.everything, caught, self.values)
        found.guests.update(id(read.key) for read in kept)
        names = {place_of(read) for read in caught if read.of is not contents}
        found.add([*kept, *(read for read in self.places if place_of(read) not in names)])
        return found

    def readers(self, read: Read) -> set[CodeType]:
        """Which code reads what is found there."""
        if read.of is contents:
            return self.before.cells.get(id(read.key), set())
        return self.named.get(place_of(read), set())


IMPURE_BUILTINS = {name for name, x in vars(builtins).items() if isinstance(x, BuiltinFunctionType) and not is_pure(x)}


def place_of(read: Read) -> tuple[int, Any]:
    return id(getattr(read.of, "__self__", None)), read.key if isinstance(read.key, str) else None


def codes_of(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions inside it."""
    stack = [code]
    while stack:
        code = stack.pop()
        yield code
        stack += [x for x in code.co_consts if isinstance(x, CodeType)]


def imported(name: str, named: dict[str, Any]) -> str:
    """The whole name of a module, which may have been imported as one beside this."""
    package = named.get("__package__")
    return name if name in sys.modules or not package else f"{package}.{name}"


def is_known(x: Any) -> bool:
    kind = type(x)
    if isinstance(x, (*DATA, ContextVar)) or kind.__module__ == "builtins" or parts_of(x) is not None:
        return True
    return all(base in BASES or is_pythons(base) for base in kind.__mro__)


def is_allowed_in_numpy(function: Any) -> bool:
    owner = function.__self__
    module = owner.__name__ if isinstance(owner, ModuleType) else type(owner).__module__
    return module.partition(".")[0] not in OUTSIDE and function.__name__ not in (
        "print",
        "input",
        "open",
        "fromfile",
        "tofile",
    )
