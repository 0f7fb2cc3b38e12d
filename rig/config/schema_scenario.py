"""Schema of a scenario file.  Every key carries its meaning, unit, range and default; `docs/configuration.md` repeats them."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, PlainValidator, Tag, WithJsonSchema, model_validator
from pydantic_core import PydanticCustomError

from rig.config.schema_boards import Soc
from rig.config.schema_images import ImageSet
from rig.config.schema_parts import Name, Pattern, Seed, Share, Strict
from rig.model import Expectation, Limits, Phase, Protocol, Request
from rig.practices import REQUIREMENTS

# ---------------------------------------------------------------------------------------------------------------- draws
_MAX_COUNT = 10_000_000


def _count(value: Any) -> int | str:
    if value == "all":
        return "all"
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MAX_COUNT:
        raise PydanticCustomError("count", f"not a count; write a whole number from 1 to {_MAX_COUNT}, or all")
    return value


def _ordered(pair: tuple[Any, Any]) -> tuple[Any, Any]:
    low, high = (float("inf") if value == "all" else value for value in pair)
    if low > high:
        raise PydanticCustomError("uniform", "the lower end comes first")
    return pair


def _draw_form(value: Any) -> str:
    # A mapping counts as uniform unless it says choice, so that a misspelt word is reported as one.
    if isinstance(value, dict):
        return "~choice" if "choice" in value else "~uniform"
    return "~fixed"


Count = Annotated[
    int | str,
    PlainValidator(_count),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1, "maximum": _MAX_COUNT}, {"const": "all"}]}),
]
Delay = Annotated[float, Field(ge=0, le=600_000)]
Duration = Annotated[float, Field(ge=1, le=600_000)]


class UniformCount(Strict):
    """Any whole number from the first to the second, both included."""

    uniform: Annotated[tuple[Count, Count], AfterValidator(_ordered)]
    """Lowest and highest count; `all` is the number of chunks or bytes of the image."""


class UniformDelay(Strict):
    """Any time from the first to the second."""

    uniform: Annotated[tuple[Delay, Delay], AfterValidator(_ordered)]
    """Shortest and longest time in milliseconds, 0 to 600000."""


class UniformDuration(Strict):
    """Any time from the first to the second."""

    uniform: Annotated[tuple[Duration, Duration], AfterValidator(_ordered)]
    """Shortest and longest time in milliseconds, 1 to 600000."""


class ChoiceCount(Strict):
    """One of the counts listed."""

    choice: Annotated[tuple[Count, ...], Field(min_length=1)]
    """Counts to choose from; `all` is the number of chunks or bytes of the image."""


class ChoiceDelay(Strict):
    """One of the times listed."""

    choice: Annotated[tuple[Delay, ...], Field(min_length=1)]
    """Times to choose from in milliseconds, 0 to 600000."""


class ChoiceDuration(Strict):
    """One of the times listed."""

    choice: Annotated[tuple[Duration, ...], Field(min_length=1)]
    """Times to choose from in milliseconds, 1 to 600000."""


CountDraw = Annotated[
    Annotated[Count, Tag("~fixed")] | Annotated[UniformCount, Tag("~uniform")] | Annotated[ChoiceCount, Tag("~choice")],
    Discriminator(_draw_form),
]
DelayDraw = Annotated[
    Annotated[Delay, Tag("~fixed")] | Annotated[UniformDelay, Tag("~uniform")] | Annotated[ChoiceDelay, Tag("~choice")],
    Discriminator(_draw_form),
]
DurationDraw = Annotated[
    Annotated[Duration, Tag("~fixed")] | Annotated[UniformDuration, Tag("~uniform")] | Annotated[ChoiceDuration, Tag("~choice")],
    Discriminator(_draw_form),
]


# --------------------------------------------------------------------------------------------------------------- faults
_EVENTS = ("time", "chunk", "byte", "console", "flash_operation")


class Trigger(Strict):
    """What a fault waits for: one event, or the beginning of a phase."""

    time: Literal["start"] | None = None
    """`start`: the start of the update; the offset does the rest."""
    phase: Phase | None = None
    """Alone: the beginning of this phase.  With an event: count only inside this phase."""
    chunk: CountDraw | None = None
    """The Nth upload request, from 1 to all."""
    byte: CountDraw | None = None
    """The Nth byte of the image, from 1 to all."""
    console: Pattern | None = None
    """A console line that this regular expression matches."""
    flash_operation: CountDraw | None = None
    """The Nth flash operation of the SoC, from 1; only boards with a `counter` can see it."""
    count: CountDraw | None = None
    """With `console`: which match counts, from 1; the first when left out."""

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
        if self.count is not None and self.console is None:
            raise PydanticCustomError("trigger", "count belongs to console; other events carry their count themselves", {"at": "count"})
        if self.phase not in (None, Phase.UPLOAD) and (self.chunk is not None or self.byte is not None):
            raise PydanticCustomError("trigger", "chunks and bytes are counted in phase upload only", {"at": "phase"})
        if self.phase is Phase.FLASH:
            reason = "in phase flash the probe works, not the update; a cut there tests the rig"
            raise PydanticCustomError("trigger", reason, {"at": "phase"})
        return self


class PowerCut(Strict):
    """The supply goes off and on again."""

    trigger: Trigger
    """What the cut waits for."""
    offset_ms: DelayDraw = 0.0
    """Time from the trigger to the cut in milliseconds, 0 to 600000."""
    off_ms: DurationDraw
    """How long the supply stays off in milliseconds, 1 to 600000."""
    repeat: Annotated[int, Field(ge=1, le=100)] = 1
    """How many times in a row, 1 to 100."""
    on_ms: DurationDraw | None = None
    """Time with power between two cuts in milliseconds, 1 to 600000; wanted when `repeat` is above 1."""
    share: Annotated[int, Field(ge=1, le=1000)] = 1
    """Weight of this fault when trials are dealt out, 1 to 1000."""

    @model_validator(mode="after")
    def _pause(self) -> PowerCut:
        if (self.repeat > 1) != (self.on_ms is not None):
            at = "repeat" if self.repeat > 1 else "on_ms"
            raise PydanticCustomError("power_cut", "a repeat above 1 and on_ms belong together", {"at": at})
        return self


class Control(Strict):
    """The control group with a weight."""

    share: Annotated[int, Field(ge=1, le=1000)] = 1
    """Weight of the control group when trials are dealt out, 1 to 1000."""


class ControlEntry(Strict):
    """No fault, with a weight."""

    none: Control
    """The control group."""


class PowerCutEntry(Strict):
    """A fault: power cut."""

    power_cut: PowerCut
    """The supply goes off and on again."""


def _fault_form(value: Any) -> str:
    if isinstance(value, dict):
        return "~control" if "none" in value else "~power_cut"
    return "~none"


Fault = Annotated[
    Annotated[Literal["none"], Tag("~none")]
    | Annotated[ControlEntry, Tag("~control")]
    | Annotated[PowerCutEntry, Tag("~power_cut")],
    Discriminator(_fault_form),
]


# ------------------------------------------------------------------------------------------------------------- scenario
class SocSelection(Strict):
    """Boards by SoC."""

    soc: Annotated[tuple[Soc, ...], Field(min_length=1)]
    """SoCs of the boards that take part."""


def _selection_form(value: Any) -> str:
    return "~soc" if isinstance(value, dict) else "~names" if isinstance(value, list) else "~all"


Selection = Annotated[
    Annotated[Literal["all"], Tag("~all")]
    | Annotated[Annotated[tuple[Name, ...], Field(min_length=1)], Tag("~names")]
    | Annotated[SocSelection, Tag("~soc")],
    Discriminator(_selection_form),
]


class Update(Strict):
    """How the update is asked for."""

    request: Request = Request.TEST
    """test (the bootloader reverts it unless it is confirmed) or permanent."""
    confirm: bool = True
    """Whether the host confirms the new image after it has booted; true when left out."""
    staged: Share = 0.0
    """Share of trials, 0 to 1, in which the probe places the new image instead of an upload over the air."""
    receipts_every: Annotated[int, Field(ge=0, le=1000)] = 0
    """Secure DFU: packets between packet receipt notifications, 1 to 1000; 0 asks for none."""
    again: Share | None = None
    """Share of trials, 0 to 1, that end with the update to images.again; 1 when there is such an image, else 0."""


Wait = Annotated[float, Field(gt=0, le=86_400)]


class Waits(Strict):
    """How long the rig waits before a silence becomes evidence, in seconds, above 0 to 86400."""

    boot_s: Wait = Limits.boot_s
    """From power or reset to the application's first sign of life, without an installation."""
    discover_s: Wait = Limits.discover_s
    """From the beginning of a scan to the board's advertisement."""
    connect_s: Wait = Limits.connect_s
    """For a connection and the discovery of services."""
    request_s: Wait = Limits.request_s
    """For the answer to one request."""
    first_chunk_s: Wait = Limits.first_chunk_s
    """For the answer to the first upload request, which may erase the whole slot."""
    upload_s: Wait = Limits.upload_s
    """For the upload as a whole."""
    install_s: Wait = Limits.install_s
    """For the bootloader's swap or copy, until the new image shows a sign of life."""
    confirm_s: Wait = Limits.confirm_s
    """For the new image to be confirmed, by the host or by itself."""
    settle_s: Wait = Limits.settle_s
    """How long the board must simply keep running at the end."""
    trial_s: Wait = Limits.trial_s
    """For the trial as a whole."""


class Accept(Strict):
    """When the campaign is accepted."""

    failures_at_most: Annotated[int, Field(ge=0)] = 0
    """Trials with verdict FAIL that are tolerated."""
    faults_proved_at_least: Share = 0.99
    """Share of the faults requested, 0 to 1, that independent evidence must prove."""
    lost_to_rig_at_most: Share = 0.05
    """Share of the trials, 0 to 1, that may be lost to the rig: inconclusive or broken by an instrument."""


def _requirement(value: Any) -> str:
    if value not in REQUIREMENTS:
        close = difflib.get_close_matches(str(value), REQUIREMENTS, n=1)
        words = {"hint": f"did you mean {close[0]!r}?" if close else "`rig practices` lists them"}
        raise PydanticCustomError("requirement", "no such requirement; {hint}", words)
    return str(value)


RequirementId = Annotated[str, PlainValidator(_requirement), WithJsonSchema({"enum": list(REQUIREMENTS)})]


class ScenarioDocument(Strict):
    """A scenario file: images, faults, how many trials, and what is expected."""

    scenario: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """Name of the scenario: lower case letters, digits and -; unique."""
    description: str = ""
    """What it is good for, in a sentence or two."""
    protocol: Protocol
    """How the image travels: smp or secure_dfu."""
    boards: Selection = "all"
    """Which boards take part: all that speak the protocol, a list of names, or a mapping with `soc`."""
    images: ImageSet
    """The images."""
    update: Update = Update()
    """How the update is asked for."""
    faults: Annotated[tuple[Fault, ...], Field(min_length=1)] = ("none",)
    """Faults, dealt out evenly over the trials or by their `share`; only the control group when left out."""
    trials: Annotated[int, Field(ge=1, le=1_000_000)]
    """How many trials, 1 to 1000000, over all boards together."""
    seed: Seed
    """What every random draw comes from, 0 to 2^63 - 1."""
    limits: Waits = Waits()
    """How long the rig waits."""
    proves: tuple[RequirementId, ...] = ()
    """Requirements of the eleven practices that its trials are to prove; `rig practices` lists them."""
    inspect: bool = False
    """Whether its trials only look at production units: nothing is flashed, updated or cut; false when left out."""
    expect: Expectation = Expectation.UPDATED
    """What a good device does without a fault: updated, rolled_back or refused."""
    accept: Accept = Accept()
    """When the campaign is accepted."""
