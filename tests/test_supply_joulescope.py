"""A Joulescope as switch and meter, against a stand-in with the public methods of its library."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyjoulescope_driver
import pytest

from rig.drivers import supply_joulescope
from rig.drivers.supply_joulescope import JoulescopeSupply
from rig.errors import ConfigError, InstrumentError
from rig.model import InstrumentSpec
from rig.virtual.power import PowerNode
from tests.config_files import BOARDS, boards, edited
from tests.joulescope_stub import StubDriver

METHODS = ("device_paths", "open", "publish", "subscribe", "unsubscribe", "finalize")


def run(test: Callable[[list[StubDriver], JoulescopeSupply], Awaitable[None]], prepare: Callable[[StubDriver], object] = lambda _: None, **options: Any) -> None:
    """Runs `test` on a supply that has not been entered, and the list of the drivers that it will have made."""

    async def main() -> None:
        node, loop, made = PowerNode(), asyncio.get_running_loop(), []
        node.set_source_mv(3000)
        node.set_load(1e-3)

        def make() -> StubDriver:
            made.append(StubDriver(node, loop))
            prepare(made[-1])
            return made[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(supply_joulescope, "Driver", make)
            async with asyncio.timeout(10):
                await test(made, JoulescopeSupply(owner="dk1", **options))

    asyncio.run(main())


@pytest.mark.parametrize("name", METHODS)
def test_the_stand_in_has_the_signatures_of_the_installed_library(name: str) -> None:
    ours = inspect.signature(getattr(StubDriver, name)).parameters.values()
    theirs = inspect.signature(getattr(pyjoulescope_driver.Driver, name)).parameters.values()

    assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs]


def test_the_installed_library_finds_nothing_and_that_is_told() -> None:
    """The real one, on a machine without a Joulescope."""

    async def main() -> None:
        async with JoulescopeSupply(owner="dk1", serial_number="no-such"):
            pass

    with pytest.raises(InstrumentError, match="there is no Joulescope no-such"):
        asyncio.run(main())


def test_the_path_is_opened_and_closed_by_the_current_range() -> None:
    async def test(made: list[StubDriver], supply: JoulescopeSupply) -> None:
        async with supply:
            await supply.on()
            await supply.off()
        (driver,) = made
        ranges = [value for name, value in driver.published if name == "s/i/range/mode"]
        assert ranges == ["off", "auto", "off", "off"]
        assert not driver.is_open

    run(test)


def test_a_js110_takes_the_same_words_elsewhere() -> None:
    def as_js110(driver: StubDriver) -> None:
        driver.path = "u/js110/002557"
        driver.paths = [driver.path]

    async def test(made: list[StubDriver], supply: JoulescopeSupply) -> None:
        async with supply:
            await supply.on()
        assert ("s/i/range/select", "auto") in made[0].published

    run(test, as_js110)


def chosen(paths: list[str], serial_number: str | None) -> None:
    async def test(_made: list[StubDriver], supply: JoulescopeSupply) -> None:
        async with supply:
            pass

    run(test, lambda driver: setattr(driver, "paths", paths), serial_number=serial_number)


def test_the_right_one_of_several_is_taken() -> None:
    chosen(["u/js220/000001", "u/js220/004521", "u/other/000009"], "004521")
    with pytest.raises(InstrumentError, match=r"several Joulescopes; name one by serial_number: 000001, 004521"):
        chosen(["u/js220/000001", "u/js220/004521"], None)
    with pytest.raises(InstrumentError, match=r"there is no Joulescope 7; found: 000001"):
        chosen(["u/js220/000001"], "7")
    with pytest.raises(InstrumentError, match=r"there is no Joulescope; found: none"):
        chosen(["u/other/000009"], None)


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (TimeoutError("jsdrv_open timed out"), "did not open it within 2 s"),
        (RuntimeError("jsdrv_open failed 7"), "could not open it: jsdrv_open failed 7"),
    ],
)
def test_failures_of_the_library_are_told(failure: Exception, reason: str) -> None:
    async def test(_made: list[StubDriver], supply: JoulescopeSupply) -> None:
        async with supply:
            pass

    with pytest.raises(InstrumentError, match=reason) as caught:
        run(test, lambda driver: setattr(driver, "failure", failure))
    assert caught.value.instrument == "dk1.supply"


async def recorded(supply: JoulescopeSupply, seconds: float = 0.1) -> Any:
    await supply.on()
    await asyncio.sleep(0.02)
    await supply.record()
    await asyncio.sleep(seconds)
    return await supply.stop_recording()


def test_current_and_vdd_are_measured() -> None:
    async def test(_made: list[StubDriver], supply: JoulescopeSupply) -> None:
        async with supply:
            trace = await recorded(supply)
        assert trace.step_s == pytest.approx(1e-5)
        assert len(trace.current_ua) == len(trace.logic) >= 5000
        # 1 mA of load and 3 mA through the bleed resistor of 1 kΩ at 3 V.
        assert trace.current_ua[100] == pytest.approx(4000, rel=1e-3)
        assert set(trace.logic) == {1}

    run(test)


def test_a_few_lost_samples_repeat_the_one_before_and_many_are_told() -> None:
    def spoil(every: int) -> Callable[[StubDriver], None]:
        def change(data: np.ndarray) -> np.ndarray:
            data[every // 2 :: every] = np.nan
            return data

        return lambda driver: setattr(driver, "drop", change)

    async def test(_made: list[StubDriver], supply: JoulescopeSupply) -> None:
        async with supply:
            trace = await recorded(supply)
        assert not np.isnan(trace.current_ua).any()

    run(test, spoil(500))
    with pytest.raises(InstrumentError, match=r"of \d+ samples were lost"):
        run(test, spoil(100))


def test_a_piece_that_never_came_is_told() -> None:
    pieces = iter([True, True, True, True, False, False] + [True] * 1000)

    async def test(_made: list[StubDriver], supply: JoulescopeSupply) -> None:
        async with supply:
            await recorded(supply)

    with pytest.raises(InstrumentError, match=r"1000 of \d+ samples were lost"):
        run(test, lambda driver: setattr(driver, "drop", lambda data: data if next(pieces) else None))


def test_silence_is_no_recording() -> None:
    async def test(_made: list[StubDriver], supply: JoulescopeSupply) -> None:
        async with supply:
            await recorded(supply)

    with pytest.raises(InstrumentError, match="has sent no samples"):
        run(test, lambda driver: setattr(driver, "drop", lambda _data: None))


def test_a_recording_that_nobody_ends_ends_with_the_trial() -> None:
    async def test(made: list[StubDriver], supply: JoulescopeSupply) -> None:
        async with supply:
            await supply.record()
        assert [item for item in made[0].published if item[1] == 0 and "ctrl" in item[0]] == [("s/i/ctrl", 0), ("s/v/ctrl", 0)]
        assert made[0]._receivers == {}

    run(test)


def test_a_voltage_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="voltage_mv"):
        JoulescopeSupply(owner="dk1", voltage_mv=0)


def test_a_boards_file_names_the_instrument(tmp_path: Path) -> None:
    text = edited(BOARDS, "supply: {driver: ppk2, voltage_mv: 3000}", "supply: {driver: joulescope}")
    text = text.replace("supply: {port: /dev/supply1}", 'supply: {serial_number: "004521"}').replace("supply: {port: /dev/supply2}", "supply: {voltage_mv: 3300}")
    first, second = (board.supply for board in boards(tmp_path, text).boards)
    assert first == InstrumentSpec(driver="joulescope", options={"serial_number": "004521", "voltage_mv": 3000})
    assert second == InstrumentSpec(driver="joulescope", options={"voltage_mv": 3300})
