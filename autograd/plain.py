"""Plain data: the numbers and arrays that are no variables, as the table wants them, and the words for what is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .context import blocks, watching
from .graph import Node

NUMBERS = frozenset({float, int, bool})
FAILURES = (ArithmeticError, ValueError, TypeError, IndexError)  # what computing with them may raise


def ieee(f: Callable[..., Any], *xs: Any, **params: Any) -> Any:
    """Run `f` where Python's own floats raise, by IEEE 754 as on arrays: 1/0 is inf, log(-1) is nan."""
    with np.errstate(all="ignore"):
        result = f(*(np.float64(x) if type(x) in NUMBERS else x for x in xs), **params)
    return float(result) if isinstance(result, np.float64) else result


def constant(x: Any, name: str) -> Any:
    """Plain data as the table wants it: a Python number or an array of real numbers. Anything else is an error."""
    if type(x) in NUMBERS or (type(x) is np.ndarray and x.dtype.kind in "fiub"):
        return x
    if isinstance(x, np.generic | float | int):  # NumPy's scalars are numbers, and leave an array's dtype alone
        if blocks and isinstance(x, np.floating) and (watcher := watching()) is not None:
            watcher.weaken(x)
        x = x.item() if isinstance(x, np.generic) else float(x)
        if isinstance(x, float | int):
            return x
        if isinstance(x, np.longdouble):  # no Python number holds it
            return np.asarray(x)
    elif isinstance(x, np.ma.MaskedArray):
        raise TypeError(f"{name}: a masked array's mask would be ignored; use x.filled(…), or cr.where with the mask")
    elif hasattr(x, "__array_function__") and hasattr(x, "dtype"):  # arrays that speak NumPy's protocols
        if x.dtype.kind in "fiub":
            return np.asarray(x) if isinstance(x, np.ndarray) else x  # np.matrix has another meaning of *
        raise TypeError(f"{name}: expected real numbers, got an array of dtype {x.dtype}")
    elif isinstance(x, list | tuple):
        return from_sequence(x, name)
    raise TypeError(f"{name}: expected a number, an array, a Value or a Tensor, got {describe(x)}")


def from_sequence(x: Sequence[Any], name: str) -> Any:
    """An array from (nested) lists of numbers."""
    if any(isinstance(part, Node) for part in x):
        raise TypeError(f"{name}: got a {type(x).__name__} of nodes; join them first with cr.stack or cr.concatenate")
    try:
        array = np.array(x)
    except ValueError as error:
        raise ValueError(f"{name}: the nested lists have ragged lengths: {error}") from error
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name}: expected real numbers, got {describe(x)} (an array of dtype {array.dtype})")
    return array


class Saved(dict[str, Any]):
    """What a forward computes anyway and its rule can have: no setting of the operation, but made anew for each run."""


def describe(x: Any) -> str:
    """What was given, short enough for an error message."""
    try:
        text = repr(x)
    except Exception:  # of an integer of more digits than Python writes, say
        text = object.__repr__(x)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(x).__name__})"


def require_function(what: str, f: Any) -> None:
    if not callable(f):
        raise TypeError(f"{what} must be a function, got {describe(f)}")
