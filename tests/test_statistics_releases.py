"""Two releases compared by failures, and corrections for many comparisons: against published values and by enumeration."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from rig.report.statistics import Counts
from rig.report.statistics.many_comparisons import Correction, adjusted
from rig.report.statistics.releases import ReleaseComparison, compare_failures, trials_per_release


def compared(new: int, of_new: int, baseline: int, of_baseline: int) -> ReleaseComparison:
    return compare_failures(Counts(failed=new, trials=of_new), Counts(failed=baseline, trials=of_baseline))


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 873, table II, method 10
        ((56, 70, 48, 80), 0.0524, 0.3339),
        ((9, 10, 3, 10), 0.1705, 0.8090),
        ((6, 7, 2, 7), 0.0582, 0.8062),
        ((5, 56, 0, 29), -0.0381, 0.1926),
        ((0, 10, 0, 20), -0.1611, 0.2775),
        ((0, 10, 0, 10), -0.2775, 0.2775),
        ((10, 10, 0, 20), 0.6791, 1.0000),
        ((10, 10, 0, 10), 0.6075, 1.0000),
    ],
)
def test_newcombes_interval_agrees_with_his_table(counts: tuple[int, int, int, int], low: float, high: float) -> None:
    answer = compared(*counts)
    assert (answer.low, answer.high) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


def test_the_mock_ups_comparison() -> None:
    answer = compared(3, 3195, 0, 3180)
    assert answer.p_worse == pytest.approx(0.042, abs=5e-4)
    assert (answer.difference, answer.low, answer.high) == (
        pytest.approx(0.0009, abs=5e-5),
        pytest.approx(-0.0004, abs=5e-5),
        pytest.approx(0.0028, abs=5e-5),
    )
    assert answer.worse
    assert answer.p_exact == pytest.approx(0.125, abs=0.002)
    assert answer.noticeable == 3 / 3195


def test_the_score_test_is_the_chi_square_of_n_minus_one() -> None:
    """At no difference Miettinen and Nurminen's statistic is Pearson's chi-square times (N - 1)/N."""
    chi = stats.chi2_contingency([[30, 170], [12, 188]], correction=False).statistic * 399 / 400
    assert compared(30, 200, 12, 200).p_worse == pytest.approx(stats.norm.sf(math.sqrt(chi)), rel=1e-9)
    assert compared(12, 200, 30, 200).p_worse == pytest.approx(stats.norm.cdf(math.sqrt(chi)), rel=1e-9)


@pytest.mark.parametrize(("new", "share", "tolerance"), [(0.005, 0.049, 0.004), (0.015, 0.56, 0.015)])
def test_false_alarms_and_power_by_enumeration(new: float, share: float, tolerance: float) -> None:
    """600 trials each, the baseline at 0.5 %: 4.9 % false alarms, and 56 % alarms at 1.5 %."""
    alarms = math.fsum(
        stats.binom.pmf(ours, 600, new) * stats.binom.pmf(theirs, 600, 0.005)
        for ours in range(30)
        for theirs in range(14)
        if compared(ours, 600, theirs, 600).worse
    )
    assert alarms == pytest.approx(share, abs=tolerance)


@pytest.mark.parametrize("failed", [0, 50])
def test_where_all_ended_alike_nothing_speaks_for_a_difference(failed: int) -> None:
    answer = compared(failed, 50, failed, 50)
    assert (answer.difference, answer.p_worse, answer.p_exact, answer.worse) == (0.0, 1.0, 1.0, False)


def test_what_cannot_be_compared_says_so() -> None:
    assert compared(0, 0, 1, 10).lacking == "the new release was not tried"
    nothing = compared(1, 10, 0, 0)
    assert (nothing.lacking, nothing.p_worse, nothing.difference, nothing.worse) == ("the baseline was not tried", None, None, False)
    few = compared(1, 1, 0, 1)
    assert few.lacking == "with 1 and 1 trials no result could show a difference"
    assert (few.noticeable, few.worse) == (None, False)


@given(st.integers(1, 400), st.integers(1, 400), st.data())
def test_the_noticeable_share_is_the_smallest_that_is_significant(of_new: int, of_baseline: int, data: st.DataObject) -> None:
    baseline = data.draw(st.integers(0, of_baseline))
    answer = compared(0, of_new, baseline, of_baseline)
    if answer.noticeable is None:
        assert not compared(of_new, of_new, baseline, of_baseline).worse
    else:
        failed = round(answer.noticeable * of_new)
        assert compared(failed, of_new, baseline, of_baseline).worse
        assert not compared(failed - 1, of_new, baseline, of_baseline).worse


@pytest.mark.parametrize(("baseline", "new", "trials"), [(0.001, 0.005, 2310), (0.001, 0.003, 6169), (0.001, 0.01, 834)])
def test_the_size_for_two_releases_is_that_of_the_normal_formula(baseline: float, new: float, trials: int) -> None:
    assert abs(trials_per_release(baseline, new) - trials) <= 1


def test_the_size_for_two_releases_gives_about_the_power_asked_for() -> None:
    trials = trials_per_release(0.01, 0.05)
    noticed = math.fsum(
        stats.binom.pmf(new, trials, 0.05) * stats.binom.pmf(old, trials, 0.01)
        for new in range(40)
        for old in range(15)
        if compare_failures(Counts(failed=new, trials=trials), Counts(failed=old, trials=trials)).worse
    )
    assert noticed == pytest.approx(0.8, abs=0.04)


@pytest.mark.parametrize(("baseline", "new", "reason"), [(0.5, 0.5, "fails more often"), (0.0, 0.5, "baseline must lie")])
def test_two_releases_that_need_not_be_told_apart_are_refused(baseline: float, new: float, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        trials_per_release(baseline, new)


# ------------------------------------------------------------------------------------------------------- many comparisons
PUBLISHED = (
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
)
"""Benjamini and Hochberg, JRSS B 57 (1995), section 3.2: at 0.05 their rule rejects four hypotheses, step-down Bonferroni three."""


def test_the_corrections_reject_as_published() -> None:
    assert [p <= 0.05 for p in adjusted(PUBLISHED) if p is not None].count(True) == 3
    assert [p <= 0.05 for p in adjusted(PUBLISHED, Correction.BENJAMINI_HOCHBERG) if p is not None].count(True) == 4


P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=12)


@given(P_VALUES)
def test_holms_correction_is_the_largest_step_so_far(p_values: list[float]) -> None:
    ordered = sorted(p_values)
    steps = [min(1.0, (len(ordered) - rank) * p) for rank, p in enumerate(ordered)]
    expected = [max(steps[: ordered.index(p) + 1]) for p in p_values]
    assert adjusted(p_values) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("correction", "theirs"), [(Correction.HOLM, "holm"), (Correction.BENJAMINI_HOCHBERG, "fdr_bh")])
def test_the_corrections_are_those_of_statsmodels(correction: Correction, theirs: str) -> None:
    for p_values in (PUBLISHED, PUBLISHED[::-1], (0.01, 0.04, 0.01, 0.9), (0.2,)):
        assert adjusted(p_values, correction) == pytest.approx(multipletests(p_values, method=theirs)[1], abs=1e-12)


def test_what_was_not_tested_neither_counts_nor_is_invented() -> None:
    assert adjusted([0.01, None, 0.04]) == (0.02, None, 0.04)
    assert adjusted([None], Correction.BENJAMINI_HOCHBERG) == (None,)
    assert adjusted([]) == ()


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_what_is_no_p_value_is_refused(p: float) -> None:
    with pytest.raises(ValueError, match="no p values"):
        adjusted([0.5, p])
