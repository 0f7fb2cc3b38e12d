"""What a product promises about its updates: frozen records that `config` reads from a product file and trials carry along.

Times are seconds.  A promise that is missing (None) is nothing that could be tested, and ends as *not covered*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Policy(StrEnum):
    """What the product does with something that an attacker or a mistake may bring."""

    REFUSED = "refused"
    ACCEPTED = "accepted"


class Encryption(StrEnum):
    """Whether update images travel encrypted.  NOT_NEEDED: the firmware holds no secret; NONE: it would be needed, and is missing."""

    REQUIRED = "required"
    NOT_NEEDED = "not-needed"
    NONE = "none"


class ChannelSecurity(StrEnum):
    """What a link must be before the device takes an update: LE security mode 1 level 1, 2 or 3 (Core Specification Vol 3 Part C 10.2.1)."""

    OPEN = "open"
    ENCRYPTED = "encrypted"
    AUTHENTICATED = "authenticated"


@dataclass(frozen=True, kw_only=True)
class LockedRegion:
    """Flash that the running application must not be able to change, [start, start + size)."""

    name: str
    start: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """What an undisturbed update may cost.  `erases_per_page` counts page erases per page of the new image, over the whole update."""

    update_s: float | None = None
    downtime_s: float | None = None
    boot_s: float | None = None
    verification_s: float | None = None
    erases_per_page: float | None = None


@dataclass(frozen=True, kw_only=True)
class UpdateSignals:
    """Where the product tells about an update: characteristics (UUIDs) of one GATT service, and lines of the console.

    `progress` and `announced` are regular expressions over the notified value of `status` as lower-case hexadecimal.  `log` is read as
    text, one entry a line, the newest last; `log_success` and `log_failure` are regular expressions for its lines.
    """

    service: str | None = None
    status: str | None = None
    progress: str | None = None
    announced: str | None = None
    control: str | None = None
    consent: str = ""
    """What is written to `control` when the user agrees, hexadecimal."""
    log: str | None = None
    log_success: str = r"\binstalled\b"
    log_failure: str = r"\b(failed|refused|reverted)\b"
    heartbeat: str | None = None
    verification_start: str | None = None
    """Console line before the bootloader verifies the image that it is about to start."""
    verification_end: str | None = None
    """Console line right after."""
    no_image: str | None = None
    """What the bootloader prints when there is nothing to start."""

    @property
    def characteristics(self) -> tuple[str, ...]:
        """All that a link needs besides the update protocol's own."""
        return tuple(uuid for uuid in (self.status, self.control, self.log, self.heartbeat) if uuid is not None)


@dataclass(frozen=True, kw_only=True)
class Product:
    """One product, as its maker describes it.

    `rolls_back`: an image that nobody confirms is taken back.  `updatable_when_empty`: without a valid application it can still be
    updated, or says what is wrong.  `crypto` names the accelerator that verifies images, None for software.
    `signing_key` and `encryption_key` are files; None, or ``test`` for the second, means
    the public test keys.  `accepted_risks` maps a practice's name to the words in which the maker accepts its weakness.
    """

    name: str
    protocol: str
    description: str = ""
    rolls_back: bool = True
    in_place: bool = False
    updatable_when_empty: bool = True
    signature: str = "ecdsa-p256"
    signing_key: str | None = None
    encryption: Encryption = Encryption.NOT_NEEDED
    encryption_reason: str = ""
    encryption_key: str | None = None
    channel: ChannelSecurity = ChannelSecurity.OPEN
    lower_versions: Policy = Policy.REFUSED
    equal_versions: Policy = Policy.ACCEPTED
    security_counter: bool = False
    dependencies: bool = False
    debug_packets: Policy = Policy.REFUSED
    budgets: Budgets = field(default_factory=Budgets)
    signals: UpdateSignals = field(default_factory=UpdateSignals)
    asks_consent: bool = False
    defers_when_busy: bool = False
    crypto: str | None = None
    readback_locked: bool = False
    locked: tuple[LockedRegion, ...] = ()
    accepted_risks: Mapping[str, str] = field(default_factory=dict)
