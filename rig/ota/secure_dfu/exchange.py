"""One request at a time, and packets with an account of their receipts.

A packet receipt notification has the form of an answer to opcode 03, so the account decides which is which.  Whatever it cannot
decide is settled by a select: its answer looks like nothing else, and replies come in order.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass

from rig.errors import MalformedReply, NoReply
from rig.ota.disorder import Sending
from rig.ota.secure_dfu.packet_order import Disarray, turns
from rig.ota.secure_dfu.transfer import extend
from rig.ota.secure_dfu.transport import DfuTransport, within
from rig.ota.secure_dfu.wire import RESPONSE, Checksum, ChecksumMismatch, Opcode, checksum

_CRC_REPLY = bytes((RESPONSE, Opcode.CRC))


@dataclass(frozen=True, kw_only=True)
class Waits:
    """How long, in seconds, the session waits for each answer before the silence becomes `NoReply`.

    A receipt may be late by a supervision timeout (6 s in Nordic's bootloader); executing an init packet verifies a signature, and the
    last execute hashes the whole image.
    """

    select_s: float = 10.0
    create_s: float = 10.0
    crc_s: float = 10.0
    execute_s: float = 20.0
    receipt_s: float = 8.0
    reset_s: float = 15.0


class Receipts:
    """Which receipts are due for the packets of the current object, and how many may still arrive.

    The device counts from every create and every set (nRF5 SDK 17.0.2); a receipt at another packet boundary is accepted as well and
    shifts the account, because other versions may count differently.
    """

    def __init__(self) -> None:
        self.every = 0
        self._sent: list[Checksum] = []
        self._next = 0
        self._accepted = 0
        self._repeated = 0

    def reload(self) -> None:
        """The device counts from here."""
        self._sent.clear()
        self._next = self.every
        self._accepted = self._repeated = 0

    def sent(self, held: Checksum) -> None:
        """One more packet is on its way, with which the device holds `held`."""
        self._sent.append(held)

    def repeated(self, packets: int) -> None:
        """So many packets are on their way once more, and may have receipts of their own."""
        self._repeated += packets

    @property
    def owed(self) -> int:
        """Receipts that are due and have not come."""
        return (len(self._sent) - self._next) // self.every + 1 if self.every and self._next <= len(self._sent) else 0

    @property
    def possible(self) -> int:
        """How many replies in the form of a receipt may still come, at most."""
        return len(self._sent) + self._repeated + 1 if self.every and self._sent else 0

    def is_due(self, reply: bytes) -> bool:
        """Whether `reply` is exactly the next receipt."""
        return bool(self.owed) and checksum("packet receipt", reply) == self._sent[self._next - 1]

    def accept(self, reply: bytes) -> None:
        """Take a receipt.  Raises `ChecksumMismatch` when it tells of lost bytes, `Refused` when it carries an error code."""
        received = checksum("packet receipt", reply)
        self._accepted += 1
        if self._accepted > len(self._sent) + self._repeated:
            raise MalformedReply("packet receipt", reply, "there are more receipts than packets")
        if self.owed and received == self._sent[self._next - 1]:
            self._next += self.every
        elif received in self._sent:
            self._next = self._sent.index(received) + 1 + self.every
        else:
            raise ChecksumMismatch("packet receipt", reply, (f"the receipt says {received}, sent was {self._sent[-1]}",))


class Exchange:
    """The conversation with one bootloader.  `last_reply` is the latest reply, for the evidence."""

    def __init__(self, transport: DfuTransport, waits: Waits, sending: Sending) -> None:
        self.receipts = Receipts()
        self.last_reply = b""
        self._sending = sending
        self.disarray = Disarray(sending)
        self._transport = transport
        self._inbox = transport.notifications
        self._waits = waits

    async def ask(self, request: bytes, name: str, limit_s: float) -> bytes:
        """Send `request` and return the reply as it came; late receipts in front of it are dropped."""
        strays = self.receipts.possible if request[0] != Opcode.CRC else 0
        if not strays:
            self._refuse_unasked(name)
        reply = await within(limit_s, name, self._answer(request, strays))
        self.receipts.reload()
        return reply

    async def ask_crc(self, name: str) -> Checksum:
        """Ask what the device holds of the current object; receipts that are due are taken first."""
        if not self.receipts.possible:
            self._refuse_unasked(name)
        held = checksum(name, await within(self._waits.crc_s, name, self._crc_answer()))
        self.disarray.compare(held)
        return held

    async def send(self, packets: Iterable[bytes], start: Checksum, *, end: int, ahead: int) -> AsyncGenerator[Checksum]:
        """Send `packets` of an object that ends at offset `end`, and yield what the device should hold, beginning from `start`.

        It yields after each packet, or after two where they are sent the wrong way round.  With receipts on, at most `ahead` of those
        that are due may be missing while it goes on sending.
        """
        held = start
        self.disarray.begin(end)
        for turn in turns(packets, self._sending):
            for packet in turn.sent:
                await self._transport.send_packet(packet)
            self.disarray.sent(turn, held)
            for packet in turn.due:
                held = extend(held, packet)
                self.receipts.sent(held)
            self.receipts.repeated(len(turn.sent) - len(turn.due))
            if self.receipts.every:
                await self._take_receipts(ahead)
            else:
                self._refuse_unasked("packet")
            yield held

    async def _answer(self, request: bytes, strays: int) -> bytes:
        await self._transport.request(request)
        reply = await self._read()
        while strays and reply[:2] == _CRC_REPLY:
            strays -= 1
            reply = await self._read()
        return reply

    async def _crc_answer(self) -> bytes:
        await self._transport.request(bytes((Opcode.CRC,)))
        reply = await self._read()
        while (is_refused := self.disarray.refuses_copy(reply)) or self.receipts.is_due(reply):
            if not is_refused:
                self.receipts.accept(reply)
            reply = await self._read()
        return reply

    async def _take_receipts(self, ahead: int) -> None:
        while self.receipts.owed > ahead or len(self._inbox):
            try:
                reply = await within(self._waits.receipt_s, "packet receipt", self._read())
            except NoReply as error:
                raise ChecksumMismatch("packet receipt", b"", (str(error),)) from None
            if self.disarray.refuses_copy(reply):
                continue
            self.disarray.compare(checksum("packet receipt", reply))
            self.receipts.accept(reply)

    async def _read(self) -> bytes:
        self.last_reply = await self._inbox.get()
        return self.last_reply

    def _refuse_unasked(self, name: str) -> None:
        self._inbox.check()
        if len(self._inbox):
            raise MalformedReply(name, self._inbox.take(), "this came without being asked for")
