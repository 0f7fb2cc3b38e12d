"""What every attenuator must do, whatever it is and however it is reached.

To put another one under the contract, write a bench for it (an asynchronous context manager that yields a `Bench`) and add it to
`BENCHES` with its clock.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import pytest

from rig.drivers.attenuator_rcdat import RcdatAttenuator
from rig.errors import InstrumentError
from rig.ports import Attenuator
from rig.virtual.air import Air
from rig.virtual.attenuator import VirtualAttenuator
from rig.virtual.clock import loop_factory
from rig.virtual.endpoints import CURRENT_ENDPOINTS
from rig.virtual.interference import Spectrum
from tests.endpoint_server import serve

LIMIT_S = 10.0
REST_DB = 10.0


@dataclass(frozen=True, kw_only=True)
class Bench:
    """An attenuator that has not been entered and rests at `REST_DB`, and the level that a receiver behind it finds, dBm."""

    attenuator: Attenuator
    level_dbm: Callable[[], int]


@asynccontextmanager
async def rcdat_by_name() -> AsyncIterator[Bench]:
    """The driver on the attenuator of a virtual bench."""
    air = Air(seed=1)
    CURRENT_ENDPOINTS.set({"dk1/attenuator": VirtualAttenuator(Spectrum(air))})
    attenuator = RcdatAttenuator(owner="dk1", host="virtual:dk1/attenuator", rest_db=REST_DB)
    yield Bench(attenuator=attenuator, level_dbm=lambda: air.rssi_dbm)


@asynccontextmanager
async def rcdat_over_http() -> AsyncIterator[Bench]:
    """The driver on the same behind a web server."""
    air = Air(seed=1)
    async with serve(VirtualAttenuator(Spectrum(air)).answer) as host:
        yield Bench(attenuator=RcdatAttenuator(owner="dk1", host=host, rest_db=REST_DB), level_dbm=lambda: air.rssi_dbm)


BENCHES: dict[str, tuple[str, Callable[[], AbstractAsyncContextManager[Bench]]]] = {
    "rcdat by name, virtual time": ("virtual", rcdat_by_name),
    "rcdat by name, real time": ("wall", rcdat_by_name),
    "rcdat over HTTP": ("wall", rcdat_over_http),
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


def test_the_level_behind_it_falls_by_what_is_set(run: Run) -> None:
    async def test(bench: Bench) -> None:
        clear_dbm = bench.level_dbm()
        async with bench.attenuator as attenuator:
            for db in (0.0, 30.0, 12.25, 60.0):
                await attenuator.set(db)
                assert abs(clear_dbm - db - bench.level_dbm()) <= 0.5

    run(test)


def test_entering_and_leaving_set_it_to_rest(run: Run) -> None:
    async def test(bench: Bench) -> None:
        rest_dbm = bench.level_dbm() - REST_DB
        for _ in range(2):
            async with bench.attenuator as attenuator:
                assert bench.level_dbm() == rest_dbm
                await attenuator.set(40.0)
                assert bench.level_dbm() < rest_dbm
            assert bench.level_dbm() == rest_dbm

    run(test)


@pytest.mark.parametrize("db", [-1.0, 200.0, 0.1])
def test_what_it_cannot_do_is_refused(run: Run, db: float) -> None:
    async def test(bench: Bench) -> None:
        async with bench.attenuator as attenuator:
            with pytest.raises(InstrumentError, match=f"{db:g} dB"):
                await attenuator.set(db)

    run(test)


def test_the_time_returned_lies_within_the_call(run: Run) -> None:
    async def test(bench: Bench) -> None:
        loop = asyncio.get_running_loop()
        async with bench.attenuator as attenuator:
            before_s = loop.time()
            set_s = await attenuator.set(20.0)
            assert before_s <= set_s <= loop.time()

    run(test)


def test_an_attenuator_that_has_been_left_refuses_to_act(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.attenuator as attenuator:
            pass
        with pytest.raises(InstrumentError, match="not open"):
            await attenuator.set(20.0)

    run(test)
