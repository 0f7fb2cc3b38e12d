"""The three answers of an assessment, and what several of them ask of a trial."""

from __future__ import annotations

from collections.abc import Iterable

from rig.model import Event, Outcome
from rig.practices.requirement import Assessment, Case

UPDATED = frozenset({Outcome.UPDATED, Outcome.RESUMED, Outcome.RECOVERED_ON_RETRY})
"""The new image runs and is confirmed."""


def met(reason: str, events: Iterable[Event] = ()) -> Assessment:
    """The trial shows the requirement met."""
    return Assessment(met=True, reason=reason, because=tuple(event.seq for event in events))


def violated(reason: str, events: Iterable[Event] = ()) -> Assessment:
    """The trial shows the requirement violated."""
    return Assessment(met=False, reason=reason, because=tuple(event.seq for event in events))


def undecided(reason: str) -> Assessment:
    """The trial does not tell."""
    return Assessment(met=None, reason=reason)


def as_judged(case: Case, met: bool | None) -> Assessment:
    """What the judge of the update said tells it all."""
    return Assessment(met=met, reason=case.judgement.reason, because=case.judgement.because)
