"""What a running trial writes down: phases with start and end, console lines, what the device said of itself."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rig.errors import DutError, LinkLost, MalformedReply, Refused
from rig.journal import Journal
from rig.model import ConsoleSignals, MemoryMap, Phase
from rig.ports import OperationCounter
from rig.run.operations import OperationList

_LONGEST_LINE = 4096
_SILENCE_S = 0.1


class Recorder:
    """Journal entries of one trial in the words of `docs/evidence.md`."""

    def __init__(self, journal: Journal, counter: OperationCounter | None, *, memory: MemoryMap | None = None) -> None:
        """With `memory` every flash operation is listed, with what it is for."""
        self.journal = journal
        self.attempt = 1
        self._counter = counter
        self._operations = OperationList(journal, counter, memory) if counter is not None and memory is not None else None

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Bracket a phase; it ends with ok false when the block raises."""
        ok = False
        operation = {"operation": self._counter.count(), "begun": self._counter.begun()} if self._counter else {}
        if self._operations is not None:
            self._operations.tell()
            self._operations.begin(phase)
        self.journal.emit("run", "phase.start", phase=phase.value, attempt=self.attempt, **operation)
        try:
            yield
            ok = True
        finally:
            if self._operations is not None:
                self._operations.tell()
            self.journal.emit("run", "phase.end", phase=phase.value, attempt=self.attempt, ok=ok)

    def dut_error(self, error: DutError) -> None:
        """A device-side error, with its code where the protocol gave one."""
        data: dict[str, object] = {"text": str(error), "type": type(error).__name__}
        if isinstance(error, Refused):
            data |= {"request": error.request, "group": error.group, "code": error.code, "name": error.name}
        if isinstance(error, MalformedReply):
            data |= {"request": error.request, "bytes": error.data.hex()}
        if isinstance(error, LinkLost):
            data |= {"reason": error.reason}
        self.journal.emit("dut", "dut.error", **data)


def one_header(sink: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """`sink` for a capture that may begin anew, when its adapter is reset: the header, which comes first, is kept once."""
    header: list[bytes] = []

    def take(data: bytes) -> None:
        if data not in header:
            sink(data)
        if not header:
            header.append(data)

    return take


class ConsoleLines:
    """Cuts the console's bytes into lines for the journal, and tells whoever waits that the application serves."""

    def __init__(self, journal: Journal, signals: ConsoleSignals) -> None:
        self._journal = journal
        self._ready = re.compile(signals.ready)
        self._version = re.compile(signals.version)
        self._reset_reason = re.compile(signals.reset_reason)
        self._line = bytearray()
        self._last_s = 0.0
        self._waiting_ready: list[asyncio.Future[None]] = []
        self._waiting_line: list[asyncio.Future[None]] = []

    def receive(self, when_s: float, data: bytes) -> None:
        """Take bytes off the console, in order.  Half a line followed by silence was cut off, and stands alone."""
        if self._line and when_s - self._last_s > _SILENCE_S:
            self._finish_line(bytes(self._line))
            self._line.clear()
        self._last_s = when_s
        *whole, rest = data.split(b"\n")
        for part in whole:
            self._finish_line(bytes(self._line) + part)
            self._line.clear()
        self._line += rest
        if len(self._line) >= _LONGEST_LINE:
            self._finish_line(bytes(self._line))
            self._line.clear()

    async def wait_ready(self) -> None:
        """Return when the application says (the next time) that it serves.  The caller sets the limit."""
        await _next(self._waiting_ready)

    async def wait_line(self) -> None:
        """Return at the next line, whatever it says.  The caller sets the limit."""
        await _next(self._waiting_line)

    async def ready_within(self, limit_s: float, *, since_seq: int) -> bool:
        """Whether the application says that it serves, after event `since_seq` and in at most `limit_s` seconds from now."""
        if any(event.kind == "dut.ready" for event in self._journal.events[since_seq:]):
            return True
        try:
            async with asyncio.timeout(limit_s):
                await self.wait_ready()
        except TimeoutError:
            return False
        return True

    def said(self, pattern: str, *, since_seq: int) -> int:
        """How many lines since event `since_seq` match `pattern`."""
        lines = (event for event in self._journal.events[since_seq:] if event.kind == "console.line")
        return sum(re.search(pattern, str(line.data["text"])) is not None for line in lines)

    def boots(self, *, since_seq: int) -> int:
        """How often the application has started since event `since_seq`, by its reset reasons."""
        return sum(event.kind == "dut.reset_reason" for event in self._journal.events[since_seq:])

    def _finish_line(self, line: bytes) -> None:
        text = line.decode("utf-8", "backslashreplace").rstrip("\r")
        self._journal.emit("console", "console.line", text=text)
        _wake(self._waiting_line)
        if started := self._version.search(text):
            self._journal.emit("console", "dut.started", version=started[1])
        if reason := self._reset_reason.search(text):
            self._journal.emit("console", "dut.reset_reason", value=int(reason[1], 16))
        if self._ready.search(text):
            self._journal.emit("console", "dut.ready")
            _wake(self._waiting_ready)


async def _next(waiting: list[asyncio.Future[None]]) -> None:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    waiting.append(future)
    try:
        await future
    finally:
        waiting.remove(future)


def _wake(waiting: list[asyncio.Future[None]]) -> None:
    for future in waiting:
        if not future.done():
            future.set_result(None)
