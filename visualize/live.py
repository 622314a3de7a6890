"""Training that can be watched, paused and stepped from a page in the browser, served to this machine alone.

`Page.update` runs in the training's own thread and costs next to nothing: now and then it takes a snapshot, plain copies
of what is to be shown, and only the newest is kept. All else (text, histograms, pictures) is made from it in a thread of
the browser that asks. What looking costs is measured, and how often it is done follows from that.
"""

from __future__ import annotations

import base64
import html
import json
import math
import sys
import threading
import time
import weakref
import webbrowser
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from types import TracebackType
from typing import Any, Protocol, Self, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd.graph import Node

from .diagram import number, root_mean_square, shortened
from .dot import draw, picture
from .loopback import Loopback, Served

INTERVAL = 0.5  # seconds between two snapshots
GRAPH_INTERVAL = 2.0  # and between two drawings of the graph
SHARE = 50  # looking takes at most one in so many seconds of training
POLL = 0.1  # seconds between two looks around while training is paused
WAIT = 4.0  # seconds that a browser waits for a new drawing before it asks again

MOST_POINTS = 300  # of a curve
MOST_LINES = 8  # curves in one chart
MOST_PARTS = 16  # parameters, or groups of them, whose weights are shown
MOST_IMAGES = 16  # weight images of one parameter
MOST_SAMPLED = 1 << 14  # numbers of an array that a histogram counts
SIDE = 64  # pixels of an image at most, each way
BINS = 24
LONGEST = 200  # characters of a name

KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}


@runtime_checkable
class Model(Protocol):
    """What has parameters that are known by name, as `nn.Module` does."""

    def named_parameters(self) -> Iterator[tuple[str, Any]]: ...


class Steered(Protocol):
    """What has a learning rate, as an optimizer does."""

    @property
    def lr(self) -> float: ...


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
) -> Page:
    """A block in which training can be watched, paused and stepped from a page in the browser; its address is printed.

        with cr.visualize.live(model, optimizer) as page:
            for x, y in batches:
                loss = ...
                optimizer.zero_grad(); loss.backward(); optimizer.step()
                page.update(loss)

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
    until Ctrl-C. `open_browser` opens the page.

    In a notebook the page shows itself below the cell, in a frame that needs a browser on the machine where the kernel
    runs (or a port forwarded to it), and afterwards gives way to a summary that is saved with the notebook.

    Raises `TypeError` for a model without named parameters, `ValueError` for a wrong shape or grace.

    >>> import chainrule as cr
    >>> w = cr.Value(2.0)
    >>> with cr.visualize.live({"w": w}) as page:  # doctest: +ELLIPSIS
    ...     for _ in range(3):
    ...         loss = w * w
    ...         loss.backward()
    ...         page.update(loss)
    live: http://127.0.0.1:.../
    """
    if image_shape is not None and not (len(image_shape) == 2 and all(0 < n <= SIDE for n in image_shape)):
        raise ValueError(f"live: image_shape must be (height, width), each from 1 to {SIDE}, got {image_shape!r}")
    if not grace >= 0.0:
        raise ValueError(f"live: grace must be a number of seconds, not negative, got {grace!r}")
    return Page(
        parameters=parameters_of(model),
        optimizer=optimizer,
        title=type(model).__name__ if title is None else title,
        image_shape=image_shape,
        grace=grace,
        keep=keep,
        open_browser=open_browser,
    )


def parameters_of(model: Any) -> dict[str, Node]:
    if not isinstance(model, Mapping | Model):
        raise TypeError(f"live: expected a Module, or a dict of parameters by name, got {type(model).__name__}")
    named = dict(model) if isinstance(model, Mapping) else dict(model.named_parameters())
    for name, parameter in named.items():
        if not isinstance(name, str) or not isinstance(parameter, Node):
            raise TypeError(f"live: parameters are Values or Tensors by name, got {name!r}: {type(parameter).__name__}")
    return named


# What is measured


@final
class Curve:
    """A series of numbers, or of arrays, over steps. It never grows long: when full, neighbours merge into their mean."""

    def __init__(self) -> None:
        self.points: list[tuple[int, Any]] = []
        self.total: Any = 0.0
        self.step = self.count = 0
        self.width = 1

    def add(self, step: int, x: Any) -> None:
        self.total = self.total + x
        self.step = step
        self.count += 1
        if self.count == self.width:
            self.points.append((step, self.total / self.width))
            self.total, self.count = 0.0, 0
            if len(self.points) == MOST_POINTS:
                self.merge()

    def merge(self) -> None:
        pairs = zip(self.points[::2], self.points[1::2], strict=True)
        self.points = [(step, (x + y) / 2) for (_, x), (step, y) in pairs]
        self.width *= 2

    def so_far(self) -> list[tuple[int, Any]]:
        rest = [(self.step, self.total / self.count)] if self.count else []
        return [*self.points, *rest]


@dataclass(frozen=True, slots=True)
class Group:
    """Parameters that are shown as one, by their places among all."""

    name: str
    members: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """What is shown of a group's numbers."""

    name: str
    shape: str
    norm: float
    grad_norm: float | None
    sample: NDArray[Any]
    images: NDArray[Any] | None  # (n, height, width)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a page shows of one moment, as plain data that nobody changes any more."""

    step: int = 0
    loss: float | None = None
    tiles: tuple[tuple[str, float | None], ...] = ()
    losses: Sequence[tuple[int, float]] = ()
    validation: Sequence[tuple[int, float]] = ()
    gradients: Sequence[tuple[int, NDArray[Any]]] = ()
    parts: tuple[Part, ...] = ()


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


def drawing_of(loss: Any, step: int) -> Drawn:
    try:
        return Drawn(step, text=draw(loss).source)
    except (TypeError, ValueError) as error:
        return Drawn(step, problem=str(error))


def grouped(names: Sequence[str], most: int, drop: int) -> tuple[Group, ...]:
    """The parameters by the common beginnings of their paths, `drop` steps cut off, as deep as makes `most` groups."""
    paths = [name.split(".") for name in names]
    paths = [path[: max(1, len(path) - drop)] for path in paths]
    for depth in range(max(map(len, paths), default=1), 0, -1):
        found: dict[str, list[int]] = {}
        for i, path in enumerate(paths):
            found.setdefault(".".join(path[:depth]), []).append(i)
        if len(found) <= most:
            break
    return tuple(merged([Group(name, tuple(members)) for name, members in found.items()], most))


def merged(groups: Sequence[Group], most: int) -> Iterator[Group]:
    """Neighbours in one, where there are more than `most`."""
    width = max(1, math.ceil(len(groups) / most))
    for i in range(0, len(groups), width):
        some = groups[i : i + width]
        name = some[0].name if len(some) == 1 else f"{some[0].name} … {some[-1].name}"
        yield Group(name, tuple(member for group in some for member in group.members))


def norm(x: Any) -> float:
    """The Euclidean norm; NaN for a gradient that is not there."""
    if x is None:
        return math.nan
    if type(x) is float:
        return abs(x)
    return root_mean_square(np.asarray(x)) * math.sqrt(x.size) if x.size else 0.0


def part(group: Group, parameters: Sequence[Node], grads: Sequence[float], image_shape: tuple[int, int] | None) -> Part:
    arrays = [np.asarray(parameters[i]._data) for i in group.members]
    norms = [grads[i] for i in group.members]
    one = len(arrays) == 1
    return Part(
        name=shortened(group.name, LONGEST),
        shape=" × ".join(map(str, arrays[0].shape)) if one else f"{len(arrays):,} parameters",
        norm=math.hypot(*map(norm, arrays)),
        grad_norm=None if any(parameters[i].grad is None for i in group.members) else math.hypot(*norms),
        sample=np.concatenate([thinned(array.reshape(-1), MOST_SAMPLED // len(arrays)) for array in arrays]),
        images=images_of(arrays[0], image_shape) if one and arrays[0].ndim > 1 else None,
    )


def thinned(flat: NDArray[Any], most: int) -> NDArray[Any]:
    """A copy of at most so many numbers, evenly spread."""
    return flat[:: max(1, math.ceil(flat.size / max(1, most)))].astype(float)


def images_of(array: NDArray[Any], shape: tuple[int, int] | None) -> NDArray[Any]:
    """The rows as images if they have as many numbers, else all as one; of a large matrix only some rows and columns."""
    rows = array.reshape(len(array), -1)
    if shape is not None and rows.shape[1] == shape[0] * shape[1]:
        return rows[:MOST_IMAGES].reshape(-1, *shape).astype(np.float32)
    every = [max(1, math.ceil(n / SIDE)) for n in rows.shape]
    return rows[None, :: every[0], :: every[1]].astype(np.float32)


# What is sent


def state(snapshot: Snapshot, groups: Iterable[Group], **about: Any) -> bytes:
    gradients = snapshot.gradients
    shown = {
        **about,
        "step": snapshot.step,
        "loss": plain(snapshot.loss),
        "tiles": [{"name": shortened(name, LONGEST), **quantity(x)} for name, x in snapshot.tiles],
        "losses": curve(snapshot.losses),
        "validation": curve(snapshot.validation),
        "gradients": [
            {"name": shortened(group.name, LONGEST), **curve([(step, x[i]) for step, x in gradients])}
            for i, group in enumerate(groups)
        ],
        "weights": [weights(part) for part in snapshot.parts],
    }
    return json.dumps(shown, allow_nan=False, separators=(",", ":")).encode()


def quantity(x: float | None) -> dict[str, Any]:
    if x is None:
        return {"text": "–", "finite": True}
    return {"text": f"{x:,}" if isinstance(x, int) else number(x), "finite": math.isfinite(x)}


def curve(points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    return {"steps": [step for step, _ in points], "values": [plain(x) for _, x in points]}


def plain(x: float | None) -> float | None:
    """A number as JSON has them."""
    return float(x) if x is not None and math.isfinite(x) else None


def weights(part: Part) -> dict[str, Any]:
    finite = part.sample[np.isfinite(part.sample)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    counts = np.histogram(finite, BINS, (low, high))[0].tolist() if low < high else [0, finite.size, 0]
    return {
        "name": part.name,
        "shape": part.shape,
        "norm": number(part.norm),
        "grad": "–" if part.grad_norm is None else number(part.grad_norm),
        "finite": math.isfinite(part.norm) and (part.grad_norm is None or math.isfinite(part.grad_norm)),
        "low": number(low),
        "high": number(high),
        "counts": counts,
        **({} if part.images is None else pixels(part.images)),
    }


def pixels(images: NDArray[Any]) -> dict[str, Any]:
    """Bytes from 1 to 255, 128 for zero, in proportion to the largest |weight| of all; 0 is not finite."""
    finite = np.isfinite(images)
    largest = float(np.abs(images[finite]).max(initial=0.0))
    scaled = np.where(finite, np.rint(np.where(finite, images, 0.0) * (127.0 / (largest or 1.0))) + 128.0, 0.0)
    return {
        "size": images.shape,
        "largest": number(largest),
        "pixels": base64.b64encode(scaled.astype(np.uint8).tobytes()).decode(),
    }


# The page


@final
class Page(Served):
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
        self.parameters = list(parameters.values())
        self.parts = grouped(list(parameters), MOST_PARTS, drop=0)
        self.layers = grouped(list(parameters), MOST_LINES, drop=1)
        self.optimizer, self.title, self.image_shape = optimizer, shortened(title, LONGEST), image_shape
        self.grace, self.keep, self.open_browser = grace, keep, open_browser
        self.files = {name.replace("live.html", ""): (KINDS[name.rpartition(".")[2]], text) for name, text in assets()}

        self.step = 0
        self.loss: float | None = None
        self.losses, self.validation, self.gradients = Curve(), Curve(), Curve()
        self.measured: dict[str, float] = {}  # of the last epoch
        self.latest: weakref.ref[Node] | None = None  # the graph is the training's own: nothing here keeps it alive
        self.timed = (0, 0.0)  # a step, and when it was
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
        self.graph_wanted = False
        self.drawing = Drawn()
        self.painting = threading.Lock()
        self.painted = Drawn()  # its text is SVG

    # In the thread that trains

    def update(self, loss: Node | float) -> None:
        """Tell the page of one more step, after backward; waits while training is paused.

        `loss` is one number: the Value or Tensor whose graph the page draws, or a plain number where none is to be drawn.
        Not to be called from several threads at once. Raises `TypeError` and `ValueError` for anything that is not one
        number, `RuntimeError` outside the block.
        """
        self.loss = x = one_number(loss)
        self.step = step = self.step + 1
        self.losses.add(step, x)
        self.latest = weakref.ref(loss) if isinstance(loss, Node) else None
        if self.graph_wanted or self.allowed is not None or time.monotonic() >= self.due:
            self.look(loss)

    def epoch(self, history: Records, model: object = None) -> None:
        """Tell the page what the last epoch measured: one of the `callbacks` of `nn.fit`."""
        self.measured = dict(history[-1])
        if "validation_loss" in self.measured:
            self.validation.add(self.step, self.measured["validation_loss"])

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
        with np.errstate(all="ignore"):
            grads = [norm(p.grad) for p in self.parameters]
            if self.step > self.gradients.step:
                layers = [math.hypot(*(grads[i] for i in layer.members)) for layer in self.layers]
                self.gradients.add(self.step, np.array(layers))
            parts = tuple(part(group, self.parameters, grads, self.image_shape) for group in self.parts)
        with self.change():
            self.snapshot = Snapshot(
                self.step,
                self.loss,
                tuple(self.tiles()),
                self.losses.so_far(),
                self.validation.so_far(),
                self.gradients.so_far(),
                parts,
            )
        self.due = time.monotonic() + max(INTERVAL, SHARE * (time.thread_time() - start + self.telling))

    def tiles(self) -> Iterator[tuple[str, float | None]]:
        """What is shown as a number."""
        (step, then), now = self.timed, time.monotonic()
        self.timed = (self.step, now)
        yield "step", self.step
        yield "loss", self.loss
        yield "steps a second", (self.step - step) / (now - then) if self.step > step and now > then else None
        if self.optimizer is not None:
            yield "learning rate", self.optimizer.lr
        if "epoch" in self.measured:
            yield "epochs done", self.measured["epoch"]
        for name, x in self.measured.items():
            if name not in ("epoch", "lr", "seconds"):
                yield "loss of last epoch" if name == "loss" else name.replace("_", " "), x

    def draw_if_wanted(self, loss: Node | float) -> None:
        """Describe the graph, in the one thread in which it stands still; a browser's thread makes the picture."""
        if not self.graph_wanted or self.drawing.step == self.step or time.monotonic() < self.graph_due:
            return
        start = time.thread_time()
        drawn = drawing_of(loss, self.step)
        with self.change():
            self.drawing, self.graph_wanted = drawn, False
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
            self.timed = (self.step, time.monotonic())
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
            about = {"title": self.title, "status": self.status, "note": self.note, "over": self.over}
        start = time.thread_time()
        sent = version, state(snapshot, self.layers, **about)
        with self.changed:
            self.sent, self.telling = sent, time.thread_time() - start
        return sent

    def graph(self, seen: int) -> bytes:
        with self.changed:
            if self.drawing.step in (-1, seen):
                self.graph_wanted = not self.finished
                self.changed.wait_for(lambda: self.drawing.step not in (-1, seen) or self.finished, WAIT)
            drawn = self.drawing
        with self.painting:
            if self.painted.step != drawn.step:
                self.painted = drawn.painted()
            painted = self.painted
        return json.dumps(
            {"svg": painted.text, "step": painted.step, "problem": painted.problem, "over": self.over}
        ).encode()

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
        self.server = Loopback(self)
        self.timed = (0, time.monotonic())
        self.measure()
        self.server.start()
        print(f"live: {self.url}", flush=True)
        self.output = shown_in_notebook(self)
        if self.open_browser:
            webbrowser.open(self.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.measure()
            loss = None if self.latest is None else self.latest()
            drawn = self.drawing
            if loss is not None and (self.graph_wanted or self.keep) and drawn.step != self.step:
                drawn = drawing_of(loss, self.step)
            with self.change():
                self.drawing, self.finished, self.over = drawn, True, kind is not None or not self.keep
                self.note = "" if kind is None else f"Training was stopped by {kind.__name__}."
            if not self.over:
                self.wait_for_interrupt()
        finally:
            self.close()

    def wait_for_interrupt(self) -> None:
        print("live: training has ended; its page stays until Ctrl-C", flush=True)
        try:
            while True:
                time.sleep(3600.0)
        except KeyboardInterrupt:
            return

    def close(self) -> None:
        with self.change():
            self.finished = self.over = True
        server, self.server, self.due = self.server, None, 0.0
        if server is not None:
            server.stop()
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
    x = loss._data if isinstance(loss, Node) else loss
    if type(x) is float:
        return x
    if not isinstance(x, np.ndarray | np.number | int | float):
        raise TypeError(f"update: loss must be a Value, a Tensor or a number, got {type(loss).__name__}")
    if np.shape(x) != ():
        raise ValueError(f"update: loss must be one number, got shape {np.shape(x)}; reduce it, as with cr.mean")
    return float(x)


def assets() -> Iterator[tuple[str, bytes]]:
    folder = files("chainrule.visualize") / "page"
    return ((name, (folder / name).read_bytes()) for name in ("live.html", "live.css", "live.js"))


def shown_in_notebook(page: Page) -> Any:
    """The cell's output, to be updated later; None where there is no notebook."""
    if "ipykernel" not in sys.modules:
        return None
    from ipykernel.zmqshell import ZMQInteractiveShell
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    return display(page, display_id=True) if isinstance(get_ipython(), ZMQInteractiveShell) else None
