"""Nordic's Secure DFU bootloader (nRF5 SDK 16 and 17) on a virtual board: settings, protocol, activation and boot decision.

It behaves as the SDK's example does down to the order of flash operations, so that a power cut at any of them leaves what a real
board would be left with.  In one thing it is better than the SDK's: an init packet that was stored before a reset is verified
again before it counts (the SDK trusts its settings pages; `Defect.STORED_INIT_NOT_VERIFIED` does as the SDK does).  Not modelled: the
replacement of the SoftDevice by an application (serial builds only), and Service Changed indications.
"""

from rig.virtual.secure_dfu.boot import SecureDfuBootloader
from rig.virtual.secure_dfu.config import (
    GPREGRET2_SKIP_CRC,
    GPREGRET_START_DFU,
    SecureDfuConfig,
    Transport,
    default_config,
)
from rig.virtual.secure_dfu.defects import Defect
from rig.virtual.secure_dfu.factory import factory_flash
from rig.virtual.secure_dfu.settings import hand_over_bond, hand_over_name

__all__ = [
    "GPREGRET2_SKIP_CRC",
    "GPREGRET_START_DFU",
    "Defect",
    "SecureDfuBootloader",
    "SecureDfuConfig",
    "Transport",
    "default_config",
    "factory_flash",
    "hand_over_bond",
    "hand_over_name",
]
