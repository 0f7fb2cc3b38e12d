"""A small device that speaks Secure DFU in real bytes, and a link to it with connection events.  For the client's tests only.

What it does is what `nrf_dfu_req_handler.c` of SDK 17.0.2 does: objects, cumulative CRC, receipts, page erase at create, flash
written in commands of 20 bytes, hash over the flash at the end.  What a test wants to go wrong, it changes by the fields of `Quirks`.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import struct
import zlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from rig.errors import LinkLost
from rig.formats import init_packet, slip
from rig.ota.secure_dfu import CONTROL_POINT, PACKET

PAGE = 4096
CAPTURED_INIT_PACKET = bytes.fromhex(
    "128a010a4408011240080110331a02870120002800300038f4fa0242240803122028229c1855b166741e44ab8a6eac2847cebd6ced2d2f4101276bf0"
    "fa2b7befc6480052040801120010001a408e9277297e36ee11d255c8e5a451e3a4bdd3359ab060d636185f93f8a521097b0ea3f384dd01c9845d9839"
    "88d2775e0079a99a3c50e377435cbf426ea10f7714"
)
"""What a phone sent to an nRF51 with Nordic's bootloader of SDK 12.3, and what that device answered (a public capture)."""


def package(size: int = 10_000, version: int = 1) -> Image:
    firmware = hashlib.shake_256(b"firmware %d" % version).digest(size)
    command = init_packet.InitCommand(
        fw_version=version, hw_version=52, sd_req=(0x100,), type=0, app_size=size, hash=init_packet.firmware_hash(firmware)
    )
    return Image(init_packet.unsigned_packet(init_packet.encode_init_command(command)), firmware)


@dataclass(frozen=True)
class Image:
    init_packet: bytes
    firmware: bytes


@dataclass
class Quirks:
    lose_packets: set[int] = field(default_factory=set)  # by number since power-up: dropped without a word
    lose_once: bool = False  # lose nothing any more once a data object is created again
    refuse: dict[bytes, list[int]] = field(default_factory=dict)  # request prefix -> result codes to answer instead, in turn
    ignore: list[bytes] = field(default_factory=list)  # request prefixes that get no reply at all
    keeps_data_progress: bool = False  # whether RAM progress survives a lost link, as in SDK 15
    executed_again: int = 1  # what executing an executed data object answers
    counts_receipts_from_select: bool = False


@dataclass
class Device:
    quirks: Quirks = field(default_factory=Quirks)
    max_data: int = PAGE
    erase_s: float = 0.085
    write_s: float = 41e-6  # per word
    queue: int = 16  # flash operations; 0: the radio stands still while the flash is busy, so nothing is lost
    flash: dict[int, bytearray] = field(default_factory=dict)
    installed: bytes = b""
    reset: bool = False
    requests: list[bytes] = field(default_factory=list)
    packets: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.current = 1
        self.command = bytearray()
        self.command_size = 0
        self.init: init_packet.InitCommand | None = None
        self.data = bytearray()  # as received; the CRC goes over this, not over the flash
        self.executed = 0
        self.object_end = 0
        self.stale_crc = 0  # reported at data offset 0
        self.every = 0
        self.count = 0
        self.aligned = True
        self._ends: deque[float] = deque()

    def hold(self, image: Image, offset: int, *, executed: int | None = None) -> None:
        """As if the first `offset` bytes of `image` had been received, and `executed` of them executed."""
        self.create(1, len(image.init_packet))
        self.command += image.init_packet
        self.execute()
        self.executed = offset // PAGE * PAGE if executed is None else executed
        self.object_end = min(self.executed + PAGE, len(image.firmware))
        self.data += image.firmware[:offset]
        for start in range(0, offset, PAGE):
            self.flash[start] = bytearray(image.firmware[start : min(start + PAGE, offset)].ljust(PAGE, b"\xff"))

    # ------------------------------------------------------------------------------------------------------- requests
    def request(self, data: bytes) -> list[bytes]:
        self.requests.append(data)
        op = data[:1]
        for prefix in self.quirks.ignore:
            if data.startswith(prefix):
                return []
        for prefix, codes in self.quirks.refuse.items():
            if data.startswith(prefix) and codes:
                code = codes.pop(0)
                return [b"\x60" + op + (bytes((code,)) if code < 0x100 else bytes((0x0B, code & 0xFF)))]
        match data[0]:
            case 0x01:
                kind, size = struct.unpack("<BI", data[1:])
                return [b"\x60\x01" + bytes((self.create(kind, size),))]
            case 0x02:
                (self.every,) = struct.unpack("<H", data[1:])
                self.count = 0
                return [b"\x60\x02\x01"]
            case 0x03:
                return [self.crc_reply()]
            case 0x04:
                return [b"\x60\x04" + self.execute()]
            case 0x06:
                return [b"\x60\x06" + self.select(data[1])]
            case 0x0C:
                self.reset = True
                return []
            case _:
                return [b"\x60" + op + b"\x02"]

    def held(self) -> bytes:
        if self.current == 2 and not self.data:
            return struct.pack("<II", 0, self.stale_crc)
        content = self.command if self.current == 1 else self.data
        return struct.pack("<II", len(content), zlib.crc32(content))

    def crc_reply(self) -> bytes:
        return b"\x60\x03\x01" + self.held()

    def select(self, kind: int) -> bytes:
        if kind not in (1, 2):
            return b"\x05"
        self.current = kind
        if self.quirks.counts_receipts_from_select:
            self.count = 0
        return b"\x01" + struct.pack("<I", 512 if kind == 1 else self.max_data) + self.held()

    def create(self, kind: int, size: int) -> int:
        self.current = kind
        if not self.quirks.counts_receipts_from_select:
            self.count = 0
        if kind == 1:
            if not 0 < size <= 512:
                return 4 if size else 3
            self.command, self.command_size = bytearray(), size
            self.data, self.executed, self.init, self.stale_crc = bytearray(), 0, None, 0
            return 1
        if kind != 2:
            return 5
        if self.init is None:
            return 8
        assert self.init.app_size is not None
        if size == 0 or (size % PAGE and self.executed + size != self.init.app_size):
            return 3
        if size > self.max_data:
            return 4
        if self.executed + size > self.init.app_size:
            return 8
        if self.quirks.lose_once and len(self.data) > self.executed:
            self.quirks.lose_packets = set()
        del self.data[self.executed :]
        if not self.enqueue(self.erase_s):
            return 5
        self.aligned = True
        self.object_end = self.executed + size
        self.flash[self.executed] = bytearray(b"\xff" * PAGE)
        return 1

    def execute(self) -> bytes:
        if self.current == 1:
            if len(self.command) != self.command_size:
                return b"\x08"
            self.init = init_packet.decode(bytes(self.command)).command
            return b"\x01"
        if self.init is None:
            self.reset = True
            return b"\x0b\x0c"
        if len(self.data) == self.executed and self.executed != self.init.app_size:
            return bytes((self.quirks.executed_again,))
        if len(self.data) != self.object_end:
            return b"\x08"
        self.executed = len(self.data)
        if self.executed != self.init.app_size:
            return b"\x01"
        self.reset = True
        image = b"".join(bytes(self.flash[at]) for at in sorted(self.flash))[: self.executed]
        if init_packet.firmware_hash(image) != self.init.hash:
            return b"\x0b\x0c"
        self.installed = image
        return b"\x01"

    # -------------------------------------------------------------------------------------------------------- packets
    def packet(self, data: bytes) -> list[bytes]:
        self.packets.append(data)
        if len(self.packets) - 1 in self.quirks.lose_packets:
            return []
        if self.current == 1:
            self.command += data
            reply = self.crc_reply()
        elif self.init is None:
            reply = b"\x60\x03\x08"
        elif len(self.data) + len(data) > self.object_end:
            reply = b"\x60\x03\x03"
        elif not self.enqueue(len(data) / 4 * self.write_s):
            reply = b"\x60\x03\x01" + bytes(8)
        else:
            self.store(data)
            reply = self.crc_reply()
        self.count += 1
        if self.every and self.count == self.every:
            self.count = 0
            return [reply]
        return []

    def store(self, data: bytes) -> None:
        page, at = divmod(len(self.data), PAGE)
        self.data += data
        if not self.aligned:
            return
        for start in range(0, len(data), 20):
            piece = data[start : start + 20]
            size = len(piece) if len(piece) < 4 else len(piece) // 4 * 4
            self.flash[page * PAGE][at + start : at + start + size] = piece[:size]
        self.aligned = len(data) % 4 == 0

    def has_room(self, on_the_way: int = 0) -> bool:
        now = asyncio.get_running_loop().time()
        while self._ends and self._ends[0] <= now:
            self._ends.popleft()
        return not self.queue or len(self._ends) + on_the_way < self.queue

    def enqueue(self, duration_s: float) -> bool:
        now = asyncio.get_running_loop().time()
        if not self.has_room():
            return False
        self._ends.append(max(now, self._ends[-1] if self._ends else now) + duration_s)
        return True

    def busy_until(self) -> float:
        """When the core is free again, where flash operations stop it."""
        return self._ends[-1] if self._ends and not self.queue else 0.0

    def link_ended(self) -> None:
        if not self.quirks.keeps_data_progress:
            self.data, self.executed = bytearray(), 0


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
    """The host's end of a serial line (`rig.ports.ByteStream`) with the device behind it; `noise` is on the line before anything else."""

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
        data, self._noise = self._noise + data, b""
        loop = asyncio.get_running_loop()
        self._sent_s = max(self._sent_s, loop.time()) + len(data) * 10 / 115200
        loop.call_at(self._sent_s, self._hand_over, data)

    def _hand_over(self, data: bytes) -> None:
        for start in range(0, len(data), 7):  # a UART hands bytes over as they come
            self._receiver(self._sent_s, data[start : start + 7])
