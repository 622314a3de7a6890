"""Value: a number that remembers where it came from."""

from __future__ import annotations

__all__ = ["Value"]

from typing import TYPE_CHECKING, Any

import numpy as np

from .context import blocks, tell_of_reading
from .graph import Node
from .operators import Operators
from .ops.reduction import sum
from .ops.shape import item
from .plain import NUMBERS, describe
from .primitive import kinds
from .typing import ToValue, ValueOperator

if TYPE_CHECKING:
    pass


class Value(Operators[ValueOperator, ToValue]):
    """A number, as a variable: whatever is computed from it can be differentiated with respect to it.

    `data` is any real number, kept as a Python float; `name` labels drawings and messages.
    Raises `TypeError` for anything that is not a real number. A copy of a Value has its `grad`.

    >>> import chainrule as cr
    >>> a, b = cr.Value(2.0), cr.Value(3.0)
    >>> y = a * b + a
    >>> y.backward()
    >>> a.grad, b.grad
    (4.0, 2.0)
    """

    __slots__ = ()
    __match_args__ = ("data", "name")

    if TYPE_CHECKING:
        grad: float | None

        def __pos__(self) -> Value: ...

    def __init__(self, data: float, name: str | None = None) -> None:
        self.become_leaf(as_number(data), name)

    @property
    def data(self) -> float:
        """The number. Assigning a new one is an update: a graph built on the old one will not be differentiated."""
        if blocks:
            tell_of_reading(self)
        number: float = self._raw
        return number

    @data.setter
    def data(self, data: float) -> None:
        self.require_leaf("given new data")
        self._raw = as_number(data)
        self.touch()

    @property
    def shape(self) -> tuple[()]:
        return ()

    @property
    def ndim(self) -> int:
        return 0

    def item(self) -> float:
        """The number alone, without its history."""
        return self.data

    def detach(self) -> float:
        """The number as a constant: no gradient flows through it."""
        return self.data

    def fit(self, g: Any) -> Any:
        if type(g) is float or isinstance(g, Value):
            return g
        if isinstance(g, Node):
            return item(sum(g))
        return float(np.sum(g))

    def seed(self, seed: Any = None) -> float:
        return 1.0 if seed is None else as_number(seed, "backward: the seed of a Value")

    def add_to_grad(self, g: float, owned: bool) -> None:
        self._grad = g if self._grad is None else self._grad + g

    def __repr__(self) -> str:
        name = f", name={self.name!r}" if self.name is not None else ""
        return f"Value({self._raw!r}{name})"

    def __format__(self, spec: str) -> str:
        return format(self.data, spec) if spec else repr(self)

    def __reduce__(self) -> tuple[type[Value], tuple[float, str | None], tuple[None, dict[str, Any]]]:
        self.require_leaf("copied or pickled")
        return Value, (self.data, self.name), (None, {"grad": self._grad, "frozen": self.frozen})


def as_number(data: Any, what: str = "Value") -> float:
    """A Python float, if it is one number."""
    if type(data) is float:
        return data
    if isinstance(data, np.ndarray) and data.ndim == 0:
        data = data[()]
    if type(data) in NUMBERS or isinstance(data, int | float | np.integer | np.floating | np.bool):
        try:
            return float(data)
        except OverflowError:
            raise ValueError(f"{what}: too large for a number, got {describe(data)}") from None
    raise TypeError(f"{what}: expected a real number, got {describe(data)}{advice(data)}")


def advice(data: Any) -> str:
    if isinstance(data, Node):
        return "; it is a variable already"
    return "; use a Tensor for arrays" if isinstance(data, list | tuple | np.ndarray) else ""


kinds[float] = Value
