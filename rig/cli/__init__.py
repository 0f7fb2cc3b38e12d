"""rig: update nRF52 boards over the air, break the update on purpose, and say with proof whether the firmware survives."""

from __future__ import annotations

import logging
import sys
import tempfile
import traceback
from importlib import import_module

import click

from rig import __version__
from rig.cli.exit_codes import EXIT_INTERRUPTED, EXIT_RIG, EXIT_USAGE
from rig.errors import ConfigError, RigError

__all__ = ["main", "rig"]


_MODULES = ("reports", "statistics", "packages", "images", "practices", "lab", "bench_commands", "shots", "campaigns", "desk", "selfcheck")
"""Where the commands are, from light to heavy.  A command is looked for in one after the other, so that those who only want to read a
report do not wait for everything that a bench needs."""


class _Commands(click.Group):
    """Commands of the modules above; a module is imported when its command is asked for, or help lists them all."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        for module in _MODULES:
            self._take(module)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        for module in _MODULES:
            if cmd_name in self.commands:
                break
            self._take(module)
        return super().get_command(ctx, cmd_name)

    def _take(self, module: str) -> None:
        for command in import_module(f"rig.cli.{module}").COMMANDS:
            self.add_command(command)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, help=__doc__)
@click.version_option(__version__, prog_name="rig")
def rig() -> None:
    """Every command explains itself with --help and an example."""


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
