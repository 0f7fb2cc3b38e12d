"""Planning of aimed cuts, without a bench: a simulated time line of flash operations and a supply with a known jitter."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rig.coverage import Shot, coverage, purpose
from rig.model import MemoryMap, OperationKind, Outcome, Phase, PointPlan, Region, Verdict
from rig.plan import Aiming, Progress, next_round
from rig.plan.aiming import window
from tests.simulated_cuts import LATENCY_S, Bench, aimed, cuts_until, rounds, swap_of_200_kib

KNOWN = swap_of_200_kib()
WEAK = next(known for known in KNOWN[200:] if known.kind is OperationKind.STATUS)


def progress(*shots: Shot, planned: int = 0) -> Progress:
    return Progress(known=KNOWN, shots=shots, planned=planned)


def test_the_first_round_learns_both_ways_to_begin_and_spends_the_budget() -> None:
    trials = next_round(aimed(PointPlan.ADAPTIVE, 100), progress(), 0)
    assert [trial.staged for trial in trials] == [False, True, False, True]
    assert all(trial.fault is None for trial in trials)
    assert len({trial.seed for trial in trials}) == len(trials)
    assert next_round(aimed(PointPlan.ADAPTIVE, 4), progress(planned=4), 1) == ()


def test_equal_results_give_an_equal_round_and_another_seed_another() -> None:
    first, again, other = (next_round(aimed(PointPlan.ADAPTIVE, 100, seed), progress(), 1) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_without_jitter_every_operation_is_struck_after_a_round_that_calibrates() -> None:
    bench = Bench(KNOWN, 1e-6)
    made = cuts_until(1.0, aimed(PointPlan.EVERY, 1000), bench)
    assert made is not None
    assert made <= len(KNOWN) + 20


def test_phases_kinds_and_numbers_restrict_what_is_aimed_at() -> None:
    plan = aimed(PointPlan.LIST, 100, kinds=(OperationKind.STATUS,), numbers=(1, 2, 3), phases=(Phase.INSTALL,))
    trials = next_round(plan, progress(), 1)
    assert [(trial.fault.aim.number, trial.fault.aim.kind) for trial in trials if trial.fault and trial.fault.aim] == [
        (1, OperationKind.STATUS), (2, OperationKind.STATUS),
    ]  # fmt: skip
    assert next_round(aimed(PointPlan.LIST, 100, phases=(Phase.CONFIRM,), numbers=(1,)), progress(), 1) == ()


@pytest.mark.parametrize(("jitter_s", "most"), [(50e-6, 500), (1e-3, 2500)])
def test_the_adaptive_plan_reaches_nine_tenths_of_the_operations(jitter_s: float, most: int) -> None:
    made = cuts_until(0.9, aimed(PointPlan.ADAPTIVE, most + 500, round_size=200), Bench(KNOWN, jitter_s))
    assert made is not None
    assert made <= most


def test_what_is_sure_to_be_struck_is_not_put_off_for_what_is_hard() -> None:
    """As long as status writes are missing, a millisecond of jitter would spend a budget on them alone; the writes here have none beside them."""
    last = KNOWN[-1]
    begin_s = last.start_s(staged=True) + 0.1
    calm = tuple(
        replace(
            last, site=replace(last.site, number=last.site.number + n), kind=OperationKind.WRITE, duration_s=21e-3,
            starts=dict.fromkeys((True, False), (begin_s + n * 21e-3, begin_s + n * 21e-3)), words_before=last.words_before + n,
        )
        for n in range(1, 101)
    )  # fmt: skip
    shots = [shot for _, made in rounds(aimed(PointPlan.ADAPTIVE, 800, round_size=100), Bench((*KNOWN, *calm), 1e-3)) for shot in made]
    assert {known.site for known in calm} <= {shot.struck for shot in shots}


def test_cuts_at_random_need_many_times_as_many() -> None:
    assert cuts_until(0.9, aimed(PointPlan.RANDOM, 800, round_size=200), Bench(KNOWN, 50e-6)) is None


def test_the_lead_and_its_jitter_are_learnt_per_board() -> None:
    bench = Bench(KNOWN, 50e-6)
    shots = [shot for _, made in rounds(aimed(PointPlan.EVERY, 60), bench) for shot in made]
    other = [replace(shot, board="dk2", into_phase_s=None, struck=None) for shot in shots]
    leads = Aiming(KNOWN, [*shots, *other]).leads()
    assert list(leads) == ["dk1"]
    assert leads["dk1"].mean_s == pytest.approx(LATENCY_S, abs=50e-6)
    assert leads["dk1"].spread_s == pytest.approx(50e-6, rel=0.7)


def test_a_window_of_one_status_write_is_found_and_its_boundary_narrowed_without_being_told() -> None:
    def ending(shot: Shot) -> tuple[Verdict, Outcome]:
        return (Verdict.FAIL, Outcome.BRICKED) if shot.struck == WEAK.site else (Verdict.PASS, Outcome.RESUMED)

    bench = Bench(KNOWN, 5e-6, ending=ending)
    shots = [shot for _, made in rounds(aimed(PointPlan.ADAPTIVE, 700), bench) for shot in made]
    failed = [shot for shot in shots if shot.verdict is Verdict.FAIL]
    assert {shot.struck for shot in failed} == {WEAK.site}
    near = [shot.aim.number for shot in shots if shot.aim and shot.aim.drawn == "boundary"]
    assert sum(abs(number - WEAK.site.number) <= 1 for number in near) >= 4, "what lies between good and bad is narrowed down to neighbours"


def test_a_share_falls_anywhere() -> None:
    trials = next_round(aimed(PointPlan.ADAPTIVE, 1000, random_share=0.25, round_size=40), progress(planned=10), 2)
    assert sum(trial.fault is not None and trial.fault.aim is not None and trial.fault.aim.drawn == "chance" for trial in trials) == 10


def test_hits_are_credited_to_what_was_struck_and_not_to_what_was_aimed_at() -> None:
    bench = Bench(KNOWN, 0.0)
    (trial, *_) = next_round(aimed(PointPlan.LIST, 9, numbers=(50,)), progress(), 1)
    shot = replace(bench.shoot(trial), struck=KNOWN[60].site, progress=0.5)
    found = coverage(KNOWN, [shot])
    assert (found.hits[KNOWN[60].site], found.hits[KNOWN[49].site], found.aimed[KNOWN[49].site]) == (1, 0, 1)
    assert sum(cell.hit for cell in found.cells()) == 1
    assert sum(cell.known for cell in found.cells()) == len(KNOWN)


def test_most_trials_after_the_upload_begin_with_the_image_in_place_and_the_record_says_so() -> None:
    trials = [trial for planned, _ in rounds(aimed(PointPlan.EVERY, 200), Bench(KNOWN, 0.0)) for trial in planned]
    assert 0.8 < sum(trial.staged for trial in trials) / len(trials) < 1.0


@pytest.mark.parametrize(("before", "after", "spread", "expected"), [(1.0, 1.0, 1.0, 0.6827), (1.0, 1.0, 1e-9, 1.0), (-1.0, 2.0, 0.1, 0.0)])
def test_the_probability_to_stay_inside(before: float, after: float, spread: float, expected: float) -> None:
    assert window(before, after, spread) == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("erase", "address", "words", "kind"),
    [
        (True, 0x81000, 1, OperationKind.ERASE),
        (False, 0x81FD8, 4, OperationKind.STATUS),
        (False, 0xC000, 1024, OperationKind.WRITE),
        (False, 0x81000, 1024, OperationKind.WRITE),
    ],
)
def test_what_an_operation_is_for_is_told_by_its_place(erase: bool, address: int, words: int, kind: OperationKind) -> None:
    memory = MemoryMap(
        primary=Region(start=0xC000, size=0x76000), secondary=Region(start=0x82000, size=0x76000), user_data=Region(start=0xF8000, size=0x8000)
    )
    assert purpose(erase=erase, address=address, words=words, memory=memory) is kind
