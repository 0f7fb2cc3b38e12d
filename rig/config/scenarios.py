"""A scenario file → `rig.scenario.Scenario`, or every problem at once.  Image and key files that it names are read and checked."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from rig.config import scenario_faults, scenario_images, schema_images
from rig.config import schema_scenario as schema
from rig.config.problems import Checked, checked
from rig.config.yaml_source import Document, Loc, Node, key_path
from rig.errors import ConfigError
from rig.formats import encryption_key, mcuboot_image, signing_key
from rig.model import Acceptance, Expectation, Limits, Protocol, Request
from rig.scenario import BoardSelection, Place, Scenario

MAX_IMAGE_SIZE = 4 * 1024 * 1024
_KEYS: Mapping[str, Callable[[bytes], object]] = {"key": signing_key.load, "encryption_key": encryption_key.load}
_SAME = "is the same image as images.{before}, so that nobody could tell whether the update worked"


def read_scenarios(document: Document) -> tuple[Scenario, ...]:
    """Check `document` and convert it: a scenario, or one for each kind of spoiling that its new image lists, named after it.

    Nothing when it has problems, all of which are then in it.
    """
    if document.root is None:
        return ()
    entry = checked(schema.ScenarioDocument, document.root, document)
    if entry is None:
        return ()
    _check_protocol(entry, document)
    _check_files(document)
    _check_update(entry, document)
    _check_expectation(entry, document)
    _check_images(entry, document)
    _check_faults(entry, document)
    if document.problems:
        return ()
    scenario = _scenario(entry.model, document)
    listed = scenario_images.kinds(entry.model.images)
    return tuple(_spoiled(scenario, kind) for kind in listed) if listed else (scenario,)


def _spoiled(scenario: Scenario, kind: str) -> Scenario:
    images = replace(scenario.images, new=scenario_images.spoiled(scenario.images.new, kind))
    return replace(scenario, name=f"{scenario.name}-{kind}", images=images)


# ----------------------------------------------------------------------------------------------------------- conversion
def _scenario(entry: schema.ScenarioDocument, document: Document) -> Scenario:
    again = entry.images.again is not None
    return Scenario(
        name=entry.scenario,
        description=entry.description,
        protocol=entry.protocol,
        boards=_selection(entry.boards),
        images=scenario_images.images(entry.images, Path(document.file).parent),
        request=entry.update.request,
        confirm=entry.update.confirm,
        staged=entry.update.staged,
        again=float(again) if entry.update.again is None else entry.update.again,
        faults=tuple(scenario_faults.share(fault) for fault in entry.faults),
        trials=entry.trials,
        seed=entry.seed,
        limits=Limits(**entry.limits.model_dump()),
        expect=entry.expect,
        accept=Acceptance(**entry.accept.model_dump()),
        receipts_every=entry.update.receipts_every,
        proves=entry.proves,
        inspect=entry.inspect,
        file=document.file,
        places=_places(document),
    )


def _selection(entry: Any) -> BoardSelection:
    if isinstance(entry, schema.SocSelection):
        return BoardSelection(socs=entry.soc)
    return BoardSelection() if entry == "all" else BoardSelection(names=entry)


def _places(document: Document) -> dict[str, Place]:
    assert document.root is not None
    return {
        key_path(node.loc): Place(line=node.at.line + 1, column=node.at.column + 1, excerpt=document.excerpt(node.at))
        for node in document.root.walk()
        if node.loc
    }


# --------------------------------------------------------------------------------------------------------------- checks
def _report(document: Document, *loc: str | int, reason: str, hint: str = "") -> None:
    """Add a problem at `loc`, or at the innermost key above it that the file has."""
    assert document.root is not None
    node = document.root
    for step in loc:
        node = node.child(step) or node
    document.report(node.at if node.loc else None, key=key_path(loc), reason=reason, hint=hint)


def _check_protocol(entry: Checked[schema.ScenarioDocument], document: Document) -> None:
    """What Secure DFU cannot do: a bootloader that installs for good never rolls back."""
    if not (entry.has("protocol") and entry.model.protocol is Protocol.SECURE_DFU):
        return
    if entry.has("expect") and entry.model.expect is Expectation.ROLLED_BACK:
        _report(document, "expect", reason="a secure_dfu bootloader never rolls back", hint="write updated or refused")


def _check_files(document: Document) -> None:
    """Signed images and the key must exist and be what they are taken for, whatever else is wrong with the scenario."""
    assert document.root is not None
    folder = Path(document.file).parent
    hashes: dict[Loc, bytes] = {}
    for node in _file_nodes(document.root):
        data = _contents(folder / node.value, node, document)
        if data is None:
            continue
        try:
            if node.loc[-1] in _KEYS:
                _KEYS[str(node.loc[-1])](data)
            elif not zipfile.is_zipfile(io.BytesIO(data)):  # DFU packages are read when the images are provided
                hashes[node.loc] = mcuboot_image.parse(data).image_hash
        except ConfigError as error:
            document.report(node.at, key=key_path(node.loc), reason=f"{node.value}: {error}")
    for before, after in (("old", "new"), ("new", "again")):
        for loc, image_hash in hashes.items():
            if loc[1] == after and not _is_spoiled(loc, document) and hashes.get(("images", before, *loc[2:])) == image_hash:
                _report(document, *loc, reason=_SAME.format(before=before))


def _is_spoiled(loc: Loc, document: Document) -> bool:
    assert document.root is not None
    return document.root.at_loc((*loc[:-1], "spoil")) is not None


def _file_nodes(root: Node) -> Iterator[Node]:
    """Every path in the file that the schema knows."""
    locs: list[Loc] = [("images", key) for key in _KEYS]
    for role in scenario_images.ROLES:
        locs += [("images", role, "file"), *(("images", role, soc, "file") for soc in schema_images.SourcesBySoc.model_fields)]
    for loc in locs:
        node = root.at_loc(loc)
        if node is not None and isinstance(node.value, str) and node.value:
            yield node


def _contents(path: Path, node: Node, document: Document) -> bytes | None:
    key = key_path(node.loc)
    try:
        if path.is_dir():
            document.report(node.at, key=key, reason=f"{path} is a folder, not a file")
            return None
        if path.exists() and not path.is_file():
            document.report(node.at, key=key, reason=f"{path} is not an ordinary file")
            return None
        if path.stat().st_size > MAX_IMAGE_SIZE:
            document.report(node.at, key=key, reason=f"{path} is larger than any flash ({path.stat().st_size} bytes)")
            return None
        return path.read_bytes()
    except FileNotFoundError:
        hint = "paths are relative to the scenario file" if not Path(node.value).is_absolute() else ""
        document.report(node.at, key=key, reason=f"no such file: {path}", hint=hint)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        document.report(node.at, key=key, reason=f"{path} cannot be read: {reason}")
    return None


def _check_update(entry: Checked[schema.ScenarioDocument], document: Document) -> None:
    """The images must differ, and what is asked for must be there."""
    if not entry.has("images"):
        return
    images = entry.model.images
    if images.new == images.old and not isinstance(images.new, schema_images.FileSource):
        _report(document, "images", "new", reason=_SAME.format(before="old"))
    if images.again == images.new and not isinstance(images.new, schema_images.FileSource):
        _report(document, "images", "again", reason=_SAME.format(before="new"))
    if images.key is not None and "signature" in images.model_fields_set:
        _report(document, "images", "signature", reason="says which test key signs, but images.key is given", hint="remove one of them")
    if entry.has("update") and entry.model.update.again and images.again is None:
        _report(document, "update", "again", reason="wants a last update, but there is no images.again")


def _check_expectation(entry: Checked[schema.ScenarioDocument], document: Document) -> None:
    """A good device must be able to do what is expected of it."""
    if not entry.has("update", "expect"):
        return
    update, expect = entry.model.update, entry.model.expect
    if expect is Expectation.ROLLED_BACK:
        if update.request is not Request.TEST:
            _report(document, "update", "request", reason="a device rolls back only what was requested as a test", hint="request: test")
        if update.confirm:
            _report(document, "update", "confirm", reason="a confirmed image is not rolled back", hint="confirm: false")
    for loc, build in _builds(entry):
        if loc[1] != "new" or update.request is not Request.TEST:
            continue
        kept = update.confirm or build.confirm != "never"
        if expect is Expectation.ROLLED_BACK and build.confirm != "never" and not build.crash:
            _report(document, *loc, "confirm", reason="an image that confirms itself is not rolled back", hint="confirm: never")
        if expect is Expectation.UPDATED and build.crash:
            _report(document, *loc, "crash", reason="an image that crashes is rolled back, not kept", hint="expect: rolled_back")
        elif expect is Expectation.UPDATED and not kept:
            reason = "nobody confirms the new image, so that a good device rolls it back"
            _report(document, "update", "confirm", reason=reason, hint="expect: rolled_back, or let the host or the image confirm")


def _builds(entry: Checked[schema.ScenarioDocument]) -> Iterator[tuple[tuple[str, ...], schema_images.Build]]:
    """Every image to build with its place."""
    if entry.has("images"):
        for loc, source in scenario_images.sources(entry.model.images):
            if isinstance(source, schema_images.BuildSource):
                yield (*loc, "build"), source.build


def _check_images(entry: Checked[schema.ScenarioDocument], document: Document) -> None:
    """What the images say must be possible with the protocol, and go together with what is expected."""
    if entry.has("images", "protocol"):
        expect = entry.model.expect if entry.has("expect") else None
        for found in scenario_images.contradictions(entry.model.images, entry.model.protocol, expect):
            _report(document, *found.place, reason=found.reason, hint=found.hint)


def _check_faults(entry: Checked[schema.ScenarioDocument], document: Document) -> None:
    """Every entry must get a trial, and each fault must make sense by itself."""
    if not entry.has("faults"):
        return
    faults = entry.model.faults
    if entry.has("trials") and entry.model.trials < len(faults):
        _report(document, "trials", reason=f"{entry.model.trials} trials are too few to meet each of the {len(faults)} faults once")
    limits = Limits(**entry.model.limits.model_dump()) if entry.has("limits") else None
    protocol = entry.model.protocol if entry.has("protocol") else None
    for found in scenario_faults.contradictions(faults, limits=limits, protocol=protocol):
        _report(document, "faults", *found.place, reason=found.reason, hint=found.hint)
