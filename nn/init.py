"""Initial weights: random, of a size that keeps signals and gradients alike from layer to layer.

An initializer is a function `(rng, n_in, n_out)` that draws an array of shape (n_out, n_in). Uniform or normal makes
little difference: what matters is the variance, which the two kinds of one rule share. Seeds and sizes, as all
constructors take them, are looked at here too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from chainrule.autograd.guards.settings import is_real, whole
from chainrule.autograd.plain import constant, describe

from .activations import activation_called

Seed: TypeAlias = np.random.Generator | int | None
Initializer: TypeAlias = Callable[[np.random.Generator, int, int], NDArray[Any]]


def generator(rng: Seed, name: str = "rng") -> np.random.Generator:
    """A generator from a seed; a generator is taken as it is, None gives fresh randomness."""
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(rng, int) else TypeError
        raise kind(f"{name} must be a seed, from 0, a NumPy generator or None, got {describe(rng)}") from error


def whole_number(name: str, x: Any, least: int) -> int:
    n = whole(name, x)
    if n < least:
        raise ValueError(f"{name} must be at least {least}, got {n}")
    return n


def whole_numbers(name: str, xs: Any, least: int) -> list[int]:
    if not isinstance(xs, Sequence) and np.ndim(xs) == 0:
        raise TypeError(f"{name} must be a sequence of whole numbers, got {describe(xs)}")
    return [whole_number(f"{name}[{i}]", x, least) for i, x in enumerate(xs)]


def share(name: str, x: Any) -> float:
    if not is_real(x):
        raise TypeError(f"{name} must be a number between 0 and 1, got {describe(x)}")
    if not 0.0 <= x <= 1.0:
        raise ValueError(f"{name} must lie between 0 and 1, got {x}")
    return float(x)


def initializer(draw: Initializer) -> Initializer:
    """The same, where all it is given is looked at."""
    name = draw.__name__

    @wraps(draw)
    def checked(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[Any]:
        sizes = whole_number(f"{name}: n_in", n_in, 0), whole_number(f"{name}: n_out", n_out, 0)
        return draw(generator(rng, f"{name}: rng"), *sizes)

    return checked


@initializer
def lecun_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[Any]:
    """Uniform within ±1/√n_in, as PyTorch starts its linear layers."""
    return uniform(rng, n_in, n_out, 1.0 / math.sqrt(max(n_in, 1)))


@initializer
def xavier_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[Any]:
    """Uniform within ±√(6 / (n_in + n_out)): for tanh and sigmoid (Glorot & Bengio 2010)."""
    return uniform(rng, n_in, n_out, math.sqrt(6.0 / max(n_in + n_out, 1)))


@initializer
def xavier_normal(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[Any]:
    """Normal with variance 2 / (n_in + n_out): for tanh and sigmoid (Glorot & Bengio 2010)."""
    return rng.normal(0.0, math.sqrt(2.0 / max(n_in + n_out, 1)), (n_out, n_in))


@initializer
def he_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[Any]:
    """Uniform within ±√(6 / n_in): for ReLU and its kin (He et al. 2015)."""
    return uniform(rng, n_in, n_out, math.sqrt(6.0 / max(n_in, 1)))


@initializer
def he_normal(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[Any]:
    """Normal with variance 2 / n_in: for ReLU and its kin (He et al. 2015)."""
    return rng.normal(0.0, math.sqrt(2.0 / max(n_in, 1)), (n_out, n_in))


def uniform(rng: np.random.Generator, n_in: int, n_out: int, limit: float) -> NDArray[Any]:
    return rng.uniform(-limit, limit, (n_out, n_in))


INITIALIZERS: dict[str, Initializer] = {
    "lecun_uniform": lecun_uniform,
    "xavier_uniform": xavier_uniform,
    "xavier_normal": xavier_normal,
    "he_uniform": he_uniform,
    "he_normal": he_normal,
}


def initializer_for(activation: str, distribution: str = "uniform") -> Initializer:
    """The initializer that suits an activation: He's for the ReLU family, Xavier's for what saturates or is linear.

    `distribution` is "uniform" or "normal". Raises `ValueError` for a name that is not known.

    >>> import chainrule as cr
    >>> cr.nn.init.initializer_for("relu", "normal").__name__
    'he_normal'
    """
    start = activation_called(activation, "initializer_for").start
    if distribution not in ("uniform", "normal"):
        raise ValueError(f"initializer_for: distribution must be 'uniform' or 'normal', got {distribution!r}")
    return INITIALIZERS[f"{start}_{distribution}"]


def initializer_called(init: Initializer | str) -> Initializer:
    """An initializer by its name; a function is taken as it is."""
    if callable(init):
        return init
    if not isinstance(init, str):
        raise TypeError(f"Linear: init must be a function, or the name of one in nn.init, got {describe(init)}")
    if init not in INITIALIZERS:
        raise ValueError(f"no initializer is called {init!r}; there are {', '.join(sorted(INITIALIZERS))}")
    return INITIALIZERS[init]


def initial_weight(init: Initializer | str, rng: Seed, n_in: int, n_out: int) -> NDArray[Any]:
    """Weights of shape (n_out, n_in), drawn and checked."""
    weight: NDArray[Any] = constant(initializer_called(init)(generator(rng, "Linear: rng"), n_in, n_out), "init")
    if np.shape(weight) != (n_out, n_in):
        raise ValueError(f"init: expected weights of shape (n_out, n_in) = {(n_out, n_in)}, got {np.shape(weight)}")
    if not np.isfinite(weight).all():
        raise ValueError("init: expected finite weights, got NaN or infinite ones")
    return weight
