"""The database from the files: made anew, or brought into line."""

from __future__ import annotations

import contextlib
from pathlib import Path

import apsw

from rig.errors import StorageError
from rig.store import database, disk, index, layout
from rig.store.campaign import Campaign
from rig.store.lock import CampaignLock


def rebuild_database(campaign: Campaign) -> Path:
    """Make ``campaign.sqlite`` anew from plan, judgements and folders; returns its path.

    Raises:
        StorageError: a run holds the campaign, a file cannot be read, or the disk refuses; the old database then stands.
    """
    with contextlib.closing(CampaignLock(campaign.path / layout.LOCK, campaign=campaign.path)):
        return _rebuild(campaign)


def align_database(campaign: Campaign) -> list[str]:
    """Make the database say what the files say; returns in words what had to be done.  The caller holds the lock.

    Raises:
        StorageError: a file cannot be read, or the disk refuses.
    """
    path = campaign.path / layout.DATABASE
    if not path.exists():
        _rebuild(campaign)
        return []
    try:
        changed = _align(campaign, path)
    except StorageError as error:
        if not isinstance(error.__cause__, apsw.NotADBError | apsw.CorruptError):
            raise
        damaged = _keep_aside(path, campaign=campaign.path)
        _rebuild(campaign)
        return [f"{path.name} was damaged ({error.__cause__}); it is kept as {damaged.name}, and was made anew from the files"]
    return [f"{path.name} lagged behind the files of {changed} attempt{'s' if changed > 1 else ''}; corrected"] if changed else []


def _rebuild(campaign: Campaign) -> Path:
    path = campaign.path / layout.DATABASE
    new = path.with_name(path.name + ".new")
    try:
        _remove(new)
        _align(campaign, new)
        _remove(path)
        new.replace(path)
        disk.sync_folder(path.parent)
    except OSError as error:
        raise disk.refused(path, error, campaign=campaign.path) from error
    return path


def _align(campaign: Campaign, path: Path) -> int:
    """Correct every row of the database that the files contradict; returns how many attempts that were."""
    wanted = {(row.trial, row.number): row for record in campaign.records() for row in database.rows_of(record)}
    connection = database.connect(path)
    try:
        found = {(row.trial, row.number): row for row in database.read_rows(connection)}
        wrong = [row for key, row in wanted.items() if found.get(key) != row]
        unsupported = [row for key, row in found.items() if key not in wanted]
        with connection:
            for sql, values in [*map(database.deletion, unsupported), *database.statements(wrong)]:
                connection.execute(sql, values)
            index.write_planned(connection, campaign.plan.trials)
    except apsw.Error as error:
        raise database.refused(path, error) from error
    finally:
        connection.close()
    return len(wrong) + len(unsupported)


def _remove(path: Path) -> None:
    """Delete a database with what belongs to it."""
    for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
        path.with_name(name).unlink(missing_ok=True)


def _keep_aside(path: Path, *, campaign: Path) -> Path:
    number = 1 + len(list(path.parent.glob(f"{path.name}.damaged-*")))
    aside = path.with_name(f"{path.name}.damaged-{number}")
    try:
        path.replace(aside)
    except OSError as error:
        raise disk.refused(path, error, campaign=campaign) from error
    return aside
