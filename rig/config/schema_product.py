"""Schema of a product file: what a product promises about its updates.  docs/configuration.md repeats the keys."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from rig.config.schema_parts import Name, PageMultiple, Pattern, Strict
from rig.formats.test_key import SignatureAlgorithm
from rig.model import Protocol
from rig.product import ChannelSecurity, Encryption, Policy, UpdateSignals

Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2})+$")]
Words = Annotated[str, Field(min_length=1)]


class Signing(Strict):
    """Who signs the images."""

    algorithm: SignatureAlgorithm = SignatureAlgorithm.ECDSA_P256
    """ecdsa-p256, ed25519 or rsa-2048; Secure DFU knows only the first."""
    key: Words | None = None
    """Private key (PEM) that signs what the scenarios build, relative to this file; a public test key when left out."""


class EncryptionEntry(Strict):
    """Whether images travel encrypted."""

    policy: Encryption
    """required, not-needed (the firmware holds no secret) or none (a declared weakness)."""
    key: Words | None = None
    """P-256 key (PEM) that images are encrypted to, relative to this file; `test` for the public test key."""
    reason: str = ""
    """Why none is needed."""


class Channel(Strict):
    """What a link must be before the device takes an update."""

    security: ChannelSecurity
    """open, encrypted (pairing without proof) or authenticated (passkey)."""


class Versions(Strict):
    """What the device does with versions."""

    lower: Policy = Policy.REFUSED
    """Lower versions: refused, or accepted (a declared weakness)."""
    equal: Policy = Policy.ACCEPTED
    """Other images of the same version: refused or accepted."""
    debug_packets: Policy = Policy.REFUSED
    """Secure DFU: init packets with the debug flag, which skip the version check."""
    security_counter: bool = False
    """MCUboot: whether images carry a security counter that the device compares with its own."""
    dependencies: bool = False
    """MCUboot: whether images name other images that they need."""


class BudgetEntries(Strict):
    """What an undisturbed update may cost.  What is left out is not tested."""

    update_s: Seconds | None = None
    """From the first sign of the device to the confirmed new image, seconds."""
    downtime_s: Seconds | None = None
    """From the last heartbeat of the old image to the first of the new, seconds."""
    boot_s: Seconds | None = None
    """From power-on to service, seconds."""
    erases_per_page: Annotated[float, Field(gt=0, le=1000)] | None = None
    """Page erases per page of the new image, over the whole update; seen only where the bench counts flash operations."""


class SignalEntries(Strict):
    """Where the product tells about an update."""

    service: Uuid | None = None
    """GATT service of the characteristics below."""
    status: Uuid | None = None
    """Characteristic that notifies the state of an update."""
    announced: Pattern | None = None
    """Regular expression over its value in lower-case hexadecimal: the user is told that an update begins."""
    progress: Pattern | None = None
    """Regular expression over its value in lower-case hexadecimal: the update progresses."""
    control: Uuid | None = None
    """Characteristic through which the user agrees."""
    consent: Hex = "01"
    """What is written there to agree, hexadecimal."""
    log: Uuid | None = None
    """Characteristic that holds the update log as text, one entry a line, the newest last."""
    log_success: Pattern = UpdateSignals.log_success
    """Regular expression for the entry of an update that succeeded."""
    log_failure: Pattern = UpdateSignals.log_failure
    """Regular expression for the entry of an update that failed, was refused or was reverted."""
    heartbeat: Uuid | None = None
    """Characteristic that notifies regularly while the product does what it is for."""
    no_image: Pattern | None = None
    """Console line of a bootloader that has nothing to start."""


class Crypto(Strict):
    """What verifies images."""

    backend: Literal["cc310", "software"]
    """cc310 (nRF52840 only) or software."""
    verification_ms: Annotated[float, Field(gt=0, le=60_000)] | None = None
    """Longest time for one verification in milliseconds."""
    start: Pattern | None = None
    """Console line before the bootloader verifies the image that it is about to start."""
    end: Pattern | None = None
    """Console line right after."""


class LockedEntry(Strict):
    """Flash that the running application must not be able to change."""

    name: Words
    """What lies there."""
    start: PageMultiple
    """First address, a multiple of 4096."""
    size: Annotated[PageMultiple, Field(gt=0)]
    """Length in bytes, a multiple of 4096."""


class Protection(Strict):
    """What is protected in a delivered unit."""

    readback: bool
    """Whether access port protection is on, so that the debug port gives nothing away."""
    locked: tuple[LockedEntry, ...] = ()
    """Flash that is write-protected while the application runs."""


class Risks(Strict):
    """Weaknesses that the maker accepts, practice by practice, each with the reason.  Without one, a declared weakness is a failure."""

    signing: Words | None = None
    """Why a weakness in signing is accepted."""
    encryption: Words | None = None
    """Why a weakness in encryption is accepted."""
    channel: Words | None = None
    """Why a weakness of the channel is accepted."""
    versions: Words | None = None
    """Why a weakness in versioning is accepted."""
    recovery: Words | None = None
    """Why a weakness in recovery is accepted."""
    keys: Words | None = None
    """Why a weakness in the protection of keys is accepted."""


class ProductDocument(Strict):
    """A product file."""

    product: Name
    """Name of the product: letters, digits, _ and -, at most 32."""
    description: str = ""
    """What it is, in a sentence."""
    protocol: Protocol
    """How it takes updates: smp or secure_dfu."""
    rolls_back: bool = True
    """Whether an image that nobody confirms is taken back; false for overwrite-only and for Secure DFU."""
    in_place: bool = False
    """Secure DFU with a single bank: an interrupted update leaves the device in DFU mode."""
    updatable_when_empty: bool = True
    """Whether a unit without a valid application can still be updated, or says what is wrong."""
    signing: Signing = Signing()
    """Who signs the images."""
    encryption: EncryptionEntry
    """Whether images travel encrypted."""
    channel: Channel
    """What a link must be before the device takes an update."""
    versions: Versions = Versions()
    """What the device does with versions."""
    budgets: BudgetEntries = BudgetEntries()
    """What an undisturbed update may cost."""
    signals: SignalEntries = SignalEntries()
    """Where the product tells about an update."""
    asks_consent: bool = False
    """Whether nothing is installed before the user has agreed."""
    defers_when_busy: bool = False
    """Whether a busy device, or one with a low battery, refuses to be updated."""
    crypto: Crypto = Crypto(backend="software")
    """What verifies images."""
    protection: Protection
    """What is protected in a delivered unit."""
    accepted_risks: Risks = Risks()
    """Weaknesses that the maker accepts, each with the reason."""
