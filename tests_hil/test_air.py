"""The virtual air behaves like radio: bytes are late or the link dies, on time, and the same seed gives the same microseconds."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from rig.drivers.radio_bleak import BleakLink, BleakRadio
from rig.errors import LinkLost, NoReply, NotFound
from rig.ota.smp import SMP_CHARACTERISTIC, SMP_SERVICE, SmpSession
from rig.virtual.air import CURRENT_AIR, Air, Phy, Transmission, airtime_s, frequency_mhz
from rig.virtual.clock import loop_factory
from rig.virtual.link_pdus import ConnectionParameters
from tests.smp_server import NAME, SmpServer

T = TypeVar("T")
ROOT = Path(__file__).parents[1]
INTERVAL_S, SUPERVISION_S = 0.015, 4.0
PAYLOAD = 244
"""ATT payload of a full packet: 251 octets less L2CAP and ATT headers."""


class Scene:
    """One board with an SMP server, one radio, one air."""

    def __init__(self, *, seed: int = 1, per: float = 0.0, radio: dict[str, Any] | None = None, **board: Any) -> None:
        self.air = Air(seed=seed, per=per)
        self.board = SmpServer(self.air, **board)
        CURRENT_AIR.set(self.air)
        self.radio = BleakRadio(owner="dk1", adapter="virtual", **(radio or {}))

    async def __aenter__(self) -> Scene:
        await self.board.start()
        await self.radio.__aenter__()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.radio.__aexit__(None, None, None)
        await self.board.stop()

    async def connect(self, *, timeout_s: float = 60.0) -> BleakLink:
        found = await self.radio.find(lambda advertisement: advertisement.name == NAME, timeout_s=60.0)
        return await self.radio.connect(found, services=[SMP_SERVICE], timeout_s=timeout_s)


def run(test: Callable[[Scene], Awaitable[T]], **options: Any) -> T:
    async def main() -> T:
        async with asyncio.timeout(36_000), Scene(**options) as scene:
            return await test(scene)

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(main())


def now() -> float:
    return asyncio.get_running_loop().time()


async def stream(scene: Scene, link: BleakLink, count: int) -> float:
    """Send `count` full packets as fast as the link takes them; returns bytes per second as the board receives them."""
    received: list[tuple[float, int]] = []
    scene.board.listen(lambda data: received.append((now(), len(data))))
    for _ in range(count):
        await link.write(SMP_CHARACTERISTIC, bytes(PAYLOAD), response=False)
    await asyncio.sleep(10.0)
    assert len(received) == count
    assert sum(size for _, size in received) == count * PAYLOAD
    return (count - 1) * PAYLOAD / (received[-1][0] - received[0][0])


# ------------------------------------------------------------------------------------------------------------ air time
def test_air_times_are_those_of_the_specification() -> None:
    # Vol 6 Part B 2.1 and 2.2; an empty packet is 80 µs on LE 1M and 44 µs on LE 2M, a full one 2088 µs and 1048 µs.
    times = [round(airtime_s(octets, phy) * 1e6) for phy in (Phy.LE_1M, Phy.LE_2M) for octets in (0, 251)]
    assert times == [80, 2088, 44, 1048]
    assert round(airtime_s(0, Phy.LE_CODED) * 1e6) == 720


def test_channels_have_their_frequencies() -> None:
    assert [frequency_mhz(channel) for channel in (0, 10, 11, 36, 37, 38, 39)] == [2404, 2424, 2428, 2478, 2402, 2426, 2480]


# ----------------------------------------------------------------------------------------------------------- throughput
def expected_rate(per: float, *, exchanges: int) -> float:
    """Bytes per second when an event holds so many exchanges and ends with the first packet that is lost in either direction."""
    both_ways = (1 - per) ** 2
    acknowledged = sum(both_ways**number for number in range(1, exchanges + 1))
    return acknowledged * PAYLOAD / INTERVAL_S


@pytest.mark.parametrize(
    ("per", "count", "tolerance"), [(0.0, 300, 0.02), (0.05, 1000, 0.06), (0.2, 1000, 0.06), (0.4, 1000, 0.08)]
)
def test_throughput_follows_the_packet_error_rate(per: float, count: int, tolerance: float) -> None:
    async def test(scene: Scene) -> float:
        link = await scene.connect()
        scene.air.set_per(per)
        return await stream(scene, link, count)

    seeds = (1, 2, 3) if per else (1,)
    mean = sum(run(test, seed=seed) for seed in seeds) / len(seeds)
    # 15 ms hold five exchanges of 2088 + 150 + 80 + 150 µs and the longest answer that the central must reckon with.
    assert mean == pytest.approx(expected_rate(per, exchanges=5), rel=tolerance)


def test_a_disturbance_of_some_channels_costs_what_they_carry() -> None:
    wifi = range(2401, 2424)  # channel 1, 22 MHz wide

    def jam(packet: Transmission) -> float:
        return 1.0 if frequency_mhz(packet.channel) in wifi else 0.0

    async def test(scene: Scene) -> tuple[float, float]:
        link = await scene.connect()
        before = await stream(scene, link, 400)
        remove = scene.air.disturb(jam)
        during = await stream(scene, link, 400)
        remove()
        assert await stream(scene, link, 400) == pytest.approx(before, rel=0.05)
        return before, during

    before, during = run(test)
    jammed = sum(frequency_mhz(channel) in wifi for channel in range(37))
    assert during / before == pytest.approx(1 - jammed / 37, abs=0.06)


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({"max_octets": 27}, 0.15, 0.50),
        ({"radio": {"interval_ms": 7.5}}, 0.7, 1.1),
        ({"radio": {"interval_ms": 100.0}}, 1.1, 1.4),
    ],
    ids=["27-octet packets", "7.5 ms", "100 ms"],
)
def test_packet_length_and_interval_matter(options: dict[str, Any], low: float, high: float) -> None:
    async def test(scene: Scene) -> float:
        return await stream(scene, await scene.connect(), 300)

    assert low < run(test, **options) / run(test) < high


@pytest.mark.parametrize(("pair", "spacing_us"), [(False, 2088 + 150 + 80 + 150), (True, 2120 + 150 + 80 + 150)])
def test_full_packets_follow_each_other_at_the_pace_of_the_specification(pair: bool, spacing_us: int) -> None:
    """A 251-octet packet, an empty answer, and two inter-frame spaces; encryption adds four octets of MIC."""

    async def test(scene: Scene) -> float:
        link = await scene.connect()
        times: list[float] = []
        scene.board.listen(lambda _data: times.append(now()))
        for _ in range(4):
            await link.write(SMP_CHARACTERISTIC, bytes(PAYLOAD), response=False)
        await asyncio.sleep(1.0)
        return (times[3] - times[0]) / 3

    assert run(test, radio={"pair": pair}) * 1e6 == pytest.approx(spacing_us, abs=0.01)


def test_the_faster_phy_is_faster_and_the_coded_one_slower() -> None:
    async def test(scene: Scene) -> list[float]:
        link = await scene.connect()
        rates = [await stream(scene, link, 200)]
        for phy in (Phy.LE_2M, Phy.LE_CODED):
            assert scene.board.central_end.change_phy(phy)
            await asyncio.sleep(1.0)
            rates.append(await stream(scene, link, 60))
        return rates

    normal, fast, coded = run(test, radio={"interval_ms": 50.0})
    assert 1.5 < fast / normal < 2.0
    assert coded < normal / 4


# ---------------------------------------------------------------------------------------------------------- supervision
@pytest.mark.parametrize("silence_s", [0.5, 2.0, 3.9])
def test_a_silence_shorter_than_the_supervision_timeout_only_delays(silence_s: float) -> None:
    async def test(scene: Scene) -> tuple[float, bool]:
        link = await scene.connect()
        received: list[float] = []
        scene.board.listen(lambda _data: received.append(now()))
        scene.air.set_per(1.0)
        start = now()
        await link.write(SMP_CHARACTERISTIC, b"late", response=False)
        await asyncio.sleep(silence_s)
        scene.air.set_per(0.0)
        await asyncio.sleep(1.0)
        return received[0] - start, link.is_up

    delay, is_up = run(test)
    assert is_up
    assert silence_s <= delay <= silence_s + 2 * INTERVAL_S


def test_a_longer_silence_ends_the_link_on_both_sides_at_that_time() -> None:
    async def test(scene: Scene) -> tuple[float, list[tuple[int, float]]]:
        link = await scene.connect()
        ends: list[tuple[int, float]] = []
        scene.board.radio.on_disconnected = lambda reason: ends.append((reason, now()))
        await asyncio.sleep(1.0)
        start = now()
        scene.air.set_per(1.0)
        assert await link.wait_lost() == 0x08
        lost = now() - start
        await asyncio.sleep(1.0)
        return lost, [(reason, time - start) for reason, time in ends]

    lost, ends = run(test)
    assert SUPERVISION_S - INTERVAL_S <= lost <= SUPERVISION_S
    assert [reason for reason, _ in ends] == [0x08]
    assert SUPERVISION_S - INTERVAL_S <= ends[0][1] <= SUPERVISION_S


def test_one_packet_in_time_keeps_the_link() -> None:
    async def test(scene: Scene) -> bool:
        link = await scene.connect()
        for _ in range(5):
            scene.air.set_per(1.0)
            await asyncio.sleep(3.9)
            scene.air.set_per(0.0)
            await asyncio.sleep(2 * INTERVAL_S)
        return link.is_up

    assert run(test)


def test_a_central_whose_board_says_goodbye_into_the_void_notices_by_itself() -> None:
    async def test(scene: Scene) -> int | None:
        link = await scene.connect()
        scene.air.set_per(1.0)
        goodbye = asyncio.create_task(scene.board.radio.disconnect())
        reason = await link.wait_lost()
        await goodbye
        return reason

    assert run(test) == 0x08


# ------------------------------------------------------------------------------------------------------- establishment
def test_a_connection_comes_up_at_forty_percent_packet_errors() -> None:
    async def test(scene: Scene) -> bool:
        link = await scene.connect(timeout_s=120.0)
        return link.is_up

    assert all(run(test, seed=seed, per=0.4) for seed in range(5))


def test_a_connection_that_does_not_begin_to_work_is_tried_again() -> None:
    def spoil_first_events(packet: Transmission) -> float:
        return 1.0 if packet.channel < 37 and packet.time_s < 2.0 else 0.0

    async def test(scene: Scene) -> float:
        scene.air.disturb(spoil_first_events)
        await scene.connect()
        return now()

    assert run(test) > 2.0


@pytest.mark.parametrize("works_for_s", [0.0, 0.1])
def test_connecting_gives_up_at_its_limit_even_when_the_link_came_up_and_died(works_for_s: float) -> None:
    async def test(scene: Scene) -> float:
        found = await scene.radio.find(lambda advertisement: advertisement.name == NAME, timeout_s=10.0)
        start = now()
        scene.air.disturb(lambda packet: float(packet.channel < 37 and packet.time_s > start + works_for_s))
        with pytest.raises(NoReply):
            await scene.radio.connect(found, services=[SMP_SERVICE], timeout_s=2.0)
        return now() - start

    assert run(test) == pytest.approx(2.0, abs=0.01)


def test_a_lost_connection_request_is_sent_again() -> None:
    async def test(scene: Scene) -> float:
        scene.air.disturb(lambda packet: 1.0 if packet.channel >= 37 and packet.octets == 34 and packet.time_s < 2.0 else 0.0)
        await scene.connect()
        return now()

    assert run(test) > 2.0


def test_a_jam_of_the_advertising_channels_hides_a_board_and_leaves_links_alone() -> None:
    async def test(scene: Scene) -> None:
        link = await scene.connect()
        remove = scene.air.disturb(lambda packet: 1.0 if packet.channel >= 37 else 0.0)
        await stream(scene, link, 50)
        await link.disconnect()
        with pytest.raises(NotFound):
            await scene.radio.find(lambda _advertisement: True, timeout_s=10.0)
        remove()
        assert (await scene.connect()).is_up

    run(test)


def test_the_name_comes_with_the_scan_response_and_only_with_it() -> None:
    def spoil_scan_requests(packet: Transmission) -> float:
        return 1.0 if packet.octets == 12 else 0.0

    async def test(scene: Scene) -> None:
        remove = scene.air.disturb(spoil_scan_requests)
        seen = await scene.radio.find(lambda advertisement: SMP_SERVICE in advertisement.service_uuids, timeout_s=5.0)
        assert seen.name == ""
        with pytest.raises(NotFound):
            await scene.radio.find(lambda advertisement: advertisement.name == NAME, timeout_s=5.0)
        remove()
        await scene.radio.find(lambda advertisement: advertisement.name == NAME, timeout_s=5.0)

    run(test)


def test_a_board_with_a_public_address_can_be_used() -> None:
    async def test(scene: Scene) -> bool:
        return (await scene.connect()).is_up

    assert run(test, address="00:60:37:00:00:01/P")


# ------------------------------------------------------------------------------------------------------ stalled boards
@pytest.mark.parametrize(("stall_s", "survives"), [(0.09, True), (3.9, True), (4.1, False), (10.0, False)])
def test_a_stalled_board_is_late_or_lost(stall_s: float, survives: bool) -> None:
    async def test(scene: Scene) -> None:
        link = await scene.connect()
        board_lost: list[tuple[int, float]] = []
        scene.board.radio.on_disconnected = lambda reason: board_lost.append((reason, now()))
        received: list[float] = []
        scene.board.listen(lambda _data: received.append(now()))
        await asyncio.sleep(1.0)
        start = now()
        scene.board.radio.stall(start + stall_s)
        await link.write(SMP_CHARACTERISTIC, b"hello", response=False)
        if survives:
            await asyncio.sleep(stall_s + 1.0)
            assert link.is_up
            assert start + stall_s <= received[0] <= start + stall_s + 2 * INTERVAL_S
        else:
            assert await link.wait_lost() == 0x08
            assert SUPERVISION_S - INTERVAL_S <= now() - start <= SUPERVISION_S
            await asyncio.sleep(stall_s)
            # The board notices when its processor runs again.
            assert [reason for reason, _ in board_lost] == [0x08]
            assert board_lost[0][1] == pytest.approx(start + stall_s, abs=0.001)
            assert received == []

    run(test)


def test_a_stalled_board_does_not_advertise() -> None:
    async def test(scene: Scene) -> float:
        scene.board.radio.stall(3.0)
        await scene.radio.find(lambda _advertisement: True, timeout_s=10.0)
        return now()

    assert run(test) > 3.0


# -------------------------------------------------------------------------------------------------- changes under way
def test_a_board_can_ask_for_a_short_supervision_timeout() -> None:
    async def test(scene: Scene) -> float:
        link = await scene.connect()
        await scene.board.radio.request_parameters(interval_s=0.0075, latency=0, timeout_s=0.42)
        await asyncio.sleep(2.0)
        start = now()
        scene.board.radio.vanish()
        await link.wait_lost()
        return now() - start

    assert 0.42 - 0.0075 <= run(test) <= 0.42


def test_a_change_that_never_reaches_the_board_parts_the_two() -> None:
    async def test(scene: Scene) -> tuple[int | None, float]:
        link = await scene.connect()
        await asyncio.sleep(1.0)
        start = now()
        scene.air.set_per(1.0)
        faster = ConnectionParameters(interval_s=0.0075, latency=0, timeout_s=2.0)
        assert scene.board.central_end.change_parameters(faster)
        await asyncio.sleep(0.3)
        scene.air.set_per(0.0)
        return await link.wait_lost(), now() - start

    reason, lost = run(test)
    assert reason == 0x08
    assert lost <= 2.0


def test_peripheral_latency_delays_what_the_central_sends_and_not_what_the_board_sends() -> None:
    async def test(scene: Scene) -> tuple[float, float]:
        link = await scene.connect()
        scene.air.set_per(1e-9)  # no longer ideal, so that every event is played
        await scene.board.radio.request_parameters(interval_s=0.015, latency=30, timeout_s=6.0)
        await asyncio.sleep(2.0)
        arrivals: list[float] = []
        scene.board.listen(lambda _data: arrivals.append(now()))
        delays = []
        for _ in range(10):
            start = now()
            await link.write(SMP_CHARACTERISTIC, b"down", response=False)
            await asyncio.sleep(1.03)
            delays.append(arrivals[-1] - start)
        received: list[float] = []
        await link.subscribe(SMP_CHARACTERISTIC, lambda _data: received.append(now()))
        await asyncio.sleep(1.0)
        start = now()
        await scene.board.radio.notify(SMP_CHARACTERISTIC, b"up")
        await asyncio.sleep(1.0)
        return max(delays), received[0] - start

    down, up = run(test)
    assert 0.1 < down <= 31 * INTERVAL_S + 0.01
    assert up <= 2 * INTERVAL_S


# ---------------------------------------------------------------------------------------------------- cost and certainty
def test_an_idle_link_on_an_ideal_medium_sets_no_timers() -> None:
    async def test(scene: Scene) -> tuple[int, bool]:
        link = await scene.connect()
        await asyncio.sleep(1.0)
        loop = asyncio.get_running_loop()
        timers = 0
        original = loop.call_at

        def counting(*arguments: Any, **options: Any) -> asyncio.TimerHandle:
            nonlocal timers
            timers += 1
            return original(*arguments, **options)

        loop.call_at = counting  # type: ignore[method-assign]
        await asyncio.sleep(3600)
        return timers, link.is_up

    timers, is_up = run(test)
    assert is_up
    assert timers <= 1  # the sleep itself


async def trace(scene: Scene) -> list[tuple[int, int]]:
    """Microseconds and offsets of an upload on a bad link, with a stall and a silence in it."""
    seen: list[tuple[int, int]] = []
    link = await scene.connect(timeout_s=120.0)
    loop = asyncio.get_running_loop()
    loop.call_later(1.0, lambda: scene.board.radio.stall(loop.time() + 0.5))
    async with SmpSession(link, request_s=30.0) as session:
        async for offset in session.upload(bytes(range(256)) * 128):
            seen.append((round(now() * 1e6), offset))  # noqa: PERF401  the times are the point
    return seen


def test_the_same_seed_gives_the_same_microseconds_and_another_seed_others() -> None:
    first, again, other = (run(trace, seed=seed, per=0.25) for seed in (7, 7, 8))
    assert first == again
    assert first != other
    assert [offset for _, offset in first] == [offset for _, offset in other]


_IN_ANOTHER_PROCESS = """
from tests_hil.test_air import fingerprint
print(fingerprint())
"""


def fingerprint() -> str:
    return hashlib.sha256(repr(run(trace, seed=7, per=0.25)).encode()).hexdigest()


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_with_another_hash_seed_sees_the_same_microseconds(hash_seed: str) -> None:
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    output = subprocess.run(
        [sys.executable, "-c", _IN_ANOTHER_PROCESS], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    assert output.stdout.strip() == fingerprint()


# --------------------------------------------------------------------------------------------------- updates over the air
@pytest.mark.parametrize("per", [0.0, 0.3])
def test_an_upload_arrives_whole_and_goes_on_after_a_lost_link(per: float) -> None:
    image = bytes(range(256)) * 200

    async def test(scene: Scene) -> int:
        link = await scene.connect(timeout_s=120.0)
        with pytest.raises(LinkLost):
            await upload(link, image, until=20_000, then=lambda: scene.air.set_per(1.0))
        reached = len(scene.board.slot)
        scene.air.set_per(per)
        link = await scene.connect(timeout_s=120.0)
        async with SmpSession(link) as session:
            offsets = [offset async for offset in session.upload(image)]
        assert scene.board.slot == image
        assert reached == offsets[0]
        return reached

    assert 20_000 <= run(test, per=per) < len(image)


async def upload(link: BleakLink, image: bytes, *, until: int, then: Callable[[], None]) -> None:
    async with SmpSession(link) as session:
        async for offset in session.upload(image):
            if offset >= until:
                then()
