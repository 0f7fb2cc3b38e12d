"""DFU over a serial line: the same requests in SLIP frames, packets as opcode 08.  Lab benches use it to leave the radio out.

Source: nRF5 SDK 17.0.2, `serial_dfu/nrf_dfu_serial.c` and `nrf_dfu_serial_uart.c`; 115200 8N1 with RTS/CTS by default.
"""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType
from typing import Self

from rig.errors import MalformedReply, NoReply
from rig.formats import slip
from rig.ota.secure_dfu.transport import Inbox, whole_words, within
from rig.ota.secure_dfu.wire import RESPONSE, Opcode, payload
from rig.ports import ByteStream

_FRAME_LIMIT = 2048
_PINGS_PER_LIMIT = 10


class SerialTransport:
    """DFU over a `ByteStream`.  An async context manager: entering pings until the bootloader answers and asks for its MTU.

    Whatever else is on the line before the first pong, for instance boot messages, is skipped.  Leaving does not close the stream.
    `ready_s` limits the wait for the pong, `request_s` that for the MTU, `room_s` the time until bytes have left the host.
    """

    def __init__(self, stream: ByteStream, *, ready_s: float = 15.0, request_s: float = 10.0, room_s: float = 20.0) -> None:
        self.notifications = Inbox()
        self._stream = stream
        self._ready_s = ready_s
        self._request_s = request_s
        self._room_s = room_s
        self._decoder = slip.Decoder(limit=_FRAME_LIMIT)
        self._max_packet = 0
        self._pong = asyncio.Event()
        self._expected_pong = b""

    @property
    def max_packet(self) -> int:
        return self._max_packet

    async def __aenter__(self) -> Self:
        self._stream.listen(self._receive_pong)
        await self._ping()
        self._stream.listen(self._receive)
        await self.request(bytes((Opcode.GET_MTU,)))
        reply = await within(self._request_s, "get MTU", self.notifications.get())
        (mtu,) = struct.unpack("<H", payload("get MTU", reply, Opcode.GET_MTU, 2))
        # Every byte of a frame may need two on the line; one is the opcode, one END.
        self._max_packet = whole_words((mtu - 1) // 2 - 1)
        if self._max_packet <= 0:
            raise MalformedReply("get MTU", reply, f"an MTU of {mtu} leaves no room for data")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.listen(lambda _when, _data: None)

    async def request(self, data: bytes) -> None:
        await self._send(data, f"serial write of request {data[:1].hex()}")

    async def send_packet(self, data: bytes) -> None:
        await self._send(bytes((Opcode.WRITE,)) + data, "room for a packet")

    async def wait_lost(self) -> None:
        """A serial line has no link that could end; return at once."""

    async def _send(self, data: bytes, name: str) -> None:
        self._stream.write(slip.encode(data))
        await within(self._room_s, name, self._stream.drain())

    async def _ping(self) -> None:
        for number in range(1, _PINGS_PER_LIMIT + 1):
            self._expected_pong = bytes((RESPONSE, Opcode.PING, 1, number))
            await self.request(bytes((Opcode.PING, number)))
            try:
                async with asyncio.timeout(self._ready_s / _PINGS_PER_LIMIT):
                    await self._pong.wait()
            except TimeoutError:
                continue
            return
        raise NoReply("ping", self._ready_s)

    def _receive_pong(self, _when_s: float, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            if frame.data == self._expected_pong:
                self._pong.set()

    def _receive(self, _when_s: float, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            if frame.damage:
                self.notifications.end(MalformedReply("serial frame", frame.data, frame.damage))
            else:
                self.notifications.put(frame.data)
