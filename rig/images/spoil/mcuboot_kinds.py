"""The kinds of spoiled MCUboot images: one small function each, and the table of them."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from rig.errors import ConfigError
from rig.formats.mcuboot_image import MAGIC, Tlv, TlvType
from rig.images.spoil.kind import Expectation, Format, Spoil
from rig.images.spoil.mcuboot_image import SIGNATURES, TLV_INFO, GoodImage, sign

_BUILD_NUMBER_AT = 24
_HALF_A_HEADER = 16
_UNKNOWN_TLV = 0x5A
_PAGE = 4096
_PADDING = b"\xff" * 4
_JUNK = bytes(range(64))


# ------------------------------------------------------------------------------------------------------------- signatures
def _unsigned(good: GoodImage) -> bytes:
    return good.with_tlvs(tlv for tlv in good.plain if tlv is not good.signature)


def _hash_only(good: GoodImage) -> bytes:
    left_out = (*SIGNATURES, TlvType.KEYHASH)
    if all(tlv.type not in left_out for tlv in good.plain):
        raise ConfigError("the image has nothing but its hash already")
    return good.with_tlvs(tlv for tlv in good.plain if tlv.type not in left_out)


def _wrong_key(good: GoodImage) -> bytes:
    return good.signed_anew(good.data[: good.tlvs_at], good.stranger)


def _forged_key_hash(good: GoodImage) -> bytes:
    digest = good.image.tlv(TlvType.SHA256)
    if digest is None or good.image.tlv(TlvType.KEYHASH) is None:
        raise ConfigError("only an image with SHA-256 and a key hash can be spoiled like this")
    forged = replace(good.signature, value=sign(digest, good.stranger))
    return good.with_tlvs(forged if tlv is good.signature else tlv for tlv in good.plain)


# -------------------------------------------------------------------------------------------------------------- bit flips
def _flip_header(good: GoodImage) -> bytes:
    return good.flipped(_BUILD_NUMBER_AT)


def _flip_body(good: GoodImage) -> bytes:
    return good.flipped(good.image.header_size + good.image.image_size // 2)


def _flip_hash(good: GoodImage) -> bytes:
    entry = next(tlv for tlv in good.plain if tlv.value == good.image.image_hash)
    return good.flipped(good.value_at(entry))


def _flip_signature(good: GoodImage) -> bytes:
    return good.flipped(good.value_at(good.signature) + len(good.signature.value) - 1)


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
    return good.data[: good.payload_end]


def _cut_in_tlvs(good: GoodImage) -> bytes:
    return good.data[: good.value_at(good.signature) + len(good.signature.value) // 2]


# --------------------------------------------------------------------------------------------------------- sizes, lengths
def _size_larger(good: GoodImage) -> bytes:
    return good.with_image_size(good.image.image_size + _PAGE)


def _size_smaller(good: GoodImage) -> bytes:
    return good.with_image_size(good.image.image_size - 4)


def _size_wraps(good: GoodImage) -> bytes:
    return good.with_image_size(2**32 - good.image.header_size)


def _tlv_area_longer(good: GoodImage) -> bytes:
    magic, total = TLV_INFO.unpack_from(good.data, good.tlvs_at)
    return good.data[: good.tlvs_at] + TLV_INFO.pack(magic, total + 4) + good.data[good.tlvs_at + TLV_INFO.size :]


def _tlv_entry_longer(good: GoodImage) -> bytes:
    at = good.value_at(good.signature) - TLV_INFO.size
    return good.data[:at] + TLV_INFO.pack(good.signature.type, 0xFFF0) + good.data[at + TLV_INFO.size :]


def _unknown_tlv(good: GoodImage) -> bytes:
    return good.with_tlvs((*good.plain, Tlv(type=_UNKNOWN_TLV, value=bytes(4), protected=False)))


# --------------------------------------------------------------------------------------------------- versions, more bytes
def _version_lower(good: GoodImage) -> bytes:
    if good.image.version == "0.0.0":
        raise ConfigError("the image has the version 0.0.0; there is none below")
    return good.signed_anew(good.with_version_zero(), good.owner)


def _version_equal(good: GoodImage) -> bytes:
    if good.image.protected_size:
        raise ConfigError("the image has protected entries, so its payload cannot be made longer here")
    longer = good.with_image_size(good.image.image_size + len(_PADDING))[: good.payload_end] + _PADDING
    return good.signed_anew(longer, good.owner)


def _appended(good: GoodImage) -> bytes:
    return good.data + _JUNK


def _two_images(good: GoodImage) -> bytes:
    return good.data + good.data


def _kind(
    name: str, what: str, expectation: Expectation, function: Callable[[GoodImage], bytes], note: str = ""
) -> Spoil[GoodImage]:
    return Spoil(name=name, applies_to=Format.MCUBOOT, what=what, expectation=expectation, function=function, note=note)


_AT_BOOT, _AT_REQUEST, _AT_TRANSFER = Expectation.REFUSE_BOOT, Expectation.REFUSE_REQUEST, Expectation.REFUSE_TRANSFER
_NEVER, _MAY_RUN = Expectation.NEVER_RUN, Expectation.MAY_RUN

MCUBOOT_KINDS: dict[str, Spoil[GoodImage]] = {
    kind.name: kind
    for kind in (
        _kind("unsigned", "the signature entry is left out", _AT_BOOT, _unsigned),
        _kind("hash-only", "key hash and signature are left out", _AT_BOOT, _hash_only),
        _kind("wrong-key", "key hash and signature are a stranger's", _AT_BOOT, _wrong_key),
        _kind("forged-key-hash", "the signature is a stranger's, under the owner's key hash", _AT_BOOT, _forged_key_hash),
        _kind("flip-header", "one bit of the build number in the header", _AT_BOOT, _flip_header),
        _kind("flip-body", "one bit in the middle of the payload", _AT_BOOT, _flip_body),
        _kind("flip-hash", "one bit of the hash entry", _AT_BOOT, _flip_hash),
        _kind("flip-signature", "one bit at the end of the signature", _AT_BOOT, _flip_signature),
        _kind("bad-magic", "the lowest bit of the magic number", _AT_TRANSFER, _bad_magic),
        _kind("empty", "nothing is left", _AT_TRANSFER, _empty),
        _kind("cut-in-header", "cut off after 16 bytes", _AT_TRANSFER, _cut_in_header),
        _kind("cut-after-header", "cut off after the header", _AT_REQUEST, _cut_after_header),
        _kind("cut-in-body", "cut off in the middle of the payload", _AT_REQUEST, _cut_in_body),
        _kind("cut-before-tlvs", "cut off after the payload", _AT_REQUEST, _cut_before_tlvs),
        _kind("cut-in-tlvs", "cut off in the middle of the signature", _AT_BOOT, _cut_in_tlvs),
        _kind("size-larger", "the payload size in the header is 4096 too large", _AT_REQUEST, _size_larger),
        _kind("size-smaller", "the payload size in the header is 4 too small", _AT_REQUEST, _size_smaller),
        _kind("size-wraps", "the payload size makes header and payload 2^32 bytes, 0 in 32 bits", _AT_REQUEST, _size_wraps),
        _kind("tlv-area-longer", "the TLV area states 4 bytes more than it has", _NEVER, _tlv_area_longer),
        _kind("tlv-entry-longer", "the signature entry states 65520 bytes", _NEVER, _tlv_entry_longer),
        _kind("unknown-tlv", "an entry of unknown type 0x5a stands in the uncovered TLV area", _AT_BOOT, _unknown_tlv),
        _kind(
            "version-lower", "the version is 0.0.0, signed anew by the owner", _AT_BOOT, _version_lower,
            "where downgrade prevention is built in",
        ),
        _kind(
            "version-equal", "4 bytes of padding more, signed anew by the owner: another image of the same version", _MAY_RUN,
            _version_equal, "MCUboot's downgrade prevention lets equal versions pass",
        ),
        _kind("appended", "64 bytes of junk after the image", _MAY_RUN, _appended, "nothing after the TLV area belongs to the image"),
        _kind("two-images", "the image stands in the file twice", _MAY_RUN, _two_images, "the first is intact, the second is never looked at"),
    )
}  # fmt: skip
"""Every kind by its name."""
