"""A second Nordic development kit with the `radio_test` sample of the nRF Connect SDK as interferer.

Wiring: the kit's antenna connector through an attenuator of its own into the combiner in front of the central, everything inside a
shielded enclosure.  Its serial port is the kit's own (J-Link's VCOM).  A command takes effect some milliseconds after it has left the
host.  The shell tells its settings but not whether it is sending, so the level that others measure is the only proof.

An interferer whose port has vanished goes on sending: nothing but its power switch ends that.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from rig.drivers.byte_stream import open_stream
from rig.errors import ConfigError, InstrumentError
from rig.formats import radio_test
from rig.formats.radio_test import CONFIRMATIONS, PROMPT, Program
from rig.model import Interference, InterferenceKind
from rig.ports import ByteStream

_FIND_LIMIT_S = 3.0
"""A kit that restarts when its port is opened answers within a second."""
_FIND_EVERY_S = 0.5
_QUIET_S = 0.05
"""A shell that says nothing for this long has said all that it wants to say."""
_COMMAND_LIMIT_S = 1.0

_HINT = "check the port, and that the kit runs the sample radio_test with its shell on this port"
_STILL_SENDING = "the kit may still be sending: switch it off"


class RadioTestInterferer:
    """`rig.ports.Interferer` on a kit with Nordic's radio_test shell.

    Args:
        owner: the board whose trial uses it.
        port: path, COM name or ``virtual:<wire>``.
        baudrate: bits per second.

    Raises:
        ConfigError: the baud rate is not positive.
    """

    kinds = frozenset(InterferenceKind)

    def __init__(self, *, owner: str, port: str, baudrate: int = 115200) -> None:
        self._name = f"{owner}.interferer"
        if baudrate <= 0:
            raise ConfigError(f"{self._name}: baudrate must be positive, not {baudrate}")
        self._port, self._baudrate = port, baudrate
        self._stream: ByteStream | None = None
        self._text = ""
        self._heard = asyncio.Event()
        self._turn = asyncio.Lock()
        self._vanished = False

    # ------------------------------------------------------------------------------------------------------- life cycle
    async def __aenter__(self) -> Self:
        self._stream = await open_stream(self._port, baudrate=self._baudrate, owner=self._name)
        self._vanished = False
        self._stream.listen(self._receive)
        try:
            await self._find()
            await self.stop()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self.stop()
        except InstrumentError:
            if error is None:
                raise
        finally:
            await self._close()

    async def _close(self) -> None:
        if self._stream is not None:
            await self._stream.close()
            self._stream = None

    # --------------------------------------------------------------------------------------------------------- commands
    async def start(self, interference: Interference) -> float:
        """Send `interference` until `stop`.

        Raises:
            InstrumentError: the sample cannot send that, and nothing has been sent; or the kit does not do as it is told.
        """
        try:
            program = radio_test.program(interference)
        except ValueError as error:
            raise InstrumentError(self._name, f"cannot send this: {error}") from error
        async with self._turn:
            await self._command(radio_test.CANCEL)
            for line in program.settings:
                await self._command(line)
            await self._check(program)
            left_s, answer = await self._command(program.start)
        wanted = CONFIRMATIONS.get(interference.kind)
        if wanted is not None and wanted not in answer:
            raise InstrumentError(self._name, f"answers {_shown(answer)} to {program.start!r}", hint=_HINT)
        return left_s

    async def stop(self) -> float:
        """Fall silent; without effect when it is."""
        async with self._turn:
            return (await self._command(radio_test.CANCEL))[0]

    async def _check(self, program: Program) -> None:
        """Read the settings back: a shell may have lost a character."""
        shown = radio_test.shown_parameters((await self._command(radio_test.SHOW))[1])
        for name, value in program.expected.items():
            if shown.get(name) != value:
                reason = f"shows {name} {shown.get(name, 'not at all')} where {value} was set"
                raise InstrumentError(self._name, reason, hint=_HINT)
        if program.sequence:
            sequence = radio_test.shown_sequence((await self._command(radio_test.SHOW_SEQUENCE))[1])
            if sequence != program.sequence:
                raise InstrumentError(self._name, f"shows the channels {sequence} where {program.sequence} were set", hint=_HINT)

    # -------------------------------------------------------------------------------------------------------- the shell
    async def _find(self) -> None:
        """Press Enter until a prompt comes and nothing behind it: the first one may be an older one's, or a banner's."""
        deadline = asyncio.get_running_loop().time() + _FIND_LIMIT_S
        while asyncio.get_running_loop().time() < deadline:
            self._text = ""
            await self._send("\r")
            try:
                async with asyncio.timeout(_FIND_EVERY_S):
                    await self._until_prompt()
                    await self._until_quiet()
            except TimeoutError:
                continue
            return
        said = f"; it last sent {self._text[-64:]!r}" if self._text else ", and has sent nothing"
        raise InstrumentError(self._name, f"no prompt {PROMPT!r} comes within {_FIND_LIMIT_S:g} s{said}", hint=_HINT)

    async def _command(self, line: str) -> tuple[float, list[str]]:
        """Send a line; returns when it had left the host, and what the shell said to it."""
        self._text = ""
        left_s = await self._send(line + "\r")
        try:
            async with asyncio.timeout(_COMMAND_LIMIT_S):
                await self._until_prompt()
        except TimeoutError:
            reason = f"has not done {line!r} within {_COMMAND_LIMIT_S:g} s"
            raise InstrumentError(self._name, reason, hint=_STILL_SENDING) from None
        echo, _, answer = radio_test.plain(self._text).partition(PROMPT)[0].partition("\n")
        lines = [text for text in answer.split("\n") if text]
        if echo != line:
            raise InstrumentError(self._name, f"echoes {echo!r} where {line!r} was sent", hint=_HINT)
        refused = radio_test.refusal(lines)
        if refused is not None:
            raise InstrumentError(self._name, f"refuses {line!r}: {refused}", hint="the kit's SoC or its radio_test may be too old for this")
        return left_s, lines

    async def _send(self, text: str) -> float:
        if self._stream is None:
            raise InstrumentError(self._name, "is not open", hint="enter the interferer before using it")
        try:
            async with asyncio.timeout(_COMMAND_LIMIT_S):
                self._stream.write(text.encode())
                await self._stream.drain()
        except TimeoutError:
            reason = f"has not taken a command within {_COMMAND_LIMIT_S:g} s"
            raise InstrumentError(self._name, reason, hint=_STILL_SENDING) from None
        return asyncio.get_running_loop().time()

    async def _until_prompt(self) -> None:
        while PROMPT not in radio_test.plain(self._text):
            if self._vanished:
                raise InstrumentError(self._name, "the port has vanished", hint=_STILL_SENDING)
            self._heard.clear()
            await self._heard.wait()

    async def _until_quiet(self) -> None:
        """Wait until nothing has been received for a while."""
        heard = None
        while heard != self._text:
            heard = self._text
            await asyncio.sleep(_QUIET_S)

    def _receive(self, t: float, data: bytes) -> None:
        del t  # what a shell says comes too late to time anything by it
        self._vanished = self._vanished or not data
        self._text += data.decode("ascii", errors="replace")
        self._heard.set()


def _shown(lines: list[str]) -> str:
    return repr(" / ".join(lines)[:120]) if lines else "nothing"
