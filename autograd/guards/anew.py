"""What a layer reads and writes whenever it runs: random numbers and statistics. Where a function is recorded, its code does so too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ..context import blocks, watching


def read_anew(of: Any, read: Callable[[], Any]) -> Any:
    """What `read` gives; where a function is recorded, what stands for it, and is read again in each run.

    `of` is what it is read from, an array or a generator of random numbers, and may be changed by that."""
    watcher = watching() if blocks else None
    return read() if watcher is None else watcher.read_anew(of, read)


def write(into: Callable[..., None], of: Sequence[Any], *xs: Any) -> None:
    """Have `xs` written by `into`, into the arrays `of`; where a function is recorded, in each run."""
    watcher = watching() if blocks else None
    if watcher is None:
        into(*xs)
    else:
        watcher.write(into, of, *xs)
