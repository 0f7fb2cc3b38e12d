"""A small device that speaks Secure DFU in real bytes.  For the client's tests only.

What it does is what `nrf_dfu_req_handler.c` of SDK 17.0.2 does: objects, cumulative CRC, receipts, page erase at create, flash
written in commands of 20 bytes, hash over the flash at the end.  What a test wants to go wrong, it changes by the fields of `Quirks`.
"""

from __future__ import annotations

import asyncio
import hashlib
import struct
import zlib
from collections import deque
from dataclasses import dataclass, field

from rig.formats import init_packet

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
    settings_s: float = 0.0  # flash time that the execute of an init packet starts
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
            if self.settings_s:
                self.enqueue(self.settings_s)
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
