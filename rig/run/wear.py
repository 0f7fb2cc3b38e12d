"""Refuses a campaign that would wear the flash of a board beyond its budget."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from rig.config import Configuration
from rig.errors import ConfigError, Problem
from rig.model import AimedPlan, Board, Trial
from rig.plan import Dealt
from rig.store.wear import spent_erases
from rig.wear import erases_of


def check_wear(configuration: Configuration, dealt: Dealt, reports: Path) -> None:
    """What the planned trials may add to what the campaigns under `reports` have spent must stay within the budget of every board.

    Raises:
        ConfigError: it does not; says what is spent, what would be added, and how many trials fit.
        StorageError: what has been spent cannot be read.
    """
    problems = [problem for board in configuration.boards.boards if (problem := _excess(configuration, dealt, board, reports)) is not None]
    if problems:
        raise ConfigError(problems)


def _excess(configuration: Configuration, dealt: Dealt, board: Board, reports: Path) -> Problem | None:
    if board.wear is None:
        return None
    spent = spent_erases(reports, board.name)
    sums = list(accumulate(erases_of(trial, board) for trial in _trials_on(board, dealt)))
    if not sums or spent + sums[-1] <= board.wear.erases:
        return None
    place = configuration.boards.wear_places[board.name]
    fit = bisect_right(sums, board.wear.erases - spent)
    return Problem(
        file=configuration.boards.file,
        line=place.line,
        column=place.column,
        key=place.key,
        reason=(
            f"board {board.name!r} may have each page erased {board.wear.erases} times: {spent} are spent (campaigns under {reports}), "
            f"and the {len(sums)} trials of this campaign may add {sums[-1]}"
        ),
        hint=f"{fit} of them fit: ask for fewer with --trials, or put in another unit under another name",
        excerpt=place.excerpt,
    )


def _trials_on(board: Board, dealt: Dealt) -> Iterator[Trial]:
    """The trials that `board` may have to run, in order; those of rounds as often as its turn may come."""
    yield from (trial for trial in dealt.trials if trial.board == board.name)
    for aimed in dealt.aimed:
        for template in aimed.templates:
            if template.board == board.name:
                turns = -(-aimed.budget // len(aimed.templates))
                yield from [_hardest(aimed, template)] * turns


def _hardest(aimed: AimedPlan, template: Trial) -> Trial:
    """A trial of the rounds with as many strokes as any of them has."""
    beside = max(aimed.beside, key=lambda faults: sum(fault.repeat for fault in faults), default=())
    return replace(template, fault=aimed.cut, further=beside, again=template.again if aimed.again else None)
