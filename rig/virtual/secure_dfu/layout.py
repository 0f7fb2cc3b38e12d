"""Where firmware lies: the two banks, and the choice between single and dual bank.

Bank 0 begins above the SoftDevice; bank 1 begins on the first page behind the firmware in bank 0, so it moves with every update.

Source: nRF5 SDK 17.0.2, `bootloader/dfu/nrf_dfu_utils.c`.
"""

from __future__ import annotations

from rig.formats.dfu_settings import BankCode, DfuSettings
from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE
from rig.virtual.secure_dfu.config import MBR_SIZE, SecureDfuConfig
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.softdevice import softdevice_at


def page_up(address: int) -> int:
    """`address` rounded up to a page, in 32-bit arithmetic."""
    return (address + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE & 0xFFFF_FFFF


def bank0_start(cpu: Cpu) -> int:
    """Where the application lies and runs."""
    softdevice = softdevice_at(cpu, MBR_SIZE)
    return page_up(softdevice.size) if softdevice else MBR_SIZE


def bank1_start(cpu: Cpu, settings: DfuSettings) -> int:
    """Where an update is received when the old application is kept."""
    return page_up(bank0_start(cpu) + settings.bank0.size)


def make_room(cpu: Cpu, config: SecureDfuConfig, settings: DfuSettings, size: int, *, single_bank: bool) -> bool:
    """Find room for `size` bytes above the application, or give up the application for it; False when it fits neither way.

    BLE builds never give up the SoftDevice.  Giving up happens in RAM: it becomes final when the settings are written.
    """
    careless = config.has(Defect.BANK0_ERASED_BEFORE_VALIDATION)
    single_bank = single_bank or careless
    keep_application = config.force_dual_bank and settings.bank0.code == BankCode.APPLICATION and not careless
    # Unsigned, as compiled: an application that reaches beyond the region makes the room above it look endless.
    fits_above = size <= (config.region_end - bank1_start(cpu, settings)) & 0xFFFF_FFFF
    if keep_application or (fits_above and not single_bank):
        return fits_above
    if size > config.region_end - bank0_start(cpu):
        return False
    settings.bank0.clear()
    settings.write_offset = 0
    return True
