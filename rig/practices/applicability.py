"""When a requirement applies to a product: rules that the catalogue combines."""

from __future__ import annotations

from collections.abc import Callable

from rig.practices.requirement import APPLIES, Applicability, Applies
from rig.product import ChannelSecurity, Encryption, Policy, Product

Rule = Callable[[Product], Applicability]


def both(*rules: Rule) -> Rule:
    """The first of `rules` that says anything but yes."""

    def rule(product: Product) -> Applicability:
        return next((found for one in rules if (found := one(product)).applies is not Applies.YES), APPLIES)

    return rule


def with_budget(name: str, words: str) -> Rule:
    """Whether the product has the budget called `name`."""
    return _where(lambda product: getattr(product.budgets, name) is not None, Applies.NOT_PROMISED, f"the product file names no {words}")


def _where(holds: Callable[[Product], bool], otherwise: Applies, reason: str) -> Rule:
    """A requirement applies where `holds` is true; elsewhere it stands as `otherwise` says, for this reason."""
    return lambda product: APPLIES if holds(product) else Applicability(applies=otherwise, reason=reason)


def where_encrypted(product: Product) -> Applicability:
    """Whether images travel encrypted; where that is not needed the product says why."""
    match product.encryption:
        case Encryption.REQUIRED:
            return APPLIES
        case Encryption.NOT_NEEDED:
            return Applicability(applies=Applies.NO, reason=f"the product needs no encryption: {product.encryption_reason}")
        case Encryption.NONE:
            return Applicability(applies=Applies.WEAK, reason="images travel in clear, although the product says that they should not")


always: Rule = _where(lambda _: True, Applies.YES, "")
with_smp = _where(lambda product: product.protocol == "smp", Applies.NO, "only with MCUboot")
with_secure_dfu = _where(lambda product: product.protocol == "secure_dfu", Applies.NO, "only with the nRF5 SDK's bootloader")
where_paired = _where(
    lambda product: product.channel is not ChannelSecurity.OPEN, Applies.WEAK, "the update service is open to everybody in radio range"
)
where_lower_is_refused = _where(
    lambda product: product.lower_versions is Policy.REFUSED, Applies.WEAK, "the product accepts lower versions"
)
where_equal_is_refused = _where(
    lambda product: product.equal_versions is Policy.REFUSED, Applies.WEAK, "the product accepts other images of the same version"
)
where_debug_is_refused = _where(
    lambda product: product.debug_packets is Policy.REFUSED, Applies.WEAK, "the product accepts debug packets, which skip the version check"
)
with_security_counter = _where(
    lambda product: product.security_counter, Applies.NOT_PROMISED, "the product file names no security counter"
)
with_dependencies = _where(
    lambda product: product.dependencies, Applies.NO, "the product has one image, which depends on no other"
)
where_it_rolls_back = _where(
    lambda product: product.rolls_back, Applies.WEAK, "the bootloader installs for good; there is no way back to the old image"
)
where_empty_is_updatable = _where(
    lambda product: product.updatable_when_empty, Applies.WEAK, "a unit without a valid application cannot be updated any more"
)
with_log = _where(lambda product: product.signals.log is not None, Applies.NOT_PROMISED, "the product file names no update log")
with_status = _where(
    lambda product: product.signals.status is not None, Applies.NOT_PROMISED, "the product file names no status notifications"
)
where_user_is_asked = _where(lambda product: product.asks_consent, Applies.NOT_PROMISED, "the product never asks its user")
where_busy_defers = _where(
    lambda product: product.defers_when_busy, Applies.NOT_PROMISED, "the product has no rule for a busy device or a low battery"
)
with_accelerator = both(
    _where(lambda product: product.crypto is not None, Applies.NO, "the SoC verifies signatures in software"),
    with_budget("verification_s", "limit for the verification time"),
)
where_readback_is_locked = _where(lambda product: product.readback_locked, Applies.WEAK, "the product ships with an open debug port")
with_locked_pages = _where(
    lambda product: bool(product.locked), Applies.NOT_PROMISED, "the product file names no flash that the application must not change"
)
by_inspection = _where(
    lambda _: False,
    Applies.INSPECTION,
    "the nRF52832, nRF52833 and nRF52840 have no secure element; where keys lie must be inspected",
)
