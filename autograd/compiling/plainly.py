"""A function whose results are plain data, though variables go in: its code needs no pass back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

from ..context import blocks, repeated
from ..graph import Node
from .arguments import closed, opened
from .kinds import Wrapper


@final
class Plainly(Wrapper):
    """The same function, with the data of nodes in their place; compiled, its results are no nodes either."""

    def __init__(self, f: Callable[..., Any]) -> None:
        self.f, self.__name__ = f, getattr(f, "__name__", type(f).__name__)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        result = self.f(*args, **kwargs)
        return result if blocks and repeated() else plainly(result)


def plainly(x: Any) -> Any:
    if isinstance(x, Node):
        return x._raw
    inside = opened(x)
    return x if inside is None else closed(x, map(plainly, inside))
