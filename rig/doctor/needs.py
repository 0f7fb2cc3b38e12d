"""What the boards of a boards file need of this machine, told by their instruments alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rig.doctor.bluetooth import adapter_names
from rig.doctor.finding import Finding, Part, missing, ok
from rig.doctor.instruments import is_wrong_ppk2_port, permission_fix
from rig.doctor.machine import Machine
from rig.model import Board, InstrumentSpec

ALWAYS = frozenset({Part.PYTHON, Part.LIBRARIES, Part.SQLITE, Part.DISK, Part.OPEN_FILES, Part.CLOCK})
"""What rig needs on any bench."""

_JLINK = frozenset({Part.JLINK_LIBRARY, Part.JLINK, Part.UDEV})
_BLUETOOTH = frozenset({Part.DBUS, Part.BLUEZ, Part.ADAPTERS})
NEEDS: dict[tuple[str, str], frozenset[Part]] = {
    ("probe", "virtual"): frozenset(),
    ("probe", "nrfjprog"): _JLINK | {Part.PYNRFJPROG},
    ("probe", "nrfutil"): _JLINK | {Part.NRFUTIL},
    ("probe", "pyocd"): frozenset({Part.PYOCD}),
    ("supply", "ppk2"): frozenset({Part.PPK2}),
    ("supply", "switch"): frozenset(),
    ("supply", "scpi"): frozenset({Part.PYVISA}),
    ("supply", "joulescope"): frozenset({Part.JOULESCOPE}),
    ("supply", "uhubctl"): frozenset({Part.HUBS}),
    ("supply", "http-plug"): frozenset(),
    ("console", "uart"): frozenset(),
    ("console", "rtt"): frozenset(),
    ("radio", "bleak"): _BLUETOOTH,
    ("interferer", "radio-test"): frozenset(),
    ("attenuator", "rcdat"): frozenset(),
    ("counter", "virtual"): frozenset(),
}
"""(port, driver) → what it needs when it drives a real instrument.  Serial ports are checked one by one, by name."""


def needs_of(boards: Sequence[Board]) -> frozenset[Part]:
    """The parts without which the instruments of `boards` cannot be opened."""
    needs = set(ALWAYS)
    for board in boards:
        for port, spec in _instruments(board):
            if not _is_elsewhere(spec):
                needs |= NEEDS[port, spec.driver]
        if any(_serial_ports(board)):
            needs.add(Part.SERIAL)
    return frozenset(needs)


def wiring(machine: Machine, boards: Sequence[Board]) -> Iterator[Finding]:
    """One finding for each serial port and each adapter of this host that `boards` name."""
    for board in boards:
        for instrument, port, driver in _serial_ports(board):
            yield _check_port(machine, f"{board.name}.{instrument}", port, driver)
        adapter = board.radio.options.get("adapter")
        if adapter and not _is_elsewhere(board.radio):
            yield _check_adapter(machine, f"{board.name}.radio", adapter)


def _instruments(board: Board) -> Iterator[tuple[str, InstrumentSpec]]:
    for port in ("probe", "supply", "console", "radio", "interferer", "attenuator", "counter"):
        spec = getattr(board, port)
        if spec is not None:
            yield port, spec


def _serial_ports(board: Board) -> Iterator[tuple[str, str, str]]:
    """(instrument, port, driver) for each port that the host itself must have."""
    for instrument, spec in _instruments(board):
        port = spec.options.get("port")
        if isinstance(port, str) and not _is_elsewhere(spec):
            yield instrument, port, spec.driver
    if board.dfu_port is not None and ":" not in board.dfu_port:
        yield "dfu_port", board.dfu_port, ""


def _is_elsewhere(spec: InstrumentSpec) -> bool:
    """Whether an instrument is reached by ``scheme:rest``, or by an adapter that is not BlueZ's: the host knows nothing about it."""
    port, adapter = spec.options.get("port"), spec.options.get("adapter")
    return (isinstance(port, str) and ":" in port) or (bool(adapter) and not str(adapter).startswith("hci"))


def _check_port(machine: Machine, name: str, port: str, driver: str) -> Finding:
    device = machine.at(port)
    known = {machine.at(found.device).resolve(): found for found in machine.serial_ports()}
    if not device.exists():
        there = ", ".join(sorted(found.device for found in known.values())) or "none"
        return missing(name, f"{port} does not exist", f"plug it in, or name another port; there are: {there}")
    if not machine.may_use(device):
        return missing(name, f"no permission for {port}", permission_fix(machine, device))
    found = known.get(device.resolve())
    if driver == "ppk2" and found is not None and is_wrong_ppk2_port(found):
        return missing(name, f"{port} is not the command port of a PPK2", f"name the port that `rig doctor` shows beside {Part.PPK2}")
    return ok(name, port if Path(port) == device.resolve() else f"{port} → {device.resolve()}")


def _check_adapter(machine: Machine, name: str, adapter: str) -> Finding:
    there = adapter_names(machine)
    if adapter not in there:
        return missing(name, f"there is no adapter {adapter}", f"plug it in, or name another; there are: {', '.join(there) or 'none'}")
    return ok(name, adapter)
