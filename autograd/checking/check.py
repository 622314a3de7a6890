"""The comparison of the chain rule with numeric derivatives: of functions, of graphs that exist, of single operations.

Local first: each operation by itself says where a fault is. Then the whole, which also sees what lies between the
operations. No tolerance is a constant: each follows the function, the gradient and the dtype.
"""

from __future__ import annotations

__all__ = ["check", "check_row", "gradcheck"]

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..context import about_to_change
from ..derivative import leaves, rebuilt
from ..graph import Node, constant_root
from ..guards.blocks import enable_grad
from ..guards.traces import untouched
from ..optional.progress import followed
from ..plain import constant, describe, require_function
from ..source import line_of, record_lines, rule_of
from .elements import chosen, compared
from .numbering import numbered
from .operation import kind_of
from .report import ACCEPTED, BLANK, KINK, NOT_CONNECTED, WRONG, Report, Row
from .rules import checked, together
from .variables import variables
from .whole import LINES, Whole, end_to_end

SAMPLE = 8  # elements of an argument that are moved alone
NODES = 10_000  # of a huge graph, that many are checked by themselves
TOGETHER = 256  # operations on numbers that are checked at a time

ALONE = "every operation is right by itself, and the whole is wrong: look between them, at what no operation records"


def gradcheck(
    f: Callable[..., Any],
    *args: Any,
    parameters: Any = None,
    sample: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Compare the gradient of `f(*args)` by the chain rule with a numeric one, element by element.

    Arguments are numbers, arrays, Values, Tensors, and tuples, lists and dicts of them. To check a model, leave them
    out and give `parameters`, the leaves that `f()` uses: a node, or tuples, lists and dicts of them. While it runs
    they hold other data; afterwards, also after an error, their own again, to the bit.

    Where `f` returns more than one number, their sum under fixed random weights is checked, so that each counts.
    `sample` checks that many elements, chosen at random among all; `seed` decides the weights and the choice. `progress`
    shows on stderr how far it is.

    A row is right where the two sides differ by no more than the numeric error estimate and rounding in the dtype
    allow. Data of lower precision than float64 is checked at float64, and the gradient at its own dtype against that.
    At a kink any value between the slopes of both sides is accepted, and said to be a convention. Where the tolerance
    is not far below the gradient, the row is too noisy to tell. What is not finite is reported, not raised.

    If a row is wrong or at a kink, each operation is checked alone. `culprits` names those that fail, with the line of
    your code that called each and, for your own operations, the line of its rule. At a kink their rows are in the report
    too: rules may share a slope there as they like, but not give it to more than one.

    Raises `TypeError` where `f` does not return real numbers or a parameter is no leaf, `ValueError` where `f` gives
    two results for the same data or `sample` or `seed` is no such number.

    >>> import chainrule as cr
    >>> report = cr.gradcheck(lambda x, y: x * cr.sin(y), 2.0, 0.5)
    >>> bool(report), report.summary()
    (True, 'gradcheck: 2 of 2 right')
    """
    if (parameters is None) == (not args):
        raise TypeError("gradcheck: give either the arguments of f or parameters=, the leaves that f() uses")
    require_function("gradcheck: f", f)
    require_number("gradcheck", sample=sample)
    require_seed("gradcheck", seed)
    if parameters is None:
        nodes = variables(args, "gradcheck")
        filled = rebuilt(args, iter(nodes))
        names = paths(args)
    else:
        tree = list(parameters) if isinstance(parameters, Iterator) else parameters
        nodes, filled, names = list(leaves(tree)), (), paths(tree)
    named = require_leaves("gradcheck", nodes, names)
    with untouched(), np.errstate(all="ignore"):
        for node in nodes:
            about_to_change(node)
        report = Report(tuple(compared(lambda: f(*filled), named, sample, seed, progress)))
        return traced(report, lambda: f(*filled), seed) if report.wrong or report.by_verdict(KINK) else report


def traced(report: Report, f: Callable[[], Any], seed: int) -> Report:
    """The report with the operations that the fault comes from."""
    with enable_grad():
        with record_lines():
            y = f()
        rows: Iterable[Row] = ()
        if isinstance(y, Node) and y.args:
            whole = Whole(y, seed)
            rows = by_operation(whole, labels(whole.nodes, {}), seed=seed)
        culprits = tuple(row for row in rows if row.verdict == WRONG)
    if report.wrong:
        return replace(report, culprits=culprits, notes=said_of(culprits) or (ALONE,))
    return replace(report, rows=(*report.rows, *culprits), culprits=culprits, notes=said_of(culprits))


def said_of(culprits: Sequence[Row]) -> tuple[str, ...]:
    return tuple([line for row in culprits[:LINES] for line in row.described()])


def check(
    loss: Any,
    *,
    parameters: Any = None,
    order: int = 1,
    sample: int | None = SAMPLE,
    nodes: int | None = NODES,
    elements: int | None = 0,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Check the graph that `loss` is the result of: every rule by itself at the values that occurred, then the whole.

    Each operation is computed again, alone, on moved data, and the rule of each argument compared with what that does
    to the result: a row names the node (by its number in `visualize.diagram`), the operation and the argument, and if
    the loss was computed inside `record_lines()`, the line of your code that called the operation. Then random
    directions of all variables, the whole graph computed again along them. `parameters` (a node, or tuples, lists and
    dicts of them, as from `dict(model.named_parameters())`) gives names, and reports those that the loss does not
    reach. With `order=2` the rules themselves are differentiated and compared likewise.

    Operations that do not work element by element are moved along random directions and by `sample` single elements of
    each argument; None takes every element. In a huge graph that many `nodes` are checked by themselves, some of every
    operation, and the report says how many were left out; None takes all. Of the variables, that many `elements` are
    also moved alone, end to end; None takes every one. `seed` decides what is drawn. `progress` shows on stderr how far
    it is: a bar where tqdm is installed.

    Raises `TypeError` where `loss` is no node or a parameter no leaf, `ValueError` for another order than 1 or 2, or
    where `sample`, `nodes`, `elements` or `seed` is no such number.

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
    require_number("check", sample=sample, nodes=nodes)
    require_seed("check", seed)
    if elements != 0:
        require_number("check", elements=elements)
    tree = list(parameters) if isinstance(parameters, Iterator) else parameters
    named = {} if tree is None else require_leaves("check", list(leaves(tree)), paths(tree))
    with np.errstate(all="ignore"), enable_grad():
        whole = Whole(loss, seed)
        names = labels(whole.nodes, named)
        apart = [replace(BLANK, input=name, verdict=NOT_CONNECTED) for node, name in named.items() if node not in names]
        local = list(by_operation(whole, names, order, sample, seed, nodes, progress))
        kinked = any(row.verdict == KINK for row in local)
        lines = list(end_to_end(whole, names, kinked, chosen(whole.leaves, elements, seed), progress))
    alone = all(row.verdict in ACCEPTED for row in local) and any(row.verdict == WRONG for row in lines)
    notes = (ALONE,) if alone else said_of([row for row in local if row.verdict == WRONG])
    left_out = max(0, len(whole.nodes) - len(whole.leaves) - nodes) if nodes is not None else 0
    return Report((*local, *apart, *lines), "check", notes, left_out=left_out)


def check_row(operation: Callable[..., Any], *args: Any, order: int = 1, seed: int = 0, **params: Any) -> Report:
    """Check the rules of one operation, yours or one of the library's, at these arguments; see `check`.

    Floats become Values and arrays of floating-point numbers Tensors; integers, booleans and arrays of them stay
    constants. Keyword arguments are the operation's own. With `order=2`, the rules of the rules as well.

    >>> import chainrule as cr
    >>> cube = cr.custom("cube", lambda x: x * x * x, lambda g, y, x: 3.0 * g * x * x)
    >>> cr.check_row(cube, 2.0, order=2).raise_if_wrong()
    """
    require_function("check_row: operation", operation)
    parts = iter([x if is_constant(x) else variables(x, "check_row")[0] for x in leaves(args)])
    with enable_grad(), record_lines():
        y = operation(*rebuilt(args, parts), **params)
    if not isinstance(y, Node):
        raise TypeError(
            f"check_row: the operation returned a constant, {describe(y)}; give it floats or arrays of them"
        )
    return replace(check(y, order=order, sample=None, seed=seed), title="check_row")


def is_constant(x: Any) -> bool:
    return not isinstance(x, Node) and np.asarray(constant(x, "check_row")).dtype.kind != "f"


def require_number(what: str, **numbers: Any) -> None:
    for name, n in numbers.items():
        if n is not None and (not isinstance(n, int) or n < 1):
            raise ValueError(f"{what}: {name} is a number, 1 or more, or None for all, got {describe(n)}")


def require_seed(what: str, seed: Any) -> None:
    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"{what}: seed is a whole number from 0, got {describe(seed)}")


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


def labels(nodes: Sequence[Node], named: dict[Node, str]) -> dict[Node, str]:
    """What a report calls the nodes: by their names, or by their numbers."""
    ids = numbered(nodes)
    return {node: named.get(node) or node.name or f"node {ids[id(node)]}" for node in nodes}


def by_operation(
    whole: Whole,
    names: dict[Node, str],
    order: int = 1,
    sample: int | None = SAMPLE,
    seed: int = 0,
    limit: int | None = None,
    progress: bool = False,
) -> Iterator[Row]:
    """The rows of all operations of a graph, or of so many, each by itself, in the order of computation."""
    ids = numbered(whole.nodes)
    nodes = sampled([node for node in whole.nodes if any(isinstance(arg, Node) for arg in node.args)], limit, seed)
    blanks = {
        node: replace(BLANK, node=ids[id(node)], operation=node.op.name, line=str(line_of(node) or ""))
        for node in nodes
        if node.op is not None
    }
    done = all_alike(nodes, blanks, names, seed) if order == 1 else {}
    for i, node in enumerate(followed(nodes, progress, "check", "nodes")):
        rows = done.get(node) or checked(node, whole.gradient(node), blanks[node], names, order, sample, seed + i)
        for row in rows:
            yield (
                replace(row, rule=str(rule_of(node.op, row.argument) or "")) if node.op and not node.op.listed else row
            )


def all_alike(
    nodes: Sequence[Node], blanks: dict[Node, Row], names: dict[Node, str], seed: int
) -> dict[Node, list[Row]]:
    """The rows of what could be checked many at a time, and was right."""
    kinds: dict[Hashable, list[Node]] = {}
    for node in nodes:
        kinds.setdefault(kind_of(node), []).append(node)
    kinds.pop(None, None)
    parts = [same[i : i + TOGETHER] for same in kinds.values() for i in range(0, len(same), TOGETHER)]
    found: dict[Node, list[Row]] = {}
    for part in parts:
        found |= together(part, [blanks[node] for node in part], names, seed)
    return found


def sampled(nodes: list[Node], limit: int | None, seed: int) -> list[Node]:
    """All nodes, or so many at random, in order; as many of every operation, as far as there are so many."""
    if limit is None or len(nodes) <= limit:
        return nodes
    shuffled = np.random.default_rng(seed).permutation(len(nodes)).tolist()
    turns: Counter[Any] = Counter()
    ranked = []
    for i in shuffled:
        op: Any = nodes[i].op
        turns[op.pull] += 1
        ranked.append((turns[op.pull], i))
    return [nodes[i] for i in sorted(i for _, i in sorted(ranked)[:limit])]
