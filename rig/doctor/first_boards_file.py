"""A boards file to start from, written from what was discovered: what is known is filled in, what is not is said so."""

from __future__ import annotations

import json
from collections.abc import Iterator

from rig.doctor.discover import Discovery, FoundKit, FoundProbe, Nearby
from rig.model import Protocol

_HEAD = """\
# Written by `rig discover`.  Every line that ends with CHANGE is a guess: look at the board and correct it.
#   rig check --boards {file}                      says whether the file is sound
#   rig doctor --boards {file}                     says whether everything it names is here
#   rig selftest --board NAME --boards {file}      proves the wiring
# What every key means: docs/configuration.md.  How the bench is built: docs/lab.md.
bench:
  driver: lab

boards:
"""
_UNKNOWN = "CHANGE"
_PRESETS = {Protocol.SMP: "swap-offset", Protocol.SECURE_DFU: "secure-dfu"}


def first_boards_file(found: Discovery, file: str) -> str:
    """The text of a boards file with one board per probe; kits and devices on the air are dealt out in order, and marked as guesses."""
    lines = [_HEAD.format(file=file).rstrip("\n")]
    probes: tuple[FoundProbe | None, ...] = found.probes or (None,)
    for number, probe in enumerate(probes):
        kit = found.kits[number] if number < len(found.kits) else None
        seen = found.nearby[number] if number < len(found.nearby) else None
        lines += _board(f"dk{number + 1}", probe, kit, seen, found)
    lines += _left_over(found, len(probes))
    return "\n".join(lines) + "\n"


def _board(name: str, probe: FoundProbe | None, kit: FoundKit | None, seen: Nearby | None, found: Discovery) -> Iterator[str]:
    protocol = seen.protocol if seen is not None else Protocol.SMP
    yield f"  - name: {name}"
    yield f"    soc: nrf52840                      # {_UNKNOWN}: nrf52840 (PCA10056), nrf52833 (PCA10100) or nrf52832 (PCA10040)"
    yield f"    protocol: {protocol.value}" + ("" if seen is not None else f"                       # {_UNKNOWN}: smp or secure_dfu")
    yield "    ble:"
    yield f"      name: {json.dumps(seen.name if seen is not None and seen.name else name)}" + _mark("which device is this board?", known=False)
    if seen is not None:
        yield f'      address: "{seen.address}"' + _mark(f"heard at {seen.rssi_dbm} dBm", known=False)
    elif protocol is Protocol.SECURE_DFU:
        yield '      address: "C0:00:00:00:00:00"' + _mark("", known=False)
    yield "    memory:"
    yield f"      preset: {_PRESETS[protocol]}" + _mark("how the bootloader was built", known=False)
    yield "    probe:"
    yield "      driver: nrfjprog                 # or nrfutil; pyocd takes unique_id instead"
    yield f"      serial_number: {probe.serial_number if probe is not None else 1}" + ("" if probe is not None else _mark("no J-Link was found", known=False))
    yield "    supply:"
    yield "      driver: ppk2"
    port = kit.port if kit is not None else None
    yield f"      port: {port or '/dev/serial/by-id/no-kit-was-found'}" + _mark("which kit feeds this board?", known=False)
    yield "    console:"
    yield "      driver: uart"
    yield f"      port: {probe.ports[0] if probe is not None and probe.ports else '/dev/serial/by-id/no-port-was-found'}" + _mark(
        f"this J-Link has {len(probe.ports)} ports" if probe is not None and len(probe.ports) != 1 else "",
        known=probe is not None and len(probe.ports) == 1,
    )
    yield "    radio:"
    yield "      driver: bleak"
    yield f"      adapter: {found.adapters[0] if found.adapters else 'hci0'}" + _mark("no adapter was found", known=bool(found.adapters))


def _mark(why: str, *, known: bool) -> str:
    if known:
        return ""
    return f"    # {_UNKNOWN}: {why}" if why else f"    # {_UNKNOWN}"


def _left_over(found: Discovery, boards: int) -> Iterator[str]:
    """What was found and has no place above, as comments."""
    for kit in found.kits[boards:]:
        yield f"# one more PPK2, {kit.serial_number}: commands on {kit.port or 'no known port'}"
    for port in found.ports:
        yield f"# a serial port that belongs to no probe: {port}"
    for hub in found.hubs:
        yield f"# a hub whose ports uhubctl can switch (recovery only): {hub}"
    for seen in found.nearby[boards:]:
        yield f"# also on the air: {seen.address} {seen.name or 'without a name'}, {seen.protocol.value}, {seen.rssi_dbm} dBm"
