"""The rows of `scripts/bench`: each measures one promise on the virtual bench."""

from __future__ import annotations

import argparse
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from rig.coverage import coverage
from rig.formats import ppk2
from rig.model import PointPlan, Verdict
from rig.run.rounds import Rounds
from rig.store import Campaign, Session
from rig.virtual.ppk2 import CALIBRATION
from scripts import latency, report_rows
from tests import simulated_cuts
from tests_hil import test_dfu_throughput as dfu
from tests_hil import test_smp_throughput as smp
from tests_hil.campaigns import boards_file, plan_campaign, run_campaign, run_trial, scenario_file

PPK2_SAMPLES_PER_S = 100_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure and its limit.  `at_most` tells on which side of the limit it must lie."""

    name: str
    value: float
    unit: str
    limit: float
    at_most: bool = True

    @property
    def ok(self) -> bool:
        return self.value <= self.limit if self.at_most else self.value >= self.limit


def cpu_per_trial(trials: int, **scenario: Any) -> float:
    """Median CPU seconds of one trial: bench, update, fault, recovery, journal, judgement, evidence on disk."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        boards = boards_file(folder, only="nrf52840", protocol=scenario.get("protocol", "smp"))
        campaign = plan_campaign(folder, scenario_file(folder, trials=trials + 1, **scenario), boards)
        seconds = []
        with Session(campaign) as session:
            for trial in campaign.plan.trials:
                started = time.process_time()
                judgement = run_trial(session, trial)
                seconds.append(time.process_time() - started)
                if judgement.verdict is not Verdict.PASS:
                    raise SystemExit(f"a trial of the benchmark did not pass: {judgement.reason}")
        return statistics.median(seconds[1:])  # the first one imports modules


def complete_trial() -> Row:
    images = {
        "old": {"build": {"version": "1.0.0", "size": "256 KiB"}},
        "new": {"build": {"version": "1.1.0", "size": "256 KiB"}},
    }
    cut = {"power_cut": {"trigger": {"chunk": {"uniform": [40, 80]}}, "off_ms": 500}}
    value = cpu_per_trial(5, images=images, faults=[cut])
    return Row(name="complete trial: 256 KiB, cut during upload, recovery, retry", value=value, unit="CPU s", limit=1.0)


def staged_trial() -> Row:
    cut = {"power_cut": {"trigger": {"phase": "install"}, "offset_ms": {"uniform": [0, 12_000]}, "off_ms": 500}}
    images = {
        "old": {"build": {"version": "1.0.0", "size": "256 KiB"}},
        "new": {"build": {"version": "1.1.0", "size": "256 KiB"}},
    }
    update = {"request": "test", "confirm": True, "staged": 1.0}
    value = cpu_per_trial(9, images=images, faults=[cut], update=update)
    return Row(name="staged trial: 256 KiB, cut during install", value=value, unit="CPU s", limit=0.15)


def smp_upload() -> Row:
    value = smp.rate(smp.ours, buf_size=2475) / smp.rate(smp.theirs, buf_size=2475)
    return Row(name="SMP upload against plain smpclient on the same link", value=value, unit="ratio", limit=0.95, at_most=False)


def dfu_trial() -> Row:
    images = {
        "old": {"build": {"version": "1.0.0", "size": "64 KiB"}},
        "new": {"build": {"version": "1.1.0", "size": "64 KiB"}},
    }
    cut = {"power_cut": {"trigger": {"chunk": {"uniform": [4, 12]}}, "off_ms": 500}}
    value = cpu_per_trial(5, protocol="secure_dfu", images=images, faults=[cut], update={})
    return Row(name="complete Secure DFU trial: 64 KiB, one cut during transfer, retry", value=value, unit="CPU s", limit=1.0)


def dfu_client(every: int, limit: float) -> Row:
    """Against a player of the same requests and packets that waits for nothing but replies, on an ideal air at 15 ms."""
    name = f"Secure DFU client against the same packets on the same link, PRN {every}"
    return Row(name=name, value=dfu.share(every), unit="ratio", limit=limit, at_most=False)


def cuts_until_nine_tenths(jitter_s: float, limit: float) -> Row:
    """The adaptive plan against a simulated time line of 404 flash operations; only the planner runs."""
    made = simulated_cuts.cuts_until(
        0.9, simulated_cuts.aimed(PointPlan.ADAPTIVE, int(2 * limit)), simulated_cuts.Bench(simulated_cuts.swap_of_200_kib(), jitter_s)
    )
    name = f"adaptive cuts until 90 % of 404 flash operations are struck, jitter {jitter_s * 1e6:g} µs"
    return Row(name=name, value=float("inf") if made is None else made, unit="cuts", limit=limit)


def every_operation() -> Row:
    """CPU minutes until every flash operation of mark, swap by offset and confirm of a 200 KiB image on an nRF52840 has been struck.

    Measured with 40 KiB; the operations grow with the image, and so does the time.
    """
    images = {name: {"build": {"version": version, "size": "40 KiB"}} for name, version in (("old", "1.0.0"), ("new", "1.1.0"))}
    cut = {"power_cut": {"aim": {"plan": "every", "phases": ["mark", "install", "confirm"], "round": 200}, "off_ms": 300}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenario = scenario_file(folder, images=images, faults=[cut], trials=400)
        started = time.process_time()
        run_campaign(folder, scenario, boards_file(folder, only="nrf52840"))
        minutes = (time.process_time() - started) / 60
        progress = Rounds(Campaign.open(folder / "campaign")).progress(0)
    aimed_at = [cell for cell in coverage(progress.known, progress.shots).cells() if cell.phase != "upload"]
    if any(cell.never for cell in aimed_at):
        raise SystemExit("not every operation was struck")
    return Row(name="every flash operation after the upload struck, 200 KiB from 40 KiB", value=minutes * 200 / 40, unit="CPU min", limit=20.0)


def ppk2_decoding() -> Row:
    words = np.random.default_rng(1).integers(0, 2**32, 1_000_000, dtype=np.uint32)
    words = (words & ~np.uint32(0x7 << 14)) | (words % 5 << np.uint32(14))
    started = time.process_time()
    ppk2.current_amps(words, CALIBRATION, 3.0)
    ppk2.logic_inputs(words)
    value = len(words) / PPK2_SAMPLES_PER_S / (time.process_time() - started)
    return Row(name="decoding of a PPK2 stream against real time", value=value, unit="times", limit=10.0, at_most=False)


def small_report() -> Row:
    value = report_rows.small().seconds
    return Row(name="rig report of 3,200 trials, all default formats", value=value, unit="CPU s", limit=3.0)


@cache
def _large_report() -> report_rows.Measured:
    return report_rows.large()


def large_report() -> Row:
    name = "rig report of 1,000,000 trials with ten phases each, from ten campaigns"
    return Row(name=name, value=_large_report().seconds, unit="CPU s", limit=60.0)


def large_report_memory() -> Row:
    return Row(name="the same: largest memory", value=_large_report().peak_mb, unit="MB", limit=2000.0)


def large_report_page() -> Row:
    return Row(name="the same: size of the page", value=_large_report().page_mb, unit="MB", limit=3.0)


def console_to_command() -> Row:
    found = latency.latencies(1000)
    name = "console line to power command above its transmission time, p99, four more consoles streaming at 1 Mbaud"
    return Row(name=name, value=1e3 * found[int(0.99 * len(found))], unit="ms", limit=1.0)


ROWS: tuple[Callable[[], Row], ...] = (
    complete_trial,
    staged_trial,
    smp_upload,
    dfu_trial,
    partial(dfu_client, 0, 0.95),
    partial(dfu_client, 12, 0.85),
    ppk2_decoding,
    partial(cuts_until_nine_tenths, 50e-6, 500),
    partial(cuts_until_nine_tenths, 1e-3, 2500),
    every_operation,
    console_to_command,
    small_report,
    large_report,
    large_report_memory,
    large_report_page,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write name, value, unit, limit and ok of each row")
    arguments = parser.parse_args()
    logging.getLogger().addHandler(logging.NullHandler())  # libraries' warnings would stand between the rows
    rows = []
    for measure in ROWS:
        row = measure()
        rows.append(row)
        sign = "≤" if row.at_most else "≥"
        print(f"{'ok  ' if row.ok else 'MISS'} {row.value:10.3f} {row.unit:6} {sign} {row.limit:<8g} {row.name}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps([{**asdict(row), "ok": row.ok} for row in rows], indent=1) + "\n")
    sys.exit(not all(row.ok for row in rows))


if __name__ == "__main__":
    main()
