"""Boards and scenarios together: do the boards exist, do the images fit them, can they see what the faults wait for?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rig.config import capabilities
from rig.config.boards import BoardsFile, known_board
from rig.errors import ConfigError, Problem
from rig.formats import compatibility, mcuboot_image
from rig.formats.soc import PAGE_SIZE
from rig.model import Board, Protocol
from rig.scenario import ImageBuild, ImageChoice, ImagePath, Images, ImageSource, Scenario


def check(boards: BoardsFile, scenarios: tuple[Scenario, ...]) -> None:
    """Raise `ConfigError` with everything that is wrong with `scenarios` on `boards`; touch nothing."""
    problems: list[Problem] = []
    for scenario in scenarios:
        found = list(_selection(scenario, boards))
        candidates = [board for board in boards.boards if scenario.runs_on(board)]
        if not candidates and not found:
            reason = f"no board of {boards.file} can run this scenario: it needs protocol {scenario.protocol}"
            if scenario.boards.socs:
                reason += f" and {' or '.join(scenario.boards.socs)}"
            found.append(_problem(scenario, "boards", "scenario", reason=reason))
        found += _staging(scenario)
        for board in candidates:
            found += [*_coverage(scenario, board), *_images(scenario, board), *_capability(scenario, board)]
        problems += dict.fromkeys(found)
    if problems:
        raise ConfigError(problems)


def _problem(scenario: Scenario, *keys: str, reason: str, hint: str = "") -> Problem:
    """A problem at the first of `keys` that the file has."""
    key = next((key for key in keys if key in scenario.places), keys[-1])
    place = scenario.places.get(key)
    if place is None:
        return Problem(file=scenario.file, key=key, reason=reason, hint=hint)
    return Problem(
        file=scenario.file, line=place.line, column=place.column, key=key, reason=reason, hint=hint, excerpt=place.excerpt
    )


def _selection(scenario: Scenario, boards: BoardsFile) -> Iterator[Problem]:
    by_name = {board.name: board for board in boards.boards}
    for index, name in enumerate(scenario.boards.names):
        board = by_name.get(name)
        if board is None:
            reason = f"there is no board {name!r} in {boards.file}"
            yield _problem(scenario, f"boards[{index}]", reason=reason, hint=known_board(name, boards))
        elif board.protocol is not scenario.protocol:
            reason = f"board {name!r} takes updates by {board.protocol}, the scenario by {scenario.protocol}"
            yield _problem(scenario, f"boards[{index}]", reason=reason)


def _staging(scenario: Scenario) -> Iterator[Problem]:
    """The probe can place only what it knows, and what the device could have come to by itself."""
    if scenario.staged and scenario.staging_obstacle:
        yield _problem(scenario, "update.staged", reason=f"nothing can be staged: {scenario.staging_obstacle}", hint="leave it out")


def _coverage(scenario: Scenario, board: Board) -> Iterator[Problem]:
    """Every board needs the images: a scenario with one image per SoC covers the SoCs of the boards that it selects."""
    for role, choice in _roles(scenario.images):
        if choice.source(board.soc) is None:
            reason = f"has nothing for {board.soc}, which board {board.name!r} carries"
            yield _problem(scenario, f"images.{role}", reason=reason, hint="add it, or restrict the scenario with `boards:`")


def _capability(scenario: Scenario, board: Board) -> Iterator[Problem]:
    """What the faults need and the board's instruments do not offer."""
    for lack in capabilities.lacking(scenario, board):
        yield _problem(scenario, *lack.keys, reason=lack.reason, hint=lack.hint)


def _roles(images: Images) -> Iterator[tuple[str, ImageChoice]]:
    yield "old", images.old
    yield "new", images.new
    if images.again is not None:
        yield "again", images.again


# --------------------------------------------------------------------------------------------------------------- images
def _images(scenario: Scenario, board: Board) -> Iterator[Problem]:
    for role, choice in _roles(scenario.images):
        source = choice.source(board.soc)
        if source is None:
            continue
        key = f"images.{role}" + ("" if choice.every is not None else f".{board.soc}")
        if scenario.protocol is Protocol.SECURE_DFU:
            if isinstance(source, ImageBuild) and source.size > board.memory.primary.size:
                too_large = f"{source.size} bytes do not fit: board {board.name!r} has room for {board.memory.primary.size}"
                yield _problem(scenario, f"{key}.build.size", key, reason=too_large)
            continue
        if isinstance(source, ImageBuild):
            size = mcuboot_image.BUILT_HEADER_SIZE + source.size + mcuboot_image.BUILT_TLV_SIZE_MAX
            if reason := _too_large(size, role, board):
                yield _problem(scenario, f"{key}.build.size", key, reason=reason)
        else:
            for reason in _unfit(source, role, board):
                yield _problem(scenario, f"{key}.file", key, reason=reason)


def _too_large(size: int, role: str, board: Board) -> str | None:
    """Why an image of `size` bytes has no room.  The last page of each slot holds the bootloader's trailer."""
    memory = board.memory
    room = {"primary": memory.primary.size - PAGE_SIZE}
    if role != "old":
        room["secondary"] = memory.secondary.size - PAGE_SIZE - memory.upload_offset
    slot = min(room, key=lambda name: room[name])
    if size <= room[slot]:
        return None
    return f"{size} bytes do not fit: the {slot} slot of board {board.name!r} has room for {room[slot]}"


def _unfit(source: ImageSource, role: str, board: Board) -> Iterator[str]:
    """Why the file cannot run on `board`: too large, for another SoC, or linked to another place."""
    assert isinstance(source, ImagePath)
    try:
        data = Path(source.path).read_bytes()
        image = mcuboot_image.parse(data)
    except (OSError, ConfigError) as error:
        yield f"{source.path}: {error}"
        return
    if reason := _too_large(len(data), role, board):
        yield reason
    slot = board.memory.primary
    if reason := compatibility.unfit(data, image, soc=board.soc, slot_start=slot.start, slot_end=slot.end):
        yield f"{source.path}: {reason}"
