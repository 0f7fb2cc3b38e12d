"""`rig update`: one plain update at the desk, with progress and a clear error."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from rig import config
from rig.cli.exit_codes import EXIT_HELD
from rig.drivers import CLOCKS_OF_BENCH
from rig.errors import ConfigError
from rig.model import Event
from rig.run.desk import update_once


@click.command(short_help="Make one plain update.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--board", "name", required=True, metavar="NAME", help="Which board of the boards file.")
@click.option("--boards", default="boards.yaml", show_default=True, metavar="FILE", help="The boards file.")
@click.option("--flash-first", type=click.Path(path_type=Path), metavar="FILE", help="Put this image on the board by the probe first; virtual boards start blank.")
@click.option("--serial", metavar="PORT", help="Send over this serial port to a Secure DFU bootloader that is in DFU mode, instead of over the air.")
@click.option("--clock", type=click.Choice(["virtual", "wall"]), help="Default: the bench's own.")
def update(file: Path, name: str, boards: str, flash_first: Path | None, serial: str | None, clock: str | None) -> None:
    """Update one board over the air with FILE: a signed MCUboot image, or a DFU package (.zip), as the board's protocol wants.

    Exit code: 0 the board runs the new image, 1 it does not, 2 the rig failed, 3 usage.

    \b
    Example:  rig update new.signed.bin --board dk1 --boards lab.yaml
              rig update new.zip --board dk5 --flash-first old.zip
              rig update new.zip --board dk5 --serial /dev/ttyACM1
    """
    file_ = config.load_boards(boards)
    board = next((board for board in file_.boards if board.name == name), None)
    if board is None:
        raise ConfigError(f"{boards}: there is no board {name!r}; it has {', '.join(board.name for board in file_.boards)}")
    console = Console(file=sys.stderr, highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("waiting", total=None)

        def follow(event: Event) -> None:
            if event.kind == "phase.start":
                bar.update(task, description=str(event.data["phase"]))
                if not console.is_terminal:
                    console.print(f"{event.t_ns / 1e9:8.2f} s  {event.data['phase']}")
            elif event.kind == "upload.chunk":
                bar.update(task, total=int(event.data["total"]), completed=int(event.data["offset"]))

        started = time.monotonic()
        result = update_once(
            board,
            file_.bench,
            file,
            flash_first=flash_first,
            serial=serial,
            clock=clock or CLOCKS_OF_BENCH[file_.bench.driver][0],
            follow=follow,
        )
    if result.error is not None:
        click.echo(f"{name}: {result.error}", err=True)
        sys.exit(EXIT_HELD)
    speed = f"{result.size / 1000 / result.upload_s:.1f} kB/s" if result.upload_s else "no upload was needed"
    click.echo(
        f"{name} runs {result.version}; {result.size} bytes, {speed}, {result.total_s:.1f} s on the board's clock, "
        f"{time.monotonic() - started:.1f} s here"
    )


COMMANDS = (update,)
