"""A function element by element: its gradient by the chain rule beside a numeric one, and the verdict on each.

At float64 both sides are sharp, and they may differ by the numeric side's own error estimate; what the user's dtype keeps
of that may differ by as much as rounding makes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import Any, final

import numpy as np

from ..derivative import gradients
from ..graph import Node
from ..guards.blocks import enable_grad
from ..ops.elementwise import add, mul
from ..ops.reduction import sum
from ..optional.progress import followed
from ..tensor import Tensor
from .compared import APART, BETWEEN, CLOSE, ROUNDING, TELLING, advice, asides, vindicated
from .numeric import EPS, SETTLED, SURE, Array, Estimate, Probe
from .operation import SIXTEENTHS, SLACK, like
from .report import BLANK, KINK, NOISY, NOT_FINITE, RIGHT, WRONG, Row
from .variables import data_of, precision, probe, substituted, widened
from .whole import AT_FLOAT64, Place, Whole, gradient, is_opaque, pulled_back, rounding_effect, said, weights_of

VAGUE = 2.0**-3  # a tolerance beyond this share of a gradient says little of it


def compared(
    f: Callable[[], Any], named: dict[Node, str], method: str | None, sample: int | None, seed: int, progress: bool
) -> Iterable[Row]:
    """The rows, in the order of the nodes and their elements."""
    nodes = list(named)
    own = by_chain_rule(f, named, seed)
    with substituted(nodes, widened(nodes)):
        function = ByElement(f, named, own, seed, method)
        if trouble := own.trouble or function.sharp.trouble:
            return [replace(BLANK, input="all", verdict=WRONG, note=trouble)]
        with enable_grad():
            if not np.array_equal(function.value(), function.sharp.value, equal_nan=True):
                raise ValueError(
                    "gradcheck: f gave two results for the same data, so there is no derivative to check; "
                    "switch off what draws random numbers (model.eval(), say), and let it add nothing to what it was before"
                )
            places = followed(chosen(nodes, sample, seed), progress, "gradcheck", "elements")
            return [function.row(node, index) for node, index in places]


@final
class ByElement:
    """The derivatives of `f()` by single elements of its variables, which hold data at float64."""

    def __init__(
        self, f: Callable[[], Any], named: dict[Node, str], own: Side, seed: int, method: str | None = None
    ) -> None:
        self.f, self.named, self.own, self.seed, self.method = f, named, own, seed, method
        self.sharp = by_chain_rule(f, named, seed)

    def value(self) -> float:
        return contracted(self.f(), self.seed)

    @cached_property
    def graph(self) -> Whole | None:
        """What `f()` records, to be computed at complex numbers."""
        with enable_grad():
            y = self.f()
            return Whole(y, self.seed) if isinstance(y, Node) and y.args else None

    def row(self, node: Node, index: tuple[int, ...]) -> Row:
        """A glance is enough where it shows the two sides agree; else all steps; else second opinions."""
        line = self.line(node, index)
        glance = line.at_a_glance(self.sharp.value)
        found = None if glance is None else self.judged(node, index, glance.item())
        if found is None or found.verdict != RIGHT:
            numeric = line.slopes().item()
            found = self.judged(node, index, numeric)
            if found.verdict == WRONG and not found.note:
                found = self.between(found, numeric, node, index)
        if self.method is not None:
            return METHODS[self.method](self, found, line, node, index)
        return found if found.verdict in (RIGHT, KINK) or found.note else self.advised(found, line, node, index)

    def between(self, row: Row, numeric: Estimate, node: Node, index: tuple[int, ...]) -> Row:
        """The row, judged again if a little beside there are several slopes, which are right, of which ties choose one."""
        nodes, rng = list(self.named), np.random.default_rng(self.seed)
        slopes = [numeric.value, *(numeric.kink or ())]  # and beside it, as far as they are known
        for n, data in enumerate(asides([np.asarray(x._raw) for x in nodes], rng)):
            with substituted(nodes, data):
                beside = self.line(node, index).slopes().item()
                right = n > 1 or self.agrees(beside, node, index)
            slopes += [beside.value - beside.error, beside.value + beside.error]
            low, high = float(np.fmin.reduce(slopes)), float(np.fmax.reduce(slopes))
            if not right or (n == 1 and not high - low > APART * max(abs(low), abs(high))):
                return row
        return self.judged(node, index, replace(numeric, kink=(low, high)))

    def agrees(self, numeric: Estimate, node: Node, index: tuple[int, ...]) -> bool:
        """Whether the chain rule does with a numeric derivative, where the variables now are."""
        found = by_chain_rule(self.f, self.named, self.seed)
        return judged(float(found.slopes[node][index]), numeric, found.precision[node])[1] in (RIGHT, KINK)

    def line(self, node: Node, index: tuple[int, ...]) -> Probe:
        eps, noise = float(self.sharp.precision[node].eps), SLACK * self.sharp.noise
        return probe(self.value, node, index, eps, noise, self.sharp.opaque)

    def judged(self, node: Node, index: tuple[int, ...], numeric: Estimate) -> Row:
        by_rule, at_float64 = (float(side.slopes[node][index]) for side in (self.own, self.sharp))
        coarse, fine = self.own.precision[node], self.sharp.precision[node]
        if 0.0 < abs(numeric.value) < SETTLED * numeric.size:  # what is left may be rounding, as at an exact minimum
            numeric = replace(numeric, error=numeric.error + self.rounding(node, index))
        tolerance, verdict = judged(at_float64, numeric, fine, lambda: self.rounding(node, index))
        left, right = numeric.kink or (None, None)
        row = Row(self.named[node], index, by_rule, numeric.value, numeric.error, tolerance, verdict, left, right)
        if verdict == NOT_FINITE:
            return row
        return as_first_computed(row, at_float64, coarse, fine, lambda: self.rounding(node, index, float(coarse.eps)))

    def rounding(self, node: Node, index: tuple[int, ...], eps: float = EPS) -> float:
        """How far rounding of that size, wherever it happens, may have moved the gradient."""
        if self.graph is None or node not in self.graph.twins:
            return 0.0
        with enable_grad():
            return float(np.broadcast_to(self.graph.roundings(eps)[node], np.shape(node._raw))[index])

    def advised(self, row: Row, line: Probe, node: Node, index: tuple[int, ...]) -> Row:
        """The row, judged again by a complex step if the graph takes one, and by Taylor's formula where it is wrong."""
        slope = float(self.sharp.slopes[node][index])
        if not (math.isfinite(slope) and math.isfinite(row.autograd)):
            return row
        exact = self.by_complex_step(node, index)
        if row.left is None and vindicated(exact, row.numeric, row.error, slope, ROUNDING * abs(slope)):
            if not slope:  # of a branch that .data chose, the graph knows nothing
                return replace(row, verdict=NOISY)
            lost = ROUNDING * abs(exact) + self.rounding(node, index)  # what both lost, no complex step finds
            row = self.judged(node, index, Estimate(exact, lost, lost))
        if row.verdict != WRONG:
            return row
        order = float(line.taylor_order(np.array([slope]), np.asarray)[0])
        close = abs(slope - row.numeric) <= CLOSE * max(abs(slope), abs(row.numeric))
        verdict = NOISY if close and order > BETWEEN else WRONG
        return replace(row, verdict=verdict, note=advice(order, verdict))

    def as_real_steps_say(self, row: Row, *_: Any) -> Row:
        """The row as it is."""
        return row

    def as_complex_says(self, row: Row, line: Probe, node: Node, index: tuple[int, ...]) -> Row:
        """The row, judged by a complex step alone, unless the real steps contradict that: it sees only what is recorded."""
        recorded = self.graph is not None and node in self.graph.twins
        if row.verdict in (KINK, NOT_FINITE) or row.note or not recorded:
            return row
        exact = self.by_complex_step(node, index)
        if not math.isfinite(exact):
            return replace(row, verdict=NOISY, note="no complex step: some operation takes real numbers only")
        error = ROUNDING * abs(exact)
        if abs(exact - row.numeric) > SURE * row.error + CLOSE * abs(exact):
            return replace(row, note="; ".join(filter(None, [row.note, f"a complex step says {exact:.9g}"])))
        return self.judged(node, index, Estimate(exact, error, error))

    def as_taylor_says(self, row: Row, line: Probe, node: Node, index: tuple[int, ...]) -> Row:
        """The row, judged by the power of the step with which what Taylor's formula leaves falls, as far as real steps allow."""
        if row.verdict in (KINK, NOT_FINITE) or row.note:
            return row
        order = float(line.taylor_order(np.array([self.sharp.slopes[node][index]], float), np.asarray)[0])
        if math.isnan(order) or (math.isinf(order) and row.verdict == NOISY):
            return replace(row, verdict=NOISY, note="Taylor's formula leaves too little to tell")
        says = RIGHT if order > BETWEEN else WRONG
        close = abs(row.autograd - row.numeric) <= CLOSE * max(abs(row.autograd), abs(row.numeric))
        agreed = says if says == row.verdict or (row.verdict, says) == (NOISY, RIGHT) else NOISY
        verdict = WRONG if row.verdict == WRONG and not close else agreed
        return replace(row, verdict=verdict, note=f"Taylor order {order:.1f}: {says}")

    def by_complex_step(self, node: Node, index: tuple[int, ...]) -> float:
        if self.graph is None or node not in self.graph.twins:
            return math.nan
        v = np.zeros(np.shape(node._raw))
        v[index] = 1.0
        return float(self.graph.probe({node: v}, float(np.asarray(node._raw)[index]), True).by_complex_step()[0])


METHODS: dict[str, Callable[..., Row]] = {  # who has the last word
    "complex": ByElement.as_complex_says,
    "taylor": ByElement.as_taylor_says,
    "richardson": ByElement.as_real_steps_say,
}


def slope_along(f: Callable[[], Any], nodes: Sequence[Node], seed: int = 0) -> Callable[[], Any]:
    """The derivative of `f()` along a random direction of the nodes, as a function that can be differentiated again."""
    rng = np.random.default_rng(seed)
    v = [like(node._raw, rng.choice(SIXTEENTHS, np.shape(node._raw))) for node in nodes]

    def slope() -> Any:
        y = f()
        if not isinstance(y, Node) or not (y.args or y in nodes):
            return 0.0
        found = gradients(y, nodes, weights_of(np.shape(y._raw), seed), create_graph=True)
        products = [
            sum(mul(g, v_x.astype(g.dtype) if isinstance(g, Tensor) else v_x)) for g, v_x in zip(found, v, strict=True)
        ]
        return reduce(add, products, 0.0)

    return slope


@dataclass(frozen=True, slots=True)
class Side:
    """What the chain rule says: the value, and for each node the gradient and the precision it was found in.

    `noise` is how far the rounding of every intermediate result may have moved the value: each one's rounding error
    times its own cotangent, added up as independent errors are.
    """

    value: float
    noise: float
    slopes: dict[Node, Array]
    precision: dict[Node, np.finfo[Any]]
    opaque: bool
    trouble: str = ""  # why there is no gradient, if so


def by_chain_rule(f: Callable[[], Any], named: dict[Node, str], seed: int) -> Side:
    nodes = list(named)
    with enable_grad():
        y = f()
        value = contracted(y, seed)
        weights = weights_of(np.shape(data_of(y, "gradcheck")), seed)
        found, trouble, before = {}, "", [np.array(node._raw) for node in nodes]
        try:
            found = pulled_back(y, weights) if isinstance(y, Node) else {}
        except Exception as error:  # whatever somebody's rule may raise
            trouble = said(error)
        for node, held in zip(nodes, before, strict=True):
            if not np.array_equal(node._raw, held, equal_nan=True):  # some functions write into what is read-only
                np.copyto(node._raw, held)
                trouble = f"the data of {named[node]!r} changed while its gradient was computed: a rule writes into what it was given"
    of_result = precision(y)
    return Side(
        value,
        math.hypot(*(rounding_effect(node, g) for node, g in found.items() if node.op is not None)),
        {node: np.asarray(gradient(found, node)) for node in nodes},
        {node: max(of_result, precision(node), key=lambda info: float(info.eps)) for node in nodes},
        is_opaque(found),
        trouble,
    )


def contracted(y: Any, seed: int) -> float:
    """The sum of all results under the weights: one number to differentiate."""
    data = data_of(y, "gradcheck")
    shape = np.shape(data)
    return float(np.sum(data * weights_of(shape, seed)) if shape else data)


def chosen(nodes: Sequence[Node], sample: int | None, seed: int) -> list[Place]:
    """All elements, or so many at random, in order."""
    shapes = [np.shape(node._raw) for node in nodes]
    ends = np.cumsum([math.prod(shape) for shape in shapes], dtype=int)
    count = int(ends[-1]) if nodes else 0
    picked = np.arange(count)
    if sample is not None and sample < count:
        picked = np.sort(np.random.default_rng(seed).choice(count, sample, replace=False))
    which = np.searchsorted(ends, picked, side="right").tolist()
    return [
        (nodes[k], tuple(map(int, np.unravel_index(i - ends[k] + math.prod(shapes[k]), shapes[k]))))
        for k, i in zip(which, picked.tolist(), strict=True)
    ]


def judged(
    sharp: float, numeric: Estimate, fine: np.finfo[Any], rounding: Callable[[], float] = lambda: 0.0
) -> tuple[float, str]:
    """By how much the gradient at float64 may differ from the numeric one, and the verdict.

    Its own `rounding` is asked for where it matters: where the two differ, and where a gradient of 0 may be what it left.
    """
    if not (math.isfinite(sharp) and (numeric.kink or math.isfinite(numeric.value))):
        return math.nan, NOT_FINITE
    size = abs(sharp if numeric.kink else numeric.value)
    allowed = numeric.error + math.sqrt(fine.eps) * size
    low, high = sorted(numeric.kink or (numeric.value, numeric.value))
    lost = 0.0
    if not low - allowed <= sharp <= high + allowed or (not sharp and allowed > SETTLED * numeric.size > 0.0):
        lost = rounding()
        allowed += lost
    if not low - allowed <= sharp <= high + allowed:
        return allowed, WRONG
    if numeric.kink:
        return allowed, KINK
    if abs(sharp) > lost:
        return allowed, NOISY if allowed > VAGUE * max(abs(sharp), size) else RIGHT
    share = TELLING if lost else VAGUE  # a gradient of 0 has no size of its own
    return allowed, NOISY if allowed > share * max(size, numeric.size) > 0.0 else RIGHT


def as_first_computed(
    row: Row, sharp: float, coarse: np.finfo[Any], fine: np.finfo[Any], rounding: Callable[[], float]
) -> Row:
    """The row, unless the gradient of the data as it is was another than rounding explains."""
    if not math.isfinite(row.autograd):
        return replace(row, verdict=NOT_FINITE)
    lost, off = 0.0, abs(row.autograd - sharp)
    if coarse.eps > fine.eps:
        lost = SLACK * (math.sqrt(coarse.eps) * abs(sharp) + float(coarse.smallest_subnormal))
        lost += rounding() if off > lost else 0.0
    row = replace(row, tolerance=row.tolerance + lost)
    if off <= lost:
        return row
    return replace(row, verdict=WRONG, note=f"{AT_FLOAT64} {sharp:.9g}")
