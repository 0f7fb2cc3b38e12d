"""Run one planned trial on its own event loop and judge it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from rig import bench, drivers
from rig.errors import InstrumentError, RigError
from rig.judge import judge
from rig.model import Board, ImageFile, InstrumentSpec, Judgement, Trial
from rig.run.promptness import prompt
from rig.run.trial import TrialRun
from rig.store import Attempt

CLOCKS = {"virtual": "rig.virtual.clock:VirtualTimeLoop", "wall": "asyncio:new_event_loop"}
"""Clock name → what makes the event loop.  On the virtual clock time jumps from timer to timer."""


def run_one(
    trial: Trial,
    board: Board,
    bench_spec: InstrumentSpec,
    *,
    clock: str,
    begin: Callable[[Callable[[], float]], Attempt],
    image_path: Callable[[ImageFile], Path],
) -> Judgement:
    """Run `trial` on `board` and return its judgement; everything seen is in the attempt that `begin` makes.

    Each trial has a loop and a bench of its own, so that nothing of one trial can reach the next, and a trial replayed alone gives
    the same journal as within its campaign.

    Raises:
        StorageError: the evidence cannot be written.
    """
    has_real_instruments = bench_spec.driver not in drivers.DRIVERS["bench"]
    waiting = prompt() if has_real_instruments else nullcontext()
    with waiting, asyncio.Runner(loop_factory=drivers.resolve(CLOCKS[clock])) as runner:
        return runner.run(_run(trial, board, bench_spec, begin, image_path))


async def _run(
    trial: Trial,
    board: Board,
    bench_spec: InstrumentSpec,
    begin: Callable[[Callable[[], float]], Attempt],
    image_path: Callable[[ImageFile], Path],
) -> Judgement:
    with begin(asyncio.get_running_loop().time) as attempt:
        try:
            async with bench.lend(board, bench_spec, seed=trial.seed, around=bench.needed(board, trial.faults)) as dut:
                await TrialRun(trial, dut, attempt, image_path).run()
        except InstrumentError as error:
            attempt.journal.emit("run", "rig.error", instrument=error.instrument, reason=error.reason)
        except RigError:
            raise
        except Exception as error:  # noqa: BLE001 - a fault of ours costs this trial, is booked on the rig, and stops nothing else
            attempt.save("traceback.txt", traceback.format_exc().encode())
            reason = f"internal error, see traceback.txt: {type(error).__name__}: {error}"
            attempt.journal.emit("run", "rig.error", instrument="rig", reason=reason)
        return judge(trial, attempt.journal.events)
