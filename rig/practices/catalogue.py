"""Every requirement of the eleven practices.  docs/practices.md explains them; `rig practices` lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rig.practices import applicability as when
from rig.practices import assess
from rig.practices.requirement import Assessment, Case, Practice, Requirement

_PLAIN = ("channel.owner", "signing.genuine", "recovery.kept", "recovery.stored", "logging.receipts", "timely.link")
"""Without these no update goes through, disturbed or not."""


def _one(
    identity: str,
    text: str,
    assessment: Callable[[Case], Assessment],
    rule: when.Rule = when.always,
    *,
    examine: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
) -> Requirement:
    practice = Practice[identity.partition(".")[0].upper()]
    return Requirement(
        id=identity, practice=practice, text=text, assess=assessment, applies=rule, examinations=examine, after=after
    )


def _inspected(case: Case) -> Assessment:
    del case
    return Assessment(met=None, reason="nothing that a trial could show")


_ALL = (
    # ------------------------------------------------------------------------------------------------------- 1 signing
    _one("signing.genuine", "A genuine image is accepted and runs.", assess.genuine_image_runs, after=("channel.owner",)),
    _one("signing.unsigned", "An image without a signature never runs.", assess.image_refused),
    _one("signing.stranger", "An image signed with another key never runs.", assess.image_refused),
    _one("signing.intact", "An image of which one bit was changed never runs.", assess.image_refused),
    _one("signing.malformed", "A truncated, oversized or contradictory image never runs.", assess.image_refused),
    _one("signing.swapped", "Other firmware under a valid header or init packet never runs.", assess.image_refused),
    _one(
        "signing.debug", "A debug packet is not taken in production.", assess.image_refused,
        when.both(when.with_secure_dfu, when.where_debug_is_refused),
    ),
    _one(
        "signing.stored", "An init packet found in the settings page is verified like one just sent.", assess.stored_packet_checked,
        when.with_secure_dfu, examine=("planted-packet",), after=("signing.stranger",),
    ),
    _one(
        "signing.at-start", "An image of which a bit was changed in flash is not started.", assess.tampered_image_rests,
        examine=("tampered-image",),
    ),
    # ---------------------------------------------------------------------------------------------------- 2 encryption
    _one("encryption.required", "An image in clear is not accepted.", assess.image_refused, when.where_encrypted),
    _one(
        "encryption.claimed", "An image that only claims to be encrypted is not accepted.", assess.image_refused, when.where_encrypted,
        after=("encryption.required",),
    ),
    _one("encryption.key", "An image encrypted to another device's key does not run.", assess.image_refused, when.where_encrypted),
    _one(
        "encryption.air", "Nothing of the firmware is sent in clear.", assess.nothing_plain_on_air, when.where_encrypted,
        examine=("plain-on-air",),
    ),
    _one(
        "encryption.flash", "No firmware in clear and no key remains outside the slot that runs.", assess.nothing_plain_in_flash,
        when.where_encrypted, examine=("plain-in-flash",),
    ),
    _one(
        "encryption.logs", "No key appears on the console.", assess.no_key_in_logs, when.where_encrypted, examine=("keys-in-logs",),
    ),
    # ------------------------------------------------------------------------------------------------------- 3 channel
    _one("channel.owner", "A central that pairs as the product asks can update.", assess.owner_admitted, when.where_paired),
    _one(
        "channel.stranger", "A central that has not paired can neither read nor write.", assess.stranger_refused, when.where_paired,
        examine=("stranger",),
    ),
    _one(
        "channel.subscribed", "The control point answers nobody who has not subscribed.", assess.needs_subscription,
        when.with_secure_dfu, examine=("unsubscribed",),
    ),
    _one(
        "channel.malformed", "Malformed requests neither crash nor stop the device.", assess.survives_malformed,
        examine=("malformed",),
    ),
    _one(
        "channel.idle", "A device left alone in DFU mode returns to its application.", assess.leaves_dfu_mode, when.with_secure_dfu,
        examine=("left-alone",),
    ),
    # ------------------------------------------------------------------------------------------------------ 4 versions
    _one("versions.lower", "A lower version is not installed.", assess.image_refused, when.where_lower_is_refused),
    _one("versions.equal", "Another image of the same version is not installed.", assess.image_refused, when.where_equal_is_refused),
    _one("versions.hardware", "A package for other hardware is not installed.", assess.image_refused, when.with_secure_dfu),
    _one("versions.softdevice", "A package for another SoftDevice is not installed.", assess.image_refused, when.with_secure_dfu),
    _one("versions.replay", "An old init packet does not carry new firmware.", assess.image_refused, when.with_secure_dfu),
    _one(
        "versions.dependency", "An image whose dependency is missing is not installed.", assess.image_refused,
        when.both(when.with_smp, when.with_dependencies),
    ),
    _one(
        "versions.counter", "A lower security counter is not accepted.", assess.image_refused,
        when.both(when.with_smp, when.with_security_counter),
    ),
    _one(
        "versions.revert", "A tested image that was taken back does not raise the security counter.", assess.update_survives,
        when.both(when.with_smp, when.with_security_counter, when.where_it_rolls_back), after=_PLAIN,
    ),
    # ------------------------------------------------------------------------------------------------------ 5 recovery
    _one("recovery.power-cut", "After a power cut in any phase the device runs and can be updated.", assess.update_survives, after=_PLAIN),
    _one(
        "recovery.roll-back", "An image that nobody confirms is taken back.", assess.update_survives, when.where_it_rolls_back,
        after=_PLAIN,
    ),
    _one(
        "recovery.crash", "An image that crashes at start is taken back.", assess.update_survives, when.where_it_rolls_back,
        after=_PLAIN,
    ),
    _one("recovery.refusal", "After an image that it refused the device serves and takes a good one.", assess.survives_refusal, after=_PLAIN),
    _one("recovery.user-data", "An update leaves the user's data alone.", assess.user_data_kept),
    _one(
        "recovery.kept", "A new image that runs and does its work is kept.", assess.genuine_image_kept,
        after=("channel.owner", "signing.genuine"),
    ),
    _one("recovery.stored", "What the device acknowledges is in its flash, however fast it comes.", assess.update_survives, after=("signing.genuine",)),
    _one(
        "recovery.unverified", "An image that was not verified to the end is never started, whatever interrupts.", assess.image_refused,
        when.with_secure_dfu,
    ),
    _one("recovery.resume", "An interrupted transfer is resumed without a gap.", assess.resumed_without_gap, after=_PLAIN),
    _one(
        "recovery.no-image", "Without a valid image the bootloader offers an update or says so.", assess.says_when_empty,
        when.where_empty_is_updatable, examine=("no-image",),
    ),
    _one(
        "recovery.watchdog", "The watchdog does not bite during an update.", assess.no_watchdog_reset, after=("downtime.boot",),
    ),
    _one(
        "recovery.wear", "An update erases no more flash than promised.", assess.spares_flash,
        when.with_budget("erases_per_page", "limit for erased pages"), examine=("erases",), after=("timely.link",),
    ),
    # ------------------------------------------------------------------------------------------------------- 6 logging
    _one("logging.result", "The device's log tells how each update ended.", assess.result_logged, when.with_log, examine=("log",)),
    _one(
        "logging.kept", "The log outlives a loss of power.", assess.log_kept, when.with_log, examine=("log", "log-after-power-off"),
        after=("logging.result",),
    ),
    _one("logging.reason", "Whoever offers an image that is refused learns of it.", assess.refusal_reported, examine=("log",)),
    _one("logging.code", "A refusal says why.", assess.refusal_has_code, when.with_secure_dfu),
    _one("logging.receipts", "Receipt notifications come, with the right checksum.", assess.receipts_come, when.with_secure_dfu),
    # -------------------------------------------------------------------------------------------------------- 7 timely
    _one(
        "timely.update", "An undisturbed update takes no longer than promised.", assess.update_in_time,
        when.with_budget("update_s", "limit for the update time"), after=(*_PLAIN, "recovery.wear"),
    ),
    _one("timely.link", "The link holds while the device erases flash.", assess.link_holds, after=("channel.owner",)),
    # ------------------------------------------------------------------------------------------------------ 8 downtime
    _one(
        "downtime.service", "The service is away for no longer than promised.", assess.short_downtime,
        when.with_budget("downtime_s", "limit for the downtime"), examine=("heartbeat",), after=_PLAIN,
    ),
    _one(
        "downtime.boot", "The device serves soon after power-on.", assess.boots_fast,
        when.with_budget("boot_s", "limit for the boot time"), examine=("boot",),
    ),
    _one("downtime.busy", "A busy device, or one with a low battery, is not updated.", assess.image_refused, when.where_busy_defers),
    # ----------------------------------------------------------------------------------------------------- 9 awareness
    _one("awareness.status", "The device tells that and how it is being updated.", assess.tells_progress, when.with_status, examine=("status",), after=_PLAIN),
    _one("awareness.consent", "Nothing is installed before the user agrees.", assess.image_refused, when.where_user_is_asked),
    _one(
        "awareness.consent-given", "What the user agrees to is installed.", assess.genuine_image_runs, when.where_user_is_asked,
        examine=("consent",), after=_PLAIN,
    ),
    _one("awareness.name", "In DFU mode the device advertises under another name.", assess.names_differ, when.with_secure_dfu, after=_PLAIN),
    # ------------------------------------------------------------------------------------------------------- 10 crypto
    _one("crypto.time", "An image is verified as fast as the accelerator can.", assess.verifies_fast, when.with_accelerator),
    # --------------------------------------------------------------------------------------------------------- 11 keys
    _one("keys.demo", "An image signed with a published demo key never runs.", assess.image_refused, after=("signing.stranger",)),
    _one("keys.readback", "The debug port gives nothing away.", assess.readback_locked, when.where_readback_is_locked, examine=("protection",)),
    _one("keys.locked", "The application cannot change the bootloader.", assess.pages_locked, when.with_locked_pages, examine=("protection",)),
    _one(
        "keys.attacked", "An application that erases the bootloader does no harm.", assess.update_survives, when.with_locked_pages,
        after=(*_PLAIN, "recovery.power-cut"),
    ),
    _one("keys.element", "Keys lie in a secure element.", _inspected, when.by_inspection),
)  # fmt: skip

REQUIREMENTS: Mapping[str, Requirement] = {requirement.id: requirement for requirement in _ALL}
"""Every requirement by its name, in the order of the practices."""
