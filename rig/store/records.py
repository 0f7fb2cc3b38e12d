"""What the files of a campaign say: the plan, where it came from, and what is known of each trial."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.model import ADDED_LATER, Acceptance, AimedPlan, Board, InstrumentSpec, Judgement, Rung, Trial


@dataclass(frozen=True, kw_only=True)
class ScenarioPlan:
    """A scenario as the plan pins it: its name, what it is for, and what it must reach."""

    name: str
    purpose: str = ""
    accept: Acceptance = field(default_factory=Acceptance)
    proves: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)
    """Requirements of the eleven practices that its trials are to prove."""


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
    aimed: tuple[AimedPlan, ...] = field(default=(), metadata=ADDED_LATER)
    """What further trials are planned from, in rounds, while the campaign runs."""


@dataclass(frozen=True, kw_only=True)
class RoundPart:
    """The trials of a round that belong to the plan's `aimed` entry of that index."""

    aimed: int
    trials: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class Round:
    """Trials that were planned while the campaign ran, from what the rounds before had shown; `number` counts from 0."""

    number: int
    parts: tuple[RoundPart, ...]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All of them."""
        return tuple(trial for part in self.parts for trial in part.trials)


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
class RungResult:
    """One step of a recovery ladder, and what was still wrong after it; None when nothing was."""

    rung: Rung
    trouble: str | None


@dataclass(frozen=True, kw_only=True)
class Climb:
    """The rungs that were tried, in order; the last one helped if any did."""

    rungs: tuple[RungResult, ...]

    @property
    def helped(self) -> bool:
        """Whether the board's instruments are sound now."""
        return bool(self.rungs) and self.rungs[-1].trouble is None


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """What was done about a board after a lost trial, or a run of inconclusive ones, and what came of it.

    `after` is the last such trial's id, empty when a resumed campaign tried a quarantined board again; `cause` is why.  A board in
    `quarantine` ran no more trials from then on: `not_run` are those that it still had to run.
    """

    number: int
    board: str
    after: str
    cause: str
    climb: Climb
    quarantine: str | None
    """Why the board was quarantined; None when it was not."""
    not_run: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class TrialRecord:
    """One planned trial and all that is stored about it; `judgement` None means that it is still to be run."""

    trial: Trial
    judgement: Judgement | None
    evidence: Evidence | None
    interrupted: int
    """Attempts that ended without judgement; their files are kept aside."""
