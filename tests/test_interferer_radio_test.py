"""The radio_test shell as interferer, byte by byte on its wire."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from rig.drivers.interferer_radio_test import RadioTestInterferer
from rig.errors import ConfigError, InstrumentError
from rig.formats import radio_test
from rig.model import InstrumentSpec, Interference, InterferenceKind
from rig.virtual.air import Air
from rig.virtual.clock import loop_factory
from rig.virtual.interference import Spectrum
from rig.virtual.radio_test_kit import RadioTestKit
from rig.virtual.wire import VirtualWire
from rig.virtual.wires import CURRENT_WIRES, Wires
from tests.config_files import BOARDS, Mistake, boards, boards_problems, edited, only, place

T = TypeVar("T")
CARRIER = Interference(kind=InterferenceKind.CARRIER, frequencies_mhz=(2440,), power_dbm=8)


class Tap:
    """A kit on a wire: what it is sent is kept, what it says can be changed."""

    def __init__(self) -> None:
        wires = Wires()
        CURRENT_WIRES.set(wires)
        wire = wires.add("interferer", baudrate=115200)
        assert isinstance(wire, VirtualWire)
        self.wire = wire
        self.air = Air(seed=1)
        self.received = ""
        self.change: Callable[[bytes], bytes] = lambda data: data
        self._send = wire.send
        self.kit = RadioTestKit(self, Spectrum(self.air))

    def listen(self, receiver: Callable[[float, bytes], None]) -> None:
        def tapped(t: float, data: bytes) -> None:
            self.received += data.decode()
            receiver(t, data)

        self.wire.listen(tapped)

    def send(self, data: bytes) -> float:
        return self._send(self.change(data))

    def cut(self) -> None:
        self.wire.cut()

    @property
    def lines(self) -> list[str]:
        return [line for line in self.received.split("\r") if line]


def run(test: Callable[[Tap], Awaitable[T]]) -> T:
    async def main() -> T:
        async with asyncio.timeout(60):
            return await test(Tap())

    with asyncio.Runner(loop_factory=loop_factory("virtual")) as runner:
        return runner.run(main())


def interferer() -> RadioTestInterferer:
    return RadioTestInterferer(owner="dk1", port="virtual:interferer")


def sent_for(interference: Interference) -> list[str]:
    """The lines between entering and leaving."""

    async def test(tap: Tap) -> list[str]:
        async with interferer() as opened:
            await opened.start(interference)
            return tap.lines[1:]

    return run(test)


def test_the_commands_are_those_of_the_sample() -> None:
    carrier = ["cancel", "start_channel 40", "output_power pos8dBm", "parameters_print", "start_tx_carrier"]
    assert sent_for(CARRIER) == carrier
    sweep = Interference(kind=InterferenceKind.SWEEP, frequencies_mhz=tuple(range(2402, 2481)), power_dbm=-20, dwell_s=2e-3)
    assert sent_for(sweep) == [
        "cancel", "start_channel 2", "end_channel 80", "time_on_channel 2", "output_power neg20dBm", "parameters_print", "start_tx_sweep",
    ]  # fmt: skip
    duty = Interference(kind=InterferenceKind.DUTY_CYCLE, frequencies_mhz=(2402,), power_dbm=0, duty=0.05)
    assert sent_for(duty)[1:3] == ["start_channel 2", "output_power pos0dBm"]
    assert sent_for(duty)[-1] == "start_duty_cycle_modulated_tx 5"
    assert sent_for(Interference.on_advertising_channels(4)) == [
        "cancel", "set_channel_sequence 2 26 80", "output_power pos4dBm", "parameters_print", "print_channel_sequence",
        "start_tx_sweep_with_sleep_modulated 20 80",
    ]  # fmt: skip


WRONG = [
    ({"frequencies_mhz": (2399,)}, "2399 MHz"),
    ({"frequencies_mhz": (2481,)}, "2481 MHz"),
    ({"frequencies_mhz": (2440, 2441)}, "one frequency"),
    ({"frequencies_mhz": ()}, "no frequency"),
    ({"power_dbm": 9}, "9 dBm is no level"),
    ({"kind": InterferenceKind.DUTY_CYCLE, "duty": 0.95}, "95 %"),
    ({"kind": InterferenceKind.DUTY_CYCLE, "duty": 0.001}, "0 %"),
    ({"kind": InterferenceKind.SWEEP, "dwell_s": 0.1}, "100 ms"),
    ({"kind": InterferenceKind.SWEEP, "frequencies_mhz": (2402, 2404)}, "one MHz after the other"),
    ({"kind": InterferenceKind.HOP, "dwell_s": 1e-6}, "1 µs"),
    ({"kind": InterferenceKind.HOP, "dwell_s": 60e-3, "duty": 0.1}, "540000 µs"),
    ({"kind": InterferenceKind.HOP, "frequencies_mhz": tuple(range(2402, 2422)), "dwell_s": 1e-3, "duty": 0.5}, "at most 18"),
]


@pytest.mark.parametrize(("change", "reason"), WRONG)
def test_what_the_sample_cannot_do_is_said_before_anything_is_sent(change: dict[str, object], reason: str) -> None:
    wish = Interference(**{**vars(CARRIER), **change})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=reason):
        radio_test.program(wish)

    async def test(tap: Tap) -> None:
        async with interferer() as opened:
            before = tap.received
            with pytest.raises(InstrumentError, match=reason):
                await opened.start(wish)
            assert tap.received == before

    run(test)


def refusal(change: Callable[[bytes], bytes]) -> InstrumentError:
    """What starting a carrier raises when what the kit says is changed so."""

    async def test(tap: Tap) -> None:
        async with interferer() as opened:
            tap.change = change
            try:
                await opened.start(CARRIER)
            finally:
                tap.change = lambda data: data

    with pytest.raises(InstrumentError) as caught:
        run(test)
    assert caught.value.instrument == "dk1.interferer"
    return caught.value


def test_an_older_radio_that_does_not_know_the_level_is_told_from_others() -> None:
    error = refusal(lambda data: b"Unknown argument: pos8dBm\r\nuart:~$ " if b"TX power : 8" in data else data)
    assert "refuses 'output_power pos8dBm': Unknown argument: pos8dBm" in error.reason


def test_a_command_that_the_shell_does_not_know_is_told() -> None:
    error = refusal(lambda data: b"start_tx_carrier: command not found\r\nuart:~$ " if b"Start the TX" in data else data)
    assert "command not found" in error.reason
    assert "too old" in error.hint


def test_a_character_that_was_lost_on_the_way_is_noticed() -> None:
    assert "echoes" in refusal(lambda data: b"" if data == b"4" else data).reason


def test_settings_that_did_not_take_are_noticed() -> None:
    error = refusal(lambda data: data.replace(b"Start Channel: 40", b"Start Channel: 4"))
    assert "shows start_channel 4 where 40 was set" in error.reason


def test_a_start_without_confirmation_is_none() -> None:
    error = refusal(lambda data: data.replace(b"Start the TX carrier", b""))
    assert "to 'start_tx_carrier'" in error.reason


def test_silence_in_the_middle_has_a_limit_and_says_what_may_go_on() -> None:
    error = refusal(lambda data: b"" if b"Start the TX" in data else data)
    assert "has not done 'start_tx_carrier' within 1 s" in error.reason
    assert "switch it off" in error.hint


def test_a_wire_without_a_shell_is_told() -> None:
    async def test(tap: Tap) -> float:
        tap.change = lambda _data: b"boot\r\n"
        with pytest.raises(InstrumentError, match="no prompt 'uart:~\\$ ' comes within 3 s; it last sent"):
            await interferer().__aenter__()
        return asyncio.get_running_loop().time()

    assert run(test) == pytest.approx(3.0, abs=0.1)


def test_a_port_that_vanishes_warns_of_what_goes_on() -> None:
    async def test(tap: Tap) -> None:
        async with interferer() as opened:
            await opened.start(CARRIER)
            tap.wire.unplug()
            with pytest.raises(InstrumentError, match="vanished"):
                await opened.stop()
            assert tap.air.is_steadily_disturbed

    with pytest.raises(InstrumentError, match="vanished"):
        run(test)


def test_colours_and_a_banner_do_not_matter() -> None:
    async def test(tap: Tap) -> float:
        tap.wire.send(b"\x1b[m\x1b[8D\x1b[J*** Booting Zephyr OS ***\r\n\x1b[1;32muart:~$ \x1b[m")
        async with interferer() as opened:
            await opened.start(CARRIER)
            return float(tap.air.is_steadily_disturbed)

    assert run(test)


def test_a_baud_rate_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="baudrate"):
        RadioTestInterferer(owner="dk1", port="virtual:interferer", baudrate=0)


# ------------------------------------------------------------------------------------------------------- the boards file
JAMMED = edited(BOARDS, "bench: {driver: lab}", "bench:\n  driver: lab\n  enclosure: box 3\n  interferer: {driver: radio-test, port: /dev/kit}")


def test_every_board_of_the_bench_has_its_interferer_and_the_words_for_the_enclosure(tmp_path: Path) -> None:
    found = boards(tmp_path, JAMMED)
    assert found.bench == InstrumentSpec(driver="lab")
    spec = InstrumentSpec(driver="radio-test", options={"port": "/dev/kit", "baudrate": 115200})
    assert [(board.interferer, board.enclosure) for board in found.boards] == [(spec, "box 3")] * 2


def test_without_an_enclosure_an_interferer_is_refused_where_it_stands(tmp_path: Path) -> None:
    text = edited(JAMMED, "  enclosure: box 3\n", "")
    problem = only(boards_problems(tmp_path, text))
    assert (problem.line, problem.column) == place(text, "interferer:")
    assert problem.key == "bench.interferer"
    assert "shielded enclosure" in problem.reason
    assert "enclosure:" in problem.hint


@pytest.mark.parametrize(
    "mistake",
    [
        Mistake("enclosure: box 3", 'enclosure: ""', '""', "bench.enclosure", "must not be empty"),
        Mistake("driver: radio-test", "driver: radio-tests", "radio-tests", "bench.interferer.driver", "is unknown here", "'radio-test'"),
        Mistake(", port: /dev/kit", "", "interferer:", "bench.interferer.port", "is missing"),
    ],
    ids=str,
)
def test_mistakes_in_the_boards_file_are_found(tmp_path: Path, mistake: Mistake) -> None:
    text = edited(JAMMED, mistake.old, mistake.new)
    mistake.check(only(boards_problems(tmp_path, text)), text)
