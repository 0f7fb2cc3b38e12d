"""The public keys that a bootloader trusts, and the check of a signature with them.

Source: MCUboot `boot/bootutil/src/image_{ecdsa,ed25519,rsa}.c` and `docs/design.md` ("TLVs").  ECDSA verifies the SHA-256 digest of
the image; Ed25519 signs that digest as its message; RSA uses PSS with MGF1-SHA-256 and a salt of 32 bytes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key, load_pem_public_key

from rig.errors import ConfigError
from rig.formats import signing_key, test_key
from rig.formats.mcuboot_image import TlvType

_RSA_TLVS = {2048: TlvType.RSA2048_PSS, 3072: TlvType.RSA3072_PSS}
_MAX_ECDSA_SIGNATURE = 128
_ED25519_SIGNATURE = 64
_SALT = 32


@dataclass(frozen=True, kw_only=True)
class TrustedKey:
    """One key built into the bootloader.  `der` is its SubjectPublicKeyInfo; the rest follows from it."""

    der: bytes
    signature_tlv: TlvType = field(init=False)
    hash: bytes = field(init=False)
    """SHA-256 of the key as MCUboot embeds it: what the KEYHASH TLV names."""

    def __post_init__(self) -> None:
        key = _public_key(self.der)
        object.__setattr__(self, "signature_tlv", _signature_tlv(key))
        object.__setattr__(self, "hash", hashlib.sha256(test_key.embedded_form(key)).digest())

    @classmethod
    def of(cls, key: test_key.PublicKey) -> Self:
        """Trust `key`."""
        return cls(der=key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Trust the key in `pem`, which may be private, as the file that signs the images is.  Raises `ConfigError`."""
        if b"PUBLIC KEY" not in pem:
            return cls.of(signing_key.load(pem).public_key())
        try:
            return cls.of(_supported(load_pem_public_key(pem)))
        except (ValueError, UnsupportedAlgorithm):
            raise ConfigError("not a public key in PEM form") from None

    def verifies(self, digest: bytes, signature: bytes) -> bool:
        """Whether `signature` is this key's over the SHA-256 `digest` of an image."""
        return _verify(self.der, digest, signature)


def _supported(key: object) -> test_key.PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, ed25519.Ed25519PublicKey) or (isinstance(key, rsa.RSAPublicKey) and key.key_size in _RSA_TLVS):
        return key
    raise ConfigError("MCUboot verifies ECDSA on P-256, Ed25519, RSA-2048 and RSA-3072; this key is of another kind")


def _public_key(der: bytes) -> test_key.PublicKey:
    try:
        return _supported(load_der_public_key(der))
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError("not a SubjectPublicKeyInfo in DER form") from None


def _signature_tlv(key: test_key.PublicKey) -> TlvType:
    if isinstance(key, ec.EllipticCurvePublicKey):
        return TlvType.ECDSA_SIG
    return TlvType.ED25519 if isinstance(key, ed25519.Ed25519PublicKey) else _RSA_TLVS[key.key_size]


@lru_cache(maxsize=256)
def _verify(der: bytes, digest: bytes, signature: bytes) -> bool:
    """A pure function, remembered because a board verifies the same image at every boot."""
    key = _public_key(der)
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            if len(signature) > _MAX_ECDSA_SIGNATURE:
                return False
            key.verify(signature, digest, ec.ECDSA(Prehashed(hashes.SHA256())))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            if len(signature) != _ED25519_SIGNATURE:
                return False
            key.verify(signature, digest)
        else:
            pss = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=_SALT)
            key.verify(signature, digest, pss, Prehashed(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
