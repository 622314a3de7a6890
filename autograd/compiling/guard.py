"""Whether all that a recording depends on is as it was: asked at each call, and so by code that is made for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import chain, starmap
from operator import is_
from types import MappingProxyType
from typing import Any, final

from ..guards.seals import Seal, unchanged
from .kinds import alike, contents, dict_of, itself
from .surroundings import Read, Surroundings
from .writing import function

IN_BULK = {"_map": map, "_len": len, "_all": all, "_is": is_, "_chained": chain.from_iterable}


@final
class Guard:
    """What was found in the surroundings of a function, and whether that is still what is found there."""

    def __init__(self, around: Surroundings) -> None:
        self.reads = [found for found in around.reads.values() if found[0].of is not itself and not is_idle(*found)]
        self.space: dict[str, Any] = {"__name__": __name__, "_changed": changed}
        self.tests = [self.test(i, read, then) for i, (read, then) in enumerate(self.reads)]
        lines = [f"{' and '.join(self.tests[i : i + 50])} or _changed()" for i in range(0, len(self.tests), 50)]
        text = function("same", (), [*lines, "return True"])
        exec(compile(text, "<compiled by chainrule>", "exec"), self.space)
        self.same: Callable[[], bool] = self.space.pop("same")
        self.views = [parts for parts, _, _ in around.views]
        self.lengths = [len(then) for _, then, _ in around.views]
        self.inside = [*chain.from_iterable(then for _, then, _ in around.views)]
        self.space |= {"_views": self.views, "_lengths": self.lengths, "_inside": self.inside, **IN_BULK}
        self.arrays = [(array, sealed, shape) for array, sealed, shape, _ in around.arrays]

    @property
    def text(self) -> str:
        """The same as text, for code that is to ask it."""
        if self.arrays or len(self.tests) > 30:
            return "_holds()"
        views = (
            ["[*_map(_len, _views)] == _lengths and _all(_map(_is, _chained(_views), _inside))"] if self.views else []
        )
        return " and ".join([*views, *self.tests])

    def test(self, i: int, read: Read, then: Any) -> str:
        """Whether the same is found there, as Python text."""
        self.space[f"_then{i}"] = then
        return f"{self.read(f'_{i}', read)} {'==' if read.of is len else 'is'} _then{i}"

    def read(self, name: str, read: Read) -> str:
        """What is found there, as Python text."""
        owner: Any = getattr(read.of, "__self__", None)
        key, of = read.key, f"_of{name}"
        if type(owner) in (dict, MappingProxyType) and type(key) is str and key in owner:
            self.space[of] = owner
            return f"{of}[{key!r}]"
        if read.of is type or read.of is dict_of:
            self.space[of] = key
            return f"{of}.{'__class__' if read.of is type else '__dict__'}"
        if read.of is contents:
            self.space[of] = key
            return f"{of}.cell_contents"
        if isinstance(read.of, partial) and read.of.func is getattr:
            self.space[of] = read.of.args[0]
            return f"{of}.{key}"
        self.space |= {of: read.of, f"_key{name}": key}
        return f"{of}(_key{name})"

    def holds(self) -> bool:
        try:
            if not self.views or (
                list(map(len, self.views)) == self.lengths
                and all(map(is_, chain.from_iterable(self.views), self.inside))
            ):
                self.same()
            elif not self.is_alike():
                return False
        except Exception:  # something is another, is gone, or changes just now
            if not self.is_alike():
                return False
        return not self.arrays or all(starmap(is_as_it_was, self.arrays))

    def is_alike(self) -> bool:
        """The same of numbers and text that were made anew; and so will be known by their identity from now on."""
        try:
            found = [read.of(read.key) for read, _ in self.reads]
            inside = [*chain.from_iterable(self.views)]
            if list(map(len, self.views)) != self.lengths or not all(map(alike, inside, self.inside)):
                return False
            if not all(alike(now, then) for now, (_, then) in zip(found, self.reads, strict=True)):
                return False
        except Exception:
            return False
        self.space |= {f"_then{i}": now for i, now in enumerate(found)}
        self.reads = [(read, now) for now, (read, _) in zip(found, self.reads, strict=True)]
        self.inside = self.space["_inside"] = inside
        return True

    def differing(self) -> list[Read]:
        """Where something else is found than before, or an array that holds something else."""
        others = {id(found[0]) for found in self.arrays if not is_as_it_was(*found)}
        found = ((read, read.of(read.key), then) for read, then in self.reads)
        return [read for read, now, then in found if id(now) in others or not alike(now, then)]


def is_idle(read: Read, then: Any) -> bool:
    """Whether this changes nothing: who was called without defaults was given all it needs."""
    return then is None and read.key in ("__defaults__", "__kwdefaults__")


def is_as_it_was(array: Any, sealed: Seal, shape: tuple[int, ...]) -> bool:
    return array.shape == shape and unchanged(array, sealed)


def changed() -> bool:
    raise LookupError
