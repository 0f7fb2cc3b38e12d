"""The bootloader's settings: one copy in RAM, the settings page, and the backup page that protects it from torn writes.

Every durable change is the erase and write of the settings page, then the same for the backup page; a page that would not change is
left alone.  When both pages are intact, the backup wins for all that the application must not change.  So a change becomes final at
the moment when the erase of the backup page destroys its CRC.

Source: nRF5 SDK 17.0.2, `bootloader/dfu/nrf_dfu_settings.c`, `nrf_dfu_settings_svci.c`.
"""

from __future__ import annotations

from collections.abc import Callable

from rig.formats.dfu_settings import NAME_AT, PEER_DATA_AT, SIZE, VERSION, DfuSettings, name_record, peer_data_record
from rig.virtual.cpu import Cpu
from rig.virtual.pairing import Bond
from rig.virtual.secure_dfu.config import SecureDfuConfig
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.flash_queue import FlashQueue
from rig.virtual.secure_dfu.peer_data import PeerData

Done = Callable[[], None]


class SettingsStore:
    """`ram` is the working copy.  The async methods drive the NVMC directly (boot); the others use a `FlashQueue` (DFU mode)."""

    def __init__(self, cpu: Cpu, config: SecureDfuConfig) -> None:
        self._cpu = cpu
        self._config = config
        self.ram = DfuSettings()
        # What is being written stands in one buffer per page: a second change before the first is done alters both.
        self._page_buffer = bytearray(SIZE)
        self._backup_buffer = bytearray(SIZE)

    @property
    def page(self) -> DfuSettings:
        """The settings page as it is in flash now."""
        return DfuSettings(self._cpu.read(self._config.settings_address, SIZE))

    def load(self) -> None:
        """Rebuild `ram` from the two pages, or from nothing when both are broken; layout 1 is converted."""
        page = self.page
        backup = DfuSettings(self._cpu.read(self._config.backup_address, SIZE))
        backup_is_valid = backup.backup_is_valid and self._has_backup
        if page.header_is_valid:
            if backup_is_valid:
                page.take_protected_parts(backup)
            settings = page
        elif backup_is_valid:
            settings = backup
        else:
            settings = DfuSettings()
            settings.settings_version = VERSION
        if settings.settings_version == 1:
            settings.upgrade()
        self.ram = settings

    @property
    def _has_backup(self) -> bool:
        return not self._config.has(Defect.SETTINGS_WITHOUT_BACKUP)

    # ------------------------------------------------------------------------------------------------ at boot: directly
    async def write(self) -> None:
        """Bring the settings page up to date."""
        self.ram.seal()
        await self._write_page(self._config.settings_address, bytes(self.ram.data))

    async def write_and_backup(self) -> None:
        """Bring both pages up to date."""
        await self.write()
        if self._has_backup:
            await self._write_page(self._config.backup_address, bytes(self.ram.data))

    async def back_up_page(self) -> None:
        """Make the backup equal to the settings page."""
        if self._has_backup:
            await self._write_page(self._config.backup_address, bytes(self.page.data))

    async def erase_application_data(self) -> None:
        """Make room for bonding data and name before the application starts: only erased words can be written."""
        if self.ram.holds_application_data:
            await self._cpu.erase_page(self._config.settings_address)
            await self._cpu.write(self._config.settings_address, bytes(self.ram.data[:PEER_DATA_AT]))

    async def _write_page(self, address: int, content: bytes) -> None:
        if self._cpu.read(address, SIZE) != content:
            await self._cpu.erase_page(address)
            await self._cpu.write(address, content)

    # -------------------------------------------------------------------------------------------- in DFU mode: by queue
    def queue_write_and_backup(self, queue: FlashQueue, done: Done | None = None) -> bool:
        """Queue what brings both pages up to date; False when the settings page cannot be queued.

        `done` is called when the backup is complete, and never when it could not be queued.
        """
        self.ram.seal()
        return self._queue_both(queue, bytes(self.ram.data), done)

    def queue_instead(self, queue: FlashQueue, settings: DfuSettings) -> None:
        """Queue what makes both pages equal to `settings`, which are not those in RAM."""
        settings.seal()
        self._queue_both(queue, bytes(settings.data), None)

    def queue_rewrite(self, queue: FlashQueue) -> None:
        """Queue erase and write of both pages with what they hold already."""
        pages = [(self._config.settings_address, self._page_buffer), (self._config.backup_address, self._backup_buffer)]
        for address, buffer in pages if self._has_backup else pages[:1]:
            content = self._cpu.read(address, SIZE)
            if queue.erase(address):
                buffer[:] = content
                queue.write(address, buffer, SIZE)

    def queue_back_up_page(self, queue: FlashQueue, done: Done) -> None:
        """Queue what makes the backup equal to the settings page as it is now, then call `done`."""
        if self._has_backup:
            self._queue_page(queue, self._config.backup_address, bytes(self.page.data), self._backup_buffer, done)
        else:
            done()

    def _queue_both(self, queue: FlashQueue, content: bytes, done: Done | None) -> bool:
        if not self._has_backup:
            return self._queue_page(queue, self._config.settings_address, content, self._page_buffer, done)
        if not self._queue_page(queue, self._config.settings_address, content, self._page_buffer, None):
            return False
        self._queue_page(queue, self._config.backup_address, content, self._backup_buffer, done)
        return True

    def _queue_page(self, queue: FlashQueue, address: int, content: bytes, buffer: bytearray, done: Done | None) -> bool:
        if self._cpu.read(address, SIZE) == content:
            if done is not None:
                done()
            return True
        if not queue.erase(address):
            return False
        buffer[:] = content
        return queue.write(address, buffer, SIZE, done)


# ------------------------------------------------------------------------------------------ what the application writes
async def hand_over_name(cpu: Cpu, config: SecureDfuConfig, name: bytes) -> bool:
    """Write the advertising name (1 to 20 bytes) for DFU mode into the settings page, as the buttonless service does.

    False when there is one already: it goes away at the next start of the application.
    """
    return await _hand_over(cpu, config.settings_address + NAME_AT, name_record(name))


async def hand_over_bond(cpu: Cpu, config: SecureDfuConfig, bond: Bond, *, peer: str) -> bool:
    """Write the bond with the central at address `peer` into the settings page, as the bonded buttonless service does.

    False when there is one already: it goes away at the next start of the application.
    """
    record = peer_data_record(PeerData(peer=peer, bond=bond).encode())
    return await _hand_over(cpu, config.settings_address + PEER_DATA_AT, record)


async def _hand_over(cpu: Cpu, address: int, record: bytes) -> bool:
    if cpu.read(address, 4) != b"\xff" * 4:
        return False
    await cpu.write(address, record)
    return True
