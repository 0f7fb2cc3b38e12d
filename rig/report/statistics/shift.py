"""By how much the durations of one release are shifted against those of another.

Hodges and Lehmann's estimate ("Estimates of location based on rank tests", Annals of Mathematical Statistics 34, 1963): the median of
all differences between a new and an old duration, with the interval that belongs to the Mann-Whitney test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from rig.report.statistics.answer import CONFIDENCE, Answer, Floats, check_open_unit
from rig.report.statistics.timing import ordered_finite

_MOST_EXACT_PAIRS = 2_500
_MOST_KEPT = 100_000
_HALVINGS = 60
_PRECISION = 1e-12


@dataclass(frozen=True, kw_only=True)
class Shift(Answer):
    """How much later the `n_new` durations end than the `n_baseline` ones, in their unit; positive is slower.

    `p_value` is that of the two-sided Mann-Whitney test.  All are None where a side is empty; `low` and `high` also where the sides
    are too small for the confidence.
    """

    n_new: int
    n_baseline: int
    confidence: float
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    p_value: float | None = None

    @property
    def changed(self) -> bool:
        """Whether the interval excludes "no shift"."""
        return self.low is not None and self.high is not None and not self.low <= 0.0 <= self.high


def shift(new: ArrayLike, baseline: ArrayLike, confidence: float = CONFIDENCE) -> Shift:
    """Estimate the shift.

    Up to 2,500 pairs the distribution of the test is exact, above it is normal.  Of more than 100,000 durations a side, evenly spread
    ranks stand for all, and the interval is widened by what that can hide.

    Raises:
        ValueError: a duration is not finite, or `confidence` is not strictly between 0 and 1.
    """
    check_open_unit(confidence=confidence)
    ours, theirs = ordered_finite(new), ordered_finite(baseline)
    if not (len(ours) and len(theirs)):
        which = "the new release" if not len(ours) else "the baseline"
        return Shift(n_new=len(ours), n_baseline=len(theirs), confidence=confidence, lacking=f"{which} has no duration")
    rank = _rank_of_lower_end(len(ours), len(theirs), (1.0 - confidence) / 2)
    kept_ours, kept_theirs = _evenly_kept(ours), _evenly_kept(theirs)
    hidden = sum(0.5 / len(kept) for kept, all_ in ((kept_ours, ours), (kept_theirs, theirs)) if len(kept) < len(all_))
    differences = _Differences(kept_ours, kept_theirs)
    lowest = rank
    if hidden:
        lowest = max(1, math.floor((rank / (len(ours) * len(theirs)) - hidden) * differences.pairs))
    return Shift(
        n_new=len(ours),
        n_baseline=len(theirs),
        confidence=confidence,
        estimate=differences.median(),
        low=differences.smallest(lowest) if rank else None,
        high=differences.smallest(differences.pairs + 1 - lowest) if rank else None,
        p_value=_p_value(ours, theirs),
        lacking="" if rank else f"{len(ours)} and {len(theirs)} durations are too few for an interval at this confidence",
    )


def _rank_of_lower_end(first: int, second: int, tail: float) -> int:
    """The largest r with P(U < r) at most `tail`, U being the Mann-Whitney statistic of equal distributions; 0 for none."""
    pairs = first * second
    if pairs <= _MOST_EXACT_PAIRS:
        return int(np.searchsorted(np.cumsum(_mann_whitney(first, second)), tail * (1.0 + _PRECISION), side="right"))
    spread = math.sqrt(pairs * (first + second + 1) / 12)
    return max(0, math.floor(pairs / 2 + float(special.ndtri(tail)) * spread))


@lru_cache(maxsize=64)
def _mann_whitney(first: int, second: int) -> Floats:
    """The probabilities of U = 0 … first·second, by Mann and Whitney's recursion (Ann. Math. Stat. 18, 1947)."""
    one_less: list[Floats] = [np.ones(1)] * (second + 1)
    for i in range(1, first + 1):
        row: list[Floats] = [np.ones(1)]
        for j in range(1, second + 1):
            chances = np.zeros(i * j + 1)
            chances[j:] += one_less[j] * i / (i + j)
            chances[: i * (j - 1) + 1] += row[j - 1] * j / (i + j)
            row.append(chances)
        one_less = row
    return one_less[second]


def _evenly_kept(ordered: Floats) -> Floats:
    """At most `_MOST_KEPT` values: the distribution functions of these and of all differ by half a part in that many at most."""
    if len(ordered) <= _MOST_KEPT:
        return ordered
    kept: Floats = ordered[((np.arange(_MOST_KEPT) + 0.5) * (len(ordered) / _MOST_KEPT)).astype(int)]
    return kept


def _p_value(ours: Floats, theirs: Floats) -> float:
    if ours[0] == ours[-1] == theirs[0] == theirs[-1]:
        return 1.0
    from scipy import stats  # noqa: PLC0415 - half a second, which reports without a baseline need not cost

    both = np.concatenate([ours, theirs])
    exact = len(ours) * len(theirs) <= _MOST_EXACT_PAIRS and len(np.unique(both)) == len(both)
    return float(stats.mannwhitneyu(ours, theirs, alternative="two-sided", method="exact" if exact else "asymptotic").pvalue)


class _Differences:
    """All differences new - old between two ordered samples, by rank; they are listed only where they are few."""

    def __init__(self, ours: Floats, theirs: Floats) -> None:
        self.ours, self.theirs, self.pairs = ours, theirs, len(ours) * len(theirs)
        self._listed = np.sort(np.subtract.outer(ours, theirs), axis=None) if self.pairs <= _MOST_EXACT_PAIRS else None

    def median(self) -> float:
        return (self.smallest((self.pairs + 1) // 2) + self.smallest(self.pairs // 2 + 1)) / 2

    def smallest(self, rank: int) -> float:
        """The difference of that rank, 1 being the smallest."""
        if self._listed is not None:
            return float(self._listed[rank - 1])
        low, high = float(self.ours[0] - self.theirs[-1]), float(self.ours[-1] - self.theirs[0])
        close = _PRECISION * max(abs(low), abs(high))
        for _ in range(_HALVINGS):
            if high - low <= close:
                break
            middle = (low + high) / 2
            if self._up_to(middle) >= rank:
                high = middle
            else:
                low = middle
        return high

    def _up_to(self, limit: float) -> int:
        """How many differences are `limit` or less."""
        return self.pairs - int(np.searchsorted(self.theirs, self.ours - limit, side="left").sum())
