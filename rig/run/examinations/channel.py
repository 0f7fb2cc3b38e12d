"""Who may do what over the air: a stranger, a client that does not listen, malformed requests, nobody at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from rig.errors import ATT_GROUP, DutError, LinkLost, NoReply, NotFound, Refused
from rig.ota.malformed import SECURE_DFU_REQUESTS, SMP_REQUESTS, STATE_REQUEST
from rig.ota.secure_dfu import CONTROL_POINT, DFU_SERVICE, enter_bootloader
from rig.ota.smp import SMP_CHARACTERISTIC, SMP_SERVICE
from rig.ports import GattLink
from rig.run.dfu_flow import DfuFlow
from rig.run.examinations.examination import Examination

_ANSWER_S = 1.0
_LEFT_ALONE_S = 180.0
"""Longer than the two minutes after which the nRF5 SDK's bootloader leaves DFU mode (`NRF_BL_DFU_INACTIVITY_TIMEOUT_MS`)."""
_ABORT = b"\x0c"


class Stranger(Examination):
    """Tries without pairing what only the owner may do."""

    async def before(self) -> None:
        scene = self.scene
        service = DFU_SERVICE if isinstance(scene.flow, DfuFlow) else SMP_SERVICE
        attempts: list[dict[str, Any]] = []
        try:
            async with scene.flow.visit(service, secured=False) as link:
                for what, attempt in self._attempts(link).items():
                    attempts.append({"what": what, **await _tried(attempt)})
        except LinkLost as error:
            attempts.append({"what": "stay connected", "admitted": False, "answer": str(error)})
        except (NotFound, NoReply) as error:
            scene.emit("examination.disturbed", text=str(error))
        scene.emit("channel.stranger", attempts=attempts)
        await scene.settle()

    def _attempts(self, link: GattLink) -> dict[str, Callable[[], Awaitable[None]]]:
        log = self.scene.product.signals.log
        own: dict[str, Callable[[], Awaitable[None]]] = {"read the update log": lambda: _read(link, log)} if log else {}
        if isinstance(self.scene.flow, DfuFlow):
            return {
                **own,
                "bring the device into DFU mode": lambda: enter_bootloader(link, bonded=False, answer_s=_ANSWER_S),
                "bring the device into DFU mode by the bonded way": lambda: enter_bootloader(link, bonded=True, answer_s=_ANSWER_S),
            }
        return {**own, "read the image state": lambda: _ask_state(link)}


async def _tried(attempt: Callable[[], Awaitable[None]]) -> dict[str, Any]:
    """Whether an attempt was let through.  Silence is a refusal: a write without response cannot be answered by an error."""
    try:
        await attempt()
    except LinkLost:
        raise
    except DutError as error:
        return {"admitted": False, "answer": str(error)}
    return {"admitted": True, "answer": ""}


async def _read(link: GattLink, characteristic: str) -> None:
    await link.read(characteristic)


async def _ask_state(link: GattLink) -> None:
    """Ask for the image state with nothing but GATT; raises `DutError` when the server does not answer."""
    answered = asyncio.Event()
    await link.subscribe(SMP_CHARACTERISTIC, lambda _data: answered.set())
    await link.write(SMP_CHARACTERISTIC, STATE_REQUEST, response=False)
    try:
        async with asyncio.timeout(_ANSWER_S):
            await answered.wait()
    except TimeoutError:
        raise NoReply("image state", _ANSWER_S) from None


class Malformed(Examination):
    """Sends what no good client sends, and looks whether the device serves on."""

    async def before(self) -> None:
        scene = self.scene
        if isinstance(scene.flow, DfuFlow):
            async with _dfu_mode(scene.flow) as link:
                await self._send(link, CONTROL_POINT, SECURE_DFU_REQUESTS)
        else:
            async with scene.flow.visit(SMP_SERVICE) as link:
                await self._send(link, SMP_CHARACTERISTIC, SMP_REQUESTS)
        await scene.settle()

    async def _send(self, link: GattLink, characteristic: str, requests: Sequence[tuple[str, bytes]]) -> None:
        """Send one after the other until the device is gone; a reset shows on the console long before the link times out."""
        scene = self.scene
        start, sent, last, resets = len(scene.journal.events), 0, "", 0
        await link.subscribe(characteristic, lambda _data: None)
        with suppress(LinkLost):
            for name, request in requests:
                last = name
                with suppress(Refused):
                    await link.write(characteristic, request, response=characteristic == CONTROL_POINT)
                sent += 1
                await asyncio.sleep(_ANSWER_S)
                resets = scene.console.boots(since_seq=start)
                if resets or not link.is_up:
                    break
        scene.emit("channel.malformed", sent=sent, last=last, alive=link.is_up and not resets, resets=resets)


class Unsubscribed(Examination):
    """Writes to the control point before anybody has subscribed to its answers."""

    async def before(self) -> None:
        scene = self.scene
        assert isinstance(scene.flow, DfuFlow)  # the requirement applies to this protocol alone
        answer: int | None = None
        async with _dfu_mode(scene.flow) as link:
            try:
                await link.write(CONTROL_POINT, b"\x06\x01", response=True)
            except Refused as refusal:
                if refusal.group != ATT_GROUP:
                    raise
                answer = refusal.code
            await link.subscribe(CONTROL_POINT, lambda _data: None)
        scene.emit("channel.unsubscribed", answer=answer)
        await scene.settle()


class LeftAlone(Examination):
    """Brings the device into DFU mode, goes away, and waits for its application."""

    async def before(self) -> None:
        scene = self.scene
        assert isinstance(scene.flow, DfuFlow)  # the requirement applies to this protocol alone
        await scene.flow.enter_dfu_mode()
        start_s = asyncio.get_running_loop().time()
        returned = await scene.console.ready_within(_LEFT_ALONE_S, since_seq=len(scene.journal.events))
        took = asyncio.get_running_loop().time() - start_s
        scene.emit("channel.idle", returned_s=took if returned else None, limit_s=_LEFT_ALONE_S)
        if not returned:
            await scene.power_cycle()
            await scene.settle()


@asynccontextmanager
async def _dfu_mode(flow: DfuFlow) -> AsyncIterator[GattLink]:
    """A link to the board in DFU mode; afterwards it is sent back to its application."""
    found = await flow.enter_dfu_mode()
    async with flow.linked(found, DFU_SERVICE) as link:
        yield link
        with suppress(DutError):
            await link.write(CONTROL_POINT, _ABORT, response=True)
            await link.wait_lost()

