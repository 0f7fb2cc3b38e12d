"""The calibration file that lies beside a boards file: what `rig selftest` measured, board by board.

``lab.yaml`` has ``lab.calibration.json``::

    {"format": "rig.calibration/1", "boards": {"dk1": {"measured": "…", "cut_latency_s": 0.0021, …}}}

The fields of an entry are those of `rig.model.Calibration`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rig.model import Calibration
from rig.store import disk
from rig.store.codec import from_json, to_json

_FORMAT = "rig.calibration/1"
_SUFFIX = ".calibration.json"


def calibration_file(boards_file: Path) -> Path:
    """Where the calibrations of the boards of `boards_file` lie."""
    return boards_file.with_name(boards_file.stem + _SUFFIX)


def read_calibrations(boards_file: Path) -> Mapping[str, Calibration]:
    """The calibrations by board; empty when nothing has been measured yet.

    Raises:
        StorageError: the file cannot be read, or is of another version.
    """
    file = calibration_file(boards_file)
    if not file.exists():
        return {}
    entries = disk.read_json(file, _FORMAT)["boards"]
    return {name: from_json(Calibration, entry, file=f"{file}: {name}") for name, entry in entries.items()}


def write_calibration(boards_file: Path, board: str, calibration: Calibration) -> Path:
    """Put the calibration of `board` into the file, beside those of the others; returns the file.

    Raises:
        StorageError: the file cannot be read or written.
    """
    file = calibration_file(boards_file)
    entries = {**read_calibrations(boards_file), board: calibration}
    disk.write_json(file, _FORMAT, {"boards": {name: to_json(entry) for name, entry in entries.items()}}, campaign=file.parent)
    return file
