"""The Secure DFU client on the virtual air is as fast as the link allows for the same packets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from rig.drivers.radio_bleak import BleakLink, BleakRadio
from rig.ota.secure_dfu import CONTROL_POINT, DFU_SERVICE, PACKET, GattTransport, Options, SecureDfuSession
from rig.virtual.air import CURRENT_AIR, Air
from rig.virtual.ble_peripheral import BlePeripheral, Characteristic, Service
from rig.virtual.clock import loop_factory
from tests.dfu_device import Device, Image, package

IMAGE = package(120_000)


class IdealBoard:
    """A board on the air that answers at once and whose flash takes no time: only the link is left to be slow."""

    def __init__(self, air: Air) -> None:
        self.device = Device(queue=0, erase_s=0.0, write_s=0.0)
        self.radio = BlePeripheral(air, address="C0:00:00:00:00:01")
        self._replies: asyncio.Queue[bytes] = asyncio.Queue()

    async def start(self) -> None:
        control = Characteristic(uuid=CONTROL_POINT, properties=frozenset({"write", "notify"}), on_write=self._request)
        packet = Characteristic(uuid=PACKET, properties=frozenset({"write-without-response"}), on_write=self._packet)
        await self.radio.start([Service(uuid=DFU_SERVICE, characteristics=(control, packet))], name="DfuTarg", max_mtu=247)
        await self.radio.advertise(name="DfuTarg", service_uuids=[DFU_SERVICE], interval_s=0.025)
        self._task = asyncio.create_task(self._answer(), name="ideal board")

    async def stop(self) -> None:
        self.radio.vanish()
        self._task.cancel()
        await asyncio.wait((self._task,))

    def _request(self, data: bytes) -> None:
        for reply in self.device.request(data):
            self._replies.put_nowait(reply)

    def _packet(self, data: bytes) -> None:
        for reply in self.device.packet(data):
            self._replies.put_nowait(reply)

    async def _answer(self) -> None:
        while True:
            await self.radio.notify(CONTROL_POINT, await self._replies.get())


def seconds(update: Callable[[BleakLink, Image], Awaitable[None]]) -> float:
    """Virtual time of one update over a connection with an interval of 15 ms."""

    async def main() -> float:
        air = Air(seed=1)
        CURRENT_AIR.set(air)
        board = IdealBoard(air)
        await board.start()
        try:
            async with asyncio.timeout(600), BleakRadio(owner="dk", adapter="virtual", interval_ms=15.0) as radio:
                found = await radio.find(lambda seen: seen.name == "DfuTarg", timeout_s=10)
                link = await radio.connect(found, services=[DFU_SERVICE], timeout_s=10)
                start = asyncio.get_running_loop().time()
                await update(link, IMAGE)
                assert board.device.installed == IMAGE.firmware
                return asyncio.get_running_loop().time() - start
        finally:
            await board.stop()

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(main())


async def player(link: BleakLink, image: Image) -> None:
    """The requests and packets that the protocol demands, and no wait but for the replies and for room in the controller."""
    replies: asyncio.Queue[bytes] = asyncio.Queue()
    await link.subscribe(CONTROL_POINT, replies.put_nowait)

    async def ask(request: bytes) -> None:
        await link.write(CONTROL_POINT, request, response=True)
        await replies.get()

    size = link.max_write // 4 * 4
    await ask(b"\x02\0\0")
    for kind, whole in ((1, image.init_packet), (2, image.firmware)):
        await ask(bytes((6, kind)))
        for start in range(0, len(whole), 4096):
            part = whole[start : start + 4096]
            await ask(bytes((1, kind)) + len(part).to_bytes(4, "little"))
            for at in range(0, len(part), size):
                await link.write(PACKET, part[at : at + size], response=False)
            await ask(b"\x03")
            await ask(b"\x04")


def client(receipts_every: int) -> Callable[[BleakLink, Image], Awaitable[None]]:
    async def update(link: BleakLink, image: Image) -> None:
        async with GattTransport(link) as transport:
            async for _ in SecureDfuSession(transport, options=Options(receipts_every=receipts_every)).update(image):
                pass

    return update


def share(receipts_every: int) -> float:
    """What the client reaches of the player's speed."""
    return seconds(player) / seconds(client(receipts_every))


@pytest.mark.parametrize(("receipts_every", "least"), [(0, 0.95), (12, 0.85)])
def test_the_link_sets_the_speed(receipts_every: int, least: float) -> None:
    assert share(receipts_every) >= least
