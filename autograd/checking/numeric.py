"""Numeric derivatives with error estimates: what the table of derivatives is compared with, knowing nothing of it.

A function is sampled symmetrically around a point, at steps from far too small to far too large. Small steps suffer
from rounding, large ones from curvature; extrapolation, and agreement among the steps, pick the best and say how good
it is. Nothing here knows of nodes.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from .roughness import roughness

EPS = float(np.finfo(float).eps)
LEAST = float(np.finfo(float).smallest_subnormal)  # by which everything is rounded, at least
RATIO = 4  # of one step to the next
UNEVEN = math.sqrt(1.5)  # by which the steps miss the powers of two
COLUMNS = 6  # of the extrapolation tableau; each removes one more even power of the step
COARSE = 1e-4  # rounding inside a function, relative to its result, is noticed up to this size
GRAIN = 2.0**-40  # and if all moves are multiples of one, whatever the result, up to this share of the largest step;
MULTIPLES = 3  # of so many moves at least,
PARTS = 12  # the first of which may be a few grains itself
CLOSELY = 2.0**-16  # to whole numbers
NOISE_STEPS = 4  # that many smallest steps show the rounding noise of the function itself
SURE = 4.0  # so many times their errors apart, two slopes are two
CORNER = 1e-5  # and so far relative to themselves
UPRIGHT = 6  # that many smallest steps show a slope that grows without end,
STEEPER = 1.3  # each by at least so much,
LEVEL = 0.99  # while the move itself does not shrink
BLURRED = 2.0**-6  # where x, rounded, changes a slope by that share, no more than its size is known
HASHED = 2.0**-7  # where the finest moves differ by such a share of the results, no step tells anything
SETTLED = 2.0**-20  # an error up to this share of a slope needs no finer steps,
IMAGINARY = 2.0**-80  # a complex step, relative to x
FADING = 16.0  # rounding does not fall faster than this from one step to a smaller one, and what bends does
FLOOR = 4.0  # so many times what may be rounding, something else remains
GLANCE = UNEVEN * 2.0 ** np.array([[-15], [-13], [-11]])  # three steps for a number of size 1
GLANCE_BENDS = (
    64  # less a function bends over the first of them than over the last: by 256 where it is smooth, by 16 not
)
INSIDE = 4  # if that many smallest steps stay inside the domain on both sides

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A derivative, a bound that its error is expected to keep, and the share of rounding in that bound.

    Where the slopes from the left and from the right differ, beyond their own errors, those two are known as well.
    """

    value: float
    error: float
    rounding: float
    kink: tuple[float, float] | None = None  # left, right; infinite beside a jump
    # The slope of a function that would change all along as it did most, over the largest step: the yardstick for "small".
    size: float = 0.0


@dataclass(frozen=True, slots=True)
class Slopes:
    """The derivatives of several results along one line: an `Estimate` in columns."""

    value: Array
    error: Array
    rounding: Array
    left: Array  # equal to `right` but at a kink
    right: Array
    kink: NDArray[np.bool]
    size: Array  # as there, the yardstick for "small"

    def columns(self) -> tuple[NDArray[Any], ...]:
        return self.value, self.error, self.rounding, self.left, self.right, self.kink, self.size

    def item(self) -> Estimate:
        kink = (float(self.left[0]), float(self.right[0])) if self.kink[0] else None
        return Estimate(float(self.value[0]), float(self.error[0]), float(self.rounding[0]), kink, float(self.size[0]))


def derivative(f: Callable[[float], float], x: float, eps: float = EPS, noise: float = 0.0) -> Estimate:
    """The derivative of `f`, a function of one number, at `x`, with an error estimate.

    Central differences over a ladder of steps, extrapolated to step 0 (Richardson; the tableau and its error estimate
    as in Ridders, Adv. Eng. Software 4, 75-76, 1982). Of all entries it takes the one of least error among those that
    agree with every smaller step within both errors (Lepski's rule), so a step that reaches over a kink or past a
    narrow peak is found out. `eps` is the rounding unit of `f`'s result; `noise`, where more is known, how far rounding
    inside `f` may have moved it. One-sided differences, extrapolated likewise, tell a kink from a slope; at the edge of
    the domain the one side that there is counts.

    A trial step at which `f` is not finite, or raises `ValueError` or `ArithmeticError`, has left its domain: it and
    larger steps are not used. Where no step is left, value is NaN. Where `f` takes complex numbers too, and a complex step
    gives the same within the error, its digits count: all of them are right.

    >>> import math
    >>> from chainrule.autograd.checking.numeric import derivative
    >>> estimate = derivative(math.exp, 1.0)
    >>> abs(estimate.value - math.e) <= estimate.error < 1e-11
    True
    >>> derivative(abs, 0.0).kink
    (-1.0, 1.0)
    """

    with np.errstate(all="ignore"):
        probe = of_number(f, x, eps, noise)
        found = probe.slopes().item()
        exact = float(probe.by_complex_step()[0])
        return replace(found, value=exact) if abs(exact - found.value) <= found.error else found


def of_number(f: Callable[[Any], Any], x: float, eps: float, noise: float, opaque: bool = True) -> Probe:
    """A function of one number, at x."""
    return Probe(np.array([x]), lambda t: np.array([trial(f, x + t[0].item())]), eps, noise, opaque=opaque)


def steps(x: Array, finest: bool = False) -> Array:
    """Steps, smallest first, between what each x can well resolve and what its size, or 1, suggests.

    One column for each x, ended by NaN where others need more. They are no powers of two: so the rounding is another at
    every step, and shows. The `finest` begin with what x can resolve at all: with some noise, and close to singularities.
    """
    size = np.where(x == 0, 2.0**-10, np.abs(x))
    smallest = np.maximum(np.minimum(size, 1.0) * 2.0 ** (-50 if finest else -30), 4 * np.spacing(np.abs(x)))
    first = np.frexp(smallest)[1]
    last = np.maximum(np.frexp(np.maximum(size, 1.0))[1] - 3, first + 2)
    stride = int(math.log2(RATIO))
    exponents = first + stride * np.arange(1 + int(np.max(last - first, initial=2)) // stride)[:, None]
    return np.where(exponents <= last, np.ldexp(UNEVEN, exponents), np.nan)


def trial(f: Callable[[Any], Any], x: float | complex) -> Any:
    try:
        return f(x)
    except (ArithmeticError, ValueError):
        return math.nan
    except TypeError:
        if isinstance(x, complex):  # it takes real numbers only
            return math.nan
        raise


@final
@dataclass(frozen=True, slots=True)
class Probe:
    """What moves along a line, by a step for each column: functions of one number each, or several of the same number.

    With `exact`, x is where each of them stands, and a step counts as it is rounded there; else x only says what steps
    are suitable. Where the function is not `opaque`, `noise` says all of what is rounded inside.
    """

    x: Array
    at: Callable[[Any], Any]  # steps, real or imaginary -> results; NaN outside the domain
    eps: float = EPS  # the rounding unit of the results
    noise: float = 0.0
    exact: bool = True
    opaque: bool = True

    def slopes(self) -> Slopes:
        """From the usual steps, or where those settle nothing, as next to a singularity, from the finest."""
        here = self.at(np.zeros(self.x.shape))
        shaken = SURE * EPS * np.abs(self.x)
        h = steps(self.x)
        right, left = self.samples(h)
        found = slopes(here, right, left, *self.moves(h), self.eps, self.noise, shaken)
        inside = np.all(np.isfinite(right[:INSIDE]) & np.isfinite(left[:INSIDE]), axis=0)
        settled = inside & ~found.kink & (found.error <= SETTLED * np.fmax(np.abs(found.value), found.size))
        settled &= ~self.doubtful(h, right, left)
        settled |= (found.size == 0) & inside
        if np.all(settled):
            return found
        h = steps(self.x, finest=True)
        right, left = self.samples(h)
        rough, unseen = (
            roughness(self.at, self.x, h, self.eps) if np.any(self.doubtful(h, right, left)) else (0.0, False)
        )
        finer = slopes(here, right, left, *self.moves(h), self.eps, self.noise, shaken, rough, unseen)
        return Slopes(*(np.where(settled, old, new) for old, new in zip(found.columns(), finer.columns(), strict=True)))

    def doubtful(self, h: Array, right: Array, left: Array) -> NDArray[np.bool]:
        """Whether larger steps contradict smaller ones by more than a bend would, which fades faster than that."""
        if not self.opaque:
            return np.zeros(self.x.shape, bool)
        ahead, behind = self.moves(h)
        rough = extrapolated((right - left) / (ahead + behind), 1, power=2)
        jitter = finite(np.abs(rough[1:] - rough[:-1]) * h[:-2])
        seen = 4 * self.eps * np.fmax.accumulate(np.fmax(np.abs(right), np.abs(left)))[:-3] + LEAST
        doubts = jitter[:-1] > jitter[1:] / FADING
        first = np.max(np.where(doubts, jitter[:-1], 0.0)[:NOISE_STEPS], axis=0, initial=0.0)
        return np.asarray(np.any(doubts & (jitter[:-1] > SURE * np.fmax(seen, first)), axis=0))

    def at_a_glance(self, here: Any) -> Slopes | None:
        """The derivatives from three steps only, where they leave no doubt of any; `here` are the results at x."""
        h = np.fmax(np.abs(self.x), 1.0) * GLANCE
        right, left = self.samples(h)
        ahead, behind = self.moves(h)
        rough = extrapolated((right - left) / (ahead + behind), 1, power=2)
        value = extrapolated(rough, 2, power=2)[0]
        size, bend = np.max(np.abs(right), axis=0), np.abs(right + left - 2 * here)
        noise = np.fmax(4 * self.eps * size + LEAST, self.noise)
        error = np.max(np.abs(rough - value), axis=0) + noise / h[0]
        smooth = bend[0] <= bend[-1] / GLANCE_BENDS + SURE * noise  # at a kink a shorter step bends too much
        good = smooth & (error <= np.fmax(SETTLED * np.abs(value), SURE * noise / h[0]))
        if not np.all(good):
            return None
        moved = largest_move(here, right, left) / h[-1]
        flat = ~(moved > SURE * noise / h[-1])
        if np.any(flat):  # perhaps they do further away
            h_most = np.ldexp(UNEVEN, np.frexp(np.fmax(np.abs(self.x), 1.0))[1] - 3)[None]
            moved = np.where(flat, largest_move(here, *self.samples(h_most)) / h_most[0], moved)
        return Slopes(value, error, noise / h[0], value, value, np.zeros(value.shape, bool), moved)

    def samples(self, h: Array) -> tuple[Array, Array]:
        """The results to the right and to the left."""
        return np.array([self.at(h_k) for h_k in h]), np.array([self.at(-h_k) for h_k in h])

    def moves(self, h: Array) -> tuple[Array, Array]:
        """By how much x + h is more than x, and x - h less."""
        return ((self.x + h) - self.x, self.x - (self.x - h)) if self.exact else (h, h)

    def by_complex_step(self) -> Array:
        """The derivatives from one imaginary step, exact to rounding; NaN where the function takes none.

        Nothing is subtracted, so the step may be as small as one likes. Only where the function is analytic is this the
        derivative: compare it with another. (Squire and Trapp, SIAM Review 40, 110-112, 1998.)
        """
        h = np.where(self.x == 0, 2.0**-10, np.abs(self.x)) * IMAGINARY
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)  # then it is a real number that comes back
            moved = self.at(1j * h)
        return np.asarray(moved.imag / h if np.iscomplexobj(moved) else np.full(np.shape(moved), np.nan))

    def taylor_order(self, slope: Array, total: Callable[[Array], Array]) -> Array:
        """With which power of the step |f(x + h) - f(x) - h slope| falls, f being the `total` of the results.

        That is 2 for the right slope, infinity if nothing remains, and 1 for a wrong one. It is found at the smallest
        steps at which something else than rounding remains; NaN where there are too few.
        """
        h = steps(self.x)
        here = total(self.at(np.zeros(self.x.shape)))
        orders = []
        for sign, side, move in zip((1.0, -1.0), self.samples(h), self.moves(h), strict=True):
            if move.shape[1] not in (1, len(slope)):
                return np.full(len(slope), np.nan)
            moved = np.array([total(y) for y in side])
            remainder = np.abs(moved - here - sign * move * slope)
            orders.append(order_of(remainder, 4 * self.eps * np.fmax.accumulate(np.abs(moved))))
        return np.fmin(*orders)


def order_of(remainder: Array, rounding: Array) -> Array:
    """The power with which it falls, between the first step at which it is not rounding and two steps later."""
    floor = np.fmax(rounding, np.max(remainder[:2], axis=0))
    seen = remainder > FLOOR * floor
    first = np.argmax(seen, axis=0)
    last = np.minimum(first + 2, len(remainder) - 1)
    low, high = (np.take_along_axis(remainder, k[None], 0)[0] for k in (first, last))
    order = np.log(high / low) / np.log(RATIO) / np.maximum(last - first, 1)
    return np.where(np.any(seen, axis=0), np.where(last - first == 2, order, np.nan), np.inf)


def slopes(
    here: Array,
    right: Array,
    left: Array,
    ahead: Array,
    behind: Array,
    eps: float,
    noise: Any = 0.0,
    shaken: Any = 0.0,
    rough: Any = 0.0,
    unseen: Any = False,
) -> Slopes:
    """From samples at x, at x + `ahead` and at x - `behind`: one step a row, one result a column.

    x itself counts as known up to `shaken`: a function may round it, and stands a little beside, with the slope there.
    """
    sizes = np.fmax(np.abs(right), np.abs(left))
    found_noise = np.fmax(noise, noise_of(right - left, sizes, ahead, eps, rough, unseen, power=2))
    bend = finite(np.abs((right - here) / ahead - (here - left) / behind) / ahead)
    differences = (right - left) / (ahead + behind)
    first = differences[0]
    central = best(differences, found_noise / ahead + bend * shaken, power=2)
    before, after, sides = one_sided(here, right, left, ahead, behind, eps, noise, rough, unseen)
    value, error, rounding = central
    for side in sides:
        edge = np.isnan(value) & np.isfinite(side[0])  # the other side is outside the domain
        value, error, rounding = (np.where(edge, own, x) for own, x in zip(side, (value, error, rounding), strict=True))
    blurred = (bend * shaken)[0] > BLURRED * np.abs(first)
    blurred &= bend[0] * ahead[0] > SURE * 4 * (eps * sizes[0] + at_first(rough)) / ahead[0]  # which is no noise
    error = np.where(blurred, np.fmax(error, np.abs(first)), error)
    moves = (right - left)[:NOISE_STEPS]
    jumps = np.abs(moves[1:] - moves[:-1])  # from float to float, by all that it is
    error = np.where(np.min(jumps, axis=0) > sizes[min(2 * NOISE_STEPS, len(sizes) - 1)] * HASHED, np.inf, error)
    apart = sides[0][1] + sides[1][1]
    jump = np.isinf(before) & (before == after) & level(here - left) & level(right - here)
    if np.any(jump):  # the result here stands alone: it counts how the left goes on, and the jump over to the right
        beyond, unsure = past_a_jump(left, behind, eps, noise, rough, unseen)
        before, apart = np.where(jump, 0.0 - beyond, before), np.where(jump, unsure, apart)
    gap = np.abs(after - before)
    between = np.abs(2 * value - before - after) <= gap / 2 + apart + error  # halfway, but for what bends
    corner = between & (gap > CORNER * np.fmax(np.abs(before), np.abs(after)))
    kink = (gap > SURE * apart) & (corner | np.isinf(gap))
    endless = np.isinf(before) | np.isinf(after)
    value, error = np.where(endless, np.nan, value), np.where(kink, apart, np.where(endless, np.inf, error))
    size = largest_move(here, right, left) / np.fmax.reduce(ahead, axis=0)
    return Slopes(value, error, rounding, np.where(kink, before, value), np.where(kink, after, value), kink, size)


def finite(x: Array) -> Array:
    return np.asarray(np.where(x < np.inf, x, 0.0))


def at_first(rough: Any) -> Any:
    return rough[0] if np.ndim(rough) else rough


def largest_move(here: Any, right: Array, left: Array) -> Array:
    return np.asarray(np.fmax.reduce(np.fmax(np.abs(right - here), np.abs(left - here)), axis=0, initial=0.0))


def one_sided(
    here: Array,
    right: Array,
    left: Array,
    ahead: Array,
    behind: Array,
    eps: float,
    noise: Any,
    rough: Any,
    unseen: Any,
) -> tuple[Array, Array, list[tuple[Array, Array, Array]]]:
    """The slopes before and after, and again with error and rounding; both in one go, as columns side by side."""
    moves = np.concatenate([here - left, right - here], axis=1)
    h = np.concatenate([np.broadcast_to(step, right.shape) for step in (behind, ahead)], axis=1)
    sizes = np.fmax(np.concatenate([np.abs(left), np.abs(right)], axis=1), np.tile(np.abs(here), 2))
    noise = np.tile(np.broadcast_to(noise, here.shape), 2)
    rough, unseen = (np.tile(x, 2) if np.ndim(x) else x for x in (rough, unseen))
    found_noise = np.fmax(noise, noise_of(moves, sizes, h, eps, rough, unseen, power=1))
    steep = upright(moves, np.fmax(COARSE * sizes[0], SURE * np.fmax(noise, at_first(rough))))
    value, error, rounding = best(moves / h, 2 * found_noise / h, power=1)
    value, error = np.where(steep, np.copysign(np.inf, moves[0]), value), np.where(steep, 0.0, error)
    sides = list(zip(*(np.split(x, 2) for x in (value, error, rounding)), strict=True))
    return sides[0][0], sides[1][0], sides


def noise_of(moves: Array, sizes: Array, h: Array, eps: float, rough: Any, unseen: Any, power: int) -> Array:
    """How much rounding may have moved the samples: by the type of the result, by what the smallest steps show, and where
    it is known that there is some inside the function, by what all steps show."""
    size = np.fmax.accumulate(sizes)
    slope = extrapolated(moves / h, 1, power)  # so that curvature does not pass for noise
    jitter = np.zeros(moves.shape)
    jitter[:-2] = finite(np.abs(slope[1:] - slope[:-1]) * h[:-2])
    jitter[:-1] *= jitter[:-1] > jitter[1:] / FADING  # the others only show that it bends
    shown: Any = np.max(jitter[:NOISE_STEPS], axis=0, initial=0.0)
    if np.any(unseen):  # at each step, what is shown by all larger ones
        later = np.where(unseen, jitter, 0.0)[::-1]
        shown = np.fmax(np.fmax(shown, rough), np.maximum.accumulate(later)[::-1])
    elif np.any(rough):
        shown = np.fmax(shown, rough)
    return np.asarray(np.fmax(np.fmax(4 * eps * size + LEAST, 4 * shown), grain_of(moves, size, h)))


def grain_of(moves: Array, size: Array, h: Array) -> Array:
    """The grain on which results lie that round coarsely inside: they stand still at first, then take a small step."""
    if np.all(moves[0] != 0):
        return np.zeros(())
    first = np.argmax(moves != 0, axis=0)[None]
    grain = np.abs(np.take_along_axis(moves, first, 0))
    parts = PARTS * np.nan_to_num(moves / grain)
    multiples = np.all(np.abs(parts - np.rint(parts)) < CLOSELY, axis=0) & (np.sum(moves != 0, axis=0) >= MULTIPLES)
    leftover = multiples & (grain <= GRAIN * np.fmax.reduce(h, axis=0))  # 1 - p, say, of a probability near 1
    small = leftover | (grain < GRAIN * np.take_along_axis(size, first, 0))
    return np.where((first > 0) & small, grain, 0.0)


def extrapolated(column: Array, j: int, power: int) -> Array:
    """The next column of the tableau: of two neighbours, what remains without the error of order `power`·j."""
    better: Array = column[:-1] + (column[:-1] - column[1:]) / (RATIO ** (power * j) - 1)
    return better


def best(differences: Array, rounding: Array, power: int) -> tuple[Array, Array, Array]:
    """The entry of least error in the tableau that no smaller step contradicts, with its error and rounding."""
    usable = np.logical_and.accumulate(np.isfinite(differences))
    column = np.where(usable, differences, np.nan)
    jumps = np.zeros((len(column) + 1, *column.shape[1:]))
    jumps[1:-1] = np.fmax(np.abs(column[1:] - column[:-1]), 0.0)  # NaN is no jump
    reach = rounding + np.maximum(jumps[:-1] / 2, jumps[1:])  # half: at an upright tangent slopes double
    lowest, highest = np.maximum.accumulate(column - reach), np.minimum.accumulate(column + reach)
    entries: list[Array] = []
    errors: list[Array] = []
    rows: list[int] = []
    for j in range(1, min(COLUMNS, len(differences))):
        previous, column = column, extrapolated(column, j, power)
        entries.append(column)
        errors.append(np.maximum(np.abs(column - previous[:-1]), np.abs(column - previous[1:])))
        rows += range(len(column))
    tableau, its_rounding = np.concatenate(entries), rounding[rows]
    error = np.concatenate(errors) + its_rounding
    agrees = (tableau + error >= lowest[rows]) & (tableau - error <= highest[rows])
    error = np.where(agrees, error, np.inf)
    k = np.argmin(error, axis=0), np.arange(error.shape[1])
    found = np.isfinite(error[k])
    return np.where(found, tableau[k], np.nan), error[k], np.where(found, its_rounding[k], np.inf)


def upright(moves: Array, noise: Array) -> NDArray[np.bool]:
    """Whether a slope on one side only grows as the step shrinks: at a jump, or at an upright tangent.

    There the smallest steps move the result by as much again or by a little more each, which noise hardly ever does.
    """
    ratios = moves[1:UPRIGHT] / moves[: UPRIGHT - 1]
    found: NDArray[np.bool] = np.all((ratios > LEVEL) & (ratios < RATIO / STEEPER), axis=0) & (np.abs(moves[0]) > noise)
    return found


def level(moves: Array) -> NDArray[np.bool]:
    """Whether the smallest steps all move the result by the same: over a jump."""
    found: NDArray[np.bool] = np.all(np.abs(moves[1:UPRIGHT] / moves[: UPRIGHT - 1] - 1.0) < 1.0 - LEVEL, axis=0)
    return found


def past_a_jump(side: Array, h: Array, eps: float, noise: Any, rough: Any, unseen: Any) -> tuple[Array, Array]:
    """The slope of one side away from x, without x itself, and its error."""
    moves, steps = side[1:] - side[0], h[1:] - h[0]
    rough, unseen = (x[1:] if np.ndim(x) else x for x in (rough, unseen))
    found_noise = np.fmax(noise, noise_of(moves, np.abs(side[1:]), steps, eps, rough, unseen, power=1))
    value, error, _ = best(moves / steps, 2 * found_noise / steps, power=1)
    return value, error
