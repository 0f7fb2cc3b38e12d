"""Failures by signature: the same trouble is found again, in another run, by other numbers, against a baseline."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from rig.model import Outcome, Trial, Verdict
from rig.report import build_report
from rig.report.signatures import Signature, masked, signatures
from rig.report.stock import read_stock
from rig.store import Campaign
from tests import synthetic
from tests.report_page import Page
from tests.synthetic import Ending

BRICKED = Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="no boot and no advertising for 120 s")
STUCK = Ending(verdict=Verdict.FAIL, outcome=Outcome.STUCK_ON_OLD, reason="takes no new image")


@pytest.fixture(autouse=True)
def _hasty_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here asks what survives a power cut of the host."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def console(trial: Trial) -> list[str]:
    """Lines that differ from trial to trial in numbers, and now and then in a word."""
    number = trial.seed % 1000
    extra = ["W: retrying"] if trial.seed % 7 == 0 else []
    return [f"I: swap of page {number}", *extra, f"E: bad status at 0x{number:08x} after {number} ms"]


def found(campaign: Campaign, baseline: Campaign | None = None) -> list[Signature]:
    return signatures(read_stock([campaign.path]), read_stock([baseline.path]) if baseline else None)


def no_faults(folder: Path, *, endings: dict[int, Ending], seed: int = 1, name: str = "c") -> Campaign:
    """Twenty updates without fault, so that every failure falls in the same place."""
    return synthetic.campaign(folder, trials=20, control_every=1, endings=endings, seed=seed, name=name, console=console)


def test_numbers_are_masked() -> None:
    assert masked("E: bad status at 0x0007ffa8 after 41 ms, page 8c2194f1d202 of v1.4.0\x1b") == (
        "E: bad status at # after # ms, page # of v#.#.#\\x#b"
    )
    assert masked("I: deadline facade") == "I: deadline facade", "words of hexadecimal letters stay words"


def test_the_same_trouble_has_the_same_signature_in_every_run(tmp_path: Path) -> None:
    one = found(no_faults(tmp_path / "one", endings=dict.fromkeys(range(8), STUCK), seed=1))
    other = found(no_faults(tmp_path / "other", endings=dict.fromkeys(range(5, 16), STUCK), seed=2))
    assert [(len(signature.members), signature.outcome, signature.phase) for signature in one] == [(8, "STUCK_ON_OLD", "control")]
    assert [len(signature.members) for signature in other] == [11]
    assert one[0].id == other[0].id
    assert one[0].last_line == "E: bad status at # after # ms"


def test_different_troubles_stay_apart_the_most_damaging_first(tmp_path: Path) -> None:
    endings = {**dict.fromkeys(range(6), STUCK), 7: BRICKED}
    signature, second = found(no_faults(tmp_path, endings=endings))
    assert (signature.outcome, len(signature.members)) == ("BRICKED", 1)
    assert (second.outcome, len(second.members)) == ("STUCK_ON_OLD", 6)


def test_known_and_new_against_the_baseline(tmp_path: Path) -> None:
    before = no_faults(tmp_path / "before", endings={2: STUCK, 3: STUCK}, seed=3, name="before")
    now = no_faults(tmp_path / "now", endings={4: STUCK, 5: BRICKED}, seed=4, name="now")
    known = {signature.outcome: signature.known for signature in found(now, before)}
    assert known == {"BRICKED": 0, "STUCK_ON_OLD": 2}
    page = Page(build_report([now.path], baseline=[before.path]).written[0])
    assert "1 \N{MULTIPLICATION SIGN} BRICKED, new" in page.text
    assert "1 \N{MULTIPLICATION SIGN} STUCK_ON_OLD, known: 2 in the baseline" in page.text


def test_repetitions_give_the_rate_of_reproduction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored repetitions are judged anew; one whose journal is gone says nothing."""
    campaign = no_faults(tmp_path, endings={1: STUCK})
    verdicts = iter([STUCK, Ending()])

    def judged(trial: Trial, events: object) -> object:
        ending = next(verdicts)
        return replace(campaign.judgement(trial.id), verdict=ending.verdict, outcome=ending.outcome)  # type: ignore[type-var]

    assert "not replayed yet" in Page(build_report([campaign.path]).written[0]).text
    for number in (1, 2, 3):
        shutil.copytree(campaign.trial_folder("T-0002"), campaign.path / "replays" / f"T-0002.replay-{number}")
    (campaign.path / "replays" / "T-0002.replay-2" / "journal.jsonl").unlink()
    monkeypatch.setattr("rig.report.signatures.judge", judged)
    (signature,) = found(campaign)
    assert (signature.reproduction.agreed, signature.reproduction.conclusive) == (1, 2)


def test_a_journal_that_cannot_be_read_is_still_a_failure(tmp_path: Path) -> None:
    campaign = no_faults(tmp_path, endings={1: BRICKED})
    (campaign.trial_folder("T-0002") / "journal.jsonl").unlink()
    (signature,) = found(campaign)
    assert signature.boot == "its journal cannot be read"
    assert "T-0002" in Page(build_report([campaign.path]).written[0]).text
