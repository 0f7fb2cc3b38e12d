"""The ledger of what campaigns have done to the flash of boards with a budget: one file for each campaign, beside its folder.

``reports/night-17`` has ``reports/.wear/night-17-20261122221500.json``::

    {"format": "rig.wear/1", "boards": {"dk1": 1320}}

It outlives the campaign.  Only the run that holds the campaign writes it, each time before a trial touches the board, so that what has
been judged is not counted again when the campaign goes on, and what was interrupted stays counted.
"""

from __future__ import annotations

import re
from pathlib import Path

from rig.errors import StorageError
from rig.model import Board, Trial
from rig.store import disk
from rig.store.campaign import Campaign
from rig.wear import erases_of

_FOLDER = ".wear"
_FORMAT = "rig.wear/1"


def spent_erases(reports: Path, board: str) -> int:
    """What all campaigns under `reports` have spent of the worst page of `board`.

    Raises:
        StorageError: a file of the ledger cannot be read.
    """
    return sum(_read(file).get(board, 0) for file in sorted((reports / _FOLDER).glob("*.json")))


class Ledger:
    """The entry of one campaign."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign.path
        created = re.sub(r"\D", "", campaign.provenance.created)[:14]
        self._file = campaign.path.absolute().parent / _FOLDER / f"{campaign.path.absolute().name}-{created}.json"

    def charge(self, trial: Trial, board: Board) -> None:
        """`trial` is about to run on `board`: write that down, durably.  Boards without a budget are not counted.

        Raises:
            StorageError: the file cannot be read or written.
        """
        if board.wear is None:
            return
        boards = _read(self._file) if self._file.exists() else {}
        boards[board.name] = boards.get(board.name, 0) + erases_of(trial, board)
        try:
            self._file.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise disk.refused(self._file.parent, error, campaign=self._campaign) from error
        disk.write_json(self._file, _FORMAT, {"boards": boards}, campaign=self._campaign)


def _read(file: Path) -> dict[str, int]:
    boards = disk.read_json(file, _FORMAT).get("boards")
    if not isinstance(boards, dict) or not all(isinstance(erases, int) for erases in boards.values()):
        raise StorageError(f"{file}: boards: numbers of erases by board are wanted")
    return boards
