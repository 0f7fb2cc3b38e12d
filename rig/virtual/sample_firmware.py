"""What the two sample applications have in common: how they are built, and how they start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from rig.errors import ConfigError
from rig.formats.sample_app import SampleApp
from rig.virtual.cpu import Cpu, ResetReason
from rig.virtual.gatt_server import Security
from rig.virtual.parts import PAGE_SIZE

STARTUP_S = 0.05
"""Kernel or SoftDevice, drivers and Bluetooth start-up, from the jump to the first advertisement (estimate)."""
_FEED_S = 0.5
"""Well below the shortest watchdog that a bootloader starts."""
ERASE_BOOTLOADER = "erase-bootloader"
"""Value of the image flag ``attack``: the image is signed by the owner and hostile nevertheless."""


class Defect(StrEnum):
    """A deliberate mistake of an application, to prove that a rig notices it."""

    OPEN_SERVICES = "open-services"
    """The update characteristics ask for no security, whatever `security` says."""
    UNBONDED_ACCEPTED = "unbonded-accepted"
    """The bonded buttonless characteristic serves strangers."""
    REFUSES_TO_PAIR = "refuses-to-pair"
    """Security is required, and the board pairs with nobody, so that it can never be updated."""
    CRASHES_ON_MALFORMED = "crashes-on-malformed"
    """A request with broken CBOR, or one longer than the buffer, is a HardFault."""
    CONFIRMS_TOO_EARLY = "confirms-too-early"
    """The image confirms itself before its self-test, or although only the host should."""
    NEVER_CONFIRMS = "never-confirms"
    """Confirming the image is answered and not done, so that every update is reverted."""
    USER_DATA_ERASED = "user-data-erased"
    """Accepting an update erases the first page of the user data."""
    RESUMES_TOO_FAR = "resumes-too-far"
    """A resumed upload goes on behind a chunk that was never written."""
    NO_UPDATE_LOG = "no-update-log"
    """Nothing is ever entered into the update log."""
    LOG_IN_RAM = "log-in-ram"
    """The update log is gone after every reset."""
    TINY_BUFFERS = "tiny-buffers"
    """The smallest ATT_MTU, one short buffer and a slow answer: an update takes minutes per kilobyte."""
    ERASES_WHOLE_SLOT = "erases-whole-slot"
    """The first chunk erases all pages of the slot in one go, blank or not."""
    APPLIES_AT_ONCE = "applies-at-once"
    """An update is accepted while the product is busy or low on battery, and the board resets into it right away."""
    SILENT_STATUS = "silent-status"
    """The status says idle throughout, and nobody is notified."""
    CONSENT_IGNORED = "consent-ignored"
    """The update goes ahead without the consent that the user should give."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """How a board's applications were compiled.  Raises `ConfigError` when the parts do not fit together.

    `security` is what the update services ask for; `passkey` (0 to 999999) what the board shows when it pairs, None for a board
    without a display.  `boot_s` (0 or more) is the time from the jump to the first advertisement.
    """

    security: Security = Security.OPEN
    passkey: int | None = None
    update_service: bool = False
    boot_s: float = STARTUP_S
    defects: frozenset[Defect] = frozenset()

    def __post_init__(self) -> None:
        if self.boot_s < 0:
            raise ConfigError(f"'boot_s' must not be negative, but is {self.boot_s:g}")
        if self.passkey is not None and not 0 <= self.passkey <= 999_999:
            raise ConfigError(f"'passkey' must be 0 to 999999, not {self.passkey}")
        if self.passkey is not None and self.security is Security.OPEN:
            raise ConfigError("'passkey' needs security encrypted or authenticated")
        if self.security is Security.AUTHENTICATED and self.passkey is None:
            raise ConfigError("'security' authenticated needs a passkey: without one, nobody can be authenticated")
        for defect in sorted(self.defects & {Defect.OPEN_SERVICES, Defect.REFUSES_TO_PAIR}):
            if self.security is Security.OPEN:
                raise ConfigError(f"defect {defect.value!r} can show only with security encrypted or authenticated")
        for defect in sorted(self.defects & {Defect.NO_UPDATE_LOG, Defect.LOG_IN_RAM, Defect.SILENT_STATUS}):
            if not self.update_service:
                raise ConfigError(f"defect {defect.value!r} can show only with update_service")

    def has(self, defect: Defect) -> bool:
        """Whether the applications have `defect`."""
        return defect in self.defects

    @property
    def access(self) -> Security:
        """What the update characteristics really ask for."""
        return Security.OPEN if self.has(Defect.OPEN_SERVICES) else self.security


def security_level(name: str) -> Security:
    """The level called `name`.  Raises `ConfigError`."""
    try:
        return Security(name)
    except ValueError:
        raise ConfigError(f"unknown 'security' {name!r}; known: {', '.join(Security)}") from None


def known_defects(names: Iterable[str], known: frozenset[Defect]) -> frozenset[Defect]:
    """`names` as defects of an application that can have those `known`.  Raises `ConfigError`."""
    found = set()
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown defect {name!r}; known: {', '.join(sorted(known))}")
        found.add(Defect(name))
    return frozenset(found)


async def start(cpu: Cpu, image: SampleApp, build: Build, *, bootloader: int) -> None:
    """Say hello, feed a watchdog that the bootloader may have left running, obey the image's descriptor, and set up pairing.

    `bootloader` is the address of the bootloader's first page, at which an image with ``attack: erase-bootloader`` strikes.
    """
    cpu.spawn(_keep_fed(cpu))
    reason = cpu.reset_reason
    cpu.clear_reset_reason(int(ResetReason.PIN | ResetReason.WATCHDOG | ResetReason.SOFT | ResetReason.LOCKUP))
    await cpu.print(f"*** {image.name} {image.version} ***")
    await cpu.print(f"reset reason: 0x{int(reason):08x}")
    if image.crash:
        cpu.fault("the application crashes by design")
    if image.flags.get("attack") == ERASE_BOOTLOADER:
        await cpu.erase_page(bootloader - bootloader % PAGE_SIZE)
    await cpu.sleep(build.boot_s)
    if build.security is not Security.OPEN:
        cpu.radio.use_bonds(cpu.bonds, pairable=not build.has(Defect.REFUSES_TO_PAIR), passkey=build.passkey)


async def _keep_fed(cpu: Cpu) -> None:
    while True:
        cpu.feed_watchdog()
        await cpu.sleep(_FEED_S)
