"""The virtual board's GATT server and pairing: exact answers to proper requests, and an answer or silence for everything else."""

import random
import struct

import pytest
from bumble.crypto.cryptography import EccKey
from hypothesis import given
from hypothesis import strategies as st

from rig.virtual.air import DeviceAddress
from rig.virtual.gatt_server import (
    AttributeTable,
    Characteristic,
    GattServer,
    LinkSecurity,
    Security,
    Service,
    uuid_octets,
)
from rig.virtual.pairing import PairingResponder

SERVICE = "5a1e0000-9f3b-4a7c-8c21-0f6d2b9e7a10"
VALUE = "5a1e0001-9f3b-4a7c-8c21-0f6d2b9e7a10"
SECRET = "5a1e0002-9f3b-4a7c-8c21-0f6d2b9e7a10"
EVERYTHING = frozenset({"read", "write", "write-without-response", "notify", "indicate"})
SERVICE_HANDLE, VALUE_HANDLE, VALUE_CCCD, SECRET_HANDLE = 10, 12, 13, 15


def server(**security: bool) -> tuple[GattServer, list[bytes]]:
    written: list[bytes] = []
    table = AttributeTable(
        [
            Service(
                uuid=SERVICE,
                characteristics=(
                    Characteristic(uuid=VALUE, properties=EVERYTHING, on_write=written.append, on_read=lambda: bytes(range(100))),
                    Characteristic(uuid=SECRET, properties=EVERYTHING, security=Security.ENCRYPTED, on_write=written.append),
                ),
            ),
            Service(uuid="fe59", characteristics=()),
        ],
        name="board",
    )
    return GattServer(table, 247, LinkSecurity(**security)), written


def error(opcode: int, handle: int, code: int) -> bytes:
    return struct.pack("<BBHB", 0x01, opcode, handle, code)


def test_the_attribute_table_is_laid_out_as_the_handles_above_say() -> None:
    table = server()[0].table
    kinds = [(attribute.handle, attribute.kind) for attribute in table.attributes]
    assert kinds[SERVICE_HANDLE - 1] == (SERVICE_HANDLE, b"\x00\x28")
    assert kinds[VALUE_HANDLE - 1] == (VALUE_HANDLE, uuid_octets(VALUE))
    assert kinds[VALUE_CCCD - 1] == (VALUE_CCCD, b"\x02\x29")
    assert kinds[SECRET_HANDLE - 1] == (SECRET_HANDLE, uuid_octets(SECRET))


@pytest.mark.parametrize(
    ("uuid", "octets"),
    [
        ("fe59", b"\x59\xfe"),
        ("FE59", b"\x59\xfe"),
        ("0000fe59-0000-1000-8000-00805f9b34fb", b"\x59\xfe"),
        ("8ec90001-f315-4f60-9fb8-838830daea50", bytes.fromhex("50eada30 8883b89f 604f15f3 0100c98e")),
    ],
)
def test_uuids_go_over_the_air_least_significant_first_and_as_short_as_they_can(uuid: str, octets: bytes) -> None:
    assert uuid_octets(uuid) == octets


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ("02 f700", "03 f700"),
        ("06 0100 ffff 0028 59fe", "07 1100 1100"),
        ("06 0100 ffff 0028 58fe", "01 06 0100 0a"),
        ("10 1100 ffff 0028", "11 06 1100 1100 59fe"),
        ("10 0100 ffff 0128", "01 10 0100 10"),
        ("04 0d00 0d00", "05 01 0d00 0229"),
        ("04 ff00 ffff", "01 04 ff00 0a"),
        ("04 0000 ffff", "01 04 0000 01"),
        ("04 0500 0400", "01 04 0500 01"),
        ("0a 0d00", "0b 0000"),
        ("0a ff00", "01 0a ff00 01"),
        ("0a 0000", "01 0a 0000 01"),
        ("0c 0c00 6200", "0d 6263"),
        ("0c 0c00 6400", "0d"),
        ("0c 0c00 6500", "01 0c 0c00 07"),
        ("12 0d00 0100", "13"),
        ("12 0d00 0400", "01 12 0d00 13"),
        ("12 0d00 01", "01 12 0d00 0d"),
        ("12 0b00 01", "01 12 0b00 03"),
        ("12 0c00 01", "13"),
        ("16 0c00 0000 01", "01 16 0000 06"),
        ("0e 0c00 0c00", "01 0e 0000 06"),
        ("02", "01 02 0000 04"),
        ("12 0c", "01 12 0c00 04"),
    ],
)
def test_requests_and_their_responses(request_: str, response: str) -> None:
    gatt, _ = server()
    assert (gatt.answer(bytes.fromhex(request_)) or b"").hex() == bytes.fromhex(response).hex()


def test_a_value_that_is_too_long_is_refused() -> None:
    gatt, written = server()
    assert gatt.answer(b"\x12\x0c\x00" + bytes(513)) == error(0x12, VALUE_HANDLE, 0x0D)
    assert gatt.answer(b"\x52\x0c\x00" + bytes(513)) is None
    assert written == []


@pytest.mark.parametrize(
    ("security", "code"),
    [({}, 0x05), ({"has_key": True}, 0x0F), ({"encrypted": True, "has_key": True}, None)],
    ids=["no key", "a key, not used", "encrypted"],
)
def test_what_a_link_lacks_decides_the_error(security: dict[str, bool], code: int | None) -> None:
    gatt, written = server(**security)
    handle = struct.pack("<H", SECRET_HANDLE)
    expected = b"\x13" if code is None else error(0x12, SECRET_HANDLE, code)
    assert gatt.answer(b"\x12" + handle + b"x") == expected
    assert gatt.answer(b"\x52" + handle + b"y") is None
    assert written == ([] if code else [b"x", b"y"])


def test_only_subscribers_get_values() -> None:
    gatt, _ = server()
    assert gatt.value_pdu(VALUE, b"news", indication=False) is None
    gatt.answer(b"\x12\x0d\x00\x01\x00")
    assert gatt.value_pdu(VALUE, b"news", indication=False) == b"\x1b\x0c\x00news"
    assert gatt.value_pdu(VALUE, b"news", indication=True) is None
    with pytest.raises(ValueError, match="do not fit"):
        gatt.value_pdu(VALUE, bytes(21), indication=False)


def test_a_board_notices_by_itself_that_the_passkey_was_wrong() -> None:
    sent: list[bytes] = []
    responder = PairingResponder(
        own=DeviceAddress.parse("C0:00:00:00:00:01"),
        peer=DeviceAddress.parse("F0:00:00:00:00:02"),
        luck=random.Random(1),
        passkey=123456,
        allowed=True,
        send=sent.append,
        on_bond=lambda _bond: None,
    )
    key = EccKey.from_private_key_bytes(bytes([1] * 32))
    keyboard_only, authentication = 2, 0x0D
    responder.on_pdu(bytes([0x01, keyboard_only, 0, authentication, 16, 0, 0]))
    responder.on_pdu(b"\x0c" + key.x[::-1] + key.y[::-1])
    responder.on_pdu(b"\x03" + bytes(16))
    responder.on_pdu(b"\x04" + bytes(16))
    assert [pdu[0] for pdu in sent] == [0x02, 0x0C, 0x03, 0x05]
    assert sent[-1] == b"\x05\x04"


@given(st.lists(st.binary(max_size=30), max_size=20))
def test_whatever_a_central_sends_the_server_answers_within_the_mtu_or_is_silent(pdus: list[bytes]) -> None:
    gatt, _ = server()
    for pdu in pdus:
        answer = gatt.answer(pdu)
        assert answer is None or 1 <= len(answer) <= gatt.mtu


@given(
    st.lists(
        st.sampled_from([1, 3, 4, 5, 0x0C, 0x0D, 0xFF]).flatmap(lambda code: st.binary(max_size=70).map(bytes([code]).__add__))
    )
)
def test_whatever_a_central_sends_while_pairing_no_key_comes_of_it(pdus: list[bytes]) -> None:
    bonds: list[object] = []
    responder = PairingResponder(
        own=DeviceAddress.parse("C0:00:00:00:00:01"),
        peer=DeviceAddress.parse("F0:00:00:00:00:02"),
        luck=random.Random(1),
        passkey=123456,
        allowed=True,
        send=lambda _pdu: None,
        on_bond=bonds.append,
    )
    for pdu in pdus:
        responder.on_pdu(pdu)
    assert bonds == []
