"""The library's classes of a kind, each of which is to be public and to have a case in the table of a generic test."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterator

import chainrule as cr


def kinds_of(base: type) -> Iterator[type]:
    """Those that can be made; the classes of networks over single numbers are apart."""
    for kind in base.__subclasses__():
        yield from kinds_of(kind)
        ours = kind.__module__.startswith("chainrule.nn.") and kind.__module__ != cr.nn.scalar.__name__
        if ours and kind is not cr.nn.Activation and not inspect.isabstract(kind):
            yield kind


def require_cases(base: type, known: Collection[str], table: str) -> None:
    """Every one is public, and among the names for which a table has cases."""
    said = []
    for kind in kinds_of(base):
        name, file = kind.__name__, kind.__module__.removeprefix("chainrule.").replace(".", "/")
        if getattr(cr.nn, name, None) is not kind:
            said.append(f"put {name!r} into __all__ of {file}.py, and run tests/project/test_facades.py")
        if name not in known:
            said.append(f"give cr.nn.{name} a case in {table}")
    assert not said, "; ".join(said)
