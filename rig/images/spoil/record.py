"""Spoiled packages as a plan pins them: their own SHA-256, and what a device would report of them."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from rig.errors import ConfigError
from rig.formats import encryption_key, mcuboot_image
from rig.formats.spoil_kinds import Format
from rig.images import dfu, encryption
from rig.images.sample_app import write_image
from rig.images.spoil.registry import Helpers, format_of, spoil
from rig.model import ImageFile


def spoiled(good: ImageFile, kind: str, helpers: Helpers, folder: Path) -> ImageFile:
    """The package of `good`, spoiled in the way called `kind` and written into `folder`.  Raises `ConfigError` as `spoil` does."""
    data = spoil(Path(good.path), kind, helpers)
    source = Path(good.path)
    path = write_image(data, folder, f"{source.stem}-{kind}", suffix=source.suffix)
    record = replace(
        good, path=str(path), sha256=hashlib.sha256(data).hexdigest(), spoiled=kind, clear_path=None, clear_sha256=None
    )
    if format_of(Path(good.path).read_bytes()) is Format.SECURE_DFU:
        return _package(record)
    return _with_clear_twin(_image(record, data), data, helpers, folder)


def _image(record: ImageFile, data: bytes) -> ImageFile:
    """What a device would report: hash and version as they are stated, right or wrong; the good image's where none are found."""
    stated_hash = mcuboot_image.stated_hash(data)
    return replace(
        record,
        size=len(data),
        version=mcuboot_image.stated_version(data) or record.version,
        image_hash=stated_hash.hex() if stated_hash is not None else record.image_hash,
    )


def _package(record: ImageFile) -> ImageFile:
    """The application reports the version that it was built with, whatever the init packet says; the probe finds its bytes."""
    firmware = dfu.read_unchecked(record.path)[-1].firmware
    return replace(record, size=len(firmware), image_hash=hashlib.sha256(firmware).hexdigest())


def _with_clear_twin(record: ImageFile, data: bytes, helpers: Helpers, folder: Path) -> ImageFile:
    """With the file as a careless bootloader would install it; none where nothing could be decrypted."""
    try:
        image = mcuboot_image.parse(data)
        if not image.is_encrypted:
            return record
        clear = encryption.payload_turned(data, image, helpers.encryption_key or encryption_key.private_key())
    except ConfigError:
        return record
    path = write_image(clear, folder, f"{Path(record.path).stem}-clear", suffix=".bin")
    return replace(record, clear_path=str(path), clear_sha256=hashlib.sha256(clear).hexdigest())
