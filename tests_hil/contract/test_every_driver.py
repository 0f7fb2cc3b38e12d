"""Every registered driver is under the contract of its port, or is named here with the reason why not."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from rig import drivers
from rig.virtual.clock import loop_factory
from tests_hil.contract import (
    test_attenuator_contract,
    test_console_contract,
    test_interferer_contract,
    test_probe_contract,
    test_radio_contract,
    test_supply_contract,
)

LIMIT_S = 30.0
NO_CONTRACT = {("bench", "virtual"): "it is what stands around the instruments; every suite runs on it or on parts of it"}
"""(port, driver) → why no contract suite runs it."""

Benches = dict[str, tuple[str, Callable[[], Any]]]
SUITES: dict[str, tuple[Benches, Callable[[Any], object]]] = {
    "probe": ({name: (clock, bench) for name, (bench, clock) in test_probe_contract.BENCHES.items()}, lambda bench: bench.probe),
    "counter": (
        {name: (test_probe_contract.BENCHES[name][1], test_probe_contract.BENCHES[name][0]) for name in test_probe_contract.COUNTING},
        lambda bench: bench.count.__self__,
    ),
    "supply": (test_supply_contract.BENCHES, lambda bench: bench.supply),
    "console": (test_console_contract.BENCHES, lambda bench: bench.console()),
    "radio": (test_radio_contract.BENCHES, lambda bench: bench.radio),
    "interferer": (test_interferer_contract.BENCHES, lambda bench: bench.interferer),
    "attenuator": (test_attenuator_contract.BENCHES, lambda bench: bench.attenuator),
}
"""Port → the benches of its contract suite, and where a bench has its instrument."""


def registered() -> Iterator[tuple[str, str]]:
    for port, names in drivers.DRIVERS.items():
        for name in names:
            yield port, name


def instruments(port: str) -> set[type]:
    """The classes that the benches of a suite put under the contract."""
    benches, instrument = SUITES[port]

    async def look(bench: Callable[[], Any]) -> type:
        async with asyncio.timeout(LIMIT_S), bench() as opened:
            return type(instrument(opened))

    found = set()
    for clock, bench in benches.values():
        with asyncio.Runner(loop_factory=loop_factory(clock)) as runner:
            found.add(runner.run(look(bench)))
    return found


@pytest.mark.parametrize("port", drivers.DRIVERS)
def test_every_driver_is_under_its_contract_or_said_not_to_be(port: str) -> None:
    classes = instruments(port) if port in SUITES else set()
    under = {(port, name) for name, target in drivers.DRIVERS[port].items() if drivers.resolve(target) in classes}
    known = {(port, name) for name in drivers.DRIVERS[port]}
    exempt = {driver for driver in NO_CONTRACT if driver[0] == port}
    assert known - under == exempt


def test_the_reasons_are_about_drivers_that_there_are() -> None:
    assert NO_CONTRACT.keys() <= set(registered())


def test_the_radio_is_under_its_contract_on_both_of_its_ways_to_the_air() -> None:
    """One driver: on bumble, and on bleak's own backend for BlueZ."""
    backends = set()

    async def look(bench: Callable[[], Any]) -> None:
        async with asyncio.timeout(LIMIT_S), bench() as opened:
            link = await opened.connect()
            backends.add(str(link._client.backend_id))

    for clock, bench in test_radio_contract.BENCHES.values():
        with asyncio.Runner(loop_factory=loop_factory(clock)) as runner:
            runner.run(look(bench))
    assert backends == {"Client", "BleakBackend.BLUEZ_DBUS"}
