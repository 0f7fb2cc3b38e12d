"""Flash operations while the radio runs: queued, cut into small commands, done one after the other in the background.

The SoftDevice drives the NVMC between radio events.  Sixteen operations may wait, the one under way included; a write is passed on
in commands of at most 20 bytes.  A length that is not a multiple of 4 is not refused: of the last command with r bytes, r < 4
writes a whole word (what follows in the source buffer comes with it), r > 4 writes r // 4 words and loses the rest.

The commands of a write follow each other without a gap, and a power cut tears words, not commands.  So a write whose source nobody
touches before its end is done in one go here, which leaves the same flash at every moment.

Source: nRF5 SDK 17.0.2, `components/libraries/fstorage/nrf_fstorage_sd.c`; queue size and command size are the BLE example's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rig.virtual.cpu import Cpu
from rig.virtual.parts import PAGE_SIZE, WORD_SIZE

CAPACITY = 16
COMMAND_SIZE = 20


@dataclass(kw_only=True, eq=False)
class _Erase:
    address: int
    done: Callable[[], None] | None


@dataclass(kw_only=True, eq=False)
class _Write:
    """`source` is read when a command starts, not when it is queued: whoever changes it meanwhile changes what is written.

    `steady`: nobody does before the end, so that all commands are done as one.
    """

    address: int
    source: bytearray
    length: int
    done: Callable[[], None] | None
    steady: bool
    offset: int = 0


class FlashQueue:
    """`run` must be running in the background; `erase` and `write` only queue."""

    def __init__(self, cpu: Cpu) -> None:
        self._cpu = cpu
        self._entries: deque[_Erase | _Write] = deque()
        self._work = asyncio.Event()
        self._first_command = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def erase(self, address: int, done: Callable[[], None] | None = None) -> bool:
        """Queue the erase of a page; False when the queue is full or the address is no page.  `done` is called after it."""
        return address % PAGE_SIZE == 0 and self._put(_Erase(address=address, done=done))

    def write(
        self, address: int, source: bytearray, length: int, done: Callable[[], None] | None = None, *, steady: bool = False
    ) -> bool:
        """Queue the write of the first `length` bytes of `source`; False when the queue is full or the address is no word.

        `source` must be longer than `length` by what is missing to a whole word.  With `steady` it stays as it is until `done` is
        called, and the write is one flash operation; else each command is one.
        """
        return address % WORD_SIZE == 0 and length > 0 and self._put(
            _Write(address=address, source=source, length=length, done=done, steady=steady)
        )

    def _put(self, entry: _Erase | _Write) -> bool:
        if len(self._entries) >= CAPACITY:
            return False
        if not self._entries:
            self._first_command.clear()
            self._idle.clear()
        self._entries.append(entry)
        self._work.set()
        return True

    async def started(self) -> None:
        """Wait until the operation queued first has begun: what is queued on an idle queue starts before anything else happens."""
        if self._entries:
            await self._first_command.wait()

    async def idle(self) -> None:
        """Wait until everything queued has been done."""
        await self._idle.wait()

    async def run(self) -> None:
        """Do what is queued until this life of the processor ends."""
        while True:
            if not self._entries:
                self._work.clear()
                self._idle.set()
                await self._work.wait()
                continue
            self._first_command.set()
            entry = self._entries[0]
            if await self._advance(entry):
                if entry.done is not None:
                    entry.done()
                self._entries.popleft()
            # One operation per turn of the loop: requests that arrive meanwhile are served in between, as interrupts would be.
            await asyncio.sleep(0)

    async def _advance(self, entry: _Erase | _Write) -> bool:
        """Do one operation of `entry`; True when it was the last."""
        if isinstance(entry, _Erase):
            await self._cpu.erase_page(entry.address)
            return True
        left = entry.length - entry.offset
        chunk = left if entry.steady else min(COMMAND_SIZE, left)
        piece = bytes(entry.source[entry.offset : entry.offset + _written(chunk)])
        await self._cpu.write(entry.address + entry.offset, piece)
        entry.offset += chunk
        return entry.offset == entry.length


def _written(length: int) -> int:
    """Bytes that reach the flash of `length` bytes: whole commands, and of the last one whole words, one at least."""
    whole, rest = length - length % COMMAND_SIZE, length % COMMAND_SIZE
    return whole + (max(1, rest // WORD_SIZE) * WORD_SIZE if rest else 0)
