"""Where a cut fell: inside an operation, or at a boundary of one or two; and how a plan goes through both."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rig.coverage import Known, Shot, Site, coverage, cuts_until
from rig.model import CutPlace, OperationKind, Outcome, Phase, PointPlan, Trigger, TriggerKind, Verdict
from rig.plan import Aiming, Progress, next_round
from tests.simulated_cuts import LATENCY_S, STAGE, Bench, aimed, cuts_until_everywhere, rounds, swap_of_200_kib

KNOWN = swap_of_200_kib()
BOTH = (CutPlace.INSIDE, CutPlace.BOUNDARY)
STATUS, ERASE, WRITE = 2, 3, 4
"""Numbers of three operations in a row: 82 µs, 85 ms, 42 ms."""


def back_to_back() -> tuple[Known, ...]:
    """The same operations without any pause between them."""
    found, start_s = [], 0.05
    for known in KNOWN:
        found.append(replace(known, starts={True: (start_s, start_s), False: (start_s, start_s)}))
        start_s += known.duration_s
    return tuple(found)


def site(number: int) -> Site:
    return Site(phase=STAGE, occurrence=1, number=number)


def cut(*, struck: int | None = None, progress: float = 0.0, after: int | None = None) -> Shot:
    return Shot(
        trial="T", board="dk1", staged=True, aim=None, trigger=Trigger(kind=TriggerKind.PHASE), struck=site(struck) if struck else None,
        after=site(after) if after else None, kind=None, progress=progress, latency_s=None, into_phase_s=None, verdict=Verdict.PASS,
        outcome=Outcome.RESUMED,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shot", "inside", "boundaries"),
    [
        (cut(struck=ERASE, progress=0.5), {ERASE}, set()),
        (cut(struck=ERASE, progress=0.1), {ERASE}, set()),
        (cut(struck=ERASE, progress=0.951), set(), {ERASE, WRITE}),
        (cut(struck=ERASE, progress=0.949), set(), {ERASE}),
        (cut(struck=ERASE, progress=0.00005), set(), {STATUS, ERASE}),
        (cut(struck=ERASE, progress=0.05), set(), {ERASE}),
        (cut(struck=STATUS, progress=0.95), set(), {STATUS, ERASE}),
        (cut(after=STATUS), set(), {STATUS, ERASE}),
        (cut(after=len(KNOWN)), set(), {len(KNOWN)}),
        (cut(struck=1, progress=0.0), set(), {1}),
        (cut(), set(), set()),
    ],
)  # fmt: skip
def test_what_counts_as_inside_and_as_a_boundary(shot: Shot, inside: set[int], boundaries: set[int]) -> None:
    """What is 4.2 ms before the end of an erase is close to the write of 42 ms; what is 8 µs behind its beginning, to the status write."""
    found = coverage(KNOWN, [shot])
    assert {place: {at.number for at in found.done[place] if found.done[place][at]} for place in BOTH} == {
        CutPlace.INSIDE: inside, CutPlace.BOUNDARY: boundaries,
    }  # fmt: skip


def test_the_table_tells_hits_inside_from_those_at_a_boundary_and_what_is_missing_of_each() -> None:
    found = coverage(KNOWN[:5], [cut(struck=ERASE, progress=0.5), cut(struck=WRITE, progress=0.99), cut(after=1)])
    rows = {cell.kind: (cell.known, cell.hit, cell.inside, cell.at_boundary) for cell in found.cells()}
    assert rows == {OperationKind.STATUS: (3, 0, 0, 2), OperationKind.ERASE: (1, 1, 1, 0), OperationKind.WRITE: (1, 1, 0, 1)}
    missing = {cell.kind: (cell.never, cell.never_inside, cell.never_at_boundary) for cell in found.cells()}
    assert missing[OperationKind.STATUS] == ((1, 2, 5), (1, 2, 5), (5,))
    assert missing[OperationKind.WRITE] == ((), (WRITE,), ())


@pytest.mark.parametrize("operations", [KNOWN, back_to_back()], ids=["pauses of 5 µs", "no pauses"])
@pytest.mark.parametrize("jitter_s", [0.0, 1e-6, 5e-6])
def test_every_operation_is_cut_inside_and_at_a_boundary_with_little_more_than_one_cut_and_a_half(
    operations: tuple[Known, ...], jitter_s: float
) -> None:
    made = cuts_until_everywhere(aimed(PointPlan.EVERY, 2000, places=BOTH), Bench(operations, jitter_s))
    assert made is not None
    assert made <= 1.5 * len(operations) + 20


def test_it_ends_when_nothing_is_missing() -> None:
    plan = aimed(PointPlan.LIST, 200, places=BOTH, numbers=(10, 11, 12))
    made = [shot for _, shots in rounds(plan, Bench(KNOWN, 0.0)) for shot in shots]
    assert len(made) <= 10
    assert all(coverage(KNOWN[9:12], made).share_at(place) == 1.0 for place in BOTH)


def test_every_second_pause_is_aimed_at_first() -> None:
    trials = next_round(aimed(PointPlan.EVERY, 300, places=BOTH, round_size=300), Progress(known=KNOWN, shots=(), planned=4), 2)
    aims = [trial.fault.aim for trial in trials if trial.fault and trial.fault.aim]
    assert [aim.number for aim in aims[:3]] == [1, 3, 5]
    assert [(aim.place, aim.inside) for aim in aims[:202]] == [(CutPlace.BOUNDARY, 1.0)] * 202
    assert [(aim.place, aim.number, aim.inside) for aim in aims[202:204]] == [(CutPlace.INSIDE, 1, 0.5), (CutPlace.INSIDE, 2, 0.5)]


def test_a_place_that_no_cut_finds_is_given_up() -> None:
    """A supply with a millisecond of jitter strikes a boundary of 82 µs once in a hundred cuts."""
    bench = Bench(KNOWN, 1e-3)
    plan = aimed(PointPlan.EVERY, 5000, places=(CutPlace.BOUNDARY,), kinds=(OperationKind.STATUS,), round_size=500)
    made = [shot for _, shots in rounds(plan, bench) for shot in shots]
    assert len(made) < 5000
    tried = coverage(KNOWN, made).tried[CutPlace.BOUNDARY]
    assert max(tried.values()) == 40


def test_the_lead_is_learnt_from_cuts_that_fell_between_two_operations() -> None:
    spread = tuple(
        replace(known, starts={True: (begin := 0.05 + number * 0.2, begin), False: (begin, begin)}) for number, known in enumerate(KNOWN)
    )
    bench = Bench(spread, 20e-6)
    shots = []
    for _, made in rounds(aimed(PointPlan.EVERY, 40, places=(CutPlace.BOUNDARY,)), bench):
        shots += [replace(shot, into_phase_s=None) for shot in made]
    assert all(shot.struck is None for shot in shots[8:]), "half way between two operations that are far apart"
    lead = Aiming(spread, shots).leads()["dk1"]
    assert lead.mean_s == pytest.approx(LATENCY_S, abs=30e-6)


def test_phases_do_not_border_on_each_other() -> None:
    last, first = replace(KNOWN[0], site=Site(phase=Phase.MARK, occurrence=1, number=1)), KNOWN[0]
    shot = replace(cut(), after=last.site)
    assert coverage((last, first), [shot]).done[CutPlace.BOUNDARY] == {last.site: 1}


def test_how_many_cuts_a_share_of_the_operations_took() -> None:
    shots = [cut(struck=1, progress=0.5), cut(after=1), cut(struck=1, progress=0.5), cut(struck=9, progress=0.5), cut(struck=2, progress=0.5)]
    assert [cuts_until(share, KNOWN[:4], shots) for share in (0.25, 0.5, 0.75)] == [1, 5, None]
