"""The probe drivers, each on what stands in for its tool, where their tools fail, and what they leave behind on the board; the rest is in the probe contract."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rig import drivers
from rig.drivers import console_rtt, probe_nrfutil, probe_process, probe_session
from rig.drivers.nrf52_debug import Nrf52Probe
from rig.drivers.probe_nrfutil import intel_hex
from rig.errors import ConfigError, InstrumentError
from rig.model import InstrumentSpec, Region
from tests import probe_board
from tests.config_files import BOARDS, boards, boards_problems, edited
from tests.probe_board import PAGE, PSELRESET, Board

SPARE = 0xE0000
DRIVERS = list(probe_board.OPTIONS)
WITH_RTT = ["nrfjprog", "pyocd"]


@pytest.fixture
def board(tmp_path: Path) -> Iterator[Board]:
    with probe_board.stand_ins(tmp_path):
        yield Board.fresh(tmp_path)


def probe(driver: str, **options: Any) -> Nrf52Probe:
    return drivers.load("probe", InstrumentSpec(driver=driver, options={**probe_board.OPTIONS[driver], **options}), owner="dk1")


def with_probe(driver: str, test: Callable[[Nrf52Probe], Awaitable[Any]], **options: Any) -> Any:
    async def run() -> Any:
        async with asyncio.timeout(30), probe(driver, **options) as opened:
            return await test(opened)

    return asyncio.run(run())


def refusal(driver: str, test: Callable[[Nrf52Probe], Awaitable[Any]], **options: Any) -> InstrumentError:
    """The error of `test`, which names the instrument and says what to do."""
    with pytest.raises(InstrumentError) as caught:
        with_probe(driver, test, **options)
    assert caught.value.instrument == "dk1.probe"
    return caught.value


async def look(opened: Nrf52Probe) -> bytes:
    return await opened.read(0, 4)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    while not condition():  # noqa: ASYNC110 - it tells nobody but the files that it leaves
        await asyncio.sleep(0.01)


async def nothing(opened: Nrf52Probe) -> None:
    """Opening the probe is the test."""


# ------------------------------------------------------------------------------------------------ what is left behind
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_page_is_erased_once_for_each_programming_and_no_other_is_touched(board: Board, driver: str) -> None:
    async def test(opened: Nrf52Probe) -> None:
        await opened.program(SPARE, bytes(range(256)) * 16)
        await opened.program(SPARE + 10, b"odd")
        await opened.program(SPARE + PAGE - 2, b"over")
        assert board.is_("held")
        await opened.erase(SPARE + 4 * PAGE, 2 * PAGE)
        assert board.is_("held")

    with_probe(driver, test)
    pages = [SPARE, SPARE, SPARE, SPARE + PAGE, SPARE + 4 * PAGE, SPARE + 5 * PAGE]
    assert board.erased == [f"0x{page:x}" for page in pages]
    assert board.read(SPARE, 2 * PAGE).strip(b"\xff") == b"over"


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_debug_port_is_off_whenever_the_probe_has_let_go(board: Board, driver: str) -> None:
    async def test(opened: Nrf52Probe) -> None:
        for access in (opened.info, opened.detach, opened.protection, opened.reset, opened.protection):
            await access()
            if access != opened.info:
                assert not board.is_("debugged") and not board.is_("held"), access.__name__
        await opened.info()

    with_probe(driver, test)
    assert not board.is_("debugged") and not board.is_("held")
    board.flag("approtect", True)
    assert with_probe(driver, Nrf52Probe.protection).readback
    assert not board.is_("debugged")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_pin_reset_wakes_a_debug_port_that_a_killed_debugger_has_left_silent(board: Board, driver: str) -> None:
    board.flag("stuck", True)
    refusal(driver, look)

    async def test(opened: Nrf52Probe) -> None:
        await opened.reset()
        await opened.info()

    with_probe(driver, test)


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_probe_is_opened_while_the_board_has_no_power(board: Board, driver: str) -> None:
    async def test(opened: Nrf52Probe) -> None:
        for access in (opened.info, opened.protection, opened.reset):
            with pytest.raises(InstrumentError, match="no target voltage"):
                await access()
        board.power(on=True)
        await opened.info()

    board.power(on=False)
    with_probe(driver, test)


@pytest.mark.parametrize("driver", DRIVERS)
def test_power_that_goes_while_the_core_is_held_is_missed_and_the_core_is_held_again_once_it_is_back(board: Board, driver: str) -> None:
    async def test(opened: Nrf52Probe) -> None:
        await opened.info()
        board.power(on=False)
        with pytest.raises(InstrumentError, match="no target voltage"):
            await look(opened)
        board.power(on=True)
        await look(opened)
        assert board.is_("held")

    with_probe(driver, test)


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_reset_pin_that_is_not_enabled_is_noticed_because_it_does_nothing(board: Board, driver: str) -> None:
    async def test(opened: Nrf52Probe) -> None:
        for access in (opened.reset, opened.info, opened.info):
            with pytest.raises(InstrumentError, match="not enabled") as caught:
                await access()
            assert "nrfutil device pinreset-enable" in caught.value.hint
            assert not board.is_("held"), "nobody could let go of it again"

    board.set_uicr(bytearray(b"\xff" * probe_board.UICR_SIZE))
    with_probe(driver, test)
    assert "not enabled" in refusal(driver, look).reason


@pytest.mark.parametrize("driver", DRIVERS)
def test_recovery_opens_a_protected_chip_and_enables_its_reset_pin(board: Board, driver: str) -> None:
    async def test(opened: Nrf52Probe) -> None:
        assert (await opened.protection()).readback
        await opened.recover()
        assert not (await opened.protection()).readback
        assert await opened.read(SPARE, 4) == b"\xff" * 4
        await opened.reset()

    board.write(SPARE, b"old!")
    board.flag("approtect", True)
    boots = board.console.count(b"Booting")
    with_probe(driver, test)
    assert board.uicr[PSELRESET : PSELRESET + 8] == b"\x12\0\0\0" * 2
    assert board.console.count(b"Booting") == boots + 1


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_was_not_written_is_no_success(board: Board, driver: str) -> None:
    async def test(opened: Nrf52Probe) -> None:
        await opened.info()
        (Path(board._folder) / "locks").write_text(f"{SPARE} {PAGE}\n")  # as a worn-out page behaves
        board.write(SPARE, b"old.")
        with pytest.raises(InstrumentError, match=f"verification failed at 0x{SPARE + 1:x}"):
            await opened.program(SPARE, b"o")
        with pytest.raises(InstrumentError, match="not blank"):
            await opened.erase(SPARE, PAGE)

    (Path(board._folder) / "flash").write_bytes(b"\xff" * SPARE + b"old." + b"\xff" * (probe_board.FLASH_SIZE - SPARE - 4))
    with_probe(driver, test)


# ---------------------------------------------------------------------------------------------------- tools that fail
@pytest.mark.parametrize(
    ("driver", "says"), [("nrfjprog", "there is no J-Link 683000001"), ("nrfutil", "there is no J-Link 683000001"), ("pyocd", "there is no probe")]
)
def test_a_probe_that_is_not_there(board: Board, driver: str, says: str) -> None:
    board.flag("unplugged", True)
    error = refusal(driver, nothing)
    assert says in error.reason and error.hint


def test_the_j_links_that_are_there_are_named(board: Board) -> None:
    assert refusal("nrfjprog", nothing, serial_number=5).reason.endswith("there are: 683000000, 683000001")
    assert refusal("nrfutil", nothing, serial_number=5).reason.endswith("there are: 683000001")


def test_segger_s_library_is_named_when_it_is_missing(board: Board) -> None:
    board.flag("without_segger", True)
    error = refusal("nrfjprog", nothing)
    assert "SEGGER" in error.reason and "segger.com/downloads/jlink" in error.hint


@pytest.mark.parametrize(("driver", "module", "extra"), [("nrfjprog", "pynrfjprog", "lab"), ("pyocd", "pyocd", "pyocd")])
def test_a_missing_library_comes_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, driver: str, module: str, extra: str
) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError(name={module!r})\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    error = refusal(driver, nothing)
    assert (error.reason, error.hint) == (f"{module} is not installed", f"scripts/setup {extra}, or: pip install 'rig-ota[{extra}]'")


def test_a_missing_nrfutil_comes_with_its_address(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = refusal("nrfutil", nothing)
    assert "not installed" in error.reason and "nrfutil install device" in error.hint


@pytest.mark.parametrize("driver", WITH_RTT)
def test_a_computer_that_can_start_no_process(monkeypatch: pytest.MonkeyPatch, driver: str) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    assert refusal(driver, nothing).reason == "no process for the probe can be started: No such file or directory"


CALLS = {"nrfjprog": "sys_reset", "pyocd": "reset_and_halt", "nrfutil": "halt"}
"""What each tool is asked to do to hold the core."""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that a test can wait for; loading a library takes longer."""
    monkeypatch.setattr(probe_session, "_LIMIT_S", 0.5)
    monkeypatch.setattr(probe_nrfutil, "_LIMIT_S", 1.0)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("driver", DRIVERS)
def test_a_tool_that_hangs_is_ended_and_the_next_one_works(board: Board, driver: str) -> None:
    async def hang() -> None:
        board.misbehave("hangs", CALLS[driver])
        opened = probe(driver)
        async with asyncio.timeout(20):
            try:
                async with opened:
                    await look(opened)
            finally:
                board.misbehave("obeys", "")
                async with opened:
                    assert len(await look(opened)) == 4

    with pytest.raises(InstrumentError, match=r"ended|stopped") as caught:
        asyncio.run(hang())
    assert "re-plug" in caught.value.hint


@pytest.mark.parametrize("driver", WITH_RTT)
def test_a_library_that_crashes_takes_nobody_with_it_and_its_last_words_are_kept(board: Board, driver: str) -> None:
    async def crash(opened: Nrf52Probe) -> None:
        board.misbehave("dies", CALLS[driver])
        with pytest.raises(InstrumentError, match=r"crashed.*exit status 70.*assertion failed in libvendor") as caught:
            await look(opened)
        board.misbehave("obeys", "")
        with pytest.raises(InstrumentError) as again:
            await look(opened)
        assert again.value is caught.value

    assert "crashed" in refusal(driver, crash).reason, "nobody has let go of the core"


@pytest.mark.parametrize("driver", WITH_RTT)
@pytest.mark.parametrize("then", ["obeys", "hangs", "dies"])
def test_nothing_that_a_library_has_started_keeps_the_probe(board: Board, monkeypatch: pytest.MonkeyPatch, driver: str, then: str) -> None:
    async def test(opened: Nrf52Probe) -> None:
        board.misbehave("starts-a-helper", CALLS[driver])
        await look(opened)
        assert board.has_helper
        await opened.detach()
        board.misbehave(then, CALLS[driver])
        await look(opened)

    monkeypatch.setattr(probe_session, "_LIMIT_S", 0.5)
    if then == "obeys":
        with_probe(driver, test)
    else:
        refusal(driver, test)
    asyncio.run(asyncio.wait_for(until(lambda: not board.has_helper), 5))


@pytest.mark.parametrize("driver", DRIVERS)
def test_what_a_tool_prints_besides_disturbs_nobody(board: Board, driver: str) -> None:
    board.misbehave("prints", CALLS[driver])
    assert len(with_probe(driver, look)) == 4


@pytest.mark.parametrize("driver", WITH_RTT)
def test_a_call_that_is_given_up_ends_the_process(board: Board, driver: str) -> None:
    async def give_up(opened: Nrf52Probe) -> None:
        board.misbehave("hangs", CALLS[driver])
        call = asyncio.create_task(look(opened))
        await until(lambda: CALLS[driver] in board.calls)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        with pytest.raises(InstrumentError, match="given up"):
            await look(opened)

    assert "given up" in refusal(driver, give_up).reason


def test_the_process_ends_when_nobody_listens_any_more_even_in_a_call_that_hangs(board: Board) -> None:
    async def test() -> None:
        board.misbehave("hangs", "sys_reset")
        session = probe_process.ProbeProcess("rig.drivers.probe_nrfjprog:NrfjprogSession", owner="x", options={"serial_number": 683000001, "swd_khz": 2000})
        await session.start()
        await session.call("open", limit_s=5)
        process = session._process
        assert process is not None and process.stdin is not None
        process.stdin.write(probe_process.frame(["hold", []]))
        await until(lambda: "sys_reset" in board.calls)
        process.stdin.close()
        async with asyncio.timeout(5):
            assert await process.wait() == -signal.SIGKILL
        await session.stop()

    asyncio.run(test())


def test_a_j_link_that_is_unplugged_in_between(board: Board) -> None:
    async def test(opened: Nrf52Probe) -> None:
        await opened.info()
        board.flag("unplugged", True)
        with pytest.raises(InstrumentError, match="the J-Link does not answer"):
            await look(opened)
        board.flag("unplugged", False)

    with_probe("nrfjprog", test)


@pytest.mark.parametrize("driver", ["nrfjprog", "pyocd"])
@pytest.mark.parametrize("khz", [124, 8001])
def test_clocks_that_no_probe_has_are_refused(driver: str, khz: int) -> None:
    with pytest.raises(ConfigError, match=f"not {khz}"):
        probe(driver, swd_khz=khz)


@pytest.mark.parametrize("driver", ["nrfjprog", "pyocd"])
def test_a_boards_file_names_a_probe_and_an_rtt_console(tmp_path: Path, driver: str) -> None:
    options = ", ".join(f"{key}: {json.dumps(value)}" for key, value in probe_board.OPTIONS[driver].items())
    alone, _, _ = BOARDS.partition("  - name: dk2")
    text = edited(alone, "probe: {driver: virtual}", f"probe: {{driver: {driver}, {options}}}")
    text = edited(text, "console: {driver: uart, baudrate: 115200}", "console: {driver: rtt}")
    board = boards(tmp_path, edited(text, "    console: {port: /dev/console1}\n", "")).boards[0]
    assert isinstance(drivers.load("probe", board.probe, owner=board.name), Nrf52Probe)
    assert isinstance(drivers.load("console", board.console, owner=board.name), console_rtt.RttConsole)


def test_a_number_for_a_unique_id_is_refused_where_it_stands(tmp_path: Path) -> None:
    text = edited(BOARDS, "probe: {driver: virtual}", "probe: {driver: pyocd, unique_id: 683000001}")
    assert any(problem.key.endswith("probe.unique_id") for problem in boards_problems(tmp_path, text))


# ------------------------------------------------------------------------------------------------------------- nrfutil
READ = '{"type":"task_end","data":{"task":{},"result":"success","data":{"memoryData":[{"startAddress":"0x0","values":%s}]}}}'


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        (READ % "[1,2,3,4]", b"\1\2\3\4"),
        ('{"type":"info","data":{"devices":[{"serialNumber":"000683000001","memoryData":[{"values":[1,2]},{"values":[3,4]}]}]}}', b"\1\2\3\4"),
        (READ % "[1,2]", "returned 2 bytes instead of 4"),
        (READ % "[1,2,3,400]", "returned 0 bytes"),
        (READ % "null", "returned 0 bytes"),
        ("Memory:", "has no memoryData"),
        ('{"type":"info","data":{"devices":[{"serialNumber":"42","memoryData":[{"values":[1,2,3,4]}]}]}}', "has no memoryData"),
        ('{"type":"task_end","data":{"result":"fail","error":{"code":1,"description":"Device error (WrongFamily)"}}}', "read failed: Device error"),
        ("[1]\nnull", "has no memoryData"),
    ],
)
def test_answers_of_nrfutil(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str, outcome: bytes | str) -> None:
    (tmp_path / "nrfutil").write_text(f"#!/bin/sh\ncat <<'END'\n{line}\nEND\n")
    (tmp_path / "nrfutil").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    access = probe_nrfutil.NrfutilAccess("dk1.probe", 683000001)
    if isinstance(outcome, bytes):
        assert asyncio.run(access.read(0, 4)) == outcome
    else:
        with pytest.raises(InstrumentError, match=outcome):
            asyncio.run(access.read(0, 4))


@pytest.mark.parametrize(("status", "readback"), [("NRFDL_PROTECTION_STATUS_ALL", True), ("All", True), ("None", False), ("Sometimes", None)])
def test_protection_statuses_of_nrfutil(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, status: str, readback: bool | None) -> None:
    (tmp_path / "nrfutil").write_text(f'#!/bin/sh\necho \'{{"type":"task_end","data":{{"data":{{"protectionStatus":"{status}"}}}}}}\'\n')
    (tmp_path / "nrfutil").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    asked = probe_nrfutil.NrfutilAccess("dk1.probe", 683000001).is_protected()
    if readback is None:
        with pytest.raises(InstrumentError, match="Sometimes"):
            asyncio.run(asked)
    else:
        assert asyncio.run(asked) is readback


def test_an_intel_hex_file() -> None:
    lines = intel_hex(0x1FFF0, bytes(range(18))).splitlines()
    assert lines == [":020000040001F9", ":10FFF000000102030405060708090A0B0C0D0E0F89", ":020000040002F8", ":020000001011DD", ":00000001FF"]


def test_locked_pages_of_an_nrf52832() -> None:
    class Access:
        async def open(self) -> None: ...

        async def close(self) -> None: ...

        async def is_protected(self) -> bool:
            return False

        async def glance(self, registers: list[int]) -> list[int]:
            words = {0x10000100: 0x52832, 0x40000600: 0b111, 0x40000604: 1 << 31, 0x40000610: 1, 0x40000614: 1 << 31}
            return [words[register] for register in registers]

    async def run() -> tuple[Region, ...]:
        async with Nrf52Probe("dk1.probe", Access()) as opened:  # type: ignore[arg-type]
            return (await opened.protection()).locked

    assert asyncio.run(run()) == (
        Region(start=0, size=3 * PAGE),
        Region(start=63 * PAGE, size=2 * PAGE),
        Region(start=127 * PAGE, size=PAGE),
    )


# ----------------------------------------------------------------------------------------------------------------- RTT
def listen(driver: str, test: Callable[[Any, Nrf52Probe, Callable[[bytes], Awaitable[None]]], Awaitable[None]]) -> bytes:
    """Everything that an RTT console has heard during `test`, which is given console, probe, and a way to wait for an end."""
    heard = bytearray()

    async def heard_to(end: bytes) -> None:
        await until(lambda: heard.endswith(end))

    async def run() -> None:
        async with asyncio.timeout(30), drivers.load("console", InstrumentSpec(driver="rtt"), owner="dk1") as console:
            times: list[float] = []
            console.attach(lambda t, data: (times.append(t), heard.extend(data)))
            async with probe(driver) as opened:
                await test(console, opened, heard_to)
                console.check()
            assert times == sorted(times)

    asyncio.run(run())
    return bytes(heard)


@pytest.mark.parametrize("driver", WITH_RTT)
def test_rtt_is_heard_while_the_firmware_runs_and_after_every_reset_and_power_cut(board: Board, driver: str) -> None:
    async def test(console: Any, opened: Nrf52Probe, heard_to: Callable[[bytes], Awaitable[None]]) -> None:
        board.print_rtt(b"one\n")
        await heard_to(b"one\n")
        await opened.program(SPARE, b"in between")
        board.print_rtt(b"two\n")
        held_from = len(board.calls)
        await asyncio.sleep(0.1)
        assert (await opened.read(SPARE, 2)) == b"in"
        assert not [call for call in board.calls[held_from:] if "rtt" in call], "nothing comes from a core that is held"
        await opened.detach()
        await heard_to(b"two\n")
        assert not (await opened.protection()).readback
        board.power(on=False)
        await until(lambda: console._out_of_reach is not None)
        with pytest.raises(InstrumentError, match="cannot reach the SoC"):
            console.check()
        board.power(on=True)
        board.print_rtt(b"three\n")
        await heard_to(b"three\n")
        console.check()
        await opened.reset()
        board.print_rtt(bytes(range(256)) + b"four\n")
        await heard_to(b"four\n")

    assert listen(driver, test) == b"one\ntwo\nthree\n" + bytes(range(256)) + b"four\n"


@pytest.mark.parametrize("driver", WITH_RTT)
def test_silence_of_a_probe_that_is_gone_is_no_silence_of_the_device(board: Board, driver: str) -> None:
    async def test(console: Any, opened: Nrf52Probe, heard_to: Callable[[bytes], Awaitable[None]]) -> None:
        board.print_rtt(b"one\n")
        await heard_to(b"one\n")
        board.misbehave("dies", {"nrfjprog": "rtt_read", "pyocd": "rtt.read"}[driver])
        await until(lambda: console._failure is not None)
        with pytest.raises(InstrumentError, match=r"no longer listens.*crashed") as caught:
            console.attach(print)
        assert caught.value.instrument == "dk1.console"

    with pytest.raises(InstrumentError, match="no longer listens"):
        listen(driver, test)


@pytest.mark.parametrize("driver", WITH_RTT)
def test_a_probe_that_is_closed_while_the_console_looks_is_no_fault(board: Board, driver: str) -> None:
    async def test(console: Any, opened: Nrf52Probe, heard_to: Callable[[bytes], Awaitable[None]]) -> None:
        board.print_rtt(b"one\n")
        await heard_to(b"one\n")
        async with opened._turn:  # a look comes, and finds the probe closed when its turn is there
            while not opened._turn._waiters:  # noqa: ASYNC110 - the lock tells nobody
                await asyncio.sleep(0.01)
            opened._is_open = False
        await asyncio.sleep(0.05)
        opened._is_open = True

    assert listen(driver, test) == b"one\n"


def test_a_probe_without_rtt_is_said_to_be_one(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(console: Any, opened: Nrf52Probe, heard_to: Callable[[bytes], Awaitable[None]]) -> None:
        await until(lambda: console._failure is not None)

    monkeypatch.setattr(console_rtt, "_PROBE_LIMIT_S", 0.2)
    with pytest.raises(InstrumentError, match=r"no probe that carries RTT.*use nrfjprog or pyocd"):
        listen("nrfutil", test)
