"""A campaign over the boards: each board runs its trials in order, the boards run side by side, and every trial is judged once."""

from __future__ import annotations

import multiprocessing
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from rig.errors import RigError, StorageError
from rig.model import Judgement, Outcome, Trial, Verdict
from rig.run.worker import Failure, Job, serve
from rig.store import Attempt, Session

_GRACE_S = 60.0
"""Wall-clock time beyond a trial's own limit after which its worker counts as hung."""
_MOST_DEATHS = 3
"""A worker that dies this often on one board is not restarted for it."""


class WorkersLost(RigError):
    """Workers keep dying; the bench is broken.  What was judged stands, and the campaign can be resumed."""


@dataclass(kw_only=True, eq=False)
class _Worker:
    """One process, and the trial that it runs."""

    process: BaseProcess
    connection: Connection
    job: Job | None = None
    deadline: float = 0.0


@dataclass(kw_only=True)
class CampaignRun:
    """Runs what is pending in `session`'s campaign on `jobs` worker processes.

    `progress` is called with each judgement as it is stored.
    """

    session: Session
    jobs: int
    progress: Callable[[Judgement], None]
    _lanes: dict[str, deque[Trial]] = field(default_factory=dict)
    _workers: list[_Worker] = field(default_factory=list)
    _deaths: int = 0

    def run(self) -> None:
        """Run every pending trial.

        Raises:
            StorageError: the disk refuses; `rig resume` continues.
            WorkersLost: the workers keep dying.
            KeyboardInterrupt: the operator stopped it; trials in progress are kept aside and planned again by a resume.
        """
        campaign = self.session.campaign
        for trial in campaign.pending_trials():
            self._lanes.setdefault(trial.board, deque()).append(trial)
        try:
            for _ in range(min(self.jobs, len(self._lanes))):
                self._workers.append(self._hire())
            while any(self._lanes.values()) or any(worker.job for worker in self._workers):
                self._dispatch()
                self._collect()
        finally:
            self._dismiss()

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
        """Give every idle worker the next trial of a board that nobody is using."""
        busy = {worker.job.board.name for worker in self._workers if worker.job}
        boards = {board.name: board for board in self.session.campaign.plan.boards}
        for worker in self._workers:
            free = [name for name, trials in self._lanes.items() if trials and name not in busy]
            if worker.job is not None or not free:
                continue
            lane = max(free, key=lambda name: len(self._lanes[name]))  # so that no board is left alone at the end
            trial = self._lanes[lane].popleft()
            folder, number = self.session.reserve(trial.id)
            worker.job = Job(trial=trial, board=boards[lane], folder=folder, attempt=number)
            worker.deadline = time.monotonic() + trial.limits.trial_s + _GRACE_S
            worker.connection.send(worker.job)
            busy.add(lane)

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
            answer: Judgement | Failure = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker, "the worker process died")
            return
        if isinstance(answer, Failure):
            raise StorageError(answer.reason)
        worker.job = None
        self._store(answer)

    def _replace(self, worker: _Worker, reason: str) -> None:
        """The trial is lost to the rig: record it as an ERROR and go on with a new process."""
        job, worker.job = worker.job, None
        assert job is not None
        worker.process.kill()
        worker.process.join()
        self._deaths += 1
        self._store(self._lost(job, f"{reason} (exit code {worker.process.exitcode})"))
        if self._deaths >= _MOST_DEATHS * len(self._workers):
            raise WorkersLost(f"worker processes died {self._deaths} times, last on {job.trial.id}; see `rig doctor`, then `rig resume`")
        self._workers[self._workers.index(worker)] = self._hire()

    def _lost(self, job: Job, reason: str) -> Judgement:
        """Close the dead worker's attempt, keeping what it had written aside."""
        folder, number = self.session.reserve(job.trial.id)
        with Attempt(folder, campaign=self.session.campaign.path, number=number, now=time.monotonic) as attempt:
            attempt.journal.emit("run", "rig.error", instrument="worker", reason=reason)
        return Judgement(
            trial=job.trial.id, verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason=f"worker: {reason}", because=(0,)
        )

    def _store(self, judgement: Judgement) -> None:
        self.session.record(judgement)
        self.progress(judgement)
