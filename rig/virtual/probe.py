"""The debug probe of a virtual board: it reads and writes the same flash that the bootloader runs from."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from rig.errors import InstrumentError
from rig.ports import DeviceInfo, Protection
from rig.virtual.cpu import ResetReason
from rig.virtual.mishaps import ProbeTrouble
from rig.virtual.parts import PAGE_SIZE
from rig.virtual.world import CURRENT_WORLD, VirtualBoard

_TRANSACTION_S = 0.002
_ANSWER_LIMIT_S = 10.0
_ERASE_ALL_S = 0.2
"""CTRL-AP ERASEALL, an order of magnitude (nRF52840 Product Specification, NVMC: 169 ms to 296 ms)."""
_BYTES_PER_SECOND = 100_000
"""Reading over SWD at 4 MHz through a J-Link OB, an order of magnitude."""


class VirtualProbe:
    """`rig.ports.Probe` on the virtual board named `owner`.  While attached it holds the core in reset, as a flashing probe does."""

    def __init__(self, *, owner: str) -> None:
        self._name = f"{owner}.probe"
        self._owner = owner
        self._board: VirtualBoard | None = None
        self._attached = False

    async def __aenter__(self) -> Self:
        board = CURRENT_WORLD.get().board(self._owner, user=self._name)
        if board.probe_users:
            raise InstrumentError(self._name, "somebody else has the probe open", hint="close the other program")
        board.probe_users += 1
        board.on_probe_use(True)
        self._board = board
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.detach()
        except InstrumentError:
            if error is None:
                raise
        finally:
            if self._board is not None:
                self._board.probe_users -= 1
                self._board.on_probe_use(False)
            self._board = None

    async def info(self) -> DeviceInfo:
        board = await self._transaction(0)
        part = board.soc.facts.part
        return DeviceInfo(
            part=part.code,
            flash_size=part.flash_size,
            ram_size=part.ram_size,
            device_id=board.device_id,
            ble_address=board.soc.facts.ble_address,
        )

    async def read(self, address: int, length: int) -> bytes:
        board = await self._transaction(length)
        self._check_range(board, address, length)
        return board.soc.flash.read(address, length)

    async def program(self, address: int, data: bytes) -> None:
        first = address - address % PAGE_SIZE
        await self.erase(first, -(-(address + len(data) - first) // PAGE_SIZE) * PAGE_SIZE)
        board = await self._transaction(2 * len(data))
        await asyncio.sleep(len(data) // 4 * board.soc.facts.part.word_write_s)
        self._poke(board, address, data)
        if board.soc.flash.read(address, len(data)) != data:
            raise InstrumentError(self._name, f"verification failed at 0x{address:x}")

    async def erase(self, address: int, length: int) -> None:
        if address % PAGE_SIZE or length % PAGE_SIZE:
            raise InstrumentError(self._name, f"erase of {length} bytes at 0x{address:x} is not whole pages")
        board = await self._transaction(0)
        self._check_range(board, address, length)
        await asyncio.sleep(length // PAGE_SIZE * board.soc.facts.part.page_erase_s)
        self._poke(board, address, b"\xff" * length)
        for page in range(address // PAGE_SIZE, (address + length) // PAGE_SIZE):
            board.soc.flash.erase_counts[page] += 1

    async def reset(self) -> None:
        await self._reach()
        soc = self._target().soc
        if soc.approtect or not self._port_answers():  # the debug port is closed or silent, the pin is not
            await asyncio.sleep(_TRANSACTION_S)
            self._end_stale_session()
            soc.restart(ResetReason.PIN)
            if not soc.approtect:
                self._answering()
            return
        await self._transaction(0)
        self._attached = False
        soc.release(ResetReason.PIN)

    async def recover(self) -> None:
        await self._reach()
        soc = self._answering().soc
        soc.hold()
        self._attached = True
        await asyncio.sleep(_ERASE_ALL_S)
        soc.approtect = False
        self._poke(self._target(), 0, b"\xff" * soc.facts.part.flash_size)

    async def protection(self) -> Protection:
        await self._reach()
        soc = self._answering().soc
        await asyncio.sleep(_TRANSACTION_S)
        life = None if soc.approtect else soc.life
        return Protection(readback=soc.approtect, locked=() if life is None else life.locked)

    async def detach(self) -> None:
        if self._attached and self._board is not None:
            self._attached = False
            await self._reach()
            self._end_stale_session()
            self._board.at_probe.soc.release(ResetReason.PIN)

    async def _reach(self) -> None:
        """Over USB to the probe itself, which may have hung up or be gone."""
        trouble = self._board.probe_trouble if self._board is not None else None
        if trouble is ProbeTrouble.HUNG:
            await asyncio.sleep(_ANSWER_LIMIT_S)
            raise InstrumentError(self._name, f"does not answer within {_ANSWER_LIMIT_S:g} s", hint="unplug and re-plug the probe")
        if trouble is ProbeTrouble.LOST:
            raise InstrumentError(self._name, "has vanished from USB", hint="check the cable and the hub")

    async def _transaction(self, length: int) -> VirtualBoard:
        """Attach when needed and let the time pass that `length` bytes take on the wire."""
        await self._reach()
        board = self._answering()
        if board.soc.approtect:
            raise InstrumentError(
                self._name, "access port protection (APPROTECT) is on", hint="only `recover` opens the chip, which erases all of it"
            )
        if not self._attached:
            self._attached = True
            board.soc.hold()
        await asyncio.sleep(_TRANSACTION_S + length / _BYTES_PER_SECOND)
        return board

    def _port_answers(self) -> bool:
        stuck = self._board is not None and self._board.probe_trouble is ProbeTrouble.STUCK
        return not stuck and not self._target().soc.is_latched_up

    def _end_stale_session(self) -> None:
        """The reset pin is pulled, which ends whatever session the probe was left with."""
        if self._board is not None and self._board.probe_trouble is ProbeTrouble.STUCK:
            self._board.probe_trouble = None

    def _answering(self) -> VirtualBoard:
        """The board, whose debug port must answer."""
        target = self._target()
        if not self._port_answers():
            hint = "reset the board by its pin; where that does not help, take its power away for some seconds"
            raise InstrumentError(self._name, "the debug port does not answer, though the target has its voltage", hint=hint)
        return target

    def _target(self) -> VirtualBoard:
        """The board, which must be powered for its debug port to answer."""
        if self._board is None:
            raise InstrumentError(self._name, "the probe is not open")
        target = self._board.at_probe
        if not target.power.is_good:
            raise InstrumentError(self._name, "no target voltage", hint="switch the supply on before using the probe")
        return target

    def _poke(self, board: VirtualBoard, address: int, data: bytes) -> None:
        board.soc.flash.poke(address, data)
        board.soc.programmed(address, len(data))

    def _check_range(self, board: VirtualBoard, address: int, length: int) -> None:
        if address < 0 or address + length > board.soc.facts.part.flash_size:
            raise InstrumentError(self._name, f"0x{address:x} + {length} lies outside the flash of the {board.soc.facts.part.name}")
