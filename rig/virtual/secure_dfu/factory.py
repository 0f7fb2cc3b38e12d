"""What production puts on a board beside the application: the SoftDevice and the bootloader, as bytes that nothing executes.

The SoftDevice's information structure is real, because the bootloader reads it.  The rest is filler, the same for every board, so that
a dump shows whether something has overwritten it.
"""

from __future__ import annotations

import hashlib

from rig.virtual.secure_dfu.config import MBR_SIZE, SecureDfuConfig
from rig.virtual.secure_dfu.softdevice import INFO_AT


def factory_flash(config: SecureDfuConfig) -> tuple[tuple[int, bytes], ...]:
    """Addresses and contents to be programmed before anything else."""
    contents = [(config.bootloader_address, _filler(b"bootloader", config.bootloader_size))]
    if config.softdevice is not None:
        softdevice = bytearray(_filler(b"softdevice", config.softdevice.size - MBR_SIZE))
        info = config.softdevice.encode()
        softdevice[INFO_AT : INFO_AT + len(info)] = info
        contents.insert(0, (MBR_SIZE, bytes(softdevice)))
    return tuple(contents)


def _filler(what: bytes, size: int) -> bytes:
    return hashlib.shake_256(b"rig virtual " + what).digest(size)
