"""compile: a function recorded once for each kind of arguments, and run as straight-line NumPy code from then on.

The compiled function is one operation. On plain data it gives plain data; where variables go in, its result is a node
whose rule is the compiled pass back, so it is differentiated, checked and drawn like every other operation. What cannot be
recorded, and what the code cannot do (numbers that overflow, labels out of range), the function itself does.
"""

from __future__ import annotations

__all__ = ["compile"]

import gc
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from functools import partial, update_wrapper
from itertools import chain
from threading import Lock
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeAlias, TypeVar, final, overload

from ..context import blocks, watching
from ..graph import Node
from ..guards.blocks import Holding
from ..plain import describe
from ..source import of_library
from .arguments import OF_DATA, Arguments, Refused
from .caught import can_be_caught, large_arrays
from .comparing import checked, is_dear, quiet
from .entering import MISSING, entry_of
from .frames import Frames
from .kinds import Wrapper, itself
from .recorded import Recording, require_seen
from .recording import Onlooker
from .surroundings import Read
from .tracing import WatchedCall

Given = ParamSpec("Given")
Result = TypeVar("Result")

RECORDINGS = 32  # that are made of one function at most
FAILED = object()
LEARNING = [Lock()]  # one thread watches at a time
if hasattr(os, "register_at_fork"):  # a child lacks the thread that may hold it
    os.register_at_fork(after_in_child=lambda: LEARNING.__setitem__(0, Lock()))
TOO_OFTEN = 1 << 40  # tries after which nothing is recorded any more
KINDS = 256  # of arguments that are told apart at most


Jit: TypeAlias = Callable[[Callable[..., Any]], Callable[..., Any]]


@overload
def compile(f: Callable[Given, Result], *, strict: bool = False, jit: Jit | None = None) -> Compiled[Given, Result]: ...


@overload
def compile(
    f: None = None, *, strict: bool = False, jit: Jit | None = None
) -> Callable[[Callable[Given, Result]], Compiled[Given, Result]]: ...


def compile(f: Any = None, *, strict: bool = False, jit: Jit | None = None) -> Any:
    """The same function, faster: run from code that was made for it, by recording what it does.

    `f` takes numbers, arrays, Values, Tensors, models (`nn.Module`), and tuples, lists, dicts and dataclasses of them; whatever
    else it is given (integers, text, None, functions) counts as part of the program. It returns a number or an array, or
    containers of them. On variables it returns a node to differentiate. It is recorded for every new combination of types,
    shapes and such options, and anew when anything that it depends on has changed; `.source` is the code of the latest recording.

    What the function depends on is found by watching it run: all that its frames name, and what lies in that. What cannot be
    recorded (a branch on a number, where `cr.where` would do; a number asked for by `.data` or `float`), what has effects, draws
    random numbers, or depends on what nobody sees, runs as it is. One warning then says why; with `strict` it is a
    `TypeError`. At the 2nd, 4th, 8th … call the function runs too, and a difference is a `RuntimeError`. `calls`,
    `compiled_calls` and `recordings` count.

    `jit` is given each function of the code, and what it returns is called in its place: with `numba.njit`, long computations on
    numbers run many times as fast, after a first call that takes seconds. What it cannot do runs as it is, with the warning.

    Also a decorator: `@cr.compile`, `@cr.compile(strict=True)`.

    >>> import chainrule as cr
    >>> slope = cr.compile(cr.grad(lambda x: x * cr.sin(x)))
    >>> slope(0.0)
    0.0
    >>> print(slope.source.strip())
    def forward(x):
        return math.sin(x) + x * math.cos(x)
    """
    if f is None:
        return lambda f: Compiled(f, strict, jit)
    return Compiled(f, strict, jit)


@final
class Compiled(Wrapper, Generic[Given, Result]):
    """What `compile` returns: call it like the function it was made of."""

    __slots__ = ("__call__",)  # the entry of the latest recording: Python calls that itself

    f: Callable[Given, Result]
    if TYPE_CHECKING:

        def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Result: ...

    def __init__(self, f: Callable[Given, Result], strict: bool = False, jit: Jit | None = None) -> None:
        if not callable(f):
            raise TypeError(f"compile: expected a function, got {describe(f)}")
        if jit is not None and not callable(jit):
            raise TypeError(f"compile: jit must be a function of a function, such as numba.njit, got {describe(jit)}")
        update_wrapper(self, f, updated=())  # what the function holds stays its own
        self.f, self.strict, self.jit = f, strict, jit
        self.title = f"compile({getattr(f, '__name__', type(f).__name__)})"
        self.counts = [0, 0]  # calls, and those that ran compiled code, beside the turns that recordings gave
        self.entries: dict[Recording | None, Any] = {None: entry_of_any(weakref.ref(self), f)}
        self.begin_with(None)
        self.made: dict[tuple[Any, ...], list[Recording]] = {}
        self.tries: dict[tuple[Any, ...], int] = {}  # how often arguments of a kind came for which nothing was recorded
        self.latest: Recording | None = None
        self.recordings = 0
        self.caught: list[Read] = []  # what the function names around it that is an input too
        self.fixed: set[str] = set()  # the names of what cannot be one
        self.changed: set[str] = set()  # the names of what changed
        self.reason: str | None = None  # why the function ran as it is, where it did
        self.warned = False

    def __getattr__(self, name: str) -> Any:
        """Attributes of the function."""
        if name in OWN:
            raise AttributeError(name)
        return getattr(self.f, name)

    def __setattr__(self, name: str, x: Any) -> None:
        if name == "f" and "f" in vars(self):
            raise AttributeError(f"{self.title}: its function stays; compile another one by itself")
        if name in OWN or name.startswith("__") or not isinstance(self.f, FunctionType):
            object.__setattr__(self, name, x)
        else:
            setattr(self.f, name, x)

    @property
    def calls(self) -> int:
        """How often it was called."""
        return self.counts[0] + sum(made.taken for made in self.recorded_now())

    @property
    def compiled_calls(self) -> int:
        """How many of the calls ran compiled code."""
        return self.counts[1] + sum(made.taken for made in self.recorded_now())

    @property
    def source(self) -> str:
        """The Python code of the latest recording: a function for the results, and one that pulls cotangents back."""
        if self.latest is None:
            why = f": {self.reason}" if self.reason else " before the first call"
            raise ValueError(f"{self.title}: nothing is compiled{why}")
        return self.latest.code.source

    def __repr__(self) -> str:
        recordings = f"{self.recordings} {'recording' if self.recordings == 1 else 'recordings'}"
        why = f"; not compiled: {self.reason}" if self.reason else ""
        return f"<{self.title}, {recordings}, {self.compiled_calls} of {self.calls} calls compiled{why}>"

    def call(self, args: Any, kwargs: Any, failed: int) -> Any:
        """A call that the latest entry could not answer; `failed` says that it was for it, but its code cannot do it."""
        if blocks and watching() is not None:  # who watches wants to see each operation
            return self.f(*args, **kwargs)
        if failed:
            self.counts[1] -= 1
            return self.f(*args, **kwargs)  # which can do it, or says what is wrong
        try:
            given = Arguments(args, kwargs)
            if self.caught:
                given.take([read.of(read.key) for read in self.caught])
        except (Refused, RecursionError) as error:
            given, reason = None, str(error)
        if given is None:
            self.counts[0] += 1
            self.give_up(reason)
            return self.f(*args, **kwargs)
        found = self.known(given)
        if found is None:
            self.counts[0] += 1
            return self.learn(given, args, kwargs, self.caught)
        if found is not self.latest:
            self.use(found)
        for _ in found.turns:
            try:
                return found.run(given.parts)
            except Exception:
                self.counts[1] -= 1
                break
        else:
            return self.checked(found, given, args, kwargs)
        return self.f(*args, **kwargs)

    def checked(self, found: Recording, given: Arguments, args: Any, kwargs: Any) -> Any:
        """What the function returns, compared with what the code does."""
        self.counts[0] += 1
        found.renew()
        result = checked(found, given, lambda: self.f(*args, **kwargs))
        if found not in self.entries:  # that its like has come a second time makes one worth its while
            other = partial(elsewhere, weakref.ref(self), self.f)
            try:
                self.entries[found] = entry_of(found, args, kwargs, self.caught, other)
            except (RecursionError, SyntaxError):  # of arguments inside arguments inside arguments
                self.entries[found] = None
            self.use(found)
        if is_dear(found):
            self.drop(found.key)
            self.tries[tuple(found.key)] = TOO_OFTEN
            self.give_up(
                "comparing all that it depends on takes longer than the function. Pass what is large as an argument"
            )
        return result

    def use(self, made: Recording) -> None:
        """Let calls begin with the entry of this recording."""
        self.latest = made
        self.begin_with(made)

    def begin_with(self, made: Recording | None) -> None:
        object.__setattr__(self, "__call__", self.entries.get(made) or self.entries[None])

    def drop(self, key: Sequence[Any] | None = None) -> None:
        """Forget the recordings for arguments of one kind, or all."""
        gone = [*self.recorded_now()] if key is None else self.made.pop(tuple(key), [])
        if key is None:
            self.made.clear()
        for made in gone:
            self.counts = [n + made.taken for n in self.counts]
            self.entries.pop(made, None)
        if self.latest in gone:
            self.latest = None
            self.begin_with(None)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: bound to the instance, as functions are."""
        return self if instance is None or isinstance(self.f, staticmethod) else MethodType(self, instance)

    def __deepcopy__(self, memo: Any) -> Compiled[Given, Result]:
        return Compiled(deepcopy(self.f, memo), self.strict, self.jit)

    def __reduce__(self) -> Any:
        name = getattr(self.f, "__qualname__", "")
        if getattr(sys.modules.get(getattr(self.f, "__module__", "")), name, None) is self:
            return name  # the function itself is not to be found, but this is
        return Compiled, (self.f, self.strict, self.jit)

    def known(self, given: Arguments) -> Recording | None:
        """What was recorded before for such arguments, if it still holds."""
        latest = self.latest
        if latest is not None and latest.key == given.key and latest.holds(given):
            return latest
        return next((made for made in self.made.get(tuple(given.key), ()) if made.holds(given)), None)

    def learn(self, given: Arguments, args: Any, kwargs: Any, caught: list[Read]) -> Result:
        """Call the function as it is; the 1st, 2nd, 4th, 8th … time with such arguments, see whether it can be recorded."""
        key = tuple(given.key)
        if sys.gettrace() is not None:
            self.reason = "a debugger, or what measures coverage, follows each line"
            return self.f(*args, **kwargs)
        if sum(map(len, self.made.values())) >= RECORDINGS or (key not in self.tries and len(self.tries) >= KINDS):
            self.give_up(
                f"it was recorded {self.recordings} times, for other shapes, options, objects or surroundings each time"
                f"{self.what_changed()}. Give what changes as floats or arrays"
            )
            return self.f(*args, **kwargs)
        tries = self.tries[key] = self.tries.get(key, 0) + 1
        if tries & (tries - 1) or tries > TOO_OFTEN:
            return self.f(*args, **kwargs)
        (learning,) = LEARNING
        if not learning.acquire(blocking=False):  # another thread does; next time, then
            self.tries[key] -= 1
            return self.f(*args, **kwargs)
        collects = gc.isenabled()
        try:
            gc.disable()  # what is finalized meanwhile, if it were garbage, is nothing that the function does
            return self.watched(given, args, kwargs, caught, tries)
        finally:
            if collects:
                gc.enable()
            learning.release()

    def watched(self, given: Arguments, args: Any, kwargs: Any, caught: list[Read], tries: int) -> Result:
        """Call the function as it is, and record it if nothing speaks against that."""
        arguments = [Read(itself, x, f"argument {i}") for i, x in enumerate((*args, *kwargs.values()), 1)]
        frames = Frames(arguments, Read(itself, self.f, self.title))
        with Holding(Onlooker(frames)):
            result = self.f(*args, **kwargs)
        try:
            made = self.recorded(WatchedCall(self.f, given, args, kwargs, frames, result, caught), tries)
        except Exception as error:
            if isinstance(error, OF_DATA) and is_of_library(error):  # it says something of these numbers
                self.reason = str(error)
                return result
            why = "" if isinstance(error, Refused) else f"while it was recorded, it raised {type(error).__name__}: "
            reason = why + str(error).removeprefix("compile: ")
        else:
            reason = "" if made is None else self.keep(made, len(caught))
        if reason:
            self.give_up(reason)
        return result

    def recorded(self, call: WatchedCall, tries: int) -> Recording | None:
        """A recording, if nothing speaks against it; none if the function has made something that may be made but once."""
        frames = call.frames
        if frames.reason is not None:
            raise Refused(frames.reason)
        if frames.before.cut_short is not None:
            raise Refused(f"{frames.before.cut_short}. Pass what it gives as an argument")
        if (label := frames.changed()) is not None:
            if tries == 1:
                return None
            raise Refused(f"it changes {label}. Return what changes, or do that outside")
        require_seen(frames.surroundings([*frames.arguments, *frames.places]))
        frames.before = frames.look()
        try:
            with quiet():  # what there is to say of the numbers was said
                made = self.record(call)
        except BaseException:
            frames.put_back()
            raise
        if (label := frames.put_back()) is not None:
            raise Refused(f"it changes {label}. Return what changes, or do that outside")
        return made

    def keep(self, made: Recording, caught: int) -> str:
        """Use a recording from now on. Returns what speaks against having made it, if anything does."""
        self.recordings += 1
        others = self.made.setdefault(tuple(made.key), [])
        others.append(made)
        self.reason = None
        self.use(made)
        made.guests = [
            weakref.ref(x, partial(forget, weakref.ref(self), made.key)) for ref in made.guests if (x := ref())
        ]
        new = [read.label for read in self.caught[caught:] if read.label in self.changed]
        if new := [name for name in new if not isinstance(self.value_of(name), Node)]:
            warn(
                f"{self.title} was recorded anew, as {', '.join(new)} changed, and takes that as an input from now on. Make it an "
                "argument, to have it recorded once"
            )
        if len(others) > 3 and all(other.runs < 4 for other in others[-4:]):
            return f"it is recorded again and again{self.what_changed()} from call to call. Pass what changes as an argument"
        return ""

    def value_of(self, name: str) -> Any:
        return next(read.of(read.key) for read in self.caught if read.label == name)

    def record(self, call: WatchedCall) -> Recording:
        """A recording, in which what has changed around the function since the last is an input, if that can be."""
        stale = self.made.get(tuple(call.given.key), ())
        differing = stale[-1].guard.differing() if stale else []
        self.changed.update(read.label for read in differing)
        changed = [read for read in differing if can_be_caught(self.f, read, call.frames)]
        new = [read for read in (*changed, *large_arrays(self.f, call.frames)) if read.label not in self.fixed]
        if new:
            caught = [*call.caught, *new]
            more = Arguments(call.args, call.kwargs)
            more.take([read.of(read.key) for read in caught])
            try:
                made = Recording(self.title, call._replace(given=more, caught=caught), self.jit)
            except Exception:
                self.fixed.update(read.label for read in new)  # as where it decides which way to go
                call.frames.put_back()
            else:
                self.caught = caught
                self.drop()  # they know other inputs
                return made
        return Recording(self.title, call, self.jit)

    def recorded_now(self) -> Iterator[Recording]:
        return chain.from_iterable(self.made.values())

    def what_changed(self) -> str:
        return f", as {', '.join(sorted(self.changed))} changed" if self.changed else ""

    def give_up(self, reason: str) -> None:
        """For now: the function is called as it is."""
        self.reason = reason.rstrip(".")
        if self.strict:
            raise TypeError(f"{self.title}: {self.reason}") from None
        if not self.warned:
            self.warned = True
            warn(f"{self.title} runs as it is, not compiled: {self.reason}.")


def forget(compiled: weakref.ref[Any], key: list[Any], gone: object) -> None:
    """An object that a function was compiled for is gone: another may have its identity from now on."""
    if (of := compiled()) is not None:
        of.drop(key)
        of.tries.pop(tuple(key), None)


def elsewhere(compiled: weakref.ref[Any], f: Callable[..., Any], args: Any, kwargs: Any, failed: int) -> Any:
    """A call that an entry hands on, to the compiled function that it is of, if that is still there."""
    args = [x for x in args if x is not MISSING]
    of = compiled()
    return f(*args, **kwargs) if of is None else of.call(args, kwargs, failed)


def entry_of_any(compiled: weakref.ref[Any], f: Callable[..., Any]) -> Callable[..., Any]:
    """The entry of what has no recording."""
    return lambda *args, **kwargs: elsewhere(compiled, f, args, kwargs, 0)


OWN = frozenset(
    [
        "f",
        "strict",
        "title",
        "counts",
        "entries",
        "jit",
        "made",
        "tries",
        "latest",
        "recordings",
        "caught",
        "fixed",
        "changed",
        "reason",
        "warned",
    ]
)


def warn(text: str) -> None:
    """A warning that points at the user's line."""
    level, frame = 1, sys._getframe()
    while frame.f_back is not None and of_library(frame.f_globals):
        level, frame = level + 1, frame.f_back
    warnings.warn(text, stacklevel=level)


def is_of_library(error: BaseException) -> bool:
    """Whether an error was raised by the library itself, in the innermost of its frames."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and of_library(trace.tb_frame.f_globals)
