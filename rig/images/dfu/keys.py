"""Keys from files.  Private keys never appear in a message, and what comes back shows nothing of itself when printed."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rig.errors import ConfigError, Problem
from rig.formats import signing_key
from rig.images.dfu.archive import content_of

_COMPILED_IN = re.compile(rb"pk\s*\[\s*64\s*\]\s*=\s*\{([^}]*)\}")
_COORDINATE = 32


def load_signing_key(path: str | Path) -> ec.EllipticCurvePrivateKey:
    """The ECDSA P-256 private key in the PEM file at `path`.  Raises `ConfigError`, with nothing of the content in it."""
    content = content_of(path)
    try:
        key = signing_key.load(content)
    except ConfigError as error:
        raise _error(path, str(error)) from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _error(path, "Nordic's bootloaders take ECDSA P-256 signatures only; this is another kind of key")
    return key


def load_public_key(path: str | Path) -> ec.EllipticCurvePublicKey:
    """The ECDSA P-256 public key in the file at `path`.

    The file is a public key in PEM form, a private one (of which the public half is taken), or the C file with ``pk[64] = { … }``
    that a bootloader is built with (X then Y, each little-endian).  Raises `ConfigError`.
    """
    content = content_of(path)
    if b"PRIVATE KEY" in content:
        return load_signing_key(path).public_key()
    if compiled_in := _COMPILED_IN.search(content):
        return _from_c(path, compiled_in[1])
    try:
        key = load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm):
        raise _error(path, "neither a key in PEM form nor a C file with pk[64]") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise _error(path, "not an ECDSA P-256 key")
    return key


def _from_c(path: str | Path, initialiser: bytes) -> ec.EllipticCurvePublicKey:
    numbers = [int(text, 16) for text in re.findall(rb"0x([0-9a-fA-F]{1,2})\b", initialiser)]
    if len(numbers) != 2 * _COORDINATE:
        raise _error(path, f"pk[64] has {len(numbers)} bytes")
    x, y = (int.from_bytes(bytes(half), "little") for half in (numbers[:_COORDINATE], numbers[_COORDINATE:]))
    try:
        return ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    except ValueError:
        raise _error(path, "pk[64] is no point on P-256") from None


def _error(path: str | Path, reason: str) -> ConfigError:
    return ConfigError([Problem(file=str(path), key="key", reason=reason)])
