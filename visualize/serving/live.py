"""Training that can be watched, paused and stepped from a page in the browser, served to this machine alone.

`LivePage.update` runs in the training's own thread and costs next to nothing: now and then it takes a snapshot, plain copies
of what is to be shown, and only the newest is kept. All else (text, histograms, pictures) is made from it in a thread of
the browser that asks. What looking costs is measured, and how often it is done follows from that.
"""

from __future__ import annotations

__all__ = ["LivePage", "live"]

import html
import json
import sys
import threading
import time
import weakref
import webbrowser
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.resources import files
from numbers import Real
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, final, runtime_checkable

import numpy as np

from chainrule.autograd.graph import Node
from chainrule.autograd.guards.settings import flag

from ..describing.description import shortened
from ..drawing.dot import draw, picture
from .served import Served
from .snapshot import LONGEST, SIDE, Recorder, Snapshot, Steered, quantity, state

if TYPE_CHECKING:
    from .loopback import Loopback

INTERVAL = 0.5  # seconds between two snapshots
GRAPH_INTERVAL = 2.0  # and between two drawings of the graph
SHARE = 50  # looking takes at most one in so many seconds of training
THEMES = ("light", "dark")
LARGE = 5_000  # nodes of a graph that is drawn while training goes on
POLL = 0.1  # seconds between two looks around while training is paused
WAIT = 4.0  # seconds that a browser waits for a new drawing before it asks again

NUMBERS = (np.ndarray, np.number, int, float)
KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


@runtime_checkable
class Model(Protocol):
    """What has parameters that are known by name, as `nn.Module` does."""

    def named_parameters(self) -> Iterator[tuple[str, Any]]: ...


class Records(Protocol):
    """What measured each epoch, as `nn.History` does."""

    def __getitem__(self, key: int, /) -> Mapping[str, float]: ...


def live(
    model: Model | Mapping[str, Node],
    optimizer: Steered | None = None,
    *,
    title: str | None = None,
    image_shape: tuple[int, int] | None = None,
    grace: float = 10.0,
    keep: bool = False,
    open_browser: bool = False,
) -> LivePage:
    """A block in which training can be watched, paused and stepped from a page in the browser; its address is printed.

        with cr.visualize.live(model, optimizer) as page:
            for x, y in batches:
                loss = ...
                optimizer.zero_grad()
                loss.backward()
                page.update(loss)
                optimizer.step()

    or `cr.nn.fit(…, after_batch=page.update, callbacks=[page.epoch])`. The page shows the loss, the gradient norm of each
    layer, weights as histograms and images, speed and learning rate, and the graph of the loss as `draw` draws it.

    `model` is a Module, or a dict of parameters by name; of `optimizer` only the learning rate is read. `title` stands
    above, by default the model's class. Weights whose rows have height * width numbers, as those of a first layer that
    looks at pictures, are shown as images of `image_shape`, (height, width); others as a matrix.

    The page is for this machine only: the server (of the standard library) listens on 127.0.0.1, on a port that the
    system chooses, and answers only to who knows the address. A page that nobody looks at, or that a slow or a closed
    browser looks at, holds nothing up. While it is paused, `update` waits, and Ctrl-C works as ever; once no browser has
    been there for `grace` seconds, a paused training goes on, and says so. At the end of the block, also after an error,
    the server is gone, and pages that are open keep what they show; with `keep` it stays after a block without errors,
    until Ctrl-C. A process that is forked in the block has no share in the page. `open_browser` opens the page.

    In a notebook the page shows itself below the cell, in a frame, and afterwards gives way to a summary that is saved
    with the notebook. The frame needs a browser on the machine where the kernel runs, or the port forwarded to
    127.0.0.1 or localhost there (`ssh -L`, VS Code); hosted notebooks cannot show it.

    Raises `TypeError` for a model without named parameters, an optimizer without a learning rate or a flag that is none, `ValueError` for a wrong shape or grace; at the start of the
    block `RuntimeError` where no thread can be had.

    >>> import chainrule as cr
    >>> w = cr.Value(2.0)
    >>> with cr.visualize.live({"w": w}) as page:  # doctest: +ELLIPSIS
    ...     for _ in range(3):
    ...         loss = w * w
    ...         loss.backward()
    ...         page.update(loss)
    live: http://127.0.0.1:.../
    """
    if image_shape is not None and not is_image_shape(image_shape):
        raise ValueError(f"live: image_shape must be (height, width), each from 1 to {SIDE}, got {image_shape!r}")
    if not (isinstance(grace, Real) and grace >= 0.0):
        raise ValueError(f"live: grace must be a number of seconds, not negative, got {grace!r}")
    if not isinstance(title, str | None):
        raise TypeError(f"live: title must be a string or None, got {title!r}")
    if optimizer is not None and not isinstance(optimizer, Steered):
        raise TypeError(f"live: optimizer must have a learning rate, lr, got {type(optimizer).__name__}")
    return LivePage(
        parameters=parameters_of(model),
        optimizer=optimizer,
        title=type(model).__name__ if title is None else title,
        image_shape=image_shape,
        grace=grace,
        keep=flag("live: keep", keep),
        open_browser=flag("live: open_browser", open_browser),
    )


def is_image_shape(shape: Any) -> bool:
    sides = list(shape) if np.iterable(shape) else []
    return len(sides) == 2 and all(isinstance(n, int | np.integer) and 0 < n <= SIDE for n in sides)


def parameters_of(model: Any) -> dict[str, Node]:
    if not isinstance(model, Mapping | Model):
        raise TypeError(f"live: expected a Module, or a dict of parameters by name, got {type(model).__name__}")
    named = dict(model) if isinstance(model, Mapping) else dict(model.named_parameters())
    for name, parameter in named.items():
        if not isinstance(name, str) or not isinstance(parameter, Node):
            raise TypeError(f"live: parameters are Values or Tensors by name, got {name!r}: {type(parameter).__name__}")
    return named


@dataclass(frozen=True, slots=True)
class Drawn:
    """The graph at one step as text, or why there is none."""

    step: int = -1
    text: str = ""
    problem: str = ""

    def painted(self) -> Drawn:
        """The picture that Graphviz makes of the text."""
        try:
            return Drawn(self.step, picture(self.text, "svg").decode() if self.text else "", self.problem)
        except (RuntimeError, ValueError) as error:
            return Drawn(self.step, problem=str(error))


def drawing_of(loss: Any, step: int, theme: str, *, waited_for: bool) -> Drawn:
    """The graph, unless describing it would hold up a training that waits for it."""
    if waited_for and isinstance(loss, Node) and larger_than(LARGE, loss):
        return Drawn(step, problem=f"The graph has more than {LARGE:,} nodes: it is drawn while training is paused.")
    try:
        return Drawn(step, text=draw(loss, theme=theme, graph_attr={"bgcolor": "transparent"}).source)
    except (TypeError, ValueError) as error:
        return Drawn(step, problem=str(error))


def larger_than(limit: int, root: Node) -> bool:
    """Whether the graph has more nodes, without looking at more of them."""
    seen, stack = {root}, [root]
    while stack and len(seen) <= limit:
        fresh = {arg for arg in stack.pop().args if isinstance(arg, Node)} - seen
        seen |= fresh
        stack.extend(fresh)
    return len(seen) > limit


@final
class LivePage(Served):
    """What `live` returns: the page, for the length of its block."""

    def __init__(
        self,
        *,
        parameters: dict[str, Node],
        optimizer: Steered | None,
        title: str,
        image_shape: tuple[int, int] | None,
        grace: float,
        keep: bool,
        open_browser: bool,
    ) -> None:
        self.recorder = Recorder(parameters, optimizer, image_shape)
        self.title = shortened(title, LONGEST)
        self.grace, self.keep, self.open_browser = grace, keep, open_browser
        self.files = {name.replace("live.html", ""): (KINDS[name.rpartition(".")[2]], text) for name, text in assets()}

        self.latest: weakref.ref[Node] | None = None  # the graph is the training's own: nothing here keeps it alive
        self.due = self.graph_due = 0.0
        self.output: Any = None  # the notebook's, to be replaced at the end

        self.changed = threading.Condition()  # guards what follows, which the browsers' threads share
        self.server: Loopback | None = None
        self.snapshot = Snapshot()
        self.version = 0
        self.sent = (-1, b"")  # a version, and how it was written
        self.telling = 0.0  # seconds which that took
        self.allowed: int | None = None  # updates that may pass; None for all
        self.held = self.finished = self.over = False
        self.note = ""
        self.graph_wanted: set[str] = set()  # themes
        self.drawings = dict.fromkeys(THEMES, Drawn())
        self.painting = threading.Lock()
        self.painted = dict.fromkeys(THEMES, Drawn())  # their text is SVG

    # In the thread that trains

    def update(self, loss: Node | float) -> None:
        """Tell the page of one more step, after backward; waits while training is paused.

        Before the optimizer's step, the drawing shows the weights that the loss was computed from; after it, it marks them
        as changed since, which they are.

        `loss` is one number: the Value or Tensor whose graph the page draws, or a plain number where none is to be drawn.
        Not to be called from several threads at once. Raises `TypeError` and `ValueError` for anything that is not one
        number, `RuntimeError` outside the block.
        """
        self.recorder.add(one_number(loss))
        self.latest = weakref.ref(loss) if isinstance(loss, Node) else None
        if self.graph_wanted or self.allowed is not None or time.monotonic() >= self.due:
            self.look(loss)

    def epoch(self, history: Records, model: object = None) -> None:
        """Tell the page what the last epoch measured: one of the `callbacks` of `nn.fit`."""
        self.recorder.add_epoch(history[-1])

    def look(self, loss: Node | float) -> None:
        if self.server is None:
            raise RuntimeError("update: the page is only there in its block, `with cr.visualize.live(model) as page:`")
        if time.monotonic() >= self.due:
            self.measure()
        self.draw_if_wanted(loss)
        if self.allowed is not None:
            self.hold(loss, self.server)

    def measure(self) -> None:
        """Take a snapshot, and say when the next one is due: looking must not take much of the time."""
        start = time.thread_time()
        snapshot = self.recorder.snapshot()
        with self.change():
            self.snapshot = snapshot
        self.due = time.monotonic() + max(INTERVAL, SHARE * (time.thread_time() - start + self.telling))

    def draw_if_wanted(self, loss: Node | float) -> None:
        """Describe the graph, in the one thread in which it stands still; a browser's thread makes the picture."""
        with self.changed:
            themes = [theme for theme in self.graph_wanted if self.drawings[theme].step != self.recorder.step]
        if not themes or time.monotonic() < self.graph_due:
            return
        start = time.thread_time()
        drawn = {theme: drawing_of(loss, self.recorder.step, theme, waited_for=not self.held) for theme in themes}
        with self.change():
            self.drawings |= drawn
            self.graph_wanted -= drawn.keys()
        self.graph_due = time.monotonic() + max(GRAPH_INTERVAL, SHARE * (time.thread_time() - start))

    def hold(self, loss: Node | float, server: Loopback) -> None:
        """Wait until a browser lets training go on, or none is left to do so."""
        if self.allowed == 0:
            self.measure()
            with self.change():
                self.held = True
        left = time.monotonic() + self.grace
        try:
            while self.allowed == 0:
                self.draw_if_wanted(loss)
                with self.changed:
                    self.changed.wait_for(lambda: self.allowed != 0, POLL)
                if server.listeners:
                    left = time.monotonic() + self.grace
                elif time.monotonic() >= left:
                    with self.change():
                        self.allowed, self.note = None, "Training went on by itself: no browser was left."
                    print("live: no browser is left, so training goes on", flush=True)
        finally:
            self.recorder.resume()
            self.due = 0.0 if self.held else self.due
            with self.change():
                self.allowed, self.held = self.allowed and self.allowed - 1, False

    @contextmanager
    def change(self) -> Iterator[None]:
        """A block that changes what browsers are shown."""
        with self.changed:
            yield
            self.version += 1
            self.changed.notify_all()

    # In the threads of browsers

    def news(self, seen: int, patience: float) -> tuple[int, bytes]:
        with self.changed:
            self.changed.wait_for(lambda: self.version != seen or self.over, patience)
            if self.sent[0] == self.version:
                return self.sent
            version, snapshot = self.version, self.snapshot
            about: dict[str, Any] = {"title": self.title, "status": self.status, "note": self.note, "over": self.over}
        start = time.thread_time()
        sent = version, state(snapshot, about)
        with self.changed:
            self.sent, self.telling = sent, time.thread_time() - start
        return sent

    def graph(self, seen: int, theme: str) -> bytes:
        with self.changed:
            if self.drawings[theme].step in (-1, seen):
                self.graph_wanted |= set() if self.finished else {theme}
                self.changed.wait_for(lambda: self.drawings[theme].step not in (-1, seen) or self.finished, WAIT)
            drawn = self.drawings[theme]
        with self.painting:
            if self.painted[theme].step != drawn.step:
                self.painted[theme] = drawn.painted()
            painted = self.painted[theme]
        svg = painted.text if painted.step != seen else ""
        return json.dumps({"step": painted.step, "svg": svg, "problem": painted.problem, "over": self.over}).encode()

    def obey(self, command: str) -> bool:
        with self.change():
            if command == "pause":
                self.allowed = 0
            elif command == "resume":
                self.allowed = None
            elif command == "step":
                self.allowed = 0 if self.allowed is None else 1
            else:
                return False
            self.note = ""
        return True

    def ended(self) -> bool:
        return self.over

    def abandon(self) -> None:
        self.changed = threading.Condition()  # the old one may be held by a thread that is not here
        self.allowed, self.keep, self.output = None, False, None

    @property
    def status(self) -> str:
        if self.finished:
            return "ended"
        if self.allowed is None:
            return "running"
        return "paused" if self.held else "pausing"

    # The block

    @property
    def url(self) -> str:
        """The address, for this machine only; who knows it can watch and pause."""
        if self.server is None:
            raise RuntimeError(
                "live: the page has an address only in its block, `with cr.visualize.live(model) as page:`"
            )
        return self.server.url

    def __enter__(self) -> Self:
        if self.finished or self.server is not None:
            raise RuntimeError("live: a page is for one block; call live() again for another")
        self.recorder.resume()
        self.measure()
        from .loopback import Loopback  # loads http, which whoever serves nothing does not wait for

        try:
            self.server = Loopback(self)
            self.server.start()
            self.announce(self.url)
            return self
        except BaseException:
            self.close()
            raise

    def announce(self, url: str) -> None:
        print(f"live: {url}", flush=True)
        self.output = shown_in_notebook(self)
        if self.open_browser:
            webbrowser.open(url)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.finish("" if kind is None else f"Training was stopped by {kind.__name__}.")
            if not self.over:
                self.wait_for_interrupt()
            self.close()
        except BaseException:  # Ctrl-C, say
            self.close()
            raise

    def finish(self, problem: str) -> None:
        """Show how it ended."""
        self.measure()
        loss = None if self.latest is None else self.latest()
        themes = THEMES if self.keep else tuple(self.graph_wanted)
        drawn = {} if loss is None else {t: drawing_of(loss, self.recorder.step, t, waited_for=False) for t in themes}
        with self.change():
            self.drawings |= drawn
            self.finished, self.over, self.note = True, bool(problem) or not self.keep, problem

    def wait_for_interrupt(self) -> None:
        print("live: training has ended; its page stays until Ctrl-C", flush=True)
        try:
            while True:
                time.sleep(3600.0)
        except KeyboardInterrupt:
            return

    def close(self) -> None:
        """End it, without waiting for anybody where that had begun before, and was interrupted."""
        with self.change():
            self.finished = self.over = True
        self.due = 0.0
        if self.server is not None:
            self.server.stop()
            self.server = None
        if self.output is not None:
            self.output.update(self)

    def _repr_html_(self) -> str:
        """In a notebook: the page in a frame; afterwards, what it last said."""
        title = html.escape(self.title)
        if self.server is not None:
            frame = 'width="100%" height="760" style="border: 1px solid #8a94a6; border-radius: 6px"'
            return f'<iframe src="{self.url}" title="{title}, live" {frame}></iframe><p><a href="{self.url}">{self.url}</a></p>'
        rows = (
            f"<tr><th>{html.escape(name)}</th><td>{quantity(x)['text']}</td></tr>" for name, x in self.snapshot.tiles
        )
        return f"<table><caption>{title}: {self.status}. {html.escape(self.note)}</caption>{''.join(rows)}</table>"


def one_number(loss: Any) -> float:
    x = loss._raw if isinstance(loss, Node) else loss
    if type(x) is float:
        return x
    if not isinstance(x, NUMBERS):
        raise TypeError(f"update: loss must be a Value, a Tensor or a number, got {type(loss).__name__}")
    if isinstance(x, np.ndarray) and x.shape != ():
        raise ValueError(f"update: loss must be one number, got shape {x.shape}; reduce it, as with cr.mean")
    return float(x)


def assets() -> Iterator[tuple[str, bytes]]:
    folder = files(__package__) / "assets"
    return ((name, (folder / name).read_bytes()) for name in ("live.html", "live.css", "live.js"))


def shown_in_notebook(page: LivePage) -> Any:
    """The cell's output, to be updated later; None where there is no notebook."""
    if "ipykernel" not in sys.modules:
        return None
    shell = import_module("IPython.core.getipython").get_ipython()
    if not isinstance(shell, import_module("ipykernel.zmqshell").ZMQInteractiveShell):
        return None
    output = import_module("IPython.display").DisplayHandle()
    output.display(page)
    return output
