"""`rig package`: make and inspect packages for Nordic's Secure DFU."""

from __future__ import annotations

from pathlib import Path

import click

from rig.errors import ConfigError
from rig.formats.init_packet import ValidationType
from rig.formats.test_key import SignatureAlgorithm, private_key
from rig.images import dfu

_VALIDATIONS = {
    "none": ValidationType.NONE,
    "crc": ValidationType.CRC,
    "sha256": ValidationType.SHA256,
    "ecdsa": ValidationType.ECDSA_P256_SHA256,
}
_FILE = click.argument("file", type=click.Path(path_type=Path), metavar="FILE.zip")


@click.group(short_help="Make and inspect packages for Secure DFU.")
def package() -> None:
    """Make and inspect packages for Nordic's Secure DFU (nRF5 SDK)."""


@package.command(short_help="Build a package.")
@click.argument("output", type=click.Path(path_type=Path), metavar="OUT.zip")
@click.option("--application", metavar="FILE", help="Application, .hex or .bin.")
@click.option("--application-version", default="1", show_default=True, metavar="V", help="A number, or major.minor.patch.")
@click.option("--bootloader", metavar="FILE", help="Bootloader, .hex or .bin.")
@click.option("--bootloader-version", default="1", show_default=True, metavar="V")
@click.option("--softdevice", metavar="FILE", help="SoftDevice, .hex or .bin.")
@click.option("--sd-req", multiple=True, metavar="FWID", help="SoftDevice that must be on the device, for instance 0x0100; may be repeated.")
@click.option("--hw-version", type=click.IntRange(min=0), default=52, show_default=True, metavar="N")
@click.option("--boot-validation", type=click.Choice(list(_VALIDATIONS)), default="crc", show_default=True)
@click.option("--key", metavar="FILE", help="ECDSA P-256 private key, PEM.")
@click.option("--test-key", is_flag=True, help="Sign with the public test key instead: for virtual boards only.")
@click.option("--unsigned", is_flag=True, help="Do not sign: to see that a device refuses it.")
def build(
    output: Path,
    application: str | None,
    application_version: str,
    bootloader: str | None,
    bootloader_version: str,
    softdevice: str | None,
    sd_req: tuple[str, ...],
    hw_version: int,
    boot_validation: str,
    key: str | None,
    test_key: bool,
    unsigned: bool,
) -> None:
    """Build a package of an application, a bootloader, a SoftDevice, or several of them; the same input gives the same bytes.

    \b
    Example:  rig package build app.zip --application app.hex --application-version 1.4.0 --sd-req 0x0100 --key private.pem
    """
    if [key is not None, test_key, unsigned].count(True) != 1:
        raise click.UsageError("say how to sign: one of --key FILE, --test-key, --unsigned")
    required = tuple(_number(text) for text in sd_req) or (0,)
    validation = _VALIDATIONS[boot_validation]

    def part(path: str | None, kind: dfu.ImageKind, version: int) -> dfu.Part | None:
        if path is None:
            return None
        return dfu.Part(data=dfu.load_firmware(path, kind), version=version, sd_req=required, boot_validation=validation)

    made = dfu.build(
        hw_version=hw_version,
        application=part(application, dfu.ImageKind.APPLICATION, dfu.parse_version(application_version)),
        bootloader=part(bootloader, dfu.ImageKind.BOOTLOADER, dfu.parse_version(bootloader_version)),
        softdevice=part(softdevice, dfu.ImageKind.SOFTDEVICE, dfu.UNVERSIONED),
        key=dfu.load_signing_key(key) if key else private_key(SignatureAlgorithm.ECDSA_P256) if test_key else None,  # type: ignore[arg-type]
    )
    dfu.save(made, output)
    click.echo(f"{output}: {', '.join(image.kind.value for image in made.images)}")


@package.command(short_help="Show what a package says.")
@_FILE
@click.option("--key", metavar="FILE", help="Public key (PEM, or the C file with pk[64]) to check signatures with.")
@click.option("--soc", type=click.Choice(sorted(dfu.LAYOUTS)), help="Tell whether the update keeps the old application on this SoC.")
@click.option("--installed", type=click.IntRange(min=0), metavar="BYTES", help="Size of the application on the device.")
def show(file: Path, key: str | None, soc: str | None, installed: int | None) -> None:
    """Show hashes, versions, requirements, signature and boot validation of every image in a package.

    \b
    Example:  rig package show app.zip --key public.pem --soc nrf52840 --installed 200000
    """
    summaries = dfu.show(
        dfu.read(file),
        public_key=dfu.load_public_key(key) if key else None,
        layout=dfu.LAYOUTS[soc] if soc else None,
        installed=installed,
    )
    for summary in summaries:
        click.echo("\n".join(_lines(summary)))


def _lines(summary: dfu.ImageSummary) -> list[str]:
    signature = {None: "not checked (give --key)", True: "valid", False: "NOT by this key"}[summary.signature_valid]
    rows = {
        "firmware": f"{summary.bin_file}, {summary.firmware_size} bytes, SHA-256 {summary.firmware_sha256}",
        "init packet": f"{summary.dat_file}, {summary.init_packet_size} bytes, SHA-256 {summary.init_packet_sha256}",
        "firmware version": str(summary.fw_version),
        "hardware version": str(summary.hw_version),
        "SoftDevices": ", ".join(f"0x{fwid:04x}" for fwid in summary.sd_req) or "none named",
        "signature": signature if summary.signed else "none",
        "boot validation": ", ".join(f"{check.part}: {check.validation.name}" for check in summary.boot_checks) or "none",
    }
    if summary.is_debug:
        rows["debug"] = "yes: bootloaders built for debugging skip version checks"
    if summary.bank is not None:
        rows["banks"] = f"{summary.bank.mode.value} on {summary.bank.layout.soc} with {summary.bank.installed} bytes installed" + (
            " (assumed)" if summary.bank.installed_is_assumed else ""
        )
    return [f"{summary.kind.value}:", *(f"  {name:17} {text}" for name, text in rows.items()), *(f"  note: {note}" for note in summary.notes)]


@package.command(short_help="Check a package against a key.")
@_FILE
@click.option("--key", required=True, metavar="FILE", help="Public key, PEM or the C file with pk[64].")
def verify(file: Path, key: str) -> None:
    """Check that every image of a package is whole and signed by a key; exit code 3 when not.

    \b
    Example:  rig package verify app.zip --key public.pem
    """
    dfu.verify(dfu.read(file), dfu.load_public_key(key))
    click.echo(f"{file}: whole, and signed by this key")


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ConfigError(f"--sd-req {text}: not a number; write it as 0x0100 or 256") from None


COMMANDS = (package,)
