"""Which drivers there are, read from their source: a driver whose library is not installed is listed like any other."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import rig
from rig.doctor.requirements import own_requirements
from rig.drivers import DRIVERS

TRIED_ON_HARDWARE: frozenset[tuple[str, str]] = frozenset()
"""(port, name) of the drivers that have worked with the real instrument.  None has: all were written from documents and tested
against virtual instruments."""

_PACKAGE = Path(rig.__file__).parent


@dataclass(frozen=True, kw_only=True)
class DriverEntry:
    """One line of the registry.  `extra` names the extra of rig that brings its library (``scripts/setup EXTRA``), empty for none."""

    port: str
    name: str
    what: str
    capabilities: tuple[str, ...]
    extra: str
    tried_on_hardware: bool


def list_drivers(registry: Mapping[str, Mapping[str, str]] = DRIVERS, package: Path = _PACKAGE) -> tuple[DriverEntry, ...]:
    """The registry's drivers in its order; their modules lie below `package` and are parsed, never imported."""
    extras = {requirement.name: requirement.extra for requirement in own_requirements() if requirement.extra}
    return tuple(_entry(port, name, target, package, extras) for port, drivers in registry.items() for name, target in drivers.items())


def _entry(port: str, name: str, target: str, package: Path, extras: Mapping[str, str]) -> DriverEntry:
    module, _, class_name = target.partition(":")
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in _files(package, module)]
    found = next(node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    wanted = sorted({extras[library] for tree in trees for library in _libraries(tree) if library in extras})
    return DriverEntry(
        port=port,
        name=name,
        what=_summary(found),
        capabilities=tuple(_capabilities(found)),
        extra=", ".join(wanted),
        tried_on_hardware=(port, name) in TRIED_ON_HARDWARE,
    )


def _files(package: Path, module: str) -> list[Path]:
    path = package.joinpath(*module.split(".")[1:])
    return sorted(path.glob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def _summary(node: ast.ClassDef) -> str:
    """The first sentence on the docstring's first line, in plain words."""
    line = (ast.get_docstring(node) or "").partition("\n")[0]
    return line.partition(".  ")[0].rstrip(".").replace("`", "").replace("rig.ports.", "")


def _capabilities(node: ast.ClassDef) -> Iterator[str]:
    """The members named in a class attribute ``capabilities = frozenset({Kind.MEMBER, …})``, as the boards file would say them."""
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if value is not None and any(isinstance(target, ast.Name) and target.id == "capabilities" for target in targets):
            yield from sorted(part.attr.lower() for part in ast.walk(value) if isinstance(part, ast.Attribute))


def _libraries(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]
