"""A DFU package: manifest, and per image an init packet (.dat) and a firmware (.bin).

Layout of the archive: pc-nrfutil, `nordicsemi/dfu/manifest.py`.  `read` is for packages that shall be fine: whatever is wrong with
one is a `ConfigError` that names the part, and nothing has been sent anywhere.  `read_unchecked` is for packages that are wrong on
purpose.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from rig.errors import ConfigError, Problem
from rig.formats import init_packet as wire
from rig.formats.init_packet import FirmwareType, HashType, InitPacket, SignatureType, ValidationType
from rig.images.dfu import archive
from rig.images.dfu.archive import Archive

MANIFEST = "manifest.json"
SIGNATURE_SIZE = 64
MAX_INTERNAL = 1 << 20
"""Bytes: the flash of the largest SoC, an nRF52840."""
_MAX_MANIFEST = 64 << 10
_MAX_FWID = 0xFFFF


class ImageKind(StrEnum):
    """What an image is, in the manifest's words.  The order is that in which a host sends them."""

    SOFTDEVICE_BOOTLOADER = "softdevice_bootloader"
    SOFTDEVICE = "softdevice"
    BOOTLOADER = "bootloader"
    APPLICATION = "application"


TYPES = {
    ImageKind.SOFTDEVICE_BOOTLOADER: (FirmwareType.SOFTDEVICE_BOOTLOADER,),
    ImageKind.SOFTDEVICE: (FirmwareType.SOFTDEVICE,),
    ImageKind.BOOTLOADER: (FirmwareType.BOOTLOADER,),
    ImageKind.APPLICATION: (FirmwareType.APPLICATION, FirmwareType.EXTERNAL_APPLICATION),
}
"""What the init packet may say for each kind."""
SIZE_FIELDS = {
    ImageKind.SOFTDEVICE_BOOTLOADER: ("sd_size", "bl_size"),
    ImageKind.SOFTDEVICE: ("sd_size",),
    ImageKind.BOOTLOADER: ("bl_size",),
    ImageKind.APPLICATION: ("app_size",),
}
"""Which fields of the init packet add up to the firmware, in the order in which the parts lie in it."""


@dataclass(frozen=True, kw_only=True)
class PackedImage:
    """One image as it stands in the archive and as it goes to the device; nothing about it has been checked."""

    kind: ImageKind
    bin_file: str
    dat_file: str
    init_packet: bytes = field(repr=False)
    firmware: bytes = field(repr=False)
    stated_sizes: tuple[int, int] | None = None
    """SoftDevice and bootloader size, bytes, where the manifest states them."""


@dataclass(frozen=True, kw_only=True)
class DfuImage(PackedImage):
    """An image whose init packet is well-formed and agrees with the firmware and with the manifest."""

    packet: InitPacket


@dataclass(frozen=True, kw_only=True)
class DfuPackage:
    """The images of a package, in the order in which they are sent; `name` is the file's."""

    name: str
    images: tuple[DfuImage, ...]


# ---------------------------------------------------------------------------------------------------------------- reading
def read(path: str | Path) -> DfuPackage:
    """The package at `path`.  Raises `ConfigError` with everything that is wrong with it; signatures are left to `verify`."""
    name = str(path)
    return check(read_unchecked(path), name)


def read_unchecked(path: str | Path) -> tuple[PackedImage, ...]:
    """The images of the package at `path` as bytes, in the order in which they are sent.

    Raises `ConfigError` only where the archive or its manifest does not lead to bytes that could be sent.
    """
    opened = archive.load(path)
    manifest = _manifest(opened)
    return tuple(_packed(opened, kind, manifest[kind]) for kind in ImageKind if kind in manifest)


def check(images: tuple[PackedImage, ...], name: str) -> DfuPackage:
    """The same images, taken apart and compared with what they say of themselves.  Raises `ConfigError` with all problems."""
    problems: list[Problem] = []
    checked = []
    for image in images:
        found = [Problem(file=name, key=key, reason=reason) for key, reason in _problems_before_decoding(image)]
        if not found:
            try:
                packet = wire.decode(image.init_packet)
            except ConfigError as error:
                found = [Problem(file=name, key=f"{image.kind}.dat_file", reason=str(error))]
            else:
                found = [Problem(file=name, key=key, reason=reason) for key, reason in _problems(image, packet)]
                checked.append(DfuImage(**vars(image), packet=packet))
        problems += found
    if problems:
        raise ConfigError(problems)
    return DfuPackage(name=name, images=tuple(checked))


def _manifest(opened: Archive) -> dict[ImageKind, Any]:
    text = opened.read(MANIFEST, key="manifest", limit=_MAX_MANIFEST)
    try:
        content = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise opened.error(f"{MANIFEST} is not JSON: {error}", key="manifest") from None
    entries = content.get("manifest") if isinstance(content, dict) else None
    if not isinstance(entries, dict):
        raise opened.error(f'{MANIFEST} has no object "manifest"', key="manifest")
    known = {kind.value for kind in ImageKind}
    for key, value in entries.items():
        # Anything else that looks like an image would be left out without a word.
        if key not in known and isinstance(value, dict) and "bin_file" in value:
            raise opened.error(f"unknown kind of image {key!r}", key="manifest", hint=f"known: {', '.join(sorted(known))}")
    if not known & entries.keys():
        raise opened.error("the manifest names no image", key="manifest", hint=f"known: {', '.join(sorted(known))}")
    return {kind: entries[kind.value] for kind in ImageKind if kind.value in entries}


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise ValueError("a key stands in an object twice")
    return entries


def _packed(opened: Archive, kind: ImageKind, entry: Any) -> PackedImage:
    if not isinstance(entry, dict):
        raise opened.error("the entry is not an object", key=f"manifest.{kind}")
    bin_file, dat_file = (_file_name(opened, kind, entry, key) for key in ("bin_file", "dat_file"))
    return PackedImage(
        kind=kind,
        bin_file=bin_file,
        dat_file=dat_file,
        init_packet=opened.read(dat_file, key=f"{kind}.dat_file"),
        firmware=opened.read(bin_file, key=f"{kind}.bin_file"),
        stated_sizes=_stated_sizes(opened, kind, entry),
    )


def _file_name(opened: Archive, kind: ImageKind, entry: dict[str, Any], key: str) -> str:
    name = entry.get(key)
    if not isinstance(name, str):
        raise opened.error("must be a file name" if key in entry else "missing", key=f"manifest.{kind}.{key}")
    return name


def _stated_sizes(opened: Archive, kind: ImageKind, entry: dict[str, Any]) -> tuple[int, int] | None:
    """Later tools put the sizes under info_read_only_metadata, earlier ones beside the file names."""
    metadata = entry.get("info_read_only_metadata", entry)
    if kind is not ImageKind.SOFTDEVICE_BOOTLOADER or not isinstance(metadata, dict) or not {"sd_size", "bl_size"} & metadata.keys():
        return None
    sd_size, bl_size = metadata.get("sd_size"), metadata.get("bl_size")
    if not isinstance(sd_size, int) or not isinstance(bl_size, int):
        raise opened.error("sd_size and bl_size must both be whole numbers", key=f"manifest.{kind}")
    return sd_size, bl_size


# --------------------------------------------------------------------------------------------------------------- checking
_Found = Iterator[tuple[str, str]]


def _problems_before_decoding(image: PackedImage) -> _Found:
    size = len(image.init_packet)
    if not 0 < size <= wire.MAX_SIZE:
        yield f"{image.kind}.dat_file", f"an init packet has 1 to {wire.MAX_SIZE} bytes, this one has {size}"
    if not image.firmware:
        yield f"{image.kind}.bin_file", "the firmware is empty"


def _problems(image: PackedImage, packet: InitPacket) -> _Found:
    prefix = f"{image.kind}.init_packet"
    command = packet.command
    if command.type not in TYPES[image.kind]:
        expected = " or ".join(kind.name for kind in TYPES[image.kind])
        yield f"{prefix}.type", f"the manifest says {image.kind}, so this must be {expected}, not {_name(FirmwareType, command.type)}"
    elif command.type != FirmwareType.EXTERNAL_APPLICATION and len(image.firmware) > MAX_INTERNAL:
        yield f"{image.kind}.bin_file", f"{len(image.firmware)} bytes are more than the flash of any SoC ({MAX_INTERNAL})"
    yield from _size_problems(image, packet)
    if command.hash is None or command.hash.type != HashType.SHA256:
        yield f"{prefix}.hash", "there must be a hash of type SHA256"
    elif command.hash != wire.firmware_hash(image.firmware):
        yield f"{prefix}.hash", f"it is not the hash of {image.bin_file}"
    for fwid in command.sd_req:
        if fwid > _MAX_FWID:
            yield f"{prefix}.sd_req", f"0x{fwid:x} is no SoftDevice's number; they have 16 bits"
    if packet.signature is not None:
        if packet.signature_type != SignatureType.ECDSA_P256_SHA256:
            yield f"{prefix}.signature_type", f"{_name(SignatureType, packet.signature_type)} is accepted by no bootloader"
        if len(packet.signature) != SIGNATURE_SIZE:
            yield f"{prefix}.signature", f"a signature has {SIGNATURE_SIZE} bytes, this one has {len(packet.signature)}"
    for entry in command.boot_validation:
        if entry.type not in list(ValidationType):
            yield f"{prefix}.boot_validation", f"type {entry.type} is unknown"
        elif entry.type == ValidationType.ECDSA_P256_SHA256 and len(entry.data) != SIGNATURE_SIZE:
            yield f"{prefix}.boot_validation", f"a signature has {SIGNATURE_SIZE} bytes, this one has {len(entry.data)}"


def _size_problems(image: PackedImage, packet: InitPacket) -> _Found:
    command = packet.command
    sizes = {"sd_size": command.sd_size, "bl_size": command.bl_size, "app_size": command.app_size}
    relevant = SIZE_FIELDS[image.kind]
    for key in relevant:
        if not sizes[key]:
            yield f"{image.kind}.init_packet.{key}", "missing or 0"
    total = sum(sizes[key] or 0 for key in relevant)
    if total != len(image.firmware):
        words = " + ".join(relevant)
        yield f"{image.kind}.init_packet.{words}", f"{total} bytes are stated, {image.bin_file} has {len(image.firmware)}"
    if image.stated_sizes is not None and image.stated_sizes != (command.sd_size, command.bl_size):
        yield f"manifest.{image.kind}", f"sd_size and bl_size {image.stated_sizes} are not those of the init packet"


def _name(kind: type[FirmwareType | SignatureType], value: int | None) -> str:
    return "missing" if value is None else next((entry.name for entry in kind if entry == value), str(value))
