"""One operation by itself: its rules against numeric derivatives of its own forward, at the values that occurred.

Everything runs at float64, whatever the data is. A numeric derivative along one line gives the slopes of all results at
once; a rule gives, for one cotangent, the slopes by all arguments at once. So the two meet in few numbers: element by
element where the operation works so, else along random directions, under random cotangents, and at sampled elements.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .derivative import zeros
from .graph import Node, cotangents
from .numeric import EPS, Array, Slopes, precision, slopes, steps
from .primitive import FAILURES, Op, born
from .report import ACCEPTED, KINK, NOISY, NOT_FINITE, RIGHT, WORST_FIRST, WRONG, Row
from .tensor import Tensor
from .value import Value

SLACK = 4.0  # how many times the usual rounding error a correct gradient may have
ROUNDING = 2.0**-34  # of a rule at float64, relative to the sum of the sizes of its terms
TELLING = 2.0**-8  # a tolerance above this share of the derivative could hide an error of a percent
GROUPS = 8  # the arguments of an operation are moved one by one up to that many, else in so many groups
ALIKE = 2.0**10  # so many times its size an element is moved at most to be moved like the others
RANDOM = 2  # cotangents, and directions of each kind

SIXTEENTHS = np.r_[-24:-7, 8:25] / 16  # random weights: none near 0, and every floating-point type holds them
CALLED_OFF = (*FAILURES, RuntimeError)


@dataclass(frozen=True, slots=True)
class Operation:
    """What a comparison needs to know: numbers in, numbers out, and a cotangent back to each variable among the inputs."""

    inputs: tuple[Any, ...]
    places: tuple[int, ...]  # which inputs are variables
    forward: Callable[[Sequence[Any]], Any]
    pull: Callable[[Array], dict[int, Any]]  # None where the rule says that nothing depends on the argument
    shape: tuple[int, ...]  # of the result
    eps: float
    elementwise: bool

    def at(self, moves: dict[int, Any]) -> Array:
        """The result, flat, where some inputs are moved; NaN outside the domain."""
        inputs = [like(x, x + moves[i]) if i in moves else x for i, x in enumerate(self.inputs)]
        try:
            result = np.asarray(self.forward(inputs), dtype=float)
        except CALLED_OFF:
            return np.full(self.shape, np.nan).reshape(-1)
        return np.array(result if result.shape == self.shape else np.broadcast_to(result, self.shape)).reshape(-1)

    def along(self, moves: dict[int, Any], t: Array) -> Slopes:
        """The derivatives of all results along a direction, from steps t."""
        right, left = (
            np.array([self.at({i: s * t_k * v for i, v in moves.items()}) for t_k in t]) for s in (1.0, -1.0)
        )
        return slopes(self.at({}), right, left, t[:, None], t[:, None], self.eps)

    def of_elements(self, place: int) -> Slopes:
        """The derivative of every result by the one element of an argument that it was made from."""
        x = np.asarray(self.inputs[place])
        h = steps(x.reshape(-1))
        right, left = (np.array([self.at({place: s * h_k.reshape(x.shape)}) for h_k in h]) for s in (1.0, -1.0))
        here = np.array(np.broadcast_to(x, self.shape)).reshape(-1)
        h = np.array([np.broadcast_to(h_k.reshape(x.shape), self.shape).reshape(-1) for h_k in h])
        return slopes(self.at({}), right, left, (here + h) - here, here - (here - h), self.eps)


def like(x: Any, moved: Any) -> Any:
    return float(moved) if type(x) is float else np.asarray(moved)


def sharp(x: Any) -> Any:
    """An argument at float64: a variable of its own for a node."""
    if isinstance(x, Value):
        return Value(float(x._data))
    if isinstance(x, Node):
        return Tensor(np.array(x._data, dtype=float))
    return x.astype(float) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x


def data_of(args: Sequence[Any]) -> tuple[Any, ...]:
    return tuple([arg._data if isinstance(arg, Node) else arg for arg in args])


def twin(node: Node, args: tuple[Any, ...] | None = None) -> Node:
    """The same operation at float64."""
    op: Any = node.op
    args = tuple(map(sharp, node.args)) if args is None else args
    params = renewed(node.params)
    result: Node = born(computed(op, data_of(args), params), op, args, params)
    return result


def renewed(params: Any) -> dict[str, Any]:
    """Parameters for another run: what a forward keeps for its rule is not theirs."""
    return {name: {} if name.startswith("_") else x for name, x in params.items()}


def computed(op: Op, inputs: Sequence[Any], params: Any) -> Any:
    try:
        return op.forward(*inputs, **params)
    except FAILURES as error:
        return op.recover(error, inputs, params)


def checked(
    node: Node, g: Any, row: Row, names: dict[Node, str], order: int, sample: int | None, seed: int
) -> Iterator[Row]:
    """All rows about the operation that a node is the result of; `g` is the cotangent that reached it."""
    rng = np.random.default_rng(seed)
    if note := stale(node):
        yield replace(row, verdict=WRONG, note=note)
        return
    dead = None if g is None else np.asarray(g) == 0
    inputs = {i: names[arg] for i, arg in enumerate(node.args) if isinstance(arg, Node)}
    for found in compared(of_node(node), row, inputs, dead, sample, rng):
        yield at_own_precision(node, found, rng)
    for place in inputs if order == 2 else ():
        rule = of_rule(node, place, rng)
        if rule is not None:
            shifted = {0: "g", **{i + 1: name for i, name in inputs.items()}}
            about = replace(row, order=2, note=f"the rule of argument {place}, differentiated")
            for found in compared(rule, about, shifted, dead, sample, rng):
                yield replace(found, argument=place)


def stale(node: Node) -> str:
    """Why the graph is not what was computed, if so."""
    changed = [arg for arg in node.args if isinstance(arg, Node) and arg.birth > node.birth]
    if changed:
        return f"{changed[0].name or 'an argument'} was given new data after this was computed from it"
    again = [np.asarray(computed(node.op, node.inputs, renewed(node.params))) for _ in range(2)]  # type: ignore[arg-type]
    recorded = np.asarray(node._data)
    if not np.array_equal(again[0], again[1], equal_nan=True) or same_numbers(
        again[0], recorded, float(precision(node).eps)
    ):
        return ""
    return "computed again, it is not what was recorded: data was written to in place"


def same_numbers(a: Any, b: Any, eps: float) -> bool:
    """Whether two computations of the same thing agree."""
    if a.shape != b.shape or not np.array_equal(np.isfinite(a), np.isfinite(b)):
        return False
    finite = np.isfinite(a)
    a, b = a[finite].astype(float), b[finite].astype(float)
    return bool(np.max(np.abs(a - b), initial=0.0) <= 2.0**10 * eps * np.max(np.abs(b), initial=0.0))


def at_own_precision(node: Node, row: Row, rng: Any) -> Row:
    """The row, unless the rule does worse on the data as it is."""
    weights = rng.choice(SIXTEENTHS, np.shape(node._data))
    if row.verdict not in ACCEPTED or row.argument is None:
        return row
    arg: Any = node.args[row.argument]
    if np.asarray(arg._data).dtype.kind != "f" or np.asarray(node._data).dtype.kind != "f":
        return row
    before = [np.array(x) for x in (*node.inputs, node._data)]
    mine, exact = pulled(node, weights)[row.argument], pulled(twin(node), weights)[row.argument]
    if not all(np.array_equal(x, y, equal_nan=True) for x, y in zip(before, (*node.inputs, node._data), strict=True)):
        return replace(row, verdict=WRONG, note="its rule writes into what it was given")
    if mine is None:
        return row
    if not np.array_equal(np.isfinite(mine), np.isfinite(exact)):
        return replace(row, verdict=NOT_FINITE, note=f"in {np.asarray(node._data).dtype}, not in float64")
    eps = max(float(precision(x).eps) for x in (node, arg))
    mine, exact = (np.nan_to_num(x, posinf=0.0, neginf=0.0) for x in (mine, exact))
    difference = np.max(np.abs(mine - exact), initial=0.0)
    coarse = eps * np.nansum(np.abs(weights * node._data)) / np.max(np.abs(arg._data), initial=1.0)  # y was rounded
    if difference <= SLACK * (np.sqrt(eps) * np.max(np.abs(exact), initial=0.0) + coarse + float(precision(node).tiny)):
        return row
    return replace(row, verdict=WRONG, note=f"differs by {difference:.3g} from its rule at float64")


def of_node(node: Node) -> Operation:
    """The operation that a node is the result of, with its own rules."""
    op: Any = node.op
    result = twin(node)
    return Operation(
        data_of(result.args),
        tuple([i for i, arg in enumerate(result.args) if isinstance(arg, Node)]),
        lambda xs: computed(op, xs, renewed(node.params)),
        lambda weights: pulled(result, weights),
        np.shape(result._data),
        float(precision(result).eps),
        op.elementwise,
    )


def pulled(node: Node, weights: Array) -> dict[int, Any]:
    """What the rules make of a cotangent, as it reaches the arguments."""
    op: Any = node.op
    found = op.pull(node.args, node.seed(weights), node._data, node.params)
    return {
        i: None if d is None else np.array(arg.fit(d), dtype=float)
        for i, (arg, d) in enumerate(zip(node.args, found, strict=True))
        if isinstance(arg, Node)
    }


def of_rule(node: Node, place: int, rng: np.random.Generator) -> Operation | None:
    """The rule of one argument as an operation of its own, of the cotangent and of the inputs; None if it is none."""
    op: Any = node.op
    result = twin(node)
    args = result.args
    if np.asarray(result._data).dtype != np.float64:
        return None
    g = fresh_with(result, rng.choice(SIXTEENTHS, np.shape(result._data)))
    d = op.pull(args, g, result, result.params)[place]
    if d is None:
        return None

    def forward(inputs: Sequence[Any]) -> Any:
        g_data, *moved = inputs
        variables = [fresh_with(arg, x) if isinstance(arg, Node) else arg for arg, x in zip(args, moved, strict=True)]
        kept = renewed(node.params)
        return op.pull(variables, g_data, as_result(computed(op, moved, kept), result), kept)[place]

    def pull(weights: Array) -> dict[int, Any]:
        found = cotangents(d, d.seed(weights)) if isinstance(d, Node) else {}
        variables = {i: x for i, x in enumerate((g, *args)) if isinstance(x, Node)}
        return {i: np.asarray(found[x] if x in found else zeros(x)) for i, x in variables.items()}

    shape = np.shape(d._data if isinstance(d, Node) else d)
    inputs = (g._data, *data_of(args))
    places = (0, *[i + 1 for i, arg in enumerate(args) if isinstance(arg, Node)])
    return Operation(inputs, places, forward, pull, shape, EPS, op.elementwise and shape == np.shape(result._data))


def fresh_with(node: Node, data: Any) -> Node:
    return Value(float(data)) if isinstance(node, Value) else Tensor(data)


def as_result(y: Any, result: Node) -> Any:
    """A result as the walk would show it to a rule."""
    return float(y) if isinstance(result, Value) else y


def compared(
    operation: Operation, row: Row, names: dict[int, str], dead: Any, sample: int | None, rng: Any
) -> Iterator[Row]:
    """One row for each variable among the inputs, or for a group of them while all in it are accepted."""
    size = int(np.prod(operation.shape))
    seeds = [rng.choice(SIXTEENTHS, operation.shape) for _ in range(RANDOM)]
    if not operation.elementwise and size > 1:
        seeds += [unit(operation.shape, i) for i in some(size, sample, rng)]
    try:
        answers = [operation.pull(seed) for seed in seeds]
    except CALLED_OFF as error:
        nan = float("nan")
        yield replace(row, autograd=nan, verdict=WRONG, note=f"its rule raised {type(error).__name__}: {error}")
        return
    places = operation.places
    groups = [[place] for place in places] if len(places) <= GROUPS else np.array_split(places, GROUPS)
    for group in groups:
        group = [int(place) for place in group]
        found = of_group(operation, group, seeds, answers, row, names, dead, sample, rng)
        if len(group) > 1 and found.verdict not in ACCEPTED:
            for place in group:
                yield of_group(operation, [place], seeds, answers, row, names, dead, sample, rng)
        else:
            yield found


def of_group(
    operation: Operation,
    group: list[int],
    seeds: list[Array],
    answers: list[dict[int, Any]],
    row: Row,
    names: dict[int, str],
    dead: Any,
    sample: int | None,
    rng: Any,
) -> Row:
    """The comparisons of some of the inputs, in one row: the one that says most."""
    row = replace(row, argument=group[0], input=names[group[0]])
    if len(group) > 1:
        row = replace(row, input=f"{names[group[0]]} … {names[group[-1]]}", note=f"{len(group)} arguments together")
    if operation.elementwise and len(group) == 1:
        parts = by_element(operation, group[0], seeds, answers)
    else:
        parts = list(by_direction(operation, group, seeds, answers, sample, rng))
    zero_rule = all(answers[0][place] is None for place in group)
    return summed_up(row, parts, zero_rule, dead)


@dataclass(frozen=True, slots=True)
class Compared:
    """Numbers by the rule beside numeric ones, in columns: what a verdict is made of."""

    autograd: Array
    numeric: Array
    error: Array
    low: Array
    high: Array
    left: Array
    right: Array
    kink: NDArray[np.bool]
    size: Array  # the slope of what changes by all it is
    terms: Array  # the sum of the sizes of what the rule's number is the sum of
    unit: Array  # what to divide by for the derivative itself
    shape: tuple[int, ...] | None = None  # of the argument, if these are its elements

    def tolerance(self) -> Array:
        return self.error + ROUNDING * self.terms

    def verdicts(self) -> NDArray[Any]:
        tolerance = self.tolerance()
        inside = (self.autograd >= self.low - tolerance) & (self.autograd <= self.high + tolerance)
        largest = np.maximum(np.abs(self.autograd), np.abs(self.numeric))
        vague = tolerance > TELLING * np.where(self.autograd == 0, np.maximum(largest, self.size), largest)
        finite = np.isfinite(self.autograd) & (np.isfinite(self.numeric) | self.kink)
        return np.select(
            [~finite, ~inside, self.kink, vague],
            [NOT_FINITE, WRONG, KINK, NOISY],
            RIGHT,
        )


def by_element(operation: Operation, place: int, seeds: list[Array], answers: list[dict[int, Any]]) -> list[Compared]:
    """Every element of an argument of an element-wise operation, under every seed."""
    found = operation.of_elements(place)
    return [
        elements(operation, place, found, seed.reshape(-1), answer[place])
        for seed, answer in zip(seeds, answers, strict=True)
    ]


def elements(operation: Operation, place: int, found: Slopes, g: Array, d: Any) -> Compared:
    shape = np.shape(operation.inputs[place])

    def gathered(x: NDArray[Any]) -> Array:
        return summed_to(x.reshape(operation.shape), shape).reshape(-1)

    left, right = g * found.left, g * found.right
    return Compared(
        np.zeros(shape).reshape(-1) if d is None else d.reshape(-1),
        gathered(g * found.value),
        gathered(np.abs(g) * found.error),
        gathered(np.minimum(left, right)),
        gathered(np.maximum(left, right)),
        gathered(left),
        gathered(right),
        gathered(found.kink) > 0,
        gathered(np.abs(g) * found.size),
        gathered(np.abs(g * np.nan_to_num(found.value))),
        g if shape == operation.shape else np.ones(int(np.prod(shape))),
        shape,
    )


def summed_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which something of this shape was repeated."""
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    result: Array = x.sum(axis=repeated, keepdims=True)
    return result


def by_direction(
    operation: Operation,
    group: list[int],
    seeds: list[Array],
    answers: list[dict[int, Any]],
    sample: int | None,
    rng: Any,
) -> Iterator[Compared]:
    """Along random directions of some inputs together, then of single elements, under every seed."""
    xs = {place: np.asarray(operation.inputs[place]) for place in group}
    count = sum(x.size for x in xs.values())
    if not count:
        return
    for v, t in directions(xs, rng) if count > 1 else ():
        yield contracted(operation.along(v, t), v, seeds, answers)
    for i in some(count, sample, rng):
        v, x = single(xs, i)
        yield contracted(operation.along(v, steps(np.array([x]))[:, 0]), v, seeds, answers)


def directions(
    xs: dict[int, Array], rng: Any, kinds: Sequence[bool] = (True, False)
) -> Iterator[tuple[dict[int, Array], Array]]:
    """Random directions and steps: such as move every element in proportion to its size, and such as move all alike, as far
    as one step can suit them all."""
    largest = max((float(np.max(np.abs(x), initial=0.0)) for x in xs.values()), default=0.0)
    if not np.isfinite(largest):
        largest = 1.0
    t = steps(np.array([largest]))[:, 0]
    whole = power_of_two(np.array(largest)) if largest else np.array(1.0)
    for _ in range(RANDOM):
        for relative in kinds:
            v = {}
            for place, x in xs.items():
                sizes = np.where((x != 0) & np.isfinite(x), power_of_two(x), np.minimum(whole, 1.0)) / whole
                v[place] = rng.choice(SIXTEENTHS, x.shape) * (sizes if relative else np.minimum(1.0, ALIKE * sizes))
            yield v, t


def power_of_two(x: Array) -> Array:
    """The largest one not above |x|."""
    result: Array = np.ldexp(1.0, np.frexp(x)[1] - 1)
    return result


def single(xs: dict[int, Array], i: int) -> tuple[dict[int, Array], float]:
    """The direction of one element, counted through all, and where it is."""
    for place, x in xs.items():
        if i < x.size:
            return {place: unit(x.shape, i)}, float(x.reshape(-1)[i])
        i -= x.size
    raise IndexError(i)


def unit(shape: tuple[int, ...], i: int) -> Array:
    v = np.zeros(shape)
    v.reshape(-1)[i] = 1.0
    return v


def some(count: int, sample: int | None, rng: Any) -> list[int]:
    """All places, or so many at random."""
    if sample is None or count <= sample:
        return list(range(count))
    return sorted(rng.choice(count, sample, replace=False).tolist())


def contracted(found: Slopes, v: dict[int, Array], seeds: list[Array], answers: list[dict[int, Any]]) -> Compared:
    """The slopes of all results along a direction, under each seed."""
    g = np.array([seed.reshape(-1) for seed in seeds])

    def under_seeds(values: Array) -> Array:
        sums: Array = np.sum(np.where(g == 0, 0.0, values), axis=1)
        return sums

    left, right = g * found.left, g * found.right
    products = [[d * v_i for i, v_i in v.items() if (d := answer[i]) is not None] for answer in answers]
    return Compared(
        np.array([sum((float(np.sum(p)) for p in parts), 0.0) for parts in products]),
        under_seeds(g * found.value),
        under_seeds(np.abs(g) * found.error),
        under_seeds(np.minimum(left, right)),
        under_seeds(np.maximum(left, right)),
        under_seeds(left),
        under_seeds(right),
        np.any(found.kink & (g != 0), axis=1),
        under_seeds(np.abs(g) * found.size),
        np.array([sum((float(np.sum(np.abs(p))) for p in parts), 0.0) for parts in products]),
        g[:, 0] if g.shape[1] == 1 else np.ones(len(g)),
    )


def summed_up(row: Row, parts: list[Compared], zero_rule: bool, dead: Any) -> Row:
    """The comparison that says most, as a row: the worst, or if all are accepted, the one that differs most."""
    chosen = None
    for part in parts:
        verdicts = part.verdicts()
        if dead is not None:  # what is not finite there reaches nobody
            unseen = dead.reshape(-1) if dead.shape == part.shape else np.all(dead)
            verdicts = np.where((verdicts == NOT_FINITE) & unseen, RIGHT, verdicts)
        if zero_rule:  # the rule promises nothing where there is no slope
            verdicts = np.where(verdicts == WRONG, WRONG, RIGHT)
        if not verdicts.size:
            continue
        tolerance = part.tolerance()
        bad = np.nan_to_num(np.abs(part.autograd - part.numeric) / (tolerance + np.finfo(float).tiny))
        for verdict in np.unique(verdicts):
            i = int(np.argmax(np.where(verdicts == verdict, bad, -1.0)))
            candidate = (rank(str(verdict)), float(-bad[i]), i, part, str(verdict))
            if chosen is None or candidate[:2] < chosen[:2]:
                chosen = candidate
    if chosen is None:
        return replace(row, verdict=RIGHT, note="empty")
    _, _, i, part, verdict = chosen
    unit = float(part.unit[i])
    return replace(
        row,
        index=tuple(map(int, np.unravel_index(i, part.shape))) if part.shape else (),
        autograd=float(part.autograd[i]) / unit + 0.0,  # no -0
        numeric=float(part.numeric[i]) / unit + 0.0,
        error=float(part.error[i]) / abs(unit),
        tolerance=float(part.tolerance()[i]) / abs(unit),
        verdict=verdict,
        left=float(part.left[i]) / unit + 0.0 if part.kink[i] else None,
        right=float(part.right[i]) / unit + 0.0 if part.kink[i] else None,
    )


def rank(verdict: str) -> int:
    """What is right in one place is not too noisy as a whole."""
    return len(WORST_FIRST) if verdict == NOISY else WORST_FIRST.index(verdict)
