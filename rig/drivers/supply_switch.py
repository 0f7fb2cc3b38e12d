"""A relay or FET switch in the supply line of the SoC, driven by a microcontroller on a serial port (docs/power-switch.md).

The switch neither measures nor sets a voltage.  What it does better than most supplies is time: it can make a cut by its own clock,
or on an edge of one of its inputs, so that the host's latency does not matter.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Self

from rig.drivers.byte_stream import open_stream
from rig.errors import ConfigError, InstrumentError
from rig.formats import switch_protocol as protocol
from rig.formats.switch_protocol import Activity, Answer, Command, Identity, LineBuffer, Refusal, State, Verb
from rig.ports import ByteStream, SupplyCapability, SupplyTrace

_FIND_LIMIT_S = 3.0
"""Many development boards restart when their port is opened, and some wait 2 s in a bootloader."""
_FIND_EVERY_S = 0.5
_SEND_LIMIT_S = 1.0
_STEP_S = 1e-6

_HINT = "check the port, the baud rate and the switch's firmware (docs/power-switch.md)"
_REPLUG = "check the cable and the hub, then re-plug the switch"


class SwitchSupply:
    """`rig.ports.PowerSupply` on a power switch.

    Entering leaves the output off; leaving switches it off and so disarms whatever cut was still to come.

    Args:
        owner: the board that the switch feeds.
        port: path, COM name or ``virtual:<wire>``.
        baudrate: bits per second.
        voltage_mv: what the switch passes on, millivolts.  The rig cannot set it.

    Raises:
        ConfigError: the baud rate or the voltage is not positive.
    """

    capabilities = frozenset({SupplyCapability.AIMED_CUT})

    def __init__(self, *, owner: str, port: str, baudrate: int = 115200, voltage_mv: int = 3000) -> None:
        self._name = f"{owner}.supply"
        for option, value in (("baudrate", baudrate), ("voltage_mv", voltage_mv)):
            if value <= 0:
                raise ConfigError(f"{self._name}: {option} must be positive, not {value}")
        self._port, self._baudrate, self._voltage_mv = port, baudrate, voltage_mv
        self._stream: ByteStream | None = None
        self._lines = LineBuffer()
        self._heard: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._turn = asyncio.Lock()
        self._in_step = False
        self._vanished = False

    # ------------------------------------------------------------------------------------------------------- life cycle
    async def __aenter__(self) -> Self:
        self._stream = await open_stream(self._port, baudrate=self._baudrate, owner=self._name)
        self._vanished = self._in_step = False
        self._lines = LineBuffer()
        self._heard.clear()
        self._stream.listen(self._receive)
        try:
            await self.off()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.off()
        except InstrumentError:
            if error is None:
                raise
        finally:
            await self._close()

    async def _close(self) -> None:
        if self._stream is not None:
            await self._stream.close()
            self._stream = None

    # ------------------------------------------------------------------------------------------------------- the output
    async def set_voltage(self, millivolts: int) -> None:
        """Refused always.

        Raises:
            InstrumentError: a switch passes on what it is fed with.
        """
        reason = f"cannot set {millivolts} mV: a switch passes on what it is fed with, here {self._voltage_mv} mV"
        raise InstrumentError(self._name, reason, hint="use a supply that can, for instance a ppk2, or leave the voltage alone")

    async def on(self) -> float:
        """Switch on, and drop any cut that was still to come."""
        return await self._switch(Verb.ON)

    async def off(self) -> float:
        """Switch off, and drop any cut that was still to come."""
        return await self._switch(Verb.OFF)

    async def cut(self, delay_s: float, duration_s: float) -> float:
        """Have the switch cut the supply by its own clock: off after `delay_s`, on again `duration_s` later.

        Args:
            delay_s: from the switch's receipt of the command to the cut, 0 to 60 s, to the microsecond.
            duration_s: how long the output stays off, 1 µs to 60 s.

        Returns:
            The loop time at which the command left the host.  `state` tells when the cut is over.

        Raises:
            InstrumentError: a time is out of range, the output is off, another cut is to come, or the switch does not answer.
        """
        return await self._arm(Verb.CUT, _microseconds(delay_s), _microseconds(duration_s))

    async def cut_on_edge(self, trigger_input: int, delay_s: float, duration_s: float) -> float:
        """As `cut`, but `delay_s` counts from the next active edge of the switch's input number `trigger_input`, 0 to 7."""
        return await self._arm(Verb.ARM, trigger_input, _microseconds(delay_s), _microseconds(duration_s))

    async def state(self) -> State:
        """What the output does, when it last changed by the switch's own clock, and what is still to come."""
        return (await self._order(Command(verb=Verb.STATE)))[1]

    async def record(self) -> None:
        """Without effect: a switch has nothing to record."""

    async def stop_recording(self) -> SupplyTrace:
        return SupplyTrace(start_s=asyncio.get_running_loop().time(), step_s=_STEP_S, current_ua=(), logic=b"")

    # --------------------------------------------------------------------------------------------------------- commands
    async def _switch(self, verb: Verb) -> float:
        left_s, state = await self._order(Command(verb=verb))
        if state.is_on != (verb is Verb.ON) or state.activity is not Activity.IDLE:
            raise InstrumentError(self._name, f"answers {_words(state)} to {verb}", hint=_HINT)
        return left_s

    async def _arm(self, verb: Verb, *arguments: int) -> float:
        left_s, state = await self._order(Command(verb=verb, arguments=arguments))
        wanted = Activity.CUT if verb is Verb.CUT else Activity.ARMED
        over_already = verb is Verb.CUT and state.activity is Activity.IDLE  # a cut of microseconds, faster than its answer
        if state.activity is not wanted and not over_already:
            raise InstrumentError(self._name, f"answers {_words(state)} to {verb}", hint=_HINT)
        return left_s

    async def _order(self, command: Command) -> tuple[float, State]:
        """Send and get the answer; returns when the bytes had left the host, and the switch's state.

        Answers carry no number.  After a command that was given up, one may still come: `_find` reads past it.
        """
        try:
            line = protocol.encode_command(command)
        except ValueError as error:
            raise InstrumentError(self._name, f"{command.verb} was not sent: {error}") from error
        async with self._turn:
            if not self._in_step:
                await self._find()
            self._in_step = False
            left_s = await self._send(line)
            answer = await self._answer(command.verb)
            self._in_step = True
        if isinstance(answer, Refusal):
            reason = f"refuses {line.decode().strip()!r}: {answer.text} (code {answer.code})"
            raise InstrumentError(self._name, reason, hint=_HINT)
        return left_s, answer

    async def _find(self) -> None:
        """Ask who is there until a switch says so; everything before that answer is older than the question."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _FIND_LIMIT_S
        self._heard.clear()
        last = b""
        while (now := loop.time()) < deadline:
            await self._send(b"\n" + protocol.encode_command(Command(verb=Verb.ID)))
            try:
                async with asyncio.timeout_at(min(now + _FIND_EVERY_S, deadline)):
                    while not isinstance(identity := _understood(last := await self._line()), Identity):
                        pass
            except TimeoutError:
                continue
            if identity.version != protocol.VERSION:
                reason = f"speaks version {identity.version} of the protocol; this rig speaks {protocol.VERSION}"
                raise InstrumentError(self._name, reason, hint="flash the firmware that goes with this rig (docs/power-switch.md)")
            self._in_step = True
            return
        said = f"; it last sent {last[:32]!r}" if last else ", and has sent nothing"
        raise InstrumentError(self._name, f"no switch answers within {_FIND_LIMIT_S:g} s{said}", hint=_HINT)

    async def _answer(self, verb: Verb) -> State | Refusal:
        """The next answer that is not a late one to ID?."""
        try:
            async with asyncio.timeout(protocol.ANSWER_LIMIT_S):
                while True:
                    line = await self._line()
                    answer = _understood(line)
                    if answer is None:
                        raise InstrumentError(self._name, f"answers {line[:64]!r} to {verb}, which makes no sense", hint=_HINT)
                    if not isinstance(answer, Identity):
                        return answer
        except TimeoutError:
            reason = f"does not answer {verb} within {protocol.ANSWER_LIMIT_S:g} s"
            raise InstrumentError(self._name, reason, hint=_REPLUG) from None

    # -------------------------------------------------------------------------------------------------------- the wire
    async def _send(self, data: bytes) -> float:
        """Send; returns the time at which the bytes had left the host."""
        if self._stream is None:
            raise InstrumentError(self._name, "is not open", hint="enter the supply before using it")
        try:
            async with asyncio.timeout(_SEND_LIMIT_S):
                self._stream.write(data)
                await self._stream.drain()
        except TimeoutError:
            reason = f"has not taken a command within {_SEND_LIMIT_S:g} s"
            raise InstrumentError(self._name, reason, hint=_REPLUG) from None
        return asyncio.get_running_loop().time()

    def _receive(self, t: float, data: bytes) -> None:
        del t  # the edges that matter are timed by the switch
        self._vanished = self._vanished or not data
        self._heard += self._lines.feed(data)
        self._news.set()

    async def _line(self) -> bytes:
        while not self._heard:
            if self._vanished:
                raise InstrumentError(self._name, "the port has vanished", hint=_REPLUG)
            self._news.clear()
            await self._news.wait()
        return self._heard.popleft()


def _understood(line: bytes) -> Answer | None:
    try:
        return protocol.decode_answer(line)
    except ValueError:
        return None


def _microseconds(seconds: float) -> int:
    return round(seconds * 1e6)


def _words(state: State) -> str:
    return f"{'ON' if state.is_on else 'OFF'} {state.activity}"
