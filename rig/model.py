"""The nouns.  Frozen records without I/O, clock, randomness or vendor; every other module speaks in these words.

Times are seconds (suffix ``_s``) or, in events, integer nanoseconds since the start of the trial (``t_ns``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from rig.fault import (
    ADDED_LATER,
    ADVERTISING_MHZ,
    Aim,
    BitFlips,
    CutPlace,
    Fade,
    Fault,
    FaultKind,
    FlashPlace,
    Interference,
    InterferenceKind,
    OperationKind,
    Phase,
    PointPlan,
    Trigger,
    TriggerKind,
    Voltage,
)
from rig.product import Product
from rig.upkeep import Calibration, RecoveryPolicy, Rung, WearBudget

__all__ = [
    "ADDED_LATER",
    "ADVERTISING_MHZ",
    "Acceptance",
    "Aim",
    "AimedPlan",
    "BitFlips",
    "Board",
    "Calibration",
    "ConsoleSignals",
    "CutPlace",
    "Event",
    "Expectation",
    "Fade",
    "Fault",
    "FaultKind",
    "Finding",
    "FlashPlace",
    "ImageFile",
    "ImageSet",
    "InstrumentSpec",
    "Interference",
    "InterferenceKind",
    "Json",
    "Judgement",
    "Limits",
    "MemoryMap",
    "OperationKind",
    "Outcome",
    "Phase",
    "PointPlan",
    "Protocol",
    "RecoveryPolicy",
    "Region",
    "Request",
    "Rung",
    "Trial",
    "Trigger",
    "TriggerKind",
    "Verdict",
    "Voltage",
    "WearBudget",
]

Json = Any  # what json.dumps accepts


class Protocol(StrEnum):
    """How an image travels to the device."""

    SMP = "smp"
    SECURE_DFU = "secure_dfu"


class Request(StrEnum):
    """What the host asks the bootloader for.  TEST is reverted at the next boot unless confirmed."""

    TEST = "test"
    PERMANENT = "permanent"


class Expectation(StrEnum):
    """What a good device does when no fault disturbs the update."""

    UPDATED = "updated"
    ROLLED_BACK = "rolled_back"
    REFUSED = "refused"


class Outcome(StrEnum):
    """What the device did."""

    UPDATED = "UPDATED"
    RESUMED = "RESUMED"
    RECOVERED_ON_RETRY = "RECOVERED_ON_RETRY"
    ROLLED_BACK = "ROLLED_BACK"
    REFUSED = "REFUSED"
    INSPECTED = "INSPECTED"
    STUCK_IN_DFU = "STUCK_IN_DFU"
    STUCK_ON_OLD = "STUCK_ON_OLD"
    NEEDS_POWER_CYCLE = "NEEDS_POWER_CYCLE"
    NOT_REVERTED = "NOT_REVERTED"
    WRONG_IMAGE = "WRONG_IMAGE"
    BRICKED = "BRICKED"
    UNKNOWN = "UNKNOWN"


class Verdict(StrEnum):
    """PASS and FAIL are about the device; INCONCLUSIVE lacks proof or evidence; ERROR is the rig's own fault."""

    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


@dataclass(frozen=True, kw_only=True)
class ImageFile:
    """An update package on disk, as the plan pins it.

    `image_hash` identifies the firmware: MCUboot's SHA-256 TLV, which the device reports, or for Secure DFU the SHA-256 of the
    application, which the probe can read back.  `size` counts the bytes that travel as firmware; `version` is what the device says.
    """

    path: str
    sha256: str
    size: int
    version: str
    image_hash: str
    clear_path: str | None = field(default=None, metadata=ADDED_LATER)
    """The file as it stands in the primary slot once it is installed, where it travels encrypted; `clear_sha256` pins it."""
    clear_sha256: str | None = field(default=None, metadata=ADDED_LATER)
    spoiled: str | None = field(default=None, metadata=ADDED_LATER)
    """The kind of spoiling, where the package is a bad one on purpose.  Hash and version are what a device would report of it."""

    @property
    def as_installed(self) -> ImageFile:
        """The same firmware as the probe finds it after the installation; the file itself where it is that already."""
        if self.clear_path is None or self.clear_sha256 is None:
            return self
        return replace(self, path=self.clear_path, sha256=self.clear_sha256, clear_path=None, clear_sha256=None)


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """The packages that a scenario has for one board."""

    old: ImageFile
    new: ImageFile
    again: ImageFile | None


@dataclass(frozen=True, kw_only=True)
class Region:
    """A half-open range of flash, [start, start + size)."""

    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True, kw_only=True)
class MemoryMap:
    """Where things lie in the SoC's flash.

    MCUboot: two slots; `upload_offset` is one page where the bootloader swaps by offset, else 0.  Secure DFU: `primary` is the whole
    room for firmware above the SoftDevice, in which bank 1 floats; `secondary` is empty; `settings` and `settings_backup` are the
    bootloader's pages.
    """

    primary: Region
    secondary: Region
    user_data: Region
    scratch: Region | None = None
    upload_offset: int = 0
    settings: Region | None = None
    settings_backup: Region | None = None


@dataclass(frozen=True, kw_only=True)
class ConsoleSignals:
    """Lines of the product's console that the rig understands, as regular expressions searched in each line.

    `reset_reason` has one group, the RESETREAS register in hexadecimal, printed by the application at start-up; after a real power
    cut it is zero.  `version` has one group, the version of the application that starts.  `ready` says that it serves again.
    """

    reset_reason: str = r"reset reason: 0x([0-9a-fA-F]+)"
    version: str = field(default=r"^\*\*\* \S+ (\d\S*) \*\*\*$", metadata=ADDED_LATER)
    ready: str = r"^advertising$"


@dataclass(frozen=True, kw_only=True)
class InstrumentSpec:
    """A driver's registry name and its options, as the boards file gives them."""

    driver: str
    options: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Board:
    """One entry of boards.yaml: a physical or virtual unit and its wiring.

    `dfu_port`: serial port of a Secure DFU bootloader that is updated over a wire instead of the air; it is brought into DFU mode by
    a pin reset through the probe.

    `in_place`: the product declares that an update overwrites the application (Secure DFU with a single bank), so that an
    interrupted one leaves the board in DFU mode until the next succeeds.

    `interferer` and `attenuator` disturb what the board hears and is heard of; they are used only inside `enclosure`, the operator's
    words for what keeps the radio in, which the record of a campaign repeats.

    `production`: a unit as it is delivered, which scenarios that inspect look at and no other touches.

    `model` holds the options of the virtual board (bootloader, application, supply …); it is empty for hardware and nobody but
    the bench's own driver reads it.
    """

    name: str
    soc: str
    protocol: Protocol
    ble_name: str
    memory: MemoryMap
    probe: InstrumentSpec
    supply: InstrumentSpec
    console: InstrumentSpec
    radio: InstrumentSpec
    counter: InstrumentSpec | None = None
    ble_address: str | None = None
    signals: ConsoleSignals = field(default_factory=ConsoleSignals)
    in_place: bool = False
    dfu_port: str | None = None
    sacrificial: bool = False
    production: bool = field(default=False, metadata=ADDED_LATER)
    interferer: InstrumentSpec | None = field(default=None, metadata=ADDED_LATER)
    attenuator: InstrumentSpec | None = field(default=None, metadata=ADDED_LATER)
    enclosure: str = field(default="", metadata=ADDED_LATER)
    logic_inputs: Mapping[str, str] = field(default_factory=dict, metadata=ADDED_LATER)
    """Which pin of the SoC is wired to which logic input of the supply, ``D1`` to ``D7``; ``D0`` is VDD."""
    recovery: RecoveryPolicy = field(default_factory=RecoveryPolicy, metadata=ADDED_LATER)
    calibration: Calibration | None = field(default=None, metadata=ADDED_LATER)
    """As it stood in the calibration file beside the boards file when the campaign was planned."""
    wear: WearBudget | None = field(default=None, metadata=ADDED_LATER)
    model: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How long the rig waits, in seconds, before a silence becomes evidence.  Each wait has a name and a limit."""

    boot_s: float = 20.0
    discover_s: float = 15.0
    connect_s: float = 15.0
    request_s: float = 10.0
    first_chunk_s: float = 40.0
    upload_s: float = 600.0
    install_s: float = 120.0
    confirm_s: float = 10.0
    settle_s: float = 2.0
    trial_s: float = 1800.0


@dataclass(frozen=True, kw_only=True)
class Acceptance:
    """What a scenario must reach; the shares lie in 0 … 1.  See `rig.accept.decide` for what each one counts."""

    failures_at_most: int = 0
    faults_proved_at_least: float = 0.99
    lost_to_rig_at_most: float = 0.05


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One planned attempt; all randomness is already drawn.

    `staged`: the probe places what an upload leaves in the flash (the record says so).  SMP: the new image in the secondary slot; Secure
    DFU: new image and settings pages as they are right before the installation.
    `confirm`: the host confirms the new image after it has booted; when false a TEST request must be rolled back.
    `again`: after everything else the device is updated once more, with this image, to prove that it still can be.
    `fault` None is the control group.
    """

    id: str
    scenario: str
    board: str
    protocol: Protocol
    seed: int
    old: ImageFile
    new: ImageFile
    again: ImageFile | None
    request: Request
    confirm: bool
    staged: bool
    fault: Fault | None
    limits: Limits
    stratum: str
    """What the trial is counted under: the phase or event that the fault aims at, or ``control``."""
    expect: Expectation = Expectation.UPDATED
    in_place: bool = False
    inspect: bool = field(default=False, metadata=ADDED_LATER)
    """Nothing is flashed, updated or cut: the rig only looks at the unit as it was delivered."""
    receipts_every: int = field(default=0, metadata=ADDED_LATER)
    """Secure DFU: packets between packet receipt notifications; 0 asks for none."""
    proves: tuple[str, ...] = field(default=(), metadata=ADDED_LATER)
    """Requirements of `rig.practices` that the trial is to prove."""
    product: Product | None = field(default=None, metadata=ADDED_LATER)
    further: tuple[Fault, ...] = field(default=(), metadata=ADDED_LATER)
    """The faults of the programme after the first."""

    @property
    def faults(self) -> tuple[Fault, ...]:
        """The whole programme, empty for the control group."""
        return (self.fault, *self.further) if self.fault is not None else ()

    @property
    def strokes(self) -> int:
        """How many times something is to be done to the device, repeats counted."""
        return sum(fault.repeat for fault in self.faults)


@dataclass(frozen=True, kw_only=True)
class AimedPlan:
    """Power cuts of one scenario, aimed at the flash operations of boards with one SoC and planned in rounds.

    `templates` are control trials without name, one for each board; `cut` is the fault, its trigger still to be made.  It has the
    index `position` in its programme; `beside` are the other faults of it, one programme after the other as they were drawn, which
    the trials take in turn; empty where the cut stands alone.  At most `budget` trials are planned, `round_size` in a round.  `phases`
    and `kinds` restrict the operations, empty for all; `numbers` are those of the plan LIST.  `places` are where each of them is to be
    cut, by the plans EVERY and LIST.  `random_share`, `staged` and `again` are shares of the trials, 0 to 1.
    """

    scenario: str
    soc: str
    templates: tuple[Trial, ...]
    cut: Fault
    plan: PointPlan
    budget: int
    seed: int
    phases: tuple[Phase, ...] = ()
    kinds: tuple[OperationKind, ...] = ()
    numbers: tuple[int, ...] = ()
    random_share: float = 0.05
    round_size: int = 48
    staged: float = 0.0
    again: float = 0.0
    places: tuple[CutPlace, ...] = field(default=(CutPlace.INSIDE,), metadata=ADDED_LATER)
    beside: tuple[tuple[Fault, ...], ...] = field(default=(), metadata=ADDED_LATER)
    position: int = field(default=0, metadata=ADDED_LATER)

    def aims_at(self, phase: Phase, kind: OperationKind, number: int) -> bool:
        """Whether the plan may aim at an operation of that phase and kind, with that number in its phase."""
        return (
            (not self.phases or phase in self.phases)
            and (not self.kinds or kind in self.kinds)
            and (not self.numbers or number in self.numbers)
        )


@dataclass(frozen=True, kw_only=True)
class Event:
    """One line of a journal: what happened, when, and who saw it.  Immutable evidence."""

    seq: int
    t_ns: int
    source: str
    kind: str
    data: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Whether a trial shows a requirement met (None: it does not tell), why, and the numbers of the events that show it."""

    requirement: str
    met: bool | None
    reason: str
    because: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """Verdict, outcome, the reason in one sentence, and the sequence numbers of the events that prove it."""

    trial: str
    verdict: Verdict
    outcome: Outcome
    reason: str
    because: tuple[int, ...] = ()
    checks: Mapping[str, bool | None] = field(default_factory=dict)
    """alive, exact_image, user_data, no_probe, updatable; None where the trial did not ask."""
    downtime_s: float | None = None
    phases: Mapping[str, float] = field(default_factory=dict)
    """Seconds spent in each phase, first attempt."""
    fault_requested: bool = False
    fault_delivered: bool = False
    fault_proved: bool = False
    fault_phase: str | None = None
    """The phase in which the fault really fell."""
    attempts: int = 1
    findings: tuple[Finding, ...] = field(default=(), metadata=ADDED_LATER)
    """About the requirements that the trial was to prove, in their order."""
