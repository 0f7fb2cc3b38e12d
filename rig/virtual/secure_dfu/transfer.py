"""The two objects of a transfer: the command object holds the init packet, the data object one page of firmware at a time.

The init packet is collected in RAM and becomes durable when it is executed; firmware goes to flash as it arrives.  Offset and CRC-32
run over the whole image and are computed from what was received, not from what reached the flash.

Source: nRF5 SDK 17.0.2, `bootloader/dfu/nrf_dfu_req_handler.c`, `nrf_dfu_validation.c`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from rig.formats.dfu_settings import INIT_COMMAND_AT, INIT_COMMAND_SIZE, DfuSettings, Validation
from rig.formats.init_packet import FirmwareType, InitPacket, ValidationType
from rig.model import Region
from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE
from rig.virtual.secure_dfu.codes import Result, Verdict
from rig.virtual.secure_dfu.config import SecureDfuConfig
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.flash_queue import FlashQueue
from rig.virtual.secure_dfu.init_command import decode_stored
from rig.virtual.secure_dfu.layout import bank1_start, make_room
from rig.virtual.secure_dfu.settings import SettingsStore
from rig.virtual.secure_dfu.validation import accept_firmware, check_packet, firmware_size, mark_application

DATA_OBJECT_MAX = PAGE_SIZE


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """Bytes received of an object's stream, and the CRC-32 over them."""

    offset: int = 0
    crc: int = 0


@dataclass(frozen=True, kw_only=True)
class Written:
    """What became of a packet.  `keeps_buffer`: the receive buffer is not free yet, or never will be."""

    verdict: Verdict
    checksum: Checksum = Checksum()
    keeps_buffer: bool = False


class Transfer:
    """State of the running transfer.  All of it is lost at reset, except what stands in the settings pages.

    `on_complete` is called when the result of a complete transfer has been written, good or bad.
    """

    def __init__(
        self, cpu: Cpu, config: SecureDfuConfig, store: SettingsStore, queue: FlashQueue, on_complete: Callable[[], None]
    ) -> None:
        self._cpu = cpu
        self._config = config
        self._store = store
        self._queue = queue
        self._on_complete = on_complete
        self._packet: InitPacket | None = None
        """The packet decoded last, accepted or not: a final check without a valid init packet looks at it as well."""
        self._init_is_valid = False
        self._target = Region(start=0, size=0)

    async def resume(self) -> None:
        """Take up the init packet that stands in flash, if it is still a good one.

        It was good when it was written, but whoever can write the settings pages can put another one there, and versions may have
        changed since.  The SDK trusts its pages here.
        """
        if not self._store.ram.command_size or not self._decode():
            return
        assert self._packet is not None
        if not self._config.has(Defect.STORED_INIT_NOT_VERIFIED):
            verdict = await check_packet(self._cpu, self._config, self._store.ram, self._packet)
            if verdict is not Result.SUCCESS:
                self._store.ram.reset_progress()
                return
        self._init_is_valid = True
        if await self.execute_command() is not Result.SUCCESS:
            self._cpu.reset()  # the error handler: somebody has tampered with the settings

    # -------------------------------------------------------------------------------------------------- command object
    @property
    def command_checksum(self) -> Checksum:
        """What there is of the init packet."""
        return Checksum(offset=self._store.ram.command_offset, crc=self._store.ram.command_crc)

    def create_command(self, size: int) -> Verdict:
        """Begin a new init packet; the one in flash stays until the new one is executed."""
        if size == 0:
            return Result.INVALID_PARAMETER
        if size > INIT_COMMAND_SIZE:
            return Result.INSUFFICIENT_RESOURCES
        self._init_is_valid = False
        self._store.ram.reset_progress()
        self._store.ram.command_size = size
        return Result.SUCCESS

    def write_command(self, piece: bytes) -> Written:
        """Append to the init packet."""
        ram = self._store.ram
        if len(piece) + ram.command_offset > ram.command_size:
            return Written(verdict=self._refuse_overrun(), checksum=self.command_checksum)
        ram.store_init_command(ram.command_offset, piece)
        ram.command_crc = zlib.crc32(piece, ram.command_crc)
        ram.command_offset += len(piece)
        return Written(verdict=Result.SUCCESS, checksum=self.command_checksum)

    async def execute_command(self) -> Verdict:
        """Check the init packet and find room for the firmware.  In RAM only; executing it again changes nothing."""
        ram = self._store.ram
        if ram.command_offset != ram.command_size:
            return Result.OPERATION_NOT_PERMITTED
        if self._init_is_valid:
            return self._take_target()
        if not self._decode():
            return Result.INVALID_OBJECT
        self._target = Region(start=0, size=0)
        verdict = await self._check_and_make_room()
        if verdict is Result.SUCCESS:
            self._init_is_valid = True
        else:
            ram.reset_progress()
        return verdict

    def store_command(self) -> bool:
        """Queue what makes the executed init packet durable; False when the flash queue has no room for it."""
        return self._store.queue_write_and_backup(self._queue)

    def _decode(self) -> bool:
        ram = self._store.ram
        self._packet = decode_stored(bytes(ram.data[INIT_COMMAND_AT:]), ram.command_size)
        return self._packet is not None

    async def _check_and_make_room(self) -> Verdict:
        assert self._packet is not None
        ram, command = self._store.ram, self._packet.command
        verdict = await check_packet(self._cpu, self._config, ram, self._packet)
        if verdict is not Result.SUCCESS:
            return verdict
        size = firmware_size(self._config, command)
        if isinstance(size, Verdict):
            return size
        single = self._config.single_bank and command.type in {FirmwareType.APPLICATION, FirmwareType.SOFTDEVICE}
        if not make_room(self._cpu, self._config, ram, size, single_bank=single):
            self._target = Region(start=0, size=size)
            return Result.INSUFFICIENT_RESOURCES
        self._target = Region(start=bank1_start(self._cpu, ram), size=size)
        return Result.SUCCESS

    def _take_target(self) -> Verdict:
        assert self._packet is not None
        start = bank1_start(self._cpu, self._store.ram)
        size = firmware_size(self._config, self._packet.command)
        if isinstance(size, Verdict):
            self._target = Region(start=start, size=self._target.size)
            return size
        self._target = Region(start=start, size=size)
        return Result.SUCCESS

    # ----------------------------------------------------------------------------------------------------- data object
    @property
    def data_checksum(self) -> Checksum:
        """What there is of the firmware."""
        return Checksum(offset=self._store.ram.image_offset, crc=self._store.ram.image_crc)

    def create_data(self, size: int) -> Verdict:
        """Begin a data object behind the last one executed and queue the erase of its page."""
        ram = self._store.ram
        if not self._init_is_valid:
            return Result.OPERATION_NOT_PERMITTED
        end = ram.image_offset_last + size & 0xFFFF_FFFF
        if size == 0 or (size % PAGE_SIZE and end != self._target.size):
            return Result.INVALID_PARAMETER
        if size > DATA_OBJECT_MAX:
            return Result.INSUFFICIENT_RESOURCES
        if end > self._target.size:
            return Result.OPERATION_NOT_PERMITTED
        ram.data_object_size = size
        ram.image_crc = ram.image_crc_last
        ram.image_offset = ram.write_offset = ram.image_offset_last
        return Result.SUCCESS if self._queue.erase(self._target.start + ram.image_offset) else Result.INVALID_OBJECT

    def write_data(self, buffer: bytearray, length: int, free: Callable[[], None]) -> Written:
        """Queue the first `length` bytes of `buffer` for flash.  `free` is called when the buffer has been written.

        A refused packet takes its buffer with it, except when the flash queue is full.
        """
        ram = self._store.ram
        if not self._init_is_valid:
            return Written(verdict=Result.OPERATION_NOT_PERMITTED, keeps_buffer=True)
        if length + ram.image_offset - ram.image_offset_last > ram.data_object_size:
            return Written(verdict=self._refuse_overrun(), keeps_buffer=True)
        is_queued = self._queue.write(self._target.start + ram.write_offset, buffer, length, free, steady=True)
        if not is_queued and not self._config.has(Defect.DROPPED_PACKETS_COUNTED):
            return Written(verdict=Result.SUCCESS)
        ram.image_crc = zlib.crc32(buffer[:length], ram.image_crc)
        ram.write_offset += length
        ram.image_offset += length
        if ram.image_offset == self._target.size and self._config.has(Defect.BANK1_VALID_BEFORE_HASH):
            self._mark_unverified()
        return Written(verdict=Result.SUCCESS, checksum=self.data_checksum, keeps_buffer=is_queued)

    def _refuse_overrun(self) -> Verdict:
        """What becomes of a packet that goes beyond the end of its object."""
        if self._config.has(Defect.MALFORMED_LENGTH_CRASHES):
            self._cpu.fault("a packet longer than its object has overrun a buffer")
        return Result.INVALID_PARAMETER

    def _mark_unverified(self) -> None:
        """Have an application installed at the next boot that nothing but the packets' CRC speaks for."""
        assert self._packet is not None
        marked = DfuSettings(bytes(self._store.ram.data))
        marked.reset_progress()
        mark_application(
            marked,
            Validation(type=ValidationType.CRC, data=struct.pack("<I", self._store.ram.image_crc)),
            version=self._packet.command.fw_version or 0,
        )
        marked.bank1.size, marked.bank1.crc = self._target.size, self._store.ram.image_crc
        marked.update_start = self._target.start
        self._store.queue_instead(self._queue, marked)

    def take_over_data(self) -> Verdict:
        """First half of execute: what has been received counts from now on, if it is the whole object."""
        ram = self._store.ram
        if ram.data_object_size != ram.image_offset - ram.image_offset_last:
            return Result.OPERATION_NOT_PERMITTED
        ram.data_object_size = 0
        ram.image_crc_last = ram.image_crc
        ram.image_offset_last = ram.image_offset
        return Result.SUCCESS

    async def conclude_data(self) -> Verdict:
        """Second half of execute, when the flash is idle: the verdict on the firmware once it is complete, and what gets stored."""
        if self._store.ram.image_offset != self._target.size:
            if self._config.save_progress:
                self._store.queue_write_and_backup(self._queue)
            if self._config.has(Defect.SETTINGS_WRITTEN_PER_OBJECT):
                await self._queue.idle()
                self._store.queue_rewrite(self._queue)
                await self._queue.idle()
            return Result.SUCCESS
        command = self._packet.command if self._packet else None
        verdict = await accept_firmware(self._cpu, self._config, self._store.ram, command, self._target)
        if verdict is Result.SUCCESS and self._config.has(Defect.SUCCESS_NOT_STORED):
            self._on_complete()
        else:
            self._store.queue_write_and_backup(self._queue, self._on_complete)
        return verdict
