"""The folder of one attempt at a trial while it is being filled."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from operator import itemgetter
from pathlib import Path
from types import TracebackType
from typing import Self

from rig.errors import StorageError
from rig.journal import Journal, read_journal
from rig.model import Event
from rig.ports import SupplyTrace
from rig.store import disk, layout
from rig.store.codec import to_json
from rig.store.records import Evidence, EvidenceFile, FaultMark


class Attempt:
    """Takes the journal and the raw evidence of one attempt; made by `Session.begin`.

    `console` and `radio` have the shape that the ports want for their listeners.  Every byte reaches the operating system before
    the call returns, so a killed process loses none.  The journal is also brought to the disk, on which every judgement rests;
    should the host lose its power within half a minute after a trial, its other files may be short, and their listed sizes and
    hashes tell.  Every method raises `StorageError` when the disk refuses, and `close` does so again: a callback's exception may
    get lost in the event loop, a gap in the evidence must not.
    """

    def __init__(self, folder: Path, *, campaign: Path, number: int, now: Callable[[], float]) -> None:
        self.folder, self.number = folder, number
        self._campaign = campaign
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise disk.refused(folder, error, campaign=campaign) from error
        self.journal = Journal(folder / layout.JOURNAL, now, remedy=disk.remedy(campaign))
        self._logs: dict[str, _Log] = {}
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def console(self, time_s: float, data: bytes) -> None:
        """Keep raw console bytes; `time_s` is their reception on the loop's clock.

        ``console.times`` has one line per chunk: nanoseconds of the journal's clock, offset in ``console.log``, length.
        """
        log = self._log(layout.CONSOLE)
        offset = log.length
        log.append(data)
        self._log(layout.CONSOLE_TIMES).append(b"%d %d %d\n" % (self.journal.t_ns(time_s), offset, len(data)))

    def radio(self, data: bytes) -> None:
        """Keep HCI traffic in btsnoop format."""
        self._log(layout.RADIO).append(data)

    def save_trace(self, name: str, trace: SupplyTrace) -> str:
        """Keep a stretch of supply samples as ``NAME.csv`` and return that file name.

        Equal samples in a row share a line.  Currents are whole nanoamperes, a two-hundredth of the finest step of a PPK2.
        """
        if trace.logic and len(trace.logic) != len(trace.current_ua):
            raise StorageError(f"{name}: {len(trace.current_ua)} currents but {len(trace.logic)} logic samples")
        head = f"# start_ns={self.journal.t_ns(trace.start_s)} step_ns={round(trace.step_s * 1e9)}\nsamples,current_na,logic\n"
        return self.save(f"{name}.csv", (head + "".join(_runs(trace))).encode("ascii"))

    def save(self, name: str, data: bytes) -> str:
        """Keep one whole file, for instance a flash dump, and return its name.  No file is ever overwritten."""
        log = self._log(layout.checked_name(name, what="evidence file"))
        if log.length:
            raise StorageError(f"{log.path}: this attempt has saved it already")
        log.append(data)
        return name

    def close(self) -> None:
        """Close every file, bring the journal to the disk, and write the list of the evidence.  Closing twice does nothing."""
        if self._closed:
            return
        self._closed = True
        with ExitStack() as stack:
            for log in self._logs.values():
                stack.callback(log.close)
            stack.callback(self.journal.close)
        contents = read_journal(self.folder / layout.JOURNAL)
        evidence = Evidence(
            attempt=self.number,
            files=tuple(_described(self.folder / name) for name in sorted({layout.JOURNAL, *self._logs})),
            events=len(contents.events),
            duration_ns=contents.events[-1].t_ns if contents.events else 0,
            complaints=contents.complaints(),
            faults=fault_marks(contents.events),
        )
        target = self.folder / layout.EVIDENCE
        disk.write_json(target, layout.EVIDENCE_FORMAT, to_json(evidence), campaign=self._campaign, sync_name=False)

    def _log(self, name: str) -> _Log:
        if self._closed:
            raise StorageError(f"{self.folder / name}: the attempt has ended")
        if name not in self._logs:
            self._logs[name] = _Log(self.folder / name, campaign=self._campaign)
        return self._logs[name]


class _Log:
    """A growing file without a buffer of its own."""

    def __init__(self, path: Path, *, campaign: Path) -> None:
        self.path, self.length = path, 0
        self._campaign = campaign
        self._trouble: StorageError | None = None
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as error:
            raise disk.refused(path, error, campaign=campaign) from error

    def append(self, data: bytes) -> None:
        if self._trouble:
            raise self._trouble
        view = memoryview(data)
        try:
            while view:
                written = os.write(self._file, view)
                self.length += written
                view = view[written:]
        except OSError as error:
            self._trouble = disk.refused(self.path, error, campaign=self._campaign)
            raise self._trouble from error

    def close(self) -> None:
        try:
            os.close(self._file)
        except OSError as error:  # where the disk tells only at the end
            self._trouble = self._trouble or disk.refused(self.path, error, campaign=self._campaign)
        if self._trouble:
            raise self._trouble


def fault_marks(events: Iterable[Event]) -> tuple[FaultMark, ...]:
    """Where each delivered fault fell and whether it was proved."""
    events = tuple(events)
    starts: dict[str, Event] = {}
    proved = {event.data.get("n") for event in events if event.kind == "fault.proved"}
    marks = []
    for event in events:
        if event.kind == "phase.start":
            starts[str(event.data.get("phase", ""))] = event
        elif event.kind == "fault.delivered":
            marks.append(_mark(event, starts.get(str(event.data.get("at_phase", ""))), proved=event.data.get("n") in proved))
    return tuple(marks)


def _mark(delivered: Event, start: Event | None, *, proved: bool) -> FaultMark:
    # The supply's own edge where it was measured: the event itself is written after the supply has been read out.
    t_ns = delivered.data.get("vdd_fell_t_ns")
    t_ns = t_ns if isinstance(t_ns, int) else delivered.t_ns
    operations = delivered.data.get("operation"), start.data.get("operation") if start else None
    return FaultMark(
        number=int(delivered.data.get("n", 1)),
        phase=str(delivered.data.get("at_phase", "")),
        t_ns=t_ns,
        into_phase_ns=t_ns - start.t_ns if start else None,
        operation=operations[0] - operations[1] if isinstance(operations[0], int) and isinstance(operations[1], int) else None,
        proved=proved,
    )


def _described(path: Path) -> EvidenceFile:
    return EvidenceFile(name=path.name, size=path.stat().st_size, sha256=disk.sha256_of(path))


def _runs(trace: SupplyTrace) -> Iterator[str]:
    """Equal readings in a row, before they are rounded, are found as such at once: a supply that is off reads the same ten thousand times."""
    levels: Iterable[int | str] = trace.logic or itertools.repeat("", len(trace.current_ua))
    readings = itertools.groupby(zip(trace.current_ua, levels, strict=True))
    counted = ((_nanoamperes(current_ua), level, sum(1 for _ in run)) for (current_ua, level), run in readings)
    for (current_na, level), alike in itertools.groupby(counted, key=itemgetter(0, 1)):
        yield f"{sum(count for _, _, count in alike)},{current_na},{level}\n"


def _nanoamperes(microamperes: float) -> int | str:
    return "" if math.isnan(microamperes) else round(microamperes * 1000)
