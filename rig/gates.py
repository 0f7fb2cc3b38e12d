"""What a release must reach: the checked contents of a gates file.  Shares lie in 0 … 1, times are seconds."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from rig.model import Outcome, Phase


class GateKind(StrEnum):
    """What a gate asks of the stored trials; the words are the keys of the file.

    FAILURES counts failed trials, all or those with certain outcomes.  FAILURE_PROBABILITY bounds the chance that an update fails.
    FLASH_COVERAGE is the share of flash operations that a proved power cut has hit.  SPOILED_ACCEPTED counts images that had to be
    refused and ran.  UPDATE_TIME compares a quantile of the update's duration with the baseline, DOWNTIME the time out of service
    with a limit.  LOST_TO_RIG is the share of trials that say nothing about the device, FAULTS_PROVED that of planned faults with
    proof.  PRACTICES must have been proven.
    """

    FAILURES = "failures"
    FAILURE_PROBABILITY = "failure_probability"
    FLASH_COVERAGE = "flash_coverage"
    SPOILED_ACCEPTED = "spoiled_accepted"
    UPDATE_TIME = "update_time"
    DOWNTIME = "downtime"
    LOST_TO_RIG = "lost_to_rig"
    FAULTS_PROVED = "faults_proved"
    PRACTICES = "practices"


class Faults(StrEnum):
    """Which trials a gate looks at: those with a proved fault, those planned without fault, or both."""

    PROVED = "proved"
    NONE = "none"
    ANY = "any"


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Which trials a gate looks at; an empty tuple does not restrict.  `phases` are those in which the fault really fell."""

    scenarios: tuple[str, ...] = ()
    phases: tuple[Phase, ...] = ()
    faults: Faults = Faults.ANY


@dataclass(frozen=True, kw_only=True)
class Gate:
    """One requirement.  `limit` is a count, a share, a probability, a relative slowdown or seconds, as `kind` wants it."""

    id: str
    require: str
    kind: GateKind
    limit: float
    confidence: float = 0.95
    scope: Scope = field(default_factory=Scope)
    outcomes: tuple[Outcome, ...] = ()
    """FAILURES: those that count; empty for every failed trial."""
    quantile: float = 0.5
    """UPDATE_TIME, DOWNTIME: which part of the updates must be within the limit."""
    stretch: int = 1
    """FLASH_COVERAGE: how many operations in a row count as one."""
    practices: tuple[int, ...] = ()
    """PRACTICES: their numbers, 1 to 11."""


@dataclass(frozen=True, kw_only=True)
class Gates:
    """A gates file: where it was read, the SHA-256 of its bytes, and its requirements in order."""

    file: str
    sha256: str
    gates: tuple[Gate, ...]
