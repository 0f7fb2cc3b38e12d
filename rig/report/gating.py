"""Stored trials held against release gates.

FAIL needs evidence against the device, PASS evidence for it; whatever lies between is NOT DECIDED, which is not a pass.  Each result
says which trials it counted and how, since trials that were staged are not drawn at random and must not be pooled with those that were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import pandas as pd

from rig.gates import Faults, Gate, GateKind, Scope
from rig.report import breakdown, scorecard
from rig.report.coverage import Stretch, coverage
from rig.report.statistics import upper_bound
from rig.report.statistics.homogeneity import homogeneity, leave_one_out
from rig.report.statistics.planning import trials_needed
from rig.report.statistics.proportions import Standing, failure_bound
from rig.report.statistics.timing import quantile, quantile_change
from rig.report.stock import Stock, tallied
from rig.report.table import conclusive, failed, faulted, undisturbed
from rig.report.words import SCOPES, at_most, count, encodable, percent, seconds, signed_percent
from rig.report.words import limit as limit_of


class State(StrEnum):
    """How a gate stands."""

    PASS = "pass"
    FAIL = "fail"
    NOT_DECIDED = "not decided"


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """A gate, what was measured, and how it stands.  `counted` says which trials it looked at; `why` what is missing or wrong."""

    gate: Gate
    limit: str
    measured: str
    state: State
    counted: str
    why: str = ""
    needed: int = 0
    """Further clean trials that would show the claim; 0 where trials cannot."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What gates are held against."""

    stock: Stock
    baseline: Stock | None
    stretches: tuple[Stretch, ...]


def evaluate(gate: Gate, material: Material) -> GateResult:
    """How one gate stands."""
    return _KINDS[gate.kind](gate, material)


def _scoped(trials: pd.DataFrame, scope: Scope) -> pd.DataFrame:
    if scope.scenarios:
        trials = trials[trials["scenario"].isin([encodable(name) for name in scope.scenarios])]
    if scope.phases:
        trials = trials[trials["fault_phase"].isin([phase.value for phase in scope.phases])]
    if scope.faults is Faults.PROVED:
        return faulted(trials)
    return undisturbed(trials) if scope.faults is Faults.NONE else trials


def _which(scope: Scope) -> str:
    words = SCOPES[scope.faults]
    if scope.phases:
        words += f", in {', '.join(scope.phases)}"
    return words + (f", of {', '.join(scope.scenarios)}" if scope.scenarios else "")


# ---------------------------------------------------------------------------------------------------------------- counts
def _failures(gate: Gate, material: Material) -> GateResult:
    trials = _scoped(material.stock.trials, gate.scope)
    sound, bad = conclusive(trials), failed(trials)
    if gate.outcomes:
        bad = bad[bad["outcome"].isin([outcome.value for outcome in gate.outcomes])]
    limit = f"{gate.limit:.0f}"
    chosen = len(sound) - len(breakdown.independent(sound))
    counted = f"every conclusive trial {_which(gate.scope)}" + (f"; {chosen:,} of them staged, aimed or to be refused" if chosen else "")
    if not len(sound):
        return GateResult(gate=gate, limit=limit, measured="no trial", state=State.NOT_DECIDED, counted=counted, why="no such trial was conclusive")
    state = State.PASS if len(bad) <= gate.limit else State.FAIL
    return GateResult(gate=gate, limit=limit, measured=f"{len(bad):,} of {len(sound):,}", state=state, counted=counted)


def _failure_probability(gate: Gate, material: Material) -> GateResult:
    pool = breakdown.independent(material.stock.trials)
    apart = len(conclusive(_scoped(material.stock.trials, gate.scope))) - len(conclusive(_scoped(pool, gate.scope)))
    trials = _scoped(pool, gate.scope)
    counts = breakdown.counts_of(trials)
    bound = failure_bound(counts, gate.confidence)
    standing = bound.standing(gate.limit)
    state = {Standing.SHOWN: State.PASS, Standing.REFUTED: State.FAIL, Standing.OPEN: State.NOT_DECIDED}[standing]
    counted = f"random trials {_which(gate.scope)}: {counts.failed:,} of {counts.trials:,} failed; exact one-sided {limit_of(gate.confidence)} bound"
    if apart:
        counted += f"; {count(apart, 'trial')} staged, aimed or to be refused, left out"
    why = ""
    needed = trials_needed(gate.limit, counts.failed, gate.confidence)
    if standing is Standing.OPEN:
        why = f"neither shown nor refuted; {count(needed, 'trial')} with so many failures would show it" if counts.trials else bound.lacking
    if state is State.PASS and (mixed := _mixed(trials, gate)):
        state, why = State.NOT_DECIDED, mixed
    measured = f"≤ {at_most(bound.upper)}" if counts.trials else "no trial"
    clean = trials_needed(gate.limit, 0, gate.confidence) if state is State.FAIL else max(0, needed - counts.trials)
    return GateResult(gate=gate, limit=f"< {limit_of(gate.limit)}", measured=measured, state=state, counted=counted, why=why, needed=clean)


def _mixed(trials: pd.DataFrame, gate: Gate) -> str:
    """Why the pooled bound may not be read, where boards or nights differ and the worst of them alone does not meet the limit."""
    for column, what in (("board", "board"), ("campaign", "campaign")):
        parts = {str(name): breakdown.counts_of(rows) for name, rows in trials.groupby(trials[column].astype(object), sort=True)}
        if homogeneity(parts, gate.confidence, what=what).differ:
            alone = leave_one_out(parts, gate.confidence, what=what)
            if alone.worst_bound >= gate.limit:
                return f"the {what}s differ; {alone.worst} alone allows only ≤ {at_most(alone.worst_bound)}"
    return ""


def _spoiled_accepted(gate: Gate, material: Material) -> GateResult:
    trials = _scoped(material.stock.trials, gate.scope)
    spoiled = conclusive(trials[trials["spoiled"].notna() | trials["expect"].eq("refused")])
    ran = len(failed(spoiled)[failed(spoiled)["outcome"].eq("WRONG_IMAGE")])
    limit = f"{gate.limit:.0f}"
    counted = "conclusive trials whose image had to be refused"
    if not len(spoiled):
        why = "no trial offered an image that had to be refused"
        return GateResult(gate=gate, limit=limit, measured="no trial", state=State.NOT_DECIDED, counted=counted, why=why)
    counted += f"; bound {at_most(upper_bound(ran, len(spoiled), gate.confidence))}"
    state = State.PASS if ran <= gate.limit else State.FAIL
    return GateResult(gate=gate, limit=limit, measured=f"{ran:,} of {len(spoiled):,}", state=state, counted=counted)


def _lost_to_rig(gate: Gate, material: Material) -> GateResult:
    tally = tallied(_scoped(material.stock.trials, gate.scope) if gate.scope.scenarios else material.stock.trials)
    limit, counted = f"≤ {limit_of(gate.limit)}", "inconclusive trials and rig errors among all judged trials"
    if not tally.attempted:
        return GateResult(gate=gate, limit=limit, measured="no trial", state=State.NOT_DECIDED, counted=counted, why="no trial was run")
    share = tally.lost / tally.attempted
    met = share <= gate.limit
    why = "" if met else f"{tally.lost:,} of {tally.attempted:,} trials say nothing about the device"
    return GateResult(
        gate=gate, limit=limit, measured=percent(share), state=State.PASS if met else State.NOT_DECIDED,
        counted=f"{counted}: {tally.lost:,} of {tally.attempted:,}", why=why,
    )  # fmt: skip


def _faults_proved(gate: Gate, material: Material) -> GateResult:
    trials = material.stock.trials
    if gate.scope.scenarios:
        trials = _scoped(trials, Scope(scenarios=gate.scope.scenarios))
    tally = tallied(trials)
    limit, counted = f"≥ {limit_of(gate.limit)}", "planned faults of judged trials, without rig errors"
    if not tally.faults_due:
        return GateResult(gate=gate, limit=limit, measured="no fault", state=State.NOT_DECIDED, counted=counted, why="no fault was due")
    share = tally.faults_proved / tally.faults_due
    met = share >= gate.limit
    return GateResult(
        gate=gate, limit=limit, measured=percent(share), state=State.PASS if met else State.NOT_DECIDED,
        counted=f"{counted}: {tally.faults_proved:,} of {tally.faults_due:,}",
        why="" if met else "too many faults without proof, so nobody knows what the device withstood",
    )  # fmt: skip


def _flash_coverage(gate: Gate, material: Material) -> GateResult:
    found = coverage(material.stretches, [phase.value for phase in gate.scope.phases], gate.stretch)
    limit = f"≥ {limit_of(gate.limit)}"
    unit = "flash operations" if gate.stretch == 1 else f"stretches of {gate.stretch} flash operations"
    counted = f"{unit} hit by a proved cut, wherever aimed; staged trials count, since a cut is a cut"
    if found.share is None:
        why = "no trial tells how many flash operations an update makes"
        return GateResult(gate=gate, limit=limit, measured="not known", state=State.NOT_DECIDED, counted=counted, why=why)
    met = found.share >= gate.limit
    return GateResult(
        gate=gate, limit=limit, measured=percent(found.share), state=State.PASS if met else State.NOT_DECIDED,
        counted=f"{counted}: {found.hit:,} of {found.total:,}",
        why="" if met else f"{found.total - found.hit:,} {unit} were never cut",
    )  # fmt: skip


# ------------------------------------------------------------------------------------------------------------- durations
def _update_time(gate: Gate, material: Material) -> GateResult:
    limit = f"≤ +{limit_of(gate.limit)}"
    counted = f"complete updates without fault, {_nth(gate.quantile)}"
    if material.baseline is None:
        return GateResult(gate=gate, limit=limit, measured="no baseline", state=State.NOT_DECIDED, counted=counted, why="no baseline was named: --baseline DIR")
    ours, theirs = (breakdown.update_times(_in_scenarios(stock, gate)) for stock in (material.stock, material.baseline))
    found = quantile_change(ours, theirs, gate.quantile, _two_sided(gate.confidence))
    counted += f"; {len(ours):,} against {len(theirs):,} in the baseline"
    if found.low is None or found.high is None:
        return GateResult(gate=gate, limit=limit, measured="too few", state=State.NOT_DECIDED, counted=counted, why=found.lacking)
    state = State.PASS if found.high <= gate.limit else State.FAIL if found.low > gate.limit else State.NOT_DECIDED
    return GateResult(
        gate=gate, limit=limit, measured=signed_percent(found.change or 0.0), state=state,
        counted=f"{counted}; between {signed_percent(found.low)} and {signed_percent(found.high)}",
        why="the interval holds the limit: more undisturbed updates are needed" if state is State.NOT_DECIDED else "",
    )  # fmt: skip


def _downtime(gate: Gate, material: Material) -> GateResult:
    times = breakdown.downtimes(_scoped(material.stock.trials, gate.scope))
    found = quantile(times, gate.quantile, _two_sided(gate.confidence))
    limit, counted = f"≤ {seconds(gate.limit)}", f"conclusive trials {_which(gate.scope)}, {_nth(gate.quantile)} of {len(times):,}"
    if found.high is None or found.low is None:
        state = State.FAIL if found.low is not None and found.low > gate.limit else State.NOT_DECIDED
        return GateResult(gate=gate, limit=limit, measured="too few", state=state, counted=counted, why=found.lacking)
    state = State.PASS if found.high <= gate.limit else State.FAIL if found.low > gate.limit else State.NOT_DECIDED
    return GateResult(
        gate=gate, limit=limit, measured=seconds(found.value), state=state,
        counted=f"{counted}; between {seconds(found.low)} and {seconds(found.high)}",
        why="the interval holds the limit: more trials are needed" if state is State.NOT_DECIDED else "",
    )  # fmt: skip


def _in_scenarios(stock: Stock, gate: Gate) -> pd.DataFrame:
    return _scoped(stock.trials, Scope(scenarios=gate.scope.scenarios))


def _two_sided(one_sided: float) -> float:
    """The confidence of the interval whose one end holds with `one_sided`; half a percent at least."""
    return max(2 * one_sided - 1, 0.005)


def _nth(q: float) -> str:
    return "median" if q == 0.5 else f"{100 * q:g}th percentile"


# ------------------------------------------------------------------------------------------------------------- practices
def _practices(gate: Gate, material: Material) -> GateResult:
    proven = scorecard.proven(material.stock)
    missing = [number for number in gate.practices if proven.get(number) is None]
    broken = [number for number in gate.practices if proven.get(number) is False]
    held = len(gate.practices) - len(missing) - len(broken)
    state = State.FAIL if broken else State.NOT_DECIDED if missing else State.PASS
    why = f"failed: {_listed(broken)}" if broken else f"not covered: {_listed(missing)}" if missing else ""
    return GateResult(
        gate=gate, limit=f"{len(gate.practices)}", measured=f"{held} of {len(gate.practices)}", state=state,
        counted="practices proven by trials that could have failed", why=why,
    )  # fmt: skip


def _listed(numbers: list[int]) -> str:
    return ", ".join(f"practice {number}" for number in numbers)


_KINDS: dict[GateKind, Callable[[Gate, Material], GateResult]] = {
    GateKind.FAILURES: _failures,
    GateKind.FAILURE_PROBABILITY: _failure_probability,
    GateKind.FLASH_COVERAGE: _flash_coverage,
    GateKind.SPOILED_ACCEPTED: _spoiled_accepted,
    GateKind.UPDATE_TIME: _update_time,
    GateKind.DOWNTIME: _downtime,
    GateKind.LOST_TO_RIG: _lost_to_rig,
    GateKind.FAULTS_PROVED: _faults_proved,
    GateKind.PRACTICES: _practices,
}

