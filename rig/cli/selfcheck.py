"""The command that proves the rig: selfcheck."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from rig import config
from rig.cli.exit_codes import EXIT_ACCEPTED, EXIT_HELD, EXIT_RIG
from rig.config import Configuration
from rig.drivers import CLOCKS_OF_BENCH
from rig.errors import ConfigError
from rig.model import Protocol
from rig.run import selfcheck as check
from rig.run.campaign import CampaignRun
from rig.run.prepare import create_campaign
from rig.run.progress import Progress
from rig.run.selfcheck import Caught, KnownBad, Row
from rig.store import Campaign, Session

_PRODUCT, _BOARDS, _MATRIX = "product.yaml", "boards.yaml", "matrix.json"
_MARKS = {Caught.RIGHT: "green", Caught.WRONG: "red", Caught.NOT: "red", Caught.UNDECIDED: "yellow"}


@click.command(short_help="Prove that the practice suite catches every known-bad device.")
@click.argument("products", nargs=-1, metavar="[PRODUCT…]", type=click.Path(path_type=Path))
@click.option("--suite", default="practices", show_default=True, metavar="NAME", help="The scenarios.")
@click.option("--short", is_flag=True, help="Give each defect only the scenarios that concern it, and share one run of the suite among the good boards.")
@click.option("--only", metavar="ID,…", default="", help="Only these defects, for instance M25,M47.")
@click.option("--times", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="How often the good boards run the suite.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Folder for the campaigns.  Default: reports/DATE-TIME-selfcheck.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Worker processes.  Default: one per processor.")
def selfcheck(products: Sequence[Path], suite: str, *, short: bool, only: str, times: int, out: Path | None, jobs: int | None) -> None:
    """Run the practice suite on the good boards of each PRODUCT, and on the same boards with one planted defect each.

    PRODUCT is a folder with product.yaml and boards.yaml; default: every such folder under products/.  Each defect is planted once for
    each protocol, on the first board that can have it, and meets the scenarios until one convicts it.  It is caught when a trial FAILs
    and blames the practice that it violates; a trial that only times out catches nothing.

    Exit code: 0 the good boards pass and every defect is caught and blamed rightly, 1 not so, 2 the rig could not tell, 3 usage.

    \b
    Example:  rig selfcheck --short
              rig selfcheck products/sample-smp --only M12,M25
    """
    began = time.monotonic()
    folders = list(products) or sorted(path.parent for path in Path("products").glob(f"*/{_PRODUCT}"))
    if not folders:
        raise ConfigError(f"no product: name a folder with {_PRODUCT} and {_BOARDS}")
    root = out or Path("reports") / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-selfcheck"
    chosen = tuple(filter(None, only.split(",")))
    rows: list[Row] = []
    planted: dict[Protocol, set[str]] = {}
    for folder in folders:
        configuration = config.load(folder / _BOARDS, [suite], product=folder / _PRODUCT)
        done = planted.setdefault(configuration.scenarios[0].protocol, set())
        bad_ones, defects = check.plant(configuration, short=short, only=chosen, done=done)
        done |= {defect.id for defect in defects.values()}
        good = configuration if short and times == 1 else check.repeated(configuration, times)
        rows += _check(folder, root, good, bad_ones, defects, jobs)
    missing = set(chosen) - {row.defect.id for row in rows if row.defect}
    if missing:
        raise ConfigError(f"no bench of these products can plant {', '.join(sorted(missing))}")
    click.echo(f"\nin {time.monotonic() - began:.0f} s")
    sys.exit(_conclude(rows))


def _check(
    folder: Path, root: Path, good: Configuration, bad: Configuration, defects: Mapping[str, KnownBad], jobs: int | None
) -> list[Row]:
    """Run one product's good and bad boards, and show their part of the matrix."""
    rows: list[Row] = []
    for name, part, planted in (("good", good, {}), ("bad", bad, defects)):
        if part.scenarios:
            rows += _run(_campaign(part, folder, root / folder.name / name), planted, jobs)
        else:
            assert good.scenarios[0].product is not None  # bound when it was loaded
            rows += check.matrix(good.scenarios[0].product, (), {}, planted)
    _show(folder.name, rows)
    (root / folder.name / _MATRIX).write_text(json.dumps([_as_json(row) for row in rows], indent=1) + "\n", encoding="utf-8")
    return rows


def _campaign(configuration: Configuration, folder: Path, out: Path) -> Campaign:
    files = [folder / _BOARDS, folder / _PRODUCT, *dict.fromkeys(Path(scenario.file) for scenario in configuration.scenarios)]
    return create_campaign(
        configuration,
        out,
        seed=None,
        trials=None,
        clock=CLOCKS_OF_BENCH[configuration.boards.bench.driver][0],
        argv=sys.argv,
        configs={str(file): file.read_text(encoding="utf-8") for file in files},
    )


def _run(campaign: Campaign, bad: Mapping[str, KnownBad], jobs: int | None) -> list[Row]:
    click.echo(f"{campaign.path}: {len(campaign.plan.trials)} trials on {len(campaign.plan.boards)} boards")
    with Session(campaign) as session, Progress(campaign, quiet=bool(bad)) as progress:
        enough = check.convicts if bad else lambda _judgement: False
        with CampaignRun(
            session=session, jobs=jobs or os.cpu_count() or 1, progress=progress.advance, has_seen_enough=enough
        ) as running:
            running.run()
    judgements = {record.trial.id: record.judgement for record in campaign.records() if record.judgement}
    product = next(trial.product for trial in campaign.plan.trials if trial.product)
    return list(check.matrix(product, campaign.plan.trials, judgements, bad))


def _show(product: str, rows: Sequence[Row]) -> None:
    click.echo(click.style(f"\n{product}", bold=True))
    for row in rows:
        if row.defect is None:
            colour, word = ("green", "passes") if row.is_as_it_should_be else ("red", "FAILS")
            click.echo(f"  {'good':6} {click.style(f'{word:15}', colour)} {row.board}: {row.trials} trials, {row.failed} FAIL, {row.lost} lost")
            continue
        assert row.caught is not None
        blame = ", ".join(f"{practice.value} {practice.slug}" for practice in row.blamed) or "-"
        by = ", ".join(row.scenarios[:3]) + (f" and {len(row.scenarios) - 3} more" if len(row.scenarios) > 3 else "")
        click.echo(f"  {row.defect.id:6} {click.style(f'{row.caught:15}', _MARKS[row.caught])} {blame:24} {row.defect.title}; by {by or 'none'}")


def _as_json(row: Row) -> dict[str, object]:
    return {
        "board": row.board,
        "defect": row.defect.id if row.defect else None,
        "trials": row.trials,
        "failed": row.failed,
        "lost": row.lost,
        "scenarios": list(row.scenarios),
        "blamed": [practice.slug for practice in row.blamed],
        "expected": [practice.slug for practice in row.defect.practices] if row.defect else [],
        "caught": row.caught.value if row.caught else None,
    }


def _conclude(rows: Sequence[Row]) -> int:
    good = [row for row in rows if row.defect is None]
    bad = [row for row in rows if row.defect is not None]
    caught = sum(row.caught in (Caught.RIGHT, Caught.WRONG) for row in bad)
    right = sum(row.caught is Caught.RIGHT for row in bad)
    click.echo(f"good boards: {sum(row.trials for row in good)} trials, {sum(row.failed for row in good)} FAIL, {sum(row.lost for row in good)} lost")
    click.echo(f"defects: {len({row.defect.id for row in bad if row.defect})} on {len(bad)} boards, {caught} caught, {right} on the right practice")
    if all(row.is_as_it_should_be for row in rows):
        return EXIT_ACCEPTED
    told = any(row.failed for row in good) or any(row.caught in (Caught.WRONG, Caught.NOT) for row in bad)
    return EXIT_HELD if told else EXIT_RIG


COMMANDS = (selfcheck,)
