"""A campaign over the boards: each board runs its trials in order, the boards run side by side, and every trial is judged once."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from rig.errors import StorageError
from rig.model import Board, Judgement, Outcome, Trial, Verdict
from rig.run.worker import Failure, Job, Rescue, serve
from rig.store import Attempt, Climb, Recovery, RungResult, Session

_GRACE_S = 60.0
"""Wall-clock time beyond a trial's own limit after which its worker counts as hung."""
_RESCUE_S = 300.0
"""Wall-clock time that a recovery ladder gets on top of its patience."""


@dataclass(kw_only=True)
class _Lane:
    """One board's trials that are still to be run, and how it fares.  `distress` is why its ladder has to be climbed first."""

    board: Board
    trials: deque[Trial] = field(default_factory=deque)
    lost_in_a_row: int = 0
    after: str = ""
    distress: str | None = None


@dataclass(kw_only=True, eq=False)
class _Worker:
    """One process, and what it works on."""

    process: BaseProcess
    connection: Connection
    job: Job | Rescue | None = None
    deadline: float = 0.0


@dataclass(kw_only=True)
class CampaignRun:
    """Runs what is pending in `session`'s campaign on `jobs` worker processes.

    After a lost trial (verdict ERROR) the board's recovery ladder is climbed; a board that it does not help, or that has lost too many
    trials in a row, runs no more of them.  The others go on.  `progress` is called with each judgement as it is stored, `rescued` with
    each recovery.
    """

    session: Session
    jobs: int
    progress: Callable[[Judgement], None]
    has_seen_enough: Callable[[Judgement], bool] = lambda _judgement: False
    """Whether the board needs no further trials after this one; those that remain stay planned."""
    rescued: Callable[[Recovery], None] = lambda _recovery: None
    _lanes: dict[str, _Lane] = field(default_factory=dict)
    _workers: list[_Worker] = field(default_factory=list)
    _recoveries: int = 0

    def run(self) -> None:
        """Run every pending trial, but those of boards that are quarantined on the way.

        Raises:
            StorageError: the disk refuses; `rig resume` continues.
            KeyboardInterrupt: the operator stopped it; trials in progress are kept aside and planned again by a resume.
        """
        self._plan_lanes()
        try:
            for _ in range(min(self.jobs, len(self._lanes))):
                self._workers.append(self._hire())
            while any(lane.trials for lane in self._lanes.values()) or any(worker.job for worker in self._workers):
                self._dispatch()
                self._collect()
        finally:
            self._dismiss()

    def _plan_lanes(self) -> None:
        """A lane for each board that has trials left; one that was quarantined has to be rescued first."""
        campaign = self.session.campaign
        boards = {board.name: board for board in campaign.plan.boards}
        self._recoveries = len(campaign.recoveries())
        quarantined = campaign.quarantined()
        for trial in campaign.pending_trials():
            if trial.board not in self._lanes:
                former = quarantined.get(trial.board)
                self._lanes[trial.board] = _Lane(board=boards[trial.board], distress=former.quarantine if former else None)
            self._lanes[trial.board].trials.append(trial)

    # --------------------------------------------------------------------------------------------------------- workers
    def _hire(self) -> _Worker:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs, self.session.campaign.path), daemon=True, name="rig worker")
        process.start()
        theirs.close()
        return _Worker(process=process, connection=ours)

    def _dismiss(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            if worker.job is not None:
                worker.process.kill()
            worker.process.join()
        self._workers.clear()

    def _dispatch(self) -> None:
        """Give every idle worker the next thing to do on a board that nobody is using."""
        busy = {worker.job.board.name for worker in self._workers if worker.job}
        for worker in self._workers:
            free = [lane for name, lane in self._lanes.items() if lane.trials and name not in busy]
            if worker.job is not None or not free:
                continue
            lane = max(free, key=lambda lane: len(lane.trials))  # so that no board is left alone at the end
            worker.job, limit_s = self._next(lane)
            worker.deadline = time.monotonic() + limit_s + _GRACE_S
            worker.connection.send(worker.job)
            busy.add(lane.board.name)

    def _next(self, lane: _Lane) -> tuple[Job | Rescue, float]:
        """What is to be done on the board of `lane`, and in how many seconds at most."""
        if lane.distress is not None:
            return Rescue(board=lane.board), lane.board.recovery.patience_s + _RESCUE_S
        trial = lane.trials.popleft()
        folder, number = self.session.reserve(trial.id)
        self.session.charge(trial, lane.board)
        return Job(trial=trial, board=lane.board, folder=folder, attempt=number), trial.limits.trial_s

    def _collect(self) -> None:
        """Wait for the next answer, death or overdue worker, and deal with it."""
        working = [worker for worker in self._workers if worker.job]
        until = min(worker.deadline for worker in working) - time.monotonic()
        ready = wait([worker.connection for worker in working], timeout=max(0.0, until))
        for worker in working:
            if worker.connection in ready:
                self._take_answer(worker)
            elif time.monotonic() >= worker.deadline:
                self._replace(worker, "the worker hung beyond the trial's limit and was killed")

    def _take_answer(self, worker: _Worker) -> None:
        try:
            answer: Judgement | Climb | Failure = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker, "the worker process died")
            return
        if isinstance(answer, Failure):
            raise StorageError(answer.reason)
        job, worker.job = worker.job, None
        assert job is not None
        if isinstance(answer, Climb):
            self._conclude_rescue(self._lanes[job.board.name], answer)
        else:
            self._store(answer, self._lanes[job.board.name])

    def _replace(self, worker: _Worker, reason: str) -> None:
        """What the process was doing is lost to the rig: record that, and go on with a new process."""
        job, worker.job = worker.job, None
        assert job is not None
        worker.process.kill()
        worker.process.join()
        self._workers[self._workers.index(worker)] = self._hire()
        reason = f"{reason} (exit code {worker.process.exitcode})"
        lane = self._lanes[job.board.name]
        if isinstance(job, Rescue):
            self._conclude_rescue(lane, Climb(rungs=(RungResult(rung=job.board.recovery.rungs[0], trouble=f"worker: {reason}"),)))
        else:
            self._store(self._lost(job, reason), lane)

    def _lost(self, job: Job, reason: str) -> Judgement:
        """Close the dead worker's attempt, keeping what it had written aside."""
        folder, number = self.session.reserve(job.trial.id)
        with Attempt(folder, campaign=self.session.campaign.path, number=number, now=time.monotonic) as attempt:
            attempt.journal.emit("run", "rig.error", instrument="worker", reason=reason)
        return Judgement(
            trial=job.trial.id, verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason=f"worker: {reason}", because=(0,)
        )

    def _store(self, judgement: Judgement, lane: _Lane) -> None:
        self.session.record(judgement)
        self.progress(judgement)
        if self.has_seen_enough(judgement):
            lane.trials.clear()
        if judgement.verdict is not Verdict.ERROR:
            lane.lost_in_a_row = 0
            return
        lane.lost_in_a_row += 1
        if lane.trials:
            lane.after, lane.distress = judgement.trial, judgement.reason

    # ---------------------------------------------------------------------------------------------------------- rescues
    def _conclude_rescue(self, lane: _Lane, climb: Climb) -> None:
        """Record what came of the ladder; a board that is not helped, or not for long, runs no more trials."""
        policy = lane.board.recovery
        quarantine = None
        if not climb.helped:
            quarantine = (climb.rungs[-1].trouble if climb.rungs else lane.distress) or ""
        elif lane.lost_in_a_row >= policy.errors_in_a_row:
            quarantine = f"{lane.lost_in_a_row} trials in a row were lost although the ladder helped each time; the last: {lane.distress}"
        self._recoveries += 1
        recovery = Recovery(
            number=self._recoveries,
            board=lane.board.name,
            after=lane.after,
            cause=lane.distress or "",
            climb=climb,
            quarantine=quarantine,
            not_run=tuple(trial.id for trial in lane.trials) if quarantine is not None else (),
        )
        self.session.record_recovery(recovery)
        self.rescued(recovery)
        lane.distress = None
        if quarantine is not None:
            lane.trials.clear()
