"""Bounds for a running campaign: by exact enumeration of every way in which it can go."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.report.statistics import Counts
from rig.report.statistics.proportions import failure_bound, upper_bounds
from rig.report.statistics.sequential import always_valid, always_valid_bounds, early_rejection


def ever(p: float, trials: int, alarm: Callable[[int, np.ndarray], np.ndarray], most: int = 50) -> float:
    """The probability that `alarm(n, failures)` is true at any n up to `trials`; more than `most` failures count as alarm."""
    alive, alarmed = np.zeros(most + 1), 0.0
    alive[0] = 1.0
    for n in range(1, trials + 1):
        failing = alive * p
        alarmed += failing[-1]
        alive = alive * (1 - p) + np.concatenate([[0.0], failing[:-1]])
        hit = alarm(n, np.arange(min(n, most) + 1))
        hit = np.pad(hit, (0, most + 1 - len(hit)))
        alarmed += alive[hit].sum()
        alive[hit] = 0.0
    return float(alarmed)


@pytest.mark.parametrize("p", [0.0005, 0.01, 0.05])
def test_the_always_valid_interval_misses_the_truth_at_any_look_at_most_one_time_in_twenty(p: float) -> None:
    def misses(n: int, failures: np.ndarray) -> np.ndarray:
        low, high = always_valid_bounds(failures, n, expected=0.01)
        return (low > p) | (high < p)

    assert ever(p, 400, misses) <= 0.05


def test_the_fixed_bound_read_at_every_look_is_wrong_far_more_often() -> None:
    assert ever(0.02, 600, lambda n, failures: upper_bounds(failures, n) < 0.02) > 0.12
    assert ever(0.02, 600, lambda n, failures: always_valid_bounds(failures, n)[1] < 0.02) < 0.05


def test_the_price_of_looking_at_any_time() -> None:
    """Without failures 0.1 % takes 4,104 trials instead of 2,995."""
    assert always_valid(Counts(failed=0, trials=4104)).high < 0.001 <= always_valid(Counts(failed=0, trials=4103)).high


@given(st.integers(0, 40), st.integers(0, 2000), st.floats(0.0005, 0.2))
def test_the_always_valid_interval_holds_the_share_and_is_wider_than_the_exact_one(failed: int, passed: int, expected: float) -> None:
    counts = Counts(failed=failed, trials=failed + passed)
    answer, exact = always_valid(counts, expected=expected), failure_bound(counts)
    assert 0.0 <= answer.low <= (counts.share or 0.0) <= answer.high <= 1.0
    assert answer.low <= exact.lower + 1e-12
    assert answer.high >= exact.upper - 1e-12


def test_curves_are_the_single_intervals() -> None:
    failures, trials = [0, 0, 1, 5, 3], [0, 10, 500, 5, 3195]
    lows, highs = always_valid_bounds(failures, trials)
    singles = [always_valid(Counts(failed=k, trials=n)) for k, n in zip(failures, trials, strict=True)]
    assert [(one.low, one.high) for one in singles] == list(zip(lows, highs, strict=True))
    assert (singles[0].low, singles[0].high, singles[0].lacking) == (0.0, 1.0, "no trial was made")
    assert singles[3].high == 1.0


def test_a_good_device_is_rarely_stopped_and_a_bad_one_mostly() -> None:
    good, bad = 0.0001, 0.001

    def rejected(n: int, failures: np.ndarray) -> np.ndarray:
        return np.array([early_rejection(Counts(failed=int(k), trials=n), good=good, bad=bad).reject for k in failures])

    assert ever(good, 3000, rejected, most=4) <= 0.05
    assert ever(bad, 6000, rejected, most=4) >= 0.85


def test_early_rejection_follows_the_likelihood_ratio() -> None:
    one, two = (early_rejection(Counts(failed=k, trials=100), good=0.001, bad=0.01) for k in (1, 2))
    assert (one.reject, two.reject) == (False, True)
    assert two.log_threshold == pytest.approx(np.log(20))
    assert two.log_evidence == pytest.approx(2 * np.log(10) + 98 * np.log(0.99 / 0.999))
    assert early_rejection(Counts(failed=0, trials=0), good=0.001, bad=0.01).lacking == "no trial was made"
    assert not early_rejection(Counts(failed=0, trials=10**7), good=0.001, bad=0.01).reject


@pytest.mark.parametrize(
    "question",
    [
        lambda: always_valid(Counts(failed=0, trials=1), expected=0.0),
        lambda: always_valid(Counts(failed=0, trials=1), 1.0),
        lambda: always_valid_bounds([2], [1]),
        lambda: early_rejection(Counts(failed=0, trials=1), good=0.01, bad=0.01),
        lambda: early_rejection(Counts(failed=0, trials=1), good=0.01, bad=0.1, error=0.0),
    ],
)
def test_senseless_questions_are_refused(question: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must|no interval"):
        question()
