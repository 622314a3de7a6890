"""Seals: the bits of arrays that a graph still needs, to find out in backward whether somebody has written into one.

An array of somebody else, used beside variables, is sealed when an operation is computed from it. The array of a variable
is nobody else's until its `.data` is asked for: then it is sealed, and again whenever it is used, as long as somebody has
it. Results hand out read-only views. Only NumPy's arrays are sealed: nothing of another library is
computed to find out.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from functools import cache, partial, wraps
from threading import RLock
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..context import changed_before, free_in_children


class Kept:
    """The bits of an array, once for all operations that are computed from it as long as it stays as it is."""

    __slots__ = ("__weakref__", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Kept) and self.octets == other.octets)

    __hash__ = None  # type: ignore[assignment]


Seal: TypeAlias = bytes | int | Kept
Sealed: TypeAlias = "tuple[int, Seal, tuple[int, ...], np.dtype[Any]]"  # a place, and what the array there is like

SMALL = 1 << 12  # bytes: up to so many are kept as they are, which is fastest,
KEPT = 1 << 20  # up to so many once for all uses, and of more a fingerprint
BLOCK = 1 << 14  # words that one table of weights is for

kept: dict[int, weakref.ref[Kept]] = {}  # by the identity of the array
handed: dict[int, weakref.ref[Any]] = {}  # the nodes whose arrays somebody may have, by identity
handing = RLock()
free_in_children(handing)


def seal(array: NDArray[Any]) -> Seal:
    """The bits of an array, or a fingerprint of them: a sum of its words times random odd numbers, modulo 2^64.

    One word changed always changes that; what is changed without regard to it does but in one of 2^32 cases. The upper
    half of a word is first laid over the lower: the highest bits, which the signs of `x *= -1` are, would drop out of a sum.
    """
    if array.nbytes <= SMALL:
        return array.tobytes()
    if array.nbytes <= KEPT:
        new = Kept(array.tobytes())
        old = kept.get(id(array))
        if old is not None and (before := old()) is not None and before.octets == new.octets:
            return before
        kept[id(array)] = weakref.ref(new, partial(dropped, id(array)))
        return new
    if 0 in array.strides:  # repeated without being there more than once
        return seal(array[tuple([slice(None) if step else slice(1) for step in array.strides])])
    octets = array.ravel(order="K").view(np.uint8)
    end = octets.size // 8 * 8
    words = octets[:end].view(np.uint64)
    total = int.from_bytes(octets[end:].tobytes(), "little")
    for start in range(0, words.size, BLOCK):
        part = words[start : start + BLOCK]
        total = (total * MULTIPLIER + int(np.einsum("i,i->", part ^ (part >> HALF), weights()[: part.size]))) % 2**64
    return total


MULTIPLIER = 0x9E3779B97F4A7C15  # odd, and its bits as good as random
HALF = np.uint64(32)


def dropped(identity: int, gone: weakref.ref[Kept]) -> None:
    if kept.get(identity) is gone:
        del kept[identity]


@cache
def weights() -> NDArray[np.uint64]:
    return np.random.default_rng(0).integers(0, 2**63, BLOCK, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def seals_of(op: Any, args: Sequence[Any]) -> Sequence[Sealed] | None:
    """The seals of the arrays of others that an operation's rules read, each with its place among the arguments."""
    reads, found = op.reads, None
    for i, arg in enumerate(args):
        if isinstance(arg, np.ndarray) and (reads is None or i in reads):
            found = found or []
            found.append((i, arg.tobytes() if arg.nbytes <= SMALL else seal(arg), arg.shape, arg.dtype))
    return found


def hand_out(node: Any) -> None:
    """Seal the array of a node, for somebody is about to get it."""
    if isinstance(node._raw, np.ndarray):
        with handing:
            if sealed(node) is None:
                node.seal = node._raw, seal(node._raw), node.birth
            if id(node) not in handed:
                handed[id(node)] = weakref.ref(node, partial(forget, id(node)))


def forget(identity: int, gone: object = None) -> None:
    handed.pop(identity, None)


def sealed(arg: Any) -> Seal | None:
    """The seal of a node's array, if that was handed out, and not replaced by another since."""
    held = getattr(arg, "seal", None)
    return held[1] if held is not None and held[0] is arg._raw else None


def locked(x: Any) -> Any:
    """The same data; of an array, a view that cannot be written into."""
    if not isinstance(x, np.ndarray):
        return x
    view = x.view()
    view.flags.writeable = False
    return view


def on_locked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, on arrays that it cannot write into, and with a result that is nobody else's."""
    if isinstance(function, np.ufunc):
        return function

    @wraps(function)
    def called(*args: Any, **params: Any) -> Any:
        result = function(*map(locked, args), **params)
        return np.array(result) if isinstance(result, np.ndarray) else result  # which somebody else may keep

    return called


def read_only(node: Any) -> Any:
    """The array of a result, as somebody may have it who must not write into it.

    It is sealed all the same, with those of the nodes that it is a view of: an array has a base, and NumPy's `add.at` and
    its kin write into what is read-only.
    """
    array = node._raw
    if not isinstance(array, np.ndarray):
        return array
    hand_out(node)
    for shared in sharing(node):
        hand_out(shared)
    return locked(array)


def is_view_of(array: Any, other: Any) -> bool:
    """Whether two arrays are views of one, or one of the other."""
    if not isinstance(array, np.ndarray) or not isinstance(other, np.ndarray):
        return False
    owner = array if array.base is None else array.base
    return other is owner or other.base is owner


def sharing(node: Any) -> list[Any]:
    """The nodes behind a node that have their elements in the same memory as it."""
    found: list[Any] = []
    stack, seen = [node], {id(node)}
    while stack:
        for arg in stack.pop().args:
            if id(arg) not in seen and is_view_of(node._raw, getattr(arg, "_raw", None)):
                seen.add(id(arg))
                found.append(arg)
                stack.append(arg)
    return found


def renew(args: Sequence[Any]) -> None:
    """Seal variables anew that an operation is computed from: what was written into until now must not spoil older graphs."""
    for arg in args:
        if id(arg) in handed and arg.op is None and (old := sealed(arg)) is not None:
            new = seal(arg._raw)
            if new != old and arg.birth == arg.seal[2]:
                arg.birth = changed_before()
            arg.seal = arg._raw, new, arg.birth


def verify(node: Any, seals: Sequence[Sealed] | None, verified: set[int] | None = None) -> set[int] | None:
    """Raise `RuntimeError` if an array that a node was computed from, or its own, has other bits than then.

    `verified` are the nodes whose arrays have been looked at in a walk; they are returned.
    """
    for i, then, shape, dtype in seals or ():
        array = node.args[i]
        same = array.tobytes() == then if array.nbytes <= SMALL else unchanged(array, then)
        if not same or array.shape != shape or array.dtype != dtype:
            raise written_into(node, f"the array of shape {shape} that was argument {i + 1}")
    if not handed or node.op.reads == ():
        return verified
    verified = set() if verified is None else verified
    for arg in (node, *node.args):
        if id(arg) in handed:
            require_unwritten(node, arg, verified)
        elif getattr(getattr(arg, "_raw", None), "base", None) is not None:
            for shared in sharing(arg):
                require_unwritten(node, shared, verified)
    return verified


def require_unwritten(node: Any, arg: Any, verified: set[int]) -> None:
    if id(arg) in verified or (bits := sealed(arg)) is None:
        return
    verified.add(id(arg))
    if arg.birth <= node.birth and not unchanged(arg._raw, bits):
        name = f" {arg.name!r}" if arg.name else ""
        raise written_into(node, f"the .data of a {type(arg).__name__}{name} of shape {arg._raw.shape}")
    with handing:
        if references(arg) == ALONE:  # nobody has it any more
            arg.seal = None
            forget(id(arg))


def require_current(arg: Any) -> None:
    """Raise `RuntimeError` if what a walk does not look behind is a view of a variable that was changed since."""
    if isinstance(arg._raw, np.ndarray):
        for shared in sharing(arg):
            if shared.op is None and shared.birth > arg.birth:
                raise RuntimeError(
                    f"the data of {shared!r} was changed after {arg!r}, which is a view of it, was computed, so the gradient would be "
                    "wrong. Call backward() before changing data, or compute the result again."
                )


def unchanged(array: NDArray[Any], then: Seal) -> bool:
    if not isinstance(then, Kept) or array.nbytes != len(then.octets):
        return seal(array) == then
    now: Any = array if array.flags.c_contiguous and array.dtype.isnative else array.tobytes()  # best without a copy
    return then.octets.startswith(now)


def references(holder: Any) -> int:
    """How often something holds what `holder` has as `_raw`, counted as it is here."""
    return sys.getrefcount(holder._raw)


class Holder:
    """Somebody who alone holds an array, and its seal."""

    def __init__(self) -> None:
        self._raw = np.zeros(1)
        self.seal = self._raw, b"", 0


ALONE = references(Holder()) if hasattr(sys, "getrefcount") else 0


def written_into(node: Any, what: str) -> RuntimeError:
    line = getattr(node.op, "line", None)
    return RuntimeError(
        f"{what} was written into after {node.op!r} was computed from it, so its gradient would be wrong. Call backward() "
        f"first, or give the operation a copy (array.copy()){f'; {node.op!r} was called at {line}' if line else ''}"
    )
