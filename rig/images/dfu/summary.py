"""What a package says and whether it is true: the record behind `rig package show`, and the check behind `rig package verify`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError, Problem
from rig.formats import init_packet as wire
from rig.formats.init_packet import FirmwareType, ValidationType
from rig.images.dfu.banks import BankFit, BankLayout, BankMode, fit
from rig.images.dfu.package import SIZE_FIELDS, DfuImage, DfuPackage, ImageKind

_OLD_INIT_LIMIT = 256
_WORD = 4


@dataclass(frozen=True, kw_only=True)
class BootCheck:
    """How one part is checked at every boot.  `valid` is about a signature: None where there is none, or no key to check it with."""

    part: str
    validation: ValidationType
    valid: bool | None


@dataclass(frozen=True, kw_only=True)
class ImageSummary:
    """Everything about one image.  Sizes in bytes, hashes in hexadecimal, in the usual byte order.

    `signature_valid` is None when the image is not signed or no key was given; `bank` is None without a layout and for external
    applications; `notes` say what a reader should know before sending it.
    """

    kind: ImageKind
    bin_file: str
    dat_file: str
    firmware_size: int
    firmware_sha256: str
    init_packet_size: int
    init_packet_sha256: str
    type: FirmwareType
    fw_version: int | None
    hw_version: int | None
    sd_req: tuple[int, ...]
    sd_size: int
    bl_size: int
    app_size: int
    is_debug: bool
    signed: bool
    signature_valid: bool | None
    boot_checks: tuple[BootCheck, ...]
    bank: BankFit | None
    notes: tuple[str, ...]


def show(
    package: DfuPackage,
    *,
    public_key: ec.EllipticCurvePublicKey | None = None,
    layout: BankLayout | None = None,
    installed: int | None = None,
) -> tuple[ImageSummary, ...]:
    """One summary per image.

    `installed` is the size of the application on the device, bytes; without it, an application of the new one's size is assumed,
    and for a SoftDevice or bootloader image as large as the image.
    """
    return tuple(_summary(image, public_key, layout, installed) for image in package.images)


def verify(package: DfuPackage, public_key: ec.EllipticCurvePublicKey) -> None:
    """Raise `ConfigError` unless every image is signed by `public_key`, and every boot signature in it is, too."""
    problems = [
        Problem(file=package.name, key=f"{image.kind}.init_packet.{key}", reason=reason)
        for image in package.images
        for key, reason in _signature_problems(image, public_key)
    ]
    if problems:
        raise ConfigError(problems)


def _signature_problems(image: DfuImage, public_key: ec.EllipticCurvePublicKey) -> Iterator[tuple[str, str]]:
    if image.packet.signature is None:
        yield "signature", "the init packet is not signed"
    elif not _signature_valid(image, public_key):
        yield "signature", "it was not made by this key over this init command"
    for check in _boot_checks(image, public_key):
        if check.valid is False:
            yield "boot_validation", f"the signature over the {check.part} was not made by this key"


def _summary(
    image: DfuImage, public_key: ec.EllipticCurvePublicKey | None, layout: BankLayout | None, installed: int | None
) -> ImageSummary:
    command = image.packet.command
    external = command.type == FirmwareType.EXTERNAL_APPLICATION
    bank = None if layout is None or external else fit(len(image.firmware), layout, installed=installed)
    signed = image.packet.signature is not None
    return ImageSummary(
        kind=image.kind,
        bin_file=image.bin_file,
        dat_file=image.dat_file,
        firmware_size=len(image.firmware),
        firmware_sha256=hashlib.sha256(image.firmware).hexdigest(),
        init_packet_size=len(image.init_packet),
        init_packet_sha256=hashlib.sha256(image.init_packet).hexdigest(),
        type=FirmwareType(command.type or 0),
        fw_version=command.fw_version,
        hw_version=command.hw_version,
        sd_req=command.sd_req,
        sd_size=command.sd_size or 0,
        bl_size=command.bl_size or 0,
        app_size=command.app_size or 0,
        is_debug=bool(command.is_debug),
        signed=signed,
        signature_valid=_signature_valid(image, public_key) if signed and public_key is not None else None,
        boot_checks=tuple(_boot_checks(image, public_key)),
        bank=bank,
        notes=tuple(_notes(image, bank)),
    )


def _signature_valid(image: DfuImage, public_key: ec.EllipticCurvePublicKey) -> bool:
    return image.packet.signature is not None and wire.verify(image.packet.signed, image.packet.signature, public_key)


def _boot_checks(image: DfuImage, public_key: ec.EllipticCurvePublicKey | None) -> Iterator[BootCheck]:
    """Entry n of the boot validation is for part n of the firmware."""
    start = 0
    for field, entry in zip(SIZE_FIELDS[image.kind], image.packet.command.boot_validation, strict=False):
        size: int = getattr(image.packet.command, field)
        part = image.firmware[start : start + size]
        start += size
        signature = entry.type == ValidationType.ECDSA_P256_SHA256
        valid = wire.verify(part, entry.data, public_key) if signature and public_key is not None else None
        name = {"sd_size": "SoftDevice", "bl_size": "bootloader", "app_size": "application"}[field]
        yield BootCheck(part=name, validation=ValidationType(entry.type), valid=valid)


def _notes(image: DfuImage, bank: BankFit | None) -> Iterator[str]:
    command = image.packet.command
    if image.packet.signature is None:
        yield "not signed: bootloaders with the default configuration refuse it"
    if command.is_debug:
        yield "marked as debug: bootloaders built with NRF_DFU_DEBUG skip all version checks for it"
    if command.hw_version is None or (command.fw_version is None and image.kind is not ImageKind.SOFTDEVICE):
        yield "hardware or firmware version is missing: bootloaders refuse it"
    if not command.sd_req:
        yield "no SoftDevice is required: bootloaders on a device with a SoftDevice refuse it"
    if len(command.boot_validation) < len(SIZE_FIELDS[image.kind]):
        yield "no boot validation is stated for every part: the bootloader falls back to its own default"
    if len(image.init_packet) > _OLD_INIT_LIMIT:
        yield f"the init packet is larger than {_OLD_INIT_LIMIT} bytes: bootloaders of SDK 15.0 and earlier refuse it"
    if len(image.firmware) % _WORD:
        yield "the firmware is no whole number of words: some hosts send it so that the device loses its last bytes"
    if bank is not None and bank.mode is BankMode.SINGLE:
        kept = "up to which it would be kept: none" if bank.largest_installed < 0 else f"is kept up to {bank.largest_installed} bytes"
        yield f"single bank: an application of {bank.installed} bytes is destroyed before the new one is sent ({kept})"
    if bank is not None and bank.mode is BankMode.DOES_NOT_FIT:
        yield f"it does not fit: {bank.size} bytes, room for {bank.layout.room}"
