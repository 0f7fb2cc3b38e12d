"""How Secure DFU packages are spoiled: one small function per kind of `rig.formats.spoil_kinds`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats import init_packet as wire
from rig.formats.test_key import PrivateKey, demo_key
from rig.images.dfu.package import SIZE_FIELDS
from rig.images.spoil.dfu_package import GoodPackage
from rig.images.spoil.keys import ecdsa_stranger

_NO_SOFTDEVICE = 0x7FFD
"""An FWID far above those of released SoftDevices, and not the one that stands for any of them (0xfffe)."""
_S112_7_2_0 = 0x0103
"""FWID of a SoftDevice that fits none of the boards, which carry an S132 or an S140 (S112 7.2.0 release notes)."""
_ABOVE_ANY_FLASH = 1 << 20
"""Bytes: the flash of the largest SoC, an nRF52840."""
_WORD = 4
_MAX_U32 = 0xFFFF_FFFF


# ------------------------------------------------------------------------------------------------------------- signatures
def _unsigned(good: GoodPackage) -> bytes:
    assert good.signature
    return good.packed(init_packet=wire.unsigned_packet(good.image.packet.signed))


def _wrong_key(good: GoodPackage) -> bytes:
    return _signed_by(good, ecdsa_stranger())


def _demo_key(good: GoodPackage) -> bytes:
    return _signed_by(good, demo_key())


def _signed_by(good: GoodPackage, key: PrivateKey) -> bytes:
    assert good.signature
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signed = good.image.packet.signed
    return good.packed(init_packet=wire.signed_packet(signed, wire.sign(signed, key)))


def _flip_signature(good: GoodPackage) -> bytes:
    return good.packed(init_packet=good.flipped(good.signature, len(good.signature) - 1))


def _flip_init(good: GoodPackage) -> bytes:
    if good.image.packet.command.fw_version is None or good.image.packet.signed[:1] != b"\x08":
        raise ConfigError("the init command does not begin with a firmware version")
    assert good.signature
    return good.packed(init_packet=good.flipped(good.image.packet.signed, 1))


def _wrong_length(good: GoodPackage) -> bytes:
    assert good.signature
    packet = bytearray(good.image.init_packet)
    packet[1] ^= 1  # behind the tag of the signed command: the low bits of its length
    return good.packed(init_packet=bytes(packet))


# --------------------------------------------------------------------------------------------------------------- firmware
def _flip_firmware(good: GoodPackage) -> bytes:
    firmware = bytearray(good.image.firmware)
    firmware[len(firmware) // 2] ^= 1
    return good.packed(firmware=bytes(firmware))


def _cut_firmware(good: GoodPackage) -> bytes:
    size = len(good.image.firmware) // 2 // _WORD * _WORD
    if not size:
        raise ConfigError("the firmware is too short to be cut")
    return good.packed(firmware=good.image.firmware[:size])


def _cut_in_body(good: GoodPackage) -> bytes:
    size = len(good.image.firmware) * 3 // 4 // _WORD * _WORD
    if not size:
        raise ConfigError("the firmware is too short to be cut")
    return good.packed(firmware=good.image.firmware[:size])


def _empty(good: GoodPackage) -> bytes:
    return good.packed(firmware=b"")


def _body_swapped(good: GoodPackage) -> bytes:
    return good.packed(firmware=good.other_firmware)


def _tail_of_another(good: GoodPackage) -> bytes:
    half = len(good.image.firmware) // 2
    return good.packed(firmware=good.image.firmware[:half] + good.other_firmware[half:])


def _replay_init(good: GoodPackage) -> bytes:
    replayed = good.other_image.init_packet
    if replayed == good.image.init_packet:
        raise ConfigError("the other package has the same init packet")
    return good.packed(init_packet=replayed)


def _two_images(good: GoodPackage) -> bytes:
    return good.packed(firmware=good.image.firmware * 2)


def _oversize(good: GoodPackage) -> bytes:
    field = SIZE_FIELDS[good.image.kind][-1]
    more = _ABOVE_ANY_FLASH - len(good.image.firmware)
    firmware = good.image.firmware.ljust(_ABOVE_ANY_FLASH, b"\xff")
    stated: int = getattr(good.image.packet.command, field)
    return good.packed(init_packet=good.declaring(hash=wire.firmware_hash(firmware), **{field: stated + more}), firmware=firmware)


def _swapped_firmware(good: GoodPackage) -> bytes:
    size = len(good.image.firmware)
    return good.packed(firmware=hashlib.shake_256(b"another firmware" + good.image.firmware).digest(size))


def _longer_than_declared(good: GoodPackage) -> bytes:
    field = SIZE_FIELDS[good.image.kind][-1]
    stated: int = getattr(good.image.packet.command, field)
    if stated <= _WORD:
        raise ConfigError("the firmware is too short to be stated shorter")
    return good.packed(init_packet=good.declaring(**{field: stated - _WORD}))


def _empty_firmware(good: GoodPackage) -> bytes:
    sizes = dict.fromkeys(SIZE_FIELDS[good.image.kind], 0)
    return good.packed(init_packet=good.declaring(hash=wire.firmware_hash(b""), **sizes), firmware=b"")


def _hash_flipped(good: GoodPackage) -> bytes:
    stated = good.image.packet.command.hash
    if stated is None:
        raise ConfigError("the init command has no hash")
    return good.packed(init_packet=good.declaring(hash=replace(stated, digest=bytes([stated.digest[0] ^ 1]) + stated.digest[1:])))


# ------------------------------------------------------------------------------------------------- versions, requirements
def _hardware_version(good: GoodPackage) -> bytes:
    return good.packed(init_packet=good.declaring(hw_version=((good.image.packet.command.hw_version or 0) + 1) & _MAX_U32))


def _softdevice(good: GoodPackage) -> bytes:
    return good.packed(init_packet=good.declaring(sd_req=(_NO_SOFTDEVICE,)))


def _other_softdevice(good: GoodPackage) -> bytes:
    return good.packed(init_packet=good.declaring(sd_req=(_S112_7_2_0,)))


def _version_lower(good: GoodPackage) -> bytes:
    _check_version(good)
    return good.packed(init_packet=good.declaring(fw_version=0))


def _debug_flag(good: GoodPackage) -> bytes:
    _check_version(good)
    return good.packed(init_packet=good.declaring(fw_version=0, is_debug=True))


def _check_version(good: GoodPackage) -> None:
    if not good.image.packet.command.fw_version:
        raise ConfigError("the package has the firmware version 0, or none; there is none below")


SECURE_DFU_FUNCTIONS: Mapping[str, Callable[[GoodPackage], bytes]] = {
    "unsigned": _unsigned,
    "wrong-key": _wrong_key,
    "demo-key": _demo_key,
    "flip-signature": _flip_signature,
    "flip-init": _flip_init,
    "wrong-length": _wrong_length,
    "flip-firmware": _flip_firmware,
    "cut-firmware": _cut_firmware,
    "cut-in-body": _cut_in_body,
    "empty": _empty,
    "swapped-firmware": _swapped_firmware,
    "body-swapped": _body_swapped,
    "tail-of-another": _tail_of_another,
    "replay-init": _replay_init,
    "two-images": _two_images,
    "longer-than-declared": _longer_than_declared,
    "oversize": _oversize,
    "empty-firmware": _empty_firmware,
    "hash-flipped": _hash_flipped,
    "hardware-version": _hardware_version,
    "softdevice": _softdevice,
    "other-softdevice": _other_softdevice,
    "version-lower": _version_lower,
    "debug-flag": _debug_flag,
}
"""By the name of the kind: the good package to the bytes of the bad one."""
