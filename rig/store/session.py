"""The one run that may write to a campaign: begins attempts, records judgements, keeps the database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from rig.errors import StorageError
from rig.model import Board, Judgement, Trial
from rig.store import database, disk, index, layout
from rig.store.attempt import Attempt
from rig.store.campaign import Campaign
from rig.store.codec import to_json
from rig.store.lock import CampaignLock
from rig.store.rebuild import align_database
from rig.store.records import Recovery, Round
from rig.store.wear import Ledger


class Session:
    """Holds the campaign's lock and its database from construction to `close`.

    What lies in the folder is taken for true: on entering, the database is brought into line with it, and a database that SQLite
    cannot read is kept aside and made anew.  `notes` says in words what had to be done.

    Raises:
        StorageError: another run holds the campaign, or the disk refuses.
    """

    def __init__(self, campaign: Campaign) -> None:
        self.campaign = campaign
        self._ledger = Ledger(campaign)
        self._lock = CampaignLock(campaign.path / layout.LOCK, campaign=campaign.path)
        try:
            self.notes: tuple[str, ...] = tuple(align_database(campaign))
            self._writer = database.Writer(campaign.path / layout.DATABASE)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def begin(self, trial_id: str, now: Callable[[], float]) -> Attempt:
        """Start an attempt at a trial in this process; raises what `reserve` does."""
        folder, number = self.reserve(trial_id)
        trial = self.campaign.trial(trial_id)
        self.charge(trial, next(board for board in self.campaign.plan.boards if board.name == trial.board))
        return Attempt(folder, campaign=self.campaign.path, number=number, now=now)

    def reserve(self, trial_id: str) -> tuple[Path, int]:
        """Mark a trial as running, durably, and return the folder that its `Attempt` shall make, and the attempt's number.

        An earlier attempt that was interrupted is kept aside as ``trials/ID.attempt-N``.

        Raises:
            StorageError: the trial is not in the plan, has been judged already, or the disk refuses.
        """
        record = self.campaign.record(trial_id)
        if record.judgement is not None:
            raise StorageError(f"{self.campaign.path}: trial {trial_id} has been judged already")
        self._writer.write(database.statements([*database.rows_of(record), database.running_row(record)]))
        folder = self.campaign.trial_folder(trial_id)
        if folder.exists():
            self._move(folder, folder.with_name(f"{folder.name}{layout.ASIDE}{record.interrupted}"))
        return folder, record.interrupted + 1

    def charge(self, trial: Trial, board: Board) -> None:
        """Count what `trial` may wear of the flash of `board`, durably, before it runs there.

        Raises:
            StorageError: the disk refuses.
        """
        self._ledger.charge(trial, board)

    def add_round(self, round_: Round) -> None:
        """Take the trials of a round into the plan, durably, before the first of them runs.

        Raises:
            StorageError: a trial has a name that is taken, or the disk refuses.
        """
        begin = len(self.campaign.plan.trials)
        self.campaign.add_round(round_)
        rows = [index.planned(trial, begin + number) for number, trial in enumerate(round_.trials)]
        self._writer.write(index.insertions(rows))

    def begin_replay(self, trial_id: str, now: Callable[[], float]) -> Attempt:
        """Start a repetition of a trial, apart from the campaign's numbers: a new folder under ``replays/``.

        Raises:
            StorageError: the trial is not in the plan, or the disk refuses.
        """
        return self._begin_beside(trial_id, now, layout.REPLAYS, layout.REPLAY)

    def begin_shrink(self, trial_id: str, now: Callable[[], float]) -> Attempt:
        """Start a try with a smaller programme than the trial's, as `begin_replay` does, under ``shrinks/``."""
        return self._begin_beside(trial_id, now, layout.SHRINKS, layout.SHRINK)

    def _begin_beside(self, trial_id: str, now: Callable[[], float], folder: str, mark: str) -> Attempt:
        self.campaign.trial(trial_id)
        beside = self.campaign.path / folder
        number = 1 + max((int(found.name.rpartition("-")[2]) for found in beside.glob(f"{trial_id}{mark}*")), default=0)
        return Attempt(beside / f"{trial_id}{mark}{number}", campaign=self.campaign.path, number=number, now=now)

    def record(self, judgement: Judgement) -> None:
        """Store a judgement, durably.  From now on the trial is no longer pending.

        Raises:
            StorageError: the attempt is not closed, the trial has a judgement already, or the disk refuses.
        """
        folder = self.campaign.trial_folder(judgement.trial)
        self.campaign.trial(judgement.trial)
        if not (folder / layout.EVIDENCE).exists():
            raise StorageError(f"{folder}: cannot be judged before its attempt has been closed")
        if (folder / layout.JUDGEMENT).exists():
            raise StorageError(f"{folder}: has been judged already")
        self._store(folder, judgement)

    def record_recovery(self, recovery: Recovery) -> None:
        """Store what was done about a board, durably, as ``recoveries/NUMBER-BOARD.json``.

        Raises:
            StorageError: the disk refuses.
        """
        folder = self.campaign.path / layout.RECOVERIES
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise disk.refused(folder, error, campaign=self.campaign.path) from error
        file = folder / f"{recovery.number:04d}-{recovery.board}.json"
        disk.write_json(file, layout.RECOVERY_FORMAT, to_json(recovery), campaign=self.campaign.path)

    def record_again(self, judgement: Judgement) -> None:
        """Replace a judgement by another one of the same evidence; the former stays as ``judgement-N.json``.

        Raises:
            StorageError: the trial has no judgement yet, or the disk refuses.
        """
        folder = self.campaign.trial_folder(judgement.trial)
        former = folder / layout.JUDGEMENT
        if self.campaign.record(judgement.trial).judgement is None:
            raise StorageError(f"{folder}: has not been judged yet")
        name = Path(layout.JUDGEMENT)
        number = 1 + len(list(folder.glob(f"{name.stem}-*{name.suffix}")))
        disk.write_whole(folder / f"{name.stem}-{number}{name.suffix}", former.read_bytes(), campaign=self.campaign.path)
        self._store(folder, judgement)

    def close(self) -> None:
        """Commit what is left and let the campaign go.

        Raises:
            StorageError: the database could not be written; the files stand, and the next session makes up for it.
        """
        try:
            self._writer.close()
        finally:
            self._lock.close()

    def _store(self, folder: Path, judgement: Judgement) -> None:
        disk.write_json(folder / layout.JUDGEMENT, layout.JUDGEMENT_FORMAT, to_json(judgement), campaign=self.campaign.path)
        # Not waited for: the file just written is the record, and the next session repairs a database that lags behind.
        self._writer.post(database.statements(database.rows_of(self.campaign.record(judgement.trial))))

    def _move(self, source: Path, target: Path) -> None:
        try:
            source.replace(target)
            disk.sync_folder(target.parent)
        except OSError as error:
            raise disk.refused(source, error, campaign=self.campaign.path) from error
