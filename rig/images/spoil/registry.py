"""The one call that spoils a file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats.spoil_kinds import Format, SpoilKind, find
from rig.formats.test_key import PrivateKey
from rig.images.dfu.archive import content_of
from rig.images.spoil.dfu_kinds import SECURE_DFU_FUNCTIONS
from rig.images.spoil.dfu_package import GoodPackage
from rig.images.spoil.mcuboot_image import GoodImage
from rig.images.spoil.mcuboot_kinds import MCUBOOT_FUNCTIONS


@dataclass(frozen=True, kw_only=True)
class Helpers:
    """What some kinds need besides the package.

    `key` is what it is signed with, `encryption_key` what it is encrypted for; None means the public test keys.  `other` is another
    good package of the same form.
    """

    key: PrivateKey | None = field(repr=False, default=None)
    encryption_key: ec.EllipticCurvePrivateKey | None = field(repr=False, default=None)
    other: Path | None = None


def format_of(data: bytes) -> Format:
    """Which form of package `data` is meant to be: a zip archive is a Secure DFU package, everything else an MCUboot image."""
    return Format.SECURE_DFU if data[:2] == b"PK" else Format.MCUBOOT


def kind_for(path: Path, name: str) -> SpoilKind:
    """The kind called `name` for packages such as the one at `path`.  Raises `ConfigError` as `spoil` does."""
    try:
        return find(name, format_of(content_of(path)))
    except ConfigError as error:
        raise ConfigError(error.problems or f"{path}: {error}") from None


def spoil(path: Path, kind: str, helpers: Helpers | None = None) -> bytes:
    """The file at `path`, which must be a good package, spoiled in the way called `kind`: the same input gives the same bytes.

    Raises `ConfigError`: no such kind (names the nearest), a kind for the other form of package (names those for this one), a file
    that is not a good package, one to which this cannot be done, or one that is signed with another key.
    """
    helpers = helpers or Helpers()
    kind_for(path, kind)
    if format_of(content_of(path)) is Format.SECURE_DFU:
        package = GoodPackage.of(path, helpers.key, helpers.other)  # it names its file itself, once per problem
        return _named(path, kind, lambda: SECURE_DFU_FUNCTIONS[kind](package))
    image = _good_image(path, helpers)
    return _named(path, kind, lambda: MCUBOOT_FUNCTIONS[kind](image))


def _good_image(path: Path, helpers: Helpers) -> GoodImage:
    def read(file: Path, other: GoodImage | None = None) -> GoodImage:
        try:
            return GoodImage.of(content_of(file), helpers.key, helpers.encryption_key, other)
        except ConfigError as error:
            raise ConfigError(error.problems or f"{file}: {error}") from None

    return read(path, read(helpers.other) if helpers.other else None)


def _named(path: Path, kind: str, make: Callable[[], bytes]) -> bytes:
    try:
        return make()
    except ConfigError as error:
        raise ConfigError(f"{path}: {kind}: {error}") from None
