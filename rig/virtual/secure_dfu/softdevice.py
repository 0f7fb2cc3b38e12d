"""What the bootloader reads from a SoftDevice: the information structure 0x2000 bytes into it.

Source: nRF5 SDK 17.0.2, `bootloader/nrf_bootloader_info.h`; sizes and firmware IDs: release notes of the SoftDevices.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from rig.virtual.cpu import Cpu

INFO_AT = 0x2000
_MAGIC = 0x51B1E5DB
_INFO = struct.Struct("<B3xIIHxxII")


@dataclass(frozen=True, kw_only=True)
class SoftDeviceInfo:
    """What a SoftDevice says about itself.  `size` (bytes) includes the MBR; `version` is major · 1 000 000 + minor · 1000 + bug fix."""

    size: int
    firmware_id: int
    softdevice_id: int
    version: int

    @property
    def major(self) -> int:
        """Major version; updates to another one invalidate the application."""
        return self.version // 1_000_000

    def encode(self) -> bytes:
        """The structure as it stands 0x2000 bytes into a SoftDevice."""
        return _INFO.pack(_INFO.size, _MAGIC, self.size, self.firmware_id, self.softdevice_id, self.version)


def softdevice_at(cpu: Cpu, address: int) -> SoftDeviceInfo | None:
    """The SoftDevice that starts at `address`, or None."""
    struct_size, magic, size, firmware_id, softdevice_id, version = _INFO.unpack(cpu.read(address + INFO_AT, _INFO.size))
    if magic != _MAGIC:
        return None
    return SoftDeviceInfo(
        size=size,
        firmware_id=firmware_id,
        softdevice_id=softdevice_id if struct_size > 0x10 else 0,
        version=version if struct_size > 0x14 else 0,
    )


SOFTDEVICES = {
    "s132-7.2.0": SoftDeviceInfo(size=0x26000, firmware_id=0x0101, softdevice_id=132, version=7_002_000),
    "s140-7.2.0": SoftDeviceInfo(size=0x27000, firmware_id=0x0100, softdevice_id=140, version=7_002_000),
}
