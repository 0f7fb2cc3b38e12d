"""Known-bad virtual Secure DFU bootloaders: each defect changes the outcome it is named after, and the good board does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rig.formats import init_packet
from rig.formats.dfu_settings import (
    SIZE,
)
from rig.virtual.secure_dfu import Defect, default_config
from rig.virtual.secure_dfu.ble import PACKET
from tests.instant_dfu_cpu import BANK0, Board, Cut, image, on_virtual_time
from tests.instant_dfu_host import FOREIGN_KEY, Update, enter_dfu, init_for, live, packet_for, settle_down

OLD = image(10_240, 1)
APP = f"app 0x{BANK0:x}"
BOOTLOADER = 0xF8000


def board_with(*defects: str, application: bytes = OLD) -> Board:
    return enter_dfu(Board(application=application, config=replace(default_config("nrf52840"), defects=frozenset(defects))))


INIT_DEFECTS = {
    Defect.LOWER_VERSION_ACCEPTED: (packet_for(init_for(OLD, fw_version=0)), "60040b05"),
    Defect.WRONG_HARDWARE_VERSION_ACCEPTED: (packet_for(init_for(OLD, hw_version=51)), "60040b06"),
    Defect.UNSIGNED_ACCEPTED: (init_packet.unsigned_packet(init_packet.encode_init_command(init_for(OLD))), "60040b08"),
    Defect.SIGNATURE_NOT_CHECKED: (packet_for(init_for(OLD), key=FOREIGN_KEY), "600405"),
}


@pytest.mark.parametrize("defect", INIT_DEFECTS)
@pytest.mark.parametrize("other", INIT_DEFECTS)
def test_defects_of_the_init_checks(defect, other):
    """Each lets through what it is named after, and nothing else."""
    packet, refusal = INIT_DEFECTS[other]

    async def script(host):
        assert await host.send_init(packet) == ("600401" if defect is other else refusal)

    on_virtual_time(live(board_with(defect), script))


def test_defect_generic_error():
    async def script(host):
        for packet, reply in ((packet_for(init_for(OLD, hw_version=51)), "60040a"), (packet_for(init_for(OLD), key=FOREIGN_KEY), "600405")):
            assert await host.send_init(packet) == reply

    on_virtual_time(live(board_with(Defect.GENERIC_ERROR), script))


def test_defect_crc_constant():
    async def script(host):
        await host.ask("020100", "01010a000000")
        host.radio.write(PACKET, b"abc")
        assert (await host.reply()).hex() == "6003010300000000000000"
        assert await host.ask("03", "0601") == ["6003010300000000000000", "600601000200000300000000000000"]

    on_virtual_time(live(board_with(Defect.CRC_CONSTANT), script))


def attempt(board: Board, update: Update) -> list[str]:
    async def story():
        await live(board, update.script)
        return await settle_down(board)

    return on_virtual_time(story())


def test_defect_success_not_stored():
    """The host sees success, the board runs the old version."""
    board = board_with(Defect.SUCCESS_NOT_STORED)
    assert attempt(board, Update()) == [APP]
    assert board.flash[BANK0 : BANK0 + len(OLD)] == OLD


def test_defect_bank0_erased_before_validation():
    """In the middle of the transfer the good board still has its application, the bad one does not."""
    update = Update()

    async def half_way(host):
        assert await host.send_init(packet_for(init_for(update.new))) == "600401"
        await host.send_objects(update.new, last=False)

    for board, outcome in ((update.board(), APP), (board_with(Defect.BANK0_ERASED_BEFORE_VALIDATION), "dfu")):
        on_virtual_time(live(board, half_way))
        assert on_virtual_time(live(board.copy())) == outcome
    assert attempt(board_with(Defect.BANK0_ERASED_BEFORE_VALIDATION), update) == ["reset", APP]


def test_defect_settings_without_backup():
    """Without a cut nothing shows; a torn settings page costs the application."""
    board = board_with(Defect.SETTINGS_WITHOUT_BACKUP)
    assert attempt(board, Update()) == ["reset", APP]
    torn = bytes(board.settings.data[:0x40]) + b"\xff" * (SIZE - 0x40)
    for config, outcome in ((default_config("nrf52840"), APP), (board.config, "dfu")):
        victim = Board(application=OLD, config=config, settings=torn)
        assert on_virtual_time(live(victim)) == outcome


@pytest.mark.parametrize(("defects", "outcomes"), [((), ["reset", APP]), ((Defect.ACTIVATION_PROGRESS_NOT_STORED,), ["reset", "dfu"])])
def test_defect_activation_progress_not_stored(defects, outcomes):
    """Power goes when the copy has overwritten its own source: the bad board starts anew from what is no longer there."""
    update = Update(old=image(4096, 1), new=image(5 * 4096, 2))
    board = board_with(*defects, application=update.old)
    on_virtual_time(live(board, update.script))
    undisturbed = board.copy()
    assert on_virtual_time(settle_down(undisturbed)) == ["reset", APP]
    assert undisturbed.flash[BANK0 : BANK0 + len(update.new)] == update.new
    third_erase = [n for n, operation in enumerate(undisturbed.operations) if operation[0] == "E" and operation[1] < BOOTLOADER][2]
    assert on_virtual_time(live(board, cut=Cut(at=third_erase, kind="done"))) == "cut"
    assert on_virtual_time(settle_down(board)) == outcomes
