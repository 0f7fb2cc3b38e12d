"""Opens the instruments that a board names, lends the board to one trial, and closes everything in any weather.

What only disturbs the radio, interferer and attenuator, is opened where it is used: one that is broken, slow or away costs the trials
that need it and no others.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from rig import drivers
from rig.model import Board, Fault, FaultKind, InstrumentSpec
from rig.ports import Attenuator, Console, Interferer, OperationCounter, PowerSupply, Probe, Radio


class Around(StrEnum):
    """What can stand around a board and disturb its radio."""

    INTERFERER = "interferer"
    ATTENUATOR = "attenuator"


_DISTURBED_BY = {FaultKind.INTERFERENCE: Around.INTERFERER, FaultKind.FADE: Around.ATTENUATOR}


def needed(board: Board, faults: Collection[Fault]) -> frozenset[Around]:
    """What `faults` on `board` use of what stands around it; an attenuator that attenuates at rest belongs to every link."""
    used = {_DISTURBED_BY[fault.kind] for fault in faults if fault.kind in _DISTURBED_BY}
    if board.attenuator is not None and board.attenuator.options.get("rest_db"):
        used.add(Around.ATTENUATOR)
    return frozenset(used)


@dataclass(frozen=True, kw_only=True)
class Dut:
    """A board on loan to one trial, its instruments open; of what stands around it, what was asked for and is there."""

    board: Board
    probe: Probe
    supply: PowerSupply
    console: Console
    radio: Radio
    counter: OperationCounter | None
    interferer: Interferer | None = None
    attenuator: Attenuator | None = None


@asynccontextmanager
async def lend(board: Board, bench: InstrumentSpec, *, seed: int, around: Collection[Around]) -> AsyncIterator[Dut]:
    """Open the bench, the board's instruments and what is wanted of what stands `around` it, for one trial.

    `bench` is the boards file's ``bench:`` entry; `seed` is the trial's, for whatever on the bench is random by nature.

    Raises:
        InstrumentError: an instrument cannot be opened or closed; those already open are closed first.
    """
    async with standing(board, bench, seed=seed), opened(board, around=around) as dut:
        yield dut


@asynccontextmanager
async def standing(board: Board, bench: InstrumentSpec, *, seed: int) -> AsyncIterator[None]:
    """The bench around `board`, where its kind has to be built; nothing is opened."""
    async with AsyncExitStack() as stack:
        if bench.driver in drivers.DRIVERS["bench"]:
            await stack.enter_async_context(drivers.load("bench", bench, boards=[board], trial_seed=seed))
        yield


@asynccontextmanager
async def opened(board: Board, *, around: Collection[Around]) -> AsyncIterator[Dut]:
    """The board's instruments, and what is wanted of what stands `around` it, opened on a bench that stands.

    Raises:
        InstrumentError: as `lend`.
    """
    async with AsyncExitStack() as stack:

        async def open_(port: str, spec: InstrumentSpec):  # type: ignore[no-untyped-def]  # noqa: ANN202 - each port has its own type
            return await stack.enter_async_context(drivers.load(port, spec, owner=board.name))

        async def open_around(which: Around, spec: InstrumentSpec | None):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as above
            return await open_(which, spec) if spec is not None and which in around else None

        yield Dut(
            board=board,
            supply=await open_("supply", board.supply),
            console=await open_("console", board.console),
            probe=await open_("probe", board.probe),
            radio=await open_("radio", board.radio),
            counter=await open_("counter", board.counter) if board.counter else None,
            interferer=await open_around(Around.INTERFERER, board.interferer),
            attenuator=await open_around(Around.ATTENUATOR, board.attenuator),
        )
