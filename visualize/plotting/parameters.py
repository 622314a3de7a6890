"""Plots of parameters: how their numbers and their gradients are spread, and weights as pictures."""

from __future__ import annotations

__all__ = ["plot_histograms", "plot_weights"]

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.autograd.guards.settings import flag
from chainrule.autograd.optional.extra import extra, new_figure
from chainrule.autograd.parameters import Parameters, Variable, named
from chainrule.autograd.value import Value

from .curves import BLUE, GREY, INK, ORANGE, Array, plain_array, two_sided, verbatim, without_frame

MOST_ROWS = 40  # histograms below one another
MOST_TILES = 1024
INDEX = re.compile(r"(?<=[.\[,])\d+(?=[.\],]|$)")
LEFT_OUT = "*"


def plot_histograms(parameters: Parameters, *, bins: int = 40, log: bool = False) -> Any:
    """Histograms of each parameter's numbers, on the left, and of its gradient's, on the right; the first on top.

    `parameters` is a Module, a dict or a list. Beside each stand the mean, the standard deviation, and how many numbers
    are exactly 0 or not finite. Single numbers (Values) are taken together by layer, as "layers.0.neurons.*.w.*". With
    `log` the counts are on a logarithmic axis. Returns the figure.

    Raises `ValueError` where there is no parameter or more than 40 to draw, `TypeError` for anything else, `ImportError`
    without Matplotlib.

    >>> import chainrule as cr
    >>> model = cr.nn.MLP([2, 3, 1], rng=0)
    >>> figure = cr.visualize.plot_histograms(model)
    >>> len(figure.axes)  # two for each of four parameters
    8
    """
    if not isinstance(bins, int) or bins < 1:
        raise ValueError(f"plot_histograms: bins must be a positive integer, got {bins!r}")
    log, groups = flag("plot_histograms: log", log), grouped(named("plot_histograms", parameters))
    if not 1 <= len(groups) <= MOST_ROWS:
        raise ValueError(
            f"plot_histograms: {len(groups)} parameters, expected 1 to {MOST_ROWS}; draw a part of the model, as a dict"
        )
    figure = new_figure("visualize.plot_histograms", 8.0, 0.7 + 1.15 * len(groups))
    rows = figure.subplots(len(groups), 2, squeeze=False)
    for (name, group), (left, right) in zip(groups.items(), rows, strict=True):
        draw_histogram(left, flattened([p._raw for p in group]), bins, log, BLUE)
        draw_histogram(right, flattened([p.grad for p in group if p.grad is not None]), bins, log, ORANGE)
        left.set_title(verbatim(name), loc="left", fontsize=9)
        left.set_ylabel("numbers", fontsize=8)
    for axes, label in zip(rows[-1], ("parameter", "gradient"), strict=True):
        axes.set_xlabel(label)
    return figure


def grouped(pairs: Sequence[tuple[str, Variable]]) -> dict[str, list[Variable]]:
    """Tensors by themselves, Values by their layer."""
    groups: dict[str, list[Variable]] = {}
    for name, parameter in pairs:
        groups.setdefault(family(name) if isinstance(parameter, Value) else name, []).append(parameter)
    return groups


def family(name: str) -> str:
    """The name with every index but the first left out."""
    first = INDEX.search(name)
    end = first.end() if first else 0
    return name[:end] + INDEX.sub(LEFT_OUT, name[end:])


def flattened(arrays: Sequence[Any]) -> Array:
    flat = [np.asarray(x, dtype=np.float64).reshape(-1) for x in arrays]
    return np.concatenate(flat) if flat else np.zeros(0)


def draw_histogram(axes: Any, numbers: Array, bins: int, log: bool, colour: str) -> None:
    finite = numbers[np.isfinite(numbers)]
    if len(finite):
        axes.hist(finite, bins=edges(finite, bins), color=colour, log=log)
        axes.yaxis.set_minor_formatter("")
        axes.set_ylim(bottom=0.5 if log else 0.0)  # a count of 1 is a bar, too
    else:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color=GREY)
    axes.set_title(summary(numbers, finite), loc="right", fontsize=8, color=INK)
    axes.tick_params(labelsize=7)
    axes.ticklabel_format(axis="x", scilimits=(-3, 4)) if len(finite) else None
    axes.xaxis.get_offset_text().set_size(7)
    without_frame(axes)


def edges(numbers: Array, bins: int) -> Array:
    """Equal bins from the least number to the largest; around them where all are (nearly) the same."""
    low, high = float(numbers.min()), float(numbers.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        half = 0.05 * abs(low) or 0.5
        low, high = low - half, high + half
    return np.linspace(low, high, bins + 1)


def summary(numbers: Array, finite: Array) -> str:
    if not len(numbers):
        return ""
    parts = [f"mean {finite.mean():.2g}, std {finite.std():.2g}"] if len(finite) else []
    zeros, lost = np.count_nonzero(numbers == 0.0), len(numbers) - len(finite)
    parts += [f"{100 * zeros / len(numbers):.3g} % are 0"] if zeros else []
    return ", ".join(parts + ([f"{lost} not finite"] if lost else []))


def plot_weights(
    weights: Any, shape: tuple[int, int] = (28, 28), *, columns: int | None = None, label: str = "weight"
) -> Any:
    """Each unit's weights as a picture: a grid of tiles, orange below 0, white, blue above, all on one scale.

    `weights` is (units, height · width), as the weight of a first `Linear` layer on flat images of `shape` (height,
    width), or its gradient; or (height · width,) of one unit; or (units, height, width). `columns` tiles stand in a row,
    by default about as many as rows; `label` is what the colour bar says. What is not finite is black. Returns the figure.

    Raises `ValueError` for another shape, no unit or more than 1,024, `TypeError` for anything but numbers.

    >>> import chainrule as cr
    >>> layer = cr.nn.Linear(6, 4, rng=0)
    >>> figure = cr.visualize.plot_weights(layer.weight, shape=(2, 3))
    >>> figure.axes[0].images[0].get_array().shape[:2]  # 2 x 2 tiles of 2 x 3 pixels, with gaps
    (5, 7)
    """
    tiles = as_tiles(weights, shape)
    columns = math.ceil(math.sqrt(len(tiles))) if columns is None else columns
    if not isinstance(columns, int) or columns < 1:
        raise ValueError(f"plot_weights: columns must be a positive integer, got {columns!r}")
    mosaic, gaps = laid_out(tiles, min(columns, len(tiles)))
    most = float(np.abs(tiles[np.isfinite(tiles)]).max(initial=0.0)) or 1.0
    height, width = mosaic.shape
    scale = 6.0 / max(height, width)
    figure = new_figure("visualize.plot_weights", scale * width + 1.8, max(scale * height + 0.7, 1.6))
    draw_tiles(figure.subplots(), mosaic, gaps, most, label)
    number_tiles(figure.axes[0], len(tiles), min(columns, len(tiles)), tiles.shape[1:])
    return figure


def as_tiles(weights: Any, shape: tuple[int, int]) -> Array:
    """(units, height, width)."""
    array = plain_array("plot_weights", weights)
    pixels = math.prod(shape)
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == pixels):
        array = np.atleast_2d(array)
        if array.shape[1] == pixels:
            array = array.reshape(-1, *shape)
    if array.ndim != 3:
        turned = "; these look turned over: give their .T" if array.shape[:1] == (pixels,) else ""
        raise ValueError(
            f"plot_weights: expected (units, {pixels}) weights for tiles of {' x '.join(map(str, shape))} pixels, got "
            f"shape {array.shape}; say shape=(height, width) of a tile{turned}"
        )
    if not array.size or len(array) > MOST_TILES:
        raise ValueError(f"plot_weights: {len(array)} units, expected 1 to {MOST_TILES:,}; draw a part: weights[:64]")
    return array


def laid_out(tiles: Array, columns: int) -> tuple[Array, Any]:
    """All tiles on one sheet, row by row, and where there is none: a pixel between two, and the rest of the last row."""
    n, height, width = tiles.shape
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows * (height + 1), columns * (width + 1)))
    gaps = np.ones(sheet.shape, dtype=bool)
    for i, tile in enumerate(tiles):
        top, left = i // columns * (height + 1), i % columns * (width + 1)
        sheet[top : top + height, left : left + width] = tile
        gaps[top : top + height, left : left + width] = False
    return sheet[:-1, :-1], gaps[:-1, :-1]


def draw_tiles(axes: Any, sheet: Array, gaps: Any, most: float, label: str) -> None:
    norm = extra("matplotlib.colors", "plot", "plot_weights").Normalize(-most, most)
    scale = extra("matplotlib.cm", "plot", "plot_weights").ScalarMappable(norm, two_sided())
    lost = ~np.isfinite(sheet)
    picture = scale.to_rgba(np.where(lost, 0.0, sheet))
    picture[lost] = (0.0, 0.0, 0.0, 1.0)
    picture[gaps] = extra("matplotlib.colors", "plot", "plot_weights").to_rgba(GREY)
    axes.imshow(picture, interpolation="nearest")
    axes.figure.colorbar(
        scale, ax=axes, label=verbatim(label) + (" (black: not finite)" if lost.any() else ""), shrink=0.8
    )


def number_tiles(axes: Any, n: int, columns: int, shape: Sequence[int]) -> None:
    """A unit's number is the one at its row plus the one at its column."""
    height, width = shape
    axes.set_xticks(np.arange(columns) * (width + 1) + (width - 1) / 2, [f"+{i}" for i in range(columns)], fontsize=8)
    starts = range(0, n, columns)
    axes.set_yticks(np.arange(len(starts)) * (height + 1) + (height - 1) / 2, list(map(str, starts)), fontsize=8)
    axes.tick_params(length=0)
    axes.set(xlabel="unit: row + column", ylabel="")
    axes.spines[:].set_visible(False)
