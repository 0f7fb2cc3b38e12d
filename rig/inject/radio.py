"""Interference and fades.  Proved are they by what the link suffered, for an instrument that says it sends has not been heard."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from rig.errors import InstrumentError
from rig.inject.means import Means
from rig.inject.suffering import Suffering
from rig.model import Event, Fault, Json

_GRACE_S = 8.0
"""A link may die this long after the spell that killed it: the longest supervision timeout in use, and what its loss takes to show."""


@dataclass(kw_only=True)
class _Spell:
    number: int
    phase: str
    began_s: float
    ended_s: float = 0.0
    confirmed: bool = False


class _RadioDelivery:
    """What interference and fades have in common: a spell, and what the link went through in it."""

    def __init__(self, fault: Fault, means: Means) -> None:
        self._fault, self._means = fault, means
        self._spells: list[_Spell] = []
        self._suffering = Suffering()

    async def prepare(self) -> Mapping[str, Json]:
        return {}

    def hear(self, event: Event) -> None:
        self._suffering.hear(event)

    async def strike(self, number: int, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        means = self._means
        spell = _Spell(number=number, phase=means.phase, began_s=asyncio.get_running_loop().time())
        self._spells.append(spell)
        means.requested(number, spell.began_s)
        try:
            await self._begin()
            spell.confirmed = True
            operation = means.counter.count() if means.counter else None
            means.delivered(number, spell.phase, fault=self._fault.kind.value, off_s=self._fault.off_s, operation=operation)
            await asyncio.sleep(self._fault.off_s)
        finally:
            await self._end()
            spell.ended_s = asyncio.get_running_loop().time()
            means.journal.emit("inject", "fault.ended", n=number)

    async def _begin(self) -> None:
        raise NotImplementedError

    async def _end(self) -> None:
        raise NotImplementedError

    def conclude(self) -> None:
        for spell in self._spells:
            begin, end = self._means.time(spell.began_s), self._means.time(spell.ended_s)
            evidence = {"instrument_confirmed": spell.confirmed, **self._suffering.between(begin, end, grace=_GRACE_S)}
            suffered = any(value for name, value in evidence.items() if name != "instrument_confirmed")
            self._means.concluded(spell.number, spell.phase, evidence, proved=spell.confirmed and suffered)


class InterferenceDelivery(_RadioDelivery):
    """An interferer sends for a while."""

    async def _begin(self) -> None:
        assert self._fault.interference is not None
        if self._means.interferer is None:
            raise InstrumentError("interferer", "the board has none")
        await self._means.interferer.start(self._fault.interference)

    async def _end(self) -> None:
        if self._means.interferer is not None:
            await self._means.interferer.stop()


class FadeDelivery(_RadioDelivery):
    """An attenuator takes the signal down, step by step, and brings it back."""

    async def _begin(self) -> None:
        await self._walk(1)

    async def _end(self) -> None:
        await self._walk(-1)

    async def _walk(self, direction: int) -> None:
        fade, attenuator = self._fault.fade, self._means.attenuator
        assert fade is not None
        if attenuator is None:
            raise InstrumentError("attenuator", "the board has none")
        for step in range(1, fade.steps + 1):
            share = step / fade.steps if direction > 0 else 1 - step / fade.steps
            await attenuator.set(self._means.rest_db + round(4 * fade.db * share) / 4)
            await asyncio.sleep(fade.step_s)
