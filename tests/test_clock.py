"""The virtual clock jumps, keeps order, waits for real input, and finds deadlocks."""

import asyncio
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from rig.errors import InstrumentError
from rig.virtual.clock import DeadlockError, VirtualTimeLoop, loop_factory

T = TypeVar("T")


def on_virtual_clock(scenario: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await scenario()

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


def test_time_starts_at_zero_and_jumps_to_the_next_timer() -> None:
    async def scenario() -> list[float]:
        times = [now()]
        await asyncio.sleep(86_400)
        times.append(now())
        await asyncio.sleep(0.000_001)
        times.append(now())
        return times

    assert on_virtual_clock(scenario) == pytest.approx([0.0, 86_400.0, 86_400.000_001], abs=1e-9)


def test_sleepers_wake_in_the_order_of_their_timers() -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *delays: float) -> None:
        for delay in delays:
            await asyncio.sleep(delay)
            woken.append((name, round(now(), 6)))

    async def scenario() -> None:
        await asyncio.gather(sleeper("slow", 3.0, 3.0), sleeper("quick", 1.0, 1.0, 2.0))

    on_virtual_clock(scenario)
    assert woken == [("quick", 1.0), ("quick", 2.0), ("slow", 3.0), ("quick", 4.0), ("slow", 6.0)]


def test_a_time_limit_fires_at_its_time() -> None:
    async def scenario() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2.5):
                await asyncio.sleep(1000)
        return now()

    assert on_virtual_clock(scenario) == pytest.approx(2.5)


def test_a_deadlock_is_an_instrument_error_that_names_who_waits_where() -> None:
    async def waits_for_nobody() -> None:
        await asyncio.Event().wait()

    async def scenario() -> None:
        task = asyncio.create_task(waits_for_nobody(), name="the forgotten one")
        await task

    with pytest.raises(DeadlockError) as caught:
        on_virtual_clock(scenario)
    assert isinstance(caught.value, InstrumentError)
    assert any("the forgotten one" in line and "waits_for_nobody" in line for line in caught.value.waiting)


def test_the_clock_does_not_jump_over_work_in_a_thread() -> None:
    may_finish = threading.Event()

    async def scenario() -> tuple[str, float]:
        job = asyncio.create_task(asyncio.to_thread(lambda: "done" if may_finish.wait(10) else "too late"))
        await asyncio.sleep(0.01)  # passes as on the wall, because the thread works
        may_finish.set()
        return await job, now()

    answer, time = on_virtual_clock(scenario)
    assert answer == "done"
    assert 0.01 <= time < 10


def test_without_timers_the_clock_waits_for_a_thread_instead_of_crying_deadlock() -> None:
    async def scenario() -> int:
        return await asyncio.to_thread(lambda: 42)

    assert on_virtual_clock(scenario) == 42


def test_the_clock_does_not_jump_while_a_socket_is_watched() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)

    async def scenario() -> tuple[bytes, float]:
        loop = asyncio.get_running_loop()
        reply = asyncio.create_task(loop.sock_recv(near, 16))
        await asyncio.sleep(0)
        threading.Thread(target=far.sendall, args=(b"reply",)).start()
        async with asyncio.timeout(3600):
            return await reply, now()

    with near, far:
        data, time = on_virtual_clock(scenario)
    assert data == b"reply"
    assert time < 3600


def test_after_real_input_the_clock_jumps_again() -> None:
    async def scenario() -> float:
        await asyncio.to_thread(lambda: None)
        before = now()
        await asyncio.sleep(100_000)
        return now() - before

    assert on_virtual_clock(scenario) == pytest.approx(100_000)


def test_the_wall_clock_is_the_ordinary_loop() -> None:
    loop = loop_factory("wall")()
    try:
        assert not isinstance(loop, VirtualTimeLoop)
    finally:
        loop.close()
