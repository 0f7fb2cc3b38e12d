"""The key that encrypts an MCUboot image and how it travels: wrapped for the device in the ECIES-P256 TLV.

Also the public test key to encrypt for, so that sample images and virtual boards agree without a key file.  Everybody who has this
file can decrypt what is encrypted for it: a product with this key has no confidentiality.

Source: MCUboot `docs/encrypted_images.md` ("ECIES encryption"): an ephemeral P-256 key agrees with the device's; HKDF-SHA-256
without salt makes 48 bytes, an AES-128 key and an HMAC key; the image's key is encrypted by AES-CTR from counter 0, and HMAC-SHA-256
covers the result.
"""

from __future__ import annotations

import hashlib
import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from rig.errors import ConfigError
from rig.formats import signing_key

AES_KEY_SIZE = 16
WRAPPED_SIZE = 65 + 32 + AES_KEY_SIZE
"""Bytes of the TLV's value: ephemeral public key (X9.62, uncompressed), HMAC, encrypted key."""
_POINT_SIZE, _MAC_SIZE, _BLOCK = 65, 32, 16
_INFO = b"MCUBoot_ECIES_v1"
_PHRASE = b"rig test key for encryption: worthless, public, never for a product"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def private_key() -> ec.EllipticCurvePrivateKey:
    """The test key that a virtual board decrypts with."""
    secret = int.from_bytes(hashlib.sha256(_PHRASE).digest())
    return ec.derive_private_key(secret % (_P256_ORDER - 1) + 1, ec.SECP256R1())


def public_key() -> ec.EllipticCurvePublicKey:
    """What images for the test key are encrypted with."""
    return private_key().public_key()


def load(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """The device's private key in `pem`.  Raises `ConfigError` when there is none, it has a password, or it is not on P-256."""
    key = signing_key.load(pem)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ConfigError("images are encrypted for a key on P-256; this key is of another kind")
    return key


def wrap(aes_key: bytes, public: ec.EllipticCurvePublicKey, ephemeral: ec.EllipticCurvePrivateKey) -> bytes:
    """The TLV's value that hands the 16 bytes `aes_key` to the owner of `public`; use an `ephemeral` key only once."""
    point = ephemeral.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    cipher_key, mac_key = _derived_keys(ephemeral, public)
    wrapped = crypt(cipher_key, aes_key)
    return point + hmac.digest(mac_key, wrapped, "sha256") + wrapped


def unwrap(tlv: bytes, private: ec.EllipticCurvePrivateKey) -> bytes | None:
    """The AES key in `tlv`, or None when it is malformed, damaged or meant for another key."""
    if len(tlv) != WRAPPED_SIZE:
        return None
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), tlv[:_POINT_SIZE])
    except ValueError:
        return None
    mac, wrapped = tlv[_POINT_SIZE : _POINT_SIZE + _MAC_SIZE], tlv[_POINT_SIZE + _MAC_SIZE :]
    cipher_key, mac_key = _derived_keys(private, point)
    if not hmac.compare_digest(mac, hmac.digest(mac_key, wrapped, "sha256")):
        return None
    return crypt(cipher_key, wrapped)


def crypt(aes_key: bytes, data: bytes, *, position: int = 0) -> bytes:
    """Encrypt or decrypt `data`, which begins `position` bytes into the payload: AES-CTR, the first block of the payload is counter 0."""
    block, skipped = divmod(position, _BLOCK)
    stream = Cipher(algorithms.AES(aes_key), modes.CTR(block.to_bytes(_BLOCK))).encryptor()
    stream.update(bytes(skipped))
    return stream.update(data) + stream.finalize()


def _derived_keys(private: ec.EllipticCurvePrivateKey, public: ec.EllipticCurvePublicKey) -> tuple[bytes, bytes]:
    """(AES key, HMAC key) that both sides come to."""
    shared = private.exchange(ec.ECDH(), public)
    length = AES_KEY_SIZE + _MAC_SIZE
    derived = HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=_INFO).derive(shared)
    return derived[:AES_KEY_SIZE], derived[AES_KEY_SIZE:]
