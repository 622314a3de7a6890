"""Blocks, such as `no_grad`: entered by `with` or as decorators, and left in whatever order, by whomever, at any time.

What is entered is a token, held in a table; leaving takes it out. Nothing else has to be put back, so a task that outlives
a block, a generator that is closed elsewhere, or Ctrl-C while one is entered or left, cannot leave it on.
"""

from __future__ import annotations

__all__ = ["enable_grad", "no_grad"]

import sys
from abc import abstractmethod
from collections.abc import Callable, Generator
from copy import copy
from functools import wraps
from inspect import isasyncgenfunction, isclass, iscoroutinefunction, isgeneratorfunction
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, ParamSpec, Self, TypeVar, final
from weakref import ref

from ..context import Token, blocks, end, gone, here, innermost

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Block:
    """What holds inside a `with`, or inside a function that it decorates, wherever and in whatever order it is left.

    A decorated generator is inside at each of its steps, and whoever takes them is not; a coroutine is as a whole.
    """

    def __init__(self, *misplaced: object) -> None:
        self.tokens: list[Token] = []  # one for each time that it is entered: threads may share it
        if misplaced:
            name = type(self).__name__
            raise TypeError(f"{name}: got {misplaced[0]!r}; decorate a function by @{name}(), with the parentheses")

    @abstractmethod
    def token(self) -> Token:
        """A new one."""

    def __enter__(self) -> Self:
        token = self.token()
        token.block, token.frame = ref(self, gone), id(sys._getframe(1))
        try:
            self.tokens.append(token)
            token.outer = here()
            innermost.set(token)
            blocks[id(token.block)] = token
            token.settle()
            token.holds = True
            token.entered()
            return self
        except BaseException:  # Ctrl-C, say
            self.leave(token)
            raise

    def __exit__(self, *exception: object) -> None:
        token = None
        try:
            token = self.tokens[-1] if len(self.tokens) == 1 else self.latest(id(sys._getframe(1)))
            self.leave(token)
        except BaseException:  # Ctrl-C, say
            if self.tokens:
                self.leave(token or self.tokens[-1])
            raise

    def latest(self, frame: int) -> Token:
        """The token to leave, of several: the one that was entered by the same `with`, else the innermost here."""
        if not self.tokens:
            raise RuntimeError(f"{type(self).__name__}: a block was left that was not entered, or had been left before")
        if same := [token for token in self.tokens if token.frame == frame]:
            return same[-1]
        token = innermost.get()
        while token is not None and token not in self.tokens:
            token = token.outer
        return token or self.tokens[-1]

    def leave(self, token: Token) -> None:
        end(token)
        token.block = None
        if innermost.get() is token:
            innermost.set(token.outer)
        if token in self.tokens:
            self.tokens.remove(token)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"tokens": []}

    def again(self) -> Self:
        """Another one like it, not entered."""
        return copy(self)

    def __call__(self, function: Callable[Given, Result]) -> Callable[Given, Result]:
        name, f = type(self).__name__, function

        def is_any(test: Callable[[object], bool]) -> bool:
            return test(f) or test(type(f).__call__)

        if not callable(f) or isclass(f) or is_any(isasyncgenfunction):
            raise TypeError(
                f"{name}(): got {f!r} to decorate, expected a function, a generator function or a coroutine function; "
                f"elsewhere write `with {name}():`"
            )

        def stepwise(*args: Any, **options: Any) -> Any:
            return (yield from Steps(f(*args, **options), self))  # type: ignore[arg-type]

        async def awaited(*args: Any, **options: Any) -> Any:
            with self.again():
                return await f(*args, **options)  # type: ignore[misc]

        def called(*args: Any, **options: Any) -> Any:
            with self.again():
                result = f(*args, **options)
            # Of a function in other clothes, which do not show what it returns.
            if isinstance(result, GeneratorType):
                return self(lambda: (yield from result))()
            if isinstance(result, CoroutineType):
                return self(waited_for)(result)
            if isinstance(result, AsyncGeneratorType):
                raise TypeError(f"{name}(): {f!r} returns an asynchronous generator; write `with {name}():` inside it")
            return result

        within: Any = stepwise if is_any(isgeneratorfunction) else awaited if is_any(iscoroutinefunction) else called
        return wraps(f)(within)


async def waited_for(coroutine: Any) -> Any:
    return await coroutine


@final
class Steps(Generator[Any, Any, Any]):
    """A generator each of whose steps is inside a block."""

    def __init__(self, generator: Generator[Any, Any, Any], block: Block) -> None:
        self.generator, self.block = generator, block

    def send(self, value: Any) -> Any:
        with self.block.again():
            return self.generator.send(value)

    def throw(self, *error: Any) -> Any:
        with self.block.again():
            return self.generator.throw(*error)


@final
class Holding(Block):
    """A block of the token given."""

    def __init__(self, token: Token) -> None:
        super().__init__()
        self.given = token

    def token(self) -> Token:
        return self.given


class no_grad(Block):
    """A block in which nothing is recorded: results are constants.

    It holds for this thread or task, and for tasks started inside until it is left. Blocks may be nested. Also a decorator,
    `@no_grad()`, of functions, of coroutines, and of generators, which are inside at their own steps only. (A `with` inside a
    generator lasts from step to step, and so for whoever takes them.)

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> with cr.no_grad():
    ...     y = x * x
    >>> y.args
    ()
    """

    mode = False

    def token(self) -> Token:
        token = Token()
        token.mode = self.mode
        return token


class enable_grad(no_grad):
    """A block in which operations are recorded, also inside `no_grad`."""

    mode = True
