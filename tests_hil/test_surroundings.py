"""Interferer and attenuator of a virtual bench, named in a boards file and opened as on any bench."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from rig import bench
from rig.bench import Around, Dut
from rig.config import load_boards
from rig.errors import ConfigError, LinkLost, NotFound
from rig.model import Interference, InterferenceKind, Verdict
from rig.ota.smp import SMP_SERVICE
from rig.virtual.clock import loop_factory
from tests_hil.campaigns import boards_file, plan_campaign, run_campaign, scenario_file

BOOT_S = 5.0
SUPERVISION_S = 4.0
EVERYWHERE = Interference(kind=InterferenceKind.SWEEP, frequencies_mhz=tuple(range(2402, 2481)), power_dbm=8)


def surrounded(folder: Path, *, only: str | None = "nrf52840") -> Path:
    """A boards file whose boards have everything around them."""
    path = boards_file(folder, only=only)
    document = json.loads(path.read_text())
    document["bench"] |= {"enclosure": "bytes", "interferer": {"driver": "radio-test", "port": "virtual:interferer"}}
    for board in document["boards"]:
        board["attenuator"] = {"driver": "rcdat", "host": f"virtual:{board['name']}/attenuator"}
    path.write_text(json.dumps(document))
    return path


def lent(folder: Path, test: Callable[[Dut], Awaitable[None]]) -> None:
    """Runs `test` with a board that has booted."""
    campaign = plan_campaign(folder, scenario_file(folder), surrounded(folder))
    (trial,) = campaign.plan.trials
    (board,) = campaign.plan.boards

    async def main() -> None:
        async with asyncio.timeout(3600), bench.lend(board, campaign.plan.bench, seed=trial.seed, around=tuple(Around)) as dut:
            await dut.supply.on()
            await asyncio.sleep(0.1)
            await dut.probe.program(board.memory.primary.start, campaign.image(trial.old.as_installed).read_bytes())
            await dut.probe.reset()
            await dut.probe.detach()
            await asyncio.sleep(BOOT_S)
            await test(dut)

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        runner.run(main())


def test_the_advertising_channels_can_be_taken_from_a_board(tmp_path: Path) -> None:
    async def test(dut: Dut) -> None:
        assert dut.interferer is not None
        await dut.interferer.start(Interference.on_advertising_channels(8))
        with pytest.raises(NotFound):
            await dut.radio.find(lambda found: found.name == dut.board.ble_name, timeout_s=10.0)
        await dut.interferer.stop()
        await dut.radio.find(lambda found: found.name == dut.board.ble_name, timeout_s=10.0)

    lent(tmp_path, test)


def test_a_fade_shows_in_the_level_and_loses_the_link_in_the_end(tmp_path: Path) -> None:
    async def test(dut: Dut) -> None:
        assert dut.attenuator is not None
        levels = []
        for db in (0.0, 25.0):
            await dut.attenuator.set(db)
            found = await dut.radio.find(lambda found: found.name == dut.board.ble_name, timeout_s=10.0)
            levels.append(found.rssi_dbm)
        assert levels == [-50, -75]
        link = await dut.radio.connect(found, services=[SMP_SERVICE], timeout_s=10.0)
        faded_s = await dut.attenuator.set(60.0)
        assert await link.wait_lost() == 0x08
        assert asyncio.get_running_loop().time() - faded_s == pytest.approx(SUPERVISION_S, abs=0.03)
        with pytest.raises(LinkLost):
            await link.read("00002a00-0000-1000-8000-00805f9b34fb")

    lent(tmp_path, test)


def test_one_kit_alone_does_not_jam_the_whole_band(tmp_path: Path) -> None:
    """A sweep is on each channel for a share of the time: the link is slower and lives."""

    async def test(dut: Dut) -> None:
        assert dut.interferer is not None
        found = await dut.radio.find(lambda found: found.name == dut.board.ble_name, timeout_s=10.0)
        link = await dut.radio.connect(found, services=[SMP_SERVICE], timeout_s=10.0)
        await dut.interferer.start(EVERYWHERE)
        await asyncio.sleep(60.0)
        assert link.is_up

    lent(tmp_path, test)


def test_the_interferer_falls_silent_with_the_trial_and_the_next_one_starts_clean(tmp_path: Path) -> None:
    async def test(dut: Dut) -> None:
        assert dut.interferer is not None
        found = await dut.radio.find(lambda found: found.name == dut.board.ble_name, timeout_s=10.0)
        assert found.rssi_dbm == -50
        await dut.interferer.start(Interference.on_advertising_channels(8))

    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        lent(tmp_path / name, test)


def test_a_campaign_passes_beside_an_interferer_that_is_silent(tmp_path: Path) -> None:
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path), surrounded(tmp_path))
    assert judgement.verdict is Verdict.PASS, judgement.reason


def test_the_plan_keeps_the_words_for_the_enclosure(tmp_path: Path) -> None:
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path), surrounded(tmp_path))
    assert {board.enclosure for board in campaign.plan.boards} == {"bytes"}


def test_each_trial_has_its_own_attenuator_even_if_several_boards_have_one(tmp_path: Path) -> None:
    judgements = run_campaign(tmp_path, scenario_file(tmp_path, trials=2), surrounded(tmp_path, only=None))
    assert {judgement.verdict for judgement in judgements} == {Verdict.PASS}


def test_a_bench_without_enclosure_is_refused(tmp_path: Path) -> None:
    path = surrounded(tmp_path)
    document = json.loads(path.read_text())
    del document["bench"]["enclosure"]
    path.write_text(json.dumps(document))

    with pytest.raises(ConfigError) as caught:
        load_boards(path)

    assert [problem.key for problem in caught.value.problems] == ["bench.interferer", "boards[0].attenuator"]
    assert all(problem.line for problem in caught.value.problems)
