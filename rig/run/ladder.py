"""The recovery ladder: what the rig does by itself after a trial that it lost, rung by rung, until the board's instruments are sound.

Gentle things first.  After each rung every instrument is opened anew and has to prove itself, as at the end of a trial; what the
board itself runs is not asked, since the next trial flashes it anyway; nor is what only disturbs the radio, since most trials go
without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from rig import bench, drivers
from rig.errors import InstrumentError, NotFound, RigError
from rig.model import Board, InstrumentSpec, Limits, Rung
from rig.ports import Advertisement, PowerSupply, Probe
from rig.run.closing import ClosingCheck
from rig.run.single import CLOCKS
from rig.store import Climb, RungResult

_LOOK_EVERY_S = 1.0
_OFF_S = 2.0
"""Off-time of the power cycle: long enough for whatever holds a charge."""
_RISE_S = 0.1
_ON_PRODUCTION_UNITS = (Rung.RE_ENUMERATE,)
"""A unit as it is delivered is only looked at: its power is not cut, and no probe touches it."""


def climb(board: Board, bench_spec: InstrumentSpec, *, seed: int, clock: str) -> Climb:
    """Climb the board's ladder; every failure is in the result, none is raised.

    `seed` is that of the trial that was lost: a bench that has to be built is the one that it met.
    """
    with asyncio.Runner(loop_factory=drivers.resolve(CLOCKS[clock])) as runner:
        return runner.run(_climb(board, bench_spec, seed=seed))


async def _climb(board: Board, bench_spec: InstrumentSpec, *, seed: int) -> Climb:
    results: list[RungResult] = []
    rungs = _ON_PRODUCTION_UNITS if board.production else board.recovery.rungs
    try:
        async with bench.standing(board, bench_spec, seed=seed):
            for rung in rungs:
                trouble = await _tried(board, rung)
                results.append(RungResult(rung=rung, trouble=trouble))
                if trouble is None:
                    break
    except InstrumentError as error:  # the bench itself
        results.append(RungResult(rung=Rung.REOPEN, trouble=str(error)))
    return Climb(rungs=tuple(results))


async def _tried(board: Board, rung: Rung) -> str | None:
    """What is still wrong after `rung`; None when the board's instruments are sound."""
    try:
        await _ACTIONS[rung](board)
        if not board.production:
            await sound(board)
    except RigError as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - a fault of ours must not keep the other boards waiting
        return f"internal error: {type(error).__name__}: {error}"
    return None


async def sound(board: Board) -> None:
    """Open every instrument of `board` and let it prove itself.

    Raises:
        InstrumentError: one is not sound.
    """
    async with bench.opened(board, around=bench.needed(board, ())) as dut:
        await dut.supply.on()
        await asyncio.sleep(_RISE_S)
        identity = await dut.probe.info()
        if f"nrf{identity.part:x}" != board.soc:
            raise InstrumentError(f"{board.name}.probe", f"is on an nrf{identity.part:x}, not an {board.soc}", hint="look where its cable ends")

        async def is_absent(for_s: float) -> bool:
            try:
                await dut.radio.find(lambda seen: _is_board(seen, board), timeout_s=for_s)
            except NotFound:
                return True
            return False

        await ClosingCheck(dut, is_absent=is_absent, limits=Limits()).run(identity=identity)


def _is_board(seen: Advertisement, board: Board) -> bool:
    if board.ble_address is not None:
        return seen.address.upper() == board.ble_address.upper()
    return seen.name == board.ble_name


# ------------------------------------------------------------------------------------------------------------------- rungs
async def _reopen(board: Board) -> None:
    """Nothing but what follows: every trial opens its instruments anew, and so does the check."""


async def _re_enumerate(board: Board) -> None:
    """Wait until the instruments can be opened again: USB devices that have fallen off the bus mostly come back by themselves."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + board.recovery.patience_s
    while True:
        try:
            async with bench.opened(board, around=bench.needed(board, ())):
                return
        except InstrumentError:
            if loop.time() >= deadline:
                raise
            await asyncio.sleep(_LOOK_EVERY_S)


@asynccontextmanager
async def _powered(board: Board) -> AsyncIterator[tuple[PowerSupply, Probe]]:
    """Supply and probe alone: the other instruments may be what is broken."""
    async with drivers.load("supply", board.supply, owner=board.name) as supply, drivers.load("probe", board.probe, owner=board.name) as probe:
        await supply.on()
        await asyncio.sleep(_RISE_S)
        yield supply, probe


async def _pin_reset(board: Board) -> None:
    async with _powered(board) as (_, probe):
        await probe.reset()


async def _recover(board: Board) -> None:
    async with _powered(board) as (_, probe):
        await probe.recover()


async def _power_cycle(board: Board) -> None:
    async with drivers.load("supply", board.supply, owner=board.name) as supply:
        await supply.off()
        await asyncio.sleep(_OFF_S)
        await supply.on()
        await asyncio.sleep(_RISE_S)


_ACTIONS: Mapping[Rung, Callable[[Board], Awaitable[None]]] = {
    Rung.REOPEN: _reopen,
    Rung.RE_ENUMERATE: _re_enumerate,
    Rung.PIN_RESET: _pin_reset,
    Rung.RECOVER: _recover,
    Rung.POWER_CYCLE: _power_cycle,
}
