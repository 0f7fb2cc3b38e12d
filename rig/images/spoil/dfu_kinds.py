"""The kinds of spoiled Secure DFU packages: one small function each, and the table of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from rig.errors import ConfigError
from rig.formats import init_packet as wire
from rig.images.dfu.package import SIZE_FIELDS
from rig.images.spoil.dfu_package import GoodPackage
from rig.images.spoil.keys import ecdsa_stranger
from rig.images.spoil.kind import Expectation, Format, Spoil

_NO_SOFTDEVICE = 0x7FFD
"""An FWID far above those of released SoftDevices, and not the one that stands for any of them (0xfffe)."""
_WORD = 4
_MAX_U32 = 0xFFFF_FFFF


# ------------------------------------------------------------------------------------------------------------- signatures
def _unsigned(good: GoodPackage) -> bytes:
    assert good.signature
    return good.packed(init_packet=wire.unsigned_packet(good.image.packet.signed))


def _wrong_key(good: GoodPackage) -> bytes:
    assert good.signature
    signed = good.image.packet.signed
    return good.packed(init_packet=wire.signed_packet(signed, wire.sign(signed, ecdsa_stranger())))


def _flip_signature(good: GoodPackage) -> bytes:
    return good.packed(init_packet=good.flipped(good.signature, len(good.signature) - 1))


def _flip_init(good: GoodPackage) -> bytes:
    if good.image.packet.command.fw_version is None or good.image.packet.signed[:1] != b"\x08":
        raise ConfigError("the init command does not begin with a firmware version")
    assert good.signature
    return good.packed(init_packet=good.flipped(good.image.packet.signed, 1))


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


# ------------------------------------------------------------------------------------------------- versions, requirements
def _hardware_version(good: GoodPackage) -> bytes:
    return good.packed(init_packet=good.declaring(hw_version=((good.image.packet.command.hw_version or 0) + 1) & _MAX_U32))


def _softdevice(good: GoodPackage) -> bytes:
    return good.packed(init_packet=good.declaring(sd_req=(_NO_SOFTDEVICE,)))


def _version_lower(good: GoodPackage) -> bytes:
    _check_version(good)
    return good.packed(init_packet=good.declaring(fw_version=0))


def _debug_flag(good: GoodPackage) -> bytes:
    _check_version(good)
    return good.packed(init_packet=good.declaring(fw_version=0, is_debug=True))


def _check_version(good: GoodPackage) -> None:
    if not good.image.packet.command.fw_version:
        raise ConfigError("the package has the firmware version 0, or none; there is none below")


def _kind(
    name: str, what: str, expectation: Expectation, function: Callable[[GoodPackage], bytes], note: str = ""
) -> Spoil[GoodPackage]:
    return Spoil(name=name, applies_to=Format.SECURE_DFU, what=what, expectation=expectation, function=function, note=note)


_AT_REQUEST, _AT_TRANSFER, _NEVER = Expectation.REFUSE_REQUEST, Expectation.REFUSE_TRANSFER, Expectation.NEVER_RUN
_RELEASED = "downgrade prevention is on unless the product has turned it off"

SECURE_DFU_KINDS: dict[str, Spoil[GoodPackage]] = {
    kind.name: kind
    for kind in (
        _kind("unsigned", "the init packet is not signed", _AT_TRANSFER, _unsigned),
        _kind("wrong-key", "the init packet is signed by a stranger", _AT_TRANSFER, _wrong_key),
        _kind("flip-signature", "one bit at the end of the signature", _AT_TRANSFER, _flip_signature),
        _kind("flip-init", "one bit of the firmware version in the signed init command", _AT_TRANSFER, _flip_init),
        _kind("flip-firmware", "one bit in the middle of the firmware", _AT_REQUEST, _flip_firmware),
        _kind("cut-firmware", "the second half of the firmware is missing", _NEVER, _cut_firmware, "it waits for the rest"),
        _kind("swapped-firmware", "another firmware of the same size under the same init packet", _AT_REQUEST, _swapped_firmware),
        _kind(
            "longer-than-declared", "the init packet states 4 bytes less than there are, signed anew", _NEVER, _longer_than_declared
        ),
        _kind("empty-firmware", "no firmware, and the init packet says so, signed anew", _AT_TRANSFER, _empty_firmware),
        _kind("hardware-version", "the hardware version is one higher, signed anew", _AT_TRANSFER, _hardware_version),
        _kind("softdevice", "a SoftDevice is required that does not exist (0x7ffd), signed anew", _AT_TRANSFER, _softdevice),
        _kind("version-lower", "the firmware version is 0, signed anew", _AT_TRANSFER, _version_lower, _RELEASED),
        _kind(
            "debug-flag", "marked as debug with firmware version 0, signed anew", _AT_TRANSFER, _debug_flag,
            "a bootloader built for release does not skip version checks for the mark",
        ),
    )
}  # fmt: skip
"""Every kind by its name."""
