"""MCUboot images with everything that MCUboot can be told about them: encryption, security counter, dependencies, no signature."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec

from rig.formats import encryption_key
from rig.formats.mcuboot_image import MAGIC
from rig.formats.test_key import PrivateKey, embedded_form
from tests.mcuboot_board import IMAGE_SIZE
from tests.signed_images import KEY, sign, tlv_area

HEADER_SIZE = 32
ENCRYPTED_AES128 = 0x4


@dataclass(frozen=True, kw_only=True)
class Image:
    """One image as it lies in the primary slot (`clear`) and as it travels (`sent`); they differ when it is encrypted."""

    clear: bytes
    sent: bytes
    payload: bytes
    aes_key: bytes


def counter(value: int) -> tuple[int, bytes]:
    """A security counter entry."""
    return 0x50, struct.pack("<I", value)


def dependency(index: int, version: tuple[int, int, int]) -> tuple[int, bytes]:
    """An entry that asks for at least `version` of image `index`."""
    return 0x40, struct.pack("<B3xBBHI", index, *version, 0)


def build(
    version: str,
    *,
    size: int = IMAGE_SIZE,
    protected: tuple[tuple[int, bytes], ...] = (),
    encrypted: bool = False,
    encrypted_for: ec.EllipticCurvePublicKey | None = None,
    key: PrivateKey = KEY,
    signed: bool = True,
) -> Image:
    """An image with a pseudo-random payload of `size` bytes that follows from `version`."""
    payload = hashlib.shake_256(f"payload {version}".encode()).digest(size)
    aes_key = hashlib.shake_256(f"key {version}".encode()).digest(16)
    protected_area = tlv_area(*protected, magic=0x6908) if protected else b""
    numbers = [int(part) for part in version.split(".")]
    flags = ENCRYPTED_AES128 if encrypted else 0
    fields = (MAGIC, 0, HEADER_SIZE, len(protected_area), size, flags, *numbers, 0, 0)
    header = struct.pack("<IIHHIIBBHII", *fields).ljust(HEADER_SIZE, b"\0")
    digest = hashlib.sha256(header + payload + protected_area).digest()
    entries = [(0x10, digest), (0x01, hashlib.sha256(embedded_form(key.public_key())).digest())]
    if signed:
        entries.append(sign(key, digest))
    if encrypted:
        ephemeral = ec.derive_private_key(int.from_bytes(aes_key), ec.SECP256R1())
        entries.append((0x32, encryption_key.wrap(aes_key, encrypted_for or encryption_key.public_key(), ephemeral)))
    rest = protected_area + tlv_area(*entries)
    sent = encryption_key.crypt(aes_key, payload) if encrypted else payload
    return Image(clear=header + payload + rest, sent=header + sent + rest, payload=payload, aes_key=aes_key)
