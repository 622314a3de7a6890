"""A formula as text and as LaTeX, read off the graph that a computation recorded.

A rule of the table, run on named variables, records the very operations it is made of; written out, they are its
formula. So no formula is kept beside a rule, and none can differ from it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np

from ..graph import Node, ancestry
from ..plain import Saved

LONGEST = 160  # characters; a longer formula explains nothing

SUM, PRODUCT, FACTOR, ATOM = range(4)  # how tightly a written operation holds together

Written: TypeAlias = tuple[str, int]  # a part of a formula, and how tightly it holds together


@final
@dataclass(frozen=True, slots=True)
class Notation:
    """How operations are written: by a template, which says how tightly each part must hold together, or as f(x)."""

    templates: Mapping[str, tuple[int, str, tuple[int, ...]]]
    call: Callable[[str, list[str]], str]
    brackets: str
    name: Callable[[str], str]
    minus: str

    @property
    def is_latex(self) -> bool:
        return self.call is latex_call


def plain_call(name: str, parts: list[str]) -> str:
    return f"{name}({', '.join(parts)})"


def latex_call(name: str, parts: list[str]) -> str:
    function = rf"\{name}" if name in LATEX_FUNCTIONS else rf"\operatorname{{{latex_text(name)}}}"
    return rf"{function}\left({', '.join(parts)}\right)"


LATEX_FUNCTIONS = frozenset(
    ["sin", "cos", "tan", "sinh", "cosh", "tanh", "arcsin", "arccos", "arctan", "exp", "log", "max", "min"]
)


def plain_name(name: str) -> str:
    """A name for one line of text: control characters are written out."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def latex_text(text: str) -> str:
    return "".join(ESCAPES.get(c, c) for c in plain_name(text))


def latex_name(name: str) -> str:
    """A letter and digits as a letter with a subscript, anything longer as upright text."""
    letter = re.fullmatch(r"([A-Za-z])(\d*)", name)
    if letter:
        return f"{letter[1]}_{{{letter[2]}}}" if letter[2] else letter[1]
    return rf"\mathrm{{{latex_text(name)}}}"


ESCAPES = {
    "\\": r"\backslash ", "^": r"\hat{\ }", "~": r"\sim ", " ": r"\ ",
    **{c: "\\" + c for c in "_&%$#{}"},
}  # fmt: skip

TEMPLATES = {
    "add": (SUM, "{} + {}", (SUM, SUM)),
    "sub": (SUM, "{} − {}", (SUM, PRODUCT)),
    "mul": (PRODUCT, "{} · {}", (PRODUCT, PRODUCT)),
    "div": (PRODUCT, "{} / {}", (PRODUCT, FACTOR)),
    "matmul": (SUM, "{} @ {}", (FACTOR, FACTOR)),  # in brackets beside · and /, which go element by element
    "neg": (PRODUCT, "−{}", (PRODUCT,)),
    "pow": (FACTOR, "{}^{}", (ATOM, ATOM)),
    "square": (FACTOR, "{}²", (ATOM,)),
    "reciprocal": (PRODUCT, "1 / {}", (FACTOR,)),
    "transpose": (ATOM, "{}ᵀ", (ATOM,)),
    "abs": (ATOM, "|{}|", (SUM,)),
    "sqrt": (ATOM, "√({})", (SUM,)),
    "floordiv": (ATOM, "⌊{} / {}⌋", (PRODUCT, FACTOR)),
}

TEXT = Notation(TEMPLATES, plain_call, "({})", plain_name, "−")

LATEX = Notation(
    {
        **TEMPLATES,
        "sub": (SUM, "{} - {}", (SUM, PRODUCT)),
        "mul": (PRODUCT, r"{} \cdot {}", (PRODUCT, PRODUCT)),
        "div": (PRODUCT, r"\frac{{{}}}{{{}}}", (SUM, SUM)),
        "matmul": (SUM, r"{} \, {}", (FACTOR, FACTOR)),
        "neg": (PRODUCT, "-{}", (PRODUCT,)),
        "pow": (FACTOR, "{}^{{{}}}", (ATOM, SUM)),
        "square": (FACTOR, "{}^{{2}}", (ATOM,)),
        "reciprocal": (PRODUCT, r"\frac{{1}}{{{}}}", (SUM,)),
        "transpose": (FACTOR, r"{}^{{\top}}", (ATOM,)),
        "abs": (ATOM, r"\left|{}\right|", (SUM,)),
        "sqrt": (ATOM, r"\sqrt{{{}}}", (SUM,)),
        "floordiv": (ATOM, r"\left\lfloor \frac{{{}}}{{{}}} \right\rfloor", (SUM, SUM)),
    },
    latex_call,
    r"\left({}\right)",
    latex_name,
    "-",
)


def formula(result: Any, notation: Notation = TEXT) -> str | None:
    """How `result` was computed from the leaves, which go by their names; None where that is too long to be read."""
    if not isinstance(result, Node):
        return constant_text(result, notation)[0]
    written: dict[Node, Written] = {}
    for node in reversed(ancestry(result)):
        parts = [written[arg] if isinstance(arg, Node) else constant_text(arg, notation) for arg in node.args]
        written[node] = operation(node, parts, notation)
        if len(written[node][0]) > LONGEST:
            return None
    return written[result][0]


def constant_text(x: Any, notation: Notation) -> Written:
    """A number; of an array, the number that all its elements are."""
    array = np.asarray(x)
    if array.size == 0 or not np.all(array == array.flat[0]):
        return notation.name("constant"), ATOM
    return numeral(float(array.flat[0]), notation)


def numeral(x: float, notation: Notation) -> Written:
    text = number(x)
    negative = text.startswith("−")
    if notation.is_latex:
        text = latex_number(x)
    return text, PRODUCT if negative or "cdot" in text else ATOM


def latex_number(x: float) -> str:
    mantissa, e, exponent = number(x).replace("−", "-").partition("e")
    if e:
        return rf"{mantissa} \cdot 10^{{{exponent}}}"
    return {"inf": r"\infty", "-inf": r"-\infty", "NaN": r"\mathrm{NaN}"}.get(mantissa, mantissa)


def number(x: float) -> str:
    """Six significant digits; whole numbers below a million in full."""
    if not math.isfinite(x):
        return "NaN" if x != x else "inf" if x > 0 else "−inf"
    mantissa, e, exponent = f"{x:.6g}".partition("e")
    return (f"{mantissa}e{int(exponent)}" if e else mantissa).replace("-", "−", mantissa.count("-"))


def operation(node: Node, parts: list[Written], notation: Notation) -> Written:
    if node.op is None:
        return notation.name(node.name or "x"), ATOM
    name = "mul" if node.op.name == "select" else node.op.name  # by a part
    if name == "gate":
        name, parts = "mul", [parts[0], (notation.call("step", [parts[1][0]]), ATOM)]
    if name == "getitem":
        return f"{bracketed(parts[0], ATOM, notation)}[{index_text(node.params['index'])}]", ATOM
    simple = simplified(name, parts, node.args)
    if simple is not None:
        return simple
    if name == "dot" and len(parts) % 2 == 1:
        return dotted(parts, notation)
    if name == "mul" and len(parts) == 2 and node.args[0] is node.args[1]:
        name, parts = "square", parts[:1]
    if name == "mul" and parts[0][0] == f"{notation.minus}1":
        name, parts = "neg", parts[1:]
    template = notation.templates.get(name)
    if template is None or (name == "transpose" and np.ndim(node._raw) != 2):
        arguments = [text for text, _ in parts] + [notation_of_params(k, v, notation) for k, v in kept(node.params)]
        return notation.call(name, arguments), ATOM
    tight, pattern, needs = template
    if "frac" not in pattern:  # never two signs in a row
        parts = [
            (text, SUM - 1 if text.startswith(notation.minus) and (i or name == "neg") else t)
            for i, (text, t) in enumerate(parts)
        ]
    return pattern.format(*(bracketed(p, need, notation) for p, need in zip(parts, needs, strict=True))), tight


def dotted(parts: list[Written], notation: Notation) -> Written:
    """The terms of a sum of products, and what is added to them unless that is 0."""
    n = len(parts) // 2
    _, product, _ = notation.templates["mul"]
    terms = [
        (product.format(*(bracketed(part, PRODUCT, notation) for part in pair)), PRODUCT)
        for pair in zip(parts[:n], parts[n:-1], strict=True)
    ]
    if parts[-1][0] != "0":
        terms.append(parts[-1])
    return " + ".join(after_plus(term, notation) if i else term[0] for i, term in enumerate(terms)), SUM


def after_plus(written: Written, notation: Notation) -> str:
    """Never two signs in a row."""
    return (
        notation.brackets.format(written[0])
        if written[0].startswith(notation.minus)
        else bracketed(written, SUM, notation)
    )


def simplified(name: str, parts: list[Written], args: tuple[Any, ...]) -> Written | None:
    """What is left where an operation, a 1 or a 0 has no effect."""
    if name == "item" or (name == "sum" and np.ndim(args[0]._raw if isinstance(args[0], Node) else args[0]) == 0):
        return parts[0]
    texts = [None if isinstance(arg, Node) else text for (text, _), arg in zip(parts, args, strict=True)]
    if name == "mul" and "1" in texts:
        return parts[1 - texts.index("1")]
    if (name in ("div", "pow") and texts[1] == "1") or (name == "sub" and texts[1] == "0"):
        return parts[0]
    if name == "add" and "0" in texts:
        return parts[1 - texts.index("0")]
    return None


def index_text(index: Any) -> str:
    """An index as it is written; an ellipsis for arrays."""
    if isinstance(index, tuple):
        return ", ".join(map(index_text, index))
    if isinstance(index, slice):
        ends = ["" if end is None else index_text(end) for end in (index.start, index.stop, index.step)]
        return ":".join(ends if ends[2] else ends[:2])
    return str(index) if isinstance(index, int | None) else "…"


def bracketed(written: Written, need: int, notation: Notation) -> str:
    text, tight = written
    return text if tight >= need else notation.brackets.format(text)


def kept(params: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(k, v) for k, v in params.items() if v is not None and v is not False and not isinstance(v, Saved)]


def notation_of_params(key: str, value: Any, notation: Notation) -> str:
    if isinstance(value, float):
        text = number(value)
    elif isinstance(value, bool | int | str) or (isinstance(value, tuple) and all(isinstance(v, int) for v in value)):
        text = str(value)
    else:
        text = "…"
    return rf"\mathrm{{{latex_text(key)}}} = \mathrm{{{latex_text(text)}}}" if notation.is_latex else f"{key}={text}"
