"""Packets, receipts and the flash queue behind them, on the virtual Secure DFU bootloader.

Numbers in docstrings are those of the observations on nRF5 SDK 17.0.2 that the bootloader is modelled on.
"""

from __future__ import annotations

import asyncio
import struct
import zlib

import pytest

from rig.virtual.secure_dfu.ble import PACKET
from tests.instant_dfu_cpu import BANK0, Board, image, on_virtual_time
from tests.instant_dfu_host import Host, enter_dfu, init_for, live, packet_for, settle_down

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
        assert host.life.board.commands[-1] == (BANK1, 28)
        await host.ask("020000", "010200100000")
        await host.packets(NEW[:42], size=42)  # two commands of 20 bytes, one of 2: a whole word
        assert host.life.board.commands[-1] == (BANK1, 44)

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
