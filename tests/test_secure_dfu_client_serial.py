"""The Secure DFU client over a serial line."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.errors import DutError, NoReply
from rig.ota.secure_dfu import MalformedReply, Options
from tests.dfu_device import Device, package
from tests.dfu_links import SerialLine, run, serial_update


@pytest.mark.parametrize("every", [0, 1, 12])
@pytest.mark.parametrize(("mtu", "packet"), [(131, 64), (130, 60), (19, 8)])
def test_the_image_is_installed_over_a_serial_line(every: int, mtu: int, packet: int) -> None:
    device, image = Device(queue=0), package(9_001)

    run(serial_update(SerialLine(device, mtu=mtu), image, Options(receipts_every=every)))

    assert device.installed == image.firmware
    assert max(map(len, device.packets)) == packet


@pytest.mark.parametrize("noise", [b"Booting...\r\n", b"hello\xc0", b"\xc0\xc0", b"\xdb\x00\xc0", bytes(range(256))])
def test_boot_messages_before_the_first_pong_are_skipped(noise: bytes) -> None:
    device, image = Device(queue=0), package(300)

    run(serial_update(SerialLine(device, noise=noise), image))

    assert device.installed == image.firmware


def test_a_silent_serial_line_ends_in_no_reply() -> None:
    with pytest.raises(NoReply, match="no reply to ping within 15 s"):
        run(serial_update(SerialLine(Device(), tamper=lambda _data: b""), package(300)))


@pytest.mark.parametrize("mtu", [0, 1, 3, 10])
def test_an_absurd_mtu_is_malformed(mtu: int) -> None:
    with pytest.raises(MalformedReply, match="leaves no room"):
        run(serial_update(SerialLine(Device(), mtu=mtu), package(300)))


def test_a_damaged_frame_carries_its_bytes() -> None:
    with pytest.raises(MalformedReply, match="ESC is followed by neither") as error:
        run(serial_update(SerialLine(Device(), tamper=lambda data: data if data[1] == 9 else b"\x60\xdb\x01\xc0"), package(300)))

    assert error.value.data == b"\x60\xdb\x01"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(noise=st.dictionaries(st.integers(0, 40), st.binary(max_size=30), min_size=1, max_size=3))
def test_noise_on_a_serial_line_ends_in_a_typed_error_or_success(noise: dict[int, bytes]) -> None:
    device, image, number = Device(queue=0), package(5_001), -1

    def tamper(data: bytes) -> bytes:
        nonlocal number
        number += 1
        return noise.get(number, data)

    with suppress(DutError):
        run(serial_update(SerialLine(device, tamper=tamper), image, Options(receipts_every=12)))
        assert device.installed == image.firmware
