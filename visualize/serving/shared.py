"""What the thread that trains and the threads of browsers tell each other, under one lock.

It knows neither of them: it refers to plain data only, so that neither keeps the other alive.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final

from .drawn import THEMES, Drawn
from .snapshot import Snapshot


@final
class Shared:
    """How training stands, and what browsers want of it. Who changes what they are shown does so in a block of `change`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()  # guards what follows
        self.version = 0
        self.snapshot = Snapshot()
        self.drawings = dict.fromkeys(THEMES, Drawn())
        self.held = self.finished = self.over = False
        self.note = ""
        self.allowed: int | None = None  # updates that may pass; None for all
        self.graph_wanted: set[str] = set()  # themes
        self.telling = 0.0  # seconds that it took to write the newest snapshot
        self.abandoned = False

    @contextmanager
    def change(self) -> Iterator[None]:
        """A block that changes what browsers are shown."""
        with self.changed:
            yield
            self.version += 1
            self.changed.notify_all()

    def abandon(self) -> None:
        """In a forked child: nobody is shown anything, and nobody gives orders."""
        self.changed = threading.Condition()  # the old one may be held by a thread that is not here
        self.allowed, self.abandoned = None, True

    @property
    def status(self) -> str:
        if self.finished:
            return "ended"
        if self.allowed is None:
            return "running"
        return "paused" if self.held else "pausing"
