"""What of the contracts a board can show with the firmware that it has: its supply, console and radio as they are wired, and what
disturbs it.  The probe has a contract that runs on boards as a whole, test_probe_contract.py.

Without ``--boards`` on a virtual board with MCUboot and the sample application.  On a lab: `pytest tests_hil/contract --boards lab.yaml`,
with ``--image FILE`` to have the probe program a signed image into the primary slot first; without it the boards run what they have.
They must print a reset reason and that they serve, as docs/lab.md asks of every application.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from rig import drivers
from rig.config.load import load_boards
from rig.errors import InstrumentError, NotFound, Refused
from rig.images.sample_app import build_signed
from rig.model import Board, InstrumentSpec, Interference, InterferenceKind, Protocol
from rig.ota.secure_dfu.transport import DFU_SERVICE
from rig.ota.smp_transport import SMP_SERVICE
from rig.ports import Attenuator, Console, GattLink, Interferer, PowerSupply, Probe, Radio, SupplyCapability
from rig.scenario import ImageBuild
from rig.virtual.clock import loop_factory
from tests_hil.campaigns import boards_file
from tests_hil.contract.lab import boards_under_test, standing

LIMIT_S = 180.0
OFF_S = 2.0
"""After that long without its supply every board is silent; the self-test measures how long it takes."""
READY_S = 30.0
ABSENT = "5a1e00ff-9f3b-4a7c-8c21-0f6d2b9e7a10"
SERVICES = {Protocol.SMP: SMP_SERVICE, Protocol.SECURE_DFU: DFU_SERVICE}
CARRIER = Interference(kind=InterferenceKind.CARRIER, frequencies_mhz=(2440,), power_dbm=0)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A board to run on, the bench around it, and what it is to run; None for what it has."""

    board: Board
    bench: InstrumentSpec
    image: bytes | None
    clock: str


class OnBoard:
    """The board, and its instruments, which nobody has opened."""

    def __init__(self, board: Board) -> None:
        self.board = board

    def _load(self, port: str) -> Any:
        return drivers.load(port, getattr(self.board, port), owner=self.board.name)

    def supply(self) -> PowerSupply:
        supply: PowerSupply = self._load("supply")
        return supply

    def console(self) -> Console:
        console: Console = self._load("console")
        return console

    def probe(self) -> Probe:
        probe: Probe = self._load("probe")
        return probe

    def radio(self) -> Radio:
        radio: Radio = self._load("radio")
        return radio

    def interferer(self) -> Interferer:
        interferer: Interferer = self._load("interferer")
        return interferer

    def attenuator(self) -> Attenuator:
        attenuator: Attenuator = self._load("attenuator")
        return attenuator

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[PowerSupply, Heard]]:
        """The board under power, and what its console hears; the application serves."""
        async with self.supply() as supply, self.console() as console:
            heard = Heard(self.board)
            console.attach(heard)
            await supply.on()
            await heard.ready()
            yield supply, heard

    async def connect(self, radio: Radio) -> GattLink:
        found = await radio.find(lambda seen: seen.name == self.board.ble_name, timeout_s=20.0)
        return await radio.connect(found, services=[SERVICES[self.board.protocol]], timeout_s=20.0)


class Heard:
    """What a console has heard."""

    def __init__(self, board: Board) -> None:
        self._signals = board.signals
        self.data = b""
        self._news = asyncio.Event()

    def __call__(self, _t: float, data: bytes) -> None:
        self.data += data
        self._news.set()

    @property
    def text(self) -> str:
        return self.data.decode("utf-8", "replace").replace("\r", "")

    async def ready(self) -> None:
        """The application has said that it serves."""
        with suppress(TimeoutError):
            async with asyncio.timeout(READY_S):
                while re.search(self._signals.ready, self.text, re.MULTILINE) is None:
                    self._news.clear()
                    await self._news.wait()
                return
        pytest.fail(f"it does not say that it serves within {READY_S:g} s; it said {self.text!r}")

    @property
    def reset_reasons(self) -> list[int]:
        return [int(reason, 16) for reason in re.findall(self._signals.reset_reason, self.text)]


# ---------------------------------------------------------------------------------------------------------------- boards
@cache
def made_here() -> tuple[Subject, ...]:
    """A virtual board, its interferer and its attenuator."""
    with tempfile.TemporaryDirectory(prefix="rig-") as name:
        (board,) = (file := load_boards(boards_file(Path(name), only="nrf52840"))).boards
        image = build_signed(ImageBuild(version="1.0.0", size=8192), soc=board.soc, memory=board.memory, folder=Path(name))
        content = Path(image.path).read_bytes()
    interferer = InstrumentSpec(driver="radio-test", options={"port": "virtual:interferer"})
    attenuator = InstrumentSpec(driver="rcdat", options={"host": f"virtual:{board.name}/attenuator"})
    board = replace(board, interferer=interferer, attenuator=attenuator, enclosure="virtual")
    return (Subject(board=board, bench=file.bench, image=content, clock="virtual"),)


def subjects(options: pytest.Config) -> tuple[Subject, ...]:
    path = options.getoption("--image", default=None)
    image = Path(path).read_bytes() if path is not None else None
    lab = boards_under_test(options)
    if not lab:
        return made_here()
    return tuple(
        Subject(board=board, bench=bench, image=image if board.protocol is Protocol.SMP else None, clock="wall") for board, bench in lab
    )


NEEDS: dict[str, Callable[[Board], bool]] = {
    "on_board": lambda _board: True,
    "with_interferer": lambda board: board.interferer is not None,
    "with_attenuator": lambda board: board.attenuator is not None,
}
"""Fixture → which boards a test that asks for it can use."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    for fixture, suits in NEEDS.items():
        if fixture in metafunc.fixturenames:
            usable = [subject for subject in subjects(metafunc.config) if suits(subject.board)]
            metafunc.parametrize(fixture, usable, ids=[subject.board.name for subject in usable], indirect=True)


async def _program(subject: Subject, board: OnBoard) -> None:
    """Put the image into the primary slot, as production would."""
    async with board.supply() as supply, board.probe() as probe:
        await supply.on()
        await asyncio.sleep(1.0)
        assert subject.image is not None
        await probe.program(subject.board.memory.primary.start, subject.image)
        await probe.detach()


Test = Callable[[OnBoard], Awaitable[None]]
Run = Callable[[Test], None]


def run_on(subject: Subject, test: Test) -> None:
    """Run a coroutine function on a board, within a limit."""

    async def main() -> None:
        board = OnBoard(subject.board)
        async with asyncio.timeout(LIMIT_S), standing(subject.board, subject.bench):
            if subject.image is not None:
                await _program(subject, board)
            await test(board)

    with asyncio.Runner(loop_factory=loop_factory(subject.clock)) as loop:
        loop.run(main())


def runner(request: pytest.FixtureRequest) -> Run:
    return partial(run_on, request.param)


on_board, with_interferer, with_attenuator = (pytest.fixture(name=name)(runner) for name in NEEDS)


# ---------------------------------------------------------------------------------------------------------------- supply
def test_a_board_is_heard_under_power_and_silent_without(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.running() as (supply, heard):
            for _ in range(2):
                await supply.off()
                await asyncio.sleep(OFF_S)
                heard.data = b""
                await asyncio.sleep(OFF_S)
                assert heard.data == b"", "it lives without its supply"
                await supply.on()
                await heard.ready()
                assert heard.reset_reasons[-1] == 0, "no power-on reset"

    on_board(test)


def test_entering_a_supply_leaves_the_board_without_power_and_so_does_leaving(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.console() as console:
            console.attach(heard := Heard(board.board))
            for _ in range(2):
                async with board.supply() as supply:
                    await asyncio.sleep(OFF_S)
                    heard.data = b""
                    await asyncio.sleep(OFF_S)
                    assert heard.data == b"", "it lives before its supply is on"
                    await supply.on()
                    await heard.ready()

    on_board(test)


def test_the_times_that_a_supply_returns_lie_within_its_calls(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        loop = asyncio.get_running_loop()
        async with board.supply() as supply:
            for switch in (supply.on, supply.off):
                before_s = loop.time()
                assert before_s <= await switch() <= loop.time()

    on_board(test)


def test_a_supply_refuses_voltages_that_no_board_bears_and_to_act_when_left(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.supply() as supply:
            for millivolts in (-1, 10_000):
                with pytest.raises(InstrumentError):
                    await supply.set_voltage(millivolts)
        with pytest.raises(InstrumentError):
            await supply.on()

    on_board(test)


def test_a_recording_shows_the_board_go_down_where_the_supply_can_see_it(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.running() as (supply, _heard):
            await supply.record()
            await asyncio.sleep(0.5)
            off_s = await supply.off()
            await asyncio.sleep(OFF_S)
            trace = await supply.stop_recording()
            alive = [current for index, current in enumerate(trace.current_ua) if trace.start_s + index * trace.step_s < off_s]
            if SupplyCapability.MEASURE_CURRENT in supply.capabilities:
                end = trace.current_ua[-len(trace.current_ua) // 10 :]
                assert sum(end) / len(end) < sum(alive) / len(alive) / 2
            else:
                assert len(trace.current_ua) == 0
            if SupplyCapability.SENSE_VDD in supply.capabilities:
                assert trace.logic[len(alive) // 2] & 1
                assert not trace.logic[-1] & 1

    on_board(test)


# --------------------------------------------------------------------------------------------------------------- console
def test_every_listener_hears_the_board_from_its_first_byte(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.supply() as supply, board.console() as console:
            first, second = Heard(board.board), Heard(board.board)
            console.attach(first)
            console.attach(second)
            await supply.on()
            await first.ready()
            assert first.data == second.data
            assert first.reset_reasons == [0]

    on_board(test)


def test_a_console_in_use_is_refused_and_one_that_was_closed_opens_again(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.running():
            with pytest.raises(InstrumentError, match=rf"{board.board.name}\.console"):
                await board.console().__aenter__()
        async with board.running() as (_supply, heard):
            assert heard.reset_reasons == [0]

    on_board(test)


# ----------------------------------------------------------------------------------------------------------------- radio
def test_a_board_is_found_by_its_name_and_nobody_is_not(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.running(), board.radio() as radio:
            found = await radio.find(lambda seen: seen.name == board.board.ble_name, timeout_s=20.0)
            assert board.board.ble_address in (None, found.address)
            assert -100 < found.rssi_dbm < 0
            with pytest.raises(NotFound):
                await radio.find(lambda seen: seen.name == "nobody is called so", timeout_s=2.0)

    on_board(test)


def test_a_link_refuses_what_is_not_there_and_can_be_made_again(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.running(), board.radio() as radio:
            for _ in range(2):
                link = await board.connect(radio)
                assert 20 <= link.max_write <= 512
                with pytest.raises(Refused) as caught:
                    await link.read(ABSENT)
                assert (caught.value.group, caught.value.code) == (-1, 0x0A)
                await link.disconnect()
                assert not link.is_up

    on_board(test)


def test_a_link_is_lost_with_the_boards_power_and_the_board_is_found_again(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.running() as (supply, heard), board.radio() as radio:
            link = await board.connect(radio)
            await supply.off()
            assert await link.wait_lost() in (0x08, None)
            await asyncio.sleep(OFF_S)
            heard.data = b""
            await supply.on()
            await heard.ready()
            assert (await board.connect(radio)).is_up

    on_board(test)


def test_leaving_the_radio_ends_its_links(on_board: Run) -> None:
    async def test(board: OnBoard) -> None:
        async with board.running():
            for _ in range(2):
                async with board.radio() as radio:
                    link = await board.connect(radio)
                assert not link.is_up

    on_board(test)


# ------------------------------------------------------------------------------------------------------ what disturbs it
def test_an_interferer_starts_and_stops_within_its_calls_and_refuses_what_it_cannot_send(with_interferer: Run) -> None:
    async def test(board: OnBoard) -> None:
        loop = asyncio.get_running_loop()
        async with board.interferer() as interferer:
            before_s = loop.time()
            assert before_s <= await interferer.start(CARRIER) <= loop.time()
            with pytest.raises(InstrumentError):
                await interferer.start(replace(CARRIER, frequencies_mhz=(2500,)))
            before_s = loop.time()
            assert before_s <= await interferer.stop() <= loop.time()
        with pytest.raises(InstrumentError):
            await interferer.start(CARRIER)

    with_interferer(test)


def test_an_attenuator_confirms_within_its_call_and_refuses_what_it_cannot_do(with_attenuator: Run) -> None:
    async def test(board: OnBoard) -> None:
        loop = asyncio.get_running_loop()
        async with board.attenuator() as attenuator:
            before_s = loop.time()
            assert before_s <= await attenuator.set(20.0) <= loop.time()
            with pytest.raises(InstrumentError):
                await attenuator.set(200.0)
        with pytest.raises(InstrumentError):
            await attenuator.set(20.0)

    with_attenuator(test)
