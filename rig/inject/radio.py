"""Interference and fades.  Proved are they by what the link suffered, for an instrument that says it sends has not been heard.

The link has suffered when it ended by the supervision timeout, when the image travelled at less than half its pace, or when nothing was
heard of the board while it should have advertised.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field

from rig.errors import InstrumentError
from rig.inject.means import Means
from rig.model import Event, Fault, Json

_SUPERVISION_TIMEOUT = 0x08
_NOT_ESTABLISHED = 0x3E
"""HCI reasons (Core Specification Vol 1 Part F)."""
_HALF = 2.0


@dataclass(kw_only=True)
class _Spell:
    number: int
    phase: str
    began_s: float
    ended_s: float = 0.0
    confirmed: bool = False


@dataclass(kw_only=True)
class Suffering:
    """What the link has gone through, in journal time."""

    chunks: list[float] = field(default_factory=list)
    losses: list[tuple[float, int | None]] = field(default_factory=list)
    failures: list[float] = field(default_factory=list)

    def hear(self, event: Event) -> None:
        """Something happened in the trial."""
        when = event.t_ns / 1e9
        if event.kind == "upload.chunk":
            self.chunks.append(when)
        elif event.kind == "radio.lost":
            self.losses.append((when, event.data.get("reason")))
        elif event.kind == "dut.error" and event.data.get("type") in ("NotFound", "LinkLost", "NoReply"):
            self.failures.append(when)

    def between(self, begin: float, end: float, grace: float) -> dict[str, bool | None]:
        """What it went through from `begin` to `end`; a loss may show `grace` seconds later."""
        lost = any(begin <= when <= end + grace and reason in (_SUPERVISION_TIMEOUT, _NOT_ESTABLISHED) for when, reason in self.losses)
        failed = any(begin <= when <= end + grace for when in self.failures)
        return {"link_died_of_it": lost, "image_travelled_slower": self._slower(begin, end), "board_was_not_heard": failed}

    def _slower(self, begin: float, end: float) -> bool | None:
        """Whether the image travelled at less than half its pace; None while it did not travel before, or the spell was too short."""
        before = [later - earlier for earlier, later in zip(self.chunks, self.chunks[1:], strict=False) if later < begin]
        if len(before) < 3:  # noqa: PLR2004 - too few for a usual pace
            return None
        usual = statistics.median(before)
        inside = [when for when in self.chunks if begin <= when <= end]
        expected = (end - begin) / usual
        return len(inside) * _HALF < expected if expected >= _HALF else None


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
            evidence = {"instrument_confirmed": spell.confirmed, **self._suffering.between(begin, end, grace=end - begin + 1.0)}
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
