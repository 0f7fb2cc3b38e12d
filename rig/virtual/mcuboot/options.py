"""The ``bootloader:`` options of a boards file, checked one by one, and the build of MCUboot that they describe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats import encryption_key
from rig.formats.test_key import SignatureAlgorithm, public_key
from rig.model import MemoryMap
from rig.virtual.cpu import BoardFacts
from rig.virtual.mcuboot.config import HASH_BYTES_PER_S, SIGNATURE_S, Console, Crypto, Encryption, McubootConfig, Mode
from rig.virtual.mcuboot.header import Version
from rig.virtual.mcuboot.keys import TrustedKey
from rig.virtual.parts import PAGE_SIZE

_CRYPTOCELL_PART = "nrf52840"
_VERSION_LIMITS = (0xFF, 0xFF, 0xFFFF, 0xFFFF_FFFF)
_Choice = TypeVar("_Choice", Mode, Console, SignatureAlgorithm, Encryption, Crypto)
_KNOWN = frozenset(
    (
        "mode", "signature", "keys", "validate_slot0", "downgrade_prevention", "equal_version", "other_images", "security_counter",
        "security_counter_page", "encryption", "encryption_key_file", "save_enctlv", "max_sectors", "console", "hash_bytes_per_s",
        "crypto", "signature_s", "watchdog_s", "upgrading_pin", "defects",
    )
)  # fmt: skip


def config_from_options(facts: BoardFacts, options: Mapping[str, Any]) -> McubootConfig:
    """The build for a board.  Raises `ConfigError` that names the option.

    `mode` follows from the memory map unless it is given: an upload offset means swap-offset, a scratch area swap-scratch, else
    swap-move.  `keys` are paths of PEM files; without any, the bootloader trusts the public test key of the kind `signature`.
    `crypto` is cc310 where the part has one, and gives `signature_s` unless that is given as well.
    """
    unknown = sorted(options.keys() - _KNOWN)
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r}; known: {', '.join(sorted(_KNOWN))}")
    given = _Options(options)
    crypto = _crypto(given, facts.part.name)
    return McubootConfig(
        mode=given.choice("mode", Mode, _mode(facts.memory)),
        memory=facts.memory,
        keys=_keys(given.texts("keys"), given.choice("signature", SignatureAlgorithm, SignatureAlgorithm.ECDSA_P256)),
        validate_slot0=given.flag("validate_slot0", default=True),
        downgrade_prevention=given.flag("downgrade_prevention", default=False),
        equal_version_accepted=_equal_version_accepted(given),
        other_images=_other_images(given.value("other_images", {})),
        counter_page=_counter_page(given, facts.memory),
        encryption=given.choice("encryption", Encryption, Encryption.NONE),
        encryption_key=_encryption_key(given),
        save_enctlv=given.flag("save_enctlv", default=True),
        max_sectors=given.whole("max_sectors"),
        console=given.choice("console", Console, Console.ZEPHYR),
        hash_bytes_per_s=given.number("hash_bytes_per_s", HASH_BYTES_PER_S),
        crypto=crypto,
        signature_s=given.number("signature_s", SIGNATURE_S[crypto]),
        watchdog_s=given.number("watchdog_s", 0.0),
        upgrading_pin=given.text("upgrading_pin"),
        defects=frozenset(given.texts("defects")),
    )


class _Options:
    """Options by name, each of the type that is asked for; what is absent or null is the default."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options

    def value(self, name: str, default: Any = None) -> Any:
        """Whatever was given."""
        found = self._options.get(name)
        return default if found is None else found

    def flag(self, name: str, *, default: bool) -> bool:
        value = self.value(name, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{name} must be true or false, not {value!r}")
        return value

    def number(self, name: str, default: float) -> float:
        value = self.value(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{name} must be a number, not {value!r}")
        return float(value)

    def whole(self, name: str) -> int | None:
        value = self.value(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 0):
            raise ConfigError(f"{name} must be a whole number from 0 on, not {value!r}")
        return None if value is None else int(value)

    def text(self, name: str) -> str | None:
        value = self.value(name)
        if value is not None and not isinstance(value, str):
            raise ConfigError(f"{name} must be a text, not {value!r}")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        values = self.value(name, ())
        if isinstance(values, str) or not isinstance(values, Iterable) or not all(isinstance(value, str) for value in values):
            raise ConfigError(f"{name} must be a list of texts, not {values!r}")
        return tuple(values)

    def choice(self, name: str, kind: type[_Choice], default: _Choice) -> _Choice:
        value = self.value(name, default)
        try:
            return kind(value)
        except ValueError:
            raise ConfigError(f"unknown {name} {value!r}; known: {', '.join(kind)}") from None


def _mode(memory: MemoryMap) -> Mode:
    if memory.upload_offset:
        return Mode.SWAP_OFFSET
    return Mode.SWAP_SCRATCH if memory.scratch else Mode.SWAP_MOVE


def _crypto(given: _Options, part: str) -> Crypto:
    has_cryptocell = part == _CRYPTOCELL_PART
    crypto = given.choice("crypto", Crypto, Crypto.CC310 if has_cryptocell else Crypto.SOFTWARE)
    if crypto is Crypto.CC310 and not has_cryptocell:
        raise ConfigError(f"crypto {Crypto.CC310} exists on {_CRYPTOCELL_PART} only; the board has {part}")
    return crypto


def _equal_version_accepted(given: _Options) -> bool:
    policy = given.text("equal_version") or "accepted"
    if policy not in ("accepted", "refused"):
        raise ConfigError(f"unknown equal_version {policy!r}; known: accepted, refused")
    return policy == "accepted"


def _counter_page(given: _Options, memory: MemoryMap) -> int | None:
    page = given.whole("security_counter_page")
    if given.flag("security_counter", default=False):
        return memory.primary.start - PAGE_SIZE if page is None else page
    if page is not None:
        raise ConfigError("security_counter_page goes with security_counter: true")
    return None


def _other_images(images: object) -> dict[int, Version]:
    """Keys may be texts: that is what becomes of whole numbers in a stored plan."""
    if not isinstance(images, Mapping):
        raise ConfigError(f"other_images must map image indices to versions, not {images!r}")
    versions: dict[int, Version] = {}
    for index, version in images.items():
        if isinstance(index, bool) or not str(index).isdecimal() or not 1 <= int(index) <= _VERSION_LIMITS[0]:
            raise ConfigError(f"other_images: {index!r} is no index of another image (1 to 255)")
        versions[int(index)] = _version(version)
    return versions


def _version(text: object) -> Version:
    """``1.2.3`` or ``1.2.3+4``."""
    numbers, _, build = str(text).partition("+")
    parts = [*numbers.split("."), build or "0"]
    if len(parts) != len(_VERSION_LIMITS) or not all(part.isdecimal() for part in parts):
        raise ConfigError(f"other_images: {text!r} is no version; write it as 1.2.3 or 1.2.3+4")
    major, minor, revision, number = (int(part) for part in parts)
    if any(part > limit for part, limit in zip((major, minor, revision, number), _VERSION_LIMITS, strict=True)):
        raise ConfigError(f"other_images: version {text!r} does not fit into an image header")
    return major, minor, revision, number


def _keys(paths: Iterable[str], algorithm: SignatureAlgorithm) -> tuple[TrustedKey, ...]:
    return tuple(TrustedKey.from_pem(_read_key(path)) for path in paths) or (TrustedKey.of(public_key(algorithm)),)


def _encryption_key(given: _Options) -> ec.EllipticCurvePrivateKey:
    path = given.text("encryption_key_file")
    if path is None:
        return encryption_key.private_key()
    try:
        return encryption_key.load(_read_key(path))
    except ConfigError as error:
        raise ConfigError(f"encryption_key_file: {error}") from None


def _read_key(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"key {path!r} cannot be read: {error.strerror}") from None
