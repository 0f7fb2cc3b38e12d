"""A good MCUboot image in the hands of somebody who will spoil it: where things lie in it, and how it is put together again.

Source of the layout: MCUboot, `boot/bootutil/include/bootutil/image.h` and `docs/design.md`.  All fields are little-endian.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed

from rig.errors import ConfigError
from rig.formats import mcuboot_image
from rig.formats.mcuboot_image import McubootImage, Tlv, TlvType
from rig.formats.test_key import PrivateKey, SignatureAlgorithm, private_key
from rig.images.spoil.keys import key_hash, stranger_like

TLV_INFO = struct.Struct("<HH")
_TLV_MAGIC = 0x6907
_IMAGE_SIZE_AT, _VERSION_AT = 12, 20
_ALGORITHMS = {
    TlvType.ECDSA_SIG: SignatureAlgorithm.ECDSA_P256,
    TlvType.ED25519: SignatureAlgorithm.ED25519,
    TlvType.RSA2048_PSS: SignatureAlgorithm.RSA_2048,
}
SIGNATURES = (*_ALGORITHMS, TlvType.RSA3072_PSS)


@dataclass(frozen=True, kw_only=True)
class GoodImage:
    """An intact image.  `key` is its owner's; None means the public test key of the image's own algorithm."""

    data: bytes = field(repr=False)
    image: McubootImage
    key: PrivateKey | None = field(repr=False, default=None)

    @classmethod
    def of(cls, data: bytes, key: PrivateKey | None) -> Self:
        """Take `data` apart.  Raises `ConfigError` when it is no intact image."""
        return cls(data=data, image=mcuboot_image.parse(data), key=key)

    # ------------------------------------------------------------------------------------------------------------ places
    @property
    def payload_end(self) -> int:
        """Offset of the first TLV area."""
        return self.image.header_size + self.image.image_size

    @property
    def tlvs_at(self) -> int:
        """Offset of the TLV area that neither hash nor signature cover."""
        return self.payload_end + self.image.protected_size

    @property
    def plain(self) -> tuple[Tlv, ...]:
        """The entries of that area."""
        return tuple(tlv for tlv in self.image.tlvs if not tlv.protected)

    @property
    def trailing(self) -> bytes:
        """What the file carries after the image."""
        return self.data[self.image.size :]

    @cached_property
    def signature(self) -> Tlv:
        """The signature.  Raises `ConfigError` when there is none."""
        found = next((tlv for tlv in self.plain if tlv.type in SIGNATURES), None)
        if found is None:
            raise ConfigError("the image is not signed, so this cannot be done to it")
        return found

    def value_at(self, wanted: Tlv) -> int:
        """Offset of the value of `wanted`, one of `plain`."""
        at = self.tlvs_at + TLV_INFO.size
        for tlv in self.plain:
            at += TLV_INFO.size
            if tlv is wanted:
                break
            at += len(tlv.value)
        return at

    # ----------------------------------------------------------------------------------------------------------- changes
    def flipped(self, at: int) -> bytes:
        """The file with the lowest bit of the byte at `at` turned over."""
        return self.data[:at] + bytes([self.data[at] ^ 1]) + self.data[at + 1 :]

    def with_tlvs(self, tlvs: Iterable[Tlv]) -> bytes:
        """The same header and payload with another uncovered TLV area."""
        return self.data[: self.tlvs_at] + tlv_area(tlvs) + self.trailing

    def with_image_size(self, size: int) -> bytes:
        """The same bytes, except that the header states another payload size."""
        return self.data[:_IMAGE_SIZE_AT] + struct.pack("<I", size) + self.data[_IMAGE_SIZE_AT + 4 :]

    def with_version_zero(self) -> bytes:
        """Header, payload and protected entries with the version 0.0.0+0."""
        return self.data[:_VERSION_AT] + bytes(8) + self.data[_VERSION_AT + 8 : self.tlvs_at]

    # ----------------------------------------------------------------------------------------------------------- signing
    @property
    def owner(self) -> PrivateKey:
        """The key that the image is signed with.  Raises `ConfigError` when that is neither `key` nor the test key."""
        key = self.key or self._test_key()
        stated = self.image.tlv(TlvType.KEYHASH)
        if stated is not None and not key_hash(key).startswith(stated):
            blame = "the key given" if self.key else "the public test key; give its own with --key"
            raise ConfigError(f"the image is not signed with {blame}: signed anew, it would be refused for its key and nothing else")
        return key

    @property
    def stranger(self) -> PrivateKey:
        """A key of the kind that the image is signed with and that no device trusts."""
        return stranger_like(self._test_key())

    def signed_anew(self, covered: bytes, key: PrivateKey) -> bytes:
        """`covered` (header, payload, protected entries) with hash, key hash and signature by `key`, in the good image's order."""
        if self.image.tlv(TlvType.SIG_PURE) is not None or self.image.tlv(TlvType.SHA256) is None:
            raise ConfigError("only images with SHA-256 and a signature over it can be signed anew here")
        digest = hashlib.sha256(covered).digest()
        values = {TlvType.SHA256: digest, TlvType.KEYHASH: key_hash(key), self.signature.type: sign(digest, key)}
        tlvs = (replace(tlv, value=values.get(tlv.type, tlv.value)) for tlv in self.plain)
        return covered + tlv_area(tlvs) + self.trailing

    def _test_key(self) -> PrivateKey:
        algorithm = _ALGORITHMS.get(TlvType(self.signature.type))
        if algorithm is None:
            raise ConfigError("images with RSA-3072 signatures cannot be signed anew here; ECDSA-P256 and Ed25519 can")
        return private_key(algorithm)


def tlv_area(tlvs: Iterable[Tlv]) -> bytes:
    """An uncovered TLV area, its info word included."""
    body = b"".join(TLV_INFO.pack(tlv.type, len(tlv.value)) + tlv.value for tlv in tlvs)
    return TLV_INFO.pack(_TLV_MAGIC, TLV_INFO.size + len(body)) + body


def sign(digest: bytes, key: PrivateKey) -> bytes:
    """The signature entry's value over a SHA-256 `digest`: deterministic, DER for ECDSA.  Raises `ConfigError` for RSA."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()), deterministic_signing=True))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(digest)
    raise ConfigError("images with RSA signatures cannot be signed anew here; ECDSA-P256 and Ed25519 can")
