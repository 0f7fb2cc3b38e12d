"""Our SMP upload is as fast as smpclient's own, on the same link."""

from __future__ import annotations

import asyncio
from typing import Any

import bleak
import pytest
from smpclient import SMPClient
from smpclient.transport.ble import SMPBLETransport

from rig.drivers.bumble_bleak import backends
from rig.drivers.bumble_central import BumbleCentral, LinkOptions
from rig.drivers.radio_bleak import BleakRadio
from rig.ota.smp import SMP_SERVICE, SmpSession
from rig.virtual.adapter import open_adapter
from rig.virtual.air import CURRENT_AIR, Air
from rig.virtual.clock import loop_factory
from tests.smp_server import NAME, SmpServer

IMAGE = bytes(range(256)) * 256


def rate(upload: Any, **server: Any) -> float:
    """Bytes per virtual second of one upload."""

    async def main() -> float:
        air = Air(seed=1)
        CURRENT_AIR.set(air)
        board = SmpServer(air, **server)
        await board.start()
        try:
            async with asyncio.timeout(600):
                seconds = await upload()
            assert board.slot == IMAGE
        finally:
            await board.stop()
        return len(IMAGE) / seconds

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(main())


async def ours() -> float:
    loop = asyncio.get_running_loop()
    async with BleakRadio(owner="dk1", adapter="virtual") as radio:
        found = await radio.find(lambda advertisement: advertisement.name == NAME, timeout_s=10)
        link = await radio.connect(found, services=[SMP_SERVICE], timeout_s=10)
        async with SmpSession(link) as session:
            start = loop.time()
            async for _ in session.upload(IMAGE):
                pass
            return loop.time() - start


async def theirs() -> float:
    """smpclient as it is, on the backend that bleak would choose for this platform."""
    loop = asyncio.get_running_loop()
    central = await BumbleCentral.open(await open_adapter(""), LinkOptions())
    scanner, client_backend = backends(central)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bleak, "get_platform_scanner_backend_type", lambda: (scanner, "bumble"))
        patch.setattr(bleak, "get_platform_client_backend_type", lambda: (client_backend, "bumble"))
        try:
            async with SMPClient(SMPBLETransport(), NAME, timeout_s=10.0) as client:
                start = loop.time()
                async for _ in client.upload(IMAGE):
                    pass
                return loop.time() - start
        finally:
            await central.close()


@pytest.mark.parametrize("buf_size", [384, 2475])
def test_our_upload_is_as_fast_as_smpclients(buf_size: int) -> None:
    assert rate(ours, buf_size=buf_size) / rate(theirs, buf_size=buf_size) >= 0.95
