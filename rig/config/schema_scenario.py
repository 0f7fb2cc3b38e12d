"""Schema of a scenario file.  Every key carries its meaning, unit, range and default; `docs/configuration.md` repeats them."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, PlainValidator, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from rig.config.schema_boards import Soc
from rig.config.schema_faults import Fault
from rig.config.schema_images import ImageSet
from rig.config.schema_parts import Name, Seed, Share, Strict
from rig.model import Expectation, Limits, Protocol, Request
from rig.practices import REQUIREMENTS


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
    staged: Share | None = None
    """Share of trials, 0 to 1, in which the probe places the new image instead of an upload over the air; of those with aimed cuts 0.9
    when left out, else 0. Cuts before the upload's end are never staged, with secure_dfu those before the installation."""
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
