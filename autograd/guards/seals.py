"""Seals: the bits of arrays that a graph still needs, to find out in backward whether somebody has written into one.

An array of somebody else, used beside variables, is sealed when an operation is computed from it. The array of a variable
is nobody else's until its `.data` is asked for: then it is sealed, and again whenever it is used, as long as somebody has
it. Results hand out arrays that are read-only, too. Only NumPy's arrays are sealed: nothing of another library is
computed to find out.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Sequence
from functools import cache, partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..context import changed_before

if TYPE_CHECKING:
    from ..graph import Node


class Kept:
    """The bits of an array, once for all operations that are computed from it as long as it stays as it is."""

    __slots__ = ("__weakref__", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, Kept) and self.octets == other.octets)

    __hash__ = None  # type: ignore[assignment]


Seal: TypeAlias = bytes | int | Kept

SMALL = 1 << 17  # bytes: up to so many are kept as they are, which is fastest,
KEPT = 1 << 20  # up to so many once for all uses, and of more a fingerprint
BLOCK = 1 << 16  # words that one table of weights is for

kept: weakref.WeakValueDictionary[int, Kept] = weakref.WeakValueDictionary()  # by the identity of the array
handed: dict[int, weakref.ref[Any]] = {}  # the nodes whose arrays somebody may have, by identity


def seal(array: NDArray[Any]) -> Seal:
    """The bits of an array, or a fingerprint of them: a sum of its words times random odd numbers, modulo 2^64.

    One word changed always changes that; anything else does but in one of 2^32 cases or less. The words are cut half a
    word aside: the signs and exponents of float64, which `x *= -1` and `x *= 2` change in all, would be the highest bits,
    and drop out of the sum.
    """
    if array.nbytes <= SMALL:
        return array.tobytes()
    if array.nbytes <= KEPT:
        new = Kept(array.tobytes())
        old = kept.get(id(array))
        if old != new:
            kept[id(array)] = old = new
        return old
    if 0 in array.strides:  # repeated without being there more than once
        return seal(array[tuple([slice(None) if step else slice(1) for step in array.strides])])
    octets = array.ravel(order="K").view(np.uint8)
    end = 4 + (octets.size - 4) // 8 * 8
    words = octets[4:end].view(np.uint64)
    total = int.from_bytes(octets[:4].tobytes() + octets[end:].tobytes(), "little")
    for start in range(0, words.size, BLOCK):
        part = words[start : start + BLOCK]
        total = (total * MULTIPLIER + int(np.einsum("i,i->", part, weights()[: part.size]))) % 2**64
    return total


MULTIPLIER = 0x9E3779B97F4A7C15  # odd, and its bits as good as random


@cache
def weights() -> NDArray[np.uint64]:
    return np.random.default_rng(0).integers(0, 2**63, BLOCK, dtype=np.uint64) * np.uint64(2) + np.uint64(1)


def seals_of(op: Any, args: Sequence[Any]) -> Sequence[tuple[int, Seal]] | None:
    """The seals of the arrays of others that an operation's rules read, each with its place among the arguments."""
    reads, found = op.reads, None
    for i, arg in enumerate(args):
        if isinstance(arg, np.ndarray) and (reads is None or i in reads):
            found = found or []
            found.append((i, arg.tobytes() if arg.nbytes <= SMALL else seal(arg)))
    return found


def hand_out(node: Any) -> None:
    """Seal the array of a node, for somebody is about to get it."""
    if isinstance(node._raw, np.ndarray) and sealed(node) is None:
        node.seal = node._raw, seal(node._raw), node.birth
        handed[id(node)] = weakref.ref(node, partial(forget, id(node)))


def forget(identity: int, gone: object = None) -> None:
    handed.pop(identity, None)


def sealed(arg: Any) -> Seal | None:
    """The seal of a node's array, if that was handed out, and not replaced by another since."""
    held = getattr(arg, "seal", None)
    return held[1] if held is not None and held[0] is arg._raw else None


def lock(result: Any) -> None:
    """Let nobody write into the array of a result, nor, unnoticed, into that of a variable that it is a view of."""
    array = result._raw
    if not isinstance(array, np.ndarray):
        return
    array.flags.writeable = False
    hand_out(result)  # NumPy's `add.at` and its kin write into what is read-only, too
    nodes = [result] if array.base is not None else []
    while nodes:
        for arg in nodes.pop().args:
            shared = getattr(arg, "_raw", None)
            if isinstance(shared, np.ndarray) and (shared is array.base or shared.base is array.base):
                if arg.op is None:
                    hand_out(arg)
                nodes.append(arg)


def renew(args: Sequence[Any]) -> None:
    """Seal variables anew that an operation is computed from: what was written into until now must not spoil older graphs."""
    for arg in args:
        if id(arg) in handed and arg.op is None and (old := sealed(arg)) is not None:
            new = seal(arg._raw)
            if new != old and arg.birth == arg.seal[2]:
                arg.birth = changed_before()
            arg.seal = arg._raw, new, arg.birth


def verify(node: Node, seals: Sequence[tuple[int, Seal]] | None, verified: set[int]) -> None:
    """Raise `RuntimeError` if an array that a node was computed from has other bits than then."""
    for i, then in seals or ():
        array = node.args[i]
        if array.tobytes() != then if array.nbytes <= SMALL else not unchanged(array, then):
            raise written(node, f"the array of shape {array.shape} that was argument {i + 1}")
    if not handed:
        return
    for arg in node.args:
        if id(arg) in handed and id(arg) not in verified and (bits := sealed(arg)) is not None:
            if arg.birth < node.birth and not unchanged(arg._raw, bits):
                name = f" {arg.name!r}" if arg.name else ""
                raise written(node, f"the .data of a {type(arg).__name__}{name} of shape {arg._raw.shape}")
            verified.add(id(arg))
            if references(arg) == ALONE:
                arg.seal = None  # nobody has it any more
                forget(id(arg))


def unchanged(array: NDArray[Any], then: Seal) -> bool:
    return array.tobytes() == then.octets if isinstance(then, Kept) else seal(array) == then


def references(holder: Any) -> int:
    """How often something holds what `holder` has as `_raw`, counted as it is here."""
    return sys.getrefcount(holder._raw)


class Holder:
    """Somebody who alone holds an array, and its seal."""

    def __init__(self) -> None:
        self._raw = np.zeros(1)
        self.seal = self._raw, b"", 0


ALONE = references(Holder()) if hasattr(sys, "getrefcount") else 0


def written(node: Node, what: str) -> RuntimeError:
    line = getattr(node.op, "line", None)
    return RuntimeError(
        f"{what} was written into after {node.op!r} was computed from it, so its gradient would be wrong. Call backward() "
        f"first, or give the operation a copy (array.copy()){f'; {node.op!r} was called at {line}' if line else ''}"
    )
