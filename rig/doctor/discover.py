"""What of a bench is plugged in here: probes with their serial ports, power kits, hubs, adapters, devices that offer an update.

Nothing is opened or switched.  A serial port belongs to a probe when both carry the same USB
serial number, which is how a J-Link's virtual COM port looks; names under /dev/serial/by-id survive re-plugging and are preferred.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rig.doctor.bluetooth import adapter_names
from rig.doctor.finding import Finding, Part, Status
from rig.doctor.instruments import command_port, hub_locations, power_kits
from rig.doctor.machine import Machine, SerialPort
from rig.doctor.probes import jlink_numbers
from rig.model import Protocol

_BY_ID = "/dev/serial/by-id"


@dataclass(frozen=True, kw_only=True)
class FoundProbe:
    """A J-Link, and the serial ports that it brings along, by the names that last."""

    serial_number: str
    ports: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FoundKit:
    """A Power Profiler Kit II; `port` takes its commands, None when no interface number says which does."""

    serial_number: str
    port: str | None


@dataclass(frozen=True, kw_only=True)
class Nearby:
    """A device on the air that offers an update."""

    address: str
    name: str
    rssi_dbm: int
    protocol: Protocol


@dataclass(frozen=True, kw_only=True)
class Discovery:
    """Everything that was found; `ports` are serial ports that belong to none of the instruments."""

    probes: tuple[FoundProbe, ...]
    kits: tuple[FoundKit, ...]
    ports: tuple[str, ...]
    hubs: tuple[str, ...]
    adapters: tuple[str, ...]
    nearby: tuple[Nearby, ...]


def discover(machine: Machine, nearby: Sequence[Nearby] = ()) -> Discovery:
    """Look at USB, serial ports and adapters of `machine`; `nearby` is what a scan has heard."""
    ports = machine.serial_ports()
    names = _lasting_names(machine)
    kits = power_kits(ports)
    probes = [
        FoundProbe(
            serial_number=number,
            ports=tuple(names.get(port.device, port.device) for port in ports if port.serial_number.lstrip("0") == number),
        )
        for number in sorted(set(jlink_numbers(machine)))
        if number.isdigit()
    ]
    taken = {port for probe in probes for port in probe.ports}
    rest = [port for port in ports if port not in [one for kit in kits.values() for one in kit]]
    return Discovery(
        probes=tuple(probes),
        kits=tuple(FoundKit(serial_number=number, port=_name(command_port(kit), names)) for number, kit in sorted(kits.items())),
        ports=tuple(name for port in rest if (name := names.get(port.device, port.device)) not in taken),
        hubs=tuple(hub_locations(machine)),
        adapters=tuple(adapter_names(machine)),
        nearby=tuple(sorted(nearby, key=lambda seen: -seen.rssi_dbm)),
    )


def lacking(findings: Iterable[Finding]) -> list[Finding]:
    """What stands between this machine and a bench, of all that the doctor has looked at."""
    wanted = {Part.JLINK_LIBRARY, Part.JLINK, Part.UDEV, Part.PPK2, Part.ADAPTERS, Part.BLUEZ, Part.DBUS, Part.SERIAL}
    found = [finding for finding in findings if finding.status is not Status.OK and finding.part in wanted]
    drivers = [finding for finding in findings if finding.part in {Part.PYNRFJPROG, Part.NRFUTIL, Part.PYOCD}]
    if drivers and all(finding.status is not Status.OK for finding in drivers):
        found += drivers  # one of them is enough
    return found


def _lasting_names(machine: Machine) -> dict[str, str]:
    """Device → its name under /dev/serial/by-id."""
    folder = machine.at(_BY_ID)
    links = sorted(folder.iterdir()) if folder.is_dir() else []
    return {_inside(machine, link.resolve()): f"{_BY_ID}/{link.name}" for link in links}


def _inside(machine: Machine, path: Path) -> str:
    """`path` as the machine itself calls it."""
    return "/" + str(path.relative_to(machine.root.resolve()))


def _name(port: SerialPort | None, names: dict[str, str]) -> str | None:
    return None if port is None else names.get(port.device, port.device)
