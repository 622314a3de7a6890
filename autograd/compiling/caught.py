"""Numbers and arrays that a function names from around it, and that change: inputs of its code, as its arguments are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dis import get_instructions
from types import CellType, FunctionType
from typing import Any

import numpy as np

from .arguments import is_part
from .frames import STANDS_FOR, Frames, codes_of
from .kinds import contents
from .surroundings import Read

LARGE = 1 << 16  # bytes of an array that is an input from the first: to compare it at each call would take long
WRITES = {f"{what}_{where}" for what in ("STORE", "DELETE") for where in ("GLOBAL", "NAME", "DEREF")}


def large_arrays(f: Any, frames: Frames) -> list[Read]:
    """What is better an input from the first."""
    reads = [read for read, x in frames.before.reads.values() if isinstance(x, np.ndarray) and x.nbytes >= LARGE]
    return [read for read in reads if can_be_caught(f, read, frames)]


def can_be_caught(f: Any, read: Read, frames: Frames) -> bool:
    """Whether a function can be given another value in place of what is found there: it alone reads it, by its name."""
    x = read.of(read.key)
    if not is_part(x) or isinstance(x, np.generic) or (isinstance(x, np.ndarray) and x.dtype.kind not in "fiub"):
        return False
    if not isinstance(f, FunctionType):
        return False
    if read.of is contents:
        is_around = any(read.key is cell for cell in f.__closure__ or ())
    else:
        is_around = getattr(read.of, "__self__", None) is f.__globals__
    codes = set(codes_of(f.__code__))
    written = {step.argval for code in codes for step in get_instructions(code) if step.opname in WRITES}
    return is_around and read.label not in written and frames.readers(read) <= codes


def with_others(f: Any, caught: Sequence[Read], values: Sequence[Any]) -> Callable[..., Any]:
    """The same function, with other values around it."""
    if not caught:
        return f  # type: ignore[no-any-return]
    cells = {id(read.key): CellType(x) for read, x in zip(caught, values, strict=True) if read.of is contents}
    named = {read.key: x for read, x in zip(caught, values, strict=True) if read.of is not contents}
    closure = tuple([cells.get(id(cell), cell) for cell in f.__closure__ or ()])
    space = {**f.__globals__, **named, STANDS_FOR: f.__globals__} if named else f.__globals__
    made = FunctionType(f.__code__, space, f.__name__, f.__defaults__, closure)
    made.__kwdefaults__ = f.__kwdefaults__
    return made
