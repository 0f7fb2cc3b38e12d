"""A duplex byte wire in memory: the device on one end, a driver's `rig.ports.ByteStream` on the other.

A wire with a baud rate carries ten bits per byte in either direction; one without (USB) carries bytes at once.  Bytes travel and
arrive a write at a time, stamped with the moment at which the last of them had arrived.  Stricter than a cable: nothing that
arrives while the host's port is closed is kept, and a host that listens at another baud rate reads garbage.  Left out: parity and
framing errors as such; a byte that was cut is not seen at all.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rig.errors import InstrumentError

Receiver = Callable[[float, bytes], None]
"""Called with the time at which the last byte arrived, in seconds of the loop's clock, and the bytes."""

_BITS_PER_BYTE = 10
_GARBLE = 0x96
_CLOCK_RESOLUTION_S = 2e-9
"""asyncio fires timers up to its clock's resolution early."""


class DeviceEnd(Protocol):
    """The end of a wire that a virtual device holds."""

    def listen(self, receiver: Receiver) -> None:
        """Register the one receiver of what the host writes."""
        ...

    def send(self, data: bytes) -> float:
        """Queue `data` for the host; returns when its last bit will have left, seconds of the loop's clock."""
        ...

    def cut(self) -> None:
        """The device loses power: what is in flight in either direction ends at the last whole byte."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class _Flight:
    """Bytes on the line: the first bit leaves at `start_s`, the last has arrived at `end_s`."""

    start_s: float
    end_s: float
    data: bytes


class Line:
    """One direction of a wire.  `deliver` gets what has arrived, in order; nothing is scheduled while nothing is in flight."""

    def __init__(self, *, baudrate: int | None, deliver: Receiver) -> None:
        if baudrate is not None and baudrate <= 0:
            raise ValueError(f"a baud rate of {baudrate} is no baud rate")
        self.free_s = 0.0
        """When the last bit of everything sent so far has left, seconds of the loop's clock."""
        self._byte_s = _BITS_PER_BYTE / baudrate if baudrate else 0.0
        self._deliver = deliver
        self._flights: deque[_Flight] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def send(self, data: bytes) -> float:
        """Queue `data` behind what is in flight; returns when its last bit will have left."""
        start_s = max(asyncio.get_running_loop().time(), self.free_s)
        if data:
            self.free_s = start_s + len(data) * self._byte_s
            self._flights.append(_Flight(start_s=start_s, end_s=self.free_s, data=bytes(data)))
            self._arm()
        return self.free_s if data else start_s

    def cut(self) -> None:
        """Drop what is in flight, down to the last byte that has arrived whole."""
        now = asyncio.get_running_loop().time()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._deliver_due(now)
        if self._flights and self._flights[0].start_s < now:
            flight = self._flights[0]
            whole = int((now - flight.start_s) / self._byte_s + 1e-9)
            if whole:
                self._deliver(flight.start_s + whole * self._byte_s, flight.data[:whole])
        self._flights.clear()
        self.free_s = min(self.free_s, now)

    def _arm(self) -> None:
        if self._flights and self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(self._flights[0].end_s, self._arrive)

    def _arrive(self) -> None:
        self._timer = None
        self._deliver_due(asyncio.get_running_loop().time() + _CLOCK_RESOLUTION_S)
        self._arm()

    def _deliver_due(self, until_s: float) -> None:
        while self._flights and self._flights[0].end_s <= until_s:
            flight = self._flights.popleft()
            self._deliver(flight.end_s, flight.data)


class VirtualWire:
    """A `DeviceEnd` whose host end is opened in memory.  `baudrate` None stands for USB, which has no line rate."""

    def __init__(self, *, baudrate: int | None = None) -> None:
        self._baudrate = baudrate
        self._to_host = Line(baudrate=baudrate, deliver=self._reach_host)
        self._to_device = Line(baudrate=baudrate, deliver=self._reach_device)
        self._receiver: Receiver | None = None
        self._host: HostEnd | None = None
        self._garbled = False
        self._plugged = True
        self.is_broken = False
        """The port is there, but nothing reaches its other end any more: a loose wire."""
        self.late_s = 0.0
        """How much later than on the wire the host gets its bytes, seconds: a hub that is too busy."""
        self.on_use: Callable[[bool], object] = lambda _open: None
        """Called with True when the host opens its end, with False when it closes it."""

    def listen(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def send(self, data: bytes) -> float:
        return self._to_host.send(data)

    def cut(self) -> None:
        self._to_host.cut()
        self._to_device.cut()

    def open(self, *, baudrate: int, owner: str) -> HostEnd:
        """Open the host's end, as a driver opens a port.

        Raises:
            InstrumentError: the wire is unplugged, or somebody has it open.
        """
        if not self._plugged:
            raise InstrumentError(owner, "the port does not exist", hint="plug the instrument in")
        if self._host is not None:
            raise InstrumentError(owner, f"the port is in use by {self._host.owner}")
        self._garbled = self._baudrate not in (None, baudrate)
        self._host = HostEnd(self._to_device, owner=owner, hang_up=self._hang_up)
        self.on_use(True)
        return self._host

    @property
    def is_open(self) -> bool:
        """Whether the host has its end open."""
        return self._host is not None

    def unplug(self) -> None:
        """The port vanishes from the host, as in a USB re-enumeration."""
        self._plugged = False
        if self._host is not None:
            host, self._host = self._host, None
            host.lose("the port has vanished")

    def plug(self) -> None:
        """The port is there again."""
        self._plugged = True

    def _hang_up(self) -> None:
        self._host = None
        self.on_use(False)

    def _reach_host(self, t: float, data: bytes) -> None:
        if self._host is None or self.is_broken:
            return
        data = _garble(data) if self._garbled else data
        if self.late_s:
            asyncio.get_running_loop().call_later(self.late_s, self._host.receive, t + self.late_s, data)
        else:
            self._host.receive(t, data)

    def _reach_device(self, t: float, data: bytes) -> None:
        if self._receiver is not None and not self.is_broken:
            self._receiver(t, _garble(data) if self._garbled else data)


class HostEnd:
    """`rig.ports.ByteStream` on a `VirtualWire`.  A receiver is told of the end of the stream by empty bytes, once."""

    def __init__(self, line: Line, *, owner: str, hang_up: Callable[[], None]) -> None:
        self.owner = owner
        self._line = line
        self._hang_up = hang_up
        self._receiver: Receiver | None = None
        self._early: list[tuple[float, bytes]] = []
        self._lost: str | None = None

    def listen(self, receiver: Receiver) -> None:
        self._receiver = receiver
        early, self._early = self._early, []
        for t, data in early:
            receiver(t, data)

    def write(self, data: bytes) -> None:
        self._check()
        self._line.send(data)

    async def drain(self) -> None:
        self._check()
        await asyncio.sleep(max(0.0, self._line.free_s - asyncio.get_running_loop().time()))

    async def close(self) -> None:
        if self._lost is None:
            self._lost = "the port is closed"
            self._hang_up()

    def receive(self, t: float, data: bytes) -> None:
        """Take what has arrived from the device; kept, as an operating system keeps it, until somebody listens."""
        if self._receiver is None:
            self._early.append((t, data))
        else:
            self._receiver(t, data)

    def lose(self, reason: str) -> None:
        """The port has gone; every further use raises `InstrumentError` with `reason`."""
        self._lost = reason
        self.receive(asyncio.get_running_loop().time(), b"")

    def _check(self) -> None:
        if self._lost is not None:
            raise InstrumentError(self.owner, self._lost)


def _garble(data: bytes) -> bytes:
    """What a receiver at another baud rate makes of `data`: the same amount of nonsense every time."""
    return bytes(byte ^ _GARBLE for byte in data)
