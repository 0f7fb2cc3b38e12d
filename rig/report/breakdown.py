"""The table of trials, counted by phase, board, night and outcome: the numbers of the page."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rig.model import Outcome, Phase, Verdict
from rig.report import statistics
from rig.report.statistics.answer import Counts
from rig.report.statistics.homogeneity import Homogeneity, LeaveOneOut, homogeneity, leave_one_out
from rig.report.statistics.pace import Pace
from rig.report.stock import Stock
from rig.report.table import LOST, PHASES, faulted, is_conclusive, is_faulted, judged, undisturbed
from rig.report.words import encodable

MEANINGS = {
    Outcome.UPDATED: "runs the new image; nothing stood in the way",
    Outcome.RESUMED: "went on to the new image after the fault",
    Outcome.RECOVERED_ON_RETRY: "runs the new image after the update was tried again",
    Outcome.INSPECTED: "was only looked at",
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
UPDATE_PHASES = tuple(phase.value for phase in Phase if phase not in (Phase.FLASH, Phase.BOOT, Phase.SETTLE))
"""What the duration of an update counts: from looking for the device to the confirmation of the new image."""


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
class GroupRow:
    """One board's, or one night's, part in the trials.

    `bound` is the one-sided upper bound on its failure probability, `without` that of all others together.
    """

    name: str
    soc: str
    trials: int
    failed: int
    lost: int
    faults: int
    bound: float | None
    without: float | None


@dataclass(frozen=True, kw_only=True)
class Groups:
    """All boards, or all nights, and whether they fail alike."""

    rows: tuple[GroupRow, ...]
    homogeneity: Homogeneity
    leave_one_out: LeaveOneOut


@dataclass(frozen=True, kw_only=True)
class OutcomeRow:
    """How often an outcome was found, by verdict."""

    outcome: str
    meaning: str
    verdicts: tuple[tuple[Verdict, int], ...]
    total: int


def counts_of(table: pd.DataFrame) -> Counts:
    """Failures among the conclusive trials of a table."""
    return Counts(failed=int(table["verdict"].eq(Verdict.FAIL.value).sum()), trials=int(is_conclusive(table).sum()))


def independent(table: pd.DataFrame) -> pd.DataFrame:
    """The trials that may be pooled into a probability: updates that were drawn at random and went the whole way.

    Left out are staged ones (the debug probe placed the image), cuts aimed at what had not been hit yet, looks at a unit as
    delivered, and images that had to be refused.
    """
    chance = table["aim"].isna() | table["aim"].eq("chance")
    return table[chance & ~table["staged"].astype(bool) & ~table["inspect"].astype(bool) & ~table["expect"].eq("refused")]


def recovery(table: pd.DataFrame) -> list[Share]:
    """Conclusive trials by the phase in which the fault really fell, in the order of the phases; the control group comes last."""
    sound, control = faulted(table), undisturbed(table)
    by_phase = {str(name): rows for name, rows in sound.groupby(sound["fault_phase"].astype(object).fillna(""), sort=False)}
    order = [name for name in PHASES if name in by_phase] + sorted(set(by_phase) - set(PHASES))
    shares = [_share(name, by_phase[name]) for name in order]
    return [*shares, _share("control", control)] if len(control) else shares


def _share(name: str, rows: pd.DataFrame) -> Share:
    bad = counts_of(rows).failed
    low, high = statistics.interval(len(rows) - bad, len(rows))
    usual = rows.loc[rows["verdict"].eq(Verdict.PASS.value), "outcome"].value_counts()
    named = tuple(str(outcome) for outcome, number in usual.items() if number)[:2]
    return Share(name=name, trials=len(rows), failed=bad, low=low, high=high, usual=named)


def boards(stock: Stock) -> Groups:
    """One row per board, in the order of the plans."""
    socs = {board.name: board.soc for campaign in stock.campaigns for board in campaign.plan.boards}
    return _groups(stock.trials, "board", socs)


def nights(stock: Stock) -> Groups:
    """One row per campaign, in the order given."""
    return _groups(stock.trials, "campaign", dict.fromkeys(stock.labels, ""), what="campaign")


def _groups(table: pd.DataFrame, column: str, socs: dict[str, str], *, what: str = "board") -> Groups:
    narrow = table[[column, "verdict", "fault_proved"]]
    parts = {name: narrow[narrow[column].eq(encodable(name))] for name in socs}
    counts = {name: counts_of(part) for name, part in parts.items()}
    left_out = leave_one_out(counts, what=what)
    rows = tuple(
        GroupRow(
            name=name,
            soc=socs[name],
            trials=counts[name].trials,
            failed=counts[name].failed,
            lost=int(part["verdict"].isin(LOST).sum()),
            faults=int(is_faulted(part).sum()),
            bound=statistics.upper_bound(counts[name].failed, counts[name].trials) if counts[name].trials else None,
            without=left_out.without.get(name),
        )
        for name, part in parts.items()
    )
    return Groups(rows=rows, homogeneity=homogeneity(counts, what=what), leave_one_out=left_out)


def outcomes(table: pd.DataFrame) -> list[OutcomeRow]:
    """Every outcome that was found, in the order of the model."""
    found = judged(table)
    counts = found.groupby([found["outcome"].astype(object), found["verdict"].astype(object)]).size().to_dict()
    rows = []
    for outcome in Outcome:
        verdicts = tuple((verdict, int(counts.get((outcome.value, verdict.value), 0))) for verdict in Verdict)
        total = sum(number for _, number in verdicts)
        if total:
            rows.append(OutcomeRow(outcome=outcome.value, meaning=MEANINGS[outcome], verdicts=verdicts, total=total))
    return rows


def interrupted_updates(table: pd.DataFrame) -> tuple[Counts, bool]:
    """Failures of the updates that may be pooled: those with a proved fault, or all where none had one; and whether faults count."""
    pool = independent(table)
    with_fault = faulted(pool)
    return (counts_of(with_fault), True) if len(with_fault) else (counts_of(pool), False)


def update_times(table: pd.DataFrame) -> np.ndarray:
    """Seconds of the complete updates that no fault disturbed, from looking for the device to the confirmation."""
    sound = independent(undisturbed(table))
    sound = sound[sound["verdict"].eq(Verdict.PASS.value)]
    phases = sound[[f"{phase}_s" for phase in UPDATE_PHASES]]
    whole = phases["upload_s"].notna() & phases["install_s"].notna()
    return np.asarray(phases[whole].sum(axis=1), dtype=np.float64)


def phase_times(table: pd.DataFrame, phase: str) -> np.ndarray:
    """Seconds of one phase in conclusive trials, without those whose fault fell into it."""
    calm = is_conclusive(table) & ~table["fault_phase"].eq(phase)
    return np.asarray(table.loc[calm, f"{phase}_s"].dropna(), dtype=np.float64)


def downtimes(table: pd.DataFrame) -> np.ndarray:
    """Seconds out of service, of conclusive trials in which they are known."""
    return np.asarray(table.loc[is_conclusive(table), "downtime_s"].dropna(), dtype=np.float64)


def pace(stock: Stock) -> Pace:
    """How many conclusive trials the bench makes in an hour; campaigns follow each other, boards of one work side by side."""
    spent = judged(stock.trials)
    busy = spent.groupby([spent["campaign"].astype(object), spent["board"].astype(object)])["duration_s"].sum()
    seconds = float(busy.groupby(level=0).max().sum()) if len(busy) else 0.0
    sound = stock.count.conclusive
    lacking = "" if sound and seconds else "no conclusive trial with a known duration"
    return Pace(conclusive=sound, boards=spent["board"].nunique(), seconds=seconds, lacking=lacking)
