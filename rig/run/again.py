"""Second looks at what is stored: judge a campaign's journals again, or run one of its trials again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rig import drivers
from rig.errors import StorageError
from rig.journal import read_journal
from rig.judge import judge
from rig.model import Judgement
from rig.run.single import run_one
from rig.store import Session


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
class Replay:
    """How a repetition ended.  `identical`: its journal equals the trial's byte for byte; None when the trial has none."""

    judgement: Judgement
    identical: bool | None
    folder: Path


def replay(session: Session, trial_id: str) -> Replay:
    """Run a trial once more, beside the campaign's numbers, and compare the journals."""
    campaign = session.campaign
    if campaign.plan.module_folder:
        drivers.search_modules_in(campaign.plan.module_folder)
    trial = campaign.trial(trial_id)
    board = next(board for board in campaign.plan.boards if board.name == trial.board)
    folders: list[Path] = []

    def begin(now):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - the type stands at run_one
        attempt = session.begin_replay(trial_id, now)
        folders.append(attempt.folder)
        return attempt

    judgement = run_one(
        trial,
        board,
        campaign.plan.bench,
        clock=campaign.plan.clock,
        begin=begin,
        image_path=campaign.image,
    )
    try:
        original = campaign.journal(trial_id)
    except StorageError:
        return Replay(judgement=judgement, identical=None, folder=folders[0])
    repeated = read_journal(folders[0] / "journal.jsonl")
    return Replay(judgement=judgement, identical=original.events == repeated.events, folder=folders[0])
