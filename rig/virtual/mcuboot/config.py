"""How a virtual MCUboot was built: swap mode, memory map, keys, policies, console, and the defects it is meant to have."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats import encryption_key, test_key
from rig.formats.mcuboot_image import TlvType
from rig.formats.soc import PIN
from rig.formats.test_key import SignatureAlgorithm
from rig.model import MemoryMap
from rig.virtual.mcuboot import defect as defects
from rig.virtual.mcuboot.defect import Defect
from rig.virtual.mcuboot.header import Version
from rig.virtual.mcuboot.keys import TrustedKey
from rig.virtual.mcuboot.trailer import MAX_ALIGN, TrailerLayout
from rig.virtual.parts import PAGE_SIZE

__all__ = ["Console", "Crypto", "Defect", "Encryption", "McubootConfig", "Mode"]

HASH_BYTES_PER_S = 1e6
"""SHA-256 of an image in flash, bytes per second.  An estimate."""
WATCHDOG_MIN_S = 2.0
"""Shortest watchdog, seconds, that lets hash and signature of a large image pass between two feeds."""


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


class Encryption(StrEnum):
    """Which images are installed (MCUboot `docs/encrypted_images.md`).

    "Required" goes beyond MCUboot, which takes images in clear as well.  It concerns test and permanent requests; the image that
    comes back in a revert was accepted before.
    """

    NONE = "none"
    ACCEPTED = "accepted"
    REQUIRED = "required"


class Crypto(StrEnum):
    """What verifies signatures: the CryptoCell of the nRF52840, or software."""

    CC310 = "cc310"
    SOFTWARE = "software"


SIGNATURE_S: Mapping[Crypto, float] = {Crypto.CC310: 0.011, Crypto.SOFTWARE: 0.25}
"""Seconds to verify one ECDSA P-256 signature.  Estimates."""


_DEMO_ALGORITHMS = {
    TlvType.ECDSA_SIG: SignatureAlgorithm.ECDSA_P256,
    TlvType.ED25519: SignatureAlgorithm.ED25519,
    TlvType.RSA2048_PSS: SignatureAlgorithm.RSA_2048,
}


@lru_cache(maxsize=3)
def _demo_key(signature: TlvType) -> TrustedKey:
    """The demo key of the kind that a build verifies."""
    return TrustedKey.of(test_key.demo_key(_DEMO_ALGORITHMS[signature]).public_key())


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
    equal_version_accepted: bool = True
    """MCUboot's downgrade prevention accepts the running version again; a product may want a newer one."""
    other_images: Mapping[int, Version] = field(default_factory=dict)
    """Versions of the device's other images by image index, for dependencies.  Without any, dependencies are not looked at."""
    counter_page: int | None = None
    """Address of the page with the security counter; None for a build without one."""
    encryption: Encryption = Encryption.NONE
    encryption_key: ec.EllipticCurvePrivateKey = field(default_factory=encryption_key.private_key)
    save_enctlv: bool = True
    """Whether the trailer holds the wrapped keys during a swap, and not the keys themselves (MCUBOOT_SWAP_SAVE_ENCTLV)."""
    max_sectors: int | None = None
    console: Console = Console.ZEPHYR
    hash_bytes_per_s: float = HASH_BYTES_PER_S
    crypto: Crypto = Crypto.SOFTWARE
    signature_s: float = SIGNATURE_S[Crypto.SOFTWARE]
    watchdog_s: float = 0.0
    """Timeout of the watchdog that runs during an installation and from then on, seconds; 0 for none."""
    upgrading_pin: str | None = None
    """Pin that tells of an installation; None for a build without the status hook that drives it."""
    defects: frozenset[str] = frozenset()
    layout: TrailerLayout = field(init=False)

    def __post_init__(self) -> None:
        self._check_memory()
        if len({key.signature_tlv for key in self.keys}) != 1:
            raise ConfigError("a bootloader verifies one kind of signature: give one key, or several of the same kind")
        self._check_times()
        self._check_counter_page()
        if self.upgrading_pin is not None and not re.match(PIN, self.upgrading_pin):
            raise ConfigError(f"upgrading_pin must be a pin such as P0.13, not {self.upgrading_pin!r}")
        if not self.equal_version_accepted and not self.downgrade_prevention:
            raise ConfigError("equal_version: refused goes with downgrade_prevention: true; alone it would let lower versions pass")
        object.__setattr__(self, "layout", self._layout())
        if min(self.memory.primary.size, self.memory.secondary.size) < (self.layout.pages + 2) * PAGE_SIZE:
            raise ConfigError("the slots are too small for a trailer and an image")
        defects.check(self)

    def has(self, defect: Defect) -> bool:
        """Whether this build has `defect`."""
        return defect in self.defects

    @property
    def encrypts(self) -> bool:
        """Whether this build can decrypt images."""
        return self.encryption is not Encryption.NONE

    @property
    def validates_slot0(self) -> bool:
        """Whether the image in the primary slot is verified before it is started."""
        return self.validate_slot0 and not self.has(Defect.NO_SLOT0_VALIDATION)

    @property
    def trusted_keys(self) -> tuple[TrustedKey, ...]:
        """The keys whose signatures count."""
        return (*self.keys, _demo_key(self.keys[0].signature_tlv)) if self.has(Defect.DEMO_KEY_TRUSTED) else self.keys

    @property
    def has_demo_key(self) -> bool:
        """Whether there is a demo key of the kind that this build verifies, which its maker did not choose."""
        signature = self.keys[0].signature_tlv
        return signature in _DEMO_ALGORITHMS and _demo_key(signature) not in self.keys

    @property
    def verification_s(self) -> float:
        """Seconds that one signature takes."""
        return SIGNATURE_S[Crypto.SOFTWARE] if self.has(Defect.SOFTWARE_CRYPTO) else self.signature_s

    def _layout(self) -> TrailerLayout:
        pages = max(self.memory.primary.size, self.memory.secondary.size) // PAGE_SIZE
        sectors = self.max_sectors or pages
        if sectors < pages:
            raise ConfigError(f"max_sectors is {sectors}, the larger slot has {pages} pages")
        key_size = encryption_key.WRAPPED_SIZE if self.save_enctlv else encryption_key.AES_KEY_SIZE
        return TrailerLayout(
            max_sectors=sectors,
            by_offset=self.mode is Mode.SWAP_OFFSET,
            key_size=-(-key_size // MAX_ALIGN) * MAX_ALIGN if self.encrypts else 0,
        )

    def _check_times(self) -> None:
        if self.hash_bytes_per_s <= 0 or self.signature_s < 0:
            raise ConfigError("hash_bytes_per_s must be positive and signature_s must not be negative")
        if self.watchdog_s != 0 and self.watchdog_s < WATCHDOG_MIN_S:
            raise ConfigError(f"watchdog_s must be 0 for none, or at least {WATCHDOG_MIN_S:g}: checking an image takes that long")

    def _check_counter_page(self) -> None:
        page, memory = self.counter_page, self.memory
        if page is None:
            return
        if page < 0 or page % PAGE_SIZE:
            raise ConfigError(f"security_counter_page must be the start of a page of {PAGE_SIZE} bytes, not 0x{page:x}")
        taken = [memory.primary, memory.secondary, memory.user_data] + ([memory.scratch] if memory.scratch else [])
        if any(region.start <= page < region.end for region in taken):
            raise ConfigError(f"security_counter_page 0x{page:x} lies in a slot, the scratch area or the user data")

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
