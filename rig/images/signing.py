"""Signing with imgtool, made repeatable: the same application, version and key always give the same bytes.

imgtool signs ECDSA with a random nonce and RSA-PSS with a random salt.  Both are replaced here by deterministic ones, so that image
hashes, file hashes and signature lengths are the same in every run of a plan.
"""

from __future__ import annotations

import contextlib
import hashlib
import io

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from imgtool import keys
from imgtool.image import DEP_IMAGES_KEY, DEP_VERSIONS_KEY, Image
from imgtool.version import decode_version

from rig.errors import ConfigError
from rig.formats.mcuboot_image import BUILT_HEADER_SIZE
from rig.formats.soc import PAGE_SIZE
from rig.formats.test_key import PrivateKey
from rig.images import encryption
from rig.scenario import ImageNeed

_SALT_SIZE = 32


class _DeterministicEcdsa:
    """Stands for the private key inside imgtool's: RFC 6979 instead of a random nonce."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._key.public_key()

    def sign(self, data: bytes, signature_algorithm: ec.ECDSA) -> bytes:
        return self._key.sign(data, ec.ECDSA(signature_algorithm.algorithm, deterministic_signing=True))


class _DeterministicRsa:
    """Stands for the private key inside imgtool's: RSASSA-PSS (RFC 8017, 8.1) with a salt derived from the digest."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key
        self.key_size = key.key_size

    def public_key(self) -> rsa.RSAPublicKey:
        return self._key.public_key()

    def sign(self, data: bytes, padding: object, algorithm: hashes.HashAlgorithm) -> bytes:
        del padding, algorithm  # MCUboot knows one: MGF1-SHA-256, SHA-256, a salt of 32 bytes
        return _rsa_pss(hashlib.sha256(data).digest(), self._key)


def _emsa_pss(digest: bytes, *, bits: int) -> bytes:
    """EMSA-PSS-ENCODE (RFC 8017, 9.1.1) with SHA-256 and 32 bytes of salt."""
    length = (bits + 7) // 8
    salt = hashlib.sha256(b"salt" + digest).digest()
    inner = hashlib.sha256(bytes(8) + digest + salt).digest()
    block = b"\x01" + salt
    block = bytes(length - len(block) - len(inner) - 1) + block
    mask = b"".join(hashlib.sha256(inner + counter.to_bytes(4)).digest() for counter in range(length // 32 + 1))
    masked = bytearray(a ^ b for a, b in zip(block, mask, strict=False))
    masked[0] &= 0xFF >> (8 * length - bits)
    return bytes(masked) + inner + b"\xbc"


def _imgtool_key(key: PrivateKey) -> object:
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return keys.ECDSA256P1(_DeterministicEcdsa(key))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return keys.Ed25519(key)
    return keys.RSA(_DeterministicRsa(key))


def sign(
    application: bytes,
    *,
    version: str,
    key: PrivateKey,
    slot_size: int,
    align: int,
    pad: bool = False,
    security_counter: int | None = None,
    need: ImageNeed | None = None,
    encryption_key: ec.EllipticCurvePrivateKey | None = None,
) -> bytes:
    """The MCUboot image around `application`: header of `BUILT_HEADER_SIZE` bytes, protected entries, SHA-256, key hash, signature.

    `align` is the flash write size, 4 or 8; `pad` fills the slot and adds a trailer that requests the update; `encryption_key`
    encrypts the payload for the bootloader that has it.  Raises `ConfigError` when the image does not fit into `slot_size`, whose
    last page the trailer takes.
    """
    if encryption_key is not None:
        application += bytes(-len(application) % encryption.BLOCK_SIZE)
    image = Image(
        version=decode_version(version), header_size=BUILT_HEADER_SIZE, pad_header=True, align=align, slot_size=0, security_counter=security_counter
    )
    image.payload = bytes([0xFF]) * BUILT_HEADER_SIZE + application
    image.image_size = len(application)
    needs = {DEP_IMAGES_KEY: [need.image], DEP_VERSIONS_KEY: [decode_version(need.version)]} if need else None
    # With its own encryption imgtool would draw random keys; what is left to it is the flag in the header.
    target = keys.ECDSA256P1Public(encryption_key.public_key()) if encryption_key else None
    with contextlib.redirect_stdout(io.StringIO()):  # imgtool reports its progress to people
        image.create(_imgtool_key(key), "hash", target, dependencies=needs, dont_encrypt=True)
    if encryption_key is not None:
        image.payload = encryption.encrypted(bytes(image.payload), encryption_key)
    room = slot_size - PAGE_SIZE
    if len(image.payload) > room:
        raise ConfigError(f"image {version} takes {len(image.payload)} bytes, the slot has room for {room}")
    if pad:
        image.pad_to(slot_size)
    return bytes(image.payload)


def sign_digest(digest: bytes, key: PrivateKey) -> bytes:
    """The value of the signature entry over the SHA-256 `digest` of an image: deterministic, DER for ECDSA."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(digest)
    return _rsa_pss(digest, key)


def _rsa_pss(digest: bytes, key: rsa.RSAPrivateKey) -> bytes:
    """RSASSA-PSS (RFC 8017, 8.1) over a SHA-256 digest, with a salt derived from it."""
    numbers = key.private_numbers()
    modulus = numbers.public_numbers.n
    encoded = _emsa_pss(digest, bits=modulus.bit_length() - 1)
    return pow(int.from_bytes(encoded), numbers.d, modulus).to_bytes(key.key_size // 8)
