"""Plots of training and of checks, drawn by Matplotlib (the extra `plot`); what they and the other plots share.

Every plot takes plain data or a model, returns its figure, and leaves pyplot alone: nothing global is opened, shown or
changed. Blue and orange say the same everywhere, and no colour says anything that a marker, a line or a word does not.
"""

from __future__ import annotations

__all__ = ["plot_check", "plot_gradient_flow", "plot_loss"]

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd.checking.report import (
    ACCEPTED,
    KINK,
    NOISY,
    NOT_CONNECTED,
    NOT_FINITE,
    RIGHT,
    WORST_FIRST,
    WRONG,
    Report,
    Row,
)
from chainrule.autograd.graph import Node
from chainrule.autograd.guards.settings import flag
from chainrule.autograd.optional.extra import extra, new_figure
from chainrule.autograd.parameters import Variable
from chainrule.autograd.plain import describe

from ..describing.description import shortened

Array: TypeAlias = NDArray[np.float64]
Run: TypeAlias = Iterable[Any] | Mapping[str, Sequence[float]]

# Okabe and Ito's colours, which remain distinct for colour-blind readers.
BLUE, ORANGE, GREEN, PINK, YELLOW, SKY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"
COLOURS = (BLUE, ORANGE, GREEN, PINK, YELLOW, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
GREY, INK = "#6B7280", "#1f2933"
NOT_THERE = "#d1d5db"  # where there is nothing to show
LONGEST = 60  # characters of a label


def canvas(what: str, axes: Any, width: float, height: float) -> Any:
    """The axes to draw on, with the house's look: those that were given, or those of a new figure."""
    if axes is None:
        axes = new_figure(f"visualize.{what}", width, height).subplots()
    return without_frame(axes)


def without_frame(axes: Any) -> Any:
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_axisbelow(True)
    return axes


def two_sided(strength: float = 1.0) -> Any:
    """Colours for numbers on both sides of a middle: orange below, white, blue above; paler for less strength."""
    colours = extra("matplotlib.colors", "plot", "visualize")
    full = np.array([colours.to_rgb(colour) for colour in (ORANGE, "#f3b48b", "white", "#7fb8d8", BLUE)])
    return colours.LinearSegmentedColormap.from_list("orange_blue", 1.0 - strength * (1.0 - full))


def verbatim(text: object) -> str:
    """Text from outside as Matplotlib shows it literally: "$" is no mathematics, "_" hides nothing in a legend."""
    line = shortened(str(text), LONGEST).replace("$", r"\$")
    return f" {line}" if line.startswith("_") else line


def plain_array(what: str, x: Any) -> Array:
    """The numbers of a Value, a Tensor, an array or nested lists, as an array of float64."""
    try:
        return np.asarray(x._raw if isinstance(x, Node) else x, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{what}: expected real numbers, got {describe(x)}") from error


# Loss curves


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a plot; validation is drawn dashed."""

    run: str
    validation: bool
    counted_in: str  # epochs or steps
    x: Array
    y: Array

    @property
    def label(self) -> str:
        kind = "validation" if self.validation else ""
        return verbatim(", ".join(filter(None, [self.run, kind])) or "training")


def plot_loss(runs: Any, *, measured: str = "loss", log: bool = False, axes: Any = None) -> Any:
    """The loss over epochs or steps, of one run or of several, in training and, dashed, on validation data.

    A run is a `History`; or, for loops of your own, a list of numbers, a list of dicts such as {"epoch": 1, "loss": 2.5},
    or a dict of lists such as {"loss": […], "validation_loss": […]}. `runs` is a run, a dict of runs by label, or a list
    of runs. `measured` may be another measurement, as "accuracy"; with `log` its axis is logarithmic. What is not finite
    leaves a gap, and a cross at the top. Draws on `axes`, or else on a new figure; returns the figure.

    Raises `ValueError` where there is nothing to draw, or for numbers ≤ 0 on a logarithmic axis, `TypeError` for anything
    but numbers, `ImportError` without Matplotlib. One run's loss and accuracy side by side: `history.plot()`.

    >>> import chainrule as cr
    >>> figure = cr.visualize.plot_loss({"SGD": [2.0, 1.0, 0.5], "Adam": [2.0, 0.4, 0.1]}, log=True)
    >>> [line.get_label() for line in figure.axes[0].lines]
    ['SGD', 'Adam']
    """
    curves = [curve for label, run in labelled(runs, measured).items() for curve in curves_of(label, run, measured)]
    if flag("plot_loss: log", log) and any((curve.y <= 0.0).any() for curve in curves):
        raise ValueError(
            f"plot_loss: {measured} is 0 or less in places, which has no logarithm; draw it with log=False"
        )
    axes = canvas("plot_loss", axes, 6.4, 4.2)
    alone = len({curve.run for curve in curves}) == 1
    order = list(dict.fromkeys(curve.run for curve in curves))
    for curve in curves:
        place = int(curve.validation) if alone else order.index(curve.run)
        draw_curve(axes, curve, COLOURS[place % len(COLOURS)])
    lost = sum((~np.isfinite(curve.y)).sum() for curve in curves)
    if lost:
        axes.plot([], [], "x", color=INK, label=f"not finite ({lost})")
    axes.set(
        xlabel=" or ".join(sorted({curve.counted_in for curve in curves})), ylabel=verbatim(measured.replace("_", " "))
    )
    axes.set_yscale("log" if log else "linear")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    return axes.figure


def draw_curve(axes: Any, curve: Curve, colour: str) -> None:
    finite = np.isfinite(curve.y)
    style = "--" if curve.validation else "-"
    marker = MARKERS[0] if len(curve.x) < 20 else None
    y = np.where(finite, curve.y, np.nan)
    axes.plot(curve.x, y, style, color=colour, marker=marker, markersize=4, label=curve.label)
    if not finite.all():
        lost = curve.x[~finite]
        at_top = axes.get_xaxis_transform()
        axes.plot(lost, np.full(len(lost), 0.98), "x", color=colour, transform=at_top, label="_", clip_on=False)


def labelled(runs: Any, measured: str) -> dict[str, Run]:
    """The runs by their labels; a run that is alone needs none."""
    if isinstance(runs, Mapping):
        alone = measured in runs or f"validation_{measured}" in runs
        return {"": runs} if alone else {str(label): run for label, run in runs.items()}
    if not is_series(runs):
        raise TypeError(f"plot_loss: expected a History, numbers, or several of them by label, got {describe(runs)}")
    items = list(runs)
    if all(isinstance(x, Mapping) or is_single(x) for x in items):
        return {"": items}
    return {f"run {i}": run for i, run in enumerate(items, 1)}


def is_series(x: Any) -> bool:
    """Whether it is one thing after another, in an order that means something."""
    return isinstance(x, Iterable) and not isinstance(x, str | bytes | set | frozenset | Node)


def is_single(x: Any) -> bool:
    return isinstance(x, int | float | np.number) or (isinstance(x, Variable | np.ndarray) and math.prod(x.shape) == 1)


def curves_of(label: str, run: Run, measured: str) -> list[Curve]:
    """The curves of training and of validation, as far as there are any."""
    names = (measured, f"validation_{measured}")
    if isinstance(run, Mapping):
        found = [curve_of(label, name != measured, run[name], run.get("epoch")) for name in names if name in run]
    elif not is_series(run):
        raise TypeError(f"plot_loss: {label or 'the run'}: expected a History or numbers, got {describe(run)}")
    else:
        items = list(run)
        if not all(isinstance(x, Mapping) for x in items):
            found = [curve_of(label, False, items, None)]
        else:
            found = [curve_of_records(label, name, items, name != measured) for name in names]
    found = [curve for curve in found if len(curve.x)]
    if not found:
        raise ValueError(f"plot_loss: {label or 'the run'} has no {measured!r}, there is nothing to draw")
    return found


def curve_of_records(label: str, name: str, records: Sequence[Mapping[str, float]], validation: bool) -> Curve:
    measured = [record for record in records if name in record]
    counted = all("epoch" in record for record in measured)
    epochs = [record["epoch"] for record in measured] if counted else None
    return curve_of(label, validation, [record[name] for record in measured], epochs)


def curve_of(label: str, validation: bool, numbers: Iterable[Any], epochs: Sequence[float] | None) -> Curve:
    if not is_series(numbers):
        raise TypeError(f"plot_loss: {label or 'the run'}: expected a list of numbers, got {describe(numbers)}")
    y = np.array([single("plot_loss", x) for x in numbers])
    x = np.arange(1.0, len(y) + 1.0) if epochs is None else plain_array("plot_loss", epochs)
    if x.shape != y.shape:
        raise ValueError(f"plot_loss: {label or 'the run'}: {len(x)} epochs for {len(y)} measurements")
    return Curve(label, validation, "step" if epochs is None else "epoch", x, y)


def single(what: str, x: Any) -> float:
    array = plain_array(what, x)
    if array.size != 1:
        raise ValueError(f"{what}: expected one number, got {describe(x)}")
    return float(array.item())


# Gradient flow


@runtime_checkable
class FlowRow(Protocol):
    """A row of `nn.gradient_flow`."""

    @property
    def name(self) -> str: ...
    @property
    def norm(self) -> float | None: ...
    @property
    def rms(self) -> float | None: ...
    @property
    def largest(self) -> float | None: ...
    @property
    def ratio(self) -> float | None: ...


MEASURES = {
    "rms": "rms of the gradient",
    "norm": "norm of the gradient",
    "largest": "largest |gradient|",
    "ratio": "norm of gradient / parameter",
}


def plot_gradient_flow(
    flows: Iterable[Iterable[FlowRow]], *, measured: str = "rms", steps: Sequence[float] | None = None, axes: Any = None
) -> Any:
    """How large each layer's gradient was over time: one column for each table of `nn.gradient_flow` in `flows`.

    Collect them after `backward`: `flows.append(cr.nn.gradient_flow(model))`; or let `fit` do it after each epoch, with
    `callbacks=[lambda history, model: flows.append(cr.nn.gradient_flow(model))]`. Rows are parameters or layers, the first
    on top; the scale is logarithmic. Grey: exactly 0, or no gradient; hatched: not finite. `measured` is "rms", "norm",
    "largest" or "ratio" (to the parameter's own norm), `steps` what the columns are counted by, 1, 2, 3, … by default.
    One table alone draws itself, with verdicts: `gradient_flow(model).plot()`. Returns the figure.

    Raises `ValueError` without tables, or where they have other rows than the first, `TypeError` for anything else.

    >>> import chainrule as cr
    >>> model, flows = cr.nn.MLP([2, 3, 1], rng=0), []
    >>> for _ in range(3):
    ...     cr.nn.mse_loss(model([[1.0, 2.0]]), [[1.0]]).backward()
    ...     flows.append(cr.nn.gradient_flow(model))
    >>> figure = cr.visualize.plot_gradient_flow(flows)
    >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
    ['0.weight', '0.bias', '2.weight', '2.bias']
    """
    if measured not in MEASURES:
        raise ValueError(f"plot_gradient_flow: measured must be one of {', '.join(MEASURES)}, got {measured!r}")
    names, sizes = flow_table(flows, measured)
    columns = np.arange(1.0, sizes.shape[1] + 1.0) if steps is None else plain_array("plot_gradient_flow", steps)
    if columns.shape != sizes.shape[1:] or (np.diff(columns) <= 0).any():
        raise ValueError(f"plot_gradient_flow: steps must be {sizes.shape[1]} growing numbers, one for each table")
    axes = canvas("plot_gradient_flow", axes, 7.0, min(1.9 + 0.26 * len(names), 14.0))
    draw_heat(axes, borders(columns), sizes, MEASURES[measured])
    axes.set_yticks(np.arange(len(names)), list(map(verbatim, names)), fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.xaxis.get_major_locator().set_params(integer=steps is None)
    axes.set(xlabel="step", ylabel="parameter or layer, first on top")
    return axes.figure


def flow_table(flows: Iterable[Iterable[FlowRow]], measured: str) -> tuple[list[str], Array]:
    """The names of the rows, and (rows, tables) numbers, NaN for no gradient."""
    tables = list(flows) if isinstance(flows, Iterable) else []
    if any(isinstance(table, FlowRow) for table in tables):
        raise TypeError("plot_gradient_flow: expected a list of tables, got one; that draws itself, by its plot()")
    if not tables:
        raise ValueError("plot_gradient_flow: expected tables of nn.gradient_flow, got none; there is nothing to draw")
    rows = [list(table) if isinstance(table, Iterable) else [table] for table in tables]
    for row in (row for table in rows for row in table):
        if not isinstance(row, FlowRow):
            raise TypeError(f"plot_gradient_flow: expected tables of nn.gradient_flow, got {describe(row)}")
    names = [row.name for row in rows[0]]
    for i, table in enumerate(rows):
        if [row.name for row in table] != names:
            raise ValueError(f"plot_gradient_flow: table {i + 1} has other rows than the first; draw them apart")
    if not names:
        raise ValueError("plot_gradient_flow: there is no parameter, there is nothing to draw")
    return names, np.array([[size_of(row, measured) for row in table] for table in rows]).T


def size_of(row: FlowRow, measured: str) -> float:
    sizes = {"rms": row.rms, "norm": row.norm, "largest": row.largest, "ratio": row.ratio}
    return math.nan if row.norm is None else math.inf if not math.isfinite(row.norm) else sizes[measured] or 0.0


def borders(centres: Array) -> Array:
    """Where one column ends and the next begins."""
    middle = (centres[1:] + centres[:-1]) / 2
    first, last = (centres[0] - middle[0], centres[-1] - middle[-1]) if len(middle) else (0.5, 0.5)
    return np.concatenate([[centres[0] - abs(first)], middle, [centres[-1] + abs(last)]])


def draw_heat(axes: Any, x: Array, sizes: Array, label: str) -> None:
    """Sizes as colours on a logarithmic scale. What has no place on it is grey, or hatched where it is not finite."""
    y = np.arange(len(sizes) + 1) - 0.5
    shown = np.isfinite(sizes) & (sizes > 0.0)
    axes.set_facecolor(NOT_THERE)
    low, high = (sizes[shown].min(), sizes[shown].max()) if shown.any() else (0.1, 1.0)
    scale = extra("matplotlib.colors", "plot", "visualize").LogNorm(low, high if high > low else 1.1 * low)
    colours = axes.pcolormesh(x, y, np.ma.array(sizes, mask=~shown), norm=scale, cmap="cividis")
    axes.figure.colorbar(colours, ax=axes, label=label)
    patch = extra("matplotlib.patches", "plot", "visualize").Patch
    legend = [patch(facecolor=NOT_THERE, label="0, or none")] if (~shown & ~np.isinf(sizes)).any() else []
    if np.isinf(sizes).any():
        lost = {"facecolor": "white", "edgecolor": ORANGE, "hatch": "xxx", "linewidth": 0.0}
        mesh = axes.pcolor(x, y, np.ma.array(np.zeros_like(sizes), mask=~np.isinf(sizes)), cmap="Greys", vmin=0)
        mesh.set(hatch="xxx", edgecolor=ORANGE, linewidth=0.0)
        legend.append(patch(**lost, label="not finite"))
    if legend:
        axes.legend(handles=legend, loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False, fontsize=8)


# Autograd against numeric derivatives

VERDICTS = {
    RIGHT: (BLUE, "o"), KINK: (SKY, "^"), NOISY: (GREY, "s"), NOT_FINITE: (YELLOW, "*"), NOT_CONNECTED: (PINK, "D"),
    WRONG: (ORANGE, "X"),
}  # fmt: skip
LABELLED = 5  # of the worst rows


def plot_check(report: Report, *, axes: Any = None) -> Any:
    """Each derivative of a report by `check` or `gradcheck`: autograd's over the numeric one, on the diagonal where right.

    Both axes are logarithmic away from 0 on either side of it. Colour and marker say the verdict, and up to five rows
    that are not accepted, the worst, say what they are. What is not finite lies on the border. Returns the figure.

    Raises `TypeError` for anything but a report, `ValueError` for an empty one.

    >>> import chainrule as cr
    >>> double = cr.custom("double", lambda x: 2.0 * x, lambda g, y, x: g)
    >>> w = cr.Tensor([1.0, -2.0], name="w")
    >>> figure = cr.visualize.plot_check(cr.check(cr.sum(cr.tanh(double(w)))))
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['double, w', 'the whole by w']
    """
    if not isinstance(report, Report):
        raise TypeError(f"plot_check: expected the report of check or gradcheck, got {describe(report)}")
    if not len(report):
        raise ValueError("plot_check: the report has no rows, there is nothing to draw")
    axes = canvas("plot_check", axes, 6.6, 5.0)
    numbers = np.array([(row.numeric, row.autograd) for row in report])
    first, most = scale_of(numbers)
    room = max(0.7, 0.15 * (math.log10(most) - first))  # around 0, in powers of ten
    for scale, ticks in ((axes.set_xscale, axes.set_xticks), (axes.set_yscale, axes.set_yticks)):
        scale("symlog", linthresh=10.0**first, linscale=room)
        ticks(ticks_of(first, most))
    axes.axline((0.0, 0.0), (most, most), color=GREY, linewidth=0.8, zorder=0)
    for verdict in reversed(WORST_FIRST):
        draw_rows(axes, report.by_verdict(verdict), verdict, most)
    draw_labels(axes, [row for row in report.worst_first() if row.verdict not in ACCEPTED], most)
    axes.set(xlim=(-most, most), ylim=(-most, most), xlabel="numeric derivative", ylabel="derivative by autograd")
    axes.set_title(report.summary(), fontsize=9)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return axes.figure


def scale_of(numbers: Array) -> tuple[int, float]:
    """The power of ten from which on the axes are logarithmic, at most ten below the largest; and where they end."""
    sizes = np.abs(numbers[np.isfinite(numbers) & (numbers != 0.0)])
    largest = float(sizes.max(initial=0.0)) or 1.0
    smallest = max(float(sizes.min(initial=largest)), 1e-10 * largest)
    return math.floor(math.log10(smallest)), 3.0 * largest


def ticks_of(first: int, most: float) -> Array:
    """0, and some four powers of ten on either side."""
    last = math.floor(math.log10(most))
    powers = 10.0 ** np.arange(last, first - 1, -max(1, math.ceil((last - first) / 4)))
    return np.concatenate([-powers, [0.0], powers[::-1]])


def draw_rows(axes: Any, rows: Sequence[Row], verdict: str, most: float) -> None:
    if rows:
        colour, marker = VERDICTS[verdict]
        points = np.array([placed(row, most) for row in rows])
        look = {"color": colour, "marker": marker, "s": 36 if verdict in ACCEPTED else 70, "edgecolors": "white"}
        axes.scatter(*points.T, **look, linewidths=0.5, clip_on=False, zorder=3, label=f"{verdict} ({len(rows)})")


def placed(row: Row, most: float) -> tuple[float, float]:
    """Where a row is drawn: what is not finite, on the border."""
    x, y = (float(np.nan_to_num(x, nan=-most, posinf=most, neginf=-most)) for x in (row.numeric, row.autograd))
    return x, y


def draw_labels(axes: Any, worst_first: Sequence[Row], most: float) -> None:
    """What the worst rows are: one label at a place, for the worst there."""
    places: dict[tuple[str, ...], list[Row]] = {}
    for row in worst_first:
        places.setdefault(tuple(f"{x:.1e}" for x in placed(row, most)), []).append(row)
    for rows in list(places.values())[:LABELLED]:
        others = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        x, y = placed(rows[0], most)
        side = -1 if x > 0.0 else 1
        look = {"ha": "right" if side < 0 else "left", "va": "center", "fontsize": 8, "color": INK}
        axes.annotate(verbatim(spoken(rows[0]) + others), (x, y), (8 * side, 0), textcoords="offset points", **look)


def spoken(row: Row) -> str:
    index = f"[{', '.join(map(str, row.index))}]" if row.index else ""
    return f"{row.operation}, {row.input}{index}" if row.operation else f"the whole by {row.input}{index}"
