"""Aimed rounds against a time line of flash operations instead of a bench: only the planner runs, and the supply has a given jitter."""

from __future__ import annotations

import bisect
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from rig.coverage import Known, Shot, Site, coverage
from rig.model import (
    AimedPlan,
    CutPlace,
    Fault,
    ImageFile,
    Limits,
    OperationKind,
    Outcome,
    Phase,
    PointPlan,
    Protocol,
    Request,
    Trial,
    Trigger,
    TriggerKind,
    Verdict,
)
from rig.plan import Progress, next_round

PAGES = 50
LATENCY_S = 4.8e-3
STAGE = Phase.INSTALL
DURATIONS = {OperationKind.ERASE: 85e-3, OperationKind.WRITE: 42e-3, OperationKind.STATUS: 82e-6}
Ending = Callable[[Shot], tuple[Verdict, Outcome]]


def swap_of_200_kib() -> tuple[Known, ...]:
    """404 operations: 150 page erases, 150 page writes, 104 status writes, three steps for each of 50 pages and four at the ends."""
    kinds = [OperationKind.STATUS] * 2
    for _ in range(PAGES):
        for step in range(3):
            kinds += [OperationKind.ERASE, OperationKind.WRITE] + [OperationKind.STATUS] * (step < 2)
    kinds += [OperationKind.STATUS] * 2
    known, start_s = [], 0.05
    for number, kind in enumerate(kinds, start=1):
        site = Site(phase=STAGE, occurrence=1, number=number)
        starts = {True: (start_s, start_s), False: (start_s, start_s)}
        known.append(
            Known(site=site, kind=kind, address=number * 4, words=1, words_before=number - 1, starts=starts, duration_s=DURATIONS[kind])
        )
        start_s += DURATIONS[kind] + 5e-6
    return tuple(known)


def template() -> Trial:
    image = ImageFile(path="a", sha256="a", size=1, version="1.0.0", image_hash="a")
    return Trial(
        id="", scenario="s", board="dk1", protocol=Protocol.SMP, seed=0, old=image, new=image, again=None, request=Request.TEST, confirm=True,
        staged=False, fault=None, limits=Limits(), stratum="control",
    )  # fmt: skip


def aimed(plan: PointPlan, budget: int, seed: int = 1, **options: object) -> AimedPlan:
    cut = Fault(trigger=Trigger(kind=TriggerKind.PHASE), off_s=0.3)
    return AimedPlan(scenario="s", soc="nrf52840", templates=(template(),), cut=cut, plan=plan, budget=budget, seed=seed, staged=0.9, **options)  # type: ignore[arg-type]


class Bench:
    """Executes cuts: the supply falls `LATENCY_S` after the command, with a normal jitter."""

    def __init__(self, known: Sequence[Known], jitter_s: float, *, seed: int = 7, ending: Ending | None = None) -> None:
        self.known, self._jitter_s, self._ending = known, jitter_s, ending
        self._rng = random.Random(seed)
        self._starts = [operation.start_s(staged=True) for operation in known]

    def shoot(self, trial: Trial) -> Shot:
        assert trial.fault is not None
        trigger, aim = trial.fault.trigger, trial.fault.aim
        anchor_s = self._starts[trigger.count - 1] if trigger.kind is TriggerKind.FLASH_OPERATION else 0.0
        fell_s = anchor_s + trigger.offset_s + LATENCY_S + self._rng.gauss(0.0, self._jitter_s)
        index = max(0, bisect.bisect_right(self._starts, fell_s) - 1)
        operation = self.known[index]
        progress = (fell_s - self._starts[index]) / operation.duration_s
        inside = 0 <= progress < 1
        return self._ended(
            Shot(
                trial=trial.id, board="dk1", staged=trial.staged, aim=aim, trigger=trigger, struck=operation.site if inside else None,
                after=None if inside else operation.site, kind=operation.kind if inside else None, progress=progress if inside else 0.0,
                latency_s=LATENCY_S, into_phase_s=fell_s, verdict=Verdict.PASS, outcome=Outcome.RESUMED,
                behind_s=None if inside else fell_s - self._starts[index] - operation.duration_s,
            )
        )

    def _ended(self, shot: Shot) -> Shot:
        if self._ending is None:
            return shot
        verdict, outcome = self._ending(shot)
        return replace(shot, verdict=verdict, outcome=outcome)


def rounds(plan: AimedPlan, bench: Bench) -> Iterator[tuple[tuple[Trial, ...], tuple[Shot, ...]]]:
    """Plans and executes round after round; yields each round's cuts, references left out."""
    shots: list[Shot] = []
    number = 1
    while trials := next_round(plan, Progress(known=tuple(bench.known), shots=tuple(shots), planned=len(shots)), number):
        made = tuple(bench.shoot(trial) for trial in trials)
        shots += made
        number += 1
        yield trials, made


def cuts_until_everywhere(plan: AimedPlan, bench: Bench) -> int | None:
    """How many cuts it takes to cut every operation inside and at a boundary; None when the budget does not suffice."""
    shots: list[Shot] = []
    for _, made in rounds(plan, bench):
        shots += made
        if all(coverage(bench.known, shots).share_at(place) == 1.0 for place in CutPlace):
            return len(shots)
    return None


def cuts_until(share: float, plan: AimedPlan, bench: Bench) -> int | None:
    """How many cuts it takes to strike this share of the operations; None when the budget does not suffice."""
    struck: set[Site] = set()
    made = 0
    for _, shots in rounds(plan, bench):
        for shot in shots:
            made += 1
            if shot.struck is not None:
                struck.add(shot.struck)
            if len(struck) >= share * len(bench.known):
                return made
    return None
