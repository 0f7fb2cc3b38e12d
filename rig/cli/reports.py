"""Commands about what is stored: report, compare, trend."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

import click

from rig.cli.exit_codes import EXIT_ACCEPTED, EXIT_HELD
from rig.errors import ConfigError
from rig.gates import Gates

_DIRS = click.argument("directories", metavar="DIR…", nargs=-1, required=True, type=click.Path(path_type=Path))


@click.command(short_help="Make the report of stored campaigns.")
@_DIRS
@click.option("--baseline", multiple=True, metavar="DIR", type=click.Path(path_type=Path), help="Campaign of the release before; may be given several times.")
@click.option("--gates", "gates_file", metavar="FILE", help="What a release must reach; see gates.yaml.")
@click.option("--format", "formats", metavar="LIST", help="Some of html, pdf, junit, md, csv, parquet, with commas.  Default: html,junit,md,csv, and parquet where pyarrow is installed.")
@click.option("--out", metavar="DIR", type=click.Path(path_type=Path), help="Folder for the files.  Default: the campaign's own, or report-of-N-campaigns beside several.")
def report(
    directories: tuple[Path, ...], baseline: tuple[Path, ...], gates_file: str | None, formats: str | None, out: Path | None
) -> None:
    """Report on stored campaigns, several of them together; needs no bench.

    Exit code: 0 ship (or accepted, without gates), 1 hold, 2 not decided, 3 usage.

    \b
    Example:  rig report reports/night-17
              rig report reports/night-1? --baseline reports/1.3.1 --gates gates.yaml --out reports/release-1.4.0
    """
    gates = _gates(gates_file) if gates_file is not None else None
    chosen = [word.strip() for word in formats.split(",") if word.strip()] if formats is not None else None
    if chosen is not None and not chosen:
        raise ConfigError("--format: names no format")
    sys.exit(conclude(directories, baseline=baseline, gates=gates, formats=chosen, out=out))


def _gates(file: str) -> Gates:
    from rig.config import load_gates  # noqa: PLC0415 - the schemas take a third of a second, which most reports do not need

    return load_gates(file)


@click.command(short_help="Hold one campaign against another.")
@click.argument("new", metavar="NEW", type=click.Path(path_type=Path))
@click.argument("baseline", metavar="BASELINE", type=click.Path(path_type=Path))
def compare(new: Path, baseline: Path) -> None:
    """Say how the campaign at NEW stands against BASELINE: failures, update time, signatures that are new or gone.

    Exit code: 0 not shown to be worse, 1 fails significantly oftener or in new ways, 3 usage.

    \b
    Example:  rig compare reports/1.4.0 reports/1.3.1
    """
    from rig.report import compare as compared  # noqa: PLC0415 - as in conclude

    lines, worse = compared([new], [baseline])
    click.echo("\n".join(lines))
    sys.exit(EXIT_HELD if worse else EXIT_ACCEPTED)


@click.command(short_help="Show campaigns night by night.")
@_DIRS
def trend(directories: tuple[Path, ...]) -> None:
    """Show failures, update time and losses of campaigns in the order of their dates, and whether they fail alike.

    \b
    Example:  rig trend reports/night-*
    """
    from rig.report import trend as series  # noqa: PLC0415 - as in conclude

    click.echo(series(directories))


def conclude(
    directories: Sequence[Path],
    *,
    baseline: Sequence[Path] = (),
    gates: Gates | None = None,
    formats: Collection[str] | None = None,
    out: Path | None = None,
) -> int:
    """Write the report, print verdict, counts and paths, and return the exit code."""
    from rig.report import build_report  # noqa: PLC0415 - pandas and scipy take a second that other commands need not wait for

    built = build_report(directories, baseline=baseline, gates=gates, formats=formats, out=out)
    click.echo()
    click.echo(f"{built.verdict.word.value.upper()}: {built.verdict.reason}")
    for line in built.gates:
        click.echo(f"  {line}")
    for title in ("trials", "outcomes", "faults"):
        click.echo(f"  {title:9} " + ", ".join(f"{name} {number}" for name, number in built.summary[title].items()))
    click.echo(f"  report    {built.written[0]}")
    return built.verdict.exit_code


COMMANDS = (report, compare, trend)
