"""The master boot record's part in a bootloader update: it copies the new bootloader over the old one, and finishes after a power cut.

The command is kept in the MBR parameter page, which is also the settings backup page; the bootloader makes a new backup at its next
start.  Nordic publishes the behaviour, not the format of the command in flash: the one below is this model's own.

Source: nRF5 SDK 17.0.2, `components/softdevice/mbr/headers/nrf_mbr.h` (SD_MBR_COMMAND_COPY_BL).
"""

from __future__ import annotations

import struct
import zlib
from typing import NoReturn

from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE
from rig.virtual.secure_dfu.config import SecureDfuConfig

_COPY_BOOTLOADER = 0
_COMMAND = struct.Struct("<III")


async def copy_bootloader(cpu: Cpu, config: SecureDfuConfig, *, source: int, size: int) -> NoReturn:
    """SD_MBR_COMMAND_COPY_BL: remember the command, then reset; the copying is done at the start that follows."""
    command = _COMMAND.pack(_COPY_BOOTLOADER, source, size // WORD_SIZE)
    await cpu.erase_page(config.backup_address)
    await cpu.write(config.backup_address, command + struct.pack("<I", zlib.crc32(command)))
    cpu.reset()


async def start(cpu: Cpu, config: SecureDfuConfig) -> None:
    """What runs before the bootloader: carry out or finish a remembered copy.  A torn command is none."""
    page = cpu.read(config.backup_address, _COMMAND.size + 4)
    command, (crc,) = page[: _COMMAND.size], struct.unpack_from("<I", page, _COMMAND.size)
    kind, source, words = _COMMAND.unpack(command)
    if crc != zlib.crc32(command) or kind != _COPY_BOOTLOADER:
        return
    new = cpu.read(source, words * WORD_SIZE)
    if cpu.read(config.bootloader_address, len(new)) == new:
        return
    for at in range(0, len(new), PAGE_SIZE):
        await cpu.erase_page(config.bootloader_address + at)
        await cpu.write(config.bootloader_address + at, new[at : at + PAGE_SIZE])
    cpu.reset()
