"""``pytest tests_hil/contract --boards lab.yaml``: the contracts on the boards of a file, here a file of virtual ones on the wall clock."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from rig.config.load import load_boards
from rig.errors import RigError
from rig.images.sample_app import build_signed
from rig.scenario import ImageBuild
from tests_hil.campaigns import ROOT, boards_file
from tests_hil.contract import test_on_boards as contract


def lab_file(folder: Path, *, sacrificial: bool = True, **model: Any) -> Path:
    path = boards_file(folder, only="nrf52840", **model)
    document = json.loads(path.read_text())
    document["boards"][0]["sacrificial"] = sacrificial
    path.write_text(json.dumps(document))
    return path


def contracts(boards: Path, tests: str) -> subprocess.CompletedProcess[str]:
    """The contracts that `tests` (a `-k` expression) names, on these boards, with the sample application."""
    (board,) = load_boards(boards).boards
    image = build_signed(ImageBuild(version="1.0.0", size=8192), soc=board.soc, memory=board.memory, folder=boards.parent)
    options = ["--boards", str(boards), "--image", image.path, "-k", tests, "-rA", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", "tests_hil/contract/test_on_boards.py", "tests_hil/contract/test_probe_contract.py", *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def passed(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line.split("::")[1] for line in done.stdout.splitlines() if line.startswith("PASSED")]


def test_the_contracts_run_on_the_sacrificial_boards_of_a_file(tmp_path: Path) -> None:
    done = contracts(lab_file(tmp_path), "every_listener or refuses_what_is_not_there or what_is_programmed")
    assert done.returncode == 0, done.stdout
    assert passed(done) == [
        "test_every_listener_hears_the_board_from_its_first_byte[dk1]",
        "test_a_link_refuses_what_is_not_there_and_can_be_made_again[dk1]",
        "test_what_is_programmed_is_read_back_and_the_rest_of_the_page_is_blank[dk1]",
    ]


def test_a_file_without_sacrificial_boards_is_refused(tmp_path: Path) -> None:
    done = contracts(lab_file(tmp_path, sacrificial=False), "every_listener")
    assert done.returncode == 2
    assert "no board is marked `sacrificial: true`" in done.stdout


@pytest.mark.parametrize(
    ("kind", "test", "says"),
    [
        ("supply-stuck-on", contract.test_a_board_is_heard_under_power_and_silent_without, "does not say that it serves"),
        ("supply-stuck-on", contract.test_a_recording_shows_the_board_go_down_where_the_supply_can_see_it, "assert"),
        ("console-loose", contract.test_every_listener_hears_the_board_from_its_first_byte, "does not say that it serves"),
        ("antenna-off", contract.test_a_board_is_found_by_its_name_and_nobody_is_not, "did not advertise"),
        ("adapter-gone", contract.test_leaving_the_radio_ends_its_links, "not plugged in"),
    ],
)
def test_a_broken_bench_fails_the_contract_of_what_is_broken(kind: str, test: Callable[[contract.Run], None], says: str) -> None:
    (good,) = contract.made_here()
    board = replace(good.board, model={**good.board.model, "mishap": {"kind": kind, "at_s": 0.1}})
    with pytest.raises((RigError, AssertionError, pytest.fail.Exception), match=says):
        test(partial(contract.run_on, replace(good, board=board)))
