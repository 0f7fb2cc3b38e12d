"""Everything the checks may look at.  A test gives another root folder, another PATH and other ports instead of a fake check."""

from __future__ import annotations

import ctypes.util
import grp
import os
import pwd
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from serial.tools import list_ports

from rig.doctor.requirements import Requirement, installed_version, own_requirements
from rig.store.provenance import versions

_COMMAND_S = 10.0
"""Importing a vendor's library or listing USB hubs takes a second or two; what takes longer hangs."""
_INTERFACE = re.compile(r":\d+\.(\d+)$")


@dataclass(frozen=True, kw_only=True)
class SerialPort:
    """A serial port of the host; `interface` is the number of its USB interface, None where it is unknown or not USB."""

    device: str
    vid: int | None = None
    pid: int | None = None
    serial_number: str = ""
    interface: int | None = None


@dataclass(frozen=True, kw_only=True)
class Output:
    """How a command ended.  `code` is None when it did not answer in time or could not be started; `text` says so then."""

    code: int | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A computer as the checks see it.  `root` stands before every absolute path, `environment` is that of every command."""

    root: Path
    environment: Mapping[str, str]
    interpreter: str
    python: tuple[int, int, int]
    requirements: Sequence[Requirement]
    installed: Callable[[str], str | None]
    """Name of a distribution → its version."""
    sqlite_used: str
    sqlite_of_python: str
    serial_ports: Callable[[], Sequence[SerialPort]]
    find_library: Callable[[str], str | None]
    """What the loader finds for a library's name without `lib` and suffix."""
    may_use: Callable[[Path], bool]
    """Whether this user may read and write a device."""
    group_of: Callable[[Path], str]
    user: str
    free_bytes: Callable[[Path], int]
    open_files: int
    clock_step_s: float
    """Resolution of the monotonic clock."""
    command_limit_s: float = _COMMAND_S

    def at(self, path: str) -> Path:
        """Where the absolute `path` lies below `root`."""
        return self.root / path.lstrip("/")

    def find(self, command: str) -> str | None:
        """Where `command` lies on the PATH."""
        return shutil.which(command, path=self.environment.get("PATH", ""))

    def run(self, *command: str) -> Output:
        """Run `command` without input, for at most `command_limit_s`; its output and errors come as one text."""
        try:
            process = subprocess.Popen(  # noqa: S603 - found on the operator's own PATH, constant arguments
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=dict(self.environment),
                start_new_session=True,
            )
        except OSError as error:
            return Output(code=None, text=f"cannot be started: {error.strerror}")
        with process:
            try:
                text, _ = process.communicate(timeout=self.command_limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)  # its children hold the pipe as well
                return Output(code=None, text=f"no answer within {self.command_limit_s:g} s")
        return Output(code=process.returncode, text=text.decode(errors="replace").strip())


def this_machine() -> Machine:
    """The computer that this runs on."""
    return Machine(
        root=Path("/"),
        environment=dict(os.environ),
        interpreter=sys.executable,
        python=sys.version_info[:3],
        requirements=own_requirements(),
        installed=installed_version,
        sqlite_used=versions()["sqlite"],
        sqlite_of_python=sqlite3.sqlite_version,
        serial_ports=_serial_ports,
        find_library=ctypes.util.find_library,
        may_use=lambda path: os.access(path, os.R_OK | os.W_OK),
        group_of=_group_of,
        user=_user(),
        free_bytes=lambda path: shutil.disk_usage(path).free,
        open_files=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        clock_step_s=time.get_clock_info("monotonic").resolution,
    )


def _serial_ports() -> tuple[SerialPort, ...]:
    return tuple(
        SerialPort(
            device=port.device,
            vid=port.vid,
            pid=port.pid,
            serial_number=port.serial_number or "",
            interface=interface_of(port.location or ""),
        )
        for port in sorted(list_ports.comports())
    )


def interface_of(location: str) -> int | None:
    """The interface in a USB location such as ``1-2.3:1.1`` (bus-ports:configuration.interface)."""
    found = _INTERFACE.search(location)
    return int(found[1]) if found else None


def _group_of(path: Path) -> str:
    number = path.stat().st_gid
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
