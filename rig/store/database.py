"""The campaign's SQLite file: one row per attempt, one per phase; for questions while it runs and afterwards.

The journals and judgements are the record; this is an index of them which can be rebuilt.  WAL with ``synchronous=FULL`` and a
single writer thread that commits in groups: several boards share one disk flush, and no second writer can stall the first.
Other processes open the file read-only.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import astuple, dataclass, replace
from dataclasses import fields as fields_of
from pathlib import Path
from typing import TypeVar, cast

import apsw

from rig.errors import StorageError
from rig.store import disk
from rig.store.records import FaultMark, TrialRecord

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE attempt (
        trial TEXT NOT NULL, number INTEGER NOT NULL, state TEXT NOT NULL CHECK (state IN ('running', 'interrupted', 'judged')),
        scenario TEXT NOT NULL, board TEXT NOT NULL, stratum TEXT NOT NULL, seed TEXT NOT NULL,
        verdict TEXT, outcome TEXT, reason TEXT,
        fault_requested INTEGER, fault_delivered INTEGER, fault_proved INTEGER, fault_phase TEXT,
        downtime_s REAL, device_attempts INTEGER,
        PRIMARY KEY (trial, number)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE phase (
        trial TEXT NOT NULL, number INTEGER NOT NULL, phase TEXT NOT NULL, seconds REAL NOT NULL,
        PRIMARY KEY (trial, number, phase),
        FOREIGN KEY (trial, number) REFERENCES attempt ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    """,
    """
    ALTER TABLE attempt ADD COLUMN events INTEGER;
    ALTER TABLE attempt ADD COLUMN duration_s REAL;
    ALTER TABLE attempt ADD COLUMN complaints TEXT;
    CREATE TABLE cut (
        trial TEXT NOT NULL, number INTEGER NOT NULL, n INTEGER NOT NULL, phase TEXT NOT NULL, t_ns INTEGER NOT NULL,
        into_phase_ns INTEGER, operation INTEGER, proved INTEGER NOT NULL,
        PRIMARY KEY (trial, number, n),
        FOREIGN KEY (trial, number) REFERENCES attempt ON DELETE CASCADE
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE planned (
        trial TEXT PRIMARY KEY, position INTEGER NOT NULL, scenario TEXT NOT NULL, board TEXT NOT NULL, protocol TEXT NOT NULL,
        stratum TEXT NOT NULL, seed TEXT NOT NULL, old_version TEXT NOT NULL, new_version TEXT NOT NULL, request TEXT NOT NULL,
        expect TEXT NOT NULL, staged INTEGER NOT NULL, inspect INTEGER NOT NULL,
        spoiled TEXT, fault TEXT NOT NULL, aim TEXT, interference REAL, trigger TEXT, off_s REAL, repeat INTEGER
    ) STRICT, WITHOUT ROWID;
    """,
)
"""Forward only; the file's ``user_version`` counts those applied."""

_BUSY_MS = 60_000
_WAIT_S = 120.0
_GROUP = 256
T = TypeVar("T")
Statement = tuple[str, tuple[object, ...]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attempt as the database shows it, fields in the order of the columns."""

    trial: str
    number: int
    state: str
    scenario: str
    board: str
    stratum: str
    seed: str
    verdict: str | None = None
    outcome: str | None = None
    reason: str | None = None
    fault_requested: int | None = None
    fault_delivered: int | None = None
    fault_proved: int | None = None
    fault_phase: str | None = None
    downtime_s: float | None = None
    device_attempts: int | None = None
    events: int | None = None
    duration_s: float | None = None
    complaints: str | None = None
    """What was wrong with the journal when the attempt ended, one complaint per line."""
    phases: tuple[tuple[str, float], ...] = ()
    cuts: tuple[tuple[int, str, int, int | None, int | None, int], ...] = ()
    """Number, phase, t_ns, into_phase_ns, operation and whether it was proved, of each delivered cut."""


_COLUMNS = tuple(field.name for field in fields_of(Row))[:-2]
_INSERT = f"INSERT OR REPLACE INTO attempt ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608 - constants
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM attempt ORDER BY trial, number"  # noqa: S608 - constants


def rows_of(record: TrialRecord) -> list[Row]:
    """The rows that a trial's files call for: its interrupted attempts, and the judged one."""
    rows = [_row(record, number, "interrupted") for number in range(1, record.interrupted + 1)]
    if record.judgement is not None:
        rows.append(_row(record, record.interrupted + 1, "judged"))
    return rows


def running_row(record: TrialRecord) -> Row:
    """The row of the attempt that is about to begin."""
    return _row(record, record.interrupted + 1, "running")


def _row(record: TrialRecord, number: int, state: str) -> Row:
    trial, judgement = record.trial, record.judgement
    row = Row(
        trial=trial.id,
        number=number,
        state=state,
        scenario=storable(trial.scenario),
        board=storable(trial.board),
        stratum=storable(trial.stratum),
        seed=str(trial.seed),
    )
    if judgement is None or state != "judged":
        return row
    return replace(
        row,
        verdict=judgement.verdict.value,
        outcome=judgement.outcome.value,
        reason=storable(judgement.reason),
        fault_requested=int(judgement.fault_requested),
        fault_delivered=int(judgement.fault_delivered),
        fault_proved=int(judgement.fault_proved),
        fault_phase=judgement.fault_phase,
        downtime_s=judgement.downtime_s,
        device_attempts=judgement.attempts,
        events=record.evidence.events if record.evidence else None,
        duration_s=record.evidence.duration_ns / 1e9 if record.evidence else None,
        complaints=storable("\n".join(record.evidence.complaints)) or None if record.evidence else None,
        phases=tuple(sorted((phase, float(seconds)) for phase, seconds in judgement.phases.items())),
        cuts=tuple(sorted(map(_cut, record.evidence.faults))) if record.evidence else (),
    )


def _cut(mark: FaultMark) -> tuple[int, str, int, int | None, int | None, int]:
    return mark.number, mark.phase, mark.t_ns, mark.into_phase_ns, mark.operation, int(mark.proved)


def storable(value: T) -> T:
    """`value`, a text without halves of surrogate pairs, which a console's broken encoding may leave and SQLite does not take."""
    if isinstance(value, str) and not value.isascii():
        return cast("T", value.encode("utf-8", "backslashreplace").decode("utf-8"))
    return value


def statements(rows: Iterable[Row]) -> list[Statement]:
    """What writes these rows, whatever stood there before."""
    found: list[Statement] = []
    for row in rows:
        key = (row.trial, row.number)
        found.append((_INSERT, astuple(row)[:-2]))
        found.extend((f"DELETE FROM {table} WHERE trial = ? AND number = ?", key) for table in ("phase", "cut"))  # noqa: S608 - constants
        found.extend(("INSERT INTO phase VALUES (?, ?, ?, ?)", (*key, *phase)) for phase in row.phases)
        found.extend(("INSERT INTO cut VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (*key, *cut)) for cut in row.cuts)
    return found


def deletion(row: Row) -> Statement:
    """What removes a row that no file supports."""
    return "DELETE FROM attempt WHERE trial = ? AND number = ?", (row.trial, row.number)


def connect(path: Path, *, read_only: bool = False) -> apsw.Connection:
    """Open a campaign's database; unless read-only, bring it to this version's tables.

    Raises:
        StorageError: the disk refuses, the file is damaged, or a newer version of `rig` wrote it.
    """
    flags = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
    try:
        connection = apsw.Connection(str(path), flags=flags)
        connection.set_busy_timeout(_BUSY_MS)
        connection.execute("PRAGMA foreign_keys = ON")
        if not read_only:
            connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
        migrate(connection, path, MIGRATIONS)
    except apsw.Error as error:
        raise refused(path, error) from error
    return connection


def migrate(connection: apsw.Connection, path: Path, migrations: Sequence[str]) -> None:
    """Apply the migrations that the file has not seen, all or none, after a backup beside it (``.before-N``).

    Raises:
        StorageError: the file has seen more migrations than there are.
    """
    version = int(connection.execute("PRAGMA user_version").get)
    if version > len(migrations):
        raise StorageError(f"{path}: schema version {version}; this version of rig reads up to {len(migrations)}")
    if version == len(migrations) or connection.readonly("main"):
        return
    if version:
        backup = path.with_name(f"{path.name}.before-{len(migrations)}")
        backup.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(backup),))
    with connection:
        for migration in migrations[version:]:
            connection.execute(migration)
        connection.execute(f"PRAGMA user_version = {len(migrations)}")


def refused(path: Path, error: apsw.Error) -> StorageError:
    """SQLite's error as ours: which file, why, and what to do."""
    advice = {
        apsw.FullError: f"; {disk.remedy(path.parent)}",
        apsw.IOError: f"; check the disk, then run `rig resume {path.parent}`",
        apsw.ReadOnlyError: f"; make the folder writable and run `rig resume {path.parent}`",
        apsw.CantOpenError: f"; make the folder writable and run `rig resume {path.parent}`",
    }.get(type(error), "")
    return StorageError(f"{path}: {error}{advice}")


def read_rows(connection: apsw.Connection) -> list[Row]:
    """Every attempt, ordered by trial and number."""
    phases: dict[tuple[str, int], list[tuple[str, float]]] = {}
    for trial, number, phase, seconds in connection.execute("SELECT * FROM phase ORDER BY trial, number, phase"):
        phases.setdefault((trial, number), []).append((phase, seconds))
    cuts: dict[tuple[str, int], list[tuple[int, str, int, int | None, int | None, int]]] = {}
    for trial, number, *cut in connection.execute("SELECT * FROM cut ORDER BY trial, number, n"):
        cuts.setdefault((trial, number), []).append(tuple(cut))
    return [
        Row(
            **dict(zip(_COLUMNS, values, strict=True)),
            phases=tuple(phases.get((values[0], values[1]), ())),
            cuts=tuple(cuts.get((values[0], values[1]), ())),
        )
        for values in connection.execute(_SELECT)
    ]


class Writer:
    """The one thread that writes.  `write` waits until the rows are on the disk, `post` does not."""

    def __init__(self, path: Path) -> None:
        """Open the database; raises `StorageError` as `connect` does."""
        self._path = path
        self._queue: queue.SimpleQueue[tuple[list[Statement], Future[None]] | None] = queue.SimpleQueue()
        self._posted: list[Future[None]] = []
        self._connection = connect(path)
        self._thread = threading.Thread(target=self._serve, name=f"writer of {path.name}", daemon=True)
        self._thread.start()

    def write(self, work: list[Statement]) -> None:
        """Have `work` committed.

        Raises:
            StorageError: the disk refuses, now or for something posted before, or does not answer within two minutes.
        """
        self._wait(self._submit(work))
        self._check_posted()

    def post(self, work: list[Statement]) -> None:
        """Have `work` committed soon; trouble shows at the next `write` or at `close`."""
        self._check_posted()
        self._posted.append(self._submit(work))

    def close(self) -> None:
        """Commit what is left and close the file.

        Raises:
            StorageError: as `write`.
        """
        self._queue.put(None)
        self._thread.join(_WAIT_S)
        if self._thread.is_alive():
            raise StorageError(f"{self._path}: the disk did not answer within {_WAIT_S:g} s")
        with contextlib.suppress(apsw.Error):  # whatever was committed stays; an unfinished checkpoint is done by the next opening
            self._connection.close()
        for future in self._posted:
            self._wait(future)

    def _submit(self, work: list[Statement]) -> Future[None]:
        future: Future[None] = Future()
        self._queue.put((work, future))
        return future

    def _wait(self, future: Future[None]) -> None:
        try:
            future.result(_WAIT_S)
        except TimeoutError:
            raise StorageError(f"{self._path}: the disk did not answer within {_WAIT_S:g} s") from None
        except apsw.Error as error:
            raise refused(self._path, error) from error
        except (TypeError, ValueError, OverflowError) as error:
            raise StorageError(f"{self._path}: cannot be stored: {error}") from error

    def _check_posted(self) -> None:
        while self._posted and self._posted[0].done():
            self._wait(self._posted.pop(0))

    def _serve(self) -> None:
        ended = False
        while not ended:
            group = [self._queue.get()]
            while len(group) < _GROUP and group[-1] is not None:
                try:
                    group.append(self._queue.get_nowait())
                except queue.Empty:
                    break
            ended = group[-1] is None
            self._commit([entry for entry in group if entry is not None])

    def _commit(self, group: list[tuple[list[Statement], Future[None]]]) -> None:
        try:
            with self._connection:
                for work, _ in group:
                    for sql, values in work:
                        self._connection.execute(sql, values)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait for this thread must hear of it
            if len(group) > 1:  # one bad entry must not take the others with it
                for entry in group:
                    self._commit([entry])
            else:
                group[0][1].set_exception(error)
        else:
            for _, future in group:
                future.set_result(None)
