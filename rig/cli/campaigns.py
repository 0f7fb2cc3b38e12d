"""Commands about campaigns: check, plan, run, resume, judge, schema."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rig import config
from rig.cli.exit_codes import EXIT_INTERRUPTED
from rig.cli.reports import conclude
from rig.drivers import CLOCKS_OF_BENCH
from rig.errors import ConfigError
from rig.run import again
from rig.run.campaign import CampaignRun
from rig.run.prepare import create_campaign, plan_trials
from rig.run.progress import Progress
from rig.run.rounds import run_in_rounds
from rig.run.wear import check_wear
from rig.store import Campaign, Session

_REPORTS = Path("reports")
"""Where campaigns lie unless `--out` says otherwise."""

_SCENARIOS = click.argument("scenarios", nargs=-1, required=True, metavar="SCENARIO…")
_BOARDS = click.option("--boards", default="boards.yaml", show_default=True, metavar="FILE", help="The boards file.")
_PRODUCT = click.option("--product", metavar="FILE", help="The product file that the practices are tested for.")
_SEED = click.option("--seed", type=click.IntRange(min=0), metavar="N", help="Seed instead of the scenarios' own.")
_TRIALS = click.option("--trials", type=click.IntRange(min=1), metavar="N", help="Trials per scenario instead of its own number.")
_JOBS = click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Worker processes.  Default: one per processor, or per board on the wall clock."
)
_DIR = click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))


@click.command(short_help="Check boards and scenarios; touch nothing.")
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO…]")
@_BOARDS
@_PRODUCT
def check(scenarios: tuple[str, ...], boards: str, product: str | None) -> None:
    """Check the boards file, and scenarios with their images if any are named.  All mistakes are shown at once, with their place.

    \b
    Example:  rig check tests_hil/scenarios --boards boards.yaml
    """
    if scenarios:
        configuration = config.load(boards, scenarios, product=product)
        with tempfile.TemporaryDirectory(prefix="rig-images-") as folder:
            is_limited = any(board.wear is not None for board in configuration.boards.boards)
            dealt = plan_trials(configuration, Path(folder), seed=None, trials=None if is_limited else 1)
        check_wear(configuration, dealt, _REPORTS)
        number = len(configuration.boards.boards)
        click.echo(f"{boards}: {number} boards; {len(configuration.scenarios)} scenarios: all is well")
        _tell_left_out(configuration.left_out)
    else:
        if product is not None:
            click.echo(f"{product}: product {config.load_product(product).name}: all is well")
        click.echo(f"{boards}: {len(config.load_boards(boards).boards)} boards: all is well")


@click.command(short_help="Show what a run would do, or write it down for later.")
@_SCENARIOS
@_BOARDS
@_PRODUCT
@_SEED
@_TRIALS
@click.option("--clock", type=click.Choice(["virtual", "wall"]), help="Which clock a later `rig resume` uses.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Write the campaign folder; `rig resume DIR` runs it.")
def plan(
    scenarios: tuple[str, ...],
    boards: str,
    product: str | None,
    seed: int | None,
    trials: int | None,
    clock: str | None,
    out: Path | None,
) -> None:
    """Deal out the trials and show how many of each kind there are.

    \b
    Example:  rig plan smp-demo --trials 40
              rig plan smp-demo --out reports/tonight && rig resume reports/tonight
    """
    if out is not None:
        campaign = _create(scenarios, boards, out, product=product, seed=seed, trials=trials, clock=clock)
        click.echo(f"{len(campaign.plan.trials)} trials are planned in {campaign.path}; run them with: rig resume {campaign.path}")
        return
    with tempfile.TemporaryDirectory(prefix="rig-images-") as folder:
        configuration = config.load(boards, scenarios, product=product)
        dealt = plan_trials(configuration, Path(folder), seed=seed, trials=trials)
    check_wear(configuration, dealt, _REPORTS)
    counts: dict[tuple[str, str], dict[str, int]] = {}
    for trial in dealt.trials:
        row = counts.setdefault((trial.scenario, trial.stratum), {})
        row[trial.board] = row.get(trial.board, 0) + 1
    for (scenario, stratum), by_board in counts.items():
        spread = "  ".join(f"{board} {number}" for board, number in sorted(by_board.items()))
        click.echo(f"{scenario:28} {stratum:16} {sum(by_board.values()):5}   {spread}")
    click.echo(f"{len(dealt.trials)} trials")
    for aimed in dealt.aimed:
        click.echo(f"{aimed.scenario:28} at most {aimed.budget} more on {aimed.soc}, planned in rounds ({aimed.plan})")
    _tell_left_out(configuration.left_out)


@click.command(short_help="Plan, run, judge and report a campaign.")
@_SCENARIOS
@_BOARDS
@_PRODUCT
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Campaign folder to make.  Default: reports/DATE-TIME-SCENARIO.")
@_TRIALS
@_SEED
@_JOBS
@click.option("--clock", type=click.Choice(["virtual", "wall"]), help="Default: the bench's own; virtual where time can be simulated.")
def run(
    scenarios: tuple[str, ...],
    boards: str,
    product: str | None,
    out: Path | None,
    trials: int | None,
    seed: int | None,
    jobs: int | None,
    clock: str | None,
) -> None:
    """Run scenarios (files, folders, or names in tests_hil/scenarios) on the boards of a boards file.

    With --product, scenarios that prove practices are bound to it; those that can say nothing about it are left out.

    Exit code: 0 accepted, 1 held (more devices failed than allowed), 2 inconclusive because of the rig, 3 usage or configuration.

    \b
    Example:  rig run smp-demo --trials 40 --jobs 2
              rig run nightly/*.yaml --boards lab.yaml --out reports/night-17
              rig run practices --product products/sample-smp/product.yaml --boards products/sample-smp/boards.yaml
    """
    if out is None:
        name = Path(scenarios[0]).stem + ("" if len(scenarios) == 1 else f"-and-{len(scenarios) - 1}-more")
        out = _REPORTS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
    _execute(_create(scenarios, boards, out, product=product, seed=seed, trials=trials, clock=clock), jobs)


@click.command(short_help="Go on with a campaign that was stopped.")
@_DIR
@_JOBS
def resume(directory: Path, jobs: int | None) -> None:
    """Run what is still pending in the campaign at DIR.  Judged trials stay; interrupted attempts are kept aside and run anew.

    A board that was quarantined is tried again: its recovery ladder first, then its trials.

    \b
    Example:  rig resume reports/20261122-221500-smp-demo
    """
    _execute(Campaign.open(directory), jobs)


@click.command(short_help="Judge stored journals again.")
@_DIR
def judge(directory: Path) -> None:
    """Judge every trial of DIR from its journal, with the judge of this version; former judgements are kept beside.

    \b
    Example:  rig judge reports/night-17
    """
    campaign = Campaign.open(directory)
    with Session(campaign) as session:
        changed = again.judge_again(session)
    for before, after in changed:
        click.echo(f"{after.trial}: {before.verdict} {before.outcome} → {after.verdict} {after.outcome}: {after.reason}")
    click.echo(f"{len(changed)} of {len(campaign.plan.trials)} judgements changed")
    sys.exit(conclude([campaign.path]))


@click.command(short_help="Print the JSON Schema of a kind of file.")
@click.argument("kind", type=click.Choice(config.SCHEMA_KINDS), required=False)
def schema(kind: Any) -> None:
    """Print the JSON Schema of boards, scenario, product or gates files, for editors; without KIND, an object with all of them.

    \b
    Example:  rig schema boards > boards.schema.json
    """
    if kind is not None:
        click.echo(config.schema_json(kind))
    else:
        click.echo(json.dumps({name: json.loads(config.schema_json(name)) for name in config.SCHEMA_KINDS}, indent=2))


# ------------------------------------------------------------------------------------------------------------------- steps
def _tell_left_out(names: Sequence[str]) -> None:
    if names:
        click.echo(f"left out, since they have nothing to say about the product: {', '.join(names)}")


def _create(
    scenarios: Sequence[str],
    boards: str,
    out: Path,
    *,
    product: str | None,
    seed: int | None,
    trials: int | None,
    clock: str | None,
) -> Campaign:
    configuration = config.load(boards, scenarios, product=product)
    _tell_left_out(configuration.left_out)
    clocks = CLOCKS_OF_BENCH[configuration.boards.bench.driver]
    if clock is not None and clock not in clocks:
        raise ConfigError(f"--clock {clock}: the bench {configuration.boards.bench.driver!r} of {boards} has only: {', '.join(clocks)}")
    files = [boards, *([product] if product else []), *dict.fromkeys(scenario.file for scenario in configuration.scenarios)]
    return create_campaign(
        configuration,
        out,
        seed=seed,
        trials=trials,
        clock=clock or clocks[0],
        argv=sys.argv,
        configs={file: Path(file).read_text(encoding="utf-8") for file in files},
    )


def _execute(campaign: Campaign, jobs: int | None) -> None:
    """Run what is pending, then report; ends the command with the campaign's exit code."""
    wanted = jobs or (len(campaign.plan.boards) if campaign.plan.clock == "wall" else os.cpu_count() or 1)
    pending = len(campaign.pending_trials())
    total = len(campaign.plan.trials)
    click.echo(f"{campaign.path}: {pending} of {total} trials to run on {len(campaign.plan.boards)} boards, seed {campaign.plan.seed}")
    if campaign.plan.aimed:
        most = sum(aimed.budget for aimed in campaign.plan.aimed)
        click.echo(f"at most {most} with aimed cuts are planned while it runs, in rounds; see them with: rig coverage {campaign.path}")
    with Session(campaign) as session:
        for note in session.notes:
            click.echo(note)

        progress = Progress(campaign)
        running = CampaignRun(
            session=session, jobs=wanted, progress=progress.advance, rescued=progress.rescue, waits=progress.wait, warn=progress.warn
        )

        def run_pending() -> None:
            with progress:
                running.run()

        try:
            with running:
                run_in_rounds(session, run_pending)
        except KeyboardInterrupt:
            click.echo(f"\nstopped; nothing is lost.  Go on with: rig resume {campaign.path}", err=True)
            sys.exit(EXIT_INTERRUPTED)
    for board, recovery in campaign.quarantined().items():
        number = len(recovery.not_run)
        click.echo(f"{board} is quarantined, {number} of its trials were not run: {recovery.quarantine}")
        click.echo(f"    when it is mended, go on with: rig resume {campaign.path}")
    sys.exit(conclude([campaign.path]))


COMMANDS = (check, plan, run, resume, judge, schema)
