"""What a report says about the flash operations that cuts have struck: the figures of `rig coverage`, by phase and by kind."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from rig.coverage import coverage
from rig.model import OperationKind
from rig.report import build_report
from rig.report.operations import Operations, operations, still_to_strike
from rig.report.stock import read_stock
from rig.run.rounds import Rounds
from rig.store import Campaign
from tests.report_page import Page
from tests_hil.campaigns import boards_file, run_campaign, scenario_file


@pytest.fixture(scope="module")
def aimed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign whose budget ends before every operation of the installation has been struck."""
    folder = tmp_path_factory.mktemp("aimed")
    faults = [{"power_cut": {"aim": {"plan": "every", "phases": ["install"], "kinds": ["erase", "write"]}, "off_ms": 300}}]
    run_campaign(folder, scenario_file(folder, faults=faults, trials=12), boards_file(folder, only="nrf52840"))
    return folder / "campaign"


def found_in(*folders: Path) -> list[Operations]:
    return operations(read_stock(folders))


def test_the_report_and_the_command_count_alike(aimed: Path) -> None:
    progress = Rounds(Campaign.open(aimed)).progress(0)
    (one,) = found_in(aimed)
    theirs = coverage(progress.known, progress.shots)
    assert one.coverage.cells() == theirs.cells()
    assert 0 < sum(theirs.hits.values()) < 12
    assert (one.planned, one.unread, one.soc) == (12, 0, "nrf52840")
    summary: Any = build_report([aimed], formats=["html"]).summary
    (told,) = summary["operations"]
    assert told["struck"] == theirs.share
    assert [(kind["phase"], kind["kind"], kind["known"], kind["struck"], kind["never"]) for kind in told["kinds"]] == [
        (cell.phase, cell.kind, cell.known, cell.hit, list(cell.never)) for cell in theirs.cells()
    ]


def test_what_is_still_to_be_struck_is_what_the_plan_takes_in_the_least_tried_first(aimed: Path) -> None:
    (one,) = found_in(aimed)
    wanted = [cell for cell in one.coverage.cells() if cell.phase == "install" and cell.kind != "status"]
    assert {missed.site.number for missed in one.missed} == {number for cell in wanted for number in cell.never}
    assert {missed.site.phase for missed in one.missed} == {"install"}, "the upload is not aimed at"
    assert {missed.kind for missed in one.missed} <= {"erase", "write"}
    assert [missed.tries for missed in one.missed] == sorted(missed.tries for missed in one.missed)
    assert [missed for missed, _ in still_to_strike([one, one], 3)] == [one.missed[0], one.missed[0], one.missed[1]]


def test_the_page_shows_them_by_kind_with_a_figure(aimed: Path) -> None:
    build_report([aimed], formats=["html"])
    page = Page(aimed / "report.html")
    (one,) = found_in(aimed)
    erases = next(cell for cell in one.coverage.cells() if (cell.phase, cell.kind) == ("install", "erase"))
    numbers = [str(erases.known), str(erases.aimed), str(erases.hit), str(erases.at_boundary), str(len(erases.never))]
    assert page.row("install", "page erase") == ["install", "page erase", "nrf52840", *numbers]
    assert f"rig coverage {aimed}" in page.text
    hit, known = sum(cell.hit for cell in one.coverage.cells()), len(one.coverage.known)
    assert f"{hit} of {known} operations struck by a proved cut." in page.text
    assert page.figures["Flash operations struck by a cut"] == f"{100 * hit / known:.2f} %"


def test_campaigns_of_the_same_images_are_counted_together(aimed: Path, tmp_path: Path) -> None:
    shutil.copytree(aimed, tmp_path / "again")
    (alone,), (both,) = found_in(aimed), found_in(aimed, tmp_path / "again")
    assert both.planned == 2 * alone.planned
    assert {site: 2 * hits for site, hits in alone.coverage.hits.items()} == both.coverage.hits


def test_a_journal_that_is_gone_is_said(aimed: Path, tmp_path: Path) -> None:
    shutil.copytree(aimed, tmp_path / "torn")
    last = Campaign.open(tmp_path / "torn").plan.trials[-1]
    (tmp_path / "torn" / "trials" / last.id / "journal.jsonl").unlink()
    (one,) = found_in(tmp_path / "torn")
    assert one.unread == 1
    build_report([tmp_path / "torn"], formats=["html"])
    assert "1 journal could not be read; what it shows is not counted here." in Page(tmp_path / "torn" / "report.html").text


def test_random_cuts_show_what_they_have_struck_too(tmp_path: Path) -> None:
    faults = ["none", {"power_cut": {"trigger": {"phase": "install", "flash_operation": {"uniform": [1, 4000]}}, "off_ms": 300, "share": 3}}]
    run_campaign(tmp_path, scenario_file(tmp_path, faults=faults, trials=8), boards_file(tmp_path, only="nrf52840"))
    (one,) = found_in(tmp_path / "campaign")
    assert one.aimed is None
    assert sum(one.coverage.hits.values()) > 0
    assert {known.kind for known in one.coverage.known} == set(OperationKind)
    assert one.missed[0].kind is OperationKind.STATUS, "what random cuts miss comes first"
    build_report([tmp_path / "campaign"], formats=["html"])
    text = Page(tmp_path / "campaign" / "report.html").text
    assert "A scenario with aim goes for them." in text
    never = sum(missed.kind is OperationKind.STATUS for missed in one.missed)
    assert re.search(rf"{never} of \d+ status writes of an update were never struck by a cut", text)
