"""What every power supply must do, whatever it is and whatever it is wired to.

To put another supply under the contract, write a bench for it (an asynchronous context manager that yields a `Bench`) and add it to
`BENCHES` with its clock.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from rig.drivers import supply_joulescope
from rig.drivers.supply_http_plug import DIALECTS, HttpPlugSupply
from rig.drivers.supply_joulescope import JoulescopeSupply
from rig.drivers.supply_ppk2 import Ppk2Supply
from rig.drivers.supply_scpi import ScpiSupply
from rig.drivers.supply_switch import SwitchSupply
from rig.drivers.supply_uhubctl import UhubctlSupply
from rig.errors import InstrumentError
from rig.ports import PowerSupply, SupplyCapability, SupplyTrace
from rig.virtual.clock import loop_factory
from rig.virtual.power import PowerNode
from rig.virtual.ppk2 import VirtualPpk2
from rig.virtual.switch import VirtualSwitch
from rig.virtual.wires import CURRENT_WIRES, Wires
from tests.joulescope_stub import StubDriver
from tests.power_stubs import StubPlug, StubUhubctl
from tests.scpi_server import ScpiServer

LIMIT_S = 10.0
BOARD_UA = 1000.0
"""Every board of this contract draws at least this much while it is alive, and less than `LEAK_UA` once its supply is off."""
LEAK_UA = 10.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A supply that has not been entered, its board, and how to wait until the board lives or is without power."""

    supply: PowerSupply
    alive: Callable[[], Awaitable[object]]
    dead: Callable[[], Awaitable[object]]


def _board() -> tuple[PowerNode, asyncio.Event, asyncio.Event]:
    """The supply node of a board, and the events that it lives and that it is without power."""
    node, alive, dead = PowerNode(), asyncio.Event(), asyncio.Event()

    def switch(load_a: float, now: asyncio.Event, before: asyncio.Event) -> None:
        node.set_load(load_a)
        before.clear()
        now.set()

    node.on_good = partial(switch, 5e-3, alive, dead)
    node.on_fail = partial(switch, 3e-6, dead, alive)
    dead.set()
    return node, alive, dead


@asynccontextmanager
async def ppk2(*, ptys: bool) -> AsyncIterator[Bench]:
    """The driver for the Power Profiler Kit II on a virtual kit that feeds a node with a constant load."""
    wires = Wires(ptys=ptys)
    CURRENT_WIRES.set(wires)
    node, alive, dead = _board()
    kit = VirtualPpk2(wires.add("dk1/ppk2"), node)
    try:
        yield Bench(supply=Ppk2Supply(owner="dk1", port="virtual:dk1/ppk2"), alive=alive.wait, dead=dead.wait)
    finally:
        kit.close()
        wires.close()


@asynccontextmanager
async def switch(*, ptys: bool) -> AsyncIterator[Bench]:
    """The driver for a power switch on a virtual one that feeds a node with a constant load."""
    wires = Wires(ptys=ptys)
    CURRENT_WIRES.set(wires)
    node, alive, dead = _board()
    twin = VirtualSwitch(wires.add("dk1/switch", baudrate=115200), node)
    try:
        yield Bench(supply=SwitchSupply(owner="dk1", port="virtual:dk1/switch"), alive=alive.wait, dead=dead.wait)
    finally:
        twin.close()
        wires.close()


@asynccontextmanager
async def scpi() -> AsyncIterator[Bench]:
    """The driver for SCPI supplies on a server that feeds a node with its second output."""
    node, alive, dead = _board()
    async with ScpiServer(node).serve() as resource:
        yield Bench(supply=ScpiSupply(owner="dk1", resource=resource, channel=2), alive=alive.wait, dead=dead.wait)
    node.switch(False)


@asynccontextmanager
async def joulescope(*, path: str) -> AsyncIterator[Bench]:
    """The driver for a Joulescope on a stand-in for its library, between a source of 3 V and a node."""
    node, alive, dead = _board()
    loop = asyncio.get_running_loop()
    node.set_source_mv(3000)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(supply_joulescope, "Driver", lambda: StubDriver(node, loop, path=path))
        yield Bench(supply=JoulescopeSupply(owner="dk1"), alive=alive.wait, dead=dead.wait)


def _as_told(is_on: Callable[[], bool], *, wanted: bool) -> Callable[[], Awaitable[object]]:
    """For supplies that come back from a command only when it is done."""

    async def check() -> None:
        assert is_on() is wanted

    return check


@asynccontextmanager
async def uhubctl() -> AsyncIterator[Bench]:
    """The driver for a hub's port with a stub of the tool first on the PATH."""
    path = os.environ["PATH"]
    with tempfile.TemporaryDirectory() as folder:
        hub = StubUhubctl(Path(folder))
        os.environ["PATH"] = os.pathsep.join((folder, path))
        try:
            supply = UhubctlSupply(owner="dk1", location="1-1.4", port=2)
            yield Bench(supply=supply, alive=_as_told(lambda: hub.is_on, wanted=True), dead=_as_told(lambda: hub.is_on, wanted=False))
        finally:
            os.environ["PATH"] = path


@asynccontextmanager
async def http_plug(*, kind: str) -> AsyncIterator[Bench]:
    """The driver for a plug on the web server of one."""
    plug = StubPlug(kind)
    async with plug.serve() as host:
        supply = HttpPlugSupply(owner="dk1", kind=kind, host=host)
        alive, dead = (_as_told(lambda: plug.outputs[0], wanted=wanted) for wanted in (True, False))
        yield Bench(supply=supply, alive=alive, dead=dead)


BENCHES: dict[str, tuple[str, Callable[[], AbstractAsyncContextManager[Bench]]]] = {
    "ppk2 on a virtual wire": ("virtual", partial(ppk2, ptys=False)),
    "ppk2 on a pty": ("wall", partial(ppk2, ptys=True)),
    "switch on a virtual wire": ("virtual", partial(switch, ptys=False)),
    "switch on a pty": ("wall", partial(switch, ptys=True)),
    "scpi over TCP": ("wall", scpi),
    "joulescope js220": ("wall", partial(joulescope, path="u/js220/004521")),
    "joulescope js110": ("wall", partial(joulescope, path="u/js110/002557")),
    "uhubctl": ("wall", uhubctl),
    **{f"http-plug {kind}": ("wall", partial(http_plug, kind=kind)) for kind in DIALECTS},
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


def test_switching_on_and_off_reaches_the_board(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.supply as supply:
            for _ in range(2):
                await supply.on()
                await bench.alive()
                await supply.off()
                await bench.dead()

    run(test)


def test_the_time_returned_lies_within_the_call(run: Run) -> None:
    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        async with bench.supply as supply:
            for switch in (supply.on, supply.off):
                before_s = loop.time()
                left_s = await switch()
                assert before_s <= left_s <= loop.time()

    run(test)


def test_entering_leaves_the_board_without_power_and_so_does_leaving(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.supply as supply:
            await bench.dead()
            await supply.on()
            await bench.alive()
        await bench.dead()

    run(test)


def test_a_supply_can_be_entered_again(run: Run) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(2):
            async with bench.supply as supply:
                await supply.on()
                await bench.alive()

    run(test)


def test_a_supply_that_has_been_left_refuses_to_act(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.supply as supply:
            pass
        with pytest.raises(InstrumentError):
            await supply.on()

    run(test)


def can(bench: Bench, *capabilities: SupplyCapability) -> bool:
    """What a supply cannot do has expectations of its own in every test: it must refuse or be empty, and do no harm."""
    return bench.supply.capabilities.issuperset(capabilities)


def test_voltages_that_the_board_does_not_bear_are_refused(run: Run) -> None:
    """A supply that cannot set a voltage bears none at all."""

    async def test(bench: Bench) -> None:
        refused = (-1, 10_000) if can(bench, SupplyCapability.SET_VOLTAGE) else (-1, 10_000, 3000)
        async with bench.supply as supply:
            for millivolts in refused:
                with pytest.raises(InstrumentError, match=str(millivolts)):
                    await supply.set_voltage(millivolts)
            await supply.on()
            await bench.alive()

    run(test)


def test_a_voltage_below_brown_out_takes_the_board_down_and_a_good_one_brings_it_back(run: Run) -> None:
    """A supply that cannot set a voltage leaves the board alive."""

    async def test(bench: Bench) -> None:
        async with bench.supply as supply:
            await supply.on()
            await bench.alive()
            if can(bench, SupplyCapability.SET_VOLTAGE):
                await supply.set_voltage(1500)
                await bench.dead()
                await supply.set_voltage(3000)
            else:
                with pytest.raises(InstrumentError, match="1500"):
                    await supply.set_voltage(1500)
            await bench.alive()

    run(test)


def test_an_aimed_cut_takes_the_board_down_and_brings_it_back_by_itself(run: Run) -> None:
    """A supply that cannot aim offers no such cut."""

    async def test(bench: Bench) -> None:
        if not can(bench, SupplyCapability.AIMED_CUT):
            assert not hasattr(bench.supply, "cut")
            return
        assert isinstance(bench.supply, SwitchSupply)
        async with bench.supply as supply:
            await supply.on()
            await bench.alive()
            await supply.cut(0.02, 0.05)
            await bench.dead()
            await bench.alive()

    run(test)


def test_samples_can_be_watched_while_they_are_recorded(run: Run) -> None:
    """A supply that cannot be watched offers no way to do so."""

    async def test(bench: Bench) -> None:
        if not can(bench, SupplyCapability.WATCH):
            assert not hasattr(bench.supply, "watch")
            return
        assert isinstance(bench.supply, Ppk2Supply)
        watched: list[SupplyTrace] = []
        async with bench.supply as supply:
            await supply.on()
            await bench.alive()
            stop = await supply.watch(watched.append)
            await supply.record()
            await asyncio.sleep(0.1)
            trace = await supply.stop_recording()
            await stop()
            seen = len(watched)
            await asyncio.sleep(0.1)
        assert len(watched) == seen
        assert len(trace.current_ua) == len(trace.logic) > 0
        currents = [value for block in watched for value in block.current_ua]
        assert len(currents) >= len(trace.current_ua)
        assert max(currents[-len(trace.current_ua) :]) >= BOARD_UA

    run(test)


def test_without_a_recording_the_trace_is_empty(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.supply as supply:
            trace = await supply.stop_recording()
            assert len(trace.current_ua) == len(trace.logic) == 0

    run(test)


def test_a_recording_shows_a_cut_after_its_command_and_the_return_after_the_next(run: Run) -> None:
    """The recording of a supply that cannot measure is empty: nobody may take it for evidence."""

    async def test(bench: Bench) -> None:
        async with bench.supply as supply:
            await supply.on()
            await bench.alive()
            before_s = asyncio.get_running_loop().time()
            await supply.record()
            await supply.record()
            await asyncio.sleep(0.02)
            off_s = await supply.off()
            await bench.dead()
            await asyncio.sleep(0.02)
            on_s = await supply.on()
            await bench.alive()
            await asyncio.sleep(0.02)
            trace = await supply.stop_recording()
        if not can(bench, SupplyCapability.MEASURE_CURRENT, SupplyCapability.SENSE_VDD):
            assert len(trace.current_ua) == len(trace.logic) == 0
            return
        assert trace.start_s >= before_s
        assert len(trace.current_ua) == len(trace.logic)
        times = [trace.start_s + index * trace.step_s for index in range(len(trace.logic))]
        high = [bool(level & 1) for level in trace.logic]
        # Causes come before effects on every clock; how long before is another question.
        assert all(up for t, up in zip(times, high, strict=True) if t < off_s)
        assert not all(high)
        assert all(up for t, up in zip(times[-100:], high[-100:], strict=True) if t > on_s)
        assert min(current for t, current in zip(times, trace.current_ua, strict=True) if t < off_s) > BOARD_UA
        first, last = high.index(False), len(high) - 1 - high[::-1].index(False)
        middle = trace.current_ua[first : (first + last) // 2]
        assert -LEAK_UA < min(middle) <= max(middle) < LEAK_UA
        assert min(trace.current_ua[-100:]) > BOARD_UA

    run(test)
