"""Lines of Python under construction: what each computes, the names in them, and what is written once though it is asked for twice."""

from __future__ import annotations

import keyword
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np


@final
@dataclass(frozen=True, slots=True)
class Line:
    """One value computed: its name, an expression over other names, and how it is then changed in place."""

    name: str
    template: str
    uses: tuple[str, ...]
    then: str | None = None
    sign: str = ""  # of an operator between two arrays, the first of which is like the result
    is_new: bool = False  # an array of its own, that shares no memory

    def statements(self) -> list[str]:
        if self.sign and self.uses[0] == self.name:
            return [f"{self.name} {self.sign}= {self.uses[1]}"]
        first = f"{self.name} = {self.template.format(*self.uses)}"
        return [first] if self.then is None else [first, self.then.format(self.name, *self.uses)]


@final
@dataclass(slots=True)
class Writer:
    """Lines under construction, and what their names stand for."""

    namespace: dict[str, Any] = field(default_factory=lambda: {"np": np, "math": math})
    named: dict[int, str] = field(default_factory=dict)  # the names of constants by their identity
    lines: list[Line] = field(default_factory=list)
    written: dict[str, str] = field(default_factory=dict)  # a statement, and the name of its result
    values: int = 0

    def let(self, template: str, *parts: str, then: str | None = None, sign: str = "", is_new: bool = False) -> str:
        """A name for the value of an expression over other names; `then` changes that value, {0}, in place."""
        text = template.format(*parts)
        key = text if then is None else f"{text}; {then.format('_', *parts)}"
        if key not in self.written:
            self.values += 1
            name = self.written[key] = f"v{self.values}"
            self.lines.append(Line(name, template, parts, then, sign, is_new))
        return self.written[key]

    def constant(self, x: Any, name: str = "c") -> str:
        """How a constant is written: literally if that can be read, else by a name."""
        text = literal(x)
        if text is not None:
            return text
        if id(x) not in self.named:
            unused = name if name not in self.namespace else f"{name}{len(self.namespace)}"
            while unused in self.namespace:
                unused += "_"
            self.namespace[unused] = x
            self.named[id(x)] = unused
        return self.named[id(x)]

    def shared(self, name: str, make: Callable[[], Any]) -> str:
        """A constant of our own making, whose name says it all."""
        if name not in self.namespace:
            self.namespace[name] = make()
        return name

    def function(self, f: Callable[..., Any], name: str) -> str:
        """How a function is called: as NumPy's or Python's own where it is one of those."""
        own = getattr(f, "__name__", "")
        for library in np, math:
            if getattr(library, own, None) is f:
                return f"{library.__name__.replace('numpy', 'np')}.{own}"
        return self.constant(f, identifier(name))


def identifier(name: str) -> str:
    """A name that Python can read, made of one that a person chose."""
    text = re.sub(r"\W", "_", name, flags=re.ASCII).strip("_") or "x"
    if not text.isidentifier():
        text = f"_{text}"
    return f"{text}_" if keyword.iskeyword(text) or text in RESERVED or OURS.fullmatch(text) else text


RESERVED = frozenset(
    {"np", "math", "abs", "float", "slice", "ValueError"}
)  # and what stands for values and functions here
OURS = re.compile(r"[gv]\d*|forward|backward\d*|zero_\w*|ones_\w*|rows_\w*")


def literal(x: Any) -> str | None:
    """Numbers, text and tuples of them as Python writes them; None for what must go by a name."""
    if type(x) is float:
        return repr(x) if math.isfinite(x) else f"math.{'nan' if x != x else 'inf'}" if not x < 0 else "-math.inf"
    if x is None or type(x) in (int, bool, str):
        return repr(x)
    if type(x) is slice:
        texts = [literal(part) for part in (x.start, x.stop, x.step)]
        return None if None in texts else f"slice({', '.join(map(str, texts))})"
    if type(x) is tuple:
        texts = [literal(part) for part in x]
        return None if None in texts else f"({', '.join(map(str, texts))}{',' if len(x) == 1 else ''})"
    return None


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
