"""Known-bad virtual Secure DFU bootloaders: each defect changes the outcome it is named after, and the good board does not."""

from __future__ import annotations

import asyncio
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats import init_packet, test_key
from rig.formats.dfu_settings import (
    SIZE,
)
from rig.virtual.crypto_time import Crypto
from rig.virtual.secure_dfu import Defect, SecureDfuConfig, Transport, default_config
from rig.virtual.secure_dfu.ble import PACKET
from tests.instant_dfu_cpu import BANK0, Board, Cut, image, on_virtual_time
from tests.instant_dfu_host import FOREIGN_KEY, Update, enter_dfu, init_for, live, packet_for, settle_down

OLD = image(10_240, 1)
APP = f"app 0x{BANK0:x}"
BOOTLOADER = 0xF8000
_DEMO = test_key.demo_key()
assert isinstance(_DEMO, ec.EllipticCurvePrivateKey)
DEMO_KEY: ec.EllipticCurvePrivateKey = _DEMO


def board_with(*defects: str, application: bytes = OLD, **options: Any) -> Board:
    return enter_dfu(Board(application=application, config=replace(default_config("nrf52840"), defects=frozenset(defects), **options)))


INIT_DEFECTS = {
    Defect.LOWER_VERSION_ACCEPTED: (packet_for(init_for(OLD, fw_version=0)), "60040b05"),
    Defect.WRONG_HARDWARE_VERSION_ACCEPTED: (packet_for(init_for(OLD, hw_version=51)), "60040b06"),
    Defect.UNSIGNED_ACCEPTED: (init_packet.unsigned_packet(init_packet.encode_init_command(init_for(OLD))), "60040b08"),
    Defect.SIGNATURE_NOT_CHECKED: (packet_for(init_for(OLD), key=FOREIGN_KEY), "600405"),
    Defect.DEMO_KEY_TRUSTED: (packet_for(init_for(OLD), key=DEMO_KEY), "600405"),
    Defect.SOFTDEVICE_REQUIREMENT_IGNORED: (packet_for(init_for(OLD, sd_req=(0x123,))), "60040b07"),
}
IMPLIED = {(Defect.SIGNATURE_NOT_CHECKED, Defect.DEMO_KEY_TRUSTED)}


@pytest.mark.parametrize("defect", INIT_DEFECTS)
@pytest.mark.parametrize("other", INIT_DEFECTS)
def test_defects_of_the_init_checks(defect, other):
    """Each lets through what it is named after, and nothing else."""
    packet, refusal = INIT_DEFECTS[other]

    async def script(host):
        assert await host.send_init(packet) == ("600401" if defect is other or (defect, other) in IMPLIED else refusal)

    on_virtual_time(live(board_with(defect), script))


@pytest.mark.parametrize(("defects", "reply"), [((), "60040b06"), ((Defect.DEBUG_PACKET_ACCEPTED,), "600401")])
def test_defect_debug_packet_accepted(defects, reply):
    """Only a packet that says so is exempt from the checks."""
    wrong = init_for(OLD, hw_version=51, sd_req=(0x123,), fw_version=0)

    async def script(host):
        assert await host.send_init(packet_for(wrong)) == "60040b06"
        assert await host.send_init(packet_for(replace(wrong, is_debug=True))) == reply

    on_virtual_time(live(board_with(*defects), script))


@pytest.mark.parametrize(("defects", "reply"), [((), "60040b05"), ((Defect.EQUAL_VERSION_ACCEPTED,), "600401")])
def test_defect_equal_version_accepted(defects, reply):
    async def script(host):
        assert await host.send_init(packet_for(init_for(OLD, fw_version=1))) == reply
        assert await host.send_init(packet_for(init_for(OLD, fw_version=0))) == "60040b05"

    on_virtual_time(live(board_with(*defects, accept_same_version=False), script))


@pytest.mark.parametrize(("defects", "reply"), [((), "600401"), ((Defect.BYTE_ORDER_WRONG,), "600405")])
def test_defect_byte_order_wrong(defects, reply):
    """Good packages are refused, bad ones as well."""

    async def script(host):
        assert await host.send_init(packet_for(init_for(OLD))) == reply
        assert await host.send_init(packet_for(init_for(OLD), key=FOREIGN_KEY)) == "600405"

    on_virtual_time(live(board_with(*defects), script))


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


@pytest.mark.parametrize(("defects", "outcomes", "installed"), [((), [APP], False), ((Defect.BANK1_VALID_BEFORE_HASH,), ["reset", APP], True)])
def test_defect_bank1_valid_before_hash(defects, outcomes, installed):
    """Power goes before the last execute; the hash of what has been received is wrong, and the bad board installs it all the same."""
    new = image(5_000, 2)

    async def all_but_the_last_execute(host):
        assert await host.send_init(packet_for(init_for(new, hash=init_packet.firmware_hash(OLD)))) == "600401"
        await host.send_objects(new, last=False)

    async def whole(host):
        await all_but_the_last_execute(host)
        assert await host.ask("04") == ["60040b0c"]
        await asyncio.sleep(1)

    board = board_with(*defects)
    on_virtual_time(live(board, all_but_the_last_execute))
    board.gpregret[0] = 0
    assert on_virtual_time(settle_down(board)) == outcomes
    assert (board.flash[BANK0 : BANK0 + len(new)] == new) is installed
    executed = board_with(*defects)
    assert on_virtual_time(live(executed, whole)) == "reset"
    assert on_virtual_time(settle_down(executed)) == [APP]
    assert attempt(board_with(*defects), Update()) == ["reset", APP]


@pytest.mark.parametrize(("defects", "erased"), [((), False), ((Defect.USER_DATA_ERASED,), True)])
def test_defect_user_data_erased(defects, erased):
    board = board_with(*defects)
    pages = range(board.config.region_end, BOOTLOADER, 4096)
    for page in pages:
        board.poke(page, b"diary")
    assert attempt(board, Update()) == ["reset", APP]
    assert [bytes(board.flash[page : page + 5]) for page in pages] == [b"\xff" * 5 if erased else b"diary"] * len(pages)


@pytest.mark.parametrize(("defects", "more"), [((), 0), ((Defect.SETTINGS_WRITTEN_PER_OBJECT,), 2)])
def test_defect_settings_written_per_object(defects, more):
    """Three objects: two of them change nothing that is stored."""
    board = board_with(*defects)
    update = Update(new=image(3 * 4096, 2))
    on_virtual_time(live(board, update.script))
    erases = [operation[1] for operation in board.operations if operation[0] == "E"]
    assert (erases.count(0xFF000), erases.count(0xFE000)) == (2 + more, 2 + more)
    assert on_virtual_time(settle_down(board)) == ["reset", APP]
    assert board.flash[BANK0 : BANK0 + len(update.new)] == update.new


IMPOSSIBLE = {
    Defect.UNSIGNED_ACCEPTED: {"require_signed_app": False},
    Defect.LOWER_VERSION_ACCEPTED: {"downgrade_prevention": False},
    Defect.EQUAL_VERSION_ACCEPTED: {},
    Defect.SOFTWARE_CRYPTO: {"crypto": Crypto.SOFTWARE},
    Defect.CONTROL_POINT_WITHOUT_CCCD: {"transport": Transport.SERIAL},
    Defect.INACTIVITY_TIMER_NEVER_FIRES: {"inactivity_s": 0.0},
    Defect.WATCHDOG_NOT_FED: {},
    Defect.USER_DATA_ERASED: {"app_data_size": 0},
    Defect.SMALL_MTU: {"max_mtu": 23},
    Defect.APPLICATION_NAME_ADVERTISED: {},
    Defect.BANK0_ERASED_BEFORE_VALIDATION: {"single_bank": True},
}


@pytest.mark.parametrize("defect", IMPOSSIBLE)
def test_a_defect_that_cannot_show_is_a_mistake_in_the_file(defect):
    with pytest.raises(ConfigError, match=f"^defect '{defect}' can show only "):
        replace(default_config("nrf52840"), defects=frozenset({defect}), **IMPOSSIBLE[defect])


def test_every_option_and_defect_is_documented():
    page = (Path(__file__).parents[1] / "docs" / "secure-dfu.md").read_text(encoding="utf-8")
    options = {entry.name for entry in fields(SecureDfuConfig)} - {"key", "application_name"} | {"key_file"}
    assert [name for name in sorted(options | set(Defect)) if f"`{name}`" not in page] == []
