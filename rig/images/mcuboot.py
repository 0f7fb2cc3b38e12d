"""MCUboot images on disk."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from rig.errors import ConfigError
from rig.formats import compatibility, mcuboot_image
from rig.formats.mcuboot_image import McubootImage
from rig.model import Board, ImageFile


@dataclass(frozen=True, kw_only=True)
class ImageOnDisk:
    """A file, its content, and the image in it."""

    path: str
    data: bytes
    image: McubootImage

    @property
    def record(self) -> ImageFile:
        """The file as a plan pins it; hashes in hexadecimal."""
        return ImageFile(
            path=self.path,
            sha256=hashlib.sha256(self.data).hexdigest(),
            size=len(self.data),
            version=self.image.version,
            image_hash=self.image.image_hash.hex(),
        )


def read(path: str | os.PathLike[str]) -> ImageOnDisk:
    """Read the signed image at `path`.

    Raises `ConfigError` that names the file and what is wrong: unreadable, bad magic, truncated, hash wrong, TLV area broken.
    """
    name = os.fspath(path)
    try:
        data = Path(path).read_bytes()
        return ImageOnDisk(path=name, data=data, image=mcuboot_image.parse(data))
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from None


def check_fits(on_disk: ImageOnDisk, board: Board) -> None:
    """Raise `ConfigError` when the image cannot run on `board`: another SoC, another place, or no vector table at all."""
    slot = board.memory.primary
    reason = compatibility.unfit(on_disk.data, on_disk.image, soc=board.soc, slot_start=slot.start, slot_end=slot.end)
    if reason:
        raise ConfigError(f"{on_disk.path}: {reason} (board {board.name!r})")
