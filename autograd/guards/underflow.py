"""What underflows is 0, or nearly: the right result, and no error, also where `np.errstate` tells NumPy to raise one.

Whoever does not ask for such errors pays nothing: what raised is computed once more. A context for every operation would cost
as much as the operation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

Result = TypeVar("Result")


def underflowed(error: Exception) -> bool:
    """Whether NumPy may have raised it only because a number underflowed."""
    return isinstance(error, FloatingPointError) and np.geterr()["under"] == "raise"


@np.errstate(under="ignore")
def underflowing(f: Callable[..., Result], *xs: Any, **params: Any) -> Result:
    """What `f` returns where numbers may underflow."""
    return f(*xs, **params)
