"""The comparison: gradients found by the chain rule beside numeric ones, element by element.

Two questions are kept apart. Are the rules right? At float64 both sides are sharp, and they may differ by the numeric
side's own error estimate. Does the user's dtype keep what the rules say? There the difference may be as large as
rounding makes it. No tolerance is a constant: each follows the function, the gradient and the dtype.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, final

import numpy as np

from .derivative import leaves, rebuilt, zeros
from .graph import Node, cotangents, enable_grad, no_grad
from .numeric import Array, Estimate, data_of, partial, precision, substituted, variables, widened
from .ops.reduction import norm
from .primitive import describe

RIGHT, WRONG, NOT_FINITE = "right", "wrong", "not finite"
SLACK = 4.0  # how many times the usual rounding error a correct gradient may have
SHOWN = 20  # rows that a printed report shows at most


@final
@dataclass(frozen=True, slots=True)
class Row:
    """One element: where it is, its gradient by either way, by how much they may differ, and the verdict.

    `error` is the error estimate of the numeric gradient, `tolerance` that and what rounding allows the other side.
    """

    input: str
    index: tuple[int, ...]
    autograd: float
    numeric: float
    error: float
    tolerance: float
    verdict: str

    @property
    def relative_error(self) -> float:
        """The difference relative to the larger of both."""
        largest = max(abs(self.autograd), abs(self.numeric))
        return abs(self.autograd - self.numeric) / largest if largest else 0.0

    @property
    def badness(self) -> float:
        """What the table is sorted by: the difference in tolerances; infinite where there is none to speak of."""
        difference = abs(self.autograd - self.numeric)
        if math.isnan(difference):
            return math.inf
        return difference / self.tolerance if self.tolerance else math.inf if difference else 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"index": list(self.index), "relative_error": self.relative_error}


HEADINGS = ("input", "index", "autograd", "numeric", "error estimate", "relative error", "verdict")


@final
@dataclass(frozen=True, slots=True)
class Report:
    """The rows of a comparison: true when all are right. Printed, it is a table, the worst first."""

    rows: tuple[Row, ...]

    def __bool__(self) -> bool:
        return all(row.verdict == RIGHT for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain dicts, lists, numbers and strings."""
        return {"right": bool(self), "rows": [row.to_dict() for row in self.rows]}

    def worst_first(self) -> list[Row]:
        return sorted(self.rows, key=lambda row: (row.verdict == RIGHT, -row.badness))

    def summary(self) -> str:
        counts = Counter(row.verdict for row in self.rows)
        others = "".join(f", {counts[verdict]} {verdict}" for verdict in (WRONG, NOT_FINITE) if counts[verdict])
        return f"gradcheck: {counts[RIGHT]} of {len(self)} right{others}"

    def cells(self) -> list[tuple[str, ...]]:
        """The rows to be shown, as text."""
        return [
            (
                row.input,
                ", ".join(map(str, row.index)),
                f"{row.autograd:.9g}",
                f"{row.numeric:.9g}",
                f"{row.error:.1e}",
                f"{row.relative_error:.1e}",
                row.verdict,
            )
            for row in self.worst_first()[:SHOWN]
        ]

    def more(self) -> str:
        return f"… and {len(self) - SHOWN} more, none worse" if len(self) > SHOWN else ""

    def __str__(self) -> str:
        cells = [HEADINGS, *self.cells()]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(aligned, line, widths, HEADINGS)).rstrip() for line in cells]
        return "\n".join(filter(None, [self.summary(), *(lines if self.rows else []), self.more()]))

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
        body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in line)}</tr>" for line in self.cells())
        return f"<p>{self.summary()}</p><table><tr>{head}</tr>{body}</table><p>{self.more()}</p>"


def aligned(cell: str, width: int, heading: str) -> str:
    return cell.ljust(width) if heading in ("input", "index", "verdict") else cell.rjust(width)


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
    A gradient that is not finite on either side is reported, not raised. At a kink the numeric side sees the mean of
    both slopes.

    Where the error estimate is as large as the gradient, the function says no more: such a row is right as far as one
    can tell.

    Raises `TypeError` where `f` does not return real numbers or a parameter is no leaf, `ValueError` where `f` gives
    two results for the same data or `sample` is no positive number.

    >>> import chainrule as cr
    >>> report = cr.gradcheck(lambda x, y: x * cr.sin(y), 2.0, 0.5)
    >>> bool(report), report.summary()
    (True, 'gradcheck: 2 of 2 right')
    """
    if (parameters is None) == (not args):
        raise TypeError("gradcheck: give either the arguments of f or parameters=, the leaves that f() uses")
    if sample is not None and (not isinstance(sample, int) or sample < 1):
        raise ValueError(f"gradcheck: sample is a number of elements, 1 or more, got {describe(sample)}")
    if parameters is None:
        nodes = variables(args, "gradcheck")
        filled = rebuilt(args, iter(nodes))
        names = paths(args)
    else:
        tree = list(parameters) if isinstance(parameters, Iterator) else parameters
        nodes, filled, names = list(leaves(tree)), (), paths(tree)
    named = require_leaves(nodes, names)
    with np.errstate(all="ignore"):
        return Report(tuple(compared(lambda: f(*filled), named, sample, seed)))


def paths(tree: Any, prefix: str = "") -> list[str]:
    """A dotted name for each leaf of nested containers, as in a state_dict: "0", "1.weight"."""
    if isinstance(tree, list | tuple):
        tree = dict(enumerate(tree))
    if not isinstance(tree, dict):
        return [prefix[:-1]]
    return [path for key, part in tree.items() for path in paths(part, f"{prefix}{key}.")]


def require_leaves(nodes: Sequence[Any], names: Sequence[str]) -> dict[Node, str]:
    """The nodes, each once, with their names."""
    for node in nodes:
        if not isinstance(node, Node) or node.op is not None:
            raise TypeError(f"gradcheck: parameters must be leaf Values and Tensors, got {describe(node)}")
    named: dict[Node, str] = {}
    for node, name in zip(nodes, names, strict=True):
        named.setdefault(node, node.name or name)
    return named


def compared(f: Callable[[], Any], named: dict[Node, str], sample: int | None, seed: int) -> list[Row]:
    """The rows, in the order of the nodes and their elements."""
    nodes = list(named)

    def value() -> float:
        return contracted(f(), seed)

    def row(node: Node, index: tuple[int, ...]) -> Row:
        by_rule, at_float64 = (float(side.slopes[node][index]) for side in (own, sharp))
        coarse, fine = own.precision[node], sharp.precision[node]
        numeric = partial(value, node, index, float(fine.eps), SLACK * sharp.noise)
        tolerance, verdict = judged(by_rule, at_float64, numeric, coarse, fine)
        return Row(named[node], index, by_rule, numeric.value, numeric.error, tolerance, verdict)

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
        {node: np.asarray(found[node] if node in found else zeros(node)) for node in nodes},
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
    sixteenths = np.r_[-24:-7, 8:25]
    return np.random.default_rng(seed).choice(sixteenths, shape) / 16


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
    if not all(map(math.isfinite, (own, sharp, numeric.value))):
        return math.nan, NOT_FINITE
    allowed = numeric.error + math.cbrt(fine.eps) * abs(numeric.value)  # what plain central differences attain
    lost = 0.0
    if coarse.eps > fine.eps:
        rounding = float(coarse.eps / fine.eps) * numeric.rounding
        lost = SLACK * (math.sqrt(coarse.eps) * abs(sharp) + rounding + float(coarse.smallest_subnormal))
    right = abs(sharp - numeric.value) <= allowed and abs(own - sharp) <= lost
    return allowed + lost, RIGHT if right else WRONG
