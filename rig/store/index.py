"""The database as one table of trials, read in one pass: what a report needs of a campaign too large for its files.

A million trials have two million small files and a plan of a gigabyte.  The database holds the same facts in a tenth of the room.
It is read only while nothing in it is unfinished; whoever must be sure reads the files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import apsw

from rig.model import Fault, Trial
from rig.store import database, layout
from rig.store.records import TrialRecord

_JUDGED = (
    *("verdict", "outcome", "reason", "fault_requested", "fault_delivered", "fault_proved", "fault_phase", "downtime_s"),
    *("device_attempts", "events", "duration_s", "complaints"),
)


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A planned trial, flat.  `fault` is ``none`` or the kind of fault; the fields after it are None without one."""

    trial: str
    position: int
    scenario: str
    board: str
    protocol: str
    stratum: str
    seed: str
    old_version: str
    new_version: str
    request: str
    expect: str
    staged: bool
    inspect: bool
    spoiled: str | None
    fault: str
    aim: str | None
    """Why a cut of a plan by operations fell where it did: coverage, chance or boundary; None for what was drawn at random."""
    interference: float | None
    """Power of the interferer, in dBm, where the programme has one."""
    trigger: str | None
    off_s: float | None
    repeat: int | None


@dataclass(frozen=True, kw_only=True)
class IndexedTrial:
    """One trial as the database shows it: the columns of the plan and of the judged attempt (None while there is none), phases and cuts."""

    columns: Mapping[str, str | int | float | None]
    phases: Mapping[str, float]
    cuts: Sequence[tuple[int, str, int, int | None, int | None, int]]
    interrupted: int


_PLANNED = tuple(field.name for field in fields(Planned))
_INSERT = f"INSERT INTO planned ({', '.join(_PLANNED)}) VALUES ({', '.join('?' * len(_PLANNED))})"  # noqa: S608 - constants


def planned(trial: Trial, position: int) -> Planned:
    """The flat form of a planned trial; `position` is its place in the plan."""
    cut = trial.fault
    return Planned(
        trial=trial.id,
        position=position,
        scenario=trial.scenario,
        board=trial.board,
        protocol=trial.protocol.value,
        stratum=trial.stratum,
        seed=str(trial.seed),  # may exceed 64 bits
        old_version=trial.old.version,
        new_version=trial.new.version,
        request=trial.request.value,
        expect=trial.expect.value,
        staged=trial.staged,
        inspect=trial.inspect,
        spoiled=trial.new.spoiled,
        fault=fault_name(cut),
        aim=next((fault.aim.drawn for fault in trial.faults if fault.aim), None),
        interference=next((float(one.interference.power_dbm) for one in trial.faults if one.interference), None),
        trigger=cut.trigger.kind.value if cut else None,
        off_s=cut.off_s if cut else None,
        repeat=cut.repeat if cut else None,
    )


def fault_name(fault: Fault | None) -> str:
    """The kind of a planned fault, as reports and test cases name it."""
    return "none" if fault is None else fault.kind.value.replace("_", "-")


def indexed(record: TrialRecord, position: int) -> IndexedTrial:
    """What the database would say of a record, taken from the files."""
    row = database.rows_of(record)[-1] if record.judgement is not None else None
    return IndexedTrial(
        columns={**vars(planned(record.trial, position)), **{name: getattr(row, name, None) for name in _JUDGED}},
        phases=dict(row.phases) if row else {},
        cuts=row.cuts if row else (),
        interrupted=record.interrupted,
    )


def write_planned(connection: apsw.Connection, trials: Sequence[Trial]) -> None:
    """Make the table of planned trials say what the plan says; plans never change, so it is enough to count."""
    if connection.execute("SELECT count(*) FROM planned").get == len(trials):
        return
    connection.execute("DELETE FROM planned")
    insert_planned(connection, (planned(trial, position) for position, trial in enumerate(trials)))


def insert_planned(connection: apsw.Connection, rows: Iterable[Planned]) -> None:
    """Add rows to the table of planned trials."""
    connection.executemany(_INSERT, (_values(row) for row in rows))


def insertions(rows: Iterable[Planned]) -> list[database.Statement]:
    """What adds rows to the table of planned trials."""
    return [(_INSERT, _values(row)) for row in rows]


def _values(row: Planned) -> tuple[object, ...]:
    return tuple(map(database.storable, astuple(row)))


def readable(campaign: Path) -> bool:
    """Whether the campaign's database is complete: of this version, with the plan in it, and no attempt under way."""
    path = campaign / layout.DATABASE
    if not path.exists():
        return False
    with closing(database.connect(path, read_only=True)) as connection:
        if connection.execute("PRAGMA user_version").get != len(database.MIGRATIONS):
            return False
        has_plan = connection.execute("SELECT EXISTS (SELECT 1 FROM planned)").get
        return bool(has_plan) and not connection.execute("SELECT EXISTS (SELECT 1 FROM attempt WHERE state = 'running')").get


def planned_count(campaign: Path) -> int:
    """How many trials the database's plan has; raises `StorageError` when it cannot be read."""
    with closing(database.connect(campaign / layout.DATABASE, read_only=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM planned").get)


def read_index(campaign: Path) -> Iterator[IndexedTrial]:
    """Every planned trial, ordered by name, in bounded memory.  Ask `readable` first.

    Raises:
        StorageError: the database cannot be read.
    """
    path = campaign / layout.DATABASE
    try:
        with closing(database.connect(path, read_only=True)) as connection:
            yield from _joined(connection)
    except apsw.Error as error:
        raise database.refused(path, error) from error


def _joined(connection: apsw.Connection) -> Iterator[IndexedTrial]:
    """The tables, all ordered by trial, walked side by side."""
    columns = ", ".join([*(f"p.{name}" for name in _PLANNED), "a.number", *(f"a.{name}" for name in _JUDGED)])
    aside = "(SELECT count(*) FROM attempt WHERE trial = p.trial AND state = 'interrupted')"
    sql = f"SELECT {columns}, {aside} FROM planned p LEFT JOIN attempt a ON a.trial = p.trial AND a.state = 'judged' ORDER BY p.trial"  # noqa: S608
    phases = _Groups(connection.execute("SELECT trial, number, phase, seconds FROM phase ORDER BY trial, number"))
    cuts = _Groups(
        connection.execute("SELECT trial, number, n, phase, t_ns, into_phase_ns, operation, proved FROM cut ORDER BY trial, number, n")
    )
    names = (*_PLANNED, "number", *_JUDGED)
    for row in connection.execute(sql):
        values = dict(zip(names, row, strict=False))
        number = values.pop("number")
        yield IndexedTrial(
            columns=values,
            phases={phase: seconds for _, _, phase, seconds in phases.of(row[0], number)},
            cuts=[entry[2:] for entry in cuts.of(row[0], number)],
            interrupted=row[-1],
        )


class _Groups:
    """Rows that begin with (trial, number), in that order, handed out group by group to somebody who asks in the same order."""

    def __init__(self, rows: Iterable[tuple[Any, ...]]) -> None:
        self._groups = groupby(rows, key=itemgetter(0, 1))
        self._next = next(self._groups, None)

    def of(self, trial: str, number: int | None) -> Iterable[tuple[Any, ...]]:
        """The rows of that attempt; groups before it belong to nobody and are passed over."""
        if number is None:
            return ()
        while self._next is not None and self._next[0] < (trial, number):
            self._next = next(self._groups, None)
        if self._next is None or self._next[0] != (trial, number):
            return ()
        found = list(self._next[1])
        self._next = next(self._groups, None)
        return found
