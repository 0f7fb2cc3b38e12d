"""The smallest programme that still makes a trial fail: fewest faults, shortest, simplest trigger, and the operations that matter.

Every step is a run of the changed trial beside the campaign's numbers; a change is kept when the trial fails as it did before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from rig.coverage import Known, Reference, Shot, Site, known_operations, shot_of
from rig.errors import StorageError
from rig.journal import read_journal
from rig.model import Aim, Event, Fault, FaultKind, Judgement, Phase, Trial, Trigger, TriggerKind, Verdict
from rig.plan import Aiming
from rig.run.again import own_stand, run_beside
from rig.store import Session, layout

_SHORTEST_S = 0.001
_ROUNDINGS = (0, 1, 2, 3, 4)
"""Decimals of an offset in seconds that are tried, the coarsest first."""
_TRIES_TO_STRIKE = 4
"""Cuts at one operation until one strikes it."""
_NEIGHBOURS = 3
"""Operations on each side of the one that was struck that are looked at, at most."""


@dataclass(frozen=True, kw_only=True)
class Struck:
    """An operation, and how a cut that struck it ended."""

    operation: Known
    judgement: Judgement


@dataclass(frozen=True, kw_only=True)
class Shrunk:
    """The smallest trial that fails, how many runs that took, and the operations around the one that its cut strikes."""

    trial: Trial
    judgement: Judgement
    runs: int
    around: tuple[Struck, ...]


@dataclass(frozen=True, kw_only=True)
class _Run:
    trial: Trial
    judgement: Judgement
    events: Sequence[Event]

    @property
    def shot(self) -> Shot | None:
        return shot_of(self.trial, self.judgement, self.events)


class Shrinking:
    """Makes the programme of one failed trial smaller.  `tell` hears of every step in words."""

    def __init__(self, session: Session, trial_id: str, tell: Callable[[str], None]) -> None:
        """Raises `StorageError` when the trial has not failed, or has no fault to make smaller."""
        self._session, self._tell = session, tell
        self._trial = session.campaign.trial(trial_id)
        self._stand = own_stand(session.campaign, self._trial)
        judgement = session.campaign.judgement(trial_id)
        if judgement is None or judgement.verdict is not Verdict.FAIL or not self._trial.faults:
            raise StorageError(f"{session.campaign.path}: trial {trial_id} has no fault that made it fail; there is nothing to shrink")
        self._outcome = judgement.outcome
        self._runs = 0

    def run(self) -> Shrunk | None:
        """Shrink; None when the trial does not fail any more."""
        best = self._run(self._trial)
        if not self._fails(best):
            return None
        for what, changes in (
            ("without", _fewer), ("once instead of several times", _once), ("shorter", _shorter), ("from the beginning of its phase", _simpler),
            ("with a rounder offset", _rounder),
        ):  # fmt: skip
            best = self._keep_what_fails(what, changes, best)
        return Shrunk(trial=best.trial, judgement=best.judgement, runs=self._runs, around=self._around(best))

    def _keep_what_fails(self, what: str, changes: Callable[[_Run], Iterator[Trial]], best: _Run) -> _Run:
        """Make the change as often as the trial still fails with it."""
        while True:
            for trial in changes(best):
                tried = self._run(trial)
                if self._fails(tried):
                    self._tell(f"still fails {what}: {describe(tried.trial)}")
                    best = tried
                    break
            else:
                return best
            if changes in (_simpler, _rounder):
                return best

    def _run(self, trial: Trial) -> _Run:
        self._runs += 1
        judgement, folder = run_beside(
            self._session, trial, self._stand, lambda now: self._session.begin_shrink(self._trial.id, now)
        )
        return _Run(trial=trial, judgement=judgement, events=read_journal(folder / layout.JOURNAL).events)

    def _fails(self, run: _Run) -> bool:
        return run.judgement.verdict is Verdict.FAIL and run.judgement.outcome is self._outcome

    # ------------------------------------------------------------------------------------------------------- operations
    def _around(self, best: _Run) -> tuple[Struck, ...]:
        """The operation that a single cut strikes, and its neighbours on both sides as far as a cut at them fails too."""
        fault = best.trial.fault
        if fault is None or len(best.trial.faults) > 1 or fault.kind is not FaultKind.POWER_CUT or best.shot is None:
            return ()
        site = best.shot.struck or best.shot.after
        reference = self._run(replace(best.trial, fault=None, stratum="control", again=None))
        known = known_operations([Reference(staged=reference.trial.staged, events=reference.events)])
        index = next((number for number, operation in enumerate(known) if operation.site == site), None)
        if index is None:
            return ()
        found = {index: self._strike(best, known, index)}
        for step in (-1, 1):
            for distance in range(1, _NEIGHBOURS + 1):
                at = index + step * distance
                if not 0 <= at < len(known):
                    break
                found[at] = self._strike(best, known, at)
                if found[at] is None or found[at].judgement.verdict is not Verdict.FAIL:  # type: ignore[union-attr]
                    break
        return tuple(struck for _, struck in sorted(found.items()) if struck is not None)

    def _strike(self, best: _Run, known: Sequence[Known], index: int) -> Struck | None:
        """A cut that strikes this operation, found by aiming; None when none of a few does."""
        target = known[index]
        shots = [shot for shot in (_aimed(best),) if shot is not None]
        for _ in range(_TRIES_TO_STRIKE):
            plan = Aiming(known, shots).at(best.trial.board, target, 0.5, staged=best.trial.staged)
            site = target.site
            aim = Aim(phase=site.phase, occurrence=site.occurrence, number=site.number, kind=target.kind, inside=0.5)
            assert best.trial.fault is not None
            tried = self._run(replace(best.trial, fault=replace(best.trial.fault, trigger=plan.trigger, aim=aim)))
            if tried.shot is None:
                continue
            shots.append(tried.shot)
            if tried.shot.struck == target.site:
                self._tell(f"a cut in {describe_operation(target)}: {tried.judgement.verdict} {tried.judgement.outcome}")
                return Struck(operation=target, judgement=tried.judgement)
        return None


def _aimed(run: _Run) -> Shot | None:
    """The shot of a run as if it had been aimed at what it struck, so that its lead can be learnt from."""
    shot = run.shot
    if shot is None or shot.struck is None or shot.kind is None:
        return None
    site: Site = shot.struck
    aim = Aim(phase=site.phase, occurrence=site.occurrence, number=site.number, kind=shot.kind, inside=shot.progress)
    return replace(shot, aim=aim)


# ------------------------------------------------------------------------------------------------------------ the changes
def _with(trial: Trial, faults: Sequence[Fault]) -> Trial:
    return replace(trial, fault=faults[0], further=tuple(faults[1:]))


def _fewer(run: _Run) -> Iterator[Trial]:
    """One fault less; those that waited for it wait for nothing."""
    faults = run.trial.faults
    for gone in range(len(faults) if len(faults) > 1 else 0):
        yield _with(run.trial, [_renumbered(fault, gone + 1) for index, fault in enumerate(faults) if index != gone])


def _renumbered(fault: Fault, gone: int) -> Fault:
    after = fault.trigger.after
    return replace(fault, trigger=replace(fault.trigger, after=0 if after == gone else after - (after > gone)))


def _once(run: _Run) -> Iterator[Trial]:
    yield from _each(run.trial, lambda fault: replace(fault, repeat=fault.repeat // 2) if fault.repeat > 1 else None)


def _shorter(run: _Run) -> Iterator[Trial]:
    yield from _each(run.trial, lambda fault: replace(fault, off_s=round(fault.off_s / 2, 4)) if fault.off_s > 2 * _SHORTEST_S else None)


def _simpler(run: _Run) -> Iterator[Trial]:
    """Waiting for something simpler, the simplest first."""
    trial = run.trial
    fired = [event for event in run.events if event.kind == "fault.triggered"]
    if trial.fault is None or len(trial.faults) > 1 or not fired or trial.fault.trigger.kind is TriggerKind.PHASE:
        return
    for trigger in _simpler_triggers(run.events, fired[0], trial.fault.trigger):
        yield replace(trial, fault=replace(trial.fault, trigger=trigger, aim=None))


def _simpler_triggers(events: Sequence[Event], fired: Event, trigger: Trigger) -> Iterator[Trigger]:
    """Instead of whatever it waits for, the beginning of the phase in which it fired, which every bench knows.

    Instead of a sign in the supply's samples, which is noticed late and never twice at the same time: the flash operation at which it
    was noticed.
    """
    begun = [event for event in events if event.kind == "phase.start" and event.seq < fired.seq]
    phase = Phase(begun[-1].data["phase"])
    occurrence = sum(event.data["phase"] == phase for event in begun)
    since_s = (fired.t_ns - begun[-1].t_ns) / 1e9
    yield Trigger(kind=TriggerKind.PHASE, phase=phase, occurrence=occurrence, offset_s=round(since_s + trigger.offset_s, 6))
    operation = fired.data.get("operation")
    if trigger.kind in (TriggerKind.CURRENT, TriggerKind.GPIO) and isinstance(operation, int):
        count = operation - int(begun[-1].data["operation"]) + 1
        yield Trigger(kind=TriggerKind.FLASH_OPERATION, phase=phase, occurrence=occurrence, count=count, offset_s=trigger.offset_s)


def _rounder(run: _Run) -> Iterator[Trial]:
    for decimals in _ROUNDINGS:
        yield from _each(run.trial, lambda fault, decimals=decimals: _rounded(fault, decimals))  # type: ignore[misc]


def _rounded(fault: Fault, decimals: int) -> Fault | None:
    offset_s = round(fault.trigger.offset_s, decimals)
    return replace(fault, trigger=replace(fault.trigger, offset_s=offset_s)) if offset_s != fault.trigger.offset_s else None


def _each(trial: Trial, change: Callable[[Fault], Fault | None]) -> Iterator[Trial]:
    """The trial with one of its faults changed, for each that `change` does something to."""
    for index, fault in enumerate(trial.faults):
        changed = change(fault)
        if changed is not None:
            yield _with(trial, [*trial.faults[:index], changed, *trial.faults[index + 1 :]])


# ---------------------------------------------------------------------------------------------------------------- words
def describe(trial: Trial) -> str:
    """A programme in a line."""
    return "; ".join(_describe_fault(fault) for fault in trial.faults)


def _describe_fault(fault: Fault) -> str:
    trigger = fault.trigger
    what = _describe_event(trigger)
    where = f"{trigger.phase}" + (f" (time {trigger.occurrence})" if trigger.occurrence > 1 else "") if trigger.phase else ""
    count = f" number {trigger.count}" if trigger.count > 1 else ""
    times = f", {fault.repeat} times" if fault.repeat > 1 else ""
    place = f" of {where}" if where else ""
    return f"{fault.kind.value.replace('_', ' ')} for {fault.off_s * 1000:g} ms, {trigger.offset_s * 1000:g} ms after the {what}{count}{place}{times}"


def _describe_event(trigger: Trigger) -> str:
    if trigger.operation is not None:
        return f"{trigger.operation} operation"
    if trigger.current is not None:
        side = "above" if trigger.current.above else "below"
        return f"current {side} {trigger.current.limit_ua / 1000:g} mA for {trigger.current.for_s * 1000:g} ms"
    if trigger.pin is not None:
        return f"{trigger.pin.edge} edge on input {trigger.pin.number}"
    return trigger.kind.value if trigger.kind is not TriggerKind.PHASE else "beginning"


def describe_operation(operation: Known) -> str:
    """An operation in a few words."""
    site = operation.site
    again = f" (time {site.occurrence})" if site.occurrence > 1 else ""
    return f"operation {site.number} of {site.phase}{again}, {operation.kind} at 0x{operation.address:x}"
