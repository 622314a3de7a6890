"""What it costs to watch a training: one step of 784-16-16-10 at batch 32, float32, with nobody, somebody and nobody fast.

All contenders train the same network in turn, in one process; each has a page of its own. The browser is Chromium, if it
is there: it shows its page all the time, graph included.

python benchmarks/live.py
"""

from __future__ import annotations

import contextlib
import itertools
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from measure import interleaved, report
from threadpoolctl import threadpool_limits

import chainrule as cr

ROUNDS, STEPS = 20, 2500
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-sync"

Step = Callable[[], Any]


def steps() -> tuple[cr.nn.MLP, cr.nn.SGD, Step]:
    rng = np.random.default_rng(0)
    xs, labels = rng.random((8, 32, 784), dtype=np.float32), rng.integers(0, 10, (8, 32))
    batches = itertools.cycle(list(zip(xs, labels, strict=True)))
    model = cr.nn.MLP([784, 16, 16, 10], dtype="float32", rng=0)
    optimizer = cr.nn.SGD(model.parameters(), lr=0.01)

    def step() -> Any:
        x, y = next(batches)
        loss = cr.nn.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return model, optimizer, step


def unwatched() -> Step:
    _, _, step = steps()

    def run() -> None:
        for _ in range(STEPS):
            step()

    return run


@contextlib.contextmanager
def watched(by: Callable[[str], contextlib.AbstractContextManager[object]]) -> Iterator[Step]:
    model, optimizer, step = steps()
    with cr.visualize.live(model, optimizer, image_shape=(28, 28)) as page, by(page.url):

        def run() -> None:
            for _ in range(STEPS):
                page.update(step())

        yield run


@contextlib.contextmanager
def nobody(url: str) -> Iterator[None]:
    yield


@contextlib.contextmanager
def chromium(url: str) -> Iterator[None]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = [str(CHROMIUM), *OPTIONS.split(), f"--user-data-dir={folder}", "--remote-debugging-port=0", url]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
            try:
                time.sleep(5.0)  # until it has started
                yield
            finally:
                browser.terminate()


@contextlib.contextmanager
def never_reads(url: str) -> Iterator[None]:
    """One that asks for events and for the graph, and reads nothing. The server may drop it in the end."""
    where = urlsplit(url)
    with contextlib.ExitStack() as clients:
        for name in ("events", "light"):
            client = clients.enter_context(socket.create_connection((where.hostname, where.port)))
            client.sendall(f"GET {where.path}{name} HTTP/1.1\r\nHost: {where.netloc}\r\n\r\n".encode())
        yield


def main() -> None:
    audiences = {"a page, no browser": nobody, "a client that never reads": never_reads}
    if CHROMIUM is None:
        print("Chromium is not here: nobody really looks")
    else:
        audiences["a page in Chromium"] = chromium
    with threadpool_limits(1), contextlib.ExitStack() as pages:
        contenders = {"no page": unwatched()}
        contenders |= {name: pages.enter_context(watched(by)) for name, by in audiences.items()}
        processor: dict[str, list[float]] = {name: [] for name in contenders}
        timed = {name: with_processor(run, processor[name]) for name, run in contenders.items()}
        seconds = interleaved(timed, ROUNDS)
    title = "One training step, 784-16-16-10, batch 32"
    report(f"{title}, watched", seconds, ours="no page", unit=STEPS)
    counted = {name: times[1:] for name, times in processor.items()}
    report(f"{title}: processor time of all threads, the server's included", counted, ours="no page", unit=STEPS)
    for name, times in counted.items():
        print(f"  {name:<28}{sum(times) / sum(counted['no page']):8.3f} x in all rounds together")


def with_processor(run: Step, times: list[float]) -> Step:
    """The same, noting the processor's time, which other programs do not lengthen."""

    def timed() -> None:
        start = time.process_time()
        run()
        times.append(time.process_time() - start)

    return timed


if __name__ == "__main__":
    main()
