"""Requests that no good client sends: what a device must survive.  Each has a name that says what is wrong with it.

Sources of what is well-formed: Zephyr `subsys/mgmt/mcumgr` (SMP header, CBOR maps), nRF5 SDK 17.0.2 `nrf_dfu_req_handler.c`.
"""

from __future__ import annotations

import struct

from rig.ota.secure_dfu.wire import ObjectType, Opcode

_READ, _WRITE = 0, 2
_OS, _IMAGE = 0, 1
_STATE, _UPLOAD = 0, 1
_EMPTY_MAP = b"\xa0"


def _smp(operation: int, group: int, command: int, payload: bytes, *, length: int | None = None) -> bytes:
    """A frame; `length` None states the payload's own."""
    stated = len(payload) if length is None else length
    return struct.pack(">BBHHBB", operation, 0, stated, group, 0x5A, command) + payload


STATE_REQUEST = _smp(_READ, _IMAGE, _STATE, _EMPTY_MAP)
"""A good request: read the image state."""

SMP_REQUESTS: tuple[tuple[str, bytes], ...] = (
    ("a request without a payload", _smp(_READ, _IMAGE, _STATE, b"")),
    ("a group that does not exist", _smp(_READ, 0x7777, 0, _EMPTY_MAP)),
    ("a command that does not exist", _smp(_READ, _IMAGE, 0xEE, _EMPTY_MAP)),
    ("an operation that does not exist", _smp(7, _IMAGE, _STATE, _EMPTY_MAP)),
    ("a map that ends early", _smp(_WRITE, _IMAGE, _STATE, b"\xa2\x64hash")),
    ("something that is no map", _smp(_WRITE, _IMAGE, _STATE, b"\x18\x2a")),
    ("lists nested two hundred deep", _smp(_WRITE, _IMAGE, _UPLOAD, b"\xa1\x64data" + b"\x81" * 200 + b"\x00")),
    ("a string longer than the packet", _smp(_WRITE, _IMAGE, _UPLOAD, b"\xa1\x64data\x5b" + b"\xff" * 8)),
    ("an upload without a length", _smp(_WRITE, _IMAGE, _UPLOAD, b"\xa2\x63off\x00\x64data\x41\x00")),
    ("an offset far beyond the flash", _smp(_WRITE, _IMAGE, _UPLOAD, b"\xa2\x63off\x1b\x00\x00\x01\x00\x00\x00\x00\x00\x64data\x41\x00")),
    ("an offset that is text", _smp(_WRITE, _IMAGE, _UPLOAD, b"\xa2\x63off\x61x\x64data\x41\x00")),
    ("a hash of one byte", _smp(_WRITE, _IMAGE, _STATE, b"\xa1\x64hash\x41\x00")),
    ("a length beyond the packet", _smp(_READ, _OS, 0, _EMPTY_MAP, length=0xFFFF)),
)
"""The last one leaves the server waiting for the rest until the link ends."""

SECURE_DFU_REQUESTS: tuple[tuple[str, bytes], ...] = (
    ("an opcode that does not exist", b"\x7f"),
    ("a select without a type", bytes((Opcode.SELECT,))),
    ("a select of type 9", bytes((Opcode.SELECT, 9))),
    ("a create without a size", bytes((Opcode.CREATE, ObjectType.DATA))),
    ("an init packet of four gigabytes", bytes((Opcode.CREATE, ObjectType.COMMAND)) + b"\xff" * 4),
    ("a data object of four gigabytes", bytes((Opcode.CREATE, ObjectType.DATA)) + b"\xff" * 4),
    ("a receipt interval of one byte", bytes((Opcode.SET_RECEIPTS, 1))),
    ("an answer instead of a request", bytes((0x60, Opcode.SELECT, 1))),
    ("a request of forty bytes", bytes((Opcode.CREATE, ObjectType.COMMAND)) + bytes(38)),
)
