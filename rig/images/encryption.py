"""Encrypted MCUboot images: the payload under AES-CTR, its key in the encryption entry.  Repeatable.

Source: MCUboot, `docs/encrypted_images.md` and `boot/bootutil/src/encrypted.c`.  Hash and signature cover the plain payload; header
and TLV areas are never encrypted.  The counter starts at 0, which is sound because no two images share a key.

imgtool draws the image's AES key and the ephemeral ECDH key at random.  Both are derived here from the private half of the
encryption key and the image's hash, so that the same image is always the same bytes, and only who could decrypt it can guess them.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats import encryption_key, mcuboot_image
from rig.formats.mcuboot_image import McubootImage, Tlv, TlvType

BLOCK_SIZE = 16
"""Bytes of an AES block, to which encrypted payloads are padded."""


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """The bootloader's private key in the PEM file at `path`.  Raises `ConfigError` that names the file."""
    try:
        return encryption_key.load(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def entry_for(image_hash: bytes, owner: ec.EllipticCurvePrivateKey) -> Tlv:
    """The encryption entry of the image with `image_hash`, for the bootloader that has `owner`."""
    ephemeral = ec.derive_private_key(int.from_bytes(_derived(b"ephemeral key", image_hash, owner)[:31]) + 1, ec.SECP256R1())
    key = _derived(b"image key", image_hash, owner)[: encryption_key.AES_KEY_SIZE]
    return Tlv(type=TlvType.ENC_EC256, protected=False, value=encryption_key.wrap(key, owner.public_key(), ephemeral))


def encrypted(clear: bytes, owner: ec.EllipticCurvePrivateKey) -> bytes:
    """The signed image `clear`, whose flags say that it is encrypted, as it travels: encryption entry added, payload encrypted."""
    image = mcuboot_image.parse(clear)
    area = mcuboot_image.tlv_area((*image.plain_tlvs, entry_for(image.image_hash, owner)))
    data = clear[: image.tlvs_at] + area + clear[image.size :]
    return payload_turned(data, mcuboot_image.parse(data), owner)


def payload_turned(data: bytes, image: McubootImage, owner: ec.EllipticCurvePrivateKey) -> bytes:
    """`data`, the file of `image`, with its payload decrypted; or encrypted, if it was plain: AES-CTR is its own inverse.

    Raises `ConfigError` when it has no encryption entry for `owner`.
    """
    entry = image.tlv(TlvType.ENC_EC256)
    if entry is None:
        raise ConfigError("the image has no encryption entry for ECIES-P256")
    key = encryption_key.unwrap(entry, owner)
    if key is None:
        raise ConfigError("the image is not encrypted for the key given, or for the public test key if none was given")
    start, end = image.header_size, image.payload_end
    return data[:start] + encryption_key.crypt(key, data[start:end]) + data[end:]


def as_installed(data: bytes, owner: ec.EllipticCurvePrivateKey) -> bytes:
    """The encrypted image `data` as it stands in the primary slot: plain payload, header and entries unchanged.

    Raises `ConfigError` when it cannot be decrypted with `owner`, or when the plain text does not have the hash stated.
    """
    image = mcuboot_image.parse(data)
    clear = payload_turned(data, image, owner)
    if mcuboot_image.hash_of(clear, image) != image.image_hash:
        raise ConfigError("hash wrong: the decrypted content does not have the hash that the TLV area states")
    return clear


def _derived(purpose: bytes, image_hash: bytes, owner: ec.EllipticCurvePrivateKey) -> bytes:
    secret = owner.private_numbers().private_value.to_bytes(32)
    return hmac.digest(secret, purpose + image_hash, "sha256")
