"""What a rule that somebody wrote is given, and what it may answer: every mistake is said here, with the operation's name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np

from ..graph import Node
from ..plain import FAILURES, NUMBERS, describe
from .seals import locked

LETTERS = {1: ["x"], 2: ["a", "b"]}
KINDS = (IndexError, ValueError, TypeError)  # of errors that stay what they are; others become a RuntimeError
FLOAT = np.dtype(float)  # of nearly all arrays, and there is just one of it
WRITES = "its rule writes into what it was given"


def answering(rule: Callable[..., Any], name: str, place: int) -> Callable[..., Any]:
    """The rule of one argument, on arrays that it cannot write into; an error where it does not return a cotangent of it."""

    @wraps(rule)
    def called(*args: Any, **params: Any) -> Any:
        try:
            d = rule(*map(locked, args), **params)
        except FAILURES as error:
            if tried_again(error, args):
                raise
            raise mistake(error, rule, name, args, params) from error
        except Exception as error:
            error.add_note(f"{name}: its rule for argument {place} raised this")
            raise
        if type(d) is float or (
            type(d) is np.ndarray and d.dtype is FLOAT and d.shape == getattr(args[place + 2], "shape", None)
        ):
            return d
        require_cotangent(d, args[place + 2], name, place)
        return d

    return called


def tried_again(error: Exception, args: Sequence[Any]) -> bool:
    """Whether the rule will be called once more, as IEEE 754 computes: not with Python's numbers, or with underflow allowed."""
    numbers = isinstance(error, ZeroDivisionError) and any(type(x) in NUMBERS for x in args)
    return numbers or isinstance(error, FloatingPointError)


def mistake(error: Exception, rule: Any, name: str, args: Sequence[Any], params: Any) -> Exception:
    """What went wrong in a rule, as an error that says how it is called."""
    call = called_with(len(args) - 2, params)
    if isinstance(error, TypeError) and (takes := misfit(rule, args, params)):
        return TypeError(
            f"{name}: a rule is called with {call}: the cotangent of the result, the result, and what that was made from; "
            f"this one takes {takes}"
        )
    if "read-only" in str(error):
        return ValueError(
            f"{name}: {WRITES}, {call}, which is read-only: {error}; compute its answer anew, or write into a copy"
        )
    kind = next((k for k in KINDS if isinstance(error, k)), RuntimeError)
    given = " and ".join(map(what, args))
    return kind(f"{name}: its rule raised {type(error).__name__}: {error} (called with {call} = {given})")


def called_with(count: int, params: Any) -> str:
    names = LETTERS.get(count) or [f"x{i + 1}" for i in range(count)]
    return f"({', '.join(['g', 'y', *names, *(f'{key}={value!r}' for key, value in params.items())])})"


def misfit(rule: Any, args: Sequence[Any], params: Any) -> str:
    """The arguments that a rule takes, if these are others."""
    try:
        signature = inspect.signature(rule)
    except (TypeError, ValueError):  # not every function says
        return ""
    try:
        signature.bind(*args, **params)
    except TypeError:
        return str(signature)
    return ""


def what(x: Any) -> str:
    """A kind and a shape."""
    shape = getattr(x, "shape", ())
    return f"{type(x).__name__} {shape}" if shape else type(x).__name__


def require_cotangent(d: Any, x: Any, name: str, place: int) -> None:
    """Raise `TypeError` where this is neither real numbers nor a node, `ValueError` where it does not fit the argument."""
    if d is None:
        raise TypeError(f"{name}: a rule returned None; return a cotangent, or give None in place of the rule")
    dtype = getattr(d, "dtype", None)
    real = isinstance(d, Node | float | int) or getattr(dtype, "kind", "") in tuple("fiub")
    if not real or isinstance(d, np.ma.MaskedArray):
        raise TypeError(
            f"{name}: its rule for argument {place} must return a number, an array of real numbers, a Value or a Tensor, "
            f"got {describe(d)}" + (f" of dtype {dtype}" if dtype is not None else "")
        )
    shape, to = getattr(d, "shape", ()), getattr(x, "shape", ())
    if shape != to and not fits(shape, to):
        raise ValueError(
            f"{name}: its rule for argument {place} returned an array of shape {shape}, expected {to}, that of the argument "
            "(or one that is summed or repeated to it as in broadcasting)"
        )


def fits(shape: Sequence[Any], to: Sequence[Any]) -> bool:
    """Whether an array can be summed over what broadcasting repeated, or else be repeated, to another shape."""
    pairs = zip(reversed(shape), reversed(to), strict=False)
    up = len(shape) < len(to)
    return all(n == m or n == 1 or (m == 1 and not up) or not isinstance(n, int) for n, m in pairs)
