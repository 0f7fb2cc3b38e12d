"""The boot decision: activate an update, start the application, or enter DFU mode.

Source: nRF5 SDK 17.0.2, `bootloader/nrf_bootloader.c`, `nrf_bootloader_app_start.c`.
"""

from __future__ import annotations

from typing import Any, Self

from rig.errors import ConfigError
from rig.formats.dfu_settings import BankCode, Firmware
from rig.model import Region
from rig.virtual.cpu import BoardFacts, Cpu, Entry, ResetReason
from rig.virtual.secure_dfu import mbr
from rig.virtual.secure_dfu.activation import activate
from rig.virtual.secure_dfu.config import (
    GPREGRET2_MAGIC,
    GPREGRET2_SKIP_CRC,
    GPREGRET_MAGIC,
    GPREGRET_MASK,
    GPREGRET_START_DFU,
    MBR_SIZE,
    SKIP_CRC_BIT,
    START_BIT,
    SecureDfuConfig,
    Transport,
    config_from_options,
)
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.dfu_mode import DfuMode, PortOf
from rig.virtual.secure_dfu.factory import factory_flash
from rig.virtual.secure_dfu.layout import bank0_start
from rig.virtual.secure_dfu.settings import SettingsStore
from rig.virtual.secure_dfu.softdevice import softdevice_at
from rig.virtual.secure_dfu.validation import passes_boot_validation
from rig.virtual.secure_dfu.watchdog import start_for_application

_SLOW_BOOT_S = 12.0


class SecureDfuBootloader:
    """nRF5 SDK Secure DFU, with the MBR in front of it.  `port_of` gives the UART of a serial build.

    Raises `ConfigError` when a serial build has no UART.
    """

    def __init__(self, config: SecureDfuConfig, *, port_of: PortOf | None = None) -> None:
        if config.transport is Transport.SERIAL and port_of is None:
            raise ConfigError("transport serial: this board has no UART that receives")
        self._config = config
        self._port_of = port_of

    @classmethod
    def for_board(cls, board: BoardFacts, **options: Any) -> Self:
        """The SDK's example for the board's part, changed by the ``bootloader:`` section of the boards file."""
        config = config_from_options(board.part.name, options, application_name=board.ble_name)
        return cls(config, port_of=lambda cpu: cpu.serial)

    @property
    def factory_flash(self) -> tuple[tuple[int, bytes], ...]:
        """What production programs beside the application."""
        return factory_flash(self._config)

    @property
    def code(self) -> Region:
        """Where the bootloader itself lies."""
        return Region(start=self._config.bootloader_address, size=self._config.bootloader_size)

    async def boot(self, cpu: Cpu) -> Entry | None:
        """Return where the application starts.  DFU mode and activation end in a reset instead."""
        config = self._config
        await mbr.start(cpu, config)
        if config.has(Defect.SLOW_BOOT):
            await cpu.sleep(_SLOW_BOOT_S)
        store = SettingsStore(cpu, config)
        store.load()
        await store.write_and_backup()
        activated = await activate(cpu, config, store)
        if activated is BankCode.INVALID:
            is_valid = await self._application_is_valid(cpu, store, skip_crc=_crc_is_to_be_skipped(cpu))
            if not is_valid and config.has(Defect.HANG_WITHOUT_APPLICATION):
                return None
            wanted, timeout_s = not is_valid or await self._dfu_is_requested(cpu, store), config.inactivity_s
        elif activated in {BankCode.SOFTDEVICE, BankCode.SOFTDEVICE_BOOTLOADER} and store.ram.bank0.code == BankCode.APPLICATION:
            # After a SoftDevice the host is expected to send an application at once.
            wanted, timeout_s = True, config.continuation_s
        else:
            await store.back_up_page()
            cpu.reset()
        if wanted:
            await self._clear_requests(cpu, store)
            await DfuMode(cpu, config, store, self._port_of).run(timeout_s)
        await store.erase_application_data()
        await store.back_up_page()
        self._protect(cpu)
        start_for_application(cpu, config)
        return Entry(vector_table=bank0_start(cpu))

    # -------------------------------------------------------------------------------------------------- why DFU mode
    async def _dfu_is_requested(self, cpu: Cpu, store: SettingsStore) -> bool:
        config = self._config
        requests = {
            "button": config.button_pressed,
            "pin-reset": config.enter_by_pin_reset and bool(cpu.reset_reason & ResetReason.PIN),
            "GPREGRET": bool(cpu.gpregret[0] & GPREGRET_START_DFU),  # any of the bits, whatever the rest says
            "bootloader settings": config.enter_by_settings_flag and store.ram.enter_dfu == 1,
        }
        source = next((name for name, is_set in requests.items() if is_set), None)
        if source is not None:
            await self._log(cpu, f"DFU mode requested via {source}.", level="debug")
        return source is not None

    async def _application_is_valid(self, cpu: Cpu, store: SettingsStore, *, skip_crc: bool) -> bool:
        ram = store.ram
        if ram.bank0.code != BankCode.APPLICATION:
            await self._log(cpu, "Boot validation failed. No valid app to boot.")
            return False
        softdevice = Region(start=MBR_SIZE, size=ram.softdevice_size)
        if softdevice_at(cpu, MBR_SIZE) and not await self._passes(cpu, store, Firmware.SOFTDEVICE, softdevice, skip_crc):
            await self._log(cpu, "Boot validation failed. SoftDevice is present but invalid.", level="warning")
            return False
        application = Region(start=bank0_start(cpu), size=ram.bank0.size)
        if not await self._passes(cpu, store, Firmware.APPLICATION, application, skip_crc):
            await self._log(cpu, "Boot validation failed. App is invalid.", level="warning")
            return False
        await self._log(cpu, "App is valid", level="debug")
        return True

    async def _passes(self, cpu: Cpu, store: SettingsStore, firmware: Firmware, where: Region, skip_crc: bool) -> bool:
        content = cpu.read(where.start, where.size)
        return await passes_boot_validation(cpu, self._config, store.ram.validation(firmware), content, skip_crc=skip_crc)

    def _protect(self, cpu: Cpu) -> None:
        """Lock MBR, bootloader and settings backup; the settings page stays open for what the application hands over."""
        config = self._config
        if not config.has(Defect.PAGES_NOT_PROTECTED):
            cpu.protect(0, MBR_SIZE)
            cpu.protect(config.bootloader_address, config.settings_address - config.bootloader_address)

    async def _clear_requests(self, cpu: Cpu, store: SettingsStore) -> None:
        """Forget why DFU mode was entered, so that the next reset leads out of it."""
        config = self._config
        if config.enter_by_pin_reset:
            cpu.clear_reset_reason(int(cpu.reset_reason & ResetReason.PIN))
        value = cpu.gpregret[0]
        if value & GPREGRET_MASK == GPREGRET_MAGIC and value & START_BIT:
            cpu.gpregret[0] = value & ~GPREGRET_START_DFU & 0xFF
        if config.enter_by_settings_flag and store.ram.enter_dfu == 1:
            store.ram.enter_dfu = 0
            await store.write()

    async def _log(self, cpu: Cpu, text: str, *, level: str = "info") -> None:
        if self._config.log:
            await cpu.print(f"<{level}> app: {text}")


def _crc_is_to_be_skipped(cpu: Cpu) -> bool:
    """Whether the application asked for it; the request is good for one boot."""
    value = cpu.gpregret[1]
    if value & GPREGRET_MASK == GPREGRET2_MAGIC and value & SKIP_CRC_BIT:
        cpu.gpregret[1] = value & ~GPREGRET2_SKIP_CRC & 0xFF
        return True
    return False
