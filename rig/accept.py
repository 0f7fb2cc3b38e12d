"""From judgements to one word: is the campaign accepted?  Pure, like the judge of a single trial.

HOLD needs evidence against the device: more failures than the scenario allows.  Without it, lacking evidence is INCONCLUSIVE and
never ACCEPTED: trials still to be run, too many lost to the rig, too few faults proved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rig.model import Acceptance, Judgement, Outcome, Trial, Verdict


class Word(StrEnum):
    """The verdict on a campaign."""

    ACCEPTED = "ACCEPTED"
    HOLD = "HOLD"
    INCONCLUSIVE = "INCONCLUSIVE"


EXIT_CODES: Mapping[Word, int] = {Word.ACCEPTED: 0, Word.HOLD: 1, Word.INCONCLUSIVE: 2}


@dataclass(frozen=True, kw_only=True)
class Tally:
    """A scenario's trials, counted.

    `faults_due` counts the judged trials that were to have a fault, without those that the rig itself broke (ERROR): they are lost
    already and must not count twice.  `faults_proved` counts those of them whose fault was proved.
    """

    planned: int
    passed: int
    failed: int
    inconclusive: int
    errors: int
    faults_due: int
    faults_proved: int
    failures: Mapping[Outcome, int]

    @property
    def attempted(self) -> int:
        """Judged trials."""
        return self.conclusive + self.lost

    @property
    def conclusive(self) -> int:
        """Trials that say something about the device."""
        return self.passed + self.failed

    @property
    def lost(self) -> int:
        """Trials that say nothing about the device: INCONCLUSIVE and ERROR."""
        return self.inconclusive + self.errors


@dataclass(frozen=True, kw_only=True)
class Check:
    """One criterion: what was asked, what was found, and whether that is enough (None: nothing to go by yet)."""

    requirement: str
    limit: str
    measured: str
    note: str
    met: bool | None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The word, why in one sentence, and the criteria behind it."""

    word: Word
    reason: str
    checks: tuple[Check, ...]

    @property
    def exit_code(self) -> int:
        """Exit code of `rig run`: 0 accepted, 1 held, 2 inconclusive because of the rig."""
        return EXIT_CODES[self.word]


def tally(trials: Iterable[Trial], judgements: Mapping[str, Judgement]) -> Tally:
    """Count the planned `trials` by their `judgements` (by trial id; a missing one is still to be run)."""
    trials = tuple(trials)
    judged = [(trial, judgements[trial.id]) for trial in trials if trial.id in judgements]
    verdicts = Counter(judgement.verdict for _, judgement in judged)
    due = [judgement for trial, judgement in judged if trial.fault is not None and judgement.verdict is not Verdict.ERROR]
    failures = Counter(judgement.outcome for _, judgement in judged if judgement.verdict is Verdict.FAIL)
    return Tally(
        planned=len(trials),
        passed=verdicts[Verdict.PASS],
        failed=verdicts[Verdict.FAIL],
        inconclusive=verdicts[Verdict.INCONCLUSIVE],
        errors=verdicts[Verdict.ERROR],
        faults_due=len(due),
        faults_proved=sum(judgement.fault_proved for judgement in due),
        failures={outcome: failures[outcome] for outcome in Outcome if failures[outcome]},
    )


def decide(count: Tally, criteria: Acceptance) -> Decision:
    """Judge one scenario's counts by its criteria."""
    failures, proved, lost, complete = (
        _failures(count, criteria),
        _proved(count, criteria),
        _lost(count, criteria),
        _complete(count),
    )
    checks = (failures, proved, lost, complete)
    if failures.met is False:
        found = ", ".join(f"{number} {outcome}" for outcome, number in count.failures.items())
        limit = f"; at most {criteria.failures_at_most} may" if criteria.failures_at_most else ""
        return Decision(
            word=Word.HOLD, reason=f"{_of(count.failed, count.conclusive, 'trial')} failed ({found}){limit}.", checks=checks
        )
    lacking = []
    if not count.attempted:
        lacking.append("no trial has been run")
    elif not count.conclusive:
        lacking.append("no trial says anything about the device")
    elif complete.met is False:
        lacking.append(f"{count.planned - count.attempted:,} of {count.planned:,} planned trials have not been run")
    if lost.met is False:
        lacking.append(f"{_of(count.lost, count.attempted, 'trial')} lost to the rig ({lost.measured}, limit {lost.limit})")
    if proved.met is False:
        lacking.append(
            f"only {_of(count.faults_proved, count.faults_due, 'fault')} proved ({proved.measured}, limit {proved.limit})"
        )
    if lacking:
        return Decision(word=Word.INCONCLUSIVE, reason=_sentence(lacking), checks=checks)
    allowed = f"{count.failed:,} failed, which the plan allows" if count.failed else "none failed"
    reason = f"{count.conclusive:,} of {count.attempted:,} trials were conclusive, and {allowed}; {proved.note}."
    return Decision(word=Word.ACCEPTED, reason=reason, checks=checks)


def decide_campaign(scenarios: Mapping[str, Decision]) -> Decision:
    """One word for a campaign of several scenarios: the worst of theirs, HOLD before INCONCLUSIVE before ACCEPTED.

    A campaign without scenarios is INCONCLUSIVE.
    """
    if not scenarios:
        return Decision(word=Word.INCONCLUSIVE, reason="The plan has no scenario.", checks=())
    for word in (Word.HOLD, Word.INCONCLUSIVE, Word.ACCEPTED):
        chosen = {name: decision for name, decision in scenarios.items() if decision.word is word}
        if chosen:
            break
    if len(scenarios) == 1:
        return next(iter(scenarios.values()))
    checks = tuple(check for decision in scenarios.values() for check in decision.checks)
    if word is Word.ACCEPTED:
        reason = f"All {len(scenarios)} scenarios met their criteria."
    else:
        name, first = next(iter(chosen.items()))
        more = f" ({len(chosen) - 1} more of {len(scenarios)} scenarios likewise)" if len(chosen) > 1 else ""
        reason = f"{name}: {first.reason}{more}"
    return Decision(word=word, reason=reason, checks=checks)


def _failures(count: Tally, criteria: Acceptance) -> Check:
    return Check(
        requirement="Trials that failed",
        limit=f"≤ {criteria.failures_at_most:,}",
        measured=f"{count.failed:,} of {count.conclusive:,}",
        note=", ".join(f"{number:,} {outcome}" for outcome, number in count.failures.items()),
        met=count.failed <= criteria.failures_at_most if count.conclusive else None,
    )


def _proved(count: Tally, criteria: Acceptance) -> Check:
    share = count.faults_proved / count.faults_due if count.faults_due else None
    return Check(
        requirement="Faults proved by independent evidence",
        limit=f"≥ {_percent(criteria.faults_proved_at_least)}",
        measured="none due" if share is None else _percent(share),
        note="no trial judged so far was to have a fault"
        if share is None
        else f"{_of(count.faults_proved, count.faults_due, 'fault')} proved",
        met=None if share is None else share >= criteria.faults_proved_at_least,
    )


def _lost(count: Tally, criteria: Acceptance) -> Check:
    share = count.lost / count.attempted if count.attempted else None
    return Check(
        requirement="Trials lost to the rig",
        limit=f"≤ {_percent(criteria.lost_to_rig_at_most)}",
        measured="none run" if share is None else _percent(share),
        note=f"{count.inconclusive:,} inconclusive, {count.errors:,} rig errors",
        met=None if share is None else share <= criteria.lost_to_rig_at_most,
    )


def _complete(count: Tally) -> Check:
    return Check(
        requirement="Planned trials that have been run",
        limit=f"{count.planned:,}",
        measured=f"{count.attempted:,}",
        note="",
        met=count.attempted == count.planned and count.planned > 0,
    )


def _percent(share: float) -> str:
    """A share in percent with up to two decimals, never rounded to 0 or 100 % unless it is that."""
    text = f"{100 * share:.2f}".rstrip("0").rstrip(".")
    if text == "100" and share < 1:
        text = "99.99"
    if text == "0" and share > 0:
        text = "0.01"
    return f"{text} %"


def _of(part: int, whole: int, noun: str) -> str:
    return f"{part:,} of {whole:,} {noun}{'' if whole == 1 else 's'}"


def _sentence(parts: Sequence[str]) -> str:
    text = "; ".join(parts)
    return text[0].upper() + text[1:] + "."
