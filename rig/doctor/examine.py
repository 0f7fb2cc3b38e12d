"""All checks in the order of the screen, and what follows from them for a boards file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rig.doctor import bluetooth, host, instruments, probes
from rig.doctor.finding import Finding, Part, Status, warn
from rig.doctor.machine import Machine
from rig.doctor.needs import needs_of, wiring
from rig.model import Board

Check = Callable[[Machine], Finding]


@dataclass(frozen=True, kw_only=True)
class Examination:
    """Findings under their headings.  `needed` are the names of what the bench cannot do without, None where no bench is known."""

    groups: tuple[tuple[str, tuple[Finding, ...]], ...]
    needed: frozenset[str] | None

    def is_needed(self, finding: Finding) -> bool:
        """Whether the bench needs it; without a bench everything may be needed."""
        return self.needed is None or finding.part in self.needed

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """What is missing for the bench; nothing where no bench is known."""
        if self.needed is None:
            return ()
        findings = (finding for _, group in self.groups for finding in group)
        return tuple(finding for finding in findings if finding.status is Status.MISSING and finding.part in self.needed)


def examine(machine: Machine, boards: Sequence[Board] | None, *, reports: Path) -> Examination:
    """Look at everything; nothing is opened, changed or switched.  `boards` None: only say what there is."""
    checks: tuple[tuple[str, dict[Part, Check]], ...] = (
        (
            "This computer",
            {
                Part.PYTHON: host.python,
                Part.LIBRARIES: host.libraries,
                Part.SQLITE: host.sqlite,
                Part.DISK: partial(host.disk, reports=reports),
                Part.OPEN_FILES: host.open_files,
                Part.CLOCK: host.clock,
            },
        ),
        ("Bluetooth", {Part.DBUS: bluetooth.dbus, Part.BLUEZ: bluetooth.bluez, Part.ADAPTERS: bluetooth.adapters}),
        (
            "Instruments",
            {
                Part.SERIAL: instruments.serial_ports,
                Part.PPK2: instruments.ppk2,
                Part.HUBS: instruments.hubs,
                Part.PYVISA: instruments.pyvisa,
                Part.JOULESCOPE: instruments.joulescope,
            },
        ),
        (
            "Debug probes",
            {
                Part.JLINK_LIBRARY: probes.jlink_library,
                Part.JLINK: probes.jlinks,
                Part.UDEV: probes.udev,
                Part.PYNRFJPROG: probes.pynrfjprog,
                Part.NRFUTIL: probes.nrfutil,
                Part.PYOCD: probes.pyocd,
            },
        ),
    )
    groups = [(title, tuple(_result(part, check, machine) for part, check in group.items())) for title, group in checks]
    if boards is None:
        return Examination(groups=tuple(groups), needed=None)
    wires = tuple(wiring(machine, boards))
    if wires:
        groups.append(("Wiring of the boards", wires))
    return Examination(groups=tuple(groups), needed=frozenset(needs_of(boards)) | {finding.part for finding in wires})


def _result(part: Part, check: Check, machine: Machine) -> Finding:
    try:
        return check(machine)
    except OSError as error:  # unplugged in this moment, or closed to this user
        return warn(part, f"cannot be examined: {error}", "run `rig doctor` again; if it stays, look at the file's permissions")
