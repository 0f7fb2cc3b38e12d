"""Where the Secure DFU client goes on when a device holds part of a transfer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from rig.errors import LinkLost
from rig.ota.secure_dfu import GattTransport, Progress, SecureDfuSession, Stage, Step
from tests.dfu_device import Device, Image, Quirks, package
from tests.dfu_links import Link, retries, run, update


async def steps_until(device: Device, image: Image, stop: Callable[[Progress], bool]) -> None:
    """Update until `stop`, then lose the link."""
    link = Link(device)
    async with GattTransport(link) as transport:
        with suppress(LinkLost):
            async for progress in SecureDfuSession(transport).update(image):
                if stop(progress):
                    link.drop(0x08)
        assert not link.is_up

def test_after_a_lost_link_the_init_packet_is_only_executed_again() -> None:
    device, image = Device(queue=0), package()
    run(steps_until(device, image, lambda step: step.stage is Stage.DATA and step.step is Step.CHECKED))
    device.requests.clear()

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert device.requests[:4] == [b"\x02\0\0", b"\x06\x01", b"\x04", b"\x06\x02"]
    assert steps[0].reason == f"the device holds {len(image.init_packet)} of {len(image.init_packet)} bytes of this init packet"


def test_another_init_packet_is_replaced() -> None:
    device, image = Device(queue=0), package(version=2)
    run(steps_until(device, package(version=1), lambda step: step.stage is Stage.DATA))

    steps = run(update(device, image))

    assert steps[0].reason.startswith("the device holds another init packet")
    assert device.installed == image.firmware


def data_resume(steps: list[Progress]) -> Progress:
    (resume,) = [step for step in steps if step.step is Step.RESUME and step.stage is Stage.DATA]
    return resume


@pytest.mark.parametrize("offset", [244, 4096 + 488, 8192 + 244, 8192 + 4])
def test_within_an_object_the_rest_is_sent(offset: int) -> None:
    device, image = Device(queue=0), package()
    device.hold(image, offset)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert (data_resume(steps).offset, data_resume(steps).reason) == (offset, f"the device holds {offset} of 10000 bytes")
    assert sum(map(len, device.packets)) == 10_000 - offset


@pytest.mark.parametrize("offset", [4096, 8192])
@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize("again", [0x01, 0x08])
def test_at_the_end_of_an_object_it_is_executed_and_not_sent_again(offset: int, executed: bool, again: int) -> None:
    device, image = Device(queue=0, quirks=Quirks(executed_again=again)), package()
    device.hold(image, offset, executed=offset if executed else offset - 4096)

    run(update(device, image))

    assert device.installed == image.firmware
    assert sum(map(len, device.packets)) == 10_000 - offset


def test_a_whole_image_is_only_executed() -> None:
    device, image = Device(queue=0), package()
    device.hold(image, 10_000)

    steps = run(update(device, image))

    assert (device.installed, device.packets) == (image.firmware, [])
    assert steps[-1].stage is Stage.EXECUTE


@pytest.mark.parametrize("offset", [244, 4000])
def test_other_bytes_in_the_first_object_are_replaced(offset: int) -> None:
    device, image = Device(queue=0), package()
    device.hold(image, offset)
    device.data[3] ^= 1

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert "other bytes" in data_resume(steps).reason
    assert retries(steps) == []


@pytest.mark.parametrize("executed", [True, False])
@pytest.mark.parametrize(("where", "offset"), [(4100, 4584), (100, 8436), (4095, 4096), (8191, 8192), (8000, 10_000), (9000, 10_000)])
def test_other_bytes_anywhere_are_replaced(where: int, offset: int, executed: bool) -> None:
    """Only the device knows which objects have been executed: where guessing does not help, a new init packet does."""
    device, image = Device(queue=0), package()
    device.hold(image, offset, executed=offset // 4096 * 4096 if executed else (offset - 1) // 4096 * 4096)
    device.data[where] ^= 1

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert "other bytes" in next(step for step in steps if step.stage is Stage.DATA).reason
    assert [step.step for step in retries(steps)] in ([], [Step.RESTART])


def test_more_bytes_than_the_image_start_the_transfer_again() -> None:
    device, image = Device(queue=0), package(5_000)
    device.hold(image, 5_000)
    device.data += bytes(4096)
    device.executed = len(device.data)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert [step.step for step in retries(steps)] == [Step.RESTART]


def test_an_odd_offset_within_an_object_is_not_continued() -> None:
    """A packet that does not start at a word is not written to flash, though offset and CRC would look right."""
    device, image = Device(queue=0), package()
    device.hold(image, 4097 + 200)

    steps = run(update(device, image))

    assert device.installed == image.firmware
    assert (data_resume(steps).offset, data_resume(steps).reason) == (4096, "offset 4297 is within a word; object created anew")


def test_the_crc_at_offset_0_is_ignored() -> None:
    """After an update the word holds the start address of the update until the next command create."""
    device, image = Device(queue=0), package()
    run(steps_until(device, image, lambda p: p.stage is Stage.DATA))
    device.stale_crc = 0x2A000

    steps = run(update(device, image))

    assert (device.installed, retries(steps)) == (image.firmware, [])


def test_a_resumed_object_that_cannot_be_executed_is_created_anew() -> None:
    device, image = Device(queue=0), package()
    device.create(1, 512)  # somebody else's object, larger than ours
    device.command += image.init_packet

    steps = run(update(device, image))

    assert [(p.stage, "operation not permitted" in p.reason) for p in retries(steps)] == [(Stage.INIT, True)]
    assert device.installed == image.firmware
