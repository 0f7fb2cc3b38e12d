"""Opens the byte stream that a driver's ``port`` option names: a serial port, or a scheme such as ``virtual:dk1/console``.

Every stream stamps bytes when they are received, takes writes without waiting, and tells its receiver by one call with empty bytes
that the port has vanished; from then on every use raises `InstrumentError`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import serial

from rig.drivers import resolve
from rig.errors import InstrumentError
from rig.ports import ByteStream

STREAMS = {"virtual": "rig.virtual.wires:open_wire"}
"""Schemes by name: a coroutine function of (rest, baudrate=, owner=, open_serial=), loaded when it is first needed."""

_DRAIN_LIMIT_S = 2.0
_READ_SIZE = 65536
_POLL_S = 0.2
"""How often the reading thread looks whether it should end."""

_VANISHED = "the serial port has vanished"
_HINTS = {
    errno.ENOENT: "check the cable and the port's name; names under /dev/serial/by-id survive re-plugging",
    errno.EACCES: "this user may not use serial ports; on most systems membership of the group dialout allows it",
    errno.EBUSY: "another program has it open",
    errno.EAGAIN: "another program has it open",
}


async def open_stream(port: str, *, baudrate: int, owner: str) -> ByteStream:
    """Open `port` for the instrument `owner`: a path, a COM name, or ``scheme:rest`` with a scheme of `STREAMS`.

    Raises:
        InstrumentError: the port does not exist, is in use, or cannot be configured.
    """
    scheme, colon, rest = port.partition(":")
    if not (colon and scheme in STREAMS):
        return await open_serial(port, baudrate=baudrate, owner=owner)
    open_scheme: Callable[..., Awaitable[ByteStream]] = resolve(STREAMS[scheme])
    return await open_scheme(rest, baudrate=baudrate, owner=owner, open_serial=open_serial)


async def open_serial(port: str, *, baudrate: int, owner: str) -> ByteStream:
    """Open the serial port `port`, 8 data bits, no parity, one stop bit, for this process alone.

    Raises:
        InstrumentError: the port does not exist, is in use, or cannot be configured.
    """
    posix = os.name == "posix"
    try:
        # Exclusive use is what Windows always grants; pyserial refuses to be asked for it there.
        options: dict[str, Any] = {"timeout": 0, "exclusive": True} if posix else {"timeout": _POLL_S, "write_timeout": _DRAIN_LIMIT_S}
        handle = serial.Serial(port, baudrate, **options)
    except (OSError, ValueError) as error:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number else str(error)
        raise InstrumentError(owner, f"cannot open the serial port {port}: {reason}", hint=_HINTS.get(number or 0, "")) from error
    return SerialStream(handle, owner=owner) if posix else ThreadedSerialStream(handle, owner=owner)


class SerialStream:
    """`rig.ports.ByteStream` on a serial port that the event loop can watch (POSIX)."""

    def __init__(self, handle: serial.Serial, *, owner: str) -> None:
        self._handle = handle
        self._fd: int = handle.fileno()
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._receiver: Callable[[float, bytes], None] | None = None
        self._outgoing = bytearray()
        self._sent = asyncio.Event()
        self._lost: str | None = None

    def listen(self, receiver: Callable[[float, bytes], None]) -> None:
        self._receiver = receiver
        if self._lost is None:
            self._loop.add_reader(self._fd, self._readable)

    def write(self, data: bytes) -> None:
        self._check()
        waiting = bool(self._outgoing)
        self._outgoing += data
        if not waiting:
            self._writable()
            self._check()
            if self._outgoing:
                self._sent.clear()
                self._loop.add_writer(self._fd, self._writable)

    async def drain(self) -> None:
        """Wait until the operating system has taken every byte."""
        self._check()
        if self._outgoing:
            try:
                async with asyncio.timeout(_DRAIN_LIMIT_S):
                    await self._sent.wait()
            except TimeoutError:
                raise InstrumentError(self._owner, f"the serial port has taken no data for {_DRAIN_LIMIT_S:g} s") from None
            self._check()

    async def close(self) -> None:
        if self._lost is None:
            self._end("the serial port is closed")

    def _readable(self) -> None:
        now = self._loop.time()
        try:
            data = os.read(self._fd, _READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._end(_VANISHED)
        if self._receiver is not None:
            self._receiver(now, data)

    def _writable(self) -> None:
        try:
            del self._outgoing[: os.write(self._fd, self._outgoing)]
        except BlockingIOError:
            return
        except OSError:
            self._vanish()
        if not self._outgoing:
            self._loop.remove_writer(self._fd)
            self._sent.set()

    def _vanish(self) -> None:
        """A write has found out that the port is gone; the receiver hears of it as from a read."""
        self._end(_VANISHED)
        if self._receiver is not None:
            self._loop.call_soon(self._receiver, self._loop.time(), b"")

    def _end(self, reason: str) -> None:
        self._lost = reason
        self._loop.remove_reader(self._fd)
        self._loop.remove_writer(self._fd)
        self._outgoing.clear()
        self._sent.set()
        self._handle.close()

    def _check(self) -> None:
        if self._lost is not None:
            raise InstrumentError(self._owner, self._lost)


class ThreadedSerialStream:
    """`rig.ports.ByteStream` on a serial port that the event loop cannot watch (Windows): a thread reads and stamps."""

    def __init__(self, handle: serial.Serial, *, owner: str) -> None:
        self._handle = handle
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._receiver: Callable[[float, bytes], None] | None = None
        self._reader: threading.Thread | None = None
        self._writing: asyncio.Future[None] | None = None
        self._outgoing = bytearray()
        self._lost: str | None = None

    def listen(self, receiver: Callable[[float, bytes], None]) -> None:
        self._receiver = receiver
        if self._reader is None:
            self._reader = threading.Thread(target=self._read, name=f"read {self._handle.port}", daemon=True)
            self._reader.start()

    def write(self, data: bytes) -> None:
        self._check()
        self._outgoing += data
        if self._writing is None:
            self._writing = asyncio.ensure_future(self._write())

    async def drain(self) -> None:
        """Wait until the operating system has taken every byte."""
        if self._writing is not None:
            await self._writing
        self._check()

    async def close(self) -> None:
        if self._lost is None:
            self._lost = "the serial port is closed"
            if self._writing is not None:
                await self._writing
            if self._reader is not None:
                await asyncio.to_thread(self._reader.join, 2 * _POLL_S)
            self._handle.close()

    async def _write(self) -> None:
        """Hand the bytes over in order; pyserial gives up after its own write time limit."""
        while self._outgoing:
            data = bytes(self._outgoing)
            self._outgoing.clear()
            try:
                await asyncio.to_thread(self._handle.write, data)
            except (OSError, ValueError):
                self._vanish(self._loop.time())
        self._writing = None

    def _read(self) -> None:
        """Body of the reading thread."""
        while self._lost is None:
            try:
                data: bytes = self._handle.read(max(1, self._handle.in_waiting))
            except (OSError, TypeError, ValueError):  # pyserial's own way of saying that a port has been closed varies
                self._loop.call_soon_threadsafe(self._vanish, self._loop.time())
                return
            if data:
                self._loop.call_soon_threadsafe(self._receive, self._loop.time(), data)

    def _receive(self, t: float, data: bytes) -> None:
        if self._receiver is not None:
            self._receiver(t, data)

    def _vanish(self, t: float) -> None:
        if self._lost is None:
            self._lost = _VANISHED
            self._handle.close()
            self._receive(t, b"")

    def _check(self) -> None:
        if self._lost is not None:
            raise InstrumentError(self._owner, self._lost)
