"""One cut that was made: where it was aimed, what it struck, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from rig.coverage.known import Site
from rig.model import Aim, Event, Fault, Judgement, OperationKind, Outcome, Phase, Trial, Trigger, Verdict


@dataclass(frozen=True, kw_only=True)
class Shot:
    """A proved cut of a trial.

    `struck` is the operation that was going on when the processor lost its power, `progress` how far it had come; between two
    operations `struck` is None, and `after` is the one before, which had ended `behind_s` ago.  `latency_s` is from the command to that moment, `into_phase_s` from the
    beginning of the phase that was aimed at.
    """

    trial: str
    board: str
    staged: bool
    aim: Aim | None
    trigger: Trigger
    struck: Site | None
    after: Site | None
    kind: OperationKind | None
    progress: float
    latency_s: float | None
    into_phase_s: float | None
    verdict: Verdict
    outcome: Outcome
    behind_s: float | None = None
    address: int | None = None
    """Where the operation in `struck` or `after` works; None where that was not recorded."""


def shot_of(trial: Trial, judgement: Judgement, events: Sequence[Event]) -> Shot | None:
    """The aimed cut of a judged trial, or its first; None when it was not delivered and proved, or nobody saw which operation it met."""
    delivered = {event.data["n"]: event for event in events if event.kind == "fault.delivered" and "struck" in event.data}
    proved = {event.data["n"] for event in events if event.kind == "fault.proved"}
    n, fault = _aimed(trial) or _first(trial, delivered)
    if fault is None or n not in delivered or n not in proved:
        return None
    struck, aim = delivered[n].data["struck"], fault.aim
    return Shot(
        trial=trial.id,
        board=trial.board,
        staged=trial.staged,
        aim=aim,
        trigger=fault.trigger,
        struck=_site(struck) if struck["progress"] is not None else None,
        after=_site(struck) if struck["progress"] is None else None,
        kind=OperationKind(struck["kind"]) if struck["kind"] else None,
        progress=struck["progress"] or 0.0,
        latency_s=delivered[n].data.get("failed_after_s"),
        into_phase_s=_into_phase_s(events, aim, int(delivered[n].data["failed_t_ns"])) if aim else None,
        verdict=judgement.verdict,
        outcome=judgement.outcome,
        behind_s=struck.get("behind_s"),
        address=struck["address"],
    )


def _aimed(trial: Trial) -> tuple[int, Fault] | None:
    """The aimed cut of a programme, and its number in the journal, where repeats count."""
    number = 1
    for fault in trial.faults:
        if fault.aim is not None:
            return number, fault
        number += fault.repeat
    return None


def _first(trial: Trial, numbers: Iterable[int]) -> tuple[int, Fault | None]:
    """The number of the first of these strokes, and the fault that it belongs to."""
    first = min(numbers, default=0)
    ends = accumulate(fault.repeat for fault in trial.faults)
    return first, next((fault for fault, end in zip(trial.faults, ends, strict=True) if 0 < first <= end), None)


def _into_phase_s(events: Sequence[Event], aim: Aim, t_ns: int) -> float | None:
    """Seconds from the beginning of the phase that was aimed at to `t_ns`."""
    begun = [event.t_ns for event in events if event.kind == "phase.start" and event.data["phase"] == aim.phase]
    return (t_ns - begun[aim.occurrence - 1]) / 1e9 if len(begun) >= aim.occurrence else None


def _site(place: dict[str, object]) -> Site | None:
    if place["phase"] is None:
        return None
    return Site(phase=Phase(str(place["phase"])), occurrence=int(str(place["occurrence"])), number=int(str(place["number"])))
