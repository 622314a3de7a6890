"""Ctrl-C while training: heard at once, obeyed where nothing is half done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Self, final


class Interrupted(Exception):
    """Raised between two batches after Ctrl-C: the epoch under way will not be finished."""


@final
class Interruption:
    """A block in which the first Ctrl-C only sets `asked`, and a second one raises `KeyboardInterrupt` as usual.

    `between_batches`, where nothing is half done, the first one raises `Interrupted` at once: somebody may wait there.
    Only in the main thread, where Python handles signals, and only where Ctrl-C would raise `KeyboardInterrupt` anyway.

    A second Ctrl-C ends the block before it raises, wherever it comes. Whoever opens the block calls `end` once more behind it,
    for what may go wrong while it is entered or left.
    """

    def __init__(self) -> None:
        self.asked = self.between = False

    def __enter__(self) -> Self:
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self.note)
        return self

    def check(self) -> None:
        if self.asked:
            raise Interrupted

    @contextmanager
    def between_batches(self) -> Iterator[None]:
        self.between = True
        try:
            self.check()
            yield
        finally:
            self.between = False

    def note(self, signum: int, frame: FrameType | None) -> None:
        if self.asked:
            self.end()
            raise KeyboardInterrupt
        self.asked = True
        if self.between:
            raise Interrupted

    def end(self) -> None:
        """Put back the handler that was there; if somebody has set another one meanwhile, that one stays."""
        if signal.getsignal(signal.SIGINT) == self.note:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *exception: object) -> None:
        self.end()
