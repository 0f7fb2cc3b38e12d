"""The init packet as the bootloader decodes it: nanopb 0.3.6, with all that it lets pass.

Unknown fields are skipped, the wire type of known scalar fields is not looked at, a zero tag ends a message, and a message that ended
early leaves its parent in the wrong place.  Enumerations are one byte wide.  The signed bytes begin with the init command and end
with the message around it, so a field behind the init command is taken for a part of it.

Source: `external/nano-pb/pb_decode.c` and `bootloader/dfu/nrf_dfu_validation.c` of nRF5 SDK 17.0.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rig.formats.init_packet import MAX_BOOT_VALIDATION, MAX_SD_REQ, BootValidation, FirmwareHash, InitCommand, InitPacket

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class Undecodable(Exception):
    """The decoder gave up."""


@dataclass(frozen=True, kw_only=True)
class _Field:
    """`limit`: bits of an unsigned number, or longest bytes.  `members`: fields of a message.  `repeated`: most entries of a list."""

    name: str
    limit: int = 32
    members: Mapping[int, _Field] = field(default_factory=dict)
    is_bytes: bool = False
    signed: bool = False
    required: bool = False
    repeated: int = 0


_ENUM = 8
_HASH = {1: _Field(name="type", limit=_ENUM, required=True), 2: _Field(name="data", limit=32, is_bytes=True, required=True)}
_VALIDATION = {1: _Field(name="type", limit=_ENUM, required=True), 2: _Field(name="data", limit=64, is_bytes=True, required=True)}
_INIT = {
    1: _Field(name="fw_version"),
    2: _Field(name="hw_version"),
    3: _Field(name="sd_req", repeated=MAX_SD_REQ),
    4: _Field(name="type", limit=_ENUM),
    5: _Field(name="sd_size"),
    6: _Field(name="bl_size"),
    7: _Field(name="app_size"),
    8: _Field(name="hash", members=_HASH),
    9: _Field(name="is_debug", limit=_ENUM, signed=True),
    10: _Field(name="boot_validation", members=_VALIDATION, repeated=MAX_BOOT_VALIDATION),
}
_COMMAND = {1: _Field(name="op_code", limit=_ENUM), 2: _Field(name="init", members=_INIT)}
_SIGNED = {
    1: _Field(name="command", members=_COMMAND, required=True),
    2: _Field(name="signature_type", limit=_ENUM, required=True),
    3: _Field(name="signature", limit=64, is_bytes=True, required=True),
}
_PACKET = {1: _Field(name="command", members=_COMMAND), 2: _Field(name="signed_command", members=_SIGNED)}


def decode_stored(memory: bytes, size: int) -> InitPacket | None:
    """Decode the packet of `size` bytes at the start of `memory`; None when the bootloader cannot.

    `memory` goes on behind the packet, because a misled decoder reads on.
    """
    watcher = _Watcher()
    message: dict[str, Any] = {}
    try:
        _decode(_Stream(memory, 0, size), _PACKET, message, watcher)
        if not watcher.valid or {"command", "signed_command"} <= message.keys():
            return None
        signed = memory[watcher.start : watcher.start + watcher.size]
        outer = message.get("signed_command")
        if outer is None:
            return _packet(message["command"], signed)
        if "init" not in outer["command"]:
            return None
        # The signed bytes are decoded once more, so that what was signed is what counts.
        init: dict[str, Any] = {}
        _decode(_Stream(memory, watcher.start, watcher.size), _INIT, init, None)
    except (Undecodable, KeyError):
        return None
    return _packet({"init": init}, signed, signature_type=outer["signature_type"], signature=outer["signature"])


def _packet(
    command: dict[str, Any], signed: bytes, *, signature_type: int | None = None, signature: bytes | None = None
) -> InitPacket:
    init = dict(command["init"])
    digest = init.pop("hash", None)
    entries = init.pop("boot_validation", ())
    flag = init.pop("is_debug", None)
    decoded = InitCommand(
        **init | {"sd_req": tuple(init.get("sd_req", ()))},
        hash=FirmwareHash(type=digest["type"], digest=digest["data"]) if digest else None,
        is_debug=None if flag is None else bool(flag),
        boot_validation=tuple(BootValidation(type=entry["type"], data=entry["data"]) for entry in entries),
    )
    return InitPacket(command=decoded, signed=signed, signature_type=signature_type, signature=signature)


@dataclass(eq=False)
class _Watcher:
    """Where the first init command stands; a second one makes the packet invalid."""

    start: int = 0
    size: int = 0
    valid: bool = False

    def see(self, stream: _Stream) -> None:
        if self.start or self.size:
            self.valid = False
            return
        at, left = stream.at, stream.left
        while stream.memory[at : at + 1] >= b"\x80":
            at, left = at + 1, left - 1
        self.start, self.size, self.valid = at + 1, left - 1, True


@dataclass(eq=False)
class _Stream:
    """A place in memory and how many bytes may still be read from there."""

    memory: bytes
    at: int
    left: int

    def read(self, count: int) -> bytes:
        if self.left < count:
            raise Undecodable
        piece = self.memory[self.at : self.at + count]
        if len(piece) < count:
            raise Undecodable
        self.at += count
        self.left -= count
        return piece

    def varint(self, bits: int) -> int:
        value = shift = 0
        while True:
            if shift >= bits:
                raise Undecodable
            byte = self.read(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value & (1 << bits) - 1

    def tag(self) -> tuple[int, int] | None:
        """Field number and wire type, or None at the end of the message, which a zero and a number cut short are as well."""
        try:
            tag = self.varint(32)
        except Undecodable:
            if self.left == 0:
                return None
            raise
        return (tag >> 3, tag & 7) if tag else None

    def skip(self, wire: int) -> None:
        match wire:
            case 0:
                while self.read(1)[0] & 0x80:
                    pass
            case 1:
                self.read(8)
            case 2:
                self.read(self.varint(32))
            case 5:
                self.read(4)
            case _:
                raise Undecodable

    def sub(self) -> _Stream:
        """The part that a length announces.  Its end is not checked against where its reader stops: see `join`."""
        size = self.varint(32)
        if self.left < size:
            raise Undecodable
        self.left -= size
        return _Stream(self.memory, self.at, size)

    def join(self, sub: _Stream) -> None:
        """Go on where the reader of `sub` stopped."""
        self.at = sub.at


def _decode(stream: _Stream, members: Mapping[int, _Field], target: dict[str, Any], watcher: _Watcher | None) -> None:
    seen: set[int] = set()
    while stream.left:
        tag = stream.tag()
        if tag is None:
            break
        number, wire = tag
        member = members.get(number)
        if member is None:
            stream.skip(wire)
            continue
        seen.add(number)
        if watcher is not None and member.members is _INIT:
            watcher.see(stream)
        _decode_field(stream, wire, member, target, watcher)
    if not {number for number, member in members.items() if member.required} <= seen:
        raise Undecodable


def _decode_field(stream: _Stream, wire: int, member: _Field, target: dict[str, Any], watcher: _Watcher | None) -> None:
    if not member.repeated:
        if member.members:
            _decode_message(stream, member, target.setdefault(member.name, {}), watcher)
        else:
            target[member.name] = _value(stream, member)
        return
    entries: list[Any] = target.setdefault(member.name, [])
    if not member.members and wire == _BYTES:
        packed = stream.sub()
        while packed.left and len(entries) < member.repeated:
            entries.append(_value(packed, member))
        stream.join(packed)
        if packed.left:
            raise Undecodable
        return
    if len(entries) >= member.repeated:
        raise Undecodable
    if member.members:
        entries.append({})
        _decode_message(stream, member, entries[-1], watcher)
    else:
        entries.append(_value(stream, member))


def _decode_message(stream: _Stream, member: _Field, target: dict[str, Any], watcher: _Watcher | None) -> None:
    sub = stream.sub()
    _decode(sub, member.members, target, watcher)
    stream.join(sub)


def _value(stream: _Stream, member: _Field) -> int | bytes:
    if member.is_bytes:
        size = stream.varint(32)
        if size > member.limit:
            raise Undecodable
        return stream.read(size)
    value = stream.varint(64)
    if member.signed:
        value = (value & 0xFFFF_FFFF ^ 0x8000_0000) - 0x8000_0000
        limit = 1 << member.limit - 1
        if not -limit <= value < limit:
            raise Undecodable
    elif value >> member.limit:
        raise Undecodable
    return value
