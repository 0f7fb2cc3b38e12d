"""The Power Profiler Kit II: sample words, calibration text, and the driver against instruments that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from rig.drivers.supply_ppk2 import Ppk2Supply
from rig.errors import ConfigError, InstrumentError
from rig.formats import ppk2
from rig.formats.ppk2 import Command
from rig.virtual.clock import loop_factory
from rig.virtual.power import PowerNode
from rig.virtual.ppk2 import CALIBRATION, Encoder, VirtualPpk2
from rig.virtual.wire import VirtualWire
from rig.virtual.wires import CURRENT_WIRES, Wires

PORT = "virtual:dk1/ppk2"
LONGEST_S = 10.0
"""No misbehaviour may hold the rig up for longer."""

METADATA_OF_A_UNIT = (
    "Calibrated: 0\nR0: 1003.3506\nR1: 101.5865\nR2: 10.3027\nR3: 0.9636\nR4: 0.0564\n"
    "GS0: 0.0000\nGS1: 112.7890\nGS2: 18.0115\nGS3: 2.4217\nGS4: 0.0729\n"
    "GI0: 1.0000\nGI1: 0.9695\nGI2: 0.9609\nGI3: 0.9519\nGI4: 0.9582\n"
    "O0: 112.9420\nO1: 75.4627\nO2: 64.6020\nO3: 50.4983\nO4: 87.2177\n"
    "VDD: 3741\nHW: 9173\nmode: 2\n"
    "S0: 0.000000048\nS1: 0.000000596\nS2: 0.000005281\nS3: 0.000062577\nS4: 0.002940743\n"
    "I0: -0.000000104\nI1: -0.000001443\nI2: 0.000036439\nI3: -0.000374119\nI4: -0.009388455\n"
    "UG0: 1.00\nUG1: 1.00\nUG2: 1.00\nUG3: 1.00\nUG4: 1.00\nIA: 56\nEND\n"
)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        await test()
        assert asyncio.get_running_loop().time() < LONGEST_S

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        runner.run(limited())


def words(adc: int | np.ndarray, *, ranges: int = 0, first: int = 0, logic: int = 0, number: int = 1) -> ppk2.Words:
    counter = (np.arange(first, first + number, dtype=np.uint32) & 63) << 18
    return (np.full(number, 0, dtype=np.uint32) | np.uint32(adc) | np.uint32(ranges << 14) | counter | np.uint32(logic << 24)).astype("<u4")


# ------------------------------------------------------------------------------------------------------------ sample words
def test_a_word_decodes_to_what_the_makers_application_shows() -> None:
    """Range 0, four times the reading = 108, 3741 mV: its application computes 0.021454880761611544 µA for this unit."""
    calibration = ppk2.parse_calibration(METADATA_OF_A_UNIT.encode())
    (amps,) = ppk2.current_amps(words(27), calibration, 3.741)
    assert amps * 1e6 == pytest.approx(0.021454880761611544, rel=1e-6)


@pytest.mark.parametrize("ranges", range(5))
def test_every_range_decodes_by_the_published_formula(ranges: int) -> None:
    for adc in (0, 1, 4000, 16383):
        c = CALIBRATION
        x = (4 * adc - c.o[ranges]) * (1.8 / 163840 / c.r[ranges])
        expected = c.ug[ranges] * (x * (c.gs[ranges] * x + c.gi[ranges]) + c.s[ranges] * 3.0 + c.i[ranges])
        (amps,) = ppk2.current_amps(words(adc, ranges=ranges), c, 3.0)
        assert amps == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_fields_of_a_word_do_not_leak_into_each_other() -> None:
    every = words(0x3FFF, ranges=4, first=63, logic=0xFF)
    assert every[0] == 0xFFFD_3FFF
    assert ppk2.logic_inputs(every) == b"\xff"
    bare = ppk2.current_amps(words(0x3FFF, ranges=4), CALIBRATION, 3.0)
    assert ppk2.current_amps(every, CALIBRATION, 3.0) == bare


def test_what_the_virtual_kit_encodes_decodes_within_half_a_count() -> None:
    amps = np.concatenate(([0.0], np.geomspace(1e-7, 0.8, 2000)))
    encoded = Encoder(CALIBRATION).encode(amps, 3.0)
    decoded = ppk2.current_amps(encoded, CALIBRATION, 3.0)
    count = ppk2.current_amps(encoded + np.uint32(1), CALIBRATION, 3.0) - decoded
    assert (np.abs(decoded - amps) <= 0.51 * count).all()
    assert set((encoded >> 14) & 7) == {0, 1, 2, 3, 4}


def test_a_resting_board_is_encoded_as_any_other() -> None:
    encoder = Encoder(CALIBRATION)
    varied = encoder.encode(np.array([0.0, 3e-6, 8e-3]), 3.0)
    for amps, word in zip([0.0, 3e-6, 8e-3], varied, strict=True):
        assert (encoder.encode(np.full(5, amps), 3.0) == word).all()


@pytest.mark.parametrize("amps", [3.0, 100.0])
def test_a_current_beyond_the_scale_reads_as_its_end(amps: float) -> None:
    high = Encoder(CALIBRATION).encode(np.array([20.0 * amps, 0.0]), 3.0)[0]
    assert high & 0x3FFF == 0x3FFF


# ---------------------------------------------------------------------------------------------------------------- counter
def numbered(count: int) -> ppk2.Words:
    """Words whose ADC reading tells their place."""
    place = np.arange(count, dtype=np.uint32)
    return (place & 0x3FFF) | ((place & 63) << 18)


def places(samples: ppk2.Continuous) -> list[int]:
    return [int(word) & 0x3FFF for word in samples.words]


def test_words_without_a_gap_pass_unchanged() -> None:
    samples = ppk2.fill_gaps(numbered(1000))
    assert (samples.lost, samples.ends) == (0, None)
    assert places(samples) == list(range(1000))


@pytest.mark.parametrize("missing", [1, 2, 40, 63])
def test_a_gap_repeats_the_sample_before_it(missing: int) -> None:
    received = np.delete(numbered(500), range(100, 100 + missing))
    samples = ppk2.fill_gaps(received)
    assert samples.lost == missing
    assert places(samples) == [*range(100), *[99] * missing, *range(100 + missing, 500)]
    assert samples.ends is not None
    assert samples.ends[99] == 100
    assert samples.ends[100] == 101 + missing
    assert samples.ends[-1] == 500


def test_one_corrupt_word_is_not_taken_for_a_gap() -> None:
    received = numbered(500)
    received[200] ^= 0b101 << 18
    samples = ppk2.fill_gaps(received)
    assert samples.lost == 1
    assert places(samples) == [*range(200), 199, *range(201, 500)]


def test_a_word_of_a_range_that_does_not_exist_is_not_believed() -> None:
    received = numbered(500)
    received[[7, 8]] |= np.uint32(5 << 14)
    samples = ppk2.fill_gaps(received)
    assert samples.lost == 2
    assert places(samples) == [*range(7), 6, 6, *range(9, 500)]


# ------------------------------------------------------------------------------------------------------------ metadata text
def test_the_answer_of_a_unit_is_understood() -> None:
    calibration = ppk2.parse_calibration(METADATA_OF_A_UNIT.encode())
    assert calibration.r == (1003.3506, 101.5865, 10.3027, 0.9636, 0.0564)
    assert calibration.gs[1] == 112.7890
    assert calibration.i[4] == -0.009388455


def test_left_over_samples_before_the_answer_are_ignored() -> None:
    left_over = bytes(range(256)) + b"Calibrated: END"
    assert not ppk2.metadata_is_complete(b"END" + METADATA_OF_A_UNIT.encode()[:500])
    answer = left_over + METADATA_OF_A_UNIT.encode()
    assert ppk2.metadata_is_complete(answer)
    assert ppk2.parse_calibration(answer) == ppk2.parse_calibration(METADATA_OF_A_UNIT.encode())


def test_formatting_and_reading_are_inverse() -> None:
    text = ppk2.format_metadata(CALIBRATION, millivolts=3000, mode=ppk2.PowerMode.AMPERE_METER)
    assert ppk2.parse_calibration(text) == CALIBRATION


def test_constants_that_a_unit_never_got_become_nominal() -> None:
    text = METADATA_OF_A_UNIT.replace("R2: 10.3027", "R2: 0.0000").replace("GI3: 0.9519", "GI3: -nan").replace("S1: 0.000000596", "S1: nan")
    calibration = ppk2.parse_calibration(text.encode())
    assert (calibration.r[2], calibration.gi[3], calibration.s[1]) == (10.15, 1.0, 0.0)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("R3: 0.9636\n", "", "'r3' is missing"),
        ("O2: 64.6020", "O2: sixty", "o2 is 'sixty'"),
        ("S0: 0.000000048", "S0: inf", "s0 is infinite"),
    ],
)
def test_a_damaged_answer_is_refused(old: str, new: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ppk2.parse_calibration(METADATA_OF_A_UNIT.replace(old, new).encode())


def test_regulator_voltages_are_big_endian_millivolts() -> None:
    assert ppk2.regulator_set(800) == bytes((0x0D, 3, 32))
    assert ppk2.regulator_set(5000) == bytes((0x0D, 0x13, 0x88))
    for millivolts in (799, 5001):
        with pytest.raises(ValueError, match="outside 800 to 5000"):
            ppk2.regulator_set(millivolts)


# ---------------------------------------------------------------------------------------- the driver and its instrument
class Tampered:
    """A device end that changes what the instrument sends; `spoil` returns what is sent instead."""

    def __init__(self, end: VirtualWire, spoil: Callable[[bytes], bytes]) -> None:
        self._end, self._spoil = end, spoil
        self.listen = end.listen
        self.cut = end.cut

    def send(self, data: bytes) -> float:
        return self._end.send(self._spoil(data))


class Spoiler:
    """Drops the words numbered `lost`, counted over a recording; lets the calibration text pass."""

    def __init__(self, lost: range) -> None:
        self._lost, self._place = lost, 0

    def __call__(self, data: bytes) -> bytes:
        if data.startswith(b"Calibrated"):
            return data
        received = np.frombuffer(data, dtype="<u4")
        numbers = np.arange(self._place, self._place + len(received))
        self._place += len(received)
        return received[~np.isin(numbers, self._lost)].tobytes()


@asynccontextmanager
async def opened(spoil: Callable[[bytes], bytes] = bytes) -> AsyncIterator[tuple[Ppk2Supply, PowerNode, VirtualWire]]:
    """A driver on a virtual kit that feeds a board drawing 5 mA."""
    wires = Wires()
    CURRENT_WIRES.set(wires)
    wire = wires.add("dk1/ppk2")
    assert isinstance(wire, VirtualWire)
    node = PowerNode()
    node.on_good = lambda: node.set_load(5e-3)
    node.on_fail = lambda: node.set_load(3e-6)
    kit = VirtualPpk2(Tampered(wire, spoil), node)
    async with Ppk2Supply(owner="dk1", port=PORT) as supply:
        yield supply, node, wire
    kit.close()


def scripted(*, answer: bytes, stream: bytes = b"") -> Wires:
    """Wires with an instrument that answers GET_METADATA with `answer`, and anything at all with `stream`."""
    wires = Wires()
    wire = wires.add("dk1/ppk2")

    def obey(_t: float, data: bytes) -> None:
        wire.send(stream)
        if data[0] == Command.GET_METADATA:
            wire.send(answer)

    wire.listen(obey)
    return wires


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        (b"", "does not answer within 2 s"),
        (METADATA_OF_A_UNIT[:200].encode(), "200 bytes that hold no complete calibration"),
        (METADATA_OF_A_UNIT.replace("END", "").encode(), "no complete calibration"),
        (METADATA_OF_A_UNIT.replace("R1: 101.5865\n", "").encode(), "'r1' is missing"),
        (bytes(range(128, 256)) * 50, "no complete calibration"),
        (b"Calibrated: \xff\xfe\nEND\n", "'r0' is missing"),
        (b"\r\nlogin: ", "no complete calibration"),
    ],
)
def test_an_instrument_that_answers_nonsense_is_reported_with_a_hint(answer: bytes, complaint: str) -> None:
    async def test() -> None:
        CURRENT_WIRES.set(scripted(answer=answer))
        with pytest.raises(InstrumentError, match=complaint) as caught:
            async with Ppk2Supply(owner="dk1", port=PORT):
                pass
        assert caught.value.instrument == "dk1.supply"
        assert "1915:C00A" in caught.value.hint
        CURRENT_WIRES.get()._wires["dk1/ppk2"].open(baudrate=1, owner="next")  # the port has been closed again

    run(test)


def test_an_instrument_that_will_not_stop_sending_is_reported() -> None:
    async def test() -> None:
        wires = Wires()
        wire = wires.add("dk1/ppk2")
        CURRENT_WIRES.set(wires)

        async def babble() -> None:
            while True:
                wire.send(b"samples ")
                await asyncio.sleep(1e-3)

        task = asyncio.get_running_loop().create_task(babble())
        with pytest.raises(InstrumentError, match="still sends 1 s after the command to stop"):
            async with Ppk2Supply(owner="dk1", port=PORT):
                pass
        task.cancel()

    run(test)


def test_a_kit_left_streaming_by_a_dead_rig_is_taken_over() -> None:
    async def test() -> None:
        async with opened() as (supply, _, wire):
            await supply.record()
            await supply.on()
            await asyncio.sleep(0.1)
            wire.unplug()
            wire.plug()
            with pytest.raises(InstrumentError, match="vanished"):
                await supply.off()
            async with Ppk2Supply(owner="dk1", port=PORT) as again:
                await again.record()
                await asyncio.sleep(0.01)
                trace = await again.stop_recording()
                assert max(trace.current_ua[100:]) < 1
        # leaving the first driver finds its port gone; that must not pass in silence

    with pytest.raises(InstrumentError, match="vanished"):
        run(test)


@pytest.mark.parametrize("millivolts", [-1, 0, 799, 3601, 5001, 65536])
def test_voltages_out_of_range_are_refused_and_nothing_is_sent(millivolts: int) -> None:
    async def test() -> None:
        async with opened() as (supply, node, _):
            await supply.on()
            await asyncio.sleep(0.01)
            with pytest.raises(InstrumentError, match=f"refuses {millivolts} mV; allowed are 800 to 3600 mV"):
                await supply.set_voltage(millivolts)
            await asyncio.sleep(0.01)
            assert node.voltage() == 3.0

    run(test)
    with pytest.raises(ConfigError, match="voltage_mv must be 800 to 3600"):
        Ppk2Supply(owner="dk1", port=PORT, voltage_mv=millivolts)


@pytest.mark.parametrize("millivolts", [799, 5001])
def test_a_board_cannot_be_declared_to_bear_what_the_kit_cannot_source(millivolts: int) -> None:
    with pytest.raises(ConfigError, match="max_voltage_mv must be 800 to 5000"):
        Ppk2Supply(owner="dk1", port=PORT, max_voltage_mv=millivolts)


def test_a_recorded_cut_shows_when_vdd_fell_and_what_flowed() -> None:
    async def test() -> None:
        async with opened() as (supply, node, _):
            await supply.on()
            await asyncio.sleep(0.1)
            moments: list[float] = []
            await supply.record()
            await asyncio.sleep(0.02)
            node.on_fail = lambda: (node.set_load(3e-6), moments.append(asyncio.get_running_loop().time()))[0]
            off_s = await supply.off()
            await asyncio.sleep(0.3)
            on_s = await supply.on()
            await asyncio.sleep(0.02)
            trace = await supply.stop_recording()
            times = trace.start_s + np.arange(len(trace.current_ua)) * trace.step_s
            current, high = np.array(trace.current_ua), np.frombuffer(trace.logic, dtype=np.uint8) & 1
            switched_s = times[np.flatnonzero(current < 100)[0]]
            assert switched_s - off_s == pytest.approx(350e-6, abs=11e-6)  # command latency and switch delay
            low = times[high == 0]
            assert off_s < moments[0] < low[0]
            assert on_s < low[-1] < on_s + 1e-3
            assert current[times < off_s] == pytest.approx(8000, rel=0.01)  # 5 mA and the bleed's 3 mA
            assert np.abs(current[(times > switched_s) & (times < on_s)]).max() < 0.05
            assert len(current) == len(trace.logic) == pytest.approx((asyncio.get_running_loop().time() - times[0] - 0.04) / 1e-5, abs=40)

    run(test)


def test_two_recordings_do_not_share_samples() -> None:
    async def test() -> None:
        async with opened() as (supply, _, _):
            for _ in range(2):
                await supply.record()
                await supply.record()
                await asyncio.sleep(0.005)
                trace = await supply.stop_recording()
                assert len(trace.current_ua) == pytest.approx(500, abs=1)
            assert len((await supply.stop_recording()).current_ua) == 0

    run(test)


def test_a_voltage_set_while_recording_counts_from_then_on() -> None:
    """The kit's calibration depends on its voltage: 2.7 mA per volt in the highest range."""

    async def test() -> None:
        async with opened() as (supply, node, _):
            await supply.on()
            await asyncio.sleep(0.01)
            node.set_load(0.2)
            await supply.record()
            await asyncio.sleep(0.05)
            await supply.set_voltage(2000)
            await asyncio.sleep(0.05)
            trace = await supply.stop_recording()
            assert trace.current_ua[1000] == pytest.approx(203_000, abs=500)
            assert trace.current_ua[-1000] == pytest.approx(202_000, abs=500)

    run(test)


@pytest.mark.parametrize("place", [0, 1, 500, 2000])
@pytest.mark.parametrize("missing", [0, 1, 40, 63])
def test_few_lost_samples_leave_the_time_scale_intact(missing: int, place: int) -> None:
    async def test() -> None:
        async with opened(Spoiler(range(place, place + missing))) as (supply, _, _):
            await supply.record()
            await asyncio.sleep(0.2)
            on_s = await supply.on()
            await asyncio.sleep(0.1)
            trace = await supply.stop_recording()
            rose = next(index for index, level in enumerate(trace.logic) if level)
            assert trace.start_s + rose * trace.step_s - on_s == pytest.approx(350e-6 + 0.2e-3 * 1.05 / 3, abs=25e-6)

    run(test)


@pytest.mark.parametrize(
    ("lost", "complaint"),
    [
        (range(0, 100_000, 150), r"\d+ of \d+ samples were lost"),
        (range(2000, 2000 + 1024), "about 1024 samples were lost in whole blocks"),
        (range(1000, 100_000), "did not send samples all the time"),
        (range(40_000), "did not send samples all the time"),
        (range(100_000), "has sent no samples"),
    ],
)
def test_many_lost_samples_are_the_instruments_fault(lost: range, complaint: str) -> None:
    async def test() -> None:
        async with opened(Spoiler(lost)) as (supply, _, _):
            await supply.record()
            await asyncio.sleep(0.5)
            with pytest.raises(InstrumentError, match=complaint):
                await supply.stop_recording()

    run(test)


def test_samples_that_are_not_whole_words_are_the_instruments_fault() -> None:
    async def test() -> None:
        chunks = 0

        def shift(data: bytes) -> bytes:
            nonlocal chunks
            chunks += not data.startswith(b"Calibrated")
            return data[1:] if chunks == 3 else data

        async with opened(shift) as (supply, _, _):
            await supply.record()
            await asyncio.sleep(0.2)
            with pytest.raises(InstrumentError, match="samples were lost"):
                await supply.stop_recording()

    run(test)


def test_a_port_that_vanishes_in_a_recording_is_the_instruments_fault() -> None:
    async def test() -> None:
        async with opened() as (supply, _, wire):
            await supply.record()
            await asyncio.sleep(0.1)
            wire.unplug()
            with pytest.raises(InstrumentError, match="vanished"):
                await supply.stop_recording()
            raise ConnectionAbortedError  # leaving must not hide what happened inside

    with pytest.raises(ConnectionAbortedError):
        run(test)


def test_a_driver_that_is_not_open_says_so() -> None:
    async def test() -> None:
        with pytest.raises(InstrumentError, match="is not open"):
            await Ppk2Supply(owner="dk1", port=PORT).on()

    run(test)


def test_an_idle_kit_sets_no_timer() -> None:
    async def test() -> None:
        async with opened() as (supply, _, _):
            await supply.on()
            await asyncio.sleep(1)
            assert [handle for handle in asyncio.get_running_loop()._scheduled if not handle.cancelled()] == []

    run(test)


# ----------------------------------------------------------------------------------------- the virtual kit is not kinder
def test_the_virtual_kit_needs_mode_voltage_and_switch() -> None:
    async def test() -> None:
        node, wire = PowerNode(), VirtualWire()
        kit = VirtualPpk2(wire, node)
        host = wire.open(baudrate=9600, owner="test")

        async def after(command: bytes) -> float:
            host.write(command)
            await asyncio.sleep(0.1)
            return node.voltage()

        assert await after(bytes((Command.DEVICE_RUNNING_SET, 1))) == 0.0
        assert await after(bytes((Command.SET_POWER_MODE, 2))) == pytest.approx(0.0)
        assert await after(ppk2.regulator_set(3000)) == 3.0
        assert await after(bytes((Command.REGULATOR_SET, 0, 10))) == 3.0
        assert await after(bytes((0xEE, Command.DEVICE_RUNNING_SET, 0))) == 3.0
        assert await after(bytes((Command.DEVICE_RUNNING_SET,))) == 3.0
        assert await after(bytes((Command.SET_POWER_MODE, 1, Command.SET_POWER_MODE, 9))) < 0.01
        kit.close()

    run(test)


def test_a_kit_that_is_closed_switches_nothing_any_more() -> None:
    async def test() -> None:
        node, wire = PowerNode(), VirtualWire()
        kit = VirtualPpk2(wire, node, command_latency_s=1e-3, switch_delay_s=1e-3)
        host = wire.open(baudrate=9600, owner="test")
        switch_on = bytes((Command.SET_POWER_MODE, 2, Command.DEVICE_RUNNING_SET, 1))
        host.write(ppk2.regulator_set(3000) + switch_on)
        await asyncio.sleep(1.5e-3)  # obeyed, but the switch has not moved yet
        host.write(switch_on)
        await asyncio.sleep(0.1e-3)
        kit.close()
        await asyncio.sleep(1)
        assert not node.is_on
        assert node.voltage() == 0.0

    run(test)
