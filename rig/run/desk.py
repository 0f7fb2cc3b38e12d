"""One plain update of one board: no fault, no judgement, nothing stored."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rig import bench, drivers
from rig.errors import ConfigError, DutError
from rig.images.provide import provide_file
from rig.model import Board, Event, ImageFile, InstrumentSpec, Limits, Phase, Protocol, Request, Trial
from rig.run.dfu_flow import DfuFlow
from rig.run.flashing import place_old_image
from rig.run.flow import UpdateFlow
from rig.run.record import ConsoleLines, Recorder
from rig.run.single import CLOCKS
from rig.run.trial import FLOWS
from rig.store import Attempt

_ATTEMPTS = 4
_SUPPLY_SETTLES_S = 0.5


@dataclass(frozen=True, kw_only=True)
class DeskResult:
    """What came of it.  `error` is None when the board runs the image; times in seconds of the bench's clock, size in bytes."""

    version: str
    size: int
    upload_s: float | None
    total_s: float
    error: str | None


def update_once(
    board: Board,
    bench_spec: InstrumentSpec,
    file: Path,
    *,
    flash_first: Path | None,
    serial: str | None,
    clock: str,
    follow: Callable[[Event], None],
) -> DeskResult:
    """Update `board` with `file`; every event goes to `follow` as it happens.

    `serial` is a port on which the board's Secure DFU bootloader listens; None: over the air.

    Raises:
        ConfigError: a file is no image for this board, or `serial` is given for a board without Secure DFU.
        InstrumentError: an instrument failed.
    """
    if serial is not None and board.protocol is not Protocol.SECURE_DFU:
        raise ConfigError(f"--serial: board {board.name!r} takes updates by {board.protocol}; only secure_dfu goes over a serial port")
    new = provide_file(file, board)
    old = provide_file(flash_first, board) if flash_first else None
    with asyncio.Runner(loop_factory=drivers.resolve(CLOCKS[clock])) as runner:
        return runner.run(_update(board, bench_spec, new=new, old=old, serial=serial, follow=follow))


async def _update(
    board: Board,
    bench_spec: InstrumentSpec,
    *,
    new: ImageFile,
    old: ImageFile | None,
    serial: str | None,
    follow: Callable[[Event], None],
) -> DeskResult:
    trial = as_trial(board, new, old or new)
    now = asyncio.get_running_loop().time
    started_s = now()
    with tempfile.TemporaryDirectory(prefix="rig-update-") as name:
        folder = Path(name) / "attempt"
        with Attempt(folder, campaign=Path(name), number=1, now=now) as attempt:
            attempt.journal.listen(follow)
            async with bench.lend(board, bench_spec, seed=trial.seed, around=bench.needed(board, ())) as dut:
                recorder = Recorder(attempt.journal, dut.counter)
                lines = ConsoleLines(attempt.journal, board.signals)
                dut.console.attach(lines.receive)
                await dut.supply.on()
                await asyncio.sleep(_SUPPLY_SETTLES_S)
                if old is not None:
                    with recorder.phase(Phase.FLASH):
                        await place_old_image(trial, dut, lambda image: Path(image.path))
                        await dut.probe.detach()
                flow = FLOWS[trial.protocol](trial, dut, recorder, lines, lambda image: Path(image.path))
                try:
                    if isinstance(flow, DfuFlow) and serial is not None:
                        await flow.transfer_over_serial(serial, new)
                    error = None if await _bring_to(flow, new) else f"the board did not get to {new.version} in {_ATTEMPTS} attempts"
                except DutError as refused:
                    error = str(refused)
            events = attempt.journal.events
    return DeskResult(version=new.version, size=new.size, upload_s=_upload_s(events), total_s=now() - started_s, error=error)


async def _bring_to(flow: UpdateFlow, new: ImageFile) -> bool:
    """Attempt by attempt, until the board runs `new`."""
    for attempt in range(_ATTEMPTS):
        if await flow.advance(new, Request.TEST, confirm=True, after_install=attempt > 0):
            return True
    return False


def _upload_s(events: list[Event]) -> float | None:
    begin = next((e.t_ns for e in events if e.kind == "phase.start" and e.data["phase"] == Phase.UPLOAD), None)
    end = next((e.t_ns for e in events if e.kind == "phase.end" and e.data["phase"] == Phase.UPLOAD), None)
    return (end - begin) / 1e9 if begin is not None and end is not None else None


def as_trial(board: Board, new: ImageFile, old: ImageFile) -> Trial:
    """The update in the words that flows understand."""
    return Trial(
        id="update",
        scenario="update",
        board=board.name,
        protocol=board.protocol,
        seed=0,
        old=old,
        new=new,
        again=None,
        request=Request.TEST,
        confirm=True,
        staged=False,
        fault=None,
        limits=Limits(),
        stratum="control",
    )
