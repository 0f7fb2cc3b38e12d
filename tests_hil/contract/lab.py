"""The boards of a lab that the contracts may use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rig import config, drivers
from rig.model import Board, InstrumentSpec


def boards_under_test(options: pytest.Config) -> tuple[tuple[Board, InstrumentSpec], ...]:
    """The boards of the file given by ``--boards`` that are marked ``sacrificial: true``, with its bench; none without that option."""
    path = options.getoption("--boards", default=None)
    if path is None:
        return ()
    file = config.load_boards(path)
    boards = tuple((board, file.bench) for board in file.boards if board.sacrificial and not board.production)
    if not boards:
        raise pytest.UsageError(f"{path}: no board is marked `sacrificial: true`; the contracts overwrite what they are given")
    return boards


@asynccontextmanager
async def standing(board: Board, bench: InstrumentSpec) -> AsyncIterator[None]:
    """The bench around `board`, where its kind has to be built first; its instruments are opened by whoever needs them."""
    if bench.driver in drivers.DRIVERS["bench"]:
        async with drivers.load("bench", bench, boards=[board], trial_seed=1):
            yield
    else:
        yield
