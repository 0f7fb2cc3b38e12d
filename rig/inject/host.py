"""Faults of the host: the connection dropped, the client killed, the adapter reset, the central silent or with another address.

Proved are they by what the link shows: it ended, and was made anew, where asked for from the other address; or nothing of the image
travelled for as long as it was to stall.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.inject.means import Means
from rig.model import Event, Fault, FaultKind, Json

_MADE = ("radio.connected", "radio.refused")
"""There was a link; `refused`: the board would not pair on it."""
_STALL_SHARE = 0.9
"""What a stall must reach of its time to count: the next part of the image may have been on its way."""


@dataclass(kw_only=True)
class _Blow:
    number: int
    phase: str
    command_s: float
    address: str | None
    """The central's address on the last link before, where it is known."""
    done: bool = False
    events: list[Event] = field(default_factory=list)
    """What the radio and the upload did from the command on."""


class HostDelivery:
    """Delivers one fault of the host."""

    def __init__(self, fault: Fault, means: Means) -> None:
        self._fault, self._means = fault, means
        self._blows: list[_Blow] = []
        self._address: str | None = None

    async def prepare(self) -> Mapping[str, Json]:
        return {}

    async def strike(self, number: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        means = self._means
        blow = _Blow(number=number, phase=means.phase, command_s=asyncio.get_running_loop().time(), address=self._address)
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
            case FaultKind.NEW_ADDRESS:
                return await host.take_new_address()
            case _:
                return await host.stall(seconds)

    def hear(self, event: Event) -> None:
        if event.kind in ("radio.lost", "upload.chunk", *_MADE):
            for blow in self._blows:
                blow.events.append(event)
        if event.kind in _MADE:
            self._address = event.data["own_address"]

    def conclude(self) -> None:
        for blow in self._blows:
            if self._fault.kind is FaultKind.STALL:
                evidence: dict[str, bool | None] = {"nothing_travelled": blow.done and self._was_quiet(blow)}
            else:
                kinds = [event.kind for event in blow.events]
                evidence = {"link_ended": "radio.lost" in kinds, "link_made_anew": any(kind in kinds for kind in _MADE)}
            if self._fault.kind is FaultKind.NEW_ADDRESS:
                evidence["address_differs"] = _has_another_address(blow)
            self._means.concluded(blow.number, blow.phase, evidence, proved=blow.done and all(evidence.values()))

    def _was_quiet(self, blow: _Blow) -> bool:
        begun = self._means.time(blow.command_s)
        until = begun + _STALL_SHARE * self._fault.off_s
        chunks = [event for event in blow.events if event.kind == "upload.chunk" and event.t_ns / 1e9 < until]
        return len(chunks) <= 1  # the answer to what was on its way when the stall began


def _has_another_address(blow: _Blow) -> bool:
    """Whether the first link after the blow was made from an address that is known, and not the one before."""
    after = next((event.data["own_address"] for event in blow.events if event.kind in _MADE), None)
    return None not in (blow.address, after) and after != blow.address
