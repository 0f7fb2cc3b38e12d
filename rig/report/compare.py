"""Two releases, or a series of campaigns, as lines of text for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rig.report import breakdown
from rig.report import trend as series
from rig.report.build import check_baseline
from rig.report.signatures import Signature, signatures
from rig.report.statistics.shift import shift
from rig.report.stock import Stock, read_stock
from rig.report.words import at_most, count, percent, phase, signed_percent, signed_seconds

if TYPE_CHECKING:
    from rig.report.statistics.releases import ReleaseComparison


def compare(new: Sequence[Path], baseline: Sequence[Path]) -> tuple[list[str], bool]:
    """How `new` stands against `baseline`, line by line; and whether it fails significantly oftener or in new ways.

    Raises:
        ConfigError, StorageError: as `rig.report.build_report`.
    """
    from rig.report.statistics.releases import compare_failures  # noqa: PLC0415 - half a second, which a report without baseline need not cost

    ours, theirs = read_stock(new), read_stock(baseline)
    check_baseline(ours, theirs)
    found = compare_failures(breakdown.interrupted_updates(ours.trials)[0], breakdown.interrupted_updates(theirs.trials)[0])
    novel = [signature for signature in signatures(ours, theirs) if not signature.known]
    gone = [signature for signature in signatures(theirs, ours) if not signature.known]
    lines = [*_rates(found), *_times(ours, theirs)]
    lines += [f"new signature {_signature(one)}" for one in novel] or ["no new signature"]
    lines += [f"no longer seen {_signature(one)}" for one in gone]
    return lines, found.worse or bool(novel)


def _rates(found: ReleaseComparison) -> list[str]:
    lines = [
        f"failed      {found.new.failed:,} of {count(found.new.trials, 'interrupted update')}, baseline {found.baseline.failed:,} of {found.baseline.trials:,}"
    ]
    if found.difference is not None and found.low is not None and found.high is not None and found.p_worse is not None:
        lines.append(
            f"difference  {signed_percent(found.difference)}, 95 % interval {signed_percent(found.low)} to {signed_percent(found.high)}; "
            f"one-sided score test p = {found.p_worse:.2g}: {'worse' if found.worse else 'not shown to be worse'}"
        )
    if found.noticeable is not None and not found.worse:
        lines.append(f"            only {percent(found.noticeable)} failures or more would have been noticed")
    if found.lacking:
        lines.append(f"            {found.lacking}")
    return lines


def _times(ours: Stock, theirs: Stock) -> list[str]:
    new, old = breakdown.update_times(ours.trials), breakdown.update_times(theirs.trials)
    found = shift(new, old)
    if found.estimate is None or found.low is None or found.high is None:
        return [f"update time {found.lacking}"]
    word = "changed" if found.changed else "no change shown"
    between = f"95 % interval {signed_seconds(found.low)} to {signed_seconds(found.high)}"
    return [
        f"update time {signed_seconds(found.estimate)}, {between} ({found.n_new:,} against {found.n_baseline:,} undisturbed updates): {word}"
    ]


def _signature(one: Signature) -> str:
    last = f", last on the console: {one.last_line}" if one.last_line else ""
    return f"{one.id}: {len(one.members):,} \N{MULTIPLICATION SIGN} {one.outcome} in {phase(one.phase)}, {one.boot}{last}; first {one.members[0].trial}"


def trend(folders: Sequence[Path]) -> str:
    """Campaigns in the order of their dates, one line each, and whether they fail alike.

    Raises:
        ConfigError, StorageError: as `rig.report.build_report`.
    """
    stock = read_stock(folders)
    nights = breakdown.nights(stock)
    text = series.as_text(series.nights(stock))
    if stock.single:
        return f"{text}\none campaign is no trend"
    return f"{text}\n{nights.homogeneity.note}; the bound of all together is {at_most(nights.leave_one_out.bound)}"

