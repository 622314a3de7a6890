"""How far a long check is: a bar where tqdm is installed, else a line that counts."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from importlib import import_module
from typing import TypeVar

Item = TypeVar("Item")


def followed(items: Sequence[Item], shown: bool, what: str, unit: str) -> Iterable[Item]:
    """The items, one after the other, and how many are done on stderr."""
    if not shown:
        return items
    try:
        bar: Iterable[Item] = import_module("tqdm.auto").tqdm(items, desc=what, unit=unit)
    except ImportError:
        return counted(items, what, unit)
    return bar


def counted(items: Sequence[Item], what: str, unit: str) -> Iterator[Item]:
    for i, item in enumerate(items, start=1):
        yield item
        print(f"\r{what}: {i} of {len(items)} {unit}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
