"""The comparison of the chain rule with numeric derivatives: of functions, of graphs that exist, of single operations.

Local first: each operation by itself says where a fault is. Then the whole, which also sees what lies between the
operations. At float64 both sides are sharp, and they may differ by the numeric side's own error estimate; what the
user's dtype keeps of that may differ by as much as rounding makes it. No tolerance is a constant: each follows the
function, the gradient and the dtype.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, final

import numpy as np

from .derivative import leaves, rebuilt, zeros
from .graph import Node, ancestry, constant_root, cotangents, enable_grad, no_grad, numbered
from .local import (
    CALLED_OFF,
    SIXTEENTHS,
    SLACK,
    Compared,
    checked,
    computed,
    directions,
    like,
    renewed,
    sharp,
    summed_up,
    twin,
)
from .numeric import Array, Estimate, Slopes, data_of, partial, precision, slopes, substituted, variables, widened
from .ops.reduction import norm
from .primitive import constant, describe
from .report import ACCEPTED, KINK, NOISY, NOT_CONNECTED, NOT_FINITE, RIGHT, WRONG, Report, Row

SAMPLE = 8  # elements of an argument that are moved alone
ASIDE = 2.0**-10  # how far beside a kink the whole is checked, relative to each variable
LINES = 8  # directions for a whole graph: one for each variable, or for a group of them
VAGUE = 2.0**-3  # a tolerance beyond this share of a gradient says little of it

ALONE = "every operation is right by itself, and the whole is wrong: look between them, at what no operation records"


def gradcheck(
    f: Callable[..., Any], *args: Any, parameters: Any = None, sample: int | None = None, seed: int = 0
) -> Report:
    """Compare the gradient of `f(*args)` by the chain rule with a numeric one, element by element.

    Arguments are numbers, arrays, Values, Tensors, and tuples, lists and dicts of them. To check a model, leave them
    out and give `parameters`, the leaves that `f()` uses: a node, or tuples, lists and dicts of them. While it runs
    they hold other data; afterwards, also after an error, their own again, to the bit.

    Where `f` returns more than one number, their sum under fixed random weights is checked, so that each counts.
    `sample` checks that many elements, chosen at random among all; `seed` decides the weights and the choice.

    A row is right where the two sides differ by no more than the numeric error estimate and rounding in the dtype
    allow. Data of lower precision than float64 is checked at float64, and the gradient at its own dtype against that.
    At a kink any value between the slopes of both sides is accepted, and said to be a convention. Where the tolerance
    is not far below the gradient, the row is too noisy to tell. What is not finite is reported, not raised.

    Where a row is wrong, each operation of the graph is checked by itself, and the report names the `culprits`.

    Raises `TypeError` where `f` does not return real numbers or a parameter is no leaf, `ValueError` where `f` gives
    two results for the same data or `sample` is no positive number.

    >>> import chainrule as cr
    >>> report = cr.gradcheck(lambda x, y: x * cr.sin(y), 2.0, 0.5)
    >>> bool(report), report.summary()
    (True, 'gradcheck: 2 of 2 right')
    """
    if (parameters is None) == (not args):
        raise TypeError("gradcheck: give either the arguments of f or parameters=, the leaves that f() uses")
    require_sample("gradcheck", sample)
    if parameters is None:
        nodes = variables(args, "gradcheck")
        filled = rebuilt(args, iter(nodes))
        names = paths(args)
    else:
        tree = list(parameters) if isinstance(parameters, Iterator) else parameters
        nodes, filled, names = list(leaves(tree)), (), paths(tree)
    named = require_leaves("gradcheck", nodes, names)
    with np.errstate(all="ignore"):
        report = Report(tuple(compared(lambda: f(*filled), named, sample, seed)))
        return traced(report, lambda: f(*filled), seed) if report.wrong else report


def traced(report: Report, f: Callable[[], Any], seed: int) -> Report:
    """The report with the operations that the fault comes from."""
    with enable_grad():
        y = f()
    rows = by_operation(y, 1, SAMPLE, seed, False) if isinstance(y, Node) and y.args else ()
    culprits = tuple(row for row in rows if row.verdict == WRONG)
    notes = tuple(f"wrong by itself: {described(row)}" for row in culprits[:LINES])
    return replace(report, culprits=culprits, notes=notes or (ALONE,))


def described(row: Row) -> str:
    """What a culprit did, in one line."""
    which = f"node {row.node}, {row.operation}, argument {row.argument}"
    return f"{which}: {row.autograd:.6g}, numeric {row.numeric:.6g}{f' ({row.note})' if row.note else ''}"


def check(
    loss: Any,
    *,
    parameters: Any = None,
    order: int = 1,
    sample: int | None = SAMPLE,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Check the graph that `loss` is the result of: every rule by itself at the values that occurred, then the whole.

    Each operation is computed again, alone, on moved data, and the rule of each argument compared with what that does
    to the result: a row names the node (by its number in `visualize.diagram`), the operation and the argument. Then
    random directions of all variables, the whole graph computed again along them. `parameters` (a node, or tuples,
    lists and dicts of them, as from `dict(model.named_parameters())`) gives names, and reports those that the loss
    does not reach. With `order=2` the rules themselves are differentiated and compared likewise.

    Operations that do not work element by element are moved along random directions and by `sample` single elements of
    each argument; None takes every element. `seed` decides what is drawn; `progress` prints how far it is.

    Raises `TypeError` where `loss` is no node or a parameter no leaf, `ValueError` for another order than 1 or 2.

    >>> import chainrule as cr
    >>> w = cr.Tensor([1.0, -2.0], name="w")
    >>> report = cr.check(cr.sum(cr.tanh(w) * w))
    >>> report.summary()
    'check: 5 of 5 right'
    >>> double = cr.custom("double", lambda x: 2.0 * x, lambda g, y, x: g)
    >>> [(row.node, row.operation, row.argument) for row in cr.check(cr.sum(double(w))).wrong]
    [(2, 'double', 0), (None, '', None)]
    """
    if not isinstance(loss, Node):
        raise TypeError(f"check: expected the Value or Tensor to start from, got {describe(loss)}")
    if loss.op is not None and not loss.args:
        raise constant_root("check", loss)
    if order not in (1, 2):
        raise ValueError(f"check: order must be 1 or 2, got {order!r}")
    require_sample("check", sample)
    tree = list(parameters) if isinstance(parameters, Iterator) else parameters
    named = {} if tree is None else require_leaves("check", list(leaves(tree)), paths(tree))
    with np.errstate(all="ignore"):
        local = list(by_operation(loss, order, sample, seed, progress, named))
        whole = list(end_to_end(loss, named, seed, any(row.verdict == KINK for row in local)))
    alone = all(row.verdict in ACCEPTED for row in local) and any(row.verdict == WRONG for row in whole)
    return Report((*local, *whole), "check", (ALONE,) if alone else ())


def check_row(operation: Callable[..., Any], *args: Any, order: int = 1, seed: int = 0, **params: Any) -> Report:
    """Check the rules of one operation, yours or one of the library's, at these arguments; see `check`.

    Floats become Values and arrays of floating-point numbers Tensors; integers, booleans and arrays of them stay
    constants. Keyword arguments are the operation's own. With `order=2`, the rules of the rules as well.

    >>> import chainrule as cr
    >>> cube = cr.custom("cube", lambda x: x * x * x, lambda g, y, x: 3.0 * g * x * x)
    >>> cr.check_row(cube, 2.0, order=2).raise_if_wrong()
    """
    parts = iter([x if is_constant(x) else variables(x, "check_row")[0] for x in leaves(args)])
    with enable_grad():
        y = operation(*rebuilt(args, parts), **params)
    if not isinstance(y, Node):
        raise TypeError(
            f"check_row: the operation returned a constant, {describe(y)}; give it floats or arrays of them"
        )
    return replace(check(y, order=order, sample=None, seed=seed), title="check_row")


def is_constant(x: Any) -> bool:
    return not isinstance(x, Node) and np.asarray(constant(x, "check_row")).dtype.kind != "f"


def require_sample(name: str, sample: Any) -> None:
    if sample is not None and (not isinstance(sample, int) or sample < 1):
        raise ValueError(f"{name}: sample is a number of elements, 1 or more, got {describe(sample)}")


def paths(tree: Any, prefix: str = "") -> list[str]:
    """A dotted name for each leaf of nested containers, as in a state_dict: "0", "1.weight"."""
    if isinstance(tree, list | tuple):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return [prefix[:-1]]
    return [path for key, part in tree.items() for path in paths(part, f"{prefix}{key}.")]


def require_leaves(what: str, nodes: Sequence[Any], names: Sequence[str]) -> dict[Node, str]:
    """The nodes, each once, with their names."""
    for node in nodes:
        if not isinstance(node, Node) or node.op is not None:
            raise TypeError(f"{what}: parameters must be leaf Values and Tensors, got {describe(node)}")
    named: dict[Node, str] = {}
    for node, name in zip(nodes, names, strict=True):
        named.setdefault(node, node.name or name)
    return named


# Each operation by itself.


def by_operation(
    root: Node, order: int, sample: int | None, seed: int, progress: bool, named: dict[Node, str] | None = None
) -> Iterator[Row]:
    """The rows of all operations that the root is the result of, in the order of computation."""
    nodes = ancestry(root)[::-1]
    ids = numbered(nodes)
    names = labels(nodes, named or {})
    try:
        found = cotangents(root, root.seed(weights_of(np.shape(root._data), seed)))
    except CALLED_OFF:
        found = {}  # what stops the walk, its own row will say
    for i, node in enumerate(nodes):
        if node.op is not None and any(isinstance(arg, Node) for arg in node.args):
            row = Row("", (), math.nan, math.nan, math.nan, math.nan, RIGHT, node=ids[id(node)], operation=node.op.name)
            yield from checked(node, found.get(node), row, names, order, sample, seed + i)
        if progress:
            print(f"\rcheck: {i + 1} of {len(nodes)} nodes", end="", file=sys.stderr, flush=True)
    if progress:
        print(file=sys.stderr)


def labels(nodes: Sequence[Node], named: dict[Node, str]) -> dict[Node, str]:
    """What a report calls the nodes: by their names, or by their numbers."""
    ids = numbered(nodes)
    return {node: named.get(node) or node.name or f"node {ids[id(node)]}" for node in nodes}


# The whole.


def end_to_end(root: Node, named: dict[Node, str], seed: int, kinked: bool) -> Iterator[Row]:
    """The gradient of a whole graph along random directions, at its own dtype and at float64, beside a numeric one."""
    nodes = ancestry(root)[::-1]
    names = labels(nodes, named)
    blank = Row("", (), math.nan, math.nan, math.nan, math.nan, NOT_CONNECTED)
    yield from (replace(blank, input=name) for node, name in named.items() if node not in names)
    weights = weights_of(np.shape(root._data), seed)
    try:
        own = cotangents(root, root.seed(weights))
    except CALLED_OFF as error:
        yield replace(blank, verdict=WRONG, input="all", note=f"{type(error).__name__}: {error}")
        return
    whole = Whole(nodes, weights, None)
    beside = Whole(nodes, weights, np.random.default_rng(seed)) if kinked else None
    rng = np.random.default_rng(seed)
    for group in grouped([node for node in nodes if node.op is None]):
        row = replace(blank, input=names[group[0]], verdict=RIGHT)
        if len(group) > 1:
            row = replace(row, input=f"{names[group[0]]} … {names[group[-1]]}", note=f"{len(group)} variables together")
        found = whole.along(group, own, row, rng)
        if found.verdict == WRONG and beside is not None:  # what conventions add up to may lie between no two slopes
            found = replace(beside.along(group, None, row, rng), note="next to the kink")
        yield found


def grouped(nodes: Sequence[Node]) -> list[list[Node]]:
    """One by one, or neighbours together if they are many."""
    cuts = np.linspace(0, len(nodes), min(len(nodes), LINES) + 1).astype(int).tolist()
    return [list(nodes[i:j]) for i, j in pairwise(cuts)]


@final
class Whole:
    """A graph computed again at float64, at the same point or beside it, with its gradient."""

    def __init__(self, nodes: Sequence[Node], weights: Any, aside: np.random.Generator | None) -> None:
        self.nodes, self.weights = nodes, weights
        self.twins: dict[Node, Node] = {}
        with enable_grad():
            for node in nodes:
                args = tuple([self.twins[arg] if isinstance(arg, Node) else sharp(arg) for arg in node.args])
                self.twins[node] = twin(node, args) if args else sharp(node)
                if node.op is None and aside is not None:
                    self.twins[node]._data = moved_aside(self.twins[node]._data, aside)
        self.root = self.twins[nodes[-1]]
        self.gradients = cotangents(self.root, self.root.seed(weights))
        effects = (rounding_effect(node, g) for node, g in self.gradients.items() if node.op is not None)
        self.noise = SLACK * math.hypot(*effects)

    def along(self, group: Sequence[Node], own: dict[Node, Any] | None, row: Row, rng: np.random.Generator) -> Row:
        """The derivative along one direction of some variables."""
        twins = [self.twins[node] for node in group]
        xs = {i: np.asarray(x._data) for i, x in enumerate(twins)}
        v, t = next(directions(xs, rng, kinds=(True,)))
        if len(group) == 1 and xs[0].ndim == 0:
            v = {0: np.ones(())}
        downstream = self.downstream(set(twins))

        def at(step: float) -> Array:
            return self.value({x: like(x._data, xs[i] + step * v[i]) for i, x in enumerate(twins)}, downstream)

        right, left = (np.array([at(s * step) for step in t]) for s in (1.0, -1.0))
        found = slopes(at(0.0), right, left, t[:, None], t[:, None], float(precision(self.root).eps), self.noise)
        terms = [np.asarray(gradient(self.gradients, x)) * v[i] for i, x in enumerate(twins)]
        rules, size = (sum(float(np.sum(f(term))) for term in terms) for f in (np.asarray, np.abs))
        unreached = all(x not in self.gradients for x in twins)
        row = replace(summed_up(row, [on_a_line(found, rules, size)], unreached, None), index=())
        if own is None:
            return row
        ours = sum(float(np.sum(np.asarray(gradient(own, x), float) * v[i])) for i, x in enumerate(group))
        coarse = max(float(precision(node).eps) for node in (*group, self.nodes[-1]))
        lost = SLACK * (math.sqrt(coarse) * size + coarse / float(np.finfo(float).eps) * float(found.rounding[0]))
        return as_it_is(row, rules, ours, lost)

    def downstream(self, moved: set[Node]) -> list[Node]:
        """What has to be computed again when these move, in order."""
        found = []
        for node in self.nodes:
            x = self.twins[node]
            if x.args and any(isinstance(arg, Node) and arg in moved for arg in x.args):
                moved.add(x)
                found.append(x)
        return found

    def value(self, data: dict[Node, Any], downstream: Sequence[Node]) -> Array:
        """The result where some variables hold other data; NaN outside the domain."""
        for node in downstream:
            op: Any = node.op
            inputs = [data.get(x, x._data) if isinstance(x, Node) else x for x in node.args]
            try:
                data[node] = computed(op, inputs, renewed(node.params))
            except CALLED_OFF:
                return np.array([math.nan])
        return np.array([float(np.sum(data.get(self.root, self.root._data) * self.weights))])


def moved_aside(x: Any, rng: np.random.Generator) -> Any:
    """A little beside, in every element."""
    size = np.where(x == 0, min(float(np.max(np.abs(x), initial=0.0)) or 1.0, 1.0), np.abs(x))
    return like(x, x + rng.choice(SIXTEENTHS, np.shape(x)) * size * ASIDE)


def on_a_line(found: Slopes, rules: float, size: float) -> Compared:
    low, high = np.minimum(found.left, found.right), np.maximum(found.left, found.right)
    return Compared(
        np.array([rules]), found.value, found.error, low, high, found.left, found.right, found.kink, found.size,
        np.array([size]), np.ones(1),
    )  # fmt: skip


def as_it_is(row: Row, rules: float, ours: float, lost: float) -> Row:
    """The row, unless the gradient at the dtype of the data is not what the rules give at float64."""
    if not math.isfinite(ours) and math.isfinite(rules):
        return replace(row, autograd=ours, verdict=NOT_FINITE)
    if row.verdict in ACCEPTED and abs(ours - rules) > lost:
        return replace(row, autograd=ours, verdict=WRONG, tolerance=row.tolerance + lost)
    return row


def gradient(found: dict[Node, Any], node: Node) -> Any:
    return found[node] if node in found else zeros(node)


# Functions, element by element.


def compared(f: Callable[[], Any], named: dict[Node, str], sample: int | None, seed: int) -> Iterable[Row]:
    """The rows, in the order of the nodes and their elements."""
    nodes = list(named)

    def value() -> float:
        return contracted(f(), seed)

    def row(node: Node, index: tuple[int, ...]) -> Row:
        by_rule, at_float64 = (float(side.slopes[node][index]) for side in (own, sharp))
        coarse, fine = own.precision[node], sharp.precision[node]
        numeric = partial(value, node, index, float(fine.eps), SLACK * sharp.noise)
        tolerance, verdict = judged(by_rule, at_float64, numeric, coarse, fine)
        left, right = numeric.kink or (None, None)
        return Row(named[node], index, by_rule, numeric.value, numeric.error, tolerance, verdict, left, right)

    own = by_chain_rule(f, nodes, seed)
    with substituted(nodes, widened(nodes)):
        sharp = by_chain_rule(f, nodes, seed)
        with no_grad():
            if not np.array_equal(value(), sharp.value, equal_nan=True):
                raise ValueError(
                    "gradcheck: f gave two results for the same data, so there is no derivative to check; "
                    "switch off what draws random numbers (model.eval(), say)"
                )
            return [row(node, index) for node, index in chosen(nodes, sample, seed)]


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


def by_chain_rule(f: Callable[[], Any], nodes: Sequence[Node], seed: int) -> Side:
    with enable_grad():
        y = f()
        value = contracted(y, seed)
        weights = weights_of(np.shape(data_of(y, "gradcheck")), seed)
        found = cotangents(y, y.seed(weights)) if isinstance(y, Node) else {}
    of_result = precision(y)
    return Side(
        value,
        math.hypot(*(rounding_effect(node, g) for node, g in found.items() if node.op is not None)),
        {node: np.asarray(gradient(found, node)) for node in nodes},
        {node: max(of_result, precision(node), key=lambda info: float(info.eps)) for node in nodes},
    )


def rounding_effect(node: Node, g: Any) -> float:
    """How far rounding of one intermediate result may have moved the value."""
    effects = np.nan_to_num(g * node._data, nan=0.0, posinf=0.0, neginf=0.0)  # g is 0 in a branch not taken, so 0 * inf
    return float(precision(node).eps) * float(norm(effects))


def contracted(y: Any, seed: int) -> float:
    """The sum of all results under the weights: one number to differentiate."""
    data = data_of(y, "gradcheck")
    return float(np.sum(data * weights_of(np.shape(data), seed)))


def weights_of(shape: tuple[int, ...], seed: int) -> Any:
    """1 for a number; for an array random weights of either sign, that float16 holds exactly."""
    if shape == ():
        return 1.0
    return np.random.default_rng(seed).choice(SIXTEENTHS, shape)


def chosen(nodes: Sequence[Node], sample: int | None, seed: int) -> list[tuple[Node, tuple[int, ...]]]:
    """All elements, or so many at random, in order."""
    places = [(node, index) for node in nodes for index in np.ndindex(np.shape(node._data))]
    if sample is None or sample >= len(places):
        return places
    return [places[i] for i in sorted(np.random.default_rng(seed).choice(len(places), sample, replace=False))]


def judged(
    own: float, sharp: float, numeric: Estimate, coarse: np.finfo[Any], fine: np.finfo[Any]
) -> tuple[float, str]:
    """By how much the gradient may differ from the numeric one, and the verdict."""
    if not (math.isfinite(own) and math.isfinite(sharp) and (numeric.kink or math.isfinite(numeric.value))):
        return math.nan, NOT_FINITE
    size = abs(sharp if numeric.kink else numeric.value)
    allowed = numeric.error + math.cbrt(fine.eps) * size  # what plain central differences attain
    low, high = sorted(numeric.kink or (numeric.value, numeric.value))
    lost = 0.0
    if coarse.eps > fine.eps:
        rounding = float(coarse.eps / fine.eps) * numeric.rounding
        lost = SLACK * (math.sqrt(coarse.eps) * abs(sharp) + rounding + float(coarse.smallest_subnormal))
    if not (low - allowed <= sharp <= high + allowed and abs(own - sharp) <= lost):
        return allowed + lost, WRONG
    if numeric.kink:
        return allowed + lost, KINK
    return allowed + lost, NOISY if sharp and allowed > VAGUE * max(abs(sharp), size) else RIGHT
