"""What a report is made of: one or more stored campaigns, read into one pair of tables.

Small campaigns are read from their files, which are the record.  Large ones are read from their database, an index of these files
that the store keeps complete; then the evidence is compared for every failed and lost trial and a sample of the others only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from rig.accept import Decision, Tally, decide
from rig.errors import ConfigError
from rig.model import Verdict
from rig.report import table as tables
from rig.report.words import encodable
from rig.store import Campaign, IndexedTrial, indexed, planned_count, read_index, readable

LARGE = 1000
"""From this many trials on, the database is read instead of the files."""
_COMPARED, _TELLING = 200, 1000
"""Passed, and other, trials of a large campaign whose evidence is compared."""


@dataclass(frozen=True, kw_only=True)
class Alteration:
    """A trial whose stored evidence is not what it was."""

    trial: str
    complaints: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Stock:
    """Stored campaigns, read together.  `campaigns` and `labels` agree in order; `tables.trials` has the labels as `campaign`."""

    campaigns: tuple[Campaign, ...]
    labels: tuple[str, ...]
    tables: tables.Tables
    alterations: tuple[Alteration, ...]
    compared: int
    """Trials whose evidence was compared with the list made of it when they ended."""

    @property
    def trials(self) -> pd.DataFrame:
        return self.tables.trials

    @property
    def single(self) -> bool:
        """Whether there is only one campaign, so that a trial's name says which trial."""
        return len(self.campaigns) == 1

    def campaign(self, label: str) -> Campaign:
        """The campaign of that label."""
        return self.campaigns[self.labels.index(label)]

    def key(self, label: str, trial: str) -> str:
        """A name for a trial that is unique within the stock and stays when it is read again."""
        return trial if self.single else f"{self.labels.index(label) + 1}-{trial}"

    @cached_property
    def count(self) -> Tally:
        """All trials, counted."""
        return tallied(self.trials)

    @cached_property
    def decisions(self) -> dict[str, Decision]:
        """Each scenario of each plan against its own criteria."""
        found = {}
        for label, campaign in zip(self.labels, self.campaigns, strict=True):
            mine = self.trials if self.single else self.trials[self.trials["campaign"].eq(label)]
            for scenario in campaign.plan.scenarios:
                name = scenario.name if self.single else f"{label}: {scenario.name}"
                found[name] = decide(tallied(mine[mine["scenario"].eq(encodable(scenario.name))]), scenario.accept)
        return found


def tallied(trials: pd.DataFrame) -> Tally:
    """The rows of a table of trials, counted."""
    verdicts = trials["verdict"].value_counts()
    count = {verdict: int(verdicts.get(verdict.value, 0)) for verdict in Verdict}
    due = trials["verdict"].notna() & ~trials["fault"].eq("none") & ~trials["verdict"].eq(Verdict.ERROR.value)
    return Tally(
        planned=len(trials),
        passed=count[Verdict.PASS],
        failed=count[Verdict.FAIL],
        inconclusive=count[Verdict.INCONCLUSIVE],
        errors=count[Verdict.ERROR],
        faults_due=int(due.sum()),
        faults_proved=int((due & trials["fault_proved"].fillna(value=False).astype(bool)).sum()),
        failures=tables.failures_by_outcome(trials),
    )


def read_stock(folders: Sequence[Path]) -> Stock:
    """Read campaigns.

    Raises:
        ConfigError: no folder, or one named twice.
        StorageError: a folder is no campaign, was written by another version, or cannot be read.
    """
    if not folders:
        raise ConfigError("no campaign was named")
    resolved = [folder.resolve() for folder in folders]
    for folder in folders:
        if resolved.count(folder.resolve()) > 1:
            raise ConfigError(f"{folder}: is named twice; its trials would count twice")
    large = [readable(folder) and planned_count(folder) >= LARGE for folder in folders]
    campaigns = tuple(Campaign.open_head(f) if is_large else Campaign.open(f) for f, is_large in zip(folders, large, strict=True))
    labels = _labels(campaigns)
    builder = tables.TableBuilder()
    for campaign, label, is_large in zip(campaigns, labels, large, strict=True):
        socs = {board.name: board.soc for board in campaign.plan.boards}
        trials = read_index(campaign.path) if is_large else _from_files(campaign)
        for trial in trials:
            builder.add(label, socs.get(str(trial.columns["board"]), ""), trial)
    read = builder.done()
    alterations: list[Alteration] = []
    compared = 0
    for campaign, label, is_large in zip(campaigns, labels, large, strict=True):
        mine = read.trials[read.trials["campaign"].eq(label)]
        chosen = _to_compare(mine) if is_large else tables.judged(mine)
        compared += len(chosen)
        alterations += _alterations(campaign, chosen)
    return Stock(campaigns=campaigns, labels=labels, tables=read, alterations=tuple(alterations), compared=compared)


def _labels(campaigns: Sequence[Campaign]) -> tuple[str, ...]:
    """The campaigns' names; their paths where two have the same name."""
    names = [encodable(campaign.plan.campaign) for campaign in campaigns]
    return tuple(
        name if names.count(name) == 1 else encodable(str(campaign.path)) for name, campaign in zip(names, campaigns, strict=True)
    )


def _from_files(campaign: Campaign) -> Iterator[IndexedTrial]:
    return (indexed(record, position) for position, record in enumerate(campaign.records()))


def _to_compare(trials: pd.DataFrame) -> pd.DataFrame:
    """Every trial that a reader will look into, and evenly spread ones of the others."""
    judged = tables.judged(trials)
    telling = judged["verdict"].ne(Verdict.PASS.value) | judged["complaints"].notna()
    others = judged[~telling]
    step = max(len(others) // _COMPARED, 1)
    return pd.concat([judged[telling].head(_TELLING), others.iloc[np.arange(0, len(others), step)]])


def _alterations(campaign: Campaign, trials: pd.DataFrame) -> Iterator[Alteration]:
    """Trials whose journal was damaged when it was closed, or whose files have changed since."""
    for trial, complaints in zip(trials["trial"], trials["complaints"], strict=True):
        old = tuple(str(complaints).split("\n")) if isinstance(complaints, str) else ()
        evidence = campaign.evidence(trial)
        new = campaign.altered_files(trial, evidence) if evidence else ("evidence.json: missing",)
        if old or new:
            yield Alteration(trial=trial, complaints=(*old, *new))
