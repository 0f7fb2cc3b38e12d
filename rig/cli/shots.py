"""Commands about single shots and where they fell: replay, shrink, coverage."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import cycle, islice
from pathlib import Path

import click

from rig import config
from rig.cli.exit_codes import EXIT_ACCEPTED, EXIT_HELD, EXIT_RIG
from rig.coverage import Coverage, Known, Shot, coverage, cuts_until
from rig.drivers import CLOCKS_OF_BENCH
from rig.errors import ConfigError
from rig.model import Aim, CutPlace, Judgement, Verdict
from rig.plan import Aiming, next_aims, targets
from rig.run import again
from rig.run.rounds import Rounds
from rig.run.shrink import Shrinking, describe, describe_operation
from rig.store import Campaign, Session

_DIR = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
_TRIAL = click.argument("trial", metavar="TRIAL")
_RUNS_SHOWN = 8
_SHARES = (0.5, 0.9, 1.0)
"""Of the operations of a plan: `rig coverage` tells how many cuts it took to strike them."""
_NEXT = 5


@click.command(short_help="Run one trial again.")
@_DIR
@_TRIAL
@click.option("--times", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="How often.")
@click.option("--boards", metavar="FILE", help="Boards file with other boards of the same kind, which take turns.")
@click.option("--fresh", is_flag=True, help="From the second time on, let chance fall out differently.")
def replay(directory: Path, trial: str, times: int, boards: str | None, fresh: bool) -> None:
    """Repeat TRIAL of the campaign at DIR with everything that was drawn for it, and compare.  Repetitions never count.

    Exit code: 0 every repetition ended as the trial did, 1 one did not, 2 the rig could not tell.

    \b
    Example:  rig replay reports/night-17 T-0042 --times 20 --fresh
              rig replay reports/night-17 T-0042 --times 20 --boards other.yaml
    """
    campaign = Campaign.open(directory)
    original = campaign.record(trial).judgement
    stands = _stands(campaign, trial, boards) if boards else [None]
    results = []
    with Session(campaign) as session:
        for number, stand in enumerate(islice(cycle(stands), times)):
            result = again.replay(session, trial, stand=stand, chance=number if fresh else 0)
            results.append(result.judgement)
            same = {True: "journal identical", False: "journal differs", None: "no journal to compare with"}[result.identical]
            place = f" on {stand.board.name}" if stand else ""
            click.echo(f"{trial}{place}: {result.judgement.verdict} {result.judgement.outcome} ({same}): {result.judgement.reason}")
            click.echo(f"    {result.folder}")
    sys.exit(_tell_rate(original, results))


def _stands(campaign: Campaign, trial_id: str, boards: str) -> list[again.Stand | None]:
    trial = campaign.trial(trial_id)
    original = again.own_stand(campaign, trial).board
    found = config.load_boards(boards)
    stands = again.stands_for(trial, original, found.boards, found.bench, CLOCKS_OF_BENCH[found.bench.driver][0])
    if not stands:
        raise ConfigError(f"{boards}: no board can take the images of {trial_id}: it needs {original.soc}, {original.protocol}, the same memory map")
    return list(stands)


def _tell_rate(original: Judgement | None, results: Sequence[Judgement]) -> int:
    """How many ended as the trial did, with the exact interval of the rate; returns the exit code."""
    told = [judgement for judgement in results if judgement.verdict not in (Verdict.ERROR, Verdict.INCONCLUSIVE)]
    if original is not None:
        agreed = sum((judgement.verdict, judgement.outcome) == (original.verdict, original.outcome) for judgement in told)
        click.echo(f"{agreed} of {len(results)} ended as in the campaign: {original.verdict} {original.outcome}")
        if len(told) > 1:
            from rig.report.statistics.proportions import interval  # noqa: PLC0415 - pandas and scipy; other commands need not wait

            low, high = interval(agreed, len(told))
            click.echo(f"it reproduces in {agreed / len(told):.0%} of the shots that tell ({low:.1%} to {high:.1%} with 95 % confidence)")
    if original is None or len(told) < len(results):
        return EXIT_RIG
    return EXIT_ACCEPTED if agreed == len(results) else EXIT_HELD


@click.command(short_help="Find the smallest programme that still fails.")
@_DIR
@_TRIAL
def shrink(directory: Path, trial: str) -> None:
    """Make the faults of TRIAL fewer, shorter and simpler as long as it fails as it did, and name the flash operation that matters.

    Nothing of this counts; every run is kept under DIR/shrinks.  Exit code: 0 shrunk, 1 it does not fail any more.

    \b
    Example:  rig shrink reports/night-17 T-0042
    """
    campaign = Campaign.open(directory)
    with Session(campaign) as session:
        found = Shrinking(session, trial, lambda text: click.echo(f"    {text}")).run()
    if found is None:
        click.echo(f"{trial} does not fail any more; see how often it does with: rig replay {directory} {trial} --times 20 --fresh")
        sys.exit(EXIT_HELD)
    click.echo(f"{trial}: {found.judgement.verdict} {found.judgement.outcome} with: {describe(found.trial)}")
    for struck in found.around:
        click.echo(f"{struck.judgement.verdict:5} {struck.judgement.outcome:20} a cut in {describe_operation(struck.operation)}")
    failing = [struck for struck in found.around if struck.judgement.verdict is Verdict.FAIL]
    if len(failing) == 1:
        click.echo(f"it is this one operation: {describe_operation(failing[0].operation)}")
    click.echo(f"{found.runs} runs")


@click.command(name="coverage", short_help="Show which flash operations cuts have struck.")
@_DIR
def coverage_(directory: Path) -> None:
    """Show by phase and by kind which flash operations are known, aimed at, struck inside, cut at a boundary, and which never; what is next.

    Only campaigns with aimed cuts (`aim` in the scenario) learn the operations of an update.

    \b
    Example:  rig coverage reports/night-17
    """
    campaign = Campaign.open(directory)
    if not campaign.plan.aimed:
        click.echo("no cut of this campaign is aimed at flash operations")
    rounds = Rounds(campaign)
    for index, aimed in enumerate(campaign.plan.aimed):
        progress = rounds.progress(index)
        click.echo(f"{aimed.scenario} on {aimed.soc}: {progress.planned} of at most {aimed.budget} trials in {len(campaign.rounds)} rounds")
        _show(coverage(progress.known, progress.shots))
        _show_pace(targets(aimed, progress.known), progress.shots)
        for board, lead in Aiming(progress.known, progress.shots).leads().items():
            click.echo(f"  {board}: {lead.mean_s * 1e3:.3f} ms from command to effect, ± {lead.spread_s * 1e6:.0f} µs")
        if following := next_aims(aimed, progress, _NEXT):
            click.echo(f"  next: {', '.join(map(_short, following))}")


def _show(found: Coverage) -> None:
    if found.share is None:
        click.echo("  no operation is known yet")
        return
    click.echo(f"  {'phase':12} {'kind':8} {'known':>6} {'aimed':>6} {'hit':>6} {'inside':>6} {'edges':>6}  never inside; never at a boundary")
    for cell in found.cells():
        phase = cell.phase.value + (f" #{cell.occurrence}" if cell.occurrence > 1 else "")
        counts = f"{cell.known:6} {cell.aimed:6} {cell.hit:6} {cell.inside:6} {cell.at_boundary:6}"
        click.echo(f"  {phase:12} {cell.kind:8} {counts}  {_runs(cell.never_inside)}; {_runs(cell.never_at_boundary)}")
    inside, at_boundary = found.share_at(CutPlace.INSIDE), found.share_at(CutPlace.BOUNDARY)
    click.echo(f"  {found.share:.1%} of {len(found.known)} operations hit; {inside:.1%} inside, {at_boundary:.1%} at a boundary")


def _show_pace(wanted: Sequence[Known], shots: Sequence[Shot]) -> None:
    """How many cuts it took to strike parts of what the plan may aim at."""
    if not wanted or not shots:
        return
    paces = [(f"{share:.0%}", cuts_until(share, wanted, shots)) for share in _SHARES]
    reached = ", ".join(f"{share} after {cuts} cuts" for share, cuts in paces if cuts is not None)
    click.echo(f"  of the {len(wanted)} operations of this plan were struck: {reached or 'fewer than half'} ({len(shots)} cuts in all)")


def _runs(numbers: Sequence[int]) -> str:
    """Numbers in ascending order with runs drawn together: "3, 5-9"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    shown = ", ".join("-".join(map(str, run)) for run in runs[:_RUNS_SHOWN])
    return (shown + (", …" if len(runs) > _RUNS_SHOWN else "")) or "-"


def _short(aim: Aim) -> str:
    where = f"boundary at {aim.inside:.0%}, " if aim.place is CutPlace.BOUNDARY else ""
    return f"{aim.phase} {aim.number} ({aim.kind}, {where}{aim.drawn})"


COMMANDS = (replay, shrink, coverage_)
