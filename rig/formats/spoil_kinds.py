"""The catalogue of spoiled update packages: what each kind changes, and what a good device does with the result.

It stands at the bottom, because scenarios are checked against it before anything is built.  The functions that do the spoiling are
in `rig.images.spoil`, by the same names.  Source of what MCUboot does: its `docs/design.md`, `docs/encrypted_images.md` and
`boot/bootutil/src/image_validate.c`; of what Secure DFU does: nRF5 SDK 17.0.2, `nrf_dfu_ver_validation.c` and `nrf_dfu_validation.c`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from rig.errors import ConfigError
from rig.model import Protocol


class Format(StrEnum):
    """The two forms of an update package; the value is what people call it."""

    MCUBOOT = "MCUboot image"
    SECURE_DFU = "Secure DFU package"

    @classmethod
    def of(cls, protocol: Protocol) -> Format:
        """What travels by `protocol`."""
        return cls.MCUBOOT if protocol is Protocol.SMP else cls.SECURE_DFU


class Expectation(StrEnum):
    """What a good device does with a spoiled package; the value completes "a good device …"."""

    REFUSE_TRANSFER = "refuses it during the transfer"
    REFUSE_REQUEST = "refuses the request to install it"
    REFUSE_BOOT = "refuses it at the next boot"
    NEVER_RUN = "never runs it, wherever it refuses it"
    MAY_RUN = "may run it"

    @property
    def must_not_run(self) -> bool:
        """Whether a device on which the result runs is broken."""
        return self is not Expectation.MAY_RUN


@dataclass(frozen=True, kw_only=True)
class SpoilKind:
    """One kind.

    `what` is changed, in one clause; `note` says more about what a device is expected to do, where that is not plain.
    """

    name: str
    what: str
    expectation: Expectation
    note: str = ""

    @property
    def expected(self) -> str:
        """What a good device does, as a sentence without its full stop."""
        return f"a good device {self.expectation}" + (f" ({self.note})" if self.note else "")


def _kinds(*entries: SpoilKind) -> Mapping[str, SpoilKind]:
    return {entry.name: entry for entry in entries}


def _kind(name: str, what: str, expectation: Expectation, note: str = "") -> SpoilKind:
    return SpoilKind(name=name, what=what, expectation=expectation, note=note)


_AT_BOOT, _AT_REQUEST, _AT_TRANSFER = Expectation.REFUSE_BOOT, Expectation.REFUSE_REQUEST, Expectation.REFUSE_TRANSFER
_NEVER, _MAY_RUN = Expectation.NEVER_RUN, Expectation.MAY_RUN
_ENCRYPTED = "where images are encrypted"
_COUNTED = "where the security counter is checked"
_RELEASED = "downgrade prevention is on unless the product has turned it off"

_MCUBOOT = _kinds(
    _kind("unsigned", "the signature entry is left out", _AT_BOOT),
    _kind("hash-only", "key hash and signature are left out", _AT_BOOT),
    _kind("wrong-key", "key hash and signature are a stranger's", _AT_BOOT),
    _kind("demo-key", "key hash and signature are those of a demo key that everybody has", _AT_BOOT),
    _kind("forged-key-hash", "the signature is a stranger's, under the owner's key hash", _AT_BOOT),
    _kind("flip-header", "one bit of the build number in the header", _AT_BOOT),
    _kind("flip-body", "one bit in the middle of the payload", _AT_BOOT),
    _kind("flip-hash", "one bit of the hash entry", _AT_BOOT),
    _kind("flip-signature", "one bit at the end of the signature", _AT_BOOT),
    _kind("flip-protected", "one bit of the first protected entry", _AT_BOOT),
    _kind("flip-encryption-tlv", "one bit of the wrapped key in the encryption entry", _AT_BOOT),
    _kind("bad-magic", "the lowest bit of the magic number", _AT_TRANSFER),
    _kind("empty", "nothing is left", _AT_TRANSFER),
    _kind("cut-in-header", "cut off after 16 bytes", _AT_TRANSFER),
    _kind("cut-after-header", "cut off after the header", _AT_REQUEST),
    _kind("cut-in-body", "cut off in the middle of the payload", _AT_REQUEST),
    _kind("cut-before-tlvs", "cut off after the payload", _AT_REQUEST),
    _kind("cut-in-tlvs", "cut off in the middle of the signature", _AT_BOOT),
    _kind("tail-of-another", "the second half of the payload is another image's", _AT_BOOT),
    _kind("body-swapped", "another image's payload under the same header and entries", _AT_BOOT),
    _kind("size-larger", "the payload size in the header is 4096 too large", _AT_REQUEST),
    _kind("size-smaller", "the payload size in the header is 4 too small", _AT_REQUEST),
    _kind("size-wraps", "the payload size makes header and payload 2^32 bytes, 0 in 32 bits", _AT_REQUEST),
    _kind("oversize", "padded to 1 MiB, more than any slot has, signed anew by the owner", _AT_TRANSFER),
    _kind("tlv-area-longer", "the TLV area states 4 bytes more than it has", _NEVER),
    _kind("tlv-entry-longer", "the signature entry states 65520 bytes", _NEVER),
    _kind("unknown-tlv", "an entry of unknown type 0x5a stands in the uncovered TLV area", _AT_BOOT),
    _kind("plaintext", "not encrypted and not marked as such, signed anew by the owner", _AT_BOOT, "where encryption is required"),
    _kind("claims-encryption", "marked as encrypted, with the encryption entry, but the payload is plain", _AT_BOOT, _ENCRYPTED),
    _kind("other-encryption-key", "the key is wrapped for a stranger's bootloader", _AT_BOOT, _ENCRYPTED),
    _kind("counter-lower", "the security counter is 0, signed anew by the owner", _AT_BOOT, _COUNTED),
    _kind("counter-missing", "there is no security counter, signed anew by the owner", _AT_BOOT, _COUNTED),
    _kind(
        "dependency-missing", "needs image 1 in version 255.0.0, signed anew by the owner", _AT_BOOT,
        "where dependencies are checked, which takes a device with several images",
    ),
    _kind("version-lower", "the version is 0.0.0, signed anew by the owner", _AT_BOOT, "where downgrade prevention is built in"),
    _kind(
        "version-equal", "4 bytes of padding more, signed anew by the owner: another image of the same version", _MAY_RUN,
        "MCUboot's downgrade prevention lets equal versions pass",
    ),
    _kind(
        "version-wrapped", "every field of the version is at its maximum, signed anew by the owner", _MAY_RUN,
        "no version is higher, so that nothing but a lapse in the comparison ever follows it",
    ),
    _kind(
        "other-soc", "the initial stack pointer lies outside every RAM, signed anew by the owner", _NEVER,
        "MCUboot does not look at the vector table: it may install the image, which cannot run and is rolled back",
    ),
    _kind("appended", "64 bytes of junk after the image", _MAY_RUN, "nothing after the TLV area belongs to the image"),
    _kind("two-images", "the image stands in the file twice", _MAY_RUN, "the first is intact, the second is never looked at"),
)  # fmt: skip

_SECURE_DFU = _kinds(
    _kind("unsigned", "the init packet is not signed", _AT_TRANSFER),
    _kind("wrong-key", "the init packet is signed by a stranger", _AT_TRANSFER),
    _kind("demo-key", "the init packet is signed with a demo key that everybody has", _AT_TRANSFER),
    _kind("flip-signature", "one bit at the end of the signature", _AT_TRANSFER),
    _kind("flip-init", "one bit of the firmware version in the signed init command", _AT_TRANSFER),
    _kind("wrong-length", "the length of the signed command is 1 off", _AT_TRANSFER),
    _kind("flip-firmware", "one bit in the middle of the firmware", _AT_REQUEST),
    _kind("cut-firmware", "the second half of the firmware is missing", _NEVER, "it waits for the rest"),
    _kind("cut-in-body", "the last quarter of the firmware is missing", _NEVER, "it waits for the rest"),
    _kind("empty", "no firmware under the same init packet", _NEVER, "it waits for it"),
    _kind("swapped-firmware", "noise of the same size under the same init packet", _AT_REQUEST),
    _kind("body-swapped", "another firmware, of the same size, under the same init packet", _AT_REQUEST),
    _kind("tail-of-another", "the second half of the firmware is another's", _AT_REQUEST),
    _kind("replay-init", "another package's init packet over this firmware", _NEVER),
    _kind("two-images", "the firmware stands in the file twice", _MAY_RUN, "the first is complete and valid; the second is never asked for"),
    _kind("longer-than-declared", "the init packet states 4 bytes less than there are, signed anew", _NEVER),
    _kind("oversize", "padded to 1 MiB, more than any flash has room for, signed anew", _AT_TRANSFER),
    _kind("empty-firmware", "no firmware, and the init packet says so, signed anew", _AT_TRANSFER),
    _kind("hash-flipped", "one bit of the firmware's hash in the init command, signed anew", _AT_REQUEST),
    _kind("hardware-version", "the hardware version is one higher, signed anew", _AT_TRANSFER),
    _kind("softdevice", "a SoftDevice is required that does not exist (0x7ffd), signed anew", _AT_TRANSFER),
    _kind("other-softdevice", "another SoftDevice is required, S112 7.2.0 (0x0103), signed anew", _AT_TRANSFER),
    _kind("version-lower", "the firmware version is 0, signed anew", _AT_TRANSFER, _RELEASED),
    _kind(
        "debug-flag", "marked as debug with firmware version 0, signed anew", _AT_TRANSFER,
        "a bootloader built for release does not skip version checks for the mark",
    ),
)  # fmt: skip

KINDS: Mapping[Format, Mapping[str, SpoilKind]] = {Format.MCUBOOT: _MCUBOOT, Format.SECURE_DFU: _SECURE_DFU}
"""Every kind, by format and then by name, in the order in which they are listed; several names exist for both."""


def find(name: str, form: Format) -> SpoilKind:
    """The kind called `name` for packages of `form`.

    Raises `ConfigError` when there is none: it names the nearest, or, for a kind of the other form, all that there are for this one.
    """
    if name in KINDS[form]:
        return KINDS[form][name]
    known = dict.fromkeys(kind for kinds in KINDS.values() for kind in kinds)
    if name not in known:
        (nearest,) = difflib.get_close_matches(name, known, n=1, cutoff=0)
        raise ConfigError(f"there is no kind {name!r}; did you mean {nearest!r}? `rig images kinds` lists them all")
    other = next(other.value for other in Format if other is not form)
    raise ConfigError(f"{name!r} is only for the other form, {other}; for this {form} there are {', '.join(KINDS[form])}")
