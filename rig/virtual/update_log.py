"""The update log of a sample application, in flash at the end of the region for user data.

Records of 48 bytes are appended, never changed, and vouched for by a CRC: what a power cut tears is skipped, and so is the place where
it stands.  A full page makes room for the next by erasing it and copying the newest entries, so that the numbers go on.  The log has
the last two pages of its region; the first page belongs to the product.  In a region of two pages it has one, and a power cut while
that is erased loses it.  In a region of one page it has the rest of that page, and ends when it is full, because nothing else on the
page may be lost.
"""

from __future__ import annotations

import asyncio
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from rig.formats.update_service import MAX_VERSION, LogEntry, LogEvent
from rig.model import Region
from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE

_RECORD = struct.Struct(f"<IIBB{MAX_VERSION}s4x")
_SIZE = _RECORD.size + 4
_EVENTS = tuple(LogEvent)
_PAGES = 2
_RESERVED = 1024
"""Bytes at the start of a page that is shared with the product's data."""
_CARRIED = 24
"""Entries copied to a new page: as many as can be read over the air."""


@dataclass(frozen=True, kw_only=True)
class LogRecord:
    """An entry and, as a fingerprint, the image that ran when it was written."""

    entry: LogEntry
    running: int

    def encode(self) -> bytes:
        """`_SIZE` bytes, a multiple of the flash word."""
        version = self.entry.version.encode()[:MAX_VERSION]
        fields = (self.entry.number, self.running, _EVENTS.index(self.entry.event), len(version), version)
        body = _RECORD.pack(*fields)
        return body + struct.pack("<I", zlib.crc32(body))

    @classmethod
    def decode(cls, data: bytes) -> LogRecord | None:
        """None for what is blank, torn, or not a record."""
        body = data[: _RECORD.size]
        if struct.pack("<I", zlib.crc32(body)) != data[_RECORD.size :]:
            return None
        number, running, event, length, version = _RECORD.unpack(body)
        entry = LogEntry(number=number, event=_EVENTS[event], version=version[:length].decode("utf-8", "replace"))
        return cls(entry=entry, running=running)


class UpdateLog:
    """The log as one life of the processor sees it: read once at start, then kept in RAM and, with `persistent`, in flash."""

    def __init__(self, cpu: Cpu, user_data: Region, *, persistent: bool = True) -> None:
        self._cpu = cpu
        self._areas = log_areas(user_data)
        self._may_erase = user_data.size > PAGE_SIZE
        self._persistent = persistent
        self._writing = asyncio.Lock()
        self._records: dict[int, LogRecord] = {}
        self._area, self._next = self._areas[0], 0
        if persistent:
            self._load()

    @property
    def records(self) -> tuple[LogRecord, ...]:
        """Oldest first."""
        return tuple(self._records[number] for number in sorted(self._records))

    async def append(self, event: LogEvent, version: str, *, running: int) -> None:
        """Add an entry; it is in flash when this returns, unless a log that cannot be erased is full."""
        async with self._writing:
            number = max(self._records, default=0) + 1
            record = LogRecord(entry=LogEntry(number=number, event=event, version=version), running=running)
            self._records[number] = record
            if self._persistent:
                await self._store(record)

    def _load(self) -> None:
        newest = 0
        for area in self._areas:
            for record in _records(self._cpu, area):
                self._records[record.entry.number] = record
                if record.entry.number >= newest:
                    newest, self._area = record.entry.number, area
        self._next = _first_blank(self._cpu, self._area)

    async def _store(self, record: LogRecord) -> None:
        """Write, and look whether it has arrived: a page whose erase was cut short does not keep what is written to it."""
        if await self._write(record) or not self._may_erase:
            return
        self._area = self._areas[(self._areas.index(self._area) + 1) % len(self._areas)]
        self._next = 0
        await self._cpu.erase_page(self._area.start)
        for carried in self.records[-_CARRIED:]:
            await self._write(carried)

    async def _write(self, record: LogRecord) -> bool:
        if self._next + _SIZE > self._area.size:
            return False
        address, content = self._area.start + self._next, record.encode()
        self._next += _SIZE
        await self._cpu.write(address, content)
        return self._cpu.read(address, _SIZE) == content


def log_areas(user_data: Region) -> tuple[Region, ...]:
    """Where the log of a board with this region for user data lies, in the order in which it is used."""
    if user_data.size <= PAGE_SIZE:
        return (Region(start=user_data.start + _RESERVED, size=user_data.size - _RESERVED),)
    pages = min(_PAGES, user_data.size // PAGE_SIZE - 1)
    return tuple(Region(start=user_data.end - page * PAGE_SIZE, size=PAGE_SIZE) for page in range(1, pages + 1))


def _records(cpu: Cpu, area: Region) -> Iterator[LogRecord]:
    for offset in range(0, area.size - _SIZE + 1, _SIZE):
        record = LogRecord.decode(cpu.read(area.start + offset, _SIZE))
        if record is not None:
            yield record


def _first_blank(cpu: Cpu, area: Region) -> int:
    """The offset behind everything that has ever been written, torn or not."""
    content = cpu.read(area.start, area.size)
    used = len(content.rstrip(b"\xff"))
    return -(-used // _SIZE) * _SIZE
