"""rig: update nRF52 boards over the air, break the update on purpose, and say with proof whether the firmware survives."""

from __future__ import annotations

import logging
import sys
import tempfile
import traceback

import click

from rig import __version__
from rig.cli import bench_commands, campaigns, desk, images, lab, packages, practices, reports, selfcheck, shots, statistics
from rig.cli.exit_codes import EXIT_INTERRUPTED, EXIT_RIG, EXIT_USAGE
from rig.errors import ConfigError, RigError

__all__ = ["main", "rig"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.version_option(__version__, prog_name="rig")
def rig() -> None:
    """Every command explains itself with --help and an example."""


for _command in (*campaigns.COMMANDS, *shots.COMMANDS, *reports.COMMANDS, *desk.COMMANDS, *images.COMMANDS, *packages.COMMANDS, *bench_commands.COMMANDS, *lab.COMMANDS, *statistics.COMMANDS, *practices.COMMANDS, *selfcheck.COMMANDS):
    rig.add_command(_command)


def main() -> None:
    """Entry point: no traceback ever reaches a user."""
    logging.getLogger().addHandler(logging.NullHandler())  # libraries' warnings would stand between our lines
    try:
        rig.main(standalone_mode=False)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except click.Abort:
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_USAGE)
    except ConfigError as error:
        click.echo(str(error), err=True)
        sys.exit(EXIT_USAGE)
    except RigError as error:
        click.echo(f"rig: {error}", err=True)
        sys.exit(EXIT_RIG)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - whatever is left is our own mistake, and a user cannot read a traceback
        with tempfile.NamedTemporaryFile("w", prefix="rig-error-", suffix=".txt", delete=False) as details:
            details.write(traceback.format_exc())
        click.echo(f"rig: internal error: {type(error).__name__}: {error}; please report it together with {details.name}", err=True)
        sys.exit(EXIT_RIG)
