"""The port of a USB hub as a supply, with a stub of the command-line tool on PATH."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from rig.drivers import supply_uhubctl
from rig.drivers.supply_uhubctl import UhubctlSupply, parse_status
from rig.errors import InstrumentError
from rig.model import InstrumentSpec
from tests.config_files import BOARDS, boards, boards_problems, edited
from tests.power_stubs import StubUhubctl

NEWEST = """\
Current status for hub 2-4 [0451:8140, USB 3.00, 4 ports]
  Port 2: 06a0 power Rx.Detect
  Port 22: 0203 power 5gbps U0 enable connect [0bda:8153 Realtek LAN]
Sent power off request
New status for hub 2-4 [0451:8140, USB 3.00, 4 ports]
  Port 2: 02a0 off
Current status for hub 1-4 [0451:8142, USB 2.10, 4 ports]
  Port 2: 0103 enable connect [10c4:ea60 power supply]
  Port 1: 0100 power
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StubUhubctl:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return StubUhubctl(tmp_path)


def supply() -> UhubctlSupply:
    return UhubctlSupply(owner="dk1", location="1-1.4", port=2)


async def enter_and_leave() -> None:
    async with supply():
        pass


def refusal() -> InstrumentError:
    with pytest.raises(InstrumentError) as caught:
        asyncio.run(enter_and_leave())
    assert caught.value.instrument == "dk1.supply"
    assert caught.value.hint
    return caught.value


def test_the_newest_status_of_both_halves_of_a_usb_3_hub_counts() -> None:
    assert parse_status(NEWEST, 2) == {"2-4": False, "1-4": False}
    assert parse_status(NEWEST, 1) == {"1-4": True}
    assert parse_status(NEWEST, 3) == {}
    assert parse_status("", 2) == {}


def test_every_command_names_the_port_and_is_followed_by_a_look_at_it(hub: StubUhubctl) -> None:
    async def test() -> None:
        async with supply() as opened:
            assert not hub.is_on
            await opened.on()
            assert hub.is_on
        assert not hub.is_on

    asyncio.run(test())

    look = "-l 1-1.4 -p 2"
    assert hub.calls == [f"{look} -a off", look, f"{look} -a on", look, f"{look} -a off", look]


def test_a_hub_that_keeps_its_port_on_is_found_out(hub: StubUhubctl) -> None:
    hub.behave("stuck")

    error = refusal()

    assert "port 2 of hub 1-1.4 is still on after the command to switch it off" in error.reason
    assert "VBUS" in error.hint


def test_half_of_a_usb_3_hub_that_stays_on_is_found_out(hub: StubUhubctl) -> None:
    hub.behave("speaks", NEWEST.replace("0103 enable", "0103 power enable"))

    assert "hub 1-4 is still on" in refusal().reason


@pytest.mark.parametrize(
    ("words", "reason", "hint"),
    [
        ("No compatible devices detected at location 1-1.4!\n", "exit code 1: No compatible devices", "lists the hubs"),
        ("There were permission problems while accessing USB.\n", "permission problems", "udev rule"),
        ("", "it says nothing", "uhubctl"),
    ],
)
def test_a_failure_is_told_in_the_words_of_the_tool(hub: StubUhubctl, words: str, reason: str, hint: str) -> None:
    hub.behave("fails", words)

    error = refusal()

    assert reason in error.reason
    assert hint in error.hint


@pytest.mark.parametrize("words", ["", "Current status for hub 1-1.4 [05e3:0608]\n  Port 1: 0000 off\n", "  Port 2: 0000 off\n", "\ufffd\x00"])
def test_silence_about_the_port_is_no_success(hub: StubUhubctl, words: str) -> None:
    hub.behave("speaks", words)

    assert "shows no port 2 on hub 1-1.4" in refusal().reason


def test_a_tool_that_hangs_is_stopped(hub: StubUhubctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supply_uhubctl, "_LIMIT_S", 0.2)
    hub.behave("hangs")

    assert "has not ended within 0.2 s" in refusal().reason


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "uhubctl is not installed" in refusal().reason


def test_a_failure_at_the_end_does_not_hide_what_went_wrong_before(hub: StubUhubctl) -> None:
    async def test() -> None:
        async with supply():
            hub.behave("stuck")
            raise LookupError

    with pytest.raises(LookupError):
        asyncio.run(test())


def test_it_promises_nothing_but_on_and_off(hub: StubUhubctl) -> None:
    async def test() -> None:
        async with supply() as opened:
            with pytest.raises(InstrumentError, match="3000 mV"):
                await opened.set_voltage(3000)

    assert supply().capabilities == frozenset()
    asyncio.run(test())


ENTRY = "supply: {driver: ppk2, voltage_mv: 3000}"


def test_a_boards_file_names_hub_and_port(tmp_path: Path) -> None:
    text = edited(BOARDS, ENTRY, "supply: {driver: uhubctl, location: 1-1.4}").replace("/dev/supply", "")

    specs = [board.supply for board in boards(tmp_path, text).boards]

    assert specs == [InstrumentSpec(driver="uhubctl", options={"location": "1-1.4", "port": port}) for port in (1, 2)]


@pytest.mark.parametrize(
    ("option", "key"), [("location: /dev/hub", "location"), ("location: -a", "location"), ("location: 1-1.4, port: 0", "port")]
)
def test_a_boards_file_with_no_hub_is_refused(tmp_path: Path, option: str, key: str) -> None:
    text = edited(BOARDS, ENTRY, f"supply: {{driver: uhubctl, {option}}}").replace("supply: {port: /dev/supply1}\n", "sacrificial: true\n")

    assert f"defaults.supply.{key}" in {problem.key for problem in boards_problems(tmp_path, text)}
