"""One board's way through a campaign: its trials in order, and what its recovery policy makes of their verdicts.

Everything that the policy goes by can be read back from the campaign's folder, so that a resumed campaign goes on where the former
one stopped: in the middle of a run of lost trials, or before a ladder that was still to be climbed.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rig.bench import needed
from rig.model import Board, Judgement, Trial, Verdict
from rig.store import Campaign, Climb

_ABOUT_THE_DEVICE = (Verdict.PASS, Verdict.FAIL)
"""These end every run of trials that say nothing about the device."""


@dataclass(kw_only=True)
class Lane:
    """One board's trials that are still to be run, and how it fares.

    `distress` is why its ladder has to be climbed before the next trial, `after` the trial that brought it about, empty when that was
    an earlier session's.
    """

    board: Board
    trials: deque[Trial] = field(default_factory=deque)
    lost_in_a_row: int = 0
    inconclusive_in_a_row: int = 0
    after: str = ""
    distress: str | None = None

    def count(self, trial: Trial, judgement: Judgement) -> None:
        """Take in what became of `trial`; a ladder is only climbed for trials that are still to come.

        A lost trial that uses what only disturbs the radio counts for nothing: that instrument is none of the board's.
        """
        verdict, limit = judgement.verdict, self.board.recovery.after_inconclusive
        if verdict is not Verdict.ERROR:
            self.lost_in_a_row = 0
        elif not needed(self.board, trial.faults) - needed(self.board, ()):
            self.lost_in_a_row += 1
        self.inconclusive_in_a_row = self.inconclusive_in_a_row + 1 if verdict is Verdict.INCONCLUSIVE else 0
        if not self.trials:
            return
        if verdict is Verdict.ERROR:
            self.after, self.distress = judgement.trial, judgement.reason
        elif limit is not None and self.inconclusive_in_a_row >= limit:
            number = self.inconclusive_in_a_row
            self.after, self.distress = judgement.trial, f"{number} trials in a row were inconclusive; the last: {judgement.reason}"

    def quarantine_after(self, climb: Climb) -> str | None:
        """Why the board may run no more trials after this ladder; None when it may."""
        if not climb.helped:
            return (climb.rungs[-1].trouble if climb.rungs else self.distress) or ""
        if self.lost_in_a_row >= self.board.recovery.errors_in_a_row:
            return f"{self.lost_in_a_row} trials in a row were lost although the ladder helped each time; the last: {self.distress}"
        return None

    def conclude(self, quarantine: str | None) -> None:
        """The ladder has been climbed.  Whoever lets a quarantined board in again gives it a fresh start."""
        self.after, self.distress, self.inconclusive_in_a_row = "", None, 0
        if quarantine is not None:
            self.lost_in_a_row = 0


def lanes_of(campaign: Campaign) -> dict[str, Lane]:
    """A lane for each board that has trials left, with its policy's counts as the stored results leave them."""
    boards = {board.name: board for board in campaign.plan.boards}
    pending = campaign.pending_trials()
    lanes: dict[str, Lane] = {}
    for trial in pending:
        lanes.setdefault(trial.board, Lane(board=boards[trial.board])).trials.append(trial)
    recoveries = {recovery.after: recovery for recovery in campaign.recoveries() if recovery.after}
    quarantined = campaign.quarantined()
    open_ids = {trial.id for trial in pending}
    for name, lane in lanes.items():
        judged = [trial for trial in campaign.plan.trials if trial.board == name and trial.id not in open_ids]
        for trial, judgement in _trailing_run(campaign, judged):
            lane.count(trial, judgement)
            if (recovery := recoveries.get(trial.id)) is not None:
                lane.conclude(recovery.quarantine)
        if name in quarantined:
            lane.after, lane.distress = "", quarantined[name].quarantine
    return lanes


def _trailing_run(campaign: Campaign, judged: list[Trial]) -> list[tuple[Trial, Judgement]]:
    """The trials and judgements after the last one that says something about the device, in their order."""
    run: deque[tuple[Trial, Judgement]] = deque()
    for trial in reversed(judged):
        judgement = campaign.judgement(trial.id)
        if judgement is None or judgement.verdict in _ABOUT_THE_DEVICE:
            break
        run.appendleft((trial, judgement))
    return list(run)
