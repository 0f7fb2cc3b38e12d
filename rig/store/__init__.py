"""Where things lie under ``reports/``; nobody else knows a file name.

A campaign folder::

    plan.json  provenance.json  images/       before any hardware is touched
    campaign.sqlite  campaign.lock            while it runs; the database is an index that can be rebuilt
    trials/ID/journal.jsonl                   what happened, event by event
    trials/ID/console.log, console.times, radio.btsnoop, supply-N.csv, flash.bin      raw evidence
    trials/ID/evidence.json                   the list of the evidence, when the attempt has ended
    trials/ID/judgement.json                  when it has been judged
    trials/ID.attempt-N/                      attempts that were interrupted
    replays/ID.replay-N/                      repetitions, which never count
    shrinks/ID.shrink-N/                      attempts to make a programme smaller, which never count
    rounds/0000.json                          trials planned while it runs, each round before it runs
    recoveries/N-BOARD.json                   what was done about boards after lost trials, and who is quarantined
    summary.json  trials.csv  report.html  junit.xml

Every JSON file names its format and version; another version is refused, never guessed at.
"""

from __future__ import annotations

from rig.store.attempt import Attempt
from rig.store.campaign import Campaign, write_product, write_summary
from rig.store.index import IndexedTrial, Planned, fault_name, indexed, planned, planned_count, read_index, readable
from rig.store.provenance import collect_provenance
from rig.store.rebuild import rebuild_database
from rig.store.records import (
    Climb,
    Evidence,
    EvidenceFile,
    FaultMark,
    Plan,
    Provenance,
    Recovery,
    Round,
    RoundPart,
    RungResult,
    ScenarioPlan,
    TrialRecord,
)
from rig.store.session import Session
from rig.store.summary import summarise

__all__ = [
    "Attempt",
    "Campaign",
    "Climb",
    "Evidence",
    "EvidenceFile",
    "FaultMark",
    "IndexedTrial",
    "Plan",
    "Planned",
    "Provenance",
    "Recovery",
    "Round",
    "RoundPart",
    "RungResult",
    "ScenarioPlan",
    "Session",
    "TrialRecord",
    "collect_provenance",
    "fault_name",
    "indexed",
    "planned",
    "planned_count",
    "read_index",
    "readable",
    "rebuild_database",
    "summarise",
    "write_product",
    "write_summary",
]
