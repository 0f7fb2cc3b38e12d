"""A virtual power switch: the microcontroller's end of the protocol in `rig.formats.switch_protocol`, on one board's supply node.

It obeys to the letter of docs/power-switch.md and is off when it starts.  Left out: the bounce of a relay, the drift of the
microcontroller's clock, and the restart that opening the port causes on some development boards.  Its trigger inputs are open unless
somebody calls `edge`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from rig.formats import switch_protocol as protocol
from rig.formats.switch_protocol import (
    Activity,
    Answer,
    Command,
    CommandError,
    ErrorCode,
    Identity,
    LineBuffer,
    Refusal,
    State,
    Verb,
)
from rig.virtual.jitter import steady
from rig.virtual.power import PowerNode
from rig.virtual.wire import DeviceEnd

INPUTS = 2
"""Trigger inputs of this unit."""


class VirtualSwitch:
    """The switch on device end `end`, between a source of `voltage_mv` and `node`.

    Args:
        end: the device's end of its serial wire.
        node: the supply node of the board that the switch feeds.
        voltage_mv: what the switch passes on, millivolts.
        command_latency_s: from the arrival of a line to its effect and its answer, seconds.
        switch_delay_s: from the effect of a command, or the end of a delay, to the switch itself, seconds: the FET's gate.
        jitter: what is added to that each time, seconds.
    """

    def __init__(
        self,
        end: DeviceEnd,
        node: PowerNode,
        *,
        voltage_mv: int = 3000,
        command_latency_s: float = 200e-6,
        switch_delay_s: float = 20e-6,
        jitter: Callable[[], float] = steady,
    ) -> None:
        self._end, self._node = end, node
        self._command_latency_s, self._switch_delay_s = command_latency_s, switch_delay_s
        self._jitter = jitter
        self._loop = asyncio.get_running_loop()
        self._started_s = self._loop.time()
        self._lines = LineBuffer()
        self._waiting: deque[bytes] = deque()
        self._is_on = False
        self._edge_us = 0
        self._activity = Activity.IDLE
        self._armed: tuple[int, int, int] | None = None
        self._cut_timer: asyncio.TimerHandle | None = None
        self._closed = False
        node.set_source_mv(voltage_mv)
        end.listen(self._receive)

    def close(self) -> None:
        """Take the switch off its USB port, which also powers it: the board's supply goes off."""
        self._closed = True
        self._disarm()
        self._node.switch(False)

    def edge(self, trigger_input: int) -> None:
        """The active edge comes on a trigger input, 0 to `INPUTS` - 1."""
        if self._armed is not None and self._armed[0] == trigger_input:
            _, delay_us, duration_us = self._armed
            self._armed = None
            self._activity = Activity.CUT
            self._begin(delay_us, duration_us)

    # ---------------------------------------------------------------------------------------------------------- commands
    def _receive(self, t: float, data: bytes) -> None:
        for line in self._lines.feed(data):
            self._waiting.append(line)
            self._loop.call_at(t + self._command_latency_s, self._obey)

    def _obey(self) -> None:
        line = self._waiting.popleft()
        if not self._closed:
            self._end.send(protocol.encode_answer(self._answer(line)))

    def _answer(self, line: bytes) -> Answer:
        try:
            command = protocol.decode_command(line)
            if command.verb is Verb.ID:
                return Identity(version=protocol.VERSION, kind="fet")
            self._execute(command)
        except CommandError as error:
            return Refusal(code=error.code, text=error.text)
        return State(is_on=self._is_on, edge_us=self._edge_us, activity=self._activity)

    def _execute(self, command: Command) -> None:
        match command.verb:
            case Verb.ON | Verb.OFF:
                self._disarm()
                self._set(on=command.verb is Verb.ON)
            case Verb.CUT:
                self._check_free()
                self._activity = Activity.CUT
                self._begin(*command.arguments)
            case Verb.ARM:
                if command.arguments[0] >= INPUTS:
                    raise CommandError(ErrorCode.OUT_OF_RANGE, f"this switch has {INPUTS} inputs")
                self._check_free()
                self._activity = Activity.ARMED
                number, delay_us, duration_us = command.arguments
                self._armed = (number, delay_us, duration_us)
            case _:
                pass

    def _check_free(self) -> None:
        if self._activity is not Activity.IDLE:
            raise CommandError(ErrorCode.BUSY, "another cut is to come; OFF or ON drops it")
        if not self._is_on:
            raise CommandError(ErrorCode.OUTPUT_IS_OFF, "there is nothing to cut")

    # --------------------------------------------------------------------------------------------------------- the output
    def _begin(self, delay_us: int, duration_us: int) -> None:
        if delay_us:
            self._cut_timer = self._loop.call_later(delay_us / 1e6, self._go_off, duration_us)
        else:
            self._go_off(duration_us)

    def _go_off(self, duration_us: int) -> None:
        self._set(on=False)
        self._cut_timer = self._loop.call_later(duration_us / 1e6, self._come_back)

    def _come_back(self) -> None:
        self._cut_timer = None
        self._activity = Activity.IDLE
        self._set(on=True)

    def _set(self, *, on: bool) -> None:
        if on != self._is_on:
            self._is_on = on
            self._edge_us = round((self._loop.time() - self._started_s) * 1e6) % protocol.CLOCK_MODULUS_US
            self._loop.call_later(self._switch_delay_s + self._jitter(), self._move)

    def _move(self) -> None:
        if not self._closed:
            self._node.switch(self._is_on)

    def _disarm(self) -> None:
        if self._cut_timer is not None:
            self._cut_timer.cancel()
            self._cut_timer = None
        self._armed = None
        self._activity = Activity.IDLE
