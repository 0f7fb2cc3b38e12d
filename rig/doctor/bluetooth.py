"""The host's Bluetooth, as bleak needs it on Linux: D-Bus, BlueZ, an adapter."""

from __future__ import annotations

import re
import socket
from pathlib import Path

from rig.doctor.finding import Finding, Part, missing, ok, warn
from rig.doctor.machine import Machine
from rig.doctor.requirements import release

_BUS = "/run/dbus/system_bus_socket"
_BUS_S = 2.0
_BLUEZ = "5.55"
"""The oldest BlueZ that bleak works with (bleak's README)."""


def dbus(machine: Machine) -> Finding:
    """The system bus takes connections."""
    address = machine.environment.get("DBUS_SYSTEM_BUS_ADDRESS", "")
    named = re.match(r"unix:path=([^,;]+)", address)
    path = machine.at(named[1] if named else _BUS)
    fix = "sudo systemctl start dbus; in a container, mount the host's /run/dbus"
    if not path.exists():
        return missing(Part.DBUS, f"no system bus at {path}", fix)
    try:
        with socket.socket(socket.AF_UNIX) as bus:
            bus.settimeout(_BUS_S)
            bus.connect(str(path))
    except OSError as error:
        return missing(Part.DBUS, f"the system bus at {path} does not answer: {error.strerror or error}", fix)
    return ok(Part.DBUS, f"system bus at {path}")


def bluez(machine: Machine) -> Finding:
    """BlueZ runs and is recent enough.  Its client and its daemon come in one package and carry one version."""
    version, runs = _bluez_version(machine), _bluez_runs(machine)
    if version is None and runs is None:
        return missing(Part.BLUEZ, "no bluetoothctl that answers, and nobody to ask for bluetoothd", "sudo apt install bluez, or your system's like")
    if runs is False:
        return missing(Part.BLUEZ, "bluetoothd does not run", "sudo systemctl enable --now bluetooth; if there is no such service, install BlueZ")
    if version is None:
        return warn(Part.BLUEZ, f"runs; version unknown, bleak needs {_BLUEZ}", "install bluetoothctl (package bluez) to see the version")
    if release(version) < release(_BLUEZ):
        return missing(Part.BLUEZ, f"{version} is too old for bleak", f"install BlueZ {_BLUEZ} or newer")
    return ok(Part.BLUEZ, f"{version}, runs" if runs else f"{version}; whether bluetoothd runs cannot be told without busctl and D-Bus")


def _bluez_version(machine: Machine) -> str | None:
    if machine.find("bluetoothctl") is None:
        return None
    answer = machine.run("bluetoothctl", "--version")
    version = re.search(r"\d+\.\d+", answer.text)
    return version[0] if answer.code == 0 and version is not None else None


def _bluez_runs(machine: Machine) -> bool | None:
    """Whether somebody on the system bus owns the name of BlueZ; None when that cannot be found out."""
    if machine.find("busctl") is None:
        return None
    bus = "org.freedesktop.DBus"
    answer = machine.run("busctl", "--system", "call", bus, "/org/freedesktop/DBus", bus, "NameHasOwner", "s", "org.bluez")
    return {"b true": True, "b false": False}.get(answer.text) if answer.code == 0 else None


def adapters(machine: Machine) -> Finding:
    """There is a Bluetooth adapter, and none is switched off by rfkill."""
    names = adapter_names(machine)
    if not names:
        return missing(Part.ADAPTERS, "none", "plug in a Bluetooth adapter; `sudo dmesg | grep -i bluetooth` says why one is not taken")
    blocked = [name for name in names if _is_blocked(machine.at(f"/sys/class/bluetooth/{name}"))]
    if blocked:
        return missing(Part.ADAPTERS, f"{', '.join(blocked)} switched off by rfkill", "rfkill unblock bluetooth")
    return ok(Part.ADAPTERS, ", ".join(names))


def adapter_names(machine: Machine) -> list[str]:
    """The kernel's Bluetooth adapters, without the connections (``hci0:64``) that stand beside them."""
    return sorted(path.name for path in machine.at("/sys/class/bluetooth").glob("hci*") if ":" not in path.name)


def _is_blocked(adapter: Path) -> bool:
    switches = [file for switch in adapter.glob("rfkill*") for file in (switch / "soft", switch / "hard")]
    return any(file.is_file() and file.read_text().strip() == "1" for file in switches)


def first_line(text: str) -> str:
    """The first line of a command's output, cut to what fits beside a name."""
    return text.partition("\n")[0].strip()[:100]
