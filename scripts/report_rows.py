"""How long reports take, and how much room: campaigns made by the store's own code from a seed, then multiplied in the database.

Every trial of a large campaign has its row in the database, its line in the plan and its folder; folders of multiplied trials are
links to the evidence of the one that they were multiplied from.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import apsw

from rig.model import Outcome, Verdict
from rig.store import Campaign, layout
from tests import synthetic
from tests.synthetic import Ending

CAMPAIGNS, MADE, TIMES = 10, 1000, 100
"""Ten campaigns of 100,000 trials: of each 1,000 are acted out, and stand for a hundred."""
_BRICKED = Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="no boot and no advertising for 120 s")
_LOST = Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason="dk1.probe: no answer in 5 s")
_TABLES = {"attempt": "trial", "phase": "trial", "cut": "trial", "planned": "trial"}


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one `rig report` took: CPU seconds, and the largest memory of any child so far."""

    seconds: float
    peak_mb: float
    page_mb: float


@contextmanager
def campaigns(number: int, trials: int, *, times: int = 1) -> Iterator[list[Path]]:
    """Folders of campaigns of `trials` acted-out trials, each standing for `times`."""
    with tempfile.TemporaryDirectory(prefix="rig-report-") as name, mock.patch("os.fsync"):
        folders = []
        for index in range(number):
            endings = {7: _BRICKED, trials // 2: _LOST}
            made = synthetic.campaign(
                Path(name) / str(index), trials=trials, boards=8, endings=endings, seed=index, name=f"night-{index:02}"
            )
            if times > 1:
                multiply(made, times)
            folders.append(made.path)
        yield folders


def multiply(campaign: Campaign, times: int) -> None:
    """Add `times` - 1 further trials for each trial, in the database, the plan and the folder."""
    connection = apsw.Connection(str(campaign.path / layout.DATABASE))
    connection.execute("PRAGMA synchronous = OFF; PRAGMA foreign_keys = OFF")
    with connection:
        for table, key in _TABLES.items():
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            wanted = ", ".join({key: f"{key} || '-' || copy", "position": f"position + copy * {len(campaign.plan.trials)}"}.get(c, c) for c in columns)
            copies = "WITH RECURSIVE copies(copy) AS (SELECT 1 UNION ALL SELECT copy + 1 FROM copies WHERE copy < ?)"
            connection.execute(f"{copies} INSERT INTO {table} SELECT {wanted} FROM {table}, copies", (times - 1,))  # noqa: S608
    connection.close()
    path = campaign.path / layout.PLAN
    lines = path.read_text("utf-8").splitlines()
    head, trials = lines[:-2], lines[-len(campaign.plan.trials) - 1 : -1]
    with path.open("w", encoding="utf-8") as file:
        file.write("\n".join(head) + "\n" + trials[-1].rstrip(","))
        for trial, line in zip(campaign.plan.trials, trials, strict=True):
            for n in range(1, times):
                file.write(",\n" + line.rstrip(",").replace(f'"id":"{trial.id}"', f'"id":"{trial.id}-{n}"'))
                campaign.trial_folder(f"{trial.id}-{n}").symlink_to(trial.id)
        file.write("\n]}\n")


def measure(folders: list[Path], *, formats: str) -> Measured:
    """Run `rig report` in a process of its own."""
    out = folders[0].parent / "out"
    command = [sys.executable, "-c", "from rig.cli import main; main()", "report", *map(str, folders), "--out", str(out)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([*command, "--format", formats], check=False, capture_output=True)  # noqa: S603 - our own command
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if not (out / layout.SUMMARY).exists():
        raise SystemExit(f"the report of the benchmark was not made: {done.stderr.decode()}")
    attempted = json.loads((out / layout.SUMMARY).read_text())["trials"]["attempted"]
    print(f"     rig report of {attempted:,} trials in {len(folders)} campaigns: {seconds:.1f} CPU s", flush=True)
    return Measured(seconds=seconds, peak_mb=after.ru_maxrss / 1024, page_mb=(out / layout.REPORT).stat().st_size / 1e6)


def small() -> Measured:
    """3,200 trials in one campaign, all default formats."""
    with campaigns(1, 3200) as folders:
        return measure(folders, formats="html,junit,md,csv")


def large() -> Measured:
    """A million trials with ten phases each."""
    with campaigns(CAMPAIGNS, MADE, times=TIMES) as folders:
        return measure(folders, formats="html,junit,md")
