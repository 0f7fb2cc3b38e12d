"""Which of the known-bad devices a board of a boards file can become: what `rig selfcheck` plants."""

from __future__ import annotations

from dataclasses import replace

from rig.model import Board, Protocol
from rig.virtual.defects import CATALOGUE, OPEN_PORT, KnownBad
from rig.virtual.world import check_model

_FREE = frozenset({"passkey", "watchdog_s", "other_images", "security"})
"""Needs that any value of the board's own satisfies."""


def plantable_on(board: Board) -> tuple[KnownBad, ...]:
    """The defects that `board` can have as it is, those first that stand first in the catalogue.

    Only an open debug port shows in a production unit, and only there.
    """
    return tuple(
        entry
        for entry in CATALOGUE.values()
        if (_is_of_units(entry) is board.production) and board.protocol in entry.plants and _fits(board, entry)
    )


def _is_of_units(entry: KnownBad) -> bool:
    return entry.plants.get(Protocol.SMP) == OPEN_PORT


def _fits(board: Board, entry: KnownBad) -> bool:
    """Whether the board's own options leave room for the defect, and its classes take it."""
    for plant in entry.plants[board.protocol]:
        section = board.model.get(plant.section, {})
        if any(name in section and section[name] != value for name, value in plant.needs.items() if name not in _FREE):
            return False
    return not check_model(replace(board, model={**board.model, "defects": [entry.id]}))
