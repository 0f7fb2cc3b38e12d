"""Stored trials to tables, figures and one page; everything from campaign folders, nothing from a bench."""

from __future__ import annotations

from rig.report.build import DEFAULT_FORMATS, FORMATS, Built, build_report
from rig.report.compare import compare, trend
from rig.report.table import PARQUET_HINT

__all__ = ["DEFAULT_FORMATS", "FORMATS", "PARQUET_HINT", "Built", "build_report", "compare", "trend"]
