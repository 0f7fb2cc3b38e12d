"""A campaign over the boards: each board runs its trials in order, the boards run side by side, and every trial is judged once."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Self

from rig.bench import Around, needed
from rig.errors import StorageError
from rig.model import Judgement, Outcome, Trial, Verdict
from rig.run.lane import Lane, lanes_of
from rig.run.silence import may_be_sending, silence
from rig.run.turns import Claim, claim_of, whose_turn
from rig.run.worker import Failure, Job, Rescue, serve
from rig.store import Attempt, Climb, Recovery, RungResult, Session

_GRACE_S = 60.0
"""Wall-clock time beyond a trial's own limit after which its worker counts as hung."""
_RESCUE_S = 300.0
"""Wall-clock time that a recovery ladder gets on top of its patience."""


@dataclass(kw_only=True, eq=False)
class _Worker:
    """One process, what it works on, and what that needs for itself."""

    process: BaseProcess
    connection: Connection
    job: Job | Rescue | None = None
    claim: Claim = field(default_factory=Claim)
    deadline: float = 0.0


@dataclass(kw_only=True)
class CampaignRun:
    """Runs what is pending in `session`'s campaign on `jobs` worker processes, once or, with `with`, as often as something is.

    The processes stay from one `run` to the next, because a new one needs longer to begin than for many a trial.

    After a lost trial (verdict ERROR), or a run of inconclusive ones where its policy says so, the board's recovery ladder is climbed;
    a board that it does not help, or that has lost too many trials in a row, runs no more of them.  The others go on.  `progress` is
    called with each judgement as it is stored, `rescued` with each recovery, `waits` with the boards that wait for what another one
    uses, whenever they change, and `warn` with what the operator has to know.
    """

    session: Session
    jobs: int
    progress: Callable[[Judgement], None]
    has_seen_enough: Callable[[Judgement], bool] = lambda _judgement: False
    """Whether the board needs no further trials after this one; those that remain stay planned."""
    rescued: Callable[[Recovery], None] = lambda _recovery: None
    waits: Callable[[Mapping[str, str]], None] = lambda _waiting: None
    warn: Callable[[str], None] = lambda _text: None
    _lanes: dict[str, Lane] = field(default_factory=dict)
    _workers: list[_Worker] = field(default_factory=list)
    _recoveries: int = 0
    _waiting: dict[str, str] = field(default_factory=dict)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Send the processes home."""
        self._dismiss()

    def run(self) -> None:
        """Run every pending trial, but those of boards that are quarantined on the way.

        Raises:
            StorageError: the disk refuses; `rig resume` continues.
            KeyboardInterrupt: the operator stopped it; trials in progress are kept aside and planned again by a resume.
        """
        self._lanes = lanes_of(self.session.campaign)
        self._recoveries = len(self.session.campaign.recoveries())
        if trouble := self._silence():
            self.warn(f"{trouble}; whatever an interrupted trial has left sending is sending still")
        self._workers = [worker for worker in self._workers if worker.process.is_alive()]
        while len(self._workers) < min(self.jobs, len(self._lanes)):
            self._workers.append(self._hire())
        while any(lane.trials for lane in self._lanes.values()) or any(worker.job for worker in self._workers):
            self._dispatch()
            self._collect()

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
        """Give every idle worker the next thing to do on a board that nobody is using, as far as what boards share allows it."""
        busy = {worker.job.board.name: worker.claim for worker in self._workers if worker.job}
        idle = [worker for worker in self._workers if worker.job is None]
        free = [lane for name, lane in self._lanes.items() if lane.trials and name not in busy]
        turn, waiting = whose_turn(free, busy.values(), most=len(idle))
        for worker, lane in zip(idle, turn, strict=False):
            worker.claim = claim_of(lane)
            worker.job, limit_s = self._next(lane)
            worker.deadline = time.monotonic() + limit_s + _GRACE_S
            worker.connection.send(worker.job)
        if waiting != self._waiting:
            self._waiting = waiting
            self.waits(waiting)

    def _next(self, lane: Lane) -> tuple[Job | Rescue, float]:
        """What is to be done on the board of `lane`, and in how many seconds at most."""
        if lane.distress is not None:
            met_by = self.session.campaign.trial(lane.after) if lane.after else lane.trials[0]
            return Rescue(board=lane.board, seed=met_by.seed), lane.board.recovery.patience_s + _RESCUE_S
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
            lane = self._lanes[job.board.name]
            self._conclude_rescue(lane, answer, quarantine=lane.quarantine_after(answer))
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
            climb = Climb(rungs=(RungResult(rung=job.board.recovery.rungs[0], trouble=f"worker: {reason}"),))
            self._conclude_rescue(lane, climb, quarantine=lane.quarantine_after(climb))
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

    def _store(self, judgement: Judgement, lane: Lane) -> None:
        self.session.record(judgement)
        self.progress(judgement)
        if self.has_seen_enough(judgement):
            lane.trials.clear()
        trial = self.session.campaign.trial(judgement.trial)
        lane.count(trial, judgement)
        if judgement.verdict is Verdict.ERROR and Around.INTERFERER in needed(lane.board, trial.faults):
            self._silence_after(trial)

    # ---------------------------------------------------------------------------------------------------------- silence
    def _silence(self) -> str | None:
        """Make the interferer silent that the boards share; why that cannot be done, or None."""
        plan = self.session.campaign.plan
        board = next((board for board in plan.boards if board.interferer is not None), None)
        return silence(board, plan.bench, clock=plan.clock) if board is not None else None

    def _silence_after(self, trial: Trial) -> None:
        """A trial that interferes was lost: when nobody can make sure of silence, no trial would say anything about a board."""
        trouble = self._silence()
        if trouble is None or not may_be_sending(self.session.campaign, trial):
            return
        for lane in self._lanes.values():
            if lane.trials:
                lane.after, lane.distress = trial.id, f"trial {trial.id} was lost while it interfered"
                self._conclude_rescue(lane, Climb(rungs=()), quarantine=f"the interferer may still be sending: {trouble}")

    # ---------------------------------------------------------------------------------------------------------- rescues
    def _conclude_rescue(self, lane: Lane, climb: Climb, *, quarantine: str | None) -> None:
        """Record what came of the ladder; a board that is not helped, or not for long, runs no more trials."""
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
        lane.conclude(quarantine)
        if quarantine is not None:
            lane.trials.clear()
