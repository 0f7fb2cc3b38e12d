"""How one Secure DFU bootloader was built: the macros of its `sdk_config.h`, its place in flash, its key, its defects.

Defaults: nRF5 SDK 17.0.2, `examples/dfu/secure_bootloader/pca10056_s140_ble` and `pca10040_s132_ble`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from rig.errors import ConfigError
from rig.formats import test_key
from rig.virtual.crypto_time import HASH_BYTES_PER_S, SIGNATURE_S, Crypto, default_crypto, has_cc310
from rig.virtual.parts import PAGE_SIZE, PARTS
from rig.virtual.secure_dfu.defects import Defect, check_defects
from rig.virtual.secure_dfu.softdevice import SOFTDEVICES, SoftDeviceInfo

_T = TypeVar("_T")

MBR_SIZE = 0x1000
DEFAULT_MTU = 23
"""The ATT_MTU that every BLE device has."""
_WATCHDOG_MIN_S = 2.0
GPREGRET_MAGIC, GPREGRET_MASK, START_BIT = 0xB0, 0xF8, 0x01
GPREGRET_START_DFU = GPREGRET_MAGIC | START_BIT
"""What the application writes to GPREGRET before it resets into the bootloader."""
GPREGRET2_MAGIC, SKIP_CRC_BIT = 0xA8, 0x01
GPREGRET2_SKIP_CRC = GPREGRET2_MAGIC | SKIP_CRC_BIT
"""What the application writes to GPREGRET2 to have its own CRC check left out at the next boot."""


class Transport(StrEnum):
    """The link over which updates come.  Serial builds answer all opcodes; BLE builds a reduced set."""

    BLE = "ble"
    SERIAL = "serial"


def _test_key() -> ec.EllipticCurvePublicKey:
    key = test_key.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


def _demo_key() -> ec.EllipticCurvePublicKey:
    key = test_key.demo_key().public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return key


@dataclass(frozen=True, kw_only=True)
class SecureDfuConfig:
    """Sizes and addresses in bytes, times in seconds.

    `sdk` is the major version: up to 15 the progress in RAM survives a disconnect, from 16 on it is read from flash again.
    `inactivity_s` 0 means never.  `watchdog_s` is the watchdog that the application starts, 0 for none; see `watchdog.py`.
    `downgrade_prevention`, `accept_same_version` and `require_signed_app` are about applications
    (and SoftDevices); bootloaders are always signed and always newer.
    """

    bootloader_address: int
    backup_address: int
    settings_address: int
    softdevice: SoftDeviceInfo | None = None
    """What production puts on the board; the bootloader itself looks at what is in flash."""
    transport: Transport = Transport.BLE
    sdk: int = 17
    hw_version: int = 52
    downgrade_prevention: bool = True
    accept_same_version: bool = True
    require_signed_app: bool = True
    single_bank: bool = False
    force_dual_bank: bool = False
    save_progress: bool = False
    app_data_size: int = 3 * PAGE_SIZE
    copy_step_pages: int = 8
    requires_bonds: bool = False
    crypto: Crypto = Crypto.SOFTWARE
    inactivity_s: float = 120.0
    continuation_s: float = 10.0
    watchdog_s: float = 0.0
    name: str = "DfuTarg"
    max_mtu: int = 247
    advertising_interval_s: float = 0.025
    button_pressed: bool = False
    enter_by_pin_reset: bool = False
    enter_by_settings_flag: bool = False
    log: bool = False
    """Print the log lines that a build with NRF_LOG prints; release builds are silent."""
    application_name: str = ""
    """What the board's application advertises."""
    key: ec.EllipticCurvePublicKey = field(default_factory=_test_key)
    defects: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if (self.max_mtu - 3) % 4:
            raise ConfigError(f"max_mtu must leave a payload of whole words (max_mtu - 3 a multiple of 4), not {self.max_mtu}")
        if self.app_data_size % PAGE_SIZE or self.copy_step_pages < 1:
            raise ConfigError(f"app_data_size must be whole pages of {PAGE_SIZE} bytes and copy_step_pages at least 1")
        if self.inactivity_s < 0 or self.continuation_s < 0:
            raise ConfigError("inactivity_s and continuation_s must not be negative")
        if self.watchdog_s != 0 and self.watchdog_s < _WATCHDOG_MIN_S:
            raise ConfigError(f"watchdog_s must be 0 for none, or at least {_WATCHDOG_MIN_S:g}: a boot takes that long before it feeds")
        check_defects(self)

    def has(self, defect: Defect) -> bool:
        """Whether the bootloader is broken in this way."""
        return defect in self.defects

    @property
    def region_end(self) -> int:
        """End of the room for firmware: below the bootloader the application's own data are spared."""
        return self.bootloader_address - self.app_data_size

    @property
    def bootloader_size(self) -> int:
        """Room for the bootloader, up to the backup page."""
        return self.backup_address - self.bootloader_address

    @property
    def trusted_keys(self) -> tuple[ec.EllipticCurvePublicKey, ...]:
        """Whoever has one of their private halves can make firmware for the device."""
        return (self.key, _demo_key()) if self.has(Defect.DEMO_KEY_TRUSTED) else (self.key,)

    @property
    def mtu(self) -> int:
        """The largest ATT_MTU that the bootloader agrees to."""
        return DEFAULT_MTU if self.has(Defect.SMALL_MTU) else self.max_mtu

    @property
    def signature_s(self) -> float:
        """How long the verification of a signature takes, without the hash."""
        return SIGNATURE_S[Crypto.SOFTWARE if self.has(Defect.SOFTWARE_CRYPTO) else self.crypto]

    @staticmethod
    def hash_s(size: int) -> float:
        """How long the checksum or hash of `size` bytes takes."""
        return size / HASH_BYTES_PER_S


def default_config(part_name: str) -> SecureDfuConfig:
    """The SDK's example for a part.  Raises `ConfigError` for an unknown part.

    The bootloader has six pages, then come the MBR parameter page (which holds the settings backup) and the settings page.
    """
    if part_name not in PARTS:
        raise ConfigError(f"unknown part {part_name!r}; known: {', '.join(PARTS)}")
    end = PARTS[part_name].flash_size
    return SecureDfuConfig(
        bootloader_address=end - 8 * PAGE_SIZE,
        backup_address=end - 2 * PAGE_SIZE,
        settings_address=end - PAGE_SIZE,
        softdevice=SOFTDEVICES["s132-7.2.0" if part_name == "nrf52832" else "s140-7.2.0"],
        crypto=default_crypto(part_name),
    )


def config_from_options(part_name: str, options: Mapping[str, Any], *, application_name: str = "") -> SecureDfuConfig:
    """`default_config` changed by the ``bootloader:`` section of a boards file.

    Keys are the fields of `SecureDfuConfig`, except that `key_file` (public key, PEM) stands for `key`, `defects` is a list,
    `softdevice` one of the names known or "none", and `application_name` no key.  Raises `ConfigError`.
    """
    changes = dict(options)
    known = {entry.name for entry in fields(SecureDfuConfig)} - {"key", "application_name"} | {"key_file"}
    if unknown := sorted(set(changes) - known):
        raise ConfigError(f"unknown bootloader option {', '.join(map(repr, unknown))}; known: {', '.join(sorted(known))}")
    if "key_file" in changes:
        changes["key"] = _load_key(Path(str(changes.pop("key_file"))))
    if "defects" in changes:
        changes["defects"] = frozenset(map(str, changes["defects"]))
    if "transport" in changes:
        changes["transport"] = _one_of("transport", {kind.value: kind for kind in Transport}, changes["transport"])
    if "crypto" in changes:
        changes["crypto"] = _one_of("crypto", {kind.value: kind for kind in Crypto}, changes["crypto"])
        if changes["crypto"] is Crypto.CC310 and not has_cc310(part_name):
            raise ConfigError(f"crypto cc310: an {part_name} has no CryptoCell")
    if "softdevice" in changes:
        changes["softdevice"] = _one_of("softdevice", {**SOFTDEVICES, "none": None}, changes["softdevice"])
    default = default_config(part_name)
    for name, value in changes.items():
        _check_type(name, value, getattr(default, name))
    return replace(default, application_name=application_name, **changes)


def _check_type(name: str, value: object, default: object) -> None:
    """Numbers are numbers and switches are switches: a quoted one would silently never be equal."""
    wanted = (int, float) if isinstance(default, float) else type(default)
    if name not in {"key", "softdevice"} and (not isinstance(value, wanted) or isinstance(value, bool) is not isinstance(default, bool)):
        raise ConfigError(f"bootloader option {name!r} must be like {default!r}, not {value!r}")


def _one_of(option: str, known: Mapping[str, _T], name: object) -> _T:
    if name not in known:
        raise ConfigError(f"unknown {option} {name!r}; known: {', '.join(sorted(known))}")
    return known[str(name)]


def _load_key(path: Path) -> ec.EllipticCurvePublicKey:
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ConfigError(f"{path}: not a public key in PEM form") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{path}: Secure DFU verifies ECDSA P-256 only")
    return key
