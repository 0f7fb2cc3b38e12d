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

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats import encryption_key, mcuboot_image
from rig.formats.mcuboot_image import ImageFlag, McubootImage, Tlv, TlvType, tlv_area
from rig.formats.test_key import PrivateKey, SignatureAlgorithm, private_key
from rig.images import encryption
from rig.images.signing import sign_digest
from rig.images.spoil.keys import demo_like, key_hash, stranger_like

TLV_INFO = struct.Struct("<HH")
_SIZES_AND_FLAGS = struct.Struct("<HII")
_PROTECTED_SIZE_AT, _IMAGE_SIZE_AT, _VERSION_AT = 10, 12, 20
_VERSION_SIZE = 8
_ALGORITHMS = {
    TlvType.ECDSA_SIG: SignatureAlgorithm.ECDSA_P256,
    TlvType.ED25519: SignatureAlgorithm.ED25519,
    TlvType.RSA2048_PSS: SignatureAlgorithm.RSA_2048,
}
SIGNATURES = (*_ALGORITHMS, TlvType.RSA3072_PSS)


@dataclass(frozen=True, kw_only=True)
class GoodImage:
    """An intact image.

    `key` is its owner's; None means the public test key of the image's own algorithm.  `reader` is the bootloader's private key that
    an encrypted image is encrypted for; None means the public test key.  `other` is another good image, for the kinds that mix two.
    """

    data: bytes = field(repr=False)
    image: McubootImage
    key: PrivateKey | None = field(repr=False, default=None)
    reader: ec.EllipticCurvePrivateKey | None = field(repr=False, default=None)
    other: GoodImage | None = field(repr=False, default=None)

    @classmethod
    def of(
        cls, data: bytes, key: PrivateKey | None, reader: ec.EllipticCurvePrivateKey | None = None, other: Self | None = None
    ) -> Self:
        """Take `data` apart.  Raises `ConfigError` when it is no intact image."""
        return cls(data=data, image=mcuboot_image.parse(data), key=key, reader=reader, other=other)

    # ------------------------------------------------------------------------------------------------------------ places
    @property
    def trailing(self) -> bytes:
        """What the file carries after the image."""
        return self.data[self.image.size :]

    @cached_property
    def signature(self) -> Tlv:
        """The signature.  Raises `ConfigError` when there is none."""
        found = next((tlv for tlv in self.image.plain_tlvs if tlv.type in SIGNATURES), None)
        if found is None:
            raise ConfigError("the image is not signed, so this cannot be done to it")
        return found

    @property
    def encryption_entry(self) -> Tlv:
        """The entry with the wrapped key.  Raises `ConfigError` when the image is not encrypted."""
        found = next((tlv for tlv in self.image.plain_tlvs if tlv.type == TlvType.ENC_EC256), None)
        if found is None or not self.image.is_encrypted:
            raise ConfigError("the image is not encrypted with ECIES-P256, so this cannot be done to it")
        return found

    def value_at(self, wanted: Tlv) -> int:
        """Offset of the value of `wanted`, one of the entries that are not covered."""
        at = self.image.tlvs_at + TLV_INFO.size
        for tlv in self.image.plain_tlvs:
            at += TLV_INFO.size
            if tlv is wanted:
                break
            at += len(tlv.value)
        return at

    # ----------------------------------------------------------------------------------------------------------- content
    @cached_property
    def clear(self) -> bytes:
        """The file with its payload plain.  Raises `ConfigError` when it is encrypted for another bootloader than `reader`."""
        if not self.image.is_encrypted:
            return self.data
        return encryption.as_installed(self.data, self._reader)

    @property
    def payload(self) -> bytes:
        """The plain payload."""
        return self.clear[self.image.header_size : self.image.payload_end]

    @property
    def other_payload(self) -> bytes:
        """The payload of the other image, cut or padded to the size of this one.  Raises `ConfigError` when there is none."""
        if self.other is None:
            raise ConfigError("this takes a second good image; give it with --other")
        payload = self.other.payload[: self.image.image_size].ljust(self.image.image_size, b"\xff")
        if payload == self.payload:
            raise ConfigError("the other image has the same payload")
        return payload

    # ----------------------------------------------------------------------------------------------------------- changes
    def flipped(self, at: int) -> bytes:
        """The file with the lowest bit of the byte at `at` turned over."""
        return self.data[:at] + bytes([self.data[at] ^ 1]) + self.data[at + 1 :]

    def with_tlvs(self, tlvs: Iterable[Tlv]) -> bytes:
        """The same header and payload with another uncovered TLV area."""
        return self.data[: self.image.tlvs_at] + tlv_area(tlvs) + self.trailing

    def with_image_size(self, size: int) -> bytes:
        """The same bytes, except that the header states another payload size."""
        return self.data[:_IMAGE_SIZE_AT] + struct.pack("<I", size) + self.data[_IMAGE_SIZE_AT + 4 :]

    def with_payload(self, payload: bytes) -> bytes:
        """The same header and entries around another plain `payload` of the same size, encrypted where the image is."""
        clear = self.data[: self.image.header_size] + payload + self.data[self.image.payload_end :]
        return encryption.payload_turned(clear, self.image, self._reader) if self.image.is_encrypted else clear

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

    @property
    def demo_key(self) -> PrivateKey:
        """The demo key of the kind that the image is signed with."""
        return demo_like(self._test_key())

    def signed_by(self, key: PrivateKey, *, claimed: PrivateKey | None = None) -> bytes:
        """The same content with the signature of `key`, and the key hash of `claimed` (None: of `key`)."""
        if self.image.tlv(TlvType.SHA256) is None or self.image.tlv(TlvType.KEYHASH) is None:
            raise ConfigError("only an image with SHA-256 and a key hash can be spoiled like this")
        return self.with_tlvs(self._entries(self.image.image_hash, key, claimed or key))

    def signed_anew(
        self,
        *,
        version: bytes | None = None,
        payload: bytes | None = None,
        protected: tuple[Tlv, ...] | None = None,
        encrypted: bool | None = None,
        reader: ec.EllipticCurvePrivateKey | None = None,
    ) -> bytes:
        """The image with parts of it replaced, signed by its owner: rightly signed, whatever else is wrong with it.

        `version` is the header's field of 8 bytes, `payload` plain, `encrypted` whether it travels encrypted and `reader` for whom.
        None keeps what the good image has.
        """
        image = self.image
        payload = self.payload if payload is None else payload
        area = tlv_area(image.protected_tlvs if protected is None else protected, protected=True)
        header = bytearray(self.data[: image.header_size])
        encrypted = image.is_encrypted if encrypted is None else encrypted
        flags = image.flags if encrypted else image.flags & ~(ImageFlag.ENCRYPTED_AES128 | ImageFlag.ENCRYPTED_AES256)
        _SIZES_AND_FLAGS.pack_into(header, _PROTECTED_SIZE_AT, len(area), len(payload), flags)
        if version is not None:
            header[_VERSION_AT : _VERSION_AT + _VERSION_SIZE] = version
        covered = bytes(header) + payload + area
        digest = hashlib.sha256(covered).digest()
        entries = [tlv for tlv in self._entries(digest, self.owner, self.owner) if tlv.type != TlvType.ENC_EC256]
        clear = covered + tlv_area(entries) + self.trailing
        return encryption.encrypted(clear, reader or self._reader) if encrypted else clear

    def _entries(self, digest: bytes, key: PrivateKey, claimed: PrivateKey) -> Iterable[Tlv]:
        """The uncovered entries in the good image's order, with another hash, key hash and signature."""
        if self.image.tlv(TlvType.SIG_PURE) is not None or self.image.tlv(TlvType.SHA256) is None:
            raise ConfigError("only images with SHA-256 and a signature over it can be signed anew here")
        values = {TlvType.SHA256: digest, TlvType.KEYHASH: key_hash(claimed), self.signature.type: sign_digest(digest, key)}
        return (replace(tlv, value=values.get(tlv.type, tlv.value)) for tlv in self.image.plain_tlvs)

    @property
    def _reader(self) -> ec.EllipticCurvePrivateKey:
        return self.reader or encryption_key.private_key()

    def _test_key(self) -> PrivateKey:
        algorithm = _ALGORITHMS.get(TlvType(self.signature.type))
        if algorithm is None:
            raise ConfigError("images with RSA-3072 signatures cannot be signed anew here; ECDSA-P256, Ed25519 and RSA-2048 can")
        return private_key(algorithm)
