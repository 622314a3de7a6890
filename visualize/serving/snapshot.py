"""One moment of a training as plain copies, small whatever the size of the model, and as the JSON that a page reads.

Taking a snapshot belongs to the thread that trains; writing it down is work for another.
"""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd.graph import Node

from ..describing.description import number, root_mean_square, shortened

MOST_POINTS = 300  # of a curve
MOST_LINES = 8  # curves in one chart
MOST_PARTS = 16  # parameters, or groups of them, whose weights are shown
MOST_IMAGES = 16  # weight images of one parameter
MOST_SAMPLED = 1 << 14  # numbers of an array that a histogram counts
SIDE = 64  # pixels of an image at most, each way
BINS = 24
LONGEST = 200  # characters of a name


# What is measured


@runtime_checkable
class Steered(Protocol):
    """What has a learning rate, as an optimizer does."""

    @property
    def lr(self) -> float: ...


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
    layers: tuple[str, ...] = ()
    gradients: Sequence[tuple[int, NDArray[Any]]] = ()  # the norm of each layer
    parts: tuple[Part, ...] = ()


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
    """The Euclidean norm, which overflows only where it must."""
    if type(x) is float:
        return abs(x)
    return root_mean_square(np.asarray(x)) * math.sqrt(x.size) if x.size else 0.0


def joint(norms: Sequence[float | None], group: Group) -> float | None:
    """The norm of a group's gradients, of those that are there; None if none is."""
    there = [x for i in group.members if (x := norms[i]) is not None]
    return math.hypot(*there) if there else None


def part(
    group: Group, parameters: Sequence[Node], grads: Sequence[float | None], image_shape: tuple[int, int] | None
) -> Part:
    arrays = [np.asarray(parameters[i]._raw) for i in group.members]
    one = len(arrays) == 1
    return Part(
        name=shortened(group.name, LONGEST),
        shape=" × ".join(map(str, arrays[0].shape)) if one else f"{len(arrays):,} parameters",
        norm=math.hypot(*map(norm, arrays)),
        grad_norm=joint(grads, group),
        sample=np.concatenate([thinned(array.reshape(-1), MOST_SAMPLED // len(arrays)) for array in arrays]),
        images=images_of(arrays[0], image_shape) if one and arrays[0].ndim > 1 and arrays[0].size else None,
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


@final
class Recorder:
    """What has been measured so far, by the one thread that trains."""

    def __init__(
        self, parameters: Mapping[str, Node], optimizer: Steered | None, image_shape: tuple[int, int] | None
    ) -> None:
        self.parameters = list(parameters.values())
        self.parts = grouped(list(parameters), MOST_PARTS, drop=0)
        self.layers = grouped(list(parameters), MOST_LINES, drop=1)
        self.optimizer, self.image_shape = optimizer, image_shape
        self.step = 0
        self.loss: float | None = None
        self.losses, self.validation, self.gradients = Curve(), Curve(), Curve()
        self.epoch: dict[str, float] = {}  # what the last one measured
        self.latest_speed: float | None = None
        self.resume()

    def add(self, loss: float) -> None:
        """One more step."""
        self.step += 1
        self.loss = loss
        self.losses.add(self.step, loss)

    def add_epoch(self, record: Mapping[str, float]) -> None:
        self.epoch = dict(record)
        if "validation_loss" in self.epoch:
            self.validation.add(self.step, self.epoch["validation_loss"])

    def resume(self) -> None:
        """Count the time from now on."""
        self.timed = self.step, time.monotonic()

    def snapshot(self) -> Snapshot:
        with np.errstate(all="ignore"):
            grads = [None if p.grad is None else norm(p.grad) for p in self.parameters]
            if self.step > self.gradients.step:
                layers = [joint(grads, layer) for layer in self.layers]
                self.gradients.add(self.step, np.array(layers, dtype=float))  # NaN where there is none
            parts = tuple(part(group, self.parameters, grads, self.image_shape) for group in self.parts)
        return Snapshot(
            self.step,
            self.loss,
            tuple(self.tiles()),
            self.losses.so_far(),
            self.validation.so_far(),
            tuple(layer.name for layer in self.layers),
            self.gradients.so_far(),
            parts,
        )

    def tiles(self) -> Iterator[tuple[str, float | None]]:
        """What is shown as a number."""
        yield "step", self.step
        yield "loss", self.loss
        yield "steps a second", self.speed()
        if self.optimizer is not None:
            yield "learning rate", self.optimizer.lr
        if "epoch" in self.epoch:
            yield "epochs done", self.epoch["epoch"]
        for name, x in self.epoch.items():
            if name not in ("epoch", "lr", "seconds"):
                yield "loss of last epoch" if name == "loss" else name.replace("_", " "), x

    def speed(self) -> float | None:
        """Steps a second since there was last one more."""
        (step, then), now = self.timed, time.monotonic()
        if self.step > step and now > then:
            self.latest_speed = (self.step - step) / (now - then)
            self.resume()
        return self.latest_speed


# What is sent


def state(snapshot: Snapshot, about: Mapping[str, Any]) -> bytes:
    gradients = snapshot.gradients
    shown = {
        **about,
        "step": snapshot.step,
        "loss": as_json(snapshot.loss),
        "tiles": [{"name": shortened(name, LONGEST), **quantity(x)} for name, x in snapshot.tiles],
        "losses": curve(snapshot.losses),
        "validation": curve(snapshot.validation),
        "gradients": [
            {"name": shortened(name, LONGEST), **curve([(step, x[i]) for step, x in gradients])}
            for i, name in enumerate(snapshot.layers)
        ],
        "weights": [weights(part) for part in snapshot.parts],
    }
    return json.dumps(shown, allow_nan=False, separators=(",", ":")).encode()


def quantity(x: float | None) -> dict[str, Any]:
    if x is None:
        return {"text": "–", "finite": True}
    return {"text": f"{x:,}" if isinstance(x, int) else number(x), "finite": math.isfinite(x)}


def curve(points: Sequence[tuple[int, float]]) -> dict[str, Any]:
    return {"steps": [step for step, _ in points], "values": [as_json(x) for _, x in points]}


def as_json(x: float | None) -> float | None:
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
