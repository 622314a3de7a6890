"""What a rule gives beside what is numeric: the columns that a verdict is made of, and where two numbers are one.

Which directions are tried, and how far an element is moved, is decided here for an operation alone and for the whole.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from .numeric import SURE, Array, Probe, Slopes
from .operation import SIXTEENTHS
from .report import KINK, NOISY, NOT_FINITE, RIGHT, WORST_FIRST, WRONG, Row

ROUNDING = 2.0**-34  # of a rule at float64, relative to the sum of the sizes of its terms
TELLING = 2.0**-8  # a tolerance above this share of the derivative could hide an error of a percent
ALIKE = 2.0**10  # so many times its size an element is moved at most to be moved like the others
CLOSE = 2.0**-20  # two derivatives that differ by less, relative to their size, deserve a second opinion
VAGUE = 2.0**-3  # with an error beyond this share of itself, a numeric derivative is none
BETWEEN = 1.5  # Taylor's formula leaves something of order 2 with the right derivative, of order 1 with a wrong one
APART = 1e-3  # slopes that differ by more, a little beside, are those of several pieces
ASIDE = 2.0**-16  # so little, relative to each number
ORDERS = 12  # in which equals are told apart, at random
RANDOM = 2  # cotangents, and directions of each kind


def largest(x: Array) -> float:
    return float(np.max(np.abs(x), initial=0.0, where=np.isfinite(x)))


@final
@dataclass(frozen=True, slots=True)
class Compared:
    """Numbers by the rule beside numeric ones, in columns: what a verdict is made of."""

    autograd: Array
    numeric: Array
    error: Array
    low: Array  # between these two a number is right
    high: Array
    left: Array
    right: Array
    kink: NDArray[np.bool]
    size: Array  # the slope of a function that would change by its whole size: the yardstick for "small"
    lost: Array  # what the rule's number may have lost to rounding
    unit: Array  # what to divide by for the derivative itself
    shape: tuple[int, ...] | None = None  # of the argument, if these are its elements

    taylor: Array | None = None  # the order of what Taylor's formula leaves, where somebody asked

    @property
    def tolerance(self) -> Array:
        return self.error + self.lost

    @property
    def close(self) -> NDArray[np.bool]:
        """Where both differ by so little that the numeric side may have misjudged its error."""
        return np.abs(self.autograd - self.numeric) <= CLOSE * np.maximum(np.abs(self.autograd), np.abs(self.numeric))

    def verdicts(self) -> NDArray[Any]:
        tolerance = self.tolerance
        inside = (self.autograd >= self.low - tolerance) & (self.autograd <= self.high + tolerance)
        slope = np.maximum(np.abs(self.autograd), np.abs(self.numeric))
        scale = np.where(self.autograd == 0, np.maximum(slope, self.size), slope)
        vague = (tolerance > TELLING * scale) & (scale > 0)  # where nothing moves at all, there is nothing to tell
        finite = np.isfinite(self.autograd) & (np.isfinite(self.numeric) | self.kink)
        if self.taylor is not None:
            misjudged = ~inside & self.close & (self.taylor > BETWEEN)
            inside, vague = inside | misjudged, vague | misjudged
        return np.select([~finite, ~inside, self.kink, vague], [NOT_FINITE, WRONG, KINK, NOISY], RIGHT)

    def settled_by(self, exact: Array) -> Compared:
        """With the derivative by a complex step, where that says the rule is right."""
        good = ~self.kink & vindicated(exact, self.numeric, self.error, self.autograd, self.lost)
        numeric, low, high, left, right = (
            np.where(good, exact, x) for x in (self.numeric, self.low, self.high, self.left, self.right)
        )
        error = np.where(good, ROUNDING * np.abs(exact), self.error)
        return replace(self, numeric=numeric, error=error, low=low, high=high, left=left, right=right)

    def between(self, beside: Iterable[tuple[Array, Array]]) -> Compared:
        """With the slopes that there are next to it, if these are several: of what is equal, one convention may choose any.

        A derivative is then a mean of those (Clarke's, Optimization and Nonsmooth Analysis, 1983).
        """
        low, high = np.fmin(self.low, self.numeric), np.fmax(self.high, self.numeric)
        for n, (slopes, error) in enumerate(beside):
            low, high = np.fmin(low, slopes - error), np.fmax(high, slopes + error)
            several = high - low > APART * np.fmax(np.abs(low), np.abs(high))
            if n == 1 and not np.any(several):
                return self
        kink = self.kink | several
        low, high, left, right = (
            np.where(several, new, old)
            for new, old in zip((low, high, low, high), (self.low, self.high, self.left, self.right), strict=True)
        )
        return replace(self, kink=kink, low=low, high=high, left=left, right=right)

    def row(self, i: int, verdict: str, row: Row) -> Row:
        """One of the numbers, as a row."""
        unit, kink = float(self.unit[i]), bool(self.kink[i])
        return replace(
            row,
            index=tuple(map(int, np.unravel_index(i, self.shape))) if self.shape else (),
            autograd=float(self.autograd[i]) / unit + 0.0,  # no -0
            numeric=float(self.numeric[i]) / unit + 0.0,
            error=float(self.error[i]) / abs(unit),
            tolerance=float(self.tolerance[i]) / abs(unit),
            verdict=verdict,
            left=float(self.left[i]) / unit + 0.0 if kink else None,
            right=float(self.right[i]) / unit + 0.0 if kink else None,
        )


def vindicated(exact: Any, numeric: Any, error: Any, autograd: Any, lost: Any) -> Any:
    """Whether a complex step gave the rule's own number, and it fits the numeric one, or there is none to speak of.

    Only in this direction is it evidence: a number that is lost in rounding, a complex step does not find either.
    """
    off, size = np.abs(exact - numeric), np.abs(exact)
    fits = off <= np.maximum(SURE * error, CLOSE * size)
    unknown = ~(error < VAGUE * np.abs(numeric))
    return np.isfinite(exact) & (np.abs(exact - autograd) <= lost + ROUNDING * size) & (fits | unknown)


def advice(order: float, verdict: str) -> str:
    """What Taylor's formula says for a verdict, for a note; nothing where it says nothing, or the contrary."""
    says = WRONG if order <= BETWEEN else RIGHT
    return f"Taylor order {order:.1f}: {says}" if math.isfinite(order) and (says == WRONG) == (verdict == WRONG) else ""


def compared(
    probe: Probe,
    found: Slopes,
    g: Array,
    summed: Callable[[Array], Array],
    autograd: Array,
    lost: Array,
    unit: Array,
    shape: tuple[int, ...] | None = None,
) -> Compared:
    """Numbers by the rule beside the slopes of the results, weighted by g and summed to them; and where these do not agree
    or say little, second opinions."""
    part = weighed(found, g, summed, autograd, lost, unit, shape)
    if not np.all(np.isin(part.verdicts(), (RIGHT, KINK))):
        part = part.settled_by(summed(g * probe.by_complex_step()))
    if np.any(part.verdicts() == WRONG):
        part = replace(part, taylor=probe.taylor_order(part.autograd, lambda y: summed(g * y)))
    return part


def weighed(
    found: Slopes,
    g: Array,
    summed: Callable[[Array], Array],
    autograd: Array,
    lost: Array,
    unit: Array,
    shape: tuple[int, ...] | None = None,
) -> Compared:
    """Numbers by the rule beside the slopes of the results, weighted by g and summed to them."""
    left, right = g * found.left, g * found.right
    return Compared(
        autograd,
        summed(g * found.value),
        summed(np.abs(g) * found.error),
        summed(np.minimum(left, right)),
        summed(np.maximum(left, right)),
        summed(left),
        summed(right),
        summed(np.where(found.kink & (g != 0), 1.0, 0.0)) > 0,
        summed(np.abs(g) * found.size),
        lost,
        unit,
        shape,
    )


def summed_up(row: Row, parts: Sequence[Compared], zero_rule: bool, dead: NDArray[np.bool]) -> Row:
    """The comparison that says most, as a row: the worst, or if all are accepted, the one that differs most."""
    candidates = []
    for n, part in enumerate(parts):
        verdicts = part.verdicts()
        unseen = dead.reshape(-1) if dead.shape == part.shape else np.all(dead)
        verdicts = np.where((verdicts == NOT_FINITE) & unseen, RIGHT, verdicts)  # there it reaches nobody
        if zero_rule:  # it promises nothing where there is no slope
            verdicts = np.where(verdicts == WRONG, WRONG, RIGHT)
        bad = np.nan_to_num(np.abs(part.autograd - part.numeric) / (part.tolerance + np.finfo(float).tiny))
        for verdict in set(verdicts.tolist()):
            i = int(np.argmax(np.where(verdicts == verdict, bad, -1.0)))
            candidates.append((rank(verdict), -float(bad[i]), n, i, verdict))
    if not candidates:
        return replace(row, autograd=0.0, numeric=0.0, error=0.0, tolerance=0.0, verdict=RIGHT, note="empty")
    *_, n, i, verdict = min(candidates)
    return parts[n].row(i, verdict, row)


def rank(verdict: str) -> int:
    """What is right in one place is not too noisy as a whole."""
    return len(WORST_FIRST) if verdict == NOISY else WORST_FIRST.index(verdict)


def directions(
    xs: dict[int, Array], rng: np.random.Generator, kinds: Sequence[bool] = (True, False)
) -> Iterator[tuple[dict[int, Array], float]]:
    """Random directions, and of which size a step along them is to be thought: such as move every element in proportion
    to its size, and such as move all alike, as far as one step can suit them all."""
    high = largest_of(xs)
    for _ in range(RANDOM):
        for in_proportion in kinds:
            v = {}
            for place, x in xs.items():
                sizes = relative(x, high)
                v[place] = rng.choice(SIXTEENTHS, x.shape) * (
                    sizes if in_proportion else np.minimum(1.0, ALIKE * sizes)
                )
            yield v, high


def asides(xs: Sequence[Array], rng: np.random.Generator) -> Iterator[list[Array]]:
    """A little beside, every element by another share of its size: the later by more, by less, and at random."""
    ends = np.cumsum([0, *[x.size for x in xs]])
    orders = [np.arange(ends[-1]), np.arange(ends[-1])[::-1], *[rng.permutation(ends[-1]) for _ in range(ORDERS)]]
    for order in orders:
        share = ASIDE * (1.0 + order) / (1.0 + ends[-1])
        parts = [share[i:j].reshape(x.shape) for x, i, j in zip(xs, ends[:-1], ends[1:], strict=True)]
        yield [
            x + part * np.where(x == 0, min(largest(x) or 1.0, 1.0), np.abs(x))
            for x, part in zip(xs, parts, strict=True)
        ]


def largest_of(xs: dict[int, Array]) -> float:
    return max(map(largest, xs.values()), default=0.0)


def relative(x: Array, high: float) -> Array:
    """The sizes of elements beside that of the largest of all; of a 0, that of a number of size 1, if so large."""
    whole = power_of_two(np.array(high)) if high else np.array(1.0)
    return np.asarray(np.where((x != 0) & np.isfinite(x), power_of_two(x), np.minimum(whole, 1.0)) / whole)


def power_of_two(x: Array) -> Array:
    """The largest one not above |x|."""
    return np.asarray(np.ldexp(1.0, np.frexp(x)[1] - 1))


def single(xs: dict[int, Array], i: int) -> tuple[dict[int, Array], float]:
    """The direction of one element, counted through all, and where it is."""
    for place, x in xs.items():
        if i < x.size:
            return {place: unit(x.shape, i)}, float(x.reshape(-1)[i])
        i -= x.size
    raise IndexError(i)


def unit(shape: tuple[int, ...], i: int) -> Array:
    v = np.zeros(shape)
    v.reshape(-1)[i] = 1.0
    return v


def some(count: int, sample: int | None, rng: np.random.Generator) -> list[int]:
    """All places, or so many at random."""
    if sample is None or count <= sample:
        return list(range(count))
    return sorted(rng.choice(count, sample, replace=False).tolist())


def summed_to(x: Array, shape: tuple[int, ...]) -> Array:
    """The sum over the axes along which something of this shape was repeated."""
    if x.shape == shape:
        return x
    x = x.sum(axis=tuple(range(x.ndim - len(shape))))
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and x.shape[i] != 1)
    return np.asarray(x.sum(axis=repeated, keepdims=True))
