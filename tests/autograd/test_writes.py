"""Writing into an array that a living graph needs is harmless, or an error before any gradient is wrong."""

from __future__ import annotations

import contextlib
import gc
import re
import threading
import tracemalloc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import chainrule as cr

START = np.array([1.0, 2.0, 3.0])


def into_strided(a: Any) -> None:
    a[::2] = 7.0


def into_memory(a: Any) -> None:
    memoryview(a.reshape(-1)).cast("B")[0] ^= 1  # the last bit of the first element


def shuffled(a: Any) -> None:
    a[...] = a[::-1].copy()


WAYS: dict[str, Callable[[Any], Any]] = {
    "an element": lambda a: a.__setitem__(0, 99.0),
    "a slice": lambda a: a.__setitem__(slice(1, 3), 7.0),
    "every other element": into_strided,
    "a mask": lambda a: a.__setitem__(a > 2.0, 0.0),
    "in-place arithmetic": lambda a: np.multiply(a, 2.0, out=a),
    "another sign": lambda a: np.negative(a, out=a),
    "out=": lambda a: np.exp(a, out=a),
    "copyto": lambda a: np.copyto(a, 5.0),
    "put": lambda a: np.put(a, [0], 8.0),
    "place": lambda a: np.place(a, a > 1.0, 0.5),
    "putmask": lambda a: np.putmask(a, a > 1.0, 0.5),
    "add.at": lambda a: np.add.at(a, [0, 0], 1.0),
    "fill": lambda a: a.fill(4.0),
    "sort": lambda a: (np.negative(a, out=a), a.sort()),
    "another order": shuffled,
    "a view": lambda a: a[1:].__setitem__(0, 9.0),
    "a reshaped view": lambda a: a.reshape(3, 1).__setitem__((0, 0), 9.0),
    "a memoryview": lambda a: memoryview(a).__setitem__(0, 9.0),
    "one bit": into_memory,
    "a view of other numbers": lambda a: a.view(np.uint64).__setitem__(0, 1),
    "flat": lambda a: a.flat.__setitem__(0, 9.0),
    "itemset through ufunc.at": lambda a: np.maximum.at(a, [0], 50.0),
    "NaN": lambda a: a.__setitem__(0, np.nan),
    "random numbers": lambda a: np.random.default_rng(0).random(out=a),
}

# From one array, which somebody has: a function that computes something from it, and gives the graph and the variable.
GRAPHS: dict[str, Callable[[], tuple[Any, Any, Any]]] = {}  # -> the array, the result, the variable


def graph(make: Callable[[], tuple[Any, Any, Any]]) -> Callable[[], tuple[Any, Any, Any]]:
    GRAPHS[make.__name__.replace("_", " ")] = make
    return make


@graph
def variable_handed_out_before() -> tuple[Any, Any, Any]:
    x = cr.Tensor(START)
    array = x.data
    return array, cr.sum(x * x), x


@graph
def variable_handed_out_after() -> tuple[Any, Any, Any]:
    x = cr.Tensor(START)
    y = cr.sum(x * x)
    return x.data, y, x


@graph
def variable_behind_a_view() -> tuple[Any, Any, Any]:
    x = cr.Tensor(START)
    return x.data, cr.sum(cr.reshape(x, (3, 1)) ** 2), x


@graph
def constant_factor() -> tuple[Any, Any, Any]:
    array, x = START.copy(), cr.Tensor(START)
    return array, cr.sum(x * array), x


@graph
def base_of_a_constant() -> tuple[Any, Any, Any]:
    array, x = START.copy(), cr.Tensor(START)
    return array, cr.sum(x * array[::-1]), x


@graph
def divisor() -> tuple[Any, Any, Any]:
    array, x = START.copy(), cr.Tensor(START)
    return array, cr.sum(x / array), x


@graph
def matrix() -> tuple[Any, Any, Any]:
    array, x = START.copy(), cr.Tensor(np.ones((2, 3)))
    return array, cr.sum(x @ array), x


@graph
def features() -> tuple[Any, Any, Any]:
    array, w = START.copy(), cr.Tensor(np.ones((2, 3)))
    return array, cr.sum(cr.linear(array[None], w, np.zeros(2))), w


@graph
def condition() -> tuple[Any, Any, Any]:
    array, x = START.copy(), cr.Tensor(START)
    return array, cr.sum(cr.where(array, x, 0.0)), x


@graph
def exponent() -> tuple[Any, Any, Any]:
    array, x = START.copy(), cr.Tensor(START)
    return array, cr.sum(x**array), x


@graph
def einsum_operand() -> tuple[Any, Any, Any]:
    array, x = START.copy(), cr.Tensor(START)
    return array, cr.einsum("i,i->", array, x), x


@graph
def in_a_compiled_function() -> tuple[Any, Any, Any]:
    array, x = START.copy(), cr.Tensor(START)
    return array, cr.compile(lambda x, a: cr.sum(x * a))(x, array), x


@graph
def variable_of_a_compiled_function() -> tuple[Any, Any, Any]:
    x = cr.Tensor(START)
    return x.data, cr.compile(lambda x: cr.sum(x * x))(x), x


@graph
def class_probabilities() -> tuple[Any, Any, Any]:
    array, x = START / 6.0, cr.Tensor([[0.5, -1.0, 0.0]])
    return array, cr.nn.cross_entropy(x, array[None]), x


@graph
def of_a_custom_operation() -> tuple[Any, Any, Any]:
    scaled = cr.custom("scaled", lambda x, a: x * a, lambda g, y, x, a: g * a, lambda g, y, x, a: g * x)
    array, x = START.copy(), cr.Tensor(START)
    return array, cr.sum(scaled(x, array)), x


@graph
def what_a_gradient_was_computed_from() -> tuple[Any, Any, Any]:
    array, x = START.copy(), cr.Tensor(START)
    return array, cr.sum(cr.gradients(cr.sum(x * x * array), x, create_graph=True)), x


def outcome(attempt: Callable[[], Any]) -> tuple[Any, str]:
    """What comes of it: a result, or the message of an error."""
    try:
        return attempt(), ""
    except RuntimeError as error:
        return None, str(error)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_write_is_harmless_or_an_error(name: str, way: str) -> None:
    _, untouched, own = GRAPHS[name]()
    right = cr.gradients(untouched, own)
    array, y, x = GRAPHS[name]()
    before = array.tobytes()
    WAYS[way](array)
    assert array.tobytes() != before or way in ("a mask", "place", "putmask")  # of probabilities, none is so large
    for attempt in y.backward, lambda: cr.gradients(y, x), lambda: cr.gradients(y, x, create_graph=True):
        found, message = outcome(attempt)
        if message:
            assert re.search("was written into|was changed", message)
            assert x.grad is None
        else:
            assert_allclose(x.grad if found is None else getattr(found, "data", found), right)


EXPLAINED: dict[str, Callable[[Any, Any], float]] = {
    "explain": lambda y, x: cr.explain(y, x).gradient.norm,  # type: ignore[union-attr]
    "story": lambda y, x: told_of(x, cr.visualize.story(y, names={"wanted": x})),
}


def told_of(x: Any, story: Any) -> float:
    """The norm of the gradient that a story tells."""
    [gradient] = [g for name, g in zip(story.names, story.gradients, strict=True) if name == "wanted"]
    return float(gradient.magnitude * np.sqrt(x.size))


@pytest.mark.parametrize("way", EXPLAINED)
@pytest.mark.parametrize("name", GRAPHS)
def test_nor_is_a_wrong_gradient_explained(name: str, way: str) -> None:
    _, untouched, own = GRAPHS[name]()
    right = cr.gradients(untouched, own)
    assert_allclose(EXPLAINED[way](untouched, own), np.linalg.norm(right))
    array, y, x = GRAPHS[name]()
    WAYS["an element"](array)
    found, message = outcome(lambda: EXPLAINED[way](y, x))
    assert re.search("was written into|was changed", message) if message else np.allclose(found, np.linalg.norm(right))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "view",
    [lambda x: x * 2.0, lambda x: x.reshape(3, 1), lambda x: x[:2], lambda x: x.T],
    ids=["new", "reshaped", "sliced", "transposed"],
)
def test_the_array_of_a_result_is_read_only(way: str, view: Callable[[Any], Any]) -> None:
    x = cr.Tensor(START)
    y = view(x)
    z = cr.sum(y * y)
    right = cr.gradients(z, x)
    array = y.data
    with contextlib.suppress(ValueError, TypeError, IndexError):
        WAYS[way](array)
        assert ".at" in way  # which NumPy lets through
    with pytest.raises(ValueError, match="read-only"):
        y.data -= 1.0
    found, message = outcome(lambda: cr.gradients(z, x))
    assert "was written into" in message if np.any(x._raw != START) or message else np.array_equal(found, right)
    with pytest.raises(TypeError, match=r"of that a \.copy\(\) to write into"):
        y.data = START


def test_of_which_a_view_has_a_base() -> None:
    x = cr.Tensor(START)
    y = cr.sum(x.reshape(3, 1) ** 2)
    (made,) = [n for n in (y.args[0].args[0],) if n.shape == (3, 1)]
    made.data.base[0] = 9.0
    with pytest.raises(RuntimeError, match=r"the \.data of a Tensor of shape \(3, 1\) was written into after <op pow>"):
        y.backward()


def test_the_message_names_the_array_the_operation_and_the_line() -> None:
    a, x = np.ones((2, 3)), cr.Tensor(np.ones((2, 3)), name="weights")
    with cr.record_lines():
        y = cr.sum(x * a)
        z = cr.sum(x * x)
    a[0, 0] = 2.0
    with pytest.raises(
        RuntimeError,
        match=r"the array of shape \(2, 3\) that was argument 2 was written into after <op mul>.*copy.*test_writes\.py:\d+.*x \* a",
    ):
        y.backward()
    x.data[0, 0] = 3.0
    with pytest.raises(
        RuntimeError,
        match=r"the \.data of a Tensor 'weights' of shape \(2, 3\) was written into after <op mul>.*x \* x",
    ):
        z.backward()
    assert x.grad is None


def test_what_is_allowed_stays_so() -> None:
    x = cr.Tensor(START)
    for _ in range(3):  # an update by hand
        x.grad = None
        (x * x).sum().backward()
        assert_array_equal(x.grad, 2.0 * x._raw)
        x.data -= 0.1 * x.grad
    held = x.data
    held[0] = 5.0  # before it is used
    y = cr.sum(x * x)
    assert cr.gradients(y, x)[0] == 10.0
    held[0] = 6.0  # after it was needed
    assert cr.gradients(cr.sum(x * x), x)[0] == 12.0  # used anew
    with pytest.raises(RuntimeError, match="was changed after"):
        y.backward()
    buffer = np.zeros(3)
    for i in range(3):
        buffer[...] = i
        assert_array_equal(cr.gradients(cr.sum(x * buffer), x), buffer)
    optimizer = cr.nn.SGD([x], lr=0.1)
    cr.sum(x * x).backward()
    optimizer.step()
    x.grad = None
    cr.sum(x * x).backward()
    assert_allclose(x.grad, 2.0 * x._raw)


def test_what_no_rule_reads_may_be_written_into() -> None:
    a, x = START.copy(), cr.Tensor(START)
    y = cr.sum((x + a) - a) + cr.sum(cr.concatenate([x, a])) + cr.sum(cr.where(x > 1.5, x, a))
    a[...] = 0.0
    assert_array_equal(cr.gradients(y, x), [2.0, 3.0, 3.0])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int64, np.uint8, np.bool])
@pytest.mark.parametrize("n", [3, 1000, 20_001, 150_003, 1_200_007])
def test_of_any_size_and_type(n: int, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    original = (rng.normal(size=n) * 3.0).astype(dtype)
    x = cr.Tensor(np.ones(n))
    writes: list[Callable[[Any], Any]] = [
        lambda a: a.__setitem__(0, ~a[0] if dtype == np.bool else a[0] + 1),
        lambda a: a.__setitem__(-1, ~a[-1] if dtype == np.bool else a[-1] + 1),
        lambda a: a.__setitem__(n // 2, ~a[n // 2] if dtype == np.bool else a[n // 2] + 1),
        shuffled,
    ]
    if dtype != np.bool:
        writes += [lambda a: np.negative(a, out=a), lambda a: np.multiply(a, 2, out=a, casting="unsafe")]
    for write in writes:
        a = original.copy()
        y = cr.sum(x * a)
        y.backward()
        write(a)
        if a.tobytes() != original.tobytes():
            with pytest.raises(RuntimeError, match="was written into"):
                y.backward()


@pytest.mark.parametrize(
    "lay",
    [
        lambda a: a.T,
        np.asfortranarray,
        lambda a: a[::-1, ::2],
        lambda a: np.broadcast_to(a[0], a.shape),
        lambda a: np.lib.stride_tricks.sliding_window_view(a, 2, axis=0),
    ],
    ids=["transposed", "Fortran", "strided", "repeated", "windows"],
)
@pytest.mark.parametrize("n", [4, 50, 600])
def test_however_it_lies_in_memory(n: int, lay: Callable[[Any], Any]) -> None:
    base = np.random.default_rng(0).normal(size=(n, n))
    a = lay(base)
    x = cr.Tensor(np.ones(a.shape))
    y = cr.sum(x * a)
    y.backward()
    a = a if a.base is None else base
    a[0, 0] += 1.0
    with pytest.raises(RuntimeError, match="was written into"):
        y.backward()


def test_nothing_is_kept_longer_than_the_graph() -> None:
    a, x = np.ones(50_000), cr.Tensor(np.ones(50_000))
    held = weakref.ref(a)
    y = cr.sum(x * a)
    del a
    gc.disable()
    try:
        assert held() is not None
        del y
        assert held() is None
        x.data  # noqa: B018
        (x * 1.0).sum().backward()
        gone = weakref.ref(x)
        del x
        assert gone() is None
    finally:
        gc.enable()


def test_a_variable_that_nobody_holds_any_more_costs_nothing() -> None:
    from chainrule.autograd.guards import seals

    x = cr.Tensor(START)
    x.data  # noqa: B018
    assert id(x) in seals.handed
    cr.sum(x * x).backward()
    assert id(x) not in seals.handed
    array = x.data
    cr.sum(x * x).backward()
    assert id(x) in seals.handed
    array[0] = 9.0
    y = cr.sum(x * x)
    array[0] = 8.0
    with pytest.raises(RuntimeError, match="was written into"):
        y.backward()


def test_in_threads() -> None:
    failed = []

    def work() -> None:
        x = cr.Tensor(START)
        for _ in range(200):
            x.grad = None
            array = x.data
            y = cr.sum(x * x)
            y.backward()
            if not np.array_equal(x.grad, 2.0 * array):
                failed.append(x.grad)
            y = cr.sum(x * x)
            array += 1.0
            try:
                y.backward()
                failed.append("no error")
            except RuntimeError:
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def test_batches_that_are_views() -> None:
    data, w = np.arange(12.0).reshape(6, 2), cr.Tensor(np.ones((1, 2)))
    for batch in cr.nn.Batches(data, batch_size=3, shuffle=False):
        x = batch[0] if isinstance(batch, tuple) else batch
        y = cr.sum(x @ w.T)
        data[...] = 0.0
        with pytest.raises(RuntimeError, match="was written into"):
            y.backward()
        break


def after_vjp() -> tuple[Any, Any]:
    y, pull = cr.vjp(cr.exp, START)
    y -= 1.0
    return pull(np.ones(3))[0], np.exp(START)


def a_second_output_of_compiled_code() -> tuple[Any, Any]:
    x = cr.Tensor(START)
    loss, centred = cr.compile(lambda x, a: (cr.sum(x * (a - cr.mean(a))), a - cr.mean(a)))(
        x, np.array([1.0, 5.0, 3.0])
    )
    centred /= 2.0
    return cr.gradients(loss, x), [-2.0, 2.0, 0.0]


def a_constant_of_compiled_code() -> tuple[Any, Any]:
    c, x = START.copy(), cr.Tensor(START)
    y = cr.compile(lambda x: cr.sum(x * c))(x)
    c[0] = 9.0
    return cr.gradients(y, x), START


def a_constant_of_compiled_code_at_second_order() -> tuple[Any, Any]:
    c, x = START.copy(), cr.Tensor(START)
    y = cr.compile(lambda x: cr.sum(x * x * c))(x)
    c[0] = 9.0
    return cr.gradients(y, x, create_graph=True).data, 2.0 * START**2


def the_argument_of_a_derivative(change: Callable[[Any], Any]) -> tuple[Any, Any]:
    x = cr.Tensor(START)
    _, pull = cr.vjp(lambda u: cr.sum(u * u), x)
    change(x)
    return pull(1.0)[0], 2.0 * START


def the_argument_within(change: Callable[[Any], Any]) -> tuple[Any, Any]:
    x = cr.Tensor(START)

    def f(u: Any) -> Any:
        z = cr.sum(u * u)
        change(x)
        return z

    return cr.grad(f)(x).data, 2.0 * START


def a_view_made_under_no_grad(change: Callable[[Any], Any]) -> tuple[Any, Any]:
    x, w = cr.Tensor(START), cr.Tensor(START)
    with cr.no_grad():
        view = x[:]
    y = cr.sum(w * view)
    change(x)
    return cr.gradients(y, w), START


def a_view_that_no_walk_looks_behind(change: Callable[[Any], Any]) -> tuple[Any, Any]:
    x, h = cr.Tensor(START), cr.Tensor(START)
    view = x[:]
    result = h + 0.0
    y = cr.sum(result * view)
    change(x)
    return cr.gradients(y, result), START


def a_view_as_a_condition(change: Callable[[Any], Any]) -> tuple[Any, Any]:
    x, w = cr.Tensor([1.0, 0.0, 1.0]), cr.Tensor(START)
    view = x[:]
    y = cr.sum(cr.where(view, w, 0.0))
    change(x)
    return cr.gradients(y, w), [1.0, 0.0, 1.0]


def a_bound() -> tuple[Any, Any]:
    high, x = np.full(3, 2.5), cr.Tensor(START)
    y = cr.sum(cr.clip(x, 0.0, high))
    high[...] = -1.0
    return cr.gradients(y, x), [1.0, 1.0, 0.0]


def a_list_of_shifts() -> tuple[Any, Any]:
    shift, x = [1], cr.Tensor(START)
    y = cr.sum(cr.roll(x, shift, [0]) * START)
    shift[0] = 2
    return cr.gradients(y, x), [2.0, 3.0, 1.0]


def an_option_of_a_custom_operation() -> tuple[Any, Any]:
    scaled = cr.custom("scaled", lambda x, *, by: x * by, lambda g, y, x, *, by: g * by)
    by, x = START.copy(), cr.Tensor(START)
    y = cr.sum(scaled(x, by=by))
    by[0] = 9.0
    return cr.gradients(y, x), START


def the_root() -> tuple[Any, Any]:
    x = cr.Tensor(START)
    y = cr.exp(x)
    np.add.at(y.data, [0], 9.0)
    return cr.gradients(y, x, np.ones(3)), np.exp(START)


def the_base_of_a_view_of_a_result() -> tuple[Any, Any]:
    x = cr.Tensor(START)
    h = cr.exp(x)
    y = cr.sum(h * h)
    h.reshape(3, 1).data.base[0] = 9.0
    return cr.gradients(y, x), 2.0 * np.exp(START) ** 2


def what_a_node_was_given() -> tuple[Any, Any]:
    x = cr.Tensor(START)
    y = cr.sum(x * x)
    with contextlib.suppress(ValueError):
        y.args[0].inputs[0][0] = 9.0
    return cr.gradients(y, x), 2.0 * START


def another_shape() -> tuple[Any, Any]:
    a, x = START.copy(), cr.Tensor(START)
    y = x * a
    a.shape = (3, 1)
    return cr.gradients(y, x, np.ones(3)), START


def signs_of_float32() -> tuple[Any, Any]:
    a, x = np.ones(400_000, np.float32), cr.Tensor(np.ones(400_000), np.float32)
    y = cr.sum(x * a)
    a[[2, 4]] = -1.0
    return cr.gradients(y, x), np.ones(400_000)


CHANGES: dict[str, Callable[[Any], Any]] = {
    "assigned": lambda x: setattr(x, "data", x.data - 1.0),
    "in place": lambda x: x.__setattr__("data", np.subtract(x.data, 1.0, out=x.data)),
    "written": lambda x: x.data.__setitem__(0, 9.0),
    "stepped": lambda x: (setattr(x, "grad", np.ones(3)), cr.nn.SGD([x], lr=1.0).step()),
}
AFTER: dict[str, Callable[[], tuple[Any, Any]]] = {
    **{
        f.__name__: f
        for f in (
            after_vjp, a_second_output_of_compiled_code, a_constant_of_compiled_code,
            a_constant_of_compiled_code_at_second_order, a_bound, a_list_of_shifts,
            an_option_of_a_custom_operation, the_root, the_base_of_a_view_of_a_result, what_a_node_was_given, another_shape,
            signs_of_float32,
        )
    },
    **{
        f"{f.__name__}, {name}": lambda f=f, change=change: f(change)
        for f in (
            the_argument_of_a_derivative, the_argument_within, a_view_made_under_no_grad, a_view_that_no_walk_looks_behind,
            a_view_as_a_condition,
        )
        for name, change in CHANGES.items()
    },
}  # fmt: skip


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", AFTER)
def test_nor_by_other_ways(name: str) -> None:
    result, message = outcome(AFTER[name])
    if message:
        assert re.search("was written into|was changed", message)
    else:
        assert_allclose(result[0], result[1])


def test_a_variable_stays_writable() -> None:
    w = cr.Tensor(START)
    cr.value_and_grad(lambda u: (u.data.sum(), cr.sum(u**2))[1])(w)
    cr.custom("same", lambda x: x, lambda g, y, x: g)(w).data  # noqa: B018
    w.data -= 1.0
    assert_array_equal(w.data, START - 1.0)


def test_a_custom_operation_cannot_spoil_what_others_need() -> None:
    rude = cr.custom("rude", lambda x: np.maximum(x, 0.0, out=x), lambda g, y, x: g)
    with pytest.raises(ValueError, match=r"rude: .*read-only"):
        rude(cr.Tensor([-1.0, 1.0]))
    greedy = cr.custom("greedy", lambda x: x * 1.0, lambda g, y, x: np.multiply(g, 2.0, out=g))
    x, w = cr.Tensor(START), cr.Tensor(START)
    with pytest.raises(ValueError, match="read-only"):
        cr.sum(greedy(x) + w).backward()


def test_one_constant_used_many_times_is_kept_once() -> None:
    a, x = np.eye(100), cr.Tensor(np.ones(100))
    y = x
    tracemalloc.start()
    for _ in range(200):
        y = cr.tanh(a @ y)
    used = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert used < 20 * a.nbytes
    a[0, 0] = 2.0
    with pytest.raises(RuntimeError, match="was written into"):
        cr.sum(y).backward()


def test_what_a_custom_forward_keeps_is_not_the_result() -> None:
    workspace = np.empty(2)

    def doubled(x: Any) -> Any:
        return np.multiply(x, 2.0, out=workspace)

    operation = cr.custom("doubled", doubled, lambda g, y, x: g * 2.0)
    x = cr.Tensor([1.0, 2.0])
    assert_array_equal(cr.gradients(cr.sum(operation(x) * operation(x * 3.0)), x), [24.0, 48.0])
