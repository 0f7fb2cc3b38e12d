"""A virtual bench whose supplies switch unsteadily: what the rig learns of it, and that chance comes from the seed."""

from __future__ import annotations

import json
import random
import statistics
from pathlib import Path

import pytest

from rig.model import Verdict
from rig.run.rounds import Rounds
from rig.store import Campaign
from rig.virtual.jitter import SwitchJitter
from tests_hil.campaigns import boards_file, run_campaign, scenario_file
from tests_hil.test_command_line import rig

ERASES = [{"power_cut": {"aim": {"plan": "every", "phases": ["install"], "kinds": ["erase"]}, "off_ms": 300}}]


def jittery(folder: Path, microseconds: float, supply: str = "ppk2") -> Path:
    path = boards_file(folder, only="nrf52840")
    document = json.loads(path.read_text())
    document["bench"]["supply_jitter_us"] = microseconds
    if supply == "switch":
        document["defaults"]["supply"] = {"driver": "switch"}
        document["boards"][0]["supply"] = {"port": "virtual:dk1/switch"}
    path.write_text(json.dumps(document))
    return path


def latencies(folder: Path, microseconds: float, supply: str = "ppk2") -> list[float]:
    """From command to effect, of the cuts at page erases, during which the board's load and so the fall of VDD are always the same."""
    folder.mkdir()
    judgements = run_campaign(folder, scenario_file(folder, faults=ERASES, trials=24), jittery(folder, microseconds, supply))
    assert {judgement.verdict for judgement in judgements} == {Verdict.PASS}
    shots = Rounds(Campaign.open(folder / "campaign")).progress(0).shots
    return [shot.latency_s for shot in shots if shot.latency_s is not None]


@pytest.mark.parametrize("supply", ["ppk2", "switch"])
def test_cuts_fall_as_unsteadily_as_the_bench_says(tmp_path: Path, supply: str) -> None:
    steady, unsteady = latencies(tmp_path / "0", 0.0, supply), latencies(tmp_path / "1000", 1000.0, supply)
    assert statistics.stdev(steady) < 20e-6
    assert statistics.stdev(unsteady) == pytest.approx(1e-3, rel=0.6)
    assert statistics.fmean(unsteady) - statistics.fmean(steady) == pytest.approx(4e-3, abs=1e-3)


def test_the_jitter_is_normal_and_never_early() -> None:
    jitter = SwitchJitter(1e-3, random.Random(1))
    drawn = [jitter() for _ in range(20_000)]
    assert min(drawn) >= 0.0
    assert max(drawn) <= 8e-3
    assert statistics.fmean(drawn) == pytest.approx(4e-3, abs=3e-5)
    assert statistics.stdev(drawn) == pytest.approx(1e-3, rel=0.02)
    assert SwitchJitter(0.0, random.Random(1))() == 0.0


def test_a_trial_under_jitter_can_be_repeated_byte_for_byte_and_the_lead_shows_it(tmp_path: Path) -> None:
    run_campaign(tmp_path, scenario_file(tmp_path, faults=ERASES, trials=20), jittery(tmp_path, 200.0))
    assert "journal identical" in rig("replay", "campaign", "T-0012", folder=tmp_path).stdout
    shown = rig("coverage", "campaign", folder=tmp_path).stdout
    spread = shown.split("± ")[1].split(" µs")[0]
    assert 80 < int(spread) < 400, shown
    assert "operations of this plan were struck: 50% after" in shown
