"""Arms a trigger, delivers the fault, and proves from independent evidence that it happened.

Requested, delivered and proved are three events.  A cut is *requested* when the command leaves the host, *delivered* when the
supply's own samples show VDD falling (or, where the supply cannot sense VDD, when the command had left), and *proved* when
independent witnesses agree that the SoC was without power: VDD seen low and a console that stayed silent while it was, and no boot
afterwards that gives another reset reason than power-on.  Where nobody watches VDD, that reset reason must have been printed.
A bootloader that resets the SoC itself before the application runs leaves "soft reset" there, which then says nothing either way.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from rig.errors import InstrumentError
from rig.journal import Journal
from rig.model import Event, Phase, Fault, Trigger, TriggerKind
from rig.ports import OperationCounter, PowerSupply, SupplyCapability, SupplyTrace

_VDD_BIT = 0x01
_SOFT_RESET = 1 << 2
"""RESETREAS.SREQ (nRF52 Product Specification, POWER)."""
_BASELINE_S = 0.005
_AFTER_ON_S = 0.005
_CONSOLE_DELAY_S = 0.02
"""Console bytes may arrive this much after they were sent (UART FIFO, USB); silence is judged after it."""


@dataclass(kw_only=True)
class _Cut:
    """One delivered cut and its evidence."""

    number: int
    command_s: float
    on_s: float
    fell_s: float | None
    low_s: float
    max_off_ua: float | None
    phase: str
    lines: list[tuple[float, str]] = field(default_factory=list)
    """Console lines from the cut on."""


class Injector:
    """Delivers one planned `Fault` into a running trial.

    `save_trace` stores a supply trace as evidence and returns its file name.
    """

    def __init__(
        self,
        fault: Fault,
        *,
        supply: PowerSupply,
        counter: OperationCounter | None,
        journal: Journal,
        reset_reason: str,
        bootloader_resets: bool,
        save_trace: Callable[[str, SupplyTrace], str],
    ) -> None:
        self._fault = fault
        self._supply = supply
        self._counter = counter
        self._journal = journal
        self._reset_reason = re.compile(reset_reason)
        self._bootloader_resets = bootloader_resets
        self._save_trace = save_trace
        self._phase = ""
        self._matches = 0
        self._cuts: list[_Cut] = []
        self._fired = asyncio.Event()
        self._done = asyncio.Event()
        self._mean_before_ua: float | None = None
        self._senses_vdd = SupplyCapability.SENSE_VDD in supply.capabilities
        self._stack = AsyncExitStack()

    # ------------------------------------------------------------------------------------------------------ life cycle
    async def arm(self) -> None:
        """Take the supply's baseline and wait for the trigger from now on."""
        await self._supply.record()
        await asyncio.sleep(_BASELINE_S)
        baseline = await self._supply.stop_recording()
        if len(baseline.current_ua):
            self._mean_before_ua = float(sum(baseline.current_ua) / len(baseline.current_ua))
        trigger = self._fault.trigger
        self._journal.emit(
            "inject",
            "fault.armed",
            trigger=trigger.kind.value,
            phase=trigger.phase.value if trigger.phase else None,
            count=trigger.count,
            offset_s=trigger.offset_s,
            mean_before_ua=self._mean_before_ua,
        )
        self._stack.callback(self._journal.listen(self._on_event))
        if trigger.phase is None:
            self._enter_window()

    @property
    def is_busy(self) -> bool:
        """Whether a cut is due or going on."""
        return self._fired.is_set() and not self._done.is_set()

    async def wait_done(self) -> None:
        """Wait until every cut has been delivered and power is back."""
        await self._done.wait()

    async def close(self) -> None:
        """Disarm, and give judgement on the proof of every cut."""
        await self._stack.aclose()
        if not self._fired.is_set():
            self._journal.emit("inject", "fault.not_fired", trigger=self._fault.trigger.kind.value, matches=self._matches)
        for cut in self._cuts:
            self._conclude(cut)

    # ---------------------------------------------------------------------------------------------------------- trigger
    def _on_event(self, event: Event) -> None:
        if event.kind == "console.line":
            for cut in self._cuts:
                cut.lines.append((event.t_ns / 1e9, str(event.data["text"])))
        if event.kind == "phase.start":
            self._phase = str(event.data["phase"])
            if self._fault.trigger.phase == Phase(self._phase) and not self._matches:
                self._enter_window()
        if not self._fired.is_set() and self._in_window() and self._counts(self._fault.trigger, event):
            self._matches += 1
            if self._matches == self._fault.trigger.count:
                self._fire()

    def _in_window(self) -> bool:
        phase = self._fault.trigger.phase
        return phase is None or phase.value == self._phase

    def _counts(self, trigger: Trigger, event: Event) -> bool:
        """Whether `event` is one of those that `trigger` counts."""
        match trigger.kind:
            case TriggerKind.CHUNK:
                return event.kind == "upload.chunk"
            case TriggerKind.CONSOLE:
                return event.kind == "console.line" and re.search(trigger.pattern, str(event.data["text"])) is not None
            case TriggerKind.BYTE:
                if event.kind == "upload.chunk" and int(event.data["offset"]) >= trigger.count:
                    self._fire()
                return False
            case _:
                return False

    def _enter_window(self) -> None:
        """The window in which the trigger may fire begins now."""
        trigger = self._fault.trigger
        if trigger.kind in (TriggerKind.TIME, TriggerKind.PHASE):
            self._fire()
        elif trigger.kind is TriggerKind.FLASH_OPERATION:
            if self._counter is None:
                raise InstrumentError("counter", "the board has no flash-operation counter", hint="use another trigger on this bench")
            self._stack.callback(self._counter.call_at(self._counter.count() + trigger.count - 1, self._fire))

    def _fire(self) -> None:
        if self._fired.is_set():
            return
        self._fired.set()
        self._journal.emit("inject", "fault.triggered", phase=self._phase)
        task = asyncio.get_running_loop().create_task(self._deliver(), name="deliver fault")
        self._stack.push_async_callback(_cancel_and_wait, task)

    # --------------------------------------------------------------------------------------------------------- delivery
    async def _deliver(self) -> None:
        try:
            await asyncio.sleep(self._fault.trigger.offset_s)
            for number in range(1, self._fault.repeat + 1):
                if number > 1:
                    await asyncio.sleep(self._fault.on_s)
                await self._cut(number)
        except InstrumentError as error:
            self._journal.emit("inject", "rig.error", instrument=error.instrument, reason=error.reason)
        finally:
            self._done.set()

    async def _cut(self, number: int) -> None:
        phase = self._phase
        await self._supply.record()
        command_s = await self._supply.off()
        cut = _Cut(number=number, command_s=command_s, on_s=0, fell_s=None, low_s=0, max_off_ua=None, phase=phase)
        self._cuts.append(cut)
        self._journal.emit(
            "inject", "fault.requested", n=number, phase=phase, command_t_ns=self._journal.t_ns(command_s), operation=self._operation()
        )
        await asyncio.sleep(self._fault.off_s)
        operation = self._operation()  # while the power is off nothing is added to it
        cut.on_s = await self._supply.on()
        await asyncio.sleep(_AFTER_ON_S)
        trace = await self._supply.stop_recording()
        file = self._save_trace(f"supply-{number}", trace)
        self._measure(cut, trace)
        self._journal.emit(
            "supply",
            "supply.trace",
            n=number,
            file=file,
            mean_before_ua=self._mean_before_ua,
            max_off_ua=cut.max_off_ua,
            vdd_low_s=cut.low_s,
        )
        if cut.fell_s is not None:
            self._journal.emit(
                "inject",
                "fault.delivered",
                n=number,
                at_phase=phase,
                vdd_fell_t_ns=self._journal.t_ns(cut.fell_s),
                latency_s=cut.fell_s - command_s,
                off_s=self._fault.off_s,
                operation=operation,
            )

    def _operation(self) -> int | None:
        return self._counter.count() if self._counter else None

    def _measure(self, cut: _Cut, trace: SupplyTrace) -> None:
        """Find in the samples when VDD fell, for how long it stayed low, and what still flowed."""
        if not self._senses_vdd:
            cut.fell_s = cut.command_s
            return
        low = [index for index, level in enumerate(trace.logic) if not level & _VDD_BIT]
        if not low:
            return
        cut.fell_s = trace.start_s + low[0] * trace.step_s
        cut.low_s = len(low) * trace.step_s
        switched_on = int((cut.on_s - trace.start_s) / trace.step_s)
        cut.max_off_ua = float(max(trace.current_ua[low[0] : switched_on], default=0.0))

    # ------------------------------------------------------------------------------------------------------------ proof
    def _conclude(self, cut: _Cut) -> None:
        evidence: dict[str, bool | None] = {
            "vdd_was_low": cut.fell_s is not None if self._senses_vdd else None,
            "console_was_silent": self._was_silent(cut),
            "reset_reason_is_power_on": self._reset_reason_after(cut),
        }
        contradicted = False in evidence.values()
        proved = not contradicted and True in (evidence["vdd_was_low"], evidence["reset_reason_is_power_on"])
        self._journal.emit("inject", "fault.proved" if proved else "fault.unproved", n=cut.number, phase=cut.phase, evidence=evidence)

    def _was_silent(self, cut: _Cut) -> bool:
        start = cut.fell_s if cut.fell_s is not None else cut.command_s
        first, last = self._journal.t_ns(start + _CONSOLE_DELAY_S) / 1e9, self._journal.t_ns(cut.on_s) / 1e9
        return not any(first <= when <= last for when, _ in cut.lines)

    def _reset_reason_after(self, cut: _Cut) -> bool | None:
        """Whether the first reset reason printed after power came back was power-on; None when nothing can be told."""
        on_s = self._journal.t_ns(cut.on_s) / 1e9
        for when, text in cut.lines:
            found = self._reset_reason.search(text)
            if when > on_s and found:
                reason = int(found.group(1), 16)
                return None if self._bootloader_resets and reason == _SOFT_RESET else reason == 0
        return None


async def _cancel_and_wait(task: asyncio.Task[None]) -> None:
    if not task.done():
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
