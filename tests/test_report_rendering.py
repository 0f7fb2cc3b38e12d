"""The page in a browser: accessible in light and dark, nothing too wide and nothing clipped on a desktop, a telephone and paper."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from rig.config import load_gates
from rig.model import Outcome, Rung, Verdict
from rig.report import build_report
from rig.store import Session
from tests import browser, synthetic
from tests.synthetic import Ending

GATES = Path(__file__).parents[1] / "gates.yaml"
BRICKED = Ending(verdict=Verdict.FAIL, outcome=Outcome.BRICKED, reason="no boot and no advertising for 120 s")
STUCK = Ending(verdict=Verdict.FAIL, outcome=Outcome.STUCK_ON_OLD, reason="takes no new image")
BROKEN = Ending(verdict=Verdict.ERROR, outcome=Outcome.UNKNOWN, reason="dk1.probe: no answer in 5 s")
A4_WIDTH = 702
"""A4 less the margins of the style sheet, in CSS pixels."""

TOO_WIDE = """
(async () => {
  const found = [], width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth > width) found.push('the page is ' + document.documentElement.scrollWidth + ' wide');
  const scrolls = e => { const s = e.closest('.scroll, nav > div, pre'); return s && getComputedStyle(s).overflowX !== 'visible'; };
  for (const e of document.querySelectorAll('body *')) {
    const box = e.getBoundingClientRect();
    if (!box.width || e.closest('.vh, .skip, svg') || scrolls(e)) continue;
    if (box.right > width + 1 || box.left < -1) found.push(e.tagName + ' ' + e.className + ' ends at ' + box.right);
    const style = getComputedStyle(e);
    if (style.overflowX === 'hidden' && e.scrollWidth > e.clientWidth + 1) found.push(e.tagName + ' ' + e.className + ' is clipped');
  }
  for (const text of document.querySelectorAll('svg text')) {
    const svg = text.ownerSVGElement, own = text.getBoundingClientRect(), frame = svg.getBoundingClientRect();
    if (own.width && (own.left < frame.left - 2 || own.right > frame.right + 2 || own.bottom > frame.bottom + 2))
      found.push('"' + text.textContent + '" leaves its figure ' + svg.getAttribute('class'));
  }
  return found;
})()
"""
FITS = """
(async () => [...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent.slice(0, 60)))()
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A report with something in every section: failures, lost trials, a baseline, gates."""
    browser.browser()
    folder = tmp_path_factory.mktemp("rendered")
    endings = {7: BRICKED, 20: BRICKED, 28: STUCK, 39: STUCK, 42: BROKEN, 50: BROKEN}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        now = synthetic.campaign(folder / "now", trials=120, endings=endings, skip=[70], listed=True, levels=(-40, -20, 0, 8))
        with Session(now) as session:
            helped = {Rung.REOPEN: "dk1.probe: no answer in 5 s", Rung.RE_ENUMERATE: None}
            session.record_recovery(synthetic.recovery(1, "dk1", "T-0043", "dk1.probe: no answer in 5 s", helped))
            session.record_recovery(synthetic.recovery(2, "dk3", "T-0051", "dk3.supply: gone", {}, quarantine="dk3.supply: gone for good", not_run=("T-0071",)))
        before = synthetic.campaign(folder / "before", trials=120, seed=7, name="before", levels=(-20, 8))
        built = build_report([now.path], baseline=[before.path], gates=load_gates(GATES))
    return built.written[0].read_text("utf-8")


def in_dark(page: str) -> str:
    """The page as a browser set to dark shows it."""
    dark = page.replace("@media screen and (prefers-color-scheme:dark)", "@media screen")
    assert dark != page
    return dark


def on_paper(page: str) -> str:
    """The page with the rules for paper, on the screen."""
    paper = page.replace("@media print", "@media all").replace("@media screen", "@media not all")
    assert paper != page
    return paper


@pytest.mark.parametrize(("mode", "width"), [("light", 1280), ("dark", 1280), ("light", 500)])
def test_axe_finds_no_violation(page: str, tmp_path: Path, mode: str, width: int) -> None:
    shown = re.sub(r"<details(?! open)", "<details open", in_dark(page) if mode == "dark" else page)
    axe = browser.AXE.read_text("utf-8").replace("</script", "<\\/script")
    shown = shown.replace("</head>", f"<script>{axe}</script></head>")
    shown = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", shown)
    script = "axe.run().then(r=>({passes:r.passes.length,violations:r.violations.map(v=>v.id+': '+v.nodes.map(n=>n.html.slice(0,120)).join(' | '))}))"
    found = browser.evaluate(shown, script, tmp_path, width=width)
    assert found["violations"] == []
    assert found["passes"] > 20, "axe looked at the page"


def test_axe_would_find_one(page: str, tmp_path: Path) -> None:
    axe = browser.AXE.read_text("utf-8").replace("</script", "<\\/script")
    faint = page.replace("--ink2:#454d59", "--ink2:#c8ccd2").replace("</head>", f"<script>{axe}</script></head>")
    faint = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", faint)
    found = browser.evaluate(faint, "axe.run().then(r=>r.violations.map(v=>v.id))", tmp_path)
    assert "color-contrast" in found


@pytest.mark.parametrize("width", [1280, 500])
def test_nothing_is_too_wide_on_a_screen(page: str, tmp_path: Path, width: int) -> None:
    assert browser.evaluate(page, TOO_WIDE, tmp_path, width=width) == []


def test_nothing_is_too_wide_on_paper(page: str, tmp_path: Path) -> None:
    paper = on_paper(page)
    assert browser.evaluate(paper, TOO_WIDE, tmp_path, width=A4_WIDTH) == []
    assert browser.evaluate(paper, FITS, tmp_path, width=A4_WIDTH) == [], "paper does not scroll"


def test_a_pdf_is_printed(tmp_path: Path) -> None:
    browser.browser()
    campaign = synthetic.campaign(tmp_path, trials=4)
    (pdf, _) = build_report([campaign.path], formats=["pdf"]).written
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF-")
    assert len(re.findall(rb"/Type\s*/Page\b", data)) >= 2
