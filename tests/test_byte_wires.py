"""Byte streams: the virtual wire's timing, the registry by which drivers find wires, and real serial ports on pseudo-terminals."""

from __future__ import annotations

import asyncio
import os
import tty
from collections.abc import Awaitable, Callable, Iterator

import pytest
import serial

from rig.drivers import byte_stream
from rig.drivers.byte_stream import SerialStream, ThreadedSerialStream, open_stream
from rig.errors import InstrumentError
from rig.virtual.clock import loop_factory
from rig.virtual.pty_wire import PtyWire
from rig.virtual.wire import VirtualWire
from rig.virtual.wires import CURRENT_WIRES, Wires

LIMIT_S = 20.0


def run(test: Callable[[], Awaitable[None]], clock: str = "virtual") -> None:
    async def limited() -> None:
        async with asyncio.timeout(LIMIT_S):
            await test()

    with asyncio.Runner(loop_factory=loop_factory(clock)) as runner:
        runner.run(limited())


class Heard(list[tuple[float, bytes]]):
    """A receiver that can be waited for."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def __call__(self, t: float, data: bytes) -> None:
        self.append((t, data))
        self._changed.set()

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self)

    async def until(self, done: Callable[[], bool]) -> None:
        while not done():
            self._changed.clear()
            await self._changed.wait()


def live_timers() -> list[asyncio.TimerHandle]:
    return [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]


async def until(when_s: float) -> None:
    """Wait for a moment of the loop's clock that a wire has announced."""
    loop = asyncio.get_running_loop()
    reached = loop.create_future()
    loop.call_at(when_s, reached.set_result, None)
    await reached


# ------------------------------------------------------------------------------------------------------------ virtual wire
@pytest.mark.parametrize("baudrate", [9600, 115200, 1_000_000])
def test_a_write_arrives_with_its_last_byte_ten_bits_each(baudrate: int) -> None:
    async def test() -> None:
        wire, device, driver = VirtualWire(baudrate=baudrate), Heard(), Heard()
        wire.listen(device)
        host = wire.open(baudrate=baudrate, owner="test")
        host.listen(driver)
        byte_s = 10 / baudrate
        await asyncio.sleep(1)
        assert wire.send(b"12345") == pytest.approx(1 + 5 * byte_s)
        assert wire.send(b"678") == pytest.approx(1 + 8 * byte_s)
        host.write(b"abcd")
        await host.drain()
        assert asyncio.get_running_loop().time() == pytest.approx(1 + 4 * byte_s)
        await asyncio.sleep(1)
        assert driver == [(pytest.approx(1 + 5 * byte_s), b"12345"), (pytest.approx(1 + 8 * byte_s), b"678")]
        assert device == [(pytest.approx(1 + 4 * byte_s), b"abcd")]
        assert wire.send(b"x") == pytest.approx(asyncio.get_running_loop().time() + byte_s)  # an idle line starts at once

    run(test)


def test_usb_carries_at_once_and_in_order() -> None:
    async def test() -> None:
        wire, driver = VirtualWire(), Heard()
        host = wire.open(baudrate=115200, owner="test")
        host.listen(driver)
        for number in range(100):
            wire.send(bytes((number,)))
        assert driver == []  # never from within the sender
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert driver == [(0.0, bytes((number,))) for number in range(100)]

    run(test)


@pytest.mark.parametrize(("cut_after", "whole"), [(0.4, 0), (1.0, 1), (3.99, 3), (7.5, 7), (10.0, 10), (12.0, 12), (99.0, 20)])
def test_a_cut_keeps_the_bytes_that_had_arrived_whole(cut_after: float, whole: int) -> None:
    async def test() -> None:
        wire, device, driver = VirtualWire(baudrate=9600), Heard(), Heard()
        wire.listen(device)
        host = wire.open(baudrate=9600, owner="test")
        host.listen(driver)
        sent = bytes(range(20))
        wire.send(sent[:10])
        wire.send(sent[10:])
        host.write(sent)
        await asyncio.sleep(cut_after * 10 / 9600)
        wire.cut()
        now = asyncio.get_running_loop().time()
        assert driver.data == device.data == sent[:whole]
        assert all(t <= now + 1e-12 for t, _ in (*driver, *device))
        if whole:
            assert driver[-1][0] == pytest.approx(whole * 10 / 9600)
        assert wire.send(b"next") == pytest.approx(now + 4 * 10 / 9600)  # what was cut no longer occupies the line
        await asyncio.sleep(1)
        assert driver.data == sent[:whole] + b"next"
        assert device.data == sent[:whole]

    run(test)


def test_a_wrong_baud_rate_yields_garbage_of_the_same_length() -> None:
    async def test() -> None:
        wire, device, driver = VirtualWire(baudrate=115200), Heard(), Heard()
        wire.listen(device)
        host = wire.open(baudrate=9600, owner="test")
        host.listen(driver)
        wire.send(b"boot")
        host.write(b"help")
        await asyncio.sleep(1)
        for heard, sent in ((driver, b"boot"), (device, b"help")):
            assert len(heard.data) == len(sent)
            assert not set(heard.data) & set(sent)

    run(test)


def test_a_closed_port_hears_nothing_and_an_open_one_keeps_it_until_somebody_listens() -> None:
    async def test() -> None:
        wire, driver = VirtualWire(baudrate=115200), Heard()
        wire.send(b"lost")
        await asyncio.sleep(1)
        host = wire.open(baudrate=115200, owner="dk1.console")
        wire.send(b"kept")
        await asyncio.sleep(1)
        host.listen(driver)
        assert driver == [(pytest.approx(1 + 4 * 10 / 115200), b"kept")]
        with pytest.raises(InstrumentError, match=r"dk2\.console: the port is in use by dk1\.console"):
            wire.open(baudrate=115200, owner="dk2.console")
        await host.close()
        with pytest.raises(InstrumentError, match="the port is closed"):
            host.write(b"x")
        wire.open(baudrate=115200, owner="dk2.console")

    run(test)


def test_an_unplugged_port_tells_its_receiver_once_and_refuses_everything() -> None:
    async def test() -> None:
        wire, driver = VirtualWire(), Heard()
        host = wire.open(baudrate=1, owner="dk1.supply")
        host.listen(driver)
        await asyncio.sleep(2)
        wire.unplug()
        wire.unplug()
        wire.send(b"x")
        await asyncio.sleep(1)
        assert driver == [(2.0, b"")]
        with pytest.raises(InstrumentError, match="vanished"):
            host.write(b"x")
        with pytest.raises(InstrumentError, match="vanished"):
            await host.drain()
        with pytest.raises(InstrumentError, match="does not exist"):
            wire.open(baudrate=1, owner="dk1.supply")
        wire.plug()
        wire.open(baudrate=1, owner="dk1.supply")

    run(test)


def test_an_idle_wire_sets_no_timer() -> None:
    async def test() -> None:
        wire = VirtualWire(baudrate=115200)
        host = wire.open(baudrate=115200, owner="test")
        host.listen(Heard())
        before = live_timers()
        wire.send(b"hello")
        host.write(b"hello")
        assert len(live_timers()) == len(before) + 2  # one for each direction
        await asyncio.sleep(1)
        assert live_timers() == before

    run(test)


def test_a_baud_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 is no baud rate"):
        VirtualWire(baudrate=-1)


# ---------------------------------------------------------------------------------------------------------------- registry
def test_a_wire_is_opened_by_its_name_and_an_unknown_one_names_those_there_are() -> None:
    async def test() -> None:
        wires = Wires()
        CURRENT_WIRES.set(wires)
        wires.add("dk1/ppk2")
        wire = wires.add("dk1/console", baudrate=115200)
        with pytest.raises(ValueError, match="two wires named"):
            wires.add("dk1/console")
        stream, driver = await open_stream("virtual:dk1/console", baudrate=115200, owner="dk1.console"), Heard()
        stream.listen(driver)
        wire.send(b"hello")
        await driver.until(lambda: driver.data == b"hello")
        with pytest.raises(InstrumentError, match="no wire 'dk1/consol'; its wires are: dk1/console, dk1/ppk2"):
            await open_stream("virtual:dk1/consol", baudrate=115200, owner="dk1.console")

    run(test)


def test_a_virtual_port_without_a_virtual_bench_says_what_is_missing() -> None:
    async def test() -> None:
        with pytest.raises(InstrumentError, match=r"dk1\.console: port 'virtual:dk1/console' needs a virtual bench"):
            await open_stream("virtual:dk1/console", baudrate=115200, owner="dk1.console")

    run(test)


# ------------------------------------------------------------------------------------------------------------ serial ports
@pytest.fixture
def pty() -> Iterator[tuple[int, str]]:
    """The master of a pseudo-terminal and the path of its slave."""
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    path = os.ttyname(slave)
    open_files = [master, slave]

    yield master, path
    for file in open_files:
        os.close(file)


@pytest.mark.parametrize(
    ("port", "complaint"),
    [
        ("/dev/no-such-port", "cannot open the serial port /dev/no-such-port: No such file or directory; check the cable"),
        ("/dev/serial/by-path/pci-0000:00:14.0", "No such file or directory"),
        ("virtul:dk1/console", "No such file or directory"),
        ("/dev/null", "cannot open the serial port /dev/null"),
    ],
)
def test_a_port_that_cannot_be_opened_is_reported_in_plain_words(port: str, complaint: str) -> None:
    async def test() -> None:
        with pytest.raises(InstrumentError, match=complaint) as caught:
            await open_stream(port, baudrate=115200, owner="dk1.console")
        assert caught.value.instrument == "dk1.console"

    run(test, "wall")


def test_a_port_is_used_by_one_driver_at_a_time(pty: tuple[int, str]) -> None:
    async def test() -> None:
        stream = await open_stream(pty[1], baudrate=115200, owner="first")
        with pytest.raises(InstrumentError, match="another program has it open"):
            await open_stream(pty[1], baudrate=115200, owner="second")
        await stream.close()
        await (await open_stream(pty[1], baudrate=115200, owner="second")).close()

    run(test, "wall")


def test_more_than_the_system_takes_at_once_leaves_in_order(pty: tuple[int, str]) -> None:
    async def test() -> None:
        master, path = pty
        stream = await open_stream(path, baudrate=115200, owner="test")
        sent = bytes(range(256)) * 1000
        for start in range(0, len(sent), 50_000):
            stream.write(sent[start : start + 50_000])
        loop, received, draining = asyncio.get_running_loop(), bytearray(), asyncio.ensure_future(stream.drain())
        await asyncio.sleep(0)
        assert not draining.done()  # the system took a few kilobytes only
        everything = loop.create_future()

        def read() -> None:
            received.extend(os.read(master, 65536))
            if len(received) >= len(sent) and not everything.done():
                everything.set_result(None)

        loop.add_reader(master, read)
        await draining
        await everything
        loop.remove_reader(master)
        assert received == sent
        await stream.close()

    run(test, "wall")


def test_a_port_that_takes_nothing_does_not_hang_the_rig(pty: tuple[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(byte_stream, "_DRAIN_LIMIT_S", 0.02)

    async def test() -> None:
        stream = await open_stream(pty[1], baudrate=115200, owner="dk1.supply")
        stream.write(bytes(100_000))
        with pytest.raises(InstrumentError, match=r"dk1\.supply: the serial port has taken no data for 0\.02 s"):
            await stream.drain()
        await stream.close()

    run(test, "wall")


async def open_threaded(port: str, *, baudrate: int, owner: str) -> ThreadedSerialStream:
    """What `open_stream` does where the event loop cannot watch a port."""
    return ThreadedSerialStream(serial.Serial(port, baudrate, timeout=0.05, write_timeout=1), owner=owner)


@pytest.fixture(params=[open_stream, open_threaded], ids=["watched by the loop", "read by a thread"])
def open_(request: pytest.FixtureRequest) -> Callable[..., Awaitable[SerialStream | ThreadedSerialStream]]:
    return request.param


def test_bytes_pass_both_ways(open_: Callable[..., Awaitable[SerialStream]]) -> None:
    async def test() -> None:
        wire, device, driver = PtyWire(), Heard(), Heard()
        wire.listen(device)
        stream = await open_(wire.path, baudrate=115200, owner="test")
        wire.send(b"early")
        stream.listen(driver)
        await driver.until(lambda: driver.data == b"early")
        for number in range(50):
            stream.write(bytes((number,)))
        await stream.drain()
        await device.until(lambda: device.data == bytes(range(50)))
        now = asyncio.get_running_loop().time()
        assert all(0 < t <= now for t, _ in driver)
        await stream.close()
        with pytest.raises(InstrumentError, match="the serial port is closed"):
            stream.write(b"x")
        wire.unplug()

    run(test, "wall")


def test_a_port_that_vanishes_tells_its_receiver_once_and_refuses_everything(
    open_: Callable[..., Awaitable[SerialStream]],
) -> None:
    async def test() -> None:
        wire, driver = PtyWire(), Heard()
        stream = await open_(wire.path, baudrate=115200, owner="dk1.console")
        stream.listen(driver)
        wire.unplug()
        await driver.until(lambda: len(driver) > 0)
        assert [data for _, data in driver] == [b""]
        for use in (lambda: stream.write(b"x"), stream.drain):
            with pytest.raises(InstrumentError, match=r"dk1\.console: the serial port has vanished"):
                await (use() or asyncio.sleep(0))
        await stream.close()
        assert len(driver) == 1

    run(test, "wall")


def test_a_write_that_finds_the_port_gone_says_so(open_: Callable[..., Awaitable[SerialStream]]) -> None:
    async def test() -> None:
        wire = PtyWire()
        stream = await open_(wire.path, baudrate=115200, owner="dk1.console")
        wire.unplug()

        async def use() -> None:
            stream.write(b"x")
            await stream.drain()

        with pytest.raises(InstrumentError, match=r"dk1\.console: the serial port has vanished"):
            await use()
        await stream.close()

    run(test, "wall")


# ----------------------------------------------------------------------------------------------------------------- pty wire
@pytest.mark.parametrize(
    ("baudrate", "size", "arrives"), [(None, 30_000, True), (None, 300_000, False), (100_000_000, 30_000, False)]
)
def test_usb_waits_for_a_slow_host_within_bounds_and_a_uart_does_not(baudrate: int | None, size: int, arrives: bool) -> None:
    async def test() -> None:
        wire, driver = PtyWire(baudrate=baudrate), Heard()
        stream = await open_stream(wire.path, baudrate=115200, owner="test")
        sent = (bytes(range(256)) * (size // 256 + 1))[:size]
        for start in range(0, size, 1000):
            last_s = wire.send(sent[start : start + 1000])
        await until(last_s)  # nobody has read so far
        stream.listen(driver)
        await driver.until(lambda: len(driver.data) > 2000)
        while not driver.data.endswith(b"tail"):  # the host reads now, so what is sent from here on arrives
            await until(wire.send(b"tail"))
            await asyncio.sleep(0)
        kept = driver.data[: driver.data.index(b"tail")]
        assert sent.startswith(kept[:2000])
        assert (kept == sent) is arrives
        await stream.close()
        wire.unplug()

    run(test, "wall")
