"""`rig images`: bad update packages, made from good ones, to see that a device refuses them."""

from __future__ import annotations

from pathlib import Path

import click

from rig.errors import ConfigError, StorageError
from rig.formats import signing_key
from rig.formats.spoil_kinds import KINDS
from rig.formats.test_key import PrivateKey
from rig.images import encryption
from rig.images.dfu.archive import content_of
from rig.images.spoil import Helpers, kind_for, spoil


@click.group(short_help="Make bad update packages from good ones.")
def images() -> None:
    """Make bad update packages from good ones, to see that a device refuses them."""


@images.command("kinds", short_help="List the ways to spoil a package.")
def kinds_() -> None:
    """List the ways to spoil a package: what is changed, and what a good device does with it.

    \b
    Example:  rig images kinds
    """
    for form, kinds in KINDS.items():
        click.echo(f"{form}:")
        for kind in kinds.values():
            click.echo(f"  {kind.name:21} {kind.what}; {kind.expected}")


@images.command("spoil", short_help="Make a bad package from a good one.")
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--kind", required=True, metavar="KIND", help="What is to be wrong with it; `rig images kinds` lists all.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Where it goes; default: beside FILE, KIND in its name.")
@click.option("--key", type=click.Path(path_type=Path), metavar="PEM", help="Private key that FILE is signed with; default: the public test key.")
@click.option("--encryption-key", type=click.Path(path_type=Path), metavar="PEM", help="The bootloader's private key that FILE is encrypted for; default: the public test key.")
@click.option("--other", type=click.Path(path_type=Path), metavar="FILE", help="A second good package, for the kinds that mix two.")
def spoil_(file: Path, kind: str, out: Path | None, key: Path | None, encryption_key: Path | None, other: Path | None) -> None:
    """Make a bad package from FILE, a signed MCUboot image or a Secure DFU package (.zip); the same FILE gives the same bytes.

    \b
    Example:  rig images spoil app.signed.bin --kind flip-body
              rig images spoil app.zip --kind version-lower --key private.pem --out old.zip
              rig images spoil app.zip --kind body-swapped --other earlier.zip
    """
    chosen = kind_for(file, kind)
    helpers = Helpers(
        key=_load_key(key) if key else None,
        encryption_key=encryption.load_key(encryption_key) if encryption_key else None,
        other=other,
    )
    spoiled = spoil(file, kind, helpers)
    target = out or file.with_name(f"{file.stem}-{kind}{file.suffix}")
    if target.resolve() == file.resolve():
        raise ConfigError(f"{target}: this is the good package; write the bad one elsewhere")
    try:
        target.write_bytes(spoiled)
    except OSError as error:
        raise StorageError(f"{target} cannot be written: {error.strerror}") from None
    click.echo(f"{target}: {chosen.what}; {chosen.expected}")


def _load_key(path: Path) -> PrivateKey:
    try:
        return signing_key.load(content_of(path))
    except ConfigError as error:
        raise ConfigError(error.problems or f"{path}: {error}") from None


COMMANDS = (images,)
