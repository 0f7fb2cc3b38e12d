"""What the files of a campaign say: the plan, where it came from, and what is known of each trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.model import Acceptance, Board, InstrumentSpec, Judgement, Trial


@dataclass(frozen=True, kw_only=True)
class ScenarioPlan:
    """A scenario as the plan pins it: its name, what it is for, and what it must reach."""

    name: str
    purpose: str = ""
    accept: Acceptance = field(default_factory=Acceptance)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that is decided before hardware is touched.  `campaign` is also the name of the folder.

    `clock` is ``virtual`` or ``wall``: what the event loops of the trials count.  `module_folder` is where classes that the boards
    file names are looked for, beside the installed ones; empty for nowhere.
    """

    campaign: str
    seed: int
    clock: str
    module_folder: str = ""
    bench: InstrumentSpec
    boards: tuple[Board, ...]
    scenarios: tuple[ScenarioPlan, ...]
    trials: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """What produced the campaign.  `created` is ISO 8601 in UTC; `configs` holds the text of every file read, by name."""

    created: str
    argv: tuple[str, ...]
    seed: int
    git_head: str
    """Commit of the working directory, empty outside a repository."""
    git_dirty: bool
    host: str
    platform: str
    versions: Mapping[str, str]
    images: Mapping[str, str]
    """SHA-256 of each update package, by the path it was read from."""
    configs: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class EvidenceFile:
    """One file of a trial, as it was when the trial ended."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class FaultMark:
    """Where one delivered fault fell, from the journal.

    `into_phase_ns` counts from the start of `phase`; `operation` is the number of flash operations that had begun since then, where
    the bench sees operations.
    """

    number: int
    phase: str
    t_ns: int
    into_phase_ns: int | None
    operation: int | None
    proved: bool


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a finished attempt left behind, and what its journal says about the faults."""

    attempt: int
    files: tuple[EvidenceFile, ...]
    events: int
    duration_ns: int
    complaints: tuple[str, ...]
    """What was wrong with the journal when the attempt ended; empty for a sound one."""
    faults: tuple[FaultMark, ...]


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One planned trial and all that is stored about it; `judgement` None means that it is still to be run."""

    trial: Trial
    judgement: Judgement | None
    evidence: Evidence | None
    interrupted: int
    """Attempts that ended without judgement; their files are kept aside."""
