"""The code of a recording beside the function that it was made of: what they give, and what they leave behind, must be the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..derivative import gradients
from ..graph import Node
from ..guards.seals import seal, unchanged
from ..plain import describe
from ..value import Value
from .arguments import Arguments, Refused
from .kinds import put_back, state_of
from .program import values_of
from .results import leaves, parts_of, raw, same, shared, size

if TYPE_CHECKING:
    from .frames import Frames
    from .recorded import Recording


def checked(made: Recording, given: Arguments, run: Callable[[], Any]) -> Any:
    """What the function itself returns, if the code beside it returns the same; else an error."""
    before = [state_of(x) for x in made.own]
    found, moved = attempt(made, given)
    for x, state in zip(made.own, before, strict=True):
        put_back(x, state)
    arrays = [x for x in given.parts if isinstance(x, np.ndarray)]
    sealed = [seal(x) for x in arrays]
    start = perf_counter()
    expected = run()
    made.seconds = perf_counter() - start
    if not all(map(unchanged, arrays, sealed)):
        raise RuntimeError(f"{made.name}: it writes into an argument, which the code does not. Leave out compile")
    for x in found:
        what = compared(made, expected, x, given) or moved_otherwise(made, moved)
        if what is not None:
            raise RuntimeError(
                f"{made.name}: compiled, it gives {what}. Something that the function depends on has changed in a way that "
                "cannot be seen. Pass it as an argument, or leave out compile"
            )
    return expected


def verify(made: Recording, given: Arguments, expected: Any, frames: Frames) -> None:
    """Raise an error unless the code gives what the function gave for the same arguments, from the same states on."""
    after = [state_of(x) for x in made.own]
    for x, state in frames.own.values():
        put_back(x, state)
    found, moved = attempt(made, given, jitted=made.jit is not None)
    for x, state in zip(made.own, after, strict=True):
        put_back(x, state)
    for x in found:
        what = compared(made, expected, x, given) or moved_otherwise(made, moved)
        if what is not None:
            raise Refused(f"recorded, it gives {what}")


def attempt(made: Recording, given: Arguments, jitted: bool = False) -> tuple[list[Any], list[Any]]:
    """What the code gives, if it does, and what state that leaves. Where it was `jitted`, it may be that it never will."""
    try:
        with quiet():  # the function itself says what there is to say
            return [made.run(given.parts)], [state_of(x) for x in made.own]
    except Exception as error:  # as in use: the function itself is called
        if jitted and not isinstance(error, ArithmeticError):
            why = " ".join(str(error).split("\n\n")[0].split())
            raise Refused(f"jit cannot do its code ({type(error).__name__}: {why}). Leave out jit") from None
        return [], []


def moved_otherwise(made: Recording, moved: list[Any]) -> str | None:
    """Whether the function left another state than the code did."""
    for x, state in zip(made.own, moved, strict=False):
        now = state_of(x)
        if not (same(now, state) if isinstance(x, np.ndarray) else repr(now) == repr(state)):
            return f"another state to {describe(x)} than the function: more happens to that than in its layer"
    return None


def most_within(made: Recording, given: Arguments) -> float:
    """The largest number that occurs on the way, to which rounding is relative."""
    before = [state_of(x) for x in made.own]
    inputs = [raw(x) for x in (*given.parts, *made.parameters, *[read.read() for read in made.reads])]
    for x, state in zip(made.own, before, strict=True):
        put_back(x, state)
    with np.errstate(all="ignore"):
        return max((size(x) for x in values_of(made.program, [*inputs, *made.seeds]) if is_float(x)), default=0.0)


def compared(made: Recording, expected: Any, found: Any, given: Arguments) -> str | None:
    """How what the function gives and what the code gives differ, and their gradients."""
    pairs = list(zip(parts_of(made.form, expected), parts_of(made.form, found), strict=True))
    variables = [x for x in (*given.parts, *made.parameters) if isinstance(x, Node)]
    arrays = [(e, x) for e, x in pairs if isinstance(e, np.ndarray) and isinstance(x, np.ndarray)]
    for i, (e, x) in enumerate(arrays):
        if any(np.may_share_memory(e, a) != np.may_share_memory(x, b) for a, b in arrays[:i]):
            return "arrays that have their memory in common otherwise than the function's"
    for leaf, (e, x) in zip(leaves(made.form), pairs, strict=True):
        if leaf.source == "output" and leaf.of in made.convert:
            x = made.convert[leaf.of](raw(x))
        if type(e) is not type(x) or (isinstance(e, Value) and type(e._raw) is not type(x._raw)):
            return f"a {type(raw(x)).__name__} where the function gives a {type(raw(e)).__name__}"
        if not same(raw(e), raw(x)) and not same(raw(e), raw(x), most_within(made, given)):
            return f"{describe(raw(x))} where the function gives {describe(raw(e))}"
        if isinstance(e, np.ndarray) and shared(e, given.parts) != shared(x, given.parts):
            return (
                "an array in other memory than the function's: one is, or is a view of, an argument, the other is not"
            )
        if leaf.source == "output" and isinstance(e, Node) and e.args and x.args:
            seed = x.seed(np.cos(np.arange(np.size(raw(x)), dtype=float)).reshape(np.shape(raw(x))))
            expected_gradients = gradients(e, variables, seed)
            most = max([size(a) for a in expected_gradients], default=0.0)
            for v, a, b in zip(variables, expected_gradients, gradients(x, variables, seed), strict=True):
                # What cancels out is as exact as what does not.
                if not same(a, b, most) and not same(a, b, max(most, most_within(made, given))):
                    return f"the gradient {describe(b)} by {describe(v)} where the function gives {describe(a)}"
    return None


def is_dear(made: Recording) -> bool:
    """Whether to find out that this still holds takes longer than the function itself, and long."""
    times = []
    for _ in range(5):
        start = perf_counter()
        made.guard.holds()
        times.append(perf_counter() - start)
    return min(times) > max(made.seconds, 3e-4)


def is_float(x: Any) -> bool:
    return isinstance(x, float) or (isinstance(x, np.ndarray | np.generic) and x.dtype.kind == "f")


def quiet() -> Any:
    """A block in which NumPy does not warn, and raises the errors that it is told to."""
    if any(found[0] == "error" for found in warnings.filters):
        return nullcontext()
    return np.errstate(**{kind: "raise" if how == "raise" else "ignore" for kind, how in np.geterr().items()})  # type: ignore[arg-type]
