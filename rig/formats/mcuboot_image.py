"""A signed MCUboot image, taken apart and checked: header, payload, TLV areas, hash.

Source: MCUboot, `boot/bootutil/include/bootutil/image.h` and `docs/design.md` ("Image format").  All fields are little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag

from rig.errors import ConfigError

MAGIC = 0x96F3B83D
_HEADER = struct.Struct("<IIHHIIBBHII")
_TLV_INFO = struct.Struct("<HH")
_TLV_INFO_MAGIC, _TLV_PROTECTED_MAGIC = 0x6907, 0x6908


class ImageFlag(IntFlag):
    """Header flags that change what the payload is."""

    ENCRYPTED_AES128 = 0x4
    ENCRYPTED_AES256 = 0x8
    NON_BOOTABLE = 0x10
    COMPRESSED_LZMA1 = 0x200
    COMPRESSED_LZMA2 = 0x400
    COMPRESSED_ARM_THUMB = 0x800


_ENCRYPTED = ImageFlag.ENCRYPTED_AES128 | ImageFlag.ENCRYPTED_AES256
_COMPRESSED = ImageFlag.COMPRESSED_LZMA1 | ImageFlag.COMPRESSED_LZMA2


class TlvType(IntEnum):
    """TLV types that the project reads; others are kept by number."""

    KEYHASH = 0x01
    SHA256 = 0x10
    SHA384 = 0x11
    SHA512 = 0x12
    RSA2048_PSS = 0x20
    ECDSA_SIG = 0x22
    RSA3072_PSS = 0x23
    ED25519 = 0x24
    SIG_PURE = 0x25
    ENC_EC256 = 0x32
    DEPENDENCY = 0x40
    SEC_CNT = 0x50


BUILT_HEADER_SIZE = 0x200
"""Header size of the images that the project builds: it keeps the vector table where the Cortex-M4 can use it."""
_BUILT_PROTECTED_SIZE_MAX = 4 + (4 + 4) + (4 + 12)
BUILT_TLV_SIZE_MAX = 15 + _BUILT_PROTECTED_SIZE_MAX + 4 + (4 + 32) + (4 + 32) + (4 + 256) + (4 + 113)
"""Most bytes that stand behind the application in such an image: padding to the AES block, protected entries (security counter,
dependency), and the TLV area with SHA-256, key hash, RSA-2048 signature and encryption entry."""

_HASHES = {TlvType.SHA256: hashlib.sha256, TlvType.SHA384: hashlib.sha384, TlvType.SHA512: hashlib.sha512}


@dataclass(frozen=True, kw_only=True)
class Tlv:
    """One entry; `protected` ones are covered by hash and signature."""

    type: int
    value: bytes
    protected: bool


@dataclass(frozen=True, kw_only=True)
class McubootImage:
    """An image whose structure is sound and, unless it is encrypted, whose hash is right.

    `version` is written as imgtool does, ``1.2.3`` or ``1.2.3+4``; `size` counts header, payload and TLV areas; `trailing` counts
    the bytes that the file carries after them (a slot trailer, or junk); `image_hash` is what the device reports.
    """

    header_size: int
    image_size: int
    protected_size: int
    flags: ImageFlag
    version: str
    tlvs: tuple[Tlv, ...]
    image_hash: bytes
    size: int
    trailing: int
    start: bytes
    """The first bytes of the payload, where the vector table stands (at most 16)."""

    @property
    def is_encrypted(self) -> bool:
        """Whether the header says that the payload travels encrypted.  The flag stays when the bootloader has decrypted it."""
        return bool(self.flags & _ENCRYPTED)

    @property
    def is_plain(self) -> bool:
        """Whether the payload is code as it will be executed, neither encrypted nor compressed."""
        return not self.flags & (_ENCRYPTED | _COMPRESSED)

    @property
    def payload_end(self) -> int:
        """Offset of the first TLV area."""
        return self.header_size + self.image_size

    @property
    def tlvs_at(self) -> int:
        """Offset of the TLV area that neither hash nor signature cover."""
        return self.payload_end + self.protected_size

    @property
    def plain_tlvs(self) -> tuple[Tlv, ...]:
        """The entries of that area."""
        return tuple(tlv for tlv in self.tlvs if not tlv.protected)

    @property
    def protected_tlvs(self) -> tuple[Tlv, ...]:
        """The entries that hash and signature cover."""
        return tuple(tlv for tlv in self.tlvs if tlv.protected)

    def tlv(self, kind: TlvType) -> bytes | None:
        """Value of the first entry of `kind`."""
        return next((tlv.value for tlv in self.tlvs if tlv.type == kind), None)


def parse(data: bytes) -> McubootImage:
    """Take `data` apart.  Raises `ConfigError` that names the broken part: magic, header, payload, TLV area or hash."""
    if len(data) < _HEADER.size:
        raise ConfigError(f"truncated: {len(data)} bytes, an MCUboot header alone takes {_HEADER.size}")
    magic, _load, header_size, protected_size, image_size, flags, major, minor, revision, build, _pad = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise ConfigError(f"bad magic 0x{magic:08x}: an MCUboot image starts with 0x{MAGIC:08x}{_what_else(data)}")
    if header_size < _HEADER.size or image_size == 0:
        raise ConfigError(f"broken header: header size {header_size}, payload size {image_size}")
    payload_end = header_size + image_size
    if payload_end > len(data):
        raise ConfigError(f"truncated: header and payload take {payload_end} bytes, the file has {len(data)}")
    protected, plain_at = _protected_tlvs(data, payload_end, protected_size)
    plain, end = _tlv_area(data, plain_at, magic=_TLV_INFO_MAGIC, protected=False)
    tlvs = (*protected, *plain)
    return McubootImage(
        header_size=header_size,
        image_size=image_size,
        protected_size=protected_size,
        flags=ImageFlag(flags),
        version=_version(major, minor, revision, build),
        tlvs=tlvs,
        image_hash=_checked_hash(data[:plain_at], tlvs, encrypted=bool(flags & _ENCRYPTED)),
        size=end,
        trailing=len(data) - end,
        start=data[header_size : min(header_size + 16, payload_end)],
    )


def tlv_area(tlvs: Iterable[Tlv], *, protected: bool = False) -> bytes:
    """A TLV area with its info word; empty where there is nothing to protect."""
    body = b"".join(_TLV_INFO.pack(tlv.type, len(tlv.value)) + tlv.value for tlv in tlvs)
    if protected and not body:
        return b""
    return _TLV_INFO.pack(_TLV_PROTECTED_MAGIC if protected else _TLV_INFO_MAGIC, _TLV_INFO.size + len(body)) + body


def stated_version(data: bytes) -> str | None:
    """The version in the header, however broken the rest is; None when there is no header."""
    if len(data) < _HEADER.size or _HEADER.unpack_from(data)[0] != MAGIC:
        return None
    return _version(*_HEADER.unpack_from(data)[6:10])


def stated_hash(data: bytes) -> bytes | None:
    """The hash entry where the header says that the TLV area is, whether it is right or not; None when none is found there.

    This is how an image server finds the hash that it reports: it neither computes it nor minds what follows it.
    """
    if stated_version(data) is None:
        return None
    _magic, _load, header_size, protected_size, image_size, *_rest = _HEADER.unpack_from(data)
    at = header_size + image_size + protected_size
    if at + _TLV_INFO.size > len(data) or _TLV_INFO.unpack_from(data, at)[0] != _TLV_INFO_MAGIC:
        return None
    at += _TLV_INFO.size
    while at + _TLV_INFO.size <= len(data):
        kind, length = _TLV_INFO.unpack_from(data, at)
        at += _TLV_INFO.size
        if kind in _HASHES:
            return data[at : at + length] if at + length <= len(data) else None
        at += length
    return None


def _version(major: int, minor: int, revision: int, build: int) -> str:
    return f"{major}.{minor}.{revision}" + (f"+{build}" if build else "")


def _what_else(data: bytes) -> str:
    """What the operator probably handed in instead."""
    if data[:4] == b"\x7fELF":
        return " (this is an ELF file; sign its binary with imgtool)"
    if data[:1] == b":":
        return " (this looks like Intel HEX; the signed .bin is wanted)"
    if data[:2] == b"PK":
        return " (this is a zip archive; the signed .bin is wanted)"
    return " (unsigned binary?)" if data[3:4] == b"\x20" else ""


def _protected_tlvs(data: bytes, at: int, size: int) -> tuple[tuple[Tlv, ...], int]:
    """Protected entries and the offset of the area after them."""
    if size == 0:
        return (), at
    tlvs, end = _tlv_area(data, at, magic=_TLV_PROTECTED_MAGIC, protected=True)
    if end - at != size:
        raise ConfigError(f"broken protected TLV area: it takes {end - at} bytes, the header says {size}")
    return tlvs, end


def _tlv_area(data: bytes, at: int, *, magic: int, protected: bool) -> tuple[tuple[Tlv, ...], int]:
    name = "protected TLV area" if protected else "TLV area"
    if at + _TLV_INFO.size > len(data):
        raise ConfigError(f"truncated: no {name} at offset {at}, the file ends at {len(data)}")
    found, total = _TLV_INFO.unpack_from(data, at)
    if found != magic:
        raise ConfigError(f"broken {name} at offset {at}: it starts with 0x{found:04x}, not 0x{magic:04x}")
    end = at + total
    if end > len(data):
        raise ConfigError(f"truncated: the {name} takes {total} bytes from offset {at}, the file ends at {len(data)}")
    tlvs: list[Tlv] = []
    offset = at + _TLV_INFO.size
    while offset < end:
        if offset + _TLV_INFO.size > end:
            raise ConfigError(f"broken {name}: {end - offset} stray bytes at offset {offset}")
        kind, length = _TLV_INFO.unpack_from(data, offset)
        offset += _TLV_INFO.size
        if offset + length > end:
            raise ConfigError(f"broken {name}: entry 0x{kind:02x} at offset {offset - _TLV_INFO.size} passes its end")
        tlvs.append(Tlv(type=kind, value=data[offset : offset + length], protected=protected))
        offset += length
    return tuple(tlvs), end


def hash_of(data: bytes, image: McubootImage) -> bytes:
    """The hash of header, payload and protected entries of the file `data` by the algorithm that `image` states.

    It is the one stated only when the payload in `data` is plain.
    """
    kind = next(TlvType(tlv.type) for tlv in image.tlvs if not tlv.protected and tlv.type in _HASHES)
    return _HASHES[kind](data[: image.tlvs_at]).digest()


def _checked_hash(covered: bytes, tlvs: tuple[Tlv, ...], *, encrypted: bool) -> bytes:
    """The hash TLV, compared with `covered`.  An encrypted image's hash is over the plain text, which only its device can see."""
    for tlv in tlvs:
        if not tlv.protected and tlv.type in _HASHES:
            kind = TlvType(tlv.type)
            actual = _HASHES[kind](covered).digest()
            if not encrypted and actual != tlv.value:
                raise ConfigError(
                    f"hash wrong: the {kind.name} entry says {tlv.value[:8].hex()}…, the content gives {actual[:8].hex()}…"
                )
            return tlv.value
    raise ConfigError("no hash in the TLV area: the device could not tell which image it runs")
