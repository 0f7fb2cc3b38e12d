"""Requests and replies of the Secure DFU control point, as bytes.  Pure; all integers are little-endian.

Source: nRF5 SDK 17.0.2, `dfu/nrf_dfu_req_handler.h` and `ble_dfu/nrf_dfu_ble.c`; buttonless part: `ble_services/ble_dfu/ble_dfu.h`.
A reply is ``60 opcode result …``; result 0B is followed by an extended error.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from rig.errors import MalformedReply, Refused

RESPONSE = 0x60
RESULT_GROUP = 0x60
"""`Refused.group` of a result code."""
EXTENDED_GROUP = 0x0B
"""`Refused.group` of an extended error."""
BUTTONLESS_GROUP = 0x20
"""`Refused.group` of an answer of the buttonless service."""


class Opcode(IntEnum):
    """What the host may ask for.  00, 07, 09, 0A and 0B are answered with result 02 by BLE builds; 08 is for serial links."""

    PROTOCOL_VERSION = 0x00
    CREATE = 0x01
    SET_RECEIPTS = 0x02
    CRC = 0x03
    EXECUTE = 0x04
    SELECT = 0x06
    GET_MTU = 0x07
    WRITE = 0x08
    PING = 0x09
    HARDWARE_VERSION = 0x0A
    FIRMWARE_VERSION = 0x0B
    ABORT = 0x0C


class ObjectType(IntEnum):
    """COMMAND is the init packet, DATA a piece of firmware."""

    COMMAND = 1
    DATA = 2


class Result(IntEnum):
    """Result codes.  06 does not exist in SDK 12 and later."""

    INVALID = 0x00
    SUCCESS = 0x01
    OPCODE_NOT_SUPPORTED = 0x02
    INVALID_PARAMETER = 0x03
    INSUFFICIENT_RESOURCES = 0x04
    INVALID_OBJECT = 0x05
    UNSUPPORTED_TYPE = 0x07
    OPERATION_NOT_PERMITTED = 0x08
    OPERATION_FAILED = 0x0A
    EXTENDED_ERROR = 0x0B


class ExtendedError(IntEnum):
    """What follows result 0B.  SDK 17 never sends ALREADY_PRESENT; later bootloaders of the same protocol do."""

    NO_ERROR = 0x00
    INVALID_ERROR_CODE = 0x01
    WRONG_COMMAND_FORMAT = 0x02
    UNKNOWN_COMMAND = 0x03
    INIT_COMMAND_INVALID = 0x04
    FIRMWARE_VERSION = 0x05
    HARDWARE_VERSION = 0x06
    SOFTDEVICE_VERSION = 0x07
    SIGNATURE_MISSING = 0x08
    WRONG_HASH_TYPE = 0x09
    HASH_FAILED = 0x0A
    WRONG_SIGNATURE_TYPE = 0x0B
    VERIFICATION_FAILED = 0x0C
    INSUFFICIENT_SPACE = 0x0D
    ALREADY_PRESENT = 0x0E


class ChecksumMismatch(MalformedReply):
    """The device reports other bytes than were sent, and went on doing so after every retry allowed.

    `reasons` has one entry per attempt.
    """

    def __init__(self, request: str, data: bytes, reasons: tuple[str, ...]) -> None:
        self.reasons = reasons
        super().__init__(request, data, "; ".join(f"attempt {n}: {text}" for n, text in enumerate(reasons, 1)))


@dataclass(frozen=True, kw_only=True)
class Checksum:
    """Bytes received so far and the CRC-32 (zlib) over all of them, from the first byte of the init packet or the image on."""

    offset: int
    crc: int

    def __str__(self) -> str:
        return f"offset {self.offset}, CRC {self.crc:08x}"


@dataclass(frozen=True, kw_only=True)
class ObjectState:
    """Answer to select: the largest object (bytes), and what the device holds.

    At offset 0 the CRC means nothing: after an update the same word is the start address of the update until the next command
    create.
    """

    max_size: int
    received: Checksum


def select(kind: int) -> bytes:
    """Make `kind` the current object and ask what the device holds of it."""
    return struct.pack("<BB", Opcode.SELECT, kind)


def create(kind: int, size: int) -> bytes:
    """Begin an object of `size` bytes; a data create erases its page at once."""
    return struct.pack("<BBI", Opcode.CREATE, kind, size)


def set_receipts(every: int) -> bytes:
    """Ask for a packet receipt notification after every `every` packets (16 bits); 0 switches them off."""
    return struct.pack("<BH", Opcode.SET_RECEIPTS, every)


def payload(request: str, reply: bytes, opcode: int, size: int) -> bytes:
    """The `size` bytes behind a success code.  Raises `Refused` for an error code and `MalformedReply` for anything else."""
    if len(reply) < 3:
        raise MalformedReply(request, reply, "the reply is too short")
    if reply[0] != RESPONSE:
        raise MalformedReply(request, reply, f"a reply begins with {RESPONSE:02x}")
    if reply[1] != opcode:
        raise MalformedReply(request, reply, f"the reply is to opcode {reply[1]:02x}, the request was {opcode:02x}")
    result = reply[2]
    sizes: dict[int, int] = {Result.SUCCESS: size, Result.EXTENDED_ERROR: 1}
    expected = sizes.get(result, 0)
    if len(reply) != 3 + expected:
        raise MalformedReply(request, reply, f"the reply should have {3 + expected} bytes, not {len(reply)}")
    if result == Result.EXTENDED_ERROR:
        raise Refused(request, group=EXTENDED_GROUP, code=reply[3], name=_name(ExtendedError, reply[3]))
    if result != Result.SUCCESS:
        raise Refused(request, group=RESULT_GROUP, code=result, name=_name(Result, result))
    return reply[3:]


def checksum(request: str, reply: bytes) -> Checksum:
    """Offset and CRC of a reply to opcode 03, or of a packet receipt, which looks the same."""
    offset, crc = struct.unpack("<II", payload(request, reply, Opcode.CRC, 8))
    return Checksum(offset=offset, crc=crc)


def object_state(request: str, reply: bytes) -> ObjectState:
    """The reply to select."""
    data = payload(request, reply, Opcode.SELECT, 12)
    max_size, offset, crc = struct.unpack("<III", data)
    if max_size < 4:
        raise MalformedReply(request, reply, f"the largest object has {max_size} bytes, less than a word of flash")
    return ObjectState(max_size=max_size, received=Checksum(offset=offset, crc=crc))


def _name(codes: type[IntEnum], code: int) -> str:
    try:
        return codes(code).name.lower().replace("_", " ")
    except ValueError:
        return f"unknown code 0x{code:02x}"
