"""What the page must not let through, and the files beside it."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
from click.testing import CliRunner

from rig.cli import rig
from rig.errors import ConfigError
from rig.model import Outcome, Verdict
from rig.report import PARQUET_HINT, build_report, words
from rig.report.table import COLUMNS, as_csv, as_parquet
from rig.store import Campaign, layout
from tests import synthetic
from tests.report_page import Page, page_of
from tests.synthetic import Ending

EVIL = "</td></script><script>alert(1)</script><img src=http://x.example/ onerror=1> \"'& \x1b[31m \u202egnp \ud800"
BRICKED = Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="no boot and no advertising for 120 s")
STUCK = Ending(verdict=Verdict.FAIL, outcome=Outcome.STUCK_ON_OLD, reason="takes no new image")
UNPROVED = Ending(verdict=Verdict.INCONCLUSIVE, outcome=Outcome.UPDATED, reason="VDD did not fall")
BROKEN = Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason="dk1.probe: no answer in 5 s")


@pytest.fixture(scope="module", autouse=True)
def _hasty_disk() -> Iterator[None]:
    """Nothing here asks what survives a power cut of the host, so the many small campaigns need not wait for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Campaign:
    """Eighty trials with every kind of ending, two of them not run."""
    endings = {7: BRICKED, 20: BRICKED, 39: STUCK, 41: UNPROVED, 42: BROKEN, 50: BROKEN}
    return synthetic.campaign(tmp_path_factory.mktemp("held"), trials=80, endings=endings, skip=[70, 71])


@pytest.fixture(scope="module")
def page(held: Campaign) -> Page:
    return page_of(held)


# ------------------------------------------------------------------------------------------------------------ hostile text
@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Campaign, Page]:
    """A campaign whose devices, names and files print whatever could break a page."""
    folder = tmp_path_factory.mktemp("hostile")
    endings = {
        0: Ending(verdict=Verdict.FAIL, outcome=Outcome.WRONG_IMAGE, reason=EVIL),
        1: Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason=EVIL),
        2: Ending(reason="=HYPERLINK(1)"),
    }
    campaign = synthetic.campaign(folder, trials=8, endings=endings, console=lambda _: [EVIL], scenario=EVIL)
    text = (campaign.path / layout.PROVENANCE).read_text("utf-8")
    value = json.loads(text) | {"host": EVIL, "argv": [EVIL], "configs": {EVIL: EVIL}, "versions": {EVIL: EVIL}}
    (campaign.path / layout.PROVENANCE).write_text(json.dumps(value), "utf-8")
    plan = (
        (campaign.path / layout.PLAN).read_text("utf-8").replace('"dk1"', json.dumps(EVIL)).replace('"nRF52840"', json.dumps(EVIL))
    )
    plan = plan.replace('"dk2"', '"<img src=x>"')  # short enough for the lanes of the map
    (campaign.path / layout.PLAN).write_text(plan, "utf-8")
    reopened = Campaign.open(campaign.path)
    return reopened, page_of(reopened)


def test_foreign_text_is_shown_and_never_obeyed(hostile: tuple[Campaign, Page]) -> None:
    _, page = hostile
    assert page.text.count("<script>alert(1)</script><img src=http://x.example/ onerror=1>") >= 12
    assert page.summary()["campaign"] == "c-20261121-a"
    names = {tag for tag, _ in page.tags}
    assert "img" not in names
    assert not {name for _, attrs in page.tags for name in attrs if name.startswith("on")}
    assert "\u202e" not in page.source
    assert "\x1b" not in page.source
    assert "\\x1b[31m \\u202egnp \\ud800" in page.text


def test_foreign_text_breaks_no_companion(hostile: tuple[Campaign, Page]) -> None:
    campaign, _ = hostile
    tree = ET.parse(campaign.path / layout.JUNIT)
    assert any("<script>alert(1)</script>" in (case.get("classname") or "") for case in tree.iter("testcase"))
    rows = list(csv.DictReader(io.StringIO((campaign.path / layout.TABLE_CSV).read_text("utf-8"))))
    assert rows[2]["reason"] == "'=HYPERLINK(1)"
    assert "alert(1)" in rows[0]["reason"]


def test_nothing_leaves_the_file(page: Page, hostile: tuple[Campaign, Page]) -> None:
    for one in (page, hostile[1]):
        for _, attrs in one.tags:
            for name in ("href", "src", "action", "data", "srcset", "xlink:href"):
                assert not re.match(r"\s*([a-z][a-z0-9+.-]*:|//)", attrs.get(name) or "") or attrs[name] == "data:,", attrs
        assert "@import" not in one.style
        assert "url(" not in one.style
        policy = next(attrs for tag, attrs in one.tags if tag == "meta" and attrs.get("http-equiv") == "Content-Security-Policy")
        assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


# ------------------------------------------------------------------------------------------------------------- companions
def test_the_same_files_always_give_the_same_bytes(held: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(held.path.parent)
    first = [path.read_bytes() for path in build_report([Path(held.path.name)]).written]
    shutil.copytree(held.path, tmp_path / held.path.name)
    monkeypatch.chdir(tmp_path)
    for name in (layout.DATABASE, layout.LOCK, layout.REPORT, layout.SUMMARY):
        (tmp_path / held.path.name / name).unlink()
    assert [path.read_bytes() for path in build_report([Path(held.path.name)]).written] == first


def test_junit_cases_keep_their_names_whatever_the_results(held: Campaign, tmp_path: Path) -> None:
    other = synthetic.campaign(tmp_path, trials=80, seed=5, skip=range(80))
    for campaign in (held, other):
        build_report([campaign.path])

    def cases(campaign: Campaign) -> dict[tuple[str | None, str | None], ET.Element]:
        tree = ET.parse(campaign.path / layout.JUNIT)
        found = {(case.get("classname"), case.get("name")): case for case in tree.iter("testcase")}
        assert len(found) == len(list(tree.iter("testcase")))
        (suite,) = tree.iter("testsuite")
        counts = [int(suite.get(name) or -1) for name in ("tests", "failures", "errors", "skipped")]
        assert counts == [len(found), *(sum(1 for _ in suite.iter(tag)) for tag in ("failure", "error", "skipped"))]
        return found

    ours, theirs = cases(held), cases(other)
    assert ours.keys() == theirs.keys()
    assert ("rig.swap-power-cut.power-cut", "install") in ours
    assert ("rig.swap-power-cut.none", "control") in ours
    failing = {key for key, case in ours.items() if case.find("failure") is not None}
    strata = {trial.stratum for index, trial in enumerate(held.plan.trials) if index in (7, 20, 39)}
    assert {name for _, name in failing} == strata | {"acceptance"}
    told = "".join(case.find("failure").text or "" for case in ours.values() if case.find("failure") is not None)  # type: ignore[union-attr]
    assert sorted(re.findall(r"rig replay \S+ (T-\d+)", told)) == ["T-0008", "T-0021", "T-0040"]
    assert all((case.find("skipped") is not None) == (name != "acceptance") for (_, name), case in theirs.items())
    assert theirs["rig.swap-power-cut", "acceptance"].find("error").get("type") == "INCONCLUSIVE"  # type: ignore[union-attr]


def test_without_pyarrow_the_page_says_how_to_get_the_parquet_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    campaign = synthetic.campaign(tmp_path, trials=2)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    written = build_report([campaign.path]).written
    assert [path.name for path in written] == ["report.html", "junit.xml", "report.md", "trials.csv", "summary.json"]
    assert PARQUET_HINT in Page(written[0]).text
    assert as_parquet(pd.DataFrame()) is None


def test_the_parquet_file_read_back_says_what_the_csv_file_says(tmp_path: Path) -> None:
    endings = {1: BRICKED, 2: Ending(verdict=Verdict.FAIL, outcome=Outcome.STUCK_ON_OLD, reason=EVIL), 3: UNPROVED, 4: BROKEN}
    campaign = synthetic.campaign(tmp_path, trials=30, endings=endings, skip=[7])
    build_report([campaign.path], formats=["csv", "parquet"])
    table = pd.read_parquet(campaign.path / layout.TABLE_PARQUET)
    assert len(table) == 30
    assert as_csv(table) == (campaign.path / layout.TABLE_CSV).read_bytes()


def test_the_parquet_file_has_the_types_that_questions_are_asked_with(tmp_path: Path) -> None:
    campaign = synthetic.campaign(tmp_path, trials=12)
    build_report([campaign.path], formats=["parquet"])
    schema = pyarrow.parquet.read_schema(campaign.path / layout.TABLE_PARQUET)
    assert tuple(schema.names) == COLUMNS
    types = {name: str(schema.field(name).type) for name in ("upload_s", "operation", "staged", "trial", "verdict")}
    assert types.pop("verdict").startswith("dictionary<values=")
    assert types == {"upload_s": "double", "operation": "int64", "staged": "bool", "trial": "string"}
    assert pyarrow.parquet.ParquetFile(campaign.path / layout.TABLE_PARQUET).metadata.row_group(0).column(0).compression == "ZSTD"


@pytest.mark.parametrize(
    ("formats", "names"),
    [
        (None, {"report.html", "junit.xml", "report.md", "trials.csv", "trials.parquet"}),
        ("html", {"report.html"}),
        ("parquet", {"trials.parquet"}),
        ("csv, parquet,csv", {"trials.csv", "trials.parquet"}),
        ("md,junit", {"report.md", "junit.xml"}),
        ("junit,html,parquet", {"report.html", "junit.xml", "trials.parquet"}),
    ],
)
def test_exactly_the_formats_that_were_asked_for_are_written_beside_the_summary(tmp_path: Path, formats: str | None, names: set[str]) -> None:
    campaign = synthetic.campaign(tmp_path, trials=4)
    wanted = [] if formats is None else ["--format", formats]
    done = CliRunner().invoke(rig, ["report", str(campaign.path), *wanted, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == names | {"summary.json"}
    if "report.html" in names:
        page = Page(tmp_path / "out" / "report.html")
        linked = {str(attrs["href"]) for tag, attrs in page.tags if tag == "a" and not str(attrs["href"]).startswith("#")}
        assert linked == (names | {"summary.json"}) - {"report.html"}
        assert PARQUET_HINT not in page.text, "pyarrow is there"


@pytest.mark.parametrize("formats", ["", " , "])
def test_a_list_of_formats_that_names_none_is_refused(tmp_path: Path, formats: str) -> None:
    campaign = synthetic.campaign(tmp_path, trials=1)
    done = CliRunner().invoke(rig, ["report", str(campaign.path), "--format", formats])
    assert isinstance(done.exception, ConfigError)
    assert "names no format" in str(done.exception)


def test_damaged_evidence_of_the_baseline_is_said_too(tmp_path: Path) -> None:
    now, before = synthetic.campaign(tmp_path / "now", trials=4), synthetic.campaign(tmp_path / "before", trials=4, seed=2, name="before")
    with (before.trial_folder("T-0002") / layout.JOURNAL).open("a") as journal:
        journal.write("more\n")
    text = Page(build_report([now.path], baseline=[before.path], formats=["html"]).written[0]).text
    assert "Evidence is damaged. The records of 1 trial are not what they were" in text
    assert "baseline, T-0002: journal.jsonl" in text


def test_a_formula_in_a_reason_is_disarmed_for_spreadsheets() -> None:
    table = pd.DataFrame({"reason": ["=1+1", "+1", "fine", None], "board": ["@x", "b", "b", "b"], "scenario": ["s"] * 4})
    assert as_csv(table).decode() == "reason,board,scenario\n'=1+1,'@x,s\n'+1,b,s\nfine,b,s\n,b,s\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, words.DASH),
        (0.0449, "45 ms"),
        (0.99951, "1.00 s"),
        (9.996, "10.0 s"),
        (99.96, "1 min 40 s"),
        (3599.7, "1 h 00 min"),
        (14700, "4 h 05 min"),
    ],
)
def test_durations_read_well(value: float | None, text: str) -> None:
    assert words.seconds(value) == text


def test_shares_are_rounded_against_the_claim() -> None:
    assert words.percent(0.999999) == "99.99 %"
    assert words.percent(0.000001) == "0.01 %"
    assert (words.percent(1.0), words.percent(0.0)) == ("100 %", "0 %")
    assert words.at_most(0.00100001) == "0.11 %"
    assert words.bounds(0.99719, 0.9998) == "99.71 to 99.98"
    assert words.bounds(0.9159, 1.0) == "91.5 to 100"
