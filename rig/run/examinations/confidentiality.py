"""Whether anything of an encrypted image, or its key, shows: on the air, in flash, on the console."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from rig.formats import encryption_key, mcuboot_image, signing_key
from rig.formats.mcuboot_image import TlvType
from rig.formats.soc import PAGE_SIZE
from rig.model import ImageFile, Region
from rig.run.examinations.examination import Examination, Scene

_PIECE, _STEP = 16, 256
"""Bytes of one piece of firmware, and from one piece to the next.  Sixteen bytes of code do not occur elsewhere by chance."""
_TRAILER_PAGES = 2


class PlainOnAir(Examination):
    """Looks for the new firmware in everything that the rig sent."""

    async def inspect(self) -> None:
        pieces = list(_pieces(self.scene, self.scene.trial.new))
        sent = bytes(self.scene.sent)
        self.scene.emit("encryption.air", octets=len(sent), compared=len(pieces), plain=sum(piece in sent for piece in pieces))


class PlainInFlash(Examination):
    """Looks for firmware and keys wherever an update leaves something behind: secondary slot, scratch area, trailers."""

    async def inspect(self) -> None:
        trial, probe = self.scene.trial, self.scene.dut.probe
        pieces = [piece for image in (trial.old, trial.new) for piece in _pieces(self.scene, image)]
        keys = _keys(self.scene)
        memory = self.scene.dut.board.memory
        trailer = Region(start=memory.primary.end - _TRAILER_PAGES * PAGE_SIZE, size=_TRAILER_PAGES * PAGE_SIZE)
        for region in (memory.secondary, *([memory.scratch] if memory.scratch else []), trailer):
            content = await probe.read(region.start, region.size)
            self.scene.emit(
                "encryption.flash",
                start=region.start,
                size=region.size,
                compared=len(pieces),
                plain=sum(piece in content for piece in pieces),
                keys_known=len(keys),
                keys=sum(key in content for key in keys),
            )


class KeysInLogs(Examination):
    """Looks for the images' keys in what the console printed, as bytes and as text."""

    async def inspect(self) -> None:
        printed, keys = bytes(self.scene.printed), _keys(self.scene)
        text = printed.lower()  # hexadecimal in either case; the bytes of a key must stay as they are
        hits = sum(key in printed or key.hex().encode() in text or key.hex(" ").encode() in text for key in keys)
        self.scene.emit("encryption.console", octets=len(printed), keys_known=len(keys), hits=hits)


def _pieces(scene: Scene, image: ImageFile) -> Iterator[bytes]:
    """Pieces of the firmware in `image` as it runs, from all over it."""
    data = scene.image_path(image.as_installed).read_bytes()
    parsed = mcuboot_image.parse(data)
    for start in range(parsed.header_size, parsed.header_size + parsed.image_size - _PIECE, _STEP):
        yield data[start : start + _PIECE]


def _keys(scene: Scene) -> list[bytes]:
    """The AES keys of the images that travelled, unwrapped with the device's key."""
    stored = scene.product.encryption_key
    private = encryption_key.private_key() if stored in (None, "test") else signing_key.load(Path(str(stored)).read_bytes())
    keys = []
    for image in (scene.trial.new, scene.trial.again):
        wrapped = mcuboot_image.parse(scene.image_path(image).read_bytes()).tlv(TlvType.ENC_EC256) if image is not None else None
        if wrapped is not None and (key := encryption_key.unwrap(wrapped, private)) is not None:  # type: ignore[arg-type]
            keys.append(key)
    return keys
