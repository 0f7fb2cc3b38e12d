"""Stored trials to tables, figures and one page; everything from the campaign folder, nothing from a bench."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rig.accept import Decision, decide, decide_campaign, tally
from rig.report.junit import junit_xml
from rig.report.page import Contents, render
from rig.report.table import PARQUET_HINT, as_csv, as_parquet, trial_table
from rig.store import Campaign, TrialRecord, layout, summarise

__all__ = ["PARQUET_HINT", "build_report", "decide_records"]


def build_report(campaign_dirs: Sequence[Path]) -> list[Path]:
    """Write page, tables, JUnit and summary into each campaign's folder, from its stored files only.

    Returns the paths written, the page of each campaign first.  ``trials.parquet`` is among them only where pyarrow is installed;
    otherwise the page says how to get it.  The same files always give the same bytes.

    Raises:
        StorageError: a folder is no campaign, was written by another version, cannot be read, or refuses the products.
    """
    written: list[Path] = []
    for folder in campaign_dirs:
        written += _report(Campaign.open(folder))
    return written


def decide_records(campaign: Campaign, records: Sequence[TrialRecord]) -> dict[str, Decision]:
    """The decision on each scenario of the plan, by its name."""
    judgements = {record.trial.id: record.judgement for record in records if record.judgement}
    return {
        scenario.name: decide(
            tally((record.trial for record in records if record.trial.scenario == scenario.name), judgements), scenario.accept
        )
        for scenario in campaign.plan.scenarios
    }


def _report(campaign: Campaign) -> list[Path]:
    records = tuple(campaign.records())
    decisions = decide_records(campaign, records)
    decision = decide_campaign(decisions)
    table = trial_table(campaign.plan, records)
    summary = summarise(campaign.plan, campaign.provenance, records)
    summary["decision"] = {**asdict(decision), "exit_code": decision.exit_code}
    summary["scenarios"] = {name: one.word.value for name, one in decisions.items()}
    parquet = as_parquet(table)
    contents = Contents(
        campaign=campaign,
        records=records,
        table=table,
        decisions=decisions,
        decision=decision,
        summary=summary,
        has_parquet=parquet is not None,
    )
    written = [campaign.write_product(layout.REPORT, render(contents).encode("utf-8", "backslashreplace"))]
    written.append(campaign.write_product(layout.TABLE_CSV, as_csv(table)))
    if parquet is not None:
        written.append(campaign.write_product(layout.TABLE_PARQUET, parquet))
    written.append(campaign.write_product(layout.JUNIT, junit_xml(campaign, records, decisions)))
    written.append(campaign.write_summary(summary))
    return written
