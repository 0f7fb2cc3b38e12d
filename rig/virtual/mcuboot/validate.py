"""Whether a slot holds an image that may be started: its size, its hash, and a signature by a trusted key.

Source: MCUboot `boot/bootutil/src/image_validate.c`, with the list of permitted unprotected TLVs that a Zephyr build has.
"""

from __future__ import annotations

import hashlib

from rig.formats.mcuboot_image import Tlv, TlvType
from rig.virtual.mcuboot.algorithm import Algorithm
from rig.virtual.mcuboot.config import Defect
from rig.virtual.mcuboot.header import Header, read_tlvs, unprotected_tlv_size
from rig.virtual.mcuboot.keys import TrustedKey
from rig.virtual.mcuboot.session import Session, Slot

_ENCRYPTION_TLVS = range(0x30, 0x35)


async def is_valid(session: Session, algorithm: Algorithm, slot: Slot) -> bool:
    """Check the image in `slot` by the header read last; takes the time of a hash and a signature check."""
    header, area = session.headers[slot], session.region(slot)
    if not header.is_plausible(area.size) or session.image_offset(slot) + header.hashed_size > area.size:
        return False
    read = session.image_reader(slot)
    await session.cpu.sleep(header.hashed_size / session.config.hash_bytes_per_s)
    digest = hashlib.sha256(read(0, header.hashed_size) or b"").digest()
    size, tlvs = unprotected_tlv_size(header, read), read_tlvs(header, read)
    if size is None or tlvs is None or header.hashed_size + size > algorithm.max_image_size(session.config):
        return False
    if not all(tlv.protected or _is_permitted(tlv, session.expected_signature) for tlv in tlvs):
        return False
    claimed = [tlv.value for tlv in tlvs if tlv.type == TlvType.SHA256]
    if not claimed or any(value != digest for value in claimed):
        return False
    if session.config.has(Defect.NO_SIGNATURE_CHECK):
        return True
    await session.cpu.sleep(session.config.signature_s)
    return _is_signed(tlvs, digest, session.config.keys)


def _is_permitted(tlv: Tlv, expected_signature: TlvType) -> bool:
    return tlv.type in (TlvType.KEYHASH, TlvType.SHA256, expected_signature) or tlv.type in _ENCRYPTION_TLVS


def _is_signed(tlvs: tuple[Tlv, ...], digest: bytes, keys: tuple[TrustedKey, ...]) -> bool:
    """Whether the last signature that follows a known key's hash is good.  Signatures of unknown keys do not count."""
    signed = False
    key: TrustedKey | None = None
    for tlv in tlvs:
        if tlv.type == TlvType.KEYHASH:
            key = next((known for known in keys if known.hash.startswith(tlv.value)), None)
        elif key is not None and tlv.type == key.signature_tlv:
            signed = key.verifies(digest, tlv.value)
            key = None
    return signed


def downgrades(candidate: Header, running: Header) -> bool:
    """Whether installing `candidate` would go back to a lower version; equal versions pass."""
    return candidate.is_older_than(running)
