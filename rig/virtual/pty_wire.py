"""A byte wire whose host end is a real serial port: a pseudo-terminal that pyserial opens by its path.

For the wall clock.  The device holds the same end as on a `rig.virtual.wire.VirtualWire`; the operating system adds its own latency.
POSIX only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tty
from collections.abc import Callable

from rig.virtual.wire import Line, Receiver

_READ_SIZE = 65536
_USB_BACKLOG = 65536
"""How many bytes a USB device holds back while the host does not read them; what comes on top is lost."""


class PtyWire:
    """A `DeviceEnd` on a new pseudo-terminal in raw mode.

    With a baud rate the line is paced and, as a UART without flow control, loses what the host's buffer cannot take; without one
    (USB) the bytes wait for the host.
    """

    def __init__(self, *, baudrate: int | None = None) -> None:
        self._backlog_limit = 0 if baudrate else _USB_BACKLOG
        self._to_host = Line(baudrate=baudrate, deliver=self._push)
        self._to_device = Line(baudrate=baudrate, deliver=self._reach_device)
        self._receiver: Receiver | None = None
        self._backlog = bytearray()
        self._plugged = False
        self.is_broken = False
        """The port is there, but nothing reaches its other end any more: a loose wire."""
        self.late_s = 0.0
        """Without effect here: the operating system has its own delays."""
        self.on_use: Callable[[bool], object] = lambda _open: None
        """Never called: nobody is told when a pseudo-terminal is opened."""
        self.plug()

    @property
    def is_open(self) -> bool:
        """Taken for granted: the rig keeps its ports open."""
        return self._plugged

    @property
    def path(self) -> str:
        """The serial port that a driver opens; another one after every `plug`."""
        return self._path

    def listen(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def send(self, data: bytes) -> float:
        return self._to_host.send(data)

    def cut(self) -> None:
        self._to_host.cut()
        self._to_device.cut()

    def plug(self) -> None:
        """Create the port; nothing happens when it exists."""
        if self._plugged:
            return
        # The slave stays open here too: without any opener Linux reports a hang-up on the master for ever.
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._path = os.ttyname(self._slave)
        self._plugged = True
        asyncio.get_running_loop().add_reader(self._master, self._readable)

    def unplug(self) -> None:
        """Take the port away from under whoever has it open; nothing happens when it is gone."""
        if not self._plugged:
            return
        self._plugged = False
        self._backlog.clear()
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._master)
        loop.remove_writer(self._master)
        os.close(self._master)
        os.close(self._slave)

    def _readable(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._to_device.send(os.read(self._master, _READ_SIZE))

    def _reach_device(self, t: float, data: bytes) -> None:
        if self._receiver is not None and not self.is_broken:
            self._receiver(t, data)

    def _push(self, t: float, data: bytes) -> None:
        del t  # the host stamps what it reads
        if not self._plugged or self.is_broken:
            return
        if not self._backlog:
            data = data[self._write(data) :]
        if data and len(self._backlog) + len(data) <= self._backlog_limit:
            if not self._backlog:
                asyncio.get_running_loop().add_writer(self._master, self._writable)
            self._backlog += data

    def _writable(self) -> None:
        del self._backlog[: self._write(self._backlog)]
        if not self._backlog:
            asyncio.get_running_loop().remove_writer(self._master)

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return os.write(self._master, data)
        except BlockingIOError:
            return 0
