"""What firmware on a virtual board may do.  Bootloaders and applications are classes that get a `Cpu` and nothing else.

A `Cpu` is one life of the processor, from a reset to the next reset or loss of power.  When the life ends, every pending call is
cancelled in the middle of what it does; the flash keeps exactly what had been done by then.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, MutableMapping
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from rig.model import MemoryMap
from rig.virtual.parts import Part

if TYPE_CHECKING:
    from rig.virtual.ble_peripheral import BlePeripheral
    from rig.virtual.pairing import Bond


class ResetReason(IntFlag):
    """RESETREAS (nRF52 PS, POWER): cumulative, write one to clear, all zero after power-on or brown-out reset."""

    POWER_ON = 0
    PIN = 1 << 0
    WATCHDOG = 1 << 1
    SOFT = 1 << 2
    LOCKUP = 1 << 3


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Where a bootloader jumps: the address of the vector table of the application."""

    vector_table: int


@dataclass(frozen=True, kw_only=True)
class BoardFacts:
    """What a board's maker would have compiled into its firmware.  Passed to every bootloader and application class."""

    name: str
    part: Part
    memory: MemoryMap
    ble_name: str
    ble_address: str


class SerialPort(Protocol):
    """A UART of the board in both directions, beside the console."""

    def listen(self, receiver: Callable[[bytes], None]) -> None:
        """Call `receiver` on the loop with bytes received."""
        ...

    async def send(self, data: bytes) -> None:
        """Send and wait until the last bit has left."""
        ...


class Cpu(Protocol):
    """The processor as firmware sees it.  Addresses and lengths in bytes, times in seconds."""

    part: Part

    reset_reason: ResetReason
    """As at this reset; `clear_reset_reason` clears bits in the register for the next reader."""

    gpregret: list[int]
    """GPREGRET and GPREGRET2: kept over soft, pin and watchdog reset, lost at power-on and brown-out reset."""

    noinit: dict[str, Any]
    """RAM that start-up code leaves alone: kept over resets, and over a power cut too short to lose RAM."""

    bonds: MutableMapping[str, Bond]
    """The bonds that the application keeps, by the centrals' addresses: as durable as flash, and no part of the memory map."""

    @property
    def radio(self) -> BlePeripheral:
        """The BLE stack of this life, not yet started."""
        ...

    @property
    def serial(self) -> SerialPort:
        """The UART over which a serial bootloader is updated."""
        ...

    def read(self, address: int, length: int) -> bytes:
        """Read memory-mapped flash, UICR or FICR."""
        ...

    async def erase_page(self, address: int) -> None:
        """Erase the page at `address` (a multiple of 4096).  Takes the part's page erase time; the core stalls meanwhile."""
        ...

    async def write(self, address: int, data: bytes) -> None:
        """Program whole words, ascending; bits only go from 1 to 0.  One call may be bulk (a page copy).

        `address` and `len(data)` are multiples of 4, else HardFault.  Takes the part's word write time per word.
        """
        ...

    def protect(self, start: int, size: int) -> None:
        """Lock whole pages until the next reset: erases and writes there do nothing (nRF52840: ACL; nRF52832, nRF52833: BPROT)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Compute or wait for `seconds`."""
        ...

    async def print(self, line: str) -> None:
        """Send `line` and CR LF on the UART and wait until the last bit has left, as a polled console does."""
        ...

    def drive_pin(self, pin: str, *, high: bool) -> None:
        """Drive a GPIO pin, for instance ``P0.13``; it stays so until it is driven otherwise, or until the next reset."""
        ...

    def clear_reset_reason(self, mask: int) -> None: ...

    def start_watchdog(self, timeout_s: float) -> None:
        """Start the watchdog.  It cannot be stopped and keeps running over a soft reset."""
        ...

    def feed_watchdog(self) -> None: ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run `work` beside the caller (an interrupt or a thread) until this life ends."""
        ...

    def reset(self) -> NoReturn:
        """Soft reset (AIRCR.SYSRESETREQ)."""
        ...

    def fault(self, reason: str) -> NoReturn:
        """HardFault with no handler: lock-up, which resets the SoC with RESETREAS.LOCKUP set."""
        ...


class Bootloader(Protocol):
    """What runs first after every reset.  Built once per board from ``bootloader:`` in the boards file.

    A class may have a `factory_flash` as well: pairs of address and bytes that a new board holds beside the application; and `code`,
    the region that the bootloader itself lies in: a board on which the application has damaged it stays dead.
    """

    async def boot(self, cpu: Cpu) -> Entry | None:
        """Do what the bootloader does and return where to jump, or None when it halts for good."""
        ...


class Application(Protocol):
    """What a bootloader jumps to.  Built anew for every start."""

    async def run(self, cpu: Cpu) -> None: ...
