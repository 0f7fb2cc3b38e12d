"""From what a scenario says about its images to the files that one board gets."""

from __future__ import annotations

from pathlib import Path

from rig.errors import ConfigError
from rig.formats import signing_key
from rig.formats.test_key import PrivateKey, SignatureAlgorithm
from rig.images import mcuboot
from rig.images.sample_app import build_signed
from rig.images.sample_package import build_package, dfu_image_file
from rig.model import Board, ImageFile, ImageSet, Protocol
from rig.scenario import ImageBuild, ImageChoice, Images, ImageSource


def provide(images: Images, board: Board, folder: Path) -> ImageSet:
    """Read or build every image that `board` needs; what is built lies in `folder` afterwards.

    Boards with the same SoC and memory map get the same files.  Raises `ConfigError` when an image is missing, broken, or not for
    this board, `StorageError` when `folder` cannot be written.
    """
    key = _key(images.key) if images.key else None

    def one(role: str, choice: ImageChoice) -> ImageFile:
        source = choice.source(board.soc)
        if source is None:
            raise ConfigError(f"the scenario has no image {role!r} for {board.soc} (board {board.name!r})")
        if board.protocol is Protocol.SECURE_DFU:
            return _dfu_package(source, board=board, folder=folder, role=role, key=key)
        if isinstance(source, ImageBuild):
            algorithm = SignatureAlgorithm(images.signature)
            return build_signed(
                source, soc=board.soc, memory=board.memory, folder=folder, role=role, key=key, signature=algorithm
            )
        return provide_file(Path(source.path), board)

    return ImageSet(
        old=one("old", images.old),
        new=one("new", images.new),
        again=one("again", images.again) if images.again else None,
    )


def provide_file(path: Path, board: Board) -> ImageFile:
    """The record of a package on disk.  Raises `ConfigError` when it is broken or not for `board`."""
    if board.protocol is Protocol.SECURE_DFU:
        return dfu_image_file(path, board)
    on_disk = mcuboot.read(path)
    mcuboot.check_fits(on_disk, board)
    return on_disk.record


def _dfu_package(source: ImageSource, *, board: Board, folder: Path, role: str, key: PrivateKey | None) -> ImageFile:
    if isinstance(source, ImageBuild):
        return build_package(source, soc=board.soc, memory=board.memory, folder=folder, role=role, key=key)
    return provide_file(Path(source.path), board)


def _key(path: str) -> PrivateKey:
    try:
        return signing_key.load(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
