"""What happens to a received update at the boot after its last object: it is copied to where it runs.

The copy goes in steps of `copy_step_pages` pages, fewer when source and destination are closer; after each step the progress is
written to settings and backup, so that a boot after a power cut goes on with the step that was not finished.  A failed activation is
finished like a good one: bank 1 is cleared, and bank 0 stays invalid.

Source: nRF5 SDK 17.0.2, `bootloader/nrf_bootloader_fw_activation.c`.
"""

from __future__ import annotations

import zlib

from rig.formats.dfu_settings import BankCode
from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE
from rig.virtual.secure_dfu.config import MBR_SIZE, SecureDfuConfig
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.layout import bank0_start, bank1_start, page_up
from rig.virtual.secure_dfu.mbr import copy_bootloader
from rig.virtual.secure_dfu.settings import SettingsStore
from rig.virtual.secure_dfu.softdevice import softdevice_at
from rig.virtual.secure_dfu.watchdog import watch


async def activate(cpu: Cpu, config: SecureDfuConfig, store: SettingsStore) -> BankCode:
    """Activate what waits in bank 1, or go on with it; INVALID when nothing does.  Never returns from copying a new bootloader."""
    ram = store.ram
    match ram.bank1.code:
        case BankCode.APPLICATION:
            await _activate_application(cpu, config, store)
        case BankCode.SOFTDEVICE:
            await _activate_softdevice(cpu, config, store)
        case BankCode.BOOTLOADER:
            await _activate_bootloader(cpu, config, store)
        case BankCode.SOFTDEVICE_BOOTLOADER:
            if await _activate_softdevice(cpu, config, store):
                await _activate_bootloader(cpu, config, store)
        case _:
            return BankCode.INVALID
    activated = BankCode(ram.bank1.code)
    ram.bank1.clear()
    ram.write_offset = 0
    await store.write_and_backup()
    return activated


async def _activate_application(cpu: Cpu, config: SecureDfuConfig, store: SettingsStore) -> None:
    ram = store.ram
    size, start = ram.bank1.size, bank0_start(cpu)
    await _copy(cpu, config, store, source=ram.update_start, target=start, size=size - ram.write_offset)
    if config.has(Defect.USER_DATA_ERASED):
        for page in range(config.region_end, config.bootloader_address, PAGE_SIZE):
            await cpu.erase_page(page)
    crc = zlib.crc32(cpu.read(start, size))
    if crc == ram.bank1.crc:
        ram.bank0.code, ram.bank0.crc, ram.bank0.size = BankCode.APPLICATION, crc, size


async def _activate_softdevice(cpu: Cpu, config: SecureDfuConfig, store: SettingsStore) -> bool:
    """True when the SoftDevice is in place."""
    ram = store.ram
    if softdevice_at(cpu, ram.update_start) is None:
        return False
    if ram.write_offset != ram.softdevice_size:
        left = page_up(ram.softdevice_size - ram.write_offset & 0xFFFF_FFFF)
        await _copy(cpu, config, store, source=ram.update_start, target=MBR_SIZE, size=left)
        await store.write_and_backup()
    return True


async def _activate_bootloader(cpu: Cpu, config: SecureDfuConfig, store: SettingsStore) -> None:
    """Ask the MBR to copy the bootloader, unless it has done so."""
    ram = store.ram
    source, size = ram.update_start, ram.bank1.size
    if ram.bank1.code == BankCode.SOFTDEVICE_BOOTLOADER:
        source += ram.softdevice_size
        size -= ram.softdevice_size
    elif source == 0:
        source = bank1_start(cpu, ram)
    if cpu.read(config.bootloader_address, size) != cpu.read(source, size):
        await copy_bootloader(cpu, config, source=source, size=size)


async def _copy(cpu: Cpu, config: SecureDfuConfig, store: SettingsStore, *, source: int, target: int, size: int) -> None:
    """Copy the last `size` bytes of an image that goes from `source` to `target`; the progress so far is in the settings."""
    ram = store.ram
    if source == target:
        return
    watch(cpu, config)
    step = min(config.copy_step_pages, (source - target & 0xFFFF_FFFF) // PAGE_SIZE)
    if step == 0:
        cpu.fault("the source begins in the page of the destination")  # only in settings that somebody has tampered with
    source, target = source + ram.write_offset, target + ram.write_offset
    while size > 0:
        count = min(size, step * PAGE_SIZE)
        for page in range(target, target + page_up(count), PAGE_SIZE):
            await cpu.erase_page(page)
        await cpu.write(target, cpu.read(source, -(-count // WORD_SIZE) * WORD_SIZE))
        size, source, target = size - count, source + count, target + count
        ram.write_offset += count
        if not config.has(Defect.ACTIVATION_PROGRESS_NOT_STORED):
            await store.write_and_backup()
