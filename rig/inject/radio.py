"""Interference and fades.  Proved are they by what the link suffered, for an instrument that says it sends has not been heard."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rig.errors import InstrumentError
from rig.inject.means import Means
from rig.inject.suffering import Suffering
from rig.model import Event, Fade, Fault, Interference, Json
from rig.ports import Attenuator, Interferer

_STEPS_PER_DB = 4
"""Attenuators go in quarters of a decibel."""
_GRACE_S = 8.0
"""A link may die this long after the spell that killed it: the longest supervision timeout in use, and what its loss takes to show."""


@dataclass(kw_only=True)
class _Spell:
    number: int
    phase: str
    began_s: float
    ended_s: float = 0.0
    confirmed: bool = False


class _Disturbance(Protocol):
    """What makes the air worse, and better again."""

    async def begin(self) -> None: ...

    async def end(self) -> None: ...


class _Noise:
    """An interferer that sends."""

    def __init__(self, interference: Interference, interferer: Interferer) -> None:
        self._interference, self._interferer = interference, interferer

    async def begin(self) -> None:
        await self._interferer.start(self._interference)

    async def end(self) -> None:
        await self._interferer.stop()


class _Loss:
    """An attenuator that goes up from its rest value, step by step, and back."""

    def __init__(self, fade: Fade, attenuator: Attenuator, rest_db: float) -> None:
        self._fade, self._attenuator, self._rest_db = fade, attenuator, rest_db

    async def begin(self) -> None:
        for step in range(1, self._fade.steps + 1):
            await self._to(step)

    async def end(self) -> None:
        for step in reversed(range(self._fade.steps)):
            await self._to(step)

    async def _to(self, step: int) -> None:
        await self._attenuator.set(self._rest_db + round(_STEPS_PER_DB * self._fade.db * step / self._fade.steps) / _STEPS_PER_DB)
        await asyncio.sleep(self._fade.step_s)


class RadioDelivery:
    """Delivers one disturbance of the air, and looks at what the link goes through in it."""

    def __init__(self, fault: Fault, means: Means, disturbance: _Disturbance) -> None:
        self._fault, self._means, self._disturbance = fault, means, disturbance
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
            await self._disturbance.begin()
            spell.confirmed = True
            operation = means.counter.count() if means.counter else None
            means.delivered(number, spell.phase, fault=self._fault.kind.value, off_s=self._fault.off_s, operation=operation)
            await asyncio.sleep(self._fault.off_s)
        finally:
            await self._disturbance.end()
            spell.ended_s = asyncio.get_running_loop().time()
            means.journal.emit("inject", "fault.ended", n=number)

    def conclude(self) -> None:
        for spell in self._spells:
            begin, end = self._means.time(spell.began_s), self._means.time(spell.ended_s)
            suffered = self._suffering.between(begin, end, grace=_GRACE_S)
            evidence = {"instrument_confirmed": spell.confirmed, **suffered}
            self._means.concluded(spell.number, spell.phase, evidence, proved=spell.confirmed and any(suffered.values()))


def interference_delivery(fault: Fault, means: Means) -> RadioDelivery:
    """What delivers interference; raises `InstrumentError` on a board without an interferer."""
    assert fault.interference is not None
    if means.interferer is None:
        raise InstrumentError("interferer", "the board has none")
    return RadioDelivery(fault, means, _Noise(fault.interference, means.interferer))


def fade_delivery(fault: Fault, means: Means) -> RadioDelivery:
    """What delivers a fade; raises `InstrumentError` on a board without an attenuator."""
    assert fault.fade is not None
    if means.attenuator is None:
        raise InstrumentError("attenuator", "the board has none")
    return RadioDelivery(fault, means, _Loss(fault.fade, means.attenuator, means.rest_db))
