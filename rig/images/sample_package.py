"""DFU packages as a plan pins them: sample applications packed and signed, or packages of others."""

from __future__ import annotations

import hashlib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats.test_key import PrivateKey, SignatureAlgorithm, private_key
from rig.images import dfu
from rig.images.sample_app import compile_sample, write_image
from rig.model import Board, ImageFile, MemoryMap
from rig.scenario import ImageBuild

HW_VERSION = 52
"""NRF_DFU_HW_VERSION of the nRF5 SDK's examples for every nRF52."""
SOFTDEVICE_FWIDS = {"nrf52832": 0x0101, "nrf52833": 0x0100, "nrf52840": 0x0100}
"""FWID of S132 7.2.0 and S140 7.2.0 (nRF5 SDK 17.0.2 release notes)."""


def build_package(
    build: ImageBuild, *, soc: str, memory: MemoryMap, folder: Path, role: str = "app", key: PrivateKey | None = None
) -> ImageFile:
    """Build what `build` says for `soc`, linked to bank 0 of `memory`, pack and sign it, and write it into `folder`.

    `key` None signs with the public test key.  Raises `ConfigError` when it does not fit, `StorageError` when it cannot be written.
    """
    signer = key or private_key(SignatureAlgorithm.ECDSA_P256)
    if not isinstance(signer, ec.EllipticCurvePrivateKey):
        raise ConfigError("Secure DFU packages are signed with ECDSA-P256; the key is of another kind")
    version = build.version.partition("+")[0]
    application = compile_sample(build, version=version, soc=soc, address=memory.primary.start, role=role)
    softdevices = build.softdevice or (SOFTDEVICE_FWIDS[soc],)
    part = dfu.Part(data=application, version=dfu.parse_version(version), sd_req=softdevices)
    hardware = HW_VERSION if build.hardware is None else build.hardware
    data = dfu.to_zip(dfu.build(hw_version=hardware, application=part, key=signer))
    path = write_image(data, folder, f"{role}-{version}-{soc}", suffix=".zip")
    return _image_file(path, data, application, version)


def dfu_image_file(path: Path, board: Board) -> ImageFile:
    """The record of a package on disk.  Raises `ConfigError` when it is broken, or more or less than one application for `board`."""
    package = dfu.read(path)
    if len(package.images) != 1 or package.images[0].kind is not dfu.ImageKind.APPLICATION:
        raise ConfigError(f"{path}: a scenario updates the application, so its package must hold that and nothing else")
    image = package.images[0]
    if len(image.firmware) > board.memory.primary.size:
        raise ConfigError(f"{path}: {len(image.firmware)} bytes do not fit into the {board.memory.primary.size} of board {board.name!r}")
    number = image.packet.command.fw_version or 0
    version = f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
    return _image_file(path, path.read_bytes(), image.firmware, version)


def _image_file(path: Path, package: bytes, application: bytes, version: str) -> ImageFile:
    return ImageFile(
        path=str(path),
        sha256=hashlib.sha256(package).hexdigest(),
        size=len(application),
        version=version,
        image_hash=hashlib.sha256(application).hexdigest(),
    )
