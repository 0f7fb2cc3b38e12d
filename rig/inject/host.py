"""Faults of the host: the connection dropped, the client killed, the adapter reset, the central fallen silent.

Proved are they by what the link shows: it ended, and was made anew; or nothing of the image travelled for as long as it was to stall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.inject.means import Means
from rig.model import Event, Fault, FaultKind, Json

_STALL_SHARE = 0.9
"""What a stall must reach of its time to count: the next part of the image may have been on its way."""


@dataclass(kw_only=True)
class _Blow:
    number: int
    phase: str
    command_s: float
    done: bool = False
    events: list[tuple[float, str]] = field(default_factory=list)
    """What the radio and the upload did from the command on, in journal time."""


class HostDelivery:
    """Delivers one fault of the host."""

    def __init__(self, fault: Fault, means: Means) -> None:
        self._fault, self._means = fault, means
        self._blows: list[_Blow] = []

    async def prepare(self) -> Mapping[str, Json]:
        return {}

    async def strike(self, number: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        means = self._means
        blow = _Blow(number=number, phase=means.phase, command_s=asyncio.get_running_loop().time())
        self._blows.append(blow)
        means.requested(number, blow.command_s)
        blow.done = await self._act()
        if blow.done:
            operation = means.counter.count() if means.counter else None
            means.delivered(number, blow.phase, fault=self._fault.kind.value, operation=operation)

    async def _act(self) -> bool:
        host, seconds = self._means.host, self._fault.off_s
        match self._fault.kind:
            case FaultKind.LINK_DROP:
                return await host.drop_link()
            case FaultKind.CLIENT_KILL:
                return await host.kill_client(seconds)
            case FaultKind.ADAPTER_RESET:
                return await host.reset_adapter()
            case _:
                return await host.stall(seconds)

    def hear(self, event: Event) -> None:
        if event.kind in ("radio.lost", "radio.connected", "upload.chunk"):
            for blow in self._blows:
                blow.events.append((event.t_ns / 1e9, event.kind))

    def conclude(self) -> None:
        for blow in self._blows:
            if self._fault.kind is FaultKind.STALL:
                evidence: dict[str, bool | None] = {"nothing_travelled": blow.done and self._was_quiet(blow)}
            else:
                kinds = [kind for _, kind in blow.events]
                evidence = {"link_ended": "radio.lost" in kinds, "link_made_anew": "radio.connected" in kinds}
            self._means.concluded(blow.number, blow.phase, evidence, proved=blow.done and all(evidence.values()))

    def _was_quiet(self, blow: _Blow) -> bool:
        begun = self._means.time(blow.command_s)
        until = begun + _STALL_SHARE * self._fault.off_s
        chunks = [when for when, kind in blow.events if kind == "upload.chunk" and when < until]
        return len(chunks) <= 1  # the answer to what was on its way when the stall began
