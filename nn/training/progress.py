"""What an epoch has seen so far, and who is told: a bar, a line for each epoch where tqdm is missing, or nobody."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from typing import Any, final

import numpy as np

from chainrule.autograd import Node
from chainrule.autograd.optional.extra import extra

from ..averaging import Average, Averaged
from .history import Record, text
from .measures import Whole
from .metrics import Tally

REFRESH = 0.1  # seconds between two updates of the bar
MOST_ASIDE = 64  # batches


class Progress(ABC):
    """Told of each batch and of each finished epoch."""

    @abstractmethod
    def batches(self, n: int, seen: Seen) -> None:
        """So many more batches are done; what the epoch has seen so far."""

    @abstractmethod
    def epoch(self, record: Record) -> None:
        """An epoch is done."""

    @abstractmethod
    def close(self) -> None:
        """Training has ended."""


@final
class Silence(Progress):
    """Shows nothing."""

    def batches(self, n: int, seen: Seen) -> None: ...

    def epoch(self, record: Record) -> None: ...

    def close(self) -> None: ...


@final
class Lines(Progress):
    """A line on stderr for each epoch."""

    def batches(self, n: int, seen: Seen) -> None: ...

    def epoch(self, record: Record) -> None:
        print(line(record), file=sys.stderr, flush=True)

    def close(self) -> None: ...


@final
class Bar(Progress):
    """One tqdm bar over all batches of all epochs, with the averages so far and the last validation."""

    def __init__(self, bar: Any) -> None:
        self.bar, self.waiting, self.due = bar, 0, 0.0
        self.validated: Record = {}

    def batches(self, n: int, seen: Seen) -> None:
        self.waiting += n
        if time.monotonic() >= self.due:
            self.show(seen.epoch, brief(seen.averages()) | self.validated)

    def epoch(self, record: Record) -> None:
        self.validated = {name: x for name, x in record.items() if name.startswith("validation")}
        self.show(int(record["epoch"]), brief(record) | self.validated)

    def show(self, epoch: int, shown: Record) -> None:
        self.bar.set_description_str(f"epoch {epoch}", refresh=False)
        self.bar.set_postfix_str(line(shown), refresh=False)
        self.bar.update(self.waiting)
        self.waiting, self.due = 0, time.monotonic() + REFRESH

    def close(self) -> None:
        self.bar.update(self.waiting)
        self.bar.close()


def brief(record: Record) -> Record:
    return {name: record[name] for name in ("loss", "accuracy") if name in record}


def line(record: Record) -> str:
    return ", ".join(f"{name}={text(x)}" for name, x in record.items())


def progress_of(wanted: bool, done: int, epochs: int, batches: int | None) -> Progress:
    """The way to show epochs `done + 1` to `epochs`, with `batches` in each, where that is known."""
    if not wanted or done >= epochs or sys.stderr is None:  # as under pythonw
        return Silence()
    try:
        tqdm = extra("tqdm.auto", "train", "the progress bar")
    except ImportError:
        return Lines()
    if batches is None:
        return Bar(tqdm.tqdm(unit="batch"))
    return Bar(tqdm.tqdm(total=epochs * batches, initial=done * batches, unit="batch"))


@final
class Seen:
    """What is measured in the course of one epoch of training.

    Quick batches are put aside and looked at together, if their arrays are `lasting`: nobody writes into them later.
    """

    def __init__(self, epoch: int, progress: Progress, whole: Whole, *, lasting: bool) -> None:
        self.epoch, self.progress, self.whole = epoch, progress, whole
        self.batches = self.skipped = 0
        self.loss = Average()
        self.penalty = self.norm = 0.0  # sums over samples and over batches
        self.tally = Tally()
        self.aside: list[tuple[Any, ...]] = []
        self.enough, self.most = 1, MOST_ASIDE if lasting else 1
        self.looked = time.monotonic()

    def add(self, said: Averaged, target: Any, loss: Any, penalty: Any, norm: float, own: bool = False) -> None:
        """One batch; of nodes the data is kept, the graph is not. Scores may be weights, which change: unless they are nobody else's
        `own`, they are copied."""
        self.batches += 1
        _, samples, scores, labels, make, _ = said
        if scores is not None:
            scores = scores if own else raw(scores).copy()
            if labels is not target or type(labels) is not np.ndarray:
                labels = np.array(raw(labels))
        loss = float(loss._raw if isinstance(loss, Node) else loss)
        penalty = float(penalty._raw if isinstance(penalty, Node) else penalty)
        self.aside.append((samples, scores, labels, make, loss, penalty, norm))
        if len(self.aside) >= self.enough:
            self.look()

    def skip(self) -> None:
        """A batch in which nothing counts."""
        self.batches += 1
        self.skipped += 1
        self.progress.batches(1, self)

    def look(self) -> None:
        """Take in what was put aside. Sums grow batch by batch, so that it does not matter when this happens."""
        aside, self.aside = self.aside, []
        if aside:
            self.tally.add([entry[1] for entry in aside], [entry[2] for entry in aside])
            for samples, _, _, make, loss, penalty, norm in aside:
                self.loss.add(loss, samples, make)
                self.penalty += samples * penalty
                self.norm += norm
            self.progress.batches(len(aside), self)
        now = time.monotonic()
        self.enough = min(2 * self.enough, self.most) if now - self.looked < REFRESH / 4 else max(1, self.enough // 2)
        self.looked = now

    def averages(self) -> Record:
        """Over the batches so far; empty while nothing has counted."""
        samples = self.loss.samples
        if not samples:
            return {}
        averages = {"loss": self.loss.value, "penalty": self.penalty / samples}
        accuracy = self.tally.accuracy
        averages |= {} if accuracy is None else {"accuracy": accuracy}
        return averages | {"gradient_norm": self.norm / (self.batches - self.skipped)}


def raw(x: Any) -> Any:
    return x._raw if isinstance(x, Node) else x
