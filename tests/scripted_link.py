"""A link whose other end is a script: SMP requests in, notifications out."""

import asyncio
import struct
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, TypeVar

import cbor2

from rig.errors import LinkLost
from rig.ota.smp import SMP_CHARACTERISTIC, SmpSession
from rig.virtual.clock import loop_factory

T = TypeVar("T")
MTU_WRITE = 244
OS_PARAMS, IMAGE_STATE, IMAGE_UPLOAD = (0, 6), (1, 0), (1, 1)


@dataclass(frozen=True)
class Request:
    op: int
    group: int
    sequence: int
    command: int
    payload: dict[str, Any]
    size: int

    @property
    def kind(self) -> tuple[int, int]:
        return self.group, self.command

    def reply(self, payload: Any, *, sequence: int | None = None) -> bytes:
        return self.frame(cbor2.dumps(payload), sequence=sequence)

    def frame(self, body: bytes, *, sequence: int | None = None) -> bytes:
        number = self.sequence if sequence is None else sequence
        return struct.pack(">BBHHBB", self.op + 1, 0, len(body), self.group, number, self.command) + body


Script = Callable[[Request], Iterable[bytes] | None]


class ScriptedLink:
    """A `rig.ports.GattLink` whose other end is a script: request in, notifications out (None: silence)."""

    def __init__(self, script: Script, *, max_write: int = MTU_WRITE) -> None:
        self.max_write = max_write
        self.lost_reason: int | None = None
        self.writes: list[bytes] = []
        self.requests: list[Request] = []
        self.receiver: Callable[[bytes], None] = lambda _data: None
        self._script = script
        self._pending = bytearray()
        self._lost = asyncio.Event()

    @property
    def is_up(self) -> bool:
        return not self._lost.is_set()

    async def read(self, characteristic: str) -> bytes:
        raise AssertionError("SMP reads nothing")

    async def write(self, characteristic: str, data: bytes, *, response: bool) -> None:
        assert characteristic == SMP_CHARACTERISTIC
        assert not response
        assert len(data) <= self.max_write
        if not self.is_up:
            raise LinkLost(self.lost_reason)
        self.writes.append(data)
        self._pending += data
        await asyncio.sleep(0)
        while len(self._pending) >= 8 and len(self._pending) >= (end := 8 + int.from_bytes(self._pending[2:4], "big")):
            head = struct.unpack_from(">BBHHBB", self._pending)
            payload = cbor2.loads(self._pending[8:end])
            request = Request(head[0] & 7, head[3], head[4], head[5], payload, end)
            del self._pending[:end]
            self.requests.append(request)
            for notification in self._script(request) or ():
                asyncio.get_running_loop().call_soon(self.receiver, notification)

    async def subscribe(self, characteristic: str, receiver: Callable[[bytes], None]) -> None:
        assert characteristic == SMP_CHARACTERISTIC
        self.receiver = receiver

    async def wait_lost(self) -> int | None:
        await self._lost.wait()
        return self.lost_reason

    async def disconnect(self) -> None:
        self.lose(0x16)

    def lose(self, reason: int) -> None:
        self.lost_reason = reason
        self._lost.set()


def run(scenario: Callable[[], Awaitable[T]]) -> T:
    async def limited() -> T:
        async with asyncio.timeout(100_000):
            return await scenario()

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(limited())


def talk(script: Script, action: Callable[[SmpSession], Awaitable[T]], *, max_write: int = MTU_WRITE, **options: Any) -> T:
    """Run `action` in a session with a device that answers the params question properly and everything else by `script`."""

    async def scenario() -> T:
        async with SmpSession(ScriptedLink(with_params(script), max_write=max_write), **options) as session:
            return await action(session)

    return run(scenario)


def with_params(script: Script, *, buf_size: int = 2475) -> Script:
    def answer(request: Request) -> Iterable[bytes] | None:
        if request.kind == OS_PARAMS:
            return [request.reply({"buf_size": buf_size, "buf_count": 4})]
        return script(request)

    return answer


def one(payload: Any) -> Script:
    return lambda request: [request.reply(payload)]


def now() -> float:
    return asyncio.get_running_loop().time()


async def whole_upload(session: SmpSession, image: bytes) -> list[int]:
    return [offset async for offset in session.upload(image)]


def device(image: bytes, *, start: int = 0, knows_params: bool = True) -> Script:
    """An honest device that has the first `start` bytes of `image` already."""
    slot = bytearray(image[:start])

    def script(request: Request) -> Iterable[bytes]:
        if request.kind == OS_PARAMS:
            return [request.reply({"buf_size": 600, "buf_count": 1} if knows_params else {"rc": 8})]
        payload = request.payload
        if payload["off"] == 0:
            assert payload["len"] == len(image)
            if start and payload["sha"] == sha256(image).digest() and len(slot) == start:
                return [request.reply({"off": start})]
        if payload["off"] == len(slot):
            slot.extend(payload["data"])
        done = {"match": bytes(slot) == image} if len(slot) == len(image) else {}
        return [request.reply({"off": len(slot), **done})]

    return script
