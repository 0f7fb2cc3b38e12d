"""Second looks at what is stored: judge a campaign's journals again, or run one of its trials again."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rig import drivers
from rig.errors import StorageError
from rig.journal import read_journal
from rig.judge import judge
from rig.model import Board, InstrumentSpec, Judgement, Trial
from rig.run.single import run_one
from rig.store import Attempt, Campaign, Session, layout


def judge_again(session: Session) -> list[tuple[Judgement, Judgement]]:
    """Judge every judged trial from its journal; returns (former, new) where they differ, and stores the new ones.

    A trial that the rig booked as lost without a usable journal keeps its judgement.
    """
    changed = []
    for record in session.campaign.records():
        if record.judgement is None:
            continue
        contents = session.campaign.journal(record.trial.id)
        new = judge(record.trial, contents.events)
        if new != record.judgement:
            session.record_again(new)
            changed.append((record.judgement, new))
    return changed


@dataclass(frozen=True, kw_only=True)
class Stand:
    """Where a trial is repeated: a board, and the bench and the clock that it belongs to."""

    board: Board
    bench: InstrumentSpec
    clock: str


@dataclass(frozen=True, kw_only=True)
class Replay:
    """How a repetition ended.  `identical`: its journal equals the trial's byte for byte; None when the trial has none, or was changed."""

    judgement: Judgement
    identical: bool | None
    folder: Path


def own_stand(campaign: Campaign, trial: Trial) -> Stand:
    """Where the campaign ran `trial`."""
    board = next(board for board in campaign.plan.boards if board.name == trial.board)
    return Stand(board=board, bench=campaign.plan.bench, clock=campaign.plan.clock)


def stands_for(trial: Trial, original: Board, others: Sequence[Board], bench: InstrumentSpec, clock: str) -> list[Stand]:
    """Those of `others` that can take the trial's images: the same SoC, protocol and memory map."""
    return [
        Stand(board=board, bench=bench, clock=clock)
        for board in others
        if (board.soc, board.protocol, board.memory, board.production) == (original.soc, trial.protocol, original.memory, trial.inspect)
    ]


def replay(session: Session, trial_id: str, *, stand: Stand | None = None, chance: int = 0) -> Replay:
    """Run a trial once more, beside the campaign's numbers, and compare the journals.

    `stand` is another board than the trial's own.  With `chance` above 0 everything on the bench that is random by nature falls out
    differently, in a way that this number alone decides.
    """
    trial = session.campaign.trial(trial_id)
    where = stand or own_stand(session.campaign, trial)
    again = replace(trial, board=where.board.name, in_place=where.board.in_place)
    if chance:
        again = replace(again, seed=random.Random(f"{trial.seed}/{chance}").getrandbits(48))
    judgement, folder = run_beside(session, again, where, lambda now: session.begin_replay(trial_id, now))
    if again != trial:
        return Replay(judgement=judgement, identical=None, folder=folder)
    try:
        original = session.campaign.journal(trial_id)
    except StorageError:
        return Replay(judgement=judgement, identical=None, folder=folder)
    repeated = read_journal(folder / layout.JOURNAL)
    return Replay(judgement=judgement, identical=original.events == repeated.events, folder=folder)


def run_beside(
    session: Session, trial: Trial, stand: Stand, begin: Callable[[Callable[[], float]], Attempt]
) -> tuple[Judgement, Path]:
    """Run `trial` where it does not count, in the attempt that `begin` makes; returns the judgement and the attempt's folder."""
    campaign = session.campaign
    if campaign.plan.module_folder:
        drivers.search_modules_in(campaign.plan.module_folder)
    folders: list[Path] = []

    def remember(now: Callable[[], float]) -> Attempt:
        attempt = begin(now)
        folders.append(attempt.folder)
        return attempt

    session.charge(trial, stand.board)
    judgement = run_one(trial, stand.board, stand.bench, clock=stand.clock, begin=remember, image_path=campaign.image)
    return judgement, folders[0]
