"""How long each board's supply takes from the command to the falling edge of VDD, from the proved cuts themselves.

Read are the journals of the latest cuts of each board, because the tables of a large campaign do not hold the commands.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import pandas as pd

from rig.errors import StorageError
from rig.model import Calibration
from rig.report.stock import Stock
from rig.report.words import encodable

LATEST = 16
"""Cuts of each board of a campaign that are read."""


@dataclass(frozen=True, kw_only=True)
class EdgeRow:
    """One board on one supply: seconds from the command to VDD low.

    `jitter_s` is the standard deviation, None for a single cut; `calibrated_s` what the board's self-test had measured.
    """

    board: str
    driver: str
    cuts: int
    median_s: float
    jitter_s: float | None
    shortest_s: float
    longest_s: float
    calibrated_s: float | None


def edges(stock: Stock) -> list[EdgeRow]:
    """Every board whose supply senses VDD, in the order of the boards files; cuts of several campaigns count together."""
    found: dict[tuple[str, str], list[float]] = {}
    calibrations: dict[tuple[str, str], Calibration | None] = {}
    for label, campaign in zip(stock.labels, stock.campaigns, strict=True):
        proved = _with_proved_cut(stock, label)
        for board in campaign.plan.boards:
            name = encodable(board.name)
            key = (name, board.supply.driver)
            calibrations[key] = board.calibration
            for trial in proved.loc[proved["board"].eq(name), "trial"].tail(LATEST):
                found.setdefault(key, []).extend(_latencies(stock, label, str(trial)))
    return [_row(board, driver, latencies, calibrations[board, driver]) for (board, driver), latencies in found.items() if latencies]


def _with_proved_cut(stock: Stock, label: str) -> pd.DataFrame:
    trials = stock.trials
    mine = trials["campaign"].eq(label) & trials["fault"].eq("power-cut")
    return trials[mine & trials["fault_proved"].fillna(value=False).astype(bool)]


def _latencies(stock: Stock, label: str, trial: str) -> Iterator[float]:
    """Of each cut of a trial that the supply itself saw arrive."""
    try:
        events = stock.campaign(label).journal(trial).events
    except StorageError:
        return
    commanded: dict[int, int] = {}
    fell: dict[int, int] = {}
    for event in events:
        number = int(event.data.get("n", 0))
        if event.kind == "fault.requested" and "command_t_ns" in event.data:
            commanded[number] = event.data["command_t_ns"]
        elif event.kind == "fault.delivered" and "vdd_fell_t_ns" in event.data:
            fell[number] = event.data["vdd_fell_t_ns"]
        elif event.kind == "fault.proved" and event.data["evidence"].get("vdd_was_low") and number in commanded and number in fell:
            yield (fell[number] - commanded[number]) / 1e9


def _row(board: str, driver: str, latencies: list[float], calibration: Calibration | None) -> EdgeRow:
    return EdgeRow(
        board=board,
        driver=driver,
        cuts=len(latencies),
        median_s=statistics.median(latencies),
        jitter_s=statistics.stdev(latencies) if len(latencies) > 1 else None,
        shortest_s=min(latencies),
        longest_s=max(latencies),
        calibrated_s=calibration.cut_latency_s if calibration else None,
    )
