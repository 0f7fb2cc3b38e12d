"""How many trials a claim needs, and how long they take."""

from __future__ import annotations

from dataclasses import dataclass

from rig.report.statistics.answer import CONFIDENCE, Answer, Counts
from rig.report.statistics.proportions import upper_bound

NO_PACE = "no campaign tells how many trials an hour this bench makes"


@dataclass(frozen=True, kw_only=True)
class Effort(Answer):
    """The `trials` that show a failure probability below `limit` if no more than `failures` of them fail.

    `hours` is None when the pace of the bench is not known; `lacking` says so.
    """

    limit: float
    confidence: float
    failures: int
    trials: int
    hours: float | None


def trials_needed(limit: float, failures: int = 0, confidence: float = CONFIDENCE) -> int:
    """The fewest trials with so many failures that show a failure probability below `limit`.

    Raises:
        ValueError: `limit` is not strictly between 0 and 1, `failures` is negative, or `confidence` is out of range.
    """
    if not (0.0 < limit < 1.0 and failures >= 0):
        raise ValueError(f"no number of trials shows a probability below {limit} with {failures} failures")
    low, high = failures, failures + 1
    while upper_bound(failures, high, confidence) >= limit:
        low, high = high, high * 2
    while high - low > 1:
        middle = (low + high) // 2
        if upper_bound(failures, middle, confidence) < limit:
            high = middle
        else:
            low = middle
    return high


def effort(limit: float, failures: int = 0, confidence: float = CONFIDENCE, *, per_hour: float | None = None) -> Effort:
    """What a new campaign must do for the claim; `per_hour` is the number of conclusive trials the bench makes in an hour.

    Raises:
        ValueError: as `trials_needed`, or `per_hour` is not positive.
    """
    return _effort(trials_needed(limit, failures, confidence), limit, failures, confidence, per_hour)


def remaining(counts: Counts, limit: float, confidence: float = CONFIDENCE, *, per_hour: float | None = None) -> Effort:
    """The further trials, none of them failing, after which these counts show the claim; 0 where they show it already.

    For planning only: a campaign that is prolonged until its bound is good enough proves less than its bound says.

    Raises:
        ValueError: as `effort`.
    """
    total = trials_needed(limit, counts.failed, confidence)
    return _effort(max(0, total - counts.trials), limit, 0, confidence, per_hour)


def _effort(trials: int, limit: float, failures: int, confidence: float, per_hour: float | None) -> Effort:
    if per_hour is not None and per_hour <= 0:
        raise ValueError(f"a bench makes more than {per_hour} trials an hour")
    return Effort(
        limit=limit,
        confidence=confidence,
        failures=failures,
        trials=trials,
        hours=None if per_hour is None else trials / per_hour,
        lacking=NO_PACE if per_hour is None else "",
    )
