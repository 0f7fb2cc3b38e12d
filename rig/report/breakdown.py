"""The table of trials, counted by phase, board, outcome and duration: the numbers of the page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from rig.accept import Tally
from rig.model import Outcome, Verdict
from rig.report import statistics
from rig.report.table import PHASES
from rig.report.words import encodable
from rig.store import Plan

CONCLUSIVE = (Verdict.PASS.value, Verdict.FAIL.value)
P95_NEEDS = 20
"""With fewer durations the 95th percentile is only their maximum, and is not given."""

MEANINGS = {
    Outcome.UPDATED: "runs the new image; nothing stood in the way",
    Outcome.RESUMED: "went on to the new image after the fault",
    Outcome.RECOVERED_ON_RETRY: "runs the new image after the update was tried again",
    Outcome.ROLLED_BACK: "went back to the old image by itself",
    Outcome.REFUSED: "refused the new image",
    Outcome.STUCK_IN_DFU: "stays in its bootloader",
    Outcome.STUCK_ON_OLD: "runs the old image and does not take the new one",
    Outcome.NEEDS_POWER_CYCLE: "came back only after its power was cycled by hand",
    Outcome.NOT_REVERTED: "kept a new image that was never confirmed",
    Outcome.WRONG_IMAGE: "ran an image that it must not run",
    Outcome.BRICKED: "no longer serves, not even after a power cycle",
    Outcome.UNKNOWN: "not known",
}


@dataclass(frozen=True, kw_only=True)
class Share:
    """Conclusive trials of one kind: how many, how many failed, and the exact interval of the share that passed."""

    name: str
    trials: int
    failed: int
    low: float
    high: float
    usual: tuple[str, ...] = ()
    """The commonest outcomes of those that passed."""

    @property
    def passed_share(self) -> float:
        return (self.trials - self.failed) / self.trials


@dataclass(frozen=True, kw_only=True)
class BoardRow:
    """One board's part in the campaign; `bound` is the one-sided upper bound on its failure probability."""

    name: str
    soc: str
    trials: int
    failed: int
    lost: int
    faults: int
    bound: float | None


@dataclass(frozen=True, kw_only=True)
class TimingRow:
    """Durations of one phase in seconds; quantiles that too few values support are None."""

    name: str
    n: int
    p5: float
    median: float
    p95: float | None
    most: float


@dataclass(frozen=True, kw_only=True)
class OutcomeRow:
    """How often an outcome was found, by verdict."""

    outcome: str
    meaning: str
    verdicts: tuple[tuple[Verdict, int], ...]
    total: int


def conclusive(table: pd.DataFrame) -> pd.DataFrame:
    """The trials that say something about the device."""
    return table[table["verdict"].isin(CONCLUSIVE)]


def lost(table: pd.DataFrame) -> pd.DataFrame:
    """The judged trials that say nothing about the device."""
    return table[table["verdict"].isin((Verdict.INCONCLUSIVE.value, Verdict.ERROR.value))]


def faulted(table: pd.DataFrame) -> pd.DataFrame:
    """The conclusive trials with a proved fault."""
    sound = conclusive(table)
    return sound[sound["fault_proved"].eq(True)]


def recovery(table: pd.DataFrame) -> list[Share]:
    """Conclusive trials by the phase in which the fault really fell, in the order of the phases; the control group comes last."""
    sound = faulted(table)
    control = conclusive(table)
    control = control[control["fault"].eq("none")]
    by_phase = {str(name): rows for name, rows in sound.groupby(sound["fault_phase"].fillna(""), sort=False)}
    order = [name for name in PHASES if name in by_phase] + sorted(set(by_phase) - set(PHASES))
    shares = [_share(name, by_phase[name]) for name in order]
    return [*shares, _share("control", control)] if len(control) else shares


def _share(name: str, rows: pd.DataFrame) -> Share:
    failed = int(rows["verdict"].eq(Verdict.FAIL.value).sum())
    low, high = statistics.interval(len(rows) - failed, len(rows))
    usual = Counter(rows.loc[rows["verdict"].eq(Verdict.PASS.value), "outcome"]).most_common(2)
    return Share(name=name, trials=len(rows), failed=failed, low=low, high=high, usual=tuple(outcome for outcome, _ in usual))


def boards(plan: Plan, table: pd.DataFrame) -> list[BoardRow]:
    """One row per board of the plan, in its order."""
    rows = []
    for board in plan.boards:
        mine = table[table["board"].eq(encodable(board.name))]
        sound = conclusive(mine)
        failed = int(sound["verdict"].eq(Verdict.FAIL.value).sum())
        rows.append(
            BoardRow(
                name=board.name,
                soc=board.soc,
                trials=len(sound),
                failed=failed,
                lost=len(lost(mine)),
                faults=len(faulted(mine)),
                bound=statistics.upper_bound(failed, len(sound)) if len(sound) else None,
            )
        )
    return rows


def outcomes(table: pd.DataFrame) -> list[OutcomeRow]:
    """Every outcome that was found, in the order of the model."""
    counts = Counter(zip(table["outcome"].dropna(), table["verdict"].dropna(), strict=True))
    rows = []
    for outcome in Outcome:
        found = tuple((verdict, counts[outcome.value, verdict.value]) for verdict in Verdict)
        total = sum(number for _, number in found)
        if total:
            rows.append(OutcomeRow(outcome=outcome.value, meaning=MEANINGS[outcome], verdicts=found, total=total))
    return rows


def timings(table: pd.DataFrame) -> list[TimingRow]:
    """Durations per phase, of conclusive trials whose fault fell in another phase or nowhere; then the time out of service."""
    sound = conclusive(table)
    rows = []
    for phase in PHASES:
        undisturbed = sound[~sound["fault_phase"].eq(phase).fillna(value=False)]
        rows.append(_timing(phase, undisturbed[f"{phase}_s"].dropna().tolist()))
    rows.append(_timing("out of service", sound["downtime_s"].dropna().tolist()))
    return [row for row in rows if row is not None]


def _timing(name: str, durations: Sequence[float]) -> TimingRow | None:
    if not durations:
        return None
    series = pd.Series(durations, dtype="float64")
    return TimingRow(
        name=name,
        n=len(series),
        p5=float(series.quantile(0.05)),
        median=float(series.median()),
        p95=float(series.quantile(0.95)) if len(series) >= P95_NEEDS else None,
        most=float(series.max()),
    )


def failure_bound(table: pd.DataFrame) -> tuple[int, int, float]:
    """Failures, trials, and the exact bound for updates with a proved fault; for all conclusive ones where none had a fault."""
    sound = faulted(table) if len(faulted(table)) else conclusive(table)
    failed = int(sound["verdict"].eq(Verdict.FAIL.value).sum())
    return failed, len(sound), statistics.upper_bound(failed, len(sound))


def bound_if_lost_had_failed(table: pd.DataFrame, count: Tally) -> float:
    """The bound of `failure_bound` if every lost trial had been a failure."""
    failed, trials, _ = failure_bound(table)
    return statistics.upper_bound(failed + count.lost, trials + count.lost)
