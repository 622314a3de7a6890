"""A whole graph, computed again at float64: its gradient beside a numeric one, along random directions.

What lies between operations that are each right, this sees: a cotangent lost or counted twice, a branch cut off, data
that is no longer what the graph was computed from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias, final

import numpy as np

from ..derivative import zeros
from ..graph import Node, ancestry, cotangents
from ..ops.reduction import norm
from ..optional.progress import followed
from ..primitive import computed, renewed
from .compared import ROUNDING, TELLING, VAGUE, Compared, advice, compared, directions, summed_up
from .numeric import EPS, Array, Estimate, Probe
from .operation import CALLED_OFF, SIXTEENTHS, SLACK, like, roundings_in, sharp, twin, variable_like
from .report import ACCEPTED, BLANK, NOT_FINITE, WRONG, Row
from .variables import precision

LINES = 8  # one for each variable, or for a group of them;
HUGE = 20_000  # nodes, beyond which one for all has to do
AT_FLOAT64 = "computed again at float64, it is"
ASIDE = 2.0**-10  # how far beside a kink the whole is checked, relative to each variable


Place: TypeAlias = tuple[Node, tuple[int, ...]]  # an element of a variable


@final
class Whole:
    """A graph with its twin at float64, of the same data or, if so wanted, of data beside it."""

    def __init__(self, original: Node, seed: int, aside: bool = False) -> None:
        self.original, self.seed = original, seed
        self.nodes = ancestry(original)[::-1]
        self.rng = np.random.default_rng(seed)
        self.twins: dict[Node, Node] = {}
        for node in sorted(self.nodes, key=lambda node: node.op is not None):  # a leaf that was changed is young
            args = tuple([self.twins[arg] if isinstance(arg, Node) else sharp(arg) for arg in node.args])
            self.twins[node] = twin(node, args) if args else sharp(node)
            if aside and node.op is None:
                self.twins[node]._raw = moved_aside(self.twins[node]._raw, self.rng)
        self.leaves = [node for node in self.nodes if node.op is None]
        self.root = self.twins[original]
        self.weights = weights_of(np.shape(self.root._raw), seed)
        self.moved: dict[float, dict[Node, Any]] = {}  # by rounding of that size
        self.asked: frozenset[Node] = frozenset()
        self.found: list[Node] = []
        self.trouble = ""
        self.gradients: dict[Node, Any] = {}
        try:
            self.gradients = pulled_back(self.root, self.weights)
        except Exception as error:  # whatever somebody's rule may raise
            self.trouble = said(error)
        self.opaque = is_opaque(self.nodes)
        effects = (rounding_effect(node, g) for node, g in self.gradients.items() if node.op is not None)
        self.noise = SLACK * math.hypot(*effects)

    def gradient(self, node: Node) -> Any:
        """The cotangent of a node of the original graph, None where none arrives."""
        return self.gradients.get(self.twins[node])

    def probe(self, v: dict[Node, Array], x: float, alone: bool) -> Probe:
        """The weighted result, as variables of the original graph move along a direction."""
        twins = {self.twins[node]: v_node for node, v_node in v.items()}
        downstream = self.downstream(frozenset(twins))

        def at(t: Any) -> Any:
            return self.value({x: like(x._raw, x._raw + t[0] * v_x) for x, v_x in twins.items()}, downstream)

        return Probe(np.array([x]), at, float(precision(self.root).eps), self.noise, alone, self.opaque)

    def along(self, group: Sequence[Node], own: dict[Node, Any] | None, row: Row) -> Row:
        """The derivative along one direction of some variables, and if `own` is given, by the original graph too."""
        xs = {i: np.asarray(self.twins[node]._raw) for i, node in enumerate(group)}
        v, x = next(directions(xs, self.rng, kinds=(True,)))
        if alone := len(group) == 1 and xs[0].ndim == 0:
            v, x = {0: np.ones(())}, float(xs[0])
        return self.compared({node: v[i] for i, node in enumerate(group)}, x, alone, own, row)

    def element(self, node: Node, index: tuple[int, ...], own: dict[Node, Any] | None, row: Row) -> Row:
        """The derivative by one element of a variable."""
        x = np.asarray(self.twins[node]._raw)
        v = np.zeros(x.shape)
        v[index] = 1.0
        return replace(self.compared({node: v}, float(x[index]), True, own, row), index=index)

    def compared(self, v: dict[Node, Array], x: float, alone: bool, own: dict[Node, Any] | None, row: Row) -> Row:
        """The derivative along a direction by the rules, numerically, and if `own` is given, by the original graph."""
        terms = [np.asarray(gradient(self.gradients, self.twins[node])) * v_node for node, v_node in v.items()]
        by_rules = sum(float(np.sum(term)) for term in terms)
        sizes = sum(float(np.sum(np.abs(term))) for term in terms)
        probe = self.probe(v, x, alone)
        seen = probe.at_a_glance(self.here)
        glance = None if seen is None else seen.item()
        if glance is not None and agreed(glance, by_rules, sizes, 0.0 if by_rules else abs(float(self.here[0]))):
            tolerance = glance.error + ROUNDING * sizes
            row = replace(row, autograd=by_rules, numeric=glance.value, error=glance.error, tolerance=tolerance)
        else:
            unreached = all(self.twins[node] not in self.gradients for node in v)
            found, one, blank = probe.slopes(), np.ones(1), row

            def judged(lost: float) -> tuple[Compared, Row]:
                part = compared(probe, found, one, np.asarray, np.array([by_rules]), np.array([lost]), one)
                return part, summed_up(blank, [part], unreached, np.array(False))

            part, row = judged(ROUNDING * sizes)
            vague = not float(found.error[0]) < VAGUE * abs(
                float(found.value[0])
            )  # so a complex step had to settle it,
            settled = vague and float(part.numeric[0]) != float(found.value[0])  # which finds nothing that both lost
            if row.verdict == WRONG or settled:
                part, row = judged(ROUNDING * sizes + self.rounded(v))
            if part.taylor is not None:
                row = replace(row, note="; ".join(filter(None, [row.note, advice(float(part.taylor[0]), row.verdict)])))
        if own is None:
            return row
        ours = sum(float(np.sum(np.asarray(gradient(own, node), float) * v_node)) for node, v_node in v.items())
        coarse = max((precision(node) for node in (*v, self.original)), key=lambda info: float(info.eps))
        underflow = float(coarse.tiny) * sum(float(np.sum(np.abs(v_node))) for v_node in v.values())
        lost = SLACK * (math.sqrt(coarse.eps) * sizes + underflow)
        if coarse.eps > EPS and abs(ours - by_rules) > lost:
            lost += self.rounded(v, float(coarse.eps))
        return as_it_is(row, by_rules, ours, lost)

    def rounded(self, v: dict[Node, Array], eps: float = EPS) -> float:
        """How far rounding on the way there, and of it, may have moved the derivative along a direction."""
        found = self.roundings(eps)
        return sum(float(np.sum(np.abs(found[node] * v_node))) for node, v_node in v.items())

    def roundings(self, eps: float = EPS) -> dict[Node, Any]:
        """How far all the rounding, in the values and in the cotangents, may have moved each gradient."""
        if eps not in self.moved:
            leaves = [self.twins[node] for node in self.leaves]
            try:
                found = cotangents(self.root, variable_like(self.root, self.weights), create_graph=True)
                moved = roundings_in([found.get(x) for x in leaves], self.rng, eps)
            except Exception:  # a rule written for arrays may do anything when it is given nodes
                moved = [0.0] * len(leaves)
            self.moved[eps] = dict(zip(self.leaves, moved, strict=True))
        return self.moved[eps]

    @cached_property
    def here(self) -> Any:
        return self.value({}, ())

    def downstream(self, twins: frozenset[Node]) -> list[Node]:
        """What has to be computed again when these move, in order; it is the same for one element after the other."""
        if self.asked == twins:
            return self.found
        self.asked, self.found = twins, []
        moved = set(twins)
        for node in self.twins.values():
            if node.args and any(isinstance(arg, Node) and arg in moved for arg in node.args):
                moved.add(node)
                self.found.append(node)
        return self.found

    def value(self, data: dict[Node, Any], downstream: Sequence[Node]) -> Any:
        """The result where some variables hold other data; NaN outside the domain."""
        for node in downstream:
            op: Any = node.op
            inputs = [data.get(x, x._raw) if isinstance(x, Node) else x for x in node.args]
            try:
                data[node] = computed(op, inputs, renewed(node.params))
            except CALLED_OFF:
                return np.array([math.nan])
        return np.array([np.sum(data.get(self.root, self.root._raw) * self.weights)])


def end_to_end(
    whole: Whole, names: dict[Node, str], kinked: bool, elements: Sequence[Place], progress: bool
) -> Iterator[Row]:
    """The rows of the variables that a graph was computed from; next to it where it stands on a kink."""
    root = whole.original
    trouble = whole.trouble
    own: dict[Node, Any] = {}
    try:
        own = pulled_back(root, whole.weights)
    except Exception as error:
        trouble = trouble or said(error)
    if trouble:
        yield replace(BLANK, input="all", verdict=WRONG, note=trouble)
        return
    beside = Whole(root, whole.seed, aside=True) if kinked else None

    for group in grouped(whole.leaves, LINES if len(whole.nodes) <= HUGE else 1):
        row = replace(BLANK, input=names[group[0]])
        if len(group) > 1:
            row = replace(row, input=f"{names[group[0]]} … {names[group[-1]]}", note=f"{len(group)} variables together")
        found = whole.along(group, own, row)
        if excused(found) and beside is not None:  # what conventions add up to may lie between no two slopes
            found = beside.along(group, None, replace(row, note="next to the kink"))
        yield found
    for node, index in followed(elements, progress and bool(elements), "check", "elements"):
        row = replace(BLANK, input=names[node])
        found = whole.element(node, index, own, row)
        if excused(found) and beside is not None:
            found = beside.element(node, index, None, replace(row, note="next to the kink"))
        yield found


def said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def grouped(nodes: Sequence[Node], most: int) -> list[list[Node]]:
    """One by one, or neighbours together if they are many."""
    cuts = np.linspace(0, len(nodes), min(len(nodes), most) + 1).astype(int).tolist()
    return [list(nodes[i:j]) for i, j in pairwise(cuts)]


def agreed(glance: Estimate, by_rules: float, sizes: float, size: float) -> bool:
    """Whether the two numbers agree, within a tolerance that is small compared with them (or with `size`, if they are 0)."""
    tolerance = glance.error + ROUNDING * sizes
    telling = tolerance <= TELLING * max(abs(glance.value), abs(by_rules), size)
    return telling and abs(glance.value - by_rules) <= tolerance


def moved_aside(x: Any, rng: np.random.Generator) -> Any:
    """A little beside, in every element."""
    size = np.where(x == 0, min(float(np.max(np.abs(x), initial=0.0)) or 1.0, 1.0), np.abs(x))
    return like(x, x + rng.choice(SIXTEENTHS, np.shape(x)) * size * ASIDE)


def as_it_is(row: Row, by_rules: float, ours: float, lost: float) -> Row:
    """The row, unless the gradient at the dtype of the data is not what the rules give at float64."""
    if not math.isfinite(ours) and math.isfinite(by_rules):
        return replace(row, autograd=ours, verdict=NOT_FINITE)
    if row.verdict in (*ACCEPTED, WRONG) and abs(ours - by_rules) > lost:
        note = "; ".join(filter(None, [row.note, f"{AT_FLOAT64} {by_rules:.9g}"]))
        return replace(row, autograd=ours, verdict=WRONG, tolerance=row.tolerance + lost, note=note)
    return row


def is_opaque(nodes: Iterable[Node]) -> bool:
    """Whether there are operations of which it is unknown how they round inside."""
    return any(node.op is not None and not node.op.listed for node in nodes)


def excused(row: Row) -> bool:
    """Whether a kink may be why a row is wrong: not where the graph has two gradients."""
    return row.verdict == WRONG and AT_FLOAT64 not in row.note


def pulled_back(root: Node, weights: Any) -> dict[Node, Any]:
    """The cotangents under the weights, from twice these: so a rule that forgets its cotangent is wrong where that is 1."""
    return {node: g / 2 for node, g in cotangents(root, root.seed(2.0 * weights)).items()}


def gradient(found: dict[Node, Any], node: Node) -> Any:
    return found[node] if node in found else zeros(node)


def weights_of(shape: tuple[int, ...], seed: int) -> Any:
    """1 for a number; for an array random weights of either sign, that float16 holds exactly."""
    return 1.0 if shape == () else np.random.default_rng(seed).choice(SIXTEENTHS, shape)


def rounding_effect(node: Node, g: Any) -> float:
    """How far rounding of one intermediate result may have moved the value."""
    if type(g) is float and type(node._raw) is float:
        effect = abs(g * node._raw)
        return EPS * effect if math.isfinite(effect) else 0.0
    effects = np.nan_to_num(g * node._raw, nan=0.0, posinf=0.0, neginf=0.0)  # g is 0 in a branch not taken, so 0 * inf
    return float(precision(node).eps) * float(norm(effects))
