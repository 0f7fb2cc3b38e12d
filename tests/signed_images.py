"""Signed MCUboot images of exact sizes, good ones and spoiled ones, made without MCUboot's own tools."""

from __future__ import annotations

import hashlib
import struct
from functools import lru_cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from rig.formats.mcuboot_image import MAGIC
from rig.formats.test_key import PrivateKey, embedded_form

KEY = ec.derive_private_key(0x1234567890ABCDEF, ec.SECP256R1())
FOREIGN_KEY = ec.derive_private_key(0xFEDCBA0987654321, ec.SECP256R1())
_ENTRY = 4
_HASH = 32


@lru_cache(maxsize=64)
def signed_image(
    version: str,
    *,
    header_size: int = 512,
    image_size: int = 13436,
    tlv_size: int | None = None,
    key: PrivateKey = KEY,
    seed: int = 0,
) -> bytes:
    """Header, pseudo-random payload and TLVs.  With `tlv_size`, the payload is varied until the DER signature has the length for it."""
    for attempt in range(1000):
        image = _image(version, header_size, image_size, key, f"{version}/{seed}/{attempt}")
        if tlv_size is None or len(image) == header_size + image_size + tlv_size:
            return image
    raise AssertionError(f"no signature makes the TLV area {tlv_size} bytes long")


def _image(version: str, header_size: int, image_size: int, key: PrivateKey, seed: str) -> bytes:
    numbers = [int(part) for part in version.split(".")]
    header = struct.pack("<IIHHIIBBHII", MAGIC, 0, header_size, 0, image_size, 0, *numbers, 0, 0).ljust(header_size, b"\0")
    body = header + hashlib.shake_256(seed.encode()).digest(image_size)
    digest = hashlib.sha256(body).digest()
    kind, signature = sign(key, digest)
    key_hash = hashlib.sha256(embedded_form(key.public_key())).digest()
    return body + tlv_area((0x10, digest), (0x01, key_hash), (kind, signature))


def tlv_area(*entries: tuple[int, bytes], magic: int = 0x6907) -> bytes:
    """One TLV area."""
    body = b"".join(struct.pack("<HH", kind, len(value)) + value for kind, value in entries)
    return struct.pack("<HH", magic, len(body) + _ENTRY) + body


def sign(key: PrivateKey, digest: bytes) -> tuple[int, bytes]:
    """(TLV type, signature) as imgtool makes it, but the same at every run."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return 0x22, key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return 0x24, key.sign(digest)
    assert isinstance(key, rsa.RSAPrivateKey)
    pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=_HASH)
    return {2048: 0x20, 3072: 0x23}[key.key_size], key.sign(digest, pss, Prehashed(hashes.SHA256()))


def flip(image: bytes, offset: int, mask: int = 1) -> bytes:
    """`image` with bits of one byte turned over."""
    return image[:offset] + bytes([image[offset] ^ mask]) + image[offset + 1 :]


def rsa_3072_key() -> rsa.RSAPrivateKey:
    """A fixed key; the primes are the first ones after two numbers drawn from a phrase."""
    drawn = hashlib.shake_256(b"rig tests: RSA-3072").digest(384)
    p, q = (int.from_bytes(half) | 3 << 1534 | 1 for half in (drawn[:192], drawn[192:]))
    p, q, exponent = p + 456, q + 46, 65537
    private = pow(exponent, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=private,
        dmp1=private % (p - 1),
        dmq1=private % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(exponent, p * q),
    ).private_key()
