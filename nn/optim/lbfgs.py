"""L-BFGS through SciPy: the parameters as one vector, moved by a line search that asks for the loss as often as it needs."""

from __future__ import annotations

__all__ = ["LBFGS"]

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd import Value
from chainrule.autograd.operators import plain
from chainrule.autograd.optional.extra import extra

from ..module import Parameter
from .optimizer import Group, Optimizer, Parameters, check_keys, not_negative, one_number, positive, require_fit


@final
class LBFGS(Optimizer):
    """Quasi-Newton steps with a line search (Liu & Nocedal 1989), by SciPy's "L-BFGS-B": for smooth, exact losses.

    `step(closure)` makes up to `max_iter` iterations, with up to `max_eval` calls of `closure` (by default 1.25 times
    as many), which computes the loss, calls `backward()` and returns the loss; gradients are cleared beforehand. It
    ends early where no element of the gradient exceeds `tolerance_grad`, or the loss changes by a share of less than
    `tolerance_change`. Curvature is remembered from `history_size` iterations, within one call of `step`.

    The loss at the start is returned, as in PyTorch. If `closure` raises an error, or a loss or gradient is not finite
    (`FloatingPointError`), the parameters are as they were before. Needs SciPy.

    >>> import chainrule as cr
    >>> x = cr.Tensor([3.0, -1.0])
    >>> optimizer = cr.nn.LBFGS([x])
    >>> def closure():
    ...     loss = ((x - 1.0) ** 2).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    8.0
    >>> x.data.round(6)
    array([1., 1.])
    """

    def __init__(
        self,
        params: Parameters,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
    ) -> None:
        self.minimize = extra("scipy.optimize", "train", "LBFGS").minimize
        super().__init__(
            params,
            {
                "max_iter": (positive, max_iter),
                "max_eval": (
                    positive,
                    positive("LBFGS: max_iter", max_iter) * 5 // 4 if max_eval is None else max_eval,
                ),
                "tolerance_grad": (not_negative, tolerance_grad),
                "tolerance_change": (not_negative, tolerance_change),
                "history_size": (positive, history_size),
            },
        )

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        if self.param_groups:
            raise ValueError("LBFGS: all parameters share one line search, so there can be only one group of them")
        super().add_param_group(group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        if closure is None:
            raise TypeError("LBFGS: step() needs a closure that computes the loss, calls backward() and returns it")
        self.look_at_groups()
        group = self.param_groups[0]
        params = group["params"]
        losses: list[Any] = []

        def loss_at(x: NDArray[Any]) -> tuple[float, NDArray[Any]]:
            write(params, x)
            self.zero_grad()
            loss = self.loss_of(closure)
            losses.append(loss)
            return finite(loss, gradient(params))

        before = [copy_of(p) for p in params]
        start = np.concatenate([np.ravel(x) for x in before], dtype=float)
        try:
            with np.errstate(under="ignore"):
                result = self.minimize(
                    loss_at,
                    start,
                    jac=True,
                    method="L-BFGS-B",
                    options={
                        "maxiter": group["max_iter"],
                        "maxfun": group["max_eval"],
                        "gtol": group["tolerance_grad"],
                        "ftol": group["tolerance_change"],
                        "maxcor": group["history_size"],
                    },
                )
                write(params, result.x)
            if result.status == 2 or (result.nfev > 1 and np.array_equal(result.x, start)):
                text = "LBFGS: the line search found no lower loss; is the gradient that of the loss?"
                warnings.warn(text, RuntimeWarning, stacklevel=2)
        except BaseException:
            for p, data in zip(params, before, strict=True):
                p.data = data
            raise
        return losses[0]

    def follow_options(self) -> None:
        pass  # nothing is remembered between steps

    def states(self) -> list[dict[str, Any]]:
        return [{} for _ in self.parameters]

    def checked_states(self, groups: Sequence[Group], states: Mapping[str, Any]) -> dict[str, Any]:
        check_keys("load_state_dict: state", states, [str(i) for i in range(len(self.parameters))])
        for i, state in states.items():
            check_keys(f"load_state_dict: state[{i!r}]", state, ())
        return {}


def copy_of(p: Parameter) -> Any:
    return p.data if isinstance(p, Value) else np.array(plain(p))


def write(params: list[Any], x: NDArray[Any]) -> None:
    """Give each parameter its part of the vector, in place."""
    start = 0
    for p in params:
        part = x[start : start + math.prod(p.shape)].reshape(p.shape)
        start += part.size
        if isinstance(p, Value):
            p.data = part.item()
        else:
            p._raw[...] = part
            p.touch()


def gradient(params: list[Any]) -> NDArray[Any]:
    for p in params:
        require_fit("LBFGS", p)
    parts = [np.zeros(math.prod(p.shape)) if p.grad is None else np.ravel(p.grad) for p in params]
    return np.concatenate(parts, dtype=float)


def finite(loss: Any, g: NDArray[Any]) -> tuple[float, NDArray[Any]]:
    if loss is None:
        raise TypeError("LBFGS: the closure must return the loss")
    found = one_number("LBFGS: the loss that the closure returns", loss)
    if not math.isfinite(found):
        raise FloatingPointError(
            f"LBFGS: the loss became {found}; the parameters are as they were before this step. "
            "Start closer, scale the inputs, or use a loss that cannot overflow."
        )
    if not np.isfinite(g).all():
        raise FloatingPointError(
            "LBFGS: a gradient is not finite, though the loss is; the parameters are as they were before this step."
        )
    return found, g
