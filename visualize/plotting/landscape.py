"""Plots of functions over a plane: what a classifier says of every point, and the loss around an optimizer's path.

Nothing is recorded while they are computed, and parameters that had to be moved are put back, the very same objects,
also after an error.
"""

from __future__ import annotations

__all__ = ["plot_decision_boundary", "plot_loss_surface"]

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from chainrule.autograd.checking.variables import substituted
from chainrule.autograd.graph import Node
from chainrule.autograd.guards.blocks import no_grad
from chainrule.autograd.guards.traces import untouched
from chainrule.autograd.optional.extra import extra
from chainrule.autograd.parameters import Parameters, Variable, named
from chainrule.autograd.plain import describe

from .curves import COLOURS, INK, MARKERS, NOT_THERE, ORANGE, Array, canvas, plain_array, single, two_sided, verbatim

# Decision boundary


def plot_decision_boundary(
    f: Callable[[Any], Any],
    x: Any,
    labels: Any,
    *,
    threshold: float = 0.0,
    each: bool = False,
    resolution: int = 150,
    axes: Any = None,
) -> Any:
    """What a classifier of points in the plane says everywhere, with the points it was given.

    `f` takes an (n, 2) array of points, as a model does, and returns for each one score (the boundary is where it is
    `threshold`: 0.5 for probabilities), a score for each class, or the class itself, as an integer. With `each` it takes
    one point as a list of two numbers, as a `nn.scalar` model does. `x` are the (n, 2) points and `labels` their classes:
    of one score two, the lower below the threshold; of several 0, 1, 2, … Points that are classified wrong have a black
    ring. The plane is looked at in `resolution` steps along either axis. Call `model.eval()` first if it has dropout or
    batch normalisation. Returns the figure.

    Raises `ValueError` for other shapes or labels, `TypeError` for anything but numbers.

    >>> import chainrule as cr
    >>> x, labels = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], [0, 1, 1, 1]
    >>> figure = cr.visualize.plot_decision_boundary(lambda x: x[:, 0] + x[:, 1] - 0.5, x, labels)
    >>> figure.axes[0].get_legend().get_texts()[0].get_text()
    'class 0'
    """
    points, classes = points_of(x, labels)
    if not isinstance(resolution, int) or resolution < 2:
        raise ValueError(f"plot_decision_boundary: resolution must be an integer of 2 or more, got {resolution!r}")
    sides = [around(column, resolution) for column in points.T]
    grid = np.stack(np.meshgrid(*sides), axis=-1)
    scores = scores_at(f, np.concatenate([points, grid.reshape(-1, 2)]), each)
    kinds, found = decided(scores, classes, threshold)
    axes = canvas("plot_decision_boundary", axes, 6.2, 4.8)
    here, everywhere = slice(len(points)), slice(len(points), None)
    if is_score(scores):
        draw_score(axes, sides, scores[everywhere].reshape(grid.shape[:2]), threshold)
        colours = [COLOURS[1], COLOURS[0]][-len(kinds) :]  # as the shades
    else:
        draw_classes(axes, sides, found[everywhere].reshape(grid.shape[:2]), kinds)
        colours = [COLOURS[i % len(COLOURS)] for i in range(len(kinds))]
    draw_points(axes, points, classes, found[here] != classes, dict(zip(kinds.tolist(), colours, strict=True)))
    axes.set(xlabel="$x_1$", ylabel="$x_2$")
    return axes.figure


def points_of(x: Any, labels: Any) -> tuple[Array, Any]:
    points = plain_array("plot_decision_boundary", x)
    classes = np.asarray(labels._raw if isinstance(labels, Node) else labels)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise ValueError(f"plot_decision_boundary: expected (n, 2) points in the plane, got shape {points.shape}")
    if classes.shape not in ((len(points),), (len(points), 1)):
        raise ValueError(f"plot_decision_boundary: {len(points)} points, but labels of shape {classes.shape}")
    if not np.isfinite(points).all():
        raise ValueError("plot_decision_boundary: a point is not finite")
    return points, classes.reshape(-1)


def around(numbers: Array, n: int, margin: float = 0.12) -> Array:
    """`n` places from a little below the least of the numbers to a little above the largest."""
    low, high = float(numbers.min()), float(numbers.max())
    width = high - low or 1.0
    return np.linspace(low - margin * width, high + margin * width, n)


def scores_at(f: Callable[[Any], Any], points: Array, each: bool) -> Any:
    """(n,) scores or classes, or (n, classes) scores."""
    with untouched(), no_grad():
        answers = np.array([bare(f(point)) for point in points.tolist()]) if each else bare(f(points))
    if answers.ndim == 2 and answers.shape[1] == 1:
        answers = answers[:, 0]
    if answers.shape[:1] != (len(points),) or answers.ndim > 2:
        hint = "" if each else "; a function of one point at a time needs each=True"
        raise ValueError(
            f"plot_decision_boundary: f gave shape {answers.shape} for {len(points)} points; expected, for every point, "
            f"one score or one for each class{hint}"
        )
    if answers.dtype.kind not in "iubf":
        raise TypeError(f"plot_decision_boundary: f must return numbers, got {answers.dtype}")
    return answers.astype(int) if answers.dtype.kind == "b" else answers


def is_score(scores: Any) -> bool:
    """Whether there is one score for each point, rather than one for each class, or the class itself."""
    return bool(scores.ndim == 1 and scores.dtype.kind == "f")


def decided(scores: Any, classes: Any, threshold: float) -> tuple[Any, Any]:
    """All classes, and the one that each point is said to belong to."""
    kinds = np.unique(classes)
    if is_score(scores):
        if len(kinds) > 2:
            raise ValueError(f"plot_decision_boundary: {len(kinds)} classes, but f gives one score; expected 2 classes")
        return kinds, kinds[np.where(scores > threshold, len(kinds) - 1, 0)]
    if classes.dtype.kind not in "iub":
        raise ValueError(f"plot_decision_boundary: labels must be integers for several classes, got {classes.dtype}")
    if scores.ndim == 1:
        return np.union1d(kinds, scores), scores
    if kinds[0] < 0 or kinds[-1] >= scores.shape[1]:
        raise ValueError(f"plot_decision_boundary: labels must be 0 to {scores.shape[1] - 1}, one for each score")
    return np.arange(scores.shape[1]), np.argmax(scores, axis=1)


def bare(y: Any) -> Any:
    """The numbers of what a function returned, be it nodes or a list of them."""
    return (
        np.array([bare(x) for x in y])
        if isinstance(y, list | tuple)
        else np.asarray(y._raw if isinstance(y, Node) else y)
    )


def draw_score(axes: Any, sides: Sequence[Array], scores: Array, threshold: float) -> None:
    """Shades on both sides of the boundary, the stronger the further the score is from the threshold."""
    finite = np.isfinite(scores)
    far = float(np.abs(scores[finite] - threshold).max(initial=0.0)) or 1.0
    axes.set_facecolor(NOT_THERE)
    shown = np.ma.array(scores, mask=~finite)
    levels = np.linspace(threshold - far, threshold + far, 23)
    shades = axes.contourf(*sides, shown, levels=levels, cmap=two_sided(0.6))
    if finite.any() and shown.min() < threshold < shown.max():
        axes.contour(*sides, shown, levels=[threshold], colors=INK, linewidths=1.5)
    ticks = extra("matplotlib.ticker", "plot", "plot_decision_boundary").MaxNLocator(7)
    axes.figure.colorbar(shades, ax=axes, label=f"score (boundary at {threshold:g})", ticks=ticks)


def draw_classes(axes: Any, sides: Sequence[Array], found: Any, kinds: Any) -> None:
    """A pale colour for each class, and lines between them."""
    colours = extra("matplotlib.colors", "plot", "plot_decision_boundary").ListedColormap
    places = np.searchsorted(kinds, found)
    palette = colours([COLOURS[i % len(COLOURS)] for i in range(len(kinds))])
    axes.pcolormesh(
        *sides, places, cmap=palette, vmin=-0.5, vmax=len(kinds) - 0.5, alpha=0.3, shading="nearest", rasterized=True
    )
    for i in np.unique(places)[1:]:
        axes.contour(*sides, (places >= i).astype(float), levels=[0.5], colors=INK, linewidths=1.2)


def draw_points(axes: Any, points: Array, classes: Any, wrong: Any, colours: Mapping[Any, str]) -> None:
    for i, (kind, colour) in enumerate(colours.items()):
        own = classes == kind
        if own.any():
            rings = np.where(wrong[own], INK, "white")
            look = {"marker": MARKERS[i % len(MARKERS)], "color": colour, "edgecolors": rings, "s": 34}
            axes.scatter(
                *points[own].T,
                **look,
                linewidths=np.where(wrong[own], 1.5, 0.6),
                zorder=3,
                label=verbatim(f"class {kind}"),
            )
    if wrong.any():
        axes.scatter([], [], color="white", edgecolors=INK, s=34, linewidths=1.5, label=f"wrong ({wrong.sum()})")
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=min(len(colours) + 1, 6), frameon=False, fontsize=8)


# Loss surface


@final
@dataclass(frozen=True, slots=True)
class Plane:
    """A plane through parameter space: `origin` + a · directions[0] + b · directions[1].

    `offsets` are added to a and b where they are shown, so that an axis along one parameter shows that parameter.
    """

    origin: Array
    directions: Array  # (2, n)
    labels: tuple[str, str]
    offsets: tuple[float, float] = (0.0, 0.0)

    def coordinates(self, points: Array) -> Array:
        """(n, 2): the nearest point of the plane for each."""
        a_and_b = np.linalg.lstsq(self.directions.T, (points - self.origin).T, rcond=None)[0].T
        return np.asarray(a_and_b, dtype=np.float64)

    def at(self, a: float, b: float) -> Array:
        point: Array = self.origin + a * self.directions[0] + b * self.directions[1]
        return point


def plot_loss_surface(
    loss: Callable[[], Any],
    parameters: Parameters,
    path: Iterable[Any],
    *,
    directions: tuple[Any, Any] | None = None,
    resolution: int = 25,
    log: bool | None = None,
    axes: Any = None,
) -> Any:
    """The loss over a plane through the end of an optimizer's path, and the path, as near as the plane comes to it.

    `loss()` computes the loss from the `parameters` (a Module, a dict or a list), which hold other data while it is
    called; afterwards, also after an error, their own again, to the bit. `path` are the parameters in the course of
    training, each a dict by name or a list of arrays: collect `model.state_dict()` after each step (copies: optimizers
    write in place). The plane holds the two directions in which the path extends furthest: principal components of the
    path, of which the axes' labels say the share (Li et al., Visualizing the Loss Landscape of Neural Nets, 2018). Two
    numbers alone are the axes themselves. `directions` may be two others: names of single numbers among the parameters,
    or dicts or lists like the path's points. The loss is computed at `resolution` x `resolution` points; `log` says
    whether its colours are logarithmic, by default where it is positive and spans a factor of more than 20. Grey: not
    finite. Call `model.eval()` first if the model has dropout or batch normalisation. Returns the figure.

    Raises `ValueError` for a path of fewer than two points, of other shapes, or that is straight (no two directions),
    `TypeError` where `loss()` gives anything but one number.

    >>> import chainrule as cr
    >>> a, b = cr.Value(2.0, name="a"), cr.Value(1.0, name="b")
    >>> path = []
    >>> for _ in range(9):
    ...     path.append([a.data, b.data])
    ...     loss = a * a + 5.0 * b * b
    ...     a.grad = b.grad = None
    ...     loss.backward()
    ...     a.data, b.data = a.data - 0.15 * a.grad, b.data - 0.15 * b.grad
    >>> figure = cr.visualize.plot_loss_surface(lambda: a * a + 5.0 * b * b, [a, b], path)
    >>> figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()
    ('a', 'b')
    """
    if not isinstance(resolution, int) or resolution < 2:
        raise ValueError(f"plot_loss_surface: resolution must be an integer of 2 or more, got {resolution!r}")
    space = Space(named("plot_loss_surface", parameters))
    points = space.path(path)
    plane = space.plane(points, directions)
    walked = plane.coordinates(points)
    sides = widened(walked, resolution)
    with untouched(), no_grad(), np.errstate(all="ignore"):
        losses = np.array([[space.loss_at(loss, plane.at(a, b)) for a in sides[0]] for b in sides[1]])
        start, end = (space.loss_at(loss, points[i]) for i in (0, -1))
    axes = canvas("plot_loss_surface", axes, 6.4, 4.8)
    across, up = (side + offset for side, offset in zip(sides, plane.offsets, strict=True))
    draw_surface(axes, across, up, losses, log)
    draw_path(axes, walked + plane.offsets, start, end)
    axes.set(xlabel=verbatim(plane.labels[0]), ylabel=verbatim(plane.labels[1]), xlim=across[[0, -1]], ylim=up[[0, -1]])
    return axes.figure


@final
class Space:
    """All numbers of some parameters as one vector."""

    def __init__(self, parameters: Sequence[tuple[str, Variable]]) -> None:
        if not parameters:
            raise ValueError("plot_loss_surface: there is no parameter, there is nothing to draw")
        self.names = [name for name, _ in parameters]
        self.nodes = [parameter for _, parameter in parameters]
        for name, node in parameters:
            if node.op is not None:
                raise TypeError(f"plot_loss_surface: parameters must be leaves, {name!r} is the result of an operation")
        self.shapes = [node.shape for node in self.nodes]
        sizes = [math.prod(shape) for shape in self.shapes]
        self.ends = np.cumsum(sizes)
        self.size = int(self.ends[-1])

    def vector(self, what: str, point: Any, partial: bool = False) -> Array:
        """A point, given by name or in order, as one vector; with `partial`, 0 for what it does not name."""
        if not isinstance(point, Mapping):
            if isinstance(point, str | Node) or not isinstance(point, Iterable):
                raise TypeError(f"plot_loss_surface: {what} must be a dict or a list of arrays, got {describe(point)}")
            arrays = list(point)
            if len(arrays) != len(self.names):
                raise ValueError(f"plot_loss_surface: {what} has {len(arrays)} arrays for {len(self.names)} parameters")
            point = dict(zip(self.names, arrays, strict=True))
        missing = [name for name in self.names if name not in point]
        if missing and (not partial or len(missing) == len(self.names)):
            raise ValueError(f"plot_loss_surface: {what} has no {missing[0]!r}")
        parts = [
            self.part(what, name, shape, point.get(name)) for name, shape in zip(self.names, self.shapes, strict=True)
        ]
        vector = np.concatenate(parts)
        if not np.isfinite(vector).all():
            raise ValueError(f"plot_loss_surface: {what} is not finite")
        return vector

    def part(self, what: str, name: str, shape: tuple[int, ...], x: Any) -> Array:
        array = np.zeros(shape) if x is None else plain_array("plot_loss_surface", x)
        if array.shape != shape:
            raise ValueError(f"plot_loss_surface: {what}: {name!r} has shape {array.shape}, expected {shape}")
        return array.reshape(-1)

    def path(self, path: Iterable[Any]) -> Array:
        """(points, numbers)."""
        points = [self.vector(f"point {i} of the path", point) for i, point in enumerate(path, 1)]
        if len(points) < 2:
            raise ValueError(f"plot_loss_surface: a path has two points or more, got {len(points)}")
        return np.array(points)

    def plane(self, points: Array, directions: tuple[Any, Any] | None) -> Plane:
        if directions is None:
            return self.axes(points) if self.size == 2 else principal(points)
        if len(directions) != 2:
            raise ValueError(f"plot_loss_surface: expected two directions, got {len(directions)}")
        found = [self.direction(direction, i) for i, direction in enumerate(directions, 1)]
        if np.linalg.matrix_rank(np.array(found)) < 2:
            raise ValueError("plot_loss_surface: the two directions are parallel, or one of them is 0")
        named_ones = [isinstance(direction, str) for direction in directions]
        labels = [
            str(d) if one else f"direction {i}"
            for i, (d, one) in enumerate(zip(directions, named_ones, strict=True), 1)
        ]
        offsets = [float(points[-1] @ d) if one else 0.0 for d, one in zip(found, named_ones, strict=True)]
        return Plane(points[-1], np.array(found), (labels[0], labels[1]), (offsets[0], offsets[1]))

    def direction(self, direction: Any, i: int) -> Array:
        if not isinstance(direction, str):
            return self.vector(f"direction {i}", direction, partial=True)
        if direction not in self.names or self.shapes[self.names.index(direction)] not in ((), (1,), (1, 1)):
            raise ValueError(f"plot_loss_surface: direction {i}: no parameter called {direction!r} is a single number")
        return self.vector(
            f"direction {i}", {direction: np.ones(self.shapes[self.names.index(direction)])}, partial=True
        )

    def axes(self, points: Array) -> Plane:
        """The two numbers themselves."""
        labels = self.names if len(self.names) == 2 else [f"{self.names[0]}[{i}]" for i in range(2)]
        return Plane(points[-1], np.eye(2), (labels[0], labels[1]), (float(points[-1, 0]), float(points[-1, 1])))

    def loss_at(self, loss: Callable[[], Any], vector: Array) -> float:
        """The loss with the parameters moved there, for as long as it takes."""
        parts = np.split(vector, self.ends[:-1])
        data = [
            part.reshape(shape).astype(np.asarray(node._raw).dtype)
            for part, shape, node in zip(parts, self.shapes, self.nodes, strict=True)
        ]
        with substituted(self.nodes, data):
            return single("plot_loss_surface: loss()", loss())


def principal(points: Array) -> Plane:
    """Through the last point, along the two directions in which the points are spread furthest."""
    _, spread, directions = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    if len(spread) < 2 or spread[1] <= 1e-9 * spread[0]:
        raise ValueError(
            "plot_loss_surface: the path is straight or stands still, so it has no two directions; give directions="
        )
    shares = 100.0 * spread**2 / (spread**2).sum()
    chosen = directions[:2]
    chosen = chosen * np.sign(chosen[np.arange(2), np.abs(chosen).argmax(axis=1)])[:, None]  # else the sign is chance
    labels = [f"principal direction {i + 1} ({shares[i]:.3g} % of the path's variance)" for i in range(2)]
    return Plane(points[-1], chosen, (labels[0], labels[1]))


def widened(walked: Array, n: int) -> list[Array]:
    """The sides of the picture: the path with a margin, and neither side very narrow."""
    spans = np.ptp(walked, axis=0)
    least = 0.25 * spans.max() if spans.max() > 0.0 else 1.0
    middle = (walked.max(axis=0) + walked.min(axis=0)) / 2
    return [np.linspace(m - 0.7 * s, m + 0.7 * s, n) for m, s in zip(middle, np.maximum(spans, least), strict=True)]


def draw_surface(axes: Any, x: Array, y: Array, losses: Array, log: bool | None) -> None:
    finite = losses[np.isfinite(losses)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if log and low <= 0.0:
        raise ValueError("plot_loss_surface: the loss is 0 or less in places, which has no logarithm; say log=False")
    log = bool(0.0 < low < high / 20.0) if log is None else log
    high = high if high > low else low + (abs(low) or 1.0)
    levels = np.geomspace(low, high, 22) if log else np.linspace(low, high, 22)
    colours = extra("matplotlib.colors", "plot", "plot_loss_surface")
    norm = colours.LogNorm(low, high) if log else colours.Normalize(low, high)
    axes.set_facecolor(NOT_THERE)
    shown = np.ma.masked_invalid(losses)
    if len(finite):
        filled = axes.contourf(x, y, shown, levels=levels, norm=norm, cmap="cividis")
        ticks = levels[::3] if log else extra("matplotlib.ticker", "plot", "plot_loss_surface").MaxNLocator(7)
        bar = axes.figure.colorbar(
            filled, ax=axes, label="loss (log scale)" if log else "loss", ticks=ticks, format="%.3g"
        )
        bar.ax.minorticks_off()


def draw_path(axes: Any, walked: Array, start: float, end: float) -> None:
    axes.plot(*walked.T, color="white", linewidth=2.6, zorder=2)
    axes.plot(*walked.T, color=ORANGE, linewidth=1.4, marker="." if len(walked) <= 60 else None, zorder=3, label="path")
    look = {"linestyle": "none", "markeredgecolor": INK, "zorder": 4}
    axes.plot(*walked[0], "o", color="white", markersize=8, label=f"start, loss {start:.4g}", **look)
    axes.plot(*walked[-1], "*", color="white", markersize=13, label=f"end, loss {end:.4g}", **look)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=3, frameon=False, fontsize=8)
