"""SCPI supplies, line by line, against a server on this machine; PyVISA and PyVISA-py are the real ones."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from rig.drivers import supply_scpi
from rig.drivers.supply_scpi import ScpiSupply
from rig.errors import ConfigError, InstrumentError
from rig.model import InstrumentSpec
from rig.virtual.power import PowerNode
from tests.config_files import BOARDS, boards, boards_problems, edited
from tests.scpi_server import ScpiServer


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply_scpi, "_LIMIT_S", 0.5)
    monkeypatch.setattr(supply_scpi, "_RISE_LIMIT_S", 0.1)


def run(test: Callable[[ScpiServer, ScpiSupply], Awaitable[None]], **options: Any) -> list[str]:
    """Runs `test` on a supply that has not been entered; returns what the server was sent."""

    async def main() -> list[str]:
        server = ScpiServer(PowerNode())
        async with asyncio.timeout(10), server.serve() as resource:
            await test(server, ScpiSupply(owner="dk1", resource=resource, **options))
        return server.lines

    return asyncio.run(main())


def refusal(answers: dict[str, str | None], **options: Any) -> InstrumentError:
    """What entering and switching on raises when the supply answers so."""

    async def test(server: ScpiServer, supply: ScpiSupply) -> None:
        server.answers |= answers
        async with supply:
            await supply.on()

    with pytest.raises(InstrumentError) as caught:
        run(test, **{"channel": 2, **options})
    assert caught.value.instrument == "dk1.supply"
    assert caught.value.hint
    return caught.value


def test_the_words_are_those_of_scpi_and_each_command_is_checked() -> None:
    async def test(_server: ScpiServer, supply: ScpiSupply) -> None:
        async with supply:
            await supply.set_voltage(1650)

    asked = run(test, channel=2, current_limit_ma=50)
    assert asked == [
        "*IDN?", "INST:NSEL 2", "SYST:ERR?", "OUTP OFF", "SYST:ERR?", "OUTP?", "CURR 0.050", "SYST:ERR?",
        "VOLT 3.000", "SYST:ERR?", "VOLT?", "VOLT 1.650", "SYST:ERR?", "VOLT?", "OUTP OFF", "SYST:ERR?", "OUTP?",
    ]  # fmt: skip


def test_a_supply_with_one_output_is_not_asked_to_choose() -> None:
    async def test(_server: ScpiServer, supply: ScpiSupply) -> None:
        async with supply:
            pass

    assert not any(line.startswith("INST") for line in run(test))


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"SYST:ERR?": '-222,"Data out of range"'}, "answers '-222,\"Data out of range\"' to INST:NSEL 2"),
        ({"OUTP?": "1"}, "answers '1' to OUTP? after OUTP OFF"),
        ({"VOLT?": "5.0"}, "shows 5000 mV after 3000 mV was set"),
        ({"VOLT?": "three"}, "answers 'three' to VOLT?, which is no number"),
        ({"MEAS:VOLT?": "1.2"}, "delivers 1200 of 3000 mV at 2.0 mA"),
        ({"*IDN?": None}, "has not answered *IDN? within 0.5 s"),
    ],
)
def test_what_is_no_success_is_told(answers: dict[str, str | None], reason: str) -> None:
    assert reason in refusal(answers).reason


def test_words_for_a_state_will_do_as_well() -> None:
    async def test(server: ScpiServer, supply: ScpiSupply) -> None:
        server.answers["OUTP?"] = "OFF"
        async with supply:
            server.answers["OUTP?"] = "ON"
            await supply.on()
            server.answers["OUTP?"] = "OFF"

    run(test, channel=2)


def test_an_output_that_stays_on_when_leaving_is_told() -> None:
    async def test(server: ScpiServer, supply: ScpiSupply) -> None:
        async with supply:
            await supply.on()
            server.answers["OUTP?"] = "1"

    with pytest.raises(InstrumentError, match="after OUTP OFF"):
        run(test, channel=2)


def test_a_supply_that_is_not_there_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

    async def test() -> None:
        async with ScpiSupply(owner="dk1", resource=f"TCPIP::127.0.0.1::{port}::SOCKET"):
            pass

    with pytest.raises(InstrumentError, match=r"dk1\.supply: .* failed: .*Connection refused"):
        asyncio.run(test())


@pytest.mark.parametrize("resource", ["nonsense", "GPIB0::5::INSTR", "TCPIP::"])
def test_a_name_that_visa_does_not_know_is_told(resource: str) -> None:
    async def test() -> None:
        async with ScpiSupply(owner="dk1", resource=resource):
            pass

    with pytest.raises(InstrumentError, match="open it"):
        asyncio.run(test())


@pytest.mark.parametrize("options", [{"voltage_mv": 4000}, {"voltage_mv": -1}, {"current_limit_ma": 0}])
def test_options_that_make_no_sense_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"dk1\.supply"):
        ScpiSupply(owner="dk1", resource="TCPIP::localhost::1::SOCKET", **options)


SCPI = edited(
    BOARDS,
    "supply: {driver: ppk2, voltage_mv: 3000}",
    "supply: {driver: scpi, voltage_mv: 3000, resource: 'TCPIP::10.0.0.1::5025::SOCKET'}",
).replace("supply: {port: /dev/supply", "supply: {channel: ")


def test_a_boards_file_names_resource_and_output(tmp_path: Path) -> None:
    first, second = (board.supply for board in boards(tmp_path, SCPI).boards)
    assert first == InstrumentSpec(
        driver="scpi",
        options={
            "resource": "TCPIP::10.0.0.1::5025::SOCKET", "channel": 1, "voltage_mv": 3000, "max_voltage_mv": 3600,
            "current_limit_ma": 100, "library": "@py",
        },
    )  # fmt: skip
    assert second.options["channel"] == 2


def test_more_than_the_soc_stands_is_refused(tmp_path: Path) -> None:
    problems = boards_problems(tmp_path, edited(SCPI, "scpi, voltage_mv: 3000", "scpi, voltage_mv: 1500"))
    assert {problem.key for problem in problems} == {"defaults.supply.voltage_mv"}
