"""What stands for plain data where a function is recorded, to be run again on other data."""

from __future__ import annotations

from typing import Any

import numpy as np

from .context import Watcher, blocks, watching
from .graph import Node, ancestry
from .primitive import table


def recorder() -> Watcher | None:
    """Who records a function in this thread (or task), if anyone does."""
    watcher = watching() if blocks else None
    return watcher if watcher is not None and watcher.repeats else None


def is_data(x: Any) -> bool:
    """Whether this is plain data, or stands for it where a function is recorded: it depends on no variable."""
    if not isinstance(x, Node):
        return True
    by = recorder()
    return by is not None and all(node in by.data for node in ancestry(x) if node.op is None)


def in_precision(x: Any, dtype: Any) -> Any:
    """Data, or what stands for it, with the precision of what it meets; an array of another library stays one."""
    if not hasattr(x, "dtype"):
        return np.asarray(x, dtype=dtype)
    return x if x.dtype == dtype else table["astype"](x, dtype=dtype)
