"""Stored trials as a table, one row per planned trial, and their cuts as another; and the first as files.

A million trials must fit into memory, so columns are filled value by value: text as codes into a list of the different values,
numbers as machine numbers.
"""

from __future__ import annotations

import importlib.util
import io
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from rig.model import Outcome, Phase, Verdict
from rig.report.words import encodable
from rig.store import IndexedTrial

PHASES = tuple(phase.value for phase in Phase)
CONCLUSIVE = (Verdict.PASS.value, Verdict.FAIL.value)
LOST = (Verdict.INCONCLUSIVE.value, Verdict.ERROR.value)
PARQUET_HINT = "trials.parquet was not written: pip install 'rig-ota[parquet]'"

_TEXT = (
    *("campaign", "scenario", "board", "soc", "protocol", "stratum", "old_version", "new_version", "request", "expect", "spoiled"),
    *("fault", "aim", "trigger", "verdict", "outcome", "reason", "fault_phase", "complaints"),
)
_NAMES = ("trial", "seed")
_NUMBERS = ("interference", "off_s", "into_phase_s", "downtime_s", "duration_s", *(f"{phase}_s" for phase in PHASES))
_COUNTS = ("repeat", "operation", "device_attempts", "events", "interrupted")
_FLAGS = ("staged", "inspect", "fault_requested", "fault_delivered", "fault_proved")
COLUMNS = (
    *("campaign", "trial", "scenario", "board", "soc", "protocol", "stratum", "seed", "old_version", "new_version", "request"),
    *("expect", "spoiled", "staged", "inspect", "fault", "aim", "interference", "trigger", "off_s", "repeat", "verdict", "outcome", "reason"),
    *("fault_requested", "fault_delivered", "fault_proved", "fault_phase", "into_phase_s", "operation"),
    *("device_attempts", "downtime_s", "duration_s", "events", "interrupted", "complaints"),
    *(f"{phase}_s" for phase in PHASES),
)
CUT_COLUMNS = ("row", "phase", "into_s", "operation")
_NAN = float("nan")
Value = str | int | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Tables:
    """`trials` has the columns of `COLUMNS`; `cuts` one row per proved cut of a conclusive trial, whose `row` counts the trials' rows.

    Times are seconds; what is not known is missing, never zero.  `into_phase_s`, `into_s` and `operation` count from the start of
    the phase in which the fault fell; in `trials` they are those of the first fault.
    """

    trials: pd.DataFrame
    cuts: pd.DataFrame


class TableBuilder:
    """Takes trials one by one and makes the tables of them."""

    def __init__(self) -> None:
        self._texts = {name: _TextColumn() for name in _TEXT}
        self._names: dict[str, list[str]] = {name: [] for name in _NAMES}
        self._numbers = {name: array("d") for name in (*_NUMBERS, *_COUNTS, *_FLAGS)}
        self._cut_phase = _TextColumn()
        self._cut_numbers = {name: array("d") for name in ("row", "into_s", "operation")}
        self._rows = 0
        computed = {"campaign", "soc", "into_phase_s", "operation", "interrupted", *(f"{phase}_s" for phase in PHASES)}
        # Everything that is done for each of a million trials is looked up once.
        self._told = [(name, texts.codes.append, texts.known) for name, texts in self._texts.items() if name not in computed]
        self._given: list[tuple[str, Callable[[Any], None]]] = [
            (name, numbers.append) for name, numbers in self._numbers.items() if name not in computed
        ]
        self._spent = [(phase, self._numbers[f"{phase}_s"].append) for phase in PHASES]

    def add(self, campaign: str, soc: str, trial: IndexedTrial) -> None:
        """One more row."""
        values, numbers = trial.columns, self._numbers
        self._texts["campaign"].add(campaign)
        self._texts["soc"].add(soc)
        for name, append, known in self._told:
            text = values[name]
            append(-1 if text is None else known.setdefault(text, len(known)))
        for name, names in self._names.items():
            names.append(encodable(str(values[name])))
        for name, append in self._given:
            value = values[name]
            append(_NAN if value is None else value)
        for phase, append in self._spent:
            append(trial.phases.get(phase, _NAN))
        into_ns, operation = trial.cuts[0][3:5] if trial.cuts else (None, None)
        numbers["into_phase_s"].append(_NAN if into_ns is None else into_ns / 1e9)
        numbers["operation"].append(_NAN if operation is None else operation)
        numbers["interrupted"].append(trial.interrupted)
        if values["verdict"] in CONCLUSIVE and values["fault"] == "power-cut":
            self._add_cuts(trial)
        self._rows += 1

    def _add_cuts(self, trial: IndexedTrial) -> None:
        for _, phase, _, into_ns, operation, proved in trial.cuts:
            if proved:
                self._cut_phase.add(phase)
                self._cut_numbers["row"].append(self._rows)
                self._cut_numbers["into_s"].append(np.nan if into_ns is None else into_ns / 1e9)
                self._cut_numbers["operation"].append(np.nan if operation is None else operation)

    def done(self) -> Tables:
        """Everything added so far."""
        columns: dict[str, object] = {name: texts.done() for name, texts in self._texts.items()}
        columns |= {name: pd.Series(names, dtype=object) for name, names in self._names.items()}
        columns |= {name: _floats(self._numbers[name]) for name in _NUMBERS}
        columns |= {name: pd.array(_floats(self._numbers[name]), dtype="Float64").astype("Int64") for name in _COUNTS}
        columns |= {name: pd.array(_floats(self._numbers[name]), dtype="Float64").astype("boolean") for name in _FLAGS}
        cuts = {name: _floats(numbers) for name, numbers in self._cut_numbers.items()}
        return Tables(
            trials=pd.DataFrame({name: columns[name] for name in COLUMNS}),
            cuts=pd.DataFrame({"row": cuts["row"].astype("int64"), "phase": self._cut_phase.done(), "into_s": cuts["into_s"], "operation": cuts["operation"]}),
        )


class _TextColumn:
    """Text values as codes; missing is code -1, as pandas has it."""

    def __init__(self) -> None:
        self.codes = array("i")
        self.known: dict[Value, int] = {}

    def add(self, value: Value) -> None:
        self.codes.append(-1 if value is None else self.known.setdefault(value, len(self.known)))

    def done(self) -> pd.Categorical:
        # Two texts may become one when they are made encodable, which a categorical does not allow.
        texts = [encodable(str(text)) for text in self.known]
        merged = {text: code for code, text in enumerate(dict.fromkeys(texts))}
        codes = np.frombuffer(self.codes, dtype=np.intc) if self.codes else np.empty(0, dtype=np.intc)
        if len(merged) != len(texts):
            codes = np.append(np.array([merged[text] for text in texts]), -1)[codes]
        return pd.Categorical.from_codes(codes, categories=pd.Index(list(merged), dtype=object))


def _floats(numbers: array[float]) -> np.ndarray:
    return np.frombuffer(numbers, dtype=np.float64) if numbers else np.empty(0)


def is_conclusive(table: pd.DataFrame) -> pd.Series:
    """Which trials say something about the device.  A table of a million rows is better counted than copied."""
    return table["verdict"].isin(CONCLUSIVE)


def is_faulted(table: pd.DataFrame) -> pd.Series:
    """Which conclusive trials had a proved fault."""
    return is_conclusive(table) & table["fault_proved"].fillna(value=False).astype(bool)


def conclusive(table: pd.DataFrame) -> pd.DataFrame:
    """The trials that say something about the device."""
    return table[is_conclusive(table)]


def lost(table: pd.DataFrame) -> pd.DataFrame:
    """The judged trials that say nothing about the device."""
    return table[table["verdict"].isin(LOST)]


def failed(table: pd.DataFrame) -> pd.DataFrame:
    """The trials that failed."""
    return table[table["verdict"].eq(Verdict.FAIL.value)]


def judged(table: pd.DataFrame) -> pd.DataFrame:
    """The trials that have been run."""
    return table[table["verdict"].notna()]


def faulted(table: pd.DataFrame) -> pd.DataFrame:
    """The conclusive trials with a proved fault."""
    return table[is_faulted(table)]


def undisturbed(table: pd.DataFrame) -> pd.DataFrame:
    """The conclusive updates that were planned without fault."""
    return table[is_conclusive(table) & table["fault"].eq("none") & ~table["inspect"].astype(bool)]


def failures_by_outcome(table: pd.DataFrame) -> dict[Outcome, int]:
    """How many trials failed with each outcome, in the order of the model."""
    counts = failed(table)["outcome"].value_counts()
    return {outcome: int(counts[outcome.value]) for outcome in Outcome if counts.get(outcome.value, 0)}


def as_csv(table: pd.DataFrame) -> bytes:
    """The table for spreadsheets and scripts.

    Text that a spreadsheet would take for a formula gets a leading apostrophe, since reasons may quote what a device printed.
    """
    safe = table.copy()
    for column in ("reason", "board", "scenario", "complaints", "campaign"):
        if column in safe:
            safe[column] = _disarmed(safe[column])
    return str(safe.to_csv(index=False, lineterminator="\n")).encode("utf-8")


def _disarmed(texts: pd.Series) -> pd.Series:
    return texts.astype(object).map(lambda text: f"'{text}" if isinstance(text, str) and text[:1] in "=+-@\t\r" else text)


def has_parquet() -> bool:
    """Whether this machine can write Parquet."""
    return importlib.util.find_spec("pyarrow") is not None


def as_parquet(table: pd.DataFrame) -> bytes | None:
    """The table for large questions, or None where pyarrow is not installed."""
    if not has_parquet():
        return None
    file = io.BytesIO()
    table.to_parquet(file, compression="zstd", index=False)
    return file.getvalue()


def tables_of(rows: Iterable[tuple[str, str, IndexedTrial]]) -> Tables:
    """The tables of trials, each given with its campaign and its board's SoC."""
    builder = TableBuilder()
    for campaign, soc, trial in rows:
        builder.add(campaign, soc, trial)
    return builder.done()
