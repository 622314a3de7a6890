"""History: what training measured, epoch by epoch, as plain records that can be read, saved and drawn."""

from __future__ import annotations

__all__ = ["History"]

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Node
from chainrule.autograd.optional.extra import new_figure
from chainrule.autograd.plain import describe

Record: TypeAlias = dict[str, float]

SHOWN = 10  # epochs in a repr; from the middle of a longer history some are left out
MOST_NUMBERS = 20  # classes up to which a drawn confusion matrix has its numbers written in


@final
@dataclass(eq=False, repr=False)
class History:
    """One record for each finished epoch: a dict of the epoch's number and what was measured in it.

    `history[-1]` is a record, `history["loss"]` the list of one measurement over all epochs; `len` and iteration are
    over records. `monitor` is the measurement that says which epoch is best, and `best_epoch` its number, from 1;
    `stopped` says why training ended before its last epoch ("early stopping", "callback" or "interrupted"), None where it
    did not; `confusion` counts the validation samples of each class (row) by predicted class (column), for the weights that
    the model ended with.

    >>> import chainrule as cr
    >>> history = cr.nn.History([{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.25}])
    >>> history["loss"], history[-1]["epoch"]
    ([2.5, 1.25], 2)
    >>> history
    epoch  loss
        1   2.5
        2  1.25
    """

    records: list[Record] = field(default_factory=list)
    monitor: str = "loss"
    best_epoch: int | None = None
    stopped: str | None = None
    confusion: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __getitem__(self, key: int | str) -> Any:
        if not isinstance(key, str):
            return self.records[key]
        if key not in self.names:
            raise KeyError(
                f"nothing called {key!r} was measured; there is {', '.join(map(str, self.names)) or 'nothing'}"
            )
        return [record[key] for record in self.records if key in record]

    @property
    def names(self) -> list[str]:
        """What was measured."""
        return list(dict.fromkeys(name for record in self.records for name in record))

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts, lists and numbers, for JSON or a table; NumPy's numbers become Python's."""
        return {
            "records": [{name: as_plain(x) for name, x in record.items()} for record in self.records],
            "monitor": self.monitor,
            "best_epoch": self.best_epoch,
            "stopped": self.stopped,
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> History:
        """The history that `to_dict` made this of. Raises `ValueError` for anything else.

        >>> import chainrule as cr
        >>> history = cr.nn.History([{"epoch": 1, "loss": 2.5}])
        >>> cr.nn.History.from_dict(history.to_dict())["loss"]
        [2.5]
        """
        if not isinstance(state, Mapping) or set(state) != set(cls.__dataclass_fields__):
            raise ValueError(f"History: expected a dict with {list(cls.__dataclass_fields__)}, got {describe(state)}")
        records, best = state["records"], state["best_epoch"]
        if not isinstance(records, list) or not all(map(is_record, records)):
            raise ValueError(f"History: records must be dicts of numbers by name, got {describe(records)}")
        if not (best is None or (isinstance(best, int) and 1 <= best <= len(records))):
            raise ValueError(f"History: best_epoch must be None or one of {len(records)} epochs, got {best!r}")
        confusion = None if state["confusion"] is None else np.array(state["confusion"], dtype=np.int64)
        return cls([dict(record) for record in records], state["monitor"], best, state["stopped"], confusion)

    def plot(self) -> Any:
        """A Matplotlib figure of the losses and, where there is one, the accuracy, over epochs; the best epoch is marked.

        Show it in a notebook, or save it: `history.plot().savefig("history.png")`. Several runs in one figure, or a
        logarithmic axis: `visualize.plot_loss`. Raises `ValueError` without records,
        `ImportError` where Matplotlib is missing.
        """
        if not self.records:
            raise ValueError("plot: no epoch has finished, there is nothing to draw")
        panels = [kind for kind in ("loss", "accuracy") if kind in self.names or f"validation_{kind}" in self.names]
        figure = new_figure("History.plot", 5.5 * len(panels), 4.0)
        for axes, kind in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            self.draw(axes, kind)
        return figure

    def draw(self, axes: Any, kind: str) -> None:
        """The curves of one kind of measurement, over training and validation data."""
        for name, label in (kind, "training"), (f"validation_{kind}", "validation"):
            points = [(record["epoch"], record[name]) for record in self.records if name in record]
            if points:
                axes.plot(
                    *zip(*points, strict=True), marker="o" if len(points) < 20 else None, markersize=4, label=label
                )
        if self.best_epoch is not None:
            axes.axvline(self.best_epoch, color="0.6", linestyle="--", label=f"best: epoch {self.best_epoch}")
        axes.set(xlabel="epoch", ylabel=kind)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()

    def plot_confusion(self, names: Sequence[str] | None = None) -> Any:
        """A Matplotlib figure of the confusion matrix; `names` are those of the classes, by default their numbers.

        A field is as dark as the share of its row. Raises `ValueError` where there is no matrix, `ImportError` where
        Matplotlib is missing.
        """
        if self.confusion is None:
            raise ValueError("plot_confusion: no confusion matrix; fit needs validation data with classes for one")
        n = len(self.confusion)
        names = [str(i) for i in range(n)] if names is None else list(names)
        if len(names) != n:
            raise ValueError(f"plot_confusion: {len(names)} names for {n} classes")
        shares = self.confusion / np.maximum(self.confusion.sum(axis=1, keepdims=True), 1)
        size = min(2.5 + 0.45 * n, 11.0)
        figure = new_figure("History.plot_confusion", size + 0.8, size)
        axes = figure.subplots()
        figure.colorbar(
            axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0), label="share of the true class", shrink=0.8
        )
        axes.set(xlabel="predicted", ylabel="true")
        if n <= MOST_NUMBERS:
            axes.set_xticks(range(n), names, rotation=90 if max(map(len, names)) > 3 else 0)
            axes.set_yticks(range(n), names)
            for (i, j), count in np.ndenumerate(self.confusion):
                axes.text(
                    j, i, count, ha="center", va="center", fontsize=8, color="white" if shares[i, j] > 0.5 else "black"
                )
        return figure

    def __repr__(self) -> str:
        if not self.records:
            return "History(no epoch has finished)"
        names = self.names
        rows = [list(map(str, names))] + [[text(record.get(name)) for name in names] for record in self.records]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
        if len(self.records) > SHOWN:
            lines[1 + SHOWN // 2 : -(SHOWN // 2)] = ["…".rjust(widths[0])]
        if self.stopped:
            lines.append(f"stopped: {self.stopped}" + (f", best epoch {self.best_epoch}" if self.best_epoch else ""))
        return "\n".join(lines)


def is_record(x: Any) -> bool:
    return isinstance(x, dict) and not strays(x)


def strays(record: Mapping[Any, Any]) -> list[Any]:
    """The names of what does not belong in a record: no numbers, or not called by a text."""
    return [
        name
        for name, x in record.items()
        if not (isinstance(name, str) and isinstance(x, int | float | np.integer | np.floating))
    ]


def as_plain(x: Any) -> Any:
    """A number of NumPy's or a variable of one, as callbacks may add them, as Python's; anything else as it is."""
    if isinstance(x, Node):
        x = x._raw
    return x.item() if isinstance(x, np.generic | np.ndarray) and x.ndim == 0 else x


def text(x: Any) -> str:
    """A measurement in a few characters; what a callback added may be anything."""
    return "" if x is None else f"{x:.4g}" if isinstance(x, float | np.floating) else str(x)
