"""How gradients fare on their way back through a network: what does not arrive, what fades, what blows up, what is dead.

Everything here reads a graph or gradients that exist already; nothing is changed and nothing is trained.
"""

from __future__ import annotations

__all__ = ["DeadUnitsReport", "GradientFlow", "dead_units", "gradient_flow", "unused"]

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from operator import attrgetter
from typing import Any, final

import numpy as np

from chainrule.autograd import Node, Tensor, enable_grad
from chainrule.autograd.graph import ancestry
from chainrule.autograd.operators import plain
from chainrule.autograd.ops.reduction import norm_of
from chainrule.autograd.optional.extra import new_figure
from chainrule.autograd.parameters import Parameters, Variable, named
from chainrule.autograd.plain import describe

from ..inside import dotted, walk
from ..module import Module, in_use, require_module

FADED, GROWN = 1e-4, 1e4  # times the gradient of the last weights: less is vanishing, more is exploding
TOO_LARGE = 1e3  # times the parameter itself: at a learning rate of 0.001, one step replaces it
COLOURS = {
    "": "#1d5f9e", "vanishing": "#e08214", "exploding": "#c1121f", "dead": "#6b7280", "not finite": "#c1121f",
    "no gradient": "#6b7280",
}  # fmt: skip


def unused(parameters: Parameters, loss: Node) -> list[str]:
    """The names of the parameters that `loss` does not reach: no training will ever change them.

    `parameters` is a Module, a dict of names and variables, or a list of variables, which then go by their own names, or
    else by their places, as in "[2]". A parameter is reached if it went into the loss along some path on which every
    operation has a derivative; that may be 0 everywhere, as that of `floor`. Nothing needs to be differentiated first.
    Leaves that the loss reaches and a Module does not list are a `UserWarning`: they will not change either. Raises
    `TypeError` for anything else.

    >>> import chainrule as cr
    >>> w, b = cr.Value(2.0, name="w"), cr.Value(1.0, name="b")
    >>> cr.unused([w, b], w * 3.0)
    ['b']
    """
    if not isinstance(loss, Node):
        raise TypeError(f"unused: the loss must be a Value or a Tensor, got {describe(loss)}")
    listed = named("unused", parameters)
    if isinstance(parameters, Module):
        warn_of_strangers("unused", loss, [parameter for _, parameter in listed])
    arrived = reached(loss)
    return [name for name, parameter in listed if parameter not in arrived]


def warn_of_strangers(name: str, loss: Node, known: Iterable[Node], stacklevel: int = 3) -> None:
    """Say which leaves the loss reaches that are not among the known."""
    listed = set(known)
    strangers = [leaf for leaf in reached(loss) if leaf.op is None and not leaf.frozen and leaf not in listed]
    if strangers:
        warnings.warn(
            f"{name}: the loss reaches {several(strangers)} that the model does not list, so training does not change it. Keep a "
            "parameter in an attribute of the model, and give data and constants as arrays",
            stacklevel=stacklevel,
        )


def several(leaves: Sequence[Node]) -> str:
    """The oldest of them, and how many more there are."""
    leaf = min(leaves, key=attrgetter("birth"))
    shape = np.shape(leaf._raw)
    name = f" {leaf.name!r}" if leaf.name is not None else ""
    more = f" and {len(leaves) - 1} leaves more" if len(leaves) > 1 else ""
    return f"a {type(leaf).__name__}{name}{f' of shape {shape}' if shape else ''}{more}"


def reached(root: Node) -> set[Node]:
    """What `root` was computed from, as far as a derivative leads there."""
    found, stack = {root}, [root]
    while stack:
        node = stack.pop()
        rules = node.op.rules if node.op is not None else ()  # none at all where a row pulls for all arguments at once
        for i, arg in enumerate(node.args):
            if isinstance(arg, Node) and arg not in found and (not rules or rules[i] is not None):
                found.add(arg)
                stack.append(arg)
    return found


@final
@dataclass(frozen=True, slots=True)
class FlowRow:
    """The gradient of one parameter, or of the parameters of one layer together.

    `norm` is Euclidean, `rms` the root mean square, `largest` the largest |element|, `zeros` the share of elements that
    are exactly 0, `ratio` the norm divided by that of the parameter (None where that is 0). Without a gradient all are
    None. `verdict` is empty where there is nothing to say.
    """

    name: str
    size: int
    norm: float | None
    rms: float | None
    largest: float | None
    zeros: float | None
    ratio: float | None
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@final
@dataclass(frozen=True, slots=True, repr=False)
class GradientFlow:
    """A row for each parameter or layer, in order of definition: usually from the first layer to the last.

    `reference` is the root mean square of the last weights' gradient, with which the others are compared.
    """

    rows: tuple[FlowRow, ...]
    reference: float | None

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[FlowRow]:
        return iter(self.rows)

    def __getitem__(self, name: str) -> FlowRow:
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    def to_dict(self) -> dict[str, Any]:
        return {"reference": self.reference, "rows": [row.to_dict() for row in self.rows]}

    def __str__(self) -> str:
        return table(
            ("name", "size", "norm", "rms", "largest", "zeros", "norm/parameter", "verdict"),
            [
                (
                    r.name,
                    f"{r.size}",
                    short(r.norm),
                    short(r.rms),
                    short(r.largest),
                    percent(r.zeros),
                    short(r.ratio),
                    r.verdict,
                )
                for r in self.rows
            ],
        )

    __repr__ = __str__

    def plot(self) -> Any:
        """A Matplotlib figure: root mean square and largest |element| of each gradient, on a logarithmic scale.

        First row on the left. The band is where gradients neither vanish nor explode; a cross at the bottom stands for
        a gradient of 0, a dash for none at all. Many tables, over time: `visualize.plot_gradient_flow`. Raises `ValueError`
        without rows, `ImportError` where Matplotlib is missing.
        """
        if not self.rows:
            raise ValueError("plot: there is no parameter, there is nothing to draw")
        width = min(3.0 + 0.45 * len(self.rows), 16.0)
        figure = new_figure("GradientFlow.plot", width, 4.2)
        self.draw(figure.subplots())
        return figure

    def draw(self, axes: Any) -> None:
        places = range(len(self.rows))
        sizes = [positive(row.rms) for row in self.rows]
        finite = [x for x in sizes if x is not None]
        axes.set_yscale("log")
        if self.reference is not None:
            axes.axhspan(FADED * self.reference, GROWN * self.reference, color="0.95", zorder=0)
        axes.plot(places, [math.nan if x is None else x for x in sizes], color="0.7", linewidth=1.0, zorder=1)
        seen: set[str] = set()
        for place, row, x in zip(places, self.rows, sizes, strict=True):
            colour = COLOURS[row.verdict]
            label = None if row.verdict in seen else row.verdict or "root mean square"
            seen.add(row.verdict)
            if x is None:
                marker = "$-$" if row.rms is None else "x"
                at_bottom = axes.get_xaxis_transform()
                axes.plot(place, 0.04, marker=marker, color=colour, linestyle="none", label=label, transform=at_bottom)
                continue
            axes.plot(place, x, marker="o", color=colour, linestyle="none", label=label, zorder=2)
            largest = positive(row.largest)
            if largest is not None:
                axes.plot([place, place], [x, largest], color=colour, linewidth=1.0, zorder=1)
                axes.plot(place, largest, marker="_", color=colour, linestyle="none", zorder=2)
        axes.plot([], [], marker="_", color=COLOURS[""], linestyle="none", label="largest |element|")
        axes.set_xticks(places, [row.name for row in self.rows], rotation=90, fontsize=8)
        if finite:
            axes.set_ylim(min(finite) / 10.0, 3.0 * max(positive(row.largest) or 0.0 for row in self.rows))
        axes.set(xlabel="parameter or layer, in order of definition", ylabel="|gradient|")
        axes.grid(axis="y", alpha=0.3)
        axes.legend(fontsize=8)


def gradient_flow(parameters: Parameters, *, by: str = "parameter") -> GradientFlow:
    """How large the gradients are that the last `backward` left, from the first layer to the last.

    `parameters` is a Module, a dict or a list; `by` is "parameter" or, of a Module, "layer": all parameters of one module
    inside. The verdicts, which do not depend on the scale of the loss but for one of them:

    - "no gradient": none has arrived; "not finite": a NaN or an infinity has;
    - "dead": every element is exactly 0;
    - "vanishing", "exploding": the root mean square is below 1e-4, or above 1e4, times that of the last weights (the
      last parameter with two axes or more, else the last), where the way back begins;
    - "exploding" too: the norm is above 1000 times the parameter's own, so that one step of plain gradient descent at a
      learning rate of 0.001 would replace it.

    >>> import chainrule as cr
    >>> model = cr.nn.MLP([2, 3, 1], rng=0)
    >>> cr.nn.mse_loss(model([[1.0, 2.0]]), [[1.0]]).backward()
    >>> flow = cr.nn.gradient_flow(model)
    >>> [row.verdict for row in flow]
    ['', '', '', '']
    """
    if by not in ("parameter", "layer"):
        raise ValueError(f'gradient_flow: by must be "parameter" or "layer", got {by!r}')
    if by == "layer" and not isinstance(parameters, Module):
        raise TypeError(f"gradient_flow: only a Module has layers, got {describe(parameters)}")
    groups: dict[str, list[Variable]] = {}
    layers = module_names(parameters) if isinstance(parameters, Module) else set()
    for name, parameter in named("gradient_flow", parameters):
        groups.setdefault(name if by == "parameter" else layer_of(name, layers), []).append(parameter)
    measured = [(name, Measured(group)) for name, group in groups.items()]
    reference = reference_of([(m.rms, m.matrix) for _, m in measured])
    return GradientFlow(tuple(m.row(name, reference) for name, m in measured), reference)


def module_names(model: Module) -> set[str]:
    """The paths of all modules inside."""
    return {dotted(path) for path, part in walk(model) if isinstance(part, Module)}


def layer_of(name: str, layers: set[str]) -> str:
    """The innermost module that a parameter belongs to."""
    while name and name not in layers:
        name = name.rpartition(".")[0]
    return name or "model"


@final
class Measured:
    """The gradients of some parameters, taken together."""

    def __init__(self, parameters: list[Variable]) -> None:
        data = joined([plain(p) for p in parameters])
        grads = [p._grad for p in parameters if p._grad is not None]
        self.size, self.matrix = data.size, any(p.ndim >= 2 for p in parameters)
        self.norm = self.rms = self.largest = self.zeros = self.ratio = None
        if grads:
            g = joined(grads)
            own = length(data)
            self.norm = length(g)
            self.rms = self.norm / math.sqrt(g.size) if g.size else 0.0
            self.largest = float(np.max(np.abs(g), initial=0.0))
            self.zeros = float(np.mean(g == 0.0)) if g.size else 0.0
            self.ratio = self.norm / own if own else None

    def row(self, name: str, reference: float | None) -> FlowRow:
        numbers = self.norm, self.rms, self.largest, self.zeros, self.ratio
        return FlowRow(name, self.size, *numbers, verdict=self.verdict(reference))

    def verdict(self, reference: float | None) -> str:
        if self.norm is None or self.rms is None:
            return "no gradient"
        if not math.isfinite(self.norm):
            return "not finite"
        if self.norm == 0.0:
            return "dead" if self.size else ""
        if (self.ratio or 0.0) > TOO_LARGE or (reference and self.rms > GROWN * reference):
            return "exploding"
        return "vanishing" if reference and self.rms < FADED * reference else ""


def joined(arrays: list[Any]) -> Any:
    return np.concatenate([np.asarray(x, dtype=float).reshape(-1) for x in arrays])


def length(x: Any) -> float:
    """The Euclidean norm, without overflow on the way."""
    return float(norm_of(x, None, False)) if x.size else 0.0


def reference_of(measured: list[tuple[float | None, bool]]) -> float | None:
    """The root mean square where the way back begins: of the last weights, else of the last parameter."""
    usable = [(x, matrix) for x, matrix in measured if x and math.isfinite(x)]
    weights = [x for x, matrix in usable if matrix]
    return weights[-1] if weights else usable[-1][0] if usable else None


@final
@dataclass(frozen=True, slots=True)
class DeadUnits:
    """The units of one ReLU that are 0 for every sample; `after` is the layer whose parameters feed it."""

    after: str
    units: int
    dead: tuple[int, ...]

    @property
    def share(self) -> float:
        return len(self.dead) / self.units if self.units else 0.0

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"share": self.share}


@final
@dataclass(frozen=True, slots=True, repr=False)
class DeadUnitsReport:
    """One row for each ReLU, in the order in which they were computed."""

    rows: tuple[DeadUnits, ...]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[DeadUnits]:
        return iter(self.rows)

    def to_dict(self) -> dict[str, Any]:
        return {"rows": [row.to_dict() for row in self.rows]}

    def __str__(self) -> str:
        return table(
            ("after", "units", "dead", "share"),
            [(row.after, f"{row.units}", f"{len(row.dead)}", percent(row.share)) for row in self.rows],
        )

    __repr__ = __str__


def dead_units(model: Module, *inputs: Any) -> DeadUnitsReport:
    """Which units of each ReLU are 0 for every one of these samples, and so learn nothing from them.

    The model is run once, as in use (after `eval()`). Units lie along the last axis, samples along all others. Raises
    `TypeError` where the model does not return a Tensor.

    >>> import chainrule as cr
    >>> model = cr.nn.Sequential(cr.nn.Linear(1, 2, rng=0), cr.nn.ReLU())
    >>> model[0].weight.data, model[0].bias.data = [[1.0], [1.0]], [0.0, -9.0]
    >>> print(cr.nn.dead_units(model, [[1.0], [2.0]]))
    after  units  dead  share
    0      2      1     50 %
    """
    require_module("dead_units", model)
    with in_use(model), enable_grad():
        output = model(*inputs)
    if not isinstance(output, Tensor):
        raise TypeError(f"dead_units: the model must return one Tensor, got {describe(output)}")
    names: dict[Node, str] = {parameter: name for name, parameter in model.named_parameters()}
    layers = module_names(model)
    rows = []
    for node in reversed(ancestry(output)):
        if node.op is not None and node.op.name == "relu" and np.ndim(node._raw):
            silent = np.all(np.asarray(node._raw) == 0.0, axis=tuple(range(np.ndim(node._raw) - 1)))
            rows.append(DeadUnits(fed_by(node, names, layers), silent.size, tuple(np.flatnonzero(silent).tolist())))
    return DeadUnitsReport(tuple(rows))


def fed_by(node: Node, names: Mapping[Node, str], layers: set[str]) -> str:
    """The layer of the parameter that is nearest before a node."""
    nearest, seen = [node], {node}
    for each in nearest:  # grows while it is read: the nearer, the sooner
        if each in names:
            return layer_of(names[each], layers)
        for arg in each.args:
            if isinstance(arg, Node) and arg not in seen:
                seen.add(arg)
                nearest.append(arg)
    return "the inputs"


def positive(x: float | None) -> float | None:
    return x if x and math.isfinite(x) else None


def short(x: float | None) -> str:
    return "–" if x is None else f"{x:.3g}"


def percent(x: float | None) -> str:
    return "–" if x is None else f"{100.0 * x:.3g} %"


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in [headings, *rows])
