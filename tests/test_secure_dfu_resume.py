"""Where the virtual Secure DFU bootloader goes on after an interruption, and what a host sees meanwhile.

Numbers in docstrings are those of the observations on power cuts of nRF5 SDK 17.0.2.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from dataclasses import replace

import pytest

from rig.virtual.secure_dfu import Defect, default_config
from rig.virtual.secure_dfu.ble import CONTROL_POINT, PACKET
from tests.instant_dfu_cpu import BANK0, Board, image, on_virtual_time
from tests.instant_dfu_host import enter_dfu, init_for, live, packet_for, settle_down

OLD, NEW = image(6_000, 1), image(10_000, 2)
APP = f"app 0x{BANK0:x}"
SETTINGS, BACKUP = 0xFF000, 0xFE000


async def init_only(host) -> None:
    assert await host.send_init(packet_for(init_for(NEW))) == "600401"
    await host.settle()


def received(offset: int, data: bytes) -> str:
    return struct.pack("<II", offset, zlib.crc32(data)).hex()


NOTHING = "00" * 8


@pytest.mark.parametrize("save_progress", [False, True])
@pytest.mark.parametrize("interruption", ["power", "reset", "disconnect"])
def test_what_is_offered_after_an_interruption(save_progress, interruption):
    """4: the init always; of the firmware nothing, or with SAVE_PROGRESS the last executed object; the execute answers 01."""
    config = replace(default_config("nrf52840"), save_progress=save_progress)
    packet = packet_for(init_for(NEW))
    offered = received(4096, NEW[:4096]) if save_progress else NOTHING

    async def half(host):
        assert await host.send_init(packet) == "600401"
        await host.ask("0602", "010200100000")
        await host.packets(NEW[:4096])
        assert await host.ask("04") == ["600401"]
        await host.settle()
        await host.ask("010200100000")
        await host.packets(NEW[4096:5000])
        await host.settle()
        if interruption == "disconnect":
            host.radio.drop()
            host.radio.connect()
            await the_rest(host)
        elif interruption == "reset":
            await asyncio.sleep(121)

    async def the_rest(host):
        assert await host.ask("0601", "04", "0602") == [
            "60060100020000" + received(len(packet), packet), "600401", "60060100100000" + offered,
        ]  # fmt: skip
        if save_progress:
            assert await host.ask("04", "010200100000") == ["600401", "600101"]
            await host.packets(NEW[4096:8192])
            assert await host.ask("03", "04", "010210070000") == ["600301" + received(8192, NEW[:8192]), "600401", "600101"]
            await host.packets(NEW[8192:])
            assert await host.ask("04") == ["600401"]
        else:
            assert (await host.send_objects(NEW))[-1] == "600401"
        await asyncio.sleep(1)

    async def story():
        board = enter_dfu(Board(application=OLD, config=config))
        if interruption == "disconnect":
            assert await live(board, half) == "reset"
        else:
            assert await live(board, half) == ("reset" if interruption == "reset" else "dfu")
            assert await live(board.copy()) == APP
            assert await live(enter_dfu(board), the_rest) == "reset"
        assert await settle_down(board) == ["reset", APP]
        assert board.flash[BANK0 : BANK0 + len(NEW)] == NEW

    on_virtual_time(story())


def test_sdk_15_keeps_the_progress_over_a_disconnect():
    config = replace(default_config("nrf52840"), sdk=15)

    async def script(host):
        assert await host.send_init(packet_for(init_for(NEW))) == "600401"
        await host.ask("0602", "010200100000")
        await host.packets(NEW[:1000])
        host.radio.drop()
        host.radio.connect()
        assert await host.ask("0602") == ["60060100100000" + received(976 + 24, NEW[:1000])]
        await host.packets(NEW[1000:4096])
        assert await host.ask("04") == ["600401"]

    on_virtual_time(live(enter_dfu(Board(application=OLD, config=config)), script))


@pytest.mark.parametrize("executed", [False, True])
def test_a_second_init_that_does_not_make_it_wipes_ram_only(executed):
    """5: after a disconnect the old init is shown but must be executed again; after a reset it is valid at once."""
    first, second = packet_for(init_for(NEW)), packet_for(init_for(NEW, hw_version=51))
    shown = "60060100020000" + received(len(first), first)

    async def script(host):
        await init_only(host)
        if executed:
            assert await host.send_init(second) == "60040b06"
        else:
            await host.ask("010110000000")
        assert await host.ask("0601", "010200100000") == ["60060100020000" + NOTHING, "600108"]
        host.radio.drop()
        host.radio.connect()
        assert await host.ask("0601", "010200100000", "0601", "04", "010200100000") == [
            shown, "600108", shown, "600401", "600101",
        ]  # fmt: skip
        await host.ask("010110000000")

    async def after_reset(host):
        assert await host.ask("0601", "010200100000") == [shown, "600101"]

    async def story():
        board = enter_dfu(Board(application=OLD))
        await live(board, script)
        await live(enter_dfu(board), after_reset)

    on_virtual_time(story())


@pytest.mark.parametrize(("defects", "offset", "create"), [
    (frozenset(), "00000000", "08"), (frozenset({Defect.STORED_INIT_NOT_VERIFIED}), None, "01"),
])  # fmt: skip
def test_a_stored_init_packet_is_verified_again_after_a_reset(defects, offset, create):
    """5, where the SDK trusts its settings pages, as the defect does; here a packet that somebody has changed there is forgotten."""
    config = replace(default_config("nrf52840"), defects=defects)

    async def look(host):
        shown, _, created = await host.ask("0601", "0602", "010200100000")
        assert created == "6001" + create
        if offset is not None:
            assert shown[14:22] == offset

    async def story():
        board = enter_dfu(Board(application=OLD, config=config))
        await live(board, init_only)
        for page in (SETTINGS, BACKUP):  # the last byte of the signature
            at = page + 0x5C + board.settings.command_size - 1
            board.flash[at] ^= 1
        await live(enter_dfu(board), look)

    on_virtual_time(story())


def test_a_disconnect_while_the_init_is_being_written():
    """6: select shows the flash as it is, yet data create is accepted; after the next power cycle the init is there."""
    packet = packet_for(init_for(NEW))

    async def script(host):
        await host.ask("0601")
        await host.request(struct.pack("<BBI", 1, 1, len(packet)))
        await host.packets(packet)
        host.life.hold()
        assert await host.ask("04") == ["600401"]
        host.radio.drop()
        host.radio.connect()
        assert await host.ask("0601") == ["60060100020000" + NOTHING]
        host.life.release()
        await host.settle()
        assert await host.ask("0601", "010200100000") == ["60060100020000" + NOTHING, "600101"]

    async def look(host):
        assert await host.ask("0601") == ["60060100020000" + received(len(packet), packet)]

    async def story():
        board = enter_dfu(Board(application=OLD))
        await live(board, script)
        await live(enter_dfu(board), look)

    on_virtual_time(story())


def test_a_data_execute_waits_for_the_flash_and_others_do_not():
    """Other requests are served while the execute of a data object waits."""

    async def script(host):
        await init_only(host)
        await host.ask("0602", "010200100000")
        await host.packets(NEW[:4000])
        host.life.hold()
        host.radio.write(PACKET, NEW[4000:4096])
        host.radio.write(CONTROL_POINT, b"\x04")
        assert await host.ask("03") == ["600301" + received(4096, NEW[:4096])]
        host.life.release()
        assert (await host.reply()).hex() == "600401"

    assert on_virtual_time(live(enter_dfu(Board(application=OLD)), script)) == "dfu"
