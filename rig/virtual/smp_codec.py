"""SMP framing on the device's side: header, CBOR map, reassembly, fragments (Zephyr `smp_protocol.rst`, `smp_bt.c`).

Written apart from the client's library on purpose: two readings of one specification check each other.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import cbor2

HEADER = struct.Struct(">BBHHBB")
_OP_MASK, _VERSION_SHIFT, _VERSION_MASK = 0x07, 3, 0x03


class Op(IntEnum):
    """Operation of a request; a response is the request's plus one."""

    READ = 0
    WRITE = 2


class Group(IntEnum):
    """Management groups that the sample application serves."""

    OS = 0
    IMAGE = 1


class MgmtError(IntEnum):
    """SMP-wide error codes (MGMT_ERR)."""

    OK = 0
    UNKNOWN = 1
    NO_MEMORY = 2
    INVALID = 3
    BAD_STATE = 6
    NOT_SUPPORTED = 8
    CORRUPT = 9
    BUSY = 10
    ACCESS_DENIED = 11


class ImageError(IntEnum):
    """Image-group error codes of SMP version 2."""

    UNKNOWN = 1
    NO_IMAGE = 3
    HASH_NOT_FOUND = 8
    NO_FREE_SLOT = 9
    INVALID_LENGTH = 21
    INVALID_IMAGE_HEADER = 22
    BAD_MAGIC = 23
    INVALID_HASH = 24
    CURRENT_VERSION_IS_NEWER = 27
    IMAGE_ALREADY_PENDING = 28
    IMAGE_TOO_LARGE = 30
    DATA_OVERRUN = 31
    CONFIRMATION_DENIED = 32
    TEST_TO_ACTIVE_DENIED = 33


_V1_OF_IMAGE_ERROR = {
    ImageError.NO_IMAGE: MgmtError.NOT_SUPPORTED - 3,  # 5, no entry
    ImageError.NO_FREE_SLOT: MgmtError.BAD_STATE,
    ImageError.CURRENT_VERSION_IS_NEWER: MgmtError.BAD_STATE,
    ImageError.IMAGE_ALREADY_PENDING: MgmtError.BAD_STATE,
    ImageError.INVALID_LENGTH: MgmtError.INVALID,
    ImageError.INVALID_IMAGE_HEADER: MgmtError.INVALID,
    ImageError.BAD_MAGIC: MgmtError.INVALID,
    ImageError.INVALID_HASH: MgmtError.INVALID,
    ImageError.IMAGE_TOO_LARGE: MgmtError.INVALID,
}


class RequestRefused(Exception):
    """A handler's answer when it will not do what was asked: an image-group code, or an SMP-wide one."""

    def __init__(self, code: ImageError | MgmtError) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request as it came over the link."""

    op: int
    version: int
    group: int
    command: int
    sequence: int
    payload: dict[str, Any]


class Reassembler:
    """Collects the fragments of one request.  A request larger than `buffer_size` is dropped, as a full net buffer does."""

    def __init__(self, buffer_size: int) -> None:
        self._buffer_size = buffer_size
        self._buffer = bytearray()
        self.overrun = False
        """Whether the last fragment belonged to a request that had to be dropped."""

    def clear(self) -> None:
        """Forget what has come of a request: the connection that it came on has ended."""
        self._buffer.clear()

    def feed(self, fragment: bytes) -> bytes | None:
        """Return the whole packet when `fragment` completes one."""
        self._buffer += fragment
        self.overrun = False
        if len(self._buffer) < HEADER.size:
            return None
        wanted = HEADER.size + HEADER.unpack_from(self._buffer)[2]
        self.overrun = wanted > self._buffer_size or len(self._buffer) > wanted
        if self.overrun:
            self._buffer.clear()
            return None
        if len(self._buffer) < wanted:
            return None
        packet = bytes(self._buffer)
        self._buffer.clear()
        return packet


def decode(packet: bytes) -> Request | None:
    """Parse a request; None when its CBOR is not a map (the server then says so with `MgmtError.CORRUPT` … or nothing)."""
    first, _flags, _length, group, sequence, command = HEADER.unpack_from(packet)
    try:
        payload = cbor2.loads(packet[HEADER.size :])
    except Exception:  # noqa: BLE001 - whatever the decoder dislikes in bytes off the air
        return None
    if not isinstance(payload, dict):
        return None
    return Request(
        op=first & _OP_MASK,
        version=(first >> _VERSION_SHIFT) & _VERSION_MASK,
        group=group,
        command=command,
        sequence=sequence,
        payload=payload,
    )


def encode_response(request: Request, payload: dict[str, Any]) -> bytes:
    """Frame `payload` as the response to `request`, in the version that the request used."""
    body = cbor2.dumps(payload)
    first = ((request.version & _VERSION_MASK) << _VERSION_SHIFT) | (request.op + 1)
    return HEADER.pack(first, 0, len(body), request.group, request.sequence, request.command) + body


def error_payload(request: Request, code: ImageError | MgmtError) -> dict[str, Any]:
    """Error map: version 2 names the group, version 1 folds into the SMP-wide codes; SMP-wide errors are ``rc`` in both."""
    if isinstance(code, MgmtError):
        return {"rc": int(code)}
    if request.version:
        return {"err": {"group": int(Group.IMAGE), "rc": int(code)}}
    return {"rc": int(_V1_OF_IMAGE_ERROR.get(code, MgmtError.UNKNOWN))}
