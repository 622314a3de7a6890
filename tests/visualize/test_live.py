"""The live page: real training, real HTTP over the loopback, real signals, and a real browser where there is one."""

from __future__ import annotations

import http.client
import importlib.util
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit
from xml.etree import ElementTree

import numpy as np
import pytest
from interrupts import at_every_line
from scripts import example

import chainrule as cr

pytestmark = pytest.mark.slow

LONG = 20.0  # seconds after which what was waited for will not come any more
HOSTILE = {
    "script": "<script>document.title='run'</script>",
    "image": "<img src=x onerror=\"document.title='run'\">",
    "quotes": "\"]; evil \\ '",
    "emoji": "🦔",
    "long": "n" * 10_000,
    "control": "a\x00\n\u202eb",
    "half a character": "a\ud800b",
}

signals = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals to send")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
browser_needed = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None, reason="needs Chromium and playwright"
)


def ask(url: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request; `headers` may replace the usual ones."""
    where = urlsplit(url)
    with closing(http.client.HTTPConnection(where.hostname or "", where.port or 0, timeout=LONG)) as connection:
        connection.request(method, where.path + (f"?{where.query}" if where.query else ""), headers=headers)
        reply = connection.getresponse()
        return reply.status, {name.lower(): text for name, text in reply.getheaders()}, reply.read()


def state_of(page: cr.visualize.LivePage | str) -> Any:
    return json.loads(ask((page if isinstance(page, str) else page.url) + "state")[2])


def until(what: Callable[[], Any]) -> Any:
    """Wait for it to be true."""
    deadline = time.monotonic() + LONG
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.01)
    return found


def weights(**named: Any) -> dict[str, cr.Node]:
    return named or {"w": cr.Tensor([3.0, 4.0], name="w")}


def loss_of(parameters: dict[str, Any]) -> Any:
    """The sum of all squares."""
    total: Any = 0.0
    for w in parameters.values():
        w.grad = None
        total = total + (w * w if isinstance(w, cr.Value) else (w * w).sum())
    total.backward()
    return total


@contextmanager
def training(parameters: Any = None, **options: Any) -> Iterator[cr.visualize.LivePage]:
    """A page whose training goes on in a thread of its own until the block ends."""
    parameters = parameters or weights()
    stop, failed = threading.Event(), []

    def train(page: cr.visualize.LivePage) -> None:
        try:
            while not stop.is_set():
                page.update(loss_of(parameters))
                time.sleep(0.001)
        except BaseException as error:
            failed.append(error)

    with cr.visualize.live(parameters, **options) as page:
        thread = threading.Thread(target=train, args=(page,))
        thread.start()
        try:
            yield page
        finally:
            stop.set()
            ask(page.url + "resume", "POST")
            thread.join(LONG)
    assert (failed, thread.is_alive()) == ([], False)


@contextmanager
def listening(url: str) -> Iterator[Callable[[], Any]]:
    """A client of the stream of events; gives a function that reads the next one."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), LONG) as client, client.makefile("rb") as lines:
        client.sendall(f"GET {where.path}events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        assert lines.readline().split()[1] == b"200"

        def event() -> Any:
            while not (line := lines.readline()).startswith(b"data: "):
                assert line, "the stream has ended"
            return json.loads(line[6:])

        yield event


# What is shown


def test_the_state_says_what_was_measured(capsys: pytest.CaptureFixture[str]) -> None:
    model = cr.nn.MLP([4, 3, 2], rng=0)
    optimizer = cr.nn.SGD(model.parameters(), lr=0.125)
    with cr.visualize.live(model, optimizer, title="A network", image_shape=(2, 2)) as page:
        assert capsys.readouterr().out == f"live: {page.url}\n"
        assert state_of(page)["step"] == 0
        losses = []
        for _ in range(5):
            loss = cr.nn.mse_loss(model(np.ones((7, 4))), np.zeros((7, 2)))
            optimizer.zero_grad()
            loss.backward()
            page.update(loss)
            losses.append(loss.item())
        page.update(0.5)
        page.measure()
        state = state_of(page)
    assert (state["title"], state["step"], state["loss"]) == ("A network", 6, 0.5)
    assert state["losses"] == {"steps": [1, 2, 3, 4, 5, 6], "values": pytest.approx([*losses, 0.5])}
    tiles = {tile["name"]: tile["text"] for tile in state["tiles"]}
    assert (tiles["step"], tiles["loss"], tiles["learning rate"]) == ("6", "0.5", "0.125")
    assert [line["name"] for line in state["gradients"]] == ["0", "2"]
    layer = [p.grad for name, p in model.named_parameters() if name.startswith("0.")]
    assert state["gradients"][0]["values"][-1] == pytest.approx(math.hypot(*(float(cr.norm(g)) for g in layer)))
    shown = {part["name"]: part for part in state["weights"]}
    assert list(shown) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert [shown[name].get("size") for name in shown] == [[3, 2, 2], None, [1, 2, 3], None]
    assert [sum(part["counts"]) for part in shown.values()] == [12, 3, 6, 2]
    assert float(shown["0.weight"]["norm"]) == pytest.approx(float(cr.norm(model.parameters()[0].data)), rel=1e-3)


def test_a_long_training_stays_small_and_says_the_same() -> None:
    with cr.visualize.live({"w": cr.Value(1.0)}) as page:
        for step in range(1, 20_001):
            page.update(float(step))
        page.measure()
        losses = state_of(page)["losses"]
    assert 150 <= len(losses["steps"]) <= 301
    assert losses["steps"][-1] == 20_000
    lengths = np.diff([0, *losses["steps"]])
    assert np.dot(lengths, losses["values"]) == pytest.approx(np.arange(1, 20_001).sum())


SHOWN: dict[str, tuple[Any, str, str, bool]] = {  # the parameter, its norm, its gradient's, whether all is well
    "a number": (cr.Value(-3.0), "3", "6", True),
    "an array": (cr.Tensor([3.0, 4.0]), "5", "10", True),
    "half precision": (cr.Tensor([300.0, 400.0], dtype="float16"), "500", "1000", True),
    "huge": (cr.Tensor([3e150, 4e150]), "5e150", "1e151", True),
    "nothing in it": (cr.Tensor(np.zeros((0, 3))), "0", "0", True),
    "NaN": (cr.Tensor([1.0, math.nan]), "NaN", "NaN", False),
    "infinite": (cr.Tensor([[1.0, math.inf]]), "inf", "inf", False),
}


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.filterwarnings("ignore:overflow encountered")
def test_what_is_said_of_weights(name: str) -> None:
    parameter, norm, grad, finite = SHOWN[name]
    with cr.visualize.live({"w": parameter}) as page:
        assert state_of(page)["weights"][0]["grad"] == "–" or parameter.grad is not None
        page.update(loss_of({"w": parameter}))
        page.measure()
        shown = state_of(page)["weights"][0]
    assert (shown["norm"], shown["grad"], shown["finite"]) == (norm, grad, finite)


def test_a_loss_that_is_not_finite_is_said_and_not_drawn() -> None:
    with cr.visualize.live(weights()) as page:
        for x in (1.0, math.nan, math.inf, 2.0, math.nan):
            page.update(x)
        page.measure()
        state = state_of(page)
    assert state["losses"]["values"] == [1.0, None, None, 2.0, None]
    assert [(tile["text"], tile["finite"]) for tile in state["tiles"] if tile["name"] == "loss"] == [("NaN", False)]


def test_many_parameters_are_shown_in_groups() -> None:
    model = cr.nn.scalar.MLP(2, [16, 16, 1], rng=0)
    with cr.visualize.live(model) as page:
        state = state_of(page)
        assert 1 < len(state["weights"]) <= 16
        assert len(state["gradients"]) <= 8
        assert sum(sum(part["counts"]) for part in state["weights"]) == len(model.parameters())
    deep = {f"layers.{i}.w": cr.Value(1.0) for i in range(100)}
    with cr.visualize.live(deep) as page:
        state = state_of(page)
        assert sum(sum(part["counts"]) for part in state["weights"]) == 100


def test_the_graph_is_drawn_for_who_asks() -> None:
    with training(weights(w=cr.Tensor([3.0, 4.0], name="the weight"))) as page:
        reply = json.loads(ask(page.url + "light")[2])
        assert ElementTree.fromstring(reply["svg"]).tag.endswith("svg")
        assert "the weight" in reply["svg"]
        later = json.loads(ask(page.url + f"light?{reply['step']}")[2])
        assert later["step"] > reply["step"]


def test_a_plain_number_has_no_graph() -> None:
    with cr.visualize.live(weights()) as page:
        asking = threading.Thread(target=lambda: replies.append(json.loads(ask(page.url + "light")[2])))
        replies: list[Any] = []
        asking.start()
        while asking.is_alive():
            page.update(1.0)
        assert "Value or a Tensor" in replies[0]["problem"]


def test_a_large_graph_does_not_hold_training_up() -> None:
    x = cr.Value(1.0)
    loss: Any = x
    for _ in range(20_000):
        loss = loss * 1.0
    with cr.visualize.live({"x": x}) as page:
        replies: list[Any] = []
        asking = threading.Thread(target=lambda: replies.append(json.loads(ask(page.url + "light")[2])))
        asking.start()
        while asking.is_alive():
            page.update(loss)
        assert "while training is paused" in replies[0]["problem"]


def test_the_graph_belongs_to_training_alone() -> None:
    with cr.visualize.live(weights()) as page:
        loss = loss_of(weights())
        page.update(loss)
        gone = weakref.ref(loss)
        del loss
        assert gone() is None


def test_fit_tells_the_page() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(64, 3)), rng.integers(0, 2, 64)
    model = cr.nn.MLP([3, 4, 2], rng=0)
    optimizer = cr.nn.SGD(model.parameters(), lr=0.1)
    with cr.visualize.live(model, optimizer) as page:
        cr.nn.fit(
            model, cr.nn.cross_entropy, data, optimizer, epochs=3, validation=data, progress=False,
            after_batch=page.update, callbacks=[page.epoch],
        )  # fmt: skip
        page.measure()
        state = state_of(page)
    assert state["step"] == 6
    assert state["validation"]["steps"] == [2, 4, 6]
    assert {"epochs done", "accuracy", "validation accuracy"} <= {tile["name"] for tile in state["tiles"]}


# Who is answered


def test_the_page_and_its_files() -> None:
    with cr.visualize.live(weights()) as page:
        for name, kind in ("", "text/html"), ("live.css", "text/css"), ("live.js", "text/javascript"):
            status, headers, body = ask(page.url + name)
            assert (status, headers["content-type"]) == (200, f"{kind}; charset=utf-8")
            assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b"")
            assert b"https://" not in body
            policy = headers["content-security-policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
            assert "unsafe" not in policy
            assert headers["cache-control"] == "no-store"


REFUSED: dict[str, tuple[str, str, dict[str, str], int]] = {
    "no token": ("GET", "/", {}, 404),
    "another token": ("GET", "/{half}/state", {}, 404),
    "no file": ("GET", "/{token}/../setup.cfg", {}, 404),
    "a command as a question": ("GET", "/{token}/pause", {}, 404),
    "an unknown command": ("POST", "/{token}/state", {}, 404),
    "a command without the token": ("POST", "/pause", {}, 404),
    "another method": ("PUT", "/{token}/pause", {}, 501),
    "a name that was made to point here": ("GET", "/{token}/state", {"Host": "evil.example"}, 421),
    "the same with a port": ("GET", "/{token}/state", {"Host": "127.0.0.1.evil.example:80"}, 421),
    "a command from a foreign page": ("POST", "/{token}/pause", {"Origin": "http://evil.example"}, 403),
    "a command from a file": ("POST", "/{token}/pause", {"Origin": "null"}, 403),
}


@pytest.mark.parametrize("name", REFUSED)
def test_who_is_refused(name: str) -> None:
    method, path, headers, status = REFUSED[name]
    with cr.visualize.live(weights()) as page:
        where = urlsplit(page.url)
        token = where.path.strip("/")
        url = f"http://{where.netloc}{path.format(token=token, half=token[:-1])}"
        answered, _, body = ask(url, method, **headers)
        assert (answered, body) == (status, b"")
        assert state_of(page)["status"] == "running"


def test_a_forwarded_port_is_served() -> None:
    with cr.visualize.live(weights()) as page:
        assert ask(page.url + "state", Host="localhost:8000")[0] == 200
        assert ask(page.url + "pause", "POST", Host="localhost:8000", Origin="http://localhost:8000")[0] == 204


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 may not lead here")
def test_only_the_loopback_address_is_listened_to() -> None:
    with cr.visualize.live(weights()) as page, pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", urlsplit(page.url).port or 0), LONG)


def test_two_pages_have_two_tokens() -> None:
    with cr.visualize.live(weights()) as page, cr.visualize.live(weights()) as other:
        tokens = {urlsplit(p.url).path for p in (page, other)}
        assert len(tokens) == 2
        assert min(map(len, tokens)) > 32


def test_nonsense_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    with cr.visualize.live(weights()) as page:
        where = urlsplit(page.url)
        for nonsense in (b"\x00\xff\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"G" * 70_000, b""):
            with socket.create_connection((where.hostname, where.port), LONG) as client, client.makefile("rb") as reply:
                client.sendall(nonsense)
                client.shutdown(socket.SHUT_WR)
                assert b" 200 " not in reply.readline()
        assert state_of(page)["step"] == 0
    out, err = capfd.readouterr()
    assert (out, err) == (f"live: http://{where.netloc}{where.path}\n", "")


def test_there_is_a_limit_to_clients() -> None:
    with cr.visualize.live(weights()) as page:
        where = urlsplit(page.url)
        crowd = [socket.create_connection((where.hostname, where.port), LONG) for _ in range(40)]
        served = threading.active_count()
        assert [client.recv(1) for client in crowd[-3:]] == [b""] * 3  # closed at once
        for client in crowd:
            client.close()
        assert served < 40
        until(lambda: threading.active_count() < 10)
        assert ask(page.url + "state")[0] == 200


BEGUN = {
    "nothing": "",
    "a line": "GET / HTTP/1.1\r\n",
    "a command": "POST {path}pause HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
}


@pytest.mark.parametrize("name", BEGUN)
def test_who_goes_on_asking_is_cut_off(name: str) -> None:
    with cr.visualize.live(weights()) as page, listening(page.url) as event:
        where = urlsplit(page.url)
        event()
        with socket.create_connection((where.hostname, where.port), 0.2) as client:
            client.sendall(BEGUN[name].format(path=where.path).encode())

            def is_cut_off() -> bool:
                try:
                    client.sendall(b"G")
                    return client.recv(100) == b""
                except TimeoutError:
                    return False
                except OSError:
                    return True

            until(is_cut_off)
        assert state_of(page)["status"] == "running"  # half a command is none
        page.update(1.0)
        page.measure()
        while event()["step"] < 1:  # who has asked is not cut off
            pass


forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no process can be forked")
FORKED = """
import os, sys, time, socket, http.client, chainrule as cr
from urllib.parse import urlsplit
def status(url):
    where = urlsplit(url)
    connection = http.client.HTTPConnection(where.hostname, where.port, timeout=20)
    connection.request("GET", where.path + "state")
    return connection.getresponse().status
with cr.visualize.live({"w": cr.Value(1.0)}, keep=True) as page:
    where = page.server.server_address
    streaming = socket.create_connection(where, 20)
    streaming.sendall(f"GET {urlsplit(page.url).path}events HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\n\\r\\n".encode())
    assert streaming.recv(10)
    page.served.obey("pause")
    living = os.fork()
    if living == 0:
        time.sleep(60)
        os._exit(0)
    with page.shared.changed:
        ended = os.fork()
    if ended == 0:
        page.update(1.0)
        page.__exit__(None, None, None)
        os._exit(7)
    print(os.waitstatus_to_exitcode(os.waitpid(ended, 0)[1]), status(page.url), bool(streaming.recv(10)))
    page.keep = False
try:
    socket.create_connection(where, 20)
except ConnectionRefusedError:
    print("refused")
os.kill(living, 9)
"""


@forks
def test_a_forked_child_has_no_share_in_the_page() -> None:
    done = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.splitlines()[1:], done.stderr) == (["7 200 True", "refused"], "")


def test_a_program_that_is_started_does_not_keep_the_port() -> None:
    with cr.visualize.live(weights()) as page:
        url = page.url
        started = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    with started, pytest.raises(ConnectionRefusedError):
        ask(url + "state")


@contextmanager
def no_more_threads() -> Iterator[None]:
    before = threading.stack_size(1 << 46)  # more than there is
    try:
        yield
    finally:
        threading.stack_size(before)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a stack may be had, or not asked for")
def test_without_threads_there_is_no_page() -> None:
    page = cr.visualize.live(weights())
    with (
        no_more_threads(),
        pytest.raises(RuntimeError, match="live: the page cannot be served: can't start new thread"),
    ):
        page.__enter__()
    with pytest.raises(RuntimeError, match="only in its block"):
        page.url  # noqa: B018
    page.close()
    assert threading.active_count() < 10


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere such a stack may be had, or not asked for")
def test_without_a_thread_for_it_a_client_is_refused(capfd: pytest.CaptureFixture[str]) -> None:
    with cr.visualize.live(weights()) as page:
        with no_more_threads(), pytest.raises((http.client.HTTPException, ConnectionError)):
            ask(page.url + "state")
        assert ask(page.url + "state")[0] == 200
    assert capfd.readouterr().err == ""


# Pause and step


def test_pause_step_resume() -> None:
    with training() as page, listening(page.url) as event:
        assert event()["status"] == "running"
        assert ask(page.url + "pause", "POST")[0] == 204
        while (state := event())["status"] != "paused":
            assert state["status"] in ("running", "pausing")
        step = state["step"]
        time.sleep(0.1)
        assert state_of(page)["step"] == step
        for n in (1, 2):
            assert ask(page.url + "step", "POST")[0] == 204
            while not ((state := event())["status"] == "paused" and state["step"] == step + n):
                assert state["step"] <= step + n
        assert ask(page.url + "resume", "POST")[0] == 204
        while event()["step"] < step + 4:
            pass
        assert state_of(page)["status"] == "running"


def test_a_step_out_of_a_running_training_pauses_it() -> None:
    with training() as page, listening(page.url):
        ask(page.url + "step", "POST")
        until(lambda: state_of(page)["status"] == "paused")


def test_a_paused_training_shows_its_graph() -> None:
    with training() as page, listening(page.url):
        ask(page.url + "pause", "POST")
        step = until(lambda: (state := state_of(page))["status"] == "paused" and state["step"])
        assert json.loads(ask(page.url + "light")[2])["step"] == step


def test_with_no_browser_left_training_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with training(grace=0.2) as page:
        with listening(page.url) as event:
            ask(page.url + "pause", "POST")
            while (state := event())["status"] != "paused":
                pass
            time.sleep(0.5)
            assert state_of(page)["status"] == "paused"  # somebody is there
        until(lambda: state_of(page)["step"] > state["step"])
        assert "no browser was left" in state_of(page)["note"]
    assert "no browser is left" in capsys.readouterr().out


def test_a_client_that_never_reads_holds_nothing_up() -> None:
    before = threading.active_count()
    with training() as page:
        where = urlsplit(page.url)
        with socket.create_connection((where.hostname, where.port), LONG) as client:
            client.sendall(f"GET {where.path}events HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
            for _ in range(300):  # far more than buffers hold
                ask(page.url + "resume", "POST")
            step = state_of(page)["step"]
            until(lambda: state_of(page)["step"] > step)
    assert threading.active_count() == before


# The block


@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_after_the_block_nothing_is_left(error: type[BaseException] | None) -> None:
    before = threading.active_count()
    events: list[Any] = []

    def listen(url: str) -> None:
        with listening(url) as event:
            while not events or events[-1]["status"] != "ended":
                events.append(event())

    with pytest.raises(error) if error else nullcontext(), cr.visualize.live(weights()) as page:
        url = page.url
        listener = threading.Thread(target=listen, args=(url,))
        listener.start()
        until(lambda: events)
        page.update(1.0)
        if error is not None:
            raise error
    listener.join(LONG)
    assert (events[-1]["step"], events[-1]["over"]) == (1, True)
    assert events[-1]["note"] == ("" if error is None else f"Training was stopped by {error.__name__}.")
    assert threading.active_count() == before
    with pytest.raises(ConnectionRefusedError):
        ask(url + "state")
    with pytest.raises(RuntimeError, match="only there in its block"):
        page.update(1.0)
    with pytest.raises(RuntimeError, match="only in its block"):
        page.url  # noqa: B018
    with pytest.raises(RuntimeError, match="for one block"):
        page.__enter__()


def test_a_page_that_is_dropped_in_its_block_ends() -> None:
    before = threading.active_count()
    page = cr.visualize.live(weights()).__enter__()
    url = page.url
    with listening(url) as event:
        event()
        del page
        until(lambda: threading.active_count() == before)
        assert event()["over"]
    with pytest.raises(ConnectionRefusedError):
        ask(url + "state")


@signals
@pytest.mark.parametrize("error", [None, ZeroDivisionError])
def test_ctrl_c_while_the_page_takes_its_leave_leaves_nothing(error: type[BaseException] | None) -> None:
    before, events = threading.active_count(), list[Any]()

    def interrupt(url: str) -> None:
        with listening(url) as event:
            while not events or not events[-1]["over"]:
                events.append(event())
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            time.sleep(0.5)  # somebody who does not hang up

    def block() -> None:
        with page:
            urls.append(page.url)
            listener.start()
            until(lambda: events)
            if error is not None:
                raise error

    page, urls = cr.visualize.live(weights()), list[str]()
    listener = threading.Thread(target=lambda: interrupt(urls[0]))
    with pytest.raises(KeyboardInterrupt):
        block()
    with pytest.raises(ConnectionRefusedError):
        ask(urls[0] + "state")
    listener.join(LONG)
    assert (threading.active_count(), page.server) == (before, None)
    page.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of a socket that was not bound yet
def test_ctrl_c_at_any_line_of_the_block_leaves_nothing() -> None:
    before = threading.active_count()
    pages = [cr.visualize.live(weights())]

    def watched() -> None:
        with pages[-1]:
            pages[-1].update(1.0)

    missed = 0
    for error in at_every_line(watched, step=3):
        assert error is None or type(error) is KeyboardInterrupt
        missed += pages[-1].server is not None
        pages[-1].close()
        assert (threading.active_count(), pages[-1].server) == (before, None)
        pages.append(cr.visualize.live(weights()))
    assert missed <= 1  # as `__exit__` is called: nothing can catch that


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "no model": (
        lambda: cr.visualize.live(3),
        TypeError,
        "expected a Module, or a dict of parameters by name, got int",
    ),  # type: ignore[arg-type]
    "numbers": (lambda: cr.visualize.live({"w": 3.0}), TypeError, "'w': float"),  # type: ignore[dict-item]
    "a shape of one": (lambda: cr.visualize.live(weights(), image_shape=(784,)), ValueError, "image_shape"),  # type: ignore[arg-type]
    "an empty shape": (lambda: cr.visualize.live(weights(), image_shape=(0, 3)), ValueError, "image_shape"),
    "grace": (lambda: cr.visualize.live(weights(), grace=-1.0), ValueError, "grace"),
    "a shape that is none": (lambda: cr.visualize.live(weights(), image_shape=5), ValueError, "image_shape"),  # type: ignore[arg-type]
    "a shape of text": (lambda: cr.visualize.live(weights(), image_shape=("a", 1)), ValueError, "image_shape"),  # type: ignore[arg-type]
    "grace of text": (lambda: cr.visualize.live(weights(), grace="a"), ValueError, "grace"),  # type: ignore[arg-type]
    "an optimizer": (lambda: cr.visualize.live(weights(), 5), TypeError, "live: optimizer must have a learning rate"),  # type: ignore[arg-type]
    "keep": (lambda: cr.visualize.live(weights(), keep="a"), TypeError, "live: keep must be True or False, got 'a'"),  # type: ignore[arg-type]
    "open": (lambda: cr.visualize.live(weights(), open_browser=1), TypeError, "live: open_browser must be True or"),  # type: ignore[arg-type]
    "a title": (lambda: cr.visualize.live(weights(), title=5), TypeError, "live: title must be a string"),  # type: ignore[arg-type]
    "no grace": (lambda: cr.visualize.live(weights(), grace=math.nan), ValueError, "grace"),
    "text": (lambda: told("low"), TypeError, "update: loss must be a Value, a Tensor or a number, got str"),
    "nothing": (lambda: told(None), TypeError, "got NoneType"),
    "two numbers": (lambda: told(np.ones(2)), ValueError, r"one number, got shape \(2,\)"),
    "a vector": (lambda: told(cr.Tensor([1.0])), ValueError, r"one number, got shape \(1,\)"),
}


def told(loss: Any) -> None:
    with cr.visualize.live(weights()) as page:
        page.update(loss)


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_told(name: str) -> None:
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()


PROCESS = """
import sys, time, numpy as np, chainrule as cr
model = cr.nn.Linear(2, 1, rng=0)
optimizer = cr.nn.SGD(model.parameters(), lr=0.1)
data = np.ones((8, 2)), np.ones((8, 1))
with cr.visualize.live(model, keep={keep}) as page:
    sys.stdout.flush()
    history = cr.nn.fit(model, cr.nn.mse_loss, data, optimizer, epochs={epochs}, progress=False, after_batch=page.update)
    print("stopped", history.stopped, flush=True)
    if {by_hand}:
        while True:
            loss = cr.nn.mse_loss(model(data[0]), data[1])
            loss.backward()
            page.update(loss)
print("after the block", flush=True)
"""


@contextmanager
def process(**settings: Any) -> Iterator[tuple[subprocess.Popen[str], str]]:
    command = [sys.executable, "-W", "error", "-c", PROCESS.format(**settings)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            yield running, running.stdout.readline().split()[1]
        finally:
            running.kill()


def rest_of(running: subprocess.Popen[str]) -> tuple[str, str]:
    """What it says until it ends."""
    assert running.stdout is not None
    assert running.stderr is not None
    said = running.stdout.read(), running.stderr.read()
    running.wait(LONG)
    return said


@signals
@pytest.mark.parametrize("by_hand", [False, True])
def test_ctrl_c_while_paused(by_hand: bool) -> None:
    with (
        process(keep=False, epochs=0 if by_hand else 10**9, by_hand=by_hand) as (running, url),
        listening(url) as event,
    ):
        ask(url + "pause", "POST")
        while event()["status"] != "paused":
            pass
        running.send_signal(signal.SIGINT)
        out, err = rest_of(running)
    if by_hand:
        assert running.returncode != 0
        assert err.strip().endswith("KeyboardInterrupt")
    else:
        assert (running.returncode, err) == (0, "")
        assert out == "stopped interrupted\nafter the block\n"


@signals
def test_a_page_that_is_kept_stays_until_ctrl_c() -> None:
    with process(keep=True, epochs=3, by_hand=False) as (running, url):
        until(lambda: state_of(url)["status"] == "ended")
        state = state_of(url)
        assert (state["step"], state["over"]) == (3, False)
        running.send_signal(signal.SIGINT)
        out, err = rest_of(running)
    assert (running.returncode, err) == (0, "")
    assert out.splitlines()[1:] == ["live: training has ended; its page stays until Ctrl-C", "after the block"]


NOTEBOOK = """
import json, nbclient, nbformat
cell = nbformat.v4.new_code_cell('''
import chainrule as cr
with cr.visualize.live({"<w>": cr.Value(1.0)}, title="<T>") as page:
    print(page._repr_html_())
    page.update(0.25)
''')
nbclient.NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=60, kernel_name="python3").execute()
print(json.dumps(cell.outputs))
"""


@pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("nbclient", "ipykernel")),
    reason="needs nbclient, ipykernel",
)
def test_a_notebook_shows_the_page_and_keeps_a_summary() -> None:
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, check=True, timeout=120)
    outputs = json.loads(done.stdout)
    printed = "".join(output["text"] for output in outputs if output["output_type"] == "stream")
    shown = [output["data"]["text/html"] for output in outputs if output["output_type"] == "display_data"]
    assert '<iframe src="http://127.0.0.1:' in printed
    assert len(shown) == 1
    assert "<caption>&lt;T&gt;: ended" in shown[0]
    assert "<tr><th>loss</th><td>0.25</td></tr>" in shown[0]
    assert "iframe" not in shown[0]


# In a browser


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    quiet = ["quic", "background-networking", "component-update", "sync", "gpu"]
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in quiet)]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Any]:
    """A page of the browser; at its end, nothing may have been complained of, and nobody else asked."""
    context = chromium.new_context(viewport={"width": 1000, "height": 800})
    made = context.new_page()
    complaints: list[str] = []
    asked: set[str] = set()
    made.on("console", lambda message: complaints.append(message.text))
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.on("request", lambda request: asked.add(urlsplit(request.url).hostname or request.url[:5]))
    yield made
    context.close()
    assert complaints == []
    assert asked <= {"127.0.0.1", "data:"}


@browser_needed
def test_a_browser_shows_and_steers(tab: Any) -> None:
    model = cr.nn.MLP([4, 3, 2], rng=0)
    with training(dict(model.named_parameters()), title="In a browser") as page:
        tab.goto(page.url)
        tab.wait_for_selector("#status[data-status=running]")
        assert tab.inner_text("h1") == "In a browser"
        tab.wait_for_selector("#graph svg text", state="attached")
        tab.wait_for_selector("#losses svg path.c0", state="attached")
        assert tab.locator("#gradients path.c1").count() == 2  # the line, and its place in the legend
        assert tab.locator("#weights article").count() == 4
        assert tab.locator("#weights canvas").count() == 2
        for chart in ("#losses svg", "#gradients svg", "#graph svg", "#weights svg >> nth=0"):
            assert tab.get_attribute(chart, "role") == "img"
            assert tab.get_attribute(chart, "aria-label")
        tab.keyboard.press("Tab")
        tab.keyboard.press("Enter")  # the first control is the pause button
        tab.wait_for_selector("#status[data-status=paused]")
        step = state_of(page)["step"]
        tab.keyboard.press("s")
        until(lambda: state_of(page)["step"] == step + 1)
        tab.click("#step")
        until(lambda: state_of(page)["step"] == step + 2)
        until(lambda: tab.inner_text("#tiles dd >> nth=0").replace(",", "") == str(step + 2))
        until(lambda: tab.inner_text("#graph-note").replace(",", "") == f"at step {step + 2}")
        tab.keyboard.press("p")
        tab.wait_for_selector("#status[data-status=running]")
    tab.wait_for_selector("#status[data-status=ended]")
    assert tab.locator("#weights article").count() == 4
    assert tab.is_disabled("#pause")


@browser_needed
def test_hostile_names_are_shown_and_not_run(tab: Any) -> None:
    named = {name: cr.Tensor([1.0, 2.0], name=name) for name in HOSTILE.values()}
    with training(named, title=HOSTILE["script"]) as page:
        tab.goto(page.url)
        tab.wait_for_selector("#graph svg text", state="attached")
        shown = tab.locator("#weights h3").all_inner_texts()
        assert shown[:4] == [HOSTILE[name] for name in ("script", "image", "quotes", "emoji")]
        assert tab.inner_text("h1") == HOSTILE["script"]
        assert tab.locator("script, img").count() == 1  # the page's own script
        assert tab.title().startswith(HOSTILE["script"])
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


@browser_needed
def test_charts_of_losses_that_hardly_differ(tab: Any) -> None:
    with cr.visualize.live(weights()) as page:
        tab.goto(page.url)
        for losses in (
            [0.1 + 0.2, 0.3],
            [0.0, 0.0],
            [math.nan, math.nan],
            [1e300, -1e300],
            [5e-324, 1e-323],
            [-1.0, -2.0],
        ):
            for loss in losses:
                page.update(loss)
            page.measure()
            step = f"{state_of(page)['step']}"
            until(lambda step=step: tab.inner_text("#tiles dd >> nth=0") == step)
            tab.click("#loss-log")
    assert tab.locator("#losses").inner_text()


@browser_needed
def test_a_logarithmic_axis_has_round_numbers(tab: Any) -> None:
    with cr.visualize.live(weights()) as page:
        tab.goto(page.url)
        for loss in (4.0, 0.15):
            page.update(loss)
        page.measure()
        tab.click("#loss-log")
        until(lambda: tab.locator("#losses svg text").count() > 4)
        assert tab.locator("#losses svg text").all_text_contents()[:5] == ["0.2", "0.5", "1", "2", "0"]


@browser_needed
def test_a_lost_connection_is_shown(chromium: Any) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 800}, color_scheme="dark")
    tab = context.new_page()
    with process(keep=True, epochs=10**9, by_hand=False) as (running, url):
        tab.goto(url)
        tab.wait_for_selector("#status[data-status=running]")
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
        running.kill()
        tab.wait_for_selector("#status[data-status=lost]")
        assert tab.is_disabled("#pause")
    context.close()


# The example


def test_the_example_asks_its_own_page(capsys: pytest.CaptureFixture[str]) -> None:
    digits = example("_digits").enlarged()
    shown = example("watch_training").train(digits, 1, keep=False)
    assert shown["losses"]["values"][-1] < shown["losses"]["values"][0]
    assert [part.get("size") for part in shown["weights"]][:2] == [[16, 28, 28], None]
    assert "validation accuracy" in capsys.readouterr().out
