"""Which libraries rig asks for, in which versions, and which of its extras bring which."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import rig

DISTRIBUTION = "rig-ota"
_PYPROJECT = Path(rig.__file__).parents[1] / "pyproject.toml"
_NAME = re.compile(r"\s*([A-Za-z0-9._-]+)")
_CLAUSE = re.compile(r"(~=|==|>=|<=|!=|<|>)\s*([0-9]+(?:\.[0-9]+)*)")
_EXTRA = re.compile(r"extra\s*==\s*['\"]([^'\"]+)['\"]")

Release = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """A library, the versions of it that will do, and the extra that asks for it (empty: always needed)."""

    name: str
    clauses: tuple[tuple[str, str], ...]
    extra: str = ""

    @property
    def wanted(self) -> str:
        """The clauses as they are written for pip."""
        return self.name + ",".join(operator + version for operator, version in self.clauses)

    def accepts(self, version: str) -> bool:
        """Whether `version` will do.  Only its numbers count, pre-releases are not told from releases."""
        return all(_holds(release(version), operator, release(wanted)) for operator, wanted in self.clauses)


def release(version: str) -> Release:
    """The leading numbers of `version`, without zeros at the end: ``"3.54.0.dev1"`` → (3, 54)."""
    found = re.match(r"\d+(?:\.\d+)*", version)
    numbers = tuple(int(part) for part in found[0].split(".")) if found else ()
    while numbers and numbers[-1] == 0:
        numbers = numbers[:-1]
    return numbers


def _holds(version: Release, operator: str, wanted: Release) -> bool:
    return {
        "==": version == wanted,
        "!=": version != wanted,
        ">=": version >= wanted,
        "<=": version <= wanted,
        ">": version > wanted,
        "<": version < wanted,
        "~=": version >= wanted,
    }[operator]


def parse(text: str) -> Requirement:
    """One requirement as pip writes it (PEP 508), of which rig uses names, plain version clauses and ``extra ==``."""
    before, _, marker = text.partition(";")
    name = _NAME.match(before)
    assert name is not None, f"not a requirement: {text!r}"
    extra = _EXTRA.search(marker)
    clauses: list[tuple[str, str]] = []
    for operator, version in _CLAUSE.findall(before[name.end() :]):
        clauses.append((operator, version))
        if operator == "~=":
            clauses.append(("<", _next_series(version)))
    return Requirement(name=name[1], clauses=tuple(clauses), extra=extra[1] if extra else "")


def _next_series(version: str) -> str:
    """The first version that ``~=`` leaves out (PEP 440): ``3.1`` → ``4``, ``10.24.2`` → ``10.25``."""
    numbers = [int(part) for part in version.split(".")][:-1]
    numbers[-1] += 1
    return ".".join(map(str, numbers))


def own_requirements() -> tuple[Requirement, ...]:
    """Those of the installed rig; of its source's `pyproject.toml` where it is run without being installed; else none."""
    try:
        return tuple(map(parse, metadata.requires(DISTRIBUTION) or ()))
    except metadata.PackageNotFoundError:
        return tuple(map(parse, _written_in(_PYPROJECT)))


def _written_in(pyproject: Path) -> Iterable[str]:
    if pyproject.is_file():
        project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
        yield from project["dependencies"]
        for extra, requirements in project["optional-dependencies"].items():
            yield from (f"{requirement}; extra == '{extra}'" for requirement in requirements)


def installed_version(distribution: str) -> str | None:
    """The version of a distribution, None when it is not installed."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
