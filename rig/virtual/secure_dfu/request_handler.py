"""The DFU protocol without a transport: requests in, replies out.

A request is served in one piece, except that the execute of a data object waits until the flash is idle; other requests are served
meanwhile.  A reply is returned at the point where the device hands it to its radio: after the first flash command of a data create
or of an init execute has begun, and before the first one of a final execute.

Source: nRF5 SDK 17.0.2, `bootloader/dfu/nrf_dfu_req_handler.c`, `ble_dfu/nrf_dfu_ble.c`, `serial_dfu/nrf_dfu_serial.c`.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass

from rig.formats.dfu_settings import INIT_COMMAND_SIZE, BankCode
from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE
from rig.virtual.secure_dfu.codes import RESPONSE, ExtendedError, FirmwareKind, ObjectType, Opcode, Result, Verdict
from rig.virtual.secure_dfu.config import MBR_SIZE, SecureDfuConfig, Transport
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.flash_queue import FlashQueue
from rig.virtual.secure_dfu.layout import bank0_start
from rig.virtual.secure_dfu.packet_buffers import PacketBuffers
from rig.virtual.secure_dfu.settings import SettingsStore
from rig.virtual.secure_dfu.softdevice import softdevice_at
from rig.virtual.secure_dfu.transfer import DATA_OBJECT_MAX, Checksum, Transfer, Written

_PROTOCOL_VERSION = 1
_FICR_VARIANT = 0x1000_0104
_SANE_SIZE = 0xFFFF
"""No object is larger; what a bootloader without checks makes of one is up to its arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Events:
    """What the handler tells the bootloader.

    `active` restarts the inactivity timer (command create, executed data object); `complete`: the result of a transfer is in flash;
    `aborted`: the host gave up.
    """

    active: Callable[[], None]
    complete: Callable[[], None]
    aborted: Callable[[], None]


class RequestHandler:
    """One DFU mode, from its start to the reset that ends it.  `packet_size` is the longest packet of the transport, bytes."""

    def __init__(
        self, cpu: Cpu, config: SecureDfuConfig, store: SettingsStore, queue: FlashQueue, events: Events, *, packet_size: int, mtu: int = 0
    ) -> None:
        self._cpu = cpu
        self._config = config
        self._store = store
        self._queue = queue
        self._events = events
        self._packet_size = packet_size
        self._mtu = mtu
        self._transfer = Transfer(cpu, config, store, queue, events.complete)
        self._buffers = PacketBuffers(packet_size)
        self._current = ObjectType.COMMAND
        self._receipt_every = 0
        self._until_receipt = 0
        self._core = asyncio.Lock()

    async def resume(self) -> None:
        """Take up what an earlier start has left in flash, before the first request."""
        await self._transfer.resume()

    async def idle_core(self) -> None:
        """Wait until the core computes no signature and no hash: requests and packets lie in their queue as long."""
        async with self._core:
            pass

    def disconnected(self) -> None:
        """The link has ended: from SDK 16 on the settings in RAM go back to what is in flash at this moment."""
        if self._config.sdk >= 16:
            self._store.load()

    # -------------------------------------------------------------------------------------------------------- requests
    async def control(self, data: bytes) -> bytes | None:
        """Serve a request; None when it has no reply.  Missing bytes of a short request read as zero."""
        opcode, argument = (data or b"\0")[0], data[1:].ljust(5, b"\0")
        match opcode:
            case Opcode.CREATE:
                return await self._create(argument[0], int.from_bytes(argument[1:5], "little"))
            case Opcode.SET_RECEIPTS:
                self._receipt_every = self._until_receipt = int.from_bytes(argument[:2], "little")
                return self._reply(opcode, Result.SUCCESS)
            case Opcode.CRC:
                return self._checksum()
            case Opcode.EXECUTE:
                return await self._execute()
            case Opcode.SELECT:
                return self._select(argument[0])
            case Opcode.WRITE:
                return self._write_nothing()
            case Opcode.ABORT:
                self._events.aborted()
                return None
        if self._config.transport is Transport.SERIAL:
            return self._reply(opcode, *self._describe(opcode, argument[0]))
        return self._reply(opcode, Result.OPCODE_NOT_SUPPORTED)

    def packet(self, data: bytes) -> bytes | None:
        """Take a packet of the current object; a receipt when one is due, else None.

        A packet that the radio's stack would not let through (too long) or that finds no buffer disappears without a trace.
        """
        number = self._buffers.take(data) if len(data) <= self._packet_size else None
        if number is None:
            return None
        written = self._write(number, len(data))
        if not written.keeps_buffer:
            self._buffers.give_back(number)
        return self._receipt(written)

    def _write(self, number: int, length: int) -> Written:
        buffer = self._buffers.content(number)
        match self._current:
            case ObjectType.COMMAND:
                return self._transfer.write_command(bytes(buffer[:length]))
            case ObjectType.DATA:
                return self._transfer.write_data(buffer, length, lambda: self._buffers.give_back(number))
        return Written(verdict=Result.INVALID_OBJECT, keeps_buffer=True)

    def _write_nothing(self) -> bytes | None:
        """Opcode 08 where packets have a characteristic of their own: a packet without content, without even a buffer."""
        match self._current:
            case ObjectType.COMMAND:
                return self._receipt(self._transfer.write_command(b""))
            case ObjectType.DATA:
                written = self._transfer.write_data(bytearray(), 0, lambda: None)
                if written.verdict is Result.SUCCESS:
                    self._cpu.fault("a packet without buffer is to be freed")
                return self._receipt(written)
        return self._receipt(Written(verdict=Result.INVALID_OBJECT))

    def _receipt(self, written: Written) -> bytes | None:
        self._until_receipt = self._until_receipt - 1 & 0xFFFF
        if self._receipt_every == 0 or self._until_receipt:
            return None
        if self._config.has(Defect.RECEIPTS_NEVER_SENT):
            return None
        self._until_receipt = self._receipt_every
        return self._reply(Opcode.CRC, written.verdict, self._pack(written.checksum))

    # --------------------------------------------------------------------------------------------------------- objects
    async def _create(self, kind: int, size: int) -> bytes:
        self._until_receipt = self._receipt_every
        self._make_current(kind)
        if size > _SANE_SIZE and self._config.has(Defect.MALFORMED_LENGTH_CRASHES):
            self._cpu.fault("the end of an object has overflowed")
        match self._current:
            case ObjectType.COMMAND:
                self._events.active()
                verdict = self._transfer.create_command(size)
            case ObjectType.DATA:
                verdict = self._transfer.create_data(size)
                await self._queue.started()
            case _:
                verdict = Result.INVALID_OBJECT
        return self._reply(Opcode.CREATE, verdict)

    async def _execute(self) -> bytes:
        match self._current:
            case ObjectType.COMMAND:
                async with self._core:
                    verdict = await self._transfer.execute_command()
                    if verdict is Result.SUCCESS:
                        if not self._transfer.store_command():
                            verdict = Result.OPERATION_FAILED
                        await self._queue.started()
            case ObjectType.DATA:
                verdict = self._transfer.take_over_data()
                if verdict is Result.SUCCESS:
                    self._events.active()
                    await self._queue.idle()
                    async with self._core:
                        verdict = await self._transfer.conclude_data()
            case _:
                verdict = Result.INVALID_OBJECT
        return self._reply(Opcode.EXECUTE, verdict)

    def _select(self, kind: int) -> bytes:
        self._make_current(kind)
        limits = {ObjectType.COMMAND: INIT_COMMAND_SIZE, ObjectType.DATA: DATA_OBJECT_MAX}
        if self._current is ObjectType.INVALID:
            return self._reply(Opcode.SELECT, Result.INVALID_OBJECT)
        return self._reply(Opcode.SELECT, Result.SUCCESS, struct.pack("<I", limits[self._current]) + self._pack(self._received()))

    def _checksum(self) -> bytes:
        if self._current is ObjectType.INVALID:
            return self._reply(Opcode.CRC, Result.INVALID_OBJECT)
        return self._reply(Opcode.CRC, Result.SUCCESS, self._pack(self._received()))

    def _make_current(self, kind: int) -> None:
        self._current = ObjectType(kind) if kind in {ObjectType.COMMAND, ObjectType.DATA} else ObjectType.INVALID

    def _received(self) -> Checksum:
        return self._transfer.command_checksum if self._current is ObjectType.COMMAND else self._transfer.data_checksum

    # ------------------------------------------------------------------------------------------------ full protocol only
    def _describe(self, opcode: int, argument: int) -> tuple[Result, bytes]:
        part = self._cpu.part
        match opcode:
            case Opcode.PROTOCOL_VERSION:
                return Result.SUCCESS, bytes((_PROTOCOL_VERSION,))
            case Opcode.GET_MTU:
                return Result.SUCCESS, struct.pack("<H", self._mtu)
            case Opcode.PING:
                return Result.SUCCESS, bytes((argument,))
            case Opcode.HARDWARE_VERSION:
                variant = self._cpu.read(_FICR_VARIANT, 4)
                sizes = struct.pack("<III", part.flash_size, part.ram_size, PAGE_SIZE)
                return Result.SUCCESS, struct.pack("<I", part.code) + variant + sizes
            case Opcode.FIRMWARE_VERSION:
                return Result.SUCCESS, struct.pack("<BIII", *self._firmware(argument))
        return Result.OPCODE_NOT_SUPPORTED, b""

    def _firmware(self, number: int) -> tuple[int, int, int, int]:
        """Kind, version, address and length of the firmware: bootloader, SoftDevice if any, application if any."""
        ram, config = self._store.ram, self._config
        images = [(FirmwareKind.BOOTLOADER, ram.bootloader_version, config.bootloader_address, config.bootloader_size)]
        softdevice = softdevice_at(self._cpu, MBR_SIZE)
        if softdevice is not None:
            images.append((FirmwareKind.SOFTDEVICE, softdevice.version, MBR_SIZE, softdevice.size))
        if ram.bank0.code == BankCode.APPLICATION:
            images.append((FirmwareKind.APPLICATION, ram.app_version, bank0_start(self._cpu), ram.bank0.size))
        return images[number] if number < len(images) else (FirmwareKind.UNKNOWN, 0, 0, 0)

    # --------------------------------------------------------------------------------------------------------- replies
    def _reply(self, opcode: int, verdict: Verdict, payload: bytes = b"") -> bytes:
        if isinstance(verdict, ExtendedError):
            if self._config.has(Defect.GENERIC_ERROR):
                return bytes((RESPONSE, opcode, Result.OPERATION_FAILED))
            return bytes((RESPONSE, opcode, Result.EXTENDED_ERROR, verdict))
        return bytes((RESPONSE, opcode, verdict)) + (payload if verdict is Result.SUCCESS else b"")

    def _pack(self, checksum: Checksum) -> bytes:
        crc = 0 if self._config.has(Defect.CRC_CONSTANT) else checksum.crc
        return struct.pack("<II", checksum.offset, crc)
