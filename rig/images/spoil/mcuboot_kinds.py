"""How MCUboot images are spoiled: one small function per kind of `rig.formats.spoil_kinds`."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping

from rig.errors import ConfigError
from rig.formats.mcuboot_image import MAGIC, Tlv, TlvType
from rig.images.spoil.keys import ecdsa_stranger
from rig.images.spoil.mcuboot_image import SIGNATURES, TLV_INFO, GoodImage

_BUILD_NUMBER_AT = 24
_HALF_A_HEADER = 16
_UNKNOWN_TLV = 0x5A
_PAGE = 4096
_PADDING = b"\xff" * 4
_JUNK = bytes(range(64))
_ABOVE_ANY_SLOT = 1 << 20
"""Bytes: the flash of the largest SoC, an nRF52840, so that no slot in it is as large."""
_NO_RAM = struct.pack("<I", 0x3000_0000)
_VERSION_ZERO, _VERSION_HIGHEST = bytes(8), b"\xff" * 8
_UNMET_NEED = struct.pack("<B3xBBHI", 1, 255, 0, 0, 0)
"""A dependency entry (MCUboot, `struct image_dependency`): image 1 in version 255.0.0 or higher."""


# ------------------------------------------------------------------------------------------------------------- signatures
def _unsigned(good: GoodImage) -> bytes:
    return good.with_tlvs(tlv for tlv in good.image.plain_tlvs if tlv is not good.signature)


def _hash_only(good: GoodImage) -> bytes:
    left_out = (*SIGNATURES, TlvType.KEYHASH)
    if all(tlv.type not in left_out for tlv in good.image.plain_tlvs):
        raise ConfigError("the image has nothing but its hash already")
    return good.with_tlvs(tlv for tlv in good.image.plain_tlvs if tlv.type not in left_out)


def _wrong_key(good: GoodImage) -> bytes:
    return good.signed_by(good.stranger)


def _demo_key(good: GoodImage) -> bytes:
    return good.signed_by(good.demo_key)


def _forged_key_hash(good: GoodImage) -> bytes:
    return good.signed_by(good.stranger, claimed=good.owner)


# -------------------------------------------------------------------------------------------------------------- bit flips
def _flip_header(good: GoodImage) -> bytes:
    return good.flipped(_BUILD_NUMBER_AT)


def _flip_body(good: GoodImage) -> bytes:
    return good.flipped(good.image.header_size + good.image.image_size // 2)


def _flip_hash(good: GoodImage) -> bytes:
    entry = next(tlv for tlv in good.image.plain_tlvs if tlv.value == good.image.image_hash)
    return good.flipped(good.value_at(entry))


def _flip_signature(good: GoodImage) -> bytes:
    return good.flipped(good.value_at(good.signature) + len(good.signature.value) - 1)


def _flip_protected(good: GoodImage) -> bytes:
    if not good.image.protected_tlvs:
        raise ConfigError("the image has no protected entries, so this cannot be done to it")
    return good.flipped(good.image.payload_end + 2 * TLV_INFO.size)


def _flip_encryption_tlv(good: GoodImage) -> bytes:
    entry = good.encryption_entry
    return good.flipped(good.value_at(entry) + len(entry.value) - 1)


def _bad_magic(good: GoodImage) -> bytes:
    return struct.pack("<I", MAGIC ^ 1) + good.data[4:]


# -------------------------------------------------------------------------------------------------------------- truncated
def _empty(good: GoodImage) -> bytes:
    del good
    return b""


def _cut_in_header(good: GoodImage) -> bytes:
    return good.data[:_HALF_A_HEADER]


def _cut_after_header(good: GoodImage) -> bytes:
    return good.data[: good.image.header_size]


def _cut_in_body(good: GoodImage) -> bytes:
    return good.data[: good.image.header_size + good.image.image_size // 2]


def _cut_before_tlvs(good: GoodImage) -> bytes:
    return good.data[: good.image.payload_end]


def _cut_in_tlvs(good: GoodImage) -> bytes:
    return good.data[: good.value_at(good.signature) + len(good.signature.value) // 2]


# ---------------------------------------------------------------------------------------------------- bytes of another image
def _tail_of_another(good: GoodImage) -> bytes:
    half = good.image.image_size // 2
    return good.with_payload(good.payload[:half] + good.other_payload[half:])


def _body_swapped(good: GoodImage) -> bytes:
    return good.with_payload(good.other_payload)


# --------------------------------------------------------------------------------------------------------- sizes, lengths
def _size_larger(good: GoodImage) -> bytes:
    return good.with_image_size(good.image.image_size + _PAGE)


def _size_smaller(good: GoodImage) -> bytes:
    return good.with_image_size(good.image.image_size - 4)


def _size_wraps(good: GoodImage) -> bytes:
    return good.with_image_size(2**32 - good.image.header_size)


def _oversize(good: GoodImage) -> bytes:
    return good.signed_anew(payload=good.payload.ljust(_ABOVE_ANY_SLOT, b"\xff"))


def _tlv_area_longer(good: GoodImage) -> bytes:
    magic, total = TLV_INFO.unpack_from(good.data, good.image.tlvs_at)
    return good.data[: good.image.tlvs_at] + TLV_INFO.pack(magic, total + 4) + good.data[good.image.tlvs_at + TLV_INFO.size :]


def _tlv_entry_longer(good: GoodImage) -> bytes:
    at = good.value_at(good.signature) - TLV_INFO.size
    return good.data[:at] + TLV_INFO.pack(good.signature.type, 0xFFF0) + good.data[at + TLV_INFO.size :]


def _unknown_tlv(good: GoodImage) -> bytes:
    return good.with_tlvs((*good.image.plain_tlvs, Tlv(type=_UNKNOWN_TLV, value=bytes(4), protected=False)))


# ------------------------------------------------------------------------------------------------------------ encryption
def _check_encrypted(good: GoodImage) -> None:
    if not good.image.is_encrypted:
        raise ConfigError("the image is not encrypted, so this cannot be done to it")


def _plaintext(good: GoodImage) -> bytes:
    _check_encrypted(good)
    return good.signed_anew(encrypted=False)


def _claims_encryption(good: GoodImage) -> bytes:
    _check_encrypted(good)
    return good.clear


def _other_encryption_key(good: GoodImage) -> bytes:
    _check_encrypted(good)
    return good.signed_anew(reader=ecdsa_stranger())


# ------------------------------------------------------------------------------------------- counters, needs, versions, place
def _counter_lower(good: GoodImage) -> bytes:
    counter = good.image.tlv(TlvType.SEC_CNT)
    if not counter or not any(counter):
        raise ConfigError("the image has no security counter above 0; there is none below")
    return good.signed_anew(protected=_protected_with(good, Tlv(type=TlvType.SEC_CNT, value=bytes(len(counter)), protected=True)))


def _counter_missing(good: GoodImage) -> bytes:
    if good.image.tlv(TlvType.SEC_CNT) is None:
        raise ConfigError("the image has no security counter, so none can be taken away")
    return good.signed_anew(protected=tuple(tlv for tlv in good.image.protected_tlvs if tlv.type != TlvType.SEC_CNT))


def _dependency_missing(good: GoodImage) -> bytes:
    return good.signed_anew(protected=_protected_with(good, Tlv(type=TlvType.DEPENDENCY, value=_UNMET_NEED, protected=True)))


def _protected_with(good: GoodImage, entry: Tlv) -> tuple[Tlv, ...]:
    """The protected entries with `entry` in the place of those of its type."""
    return (*(tlv for tlv in good.image.protected_tlvs if tlv.type != entry.type), entry)


def _version_lower(good: GoodImage) -> bytes:
    if good.image.version == "0.0.0":
        raise ConfigError("the image has the version 0.0.0; there is none below")
    return good.signed_anew(version=_VERSION_ZERO)


def _version_equal(good: GoodImage) -> bytes:
    return good.signed_anew(payload=good.payload + _PADDING)


def _version_wrapped(good: GoodImage) -> bytes:
    return good.signed_anew(version=_VERSION_HIGHEST)


def _other_soc(good: GoodImage) -> bytes:
    return good.signed_anew(payload=_NO_RAM + good.payload[len(_NO_RAM) :])


# ------------------------------------------------------------------------------------------------------------- more bytes
def _appended(good: GoodImage) -> bytes:
    return good.data + _JUNK


def _two_images(good: GoodImage) -> bytes:
    return good.data + good.data


MCUBOOT_FUNCTIONS: Mapping[str, Callable[[GoodImage], bytes]] = {
    "unsigned": _unsigned,
    "hash-only": _hash_only,
    "wrong-key": _wrong_key,
    "demo-key": _demo_key,
    "forged-key-hash": _forged_key_hash,
    "flip-header": _flip_header,
    "flip-body": _flip_body,
    "flip-hash": _flip_hash,
    "flip-signature": _flip_signature,
    "flip-protected": _flip_protected,
    "flip-encryption-tlv": _flip_encryption_tlv,
    "bad-magic": _bad_magic,
    "empty": _empty,
    "cut-in-header": _cut_in_header,
    "cut-after-header": _cut_after_header,
    "cut-in-body": _cut_in_body,
    "cut-before-tlvs": _cut_before_tlvs,
    "cut-in-tlvs": _cut_in_tlvs,
    "tail-of-another": _tail_of_another,
    "body-swapped": _body_swapped,
    "size-larger": _size_larger,
    "size-smaller": _size_smaller,
    "size-wraps": _size_wraps,
    "oversize": _oversize,
    "tlv-area-longer": _tlv_area_longer,
    "tlv-entry-longer": _tlv_entry_longer,
    "unknown-tlv": _unknown_tlv,
    "plaintext": _plaintext,
    "claims-encryption": _claims_encryption,
    "other-encryption-key": _other_encryption_key,
    "counter-lower": _counter_lower,
    "counter-missing": _counter_missing,
    "dependency-missing": _dependency_missing,
    "version-lower": _version_lower,
    "version-equal": _version_equal,
    "version-wrapped": _version_wrapped,
    "other-soc": _other_soc,
    "appended": _appended,
    "two-images": _two_images,
}
"""By the name of the kind: the good image to the bytes of the bad one."""
