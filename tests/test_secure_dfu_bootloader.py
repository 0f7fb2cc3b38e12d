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
from rig.formats.init_packet import BootValidation, FirmwareHash
from rig.model import MemoryMap, Region
from rig.virtual.cpu import BoardFacts, ResetReason
from rig.virtual.parts import PARTS
from rig.virtual.secure_dfu import Defect, SecureDfuBootloader, default_config, hand_over_name
from rig.virtual.secure_dfu.ble import PACKET
from tests.instant_dfu_cpu import (
    BANK0,
    FOREIGN_KEY,
    KEY,
    S140,
    Board,
    Cut,
    Life,
    Update,
    enter_dfu,
    image,
    init_for,
    live,
    on_virtual_time,
    packet_for,
    settle_down,
)

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
    build(facts, hw_version=7, defects=["crc-constant"], save_progress=True)
    with pytest.raises(ConfigError, match="unknown defect 'crc-wrong'; known defects: settings-without-backup"):
        build(facts, defects=["crc-wrong"])
    with pytest.raises(ConfigError, match="unknown bootloader option 'hw_versoin'; known: accept_same_version"):
        build(facts, hw_versoin=7)
    with pytest.raises(ConfigError, match="unknown transport 'usb'; known: ble, serial"):
        build(facts, transport="usb")
    with pytest.raises(ConfigError, match="no UART that receives"):
        build(facts, transport="serial")
    with pytest.raises(ConfigError, match="not a public key in PEM form"):
        (tmp_path / "key.pem").write_text("nonsense")
        build(facts, key_file=tmp_path / "key.pem")
    with pytest.raises(ConfigError, match="No such file"):
        build(facts, key_file=tmp_path / "none.pem")
    with pytest.raises(ConfigError, match="unknown part"):
        default_config("nrf53")


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


@pytest.mark.parametrize(("old_pages", "step"), [(1, 1), (3, 3), (8, 8), (12, 8)])
def test_the_copy_goes_in_steps(old_pages, step):
    """19: at most 8 pages, at most the distance between source and destination; the progress is stored after each step."""
    board = update_with(old=image(old_pages * 4096, 1), new=image(20 * 4096 - 100, 2))
    copies = [(address, length) for address, length in board.commands if address < BOOTLOADER and length > 20]
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


# -------------------------------------------------------------------------------------------------- known-bad devices
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
