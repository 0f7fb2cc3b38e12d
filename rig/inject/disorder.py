"""The client sends the parts of the image twice, or neighbours in the wrong order.

Proved is it by the device's own answers.  Over SMP: a second answer to one sequence number; an answer to the later part before the one to
the part that was due.  Over Secure DFU: a checksum that a device can have only when packets reached it so, or a second copy refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from rig.inject.means import Means
from rig.model import Event, Fault, FaultKind, Json

_NOTICED = {FaultKind.REPEAT_REQUESTS: "repeat", FaultKind.REORDER_REQUESTS: "reorder"}
"""Kind of fault → the word for it in the journal's `upload.disorder`."""
_EVIDENCE = {FaultKind.REPEAT_REQUESTS: "device_got_parts_twice", FaultKind.REORDER_REQUESTS: "device_got_parts_out_of_order"}


@dataclass(kw_only=True)
class _Blow:
    number: int
    phase: str
    noticed: int = 0
    """How often the device has shown that it got parts in disorder."""


class DisorderDelivery:
    """Delivers one disorder of the client's."""

    def __init__(self, fault: Fault, means: Means) -> None:
        self._fault, self._means = fault, means
        self._blows: list[_Blow] = []

    async def prepare(self) -> Mapping[str, Json]:
        return {}

    async def strike(self, number: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        means, fault = self._means, self._fault
        blow = _Blow(number=number, phase=means.phase)
        self._blows.append(blow)
        means.requested(number, asyncio.get_running_loop().time())
        disturb = means.host.repeat_requests if fault.kind is FaultKind.REPEAT_REQUESTS else means.host.reorder_requests
        await disturb(fault.off_s)

    def hear(self, event: Event) -> None:
        if event.kind != "upload.disorder" or event.data["disorder"] != _NOTICED[self._fault.kind] or not self._blows:
            return
        blow, means = self._blows[-1], self._means
        blow.noticed += 1
        if blow.noticed == 1:
            operation = means.counter.count() if means.counter else None
            means.delivered(blow.number, blow.phase, fault=self._fault.kind.value, operation=operation)

    def conclude(self) -> None:
        for blow in self._blows:
            proved = blow.noticed > 0
            self._means.concluded(blow.number, blow.phase, {_EVIDENCE[self._fault.kind]: proved}, proved=proved, times=blow.noticed)
