"""The keys of spoiled packages that are not their owner's: a stranger's, which no device trusts, and the demo key."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from rig.formats.test_key import PrivateKey, SignatureAlgorithm, demo_key, embedded_form

_STRANGER = 0x5712A46E12
"""The scalar of the stranger's ECDSA key and, as 32 bytes, the seed of its Ed25519 key."""


def stranger_like(key: PrivateKey) -> PrivateKey:
    """A key of the same kind that nobody trusts, always the same.  For RSA it is the demo key: searching for primes takes long."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return ecdsa_stranger()
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return ed25519.Ed25519PrivateKey.from_private_bytes(_STRANGER.to_bytes(32))
    return demo_key(SignatureAlgorithm.RSA_2048)


def demo_like(key: PrivateKey) -> PrivateKey:
    """The demo key of the same kind."""
    if isinstance(key, rsa.RSAPrivateKey):
        return demo_key(SignatureAlgorithm.RSA_2048)
    is_ecdsa = isinstance(key, ec.EllipticCurvePrivateKey)
    return demo_key(SignatureAlgorithm.ECDSA_P256 if is_ecdsa else SignatureAlgorithm.ED25519)


def ecdsa_stranger() -> ec.EllipticCurvePrivateKey:
    """The stranger's key on P-256: it signs, and it is what images are encrypted for that no device can decrypt."""
    return ec.derive_private_key(_STRANGER, ec.SECP256R1())


def key_hash(key: PrivateKey) -> bytes:
    """SHA-256 of the public half, as the KEYHASH entry of an MCUboot image has it."""
    return hashlib.sha256(embedded_form(key.public_key())).digest()
