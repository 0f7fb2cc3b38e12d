"""Killed processes, two runs at once, full and read-only disks: nothing acknowledged is lost."""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from rig.errors import StorageError
from rig.model import Judgement, Outcome, Verdict
from rig.store import Campaign, Session, rebuild_database
from tests import synthetic
from tests.synthetic import Clock

ROOT = Path(__file__).parent.parent


@pytest.fixture
def fresh(tmp_path: Path) -> Campaign:
    """A campaign of six trials, none run."""
    return synthetic.campaign(tmp_path, trials=6, skip=range(6))


_RUN = """
import sys
from pathlib import Path
from rig.store import Campaign, Session
from tests import synthetic
campaign = Campaign.open(Path(sys.argv[1]))
with Session(campaign) as session:
    print("locked", flush=True)
    for trial in campaign.pending_trials():
        synthetic.run_trial(session, trial, console=["x" * 50] * 20)
        print(trial.id, flush=True)
"""


@contextmanager
def running(campaign: Campaign) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", _RUN, str(campaign.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_killed_at_random_moments_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=40, skip=range(40))
    draw, acknowledged, kills = random.Random(7), set[str](), 0
    while campaign.pending_trials():
        with running(campaign) as process:
            assert process.stdout is not None
            for _ in range(draw.randrange(1, 16)):
                acknowledged.add(process.stdout.readline().strip())
            process.kill()
            acknowledged |= {line.strip() for line in process.stdout}
        kills += 1
        acknowledged.discard("")
        judged = {record.trial.id for record in Campaign.open(campaign.path).records() if record.judgement}
        assert acknowledged <= judged
        assert judged.isdisjoint(trial.id for trial in campaign.pending_trials())
        assert len(judged - acknowledged) <= 1, "at most the trial between its judgement and the acknowledgement"
    assert kills >= 3
    with Session(campaign):
        pass
    assert sorted(row.trial for row in synthetic.rows(campaign) if row.state == "judged") == sorted(
        trial.id for trial in campaign.plan.trials
    )
    for record in campaign.records():
        assert record.evidence is not None
        assert not campaign.altered(record)
        assert campaign.journal(record.trial.id).intact
        assert record.evidence.attempt == record.interrupted + 1


def test_two_runs_on_one_campaign_are_refused_until_the_first_is_dead(fresh: Campaign) -> None:
    big = synthetic.campaign(fresh.path.parent.parent / "big", trials=400, skip=range(400))
    with running(big) as process:
        with pytest.raises(StorageError, match=rf"{big.path}: process {process.pid}, started 20\S+, is running this campaign"):
            Session(big)
        with pytest.raises(StorageError, match="is running this campaign"):
            rebuild_database(big)
        process.kill()
    with Session(big) as session:
        assert session.campaign is big


def test_in_one_process_a_campaign_is_also_held_only_once(fresh: Campaign) -> None:
    with Session(fresh), pytest.raises(StorageError, match=rf"process {os.getpid()}, started 20\S+, is running this campaign"):
        Session(fresh)


_FULL_DISK = """
import resource, sys
from pathlib import Path
from rig.errors import StorageError
from rig.store import Campaign, Session
from tests import synthetic
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    campaign = Campaign.open(Path(sys.argv[1]))
    with Session(campaign) as session:
        for trial in campaign.pending_trials():
            synthetic.run_trial(session, trial)
            print(trial.id, flush=True)
except StorageError as error:
    print(f"StorageError {error}")
"""


@pytest.mark.parametrize("limit", [200, 900, 3000, 8192])
def test_a_full_disk_stops_the_run_and_a_resume_completes_it(tmp_path: Path, limit: int) -> None:
    """No file can grow beyond `limit`: the database, the journal or a judgement is hit first, depending on it."""
    campaign = synthetic.campaign(tmp_path, trials=12, skip=range(12))
    done = subprocess.run(
        [sys.executable, "-c", _FULL_DISK, str(campaign.path), str(limit)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    *acknowledged, last = done.stdout.splitlines()
    assert last.startswith(f"StorageError {campaign.path}"), done.stdout + done.stderr
    assert f"`rig resume {campaign.path}`" in last
    assert done.stderr == ""
    assert set(acknowledged) <= {record.trial.id for record in campaign.records() if record.judgement}
    with Session(campaign) as session:
        for trial in campaign.pending_trials():
            synthetic.run_trial(session, trial)
    assert campaign.pending_trials() == []
    assert sum(row.state == "judged" for row in synthetic.rows(campaign)) == 12


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond ten bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_whatever_file_meets_the_full_disk_is_named(fresh: Campaign) -> None:
    def refusal(name: str) -> str:
        return rf"{name}: File too large; free space and run `rig resume {fresh.path}`$"

    judgement = Judgement(trial="T-0003", verdict=Verdict.PASS, outcome=Outcome.UPDATED, reason="fine")
    with Session(fresh) as session:
        attempt = session.begin("T-0001", Clock())
        with full_disk():
            for name, write in (
                ("console.log", lambda: attempt.console(1000.0, b"x" * 100)),
                ("radio.btsnoop", lambda: attempt.radio(b"x" * 100)),
                ("flash.bin", lambda: attempt.save("flash.bin", b"x" * 100)),
            ):
                with pytest.raises(StorageError, match=refusal(name)):
                    write()
        with pytest.raises(StorageError, match=refusal("console.log")):  # again, in case nobody listened the first time
            attempt.close()
        second, third = session.begin("T-0002", Clock()), session.begin("T-0003", Clock())
        third.close()
        with full_disk():
            with pytest.raises(StorageError, match=refusal("evidence.json")):
                second.close()
            with pytest.raises(StorageError, match=refusal("judgement.json")):
                session.record(judgement)
        session.record(judgement)
    assert [trial.id for trial in fresh.pending_trials()] == ["T-0001", "T-0002", "T-0004", "T-0005", "T-0006"]
    with full_disk(), pytest.raises(StorageError, match=r"\.bin: File too large; free space and run `rig resume \S+/other`$"):
        Campaign.create(fresh.path.parent, replace(fresh.plan, campaign="other"), fresh.provenance)
    assert [path.name for path in fresh.path.parent.iterdir()] == [fresh.path.name]


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the privileges of root, for whom no folder is read-only."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_folder_is_named_with_what_to_do() -> None:
    root = Path(tempfile.mkdtemp(prefix="rig-read-only-"))
    try:
        campaign = synthetic.campaign(root, trials=2, skip=range(2))
        for path in (root, *root.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        with as_nobody():
            with pytest.raises(
                StorageError, match=rf"{campaign.path}.*: Permission denied; make the folder writable and run `rig resume"
            ):
                Session(campaign)
            with pytest.raises(StorageError, match=rf"{root}.*: Permission denied; make the folder writable"):
                Campaign.create(root, replace(campaign.plan, campaign="other"), campaign.provenance)
    finally:
        for path in (root, *(folder for folder in root.rglob("*") if folder.is_dir())):
            path.chmod(0o755)
        shutil.rmtree(root)
