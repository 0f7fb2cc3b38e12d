"""What every debug probe must do, and what the flash-operation counter must count.

To put another probe under the contract, add a bench to `BENCHES`: an asynchronous context manager that yields a `Bench` whose board
is powered and may be overwritten from `SPARE` on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from rig import drivers
from rig.errors import InstrumentError
from rig.model import Board, InstrumentSpec, MemoryMap, Protocol, Region
from rig.ports import DeviceInfo, PowerSupply, Probe
from rig.virtual.clock import loop_factory
from rig.virtual.world import VirtualBench

SPARE = 0xE0000
PAGE = 4096


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A probe, entered, the supply of its board, switched on, and what the board should turn out to be."""

    probe: Probe
    supply: PowerSupply
    console: list[bytes]
    expected: DeviceInfo
    count: Callable[[], int]


def virtual_board() -> Board:
    memory = MemoryMap(
        primary=Region(start=0xC000, size=0x76000),
        secondary=Region(start=0x82000, size=0x76000),
        user_data=Region(start=0xF8000, size=0x8000),
        upload_offset=PAGE,
    )
    virtual = InstrumentSpec(driver="virtual")
    return Board(
        name="dk1",
        soc="nrf52840",
        protocol=Protocol.SMP,
        ble_name="rig-dk1",
        ble_address="C0:00:00:00:00:01",
        memory=memory,
        probe=virtual,
        supply=InstrumentSpec(driver="ppk2", options={"port": "virtual:dk1/ppk2"}),
        console=InstrumentSpec(driver="uart", options={"port": "virtual:dk1/console"}),
        radio=InstrumentSpec(driver="bleak", options={"adapter": "virtual"}),
        counter=virtual,
    )


@asynccontextmanager
async def virtual() -> AsyncIterator[Bench]:
    board = virtual_board()
    lines: list[bytes] = []
    async with (
        VirtualBench([board], trial_seed=1),
        drivers.load("supply", board.supply, owner="dk1") as supply,
        drivers.load("console", board.console, owner="dk1") as console,
        drivers.load("probe", board.probe, owner="dk1") as probe,
        drivers.load("counter", board.counter, owner="dk1") as counter,
    ):
        console.attach(lambda _when_s, data: lines.append(data))
        await supply.on()
        await asyncio.sleep(0.2)
        info = await probe.info()
        expected = DeviceInfo(
            part=0x52840, flash_size=1024 * 1024, ram_size=256 * 1024, device_id=info.device_id, ble_address="C0:00:00:00:00:01"
        )
        yield Bench(probe=probe, supply=supply, console=lines, expected=expected, count=counter.count)


BENCHES = {"virtual": (virtual, "virtual"), "virtual on the wall clock": (virtual, "wall")}


@pytest.fixture(params=BENCHES, name="on_bench")
def fixture_on_bench(request: pytest.FixtureRequest) -> Callable[[Callable[[Bench], Awaitable[Any]]], Any]:
    bench, clock = BENCHES[request.param]

    def run(test: Callable[[Bench], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with asyncio.timeout(60), bench() as opened:
                return await test(opened)

        with asyncio.Runner(loop_factory=loop_factory(clock)) as runner:
            return runner.run(main())

    return run


def test_it_tells_what_it_is_connected_to(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        assert await bench.probe.info() == bench.expected

    on_bench(test)


def test_what_is_programmed_is_read_back_and_the_rest_of_the_page_is_blank(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.probe.program(SPARE, b"\x00" * 16)
        await bench.probe.program(SPARE + 8, b"rig!")
        assert await bench.probe.read(SPARE, 16) == b"\xff" * 8 + b"rig!" + b"\xff" * 4

    on_bench(test)


def test_erase_takes_whole_pages_and_nothing_else(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.probe.program(SPARE, bytes(2 * PAGE))
        await bench.probe.erase(SPARE, PAGE)
        assert await bench.probe.read(SPARE, 2 * PAGE) == b"\xff" * PAGE + bytes(PAGE)
        with pytest.raises(InstrumentError, match="whole pages"):
            await bench.probe.erase(SPARE + 4, PAGE)

    on_bench(test)


def test_nothing_lies_outside_the_flash(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        with pytest.raises(InstrumentError, match="outside the flash"):
            await bench.probe.read(bench.expected.flash_size - 4, 8)

    on_bench(test)


def test_an_attached_probe_holds_the_core_and_detaching_lets_it_run(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.probe.read(0, 4)
        await asyncio.sleep(0.1)
        bench.console.clear()
        await asyncio.sleep(0.2)
        assert bench.console == []
        await bench.probe.detach()
        await asyncio.sleep(0.2)
        assert b"Booting" in b"".join(bench.console)

    on_bench(test)


def test_without_target_voltage_it_says_so(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.supply.off()
        await asyncio.sleep(0.3)
        with pytest.raises(InstrumentError, match="no target voltage"):
            await bench.probe.read(0, 4)

    on_bench(test)


def test_the_probes_own_work_is_not_counted_as_the_boards(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        before = bench.count()
        await bench.probe.program(SPARE, bytes(PAGE))
        assert bench.count() == before

    on_bench(test)
