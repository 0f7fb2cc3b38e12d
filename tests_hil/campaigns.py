"""Runs a scenario on a bench from a test: the same planning, running and judging as `rig run`, in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rig.config import load
from rig.model import Judgement, Trial
from rig.run.prepare import create_campaign
from rig.run.rounds import run_in_rounds
from rig.run.single import run_one
from rig.store import Campaign, Session

ROOT = Path(__file__).parents[1]
SCENARIOS = Path(__file__).parent / "scenarios"


def boards_file(folder: Path, *, only: str | None = None, protocol: str = "smp", **model: Mapping[str, Any]) -> Path:
    """A boards file with virtual boards, `model` merged into every board; JSON is YAML."""
    boards = [
        {
            "name": name,
            "soc": soc,
            "ble": {"name": f"rig-{name}", "address": f"C0:00:00:00:00:{2 * index:02X}"},
            "supply": {"port": f"virtual:{name}/ppk2"},
            "console": {"port": f"virtual:{name}/console"},
        }
        for index, (name, soc) in enumerate((("dk1", "nrf52840"), ("dk3", "nrf52832")), start=1)
        if only in (None, soc)
    ]
    document = {
        "bench": {"driver": "virtual"},
        "defaults": {
            "protocol": protocol,
            "memory": {"preset": "swap-offset" if protocol == "smp" else "secure-dfu"},
            "probe": {"driver": "virtual"},
            "supply": {"driver": "ppk2"},
            "console": {"driver": "uart"},
            "radio": {"driver": "bleak", "adapter": "virtual"},
            "counter": {"driver": "virtual"},
            "model": model,
        },
        "boards": boards,
    }
    path = folder / "boards.yaml"
    path.write_text(json.dumps(document))
    return path


def plan_campaign(folder: Path, scenario: Path, boards: Path, *, trials: int | None = None, clock: str = "virtual") -> Campaign:
    return create_campaign(
        load(boards, [scenario]), folder / "campaign", seed=None, trials=trials, clock=clock, argv=["test"], configs={}
    )


def run_trial(session: Session, trial: Trial) -> Judgement:
    campaign = session.campaign
    judgement = run_one(
        trial,
        next(board for board in campaign.plan.boards if board.name == trial.board),
        campaign.plan.bench,
        clock=campaign.plan.clock,
        begin=lambda now: session.begin(trial.id, now),
        image_path=campaign.image,
    )
    session.record(judgement)
    return judgement


def run_campaign(folder: Path, scenario: Path, boards: Path, *, trials: int | None = None, clock: str = "virtual") -> list[Judgement]:
    """Plan and run everything; returns the judgements in the order of the plan."""
    campaign = plan_campaign(folder, scenario, boards, trials=trials, clock=clock)
    judgements: list[Judgement] = []
    with Session(campaign) as session:
        run_in_rounds(session, lambda: judgements.extend(run_trial(session, trial) for trial in campaign.pending_trials()))
    return judgements


def scenario_file(folder: Path, **changes: Any) -> Path:
    """A small scenario; `changes` replace top-level keys."""
    document: dict[str, Any] = {
        "scenario": "small",
        "protocol": "smp",
        "images": {
            "old": {"build": {"version": "1.0.0", "size": "16 KiB"}},
            "new": {"build": {"version": "1.1.0", "size": "16 KiB"}},
            "again": {"build": {"version": "1.2.0", "size": "8 KiB"}},
        },
        "update": {"request": "test", "confirm": True},
        "faults": ["none"],
        "trials": 1,
        "seed": 11,
    }
    document.update(changes)
    path = folder / "small.yaml"
    path.write_text(json.dumps(document))
    return path
