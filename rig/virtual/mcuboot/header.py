"""Image headers and TLV areas as a bootloader meets them in flash: possibly erased, torn or garbage.

Nothing here raises: what cannot be read is absent.  Source: MCUboot `boot/bootutil/include/bootutil/image.h`, `tlv.c`,
`bootutil_loader.c`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from rig.formats.mcuboot_image import MAGIC, ImageFlag, Tlv

HEADER_SIZE = 32
ERASED_MAGIC = 0xFFFF_FFFF
_HEADER = struct.Struct("<IIHHIIBBHI4x")
_TLV_INFO = struct.Struct("<HH")
_TLV_MAGIC, _TLV_PROTECTED_MAGIC = 0x6907, 0x6908
_NOT_RUNNABLE = (
    ImageFlag.ENCRYPTED_AES256 | ImageFlag.COMPRESSED_LZMA1 | ImageFlag.COMPRESSED_LZMA2 | ImageFlag.COMPRESSED_ARM_THUMB
)

Version = tuple[int, int, int, int]
"""(major, minor, revision, build)."""
Read = Callable[[int, int], bytes | None]
"""Bytes at (offset from the start of the image, length), None when that passes the end of the slot."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """The 32 bytes before an image, whatever they hold.  Sizes in bytes."""

    magic: int
    header_size: int
    protected_size: int
    image_size: int
    flags: int
    version: Version

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Take `HEADER_SIZE` bytes apart without judging them."""
        magic, _load, header_size, protected_size, image_size, flags, *version = _HEADER.unpack(data)
        major, minor, revision, build = version
        return cls(
            magic=magic,
            header_size=header_size,
            protected_size=protected_size,
            image_size=image_size,
            flags=flags,
            version=(major, minor, revision, build),
        )

    @property
    def has_magic(self) -> bool:
        """Whether an image starts here."""
        return self.magic == MAGIC

    @property
    def is_absent(self) -> bool:
        """Whether there is nothing to boot here: erased, or an image that says it is not bootable."""
        return self.magic == ERASED_MAGIC or bool(self.flags & ImageFlag.NON_BOOTABLE)

    @property
    def payload_end(self) -> int:
        """Offset of the first TLV area."""
        return self.header_size + self.image_size

    @property
    def hashed_size(self) -> int:
        """Header, payload and protected TLVs: what hash and signature cover."""
        return self.payload_end + self.protected_size

    @property
    def is_encrypted(self) -> bool:
        """Whether an image starts here that travels encrypted with AES-128.  In the primary slot it has been decrypted."""
        return self.has_magic and bool(self.flags & ImageFlag.ENCRYPTED_AES128)

    def is_plausible(self, slot_size: int, *, may_be_encrypted: bool) -> bool:
        """Whether an image with this header could be in a slot of `slot_size`, uncompressed."""
        refused = _NOT_RUNNABLE | (0 if may_be_encrypted else ImageFlag.ENCRYPTED_AES128)
        return self.has_magic and self.hashed_size < slot_size and not self.flags & refused

    def __str__(self) -> str:
        return "v{}.{}.{}".format(*self.version)


def unprotected_tlv_size(header: Header, read: Read) -> int | None:
    """Size of the TLV area that is not hashed, its info word included; None when it is not where the header says."""
    info = _tlv_info(read, header.payload_end)
    if info is not None and info[0] == _TLV_PROTECTED_MAGIC:
        if info[1] != header.protected_size:
            return None
        info = _tlv_info(read, header.hashed_size)
    elif header.protected_size:
        return None
    return info[1] if info is not None and info[0] == _TLV_MAGIC else None


def read_tlvs(header: Header, read: Read) -> tuple[Tlv, ...] | None:
    """All entries, protected ones first; None when the areas are not sound."""
    size = unprotected_tlv_size(header, read)
    if size is None:
        return None
    tlvs: list[Tlv] = []
    at, end = header.payload_end + _TLV_INFO.size, header.hashed_size + size
    while at < end:
        if header.protected_size and at == header.hashed_size:
            at += _TLV_INFO.size
        entry = read(at, _TLV_INFO.size)
        if entry is None:
            return None
        kind, length = _TLV_INFO.unpack(entry)
        at += _TLV_INFO.size
        value = read(at, length)
        if value is None:
            return None
        tlvs.append(Tlv(type=kind, value=value, protected=at < header.hashed_size))
        at += length
    return tuple(tlvs)


def _tlv_info(read: Read, at: int) -> tuple[int, int] | None:
    raw = read(at, _TLV_INFO.size)
    if raw is None:
        return None
    magic, size = _TLV_INFO.unpack(raw)
    return magic, size
