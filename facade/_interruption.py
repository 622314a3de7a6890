"""Ctrl-C ends the command line without a word, with the status that shells give it: also while it is being loaded."""

from __future__ import annotations

import os
import signal
import sys

INTERRUPTED = 128 + signal.SIGINT


def at_once(number: int, frame: object) -> None:
    os._exit(INTERRUPTED)  # an exception would be lost, or become another, in what is written in C


def cleanly(number: int, frame: object) -> None:
    on_ctrl_c(clean=False)  # whoever asks twice has no patience left
    sys.exit(INTERRUPTED)


def on_ctrl_c(*, clean: bool) -> None:
    """End the process, and let it first clean up what it has begun, or not."""
    if signal.getsignal(signal.SIGINT) in (signal.default_int_handler, at_once, cleanly):  # else others care for it
        signal.signal(signal.SIGINT, cleanly if clean else at_once)


# What Python loads for `python -m chainrule` before it comes to `__main__` takes most of the time.
if sys.argv[:1] == ["-m"] and sys.orig_argv[-len(sys.argv)] in ("chainrule", "-mchainrule"):
    on_ctrl_c(clean=False)
