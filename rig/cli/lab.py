"""Commands for whoever builds a bench: discover, selftest."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from rig import config
from rig.cli.exit_codes import EXIT_ACCEPTED, EXIT_RIG
from rig.doctor import Discovery, Nearby, examine, first_boards_file, lacking, this_machine
from rig.doctor import discover as find_instruments
from rig.drivers import CLOCKS_OF_BENCH, search_modules_in
from rig.errors import ConfigError, InstrumentError
from rig.store.calibration import write_calibration

_REPORTS = Path("reports")
_WIDTH = 17


@click.command(short_help="Find probes, ports, kits and devices; write a boards file to start from.")
@click.option("--out", default="lab.yaml", show_default=True, type=click.Path(path_type=Path), metavar="FILE", help="The boards file to write; it must not exist.")
@click.option("--listen", "for_s", default=5.0, show_default=True, type=click.FloatRange(0, 60), metavar="S", help="Seconds to listen for devices that offer an update; 0 not to.")
@click.option("--adapter", metavar="NAME", help="Bluetooth adapter to listen with, for instance hci0.")
def discover(out: Path, for_s: float, adapter: str | None) -> None:
    """Look for J-Links and their serial ports, PPK2s, USB hubs, Bluetooth adapters and devices that offer an update.

    Writes a commented boards file in which every guess is marked.  Nothing is switched, and no instrument but the Bluetooth adapter
    is used.

    Exit code: 0 the file is written, 2 there is no probe to write it for; then it says what is missing and how to get it.

    \b
    Example:  rig discover --out lab.yaml
    """
    if out.exists():
        raise ConfigError(f"{out} exists already; name another file with --out")
    machine = this_machine()
    found = find_instruments(machine, _nearby(adapter, for_s) if for_s else ())
    _show(found)
    findings = [finding for _, group in examine(machine, None, reports=_REPORTS).groups for finding in group]
    missing = lacking(findings)
    if missing:
        click.echo("\nStill missing for a bench on this machine:")
        for finding in missing:
            click.echo(f"  {finding.part:<{_WIDTH}} {finding.says}")
            if finding.fix:
                click.echo(f"  {'':<{_WIDTH}} fix: {finding.fix}")
    if not found.probes:
        click.echo("\nNo probe, so no boards file.  Plug a kit in and run `rig discover` again; without hardware, try boards.yaml (virtual boards).")
        sys.exit(EXIT_RIG)
    out.write_text(first_boards_file(found, str(out)), encoding="utf-8")
    click.echo(f"\n{out} is written.  Correct the lines marked CHANGE, then: rig check --boards {out}")


def _nearby(adapter: str | None, for_s: float) -> list[Nearby]:
    from rig.run.nearby import listen  # noqa: PLC0415 - the update clients take a moment that other commands need not wait for

    try:
        heard = listen(adapter, for_s=for_s)
    except InstrumentError as error:
        click.echo(f"not listening: {error}")
        return []
    return [Nearby(address=seen.address, name=seen.name, rssi_dbm=seen.rssi_dbm, protocol=protocol) for seen, protocol in heard]


def _show(found: Discovery) -> None:
    rows = {
        "probes": [f"{probe.serial_number}  {', '.join(probe.ports) or 'no serial port'}" for probe in found.probes],
        "PPK2s": [f"{kit.serial_number}  {kit.port or 'command port unknown'}" for kit in found.kits],
        "other ports": list(found.ports),
        "hubs": list(found.hubs),
        "adapters": list(found.adapters),
        "offering updates": [f"{seen.address}  {seen.name or '-'}  {seen.protocol.value}  {seen.rssi_dbm} dBm" for seen in found.nearby],
    }
    for title, lines in rows.items():
        for number, line in enumerate(lines or ["none"]):
            click.echo(f"  {title if number == 0 else '':<{_WIDTH}} {line}")


@click.command(short_help="Prove the wiring of a board, and measure it.")
@click.option("--board", "name", required=True, metavar="NAME", help="Which board of the boards file.")
@click.option("--boards", default="boards.yaml", show_default=True, metavar="FILE", help="The boards file.")
@click.option("--flash", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="Put the application of this update package on the board first.")
def selftest(name: str, boards: str, flash: Path | None) -> None:
    """Cut the board's power some ten times and look whether every instrument has seen it; write one page of flash and put it back.

    The board must run an application that prints its reset reason and that it serves.  When everything is in order, the figures go into
    the calibration file beside the boards file, which later campaigns use and cite.

    Exit code: 0 everything is in order, 2 something is not, 3 usage.

    \b
    Example:  rig selftest --board dk1 --boards lab.yaml
              rig selftest --board dk1 --flash app-1.0.0.signed.bin
    """
    from rig.run.selftest import Check, self_test  # noqa: PLC0415 - as in _nearby

    file = config.load_boards(boards)
    board = next((board for board in file.boards if board.name == name), None)
    if board is None:
        raise ConfigError(f"--board {name}: {boards} has {', '.join(board.name for board in file.boards)}")
    if board.production:
        raise ConfigError(f"--board {name}: a production unit is only looked at, and a self-test cuts its power")
    search_modules_in(str(Path(boards).resolve().parent))

    def tell(check: Check) -> None:
        word = {True: "ok", False: "FAILED", None: "-"}[check.ok]
        click.echo(f"{word:<7} {check.name:<{_WIDTH}} {check.says}")
        if check.ok is not True and check.hint:
            click.echo(f"{'':<{8 + _WIDTH}} {check.hint}")

    result = self_test(board, file.bench, clock=CLOCKS_OF_BENCH[file.bench.driver][0], flash=flash, tell=tell)
    if not result.passed or result.calibration is None:
        click.echo(f"{name} is not ready for a campaign; nothing was written down")
        sys.exit(EXIT_RIG)
    click.echo(f"{name} is in order; measured figures: {write_calibration(Path(boards), name, result.calibration)}")
    sys.exit(EXIT_ACCEPTED)


COMMANDS = (discover, selftest)
