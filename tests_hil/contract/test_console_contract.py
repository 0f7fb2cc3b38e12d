"""What every console must do, whatever carries it.

To put another console under the contract, write a bench for it (an asynchronous context manager that yields a `Bench`) and add it to
`BENCHES` with its clock.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from rig import drivers
from rig.drivers.console_rtt import RttConsole
from rig.drivers.console_uart import UartConsole
from rig.errors import InstrumentError
from rig.model import InstrumentSpec
from rig.ports import Console
from rig.virtual.clock import loop_factory
from rig.virtual.wires import CURRENT_WIRES, Wires
from tests import probe_board

LIMIT_S = 30.0
BAUDRATE = 115200
BYTE_S = 10 / BAUDRATE


@dataclass(frozen=True, kw_only=True)
class Bench:
    """A console that has not been entered, and the device at its other end.

    `send` returns when the last bit will have left, `byte_s` after the one before; `cut` takes the device's power, and gives it back;
    `unplug` and `plug` are the USB cable.
    """

    console: Callable[[], Console]
    send: Callable[[bytes], float]
    cut: Callable[[], None]
    unplug: Callable[[], None]
    plug: Callable[[], None]
    byte_s: float = BYTE_S


@asynccontextmanager
async def uart(*, ptys: bool) -> AsyncIterator[Bench]:
    """The driver for serial ports on a virtual wire."""
    wires = Wires(ptys=ptys)
    CURRENT_WIRES.set(wires)
    wire = wires.add("dk1/console", baudrate=BAUDRATE)
    try:
        yield Bench(
            console=lambda: UartConsole(owner="dk1", port="virtual:dk1/console", baudrate=BAUDRATE),
            send=wire.send,
            cut=wire.cut,
            unplug=wire.unplug,
            plug=wire.plug,
        )
    finally:
        wires.close()


@asynccontextmanager
async def rtt(driver: str) -> AsyncIterator[Bench]:
    """The driver for RTT through a probe on what stands in for its library; the USB cable is the probe's."""
    with tempfile.TemporaryDirectory(prefix="rig-") as name, probe_board.stand_ins(Path(name)):
        board = probe_board.Board.fresh(Path(name))

        def send(data: bytes) -> float:
            board.print_rtt(data)
            return asyncio.get_running_loop().time()

        def cut() -> None:
            board.power(on=False)
            board.take_rtt()  # what is in RAM is gone
            board.power(on=True)

        async with drivers.load("probe", InstrumentSpec(driver=driver, options=probe_board.OPTIONS[driver]), owner="dk1"):
            yield Bench(
                console=lambda: RttConsole(owner="dk1"),
                send=send,
                cut=cut,
                unplug=partial(board.flag, "unplugged", True),
                plug=partial(board.flag, "unplugged", False),
                byte_s=0.0,
            )


BENCHES: dict[str, tuple[str, Callable[[], AbstractAsyncContextManager[Bench]]]] = {
    "uart on a virtual wire": ("virtual", partial(uart, ptys=False)),
    "uart on a pty": ("wall", partial(uart, ptys=True)),
    "rtt through nrfjprog": ("wall", partial(rtt, "nrfjprog")),
    "rtt through pyocd": ("wall", partial(rtt, "pyocd")),
}

SERIAL = ["uart on a virtual wire", "uart on a pty"]
"""The benches whose port comes back when its cable is plugged in again; a probe does not before it is opened again."""
QUICKLY_GONE = ["uart on a virtual wire", "rtt through nrfjprog", "rtt through pyocd"]
"""The benches on which nobody really waits for what does not come back."""

Run = Callable[[Callable[[Bench], Awaitable[None]]], None]


@pytest.fixture(params=BENCHES)
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine function on a bench, within a limit."""
    clock, bench = BENCHES[request.param]

    def run_(test: Callable[[Bench], Awaitable[None]]) -> None:
        async def limited() -> None:
            async with asyncio.timeout(LIMIT_S), bench() as opened:
                await test(opened)

        with asyncio.Runner(loop_factory=loop_factory(clock)) as runner:
            runner.run(limited())

    return run_


@dataclass
class Heard:
    """A listener that can be waited for."""

    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, t: float, data: bytes) -> None:
        self.pieces.append((t, data))
        self.changed.set()

    @property
    def data(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    async def until(self, end: bytes) -> bytes:
        """Everything heard, once it ends with `end`."""
        while not self.data.endswith(end):
            self.changed.clear()
            await self.changed.wait()
        return self.data


def test_every_byte_arrives_once_and_in_order(run: Run) -> None:
    async def test(bench: Bench) -> None:
        heard = Heard()
        everything = bytes(range(256)) * 4 + b"end"
        async with bench.console() as console:
            console.attach(heard)
            for start in range(0, len(everything), 100):
                bench.send(everything[start : start + 100])
            assert await heard.until(b"end") == everything

    run(test)


def test_bytes_are_stamped_no_earlier_than_the_line_can_carry_them(run: Run) -> None:
    async def test(bench: Bench) -> None:
        loop, heard = asyncio.get_running_loop(), Heard()
        async with bench.console() as console:
            console.attach(heard)
            start_s = loop.time()
            assert bench.send(bytes(50)) >= start_s + 50 * bench.byte_s
            bench.send(bytes(49) + b"!")
            await heard.until(b"!")
            received = 0
            for t, data in heard.pieces:
                received += len(data)
                assert start_s + received * bench.byte_s - 1e-9 <= t <= loop.time()
            assert [t for t, _ in heard.pieces] == sorted(t for t, _ in heard.pieces)

    run(test)


def test_every_listener_hears_everything_from_attaching_to_leaving(run: Run) -> None:
    async def test(bench: Bench) -> None:
        first, second = Heard(), Heard()
        async with bench.console() as console:
            leave = console.attach(first)
            bench.send(b"one\n")
            await first.until(b"one\n")
            console.attach(second)
            bench.send(b"two\n")
            assert await second.until(b"two\n") == b"two\n"
            assert first.data == b"one\ntwo\n"
            leave()
            leave()
            bench.send(b"three\n")
            await second.until(b"three\n")
            assert first.data == b"one\ntwo\n"

    run(test)


def test_a_power_cut_ends_the_line_at_a_byte_and_the_next_boot_is_heard_from_its_first(run: Run) -> None:
    async def test(bench: Bench) -> None:
        loop, heard = asyncio.get_running_loop(), Heard()
        line = bytes(range(1, 201))
        async with bench.console() as console:
            console.attach(heard)
            bench.send(b"old\n")
            await heard.until(b"old\n")
            start_s = loop.time()
            bench.send(line)
            await asyncio.sleep(100.5 * bench.byte_s)
            bench.cut()
            cut_s = loop.time()
            bench.send(b"*** Booting ***\n")
            await heard.until(b"***\n")
        got = heard.data.removeprefix(b"old\n").removesuffix(b"*** Booting ***\n")
        assert line.startswith(got)
        if bench.byte_s:  # else all or nothing had been fetched
            assert 100 <= len(got) <= (cut_s - start_s) / bench.byte_s

    run(test)


@pytest.mark.parametrize("run", SERIAL, indirect=True)
def test_a_port_that_comes_back_is_listened_to_again(run: Run) -> None:
    async def test(bench: Bench) -> None:
        heard = Heard()
        async with bench.console() as console:
            console.attach(heard)
            bench.send(b"before\n")
            await heard.until(b"before\n")
            bench.unplug()
            await asyncio.sleep(0.05)
            bench.plug()
            while not heard.data.endswith(b"after\n"):
                bench.send(b"after\n")  # lost until the console has found the port again
                await asyncio.sleep(0.05)
            console.attach(Heard())
        assert heard.data.startswith(b"before\nafter\n")

    run(test)


GONE = "did not come back within 10 s|no longer listens"


def is_gone(console: Console) -> bool:
    """Whether the console says that it will hear nothing any more."""
    try:
        console.check()
    except InstrumentError as error:
        return re.search(GONE, str(error)) is not None
    return False


@pytest.mark.parametrize("run", QUICKLY_GONE, indirect=True)
def test_a_port_that_is_gone_for_good_is_the_instruments_fault(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.console() as console:
            console.attach(Heard())
            bench.unplug()
            while not is_gone(console):  # noqa: ASYNC110 - a console tells nobody by itself
                await asyncio.sleep(0.1)
            with pytest.raises(InstrumentError, match=rf"dk1\.console: .*({GONE})"):
                console.attach(Heard())

    with pytest.raises(InstrumentError, match=GONE):
        run(test)


def test_leaving_while_the_port_is_away_does_not_hang(run: Run) -> None:
    async def test(bench: Bench) -> None:
        with suppress(InstrumentError):  # it may complain
            async with bench.console() as console:
                console.attach(Heard())
                bench.unplug()
                await asyncio.sleep(0.05)

    run(test)


def test_a_port_in_use_is_refused(run: Run) -> None:
    async def test(bench: Bench) -> None:
        async with bench.console():
            with pytest.raises(InstrumentError, match=r"dk1\.console"):
                await bench.console().__aenter__()

    run(test)


def test_a_console_can_be_opened_again(run: Run) -> None:
    async def test(bench: Bench) -> None:
        for _ in range(2):
            heard = Heard()
            async with bench.console() as console:
                console.attach(heard)
                bench.send(b"hello\n")
                await heard.until(b"hello\n")

    run(test)
