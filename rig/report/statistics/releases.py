"""Two releases compared by their failures, and how many trials that takes."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats
from statsmodels.stats.proportion import (
    confint_proportions_2indep,
    samplesize_proportions_2indep_onetail,
    score_test_proportions_2indep,
)

from rig.report.statistics.answer import CONFIDENCE, Answer, Counts, check_open_unit

POWER = 0.8


@dataclass(frozen=True, kw_only=True)
class ReleaseComparison(Answer):
    """How much oftener `new` fails than `baseline`.

    `difference`, `low` and `high` are differences of shares, positive where the new release is worse; None where one was not tried.
    `p_worse` is the one-sided p value of the score test against "not worse", `p_exact` that of Fisher's test, which is cautious with
    few failures.  `noticeable` is the smallest share of failures of the new release that would have been significant.
    """

    new: Counts
    baseline: Counts
    confidence: float
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p_worse: float | None = None
    p_exact: float | None = None
    noticeable: float | None = None

    @property
    def worse(self) -> bool:
        """Whether the new release fails significantly oftener."""
        return self.p_worse is not None and self.p_worse <= 1.0 - self.confidence


def compare_failures(new: Counts, baseline: Counts, confidence: float = CONFIDENCE) -> ReleaseComparison:
    """Score test (Miettinen and Nurminen, Statistics in Medicine 4, 1985) and Newcombe's hybrid score interval.

    The interval is method 10 of Newcombe, "Interval estimation for the difference between independent proportions", Statistics in
    Medicine 17, 1998, two-sided; test and interval may disagree at the margin.

    Raises:
        ValueError: `confidence` is not strictly between 0 and 1.
    """
    check_open_unit(confidence=confidence)
    if not (new.trials and baseline.trials):
        which = "the new release" if not new.trials else "the baseline"
        return ReleaseComparison(new=new, baseline=baseline, confidence=confidence, lacking=f"{which} was not tried")
    low, high = confint_proportions_2indep(
        new.failed, new.trials, baseline.failed, baseline.trials, method="newcomb", compare="diff", alpha=1.0 - confidence
    )
    table = [[new.failed, new.trials - new.failed], [baseline.failed, baseline.trials - baseline.failed]]
    noticeable = _noticeable(new.trials, baseline, 1.0 - confidence)
    return ReleaseComparison(
        new=new,
        baseline=baseline,
        confidence=confidence,
        difference=new.failed / new.trials - baseline.failed / baseline.trials,
        low=float(low),
        high=float(high),
        p_worse=_p_worse(new, baseline),
        p_exact=float(stats.fisher_exact(table, alternative="greater").pvalue),
        noticeable=noticeable,
        lacking="" if noticeable is not None else f"with {new.trials:,} and {baseline.trials:,} trials no result could show a difference",
    )


def trials_per_release(baseline: float, new: float, confidence: float = CONFIDENCE, power: float = POWER) -> int:
    """Trials of each release for the one-sided score test to notice, with probability `power`, that `baseline` has become `new`.

    The normal approximation without correction for continuity (Fleiss, Levin and Paik, "Statistical Methods for Rates and
    Proportions", 3rd ed. 2003, section 4.2).

    Raises:
        ValueError: an argument is not strictly between 0 and 1, or `new` is not above `baseline`.
    """
    check_open_unit(baseline=baseline, new=new, confidence=confidence, power=power)
    if new <= baseline:
        raise ValueError(f"a worse release fails more often than the baseline, not {new} against {baseline}")
    size = samplesize_proportions_2indep_onetail(
        new - baseline, baseline, power, ratio=1, alpha=1.0 - confidence, value=0, alternative="larger"
    )
    return math.ceil(float(size))


def _p_worse(new: Counts, baseline: Counts) -> float:
    """One-sided score test; 1 where all trials ended alike, since then nothing speaks for a difference."""
    if new.failed + baseline.failed in (0, new.trials + baseline.trials):
        return 1.0
    _, p = score_test_proportions_2indep(
        new.failed, new.trials, baseline.failed, baseline.trials, compare="diff", alternative="larger", return_results=False
    )
    return float(p)


def _noticeable(trials: int, baseline: Counts, error: float) -> float | None:
    """The smallest significant share of failures in `trials` of the new release; None where not even all would be."""
    least_share = baseline.failed / baseline.trials
    low, high = math.floor(least_share * trials), trials  # at equal shares p is about a half
    if _p_worse(Counts(failed=high, trials=trials), baseline) > error:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        if _p_worse(Counts(failed=middle, trials=trials), baseline) <= error:
            high = middle
        else:
            low = middle
    return high / trials
