"""Radio interference: how updates fared at each level of it."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from rig.report.statistics import interval
from rig.report.table import conclusive, failed


@dataclass(frozen=True, kw_only=True)
class LevelRow:
    """The trials at one power of the interferer, in dBm: how many, how many failed, the exact interval of the share that passed, and the median upload."""

    level: float
    trials: int
    failed: int
    low: float
    high: float
    upload_s: float | None


def levels(trials: pd.DataFrame) -> list[LevelRow]:
    """One row per level, rising; empty where no trial had interference."""
    rows = []
    for level, group in conclusive(trials).groupby("interference", sort=True):
        bad = len(failed(group))
        low, high = interval(len(group) - bad, len(group))
        upload = group["upload_s"].median()
        rows.append(
            LevelRow(
                level=float(level), trials=len(group), failed=bad, low=low, high=high, upload_s=None if pd.isna(upload) else float(upload)
            )
        )
    return rows
