"""What is decided before bytes are sent: how data is cut into packets, and where a transfer goes on that was begun before.  Pure.

Resume rules: `docs/secure-dfu.md`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from rig.ota.secure_dfu.transport import WORD_SIZE, whole_words
from rig.ota.secure_dfu.wire import Checksum, ObjectState, ObjectType

PAGE_SIZE = 4096
FLASH_QUEUE = 16
"""Flash operations that the bootloader queues (nRF5 SDK 17.0.2, BLE example; a build option)."""
NOTHING = Checksum(offset=0, crc=0)


class Stage(StrEnum):
    """INIT and DATA transfer objects; EXECUTE is the last execute, after which the device installs."""

    INIT = "init"
    DATA = "data"
    EXECUTE = "execute"


class Step(StrEnum):
    """What has just happened; BEGIN and RETRY: what is about to."""

    RESUME = "resume"
    BEGIN = "begin"
    PACKET = "packet"
    CHECKED = "checked"
    EXECUTED = "executed"
    RETRY = "retry"
    RESTART = "restart"


class Pace(StrEnum):
    """How hard the device is pushed.

    The bootloader queues 16 flash operations and drops what comes beyond that.  A page erase (85 to 90 ms) at the head of the queue
    is what fills it, where the radio goes on meanwhile.  AFTER_ERASE sends 15 packets and waits for the erase before it sends more;
    LOCKSTEP waits for a receipt after each packet.
    """

    FULL = "full"
    AFTER_ERASE = "after-erase"
    LOCKSTEP = "lockstep"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One thing that happened in an update.

    `offset` and `total` count bytes of the init packet (stage INIT) or of the firmware; at PACKET the bytes have been handed to the
    link, at CHECKED the device has confirmed them by CRC.  `object_index` counts from 0 and `attempt` from 1; `reason` says why a
    transfer is resumed, retried or restarted.
    """

    stage: Stage
    step: Step
    offset: int
    total: int
    object_index: int = 0
    attempt: int = 1
    pace: Pace = Pace.FULL
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Piece:
    """One object: bytes `start` to `stop` of `whole`.

    `have` is not None when the device already holds the bytes up to there in this very object, which then is continued instead of
    created.  `proven` is False when the device may be elsewhere in the image, or hold other bytes before `start`.
    """

    kind: ObjectType
    whole: bytes
    start: int
    stop: int
    index: int = 0
    have: int | None = None
    proven: bool = True

    @property
    def is_final(self) -> bool:
        """Executing it makes the device install the update."""
        return self.kind is ObjectType.DATA and self.stop == len(self.whole)

    @property
    def is_complete(self) -> bool:
        """The device already holds all of it, and executing it would not install anything."""
        return self.kind is ObjectType.DATA and self.have == self.stop and not self.is_final

    def packets(self, start: int, max_packet: int) -> Iterator[bytes]:
        """The bytes from `start` on as packets; `max_packet` is a multiple of 4.

        Firmware that is no whole number of words ends with a packet of 1 to 3 bytes: the bootloader writes such a packet as one
        word, but of longer ones it can lose the odd bytes (nRF5 SDK 17.0.2: when length modulo 20 is above 4 and no multiple of 4).
        """
        body = whole_words(self.stop - start) if self.kind is ObjectType.DATA else self.stop - start
        for offset in range(start, start + body, max_packet):
            yield self.whole[offset : min(offset + max_packet, start + body)]
        if start + body < self.stop:
            yield self.whole[start + body : self.stop]


def checksum_of(data: bytes) -> Checksum:
    """What a device that holds exactly `data` reports."""
    return Checksum(offset=len(data), crc=zlib.crc32(data))


def extend(before: Checksum, packet: bytes) -> Checksum:
    """`before` and then `packet`."""
    return Checksum(offset=before.offset + len(packet), crc=zlib.crc32(packet, before.crc))


def resume_init(packet: bytes, state: ObjectState) -> tuple[Piece, str]:
    """How to go on with an init packet when the device reports `state` for the command object, and why in words."""
    piece = Piece(kind=ObjectType.COMMAND, whole=packet, start=0, stop=len(packet))
    offset = state.received.offset
    if offset == 0:
        return piece, ""
    if offset > len(packet) or state.received != checksum_of(packet[:offset]):
        return piece, f"the device holds another init packet ({state.received})"
    return replace(piece, have=offset), f"the device holds {offset} of {len(packet)} bytes of this init packet"


def resume_data(image: bytes, state: ObjectState) -> tuple[Piece | None, str]:
    """How to go on with `image` when the device reports `state` for the data object, and why in words.

    At offset 0 the reported CRC is ignored (it can be an address).  Within an object whose bytes are right, the rest is sent; at an
    object's end the object is executed, which does no harm when it has been already.  When the CRC differs, the object that ends or
    lies at the offset is created anew.  None: nothing but a new init packet helps.
    """
    size = object_size(state)
    offset = state.received.offset
    if offset == 0:
        return _piece(image, 0, size), ""
    if offset > len(image):
        return None, f"the device holds more than the image ({state.received})"
    piece = _piece(image, (offset - 1) // size * size, size)
    if state.received != checksum_of(image[:offset]):
        proven = piece.start == 0 and offset < piece.stop
        return replace(piece, proven=proven), f"the device holds other bytes ({state.received}); object created anew"
    if offset % WORD_SIZE and offset != piece.stop:
        return piece, f"offset {offset} is within a word; object created anew"
    return replace(piece, have=offset), f"the device holds {offset} of {len(image)} bytes"


def object_size(state: ObjectState) -> int:
    """Size of a full data object: one page, or what the device allows when that is less."""
    return whole_words(min(state.max_size, PAGE_SIZE))


def pieces_after(piece: Piece, size: int) -> Iterator[Piece]:
    """The objects that follow `piece`."""
    for start in range(piece.stop, len(piece.whole), size):
        yield _piece(piece.whole, start, size)


def _piece(image: bytes, start: int, size: int) -> Piece:
    return Piece(kind=ObjectType.DATA, whole=image, start=start, stop=min(start + size, len(image)), index=start // size)

