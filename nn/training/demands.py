"""What training asks of a loss, of gradients and of data, and the errors where they do not comply."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.autograd import Node, no_grad
from chainrule.autograd.derivative import leaves
from chainrule.autograd.plain import describe

from ..averaging import asked
from ..module import Module, Parameter, in_use
from .data import Batches
from .evaluation import Data, parts_of
from .flow import reached, several, warn_of_strangers
from .metrics import plain

STACK = 10  # calls from a warning out to whoever called fit


def require_number(what: str, x: Any) -> None:
    if not isinstance(x, Node | np.ndarray | np.number | int | float):
        raise TypeError(f"fit: {what} must return a number, got {describe(x)}")
    if np.shape(plain(x)) != ():
        raise ValueError(
            f"fit: {what} must return one number, got shape {np.shape(plain(x))}; reduce it, as with cr.mean"
        )


def require_descendable(total: Any) -> None:
    """A loss must be a number to descend, or an error says why it is none."""
    if not isinstance(total, Node):
        raise TypeError(f"fit: loss must return a node to differentiate, got {describe(total)}")
    if getattr(total._raw, "shape", ()):
        require_number("loss", total)
    if not total.args:
        raise ValueError("fit: loss returned a constant: it depends on no parameter, or was computed under no_grad()")


def is_not_finite(x: Any) -> bool:
    return isinstance(x, Node | np.ndarray | float) and not np.all(np.isfinite(plain(x)))


def not_finite(what: str, x: object, parameters: Sequence[Any]) -> FloatingPointError:
    return FloatingPointError(
        f"{what} is {x}, so nothing was updated. A lower learning rate, clip_norm=, or other initial weights may help"
        + overflow(parameters)
    )


def overflow(parameters: Sequence[Any]) -> str:
    """What is to be said of numbers that are too large, where that is soon the case."""
    half = any(getattr(p.data, "dtype", None) == np.float16 for p in parameters)
    return "; there are parameters in float16, where what is above 65504 overflows: float32 has room" if half else ""


def may_classify(model: Module, loss: Callable[[Any, Any], Any], data: Data) -> bool:
    """Whether the loss brings an accuracy, as the first batch shows; the model keeps no trace.

    An iterable that is somebody's own is not begun just to look: of that it is not known, nor of a batch without samples.
    """
    if not isinstance(data, Batches | Sequence):
        return True
    before = data.state_dict() if isinstance(data, Batches) else {}
    *inputs, target = parts_of(next(iter(data)))
    if isinstance(data, Batches):
        data.load_state_dict(before)
    with in_use(model), no_grad():
        _, result, said = asked(model, loss)(inputs, target)
    return result is None or said.scores is not None


def warn_of_leaves(loss: Node, model: Module, parameters: Sequence[Parameter], batch: Any) -> None:
    """Say what the loss reaches and nobody trains, and what the optimizer holds and nobody uses, as a layer that was replaced."""
    listed = model.parameters()
    data = [x for x in leaves(batch) if isinstance(x, Node)]
    warn_of_strangers("fit", loss, [*listed, *parameters, *data], STACK)
    arrived, own = reached(loss), set(listed)
    if left := [p for p in parameters if p not in own and p not in arrived]:
        warnings.warn(
            f"fit: the optimizer holds {several(left)} that neither the model lists nor the loss reaches. Was a layer replaced "
            "after the optimizer was made? Then make the optimizer anew, or the new layer is not trained",
            stacklevel=STACK,
        )
