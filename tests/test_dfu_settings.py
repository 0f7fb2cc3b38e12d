"""The settings page: where every field lies, what the checksums cover, and what production and the application write."""

from __future__ import annotations

import struct
import zlib

import pytest

from rig.formats.dfu_settings import (
    SIZE,
    BankCode,
    DfuSettings,
    Firmware,
    Validation,
    factory_page,
    name_record,
    peer_data_record,
)

OFFSETS = {
    "crc": 0x00, "settings_version": 0x04, "app_version": 0x08, "bootloader_version": 0x0C, "bank_layout": 0x10, "bank_current": 0x14,
    "bank0.size": 0x18, "bank0.crc": 0x1C, "bank0.code": 0x20, "bank1.size": 0x24, "bank1.crc": 0x28, "bank1.code": 0x2C,
    "write_offset": 0x30, "softdevice_size": 0x34, "command_size": 0x38, "command_offset": 0x3C, "command_crc": 0x40,
    "data_object_size": 0x44, "image_crc": 0x48, "update_start": 0x48, "image_crc_last": 0x4C, "image_offset": 0x50,
    "image_offset_last": 0x54, "enter_dfu": 0x58, "validation_crc": 0x25C,
}  # fmt: skip


@pytest.mark.parametrize("name", OFFSETS)
def test_every_word_lies_where_the_layout_says(name):
    settings = DfuSettings()
    target = settings
    *path, field = name.split(".")
    for step in path:
        target = getattr(target, step)
    setattr(target, field, 0x1_0403_0201)  # arithmetic on the device has 32 bits
    assert getattr(target, field) == 0x0403_0201
    assert settings.data.find(bytes((1, 2, 3, 4))) == OFFSETS[name]
    assert sum(settings.data) == 10


def test_sizes_and_areas():
    settings = DfuSettings()
    settings.command_size = 512
    settings.store_init_command(0, b"a" * 512)
    for firmware, mark in zip(Firmware, b"123", strict=True):
        settings.set_validation(firmware, Validation(type=mark, data=bytes((mark,)) * 64))
    assert len(settings.data) == SIZE == 896
    assert settings.data[0x5C:0x25C] == b"a" * 512
    assert settings.data[0x260:0x323] == b"1" * 65 + b"2" * 65 + b"3" * 65
    assert settings.data[0x323] == 0
    with pytest.raises(ValueError, match="896 bytes, not 895"):
        DfuSettings(bytes(895))


def test_what_the_checksums_cover():
    """The header's covers neither the init command nor the boot validation; the backup's test adds the latter."""
    settings = DfuSettings(factory_page(application=b"code"))
    assert settings.backup_is_valid
    for at, header, backup in ((0x04, False, False), (0x5B, False, False), (0x5C, True, True), (0x25B, True, True),
                               (0x25C, True, False), (0x260, True, False), (0x322, True, False), (0x323, True, True), (0x37F, True, True)):  # fmt: skip
        broken = DfuSettings(bytes(settings.data))
        broken.data[at] ^= 1
        assert (broken.header_is_valid, broken.backup_is_valid) == (header, backup), hex(at)
    assert not DfuSettings(b"\xff" * SIZE).header_is_valid
    assert not DfuSettings(bytes(SIZE)).header_is_valid


def test_the_factory_page():
    application = bytes(range(256)) * 5
    page = DfuSettings(factory_page(application=application, app_version=3, bootloader_version=2))
    assert (page.settings_version, page.app_version, page.bootloader_version) == (2, 3, 2)
    assert (page.bank0.size, page.bank0.crc, page.bank0.code) == (1280, zlib.crc32(application), BankCode.APPLICATION)
    entry = page.validation(Firmware.APPLICATION)
    assert (entry.type, entry.data[:4], entry.data[4:]) == (1, struct.pack("<I", zlib.crc32(application)), bytes(60))
    assert page.data[0x323:] == b"\xff" * (SIZE - 0x323)
    assert not page.holds_application_data
    empty = DfuSettings(factory_page(application=None))
    assert (empty.bank0.size, empty.bank0.code, empty.validation(Firmware.APPLICATION).type) == (0, 0, 0)
    assert empty.backup_is_valid
    other = DfuSettings(factory_page(application=application, validation=Validation(type=0, data=b"")))
    assert other.validation(Firmware.APPLICATION).type == 0


def test_layout_1_and_its_conversion():
    settings = DfuSettings(factory_page(application=b"code", layout=1))
    assert settings.data[0x15C:] == b"\xff" * (SIZE - 0x15C)
    assert settings.backup_is_valid
    settings.data[0x15C:0x19C] = b"p" * 64
    settings.data[0x19C:0x1B8] = b"n" * 28
    settings.upgrade()
    settings.seal()
    assert settings.settings_version == 2
    assert settings.data[0x324:0x364] == b"p" * 64
    assert settings.data[0x364:] == b"n" * 28
    assert [settings.validation(firmware).type for firmware in Firmware] == [0, 1, 0]
    assert settings.validation(Firmware.APPLICATION).data[:4] == struct.pack("<I", zlib.crc32(b"code"))
    assert settings.backup_is_valid


def test_resetting_the_progress_leaves_the_rest():
    settings = DfuSettings(b"\x11" * SIZE)
    settings.reset_progress()
    assert settings.data[:0x30] == b"\x11" * 0x30
    assert settings.data[0x30:0x38] == bytes(4) + b"\x11" * 4
    assert settings.data[0x38:0x58] == bytes(32)
    assert settings.data[0x58:0x5C] == b"\x11" * 4
    assert settings.data[0x5C:0x25C] == b"\xff" * 512
    assert settings.data[0x25C:] == b"\x11" * (SIZE - 0x25C)


def test_protected_parts():
    page, backup = DfuSettings(b"\x01" * SIZE), DfuSettings(b"\x02" * SIZE)
    page.take_protected_parts(backup)
    assert page.data == b"\1" * 4 + b"\2" * 0x54 + b"\1" * 4 + b"\2" * (0x324 - 0x5C) + b"\1" * (SIZE - 0x324)


def test_what_the_application_hands_over():
    settings = DfuSettings(factory_page(application=None))
    assert settings.advertising_name is settings.peer_data is None
    settings.data[0x364:] = name_record(b"Lamp")
    assert settings.advertising_name == b"Lamp"
    assert settings.holds_application_data
    settings.data[0x324:0x364] = peer_data_record(bytes(range(60)))
    assert settings.peer_data == bytes(range(60))
    settings.data[-1] ^= 1
    assert settings.advertising_name is None
    for name in (b"", b"x" * 21):
        with pytest.raises(ValueError, match="1 to 20 bytes"):
            name_record(name)
    with pytest.raises(ValueError, match="60 bytes"):
        peer_data_record(bytes(61))
