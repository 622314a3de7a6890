"""Blocks, such as `no_grad`: entered by `with` or as decorators, and left in whatever order, by whomever, at any time.

What is entered is a token, held in a table; leaving takes it out. Nothing else has to be put back, so a task that outlives
a block, a generator that is closed elsewhere, or Ctrl-C while one is entered or left, cannot leave it on.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator
from copy import copy
from functools import wraps
from inspect import isasyncgenfunction, isclass, iscoroutinefunction, isgeneratorfunction
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
        token.block = ref(self, gone)
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
            token = self.latest()
            self.leave(token)
        except KeyboardInterrupt:
            self.leave(token or self.latest())
            raise

    def latest(self) -> Token:
        """The token to leave: the innermost here. Another context knows of none, as where it closes a generator."""
        token = innermost.get()
        while token is not None and token not in self.tokens:
            token = token.outer
        if not self.tokens:
            raise RuntimeError(f"{type(self).__name__}: a block was left that was not entered, or had been left before")
        return token or self.tokens[-1]

    def leave(self, token: Token) -> None:
        end(token)
        token.block = None
        if innermost.get() is token:
            innermost.set(token.outer)
        if token in self.tokens:
            self.tokens.remove(token)

    def again(self) -> Self:
        """Another one like it, not entered."""
        block = copy(self)
        block.tokens = []
        return block

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
                return f(*args, **options)

        within: Any = stepwise if is_any(isgeneratorfunction) else awaited if is_any(iscoroutinefunction) else called
        return wraps(f)(within)


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
    `@no_grad()`, of functions, of coroutines, and of generators, which are inside at their own steps only.

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
