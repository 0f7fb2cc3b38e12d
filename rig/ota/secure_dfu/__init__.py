"""Nordic's Secure DFU from the host's side: buttonless entry, the two transports, and the session that updates a device.

    async with GattTransport(link) as transport:
        async for progress in SecureDfuSession(transport).update(image):
            ...

Phases, resume rules and errors: `docs/secure-dfu.md`.
"""

from rig.errors import MalformedReply
from rig.ota.secure_dfu.buttonless import (
    BUTTONLESS_BONDED,
    BUTTONLESS_OPEN,
    DEFAULT_NAME,
    advertises_dfu,
    enter_bootloader,
    is_bootloader,
    next_address_one_byte,
    next_address_whole,
)
from rig.ota.secure_dfu.exchange import Waits
from rig.ota.secure_dfu.serial import SerialTransport
from rig.ota.secure_dfu.session import Options, PackageImage, SecureDfuSession
from rig.ota.secure_dfu.transfer import NOTHING, Pace, Progress, Stage, Step, checksum_of
from rig.ota.secure_dfu.transport import CONTROL_POINT, DFU_SERVICE, PACKET, DfuTransport, GattTransport
from rig.ota.secure_dfu.wire import (
    BUTTONLESS_GROUP,
    EXTENDED_GROUP,
    RESULT_GROUP,
    Checksum,
    ChecksumMismatch,
    ExtendedError,
    ObjectState,
    ObjectType,
    Opcode,
    Result,
)

__all__ = [
    "BUTTONLESS_BONDED",
    "BUTTONLESS_GROUP",
    "BUTTONLESS_OPEN",
    "CONTROL_POINT",
    "DEFAULT_NAME",
    "DFU_SERVICE",
    "EXTENDED_GROUP",
    "NOTHING",
    "PACKET",
    "RESULT_GROUP",
    "Checksum",
    "ChecksumMismatch",
    "DfuTransport",
    "ExtendedError",
    "GattTransport",
    "MalformedReply",
    "ObjectState",
    "ObjectType",
    "Opcode",
    "Options",
    "Pace",
    "PackageImage",
    "Progress",
    "Result",
    "SecureDfuSession",
    "SerialTransport",
    "Stage",
    "Step",
    "Waits",
    "advertises_dfu",
    "checksum_of",
    "enter_bootloader",
    "is_bootloader",
    "next_address_one_byte",
    "next_address_whole",
]
