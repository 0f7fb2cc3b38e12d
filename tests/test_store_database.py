"""The campaign's database: an index of the files that can be made anew from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from rig.errors import StorageError
from rig.model import Outcome, Verdict
from rig.store import Campaign, Session, database, layout, rebuild_database
from tests import synthetic
from tests.synthetic import Ending

ROOT = Path(__file__).parent.parent


@pytest.fixture
def fresh(tmp_path: Path) -> Campaign:
    """A campaign of six trials, none run."""
    return synthetic.campaign(tmp_path, trials=6, skip=range(6))


@pytest.fixture
def done(tmp_path: Path) -> Campaign:
    """A campaign of six trials, all run."""
    return synthetic.campaign(
        tmp_path, trials=6, endings={2: Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="no boot")}
    )


def test_the_database_can_be_made_anew_from_the_files(done: Campaign) -> None:
    live = synthetic.rows(done)
    assert [(row.trial, row.state, row.verdict) for row in live] == [
        (f"T-{number:04d}", "judged", "FAIL" if number == 3 else "PASS") for number in range(1, 7)
    ]
    assert len(live[0].phases) == len(synthetic.SECONDS)
    (done.path / layout.DATABASE).unlink()
    rebuild_database(done)
    assert synthetic.rows(done) == live


def test_a_database_that_lags_behind_the_files_is_corrected_and_said_to_be(done: Campaign) -> None:
    live = synthetic.rows(done)
    connection = apsw.Connection(str(done.path / layout.DATABASE))
    connection.execute("DELETE FROM attempt WHERE trial = 'T-0001'; UPDATE attempt SET state = 'running' WHERE trial = 'T-0002'")
    connection.execute(
        "INSERT INTO attempt (trial, number, state, scenario, board, stratum, seed) VALUES ('x', 1, 'running', '', '', '', '')"
    )
    connection.close()
    with Session(done) as session:
        assert session.notes == ("campaign.sqlite lagged behind the files of 3 attempts; corrected",)
    assert synthetic.rows(done) == live


def test_a_damaged_database_is_kept_aside_and_made_anew(done: Campaign) -> None:
    live = synthetic.rows(done)
    (done.path / layout.DATABASE).write_bytes(b"this is no database " * 100)
    with Session(done) as session:
        assert "it is kept as campaign.sqlite.damaged-1, and was made anew" in session.notes[0]
    assert synthetic.rows(done) == live
    assert (done.path / "campaign.sqlite.damaged-1").read_bytes().startswith(b"this is no database")


def test_a_database_of_a_newer_version_is_refused(done: Campaign) -> None:
    connection = apsw.Connection(str(done.path / layout.DATABASE))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StorageError, match=r"campaign.sqlite: schema version 99; this version of rig reads up to \d"):
        Session(done)


def test_migrations_go_forward_all_or_none_after_a_backup(done: Campaign) -> None:
    path = done.path / layout.DATABASE
    before = synthetic.rows(done)
    connection = database.connect(path)
    with pytest.raises(apsw.SQLError, match="no such table"):
        database.migrate(
            connection, path, (*database.MIGRATIONS, "ALTER TABLE attempt ADD COLUMN a TEXT", "ALTER TABLE absent ADD COLUMN b")
        )
    assert synthetic.rows(done) == before
    assert connection.execute("PRAGMA user_version").get == len(database.MIGRATIONS)
    database.migrate(connection, path, (*database.MIGRATIONS, "ALTER TABLE attempt ADD COLUMN a TEXT"))
    assert connection.execute("SELECT count(*) FROM attempt WHERE a IS NULL").get == 6
    assert connection.execute("PRAGMA user_version").get == len(database.MIGRATIONS) + 1
    connection.close()
    backup = database.connect(path.with_name(f"campaign.sqlite.before-{len(database.MIGRATIONS) + 1}"), read_only=True)
    assert database.read_rows(backup) == before
    backup.close()


def test_text_that_sqlite_cannot_hold_does_not_stop_the_writer(fresh: Campaign) -> None:
    with Session(fresh) as session:
        synthetic.run_trial(session, fresh.plan.trials[0], Ending(reason="printed \udcff and \ud800"))
        synthetic.run_trial(session, fresh.plan.trials[1])
    assert synthetic.rows(fresh)[0].reason == "printed \\udcff and \\ud800"
    assert Campaign.open(fresh.path).record("T-0001").judgement.reason == "printed \udcff and \ud800"  # type: ignore[union-attr]


def test_one_bad_entry_in_a_group_does_not_take_the_others_with_it(done: Campaign) -> None:
    path = done.path / layout.DATABASE
    first, second, *_ = synthetic.rows(done)
    writer = database.Writer(path)
    holder = apsw.Connection(str(path))
    holder.execute("BEGIN IMMEDIATE")  # what is posted now gathers behind this transaction
    writer.post(database.statements([replace(first, reason="one")]))
    writer.post([("INSERT INTO attempt (trial) VALUES (?)", ("no number",))])
    writer.post(database.statements([replace(second, reason="two")]))
    holder.execute("ROLLBACK")
    holder.close()
    with pytest.raises(StorageError, match=r"campaign.sqlite: NOT NULL constraint failed: attempt.number"):
        writer.close()
    assert [row.reason for row in synthetic.rows(done)][:2] == ["one", "two"]
