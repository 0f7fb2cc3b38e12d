"""Several campaigns in one report, large ones from the database, two against each other, and input that must be refused."""

from __future__ import annotations

import os
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from rig.cli import rig
from rig.errors import ConfigError, StorageError
from rig.model import Outcome, Protocol, Verdict
from rig.report import build_report, compare, interference, stock, trend, words
from rig.report.statistics import interval
from rig.report.statistics.timing import quantile
from rig.report.stock import read_stock
from rig.store import Campaign, Session, layout, readable
from tests import synthetic
from tests.report_page import Page
from tests.synthetic import Clock, Ending

BRICKED = Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="no boot and no advertising for 120 s")
BROKEN = Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason="dk1.probe: no answer in 5 s")


@pytest.fixture(autouse=True)
def _hasty_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here asks what survives a power cut of the host."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def night(folder: Path, number: int, *, trials: int = 20, endings: dict[int, Ending] | None = None, **options: object) -> Campaign:
    return synthetic.campaign(folder / str(number), trials=trials, seed=number, name=f"night-{number}", endings=endings, **options)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------------------ pooled
def test_several_campaigns_are_one_report(tmp_path: Path) -> None:
    nights = [night(tmp_path, 1), night(tmp_path, 2, endings={4: BRICKED}), night(tmp_path, 3, endings={5: BROKEN})]
    built = build_report([campaign.path for campaign in nights], out=tmp_path / "out")
    page = Page(built.written[0])
    assert built.summary["trials"]["attempted"] == 60
    assert built.summary["campaign"] == ["night-1", "night-2", "night-3"]
    assert page.row("night-2")[1:4] == ["20", page.row("night-2")[2], "✗ 1"]
    assert "3 campaigns" in page.text
    links = [attrs["href"] or "" for tag, attrs in page.tags if tag == "a" and not (attrs["href"] or "").startswith("#")]
    assert len(links) > 5
    assert [link for link in links if not (tmp_path / "out" / link).is_file()] == []
    cases = ET.parse(tmp_path / "out" / layout.JUNIT).iter("testcase")
    assert sum(1 for case in cases if case.get("name") == "acceptance") == 1, "one scenario, three nights, one case"
    identifiers = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(identifiers) == len(set(identifiers))


def test_without_a_folder_a_pooled_report_lies_beside_its_campaigns(tmp_path: Path) -> None:
    one = synthetic.campaign(tmp_path, trials=3, name="one")
    other = synthetic.campaign(tmp_path, trials=3, name="two", seed=2)
    built = build_report([one.path, other.path])
    assert {path.parent for path in built.written} == {one.path.parent / "report-of-2-campaigns"}


def test_campaigns_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    one, other = (synthetic.campaign(tmp_path / name, trials=4) for name in ("a", "b"))
    assert read_stock([one.path, other.path]).labels == (str(one.path), str(other.path))


# ---------------------------------------------------------------------------------------------------------------- database
def test_the_database_says_what_the_files_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = synthetic.campaign(tmp_path, trials=60, endings={7: BRICKED, 9: BROKEN}, skip=[20])
    with Session(campaign) as session:
        session.begin("T-0021", Clock()).close()
    with Session(campaign) as session:
        synthetic.run_trial(session, campaign.trial("T-0021"))
    from_files = read_stock([campaign.path]).tables
    monkeypatch.setattr(stock, "LARGE", 1)
    from_database = read_stock([campaign.path])
    assert not from_database.campaigns[0].plan.trials, "the plan's list of trials was not read"
    pd.testing.assert_frame_equal(from_files.trials.sort_values("trial"), from_database.trials, check_categorical=False)
    pd.testing.assert_frame_equal(from_files.cuts, from_database.tables.cuts, check_categorical=False)
    pages = []
    for large in (1, 10**9):
        monkeypatch.setattr(stock, "LARGE", large)
        pages.append(Page(build_report([campaign.path]).written[0]).text)
    assert pages[0] == pages[1]


def test_a_database_with_a_trial_under_way_is_not_believed(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=6)
    assert readable(campaign.path)
    other = synthetic.campaign(tmp_path / "other", trials=6, skip=[3])
    with Session(other) as session:
        session.reserve("T-0004")
        session._writer.close()
        assert not readable(other.path)


def test_only_a_sample_of_a_large_campaign_is_compared_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = synthetic.campaign(tmp_path, trials=60, endings={7: BRICKED, 9: BROKEN})
    for name, number in (("LARGE", 1), ("_COMPARED", 10)):
        monkeypatch.setattr(stock, name, number)
    (campaign.trial_folder("T-0008") / "journal.jsonl").write_bytes(b"")
    read = read_stock([campaign.path])
    assert 12 <= read.compared < 30
    assert [one.trial for one in read.alterations] == ["T-0008"], "whatever failed is always compared"
    assert f"The evidence of {read.compared} trials was compared" in Page(build_report([campaign.path]).written[0]).text


def test_many_cuts_and_boards_make_a_small_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = synthetic.campaign(tmp_path, trials=300, boards=3, endings=dict.fromkeys(range(0, 300, 30), BRICKED))
    monkeypatch.setattr("rig.report.cutmap._MANY_CUTS", 100)
    page = build_report([campaign.path]).written[0].read_text()
    assert "recovered; the darker, the more" in page
    assert page.count('class="xb"') >= 2 * 9, "failures stay single marks"


# ------------------------------------------------------------------------------------------------------- comparison, trend
def test_compare_tells_failures_times_and_signatures(tmp_path: Path) -> None:
    before = night(tmp_path, 1, trials=200, control_every=2)
    now = night(tmp_path, 2, trials=200, control_every=2, endings=dict.fromkeys(range(0, 40, 2), BRICKED))
    lines, worse = compare([now.path], [before.path])
    text = "\n".join(lines)
    assert worse
    assert "failed      20 of 100 interrupted updates, baseline 0 of 100" in text
    assert re.search(r"difference  \+20.0 %, 95 % interval \+\d+\.\d % to \+\d+\.\d %; one-sided score test p = \S+: worse", text)
    assert re.search(r"update time .* \(100 against 100 undisturbed updates\)", text)
    assert "new signature " in text
    same, worse = compare([before.path], [now.path])
    assert not worse
    assert "no new signature" in same


def test_trend_shows_campaigns_and_whether_they_fail_alike(tmp_path: Path) -> None:
    nights = [night(tmp_path, 1), night(tmp_path, 2, endings=dict.fromkeys(range(8), BRICKED))]
    text = trend([campaign.path for campaign in nights])
    assert re.search(r"night-1 .* 0 of 20 ", text)
    assert re.search(r"night-2 .* 8 of 20 ", text)
    assert "the campaigns differ by more than chance" in text


def test_the_series_is_drawn_in_the_report(tmp_path: Path) -> None:
    nights = [night(tmp_path, number) for number in (1, 2)]
    page = Page(build_report([nights[1].path], baseline=[nights[0].path]).written[0])
    assert "Campaign by campaign" in page.text


# ---------------------------------------------------------------------------------------------------------------- commands
def test_exit_codes_and_formats_of_the_command(tmp_path: Path) -> None:
    good = synthetic.campaign(tmp_path, trials=6)
    gates = tmp_path / "gates.yaml"
    gates.write_text("gates:\n  - {id: A, require: none fails, failures: {at_most: 0}}\n")
    done = CliRunner().invoke(rig, ["report", str(good.path), "--gates", str(gates), "--format", "html,md", "--out", str(tmp_path / "out")])
    assert (done.exit_code, "SHIP: The release gate passed." in done.output) == (0, True), done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["report.html", "report.md", "summary.json"]
    bad = synthetic.campaign(tmp_path, trials=6, endings={1: BRICKED}, name="bad")
    assert CliRunner().invoke(rig, ["report", str(bad.path), "--gates", str(gates)]).exit_code == 1
    assert CliRunner().invoke(rig, ["compare", str(bad.path), str(good.path)]).exit_code == 1
    assert CliRunner().invoke(rig, ["compare", str(good.path), str(bad.path)]).exit_code == 0
    assert "one campaign is no trend" in CliRunner().invoke(rig, ["trend", str(good.path)]).output


def test_the_markdown_summary_obeys_no_device(tmp_path: Path) -> None:
    evil = Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="x")
    campaign = synthetic.campaign(tmp_path, trials=6, endings={1: evil}, console=lambda _: ["| <img src=x> `rm` **b** [l](http://x)"], control_every=1)
    build_report([campaign.path])
    text = (campaign.path / layout.MARKDOWN).read_text("utf-8")
    assert len(text) < 10_000
    assert "\\| &lt;img src=x> \\`rm\\` \\*\\*b\\*\\* \\[l\\](http://x)" in text


# --------------------------------------------------------------------------------------------------------------- bad input
def test_a_campaign_named_twice_is_refused(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=2)
    with pytest.raises(ConfigError, match="is named twice"):
        build_report([campaign.path, campaign.path / ".." / campaign.path.name])
    with pytest.raises(ConfigError, match="is both reported and baseline"):
        build_report([campaign.path], baseline=[campaign.path])


def test_a_baseline_of_another_product_is_refused(tmp_path: Path) -> None:
    now = synthetic.campaign(tmp_path / "now", trials=2)
    planned = synthetic.plan(tmp_path / "images", trials=2)
    boards = tuple(replace(board, protocol=Protocol.SECURE_DFU) for board in planned.boards)
    other = Campaign.create(tmp_path / "reports", replace(planned, boards=boards), synthetic.provenance(planned))
    with pytest.raises(ConfigError, match="the baseline is of another product: nRF52832 over secure_dfu, nRF52840 over secure_dfu, where"):
        build_report([now.path], baseline=[other.path])


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=2)
    plan = campaign.path / layout.PLAN
    plan.write_text(plan.read_text().replace("rig.plan/1", "rig.plan/7"))
    with pytest.raises(StorageError, match=r"the format is 'rig.plan/7'; this version of rig reads 'rig.plan/1'"):
        build_report([campaign.path])
    with pytest.raises(StorageError, match=r"the format is 'rig.plan/7'"):
        Campaign.open_head(campaign.path)
    with pytest.raises(StorageError, match="no campaign here"):
        build_report([tmp_path])


def test_unknown_and_impossible_formats_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = synthetic.campaign(tmp_path, trials=2)
    with pytest.raises(ConfigError, match="no format 'docx'; known formats: html, pdf, junit, md, csv, parquet"):
        build_report([campaign.path], formats=["docx"])
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ConfigError, match=r"a PDF needs a browser, and none of .* is installed; on Debian: apt install chromium"):
        build_report([campaign.path], formats=["pdf"])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="Parquet needs pyarrow"):
        build_report([campaign.path], formats=["parquet"])


# ------------------------------------------------------------------------------------------------------------ interference
def test_interference_is_shown_by_level_where_trials_have_it(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=12, control_every=1, endings={5: BRICKED})
    assert "Not covered: no trial of this report had interference." in Page(build_report([campaign.path]).written[0]).text


def test_success_and_duration_are_shown_against_the_level_with_exact_intervals(tmp_path: Path) -> None:
    levels = (-20, 8)
    now = synthetic.campaign(tmp_path / "now", trials=100, levels=levels, endings={6: BRICKED, 16: BRICKED})
    before = synthetic.campaign(tmp_path / "before", trials=100, levels=(8,), seed=4, name="before")
    trials = stock.read_stock([now.path]).trials
    rows = interference.levels(trials)
    assert [(row.level, row.trials, row.failed) for row in rows] == [(None, 10, 0), (-20.0, 10, 0), (8.0, 10, 2)]
    loud = rows[-1]
    assert (loud.low, loud.high) == interval(8, 10)
    uploads = trials.loc[trials["interference"].eq(8) & trials["verdict"].isin(["PASS", "FAIL"]), "upload_s"]
    assert loud.upload == quantile(uploads, 0.5)
    page = Page(build_report([now.path], baseline=[before.path]).written[0])
    told = page.row("8 dBm")
    assert told[1:4] == ["10", "✗ 2", "80.00 % (44.3 to 97.5)"]
    assert told[4:] == ["10", words.seconds(loud.upload.value), f"{words.seconds(loud.upload.low)} to {words.seconds(loud.upload.high)}"]
    assert page.row("\N{MINUS SIGN}20 dBm")[2] == "0"
    assert "no interference: 10 of 10; -20 dBm: 10 of 10; 8 dBm: 8 of 10" in page.text
    figures = re.findall(r'<svg[^>]*aria-labelledby="levels-.*?</svg>', page.source)
    assert [figure.count('class="iv"') + figure.count('class="iv bad"') for figure in figures] == [3, 3], "one interval for each level"
    assert [figure.count('class="ivb"') for figure in figures] == [2, 2], "and for each of the baseline"


def test_a_figure_of_one_level_or_of_trials_that_are_too_few_is_drawn_all_the_same(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=4, control_every=50, levels=(0,))
    rows = interference.levels(stock.read_stock([campaign.path]).trials)
    assert [(row.level, row.trials, row.upload.low) for row in rows] == [(0.0, 1, None)]
    success, duration = interference.figures(rows, [])
    assert success.count('class="iv"') == 1
    assert duration.count('class="iv"') == 0
    assert duration.count('class="pt"') == 1
