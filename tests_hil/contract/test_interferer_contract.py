"""What every interferer must do, whatever it is and whatever it is wired to.

To put another one under the contract, write a bench for it (an asynchronous context manager that yields a `Bench`) and add it to
`BENCHES` with its clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from rig.drivers.interferer_radio_test import RadioTestInterferer
from rig.errors import InstrumentError
from rig.model import ADVERTISING_MHZ, Interference, InterferenceKind
from rig.ports import Interferer
from rig.virtual.air import Air, DeviceAddress, Phy, Transmission, frequency_mhz
from rig.virtual.clock import loop_factory
from rig.virtual.interference import Spectrum
from rig.virtual.radio_test_kit import RadioTestKit
from rig.virtual.wires import CURRENT_WIRES, Wires

LIMIT_S = 10.0
SETTLE_S = 0.1
"""Longest time from a command's return to its effect on the air."""
POWER_DBM = 8

PROGRAMMES = {
    InterferenceKind.CARRIER: Interference(kind=InterferenceKind.CARRIER, frequencies_mhz=(2440,), power_dbm=POWER_DBM),
    InterferenceKind.MODULATED: Interference(kind=InterferenceKind.MODULATED, frequencies_mhz=(2440,), power_dbm=POWER_DBM),
    InterferenceKind.DUTY_CYCLE: Interference(
        kind=InterferenceKind.DUTY_CYCLE, frequencies_mhz=(2440,), power_dbm=POWER_DBM, duty=0.9
    ),
    InterferenceKind.SWEEP: Interference(
        kind=InterferenceKind.SWEEP, frequencies_mhz=tuple(range(2438, 2443)), power_dbm=POWER_DBM
    ),
    InterferenceKind.HOP: Interference(
        kind=InterferenceKind.HOP, frequencies_mhz=(2402, 2440), power_dbm=POWER_DBM, duty=0.5, dwell_s=1e-3
    ),
}
"""Each kind on 2440 MHz, BLE channel 17, and none on 2470."""
CARRIER = PROGRAMMES[InterferenceKind.CARRIER]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """An interferer that has not been entered, and what a receiver finds of it: the share of packets lost at a frequency."""

    interferer: Interferer
    lost_at: Callable[[int], float]


@asynccontextmanager
async def radio_test(*, ptys: bool) -> AsyncIterator[Bench]:
    """The driver on the shell of a virtual kit, one metre of virtual air from a receiver."""
    wires = Wires(ptys=ptys)
    CURRENT_WIRES.set(wires)
    air = Air(seed=1)
    RadioTestKit(wires.add("interferer", baudrate=115200), Spectrum(air))
    channels = {frequency_mhz(channel): channel for channel in range(40)}

    def lost_at(mhz: int) -> float:
        nobody = DeviceAddress(bytes(6))
        return air.steady_loss(Transmission(0.0, channels[mhz], nobody, nobody, 251, Phy.LE_1M, to_board=False))

    try:
        yield Bench(interferer=RadioTestInterferer(owner="dk1", port="virtual:interferer"), lost_at=lost_at)
    finally:
        wires.close()


BENCHES: dict[str, tuple[str, Callable[[], AbstractAsyncContextManager[Bench]]]] = {
    "radio-test on a virtual wire": ("virtual", partial(radio_test, ptys=False)),
    "radio-test on a pty": ("wall", partial(radio_test, ptys=True)),
}

Run = Callable[[Callable[[Bench], Awaitable[None]]], None]


@pytest.fixture(params=BENCHES)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine function on a bench, within a limit."""
    clock, bench = BENCHES[request.param]

    def run_(test: Callable[[Bench], Awaitable[None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(LIMIT_S), bench() as opened:
                await test(opened)

        with asyncio.Runner(loop_factory=loop_factory(clock)) as runner:
            runner.run(limited())

    return run_


async def until(condition: Callable[[], bool]) -> None:
    """Wait for an effect, no longer than an interferer may take."""
    deadline = asyncio.get_running_loop().time() + SETTLE_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "no effect on the air"
        await asyncio.sleep(1e-3)


@pytest.mark.parametrize("kind", InterferenceKind)
def test_what_is_started_is_on_the_air_and_nothing_else(run: Run, kind: InterferenceKind) -> None:
    async def test(bench: Bench) -> None:
        async with bench.interferer as interferer:
            assert bench.lost_at(2440) == 0.0
            if kind not in interferer.kinds:
                with pytest.raises(InstrumentError):
                    await interferer.start(PROGRAMMES[kind])
                return
            await interferer.start(PROGRAMMES[kind])
            await until(lambda: bench.lost_at(2440) > 0.3)
            assert bench.lost_at(2470) == 0.0
            await interferer.stop()
            await until(lambda: bench.lost_at(2440) == 0.0)

    run(test)


def test_the_advertising_channels_alone_can_be_covered(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.interferer as interferer:
            await interferer.start(Interference.on_advertising_channels(POWER_DBM))
            await until(lambda: min(bench.lost_at(mhz) for mhz in ADVERTISING_MHZ) > 0.99)
            assert max(bench.lost_at(mhz) for mhz in (2404, 2424, 2428, 2478)) < 0.01

    run(test)


def test_a_wifi_channel_is_covered_from_edge_to_edge(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.interferer as interferer:
            await interferer.start(Interference.over_wifi(6, POWER_DBM))
            await until(lambda: min(bench.lost_at(mhz) for mhz in range(2428, 2448, 2)) > 0.2)
            assert max(bench.lost_at(mhz) for mhz in (2422, 2452)) < 0.01

    run(test)


def test_a_new_start_replaces_the_one_before(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.interferer as interferer:
            await interferer.start(CARRIER)
            await interferer.start(Interference(kind=InterferenceKind.CARRIER, frequencies_mhz=(2470,), power_dbm=POWER_DBM))
            await until(lambda: bench.lost_at(2470) > 0.99)
            assert bench.lost_at(2440) == 0.0

    run(test)


def test_less_power_disturbs_less(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.interferer as interferer:
            await interferer.start(Interference(kind=InterferenceKind.CARRIER, frequencies_mhz=(2440,), power_dbm=-40))
            await asyncio.sleep(SETTLE_S)
            assert bench.lost_at(2440) < 0.01

    run(test)


def test_leaving_silences_and_so_does_entering(run: Run) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(2):
            async with bench.interferer as interferer:
                await until(lambda: bench.lost_at(2440) == 0.0)
                await interferer.start(CARRIER)
                await until(lambda: bench.lost_at(2440) > 0.99)
            await until(lambda: bench.lost_at(2440) == 0.0)

    run(test)


def test_what_it_cannot_send_is_refused_and_changes_nothing(run: Run) -> None:
    impossible = [
        Interference(kind=InterferenceKind.CARRIER, frequencies_mhz=(2500,), power_dbm=0),
        Interference(kind=InterferenceKind.CARRIER, frequencies_mhz=(), power_dbm=0),
        Interference(kind=InterferenceKind.CARRIER, frequencies_mhz=(2440,), power_dbm=60),
    ]

    async def test(bench: Bench) -> None:
        async with bench.interferer as interferer:
            await interferer.start(CARRIER)
            for wish in impossible:
                with pytest.raises(InstrumentError):
                    await interferer.start(wish)
            await until(lambda: bench.lost_at(2440) > 0.99)

    run(test)


def test_the_time_returned_lies_within_the_call(run: Run) -> None:
    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        async with bench.interferer as interferer:
            for command in (partial(interferer.start, CARRIER), interferer.stop):
                before_s = loop.time()
                left_s = await command()
                assert before_s <= left_s <= loop.time()

    run(test)


def test_an_interferer_that_has_been_left_refuses_to_act(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.interferer as interferer:
            pass
        with pytest.raises(InstrumentError):
            await interferer.start(CARRIER)
        assert bench.lost_at(2440) == 0.0

    run(test)
