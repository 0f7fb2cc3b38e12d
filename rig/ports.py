"""What an instrument must do.  Protocols only: no code, and no knowledge that a virtual bench exists.

Every instrument is an async context manager: entering it opens the hardware, leaving it closes it in any weather.
Every method may raise `InstrumentError`; radio methods may raise `DutError` as said.  All times are seconds of the running
event loop's clock (`loop.time()`), so that one code path serves the wall clock and the virtual clock.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Protocol, Self

from rig.model import Interference, InterferenceKind, Region


class Instrument(Protocol):
    """Anything on the bench that must be opened and closed."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ByteStream(Protocol):
    """A duplex stream of bytes: a serial port, a pty, or the virtual wire that stands for one.

    `listen` registers the one receiver; it is called with (time of reception in s, bytes) on the event loop, and once with no bytes
    when the stream has ended.
    `write` hands bytes over without waiting; `drain` waits until they have left the host.
    """

    def listen(self, receiver: Callable[[float, bytes], None]) -> None: ...

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None: ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------------------------------------------------------- probe
@dataclass(frozen=True, kw_only=True)
class DeviceInfo:
    """What FICR says about the SoC (nRF52 Product Specification, FICR).  `part` is 0x52832, 0x52833 or 0x52840."""

    part: int
    flash_size: int
    ram_size: int
    device_id: int
    ble_address: str


@dataclass(frozen=True, kw_only=True)
class Protection:
    """How the SoC guards its memory at this moment.

    `readback`: access port protection (APPROTECT) is on: a debugger can read nothing, and only a mass erase opens the chip.
    `locked`: the pages that the running firmware has locked against erasing and writing until the next reset (nRF52833, nRF52840:
    ACL; nRF52832: BPROT), adjoining ones joined, in ascending order; empty with `readback`, since nobody can look then.
    """

    readback: bool
    locked: tuple[Region, ...]


class Probe(Instrument, Protocol):
    """A debug probe.  It is attached only between trials' live parts: `detach` before every timed cut.

    The first memory access attaches it again.  Access to memory raises `InstrumentError` where access port protection is on.
    """

    async def info(self) -> DeviceInfo: ...

    async def read(self, address: int, length: int) -> bytes: ...

    async def program(self, address: int, data: bytes) -> None:
        """Erase the pages touched, write `data`, and verify by reading back.  The rest of a touched page becomes 0xFF."""
        ...

    async def erase(self, address: int, length: int) -> None:
        """Erase whole pages; `address` and `length` are multiples of the page size."""
        ...

    async def reset(self) -> None:
        """Pin reset; RESETREAS shows it."""
        ...

    async def recover(self) -> None:
        """Erase the whole chip, bootloader and UICR too, which also opens a chip with access port protection."""
        ...

    async def protection(self) -> Protection:
        """What is guarded now.  It attaches without a reset and lets the firmware run on, unless the probe is attached already.

        Ask while the application runs; from a core that the probe holds in reset there is nothing to learn about locked pages.
        Uncertain on silicon: BPROT (nRF52832) does nothing while a debugger is attached unless DISABLEINDEBUG says otherwise, so a
        page listed here proves what firmware asked for, and only an attempt without a debugger proves that it holds.
        """
        ...

    async def detach(self) -> None: ...


# --------------------------------------------------------------------------------------------------------------- supply
@dataclass(frozen=True, kw_only=True)
class SupplyTrace:
    """A stretch of supply samples: `start_s` on the loop's clock, `step_s` apart, current in µA, logic inputs as a bit mask.

    Logic input 0 is wired to the SoC's VDD (through the instrument's logic port), so bit 0 tells whether VDD is high.  Of a supply with
    `SupplyCapability.LOGIC_INPUTS` bits 1 to 7 are whatever the bench has wired to the others.
    """

    start_s: float
    step_s: float
    current_ua: Sequence[float]
    logic: bytes


class SupplyCapability(StrEnum):
    """What a supply can do beyond on and off."""

    MEASURE_CURRENT = "measure_current"
    SENSE_VDD = "sense_vdd"
    SET_VOLTAGE = "set_voltage"
    AIMED_CUT = "aimed_cut"
    WATCH = "watch"
    LOGIC_INPUTS = "logic_inputs"


class PowerSupply(Instrument, Protocol):
    """What feeds the SoC, and only the SoC.  `on` and `off` return the loop time at which the command left the host."""

    capabilities: frozenset[SupplyCapability]

    async def set_voltage(self, millivolts: int) -> None: ...

    async def on(self) -> float: ...

    async def off(self) -> float: ...

    async def record(self) -> None:
        """Start recording samples (no effect when it already records)."""
        ...

    async def stop_recording(self) -> SupplyTrace:
        """Stop and return what was recorded; empty when the supply cannot measure."""
        ...


# -------------------------------------------------------------------------------------------------------------- console
class Console(Instrument, Protocol):
    """The device's UART or RTT output.  Every byte reaches every listener with its time of reception; none is lost."""

    def attach(self, listener: Callable[[float, bytes], None]) -> Callable[[], None]:
        """Add a listener; returns the function that removes it."""
        ...

    def check(self) -> None:
        """Raise `InstrumentError` when the console no longer listens; to be called before silence is taken as evidence."""
        ...


# ---------------------------------------------------------------------------------------------------------------- radio
@dataclass(frozen=True, kw_only=True)
class Advertisement:
    """One advertising device as the scanner saw it.  `token` is the driver's own handle for `connect`."""

    address: str
    name: str
    service_uuids: tuple[str, ...]
    rssi_dbm: int
    seen_s: float
    token: object = None


class GattLink(Protocol):
    """One BLE connection.  It is used up when the link drops; ask the radio for another.

    Every method raises `LinkLost` when the link has ended, and `Refused` (group = -1, code = ATT error) on an ATT error.
    """

    max_write: int
    """Largest write without response, bytes (ATT_MTU - 3, at most 512)."""

    lost_reason: int | None
    """HCI reason once the link has ended, where known."""

    @property
    def is_up(self) -> bool: ...

    async def read(self, characteristic: str) -> bytes: ...

    async def write(self, characteristic: str, data: bytes, *, response: bool) -> None:
        """Write; without response it waits only for room in the controller's queue (back-pressure)."""
        ...

    async def subscribe(self, characteristic: str, receiver: Callable[[bytes], None]) -> None: ...

    async def wait_lost(self) -> int | None:
        """Return the HCI reason (None where unknown) when the link has ended."""
        ...

    async def disconnect(self) -> None: ...


class RadioCapability(StrEnum):
    """What a radio can do beyond scanning and connecting."""

    SET_ADDRESS = "set_address"


class Radio(Instrument, Protocol):
    """The rig's BLE central."""

    capabilities: frozenset[RadioCapability]

    @property
    def own_address(self) -> str | None:
        """The address that links are made from now, as the controller has confirmed it; None where the driver is not told."""
        ...

    async def find(self, accept: Callable[[Advertisement], bool], *, timeout_s: float) -> Advertisement:
        """Scan until an acceptable advertisement is seen.  Raises `NotFound` after `timeout_s`."""
        ...

    async def connect(
        self, target: Advertisement, *, services: Collection[str], timeout_s: float, secured: bool = True
    ) -> GattLink:
        """Connect and discover `services`.  Raises `LinkLost` or `NoReply` when that fails.

        `secured` False connects as a stranger would: without pairing, and without encrypting by an earlier bond.
        """
        ...

    async def use_address(self, address: str) -> None:
        """Be another central from the next connection on: with the random static `address` ("F3:…") and without any bonds.

        Only with `RadioCapability.SET_ADDRESS`, and not while it scans or connects; a connection that is up keeps its address.
        """
        ...

    def capture(self, sink: Callable[[bytes], None]) -> None:
        """Send the HCI traffic to `sink` in btsnoop format (RFC 1761 derived, datalink 1002), header first."""
        ...


class AimedSupply(PowerSupply, Protocol):
    """A supply with `SupplyCapability.AIMED_CUT`: it makes a cut by its own clock."""

    async def cut(self, delay_s: float, duration_s: float) -> float:
        """Off after `delay_s`, on again `duration_s` later, each at most 60 s; returns when the command left the host."""
        ...


class WatchedSupply(PowerSupply, Protocol):
    """A supply with `SupplyCapability.WATCH`: its samples can be looked at while they arrive."""

    async def watch(self, listener: Callable[[SupplyTrace], None]) -> Callable[[], Awaitable[None]]:
        """Call `listener` on the loop with every block of samples from now on, whether or not they are recorded too.

        Blocks follow each other without overlap; what was lost on the way is filled as in a recording.  Returns the function that
        ends it.
        """
        ...


class Interferer(Instrument, Protocol):
    """A second radio that disturbs the first.  Only in a shielded enclosure.

    Entering and leaving silence it.  `start` and `stop` return the loop time at which the command left the host; what is on the air
    changes some milliseconds later, and what the interferer itself says of it is no proof.
    """

    kinds: frozenset[InterferenceKind]

    async def start(self, interference: Interference) -> float:
        """Send `interference` instead of whatever was sent before, until `stop`."""
        ...

    async def stop(self) -> float: ...


class Attenuator(Instrument, Protocol):
    """A programmable attenuator between the board's antenna and everything that it talks to.

    Entering and leaving set it to its rest value.
    """

    async def set(self, db: float) -> float:
        """Set the attenuation, in dB on top of the insertion loss; returns the loop time by which the instrument has confirmed it."""
        ...


# ------------------------------------------------------------------------------------------------- flash operation count
@dataclass(frozen=True, kw_only=True)
class FlashOperation:
    """One page erase, or one write of `words` words in a row.

    `first` is the counter's reading when it began, at `started_s`; undisturbed it takes `duration_s`.  `progress` below 1 means that
    the processor lost its power, or was held, when that share of it had been done.
    """

    erase: bool
    address: int
    words: int
    first: int
    started_s: float
    duration_s: float
    progress: float = 1.0


class OperationCounter(Instrument, Protocol):
    """Counts the flash operations (page erases and word writes) of the SoC.  Only benches that can see them have one."""

    def count(self) -> int: ...

    def begun(self) -> int:
        """How many operations have begun since the bench was built, a write of many words being one."""
        ...

    def operations(self, since: int) -> Sequence[FlashOperation]:
        """Those that have begun from number `since` on (0-based); one that is going on is shown as if it came to its end."""
        ...

    def power_failed_s(self) -> float | None:
        """When VDD last fell below what the processor runs on; None while it never has."""
        ...

    def erases(self) -> int:
        """Pages erased since the bench was built, by whomever, interrupted ones included."""
        ...

    def call_at(self, count: int, action: Callable[[], None]) -> Callable[[], None]:
        """Call `action` on the loop when operation number `count` (0-based, since power-up of the bench) begins.

        Returns the function that cancels it.
        """
        ...

    def watch(self, listener: Callable[[FlashOperation], None]) -> Callable[[], None]:
        """Call `listener` on the loop with every operation in the moment in which it begins; returns the function that ends it."""
        ...
