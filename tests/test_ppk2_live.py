"""The Power Profiler Kit II watched while it samples: the same samples as a recording has, and neither disturbs the other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.drivers.ppk2_live import LiveSamples
from rig.drivers.supply_ppk2 import Ppk2Supply
from rig.errors import InstrumentError
from rig.formats import ppk2
from rig.ports import SupplyTrace
from rig.virtual.clock import loop_factory
from rig.virtual.pins import Pins
from rig.virtual.power import PowerNode
from rig.virtual.ppk2 import CALIBRATION, VirtualPpk2
from rig.virtual.wires import CURRENT_WIRES, Wires

VOLTS = 3.0
BLOCK_S = 0.010


# ------------------------------------------------------------------------------------------------------------ decoding alone
def stream(count: int) -> ppk2.Words:
    """Words whose reading tells their place; every fourth of range 2, the others of range 1."""
    place = np.arange(count, dtype=np.uint32)
    return (place & 0x3FFF) | np.where(place % 4, 1, 2).astype(np.uint32) << 14 | (place & 63) << 18 | (place & 0xFF) << 24


def live(words: ppk2.Words, cuts: list[int]) -> tuple[list[float], bytes]:
    decoder = LiveSamples(CALIBRATION)
    pieces = [piece.astype("<u4").tobytes() for piece in np.split(words, sorted(cuts))]
    traces = [decoder.feed(float(number), piece, VOLTS) for number, piece in enumerate(pieces)]
    return [value for trace in traces for value in trace.current_ua], b"".join(trace.logic for trace in traces)


def recorded(words: ppk2.Words) -> tuple[list[float], bytes]:
    filled = ppk2.fill_gaps(words).words
    return [float(np.float32(amps * 1e6)) for amps in ppk2.current_amps(filled, CALIBRATION, VOLTS)], ppk2.logic_inputs(filled)


@settings(deadline=None)
@given(
    cuts=st.lists(st.integers(1, 399), max_size=8),
    lost=st.lists(st.tuples(st.integers(1, 380), st.integers(1, 15)), max_size=3),
    corrupt=st.lists(st.integers(1, 340), max_size=2),
)
def test_however_it_is_cut_a_stream_gives_the_samples_of_a_recording(cuts: list[int], lost: list[tuple[int, int]], corrupt: list[int]) -> None:
    words = stream(400)
    for place in corrupt:
        words[place] ^= 0x15 << 18  # a wrong counter
    words = np.delete(words, [place + more for place, count in lost for more in range(count) if place + more < 390])
    currents, logic = live(words, cuts)
    expected, expected_logic = recorded(words)
    assert logic == expected_logic
    assert currents == pytest.approx(expected)


def test_a_stream_that_never_counts_on_is_not_held_back_for_ever() -> None:
    decoder = LiveSamples(CALIBRATION)
    odd = stream(2000)[::2].astype("<u4").tobytes()
    assert sum(len(decoder.feed(0.0, odd[at : at + 400], VOLTS).logic) for at in range(0, len(odd), 400)) > 1000


# ------------------------------------------------------------------------------------------------------- driver and its twin
def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(20):
            await test()

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        runner.run(limited())


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Ppk2Supply, PowerNode, Pins]]:
    """A driver on a virtual kit that feeds a node; pin P0.13 is wired to logic input 3, P1.02 to input 7."""
    wires = Wires()
    CURRENT_WIRES.set(wires)
    node, pins = PowerNode(), Pins()
    inputs = {number: lambda t0, t1, step, pin=pin: pins.high_between(pin, t0, t1, step) for number, pin in ((3, "P0.13"), (7, "P1.02"))}
    kit = VirtualPpk2(wires.add("dk1/ppk2"), node, inputs=inputs)
    async with Ppk2Supply(owner="dk1", port="virtual:dk1/ppk2") as supply:
        await supply.on()
        await asyncio.sleep(0.1)
        yield supply, node, pins
    kit.close()


class Listener:
    """Keeps every block, and when it came."""

    def __init__(self) -> None:
        self.blocks: list[SupplyTrace] = []
        self.times: list[float] = []

    def __call__(self, block: SupplyTrace) -> None:
        self.blocks.append(block)
        self.times.append(asyncio.get_running_loop().time())

    def at(self, start_s: float, count: int) -> tuple[list[float], bytes]:
        """The `count` samples from `start_s` on."""
        current = [value for block in self.blocks for value in block.current_ua]
        logic = b"".join(block.logic for block in self.blocks)
        first = round((start_s - self.blocks[0].start_s) / ppk2.SAMPLE_S)
        return current[first : first + count], logic[first : first + count]


def test_a_recording_within_a_watch_has_the_same_samples_and_leaves_no_hole_in_it() -> None:
    async def test() -> None:
        async with opened() as (supply, node, _):
            heard = Listener()
            stop = await supply.watch(heard)
            await asyncio.sleep(0.0234)
            node.set_load(5e-3)
            await supply.record()
            await asyncio.sleep(0.0111)
            await supply.off()
            await asyncio.sleep(0.0222)
            back_s = await supply.on()
            await asyncio.sleep(0.005)
            asked_s = asyncio.get_running_loop().time()
            trace = await supply.stop_recording()
            await asyncio.sleep(0.05)
            await stop()
            assert trace.start_s + len(trace.logic) * trace.step_s >= asked_s > back_s
            current, logic = heard.at(trace.start_s, len(trace.logic))
            assert (current, logic) == (list(trace.current_ua), trace.logic)
            assert 0 in logic
            assert sum(len(block.logic) for block in heard.blocks) == pytest.approx((heard.times[-1] - heard.blocks[0].start_s) / ppk2.SAMPLE_S, abs=2)

    run(test)


def test_a_block_comes_when_its_packet_is_full() -> None:
    async def test() -> None:
        async with opened() as (supply, _, _pins):
            heard = Listener()
            stop = await supply.watch(heard)
            await asyncio.sleep(0.1)
            await stop()
            for block, when_s in zip(heard.blocks, heard.times, strict=True):
                assert block.start_s == pytest.approx(when_s - len(block.logic) * ppk2.SAMPLE_S, abs=1e-6)
                assert len(block.logic) * block.step_s <= BLOCK_S + 1e-9

    run(test)


def test_nothing_is_sent_any_more_when_nobody_watches() -> None:
    async def test() -> None:
        async with opened() as (supply, _, _pins):
            one, two = Listener(), Listener()
            stop_one, stop_two = await supply.watch(one), await supply.watch(two)
            await asyncio.sleep(0.05)
            await stop_one()
            count = len(one.blocks)
            await asyncio.sleep(0.05)
            assert len(one.blocks) == count < len(two.blocks)
            await stop_two()
            await stop_two()
            heard_s = supply._heard_s
            await asyncio.sleep(0.1)
            assert supply._heard_s == heard_s
            await supply.record()
            await asyncio.sleep(0.02)
            assert len((await supply.stop_recording()).logic) == pytest.approx(2000, abs=100)

    run(test)


def test_a_recording_that_outlives_the_watch_is_whole_and_ends_the_stream() -> None:
    async def test() -> None:
        async with opened() as (supply, _, _pins):
            stop = await supply.watch(Listener())
            await asyncio.sleep(0.015)
            await supply.record()
            await stop()
            await asyncio.sleep(0.1)
            trace = await supply.stop_recording()
            assert len(trace.logic) * trace.step_s == pytest.approx(0.1, abs=0.02)
            heard_s = supply._heard_s
            await asyncio.sleep(0.1)
            assert supply._heard_s == heard_s

    run(test)


def test_the_last_watch_may_end_while_a_recording_waits_for_its_last_samples() -> None:
    async def test() -> None:
        async with opened() as (supply, _, _pins):
            stop = await supply.watch(Listener())
            await supply.record()
            await asyncio.sleep(0.0543)
            trace, _ = await asyncio.gather(supply.stop_recording(), stop())
            assert len(trace.logic) * trace.step_s == pytest.approx(0.054, abs=0.02)
            heard_s = supply._heard_s
            await asyncio.sleep(0.1)
            assert supply._heard_s == heard_s, "the stream has been stopped"

    run(test)


def test_a_kit_that_is_not_open_cannot_be_watched() -> None:
    async def test() -> None:
        async with opened() as (supply, _, _pins):
            pass
        with pytest.raises(InstrumentError, match="is not open"):
            await supply.watch(Listener())

    run(test)


def test_pins_reach_their_logic_inputs_at_the_right_moment_and_fall_with_vdd() -> None:
    async def test() -> None:
        async with opened() as (supply, _, pins):
            await supply.record()
            await asyncio.sleep(0.0123)
            rose_s = asyncio.get_running_loop().time()
            pins.drive("P0.13", high=True)
            await asyncio.sleep(0.0101)
            pins.drive("P1.02", high=True)
            await asyncio.sleep(0.01)
            await supply.off()
            await asyncio.sleep(0.05)
            trace = await supply.stop_recording()
            first = next(index for index, level in enumerate(trace.logic) if level & 0x08)
            assert trace.start_s + first * trace.step_s == pytest.approx(rose_s, abs=ppk2.SAMPLE_S)
            assert [level for at, level in enumerate(trace.logic) if not at or level != trace.logic[at - 1]] == [0x01, 0x09, 0x89, 0x00]

    run(test)
