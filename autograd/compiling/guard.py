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


@final
class Guard:
    """What was found in the surroundings of a function, and whether that is still what is found there."""

    def __init__(self, around: Surroundings) -> None:
        self.reads = [found for found in around.reads.values() if found[0].of is not itself]
        self.space: dict[str, Any] = {}
        tests = [self.test(i, read, then) for i, (read, then) in enumerate(self.reads)]
        lines = [f"    {' and '.join(tests[i : i + 50])} or changed()\n" for i in range(0, len(tests), 50)]
        exec(compile(f"def same():\n{''.join(lines)}    return True\n", "<compiled by chainrule>", "exec"), self.space)
        self.space["changed"] = changed
        self.same: Callable[[], bool] = self.space.pop("same")
        self.views = [parts for parts, _, _ in around.views]
        self.lengths = [len(then) for _, then, _ in around.views]
        self.inside = [*chain.from_iterable(then for _, then, _ in around.views)]
        self.arrays = [(array, sealed, shape) for array, sealed, shape, _ in around.arrays]

    def test(self, i: int, read: Read, then: Any) -> str:
        """Whether the same is found there, as Python text."""
        owner: Any = getattr(read.of, "__self__", None)
        key = read.key
        of: Any = read.of
        text = f"of{i}(key{i})"
        if type(owner) in (dict, MappingProxyType) and type(key) is str and key in owner:
            of, text = owner, f"of{i}[{key!r}]"
        elif read.of is type or read.of is dict_of:
            of, text = key, f"of{i}.{'__class__' if read.of is type else '__dict__'}"
        elif read.of is contents:
            of, text = key, f"of{i}.cell_contents"
        elif isinstance(read.of, partial) and read.of.func is getattr:
            of, text = read.of.args[0], f"of{i}.{key}"
        self.space |= {f"of{i}": of, f"key{i}": key, f"then{i}": then}
        return f"{text} {'==' if read.of is len else 'is'} then{i}"

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
        self.space |= {f"then{i}": now for i, now in enumerate(found)}
        self.reads = [(read, now) for now, (read, _) in zip(found, self.reads, strict=True)]
        self.inside = inside
        return True

    def differing(self) -> list[Read]:
        """Where something else is found than before, or an array that holds something else."""
        others = {id(found[0]) for found in self.arrays if not is_as_it_was(*found)}
        found = ((read, read.of(read.key), then) for read, then in self.reads)
        return [read for read, now, then in found if id(now) in others or not alike(now, then)]


def is_as_it_was(array: Any, sealed: Seal, shape: tuple[int, ...]) -> bool:
    return array.shape == shape and unchanged(array, sealed)


def changed() -> bool:
    raise LookupError
