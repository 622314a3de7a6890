"""The rules by which parameters follow their gradients downhill: PyTorch's names, defaults and formulas.

Each rule is written once, over flat arrays and in place; `p`, `g` are a parameter and its gradient, `a`, `b` scratch.
"""

from __future__ import annotations

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "RMSprop"]

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, final

import numpy as np

from .elementwise import Array, Elementwise, Numbers, Slots
from .optimizer import Group, Parameters, flag, fraction, fractions, not_negative

OPTIONS = itemgetter("lr", "momentum", "dampening", "weight_decay", "nesterov")  # of SGD


@final
class SGD(Elementwise):
    """Gradient descent: p ← p - lr * v, with v ← momentum * v + (1 - dampening) * g.

    The first v is g itself, also where momentum is switched on later; switched off, v is forgotten (PyTorch keeps it).
    `nesterov` takes g + momentum * v for v (Sutskever et al. 2013, as in PyTorch); `weight_decay` adds weight_decay * p to g.

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> optimizer = cr.nn.SGD([x], lr=0.1)
    >>> (x**2).backward()
    >>> optimizer.step()
    >>> x.data
    2.4
    """

    optional = ("momentum_buffer",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": (not_negative, lr),
                "momentum": (not_negative, momentum),
                "dampening": (not_negative, dampening),
                "weight_decay": (not_negative, weight_decay),
                "nesterov": (flag, nesterov),
            },
        )

    def checked(self, given: Any) -> Group:
        group = super().checked(given)
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise ValueError("SGD: nesterov needs a momentum, and no dampening")
        return group

    def slots(self, group: Group) -> Slots:
        return {"momentum_buffer": 0.0} if group["momentum"] else {}

    def coefficients(self, group: Group, t: int) -> Numbers:
        lr, momentum, dampening, decay, nesterov = OPTIONS(group)
        share = None if t == 1 or not dampening else 1.0 - dampening
        return lr, momentum or None, share, decay or None, nesterov

    def update(self, p: Array, g: Array, state: Sequence[Array], a: Array, b: Array, c: tuple[Any, ...]) -> None:
        lr, momentum, share, decay, nesterov = c
        if decay is not None:
            g = np.add(np.multiply(p, decay, a), g, a)
        if momentum is not None:
            (v,) = state
            np.add(np.multiply(v, momentum, v), g if share is None else np.multiply(g, share, b), v)
            g = np.add(np.multiply(v, momentum, b), g, b) if nesterov else v
        np.subtract(p, np.multiply(g, lr, b), p)


class AdaptiveMoments(Elementwise):
    """What Adam and AdamW share: steps m / (√v + eps), with m and v the running means of g and g², corrected for bias."""

    optional = ("max_exp_avg_sq",)

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": (not_negative, lr),
                "betas": (fractions, betas),
                "eps": (not_negative, eps),
                "weight_decay": (not_negative, weight_decay),
                "amsgrad": (flag, amsgrad),
            },
        )

    def slots(self, group: Group) -> Slots:
        means = {"exp_avg": 0.0, "exp_avg_sq": 0.0}
        return {**means, "max_exp_avg_sq": 0.0} if group["amsgrad"] else means

    def coefficients(self, group: Group, t: int) -> Numbers:
        lr, decay, eps = float(group["lr"]), float(group["weight_decay"]), float(group["eps"])
        beta1, beta2 = map(float, group["betas"])
        root = math.sqrt(1.0 - beta2**t)
        size = lr * root / (1.0 - beta1**t)
        means = beta1, 1.0 - beta1, beta2, 1.0 - beta2
        return decay or None, 1.0 - lr * decay, *means, size, eps * root, group["amsgrad"]

    def descend(self, p: Array, g: Array, state: Sequence[Array], b: Array, c: tuple[Any, ...]) -> None:
        _, _, beta1, share1, beta2, share2, size, eps, amsgrad = c
        m, v = state[:2]
        np.add(np.multiply(m, beta1, m), np.multiply(g, share1, b), m)
        np.add(np.multiply(v, beta2, v), np.multiply(np.square(g, b), share2, b), v)
        if amsgrad:
            v = np.maximum(state[2], v, out=state[2])
        np.divide(m, np.add(np.sqrt(v, b), eps, b), b)
        np.subtract(p, np.multiply(b, size, b), p)


@final
class Adam(AdaptiveMoments):
    """Steps of a size that adapts to each element, from running means of g and g² (Kingma & Ba 2015).

    `weight_decay` adds weight_decay * p to g; `amsgrad` divides by the largest mean of g² so far (Reddi et al. 2018).

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> optimizer = cr.nn.Adam([x], lr=0.1)
    >>> (x**2).backward()
    >>> optimizer.step()
    >>> round(x.data, 6)
    2.9
    """

    def update(self, p: Array, g: Array, state: Sequence[Array], a: Array, b: Array, c: tuple[Any, ...]) -> None:
        decay = c[0]
        if decay is not None:
            g = np.add(np.multiply(p, decay, a), g, a)
        self.descend(p, g, state, b, c)


@final
class AdamW(AdaptiveMoments):
    """Adam whose weight decay shrinks p itself, p ← (1 - lr * weight_decay) * p (Loshchilov & Hutter 2019).

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> optimizer = cr.nn.AdamW([x], lr=0.1)
    >>> (x**2).backward()
    >>> optimizer.step()
    >>> round(x.data, 6)
    2.897
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad)

    def update(self, p: Array, g: Array, state: Sequence[Array], a: Array, b: Array, c: tuple[Any, ...]) -> None:
        np.multiply(p, c[1], p)
        self.descend(p, g, state, b, c)


@final
class Adagrad(Elementwise):
    """Steps g / √(sum of all g² so far), so that elements that moved much slow down (Duchi et al. 2011).

    The rate is lr / (1 + (t - 1) * lr_decay) in step t; `weight_decay` adds weight_decay * p to g.

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> optimizer = cr.nn.Adagrad([x], lr=0.1)
    >>> (x**2).backward()
    >>> optimizer.step()
    >>> round(x.data, 6)
    2.9
    """

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": (not_negative, lr),
                "lr_decay": (not_negative, lr_decay),
                "weight_decay": (not_negative, weight_decay),
                "initial_accumulator_value": (not_negative, initial_accumulator_value),
                "eps": (not_negative, eps),
            },
        )

    def slots(self, group: Group) -> Slots:
        return {"sum": group["initial_accumulator_value"]}

    def coefficients(self, group: Group, t: int) -> Numbers:
        lr = float(group["lr"]) / (1.0 + (t - 1) * float(group["lr_decay"]))
        return lr, float(group["weight_decay"]) or None, float(group["eps"])

    def update(self, p: Array, g: Array, state: Sequence[Array], a: Array, b: Array, c: tuple[Any, ...]) -> None:
        lr, decay, eps = c
        (s,) = state
        if decay is not None:
            g = np.add(np.multiply(p, decay, a), g, a)
        np.add(s, np.square(g, b), s)
        np.divide(g, np.add(np.sqrt(s, b), eps, b), b)
        np.subtract(p, np.multiply(b, lr, b), p)


@final
class RMSprop(Elementwise):
    """Steps g / √v, with v ← alpha * v + (1 - alpha) * g² (Tieleman & Hinton 2012).

    `centered` takes the variance of g for v (Graves 2013), `momentum` accumulates the steps, `weight_decay` adds
    weight_decay * p to g.

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> optimizer = cr.nn.RMSprop([x], lr=0.1)
    >>> (x**2).backward()
    >>> optimizer.step()
    >>> round(x.data, 6)
    2.0
    """

    optional = ("grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Parameters,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": (not_negative, lr),
                "alpha": (fraction, alpha),
                "eps": (not_negative, eps),
                "weight_decay": (not_negative, weight_decay),
                "momentum": (not_negative, momentum),
                "centered": (flag, centered),
            },
        )

    def slots(self, group: Group) -> Slots:
        slots = {"square_avg": 0.0}
        if group["centered"]:
            slots["grad_avg"] = 0.0
        if group["momentum"]:
            slots["momentum_buffer"] = 0.0
        return slots

    def coefficients(self, group: Group, t: int) -> Numbers:
        lr, alpha, eps, decay, momentum = (float(group[x]) for x in ("lr", "alpha", "eps", "weight_decay", "momentum"))
        return lr, alpha, 1.0 - alpha, eps, decay or None, momentum or None, group["centered"]

    def update(self, p: Array, g: Array, state: Sequence[Array], a: Array, b: Array, c: tuple[Any, ...]) -> None:
        lr, alpha, share, eps, decay, momentum, centered = c
        s = state[0]
        if decay is not None:
            g = np.add(np.multiply(p, decay, a), g, a)
        np.add(np.multiply(s, alpha, s), np.multiply(np.square(g, b), share, b), s)
        if centered:
            m = state[1]
            np.add(np.multiply(m, alpha, m), np.multiply(g, share, b), m)
            s = np.maximum(np.subtract(s, np.square(m, b), b), 0.0, out=b)  # rounding must not make it negative
        np.divide(g, np.add(np.sqrt(s, b), eps, b), b)
        if momentum is not None:
            v = state[-1]
            b = np.multiply(np.add(np.multiply(v, momentum, v), b, v), lr, b)
        else:
            np.multiply(b, lr, b)
        np.subtract(p, b, p)
