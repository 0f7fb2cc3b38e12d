"""Instruments on USB and serial ports: ports and who may use them, PPK2 kits, switchable hubs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from rig.doctor.bluetooth import first_line
from rig.doctor.finding import Finding, Part, missing, ok, warn
from rig.doctor.machine import Machine, SerialPort
from rig.doctor.probes import importable

_PPK2 = (0x1915, 0xC00A)
_PPK2_PORTS = 2
_PPK2_COMMANDS = 1
"""USB interface of the kit's command port."""
_HUB = re.compile(r"^Current status for hub (\S+)", re.MULTILINE)


def serial_ports(machine: Machine) -> Finding:
    """The ports that there are can be read and written by this user."""
    devices = [machine.at(port.device) for port in machine.serial_ports()]
    if not devices:
        return warn(Part.SERIAL, "none", "plug in the boards and kits; `sudo dmesg | grep tty` shows whether the kernel takes them")
    locked = [device for device in devices if not machine.may_use(device)]
    listing = ", ".join(map(str, devices))
    if locked:
        says = f"{listing}; no permission for {', '.join(map(str, locked))}"
        return warn(Part.SERIAL, says, permission_fix(machine, locked[0]))
    return ok(Part.SERIAL, listing)


def permission_fix(machine: Machine, device: Path) -> str:
    """How this user gets to read and write `device`: by joining its group (dialout on Debian, uucp on Arch)."""
    return f"sudo usermod -aG {machine.group_of(device)} {machine.user}, then log out and in again"


def ppk2(machine: Machine) -> Finding:
    """Every Power Profiler Kit II shows both of its ports; says which one takes commands."""
    kits = power_kits(machine.serial_ports())
    if not kits:
        return missing(Part.PPK2, "none (USB 1915:C00A)", "plug the kit's USB DATA/POWER port in and switch it on")
    lines, broken = [], False
    for serial_number, ports in sorted(kits.items()):
        command = command_port(ports)
        broken |= command is None or len(ports) != _PPK2_PORTS
        lines.append(f"{serial_number or 'without serial number'}: commands on {command.device if command else 'no known port'}")
    says = "; ".join(lines)
    if broken:
        return warn(Part.PPK2, f"{says}; a kit has two ports, commands on interface 1", "unplug and re-plug the kit")
    return ok(Part.PPK2, says)


def power_kits(ports: Sequence[SerialPort]) -> dict[str, list[SerialPort]]:
    """The ports of each Power Profiler Kit II, by the kit's serial number."""
    kits: defaultdict[str, list[SerialPort]] = defaultdict(list)
    for port in ports:
        if (port.vid, port.pid) == _PPK2:
            kits[port.serial_number].append(port)
    return kits


def command_port(ports: Sequence[SerialPort]) -> SerialPort | None:
    """The port of a PPK2 that takes commands, None when no interface number says which."""
    return next((port for port in ports if port.interface == _PPK2_COMMANDS), None)


def is_wrong_ppk2_port(port: SerialPort) -> bool:
    """Whether `port` is known not to be the command port of a PPK2."""
    if (port.vid, port.pid) == _PPK2:
        return port.interface not in (None, _PPK2_COMMANDS)
    return port.vid is not None


def hub_locations(machine: Machine) -> list[str]:
    """The hubs that uhubctl can switch, by its own names for them; none where it is not installed."""
    return _HUB.findall(machine.run("uhubctl").text) if machine.find("uhubctl") is not None else []


def hubs(machine: Machine) -> Finding:
    """Whether uhubctl can switch a USB hub.  It lies in /usr/sbin on Debian, which is not on everybody's PATH."""
    if machine.find("uhubctl") is None:
        return missing(Part.HUBS, "no uhubctl on the PATH", "sudo apt install uhubctl, and have /usr/sbin on the PATH")
    answer = machine.run("uhubctl")
    found = _HUB.findall(answer.text)
    if found:
        return ok(Part.HUBS, f"uhubctl can switch {', '.join(found)}")
    if "permission" in answer.text.lower():
        return missing(Part.HUBS, "uhubctl may not use the hubs", "install its udev rules (52-usb.rules), or run it once with sudo to see")
    if answer.code is None:
        return missing(Part.HUBS, f"uhubctl: {first_line(answer.text)}", "unplug hubs until it answers, to find the one that hangs")
    return missing(Part.HUBS, "uhubctl finds no hub that it can switch", "few hubs can; its README lists them")


def pyvisa(machine: Machine) -> Finding:
    """What speaks to SCPI supplies can be imported, with the VISA library that comes with it."""
    return importable(machine, Part.PYVISA, "pyvisa_py", "scripts/setup instruments")


def joulescope(machine: Machine) -> Finding:
    """The library can be imported; whether it may use the instrument is a matter of its udev rules."""
    return importable(machine, Part.JOULESCOPE, "pyjoulescope_driver", "scripts/setup instruments")
