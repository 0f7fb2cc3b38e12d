"""The DFU protocol over a serial port: requests, packets (opcode 08) and replies as SLIP frames.

Source: nRF5 SDK 17.0.2, `bootloader/serial_dfu/nrf_dfu_serial_uart.c`, `nrf_dfu_serial.c`, `components/libraries/slip/slip.c`.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto

from rig.formats.slip import END, ESC, ESC_END, ESC_ESC, encode
from rig.virtual.cpu import Cpu, SerialPort
from rig.virtual.secure_dfu.codes import Opcode
from rig.virtual.secure_dfu.flash_queue import FlashQueue
from rig.virtual.secure_dfu.request_handler import RequestHandler

MTU = 131
"""Bytes of a frame at worst: 64 bytes and the opcode, all escaped, and the END.  What opcode 07 reports."""
PACKET_SIZE = MTU + 1


class _State(Enum):
    DECODING = auto()
    ESCAPED = auto()
    CLEARING = auto()


class FrameReceiver:
    """The SDK's SLIP decoder.  An END right after an END is an empty frame; a frame that fills the buffer blocks it until reset."""

    def __init__(self, size: int = MTU) -> None:
        self._size = size
        self._frame = bytearray()
        self._state = _State.DECODING

    def feed(self, data: bytes) -> list[bytes]:
        """Take bytes and return the frames that they complete."""
        return [frame for byte in data if (frame := self._take(byte)) is not None]

    def _take(self, byte: int) -> bytes | None:
        if len(self._frame) == self._size:
            return None
        match self._state, byte:
            case _State.DECODING, _ if byte == END:
                frame = bytes(self._frame)
                self._frame.clear()
                return frame
            case _State.DECODING, _ if byte == ESC:
                self._state = _State.ESCAPED
            case _State.DECODING, _:
                self._frame.append(byte)
            case _State.ESCAPED, _ if byte in {ESC_END, ESC_ESC}:
                self._frame.append(END if byte == ESC_END else ESC)
                self._state = _State.DECODING
            case _State.ESCAPED, _:
                self._state = _State.CLEARING
            case _State.CLEARING, _ if byte == END:
                self._state = _State.DECODING
                self._frame.clear()
        return None


class SerialLink:
    """The protocol on the serial port of one DFU mode.  Without a radio flash operations block, so a request waits for the last one's."""

    def __init__(self, cpu: Cpu, port: SerialPort, handler: RequestHandler, queue: FlashQueue) -> None:
        self._cpu = cpu
        self._port = port
        self._handler = handler
        self._queue = queue
        self._frames: asyncio.Queue[bytes] = asyncio.Queue()
        self._receiver = FrameReceiver()

    async def start(self) -> None:
        """Listen and serve in the background."""
        self._port.listen(self._on_bytes)
        self._cpu.spawn(self._serve())

    async def close(self) -> None:
        """Turn deaf."""
        self._port.listen(lambda _data: None)

    def _on_bytes(self, data: bytes) -> None:
        for frame in self._receiver.feed(data):
            self._frames.put_nowait(frame)

    async def _serve(self) -> None:
        while True:
            frame = await self._frames.get()
            is_packet = frame[:1] == bytes((Opcode.WRITE,))
            reply = self._handler.packet(frame[1:]) if is_packet else await self._handler.control(frame)
            if reply is not None:
                await self._port.send(encode(reply))
            await self._queue.idle()
