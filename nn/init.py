"""Initial weights: random, of a size that keeps signals and gradients alike from layer to layer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Seed: TypeAlias = np.random.Generator | int | None
Initializer: TypeAlias = Callable[[np.random.Generator, int, int], NDArray[Any]]


def generator(rng: Seed) -> np.random.Generator:
    """A generator from a seed; a generator is taken as it is, None gives fresh randomness."""
    return np.random.default_rng(rng)


def lecun_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[Any]:
    """Uniform within ±1/√n_in, as PyTorch starts its linear layers."""
    return uniform(rng, n_in, n_out, 1.0 / math.sqrt(max(n_in, 1)))


def xavier_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[Any]:
    """Uniform within ±√(6 / (n_in + n_out)): for tanh and sigmoid (Glorot & Bengio 2010)."""
    return uniform(rng, n_in, n_out, math.sqrt(6.0 / max(n_in + n_out, 1)))


def he_uniform(rng: np.random.Generator, n_in: int, n_out: int) -> NDArray[Any]:
    """Uniform within ±√(6 / n_in): for ReLU and its kin (He et al. 2015)."""
    return uniform(rng, n_in, n_out, math.sqrt(6.0 / max(n_in, 1)))


def uniform(rng: np.random.Generator, n_in: int, n_out: int, limit: float) -> NDArray[Any]:
    return rng.uniform(-limit, limit, (n_out, n_in))
