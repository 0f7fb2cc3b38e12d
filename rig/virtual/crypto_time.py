"""How long bootloaders compute: signatures and hashes, in software or with the nRF52840's CryptoCell CC310.

The figures are estimates: Nordic publishes none, and nothing here was measured on silicon.  What counts is their ratio: a verification
in software takes some twenty times as long, which can be seen from outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Crypto(StrEnum):
    """What computes signatures."""

    CC310 = "cc310"
    SOFTWARE = "software"


SIGNATURE_S: Mapping[Crypto, float] = {Crypto.CC310: 0.011, Crypto.SOFTWARE: 0.25}
"""Seconds to verify one ECDSA P-256 signature."""
HASH_BYTES_PER_S = 1e6
"""SHA-256 of an image in flash, bytes per second, with either."""
_WITH_CC310 = frozenset({"nrf52840"})


def has_cc310(part_name: str) -> bool:
    """Whether the part has a CryptoCell."""
    return part_name in _WITH_CC310


def default_crypto(part_name: str) -> Crypto:
    """What a build for the part computes with when nobody says otherwise."""
    return Crypto.CC310 if has_cc310(part_name) else Crypto.SOFTWARE
