"""A programme around an aimed cut: what is drawn for it, what its trials are, and which of its strokes is credited."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rig.coverage import Shot, coverage, recognised, shot_of
from rig.model import (
    AimedPlan,
    Event,
    Fault,
    Judgement,
    Outcome,
    Phase,
    PointPlan,
    Trial,
    Trigger,
    TriggerKind,
    Verdict,
)
from rig.plan import Progress, next_round, plan
from rig.scenario import AimTemplate, FaultShare, FaultTemplate, Fixed, TriggerTemplate, Uniform
from rig.store.codec import from_json, to_json
from tests.simulated_cuts import STAGE, Bench, aimed, swap_of_200_kib, template
from tests.test_plan import BOARDS, IMAGES, SCENARIO

KNOWN = swap_of_200_kib()
BURST = Fault(trigger=Trigger(kind=TriggerKind.PHASE, phase=Phase.RESET), off_s=0.2, repeat=3, on_s=0.1)
LATER = Fault(trigger=Trigger(kind=TriggerKind.TIME, after=2, offset_s=0.4), off_s=0.2)
AIMED = FaultTemplate(
    trigger=TriggerTemplate(kind=TriggerKind.FLASH_OPERATION), off_s=Fixed(value=0.3), aim=AimTemplate(plan=PointPlan.EVERY)
)


def beside(kind: TriggerKind = TriggerKind.TIME, *, phase: Phase | None = None, after: int = 0, offset_s: Any = None) -> FaultTemplate:
    trigger = TriggerTemplate(kind=kind, phase=phase, after=after, offset_s=offset_s or Fixed(value=0.4))
    return FaultTemplate(trigger=trigger, off_s=Fixed(value=0.2))


def dealt(*programme: FaultTemplate) -> AimedPlan:
    changed = replace(SCENARIO, faults=(FaultShare(programme=programme),), staged=None)
    (found, *_) = plan([changed], BOARDS, IMAGES).aimed
    return found


def one_trial() -> Trial:
    plan_ = replace(aimed(PointPlan.LIST, 9, numbers=(50,)), beside=((BURST, LATER),), position=1)
    (trial,) = next_round(plan_, Progress(known=KNOWN, shots=(), planned=0), 1)
    return trial


def test_the_trials_of_a_round_have_the_whole_programme_in_its_order() -> None:
    trial = one_trial()
    assert trial.faults[0] == BURST
    assert trial.faults[1].aim is not None
    assert trial.faults[1].trigger.kind is not TriggerKind.TIME
    assert trial.faults[2] == LATER


def test_what_goes_along_is_drawn_for_each_trial_and_once_where_nothing_is_drawn() -> None:
    drawn = dealt(AIMED, beside(after=1, offset_s=Uniform(low=0.1, high=0.9)))
    assert drawn.position == 0
    assert len({programme[0].trigger.offset_s for programme in drawn.beside}) == drawn.budget > 1
    assert len(dealt(beside(TriggerKind.PHASE, phase=Phase.RESET), AIMED).beside) == 1
    assert dealt(beside(TriggerKind.PHASE, phase=Phase.RESET), AIMED).position == 1
    assert dealt(AIMED).beside == ()


@pytest.mark.parametrize(
    ("other", "staged"),
    [
        (beside(after=1), True),
        (beside(TriggerKind.PHASE, phase=Phase.RESET), True),
        (beside(TriggerKind.PHASE, phase=Phase.UPLOAD), False),
        (beside(TriggerKind.CHUNK, phase=Phase.UPLOAD), False),
        (beside(), False),
    ],
)
def test_nothing_is_staged_where_something_waits_for_the_upload(other: FaultTemplate, staged: bool) -> None:
    assert (dealt(AIMED, other).staged > 0) is staged


def delivered(n: int, number: int) -> Event:
    struck = {"phase": STAGE.value, "occurrence": 1, "number": number, "kind": "write", "address": number * 4, "progress": 0.5}
    return Event(
        seq=n, t_ns=n, source="inject", kind="fault.delivered", data={"n": n, "struck": struck, "failed_after_s": n / 1e3, "failed_t_ns": n}
    )


def proved(n: int) -> Event:
    return Event(seq=10 + n, t_ns=10, source="inject", kind="fault.proved", data={"n": n})


def shot(trial: Trial, *events: Event) -> Shot | None:
    judgement = Judgement(trial="T", verdict=Verdict.INCONCLUSIVE, outcome=Outcome.UNKNOWN, reason="")
    return shot_of(trial, judgement, events)


def test_the_aimed_cut_is_credited_by_its_own_number_and_its_own_proof() -> None:
    """A burst of three comes first, so that the aimed cut is number 4."""
    strokes = [delivered(1, 7), delivered(4, 50), delivered(5, 60)]
    found = shot(one_trial(), *strokes, proved(4))
    assert found is not None
    assert (found.struck, found.latency_s) == (KNOWN[49].site, 0.004)
    assert shot(one_trial(), *strokes, proved(1), proved(5)) is None
    assert shot(one_trial(), delivered(1, 7), proved(1)) is None


def test_without_an_aim_the_first_cut_counts() -> None:
    trial = replace(one_trial(), fault=BURST, further=(LATER,))
    found = shot(trial, delivered(2, 8), delivered(4, 60), proved(2), proved(4))
    assert found is not None
    assert (found.trigger, found.struck) == (BURST.trigger, KNOWN[7].site)
    assert shot(template(), delivered(1, 7), proved(1)) is None, "a control trial has no shot"


def test_a_cut_on_a_way_that_another_fault_has_changed_is_credited_to_none() -> None:
    known = {operation.site: operation for operation in KNOWN}
    usual = replace(Bench(KNOWN, 0.0).shoot(one_trial_alone()), address=200)
    assert usual.struck == KNOWN[49].site
    assert recognised(known, usual) == usual
    changed = replace(usual, address=204)
    assert recognised(known, changed).struck is None
    assert not coverage(KNOWN, [changed]).hits
    assert coverage(KNOWN, [changed]).aimed[KNOWN[49].site] == 1


def one_trial_alone() -> Trial:
    (trial,) = next_round(aimed(PointPlan.LIST, 9, numbers=(50,)), Progress(known=KNOWN, shots=(), planned=0), 1)
    return trial


def test_plans_of_older_folders_are_read() -> None:
    stored = to_json(aimed(PointPlan.EVERY, 9))
    for name in ("places", "beside", "position"):
        del stored[name]
    assert from_json(AimedPlan, stored, file="plan.json") == aimed(PointPlan.EVERY, 9)
