"""Quantiles, distributions and shifts of durations: against published values, enumeration, and seeded simulation."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rig.report.statistics import shift as shift_module
from rig.report.statistics.shift import shift
from rig.report.statistics.timing import ecdf, quantile, quantile_change, quantiles, values_needed

DURATIONS = st.lists(st.floats(0.001, 1000), min_size=1, max_size=60)


# --------------------------------------------------------------------------------------------------------------- quantiles
@pytest.mark.parametrize(("n", "low", "high"), [(6, 1, 6), (10, 2, 9), (20, 6, 15), (30, 10, 21), (50, 18, 33)])
def test_the_ranks_for_a_median_are_those_of_the_tables(n: int, low: int, high: int) -> None:
    """Ranks of the sign test's interval for a median at 95 %, as any table of it has them."""
    answer = quantile(np.arange(1, n + 1), 0.5)
    assert (answer.low, answer.high, answer.lacking) == (low, high, "")


@pytest.mark.parametrize("n", [1, 7, 200, 3_199, 1_000_000])
@pytest.mark.parametrize("q", [0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.999])
def test_the_ranks_are_scipys_quantiles_of_the_binomial_distribution(n: int, q: float, confidence: float) -> None:
    answer = quantile(np.arange(1, n + 1), q, confidence)
    below, above = (int(stats.binom.ppf(level, n, q)) for level in ((1 - confidence) / 2, (1 + confidence) / 2))
    assert (answer.low, answer.high) == (below or None, above + 1 if above < n else None)


@pytest.mark.parametrize(("q", "needed"), [(0.95, 72), (0.99, 368), (0.5, 6), (0.05, 72)])
def test_too_few_values_have_no_interval_and_say_so(q: float, needed: int) -> None:
    assert values_needed(q) == needed
    few, enough = quantile(range(needed - 1), q), quantile(range(needed), q)
    assert enough.enough
    assert None in (few.low, few.high)
    assert few.lacking == f"{needed - 1} values are too few for the {q:g} quantile, which needs {needed}"
    nothing = quantile([], q)
    assert (nothing.value, nothing.low, nothing.high, nothing.enough) == (None, None, None, False)


@pytest.mark.parametrize("q", [0.05, 0.5, 0.95, 0.99])
@pytest.mark.parametrize("n", [80, 400, 3000])
def test_the_interval_covers_by_the_binomial_sum_and_agrees_with_scipy(q: float, n: int) -> None:
    answer = quantile(np.arange(1, n + 1), q)
    below, above = answer.low or 0, answer.high or n + 1
    assert stats.binom.cdf(above - 1, n, q) - stats.binom.cdf(below - 1, n, q) >= 0.95
    theirs = stats.quantile_test(np.arange(1.0, n + 1), p=q).confidence_interval(0.95)
    for ours, other in ((answer.low, theirs.low), (answer.high, theirs.high)):
        assert math.isnan(other) if ours is None else ours == pytest.approx(other, abs=1)


@given(DURATIONS, st.floats(0.01, 0.99), st.floats(0.5, 0.99))
def test_the_interval_holds_the_estimate_and_is_made_of_the_data(durations: list[float], q: float, confidence: float) -> None:
    answer = quantile(durations, q, confidence)
    assert answer.value is not None
    assert {answer.low, answer.high} <= {*durations, None}
    assert answer.low is None or answer.low <= answer.value
    assert answer.high is None or answer.value <= answer.high
    assert quantiles(durations, (0.5, q), confidence)[1] == answer


def test_the_change_of_a_quantile_covers_the_truth() -> None:
    """Lognormal durations with retries, the new release 3 % slower: of 300 seeded campaigns at least 95 % must cover."""
    draw, covered = np.random.default_rng(20261122), 0
    for _ in range(300):
        baseline, new = (draw.lognormal(3.0, 0.05, 200) * np.where(draw.random(200) < 0.05, 1.5, 1.0) for _ in range(2))
        answer = quantile_change(new * 1.03, baseline, 0.9)
        assert answer.low is not None
        assert answer.high is not None
        covered += answer.low <= 0.03 <= answer.high
    assert covered >= 285


def test_the_change_of_a_quantile_is_a_share_of_the_baseline() -> None:
    baseline = np.linspace(30, 31, 1001)
    answer = quantile_change(baseline * 1.05, baseline, 0.95)
    assert answer.change == pytest.approx(0.05)
    assert answer.low is not None
    assert answer.high is not None
    assert 0.045 < answer.low < 0.05 < answer.high < 0.055
    few = quantile_change(baseline, [30.0], 0.95)
    assert (few.low, few.high, few.lacking) == (None, None, "1 values are too few for the 0.95 quantile, which needs 86")
    assert quantile_change([], baseline, 0.95).change is None


# -------------------------------------------------------------------------------------------------------------------- ecdf
def test_the_distribution_is_that_of_scipy_with_massarts_band() -> None:
    durations = [3.0, 1.0, 2.0, 2.0, 5.0]
    theirs, ours = stats.ecdf(durations).cdf, ecdf(durations)
    assert (ours.values, ours.shares) == (tuple(theirs.quantiles), pytest.approx(tuple(theirs.probabilities)))
    assert ours.band == pytest.approx(1.3581 / math.sqrt(5), abs=1e-4)  # the constant of the Kolmogorov-Smirnov table
    assert (ecdf([]).n, ecdf([]).lacking) == (0, "no duration was measured")


def test_a_long_distribution_is_drawn_with_few_points_and_both_extremes() -> None:
    durations = np.random.default_rng(7).lognormal(size=100_000)
    curve = ecdf(durations, points=200)
    assert len(curve.values) <= 200
    assert (curve.values[0], curve.values[-1], curve.shares[-1]) == (durations.min(), durations.max(), 1.0)
    assert all((durations <= value).mean() == pytest.approx(share) for value, share in zip(curve.values, curve.shares, strict=True))


def test_the_band_covers_the_whole_true_curve() -> None:
    draw, covered = np.random.default_rng(11), 0
    for _ in range(300):
        curve = ecdf(draw.random(100))
        steps = np.array(curve.shares)
        covered += np.max(np.abs([steps - curve.values, steps - 0.01 - curve.values])) <= curve.band
    assert covered >= 285 - 8  # nominal 95 % of 300, less two standard deviations of the simulation


# ------------------------------------------------------------------------------------------------------------------- shift
OLDER = (0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46)
YOUNGER = (1.15, 0.88, 0.90, 0.74, 1.21)


def test_the_shift_of_the_textbook() -> None:
    """Permeability of human chorioamnion, Hollander and Wolfe, "Nonparametric Statistical Methods", examples 4.1, 4.3 and 4.4."""
    answer = shift(YOUNGER, OLDER)
    assert answer.estimate == pytest.approx(-0.305)
    assert (answer.low, answer.high) == (pytest.approx(-0.76), pytest.approx(0.15))
    assert answer.p_value == pytest.approx(0.2544, abs=5e-5)
    assert not answer.changed


@pytest.mark.parametrize(("n", "critical"), [(4, 0), (5, 2), (8, 13), (10, 23), (15, 64), (20, 127)])
def test_the_interval_stands_at_the_critical_value_of_the_mann_whitney_tables(n: int, critical: int) -> None:
    """Two-sided 5 %, equal sizes."""
    ours, theirs = np.arange(n) * 1.0, np.arange(n) * math.sqrt(2) + 0.1
    differences = np.sort(np.subtract.outer(ours, theirs).ravel())
    answer = shift(ours, theirs)
    assert (answer.low, answer.high) == (differences[critical], differences[-1 - critical])


@pytest.mark.parametrize(("first", "second"), [(3, 3), (1, 30)])
def test_too_few_durations_have_an_estimate_and_no_interval(first: int, second: int) -> None:
    answer = shift([5.0] * first, [4.0] * second)
    assert (answer.estimate, answer.low, answer.high, answer.changed) == (1.0, None, None, False)
    assert answer.lacking == f"{first} and {second} durations are too few for an interval at this confidence"


def test_a_missing_side_is_named() -> None:
    assert shift([], [1.0]).lacking == "the new release has no duration"
    assert shift([1.0], []).lacking == "the baseline has no duration"
    assert shift([1.0], []).estimate is None


@given(st.lists(st.integers(0, 50), min_size=51, max_size=70), st.lists(st.integers(0, 50), min_size=51, max_size=70))
def test_searching_the_differences_finds_what_listing_them_finds(ours: list[int], theirs: list[int]) -> None:
    answer = shift(ours, theirs)
    listed = np.sort(np.subtract.outer(ours, theirs).ravel())
    spread = math.sqrt(len(listed) * (len(ours) + len(theirs) + 1) / 12)
    rank = math.floor(len(listed) / 2 - stats.norm.ppf(0.975) * spread)
    assert answer.estimate == pytest.approx(np.median(listed), abs=1e-9)
    assert (answer.low, answer.high) == (pytest.approx(listed[rank - 1], abs=1e-9), pytest.approx(listed[-rank], abs=1e-9))
    assert shift(theirs, ours).estimate == pytest.approx(-answer.estimate, abs=1e-9)


@pytest.mark.parametrize("n", [12, 120])
def test_the_interval_of_the_shift_covers(n: int) -> None:
    draw, covered = np.random.default_rng(5), 0
    for _ in range(400):
        ours, theirs = (draw.lognormal(0, 0.5, n) for _ in range(2))
        answer = shift(ours + 0.2, theirs)
        assert answer.low is not None
        assert answer.high is not None
        covered += answer.low <= 0.2 <= answer.high
    assert covered >= 380 - 9  # nominal 95 % of 400, less two standard deviations of the simulation


def test_many_durations_are_thinned_and_the_interval_becomes_wider_not_narrower(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(3)
    ours, theirs = draw.lognormal(3, 0.1, 4000), draw.lognormal(3, 0.1, 5000)
    full = shift(ours, theirs)
    monkeypatch.setattr(shift_module, "_MOST_KEPT", 1000)
    thinned = shift(ours, theirs)
    assert None not in (full.low, full.high, thinned.low, thinned.high)
    assert thinned.low < full.low < thinned.estimate < full.high < thinned.high  # type: ignore[operator]
    assert thinned.estimate == pytest.approx(full.estimate, abs=0.05 * (full.high - full.low))  # type: ignore[operator]
    assert thinned.p_value == full.p_value
    assert (thinned.n_new, thinned.n_baseline) == (4000, 5000)


def test_equal_durations_have_no_shift() -> None:
    answer = shift([2.0] * 100, [2.0] * 100)
    assert (answer.estimate, answer.low, answer.high, answer.p_value, answer.changed) == (0.0, 0.0, 0.0, 1.0, False)


@pytest.mark.parametrize(
    "question",
    [
        lambda: quantile([1.0, math.nan], 0.5),
        lambda: quantile([1.0], 1.0),
        lambda: quantile_change([1.0], [0.0], 0.5),
        lambda: ecdf([math.inf]),
        lambda: ecdf([1.0], points=1),
        lambda: shift([1.0], [math.nan]),
        lambda: shift([1.0], [1.0], 1.0),
    ],
)
def test_senseless_questions_are_refused(question: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"finite|must lie|above zero|two points"):
        question()
