"""What the virtual Secure DFU bootloader does with a received update: applications, SoftDevices, bootloaders.

Numbers in docstrings are those of the observations on nRF5 SDK 17.0.2 that the bootloader is modelled on.
"""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from dataclasses import replace

import pytest

from rig.formats import init_packet
from rig.formats.dfu_settings import (
    BankCode,
    Firmware,
)
from rig.formats.init_packet import BootValidation, FirmwareHash
from rig.virtual.secure_dfu import default_config
from tests.instant_dfu_cpu import BANK0, S140, Board, image, on_virtual_time
from tests.instant_dfu_host import KEY, Update, enter_dfu, init_for, live, packet_for, settle_down

OLD = image(10_240, 1)
APP = f"app 0x{BANK0:x}"
SETTINGS, BACKUP, BOOTLOADER, BANK1 = 0xFF000, 0xFE000, 0xF8000, 0x2A000


def boot(board: Board) -> str:
    return on_virtual_time(live(board))


def update_with(**options) -> Board:
    """A board after a complete update attempt, settled."""

    async def story():
        update = Update(**options)
        board = update.board()
        await live(board, update.script)
        board.log.clear()
        board.outcomes = await settle_down(board)
        return board

    return on_virtual_time(story())


# -------------------------------------------------------------------------------------------------------- activation
def test_a_complete_update_takes_two_resets():
    """19: bank layout and current bank are never written."""
    board = update_with()
    assert board.outcomes == ["reset", APP]
    new = Update().new
    assert board.flash[BANK0 : BANK0 + len(new)] == new
    assert (board.settings.bank0.size, board.settings.bank0.crc) == (len(new), zlib.crc32(new))
    assert board.settings.bank0.code == BankCode.APPLICATION
    assert board.settings.app_version == 2
    assert board.settings.bank_layout == board.settings.bank_current == board.settings.bank1.code == 0


PACKET = 244
"""Bytes: what is written in one go while an image is received."""


@pytest.mark.parametrize(("old_pages", "step"), [(1, 1), (3, 3), (8, 8), (12, 8)])
def test_the_copy_goes_in_steps(old_pages, step):
    """19: at most 8 pages, at most the distance between source and destination; the progress is stored after each step."""
    board = update_with(old=image(old_pages * 4096, 1), new=image(20 * 4096 - 100, 2))
    copies = [(address, length) for address, length in board.commands if address < BOOTLOADER and length > PACKET]
    sizes = [min(step * 4096, 20 * 4096 - 100 - at) for at in range(0, 20 * 4096 - 100, step * 4096)]
    assert [length for _, length in copies] == sizes
    writes = [entry for entry in board.compact_log() if entry[0] == "E" and entry[1] == BACKUP]
    assert len(writes) == len(sizes) + 1
    assert board.outcomes == ["reset", APP]


def test_a_word_more_is_copied_of_an_odd_image():
    """The last word of an image whose size is not a multiple of 4 is copied whole."""
    board = update_with(new=image(4097, 2))
    assert board.flash[BANK0 : BANK0 + 4097] == image(4097, 2)
    assert (BANK0, 4100) in board.commands


@pytest.mark.parametrize(("kind", "data"), [(0, b""), (1, b""), (2, b""), (3, None)])
def test_the_packet_says_how_the_application_is_checked_at_boot(kind, data):
    new = Update().new
    entry = BootValidation(type=kind, data=init_packet.sign(new, KEY) if data is None else data)
    board = update_with(command=init_for(new, boot_validation=(entry,)))
    assert board.outcomes == ["reset", APP]
    assert board.settings.validation(Firmware.APPLICATION).type == kind
    board.poke(BANK0, b"\0\0")
    assert boot(board) == (APP if kind == 0 else "dfu")


@pytest.mark.parametrize("entry", [BootValidation(type=9), BootValidation(type=3, data=init_packet.sign(b"other", KEY))])
def test_a_boot_validation_that_the_firmware_does_not_pass_refuses_it(entry):
    update = Update()

    async def script(host):
        assert await host.send_init(packet_for(init_for(update.new, boot_validation=(entry,)))) == "600401"
        assert (await host.send_objects(update.new))[-1] == "600405"
        await asyncio.sleep(1)

    async def story():
        board = update.board()
        assert await live(board, script) == "reset"
        assert await settle_down(board) == [APP]
        assert board.flash[BANK0 : BANK0 + len(OLD)] == OLD

    on_virtual_time(story())


def test_a_copy_with_a_wrong_crc_leaves_no_application():
    """A failed activation is finished like a good one: both banks invalid, DFU mode."""
    board = Update().board()
    on_virtual_time(live(board, Update().script))
    page = board.settings
    page.bank1.crc ^= 1
    page.seal()
    board.poke(SETTINGS, bytes(page.data))
    board.poke(BACKUP, bytes(page.data))
    assert on_virtual_time(settle_down(board)) == ["reset", "dfu"]
    assert board.settings.bank0.code == board.settings.bank1.code == BankCode.INVALID


def test_the_old_application_is_lost_at_the_init_execute_when_both_do_not_fit():
    """Power cuts, 3: with an old application of 3 pages, 831488 bytes fit above it and 831489 do not."""

    async def outcome(size):
        board = enter_dfu(Board(application=OLD))

        async def script(host):
            assert await host.send_init(packet_for(init_for(b"", app_size=size))) == "600401"
            await host.settle()

        assert await live(board, script) == "dfu"
        return board.settings.bank0.code, await live(board)

    assert on_virtual_time(outcome(831_488)) == (BankCode.APPLICATION, APP)
    assert on_virtual_time(outcome(831_489)) == (BankCode.INVALID, "dfu")


def test_force_dual_bank_refuses_instead():
    config = replace(default_config("nrf52840"), force_dual_bank=True)

    async def script(host):
        assert await host.send_init(packet_for(init_for(b"", app_size=831_489))) == "600404"
        assert await host.send_init(packet_for(init_for(b"", app_size=831_488))) == "600401"

    board = enter_dfu(Board(application=OLD, config=config))
    assert on_virtual_time(live(board, script)) == "dfu"
    without = Board(config=config)

    async def script_without(host):
        assert await host.send_init(packet_for(init_for(b"", app_size=843_776))) == "600401"

    assert on_virtual_time(live(without, script_without)) == "dfu"


def test_single_bank_receives_in_place_and_copies_nothing():
    """19: `bank_layout` stays 0 all the same."""
    board = update_with(config=replace(default_config("nrf52840"), single_bank=True))
    assert board.outcomes == ["reset", APP]
    assert board.flash[BANK0 : BANK0 + 5000] == Update().new
    assert [entry for entry in board.log if entry[0] == "E"] == [("E", SETTINGS), ("E", BACKUP)]
    assert board.settings.bank_layout == 0


# --------------------------------------------------------------------------------- SoftDevice and bootloader updates
def softdevice_image(info=S140, size=0x5000, seed=5) -> bytes:
    body = bytearray(image(size, seed))
    body[0x2000 : 0x2000 + len(info.encode())] = info.encode()
    return bytes(body)


def transfer(board, firmware, **command):
    """Send `firmware` with this init command; the reply to the last execute."""
    replies = []

    async def script(host):
        wanted = init_for(firmware, **{"app_size": None} | command)
        assert await host.send_init(packet_for(wanted)) == "600401"
        replies.extend(await host.send_objects(firmware))
        await asyncio.sleep(1)

    assert on_virtual_time(live(enter_dfu(board), script)) == "reset"
    return replies[-1]


def test_a_softdevice_update_waits_ten_seconds_for_an_application():
    """Power cuts, 8: with a valid application DFU mode for 10 s after the activation; after a power cut straight to the application."""
    firmware = softdevice_image()
    board = Board(application=OLD)
    assert transfer(board, firmware, type=1, sd_size=len(firmware), fw_version=None) == "600401"
    snapshot = board.copy()

    async def wait(_host):
        await asyncio.sleep(9.5)

    async def wait_longer(_host):
        await asyncio.sleep(10.5)

    assert on_virtual_time(live(board, wait)) == "dfu"
    assert board.flash[0x1000:0x6000] == firmware
    assert board.settings.softdevice_size == len(firmware)
    assert on_virtual_time(live(board)) == APP
    assert on_virtual_time(live(snapshot, wait_longer)) == "reset"
    assert on_virtual_time(live(snapshot)) == APP


def test_a_softdevice_of_another_kind_or_size_is_refused_at_the_end():
    for info, size in ((replace(S140, softdevice_id=132), 0x5000), (replace(S140, size=0x5000), 0x5000),
                       (replace(S140, version=8_000_000), 0x5000)):  # fmt: skip
        firmware = softdevice_image(info, size)
        board = Board(application=OLD)
        assert transfer(board, firmware, type=1, sd_size=len(firmware), fw_version=None) == "600405"
        assert on_virtual_time(settle_down(board)) == [APP]
    no_softdevice = image(0x5000, 8)
    board = Board(application=OLD)
    assert transfer(board, no_softdevice, type=1, sd_size=0x5000, fw_version=None) == "600405"


def test_a_bootloader_update_goes_through_the_mbr():
    """Power cuts, 9: the MBR keeps its command in the backup page; the next boot makes a new backup from the settings page."""
    firmware = image(0x2400, 6)
    board = Board(application=OLD)
    assert transfer(board, firmware, type=2, bl_size=len(firmware), fw_version=1) == "600401"
    assert on_virtual_time(live(board)) == "reset"
    assert not board.backup.backup_is_valid
    assert on_virtual_time(settle_down(board)) == ["reset", "reset", APP]
    assert board.flash[BOOTLOADER : BOOTLOADER + len(firmware)] == firmware
    assert board.settings.bootloader_version == 1
    assert board.settings.data == board.backup.data
    assert board.flash[BANK0 : BANK0 + len(OLD)] == OLD


@pytest.mark.parametrize(("major", "outcomes"), [(False, ["reset", "reset", "dfu"]), (True, ["reset", "reset", "reset", "dfu"])])
def test_softdevice_and_bootloader_together(major, outcomes):
    """A new major version makes the application invalid, so nothing but DFU mode is left."""
    softdevice = softdevice_image(replace(S140, version=8_000_000 if major else 7_003_000))
    loader = image(0x1800, 6)
    board = Board(application=OLD)
    sizes = {"sd_size": len(softdevice), "bl_size": len(loader)}
    assert transfer(board, softdevice + loader, type=3, fw_version=1, **sizes) == "600401"
    assert on_virtual_time(settle_down(board)) == outcomes
    assert board.flash[0x1000 : 0x1000 + len(softdevice)] == softdevice
    assert board.flash[BOOTLOADER : BOOTLOADER + len(loader)] == loader
    assert (board.settings.bank0.code == BankCode.APPLICATION) is not major


def test_a_hash_that_is_no_sha256_of_the_image_never_installs():
    update = Update()
    wrong = init_for(update.new, hash=FirmwareHash(type=3, digest=hashlib.sha256(update.new).digest()))

    async def script(host):
        assert await host.send_init(packet_for(wrong)) == "600401"
        assert (await host.send_objects(update.new))[-1] == "60040b0c"
        await asyncio.sleep(1)

    board = update.board()
    on_virtual_time(live(board, script))
    assert on_virtual_time(settle_down(board)) == [APP]


def test_settings_that_send_the_copy_round_in_circles_end_in_a_fault():
    board = Update().board()
    on_virtual_time(live(board, Update().script))
    page = board.settings
    page.update_start = BANK0 + 0x100
    page.seal()
    board.poke(SETTINGS, bytes(page.data))
    board.poke(BACKUP, bytes(page.data))
    assert on_virtual_time(live(board)).startswith("fault")
