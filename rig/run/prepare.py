"""From checked configuration to a campaign folder, before any hardware is touched."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from rig.config import Configuration
from rig.errors import ConfigError, Problem
from rig.images.provide import provide
from rig.model import Board, ImageSet
from rig.plan import Dealt, plan
from rig.run.wear import check_wear
from rig.scenario import Scenario
from rig.store import Campaign, Plan, ScenarioPlan, collect_provenance
from rig.store.calibration import calibration_file, read_calibrations


def plan_trials(
    configuration: Configuration, image_folder: Path, *, seed: int | None, trials: int | None
) -> Dealt:
    """Build or read the images and deal out the trials.  `seed` and `trials` override the scenarios'."""
    sets: dict[tuple[str, str], ImageSet] = {}
    for scenario in configuration.scenarios:
        for board in configuration.boards.boards:
            if scenario.runs_on(board):
                sets[scenario.name, board.name] = _provide(scenario, board, image_folder)
    return plan(configuration.scenarios, configuration.boards.boards, sets, seed=seed, trials=trials)


def _provide(scenario: Scenario, board: Board, folder: Path) -> ImageSet:
    try:
        return provide(scenario.images, board, folder)
    except ConfigError as error:
        place = scenario.places.get("images")
        line, column = (place.line, place.column) if place else (0, 0)
        raise ConfigError([Problem(file=scenario.file, line=line, column=column, key="images", reason=str(error))]) from error


def create_campaign(
    configuration: Configuration,
    folder: Path,
    *,
    seed: int | None,
    trials: int | None,
    clock: str,
    argv: Sequence[str],
    configs: Mapping[str, str],
) -> Campaign:
    """Write plan, provenance and image copies into the new campaign folder `folder`.

    Raises:
        ConfigError: an image cannot be built or read, nothing is left to run, or a board's flash would wear beyond its budget.
        StorageError: the folder exists or cannot be written.
    """
    with tempfile.TemporaryDirectory(prefix="rig-images-") as built:
        dealt = plan_trials(configuration, Path(built), seed=seed, trials=trials)
        if not dealt.trials and not dealt.aimed:
            raise ConfigError("the plan is empty; ask for at least one trial")
        check_wear(configuration, dealt, folder.parent)
        boards_file = Path(configuration.boards.file)
        calibrations = read_calibrations(boards_file)
        if calibrations:
            measured = calibration_file(boards_file)
            configs = {**configs, str(measured): measured.read_text(encoding="utf-8")}
        contents = Plan(
            campaign=folder.name,
            seed=configuration.scenarios[0].seed if seed is None else seed,
            clock=clock,
            module_folder=str(Path(configuration.boards.file).resolve().parent),
            bench=configuration.boards.bench,
            boards=tuple(
                replace(board, calibration=calibrations.get(board.name))
                for board in configuration.boards.boards
                if board.name in dealt.boards
            ),
            scenarios=tuple(
                ScenarioPlan(
                    name=scenario.name,
                    purpose=scenario.description,
                    accept=scenario.accept,
                    proves=scenario.proves,
                )
                for scenario in configuration.scenarios
            ),
            trials=dealt.trials,
            aimed=dealt.aimed,
        )
        provenance = collect_provenance(contents, argv=argv, configs=configs, source=Path.cwd())
        return Campaign.create(folder.parent, contents, provenance)
