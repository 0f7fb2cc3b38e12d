"""What the bootloader checks: the init packet before it receives, the firmware before it believes it, the application at every boot.

Source: nRF5 SDK 17.0.2, `bootloader/dfu/nrf_dfu_validation.c`, `nrf_dfu_ver_validation.c`.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

from rig.formats.dfu_settings import BankCode, DfuSettings, Firmware, Validation
from rig.formats.init_packet import (
    OVERWRITES_SOFTDEVICE,
    BootValidation,
    FirmwareType,
    HashType,
    InitCommand,
    InitPacket,
    SignatureType,
    ValidationType,
    verify,
)
from rig.model import Region
from rig.virtual.cpu import Cpu
from rig.virtual.secure_dfu.codes import ExtendedError, Result, Verdict
from rig.virtual.secure_dfu.config import MBR_SIZE, SecureDfuConfig
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.layout import page_up
from rig.virtual.secure_dfu.softdevice import softdevice_at

_KNOWN_TYPES = (FirmwareType.APPLICATION, FirmwareType.SOFTDEVICE, FirmwareType.BOOTLOADER, FirmwareType.SOFTDEVICE_BOOTLOADER)
_SIGNATURE_SIZE = 64
_HASH_SIZE = 32


# ---------------------------------------------------------------------------------------------------- the init packet
async def check_packet(cpu: Cpu, config: SecureDfuConfig, settings: DfuSettings, packet: InitPacket) -> Verdict:
    """Signature, then versions, in the order in which a device refuses.  Takes the time that the signature takes."""
    kind = packet.command.type or FirmwareType.APPLICATION
    if kind != FirmwareType.APPLICATION or config.require_signed_app:
        verdict = await _check_signature(cpu, config, packet)
        if verdict is not Result.SUCCESS:
            return verdict
    return _check_versions(cpu, config, settings, packet.command)


async def _check_signature(cpu: Cpu, config: SecureDfuConfig, packet: InitPacket) -> Verdict:
    if packet.signature is None:
        return Result.SUCCESS if config.has(Defect.UNSIGNED_ACCEPTED) else ExtendedError.SIGNATURE_MISSING
    if packet.signature_type != SignatureType.ECDSA_P256_SHA256:
        return ExtendedError.WRONG_SIGNATURE_TYPE
    if len(packet.signature) != _SIGNATURE_SIZE:
        return Result.OPERATION_FAILED
    if config.has(Defect.SIGNATURE_NOT_CHECKED):
        return Result.SUCCESS
    signed = packet.signed[::-1] if config.has(Defect.BYTE_ORDER_WRONG) else packet.signed
    return Result.SUCCESS if await _is_signed(cpu, config, signed, packet.signature) else Result.INVALID_OBJECT


async def _is_signed(cpu: Cpu, config: SecureDfuConfig, data: bytes, signature: bytes) -> bool:
    await cpu.sleep(config.hash_s(len(data)) + config.signature_s)
    return any(verify(data, signature, key) for key in config.trusted_keys)


def _check_versions(cpu: Cpu, config: SecureDfuConfig, settings: DfuSettings, command: InitCommand) -> Verdict:
    if command.type not in _KNOWN_TYPES:
        return ExtendedError.INIT_COMMAND_INVALID
    if command.hash is None or command.hash.type != HashType.SHA256:
        return ExtendedError.WRONG_HASH_TYPE
    if command.hw_version is None:
        return ExtendedError.INIT_COMMAND_INVALID
    if command.is_debug and config.has(Defect.DEBUG_PACKET_ACCEPTED):
        return Result.SUCCESS
    if command.hw_version != config.hw_version and not config.has(Defect.WRONG_HARDWARE_VERSION_ACCEPTED):
        return ExtendedError.HARDWARE_VERSION
    if not _softdevice_is_right(cpu, config, command) and not config.has(Defect.SOFTDEVICE_REQUIREMENT_IGNORED):
        return ExtendedError.SOFTDEVICE_VERSION
    if command.fw_version is None:
        required = command.type != FirmwareType.SOFTDEVICE and (command.type != FirmwareType.APPLICATION or config.downgrade_prevention)
        return ExtendedError.INIT_COMMAND_INVALID if required else Result.SUCCESS
    if not _version_is_right(config, settings, command.type, command.fw_version):
        return ExtendedError.FIRMWARE_VERSION
    return Result.SUCCESS


def _softdevice_is_right(cpu: Cpu, config: SecureDfuConfig, command: InitCommand) -> bool:
    """`sd_req`: the SoftDevice must be listed.  The list [0] alone is let through for applications, a longer one is not."""
    installed = softdevice_at(cpu, MBR_SIZE)
    prevent = config.downgrade_prevention or command.type == FirmwareType.SOFTDEVICE
    needs_none = bool(command.sd_req) and command.sd_req[0] == OVERWRITES_SOFTDEVICE
    if installed is None:
        if command.sd_req and not needs_none:
            return False
        return not prevent or command.fw_version is not None
    if not command.sd_req:
        return False
    if not needs_none:
        return installed.firmware_id in command.sd_req
    if command.type == FirmwareType.APPLICATION:
        return not (prevent and len(command.sd_req) > 1)
    return not prevent or command.type != FirmwareType.SOFTDEVICE


def _version_is_right(config: SecureDfuConfig, settings: DfuSettings, kind: int, version: int) -> bool:
    if config.has(Defect.LOWER_VERSION_ACCEPTED):
        return True
    if kind not in {FirmwareType.APPLICATION, FirmwareType.SOFTDEVICE}:
        return version > settings.bootloader_version
    if not config.downgrade_prevention or version > settings.app_version:
        return True
    return version == settings.app_version and (config.accept_same_version or config.has(Defect.EQUAL_VERSION_ACCEPTED))


def firmware_size(config: SecureDfuConfig, command: InitCommand) -> int | Verdict:
    """Bytes that follow; a verdict when the packet does not say so properly."""
    kind = command.type or FirmwareType.APPLICATION
    size = 0
    if kind == FirmwareType.APPLICATION:
        size = command.app_size or 0
    else:
        if kind & FirmwareType.SOFTDEVICE:
            size = command.sd_size or 0
        if kind & FirmwareType.BOOTLOADER and command.bl_size is not None:
            if command.bl_size > config.bootloader_size:
                return Result.INSUFFICIENT_RESOURCES
            size = size + command.bl_size & 0xFFFF_FFFF
    return size or ExtendedError.INIT_COMMAND_INVALID


# ------------------------------------------------------------------------------------------------ the received firmware
async def accept_firmware(
    cpu: Cpu, config: SecureDfuConfig, settings: DfuSettings, command: InitCommand | None, received: Region
) -> Verdict:
    """Check what has been received and mark it in `settings` for activation at the next boot; on failure clear bank 1.

    Either way the progress is reset and the start address remembered.  Takes the time that hashes and signatures take.
    """
    verdict: Verdict = Result.SUCCESS
    firmware = cpu.read(received.start, received.size)
    await cpu.sleep(config.hash_s(received.size))
    if command is None or not _hash_is_right(command, firmware):
        verdict = ExtendedError.VERIFICATION_FAILED
    elif (command.type or 0) == FirmwareType.APPLICATION:
        if not await _accept_application(cpu, config, settings, command, firmware):
            verdict = Result.INVALID_OBJECT
    elif not await _accept_system(cpu, config, settings, command, received):
        verdict = Result.INVALID_OBJECT
    if verdict is Result.SUCCESS:
        settings.bank1.crc = zlib.crc32(firmware)
        settings.bank1.size = received.size
    else:
        settings.bank1.clear()
    settings.reset_progress()
    settings.update_start = received.start
    return verdict


def _hash_is_right(command: InitCommand, firmware: bytes) -> bool:
    """A shorter hash is filled up with zeros, so that it never fits."""
    digest = (command.hash.digest if command.hash else b"").ljust(_HASH_SIZE, b"\0")
    return hashlib.sha256(firmware).digest() == digest[::-1]


async def _accept_application(
    cpu: Cpu, config: SecureDfuConfig, settings: DfuSettings, command: InitCommand, firmware: bytes
) -> bool:
    entry = await _boot_validation(cpu, config, command, firmware, default=ValidationType.CRC)
    if entry is None:
        return False
    mark_application(settings, entry, version=command.fw_version or 0)
    return True


def mark_application(settings: DfuSettings, entry: Validation, *, version: int) -> None:
    """Have the application in bank 1 installed at the next boot, and checked with `entry` at every boot after it."""
    settings.set_validation(Firmware.APPLICATION, entry)
    settings.bank1.code = BankCode.APPLICATION
    settings.bank0.code = BankCode.INVALID
    settings.app_version = version


async def _accept_system(cpu: Cpu, config: SecureDfuConfig, settings: DfuSettings, command: InitCommand, received: Region) -> bool:
    """SoftDevice, bootloader, or both, SoftDevice first."""
    kind = command.type or 0
    with_softdevice, with_bootloader = bool(kind & FirmwareType.SOFTDEVICE), bool(kind & FirmwareType.BOOTLOADER)
    size = command.sd_size or 0 if with_softdevice else 0
    softdevice_entry = bootloader_entry = None
    if with_softdevice:
        if not _softdevice_fits(cpu, received.start, size, with_bootloader=with_bootloader):
            return False
        softdevice_entry = await _boot_validation(cpu, config, command, cpu.read(received.start, size), default=ValidationType.CRC)
        if softdevice_entry is None:
            return False
    if with_bootloader:
        bootloader = cpu.read(received.start + size, received.size - size)
        bootloader_entry = await _boot_validation(cpu, config, command, bootloader, default=ValidationType.NONE)
        if bootloader_entry is None:
            return False
    if softdevice_entry is not None:
        if _is_major_update(cpu, received.start):
            settings.bank0.clear()
        settings.set_validation(Firmware.SOFTDEVICE, softdevice_entry)
        settings.softdevice_size = size
    if bootloader_entry is not None:
        settings.set_validation(Firmware.BOOTLOADER, bootloader_entry)
        settings.bootloader_version = command.fw_version or 0
    both = BankCode.SOFTDEVICE_BOOTLOADER if with_bootloader else BankCode.SOFTDEVICE
    settings.bank1.code = both if with_softdevice else BankCode.BOOTLOADER
    return True


def _softdevice_fits(cpu: Cpu, start: int, size: int, *, with_bootloader: bool) -> bool:
    """Whether the bootloader can live with the SoftDevice at `start`: it runs on it, so another major version needs a new bootloader."""
    new, old = softdevice_at(cpu, start), softdevice_at(cpu, MBR_SIZE)
    if new is None or new.size < page_up(size + MBR_SIZE):
        return False
    if old is not None and new.softdevice_id != old.softdevice_id:
        return False
    return with_bootloader or not _is_major_update(cpu, start)


def _is_major_update(cpu: Cpu, start: int) -> bool:
    new, old = softdevice_at(cpu, start), softdevice_at(cpu, MBR_SIZE)
    return new is not None and (old is None or new.major != old.major)


async def _boot_validation(
    cpu: Cpu, config: SecureDfuConfig, command: InitCommand, firmware: bytes, *, default: ValidationType
) -> Validation | None:
    """The entry for the settings, made from the first entry of the packet and the firmware; None when the firmware does not pass it."""
    wanted = command.boot_validation[0] if command.boot_validation else BootValidation(type=default)
    match wanted.type:
        case ValidationType.NONE:
            data = b""
        case ValidationType.CRC:
            data = struct.pack("<I", zlib.crc32(firmware))
        case ValidationType.SHA256:
            data = hashlib.sha256(firmware).digest()
        case ValidationType.ECDSA_P256_SHA256:
            data = wanted.data
        case _:
            return None
    entry = Validation(type=wanted.type, data=data)
    return entry if await passes_boot_validation(cpu, config, entry, firmware) else None


# ------------------------------------------------------------------------------------------------------- at every boot
async def passes_boot_validation(
    cpu: Cpu, config: SecureDfuConfig, entry: Validation, firmware: bytes, *, skip_crc: bool = False
) -> bool:
    """Whether `firmware` is what `entry` says.  Only a CRC check can be left out.  Takes the time of the check."""
    match entry.type:
        case ValidationType.NONE:
            return True
        case ValidationType.CRC if skip_crc:
            return True
        case ValidationType.CRC:
            await cpu.sleep(config.hash_s(len(firmware)))
            return struct.pack("<I", zlib.crc32(firmware)) == entry.data[:4]
        case ValidationType.SHA256:
            await cpu.sleep(config.hash_s(len(firmware)))
            return hashlib.sha256(firmware).digest() == entry.data[:_HASH_SIZE]
        case ValidationType.ECDSA_P256_SHA256:
            return await _is_signed(cpu, config, firmware, entry.data.ljust(_SIGNATURE_SIZE, b"\0"))
    return False
