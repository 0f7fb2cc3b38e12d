"""A programme of faults in one trial: each armed by its own trigger, delivered by its kind, and concluded at the end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

from rig.errors import InstrumentError
from rig.inject.means import Delivery, Means
from rig.inject.registry import delivery_of
from rig.inject.trigger import Watch
from rig.model import Event, Fault, Json


@dataclass(kw_only=True, eq=False)
class _Armed:
    """One fault of the programme; `first` is the number of the first thing that it does to the device."""

    fault: Fault
    first: int
    delivery: Delivery
    watch: Watch
    done: asyncio.Event = field(default_factory=asyncio.Event)


class Injector:
    """Delivers the faults of a programme into a running trial."""

    def __init__(self, faults: Sequence[Fault], means: Means) -> None:
        self._means = means
        self._stack = AsyncExitStack()
        self._armed: list[_Armed] = []
        first = 1
        for index, fault in enumerate(faults):
            watch = Watch(fault.trigger, means, fire=partial(self._fire, index))
            self._armed.append(_Armed(fault=fault, first=first, delivery=delivery_of(fault, means), watch=watch))
            first += fault.repeat

    async def arm(self) -> None:
        """Take what must be known of before the faults, and wait for their triggers from now on."""
        for armed in self._armed:
            prepared = await armed.delivery.prepare()
            trigger = armed.fault.trigger
            self._means.journal.emit(
                "inject",
                "fault.armed",
                fault=armed.fault.kind.value,
                trigger=trigger.kind.value,
                phase=trigger.phase.value if trigger.phase else None,
                count=trigger.count,
                offset_s=trigger.offset_s,
                after=trigger.after,
                **prepared,
            )
        self._stack.callback(self._means.journal.listen(self._on_event))
        for armed in self._armed:
            await armed.watch.prepare()
        for armed in self._armed:
            if not armed.fault.trigger.after:
                armed.watch.open()

    @property
    def is_busy(self) -> bool:
        """Whether a fault is due or going on."""
        return any(armed.watch.fired and not armed.done.is_set() for armed in self._armed)

    async def wait_done(self) -> None:
        """Wait until everything that has been triggered is over."""
        for armed in self._armed:
            if armed.watch.fired:
                await armed.done.wait()

    async def close(self) -> None:
        """Disarm, and give judgement on the proof of everything that was done."""
        for armed in self._armed:
            armed.watch.disarm()
        await self._stack.aclose()
        for armed in self._armed:
            await self._close_watch(armed)
            if not armed.watch.fired:
                trigger = armed.fault.trigger.kind.value
                self._means.journal.emit("inject", "fault.not_fired", n=armed.first, trigger=trigger, matches=armed.watch.matches)
        for armed in self._armed:
            armed.delivery.conclude()

    def _on_event(self, event: Event) -> None:
        if event.kind == "phase.start":
            self._means.phase = str(event.data["phase"])
        for armed in self._armed:
            armed.delivery.hear(event)
            armed.watch.hear(event)

    def _fire(self, index: int) -> None:
        armed = self._armed[index]
        self._means.journal.emit("inject", "fault.triggered", n=armed.first, phase=self._means.phase, **self._sample(armed.watch.seen_s))
        task = asyncio.get_running_loop().create_task(self._deliver(index), name=f"deliver {armed.fault.kind}")
        self._stack.push_async_callback(_cancel_and_wait, task)

    def _sample(self, seen_s: float | None) -> Mapping[str, Json]:
        """When the sample was taken that made a trigger fire, how long ago that is, and the counter's reading where there is one."""
        if seen_s is None:
            return {}
        late = {"sample_t_ns": self._means.journal.t_ns(seen_s), "latency_s": asyncio.get_running_loop().time() - seen_s}
        return late | ({"operation": self._means.counter.count()} if self._means.counter else {})

    async def _deliver(self, index: int) -> None:
        armed = self._armed[index]
        fault = armed.fault
        try:
            for repeat in range(fault.repeat):
                await armed.delivery.strike(armed.first + repeat, fault.on_s if repeat else fault.trigger.offset_s)
        except InstrumentError as error:
            self._means.journal.emit("inject", "rig.error", instrument=error.instrument, reason=error.reason)
        finally:
            armed.done.set()
            for later in self._armed:
                if later.fault.trigger.after == index + 1:
                    later.watch.open()
            await self._close_watch(armed)

    async def _close_watch(self, armed: _Armed) -> None:
        try:
            await armed.watch.close()
        except InstrumentError as error:
            self._means.journal.emit("inject", "rig.error", instrument=error.instrument, reason=error.reason)


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    if not task.done():
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
