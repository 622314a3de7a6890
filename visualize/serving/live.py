"""Training that can be watched, paused and stepped from a page in the browser, served to this machine alone.

`LivePage.update` runs in the training's own thread and costs next to nothing: now and then it takes a snapshot, plain copies
of what is to be shown, and only the newest is kept. All else (text, histograms, pictures) is made from it in a thread of
the browser that asks. What looking costs is measured, and how often it is done follows from that.
"""

from __future__ import annotations

__all__ = ["LivePage", "live"]

import html
import sys
import time
import weakref
import webbrowser
from collections.abc import Iterator, Mapping
from importlib import import_module
from numbers import Real
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self, final, runtime_checkable

import numpy as np

from chainrule.autograd.graph import Node
from chainrule.autograd.guards.settings import flag

from ..describing.description import shortened
from .drawn import THEMES, drawing_of
from .served import Served
from .shared import Shared
from .snapshot import LONGEST, SIDE, Recorder, Steered, quantity

if TYPE_CHECKING:
    from .loopback import Loopback

INTERVAL = 0.5  # seconds between two snapshots
GRAPH_INTERVAL = 2.0  # and between two drawings of the graph
SHARE = 50  # looking takes at most one in so many seconds of training
POLL = 0.1  # seconds between two looks around while training is paused

NUMBERS = (np.ndarray, np.number, int, float)


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


@final
class LivePage:
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
        self.grace, self.keep, self.open_browser = grace, keep, open_browser
        self.shared = Shared()
        self.served = Served(shortened(title, LONGEST), self.shared)
        self.server: Loopback | None = None

        self.latest: weakref.ref[Node] | None = None  # the graph is the training's own: nothing here keeps it alive
        self.due = self.graph_due = 0.0
        self.output: Any = None  # the notebook's, to be replaced at the end

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
        shared = self.shared
        if shared.graph_wanted or shared.allowed is not None or time.monotonic() >= self.due:
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
        if self.shared.allowed is not None:
            self.hold(loss, self.server)

    def measure(self) -> None:
        """Take a snapshot, and say when the next one is due: looking must not take much of the time."""
        start = time.thread_time()
        snapshot = self.recorder.snapshot()
        with self.shared.change():
            self.shared.snapshot = snapshot
        self.due = time.monotonic() + max(INTERVAL, SHARE * (time.thread_time() - start + self.shared.telling))

    def draw_if_wanted(self, loss: Node | float) -> None:
        """Describe the graph, in the one thread in which it stands still; a browser's thread makes the picture."""
        shared, step = self.shared, self.recorder.step
        with shared.changed:
            themes = [theme for theme in shared.graph_wanted if shared.drawings[theme].step != step]
        if not themes or time.monotonic() < self.graph_due:
            return
        start = time.thread_time()
        drawn = {theme: drawing_of(loss, step, theme, waited_for=not shared.held) for theme in themes}
        with shared.change():
            shared.drawings |= drawn
            shared.graph_wanted -= drawn.keys()
        self.graph_due = time.monotonic() + max(GRAPH_INTERVAL, SHARE * (time.thread_time() - start))

    def hold(self, loss: Node | float, server: Loopback) -> None:
        """Wait until a browser lets training go on, or none is left to do so."""
        shared = self.shared
        if shared.allowed == 0:
            self.measure()
            with shared.change():
                shared.held = True
        left = time.monotonic() + self.grace
        try:
            while shared.allowed == 0:
                self.draw_if_wanted(loss)
                with shared.changed:
                    shared.changed.wait_for(lambda: shared.allowed != 0, POLL)
                if server.listeners:
                    left = time.monotonic() + self.grace
                elif time.monotonic() >= left:
                    with shared.change():
                        shared.allowed, shared.note = None, "Training went on by itself: no browser was left."
                    print("live: no browser is left, so training goes on", flush=True)
        finally:
            self.recorder.resume()
            self.due = 0.0 if shared.held else self.due
            with shared.change():
                shared.allowed, shared.held = shared.allowed and shared.allowed - 1, False

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
        if self.shared.finished or self.server is not None:
            raise RuntimeError("live: a page is for one block; call live() again for another")
        self.recorder.resume()
        self.measure()
        from .loopback import Loopback  # loads http, which whoever serves nothing does not wait for

        try:
            self.server = Loopback(self.served)
            self.server.start()
            weakref.finalize(self, dropped, self.shared, self.server).atexit = False
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
            if not self.shared.over:
                self.wait_for_interrupt()
            self.close()
        except BaseException as error:
            waited = isinstance(error, KeyboardInterrupt) and self.shared.finished and not self.shared.over
            self.close()
            if not waited:  # for just that
                raise

    def finish(self, problem: str) -> None:
        """Show how it ended."""
        self.measure()
        shared, keep = self.shared, self.keep and not self.shared.abandoned
        loss = None if self.latest is None else self.latest()
        themes = THEMES if keep else tuple(shared.graph_wanted)
        drawn = {} if loss is None else {t: drawing_of(loss, self.recorder.step, t, waited_for=False) for t in themes}
        with shared.change():
            shared.drawings |= drawn
            shared.finished, shared.over, shared.note = True, bool(problem) or not keep, problem

    def wait_for_interrupt(self) -> None:
        print("live: training has ended; its page stays until Ctrl-C", flush=True)
        while True:
            time.sleep(3600.0)

    def close(self) -> None:
        """End it, without waiting for anybody where that had begun before, and was interrupted."""
        with self.shared.change():
            self.shared.finished = self.shared.over = True
        self.due = 0.0
        if self.server is not None:
            self.server.stop()
            self.server = None
        if self.output is not None and not self.shared.abandoned:
            self.output.update(self)

    def _repr_html_(self) -> str:
        """In a notebook: the page in a frame; afterwards, what it last said."""
        title, shared = html.escape(self.served.title), self.shared
        if self.server is not None:
            frame = 'width="100%" height="760" style="border: 1px solid #8a94a6; border-radius: 6px"'
            return f'<iframe src="{self.url}" title="{title}, live" {frame}></iframe><p><a href="{self.url}">{self.url}</a></p>'
        tiles = shared.snapshot.tiles
        rows = (f"<tr><th>{html.escape(name)}</th><td>{quantity(x)['text']}</td></tr>" for name, x in tiles)
        return f"<table><caption>{title}: {shared.status}. {html.escape(shared.note)}</caption>{''.join(rows)}</table>"


def dropped(shared: Shared, server: Loopback) -> None:
    """End what is shown of a page that nobody holds any more; whichever thread that is noticed in does not wait."""
    with shared.change():
        shared.finished = shared.over = True
    server.end()


def one_number(loss: Any) -> float:
    x = loss._raw if isinstance(loss, Node) else loss
    if type(x) is float:
        return x
    if not isinstance(x, NUMBERS):
        raise TypeError(f"update: loss must be a Value, a Tensor or a number, got {type(loss).__name__}")
    if isinstance(x, np.ndarray) and x.shape != ():
        raise ValueError(f"update: loss must be one number, got shape {x.shape}; reduce it, as with cr.mean")
    return float(x)


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
