"""A board on which flash operations take no time: every one is counted and logged, and any can be the last.

`Board` is what survives a power cut.  `Life` is one start of the bootloader on it: a `rig.virtual.cpu.Cpu` with a radio that a `Host`
in the same process talks to.  Replies stand in the same log as flash operations, so that their order can be checked.
"""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable, Coroutine, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, TypeVar

from rig.formats import dfu_settings
from rig.virtual.ble_peripheral import Bond, NotSubscribed, PeerGone, Service
from rig.virtual.clock import loop_factory
from rig.virtual.cpu import ResetReason
from rig.virtual.parts import PAGE_SIZE, PARTS
from rig.virtual.secure_dfu import SecureDfuBootloader, SecureDfuConfig, default_config
from rig.virtual.secure_dfu.ble import CONTROL_POINT
from rig.virtual.secure_dfu.softdevice import SOFTDEVICES, SoftDeviceInfo

_T = TypeVar("_T")
Entry = tuple[Any, ...]
"""("E", page), ("W", address, word), ("R", reply), ("disconnect",), ("reset",)."""
CutKind = Literal["lost", "half", "done"]
S140 = SOFTDEVICES["s140-7.2.0"]
BANK0 = 0x27000


def on_virtual_time(work: Coroutine[Any, Any, _T]) -> _T:
    """Run `work` on a loop whose clock jumps."""
    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(work)


def image(size: int, seed: int) -> bytes:
    """Bytes that stand for firmware."""
    return random.Random(seed).randbytes(size)


# ------------------------------------------------------------------------------------------------------------- the board
class Board:
    """Flash and the registers that outlive a reset, with a SoftDevice, a bootloader region, an application, and both settings pages."""

    def __init__(
        self,
        *,
        config: SecureDfuConfig | None = None,
        application: bytes | None = None,
        app_version: int = 1,
        part: str = "nrf52840",
        softdevice: SoftDeviceInfo | None = S140,
        settings: bytes | None = None,
        backup: bytes | None = None,
    ) -> None:
        self.part = PARTS[part]
        self.config = config or default_config(part)
        self.flash = bytearray(b"\xff" * self.part.flash_size)
        self.writes: dict[int, int] = {}
        self.gpregret = [0, 0]
        self.reset_reason = ResetReason.POWER_ON
        self.noinit: dict[str, Any] = {}
        self.bonds: dict[str, Bond] = {}
        self.protected: list[tuple[int, int]] = []
        """Start and size of what the last life has locked."""
        self.watchdog_s = 0.0
        """Of the watchdog that runs, over soft resets; 0 for none."""
        self.console: list[str] = []
        self.log: list[Entry] = []
        self.commands: list[tuple[int, int]] = []
        """Address and length of every write as the firmware asked for it."""
        if softdevice is not None:
            self.poke(0x3000, softdevice.encode())
        if application is not None:
            self.poke(BANK0 if softdevice == S140 else softdevice.size if softdevice else 0x1000, application)
        page = dfu_settings.factory_page(application=application, app_version=app_version)
        self.poke(self.config.settings_address, settings if settings is not None else page)
        self.poke(self.config.backup_address, backup if backup is not None else page)

    def poke(self, address: int, data: bytes) -> None:
        self.flash[address : address + len(data)] = data

    @property
    def settings(self) -> dfu_settings.DfuSettings:
        return self._page(self.config.settings_address)

    @property
    def backup(self) -> dfu_settings.DfuSettings:
        return self._page(self.config.backup_address)

    def _page(self, address: int) -> dfu_settings.DfuSettings:
        return dfu_settings.DfuSettings(bytes(self.flash[address : address + dfu_settings.SIZE]))

    def copy(self, flash: bytes | None = None) -> Board:
        """The same board after a power cut, with other flash content if given."""
        twin = Board(config=self.config, part=self.part.name, softdevice=None)
        twin.flash[:] = self.flash if flash is None else flash
        return twin

    @property
    def operations(self) -> list[Entry]:
        return [entry for entry in self.log if entry[0] in "EW"]

    def compact_log(self) -> list[Entry]:
        """The log with ascending words gathered: ("W", address, number of words)."""
        out: list[Entry] = []
        for entry in self.log:
            last = out[-1] if out else ("",)
            if entry[0] == "W" and last[0] == "W" and last[1] + 4 * last[2] == entry[1]:
                out[-1] = ("W", last[1], last[2] + 1)
            else:
                out.append(("W", entry[1], 1) if entry[0] == "W" else entry)
        return out


def apply(flash: bytearray, operation: Entry, *, half: bool = False) -> None:
    """Do one logged operation: `half` programs the low 16 bits of a word, or erases the first half of a page."""
    if operation[0] == "E":
        size = PAGE_SIZE // 2 if half else PAGE_SIZE
        flash[operation[1] : operation[1] + size] = b"\xff" * size
    else:
        word = operation[2] | 0xFFFF_0000 if half else operation[2]
        (old,) = struct.unpack_from("<I", flash, operation[1])
        struct.pack_into("<I", flash, operation[1], old & word)


# -------------------------------------------------------------------------------------------------------------- one life
@dataclass(frozen=True, kw_only=True)
class Cut:
    """Power goes at operation `at` of this life, counted from 0; only "done" completes it."""

    at: int
    kind: CutKind = "lost"


@dataclass(eq=False)
class Life:
    """The `Cpu` of one start.  `hold` keeps flash operations from completing; `outcome` tells how the life ended."""

    board: Board
    cut: Cut | None = None

    def __post_init__(self) -> None:
        board = self.board
        self.part = board.part
        self.reset_reason = board.reset_reason
        self.gpregret = board.gpregret
        self.noinit = board.noinit
        self.bonds = board.bonds
        self.radio: Any = LoopbackRadio(self)
        self.count = 0
        self.fed = 0
        self._hold_at = -1
        board.protected = []
        self._bite: asyncio.TimerHandle | None = None
        self.free = asyncio.Event()
        self.free.set()
        if board.watchdog_s:
            self._bite = asyncio.get_running_loop().call_later(board.watchdog_s, self.end, "watchdog")
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    def hold(self) -> None:
        self.free.clear()

    def hold_after(self, writes: int) -> None:
        """Hold once so many more writes have been done."""
        self._hold_at = len(self.board.commands) + writes
        if writes == 0:
            self.hold()

    def release(self) -> None:
        self.free.set()

    def end(self, outcome: str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        if self._bite is not None:
            self._bite.cancel()
        for task in self._tasks:
            task.cancel()

    def fail(self, error: BaseException) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)

    # ------------------------------------------------------------------------------------------------------------- Cpu
    def read(self, address: int, length: int) -> bytes:
        assert 0 <= address <= address + length <= len(self.board.flash), f"read of {length} bytes at 0x{address:x}"
        return bytes(self.board.flash[address : address + length])

    async def erase_page(self, address: int) -> None:
        assert address % PAGE_SIZE == 0
        await self.free.wait()
        self._operate(("E", address))
        for at in range(address, address + PAGE_SIZE, 4):
            self.board.writes.pop(at, None)

    async def write(self, address: int, data: bytes) -> None:
        assert address % 4 == 0
        assert len(data) % 4 == 0
        await self.free.wait()
        self.board.commands.append((address, len(data)))
        for (word,) in struct.iter_unpack("<I", data):
            self.board.writes[address] = self.board.writes.get(address, 0) + 1
            assert self.board.writes[address] <= self.part.writes_per_word, f"0x{address:x} is written too often"
            self._operate(("W", address, word))
            address += 4
        if len(self.board.commands) == self._hold_at:
            self.hold()

    def _operate(self, operation: Entry) -> None:
        last = self.cut is not None and self.count == self.cut.at
        self.count += 1
        if not last:
            apply(self.board.flash, operation)
            self.board.log.append(operation)
            return
        assert self.cut is not None
        if self.cut.kind != "lost":
            apply(self.board.flash, operation, half=self.cut.kind == "half")
        self.end("cut")
        raise asyncio.CancelledError

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def print(self, line: str) -> None:
        self.board.console.append(line)

    def clear_reset_reason(self, mask: int) -> None:
        self.board.reset_reason = ResetReason(int(self.board.reset_reason) & ~mask)

    def start_watchdog(self, timeout_s: float) -> None:
        self.board.watchdog_s = self.board.watchdog_s or timeout_s
        self.feed_watchdog()

    def protect(self, start: int, size: int) -> None:
        self.board.protected.append((start, size))

    def feed_watchdog(self) -> None:
        """A watchdog that runs ends this life as "watchdog" when it is not fed in time."""
        self.fed += 1
        if self._bite is not None:
            self._bite.cancel()
        if self.board.watchdog_s:
            self._bite = asyncio.get_running_loop().call_later(self.board.watchdog_s, self.end, "watchdog")

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._guard(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _task: work.close())  # a task cancelled before its first step has not touched its coroutine

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:  # noqa: BLE001 - to the test
            self.fail(error)

    def reset(self) -> NoReturn:
        self.board.log.append(("reset",))
        self.end("reset")
        raise asyncio.CancelledError

    def fault(self, reason: str) -> NoReturn:
        self.end(f"fault: {reason}")
        raise asyncio.CancelledError

    # ------------------------------------------------------------------------------------------------------ for the test
    async def execute(self) -> None:
        entry = await SecureDfuBootloader(self.board.config).boot(self)
        self.end("hang" if entry is None else f"app 0x{entry.vector_table:x}")


class LoopbackRadio:
    """The part of a BLE peripheral that the bootloader uses, with the central on the other side of a function call."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self.on_connected: Callable[[], None] | None = None
        self.on_disconnected: Callable[[int], None] | None = None
        self.address = "C0:11:22:33:44:FF"
        self.bonds: MutableMapping[str, Bond] = {}
        self.pairable = True
        self.is_connected = False
        self.subscribed = False
        self.services: Sequence[Service] = ()
        self.name = ""
        self.max_mtu = 0
        self.advertised: dict[str, Any] | None = None
        self.parameters: dict[str, float] = {}
        self.notifications: asyncio.Queue[bytes] = asyncio.Queue()
        self.on_air = asyncio.Event()

    def use_address(self, address: str) -> None:
        self.address = address

    def use_bonds(self, bonds: MutableMapping[str, Bond], *, pairable: bool, passkey: int | None = None) -> None:
        self.bonds, self.pairable = bonds, pairable

    async def start(
        self, services: Sequence[Service], *, name: str, max_mtu: int, mtu_rule: Callable[[int], int] | None = None
    ) -> None:
        self.services, self.name, self.max_mtu = services, name, max_mtu

    async def advertise(self, *, name: str, service_uuids: Sequence[str], interval_s: float) -> None:
        self.advertised = {"name": name, "service_uuids": list(service_uuids), "interval_s": interval_s}
        self.on_air.set()

    async def stop_advertising(self) -> None:
        self.advertised = None

    def is_subscribed(self, uuid: str) -> bool:
        return self.subscribed and uuid == CONTROL_POINT

    async def notify(self, uuid: str, data: bytes) -> None:
        if not self.is_connected:
            raise PeerGone
        if not self.subscribed:
            raise NotSubscribed
        assert uuid == CONTROL_POINT
        self._life.board.log.append(("R", data))
        self.notifications.put_nowait(data)

    async def disconnect(self) -> None:
        self._life.board.log.append(("disconnect",))
        self.drop()

    async def request_parameters(self, **parameters: float) -> None:
        self.parameters = parameters

    def connect(self, *, subscribe: bool = True) -> None:
        self.is_connected, self.subscribed = True, subscribe
        assert self.on_connected is not None
        self.on_connected()

    def drop(self) -> None:
        self.is_connected = self.subscribed = False
        assert self.on_disconnected is not None
        self.on_disconnected(0x08)

    def write(self, uuid: str, data: bytes) -> None:
        """A write as the attribute server hands it over."""
        characteristic = next(entry for service in self.services for entry in service.characteristics if entry.uuid == uuid)
        assert characteristic.on_write is not None
        characteristic.on_write(data)
