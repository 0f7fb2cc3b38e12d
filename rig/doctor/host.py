"""The computer itself: Python, rig's libraries, SQLite, disk, open files, clock."""

from __future__ import annotations

from pathlib import Path

from rig.doctor.finding import Finding, Part, missing, ok, warn
from rig.doctor.machine import Machine
from rig.doctor.requirements import release

_PYTHON = (3, 11)
_WAL_FIX = "3.51.3"
"""Older versions can damage a database in WAL mode when two connections reset the log at once (https://sqlite.org/wal.html)."""
_FREE_BYTES = 5_000_000_000
_OPEN_FILES = 1024
"""What Linux gives a process by itself; less has been chosen by somebody."""
_CLOCK_STEP_S = 1e-3
"""Coarser steps blur the moments of power cuts, which scenarios give in milliseconds."""


def python(machine: Machine) -> Finding:
    """The interpreter is recent enough."""
    version = ".".join(map(str, machine.python))
    if machine.python < _PYTHON:
        return missing(Part.PYTHON, f"{version} is too old", "install Python 3.11 or newer and make a new environment with it")
    return ok(Part.PYTHON, version)


def libraries(machine: Machine) -> Finding:
    """Every library that rig cannot do without is installed, in a version that will do."""
    needed = [requirement for requirement in machine.requirements if not requirement.extra]
    if not needed:
        return warn(Part.LIBRARIES, "not checked: rig is not installed, and pyproject.toml is not beside it", "scripts/setup")
    found = {requirement: machine.installed(requirement.name) for requirement in needed}
    absent = [requirement for requirement, version in found.items() if version is None]
    wrong = {requirement: version for requirement, version in found.items() if version and not requirement.accepts(version)}
    listing = ", ".join(f"{requirement.name} {version}" for requirement, version in found.items() if version is not None)
    if not absent and not wrong:
        return ok(Part.LIBRARIES, listing)
    trouble = [f"no {requirement.name}" for requirement in absent]
    trouble += [f"{requirement.name} {version} is not {requirement.wanted}" for requirement, version in wrong.items()]
    fix = " ".join(f'"{requirement.wanted}"' for requirement in (*absent, *wrong))
    return missing(Part.LIBRARIES, "; ".join(trouble), f"pip install {fix}")


def sqlite(machine: Machine) -> Finding:
    """The SQLite in use does not have the WAL-reset bug; Python's own does not matter, rig uses apsw's."""
    used, own = machine.sqlite_used, machine.sqlite_of_python
    if release(used) < release(_WAL_FIX):
        return warn(Part.SQLITE, f"{used} (apsw) can damage its log: WAL-reset bug before {_WAL_FIX}", 'pip install --upgrade "apsw>=3.51.3"')
    note = f"; Python's own {own} has the WAL-reset bug and is not used" if release(own) < release(_WAL_FIX) else ""
    return ok(Part.SQLITE, f"{used} (apsw's) is used{note}")


def disk(machine: Machine, reports: Path) -> Finding:
    """There is room for reports."""
    folder = next(parent for parent in (reports.absolute(), *reports.absolute().parents) if parent.exists())
    free = machine.free_bytes(folder)
    says = f"{free / 1e9:.1f} GB free for {reports}/"
    if free < _FREE_BYTES:
        return warn(Part.DISK, f"{says}, less than {_FREE_BYTES / 1e9:g} GB", "delete old campaigns, or run with --out on a larger disk")
    return ok(Part.DISK, says)


def open_files(machine: Machine) -> Finding:
    """The limit on open files has not been made small."""
    if machine.open_files < 0:  # RLIM_INFINITY
        return ok(Part.OPEN_FILES, "no limit")
    if machine.open_files < _OPEN_FILES:
        return warn(Part.OPEN_FILES, f"at most {machine.open_files} per process", "ulimit -n 4096")
    return ok(Part.OPEN_FILES, f"at most {machine.open_files} per process")


def clock(machine: Machine) -> Finding:
    """The monotonic clock is fine enough, and the date is right.  Durations never depend on the date."""
    step = f"monotonic steps of {machine.clock_step_s * 1e9:g} ns"
    if machine.clock_step_s > _CLOCK_STEP_S:
        return warn(Part.CLOCK, f"{step}: too coarse to place power cuts by the millisecond", "use a computer with a finer clock")
    if machine.find("timedatectl") is None:
        return ok(Part.CLOCK, f"{step}; whether the date is synchronised cannot be told without timedatectl")
    answer = machine.run("timedatectl", "show", "--property=NTPSynchronized", "--value")
    if answer.code == 0 and answer.text == "yes":
        return ok(Part.CLOCK, f"{step}; date synchronised by NTP")
    if answer.code == 0 and answer.text == "no":
        return warn(Part.CLOCK, f"{step}; date not synchronised, so reports may bear a wrong one", "sudo timedatectl set-ntp true")
    return ok(Part.CLOCK, f"{step}; timedatectl does not tell whether the date is synchronised")
