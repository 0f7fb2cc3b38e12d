"""How often a trial may erase the page of flash that it erases most: a bound from above, worked out before anything runs.  Pure.

The probe places images, an upload erases the slot that it goes to, an installation erases by its mode.  Each stroke of a fault may make
the device upload again, revert and install once more, and repeat an erase.  So a trial with one power cut is counted for about twice
of what it usually takes; the virtual bench, which counts erases page by page, never takes more (`tests_hil/test_wear.py`).
"""

from __future__ import annotations

import math

from rig.model import Board, Expectation, MemoryMap, Protocol, Trial

_PAGE = 4096
_PLACING = 2
"""By the probe, of a page of a slot: what is not blank is erased, and erased again where the new image is placed."""
_SWAP_BY_OFFSET, _SWAP_BY_MOVE = 2, 4
"""Of a page of a slot in one installation.  Moving is also taken for an overwrite, which the memory map does not tell from it."""
_SETTINGS = 10
"""Of the settings page in one update by Secure DFU, besides one for each object where the bootloader saves its progress."""


def erases_of(trial: Trial, board: Board) -> int:
    """How often `trial` may erase any page of `board`."""
    if trial.inspect:
        return 0
    again = trial.again is not None
    uploads = 1 + trial.strokes + again
    largest = max(image.size for image in (trial.old, trial.new, trial.again) if image is not None)
    if trial.protocol is Protocol.SECURE_DFU:
        return 1 + uploads * (_SETTINGS + math.ceil(largest / _PAGE))
    reverts = trial.expect is Expectation.ROLLED_BACK or not trial.confirm
    installations = 1 + 2 * trial.strokes + reverts + again
    return _PLACING + uploads + installations * _per_installation(board.memory, largest) + trial.strokes


def _per_installation(memory: MemoryMap, size: int) -> int:
    if memory.scratch is not None:
        return 2 * math.ceil((size + _PAGE) / memory.scratch.size) + 2
    return _SWAP_BY_OFFSET if memory.upload_offset else _SWAP_BY_MOVE
