"""The monotonic counter against old images with known weaknesses, in a flash page of its own.

The nRF52 has no counter of its own, so a page that only the bootloader may write stands in for one; a chip erase resets it.  Each
rise appends the new value and its complement, which tells a torn record from a whole one.  The page holds 512 rises and is never
erased; after that the counter cannot rise any more, and the boot stops as MCUboot does when its counter cannot be updated.

Source: MCUboot `docs/design.md` ("Hardware-based downgrade prevention"), `boot/bootutil/src/loader.c`.
"""

from __future__ import annotations

import struct

from rig.formats.mcuboot_image import Tlv, TlvType
from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE

_RECORD = struct.Struct("<II")
_ERASED_RECORD = b"\xff" * _RECORD.size
_MAX = 0xFFFF_FFFF


class CounterFull(Exception):
    """There is no room for another value."""


def stored(cpu: Cpu, page: int) -> int:
    """The highest value that was ever stored, 0 before the first."""
    records = _RECORD.iter_unpack(cpu.read(page, PAGE_SIZE))
    return max((value for value, complement in records if value ^ complement == _MAX), default=0)


def of_image(tlvs: tuple[Tlv, ...]) -> int | None:
    """The counter that an image brings along in its protected entries, None when it has none."""
    values = [tlv.value for tlv in tlvs if tlv.protected and tlv.type == TlvType.SEC_CNT]
    return int.from_bytes(values[0], "little") if values and len(values[0]) == 4 else None


async def raise_to(cpu: Cpu, page: int, value: int) -> None:
    """Store `value` unless the counter is there already.  Raises `CounterFull`."""
    if value <= stored(cpu, page):
        return
    content = cpu.read(page, PAGE_SIZE)
    used = len(content.rstrip(b"\xff"))
    start = -(-used // _RECORD.size) * _RECORD.size
    if start == PAGE_SIZE:
        raise CounterFull
    await cpu.write(page + start, _RECORD.pack(value, value ^ _MAX))
