"""What the report says about boards that the rig has helped or set aside."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from rig.model import Outcome, Rung, Verdict
from rig.report import build_report
from rig.store import Campaign, Session
from tests import synthetic
from tests.report_page import Page
from tests.synthetic import Ending

BROKEN = Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason="dk1.probe: no answer in 5 s")


@pytest.fixture(autouse=True)
def _hasty_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


def lossy(folder: Path) -> Campaign:
    """dk1 is helped, dk2 quarantined, dk3 quarantined and helped later."""
    campaign = synthetic.campaign(folder, trials=20, boards=4, endings=dict.fromkeys((0, 1, 2), BROKEN), skip=(5, 9, 13, 17))
    with Session(campaign) as session:
        session.record_recovery(synthetic.recovery(1, "dk1", "T-0001", "dk1.probe: no answer in 5 s", {Rung.REOPEN: "no answer", Rung.RE_ENUMERATE: None}))
        session.record_recovery(
            synthetic.recovery(
                2, "dk2", "T-0002", "dk2.supply: gone", {Rung.REOPEN: "dk2.supply: gone; see the cable"},
                quarantine="dk2.supply: gone; see the cable", not_run=("T-0006", "T-0010", "T-0014", "T-0018"),
            )
        )  # fmt: skip
        session.record_recovery(synthetic.recovery(3, "dk3", "T-0003", "no console", {}, quarantine="3 trials in a row were lost"))
        session.record_recovery(synthetic.recovery(4, "dk3", "", "no console", {Rung.REOPEN: None}))
    return campaign


def test_every_climb_and_who_is_quarantined_is_shown(tmp_path: Path) -> None:
    campaign = lossy(tmp_path)
    built = build_report([campaign.path], formats=["html", "md"])
    page = Page(built.written[0])
    rows = [row for row in page.rows if row and row[0].startswith("dk") and len(row) == 5]
    assert [row[1:] for row in rows] == [
        ["T-0001", "dk1.probe: no answer in 5 s", "reopen ✗ did not help, re-enumerate ✓ helped", "Sound again"],
        ["T-0002", "dk2.supply: gone; see the cable", "reopen ✗ did not help", "Quarantined; 4 trials not run"],
        ["T-0003", "no console; 3 trials in a row were lost", "nothing", "Quarantined for a time"],
        ["resumed", "no console", "reopen ✓ helped", "Sound again"],
    ]
    assert "1 board is quarantined." in page.text
    step = "Repair dk2, which the rig has quarantined; the reasons stand under the boards. Resuming tries them again."
    assert step in page.text
    assert step in (campaign.path / "report.md").read_text("utf-8")
    summary: Any = built.summary
    assert summary["quarantined"] == [{"campaign": campaign.plan.campaign, "board": "dk2", "why": "dk2.supply: gone; see the cable"}]


def test_without_a_lost_trial_nothing_is_said_of_it(tmp_path: Path) -> None:
    built = build_report([synthetic.campaign(tmp_path, trials=4).path], formats=["html"])
    assert "What the rig did about its boards" not in Page(built.written[0]).text
    assert built.summary["quarantined"] == []
