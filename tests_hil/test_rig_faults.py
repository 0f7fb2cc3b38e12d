"""A rig that fails in the middle of a trial: never FAIL and never PASS on the device's account."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rig.drivers.radio_bleak import BleakRadio
from rig.drivers.supply_ppk2 import Ppk2Supply
from rig.errors import LinkLost, NotFound
from rig.model import Verdict
from tests_hil.campaigns import boards_file, run_campaign, scenario_file


def spoil(
    monkeypatch: pytest.MonkeyPatch, driver: type, method: str, bad: Callable[[int], BaseException | None], *, takes_s: float = 0.0
) -> None:
    """Replace `method` of a driver so that its Nth call (from 1) raises, after `takes_s`, what `bad` gives for N, if anything."""
    good = getattr(driver, method)
    calls = 0

    async def spoiled(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if error := bad(calls):
            await asyncio.sleep(takes_s)
            raise error
        return await good(*arguments, **options)

    monkeypatch.setattr(driver, method, spoiled)


@pytest.mark.parametrize("number", [2, 3, 4])
def test_one_connection_that_fails_on_the_way_does_not_fail_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The first connection belongs to the preparation, the fourth to the final look."""
    spoil(monkeypatch, BleakRadio, "connect", lambda call: LinkLost(0x3E) if call == number else None)
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path), boards_file(tmp_path, only="nrf52840"))
    assert judgement.verdict is Verdict.PASS, judgement.reason


@pytest.mark.parametrize("number", [2, 3, 4])
def test_a_radio_that_goes_deaf_is_not_the_devices_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    spoil(monkeypatch, BleakRadio, "find", lambda call: NotFound("nothing heard") if call >= number else None, takes_s=15.0)
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path), boards_file(tmp_path, only="nrf52840"))
    assert judgement.verdict is Verdict.INCONCLUSIVE, judgement.reason


def test_a_supply_that_does_not_come_back_is_not_the_devices_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is accepted and nothing happens: the probe finds no target voltage at the end."""
    good = Ppk2Supply.on
    calls = 0

    async def stuck(self: Ppk2Supply) -> float:
        nonlocal calls
        calls += 1
        return await good(self) if calls <= 2 else await self.off()

    monkeypatch.setattr(Ppk2Supply, "on", stuck)
    cut = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": 300, "off_ms": 300}}
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, faults=[cut]), boards_file(tmp_path, only="nrf52840"))
    assert judgement.verdict is Verdict.ERROR, judgement.reason
    assert "no target voltage" in judgement.reason
