"""What a programme of faults works with in a running trial: the instruments, and the rig's own update client."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from rig.bench import Dut
from rig.inject import Means
from rig.journal import Journal
from rig.model import Protocol, Trial
from rig.ota.disorder import Disorder
from rig.ports import SupplyTrace
from rig.run.flow import Flow

_NOMINAL_MV = 3000
"""What supplies deliver whose driver is not told otherwise."""
_RESTART_S = 0.5
"""How long a client takes to start anew after its adapter has been reset."""

T = TypeVar("T")


class ClientKilled(Exception):
    """The update client was killed by a fault; `pause_s` later it starts anew."""

    def __init__(self, pause_s: float) -> None:
        super().__init__("the update client was killed by a fault of the programme")
        self.pause_s = pause_s


class Client:
    """The rig's update client as a process would be: it runs in a task of its own, and can be killed."""

    def __init__(self, dut: Dut, flow: Flow, journal: Journal, *, seed: int) -> None:
        """`seed` is the trial's."""
        self._dut, self._flow, self._journal = dut, flow, journal
        self._addresses = random.Random(f"addresses of the central/{seed}")
        self._task: asyncio.Task[Any] | None = None
        self._killed: float | None = None

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do `work` as the client.

        Raises:
            ClientKilled: a fault has ended it.
        """
        self._task = task = asyncio.get_running_loop().create_task(work, name="update client")
        try:
            return await task
        except asyncio.CancelledError:
            pause_s, self._killed = self._killed, None
            if pause_s is None:  # the trial itself is being ended
                raise
            raise ClientKilled(pause_s) from None
        finally:
            self._task = None

    # ----------------------------------------------------------------------------- what faults do to it (`rig.inject.HostSide`)
    async def drop_link(self) -> bool:
        link = self._flow.link
        if link is None or not link.is_up:
            return False
        await link.disconnect()
        return True

    async def kill_client(self, pause_s: float) -> bool:
        task = self._task
        if task is None or task.done():
            return False
        self._killed = pause_s
        task.cancel()
        await asyncio.wait((task,))
        self._journal.emit("run", "client.killed", pause_s=pause_s)
        return True

    async def reset_adapter(self) -> bool:
        if not await self.kill_client(_RESTART_S):
            return False
        await self._dut.radio.__aexit__(None, None, None)
        await self._dut.radio.__aenter__()
        self._journal.emit("radio", "radio.reset")
        return True

    async def stall(self, seconds: float) -> bool:
        if not self._flow.is_uploading:
            return False
        self._flow.stalled_until_s = asyncio.get_running_loop().time() + seconds
        await asyncio.sleep(seconds)
        return True

    async def repeat_requests(self, seconds: float) -> bool:
        return await self._send_in_disorder(Disorder.REPEAT, seconds)

    async def reorder_requests(self, seconds: float) -> bool:
        return await self._send_in_disorder(Disorder.REORDER, seconds)

    async def _send_in_disorder(self, disorder: Disorder, seconds: float) -> bool:
        if not self._flow.is_uploading:
            return False
        with self._flow.sending.in_disorder(disorder):
            await asyncio.sleep(seconds)
        return True

    async def take_new_address(self) -> bool:
        link = self._flow.link
        if link is None or not link.is_up:
            return False
        # First the address, while the client does not scan yet; the link keeps the old one as long as it lasts.
        await self._dut.radio.use_address(random_static_address(self._addresses))
        await link.disconnect()
        return True


def random_static_address(luck: random.Random) -> str:
    """A static device address, "F3:…": the two highest bits are set (Core Specification Vol 6 Part B 1.3.2.1)."""
    octets = luck.randbytes(6)
    return bytes([octets[0] | 0xC0, *octets[1:]]).hex(":").upper()


def means_of(
    trial: Trial, dut: Dut, journal: Journal, client: Client, save_trace: Callable[[str, SupplyTrace], str]
) -> Means:
    """The means of a programme on `dut`."""
    board = dut.board
    return Means(
        journal=journal,
        supply=dut.supply,
        probe=dut.probe,
        counter=dut.counter,
        interferer=dut.interferer,
        attenuator=dut.attenuator,
        host=client,
        memory=board.memory,
        reset_reason=re.compile(board.signals.reset_reason),
        bootloader_resets=trial.protocol is Protocol.SECURE_DFU,
        save_trace=save_trace,
        nominal_mv=int(board.supply.options.get("voltage_mv", _NOMINAL_MV)),
        rest_db=float(board.attenuator.options.get("rest_db", 0.0)) if board.attenuator else 0.0,
    )
