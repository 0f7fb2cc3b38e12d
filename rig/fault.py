"""The nouns of fault programmes: what is done to a device in the middle of its update, when, and for how long.

Frozen records without I/O, clock or randomness, as in `rig.model`, which lends these names to the rest of the project.  Times are
seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

ADDED_LATER: Mapping[str, bool] = MappingProxyType({"added_later": True})
"""Metadata of a field that folders of older versions lack; its default is what it meant then."""


class Phase(StrEnum):
    """What the update is doing, in order.  The words are the same for both protocols.

    `mark` is the request to install (SMP image test or confirm; Secure DFU final execute), `install` is the bootloader's swap
    or copy, `settle` is the time after everything in which the device must simply keep running.
    """

    FLASH = "flash"
    BOOT = "boot"
    DISCOVER = "discover"
    CONNECT = "connect"
    UPLOAD = "upload"
    MARK = "mark"
    RESET = "reset"
    INSTALL = "install"
    BOOT_NEW = "boot_new"
    CONFIRM = "confirm"
    SETTLE = "settle"


# -------------------------------------------------------------------------------------------------------------- triggers
class TriggerKind(StrEnum):
    """What a fault waits for.  Counts start at 1; the offset comes after the event."""

    TIME = "time"
    PHASE = "phase"
    CHUNK = "chunk"
    BYTE = "byte"
    CONSOLE = "console"
    FLASH_OPERATION = "flash_operation"
    CONNECTED = "connected"
    SUBSCRIBED = "subscribed"
    LOST = "lost"
    CURRENT = "current"
    GPIO = "gpio"


@dataclass(frozen=True, kw_only=True)
class CurrentStretch:
    """A stretch of the supply current above, or else below, `limit_ua` (µA) that lasts `for_s` without a break."""

    above: bool
    limit_ua: float
    for_s: float


class Edge(StrEnum):
    """Which way a logic level changes."""

    RISING = "rising"
    FALLING = "falling"


@dataclass(frozen=True, kw_only=True)
class PinEdge:
    """An edge on logic input `number` of the supply, 1 to 7; input 0 is VDD."""

    number: int
    edge: Edge


@dataclass(frozen=True, kw_only=True)
class Trigger:
    """When a fault is delivered: an event, how many times it must occur, then an offset.

    `phase` limits counting to that phase (None: from the start of the update); `count` is the N of "the Nth chunk, byte, console
    match, flash operation, event of the link, stretch or edge"; `pattern` is a regular expression for CONSOLE.
    `current` goes with CURRENT, `pin` with GPIO.
    """

    kind: TriggerKind
    phase: Phase | None = None
    count: int = 1
    pattern: str = ""
    offset_s: float = 0.0
    occurrence: int = field(default=1, metadata=ADDED_LATER)
    """Which time that the phase begins, from 1: the second installation of a trial is the one that reverts."""
    after: int = field(default=0, metadata=ADDED_LATER)
    """Number of the fault of the same programme, from 1, that must be over before this trigger counts; 0 for none."""
    operation: OperationKind | None = field(default=None, metadata=ADDED_LATER)
    """FLASH_OPERATION: count whole operations of this kind; None counts every word written and every page erased."""
    current: CurrentStretch | None = field(default=None, metadata=ADDED_LATER)
    pin: PinEdge | None = field(default=None, metadata=ADDED_LATER)


# ------------------------------------------------------------------------------------------------------ flash operations
class OperationKind(StrEnum):
    """What a flash operation is for.  STATUS: it writes a trailer of MCUboot or a settings page of Secure DFU."""

    ERASE = "erase"
    WRITE = "write"
    STATUS = "status"


class CutPlace(StrEnum):
    """Where a cut falls in relation to a flash operation; `rig.coverage.places` says what counts as which."""

    INSIDE = "inside"
    BOUNDARY = "boundary"


@dataclass(frozen=True, kw_only=True)
class Aim:
    """The flash operation that a cut is to strike: `number` counts from 1 since `phase` began for the `occurrence`-th time.

    `inside` is where in the operation, 0 (it begins) to 1 (it ends); 1 with `place` BOUNDARY is between it and the next one.  `drawn`
    tells why: coverage, chance, or boundary (between two outcomes).
    """

    phase: Phase
    occurrence: int
    number: int
    kind: OperationKind
    inside: float
    drawn: str = "coverage"
    place: CutPlace = field(default=CutPlace.INSIDE, metadata=ADDED_LATER)


class PointPlan(StrEnum):
    """How the operations that cuts aim at are chosen."""

    EVERY = "every"
    LIST = "list"
    RANDOM = "random"
    ADAPTIVE = "adaptive"


# ---------------------------------------------------------------------------------------------------------- disturbances
class FaultKind(StrEnum):
    """What is done."""

    POWER_CUT = "power_cut"
    BROWN_OUT = "brown_out"
    BIT_FLIPS = "bit_flips"
    LINK_DROP = "link_drop"
    CLIENT_KILL = "client_kill"
    ADAPTER_RESET = "adapter_reset"
    STALL = "stall"
    REPEAT_REQUESTS = "repeat_requests"
    REORDER_REQUESTS = "reorder_requests"
    NEW_ADDRESS = "new_address"
    INTERFERENCE = "interference"
    FADE = "fade"


@dataclass(frozen=True, kw_only=True)
class Voltage:
    """How the supply's voltage moves in a brown-out: down to `low_mv` in `fall_s`, and back up in `rise_s`.

    In between it stays for the fault's own duration.  Both ways go in `steps` equal steps; a time of 0 is one step.  `low_mv` 0
    switches the supply off instead, so that the way back is a rise from nothing.
    """

    low_mv: int
    fall_s: float = 0.0
    rise_s: float = 0.0
    steps: int = 10


class FlashPlace(StrEnum):
    """Where bits are flipped.

    RUNNING is the slot that the board runs from, or would run from if it were reset at that moment: the primary one, whichever image
    stands there.  In the phase INSTALL there is no such image: the bootloader moves it piece by piece, and a reset only makes it go on.
    """

    RUNNING = "running"
    STAGED = "staged"
    TRAILER = "trailer"
    SETTINGS = "settings"


@dataclass(frozen=True, kw_only=True)
class BitFlips:
    """Bits that the probe turns over while it holds the processor; `positions` are shares of the place's size, 0 to below 1."""

    place: FlashPlace
    positions: tuple[float, ...]


class InterferenceKind(StrEnum):
    """What a second radio sends to disturb the first."""

    CARRIER = "carrier"
    MODULATED = "modulated"
    DUTY_CYCLE = "duty_cycle"
    SWEEP = "sweep"
    HOP = "hop"


ADVERTISING_MHZ = (2402, 2426, 2480)
"""Channels 37, 38 and 39 (Core Specification Vol 6 Part B 1.4.1)."""


@dataclass(frozen=True, kw_only=True)
class Interference:
    """What an interferer sends from `start` to `stop`.

    `frequencies_mhz` are whole MHz from 2400 to 2480: one for a carrier, a modulated carrier and a duty cycle; the steps of a sweep, one
    MHz after the other; any for a hop, which sends a modulated burst on each in turn.  `power_dbm` is at the interferer's output.
    `dwell_s` is how long a sweep stays on a frequency (1 to 99 ms) and how long a burst of a hop lasts (20 µs to 65 ms).
    `duty` is the share of time in which it sends: 0.01 to 0.9 for a duty cycle; a hop pauses between its bursts accordingly, 80 µs at
    least; 1 for the others.
    """

    kind: InterferenceKind
    frequencies_mhz: tuple[int, ...]
    power_dbm: int
    duty: float = 1.0
    dwell_s: float = 1e-3

    @classmethod
    def on_advertising_channels(cls, power_dbm: int) -> Interference:
        """Bursts that follow each other so fast that no advertisement fits between two on the same channel."""
        return cls(
            kind=InterferenceKind.HOP, frequencies_mhz=ADVERTISING_MHZ, power_dbm=power_dbm, duty=0.2, dwell_s=20e-6
        )

    @classmethod
    def over_wifi(cls, channel: int, power_dbm: int) -> Interference:
        """A sweep over the 20 MHz of a Wi-Fi channel, 1 to 13 (IEEE 802.11, 2.4 GHz band)."""
        centre_mhz = 2407 + 5 * channel
        block = tuple(range(centre_mhz - 10, centre_mhz + 11))
        return cls(kind=InterferenceKind.SWEEP, frequencies_mhz=block, power_dbm=power_dbm)


@dataclass(frozen=True, kw_only=True)
class Fade:
    """An attenuation of `db` more than at rest, reached in `steps` equal steps of `step_s` and left the same way."""

    db: float
    steps: int = 1
    step_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One disturbance of a programme: done `repeat` times from its trigger on, `off_s` each time, `on_s` apart.

    For a power cut `off_s` is how long the supply is off; for a brown-out how long it stays low; for the others how long they last.
    The record that belongs to `kind` is set, the others are None.
    """

    trigger: Trigger
    off_s: float
    repeat: int = 1
    on_s: float = 0.0
    kind: FaultKind = field(default=FaultKind.POWER_CUT, metadata=ADDED_LATER)
    voltage: Voltage | None = field(default=None, metadata=ADDED_LATER)
    flips: BitFlips | None = field(default=None, metadata=ADDED_LATER)
    interference: Interference | None = field(default=None, metadata=ADDED_LATER)
    fade: Fade | None = field(default=None, metadata=ADDED_LATER)
    aim: Aim | None = field(default=None, metadata=ADDED_LATER)
    """Where a power cut of a plan by operations is to fall; the trigger is what was made of it."""
