"""Private keys in PEM files, of the kinds that MCUboot verifies.  Key material never appears in a message."""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from rig.errors import ConfigError
from rig.formats.test_key import PrivateKey, SignatureAlgorithm


def load(pem: bytes) -> PrivateKey:
    """The private key in `pem`.  Raises `ConfigError` when there is none, it is encrypted, or MCUboot cannot use its kind."""
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError:
        raise ConfigError("the key is protected by a password; give a key without one") from None
    except (ValueError, UnsupportedAlgorithm):
        hint = ": it holds a public key" if b"PUBLIC KEY" in pem else ""
        raise ConfigError(f"not a private key in PEM form{hint}") from None
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, ed25519.Ed25519PrivateKey) or (isinstance(key, rsa.RSAPrivateKey) and key.key_size == 2048):
        return key
    raise ConfigError(f"unsupported kind of key; known: {', '.join(SignatureAlgorithm)}")
