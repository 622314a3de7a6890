"""What random points of single functions do not show: mistakes that people make by hand, deep networks, order 2, wiring.

Each case is a function of nodes at given arguments, right or with a fault. A fault counts only if it changes the gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from case import Case, Culprits
from faults import FAULTS, IN_ONE_ELEMENT, SPOILT, planted
from written import OPERATIONS

import chainrule as cr
from chainrule.autograd.primitive import Op

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from samples import SAMPLES, Sample

PLANTED, CORRECT = "planted", "correct"


@dataclass(frozen=True)
class Group:
    """A row of the comparison: cases of one kind, that a checker is to fail or to pass."""

    title: str
    kind: str
    cases: Sequence[Case]


def plant(case: Case, name: str, fault: str, which: int = 0, place: int = 0) -> Case | None:
    """The case with a fault in one rule of one node of this name, or None where it makes no difference."""
    wrong = planted(case.f, name, which, place, fault)
    if not shows(case, wrong):
        return None
    return replace(case, name=f"{case.name}: {fault}", f=wrong, culprits=frozenset({(name + SPOILT, place)}))


def plant_or_fail(case: Case, name: str, fault: str) -> Case:
    found = plant(case, name, fault)
    if found is None:
        raise ValueError(f"{fault} makes no difference to {case.name}")
    return found


def shows(case: Case, wrong: Callable[..., Any]) -> bool:
    """Whether the gradient of the whole is another: else nobody could see the fault from outside."""
    g = np.random.default_rng(2).uniform(0.5, 1.5, case.value(*case.args).shape)
    pairs = zip(case.gradient(g, *case.args), replace(case, f=wrong).gradient(g, *case.args), strict=True)
    return not all(np.allclose(after, before, rtol=1e-6, atol=0.0, equal_nan=True) for before, after in pairs)


def sampled(name: str, i: int, sample: Sample) -> Case:
    return Case(f"{name}, sample {i}", sample.f, tuple([x if type(x) is float else np.asarray(x) for x in sample.args]))


def varies(case: Case) -> bool:
    y = case.f(*case.nodes())
    return isinstance(y, cr.Node) and bool(y.args)


# A network of 20 layers.

LAYERS, FAULTY_LAYER, WIDTH = 20, 11, 4


def network(activation: Callable[[Any], Any] = cr.tanh) -> Case:
    """tanh after every product of matrices, but in one layer another activation."""
    rng = np.random.default_rng(0)
    weights = [rng.normal(size=(WIDTH, WIDTH)) for _ in range(LAYERS)]

    def f(x: Any) -> Any:
        for i, weight in enumerate(weights):
            x = x @ cr.Tensor(weight)
            x = activation(x) if i == FAULTY_LAYER else cr.tanh(x)
        return cr.mean(cr.square(x))

    return Case("20 layers", f, (rng.normal(size=(WIDTH, WIDTH)),))


ACTIVATIONS = [operation for operation in OPERATIONS if operation.activation]


def deep() -> Iterator[Case]:
    for kind in FAULTS:
        found = (plant(network(), name, kind, FAULTY_LAYER) for name in ("matmul", "tanh"))
        yield from islice(filter(None, found), 1)
    for operation in ACTIVATIONS[::2]:
        for name, wrong, culprits in islice(operation.faulty(), 1):
            yield replace(network(wrong), name=f"20 layers, {name}", culprits=culprits)


def deep_and_right() -> Iterator[Case]:
    for operation in ACTIVATIONS[1::4]:
        yield replace(network(operation.right()), name=f"20 layers, {operation.name}")


# Rules of rules: right at order 1, wrong at order 2.


def plain(x: Any) -> Any:
    return x.data if isinstance(x, cr.Node) else x


SMOOTH: dict[str, tuple[Any, Any, Any]] = {  # f, f', f''
    "cube": (lambda x: x**3, lambda x: 3.0 * x**2, lambda x: 6.0 * x),
    "exp": (np.exp, np.exp, np.exp),
    "sin": (np.sin, np.cos, lambda x: -np.sin(x)),
    "tanh": (np.tanh, lambda x: 1.0 - np.tanh(x) ** 2, lambda x: -2.0 * np.tanh(x) * (1.0 - np.tanh(x) ** 2)),
    "reciprocal": (lambda x: 1.0 / x, lambda x: -1.0 / x**2, lambda x: 2.0 / x**3),
    "gaussian": (lambda x: np.exp(-x * x), lambda x: -2.0 * x * np.exp(-x * x), lambda x: (4.0 * x * x - 2.0) * np.exp(-x * x)),
}  # fmt: skip

POINTS = np.array([[0.4, -0.9, 1.3], [1.8, -0.3, 0.7]])


def second_order(name: str, spoil: Callable[[Any], Any] | None) -> Case:
    """A function whose rule calls another operation, whose own rule is at fault; without one the rule is frozen data."""
    f, slope, curvature = SMOOTH[name]
    operation = cr.custom("slope", slope, lambda g, y, x: g * (spoil(curvature(plain(x))) if spoil else 0.0))
    row = cr.custom(name, f, lambda g, y, x: g * operation(x))
    return Case(name, lambda x: cr.sin(row(x)), (POINTS,), frozenset({(name, 0)}), order=2)


def in_one(d: Any) -> Any:
    d = np.array(d)
    d.reshape(-1)[d.size // 2] *= 1.01
    return d


CURVED: dict[str, Callable[[Any], Any] | None] = {
    "sign": lambda d: -d,
    "factor 2": lambda d: 2.0 * d,
    "1 % in one element": in_one,
    "off by one": lambda d: np.roll(d, 1),
    "frozen": None,
}


def rules_of_rules() -> Iterator[Case]:
    for name in SMOOTH:
        for kind, spoil in CURVED.items():
            yield replace(second_order(name, spoil), name=f"rule of the rule of {name}: {kind}")


def right_rules_of_rules() -> Iterator[Case]:
    for name in SMOOTH:
        yield replace(second_order(name, lambda d: d), name=f"{name}, order 2", culprits=frozenset())
    for name, found in SAMPLES.items():
        yield from islice((replace(c, order=2) for i, s in enumerate(found) if varies(c := sampled(name, i, s))), 1)


# Wiring: every operation is right, what lies between them is not.

HIDDEN = np.array([0.3, -1.2, 0.8])


def unrecorded(x: Any) -> Any:
    with cr.no_grad():
        scale = cr.exp(x)
    return cr.sum(x * scale)


def in_numpy(x: Any) -> Any:
    return cr.sum(x * np.tanh(x.data))


def as_number(x: Any) -> Any:
    return cr.sum(cr.sin(x)) * float(cr.sum(x).data)


def copied(x: Any) -> Any:
    return cr.sum(cr.square(cr.Tensor(cr.tanh(x).data)) + cr.sin(x))


def normalised(x: Any) -> Any:
    """With the statistics left out of the graph."""
    return cr.sum(cr.square((x - x.data.mean()) / x.data.std()) * HIDDEN)


def closed_over(x: Any) -> Any:
    scale = cr.custom("scale", lambda h: h * x.data[0], lambda g, y, h: g * x.data[0])
    return cr.sum(scale(cr.sin(x)))


def unrolled(x: Any) -> Any:
    """A recurrence cut after two steps."""
    h = x
    for i in range(4):
        h = cr.tanh(h * 1.3 + x)
        h = h.detach() if i == 1 else h
    return cr.sum(h)


def false_mask(x: Any) -> Any:
    """The walk is told, and has a reason to ask, that nothing was chosen where something was."""
    y = cr.tanh(1.0 * x)
    if y.args:
        y.op = Op("tanh", y.op.forward, y.op.rules, y.op.pull, elementwise=True)
        y.op.selects = lambda args, y, params: (args[0] > 0,)
    return cr.sum(y + cr.where(x > 1e9, cr.sqrt(0.0 * x), 0.0))


def recomputed(seed: Callable[[Any], Any]) -> Callable[..., Any]:
    """A part that is computed anew in the backward pass, started from some seed."""

    def inner(x: Any) -> Any:
        return cr.tanh(cr.sin(x) * 2.0)

    def rule(g: Any, y: Any, x: Any) -> Any:
        return cr.vjp(inner, np.array(plain(x)))[1](seed(g))[0]

    part = cr.custom("recomputed", lambda x: np.tanh(np.sin(x) * 2.0), rule)
    return lambda x: cr.sum(part(x) * HIDDEN)


NOBODY: Culprits = frozenset()
PART: Culprits = frozenset({("recomputed", 0)})
WIRING: list[tuple[str, Callable[..., Any], Culprits]] = [
    ("detached factor", lambda x: cr.sum(x * x.detach()), NOBODY),
    ("detached inside", lambda x: cr.sum(cr.tanh(cr.sin(x).detach() + x)), NOBODY),
    ("computed under no_grad", unrecorded, NOBODY),
    ("computed in NumPy", in_numpy, NOBODY),
    ("turned into a number", as_number, NOBODY),
    ("copied into a new Tensor", copied, NOBODY),
    ("statistics left out", normalised, NOBODY),
    ("recurrence cut", unrolled, NOBODY),
    ("hidden input", closed_over, NOBODY),
    ("false mask", false_mask, NOBODY),
    ("seed 1 for the cotangent", recomputed(lambda g: np.ones(np.shape(g))), PART),
    ("seed doubled", recomputed(lambda g: 2.0 * g), PART),
    ("seed of the neighbour", recomputed(lambda g: np.roll(g, 1)), PART),
]


def wiring() -> Iterator[Case]:
    for name, f, culprits in WIRING:
        yield Case(name, f, (np.array([0.4, -0.9, 1.3]),), culprits)


# Unusual, and right.

F = np.array
INTEGERS: list[tuple[str, Callable[..., Any], Any]] = [
    ("times an integer", lambda x: x * 3, np.ones(2)),
    ("to an integer power", lambda x: x**3, F([-2.0, 0.0, 1.5])),
    ("to integer powers", lambda x: x ** np.array([0, 1, 2, -1]), F([2.0, -1.0, 0.5, 3.0])),
    ("rows by number", lambda x: cr.take(x, np.array([0, 0, 2]), 0), np.arange(6.0).reshape(3, 2)),
    ("cross entropy with labels", lambda x: cr.softmax_cross_entropy(x, np.array([0, 2, 1])), np.eye(3)),
    ("product with an integer matrix", lambda x: x @ np.array([[1, 2], [3, 4]]), F([[0.5, -1.0]])),
    ("where with booleans", lambda x: cr.where(np.array([True, False, True]), x, 2 * x), F([1.0, 2.0, 3.0])),
    ("whole numbers as floats", cr.sin, F([1.0, 2.0, 3.0])),
    ("clip between integers", lambda x: cr.clip(x, 0, 2), F([-1.0, 1.0, 3.0])),
    ("integer division", lambda x: x / np.array([2, 3]), F([1.0, 2.0])),
]

NOTHING = np.zeros((0, 2))
EMPTY: list[tuple[str, Callable[..., Any], Any]] = [
    ("tanh of nothing", cr.tanh, NOTHING),
    ("sum of nothing", cr.sum, NOTHING),
    ("sum along an empty axis", lambda x: cr.sum(x, axis=0), NOTHING),
    ("product with no rows", lambda a, b: a @ b, (NOTHING, np.ones((2, 3)))),
    ("product over no columns", lambda a, b: a @ b, (np.zeros((2, 0)), np.zeros((0, 3)))),
    ("joined with nothing", lambda a, b: cr.concatenate([a, b]), (NOTHING, np.ones((1, 2)))),
    ("nothing plus a row", lambda a, b: a + b, (NOTHING, np.ones(2))),
    ("no elements taken", lambda x: x[np.array([], dtype=int)], np.ones(3)),
    ("norm of nothing", cr.norm, np.zeros(0)),
    ("product of nothing", cr.prod, np.zeros(0)),
]


def of(table_of_cases: Sequence[tuple[str, Callable[..., Any], Any]]) -> Iterator[Case]:
    for name, f, args in table_of_cases:
        yield Case(name, f, args if isinstance(args, tuple) else (args,))


def by_hand(faulty: bool) -> Iterator[Case]:
    for operation in OPERATIONS:
        if faulty:
            yield from (Case(name, f, operation.args, culprits) for name, f, culprits in operation.faulty())
        else:
            yield Case(operation.name, operation.right(), operation.args)


def cancelling() -> Iterator[Case]:
    """Sums of ordinary numbers that leave little of their terms, as happens in any network."""
    rng = np.random.default_rng(5)
    for left in (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-9, 1e-12):
        x, w = rng.normal(size=4), rng.normal(size=4)
        w[3] = (left - x[:3] @ w[:3]) / x[3]
        yield Case(f"a product that leaves {left:g}", lambda a, b: a @ b, (x[None], w[:, None]))
        yield Case(f"a sum that leaves {left:g}", cr.sum, (x * w,))
        yield Case(f"a mean that leaves {left:g}", cr.mean, (x * w,))
        yield Case(f"a linear layer that leaves {left:g}", cr.linear, (np.array([x, 2.0 * x]), w[None], np.zeros(1)))
        yield Case(f"a difference that leaves {left:g}", cr.sub, (x, x * (1.0 + left)))
        yield Case(f"a product of matrices that leaves {left:g}", cr.matmul, (rng.normal(size=(4, 4)), np.outer(w, x)))


def one_of_a_hundred() -> Iterator[Case]:
    """1 % off in one element of a hundred."""
    x = np.random.default_rng(3).uniform(0.5, 2.0, (10, 10))
    for name in ("exp", "sin", "square", "log", "tanh", "sqrt", "arctan", "sigmoid", "softplus", "reciprocal"):
        yield plant_or_fail(Case(name, getattr(cr, name), (x,)), name, IN_ONE_ELEMENT)
    for name in ("sum", "mean", "norm", "logsumexp", "var", "softmax", "cumsum"):
        yield plant_or_fail(Case(name, getattr(cr, name), (x,)), name, IN_ONE_ELEMENT)
    for name in ("mul", "div", "matmul", "pow", "maximum"):
        yield plant_or_fail(Case(name, getattr(cr, name), (x, 1.3 * x.T)), name, IN_ONE_ELEMENT)


def groups(quick: bool = False) -> Iterator[Group]:
    """All that is compared; `quick` takes every tenth case of each group."""
    every = 10 if quick else 1
    for title, kind, cases in (
        ("operations written by hand, alone", PLANTED, by_hand(True)),
        ("1 % off in one element of 100", PLANTED, one_of_a_hundred()),
        ("inside a network of 20 layers", PLANTED, deep()),
        ("in rules of rules (order 2)", PLANTED, rules_of_rules()),
        ("between the operations", PLANTED, wiring()),
        ("order 2", CORRECT, right_rules_of_rules()),
        ("operations written by hand", CORRECT, by_hand(False)),
        ("sums that nearly cancel", CORRECT, cancelling()),
        ("inside a network of 20 layers", CORRECT, deep_and_right()),
        ("integer arguments", CORRECT, of(INTEGERS)),
        ("empty arrays", CORRECT, of(EMPTY)),
    ):
        yield Group(title, kind, list(islice(cases, 0, None, every)))
