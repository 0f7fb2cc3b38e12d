"""A gates file → `rig.gates.Gates`, or every problem in it at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from rig.config import schema_gates as schema
from rig.config import yaml_source
from rig.config.problems import checked
from rig.config.yaml_source import Document, key_path
from rig.errors import ConfigError
from rig.gates import Gate, GateKind, Gates, Scope

_NO_SCOPE = frozenset({GateKind.PRACTICES})
"""Kinds of gate that ask the whole campaign."""


def load_gates(path: str | os.PathLike[str]) -> Gates:
    """The gates that the file at `path` describes.

    Raises:
        ConfigError: with every problem in the file, its line, column and key.
    """
    document = yaml_source.read(Path(path), shown_as=os.fspath(path))
    entry = checked(schema.GatesDocument, document.root, document) if document.root else None
    if entry is not None and not document.problems:
        _check(entry.model, document)
    if entry is None or document.problems:
        raise ConfigError(sorted(document.problems, key=lambda problem: (problem.line, problem.column)))
    return Gates(
        file=document.file,
        sha256=hashlib.sha256(Path(path).read_bytes()).hexdigest(),
        gates=tuple(_gate(one) for one in entry.model.gates),
    )


def _check(entries: schema.GatesDocument, document: Document) -> None:
    """One kind per gate, and no name twice."""
    seen: set[str] = set()
    for index, entry in enumerate(entries.gates):
        node = document.root.at_loc(("gates", index)) if document.root else None
        if node is None:
            continue
        kinds = list(_kinds(entry))
        if len(kinds) != 1:
            found = "none is given" if not kinds else f"{' and '.join(kinds)} are"
            document.report(
                node.at,
                key=key_path(node.loc),
                reason=f"exactly one kind of gate is wanted, but {found}",
                hint=f"kinds: {', '.join(GateKind)}",
            )
        elif kinds[0] in _NO_SCOPE and "scope" in node.value:
            document.report(node.value["scope"].key_at, key=key_path((*node.loc, "scope")), reason=f"means nothing for {kinds[0]}")
        if entry.id in seen:
            document.report(node.value["id"].at, key=key_path((*node.loc, "id")), reason=f"the name {entry.id!r} is taken already")
        seen.add(entry.id)


def _kinds(entry: schema.GateEntry) -> Iterator[GateKind]:
    return (kind for kind in GateKind if getattr(entry, kind) is not None)


def _gate(entry: schema.GateEntry) -> Gate:
    (kind,) = _kinds(entry)
    scope = Scope(scenarios=entry.scope.scenarios, phases=entry.scope.phases, faults=entry.scope.faults)
    given = getattr(entry, kind).model_dump()
    if kind is GateKind.PRACTICES:
        given = {"practices": given["proven"], "at_least": len(given["proven"])}
    (limit,) = (float(given.pop(name)) for name in _LIMITS if name in given)
    return Gate(id=entry.id, require=entry.require, kind=kind, scope=scope, limit=limit, **given)


_LIMITS = ("at_most", "at_least", "below", "slower_at_most", "at_most_s")
"""Each kind of gate has one of these."""
