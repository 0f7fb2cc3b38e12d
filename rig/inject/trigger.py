"""Waits for what a fault waits for."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack

from rig.errors import InstrumentError
from rig.model import Event, Trigger, TriggerKind
from rig.ports import OperationCounter

_COUNTED = {
    TriggerKind.CHUNK: "upload.chunk",
    TriggerKind.CONNECTED: "radio.connected",
    TriggerKind.SUBSCRIBED: "radio.subscribed",
    TriggerKind.LOST: "radio.lost",
}
"""Triggers that count events of one kind, whatever they say."""


class Watch:
    """Calls `fire` once, when the trigger's event has come; not before `open` says that it counts."""

    def __init__(self, trigger: Trigger, *, counter: OperationCounter | None, fire: Callable[[], None]) -> None:
        self._trigger, self._counter, self._fire = trigger, counter, fire
        self.matches = 0
        self._phase = ""
        self._begun = 0
        self._is_open = self._entered = self.fired = False
        self._stack = ExitStack()

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
        if self._is_open and not self.fired and self._in_window() and self._counts(event):
            self.matches += 1
            if self.matches == self._trigger.count:
                self._go()

    def close(self) -> None:
        """Wait no longer."""
        self._is_open = False
        self._stack.close()

    def _in_window(self) -> bool:
        phase = self._trigger.phase
        return phase is None or (phase.value == self._phase and self._begun >= self._trigger.occurrence)

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
        """The window in which the trigger may fire begins."""
        if self._entered:
            return
        self._entered = True
        if self._trigger.kind in (TriggerKind.TIME, TriggerKind.PHASE):
            self._go()
        elif self._trigger.kind is TriggerKind.FLASH_OPERATION:
            if self._counter is None:
                raise InstrumentError("counter", "the board has no flash-operation counter", hint="use another trigger on this bench")
            self._stack.callback(self._counter.call_at(self._counter.count() + self._trigger.count - 1, self._go))

    def _go(self) -> None:
        if not self.fired:
            self.fired = True
            self._fire()
