"""The keys of a swap: from the images when it begins, from the trailer when it goes on.

A trailer that describes a swap holds the key of each encrypted image: wrapped as in the image, or (`save_enctlv: false`) as it is.
See `Session.store_keys` and `Session.forget_keys` for the way in and out.

Source: MCUboot `boot/bootutil/src/swap_misc.c`, `bootutil_misc.c` (`boot_write_enc_key`, `boot_read_enc_key`), `loader.c`.
"""

from __future__ import annotations

from rig.formats.encryption_key import AES_KEY_SIZE, WRAPPED_SIZE
from rig.model import Region
from rig.virtual.mcuboot.defect import Defect
from rig.virtual.mcuboot.encryption import ImageKey, key_of, unwrapped
from rig.virtual.mcuboot.header import read_tlvs
from rig.virtual.mcuboot.session import Halt, Progress, Session, Slot


def find_keys(session: Session, progress: Progress, trailer_of: Region) -> None:
    """Make the keys of both images known to `session`.  `trailer_of` is the area whose trailer describes an interrupted swap.

    A key that cannot be unwrapped stops the boot, as an assertion does in MCUboot: the old image must not leave in clear.
    """
    if not session.config.encrypts:
        return
    for slot in Slot:
        session.keys[slot] = key_in_image(session, slot) if progress.is_fresh else _key_in_trailer(session, trailer_of, slot)


def key_in_image(session: Session, slot: Slot) -> ImageKey | None:
    """The key of the image in `slot` by its own entry; None when the image needs none.  Stops the boot like `find_keys`."""
    config, header = session.config, session.headers[slot]
    if not header.is_encrypted or slot in session.clear_payloads:
        return None
    key = key_of(read_tlvs(header, session.image_reader(slot)) or (), config.encryption_key)
    if key is None:
        raise Halt
    return None if slot is Slot.PRIMARY and config.has(Defect.OLD_IMAGE_IN_CLEAR) else key


def _key_in_trailer(session: Session, area: Region, slot: Slot) -> ImageKey | None:
    config = session.config
    size = WRAPPED_SIZE if config.save_enctlv else AES_KEY_SIZE
    stored = session.cpu.read(session.key_field(area, slot), size)
    if stored.count(0xFF) == size:
        return None
    key = unwrapped(stored, config.encryption_key) if config.save_enctlv else ImageKey(aes=stored, wrapped=b"")
    if key is None:
        raise Halt
    return key
