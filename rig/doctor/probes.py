"""Debug probes: the J-Link on the board, SEGGER's library, and the three ways to drive it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from rig.doctor.bluetooth import first_line
from rig.doctor.finding import Finding, Part, missing, ok, warn
from rig.doctor.machine import Machine

_SEGGER = "1366"
"""SEGGER's USB vendor number; a DK's on-board J-Link bears it as well."""
_LIBRARIES = (
    "opt/SEGGER/JLink*/libjlinkarm.so*",
    "usr/lib/libjlinkarm.so*",
    "usr/lib/*/libjlinkarm.so*",
    "usr/local/lib/libjlinkarm.so*",
    "Applications/SEGGER/JLink*/libjlinkarm.dylib",
)
_RULES = ("etc/udev/rules.d", "usr/lib/udev/rules.d", "lib/udev/rules.d", "usr/local/lib/udev/rules.d")
_SEGGER_FIX = "install the J-Link Software and Documentation Pack from segger.com/downloads/jlink"


def jlink_library(machine: Machine) -> Finding:
    """SEGGER's library is where its package puts it, or where the loader finds it.

    Source: Nordic, "Installing pynrfjprog": /opt/SEGGER/JLink, /Applications/SEGGER/JLink, or wherever dlopen finds it.
    """
    places = sorted(path for pattern in _LIBRARIES for path in machine.root.glob(pattern))
    where = str(places[0]) if places else machine.find_library("jlinkarm")
    if where is None:
        return missing(Part.JLINK_LIBRARY, "no libjlinkarm; pynrfjprog then sees no probes, and does not say why", _SEGGER_FIX)
    return ok(Part.JLINK_LIBRARY, where)


def jlinks(machine: Machine) -> Finding:
    """At least one J-Link is on USB."""
    found = sorted(jlink_numbers(machine))
    if not found:
        return missing(Part.JLINK, f"none on USB (vendor {_SEGGER})", "plug in the DK's debugger port and switch the DK on")
    return ok(Part.JLINK, ", ".join(found))


def jlink_numbers(machine: Machine) -> Iterator[str]:
    """The serial numbers of the J-Links on USB, without leading zeros, as Nordic's tools want them."""
    for vendor in machine.at("/sys/bus/usb/devices").glob("*/idVendor"):
        if vendor.read_text().strip() == _SEGGER:
            number = vendor.with_name("serial")
            yield number.read_text().strip().lstrip("0") if number.is_file() else "without serial number"


def udev(machine: Machine) -> Finding:
    """Some udev rule gives users access to J-Links."""
    for folder in _RULES:
        for file in sorted((machine.root / folder).glob("*.rules")):
            if _names_segger(file):
                return ok(Part.UDEV, str(file))
    return missing(Part.UDEV, "none for J-Link: only root may use one", "install SEGGER's 99-jlink.rules (in its pack), then re-plug the DK")


def _names_segger(file: Path) -> bool:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return any(_SEGGER in line for line in lines if not line.lstrip().startswith("#"))


def pynrfjprog(machine: Machine) -> Finding:
    """The library can be imported."""
    return importable(machine, Part.PYNRFJPROG, "pynrfjprog.LowLevel", "scripts/setup lab")


def pyocd(machine: Machine) -> Finding:
    """The library can be imported."""
    return importable(machine, Part.PYOCD, "pyocd", "scripts/setup pyocd")


def importable(machine: Machine, part: Part, module: str, fix: str) -> Finding:
    """Tried in a process of its own: a vendor's library that crashes or hangs while it is loaded takes nobody with it."""
    name = module.partition(".")[0]
    code = f"import importlib.metadata, {module}; print('version', importlib.metadata.version({name!r}))"
    answer = machine.run(machine.interpreter, "-c", code)
    version = re.search(r"^version (\S+)$", answer.text, re.MULTILINE)
    if version is not None:
        return ok(part, version[1])
    last = answer.text.rpartition("\n")[2]
    if f"No module named '{name}'" in last:
        return missing(part, "not installed", fix)
    return missing(part, f"cannot be imported: {first_line(last) or 'it crashed'}", f"python -c 'import {module}' shows why")


def nrfutil(machine: Machine) -> Finding:
    """The program answers, and has the command that drives probes."""
    fix = "get it from nordicsemi.com/Products/Development-tools/nRF-Util, put it on the PATH, and: nrfutil install device"
    if machine.find("nrfutil") is None:
        return missing(Part.NRFUTIL, "not on the PATH", fix)
    answer = machine.run("nrfutil", "--version")
    version = re.search(r"\d+(?:\.\d+)+", answer.text)
    if answer.code != 0 or version is None:
        return warn(Part.NRFUTIL, f"nrfutil --version: {first_line(answer.text) or 'no answer'}", fix)
    if machine.run("nrfutil", "device", "--version").code != 0:
        return missing(Part.NRFUTIL, f"{version[0]}, without its command `device`", "nrfutil install device")
    return ok(Part.NRFUTIL, version[0])
