"""Sample applications, built and signed: update packages for virtual boards that need nobody's firmware."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rig.errors import ConfigError, StorageError
from rig.formats import sample_app
from rig.formats.mcuboot_image import BUILT_HEADER_SIZE
from rig.formats.test_key import PrivateKey, SignatureAlgorithm, private_key
from rig.images import mcuboot, signing
from rig.model import ImageFile, MemoryMap
from rig.scenario import ImageBuild

FLASH_WRITE_SIZE = 4
"""Bytes that an nRF52 writes at once."""


def build_signed(
    build: ImageBuild,
    *,
    soc: str,
    memory: MemoryMap,
    folder: Path,
    role: str = "app",
    key: PrivateKey | None = None,
    signature: SignatureAlgorithm = SignatureAlgorithm.ECDSA_P256,
    align: int = FLASH_WRITE_SIZE,
    pad: bool = False,
) -> ImageFile:
    """Build what `build` says for `soc`, linked to the primary slot of `memory`, sign it, and write it into `folder`.

    `key` None signs with the test key of `signature`.  The same arguments give the same bytes and the same file name, in which
    `role` comes first.  Raises `ConfigError` when it does not fit, `StorageError` when it cannot be written.
    """
    address = memory.primary.start + BUILT_HEADER_SIZE
    application = compile_sample(build, version=build.version, soc=soc, address=address, role=role)
    data = signing.sign(
        application,
        version=build.version,
        key=key or private_key(signature),
        slot_size=memory.primary.size,
        align=align,
        pad=pad,
    )
    path = write_image(data, folder, f"{role}-{build.version}-{soc}", suffix=".bin")
    return mcuboot.read(path).record


def compile_sample(build: ImageBuild, *, version: str, soc: str, address: int, role: str) -> bytes:
    """The bytes of the sample application that `build` describes, linked to `address`.  Raises `ConfigError`."""
    try:
        return sample_app.build(
            soc=soc,
            version=version,
            address=address,
            size=build.size,
            confirm=sample_app.ConfirmPolicy(build.confirm),
            self_test_s=build.self_test_s,
            crash=build.crash,
            flags=build.flags,
            seed=build.seed,
        )
    except ValueError as error:
        raise ConfigError(f"image {role} {build.version}: {error}") from error


def write_image(data: bytes, folder: Path, stem: str, *, suffix: str) -> Path:
    """Write `data` into `folder` under a name that tells its content apart.  Raises `StorageError`."""
    path = folder / f"{stem}-{hashlib.sha256(data).hexdigest()[:8]}{suffix}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise StorageError(f"{path} cannot be written: {error.strerror}") from error
    return path
