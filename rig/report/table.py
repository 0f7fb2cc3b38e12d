"""Stored trials as a table, one row per planned trial; and that table as files."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Sequence
from typing import Any

import pandas as pd

from rig.model import Json, Phase, PowerCut
from rig.report.words import encodable
from rig.store import Plan, TrialRecord

PHASES = tuple(phase.value for phase in Phase)
_SECONDS = ("off_s", "into_phase_s", "downtime_s", "duration_s", *(f"{phase}_s" for phase in PHASES))
_COUNTS = ("repeat", "operation", "device_attempts", "events", "interrupted")
_FLAGS = ("staged", "fault_requested", "fault_delivered", "fault_proved")
PARQUET_HINT = "trials.parquet was not written: pip install 'rig-ota[parquet]'"


def trial_table(plan: Plan, records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Every planned trial with what was decided, done and found; what is not known is missing, never zero.

    Times are seconds.  `into_phase_s` and `operation` say where the first fault fell, counted from the start of `fault_phase`.
    """
    socs = {board.name: board.soc for board in plan.boards}
    rows = [_row(record, socs[record.trial.board]) for record in records]
    sound = [{name: encodable(value) if isinstance(value, str) else value for name, value in row.items()} for row in rows]
    frame = pd.DataFrame(sound, columns=_columns(), dtype=object)
    return frame.astype(dict.fromkeys(_SECONDS, "float64") | dict.fromkeys(_COUNTS, "Int64") | dict.fromkeys(_FLAGS, "boolean"))


def _columns() -> list[str]:
    return [
        *("trial", "scenario", "board", "soc", "protocol", "stratum", "seed", "old_version", "new_version", "request", "staged"),
        *("fault", "trigger", "off_s", "repeat", "verdict", "outcome", "reason"),
        *("fault_requested", "fault_delivered", "fault_proved", "fault_phase", "into_phase_s", "operation"),
        *("device_attempts", "downtime_s", "duration_s", "events", "interrupted"),
        *(f"{phase}_s" for phase in PHASES),
    ]


def _row(record: TrialRecord, soc: str) -> dict[str, Any]:
    trial, judgement, evidence = record.trial, record.judgement, record.evidence
    row: dict[str, Any] = {
        "trial": trial.id,
        "scenario": trial.scenario,
        "board": trial.board,
        "soc": soc,
        "protocol": trial.protocol.value,
        "stratum": trial.stratum,
        "seed": str(trial.seed),  # may exceed 64 bits
        "old_version": trial.old.version,
        "new_version": trial.new.version,
        "request": trial.request.value,
        "staged": trial.staged,
        "interrupted": record.interrupted,
        **_fault(trial.fault),
    }
    if judgement is not None:
        row |= {
            "verdict": judgement.verdict.value,
            "outcome": judgement.outcome.value,
            "reason": judgement.reason,
            "fault_requested": judgement.fault_requested,
            "fault_delivered": judgement.fault_delivered,
            "fault_proved": judgement.fault_proved,
            "fault_phase": judgement.fault_phase,
            "device_attempts": judgement.attempts,
            "downtime_s": judgement.downtime_s,
            **{f"{phase}_s": duration for phase, duration in judgement.phases.items() if phase in PHASES},
        }
    if evidence is not None:
        row |= {"duration_s": evidence.duration_ns / 1e9, "events": evidence.events}
        if evidence.faults:
            first = evidence.faults[0]
            row["into_phase_s"] = None if first.into_phase_ns is None else first.into_phase_ns / 1e9
            row["operation"] = first.operation
    return row


def fault_name(fault: PowerCut | None) -> str:
    """The kind of a planned fault, as reports and test cases name it."""
    return "none" if fault is None else "power-cut"


def _fault(fault: PowerCut | None) -> dict[str, Json]:
    if fault is None:
        return {"fault": fault_name(fault)}
    return {"fault": fault_name(fault), "trigger": fault.trigger.kind.value, "off_s": fault.off_s, "repeat": fault.repeat}


def as_csv(table: pd.DataFrame) -> bytes:
    """The table for spreadsheets and scripts.

    Text that a spreadsheet would take for a formula gets a leading apostrophe, since reasons may quote what a device printed.
    """
    safe = table.copy()
    for column in ("reason", "board", "scenario"):
        safe[column] = safe[column].map(lambda text: f"'{text}" if isinstance(text, str) and text[:1] in "=+-@\t\r" else text)
    return str(safe.to_csv(index=False, lineterminator="\n")).encode("utf-8")


def as_parquet(table: pd.DataFrame) -> bytes | None:
    """The table for large questions, or None where pyarrow is not installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return None
    file = io.BytesIO()
    table.to_parquet(file, compression="zstd", index=False)
    return file.getvalue()
