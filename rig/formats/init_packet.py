"""The init packet of Nordic's Secure DFU: a small protobuf message (dfu-cc) that says what comes, and a signature over it.

    Packet { 1 command | 2 signed_command }    SignedCommand { 1 command, 2 signature_type, 3 signature }
    Command { 1 op_code, 2 init }              InitCommand { see the class }

Byte orders differ from what cryptographic libraries use: the signature is r then s, each little-endian; the public key is X then Y,
each little-endian; the firmware hash is SHA-256 byte-reversed.  The signature covers the serialised InitCommand as it stands in the
packet, so it must never be serialised anew.  Encoders check nothing: what is allowed is for the device to decide.

Source: nRF5 SDK 17.0.2, `components/libraries/bootloader/dfu/dfu-cc.proto`; pc-nrfutil, `nordicsemi/dfu/signing.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from rig.errors import ConfigError

MAX_SIZE = 512
"""Bytes: the largest command object of bootloaders from SDK 15.2 on (256 before)."""
MAX_SD_REQ, MAX_BOOT_VALIDATION = 16, 3
ANY_SOFTDEVICE = 0xFFFE
"""In `sd_req`: any SoftDevice will do; for external applications only."""
OVERWRITES_SOFTDEVICE = 0
"""As first entry of `sd_req`: the application needs no SoftDevice."""
_COORDINATE = 32
_VARINT, _BYTES = 0, 2


class FirmwareType(IntEnum):
    """What the package contains."""

    APPLICATION = 0
    SOFTDEVICE = 1
    BOOTLOADER = 2
    SOFTDEVICE_BOOTLOADER = 3
    EXTERNAL_APPLICATION = 4


class HashType(IntEnum):
    """Devices accept SHA256 only."""

    NO_HASH = 0
    CRC = 1
    SHA128 = 2
    SHA256 = 3
    SHA512 = 4


class ValidationType(IntEnum):
    """How the bootloader checks the firmware at every boot."""

    NONE = 0
    CRC = 1
    SHA256 = 2
    ECDSA_P256_SHA256 = 3


class SignatureType(IntEnum):
    """Devices accept ECDSA only."""

    ECDSA_P256_SHA256 = 0
    ED25519 = 1


class OpCode(IntEnum):
    """What a Command asks for."""

    RESET = 0
    INIT = 1


@dataclass(frozen=True, kw_only=True)
class FirmwareHash:
    """Hash of the firmware as it stands in the packet: for SHA-256 the digest byte-reversed."""

    type: int
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class BootValidation:
    """One entry per firmware in the package; `data` is the signature for ECDSA (r, s little-endian), else empty."""

    type: int
    data: bytes = b""


@dataclass(frozen=True, kw_only=True)
class InitCommand:
    """What comes.  Sizes in bytes; None where the field is absent.  Enumerations are plain integers, so that wrong ones can be made."""

    fw_version: int | None = None
    hw_version: int | None = None
    sd_req: tuple[int, ...] = ()
    type: int | None = None
    sd_size: int | None = None
    bl_size: int | None = None
    app_size: int | None = None
    hash: FirmwareHash | None = None
    is_debug: bool | None = None
    boot_validation: tuple[BootValidation, ...] = ()


@dataclass(frozen=True, kw_only=True)
class InitPacket:
    """A packet taken apart.  `signed` is the serialised InitCommand; the two last fields are None in an unsigned packet."""

    command: InitCommand
    signed: bytes
    signature_type: int | None = None
    signature: bytes | None = None


# ------------------------------------------------------------------------------------------------------------- encoding
def encode_init_command(command: InitCommand) -> bytes:
    """Serialise `command` in ascending field order, `sd_req` packed, as Nordic's tool does."""
    scalars = {
        1: command.fw_version, 2: command.hw_version, 4: command.type, 5: command.sd_size, 6: command.bl_size, 7: command.app_size,
    }  # fmt: skip
    fields = {number: varint_field(number, value) for number, value in scalars.items() if value is not None}
    if command.sd_req:
        fields[3] = bytes_field(3, b"".join(map(varint, command.sd_req)))
    if command.hash is not None:
        fields[8] = bytes_field(8, varint_field(1, command.hash.type) + bytes_field(2, command.hash.digest))
    if command.is_debug is not None:
        fields[9] = varint_field(9, int(command.is_debug))
    if command.boot_validation:
        entries = (varint_field(1, entry.type) + bytes_field(2, entry.data) for entry in command.boot_validation)
        fields[10] = b"".join(bytes_field(10, entry) for entry in entries)
    return b"".join(fields[number] for number in sorted(fields))


def encode_command(init: bytes, *, op_code: int | None = OpCode.INIT) -> bytes:
    """Wrap a serialised InitCommand in a Command."""
    return (b"" if op_code is None else varint_field(1, op_code)) + bytes_field(2, init)


def unsigned_packet(init: bytes, *, op_code: int | None = OpCode.INIT) -> bytes:
    """The packet for a serialised InitCommand without signature."""
    return bytes_field(1, encode_command(init, op_code=op_code))


def signed_packet(
    init: bytes, signature: bytes, *, signature_type: int = SignatureType.ECDSA_P256_SHA256, op_code: int | None = OpCode.INIT
) -> bytes:
    """The packet for a serialised InitCommand and the signature over it (see `sign`)."""
    signed_command = bytes_field(1, encode_command(init, op_code=op_code))
    return bytes_field(2, signed_command + varint_field(2, signature_type) + bytes_field(3, signature))


def varint(value: int) -> bytes:
    """`value` (not negative) as a protobuf varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def varint_field(number: int, value: int) -> bytes:
    """Field `number` with wire type 0."""
    return varint(number << 3 | _VARINT) + varint(value)


def bytes_field(number: int, value: bytes) -> bytes:
    """Field `number` with wire type 2: bytes, a packed list or a message."""
    return varint(number << 3 | _BYTES) + varint(len(value)) + value


# --------------------------------------------------------------------------------------------------- hash and signature
def firmware_hash(image: bytes) -> FirmwareHash:
    """The hash entry for the whole transferred image (SoftDevice and bootloader concatenated)."""
    return FirmwareHash(type=HashType.SHA256, digest=hashlib.sha256(image).digest()[::-1])


def sign(data: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """ECDSA P-256 SHA-256 over `data` as 64 bytes.  Deterministic (RFC 6979): the same key and data give the same signature."""
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
    return r.to_bytes(_COORDINATE, "little") + s.to_bytes(_COORDINATE, "little")


def verify(data: bytes, signature: bytes, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether the 64-byte `signature` over `data` is by `key`."""
    r, s = (int.from_bytes(half, "little") for half in (signature[:_COORDINATE], signature[_COORDINATE:]))
    try:
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def public_key_bytes(key: ec.EllipticCurvePublicKey) -> bytes:
    """The key as bootloaders have it compiled in (`dfu_public_key.c`): X then Y, 32 bytes each, little-endian."""
    numbers = key.public_numbers()
    return numbers.x.to_bytes(_COORDINATE, "little") + numbers.y.to_bytes(_COORDINATE, "little")


# ------------------------------------------------------------------------------------------------------------- decoding
def decode(packet: bytes) -> InitPacket:
    """Take a packet apart, strictly: known fields only, each at most once, right wire types, values in range, nothing trailing.

    Stricter than any device.  Raises `ConfigError` that names the field.
    """
    fields = _message(packet, "packet", {1: _BYTES, 2: _BYTES})
    if len(fields) != 1:
        raise ConfigError("init packet: there must be either a command or a signed command")
    if 1 in fields:
        init = _init_of(_as_bytes(fields[1]))
        return InitPacket(command=_init_command(init), signed=init)
    outer = _message(_as_bytes(fields[2]), "signed command", {1: _BYTES, 2: _VARINT, 3: _BYTES})
    for number, name in ((1, "command"), (2, "signature type"), (3, "signature")):
        if number not in outer:
            raise ConfigError(f"init packet: the signed command has no {name}")
    init = _init_of(_as_bytes(outer[1]))
    return InitPacket(
        command=_init_command(init), signed=init, signature_type=_as_int(outer[2]), signature=_as_bytes(outer[3])
    )


_Field = int | bytes


def _init_of(command: bytes) -> bytes:
    fields = _message(command, "command", {1: _VARINT, 2: _BYTES})
    if list(fields) not in ([1, 2], [2]):
        raise ConfigError("init packet: the command must hold an init command, with the op code (if any) before it")
    if fields.get(1, OpCode.INIT) != OpCode.INIT:
        raise ConfigError(f"init packet: op code {fields[1]!r} is not INIT")
    return _as_bytes(fields[2])


def _init_command(data: bytes) -> InitCommand:
    sd_req: list[_Field] = []
    entries: list[_Field] = []
    kinds = dict.fromkeys((1, 2, 4, 5, 6, 7, 9), _VARINT) | dict.fromkeys((8, 10), _BYTES) | {3: None}
    fields = _message(data, "init command", kinds, lists={3: sd_req, 10: entries})
    kind, digest = _pair(_as_bytes(fields[8]), "hash") if 8 in fields else (None, b"")
    flag = _optional_int(fields, 9)
    if flag not in {None, 0, 1}:
        raise ConfigError(f"init packet: is_debug is {flag}")
    if len(entries) > MAX_BOOT_VALIDATION:
        raise ConfigError(f"init packet: {len(entries)} boot validations, at most {MAX_BOOT_VALIDATION} are allowed")
    pairs = [_pair(_as_bytes(entry), "boot validation") for entry in entries]
    return InitCommand(
        fw_version=_optional_int(fields, 1),
        hw_version=_optional_int(fields, 2),
        sd_req=_softdevices(sd_req),
        type=_optional_int(fields, 4),
        sd_size=_optional_int(fields, 5),
        bl_size=_optional_int(fields, 6),
        app_size=_optional_int(fields, 7),
        hash=None if kind is None else FirmwareHash(type=kind, digest=digest),
        is_debug=None if flag is None else bool(flag),
        boot_validation=tuple(BootValidation(type=kind, data=content) for kind, content in pairs),
    )


def _pair(data: bytes, name: str) -> tuple[int, bytes]:
    fields = _message(data, name, {1: _VARINT, 2: _BYTES})
    if sorted(fields) != [1, 2]:
        raise ConfigError(f"init packet: the {name} needs a type and bytes")
    return _as_int(fields[1]), _as_bytes(fields[2])


def _softdevices(items: list[_Field]) -> tuple[int, ...]:
    """`sd_req`, packed or not: both forms are valid protobuf."""
    values = []
    for item in items:
        if isinstance(item, int):
            values.append(item)
            continue
        at = 0
        while at < len(item):
            value, at = _read_varint(item, at, "sd_req")
            values.append(value)
    if len(values) > MAX_SD_REQ:
        raise ConfigError(f"init packet: {len(values)} entries in sd_req, at most {MAX_SD_REQ} are allowed")
    return tuple(values)


def _message(
    data: bytes, name: str, kinds: Mapping[int, int | None], *, lists: Mapping[int, list[_Field]] | None = None
) -> dict[int, _Field]:
    """Fields in the order found; `kinds` gives the wire type (None: either).  Entries of `lists` are appended there instead."""
    found: dict[int, _Field] = {}
    for number, wire, value in _fields(data, name):
        if number not in kinds or kinds[number] not in {None, wire}:
            raise ConfigError(f"init packet: field {number} with wire type {wire} does not belong in the {name}")
        if lists and number in lists:
            lists[number].append(value)
        elif number in found:
            raise ConfigError(f"init packet: field {number} stands twice in the {name}")
        else:
            found[number] = value
    return found


def _fields(data: bytes, name: str) -> Iterator[tuple[int, int, _Field]]:
    at = 0
    while at < len(data):
        key, at = _read_varint(data, at, name)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _read_varint(data, at, name)
            yield number, wire, value
        elif wire == _BYTES:
            size, at = _read_varint(data, at, name)
            if at + size > len(data):
                raise ConfigError(f"init packet: truncated in field {number} of the {name}")
            yield number, wire, data[at : at + size]
            at += size
        else:
            raise ConfigError(f"init packet: field {number} of the {name} has wire type {wire}")


def _read_varint(data: bytes, at: int, name: str) -> tuple[int, int]:
    value = 0
    for shift in range(0, 35, 7):
        if at >= len(data):
            raise ConfigError(f"init packet: the {name} ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            if value > 0xFFFF_FFFF:
                break
            return value, at
    raise ConfigError(f"init packet: a number in the {name} has more than 32 bits")


def _as_int(value: _Field) -> int:
    assert isinstance(value, int)
    return value


def _as_bytes(value: _Field) -> bytes:
    assert isinstance(value, bytes)
    return value


def _optional_int(fields: dict[int, _Field], number: int) -> int | None:
    return _as_int(fields[number]) if number in fields else None
