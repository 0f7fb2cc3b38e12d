"""Waits for what a fault waits for."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from typing import cast

from rig.coverage import purpose
from rig.errors import InstrumentError
from rig.inject.means import Means
from rig.inject.signs import CurrentSign, EdgeSign, Sign
from rig.model import Event, Trigger, TriggerKind
from rig.ports import FlashOperation, OperationCounter, SupplyCapability, SupplyTrace, WatchedSupply

_COUNTED = {
    TriggerKind.CHUNK: "upload.chunk",
    TriggerKind.CONNECTED: "radio.connected",
    TriggerKind.SUBSCRIBED: "radio.subscribed",
    TriggerKind.LOST: "radio.lost",
}
"""Triggers that count events of one kind, whatever they say."""


class Watch:
    """Calls `fire` once, when the trigger's event has come; not before `open` says that it counts."""

    def __init__(self, trigger: Trigger, means: Means, *, fire: Callable[[], None]) -> None:
        self._trigger, self._means, self._fire = trigger, means, fire
        self.matches = 0
        self.seen_s: float | None = None
        """When the sample was taken that made the trigger fire, seconds of the loop's clock; None where no samples are looked at."""
        self._phase = ""
        self._begun = 0
        self._since_s = math.inf
        self._is_open = self._entered = self.fired = False
        self._sign = _sign_of(trigger)
        self._stop_samples: Callable[[], Awaitable[None]] | None = None
        self._stack = ExitStack()

    async def prepare(self) -> None:
        """Begin to look at the supply's samples, where the trigger needs them.  Nothing counts before `open`."""
        if self._sign is not None:
            self._demand(SupplyCapability.WATCH)
            if self._trigger.pin is not None:
                self._demand(SupplyCapability.LOGIC_INPUTS)
            self._stop_samples = await cast("WatchedSupply", self._means.supply).watch(self._look)

    def open(self) -> None:
        """The trigger counts from now on."""
        self._is_open = True
        phase = self._trigger.phase
        if phase is None or (self._in_window() and self._trigger.kind is not TriggerKind.PHASE):
            self._enter()

    def hear(self, event: Event) -> None:
        """Something happened in the trial."""
        if event.kind == "phase.start":
            self._phase = str(event.data["phase"])
            self._begun += self._trigger.phase is not None and self._trigger.phase.value == self._phase
            if self._is_open and self._trigger.phase is not None and self._in_window():
                self._enter()
        if self._counts_now() and self._counts(event):
            self._match()

    def disarm(self) -> None:
        """Wait no longer."""
        self._is_open = False
        self._stack.close()

    async def close(self) -> None:
        """Disarm, and let the supply's samples be."""
        self.disarm()
        stop, self._stop_samples = self._stop_samples, None
        if stop is not None:
            await stop()

    def _in_window(self) -> bool:
        phase = self._trigger.phase
        return phase is None or (phase.value == self._phase and self._begun >= self._trigger.occurrence)

    def _counts_now(self) -> bool:
        return self._is_open and not self.fired and self._in_window()

    def _counts(self, event: Event) -> bool:
        """Whether `event` is one of those that the trigger counts."""
        trigger = self._trigger
        if trigger.kind is TriggerKind.BYTE:
            if event.kind == "upload.chunk" and int(event.data["offset"]) >= trigger.count:
                self._go()
            return False
        if trigger.kind is TriggerKind.CONSOLE:
            return event.kind == "console.line" and re.search(trigger.pattern, str(event.data["text"])) is not None
        return event.kind == _COUNTED.get(trigger.kind)

    def _enter(self) -> None:
        """The window in which the trigger may fire begins, for the first time or again."""
        self._since_s = asyncio.get_running_loop().time()
        if self._entered:
            return
        self._entered = True
        if self._trigger.kind in (TriggerKind.TIME, TriggerKind.PHASE):
            self._go()
        elif self._trigger.kind is TriggerKind.FLASH_OPERATION:
            self._stack.callback(self._count_operations(self._counter))

    # ------------------------------------------------------------------------------------------------- flash operations
    @property
    def _counter(self) -> OperationCounter:
        if self._means.counter is None:
            raise InstrumentError("counter", "the board has no flash-operation counter", hint="use another trigger on this bench")
        return self._means.counter

    def _count_operations(self, counter: OperationCounter) -> Callable[[], None]:
        """Wait for the Nth word or page, or where a kind is named for the Nth operation of it; returns what ends the waiting."""
        if self._trigger.operation is None:
            return counter.call_at(counter.count() + self._trigger.count - 1, self._go)
        return counter.watch(self._begins)

    def _begins(self, operation: FlashOperation) -> None:
        kind = purpose(erase=operation.erase, address=operation.address, words=operation.words, memory=self._means.memory)
        if kind is self._trigger.operation and self._counts_now():
            self._match()

    # ---------------------------------------------------------------------------------------------------------- samples
    def _demand(self, capability: SupplyCapability) -> None:
        if capability not in self._means.supply.capabilities:
            raise InstrumentError("supply", f"does not offer {capability}", hint="use another trigger on this bench")

    def _look(self, block: SupplyTrace) -> None:
        assert self._sign is not None
        for seen_s in self._sign.found(block, self._since_s):
            if self._counts_now():
                self.seen_s = seen_s
                self._match()

    def _match(self) -> None:
        self.matches += 1
        if self.matches == self._trigger.count:
            self._go()

    def _go(self) -> None:
        if not self.fired:
            self.fired = True
            self._fire()


def _sign_of(trigger: Trigger) -> Sign | None:
    """What the trigger looks for in the supply's samples, if it does."""
    if trigger.current is not None:
        return CurrentSign(trigger.current)
    return EdgeSign(trigger.pin) if trigger.pin is not None else None
