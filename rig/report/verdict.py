"""One word for a release, why in a sentence, the five figures, and what it takes to ship."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rig.accept import EXIT_CODES, Decision, decide_campaign
from rig.accept import Word as Acceptance
from rig.gates import GateKind
from rig.report import breakdown, words
from rig.report.coverage import Stretch, coverage
from rig.report.failures import folder_argument
from rig.report.gating import GateResult, State
from rig.report.operations import Operations
from rig.report.recoveries import Rescue, set_aside
from rig.report.signatures import Signature
from rig.report.statistics import Counts, trials_needed, upper_bound
from rig.report.stock import Stock
from rig.report.table import is_faulted, lost
from rig.report.timing import Timing


class Word(StrEnum):
    """What the page opens with.  ACCEPTED instead of SHIP where no release gates were named: the plan's own criteria are met."""

    SHIP = "Ship"
    ACCEPTED = "Accepted"
    HOLD = "Hold"
    NOT_DECIDED = "Not decided"


_MUCH = 0.05
_EXIT = {
    Word.SHIP: EXIT_CODES[Acceptance.ACCEPTED],
    Word.ACCEPTED: EXIT_CODES[Acceptance.ACCEPTED],
    Word.HOLD: EXIT_CODES[Acceptance.HOLD],
    Word.NOT_DECIDED: EXIT_CODES[Acceptance.INCONCLUSIVE],
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The word and the reason in a sentence or three."""

    word: Word
    reason: str

    @property
    def exit_code(self) -> int:
        """Exit code of `rig report`: 0 ship or accepted, 1 hold, 2 not decided."""
        return _EXIT[self.word]

    @property
    def tone(self) -> str:
        """How the page colours the word."""
        return {Word.HOLD: "bad", Word.NOT_DECIDED: "warn"}.get(self.word, "ok")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One of the five numbers at the top; `tone` is ok, bad, warn or nothing."""

    label: str
    value: str
    note: str
    tone: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """Something to do next, the command for it, and the signature it is about."""

    text: str
    command: str = ""
    signature: str = ""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """Everything that the verdict, the figures and the steps are made of."""

    stock: Stock
    baseline: Stock | None
    gates: Sequence[GateResult]
    signatures: Sequence[Signature]
    timing: Timing
    stretches: Sequence[Stretch]
    operations: Sequence[Operations]
    rescues: Sequence[Rescue]


def decide(stock: Stock, gates: Sequence[GateResult], signatures: Sequence[Signature]) -> Verdict:
    """HOLD before NOT DECIDED before SHIP, over the release gates and the plans' own criteria."""
    plans = decide_campaign(stock.decisions)
    if not gates:
        word = {Acceptance.HOLD: Word.HOLD, Acceptance.INCONCLUSIVE: Word.NOT_DECIDED}.get(plans.word, Word.ACCEPTED)
        return Verdict(word=word, reason=plans.reason)
    missed = [result for result in gates if result.state is State.FAIL]
    open_ = [result for result in gates if result.state is State.NOT_DECIDED]
    if missed or plans.word is Acceptance.HOLD:
        return Verdict(word=Word.HOLD, reason=_hold(stock, gates, missed, signatures, plans))
    if open_ or plans.word is Acceptance.INCONCLUSIVE:
        return Verdict(word=Word.NOT_DECIDED, reason=_undecided(gates, open_, plans))
    count = stock.count
    allowed = f"; {count.failed:,} failed, which the gates allow" if count.failed else ", and none failed"
    reason = f"{_all(len(gates), 'release gate')} passed. {count.conclusive:,} of {count.attempted:,} updates were conclusive{allowed}."
    return Verdict(word=Word.SHIP, reason=reason)


def _all(number: int, noun: str) -> str:
    return f"All {number} {noun}s" if number > 1 else f"The {noun}"


def _hold(
    stock: Stock, gates: Sequence[GateResult], missed: Sequence[GateResult], signatures: Sequence[Signature], plans: Decision
) -> str:
    parts = []
    if stock.count.failed:
        kinds = words.count(len(signatures), "signature")
        by = ", ".join(f"{number:,} {words.outcome(outcome)}" for outcome, number in stock.count.failures.items())
        parts.append(f"{stock.count.failed:,} of {stock.count.conclusive:,} updates failed ({by}), with {kinds}.")
        new = [signature for signature in signatures if signature.known == 0]
        if new:
            parts.append("The baseline had none of them." if len(new) == len(signatures) else f"{len(new)} of them are new against the baseline.")
    if missed:
        parts.append(f"{len(missed)} of {words.count(len(gates), 'release gate')} failed.")
    elif plans.word is Acceptance.HOLD:
        parts.append(f"No release gate failed, but a plan's own criteria were missed: {plans.reason}")
    return " ".join(parts)


def _undecided(gates: Sequence[GateResult], open_: Sequence[GateResult], plans: Decision) -> str:
    parts = []
    if plans.word is Acceptance.INCONCLUSIVE:
        parts.append(plans.reason)
    if open_:
        first = open_[0]
        parts.append(f"{len(open_)} of {words.count(len(gates), 'release gate')} cannot be decided; {first.gate.id}: {first.why}.")
    return " ".join(parts)


# --------------------------------------------------------------------------------------------------------------- figures
def figures(of: Findings) -> list[Figure]:
    """The five numbers at the top of the page."""
    return [_tried(of.stock), _failed(of.stock), _bound(of), _covered(of), _time(of)]


def _much_lost(stock: Stock) -> bool:
    """Whether the rig lost so many trials that the others must not look reassuring."""
    return stock.count.lost > _MUCH * stock.count.attempted


def _tried(stock: Stock) -> Figure:
    count, cut = stock.count, int(is_faulted(stock.trials).sum())
    note = f"{cut:,} with a proved power cut; {count.lost:,} lost to the rig"
    if count.attempted < count.planned:
        note += f"; {count.planned - count.attempted:,} still to be run"
    tone = "warn" if _much_lost(stock) else ""
    return Figure(label="Updates tried, with and without faults", value=f"{count.attempted:,}", note=note, tone=tone)


def _failed(stock: Stock) -> Figure:
    label, count = "Did not recover by themselves", stock.count
    note = ", ".join(f"{number:,} {outcome}" for outcome, number in count.failures.items())
    if not count.conclusive:
        return Figure(label=label, value=words.DASH, note="no conclusive trial")
    note = note or f"none of {count.conclusive:,} conclusive trials"
    tone = "bad" if count.failed else "" if _much_lost(stock) else "ok"
    return Figure(label=label, value=f"{count.failed:,}", note=note, tone=tone)


def _bound(of: Findings) -> Figure:
    counts, with_fault = breakdown.interrupted_updates(of.stock.trials)
    label = "Chance of that per interrupted update, at most"
    if not counts.trials:
        return Figure(label=label, value=words.DASH, note="no conclusive trial")
    gate = next((result for result in of.gates if result.gate.kind is GateKind.FAILURE_PROBABILITY), None)
    note = f"95 % confidence; {counts.failed:,} of {counts.trials:,} {'with a proved fault' if with_fault else 'without fault'}"
    tone = ""
    if gate:
        note += f"; gate {gate.limit}"
        tone = {State.PASS: "ok", State.FAIL: "bad"}.get(gate.state, "warn")
    return Figure(label=label, value=words.at_most(upper_bound(counts.failed, counts.trials)), note=note, tone=tone)


def _covered(of: Findings) -> Figure:
    """Coverage of the flash as the gate asks for it, else of the operations; without any to count, the share of proved faults."""
    gate = next((result.gate for result in of.gates if result.gate.kind is GateKind.FLASH_COVERAGE), None)
    found = coverage(of.stretches, [phase.value for phase in gate.scope.phases], gate.stretch) if gate else coverage(of.stretches)
    known = sum(len(one.coverage.known) for one in of.operations)
    if gate is None and known:
        struck = sum(cell.hit for one in of.operations for cell in one.coverage.cells())
        note = f"{struck:,} of {known:,} erases and writes"
        return Figure(label="Flash operations struck by a cut", value=words.percent(struck / known), note=note)
    if found.share is not None:
        unit = "Flash operations" if found.size == 1 else f"Stretches of {found.size} flash operations"
        where = f" in {', '.join(words.phase(phase) for phase in gate.scope.phases)}" if gate and gate.scope.phases else ""
        return Figure(label=f"{unit} cut at least once", value=words.percent(found.share), note=f"{found.hit:,} of {found.total:,}{where}")
    count, label = of.stock.count, "Faults proved by independent evidence"
    if not count.faults_due:
        return Figure(label=label, value=words.DASH, note="no fault was due")
    share = count.faults_proved / count.faults_due
    return Figure(label=label, value=words.percent(share), note=f"{count.faults_proved:,} of {count.faults_due:,}")


def _time(of: Findings) -> Figure:
    """The update's duration against the baseline; without one, the time out of service."""
    whole, medians = of.timing.whole, of.timing.quantiles
    if whole is not None and whole.estimate is not None and medians:
        note = f"{whole.n_new:,} undisturbed updates against {whole.n_baseline:,}"
        if whole.low is not None and whole.high is not None:
            note = f"interval {words.signed_seconds(whole.low)} to {words.signed_seconds(whole.high)}; {note}"
        return Figure(label="Update time against the baseline", value=words.signed_seconds(whole.estimate), note=note)
    row = next((row for row in of.timing.phases if row.name == "out of service"), None)
    label = "Application out of service, median"
    if row is None:
        return Figure(label=label, value=words.DASH, note="not measured")
    tail = f"95 % within {words.seconds(row.p95)}" if row.p95 is not None else f"longest {words.seconds(row.most)}"
    return Figure(label=label, value=words.seconds(row.median), note=f"{tail}; {words.count(row.n, 'trial')}")


# ----------------------------------------------------------------------------------------------------------------- steps
_STEPS = 5


def steps(of: Findings, verdict: Verdict) -> list[Step]:
    """What it takes to ship, the most urgent first: signatures to fix, the rig to repair, trials and hours that remain."""
    found = [_fix(of.stock, signature) for signature in of.signatures[:_STEPS]]
    if len(of.signatures) > _STEPS:
        found.append(Step(text=f"And {words.count(len(of.signatures) - _STEPS, 'more signature')}, listed below."))
    if verdict.word is Word.NOT_DECIDED and of.stock.count.lost:
        (reason, times), *_ = Counter(lost(of.stock.trials)["reason"].astype(object)).most_common(1)
        found.append(Step(text=f"Repair the rig. The commonest reason for a lost trial ({words.count(times, 'time')}): {reason}."))
    if aside := list(dict.fromkeys(one.board for one in set_aside(of.rescues))):
        found.append(Step(text=f"Repair {words.listed(aside)}, which the rig has quarantined; the reasons stand under the boards. Resuming tries them again."))
    for label, campaign in zip(of.stock.labels, of.stock.campaigns, strict=True):
        mine = of.stock.trials[of.stock.trials["campaign"].eq(label)]
        if left := int(mine["verdict"].isna().sum()):
            found.append(Step(text=f"Run the remaining {words.count(left, 'trial')}.", command=f"rig resume {folder_argument(campaign)}"))
    found += [Step(text=text) for text in _evidence(of)]
    return found


def _fix(stock: Stock, signature: Signature) -> Step:
    where = "with no fault at all" if signature.phase == "control" else f"after a cut in {words.phase(signature.phase)}"
    new = {None: "", 0: ", new against the baseline"}.get(signature.known, f", {signature.known} in the baseline")
    text = f"{words.count(len(signature.members), 'update')} ended {signature.outcome} {where} on {words.listed(signature.boards)}{new}."
    if signature.reproduction.conclusive:
        text += f" It reproduces in {signature.reproduction.agreed} of {signature.reproduction.conclusive} replays:"
    first = signature.members[0]
    return Step(text=text, command=f"rig replay {folder_argument(stock.campaign(first.label))} {first.trial}", signature=signature.id)


def _evidence(of: Findings) -> list[str]:
    """The trials that the gates still want, and how long the bench takes for them."""
    per_hour, found = breakdown.pace(of.stock).per_hour, list[str]()
    if of.gates and not of.stock.count.conclusive:
        return ["No gate can be decided before trials are conclusive."]
    for result in of.gates:
        gate = result.gate
        if gate.kind is GateKind.FAILURE_PROBABILITY and result.needed:
            found.append(_clean(of, result, per_hour))
        elif result.state is State.NOT_DECIDED and result.why:
            found.append(f"{gate.id} cannot be decided: {result.why}.")
    if not of.gates:
        first, second = (f"{trials_needed(p):,}" for p in (0.01, 0.001))
        found.append(
            f"To show a failure probability below 1 % takes {first} interrupted updates without a failure, below 0.1 % {second} "
            f"(95 % confidence). No release gates were named; name them with --gates gates.yaml."
        )
    return found


def _clean(of: Findings, result: GateResult, per_hour: float | None) -> str:
    """The updates without a failure that a gate about a probability still wants."""
    gate = result.gate
    lasting = _lasting(of, None if per_hour is None else result.needed / per_hour)
    updates = f"{words.count(result.needed, 'update')} {words.SCOPES[gate.scope.faults]} without a failure{lasting} to meet {gate.id}."
    if result.state is not State.FAIL:
        return f"Run a campaign with {updates}"
    return f"Then run {updates} One failure raises that to {trials_needed(gate.limit, 1, gate.confidence):,}."


def _lasting(of: Findings, hours: float | None) -> str:
    if hours is None:
        return ""
    boards = words.count(breakdown.pace(of.stock).boards, "board")
    simulated = ", in its simulated time" if any(campaign.plan.clock != "wall" for campaign in of.stock.campaigns) else ""
    return f", about {words.hours(hours)} on {boards}{simulated},"


def bound_if_lost(stock: Stock) -> float | None:
    """The bound on interrupted updates if every trial lost to the rig had been a failure; None where none was lost."""
    counts, _ = breakdown.interrupted_updates(stock.trials)
    if not (stock.count.lost and counts.trials):
        return None
    worst: Counts = counts.plus_failed(stock.count.lost)
    return upper_bound(worst.failed, worst.trials)

