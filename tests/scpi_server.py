"""A SCPI supply behind a TCP port of this machine, feeding a virtual board, or doing what a test wants to see handled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from rig.virtual.power import PowerNode

LOAD_A = 2e-3


class ScpiServer:
    """Two outputs, of which the second feeds `node`.  Commands that it does not know go into its error queue."""

    def __init__(self, node: PowerNode) -> None:
        self._node = node
        self.lines: list[str] = []
        self.answers: dict[str, str | None] = {}
        """Answers that replace its own; None for silence."""
        self._channel = 1
        self._volts, self._limit_a, self._is_on = 0.0, 1.0, False
        self._errors: list[str] = []

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Yields the VISA resource name."""
        tasks: set[asyncio.Task[None] | None] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())
            with suppress(asyncio.CancelledError, ConnectionError):
                while line := await reader.readline():
                    answer = self._obey(line.decode().strip())
                    if answer is not None:
                        writer.write(f"{answer}\n".encode())
                        await writer.drain()
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        try:
            yield f"TCPIP::127.0.0.1::{server.sockets[0].getsockname()[1]}::SOCKET"
        finally:
            server.close()
            for task in tasks:
                if task is not None:
                    task.cancel()
            await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)

    def _obey(self, line: str) -> str | None:
        self.lines.append(line)
        if line in self.answers:
            return self.answers[line]
        word, _, argument = line.partition(" ")
        if word.endswith("?"):
            return self._tell(word)
        match word:
            case "INST:NSEL":
                self._channel = int(argument)
            case "VOLT":
                self._volts = float(argument)
                self._node.set_source_mv(round(self._volts * 1000))
            case "CURR":
                self._limit_a = float(argument)
            case "OUTP":
                self._is_on = argument == "ON"
                self._node.switch(self._is_on and self._channel == 2)
            case _:
                self._errors.append('-113,"Undefined header"')
        return None

    def _tell(self, word: str) -> str | None:
        match word:
            case "*IDN?":
                return "EXAMPLE,PSU-2,0001,1.0"
            case "SYST:ERR?":
                return self._errors.pop(0) if self._errors else '+0,"No error"'
            case "VOLT?":
                return f"{self._volts:.6f}"
            case "OUTP?":
                return "1" if self._is_on else "0"
            case "MEAS:VOLT?":
                return f"{self._node.voltage():.4f}"
            case "MEAS:CURR?":
                return f"{LOAD_A if self._is_on else 0.0:.6f}"
        self._errors.append('-113,"Undefined header"')
        return None
