"""The Secure DFU client is as fast as the link and the device allow."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rig.ota.secure_dfu import CONTROL_POINT, PACKET, GattTransport, Options, SecureDfuSession, Step
from tests.dfu_device import Device, Image, package
from tests.dfu_links import Link, run


async def reference(device: Device, image: Image, **link: Any) -> list[float]:
    """The same requests and packets from a driver that only waits for replies, and for room in the device, into which it looks.

    Times at which objects had been executed, the init packet first.
    """
    replies: asyncio.Queue[bytes] = asyncio.Queue()
    raw = Link(device, **link)
    await raw.subscribe(CONTROL_POINT, replies.put_nowait)

    async def ask(request: bytes) -> float:
        await raw.write(CONTROL_POINT, request, response=True)
        await replies.get()
        return asyncio.get_running_loop().time()

    handed = 0
    executed = []
    await ask(b"\x02\0\0")
    for kind, whole in ((1, image.init_packet), (2, image.firmware)):
        await ask(bytes((6, kind)))
        for start in range(0, len(whole), 4096):
            part = whole[start : start + 4096]
            await ask(bytes((1, kind)) + len(part).to_bytes(4, "little"))
            for at in range(0, len(part), raw.max_write):
                while not device.has_room(handed - len(device.packets)):  # noqa: ASYNC110 - there is nothing to wait for
                    await asyncio.sleep(0.001)
                handed += 1
                await raw.write(PACKET, part[at : at + raw.max_write], response=False)
            await ask(b"\x03")
            executed.append(await ask(b"\x04"))
    assert device.installed == image.firmware
    return executed


async def timed(device: Device, image: Image, options: Options, **link: Any) -> list[float]:
    """Times at which objects had been executed."""
    async with GattTransport(Link(device, **link)) as transport:
        steps = SecureDfuSession(transport, options=options).update(image)
        executed = [asyncio.get_running_loop().time() async for step in steps if step.step is Step.EXECUTED]
    assert device.installed == image.firmware
    return executed


LINKS = [
    {"per_event": 6, "max_write": 244},  # LE 1M
    {"per_event": 10, "max_write": 244},  # LE 2M
    {"per_event": 22, "max_write": 20, "buffers": 24},  # short packets
    {"per_event": 3, "max_write": 244, "interval_s": 0.0075},
]


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(("every", "share"), [(0, 0.95), (12, 0.85)])
@pytest.mark.parametrize("erase_s", [0.0, 0.085])
def test_the_link_and_the_device_set_the_speed(link: dict[str, Any], every: int, share: float, erase_s: float) -> None:
    image = package(40_000)

    possible = run(reference(Device(queue=0, erase_s=erase_s), image, **link))
    needed = run(timed(Device(queue=0, erase_s=erase_s), image, Options(receipts_every=every), **link))

    assert possible[-1] / needed[-1] >= share


@pytest.mark.parametrize("link", LINKS)
def test_a_device_that_drops_packets_is_not_given_more_time_than_it_needs(link: dict[str, Any]) -> None:
    """After the first objects, from which the session has learnt how long the erase takes."""
    image = package(40_000)

    possible = run(reference(Device(queue=16), image, **link))
    needed = run(timed(Device(queue=16), image, Options(), **link))

    assert (possible[-1] - possible[2]) / (needed[-1] - needed[2]) >= 0.9
