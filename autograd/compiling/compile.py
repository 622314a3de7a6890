"""compile: a function recorded once for each kind of arguments, and run as straight-line NumPy code from then on.

The compiled function is one operation. On plain data it gives plain data; where variables go in, its result is a node
whose rule is the compiled pass back, so it is differentiated, checked and drawn like every other operation. What the
code cannot do, the function itself does: numbers that overflow, labels out of range.
"""

from __future__ import annotations

__all__ = ["compile"]

import warnings
from collections.abc import Callable
from functools import update_wrapper
from types import MethodType
from typing import Any, Generic, ParamSpec, TypeVar, cast, final

from ..context import blocks, watching
from ..plain import describe
from .arguments import Arguments
from .surroundings import Wrapper, outside
from .tracing import Recording

Given = ParamSpec("Given")
Result = TypeVar("Result")

RECORDINGS = 32  # that are kept of one function at most
OF_DATA = (ArithmeticError, IndexError, ValueError)  # errors that say something of the numbers, not of the function


def compile(f: Callable[Given, Result]) -> Compiled[Given, Result]:
    """The same function, faster: run from code that was made for it, by recording what it does.

    `f` takes numbers, arrays, Values, Tensors, models (`nn.Module`), and tuples, lists and dicts of them; whatever else it
    is given (integers, text, None, functions) counts as part of the program. Models and variables that `f` names from
    outside are found there. It returns a number or an array, or containers of them. On variables it returns a node to
    differentiate. It is recorded anew for every new combination of types, shapes and such options, and for every change to
    a model; `.source` is the code of the latest recording.

    What is recorded must hold for all data: `f` must not branch on numbers (`cr.where` instead of `if`), draw random
    numbers, or change anything. Most of that is found out: then recording raises `TypeError` and says what to do. Numbers
    that `f` gets by other ways than by its names and what these hold are taken as they were at first: an attribute of an
    imported module, of an instance's class or in `__slots__`, the `.grad` of a variable.

    >>> import chainrule as cr
    >>> slope = cr.compile(cr.grad(lambda x: x * cr.sin(x)))
    >>> slope(0.0)
    0.0
    >>> print(slope.source.strip())
    def forward(x0):
        v1 = math.sin(x0)
        v2 = math.cos(x0)
        v3 = x0 * v2
        v4 = v1 + v3
        return (float(v4),)
    """
    return Compiled(f)


@final
class Compiled(Wrapper, Generic[Given, Result]):
    """What `compile` returns: call it like the function it was made of."""

    f: Callable[Given, Result]

    def __init__(self, f: Callable[Given, Result]) -> None:
        if not callable(f):
            raise TypeError(f"compile: expected a function, got {describe(f)}")
        update_wrapper(self, f, updated=())  # what a model or another object holds stays its own
        self.f = f
        self.name = f"compile({getattr(f, '__name__', type(f).__name__)})"
        self.outside: list[Callable[[], Any]] = []
        self.recordings: dict[tuple[Any, ...], list[Recording]] = {}
        self.latest: Recording | None = None

    @property
    def source(self) -> str:
        """The Python code of the latest recording: a function for the results, and one that pulls cotangents back."""
        if self.latest is None:
            raise ValueError(f"{self.name}: nothing is compiled before the first call")
        return self.latest.code.source

    def __repr__(self) -> str:
        count = sum(map(len, self.recordings.values()))
        return f"<{self.name}, {count} {'recording' if count == 1 else 'recordings'}>"

    def __call__(self, *args: Given.args, **kwargs: Given.kwargs) -> Result:
        if blocks and watching() is not None:  # who watches wants to see each operation
            return self.f(*args, **kwargs)
        given = self.given(args, kwargs)
        found = self.latest
        if found is None or found.key != given.key or not found.snapshot.holds():
            try:
                if self.known(given) is None:  # functions and numbers may be defined after the function that names them
                    self.outside = outside(self.f)
                    given = self.given(args, kwargs)
                found = self.latest = self.known(given) or self.record(given, args, kwargs)
            except OF_DATA:
                found = None
        if found is not None:
            try:
                return cast("Result", found.run(given.parts))
            except Exception:
                pass
        return self.f(*args, **kwargs)  # which can do it, or says what is wrong

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """As a method: bound to the instance, as functions are."""
        return self if instance is None else MethodType(self, instance)

    def given(self, args: Any, kwargs: Any) -> Arguments:
        given = Arguments()
        given.take(args)
        if kwargs:
            given.key.append("by name")
            given.take([kwargs])
        given.own = len(given.parts)
        for read in self.outside:
            given.take_named(read())
        return given

    def known(self, given: Arguments) -> Recording | None:
        """What was recorded before for such arguments, if it still holds."""
        return next((made for made in self.recordings.get(tuple(given.key), ()) if made.snapshot.holds()), None)

    def record(self, given: Arguments, args: Any, kwargs: Any) -> Recording:
        made = Recording(self.name, self.f, given, args, kwargs)
        count = sum(map(len, self.recordings.values()))
        if count == RECORDINGS:
            warnings.warn(
                f"{self.name}: recorded {RECORDINGS} times, for other shapes, options or models each time. That costs more than "
                "it saves: give numbers that change as floats or arrays, not as integers",
                stacklevel=3,
            )
            self.recordings = {}
        self.recordings.setdefault(tuple(given.key), []).append(made)
        return made
