"""A row of the table, and the constructors that turn it into a plain function.

A row is a name, a forward and one rule for each argument. A rule reads `(g, y, *inputs, **params)`: the cotangent of
the result, the result, what it was made from. It uses only operators and other rows, so the same rule runs on floats,
on arrays and on nodes: first order, higher orders, drawing and checking all come from the one row.
"""

from __future__ import annotations

__all__ = ["Op", "custom"]

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np

from .context import births, blocks, here, next_birth
from .graph import FLOATS, NO_PARAMS, Node
from .guards.answers import answering
from .guards.seals import handed, is_view_of, on_locked, renew, seals_of
from .guards.selection import Selection
from .guards.settings import PLAIN, USUAL, setting
from .guards.underflow import underflowed, underflowing
from .plain import FAILURES, NUMBERS, Saved, constant, describe, ieee, require_function

if TYPE_CHECKING:
    from .typing import Binary, Unary

Rule: TypeAlias = Callable[..., Any]  # (g, y, *inputs, **params) -> the cotangent of one argument
Forward: TypeAlias = Callable[..., Any] | tuple[Callable[..., Any], Callable[..., Any]]
Row: TypeAlias = Callable[..., Any]  # a row as users call it: a plain function
Function = TypeVar("Function", bound=Callable[..., Any])

kinds: dict[type, type[Node]] = {}  # the type of a result's data chooses its kind of node
table: dict[str, Callable[..., Any]] = {}  # every row that comes with the library, by name

new: Callable[[type[Node]], Node] = object.__new__


class Op:
    """What an operation is: how to compute it and how to pull a cotangent back through it."""

    __slots__ = (
        "branches", "elementwise", "fits", "forward", "forwards", "listed", "name", "pull", "reach", "reads", "rules",
        "selects", "sums", "symbol",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        forward: Callable[..., Any],
        rules: Sequence[Rule | None],
        pull: Callable[..., Sequence[Any]],
        symbol: str | None = None,
        elementwise: bool = False,
        fits: str | None = None,
        forwards: tuple[Callable[..., Any], Callable[..., Any]] | None = None,
    ) -> None:
        self.name, self.forward, self.rules, self.symbol = name, forward, tuple(rules), symbol or name
        # (args, g, y, params) -> one cotangent for each argument, None where there is none. The rules are shown the
        # arguments themselves if `y` is a node, else their data.
        self.pull = pull
        self.elementwise = elementwise
        self.fits = fits  # whether what its rules return does: FLOATS, where cotangents are Python floats; ALWAYS; None
        # (args, y, params) -> for each argument, where it was chosen, None: everywhere; not set of an operation that does not
        # select. `branches`: also where it is recorded, to run on other data.
        self.selects: Callable[..., Sequence[Any]] | None = None
        self.branches = False
        # (alive, place, args, y, params) -> positive where an argument has a share in what is alive of the result; None: each
        # element in each. Element by element there is nothing to find out.
        self.reach: Callable[..., Any] | None = None
        self.sums = False  # whether it adds up products: then what is dead has to be left out of them
        self.reads: Collection[int] | None = None  # the places of arguments whose data its rules read; None: of all
        self.forwards = forwards  # what `forward` chooses from: one for numbers, one for arrays
        self.listed = False  # whether it comes with the library

    def __repr__(self) -> str:
        return f"<op {self.name}>"

    def __copy__(self) -> Op:
        return self

    def __deepcopy__(self, memo: object) -> Op:
        return self

    def recover(self, error: Exception, inputs: Sequence[Any], params: Mapping[str, Any] = NO_PARAMS) -> Any:
        """After the forward raised: the IEEE 754 result of plain numbers, and of what underflows; else an error that names it all."""
        numbers = isinstance(error, (ArithmeticError, ValueError)) and all(type(x) in NUMBERS for x in inputs)
        if numbers or underflowed(error):
            try:
                return (ieee if numbers else underflowing)(self.forward, *inputs, **params)
            except FAILURES as again:
                error = again.with_traceback(None)  # which would lead back here, in a circle
        shapes = [f"{np.shape(x)}" for x in inputs if hasattr(x, "shape")]
        given = f"arguments of shapes {' and '.join(shapes)}" if shapes else "its arguments"
        kind = next((k for k in (IndexError, ValueError, TypeError) if isinstance(error, k)), RuntimeError)
        raise kind(f"{self.name}: cannot be computed from {given}: {error}") from error

    @staticmethod
    def selection(met: Selection | None, is_nan: bool) -> Selection:
        """Of a walk that has met an operation that selects, with a cotangent that is NaN or not."""
        selection = Selection(table) if met is None else met
        selection.dropped = selection.dropped or is_nan
        return selection


def shown(args: Sequence[Any], y: Any) -> Sequence[Any]:
    """The arguments as a rule is to see them: the nodes themselves if the result is shown as one, else their data."""
    return args if isinstance(y, Node) else [arg._raw if isinstance(arg, Node) else arg for arg in args]


def same(g: Any, y: Any, *inputs: Any) -> Any:
    """The rule of an argument that the result follows one to one."""
    return g


def no_rule(g: Any, y: Any, *inputs: Any, **params: Any) -> None:
    """The rule of an argument that the result does not depend on smoothly."""


def born(data: Any, op: Op, args: tuple[Any, ...], params: Mapping[str, Any], constants: bool = False) -> Any:
    """The node for a fresh result; a constant one where nothing is recorded. `constants`: some arguments are plain arrays."""
    kind = kinds.get(type(data))
    if kind is None:
        kind, data, args = settle(data, op, args)
    if blocks and (token := here()) is not None:
        if (watcher := token.watcher) is not None:
            op, kind = watcher.made(data, op, args, params), watcher.kinds.get(kind, kind)
            constants = constants and not watcher.repeats  # what is recorded looks after its constants itself
        if not token.records:
            is_view = type(data) is np.ndarray and data.base is not None
            if is_view and any(isinstance(arg, Node) and arg.op is None and is_view_of(data, arg._raw) for arg in args):
                data = data.copy()  # a constant does not follow its variable
            op, args = UNRECORDED, ()
    node = new(kind)
    node._raw = data
    node.op = op
    node.args = args
    node.params = params
    node._grad = node.name = node.call = None
    node.seals = seals_of(op, args) if constants and op.reads != () else None
    if handed:
        renew(args)
    node.birth = next_birth()
    return node


def settle(data: Any, op: Op, args: tuple[Any, ...]) -> tuple[type[Node], Any, tuple[Any, ...]]:
    """Kind, data and arguments of a node whose data is neither a float nor an ndarray."""
    tensor = kinds[np.ndarray]
    if isinstance(data, (np.floating, float, int, np.integer, np.bool)):
        for arg in args:
            if isinstance(arg, tensor):
                if isinstance(data, np.bool):
                    return tensor, np.asarray(data), args
                return tensor, data if isinstance(data, np.floating) else np.asarray(data, dtype=float), args
        # A Value: what else went in has no axes, and counts as numbers too.
        numbers = [x.item() if isinstance(x, np.ndarray) and x.ndim == 0 else x for x in args]
        return kinds[float], float(data), tuple(numbers)
    if hasattr(data, "__array_function__") and hasattr(data, "dtype"):
        return tensor, data, args
    raise TypeError(f"{op.name}: its forward must return a number or an array, got {describe(data)}")


UNRECORDED = Op("constant", lambda: None, (), lambda *_: ())


def op_of(row: Callable[..., Any]) -> Op:
    """The operation behind a row's function."""
    op: Op = row.op  # type: ignore[attr-defined]
    return op


def finish(function: Function, op: Op, doc: str, listed: bool) -> Function:
    """Give the function its name, its documentation and its row; enter it in the table."""
    function.__name__ = function.__qualname__ = op.name
    function.__doc__ = doc
    function.__module__ = "chainrule"
    function.op = op  # type: ignore[attr-defined]
    if listed:
        table[op.name] = function
        op.listed = True
    return function


def unary(
    name: str, forward: Forward, rule: Rule | None, doc: str = "", *, symbol: str | None = None, listed: bool = True
) -> Unary:
    """A row of one argument, element by element. `forward` may be a pair: one for numbers, one for arrays."""
    for_number, for_array = forward if isinstance(forward, tuple) else (forward, forward)
    pull_x = rule or no_rule

    def compute(x: Any) -> Any:
        return for_number(x) if type(x) in NUMBERS else for_array(x)

    def pull(args: tuple[Any], g: Any, y: Any, params: Any) -> Sequence[Any]:
        x = args[0] if isinstance(y, Node) else args[0]._raw
        try:
            return (pull_x(g, y, x),)
        except ZeroDivisionError:
            return (ieee(pull_x, g, y, x),)

    fits = FLOATS if listed else None
    op = Op(name, compute, (rule,), pull, symbol, True, fits, (for_number, for_array))

    def function(x: Any, /) -> Any:
        if isinstance(x, Node):
            raw = x._raw
        else:
            raw = x = x if type(x) in NUMBERS else constant(x, name)
        try:
            data = for_number(raw) if type(raw) in NUMBERS else for_array(raw)
        except FAILURES as error:
            data = op.recover(error, (raw,))
        if raw is x:
            return data
        if blocks or type(data) is not float:
            return born(data, op, (x,), NO_PARAMS)
        node = new(kinds[float])  # what `born` does for a number; its call would cost 4 % of a scalar expression
        node._raw = data
        node.op = op
        node.args = (x,)
        node.params = NO_PARAMS
        node._grad = node.name = node.call = None
        node.birth = next(births)
        return node

    return cast("Unary", finish(function, op, doc, listed))


def pull_of_two(rule_a: Rule | None, rule_b: Rule | None) -> Callable[..., Sequence[Any]]:
    pull_a, pull_b = rule_a or no_rule, rule_b or no_rule

    def pull(args: tuple[Any, Any], g: Any, y: Any, params: Any) -> Sequence[Any]:
        a, b = args
        left, right = isinstance(a, Node), isinstance(b, Node)
        if not isinstance(y, Node):
            a = a._raw if left else a
            b = b._raw if right else b
        try:
            return pull_a(g, y, a, b) if left else None, pull_b(g, y, a, b) if right else None
        except ZeroDivisionError:
            return ieee(pull_a, g, y, a, b), ieee(pull_b, g, y, a, b)

    return pull


def binary(
    name: str,
    forward: Forward,
    rule_a: Rule | None,
    rule_b: Rule | None,
    doc: str = "",
    *,
    symbol: str | None = None,
    listed: bool = True,
) -> Binary:
    """A row of two arguments, element by element with broadcasting; else as `unary`."""
    for_numbers, for_arrays = forward if isinstance(forward, tuple) else (forward, forward)

    def choose(a: Any, b: Any) -> Any:
        return for_numbers(a, b) if type(a) in NUMBERS and type(b) in NUMBERS else for_arrays(a, b)

    compute = for_numbers if for_numbers is for_arrays else choose
    pull = (lambda args, g, y, params: (g, g)) if rule_a is rule_b is same else pull_of_two(rule_a, rule_b)
    fits = FLOATS if listed else None
    op = Op(name, compute, (rule_a, rule_b), pull, symbol, True, fits, (for_numbers, for_arrays))

    def function(a: Any, b: Any, /) -> Any:
        if isinstance(a, Node):
            x = a._raw
        else:
            x = a = a if type(a) in NUMBERS else constant(a, name)
        if isinstance(b, Node):
            y = b._raw
        else:
            y = b = b if type(b) in NUMBERS else constant(b, name)
        try:
            data = compute(x, y)
        except FAILURES as error:
            data = op.recover(error, (x, y))
        if x is a and y is b:
            return data
        if blocks or type(data) is not float:
            return born(data, op, (a, b), NO_PARAMS, isinstance(a, np.ndarray) or isinstance(b, np.ndarray))
        node = new(kinds[float])  # as in `unary`
        node._raw = data
        node.op = op
        node.args = (a, b)
        node.params = NO_PARAMS
        node._grad = node.name = node.call = None
        node.birth = next(births)
        return node

    return cast("Binary", finish(function, op, doc, listed))


def pull_of_each(rules: Sequence[Rule | None]) -> Callable[..., Sequence[Any]]:
    pulls = [rule or no_rule for rule in rules]

    def pull(args: Sequence[Any], g: Any, y: Any, params: Mapping[str, Any]) -> Sequence[Any]:
        xs = shown(args, y)
        try:
            return [
                rule(g, y, *xs, **params) if isinstance(arg, Node) else None
                for arg, rule in zip(args, pulls)  # noqa: B905  (their number was checked when the node was made)
            ]
        except ZeroDivisionError:
            return [ieee(rule, g, y, *xs, **params) for rule in pulls]

    return pull


def primitive(
    name: str,
    forward: Callable[..., Any],
    *rules: Rule | None,
    doc: str = "",
    symbol: str | None = None,
    elementwise: bool = False,
    pull: Callable[..., Sequence[Any]] | None = None,
    fits: str | None = None,
    listed: bool = True,
) -> Callable[..., Any]:
    """A row of any number of arguments and any parameters.

    One rule for each argument; `None` says that the result does not depend smoothly on that argument (an index, a
    condition). A row with a varying number of arguments, or whose rules share their work, gives `pull` instead: one
    function of `(args, g, y, params)` that returns the cotangents of all; what is no node in `args` needs none.
    """
    op = Op(name, forward, rules, pull or pull_of_each(rules), symbol, elementwise, fits=fits)
    count = None if pull else len(rules)

    def function(*args: Any, **params: Any) -> Any:
        if count is not None and len(args) != count:
            raise TypeError(f"{name}: takes {count} positional arguments (one for each rule), got {len(args)}")
        inputs = []
        node = converted = constants = False
        for arg in args:
            if isinstance(arg, Node):
                inputs.append(arg._raw)
                node = True
            else:
                x = constant(arg, name)
                inputs.append(x)
                if type(x) not in NUMBERS:
                    constants = True
                if x is not arg:
                    converted = True
        for key, value in params.items():
            if type(value) not in USUAL.get(key, PLAIN):
                params[key] = setting(name, key, value, listed, node)
        try:
            data = forward(*inputs, **params)
        except FAILURES as error:
            data = op.recover(error, inputs, params)
        if not node:
            return data
        if converted:
            args = tuple([arg if isinstance(arg, Node) else x for arg, x in zip(args, inputs, strict=True)])
        return born(data, op, args, params, constants)

    return finish(function, op, doc, listed)


def custom(
    name: str, forward: Callable[..., Any], *rules: Rule | None, symbol: str | None = None, doc: str = "",
    elementwise: bool = False,
) -> Callable[..., Any]:  # fmt: skip
    """Make an operation of your own from its forward and one rule for each argument.

    The forward gets plain numbers or arrays, and returns one. A rule gets `(g, y, *inputs)`: the cotangent of the
    result, the result, what it was made from; it returns the cotangent of its argument. Written with operators and
    `chainrule` functions only, it serves every order of derivative. `None` in place of a rule says that the result does
    not depend smoothly on that argument. Keyword arguments reach the forward and the rules alike. `elementwise` says that each
    element of the result comes of those in its place alone: then `where` leaves out one by one what it has not chosen. What
    the function returns is drawn (as `symbol`), checked and differentiated like everything else.

    >>> import chainrule as cr
    >>> cube = cr.custom("cube", lambda x: x * x * x, lambda g, y, x: 3.0 * g * x * x, symbol="x³")
    >>> cr.grad(cr.grad(cube))(2.0)
    12.0
    """
    if not isinstance(name, str):
        raise TypeError(f"custom: the name must be a string, got {describe(name)}")
    require_function(f"{name}: the forward", forward)
    if not rules:
        raise TypeError(f"{name}: expected one rule for each argument, got none")
    for rule in rules:
        if rule is not None and not callable(rule):
            raise TypeError(f"{name}: a rule must be a function or None, got {describe(rule)}")
    checked = [rule and answering(rule, name, place) for place, rule in enumerate(rules)]
    return primitive(name, on_locked(forward), *checked, doc=doc, symbol=symbol, elementwise=elementwise, listed=False)


def renewed(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Parameters for another run: what a forward keeps for its rule is not theirs."""
    return {name: Saved() if isinstance(x, Saved) else x for name, x in params.items()} if params else NO_PARAMS


def applied(op: Op, args: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
    """An operation on nodes or plain data."""
    data = computed(op, [arg._raw if isinstance(arg, Node) else arg for arg in args], params)
    return born(data, op, args, params, True) if any(isinstance(arg, Node) for arg in args) else data


def computed(op: Op, inputs: Sequence[Any], params: Mapping[str, Any]) -> Any:
    try:
        return op.forward(*inputs, **params)
    except FAILURES as error:
        return op.recover(error, inputs, params)
