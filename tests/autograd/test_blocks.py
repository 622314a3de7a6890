"""Blocks: whatever others do, in whatever order they end, and wherever Ctrl-C comes, each holds for its own and no longer."""

import asyncio
import contextvars
import copy
import functools
import inspect
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.autograd.compiling.frames import Frames
from chainrule.autograd.compiling.recording import Recorder
from chainrule.autograd.context import blocks
from chainrule.autograd.guards.blocks import Holding

BLOCKS: dict[str, Callable[[], Any]] = {
    "no_grad": cr.no_grad,
    "enable_grad": cr.enable_grad,
    "detect_anomaly": cr.detect_anomaly,
    "detect_anomaly, backward only": lambda: cr.detect_anomaly(forward=False),
    "record_lines": cr.record_lines,
    "recorded": lambda: Holding(Recorder(Frames())),
}
USERS = dict(list(BLOCKS.items())[:-1])
OUTSIDE = (True, False, False)
each_block = pytest.mark.parametrize("block", BLOCKS.values(), ids=BLOCKS)
each_users_block = pytest.mark.parametrize("block", USERS.values(), ids=USERS)


def state() -> tuple[bool, bool, bool]:
    """Whether operations are recorded here, whether a NaN is an error, whether lines are remembered."""
    x = cr.Value(3.0)
    y = x * x
    with warnings.catch_warnings(action="ignore"):
        try:
            cr.Value(np.inf) - np.inf, cr.log(x * 0.0)
            watched = False
        except cr.AnomalyError:
            watched = True
    return bool(y.args), watched, cr.line_of(y) is not None


INSIDE = {
    "no_grad": (False, False, False),
    "enable_grad": (True, False, False),
    "detect_anomaly": (True, True, True),
    "detect_anomaly, backward only": (True, False, True),
    "record_lines": (True, False, True),
}
each_state = pytest.mark.parametrize(("block", "inside"), [(USERS[k], INSIDE[k]) for k in USERS], ids=USERS)


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    settings = np.geterr()
    yield
    assert not blocks
    assert np.geterr() == settings
    assert state() == OUTSIDE


# What others do


@each_state
def test_a_task_that_outlives_the_block_it_was_started_in(block: Any, inside: Any) -> None:
    async def main() -> list[Any]:
        found, gate = [], asyncio.Event()

        async def worker() -> None:
            found.append(state())
            await gate.wait()
            found.append(state())
            await asyncio.sleep(0)
            found.append(state())

        with block():
            task = asyncio.create_task(worker())
            await asyncio.sleep(0)
        with cr.no_grad():
            gate.set()
            await asyncio.sleep(0)
        await task
        return found

    assert asyncio.run(main()) == [inside, OUTSIDE, OUTSIDE]


@each_state
@pytest.mark.parametrize("another", USERS.values(), ids=USERS)
def test_a_context_that_outlives_it_beside_blocks_of_others(block: Any, inside: Any, another: Any) -> None:
    with block():
        context = contextvars.copy_context()
        assert context.run(state) == inside
    assert context.run(state) == OUTSIDE
    with another():
        assert context.run(state) == OUTSIDE
        with block():
            pass
        assert context.run(state) == OUTSIDE


@each_state
def test_a_thread_that_outlives_it(block: Any, inside: Any) -> None:
    found: list[Any] = []
    left = threading.Event()

    def work() -> None:
        found.append(state())
        left.wait(10)
        found.append(state())

    with block():
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(work))
        thread.start()
        while not found:
            time.sleep(0.001)
    left.set()
    thread.join()
    assert found == [inside, OUTSIDE]


@each_state
def test_one_object_in_several_threads(block: Any, inside: Any) -> None:
    shared, found = block(), []
    both, one_has_left = threading.Barrier(2), threading.Event()

    def one() -> None:
        with shared:
            both.wait(10)
            found.append(state())
        found.append(state())
        one_has_left.set()

    def two() -> None:
        with shared:
            both.wait(10)
            one_has_left.wait(10)
            found.append(state())
            with shared:
                found.append(state())
            found.append(state())
        found.append(state())

    threads = [threading.Thread(target=f) for f in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [inside, OUTSIDE, inside, inside, inside, OUTSIDE]


# In whatever order


def steps_in(block: Any) -> Iterator[Any]:
    with block():
        yield state()
        yield state()


@each_state
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (0, 2, 1)], ids=str)
def test_generators_that_are_closed_in_any_order(block: Any, inside: Any, order: tuple[int, ...]) -> None:
    generators: list[Any] = [steps_in(block) for _ in range(3)]
    for generator in generators:
        assert next(generator) == inside
    for i in order[:-1]:
        generators[i].close()
        assert state() == inside
    generators[order[-1]].close()
    assert state() == OUTSIDE


@each_users_block
@pytest.mark.parametrize("closed", ["by another thread", "in another context", "when it is dropped"])
def test_a_generator_that_is_closed_elsewhere(block: Any, closed: str) -> None:
    generator: Any = steps_in(block)
    next(generator)
    if closed == "by another thread":
        thread = threading.Thread(target=generator.close)
        thread.start()
        thread.join()
    elif closed == "in another context":
        contextvars.copy_context().run(generator.close)
    np.seterr(
        **SETTINGS
    ) if closed != "when it is dropped" else None  # NumPy's settings are this context's, not the generator's
    del generator
    assert state() == OUTSIDE


SETTINGS: Any = np.geterr()


def test_an_inner_block_outlives_the_outer_one() -> None:
    outer, inner, third = cr.no_grad(), cr.record_lines(), cr.enable_grad()
    outer.__enter__()
    inner.__enter__()
    assert state() == (False, False, False)
    outer.__exit__(None, None, None)
    assert state() == (True, False, True)
    third.__enter__()
    inner.__exit__(None, None, None)
    assert state() == OUTSIDE
    third.__exit__(None, None, None)


def test_a_block_around_one_that_has_ended_still_holds() -> None:
    outer, middle, inner = cr.no_grad(), cr.record_lines(), cr.detect_anomaly()
    for block in (outer, middle, inner):
        block.__enter__()
    middle.__exit__(None, None, None)
    del middle
    assert state() == (False, True, False)
    inner.__exit__(None, None, None)
    assert state() == (False, False, False)
    outer.__exit__(None, None, None)


@each_users_block
@pytest.mark.parametrize("before", ["never", "once", "twice"])
def test_leaving_what_was_not_entered_is_an_error_that_says_so(block: Any, before: str) -> None:
    left = block()
    for _ in range({"never": 0, "once": 1, "twice": 2}[before]):
        with left:
            pass
    with pytest.raises(
        RuntimeError, match=r"(no_grad|enable_grad|detect_anomaly|record_lines): a block was left that was not"
    ):
        left.__exit__(None, None, None)


@each_state
def test_by_an_exit_stack(block: Any, inside: Any) -> None:
    with ExitStack() as stack:
        stack.enter_context(block())
        assert state() == inside


# Decorated


@each_state
def test_a_generator_is_inside_at_its_own_steps(block: Any, inside: Any) -> None:
    @block()
    def steps(n: int) -> Any:
        got = []
        try:
            for _ in range(n):
                got.append((yield state()))
        except ZeroDivisionError:
            got.append(state())
            yield "thrown"
        finally:
            got.append(state())
            closed.append(state())
        return got

    closed: list[Any] = []
    assert inspect.isgeneratorfunction(steps)
    assert steps.__name__ == "steps"
    assert [(x, state()) for x in steps(3)] == [(inside, OUTSIDE)] * 3

    generator = steps(2)
    assert (next(generator), state()) == (inside, OUTSIDE)
    assert generator.send(5) == inside
    with pytest.raises(StopIteration) as ended:
        generator.send(6)
    assert ended.value.value == [5, 6, inside]

    generator = steps(9)
    next(generator)
    assert generator.throw(ZeroDivisionError) == "thrown"
    assert state() == OUTSIDE
    generator.close()
    assert closed == [inside] * 3


@each_state
def test_a_coroutine_is_inside_as_a_whole(block: Any, inside: Any) -> None:
    @block()
    async def within() -> list[Any]:
        before = state()
        await asyncio.sleep(0)
        return [before, state()]

    async def outside() -> list[Any]:
        await asyncio.sleep(0)
        return [state()]

    async def main() -> list[Any]:
        return [*await asyncio.gather(within(), outside(), within()), await within(), state()]

    assert inspect.iscoroutinefunction(within)
    assert asyncio.run(main()) == [[inside] * 2, [OUTSIDE], [inside] * 2, [inside] * 2, OUTSIDE]


class Called:
    def __call__(self) -> Any:
        return state()


class Yielding:
    def __call__(self) -> Any:
        yield state()


class Awaited:
    async def __call__(self) -> Any:
        return state()


def yielding() -> Any:
    yield state()


@each_state
def test_whatever_is_called(block: Any, inside: Any) -> None:
    decorate = block()
    assert decorate(state)() == decorate(lambda: state())() == decorate(functools.partial(state))() == inside
    assert decorate(Called())() == inside
    assert list(decorate(Yielding())()) == list(decorate(functools.partial(yielding))()) == [inside]
    assert asyncio.run(decorate(Awaited())()) == inside


async def asynchronous_steps() -> AsyncIterator[None]:
    yield


@each_users_block
@pytest.mark.parametrize("given", [asynchronous_steps, Called, 3, None, "f", property(Called())], ids=[*"abcdef"])
def test_what_cannot_be_decorated_is_refused(block: Any, given: Any) -> None:
    with pytest.raises(
        TypeError, match=r"(no_grad|enable_grad|detect_anomaly|record_lines)\(\): got .* expected a function"
    ):
        block()(given)


@pytest.mark.parametrize("block", [cr.no_grad, cr.enable_grad, cr.detect_anomaly, cr.record_lines])
def test_without_parentheses_it_says_so(block: Any) -> None:
    with pytest.raises(TypeError, match=rf"{block.__name__}: got .*@{block.__name__}\(\), with the parentheses"):

        @block
        def f() -> None: ...


# Ctrl-C


def stopped_in(block: Any, n: int, error: type[BaseException] = KeyboardInterrupt) -> bool:
    """Ctrl-C at the n-th line of the library that is run while the block is entered and left; False if there are fewer."""
    left = n

    def trace(frame: Any, event: str, arg: object) -> Any:
        nonlocal left
        if not str(frame.f_globals.get("__name__")).startswith("chainrule"):
            return None
        if event == "line":
            left -= 1
            if not left:
                raise error
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        with block():
            pass
    except error:
        return True
    finally:
        sys.settrace(before)
    return False


@each_block
@pytest.mark.parametrize("around", ["nothing", *USERS])
def test_ctrl_c_at_any_line(block: Any, around: str) -> None:
    def each_line() -> None:
        before = state()
        n = 1
        while stopped_in(block, n):
            assert state() == before, f"at line {n}"
            n += 1
        assert n > 10

    if around == "nothing":
        each_line()
    elif block is not BLOCKS["recorded"]:
        with USERS[around]():
            each_line()


@each_users_block
def test_ctrl_c_while_an_object_that_is_kept_is_left(block: Any) -> None:
    kept = block()
    with pytest.raises(KeyboardInterrupt), kept:
        raise KeyboardInterrupt
    assert state() == OUTSIDE
    with kept:
        pass


# Forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_finds_no_lock_that_another_thread_held() -> None:
    x, done = cr.Tensor([1.0]), threading.Event()

    def update() -> None:
        while not done.is_set():
            x.data = [2.0]

    thread = threading.Thread(target=update)
    thread.start()
    try:
        for _ in range(30):
            child = os.fork()
            if not child:
                signal.alarm(5)  # which ends it
                y = cr.Tensor([1.0])
                y.data = y.data + 1.0
                (y * y).sum().backward()
                os._exit(0 if y.grad is not None and y.grad[0] == 4.0 else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        done.set()
        thread.join()


# One object, entered by several


@each_state
def test_one_object_held_by_a_generator_of_another_thread(block: Any, inside: Any) -> None:
    shared = block()

    def steps() -> Iterator[None]:
        with shared:
            yield

    generator = steps()
    thread = threading.Thread(target=lambda: next(generator))
    thread.start()
    thread.join()
    with shared:
        generator.close()
        assert state() == inside


@each_state
def test_one_object_in_several_generators_of_one_context(block: Any, inside: Any) -> None:
    shared = block()

    def steps() -> Iterator[Any]:
        with shared:
            yield state()

    first, second = steps(), steps()
    next(first)
    with cr.enable_grad():
        next(second)
        first.close()
        assert state() == inside
        second.close()


@each_users_block
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_of_what_was_entered_was_not(block: Any, again: Any) -> None:
    with block() as entered:
        before = state()
        with pytest.raises(RuntimeError, match="a block was left that was not entered"):
            again(entered).__exit__(None, None, None)
        assert state() == before


@each_state
def test_what_returns_a_generator_or_a_coroutine(block: Any, inside: Any) -> None:
    async def waiting() -> Any:
        await asyncio.sleep(0)
        return state()

    def clothed(f: Any) -> Any:
        return lambda *args: f(*args)

    assert list(block()(clothed(yielding))()) == [inside]
    assert list(block()(lambda: (state() for _ in range(2)))()) == [inside] * 2
    assert list(block()(staticmethod(yielding))()) == [inside]
    assert asyncio.run(block()(clothed(waiting))()) == inside
    with pytest.raises(TypeError, match="returns an asynchronous generator"):
        block()(clothed(asynchronous_steps))()


class Timeout(BaseException):
    pass


@each_block
def test_whatever_a_handler_raises_at_any_line(block: Any) -> None:
    n = 1
    while stopped_in(block, n, Timeout):
        assert state() == OUTSIDE, f"at line {n}"
        n += 1
    assert n > 10
