"""The settings page of Nordic's Secure DFU bootloader, and the copy of it in the MBR parameter page.

    0x000  CRC-32 over 0x004…0x05B      0x05C  init command            0x324  bonding data from the application (64 bytes)
    0x004  versions, banks, progress    0x25C  CRC-32 over the next    0x364  advertising name from the application (28 bytes)
    0x058  enter-DFU flag               0x260  boot validation: SoftDevice, application, bootloader (65 bytes each)

This is layout 2 (SDK 15.2 and later), 896 bytes.  Layout 1 has an init command of 256 bytes, no boot validation, and the
application's data right after the init command.  The first CRC does not cover the init command.  Everything is little-endian.

Source: nRF5 SDK 17.0.2, `components/libraries/bootloader/dfu/nrf_dfu_types.h` and `nrf_dfu_settings.c`.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

from rig.formats.init_packet import ValidationType

SIZE = 896
VERSION = 2
INIT_COMMAND_SIZE = 512
NAME_MAX = 20
"""Bytes: the longest advertising name that the application can hand over."""
_CRC_NEVER_SET = 0xFFFF_FFFF

HEADER_END = 0x5C
INIT_COMMAND_AT = 0x5C
BOOT_VALIDATION_CRC_AT = 0x25C
BOOT_VALIDATION_AT = 0x260
PEER_DATA_AT = 0x324
NAME_AT = 0x364
_ENTER_DFU_AT = 0x58
_BOOT_VALIDATION_END = 0x323
_PEER_DATA_SIZE, _NAME_SIZE = 64, 28
_V1_PEER_DATA_AT = INIT_COMMAND_AT + 256
_V1_NAME_AT = _V1_PEER_DATA_AT + _PEER_DATA_SIZE
_VALIDATION_SIZE = 65


class BankCode(IntEnum):
    """What a bank holds."""

    INVALID = 0x00
    APPLICATION = 0x01
    SOFTDEVICE = 0xA5
    BOOTLOADER = 0xAA
    SOFTDEVICE_BOOTLOADER = 0xAC
    EXTERNAL_APPLICATION = 0xB1


class Firmware(IntEnum):
    """Index of a boot validation entry."""

    SOFTDEVICE = 0
    APPLICATION = 1
    BOOTLOADER = 2


class _Word:
    """A 32-bit field at a fixed offset of `data`."""

    def __init__(self, offset: int) -> None:
        self._offset = offset

    def __get__(self, record: _Record, owner: type[_Record]) -> int:
        value: int = struct.unpack_from("<I", record.data, record.base + self._offset)[0]
        return value

    def __set__(self, record: _Record, value: int) -> None:
        struct.pack_into("<I", record.data, record.base + self._offset, value & 0xFFFF_FFFF)


class _Record:
    """Fields of a buffer, from `base` on."""

    def __init__(self, data: bytearray, base: int) -> None:
        self.data, self.base = data, base


class Bank(_Record):
    """Size (bytes), CRC-32 and `BankCode` of what lies in a bank."""

    size = _Word(0)
    crc = _Word(4)
    code = _Word(8)

    def clear(self) -> None:
        """All fields zero."""
        self.data[self.base : self.base + 12] = bytes(12)


@dataclass(frozen=True, kw_only=True)
class Validation:
    """How one firmware is checked at every boot: CRC-32, SHA-256 or signature, in the first bytes of `data` (64 bytes)."""

    type: int
    data: bytes


class DfuSettings(_Record):
    """A settings page as a mutable record; unknown and unused bytes keep their values.

    `image_crc` doubles as the start address of a received update (`update_start`) between its last object and its activation.
    """

    crc = _Word(0x00)
    settings_version = _Word(0x04)
    app_version = _Word(0x08)
    bootloader_version = _Word(0x0C)
    bank_layout = _Word(0x10)
    bank_current = _Word(0x14)
    write_offset = _Word(0x30)
    softdevice_size = _Word(0x34)
    command_size = _Word(0x38)
    command_offset = _Word(0x3C)
    command_crc = _Word(0x40)
    data_object_size = _Word(0x44)
    image_crc = _Word(0x48)
    update_start = _Word(0x48)
    image_crc_last = _Word(0x4C)
    image_offset = _Word(0x50)
    image_offset_last = _Word(0x54)
    enter_dfu = _Word(_ENTER_DFU_AT)
    validation_crc = _Word(BOOT_VALIDATION_CRC_AT)

    def __init__(self, data: bytes = bytes(SIZE)) -> None:
        if len(data) != SIZE:
            raise ValueError(f"a settings page has {SIZE} bytes, not {len(data)}")
        super().__init__(bytearray(data), 0)
        self.bank0 = Bank(self.data, 0x18)
        self.bank1 = Bank(self.data, 0x24)

    @property
    def init_command(self) -> bytes:
        """The part of the init command that has been received."""
        return bytes(self.data[INIT_COMMAND_AT : INIT_COMMAND_AT + min(self.command_size, INIT_COMMAND_SIZE)])

    def store_init_command(self, offset: int, piece: bytes) -> None:
        """Put `piece` at `offset` of the init command."""
        self.data[INIT_COMMAND_AT + offset : INIT_COMMAND_AT + offset + len(piece)] = piece

    def reset_progress(self) -> None:
        """Forget the init command (0xFF) and all progress (0)."""
        self.data[INIT_COMMAND_AT : INIT_COMMAND_AT + INIT_COMMAND_SIZE] = b"\xff" * INIT_COMMAND_SIZE
        self.data[0x38:_ENTER_DFU_AT] = bytes(_ENTER_DFU_AT - 0x38)
        self.write_offset = 0

    def validation(self, firmware: Firmware) -> Validation:
        """The boot validation entry of `firmware`."""
        at = BOOT_VALIDATION_AT + firmware * _VALIDATION_SIZE
        return Validation(type=self.data[at], data=bytes(self.data[at + 1 : at + _VALIDATION_SIZE]))

    def set_validation(self, firmware: Firmware, entry: Validation) -> None:
        """Replace the boot validation entry of `firmware`; the rest of its 64 bytes becomes zero."""
        at = BOOT_VALIDATION_AT + firmware * _VALIDATION_SIZE
        self.data[at : at + _VALIDATION_SIZE] = bytes((entry.type,)) + entry.data.ljust(_VALIDATION_SIZE - 1, b"\0")

    def seal(self) -> None:
        """Compute both CRCs."""
        self.crc = zlib.crc32(self.data[4:HEADER_END])
        self.validation_crc = self._computed_validation_crc()

    @property
    def header_is_valid(self) -> bool:
        """The test for the settings page: 0x004…0x05B only."""
        return self.crc != _CRC_NEVER_SET and self.crc == zlib.crc32(self.data[4:HEADER_END])

    @property
    def backup_is_valid(self) -> bool:
        """The test for the backup page: the boot validation counts as well, so that a torn copy is found out."""
        return self.header_is_valid and (self.settings_version == 1 or self.validation_crc == self._computed_validation_crc())

    def _computed_validation_crc(self) -> int:
        return zlib.crc32(self.data[BOOT_VALIDATION_AT:_BOOT_VALIDATION_END])

    def take_protected_parts(self, backup: DfuSettings) -> None:
        """Take from `backup` what the application must not change: all but the enter-DFU flag, bonding data and name."""
        self.data[4:_ENTER_DFU_AT] = backup.data[4:_ENTER_DFU_AT]
        self.data[INIT_COMMAND_AT:PEER_DATA_AT] = backup.data[INIT_COMMAND_AT:PEER_DATA_AT]

    def upgrade(self) -> None:
        """Turn layout 1 into layout 2: the application is validated by the CRC of bank 0, which was optional before."""
        peer = bytes(self.data[_V1_PEER_DATA_AT : _V1_PEER_DATA_AT + _PEER_DATA_SIZE])
        name = bytes(self.data[_V1_NAME_AT : _V1_NAME_AT + _NAME_SIZE])
        self.data[PEER_DATA_AT:NAME_AT] = peer
        self.data[NAME_AT:SIZE] = name
        kinds = {Firmware.SOFTDEVICE: ValidationType.NONE, Firmware.APPLICATION: ValidationType.CRC, Firmware.BOOTLOADER: ValidationType.NONE}
        for firmware, kind in kinds.items():
            self.data[BOOT_VALIDATION_AT + firmware * _VALIDATION_SIZE] = kind
        crc_at = BOOT_VALIDATION_AT + Firmware.APPLICATION * _VALIDATION_SIZE + 1
        struct.pack_into("<I", self.data, crc_at, self.bank0.crc)
        self.settings_version = VERSION

    @property
    def holds_application_data(self) -> bool:
        """Whether bonding data or a name may have been written: the first word of either is not erased."""
        return any(struct.unpack_from("<I", self.data, at)[0] != _CRC_NEVER_SET for at in (PEER_DATA_AT, NAME_AT))

    @property
    def advertising_name(self) -> bytes | None:
        """The name handed over by the application, or None when there is none."""
        crc, name, length = struct.unpack_from("<I20sI", self.data, NAME_AT)
        return name[:length] if crc == zlib.crc32(self.data[NAME_AT + 4 : SIZE]) and length <= NAME_MAX else None

    @property
    def peer_data(self) -> bytes | None:
        """The bonding data handed over by the application (60 bytes), or None when there are none."""
        (crc,) = struct.unpack_from("<I", self.data, PEER_DATA_AT)
        content = bytes(self.data[PEER_DATA_AT + 4 : NAME_AT])
        return content if crc == zlib.crc32(content) else None


def name_record(name: bytes) -> bytes:
    """The 28 bytes that the application writes at `NAME_AT` of the settings page; `name` has 1 to 20 bytes."""
    if not 1 <= len(name) <= NAME_MAX:
        raise ValueError(f"an advertising name has 1 to {NAME_MAX} bytes, not {len(name)}")
    content = struct.pack("<20sI", name, len(name))
    return struct.pack("<I", zlib.crc32(content)) + content


def peer_data_record(content: bytes) -> bytes:
    """The 64 bytes that the application writes at `PEER_DATA_AT`; `content` is identity key, LTK and system attributes (60 bytes)."""
    if len(content) != _PEER_DATA_SIZE - 4:
        raise ValueError(f"bonding data have {_PEER_DATA_SIZE - 4} bytes, not {len(content)}")
    return struct.pack("<I", zlib.crc32(content)) + content


def page_before_activation(
    page: bytes, firmware: bytes, *, start: int, keeps_application: bool, app_version: int, validation: Validation | None = None
) -> bytes:
    """What a bootloader makes of the settings `page` when it has received an application whole and found it good.

    `firmware` lies at `start`; it is installed at the next boot, and checked with `validation` (by default its CRC-32) at every boot
    after it.  `keeps_application`: the old one is still there, behind which the new one was received.  What the application has handed
    over, bond and name, stays.

    Source: nRF5 SDK 17.0.2, `nrf_dfu_validation.c` (postvalidate), `nrf_dfu_utils.c` (nrf_dfu_cache_prepare).
    """
    settings, crc = DfuSettings(page), zlib.crc32(firmware)
    if not keeps_application:
        settings.bank0.clear()
    settings.reset_progress()
    settings.update_start = start
    settings.bank0.code = BankCode.INVALID
    settings.bank1.size, settings.bank1.crc, settings.bank1.code = len(firmware), crc, BankCode.APPLICATION
    settings.app_version = app_version
    settings.set_validation(Firmware.APPLICATION, validation or _checked_by_crc(crc))
    settings.seal()
    return bytes(settings.data)


def factory_page(
    *,
    application: bytes | None,
    app_version: int = 0,
    bootloader_version: int = 0,
    validation: Validation | None = None,
    layout: int = VERSION,
) -> bytes:
    """The page that production writes beside an `application` (None: there is none), to both the settings and the backup page.

    `validation` says how the application is checked at boot; by default with its CRC-32.  Layout 1 has no such entry.
    """
    settings = DfuSettings(bytes(_BOOT_VALIDATION_END) + b"\xff" * (SIZE - _BOOT_VALIDATION_END))
    settings.settings_version = layout
    settings.app_version, settings.bootloader_version = app_version, bootloader_version
    if application is not None:
        crc = zlib.crc32(application)
        settings.bank0.size, settings.bank0.crc, settings.bank0.code = len(application), crc, BankCode.APPLICATION
        settings.set_validation(Firmware.APPLICATION, validation or _checked_by_crc(crc))
    settings.seal()
    if layout == 1:
        settings.data[_V1_PEER_DATA_AT:] = b"\xff" * (SIZE - _V1_PEER_DATA_AT)
    return bytes(settings.data)


def _checked_by_crc(crc: int) -> Validation:
    return Validation(type=ValidationType.CRC, data=struct.pack("<I", crc))
