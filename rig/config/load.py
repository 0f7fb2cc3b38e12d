"""Paths → checked configuration.  Nothing is opened but the files named, and all problems are reported at once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.config import yaml_source
from rig.config.boards import BoardsFile, read_boards
from rig.config.check import check
from rig.config.problems import suggestion
from rig.config.product_scenarios import bind, check_product, check_unbound
from rig.config.products import read_product
from rig.config.scenarios import read_scenarios
from rig.drivers import search_modules_in
from rig.errors import ConfigError, Problem
from rig.product import Product
from rig.scenario import Scenario

SCENARIO_FOLDER = Path("tests_hil/scenarios")
"""Where a bare scenario name is looked up, relative to the working directory."""

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """A bench and what shall run on it, checked against each other."""

    boards: BoardsFile
    scenarios: tuple[Scenario, ...]
    left_out: tuple[str, ...] = ()
    """Names of the scenarios that have nothing to say about the product."""


def load(boards: PathLike, scenarios: Sequence[PathLike], *, product: PathLike | None = None) -> Configuration:
    """Load and cross-check everything.  Raises one `ConfigError` with the problems of all files.

    With a `product` the scenarios are bound to it: those for the other protocol, and those that could prove nothing about it, are
    left out.
    """
    try:
        boards_file = load_boards(boards)
    except ConfigError as error:
        raise ConfigError([*error.problems, *_problems_of(scenarios)]) from None
    loaded = load_scenarios(scenarios)
    bound = bind(loaded, load_product(product)) if product is not None else loaded
    if product is None:
        check_unbound(loaded)
    else:
        check_product(boards_file, bound, os.fspath(product))
    check(boards_file, bound)
    left_out = tuple(scenario.name for scenario in loaded if scenario.name not in {one.name for one in bound})
    return Configuration(boards=boards_file, scenarios=bound, left_out=left_out)


def _problems_of(scenarios: Sequence[PathLike]) -> tuple[Problem, ...]:
    try:
        load_scenarios(scenarios)
    except ConfigError as error:
        return error.problems
    return ()


def load_boards(path: PathLike) -> BoardsFile:
    """The bench that the boards file at `path` describes.  Raises `ConfigError` with every problem in it.

    Classes that it names may lie in modules beside it.
    """
    search_modules_in(str(Path(path).resolve().parent))
    document = yaml_source.read(Path(path), shown_as=os.fspath(path))
    boards = read_boards(document)
    if boards is None:
        raise ConfigError(_sorted(document.problems))
    return boards


def load_product(path: PathLike) -> Product:
    """The product that the file at `path` describes.  Raises `ConfigError` with every problem in it."""
    document = yaml_source.read(Path(path), shown_as=os.fspath(path))
    product = read_product(document)
    if product is None:
        raise ConfigError(_sorted(document.problems))
    return product


def load_scenarios(paths: Sequence[PathLike]) -> tuple[Scenario, ...]:
    """The scenarios that `paths` name, in that order; raises `ConfigError` with the problems of all of them.

    A path is a file, a folder (its ``*.yaml``, or where it has none those of the folders in it), or the bare name of a file or folder in
    `SCENARIO_FOLDER`.  A file named twice counts once.
    """
    problems: list[Problem] = []
    files = dict.fromkeys(file for path in paths for file in _files(os.fspath(path), problems))
    if not paths:
        problems.append(Problem(file=str(SCENARIO_FOLDER), reason="no scenario was named"))
    scenarios: list[Scenario] = []
    for file in files:
        document = yaml_source.read(Path(file), shown_as=file)
        for scenario in read_scenarios(document):
            problems += _same_name(scenario, scenarios)
            scenarios.append(scenario)
        problems += _sorted(document.problems)
    if problems:
        raise ConfigError(problems)
    return tuple(scenarios)


def _files(name: str, problems: list[Problem]) -> Iterator[str]:
    """The files that one argument stands for; a file that is missing is reported when it is read."""
    path, shipped = Path(name), SCENARIO_FOLDER / f"{name}.yaml"
    suite = SCENARIO_FOLDER / name
    if "\0" in name or not name:
        problems.append(Problem(file=repr(name), reason="is no file name"))
    elif path.is_dir() or (len(path.parts) == 1 and not path.exists() and suite.is_dir()):
        folder = path if path.is_dir() else suite
        found = sorted(str(file) for file in (list(folder.glob("*.yaml")) or folder.rglob("*.yaml")))
        if not found:
            problems.append(Problem(file=name, reason="the folder holds no *.yaml"))
        yield from found
    elif path.exists() or path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        yield str(path)
    elif shipped.exists():
        yield str(shipped)
    else:
        known = sorted(file.stem for file in SCENARIO_FOLDER.glob("*.yaml"))
        reason = f"no such file, and no scenario of this name in {SCENARIO_FOLDER}"
        problems.append(Problem(file=name, reason=reason, hint=suggestion(name, known)))


def _same_name(scenario: Scenario, before: Sequence[Scenario]) -> Iterator[Problem]:
    for other in before:
        if other.name == scenario.name:
            place, first = scenario.places["scenario"], other.places["scenario"]
            yield Problem(
                file=scenario.file,
                line=place.line,
                column=place.column,
                key="scenario",
                reason=f"the name {scenario.name!r} is taken already, in {other.file}:{first.line}",
                excerpt=place.excerpt,
            )


def _sorted(problems: Sequence[Problem]) -> list[Problem]:
    return sorted(problems, key=lambda problem: (problem.line, problem.column))
