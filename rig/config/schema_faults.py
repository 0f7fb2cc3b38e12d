"""Schema of the faults of a scenario: what they wait for, what they do, for how long, and how their points are planned."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from rig.config.schema_draws import CountDraw, DelayDraw, DurationDraw
from rig.config.schema_parts import Pattern, Share, Strict
from rig.fault import Edge
from rig.model import CutPlace, FaultKind, FlashPlace, InterferenceKind, OperationKind, Phase, PointPlan

_LINK_EVENTS = ("connected", "subscribed", "lost")
_SIGNS = ("current", "gpio")
_EVENTS = ("time", "chunk", "byte", "console", "flash_operation", *_LINK_EVENTS, *_SIGNS)
_COUNTED_BY_COUNT = ("console", *_LINK_EVENTS, *_SIGNS)
Weight = Annotated[int, Field(ge=1, le=1000)]
Milliseconds = Annotated[float, Field(ge=0, le=600_000)]


# -------------------------------------------------------------------------------------------------------------- triggers
class Current(Strict):
    """A stretch of the supply current, as what flows out of the supply: what else hangs on the board's VDD counts too."""

    above_ma: Annotated[float, Field(gt=0, le=5000)] | None = None
    """The current stays above this, in milliamperes, above 0 and at most 5000."""
    below_ma: Annotated[float, Field(gt=0, le=5000)] | None = None
    """Or it stays below this, in milliamperes, above 0 and at most 5000."""
    for_ms: Annotated[float, Field(ge=0.01, le=600_000)]
    """For so long without a break, in milliseconds, 0.01 to 600000."""

    @model_validator(mode="after")
    def _one_side(self) -> Current:
        if (self.above_ma is None) == (self.below_ma is None):
            raise PydanticCustomError("current", "say one of above_ma and below_ma", {"at": "above_ma"})
        return self


class Gpio(Strict):
    """An edge on a logic input of the supply."""

    input: Annotated[int, Field(ge=1, le=7)]
    """Number of the logic input, 1 to 7; the board's `logic_inputs` say what is wired to it."""
    edge: Edge
    """rising or falling; losing and getting power makes edges too."""


class Trigger(Strict):
    """What a fault waits for: one event, or the beginning of a phase."""

    time: Literal["start"] | None = None
    """`start`: the start of the update, or with `after` the end of that fault; the offset does the rest."""
    phase: Phase | None = None
    """Alone: the beginning of this phase.  With an event: count only inside this phase."""
    occurrence: Annotated[int, Field(ge=1, le=100)] = 1
    """Which time that `phase` begins, 1 to 100; the second installation of a trial that rolls back is the one that reverts."""
    chunk: CountDraw | None = None
    """The Nth upload request, or object of Secure DFU, from 1 to all."""
    byte: CountDraw | None = None
    """The Nth byte of the image, from 1 to all."""
    console: Pattern | None = None
    """A console line that this regular expression matches."""
    flash_operation: CountDraw | None = None
    """The Nth word written or page erased, or with `kind` the Nth operation of that kind, from 1; only boards with a `counter` see it."""
    kind: OperationKind | None = None
    """With `flash_operation`: count erases of pages, write operations (of one word or many), or status (writes to a trailer of MCUboot,
    to a settings page of Secure DFU) only."""
    connected: Literal[True] | None = None
    """true: a connection to the board is made."""
    subscribed: Literal[True] | None = None
    """true: the client has subscribed to the notifications of the update service."""
    lost: Literal[True] | None = None
    """true: a connection to the board has ended."""
    current: Current | None = None
    """The supply current stays above or below a limit for a time; only supplies that offer `watch` can see it."""
    gpio: Gpio | None = None
    """An edge on a logic input of the supply; only supplies that offer `watch` and `logic_inputs` can see it."""
    count: CountDraw | None = None
    """With `console`, `connected`, `subscribed`, `lost`, `current` and `gpio`: which one counts, from 1; the first when left out."""
    after: Annotated[int, Field(ge=0, le=16)] = 0
    """In a programme: the number of an earlier fault that must be over first, from 1; 0 for none."""

    @model_validator(mode="after")
    def _one_event(self) -> Trigger:
        events = [name for name in _EVENTS if getattr(self, name) is not None]
        if len(events) > 1:
            words = {"first": events[0], "at": events[1]}
            raise PydanticCustomError("trigger", "a trigger waits for one event, and {first} is one already", words)
        if not events and self.phase is None:
            raise PydanticCustomError("trigger", f"a trigger needs an event ({', '.join(_EVENTS)}) or a phase")
        if self.time is not None and self.phase is not None:
            reason = "time means the start of the update; for the start of a phase give the phase alone"
            raise PydanticCustomError("trigger", reason, {"at": "time"})
        if self.count is not None and not any(name in _COUNTED_BY_COUNT for name in events):
            reason = "count belongs to console, current, gpio and events of the link; others carry their count themselves"
            raise PydanticCustomError("trigger", reason, {"at": "count"})
        if self.kind is not None and self.flash_operation is None:
            raise PydanticCustomError("trigger", "kind says which flash operations count; give flash_operation as well", {"at": "kind"})
        if self.phase not in (None, Phase.UPLOAD) and (self.chunk is not None or self.byte is not None):
            raise PydanticCustomError("trigger", "chunks and bytes are counted in phase upload only", {"at": "phase"})
        if self.phase is Phase.FLASH:
            reason = "in phase flash the probe works, not the update; a cut there tests the rig"
            raise PydanticCustomError("trigger", reason, {"at": "phase"})
        if self.occurrence > 1 and self.phase is None:
            raise PydanticCustomError("trigger", "occurrence counts how often a phase begins; name the phase", {"at": "occurrence"})
        return self


class Aim(Strict):
    """The flash operations that a cut is to strike; they are learnt from runs without a fault, and aimed at in rounds."""

    plan: PointPlan
    """every (each operation once), list (those in `numbers`), random, or adaptive (the least-hit operation that can be hit, and
    boundaries between outcomes)."""
    phases: tuple[Phase, ...] = ()
    """Phases whose operations count; all when left out."""
    kinds: tuple[OperationKind, ...] = ()
    """erase, write, and status (a trailer of MCUboot, a settings page of Secure DFU); all when left out."""
    numbers: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """With `list`: operations by number, counted from 1 in their phase."""
    places: Annotated[tuple[CutPlace, ...], Field(min_length=1, max_length=2)] = (CutPlace.INSIDE,)
    """With `every` and `list`: where each operation is to be cut, inside, boundary, or both; inside when left out."""
    random_share: Share = 0.05
    """Share of the cuts, 0 to 1, that fall anywhere."""
    round: Annotated[int, Field(ge=1, le=10_000)] = 48
    """Trials of a round at most, 1 to 10000; what a round has hit decides about the next."""

    @model_validator(mode="after")
    def _numbers_with_list(self) -> Aim:
        if (self.plan is PointPlan.LIST) != bool(self.numbers):
            at = "plan" if self.plan is PointPlan.LIST else "numbers"
            raise PydanticCustomError("aim", "the plan list and numbers belong together", {"at": at})
        if self.plan not in (PointPlan.EVERY, PointPlan.LIST) and self.places != (CutPlace.INSIDE,):
            reason = "goes with the plans every and list: random and adaptive choose by themselves where in an operation they cut"
            raise PydanticCustomError("aim", reason, {"at": "places"})
        if len(set(self.places)) < len(self.places):
            raise PydanticCustomError("aim", "names a place twice", {"at": "places"})
        return self


# ----------------------------------------------------------------------------------------------------------------- power
class _Timed(Strict):
    trigger: Trigger
    """What it waits for."""
    offset_ms: DelayDraw = 0.0
    """Time from the trigger on in milliseconds, 0 to 600000."""
    share: Weight = 1
    """Weight of this fault when trials are dealt out, 1 to 1000."""


class PowerCut(Strict):
    """The supply goes off and on again."""

    trigger: Trigger | None = None
    """What the cut waits for."""
    aim: Aim | None = None
    """Instead of a trigger: the flash operations that the cuts are to strike."""
    offset_ms: DelayDraw = 0.0
    """Time from the trigger to the cut in milliseconds, 0 to 600000."""
    off_ms: DurationDraw
    """How long the supply stays off in milliseconds, 1 to 600000."""
    repeat: Annotated[int, Field(ge=1, le=100)] = 1
    """How many times in a row, 1 to 100."""
    on_ms: DurationDraw | None = None
    """Time with power between two cuts in milliseconds, 1 to 600000; wanted when `repeat` is above 1."""
    share: Weight = 1
    """Weight of this fault when trials are dealt out, 1 to 1000."""

    @model_validator(mode="after")
    def _pause(self) -> PowerCut:
        if (self.repeat > 1) != (self.on_ms is not None):
            at = "repeat" if self.repeat > 1 else "on_ms"
            raise PydanticCustomError("power_cut", "a repeat above 1 and on_ms belong together", {"at": at})
        if self.trigger is not None and self.aim is not None:
            raise PydanticCustomError("power_cut", "a cut has a trigger or an aim, not both", {"at": "aim"})
        if self.trigger is None and self.aim is None:
            raise PydanticCustomError("power_cut", "a cut needs a trigger, or an aim")
        if self.aim is not None and (self.repeat > 1 or not isinstance(self.off_ms, float | int)):
            raise PydanticCustomError("power_cut", "an aimed cut is a single one, and off_ms one number", {"at": "aim"})
        if self.aim is not None and self.offset_ms:
            raise PydanticCustomError("power_cut", "where an aimed cut falls is for its plan to say", {"at": "offset_ms"})
        return self


class BrownOut(_Timed):
    """The supply's voltage goes down and comes back; by `low_mv` 0 it goes off and rises slowly."""

    low_mv: Annotated[int, Field(ge=0, le=3600)]
    """How low in millivolts, 1 to 3600; 0 switches the supply off."""
    low_ms: DurationDraw
    """How long it stays low in milliseconds, 1 to 600000."""
    fall_ms: Milliseconds = 0.0
    """How long the way down takes in milliseconds, 0 (one step) to 600000."""
    rise_ms: Milliseconds = 0.0
    """How long the way up takes in milliseconds, 0 (one step) to 600000."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """Steps of each way, 1 to 1000."""
    repeat: Annotated[int, Field(ge=1, le=100)] = 1
    """How many times in a row, 1 to 100."""
    on_ms: DurationDraw | None = None
    """Time between two dips in milliseconds, 1 to 600000; wanted when `repeat` is above 1."""

    @model_validator(mode="after")
    def _pause(self) -> BrownOut:
        if (self.repeat > 1) != (self.on_ms is not None):
            raise PydanticCustomError("brown_out", "a repeat above 1 and on_ms belong together", {"at": "repeat"})
        return self


# ----------------------------------------------------------------------------------------------------- flash, host, radio
class BitFlips(_Timed):
    """The probe turns bits over while it holds the processor, and lets go with a pin reset."""

    place: FlashPlace
    """running (what the board runs from at that time; not while it installs), staged (the one to install, smp), trailer (smp) or settings (secure_dfu)."""
    bits: Annotated[int, Field(ge=1, le=1024)] = 1
    """How many bits, 1 to 1024; where is drawn."""


class LinkDrop(_Timed):
    """The central ends the connection."""


class Lasting(_Timed):
    """Something of the host that takes a while."""

    for_ms: DurationDraw = 1000.0
    """How long in milliseconds, 1 to 600000."""


class Interference(_Timed):
    """The interferer sends; only inside a shielded enclosure."""

    for_ms: DurationDraw
    """How long in milliseconds, 1 to 600000."""
    kind: InterferenceKind | None = None
    """carrier, modulated, duty_cycle, sweep or hop, with `mhz`; or one of the two below instead."""
    mhz: Annotated[tuple[Annotated[int, Field(ge=2400, le=2480)], ...], Field(min_length=1)] | None = None
    """Frequencies in MHz, 2400 to 2480."""
    advertising: Literal[True] | None = None
    """true: bursts on the three advertising channels."""
    wifi: Annotated[int, Field(ge=1, le=13)] | None = None
    """A block as wide as this Wi-Fi channel, 1 to 13."""
    power_dbm: Annotated[int, Field(ge=-40, le=20)] = 0
    """Power at the interferer's output in dBm, -40 to 20."""
    duty: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of time in which it sends: 0.01 to 0.9 for a duty cycle and a hop, 1 for the others."""
    dwell_ms: Annotated[float, Field(ge=0.02, le=99)] = 1.0
    """Time on one frequency of a sweep, or length of a burst of a hop, in milliseconds."""

    @model_validator(mode="after")
    def _one_way(self) -> Interference:
        ways = [name for name in ("kind", "advertising", "wifi") if getattr(self, name) is not None]
        if len(ways) != 1:
            raise PydanticCustomError("interference", "say one of kind (with mhz), advertising and wifi")
        if (self.kind is not None) != (self.mhz is not None):
            raise PydanticCustomError("interference", "kind and mhz belong together", {"at": "kind" if self.kind else "mhz"})
        return self


class Fade(_Timed):
    """The attenuator takes the signal down and brings it back."""

    for_ms: DurationDraw
    """How long it stays down in milliseconds, 1 to 600000."""
    db: Annotated[float, Field(gt=0, le=120, multiple_of=0.25)]
    """How much in dB, 0.25 to 120, in quarters."""
    steps: Annotated[int, Field(ge=1, le=200)] = 1
    """Steps of each way, 1 to 200."""
    step_ms: Milliseconds = 0.0
    """Time of each step in milliseconds, 0 to 600000."""


# --------------------------------------------------------------------------------------------------------------- entries
class Control(Strict):
    """The control group with a weight."""

    share: Weight = 1
    """Weight of the control group when trials are dealt out, 1 to 1000."""


class ControlEntry(Strict):
    """No fault, with a weight."""

    none: Control
    """The control group."""


class PowerCutEntry(Strict):
    """A fault: power cut."""

    power_cut: PowerCut
    """The supply goes off and on again."""


class BrownOutEntry(Strict):
    """A fault: brown-out."""

    brown_out: BrownOut
    """The supply's voltage goes down and comes back."""


class BitFlipsEntry(Strict):
    """A fault: bits turned over in flash."""

    bit_flips: BitFlips
    """The probe turns bits over."""


class LinkDropEntry(Strict):
    """A fault: the central ends the connection."""

    link_drop: LinkDrop
    """The central ends the connection."""


class ClientKillEntry(Strict):
    """A fault: the update client dies."""

    client_kill: Lasting
    """The update client is killed, and started again after `for_ms`."""


class AdapterResetEntry(Strict):
    """A fault: the Bluetooth adapter is reset."""

    adapter_reset: LinkDrop
    """The Bluetooth adapter is closed and opened again, and the client with it."""


class StallEntry(Strict):
    """A fault: the central says nothing for a while."""

    stall: Lasting
    """The client sends no further part of the image for `for_ms`."""


class RepeatRequestsEntry(Strict):
    """A fault: the central sends everything twice."""

    repeat_requests: Lasting
    """The client sends each part of the image twice for `for_ms`."""


class ReorderRequestsEntry(Strict):
    """A fault: the central gets its own requests into the wrong order."""

    reorder_requests: Lasting
    """The client sends of two neighbouring parts of the image the later one first, for `for_ms`."""


class NewAddressEntry(Strict):
    """A fault: the central becomes another one."""

    new_address: LinkDrop
    """The central ends the connection and comes back with another address, which the board has no bond with."""


class InterferenceEntry(Strict):
    """A fault: interference."""

    interference: Interference
    """The interferer sends."""


class FadeEntry(Strict):
    """A fault: the signal fades."""

    fade: Fade
    """The attenuator takes the signal down and brings it back."""


def _single_form(value: Any) -> str:
    names = [kind.value for kind in FaultKind]
    return next((f"~{name}" for name in names if isinstance(value, dict) and name in value), "~power_cut")


_Single = (
    Annotated[PowerCutEntry, Tag("~power_cut")]
    | Annotated[BrownOutEntry, Tag("~brown_out")]
    | Annotated[BitFlipsEntry, Tag("~bit_flips")]
    | Annotated[LinkDropEntry, Tag("~link_drop")]
    | Annotated[ClientKillEntry, Tag("~client_kill")]
    | Annotated[AdapterResetEntry, Tag("~adapter_reset")]
    | Annotated[StallEntry, Tag("~stall")]
    | Annotated[RepeatRequestsEntry, Tag("~repeat_requests")]
    | Annotated[ReorderRequestsEntry, Tag("~reorder_requests")]
    | Annotated[NewAddressEntry, Tag("~new_address")]
    | Annotated[InterferenceEntry, Tag("~interference")]
    | Annotated[FadeEntry, Tag("~fade")]
)
Single = Annotated[_Single, Discriminator(_single_form)]


class Programme(Strict):
    """Several faults in one trial; each waits for its own trigger, all of them armed from the start of the update."""

    faults: Annotated[tuple[Single, ...], Field(min_length=2, max_length=16)]
    """The faults, 2 to 16; `share` counts at the programme only."""
    share: Weight = 1
    """Weight of the programme when trials are dealt out, 1 to 1000."""


class ProgrammeEntry(Strict):
    """Several faults in one trial."""

    programme: Programme
    """The faults."""


def _fault_form(value: Any) -> str:
    if not isinstance(value, dict):
        return "~none"
    return "~control" if "none" in value else "~programme" if "programme" in value else _single_form(value)


Fault = Annotated[
    Annotated[Literal["none"], Tag("~none")]
    | Annotated[ControlEntry, Tag("~control")]
    | Annotated[ProgrammeEntry, Tag("~programme")]
    | _Single,
    Discriminator(_fault_form),
]
