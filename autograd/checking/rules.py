"""Each operation by itself: its rules against numeric derivatives of its own forward, at the values that occurred.

A numeric derivative along one line gives the slopes of all results at once; a rule gives, for one cotangent, the slopes
by all arguments at once. So the two meet in few numbers: element by element where the operation works so, else along
random directions, under random cotangents, and at sampled elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from ..graph import Node
from ..guards.answers import WRITES
from ..primitive import computed, renewed
from .compared import (
    CLOSE,
    RANDOM,
    ROUNDING,
    Compared,
    asides,
    compared,
    directions,
    largest,
    largest_of,
    relative,
    single,
    some,
    summed_to,
    summed_up,
    unit,
    weighed,
)
from .numeric import Array, Probe, Slopes
from .operation import (
    SIXTEENTHS,
    SLACK,
    Operation,
    like,
    numbers_pulled,
    of_node,
    of_rule,
    pulled,
    roundings_in,
    sharp_twin,
    stacked,
)
from .report import ACCEPTED, KINK, NOT_FINITE, RIGHT, WRONG, Row
from .variables import precision

Columns: TypeAlias = Callable[[Slopes], Iterator[tuple[Any, ...]]]  # what to compare slopes with, under each cotangent
GROUPS = 8  # the arguments of an operation are moved one by one up to that many, else in so many groups

HARDLY = 1e-100  # cotangents that arrive smaller, or larger than 1 by as much, are left to the whole
CANCELLED = 2.0**-30  # of the result's size over the argument's: as much may cancel inside a rule, and leave rounding
ALIKE_AT_A_KINK = "all moved alike, so that ties stay ties"
NOT_LINEAR = "a rule is linear in its cotangent; given the one that arrived, this is not"


def checked(
    node: Node, g: Any, row: Row, names: dict[Node, str], order: int, sample: int | None, seed: int
) -> Iterator[Row]:
    """All rows about the operation that a node is the result of; `g` is the cotangent that reached it."""
    if note := stale(node):
        yield replace(row, verdict=WRONG, note=note)
        return
    rng = np.random.default_rng(seed)
    dead = np.asarray(math.nan if g is None else g) == 0
    inputs = {i: names[arg] for i, arg in enumerate(node.args) if isinstance(arg, Node)}
    for found in Trial(of_node(node), row, inputs, dead, sample, rng).rows(g):
        yield misshapen(node, at_own_precision(node, found, rng))
    for place in inputs if order == 2 else ():
        about = replace(row, argument=place, order=2, note=f"the rule of argument {place}, differentiated")
        try:
            rule = of_rule(node, place, rng.choice(SIXTEENTHS, np.shape(node._raw)))
        except Exception as error:  # a rule written for arrays may do anything when it is given nodes
            yield failed(about, error)
            continue
        if rule is not None:
            shifted = {0: "g", **{i + 1: name for i, name in inputs.items()}}
            for found in Trial(rule, about, shifted, dead, sample, rng).rows():
                yield replace(found, argument=place)


def misshapen(node: Node, row: Row) -> Row:
    """The row; if it is wrong, with the shape of what the rule returned, where that had to be summed or repeated."""
    if row.verdict != WRONG or row.argument is None or row.note:
        return row
    op: Any = node.op
    try:
        d = op.pull(node.args, node.seed(np.ones(np.shape(node._raw))), node._raw, node.params)[row.argument]
    except Exception:  # of this cotangent it makes nothing
        return row
    shape, to = np.shape(d), np.shape(node.args[row.argument]._raw)
    said = f"its rule returned an array of shape {shape} for an argument of shape {to}"
    return replace(row, note=said) if shape != to and shape not in ((), np.shape(node._raw)) else row


def failed(row: Row, error: Exception) -> Row:
    """The row of a rule that gave no answer."""
    said = str(error).removeprefix(f"{row.operation}: ")
    said = said if said != str(error) else f"its rule raised {type(error).__name__}: {error}"
    return replace(row, verdict=WRONG, note="; ".join(filter(None, [row.note, said])))


def together(nodes: Sequence[Node], blanks: Sequence[Row], names: dict[Node, str], seed: int) -> dict[Node, list[Row]]:
    """The rows of operations on numbers that are all one row of the table: compared as one operation on arrays.

    Each node's own rule, on its own numbers, has to say the same as the rule on arrays. Nodes that are not right in all
    are left out: look at those alone.
    """
    many = stacked(nodes)
    g = np.random.default_rng(seed).choice(SIXTEENTHS, len(nodes))
    try:
        answer, own = many.pull(g), np.array(list(map(numbers_pulled, nodes, g.tolist())))
    except Exception:  # whatever somebody's rule may raise
        return {}
    right = np.array([not stale(node) for node in nodes])
    here = many.at({})
    parts = {place: compared_alike(many.of_elements(place), here, g, answer[place]) for place in many.places}
    for place, part in parts.items():
        right &= (part.verdicts() == RIGHT) & (np.abs(own[:, place] - part.autograd) <= part.lost)
    return {
        node: [
            part.row(i, RIGHT, replace(blanks[i], argument=place, input=names[node.args[place]]))
            for place, part in parts.items()
        ]
        for i, node in enumerate(nodes)
        if right[i]
    }


def compared_alike(probe: Probe, here: Array, g: Array, autograd: Any) -> Compared:
    mine = np.full(len(g), np.nan) if autograd is None else autograd  # what has no slope is looked at alone

    def columns(found: Slopes) -> Iterator[tuple[Any, ...]]:
        yield g, np.asarray, mine, ROUNDING * np.abs(g * np.nan_to_num(found.value)), g

    [part] = by_steps(probe, here, columns)
    return part


def by_steps(probe: Probe, here: Array, columns: Columns) -> list[Compared]:
    """The comparisons by three steps, where these leave no doubt that all is right; else by all, with second opinions."""
    found = probe.at_a_glance(here)
    parts = [] if found is None else [weighed(found, *column) for column in columns(found)]
    if found is not None and all(np.all(part.verdicts() == RIGHT) for part in parts):
        return parts
    found = probe.slopes()
    return [compared(probe, found, *column) for column in columns(found)]


def stale(node: Node) -> str:
    """Why the graph is not what was computed, if so."""
    changed = [arg for arg in node.args if isinstance(arg, Node) and arg.birth > node.birth]
    if changed:
        return f"{changed[0].name or 'an argument'} was given new data after this was computed from it"
    op: Any = node.op
    once, again = (np.asarray(computed(op, node.inputs, renewed(node.params))) for _ in range(2))
    recorded = np.asarray(node._raw)
    if not np.array_equal(once, again, equal_nan=True) or same_numbers(once, recorded, float(precision(node).eps)):
        return ""
    return "computed again, it is not what was recorded: data was written to in place"


def same_numbers(a: Any, b: Any, eps: float) -> bool:
    """Whether two computations of the same thing agree."""
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return False
    finite = np.isfinite(a)
    a, b = a[finite].astype(float), b[finite].astype(float)
    return bool(np.max(np.abs(a - b), initial=0.0) <= 2.0**10 * eps * np.max(np.abs(b), initial=0.0))


def at_own_precision(node: Node, row: Row, rng: np.random.Generator) -> Row:
    """The row, unless the rule does worse on the data as it is than rounding explains."""
    if row.verdict not in ACCEPTED or row.argument is None:
        return row
    arg: Any = node.args[row.argument]
    if any(np.asarray(x._raw).dtype.kind != "f" for x in (arg, node)):
        return row
    weights = rng.choice(SIXTEENTHS, np.shape(node._raw))
    try:
        mine, exact = (pulled(x, weights)[row.argument] for x in (node, sharp_twin(node)))
    except Exception as error:  # for this dtype alone
        return failed(row, error)
    if mine is None or np.array_equal(mine, exact, equal_nan=True):
        return row
    if not np.array_equal(np.isfinite(mine), np.isfinite(exact)):
        return replace(row, verdict=NOT_FINITE, note=f"in {np.asarray(node._raw).dtype}, not in float64")
    coarse = max((precision(x) for x in (node, arg)), key=lambda info: float(info.eps))
    rounded = [pulled(jittered(node, float(coarse.eps), rng), weights)[row.argument] for _ in range(RANDOM)]
    moved = np.max([np.abs(x - exact) for x in rounded], axis=0)
    size = np.abs(exact)
    if node.op is None or not node.op.elementwise:  # then others are added to each
        size, moved = largest(size), largest(moved)
    difference = np.abs(mine - exact)
    if not np.any(difference > SLACK * (math.sqrt(coarse.eps) * size + float(coarse.tiny) + moved)):
        return row
    return replace(row, verdict=WRONG, note=f"differs by {largest(difference):.3g} from its rule at float64")


def jittered(node: Node, eps: float, rng: np.random.Generator) -> Node:
    """The operation at float64, its data moved as rounding may have moved it."""
    result = sharp_twin(node)
    for x in (result, *result.args):
        if isinstance(x, Node):
            x._raw = like(x._raw, x._raw * (1.0 + eps * rng.choice(SIXTEENTHS, np.shape(x._raw))))
    return result


@final
class Trial:
    """The comparison of one operation's rules with its numeric derivatives."""

    def __init__(
        self,
        operation: Operation,
        row: Row,
        names: dict[int, str],
        dead: NDArray[np.bool],
        sample: int | None,
        rng: np.random.Generator,
    ) -> None:
        self.operation, self.row, self.names = operation, row, names
        self.dead, self.sample, self.rng = dead, sample, rng
        size = math.prod(operation.shape)
        self.seeds = [rng.choice(SIXTEENTHS, operation.shape) for _ in range(RANDOM)]
        if not operation.elementwise and size > 1:
            self.seeds += [unit(operation.shape, i) for i in some(size, sample, rng)]
        self.answers: list[dict[int, Any]] = []  # of the rules, to each seed
        self.lines: dict[int, Array] = {}  # the same, as `answers_for` has them
        self.rounding: list[dict[int, Any]] = []  # in each of these, where somebody asked

    def rows(self, g: Any = None) -> Iterator[Row]:
        """One row for each variable among the inputs, or for a group of them while all in it are accepted.

        `g` is the cotangent that arrived, if any: a rule may be right for others and not for this one.
        """
        try:
            if note := self.ask():
                yield replace(self.row, verdict=WRONG, note=note)
                return
            crooked = self.not_linear(g)
        except Exception as error:  # whatever somebody's rule may raise
            yield failed(self.row, error)
            return
        places, kinked = list(self.operation.places), False
        cuts = np.linspace(0, len(places), min(len(places), GROUPS) + 1).astype(int).tolist()
        for group in [places[i:j] for i, j in pairwise(cuts)]:
            found = self.of(group)
            if len(group) == 1 or (found.verdict in ACCEPTED and crooked.isdisjoint(group)):
                rows = [found]
            else:
                rows = [self.of([place]) for place in group]
            for row in rows:
                bent = row.verdict in ACCEPTED and row.argument in crooked
                kinked |= row.verdict == KINK
                yield replace(row, verdict=WRONG, note=NOT_LINEAR) if bent else row
        several = len(places) > 1 or not self.operation.elementwise
        if kinked and several and self.row.order == 1:  # a rule may share as it likes, and be no derivative of that
            found = self.settled(self.moved_alike)
            if found.verdict == WRONG:
                yield found

    def ask(self) -> str:
        """The answers of the rules to every seed; what they did to others' data meanwhile, if anything."""
        held = (*self.operation.inputs, self.operation.result)
        before = [np.array(x) for x in held]
        answers = []
        for seed in self.seeds:
            answers.append(self.operation.pull(seed))
            self.answers.append({i: None if d is None else np.array(d) for i, d in answers[-1].items()})
        if not all(map(unchanged, before, held)):
            return WRITES
        kept = all(
            d is None or unchanged(d, now[i])
            for d_all, now in zip(self.answers, answers, strict=True)
            for i, d in d_all.items()
        )
        return "" if kept else "its rule writes into what it returned before"

    def not_linear(self, g: Any) -> set[int]:
        """The arguments whose rule does not make of the cotangent that arrived what it makes of its parts at size 1."""
        size = 0.0 if g is None or not np.all(np.isfinite(g)) else largest(np.asarray(g, float))
        if not HARDLY < size < 1.0 / HARDLY:
            return set()
        part = self.seeds[0]
        whole, one, other = map(self.operation.pull, (np.asarray(g, float), part, g / size - part))
        result = largest(np.asarray(self.operation.at({})))
        return {
            i
            for i in self.operation.places
            if whole[i] is not None and apart(one[i], other[i], whole[i] / size, CANCELLED * result / self.scale(i))
        }

    def scale(self, place: int) -> float:
        """The size of an input, 1 at most."""
        return min(largest(np.nan_to_num(np.asarray(self.operation.inputs[place], float))), 1.0) or 1.0

    def of(self, group: list[int]) -> Row:
        """One row for some of the inputs."""
        return self.settled(lambda: self.summed_up(group))

    def settled(self, judged: Callable[[], Row]) -> Row:
        """The row; before it says wrong, rounding inside the rules is looked at too."""
        row = judged()
        if row.verdict == WRONG and not self.rounding:
            self.look_inside()
            row = judged()
        return row

    def moved_alike(self) -> Row:
        """All inputs moved together, equals by the same: a tie stays a tie, and what is a kink for each alone is none."""
        xs = {place: np.asarray(self.operation.inputs[place]) for place in self.operation.places}
        high = largest_of(xs)
        v = {place: relative(x, high) for place, x in xs.items()}
        first, *others = xs
        row = replace(self.row, argument=first, input=self.names[first], note=ALIKE_AT_A_KINK)
        if others:
            row = replace(row, argument=None, input=f"{self.names[first]} … {self.names[others[-1]]}")
        return summed_up(row, [self.contracted(v, high)], False, np.array(False))

    def look_inside(self) -> None:
        """Find out how far rounding may have moved the rules' answers, and where the operation is a rule, its results."""
        operation = self.operation
        try:
            traced = [operation.traced(seed) if operation.traced else {} for seed in self.seeds]
            self.rounding = [dict(zip(d, roundings_in([*d.values()], self.rng), strict=True)) for d in traced]
            noise = np.ravel(roundings_in([operation.inside], self.rng)[0])
            self.operation = replace(operation, noise=noise if noise.size > 1 else float(noise[0]))
        except Exception:  # a rule written for arrays may do anything when it is given nodes
            self.rounding = [{} for _ in self.seeds]

    def summed_up(self, group: list[int]) -> Row:
        """The comparisons of some of the inputs, in one row: the one that says most."""
        row = replace(self.row, argument=group[0], input=self.names[group[0]])
        if len(group) > 1:
            names = f"{self.names[group[0]]} … {self.names[group[-1]]}"
            row = replace(row, input=names, note=f"{len(group)} arguments together")
        one_by_one = self.operation.elementwise and len(group) == 1
        parts = self.by_element(group[0]) if one_by_one else self.by_direction(group)
        zero_rule = all(self.answers[0][place] is None for place in group)
        return summed_up(row, list(parts), zero_rule, self.dead)

    def by_element(self, place: int) -> Iterator[Compared]:
        """Every element of an argument of an element-wise operation, under every seed."""
        probe = self.operation.of_elements(place)
        shape, to = self.operation.shape, np.shape(self.operation.inputs[place])

        def gathered(x: Array) -> Array:
            return summed_to(x.reshape(shape), to).reshape(-1)

        def columns(found: Slopes) -> Iterator[tuple[Any, ...]]:
            for k, (seed, answer) in enumerate(zip(self.seeds, self.answers, strict=True)):
                g, d = seed.reshape(-1), answer[place]
                terms = gathered(np.abs(g * np.nan_to_num(found.value)))
                mine = np.zeros(len(terms)) if d is None else d.reshape(-1)
                lost = ROUNDING * terms + np.ravel(self.lost(k, place))
                yield g, gathered, mine, lost, g if to == shape else np.ones(len(terms)), to

        yield from by_steps(probe, self.here, columns)

    def by_direction(self, group: list[int]) -> Iterator[Compared]:
        """Along random directions of some inputs together, then of single elements, under every seed."""
        xs = {place: np.asarray(self.operation.inputs[place]) for place in group}
        count = sum(x.size for x in xs.values())
        if count > 1:
            for v, size in directions(xs, self.rng):
                yield self.contracted(v, size)
        for i in some(count, self.sample, self.rng):
            v, x = single(xs, i)
            yield self.contracted(v, x, alone=True)

    def contracted(self, v: dict[int, Array], x: float, alone: bool = False) -> Compared:
        """The slopes of all results along a direction, under every seed."""
        g = np.array([seed.reshape(-1) for seed in self.seeds])
        mine, lost = np.zeros(len(g)), np.zeros(len(g))
        for i, v_i in v.items():
            products = self.answers_for(i) * v_i.reshape(-1)
            mine += np.sum(products, axis=1)
            lost += ROUNDING * np.sum(np.abs(products), axis=1)
            if self.rounding:
                lost += [float(np.sum(np.abs(self.lost(k, i) * v_i))) for k in range(len(g))]

        def summed(x: Array) -> Array:
            return np.asarray(np.sum(np.where(g == 0, 0.0, x), axis=1))

        probe = self.operation.along(v, x, alone)

        def columns(_: Slopes) -> Iterator[tuple[Any, ...]]:
            yield g, summed, mine, lost, g[:, 0] if g.shape[1] == 1 else np.ones(len(g))

        [part] = by_steps(probe, self.here, columns)
        if self.operation.elementwise or not np.any(part.verdicts() == WRONG):
            return part
        beside = self.next_to(v, x, alone)
        return part.between((summed(g * found.value), summed(np.abs(g) * found.error)) for found in beside)

    @cached_property
    def here(self) -> Array:
        """All results where nothing moves."""
        return np.asarray(self.operation.at({}))

    def answers_for(self, place: int) -> Array:
        """The answers of one rule, each in a line of its own."""
        if place not in self.lines:
            zeros = np.zeros(np.shape(self.operation.inputs[place]))
            found = [zeros if answer[place] is None else answer[place] for answer in self.answers]
            self.lines[place] = np.array(found).reshape(len(found), -1)
        return self.lines[place]

    def next_to(self, v: dict[int, Array], x: float, alone: bool) -> Iterator[Slopes]:
        """The slopes along a direction a little beside, where nothing is equal to anything."""
        places = [i for i in self.operation.places if np.all(np.isfinite(self.operation.inputs[i]))]
        for data in asides([np.asarray(self.operation.inputs[i]) for i in places], self.rng):
            inputs = list(self.operation.inputs)
            for i, moved in zip(places, data, strict=True):
                inputs[i] = like(inputs[i], moved)
            yield replace(self.operation, inputs=tuple(inputs)).along(v, x, alone).slopes()

    def lost(self, k: int, place: int) -> Any:
        """What rounding inside a rule may have done to its answer to a seed, as far as somebody asked."""
        return self.rounding[k].get(place, 0.0) if self.rounding else 0.0


def apart(one: Any, other: Any, whole: Any, floor: float) -> bool:
    """Whether two parts are not the whole; if that is not a number, it cannot be told."""
    return bool(largest(one + other - whole) > CLOSE * (largest(one) + largest(other)) + floor + HARDLY)


def unchanged(before: Any, after: Any) -> bool:
    return np.array_equal(before, after, equal_nan=before.dtype.kind == "f")
