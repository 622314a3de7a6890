"""Lines of Python under construction: what each computes, the names in them, and what is written once though it is asked for twice."""

from __future__ import annotations

import keyword
import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, final

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

    def folded(self, texts: Mapping[str, Text]) -> Line:
        """The same line, with what other names stand for in their place."""
        if not any(name in texts for name in self.uses):
            return self
        sign = SIGNED.fullmatch(self.template)
        tight = LEVELS[sign[1]] if sign else LOOSE if CALL.fullmatch(self.template) else TIGHT
        uses = []
        for i, name in enumerate(self.uses):
            text, level = texts.get(name, (name, TIGHT))
            uses.append(text if level >= (tight + 1 if sign and i else tight) else f"({text})")
        return replace(self, uses=tuple(uses))

    @property
    def text(self) -> Text:
        """Its expression, and how closely that hangs together."""
        sign = SIGNED.fullmatch(self.template)
        return self.template.format(*self.uses), LEVELS[sign[1]] if sign else TIGHT if CALL.fullmatch(
            self.template
        ) else LOOSE


Text: TypeAlias = tuple[str, int]
LOOSE, SUM, PRODUCT, TIGHT = range(4)  # how closely the parts of an expression hang together
LEVELS = {"+": SUM, "-": SUM, "*": PRODUCT, "/": PRODUCT}
SIGNED = re.compile(r"\{\} ([-+*/]) \{\}")
CALL = re.compile(r"[\w.]+\([^()]*\)")
WIDTH = 50  # of an expression that still reads well in another


def folded(lines: Sequence[Line], kept: Sequence[str], numbers: set[str]) -> tuple[list[Line], list[str]]:
    """Fewer lines: a number that is needed but once stands where it is needed. And what stands for the names that are kept."""
    uses = Counter(kept)
    for line in lines:
        once = line.then is None and " if " not in line.template  # what may not be computed at all stands before
        for i, name in enumerate(line.uses):
            uses[name] += 2 if not once else 1 if "{}" in line.template else line.template.count(f"{{{i}}}")
    texts: dict[str, Text] = {}
    written = []
    for line in lines:
        line = line.folded(texts)
        text, level = line.text
        if line.name in numbers and line.then is None and uses[line.name] == 1 and len(text) <= WIDTH:
            texts[line.name] = text, level
        else:
            written.append(line)
    return written, [texts.get(name, (name, TIGHT))[0] for name in kept]


MIXED = "mixed"  # in place of the name of a type: now one, now another


@final
@dataclass(slots=True)
class Writer:
    """Lines under construction, and what their names stand for."""

    namespace: dict[str, Any] = field(default_factory=lambda: {"np": np, "math": math})
    named: dict[int, str] = field(default_factory=dict)  # the names of constants by their identity
    lines: list[Line] = field(default_factory=list)
    numbers: set[str] = field(default_factory=set)  # the names of what is computed of numbers alone
    types: dict[str, str] = field(
        default_factory=dict
    )  # of numbers, the names of Python's types; MIXED: one or another
    plain: set[str] = field(default_factory=set)  # what depends on no variable
    written: dict[str, str] = field(default_factory=dict)  # a statement, and the name of its result
    negated: dict[str, str] = field(default_factory=dict)  # what is minus something else, and that
    values: int = 0

    def let(self, template: str, *parts: str, then: str | None = None, sign: str = "", is_new: bool = False) -> str:
        """A name for the value of an expression over other names; `then` changes that value, {0}, in place."""
        text = template.format(*parts)
        key = text if then is None else f"{text}; {then.format('_', *parts)}"
        if key not in self.written:
            self.values += 1
            name = self.written[key] = f"v{self.values}"
            self.lines.append(Line(name, template, parts, then, sign, is_new))
            if template == "-{}":
                self.negated[name] = parts[0]
        return self.written[key]

    def type_of(self, name: str) -> str:
        """The name of Python's type of a number, be it by its name or literal; empty where that is not known."""
        if name in self.types or not LITERAL.fullmatch(name):
            return self.types.get(name, "")
        return "bool" if name in ("True", "False") else "int" if name.strip("(-)").isdigit() else "float"

    def is_float(self, name: str) -> bool:
        return self.type_of(name) == "float"

    def is_new(self, name: str) -> bool:
        """Whether this is an array that nobody else has."""
        return any(line.name == name and line.is_new for line in reversed(self.lines))

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
    {
        "np",
        "math",
        "abs",
        "bool",
        "float",
        "int",
        "id",
        "len",
        "list",
        "slice",
        "tuple",
        "type",
        "Exception",
        "FloatingPointError",
        "OverflowError",
        "ValueError",
    }
)  # and what stands for values and functions here
OURS = re.compile(r"[gv]\d*|forward|backward\d*|zero_\w*|one_\w*|ones_\w*|rows_\w*")


LITERAL = re.compile(r"\(?-?(\d[\d.e+-]*|math\.(nan|inf))\)?|True|False")


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
        return None if None in texts else tuple_of([*map(str, texts)])
    return None


def tuple_of(texts: Sequence[str]) -> str:
    return f"({', '.join(texts)}{',' if len(texts) == 1 else ''})"


def escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")
