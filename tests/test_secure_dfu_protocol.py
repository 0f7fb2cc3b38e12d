"""The request handler of the virtual Secure DFU bootloader, byte by byte.

Numbers in docstrings are those of the observations on nRF5 SDK 17.0.2 that the bootloader is modelled on.
"""

from __future__ import annotations

import asyncio
import struct
import zlib

import pytest

from rig.virtual.secure_dfu.ble import CONTROL_POINT
from tests.instant_dfu_cpu import BANK0, Board, image, on_virtual_time
from tests.instant_dfu_host import Host, Update, enter_dfu, init_for, live, packet_for, settle_down

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


def test_settings_are_written_in_commands_of_20_bytes():
    """2: 896 bytes are 44 commands of 20 and one of 16; at boot one command does it.  A packet is one operation."""

    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW))) == "600401"
        await host.settle()
        page = [(SETTINGS + 20 * n, 20) for n in range(44)] + [(SETTINGS + 880, 16)]
        assert host.life.board.commands == page + [(address - SETTINGS + BACKUP, length) for address, length in page]
        host.life.board.commands.clear()
        await host.ask("0602", "010200100000")
        await host.packets(NEW[:244])
        assert host.life.board.commands == [(BANK1, 244)]

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
        assert await host.ask("03", "04", "0609", "03", "04", "010500000000", "03") == [
            "600301" + NOTHING, "600405", "600605", "600305", "600405", "600105", "600305",
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


# ------------------------------------------------------------------------------------------------------ other requests
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
