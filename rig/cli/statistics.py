"""`rig stats`: what a claim costs, before a campaign is planned."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rig.errors import ConfigError
from rig.store import Campaign

if TYPE_CHECKING:
    from rig.report.statistics.planning import Effort

_MOST_FAILURES = 1_000_000
_SMALLEST_P = 1e-9


def _finite(_: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse what click's ranges let through."""
    if value is not None and not math.isfinite(value):
        raise click.BadParameter(f"{value} is not a number to reckon with.", param=parameter)
    return value


@click.group(short_help="Say what a claim about failures costs.")
def stats() -> None:
    """Say what a claim about failures costs, before a campaign is planned."""


@stats.command(short_help="How many trials a claim needs, and how long they take.")
@click.argument("directory", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
@click.option(
    "--p",
    "limit",
    required=True,
    type=click.FloatRange(_SMALLEST_P, 1.0, max_open=True),
    callback=_finite,
    metavar="P",
    help="The claim: a trial fails with a probability below P, for instance 0.001.",
)
@click.option(
    "--confidence",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0.0, 1.0, min_open=True, max_open=True),
    callback=_finite,
    metavar="C",
    help="How sure the claim is to be.",
)
@click.option(
    "--failures", default=0, show_default=True, type=click.IntRange(0, _MOST_FAILURES), metavar="K", help="How many trials may fail."
)
@click.option(
    "--rate",
    type=click.FloatRange(0.0, min_open=True),
    callback=_finite,
    metavar="N",
    help="Conclusive trials per hour, instead of those of the campaign at DIR.",
)
def need(directory: Path | None, limit: float, confidence: float, failures: int, rate: float | None) -> None:
    """Say how many conclusive trials show that a trial fails with a probability below P, and how long they take.

    The time follows from the pace of the campaign stored at DIR, or from --rate.  The length must be fixed before the campaign.

    \b
    Example:  rig stats need --p 0.001 --confidence 0.95 reports/night-17
              rig stats need --p 0.01 --failures 2 --rate 820
    """
    if directory is not None and rate is not None:
        raise click.UsageError("Give either DIR or --rate, not both.")
    from rig.report.statistics.planning import effort, trials_needed  # noqa: PLC0415 - pandas and scipy; other commands need not wait

    source = ""
    if directory is not None:
        rate, source = _pace(directory)
    wanted = effort(limit, failures, confidence, per_hour=rate)
    click.echo(_claim(wanted))
    more = trials_needed(limit, failures + 1, confidence)
    click.echo(f"{'One' if failures == 0 else 'One more'} failure raises that to {more:,}.")
    click.echo(_time(wanted, rate, source))


def _pace(directory: Path) -> tuple[float, str]:
    """Conclusive trials per hour of a stored campaign, and where that comes from."""
    from rig.report import words  # noqa: PLC0415 - as above
    from rig.report.statistics.pace import pace_of  # noqa: PLC0415 - as above

    campaign = Campaign.open(directory)
    pace = pace_of(campaign.records())
    if pace.per_hour is None:
        raise ConfigError(f"{directory}: {pace.lacking}; name another campaign, or give --rate")
    clock = ", simulated" if campaign.plan.clock == "virtual" else ""
    done = f"{words.count(pace.conclusive, 'trial')} on {words.count(pace.boards, 'board')} in {words.seconds(pace.seconds)}{clock}"
    return pace.per_hour, f" ({campaign.plan.campaign}: {done})"


def _claim(wanted: Effort) -> str:
    failures = f"{wanted.failures:,} failure{'' if wanted.failures == 1 else 's'}"
    allowed = f"with at most {failures}" if wanted.failures else "without a failure"
    claim = f"a failure probability below {_percent(wanted.limit)} with {_percent(wanted.confidence)} confidence"
    one = wanted.trials == 1
    return f"{wanted.trials:,} conclusive trial{'' if one else 's'} {allowed} show{'s' if one else ''} {claim}."


def _time(wanted: Effort, rate: float | None, source: str) -> str:
    from rig.report import words  # noqa: PLC0415 - as above

    if wanted.hours is None:
        return "How long that takes follows from a campaign of this bench (name its folder) or from --rate."
    return f"At {rate:,.4g} an hour{source} that takes {words.seconds(3600 * wanted.hours)}."


def _percent(share: float) -> str:
    return f"{100 * share:.10g} %"


COMMANDS = (stats,)
