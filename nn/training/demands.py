"""What training asks of a loss, of gradients and of data, and the errors where they do not comply."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Sequence
from types import FrameType
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

FIT = f"{__package__}.fit", "fit"


def require_number(what: str, x: Any) -> None:
    if not isinstance(x, Node | np.ndarray | np.number | int | float):
        raise TypeError(f"fit: {what} must return a number, got {describe(x)}")
    if shape := np.shape(x._raw if isinstance(x, Node) else x):
        raise ValueError(f"fit: {what} must return one number, got shape {shape}; reduce it, as with cr.mean")


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


def require_gradients(parameters: Sequence[Parameter]) -> None:
    if all(p._grad is None for p in parameters):
        raise ValueError("fit: the loss depends on none of the parameters that the optimizer was given")


def require_finite_gradients(model: Module, parameters: Sequence[Parameter]) -> None:
    """Before every update this would cost a small network a twentieth of its time; see `require_finite_weights`."""
    if name := first_not_finite(model, parameters, [p._grad for p in parameters]):
        raise not_finite(f"the gradient of {name}", "not finite, though the loss is", parameters)


def require_finite_weights(model: Module, parameters: Sequence[Parameter], where: str) -> None:
    """A gradient or an update that was not finite leaves weights that are not, and those a loss that is not."""
    if name := first_not_finite(model, parameters, parameters):
        raise FloatingPointError(
            f"fit: {where}: {name} is not finite any more: an earlier gradient was not, or the update made of it, and it "
            "went ahead. With clip_norm= or clip_value= each gradient is looked at before its update, and a lower learning "
            f"rate makes updates smaller{overflow(parameters)}"
        )


def first_not_finite(model: Module, parameters: Sequence[Parameter], found: Sequence[Any]) -> str | None:
    """Which parameter the first of these, one for each parameter, belongs to."""
    wrong = next((p for p, x in zip(parameters, found, strict=True) if is_not_finite(x)), None)
    if wrong is None:
        return None
    names = {id(p): name for name, p in model.named_parameters()}
    return repr(names[id(wrong)]) if id(wrong) in names else "a parameter outside the model"


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


def out_of_fit() -> int:
    """The `stacklevel` of a warning that is to show where `fit` was called: optimizers ask for the loss through many calls or few."""
    frame: FrameType | None = sys._getframe(1)
    level = 2
    while frame is not None and (frame.f_globals.get("__name__"), frame.f_code.co_name) != FIT:
        frame, level = frame.f_back, level + 1
    return level


def warn_of_leaves(loss: Node, model: Module, parameters: Sequence[Parameter], batch: Any) -> None:
    """Say what the loss reaches and nobody trains, and what the optimizer holds and nobody uses, as a layer that was replaced."""
    listed = model.parameters()
    data = [x for x in leaves(batch) if isinstance(x, Node)]
    warn_of_strangers("fit", loss, [*listed, *parameters, *data], out_of_fit() + 1)
    arrived, own = reached(loss), set(listed)
    if left := [p for p in parameters if p not in own and p not in arrived]:
        warnings.warn(
            f"fit: the optimizer holds {several(left)} that neither the model lists nor the loss reaches. Was a layer replaced "
            "after the optimizer was made? Then make the optimizer anew, or the new layer is not trained",
            stacklevel=out_of_fit(),
        )
