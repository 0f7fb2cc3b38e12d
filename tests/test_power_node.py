"""The supply node against physics worked out another way: charge, and the differential equation integrated in small steps."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.virtual.clock import loop_factory
from rig.virtual.power import PowerNode

CAPACITANCE_F, BLEED_OHM, RISE_S = 10e-6, 1000.0, 0.2e-3
STEP_S = 10e-6


def run(test: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        runner.run(test())


@dataclass
class Watched:
    """A node whose thresholds are written down: (what, when, at which voltage)."""

    node: PowerNode
    seen: list[tuple[str, float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.node.on_good = lambda: self.note("good")
        self.node.on_fail = lambda: self.note("fail")

    def note(self, what: str) -> None:
        self.seen.append((what, asyncio.get_running_loop().time(), self.node.voltage()))

    @property
    def words(self) -> list[str]:
        return [what for what, _, _ in self.seen]


async def powered(millivolts: int = 3000, load_a: float = 0.0, **options) -> Watched:
    watched = Watched(PowerNode(**options))
    watched.node.set_source_mv(millivolts)
    watched.node.set_load(load_a)
    watched.node.switch(True)
    await asyncio.sleep(1.0)
    assert watched.node.is_good
    watched.seen.clear()
    return watched


def live_timers() -> list[asyncio.TimerHandle]:
    return [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()]


# ------------------------------------------------------------------------------------------------------------------ decay
@pytest.mark.parametrize(("load_a", "published_s"), [(5e-3, 2.6e-3), (0.6e-3, 21.7e-3), (3e-6, 4.33)])
def test_hold_up_time_without_bleed_is_charge_over_current(load_a: float, published_s: float) -> None:
    async def test() -> None:
        watched = await powered(load_a=load_a, bleed_ohm=None)
        cut_s = asyncio.get_running_loop().time()
        watched.node.switch(False)
        await asyncio.sleep(10)
        ((what, when, volts),) = watched.seen
        assert what == "fail"
        assert when - cut_s == pytest.approx(CAPACITANCE_F * (3.0 - 1.7) / load_a, rel=1e-9)
        assert when - cut_s == pytest.approx(published_s, rel=0.01)
        assert volts == pytest.approx(1.7, abs=1e-6)

    run(test)


@pytest.mark.parametrize("load_a", [0.0, 3e-6, 0.6e-3, 5e-3, 0.1])
def test_decay_with_bleed_follows_the_differential_equation(load_a: float) -> None:
    async def test() -> None:
        watched = await powered(load_a=load_a)
        watched.node.switch(False)
        start_s = asyncio.get_running_loop().time()
        volts, dt = 3.0, 1e-6
        for step in range(20_000):
            if step % 1000 == 0:
                assert watched.node.voltage(start_s + step * dt) == pytest.approx(volts, abs=2e-4)
            volts = max(0.0, volts - dt * (load_a + volts / BLEED_OHM) / CAPACITANCE_F)

    run(test)


def test_a_resting_node_is_discharged_to_nothing_and_stays_there() -> None:
    async def test() -> None:
        watched = await powered(load_a=1e-3)
        watched.node.switch(False)
        await asyncio.sleep(1.0)
        assert watched.node.voltage() == 0.0

    run(test)


# ------------------------------------------------------------------------------------------------------------- thresholds
def test_power_on_is_reached_in_proportion_to_the_rise_time() -> None:
    async def test() -> None:
        watched = Watched(PowerNode(rise_s=60e-3))
        watched.node.set_source_mv(3000)
        watched.node.switch(True)
        await asyncio.sleep(0.1)
        ((what, when, volts),) = watched.seen
        assert (what, when) == ("good", pytest.approx(60e-3 * 1.75 / 3.0))
        assert volts == pytest.approx(1.75)
        assert watched.node.voltage() == 3.0

    run(test)


def test_a_source_below_the_threshold_never_starts_the_soc() -> None:
    async def test() -> None:
        watched = Watched(PowerNode())
        watched.node.set_source_mv(1700)
        watched.node.switch(True)
        await asyncio.sleep(1)
        assert watched.words == []
        assert not watched.node.is_good

    run(test)


def test_a_dip_shorter_than_the_hold_up_time_goes_unnoticed() -> None:
    async def test() -> None:
        watched = await powered(load_a=5e-3, bleed_ohm=None)
        watched.node.switch(False)
        await asyncio.sleep(2.5e-3)
        watched.node.switch(True)
        await asyncio.sleep(1)
        assert watched.words == []

    run(test)


@pytest.mark.parametrize(("dip_mv", "words"), [(1800, []), (1700, ["fail", "good"]), (1600, ["fail", "good"])])
def test_a_dip_by_voltage_steps_fails_only_below_the_brown_out_threshold(dip_mv: int, words: list[str]) -> None:
    async def test() -> None:
        watched = await powered(load_a=1e-3)
        watched.node.set_source_mv(dip_mv)
        await asyncio.sleep(50e-3)
        assert watched.node.voltage() == dip_mv / 1000
        watched.node.set_source_mv(3000)
        await asyncio.sleep(50e-3)
        assert watched.words == words
        if words:
            assert not watched.node.ram_lost

    run(test)


def test_a_slow_ramp_by_small_steps_fails_once_and_at_the_right_step() -> None:
    async def test() -> None:
        watched = await powered(load_a=5e-3)
        down = range(2990, 1490, -10)
        start_s = asyncio.get_running_loop().time()
        for millivolts in (*down, *reversed(down)):
            watched.node.set_source_mv(millivolts)
            await asyncio.sleep(1e-3)
        (fail, fail_s, _), (good, good_s, _) = watched.seen
        assert (fail, good) == ("fail", "good")
        assert 0 < fail_s - (start_s + down.index(1700) * 1e-3) < 1e-3
        assert 0 <= good_s - (start_s + (2 * len(down) - 1 - down.index(1750)) * 1e-3) < 1e-3

    run(test)


def ramp(node: PowerNode, loop: asyncio.AbstractEventLoop, *, seconds: float, first_mv: int = 800, last_mv: int = 3000) -> None:
    """Upwards by steps of 10 mV, as an instrument does that cannot ramp."""
    steps = range(first_mv, last_mv + 1, 10)
    for number, millivolts in enumerate(steps):
        loop.call_later(number * seconds / len(steps), node.set_source_mv, millivolts)


@pytest.mark.parametrize(("seconds", "words"), [(0.1, ["good"]), (0.2, [])])
def test_a_soc_that_needs_a_fast_rise_stays_in_reset_after_a_slow_one(seconds: float, words: list[str]) -> None:
    """From 0.5 to 1.75 V in 60 ms: of a ramp from 0.8 to 3 V, 44 % of its time count."""

    async def test() -> None:
        watched, loop = Watched(PowerNode(slowest_start_s=60e-3)), asyncio.get_running_loop()
        watched.node.set_source_mv(800)
        watched.node.switch(True)
        ramp(watched.node, loop, seconds=seconds)
        await asyncio.sleep(1.0)
        assert watched.node.voltage() == 3.0
        assert watched.words == words
        watched.node.switch(False)
        await asyncio.sleep(1.0)
        watched.node.switch(True)
        await asyncio.sleep(1.0)
        assert watched.words[-1:] == ["good"]

    run(test)


def test_a_slow_return_from_a_brown_out_is_no_start() -> None:
    async def test() -> None:
        watched, loop = await powered(slowest_start_s=60e-3, load_a=1e-3), asyncio.get_running_loop()
        watched.node.set_source_mv(1500)
        await asyncio.sleep(0.1)
        ramp(watched.node, loop, seconds=1.0, first_mv=1500)
        await asyncio.sleep(2.0)
        assert watched.words == ["fail", "good"]

    run(test)


def test_without_such_a_need_any_rise_will_do() -> None:
    async def test() -> None:
        watched, loop = Watched(PowerNode()), asyncio.get_running_loop()
        watched.node.set_source_mv(800)
        watched.node.switch(True)
        ramp(watched.node, loop, seconds=30.0)
        await asyncio.sleep(40.0)
        assert watched.words == ["good"]

    run(test)


def test_events_at_a_threshold_reach_the_soc_before_the_change_that_follows() -> None:
    """A loop that is late must not lose a brown-out because the supply came back meanwhile."""

    async def test() -> None:
        watched = await powered(load_a=5e-3)
        node, loop = watched.node, asyncio.get_running_loop()
        node.switch(False)
        loop._jumping.now += 5e-3  # the loop was busy while VDD fell through the threshold
        node.switch(True)
        assert watched.words == ["fail"]
        await asyncio.sleep(1e-3)
        assert watched.words == ["fail", "good"]

    run(test)


def test_the_load_may_change_in_the_middle_of_a_threshold() -> None:
    async def test() -> None:
        watched = await powered(load_a=5e-3, bleed_ohm=None)
        watched.node.on_fail = lambda: (watched.note("fail"), watched.node.set_load(0.0))[0]
        watched.node.switch(False)
        await asyncio.sleep(1)
        assert watched.words == ["fail"]
        assert watched.node.voltage() == pytest.approx(1.7, abs=1e-6)

    run(test)


# ---------------------------------------------------------------------------------------------------- RAM and back-powering
@pytest.mark.parametrize(("off_s", "lost"), [(15e-3, False), (19e-3, True)])
def test_ram_survives_until_the_retention_voltage(off_s: float, lost: bool) -> None:
    """With 1 kΩ and 10 µF, 0.5 V is reached after 10 ms · ln(3.0 / 0.5) = 17.9 ms."""

    async def test() -> None:
        watched = await powered()
        for expected in (lost, False):  # a short outage after the long one must not remember it
            watched.node.switch(False)
            await asyncio.sleep(off_s if expected is lost else 8e-3)
            assert watched.node.ram_lost is (expected and lost)
            watched.node.switch(True)
            await asyncio.sleep(0.1)
            assert watched.node.ram_lost is (expected and lost)
        assert 15e-3 < 10e-3 * math.log(3.0 / 0.5) < 19e-3

    run(test)


def test_ram_holds_nothing_before_the_first_power_on() -> None:
    async def test() -> None:
        watched = Watched(PowerNode())
        watched.node.set_source_mv(3000)
        watched.node.switch(True)
        await asyncio.sleep(1)
        assert watched.node.ram_lost

    run(test)


@pytest.mark.parametrize(("floor_v", "words"), [(1.9, []), (1.2, ["fail"])])
def test_back_powering_keeps_vdd_and_ram_up(floor_v: float, words: list[str]) -> None:
    async def test() -> None:
        watched = await powered(load_a=1e-3, back_power_mv=1000 * floor_v)
        watched.node.record_from(asyncio.get_running_loop().time())
        watched.node.switch(False)
        await asyncio.sleep(10)
        now = asyncio.get_running_loop().time()
        assert watched.words == words
        assert watched.node.voltage() == floor_v
        if words:
            assert not watched.node.ram_lost
        assert not watched.node.current_between(now - 1e-3, now, STEP_S).any()  # the leak feeds it, not the source
        assert watched.node.vdd_high_between(now - 1e-3, now, STEP_S).all()

    run(test)


def test_a_source_below_the_back_powered_voltage_delivers_nothing() -> None:
    async def test() -> None:
        watched = await powered(load_a=1e-3, back_power_mv=1200)
        watched.node.set_source_mv(1000)
        await asyncio.sleep(1)
        start_s = asyncio.get_running_loop().time()
        watched.node.record_from(start_s)
        assert watched.node.voltage() == 1.2
        assert not watched.node.current_between(start_s, start_s + 1e-3, STEP_S).any()

    run(test)


# --------------------------------------------------------------------------------------------------------------- the record
def test_the_source_delivers_the_charge_that_the_node_and_its_loads_take() -> None:
    async def test() -> None:
        node = PowerNode()
        node.set_source_mv(3000)
        node.set_load(5e-3)
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        node.record_from(start_s)
        node.switch(True)
        await asyncio.sleep(10e-3)
        step = 1e-7
        amps = node.current_between(start_s, loop.time(), step)
        volts = np.array([node.voltage(start_s + k * step) for k in range(len(amps))])
        taken = CAPACITANCE_F * 3.0 + 5e-3 * 10e-3 + volts.sum() * step / BLEED_OHM
        assert amps.sum() * step == pytest.approx(taken, rel=1e-3)
        assert amps.max() == pytest.approx(CAPACITANCE_F * 3.0 / RISE_S + 5e-3 + 3e-3, rel=1e-3)

    run(test)


def test_the_record_shows_every_change_where_it_happened() -> None:
    async def test() -> None:
        watched = await powered(load_a=1e-3, bleed_ohm=None)
        node, loop = watched.node, asyncio.get_running_loop()
        node.record_from(loop.time())
        start_s = loop.time()
        for load_a in (1e-3, 2e-3, 4e-3):
            node.set_load(load_a)
            await asyncio.sleep(100 * STEP_S)
        node.switch(False)
        await asyncio.sleep(1.0)
        amps = node.current_between(start_s, start_s + 400 * STEP_S, STEP_S)
        assert amps.tolist() == [1e-3] * 100 + [2e-3] * 100 + [4e-3] * 100 + [0.0] * 100

    run(test)


def test_the_logic_input_falls_when_vdd_does_and_rises_again() -> None:
    async def test() -> None:
        watched = await powered()
        node, loop = watched.node, asyncio.get_running_loop()
        start_s = loop.time()
        node.record_from(start_s)
        node.switch(False)
        await asyncio.sleep(50e-3)
        node.switch(True)
        await asyncio.sleep(10e-3)
        high = node.vdd_high_between(start_s, loop.time(), STEP_S)
        fallen, risen = np.flatnonzero(np.diff(high.astype(int))) + 1
        assert fallen * STEP_S == pytest.approx(10e-3 * math.log(3.0 / 1.05), abs=STEP_S)
        assert risen * STEP_S == pytest.approx(50e-3 + RISE_S * 1.05 / 3.0, abs=2 * STEP_S)
        assert high[0]
        assert high[-1]

    run(test)


def test_an_idle_node_keeps_no_record_and_says_so() -> None:
    async def test() -> None:
        watched = await powered()
        node, loop = watched.node, asyncio.get_running_loop()
        for _ in range(100):
            node.switch(False)
            node.switch(True)
            await asyncio.sleep(1e-3)
        assert len(node._epochs) == 1
        with pytest.raises(ValueError, match="not recorded"):
            node.current_between(0.0, loop.time(), STEP_S)
        node.record_from(loop.time())
        for _ in range(100):
            node.set_load(1e-3)
            node.set_load(2e-3)
            await asyncio.sleep(1e-3)
            node.record_from(loop.time())
        assert len(node._epochs) == 1
        node.record_from(None)
        with pytest.raises(ValueError, match="not recorded"):
            node.voltage(0.5)

    run(test)


def test_a_node_at_rest_has_no_timer() -> None:
    async def test() -> None:
        watched = await powered(load_a=1e-3)
        assert live_timers() == []
        watched.node.set_load(5e-3)
        assert live_timers() == []
        watched.node.switch(False)
        await asyncio.sleep(1)
        assert live_timers() == []

    run(test)


# ------------------------------------------------------------------------------------------------------- everything at once
event = st.one_of(
    st.tuples(st.just("switch"), st.booleans()),
    st.tuples(st.just("load"), st.sampled_from([0.0, 3e-6, 0.8e-3, 5e-3, 30e-3])),
    st.tuples(st.just("source"), st.sampled_from([800, 1650, 1720, 1800, 3000, 3600])),
)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    events=st.lists(st.tuples(st.integers(1, 400), event), min_size=1, max_size=12),
    bleed_ohm=st.sampled_from([None, 1000.0]),
    floor_v=st.sampled_from([None, 1.2]),
)
def test_any_history_agrees_with_integration_in_small_steps(
    events: list[tuple[int, tuple[str, float]]], bleed_ohm: float | None, floor_v: float | None
) -> None:
    async def test() -> None:
        watched = Watched(PowerNode(bleed_ohm=bleed_ohm, back_power_mv=floor_v and 1000 * floor_v))
        node, loop = watched.node, asyncio.get_running_loop()
        node.set_source_mv(3000)
        node.switch(True)
        await asyncio.sleep(0.1)
        node.record_from(loop.time())
        on, source_v, load_a, volts, dt = True, 3.0, 0.0, 3.0, 1e-6
        for steps, (what, value) in events:
            if what == "switch":
                on = bool(value)
                node.switch(on)
            elif what == "load":
                load_a = value
                node.set_load(value)
            else:
                source_v = value / 1000
                node.set_source_mv(int(value))
            begin_s, before = loop.time(), volts
            delivered = 0.0
            for _ in range(steps * 10):
                level = max(source_v if on else 0.0, floor_v or 0.0)
                drawn = load_a + (volts / bleed_ohm if bleed_ohm else 0.0)
                rising = volts < level
                after = min(level, volts + dt * level / RISE_S) if rising else max(level, volts - dt * drawn / CAPACITANCE_F)
                if on and source_v >= (floor_v or 0.0) and (after > volts or volts == level):
                    delivered += dt * (drawn + CAPACITANCE_F * (after - volts) / dt)
                volts = after
            await asyncio.sleep(steps * 10e-6)
            assert node.voltage() == pytest.approx(volts, abs=2e-3)
            assert node.voltage(begin_s) == pytest.approx(before, abs=2e-3)
            measured = node.current_between(begin_s, begin_s + steps * 10e-6, 1e-6).sum() * 1e-6
            assert measured == pytest.approx(delivered, abs=0.4e-6)
        assert all(a != b for a, b in zip(["good", *watched.words[1:]], watched.words[1:], strict=False))
        assert watched.words[:1] == ["good"]
        for what, _, at in watched.seen:
            assert at == pytest.approx(1.75 if what == "good" else 1.7, abs=1e-3)

    run(test)


@pytest.mark.parametrize(
    "options",
    [{"capacitance_f": 0.0}, {"bleed_ohm": -1.0}, {"back_power_mv": -100}, {"rise_s": 0.0}, {"retention_v": 1.72}, {"power_on_v": 1.7}],
)
def test_impossible_nodes_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"must be positive|must rise"):
        PowerNode(**options)
