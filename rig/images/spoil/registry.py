"""All kinds by format and name, and the one call that spoils a file."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rig.errors import ConfigError
from rig.formats.test_key import PrivateKey
from rig.images.dfu.archive import content_of
from rig.images.spoil.dfu_kinds import SECURE_DFU_KINDS
from rig.images.spoil.dfu_package import GoodPackage
from rig.images.spoil.kind import Format, Spoil
from rig.images.spoil.mcuboot_image import GoodImage
from rig.images.spoil.mcuboot_kinds import MCUBOOT_KINDS

KINDS: Mapping[Format, Mapping[str, Spoil[Any]]] = {Format.MCUBOOT: MCUBOOT_KINDS, Format.SECURE_DFU: SECURE_DFU_KINDS}
"""Every kind, by format and then by name; several names exist for both."""


def kinds_of(form: Format) -> tuple[Spoil[Any], ...]:
    """The kinds for packages of one form, in the order in which they are listed."""
    return tuple(KINDS[form].values())


def format_of(data: bytes) -> Format:
    """Which form of package `data` is meant to be: a zip archive is a Secure DFU package, everything else an MCUboot image."""
    return Format.SECURE_DFU if data[:2] == b"PK" else Format.MCUBOOT


def spoil(path: Path, kind: str, *, key: PrivateKey | None = None) -> bytes:
    """The file at `path`, which must be a good package, spoiled in the way called `kind`: the same file gives the same bytes.

    `key` is what the package is signed with; None means the public test key.  It is used by the kinds that must be signed anew.

    Raises `ConfigError`: no such kind (names the nearest), a kind for the other form of package (names those for this one), a file
    that is not a good package, one to which this cannot be done, or one that is signed with another key.
    """
    data = content_of(path)
    form = format_of(data)
    chosen = _chosen(kind, form, path)
    try:
        good = GoodPackage.of(path, key) if form is Format.SECURE_DFU else GoodImage.of(data, key)
    except ConfigError as error:
        # A package names its file itself, once per problem.
        raise ConfigError(error.problems or f"{path}: {error}") from None
    try:
        return chosen.function(good)
    except ConfigError as error:
        raise ConfigError(f"{path}: {kind}: {error}") from None


def _chosen(kind: str, form: Format, path: Path) -> Spoil[Any]:
    if kind in KINDS[form]:
        return KINDS[form][kind]
    known = dict.fromkeys(name for kinds in KINDS.values() for name in kinds)
    if kind not in known:
        (nearest,) = difflib.get_close_matches(kind, known, n=1, cutoff=0)
        raise ConfigError(f"there is no kind {kind!r}; did you mean {nearest!r}? `rig images kinds` lists them all")
    (other,) = (form.value for form in KINDS if kind in KINDS[form])
    raise ConfigError(f"{path}: {kind!r} is only for the other form, {other}; for this {form} there are {', '.join(KINDS[form])}")
