"""Encrypted images: the key of an image, and the way of its payload into and out of the primary slot.

Header, TLVs and hashes are in clear; the payload is in clear in the primary slot and nowhere else, the scratch area included (older
releases of MCUboot decrypt on the way into the scratch area; current ones, and this model, on the way out of it).

Source: MCUboot `docs/encrypted_images.md`, `boot/bootutil/src/{encrypted,loader}.c`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec

from rig.formats import encryption_key
from rig.formats.mcuboot_image import Tlv, TlvType
from rig.virtual.mcuboot.header import Header


@dataclass(frozen=True, kw_only=True)
class ImageKey:
    """What one image is encrypted with: the key, and the entry that brought it."""

    aes: bytes
    wrapped: bytes


def key_of(tlvs: tuple[Tlv, ...], private: ec.EllipticCurvePrivateKey) -> ImageKey | None:
    """The key of the image with these entries, None when there is none for the owner of `private`."""
    wrapped = next((tlv.value for tlv in tlvs if tlv.type == TlvType.ENC_EC256), b"")
    return unwrapped(wrapped, private)


def unwrapped(wrapped: bytes, private: ec.EllipticCurvePrivateKey) -> ImageKey | None:
    """The key in the value of an entry, None when it is damaged or for somebody else."""
    aes = _unwrap(wrapped, private.private_numbers().private_value)
    return None if aes is None else ImageKey(aes=aes, wrapped=wrapped)


def recode(data: bytes, header: Header, aes_key: bytes, *, offset: int) -> bytes:
    """`data`, which begins `offset` bytes into the image with `header`, with what of it is payload encrypted or decrypted."""
    first = min(max(header.header_size - offset, 0), len(data))
    end = max(first, min(header.payload_end - offset, len(data)))
    payload = encryption_key.crypt(aes_key, data[first:end], position=offset + first - header.header_size) if end > first else b""
    return data[:first] + payload + data[end:]


@lru_cache(maxsize=64)
def _unwrap(wrapped: bytes, secret: int) -> bytes | None:
    """A pure function, remembered because a board unwraps the same key at every boot."""
    return encryption_key.unwrap(wrapped, ec.derive_private_key(secret, ec.SECP256R1()))
