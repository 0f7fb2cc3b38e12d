"""A DFU session: the single steps of the protocol, and a whole update made of them.

Source: nRF5 SDK 17.0.2, `dfu/nrf_dfu_req_handler.c`; phases, resume rules and errors are explained in `docs/secure-dfu.md`.
The session records nothing: `update` yields what happens, and its caller writes it down.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from rig.errors import Refused
from rig.ota.disorder import Sending
from rig.ota.secure_dfu import wire
from rig.ota.secure_dfu.exchange import Exchange, Waits
from rig.ota.secure_dfu.transfer import (
    FLASH_QUEUE,
    NOTHING,
    Pace,
    Piece,
    Progress,
    Stage,
    Step,
    checksum_of,
    object_size,
    pieces_after,
    resume_data,
    resume_init,
)
from rig.ota.secure_dfu.transport import DfuTransport, within
from rig.ota.secure_dfu.wire import RESULT_GROUP, Checksum, ChecksumMismatch, ObjectState, ObjectType, Opcode, Result

_QUEUE_DRAINED_S = 0.2
"""After this the device has done a full flash queue, a page erase and 15 packets.  A create before that is refused (05), or its
erase starts late and more packets are lost."""
_NAMES: dict[int, str] = {ObjectType.COMMAND: "init", ObjectType.DATA: "data"}


class PackageImage(Protocol):
    """One image of a DFU package, as it goes to the device."""

    @property
    def init_packet(self) -> bytes: ...

    @property
    def firmware(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an update is made.

    `receipts_every`: packets between packet receipt notifications, 0 to 65535; 0 is fastest and the devices' default.
    `retries`: how often one object is tried again; from the second on, the last one is made in LOCKSTEP.
    `pace`: how the session begins.  `erase_pauses_s`: how long AFTER_ERASE waits, counted from the reply to create; each loss
    moves on to the next entry.  The erase began one trip over the link before that reply, so with a connection interval of 15 ms
    the first entry fits the nRF52840 (85 ms), the second the nRF52832 and nRF52833 (up to 90 ms).
    """

    receipts_every: int = 0
    retries: int = 3
    pace: Pace = Pace.FULL
    erase_pauses_s: tuple[float, ...] = (0.0725, 0.085, 0.1)


class _NothingProven(ChecksumMismatch):
    """What the device holds of an earlier transfer cannot be continued."""


class SecureDfuSession:
    """A conversation with a bootloader in DFU mode over an entered transport.  It is used up when the link ends.

    Every method raises `LinkLost` when the link ends, `NoReply` when an answer does not come in time, `MalformedReply` when it
    makes no sense, and `Refused` when it is an error code (groups: `wire.RESULT_GROUP`, `wire.EXTENDED_GROUP`; -1 for ATT errors).
    """

    def __init__(
        self, transport: DfuTransport, *, options: Options | None = None, waits: Waits | None = None, sending: Sending | None = None
    ) -> None:
        self._options = options or Options()
        self._waits = waits or Waits()
        self._transport = transport
        self._exchange = Exchange(transport, self._waits, sending or Sending(lambda _noticed: None))
        self._pace = self._options.pace
        self._pauses = list(self._options.erase_pauses_s)
        self._kind = "init"  # what a bootloader acts on before the first select

    # ---------------------------------------------------------------------------------------------------- single steps
    async def set_receipts(self, every: int) -> None:
        """Ask for a packet receipt notification after every `every` packets; 0 switches them off."""
        name = "set receipts"
        wire.payload(name, await self._exchange.ask(wire.set_receipts(every), name, self._waits.select_s), Opcode.SET_RECEIPTS, 0)
        self._exchange.receipts.every = every
        self._exchange.receipts.reload()

    async def select(self, kind: int) -> ObjectState:
        """Make `kind` the current object and learn its size limit and what the device holds of it."""
        self._kind = _NAMES.get(kind, f"type {kind}")
        name = f"{self._kind} select"
        return wire.object_state(name, await self._exchange.ask(wire.select(kind), name, self._waits.select_s))

    async def create(self, kind: int, size: int) -> None:
        """Begin an object of `size` bytes.  A command create discards all progress, a data create erases its page."""
        self._kind = _NAMES.get(kind, f"type {kind}")
        name = f"{self._kind} create"
        wire.payload(name, await self._exchange.ask(wire.create(kind, size), name, self._waits.create_s), Opcode.CREATE, 0)

    async def write(self, data: bytes, *, start: Checksum = NOTHING, packet: int | None = None) -> Checksum:
        """Send `data` to the current object in packets of `packet` bytes (None: the largest) and check the receipts that come.

        `start` is what the device held before; returned is what it should hold now.  Nothing but receipts says whether it does.
        """
        size = packet or self._transport.max_packet
        packets = (data[offset : offset + size] for offset in range(0, len(data), size))
        sent = [held async for held in self._exchange.send(packets, start, end=start.offset + len(data), ahead=1)]
        return sent[-1] if sent else start

    async def crc(self) -> Checksum:
        """What the device has received of the current object and everything before it."""
        return await self._exchange.ask_crc(f"{self._kind} CRC")

    async def execute(self) -> None:
        """Execute the current object.  For the last data object success comes before the result is stored: it proves nothing."""
        name = f"{self._kind} execute"
        wire.payload(name, await self._exchange.ask(bytes((Opcode.EXECUTE,)), name, self._waits.execute_s), Opcode.EXECUTE, 0)

    async def abort(self) -> None:
        """Tell the device to drop the link and reset, and wait until it has."""
        await self._transport.request(bytes((Opcode.ABORT,)))
        await self.wait_reset()

    async def wait_reset(self) -> None:
        """Wait until the link has ended, as it does after the last execute and after abort."""
        await within(self._waits.reset_s, "reset", self._transport.wait_lost())

    # ------------------------------------------------------------------------------------------------------ the update
    async def update(self, package: PackageImage) -> AsyncGenerator[Progress]:
        """Transfer init packet and firmware and execute both, going on where an earlier session stopped.

        Ends after the reply to the last execute.  When nothing of a resumed transfer can be confirmed, it starts again from a new
        init packet, once.  Raises `ChecksumMismatch` when an object still differs after all retries.
        """
        await self.set_receipts(1 if self._pace is Pace.LOCKSTEP else self._options.receipts_every)
        for afresh in (False, True):
            try:
                async with aclosing(self._send_init(package.init_packet, afresh=afresh)) as steps:
                    async for progress in steps:
                        yield progress
                async with aclosing(self._send_firmware(package.firmware)) as steps:
                    async for progress in steps:
                        yield progress
            except _NothingProven as mismatch:
                if afresh:
                    raise ChecksumMismatch(mismatch.request, mismatch.data, mismatch.reasons) from None
                total = len(package.init_packet)
                yield Progress(stage=Stage.INIT, step=Step.RESTART, offset=0, total=total, pace=self._pace, reason=str(mismatch))
            else:
                return

    async def _send_init(self, packet: bytes, *, afresh: bool) -> AsyncGenerator[Progress]:
        piece, reason = resume_init(packet, await self.select(ObjectType.COMMAND))
        if afresh:
            # Only a command create makes the device forget what it holds of the firmware.
            piece, reason = replace(piece, have=None), ""
        yield self._progress(piece, Step.RESUME, piece.have or 0, reason=reason)
        async with aclosing(self._send_object(piece)) as steps:
            async for progress in steps:
                yield progress
        if self._pace is not Pace.FULL:
            # The settings page and its backup are being rewritten: two erases that the first data object would have to queue behind.
            await asyncio.sleep(_QUEUE_DRAINED_S)

    async def _send_firmware(self, image: bytes) -> AsyncGenerator[Progress]:
        state = await self.select(ObjectType.DATA)
        first, reason = resume_data(image, state)
        if first is None:
            raise _NothingProven("data select", self._exchange.last_reply, (reason,))
        yield self._progress(first, Step.RESUME, first.start if first.have is None else first.have, reason=reason)
        for piece in (first, *pieces_after(first, object_size(state))):
            async with aclosing(self._send_object(piece)) as steps:
                async for progress in steps:
                    yield progress

    async def _send_object(self, piece: Piece) -> AsyncGenerator[Progress]:
        """Bring the object to the device and execute it, with as many retries as allowed."""
        await self._recover_pace()
        reasons: list[str] = []
        allowed = self._options.retries + 1
        while True:
            try:
                async with aclosing(self._attempt(piece, len(reasons) + 1)) as steps:
                    async for progress in steps:
                        yield progress
            except ChecksumMismatch as mismatch:
                reasons += mismatch.reasons
                if not piece.proven:
                    raise _NothingProven(mismatch.request, mismatch.data, tuple(reasons)) from None
                if len(reasons) >= allowed:
                    raise ChecksumMismatch(mismatch.request, mismatch.data, tuple(reasons)) from None
                await asyncio.sleep(_QUEUE_DRAINED_S)
                await self._slow_down(last=len(reasons) + 1 == allowed > 2)
            except Refused as refused:
                reasons.append(str(refused))
                if not piece.proven:
                    raise _NothingProven(refused.request, self._exchange.last_reply, tuple(reasons)) from None
                if len(reasons) >= allowed or not self._is_worth_another(piece, refused):
                    raise
                await asyncio.sleep(_QUEUE_DRAINED_S)
            else:
                return
            piece = replace(piece, have=None)
            yield self._progress(piece, Step.RETRY, piece.start, attempt=len(reasons) + 1, reason=reasons[-1])

    async def _attempt(self, piece: Piece, attempt: int) -> AsyncGenerator[Progress]:
        start = piece.start if piece.have is None else piece.have
        if piece.have is None:
            await self.create(piece.kind, piece.stop - piece.start)
        async with aclosing(self._packets(piece, start)) as sent:
            async for offset in sent:
                yield self._progress(piece, Step.PACKET, offset, attempt=attempt)
        if start < piece.stop:
            await self._confirm(piece)
            yield self._progress(piece, Step.CHECKED, piece.stop, attempt=attempt)
        stage = Stage.EXECUTE if piece.is_final else None
        if piece.is_final:
            yield self._progress(piece, Step.BEGIN, piece.stop, attempt=attempt, stage=stage)
        reason = ""
        try:
            await self.execute()
        except Refused as refused:
            if not piece.is_complete or not _is(refused, Result.OPERATION_NOT_PERMITTED):
                raise
            # Said of some versions between SDK 15 and 17, when the object had been executed before the link was lost.
            reason = f"taken for executed earlier: {refused}"
        yield self._progress(piece, Step.EXECUTED, piece.stop, attempt=attempt, stage=stage, reason=reason)

    async def _packets(self, piece: Piece, start: int) -> AsyncGenerator[int]:
        loop = asyncio.get_running_loop()
        erased_s = loop.time()
        if piece.kind is ObjectType.DATA and piece.have is None and self._pace is not Pace.FULL and self._pauses:
            erased_s += self._pauses[0]
        packets = piece.packets(start, self._transport.max_packet)
        ahead = 0 if self._pace is Pace.LOCKSTEP else 1
        number = 0
        async with aclosing(self._exchange.send(packets, checksum_of(piece.whole[:start]), end=piece.stop, ahead=ahead)) as sent:
            async for held in sent:
                yield held.offset
                number += 1
                if number == FLASH_QUEUE - 1 and loop.time() < erased_s:
                    await asyncio.sleep(erased_s - loop.time())

    async def _confirm(self, piece: Piece) -> None:
        expected = checksum_of(piece.whole[: piece.stop])
        held = await self.crc()
        if held != expected and self._exchange.receipts.every:
            # It may have been a receipt.
            held = (await self.select(piece.kind)).received
        if held != expected:
            reason = f"the device holds {held}, sent was {expected}"
            raise ChecksumMismatch(f"{self._kind} CRC", self._exchange.last_reply, (reason,))
        self._exchange.disarray.agreed()

    async def _slow_down(self, *, last: bool) -> None:
        """Be more careful from here on; the last attempt is as careful as can be."""
        if self._pace is not Pace.FULL and len(self._pauses) > 1:
            del self._pauses[0]
        if self._pace is Pace.FULL:
            self._pace = Pace.AFTER_ERASE
        if last and self._pace is not Pace.LOCKSTEP:
            self._pace = Pace.LOCKSTEP
            await self.set_receipts(1)

    async def _recover_pace(self) -> None:
        """Leave the LOCKSTEP of the object before, unless it was asked for."""
        if self._pace is Pace.LOCKSTEP and self._options.pace is not Pace.LOCKSTEP:
            self._pace = Pace.AFTER_ERASE
            await self.set_receipts(self._options.receipts_every)

    @staticmethod
    def _is_worth_another(piece: Piece, refused: Refused) -> bool:
        """Whether the refusal may come from how the object was begun, or from a full flash queue, and not from its content."""
        if _is(refused, Result.OPERATION_NOT_PERMITTED):
            return piece.have is not None
        return _is(refused, Result.INVALID_OBJECT) and refused.request == "data create"

    def _progress(
        self, piece: Piece, step: Step, offset: int, *, attempt: int = 1, stage: Stage | None = None, reason: str = ""
    ) -> Progress:
        of_piece = Stage.INIT if piece.kind is ObjectType.COMMAND else Stage.DATA
        return Progress(
            stage=stage or of_piece,
            step=step,
            offset=offset,
            total=len(piece.whole),
            object_index=piece.index,
            attempt=attempt,
            pace=self._pace,
            reason=reason,
        )


def _is(refused: Refused, result: Result) -> bool:
    return refused.group == RESULT_GROUP and refused.code == result
