"""Durations: quantiles, distribution and shift between two releases, without a guess at the shape of their distribution."""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from rig.report.statistics.answer import CONFIDENCE, Answer, Floats, check_open_unit


@dataclass(frozen=True, kw_only=True)
class Quantile(Answer):
    """The `q` quantile of `n` durations, with an interval by order statistics; None where there are too few for an end."""

    q: float
    n: int
    confidence: float
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class QuantileChange(Answer):
    """How much a quantile has grown, as a share of the baseline's: 0.05 is five percent slower."""

    new: Quantile
    baseline: Quantile
    change: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Ecdf(Answer):
    """The share of `n` durations up to each value; the true curve lies within `band` of it everywhere, with the confidence."""

    n: int
    values: tuple[float, ...]
    shares: tuple[float, ...]
    band: float


def quantiles(durations: ArrayLike, qs: Sequence[float], confidence: float = CONFIDENCE) -> tuple[Quantile, ...]:
    """Several quantiles of the same durations, each with its own two-sided interval.

    The interval runs between two order statistics whose ranks the binomial distribution gives (David and Nagaraja, "Order
    Statistics", 3rd ed. 2003, section 7.1); it covers with `confidence` or more, whatever the distribution.  The claim "at most"
    with confidence c is the upper end of the interval with confidence 2·c - 1.

    Raises:
        ValueError: a duration is not finite, or a quantile or `confidence` is not strictly between 0 and 1.
    """
    check_open_unit(confidence=confidence, **{f"quantile {q}": q for q in qs})
    ordered = ordered_finite(durations)
    return tuple(_quantile(ordered, q, confidence) for q in qs)


def quantile(durations: ArrayLike, q: float, confidence: float = CONFIDENCE) -> Quantile:
    """One of `quantiles`."""
    return quantiles(durations, (q,), confidence)[0]


def values_needed(q: float, confidence: float = CONFIDENCE) -> int:
    """The fewest values that give the interval of the `q` quantile two ends: 72 for the 95th percentile at 95 %."""
    return math.ceil(math.log((1.0 - confidence) / 2) / math.log(max(q, 1.0 - q)))


def _quantile(ordered: Floats, q: float, confidence: float) -> Quantile:
    n, tail = len(ordered), (1.0 - confidence) / 2
    below, above = (_binomial_quantile(level, n, q) for level in (tail, 1.0 - tail))
    low = float(ordered[below - 1]) if n and below >= 1 else None
    high = float(ordered[above]) if above < n else None
    needed = values_needed(q, confidence)
    lacking = "" if None not in (low, high) else f"{n:,} values are too few for the {q:.4g} quantile, which needs {needed:,}"
    value = float(np.quantile(ordered, q, method="averaged_inverted_cdf")) if n else None  # always within the interval
    return Quantile(q=q, n=n, confidence=confidence, value=value, low=low, high=high, lacking=lacking)


def _binomial_quantile(level: float, n: int, p: float) -> int:
    """How many of `n` values, each below with probability `p`, are below at most, with probability `level`: `scipy.stats.binom.ppf`.

    That module alone takes half a second to import.
    """
    return bisect.bisect_left(range(n), level, key=lambda number: special.bdtr(number, n, p))


def quantile_change(new: ArrayLike, baseline: ArrayLike, q: float, confidence: float = CONFIDENCE) -> QuantileChange:
    """The growth of a quantile of positive durations, with an interval that covers with `confidence` or more.

    Both quantiles get intervals at half the error (Bonferroni), and the interval of the ratio spans their extremes.

    Raises:
        ValueError: as `quantiles`, or a duration of the baseline is not positive.
    """
    each = (1.0 + confidence) / 2
    ours, theirs = quantile(new, q, each), quantile(baseline, q, each)
    if theirs.n and np.min(np.asarray(baseline)) <= 0:
        raise ValueError("a change in percent needs durations above zero")
    if ours.low is None or ours.high is None or theirs.low is None or theirs.high is None:
        low, high = None, None
    else:
        low, high = ours.low / theirs.high - 1.0, ours.high / theirs.low - 1.0
    return QuantileChange(
        new=ours,
        baseline=theirs,
        change=None if ours.value is None or theirs.value is None else ours.value / theirs.value - 1.0,
        low=low,
        high=high,
        lacking=ours.lacking or theirs.lacking,
    )


def ecdf(durations: ArrayLike, confidence: float = CONFIDENCE, *, points: int = 400) -> Ecdf:
    """The distribution of the durations, at `points` values at most, evenly spread over the ranks and with both extremes.

    The band is that of Dvoretzky, Kiefer and Wolfowitz with Massart's constant (Annals of Probability 18, 1990).

    Raises:
        ValueError: a duration is not finite, `points` is below 2, or `confidence` is not strictly between 0 and 1.
    """
    check_open_unit(confidence=confidence)
    if points < 2:
        raise ValueError(f"a curve has two points or more, not {points}")
    ordered = ordered_finite(durations)
    n = len(ordered)
    if not n:
        return Ecdf(n=0, values=(), shares=(), band=1.0, lacking="no duration was measured")
    ranks = np.unique(np.linspace(1, n, min(n, points)).round().astype(int))
    values = ordered[ranks - 1]
    shares = np.searchsorted(ordered, values, side="right") / n
    last = np.append(values[1:] != values[:-1], True)  # of equal values one point remains
    band = min(1.0, math.sqrt(math.log(2.0 / (1.0 - confidence)) / (2 * n)))
    return Ecdf(n=n, values=tuple(values[last].tolist()), shares=tuple(shares[last].tolist()), band=band)


def ordered_finite(durations: ArrayLike) -> Floats:
    """The durations in ascending order; raises `ValueError` when one is not finite."""
    values = np.sort(np.asarray(durations, dtype=np.float64).ravel())
    if not np.isfinite(values).all():
        raise ValueError("durations must be finite; leave missing ones out")
    return values
