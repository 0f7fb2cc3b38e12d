"""The sample application that virtual boards execute, as bytes.

    0x000   Cortex-M vector table: initial stack pointer, reset vector, 62 handlers
    0x100   head: magic, size of the application, length of the descriptor, CRC-32 over everything before it
    0x114   descriptor: JSON, ASCII, keys sorted
      …     code that nothing executes: pseudo-random, incompressible, from the seed
    end-32  SHA-256 over everything before it

The checksum at the end is what makes execution honest: a virtual processor that jumps to a vector table finds an application only
when every byte of it is intact.  A real Cortex-M sees a valid vector table whose reset handler is nonsense, so this image must
never be flashed to a board of metal.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from rig.formats.soc import RAM_START, SOCS

Flag = str | int | float | bool

_MAGIC = b"RIG APP1"
_VECTORS = 64
_HEAD_AT = _VECTORS * 4
_HEAD = struct.Struct("<8sIII")
_DESCRIPTOR_AT = _HEAD_AT + _HEAD.size
_CHECKSUM_SIZE = 32
MIN_SIZE = 1024
"""Bytes.  Room for the vector table, a generous descriptor and the checksum."""
MAX_SIZE = max(soc.flash_size for soc in SOCS.values())


class ConfirmPolicy(StrEnum):
    """When the application confirms its own image, so that the bootloader keeps it."""

    NEVER = "never"
    AT_ONCE = "at-once"
    AFTER_SELF_TEST = "after-self-test"


@dataclass(frozen=True, kw_only=True)
class SampleApp:
    """What an intact application says about itself.

    `address` is where its vector table was linked to stand; `self_test_s` counts from its start; `crash` makes it fault right
    after its first console lines; `flags` are further behaviour that only the application class interprets.
    """

    soc: str
    name: str
    version: str
    address: int
    size: int
    confirm: ConfirmPolicy
    self_test_s: float
    crash: bool
    flags: Mapping[str, Flag] = field(default_factory=dict)


def build(
    *,
    soc: str,
    version: str,
    address: int,
    size: int,
    name: str = "sample",
    confirm: ConfirmPolicy = ConfirmPolicy.NEVER,
    self_test_s: float = 1.0,
    crash: bool = False,
    flags: Mapping[str, Flag] | None = None,
    seed: int = 0,
) -> bytes:
    """The application for `soc`, linked to `address`, `size` bytes long (a multiple of 4 from `MIN_SIZE` to `MAX_SIZE`).

    The same arguments give the same bytes; any other argument changes nearly all of them.  Raises ValueError when the descriptor
    does not fit or an argument is out of range.
    """
    if not MIN_SIZE <= size <= MAX_SIZE or size % 4:
        raise ValueError(f"size must be a multiple of 4 from {MIN_SIZE} to {MAX_SIZE}, not {size}")
    if address + size > SOCS[soc].flash_size:
        raise ValueError(f"an application of {size} bytes at 0x{address:x} passes the end of the flash of {soc}")
    descriptor = _encode(
        {
            "address": address,
            "confirm": confirm.value,
            "crash": crash,
            "flags": dict(flags or {}),
            "name": name,
            "self_test_s": self_test_s,
            "soc": soc,
            "version": version,
        }
    )
    room = size - _DESCRIPTOR_AT - _CHECKSUM_SIZE
    if len(descriptor) > room:
        raise ValueError(f"the descriptor takes {len(descriptor)} bytes, {room} are free; use fewer flags or a larger size")
    code_at = address + (_DESCRIPTOR_AT + len(descriptor) + 3) // 4 * 4
    body = struct.pack(f"<{_VECTORS}I", RAM_START + SOCS[soc].ram_size, *[code_at | 1] * (_VECTORS - 1))
    head = _HEAD.pack(_MAGIC, size, len(descriptor), 0)[:-4]
    body += head + struct.pack("<I", zlib.crc32(body + head)) + descriptor
    code = hashlib.shake_256(b"sample application code" + seed.to_bytes(16, "little", signed=True) + body)
    body += code.digest(size - len(body) - _CHECKSUM_SIZE)
    return body + hashlib.sha256(body).digest()


def parse(read: Callable[[int, int], bytes], address: int) -> SampleApp | None:
    """The application whose vector table stands at `address`, or None when it is not there or one bit of it is wrong.

    Calls `read(address, length)` twice at most; the second call covers exactly the bytes of the application.
    """
    start = read(address, _DESCRIPTOR_AT)
    if len(start) < _DESCRIPTOR_AT:
        return None
    magic, size, descriptor_size, crc = _HEAD.unpack_from(start, _HEAD_AT)
    # The CRC comes first: without it, a torn size field would send the reader beyond the end of flash.
    if magic != _MAGIC or crc != zlib.crc32(start[:-4]) or not MIN_SIZE <= size <= MAX_SIZE:
        return None
    data = read(address, size)
    if hashlib.sha256(data[:-_CHECKSUM_SIZE]).digest() != data[-_CHECKSUM_SIZE:]:
        return None
    return _decode(data[_DESCRIPTOR_AT : _DESCRIPTOR_AT + descriptor_size], size)


def _encode(descriptor: Mapping[str, Any]) -> bytes:
    return json.dumps(descriptor, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def _decode(descriptor: bytes, size: int) -> SampleApp:
    fields = json.loads(descriptor)  # the checksum vouches for it
    fields["confirm"] = ConfirmPolicy(fields["confirm"])
    return SampleApp(size=size, **fields)
