"""The bounds against published values, against enumeration, and against their own definition."""

import math

import pytest

from rig.report.statistics import binomial_cdf, interval, trials_needed, upper_bound


@pytest.mark.parametrize(
    ("failures", "trials", "below"),
    [(0, 299, 0.01), (0, 2995, 0.001), (0, 5990, 0.0005), (0, 29956, 0.0001), (1, 4742, 0.001), (2, 6294, 0.001), (3, 7752, 0.001)],
)
def test_the_well_known_numbers_of_trials_are_the_fewest_that_show_the_claim(failures: int, trials: int, below: float) -> None:
    assert upper_bound(failures, trials) < below <= upper_bound(failures, trials - 1)
    assert trials_needed(below, failures) == trials


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [(0, 10, 0.0, 0.3085), (5, 10, 0.1871, 0.8129), (10, 10, 0.6915, 1.0), (1, 20, 0.0013, 0.2487), (10, 100, 0.0490, 0.1762)],
)
def test_two_sided_intervals_agree_with_the_published_tables(successes: int, trials: int, low: float, high: float) -> None:
    assert interval(successes, trials) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@pytest.mark.parametrize("trials", [30, 100, 1000, 10**6])
def test_without_failures_the_bound_is_the_rule_of_three(trials: int) -> None:
    assert upper_bound(0, trials) == pytest.approx(1 - 0.05 ** (1 / trials), rel=1e-9)
    assert 0.95 * 3 / trials < upper_bound(0, trials) < 3 / trials


def test_the_distribution_agrees_with_enumeration() -> None:
    for n in range(13):
        for p in (0.0, 1e-9, 0.03, 0.5, 0.77, 1.0):
            for k in range(n + 1):
                exact = math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(k + 1))
                assert binomial_cdf(k, n, p) == pytest.approx(exact, abs=1e-12), (k, n, p)


@pytest.mark.parametrize(("failures", "trials"), [(0, 1), (3, 3195), (40, 90), (1500, 3200), (99_000, 100_000)])
def test_at_the_bound_so_few_failures_have_just_the_remaining_probability(failures: int, trials: int) -> None:
    assert binomial_cdf(failures, trials, upper_bound(failures, trials, 0.99)) == pytest.approx(0.01, abs=1e-9)


def test_the_claim_holds_at_least_as_often_as_it_says() -> None:
    trials = 60
    bounds = [upper_bound(failures, trials) for failures in range(trials + 1)]
    for p in (0.001, 0.01, 0.04, 0.049, 0.3, 0.9):
        covered = math.fsum(math.comb(trials, k) * p**k * (1 - p) ** (trials - k) for k in range(trials + 1) if bounds[k] >= p)
        assert covered >= 0.95, p


def test_nothing_tried_and_everything_failed_bound_nothing() -> None:
    assert upper_bound(0, 0) == upper_bound(7, 7) == 1.0
    assert interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("failures", "trials", "confidence"), [(-1, 5, 0.95), (6, 5, 0.95), (0, 5, 0.0), (0, 5, 1.0)])
def test_impossible_questions_are_refused(failures: int, trials: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="no bound"):
        upper_bound(failures, trials, confidence)
    with pytest.raises(ValueError, match="no number of trials"):
        trials_needed(0.0)
