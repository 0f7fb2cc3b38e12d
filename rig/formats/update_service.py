"""The update service of the sample applications: what a product tells about its updates over GATT.

    status     2 bytes: state, percent                                 read, notify
    control    1 byte: the user's answer                               write
    log        UTF-8, one entry per line, oldest first, newest last    read
    heartbeat  4 bytes, little-endian counter                          notify, every `HEARTBEAT_S` while subscribed
    condition  1 byte, bit mask                                        read

The UUIDs and layouts are this project's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum, IntFlag, StrEnum
from typing import Self

SERVICE = "f1a50001-6b1c-4f2e-9d3a-52c0de11a5e5"
STATUS = "f1a50002-6b1c-4f2e-9d3a-52c0de11a5e5"
CONTROL = "f1a50003-6b1c-4f2e-9d3a-52c0de11a5e5"
LOG = "f1a50004-6b1c-4f2e-9d3a-52c0de11a5e5"
HEARTBEAT = "f1a50005-6b1c-4f2e-9d3a-52c0de11a5e5"
CONDITION = "f1a50006-6b1c-4f2e-9d3a-52c0de11a5e5"

HEARTBEAT_S = 0.25
MAX_LOG = 512
"""Bytes of the log's value: no attribute is longer (Core Specification Vol 3 Part F 3.2.9)."""
MAX_VERSION = 30
"""Bytes of a version in the log."""
UNKNOWN_VERSION = "-"
"""Where the application cannot know which version is meant, as before a Secure DFU update."""


class UpdateState(IntEnum):
    """Where an update stands, as the application sees it.

    ANNOUNCED: the host has begun; READY: the image will be installed at the next reset.
    """

    IDLE = 0
    ANNOUNCED = 1
    RECEIVING = 2
    READY = 3
    WAITING_FOR_CONSENT = 4
    REFUSED = 5


class Answer(IntEnum):
    """What the user says about the next installation."""

    CONSENT = 1
    POSTPONE = 2


class Condition(IntFlag):
    """Why an update would be unwelcome now."""

    BUSY = 1
    BATTERY_LOW = 2


class LogEvent(StrEnum):
    """What the log knows.  The version is that of the update in question, also when it has failed or been reverted."""

    REQUESTED = "requested"
    INSTALLED = "installed"
    FAILED = "failed"
    REVERTED = "reverted"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status characteristic; `percent` (0 to 100) is how much of the image has arrived."""

    state: UpdateState
    percent: int

    def encode(self) -> bytes:
        """The value on the air."""
        return bytes((self.state, self.percent))

    @classmethod
    def decode(cls, value: bytes) -> Self:
        """Raises `ValueError` for a wrong length, an unknown state, or more than 100 percent."""
        if len(value) != 2 or value[1] > 100:
            raise ValueError(f"{value.hex(' ')} is no status: two bytes, the second at most 100")
        return cls(state=UpdateState(value[0]), percent=value[1])


@dataclass(frozen=True, kw_only=True)
class LogEntry:
    """One line of the log.  Numbers start at 1 and count on for ever."""

    number: int
    event: LogEvent
    version: str

    def __str__(self) -> str:
        return f"{self.number} {self.event} {self.version}"


def encode_log(entries: Iterable[LogEntry]) -> bytes:
    """The log characteristic: as many of the newest entries as fit into `MAX_LOG` bytes."""
    lines: list[bytes] = []
    room = MAX_LOG
    for entry in reversed(tuple(entries)):
        line = f"{entry}\n".encode()
        if len(line) > room:
            break
        room -= len(line)
        lines.append(line)
    return b"".join(reversed(lines))


def decode_log(value: bytes) -> tuple[LogEntry, ...]:
    """The entries, oldest first.  Raises `ValueError` for a line that is no entry."""
    entries = []
    for line in value.decode().splitlines():
        number, event, version = line.split(" ")
        entries.append(LogEntry(number=int(number), event=LogEvent(event), version=version))
    return tuple(entries)


def encode_heartbeat(count: int) -> bytes:
    """The heartbeat's value; it wraps after 2 ** 32 beats."""
    return (count & 0xFFFF_FFFF).to_bytes(4, "little")


def decode_heartbeat(value: bytes) -> int:
    """Raises `ValueError` for a wrong length."""
    if len(value) != 4:
        raise ValueError(f"{value.hex(' ')} is no heartbeat: four bytes")
    return int.from_bytes(value, "little")
