"""Test keys, one per signature algorithm that MCUboot knows.  Public knowledge: everybody who has this file can sign with them.

They exist so that sample images and virtual boards agree without a key file, and so that the same image is always the same bytes.
A product that accepts an image signed with one of them is broken.  Each key is derived from a fixed phrase: the ECDSA scalar and the
Ed25519 seed are SHA-256 of it; the RSA primes are the first primes at or after numbers drawn from SHAKE-256 of it.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

PHRASE = b"rig test key: worthless, public, never for a product"
DEMO_PHRASE = b"rig demo key: every developer has it, no product trusts it"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
_RSA_EXPONENT = 65537
_RSA_OFFSETS = {PHRASE: (1110, 960), DEMO_PHRASE: (128, 134)}
"""Distance from the numbers drawn to the primes used, so that nobody has to search for them again."""

PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey


class SignatureAlgorithm(StrEnum):
    """How an MCUboot image is signed."""

    ECDSA_P256 = "ecdsa-p256"
    ED25519 = "ed25519"
    RSA_2048 = "rsa-2048"


def private_key(algorithm: SignatureAlgorithm = SignatureAlgorithm.ECDSA_P256) -> PrivateKey:
    """The test key for `algorithm`."""
    return _derived(PHRASE, algorithm)


def demo_key(algorithm: SignatureAlgorithm = SignatureAlgorithm.ECDSA_P256) -> PrivateKey:
    """A second public key, which stands for the sample keys that bootloaders ship with: the product does not trust it."""
    return _derived(DEMO_PHRASE, algorithm)


def _derived(phrase: bytes, algorithm: SignatureAlgorithm) -> PrivateKey:
    secret = hashlib.sha256(phrase).digest()
    match algorithm:
        case SignatureAlgorithm.ECDSA_P256:
            return ec.derive_private_key(int.from_bytes(secret) % (_P256_ORDER - 1) + 1, ec.SECP256R1())
        case SignatureAlgorithm.ED25519:
            return ed25519.Ed25519PrivateKey.from_private_bytes(secret)
        case SignatureAlgorithm.RSA_2048:
            return _rsa_key(phrase)


def public_key(algorithm: SignatureAlgorithm = SignatureAlgorithm.ECDSA_P256) -> PublicKey:
    """What a bootloader that trusts the test key has built in."""
    return private_key(algorithm).public_key()


def embedded_form(key: PublicKey) -> bytes:
    """`key` as MCUboot embeds it and as the KEYHASH TLV hashes it: PKCS #1 for RSA, SubjectPublicKeyInfo for the others (DER)."""
    rsa_key = isinstance(key, rsa.RSAPublicKey)
    return key.public_bytes(Encoding.DER, PublicFormat.PKCS1 if rsa_key else PublicFormat.SubjectPublicKeyInfo)


def _rsa_key(phrase: bytes) -> rsa.RSAPrivateKey:
    p, q = (candidate + offset for candidate, offset in zip(rsa_candidates(phrase), _RSA_OFFSETS[phrase], strict=True))
    private = pow(_RSA_EXPONENT, -1, (p - 1) * (q - 1))
    return rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=private,
        dmp1=private % (p - 1),
        dmq1=private % (q - 1),
        iqmp=pow(q, -1, p),
        public_numbers=rsa.RSAPublicNumbers(_RSA_EXPONENT, p * q),
    ).private_key()


def rsa_candidates(phrase: bytes = PHRASE) -> tuple[int, int]:
    """The two odd 1024-bit numbers after which the RSA primes are the next; their two top bits are set, so that n has 2048 bits."""
    drawn = hashlib.shake_256(phrase).digest(256)
    top_and_odd = 3 << 1022 | 1
    return int.from_bytes(drawn[:128]) | top_and_odd, int.from_bytes(drawn[128:]) | top_and_odd
