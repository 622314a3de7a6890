"""What settings may be, of rows by their names and elsewhere: one kind for each name, looked at before anything is computed."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from copy import deepcopy
from math import isfinite
from typing import Any

import numpy as np

from ..graph import Node
from ..plain import Saved, constant, describe

NUMERIC = (float, int, np.floating, np.integer)


def is_real(x: Any) -> bool:
    return isinstance(x, NUMERIC) and not isinstance(x, bool)


def flag(what: str, x: Any) -> bool:
    if not isinstance(x, bool | np.bool):
        raise TypeError(f"{what} must be True or False, got {describe(x)}")
    return bool(x)


def whole(what: str, x: Any) -> int:
    if type(x) is int:
        return x
    try:
        if isinstance(x, bool | np.bool):
            raise TypeError
        return operator.index(x)
    except TypeError:
        raise TypeError(f"{what} must be a whole number, got {describe(x)}") from None


def real(what: str, x: Any) -> float:
    """A number, perhaps infinite, but not NaN."""
    if isinstance(x, np.ndarray) and x.shape == ():
        x = x[()]
    if not is_real(x):
        raise TypeError(f"{what} must be a number, got {describe(x)}")
    try:
        number = float(x)
    except OverflowError:
        raise ValueError(f"{what} is too large for a number: {describe(x)}") from None
    if number != number:
        raise ValueError(f"{what} must be a number, got {describe(x)}")
    return number


def finite(what: str, x: Any) -> float:
    number = real(what, x)
    if not isfinite(number):
        raise ValueError(f"{what} must be finite, got {describe(x)}")
    return number


def several(what: str, x: Any) -> int | tuple[int, ...]:
    """One whole number or several."""
    many = isinstance(x, tuple | list) or (isinstance(x, np.ndarray) and x.ndim)
    return tuple([whole(what, each) for each in x]) if many else whole(what, x)


def axis(what: str, x: Any) -> int | tuple[int, ...] | None:
    return None if x is None else several(what, x)


def bound(what: str, x: Any) -> Any:
    """A number or an array, or None for none."""
    return None if x is None else constant(x, what)


def sequence(what: str, x: Any) -> list[Any]:
    """What comes in an order, one after another."""
    if type(x) is list:
        return x
    if isinstance(x, str | bytes | Mapping | set | frozenset) or not np.iterable(x):
        raise TypeError(f"{what}: expected several in a list or a tuple, got {describe(x)}")
    return list(x)


KINDS: dict[str, Callable[[str, Any], Any]] = {
    "alpha": finite, "axis": axis, "ddof": finite, "high": bound, "k": whole, "keepdims": flag, "low": bound, "ord": real,
    "shift": several, "slope": finite,
}  # fmt: skip
# Types that need no look, by the setting, and else.
USUAL: dict[str, frozenset[type]] = {
    **dict.fromkeys(KINDS, frozenset()),
    "axis": frozenset({int, tuple, type(None)}), "high": frozenset({int, float, type(None)}), "k": frozenset({int}),
    "keepdims": frozenset({bool}), "low": frozenset({int, float, type(None)}),
}  # fmt: skip
PLAIN = frozenset({Saved, bool, dict, float, int, slice, str, tuple, type(None), type(...)})


def setting(operation: str, name: str, x: Any, listed: bool, kept: bool) -> Any:
    """One setting of an operation, of its kind if that comes with the library; one that is kept no later change can reach.

    A variable is none: no rule would differentiate by it.
    """
    if isinstance(x, Node):
        raise TypeError(
            f"{operation}: {name} is a setting, which nothing is differentiated by; give it as a plain number, got {describe(x)}"
        )
    if listed and name in KINDS and not (type(x) is float and KINDS[name] is finite and isfinite(x)):
        x = KINDS[name](f"{operation}: {name}", x)
    return deepcopy(x) if kept and type(x) in (list, np.ndarray) else x
