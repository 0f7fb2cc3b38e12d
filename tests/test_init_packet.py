"""The init packet codec: bytes on the wire, byte orders, and what the strict decoder refuses."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import ConfigError
from rig.formats.init_packet import (
    BootValidation,
    FirmwareHash,
    FirmwareType,
    InitCommand,
    InitPacket,
    bytes_field,
    decode,
    encode_command,
    encode_init_command,
    firmware_hash,
    public_key_bytes,
    sign,
    signed_packet,
    unsigned_packet,
    varint_field,
    verify,
)
from rig.virtual.secure_dfu.init_command import decode_stored

KEY = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
COMMAND = InitCommand(
    fw_version=300,
    hw_version=52,
    sd_req=(0x100, 0xFFFE),
    type=FirmwareType.APPLICATION,
    app_size=4096,
    hash=FirmwareHash(type=3, digest=b"\xab" * 32),
    is_debug=False,
    boot_validation=(BootValidation(type=1),),
)
INIT = bytes.fromhex("08ac02" "1034" "1a058002feff03" "2000" "388020" "4224" "0803" "1220" + "ab" * 32 + "4800" "52040801" "1200")


def test_the_bytes_of_an_init_command():
    assert encode_init_command(COMMAND) == INIT
    assert encode_init_command(InitCommand()) == b""
    assert encode_command(INIT)[:4] == bytes.fromhex("080112") + bytes([len(INIT)])


def test_the_bytes_of_the_packets():
    unsigned, signed = unsigned_packet(b"abc"), signed_packet(b"abc", b"S" * 64)
    assert unsigned.hex() == "0a07" "0801" "1203" + b"abc".hex()
    assert signed.hex() == "124d" + unsigned.hex() + "1000" + "1a40" + "53" * 64


def test_byte_orders():
    """The three places where numbers are reversed: signature halves, key coordinates, firmware hash."""
    signature = sign(INIT, KEY)
    r, s = int.from_bytes(signature[:32], "little"), int.from_bytes(signature[32:], "little")
    KEY.public_key().verify(encode_dss_signature(r, s), INIT, ec.ECDSA(hashes.SHA256()))
    numbers = KEY.public_key().public_numbers()
    assert public_key_bytes(KEY.public_key()) == numbers.x.to_bytes(32, "big")[::-1] + numbers.y.to_bytes(32, "big")[::-1]
    assert firmware_hash(b"image") == FirmwareHash(type=3, digest=hashlib.sha256(b"image").digest()[::-1])


def test_signatures():
    signature = sign(INIT, KEY)
    assert signature == sign(INIT, KEY)
    assert verify(INIT, signature, KEY.public_key())
    assert not verify(INIT + b"\0", signature, KEY.public_key())
    assert not verify(INIT, signature[32:] + signature[:32], KEY.public_key())
    assert not verify(INIT, bytes(64), KEY.public_key())
    assert not verify(INIT, b"\xff" * 64, KEY.public_key())


_u32 = st.integers(0, 0xFFFF_FFFF)
_maybe = st.none() | _u32
commands = st.builds(
    InitCommand,
    fw_version=_maybe,
    hw_version=_maybe,
    sd_req=st.lists(_u32, max_size=16).map(tuple),
    type=st.none() | st.integers(0, 255),
    sd_size=_maybe,
    bl_size=_maybe,
    app_size=_maybe,
    hash=st.none() | st.builds(FirmwareHash, type=st.integers(0, 255), digest=st.binary(max_size=32)),
    is_debug=st.none() | st.booleans(),
    boot_validation=st.lists(st.builds(BootValidation, type=st.integers(0, 255), data=st.binary(max_size=64)), max_size=3).map(tuple),
)


@settings(derandomize=True)
@given(command=commands, signature=st.binary(max_size=64), kind=st.integers(0, 255))
def test_what_is_encoded_can_be_decoded_here_and_on_the_device(command, signature, kind):
    init = encode_init_command(command)
    for packet, expected in (
        (unsigned_packet(init), InitPacket(command=command, signed=init)),
        (
            signed_packet(init, signature, signature_type=kind),
            InitPacket(command=command, signed=init, signature_type=kind, signature=signature),
        ),
    ):
        assert decode(packet) == expected
        assert decode_stored(packet + b"\xff" * 300, len(packet)) == expected


@settings(derandomize=True)
@given(st.binary(max_size=80))
def test_decoders_survive_anything(data):
    """The strict one raises nothing else, and what it accepts the device's accepts as well, as far as it has room for it."""
    lenient = decode_stored(data + b"\xff" * 300, len(data))
    try:
        packet = decode(data)
    except ConfigError:
        return
    assert lenient == packet or not _fits_the_device(packet)


def _fits_the_device(packet):
    """Enumerations have one byte there, hashes 32 bytes, signatures 64."""
    command = packet.command
    entries = [*command.boot_validation, *([command.hash] if command.hash else [])]
    enumerations = [packet.signature_type or 0, command.type or 0, *(entry.type for entry in entries)]
    room = len(packet.signature or b"") <= 64 and len(command.hash.digest if command.hash else b"") <= 32
    return room and max(enumerations) <= 255 and all(len(entry.data) <= 64 for entry in command.boot_validation)


def test_sd_req_need_not_be_packed():
    init = varint_field(3, 0x100) + varint_field(3, 0x101)
    assert decode(unsigned_packet(init)).command.sd_req == (0x100, 0x101)


@pytest.mark.parametrize(("packet", "reason"), [
    (b"", "either a command or a signed command"),
    (unsigned_packet(INIT) + signed_packet(INIT, b""), "either a command or a signed command"),
    (unsigned_packet(INIT) + b"\0", "the packet ends within a number"),
    (unsigned_packet(INIT) + b"\0\0", "field 0 with wire type 0 does not belong in the packet"),
    (unsigned_packet(INIT)[:-1], "truncated in field 1 of the packet"),
    (unsigned_packet(INIT) * 2, "field 1 stands twice in the packet"),
    (bytes_field(1, b""), "must hold an init command"),
    (bytes_field(1, bytes_field(2, INIT) + varint_field(1, 1)), "with the op code (if any) before it"),
    (unsigned_packet(INIT, op_code=0), "op code 0 is not INIT"),
    (bytes_field(2, bytes_field(1, encode_command(INIT)) + varint_field(2, 0)), "the signed command has no signature"),
    (bytes_field(2, varint_field(2, 0) + bytes_field(3, b"")), "the signed command has no command"),
    (unsigned_packet(varint_field(11, 1)), "field 11 with wire type 0 does not belong in the init command"),
    (unsigned_packet(bytes_field(1, b"1")), "field 1 with wire type 2 does not belong in the init command"),
    (unsigned_packet(varint_field(1, 1 << 32)), "a number in the init command has more than 32 bits"),
    (unsigned_packet(b"\x08" + b"\xff" * 9 + b"\x01"), "a number in the init command has more than 32 bits"),
    (unsigned_packet(b"\x0d1234"), "field 1 of the init command has wire type 5"),
    (unsigned_packet(bytes_field(8, varint_field(1, 3))), "the hash needs a type and bytes"),
    (unsigned_packet(varint_field(9, 2)), "is_debug is 2"),
    (unsigned_packet(encode_init_command(replace(COMMAND, sd_req=(1,) * 17))), "17 entries in sd_req"),
    (unsigned_packet(encode_init_command(replace(COMMAND, boot_validation=(BootValidation(type=0),) * 4))), "4 boot validations"),
])  # fmt: skip
def test_the_strict_decoder_names_what_is_wrong(packet, reason):
    with pytest.raises(ConfigError) as error:
        decode(packet)
    assert reason in str(error.value)
