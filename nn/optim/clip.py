"""Clipping of gradients, in place, before a step: by their common norm, or each element by itself."""

from __future__ import annotations

__all__ = ["clip_grad_norm", "clip_grad_value"]

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from chainrule.autograd import Tensor, Value
from chainrule.autograd.guards.seals import handed
from chainrule.autograd.recording import in_precision

from ..module import Parameter
from .optimizer import listed, not_negative, number, owner, precision, require_fit

SAFE = (1e-20, 1e30)  # sums of squares that neither overflowed nor lost digits, in float32 as in float64


@np.errstate(all="ignore")
def clip_grad_norm(
    parameters: Iterable[Parameter] | Parameter,
    max_norm: float,
    norm_type: float = 2.0,
    *,
    error_if_nonfinite: bool = False,
) -> float:
    """Scale all gradients by max_norm / (norm + 1e-6) where that is less than 1; the norm before that is returned.

    The norm is that of all gradients as one vector, of order `norm_type` (`math.inf`: the largest magnitude); it does
    not overflow where the gradients do not. Parameters without a gradient are left out. A norm that is infinite or NaN
    scales all the same, as in PyTorch; with `error_if_nonfinite` it raises `FloatingPointError` and changes nothing.

    >>> import chainrule as cr
    >>> w = cr.Tensor([3.0, 4.0])
    >>> (0.5 * w * w).sum().backward()
    >>> cr.nn.clip_grad_norm([w], max_norm=1.0)
    5.0
    >>> w.grad.round(3)
    array([0.6, 0.8])
    """
    holders = having_gradients("clip_grad_norm", parameters)
    max_norm, order = not_negative("clip_grad_norm: max_norm", max_norm), number("clip_grad_norm: norm_type", norm_type)
    if not order > 0.0:
        raise ValueError(f"clip_grad_norm: norm_type must be positive, got {norm_type!r}")
    total = norm_of([norm_of_array(p.grad, order) for p in holders], order)
    if error_if_nonfinite and not math.isfinite(total):
        raise FloatingPointError(f"clip_grad_norm: the norm of the gradients is {total}, so they cannot be clipped")
    factor = max_norm / (total + 1e-6)
    if not factor >= 1.0:
        change(holders, lambda g, out: np.multiply(precise(g), factor, out))
    return total


@np.errstate(all="ignore")
def clip_grad_value(parameters: Iterable[Parameter] | Parameter, limit: float) -> None:
    """Bring every element of every gradient into [-limit, limit].

    >>> import chainrule as cr
    >>> w = cr.Tensor([3.0, 0.1])
    >>> (w * w).sum().backward()
    >>> cr.nn.clip_grad_value([w], 1.0)
    >>> w.grad
    array([1. , 0.2])
    """
    holders = having_gradients("clip_grad_value", parameters)
    limit = not_negative("clip_grad_value: limit", limit)
    change(holders, lambda g, out: np.minimum(np.maximum(g, -limit, out=out), limit, out=out))


def having_gradients(what: str, parameters: Iterable[Parameter] | Parameter) -> list[Parameter]:
    """The parameters that have a gradient, each once; that of none is anything but numbers, or of another shape."""
    if isinstance(parameters, Value | Tensor):
        parameters = [parameters]
    given = listed(what, list(parameters) if isinstance(parameters, set | frozenset) else parameters)
    for p in given:
        if not isinstance(p, Value | Tensor):
            raise TypeError(f"{what}: expected parameters (Values and Tensors), got {p!r}")
        require_fit(what, p)
    return list({id(p): p for p in given if p.grad is not None}.values())


def change(holders: list[Parameter], clipped: Any) -> None:
    """Replace gradients, in place where that is possible; elements that two of them share are changed once.

    So what is computed from views is written after all is computed; and nothing into the memory of a variable.
    """
    data = {id(owner(node._raw)) for reference in list(handed.values()) if (node := reference()) is not None}
    whole: dict[int, Any] = {}
    views = []
    for p in holders:
        g: Any = p.grad
        if not isinstance(g, np.ndarray) or g.dtype.kind != "f" or not g.flags.writeable or id(owner(g)) in data:
            result = clipped(g, None)
            p.grad = float(result) if isinstance(p, Value) else np.asarray(result) if np.isscalar(result) else result
        elif g.base is None:
            whole[id(g)] = g
        else:
            views.append((g, clipped(g, None)))
    for g in whole.values():
        clipped(g, g)
    for g, result in views:
        np.copyto(g, result, casting="same_kind")


def norm_of_array(g: Any, order: float) -> float:
    g = precise(g)
    if order == 2.0 and isinstance(g, np.ndarray) and g.flags.c_contiguous:
        flat = g.reshape(-1)
        total = float(np.dot(flat, flat))
        if SAFE[0] < total < SAFE[1]:
            return math.sqrt(total)
    magnitudes = np.abs(g)
    largest = float(np.max(magnitudes, initial=0.0))
    if order == math.inf or largest == 0.0 or not math.isfinite(largest):
        return largest
    total = float(np.sum((magnitudes / largest) ** order, dtype=float))
    return largest * math.pow(total, 1.0 / order)


def precise(g: Any) -> Any:
    return in_precision(g, precision(g)) if hasattr(g, "dtype") else g


def norm_of(norms: list[float], order: float) -> float:
    return norm_of_array(np.array(norms, float), order)
