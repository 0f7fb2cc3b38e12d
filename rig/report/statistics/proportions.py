"""Exact statements about a failure probability, from counts.

The claim is always Clopper and Pearson's ("The use of confidence or fiducial limits illustrated in the case of the binomial",
Biometrika 26, 1934): its coverage is never below the nominal one, which neither Wilson's, Jeffreys' nor Wald's interval can say.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from rig.report.statistics.answer import CONFIDENCE, Answer, Counts, Floats


class Standing(StrEnum):
    """What counts say about the claim that a failure probability lies below a limit."""

    SHOWN = "shown"
    REFUTED = "refuted"
    OPEN = "open"
    """Neither: there are too few trials to tell."""


@dataclass(frozen=True, kw_only=True)
class FailureBound(Answer):
    """Exact one-sided bounds on a failure probability.  Each holds by itself with `confidence`; both together with less."""

    counts: Counts
    confidence: float
    lower: float
    upper: float

    def standing(self, limit: float) -> Standing:
        """What these counts say about "below `limit`"."""
        if self.upper < limit:
            return Standing.SHOWN
        return Standing.REFUTED if self.lower > limit else Standing.OPEN


def failure_bound(counts: Counts, confidence: float = CONFIDENCE) -> FailureBound:
    """The bounds on the probability behind `counts`.

    Raises:
        ValueError: `confidence` is not strictly between 0 and 1.
    """
    return FailureBound(
        counts=counts,
        confidence=confidence,
        lower=1.0 - upper_bound(counts.trials - counts.failed, counts.trials, confidence),
        upper=upper_bound(counts.failed, counts.trials, confidence),
        lacking="" if counts.trials else "no trial was made",
    )


def upper_bound(failures: int, trials: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided upper bound on a failure probability; 1 when nothing was tried.

    The largest p at which so few failures would still happen with probability 1 - `confidence`.

    Raises:
        ValueError: the counts are impossible, or `confidence` is not strictly between 0 and 1.
    """
    return float(upper_bounds(failures, trials, confidence))


def upper_bounds(failures: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE) -> Floats:
    """`upper_bound` of many counts at once, element by element.

    Raises:
        ValueError: as `upper_bound`.
    """
    failed, tried = np.broadcast_arrays(np.asarray(failures, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    if not (0.0 < confidence < 1.0 and np.all((failed >= 0) & (failed <= tried))):
        raise ValueError(f"no bound for {failures!r} failures in {trials!r} trials at confidence {confidence}")
    passed = tried - failed
    quantiles = special.betaincinv(failed + 1.0, np.maximum(passed, 1.0), confidence)
    return np.asarray(np.where(passed > 0, quantiles, 1.0), dtype=np.float64)


def interval(successes: int, trials: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The exact two-sided interval of a share; (0, 1) when nothing was tried.

    Raises:
        ValueError: as `upper_bound`.
    """
    low, high = intervals(successes, trials, confidence)
    return float(low), float(high)


def intervals(successes: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE) -> tuple[Floats, Floats]:
    """`interval` of many counts at once: all lower ends, all upper ends.

    Raises:
        ValueError: as `upper_bound`.
    """
    one_sided = (1.0 + confidence) / 2
    opposite = np.asarray(trials) - np.asarray(successes)
    return 1.0 - upper_bounds(opposite, trials, one_sided), upper_bounds(successes, trials, one_sided)
