"""Derivatives of functions: grad, vjp, jvp, jacobian, hessian, hvp, and gradients on a graph that exists.

Each runs the function on fresh variables and walks the graph it leaves. A result is plain unless it depends on a
variable of yours, passed in or closed over; then it is a node, so derivatives nest to any order and cannot be confused.
"""

from __future__ import annotations

__all__ = ["grad", "gradients", "hessian", "hvp", "jacobian", "jvp", "value_and_grad", "vjp"]

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from .context import recording
from .graph import NO_PARAMS, Node, changed, constant_root, cotangents
from .guards.blocks import enable_grad
from .guards.seals import require_current, verify
from .ops.elementwise import mul
from .ops.reduction import sum
from .ops.shape import reshape, shape_of, stack
from .plain import constant, describe, require_function
from .primitive import UNRECORDED, Function, Op, born
from .tensor import Tensor
from .value import Value

# The variable that stands for one the caller already has: the same data, one step further from it.
ALIAS = Op("variable", lambda x: x, (lambda g, y, x: g,), lambda args, g, y, params: (g,), elementwise=True)
ALIAS.listed = True
CONSTANT = Op("constant", lambda: None, (), lambda *_: ())
AS_IT_IS = nullcontext()


def gradients(output: Any, inputs: Any, seed: Any = None, create_graph: bool = False) -> Any:
    """The gradient of `output` with respect to each of `inputs` (a node, or a sequence of them), on their graph.

    Nothing is stored in any `.grad`. `seed` is the cotangent of `output`; one with a single element needs none. An
    input that the output does not depend on gets zeros. With `create_graph` the results are nodes and can be
    differentiated again; otherwise plain numbers and arrays.

    >>> import chainrule as cr
    >>> x = cr.Value(2.0)
    >>> y = x**3
    >>> dy = cr.gradients(y, x, create_graph=True)
    >>> cr.gradients(dy, x)
    12.0
    """
    single = isinstance(inputs, Node)
    wanted = list(inputs) if np.iterable(inputs) and not single else [inputs]
    if not isinstance(output, Node):
        raise TypeError(f"gradients: the output is a constant, {describe(output)}; compute it from a Value or Tensor")
    for x in wanted:
        if not isinstance(x, Node):
            raise TypeError(f"gradients: inputs must be Values or Tensors, got {describe(x)}")
    if output.op is UNRECORDED:
        raise constant_root("gradients", output)
    with recorded_here():
        seed = seed_of(output, seed if create_graph or not isinstance(seed, Node) else seed._raw)
        # A leaf may have been changed, and is young then.
        since = min((x.birth if x.args else 0 for x in wanted), default=0)
        found = pull_back(output, wanted, seed, create_graph, since)
        results = [as_node(g) for g in found] if create_graph else found
    return results[0] if single else results


def recorded_here() -> AbstractContextManager[object]:
    """A block in which operations are recorded; nothing at all if they are anyway."""
    return AS_IT_IS if recording() else enable_grad()


def seed_of(output: Node, seed: Any) -> Any:
    """The cotangent to start from: plain data, or a node where the result shall depend on it."""
    if not isinstance(seed, Node):
        return output.seed(seed)
    if shape_of(seed) != shape_of(output):
        raise ValueError(f"backward: a seed of shape {shape_of(seed)} for a result of shape {shape_of(output)}")
    return output.fit(seed)


def pull_back(
    output: Node,
    inputs: Sequence[Node],
    seed: Any,
    create_graph: bool,
    since: int,
    pending: dict[Node, Any] | None = None,
) -> list[Any]:
    """The cotangents of the inputs, none of which was born before `since`; zeros where the output does not depend on one."""
    wanted = set(inputs)
    found = cotangents(output, seed, wanted, create_graph=create_graph, since=since, pending=pending)
    return apart([found[x] if x in found else zeros(x) for x in inputs])


def apart(found: list[Any]) -> list[Any]:
    """The same, with an array of its own for each, so that the caller may write into one and change no other."""
    seen: set[int] = set()
    for i, g in enumerate(found):
        if isinstance(g, np.ndarray):
            if g.base is not None or id(g) in seen:
                found[i] = np.array(g)
            seen.add(id(g))
    return found


def zeros(x: Node) -> Any:
    return 0.0 if isinstance(x, Value) else np.zeros_like(x._raw)


def as_node(g: Any) -> Node:
    """A cotangent as a node, also where it turned out constant."""
    data = np.asarray(g) if isinstance(g, np.generic) else g  # NumPy's scalars come from arrays without axes
    node: Node = g if isinstance(g, Node) else born(data, CONSTANT, (), {})
    return node


# Arguments may be numbers, arrays, nodes, and tuples, lists and dicts of them.
CONTAINERS = dict, list, tuple


def leaves(tree: Any) -> list[Any]:
    """The numbers and arrays in nested tuples, lists and dicts."""
    if not isinstance(tree, CONTAINERS):
        return [tree]
    parts = tree.values() if isinstance(tree, dict) else tree
    return [leaf for part in parts for leaf in leaves(part)]


def rebuilt(tree: Any, parts: Iterator[Any]) -> Any:
    """The same containers around other numbers and arrays."""
    if not isinstance(tree, CONTAINERS):
        return next(parts)
    if isinstance(tree, dict):
        return {key: rebuilt(part, parts) for key, part in tree.items()}
    built = [rebuilt(part, parts) for part in tree]
    return type(tree)(*built) if hasattr(tree, "_fields") else type(tree)(built)


def variable(x: Any, name: str) -> Node:
    """A fresh variable for one argument: connected to it where it is a node itself."""
    if isinstance(x, Node):
        node: Node = born(x._raw, ALIAS, (x,), {})
        return node
    if isinstance(x, np.generic):
        return Tensor(x)
    data = constant(x, name)
    return Tensor(data) if hasattr(data, "shape") else Value(data)


def places_of(argnums: int | Sequence[int], n: int, name: str) -> list[int]:
    """Which of n arguments are meant, counted from 0."""
    try:
        places = [range(n)[operator.index(i)] for i in ([argnums] if isinstance(argnums, int) else argnums)]
    except TypeError:
        raise TypeError(f"{name}: argnums must be a whole number, or several, got {describe(argnums)}") from None
    except IndexError:
        raise ValueError(f"{name}: argnums={argnums!r}, but {n} arguments were given") from None
    if len(set(places)) < len(places):
        raise ValueError(f"{name}: argnums={argnums!r} names an argument twice")
    return places


def leads_back(output: Node, since: int, most: int | None = None) -> bool | None:
    """Whether a variable from before `since` has a share in a result; None: not found out by so many nodes."""
    stack = [output]
    seen = set(stack)
    while stack:
        if most is not None and len(seen) > most:
            return None
        x = stack.pop()
        if x.op is None and x.birth < since:
            return True
        for arg in x.args:
            if isinstance(arg, Node) and arg not in seen:
                seen.add(arg)
                stack.append(arg)
    return False


FIRST = 10  # nodes among which a model's parameters are, if the function has one; else the walk finds out by the way


class Traced:
    """A function run once on fresh variables: its output, and which variables the derivative is asked for."""

    def __init__(
        self,
        name: str,
        f: Callable[..., Any],
        argnums: int | Sequence[int],
        args: Sequence[Any],
        kwargs: Mapping[str, Any] = NO_PARAMS,
    ) -> None:
        places = places_of(argnums, len(args), name)
        self.name, self.single = name, isinstance(argnums, int)
        self.trees = [args[i] for i in places]
        filled = list(args)
        with recorded_here():
            self.inputs = [variable(x, name) for tree in self.trees for x in leaves(tree)]
            # Before the function runs, which may change them: it is to be found out then that they are younger.
            self.since = self.inputs[0].birth if self.inputs else 0
            parts = iter(self.inputs)
            for i, tree in zip(places, self.trees, strict=True):
                filled[i] = rebuilt(tree, parts)
            output = f(*filled, **kwargs)
        self.output = output if isinstance(output, Node) else constant(output, f"{name}: the function's result")
        self.found: bool | None = any(x.args for x in self.inputs)  # whether live; None: not yet known
        if not self.found and isinstance(output, Node):
            self.found = leads_back(output, self.since, FIRST)

    @property
    def live(self) -> bool:
        """Whether the output depends on a variable that was there before, passed in or closed over."""
        if self.found is None:
            self.found = leads_back(self.output, self.since)
        return bool(self.found)

    def scalar(self) -> Any:
        """The output, if it is one number."""
        if shape_of(self.output) != ():
            raise TypeError(
                f"{self.name}: the function must return a single number, got shape {shape_of(self.output)}; "
                "reduce it (as with cr.sum), or use cr.jacobian or cr.vjp"
            )
        return self.output

    def answer(self, y: Any) -> Any:
        """A result as the caller may see it: a node only if it depends on a variable of theirs."""
        return y._raw if isinstance(y, Node) and not self.live else y

    def pull_back(self, output: Any, seed: Any) -> list[Any]:
        if not isinstance(output, Node):
            return [zeros(x) for x in self.inputs]
        self.require_unchanged()
        with recorded_here():
            if self.found is None and not isinstance(seed, Node):
                pending: dict[Node, Any] = {}
                found = pull_back(output, self.inputs, seed, False, self.since, pending)
                if pending and min(x.birth for x in pending) >= self.since:
                    self.found = False  # the walk has met nothing that was there before
                if not self.live:
                    return found
            return pull_back(output, self.inputs, seed, self.live or isinstance(seed, Node), self.since)

    def require_unchanged(self) -> None:
        """Raise `RuntimeError` if an argument that is a node was changed since: behind its stand-in nobody looks."""
        for x in self.inputs:
            for arg in x.args:
                if arg.birth > x.birth:
                    raise changed(arg, x)
                require_current(arg)
                verify(x, None)

    def arranged(self, found: Iterable[Any]) -> Any:
        """Derivatives in the containers of the arguments they belong to."""
        parts = iter(found)
        trees = [rebuilt(tree, parts) for tree in self.trees]
        return trees[0] if self.single else tuple(trees)


def value_and_grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., tuple[Any, Any]]:
    """The function that returns `f`'s value and its gradient. `f` must return a single number.

    `argnums` says with respect to which argument, or arguments (then the gradient is a tuple). An argument may be a
    number, an array, or tuples, lists and dicts of them; its gradient has the same form. Keyword arguments are passed on. Arguments that are nodes, and
    variables that `f` uses from outside, are respected: the results are then nodes, to be differentiated further.

    With an array function it is what `scipy.optimize.minimize(…, jac=True)` asks for.

    >>> import chainrule as cr
    >>> cr.value_and_grad(lambda x: x**2)(3.0)
    (9.0, 6.0)
    """
    require_function("value_and_grad: f", f)

    def derivative(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        traced = Traced("grad", f, argnums, args, kwargs)
        y = traced.scalar()
        found = traced.pull_back(y, y.seed() if isinstance(y, Node) else None)
        return traced.answer(y), traced.arranged(found)

    return titled("value_and_grad", derivative, f)


def grad(f: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The gradient of `f` as a function of the same arguments; see `value_and_grad`. May be nested to any order.

    >>> import chainrule as cr
    >>> cr.grad(cr.grad(cr.grad(cr.tanh)))(0.0)
    -2.0
    """
    require_function("grad: f", f)
    both = value_and_grad(f, argnums)

    def derivative(*args: Any, **kwargs: Any) -> Any:
        return both(*args, **kwargs)[1]

    return titled("grad", derivative, f)


def titled(kind: str, derivative: Function, f: Callable[..., Any]) -> Function:
    """Say in the name of a derivative whose it is."""
    name = getattr(f, "__name__", type(f).__name__)
    derivative.__name__ = derivative.__qualname__ = f"{kind}({name})"
    derivative.__wrapped__ = f  # type: ignore[attr-defined]
    derivative.__doc__ = f"{kind} of {name}, as a function of the same arguments."
    return derivative


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """`f`'s value, and the function that pulls a cotangent of it back to one for each argument (reverse mode).

    >>> import chainrule as cr
    >>> y, pull = cr.vjp(lambda a, b: a * b, 2.0, 3.0)
    >>> y, pull(1.0)
    (6.0, (3.0, 2.0))
    """
    require_function("vjp: f", f)
    traced = Traced("vjp", f, range(len(primals)), primals)
    y = traced.output
    value = traced.answer(y)

    def pull(cotangent: Any) -> tuple[Any, ...]:
        with recorded_here():
            seed = seed_of(y, cotangent) if isinstance(y, Node) else None
        return tuple(traced.arranged(traced.pull_back(y, seed)))

    return np.array(value) if isinstance(value, np.ndarray) else value, pull  # `pull` needs its own


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """`f`'s value, and its directional derivative along `tangents`, one for each of `primals` (forward mode).

    The derivative is the transpose of the transpose: pulling back is linear in the cotangent, and pulling *that* back
    pushes the tangents forward.

    >>> import chainrule as cr
    >>> cr.jvp(cr.sin, (0.0,), (2.0,))
    (0.0, 2.0)
    """
    require_function("jvp: f", f)
    for name, given in ("primals", primals), ("tangents", tangents):
        if not np.iterable(given):
            raise TypeError(f"jvp: {name} must be a sequence, one for each argument of f, got {describe(given)}")
    if len(primals) != len(tangents):
        raise ValueError(f"jvp: {len(primals)} primals but {len(tangents)} tangents")
    traced = Traced("jvp", f, range(len(primals)), primals)
    y = traced.output
    directions = list(leaves(tuple(tangents)))
    if not isinstance(y, Node):
        return y, zeros(variable(y, "jvp"))
    for x, t in zip(traced.inputs, directions, strict=True):
        if shape_of(t) != shape_of(x):
            raise ValueError(f"jvp: a tangent of shape {shape_of(t)} for an argument of shape {shape_of(x)}")
    with recorded_here():
        ones = 1.0 if isinstance(y, Value) else np.ones_like(y._raw)  # 0 would look like no choice
        probe = born(ones, CONSTANT, (), {})
        pulled = pull_back(y, traced.inputs, probe, True, traced.since)
        pairing: Any = 0.0
        for g, t in zip(pulled, directions, strict=True):
            pairing = pairing + sum(mul(g, t))
        live = traced.live or any(isinstance(t, Node) for t in directions)
        reached = isinstance(pairing, Node)
        pushed = pull_back(pairing, [probe], pairing.seed(), live, probe.birth)[0] if reached else zeros(y)
    return traced.answer(y), pushed if live or not isinstance(pushed, Node) else pushed._raw


def jacobian(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The matrix of all partial derivatives as a function: shape of `f`'s output, then shape of the argument.

    >>> import chainrule as cr
    >>> import numpy as np
    >>> cr.jacobian(lambda x: x * x)(np.array([1.0, 2.0]))
    array([[2., 0.],
           [0., 4.]])
    """
    require_function("jacobian: f", f)

    def derivative(*args: Any, **kwargs: Any) -> Any:
        traced = Traced("jacobian", f, argnums, args, kwargs)
        if len(traced.inputs) != 1 or isinstance(traced.trees[0], CONTAINERS):
            raise TypeError("jacobian: the argument must be a single number or array")
        y, x, shape = traced.output, traced.inputs[0], shape_of(traced.output)
        matrix = np.empty_like(x._raw, shape=(int(np.prod(shape)), *shape_of(x)))  # there may be no memory for it
        rows = []
        for i in range(len(matrix)):
            [row] = traced.pull_back(y, unit(y, i) if isinstance(y, Node) else None)
            if isinstance(row, (float, np.generic, np.ndarray)):
                matrix[i] = row
            else:
                rows.append(row)
        return row if shape == () else reshape(stack(rows) if rows else matrix, shape + shape_of(x))

    return titled("jacobian", derivative, f)


def unit(y: Node, i: int) -> Any:
    """The cotangent that picks out element i."""
    if isinstance(y, Value):
        return 1.0
    seed = np.zeros_like(y._raw)
    seed.flat[i] = 1.0
    return seed


def hessian(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """The matrix of all second derivatives as a function; `f` must return a single number.

    >>> import chainrule as cr
    >>> import numpy as np
    >>> cr.hessian(lambda x: cr.sum(x**3))(np.array([1.0, 2.0]))
    array([[ 6.,  0.],
           [ 0., 12.]])
    """
    require_function("hessian: f", f)
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Callable[..., Any], *args: Any, argnums: int = 0) -> Any:
    """The Hessian of `f` times a vector, at the cost of a few gradients: `hvp(f, x, v)`, or `hvp(f)(x, v)`.

    With several arguments the vector comes last, `hvp(f, x, y, v)`, and belongs to the one at `argnums`.

    >>> import chainrule as cr
    >>> cr.hvp(lambda x: x**3, 2.0, 10.0)
    120.0
    """
    require_function("hvp: f", f)

    def product(*args: Any) -> Any:
        if len(args) < 2:
            raise TypeError(f"hvp: expected the arguments of f and then a vector, got {len(args)} arguments")
        *xs, v = args
        [i] = places_of(argnums, len(xs), "hvp")

        def along(x: Any) -> Any:
            return grad(f, i)(*xs[:i], x, *xs[i + 1 :])

        return jvp(along, (xs[i],), (v,))[1]

    return product(*args) if args else product
