"""A product file → `rig.product.Product`, or every problem at once."""

from __future__ import annotations

from pathlib import Path

from rig.config import schema_product as schema
from rig.config.problems import Checked, checked
from rig.config.yaml_source import Document, key_path
from rig.model import Protocol
from rig.product import Budgets, ChannelSecurity, Encryption, LockedRegion, Policy, Product, UpdateSignals

TEST_KEY = "test"
"""Instead of a key file: the public test key."""


def read_product(document: Document) -> Product | None:
    """Check `document` and convert it; None when it has problems, all of which are then in it."""
    if document.root is None:
        return None
    entry = checked(schema.ProductDocument, document.root, document)
    if entry is None:
        return None
    _check_keys(entry, document)
    _check_signals(entry, document)
    _check_protocol(entry, document)
    _check_risks(entry, document)
    _check_smp(entry, document)
    return None if document.problems else _product(entry.model, Path(document.file).parent)


def _product(entry: schema.ProductDocument, folder: Path) -> Product:
    return Product(
        name=entry.product,
        protocol=entry.protocol.value,
        description=entry.description,
        rolls_back=entry.rolls_back,
        in_place=entry.in_place,
        updatable_when_empty=entry.updatable_when_empty,
        signature=entry.signing.algorithm.value,
        signing_key=str(folder / entry.signing.key) if entry.signing.key else None,
        encryption=entry.encryption.policy,
        encryption_reason=entry.encryption.reason,
        encryption_key=_key(entry.encryption.key, folder),
        channel=entry.channel.security,
        lower_versions=entry.versions.lower,
        equal_versions=entry.versions.equal,
        security_counter=entry.versions.security_counter,
        dependencies=entry.versions.dependencies,
        debug_packets=entry.versions.debug_packets,
        budgets=_budgets(entry),
        signals=_signals(entry),
        asks_consent=entry.asks_consent,
        defers_when_busy=entry.defers_when_busy,
        crypto=None if entry.crypto.backend == "software" else entry.crypto.backend,
        readback_locked=entry.protection.readback,
        locked=tuple(LockedRegion(name=one.name, start=one.start, size=one.size) for one in entry.protection.locked),
        accepted_risks={name: text for name, text in entry.accepted_risks.model_dump().items() if text},
    )


def _key(name: str | None, folder: Path) -> str | None:
    return name if name in (None, TEST_KEY) else str(folder / name)


def _budgets(entry: schema.ProductDocument) -> Budgets:
    limit = entry.crypto.verification_ms
    return Budgets(**entry.budgets.model_dump(), verification_s=limit / 1000 if limit is not None else None)


def _signals(entry: schema.ProductDocument) -> UpdateSignals:
    return UpdateSignals(
        **entry.signals.model_dump(), verification_start=entry.crypto.start, verification_end=entry.crypto.end
    )


# ------------------------------------------------------------------------------------------------------- contradictions
def _report(document: Document, *loc: str, reason: str, hint: str = "") -> None:
    """Add a problem at `loc`, or at the innermost key above it that the file has."""
    assert document.root is not None
    node = document.root
    for step in loc:
        node = node.child(step) or node
    document.report(node.at if node.loc else None, key=key_path(loc), reason=reason, hint=hint)


def _check_keys(entry: Checked[schema.ProductDocument], document: Document) -> None:
    folder = Path(document.file).parent
    if entry.has("signing") and entry.model.signing.key is not None and not (folder / entry.model.signing.key).is_file():
        reason = f"no such file: {entry.model.signing.key}"
        _report(document, "signing", "key", reason=reason, hint="paths are relative to the product file")
    if not entry.has("encryption"):
        return
    encryption = entry.model.encryption
    if encryption.policy is Encryption.REQUIRED and encryption.key is None:
        reason = "encryption is required, but there is no key to encrypt to"
        _report(document, "encryption", "policy", reason=reason, hint="give encryption.key, or test for the public test key")
    if encryption.policy is Encryption.NOT_NEEDED and not encryption.reason:
        _report(document, "encryption", "policy", reason="not-needed wants a reason that a reader can weigh", hint="give encryption.reason")
    if encryption.policy is not Encryption.REQUIRED and encryption.key is not None:
        _report(document, "encryption", "key", reason=f"a key, although the policy is {encryption.policy}", hint="policy: required")
    if encryption.key not in (None, TEST_KEY) and not (folder / str(encryption.key)).is_file():
        _report(document, "encryption", "key", reason=f"no such file: {encryption.key}", hint="paths are relative to the product file")


def _check_smp(entry: Checked[schema.ProductDocument], document: Document) -> None:
    """What only the other protocol has, and what only the console can show."""
    if not (entry.has("protocol", "in_place", "versions", "signals", "updatable_when_empty") and entry.model.protocol is Protocol.SMP):
        return
    if entry.model.in_place:
        _report(document, "in_place", reason="MCUboot never updates in place", hint="in_place: false")
    if entry.model.versions.debug_packets is Policy.ACCEPTED:
        _report(document, "versions", "debug_packets", reason="debug packets exist only with secure_dfu", hint="leave it out")
    if entry.model.updatable_when_empty and entry.model.signals.no_image is None:
        reason = "only its console shows what MCUboot does without an image"
        _report(document, "updatable_when_empty", reason=reason, hint="give signals.no_image, or updatable_when_empty: false")


def _check_signals(entry: Checked[schema.ProductDocument], document: Document) -> None:
    """Nothing can be promised that no signal shows."""
    if not entry.has("signals", "budgets", "crypto", "asks_consent", "protocol"):
        return
    signals, budgets, crypto = entry.model.signals, entry.model.budgets, entry.model.crypto
    if budgets.downtime_s is not None and signals.heartbeat is None:
        reason = "a limit for the downtime, but no heartbeat that would show it"
        _report(document, "budgets", "downtime_s", reason=reason, hint="give signals.heartbeat")
    for name in ("status", "control", "log", "heartbeat"):
        if getattr(signals, name) is not None and signals.service is None:
            _report(document, "signals", name, reason="a characteristic without its service", hint="give signals.service")
    if signals.status is not None and signals.announced is None and signals.progress is None:
        reason = "nobody knows what its values mean"
        _report(document, "signals", "status", reason=reason, hint="give signals.announced or signals.progress")
    if entry.model.asks_consent and signals.control is None:
        reason = "the user is asked, but there is no characteristic to answer through"
        _report(document, "asks_consent", reason=reason, hint="give signals.control")
    wants_lines = crypto.verification_ms is not None and entry.model.protocol is Protocol.SMP
    if wants_lines and (crypto.start is None or crypto.end is None):
        reason = "MCUboot's verification can only be timed between two console lines"
        _report(document, "crypto", "verification_ms", reason=reason, hint="give crypto.start and crypto.end")


def _check_protocol(entry: Checked[schema.ProductDocument], document: Document) -> None:
    """What the nRF5 SDK's bootloader cannot do."""
    if not (entry.has("protocol") and entry.model.protocol is Protocol.SECURE_DFU):
        return
    if entry.has("rolls_back") and entry.model.rolls_back:
        _report(document, "rolls_back", reason="a secure_dfu bootloader installs for good", hint="rolls_back: false")
    if entry.has("encryption") and entry.model.encryption.policy is Encryption.REQUIRED:
        _report(document, "encryption", "policy", reason="the nRF5 SDK's bootloader cannot decrypt", hint="policy: none, or not-needed")
    if entry.has("versions") and (entry.model.versions.security_counter or entry.model.versions.dependencies):
        _report(document, "versions", reason="security counters and dependencies exist only with MCUboot")
    if entry.has("signing") and entry.model.signing.algorithm != "ecdsa-p256":
        _report(document, "signing", "algorithm", reason="a secure_dfu bootloader verifies ECDSA-P256 only", hint="ecdsa-p256")


def _check_risks(entry: Checked[schema.ProductDocument], document: Document) -> None:
    """Only a weakness that the file declares can be accepted."""
    if not entry.has("accepted_risks", "encryption", "channel", "versions", "rolls_back", "updatable_when_empty", "protection"):
        return
    product = entry.model
    declared = {
        "encryption": product.encryption.policy is Encryption.NONE,
        "channel": product.channel.security is ChannelSecurity.OPEN,
        "versions": Policy.ACCEPTED in (product.versions.lower, product.versions.equal),
        "signing": product.versions.debug_packets is Policy.ACCEPTED,
        "recovery": not (product.rolls_back and product.updatable_when_empty),
        "keys": not product.protection.readback,
    }
    for name, text in product.accepted_risks.model_dump().items():
        if text and not declared[name]:
            _report(document, "accepted_risks", name, reason="accepts a weakness that the file does not declare", hint="leave it out")
