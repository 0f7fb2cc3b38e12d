"""How requests and packets reach the bootloader: a port, the GATT implementation of it, and the inbox that both share.

GATT: nRF5 SDK 17.0.2, `ble_dfu/nrf_dfu_ble.c`.  The serial implementation is in `serial.py`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable
from types import TracebackType
from typing import Protocol, Self, TypeVar

from rig.errors import InstrumentError, LinkLost, MalformedReply, NoReply, RigError
from rig.ports import GattLink

DFU_SERVICE = "0000fe59-0000-1000-8000-00805f9b34fb"
CONTROL_POINT = "8ec90001-f315-4f60-9fb8-838830daea50"
PACKET = "8ec90002-f315-4f60-9fb8-838830daea50"

WORD_SIZE = 4
UNREAD_LIMIT = 256
"""Replies that may lie unread.  An object of 4096 bytes in the smallest packets (20 bytes) with a receipt for each gives 205."""

_T = TypeVar("_T")


async def within(limit_s: float, name: str, work: Awaitable[_T]) -> _T:
    """`work`, or `NoReply(name, limit_s)` when it takes longer than `limit_s` seconds."""
    try:
        async with asyncio.timeout(limit_s):
            return await work
    except TimeoutError:
        raise NoReply(name, limit_s) from None


class Inbox:
    """What the device sent and nobody has read yet, oldest first; and, behind it, why nothing more will come."""

    def __init__(self) -> None:
        self._unread: deque[bytes] = deque()
        self._end: RigError | None = None
        self._reader: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        return len(self._unread)

    def put(self, data: bytes) -> None:
        """Take one reply or notification.  More than `UNREAD_LIMIT` unread ones end the inbox: nobody asked for so many."""
        if self._end is not None:
            return
        if len(self._unread) >= UNREAD_LIMIT:
            self.end(MalformedReply("notifications", data, f"a storm: {UNREAD_LIMIT} of them were not asked for"))
            self._unread.clear()
            return
        self._unread.append(data)
        self._wake()

    def end(self, reason: RigError) -> None:
        """Nothing more will come; whoever reads beyond what is there gets `reason`.  The first reason stays."""
        if self._end is None:
            self._end = reason
        self._wake()

    def check(self) -> None:
        """Raise the reason for the end, if there is one and everything before it has been read."""
        if self._end is not None and not self._unread:
            raise self._end

    async def get(self) -> bytes:
        """The oldest unread one; waits for it.  The caller sets the limit."""
        while not self._unread:
            self.check()
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self.take()

    def take(self) -> bytes:
        """The oldest unread one, which there must be."""
        return self._unread.popleft()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class DfuTransport(Protocol):
    """A way to a bootloader in DFU mode.  Requests are answered in order in `notifications`.

    Methods raise `LinkLost`, `NoReply` (they know their own limits) and what the link below them raises.
    """

    notifications: Inbox

    @property
    def max_packet(self) -> int:
        """Largest packet in bytes, a multiple of 4: flash is written in words, so a packet that is none spoils the next."""
        ...

    async def request(self, data: bytes) -> None:
        """Hand a request to the device; returns when it has left, the reply comes later."""
        ...

    async def send_packet(self, data: bytes) -> None:
        """Hand object data over; waits only for room (back-pressure)."""
        ...

    async def wait_lost(self) -> None:
        """Return when the link has ended."""
        ...


def whole_words(size: int) -> int:
    """`size` rounded down to a multiple of 4."""
    return size // WORD_SIZE * WORD_SIZE


class GattTransport:
    """DFU over BLE: requests are writes with response on the control point, packets are writes without response.

    An async context manager: entering enables notifications, leaving stops watching the link but does not close it.
    `write_s` limits a control point write, `room_s` the wait for room in the controller's queue; both should exceed the
    supervision timeout (6 s in Nordic's bootloader), so that a lost link is reported as such.
    """

    def __init__(self, link: GattLink, *, write_s: float = 10.0, room_s: float = 20.0) -> None:
        self.notifications = Inbox()
        self._link = link
        self._write_s = write_s
        self._room_s = room_s
        self._watch: asyncio.Task[None] | None = None

    @property
    def max_packet(self) -> int:
        size = whole_words(self._link.max_write)
        if size == 0:
            raise InstrumentError("radio", f"the link takes writes of {self._link.max_write} bytes; ATT guarantees 20")
        return size

    async def __aenter__(self) -> Self:
        work = self._link.subscribe(CONTROL_POINT, lambda data: self.notifications.put(bytes(data)))
        await within(self._write_s, "enabling control point notifications", work)
        self._watch = asyncio.ensure_future(self._watch_link())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait((self._watch,))

    async def request(self, data: bytes) -> None:
        await within(
            self._write_s, f"control point write {data[:1].hex()}", self._link.write(CONTROL_POINT, data, response=True)
        )

    async def send_packet(self, data: bytes) -> None:
        await within(self._room_s, "room for a packet", self._link.write(PACKET, data, response=False))

    async def wait_lost(self) -> None:
        await self._link.wait_lost()

    async def _watch_link(self) -> None:
        try:
            self.notifications.end(LinkLost(await self._link.wait_lost()))
        except RigError as error:
            self.notifications.end(error)
