"""What one check has found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """MISSING stops a bench that needs the thing, WARN does not."""

    OK = "OK"
    WARN = "WARN"
    MISSING = "MISSING"


class Part(StrEnum):
    """What is looked at; the values are the names on the screen."""

    PYTHON = "Python"
    LIBRARIES = "libraries"
    SQLITE = "SQLite"
    DISK = "disk"
    OPEN_FILES = "open files"
    CLOCK = "clock"
    DBUS = "D-Bus"
    BLUEZ = "BlueZ"
    ADAPTERS = "adapters"
    SERIAL = "serial ports"
    PPK2 = "PPK2"
    HUBS = "USB hubs"
    PYVISA = "PyVISA"
    JOULESCOPE = "Joulescope library"
    JLINK_LIBRARY = "J-Link library"
    JLINK = "J-Link"
    UDEV = "udev rules"
    PYNRFJPROG = "pynrfjprog"
    NRFUTIL = "nrfutil"
    PYOCD = "pyOCD"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line of the answer.  `fix` is what to do about it, in one line; empty when nothing is to be done."""

    part: str
    status: Status
    says: str
    fix: str = ""


def ok(part: str, says: str) -> Finding:
    """The thing is there and usable."""
    return Finding(part=part, status=Status.OK, says=says)


def warn(part: str, says: str, fix: str = "") -> Finding:
    """The thing is there, but trouble may come of it."""
    return Finding(part=part, status=Status.WARN, says=says, fix=fix)


def missing(part: str, says: str, fix: str) -> Finding:
    """The thing is not there, or not usable."""
    return Finding(part=part, status=Status.MISSING, says=says, fix=fix)
