"""Exact bounds and the sizes of campaigns: against published values, against enumeration, and against their own definition."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rig.report.statistics import Counts, interval, pooled, trials_needed, upper_bound
from rig.report.statistics.planning import NO_PACE, effort, remaining
from rig.report.statistics.proportions import Standing, failure_bound, intervals, upper_bounds


@pytest.mark.parametrize(
    ("failures", "trials", "below"),
    [(0, 299, 0.01), (0, 2995, 0.001), (0, 5990, 0.0005), (0, 29956, 0.0001), (1, 4742, 0.001), (2, 6294, 0.001), (3, 7752, 0.001)],
)
def test_the_well_known_numbers_of_trials_are_the_fewest_that_show_the_claim(failures: int, trials: int, below: float) -> None:
    assert upper_bound(failures, trials) < below <= upper_bound(failures, trials - 1)
    assert trials_needed(below, failures) == trials


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (1, 20, 0.0013, 0.2487),
        (10, 100, 0.0490, 0.1762),
        # Newcombe, Statistics in Medicine 17 (1998) 857, table I, method 5
        (81, 263, 0.2527, 0.3676),
        (15, 148, 0.0578, 0.1617),
        (0, 20, 0.0000, 0.1684),
        (1, 29, 0.0009, 0.1776),
    ],
)
def test_two_sided_intervals_agree_with_the_published_tables(successes: int, trials: int, low: float, high: float) -> None:
    assert interval(successes, trials) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@pytest.mark.parametrize("trials", [30, 100, 1000, 10**6])
def test_without_failures_the_bound_is_the_rule_of_three(trials: int) -> None:
    assert upper_bound(0, trials) == pytest.approx(1 - 0.05 ** (1 / trials), rel=1e-9)
    assert 0.95 * 3 / trials < upper_bound(0, trials) < 3 / trials


@pytest.mark.parametrize(("failures", "trials"), [(0, 1), (3, 3195), (40, 90), (1500, 3200), (99_000, 100_000), (7, 10**9)])
def test_at_the_bound_so_few_failures_have_just_the_remaining_probability(failures: int, trials: int) -> None:
    assert stats.binom.cdf(failures, trials, upper_bound(failures, trials, 0.99)) == pytest.approx(0.01, abs=1e-9)


def test_the_claim_holds_at_least_as_often_as_it_says() -> None:
    trials = 60
    bounds = [upper_bound(failures, trials) for failures in range(trials + 1)]
    for p in (0.001, 0.01, 0.04, 0.049, 0.3, 0.9):
        covered = math.fsum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(trials + 1) if bounds[k] >= p)
        assert covered >= 0.95, p


def test_many_bounds_at_once_are_the_single_ones() -> None:
    failures, trials = [0, 3, 7, 0, 5], [0, 3195, 7, 299, 10**6]
    assert upper_bounds(failures, trials, 0.9).tolist() == [upper_bound(k, n, 0.9) for k, n in zip(failures, trials, strict=True)]
    lows, highs = intervals(failures, trials)
    assert list(zip(lows, highs, strict=True)) == [interval(k, n) for k, n in zip(failures, trials, strict=True)]
    assert upper_bounds(0, [299, 2995]).shape == (2,)


def test_nothing_tried_and_everything_failed_bound_nothing() -> None:
    assert upper_bound(0, 0) == upper_bound(7, 7) == 1.0
    assert interval(0, 0) == (0.0, 1.0)
    nothing = failure_bound(Counts(failed=0, trials=0))
    assert (nothing.lower, nothing.upper, nothing.enough, nothing.lacking) == (0.0, 1.0, False, "no trial was made")
    assert nothing.counts.share is None


@pytest.mark.parametrize(("failures", "trials", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (0, 5, 0.0), (0, 5, 1.0), (0, 5, math.nan)])
def test_impossible_questions_are_refused(failures: int, trials: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="no bound"):
        upper_bound(failures, trials, confidence)


@given(st.integers(0, 300), st.integers(1, 3000), st.floats(0.5, 0.999))
def test_bounds_enclose_what_was_found_and_move_the_right_way(failed: int, more: int, confidence: float) -> None:
    counts = Counts(failed=failed, trials=failed + more)
    bound = failure_bound(counts, confidence)
    assert 0.0 <= bound.lower <= failed / counts.trials <= bound.upper < 1.0
    assert upper_bound(failed + 1, counts.trials, confidence) > bound.upper > upper_bound(failed, counts.trials + 1, confidence)
    assert failure_bound(counts.plus_failed(2), confidence).upper > bound.upper


def test_a_claim_is_shown_refuted_or_open() -> None:
    bound = failure_bound(Counts(failed=3, trials=3195))  # 0.026 % to 0.243 %
    assert bound.lower == pytest.approx(0.000256, abs=1e-6)
    assert bound.upper == pytest.approx(0.002425, abs=1e-6)
    assert [bound.standing(limit) for limit in (0.01, 0.001, 0.0001)] == [Standing.SHOWN, Standing.OPEN, Standing.REFUTED]


# ---------------------------------------------------------------------------------------------------------------- planning
def test_the_mock_ups_way_to_ship() -> None:
    fresh = effort(0.001, per_hour=820)
    assert (fresh.trials, fresh.failures, fresh.lacking) == (2995, 0, "")
    assert fresh.hours == pytest.approx(3.65, abs=0.01)
    assert effort(0.001, 1).trials == 4742


def test_without_a_pace_the_trials_are_known_and_the_hours_are_not() -> None:
    answer = effort(0.01)
    assert (answer.trials, answer.hours, answer.lacking) == (299, None, NO_PACE)


def test_what_remains_counts_the_failures_that_there_are() -> None:
    assert remaining(Counts(failed=3, trials=3195), 0.001).trials == 7752 - 3195
    assert remaining(Counts(failed=0, trials=2995), 0.001, per_hour=10).hours == 0.0
    assert remaining(Counts(failed=0, trials=0), 0.001).trials == 2995


@given(st.integers(0, 20), st.floats(0.001, 0.5), st.floats(0.5, 0.99))
def test_one_trial_fewer_does_not_show_the_claim(failures: int, limit: float, confidence: float) -> None:
    trials = trials_needed(limit, failures, confidence)
    assert upper_bound(failures, trials, confidence) < limit <= upper_bound(failures, trials - 1, confidence)


@pytest.mark.parametrize(
    ("question", "reason"),
    [
        (lambda: trials_needed(0.0), "no number of trials"),
        (lambda: trials_needed(1.0), "no number of trials"),
        (lambda: trials_needed(0.1, -1), "no number of trials"),
        (lambda: trials_needed(0.1, 0, 1.0), "no bound"),
        (lambda: effort(0.1, per_hour=0.0), "trials an hour"),
        (lambda: Counts(failed=2, trials=1), "cannot have failed"),
        (lambda: Counts(failed=-1, trials=1), "cannot have failed"),
    ],
)
def test_senseless_plans_are_refused(question: Callable[[], object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        question()


def test_pooling_adds_up() -> None:
    assert pooled([Counts(failed=1, trials=4), Counts(failed=0, trials=5)]) == Counts(failed=1, trials=9)
    assert pooled([]) == Counts(failed=0, trials=0)
    assert np.isclose(Counts(failed=1, trials=4).share or 0, 0.25)
