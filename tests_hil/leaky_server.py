"""A device that a central has to misbehave to break: an SMP server that never gives back the buffer of a part that it did not expect."""

from __future__ import annotations

import asyncio
from typing import cast

import cbor2

from rig.virtual.cpu import Cpu
from rig.virtual.smp_application import SmpApplication, SmpServer
from rig.virtual.smp_codec import Group, Op, decode
from rig.virtual.update_service import UpdateService

_HEADER = 8
_UPLOAD = (Group.IMAGE, 1, Op.WRITE)


class LeakyApplication(SmpApplication):
    """`rig.virtual.smp_application.SmpApplication`: as the good one, until its buffers are gone; a reset gives them back."""

    async def _serve(self, cpu: Cpu, server: SmpServer, updates: UpdateService) -> None:
        await super()._serve(cpu, cast(SmpServer, _Leaky(server, self._buf_count)), updates)


class _Leaky:
    def __init__(self, good: SmpServer, buffers: int) -> None:
        self._good, self._free = good, buffers
        self._expected = 0

    async def answer(self, packet: bytes) -> bytes | None:
        if not self._free:
            await asyncio.Event().wait()  # for a buffer that nobody gives back
        answer = await self._good.answer(packet)
        request = decode(packet)
        if request is not None and answer is not None and (request.group, request.command, request.op) == _UPLOAD:
            self._free -= request.payload["off"] not in (0, self._expected)
            self._expected = cbor2.loads(answer[_HEADER:])["off"]
        return answer
