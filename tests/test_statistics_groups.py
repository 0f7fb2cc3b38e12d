"""Boards and nights compared, one left out at a time, and behaviour not seen yet: by enumeration of every possible deal."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rig.report.statistics import Counts, upper_bound
from rig.report.statistics import homogeneity as module
from rig.report.statistics.homogeneity import homogeneity, leave_one_out
from rig.report.statistics.unseen import unseen_share

MOCK_UP = {
    "DK01": Counts(failed=0, trials=398),
    "DK02": Counts(failed=1, trials=418),
    "DK03": Counts(failed=0, trials=411),
    "DK04": Counts(failed=0, trials=399),
    "DK05": Counts(failed=1, trials=397),
    "DK06": Counts(failed=0, trials=390),
    "DK07": Counts(failed=1, trials=412),
    "DK08": Counts(failed=0, trials=370),
}
ONE_BAD = {f"dk{number}": Counts(failed=8 if number == 4 else number % 2, trials=300) for number in range(1, 7)}


def boards(*counts: tuple[int, int]) -> dict[str, Counts]:
    return {f"dk{index}": Counts(failed=failed, trials=trials) for index, (failed, trials) in enumerate(counts, 1)}


@pytest.mark.parametrize("counts", [((3, 4), (0, 3), (0, 5)), ((1, 4), (1, 3), (1, 5)), ((0, 2), (2, 2), (1, 6)), ((4, 5), (0, 4))])
def test_the_p_value_is_the_share_of_all_deals_that_are_as_uneven(counts: tuple[tuple[int, int], ...]) -> None:
    """Every set of trials that could have failed, one by one, ordered by scipy's chi-square."""
    owner = [board for board, (_, trials) in enumerate(counts) for _ in range(trials)]
    failures = sum(failed for failed, _ in counts)

    def uneven(failed: list[int]) -> float:
        table = [failed, [trials - bad for bad, (_, trials) in zip(failed, counts, strict=True)]]
        return float(stats.chi2_contingency(table, correction=False).statistic)

    found = uneven([failed for failed, _ in counts])
    deals = [
        [sum(owner[trial] == board for trial in chosen) for board in range(len(counts))]
        for chosen in itertools.combinations(range(len(owner)), failures)
    ]
    expected = sum(uneven(deal) >= found - 1e-9 for deal in deals) / len(deals)
    assert homogeneity(boards(*counts)).p_value == pytest.approx(expected)


@pytest.mark.parametrize(("first", "second", "p"), [((3, 4), (1, 4), 0.4857), ((5, 20), (0, 20), 0.0471)])
def test_two_boards_of_equal_size_give_fishers_two_sided_test(first: tuple[int, int], second: tuple[int, int], p: float) -> None:
    """The first is Fisher's lady tasting tea, "The Design of Experiments", 1935."""
    assert homogeneity(boards(first, second)).p_value == pytest.approx(p, abs=5e-5)


def test_draws_agree_with_the_enumeration(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = boards((4, 100), (0, 150), (1, 120), (0, 90))
    exact = homogeneity(groups)
    monkeypatch.setattr(module, "_MOST_TABLES", 0)
    drawn = homogeneity(groups)
    assert (exact.exact, drawn.exact) == (True, False)
    assert exact.p_value is not None
    assert drawn.p_value == pytest.approx(exact.p_value, abs=4 * (exact.p_value / 9999) ** 0.5)
    assert homogeneity(groups) == drawn, "the seed is fixed"
    assert homogeneity(boards((40, 100), (0, 100), (0, 100))).p_value == 1e-4, "never zero, however uneven"


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Five boards alike, 400 seeded campaigns with so few failures that a chi-square approximation would not hold."""
    draw = np.random.default_rng(17)
    alarms = 0
    for _ in range(400):
        found = homogeneity(boards(*((int(failed), 60) for failed in draw.binomial(60, 0.02, 5))))
        alarms += found.differ
        assert found.p_value is None or found.p_value > 0
    assert alarms <= 20 + 9  # nominal 5 % of 400, and two standard deviations of the simulation


def test_the_mock_ups_boards_show_no_sign_of_a_difference() -> None:
    found = homogeneity(MOCK_UP)
    assert (found.differ, found.exact, found.standouts, found.enough) == (False, True, (), True)
    assert found.note == f"no sign that the boards differ (p = {found.p_value:.2g}), which does not prove that they are alike"


def test_a_bad_board_is_named() -> None:
    found = homogeneity(ONE_BAD)
    assert found.differ
    assert found.standouts == ("dk4",)
    assert found.note == f"the boards differ by more than chance (p = {found.p_value:.2g}); dk4 stands out"
    two = homogeneity({**ONE_BAD, "dk2": Counts(failed=30, trials=300), "dk4": Counts(failed=30, trials=300)}, what="night")
    assert two.note.endswith("; dk2, dk4 stand out")
    assert two.note.startswith("the nights differ")


@pytest.mark.parametrize(
    ("groups", "lacking"),
    [
        ({}, "no board was tried"),
        (boards((1, 10)), "only one board was tried"),
        (boards((1, 10), (0, 0)), "only one board was tried"),
        (boards((0, 10), (0, 10)), "nothing failed"),
        (boards((3, 3), (2, 2)), "everything failed"),
        (boards((2, 10), (0, 10)), "2 failures are too few to tell, however they fall"),
    ],
)
def test_what_cannot_be_told_is_said(groups: dict[str, Counts], lacking: str) -> None:
    found = homogeneity(groups)
    assert (found.lacking, found.differ) == (lacking, False)
    assert found.note == f"whether the boards differ cannot be told: {lacking}"


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(4, 40)), min_size=2, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_the_boards_does_not_matter(counts: list[tuple[int, int]], shuffler: st.DataObject) -> None:
    groups = boards(*counts)
    names = list(groups)
    shuffler.shuffle(names)  # type: ignore[attr-defined]
    one, other = homogeneity(groups), homogeneity({name: groups[name] for name in names})
    assert one.p_value == (None if other.p_value is None else pytest.approx(other.p_value))
    assert set(one.standouts) == set(other.standouts)


# ----------------------------------------------------------------------------------------------------------- leave one out
def test_the_bound_without_each_board_is_that_of_the_others() -> None:
    answer = leave_one_out(MOCK_UP)
    assert answer.bound == upper_bound(3, 3195)
    assert answer.without["DK02"] == upper_bound(2, 3195 - 418)
    assert list(answer.without) == list(MOCK_UP)
    assert (answer.worst, answer.worst_bound) == ("DK05", upper_bound(1, 397, 1 - 0.05 / 8))


def test_a_single_bad_board_that_carries_the_failures_is_seen() -> None:
    groups = boards((0, 1000), (5, 1000), (0, 1000), (0, 1000))
    answer = leave_one_out(groups)
    assert answer.bound > 0.001 > answer.without["dk2"]
    assert (answer.carried_by(0.001), answer.rests_on(0.001)) == (("dk2",), ())
    assert answer.carried_by(0.1) == answer.rests_on(0.1) == ()


def test_a_board_with_all_the_good_trials_is_seen() -> None:
    answer = leave_one_out(boards((1, 300), (0, 5000), (0, 300)))
    assert answer.bound < 0.001
    assert (answer.carried_by(0.001), answer.rests_on(0.001)) == ((), ("dk2",))


def test_one_board_cannot_be_left_out() -> None:
    answer = leave_one_out(boards((1, 300)))
    assert (answer.bound, answer.without, answer.lacking) == (upper_bound(1, 300), {}, "only one board was tried")
    assert leave_one_out({}).bound == 1.0


# ------------------------------------------------------------------------------------------------------------------ unseen
def test_the_share_not_seen_is_the_share_seen_once() -> None:
    answer = unseen_share([3000, 150, 44, 1])
    assert (answer.trials, answer.signatures, answer.once, answer.share) == (3195, 4, 1, 1 / 3195)
    assert (unseen_share([]).share, unseen_share([]).lacking) == (None, "no trial was made")


def test_the_share_not_seen_is_right_on_average_and_its_bound_nearly_always() -> None:
    draw, truth, estimates, covered = np.random.default_rng(23), [], [], 0
    chances = 1.0 / np.arange(1, 201) ** 1.3
    chances /= chances.sum()
    for _ in range(300):
        seen = draw.multinomial(400, chances)
        answer = unseen_share(seen[seen > 0].tolist())
        truth.append(chances[seen == 0].sum())
        estimates.append(answer.share)
        covered += answer.upper >= truth[-1]
    assert np.mean(estimates) == pytest.approx(np.mean(truth), rel=0.05)
    assert covered >= 285


@pytest.mark.parametrize(
    "question",
    [
        lambda: homogeneity(MOCK_UP, 1.0),
        lambda: leave_one_out(MOCK_UP, 0.0),
        lambda: unseen_share([0]),
        lambda: unseen_share([1], 1.5),
    ],
)
def test_senseless_questions_are_refused(question: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must lie|at least once"):
        question()
