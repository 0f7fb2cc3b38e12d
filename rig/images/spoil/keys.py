"""The keys of spoiled packages: the owner's where a package must be signed anew, and a stranger's that no device trusts."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from rig.errors import ConfigError
from rig.formats.test_key import PrivateKey, embedded_form

_STRANGER = 0x5712A46E12
"""The scalar of the stranger's ECDSA key and, as 32 bytes, the seed of its Ed25519 key."""


def stranger_like(key: PrivateKey) -> PrivateKey:
    """A key of the same kind that nobody trusts, always the same.  Raises `ConfigError` for RSA, which is not signed anew."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ecdsa_stranger()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ed25519.Ed25519PrivateKey.from_private_bytes(_STRANGER.to_bytes(32))
    raise ConfigError("images with RSA signatures cannot be signed anew here; ECDSA-P256 and Ed25519 can")


def ecdsa_stranger() -> ec.EllipticCurvePrivateKey:
    """The stranger's ECDSA P-256 key."""
    return ec.derive_private_key(_STRANGER, ec.SECP256R1())


def key_hash(key: PrivateKey) -> bytes:
    """SHA-256 of the public half, as the KEYHASH entry of an MCUboot image has it."""
    return hashlib.sha256(embedded_form(key.public_key())).digest()
