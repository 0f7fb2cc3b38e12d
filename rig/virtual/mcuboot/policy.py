"""What a product wants of an image beside a good signature: its version, what it depends on, that it was encrypted.

Source: MCUboot `boot/bootutil/src/loader.c` (`boot_version_cmp`, `boot_verify_slot_dependencies`), `docs/design.md`.
"""

from __future__ import annotations

import struct

from rig.formats.mcuboot_image import Tlv, TlvType
from rig.virtual.mcuboot.config import Defect, Encryption, McubootConfig
from rig.virtual.mcuboot.header import Header

_DEPENDENCY = struct.Struct("<B3xBBHI")


def refuses_version(config: McubootConfig, candidate: Header, running: Header) -> bool:
    """Whether installing `candidate` over `running` is held to be a step back.  Build numbers do not count."""
    if not config.downgrade_prevention:
        return False
    new, old = candidate.version[:3], running.version[:3]
    if new == old:
        return not config.equal_version_accepted and not config.has(Defect.EQUAL_VERSION_ACCEPTED)
    return new < old and not config.has(Defect.DOWNGRADE_ACCEPTED)


def refuses_plaintext(config: McubootConfig, candidate: Header) -> bool:
    """Whether `candidate` had to be encrypted and does not even say so."""
    required = config.encryption is Encryption.REQUIRED and not config.has(Defect.PLAINTEXT_ACCEPTED)
    return required and not candidate.is_encrypted


def lacks_dependency(config: McubootConfig, candidate: Header, tlvs: tuple[Tlv, ...]) -> bool:
    """Whether an image that `candidate` needs is missing, too old, or named by an entry that cannot be read.

    As in MCUboot, a device with one image only does not look at dependencies.
    """
    if not config.other_images or config.has(Defect.DEPENDENCY_IGNORED):
        return False
    versions = {0: candidate.version, **config.other_images}
    for value in (tlv.value for tlv in tlvs if tlv.type == TlvType.DEPENDENCY):
        if len(value) != _DEPENDENCY.size:
            return True
        index, *wanted = _DEPENDENCY.unpack(value)
        if index not in versions or versions[index][:3] < tuple(wanted[:3]):
            return True
    return False
