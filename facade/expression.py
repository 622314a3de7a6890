"""Expressions, as in "tanh(x * w + b)": a list of steps for a machine with one stack, and what the steps may be.

Operators, numbers, variables and functions of the table. Operators bind as Python's do.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias, final

from chainrule.autograd.ops import elementwise as e
from chainrule.autograd.ops import linalg, reduction, shape
from chainrule.autograd.primitive import op_of, table

from .pointing import ExpressionError, cut_short, listed

# fmt: off
OPERATORS: Mapping[str, tuple[int, Callable[[Any, Any], Any]]] = MappingProxyType({  # how tightly it binds, and its row
    "+": (1, e.add), "-": (1, e.sub),
    "*": (2, e.mul), "/": (2, e.div), "//": (2, e.floordiv), "%": (2, e.mod), "@": (2, linalg.matmul),
    "**": (4, e.pow),
})
SIGN, POWER = 3, 4  # -x**2 is -(x**2), and 2**-x is 2**(-x); powers group from the right
# fmt: on
CONSTANTS: Mapping[str, float] = MappingProxyType({"e": math.e, "inf": math.inf, "nan": math.nan, "pi": math.pi})
LITERALS: Mapping[str, bool | None] = MappingProxyType({"True": True, "False": False, "None": None})

DATA = ("x", "a", "b", "c")
NO_EXPRESSION = ("astype", "split")  # a dtype is no setting that can be written; several results are no value


@final
class Function(NamedTuple):
    """A function as expressions call it: so many arguments, then settings by name."""

    row: Callable[..., Any]
    takes: int

    @property
    def settings(self) -> Mapping[str, inspect.Parameter]:
        return dict(list(inspect.signature(self.row).parameters.items())[self.takes :])


def takes(row: Callable[..., Any]) -> int:
    """How many arguments are data: of a row, one for each rule; of another function, the first, if called x, or a, b, c."""
    if row is table.get(row.__name__):
        return len(op_of(row).rules)
    return len(list(takewhile(DATA.__contains__, inspect.signature(row).parameters)))


FUNCTIONS: Mapping[str, Function] = MappingProxyType(
    {
        name: Function(row, takes(row))
        for module in (e, linalg, reduction, shape)
        for name, row in vars(module).items()
        if name in module.__all__ and name not in NO_EXPRESSION and takes(row)
    }
)


@final
@dataclass(frozen=True, slots=True)
class Number:
    """Put a number on the stack."""

    value: float


@final
@dataclass(frozen=True, slots=True)
class Variable:
    """Put the value of a variable on the stack."""

    name: str
    start: int


@final
@dataclass(frozen=True, slots=True)
class Apply:
    """Replace the topmost results by what a function makes of them."""

    function: Callable[..., Any]
    takes: int
    settings: Mapping[str, Any]
    start: int
    end: int


Step: TypeAlias = Number | Variable | Apply


@final
@dataclass(frozen=True, slots=True)
class Expression:
    """An expression that was read: `names` are its variables, in the order in which they occur."""

    text: str
    steps: tuple[Step, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(step.name for step in self.steps if isinstance(step, Variable)))

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """What the expression is where its variables have these values: numbers, arrays, Values and Tensors.

        Raises `ExpressionError` where a variable has no value, or an operation cannot be computed.
        """
        self.require(values)
        stack: list[Any] = []
        for step in self.steps:
            match step:
                case Number(value):
                    stack.append(value)
                case Variable(name):
                    stack.append(values[name])
                case Apply():
                    stack[-step.takes :] = [self.applied(step, stack[-step.takes :])]
        return stack.pop()

    def require(self, values: Mapping[str, Any]) -> None:
        for step in self.steps:
            if isinstance(step, Variable) and step.name not in values:
                missing = listed(cut_short(name) for name in self.names if name not in values)
                problem = f"no value for {missing}; values follow the expression, as in {cut_short(step.name)}=1.5"
                raise ExpressionError(problem, self.text, step.start, step.start + len(step.name))

    def applied(self, step: Apply, args: list[Any]) -> Any:
        try:
            return step.function(*args, **step.settings)
        except (ArithmeticError, IndexError, MemoryError, RuntimeError, TypeError, ValueError) as error:
            raise ExpressionError(str(error), self.text, step.start, step.end) from error
