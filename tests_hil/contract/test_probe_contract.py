"""What every debug probe must do, and what the flash-operation counter must count.

To put another probe under the contract, add a bench to `BENCHES`: an asynchronous context manager that yields a `Bench` whose board
is powered and may be overwritten from `spare` on.  Real ones need no code: `pytest tests_hil/contract/test_probe_contract.py --boards
lab.yaml` takes the boards with MCUboot that are marked `sacrificial: true`; their console must carry its lines.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from typing import Protocol as Interface

import pytest

from rig import drivers
from rig.errors import InstrumentError
from rig.formats.soc import SOCS
from rig.model import Board, InstrumentSpec, MemoryMap, Protocol, Region
from rig.ports import DeviceInfo, Probe, Protection
from rig.virtual.clock import loop_factory
from rig.virtual.cpu import BoardFacts, Cpu, Entry
from rig.virtual.world import VirtualBench
from tests import probe_board
from tests_hil.contract.lab import boards_under_test, standing

SPARE = 0xE0000
PAGE = 4096


class Supply(Interface):
    """What feeds the board."""

    async def on(self) -> object: ...

    async def off(self) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A probe, entered, the supply of its board, switched on, and what the board should turn out to be."""

    probe: Probe
    supply: Supply
    console: list[bytes]
    expected: DeviceInfo
    spare: int = SPARE
    count: Callable[[], int] = field(default=lambda: 0)
    """Flash operations of the board; only benches of `COUNTING` have somebody who counts."""


class LockingBootloader:
    """Locks its own twelve pages in two steps, and two more elsewhere, says so, and starts nothing."""

    LOCKED = (Region(start=0, size=12 * PAGE), Region(start=0xF0000, size=2 * PAGE))

    def __init__(self, board: BoardFacts) -> None:
        del board

    async def boot(self, cpu: Cpu) -> Entry | None:
        cpu.protect(0xF0000, 2 * PAGE)
        cpu.protect(8 * PAGE, 4 * PAGE)
        cpu.protect(0, 8 * PAGE)
        await cpu.print("locked")
        await cpu.sleep(3600.0)
        return None


LOCKING = {"bootloader": {"class": "tests_hil.contract.test_probe_contract:LockingBootloader"}}


def virtual_board(model: dict[str, Any] | None = None) -> Board:
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
        model=model or {},
    )


@asynccontextmanager
async def virtual(model: dict[str, Any] | None = None) -> AsyncIterator[Bench]:
    """A bench of bytes.  With `model` the probe has not touched the board, which has run since its power-up."""
    board = virtual_board(model)
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
        device_id = (await probe.info()).device_id if model is None else 0
        expected = DeviceInfo(
            part=0x52840, flash_size=1024 * 1024, ram_size=256 * 1024, device_id=device_id, ble_address="C0:00:00:00:00:01"
        )
        yield Bench(probe=probe, supply=supply, console=lines, expected=expected, count=counter.count)


class BoardSupply:
    """Switches the board that stands in for one."""

    def __init__(self, board: probe_board.Board) -> None:
        self._board = board

    async def on(self) -> None:
        self._board.power(on=True)

    async def off(self) -> None:
        self._board.power(on=False)


@asynccontextmanager
async def stand_in(driver: str, model: dict[str, Any] | None = None) -> AsyncIterator[Bench]:
    """A driver on what stands in for its library or tool, and a board of files behind it.  `model` is one of those of this module."""
    model = model or {}
    lines: list[bytes] = []
    with tempfile.TemporaryDirectory(prefix="rig-") as name, probe_board.stand_ins(Path(name)):
        locks = [(region.start, region.size) for region in LockingBootloader.LOCKED] if "bootloader" in model else []
        board = probe_board.Board.fresh(Path(name), locks=locks, approtect=model.get("soc", {}).get("approtect", False))
        listening = asyncio.create_task(_tail(board, lines))
        try:
            async with drivers.load("probe", InstrumentSpec(driver=driver, options=probe_board.OPTIONS[driver]), owner="dk1") as probe:
                yield Bench(probe=probe, supply=BoardSupply(board), console=lines, expected=STAND_IN)
        finally:
            listening.cancel()


async def _tail(board: probe_board.Board, lines: list[bytes]) -> None:
    heard = 0
    while True:
        new = board.console[heard:]
        heard += len(new)
        lines += [new] if new else []
        await asyncio.sleep(0.01)


@asynccontextmanager
async def lab(board: Board, bench: InstrumentSpec) -> AsyncIterator[Bench]:
    """A board of a boards file.  Its device number is whatever it says."""
    lines: list[bytes] = []
    async with (
        standing(board, bench),
        drivers.load("supply", board.supply, owner=board.name) as supply,
        drivers.load("console", board.console, owner=board.name) as console,
        drivers.load("probe", board.probe, owner=board.name) as probe,
    ):
        console.attach(lambda _when_s, data: lines.append(data))
        await supply.on()
        await asyncio.sleep(1.0)
        info, soc = await probe.info(), SOCS[board.soc]
        expected = DeviceInfo(
            part=int(board.soc.removeprefix("nrf"), 16),
            flash_size=soc.flash_size,
            ram_size=soc.ram_size,
            device_id=info.device_id,
            ble_address=board.ble_address or info.ble_address,
        )
        yield Bench(probe=probe, supply=supply, console=lines, expected=expected, spare=board.memory.secondary.start)


STAND_IN = DeviceInfo(
    part=0x52840, flash_size=1024 * 1024, ram_size=256 * 1024, device_id=probe_board.DEVICE_ID, ble_address="C0:00:00:00:00:01"
)

BENCHES: dict[str, tuple[Callable[..., Any], str]] = {
    "virtual": (virtual, "virtual"),
    "virtual on the wall clock": (virtual, "wall"),
    **{f"{driver} on a stand-in": (partial(stand_in, driver), "wall") for driver in probe_board.OPTIONS},
}

COUNTING = ["virtual", "virtual on the wall clock"]
"""Benches on which somebody counts the flash operations of the board."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test is run on every bench, unless it names its own; with ``--boards`` the benches are those boards."""
    if "on_bench" in metafunc.fixturenames and not any("on_bench" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")):
        boards = boards_under_test(metafunc.config)
        benches = {board.name: (partial(lab, board, bench), "wall") for board, bench in boards if board.protocol is Protocol.SMP} if boards else BENCHES
        metafunc.parametrize("on_bench", benches.values(), ids=benches.keys(), indirect=True)


@pytest.fixture(name="on_bench")
def fixture_on_bench(request: pytest.FixtureRequest) -> Callable[[Callable[[Bench], Awaitable[Any]]], Any]:
    bench, clock = request.param

    def run(test: Callable[[Bench], Awaitable[Any]], **options: Any) -> Any:
        async def main() -> Any:
            async with asyncio.timeout(60), bench(**options) as opened:
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
        await bench.probe.program(bench.spare, b"\x00" * 16)
        await bench.probe.program(bench.spare + 8, b"rig!")
        assert await bench.probe.read(bench.spare, 16) == b"\xff" * 8 + b"rig!" + b"\xff" * 4

    on_bench(test)


def test_erase_takes_whole_pages_and_nothing_else(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.probe.program(bench.spare, bytes(2 * PAGE))
        await bench.probe.erase(bench.spare, PAGE)
        assert await bench.probe.read(bench.spare, 2 * PAGE) == b"\xff" * PAGE + bytes(PAGE)
        with pytest.raises(InstrumentError, match="whole pages"):
            await bench.probe.erase(bench.spare + 4, PAGE)

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


@pytest.mark.parametrize("on_bench", [BENCHES[name] for name in COUNTING], ids=COUNTING, indirect=True)
def test_the_probes_own_work_is_not_counted_as_the_boards(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        before = bench.count()
        await bench.probe.program(bench.spare, bytes(PAGE))
        assert bench.count() == before

    on_bench(test)


@pytest.mark.parametrize("on_bench", BENCHES.values(), ids=BENCHES.keys(), indirect=True)
def test_it_tells_what_the_running_firmware_has_locked_and_does_not_disturb_it(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        assert await bench.probe.protection() == Protection(readback=False, locked=LockingBootloader.LOCKED)
        assert await bench.probe.protection() == Protection(readback=False, locked=LockingBootloader.LOCKED)
        await asyncio.sleep(0.1)
        assert b"".join(bench.console).count(b"locked") == 1, "it was reset"

    on_bench(test, model=LOCKING)


@pytest.mark.parametrize("on_bench", BENCHES.values(), ids=BENCHES.keys(), indirect=True)
def test_a_core_that_the_probe_holds_has_locked_nothing(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.probe.read(0, 4)
        assert await bench.probe.protection() == Protection(readback=False, locked=())
        await bench.probe.reset()
        await asyncio.sleep(0.1)
        assert await bench.probe.protection() == Protection(readback=False, locked=LockingBootloader.LOCKED)

    on_bench(test, model=LOCKING)


@pytest.mark.parametrize("on_bench", BENCHES.values(), ids=BENCHES.keys(), indirect=True)
def test_access_port_protection_keeps_the_memory_from_the_probe_but_not_the_reset(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        for access in (bench.probe.info(), bench.probe.read(0, 4), bench.probe.program(bench.spare, bytes(4)), bench.probe.erase(bench.spare, PAGE)):
            with pytest.raises(InstrumentError, match="access port protection") as caught:
                await access
            assert "recover" in caught.value.hint
        assert await bench.probe.protection() == Protection(readback=True, locked=())
        assert b"".join(bench.console).count(b"locked") == 1
        await bench.probe.reset()
        await asyncio.sleep(0.1)
        assert b"".join(bench.console).count(b"locked") == 2

    on_bench(test, model={**LOCKING, "soc": {"approtect": True}})


def test_a_probe_that_has_been_left_refuses_to_act(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.probe.__aexit__(None, None, None)
        for access in (bench.probe.read(0, 4), bench.probe.reset(), bench.probe.protection()):
            with pytest.raises(InstrumentError, match="not open"):
                await access
        await bench.probe.__aenter__()
        assert len(await bench.probe.read(0, 4)) == 4

    on_bench(test)


def test_a_detached_probe_attaches_again_by_itself(on_bench: Any) -> None:
    async def test(bench: Bench) -> None:
        await bench.probe.program(bench.spare, b"before")
        await bench.probe.detach()
        await bench.probe.detach()
        assert await bench.probe.read(bench.spare, 6) == b"before"
        await bench.supply.off()
        await asyncio.sleep(0.3)
        await bench.probe.detach()
        await bench.supply.on()
        await asyncio.sleep(0.3)
        assert await bench.probe.read(bench.spare, 6) == b"before"

    on_bench(test)
