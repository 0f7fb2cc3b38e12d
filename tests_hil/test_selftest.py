"""`rig selftest` on a sound virtual board, and on boards whose wiring is broken in one way each."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rig.cli import rig
from rig.config import load_boards
from rig.images.sample_app import build_signed
from rig.model import Verdict
from rig.run.selftest import SelfTest, self_test
from rig.scenario import ImageBuild
from rig.store.calibration import calibration_file, read_calibrations
from tests_hil.campaigns import boards_file, plan_campaign, run_campaign, scenario_file


def examine(folder: Path, *, change: dict[str, Any] | None = None, **model: Any) -> SelfTest:
    """The self-test of one virtual board; `change` replaces keys of its entry."""
    path = boards_file(folder, only="nrf52840", **model)
    document = json.loads(path.read_text())
    bench_changes = (change or {}).pop("bench", {})
    document["bench"] |= bench_changes
    document["boards"][0] |= change or {}
    path.write_text(json.dumps(document))
    file = load_boards(path)
    (board,) = file.boards
    image = build_signed(ImageBuild(version="1.0.0", size=8192), soc=board.soc, memory=board.memory, folder=folder)
    return self_test(board, file.bench, clock="virtual", flash=Path(image.path), tell=lambda _check: None)


def failed(result: SelfTest) -> dict[str, str]:
    return {check.name: check.says for check in result.checks if check.ok is False}


def test_a_sound_board_passes_and_is_measured(tmp_path: Path) -> None:
    result = examine(tmp_path)
    assert failed(result) == {}
    names = [check.name for check in result.checks]
    assert names == [
        "probe", "probe exclusive", "flash round trip", "power off", "residual current", "power on", "console", "radio",
        "off-times", "off the air", "console delay",
    ]  # fmt: skip
    found = result.calibration
    assert found is not None
    assert found.cut_latency_s is not None
    # 10 µF from 3 V to 1.05 V by 1 kΩ and some milliamperes, and 0.35 ms in the kit: the formula says 3 to 11 ms
    assert 0.003 < found.cut_latency_s < 0.011
    assert found.residual_ua is not None
    assert found.residual_ua < 100
    assert found.console_delay_s is not None
    assert found.console_delay_s < 0.001
    assert found.rssi_dbm == -50
    assert found.shortest_off_s == 0.005


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        ("fed-by-console", "back-powering", "the likely wire: the console's wires"),
        ("fed-by-probe", "back-powering", "the likely wire: the probe's wires"),
        ("fed-by-usb", "back-powering", "the likely wire: none of the rig's"),
        ("supply-stuck-on", "power off", "VDD is still high"),
        ("supply-stuck-off", "probe", "no target voltage"),
        ("supply-sags", "probe", "no target voltage"),
        ("supply-unplugged", "supply", "dk1.supply"),
        ("console-late", "console delay", "bytes arrive up to"),
        ("console-loose", "console", "does not say that it serves"),
        ("console-unplugged", "console", "dk1.console"),
        ("antenna-off", "radio", "not heard within"),
        ("adapter-gone", "radio", "dk1.radio"),
        ("probe-hung", "probe", "does not answer"),
        ("other-soc-on-probe", "probe", "dk1.probe"),
        ("two-boards-one-address", "off the air", "advertises while the board is off"),
    ],
)
def test_a_broken_bench_fails_the_check_that_is_made_for_it(tmp_path: Path, kind: str, name: str, says: str) -> None:
    at_s = 5.0 if kind == "two-boards-one-address" else 0.1 if kind in ("other-soc-on-probe", "adapter-gone", "console-unplugged") else 0.0
    result = examine(tmp_path, mishap={"kind": kind, "at_s": at_s})
    assert result.calibration is None
    assert says in failed(result).get(name, ""), failed(result)


def test_a_board_that_discharges_slowly_has_its_off_time_measured(tmp_path: Path) -> None:
    """Without a bleed resistor the capacitor holds the chip alive."""
    result = examine(tmp_path, power={"bleed_ohm": None, "capacitance_f": 100e-6})
    assert {"power off", "off-times"} & failed(result).keys()


def test_the_interferer_must_be_seen_to_interfere(tmp_path: Path) -> None:
    bench = {"enclosure": "steel box", "interferer": {"driver": "radio-test", "port": "virtual:interferer"}}
    assert failed(examine(tmp_path, change={"bench": dict(bench)})) == {}


# ------------------------------------------------------------------------------------------------------------- the command
def called(folder: Path, *arguments: object, **model: Any) -> Any:
    boards = boards_file(folder, only="nrf52840", **model)
    (board,) = load_boards(boards).boards
    image = build_signed(ImageBuild(version="1.0.0", size=8192), soc=board.soc, memory=board.memory, folder=folder)
    return CliRunner().invoke(rig, ["selftest", "--board", "dk1", "--boards", str(boards), "--flash", image.path, *map(str, arguments)])


def test_the_command_writes_a_calibration_that_the_next_campaign_cites(tmp_path: Path) -> None:
    done = called(tmp_path)
    assert done.exit_code == 0, done.output
    measured = calibration_file(tmp_path / "boards.yaml")
    assert measured.name in done.output
    campaign = plan_campaign(tmp_path, scenario_file(tmp_path), tmp_path / "boards.yaml")
    (board,) = campaign.plan.boards
    assert board.calibration == read_calibrations(tmp_path / "boards.yaml")["dk1"]
    assert campaign.provenance.configs[str(measured)] == measured.read_text()


def test_a_campaign_refuses_another_unit_than_the_calibrated_one(tmp_path: Path) -> None:
    assert called(tmp_path).exit_code == 0
    file = calibration_file(tmp_path / "boards.yaml")
    entry = json.loads(file.read_text())
    entry["boards"]["dk1"]["device_id"] = "0123456789abcdef"
    file.write_text(json.dumps(entry))
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path), tmp_path / "boards.yaml")
    assert judgement.verdict is Verdict.ERROR
    assert "dk1.probe" in judgement.reason
    assert "0123456789abcdef" in judgement.reason


def test_nothing_is_written_down_of_a_board_that_is_not_in_order(tmp_path: Path) -> None:
    done = called(tmp_path, mishap={"kind": "fed-by-probe"})
    assert done.exit_code == 2
    assert "FAILED  back-powering" in done.output
    assert "SWDIO" in done.output
    assert not calibration_file(tmp_path / "boards.yaml").exists()
