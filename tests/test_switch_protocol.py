"""The power switch's protocol: both ends of it as bytes, the virtual switch, and the driver against switches that misbehave."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rig.drivers.supply_switch import SwitchSupply
from rig.errors import ConfigError, InstrumentError
from rig.formats import switch_protocol as protocol
from rig.formats.switch_protocol import (
    ARGUMENTS,
    Activity,
    Command,
    CommandError,
    ErrorCode,
    Identity,
    LineBuffer,
    Refusal,
    State,
    Verb,
)
from rig.virtual.clock import VirtualTimeLoop
from rig.virtual.power import PowerNode
from rig.virtual.switch import VirtualSwitch
from rig.virtual.wire import VirtualWire
from rig.virtual.wires import CURRENT_WIRES, Wires

DOCUMENT = Path(__file__).parents[1] / "docs" / "power-switch.md"


def commands() -> st.SearchStrategy[Command]:
    return st.one_of(
        st.builds(
            Command,
            verb=st.just(verb),
            arguments=st.tuples(*(st.integers(low, high) for low, high in limits)),
        )
        for verb, limits in ARGUMENTS.items()
    )


# ------------------------------------------------------------------------------------------------------------ the bytes
@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b"ID?", Command(verb=Verb.ID)),
        (b"STATE?", Command(verb=Verb.STATE)),
        (b"ON", Command(verb=Verb.ON)),
        (b"OFF", Command(verb=Verb.OFF)),
        (b"CUT 0 250", Command(verb=Verb.CUT, arguments=(0, 250))),
        (b"ARM 1 1500 60000000", Command(verb=Verb.ARM, arguments=(1, 1500, 60_000_000))),
    ],
)
def test_command_lines(line: bytes, command: Command) -> None:
    assert protocol.encode_command(command) == line + b"\n"
    assert protocol.decode_command(line) == command


@given(commands())
def test_every_command_survives_the_wire(command: Command) -> None:
    line = protocol.encode_command(command)

    assert len(line) <= protocol.MAX_LINE + 1
    assert protocol.decode_command(line[:-1]) == command


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"on", ErrorCode.UNKNOWN_COMMAND),
        (b"", ErrorCode.UNKNOWN_COMMAND),
        (b" ON", ErrorCode.UNKNOWN_COMMAND),
        (b"ON\xff", ErrorCode.UNKNOWN_COMMAND),
        (b"CUT " + b"1" * 60, ErrorCode.UNKNOWN_COMMAND),
        (b"ON ", ErrorCode.WRONG_ARGUMENTS),
        (b"ON 1", ErrorCode.WRONG_ARGUMENTS),
        (b"CUT 1", ErrorCode.WRONG_ARGUMENTS),
        (b"CUT 1 2 3", ErrorCode.WRONG_ARGUMENTS),
        (b"CUT -1 2", ErrorCode.WRONG_ARGUMENTS),
        (b"CUT 1 0x10", ErrorCode.WRONG_ARGUMENTS),
        (b"CUT 1 12345678901", ErrorCode.WRONG_ARGUMENTS),
        (b"CUT 60000001 1", ErrorCode.OUT_OF_RANGE),
        (b"CUT 0 0", ErrorCode.OUT_OF_RANGE),
        (b"ARM 8 0 1", ErrorCode.OUT_OF_RANGE),
    ],
)
def test_lines_that_no_switch_may_obey(line: bytes, code: ErrorCode) -> None:
    with pytest.raises(CommandError) as caught:
        protocol.decode_command(line)

    assert caught.value.code is code
    refusal = Refusal(code=caught.value.code, text=caught.value.text)
    assert protocol.decode_answer(protocol.encode_answer(refusal)[:-1]) == refusal


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"OK rig-switch 1 fet", Identity(version=1, kind="fet")),
        (b"OK ON 0 IDLE", State(is_on=True, edge_us=0, activity=Activity.IDLE)),
        (b"OK OFF 4294967295 CUT", State(is_on=False, edge_us=(1 << 32) - 1, activity=Activity.CUT)),
        (b"OK ON 17 ARMED", State(is_on=True, edge_us=17, activity=Activity.ARMED)),
        (b"ERR 4 busy as can be", Refusal(code=4, text="busy as can be")),
    ],
)
def test_answer_lines(line: bytes, answer: protocol.Answer) -> None:
    assert protocol.decode_answer(line) == answer
    assert protocol.encode_answer(answer) == line + b"\n"


@pytest.mark.parametrize(
    "line", [b"", b"OK", b"ON 17 IDLE", b"OK ON 4294967296 IDLE", b"OK ON 17", b"OK on 17 IDLE", b"ERR x y", b"ERR 1 ", b"ERR 1 \xe9", b"ERR 1 " + b"x" * 60]
)
def test_lines_that_are_no_answer(line: bytes) -> None:
    with pytest.raises(ValueError, match="no answer of a rig-switch"):
        protocol.decode_answer(line)


def test_an_answer_that_nobody_could_read_is_not_written() -> None:
    for answer in (Identity(version=1, kind="a b"), State(is_on=True, edge_us=1 << 32, activity=Activity.IDLE), Refusal(code=1, text="x\ny")):
        with pytest.raises(ValueError, match="no answer"):
            protocol.encode_answer(answer)


@given(st.lists(st.integers(1, 40)), st.binary(max_size=200))
def test_lines_do_not_depend_on_how_the_bytes_arrive(cuts: list[int], data: bytes) -> None:
    pieces, rest = [], data
    for size in cuts:
        pieces.append(rest[:size])
        rest = rest[size:]
    buffer = LineBuffer()
    lines = [line for piece in [*pieces, rest] for line in buffer.feed(piece)]

    assert lines == LineBuffer().feed(data)
    assert all(0 < len(line) <= protocol.MAX_LINE + 1 and not re.search(rb"[\r\n]", line) for line in lines)


def test_the_documentation_names_every_command_error_and_limit() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")

    for verb in Verb:
        assert f"| `{verb}" in text
    for code in ErrorCode:
        assert f"| {int(code)} | {code.name.lower().replace('_', ' ')} |" in text
    for number in (protocol.MAX_LINE, protocol.MAX_TIME_US, protocol.MAX_INPUT):
        assert str(number) in text
    assert f"{protocol.ANSWER_LIMIT_S:g} s" in text
    assert f"OK {protocol.NAME} {protocol.VERSION} fet" in text


# --------------------------------------------------------------------------------------------------- the virtual switch
def on_the_virtual_clock(test: Callable[[], Awaitable[None]]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(1000):
            await test()

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(limited())


class Bench:
    """A virtual switch, its board, and the driver, on a wire called dk1/switch."""

    def __init__(self) -> None:
        wires = Wires()
        CURRENT_WIRES.set(wires)
        self.wire = wires.add("dk1/switch", baudrate=115200)
        self.node = PowerNode()
        self.falls: list[float] = []
        self.rises: list[float] = []
        now = asyncio.get_running_loop().time
        self.node.on_fail = lambda: self.falls.append(now())
        self.node.on_good = lambda: self.rises.append(now())
        self.switch = VirtualSwitch(self.wire, self.node, voltage_mv=3000)
        self.supply = SwitchSupply(owner="dk1", port="virtual:dk1/switch")


def test_a_cut_is_timed_by_the_switch_and_not_by_the_host() -> None:
    async def test() -> None:
        bench = Bench()
        async with bench.supply as supply:
            await supply.on()
            await asyncio.sleep(0.1)
            left_s = await supply.cut(0.25, 0.040)
            assert (await supply.state()).activity is Activity.CUT
            await asyncio.sleep(0.5)
            state = await supply.state()
            assert (state.is_on, state.activity) == (True, Activity.IDLE)
        # 10 µF and 1 kΩ at 3 V reach 1.7 V after 5.68 ms, and 1.75 V is reached within the 0.2 ms ramp.
        assert bench.falls[0] - left_s == pytest.approx(0.25 + 0.0057, abs=1e-3)
        assert bench.rises[1] - bench.falls[0] == pytest.approx(0.040 - 0.0057 + 0.0001, abs=1e-3)

    on_the_virtual_clock(test)


def test_the_edge_of_a_trigger_input_starts_an_armed_cut_once() -> None:
    async def test() -> None:
        bench = Bench()
        loop = asyncio.get_running_loop()
        async with bench.supply as supply:
            await supply.on()
            await supply.cut_on_edge(1, 0.010, 0.050)
            await asyncio.sleep(1)
            bench.switch.edge(0)
            await asyncio.sleep(1)
            assert (await supply.state()).activity is Activity.ARMED
            assert bench.falls == []
            edge_s = loop.time()
            bench.switch.edge(1)
            await asyncio.sleep(1)
            bench.switch.edge(1)
            await asyncio.sleep(1)
            assert bench.falls == [pytest.approx(edge_s + 0.010 + 0.0057, abs=1e-3)]

    on_the_virtual_clock(test)


def test_the_last_edge_is_told_by_the_clock_of_the_switch() -> None:
    async def test() -> None:
        bench = Bench()
        async with bench.supply as supply:
            assert (await supply.state()).edge_us == 0
            await supply.on()
            first = await supply.state()
            await supply.on()
            assert await supply.state() == first
            await supply.cut(1.0, 0.125)
            await asyncio.sleep(1.05)
            off = await supply.state()
            await asyncio.sleep(1)
            back = await supply.state()
        assert (off.is_on, back.is_on) == (False, True)
        assert back.edge_us - off.edge_us == 125_000

    on_the_virtual_clock(test)


def test_what_the_switch_refuses_is_told() -> None:
    async def test() -> None:
        async with Bench().supply as supply:
            with pytest.raises(InstrumentError, match=r"refuses 'CUT 0 1000': there is nothing to cut \(code 5\)"):
                await supply.cut(0, 0.001)
            await supply.on()
            await supply.cut(1, 0.001)
            with pytest.raises(InstrumentError, match=r"another cut is to come.*\(code 4\)"):
                await supply.cut_on_edge(0, 1, 0.001)
            await supply.on()
            with pytest.raises(InstrumentError, match=r"this switch has 2 inputs \(code 3\)"):
                await supply.cut_on_edge(2, 1, 0.001)
            with pytest.raises(InstrumentError, match=r"CUT was not sent: .*61000000"):
                await supply.cut(61, 0.001)
            await supply.off()

    on_the_virtual_clock(test)


@pytest.mark.parametrize("way", ["on", "off"])
def test_on_and_off_drop_a_cut_that_was_to_come(way: str) -> None:
    async def test() -> None:
        bench = Bench()
        async with bench.supply as supply:
            await supply.on()
            await asyncio.sleep(0.1)
            await supply.cut(0.5, 0.1)
            await getattr(supply, way)()
            await asyncio.sleep(2)
            assert bench.node.is_on is (way == "on")
            assert len(bench.falls) == (way == "off")

    on_the_virtual_clock(test)


def test_a_command_that_was_given_up_does_not_lend_its_answer_to_the_next() -> None:
    async def test() -> None:
        bench = Bench()
        async with bench.supply as supply:
            await supply.on()
            task = asyncio.create_task(supply.off())
            await asyncio.sleep(0.0005)  # the command has left, the answer has not come
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await supply.on()
            assert (await supply.state()).is_on

    on_the_virtual_clock(test)


# ----------------------------------------------------------------------------------------------- switches that misbehave
def refusal(behave: Callable[[VirtualWire, bytes], None]) -> InstrumentError:
    """What entering raises when a device answers each line as `behave` does."""

    async def test() -> None:
        wires = Wires()
        CURRENT_WIRES.set(wires)
        wire = wires.add("dk1/switch", baudrate=115200)
        buffer = LineBuffer()
        wire.listen(lambda _, data: [behave(wire, line) for line in buffer.feed(data)] and None)
        async with SwitchSupply(owner="dk1", port="virtual:dk1/switch"):
            pass

    with pytest.raises(InstrumentError) as caught:
        on_the_virtual_clock(test)
    assert caught.value.instrument == "dk1.supply"
    assert caught.value.hint
    return caught.value


def identified(answer: bytes) -> Callable[[VirtualWire, bytes], object]:
    return lambda wire, line: wire.send(b"OK rig-switch 1 relay\n" if line == b"ID?" else answer)


@pytest.mark.parametrize(
    ("behave", "reason"),
    [
        (lambda wire, line: None, "no switch answers within 3 s, and has sent nothing"),
        (lambda wire, line: wire.send(b"> what?\n"), "no switch answers within 3 s; it last sent b'> what?'"),
        (lambda wire, line: wire.send(b"OK rig-switch 2 fet\n"), "speaks version 2 of the protocol; this rig speaks 1"),
        (identified(b""), "does not answer OFF within 0.5 s"),
        (identified(b"OK OF"), "does not answer OFF within 0.5 s"),
        (identified(b"boo\n"), "answers b'boo' to OFF, which makes no sense"),
        (identified(b"OK ON 5 IDLE\n"), "answers ON IDLE to OFF"),
        (identified(b"OK OFF 5 CUT\n"), "answers OFF CUT to OFF"),
        (identified(b"ERR 77 relay welded\n"), "refuses 'OFF': relay welded (code 77)"),
        (lambda wire, line: wire.unplug(), "the port has vanished"),
    ],
)  # fmt: skip
def test_a_switch_that_misbehaves_is_named_with_the_reason(behave: Callable[[VirtualWire, bytes], None], reason: str) -> None:
    assert reason in refusal(behave).reason


def test_a_board_that_restarts_when_its_port_is_opened_is_waited_for() -> None:
    async def test() -> None:
        wires = Wires()
        CURRENT_WIRES.set(wires)
        wire = wires.add("dk1/switch", baudrate=115200)
        asyncio.get_running_loop().call_later(2.0, VirtualSwitch, wire, PowerNode())
        async with SwitchSupply(owner="dk1", port="virtual:dk1/switch") as supply:
            await supply.on()
            assert (await supply.state()).is_on

    on_the_virtual_clock(test)


def test_it_says_that_it_cannot_set_a_voltage() -> None:
    async def test() -> None:
        async with Bench().supply as supply:
            with pytest.raises(InstrumentError, match="cannot set 1800 mV: a switch passes on what it is fed with, here 3000 mV"):
                await supply.set_voltage(1800)

    on_the_virtual_clock(test)


@pytest.mark.parametrize("option", ["baudrate", "voltage_mv"])
def test_options_that_make_no_sense_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=option):
        SwitchSupply(owner="dk1", port="x", **{option: 0})
