"""A small SMP server on a virtual peripheral: just enough of MCUmgr to measure and to provoke the client."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from typing import Any

import cbor2

from rig.virtual.air import Air
from rig.virtual.ble_peripheral import BlePeripheral, Characteristic, NotSubscribed, PeerGone, Service
from rig.virtual.link_end import LinkEnd

SMP_SERVICE = "8d53dc1d-1db7-4cd3-868b-8a527460aa84"
SMP_CHARACTERISTIC = "da2e7828-fbce-4e01-ae9e-261174997c48"
NAME = "smp-server"


class SmpServer:
    """Keeps what is uploaded in `slot`; one upload session, in RAM."""

    def __init__(self, air: Air, *, address: str = "C0:00:00:00:00:01", buf_size: int = 2475, **peripheral: Any) -> None:
        self.radio = BlePeripheral(air, address=address, **peripheral)
        self.slot = bytearray()
        self.first_chunk_s = 0.0
        self._buf_size = buf_size
        self._total = 0
        self._sha = b""
        self._received = bytearray()
        self._requests: asyncio.Queue[bytes] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._listener: Callable[[bytes], None] | None = None

    @property
    def central_end(self) -> LinkEnd:
        """The other end of the connection, as its link layer has it."""
        assert self.radio._end is not None
        return self.radio._end.peer

    def listen(self, listener: Callable[[bytes], None]) -> None:
        """Give every write to `listener` instead of serving it."""
        self._listener = listener

    async def start(self, *, max_mtu: int = 247, interval_s: float = 0.1) -> None:
        characteristic = Characteristic(
            uuid=SMP_CHARACTERISTIC, properties=frozenset({"write-without-response", "notify"}), on_write=self._on_write
        )
        await self.radio.start([Service(uuid=SMP_SERVICE, characteristics=(characteristic,))], name=NAME, max_mtu=max_mtu)
        self.radio.on_connected = self._received.clear
        await self.radio.advertise(name=NAME, service_uuids=[SMP_SERVICE], interval_s=interval_s)
        self._task = asyncio.create_task(self._serve(), name="smp server")

    async def stop(self) -> None:
        self.radio.vanish()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def _on_write(self, fragment: bytes) -> None:
        if self._listener is not None:
            self._listener(fragment)
            return
        self._received += fragment
        if len(self._received) >= 8 and len(self._received) >= 8 + int.from_bytes(self._received[2:4], "big"):
            self._requests.put_nowait(bytes(self._received))
            self._received.clear()

    async def _serve(self) -> None:
        while True:
            request = await self._requests.get()
            op, _flags, _length, group, sequence, command = struct.unpack_from(">BBHHBB", request)
            payload = cbor2.loads(request[8:]) if len(request) > 8 else {}
            answer = cbor2.dumps(await self._answer(group, command, payload))
            frame = struct.pack(">BBHHBB", op | 1, 0, len(answer), group, sequence, command) + answer
            step = self.radio.mtu - 3
            try:
                for start in range(0, len(frame), step):
                    await self.radio.notify(SMP_CHARACTERISTIC, frame[start : start + step])
            except (PeerGone, NotSubscribed):
                continue

    async def _answer(self, group: int, command: int, payload: dict[str, Any]) -> dict[str, Any]:
        match group, command:
            case 0, 6:
                return {"buf_size": self._buf_size, "buf_count": 4}
            case 1, 1:
                return await self._upload(payload)
        return {"rc": 8}

    async def _upload(self, payload: dict[str, Any]) -> dict[str, Any]:
        offset = payload["off"]
        if offset == 0 and payload.get("sha") == self._sha and self._sha and len(self.slot) < self._total:
            return {"off": len(self.slot)}
        if offset == 0:
            self._total, self._sha = payload["len"], payload.get("sha", b"")
            self.slot.clear()
            await asyncio.sleep(self.first_chunk_s)
        if offset == len(self.slot):
            self.slot += payload["data"]
        return {"off": len(self.slot)}
