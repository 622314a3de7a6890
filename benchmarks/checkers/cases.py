"""What is checked: functions with a fault planted in them, and functions that are right.

Each is a function of nodes at given arguments. Faults come in two ways: the rule of one argument of a row of the
library's table is spoilt, or an operation is written by hand with a mistake that people make. A spoilt rule counts as
a fault only if it changes the gradient.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from case import Case, Culprits
from written import OPERATIONS

import chainrule as cr
from chainrule.autograd.graph import ancestry
from chainrule.autograd.primitive import Op, table

sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

from samples import SAMPLES, Sample

PLANTED, CORRECT = "planted", "correct"


@dataclass(frozen=True)
class Group:
    """A row of the comparison: cases of one kind, that a checker is to fail or to pass."""

    title: str
    kind: str
    cases: Sequence[Case]


# Spoilt rows of the table.

Found = list[Any]
Spoiler = Callable[[Found, Callable[[], Found]], Found]  # (cotangents, cotangents at older data) -> wrong ones


def times(place: int, factor: Any) -> Spoiler:
    return lambda found, older: [d * factor if i == place else d for i, d in enumerate(found)]


def one_percent(found: Found, place: int, shape: tuple[int, ...]) -> Spoiler | None:
    """Off in one element only, which is not 0."""
    nonzero = np.flatnonzero(found[place])
    if not nonzero.size:
        return None
    factors = np.ones(np.shape(found[place]))
    factors.reshape(-1)[nonzero[len(nonzero) // 2]] = 1.01
    return times(place, factors if factors.ndim else 1.01)


def missing_unbroadcast(found: Found, place: int, shape: tuple[int, ...]) -> Spoiler | None:
    """Where an argument was repeated, only the first of its copies counts."""
    d = np.asarray(found[place])
    if d.shape == shape:
        return None
    new = d.ndim - len(shape)
    first = [0 if i < new or (shape[i - new] == 1 and n > 1) else slice(None) for i, n in enumerate(d.shape)]
    kept = np.zeros(d.shape)
    kept[tuple(first)] = 1.0
    return times(place, kept)


def off_by_one(found: Found, place: int, shape: tuple[int, ...]) -> Spoiler | None:
    if np.ndim(found[place]) == 0:
        return None
    return lambda found, older: [np.roll(d, 1) if i == place else d for i, d in enumerate(found)]


def transposed(found: Found, place: int, shape: tuple[int, ...]) -> Spoiler | None:
    d = np.asarray(found[place])
    if d.ndim != 2 or d.shape[0] != d.shape[1]:
        return None
    return lambda found, older: [d.T if i == place else d for i, d in enumerate(found)]


def swapped(found: Found, place: int, shape: tuple[int, ...]) -> Spoiler | None:
    if len(found) != 2 or found[0] is None or found[1] is None or np.shape(found[0]) != np.shape(found[1]):
        return None
    return lambda found, older: found[::-1]


def stale(found: Found, place: int, shape: tuple[int, ...]) -> Spoiler:
    return lambda found, older: [
        old if i == place else d for i, (d, old) in enumerate(zip(found, older(), strict=True))
    ]


KINDS: dict[str, Callable[[Found, int, tuple[int, ...]], Spoiler | None]] = {
    "sign": lambda found, place, shape: times(place, -1.0),
    "1 % in one element": one_percent,
    "missing un-broadcast": missing_unbroadcast,
    "transposed": transposed,
    "factor 2": lambda found, place, shape: times(place, 2.0),
    "swapped arguments": swapped,
    "off by one": off_by_one,
    "stale value": stale,
    "missing": lambda found, place, shape: times(place, 0.0),
}


def spoilt(op: Op, spoil: Spoiler) -> Op:
    def pull(args: Any, g: Any, y: Any, params: Any) -> Found:
        return spoil(list(op.pull(args, g, y, params)), partial(older, op, args, g, params))

    return Op(f"{op.name} (spoilt)", op.forward, op.rules, pull, op.symbol, op.elementwise)


def older(op: Op, args: Sequence[Any], g: Any, params: Any) -> Found:
    """What the rules give at data of a step ago."""
    before = [type(x)(0.95 * x.data) if isinstance(x, cr.Node) else x for x in args]
    y = op.forward(*[x.data if isinstance(x, cr.Node) else x for x in before], **params)
    return list(op.pull(before, g, y, params))


def nodes_of(y: Any, name: str) -> list[Any]:
    """The nodes that an operation of this name made, in the order of computation."""
    found = ancestry(y)[::-1] if isinstance(y, cr.Node) else []
    return [n for n in found if n.args and n.op is not None and n.op.name == name]


def plant(case: Case, name: str, kind: str, which: int = 0, place: int = 0) -> Case | None:
    """The case with a fault in one rule of one node of this name, or None where it makes no difference."""
    found = nodes_of(case.f(*case.nodes()), name)
    if len(found) <= which:
        return None
    node = found[which]
    places = [i for i, x in enumerate(node.args) if isinstance(x, cr.Node)]
    place = places[place % len(places)]
    g = node.seed(np.random.default_rng(1).uniform(0.5, 1.5, np.shape(node.data)))
    right = list(node.op.pull(node.args, g, node.data, node.params))
    if right[place] is None or not np.all(np.isfinite(right[place])):
        return None
    spoil = KINDS[kind](right, place, np.shape(node.args[place].data))
    if spoil is None:
        return None
    wrong = spoilt(node.op, spoil)
    differing = [i for i in places if differ(node, right, wrong.pull(node.args, g, node.data, node.params), i)]
    if not differing:
        return None

    def f(*xs: Any) -> Any:
        y = case.f(*xs)
        for n in nodes_of(y, name)[which : which + 1]:
            n.op = spoilt(n.op, spoil)
        return y

    if not shows(case, f):
        return None
    return replace(case, name=f"{case.name}: {kind}", f=f, culprits=frozenset((wrong.name, i) for i in differing))


def differ(node: Any, right: Found, wrong: Sequence[Any], place: int) -> bool:
    if right[place] is None:
        return False
    before, after = (np.asarray(node.args[place].fit(x)) for x in (right[place], wrong[place]))
    return not np.allclose(before, after, rtol=1e-6, atol=0.0)


def shows(case: Case, wrong: Callable[..., Any]) -> bool:
    """Whether the gradient of the whole is another: else nobody could see the fault from outside."""
    g = np.random.default_rng(2).uniform(0.5, 1.5, case.value(*case.args).shape)
    pairs = zip(case.gradient(g, *case.args), replace(case, f=wrong).gradient(g, *case.args), strict=True)
    return not all(np.allclose(after, before, rtol=1e-6, atol=0.0, equal_nan=True) for before, after in pairs)


def sampled(name: str, i: int, sample: Sample, dtype: Any = float) -> Case:
    args = tuple([x if type(x) is float else np.asarray(x).astype(dtype) for x in sample.args])
    return Case(f"{name}, sample {i}", sample.f, args)


def varies(case: Case) -> bool:
    y = case.f(*case.nodes())
    return isinstance(y, cr.Node) and bool(y.args)


def invented(case: Case, name: str) -> Case | None:
    """A slope where there is none, in a row that is constant between its jumps."""
    found = nodes_of(case.f(*case.nodes()), name)
    if not found:
        return None
    wrong = f"{name} (spoilt)"

    def f(*xs: Any) -> Any:
        y = case.f(*xs)
        for n in nodes_of(y, name)[:1]:
            op = n.op
            n.op = Op(wrong, op.forward, op.rules, lambda args, g, y, params: [g for _ in args], None, op.elementwise)
        return y

    culprits = frozenset((wrong, i) for i, x in enumerate(found[0].args) if isinstance(x, cr.Node))
    return replace(case, name=f"{case.name}: a slope where there is none", f=f, culprits=culprits)


def spoilt_rows(each: int) -> Iterator[Case]:
    """Every row of the table, each with so many faults of different kinds, all kinds in turn."""
    kinds = list(KINDS)
    for turn, name in enumerate(table):
        cases = [sampled(name, i, sample) for i, sample in enumerate(SAMPLES[name])]
        in_turn = kinds[turn % len(kinds) :] + kinds[: turn % len(kinds)]
        found = (
            next(filter(None, (plant(c, name, kind, 0, i) for i, c in enumerate(cases))), None) for kind in in_turn
        )
        faulty = list(islice(filter(None, found), each))
        yield from faulty or filter(None, [invented(cases[0], name)])


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
    for kind in KINDS:
        found = (plant(network(), name, kind, FAULTY_LAYER) for name in ("matmul", "tanh"))
        yield from islice(filter(None, found), 1)
    for operation in ACTIVATIONS[::2]:
        for name, wrong, culprits in islice(operation.faulty(), 1):
            yield replace(network(wrong), name=f"20 layers, {name}", culprits=culprits)


def deep_and_right() -> Iterator[Case]:
    for operation in ACTIVATIONS[1::4]:
        yield replace(network(operation.right()), name=f"20 layers, {operation.name}")


# At all scales.

BLAMED: Culprits = frozenset({("wave", 0)})
SCALES = (1e-12, 1e-6, 1.0, 1e6, 1e12)


def wave(of_result: float, of_argument: float, factor: float) -> Callable[..., Any]:
    return cr.custom(
        "wave",
        lambda x: of_result * np.sin(x / of_argument),
        lambda g, y, x: g * factor * (of_result / of_argument) * cr.cos(x / of_argument),
    )


def scales(factors: Sequence[float]) -> Iterator[Case]:
    for of_result in SCALES:
        for of_argument in SCALES:
            for i, factor in enumerate(factors):
                x: Any = 0.3 * of_argument if i == 0 else of_argument * np.linspace(-1.4, 1.4, 10)
                name = f"{of_result:g} sin(x / {of_argument:g}), gradient times {factor:g}"
                yield Case(name, wave(of_result, of_argument, factor), (x,), BLAMED if factor != 1.0 else frozenset())


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


def overwritten(x: Any) -> Any:
    h = cr.tanh(x)
    y = cr.sum(h * h)
    h.data[...] *= 1.5  # after use
    return y


def overwritten_input(x: Any) -> Any:
    h = 1.0 * x
    y = cr.sum(cr.sin(h))
    h.data[0] += 0.25
    return y


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
    ("result overwritten after use", overwritten, frozenset({("tanh", None), ("mul", None)})),
    ("argument overwritten after use", overwritten_input, frozenset({("mul", None), ("sin", None)})),
    ("seed 1 for the cotangent", recomputed(lambda g: np.ones(np.shape(g))), PART),
    ("seed doubled", recomputed(lambda g: 2.0 * g), PART),
    ("seed of the neighbour", recomputed(lambda g: np.roll(g, 1)), PART),
]


def wiring() -> Iterator[Case]:
    for name, f, culprits in WIRING:
        yield Case(name, f, (np.array([0.4, -0.9, 1.3]),), culprits)


# Hard, and right.

F = np.array
KINKS: list[tuple[str, Callable[..., Any], Any]] = [
    *[(f"{name} at {x:g}", f, x) for name, f in (("relu", cr.relu), ("abs", cr.abs), ("leaky_relu", cr.leaky_relu))
      for x in (0.0, 1e-9, -1e-9, 1e-300, 1e-7)],
    ("relu of an array", cr.relu, F([-1.0, 0.0, 2.0, 1e-9])),
    ("abs of zeros", cr.abs, np.zeros(3)),
    ("max of equals", cr.max, np.ones(4)),
    ("max of all but equals", cr.max, F([1.0, 1.0 + 1e-12, 0.0])),
    ("min along an axis, equals", lambda x: cr.min(x, axis=1), np.ones((2, 3))),
    ("maximum, equal", lambda x: cr.maximum(x, 1.0), F([1.0, 2.0])),
    ("maximum of two, equal", cr.maximum, (F([1.0, 2.0]), F([1.0, -1.0]))),
    ("minimum, all but equal", lambda x: cr.minimum(x, 1.0), F([1.0 - 1e-9, 1.0 + 1e-9])),
    ("clip on its borders", lambda x: cr.clip(x, 0.0, 1.0), F([0.0, 0.5, 1.0])),
    ("clip next to its borders", lambda x: cr.clip(x, 0.0, 1.0), F([1e-9, 1.0 - 1e-9, 1.0 + 1e-9])),
    ("norm at 0", cr.norm, np.zeros(3)),
    ("norm next to 0", cr.norm, F([1e-9, 0.0, -1e-9])),
    ("norm of order 1", lambda x: cr.norm(x, 1), F([0.0, 1.0])),
    ("std of equals", cr.std, np.ones(3)),
    ("hypot at 0", cr.hypot, (0.0, 0.0)),
    ("sqrt next to 0", cr.sqrt, 1e-9),
    ("sqrt at 1e-300", cr.sqrt, 1e-300),
    ("cbrt next to 0", cr.cbrt, 1e-9),
    ("log next to 0", cr.log, F([1e-9, 1e-15])),
    ("reciprocal next to 0", cr.reciprocal, F([1e-6, -1e-8])),
    ("floor at an integer", cr.floor, 1.0),
    ("floor next to an integer", cr.floor, 1.0 - 1e-9),
    ("round at a half", cr.round, 0.5),
    ("mod next to its jump", lambda x: cr.mod(x, 1.0), F([1e-9, 0.5, 1.0 - 1e-9])),
    ("sort of equals", cr.sort, F([1.0, 1.0, 0.0])),
    ("elu with alpha 0.5 at 0", lambda x: cr.elu(x, 0.5), 0.0),
    ("where at its border", lambda x: cr.where(x > 0.0, x, 0.1 * x), F([0.0, 1.0])),
    ("relu of relu at 0", lambda x: cr.relu(cr.relu(x)), 0.0),
    ("sum of kinks", lambda x: cr.sum(cr.abs(x) + cr.relu(x)), np.zeros(3)),
    ("hinge at its corner", lambda x: cr.sum(cr.relu(1.0 - x)), F([1.0, 0.5, 2.0])),
    ("a layer of dead units", lambda x: cr.sum(cr.relu(x @ np.array([[1.0, 0.5], [-1.0, 0.25]]))), np.zeros((3, 2))),
    ("arccos next to 1", cr.arccos, 1.0 - 1e-9),
    ("arctan2 next to 0", cr.arctan2, (1e-9, -1e-9)),
]  # fmt: skip

SCALED: list[tuple[str, Callable[..., Any], Any]] = [
    *[(f"{name} at {x:g}", f, x) for name, f in (("square", cr.square), ("tanh", cr.tanh), ("arctan", cr.arctan), ("sin", cr.sin))
      for x in (1e-300, 1e-12, 1e-5)],
    *[(f"{name} at {x:g}", f, x) for name, f in (("log", cr.log), ("sqrt", cr.sqrt), ("log1p", cr.log1p), ("cbrt", cr.cbrt))
      for x in (1e5, 1e12, 1e300)],
    *[(f"x times {c:g}", lambda x, c=c: x * c, 1.7) for c in (1e-300, 1e-100, 1e-12, 1e12, 1e100, 1e300)],
    *[(f"x³ at {x:g}", lambda x: x * x * x, x) for x in (1e-90, 1e-30, 1e30, 1e90)],
    ("sum of squares of 1e-8 to 1e8", lambda x: cr.sum(cr.square(x)), F([1e-8, 1.0, 1e8])),
    ("product of 1e-100 to 1e100", cr.prod, F([1e-100, 1e100, 3.0])),
    ("softmax of thousands", cr.softmax, F([1000.0, 0.0, -1000.0])),
    ("logsumexp of ten thousands", cr.logsumexp, F([1e4, 1e4, 0.0])),
    ("log of 1e-300 and 1e300", cr.log, F([1e-300, 1e300])),
    ("tanh of 0 to 1e300", cr.tanh, F([0.0, 1e-300, 40.0, 1e300])),
    ("norm of 1e-200", cr.norm, F([1e-200, 2e-200])),
    ("norm of 1e200", cr.norm, F([1e200, 2e200])),
    ("sigmoid from -700 to 700", cr.sigmoid, F([-700.0, -30.0, 30.0, 700.0])),
    ("softplus from -700 to 700", cr.softplus, F([-700.0, -30.0, 30.0, 700.0])),
    ("variance around 1e8", cr.var, F([1e8, 1e8 + 1.0, 1e8 + 2.0])),
    ("a line of slope 1e-9 on 1e6", lambda x: 1e6 + 1e-9 * x, 1.0),
    ("ratio of small numbers", lambda x, y: x / y, (1e-150, 3e-150)),
    ("badly scaled product", lambda a, b: a @ b, (F([[1e-6, 1e6], [1.0, 1e3]]), F([[1e6], [1e-6]]))),
    ("hypot of 1e-200 and 1e-201", cr.hypot, (1e-200, 1e-201)),
    ("Rosenbrock", lambda x: 100.0 * cr.square(x[1] - cr.square(x[0])) + cr.square(1.0 - x[0]), F([-1.2, 1.0])),
    ("Rosenbrock at its minimum", lambda x: 100.0 * cr.square(x[1] - cr.square(x[0])) + cr.square(1.0 - x[0]), np.ones(2)),
    ("exp(-x²) far out", lambda x: cr.exp(-x * x), F([5.0, 10.0, 20.0])),
    ("erfc far out", cr.erfc, F([3.0, 10.0, 20.0])),
    ("exp near overflow", cr.exp, 700.0),
]  # fmt: skip

OSCILLATING: list[tuple[str, Callable[..., Any], Any]] = [
    *[(f"sin {k:g} x at {x:g}", lambda x, k=k: cr.sin(k * x), x) for k in (1e2, 1e3, 1e4, 1e6) for x in (0.7, 0.123)],
    ("sin 1e6 x of an array", lambda x: cr.sin(1e6 * x), np.linspace(0.1, 0.9, 5)),
    ("sin(1 / x) at 0.001", lambda x: cr.sin(1.0 / x), 1e-3),
    ("x² sin(1 / x) at 1e-4", lambda x: x * x * cr.sin(1.0 / x), 1e-4),
    ("cos of x²", lambda x: cr.cos(x * x), F([10.0, 30.0])),
    ("a ripple on a slope", lambda x: x + 1e-3 * cr.sin(1e4 * x), 0.4),
    ("0 x", lambda x: x * 0.0, np.ones(3)),
    ("x² - x²", lambda x: cr.square(x) - cr.square(x), 3.0),
    ("relu of negative numbers", cr.relu, -np.ones(4)),
    ("floor between", cr.floor, F([0.5, 1.3, -2.7])),
    ("sign", cr.sign, F([0.5, -1.3])),
    ("tanh where it is flat", cr.tanh, F([30.0, -40.0])),
    ("exp(-1 / x²) at 0.01", lambda x: cr.exp(-1.0 / (x * x)), 0.01),
    ("x⁴ at 0", lambda x: x**4, 0.0),
    ("x⁵ at 1e-3", lambda x: x**5, 1e-3),
    ("1 - cos x at 1e-6", lambda x: 1.0 - cr.cos(x), 1e-6),
    ("cosine at its maximum", cr.cos, 0.0),
]  # fmt: skip

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


def rows_at(dtype: Any, most: int) -> Iterator[Case]:
    """Every row at arrays of this type; a plain number would be float64."""
    for name, found in SAMPLES.items():
        arrays = (
            (i, sample) for i, sample in enumerate(found) if dtype is np.float64 or float not in map(type, sample.args)
        )
        cases = (sampled(name, i, sample, dtype) for i, sample in arrays)
        yield from islice(filter(varies, cases), most)


def hard_and_wrong() -> Iterator[Case]:
    """The hard cases again, with a fault: at a kink one that lies outside the slopes of both sides."""
    for kind, cases in (("sign", of(KINKS)), ("factor 2", of([*SCALED, *OSCILLATING, *INTEGERS]))):
        for case in cases:
            for name in dict.fromkeys(n.op.name for n in steps(case)):
                if (wrong := plant(case, name, kind)) is not None:
                    yield wrong
                    break


def steps(case: Case) -> list[Any]:
    y = case.f(*case.nodes())
    return [n for n in ancestry(y)[::-1] if n.args] if isinstance(y, cr.Node) else []


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
        yield plant_or_fail(Case(name, getattr(cr, name), (x,)), name, "1 % in one element")
    for name in ("sum", "mean", "norm", "logsumexp", "var", "softmax", "cumsum"):
        yield plant_or_fail(Case(name, getattr(cr, name), (x,)), name, "1 % in one element")
    for name in ("mul", "div", "matmul", "pow", "maximum"):
        yield plant_or_fail(Case(name, getattr(cr, name), (x, 1.3 * x.T)), name, "1 % in one element")


def plant_or_fail(case: Case, name: str, kind: str) -> Case:
    found = plant(case, name, kind)
    if found is None:
        raise ValueError(f"{kind} makes no difference to {case.name}")
    return found


def groups(quick: bool = False) -> Iterator[Group]:
    """All that is compared; `quick` takes every tenth case of each group."""
    every = 10 if quick else 1
    for title, kind, cases in (
        ("every row of the table, alone", PLANTED, spoilt_rows(3)),
        ("operations written by hand, alone", PLANTED, by_hand(True)),
        ("1 % off in one element of 100", PLANTED, one_of_a_hundred()),
        ("inside a network of 20 layers", PLANTED, deep()),
        ("at scales from 1e-12 to 1e12", PLANTED, scales((2.0, 1.01))),
        ("where checking is hard", PLANTED, hard_and_wrong()),
        ("in rules of rules (order 2)", PLANTED, rules_of_rules()),
        ("between the operations", PLANTED, wiring()),
        ("every row of the table, float64", CORRECT, rows_at(np.float64, 3)),
        ("every row of the table, float32", CORRECT, rows_at(np.float32, 2)),
        ("every row of the table, float16", CORRECT, rows_at(np.float16, 2)),
        ("order 2", CORRECT, right_rules_of_rules()),
        ("operations written by hand", CORRECT, by_hand(False)),
        ("at scales from 1e-12 to 1e12", CORRECT, scales((1.0, 1.0))),
        ("at and next to kinks", CORRECT, of(KINKS)),
        ("badly scaled, 1e-300 to 1e300", CORRECT, of(SCALED)),
        ("oscillating, flat", CORRECT, of(OSCILLATING)),
        ("sums that nearly cancel", CORRECT, cancelling()),
        ("inside a network of 20 layers", CORRECT, deep_and_right()),
        ("integer arguments", CORRECT, of(INTEGERS)),
        ("empty arrays", CORRECT, of(EMPTY)),
    ):
        yield Group(title, kind, list(islice(cases, 0, None, every)))
