"""From what a scenario says about its images to the files that one board gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec

from rig.errors import ConfigError
from rig.formats import encryption_key, signing_key
from rig.formats.test_key import PrivateKey, SignatureAlgorithm
from rig.images import encryption, mcuboot
from rig.images.sample_app import build_signed, with_clear_twin
from rig.images.sample_package import build_package, dfu_image_file
from rig.images.spoil import Helpers, spoiled
from rig.model import Board, ImageFile, ImageSet, Protocol
from rig.scenario import ImageBuild, ImageChoice, Images, ImageSource


def provide(images: Images, board: Board, folder: Path) -> ImageSet:
    """Read or build every image that `board` needs; what is built lies in `folder` afterwards.

    A new image that is to be spoiled is made good and checked first; the kinds that mix two images take the old one as the other.

    Boards with the same SoC and memory map get the same files.  Raises `ConfigError` when an image is missing, broken, or not for
    this board, `StorageError` when `folder` cannot be written.
    """
    keys = Helpers(
        key=_key(images.key) if images.key else None,
        encryption_key=encryption.load_key(Path(images.encryption_key)) if images.encryption_key else None,
    )
    maker = _Maker(images=images, board=board, folder=folder, keys=keys)
    old = maker.good("old", images.old)
    new = maker.good("new", images.new)
    kind = maker.source("new", images.new).spoil
    return ImageSet(
        old=old,
        new=spoiled(new, kind, replace(keys, other=Path(old.path)), folder) if kind else new,
        again=maker.good("again", images.again) if images.again else None,
    )


@dataclass(frozen=True, kw_only=True)
class _Maker:
    """Makes the good images of one scenario for one board."""

    images: Images
    board: Board
    folder: Path
    keys: Helpers

    def source(self, role: str, choice: ImageChoice) -> ImageSource:
        """What the scenario says about the image.  Raises `ConfigError` when it says nothing for this SoC."""
        source = choice.source(self.board.soc)
        if source is None:
            raise ConfigError(f"the scenario has no image {role!r} for {self.board.soc} (board {self.board.name!r})")
        return source

    def good(self, role: str, choice: ImageChoice) -> ImageFile:
        """The image, read or built, and fit for the board."""
        source = self.source(role, choice)
        if isinstance(source, ImageBuild):
            return self._built(role, source)
        record = provide_file(Path(source.path), self.board)
        if self.board.protocol is Protocol.SMP and mcuboot.read(source.path).image.is_encrypted:
            return with_clear_twin(record, self.folder, self._encryption_key)
        return record

    def _built(self, role: str, build: ImageBuild) -> ImageFile:
        board, key = self.board, self.keys.key
        if board.protocol is Protocol.SECURE_DFU:
            return build_package(build, soc=board.soc, memory=board.memory, folder=self.folder, role=role, key=key)
        return build_signed(
            build,
            soc=board.soc,
            memory=board.memory,
            folder=self.folder,
            role=role,
            key=key,
            signature=SignatureAlgorithm(self.images.signature),
            encryption_key=self._encryption_key if self.images.encrypted else None,
        )

    @property
    def _encryption_key(self) -> ec.EllipticCurvePrivateKey:
        return self.keys.encryption_key or encryption_key.private_key()


def provide_file(path: Path, board: Board) -> ImageFile:
    """The record of a package on disk.  Raises `ConfigError` when it is broken or not for `board`."""
    if board.protocol is Protocol.SECURE_DFU:
        return dfu_image_file(path, board)
    on_disk = mcuboot.read(path)
    mcuboot.check_fits(on_disk, board)
    return on_disk.record


def _key(path: str) -> PrivateKey:
    try:
        return signing_key.load(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
