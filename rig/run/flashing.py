"""What the probe does for a trial: put the board into its known state, and look into its flash at the end."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

from rig.bench import Dut
from rig.errors import ConfigError, InstrumentError
from rig.formats import dfu_settings, mcuboot_image
from rig.formats.dfu_settings import DfuSettings, Validation
from rig.formats.init_packet import InitCommand, ValidationType
from rig.images import dfu
from rig.model import ImageFile, Protocol, Region, Trial

_PAGE = 4096

ImagePath = Callable[[ImageFile], Path]


async def place_old_image(trial: Trial, dut: Dut, image_path: ImagePath) -> None:
    """The old image as production would have flashed it, and nothing of an earlier update left."""
    if trial.protocol is Protocol.SMP:
        await _place_for_mcuboot(trial, dut, image_path)
    else:
        await _place_for_secure_dfu(trial, dut, image_path)


async def _place_for_mcuboot(trial: Trial, dut: Dut, image_path: ImagePath) -> None:
    """Old image in the primary slot, no trailer, secondary slot blank or staged with the new image."""
    memory, probe = dut.board.memory, dut.probe
    await probe.program(memory.primary.start, image_path(trial.old.as_installed).read_bytes())
    await probe.erase(memory.primary.end - _PAGE, _PAGE)
    await _blank(dut, memory.secondary)
    if trial.staged:
        await probe.program(memory.secondary.start + memory.upload_offset, image_path(trial.new).read_bytes())


async def _place_for_secure_dfu(trial: Trial, dut: Dut, image_path: ImagePath) -> None:
    """Old application in bank 0, the rest of the room blank, and the settings page with its backup that vouch for it."""
    memory, probe = dut.board.memory, dut.probe
    settings_at, backup_at = _settings_pages(dut)
    (application,) = dfu.read(image_path(trial.old)).images
    await _blank(dut, memory.primary)
    await probe.program(memory.primary.start, application.firmware)
    version = application.packet.command.fw_version or 0
    page = dfu_settings.factory_page(application=application.firmware, app_version=version, bootloader_version=1)
    await probe.program(settings_at, page)
    await probe.program(backup_at, page)


async def place_received_image(trial: Trial, dut: Dut, image_path: ImagePath) -> None:
    """What a Secure DFU bootloader leaves of a whole transfer right before it installs: firmware in its bank, and both settings pages.

    The bank is chosen as the bootloader does: behind the application, or in its place where the product updates in place or the image
    does not fit behind it.  The processor must be held from here until its power goes off, because its next start installs.
    """
    memory, probe = dut.board.memory, dut.probe
    settings_at, backup_at = _settings_pages(dut)
    (image,) = dfu.read(image_path(trial.new)).images
    page = await probe.read(settings_at, dfu_settings.SIZE)
    behind = memory.primary.start + -(-DfuSettings(page).bank0.size // _PAGE) * _PAGE
    keeps_application = not trial.in_place and behind + len(image.firmware) <= memory.primary.end
    start = behind if keeps_application else memory.primary.start
    command = image.packet.command
    marked = dfu_settings.page_before_activation(
        page,
        image.firmware,
        start=start,
        keeps_application=keeps_application,
        app_version=command.fw_version or 0,
        validation=_boot_validation(command, image.firmware),
    )
    await probe.program(start, image.firmware)
    await probe.program(settings_at, marked)
    await probe.program(backup_at, marked)


def _boot_validation(command: InitCommand, firmware: bytes) -> Validation | None:
    """How the bootloader is to check the application at every boot, in the form of the settings; None where the packet does not say."""
    if not command.boot_validation:
        return None
    wanted = command.boot_validation[0]
    data = {
        ValidationType.NONE: b"",
        ValidationType.CRC: zlib.crc32(firmware).to_bytes(4, "little"),
        ValidationType.SHA256: hashlib.sha256(firmware).digest(),
        ValidationType.ECDSA_P256_SHA256: wanted.data,
    }[ValidationType(wanted.type)]
    return Validation(type=wanted.type, data=data)


def _settings_pages(dut: Dut) -> tuple[int, int]:
    """Where the bootloader's settings page and its backup lie."""
    memory = dut.board.memory
    if memory.settings is None or memory.settings_backup is None:
        raise InstrumentError(f"{dut.board.name}.memory", "the memory map names no settings pages", hint="use the preset secure-dfu")
    return memory.settings.start, memory.settings_backup.start


async def _blank(dut: Dut, region: Region) -> None:
    """Erase the pages of `region` that are not blank, so that a campaign does not wear the flash for nothing."""
    content = await dut.probe.read(region.start, region.size)
    for start in range(0, region.size, _PAGE):
        if content[start : start + _PAGE].count(0xFF) != _PAGE:
            await dut.probe.erase(region.start + start, _PAGE)


async def image_in_flash(protocol: Protocol, dut: Dut, images: Sequence[ImageFile], image_path: ImagePath) -> ImageFile | None:
    """Which of `images` stands in the place that runs, bit by bit; None when none of them does."""
    start, room = dut.board.memory.primary.start, dut.board.memory.primary.size
    for image in sorted(images, key=lambda image: image.spoiled is not None):  # what is left of a spoiled one may be part of a good one
        if not 0 < image.size <= room:  # spoiled as well: nothing is found everywhere, and too much nowhere
            continue
        if protocol is Protocol.SMP:
            data = _image_proper(image_path(image.as_installed).read_bytes())
            if await dut.probe.read(start, len(data)) == data:
                return image
        elif hashlib.sha256(await dut.probe.read(start, image.size)).hexdigest() == image.image_hash:
            return image
    return None


def _image_proper(file: bytes) -> bytes:
    """The image without what stands behind it in the file, which no bootloader looks at; a broken image is taken whole."""
    try:
        return file[: mcuboot_image.parse(file).size]
    except ConfigError:
        return file
