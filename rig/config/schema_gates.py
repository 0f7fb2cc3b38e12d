"""The schema of a gates file.  Each entry has an id, a requirement in words, and one kind of gate with its limit."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from rig.config.schema_parts import Share, Strict
from rig.gates import Faults
from rig.model import Outcome, Phase

Probability = Annotated[float, Field(gt=0, lt=1)]
Count = Annotated[int, Field(ge=0)]


class Failures(Strict):
    """How many trials may fail."""

    at_most: Count
    outcomes: tuple[Outcome, ...] = ()
    """Only these count; without the key every failed trial does."""


class FailureProbability(Strict):
    """The exact one-sided bound on the chance that an update fails."""

    below: Probability
    confidence: Probability = 0.95


class FlashCoverage(Strict):
    """The share of flash operations that at least one proved power cut has hit."""

    at_least: Share
    stretch: Annotated[int, Field(ge=1)] = 1
    """So many operations in a row count as one."""


class SpoiledAccepted(Strict):
    """How many images that had to be refused may have run."""

    at_most: Count


class UpdateTime(Strict):
    """How much slower than the baseline a quantile of the update's duration may be: 0.05 is five percent."""

    quantile: Probability = 0.95
    slower_at_most: Annotated[float, Field(ge=0)]
    confidence: Probability = 0.95


class Downtime(Strict):
    """The longest time out of service, in seconds, of that part of the updates."""

    quantile: Probability = 0.95
    at_most_s: Annotated[float, Field(gt=0)]
    confidence: Probability = 0.95


class LostToRig(Strict):
    """The share of trials that may say nothing about the device."""

    at_most: Share


class FaultsProved(Strict):
    """The share of planned faults that independent evidence must prove."""

    at_least: Share


class Practices(Strict):
    """The numbers of the practices that must have been proven."""

    proven: Annotated[tuple[Annotated[int, Field(ge=1, le=11)], ...], Field(min_length=1)]


class ScopeEntry(Strict):
    """Which trials the gate looks at; a missing key does not restrict."""

    scenarios: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    faults: Faults = Faults.ANY


class GateEntry(Strict):
    """One requirement; exactly one of the kinds must be given."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,15}$")]
    require: Annotated[str, Field(min_length=1, max_length=200)]
    scope: ScopeEntry = ScopeEntry()
    failures: Failures | None = None
    failure_probability: FailureProbability | None = None
    flash_coverage: FlashCoverage | None = None
    spoiled_accepted: SpoiledAccepted | None = None
    update_time: UpdateTime | None = None
    downtime: Downtime | None = None
    lost_to_rig: LostToRig | None = None
    faults_proved: FaultsProved | None = None
    practices: Practices | None = None


class GatesDocument(Strict):
    """A gates file."""

    gates: Annotated[tuple[GateEntry, ...], Field(min_length=1)]
