"""Building DFU packages: init packet, hash, signatures, manifest.  The same input always gives the same bytes.

Field values and names follow Nordic's tool (pc-nrfutil, `nordicsemi/dfu/package.py`), so that its packages and these are alike.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError, StorageError
from rig.formats import init_packet as wire
from rig.formats.init_packet import BootValidation, InitCommand, ValidationType
from rig.images.dfu import archive
from rig.images.dfu.package import MANIFEST, SIZE_FIELDS, TYPES, DfuPackage, ImageKind, PackedImage, check

UNVERSIONED = 0xFFFF_FFFF
"""The firmware version that SoftDevices are packed with: they carry their own."""
_FILE_NAMES = {ImageKind.SOFTDEVICE_BOOTLOADER: "sd_bl"}
_MAX_U32 = 0xFFFF_FFFF


@dataclass(frozen=True, kw_only=True)
class Part:
    """One firmware for a package.

    `version` is compared by the bootloader as a number (see `parse_version`); `sd_req` are the SoftDevices (FWIDs) one of which must
    be on the device; `boot_validation` is how the bootloader checks the firmware at every boot.
    """

    data: bytes = field(repr=False)
    version: int
    sd_req: tuple[int, ...]
    boot_validation: ValidationType = ValidationType.CRC


def parse_version(text: str) -> int:
    """The number for "1.2.3" (10203, as Nordic's tool does; minor and patch below 100) or for "7" (7).  Raises `ConfigError`."""
    parts = text.split(".")
    if len(parts) not in (1, 3) or not all(part.isascii() and part.isdigit() for part in parts):
        raise ConfigError(f"version {text!r} is neither a number nor major.minor.patch")
    numbers = [int(part) for part in parts]
    if len(numbers) == 3 and max(numbers[1:]) > 99:
        raise ConfigError(f"version {text!r}: minor and patch must be below 100, or two versions would be the same number")
    value = numbers[0] if len(numbers) == 1 else numbers[0] * 10_000 + numbers[1] * 100 + numbers[2]
    if value > _MAX_U32:
        raise ConfigError(f"version {text!r} does not fit into 32 bits")
    return value


def build(
    *,
    hw_version: int,
    application: Part | None = None,
    bootloader: Part | None = None,
    softdevice: Part | None = None,
    key: ec.EllipticCurvePrivateKey | None = None,
    debug: bool = False,
) -> DfuPackage:
    """A package of the parts given, signed with `key` (None: unsigned).

    SoftDevice and bootloader together become one image, with the bootloader's version and the SoftDevice's requirements.  `debug`
    marks it for bootloaders that skip version checks.  Raises `ConfigError` for whatever no device could take.
    """
    groups: list[tuple[ImageKind, tuple[Part, ...]]] = []
    if softdevice is not None and bootloader is not None:
        groups.append((ImageKind.SOFTDEVICE_BOOTLOADER, (softdevice, bootloader)))
    elif softdevice is not None:
        groups.append((ImageKind.SOFTDEVICE, (softdevice,)))
    elif bootloader is not None:
        groups.append((ImageKind.BOOTLOADER, (bootloader,)))
    if application is not None:
        groups.append((ImageKind.APPLICATION, (application,)))
    if not groups:
        raise ConfigError("a package needs an application, a bootloader or a SoftDevice")
    for number in (hw_version, *(part.version for _, parts in groups for part in parts)):
        if not 0 <= number <= _MAX_U32:
            raise ConfigError(f"version {number} does not fit into 32 bits")
    images = [_image(kind, parts, hw_version=hw_version, key=key, debug=debug) for kind, parts in groups]
    return check(tuple(images), "the new package")


def to_zip(package: DfuPackage) -> bytes:
    """The package as a file: the same package gives the same bytes on every host."""
    entries: dict[str, object] = {}
    members: dict[str, bytes] = {}
    for image in package.images:
        entry: dict[str, object] = {"bin_file": image.bin_file, "dat_file": image.dat_file}
        if image.kind is ImageKind.SOFTDEVICE_BOOTLOADER:
            command = image.packet.command
            entry["info_read_only_metadata"] = {"bl_size": command.bl_size, "sd_size": command.sd_size}
        entries[image.kind.value] = entry
        members |= {image.dat_file: image.init_packet, image.bin_file: image.firmware}
    manifest = json.dumps({"manifest": entries}, sort_keys=True, indent=4).encode()
    return archive.pack({MANIFEST: manifest, **members})


def save(package: DfuPackage, path: str | Path) -> None:
    """Write the package to `path`.  Raises `StorageError`."""
    try:
        Path(path).write_bytes(to_zip(package))
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror or error}") from None


def _image(
    kind: ImageKind, parts: tuple[Part, ...], *, hw_version: int, key: ec.EllipticCurvePrivateKey | None, debug: bool
) -> PackedImage:
    firmware = b"".join(part.data for part in parts)
    # The bootloader's version stands for the pair; a SoftDevice has its own inside.
    version, sd_req = parts[-1].version, tuple(dict.fromkeys(parts[0].sd_req))
    if len(sd_req) > wire.MAX_SD_REQ:
        raise ConfigError(f"{len(sd_req)} SoftDevices are required, at most {wire.MAX_SD_REQ} can be listed")
    sizes = dict.fromkeys(("sd_size", "bl_size", "app_size"), 0)
    sizes |= {name: len(part.data) for name, part in zip(SIZE_FIELDS[kind], parts, strict=True)}
    command = InitCommand(
        fw_version=version,
        hw_version=hw_version,
        sd_req=sd_req,
        type=TYPES[kind][0],
        hash=wire.firmware_hash(firmware),
        is_debug=debug,
        boot_validation=tuple(_validation(part, key) for part in parts),
        **sizes,
    )
    init = wire.encode_init_command(command)
    packet = wire.unsigned_packet(init) if key is None else wire.signed_packet(init, wire.sign(init, key))
    name = _FILE_NAMES.get(kind, kind.value)
    return PackedImage(kind=kind, bin_file=f"{name}.bin", dat_file=f"{name}.dat", init_packet=packet, firmware=firmware)


def _validation(part: Part, key: ec.EllipticCurvePrivateKey | None) -> BootValidation:
    """CRC and SHA-256 are computed by the bootloader itself; only a signature travels."""
    if part.boot_validation is not ValidationType.ECDSA_P256_SHA256:
        return BootValidation(type=part.boot_validation)
    if key is None:
        raise ConfigError("boot validation by signature needs a key")
    return BootValidation(type=part.boot_validation, data=wire.sign(part.data, key))
