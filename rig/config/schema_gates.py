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
    """So many failed trials at most."""
    outcomes: tuple[Outcome, ...] = ()
    """Only these count; without the key every failed trial does."""


class FailureProbability(Strict):
    """The exact one-sided bound on the chance that an update fails."""

    below: Probability
    """The upper end of the bound must be below this, above 0 and below 1."""
    confidence: Probability = 0.95
    """Confidence of the one-sided bound, above 0 and below 1."""


class FlashCoverage(Strict):
    """The share of flash operations that at least one proved power cut has hit."""

    at_least: Share
    """The share that must have been hit, 0 to 1."""
    stretch: Annotated[int, Field(ge=1)] = 1
    """So many operations in a row count as one."""


class SpoiledAccepted(Strict):
    """How many images that had to be refused may have run."""

    at_most: Count
    """So many at most."""


class UpdateTime(Strict):
    """How much slower than the baseline a quantile of the update's duration may be: 0.05 is five percent."""

    quantile: Probability = 0.95
    """Which quantile: 0.5 is the median."""
    slower_at_most: Annotated[float, Field(ge=0)]
    """Growth against the baseline at most: 0.05 is five percent."""
    confidence: Probability = 0.95
    """Confidence of the one-sided bound, above 0 and below 1."""


class Downtime(Strict):
    """The longest time out of service, in seconds, of that part of the updates."""

    quantile: Probability = 0.95
    """Which quantile: 0.5 is the median."""
    at_most_s: Annotated[float, Field(gt=0)]
    """Seconds at most."""
    confidence: Probability = 0.95
    """Confidence of the one-sided bound, above 0 and below 1."""


class LostToRig(Strict):
    """The share of trials that may say nothing about the device."""

    at_most: Share
    """The share at most, 0 to 1."""


class FaultsProved(Strict):
    """The share of planned faults that independent evidence must prove."""

    at_least: Share
    """The share that must be proved, 0 to 1."""


class Practices(Strict):
    """The numbers of the practices that must have been proven."""

    proven: Annotated[tuple[Annotated[int, Field(ge=1, le=11)], ...], Field(min_length=1)]
    """Numbers of the practices, 1 to 11."""


class ScopeEntry(Strict):
    """Which trials the gate looks at; a missing key does not restrict."""

    scenarios: tuple[str, ...] = ()
    """Names of scenarios; all when left out."""
    phases: tuple[Phase, ...] = ()
    """Phases in which the fault really fell; all when left out."""
    faults: Faults = Faults.ANY
    """proved: trials with a proved fault; none: those without any fault; any: all."""


class GateEntry(Strict):
    """One requirement; exactly one of the kinds must be given."""

    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,15}$")]
    """Name of the gate, unique in the file: letters, digits, _ and -, at most 16."""
    require: Annotated[str, Field(min_length=1, max_length=200)]
    """What is required, in a sentence of at most 200 characters."""
    scope: ScopeEntry = ScopeEntry()
    """Which trials the gate looks at."""
    failures: Failures | None = None
    """How many trials may fail."""
    failure_probability: FailureProbability | None = None
    """The bound on the chance that an update fails."""
    flash_coverage: FlashCoverage | None = None
    """The share of the flash operations that a proved power cut has hit."""
    spoiled_accepted: SpoiledAccepted | None = None
    """How many images that had to be refused may have run."""
    update_time: UpdateTime | None = None
    """How much slower than the baseline an update may be."""
    downtime: Downtime | None = None
    """How long the application may be out of service."""
    lost_to_rig: LostToRig | None = None
    """The share of trials that the rig may lose."""
    faults_proved: FaultsProved | None = None
    """The share of planned faults that must be proved."""
    practices: Practices | None = None
    """The practices that must have been proven."""


class GatesDocument(Strict):
    """A gates file."""

    gates: Annotated[tuple[GateEntry, ...], Field(min_length=1)]
    """The gates, in the order of the report."""
