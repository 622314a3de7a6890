"""Optimizers: how parameters follow their gradients downhill, in place.

A step marks each parameter as changed, so a graph built before it refuses to be differentiated after it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, final

import numpy as np

from chainrule.autograd import Tensor, Value

from .module import Parameter


class Optimizer(ABC):
    """The base: which parameters, and the learning rate."""

    def __init__(self, parameters: Iterable[Parameter], lr: float) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError(f"{type(self).__name__}: there are no parameters to optimize")
        for p in self.parameters:
            if not isinstance(p, Value | Tensor) or p.op is not None:
                raise TypeError(f"{type(self).__name__}: a parameter must be a leaf Value or Tensor, got {p!r}")
        if len(set(map(id, self.parameters))) < len(self.parameters):
            raise ValueError(f"{type(self).__name__}: a parameter is listed twice, and would be moved twice")
        self.lr = not_negative(type(self).__name__, "lr", lr)
        self.scratch = [np.empty_like(p.data) for p in self.parameters]

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for p in self.parameters:
            p.grad = None

    def step(self) -> None:
        """Move every parameter that has a gradient, in place."""
        for i, p in enumerate(self.parameters):
            g = p.grad
            if g is None:
                continue
            if isinstance(p, Tensor):
                np.subtract(p._data, self.change(i, g), p._data)
            else:
                p._data -= float(self.change(i, g))
            p.touch()

    @abstractmethod
    def change(self, i: int, g: Any) -> Any:
        """What to subtract from parameter i, whose gradient is `g`; may live in the scratch array."""


@final
class SGD(Optimizer):
    """Gradient descent: p ← p - lr * v, with v ← momentum * v + g (as in PyTorch).

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> optimizer = cr.nn.SGD([x], lr=0.1)
    >>> (x**2).backward()
    >>> optimizer.step()
    >>> x.data
    2.4
    """

    def __init__(self, parameters: Iterable[Parameter], lr: float, momentum: float = 0.0) -> None:
        super().__init__(parameters, lr)
        self.momentum = not_negative("SGD", "momentum", momentum)
        self.velocity = [np.zeros_like(p.data) for p in self.parameters] if momentum else []

    def change(self, i: int, g: Any) -> Any:
        if self.momentum:
            v = self.velocity[i]
            v *= self.momentum
            v += g
            g = v
        return np.multiply(g, self.lr, self.scratch[i])


@final
class Adam(Optimizer):
    """Steps of a size that adapts to each element, from running means of g and g² (Kingma & Ba 2015).

    >>> import chainrule as cr
    >>> x = cr.Value(3.0)
    >>> optimizer = cr.nn.Adam([x], lr=0.1)
    >>> (x**2).backward()
    >>> optimizer.step()
    >>> round(x.data, 6)
    2.9
    """

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, lr)
        for name, beta in zip(("betas[0]", "betas[1]"), betas, strict=True):
            if not 0.0 <= beta < 1.0:
                raise ValueError(f"Adam: {name} must lie in [0, 1), got {beta}")
        self.betas, self.eps = betas, not_negative("Adam", "eps", eps)
        self.mean = [np.zeros_like(p.data) for p in self.parameters]
        self.square = [np.zeros_like(p.data) for p in self.parameters]
        self.steps = [0] * len(self.parameters)

    def change(self, i: int, g: Any) -> Any:
        (beta1, beta2), m, s, out = self.betas, self.mean[i], self.square[i], self.scratch[i]
        self.steps[i] += 1
        m *= beta1
        m += np.multiply(g, 1.0 - beta1, out=out)
        s *= beta2
        s += np.multiply(np.square(g, out=out), 1.0 - beta2, out=out)
        correction = math.sqrt(1.0 - beta2 ** self.steps[i])
        np.sqrt(s, out=out)
        out += self.eps * correction
        np.divide(m, out, out=out)
        out *= self.lr * correction / (1.0 - beta1 ** self.steps[i])
        return out


def not_negative(owner: str, name: str, x: float) -> float:
    if not x >= 0.0:
        raise ValueError(f"{owner}: {name} must not be negative, got {x}")
    return x
