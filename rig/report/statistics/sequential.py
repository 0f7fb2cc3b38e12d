"""Statements that hold however often one looks, for a campaign that is still running.

A gate is read once, at the planned end, by `proportions.failure_bound`.  Whoever reads that bound every night and stops at the first
good one is wrong far more often than one time in twenty; the bounds here are wider and do not have that fault.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from rig.report.statistics.answer import CONFIDENCE, Answer, Counts, Floats, check_open_unit

EXPECTED = 0.001
_PRIOR_FAILURES = 0.5
_HALVINGS = 100


@dataclass(frozen=True, kw_only=True)
class AlwaysValid(Answer):
    """An interval that covers the failure probability at all looks together, with probability `confidence` or more."""

    counts: Counts
    confidence: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class EarlyRejection(Answer):
    """Whether a running campaign may stop because the device is bad.

    `log_evidence` is the logarithm of how many times likelier the counts are for a bad device than for a good one; `reject` is true
    from `log_threshold` on.
    """

    counts: Counts
    reject: bool
    log_evidence: float
    log_threshold: float


def always_valid(counts: Counts, confidence: float = CONFIDENCE, expected: float = EXPECTED) -> AlwaysValid:
    """The interval after these counts, to be shown while the campaign runs.

    `expected` is the failure probability at which the interval is to be narrowest.  It must be fixed beforehand, and then changes
    the width, never the validity.

    Raises:
        ValueError: `confidence` or `expected` is not strictly between 0 and 1.
    """
    low, high = always_valid_bounds(counts.failed, counts.trials, confidence, expected)
    lacking = "" if counts.trials else "no trial was made"
    return AlwaysValid(counts=counts, confidence=confidence, low=float(low), high=float(high), lacking=lacking)


def always_valid_bounds(
    failures: ArrayLike, trials: ArrayLike, confidence: float = CONFIDENCE, expected: float = EXPECTED
) -> tuple[Floats, Floats]:
    """`always_valid` for many counts at once, as a curve over the campaign needs it: all lower ends, all upper ends.

    The mixture of Robbins ("Statistical methods related to the law of the iterated logarithm", Ann. Math. Stat. 41, 1970) with a
    beta prior: by Ville's inequality the likelihood of the true p falls below 1 - `confidence` of the mixed likelihood, ever, with
    at most that probability.

    Raises:
        ValueError: the counts are impossible, or `confidence` or `expected` is not strictly between 0 and 1.
    """
    check_open_unit(confidence=confidence, expected=expected)
    failed, tried = np.broadcast_arrays(np.asarray(failures, dtype=np.float64), np.asarray(trials, dtype=np.float64))
    if not np.all((failed >= 0) & (failed <= tried)):
        raise ValueError(f"no interval for {failures!r} failures in {trials!r} trials")
    passed = tried - failed
    a, b = _PRIOR_FAILURES, _PRIOR_FAILURES / expected
    least = special.betaln(a + failed, b + passed) - special.betaln(a, b) + math.log(1.0 - confidence)
    likeliest = failed / np.maximum(tried, 1.0)

    def edge(outside: Floats) -> Floats:
        """Halve the way between the likeliest p, which is inside, and the end of the scale."""
        inside = likeliest
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            within = special.xlogy(failed, middle) + special.xlog1py(passed, -middle) >= least
            inside, outside = np.where(within, middle, inside), np.where(within, outside, middle)
        return np.asarray(outside)

    low = np.where(failed > 0, edge(np.zeros_like(likeliest)), 0.0)
    high = np.where(passed > 0, edge(np.ones_like(likeliest)), 1.0)
    return low, high


def early_rejection(counts: Counts, *, good: float, bad: float, error: float = 1.0 - CONFIDENCE) -> EarlyRejection:
    """Whether these counts may end the campaign early, as a failure.  They never may as a success.

    A likelihood ratio against a fixed threshold (Wald, "Sequential Analysis", 1947) without the lower boundary: a device that fails
    with probability `good` or less is rejected, at any of all looks, with probability `error` at most, by Ville's inequality.

    Raises:
        ValueError: `good`, `bad` or `error` is not strictly between 0 and 1, or `bad` is not above `good`.
    """
    check_open_unit(good=good, bad=bad, error=error)
    if bad <= good:
        raise ValueError(f"a bad device must fail more often than a good one, not {bad} against {good}")
    passed = counts.trials - counts.failed
    evidence = counts.failed * math.log(bad / good) + passed * (math.log1p(-bad) - math.log1p(-good))
    threshold = -math.log(error)
    return EarlyRejection(
        counts=counts,
        reject=evidence >= threshold,
        log_evidence=evidence,
        log_threshold=threshold,
        lacking="" if counts.trials else "no trial was made",
    )
