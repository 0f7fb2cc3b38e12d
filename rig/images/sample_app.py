"""Sample applications, built and signed: update packages for virtual boards that need nobody's firmware."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError, StorageError
from rig.formats import sample_app
from rig.formats.mcuboot_image import BUILT_HEADER_SIZE
from rig.formats.test_key import PrivateKey, SignatureAlgorithm, private_key
from rig.images import encryption, mcuboot, signing
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
    encryption_key: ec.EllipticCurvePrivateKey | None = None,
) -> ImageFile:
    """Build what `build` says for `soc`, linked to the primary slot of `memory`, sign it, and write it into `folder`.

    `key` None signs with the test key of `signature`; `encryption_key` makes an encrypted image, beside which its clear twin is
    written.  The same arguments give the same bytes and the same file name, in which
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
        security_counter=build.security_counter,
        need=build.needs,
        encryption_key=encryption_key,
    )
    path = write_image(data, folder, f"{role}-{build.version}-{soc}", suffix=".bin")
    record = mcuboot.read(path).record
    return with_clear_twin(record, folder, encryption_key) if encryption_key else record


def with_clear_twin(record: ImageFile, folder: Path, encryption_key: ec.EllipticCurvePrivateKey) -> ImageFile:
    """`record` with its file as the bootloader installs it, decrypted, written into `folder`.

    Raises `ConfigError` when the file cannot be decrypted with `encryption_key`, `StorageError` when it cannot be written.
    """
    source = Path(record.path)
    try:
        clear = encryption.as_installed(source.read_bytes(), encryption_key)
    except ConfigError as error:
        raise ConfigError(f"{source}: {error}") from None
    path = write_image(clear, folder, f"{source.stem}-clear", suffix=source.suffix)
    return replace(record, clear_path=str(path), clear_sha256=hashlib.sha256(clear).hexdigest())


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
