"""Commands about the bench itself: doctor, drivers."""

from __future__ import annotations

import shutil
import sys
import textwrap
from pathlib import Path

import click

from rig import __version__, config
from rig.cli.exit_codes import EXIT_RIG
from rig.doctor import Examination, Finding, Status, examine, list_drivers, this_machine

_COLOURS = {Status.OK: "green", Status.WARN: "yellow", Status.MISSING: "red"}
_NOT_NEEDED = "not needed"
_REPORTS = Path("reports")
_STATUS_WIDTH, _NAME_WIDTH = 10, 15
_INDENT = 2 + _STATUS_WIDTH + 1 + _NAME_WIDTH + 1
_NARROWEST = 40


@click.command(short_help="Show what is installed and usable on this machine.")
@click.option("--boards", metavar="FILE", help="Say what is needed for the boards of FILE, and check the ports that it names.")
def doctor(boards: str | None) -> None:
    """Look at this machine: software, Bluetooth, serial ports, instruments, probes; and say how to mend what is missing.

    Nothing is changed or switched, and no instrument is opened.

    Exit code: 0 nothing is missing that the boards of FILE need (always without FILE), 2 something is, 3 usage.

    \b
    Example:  rig doctor
              rig doctor --boards lab.yaml
    """
    file = config.load_boards(boards) if boards is not None else None
    result = examine(this_machine(), file.boards if file is not None else None, reports=_REPORTS)
    click.echo(f"rig {__version__}")
    for title, findings in result.groups:
        click.secho(f"\n{title}", bold=True)
        for finding in findings:
            _show(finding, needed=result.is_needed(finding))
    if boards is not None:
        click.echo(f"\n{_conclusion(result, boards)}")
    sys.exit(EXIT_RIG if result.wrong else 0)


def _show(finding: Finding, *, needed: bool) -> None:
    """Status in words first; a fix only for what matters."""
    if finding.status is Status.OK or needed:
        status = click.style(f"{finding.status:<{_STATUS_WIDTH}}", fg=_COLOURS[finding.status])
    else:
        status = click.style(f"{_NOT_NEEDED:<{_STATUS_WIDTH}}", dim=True)
    lines = _wrapped(finding.says, _INDENT)
    if finding.fix and needed:
        lines += _wrapped(f"fix: {finding.fix}", _INDENT)
    click.echo(f"  {status} {finding.part:<{_NAME_WIDTH}} {lines[0]}")
    for line in lines[1:]:
        click.echo(" " * _INDENT + line)


def _wrapped(text: str, indent: int) -> list[str]:
    """`text` cut to what the terminal has right of `indent`; whole where nobody looks, so that grep finds it."""
    if not sys.stdout.isatty():
        return [text]
    width = max(shutil.get_terminal_size().columns - indent, _NARROWEST)
    return textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False)


def _conclusion(result: Examination, boards: str) -> str:
    if not result.wrong:
        return f"{boards}: everything that these boards need is here."
    return f"{boards}: missing for these boards: {', '.join(finding.part for finding in result.wrong)}."


@click.command(short_help="List the drivers that a boards file can name.")
def drivers() -> None:
    """List the drivers by port, with what they can do and what they need.

    "Tried on hardware" says whether a driver has ever worked with the real instrument.  An extra is installed by `scripts/setup EXTRA`.

    \b
    Example:  rig drivers
    """
    rows = [("PORT", "DRIVER", "TRIED ON HARDWARE", "EXTRA")]
    texts = ["WHAT"]
    for entry in list_drivers():
        rows.append((entry.port, entry.name, "yes" if entry.tried_on_hardware else "no", entry.extra or "-"))
        texts.append(f"{entry.what}; can {', '.join(entry.capabilities)}" if entry.capabilities else entry.what)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    indent = sum(widths) + 2 * len(widths)
    for row, text in zip(rows, texts, strict=True):
        lines = _wrapped(text, indent)
        click.echo("".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=True)) + lines[0])
        for line in lines[1:]:
            click.echo(" " * indent + line)


COMMANDS = (doctor, drivers)
