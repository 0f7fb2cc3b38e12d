"""Whether a slot holds an image that may be started: its size, its hash, its security counter, and a signature by a trusted key.

Source: MCUboot `boot/bootutil/src/image_validate.c`, with the list of permitted unprotected TLVs that a Zephyr build has.
"""

from __future__ import annotations

import hashlib

from rig.formats.mcuboot_image import Tlv, TlvType
from rig.virtual.mcuboot import security_counter
from rig.virtual.mcuboot.algorithm import Algorithm
from rig.virtual.mcuboot.config import Defect
from rig.virtual.mcuboot.encryption import key_of, recode
from rig.virtual.mcuboot.header import read_tlvs, unprotected_tlv_size
from rig.virtual.mcuboot.session import Session, Slot
from rig.virtual.mcuboot.trailer import SwapType

_ENCRYPTION_TLVS = range(0x30, 0x35)
_SIGNATURE_TLVS = frozenset({TlvType.RSA2048_PSS, TlvType.ECDSA_SIG, TlvType.RSA3072_PSS, TlvType.ED25519, TlvType.SIG_PURE})


async def is_valid(session: Session, algorithm: Algorithm, slot: Slot, swap_type: int = SwapType.NONE) -> bool:
    """Check the image in `slot` by the header read last; takes the time of a hash and a signature check.

    `swap_type` says what the image in the secondary slot is wanted for.
    """
    header, area, config = session.headers[slot], session.region(slot), session.config
    plausible = header.is_plausible(area.size, may_be_encrypted=config.encrypts)
    if not plausible or session.image_offset(slot) + header.hashed_size > area.size:
        return False
    session.cpu.feed_watchdog()
    read = session.image_reader(slot)
    await session.cpu.sleep(header.hashed_size / config.hash_bytes_per_s)
    content = read(0, header.hashed_size) or b""
    size, tlvs = unprotected_tlv_size(header, read), read_tlvs(header, read)
    if size is None or tlvs is None or header.hashed_size + size > algorithm.max_image_size(config):
        return False
    if not all(tlv.protected or _is_permitted(tlv, session.expected_signature) for tlv in tlvs):
        return False
    digest = _digest(session, slot, content, tlvs, swap_type)
    if digest is None or not _has_hash(tlvs, digest) or not _counts_enough(session, tlvs):
        return False
    if config.has(Defect.NO_SIGNATURE_CHECK):
        return True
    if config.has(Defect.UNSIGNED_ACCEPTED) and not any(tlv.type in _SIGNATURE_TLVS for tlv in tlvs):
        return True
    await session.cpu.sleep(config.verification_s)
    reverses = config.has(Defect.DIGEST_REVERSED) and slot is Slot.SECONDARY
    return _is_signed(session, tlvs, digest[::-1] if reverses else digest)


def _is_permitted(tlv: Tlv, expected_signature: TlvType) -> bool:
    return tlv.type in (TlvType.KEYHASH, TlvType.SHA256, expected_signature) or tlv.type in _ENCRYPTION_TLVS


def _digest(session: Session, slot: Slot, content: bytes, tlvs: tuple[Tlv, ...], swap_type: int) -> bytes | None:
    """SHA-256 of the image in clear, None when it is encrypted for somebody else.  Only defective builds take a payload as it is."""
    header, config = session.headers[slot], session.config
    if slot is Slot.PRIMARY or not header.is_encrypted:
        return hashlib.sha256(content).digest()
    key = key_of(tlvs, config.encryption_key)
    if key is None:
        return None
    in_clear = hashlib.sha256(content).digest()
    credulous = config.has(Defect.FALSE_ENCRYPTION_ACCEPTED)
    left_in_clear = config.has(Defect.OLD_IMAGE_IN_CLEAR) and swap_type == SwapType.REVERT
    if (credulous or left_in_clear) and _has_hash(tlvs, in_clear):
        session.clear_payloads.add(slot)
        return in_clear
    return hashlib.sha256(recode(content, header, key.aes, offset=0)).digest()


def _has_hash(tlvs: tuple[Tlv, ...], digest: bytes) -> bool:
    claimed = [tlv.value for tlv in tlvs if tlv.type == TlvType.SHA256]
    return bool(claimed) and all(value == digest for value in claimed)


def _counts_enough(session: Session, tlvs: tuple[Tlv, ...]) -> bool:
    """Whether the security counter of an image, if the build has one, is not lower than the stored one."""
    page = session.config.counter_page
    if page is None or session.config.has(Defect.SECURITY_COUNTER_IGNORED):
        return True
    counter = security_counter.of_image(tlvs)
    return counter is not None and counter >= security_counter.stored(session.cpu, page)


def _is_signed(session: Session, tlvs: tuple[Tlv, ...], digest: bytes) -> bool:
    """Whether the last signature that follows a known key's hash is good.  Signatures of unknown keys do not count."""
    signed = False
    key = None
    for tlv in tlvs:
        if tlv.type == TlvType.KEYHASH:
            key = next((known for known in session.config.trusted_keys if known.hash.startswith(tlv.value)), None)
        elif key is not None and tlv.type == key.signature_tlv:
            signed = key.verifies(digest, tlv.value)
            key = None
    return signed
