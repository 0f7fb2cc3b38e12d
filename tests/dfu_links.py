"""Ways to the device of the DFU client's tests: a BLE link with connection events, a serial line; and updates over them."""

from __future__ import annotations

import asyncio
import itertools
import struct
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from rig.errors import LinkLost
from rig.formats import slip
from rig.ota.secure_dfu import (
    CONTROL_POINT,
    PACKET,
    GattTransport,
    Options,
    Progress,
    SecureDfuSession,
    SerialTransport,
    Step,
)
from rig.virtual.clock import loop_factory
from tests.dfu_device import Device, Image

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(work)


async def update(device: Device, image: Image, options: Options | None = None, **link: Any) -> list[Progress]:
    async with GattTransport(Link(device, **link)) as transport:
        return [progress async for progress in SecureDfuSession(transport, options=options).update(image)]


async def serial_update(line: SerialLine, image: Image, options: Options | None = None) -> list[Progress]:
    async with SerialTransport(line) as transport:
        return [progress async for progress in SecureDfuSession(transport, options=options).update(image)]


def retries(steps: list[Progress]) -> list[Progress]:
    return [step for step in steps if step.step in (Step.RETRY, Step.RESTART)]


class Link:
    """A GATT link with connection events: up to `per_event` packets each way in each, no losses."""

    def __init__(
        self,
        device: Device,
        *,
        interval_s: float = 0.015,
        per_event: int = 6,
        buffers: int = 8,
        max_write: int = 244,
        tamper: Callable[[bytes], list[bytes]] = lambda reply: [reply],
    ) -> None:
        self.max_write = max_write
        self.lost_reason: int | None = None
        self.device = device
        self.events = 0
        self._interval_s = interval_s
        self._per_event = per_event
        self._buffers = buffers
        self._tamper = tamper
        self._down: deque[tuple[str, bytes, asyncio.Future[None] | None]] = deque()
        self._up: deque[tuple[asyncio.Future[None] | None, bytes]] = deque()
        self._room = asyncio.Event()
        self._lost: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._receiver: Callable[[bytes], None] = lambda _data: None
        self._task = asyncio.ensure_future(self._run())

    @property
    def is_up(self) -> bool:
        return not self._lost.done()

    def drop(self, reason: int) -> None:
        if self.is_up:
            self.lost_reason = reason
            self._lost.set_result(reason)
            self._task.cancel()
            for _, _, done in self._down:
                if done is not None and not done.done():
                    done.set_exception(LinkLost(reason))
            self._room.set()
            self.device.link_ended()

    async def read(self, characteristic: str) -> bytes:
        raise NotImplementedError

    async def write(self, characteristic: str, data: bytes, *, response: bool) -> None:
        assert len(data) <= self.max_write
        while self.is_up and len(self._down) >= self._buffers:
            self._room.clear()
            await self._room.wait()
        if not self.is_up:
            raise LinkLost(self.lost_reason)
        done = asyncio.get_running_loop().create_future() if response else None
        self._down.append((characteristic, data, done))
        if done is not None:
            await done

    async def subscribe(self, characteristic: str, receiver: Callable[[bytes], None]) -> None:
        assert characteristic == CONTROL_POINT
        self._receiver = receiver

    async def wait_lost(self) -> int | None:
        return await asyncio.shield(self._lost)

    async def disconnect(self) -> None:
        self.drop(0x16)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        first = loop.time()
        for number in itertools.count(1):
            await asyncio.sleep(first + number * self._interval_s - loop.time())
            self._room.set()
            if loop.time() < self.device.busy_until():
                continue
            self.events += 1
            ready = [self._up.popleft() for _ in range(min(self._per_event, len(self._up)))]
            for _ in range(min(self._per_event, len(self._down))):
                await asyncio.sleep(self._interval_s / self._per_event * 0.99)
                characteristic, data, done = self._down.popleft()
                if characteristic == PACKET:
                    replies = self.device.packet(data)
                else:
                    replies = self.device.request(data)
                    self._up.append((done, b""))
                self._up.extend((None, sent) for reply in replies for sent in self._tamper(reply))
                self._room.set()
            for done, data in ready:
                if done is not None:
                    if not done.done():
                        done.set_result(None)
                else:
                    self._receiver(data)
            if self.device.reset and not self._up:
                self.drop(0x13)
                return


class SerialLine:
    """The host's end of a serial line (`rig.ports.ByteStream`) with the device behind it; `noise` comes before the first reply."""

    def __init__(
        self, device: Device, *, mtu: int = 131, noise: bytes = b"", tamper: Callable[[bytes], bytes] = lambda data: data
    ) -> None:
        self.device = device
        self._mtu = mtu
        self._noise = noise
        self._tamper = tamper
        self._decoder = slip.Decoder()
        self._receiver: Callable[[float, bytes], None] = lambda _when, _data: None
        self._free_s = 0.0
        self._sent_s = 0.0

    def listen(self, receiver: Callable[[float, bytes], None]) -> None:
        self._receiver = receiver

    def write(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._free_s = max(self._free_s, loop.time()) + len(data) * 10 / 115200
        loop.call_at(self._free_s, self._deliver, data)

    async def drain(self) -> None:
        await asyncio.sleep(self._free_s - asyncio.get_running_loop().time())

    async def close(self) -> None: ...

    def _deliver(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            for reply in self._serve(frame.data):
                self._send(self._tamper(slip.encode(reply)))

    def _serve(self, request: bytes) -> list[bytes]:
        match request[0]:
            case 0x07:
                return [b"\x60\x07\x01" + struct.pack("<H", self._mtu)]
            case 0x08:
                assert 2 * len(request) + 1 <= self._mtu
                return self.device.packet(request[1:])
            case 0x09:
                return [b"\x60\x09\x01" + request[1:]]
            case _:
                return self.device.request(request)

    def _send(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        if self._noise:
            loop.call_soon(self._hand_over, self._noise)
            self._noise = b""
        self._sent_s = max(self._sent_s, loop.time()) + len(data) * 10 / 115200
        loop.call_at(self._sent_s, self._hand_over, data)

    def _hand_over(self, data: bytes) -> None:
        for start in range(0, len(data), 7):  # a UART hands bytes over as they come
            self._receiver(self._sent_s, data[start : start + 7])
