"""The virtual Secure DFU bootloader from reset to reset: boot decision, settings pages, activation, known-bad devices.

Numbers in docstrings are those of the observations on nRF5 SDK 17.0.2 that the bootloader is modelled on.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import zlib
from dataclasses import replace

import pytest

from rig.errors import ConfigError
from rig.formats import init_packet
from rig.formats.dfu_settings import (
    SIZE,
    BankCode,
    DfuSettings,
    Firmware,
    Validation,
    factory_page,
)
from rig.model import MemoryMap, Region
from rig.virtual.cpu import BoardFacts, ResetReason
from rig.virtual.pairing import Bond
from rig.virtual.parts import PARTS
from rig.virtual.secure_dfu import SecureDfuBootloader, default_config, factory_flash, hand_over_bond, hand_over_name
from rig.virtual.secure_dfu.config import config_from_options
from rig.virtual.secure_dfu.peer_data import PeerData
from tests.instant_dfu_cpu import BANK0, Board, Life, image, on_virtual_time
from tests.instant_dfu_host import KEY, Update, enter_dfu, live

OLD = image(10_240, 1)
APP = f"app 0x{BANK0:x}"
SETTINGS, BACKUP, BOOTLOADER, BANK1 = 0xFF000, 0xFE000, 0xF8000, 0x2A000


def boot(board: Board) -> str:
    return on_virtual_time(live(board))


# ------------------------------------------------------------------------------------------------------- configuration
@pytest.mark.parametrize(("part", "bank0", "room"), [("nrf52840", 0x27000, 843_776), ("nrf52832", 0x26000, 323_584)])
def test_default_layouts(part, bank0, room):
    config = default_config(part)
    assert config.region_end - bank0 == room
    end = PARTS[part].flash_size
    assert (config.bootloader_address, config.backup_address, config.settings_address) == (end - 0x8000, end - 0x2000, end - 0x1000)


def test_options_come_from_the_boards_file(tmp_path):
    memory = MemoryMap(primary=Region(start=0, size=0), secondary=Region(start=0, size=0), user_data=Region(start=0, size=0))
    facts = BoardFacts(name="dk", part=PARTS["nrf52832"], memory=memory, ble_name="x", ble_address="C0:00:00:00:00:00")
    build = SecureDfuBootloader.for_board
    build(facts, hw_version=7, defects=["crc-constant"], save_progress=True, inactivity_s=60)
    with pytest.raises(ConfigError, match="unknown defect 'crc-wrong'; known defects: settings-without-backup"):
        build(facts, defects=["crc-wrong"])
    with pytest.raises(ConfigError, match="unknown bootloader option 'hw_versoin'; known: accept_same_version"):
        build(facts, hw_versoin=7)
    with pytest.raises(ConfigError, match="bootloader option 'hw_version' must be like 52, not '52'"):
        build(facts, hw_version="52")
    with pytest.raises(ConfigError, match="'single_bank' must be like False, not 1"):
        build(facts, single_bank=1)
    with pytest.raises(ConfigError, match="watchdog_s must be 0 for none, or at least 2"):
        build(facts, watchdog_s=1)
    with pytest.raises(ConfigError, match="inactivity_s and continuation_s must not be negative"):
        build(facts, inactivity_s=-1)
    with pytest.raises(ConfigError, match="whole words"):
        build(facts, max_mtu=100)
    with pytest.raises(ConfigError, match="unknown softdevice 's113'; known: none, s132"):
        build(facts, softdevice="s113")
    with pytest.raises(ConfigError, match="unknown transport 'usb'; known: ble, serial"):
        build(facts, transport="usb")
    with pytest.raises(ConfigError, match="no UART that receives"):
        SecureDfuBootloader(config_from_options("nrf52840", {"transport": "serial"}))
    build(facts, transport="serial")
    (tmp_path / "key.pem").write_text("nonsense")
    with pytest.raises(ConfigError, match="not a public key in PEM form"):
        build(facts, key_file=tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="No such file"):
        build(facts, key_file=tmp_path / "none.pem")
    with pytest.raises(ConfigError, match="unknown part"):
        default_config("nrf53")


@pytest.mark.parametrize(("part", "softdevice", "start"), [
    ("nrf52840", "s140-7.2.0", 0x27000), ("nrf52832", "s132-7.2.0", 0x26000), ("nrf52832", "s140-7.2.0", 0x27000), ("nrf52840", "none", 0x1000),
])  # fmt: skip
def test_the_factory_flash_holds_what_the_bootloader_looks_for(part, softdevice, start):
    config = config_from_options(part, {"softdevice": softdevice})
    board = Board(part=part, config=config, softdevice=None)
    for address, content in factory_flash(config):
        board.poke(address, content)
    page = factory_page(application=OLD)
    board.poke(start, OLD)
    board.poke(config.settings_address, page)
    board.poke(config.backup_address, page)
    before = bytes(board.flash)
    assert boot(board) == f"app 0x{start:x}"
    assert board.flash == before
    assert before[config.bootloader_address : config.backup_address].count(b"\xff" * 16) == 0


# ------------------------------------------------------------------------------------------------------- boot decision
def test_a_valid_application_starts_and_nothing_is_written():
    board = Board(application=OLD)
    assert boot(board) == APP
    assert board.log == []


@pytest.mark.parametrize(("value", "dfu", "left"), [
    (0x00, False, 0x00), (0x40, False, 0x40), (0x0E, False, 0x0E), (0xB1, True, 0x00), (0xB3, True, 0x02),
    (0x01, True, 0x01), (0x80, True, 0x80), (0xB0, True, 0xB0), (0xF1, True, 0xF1), (0x20, True, 0x20),
])  # fmt: skip
def test_gpregret(value, dfu, left):
    """17: any bit of 0xB1 leads to DFU mode; only the right pattern is cleared."""
    board = Board(application=OLD)
    board.gpregret[0] = value
    assert boot(board) == ("dfu" if dfu else APP)
    assert board.gpregret[0] == left
    board.gpregret[:] = [0, 0]  # power removed
    assert boot(board) == APP


@pytest.mark.parametrize(("option", "prepare"), [
    ("button_pressed", lambda board: None),
    ("enter_by_pin_reset", lambda board: setattr(board, "reset_reason", ResetReason.PIN)),
])  # fmt: skip
def test_other_ways_into_dfu_mode(option, prepare):
    board = Board(application=OLD, config=replace(default_config("nrf52840"), **{option: True}))
    prepare(board)
    assert boot(board) == "dfu"
    plain = Board(application=OLD)
    prepare(plain)
    assert boot(plain) == APP


def test_the_settings_flag_is_cleared_when_it_has_been_followed():
    page = DfuSettings(factory_page(application=OLD))
    page.enter_dfu = 1
    page.seal()
    config = replace(default_config("nrf52840"), enter_by_settings_flag=True)
    board = Board(application=OLD, config=config, settings=bytes(page.data))
    assert boot(board) == "dfu"
    assert board.settings.enter_dfu == 0
    assert boot(board) == APP


@pytest.mark.parametrize("crc", [0, 0xDEADBEEF])
def test_the_crc_of_bank_0_is_not_looked_at(crc):
    """22."""
    page = DfuSettings(factory_page(application=OLD))
    page.bank0.crc = crc
    page.seal()
    assert boot(Board(application=OLD, settings=bytes(page.data), backup=bytes(page.data))) == APP


ENTRIES = {
    "none": Validation(type=0, data=b""),
    "CRC": Validation(type=1, data=struct.pack("<I", zlib.crc32(OLD))),
    "SHA-256": Validation(type=2, data=hashlib.sha256(OLD).digest()),
    "ECDSA": Validation(type=3, data=init_packet.sign(OLD, KEY)),
}


@pytest.mark.parametrize("kind", ENTRIES)
@pytest.mark.parametrize("gpregret2", [0, 0xA9])
def test_boot_validation(kind, gpregret2):
    """22: the entry decides; 0xA9 in GPREGRET2 leaves out one CRC check, and only a CRC check."""
    page = factory_page(application=OLD, validation=ENTRIES[kind])
    board = Board(application=OLD, settings=page, backup=page)
    assert boot(board) == APP
    board.poke(BANK0 + 100, b"\0")
    board.gpregret[1] = gpregret2
    assert boot(board) == (APP if kind == "none" or (kind == "CRC" and gpregret2) else "dfu")
    assert board.gpregret[1] == 0
    assert boot(board) == (APP if kind == "none" else "dfu")


@pytest.mark.parametrize("value", [0xA8, 0x01, 0xB9])
def test_a_wrong_pattern_in_gpregret2_skips_nothing(value):
    board = Board(application=OLD)
    board.poke(BANK0, b"\0")
    board.gpregret[1] = value
    assert boot(board) == "dfu"
    assert board.gpregret[1] == value


def test_size_0_with_the_crc_of_nothing_is_a_valid_application():
    """22."""
    page = factory_page(application=b"")
    assert boot(Board(application=OLD, settings=page, backup=page)) == APP


def test_a_broken_softdevice_keeps_the_application_from_starting():
    page = DfuSettings(factory_page(application=OLD))
    page.softdevice_size = 0x3000
    page.set_validation(Firmware.SOFTDEVICE, Validation(type=1, data=bytes(4)))
    page.seal()
    assert boot(Board(application=OLD, settings=bytes(page.data), backup=bytes(page.data))) == "dfu"


def test_without_application_dfu_mode_is_for_good():
    """The inactivity timer resets, and the next start comes back."""

    async def wait(host):
        await asyncio.sleep(119)
        assert await host.ask("0601") != []
        await asyncio.sleep(2)

    async def story():
        board = Board()
        for _ in range(3):
            assert await live(board, wait) == "reset"
        assert await live(board) == "dfu"

    on_virtual_time(story())


def test_the_log_of_a_debug_build():
    config = replace(default_config("nrf52840"), log=True)
    board = enter_dfu(Board(application=OLD, config=config))
    assert on_virtual_time(live(board, lambda _host: asyncio.sleep(121))) == "reset"
    assert board.console == [
        "<debug> app: App is valid", "<debug> app: DFU mode requested via GPREGRET.", "<info> app: Inactivity timeout.",
    ]  # fmt: skip
    assert Board(application=OLD).console == []


# --------------------------------------------------------------------------------------------------------- settings
def test_two_broken_pages_mean_no_application():
    board = Board(application=OLD, settings=bytes(SIZE), backup=b"\xff" * SIZE)
    assert boot(board) == "dfu"
    assert board.settings.data == board.backup.data
    assert board.settings.settings_version == 2
    assert board.settings.bank0.code == BankCode.INVALID


def test_one_good_page_is_enough():
    good = factory_page(application=OLD, app_version=1)
    for pages in ({"settings": bytes(SIZE)}, {"backup": bytes(SIZE)}):
        board = Board(application=OLD, **pages)
        assert boot(board) == APP
        assert board.settings.data == board.backup.data == good


def test_the_backup_wins_for_what_the_application_must_not_change():
    """Only the enter-DFU flag, the bonding data and the name are taken from the settings page."""
    page = DfuSettings(factory_page(application=OLD, app_version=9))
    page.enter_dfu = 1
    page.data[-1] = 0x55
    page.seal()
    board = Board(application=OLD, app_version=1, settings=bytes(page.data), backup=factory_page(application=OLD, app_version=1))
    board.gpregret[0] = 0xB1
    assert boot(board) == "dfu"
    assert board.settings.app_version == 1
    assert board.settings.enter_dfu == 1
    assert board.settings.data[-1] == 0x55
    assert board.settings.data == board.backup.data


def test_a_torn_backup_with_a_valid_header_is_not_believed():
    """Power cuts, 2: the CRC of the boot validation is needed as well; a torn settings page cannot hide behind its header either."""
    other = factory_page(application=image(5000, 3), app_version=7)
    for torn_at in (0x5C, 0x200, 0x25C, 0x260, 0x300):
        torn = other[:torn_at] + b"\xff" * (SIZE - torn_at)
        board = Board(application=OLD, backup=torn)
        assert boot(board) == APP
        assert board.settings.bank0.size == len(OLD)
        board = Board(application=OLD, settings=torn)
        assert boot(board) == APP
        assert board.settings.bank0.size == len(OLD)


def test_the_hole_of_a_board_whose_backup_was_never_written():
    """The first boot writes the backup; a settings page torn before that is lost, unless its header is complete."""
    erased = b"\xff" * SIZE
    board = Board(application=OLD, backup=erased)
    assert boot(board) == APP
    assert board.backup.data == board.settings.data
    torn = factory_page(application=OLD)[:0x40] + b"\xff" * (SIZE - 0x40)
    assert boot(Board(application=OLD, settings=torn, backup=erased)) == "dfu"


def test_the_first_start_rewrites_settings_that_the_bootloader_has_made():
    """21: 804 bytes of the settings page, then the backup page, because the name area was zero instead of erased."""
    board = enter_dfu(Board(application=OLD, settings=bytes(SIZE), backup=bytes(SIZE)))
    update = Update()
    on_virtual_time(live(board, update.script))
    on_virtual_time(live(board))
    board.commands.clear()
    board.log.clear()
    assert boot(board) == APP
    assert board.commands == [(SETTINGS, 804), (BACKUP, 896)]
    assert [entry for entry in board.log if entry[0] == "E"] == [("E", SETTINGS), ("E", BACKUP)]
    board.log.clear()
    assert boot(board) == APP
    assert board.log == []


@pytest.mark.parametrize("crc_is_set", [True, False])
def test_layout_1_is_converted(crc_is_set):
    """Power cuts, 10, and 22: zero used to mean "no CRC check"; after the conversion it means an invalid application."""
    page = DfuSettings(factory_page(application=OLD, app_version=3, layout=1))
    if not crc_is_set:
        page.bank0.crc = 0
    page.crc = zlib.crc32(page.data[4:0x5C])
    page.data[0x15C:0x160] = b"peer"
    page.data[0x19C:0x1A0] = b"name"
    board = Board(application=OLD, settings=bytes(page.data), backup=bytes(page.data))
    assert boot(board) == (APP if crc_is_set else "dfu")
    assert board.settings.settings_version == 2
    assert board.settings.app_version == 3
    assert board.settings.validation(Firmware.APPLICATION).type == 1
    assert board.settings.backup_is_valid
    if not crc_is_set:  # a start of the application erases them
        assert board.settings.data[0x324:0x328] == b"peer"
        assert board.settings.data[0x364:0x368] == b"name"


# --------------------------------------------------------------------------------------------- what the application does
def test_the_application_hands_over_its_name_once():
    """The name shows in DFU mode, reaches the backup page, and goes away when the application starts again."""
    board = Board(application=OLD)

    async def story():
        life = Life(board)
        assert await hand_over_name(life, board.config, b"Thermostat 7")
        assert not await hand_over_name(life, board.config, b"other")
        names = []

        async def look(host):
            names.append(host.radio.advertised["name"])

        assert await live(enter_dfu(board), look) == "dfu"
        assert board.backup.advertising_name == b"Thermostat 7"
        assert await live(board) == APP
        assert board.settings.advertising_name is board.backup.advertising_name is None
        await live(enter_dfu(board), look)
        assert names == ["Thermostat 7", "DfuTarg"]

    on_virtual_time(story())


def test_the_application_hands_over_a_bond_once():
    """With the bond the bootloader of a bonded product comes up in DFU mode instead of resetting for ever."""
    config = replace(default_config("nrf52840"), requires_bonds=True)
    board = Board(application=OLD, config=config)

    async def story():
        assert await live(enter_dfu(board)) == "reset"
        board.gpregret[0] = 0
        assert await live(board) == APP
        life = Life(board)
        bond = Bond(key=bytes(range(16)), authenticated=True)
        assert await hand_over_bond(life, config, bond, peer="C1:02:03:04:05:06")
        assert not await hand_over_bond(life, config, bond, peer="C1:02:03:04:05:07")
        assert await live(enter_dfu(board)) == "dfu"
        assert board.backup.peer_data is not None
        assert PeerData.decode(board.backup.peer_data) == PeerData(peer="C1:02:03:04:05:06", bond=bond)

    on_virtual_time(story())
