"""The laws of the graph: order, ownership, accumulation, staleness, depth, and what a variable is to Python."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import math
import pickle
import sys
import threading
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from reference import kind

import chainrule as cr

ARRAY = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])


def neuron(v: Any, w: Any, t: Any, u: Any) -> Any:
    return cr.tanh(v * w + w)


def reused(v: Any, w: Any, t: Any, u: Any) -> Any:
    y = v * v
    return y * w + y + v


def layer(v: Any, w: Any, t: Any, u: Any) -> Any:
    return cr.relu(cr.linear(t, u, np.zeros(2, u.dtype))).sum()


def mixed(v: Any, w: Any, t: Any, u: Any) -> Any:
    return (v * t + w).sum() * v + cr.stack([v, w, v * w]).sum()


def shapes(v: Any, w: Any, t: Any, u: Any) -> Any:
    return cr.concatenate([t.T.reshape(-1), u[0], cr.broadcast_to(v, (2,))]).sum() + (t + u).mean()


def branches(v: Any, w: Any, t: Any, u: Any) -> Any:
    return cr.where(t > 0, cr.log(cr.where(t > 0, t, 1.0)), u).sum() + cr.maximum(v, w)


def array_result(v: Any, w: Any, t: Any, u: Any) -> Any:
    return t * u + v


PROGRAMS = {f.__name__: f for f in (neuron, reused, layer, mixed, shapes, branches, array_result)}
programs = pytest.mark.parametrize("f", PROGRAMS.values(), ids=PROGRAMS)


def variables(dtype: Any = float) -> list[Any]:
    return [
        cr.Value(0.7, name="v"),
        cr.Value(-1.3, name="w"),
        cr.Tensor(ARRAY, dtype, name="t"),
        cr.Tensor(ARRAY[::-1] / 2, dtype, name="u"),
    ]


def graph(*roots: Any) -> list[Any]:
    """Every node that the roots were made from, themselves included."""
    found, stack = set(roots), list(roots)
    while stack:
        for arg in stack.pop().args:
            if isinstance(arg, cr.Node) and arg not in found:
                found.add(arg)
                stack.append(arg)
    return list(found)


def seed_for(y: Any) -> Any:
    return np.ones(y.shape) if y.shape else None


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# Order and ownership


@programs
def test_an_argument_is_older_than_its_result(f: Any) -> None:
    y = f(*variables())
    older = [(arg.birth, node.birth) for node in graph(y) for arg in node.args if isinstance(arg, cr.Node)]
    assert older
    assert all(a < b for a, b in older)


@programs
@pytest.mark.usefixtures("no_collector")
def test_dropping_a_result_frees_its_graph_at_once(f: Any) -> None:
    leaves = variables()
    y = f(*leaves)
    y.backward(seed_for(y))
    higher = cr.gradients(y, leaves, seed=seed_for(y), create_graph=True)
    nodes = [weakref.ref(n) for n in graph(y, *higher) if n not in set(leaves)]
    assert len(nodes) > 3
    del y, higher
    assert [n() for n in nodes if n() is not None] == []


DERIVATIVES: dict[str, Callable[[Any], Any]] = {
    "grad": lambda f: cr.grad(f)(2.0),
    "value_and_grad": lambda f: cr.value_and_grad(f)(2.0),
    "vjp": lambda f: cr.vjp(f, 2.0)[1](1.0),
    "jvp": lambda f: cr.jvp(f, (2.0,), (1.0,)),
    "jacobian": lambda f: cr.jacobian(f)(2.0),
    "hessian": lambda f: cr.hessian(f)(2.0),
    "hvp": lambda f: cr.hvp(f, 2.0, 1.0),
    "third order": lambda f: cr.grad(cr.grad(cr.grad(f)))(2.0),
}


@pytest.mark.parametrize("name", DERIVATIVES)
@pytest.mark.usefixtures("no_collector")
def test_derivatives_leave_nothing_behind(name: str) -> None:
    nodes: list[Any] = []

    def f(x: Any) -> Any:
        y = cr.sin(x) * x
        nodes.extend([weakref.ref(x), weakref.ref(y)])
        return y * y

    DERIVATIVES[name](f)
    assert nodes
    assert [n() for n in nodes if n() is not None] == []


def tensor_step() -> Callable[[], None]:
    model = cr.nn.MLP([4, 8, 3], rng=0)
    optimizer = cr.nn.Adam(model.parameters(), lr=1e-3)
    x, labels = np.random.default_rng(0).normal(size=(5, 4)), np.array([0, 1, 2, 0, 1])

    def step() -> None:
        optimizer.zero_grad()
        cr.nn.cross_entropy(model(x), labels).backward()
        optimizer.step()

    return step


def value_step() -> Callable[[], None]:
    w, b = cr.Value(0.1), cr.Value(0.0)

    def step() -> None:
        loss = sum((cr.tanh(w * x + b) - 0.3 * x) ** 2 for x in (-1.0, 0.5, 2.0))
        w.grad = b.grad = None
        loss.backward()
        w.data -= 0.01 * w.grad
        b.data -= 0.01 * b.grad

    return step


def scalar_step() -> Callable[[], None]:
    model = cr.nn.scalar.MLP(2, [3, 1], rng=0)
    optimizer = cr.nn.SGD(model.parameters(), lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        (model([1.0, 2.0]) ** 2).backward()
        optimizer.step()

    return step


def grad_step() -> Callable[[], None]:
    f = cr.value_and_grad(lambda p: cr.sum(cr.sin(p["a"]) * p["b"]))
    p = {"a": np.ones(3), "b": 2.0}
    return lambda: f(p)


@pytest.mark.slow
@pytest.mark.parametrize("make", [tensor_step, value_step, scalar_step, grad_step])
@pytest.mark.usefixtures("no_collector")
def test_memory_is_flat_over_a_thousand_training_steps(make: Any) -> None:
    step = make()
    for _ in range(2_500):  # Python keeps up to 2,000 freed tuples of each length for reuse: fill that store first
        step()
    tracemalloc.start()
    step()
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(1000):
        step()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 10_000  # bytes: less than one object a step


# Gradients: kind, accumulation, nothing else


@programs
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_gradient_has_the_shape_dtype_and_kind_of_its_node(f: Any, dtype: Any) -> None:
    y = f(*variables(dtype))
    y.backward(seed_for(y))
    seen = [n for n in graph(y) if n.grad is not None]
    assert y in set(seen)
    for n in seen:
        if isinstance(n, cr.Value):
            assert type(n.grad) is float
        else:
            assert (np.shape(n.grad), n.grad.dtype) == (n.shape, n.dtype)
            assert not isinstance(n.grad, cr.Node)


def test_a_tensor_without_axes_keeps_an_array_for_gradient() -> None:
    x = cr.Tensor(3.0)
    for times in (1, 2, 3):
        (x * x).backward()
        assert kind(x.grad) == kind(x.data)
        assert type(x.grad) is np.ndarray
        assert x.grad == 6.0 * times


def snapshot(nodes: list[Any]) -> list[Any]:
    return [(np.array(n.data), n.args, [np.array(x) for x in n.inputs], n.birth) for n in nodes]


@programs
def test_backward_twice_doubles_the_leaves_and_changes_nothing_else(f: Any) -> None:
    leaves = variables()
    y = f(*leaves)
    nodes = graph(y)
    before = snapshot(nodes)
    y.backward(seed_for(y))
    first = [copy.copy(n.grad) for n in nodes]
    y.backward(seed_for(y))
    for n, g in zip(nodes, first, strict=True):
        if n in set(leaves):
            assert_array_equal(n.grad, 2 * g)
        else:
            assert (n.grad is None) == (g is None)
            assert g is None or np.array_equal(n.grad, g)
    for old, new in zip(before, snapshot(nodes), strict=True):
        assert old[1] == new[1] if not any(isinstance(x, np.ndarray) for x in old[1]) else len(old[1]) == len(new[1])
        assert old[3] == new[3]
        for a, b in zip([old[0], *old[2]], [new[0], *new[2]], strict=True):
            assert_array_equal(a, b)


@programs
def test_the_rules_are_pure(f: Any) -> None:
    leaves = variables()
    y = f(*leaves)
    first = cr.gradients(y, leaves, seed=seed_for(y))
    again = cr.gradients(y, leaves, seed=seed_for(y))
    recorded = cr.gradients(y, leaves, seed=seed_for(y), create_graph=True)
    for a, b, c in zip(first, again, recorded, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
        assert_allclose(c.data, a, rtol=1e-15)
    assert all(n.grad is None for n in graph(y))


def test_nodes_in_between_keep_their_gradient() -> None:
    x = cr.Value(2.0)
    a = x * x
    b = a * 3.0
    y = b + a
    y.backward()
    assert (y.grad, b.grad, a.grad, x.grad) == (1.0, 1.0, 4.0, 16.0)


def test_what_the_result_does_not_depend_on_gets_no_gradient() -> None:
    x, other = cr.Value(2.0), cr.Value(3.0)
    unused = other * x
    (x * 2.0).backward()
    assert other.grad is None
    assert unused.grad is None


def test_backward_from_a_leaf() -> None:
    x, t = cr.Value(2.0), cr.Tensor([1.0, 2.0])
    x.backward()
    x.backward(3.0)
    seed = np.array([5.0, 7.0])
    t.backward(seed)
    t.grad *= 2.0
    assert x.grad == 4.0
    assert_array_equal(t.grad, [10.0, 14.0])
    assert_array_equal(seed, [5.0, 7.0])


OWN: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "the same twice": lambda a, b: a + a + b,
    "reshape": lambda a, b: a.reshape(4) + b.reshape(4),
    "transpose": lambda a, b: a.T + b,
    "index": lambda a, b: a[::-1] + b[:],
    "stack": lambda a, b: cr.stack([a, b, a]),
    "concatenate": lambda a, b: cr.concatenate([a, b]),
    "broadcast": lambda a, b: a.sum() + b.mean(),
    "row and column": lambda a, b: a.sum(axis=0) + b.sum(axis=1),
    "expand": lambda a, b: cr.broadcast_to(a, (3, 2, 2)) + b,
    "identity rows": lambda a, b: cr.squeeze(cr.expand_dims(a, 0), 0) + cr.flip(b),
    "matmul": lambda a, b: a @ b,
    "maximum": lambda a, b: cr.maximum(a, b),
    "where": lambda a, b: cr.where([[True, False], [False, True]], a, b),
    "through a node in between": lambda a, b: (a * 1.0) + (a + b),
}


@pytest.mark.parametrize("name", OWN)
def test_the_gradient_of_a_leaf_is_its_own_array(name: str) -> None:
    a, b = cr.Tensor([[1.0, 2.0], [3.0, 4.0]]), cr.Tensor([[4.0, 2.0], [0.5, 1.0]])
    y = OWN[name](a, b)
    seed = np.ones(y.shape)
    y.backward(seed)
    others = [x for n in graph(y) for x in (n.grad, n.data, *n.inputs) if isinstance(x, np.ndarray)]
    for leaf in (a, b):
        assert leaf.grad.flags.writeable
        for x in [seed, *others]:
            assert x is leaf.grad or not np.shares_memory(x, leaf.grad)
    rest = [(n, np.array(n.grad), np.array(n.data)) for n in graph(y) if n is not a]
    a.grad *= 100.0
    for n, g, data in rest:
        assert_array_equal(n.grad, g)
        assert_array_equal(n.data, data)


def test_gradients_of_leaves_never_share_memory_in_a_model() -> None:
    model = cr.nn.Sequential(cr.nn.Linear(3, 3, rng=0), cr.nn.Tanh(), cr.nn.Linear(3, 3, rng=1))
    (model(ARRAY) + model[0].bias).sum().backward()
    for a, b in combinations([x for p in model.parameters() for x in (p.grad, p.data)], 2):
        assert not np.shares_memory(a, b)


# A value that changed


def by_optimizer(kind: Any) -> Callable[[Any], None]:
    def update(x: Any) -> None:
        before, x.grad = x.grad, np.ones(x.shape) if x.shape else 1.0
        kind([x], lr=0.1).step()
        x.grad = before

    return update


def assigned(x: Any) -> None:
    x.data = x.data + 1.0


def subtracted(x: Any) -> None:
    x.data -= 1.0


def loaded(x: Any) -> None:
    model = cr.nn.Module()
    model.x = x
    model.load_state_dict({"x": x.data + 1.0})


UPDATES = {
    "data =": assigned,
    "data -=": subtracted,
    "SGD": by_optimizer(cr.nn.SGD),
    "Adam": by_optimizer(cr.nn.Adam),
    "load_state_dict": loaded,
}
USES: dict[str, Callable[[Any, Callable[[], None]], Any]] = {
    "before": lambda x, change: (cr.exp(x) * 2.0, change())[0],
    "older consumer only": lambda x, change: (y := cr.exp(x), change(), y + cr.sin(x))[2],
    "younger consumer made first in the sum": lambda x, change: (y := x * x, change(), cr.sin(x) * y)[2],
    "as a condition": lambda x, change: (cr.where(x, cr.Value(1.0), 0.0), change())[0],
    "two uses": lambda x, change: (a := cr.exp(x), b := x * a, change(), b + 1.0)[3],
}


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("make", [cr.Value, cr.Tensor], ids=["Value", "Tensor"])
def test_a_change_between_forward_and_backward_is_an_error_that_names_it(update: str, use: str, make: Any) -> None:
    x, other = make(2.0, name="speed"), cr.Value(3.0)
    y = USES[use](x, lambda: UPDATES[update](x)) * other
    for run in (y.backward, lambda: cr.gradients(y, other), lambda: cr.gradients(y, other, create_graph=True)):
        with pytest.raises(RuntimeError, match=r"name='speed'.* was changed after .* was computed from it"):
            run()
    assert x.grad is None
    assert other.grad is None
    assert all(n.grad is None for n in graph(y))


def test_after_a_change_the_result_computed_again_is_right() -> None:
    x = cr.Value(2.0)
    x.data = 3.0
    (x * x).backward()
    assert x.grad == 6.0


@pytest.mark.parametrize("make", [cr.Value, cr.Tensor])
def test_only_a_leaf_can_be_given_new_data(make: Any) -> None:
    y = make(2.0) * 3.0
    with pytest.raises(TypeError, match="only a leaf can be given new data"):
        y.data = 1.0
    assert y.item() == 6.0


# Depth


@pytest.mark.slow
def test_a_chain_of_a_million_numbers() -> None:
    x = cr.Value(1.0)
    y = x
    for _ in range(1_000_000):
        y = y + 1e-6
    y.backward()
    assert x.grad == 1.0
    assert y.data == pytest.approx(2.0)
    last = weakref.ref(y)
    del y
    assert last() is None


@pytest.fixture
def little_stack() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    yield
    sys.setrecursionlimit(limit)


@pytest.mark.usefixtures("little_stack")
@pytest.mark.parametrize("make", [cr.Value, lambda x: cr.Tensor([x])], ids=["Value", "Tensor"])
def test_nothing_is_recursive(make: Any) -> None:
    x = make(0.5)
    y = x
    for _ in range(5_000):
        y = y * 1.0001
    g = cr.gradients(y, x, create_graph=True)
    (g * y).backward()
    assert_allclose(y.grad, 1.0001**5000, rtol=1e-9)
    assert_allclose(x.grad, 1.0001**10000, rtol=1e-9)


# Recording


def test_no_grad_and_enable_grad_nest() -> None:
    x = cr.Value(3.0)

    def recorded() -> bool:
        return bool((x * x).args)

    block = cr.no_grad()
    with block:
        assert not recorded()
        with cr.enable_grad():
            assert recorded()
            with block:
                assert not recorded()
            assert recorded()
        assert not recorded()
    assert recorded()


def test_no_grad_ends_after_an_error() -> None:
    with pytest.raises(ZeroDivisionError), cr.no_grad():
        raise ZeroDivisionError
    assert (cr.Value(1.0) * 2.0).args


def test_results_under_no_grad_are_constants_for_later() -> None:
    x = cr.Value(3.0)
    with cr.no_grad():
        c = x * x
    (c * x).backward()
    assert x.grad == 9.0


def test_no_grad_holds_for_one_thread() -> None:
    x = cr.Value(3.0)
    inside, done = threading.Event(), threading.Event()
    found: list[bool] = []

    def silent() -> None:
        with cr.no_grad():
            inside.set()
            done.wait(10)
            found.append(bool((x * x).args))

    thread = threading.Thread(target=silent)
    thread.start()
    assert inside.wait(10)
    found.append(bool((x * x).args))
    done.set()
    thread.join()
    assert found == [True, False]


def test_no_grad_holds_for_one_task() -> None:
    x = cr.Value(3.0)

    async def silent() -> list[bool]:
        found = []
        with cr.no_grad():
            for _ in range(3):
                await asyncio.sleep(0)
                found.append(bool((x * x).args))
        return [*found, bool((x * x).args)]

    async def recording() -> list[bool]:
        found = []
        for _ in range(5):
            await asyncio.sleep(0)
            found.append(bool((x * x).args))
        return found

    async def main() -> list[list[bool]]:
        return await asyncio.gather(silent(), recording(), silent())

    assert asyncio.run(main()) == [[False] * 3 + [True], [True] * 5, [False] * 3 + [True]]


def test_threads_may_differentiate_over_shared_leaves() -> None:
    w = cr.Tensor(np.linspace(0.1, 1.0, 6))
    v = cr.Value(2.0)
    start = threading.Barrier(4)
    wrong: list[Any] = []

    def work(k: int) -> None:
        start.wait(10)
        for _ in range(50):
            dw, dv = cr.gradients((cr.sin(w * float(k)) * v).sum(), [w, v])
            if not np.allclose(dw, 2.0 * k * np.cos(w.data * k)) or not math.isclose(dv, np.sin(w.data * k).sum()):
                wrong.append((k, dw, dv))

    threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# What a variable is to Python


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize(
    "leaf", [cr.Value(2.0, name="a"), cr.Tensor([1.0, 2.0], np.float32), cr.Tensor(ARRAY, name="b")], ids=repr
)
def test_leaves_can_be_copied_and_pickled(again: Any, leaf: Any) -> None:
    new = again(leaf)
    assert type(new) is type(leaf)
    assert (new.name, kind(new.data)) == (leaf.name, kind(leaf.data))
    assert_array_equal(new.data, leaf.data)
    assert new is not leaf
    new.data = new.data + 1.0
    assert not np.array_equal(new.data, leaf.data)
    assert new.grad is None


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
@pytest.mark.parametrize("leaf", [cr.Value(2.0), cr.Tensor([1.0, 2.0], np.float32), cr.Tensor(3.0)], ids=repr)
def test_copies_have_gradients_of_their_own(again: Any, leaf: Any) -> None:
    leaf.grad = None
    cr.sum(leaf * leaf).backward()
    before, new = copy.deepcopy(leaf.grad), again(leaf)
    assert kind(new.grad) == kind(before)
    assert_array_equal(new.grad, before)
    cr.sum(new * new).backward()
    assert_array_equal(new.grad, 2 * before)
    assert_array_equal(leaf.grad, before)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickle.dumps])
@pytest.mark.parametrize("y", [cr.Value(2.0) * 2.0, cr.Tensor([1.0]) * 2.0], ids=repr)
def test_results_are_not_copied(again: Any, y: Any) -> None:
    with pytest.raises(TypeError, match=r"only a leaf can be copied or pickled.*take its \.data"):
        again(y)


def test_equality_compares_data_and_hash_tells_variables_apart() -> None:
    a, b = cr.Value(2.0), cr.Value(2.0)
    assert a == b
    assert a == 2.0
    assert a != 3
    assert (a == "text") is False
    assert (a == None) is False  # noqa: E711
    assert len({a, b}) == 2
    assert {a: 1, b: 2}[b] == 2
    t = cr.Tensor([1.0, 2.0])
    assert hash(t) == hash(t)
    assert_array_equal(t == cr.Tensor([1.0, 3.0]), [True, False])


@pytest.mark.parametrize(
    ("compare", "expected"),
    [
        (lambda v: v < 3, True), (lambda v: v <= 2, True), (lambda v: v > 2, False), (lambda v: v >= cr.Value(2.0), True),
        (lambda v: 1 < v, True), (lambda v: v != 2, False), (lambda v: v == 2, True),  # noqa: SIM300
    ],
)  # fmt: skip
def test_comparisons_of_values_are_booleans(compare: Any, expected: bool) -> None:
    assert compare(cr.Value(2.0)) is expected


def test_comparisons_of_tensors_are_boolean_arrays() -> None:
    found = cr.Tensor(ARRAY) > cr.Value(0.7)
    assert type(found) is np.ndarray
    assert_array_equal(found, ARRAY > 0.7)


def test_truth() -> None:
    assert cr.Value(0.5)
    assert not cr.Value(0.0)
    assert cr.Tensor([2.0])
    assert not cr.Tensor(0.0)
    with pytest.raises(ValueError, match="ambiguous"):
        bool(cr.Tensor([1.0, 2.0]))


@pytest.mark.parametrize("convert", [float, math.exp, math.sqrt, math.sin])
def test_a_plain_number_of_a_variable_is_refused_with_advice(convert: Any) -> None:
    for x in (cr.Value(1.0), cr.Value(1.0) * 2.0, cr.Tensor(1.0)):
        with pytest.raises(TypeError, match=r"drop its gradient.*\.item\(\) or \.data.*cr\.exp"):
            convert(x)


def test_a_plain_array_of_a_variable_is_refused_with_advice() -> None:
    for x in (cr.Value(1.0), cr.Tensor(ARRAY), cr.Tensor(ARRAY).sum()):
        with pytest.raises(TypeError, match=r"drop its gradient.*\.data.*cr\.stack"):
            np.asarray(x)
    assert_array_equal(np.asarray(cr.Tensor(ARRAY).data), ARRAY)


REPRS = [
    (cr.Value(2.0), "Value(2.0)"),
    (cr.Value(-0.5, name="w"), "Value(-0.5, name='w')"),
    (cr.Value(2), "Value(2.0)"),
    (cr.Tensor([1.0, 2.0]), "Tensor([1., 2.])"),
    (cr.Tensor([1.0], np.float32, name="b"), "Tensor([1.], dtype=float32, name='b')"),
    (cr.Tensor(3.0), "Tensor(3.)"),
    (cr.Tensor(np.zeros((0, 2))), "Tensor([], shape=(0, 2))"),
]


@pytest.mark.parametrize(("x", "text"), REPRS, ids=[text for _, text in REPRS])
def test_repr(x: Any, text: str) -> None:
    assert repr(x) == text
    assert f"{x}" == text


def test_format() -> None:
    assert f"{cr.Value(3.14159):.2f}" == "3.14"
    assert f"{cr.Tensor(3.14159):8.3f}" == "   3.142"
    assert f"{cr.Tensor([0.5]):.0%}" == "50%"


def test_iteration_length_and_membership() -> None:
    t = cr.Tensor(ARRAY)
    assert len(t) == 2
    rows = list(t)
    assert [row.shape for row in rows] == [(3,), (3,)]
    (rows[1] * rows[1]).sum().backward()
    assert_array_equal(t.grad, [[0.0, 0.0, 0.0], 2.0 * ARRAY[1]])
    assert 4.0 in t
    assert 5.0 not in t
    a, b, c = cr.Tensor([1.0, 2.0, 3.0])
    assert (a * b * c).item() == 6.0
    assert [v for v in [cr.Value(1.0), cr.Value(2.0)] if v == 2.0][0].data == 2.0  # noqa: RUF015
    assert cr.Value(2.0) in [cr.Value(1.0), cr.Value(2.0)]


@pytest.mark.parametrize("x", [cr.Value(1.0), cr.Tensor(1.0)], ids=repr)
def test_a_number_has_no_length_and_no_elements(x: Any) -> None:
    for f in (len, iter, list, lambda x: 1.0 in x and len(x)):
        with pytest.raises(TypeError):
            f(x)


def test_data_and_detach_are_plain() -> None:
    v, t = cr.Value(2.0), cr.Tensor(ARRAY)
    for x, plain in ((v * 1.0, float), (t * 1.0, np.ndarray)):
        assert type(x.data) is plain
        assert type(x.detach()) is plain
    (v * v.detach()).backward()
    assert v.grad == 2.0
    (t * t.detach()).sum().backward()
    assert_array_equal(t.grad, ARRAY)


def test_a_tensor_copies_its_data() -> None:
    data = np.array([1.0, 2.0])
    t = cr.Tensor(data)
    data[0] = 9.0
    assert_array_equal(t.data, [1.0, 2.0])
    t.data = data
    data[0] = 7.0
    assert_array_equal(t.data, [9.0, 2.0])


DTYPES = [
    ([1, 2], None, np.float64),
    (True, None, np.float64),
    (np.arange(3, dtype=np.int8), None, np.float64),
    (np.ones(2, np.float32), None, np.float32),
    (np.float32(1), None, np.float32),
    (np.ones(2, np.float16), None, np.float16),
    ([1.5], np.float32, np.float32),
    ([1.5], "float32", np.float32),
    (np.ones(2, np.float32), float, np.float64),
]


@pytest.mark.parametrize(("data", "asked", "expected"), DTYPES)
def test_the_dtype_of_a_tensor(data: Any, asked: Any, expected: Any) -> None:
    t = cr.Tensor(data, asked)
    assert t.dtype == expected
    assert type(t.data) is np.ndarray
    t.data = np.asarray(data, dtype=float)
    assert t.dtype == expected


def test_what_was_detached_or_used_as_an_index_or_label_stays_as_it_was() -> None:
    u, t = cr.Tensor([1.0, 2.0]), cr.Tensor([10.0, 20.0])
    y = (u * t.detach()).sum()
    t.data -= 5.0
    y.backward()
    assert_allclose(u.grad, [10.0, 20.0])
    index, labels = np.array([0, 0]), np.array([0, 1])
    picked = cr.Tensor([1.0, 2.0])
    first = picked[index].sum()
    logits = cr.Tensor([[1.0, 2.0], [3.0, 4.0]])
    loss = cr.nn.cross_entropy(logits, labels)
    expected = cr.gradients(cr.nn.cross_entropy(logits, [0, 1]), logits)
    index[:] = 1
    labels[:] = 0
    assert_allclose(cr.gradients(first, picked), [2.0, 0.0])
    assert_allclose(cr.gradients(loss, logits), expected)
    assert_allclose(cr.gradients(loss, logits, create_graph=True).data, expected)


def test_a_value_with_an_array_without_axes_stays_a_value() -> None:
    v = cr.Value(2.0)
    for y in (v * np.array(3.0), cr.dot([v], [np.array(3.0)]), np.array(3.0) * v, cr.dot([v], [np.array(3)])):
        v.grad = None
        y.backward()
        assert type(v.grad) is float
        assert v.grad == 3.0


def test_a_decorated_function_may_run_in_several_threads_at_once() -> None:
    x, turns = cr.Value(2.0), threading.Barrier(2, timeout=10)

    @cr.no_grad()
    def square(first: bool) -> tuple[Any, ...]:
        turns.wait()  # both are inside
        if not first:
            turns.wait()  # the first has left
        y = x * x
        return y.args

    def run(first: bool) -> tuple[bool, bool]:
        inside = square(first)
        outside = (x * x).args
        if first:
            turns.wait()
        return inside == (), outside == (x, x)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(run, (True, False))) == [(True, True)] * 2
