"""The GATT server of a virtual board: ATT requests in, responses out (Core Specification Vol 3 Part F and G).

Stricter than most stacks: a characteristic can only be used in the ways its properties name, its configuration descriptor (CCCD) has
the same security as its value, and writes are handled in the order of their arrival, before the next packet.

Not served, as in Zephyr's default configuration: long writes, signed writes, read multiple.  Subscriptions are not remembered for
bonded peers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import ClassVar
from uuid import UUID

DEFAULT_MTU = 23
MAX_VALUE = 512
_BASE_UUID_TAIL = "-0000-1000-8000-00805f9b34fb"
_PRIMARY_SERVICE, _CHARACTERISTIC, _CCCD = b"\x00\x28", b"\x03\x28", b"\x02\x29"
_PROPERTY_BITS = {"read": 0x02, "write-without-response": 0x04, "write": 0x08, "notify": 0x10, "indicate": 0x20}
_NOTIFY, _INDICATE = 1, 2


class AttError(IntEnum):
    """ATT error codes (Vol 3 Part F 3.4.1.1)."""

    INVALID_HANDLE = 0x01
    READ_NOT_PERMITTED = 0x02
    WRITE_NOT_PERMITTED = 0x03
    INVALID_PDU = 0x04
    INSUFFICIENT_AUTHENTICATION = 0x05
    REQUEST_NOT_SUPPORTED = 0x06
    INVALID_OFFSET = 0x07
    ATTRIBUTE_NOT_FOUND = 0x0A
    INVALID_LENGTH = 0x0D
    INSUFFICIENT_ENCRYPTION = 0x0F
    UNSUPPORTED_GROUP_TYPE = 0x10
    VALUE_NOT_ALLOWED = 0x13


class AttRefusal(Exception):
    """The application refuses a read or a write with an ATT error code; a write command is dropped instead."""

    def __init__(self, code: int) -> None:
        self.code = code
        super().__init__(f"ATT error 0x{code:02x}")


class Security(StrEnum):
    """What the link must be: LE security mode 1 level 1, 2 or 3 (Vol 3 Part C 10.2.1)."""

    OPEN = "open"
    ENCRYPTED = "encrypted"
    AUTHENTICATED = "authenticated"


@dataclass(frozen=True, kw_only=True)
class Characteristic:
    """`properties` are among read, write, write-without-response, notify and indicate.

    `on_write` and `on_read` are called on the loop, must not wait, and may raise `AttRefusal`.
    """

    uuid: str
    properties: frozenset[str]
    security: Security = Security.OPEN
    on_write: Callable[[bytes], None] | None = None
    on_read: Callable[[], bytes] | None = None

    def __post_init__(self) -> None:
        if unknown := sorted(self.properties - _PROPERTY_BITS.keys()):
            raise ValueError(f"characteristic {self.uuid}: unknown properties {', '.join(unknown)}")


@dataclass(frozen=True, kw_only=True)
class Service:
    """A primary service."""

    uuid: str
    characteristics: tuple[Characteristic, ...]


@dataclass(kw_only=True)
class LinkSecurity:
    """What the link is, at this moment.  `has_key`: there is a bond with which it could be encrypted."""

    encrypted: bool = False
    authenticated: bool = False
    has_key: bool = False

    def missing_for(self, wanted: Security) -> AttError | None:
        """The error for a request that needs `wanted` (Vol 3 Part C 10.3.1)."""
        if wanted is Security.OPEN:
            return None
        if not self.encrypted:
            return AttError.INSUFFICIENT_ENCRYPTION if self.has_key else AttError.INSUFFICIENT_AUTHENTICATION
        if wanted is Security.AUTHENTICATED and not self.authenticated:
            return AttError.INSUFFICIENT_AUTHENTICATION
        return None


def uuid_octets(uuid: str) -> bytes:
    """The UUID as it goes over the air: 2 octets for one of the Bluetooth SIG, else 16; least significant first."""
    text = uuid.lower()
    if len(text) == 36 and text.startswith("0000") and text.endswith(_BASE_UUID_TAIL):
        text = text[4:8]
    if len(text) == 4:
        return int(text, 16).to_bytes(2, "little")
    return UUID(text).bytes[::-1]


@dataclass(slots=True)
class _Attribute:
    """One line of the attribute table.  `owner` is set for a characteristic's value and for its CCCD."""

    handle: int
    kind: bytes
    value: bytes = b""
    group_end: int = 0
    owner: Characteristic | None = None


class AttributeTable:
    """The attributes of a server, in handle order; the same for every connection."""

    def __init__(self, services: Sequence[Service], *, name: str) -> None:
        self.attributes: list[_Attribute] = []
        self.value_handles: dict[str, int] = {}
        for service in (_gap_service(name), _GATT_SERVICE, *services):
            self._add_service(service)

    def _add_service(self, service: Service) -> None:
        declaration = self._add(_PRIMARY_SERVICE, uuid_octets(service.uuid))
        for characteristic in service.characteristics:
            kind = uuid_octets(characteristic.uuid)
            bits = sum(_PROPERTY_BITS[name] for name in characteristic.properties)
            handle = len(self.attributes) + 2
            self._add(_CHARACTERISTIC, struct.pack("<BH", bits, handle) + kind)
            self._add(kind, owner=characteristic)
            self.value_handles[characteristic.uuid.lower()] = handle
            if characteristic.properties & {"notify", "indicate"}:
                self._add(_CCCD, owner=characteristic)
        declaration.group_end = len(self.attributes)

    def _add(self, kind: bytes, value: bytes = b"", owner: Characteristic | None = None) -> _Attribute:
        handle = len(self.attributes) + 1
        attribute = _Attribute(handle, kind, value, handle, owner)
        self.attributes.append(attribute)
        return attribute

    def get(self, handle: int) -> _Attribute:
        """The attribute with this handle.  Raises `AttRefusal`."""
        if not 0 < handle <= len(self.attributes):
            raise AttRefusal(AttError.INVALID_HANDLE)
        return self.attributes[handle - 1]

    def between(self, first: int, last: int) -> Iterator[_Attribute]:
        """The attributes with handles from `first` to `last`.  Raises `AttRefusal` for a senseless range."""
        if first == 0 or first > last:
            raise AttRefusal(AttError.INVALID_HANDLE)
        return iter(self.attributes[first - 1 : last])


def _gap_service(name: str) -> Service:
    readable = frozenset({"read"})
    return Service(
        uuid="1800",
        characteristics=(
            Characteristic(uuid="2a00", properties=readable, on_read=name.encode),
            Characteristic(uuid="2a01", properties=readable, on_read=lambda: b"\x00\x00"),
        ),
    )


_GATT_SERVICE = Service(uuid="1801", characteristics=(Characteristic(uuid="2a05", properties=frozenset({"indicate"})),))


@dataclass
class GattServer:
    """The server's side of one connection.  `security` is kept up to date by the owner of the connection.

    `mtu_rule` gives the server's answer to an ATT_MTU that the client offers; None: always `max_mtu`.
    """

    table: AttributeTable
    max_mtu: int
    security: LinkSecurity = field(default_factory=LinkSecurity)
    mtu: int = DEFAULT_MTU
    subscriptions: dict[int, int] = field(default_factory=dict)
    """CCCD value by the handle of the characteristic's value."""
    on_confirmation: Callable[[], None] | None = None
    mtu_rule: Callable[[int], int] | None = None

    def answer(self, pdu: bytes) -> bytes | None:
        """Serve one PDU from the client; None when there is nothing to say."""
        opcode = pdu[0] if pdu else 0
        handler = self._HANDLERS.get(opcode)
        if handler is None:
            is_request = opcode & 0x41 == 0
            return _error(opcode, 0, AttError.REQUEST_NOT_SUPPORTED) if is_request else None
        try:
            return handler(self, pdu)
        except AttRefusal as refusal:
            code = refusal.code
        except struct.error:
            code = AttError.INVALID_PDU
        return None if opcode & 0x40 else _error(opcode, int.from_bytes(pdu[1:3], "little"), code)

    def is_subscribed(self, uuid: str) -> bool:
        return self.subscriptions.get(self.table.value_handles[uuid.lower()], 0) != 0

    def value_pdu(self, uuid: str, data: bytes, *, indication: bool) -> bytes | None:
        """A notification or indication of this characteristic; None when the client has not subscribed to it.

        Raises `ValueError` when `data` does not fit into one PDU.
        """
        if len(data) > self.mtu - 3:
            raise ValueError(f"{len(data)} bytes do not fit into a notification at MTU {self.mtu}")
        handle = self.table.value_handles[uuid.lower()]
        if not self.subscriptions.get(handle, 0) & (_INDICATE if indication else _NOTIFY):
            return None
        return struct.pack("<BH", 0x1D if indication else 0x1B, handle) + data

    # --------------------------------------------------------------------------------------------------------- requests
    def _exchange_mtu(self, pdu: bytes) -> bytes:
        (client_mtu,) = struct.unpack("<xH", pdu)
        server_mtu = self.max_mtu if self.mtu_rule is None else self.mtu_rule(client_mtu)
        self.mtu = max(DEFAULT_MTU, min(client_mtu, server_mtu))
        return struct.pack("<BH", 0x03, server_mtu)

    def _find_information(self, pdu: bytes) -> bytes:
        first, last = struct.unpack("<xHH", pdu)
        entries: list[bytes] = []
        for attribute in self.table.between(first, last):
            entry = struct.pack("<H", attribute.handle) + attribute.kind
            if not self._append(entries, entry):
                break
        return bytes([0x05, 1 if len(_found(entries)[0]) == 4 else 2]) + b"".join(entries)

    def _find_by_type_value(self, pdu: bytes) -> bytes:
        first, last, kind = struct.unpack_from("<xHH2s", pdu)
        entries: list[bytes] = []
        for attribute in self.table.between(first, last):
            if attribute.kind == kind and attribute.owner is None and attribute.value == pdu[7:]:
                self._append(entries, struct.pack("<HH", attribute.handle, attribute.group_end))
        return b"\x07" + b"".join(_found(entries))

    def _read_by_type(self, pdu: bytes) -> bytes:
        first, last = struct.unpack_from("<xHH", pdu)
        entries: list[bytes] = []
        for attribute in self.table.between(first, last):
            if attribute.kind != pdu[5:]:
                continue
            try:
                value = self._read(attribute)
            except AttRefusal:
                if not entries:
                    raise
                break
            if not self._append(entries, struct.pack("<H", attribute.handle) + value[: min(self.mtu - 4, 253)]):
                break
        return bytes([0x09, len(_found(entries)[0])]) + b"".join(entries)

    def _read_by_group_type(self, pdu: bytes) -> bytes:
        first, last = struct.unpack_from("<xHH", pdu)
        if pdu[5:] != _PRIMARY_SERVICE:
            raise AttRefusal(AttError.UNSUPPORTED_GROUP_TYPE)
        entries: list[bytes] = []
        for attribute in self.table.between(first, last):
            if attribute.kind == _PRIMARY_SERVICE:
                entry = struct.pack("<HH", attribute.handle, attribute.group_end) + attribute.value
                if not self._append(entries, entry):
                    break
        return bytes([0x11, len(_found(entries)[0])]) + b"".join(entries)

    def _append(self, entries: list[bytes], entry: bytes) -> bool:
        """Add to a list response; False when the entry has another length than the first or does not fit."""
        if entries and (len(entry) != len(entries[0]) or (len(entries) + 1) * len(entry) > self.mtu - 2):
            return False
        entries.append(entry)
        return True

    def _read_request(self, pdu: bytes) -> bytes:
        (handle,) = struct.unpack("<xH", pdu)
        return b"\x0b" + self._read(self.table.get(handle))[: self.mtu - 1]

    def _read_blob(self, pdu: bytes) -> bytes:
        handle, offset = struct.unpack("<xHH", pdu)
        value = self._read(self.table.get(handle))
        if offset > len(value):
            raise AttRefusal(AttError.INVALID_OFFSET)
        return b"\x0d" + value[offset : offset + self.mtu - 1]

    def _write_request(self, pdu: bytes) -> bytes:
        self._write(pdu, "write")
        return b"\x13"

    def _write_command(self, pdu: bytes) -> None:
        self._write(pdu, "write-without-response")

    def _confirmation(self, _pdu: bytes) -> None:
        if self.on_confirmation is not None:
            self.on_confirmation()

    # ----------------------------------------------------------------------------------------------------------- values
    def _read(self, attribute: _Attribute) -> bytes:
        owner = attribute.owner
        if owner is None:
            return attribute.value
        if attribute.kind == _CCCD:
            self._check(owner.security)
            return self.subscriptions.get(attribute.handle - 1, 0).to_bytes(2, "little")
        if "read" not in owner.properties:
            raise AttRefusal(AttError.READ_NOT_PERMITTED)
        self._check(owner.security)
        return owner.on_read() if owner.on_read is not None else b""

    def _write(self, pdu: bytes, needed: str) -> None:
        (handle,) = struct.unpack_from("<xH", pdu)
        value = pdu[3:]
        attribute = self.table.get(handle)
        owner = attribute.owner
        if owner is None or (attribute.kind != _CCCD and needed not in owner.properties):
            raise AttRefusal(AttError.WRITE_NOT_PERMITTED)
        self._check(owner.security)
        if attribute.kind == _CCCD:
            self._configure(handle - 1, owner, value)
            return
        if len(value) > MAX_VALUE:
            raise AttRefusal(AttError.INVALID_LENGTH)
        if owner.on_write is not None:
            owner.on_write(value)

    def _configure(self, handle: int, owner: Characteristic, value: bytes) -> None:
        if len(value) != 2:
            raise AttRefusal(AttError.INVALID_LENGTH)
        allowed = _NOTIFY * ("notify" in owner.properties) + _INDICATE * ("indicate" in owner.properties)
        bits = int.from_bytes(value, "little")
        if bits & ~allowed:
            raise AttRefusal(AttError.VALUE_NOT_ALLOWED)
        self.subscriptions[handle] = bits

    def _check(self, wanted: Security) -> None:
        missing = self.security.missing_for(wanted)
        if missing is not None:
            raise AttRefusal(missing)

    _HANDLERS: ClassVar[dict[int, Callable[[GattServer, bytes], bytes | None]]] = {
        0x02: _exchange_mtu,
        0x04: _find_information,
        0x06: _find_by_type_value,
        0x08: _read_by_type,
        0x0A: _read_request,
        0x0C: _read_blob,
        0x10: _read_by_group_type,
        0x12: _write_request,
        0x1E: _confirmation,
        0x52: _write_command,
    }


def _found(entries: list[bytes]) -> list[bytes]:
    if not entries:
        raise AttRefusal(AttError.ATTRIBUTE_NOT_FOUND)
    return entries


def _error(opcode: int, handle: int, code: int) -> bytes:
    return struct.pack("<BBHB", 0x01, opcode, handle, code)
