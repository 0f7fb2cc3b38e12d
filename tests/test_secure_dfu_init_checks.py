"""How the virtual Secure DFU bootloader judges init packets.

Numbers in docstrings are those of the observations on nRF5 SDK 17.0.2 that the bootloader is modelled on.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from dataclasses import replace

import pytest

from rig.formats import init_packet
from rig.formats.init_packet import BootValidation, FirmwareHash, bytes_field, varint_field
from rig.virtual.secure_dfu import default_config
from tests.instant_dfu_cpu import Board, image, on_virtual_time
from tests.instant_dfu_host import FOREIGN_KEY, KEY, enter_dfu, init_for, live, packet_for

NEW = image(10_000, 2)
BANK1 = 0x2A000
NOTHING = "00" * 8


def play(script, *, board=None, config=None):
    """Run `script` against a board in DFU mode; how the life ended."""
    return on_virtual_time(live(board or enter_dfu(Board(application=image(10_240, 1), config=config)), script))


def received(offset: int, data: bytes) -> str:
    return struct.pack("<II", offset, zlib.crc32(data)).hex()


PACKET_OF_NEW = packet_for(init_for(NEW))
def signed(command: bytes, **parts) -> bytes:
    """A signed packet around serialised init bytes."""
    return init_packet.signed_packet(command, init_packet.sign(command, KEY), **parts)


INIT = init_packet.encode_init_command(init_for(NEW))
UNSIGNED = init_packet.unsigned_packet(INIT)
SHORT_HASH = FirmwareHash(type=3, digest=bytes(31))

REFUSALS = {
    "undecodable": (b"\x12\x7f", "05"),
    "empty message": (b"\x00", "05"),
    "both commands": (UNSIGNED + PACKET_OF_NEW, "05"),
    "no signature field": (bytes_field(2, bytes_field(1, init_packet.encode_command(INIT)) + varint_field(2, 0)), "05"),
    "two inits": (bytes_field(1, bytes_field(2, INIT) * 2), "05"),
    "signature above 64 bytes": (init_packet.signed_packet(INIT, bytes(65)), "05"),
    "hash above 32 bytes": (packet_for(init_for(NEW, hash=FirmwareHash(type=3, digest=bytes(33)))), "05"),
    "unsigned": (UNSIGNED, "0b08"),
    "signature type": (init_packet.signed_packet(INIT, bytes(10), signature_type=1), "0b0b"),
    "signature of 63 bytes": (init_packet.signed_packet(INIT, bytes(63)), "0a"),
    "foreign key": (packet_for(init_for(NEW), key=FOREIGN_KEY), "05"),
    "op code behind the init": (
        bytes_field(2, bytes_field(1, bytes_field(2, INIT) + varint_field(1, 1)) + varint_field(2, 0)
                    + bytes_field(3, init_packet.sign(INIT, KEY))), "05"),
    "type missing": (packet_for(init_for(NEW, type=None)), "0b04"),
    "type unknown": (packet_for(init_for(NEW, type=7)), "0b04"),
    "external application": (packet_for(init_for(NEW, type=4)), "0b04"),
    "hash missing": (packet_for(init_for(NEW, hash=None)), "0b09"),
    "hash type": (packet_for(init_for(NEW, hash=FirmwareHash(type=2, digest=bytes(32)))), "0b09"),
    "hardware version missing": (packet_for(init_for(NEW, hw_version=None)), "0b04"),
    "hardware version": (packet_for(init_for(NEW, hw_version=51)), "0b06"),
    "SoftDevice": (packet_for(init_for(NEW, sd_req=(0x101, 0xFFFE))), "0b07"),
    "no SoftDevice listed": (packet_for(init_for(NEW, sd_req=())), "0b07"),
    "none or this SoftDevice": (packet_for(init_for(NEW, sd_req=(0, 0x100))), "0b07"),
    "version missing": (packet_for(init_for(NEW, fw_version=None)), "0b04"),
    "lower version": (packet_for(init_for(NEW, fw_version=0)), "0b05"),
    "no size": (packet_for(init_for(NEW, app_size=None)), "0b04"),
    "size 0": (packet_for(init_for(NEW, app_size=0)), "0b04"),
    "no space": (packet_for(init_for(NEW, app_size=843_777)), "04"),
    "bootloader too large": (packet_for(init_for(NEW, type=2, app_size=None, bl_size=0x6001)), "04"),
}  # fmt: skip
UNDECODABLE = {name for name in REFUSALS if REFUSALS[name][1] == "05"} - {"foreign key", "op code behind the init"}


@pytest.mark.parametrize("name", REFUSALS)
def test_init_checks(name):
    """12 and 13: the result of each check, and what is left of the object after it."""
    packet, result = REFUSALS[name]

    async def script(host):
        assert await host.send_init(packet) == "6004" + result
        left = received(len(packet), packet) if name in UNDECODABLE else NOTHING
        assert await host.ask("0601") == ["60060100020000" + left]
        await host.settle()
        assert host.life.board.operations == []

    play(script)


STAIRS = [
    ({"type": 7, "hash": None, "hw_version": None, "sd_req": (), "fw_version": 0, "app_size": None}, "0b04"),
    ({"hash": None, "hw_version": None, "sd_req": (), "fw_version": 0, "app_size": None}, "0b09"),
    ({"hw_version": 51, "sd_req": (), "fw_version": 0, "app_size": None}, "0b06"),
    ({"sd_req": (), "fw_version": 0, "app_size": None}, "0b07"),
    ({"fw_version": 0, "app_size": None}, "0b05"),
    ({"app_size": None}, "0b04"),
]


@pytest.mark.parametrize(("wrong", "result"), STAIRS)
def test_init_checks_come_in_order(wrong, result):
    """12: a packet with several mistakes is refused for the first; a foreign signature hides them all."""

    async def script(host):
        command = init_for(NEW, **wrong)
        assert await host.send_init(packet_for(command)) == "6004" + result
        assert await host.send_init(packet_for(command, key=FOREIGN_KEY)) == "600405"

    play(script)


def test_an_incomplete_init_is_not_executed():
    """12."""

    async def script(host):
        await host.ask("010164000000")
        await host.packets(PACKET_OF_NEW[:99])
        assert await host.ask("04", "03") == ["600408", "600301" + received(99, PACKET_OF_NEW[:99])]

    play(script)


ACCEPTED = {
    "op code value": signed(INIT, op_code=0),
    "no op code": signed(INIT, op_code=None),
    "trailing zero": PACKET_OF_NEW + b"\0",
    "unknown field": signed(INIT + bytes_field(15, b"whatever")),
    "signature before command": bytes_field(2, bytes_field(3, init_packet.sign(INIT, KEY)) + varint_field(2, 0)
                                            + bytes_field(1, init_packet.encode_command(INIT))),
    "unpacked sd_req": signed(init_packet.encode_init_command(init_for(NEW, sd_req=())) + varint_field(3, 0x100)),
    "short hash": packet_for(init_for(NEW, hash=SHORT_HASH)),
    "application without SoftDevice": packet_for(init_for(NEW, sd_req=(0,))),
    "equal version": packet_for(init_for(NEW, fw_version=1)),
    "debug flag": packet_for(init_for(NEW, is_debug=True)),
    "SoftDevice among others": packet_for(init_for(NEW, sd_req=(0x99, 0x100))),
    "largest size": packet_for(init_for(NEW, app_size=843_776)),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_not_checked(name):
    """14 and 15; the application that needs no SoftDevice is placed above it all the same."""

    async def script(host):
        assert await host.send_init(ACCEPTED[name]) == "600401"
        await host.settle()
        if name == "application without SoftDevice":
            host.life.board.log.clear()
            await host.ask("0602", "010200100000")
            assert ("E", BANK1) in host.life.board.log

    play(script)


def test_the_signed_bytes_end_with_the_command():
    """14: a field behind the init is decoded as part of it, when it is signed with it."""
    with_tail = INIT + varint_field(1, 9)
    command = bytes_field(2, INIT) + varint_field(1, 9)
    packet = bytes_field(2, bytes_field(1, command) + varint_field(2, 0) + bytes_field(3, init_packet.sign(with_tail, KEY)))

    async def script(host):
        assert await host.send_init(packet) == "600401"

    play(script)


def test_a_short_hash_fails_at_the_end():
    """14."""

    async def script(host):
        firmware = NEW[:4096]
        assert await host.send_init(packet_for(init_for(firmware, hash=replace(init_packet.firmware_hash(firmware), digest=bytes(31))))) == "600401"
        assert (await host.send_objects(firmware))[-1] == "60040b0c"
        await asyncio.sleep(1)

    assert play(script) == "reset"


@pytest.mark.parametrize(("change", "packet", "reply"), [
    ({"require_signed_app": False}, "unsigned", "01"),
    ({"require_signed_app": False}, "foreign key", "01"),
    ({"require_signed_app": False}, "signature of 63 bytes", "01"),
    ({"downgrade_prevention": False}, "lower version", "01"),
    ({"downgrade_prevention": False}, "none or this SoftDevice", "01"),
    ({"downgrade_prevention": False}, "version missing", "01"),
    ({"hw_version": 51}, "hardware version", "01"),
])  # fmt: skip
def test_options_of_the_build(change, packet, reply):
    """14, and the consequences of the configuration."""

    async def script(host):
        assert await host.send_init(REFUSALS[packet][0]) == "6004" + reply

    play(script, config=replace(default_config("nrf52840"), **change))


def test_policy_without_equal_versions():
    async def script(host):
        assert await host.send_init(ACCEPTED["equal version"]) == "60040b05"
        assert await host.send_init(packet_for(init_for(NEW, fw_version=2))) == "600401"

    play(script, config=replace(default_config("nrf52840"), accept_same_version=False))


def test_bootloaders_must_be_newer_and_signed():
    """Confirmed: strictly higher version, whatever the policy for applications."""
    config = replace(default_config("nrf52840"), downgrade_prevention=False, require_signed_app=False)
    loader = {"type": 2, "app_size": None, "bl_size": 4096}

    async def script(host):
        command = init_for(NEW, **loader, fw_version=0)
        assert await host.send_init(packet_for(command)) == "60040b05"
        newer = replace(command, fw_version=1)
        assert await host.send_init(init_packet.unsigned_packet(init_packet.encode_init_command(newer))) == "60040b08"
        assert await host.send_init(packet_for(newer, key=FOREIGN_KEY)) == "600405"
        assert await host.send_init(packet_for(newer)) == "600401"

    play(script, config=config)


@pytest.mark.parametrize(("sd_req", "version", "reply"), [((), 2, "01"), ((0,), 2, "01"), ((0x100,), 2, "0b07"), ((), None, "0b07")])
def test_without_a_softdevice_none_may_be_required(sd_req, version, reply):
    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW, sd_req=sd_req, fw_version=version))) == "6004" + reply

    play(script, board=enter_dfu(Board(application=image(4096, 1), softdevice=None)))


def test_boot_validation_entries_are_limited_to_three():
    entries = tuple(BootValidation(type=1) for _ in range(4))

    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW, boot_validation=entries))) == "600405"
        assert await host.send_init(packet_for(init_for(NEW, boot_validation=entries[:3]))) == "600401"

    play(script)
