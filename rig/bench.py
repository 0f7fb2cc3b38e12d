"""Opens the instruments that a board names, lends the board to one trial, and closes everything in any weather."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from rig import drivers
from rig.model import Board, InstrumentSpec
from rig.ports import Attenuator, Console, Interferer, OperationCounter, PowerSupply, Probe, Radio


@dataclass(frozen=True, kw_only=True)
class Dut:
    """A board on loan to one trial, its instruments open."""

    board: Board
    probe: Probe
    supply: PowerSupply
    console: Console
    radio: Radio
    counter: OperationCounter | None
    interferer: Interferer | None = None
    attenuator: Attenuator | None = None


@asynccontextmanager
async def lend(board: Board, bench: InstrumentSpec, *, seed: int) -> AsyncIterator[Dut]:
    """Open the bench and the board's instruments for one trial.

    `bench` is the boards file's ``bench:`` entry; `seed` is the trial's, for whatever on the bench is random by nature.

    Raises:
        InstrumentError: an instrument cannot be opened or closed; those already open are closed first.
    """
    async with standing(board, bench, seed=seed), opened(board) as dut:
        yield dut


@asynccontextmanager
async def standing(board: Board, bench: InstrumentSpec, *, seed: int) -> AsyncIterator[None]:
    """The bench around `board`, where its kind has to be built; nothing is opened."""
    async with AsyncExitStack() as stack:
        if bench.driver in drivers.DRIVERS["bench"]:
            await stack.enter_async_context(drivers.load("bench", bench, boards=[board], trial_seed=seed))
        yield


@asynccontextmanager
async def opened(board: Board) -> AsyncIterator[Dut]:
    """The board's instruments, opened on a bench that stands.

    Raises:
        InstrumentError: as `lend`.
    """
    async with AsyncExitStack() as stack:

        async def open_(port: str, spec: InstrumentSpec):  # type: ignore[no-untyped-def]  # noqa: ANN202 - each port has its own type
            return await stack.enter_async_context(drivers.load(port, spec, owner=board.name))

        yield Dut(
            board=board,
            supply=await open_("supply", board.supply),
            console=await open_("console", board.console),
            probe=await open_("probe", board.probe),
            radio=await open_("radio", board.radio),
            counter=await open_("counter", board.counter) if board.counter else None,
            interferer=await open_("interferer", board.interferer) if board.interferer else None,
            attenuator=await open_("attenuator", board.attenuator) if board.attenuator else None,
        )
