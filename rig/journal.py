"""Append-only events on one monotonic clock, one JSON line each, with a CRC per line.

The first line is a header that names the format; every other line is one event::

    {"crc":"5e0f03c2","h":{"format":"rig.journal/1"}}
    {"crc":"8d1c2a77","e":{"data":{"offset":244,"total":203776},"kind":"upload.chunk","seq":17,"source":"dut","t_ns":4120000000}}

The CRC-32 (polynomial of IEEE 802.3, as in zlib) covers the bytes of the inner object exactly as they stand in the line.  The JSON
is canonical (sorted keys, no blanks, ASCII, floats by `repr`), so that equal events give equal bytes on every machine.
Each event reaches the operating system before `emit` returns, so a killed process loses nothing; `close` also brings it to the
disk, so that a host without power loses at most the tail of the trial that was running, and the reader can tell.
"""

from __future__ import annotations

import json
import os
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quote
from pathlib import Path
from types import TracebackType
from typing import Self

from rig.errors import StorageError
from rig.model import Event, Json

FORMAT = "rig.journal/1"
_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False).encode

# {"crc":"00000000","e":…}   0-8 prefix, 8-16 CRC, 16-22 name of what follows, then the inner object and the closing brace
_PREFIX, _EVENT, _HEADER = b'{"crc":"', b'","e":', b'","h":'
_CRC, _NAME, _INNER = slice(8, 16), slice(16, 22), slice(22, -1)


def _line(name: bytes, inner: bytes) -> bytes:
    return b"%b%08x%b%b}\n" % (_PREFIX, zlib.crc32(inner), name, inner)


class Journal:
    """The record of one trial while it happens, in memory and in a new file at `path`.

    `now` gives seconds on the clock of the event loop; times in the journal count from the construction.  `remedy` ends the
    message when the disk refuses, for instance "free space and run `rig resume DIR`".

    Raises:
        StorageError: the file exists already or cannot be written.  After a failed write the journal accepts no more events,
            since nothing may follow a torn line.
    """

    def __init__(self, path: Path, now: Callable[[], float], *, remedy: str = "free space and run `rig resume`") -> None:
        self.path = path
        self.events: list[Event] = []
        self.start_s = now()
        self._now, self._remedy, self._trouble = now, remedy, ""
        self._listeners: list[Callable[[Event], None]] = []
        self._untold: deque[Event] = deque()
        self._telling = False
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}; {remedy}") from error
        self._write(_line(_HEADER, _encode({"format": FORMAT}).encode("ascii")))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def emit(self, source: str, kind: str, /, **data: Json) -> Event:
        """Record what happened now, tell the listeners, and return it as a reader of the file will see it.

        A listener may emit, too; every listener then hears of both in the order of their numbers.

        Raises:
            StorageError: the disk refuses, the journal is closed, or `data` holds something that JSON cannot (bytes, NaN …).
        """
        seq, t_ns = len(self.events), self.t_ns(self._now())
        try:
            text = _encode(data)
        except (TypeError, ValueError) as error:
            raise StorageError(f"{self.path}: event {kind} cannot be recorded: {error}") from error
        inner = f'{{"data":{text},"kind":{quote(kind)},"seq":{seq},"source":{quote(source)},"t_ns":{t_ns}}}'.encode("ascii")
        self._write(_line(_EVENT, inner))
        # Parsed back, so that a judge in this process and a judge next year see the same thing (lists for tuples, string keys).
        event = Event(seq=seq, t_ns=t_ns, source=source, kind=kind, data=json.loads(text))
        self.events.append(event)
        self._tell(event)
        return event

    def t_ns(self, time_s: float) -> int:
        """Nanoseconds from the start of this journal to an instant of the loop's clock."""
        return round((time_s - self.start_s) * 1e9)

    def listen(self, receiver: Callable[[Event], None]) -> Callable[[], None]:
        """Call `receiver` with every further event, in order of registration; returns the function that ends it."""
        self._listeners.append(receiver)
        return lambda: self._listeners.remove(receiver)

    def close(self) -> None:
        """Bring everything to the disk and close the file.  Closing twice does nothing.

        Raises:
            StorageError: the disk reports only now that it lost something, or an earlier write had failed already.
        """
        if self._file < 0:
            return
        file, self._file = self._file, -1
        try:
            if self._trouble:
                raise StorageError(self._trouble)
            os.fsync(file)
        except OSError as error:
            raise StorageError(f"{self.path}: {error.strerror}; {self._remedy}") from error
        finally:
            os.close(file)

    def _tell(self, event: Event) -> None:
        self._untold.append(event)
        if self._telling:
            return
        self._telling = True
        try:
            while self._untold:
                news = self._untold.popleft()
                for listener in tuple(self._listeners):
                    listener(news)
        finally:
            self._telling = False

    def _write(self, line: bytes) -> None:
        if self._trouble or self._file < 0:
            raise StorageError(self._trouble or f"{self.path}: the journal is closed")
        try:
            while line:
                line = line[os.write(self._file, line) :]
        except OSError as error:
            self._trouble = f"{self.path}: {error.strerror}; {self._remedy}"
            raise StorageError(self._trouble) from error


@dataclass(frozen=True, kw_only=True)
class JournalContents:
    """What could be read of a journal, and what could not.  Lines count from 1, the header included."""

    events: tuple[Event, ...]
    corrupt_lines: tuple[int, ...] = ()
    """Lines whose CRC or form is wrong; their events are not among `events`."""
    missing: tuple[int, ...] = ()
    """Sequence numbers below the last one of which no sound line exists."""
    torn_tail: bool = False
    """The file ends in the middle of a line, as after a crash of the host."""

    @property
    def intact(self) -> bool:
        return not (self.corrupt_lines or self.missing or self.torn_tail)

    def complaints(self) -> tuple[str, ...]:
        """What is wrong, in words; empty when the journal is intact."""
        found = []
        if self.corrupt_lines:
            found.append(f"corrupt {_listed('line', self.corrupt_lines)}")
        if self.missing:
            found.append(f"no {_listed('event', self.missing)}")
        if self.torn_tail:
            found.append("the last line is torn")
        return tuple(found)


def _listed(noun: str, numbers: tuple[int, ...], most: int = 8) -> str:
    shown = ", ".join(map(str, numbers[:most])) + (f" and {len(numbers) - most} more" if len(numbers) > most else "")
    return f"{noun}{'s' if len(numbers) > 1 else ''} {shown}"


def read_journal(path: Path) -> JournalContents:
    """Read every sound event of a journal, and say which lines are not.

    Raises:
        StorageError: the file cannot be read, or another version of `rig` wrote it.
    """
    try:
        *lines, tail = path.read_bytes().split(b"\n")
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    if not lines:  # not even the header was completed
        return JournalContents(events=(), torn_tail=True)
    events: list[Event] = []
    corrupt: list[int] = []
    if not _header_is_sound(path, lines[0]):
        corrupt.append(1)
    for number, line in enumerate(lines[1:], start=2):
        event = _event(line, after=events[-1].seq if events else -1)
        if event is None:
            corrupt.append(number)
        else:
            events.append(event)
    last = _event(tail, after=events[-1].seq if events else -1)  # only the line's end was lost
    if last is not None:
        events.append(last)
    present = {event.seq for event in events}
    missing = tuple(seq for seq in range(events[-1].seq if events else 0) if seq not in present)
    return JournalContents(events=tuple(events), corrupt_lines=tuple(corrupt), missing=missing, torn_tail=bool(tail))


def _inner(line: bytes, name: bytes) -> Json:
    """The inner object of a sound line, None of any other."""
    inner = line[_INNER]
    if line[: len(_PREFIX)] != _PREFIX or line[_NAME] != name or line[-1:] != b"}" or line[_CRC] != b"%08x" % zlib.crc32(inner):
        return None
    return json.loads(inner)


def _header_is_sound(path: Path, line: bytes) -> bool:
    header = _inner(line, _HEADER)
    if header is None:
        return False
    if header.get("format") != FORMAT:
        raise StorageError(f"{path}: the format is {header.get('format')!r}; this version of rig reads {FORMAT!r}")
    return True


def _event(line: bytes, *, after: int) -> Event | None:
    """The event of a sound line that comes after sequence number `after`, else None."""
    fields = _inner(line, _EVENT)
    if fields is None or fields["seq"] <= after:
        return None
    return Event(**fields)
