"""Plans a campaign's further rounds from its stored results, and writes each into the folder before it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rig.coverage import Reference, Shot, known_operations, shot_of
from rig.model import Trial, Verdict
from rig.plan import Progress, next_round
from rig.store import Campaign, Round, RoundPart, Session


class Rounds:
    """What is known of the aimed plans of a campaign; every journal is read once."""

    def __init__(self, campaign: Campaign) -> None:
        self._campaign = campaign
        self._shots: dict[str, Shot | None] = {}
        self._references: dict[str, Reference] = {}

    def plan_next(self, session: Session) -> bool:
        """Write down the next round of every aimed plan; False when none has anything left to do.

        What is planned depends on the results alone, not on their order: every trial of the rounds before has been judged.
        """
        number = len(self._campaign.rounds)
        parts = []
        begin = len(self._campaign.plan.trials)
        for index, aimed in enumerate(self._campaign.plan.aimed):
            trials = next_round(aimed, self.progress(index), number)
            if trials:
                parts.append(RoundPart(aimed=index, trials=tuple(_named(trial, begin + n) for n, trial in enumerate(trials, start=1))))
                begin += len(trials)
        if parts:
            session.add_round(Round(number=number, parts=tuple(parts)))
        return bool(parts)

    def progress(self, index: int) -> Progress:
        """What the rounds so far have shown for the aimed plan of that index."""
        trials = [trial for found in self._campaign.rounds for part in found.parts if part.aimed == index for trial in part.trials]
        for trial in trials:
            self._look(trial)
        known = known_operations([self._references[trial.id] for trial in trials if trial.id in self._references])
        shots = [shot for trial in trials if (shot := self._shots.get(trial.id)) is not None]
        return Progress(known=known, shots=tuple(shots), planned=len(trials))

    def _look(self, trial: Trial) -> None:
        if trial.id in self._shots:
            return
        judgement = self._campaign.judgement(trial.id)
        if judgement is None:
            return
        events = self._campaign.journal(trial.id).events
        if trial.fault is None and judgement.verdict is Verdict.PASS:
            self._references[trial.id] = Reference(staged=trial.staged, events=events)
        self._shots[trial.id] = shot_of(trial, judgement, events)


def run_in_rounds(session: Session, run_pending: Callable[[], None]) -> None:
    """Run what is planned, and then round after round until no plan asks for more; stops when trials are left over."""
    rounds = Rounds(session.campaign)
    if session.campaign.pending_trials():
        run_pending()
    while not session.campaign.pending_trials() and rounds.plan_next(session):
        run_pending()


def _named(trial: Trial, position: int) -> Trial:
    return replace(trial, id=f"T-{position:04d}")
