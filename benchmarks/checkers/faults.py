"""Faults in one rule of a graph: what is wrong with real gradients, put into any rule of any function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

import chainrule as cr
from chainrule.autograd.graph import ancestry
from chainrule.autograd.primitive import Op, renewed

Found = list[Any]  # the cotangents of all arguments, None where there is none
Spoiler = Callable[[Op, Sequence[Any], Any, Any, Any, int, Any], Any]  # (op, args, g, y, params, place, d) -> a wrong d

SPOILT = " (spoilt)"
TERMS: dict[str, Callable[..., Any]] = {  # what is left of a rule without one of its terms: (g, y, *inputs)
    "tanh": lambda g, y, x: g,
    "tan": lambda g, y, x: g,
    "sigmoid": lambda g, y, x: g * y,
    "silu": lambda g, y, x: g * cr.sigmoid(x),
    "gelu": lambda g, y, x: g * 0.5 * cr.erfc(-x * 0.5**0.5),
    "softmax": lambda g, y, x: y * g,
    "log_softmax": lambda g, y, x: g,
}


def data_of(x: Any) -> Any:
    return x.data if isinstance(x, cr.Node) else x


def missing_term(op: Op, args: Sequence[Any], g: Any, y: Any, params: Any, place: int, d: Any) -> Any:
    """Without a term of the rule; where that has only one, without what the last element of the result contributes."""
    if term := TERMS.get(op.name):
        return term(g, data_of(y), *map(data_of, args))
    if np.ndim(g) == 0:
        return None
    kept = np.array(g)
    kept.reshape(-1)[-1:] = 0.0
    return op.pull(args, kept, y, params)[place]


def transposed(op: Op, args: Sequence[Any], g: Any, y: Any, params: Any, place: int, d: Any) -> Any:
    return None if np.ndim(d) < 2 else np.reshape(np.transpose(d), np.shape(d))


def without_unbroadcast(op: Op, args: Sequence[Any], g: Any, y: Any, params: Any, place: int, d: Any) -> Any:
    """Where an argument was repeated, only the first of its copies counts."""
    shape = np.shape(data_of(args[place]))
    if np.shape(d) == shape:
        return None
    new = np.ndim(d) - len(shape)
    first = [0 if i < new or (shape[i - new] == 1 and n > 1) else slice(None) for i, n in enumerate(np.shape(d))]
    kept = np.zeros_like(d)
    kept[tuple(first)] = d[tuple(first)]
    return kept


def stale(op: Op, args: Sequence[Any], g: Any, y: Any, params: Any, place: int, d: Any) -> Any:
    """What the rule gives at data of a step ago."""
    before = [type(x)(like(x.data, 0.95)) if isinstance(x, cr.Node) else x for x in args]
    params = renewed(params)
    y = op.forward(*map(data_of, before), **params)
    return op.pull(before, g, y, params)[place]


def like(x: Any, factor: float) -> Any:
    return x * factor if type(x) is float else (x * factor).astype(x.dtype)


def in_one_element(op: Op, args: Sequence[Any], g: Any, y: Any, params: Any, place: int, d: Any) -> Any:
    """1 % off in one element that is not 0."""
    nonzero = np.flatnonzero(d)
    factors = np.ones(np.shape(d))
    factors.reshape(-1)[nonzero[len(nonzero) // 2 : len(nonzero) // 2 + 1]] = 1.01
    return d * factors


FAULTS: dict[str, Spoiler] = {
    "sign": lambda op, args, g, y, params, place, d: -d,
    "factor 2": lambda op, args, g, y, params, place, d: d * 2.0,
    "1 % off": lambda op, args, g, y, params, place, d: d * 1.01,
    "missing term": missing_term,
    "transposed": transposed,
    "missing un-broadcast": without_unbroadcast,
    "stale value": stale,
    "zero": lambda op, args, g, y, params, place, d: d * 0.0,
}
IN_ONE_ELEMENT = "1 % in one element"
SPOILERS = {**FAULTS, IN_ONE_ELEMENT: in_one_element}


def spoilt(op: Op, place: int, fault: str) -> Op:
    """The same operation with that fault in the rule of one argument."""
    wrong: Any = object.__new__(Op)
    for slot in Op.__slots__:
        setattr(wrong, slot, getattr(op, slot))
    wrong.name, wrong.fits = op.name + SPOILT, None
    wrong.pull = partial(pulled, op, place, SPOILERS[fault])
    return wrong


def pulled(op: Op, place: int, spoil: Spoiler, args: Any, g: Any, y: Any, params: Any) -> Found:
    found = list(op.pull(args, g, y, params))
    if found[place] is not None:
        wrong = spoil(op, args, g, y, params, place, found[place])
        found[place] = found[place] if wrong is None else wrong
    return found


def nodes_of(y: Any, name: str) -> list[Any]:
    """The nodes that an operation of this name made, in the order of computation."""
    found = ancestry(y)[::-1] if isinstance(y, cr.Node) and y.args else []
    return [node for node in found if node.args and node.op.name == name]


def planted(f: Callable[..., Any], name: str, which: int, place: int, fault: str) -> Callable[..., Any]:
    """The function with a fault in the rule of one argument of one of its operations: of so many of this name, that one."""

    def wrong(*xs: Any) -> Any:
        y = f(*xs)
        for node in nodes_of(y, name)[which : which + 1]:
            node.op = spoilt(node.op, place, fault)
        return y

    return wrong
