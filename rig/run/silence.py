"""Tells what disturbs the radio to stop, when a trial may have ended without doing so itself."""

from __future__ import annotations

import asyncio

from rig import drivers
from rig.errors import InstrumentError, StorageError
from rig.journal import read_journal
from rig.model import Board, InstrumentSpec, Trial
from rig.run.single import CLOCKS
from rig.store import Campaign, layout


def silence(board: Board, bench_spec: InstrumentSpec, *, clock: str) -> str | None:
    """Open and close the interferer around `board`, which makes it silent; why that cannot be done, or None.

    A bench that is built for each trial is silent when the next one begins.
    """
    if board.interferer is None or bench_spec.driver in drivers.DRIVERS["bench"]:
        return None
    with asyncio.Runner(loop_factory=drivers.resolve(CLOCKS[clock])) as runner:
        return runner.run(_silence(board.interferer, board.name))


async def _silence(spec: InstrumentSpec, owner: str) -> str | None:
    try:
        async with drivers.load("interferer", spec, owner=owner):
            return None
    except InstrumentError as error:
        return str(error)


def may_be_sending(campaign: Campaign, trial: Trial) -> bool:
    """Whether any attempt of a lost trial that interferes has come so far as to arm its faults."""
    for folder in (campaign.trial_folder(trial.id), *campaign.aside(trial.id)):
        try:
            events = read_journal(folder / layout.JOURNAL).events
        except StorageError:
            return True  # nobody knows what it did
        if any(event.kind == "fault.armed" for event in events):
            return True
    return False
