"""What a scenario file says, after it has been checked: frozen records that `config` produces and `plan` consumes.

Everything random is still a `Draw` here; planning evaluates it.  Times are seconds, sizes bytes, counts start at 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rig.fault import CurrentStretch, PinEdge
from rig.model import (
    Acceptance,
    Board,
    CutPlace,
    Expectation,
    Fade,
    FaultKind,
    FlashPlace,
    Interference,
    Limits,
    OperationKind,
    Phase,
    PointPlan,
    Protocol,
    Request,
    TriggerKind,
    Voltage,
)
from rig.product import ChannelSecurity, Product

Bound = int | float | Literal["all"]
"""A number, or ``all``: as many chunks or bytes as the image has.  Only counts of chunks and bytes may be ``all``."""


@dataclass(frozen=True, kw_only=True)
class Fixed:
    """Always `value`."""

    value: Bound


@dataclass(frozen=True, kw_only=True)
class Uniform:
    """Anything from `low` to `high`, both included, all equally likely: whole numbers for counts, real numbers for times."""

    low: Bound
    high: Bound


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of `values`, all equally likely."""

    values: tuple[Bound, ...]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Each of `values` in turn, from the first again after the last: a list or a grid."""

    values: tuple[Bound, ...]


Draw = Fixed | Uniform | Choice | Sweep


@dataclass(frozen=True, kw_only=True)
class TriggerTemplate:
    """A `rig.model.Trigger` whose count and offset are still to be drawn."""

    kind: TriggerKind
    phase: Phase | None = None
    count: Draw = field(default_factory=lambda: Fixed(value=1))
    pattern: str = ""
    offset_s: Draw = field(default_factory=lambda: Fixed(value=0.0))
    occurrence: int = 1
    after: int = 0
    operation: OperationKind | None = None
    current: CurrentStretch | None = None
    pin: PinEdge | None = None


@dataclass(frozen=True, kw_only=True)
class FlipsTemplate:
    """How many bits of a place are to be turned over; where is drawn."""

    place: FlashPlace
    bits: int


@dataclass(frozen=True, kw_only=True)
class AimTemplate:
    """Power cuts aimed at flash operations, planned in rounds from what the rounds before have hit.

    `phases` and `kinds` restrict the operations, empty for all; `numbers` are those of LIST, counted from 1 in their phase among the
    operations of these kinds.  `places` are where EVERY and LIST cut each operation.  `random_share` of the cuts, 0 to 1, fall anywhere; a round has `round_size` trials at most.
    """

    plan: PointPlan
    phases: tuple[Phase, ...] = ()
    kinds: tuple[OperationKind, ...] = ()
    numbers: tuple[int, ...] = ()
    random_share: float = 0.05
    round_size: int = 48
    places: tuple[CutPlace, ...] = (CutPlace.INSIDE,)


@dataclass(frozen=True, kw_only=True)
class FaultTemplate:
    """A `rig.model.Fault` whose numbers are still to be drawn.  With `aim` its trigger is made when its round is planned."""

    trigger: TriggerTemplate
    off_s: Draw
    repeat: int = 1
    on_s: Draw = field(default_factory=lambda: Fixed(value=0.0))
    kind: FaultKind = FaultKind.POWER_CUT
    voltage: Voltage | None = None
    flips: FlipsTemplate | None = None
    interference: Interference | None = None
    fade: Fade | None = None
    aim: AimTemplate | None = None


@dataclass(frozen=True, kw_only=True)
class FaultShare:
    """One entry of the fault list and its weight when trials are dealt out.  An empty `programme` is the control group."""

    programme: tuple[FaultTemplate, ...] = ()
    share: int = 1

    @property
    def aim(self) -> AimTemplate | None:
        """The plan by operations of its aimed cut, if it has one."""
        return next((fault.aim for fault in self.programme if fault.aim is not None), None)

    @property
    def stratum(self) -> str:
        """What its trials are counted under: the phase that the first fault aims at, else the event, else ``control``."""
        if not self.programme:
            return "control"
        trigger = self.programme[0].trigger
        return trigger.phase.value if trigger.phase else trigger.kind.value


@dataclass(frozen=True, kw_only=True)
class ImageNeed:
    """Another image of a device with several, by number, and the lowest version of it that an image works with."""

    image: int
    version: str


@dataclass(frozen=True, kw_only=True)
class ImageBuild:
    """A sample application to build and sign.  `size` counts the application from vector table to checksum, without header and TLVs.

    `confirm`: when the application confirms itself.  `crash`: it faults right after its start.  `seed` makes two images of one
    version differ.

    For MCUboot: `security_counter` and `needs` become protected entries.  For Secure DFU: `hardware` is the hardware version and
    `softdevice` the FWIDs in the init packet; None and empty take those of the sample boards.  `spoil` is the kind of spoiling that
    the good package goes through before it is used.
    """

    version: str
    size: int
    confirm: Literal["never", "at-once", "after-self-test"] = "never"
    self_test_s: float = 1.0
    crash: bool = False
    flags: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    seed: int = 0
    security_counter: int | None = None
    needs: ImageNeed | None = None
    hardware: int | None = None
    softdevice: tuple[int, ...] = ()
    spoil: str | None = None


@dataclass(frozen=True, kw_only=True)
class ImagePath:
    """A signed image on disk; `path` as it can be opened from the working directory.  `spoil` as for `ImageBuild`."""

    path: str
    spoil: str | None = None


ImageSource = ImageBuild | ImagePath


@dataclass(frozen=True, kw_only=True)
class ImageChoice:
    """One image of a scenario: `every` for all SoCs, or one source per SoC."""

    every: ImageSource | None = None
    by_soc: Mapping[str, ImageSource] = field(default_factory=dict)

    def source(self, soc: str) -> ImageSource | None:
        """What boards with `soc` get, None when the scenario has nothing for them."""
        return self.every if self.every is not None else self.by_soc.get(soc)


@dataclass(frozen=True, kw_only=True)
class Images:
    """The images of a scenario.  `key` is a PEM file; without it the test key of `signature` signs what is built.

    `encrypted`: what is built travels encrypted.  `encryption_key` is the PEM file with the bootloader's private key, which encrypted
    images are made for and read with; without it the public test key.
    """

    old: ImageChoice
    new: ImageChoice
    again: ImageChoice | None = None
    key: str | None = None
    signature: Literal["ecdsa-p256", "ed25519", "rsa-2048"] = "ecdsa-p256"
    encrypted: bool = False
    encryption_key: str | None = None


@dataclass(frozen=True, kw_only=True)
class BoardSelection:
    """Which boards a scenario runs on; an empty tuple does not restrict."""

    names: tuple[str, ...] = ()
    socs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a key's value stands in its file (counting from 1), with the line quoted for a message."""

    line: int
    column: int
    excerpt: str


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One scenario file.  `staged` and `again` are shares of the trials, 0 to 1; `staged` None leaves it to the plan of the faults.

    `proves` names requirements of `rig.practices`, of which those count that apply to `product`.  `inspect`: it only looks, at
    production units.

    `places` maps key paths such as ``images.new.file`` to their place in `file`, so that checks which need the boards as well can
    still point at a line.
    """

    name: str
    description: str
    protocol: Protocol
    boards: BoardSelection
    images: Images
    request: Request
    confirm: bool
    staged: float | None
    again: float
    faults: tuple[FaultShare, ...]
    trials: int
    seed: int
    limits: Limits
    expect: Expectation
    accept: Acceptance
    file: str
    receipts_every: int = 0
    proves: tuple[str, ...] = ()
    inspect: bool = False
    product: Product | None = None
    places: Mapping[str, Place] = field(default_factory=dict, compare=False, repr=False)

    def runs_on(self, board: Board) -> bool:
        """Whether `board` speaks the scenario's protocol and is among the boards selected."""
        return (
            board.protocol is self.protocol
            and board.production is self.inspect
            and (not self.boards.names or board.name in self.boards.names)
            and (not self.boards.socs or board.soc in self.boards.socs)
        )

    @property
    def staging_obstacle(self) -> str | None:
        """Why the probe cannot place what an upload leaves behind; None where nothing stands against it."""
        if self.protocol is not Protocol.SECURE_DFU:
            return None
        sources = (self.images.new.every, *self.images.new.by_soc.values())
        if self.expect is Expectation.REFUSED or any(source is not None and source.spoil for source in sources):
            return "a bootloader that refuses the package never gets as far as what would be placed"
        if self.product is not None and self.product.channel is not ChannelSecurity.OPEN:
            return "the application hands its bond over to the bootloader, and the rig cannot place what it does not know"
        return None
