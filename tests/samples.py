"""Samples for every row of the table and every function of the library: where the generic tests try it.

All points keep a distance from kinks and poles, on both sides of them; the kinks themselves have tests of their own.
Arguments are numbers (they become Values) and arrays (Tensors); what is no variable is inside the function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from inspect import isfunction
from itertools import count
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.autograd.ops.shape import HERE
from chainrule.autograd.primitive import Op, table


@dataclass(frozen=True)
class Sample:
    f: Callable[..., Any]
    args: tuple[Any, ...]


def S(f: Callable[..., Any], *args: Any) -> Sample:
    return Sample(f, args)


def function(name: str) -> Callable[..., Any]:
    """The public function of this name; a row that only rules use has none."""
    found: Callable[..., Any] = getattr(cr, name, None) or table[name]
    return found


number = count()


def A(*shape: int, low: float = -1.93, high: float = 2.11) -> Any:
    """An array of distinct numbers in no order, none near 0 or near another."""
    n = math.prod(shape)
    return np.random.default_rng(next(number)).permutation(np.linspace(low, high, n)).reshape(shape)


def P(*shape: int) -> Any:
    """The same, positive."""
    return A(*shape, low=0.5, high=2.4)


def K(x: Any) -> Any:
    """A constant array of half precision: it leaves the type of what it meets alone."""
    return np.asarray(x, dtype=np.float16)


# Functions of one number: four points each.
ANYWHERE = (-1.7, -0.4, 0.3, 1.2)
POSITIVE = (0.5, 0.9, 2.3, 7.0)
UNIT = (-0.6, -0.2, 0.1, 0.55)

UNARY: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(["sqrt", "log", "log2", "log10"], POSITIVE),
    **dict.fromkeys(["arcsin", "arccos", "arctanh"], UNIT),
    **dict.fromkeys(["reciprocal", "cbrt"], (-1.7, -0.6, 0.8, 1.5)),
    "log1p": (-0.5, -0.2, 0.3, 4.0),
    "tan": (-0.9, -0.3, 0.4, 1.0),
    "arccosh": (1.6, 2.0, 3.3, 5.0),
    **dict.fromkeys(
        ["zeros_like", "is_zero", "step", "sign", "floor", "ceil", "round", "neg", "square", "abs", "exp", "exp2", "expm1",
         "sin", "cos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "erf", "erfc", "sigmoid", "softplus", "silu", "gelu", "relu", "isnan", "isinf", "isfinite", "logical_not"],
        ANYWHERE,
    ),
}  # fmt: skip

# Functions of two numbers: four points for each.
SIGNED = (0.9, -0.6, 1.4, -2.1)
BINARY: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    **dict.fromkeys(
        [
            "add",
            "sub",
            "mul",
            "div",
            "floordiv",
            "mod",
            "maximum",
            "minimum",
            "hypot",
            "arctan2",
            "logaddexp",
            "gap",
            "share",
            "less",
            "less_equal",
            "greater",
            "greater_equal",
            "equal",
            "not_equal",
            "logical_and",
            "logical_or",
        ],
        ((-1.7, -0.4, 0.3, 1.1), SIGNED),
    ),
    "pow": ((*POSITIVE[:3], 1.6), SIGNED),
}


# What users call: the rows and functions that `ops` makes public.
OPERATIONS: dict[str, Callable[..., Any]] = {
    name: f
    for name, f in vars(cr).items()
    if isfunction(f) and not name.startswith("_") and (f.__module__ == "chainrule" or ".ops." in f.__module__)
}

# Rows that answer a question: they have no slope anywhere.
QUESTIONS = {
    "less", "less_equal", "greater", "greater_equal", "equal", "not_equal", "isnan", "isinf", "isfinite",
    "logical_not", "logical_and", "logical_or", "any", "reached",
}  # fmt: skip

# Rows that users do not call by name: rules, operators and other functions do.
INNER = {
    "back_in_order", "gap", "gate", "getitem", "in_order", "inside", "is_zero", "item", "p_norm", "pick", "put",
    "recurrence", "scatter", "select", "share", "shares", "softmax_error", "step", "ties", "zeros_like", *QUESTIONS,
}  # fmt: skip


def unary_samples(f: Callable[..., Any], points: tuple[float, ...]) -> Iterator[Sample]:
    yield from (S(f, x) for x in points)
    yield S(f, np.array(points))
    yield S(f, np.array(points).reshape(2, 2))
    yield S(f, np.array(points[1]))
    yield S(f, np.zeros((0,)))
    yield S(f, np.ones((2, 0)))
    yield S(lambda x: f(x) + x, np.array(points[:3]))  # used twice


def binary_samples(f: Callable[..., Any], left: tuple[float, ...], right: tuple[float, ...]) -> Iterator[Sample]:
    a, b = np.array(left), np.array(right)
    yield from (S(f, x, y) for x, y in zip(left, right, strict=True))
    yield S(f, a, b)
    yield S(f, a, right[0])  # Tensor and Value in one graph
    yield S(f, left[1], b)
    yield S(lambda x: f(x, b.astype(x.dtype)), a)  # a constant on either side
    yield S(lambda y: f(a.astype(y.dtype), y), b)
    yield S(lambda x: f(x, right[1]), left[0])
    yield S(lambda x: f(left[2], x), right[1])
    yield S(f, a[:2, None], b[None, :3])
    yield S(f, a, b[:1])
    yield S(f, a[:1], b.reshape(2, 2, 1))
    yield S(f, np.array(left[0]), b)
    yield S(f, np.array(left[0]), np.array(right[1]))
    yield S(f, a, np.array(right[0]))
    yield S(f, np.ones((0,)), b[:1])
    yield S(f, np.ones((2, 0)), right[0])


def reduction_samples(f: Callable[..., Any], make: Callable[..., Any]) -> Iterator[Sample]:
    yield S(f, make(3)[0].item())
    yield S(f, np.array(0.7))
    yield S(f, make(4))
    for axis in (None, 0, -1, 1, (0, 2), (-1, 0), (0, 1, 2), ()):
        for keepdims in (False, True):
            yield S(lambda x, axis=axis, keepdims=keepdims: f(x, axis=axis, keepdims=keepdims), make(2, 3, 2))
    yield S(lambda x: f(x, axis=1), make(2, 1))
    yield S(lambda x: f(x, axis=0), np.ones((3, 0)))


def along_samples(f: Callable[..., Any]) -> Iterator[Sample]:
    """For functions along one axis."""
    yield S(f, A(5))
    for axis in (0, 1, -1, -3):
        yield S(lambda x, axis=axis: f(x, axis=axis), A(2, 3, 2))
    yield S(lambda x: f(x, axis=None), A(2, 3))
    yield S(lambda x: f(x, axis=-1), np.ones((2, 0)))
    yield S(lambda x: f(x, axis=0), np.ones((1, 2)))


C = A(3, 4) > 0
LABELS = np.array([2, 0, 2])
ROWS = np.array([2, 0, 2, 1])


def indexing() -> Iterator[Sample]:
    indices: list[Any] = [
        0, -1, slice(None), slice(None, None, -1), slice(3, 0, -2), slice(1, 1), ..., None, (), np.int64(1), True,
        (1, 2), (..., 0), (0, ...), (None, 1, ..., None), (slice(1, None), slice(None, None, 2)), (slice(None), -1, None),
        [0, 2], [], [[0, 1], [1, 1]], [True, False, True], np.array([], dtype=int), ROWS, -ROWS, ROWS.reshape(2, 2),
        (ROWS, ROWS), (ROWS, 0), (ROWS, slice(1, 3)), (slice(None), ROWS), (slice(None), [1, 1]), (..., ROWS),
        (ROWS[:, None], [0, 0, 3]), (0, [1, 1]), (None, ROWS), (ROWS, None, ROWS), np.int8(2), np.array(1),
        C, ~C, (C,), np.zeros((3, 4), dtype=bool), np.array([True, False, True]), (slice(None), C[1]), (C[:, 1], 2),
        (C[:, 1], slice(None, None, -1)), (range(2), slice(1)), ((1, 1), (0, 0)), ((0, 2, 0),), (np.True_, 0),
    ]  # fmt: skip
    yield from (S(lambda x, index=index: x[index], A(3, 4)) for index in indices)
    yield S(lambda x: x[0], np.array([0.5]))
    yield S(lambda x: x[()], np.array(0.5))
    yield S(lambda x: x[..., None], np.array(0.5))
    yield S(lambda x: x[np.array([0, 1]), :, np.array([1, 1])], A(2, 3, 2))
    yield S(lambda x: x[:, np.array([0, 1]), np.array([1, 1])], A(2, 3, 2))
    yield S(lambda x: x[x.data > 0], A(5))
    yield S(lambda x: x[1:][0] * x[0], A(3))
    yield S(lambda x: x[[1, 1, 0]] * x[[0, 1, 2]], A(3))


def products() -> dict[str, list[Sample]]:
    pairs = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 2)), ((2, 3), (3, 2)), ((2, 2, 3), (3,)), ((3,), (2, 3, 2)),
             ((2, 2, 3), (3, 2)), ((2, 3), (2, 3, 2)), ((2, 2, 3), (2, 3, 1)), ((2, 1, 2, 3), (3, 3, 1)),
             ((1, 2, 3), (2, 3, 1)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((0,), (0,)), ((1, 1), (1, 1))]  # fmt: skip
    dots = [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 2)), ((3,), (3, 2)), ((2, 2, 3), (3, 2)), ((2, 3), (2, 3, 2)),
            ((2, 2, 3), (2, 3, 2)), ((3,), (2, 3, 1)), ((), (2, 3)), ((2,), ())]  # fmt: skip
    inners = [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (4, 3)), ((2, 2, 3), (2, 3)), ((), (3,))]
    outers = [((3,), (2,)), ((2, 2), (3,)), ((), (3,)), ((0,), (2,))]
    tensordots: list[Any] = [
        (2, (2, 3, 2), (3, 2, 2)), (1, (2, 3), (3, 2)), (0, (2,), (3,)), (([1], [0]), (2, 3), (3, 2)),
        (([0, 1], [1, 0]), (2, 3), (3, 2)), (([-1], [-2]), (2, 3), (3, 2)), ((-1, 0), (2, 3), (3, 2)), (([], []), (2,), (2,)),
    ]  # fmt: skip
    return {
        "matmul": [S(cr.matmul, A(*a), A(*b)) for a, b in pairs]
        + [S(lambda a: a @ K(np.ones((3, 2))), A(2, 3)), S(lambda b: K(np.ones((2, 3))) @ b, A(3))]
        + [S(lambda a: a @ a.T, A(2, 3))],
        "dot_arrays": [S(cr.dot, A(*a), A(*b)) for a, b in dots],
        "inner": [S(cr.inner, A(*a), A(*b)) for a, b in inners] + [S(cr.inner, 0.5, 1.5)],
        "outer": [S(cr.outer, A(*a), A(*b)) for a, b in outers],
        "tensordot": [S(lambda a, b, n=n: cr.tensordot(a, b, n), A(*a), A(*b)) for n, a, b in tensordots],
        "einsum": [S(lambda *xs, s=s: cr.einsum(s, *xs), *[A(*shape) for shape in shapes]) for s, *shapes in EINSUMS],
    }


EINSUMS: list[Any] = [
    ("ij,jk", (2, 3), (3, 2)), ("ij,jk->ik", (2, 3), (3, 2)), ("ba", (2, 3)), ("ij->", (2, 3)), ("ij->j", (2, 3)),
    ("i->i", (3,)), ("ii->i", (3, 3)), ("ii", (3, 3)), ("iii->i", (2, 2, 2)), ("iji->j", (2, 3, 2)), ("iijj->ij", (2, 2, 2, 2)),
    ("ii,i->i", (3, 3), (3,)), ("ij,ij->", (2, 3), (2, 3)), ("i,j->ij", (2,), (3,)), ("i,j", (2,), (3,)), ("i,i", (3,), (3,)),
    ("ij,jk,kl->il", (2, 3), (3, 2), (2, 2)), ("i,j,k->", (2,), (2,), (2,)), ("ij,k->i", (2, 3), (2,)), (",i->i", (), (3,)), ("->", ()),
    ("...i,...i->...", (2, 3), (2, 3)), ("...ij,...jk", (2, 2, 3), (3, 2)), ("...i->...", (2, 2, 3)), ("i...,i...->...", (2, 3), (2, 1)),
    ("...,...", (2, 3), (3,)), ("...ij,j->i...", (2, 2, 3), (3,)), ("...i,ij->j...", (2, 1, 2), (2, 3)), ("...ii->...i", (2, 3, 3)),
    ("...->...", (2, 3)), ("...i,...i", (3, 1, 2), (2, 2)), (" i j , j k -> i k ", (2, 3), (3, 2)), ("ij,jk->ik", (0, 3), (3, 2)),
    ("ij,ij->ij", (1, 3), (2, 3)), ("ij,ij->j", (1, 3), (2, 3)), ("Ab,bA->A", (2, 3), (3, 2)),
]  # fmt: skip


def by_name() -> dict[str, list[Sample]]:
    row = table
    x3 = np.array([[0.5, -1.0, 2.0], [1.5, 0.3, -0.7]])
    samples: dict[str, Iterable[Sample]] = {
        **{name: unary_samples(function(name), points) for name, points in UNARY.items()},
        **{name: binary_samples(function(name), *points) for name, points in BINARY.items()},
        **products(),
        "any": [S(lambda x: x * row["any"](x, axis=None, keepdims=False), A(3)), S(lambda x: x * row["any"](x * 0.0, axis=0, keepdims=True), A(3))],
        "select": [
            *(S(lambda g, p=p: row["select"](g, p), x) for x, p in ((0.3, 1.0), (0.3, 0.0), (0.3, 0.5), (x3[0], K([1.0, 0.0, 0.5])), (x3, C[0, :3]))),
            S(lambda g: row["select"](g, g > 0), x3[1]),
        ],
        "gate": [*(S(lambda g, y=y: row["gate"](g, y), x) for x, y in ((0.3, 1.0), (0.3, 0.0), (x3[0], K([1.0, 0.0, 0.5]))))],
        "reached": [S(lambda x: x * row["reached"](row["step"](x), shape=s), x3) for s in ((2, 3), (3,), (2, 1), ())],
        "inside": [S(lambda x: row["inside"](x, low=-1.0, high=0.5), np.array(ANYWHERE))],
        "clip": [
            *(S(lambda x, lo=lo, hi=hi: cr.clip(x, lo, hi), x)
              for lo, hi in ((-1.0, 0.5), (None, 0.5), (-1.0, None), (-2.0, 2.0)) for x in (*ANYWHERE, np.array(ANYWHERE))),
            S(lambda x: cr.clip(x, K([-1.0, 0.0]), 0.7), A(3, 2)),
            S(cr.clip, np.array(ANYWHERE), -1.0, 0.5),
            S(lambda x, hi: cr.clip(x, None, hi), np.array(ANYWHERE), np.array([0.5])),
            S(cr.clip, 0.7, -1.0, 0.5),
            S(lambda x: cr.clip(x, -1.0, 1.0), np.zeros((0, 2))),
            S(lambda x: cr.clip(x, K([-1.0, 0.5]), 2.0), 0.3),
            S(cr.clip, A(3)),
        ],
        "leaky_relu": [*unary_samples(cr.leaky_relu, ANYWHERE), S(lambda x: cr.leaky_relu(x, 0.3), A(2, 2))],
        "elu": [*unary_samples(cr.elu, ANYWHERE), S(lambda x: cr.elu(x, 1.7), A(2, 2)), S(lambda x: cr.elu(x, alpha=0.5), -0.4)],
        "where": [
            S(lambda a, b: cr.where(True, a, b), 0.3, 0.4),
            S(lambda a, b: cr.where(False, a, b), 0.3, 0.4),
            S(lambda a: cr.where(a > 0, a, 2.0), 0.3),
            S(lambda a, b: cr.where(C, a, b), A(3, 4), A(3, 4)),
            S(lambda a, b: cr.where(C, a, b), A(4), 0.3),
            S(lambda a, b: cr.where(C, a, b), 0.3, A(3, 1)),
            S(lambda a, b: cr.where(C[0], a, b), A(2, 4), A(4)),
            S(lambda a, b: cr.where(C, a, b), 0.3, np.array(0.4)),
            S(lambda a: cr.where(a > 0, a * a, 0.0), A(4)),
            S(lambda a: cr.where(C[0], 1.0, a), A(4)),
            S(lambda a: cr.where([True, False], K([1.0, 2.0]), a), A(2)),
            S(lambda a, b: cr.where(np.zeros((0,), bool), a, b), np.ones((0,)), np.ones((1,))),
        ],
        "reshape": [S(lambda x, s=s: cr.reshape(x, s), A(2, 3)) for s in ((6,), 6, -1, (3, 2), (1, -1), [2, 1, 3])]
        + [S(lambda x: cr.reshape(x, ()), A(1, 1)), S(lambda x: cr.reshape(x, (0, 5)), np.ones((2, 0)))]
        + [S(lambda x: cr.reshape(x, (1, 1)), 0.3), S(lambda x: cr.reshape(x, (1,)), np.array(0.3))],
        "ravel": [S(cr.ravel, A(2, 3)), S(cr.ravel, np.array(0.3)), S(lambda x: cr.ravel(x.T), A(2, 3))],
        "transpose": [S(cr.transpose, A(2, 3)), S(cr.transpose, A(3)), S(lambda x: x.T, A(2, 3, 2)), S(cr.transpose, np.array(1.0))]
        + [S(lambda x, p=p: cr.transpose(x, p), A(2, 3, 2)) for p in ((1, 2, 0), (0, 2, 1), (-1, 0, 1), [2, 1, 0])],
        "swapaxes": [S(lambda x, p=p: cr.swapaxes(x, *p), A(2, 3, 2)) for p in ((0, 1), (-1, 0), (1, 1))],
        "moveaxis": [S(lambda x, p=p: cr.moveaxis(x, *p), A(2, 3, 2, 1))
                     for p in ((0, -1), (-1, 0), ((0, 1), (-1, -2)), ([2, 0], [0, 1]), (1, 1))],
        "squeeze": [S(lambda x, a=a: cr.squeeze(x, a), A(1, 3, 1)) for a in (None, 0, -1, (0, 2), (-1, 0))] + [S(cr.squeeze, A(1, 1))],
        "expand_dims": [S(lambda x, a=a: cr.expand_dims(x, a), A(2, 3)) for a in (0, 1, -1, -3, (0, -1), (1, 2))]
        + [S(lambda x: cr.expand_dims(x, 0), np.array(0.3)), S(lambda x: cr.expand_dims(x, 0), 0.3)],
        "broadcast_to": [S(lambda x: cr.broadcast_to(x, (2, 3)), x) for x in (0.4, np.array(0.4), A(3), A(2, 1), A(1, 1), A(2, 3))]
        + [S(lambda x: cr.broadcast_to(x, 3), A(1)), S(lambda x: cr.broadcast_to(x, (0, 2)), A(1, 2))],
        "flip": [S(cr.flip, A(2, 3))] + [S(lambda x, a=a: cr.flip(x, a), A(2, 3)) for a in (0, -1, (0, 1), (-1,))],
        "roll": [S(lambda x, p=p: cr.roll(x, *p), A(3, 4))
                 for p in ((1,), (-2,), (5,), (1, 0), (-1, -1), ((1, 2), (0, 1)), ((1, 2), (1, 1)), (2, (0, 1)))],
        "pad": [S(lambda x, p=p: cr.pad(x, p), A(2, 3)) for p in (1, (1, 2), ((1, 0), (0, 2)), [(2, 1)], 0)] + [S(lambda x: cr.pad(x, 1), np.ones((0,)))],
        "tile": [S(lambda x, r=r: cr.tile(x, r), A(2, 3)) for r in (2, (2,), (2, 1), (2, 1, 3), (1, 0), [1, 2])]
        + [S(lambda x: cr.tile(x, (2, 2)), A(3)), S(lambda x: cr.tile(x, 3), np.array(0.4))],
        "repeat": [S(lambda x, p=p: cr.repeat(x, *p), A(2, 3)) for p in ((2,), (2, 0), (3, -1), ([1, 2], 0), ([0, 2, 1], 1), (0, 0))]
        + [S(lambda x: cr.repeat(x, 3), np.array(0.4))],
        "split": [S(lambda x, p=p: cr.split(x, *p)[1] * cr.split(x, *p)[0].sum(), A(4, 3)) for p in ((2,), (4, 0), (3, -1), ([1, 3],), ([2], 1), ([-1], 0), ([2, 9],))],
        **{name: [S(lambda x, k=k, name=name: function(name)(x, k), A(3, 4)) for k in (0, 1, -2)] + [S(function(name), A(2, 2, 3))] + [S(function(name), A(2))]
           for name in ("tril", "triu")},
        "diag": [S(lambda x, k=k: cr.diag(x, k), A(*s)) for s in ((3,), (3, 4), (0,)) for k in (0, 1, -2)],
        "diagonal": [S(lambda x, p=p: cr.diagonal(x, *p), A(2, 3, 4)) for p in ((), (1,), (-1,), (0, 2, 1), (1, 0, -1), (9,))] + [S(cr.diagonal, A(3, 3))],
        "trace": [S(cr.trace, A(3, 3)), S(lambda x: cr.trace(x, 1), A(2, 3)), S(lambda x: cr.trace(x, -1, 1, 2), A(2, 3, 4)), S(cr.trace, A(2, 2, 3))],
        "sort": along_samples(cr.sort),
        "in_order": [S(lambda x: row["in_order"](x, x3, axis=axis), A(2, 3)) for axis in (0, 1)],
        "back_in_order": [S(lambda x: row["back_in_order"](x, x3, axis=axis), A(2, 3)) for axis in (0, 1)],
        "getitem": indexing(),
        "scatter": [
            S(lambda x, i=i: row["scatter"](x, index=i, shape=(3, 4)), A(*s))
            for i, s in ((0, (4,)), ((slice(None), 1), (3,)), ((ROWS, ROWS), (4,)), (C, (int(C.sum()),)), ((0, 0), ()))
        ],
        "take": [S(lambda x, p=p: cr.take(x, *p), A(3, 4)) for p in ((2,), (-1,), ([0, 5, 5],), ([[0, 1], [1, 1]], 1), (0, -1), ([], 0), (ROWS, 0))],
        "take_along_axis": [
            S(lambda x: cr.take_along_axis(x, np.argsort(x.data, axis=0), axis=0), A(2, 3)),
            S(lambda x: cr.take_along_axis(x, [[0, 0], [2, 1]], axis=-1), A(2, 3)),
            S(lambda x: cr.take_along_axis(x, np.array([[1, 1, 0]]), 0), A(2, 3)),
            S(lambda x: cr.take_along_axis(x, np.array([[1, 1, 0]]), 1), A(2, 3)),
            S(lambda x: cr.take_along_axis(x, np.array([5, 0, 5]), None), A(2, 3)),
        ],
        "astype": [S(lambda x: cr.astype(x, float), A(2, 3)), S(lambda x: cr.astype(x, float), np.array(0.3))],
        "pick": [S(lambda x: row["pick"](x, np.array([2, 0, 2]), index=(HERE,)), A(3, 4)), S(lambda x: row["pick"](x, np.array([1, 1]), index=(slice(None), HERE)), A(3, 4)),
                 S(lambda x: row["pick"](x, np.array([[0], [2]]), np.array([1, 3]), index=(HERE, HERE)), A(3, 4))],
        "put": [S(lambda x: row["put"](x, np.array([2, 0, 2]), index=(HERE,), shape=(4,)), A(3))],
        "item": [S(row["item"], x) for x in (np.array(0.4), A(1), A(1, 1))],
        "concatenate": [
            S(lambda *xs: cr.concatenate(xs), A(2), A(3)),
            S(lambda *xs: cr.concatenate(xs, axis=1), A(2, 1), A(2, 3)),
            S(lambda *xs: cr.concatenate(xs, -2), A(2, 2), A(1, 2), A(3, 2)),
            S(lambda *xs: cr.concatenate(xs, axis=None), A(2, 2), A(3)),
            S(lambda x: cr.concatenate([K([1.0, 2.0]), x, K([3.0])]), A(2)),
            S(lambda x: cr.concatenate([x, x]), A(2)),
            S(lambda *xs: cr.concatenate(xs), np.ones((0,)), A(2)),
            S(lambda x: cr.concatenate(iter([x])), A(2)),
        ],
        "stack": [
            S(lambda *xs: cr.stack(xs), A(2), A(2)),
            S(lambda *xs: cr.stack(xs, axis=-1), A(2, 3), A(2, 3)),
            S(lambda *xs: cr.stack(xs, 1), A(2, 3), A(2, 3), A(2, 3)),
            S(lambda *xs: cr.stack(xs), 0.3, 0.7, -0.4),
            S(lambda *xs: cr.stack(xs), 0.3, np.array(0.7)),
            S(lambda x: cr.stack([x, 1.0, x]), 0.3),
            S(lambda x: cr.stack([x, K([1.0, 2.0])]), A(2)),
        ],
        **{name: reduction_samples(function(name), A) for name in ("sum", "mean", "prod", "max", "min", "norm", "logsumexp")},
        "var": [*reduction_samples(cr.var, A)] + [S(lambda x, d=d: cr.var(x, axis=1, ddof=d), A(2, 3)) for d in (0, 1, 0.5)],
        "std": [S(lambda x, a=a, k=k: cr.std(x, axis=a, keepdims=k), A(2, 3, 2)) for a in (None, 0, -2, (0, -1)) for k in (False, True)]
        + [S(lambda x, d=d: cr.std(x, axis=-1, ddof=d), A(2, 3)) for d in (0, 1, 0.5)],
        "norm_ord": [S(lambda x, o=o, a=a: cr.norm(x, ord=o, axis=a), A(2, 3)) for o in (1, 2, 3, 2.5, math.inf, -math.inf) for a in (0, -1)]
        + [S(lambda x: cr.norm(x, "fro", axis=(0, 1), keepdims=True), A(2, 3)), S(lambda x: cr.norm(x, 3, keepdims=True), A(4))],
        "p_norm": [S(lambda x, p=p: cr.norm(x, p), A(5)) for p in (3, 1.5, 0.5, -1, -2.5)] + [S(lambda x: cr.norm(x, 3, 0), A(2, 3))],
        "ties": [S(lambda x: row["ties"](x, np.max(x.data), axis=None), A(4)), S(lambda x: row["ties"](x, np.max(x.data, 0), axis=0), A(2, 3))],
        "shares": along_samples(lambda x, axis=-1: row["shares"](x, axis=axis)),
        "softmax": [*along_samples(cr.softmax), S(lambda x: cr.softmax(x, axis=(0, 1)), A(2, 3)), S(cr.softmax, np.array(0.3))],
        "log_softmax": [*along_samples(cr.log_softmax), S(lambda x: cr.log_softmax(x, axis=(0, -1)), A(2, 3)), S(cr.log_softmax, np.array(0.3))],
        "cumsum": [*along_samples(cr.cumsum), S(cr.cumsum, A(2, 3))],
        "cumprod": [*along_samples(cr.cumprod), S(cr.cumprod, A(2, 3))],
        "recurrence": [S(row["recurrence"], A(4), A(4)), S(row["recurrence"], A(3, 2), A(3, 2)), S(row["recurrence"], A(1), A(1))],
        "linear": [
            S(cr.linear, A(4, 3), A(2, 3), A(2)),
            S(cr.linear, A(2, 2, 3), A(2, 3), A(2)),
            S(lambda w, b: cr.linear(K(np.ones((4, 3))), w, b), A(2, 3), A(2)),
            S(cr.linear, np.ones((0, 3)), A(2, 3), A(2)),
            S(cr.linear, A(3), A(2, 3), A(2)),
        ],
        "dot": [
            S(lambda a, b, c, d: cr.dot([a, b], [c, d]), 0.3, -1.2, 0.7, 2.0),
            S(lambda a, b, c, d, e: cr.dot([a, b], [c, d], bias=e), 0.3, -1.2, 0.7, 2.0, 0.1),
            S(lambda a, b: cr.dot((a, b), (1.5, 2.5), 1.0), 0.3, -1.2),
            S(lambda a, b: cr.dot([a, a], [b, a]), 0.3, -1.2),
            S(lambda a, b: cr.dot([a, 2.0], [b, 3.0]), np.array(0.3), -1.2),
        ],
        "softmax_cross_entropy": [S(lambda x, r=r: cr.softmax_cross_entropy(x, LABELS, reduction=r), A(3, 4)) for r in ("mean", "sum", "none")]
        + [S(lambda x: cr.softmax_cross_entropy(x, LABELS.reshape(3, 1), reduction="mean"), A(3, 1, 4))],
        "softmax_error": [S(lambda x: row["softmax_error"](x, LABELS), A(3, 4))],
    }  # fmt: skip
    return {name: list(found) for name, found in samples.items()}


SAMPLES = by_name()
EACH = [(name, i, sample) for name, found in SAMPLES.items() for i, sample in enumerate(found)]


def with_false_zeros(x: Any) -> Any:
    """Every rule is right, but the walk is told, and has a reason to ask, that something was chosen nowhere that was."""
    y = cr.tanh(1.0 * x)
    y.op = Op("tanh", y.op.forward, y.op.rules, y.op.pull, elementwise=True)
    y.op.selects = lambda args, y, params: (args[0] > 0,)
    nothing = cr.where(x > 9.0, cr.sqrt(0.0 * x), 0.0)
    return y + nothing
