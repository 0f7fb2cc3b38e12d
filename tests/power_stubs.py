"""A uhubctl and a plug that do what they are told, or what a test wants to see handled."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

UHUBCTL = """\
#!/bin/sh
cd "{folder}" || exit 9
echo "$*" >> calls
mode=$(cat mode)
case "$mode" in
  hangs) exec sleep 60 ;;
  fails) cat words >&2; exit 1 ;;
  speaks) cat words; exit 0 ;;
esac
show() {{
  echo "$1 status for hub $2 [05e3:0608 power hub, USB 2.00, 4 ports, ppps]"
  if [ "$(cat state)" = on ]; then echo "  Port $4: 0503 power highspeed enable connect [1366:1051 SEGGER J-Link]"
  else echo "  Port $4: 0000 off"; fi
}}
show Current "$2" "$3" "$4"
if [ "$5" = -a ]; then
  echo "Sent power $6 request"
  [ "$mode" = stuck ] || echo "$6" > state
  show New "$2" "$3" "$4"
fi
"""


class StubUhubctl:
    """An executable ``uhubctl`` in `folder`, which a test puts on its PATH."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        program = folder / "uhubctl"
        program.write_text(UHUBCTL.format(folder=folder))
        program.chmod(0o755)
        (folder / "state").write_text("on\n")
        self.behave("obeys")

    def behave(self, mode: str, words: str = "") -> None:
        """obeys, stuck (reports the old state), hangs, fails or speaks (says `words` with exit code 1 or 0)."""
        (self._folder / "mode").write_text(f"{mode}\n")
        (self._folder / "words").write_text(words)

    @property
    def is_on(self) -> bool:
        return (self._folder / "state").read_text().strip() == "on"

    @property
    def calls(self) -> list[str]:
        return (self._folder / "calls").read_text().splitlines()


class StubPlug:
    """The web server of a plug with two outputs.  `say` replaces its answers by others."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.outputs = [True, True]
        self.paths: list[str] = []
        self.stuck = False
        self.left_alone = asyncio.Event()
        """The rig has hung up before it had the whole answer."""
        self._said: bytes | None = None
        self._pause_s = 0.0

    def say(self, status: str, body: str, *, pause_s: float = 0.0) -> None:
        """Answer every request by this, one byte every `pause_s` if that is given."""
        self._pause_s = pause_s
        self._said = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()

    def say_raw(self, data: bytes) -> None:
        self._said = data

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Yields host:port."""
        tasks: set[asyncio.Task[None] | None] = set()

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            tasks.add(asyncio.current_task())
            try:
                await self._handle(reader, writer)
            except ConnectionError:
                self.left_alone.set()
            except asyncio.CancelledError:
                pass  # the test is over
            finally:
                writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            for task in tasks:
                if task is not None and not task.done():
                    task.cancel()
            await asyncio.gather(*(task for task in tasks if task is not None), return_exceptions=True)

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        path = request.split(b" ")[1].decode()
        self.paths.append(path)
        if self._said is None:
            body = json.dumps(self._answer(path)).encode()
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body)
        else:
            answer = self._said
        if not answer:
            await asyncio.Event().wait()
        for piece in (bytes([byte]) for byte in answer) if self._pause_s else (answer,):
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(self._pause_s)

    def _answer(self, path: str) -> dict[str, object]:
        url = urlsplit(path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        match self._kind:
            case "shelly-gen1":
                channel = int(url.path.removeprefix("/relay/"))
                self._switch(channel, query.get("turn"))
                return {"ison": self.outputs[channel], "has_timer": False}
            case "shelly-gen2":
                channel = int(query["id"])
                if url.path == "/rpc/Switch.Set":
                    before = self.outputs[channel]
                    self._switch(channel, {"true": "on", "false": "off"}[query["on"]])
                    return {"was_on": before}
                assert url.path == "/rpc/Switch.GetStatus"
                return {"id": channel, "output": self.outputs[channel], "apower": 0.0}
            case _:
                assert url.path == "/cm"
                name, _, wanted = unquote(query["cmnd"]).partition(" ")
                channel = int(name.removeprefix("Power") or 1) - 1
                self._switch(channel, wanted.lower() or None)
                return {f"POWER{channel + 1}": "ON" if self.outputs[channel] else "OFF"}

    def _switch(self, channel: int, wanted: str | None) -> None:
        if wanted is not None and not self.stuck:
            self.outputs[channel] = {"on": True, "off": False}[wanted]
