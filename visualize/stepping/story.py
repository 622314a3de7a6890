"""Backpropagation as a story: what is computed, and then what flows back, one node at a time, as plain data.

The numbers are those of the walk itself, and so is the order. The walk runs on a copy in which each use of a variable is
its own node. The cotangent of that node is what this use contributes. The formulas are those of the table: a rule, run on
stand-ins, is written out, and the same formula is shown with names and with numbers.
"""

from __future__ import annotations

__all__ = ["Contribution", "Formula", "Step", "Story", "story"]

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, count
from typing import Any, final

import numpy as np

from chainrule.autograd.checking.numbering import key, numbered
from chainrule.autograd.explaining.copies import Rehearsal, Uses
from chainrule.autograd.explaining.formula import LATEX, TEXT, formula, number, plain_name
from chainrule.autograd.graph import Node, constant_root, cotangents
from chainrule.autograd.primitive import UNRECORDED

from ..describing.description import LONGEST, Diagram, DiagramNode, Quantity, quantity, shortened, size
from ..describing.diagram import diagram

MAX_NODES = 2_000

# What a formula holds in place of names or numbers: one character each, which no text of a formula contains.
FIRST, RESULT, COTANGENT = 0xE000, "\uf8fe", "\uf8ff"
MOST = 0x1800  # arguments that have a character

LETTERS = "abcdefhijkmnopqrstvwxyz"


@final
@dataclass(frozen=True, slots=True)
class Formula:
    """What an operation or a rule computes, as text and as LaTeX, with a character each in place of what goes in."""

    text: str
    latex: str

    def filled(self, fill: Callable[[str], str], before: str = "") -> str:
        """The text, to stand after `before`, with names or numbers; in brackets where a sign would be misread."""
        return "".join(
            in_brackets_if_needed(fill(c), before + self.text[:i], self.text[i + 1 : i + 2]) if is_place(c) else c
            for i, c in enumerate(self.text)
        )

    @property
    def factor(self) -> Formula:
        """In brackets, unless it holds together as a factor, as a fraction does where it is written as one."""
        if " " not in self.text and not self.text.startswith("−"):
            return self
        return Formula(f"({self.text})", self.latex if is_fraction(self.latex) else rf"\left({self.latex}\right)")


@final
@dataclass(frozen=True, slots=True)
class Contribution:
    """What one use of a variable adds to its gradient. `amount` is None where nothing can flow."""

    argument: int  # the id of the variable
    position: int  # among the arguments of the operation, from 0
    slope: Formula | None  # the derivative of the result by this argument, where both are single numbers
    pulled: Formula | None  # the contribution itself, computed from the cotangent of the result
    derivative: float | None  # the value of the slope
    amount: Quantity | None
    total: Quantity | None  # with all that came before it
    nth: int  # of the contributions to this variable, from 1
    text: str


@final
@dataclass(frozen=True, slots=True)
class Step:
    """One moment: "given", "forward" (a result is computed), "seed", "backward" (its gradient is passed on), "done"."""

    phase: str
    node: int | None
    formula: Formula | None
    contributions: tuple[Contribution, ...]
    text: str

    def __str__(self) -> str:
        return "\n".join(filter(None, [self.text, *(part.text for part in self.contributions)]))


@final
@dataclass(frozen=True, slots=True)
class Story:
    """Forward and backward, step by step. `names` and `gradients` are those of the nodes of the diagram, in its order.

    `seed` is the cotangent that the walk began with.
    Printed, it is the list of its steps.
    """

    diagram: Diagram
    names: tuple[str, ...]
    gradients: tuple[Quantity | None, ...]
    seed: Quantity
    steps: tuple[Step, ...]

    def __len__(self) -> int:
        return len(self.steps)

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps)

    def name(self, id: int) -> str:
        return self.names[id - 1]

    def __str__(self) -> str:
        width = len(str(len(self.steps)))
        head = " " * (width + 2)
        return "\n".join(
            f"{i:>{width}}  {step}".replace("\n", f"\n{head}") for i, step in enumerate(self.steps, start=1)
        )


def story(
    root: Node, *, names: Mapping[str, Any] | None = None, seed: Any = None, max_nodes: int | None = MAX_NODES
) -> Story:
    """Backpropagation from `root` as plain data; nothing needs to have been differentiated, and no `.grad` is touched.

    `names` names what has no name of its own, as in `names=locals()`; what is left goes by u1, u2, … `seed` is what
    `backward` takes. Raises as `backward` does, `TypeError` for what is no Value or Tensor, `ValueError` for a graph of
    more than `max_nodes` of them (None: no limit).

    >>> import chainrule as cr
    >>> a, b = cr.Value(2.0, name="a"), cr.Value(3.0, name="b")
    >>> print(cr.visualize.story(a * b + a))
    1  given: a = 2, b = 3
    2  u = a · b = 2 · 3 = 6
    3  L = u + a = 6 + 2 = 8
    4  ∂L/∂L = 1
    5  ∂L/∂u += ∂L/∂L · 1 = 1 · 1 = 1
       ∂L/∂a += ∂L/∂L · 1 = 1 · 1 = 1
    6  ∂L/∂a += ∂L/∂u · b = 1 · 3 = 3, so far 1 + 3 = 4
       ∂L/∂b += ∂L/∂u · a = 1 · 2 = 2
    7  done: ∂L/∂a = 4, ∂L/∂b = 2
    """
    drawn = diagram(root, max_nodes=max_nodes, names=names, fold=False)
    if root.op is UNRECORDED:
        raise constant_root("step", root)
    seed = root.seed(seed)
    with np.errstate(all="ignore"):
        copy = Uses(root)
        return Telling(root, list(copy.copies), drawn).told(walked(root, copy, seed))


@final
@dataclass(frozen=True, slots=True)
class Pulled:
    """What the walk did at one node: its cotangent, and the contribution of each argument."""

    node: Node
    cotangent: Any
    contributions: tuple[Any, ...]


def walked(root: Node, copy: Uses, seed: Any) -> list[Pulled]:
    """What the walk does, in its order, with the contribution of every single use."""
    originals = {twin: node for node, twin in copy.copies.items()}
    found = cotangents(copy.copies[root], seed, careful=True)
    return [
        Pulled(node, g, tuple(None if use is None else found.get(use) for use in copy.uses[node]))
        for twin, g in found.items()
        if (node := originals.get(twin)) is not None
    ]


@final
class Telling:
    """One graph, its names, and what has flowed back so far."""

    def __init__(self, root: Node, nodes: Sequence[Node], drawn: Diagram) -> None:
        self.root, self.nodes, self.drawn = root, nodes, drawn
        self.ids = numbered(nodes)
        self.names = given_names(drawn)
        self.slopes = {(edge.target, edge.position): edge.derivative for edge in drawn.edges}
        self.totals: dict[int, Any] = {}
        self.times: dict[int, int] = {}

    def told(self, pulled: Sequence[Pulled]) -> Story:
        rehearsals = {node: rehearsed(node) for node in self.nodes if node.args}
        forward = [self.forward(node, as_formula(rehearsal.computed)) for node, rehearsal in rehearsals.items()]
        seeded = self.seeded(pulled[0].cotangent)
        backward = [self.backward(done, rehearsals[done.node]) for done in pulled if done.node in rehearsals]
        steps = [self.given(), *forward, seeded, *backward, self.done()]
        ids = range(1, len(self.drawn.nodes) + 1)
        gradients = [quantity(self.totals[id]) if id in self.totals else None for id in ids]
        return Story(
            self.drawn,
            tuple(self.names[id] for id in ids),
            tuple(gradients),
            quantity(pulled[0].cotangent),
            tuple(steps),
        )

    def given(self) -> Step:
        leaves = [f"{self.names[node.id]} = {brief(node.data)}" for node in self.leaves()]
        return Step("given", None, None, (), f"given: {listed(leaves)}")

    def done(self) -> Step:
        leaves = [
            f"{self.partial(node.id)} = {brief(quantity(self.totals[node.id]))}"
            for node in self.leaves()
            if node.id in self.totals
        ]
        return Step("done", None, None, (), f"done: {listed(leaves)}")

    def leaves(self) -> list[DiagramNode]:
        return [node for node in self.drawn.nodes if not node.symbol and not node.constant]

    def forward(self, node: Node, written: Formula | None) -> Step:
        parts = [self.called(node) if written is None else written.filled(self.names_at(node))]
        if written is not None and all(size(x) == 1 for x in (*arrays(node.inputs), node._raw)):
            parts.append(written.filled(self.numbers_at(node)))
        return Step(
            "forward",
            self.of(node),
            written,
            (),
            f"{self.names[self.of(node)]} = {equation([*parts, brief(quantity(node._raw))])}",
        )

    def called(self, node: Node) -> str:
        """The operation where its formula is too long."""
        assert node.op is not None
        name, fill = plain_name(node.op.name), self.names_at(node)
        shown = [fill(place(i)) for i in range(min(len(node.args), 3))]
        return f"{name}({', '.join([*shown, *(['…'] if len(node.args) > 3 else [])])})"

    def seeded(self, seed: Any) -> Step:
        root = self.of(self.root)
        self.totals[root] = seed
        return Step("seed", root, None, (), f"{self.partial(root)} = {brief(quantity(seed))}")

    def backward(self, pulled: Pulled, rehearsal: Rehearsal) -> Step:
        parts = [
            self.contribution(
                pulled, position, slope_of(rehearsal, position), as_formula(rehearsal.contribution(position))
            )
            for position, arg in enumerate(pulled.node.args)
            if isinstance(arg, Node)
        ]
        return Step("backward", self.of(pulled.node), None, tuple(parts), "")

    def contribution(self, pulled: Pulled, position: int, slope: Formula | None, rule: Formula | None) -> Contribution:
        node, d = pulled.node, pulled.contributions[position]
        arg = self.of(node.args[position])
        nth = self.times.get(arg, 0)
        derivative = self.slopes[self.of(node), position]
        part = Contribution(arg, position, slope, rule, derivative, None, None, nth, "")
        if d is None:
            return replace(part, text=f"nothing flows to {self.names[arg]}: there is no derivative")
        before = self.totals.get(arg)
        total = self.totals[arg] = d if before is None else before + d
        self.times[arg] = nth + 1
        part = replace(part, amount=quantity(d), total=quantity(total), nth=nth + 1)
        return replace(part, text=self.sentence(pulled, part, before))

    def sentence(self, pulled: Pulled, part: Contribution, before: Any) -> str:
        """As in ∂L/∂a += ∂L/∂y · b = 2 · 3 = 6, so far 4 + 6 = 10."""
        assert part.amount is not None
        assert part.total is not None
        parts = [*self.product(pulled, part), brief(part.amount)]
        text = f"{self.partial(part.argument)} += {equation(parts)}"
        if before is None:
            return text
        sums = f"{brief(quantity(before))} + {signed(brief(part.amount))} = " if size(before) == 1 else ""
        return f"{text}, so far {sums}{brief(part.total)}"

    def product(self, pulled: Pulled, part: Contribution) -> list[str]:
        """The contribution with names, and where it is a number, with numbers."""
        node, g, cotangent = pulled.node, pulled.cotangent, self.partial(self.of(pulled.node))
        names = self.names_at(node)
        if part.slope is not None and part.derivative is not None:
            slope, value = part.slope.factor, brief(quantity(g))
            return [
                f"{cotangent} · {slope.filled(names)}",
                f"{value} · {slope.filled(self.numbers_at(node), '·')}",
                f"{value} · {signed(number(part.derivative))}",
            ]
        if part.pulled is None:
            return []
        return [part.pulled.filled(lambda c: cotangent if c == COTANGENT else names(c))]

    def of(self, node: Node) -> int:
        return self.ids[id(node)]

    def partial(self, number: int) -> str:
        return f"∂{self.names[self.of(self.root)]}/∂{self.names[number]}"

    def names_at(self, node: Node) -> Callable[[str], str]:
        """What each place in the formulas of this operation goes by."""

        def name(c: str) -> str:
            if c == RESULT:
                return self.names[self.of(node)]
            position = ord(c) - FIRST
            arg = node.args[position]
            return number(float(arg)) if isinstance(arg, float | int) else self.names[self.ids[key(node, position)]]

        return name

    def numbers_at(self, node: Node) -> Callable[[str], str]:
        """What stands in each place."""
        return lambda c: brief(quantity(node._raw if c == RESULT else node.inputs[ord(c) - FIRST]))


def rehearsed(node: Node) -> Rehearsal:
    return Rehearsal(node, RESULT, [place(i) for i in range(min(len(node.args), MOST))], COTANGENT)


def slope_of(rehearsal: Rehearsal, position: int) -> Formula | None:
    """The derivative, where it is a single number."""
    y, x = rehearsal.result._raw, rehearsal.result.inputs[position]
    return as_formula(rehearsal.derivative(position)) if size(x) == 1 == size(y) else None


def as_formula(d: Any) -> Formula | None:
    text = None if d is None else formula(d, TEXT_OF_PLACES)
    latex = None if d is None else formula(d, LATEX_OF_PLACES)
    return None if text is None or latex is None else Formula(text, latex)


def is_fraction(latex: str) -> bool:
    """Whether this is one fraction and nothing beside it."""
    ends = [
        i
        for i, depth in enumerate(accumulate({"{": 1, "}": -1}.get(c, 0) for c in latex))
        if not depth and latex[i] == "}"
    ]
    return latex.startswith(r"\frac{") and len(ends) == 2 and ends[-1] == len(latex) - 1


def place_or(name: Callable[[str], str]) -> Callable[[str], str]:
    return lambda text: text if is_place(text) else name(text)


TEXT_OF_PLACES = replace(TEXT, name=place_or(TEXT.name))
LATEX_OF_PLACES = replace(LATEX, name=place_or(LATEX.name))


def place(position: int) -> str:
    return chr(FIRST + position)


def is_place(c: str) -> bool:
    return len(c) == 1 and 0xE000 <= ord(c) <= 0xF8FF


def given_names(drawn: Diagram) -> dict[int, str]:
    """What each node and constant goes by: the name it has or a short new one, and no name twice."""
    given: dict[int, str] = {}
    taken: set[str] = set()
    for node in drawn.nodes:
        name = node.name or ("L" if node.id == drawn.root else "")
        if name:
            given[node.id] = fresh(fitting(name), taken)
    results = [node for node in drawn.nodes if node.symbol and node.id not in given]
    for i, node in enumerate(results, start=1):
        given[node.id] = fresh(f"u{i}" if len(results) > 1 else "u", taken)
    letters = map(letter, count())
    for node in drawn.nodes:
        if node.id not in given:
            given[node.id] = fresh(next(x for x in letters if x not in taken), taken)
    return given


def fitting(name: str) -> str:
    """A name in few characters; of a path, the end."""
    path = all(part.isidentifier() or part.isdecimal() for part in name.split("."))
    return shortened("…" + name[1 - LONGEST :]) if path and "." in name and len(name) > LONGEST else shortened(name)


def fresh(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "′"
    taken.add(name)
    return name


def letter(i: int) -> str:
    return LETTERS[i] if i < len(LETTERS) else f"v{i}"


def brief(x: Quantity) -> str:
    """A number; the few elements of a small array; of a larger one, shape and norm."""
    if x.shape is None or (x.numbers is not None and len(x.numbers) == 1):
        return number(x.numbers[0]) if x.numbers else "empty"
    if x.numbers is not None:
        return f"[{', '.join(map(number, x.numbers))}]" if x.numbers else "empty"
    return f"{x.shape}, norm {number(norm(x))}"


def norm(x: Quantity) -> float:
    return x.magnitude * math.sqrt(math.prod(x.shape or ()))


def arrays(inputs: Sequence[Any]) -> list[Any]:
    return [float(x) if isinstance(x, int) else x for x in inputs]


def signed(text: str) -> str:
    return f"({text})" if text.startswith("−") else text


def in_brackets_if_needed(text: str, before: str, after: str) -> str:
    """A negative number after an operator or before an exponent, and a fraction before one."""
    if text.startswith("−"):
        return f"({text})" if before.rstrip()[-1:] in OPERATORS or after in EXPONENTS else text
    return f"({text})" if text.startswith("∂") and after in (*EXPONENTS, "[") else text


OPERATORS = frozenset("·/+−@^")
EXPONENTS = frozenset("^²ᵀ")


def equation(parts: Sequence[str]) -> str:
    return " = ".join(dict.fromkeys(parts))


def listed(parts: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(parts[:most]) or "nothing"
    return f"{shown} and {len(parts) - most} more" if len(parts) > most else shown
