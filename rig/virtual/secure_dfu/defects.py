"""Ways in which a bootloader can be broken that a rig must find, and the builds in which each can show."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from rig.errors import ConfigError
from rig.virtual.crypto_time import Crypto

if TYPE_CHECKING:
    from rig.virtual.secure_dfu.config import SecureDfuConfig


class Defect(StrEnum):
    """A deliberate mistake, to prove that a rig notices it."""

    SETTINGS_WITHOUT_BACKUP = "settings-without-backup"
    """Only the settings page is written, so a power cut in the middle of it loses the application."""
    BANK0_ERASED_BEFORE_VALIDATION = "bank0-erased-before-validation"
    """The old application is given up at the init packet, before anything of the new one has been checked."""
    SUCCESS_NOT_STORED = "success-not-stored"
    """The last execute answers success, and the result never reaches the settings."""
    ACTIVATION_PROGRESS_NOT_STORED = "activation-progress-not-stored"
    """The copy to bank 0 starts anew after a power cut, from what it has overwritten by then."""
    BANK1_VALID_BEFORE_HASH = "bank1-valid-before-hash"
    """The last byte received marks bank 1 for installation, and its hash is checked only when the host asks for it."""
    STORED_INIT_NOT_VERIFIED = "stored-init-not-verified"
    """An init packet read back from the settings after a reset counts as valid without a look at its signature and versions."""
    LOWER_VERSION_ACCEPTED = "lower-version-accepted"
    """Downgrade prevention is configured and does nothing."""
    EQUAL_VERSION_ACCEPTED = "equal-version-accepted"
    """The version installed is accepted again, although only a higher one should be."""
    DEBUG_PACKET_ACCEPTED = "debug-packet-accepted"
    """An init packet with `is_debug` set is not checked for hardware, SoftDevice and version, as in a debug build."""
    WRONG_HARDWARE_VERSION_ACCEPTED = "wrong-hardware-version-accepted"
    """Firmware for other hardware is accepted."""
    SOFTDEVICE_REQUIREMENT_IGNORED = "softdevice-requirement-ignored"
    """`sd_req` is not looked at: firmware for another SoftDevice is accepted."""
    UNSIGNED_ACCEPTED = "unsigned-accepted"
    """An init packet without a signature is accepted."""
    SIGNATURE_NOT_CHECKED = "signature-not-checked"
    """Any 64 bytes are a good signature."""
    DEMO_KEY_TRUSTED = "demo-key-trusted"
    """A key that every developer has was left in beside the product's own."""
    BYTE_ORDER_WRONG = "byte-order-wrong"
    """The hash of the init packet is taken in the wrong byte order, so that valid signatures are refused."""
    SOFTWARE_CRYPTO = "software-crypto"
    """Signatures are verified in software, although the build is configured for the CC310."""
    CONTROL_POINT_WITHOUT_CCCD = "control-point-without-cccd"
    """The control point is served although the host has not enabled its notifications."""
    MALFORMED_LENGTH_CRASHES = "malformed-length-crashes"
    """An absurd object size, or a packet that does not fit into its object, locks the processor up."""
    INACTIVITY_TIMER_NEVER_FIRES = "inactivity-timer-never-fires"
    """A host that says nothing keeps the device in DFU mode for ever."""
    WATCHDOG_NOT_FED = "watchdog-not-fed"
    """The watchdog that the application has started is fed neither in DFU mode nor while an update is copied."""
    HANG_WITHOUT_APPLICATION = "hang-without-application"
    """Without a valid application the bootloader stops, instead of waiting for one in DFU mode."""
    USER_DATA_ERASED = "user-data-erased"
    """Installing an application erases the application's own data below the bootloader."""
    DROPPED_PACKETS_COUNTED = "dropped-packets-counted"
    """A packet for which there is no room is lost, but offset and CRC go on as if it had been stored."""
    SETTINGS_WRITTEN_PER_OBJECT = "settings-written-per-object"
    """Both settings pages are erased and written after every object, although nothing in them changes."""
    GENERIC_ERROR = "generic-error"
    """Result 0A stands for all extended errors."""
    CRC_CONSTANT = "crc-constant"
    """Every CRC reported is 0."""
    RECEIPTS_NEVER_SENT = "receipts-never-sent"
    """Packet receipts are agreed to and never sent."""
    SLOW_BOOT = "slow-boot"
    """Every boot begins with a wait of 12 s."""
    SMALL_MTU = "small-mtu"
    """The smallest ATT_MTU, 23, is all it agrees to."""
    APPLICATION_NAME_ADVERTISED = "application-name-advertised"
    """DFU mode advertises the application's name, so that nobody can tell the two apart."""
    PAGES_NOT_PROTECTED = "pages-not-protected"
    """Bootloader and MBR are left writable while the application runs."""


_Condition = tuple[str, Callable[["SecureDfuConfig"], bool]]
_SIGNED: _Condition = ("only where require_signed_app is on", lambda config: config.require_signed_app)
_OVER_BLE: _Condition = ("only with transport ble", lambda config: config.transport == "ble")
_VERSIONED: _Condition = ("only where downgrade_prevention is on", lambda config: config.downgrade_prevention)
_CAN_SHOW: Mapping[Defect, _Condition] = {
    Defect.BANK0_ERASED_BEFORE_VALIDATION: ("only where single_bank is off", lambda config: not config.single_bank),
    Defect.STORED_INIT_NOT_VERIFIED: _SIGNED,
    Defect.LOWER_VERSION_ACCEPTED: _VERSIONED,
    Defect.EQUAL_VERSION_ACCEPTED: (
        "only where downgrade_prevention is on and accept_same_version is off",
        lambda config: config.downgrade_prevention and not config.accept_same_version,
    ),
    Defect.UNSIGNED_ACCEPTED: _SIGNED,
    Defect.SIGNATURE_NOT_CHECKED: _SIGNED,
    Defect.DEMO_KEY_TRUSTED: _SIGNED,
    Defect.BYTE_ORDER_WRONG: _SIGNED,
    Defect.SOFTWARE_CRYPTO: ("only with crypto cc310", lambda config: config.crypto is Crypto.CC310),
    Defect.CONTROL_POINT_WITHOUT_CCCD: _OVER_BLE,
    Defect.INACTIVITY_TIMER_NEVER_FIRES: ("only where inactivity_s is not 0", lambda config: config.inactivity_s > 0),
    Defect.WATCHDOG_NOT_FED: ("only where the application starts a watchdog: give watchdog_s", lambda config: config.watchdog_s > 0),
    Defect.USER_DATA_ERASED: ("only where app_data_size is not 0", lambda config: config.app_data_size > 0),
    Defect.SMALL_MTU: ("only with transport ble and a max_mtu above 23", lambda config: config.transport == "ble" and config.max_mtu > 23),
    Defect.APPLICATION_NAME_ADVERTISED: (
        "only with transport ble and on a board with a name",
        lambda config: config.transport == "ble" and bool(config.application_name),
    ),
}


def check_defects(config: SecureDfuConfig) -> None:
    """Raise `ConfigError` for a defect that is unknown, or that no test could see in this build."""
    if unknown := sorted(config.defects - set(Defect)):
        raise ConfigError(f"unknown defect {', '.join(map(repr, unknown))}; known defects: {', '.join(Defect)}")
    for defect in sorted(map(Defect, config.defects)):
        where, can_show = _CAN_SHOW.get(defect, ("", lambda _config: True))
        if not can_show(config):
            raise ConfigError(f"defect {defect.value!r} can show {where}")
