"""The images of a scenario: from the schema's entries to `rig.scenario`, and what contradicts itself in them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rig.config import schema_images as schema
from rig.errors import ConfigError
from rig.formats import spoil_kinds
from rig.formats.spoil_kinds import Format
from rig.model import Expectation, Protocol
from rig.scenario import ImageBuild, ImageChoice, ImageNeed, ImagePath, Images, ImageSource

ROLES = ("old", "new", "again")
_BUILD_KEYS_OF_ONE_PROTOCOL = {
    Protocol.SMP: ("security_counter", "needs"),
    Protocol.SECURE_DFU: ("hardware", "softdevice"),
}
_ENCRYPTION_KEYS = ("encrypted", "encryption_key")

Place = tuple[str, ...]
"""Keys that lead to a value, from the top of the file."""


@dataclass(frozen=True, kw_only=True)
class Contradiction:
    """Something at `place` that does not go together with the rest of the file."""

    place: Place
    reason: str
    hint: str = ""


# ----------------------------------------------------------------------------------------------------------- conversion
def images(entry: schema.ImageSet, folder: Path) -> Images:
    """The entry with paths as they can be opened; those in it are relative to `folder`."""
    return Images(
        old=_image(entry.old, folder),
        new=_image(entry.new, folder),
        again=_image(entry.again, folder) if entry.again else None,
        key=str(folder / entry.key) if entry.key else None,
        signature=entry.signature.value,
        encrypted=entry.encrypted or entry.encryption_key is not None,
        encryption_key=str(folder / entry.encryption_key) if entry.encryption_key else None,
    )


def _image(entry: Any, folder: Path) -> ImageChoice:
    if isinstance(entry, schema.SourcesBySoc):
        by_soc = {soc: getattr(entry, soc) for soc in schema.SourcesBySoc.model_fields}
        return ImageChoice(by_soc={soc: _source(source, folder) for soc, source in by_soc.items() if source is not None})
    return ImageChoice(every=_source(entry, folder))


def _source(entry: schema.BuildSource | schema.FileSource, folder: Path) -> ImageSource:
    if isinstance(entry, schema.FileSource):
        return ImagePath(path=str(folder / entry.file), spoil=_only(entry.spoil))
    build = entry.build
    return ImageBuild(
        version=build.version,
        size=build.size,
        confirm=build.confirm.value,
        self_test_s=build.self_test_s,
        crash=build.crash,
        flags=build.flags,
        seed=build.seed,
        security_counter=build.security_counter,
        needs=ImageNeed(image=build.needs.image, version=build.needs.version) if build.needs else None,
        hardware=build.hardware,
        softdevice=build.softdevice,
        spoil=_only(entry.spoil),
    )


def _only(kinds: tuple[str, ...]) -> str | None:
    """The one kind, if there is just one; a list is spread over scenarios afterwards."""
    return kinds[0] if len(kinds) == 1 else None


def kinds(entry: schema.ImageSet) -> tuple[str, ...]:
    """The list of kinds that the new image is to be spoiled in, one scenario each; empty where there is no such list."""
    listed = next((source.spoil for place, source in sources(entry) if place[1] == "new"), ())
    return listed if len(listed) > 1 else ()


def spoiled(choice: ImageChoice, kind: str) -> ImageChoice:
    """`choice` with every image of it spoiled as `kind` says."""
    every = replace(choice.every, spoil=kind) if choice.every is not None else None
    return ImageChoice(every=every, by_soc={soc: replace(source, spoil=kind) for soc, source in choice.by_soc.items()})


def sources(entry: schema.ImageSet) -> Iterator[tuple[Place, schema.BuildSource | schema.FileSource]]:
    """Every image, with its place."""
    for role in ROLES:
        image = getattr(entry, role)
        if isinstance(image, schema.SourcesBySoc):
            for soc in schema.SourcesBySoc.model_fields:
                if (source := getattr(image, soc)) is not None:
                    yield ("images", role, soc), source
        elif image is not None:
            yield ("images", role), image


# -------------------------------------------------------------------------------------------------------------- checks
def contradictions(entry: schema.ImageSet, protocol: Protocol, expect: Expectation | None) -> Iterator[Contradiction]:
    """What the images say that `protocol` cannot have, and spoiling that does not go with `expect` (None: unknown)."""
    if protocol is Protocol.SECURE_DFU:
        for key in _ENCRYPTION_KEYS:
            if key in entry.model_fields_set:
                yield Contradiction(place=("images", key), reason="secure_dfu has no encrypted images", hint="leave it out")
    for place, source in sources(entry):
        if isinstance(source, schema.BuildSource):
            yield from _foreign_keys((*place, "build"), source.build, protocol)
        for kind in source.spoil:
            yield from _spoiling((*place, "spoil"), kind, protocol, expect)
    lists = {source.spoil for place, source in sources(entry) if place[1] == "new"}
    if len(lists) > 1 and any(len(kinds) > 1 for kinds in lists):
        reason = "a list of kinds must be the same for every SoC, since each kind makes a scenario"
        yield Contradiction(place=("images", "new"), reason=reason, hint="write one scenario for each SoC")


def _foreign_keys(place: Place, build: schema.Build, protocol: Protocol) -> Iterator[Contradiction]:
    for owner, keys in _BUILD_KEYS_OF_ONE_PROTOCOL.items():
        for key in keys:
            if owner is not protocol and key in build.model_fields_set:
                yield Contradiction(place=(*place, key), reason=f"belongs to {owner}; this scenario updates by {protocol}", hint="leave it out")


def _spoiling(place: Place, name: str, protocol: Protocol, expect: Expectation | None) -> Iterator[Contradiction]:
    if place[1] != "new":
        yield Contradiction(place=place, reason="only images.new can be spoiled: the others must be good for the trial to mean anything")
        return
    form = Format.of(protocol)
    try:
        kind = spoil_kinds.find(name, form)
    except ConfigError as error:
        yield Contradiction(place=place, reason=str(error))
        return
    wanted = Expectation.REFUSED if kind.expectation.must_not_run else Expectation.UPDATED
    if expect is not None and expect is not wanted:
        reason = f"{kind.expected}, but the scenario expects {expect}"
        yield Contradiction(place=place, reason=reason, hint=f"expect: {wanted}")
