"""Why a gradient has the value it has: the chain rule with its numbers, one term for each use of the variable.

The numbers are those of the walk itself, which runs on a copy in which each use of the variable is its own node:
`copies.py`. The formulas are those of the table: a rule is run on named variables, and what it records is written out:
`formula.py`.
"""

from __future__ import annotations

__all__ = ["Explanation", "explain"]

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import count
from typing import Any, final

import numpy as np

from ..graph import Node, ancestry, constant_root, cotangents
from ..ops.reduction import norm_of
from ..optional.names import name_of, parameter_paths
from ..plain import describe
from ..primitive import UNRECORDED
from ..source import line_of, rule_of
from .copies import Rehearsal, Uses
from .formula import LATEX, TEXT, Notation, formula, latex_name, latex_number, number, plain_name

SHOWN = 12  # terms that are printed at most
WRITTEN_OUT = 4  # terms of an equation at most
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@final
@dataclass(frozen=True, slots=True)
class Amount:
    """How much a number is, or an array: its Euclidean norm, and the number itself where there is just one."""

    value: float | None
    norm: float
    shape: tuple[int, ...] | None  # None for a number

    def __str__(self) -> str:
        return number(self.value) if self.value is not None else f"‖{number(self.norm)}‖ {self.shape}"

    def latex(self) -> str:
        if self.value is not None:
            return latex_number(self.value)
        return rf"\left\|{latex_number(self.norm)}\right\|"


@final
@dataclass(frozen=True, slots=True)
class Term:
    """What one use of the variable contributes: the cotangent of the result, pulled back through one operation.

    `result` is the name of what was computed, `position` that of the argument, from 0. `computed` says how,
    `derivative` is the derivative of that by the variable, `pulled` the contribution as the rule computes it from g, the
    `cotangent`; formulas are None where they cannot be written in a line. `slope` is the derivative's value, if that is a
    single number. `share` is the part of the whole gradient that this is, along the gradient's own direction: all shares
    add up to 1. `contribution` is None where nothing can flow. `line` is the line of your code that called the operation,
    where that was recorded, `rule` the one where its rule is defined, if that is in your code.
    """

    result: str
    operation: str
    position: int
    computed: str | None
    derivative: str | None
    pulled: str | None
    where: Mapping[str, Amount]
    cotangent: Amount | None
    slope: float | None
    contribution: Amount | None
    share: float | None
    slot: str  # the position in digits, where the same operation uses the variable more than once; else empty
    latex: str | None  # the contribution as a formula in LaTeX
    line: str = ""
    rule: str = ""

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@final
@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """A gradient as the sum of its terms. Printed, it is the chain rule with numbers and a table of the terms."""

    root: str
    variable: str
    gradient: Amount | None  # None where nothing can flow
    terms: tuple[Term, ...]

    def __len__(self) -> int:
        return len(self.terms)

    def __iter__(self) -> Iterator[Term]:
        return iter(self.terms)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        left = f"∂{self.root}/∂{self.variable}"
        if not self.terms:
            return f"{left} = {self.gradient}: where the walk began"
        lines = [summed([self.product(term) for term in self.terms], " + ")]
        if all(term.contribution is None or term.contribution.value is not None for term in self.terms):
            lines.append(summed([numbers(term) for term in self.terms], " + "))
        lines.append("nothing: no derivative flows here" if self.gradient is None else str(self.gradient))
        lines = [line for line in dict.fromkeys(lines) if line != left]
        equation = [f"{left if i == 0 else ' ' * len(left)} = {line}" for i, line in enumerate(lines)]
        return "\n".join([*equation, "", *self.table()])

    __repr__ = __str__

    def product(self, term: Term) -> str:
        """∂L/∂u · ∂u/∂x; of the root itself, that alone."""
        slope = f"∂{term.slot.translate(SUBSCRIPTS)}{term.result}/∂{self.variable}"
        return slope if term.result == self.root else f"∂{self.root}/∂{term.result} · {slope}"

    def table(self) -> list[str]:
        """The terms, the largest first if there are too many for all."""
        terms: Sequence[Term] = self.terms
        if len(terms) > SHOWN:
            terms = sorted(terms, key=lambda term: -term.contribution.norm if term.contribution else 0.0)[:SHOWN]
        rows: list[tuple[str, ...]] = [("computed", "derivative", f"∂{self.root}/∂·", "contribution", "share", "where")]
        rows += [self.row(term) for term in terms]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, cells, widths)).rstrip() for cells in rows]
        lines += [f"and {len(self.terms) - SHOWN} more, none larger"] if len(self.terms) > SHOWN else []
        for term in terms:
            lines += [f"{term.result} is called at {term.line}"] if term.line else []
            lines += [f"the rule of {term.operation} is {term.rule}"] if term.line and term.rule else []
        return lines

    def row(self, term: Term) -> tuple[str, ...]:
        if term.derivative is not None:
            how = f"∂{term.slot.translate(SUBSCRIPTS)}{term.result}/∂{self.variable} = {term.derivative}"
            how += (
                f" = {number(term.slope)}" if term.slope is not None and term.derivative != number(term.slope) else ""
            )
        else:
            how = f"g → {term.pulled}" if term.pulled is not None else f"the rule of {term.operation}"
        return (
            f"{term.result} = {term.computed or f'{term.operation}(…)'}",
            "none" if term.contribution is None else how,
            "none" if term.cotangent is None else str(term.cotangent),
            "none" if term.contribution is None else str(term.contribution),
            "" if term.share is None else f"{number(float(f'{100.0 * term.share:.4g}'))} %",
            ", ".join(f"{name} = {amount}" for name, amount in term.where.items()),
        )

    def latex(self) -> str:
        """The chain rule with its formulas and its numbers, as the lines of an `aligned` environment."""
        name = latex_name
        left = partial(name(self.root), name(self.variable))
        if not self.terms:
            assert self.gradient is not None
            return f"{left} = {self.gradient.latex()}"
        lines = [[self.latex_product(term) for term in self.terms]]
        if all(term.latex is not None for term in self.terms):
            lines.append([term.latex or "" for term in self.terms])
        if all(term.contribution is not None and term.contribution.value is not None for term in self.terms):
            lines.append([latex_numbers(term) for term in self.terms])
        result = r"\text{none}" if self.gradient is None else self.gradient.latex()
        if self.gradient is not None and self.gradient.value is None:
            result = rf"\ldots, \quad \left\|{left}\right\| = {latex_number(self.gradient.norm)}"
        sums = [summed(line, " + ", r" + \cdots") for line in lines]
        rows = [rf"{left} &= {sums[0]}", *(f"&= {line}" for line in [*sums[1:], result])]
        return "\\begin{aligned}\n" + " \\\\\n".join(rows) + "\n\\end{aligned}"

    def latex_product(self, term: Term) -> str:
        name = latex_name
        slope = partial(name(term.result), name(self.variable), term.slot)
        return slope if term.result == self.root else rf"{partial(name(self.root), name(term.result))} \cdot {slope}"

    def _repr_latex_(self) -> str:
        return f"$${self.latex()}$$"


def partial(of: str, by: str, slot: str = "") -> str:
    index = f"_{{{slot}}}" if slot else ""
    return rf"\frac{{\partial{index} {of}}}{{\partial {by}}}"


def summed(parts: list[str], plus: str, more: str = " + …") -> str:
    return plus.join(parts[:WRITTEN_OUT]) + (more if len(parts) > WRITTEN_OUT else "")


def numbers(term: Term) -> str:
    if term.contribution is None or term.cotangent is None:
        return "none"
    if term.slope is None:
        return str(term.contribution)
    return f"{signed(str(term.cotangent), '−')} · {signed(number(term.slope), '−')}"


def latex_numbers(term: Term) -> str:
    assert term.contribution is not None
    if term.slope is None or term.cotangent is None:
        return term.contribution.latex()
    return rf"{signed(term.cotangent.latex(), '-')} \cdot {signed(latex_number(term.slope), '-')}"


def signed(text: str, minus: str) -> str:
    return f"({text})" if text.startswith(minus) else text


def explain(root: Node, node: Node, seed: Any = None) -> Explanation:
    """Why the gradient of `root` with respect to `node` has its value: the chain rule, one term for each use of `node`.

    `node` may be a leaf or in between; explain the results that its terms name in turn to go on towards `root`. A node
    does not know what was computed from it, hence `root`, and in the order of `gradients(root, nodes)`. Nothing needs to
    have been differentiated before, and no `.grad` is read or written. `seed` is what `backward` takes.

    Of arrays, norms and shapes stand for the numbers, and the share says how much of the gradient a term brings.
    Raises `TypeError` for what is no Value or Tensor, `ValueError` if `root` was not computed from `node`.

    >>> import chainrule as cr
    >>> a, b = cr.Value(2.0, name="a"), cr.Value(3.0, name="b")
    >>> y = cr.tanh(a) + a * b
    >>> print(cr.explain(y, a))
    ∂L/∂a = ∂L/∂u1 · ∂u1/∂a + ∂L/∂u2 · ∂u2/∂a
          = 1 · 0.0706508 + 1 · 3
          = 3.07065
    <BLANKLINE>
    computed      derivative                    ∂L/∂·  contribution  share    where
    u1 = tanh(a)  ∂u1/∂a = 1 − u1² = 0.0706508  1      0.0706508     2.301 %  a = 2, u1 = 0.964028
    u2 = a · b    ∂u2/∂a = b = 3                1      3             97.7 %   a = 2, b = 3
    """
    for what, x in ("root", root), ("node", node):
        if not isinstance(x, Node):
            raise TypeError(f"explain: {what} must be a Value or a Tensor, got {describe(x)}")
    if root.op is UNRECORDED:
        raise constant_root("explain", root)
    copy = Uses(root, of=node)
    if node is not root and root not in copy.copies:
        raise ValueError(f"explain: {describe(root)} was not computed from {describe(node)}")
    places = [
        (consumer, i, use) for consumer, uses in copy.uses.items() for i, use in enumerate(uses) if use is not None
    ]
    used = list(dict.fromkeys(consumer for consumer, _, _ in places))
    wanted = {x for consumer, _, use in places for x in (copy.copies[consumer], use)}
    found = cotangents(copy.copies.get(root, root), root.seed(seed), wanted)
    names = Names(root, node, used)
    if node is root:
        return Explanation(names.of(node), names.of(node), amount(root.seed(seed)), ())
    total = added([found[use] for _, _, use in places if found.get(use) is not None])
    consumers = {consumer: Consumer(consumer, node, names) for consumer in used}
    terms = [
        term_of(root, consumers[consumer], position, found.get(copy.copies[consumer]), found.get(use), total, names)
        for consumer, position, use in places
    ]
    return Explanation(names.of(root), names.of(node), None if total is None else amount(total), tuple(terms))


@final
class Names:
    """What each variable and each array goes by: its own name where it has one, and no name twice."""

    def __init__(self, root: Node, node: Node, results: Sequence[Node]) -> None:
        self.given: dict[int, str] = {}  # by id: a constant array is no node
        self.paths = parameter_paths(ancestry(root))
        self.taken = {"g"}
        self.letters = map(letter, count())
        others = [result for result in results if result is not root]
        unnamed = [result for result in others if not result.name]
        self.give(node, self.own(node) or ("L" if node is root else "x"))
        self.give(root, root.name or "L")
        for result in others:
            if result.name:
                self.give(result, result.name)
        for i, result in enumerate(unnamed, start=1):
            self.give(result, f"u{i}" if len(unnamed) > 1 else "u")

    def of(self, x: Any) -> str:
        if id(x) not in self.given:
            self.give(x, self.own(x) or next(name for name in self.letters if name not in self.taken))
        return self.given[id(x)]

    def own(self, x: Any) -> str:
        return name_of(x.name if isinstance(x, Node) else None, self.paths.get(id(x)))

    def give(self, x: Any, name: str) -> None:
        name = plain_name(name)
        while name in self.taken:
            name += "′"
        self.taken.add(name)
        self.given.setdefault(id(x), name)


def letter(i: int) -> str:
    return LETTERS[i] if i < len(LETTERS) else f"a{i}"


LETTERS = "abcdefhijkmnopqrstvwz"


def term_of(root: Node, consumer: Consumer, position: int, g: Any, d: Any, total: Any, names: Names) -> Term:
    result = consumer.result
    op: Any = result.op
    flows = d is not None
    cotangent = "" if result is root else partial(latex_name(names.of(root)), latex_name(names.of(result)))
    formulas = [
        consumer.computed,
        consumer.derivative(position, TEXT) if flows else None,
        consumer.pulled(position, TEXT) if flows else None,
    ]
    text = " ".join(filter(None, formulas))
    return Term(
        result=names.of(result),
        operation=op.name,
        position=position,
        computed=formulas[0],
        derivative=formulas[1],
        pulled=formulas[2],
        where={name: value for name, value in consumer.values.items() if mentioned(name, text)},
        cotangent=None if g is None else amount(g),
        slope=consumer.slope(position) if flows else None,
        contribution=amount(d) if flows else None,
        share=share_of(d, total) if flows else None,
        slot=str(position + 1) if consumer.uses > 1 else "",
        latex=consumer.latex(position, cotangent) if flows else None,
        line=str(line_of(result) or ""),
        rule=str(rule_of(op, position) or ""),
    )


def mentioned(name: str, text: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?![^\W²ᵀ])", text) is not None


@final
class Consumer:
    """One operation that uses the variable, in formulas: how its result was computed, and how a cotangent is pulled back."""

    def __init__(self, result: Node, node: Node, names: Names) -> None:
        self.result = result
        self.uses = sum(arg is node for arg in result.args)  # of the variable that is asked about
        y = names.of(result)
        args = [names.of(arg) if isinstance(arg, Node) or np.ndim(arg) else "" for arg in result.args]
        self.rehearsal = Rehearsal(result, y, args, "g")

    @cached_property
    def computed(self) -> str | None:
        return formula(self.rehearsal.computed)

    def derivative(self, position: int, notation: Notation) -> str | None:
        """The derivative by the argument alone: the rule, shown the cotangent 1; None where that is a matrix."""
        op: Any = self.result.op
        if op.elementwise or size(self.result._raw) == 1 == size(self.result.args[position]._raw):
            return formula_of(self.rehearsal.derivative(position), notation)
        return None

    def pulled(self, position: int, notation: Notation) -> str | None:
        """The contribution, computed from the cotangent g."""
        return formula_of(self.rehearsal.contribution(position), notation)

    def latex(self, position: int, cotangent: str) -> str | None:
        """The contribution in LaTeX, where the cotangent is written like that; empty where it goes without saying."""
        derivative = self.derivative(position, LATEX)
        if derivative is None:
            g = rf"\left({cotangent}\right)" if cotangent else "g"
            return self.pulled(position, replace(LATEX, name=lambda name: g if name == "g" else latex_name(name)))
        if " " in derivative or derivative.startswith("-"):
            derivative = rf"\left({derivative}\right)"
        if not cotangent:
            return derivative
        return cotangent if derivative == "1" else rf"{cotangent} \cdot {derivative}"

    @cached_property
    def slopes(self) -> Sequence[Any]:
        op: Any = self.result.op
        with np.errstate(all="ignore"):
            found: Sequence[Any] = op.pull(self.result.args, self.result.seed(), self.result._raw, self.result.params)
        return found

    def slope(self, position: int) -> float | None:
        """The derivative of a number by a number."""
        arg = self.result.args[position]
        if size(self.result._raw) != 1 or size(arg._raw) != 1:
            return None
        d = self.slopes[position]
        return None if d is None else float(np.sum(arg.fit(d)))

    @cached_property
    def values(self) -> dict[str, Amount]:
        """What the names in the formulas stand for."""
        return {x.name or "": amount(x._raw) for x in (*self.rehearsal.args, self.rehearsal.y) if isinstance(x, Node)}


def formula_of(d: Any, notation: Notation) -> str | None:
    return None if d is None else formula(d, notation)


def size(x: Any) -> int:
    return math.prod(np.shape(x))


def amount(x: Any) -> Amount:
    if np.ndim(x) == 0 and not hasattr(x, "shape"):
        return Amount(float(x), abs(float(x)), None)
    wide = np.asarray(x).astype(float)
    return Amount(
        float(wide.reshape(-1)[0]) if wide.size == 1 else None,
        float(norm_of(wide, None, False)) if wide.size else 0.0,
        tuple(wide.shape),
    )


def added(parts: Sequence[Any]) -> Any:
    total = parts[0] if parts else None
    for part in parts[1:]:
        total = total + part
    return total


def share_of(d: Any, total: Any) -> float | None:
    """The part of `total` that d is, along the direction of `total`; None where that has none."""
    whole = np.asarray(total).astype(float)
    largest = float(np.max(np.abs(whole), initial=0.0))
    if not 0.0 < largest < np.inf:
        return None
    direction = whole / largest
    share = float(np.sum(np.asarray(d).astype(float) / largest * direction) / np.sum(direction * direction))
    return share if np.isfinite(share) else None
