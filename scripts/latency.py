"""How long the host takes from a console line to the power command that it triggers, with four more consoles streaming at full speed.

A process of its own plays the instruments on pseudo-terminals: five consoles, each a UART at 1 Mbaud that sends every byte when its
stop bit would have left the line, and a PPK2 that notes when a command arrives.  This process is the rig: the ordinary drivers, lines
cut and written to a journal, a listener that switches the supply off.  Both read one monotonic clock, and since a pseudo-terminal
takes no time, what passes from a line's last byte to the command's arrival is above the transmission time.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import select
import tempfile
import time
import tty
from collections.abc import Sequence
from contextlib import AsyncExitStack
from multiprocessing.connection import Connection
from pathlib import Path

from rig.drivers.console_uart import UartConsole
from rig.drivers.supply_ppk2 import Ppk2Supply
from rig.formats import ppk2
from rig.formats.ppk2 import Command
from rig.journal import Journal
from rig.model import ConsoleSignals, Event
from rig.run.promptness import prompt
from rig.run.record import ConsoleLines
from rig.virtual.ppk2 import CALIBRATION

BAUDRATE = 1_000_000
STREAMING = 4
_BYTES_PER_S = BAUDRATE / 10
_LINE = b"0123456789 the quick brown fox jumps over the lazy dog, again and again and again\r\n"
_TRIGGER = b"cut here\r\n"
_EVERY_S = 0.02
_PIECE_S = 1e-3
"""A USB bridge hands bytes over in pieces, once a millisecond at full speed."""
_OFF = bytes((Command.DEVICE_RUNNING_SET, 0))
_ANSWER_LIMIT_S = 1.0


def latencies(number: int) -> list[float]:
    """Seconds from the last byte of each of `number` triggering lines to the arrival of the command, in ascending order."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_play, args=(theirs, number), daemon=True)
    process.start()
    try:
        *consoles, supply = ours.recv()
        with prompt():  # as in every trial on real instruments
            asyncio.run(_drive(consoles, supply, ours))
        return sorted(ours.recv())
    finally:
        process.kill()
        process.join()


# --------------------------------------------------------------------------------------------------------------- the rig
async def _drive(consoles: Sequence[str], supply_port: str, done: Connection) -> None:
    """Open everything and answer every triggering line with a cut, until the instruments have enough."""
    loop = asyncio.get_running_loop()
    tasks: set[asyncio.Task[float]] = set()
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        supply = await stack.enter_async_context(Ppk2Supply(owner="dk0", port=supply_port))

        def trigger(event: Event) -> None:
            if event.kind == "console.line" and event.data["text"] == "cut here":
                task = loop.create_task(supply.off())
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        for index, port in enumerate(consoles):
            console = await stack.enter_async_context(UartConsole(owner=f"dk{index}", port=port, baudrate=BAUDRATE))
            journal = Journal(folder / f"{index}.jsonl", loop.time)
            stack.callback(journal.close)
            console.attach(ConsoleLines(journal, ConsoleSignals()).receive)
            if index == 0:
                journal.listen(trigger)
        finished = asyncio.Event()
        loop.add_reader(done.fileno(), finished.set)
        done.send("go")
        await finished.wait()
        loop.remove_reader(done.fileno())


# ------------------------------------------------------------------------------------------------------- the instruments
def _play(connection: Connection, number: int) -> None:
    """Body of the instruments' process."""
    masters = [_pty() for _ in range(STREAMING + 2)]
    connection.send([os.ttyname(slave) for _, slave in masters])
    *consoles, supply = (master for master, _ in masters)
    while not connection.poll():
        _answer(supply, 0.01)
    connection.recv()
    time.sleep(0.2)
    with prompt():  # an instrument waits for no other program
        found = _measure(consoles, supply, number)
    connection.send(found)
    time.sleep(_ANSWER_LIMIT_S)


def _pty() -> tuple[int, int]:
    master, slave = os.openpty()
    tty.setraw(slave)
    os.set_blocking(master, False)
    return master, slave


def _answer(supply: int, wait_s: float) -> bytes:
    """What has arrived at the supply; it tells its calibration when asked."""
    ready, _, _ = select.select([supply], [], [], wait_s)
    data = os.read(supply, 4096) if ready else b""
    if Command.GET_METADATA in data:
        os.write(supply, ppk2.format_metadata(CALIBRATION, millivolts=3000, mode=ppk2.PowerMode.SOURCE_METER))
    return data


def _measure(consoles: Sequence[int], supply: int, number: int) -> list[float]:
    """Stream on all consoles but the first, and send a triggering line on that every now and then."""
    first, *streaming = consoles
    found: list[float] = []
    begin = piece = time.monotonic()
    sent = 0
    waiting: float | None = None
    while len(found) < number:
        now = time.monotonic()
        if now >= piece:
            due = int((now - begin) * _BYTES_PER_S)
            for console in streaming:
                _send(console, sent, due)
            sent, piece = due, piece + _PIECE_S
        if waiting is None and now >= begin + (len(found) + 1) * _EVERY_S:
            waiting = time.monotonic()  # before the write, after which this process may not run for a while
            os.write(first, _TRIGGER)
        if _OFF in _answer(supply, max(0.0, piece - time.monotonic())) and waiting is not None:
            found.append(time.monotonic() - waiting)
            waiting = None
        if waiting is not None and time.monotonic() - waiting > _ANSWER_LIMIT_S:
            raise TimeoutError(f"no command within {_ANSWER_LIMIT_S:g} s of a line")
    return found


def _send(console: int, begin: int, end: int) -> None:
    """Bytes `begin` to `end` of the endless repetition of a line; what the host's buffer cannot take is lost, as on a UART."""
    text = (_LINE * ((end - begin) // len(_LINE) + 2))[begin % len(_LINE) :][: end - begin]
    try:
        os.write(console, text)
    except BlockingIOError:
        return
