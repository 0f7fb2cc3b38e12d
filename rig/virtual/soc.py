"""One virtual nRF52: flash, registers that survive resets, and the lives of its processor.

A life begins at a reset and ends at the next one or when VDD falls below the brown-out threshold.  Its end cancels everything
that firmware was doing and leaves the flash exactly as far as the operation in progress had come.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NoReturn

from rig.formats.sample_app import SampleApp
from rig.formats.sample_app import parse as parse_sample_app
from rig.model import Region
from rig.ports import FlashOperation
from rig.virtual.air import Air
from rig.virtual.ble_peripheral import BlePeripheral
from rig.virtual.cpu import Application, BoardFacts, Bootloader, Entry, ResetReason, SerialPort
from rig.virtual.flash import Erase, Flash, NvmcMisuse, Operation, Write, damage_of
from rig.virtual.pairing import Bond
from rig.virtual.pins import Pins
from rig.virtual.power import PowerNode
from rig.virtual.uart import Uart
from rig.virtual.wire import DeviceEnd

FICR_BASE, UICR_BASE, REGION_SIZE = 0x1000_0000, 0x1000_1000, 0x1000
STARTUP_S = 0.001
"""From a good supply or a reset to the first instruction: oscillator and regulator start."""
_UNLATCHES_S = 1.5
"""A latched-up chip comes back after so long without power, an estimate: until everything that feeds the latch has discharged."""


@dataclass(frozen=True, kw_only=True)
class Loads:
    """Supply current in amperes by what the SoC does; estimates for 3 V, to be replaced by a measurement of the product."""

    boot: float = 5e-3
    application: float = 0.8e-3
    flash: float = 0.6e-3
    off: float = 3e-6
    latched: float = 0.15


@dataclass(eq=False)
class _Pending:
    """Somebody waits for a flash operation."""

    count: int
    action: Callable[[], None]
    timer: asyncio.TimerHandle | None = None


@dataclass(kw_only=True)
class Soc:
    """The chip.  `power.on_good` and `power.on_fail` are wired to `power_good` and `power_fail` by the board.

    `radio_sync`: flash operations are sliced around radio events, as Zephyr's and the SoftDevice's flash drivers do; when
    False the radio is deaf while the NVMC is busy.

    `code` is where the bootloader lies.  Whatever a bootloader leaves there is taken to be a working bootloader; when an application
    has changed it, the next reset finds nothing to run.

    `stuck_bits` (address, bit, value) and `worn_pages` (addresses): see `rig.virtual.flash.Damage`.

    `approtect`: access port protection is on, so that a debugger cannot look at the memory (nRF52 PS, debug and trace, APPROTECT).
    """

    facts: BoardFacts
    bootloader: Bootloader
    application: Callable[[SampleApp, BoardFacts], Application]
    power: PowerNode
    console: DeviceEnd
    serial: DeviceEnd
    air: Air
    rng: random.Random
    radio_sync: bool = True
    approtect: bool = False
    stuck_bits: Sequence[Mapping[str, int]] = ()
    worn_pages: Sequence[int] = ()
    code: Region | None = None
    loads: Loads = field(default_factory=Loads)
    flash: Flash = field(init=False)
    reset_reason: ResetReason = ResetReason.POWER_ON
    gpregret: list[int] = field(default_factory=lambda: [0, 0])
    noinit: dict[str, Any] = field(default_factory=dict)
    bonds: dict[str, Bond] = field(default_factory=dict)
    life: Life | None = None
    failure: BaseException | None = None
    """An exception that escaped from a bootloader or application class: a fault of the bench, not of the device."""

    def __post_init__(self) -> None:
        self.flash = Flash(self.facts.part, rng=self.rng, damage=damage_of(self.facts.part, self.stuck_bits, self.worn_pages))
        self._start: asyncio.TimerHandle | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._watchdog_timeout_s = 0.0
        self._waiting: list[_Pending] = []
        self.pins = Pins()
        self._observers: list[Callable[[FlashOperation], None]] = []
        self.operations: list[FlashOperation] = []
        self.power_failed_s: float | None = None
        self._good_code: bytes | None = None
        self.is_latched_up = False
        """The chip conducts instead of computing: core, debug port and reset pin are dead until it has lost its power for long."""

    # ------------------------------------------------------------------------------------------------- power and reset
    def power_good(self) -> None:
        """VDD has risen above the power-on threshold."""
        if self.power_failed_s is not None and asyncio.get_running_loop().time() - self.power_failed_s >= _UNLATCHES_S:
            self.is_latched_up = False
        self.reset_reason = ResetReason.POWER_ON
        self.gpregret[:] = [0, 0]
        if self.power.ram_lost:
            self.noinit.clear()
        self._start_life()

    def power_fail(self) -> None:
        """VDD has fallen below the brown-out threshold."""
        self.power_failed_s = asyncio.get_running_loop().time()
        self._stop_watchdog()
        self._end_life()
        self.pins.release()
        self.power.set_load(self.loads.off)

    def hold(self) -> None:
        """A debugger takes the core: it stops, and so does whatever it was doing to the flash."""
        self._stop_watchdog()
        self._end_life()

    def release(self, reason: ResetReason) -> None:
        """The debugger lets go with a reset."""
        self.reset_reason |= reason
        if self.power.is_good and self.life is None and self._start is None:
            self._start_life()

    def restart(self, reason: ResetReason) -> None:
        """Reset by pin, software, watchdog or lock-up.  Nothing happens when the SoC has no power."""
        if self.life is None and self._start is None:
            return
        self.reset_reason |= reason
        if reason is not ResetReason.SOFT:
            self._stop_watchdog()
        self._end_life()
        self._start_life()

    def _start_life(self) -> None:
        self.pins.release()
        if self.is_latched_up:
            self.power.set_load(self.loads.latched)
            return
        self.power.set_load(self.loads.boot)
        self._start = asyncio.get_running_loop().call_later(STARTUP_S, self._first_instruction)

    def _first_instruction(self) -> None:
        self._start = None
        if self._good_code not in (None, self._code()):
            return  # lock-up at the first instruction, over and over: silent, and nothing but a probe can help
        self._good_code = self._code()
        self.life = Life(self)
        self.life.spawn(self.life.execute())

    def programmed(self, address: int, length: int) -> None:
        """A debugger has changed this stretch of flash: what it puts into the bootloader's place is trusted."""
        if self.code is not None and address < self.code.end and self.code.start < address + length:
            self._good_code = None

    def _code(self) -> bytes | None:
        return None if self.code is None else self.flash.read(self.code.start, self.code.size)

    def _end_life(self) -> None:
        if self._start is not None:
            self._start.cancel()
            self._start = None
        if self.life is not None:
            self.life.end()
            if not self.life.runs_application:
                self._good_code = self._code()
            self.life = None
        for waiting in self._waiting:
            if waiting.timer is not None:
                waiting.timer.cancel()
                waiting.timer = None

    # -------------------------------------------------------------------------------------------------------- watchdog
    def start_watchdog(self, timeout_s: float) -> None:
        """Start it once; later calls do nothing, as on silicon."""
        if self._watchdog is None:
            self._watchdog_timeout_s = timeout_s
            self.feed_watchdog(force=True)

    def feed_watchdog(self, *, force: bool = False) -> None:
        """Reload the counter when it runs."""
        if self._watchdog is None and not force:
            return
        if self._watchdog is not None:
            self._watchdog.cancel()
        loop = asyncio.get_running_loop()
        self._watchdog = loop.call_later(self._watchdog_timeout_s, self.restart, ResetReason.WATCHDOG)

    def _stop_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    # ------------------------------------------------------------------------------------------------ operation counter
    def call_at_operation(self, count: int, action: Callable[[], None]) -> Callable[[], None]:
        """Call `action` when flash operation `count` begins; returns the function that cancels it."""
        waiting = _Pending(count=count, action=action)
        self._waiting.append(waiting)

        def cancel() -> None:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
            if waiting.timer is not None:
                waiting.timer.cancel()

        return cancel

    def observe_operations(self, observer: Callable[[FlashOperation], None]) -> Callable[[], None]:
        """Call `observer` with each operation as it begins; returns the function that ends it."""
        self._observers.append(observer)
        return partial(self._observers.remove, observer)

    def operation_begins(self, operation: Operation) -> None:
        """Arm the timers of everybody who waits for a word of `operation`, and tell those who watch."""
        first = self.flash.count
        words = operation.words if isinstance(operation, Write) else 1
        self.operations.append(
            FlashOperation(
                erase=isinstance(operation, Erase),
                address=operation.address,
                words=words,
                first=first,
                started_s=asyncio.get_running_loop().time(),
                duration_s=self.flash.duration(operation),
            )
        )
        for waiting in list(self._waiting):
            if first <= waiting.count < first + words:
                delay = (waiting.count - first) * self.facts.part.word_write_s
                waiting.timer = asyncio.get_running_loop().call_later(delay, self._operation_reached, waiting)
        for observer in tuple(self._observers):
            observer(self.operations[-1])

    def operation_stops(self, progress: float) -> None:
        """The operation that is going on gets no further than this share."""
        self.operations[-1] = replace(self.operations[-1], progress=progress)

    def _operation_reached(self, waiting: _Pending) -> None:
        self._waiting.remove(waiting)
        waiting.action()


class Life:
    """The processor from one reset to the next: the `rig.virtual.cpu.Cpu` that firmware gets."""

    def __init__(self, soc: Soc) -> None:
        self.part = soc.facts.part
        self.reset_reason = soc.reset_reason
        self.gpregret = soc.gpregret
        self.noinit = soc.noinit
        self.bonds: MutableMapping[str, Bond] = soc.bonds
        self.runs_application = False
        self._soc = soc
        self._base_load = soc.loads.boot
        self._tasks: set[asyncio.Task[None]] = set()
        self._nvmc = asyncio.Lock()
        self._operation: tuple[Operation, float] | None = None
        self._protected: list[Region] = []
        self._radio: BlePeripheral | None = None

    # ------------------------------------------------------------------------------------------------------- the life
    async def execute(self) -> None:
        """Bootloader, then the application that it chose."""
        soc = self._soc
        entry = await soc.bootloader.boot(self)
        if entry is None:
            return
        image = self._fetch(entry)
        self._base_load = soc.loads.application
        self.runs_application = True
        soc.power.set_load(self._base_load)
        await soc.application(image, soc.facts).run(self)

    def _fetch(self, entry: Entry) -> SampleApp:
        image = parse_sample_app(self.read, entry.vector_table)
        if image is None:
            self.fault(f"the code at 0x{entry.vector_table:x} is not intact")
        if image.soc != self.part.name or image.address != entry.vector_table:
            self.fault(f"the code at 0x{entry.vector_table:x} was linked to 0x{image.address:x} of an {image.soc}")
        return image

    def end(self) -> None:
        """Stop everything at this instant."""
        now = asyncio.get_running_loop().time()
        if self._operation is not None:
            operation, started = self._operation
            self._operation = None
            progress = min(1.0, (now - started) / self._soc.flash.duration(operation))
            self._soc.operation_stops(progress)
            self._soc.flash.interrupt(operation, progress)
        self._soc.console.cut()
        self._soc.serial.cut()
        if self._radio is not None:
            self._radio.vanish()
        for task in self._tasks:
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # a task cancelled before its first step never begins its work

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - whatever a firmware class raises is the bench's fault and must reach the operator
            self._soc.failure = self._soc.failure or error

    # ---------------------------------------------------------------------------------------------------------- memory
    def read(self, address: int, length: int) -> bytes:
        try:
            return self._soc.flash.read(address, length)
        except NvmcMisuse as error:
            self.fault(str(error))

    async def erase_page(self, address: int) -> None:
        await self._drive_nvmc(Erase(address=address))

    async def write(self, address: int, data: bytes) -> None:
        if data:
            await self._drive_nvmc(Write(address=address, data=data))

    async def _drive_nvmc(self, operation: Operation) -> None:
        soc, loop = self._soc, asyncio.get_running_loop()
        async with self._nvmc:
            try:
                soc.flash.check(operation)
            except NvmcMisuse as error:
                self.fault(str(error))
            if any(locked.start <= operation.address < locked.end for locked in self._protected):
                return
            duration = soc.flash.duration(operation)
            self._operation = (operation, loop.time())
            soc.operation_begins(operation)
            soc.power.set_load(soc.loads.flash)
            if self._radio is not None and not soc.radio_sync:
                self._radio.stall(loop.time() + duration)
            await asyncio.sleep(duration)
            self._operation = None
            soc.flash.complete(operation)
            soc.power.set_load(self._base_load)

    def drive_pin(self, pin: str, *, high: bool) -> None:
        self._soc.pins.drive(pin, high=high)

    def protect(self, start: int, size: int) -> None:
        self._protected.append(Region(start=start, size=size))

    @property
    def locked(self) -> tuple[Region, ...]:
        """What `protect` has locked in this life, adjoining regions joined, in ascending order."""
        joined: list[Region] = []
        for region in sorted(self._protected, key=lambda locked: locked.start):
            adjoins = bool(joined) and region.start <= joined[-1].end
            start, end = (joined[-1].start, max(joined[-1].end, region.end)) if adjoins else (region.start, region.end)
            joined[len(joined) - adjoins :] = [Region(start=start, size=end - start)]
        return tuple(joined)

    # ----------------------------------------------------------------------------------------------- time and console
    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def print(self, line: str) -> None:
        sent_s = self._soc.console.send(line.encode() + b"\r\n")
        await asyncio.sleep(max(0.0, sent_s - asyncio.get_running_loop().time()))

    # ------------------------------------------------------------------------------------------------ resets and radio
    def clear_reset_reason(self, mask: int) -> None:
        self._soc.reset_reason = ResetReason(int(self._soc.reset_reason) & ~mask)

    def start_watchdog(self, timeout_s: float) -> None:
        self._soc.start_watchdog(timeout_s)

    def feed_watchdog(self) -> None:
        self._soc.feed_watchdog()

    def reset(self) -> NoReturn:
        self._soc.restart(ResetReason.SOFT)
        raise asyncio.CancelledError

    def fault(self, reason: str) -> NoReturn:
        """Lock up: silent on the console, as a core without a fault handler is; `reason` helps whoever debugs a firmware class."""
        del reason
        self._soc.restart(ResetReason.LOCKUP)
        raise asyncio.CancelledError

    @property
    def serial(self) -> SerialPort:
        return Uart(self._soc.serial)

    @property
    def radio(self) -> BlePeripheral:
        if self._radio is None:
            self._radio = BlePeripheral(self._soc.air, address=self._soc.facts.ble_address)
        return self._radio
