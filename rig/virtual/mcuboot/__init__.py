"""A virtual MCUboot: the decisions, flash operations and console lines of the real one, on a virtual processor."""

from __future__ import annotations

from rig.virtual.mcuboot.config import Console, Crypto, Defect, Encryption, McubootConfig, Mode
from rig.virtual.mcuboot.keys import TrustedKey
from rig.virtual.mcuboot.loader import Mcuboot
from rig.virtual.mcuboot.request import ImageState, SlotImage, confirm, read_state, set_pending
from rig.virtual.mcuboot.trailer import SwapType

__all__ = [
    "Console",
    "Crypto",
    "Defect",
    "Encryption",
    "ImageState",
    "Mcuboot",
    "McubootConfig",
    "Mode",
    "SlotImage",
    "SwapType",
    "TrustedKey",
    "confirm",
    "read_state",
    "set_pending",
]
