"""The packets of an object as a client sends them, in order or not, and what a bootloader then holds of the object.

A bootloader takes packets as they come and refuses the one that would go beyond the end of its object (nRF5 SDK 17.0.2,
`dfu/nrf_dfu_req_handler.c`), so that what it holds of a disorder can be computed, unless it had no room for one of them.  But then it
holds too few bytes: as many as there should be, and not those, can only have come in disorder.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

from rig.ota.disorder import Disorder, Noticed, Sending
from rig.ota.secure_dfu.transfer import extend
from rig.ota.secure_dfu.wire import RESPONSE, Checksum, Opcode, Result

_REFUSED_RECEIPT = bytes((RESPONSE, Opcode.CRC, Result.INVALID_PARAMETER))


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Packets that belong next, `due`, and what is sent for them, `sent`."""

    disorder: Disorder
    due: tuple[bytes, ...]
    sent: tuple[bytes, ...]


def turns(packets: Iterable[bytes], sending: Sending) -> Iterator[Turn]:
    """`packets` as they are to be sent: each alone, each twice, or two of them the wrong way round."""
    rest = iter(packets)
    for packet in rest:
        neighbour = tuple(islice(rest, 1)) if sending.disorder is Disorder.REORDER else ()
        if neighbour:
            yield Turn(disorder=Disorder.REORDER, due=(packet, *neighbour), sent=(*neighbour, packet))
        elif sending.disorder is Disorder.REPEAT:
            yield Turn(disorder=Disorder.REPEAT, due=(packet,), sent=(packet, packet))
        else:
            yield Turn(disorder=Disorder.NONE, due=(packet,), sent=(packet,))


class Disarray:
    """What the device must hold of an object whose packets were sent in disorder.  `tell` of `sending` hears when it says so.

    A device is believed that it holds other bytes only when one of its checksums has been right before.
    """

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self._disorder = Disorder.NONE
        self._end = 0
        self._knows_crc = False
        self._due: list[Checksum] = []
        self._held: list[Checksum] = []

    def begin(self, end: int) -> None:
        """The packets of another object follow, which ends at offset `end`."""
        self._disorder, self._end = Disorder.NONE, end
        self._due.clear()
        self._held.clear()

    def sent(self, turn: Turn, before: Checksum) -> None:
        """`turn` has been sent to a device that should have held `before`."""
        if self._disorder is Disorder.NONE:
            if turn.disorder is Disorder.NONE:
                return
            self._disorder = turn.disorder
            self._due.append(before)
            self._held.append(before)
        for packet in turn.due:
            self._due.append(extend(self._due[-1], packet))
        for packet in turn.sent:
            if self._held[-1].offset + len(packet) <= self._end:
                self._held.append(extend(self._held[-1], packet))

    def refuses_copy(self, receipt: bytes) -> bool:
        """Whether `receipt` refuses a packet beyond the end of the object, as the second copy of its last one is."""
        if self._disorder is not Disorder.REPEAT or receipt != _REFUSED_RECEIPT:
            return False
        self._sending.tell(Noticed(disorder=self._disorder, offset=None))
        return True

    def agreed(self) -> None:
        """The device has reported the right checksum of a whole object."""
        self._knows_crc = True

    def compare(self, reported: Checksum) -> None:
        """The device reports what it holds."""
        if self._disorder is Disorder.NONE or reported in self._due:
            return
        if reported in self._held or (self._knows_crc and reported.offset == self._end):
            self._sending.tell(Noticed(disorder=self._disorder, offset=reported.offset))
