"""What a function returns, taken apart: which of it is computed anew, which is an argument, which always the same; and how alike two are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, final

import numpy as np

from ..graph import Node
from ..plain import describe
from ..primitive import kinds
from .arguments import CONSTANT, Arguments, Refused, closed, opened
from .lines import Writer, tuple_of


class Leaf(NamedTuple):
    """Where a part of the result comes from."""

    source: str  # "output", "input", "same" or "copy"
    of: Any  # a place among the outputs or the inputs, or the thing itself


class Branch(NamedTuple):
    """A container in the result."""

    like: Any  # one of its kind, emptied
    parts: list[Form]


Form = Leaf | Branch


def built(form: Form, outputs: Sequence[Any], inputs: Sequence[Any]) -> Any:
    """The result, of the form that the function gives it."""
    if isinstance(form, Branch):
        return closed(form.like, [built(part, outputs, inputs) for part in form.parts])
    source, of = form
    if source == "output":
        return outputs[of]
    return inputs[of] if source == "input" else of if source == "same" else np.array(of)


def written(w: Writer, form: Form, inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """The same as Python text."""
    if isinstance(form, Branch):
        like, parts = form.like, [written(w, part, inputs, outputs) for part in form.parts]
        if type(like) is tuple:
            return tuple_of(parts)
        if type(like) is list:
            return f"[{', '.join(parts)}]"
        if type(like) is dict and all(type(key) is str for key in like):
            return f"{{{', '.join(f'{key!r}: {part}' for key, part in zip(like, parts, strict=True))}}}"
        return f"{w.function(closed, 'closed')}({w.constant(like, 'like')}, [{', '.join(parts)}])"
    source, of = form
    if source in ("output", "input"):
        return (outputs if source == "output" else inputs)[int(of)]
    return w.constant(of) if source == "same" else f"np.array({w.constant(of)})"


def leaves(form: Form) -> Iterator[Leaf]:
    if isinstance(form, Leaf):
        yield form
    else:
        for part in form.parts:
            yield from leaves(part)


@final
class Forming:
    """Finds how a result is put together, of what the function itself returned, and what its recording did.

    The nodes that are to be computed are `found`. `arrays` are those of others that the function could reach.
    """

    def __init__(self, given: Arguments, fresh: Sequence[Node], arrays: Sequence[Any]) -> None:
        self.parts, self.arrays = given.parts, arrays
        self.inputs = {id(node): i for i, node in enumerate(fresh)}
        self.held = {id(x) for x in given.containers}
        self.met: dict[int, Any] = {}  # what was made, and what stands for it
        self.found: list[Node] = []

    def once(self, e: Any, x: Any) -> None:
        if self.met.setdefault(id(e), x) is not x:
            raise Refused(
                "it returns one array or container in two places, or one that was another while it was recorded"
            )

    def form(self, e: Any, x: Any) -> Form:
        if id(e) in self.held:
            raise Refused("it returns a container of its arguments, which would be another one")
        if x is e or (type(x) is type(e) and isinstance(e, CONSTANT) and repr(x) == repr(e)):
            return Leaf("same", e)
        inside = opened(e)
        if inside is not None and not isinstance(x, Node):
            others = opened(x)
            if others is None or type(x) is not type(e) or len(others) != len(inside):
                raise Refused("what it returns is of another form while it is recorded")
            self.once(e, object())
            return Branch(
                closed(e, [None] * len(inside)), [self.form(*pair) for pair in zip(inside, others, strict=True)]
            )
        place = self.inputs.get(id(x))
        if place is not None and e is self.parts[place]:
            return Leaf("input", place)
        return self.computed(e, x) if isinstance(x, Node) else self.constant(e, x)

    def computed(self, e: Any, x: Node) -> Leaf:
        if isinstance(e, Node) and (type(e) is not type_of(x) or e.op is None):
            raise Refused("it returns a variable that it makes, which would be the same one each time")
        if isinstance(e, Node | np.ndarray):
            self.once(e, x)
        places = {id(node): i for i, node in enumerate(self.found)}
        if id(x) not in places:
            self.found.append(x)
        return Leaf("output", places.get(id(x), len(self.found) - 1))

    def constant(self, e: Any, x: Any) -> Leaf:
        if type(x) is not type(e) or not isinstance(e, float | np.ndarray | np.generic) or not same(x, e):
            raise Refused(f"it returns {describe(e)}, which may be another one at every call")
        if not isinstance(e, np.ndarray):
            return Leaf("same", e)
        self.once(e, object())
        if any(np.may_share_memory(e, array) for array in self.arrays):
            raise Refused("it returns a view of an array around it, which would be a copy")
        return Leaf("copy", e.copy())


def nodes_in(x: Any) -> Iterator[Node]:
    if isinstance(x, Node):
        yield x
    for part in opened(x) or ():
        yield from nodes_in(part)


def type_of(x: Node) -> type[Node]:
    """Value or Tensor, also where it is recorded."""
    return next(kind for kind in kinds.values() if isinstance(x, kind))


def parts_of(form: Form, x: Any) -> Iterator[Any]:
    """What is in a result in the places of the leaves of its form."""
    if isinstance(form, Leaf):
        yield x
        return
    inside = opened(x)
    keys_differ = type(x) is dict and type(form.like) is dict and list(x) != list(form.like)
    if type(x) is not type(form.like) or inside is None or len(inside) != len(form.parts) or keys_differ:
        raise RuntimeError("compile: the function returns something of another form")
    for part, y in zip(form.parts, inside, strict=True):
        yield from parts_of(part, y)


def shared(x: Any, parts: Iterable[Any]) -> list[bool]:
    """With which of some arrays an array may have its memory in common."""
    return [np.may_share_memory(x, part) for part in parts if isinstance(part, np.ndarray)]


def as_numbers_of(e: Any, x: Any) -> Callable[[Any], Any] | None:
    """How to make a number of the kind that the function gives, of one that the code gives."""
    for kind in (np.bool, bool), (np.integer, int), (np.floating, float):
        number = x[()] if isinstance(x, np.ndarray) and x.ndim == 0 else x
        if isinstance(e, kind) and isinstance(number, kind):
            return type(e) if np.asarray(e).dtype == np.asarray(number).dtype else None
    return None


def size(x: Any) -> float:
    """The largest of some numbers, without their signs; of finite ones."""
    x = np.abs(np.asarray(x, dtype=float))
    return float(np.max(x, initial=0.0, where=np.isfinite(x)))


def same(a: Any, b: Any, beside: float = 0.0) -> bool:
    """Whether two results are of one kind, and equal but for rounding: their own, and that of numbers as large as `beside`."""
    a, b = (np.asarray(x) for x in (a, b))
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.dtype.kind != "f":
        return bool(np.array_equal(a, b))
    finite = np.isfinite(a)
    if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
        return False
    eps = float(np.finfo(a.dtype).eps)
    a, b = a[finite].astype(float), b[finite].astype(float)
    return bool(np.all(np.abs(a - b) <= math.sqrt(eps) * size(a) + 1e4 * eps * beside))


def raw(x: Any) -> Any:
    return x._raw if isinstance(x, Node) else x
