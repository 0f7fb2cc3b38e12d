"""The request handler of the virtual Secure DFU bootloader, byte by byte.

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
from rig.virtual.secure_dfu.ble import CONTROL_POINT, PACKET
from tests.instant_dfu_cpu import (
    BANK0,
    FOREIGN_KEY,
    KEY,
    Board,
    Host,
    Update,
    enter_dfu,
    image,
    init_for,
    live,
    on_virtual_time,
    packet_for,
    settle_down,
)

NEW = image(10_000, 2)
SETTINGS, BACKUP = 0xFF000, 0xFE000
BANK1 = 0x2A000


def play(script, *, board=None, config=None):
    """Run `script` against a board in DFU mode; the board and how the life ended."""
    board = board or enter_dfu(Board(application=image(10_240, 1), config=config))
    return board, on_virtual_time(live(board, script))


async def prepare(host: Host, firmware: bytes = NEW) -> None:
    """Execute an init packet and let it reach the flash."""
    assert await host.send_init(packet_for(init_for(firmware))) == "600401"
    await host.settle()
    host.life.board.log.clear()
    host.life.board.commands.clear()


def received(offset: int, data: bytes) -> str:
    return struct.pack("<II", offset, zlib.crc32(data)).hex()


NOTHING = "00" * 8


# --------------------------------------------------------------------------------------------------- replies and flash
def test_replies_come_where_the_radio_gets_them():
    """1: erase started, reply, rest for data create and init execute; reply before everything for the final execute."""
    firmware = NEW[:4096]

    async def script(host):
        await host.ask("0601")
        packet = packet_for(init_for(firmware))
        await host.request(struct.pack("<BBI", 1, 1, len(packet)))
        await host.packets(packet)
        host.life.board.log.clear()
        await host.ask("04")
        await host.settle()
        assert [entry[0] for entry in host.life.board.compact_log()] == ["E", "R", "W", "E", "W"]
        assert [entry[1] for entry in host.life.board.log if entry[0] == "E"] == [SETTINGS, BACKUP]
        host.life.board.log.clear()
        await host.ask("0602", "010200100000")
        await host.settle()
        assert host.life.board.log[1:] == [("E", BANK1), ("R", bytes.fromhex("600101"))]
        await host.packets(firmware)
        host.life.board.log.clear()
        assert await host.ask("04") == ["600401"]
        await asyncio.sleep(1)

    board, outcome = play(script)
    assert outcome == "reset"
    assert [entry[0] for entry in board.compact_log()] == ["R", "E", "W", "E", "W", "disconnect", "reset"]


def test_writes_are_cut_into_commands_of_20_bytes():
    """2: 896 bytes are 44 commands of 20 and one of 16; 244 bytes are 12 of 20 and one of 4; at boot one command does it."""

    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW))) == "600401"
        await host.settle()
        page = [(SETTINGS + 20 * n, 20) for n in range(44)] + [(SETTINGS + 880, 16)]
        assert host.life.board.commands == page + [(address - SETTINGS + BACKUP, length) for address, length in page]
        host.life.board.commands.clear()
        await host.ask("0602", "010200100000")
        await host.packets(NEW[:244])
        assert host.life.board.commands == [(BANK1 + 20 * n, 20) for n in range(12)] + [(BANK1 + 240, 4)]

    board, _ = play(script)
    board.poke(BACKUP, b"\0" * 64)
    board.commands.clear()
    on_virtual_time(live(board))
    assert board.commands == [(BACKUP, 896)]


def test_a_page_that_would_not_change_is_left_alone():
    """2: executing a stored init packet again writes nothing."""

    async def script(host):
        await prepare(host)
        assert await host.ask("0601", "04") == ["60060100020000" + received(len(PACKET_OF_NEW), PACKET_OF_NEW), "600401"]
        await host.settle()
        assert host.life.board.operations == []

    play(script)


PACKET_OF_NEW = packet_for(init_for(NEW))


# ------------------------------------------------------------------------------------------------------ current object
def test_the_current_object_is_set_by_select_and_create_even_when_they_fail():
    """3."""

    async def script(host):
        assert await host.ask("03", "0609", "03", "04", "010500000000", "03") == [
            "600301" + NOTHING, "600605", "600305", "600405", "600105", "600305",
        ]  # fmt: skip
        await host.ask("01010a000000")
        await host.packets(b"abc")
        assert await host.ask("03", "010200100000", "03", "0601") == [
            "600301" + received(3, b"abc"), "600108", "600301" + NOTHING, "60060100020000" + received(3, b"abc"),
        ]  # fmt: skip

    play(script)


def test_executing_twice_is_harmless():
    """4: also a data execute straight after the init execute."""

    async def script(host):
        await prepare(host)
        assert await host.ask("0602", "04") == ["60060100100000" + NOTHING, "600401"]
        await host.ask("010200100000")
        await host.packets(NEW[:4096])
        assert await host.ask("04", "04", "0602", "04") == [
            "600401", "600401", "60060100100000" + received(4096, NEW[:4096]), "600401",
        ]  # fmt: skip
        await host.ask("010200100000")
        await host.packets(NEW[4096:4340])
        assert await host.ask("04") == ["600408"]

    play(script)


@pytest.mark.parametrize("rejected_first", [False, True])
def test_a_data_execute_without_valid_init_runs_the_final_check_and_resets(rejected_first):
    """5."""

    async def script(host):
        if rejected_first:
            assert await host.send_init(packet_for(init_for(NEW, hw_version=51))) == "60040b06"
        assert await host.ask("0602", "04") == ["60060100100000" + NOTHING, "60040b0c"]
        await asyncio.sleep(1)

    board, outcome = play(script)
    assert outcome == "reset"
    assert on_virtual_time(settle_down(board)) == [f"app 0x{BANK0:x}"]


def test_a_final_check_on_nothing_believes_the_hash_of_nothing():
    """5 and 22: the packet that was rejected last counts, so the application's record is lost to whoever can reach the device."""

    async def script(host):
        assert await host.send_init(packet_for(init_for(b"", app_size=4, hw_version=51))) == "60040b06"
        assert await host.ask("0602", "04") == ["60060100100000" + NOTHING, "600401"]
        await asyncio.sleep(1)

    board, _ = play(script)
    assert on_virtual_time(settle_down(board)) == ["reset", f"app 0x{BANK0:x}"]
    assert board.settings.bank0.size == 0


# -------------------------------------------------------------------------------------------------- packets and receipts
def test_errors_of_packets_show_only_in_a_receipt_that_is_due():
    """6."""

    async def script(host):
        host.radio.write(PACKET, b"early")
        assert await host.silence()
        await host.ask("020100", "0602")
        host.radio.write(PACKET, b"early")
        assert (await host.reply()).hex() == "600308"
        await host.ask("020000")
        await prepare(host)
        await host.ask("0602", "010200100000")
        await host.packets(NEW[:4096])
        host.radio.write(PACKET, b"more")
        assert await host.silence()
        assert await host.ask("03", "020100") == ["600301" + received(4096, NEW[:4096]), "600201"]
        host.radio.write(PACKET, b"more")
        assert (await host.reply()).hex() == "600303"
        assert await host.ask("03") == ["600301" + received(4096, NEW[:4096])]

    play(script)


def test_receipts_count_all_packets_and_begin_anew_at_every_create():
    """7: also at a failing create, and at a new setting; command packets count."""

    async def script(host):
        assert await host.ask("020300", "01010a000000") == ["600201", "600101"]
        await host.packets(b"ab", size=1)
        assert await host.ask("010200100000", "0601") == ["600108", "60060100020000" + received(2, b"ab")]
        await host.packets(b"cd", size=1)
        host.radio.write(PACKET, b"e")
        assert (await host.reply()).hex() == "600301" + received(5, b"abcde")
        await host.packets(b"f")
        await host.ask("020200")
        await host.packets(b"g")
        host.radio.write(PACKET, b"h")
        assert (await host.reply()).hex() == "600301" + received(8, b"abcdefgh")
        host.radio.drop()
        host.radio.connect()
        await prepare(host)
        await host.ask("0602", "010200100000")
        await host.packets(NEW[:4])
        host.radio.write(PACKET, NEW[4:8])
        assert (await host.reply()).hex() == "600301" + received(8, NEW[:8])

    async def script_without_receipts(host):
        await host.ask("01010a000000")
        host.radio.write(PACKET, b"ab")
        assert await host.silence()

    board, _ = play(script_without_receipts)
    play(script, board=enter_dfu(board))


def test_the_flash_queue_holds_fifteen_packets_behind_an_erase():
    """8: the receipt of a dropped packet says offset 0 and CRC 0; creating into a full queue has already rewound the offset."""

    async def script(host):
        await prepare(host)
        await host.ask("020100", "0602")
        host.life.hold()
        assert await host.ask("010200100000") == ["600101"]
        for number in range(17):
            host.radio.write(PACKET, NEW[244 * number : 244 * (number + 1)])
            end = 244 * (number + 1)
            expected = received(end, NEW[:end]) if number < 15 else NOTHING
            assert (await host.reply()).hex() == "600301" + expected
        assert await host.ask("03", "010200100000", "03") == [
            "600301" + received(3660, NEW[:3660]), "600105", "600301" + NOTHING,
        ]  # fmt: skip
        host.life.release()
        await host.settle()
        assert await host.ask("010200100000") == ["600101"]

    play(script)


def test_a_command_execute_into_a_full_queue_fails_but_counts():
    """8 and power cuts, 6: answer 0A, although the init stays accepted in RAM."""

    async def script(host):
        await prepare(host)
        await host.ask("0602")
        host.life.hold()
        await host.ask("010200100000")
        for number in range(15):
            host.radio.write(PACKET, NEW[244 * number : 244 * (number + 1)])
        await host.settle()
        assert await host.send_init(packet_for(init_for(NEW, fw_version=3))) == "60040a"
        host.life.release()
        await host.settle()
        assert await host.ask("0602", "010200100000") == ["60060100100000" + NOTHING, "600101"]

    play(script)


@pytest.mark.parametrize("size", range(10_224, 10_233))
def test_an_odd_last_packet_loses_its_end(size):
    """9: with 244-byte packets the rest of 1 to 3 bytes beyond whole commands arrives, that of 5 to 7 does not."""
    firmware = image(size, 9)

    async def script(host):
        await prepare(host, firmware)
        replies = await host.send_objects(firmware)
        assert replies[-1] == ("60040b0c" if size in {10_229, 10_230, 10_231} else "600401")
        await asyncio.sleep(1)

    board, _ = play(script)
    outcomes = on_virtual_time(settle_down(board))
    assert outcomes[-1] == f"app 0x{BANK0:x}"
    assert (board.settings.bank0.size == size) == (size not in {10_229, 10_230, 10_231})


def test_after_an_odd_packet_the_rest_of_the_object_is_refused():
    """9: offset and CRC go on as if nothing had happened; the flash has what fitted, and what stood in the buffer before."""

    async def script(host):
        await prepare(host)
        await host.ask("0602", "010200100000")
        await host.packets(b"ABCDEFGH")
        await host.packets(b"x")
        assert host.life.board.commands[-1] == (BANK1 + 8, 4)
        assert host.life.board.flash[BANK1 : BANK1 + 16] == b"ABCDEFGHxBCD" + b"\xff" * 4
        assert await host.ask("03", "020100") == ["600301" + received(9, b"ABCDEFGHx"), "600201"]
        host.radio.write(PACKET, b"1234")
        assert (await host.reply()).hex() == "600301" + NOTHING
        assert await host.ask("03") == ["600301" + received(9, b"ABCDEFGHx")]
        await host.ask("020000", "010200100000")
        await host.packets(NEW[:30], size=30)  # one command of 20 bytes, one of 10: two words and two lost bytes
        assert host.life.board.commands[-2:] == [(BANK1, 20), (BANK1 + 20, 8)]

    play(script)


def test_refused_packets_never_give_their_buffer_back():
    """The pool has 17 buffers; a packet that finds none leaves no trace, not even in the receipt counter."""

    async def script(host):
        await host.ask("0602", "020100")
        for _ in range(17):
            host.radio.write(PACKET, b"nobody asked")
            assert (await host.reply()).hex() == "600308"
        host.radio.write(PACKET, b"nobody asked")
        assert await host.silence()

    play(script)


# ------------------------------------------------------------------------------------------------------ creating objects
@pytest.mark.parametrize(
    ("firmware_size", "size", "result"),
    [(10_000, 0, 3), (10_000, 4097, 3), (10_000, 100, 3), (10_000, 8192, 4), (10_000, 0xFFFFF000, 4), (10_000, 0xFFFFFFFF, 3),
     (3072, 4096, 8), (3072, 3072, 1), (10_000, 4096, 1)],
)  # fmt: skip
def test_data_create_checks_in_this_order(firmware_size, size, result):
    """10."""

    async def script(host):
        await prepare(host, NEW[:firmware_size])
        assert (await host.request(struct.pack("<BBI", 1, 2, size))).hex() == f"6001{result:02x}"

    play(script)


def test_data_create_needs_a_valid_init_before_anything_else():
    """10."""

    async def script(host):
        assert await host.ask("010200000000", "010200200000") == ["600108", "600108"]

    play(script)


def test_a_failing_command_create_keeps_what_there_was():
    """11: sizes 0 and above 512 are refused; an accepted create wipes the progress in RAM and leaves the init in flash."""

    async def script(host):
        await prepare(host)
        stored = received(len(PACKET_OF_NEW), PACKET_OF_NEW)
        assert await host.ask("010100000000", "010101020000", "03") == ["600103", "600104", "600301" + stored]
        assert await host.ask("010100020000", "03", "010200100000") == ["600101", "600301" + NOTHING, "600108"]
        assert host.life.board.operations == []
        host.radio.drop()
        host.radio.connect()
        assert await host.ask("0601") == ["60060100020000" + stored]

    play(script)


@pytest.mark.parametrize(("request_", "reply", "restarts"), [
    ("010100000000", "600103", True), ("010101020000", "600104", True), ("01010a000000", "600101", True),
    ("03", "600301" + NOTHING, False), ("0602", "60060100100000" + NOTHING, False), ("010200100000", "600108", False),
])  # fmt: skip
def test_only_command_creates_and_data_executes_restart_the_timer(request_, reply, restarts):
    """11 and 16: after 120 s without either the device resets, without a goodbye, into its application."""

    async def script(host):
        await asyncio.sleep(100)
        assert await host.ask(request_) == [reply]
        await asyncio.sleep(100)

    board, outcome = play(script)
    assert outcome == ("dfu" if restarts else "reset")
    if not restarts:
        assert ("disconnect",) not in board.log
        assert on_virtual_time(settle_down(board)) == [f"app 0x{BANK0:x}"]


def test_data_executes_restart_the_timer_and_packets_do_not():
    """16."""

    async def script(host):
        await prepare(host)
        await host.ask("0602", "010200100000")
        await asyncio.sleep(60)
        await host.packets(NEW[:4096])
        await asyncio.sleep(50)
        assert await host.ask("04") == ["600401"]
        await asyncio.sleep(110)
        await host.ask("03")
        await asyncio.sleep(20)

    assert play(script)[1] == "reset"


# ----------------------------------------------------------------------------------------------------------- init checks
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

    assert play(script)[1] == "reset"


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


# --------------------------------------------------------------------------------------------------------- the rest
def test_abort_disconnects_and_resets_without_a_reply():
    """16."""

    async def script(host):
        host.radio.write(CONTROL_POINT, b"\x0c")
        await asyncio.sleep(10)

    board, outcome = play(script)
    assert outcome == "reset"
    assert board.log == [("disconnect",), ("reset",)]
    assert on_virtual_time(settle_down(board)) == [f"app 0x{BANK0:x}"]


@pytest.mark.parametrize("opcode", ["00", "05", "07", "0901", "0a", "0b00", "0d", "60", "ff"])
def test_other_opcodes_are_not_supported(opcode):
    """20."""

    async def script(host):
        assert await host.ask(opcode) == [f"60{opcode[:2]}02"]

    play(script)


def test_opcode_08_on_the_control_point_is_an_empty_packet():
    """20: silent in command context; in data context the null pointer is a fault."""

    async def script(host):
        host.radio.write(CONTROL_POINT, b"\x08abc")
        assert await host.silence()
        await prepare(host)
        await host.ask("0602", "010200100000")
        host.radio.write(CONTROL_POINT, b"\x08abc")
        await asyncio.sleep(1)

    assert play(script)[1].startswith("fault")


def test_the_data_select_shows_the_start_address_after_an_update():
    """18: offset 0 and a CRC that is none, until the next command create."""
    update = Update()

    async def look(host):
        assert await host.ask("0602") == ["60060100100000" + "00000000" + "00a00200"]
        await host.ask("01010a000000")
        assert await host.ask("0602") == ["60060100100000" + NOTHING]

    async def story():
        board = update.board()
        await live(board, update.script)
        await settle_down(board)
        assert await live(enter_dfu(board), look) == "dfu"

    on_virtual_time(story())


def test_a_wrong_hash_is_found_at_the_end():
    """Power cuts, 7: 0B/0C, bank 1 cleared and progress reset in both pages, disconnect, reset, old application."""
    firmware = NEW[:4096]

    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW[1:4097]))) == "600401"
        assert (await host.send_objects(firmware)) == ["60040b0c"]
        await asyncio.sleep(1)

    board, outcome = play(script)
    assert outcome == "reset"
    assert [entry[0] for entry in board.compact_log()][-5:] == ["W", "E", "W", "disconnect", "reset"]
    assert board.settings.data == board.backup.data
    assert board.settings.bank1.code == board.settings.command_size == 0
    assert on_virtual_time(settle_down(board)) == [f"app 0x{BANK0:x}"]
