"""The example of docs/virtual-bench.md, run as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rig.model import Outcome, Verdict
from tests_hil.campaigns import ROOT, boards_file, run_campaign, scenario_file


def test_the_documented_bootloader_runs_and_its_weakness_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/virtual-bench.md").read_text(encoding="utf-8")
    found = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert found
    (tmp_path / "my_module.py").write_text(found.group(1))
    monkeypatch.syspath_prepend(str(tmp_path))
    boards = boards_file(tmp_path, only="nrf52840", bootloader={"class": "my_module:CopyBootloader", "banner": "*** hello ***"})
    boards.write_text(boards.read_text().replace('"preset": "swap-offset"', '"preset": "swap-move"'))
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path, update={"request": "permanent", "confirm": True}), boards)
    assert (judgement.verdict, judgement.outcome) == (Verdict.PASS, Outcome.UPDATED)
    console = (tmp_path / "campaign/trials/T-0001/console.log").read_bytes()
    assert b"*** hello ***" in console


def test_a_class_beside_the_boards_file_is_found_by_every_command(tmp_path: Path) -> None:
    """Whatever the working directory is, and by worker processes and later replays as well."""
    bench = tmp_path / "bench"
    bench.mkdir()
    (bench / "neighbour.py").write_text("from rig.virtual.mcuboot import Mcuboot\nclass Neighbour(Mcuboot):\n    pass\n")
    boards = boards_file(bench, only="nrf52840", bootloader={"class": "neighbour:Neighbour"})
    scenario = scenario_file(bench)

    def isolated(*arguments: object) -> int:
        command = [sys.executable, "-P", "-c", "from rig.cli import main; main()", *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, timeout=120, check=False).returncode

    assert isolated("check", scenario, "--boards", boards) == 0
    assert isolated("run", scenario, "--boards", boards, "--out", tmp_path / "c") == 0
    assert isolated("replay", tmp_path / "c", "T-0001") == 0


def test_a_class_that_raises_is_the_benchs_fault_not_the_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_module.py").write_text(
        "class Broken:\n    def __init__(self, board): pass\n    async def boot(self, cpu):\n        raise RuntimeError('no boot today')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    boards = boards_file(tmp_path, only="nrf52840", bootloader={"class": "broken_module:Broken"})
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path), boards)
    assert judgement.verdict is Verdict.ERROR
    assert "no boot today" in judgement.reason


def test_a_mistake_of_our_own_costs_the_trial_and_is_kept_as_evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: object) -> None:
        raise ZeroDivisionError("not today")

    monkeypatch.setattr("rig.run.trial.place_old_image", broken)
    (judgement,) = run_campaign(tmp_path, scenario_file(tmp_path), boards_file(tmp_path, only="nrf52840"))
    assert judgement.verdict is Verdict.ERROR
    assert "internal error" in judgement.reason
    assert b"not today" in (tmp_path / "campaign/trials/T-0001/traceback.txt").read_bytes()
