"""A process that runs trials for the campaign and can die without taking the campaign with it.

A hung vendor library, a segmentation fault or `kill -9` costs the trial that was running, and that trial is the rig's loss, not the
device's.
"""

from __future__ import annotations

import logging
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

from rig import drivers
from rig.errors import RigError
from rig.model import Board, Judgement, Trial
from rig.run.ladder import climb
from rig.run.single import run_one
from rig.store import Attempt, Campaign


@dataclass(frozen=True, kw_only=True)
class Job:
    """One trial to run, and where its evidence goes."""

    trial: Trial
    board: Board
    folder: Path
    attempt: int


@dataclass(frozen=True, kw_only=True)
class Rescue:
    """A board whose recovery ladder is to be climbed, on the bench that the trial with this seed met."""

    board: Board
    seed: int


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The worker could not do its job, and why.  `fatal`: no further trial can be recorded either."""

    reason: str
    fatal: bool


def serve(connection: Connection, campaign_path: Path) -> None:
    """Take work from `connection` until it closes: a `Job` is answered with a `Judgement` or a `Failure`, a `Rescue` with a `Climb`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the campaign decides what an interrupt means
    logging.getLogger().addHandler(logging.NullHandler())  # what counts is in the journal; a library's warnings would litter the terminal
    campaign = Campaign.open(campaign_path)
    if campaign.plan.module_folder:
        drivers.search_modules_in(campaign.plan.module_folder)
    while True:
        try:
            work: Job | Rescue = connection.recv()
        except EOFError:
            return
        if isinstance(work, Rescue):
            connection.send(climb(work.board, campaign.plan.bench, seed=work.seed, clock=campaign.plan.clock))
        else:
            connection.send(_answer(campaign, work))


def _answer(campaign: Campaign, job: Job) -> Judgement | Failure:
    try:
        return run_one(
            job.trial,
            job.board,
            campaign.plan.bench,
            clock=campaign.plan.clock,
            begin=lambda now: Attempt(job.folder, campaign=campaign.path, number=job.attempt, now=now),
            image_path=campaign.image,
        )
    except (RigError, OSError) as error:
        return Failure(reason=str(error), fatal=True)
