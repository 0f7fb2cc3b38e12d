"""How a virtual MCUboot was built: swap mode, memory map, keys, policies, console, and the defects it is meant to have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rig.errors import ConfigError
from rig.model import MemoryMap
from rig.virtual.mcuboot.keys import TrustedKey
from rig.virtual.mcuboot.trailer import TrailerLayout
from rig.virtual.parts import PAGE_SIZE

SIGNATURE_S: Mapping[str, float] = {"nrf52832": 0.25, "nrf52833": 0.25, "nrf52840": 0.011}
"""Seconds to verify one ECDSA P-256 signature by part: in software, on the nRF52840 with its CC310.  Estimates."""
HASH_BYTES_PER_S = 1e6
"""SHA-256 of an image in flash, bytes per second.  An estimate."""


class Mode(StrEnum):
    """How the images change places (MCUboot `docs/design.md`, "Image swapping")."""

    SWAP_OFFSET = "swap-offset"
    SWAP_MOVE = "swap-move"
    SWAP_SCRATCH = "swap-scratch"
    OVERWRITE_ONLY = "overwrite-only"

    @property
    def swaps(self) -> bool:
        """Whether the old image survives and can come back."""
        return self is not Mode.OVERWRITE_ONLY


class Console(StrEnum):
    """Which port's lines stand before and after MCUboot's own."""

    ZEPHYR = "zephyr"
    BARE_METAL = "bare-metal"


class Defect(StrEnum):
    """A deliberate mistake, to prove that a rig notices it."""

    STATUS_BEFORE_COPY = "status-before-copy"
    """A status entry is written before the erase and the copy that it vouches for."""
    NO_REVERT = "no-revert"
    """An unconfirmed test image stays: the next boot treats it as confirmed."""
    NO_SIGNATURE_CHECK = "no-signature-check"
    """Only the hash of an image is checked."""
    DOWNGRADE_ACCEPTED = "downgrade-accepted"
    """Downgrade prevention is configured and does nothing."""
    NO_SLOT0_VALIDATION = "no-slot0-validation"
    """The image in the primary slot is started without a check of hash and signature."""
    USER_DATA_ERASED = "user-data-erased"
    """Installing an image erases the application's storage."""
    HANG_WITHOUT_IMAGE = "hang-without-image"
    """The primary slot is looked at first; when it holds no valid image the bootloader hangs without a word, although an
    interrupted or requested installation would give it one."""
    OVERWRITE_REQUEST_FIRST = "overwrite-request-first"
    """Overwriting erases the request before it copies, so that an interrupted copy is never taken up again."""


_SWAP_ONLY = {Defect.STATUS_BEFORE_COPY, Defect.NO_REVERT}


@dataclass(frozen=True, kw_only=True)
class McubootConfig:
    """One build of MCUboot.  Raises `ConfigError` when the parts do not fit together.

    `max_sectors` sizes the status area; None takes the pages of the larger slot, as a Zephyr build does.  Durations are estimates,
    see `SIGNATURE_S` and `HASH_BYTES_PER_S`.
    """

    mode: Mode
    memory: MemoryMap
    keys: tuple[TrustedKey, ...]
    validate_slot0: bool = True
    downgrade_prevention: bool = False
    max_sectors: int | None = None
    console: Console = Console.ZEPHYR
    hash_bytes_per_s: float = HASH_BYTES_PER_S
    signature_s: float = SIGNATURE_S["nrf52832"]
    defects: frozenset[str] = frozenset()
    layout: TrailerLayout = field(init=False)

    def __post_init__(self) -> None:
        self._check_memory()
        if len({key.signature_tlv for key in self.keys}) != 1:
            raise ConfigError("a bootloader verifies one kind of signature: give one key, or several of the same kind")
        if self.hash_bytes_per_s <= 0 or self.signature_s < 0:
            raise ConfigError("hash_bytes_per_s must be positive and signature_s must not be negative")
        pages = max(self.memory.primary.size, self.memory.secondary.size) // PAGE_SIZE
        sectors = self.max_sectors or pages
        if sectors < pages:
            raise ConfigError(f"max_sectors is {sectors}, the larger slot has {pages} pages")
        object.__setattr__(self, "layout", TrailerLayout(max_sectors=sectors, by_offset=self.mode is Mode.SWAP_OFFSET))
        if min(self.memory.primary.size, self.memory.secondary.size) < (self.layout.pages + 2) * PAGE_SIZE:
            raise ConfigError("the slots are too small for a trailer and an image")
        self._check_defects()

    def has(self, defect: Defect) -> bool:
        """Whether this build has `defect`."""
        return defect in self.defects

    @property
    def validates_slot0(self) -> bool:
        """Whether the image in the primary slot is verified before it is started."""
        return self.validate_slot0 and not self.has(Defect.NO_SLOT0_VALIDATION)

    def _check_memory(self) -> None:
        memory = self.memory
        regions = [memory.primary, memory.secondary] + ([memory.scratch] if memory.scratch else [])
        if any(region.start % PAGE_SIZE or region.size % PAGE_SIZE or region.size <= 0 for region in regions):
            raise ConfigError(f"slots and scratch area must be whole pages of {PAGE_SIZE} bytes")
        spare = {Mode.SWAP_OFFSET: (0, -PAGE_SIZE), Mode.SWAP_MOVE: (0, PAGE_SIZE)}.get(self.mode, (0,))
        if memory.primary.size - memory.secondary.size not in spare:
            raise ConfigError(f"the sizes of the slots do not fit together for {self.mode}")
        if self.mode is Mode.SWAP_SCRATCH and memory.scratch is None:
            raise ConfigError(f"{self.mode} needs a scratch area")
        wanted = PAGE_SIZE if self.mode is Mode.SWAP_OFFSET else 0
        if memory.upload_offset != wanted:
            raise ConfigError(f"upload_offset must be {wanted} for {self.mode}, not {memory.upload_offset}")

    def _check_defects(self) -> None:
        known = sorted(Defect)
        for name in sorted(self.defects):
            if name not in known:
                raise ConfigError(f"unknown defect {name!r}; known: {', '.join(known)}")
            defect = Defect(name)
            if defect in _SWAP_ONLY and not self.mode.swaps:
                raise ConfigError(f"defect {name!r} cannot show in {self.mode}: nothing is swapped there")
            if defect is Defect.OVERWRITE_REQUEST_FIRST and self.mode.swaps:
                raise ConfigError(f"defect {name!r} can show in {Mode.OVERWRITE_ONLY} only")
            if defect is Defect.DOWNGRADE_ACCEPTED and not self.downgrade_prevention:
                raise ConfigError(f"defect {name!r} can show only where downgrade_prevention is configured")
