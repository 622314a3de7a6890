"""Rounding that hides: where the finest steps agree with each other, because they all fall between two of its jumps.

`(1 - cos(x)) / x` at 1e-5 is `c / x` as long as 1 - cos(x) stays the same float, and that has a smooth slope, of the
wrong sign. What tells rounding from a function that is steep or bends close by is how it ends: looked at ever more
closely, a function grows smooth step by step, and rounding stays as large as it was, and then is gone at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PLACES = (-0.85, 0.4)  # where beside x, in steps: kinks at like distances are at one of them, and rounding at both
NARROW = 2.0**-5  # how far apart points are there, in steps,
POINTS = 8  # and how many
ALL = math.hypot(1, 5, 10, 10, 5, 1)  # what a fifth difference makes of independent errors of size 1
FADING = (
    64.0  # by more than this a fifth difference falls from one step to the next where a function is smooth (by 1024),
)
SINKING = 8.0  # a step at which there is no jump by chance is remembered as no smoother than this
PLAIN = 64.0  # so many times what it may be in results, rounding is looked at more closely
HALVINGS = 14  # of the gap between two places: what jumps there jumps in one of the halves,
TORN = 16.0  # by this share of what it is rough by at least, and what does not jump shrinks by half each time
AT_ONCE = 2.0**15  # and by less than this
WHOLE = 1e-4  # rounding is noticed up to this share of the largest result: beyond, a function is made of jumps


def roughness(at: Callable[[Array], Any], x: Array, h: Array, eps: float) -> tuple[Array, NDArray[np.bool]]:
    """How far rounding inside a function moves its results within each step, or within any larger one; and at which steps
    that is known from larger ones only.

    0 where they are as smooth as their rounding unit `eps` allows. (Differences of high order as a measure of noise:
    Hamming, Introduction to Applied Numerical Analysis, 1971; Moré and Wild, SIAM J. Sci. Comput. 33, 2011.)
    """
    rough, jumping, size = map(np.array, zip(*[around(at, x, h_k) for h_k in h], strict=True))
    sides = [hidden(rough[:, side], jumping[:, side], size[:, side], eps) for side in range(len(PLACES))]
    found = np.nan_to_num(np.fmin(*map(widened, sides)))
    carried = np.maximum.accumulate(found[::-1])[::-1]
    beyond = np.where(carried[1:] > 0, np.nan, np.fmax.reduce(rough, axis=1)[1:])
    gone = np.fmin.reduce(beyond, axis=0) <= WHOLE * np.fmax.reduce(size, axis=(0, 1))
    if np.any(gone & (carried[0] > 0)):
        for i, side in enumerate(sides):
            much = side > PLAIN * 4 * eps * size[:, i]
            first = np.argmax(np.where(np.any(much, axis=0), much, side > 0), axis=0)[None]
            h_first, rough_first = (np.take_along_axis(a, first, 0)[0] for a in (h, side))
            gone &= torn(at, x, h_first, PLACES[i], rough_first) | ~np.any(side > 0, axis=0)
    found, carried = np.where(gone, found, 0.0), np.where(gone, carried, 0.0)
    unseen = (carried > 0) & ~np.logical_or.accumulate(found > 0)
    for k in range(1, len(carried)):
        carried[k] = np.fmax(carried[k], carried[k - 1] / SINKING)  # it does not end with the last jump that was met
    return carried, unseen


def places_at(x: Array, h: Array, place: float) -> Array:
    """Points at like distances: each one is a float, and none a round one, which would be rounded like the next."""
    grid = np.spacing(np.abs(x) + h)
    apart = grid * (2 * np.rint(h * NARROW / grid / 2) + 1)
    return np.asarray((np.rint(place * h / apart) + np.arange(POINTS)[:, None]) * apart)


def around(at: Callable[[Array], Any], x: Array, h: Array) -> tuple[Array, Array, Array]:
    """The largest fifth differences within a step, on both sides; those that change their sign; and the largest results."""
    seen = np.array([[at(t) for t in places_at(x, h, place)] for place in PLACES])
    seen = np.where(np.isfinite(seen), seen, np.nan)
    differences = np.diff(seen, 5, axis=1) / ALL
    alike = np.abs(np.sum(np.sign(differences), axis=1)) == POINTS - 5
    rough = np.max(np.abs(differences), axis=1)
    return rough, np.where(alike, 0.0, rough), np.fmax.reduce(np.abs(seen), axis=1)


def hidden(rough: Array, jumping: Array, size: Array, eps: float) -> Array:
    """Of what is rough at each step on one side, that which is rounding; NaN outside the domain."""
    found = np.full(rough.shape, np.nan)
    nothing = np.zeros(rough.shape[1:])
    going_on, below, lately = nothing > 0, nothing, nothing
    for k in range(len(rough) - 1):
        floor = 4 * eps * size[k]
        going_on = going_on & (rough[k] <= FADING * lately) | (below < np.fmax(rough[k] / AT_ONCE, floor))
        sudden = np.fmax(below, floor) < rough[k] / AT_ONCE
        below = np.nan_to_num(rough[k])
        lately = np.fmax(np.where(sudden, AT_ONCE / FADING, 1.0) * rough[k], lately / SINKING)
        seen = going_on & (jumping[k] > floor) & ~(rough[k] <= rough[k + 1] / FADING)
        found[k] = np.where(seen, rough[k], 0.0 * rough[k])
    return found


def widened(found: Array) -> Array:
    """To the steps before and after each, at which there may be no jump by chance."""
    wide = found.copy()
    wide[1:-1] = np.fmax.reduce([found[:-2], found[1:-1], found[2:]])
    return wide


def torn(at: Callable[[Array], Any], x: Array, h: Array, place: float, rough: Array) -> NDArray[np.bool]:
    """Whether the function jumps there by nearly as much, however closely one looks: a kink or a wave does not."""
    t = places_at(x, h, place)
    t = np.concatenate([t[:-1], (t[:-1] + t[1:]) / 2, t[1:]]).reshape(
        3, POINTS - 1, -1
    )  # of each gap both ends and the middle
    y = np.array([[at(t_i) for t_i in ts] for ts in t])
    widest = np.argmax(np.nan_to_num(bends(y)), axis=0)[None, None]
    t, y = (np.take_along_axis(a, widest, 1)[:, 0] for a in (t, y))
    for _ in range(HALVINGS):
        t = np.array([t[0], (t[0] + t[1]) / 2, t[1], (t[1] + t[2]) / 2, t[2]])
        y = np.array([y[0], at(t[1]), y[1], at(t[3]), y[2]])
        left = bends(y[:3]) > bends(y[2:])
        t, y = (np.where(left, a[:3], a[2:]) for a in (t, y))
    return np.asarray(bends(y) > rough / TORN)


def bends(y: Array) -> Array:
    return np.asarray(np.abs(y[0] - 2 * y[1] + y[2]))
