"""The comparison of the chain rule with numeric derivatives: of functions, of graphs that exist, of single operations.

Local first: each operation by itself says where a fault is. Then the whole, which also sees what lies between the
operations. No tolerance is a constant: each follows the function, the gradient and the dtype.
"""

from __future__ import annotations

__all__ = ["check", "check_row", "gradcheck"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..context import about_to_change
from ..derivative import leaves, rebuilt
from ..graph import Node, constant_root
from ..guards.blocks import enable_grad
from ..guards.traces import untouched
from ..optional.names import name_of
from ..parameters import HasParameters
from ..plain import constant, describe, require_function
from ..source import record_lines
from .elements import METHODS, chosen, compared, slope_along
from .report import ACCEPTED, BLANK, KINK, NOT_CONNECTED, RIGHT, WRONG, Report, Row
from .tracing import SAMPLE, between, by_operation, culprits_of, labels, said_of, traced
from .variables import variables
from .whole import Whole, end_to_end, said

NODES = 10_000  # of a huge graph, that many are checked by themselves
OF_THE_GRADIENT = "of the gradient, along a random direction"


def gradcheck(
    f: Callable[..., Any],
    *args: Any,
    parameters: Any = None,
    order: int = 1,
    method: str | None = None,
    sample: int | None = None,
    seed: int = 0,
    progress: bool = False,
) -> Report:
    """Compare the gradient of `f(*args)` by the chain rule with a numeric one, element by element.

    Arguments are numbers, arrays, Values, Tensors, and tuples, lists and dicts of them. To check a model, leave them
    out and give `parameters`, the leaves that `f()` uses: the model, a node, or tuples, lists and dicts of them. While it runs
    they hold other data; afterwards, also after an error, their own again, to the bit. `f` may take gradients itself, with
    `grad` and its kin or `gradients(…, create_graph=True)`.

    Where `f` returns more than one number, their sum under fixed random weights is checked, so that each counts.
    `sample` checks that many elements, chosen at random among all; `seed` decides the weights and the choice. `progress`
    shows on stderr how far it is.

    A row is right where the two sides differ by no more than the numeric error estimate and rounding in the dtype
    allow. Data of lower precision than float64 is checked at float64, and the gradient at its own dtype against that.
    At a kink any value between the slopes of both sides is accepted, and said to be a convention. Where the tolerance
    is not far below the gradient, the row is too noisy to tell. What is not finite is reported, not raised.

    `order=2` adds the gradient along a random direction as a function of its own: its rows have `order` 2. `method` says who has the
    last word: "richardson", the real steps; "complex", a complex step on what was recorded, unless real steps contradict it;
    "taylor", the power of the step with which what Taylor's formula leaves falls, where real steps do not contradict that. None: real steps, and the others where these
    do not agree with the rules.

    If a row is wrong, not finite or at a kink, each operation is checked alone. `culprits` names those that fail, with the line of
    your code that called each and, for your own operations, the line of its rule: also rules that raise an error, do not take
    `(g, y, x)`, write into what they were given, or return another shape; and rules that are wrong when they are differentiated
    themselves, where `order` is 2 or `f` takes gradients. At a kink their rows are in the report
    too: rules may share a slope there as they like, but not give it to more than one.

    Raises `TypeError` where `f` does not return real numbers or a parameter is no leaf, `ValueError` where `f` gives
    two results for the same data, `order` or `method` is another, or `sample` or `seed` is no such number.

    >>> import chainrule as cr
    >>> report = cr.gradcheck(lambda x, y: x * cr.sin(y), 2.0, 0.5)
    >>> bool(report), report.summary()
    (True, 'gradcheck: 2 of 2 right')
    >>> cube = cr.custom("cube", lambda x: x**3, lambda g, y, x: 3.0 * g * (x.data if isinstance(x, cr.Value) else x) ** 2)
    >>> report = cr.gradcheck(cube, 2.0, order=2)
    >>> [(row.order, row.verdict) for row in report], [row.operation for row in report.culprits]
    ([(1, 'right'), (2, 'wrong')], ['cube'])
    """
    if (parameters is None) == (not args):
        raise TypeError("gradcheck: give either the arguments of f or parameters=, the leaves that f() uses")
    require_function("gradcheck: f", f)
    if order not in (1, 2):
        raise ValueError(f"gradcheck: order must be 1 or 2, got {order!r}")
    if method is not None and method not in METHODS:
        raise ValueError(f"gradcheck: method must be None or one of {', '.join(METHODS)}, got {method!r}")
    require_number("gradcheck", sample=sample)
    require_seed("gradcheck", seed)
    if parameters is None:
        nodes = variables(args, "gradcheck")
        filled = rebuilt(args, iter(nodes))
        names = paths(args)
    else:
        tree = held_by(parameters)
        nodes, filled, names = list(leaves(tree)), (), paths(tree)
    named = require_leaves("gradcheck", nodes, names)
    with untouched(), np.errstate(all="ignore"):
        for node in nodes:
            about_to_change(node)
        run = partial(f, *filled)
        rows = list(compared(run, named, method, sample, seed, progress))
        if order == 2:
            rows += compared_again(run, named, method, sample, seed, progress)
        report = Report(tuple(rows))
        return report if all(row.verdict == RIGHT for row in rows) else traced(report, run, named, seed, order)


def compared_again(f: Callable[[], Any], named: dict[Node, str], *options: Any) -> list[Row]:
    """The rows of the gradient of `f()` as a function, along a random direction."""
    try:
        rows = list(compared(slope_along(f, list(named)), named, *options))
    except Exception as error:  # what a rule may raise that is given nodes
        rows = [replace(BLANK, input="all", verdict=WRONG, note=said(error))]
    return [replace(row, order=2, note="; ".join(filter(None, [OF_THE_GRADIENT, row.note]))) for row in rows]


def held_by(parameters: Any) -> Any:
    """Leaves with their names, from whatever holds them."""
    if isinstance(parameters, HasParameters):
        return dict(parameters.named_parameters())
    return list(parameters) if isinstance(parameters, Iterator) else parameters


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
    directions of all variables, the whole graph computed again along them. Parameters of modules that were called go by their
    paths, as "0.weight". `parameters` (a model, a node, or tuples, lists and dicts of them) gives other names, and reports those
    that the loss does not reach. With `order=2` the rules themselves are differentiated and compared likewise.

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
    tree = held_by(parameters)
    named = {} if tree is None else require_leaves("check", list(leaves(tree)), paths(tree))
    with np.errstate(all="ignore"), enable_grad():
        whole = Whole(loss, seed)
        names = labels(whole.nodes, named if isinstance(tree, dict) else {}, named)
        apart = [replace(BLANK, input=name, verdict=NOT_CONNECTED) for node, name in named.items() if node not in names]
        local = list(by_operation(whole, names, order, sample, seed, nodes, progress))
        kinked = any(row.verdict == KINK for row in local)
        lines = list(end_to_end(whole, names, kinked, chosen(whole.leaves, elements, seed), progress))
        notes = said_of(culprits_of(whole, [*local, *lines], names))
        if all(row.verdict in ACCEPTED for row in local):
            notes = notes or tuple(between(whole, lines, names))
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
        named.setdefault(node, name_of(node.name, name))
    return named
