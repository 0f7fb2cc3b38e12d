"""Deliberate mistakes that a virtual MCUboot can have, to prove that a rig notices them, and the builds in which each can show."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

from rig.errors import ConfigError

if TYPE_CHECKING:
    from rig.virtual.mcuboot.config import McubootConfig


class Defect(StrEnum):
    """A deliberate mistake, to prove that a rig notices it."""

    # --- who may install ---
    NO_SIGNATURE_CHECK = "no-signature-check"
    """Only the hash of an image is checked."""
    UNSIGNED_ACCEPTED = "unsigned-accepted"
    """An image without a signature entry is accepted when its hash is right; a signature that is there is checked."""
    DEMO_KEY_TRUSTED = "demo-key-trusted"
    """The well-known demo key (`rig.formats.test_key.demo_key`) was left in beside the product's keys."""
    DIGEST_REVERSED = "digest-reversed"
    """The signature of an image to install is compared with the digest in the wrong byte order, so that good images are refused."""
    SOFTWARE_CRYPTO = "software-crypto"
    """Signatures are verified in software although the CryptoCell is configured."""
    NO_SLOT0_VALIDATION = "no-slot0-validation"
    """The image in the primary slot is started without a check of hash and signature."""
    BOOTLOADER_NOT_LOCKED = "bootloader-not-locked"
    """The bootloader's pages are not write-protected before the jump."""

    # --- which version may be installed ---
    DOWNGRADE_ACCEPTED = "downgrade-accepted"
    """Downgrade prevention is configured and does nothing."""
    EQUAL_VERSION_ACCEPTED = "equal-version-accepted"
    """An image with the version that runs already is installed although the policy wants a newer one."""
    DEPENDENCY_IGNORED = "dependency-ignored"
    """An image is installed although another image that it depends on is too old."""
    SECURITY_COUNTER_IGNORED = "security-counter-ignored"
    """An image with a lower security counter than the stored one is accepted, or one that has none."""
    SECURITY_COUNTER_EARLY = "security-counter-early"
    """The stored counter rises as soon as a test image is installed, so that the image before it cannot come back."""

    # --- confidentiality ---
    PLAINTEXT_ACCEPTED = "plaintext-accepted"
    """An image in clear is installed although encryption is required."""
    FALSE_ENCRYPTION_ACCEPTED = "false-encryption-accepted"
    """An image whose header claims encryption while its payload is in clear is installed."""
    OLD_IMAGE_IN_CLEAR = "old-image-in-clear"
    """The image that is swapped out stays in clear in the secondary slot."""
    SWAP_KEY_LEFT = "swap-key-left"
    """The unwrapped keys of a swap stay in the trailer after it."""

    # --- safe against power cuts and crashes ---
    STATUS_BEFORE_COPY = "status-before-copy"
    """A status entry is written before the erase and the copy that it vouches for."""
    SCRATCH_ERASED_EARLY = "scratch-erased-early"
    """The scratch area is erased before the status says that its content has arrived in the primary slot."""
    NO_REVERT = "no-revert"
    """An unconfirmed test image stays: the next boot treats it as confirmed."""
    OVERWRITE_REQUEST_FIRST = "overwrite-request-first"
    """Overwriting erases the request before it copies, so that an interrupted copy is never taken up again."""
    WATCHDOG_NOT_FED = "watchdog-not-fed"
    """Nothing feeds the watchdog while flash is erased and copied."""
    HANG_WITHOUT_IMAGE = "hang-without-image"
    """The primary slot is looked at first; when it holds no valid image the bootloader hangs without a word, although an
    interrupted or requested installation would give it one."""
    USER_DATA_ERASED = "user-data-erased"
    """Installing an image erases the application's storage."""

    # --- cost ---
    ERASES_TWICE = "erases-twice"
    """Every page is erased twice."""
    SLOW_BOOT = "slow-boot"
    """Every boot waits for twelve seconds, as if for a host on a port that nobody uses."""


_Rule = tuple[Callable[["McubootConfig"], bool], str]
"""Whether a defect can show in a build, and where it can."""

_SWAPS: _Rule = lambda config: config.mode.swaps, "where images are swapped"
_OVERWRITES: _Rule = lambda config: not config.mode.swaps, "in overwrite-only"
_ENCRYPTS: _Rule = lambda config: config.encrypts, "where encryption is accepted or required"

_RULES: dict[Defect, tuple[_Rule, ...]] = {
    Defect.STATUS_BEFORE_COPY: (_SWAPS,),
    Defect.NO_REVERT: (_SWAPS,),
    Defect.OVERWRITE_REQUEST_FIRST: (_OVERWRITES,),
    Defect.SCRATCH_ERASED_EARLY: ((lambda config: config.mode == "swap-scratch", "in swap-scratch"),),
    Defect.DOWNGRADE_ACCEPTED: ((lambda config: config.downgrade_prevention, "where downgrade_prevention is configured"),),
    Defect.EQUAL_VERSION_ACCEPTED: ((lambda config: not config.equal_version_accepted, "where equal_version is refused"),),
    Defect.DEPENDENCY_IGNORED: ((lambda config: bool(config.other_images), "where other_images are configured"),),
    Defect.SECURITY_COUNTER_IGNORED: ((lambda config: config.counter_page is not None, "where security_counter is configured"),),
    Defect.SECURITY_COUNTER_EARLY: (
        _SWAPS,
        (lambda config: config.counter_page is not None, "where security_counter is configured"),
    ),
    Defect.PLAINTEXT_ACCEPTED: ((lambda config: config.encryption == "required", "where encryption is required"),),
    Defect.FALSE_ENCRYPTION_ACCEPTED: (_ENCRYPTS,),
    Defect.OLD_IMAGE_IN_CLEAR: (_SWAPS, _ENCRYPTS),
    Defect.SWAP_KEY_LEFT: (_SWAPS, _ENCRYPTS, (lambda config: not config.save_enctlv, "where save_enctlv is false")),
    Defect.WATCHDOG_NOT_FED: ((lambda config: config.watchdog_s > 0, "where watchdog_s is configured"),),
    Defect.SOFTWARE_CRYPTO: ((lambda config: config.crypto == "cc310", "where crypto is cc310"),),
    Defect.DEMO_KEY_TRUSTED: (
        (lambda config: config.has_demo_key, "where there is a demo key of the kind, and it is not trusted anyway"),
    ),
}


def check(config: McubootConfig) -> None:
    """Raise `ConfigError` for a defect that is unknown or cannot show in this build."""
    known = sorted(Defect)
    for name in sorted(config.defects):
        if name not in known:
            raise ConfigError(f"unknown defect {name!r}; known: {', '.join(known)}")
        for can_show, where in _RULES.get(Defect(name), ()):
            if not can_show(config):
                raise ConfigError(f"defect {str(name)!r} can show only {where}")
