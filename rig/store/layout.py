"""The names of everything in a campaign folder."""

from __future__ import annotations

import re

from rig.errors import StorageError

PLAN, PROVENANCE, SUMMARY = "plan.json", "provenance.json", "summary.json"
DATABASE, LOCK = "campaign.sqlite", "campaign.lock"
IMAGES, TRIALS, REPLAYS, ROUNDS, SHRINKS = "images", "trials", "replays", "rounds", "shrinks"
RECOVERIES = "recoveries"
TABLE_CSV, TABLE_PARQUET, REPORT, JUNIT = "trials.csv", "trials.parquet", "report.html", "junit.xml"
MARKDOWN, PDF = "report.md", "report.pdf"

JOURNAL, JUDGEMENT, EVIDENCE = "journal.jsonl", "judgement.json", "evidence.json"
CONSOLE, CONSOLE_TIMES, RADIO, FLASH = "console.log", "console.times", "radio.btsnoop", "flash.bin"

PLAN_FORMAT, PROVENANCE_FORMAT, SUMMARY_FORMAT = "rig.plan/1", "rig.provenance/1", "rig.summary/1"
JUDGEMENT_FORMAT, EVIDENCE_FORMAT = "rig.judgement/1", "rig.evidence/1"
ROUND_FORMAT = "rig.round/1"
RECOVERY_FORMAT = "rig.recovery/1"

ASIDE = ".attempt-"
"""An interrupted attempt of trial T lies in ``trials/T.attempt-N``."""

REPLAY = ".replay-"
"""A repetition of trial T lies in ``replays/T.replay-N``."""

SHRINK = ".shrink-"
"""A try with a smaller programme than that of trial T lies in ``shrinks/T.shrink-N``."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def checked_name(name: str, *, what: str) -> str:
    """`name`, when it can be the name of a file or folder on every system.

    Raises:
        StorageError: it is empty, longer than 100 characters, or holds other characters than letters, digits, ``.``, ``_``, ``-``.
    """
    if not _NAME.fullmatch(name) or name.endswith(".") or ASIDE in name:
        raise StorageError(f"{what} {name!r} cannot be a file name; use letters, digits, '.', '_' and '-'")
    return name
